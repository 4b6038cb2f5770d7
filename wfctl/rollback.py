"""What a failed run has touched, what of that is to be undone, and in which order: a table of strategies.

Knows no state and no event: it is handed what each node did and says of itself, and the graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wfctl import graph
from wfctl.instances import END, at
from wfctl.record import dataclass

MANY, SEVERAL = 20, 5
"""Affected nodes above which a rollback is of high, and of medium complexity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A node that began, as a rollback sees it: its state and outcome, and what it says of its undo. `answer` is
    `steps`, `none` where it says that it needs none, and empty where it says nothing."""

    state: str
    unknown: bool = False
    answer: str = ""
    attempted: bool = False
    """Whether a clean failure of it is undone too."""
    pivot: bool = False
    prepared: bool = False
    """It has a prepared transaction, which is rolled back by itself."""
    place: int = 0
    """Of its end, among all events, from 1; 0 where no end of it was seen."""
    wrote: bool = False

    @property
    def failed(self) -> bool:
        return self.state in ("failed", "timed_out")

    @property
    def is_affected(self) -> bool:
        """Whether it has done its work, or may have. What was served was done by another run."""
        if self.state == "succeeded":
            return True
        return self.state != "cached" and (self.unknown or (self.failed and self.attempted))

    def is_later(self, place: int) -> bool:
        """Whether it ended after that event. What was interrupted may still have worked then: it did not end before."""
        return not self.place or self.place > place


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What a failure has touched; ids, in the order in which the nodes ended, those without a seen end last."""

    failed: tuple[str, ...]
    affected: tuple[str, ...]
    with_steps: tuple[str, ...]
    with_none: tuple[str, ...]
    without: tuple[str, ...]
    unknown: tuple[str, ...]
    kept_by_pivot: tuple[str, ...]
    consistency: str
    complexity: str

    def to_data(self) -> dict[str, Any]:
        """As it is recorded, and told to programs."""
        return {
            name: list(value) if isinstance(value := getattr(self, name), tuple) else value
            for name in (
                "failed", "affected", "with_steps", "with_none", "without", "unknown", "kept_by_pivot", "consistency",
                "complexity",
            )
        }  # fmt: skip


Graph = Mapping[str, Sequence[str]]
"""Points with those before them, as `instances.points` gives them."""


def analyse(nodes: Mapping[str, Touched], before: Graph) -> Analysis:
    """What has been touched, and whether all of it says how it is undone."""
    order = sorted(nodes, key=lambda name: (not nodes[name].place, nodes[name].place))
    passed = [name for name in order if nodes[name].pivot and nodes[name].state == "succeeded"]
    led = _reached(passed, before) if passed else set()
    kept = tuple(name for name in order if name in led)
    affected = tuple(n for n in order if nodes[n].is_affected and n not in led and not nodes[n].prepared)
    by = {answer: tuple(n for n in affected if nodes[n].answer == answer) for answer in ("steps", "none", "")}
    unknown = tuple(name for name in affected if nodes[name].unknown)
    if by[""]:
        consistency = "inconsistent"
    else:
        consistency = "recoverable" if by["steps"] else "consistent"
    if consistency == "inconsistent" or unknown or len(affected) > MANY:
        complexity = "high"
    else:
        complexity = "medium" if len(affected) > SEVERAL else "low"
    return Analysis(
        failed=tuple(name for name in order if nodes[name].failed),
        affected=affected,
        with_steps=by["steps"],
        with_none=by["none"],
        without=by[""],
        unknown=unknown,
        kept_by_pivot=kept,
        consistency=consistency,
        complexity=complexity,
    )


def _reached(names: Iterable[str], edges: Graph) -> set[str]:
    """The nodes that edges lead to from these, and they."""
    todo = [point for name in names for point in (name, name + END) if point in edges]
    seen = set(todo)
    while todo:
        for point in edges[todo.pop()]:
            if point not in seen:
                seen.add(point)
                todo.append(point)
    return {at(point) for point in seen}


# -- strategies


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a strategy goes by: the nodes and the graph, what was found of them, where one can go back to by name,
    and how often the run has already gone back."""

    nodes: Mapping[str, Touched]
    before: Graph
    analysis: Analysis
    checkpoints: Mapping[str, int]
    restarts: int = 0
    max_restarts: int = 1
    answered: Collection[str] = ()
    """Questions that were answered so that the run could go on: there is nothing to undo, but they can be an end."""
    last: Collection[str] = ()
    """The `finally` of sub-workflows: it comes however the rest went, and is no end of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """What is to be undone: `undo` by steps, of `remove` the files that were written. `then` is what comes next, `why`
    says why it is this strategy."""

    strategy: str
    undo: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    then: str = "rolled_back"
    checkpoint: str = ""
    why: str = ""


def _compensate(case: Case) -> Scheme:
    return Scheme(strategy="compensate", undo=case.analysis.with_steps)


def _full(case: Case) -> Scheme:
    wrote = tuple(name for name in case.analysis.affected if case.nodes[name].wrote)
    return Scheme(strategy="full", undo=case.analysis.with_steps, remove=wrote)


def _partial(case: Case) -> Scheme:
    """The failed branch: what leads to no end of the workflow that was reached."""
    after = graph.successors(case.before)
    leads: dict[str, bool] = {}  # whether another node comes after a point
    for point in reversed(graph.order(case.before)):
        leads[point] = any(
            leads[other] or (_works(other, case.before) and other not in case.last) for other in after[point]
        )
    reached = [n for n, one in case.nodes.items() if one.state in ("succeeded", "cached") and n not in case.last]
    ends = [name for name in (*reached, *case.answered) if not leads[name]]
    stands = _reached(ends, case.before)
    return Scheme(strategy="partial", undo=tuple(n for n in case.analysis.with_steps if n not in stands))


