"""What has become of a run so far: a fold over its events, with quick views for `decide`.

Knows no clock, no chance and no disk. Only `RunState.apply` changes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from wfctl import events as ev
from wfctl import resumption
from wfctl.budget import Budget, Wish
from wfctl.errors import Bug
from wfctl.items import Item
from wfctl.nests import Nests
from wfctl.noderun import (
    BAD,
    CANCELLED,
    DONE,
    FAILED,
    FINAL,
    INTERRUPTED,
    MOVES,
    READY,
    RETRYING,
    RUNNING,
    SKIPPED,
    TIMED_OUT,
    UNDOS,
    WAITING,
    WAITING_INPUT,
    NodeRun,
    NodeState,
)
from wfctl.plan import Plan, Planned
from wfctl.policy import POLICIES
from wfctl.ready import Ready
from wfctl.record import dataclass
from wfctl.trigger import TRIGGERS
from wfctl.undoing import UNDO_FACTS, Undoing, course_of, is_loser

if TYPE_CHECKING:
    from wfctl.turns import Turns


class RunStatus(StrEnum):
    """How the run stands. `running` says that its events go on, not that a process lives."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    WAITING_INPUT = "waiting_input"
    COMMITTING = "committing"
    ROLLING_BACK = "rolling_back"
    RESTARTING = "restarting"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


UNDOES = (RunStatus.ROLLED_BACK, RunStatus.ROLLBACK_FAILED)
"""How a run can end that was undone, as far as it could be."""

NOT_DONE = (RunStatus.FAILED, *UNDOES)
"""How a run can end that failed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a run to come back to: after how many events, when, and what was saved there."""

    place: int
    time: float
    files: Mapping[str, Any]


