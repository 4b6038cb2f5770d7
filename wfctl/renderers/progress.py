"""How far a run is, and how long it may still take, kept from its events.

Knows no screen and reads no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nlargest
from math import isfinite
from typing import TYPE_CHECKING

from wfctl import events as ev
from wfctl.noderun import FINAL, UNDO_FAILED, UNDONE, NodeState
from wfctl.plan import Plan
from wfctl.renderers.plain import ended_as
from wfctl.renderers.text import duration, number
from wfctl.state import RunState
from wfctl.undoing import SUPERSEDED

if TYPE_CHECKING:
    from wfctl.optimize import Progress as Search
    from wfctl.undoing import Undoing

ENOUGH = 3
"""Nodes without an estimate of their own that must have succeeded before theirs is guessed from what they took."""


@dataclass(slots=True)
class _Pace:
    """Work in estimated seconds: what is left, what is done, and what that took."""

    left: float = 0.0
    done: float = 0.0
    took: float = 0.0
    count: int = 0

    def rate(self, enough: int) -> float | None:
        """Real seconds for an estimated one; None while nothing is known of it."""
        if self.count < enough or not self.done:
            return None if enough else 1.0
        return self.took / self.done


RIPE = 1.0
"""Seconds that a node must have run before its log is worth a look: the others are over before it is read."""

SLOTS = ""
"""The name of the slots among what nodes hold."""


@dataclass(slots=True)
class Undone:
    """How far a rollback is: of all that it is to undo, what runs, what is tried again, and what is over."""

    strategy: str
    nodes: set[str]
    aside: bool
    """It undoes only what a race has left; the run itself goes on beside it."""
    running: dict[str, tuple[int, int, float]]
    """By node the step, its try, and since when."""
    retrying: dict[str, float]
    done: int = 0
    failed: int = 0

    @classmethod
    def of(cls, undoing: Undoing, state: RunState) -> Undone:
        """As a state has it."""
        made = cls(undoing.course.strategy, set(undoing.wanted), undoing.is_aside, {}, {})
        for name in made.nodes:
            run = state.nodes[name]
            made.done += run.state is UNDONE
            made.failed += run.state is UNDO_FAILED
            if run.undo is not None and name in undoing.running:
                made.running[name] = run.undo.step, run.undo.attempt, state.time
            elif run.undo is not None and run.undo.retry_at is not None:
                made.retrying[name] = run.undo.retry_at
        return made

    def take(self, event: ev.Event) -> None:
        """Take one event in."""
        if isinstance(event, ev.UndoStarted):
            self.running[event.node] = event.step, event.attempt, event.time
            self.retrying.pop(event.node, None)
        elif isinstance(event, (ev.UndoStepDone, ev.UndoRetrying, ev.UndoFailed, ev.UndoInterrupted, ev.NodeUndone)):
            self.running.pop(event.node, None)
            self.retrying.pop(event.node, None)
            if isinstance(event, ev.UndoRetrying):
                self.retrying[event.node] = event.retry_at
            self.done += isinstance(event, ev.NodeUndone)
            self.failed += isinstance(event, ev.UndoFailed)
        elif isinstance(event, ev.UndoAsked):
            self.failed -= 1

    @property
    def goes_on(self) -> bool:
        """Whether it is what the run does now."""
        left = len(self.nodes) - self.done
        return not self.aside and bool(self.running or self.retrying or left > self.failed)


class Progress:
    """Made from the state after a turn of the engine; from then on it lives of events alone, in any thread."""

    def __init__(self, state: RunState) -> None:
        self.plan: Plan = state.plan
        self.total = len(state.nodes)
        self.began = state.began + state.paused
        self.stopping = state.starts_nothing
        self.ended: dict[str, int] = {str(word): count for word, count in state.ended.items()}
        self.running: dict[str, float] = {name: state.nodes[name].started or state.time for name in state.running}
        self.attempts: dict[str, int] = {name: state.nodes[name].attempt for name in state.running}
        self.retrying: dict[str, float] = {}
        self.asking: set[str] = set(state.asking)
        self.undo: Undone | None = None
        if state.undoing is not None:
            self.undo = Undone.of(state.undoing, state)
        self.held: dict[str, int] = {SLOTS: 0}
        """What the running nodes hold of the slots, and of each resource that any node asks for."""
        self._open: set[str] = set()
        self._said, self._unsaid = _Pace(), _Pace()
        for planned in self.plan.nodes.values():
            for resource, _ in planned.demand:
                self.held.setdefault(resource, 0)
        for name in self.running:
            self._hold(name, 1)
        for name, run in state.nodes.items():
            if run.state not in FINAL:
                self._open.add(name)
                self._pace(name).left += self.plan.nodes[name].estimate
            if run.retry_at is not None and run.state == "retrying":
                self.retrying[name] = run.retry_at
        work = sum(planned.estimate for planned in self.plan.nodes.values() if not planned.given)
        # What the plan's bounds make of the work: 1 / slots, or more where a resource or a chain is scarcer.
        self._stretch = max(self.plan.bounds.values(), default=0.0) / work if work else 0.0
        self._longest: Iterator[str] | None = None
        self._head: str | None = None

    @property
    def done(self) -> int:
        """Nodes that have ended, however."""
        return sum(self.ended.values())

    def take(self, event: ev.Event) -> None:
        """Take one event in."""
        if isinstance(event, (ev.RunStopping, ev.RunHalted)):
            self.stopping = True
        elif isinstance(event, ev.RunPaused):
            self.began += event.seconds
            self.running = {node: started + event.seconds for node, started in self.running.items()}
        elif isinstance(event, ev.NodeOpened):
            self._grow(event)
        elif isinstance(event, ev.NodeAsked):
            self.asking.add(event.node)
        elif isinstance(event, ev.NodeStarted):
            self.running[event.node] = event.time
            self.attempts[event.node] = event.attempt
            self.retrying.pop(event.node, None)
            self._hold(event.node, 1)
        elif isinstance(event, (ev.AttemptEnded, ev.NodeCancelled, ev.NodeSkipped, ev.NodeServed)):
            if self.running.pop(event.node, None) is not None:
                self._hold(event.node, -1)
                self.attempts.pop(event.node, None)
            if isinstance(event, ev.NodeRetrying):
                self.retrying[event.node] = event.retry_at
            state = ended_as(event)
            if state is not None:
                self._end(event.node, state, event)
                quiet = NodeState.SKIPPED if state is NodeState.SKIPPED else NodeState.CANCELLED
                for name in self._inside(event.node):  # what had not begun ends with what it lies in
                    if name in self._open and name not in self.running and not self.plan.nodes[name].holds:
                        self._end(name, quiet, event)
        elif isinstance(event, ev.RollbackBegun):
            nodes = {*event.nodes, *event.remove}
            self.undo = Undone(event.strategy, nodes, event.strategy == SUPERSEDED, {}, {})
        elif self.undo is not None:
            self.undo.take(event)

    def _hold(self, node: str, sign: int) -> None:
        """A node has begun to hold what it asks for, or ends to."""
        planned = self.plan.nodes[node]
        if not planned.node.slotless:
            self.held[SLOTS] += sign
        for resource, amount in planned.demand:
            self.held[resource] = self.held.get(resource, 0) + sign * amount

    @property
    def in_use(self) -> Iterator[tuple[str, int, int]]:
        """Of each budget that nodes ask for its name, what is held, and all there is; the slots first."""
        for name, used in list(self.held.items()):
            whole = self.plan.concurrency if name == SLOTS else self.plan.budget.get(name)
            if whole is not None:
                yield name, used, whole

    def runs(self, node: str, attempt: int | str) -> bool:
        """Whether that attempt, or that try of an undo, still goes on."""
        if node in self.running:
            return self.attempts.get(node) == attempt
        one = self.undo.running.get(node) if self.undo is not None else None
        return one is not None and attempt == f"undo.{one[0]}.{one[1]}"

    def matters(self, now: float, most: int = 3) -> list[tuple[str, int | str]]:
        """The running nodes that the end of the run waits for the longest, with what names the log of their attempt.

        That is by the plan's longest paths, less what has passed; of equals the one that has run the longest. In a
        rollback it is the undo that has gone on the longest."""
        if self.undo is not None and self.undo.goes_on:
            undos = sorted(self.undo.running.items(), key=lambda item: item[1][2])[:most]
            return [(node, f"undo.{step}.{tried}") for node, (step, tried, since) in undos if now - since >= RIPE]

        def rest(node: str) -> float:
            planned = self.plan.nodes[node]
            return planned.tail - min(now - self.running[node], planned.estimate)

        ripe = [node for node, since in self.running.items() if now - since >= RIPE]
        return [(node, self.attempts[node]) for node in nlargest(most, ripe, key=rest) if node in self.attempts]

    def _grow(self, event: ev.NodeOpened) -> None:
        """Items have joined, and all inside of them."""
        for name in self._inside(event.node) if event.items else ():
            self.total += 1
            self._open.add(name)
            self._pace(name).left += self.plan.nodes[name].estimate
            for resource, _ in self.plan.nodes[name].demand:
                self.held.setdefault(resource, 0)
        self._longest = self._head = None

    def _inside(self, node: str) -> Iterator[str]:
        todo = list(self.plan.nodes[node].children)
        for name in todo:  # grows while it is read
            yield name
            todo += self.plan.nodes[name].children

    def _end(self, node: str, state: str, event: ev.Event) -> None:
        self.ended[state] = self.ended.get(state, 0) + 1
        self.retrying.pop(node, None)
        self.asking.discard(node)
        self._open.discard(node)
        pace, estimate = self._pace(node), self.plan.nodes[node].estimate
        pace.left -= estimate
        if isinstance(event, ev.NodeSucceeded) and not self.plan.nodes[node].holds:
            pace.done += estimate
            pace.took += event.seconds
            pace.count += 1

    def _pace(self, node: str) -> _Pace:
        return self._unsaid if self.estimate(node) is None else self._said

    def estimate(self, node: str) -> float | None:
        """Seconds that this node needs, by its last successes or by somebody who knows; not by others of its kind."""
        planned = self.plan.nodes[node]
        return planned.estimate if planned.source in ("history", "declared") else None

    def left(self, now: float) -> float | None:
        """Seconds that the run may still take: by the work that is left, and by the longest path; None if unknown."""
        said, unsaid = self._said.rate(0) or 0.0, self._unsaid.rate(ENOUGH)
        if unsaid is None:
            if self._unsaid.left > 1e-9:
                return None
            unsaid = 0.0
        raw = self._said.left + self._unsaid.left
        if self.stopping or raw <= 0:
            return None
        work = self._said.left * said + self._unsaid.left * unsaid
        path = self._path(now) * work / raw
        for node, started in self.running.items():
            rate = unsaid if self.estimate(node) is None else said
            work -= min(now - started, self.plan.nodes[node].estimate * rate)
        seconds = max(work * self._stretch, path)
        return seconds if seconds >= 1 else None

    def _path(self, now: float) -> float:
        """Estimated seconds of the longest path of what has not ended, as the plan has it."""
        if self._longest is None:  # sorted once, when first asked: not while the engine waits
            nodes = self.plan.nodes
            self._longest = iter(sorted(self._open, key=lambda name: nodes[name].tail, reverse=True))
        while self._head not in self._open:
            self._head = next(self._longest, None)
            if self._head is None:
                return 0.0
        planned = self.plan.nodes[self._head]
        started = self.running.get(self._head)
        return planned.tail - (min(now - started, planned.estimate) if started is not None else 0.0)


def search_line(elapsed: float, seconds: float, progress: Search) -> str:
    """How far a search for a better plan is."""
    above = progress.makespan / progress.bound - 1 if progress.bound > 0 else 0.0
    place = f"{100 * above:.1f} % above the lower bound" if above > 1e-9 else "at the lower bound"
    of = f" of {duration(seconds)}" if isfinite(seconds) else ""
    found = f"{duration(progress.makespan)}, {place}, {number(progress.schedules)} plans"
    return f"searching {duration(elapsed)}{of}: {found}"