def _works(point: str, before: Graph) -> bool:
    """Whether a point is a node that does something itself, and none of the two of a node that holds others."""
    return not point.endswith(END) and point + END not in before


def _checkpoint(case: Case) -> Scheme:
    name = _way_back(case)
    if not name:
        return _compensate(case)
    later = tuple(n for n in case.analysis.with_steps if case.nodes[n].is_later(case.checkpoints[name]))
    if case.restarts < case.max_restarts:
        return Scheme(strategy="checkpoint", undo=later, then="restart", checkpoint=name)
    why = f"the rest was run again {_times(case.restarts)} already" if case.restarts else "the rest is not run again"
    return Scheme(strategy="checkpoint", undo=later, then="failed", checkpoint=name, why=why)


def _way_back(case: Case) -> str:
    """The last checkpoint; none where something has ended since that stays because of a pivot: it would run again."""
    name = max(case.checkpoints, key=case.checkpoints.__getitem__, default="")
    stays = max((case.nodes[n].place for n in case.analysis.kept_by_pivot), default=0)
    return name if name and case.checkpoints[name] > stays else ""


def _auto(case: Case) -> Scheme:
    analysis = case.analysis
    if analysis.complexity == "high" and _way_back(case):
        return _checkpoint(case)
    if any(one.answer == "steps" for one in case.nodes.values()):
        return _compensate(case)
    return _partial(case) if len(analysis.affected) > SEVERAL else _full(case)


def _none(case: Case) -> Scheme:
    return Scheme(strategy="none", then="failed")


STRATEGIES: Mapping[str, Callable[[Case], Scheme]] = {
    "compensate": _compensate,
    "full": _full,
    "partial": _partial,
    "checkpoint": _checkpoint,
    "auto": _auto,
    "none": _none,
}


def choose(said: str | None, by_hand: str | None, case: Case) -> Scheme:
    """What is to be undone: by the strategy that a person wants, else the one that the workflow says, else compensation
    where any node says how it is undone."""
    declared = any(one.answer == "steps" for one in case.nodes.values())
    name = by_hand or said or ("compensate" if declared or by_hand is not None else "none")
    scheme = STRATEGIES[name](case)
    if by_hand:
        why = "asked for by hand"
    elif said:
        why = "as the workflow says"
    else:
        why = "some nodes say how they are undone" if declared else "nothing that ran says how it is undone"
    if scheme.strategy != name and name == "auto":
        found = case.analysis
        why = f"chosen for {len(found.affected)} affected, {found.consistency}, of {found.complexity} complexity"
    elif scheme.strategy != name:
        why = f"{why}; there is no {name} to go back to" + (" since the pivot" if case.checkpoints else "")
    return replace(scheme, why=f"{why}; {scheme.why}" if scheme.why else why)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


# -- the order


class Order:
    """The order in which nodes are undone: each after all that came after it. What is not to be undone is passed
    through at once. Costs as much as there are edges, once for all.

    Where it is given what was `executed`, a path through another node that does work holds nothing up."""

    def __init__(self, wanted: Collection[str], before: Graph, executed: Collection[str] | None = None) -> None:
        self._wanted = frozenset(wanted)
        self._gone: set[str] = set()
        if executed is not None:
            ran = self._wanted.union(executed)
            before = {p: needs if p in ran or not _works(p, before) else () for p, needs in before.items()}
        self._before = before
        self._left = {point: len(points) for point, points in graph.successors(before).items()}
        self._start = self._pass([point for point, left in self._left.items() if not left])

    def ready(self) -> list[str]:
        """Those that can be undone at once."""
        return list(self._start)

    def undone(self, name: str) -> list[str]:
        """Those that may be undone now that this one is. To hear it twice, or too early, sets nothing free that has to
        wait for another."""
        if name in self._gone:
            return []
        self._gone.add(name)
        return [] if self._left[name] else self._pass(self._freed(name))

    def blocked_by(self, names: Collection[str]) -> set[str]:
        """Those that wait because these were not undone."""
        return {name for name in _reached(names, self._before) if name in self._wanted and name not in names}

    def sequence(self) -> list[list[str]]:
        """Waves: each can be undone when those before are. To look at: it leaves nothing to be undone."""
        waves = []
        wave = self.ready()
        while wave:
            waves.append(wave)
            wave = [name for one in wave for name in self.undone(one)]
        return waves

    def _pass(self, points: list[str]) -> list[str]:
        """The nodes that are reached from points that nothing holds up, through all that is not to be undone now."""
        found = []
        todo = deque(points)
        while todo:
            point = todo.popleft()
            if point in self._wanted and point not in self._gone:
                found.append(point)
            else:
                todo += self._freed(point)
        return found

    def _freed(self, point: str) -> list[str]:
        free = []
        for need in self._before[point]:
            self._left[need] -= 1
            if not self._left[need]:
                free.append(need)
        return free


def if_fails(node: str, nodes: Mapping[str, Touched], before: Graph) -> dict[str, Touched]:
    """What a rollback would see if this node failed, after all that does not come after it had succeeded: what is
    unordered with it may have, and is taken to. They end in an order of the graph: that of the file means nothing."""
    later = _reached([node], graph.successors(before))
    ended = [name for name in graph.order(before) if name in nodes and name not in later]
    found = {name: replace(nodes[name], state="succeeded", place=i) for i, name in enumerate(ended, 1)}
    found[node] = replace(nodes[node], state="failed", place=len(ended) + 1)
    return found
