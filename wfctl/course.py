"""The plan that a run follows: an order inside each level, and who waits until others give back what they hold.

Knows neither clock nor chance, and not how a good order is found: it is handed what finds one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

from wfctl import events as ev
from wfctl.layout import Problem, Schedule, chains
from wfctl.noderun import FINAL, RUNNING
from wfctl.policy import IMPROVABLE, POLICIES, Rank
from wfctl.ready import Head, Ready
from wfctl.score import level_at

if TYPE_CHECKING:
    from wfctl.budget import Budget, Wish
    from wfctl.plan import Plan, Planned
    from wfctl.state import RunState

SLACK = 0.5
DRIFT = 0.1
"""How late a start may be before the plan is doubted: so many seconds, or that part of the time since it was made,
whichever is more. Processes take a moment to start, and estimates are never exact."""

AGAIN = 1.0
AGAIN_EACH = 0.005
"""Seconds that a plan holds before another one is made, at least, and for each node of it, for that is what another one
costs. As it is also `DRIFT` of the run's time, the number of plans grows with the logarithm of that."""

OVERDUE = 0.5
"""What has outlived its estimate is taken to last that part of its time longer."""

_Entry = tuple["Wish", Rank, float]


class Course(Ready):
    """The ready nodes in the order of a plan.

    A node is held back until those that the plan puts on its units before it have given them back (partial order
    schedules; Policella, Smith, Cesta and Oddi 2004): so what is planned to wait for something that matters more does
    so, and what ends early or late moves the others. When it is late by the plan, the estimates were wrong, and it may
    start as soon as it fits.
    """

    def __init__(self, plan: Plan, planned: ev.RunPlanned, begun: float, ended: Iterable[str]) -> None:
        super().__init__()
        self._plan = plan
        self._planned = planned
        self._begun = begun
        self._place = {node: place for place, node in enumerate(planned.order)}
        self._ended = set(ended)
        self._links: dict[str, set[str]] | None = None  # found when first asked: those who only read never do
        self._behind: dict[str, list[str]] = {}
        self._new: dict[str, _Entry] = {}
        self._held: dict[str, _Entry] = {}
        self._late: list[tuple[float, str]] = []

    def __contains__(self, node: str) -> bool:
        return node in self._new or node in self._held or super().__contains__(node)

    def push(self, node: str, wish: Wish, rank: Rank, since: float) -> None:
        """Add a node that waits since then. Levels are law; what the plan does not know is last in its level."""
        level = _level(self._plan, node, since - self._begun)
        self._new[node] = (wish, (-level, self._place.get(node, inf), *rank), since)

    def remove(self, node: str) -> None:
        """Take a node out."""
        if self._new.pop(node, None) is None and self._held.pop(node, None) is None:
            super().remove(node)

    def ended(self, node: str, seconds: float = 0.0) -> None:
        """A node has given back what it held, or will never hold it."""
        self._ended.add(node)
        for other in self._behind.pop(node, ()):
            left = self._before_of(other)
            left.discard(node)
            if not left and other in self._held:
                super().push(other, *self._held.pop(other))

    def best(self, budget: Budget, now: float, patience: float, before: Head | None = None) -> str | None:
        """The first of the plan's order that is not held back and may start; None where none may."""
        for node, entry in self._new.items():
            if self._before_of(node):
                self._held[node] = entry
                heappush(self._late, (self._latest(node), node))
            else:
                super().push(node, *entry)
        self._new.clear()
        while (at := self.next_release()) is not None and at <= now:
            node = heappop(self._late)[1]
            super().push(node, *self._held.pop(node))
        return super().best(budget, now, patience, before)

    def next_release(self) -> float | None:
        """When the first of those that are held back is late."""
        while self._late and self._late[0][1] not in self._held:
            heappop(self._late)
        return self._late[0][0] if self._late else None

    def drifted(self, now: float) -> bool:
        """Whether something is late by the plan, and the plan has been followed for long enough to be given up."""
        at = self.next_release()
        if at is None or at > now:
            return False
        least = max(AGAIN, AGAIN_EACH * len(self._place), DRIFT * (now - self._begun))
        return now >= self._planned.time + least

    def holding_up(self, node: str) -> list[str]:
        """Those whose units a node is held back for; none where it is not held back."""
        waits = node in self._held or node in self._new
        return sorted(self._before_of(node), key=self._place.__getitem__) if waits else []

    def _latest(self, node: str) -> float:
        start = self._begun + self._planned.start[self._place[node]]
        return round(start + max(SLACK, DRIFT * (start - self._planned.time)), 6)  # `now` has no more digits

    def _before_of(self, node: str) -> set[str]:
        if self._links is None:
            self._links = self._linked()
        return self._links.get(node) or set()

    def _linked(self) -> dict[str, set[str]]:
        planned, order = self._planned, self._planned.order
        demands, capacities = holdings(self._plan, order)
        finish = [round(start + seconds, 6) for start, seconds in zip(planned.start, planned.estimates, strict=True)]
        before: dict[str, set[str]] = {}
        for giver, taker in chains(demands, capacities, planned.start, finish):
            if order[giver] not in self._ended:
                before.setdefault(order[taker], set()).add(order[giver])
                self._behind.setdefault(order[giver], []).append(order[taker])
        return before


