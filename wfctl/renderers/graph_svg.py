"""A graph as an SVG picture: boxes in the colour of their state, arrows to the right, in light and in dark.

Knows nothing of where the graph comes from, nor of the page that it may be put into: it runs no script, names no file.

    render(picture)             a whole file, with its colours in it
    drawing(picture)            only the element <svg class="wf">, for a page that has the rules of `style()` in its own
    style(dark)                 these rules; `dark` are selectors of when they are the dark ones, none for what the
                                system prefers

Each box is a `<g class="n" data-node="ID">` with a `<title>`. Its number is its place among them in the file, from 0;
`data-e="3 5"` of an arrow are the numbers of those it connects. Nodes that need and feed the very same others stand
together in a block when they are many; an arrow of the block is that of all in it, its numbers are a range: `3 5-99`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from math import sqrt
from typing import NamedTuple

from wfctl.renderers.layers import Point, layout
from wfctl.renderers.picture import Picture, PictureNode, Section, arrows, path_arrows, web
from wfctl.renderers.text import clip, duration, look, plural, safe, state_word, width_of

BLOCK = 12
"""So many alike stand in a block, and not in one long column."""

LETTER, SMALL = 7.3, 6.1
"""Pixels of a column of text, of letters 12 and 10 pixels high. Names are set in letters of one width, to be sure."""

LONGEST = 30
"""Columns of text in a box; the whole is in its title."""

HIGH, LOW = 42, 28
"""Heights of a box with two lines, and with one."""

_MARGIN = 16
_HEAD = 60

# Of each colour: fill, line and words by day, and by night.
_COLORS = {
    "good": ("#dcf5e3", "#2da44e", "#10361c", "#12301c", "#3fb950", "#d3f5dc"),
    "bad": ("#ffe1e4", "#cf222e", "#5c0a12", "#43151a", "#f85149", "#ffdcd9"),
    "live": ("#d9efff", "#0969da", "#07294f", "#0d2d4f", "#58a6ff", "#d5e9ff"),
    "soon": ("#eef7ff", "#54aeff", "#07294f", "#111f30", "#3d7fc4", "#c4dcf5"),
    "warn": ("#fff3c4", "#bf8700", "#4a3500", "#37290a", "#d29922", "#f8e3ad"),
    "undo": ("#f3e6ff", "#8250df", "#371469", "#2b1c45", "#a371f7", "#e6d6ff"),
    "mute": ("#f3f4f6", "#9aa0a6", "#4b535d", "#1d2126", "#59626d", "#a9b3be"),
    "none": ("#ffffff", "#7d8590", "#1f2328", "#1a1f26", "#7d8590", "#e6edf3"),
}
_PAGE = ("#ffffff", "#0f1318")
_WORDS = ("#1f2328", "#e6edf3")
_SOFT = ("#59636e", "#9aa4b0")
_LINE = ("#8c959f", "#6b7480")
_CRITICAL = ("#bc4c00", "#f0883e")

_STYLES = {
    "green": "good", "bold red": "bad", "red": "bad", "bold cyan": "live", "cyan": "soon", "yellow": "warn",
    "bold yellow": "warn", "magenta": "undo", "dim": "mute",
}  # fmt: skip

# XML has no way to say these at all; `safe` leaves the last two.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def color(state: str | None) -> str:
    """The class of a state: `good`, `bad`, `live`, `soon`, `warn`, `undo`, `mute`; `none` where there is no state."""
    return "none" if state is None else _STYLES.get(look(state).style, "none")


def style(dark: Sequence[str] = ()) -> str:
    """The rules for the pictures; `dark` are selectors of the page (`:root[data-theme=dark]`), any of which makes them
    dark. Without one the system is asked."""
    fixed = (
        ".wf text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
        ".wf .s,.wf .m,.wf .h{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:10px}"
        ".wf .m{font-size:12px}.wf .h{font-size:15px;font-weight:600}"
        ".wf .n rect{stroke-width:1.2}.wf .n.c rect{stroke-width:2.6}.wf .n .s{opacity:.8}"
        ".wf .e{fill:none;stroke-width:1.2}.wf .e .c{stroke-width:2.4}.wf .e .f{stroke-dasharray:5 3}"
        ".wf .b{fill:none;stroke-dasharray:3 4}"
    )
    night = _rules(1)
    if not dark:
        return fixed + _rules(0) + "@media (prefers-color-scheme:dark){" + night + "}"
    return fixed + _rules(0) + "".join(night.replace(".wf", f"{one} .wf") for one in dark)


def _rules(night: int) -> str:
    boxes = "".join(
        f".wf .{name} rect{{fill:{tones[3 * night]};stroke:{tones[3 * night + 1]}}}"
        f".wf .{name} text{{fill:{tones[3 * night + 2]}}}.wf.far .{name} rect{{fill:{tones[3 * night + 1]}}}"
        for name, tones in _COLORS.items()
    )
    return (
        f".wf .page{{fill:{_PAGE[night]}}}.wf text{{fill:{_WORDS[night]}}}.wf .m{{fill:{_SOFT[night]}}}"
        f".wf .e{{stroke:{_LINE[night]}}}.wf .b{{stroke:{_LINE[night]}}}{boxes}"
        f".wf .e .c{{stroke:{_CRITICAL[night]}}}.wf .n.c rect{{stroke:{_CRITICAL[night]}}}"
    )


def render(picture: Picture, *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The picture as a file that needs nothing else; what draws it chooses between light and dark."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + _svg(picture, whole=True) + "\n"


def drawing(picture: Picture) -> str:
    """The `<svg>` element alone, without rules and heading, to stand in a page."""
    return _svg(picture, whole=False)


def _svg(picture: Picture, *, whole: bool) -> str:
    body: list[str] = []
    wide, top, told = 0, _HEAD if whole else _MARGIN, 0
    sections: tuple[Section, ...] = ("nodes", "finally")
    for section in sections:
        units = _units(picture, section)
        if not units:
            continue
        framed = section == "finally"
        top += 38 if framed else 0
        part, across, deep = _section(units, picture, _MARGIN + (14 if framed else 0), top, told)
        told += sum(len(unit.nodes) for unit in units)
        if framed:
            around = f'width="{across + 28}" height="{deep + 40}"'
            body.append(
                f'<rect class="b" x="{_MARGIN}" y="{top - 26}" {around} rx="8"/>'
                f'<text class="m" x="{_MARGIN + 14}" y="{top - 9}">{section}</text>'
            )
            across, deep = across + 28, deep + 14
        body += part
        wide, top = max(wide, across), top + deep
    head, reach = _heading(picture) if whole else ([], 0)
    width, height = max(wide, reach) + 2 * _MARGIN, top + _MARGIN
    title = _xml(_titled(picture))
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="wf" role="img" aria-label="{title}" {size}>',
            f"<title>{title}</title>",
            f"<desc>{_xml(_described(picture))}</desc>",
            *([f"<style>{style()}</style>", '<rect class="page" width="100%" height="100%"/>'] if whole else []),
            *head,
            *body,
            "</svg>",
        ]
    )


def _titled(picture: Picture) -> str:
    return picture.title + (f": {state_word(picture.state)}" if picture.state else "")


def _described(picture: Picture) -> str:
    """The picture for those who do not see it."""
    parts = [plural(len(picture.nodes), "node"), plural(len(picture.edges), "arrow")]
    parts += [f"{count} {state_word(state)}" for state, count in _states(picture).items()]
    return ", ".join(parts)


def _states(picture: Picture) -> Counter[str]:
    return Counter(node.state for node in picture.nodes if node.state is not None)


def legend(picture: Picture) -> list[str]:
    """How many nodes are in each state, by its mark; and what a thick line is."""
    told = [f"{look(state).mark} {count} {state_word(state)}" for state, count in _states(picture).items()]
    return told + ["thick: the critical path"] * any(node.critical for node in picture.nodes)


def _heading(picture: Picture) -> tuple[list[str], int]:
    """The title with what the marks mean, and how wide that is."""
    title = clip(safe(picture.title), 60)
    figures = f"{plural(len(picture.nodes), 'node')}, {plural(len(picture.edges), 'edge')}"
    if picture.state:
        figures = f"{look(picture.state).mark} {state_word(picture.state)} · {figures}"
    figures = " · ".join((figures, *legend(picture)))
    text = [
        f'<text class="h" x="{_MARGIN}" y="24">{_xml(title)}</text>',
        f'<text class="m" x="{_MARGIN}" y="43">{_xml(figures)}</text>',
    ]
    return text, round(max(width_of(title) * 9.3, width_of(figures) * 6.6))


# --- Boxes ------------------------------------------------------------------------------------------------------------


class _Unit(NamedTuple):
    """What has one place in the layout: a node, or a block of nodes that are alike, in so many columns."""

    nodes: Sequence[PictureNode]
    columns: int
    box: int
    tall: int

    @property
    def size(self) -> tuple[int, int]:
        if len(self.nodes) == 1:
            return self.box, self.tall
        rows = -(-len(self.nodes) // self.columns)
        return self.columns * (self.box + 8) + 8, rows * (self.tall + 8) + 8


def _units(picture: Picture, section: Section) -> list[_Unit]:
    """The nodes of a section as they will stand: alone, or many that are alike in one block."""
    net = web(picture, section)
    alike: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for i in range(len(net.nodes)):
        alike.setdefault((tuple(net.needs[i]), tuple(net.feeds[i])), []).append(i)
    units = []
    for (needs, feeds), places in alike.items():
        nodes = [net.nodes[i] for i in places]
        if len(nodes) < BLOCK or not (needs or feeds):
            units += [_Unit([node], 1, *_size([node])) for node in nodes]
            continue
        box, tall = _size(nodes)
        rows = max(1, round(sqrt(len(nodes) * (box + 8) / (tall + 8) / 1.6)))
        units.append(_Unit(nodes, -(-len(nodes) // rows), box, tall))
    return units


def _size(nodes: Sequence[PictureNode]) -> tuple[int, int]:
    """Width and height of boxes for these, all the same."""
    texts = [_lines(node) for node in nodes]
    wide = max(max(width_of(name) * LETTER, width_of(small) * SMALL) for name, small in texts)
    return max(round(wide) + 20, 64), HIGH if any(small for _, small in texts) else LOW


def _lines(node: PictureNode) -> tuple[str, str]:
    """The two lines of a box."""
    mark = f"{look(node.state).mark} " if node.state else ""
    return mark + clip(safe(node.id), LONGEST, middle=True), clip(safe(" · ".join(node.facts())), LONGEST + 4)


def _section(
    units: list[_Unit], picture: Picture, left: int, top: int, first: int
) -> tuple[list[str], int, int]:
    """The arrows and boxes of a section, the arrows beneath; and its width and height. The number of its `first` box
    says how many are in the file before it."""
    unit_of = {node.id: i for i, unit in enumerate(units) for node in unit.nodes}
    names = []
    for unit in units:
        last = first + len(unit.nodes) - 1
        names.append(str(first) if first == last else f"{first}-{last}")
        first = last + 1
    critical = path_arrows(picture)
    pairs: dict[tuple[int, int], tuple[bool, bool]] = {}
    for (one, other), file in arrows(picture).items():
        if one in unit_of and other in unit_of:
            pair = (unit_of[one], unit_of[other])
            marked, dashed = pairs.get(pair, (False, True))
            pairs[pair] = (marked or (one, other) in critical, dashed and file)
    sizes = [unit.size for unit in units]
    found = layout([w for w, _ in sizes], [h for _, h in sizes], list(pairs), rightwards=True, beside=14, between=44)
    usual = max((unit.box for unit in units if len(unit.nodes) == 1), default=0)
    spans = []
    for place, (wide, _) in enumerate(sizes):
        begin, end = found.bands[place]
        # Boxes of one column are as wide as it is, unless a block made it wider than any box.
        spans.append((begin, end) if end - begin <= usual else (found.x[place], found.x[place] + wide))
    lines = []
    for (source, target), (marked, dashed), route in zip(pairs, pairs.values(), found.routes, strict=True):
        look_ = " ".join([*(["c"] if marked else []), *(["f"] if dashed else [])])
        points = [(spans[source][1], route[0][1]), *route[1:-1], (spans[target][0], route[-1][1])]
        points = [(x + left, y + top) for x, y in points]
        more = f' class="{look_}"' if look_ else ""
        lines.append(f'<path{more} data-e="{names[source]} {names[target]}" d="{_path(points)}"/>')
    boxes: list[str] = []
    for place, unit in enumerate(units):
        x, y = spans[place][0] + left, found.y[place] + top
        if len(unit.nodes) == 1:
            boxes.append(_box(unit.nodes[0], x, y, spans[place][1] - spans[place][0], unit.tall))
            continue
        wide, tall = sizes[place]
        boxes.append(f'<rect class="b" x="{x}" y="{y}" width="{wide}" height="{tall}" rx="8"/>')
        for i, node in enumerate(unit.nodes):
            row, column = divmod(i, unit.columns)
            boxes.append(
                _box(node, x + 8 + column * (unit.box + 8), y + 8 + row * (unit.tall + 8), unit.box, unit.tall)
            )
    return [f'<g class="e">{"".join(lines)}</g>', *boxes], found.width, found.height


def _box(node: PictureNode, x: int, y: int, width: int, height: int) -> str:
    name, small = _lines(node)
    first = 17 if small else height // 2 + 4
    second = f'<text class="s" x="10" y="32">{_xml(small)}</text>' if small else ""
    return (
        f'<g class="n {color(node.state)}{" c" if node.critical else ""}" data-node="{_xml(node.id)}" '
        f'transform="translate({x} {y})"><title>{_xml(_told(node))}</title>'
        f'<rect width="{width}" height="{height}" rx="6"/>'
        f'<text x="10" y="{first}">{_xml(name)}</text>{second}</g>'
    )


def _told(node: PictureNode) -> str:
    """All that is known of a node, in a line."""
    words = [node.id, node.kind]
    if node.state:
        words.append(state_word(node.state))
    if node.seconds is not None:
        words.append(duration(node.seconds))
    if node.note:
        words.append(node.note)
    if node.critical:
        words.append("on the critical path")
    return " · ".join(words)


def _path(points: Iterable[Point]) -> str:
    """A smooth line through the points, level at each, with a small arrow at its end."""
    (x, y), *rest = points
    text = f"M{x} {y}"
    for to_x, to_y in rest:
        if (to_x, to_y) == (x, y):
            continue
        if to_y == y:
            text += f"H{to_x}"
        else:
            middle = (x + to_x) // 2
            text += f"C{middle} {y} {middle} {to_y} {to_x} {to_y}"
        x, y = to_x, to_y
    return text + "m-6-4 6 4-6 4"


def _xml(text: str) -> str:
    """Foreign text, made harmless for eyes and for whoever reads XML."""
    return escape(_NOT_XML.sub("\ufffd", safe(text)))
