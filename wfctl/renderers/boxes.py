"""A graph as boxes with lines between them, on a terminal: for few nodes.

Knows nothing of titles and legends, nor what is drawn when the boxes do not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from wfctl.renderers.picture import Layers, PictureNode, Web, layers, parts, settle
from wfctl.renderers.text import DOWN, LEFT, RIGHT, UP, Pen, Style, char_width, look, width_of


def boxes(net: Web, pen: Pen) -> list[str] | None:
    """Each part in boxes, the parts beside each other where they fit; None when one does not fit the width."""
    blocks: list[tuple[int, list[str]]] = []
    for part in parts(net):
        lay = layers(part)
        drawn = [d for down in (False, True) if (d := _Drawing(part, lay, pen, down).draw()) is not None]
        if not drawn:
            return None
        best = min(drawn, key=lambda canvas: canvas.height)
        blocks.append((best.width, best.rows(pen)))
    lines: list[str] = []
    shelf: list[list[str]] = []
    used = 0
    for wide, rows in blocks:
        if shelf and used + 3 + wide > pen.width:
            lines += [*_beside(shelf), ""]
            shelf, used = [], 0
        used += wide + (3 if shelf else 0)
        shelf.append([*rows, " " * wide])
    return lines + _beside(shelf)


def _beside(shelf: Sequence[list[str]]) -> list[str]:
    tall = max(len(rows) for rows in shelf) - 1
    return ["   ".join(rows[min(i, len(rows) - 1)] for rows in shelf) for i in range(tall)]


def _words(node: PictureNode, pen: Pen) -> list[tuple[str, Style]]:
    """What stands in a box: mark and id, then, where there is any, the kind, the time and the note."""
    sign = f"{pen.mark(node.state)} " if node.state else ""
    small = [pen.clip(fact, 24) for fact in node.facts()]
    words: list[tuple[str, Style]] = [(sign + pen.safe(node.id), look(node.state).style if node.state else "")]
    return [*words, (pen.dot.join(small), "dim")] if small else words


class _Canvas:
    """Cells of text, and of lines that know which net they belong to."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[str, Style]] = {}
        self.lines: dict[tuple[int, int], dict[int, int]] = {}

    def text(self, row: int, column: int, text: str, style: Style = "") -> None:
        for char in text:
            wide = char_width(char)
            if not wide:
                before = self.cells.get((row, column - 1), (" ", style))
                self.cells[row, column - 1] = (before[0] + char, before[1])
                continue
            self.cells[row, column] = (char, style)
            if wide == 2:
                self.cells[row, column + 1] = ("", style)
            column += wide

    def line(self, net: int, row: int, column: int, to_row: int, to_column: int) -> None:
        """A straight line of this net from cell to cell, in either direction."""
        row, to_row = sorted((row, to_row))
        column, to_column = sorted((column, to_column))
        back, on = (UP, DOWN) if column == to_column else (LEFT, RIGHT)
        length = max(to_row - row, to_column - column)
        for i in range(length + 1):
            cell = (row + i, column) if column == to_column else (row, column + i)
            directions = (back if i else 0) | (on if i < length else 0)
            nets = self.lines.setdefault(cell, {})
            nets[net] = nets.get(net, 0) | directions

    @property
    def height(self) -> int:
        return 1 + max(row for row, _ in (*self.cells, *self.lines))

    @property
    def width(self) -> int:
        return 1 + max(column for _, column in (*self.cells, *self.lines))

    def rows(self, pen: Pen) -> list[str]:
        """The canvas as lines of equal width."""
        rows = []
        for row in range(self.height):
            line, run = "", ""
            style: Style = ""
            for column in range(self.width):
                blank: tuple[str, Style] = (self._crossing(row, column, pen), "")
                char, new = self.cells.get((row, column), blank)
                if new != style:
                    line, run, style = line + pen.paint(run, style), "", new
                run += char
            rows.append(line + pen.paint(run, style))
        return rows

    def _crossing(self, row: int, column: int, pen: Pen) -> str:
        nets = self.lines.get((row, column), {})
        directions = 0
        for part in nets.values():
            directions |= part
        # Lines of two nets cross and do not meet: the upright one passes over the other.
        if len(nets) > 1 and directions & (UP | DOWN):
            directions = UP | DOWN
        return pen.line(directions)


@dataclass(slots=True)
class _Net:
    """Edges drawn as one: every one of `tops` leads to every one of `bottoms`, so joining them says nothing false."""

    tops: list[int]
    bottoms: list[int]
    outs: list[int] = field(default_factory=list)
    ins: list[int] = field(default_factory=list)
    track: int = 0

    @property
    def first(self) -> int:
        return min(*self.outs, *self.ins)

    @property
    def last(self) -> int:
        return max(*self.outs, *self.ins)

    @property
    def bent(self) -> bool:
        return self.first != self.last


