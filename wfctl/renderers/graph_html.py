"""A graph as one HTML page that needs nothing else: the SVG picture, to be walked and searched.

Knows nothing of where the graph comes from. Its policy lets only its own script run, and nothing be fetched."""

from __future__ import annotations

from html import escape
from pathlib import Path

from wfctl.renderers import content_policy, graph_explorer, graph_svg
from wfctl.renderers.picture import Picture
from wfctl.renderers.text import look, plural, safe, state_word

_PARTS = Path(__file__).with_name("page")
_HINT = "drag to move, wheel or + − to zoom, 0 for all; click a node to see what is before and after it"


def render(picture: Picture, *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The picture as a page; without its script it is still the picture."""
    rules = graph_svg.style() + graph_explorer.style() + (_PARTS / "graph.css").read_text("utf-8")
    script = graph_explorer.script() + (_PARTS / "graph.js").read_text("utf-8")
    title = escape(safe(picture.title))
    figures = [f"{plural(len(picture.nodes), 'node')}, {plural(len(picture.edges), 'edge')}"]
    if picture.state:
        figures.insert(0, f"{look(picture.state).mark} {state_word(picture.state)}")
    figures += graph_svg.legend(picture)
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            content_policy.element(rules, script),
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{title}</title><style>{rules}</style></head><body>",
            f"<header><h1>{title}</h1><p>{escape(' · '.join(figures))}</p>",
            '<input type="search" placeholder="search ( / )" aria-label="search nodes">',
            '<span><button name="farther" aria-label="farther">−</button> ',
            '<button name="nearer" aria-label="nearer">+</button> <button name="all">all</button></span></header>',
            f'<main class="wf-view">{graph_svg.drawing(picture)}</main>',
            f'<footer aria-live="polite">{_HINT}</footer>',
            f"<script>{script}</script></body></html>\n",
        )
    )
