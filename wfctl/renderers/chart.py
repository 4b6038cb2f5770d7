"""A chart over time in text: names and figures at the left, then a time axis with bars and strips in its cells.

Knows nothing of plans: it is told when something begins and ends, in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from wfctl.renderers.text import Pen, Style, clip, number, pad, size, width_of

Steps = Sequence[tuple[float, float]]
"""How much of something there is: (time, amount from then on), rising in time."""

# Seconds between ticks, as clocks have them; beyond the last, whole days.
_STEPS = (
    *(0.001 * base * 10**power for power in range(3) for base in (1, 2, 5)),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400 * base * 10**power for power in range(6) for base in (1, 2, 5)),
)
_HEIGHTS = " ▁▂▃▄▅▆▇█"
_ASCII_HEIGHTS = " .:-=+*#@"


class Chart:
    """The columns of one chart from 0 to `end`: a sign, the name, two figures, and the cells of the time axis.

    Of the figures only the second is there on a terminal of less than 60 columns. `names` are the widths of all names.
    """

    def __init__(self, pen: Pen, end: float, names: Iterable[int]) -> None:
        self.pen, self.end = pen, end
        self.wide = pen.width >= 60
        figures = 17 if self.wide else 8
        self.name_width = min(max(names, default=0), max(13, min((pen.width - figures) // 3, 40)))
        self.left = 2 + self.name_width + figures + 1
        self.cells = pen.width - self.left
        self.ticks = self._ticks()
        self._at = {cell for cell, _ in self.ticks}
        sign = "┊" if pen.unicode else ":"
        self.marks = "".join(sign if cell in self._at and cell else " " for cell in range(self.cells))

    def head(self, name: str, first: str, second: str, *, sign: str = " ", style: Style = "") -> str:
        """All that stands left of the time axis. The name is safe; one that is too long loses its middle."""
        name = shortened(name, self.name_width, unicode=self.pen.unicode)
        text = self.pen.paint(f"{sign} {pad(name, self.name_width)}", style)
        figures = f"  {pad(first, 7, right=True)}" if self.wide else ""
        figures += f" {pad(second, 7, right=True)}"
        return text + self.pen.paint(figures, "" if style == "bold" else "dim") + " "

    def axis(self, name: str, first: str, second: str) -> list[str]:
        """The titles of the columns, with the labels of the axis, and the axis."""
        labels = ""
        for cell, label in self.ticks:
            labels = labels.ljust(cell) + label
        flat, begin, tick = ("─", "├", "┬") if self.pen.unicode else ("-", "+", "+")
        line = "".join((tick if cell else begin) if cell in self._at else flat for cell in range(self.cells))
        return [
            self.head(name, first, second, style="dim") + self.pen.paint(labels, "dim"),
            " " * self.left + self.pen.paint(line, "dim"),
        ]

    def cell(self, time: float) -> int:
        """The cell in which a moment lies."""
        return min(int(time / self.end * self.cells), self.cells - 1) if self.end > 0 else 0

    def reach(self, first: int, finish: float, parts: int = 1) -> int:
        """How long a bar from the cell `first` is, in so many parts of a cell: never less than one of them."""
        ends = round(finish / self.end * self.cells * parts) if self.end > 0 else 0
        return max(1, min(ends, self.cells * parts) - first * parts)

    def grid(self, first: int, last: int) -> str:
        """Empty cells, with a faint mark under each tick, for the eye to follow."""
        cells = self.marks[first:last]
        return self.pen.paint(cells, "dim") if cells.strip() else cells

    def strip(self, steps: Steps, full: float, style: Style) -> str:
        """The most that there is in each cell's slice of time, in eight heights; a cell is as high as `full`."""
        peaks = [0.0] * self.cells
        for i, (time, amount) in enumerate(steps):
            until = steps[i + 1][0] if i + 1 < len(steps) else self.end
            if amount <= 0 or self.end <= 0:
                continue
            first = self.cell(time)
            # A slice that ends where the next cell begins does not reach into it.
            last = max(first, min(-int(-until / self.end * self.cells // 1) - 1, self.cells - 1))
            for cell in range(first, last + 1):
                peaks[cell] = max(peaks[cell], amount)
        heights = _HEIGHTS if self.pen.unicode else _ASCII_HEIGHTS
        full = full if full > 0 else max(peaks) or 1.0
        cells: list[tuple[str, Style]] = [(mark, "dim") for mark in self.marks]
        for cell, peak in enumerate(peaks):
            if peak > 0:
                cells[cell] = heights[min(8, max(1, round(peak / full * 8)))], style
        return self.painted(cells)

    def painted(self, cells: Sequence[tuple[str, Style]]) -> str:
        """Cells as text, each with its style."""
        runs = groupby(cells, key=lambda cell: cell[1])
        return "".join(self.pen.paint("".join(sign for sign, _ in run), style) for style, run in runs)

    def _ticks(self) -> list[tuple[int, str]]:
        """The cells that have a tick, with its label; as many as stand clear of each other."""
        if self.end <= 0:
            return [(0, "0s")]
        for step in _STEPS:
            if self.end / step > self.cells:
                continue
            ticks = [(self.cell(i * step), _moment(i * step)) for i in range(int(self.end / step + 1e-9) + 1)]
            if all(a[0] + len(a[1]) + 2 <= b[0] for a, b in pairwise(ticks)):
                break
        else:
            ticks = [(0, "0s")]
        return [tick for tick in ticks if tick[0] + len(tick[1]) <= self.cells or tick[0] == 0]


def together(spans: Iterable[tuple[float, float, float]]) -> Steps:
    """What spans of (start, finish, amount) hold at once; a finish gives back before a start of that moment takes."""
    changes: dict[float, float] = {}
    for start, finish, amount in spans:
        if finish > start:
            changes[start] = changes.get(start, 0) + amount
            changes[finish] = changes.get(finish, 0) - amount
    steps, level = [], 0.0
    for time in sorted(changes):
        level += changes[time]
        steps.append((time, level))
    return steps


def peak(steps: Steps) -> float:
    """The most that there ever is."""
    return max((amount for _, amount in steps), default=0.0)


def shortened(text: str, columns: int, *, unicode: bool = True) -> str:
    """The text in at most so many columns, without its middle: ids of one kind differ at their ends."""
    if width_of(text) <= columns:
        return text
    if columns < 8:
        return clip(text, columns, unicode=unicode)
    tail, room = len(text), (columns - 1) // 2
    while width_of(text[tail - 1]) <= room:
        tail -= 1
        room -= width_of(text[tail])
    head = clip(text[:tail], columns - width_of(text[tail:]), unicode=unicode)
    # All of the head may fit, where wide letters leave a column.
    return head + text[tail:]


def amount(value: float, unit: str, columns: int = 20) -> str:
    """An amount of a resource in at most so many columns."""
    text = size(value) if unit == "bytes" else number(value)
    return text if len(text) <= columns else text.replace(" ", "").removesuffix("B")[:columns]


def percent(share: float) -> str:
    """A share in whole percents; one that is less than all is never rounded to 100 %, nor one that is some to 0 %."""
    if share <= 0 or share >= 1 - 1e-6:
        return f"{100 * share:.0f} %"
    return "<1 %" if share < 0.005 else f"{min(round(100 * share), 99)} %"


def _moment(seconds: float) -> str:
    """A tick's label: `0s`, `30s`, `1m`, `1m 30s`, `2h`; no part that is zero."""
    if seconds <= 0:
        return "0s"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    parts, left = [], round(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