class _Drawing:
    """One connected part in boxes. Layers follow each other *along*, down or to the right; what stands in
    a layer stands *across*. Between two layers each net has one line across, its track."""

    def __init__(self, part: Web, lay: Layers, pen: Pen, down: bool) -> None:
        self.part, self.lay, self.pen, self.down = part, lay, pen, down
        self.words = [_words(node, pen) for node in part.nodes]
        self.channels = [self._nets(row, after) for row, after in pairwise(lay.rows)]
        entering = Counter(element for nets in self.channels for net in nets for element in net.bottoms)
        wide = [max(width_of(text) for text, _ in words) + 4 for words in self.words]
        high = [len(words) + 2 for words in self.words]
        self.along, self.across = (high, wide) if down else (wide, high)
        self.across = [max(size, entering[i] + 2) for i, size in enumerate(self.across)]
        self.across += [1] * (len(lay.owner) - len(wide))
        if not down:  # boxes of one column are of one width
            for row in lay.rows:
                widest = max((wide[i] for i in row if i < len(wide)), default=0)
                for i in row:
                    if i < len(wide):
                        wide[i] = widest

    def _nets(self, row: Sequence[int], after: Sequence[int]) -> list[_Net]:
        place = {element: i for i, element in enumerate(after)}
        groups: dict[tuple[int, ...], list[int]] = {}
        for element in row:
            if self.lay.below[element]:
                groups.setdefault(tuple(sorted(self.lay.below[element], key=place.__getitem__)), []).append(element)
        return [_Net(tops, list(bottoms)) for bottoms, tops in groups.items()]

    def draw(self) -> _Canvas | None:
        """The finished picture; None when it does not fit or a channel cannot be drawn without ambiguity."""
        limit = self.pen.width if self.down else 10_000
        if any(sum(map(self._room, row)) > limit + 2 for row in self.lay.rows):
            return None
        self.start = self._places(limit)
        lengths = []
        for k, nets in enumerate(self.channels):
            tracks = self._route(k, nets)
            if tracks is None:
                return None
            lengths.append(max(tracks, 1) if self.down else 2 * max(tracks, 1) + 1)
        begins, at = [], 0
        for row, length in zip(self.lay.rows, [*lengths, 0], strict=True):
            begins.append(at)
            at += self._layer(row) + length
        if not self.down and at > self.pen.width:
            return None
        return self._paint(begins)

    def _layer(self, row: Sequence[int]) -> int:
        return max(self.along[i] for i in row if i < len(self.along))

    def _room(self, element: int) -> int:
        """What an element takes across, with the blank cells after it."""
        if not self.down:
            return self.across[element]
        return self.across[element] + (2 if element < len(self.along) else 1)

    def _places(self, limit: int) -> list[int]:
        """Where each element begins across: near the middle of its neighbours, long lines straight."""
        lay, middle = self.lay, [size // 2 for size in self.across]
        start = [0] * len(middle)
        for row in lay.rows:
            at = 0
            for element in row:
                start[element], at = at, at + self._room(element)
        heavy = [1.0 if i < len(self.along) else 8.0 for i in range(len(middle))]
        for sweep in range(24):
            down, both = sweep % 2 == 0, sweep >= 12
            for row in lay.rows if down else lay.rows[::-1]:
                wanted = []
                for e in row:
                    # A neighbour that has many others on this side pulls less: what has but one stays straight.
                    near = [(i, heavy[i] / len(lay.below[i])) for i in lay.above[e] if down or both]
                    near += [(i, heavy[i] / len(lay.above[i])) for i in lay.below[e] if not down or both]
                    near = near or [(e, 1.0)]
                    weight = sum(pull for _, pull in near)
                    wanted.append(sum((start[i] + middle[i]) * pull for i, pull in near) / weight - middle[e])
                rooms = [self._room(e) for e in row]
                places = settle(wanted, rooms, [heavy[e] for e in row], limit + (2 if self.down else 0))
                for e, place in zip(row, places, strict=True):
                    start[e] = place
        first = min(start)
        return [place - first for place in start]

    def _route(self, k: int, nets: list[_Net]) -> int | None:
        """Choose where the nets of a channel leave, enter and run across; the number of tracks, or None."""
        for net in nets:
            net.outs = [self.start[e] + self.across[e] // 2 for e in net.tops]
        leaving = {column: net for net in nets for column in net.outs}
        for element in self.lay.rows[k + 1]:
            self._enter(element, [net for net in nets if element in net.bottoms], leaving)
        # Where one net leaves and another enters in the same column, the first must run across before.
        before: dict[int, set[int]] = {i: set() for i in range(len(nets))}
        place = {id(net): i for i, net in enumerate(nets)}
        for i, net in enumerate(nets):
            for column in net.ins:
                other = leaving.get(column)
                if other is not None and other is not net:
                    before[i].add(place[id(other)])
        tracks: list[list[_Net]] = []
        todo = {i for i, net in enumerate(nets) if net.bent}
        while todo:
            free = [i for i in todo if not before[i] & todo]
            if not free:
                return None
            i = min(free, key=lambda i: (sum(_cost(nets[i], nets[j]) - _cost(nets[j], nets[i]) for j in todo), i))
            todo.remove(i)
            net = nets[i]
            net.track = 1 + max(
                (t for t, row in enumerate(tracks) for o in row if net.first <= o.last + 1 and o.first <= net.last + 1),
                default=-1,
            )
            if net.track == len(tracks):
                tracks.append([])
            tracks[net.track].append(net)
        return len(tracks)

    def _enter(self, element: int, nets: list[_Net], leaving: dict[int, _Net]) -> None:
        """Give each of these nets its own cell in the near side of the element."""
        if element >= len(self.along):
            for net in nets:
                net.ins.append(self.start[element])
            return
        first, last = self.start[element] + 1, self.start[element] + self.across[element] - 2
        centre = self.start[element] + self.across[element] // 2
        nets.sort(key=lambda net: sum(net.outs) / len(net.outs))
        spread = 2 if last - first + 1 >= 2 * len(nets) - 1 else 1
        for i, net in enumerate(nets):
            inside = [column for column in net.outs if first <= column <= last]
            if len(nets) == 1:
                wanted = min(inside, key=lambda column: abs(column - centre)) if inside else centre
            else:
                wanted = inside[0] if inside else min(max(round(sum(net.outs) / len(net.outs)), first), last)
            columns = range(first, last + 1 - spread * (len(nets) - 1 - i))
            column = min(columns, key=lambda c: (leaving.get(c, net) is not net, abs(c - wanted)))
            net.ins.append(column)
            first = column + spread if column + spread <= last - spread * (len(nets) - 2 - i) else column + 1

    def _paint(self, begins: Sequence[int]) -> _Canvas:
        canvas = _Canvas()
        net_number = 0

        def line(along: int, across: int, to_along: int, to_across: int) -> None:
            if self.down:
                canvas.line(net_number, along, across, to_along, to_across)
            else:
                canvas.line(net_number, across, along, to_across, to_along)

        for k, row in enumerate(self.lay.rows):
            end = begins[k] + self._layer(row)
            for element in row:
                if element >= len(self.along):
                    net_number += 1
                    line(begins[k], self.start[element], end - 1, self.start[element])
            for net in self.channels[k] if k < len(self.channels) else ():
                net_number += 1
                track = end + (net.track if self.down else 1 + 2 * net.track)
                for element, column in zip(net.tops, net.outs, strict=True):
                    line(end - 1 if element >= len(self.along) else begins[k] + self.along[element] - 1, column,
                         track, column)  # fmt: skip
                for column in net.ins:
                    line(track, column, begins[k + 1], column)
                line(track, net.first, track, net.last)
        for k, row in enumerate(self.lay.rows):
            for element in row:
                if element < len(self.along):
                    self._box(canvas, element, begins[k])
        for k, nets in enumerate(self.channels):
            for net in nets:
                self._ports(canvas, net, begins[k], begins[k + 1])
        return canvas

    def _box(self, canvas: _Canvas, i: int, begin: int) -> None:
        node = self.part.nodes[i]
        row, column = (begin, self.start[i]) if self.down else (self.start[i], begin)
        high, wide = (self.along[i], self.across[i]) if self.down else (self.across[i], self.along[i])
        style = self._style(node)
        corners = ("╭─╮│╰╯", "┏━┓┃┗┛") if self.pen.unicode else (".-.|''", "#=#H##")
        left, flat, right, side, low, far = list(corners[node.critical])
        canvas.text(row, column, left + flat * (wide - 2) + right, style)
        for y in range(row + 1, row + high - 1):
            canvas.text(y, column, side, style)
            canvas.text(y, column + 1, " " * (wide - 2))
            canvas.text(y, column + wide - 1, side, style)
        canvas.text(row + high - 1, column, low + flat * (wide - 2) + far, style)
        top = row + 1 + (high - 2 - len(self.words[i])) // 2
        for y, (text, own) in enumerate(self.words[i], top):
            canvas.text(y, column + 1 + (wide - 2 - width_of(text)) // 2, text, own)

    def _ports(self, canvas: _Canvas, net: _Net, begin: int, target: int) -> None:
        """Where a line leaves a box, and the arrow where it enters one."""
        nodes = self.part.nodes
        for element, column in zip(net.tops, net.outs, strict=True):
            if element < len(nodes):
                end = begin + self.along[element] - 1
                heavy = nodes[element].critical
                signs = ("┬┯" if self.down else "├┠") if self.pen.unicode else "++"
                cell = (end, column) if self.down else (column, end)
                canvas.text(*cell, signs[heavy], self._style(nodes[element]))
        for element, column in zip(net.bottoms, net.ins, strict=True):
            if element < len(nodes):
                sign = ("▼" if self.down else "▶") if self.pen.unicode else ("v" if self.down else ">")
                canvas.text(*((target, column) if self.down else (column, target)), sign, self._style(nodes[element]))

    def _style(self, node: PictureNode) -> Style:
        return look(node.state).style if node.state else ("bold yellow" if node.critical else "")


def _cost(first: _Net, second: _Net) -> int:
    """How many lines cross when the first of two nets runs across before the second."""
    down = sum(second.first < column < second.last for column in first.ins)
    return down + sum(first.first < column < first.last for column in second.outs)
