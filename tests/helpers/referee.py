"""Plays a simulated run again, and says where it broke a rule of scheduling.

Knows the rules as they are written down, and not how queue and budget keep them: it looks at everything, each time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, inf

from wfctl import events as ev
from wfctl.course import Course
from wfctl.noderun import READY, RUNNING
from wfctl.plan import Plan
from wfctl.policy import POLICIES
from wfctl.score import LEVELS
from wfctl.state import RunState

SLOT = ""

Amounts = Mapping[str, int]


@dataclass
class Turn:
    """A node that is the first of all that wait, and does not fit: what was so at the end of each turn of the loop."""

    node: str
    promises: list[float] = field(default_factory=list)
    running: list[tuple[float, list[str]]] = field(default_factory=list)


class Referee:
    """`faults` are the rules that a run broke. `batches` are its events, turn by turn, as watchers are told of them.

    `slack` is how many seconds there may be between an end and a start that had to wait for it.
    """

    def __init__(self, plan: Plan, batches: Sequence[Sequence[ev.Event]], slack: float = 0.0) -> None:
        self.faults: list[str] = []
        self._slack = slack
        self._plan = plan
        self._state = RunState(plan)
        self._limits = {SLOT: plan.concurrency, **plan.budget}
        self._place = {name: place for place, name in enumerate(plan.nodes)}  # in the order of becoming ready
        self._turn = Turn("")
        self._ends = {e.node: e.time for batch in batches for e in batch if isinstance(e, ev.NodeSucceeded)}
        for batch in batches:
            for event in batch:
                if isinstance(event, ev.NodeStarted):
                    self._look_at_start(event.node, event.time)
                self._apply(event)
            if self._ready() and self._state.course is None:
                self._look_at_end(batch[-1].time)

    def _apply(self, event: ev.Event) -> None:
        before = set(self._ready())
        self._state.apply(event)
        if isinstance(event, ev.NodeReady | ev.NodeSucceeded):
            for name in (event.node, *self._plan.nodes[event.node].dependents):
                if self._state.nodes[name].state is READY and name not in before:
                    self._place[name] = len(self._place) + max(self._place.values())

    # -- the rules

    def _look_at_start(self, node: str, now: float) -> None:
        """What starts has all it needs, and fits."""
        if any(self._state.nodes[need].state != "succeeded" for need in self._plan.nodes[node].needs):
            self._broken(f"{node} starts at {now} before what it needs has ended")
        if not self._fits(node):
            self._broken(f"{node} starts at {now} over a budget")
        if isinstance(self._state.ready, Course):
            self._look_at_level(node, now, self._state.ready)
        else:
            self._look_at_rank(node, now)

    def _look_at_rank(self, node: str, now: float) -> None:
        """Who ranks before it does not fit, or would delay the first. It does not delay the first itself."""
        first = self._state.ready.first or node
        if node != first and self._fits(first):
            self._broken(f"{node} starts at {now} before {first}, which is first and fits")
        if node != first and not self._may_pass(node, first, now):
            self._broken(f"{node} starts at {now} and delays {first}")
        if node == first:
            if node == self._turn.node:
                self._look_at_turn(self._turn, now)
            self._turn = Turn("")
        for other in self._ready():
            if self._is_before(other, node) and self._fits(other) and self._may_pass(other, first, now):
                self._broken(f"{node} starts at {now} before {other}, which ranks before it and may")
            if self._is_before(other, first) or (self._is_higher(other, node) and not self._is_before(other, node)):
                self._broken(f"{other} should rank before {node} and {first} at {now}")

    def _look_at_level(self, node: str, now: float, course: Course) -> None:
        """By a plan, too, it takes the place of nobody of a higher level that could start."""
        higher = [other for other in self._ready() if self._level(other) > self._level(node)]
        for other in higher if self._plan.policy == "priority" else ():
            if self._fits(other) and not course.holding_up(other) and all(self._fits(one) for one in higher):
                self._broken(f"{node} starts at {now} before {other}, which is of a higher level")

    def _look_at_end(self, now: float) -> None:
        """Nothing idles that fits, but what would delay the first."""
        first = self._state.ready.first or ""
        for node in self._ready():
            if self._fits(node) and (node == first or self._may_pass(node, first, now)):
                self._broken(f"{node} idles at {now} and may start")
        if self._turn.node != first:
            self._turn = Turn(first)
        self._turn.promises.append(self._promise(first, now)[0])
        self._turn.running.append((now, self._running()))

    def _look_at_turn(self, turn: Turn, now: float) -> None:
        """Nobody starves, however wrong estimates are: when the first has waited for `aging`, nobody may delay it.

        So it starts when all has ended that ran at the moment at which it should have started by estimates from then.
        """
        patient = self._since(turn.node) + self._plan.aging
        promises = [at for (now, _), at in zip(turn.running, turn.promises, strict=True) if patient <= now and at < inf]
        due = max([patient, *promises[:1]])
        running = [names for at, names in turn.running if at <= due] or [turn.running[0][1]]
        latest = max([due, *(self._ends[name] for name in running[-1])])
        if now > latest + self._slack:
            self._broken(f"{turn.node} is first and starts at {now}, not by {latest}")

    def _promise(self, first: str, now: float) -> tuple[float, Amounts]:
        """When the first can start by estimates, `inf` where they do not tell; and what others may have even then.

        That counts on no more to end than the first needs, and on what runs longest over its estimate before others.
        """
        wanted = self._load(first)
        ends = sorted((self._end(name), name) for name in self._running())
        gone = 0
        while ends[gone:] and ends[gone][0] < inf and not _is_in(wanted, self._free(ends[gone:])):
            gone += 1
        if not _is_in(wanted, self._free(ends[gone:])):
            return inf, _less(self._free(ends[gone:]), wanted)
        at = max([now, *(end for end, _ in ends[:gone])])
        return at, _less(self._free([(end, name) for end, name in ends[gone:] if not now < end <= at]), wanted)

    def _may_pass(self, node: str, first: str, now: float) -> bool:
        """Whether it does not delay the first by estimates; where they do not tell, until that has waited for long."""
        at, spare = self._promise(first, now)
        planned, patient = self._plan.nodes[node], now < self._since(first) + self._plan.aging
        if _is_in(self._load(node), spare):
            return True
        if at == inf or not planned.estimated:
            return patient
        return now + planned.estimate <= at and (patient or at > now)

    def _is_before(self, one: str, other: str) -> bool:
        """Whether one ranks before the other. Which of two groups is next is not for a rank to say."""
        if not self._are_compared(one, other):
            return False
        keys = [(POLICIES[self._plan.policy](self._plan.nodes[n], self._plan, self._state), self._place[n])
                for n in (one, other)]  # fmt: skip
        return keys[0] < keys[1]

    def _is_higher(self, one: str, other: str) -> bool:
        """By level with age, in the policies that go by level."""
        keys = [10 * self._level(n) - floor(10 * self._since(n) / self._plan.aging) for n in (one, other)]
        return self._plan.policy in ("priority", "fair") and self._are_compared(one, other) and keys[0] > keys[1]

    # -- what they speak of

    def _are_compared(self, one: str, other: str) -> bool:
        groups = {self._plan.nodes[name].node.group for name in (one, other)}
        return self._plan.policy != "fair" or len(groups) == 1

    def _level(self, node: str) -> int:
        """The highest of its own and of all that needs it."""
        planned = self._plan.nodes[node]
        return max([LEVELS.index(str(planned.node.priority)), *map(self._level, planned.dependents)])

    def _since(self, node: str) -> float:
        return self._state.nodes[node].ready_at or 0.0

    def _ready(self) -> list[str]:
        return [name for name, run in self._state.nodes.items() if run.state is READY]

    def _running(self) -> list[str]:
        return [name for name, run in self._state.nodes.items() if run.state is RUNNING]

    def _end(self, node: str) -> float:
        planned = self._plan.nodes[node]
        return (self._state.nodes[node].started or 0.0) + (planned.estimate if planned.estimated else inf)

    def _load(self, node: str) -> Amounts:
        return {SLOT: 1, **dict(self._plan.nodes[node].demand)}

    def _free(self, running: Collection[tuple[float, str]]) -> Amounts:
        loads = [self._load(name) for _, name in running]
        return {name: amount - sum(load.get(name, 0) for load in loads) for name, amount in self._limits.items()}

    def _fits(self, node: str) -> bool:
        return _is_in(self._load(node), self._free([(inf, name) for name in self._running()]))

    def _broken(self, text: str) -> None:
        self.faults.append(text)


def _is_in(load: Amounts, room: Amounts) -> bool:
    return all(amount <= room[name] for name, amount in load.items())


def _less(room: Amounts, load: Amounts) -> Amounts:
    return {name: max(0, amount - load.get(name, 0)) for name, amount in room.items()}
