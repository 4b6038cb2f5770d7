"""The script and the rules with which a picture of `graph_svg` is walked: pan, zoom, search, what is before and after.

Knows nothing of the page around: it is text for a page to put in, whose policy allows it by its hash.

`exploreGraph(view, picked, first)` makes the `<svg class="wf">` in the element `view`, of the class `wf-view`, walkable
and gives back what may be done: `zoom(factor)`, `fit()`, `find(words)` (how many nodes match), `next(step)` (goes to
another of them), `mark(ids)` (lights a set of nodes, or with null all), `pick(id, covered)` (goes there; at the right
so many pixels are covered), `press(event)` (what a key does). `picked` is called with the chosen id, its title and how
many nodes are before and after it, or with null. Where not all can be read at once it begins at `first`. It writes no
HTML, and takes foreign text for nothing but text."""

from __future__ import annotations

from pathlib import Path

_PARTS = Path(__file__).with_name("page")


def style() -> str:
    """The rules, beside those of `graph_svg.style()`."""
    return (_PARTS / "explorer.css").read_text("utf-8")


def script() -> str:
    """The function `exploreGraph`, for a script of the page to call."""
    return (_PARTS / "explorer.js").read_text("utf-8")