def holdings(plan: Plan, nodes: Sequence[str]) -> tuple[list[tuple[int, ...]], list[int]]:
    """What each node holds while it runs, of a slot and each resource that one of them asks for; and what there is."""
    demands = [dict(plan.nodes[node].demand) for node in nodes]
    asked = {name for demand in demands for name in demand}
    names = [name for name in plan.budget if name in asked]
    slots = [int(not plan.nodes[node].node.slotless) for node in nodes]
    rows = [(slot, *(demand.get(name, 0) for name in names)) for slot, demand in zip(slots, demands, strict=True)]
    return rows, [min(plan.concurrency, len(nodes)), *(plan.budget[name] for name in names)]


def plot(
    state: RunState, now: float, reason: str, search: Callable[[Problem], Schedule] | None = None
) -> ev.RunPlanned | None:
    """A plan for what has not ended yet, to be followed from `now` on, a time as events have it.

    None where the policy does as well by itself, as `Plan.improvable` says. With `search` there is a plan even then,
    but for a policy that is never improved on, and for rates, of which a plan knows nothing.
    """
    from wfctl.optimize import draft

    plan = state.plan
    if plan.policy not in IMPROVABLE or not (search or plan.improvable):
        return None
    nodes = [
        name
        for name, planned in plan.nodes.items()
        if planned.likely and not planned.holds and state.nodes[name].state not in FINAL
    ]
    if plan.rates and any(name in plan.rates for node in nodes for name, _ in plan.nodes[node].demand):
        return None
    problem = _problem(state, nodes, round(now - state.started, 6))
    try:
        schedule = search(problem) if search else draft(problem)
    except ValueError:  # a run that goes on under other budgets may have nodes that ask for too much
        return None
    start = [round(schedule.start[place], 6) for place in schedule.order]
    return ev.RunPlanned(
        time=now,
        reason=reason,
        order=tuple(nodes[place] for place in schedule.order),
        start=tuple(start),
        estimates=tuple(
            round(schedule.finish[place] - begin, 6) for place, begin in zip(schedule.order, start, strict=True)
        ),
    )


def _problem(state: RunState, nodes: Sequence[str], now: float) -> Problem:
    plan = state.plan
    place = {node: i for i, node in enumerate(nodes)}
    demands, capacities = holdings(plan, nodes)
    durations, started = [], {}
    for i, node in enumerate(nodes):
        run, seconds = state.nodes[node], plan.nodes[node].estimate
        if run.state is RUNNING and run.started is not None:
            started[i] = round(run.started - state.started, 6)
            elapsed = now - started[i]
            seconds = seconds if elapsed < seconds else round((1 + OVERDUE) * elapsed, 6)
        durations.append(seconds)
    rank = POLICIES[plan.policy]
    waiting = [i for i in range(len(nodes)) if i not in started]
    return Problem(
        durations=durations,
        needs=[_needs(plan, node, place) for node in nodes],
        demands=demands,
        capacities=capacities,
        levels=[_level(plan, node, now) for node in nodes],
        started=started,
        now=now,
        order=sorted(waiting, key=lambda i: rank(plan.nodes[nodes[i]], plan, state)),
    )


def _level(plan: Plan, node: str, moment: float) -> int:
    """What counts before the plan's order: nothing where the policy is that of paths alone."""
    return level_at(plan.nodes[node].standing.rises, moment) if plan.policy == "priority" else 0


def _needs(plan: Plan, node: str, place: dict[str, int]) -> list[int]:
    """The places of what a node waits for. Where one of them is enough, that with the least after it is taken."""
    planned = plan.nodes[node]
    needs = [place[need] for need in work_before(plan, planned) if need in place]
    if planned.node.trigger == "any_succeeded" and needs and planned.parent is None:
        return [place[max((need for need in planned.needs if need in place), key=lambda need: plan.nodes[need].tail)]]
    return needs


def work_before(plan: Plan, planned: Planned) -> Iterator[str]:
    """What does work itself and must have ended before a node begins: all inside of what it needs, and what that which
    it lies in waits for."""
    while True:
        todo = list(planned.needs)
        for need in todo:  # grows while it is read
            if plan.nodes[need].holds:
                todo += plan.nodes[need].children
                todo += plan.nodes[need].needs if not plan.nodes[need].children else ()
            else:
                yield need
        if planned.parent is None:
            return
        planned = plan.nodes[planned.parent]
