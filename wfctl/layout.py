"""A planning problem as plain numbers, made ready to be scheduled, and what is found turned back into seconds.

Knows neither how a schedule is made nor what a node is for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from heapq import heappop, heappush
from math import gcd, isfinite
from operator import add, gt

from wfctl.record import dataclass
from wfctl.schedule import NEVER, Part, Profile, Task

MICROSECONDS = 1_000_000
"""Time is counted in whole microseconds, or in a multiple of them that divides all durations: sums are exact then,
nodes that end together do so to the digit, and a bound can be rounded up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Nodes 0 to n-1 to be placed in time, in seconds of any one clock.

    A limit on how many nodes run at once is one more capacity, of which each holds 1. A node of zero seconds
    holds nothing. `levels` are inherited: the higher wins for all that a node needs.
    `started` are the nodes that run: they keep their start, and end at `start + duration`, but not before `now`.
    """

    durations: Sequence[float]
    needs: Sequence[Sequence[int]]
    """For each node those that must have ended before it starts."""
    demands: Sequence[Sequence[int]] = ()
    """For each node what it holds of each capacity while it runs; none at all where this is empty."""
    capacities: Sequence[int] = ()
    levels: Sequence[int] = ()
    """Higher is earlier; one level where this is empty."""
    started: Mapping[int, float] = field(default_factory=dict)
    now: float = 0.0
    """Nothing else starts before."""
    order: Sequence[int] = ()
    """One to begin with, of nodes that do not run yet: nothing longer than what it gives comes out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Moments before which no plan can end, the levels and the shape of the other bound left out of account."""

    critical_path: float
    """The longest path of nodes that need each other."""
    work: float
    """The work of all nodes divided by the budget, for the scarcest resource."""

    @property
    def best(self) -> float:
        return max(self.critical_path, self.work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When each node starts and ends, the order of the starts, and how many schedules were made to find this one."""

    start: Sequence[float]
    finish: Sequence[float]
    order: Sequence[int]
    bounds: Bounds
    schedules: int

    @property
    def makespan(self) -> float:
        """The moment at which all has ended."""
        return max(self.finish, default=self.bounds.best)

    @property
    def optimal(self) -> bool:
        """Whether it ends at a lower bound: none can be shorter."""
        return self.makespan <= self.bounds.best


