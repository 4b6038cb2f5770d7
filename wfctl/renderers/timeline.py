"""The predicted course of a run: its length beside what is possible, then bars by node or lanes by resource.

Knows nothing of how the times were found."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from wfctl.renderers.chart import Chart, Steps, amount, peak, percent, shortened, together
from wfctl.renderers.families import families
from wfctl.renderers.occupancy import Occupancy
from wfctl.renderers.text import LOOKS, Pen, Style, clip, duration, number, plural, width_of

MOST_ROWS = 80
"""Up to so many nodes each has its row; of more, those of one family share one."""

ROWS_OF_MANY = 40
"""Rows for more nodes than that; at most half of them for nodes of the critical path, the others for families."""


@dataclass(frozen=True, slots=True)
class Bar:
    """When a node is expected to run, in seconds from the start of the run. `note` is foreign text.

    `demand` is what it holds of each resource, in the unit of that. One that is `cached` is served, and does not run.
    """

    node: str
    start: float
    finish: float
    critical: bool = False
    level: str = "normal"
    note: str = ""
    demand: Mapping[str, float] = field(default_factory=dict)
    cached: bool = False

    @property
    def seconds(self) -> float:
        return self.finish - self.start


@dataclass(frozen=True, slots=True)
class Resource:
    """What nodes share. `names` are those of its units, in order, where they have others than their numbers from 1."""

    name: str
    budget: float
    unit: Literal["cpu", "bytes", "count"] = "count"
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """A whole plan. `bounds` are lower bounds of the makespan by name; all times are seconds."""

    workflow: str
    makespan: float
    bounds: Mapping[str, float]
    bars: tuple[Bar, ...]
    resources: tuple[Resource, ...] = ()
    concurrency: int = 1
    scarcest: str = ""
    """The resource, or `slots`, whose work takes longest."""
    notes: tuple[str, ...] = ()

    @property
    def slots(self) -> Resource:
        """How many nodes may run at once, as one more resource."""
        return Resource("slots", float(self.concurrency))

    @property
    def end(self) -> float:
        """The last moment that there is anything to show of."""
        return max([self.makespan, *self.bounds.values(), *(bar.finish for bar in self.bars)])


LEVELS: Mapping[str, Style] = {"critical": "magenta", "high": "cyan", "low": "dim"}
_EIGHTHS = " ▏▎▍▌▋▊▉"


def render(
    timeline: Timeline,
    *,
    by: Literal["node", "resource"] = "node",
    width: int = 80,
    color: bool = False,
    unicode: bool = True,
) -> str:
    """The timeline in at most `width` columns (40 at least): title, bounds, bars, notes.

    By node there is a bar for each, and below how much is in use of each resource; by resource there is a lane for
    each unit, with those that hold it. The critical path is drawn solid, so that it reads without colour too.
    """
    pen = Pen(max(width, 40), color, unicode)
    body = Occupancy(timeline, pen) if by == "resource" else _Nodes(timeline, pen)
    bounds = [(pen.safe(name), time) for name, time in [("makespan", timeline.makespan), *timeline.bounds.items()]]
    chart = Chart(pen, timeline.end, [*(width_of(name) for name, _ in bounds), *map(width_of, body.names)])
    lines = [*_title(timeline, pen), "", *_bounds(bounds, chart), "", *body.lines(chart), *_notes(timeline, pen)]
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _title(timeline: Timeline, pen: Pen) -> list[str]:
    """How long for what, and how much longer than it has to be."""
    count, slots = plural(len(timeline.bars), "node"), plural(timeline.concurrency, "slot")
    rest = f": {duration(timeline.makespan)} for {count} on {slots}"
    if served := sum(1 for bar in timeline.bars if bar.cached):
        rest += f", {number(served)} served"
    name = pen.clip(timeline.workflow, max(pen.width - len(rest), 8))
    title = pen.paint(name, "bold") + pen.clip(rest, pen.width - width_of(name))
    bound = max(timeline.bounds.values(), default=0.0)
    if bound <= 0 or timeline.makespan <= 0:
        return [title]
    return [title, pen.clip(_verdict(timeline.makespan / bound), pen.width)]


def _verdict(ratio: float) -> str:
    """How far a makespan is from the lower bound, as what it is of that."""
    above = ratio - 1
    if above < 1e-6:  # events are told to the microsecond
        return "at the lower bound: no plan is shorter"
    if above < 1:
        return f"{number(max(above * 100, 0.1)) if above < 0.0995 else round(above * 100)} % above the lower bound"
    return f"{number(ratio)} times the lower bound"


def _bounds(bounds: Sequence[tuple[str, float]], chart: Chart) -> list[str]:
    """The makespan and what no order of the nodes could beat, on the axis of the bars."""
    lines = []
    line = "━" if chart.pen.unicode else "-"
    makespan = bounds[0][1]
    for i, (name, time) in enumerate(bounds):
        cells = max(1, round(time / chart.end * chart.cells)) if chart.end > 0 and time > 0 else 0
        share = f" {percent(time / makespan)}" if i and makespan > 0 else ""
        strip = (line * cells)[: chart.cells - len(share)] + share
        sign = _critical_sign(chart.pen, name == "critical path")
        style: Style = "" if i else "bold"
        lines.append(chart.head(name, "", duration(time), sign=sign, style=style) + strip)
    return lines


def _critical_sign(pen: Pen, critical: bool) -> str:
    return " " if not critical else "◆" if pen.unicode else "*"


def _notes(timeline: Timeline, pen: Pen) -> list[str]:
    import textwrap

    lines: list[str] = []
    for note in timeline.notes:
        wrapped = textwrap.wrap(pen.safe(note), pen.width - 2, break_on_hyphens=False) or [""]
        lines += [f"{'  ' if i else '- '}{line}" for i, line in enumerate(wrapped)]
    return ["", *lines] if lines else []


class _Nodes:
    """A row for each node or family of nodes, by start, then a strip for each resource."""

    def __init__(self, timeline: Timeline, pen: Pen) -> None:
        self.timeline, self.pen = timeline, pen
        self.rows = _rows(timeline.bars)
        self.use: list[tuple[Resource, Steps]] = []
        for resource in timeline.resources:
            spans = [(bar.start, bar.finish, bar.demand.get(resource.name, 0.0)) for bar in timeline.bars]
            self.use.append((resource, together(spans)))
        self.at_once = together((bar.start, bar.finish, 1.0) for bar in timeline.bars)
        self.names = [self._label(label, len(bars)) for label, bars in self.rows]
        self.names += ["at once", *(pen.safe(resource.name) for resource in timeline.resources)]

    def lines(self, chart: Chart) -> list[str]:
        lines = chart.axis("node", "start", "time")
        for label, bars in self.rows:
            lines.append(self._family(label, bars, chart) if len(bars) > 1 else self._node(bars[0], chart))
        return [*lines, "", *self._in_use(chart)]

    def _label(self, label: str, count: int, columns: int = 200) -> str:
        times = f" {'×' if self.pen.unicode else 'x'}{number(count)}" if count > 1 else ""
        name = shortened(self.pen.safe(label or "others"), columns - len(times), unicode=self.pen.unicode)
        return name + times

    def _node(self, bar: Bar, chart: Chart) -> str:
        """One node: its bar is never less than a cell; a note stands where there is room beside the bar."""
        first = chart.cell(bar.start)
        strip = self._strip(bar, first, chart)
        last = first + len(strip)
        words = [word for word in (bar.level if bar.level != "normal" else "", self.pen.safe(bar.note)) if word]
        note = ", ".join(words)
        before, after = chart.grid(0, first), chart.grid(last, chart.cells)
        if note and chart.cells - last >= min(width_of(note), 12) + 1:
            note = clip(note, chart.cells - last - 1, unicode=self.pen.unicode)
            after = f" {self.pen.paint(note, 'dim')} " + chart.grid(last + 2 + width_of(note), chart.cells)
        elif note and first > width_of(note) + 1:
            at = first - width_of(note) - 1
            before = chart.grid(0, at) + self.pen.paint(note, "dim") + " "
        sign = self.pen.mark("cached") if bar.cached else _critical_sign(self.pen, bar.critical)
        style: Style = "bold yellow" if bar.critical else LEVELS.get(bar.level, "")
        name = self._label(bar.node, 1, chart.name_width)
        head = chart.head(name, duration(bar.start), duration(bar.seconds), sign=sign, style=style)
        color: Style = "bold yellow" if bar.critical else LOOKS["cached"].style if bar.cached else "blue"
        return head + before + self.pen.paint(strip, color) + after

    def _strip(self, bar: Bar, first: int, chart: Chart) -> str:
        """What is drawn for a node: on the critical path full, its end exact to an eighth of a cell."""
        if bar.cached:
            return self.pen.mark("cached")
        if not bar.critical or not self.pen.unicode:
            sign = "▒" if self.pen.unicode else "#" if bar.critical else "="
            return sign * chart.reach(first, bar.finish)
        whole, part = divmod(chart.reach(first, bar.finish, 8), 8)
        return "█" * whole + (_EIGHTHS[part] if part else "")

    def _family(self, label: str, bars: Sequence[Bar], chart: Chart) -> str:
        """Many nodes, from the first start to the last finish: how many of them run at once, of all that ever do."""
        start, finish = min(bar.start for bar in bars), max(bar.finish for bar in bars)
        name = self._label(label, len(bars), chart.name_width)
        sign = _critical_sign(self.pen, any(bar.critical for bar in bars))
        steps = together((bar.start, bar.finish, 1.0) for bar in bars)
        head = chart.head(name, duration(start), duration(finish - start), sign=sign)
        return head + chart.strip(steps, peak(self.at_once), "blue")

    def _in_use(self, chart: Chart) -> list[str]:
        """A strip for each resource, as high as the most in use in each slice of time against the budget."""
        most = peak(self.at_once)
        slots = Resource("at once", float(max(self.timeline.concurrency, most)))
        lines = [chart.head("in use", "peak" if chart.wide else "", "of" if chart.wide else "peak", style="dim")]
        for resource, steps in [(slots, self.at_once), *self.use]:
            most_text, budget_text = amount(peak(steps), resource.unit, 7), amount(resource.budget, resource.unit, 7)
            figures = (most_text, budget_text) if chart.wide else ("", most_text)
            head = chart.head(self.pen.safe(resource.name), *figures)
            lines.append(head + chart.strip(steps, resource.budget, "cyan"))
        return lines


def _rows(bars: Sequence[Bar]) -> list[tuple[str, list[Bar]]]:
    """Each row with its label and the nodes that it is for, by start; every node is in one."""
    if len(bars) <= MOST_ROWS:
        rows = [(bar.node, [bar]) for bar in bars]
    else:
        critical = [i for i, bar in enumerate(bars) if bar.critical]
        alone = set(heapq.nlargest(ROWS_OF_MANY // 2, critical, key=lambda i: (bars[i].seconds, -i)))
        rest = [bar for i, bar in enumerate(bars) if i not in alone]
        rows = [(bars[i].node, [bars[i]]) for i in alone]
        found = families([bar.node for bar in rest], [bar.seconds for bar in rest], ROWS_OF_MANY - len(alone))
        rows += [(family.label, [rest[i] for i in family.members]) for family in found]
    return sorted(rows, key=lambda row: (min(bar.start for bar in row[1]), max(bar.finish for bar in row[1])))
