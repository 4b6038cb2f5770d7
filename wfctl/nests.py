"""Groups and `for_each` nodes in one run: when what is inside may begin, and when the whole is to be looked at.

Knows no expression: what an end means is found by who is told to look. Only `RunState.apply` comes here to change
anything."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

from wfctl.collect import LOST, Collect, verdict
from wfctl.noderun import (
    BAD,
    CANCELLED,
    DONE,
    FINAL,
    INTERRUPTED,
    READY,
    RETRYING,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    WAITING,
    WAITING_INPUT,
    NodeState,
    Tally,
)  # fmt: skip
from wfctl.trigger import FOR_FAILURES

if TYPE_CHECKING:
    from wfctl.plan import Planned
    from wfctl.state import RunState

ALL = Collect()
"""How a `for_each` is done that does not say."""


class Nests:
    """A part of a run's state: of each node that holds others and is open, how it goes inside."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._nodes = state.plan.nodes
        self._runs = state.nodes
        self._to_look: deque[str] = deque()
        self._deadlines: list[tuple[float, str]] = []
        self.patient = False  # a plan: no time is up that would fail a node

    # -- what is asked

    def lets(self, planned: Planned) -> bool:
        """Whether what a node lies in is open, and has let it begin."""
        if planned.parent is None:
            return True
        inside = self._runs[planned.parent].inside
        if inside is None:
            return False
        if self._nodes[planned.parent].node.each is not None:
            assert planned.scope.item is not None
            return planned.scope.item.index < inside.begun
        return not planned.node.last or inside.left <= inside.last

    def admits(self, planned: Planned) -> bool:
        """Whether another attempt of a node may begin: what it lies in has not ended, nor is it bound to fail."""
        name = planned.parent
        while name is not None:
            run = self._runs[name]
            if run.state is not RUNNING or name in self._state.asked:
                return False
            if run.inside is not None and run.inside.failing and not self.for_failures(planned, name):
                return self._state.plan.on_failure == "continue"
            name = self._nodes[name].parent
        return True

    def for_failures(self, planned: Planned, inside: str | None = None) -> bool:
        """Whether a node still begins when others have failed: it says so, or what it lies in does; of that only what
        lies `inside` of another, where only that has failed."""
        one: Planned | None = planned
        while one is not None and one.id != inside:
            if one.node.last or one.node.trigger in FOR_FAILURES:
                return True
            one = None if one.parent is None else self._nodes[one.parent]
        return False

    def next_to_look(self) -> str | None:
        """One that may have ended: all inside have, or as many as it takes."""
        while self._to_look:
            run = self._runs.get(self._to_look[0])
            if run is not None and run.state is RUNNING and run.inside is not None and run.inside.listed:
                return self._to_look[0]
            self._to_look.popleft()
        return None

    def next_deadline(self) -> tuple[float, str] | None:
        """When the time of the next `for_each` is up, and which that is."""
        while self._deadlines:
            at, name = self._deadlines[0]
            run = self._runs.get(name)
            if run is not None and run.state is RUNNING and self.deadline(name) == at:
                return at, name
            heappop(self._deadlines)
        return None

    def deadline(self, name: str) -> float | None:
        """When the time of an open `for_each` is up."""
        collect, began = self.collect(name), self._runs[name].first_started
        if collect.timeout is None or began is None or (self.patient and collect.strategy != "best"):
            return None
        return round(began + collect.timeout, 6)

    def collect(self, name: str) -> Collect:
        """How a `for_each` is done."""
        return self._nodes[name].node.collect or ALL

    def standing(self, name: str) -> str | None:
        """How a `for_each` stands by its strategy; with `on_failure: continue` it is not lost before all ended."""
        inside = self._runs[name].inside
        assert inside is not None
        found = verdict(self.collect(name), inside)
        return None if found == LOST and inside.left and self._state.plan.on_failure == "continue" else found

    def absorbed(self, planned: Planned) -> bool:
        """Whether the failure of a node does not make the run fail by itself: it counts through what it lies in."""
        if planned.node.continue_on_error:
            return True
        name = planned.parent
        while name is not None:
            around = self._nodes[name]
            if around.node.each is not None or around.node.continue_on_error:
                return True
            name = around.parent
        return False

    def all_inside(self, name: str) -> Iterator[str]:
        """All that lies in a node, what lies around another before that."""
        todo = list(self._nodes[name].children)
        for child in todo:  # grows while it is read
            yield child
            todo += self._nodes[child].children

    # -- what happens

    def open(self, name: str) -> None:
        """A node that holds others begins, or goes on after a resume."""
        planned, run = self._nodes[name], self._runs[name]
        run.inside = inside = Tally(len(planned.children))
        inside.last = sum(self._nodes[child].node.last for child in planned.children)
        for child in planned.children:
            state = self._runs[child].state
            if state in FINAL:
                self._count(name, inside, child)
            elif state is not WAITING:  # it began before a crash, may be ahead of others that are to begin again
                inside.active.add(child)
        if (at := self.deadline(name)) is not None:
            heappush(self._deadlines, (at, name))
        self._let_begin(name, inside, whole=True)
        self._look(name, inside)

    def ended(self, name: str) -> None:
        """A node has ended: what that means to what it lies in."""
        parent = self._nodes[name].parent
        inside = self._runs[parent].inside if parent is not None else None
        if parent is None or inside is None or self._runs[parent].state is not RUNNING:
            return
        self._count(parent, inside, name)
        inside.active.discard(name)
        self._let_begin(parent, inside)
        self._look(parent, inside)

    def closed(self, name: str) -> None:
        """A node that holds others has ended: so must all that is inside."""
        run = self._runs[name]
        run.inside = None
        state, reason = (SKIPPED, "needs") if run.state is SKIPPED else (CANCELLED, "superseded")
        if run.state is CANCELLED or run.reason == "collect":
            reason = run.reason
        elif run.state in BAD and self._nodes[name].node.each is not None:
            reason = "collect"
        for child in self._nodes[name].children:
            self._end(child, state, reason)

    def failing(self, name: str) -> None:
        """A group is bound to fail: as `on_failure` says, nothing in it begins any more, or what runs is stopped."""
        inside = self._runs[name].inside
        mode = self._state.plan.on_failure
        if inside is None or inside.failing:
            return
        inside.failing = True
        if mode == "continue":
            return
        for child in self.all_inside(name):
            planned, run = self._nodes[child], self._runs[child]
            if run.state in (WAITING, READY, RETRYING, WAITING_INPUT):
                if not self.for_failures(planned, name) and self._runs[planned.parent or name].state is RUNNING:
                    self._state.to_cancel(child)
            elif mode == "cancel" and run.state is RUNNING and not planned.holds:
                self._state.to_stop(child, "group_failing")

    def looked(self, name: str) -> None:
        """It was looked at, and goes on."""
        inside = self._runs[name].inside
        assert inside is not None
        inside.listed = False
        inside.fresh.clear()

    def paused(self) -> None:
        """The times at which they began have moved."""
        self._deadlines = []
        for name, planned in self._nodes.items():
            if planned.node.each is not None and self._runs[name].state is RUNNING:
                if (at := self.deadline(name)) is not None:
                    heappush(self._deadlines, (at, name))

    # -- inside

    def _count(self, parent: str, inside: Tally, name: str) -> None:
        run = self._runs[name]
        if run.state is SUCCEEDED and self.collect(parent).until:
            inside.fresh.append(name)
        inside.left -= 1
        inside.last -= self._nodes[name].node.last
        if run.state in DONE or (run.state in BAD and self._nodes[name].node.continue_on_error):
            inside.succeeded += 1
        elif run.state in BAD:
            inside.failed += 1
        elif run.state is CANCELLED:
            inside.cancelled += 1

    def _let_begin(self, name: str, inside: Tally, whole: bool = False) -> None:
        """Let begin what may now: the next items, or what comes last in a sub-workflow; all of it at first."""
        planned = self._nodes[name]
        if planned.node.each is None:
            if whole or (inside.last and inside.left == inside.last):
                for child in planned.children:
                    self._state.let_begin(child)
            return
        limit = planned.node.max_parallel or inf
        children = planned.children
        while inside.begun < len(children) and len(inside.active) < limit:
            child = children[inside.begun]
            inside.begun += 1
            if self._runs[child].state is WAITING:
                inside.active.add(child)
                self._state.let_begin(child)

    def _look(self, name: str, inside: Tally) -> None:
        if inside.listed:
            return
        if self._nodes[name].node.each is None:
            due = not inside.left
        else:
            due = self.standing(name) is not None or bool(inside.fresh)
        if due:
            inside.listed = True
            self._to_look.append(name)

    def _end(self, name: str, state: NodeState, reason: str) -> None:
        """End what has not ended: at once where it does nothing, else it is stopped."""
        run, planned = self._runs[name], self._nodes[name]
        if run.state in FINAL:
            return
        if run.state is RUNNING and not planned.holds:
            self._state.to_stop(name, reason)
        elif run.state is RUNNING:
            self._state.asked[name] = reason
            for child in planned.children:
                self._end(child, state, reason)
            if run.inside is not None:
                self._look(name, run.inside)
        else:
            assert run.state in (WAITING, READY, RETRYING, WAITING_INPUT, INTERRUPTED)
            self._state.end_quietly(name, state, reason)
