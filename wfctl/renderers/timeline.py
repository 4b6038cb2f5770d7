"""The predicted course of a run: a bar for each node over one time axis, bounds above, resources below.

Knows nothing of how the times were found."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from wfctl.renderers.text import Pen, Style, clip, duration, number, pad, plural, size, width_of

MOST_ROWS = 60
"""Up to so many nodes each has its row; of more, the longest are shown and the rest in one strip."""

SHOWN_OF_MANY = 40


@dataclass(frozen=True, slots=True)
class Bar:
    """When a node is expected to run, in seconds from the start of the run. `note` is foreign text."""

    node: str
    start: float
    finish: float
    critical: bool = False
    level: str = "normal"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a resource is in use: `steps` are (time, amount from then on), rising in time."""

    name: str
    budget: float
    unit: Literal["cpu", "bytes", "count"]
    steps: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A whole plan. `bounds` are lower bounds of the makespan by name; all times are seconds."""

    workflow: str
    makespan: float
    bounds: Mapping[str, float]
    bars: tuple[Bar, ...]
    usage: tuple[Usage, ...] = ()
    concurrency: int = 1
    notes: tuple[str, ...] = ()


# Seconds between ticks, as clocks have them; beyond the last, whole days.
_STEPS = (
    *(0.001 * base * 10**power for power in range(3) for base in (1, 2, 5)),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400 * base * 10**power for power in range(6) for base in (1, 2, 5)),
)
_HEIGHTS = " ▁▂▃▄▅▆▇█"
_ASCII_HEIGHTS = " .:-=+*#@"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS: Mapping[str, Style] = {"critical": "magenta", "high": "cyan", "low": "dim"}


def render(timeline: Timeline, *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The timeline in at most `width` columns (40 at least): title, bounds, bars, resources, notes.

    The critical path is drawn solid and marked beside the id, so that it reads without colour too.
    """
    bars = sorted(timeline.bars, key=lambda bar: (bar.start, bar.finish))
    shown, rest = _chosen(bars)
    chart = _Chart(timeline, shown, rest, Pen(max(width, 40), color, unicode))
    lines = [chart.title(), "", *chart.bounds(), "", *chart.axis(), *(chart.row(bar) for bar in shown)]
    if rest:
        lines.append(chart.others(rest))
    lines += ["", *chart.resources(bars), *chart.notes()]
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _chosen(bars: Sequence[Bar]) -> tuple[list[Bar], list[Bar]]:
    """The bars that get a row, and the others: of many, half the rows go to the longest of the critical
    path, the others to the longest of all."""
    if len(bars) <= MOST_ROWS:
        return list(bars), []

    def longest(places: Iterable[int], count: int) -> list[int]:
        return heapq.nlargest(count, places, key=lambda i: (bars[i].finish - bars[i].start, -i))

    chosen = set(longest((i for i, bar in enumerate(bars) if bar.critical), SHOWN_OF_MANY // 2))
    chosen.update(longest((i for i in range(len(bars)) if i not in chosen), SHOWN_OF_MANY - len(chosen)))
    return [bars[i] for i in sorted(chosen)], [bar for i, bar in enumerate(bars) if i not in chosen]


def _together(bars: Iterable[Bar]) -> list[tuple[float, float]]:
    """How many of the bars run at once, as steps in time; a finish frees its place for a start of the same moment."""
    changes: dict[float, int] = {}
    for bar in bars:
        if bar.finish > bar.start:
            changes[bar.start] = changes.get(bar.start, 0) + 1
            changes[bar.finish] = changes.get(bar.finish, 0) - 1
    steps, level = [], 0
    for time in sorted(changes):
        level += changes[time]
        steps.append((time, float(level)))
    return steps


class _Chart:
    """The columns of one timeline: a mark, the id, start and time taken, and the cells of the time axis."""

    def __init__(self, timeline: Timeline, shown: Sequence[Bar], rest: Sequence[Bar], pen: Pen) -> None:
        self.timeline, self.pen, width = timeline, pen, pen.width
        self.end = max([timeline.makespan, *timeline.bounds.values(), *(bar.finish for bar in timeline.bars)])
        names = [self.pen.safe(bar.node) for bar in shown] + [name for name, _ in self._bound_rows()]
        names += [self.pen.safe(usage.name) for usage in timeline.usage] + ["at once"]
        names += [self._count(rest)] if rest else []
        self.starts = width >= 60
        figures = 17 if self.starts else 8
        self.name_width = min(max(map(width_of, names)), max(13, min((width - figures) // 3, 40)))
        self.left = 2 + self.name_width + figures + 1
        self.cells = width - self.left
        self.ticks = self._ticks()

    def _head(self, name: str, start: str, time: str, *, sign: str = " ", style: Style = "") -> str:
        """All that stands left of the time axis."""
        text = self.pen.paint(f"{sign} {pad(self.pen.clip(name, self.name_width), self.name_width)}", style)
        figures = f"  {pad(start, 7, right=True)}" if self.starts else ""
        figures += f" {pad(time, 7, right=True)}"
        return text + self.pen.paint(figures, "" if style == "bold" else "dim") + " "

    def _cell(self, time: float) -> int:
        """The cell in which a moment lies."""
        return min(int(time / self.end * self.cells), self.cells - 1) if self.end > 0 else 0

    def title(self) -> str:
        count, slots = plural(len(self.timeline.bars), "node"), plural(self.timeline.concurrency, "slot")
        name = self.pen.clip(self.timeline.workflow, max(self.pen.width - 36, 8))
        rest = f": {duration(self.timeline.makespan)} for {count} on {slots}"
        return self.pen.paint(name, "bold") + self.pen.clip(rest, self.pen.width - width_of(name))

    def _bound_rows(self) -> list[tuple[str, float]]:
        return [("makespan", self.timeline.makespan), *((self.pen.safe(n), t) for n, t in self.timeline.bounds.items())]

    def bounds(self) -> list[str]:
        """The makespan and what no order of the nodes could beat, on the axis of the bars."""
        lines = []
        line = "━" if self.pen.unicode else "-"
        for i, (name, time) in enumerate(self._bound_rows()):
            cells = max(1, round(time / self.end * self.cells)) if self.end > 0 and time > 0 else 0
            share = f" {100 * time / self.timeline.makespan:.0f}%" if i and self.timeline.makespan > 0 else ""
            strip = line * cells
            strip = (strip[: self.cells - len(share)] + share) if share else strip
            lines.append(self._head(name, "", duration(time), style="" if i else "bold") + strip)
        return lines

    def _ticks(self) -> list[tuple[int, str]]:
        """The cells that have a tick, with its label; as many as stand clear of each other."""
        if self.end <= 0:
            return [(0, "0s")]
        for step in _STEPS:
            if self.end / step > self.cells:
                continue
            ticks = [(self._cell(i * step), _moment(i * step)) for i in range(int(self.end / step + 1e-9) + 1)]
            if all(a[0] + len(a[1]) + 2 <= b[0] for a, b in pairwise(ticks)):
                break
        else:
            ticks = [(0, "0s")]
        return [tick for tick in ticks if tick[0] + len(tick[1]) <= self.cells or tick[0] == 0]

    def axis(self) -> list[str]:
        labels = ""
        for cell, label in self.ticks:
            labels = labels.ljust(cell) + label
        flat, first, tick = ("─", "├", "┬") if self.pen.unicode else ("-", "+", "+")
        at = {cell for cell, _ in self.ticks}
        line = "".join((first if not cell else tick) if cell in at else flat for cell in range(self.cells))
        return [
            self._head("node", "start", "time", style="dim") + self.pen.paint(labels, "dim"),
            " " * self.left + self.pen.paint(line, "dim"),
        ]

    def row(self, bar: Bar) -> str:
        """One node: its bar is never less than a cell; a note stands where there is room beside the bar."""
        first = self._cell(bar.start)
        strip = self._solid(bar, first) if bar.critical else self._light(bar, first)
        last = first + len(strip)
        style: Style = "bold yellow" if bar.critical else "blue"
        sign = " " if not bar.critical else "◆" if self.pen.unicode else "*"
        name_style: Style = "bold yellow" if bar.critical else _LEVELS.get(bar.level, "")
        words = [word for word in (bar.level if bar.level != "normal" else "", self.pen.safe(bar.note)) if word]
        note = ", ".join(words)
        before, after = self._grid(0, first), self._grid(last, self.cells)
        if note and self.cells - last >= min(width_of(note), 12) + 1:
            note = clip(note, self.cells - last - 1, unicode=self.pen.unicode)
            after = f" {self.pen.paint(note, 'dim')} " + self._grid(last + 2 + width_of(note), self.cells)
        elif note and first > width_of(note) + 1:
            at = first - width_of(note) - 1
            before = self._grid(0, at) + self.pen.paint(note, "dim") + " "
        head = self._head(bar.node, duration(bar.start), duration(bar.finish - bar.start), sign=sign, style=name_style)
        return head + before + self.pen.paint(strip, style) + after

    def _grid(self, first: int, last: int) -> str:
        """The empty cells of a row, with a faint mark under each tick, for the eye to follow."""
        sign = "┊" if self.pen.unicode else ":"
        at = {cell for cell, _ in self.ticks}
        cells = "".join(sign if cell in at and cell else " " for cell in range(first, last))
        return self.pen.paint(cells, "dim") if cells.strip() else cells

    def _light(self, bar: Bar, first: int) -> str:
        end = round(bar.finish / self.end * self.cells) if self.end > 0 else 0
        return ("▒" if self.pen.unicode else "=") * max(1, min(end, self.cells) - first)

    def _solid(self, bar: Bar, first: int) -> str:
        """A full bar; its end is exact to an eighth of a cell, its beginning to a cell."""
        eighths = round(bar.finish / self.end * self.cells * 8) if self.end > 0 else 0
        whole, part = divmod(max(min(eighths, self.cells * 8) - first * 8, 1), 8)
        if not self.pen.unicode:
            return "#" * max(1, whole + (part >= 4))
        return "█" * whole + (_EIGHTHS[part] if part else "")

    def _count(self, rest: Sequence[Bar]) -> str:
        return f"{number(len(rest))} more"

    def others(self, rest: Sequence[Bar]) -> str:
        """All nodes without a row of their own, as one strip: how many of them run at once."""
        steps = _together(rest)
        most = max((amount for _, amount in steps), default=1)
        strip = self._strip(steps, most)
        return self._head(self._count(rest), "", "", sign="+") + strip

    def resources(self, bars: Sequence[Bar]) -> list[str]:
        """A strip for each resource, as high as the most in use in each slice of time against the budget."""
        together = _together(bars)
        most = max((amount for _, amount in together), default=0.0)
        rows = [("at once", most, float(max(self.timeline.concurrency, most)), "count", together)]
        for usage in self.timeline.usage:
            peak = max((amount for _, amount in usage.steps), default=0.0)
            rows.append((usage.name, peak, usage.budget, usage.unit, list(usage.steps)))
        lines = [self._head("in use", "peak" if self.starts else "", "of" if self.starts else "peak", style="dim")]
        for name, peak, budget, unit, steps in rows:
            peak_text, budget_text = _amount(peak, unit), _amount(budget, unit)
            figures = (peak_text, budget_text) if self.starts else ("", peak_text)
            lines.append(self._head(name, *figures) + self.pen.paint(self._strip(steps, budget), "cyan"))
        return lines

    def _strip(self, steps: Sequence[tuple[float, float]], full: float) -> str:
        """The most that is in use in each cell's slice of time, in eight heights; a full cell is the budget."""
        peaks = [0.0] * self.cells
        for i, (time, amount) in enumerate(steps):
            until = steps[i + 1][0] if i + 1 < len(steps) else self.end
            if amount <= 0 or self.end <= 0:
                continue
            first = self._cell(time)
            # A slice that ends where the next cell begins does not reach into it.
            last = max(first, min(-int(-until / self.end * self.cells // 1) - 1, self.cells - 1))
            for cell in range(first, last + 1):
                peaks[cell] = max(peaks[cell], amount)
        heights = _HEIGHTS if self.pen.unicode else _ASCII_HEIGHTS
        full = full if full > 0 else max(peaks) or 1.0
        return "".join(heights[min(8, max(1, round(peak / full * 8)))] if peak > 0 else " " for peak in peaks)

    def notes(self) -> list[str]:
        import textwrap

        lines: list[str] = []
        for note in self.timeline.notes:
            wrapped = textwrap.wrap(self.pen.safe(note), self.pen.width - 2, break_on_hyphens=False) or [""]
            lines += [f"{'  ' if i else '- '}{line}" for i, line in enumerate(wrapped)]
        return ["", *lines] if lines else []


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


def _amount(amount: float, unit: str) -> str:
    """An amount of a resource in at most seven columns."""
    text = size(amount) if unit == "bytes" else number(amount)
    return text if len(text) <= 7 else text.replace(" ", "").removesuffix("B")[:7]
