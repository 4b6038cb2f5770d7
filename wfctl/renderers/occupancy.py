"""Who holds what, and when: a block for each resource, with a lane for each of its units.

Knows nothing of how the times were found."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from wfctl.renderers.chart import Chart, Steps, amount, peak, percent, shortened, together
from wfctl.renderers.text import Pen, Style, number, width_of

if TYPE_CHECKING:
    from wfctl.renderers.timeline import Bar, Resource, Timeline

MOST_LANES = 16
"""Lanes of one resource. What has more units, or parts of units, has a lane only for those that hold much of it."""

LARGE = 8
"""Much is an eighth of the budget: so there are never more such lanes than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """One resource: lanes of nodes that never overlap, and a strip for the `others`, that have none.

    `count` nodes hold some of it, `share` of the budget over the whole time. `amounts` says that a lane is for a node
    whatever it holds, so that it must be told how much.
    """

    resource: Resource
    count: int
    use: Steps
    share: float
    lanes: tuple[tuple[str, tuple[Bar, ...]], ...]
    others: int
    label: str = ""
    """What the others are called."""
    held: Steps = ()
    """By the others, `full` at most."""
    full: float = 1.0
    amounts: bool = False


class Occupancy:
    """The part of a timeline that is told by resource."""

    def __init__(self, timeline: Timeline, pen: Pen) -> None:
        self.pen, self.timeline = pen, timeline
        self._fill, self._full = "▒█" if pen.unicode else "=#"
        # Those that start together are in the order in which they did.
        self._bars = sorted((bar for bar in timeline.bars if bar.seconds > 0), key=lambda bar: bar.start)
        self._end = max((bar.finish for bar in self._bars), default=0.0)
        slots = self._by_unit(timeline.slots, self._bars, lambda bar: 1.0)
        blocks = [slots, *map(self._block, timeline.resources)]
        self._blocks = sorted(blocks, key=lambda block: block.share, reverse=True)
        self.names = ["in use", *(pen.safe(name) for block in self._blocks for name, _ in block.lanes)]
        self.names += [block.label for block in self._blocks]

    def lines(self, chart: Chart) -> list[str]:
        lines = chart.axis("lane", "nodes", "busy")
        drawn: dict[object, str] = {}
        for block in self._blocks:
            own = block.resource.name
            # Where each node holds one unit of two resources, their lanes are the same.
            same = drawn.setdefault(tuple(tuple(bar.node for bar in bars) for _, bars in block.lanes) or own, own)
            lines += ["", self._title(block, same)] if block is not self._blocks[0] else [self._title(block, same)]
            if same == own:
                lines += self._drawn(block, chart)
        return lines

    def _drawn(self, block: _Block, chart: Chart) -> list[str]:
        """The lanes of a resource, and strips for what they do not show."""
        lines = [self._lane(name, bars, block, chart) for name, bars in block.lanes]
        if block.lanes and block.others:
            strip = chart.strip(block.held, block.full, "blue")
            lines.append(chart.head(block.label, number(block.others), "", style="dim") + strip)
        if block.others or block.amounts:
            strip = chart.strip(block.use, block.resource.budget, "cyan")
            lines.append(chart.head("in use", number(block.count), percent(block.share), style="dim") + strip)
        return lines

    # -- who holds what

    def _block(self, resource: Resource) -> _Block:
        def of(bar: Bar) -> float:
            return bar.demand.get(resource.name, 0.0)

        bars = [bar for bar in self._bars if of(bar) > 0]
        if resource.budget <= MOST_LANES and all(of(bar) % 1 == 0 for bar in bars):
            return self._by_unit(resource, bars, of)
        large = [bar for bar in bars if of(bar) * LARGE >= resource.budget]
        small = [bar for bar in bars if of(bar) * LARGE < resource.budget]
        lanes = _lanes(large, lambda bar: 1.0)
        use = _use(bars, of)
        return _Block(
            resource=resource,
            count=len(bars),
            use=use,
            share=self._share(use, resource.budget),
            lanes=tuple((str(place + 1), tuple(lanes[place])) for place in sorted(lanes)),
            others=len(small),
            label="smaller",
            held=_use(small, of),
            full=resource.budget,
            amounts=True,
        )

    def _by_unit(self, resource: Resource, bars: Sequence[Bar], of: Callable[[Bar], float]) -> _Block:
        """A lane for each unit: who wants several is in as many."""
        lanes = _lanes(bars, of)
        names = [*resource.names, *(str(place + 1) for place in range(len(resource.names), len(lanes)))]
        hidden = [bar for place, held in lanes.items() if place >= MOST_LANES for bar in held]
        use = _use(bars, of)
        return _Block(
            resource=resource,
            count=len(bars),
            use=use,
            share=self._share(use, resource.budget),
            lanes=tuple((names[place], tuple(lanes[place])) for place in sorted(lanes) if place < MOST_LANES),
            others=len(hidden),
            label=f"{number(len(lanes) - MOST_LANES)} more" if hidden else "",
            held=_use(hidden, lambda bar: 1.0),
            full=max(len(lanes) - MOST_LANES, 1),
        )

    def _share(self, use: Steps, budget: float) -> float:
        held = sum(amount * (until - time) for (time, amount), (until, _) in pairwise(use))
        return held / (budget * self._end) if budget > 0 and self._end > 0 else 0.0

    # -- how it looks

    def _title(self, block: _Block, same: str) -> str:
        """`gpu: 86 % used, the scarcest, at most 2 of 2 at once`, as much of it as fits."""
        resource, pen = block.resource, self.pen
        most, budget = amount(peak(block.use), resource.unit), amount(resource.budget, resource.unit)
        words = [f": {percent(block.share)} used", f", at most {most} of {budget} at once"]
        if resource.name == self.timeline.scarcest and len(self._blocks) > 1:
            words.insert(1, ", the scarcest")
        if same != resource.name:
            words.append(f", in the lanes of {pen.safe(same)}")
        name = pen.clip(resource.name, max(pen.width - len("".join(words)), pen.width // 3))
        while width_of(name) + len("".join(words)) > pen.width and len(words) > 1:
            words.pop()
        return pen.paint(name, "bold") + pen.clip("".join(words), pen.width - width_of(name))

    def _lane(self, name: str, bars: Sequence[Bar], block: _Block, chart: Chart) -> str:
        """The nodes that hold one unit, one after the other, each with its id where there is room."""
        cells: list[tuple[str, Style]] = [(sign, "dim") for sign in chart.marks]
        begins = [chart.cell(bar.start) for bar in bars] + [chart.cells]
        short: dict[int, float] = {}
        for bar, (first, following) in zip(bars, pairwise(begins), strict=True):
            length = min(chart.reach(first, bar.finish), max(following - first, 1))
            if length == 1:
                short[first] = short.get(first, 0.0) + bar.seconds
            text = self.pen.safe(bar.node)
            if block.amounts:
                text += f" {amount(bar.demand[block.resource.name], block.resource.unit)}"
            cells[first : first + length] = self._bar(bar, text, length)
        for cell, seconds in short.items():
            if cells[cell][0] == self._fill and 2 * seconds * chart.cells < chart.end:
                cells[cell] = "░" if self.pen.unicode else "-", "blue"  # it is idle for most of that time
        busy = sum(bar.seconds for bar in bars) / self._end
        head = chart.head(self.pen.safe(name), number(len(bars)), percent(busy))
        return head + chart.painted(cells)

    def _bar(self, bar: Bar, text: str, length: int) -> list[tuple[str, Style]]:
        """A bar of so many cells: its edge, its text, the rest of it. A wide letter takes a cell and an empty one."""
        fill = self._full if bar.critical else self._fill
        style: Style = "bold yellow" if bar.critical else "blue"
        if length == 1:
            return [(fill, style)]
        cells = ["▌" if self.pen.unicode else "|"]
        if length > min(width_of(text), 3):
            for char in shortened(text, length - 1, unicode=self.pen.unicode):
                wide = width_of(char)
                if wide:
                    cells += [char, *[""] * (wide - 1)]
                else:
                    cells[-1] += char
        cells += [fill] * (length - len(cells))
        return [(cell, style) for cell in cells]


def _lanes(bars: Sequence[Bar], of: Callable[[Bar], float]) -> Mapping[int, list[Bar]]:
    """Nodes, by start, each in as many lanes as it wants: always the lowest that are free, as devices are given out."""
    lanes: dict[int, list[Bar]] = {}
    free: list[int] = []
    ends: list[tuple[float, int]] = []
    for bar in bars:
        while ends and ends[0][0] <= bar.start:
            heapq.heappush(free, heapq.heappop(ends)[1])
        for _ in range(int(of(bar))):
            place = heapq.heappop(free) if free else len(lanes)
            lanes.setdefault(place, []).append(bar)
            heapq.heappush(ends, (bar.finish, place))
    return lanes


def _use(bars: Sequence[Bar], of: Callable[[Bar], float]) -> Steps:
    return together((bar.start, bar.finish, of(bar)) for bar in bars)