class Layout:
    """A problem made ready: checked, counted and packed, its levels inherited, its nodes sorted by level.

    `levels` are its nodes that do not run yet, the highest level first, each in an order that keeps needs.
    """

    def __init__(self, problem: Problem) -> None:
        """Raises ValueError where there is no schedule: a cycle, a demand over its capacity, a number out of range."""
        size = len(problem.durations)
        self._needs = problem.needs
        self._demands = problem.demands or [()] * size
        self._capacities = problem.capacities if problem.demands else ()
        levels = list(problem.levels) or [0] * size
        if not size == len(self._needs) == len(self._demands) == len(levels):
            raise ValueError("durations, needs, demands and levels differ in length")
        self._count(problem)
        self._pack()
        self._order = _after_needs(self._needs)
        self._rank = {node: -place for place, node in enumerate(problem.order)}
        for node in reversed(self._order):
            for other in self._needs[node]:
                levels[other] = max(levels[other], levels[node])
        by_level: dict[int, list[int]] = {}
        for node in self._order:
            if node not in problem.started:
                by_level.setdefault(levels[node], []).append(node)
        self.levels = [by_level[level] for level in sorted(by_level, reverse=True)]

    def _count(self, problem: Problem) -> None:
        """All times as whole numbers: `now` is 0, and the unit is the greatest that divides all."""
        if not all(isfinite(seconds) and seconds >= 0 for seconds in problem.durations):
            raise ValueError("a duration is below zero, or not finite")
        lengths = [round(seconds * MICROSECONDS) for seconds in problem.durations]
        self._origin = problem.now
        self._started = problem.started
        fixed = {n: max(0, round((at - problem.now) * MICROSECONDS) + lengths[n]) for n, at in problem.started.items()}
        self._unit = gcd(*fixed.values(), *(length for n, length in enumerate(lengths) if n not in fixed)) or 1
        self._lengths = [length // self._unit for length in lengths]
        self.fixed = {node: end // self._unit for node, end in fixed.items()}
        """The ends of the nodes that run."""

    def _pack(self) -> None:
        self._shifts: list[int] = []
        self._guard = width = 0
        for capacity in self._capacities:
            self._shifts.append(width)
            width += capacity.bit_length() + 2
            self._guard |= 1 << width - 1
        for node, demand in enumerate(self._demands):
            if len(demand) != len(self._capacities) or min(demand, default=0) < 0:
                raise ValueError(f"node {node} asks for what there is not")
            if node not in self.fixed and any(map(gt, demand, self._capacities)):
                raise ValueError(f"node {node} asks for more than there is")
        self._packed = [
            self._joined(demand) if length else 0 for demand, length in zip(self._demands, self._lengths, strict=True)
        ]

    def _joined(self, amounts: Iterable[int]) -> int:
        return sum(amount << shift for amount, shift in zip(amounts, self._shifts, strict=True))

    def part(self, nodes: Sequence[int], finish: Mapping[int, int]) -> Part:
        """The nodes of one level, to be placed beside and after those whose finish is known."""
        place = {node: i for i, node in enumerate(nodes)}
        gates: list[int] = []
        tasks: list[Task] = []
        for node in nodes:
            before = []
            for other in dict.fromkeys(self._needs[node]):
                if other not in place:
                    place[other] = len(nodes) + len(gates)
                    gates.append(finish[other])
                before.append(place[other])
            tasks.append((self._lengths[node], self._packed[node], tuple(before)))
        asked = [self._demands[node] for node in nodes if self._packed[node]]
        least = self._joined(map(min, zip(*asked, strict=True))) if asked else 0
        at, rows = self._free(finish)
        free = [self._joined(row) | self._guard for row in rows]
        profile = Profile([*at, NEVER], [*free, free[-1]])
        return Part(tasks, gates, profile, self._guard, least, self._soonest(nodes, at, rows))

    def rank(self, nodes: Sequence[int]) -> list[int]:
        """How the problem's own order ranks the nodes, the highest first; nothing where it has none."""
        return [self._rank[node] for node in nodes] if self._rank else []

    def _free(self, finish: Mapping[int, int]) -> tuple[list[int], list[list[int]]]:
        """When what is free changes, and what is free from each moment on. Holding more than there is counts as all."""
        changes: dict[int, list[int]] = {0: [0] * len(self._capacities)}
        for node, end in finish.items():
            begin = 0 if node in self.fixed else end - self._lengths[node]
            if begin < end and any(self._demands[node]):
                for moment, sign in (begin, 1), (end, -1):
                    change = changes.setdefault(moment, [0] * len(self._capacities))
                    changes[moment] = [
                        old + sign * amount for old, amount in zip(change, self._demands[node], strict=True)
                    ]
        held = [0] * len(self._capacities)
        at = sorted(changes)
        rows = []
        for moment in at:
            held = list(map(add, held, changes[moment]))
            rows.append([max(0, capacity - amount) for capacity, amount in zip(self._capacities, held, strict=True)])
        return at, rows

    def _soonest(self, nodes: Iterable[int], at: Sequence[int], rows: Sequence[Sequence[int]]) -> int:
        """The moment by which what is free suffices for the work of the nodes, for the scarcest resource."""
        soonest = 0
        for resource in range(len(self._capacities)):
            work = sum(self._lengths[node] * self._demands[node][resource] for node in nodes)
            for moment, until, row in zip(at, [*at[1:], NEVER], rows, strict=True):
                free = row[resource]
                if work <= free * (until - moment):
                    if work:
                        soonest = max(soonest, moment - (-work // free))
                    break
                work -= free * (until - moment)
        return soonest

    def bounds(self) -> Bounds:
        """Both lower bounds of the whole."""
        path: list[int] = [0] * len(self._order)
        for node in self._order:
            before = max((path[other] for other in self._needs[node]), default=0)
            path[node] = self.fixed[node] if node in self.fixed else before + self._lengths[node]
        work = self._soonest([node for nodes in self.levels for node in nodes], *self._free(self.fixed))
        return Bounds(critical_path=self.moment(max(path, default=0)), work=self.moment(work))

    def schedule(self, finish: Mapping[int, int], schedules: int) -> Schedule:
        """What was found, in the problem's own numbers and seconds."""
        begin = [finish[node] - length for node, length in enumerate(self._lengths)]
        start = [self._started[n] if n in self._started else self.moment(at) for n, at in enumerate(begin)]
        place = {node: i for i, node in enumerate(self._order)}
        return Schedule(
            start=start,
            finish=[self.moment(finish[node]) for node in range(len(start))],
            order=sorted(self._order, key=lambda node: (start[node], self._lengths[node] > 0, place[node])),
            bounds=self.bounds(),
            schedules=schedules,
        )

    def moment(self, count: int) -> float:
        return self._origin + count * self._unit / MICROSECONDS


def _after_needs(needs: Sequence[Sequence[int]]) -> list[int]:
    """Every node after all it needs; raises ValueError where there is a cycle."""
    after: list[list[int]] = [[] for _ in needs]
    for node, before in enumerate(needs):
        for other in before:
            after[other].append(node)
    left = [len(before) for before in needs]
    order = [node for node, count in enumerate(left) if not count]
    for node in order:  # grows while it is read
        for other in after[node]:
            left[other] -= 1
            if not left[other]:
                order.append(other)
    if len(order) < len(needs):
        raise ValueError("the needs go in a circle")
    return order


def chains(
    demands: Sequence[Sequence[int]], capacities: Sequence[int], start: Sequence[float], finish: Sequence[float]
) -> list[tuple[int, int]]:
    """Pairs of a node and one that takes over units of what it held, of a schedule whose nodes are in order of start.

    Whoever keeps them, and the needs, keeps every capacity, however long the nodes last (partial order schedules;
    Policella, Smith, Cesta and Oddi 2004). The units that have been free for longest are taken first, so that a delay
    spreads to few.
    """
    free = [deque([(-1, capacity)]) for capacity in capacities]
    held: list[list[int]] = [[] for _ in start]
    ending: list[tuple[float, int]] = []
    found: list[tuple[int, int]] = []
    for node, demand in enumerate(demands):
        while ending and ending[0][0] <= start[node]:
            done = heappop(ending)[1]
            for resource, amount in enumerate(held[done]):
                free[resource].append((done, amount))
        givers: set[int] = set()
        for resource, amount in enumerate(demand if start[node] < finish[node] else ()):
            units = free[resource]
            missing = amount
            while missing and units:  # what runs already may hold more than there is
                giver, there = units.popleft()
                if there > missing:
                    units.appendleft((giver, there - missing))
                missing -= min(there, missing)
                givers.add(giver)
            held[node].append(amount - missing)
        found.extend((giver, node) for giver in sorted(givers - {-1}))
        heappush(ending, (finish[node], node))
    return found