class RunState:
    """The state of one run under one plan."""

    ready: Ready | Turns
    nests: Nests

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.id = ""
        self.started = self.time = 0.0
        self.began = 0.0  # of this engine: what the run's own timeout counts from
        self.finished: float | None = None
        self.status = RunStatus.RUNNING
        self.settled: RunStatus | None = None
        self.exit_code: int | None = None
        self.error = ""
        self.outputs: Mapping[str, Any] = {}
        self.signal: int | None = None
        self.stopping = False
        self.at_once = False
        self.halted = ""  # why the machine allows nothing new to start
        self.paused = 0.0  # seconds since `began`
        self.timed_out = False
        self.finally_failed = False
        self.committing = False  # prepared transactions are only committed from here on
        self.commit_again = False  # an engine has died since: some may be committed already
        self.ending: set[tuple[str, int]] = set()  # of those that are being ended; no fact
        self.only_finally = False  # what went on had nothing else left to do
        self.events = 0
        self._to_stop: deque[str] = deque()
        self.tokens: dict[str, float] = {}  # of rates, as `Budget` keeps them
        self.course: ev.RunPlanned | None = None  # what is followed
        self.forced: set[str] = set()  # nodes that no kept result is served for; `*` for all
        self.checkpoints: dict[str, Checkpoint] = {}  # by name, the last one last
        self.putting_back = ""  # the checkpoint whose files are to be put back
        self.undoing: Undoing | None = None  # a rollback, from its beginning on
        self.undo_wanted = ""  # the strategy by which a person wants the run to be undone
        self.by_hand = False  # that is all that this engine does: there is no `finally`
        self.restarts = 0
        self.pin = 1  # the number of the definition in force
        self.nodes = {name: NodeRun() for name in plan.nodes}
        self.grown: dict[str, list[tuple[str, Any]]] = {}  # items that joined: keys and values, by `for_each`
        self.former: dict[str, NodeRun] = {}  # what has left, and may join again
        self.no_wait = False  # for people: the run ends where only they could go on
        self._rank = POLICIES[plan.policy]
        self.derive()

    # -- what `decide` asks

    @property
    def failing(self) -> bool:
        """Whether the run is bound to fail."""
        return bool(self.failed_nodes) or self.timed_out

    @property
    def starts_nothing(self) -> bool:
        """Whether no node starts any more: the run was told to stop, or the machine does not allow it.

        The first signal counts until the run is settled: then `finally` runs, but for a second one, or a full disk.
        """
        return self.stopping or self.at_once or bool(self.halted)

    @property
    def failed_for_good(self) -> list[str]:
        """The nodes by which the run failed, first failure first; those of `finally` only where there is no other."""
        nodes = self.plan.nodes
        if self.undoing is not None and not self.failed_nodes:
            return list(self.undoing.course.analysis.get("failed", ()))
        return list(self.failed_nodes) or [
            n for n, run in self.nodes.items()
            if run.state in BAD and run.reason != "inner" and not self.nests.absorbed(nodes[n])
        ]  # fmt: skip

    def saved(self) -> dict[str, Any]:
        """The files that checkpoints have saved, each as the last one did that has it."""
        found: dict[str, Any] = {}
        for checkpoint in self.checkpoints.values():
            found.update(checkpoint.files)
        return found

    def spares(self, name: str) -> bool:
        """Whether a failure of this node leaves the run none the worse: it is tolerated, or what it lies in does
        without it."""
        planned = self.plan.nodes[name]
        if planned.node.continue_on_error:
            return True
        while planned.parent is not None:
            planned = self.plan.nodes[planned.parent]
            if planned.node.continue_on_error or self.nodes[planned.id].state in DONE:
                return True
        return False

    @property
    def wants_update(self) -> bool:
        """Whether only another file can help a failed run: an expression of it could not be evaluated."""
        if self.status is not RunStatus.FAILED or self.timed_out:
            return False
        failed = self.failed_for_good
        return not failed or any(self.nodes[name].reason == "expression" for name in failed)

    def admits(self, planned: Planned) -> bool:
        """Whether another attempt of a node may begin, although the run may be failing."""
        if not self.nests.admits(planned):
            return False
        if planned.node.section == "finally":
            return True
        if self.timed_out:
            return False
        return not self.failed_nodes or self.plan.on_failure == "continue" or self.nests.for_failures(planned)

    @property
    def has_room(self) -> bool:
        """Whether one more node may run at all."""
        return self.budget.has_room

    def best_ready(self, now: float) -> str | None:
        """The best-ranked ready node that fits slots and resources, and delays none that is before it."""
        if not self.has_room:
            return None
        return self.ready.best(self.budget, now, self.plan.aging)

    def next_change(self, now: float) -> float | None:
        """When a ready node may start although nothing has ended: a token comes, or it is late by the plan."""
        if not self.has_room:
            return None
        token = self.budget.next_change(now) if len(self.ready) else None
        moments = [moment for moment in (token, self.ready.next_release()) if moment is not None]
        return min(moments, default=None)

    def drifted(self, now: float) -> bool:
        """Whether what has not started is to be planned again."""
        return self.settled is None and not self.failing and self.ready.drifted(now)

    def refuse(self, node: str) -> None:
        """Other runs hold what the node asks for. No fact: it is asked again, and after a crash too."""
        self.refused[node] = None
        self._wish(self.plan.nodes[node]).refused = True
        self.ready.freed()

    def ask_again(self) -> None:
        """What other runs hold may have come free."""
        for node in self.refused:
            self._wish(self.plan.nodes[node]).refused = False
        self.refused.clear()
        self.ready.freed()

    @property
    def free(self) -> Mapping[str, int]:
        """What is left of each budget."""
        return self.budget.free

    def ready_moment(self, node: str) -> float:
        """When the node became ready, in seconds from the start of the run; of one that was not yet, now."""
        at = self.nodes[node].ready_at
        return round((self.time if at is None else at) - self.started, 6)

    def next_doomed(self) -> str | None:
        """A node whose trigger can no longer hold."""
        return self._first(self._doomed, lambda run: run.state is WAITING)

    def next_cancelled(self) -> str | None:
        """A node that does not start any more because the run is failing."""
        return self._first(self._to_cancel, lambda run: run.state in (WAITING, READY, RETRYING, WAITING_INPUT))

    def next_unjudged(self) -> str | None:
        """A node whose trigger holds and whose `when` is to be evaluated."""
        return self._first(self._unjudged, lambda run: run.state is WAITING)

    def next_to_stop(self) -> str | None:
        """A running node that is to be told to end."""
        return self._first(self._to_stop, lambda run: run.state is RUNNING)

    def next_to_ask(self) -> str | None:
        """A node that asks a person, and has not asked yet."""
        return self._first(self._to_ask, lambda run: run.state is READY)

    @property
    def rolls_back(self) -> bool:
        """Whether it is being undone, or is to be: nothing else happens meanwhile."""
        if self.undo_wanted:
            return True
        undoing = self.undoing if self.settled is None else None
        return undoing is not None and not (undoing.is_aside and undoing.is_at_rest)

    def next_to_look(self) -> str | None:
        """A ready node of which a result may be kept."""
        return self._first(self._to_look, lambda run: run.state is READY)

    def looked(self, node: str) -> None:
        """No result is kept that would do: it waits for its turn. No fact: after a crash it is looked again."""
        self._to_look.popleft()
        self._push_ready(self.plan.nodes[node])

    def set_aside(self, node: str) -> None:
        """It waits for its twin, out of the way of others. No fact: who that is has been told."""
        self._leave_queue(node, READY, self.plan.nodes[node])
        self.aside[node] = None

    def look_again(self) -> bool:
        """A twin may have ended, and left a result; whether any node waits for one."""
        aside = list(self.aside)
        self._to_look += aside
        self.aside.clear()
        return bool(aside)

    def next_answer_limit(self) -> float | None:
        """When the time of the next question is up."""
        return min((at for name in self.asking if (at := self.nodes[name].asked[1]) is not None), default=None)

    def next_answer_due(self, now: float) -> str | None:
        """A node whose question was not answered in time."""
        limit = self.next_answer_limit() if self.asking else None
        if limit is None or limit > now:
            return None
        return next(name for name in self.asking if self.nodes[name].asked[1] == limit)

    def next_retry(self) -> tuple[float, str] | None:
        """The retry that is due first: when, and of which node."""
        while self._retries:
            at, node = self._retries[0]
            run = self.nodes[node]
            if run.state is RETRYING and run.retry_at == at:
                return at, node
            heappop(self._retries)
        return None

    def stop_asked(self, node: str) -> None:
        """The engine has told the node to end. No fact: it is asked again after a crash."""
        self._to_stop.popleft()

    # -- what follows inside of others

    def let_begin(self, node: str) -> None:
        """What a node lies in is open: it begins when its needs allow."""
        run = self.nodes[node]
        if run.state is WAITING and not run.judged:
            self._judge(node, run)

    def to_cancel(self, node: str) -> None:
        """It is not to begin any more."""
        self._to_cancel.append(node)

    def to_stop(self, node: str, reason: str) -> None:
        """It runs, and is to be ended."""
        if node not in self.asked:
            self.asked[node] = reason
            self._to_stop.append(node)

    def end_quietly(self, node: str, state: NodeState, reason: str) -> None:
        """What lay in another that has ended will not run. That follows from the end of the other: it is no fact."""
        run, planned = self.nodes[node], self.plan.nodes[node]
        self._leave_queue(node, run.state, planned)
        run.state = state
        run.reason = reason
        run.finished = self.time
        self._ended(node, run)

    def _leave_queue(self, node: str, old: NodeState, planned: Planned) -> None:
        if old is READY:
            self.aside.pop(node, None)
            if node in self.ready:
                self.ready.remove(node)
                if node in self.refused:
                    self.ask_again()  # it is another's turn to wait for that
        elif old is WAITING_INPUT:
            self.asking.pop(node, None)

    def _first(self, queue: deque[str], still: Callable[[NodeRun], bool]) -> str | None:
        while queue:
            if still(self.nodes[queue[0]]):
                return queue[0]
            queue.popleft()
        return None

    def _wish(self, planned: Planned) -> Wish:
        return self.budget.wish(
            planned.demand, planned.estimate if planned.estimated else None, planned.node.slotless
        )

    # -- facts

    def apply(self, event: ev.Event) -> None:
        """Take one fact in. Raises Bug for one that cannot follow what was."""
        self.time = event.time
        self.events += 1
        name = getattr(event, "node", None)
        if name is None or isinstance(event, _BESIDE):
            _RUN_FACTS[type(event)](self, event)
            return
        run = self.nodes.get(name)
        if run is None:
            raise Bug(f'{event.name}: no node "{name}" in the plan')
        old = run.state
        new = MOVES.get((old, type(event)))
        if new is None:
            raise Bug(f"{event.name}: node {name} is {old}")
        if old is RUNNING and name in self.running:
            self._give_back(name)
            self.ready.ended(name, getattr(event, "seconds", 0.0))
        else:
            self.asked.pop(name, None)
            self._leave_queue(name, old, self.plan.nodes[name])
        run.state = new
        _NODE_FACTS[type(event)](self, run, self.plan.nodes[name], event)
        if run.state in FINAL:
            self._ended(name, run)

    def _node_ready(self, run: NodeRun, planned: Planned, event: ev.NodeReady) -> None:
        run.ready_at = event.time
        self._make_ready(planned)

    def _make_ready(self, planned: Planned) -> None:
        if planned.node.kind == "ask":
            self._to_ask.append(planned.id)
        elif planned.node.idempotency is not None and not self.is_forced(planned.id):
            self._to_look.append(planned.id)
        else:
            self._push_ready(planned)

    def force(self, nodes: Iterable[str]) -> None:
        """Serve nothing that is kept for these; `*` for all."""
        self.forced = set(nodes)
        to_look = list(self._to_look)
        self._to_look.clear()
        for name in to_look:
            if self.is_forced(name):
                self._push_ready(self.plan.nodes[name])
            else:
                self._to_look.append(name)

    def is_forced(self, node: str) -> bool:
        """Whether a person wants the node to run, whatever is kept."""
        return node in self.forced or "*" in self.forced

    def _node_waiting(self, run: NodeRun, planned: Planned, event: ev.NodeWaiting) -> None:
        run.waits = event.holder
        run.key = event.key
        if event.holder:
            self.aside[planned.id] = None
        else:
            self._push_ready(planned)

    def _node_opened(self, run: NodeRun, planned: Planned, event: ev.NodeOpened) -> None:
        if event.items is not None:
            self.grow(planned.id, [(key, value) for key, value in event.items])
        self._open(run, planned)

    def _open(self, run: NodeRun, planned: Planned) -> None:
        run.state = RUNNING
        run.started = run.first_started = run.ready_at = self.time
        run.finished = None
        run.reason = run.error = ""
        self.nests.open(planned.id)

    def grow(self, name: str, items: list[tuple[str, Any]]) -> None:
        """Let the items of a `for_each` join."""
        self.grown[name] = items
        joined = self.plan.grow(name, [Item(key, value, i) for i, (key, value) in enumerate(items)])
        for node in joined:
            planned = self.plan.nodes[node]
            run = self.nodes[node] = self.former.pop(node, NodeRun())
            self.open[planned.node.section] += 1
            run.left = len(planned.needs)
            for need in planned.needs:
                if self.nodes[need].state in FINAL:
                    self._count(run, self.plan.nodes[need], self.nodes[need])

    def shrink(self, name: str) -> None:
        """Let them leave again: others will come."""
        if self.grown.pop(name, None) is not None:
            for node in self.plan.shrink(name):
                self.former[node] = resumption.remembering(self.nodes.pop(node))
                self.grown.pop(node, None)

    def _node_asked(self, run: NodeRun, planned: Planned, event: ev.NodeAsked) -> None:
        run.started = event.time
        run.finished = None
        run.attempt += 1
        run.reason = run.error = ""
        run.asked = [event.message, event.until, list(event.choices)]
        self.asking[planned.id] = None

    def _node_started(self, run: NodeRun, planned: Planned, event: ev.NodeStarted) -> None:
        run.attempt = event.attempt
        run.tries += 1
        run.started = event.time
        if run.first_started is None:
            run.first_started = event.time
        run.finished = None
        run.writes = event.writes
        run.key, run.why = event.key, event.why
        run.undoable, run.wrote, run.undo = event.undo, None, None
        run.made, run.waits = None, ""
        run.reason = run.error = ""
        self.running[planned.id] = None
        run.devices = event.devices
        if event.prepares:
            run.prepared = [*run.prepared, event.attempt]
            run.rolled_back = False
            self.prepared[planned.id] = None
        wish = self._wish(planned)
        self.budget.hold(planned.id, wish, event.time, run.devices)
        self.budget.spend(wish, event.time)
        self.ready.started(planned.id)

    def _attempt_ended(self, run: NodeRun, event: ev.AttemptEnded) -> None:
        run.finished = event.time
        run.seconds = event.seconds
        run.exit_code = event.exit_code
        run.signal = event.signal
        run.reason = event.reason
        run.error = event.error
        run.wrote = event.wrote

    def _node_succeeded(self, run: NodeRun, planned: Planned, event: ev.NodeSucceeded) -> None:
        self._attempt_ended(run, event)
        run.output = event.output
        run.stored = event.stored
        run.won = event.won
        if planned.node.prepares:
            run.prepared = [event.attempt]  # it has rolled back those of older attempts

    def _node_retrying(self, run: NodeRun, planned: Planned, event: ev.NodeRetrying) -> None:
        self._attempt_ended(run, event)
        run.unknown |= event.unknown
        run.retry_at = event.retry_at
        heappush(self._retries, (event.retry_at, planned.id))

    def _node_failed(self, run: NodeRun, planned: Planned, event: ev.NodeFailed) -> None:
        self._attempt_ended(run, event)
        run.attempt = max(run.attempt, event.attempt)
        run.unknown |= event.unknown
        if event.timed_out:
            run.state = TIMED_OUT
        if planned.node.continue_on_error:
            return
        around = planned
        while around.parent is not None:  # a group fails at once, and so does what that lies in
            around = self.plan.nodes[around.parent]
            if around.node.each is not None:
                return  # it counts through its `collect`
            self.nests.failing(around.id)
            if around.node.continue_on_error:
                return
        if planned.node.section == "finally":
            self.finally_failed = True
        elif event.reason != "inner":  # what failed inside is among them
            first = not self.failing
            self.failed_nodes[planned.id] = None
            if first:
                self._start_failing(self.plan.on_failure)

    def _node_interrupted(self, run: NodeRun, planned: Planned, event: ev.NodeInterrupted) -> None:
        self._attempt_ended(run, event)
        run.unknown = True

    def _node_cancelled(self, run: NodeRun, planned: Planned, event: ev.NodeCancelled) -> None:
        if run.started is not None and run.finished is None and not planned.holds and planned.node.kind != "ask":
            run.unknown = True  # what holds others, or asked, did nothing itself
        run.finished = event.time
        run.seconds = event.seconds
        run.reason = event.reason
        if is_loser(run):
            self.losers.append(planned.id)

    def _node_skipped(self, run: NodeRun, planned: Planned, event: ev.NodeSkipped) -> None:
        run.finished = event.time
        run.reason = event.reason

    def _node_served(self, run: NodeRun, planned: Planned, event: ev.NodeServed) -> None:
        run.started = run.finished = event.time
        run.output = event.output
        run.stored = event.stored
        run.key, run.made = event.key, event.made
        run.why, run.waits = None, ""
        run.reason = f"from {event.of}"

    def _run_started(self, event: ev.RunStarted) -> None:
        self.id = event.run
        self.started = self.began = event.time
        self.no_wait = event.no_wait
        waiting = self.ready
        self.ready = self._queue()  # who is ready from the start waits since now
        for name, run in self.nodes.items():
            planned = self.plan.nodes[name]
            if run.state is READY:
                run.ready_at = event.time
                if name in waiting:
                    self._push_ready(planned)
            elif run.state is RUNNING:  # what holds others, and was open from the start
                run.started = run.first_started = run.ready_at = event.time
        self.force(event.forced)
        self.nests.paused()

    def _run_resumed(self, event: ev.RunResumed) -> None:
        """What ran is interrupted, and so runs again, as does what failed and what did not run because of it.

        A run that was decided and had only its `finally` left goes on with that.
        """
        for name in self.running:
            self.nodes[name].state = INTERRUPTED
            self.nodes[name].unknown = True
        ends = (RunStatus.SUCCEEDED, *NOT_DONE)
        decided = self.settled in ends and self.finished is None
        if self.status is RunStatus.INTERRUPTED and self.settled in ends:
            decided = True
        if event.again or event.checkpoint or event.undo:
            decided = False
        aside = self.undoing is not None and self.undoing.is_aside
        goes_on = self.undoing is not None and not aside and not decided and not (event.again or event.checkpoint)
        over = self.undoing is not None and self.finished is not None and self.undoing.is_done
        undoes = bool(event.undo) or (goes_on and not over)
        self.by_hand = undoes and (self.settled is not None or (self.by_hand and self.undoing is not None))
        begins = self.undoing is None or over or (aside and self.status is not RunStatus.ROLLBACK_FAILED)
        self.undo_wanted = event.undo if begins else ""
        self.status = RunStatus.RUNNING
        if self.error == self.halted:
            self.error = ""
        self.halted, self.paused = "", 0.0
        self.finished = self.exit_code = self.signal = None
        self.stopping = self.at_once = self.finally_failed = False
        self.no_wait = event.no_wait
        self.only_finally = decided
        if not decided:
            self.settled = None
            self.error = ""
            self.timed_out = False
            self.began = event.time
        self.course = None
        self.commit_again = self.committing
        if undoes:
            if self.undoing is not None and not over:
                self.undoing.resumed()
            resumption.forget_cut_words(self)
            self.derive()
            return
        if aside and self.undoing is not None:
            self.undoing.resumed()
        elif not decided:
            self.undoing = None
        self.forced = set(event.again)
        later: set[str] = set()
        if event.checkpoint:
            self.putting_back = event.checkpoint
            later = self._later_than(self.checkpoints[event.checkpoint])
        if not decided:
            resumption.keep_skipped(self)
        losers = self.undoing.wanted if aside and self.undoing is not None else {}
        undone = (n for n, run in self.nodes.items() if run.rolled_back or (run.state in UNDOS and n not in losers))
        asked = set(event.again) | later | (set() if decided else set(undone))
        if not self.committing:
            resumption.forget(self, asked, finally_only=decided)
        self.derive()

    def _later_than(self, checkpoint: Checkpoint) -> set[str]:
        """The nodes that have succeeded after a checkpoint. Those made since then are none any more."""
        for name in [name for name, other in self.checkpoints.items() if other.place > checkpoint.place]:
            del self.checkpoints[name]
        done = (name for name, run in self.nodes.items() if run.state in DONE and run.place > checkpoint.place)
        return {name for name in done if not self.plan.nodes[name].holds}

    # -- a rollback

    def _rollback_begun(self, event: ev.RollbackBegun) -> None:
        self.undo_wanted = ""
        self.losers.clear()
        self.undoing = Undoing(self, course_of(event))

    def _run_restarted(self, event: ev.RunRestarted) -> None:
        """What came after a checkpoint is undone, and all that has ended since begins anew."""
        self.restarts += 1
        self.putting_back = event.checkpoint
        later = self._later_than(self.checkpoints[event.checkpoint])
        undone = {name for name, run in self.nodes.items() if run.state in UNDOS}
        self.undoing = self.course = None
        self.timed_out = False
        self.error = ""
        self.began = event.time
        resumption.forget(self, later | undone, finally_only=False)
        self.derive()

    def _files_put_back(self, event: ev.FilesPutBack) -> None:
        self.putting_back = ""
        if self.undoing is not None:
            self.undoing.files_back = True

    def _checkpoint_saved(self, event: ev.CheckpointSaved) -> None:
        self.checkpoints.pop(event.node, None)
        self.checkpoints[event.node] = Checkpoint(self.events, event.time, event.files)

    def _run_planned(self, event: ev.RunPlanned) -> None:
        self.course = event if event.order else None
        waiting = self.ready
        self.ready = self._queue()
        for name, run in self.nodes.items():
            if run.state is READY and name in waiting:
                self._push_ready(self.plan.nodes[name])

    def _queue(self) -> Ready | Turns:
        """An empty queue of ready nodes. After a resume all groups begin at the same mark: it costs each a node at
        most."""
        if self.plan.policy == "fair":
            from wfctl.turns import Turns

            return Turns(self.plan)
        if self.course is None:
            return Ready()
        from wfctl.course import Course

        ended = [name for name, run in self.nodes.items() if run.state in FINAL]
        return Course(self.plan, self.course, self.started, ended)

    def _run_stopping(self, event: ev.RunStopping) -> None:
        self.signal = event.signal if self.signal is None else self.signal
        self.stopping = True
        self.at_once = self.at_once or event.at_once
        self._to_stop = deque(self.running)
        self.asked.update(dict.fromkeys(self.running, "interrupted"))

    def _run_halted(self, event: ev.RunHalted) -> None:
        self.halted = event.error

    def _run_paused(self, event: ev.RunPaused) -> None:
        self.paused += event.seconds
        for run in self.nodes.values():
            if run.first_started is not None and run.state in (RUNNING, RETRYING):
                run.first_started += event.seconds
            elif run.state is WAITING_INPUT and run.asked[1] is not None:
                message, until, choices = run.asked
                run.asked = [message, round(until + event.seconds, 6), choices]
        self.nests.paused()

    def _run_timed_out(self, event: ev.RunTimedOut) -> None:
        self.timed_out = True
        self.error = "the run's own timeout has passed"
        self._start_failing("cancel")

    def _run_committing(self, event: ev.RunCommitting) -> None:
        self.committing = True

    def _transaction_ended(self, event: ev.TransactionEnded) -> None:
        run = self.nodes[event.node]
        self.ending.discard((event.node, event.attempt))
        if event.error:
            self.unended[event.node, event.attempt] = event.error
            self.error = self.error or event.error
            return
        run.prepared = [attempt for attempt in run.prepared if attempt != event.attempt]
        run.rolled_back = not event.committed
        if not run.prepared:
            self.prepared.pop(event.node, None)

    def end_asked(self, node: str, attempt: int) -> None:
        """The engine ends a prepared transaction. No fact: it is asked again after a crash."""
        self.ending.add((node, attempt))

    def _run_settled(self, event: ev.RunSettled) -> None:
        self.settled = RunStatus(event.state)
        self.error = event.error or self.error
        self.outputs = event.outputs
        self.stopping = False
        for name, planned in self.plan.nodes.items():
            run = self.nodes[name]
            if planned.node.section == "finally" and run.state is WAITING and not run.judged:
                self._judge(name, run)

    def _run_finished(self, event: ev.RunFinished) -> None:
        self.status = RunStatus(event.state)
        if self.status is RunStatus.INTERRUPTED:
            self.error = self.error or self.halted
        self.finished = event.time
        self.exit_code = event.exit_code

    def adopt(self, plan: Plan, event: ev.RunUpdated) -> None:
        """Go on under another plan: what succeeded stays, where it is still there; the rest begins anew."""
        self.time = event.time
        self.events += 1
        self.pin += 1
        old, before, self.plan = self.nodes, self.plan, plan
        grown, self.grown = self.grown, {}
        self._rank = POLICIES[plan.policy]
        self.settled = self.course = None
        self.nodes = {name: NodeRun() for name in plan.nodes}
        self.open = {"nodes": 0, "finally": 0}
        for name, items in resumption.items_over(grown, before, plan, old).items():
            self.grow(name, items)
        self.nodes = resumption.carried_over(before, plan, old)
        self.former |= {name: resumption.remembering(run) for name, run in old.items() if name not in self.nodes}
        self.derive()

    # -- quick views

    def derive(self) -> None:
        """Make all quick views anew from the states of the nodes."""
        plan = self.plan
        self.ready = self._queue()
        slots = min(plan.concurrency, len(plan.nodes))  # a number of 4,000 digits is slow to add
        self.budget = Budget(plan.budget, slots, plan.rates, self.tokens, plan.devices)
        self.nests = Nests(self)
        self.running: dict[str, None] = {}
        self.asking: dict[str, None] = {}
        self.prepared = {name: None for name, run in self.nodes.items() if run.prepared}
        self.unended: dict[tuple[str, int], str] = {}  # transactions that could not be ended, and why
        self.ending = set()
        self.refused: dict[str, None] = {}  # by other runs, in the order of asking
        self.aside: dict[str, None] = {}  # those that wait for their twin
        self.losers = [name for name, run in self.nodes.items() if is_loser(run)]  # of races, to be undone
        self.asked: dict[str, str] = {}
        self._doomed: deque[str] = deque()
        self._to_ask: deque[str] = deque()
        self._to_look: deque[str] = deque()
        self._to_cancel: deque[str] = deque()
        self._to_stop = deque()
        self._unjudged: deque[str] = deque()
        self._retries: list[tuple[float, str]] = []
        self._derive_counts()
        for name in [name for name, run in self.nodes.items() if run.state is RUNNING and plan.nodes[name].holds]:
            self.nests.open(name)
        for name, run in list(self.nodes.items()):
            self._derive_one(name, run, plan.nodes[name])
        if self.failing and self.settled is None:
            self._start_failing("cancel" if self.timed_out else plan.on_failure)

    def _derive_counts(self) -> None:
        """How many nodes have ended and how: in all, of the needs of each, and those by which the run fails."""
        plan = self.plan
        self.ended: dict[NodeState, int] = {}
        self.open = {"nodes": 0, "finally": 0}
        failed = []
        for name, planned in plan.nodes.items():
            run = self.nodes[name]
            run.left = len(planned.needs)
            run.succeeded = run.failed = 0
            run.judged, run.inside = False, None
            if run.state not in FINAL:
                self.open[planned.node.section] += 1
            elif run.state in BAD and not self.nests.absorbed(planned):
                if planned.node.section == "finally":
                    self.finally_failed = True
                elif run.reason != "inner":
                    failed.append(name)
        self.failed_nodes = dict.fromkeys(sorted(failed, key=lambda n: self.nodes[n].finished or 0.0))
        for name, run in self.nodes.items():
            if run.state in FINAL:
                self.ended[run.state] = self.ended.get(run.state, 0) + 1
                for other in plan.nodes[name].dependents:
                    self._count(self.nodes[other], plan.nodes[name], run)

    def _derive_one(self, name: str, run: NodeRun, planned: Planned) -> None:
        """Take a node into the views of its state."""
        if run.state is READY and not run.judged:
            run.judged = True
            self._make_ready(planned)
        elif run.state is RETRYING and run.retry_at is not None:
            heappush(self._retries, (run.retry_at, name))
        elif run.state is WAITING_INPUT:
            self.asking[name] = None
        elif run.state is RUNNING and not planned.holds:
            self.running[name] = None
            self.budget.hold(name, self._wish(planned), run.started or self.time, run.devices)
        elif run.state is WAITING and not run.judged:
            if planned.node.section == "nodes" or self.settled is not None:
                self._judge(name, run)

    def _push_ready(self, planned: Planned) -> None:
        since = self.nodes[planned.id].ready_at
        rank = self._rank(planned, self.plan, self)
        self.ready.push(planned.id, self._wish(planned), rank, self.time if since is None else since)

    def _give_back(self, name: str) -> None:
        self.running.pop(name, None)
        self.asked.pop(name, None)
        self.budget.give_back(name, self._wish(self.plan.nodes[name]))
        self.ready.freed()

    def _count(self, dependent: NodeRun, planned: Planned, run: NodeRun) -> None:
        dependent.left -= 1
        if run.state in DONE or (planned.node.continue_on_error and run.state in (FAILED, TIMED_OUT)):
            dependent.succeeded += 1
        elif run.state is not SKIPPED:
            dependent.failed += 1

    def _ended(self, name: str, run: NodeRun) -> None:
        planned = self.plan.nodes[name]
        run.place = self.events
        self.ready.ended(name)
        self.open[planned.node.section] -= 1
        self.ended[run.state] = self.ended.get(run.state, 0) + 1
        for other in planned.dependents:
            dependent = self.nodes[other]
            self._count(dependent, planned, run)
            if dependent.state is WAITING and not dependent.judged:
                doom = run.state is not CANCELLED or self.nests.for_failures(self.plan.nodes[other])
                self._judge(other, dependent, doom)
        if planned.holds:
            self.nests.closed(name)
        self.nests.ended(name)

    def _judge(self, name: str, run: NodeRun, doom: bool = True) -> None:
        """Hand a waiting node on, where its trigger holds or can no longer hold.

        Without `doom` the latter is passed over: what a cancelled node is needed by is cancelled too, for the same
        reason, and not skipped; which of the two comes first in the file must not decide. What runs for failures is
        not cancelled with it.
        """
        planned = self.plan.nodes[name]
        if not self.nests.lets(planned):
            return
        holds = TRIGGERS[planned.node.trigger](run, len(planned.needs))
        if holds is None:
            return
        if not holds and not doom:
            return
        run.judged = True
        if not holds:
            self._doomed.append(name)
        elif planned.given:
            run.judged = False  # waits to be served, and never starts
        elif planned.holds and planned.node.when is True and not self.is_open_ended(planned):
            self._open(run, planned)
        elif planned.node.when is True and not planned.holds:
            run.state = READY
            run.ready_at = self.time
            self._make_ready(planned)
        else:
            self._unjudged.append(name)

    def is_open_ended(self, planned: Planned) -> bool:
        """Whether something is still to be found out before a node opens: its items, or what it is given."""
        return planned.id in self.plan.open_ended and planned.id not in self.grown

    def _start_failing(self, mode: str) -> None:
        """From now on nothing starts but nodes that wait for a failure; with `cancel`, what runs is stopped."""
        if mode == "continue":
            return
        for name, planned in self.plan.nodes.items():
            state = self.nodes[name].state
            around = planned.parent
            if around is not None and self.nodes[around].state is not RUNNING:
                continue  # it ends with what it lies in
            if planned.node.section == "nodes" and not self.nests.for_failures(planned):
                if state in (WAITING, READY, RETRYING, WAITING_INPUT):
                    self._to_cancel.append(name)
            elif state is RETRYING and not self.admits(planned):
                self._to_cancel.append(name)
        if mode == "cancel":
            reason = "run_timeout" if self.timed_out else "run_failing"
            for name in self.running:
                if self.plan.nodes[name].node.section == "nodes":
                    self.to_stop(name, reason)


