"""A graph for a terminal: boxes and lines while they are few and fit, else lanes as `git log --graph` draws them.

Knows nothing of where the graph comes from. However crowded, no line may say an edge that is not there:
lines that cross stay apart (`─│─`), and only lines of the same edges ever join (`├ ┬ ┼`)."""

from __future__ import annotations

from collections import Counter

from wfctl.renderers.boxes import boxes
from wfctl.renderers.lanes import lanes
from wfctl.renderers.picture import Picture, Section, web
from wfctl.renderers.text import Pen, look, plural, state_word, width_of

MOST_BOXES = 30
"""With more nodes than this a section is drawn as lanes; boxes would fill more than one screen."""


def render(picture: Picture, *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The picture in at most `width` columns (40 at least): a title, the graph, and what its marks mean.

    A section of more than MOST_BOXES nodes, or one that does not fit the width in boxes, is drawn as lanes.
    """
    pen = Pen(max(width, 40), color, unicode)
    lines = [_title(picture, pen)]
    sections: tuple[Section, ...] = ("nodes", "finally")
    for section in sections:
        net = web(picture, section)
        if not net.nodes:
            continue
        if section == "finally":
            lines += ["", pen.paint(f"{pen.dash * 2} finally {pen.dash * (pen.width - 11)}", "dim")]
        drawn = boxes(net, pen) if len(net.nodes) <= MOST_BOXES else None
        lines += ["", *(drawn or lanes(net, pen))]
    lines += _legend(picture, pen)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _title(picture: Picture, pen: Pen) -> str:
    figures = f"{plural(len(picture.nodes), 'node')}, {plural(len(picture.edges), 'edge')}"
    words = "" if picture.state is None else f"{pen.mark(picture.state)} {state_word(picture.state)}"
    rest = pen.dot + figures + (pen.dot + words if words else "")
    name = pen.clip(picture.title, max(pen.width - width_of(rest), 10))
    end = pen.dot + pen.paint(words, look(picture.state or "").style) if words else ""
    return pen.paint(name, "bold") + pen.paint(pen.dot + figures, "dim") + end


def _legend(picture: Picture, pen: Pen) -> list[str]:
    counts = Counter(node.state for node in picture.nodes if node.state is not None)
    lines: list[list[str]] = [[]]
    room = pen.width
    for state, count in counts.items():
        text = f"{pen.mark(state)} {count} {state_word(state)}"
        if lines[-1] and width_of(text) + 3 > room:
            lines.append([])
            room = pen.width
        room -= width_of(text) + 3
        lines[-1].append(pen.paint(text, look(state).style))
    return ["", *("   ".join(line) for line in lines)] if counts else []
