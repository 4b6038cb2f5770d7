"""The undoing of a run: what is still to be undone, what may be now, and what waits for a person.

Knows no job and no clock: it is told what has happened. Only `RunState` and `decide` come here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from wfctl import events as ev
from wfctl import instances, rollback
from wfctl.errors import Bug
from wfctl.noderun import (
    CACHED,
    CANCELLED,
    DONE,
    FINAL,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    UNDO_FAILED,
    UNDOING,
    UNDONE,
    UNDOS,
    NodeRun,
    NodeState,
    UndoRun,
)
from wfctl.record import dataclass

if TYPE_CHECKING:
    from wfctl.plan import Plan, Planned
    from wfctl.state import RunState


SUPERSEDED = "superseded"
"""The strategy that nobody chooses: items that were ended as another had won are undone at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a rollback was decided to be, as it was recorded."""

    strategy: str
    then: str
    nodes: tuple[str, ...]
    remove: tuple[str, ...]
    checkpoint: str
    why: str
    by: str
    analysis: Mapping[str, Any]


def course_of(event: ev.RollbackBegun) -> Course:
    """What was recorded."""
    return Course(
        strategy=event.strategy,
        then=event.then,
        nodes=event.nodes,
        remove=event.remove,
        checkpoint=event.checkpoint,
        why=event.why,
        by=event.by,
        analysis=event.analysis,
    )


class Undoing:
    """One rollback of a run, from its beginning to its end."""

    def __init__(self, state: RunState, course: Course) -> None:
        self._state = state
        self.course = course
        self._by_steps, self._by_removal = frozenset(course.nodes), frozenset(course.remove)
        self.files_back = False  # those of the checkpoint are as they were
        self.running: dict[str, None] = {}
        self.stopping: set[str] = set()  # of them, those that were told to end; no fact
        self._queue: deque[str] = deque()
        self._retries: list[tuple[float, str]] = []
        nodes = state.plan.nodes
        wanted = dict.fromkeys((*course.nodes, *course.remove))
        self._order = rollback.Order(wanted, instances.points(nodes), executed(state))
        self._left = set(wanted)
        self._queue.extend(self._order.ready())
        for name in wanted:
            run = state.nodes[name]
            if run.state is UNDONE:
                self._cleared(name)
            elif run.undo is not None and run.undo.retry_at is not None and run.state is UNDOING:
                heappush(self._retries, (run.undo.retry_at, name))

    @property
    def failed(self) -> list[str]:
        """The nodes whose undo was given up."""
        return [name for name in self.wanted if self._state.nodes[name].state is UNDO_FAILED]

    def told(self) -> dict[str, Any]:
        """The rollback as programs and expressions see it."""
        nodes = self._state.nodes
        if self.failed:
            word = "rollback_failed"
        else:
            word = "rolled_back" if self.is_done else "rolling_back"
        return {
            "strategy": self.course.strategy,
            "state": word,
            "why": self.course.why,
            "then": self.course.then,
            "analysis": dict(self.course.analysis),
            "blocked": self.blocked,
            "steps": [self._told_node(name, nodes[name]) for name in self.wanted],
        }

    def _told_node(self, name: str, run: NodeRun) -> dict[str, Any]:
        undo = run.undo or UndoRun()
        state = str(run.state) if run.state in UNDOS else "waiting"
        return {
            "node": name,
            "state": state,
            "step": min(undo.step, max(1, self.steps(name))),
            "steps": self.steps(name),
            "error": undo.error or None,
            "how": undo.how or None,
            "by": undo.by or None,
            "removed": list(undo.removed),
            "left": list(undo.left),
        }

    @property
    def blocked(self) -> list[str]:
        """What waits for a person because of these."""
        waiting = self._order.blocked_by(set(self.failed))
        return [name for name in self.wanted if name in waiting and name in self._left]

    @property
    def wanted(self) -> dict[str, None]:
        """All that is to be undone, or was."""
        return dict.fromkeys((*self.course.nodes, *self.course.remove))

    @property
    def is_aside(self) -> bool:
        """Whether it undoes only what a race has left, and the run goes on behind it."""
        return self.course.strategy == SUPERSEDED

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing of it runs, or may begin by itself."""
        return not self.running and not self._retries and self.next_ready(float("-inf")) is None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be undone."""
        return not self._left

    def next_ready(self, now: float) -> str | None:
        """A node whose next step may begin."""
        while self._retries and self._retries[0][0] <= now:
            name = heappop(self._retries)[1]
            run = self._state.nodes[name]
            if run.state is UNDOING and run.undo is not None and run.undo.retry_at is not None:
                return name
        while self._queue:
            run = self._state.nodes[self._queue[0]]
            if self._queue[0] in self._left and self._queue[0] not in self.running and run.state is not UNDO_FAILED:
                if run.undo is None or run.undo.retry_at is None:
                    return self._queue[0]
            self._queue.popleft()
        return None

    def next_retry(self) -> float | None:
        """When the next try is due."""
        return self._retries[0][0] if self._retries else None

    def next_to_stop(self) -> str | None:
        """A node whose step runs and is to be ended."""
        return next((name for name in self.running if name not in self.stopping), None)

    def steps(self, node: str) -> int:
        """How many steps the undo of a node has."""
        if node not in self._by_steps:
            return 0
        undoable = self._state.nodes[node].undoable
        return int(undoable.get("steps", 0)) if undoable else 0

    def removes(self, node: str) -> bool:
        """Whether what a node has written goes as well."""
        return node in self._by_removal

    # -- facts

    def started(self, node: str, attempt: int) -> None:
        """A try of its next step begins."""
        run = self._state.nodes[node]
        run.undo = run.undo or UndoRun()
        run.undo.tries += 1
        run.undo.attempt = attempt
        run.undo.retry_at = None
        self._move(node, UNDOING)
        self.running[node] = None

    def step_done(self, node: str) -> None:
        """The next one may begin."""
        run = self._of(node)
        run.step += 1
        run.tries = run.attempt = 0
        run.reason = run.error = ""
        self._ended(node)
        self._queue.appendleft(node)

    def retrying(self, node: str, at: float, reason: str, error: str) -> None:
        """Another try is due."""
        run = self._of(node)
        run.retry_at, run.reason, run.error = at, reason, error
        self._ended(node)
        heappush(self._retries, (at, node))

    def gave_up(self, node: str, reason: str, error: str) -> None:
        """A person is needed."""
        run = self._of(node)
        run.reason, run.error, run.retry_at = reason, error, None
        self._move(node, UNDO_FAILED)
        self._ended(node)

    def interrupted(self, node: str) -> None:
        """The try does not count: nothing of the work failed."""
        run = self._of(node)
        run.tries = max(0, run.tries - 1)
        self._ended(node)
        self._queue.appendleft(node)

    def asked_again(self, node: str) -> None:
        """A person wants one more try."""
        run = self._of(node)
        run.tries, run.reason, run.error = 0, "", ""
        self._move(node, UNDOING)
        self._queue.append(node)

    def undone(self, node: str) -> None:
        """It is undone; what it depends on may be now."""
        run = self._state.nodes[node]
        run.undo = run.undo or UndoRun()
        run.undo.reason = run.undo.error = ""
        self._move(node, UNDONE)
        self._ended(node)
        self._cleared(node)

    def resumed(self) -> None:
        """Another engine goes on: what ran was interrupted, and is tried again."""
        for name in list(self.running):
            self.interrupted(name)

    def _move(self, node: str, new: NodeState) -> None:
        run, ended = self._state.nodes[node], self._state.ended
        if run.state in FINAL:
            ended[run.state] = ended.get(run.state, 0) - 1
            ended[new] = ended.get(new, 0) + 1
        run.state = new

    def _of(self, node: str) -> UndoRun:
        run = self._state.nodes[node]
        run.undo = run.undo or UndoRun()
        return run.undo

    def _ended(self, node: str) -> None:
        self.running.pop(node, None)
        self.stopping.discard(node)

    def _cleared(self, node: str) -> None:
        self._left.discard(node)
        self._queue.extend(self._order.undone(node))


def is_loser(run: NodeRun) -> bool:
    """Whether it was ended as it was not needed any more, may have done its work, and has said how that is undone."""
    superseded = run.state is CANCELLED and run.reason == SUPERSEDED and run.unknown
    return superseded and bool(run.undoable) and bool(run.undoable.get("steps"))


def said(planned: Planned) -> dict[str, Any]:
    """What a node says of its undo, for `rollback.Touched`."""
    node = planned.node
    return {
        "answer": "" if node.compensate is None else "steps" if node.compensate else "none",
        "attempted": node.compensate_when == "attempted",
        "pivot": node.pivot,
        "wrote": bool(node.writes),
    }


def if_fails(plan: Plan, node: str) -> tuple[rollback.Scheme, rollback.Analysis]:
    """What would be undone if a node of a plan failed, after all that does not come after it had succeeded."""
    before = instances.points(plan.nodes)
    works = {n: one for n, one in plan.nodes.items() if not one.holds and one.node.section == "nodes"}
    nodes = {n: rollback.Touched(state="succeeded", **said(one)) for n, one in works.items()}
    nodes = rollback.if_fails(node, nodes, before)
    answered = [n for n in nodes if works[n].node.kind == "ask" and n != node]
    nodes = {n: one for n, one in nodes.items() if works[n].node.kind != "ask"}
    checkpoints = {n: one.place for n, one in nodes.items() if n != node and works[n].node.checkpoint is not None}
    analysis = rollback.analyse(nodes, before)
    case = rollback.Case(
        nodes=nodes,
        before=before,
        analysis=analysis,
        checkpoints=checkpoints,
        max_restarts=plan.rollback.max_restarts,
        answered=answered,
        last=_last(plan),
    )
    return rollback.choose(plan.rollback.strategy, None, case), analysis


def _last(plan: Plan) -> frozenset[str]:
    return frozenset(name for name, planned in plan.nodes.items() if planned.node.last)


def executed(state: RunState) -> set[str]:
    """The nodes through which a path of a run went: what was skipped, or never began, has handed nothing on."""
    return {
        name
        for name, run in state.nodes.items()
        if run.state is not SKIPPED and (run.started is not None or run.unknown or run.state in DONE)
    }


def _answer(planned: Planned, run: NodeRun) -> str:
    """How a node that has run is undone: by the steps that it had when it began, whatever the file says by now."""
    if run.undoable and run.undoable.get("steps"):
        return "steps"
    return "none" if planned.node.compensate == () else ""


def touched(state: RunState) -> dict[str, rollback.Touched]:
    """The nodes of a run as a rollback sees them."""
    found = {}
    for name, planned in state.plan.nodes.items():
        run, node = state.nodes[name], planned.node
        if planned.holds or node.section != "nodes" or node.kind == "ask" or run.state is UNDONE:
            continue
        # What was interrupted is not forgotten where it has not begun anew, or is skipped by now: it is still known how
        # it is undone.
        unsure = run.unknown and bool(run.undoable)
        ran = run.state is not SKIPPED and (run.started is not None or run.state is CACHED)
        if not (ran or unsure):
            continue
        was = SUCCEEDED if run.state in UNDOS else run.state
        found[name] = rollback.Touched(
            state=str(was),
            unknown=(run.unknown or run.state is RUNNING) and was is not SUCCEEDED,
            prepared=bool(run.prepared) or run.rolled_back,
            place=run.place,
            **{**said(planned), "answer": _answer(planned, run), "wrote": "there" in (run.undoable or ())},
        )
    return found


def _of(state: RunState) -> Undoing:
    if state.undoing is None:
        raise Bug("an undo without a rollback")
    return state.undoing


def _undone(state: RunState, event: ev.NodeUndone) -> None:
    _of(state).undone(event.node)
    undo = state.nodes[event.node].undo
    assert undo is not None
    undo.how, undo.by, undo.removed, undo.left = event.how, event.by, event.removed, event.left


UNDO_FACTS: Mapping[type[ev.Event], Callable[[RunState, Any], None]] = {
    ev.UndoStarted: lambda state, event: _of(state).started(event.node, event.attempt),
    ev.UndoStepDone: lambda state, event: _of(state).step_done(event.node),
    ev.UndoRetrying: lambda state, e: _of(state).retrying(e.node, e.retry_at, e.reason, e.error),
    ev.UndoFailed: lambda state, event: _of(state).gave_up(event.node, event.reason, event.error),
    ev.UndoInterrupted: lambda state, event: _of(state).interrupted(event.node),
    ev.UndoAsked: lambda state, event: _of(state).asked_again(event.node),
    ev.NodeUndone: _undone,
}
"""What each fact of an undo changes."""


AS_SAID = "as said"
"""The word of a person who wants what the workflow says."""


def declares(plan: Plan) -> bool:
    """Whether a failure of a run of this plan may be followed by a rollback at all."""
    if plan.rollback.strategy is not None:
        return plan.rollback.strategy != "none"
    return any(planned.node.compensate for planned in plan.nodes.values())


def scheme_of(plan: Plan, state: RunState, by_hand: str) -> tuple[rollback.Scheme, rollback.Analysis]:
    """What is to be undone of a run as it stands; `by_hand` is the strategy that a person wants, if any does."""
    before, nodes = instances.points(plan.nodes), touched(state)
    analysis = rollback.analyse(nodes, before)
    case = rollback.Case(
        nodes=nodes,
        before=before,
        analysis=analysis,
        checkpoints={name: one.place for name, one in state.checkpoints.items()},
        restarts=state.restarts,
        # A person may go back once more than the workflow would by itself.
        max_restarts=max(plan.rollback.max_restarts, state.restarts + 1 if by_hand else 0),
        answered=[n for n, one in plan.nodes.items() if one.node.kind == "ask" and state.nodes[n].state is SUCCEEDED],
        last=_last(plan),
    )
    wanted = None if by_hand == AS_SAID else by_hand or None
    said = plan.rollback.strategy
    if by_hand == AS_SAID and said == "none":
        said = None  # who asks for it by hand wants more than nothing
    return rollback.choose(said, "compensate" if by_hand == AS_SAID and said is None else wanted, case), analysis