_BESIDE = (ev.TransactionEnded, ev.CheckpointSaved, *UNDO_FACTS)
"""Facts of a node that has ended: they are no move of it."""

_RUN_FACTS: Mapping[type[ev.Event], Callable[[RunState, Any], None]] = {
    ev.RunStarted: RunState._run_started,
    ev.RunResumed: RunState._run_resumed,
    ev.RollbackBegun: RunState._rollback_begun,
    ev.RunRestarted: RunState._run_restarted,
    ev.FilesPutBack: RunState._files_put_back,
    ev.CheckpointSaved: RunState._checkpoint_saved,
    ev.RunPlanned: RunState._run_planned,
    ev.RunStopping: RunState._run_stopping,
    ev.RunHalted: RunState._run_halted,
    ev.RunPaused: RunState._run_paused,
    ev.RunTimedOut: RunState._run_timed_out,
    ev.RunCommitting: RunState._run_committing,
    ev.TransactionEnded: RunState._transaction_ended,
    ev.RunSettled: RunState._run_settled,
    ev.RunFinished: RunState._run_finished,
    **UNDO_FACTS,
}

_NODE_FACTS: Mapping[type[ev.Event], Callable[[RunState, NodeRun, Planned, Any], None]] = {
    ev.NodeReady: RunState._node_ready,
    ev.NodeOpened: RunState._node_opened,
    ev.NodeAsked: RunState._node_asked,
    ev.NodeWaiting: RunState._node_waiting,
    ev.NodeStarted: RunState._node_started,
    ev.NodeSucceeded: RunState._node_succeeded,
    ev.NodeRetrying: RunState._node_retrying,
    ev.NodeFailed: RunState._node_failed,
    ev.NodeInterrupted: RunState._node_interrupted,
    ev.NodeCancelled: RunState._node_cancelled,
    ev.NodeSkipped: RunState._node_skipped,
    ev.NodeServed: RunState._node_served,
}


def fold(
    facts: Iterable[ev.Event], plan_of: Callable[[ev.RunStarted | ev.RunUpdated], Plan], state: RunState | None = None
) -> RunState:
    """The state that the facts lead to, from the beginning or from `state` on.

    `plan_of` gives the plan that an event pins.
    """
    for event in facts:
        if isinstance(event, ev.RunStarted):
            state = RunState(plan_of(event))
        if state is None:
            raise Bug("a journal begins with run_started")
        if isinstance(event, ev.RunUpdated):
            state.adopt(plan_of(event), event)
        else:
            state.apply(event)
    if state is None:
        raise Bug("a journal without events")
    return state
