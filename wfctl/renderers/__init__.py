"""The ways to show a workflow and a run, by name.

Knows no engine, no store and no specification: a renderer is given plain data and gives back text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wfctl.renderers.picture import Picture

GRAPH_FORMATS = {
    "terminal": "wfctl.renderers.graph_terminal",
    "mermaid": "wfctl.renderers.graph_mermaid",
    "dot": "wfctl.renderers.graph_dot",
    "json": "wfctl.renderers.graph_json",
    "svg": "wfctl.renderers.graph_svg",
    "html": "wfctl.renderers.graph_html",
}
"""Format to the module whose `render` draws it. A new format is a new file and a line here."""

_ENDINGS = {
    ".svg": "svg", ".html": "html", ".htm": "html", ".json": "json", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid"
}  # fmt: skip


class DrawGraph(Protocol):
    """Draws a picture as text that ends with a newline. `width` is in columns of a terminal; formats
    that are files and not screens leave `width`, `color` and `unicode` alone."""

    def __call__(self, picture: Picture, *, width: int = 80, color: bool = False, unicode: bool = True) -> str: ...


def graph_format(file: str) -> str:
    """The format that a file of this name should be in: by its ending, else what stands in a terminal."""
    from pathlib import PurePath

    return _ENDINGS.get(PurePath(file).suffix.lower(), "terminal")


def load_graph(format: str) -> DrawGraph:
    """The function that draws graphs in this format; UsageError when there is none of that name."""
    from importlib import import_module

    from wfctl.errors import UsageError, nearest

    if format not in GRAPH_FORMATS:
        way_out = nearest(format, GRAPH_FORMATS) or f"known are {', '.join(sorted(GRAPH_FORMATS))}"
        raise UsageError(f'no graph format named "{format}"; {way_out}')
    draw: DrawGraph = import_module(GRAPH_FORMATS[format]).render
    return draw
