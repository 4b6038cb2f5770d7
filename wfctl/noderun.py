"""One node in one run: the states that it can be in, every move between them, and what is kept of it.

Knows no other node, and not the plan."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from wfctl import events as ev


class NodeState(StrEnum):
    """SEMANTICS of each word: waiting for needs; ready for a slot; and so on to the final ones."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING_INPUT = "waiting_input"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    CACHED = "cached"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    UNDOING = "undoing"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"


(
    WAITING, READY, RUNNING, RETRYING, WAITING_INPUT, INTERRUPTED,
    SUCCEEDED, CACHED, FAILED, TIMED_OUT, SKIPPED, CANCELLED, UNDOING, UNDONE, UNDO_FAILED,
) = NodeState  # fmt: skip

UNDOS = frozenset({UNDOING, UNDONE, UNDO_FAILED})
FINAL = frozenset({SUCCEEDED, CACHED, FAILED, TIMED_OUT, SKIPPED, CANCELLED}) | UNDOS
DONE = frozenset({SUCCEEDED, CACHED})
BAD = frozenset({FAILED, TIMED_OUT})

MOVES: Mapping[tuple[NodeState, type[ev.Event]], NodeState] = {
    (WAITING, ev.NodeReady): READY,
    (RETRYING, ev.NodeReady): READY,
    (WAITING, ev.NodeOpened): RUNNING,
    (READY, ev.NodeAsked): WAITING_INPUT,
    (WAITING_INPUT, ev.NodeSucceeded): SUCCEEDED,
    (WAITING_INPUT, ev.NodeFailed): FAILED,
    (WAITING_INPUT, ev.NodeCancelled): CANCELLED,
    (READY, ev.NodeWaiting): READY,  # for its twin
    (READY, ev.NodeServed): CACHED,
    (READY, ev.NodeStarted): RUNNING,
    (RUNNING, ev.NodeSucceeded): SUCCEEDED,
    (RUNNING, ev.NodeRetrying): RETRYING,
    (RUNNING, ev.NodeFailed): FAILED,
    (READY, ev.NodeFailed): FAILED,  # its job could not be made
    (WAITING, ev.NodeFailed): FAILED,  # its `when` could not be evaluated
    (RETRYING, ev.NodeFailed): FAILED,  # the run is failing: its retry is dropped
    (RUNNING, ev.NodeInterrupted): INTERRUPTED,
    (RUNNING, ev.NodeCancelled): CANCELLED,
    (RUNNING, ev.NodeSkipped): SKIPPED,  # a group in which everything was
    (WAITING, ev.NodeCancelled): CANCELLED,
    (READY, ev.NodeCancelled): CANCELLED,
    (WAITING, ev.NodeSkipped): SKIPPED,
    (WAITING, ev.NodeServed): CACHED,
}
"""Every move there is. A pair that is not here is a bug of ours and says so."""


class Tally:
    """Of what is inside of a node: how many there are, how many have not ended, and how the others did."""

    __slots__ = (
        "active", "begun", "cancelled", "failed", "failing", "fresh", "last", "left", "listed", "succeeded", "total",
    )  # fmt: skip

    def __init__(self, total: int = 0) -> None:
        self.total = self.left = total
        self.succeeded = self.failed = self.cancelled = 0
        self.begun = 0  # of a `for_each`: so many of its items, in order, may begin or have ended
        self.active: set[str] = set()  # items that began and have not ended
        self.last = 0  # of a sub-workflow: so many of its own `finally` are among those
        self.failing = False  # a group that is bound to fail
        self.listed = False  # it is to be looked at
        self.fresh: list[str] = []  # items that succeeded, of which `until` was not asked yet


class UndoRun:
    """How the undo of a node stands: the step that is next, from 1, its tries, and what went wrong last."""

    __slots__ = ("attempt", "by", "error", "how", "left", "reason", "removed", "retry_at", "step", "tries")

    def __init__(self) -> None:
        self.step = 1
        self.tries = 0  # of this step, since a person asked for more
        self.attempt = 0  # of this step, of all: names the log
        self.retry_at: float | None = None
        self.reason = ""
        self.error = ""
        self.how = ""  # it is undone: by its steps, or by the word of a person
        self.by = ""
        self.removed: tuple[str, ...] = ()
        self.left: tuple[str, ...] = ()

    def to_data(self) -> list[Any]:
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def from_data(cls, data: list[Any]) -> UndoRun:
        made = cls()
        for name, value in zip(cls.__slots__, data, strict=True):
            setattr(made, name, value)
        made.removed, made.left = tuple(made.removed), tuple(made.left)
        return made


class NodeRun:
    """One node in one run. The counters are of its needs: how many have ended, and how."""

    __slots__ = (
        "asked",
        "attempt",
        "devices",
        "error",
        "exit_code",
        "failed",
        "finished",
        "first_started",
        "inside",
        "judged",
        "key",
        "left",
        "made",
        "output",
        "place",
        "prepared",
        "ready_at",
        "reason",
        "retry_at",
        "rolled_back",
        "round",
        "seconds",
        "signal",
        "started",
        "state",
        "stored",
        "succeeded",
        "tries",
        "undo",
        "undoable",
        "unknown",
        "waits",
        "why",
        "won",
        "writes",
        "wrote",
    )
    KEPT = (
        "asked",
        "attempt",
        "devices",
        "error",
        "exit_code",
        "finished",
        "first_started",
        "key",
        "made",
        "output",
        "place",
        "prepared",
        "ready_at",
        "reason",
        "retry_at",
        "rolled_back",
        "round",
        "seconds",
        "signal",
        "started",
        "stored",
        "tries",
        "undoable",
        "unknown",
        "why",
        "won",
        "writes",
        "wrote",
    )

    def __init__(self, attempt: int = 0, unknown: bool = False) -> None:
        self.state = WAITING
        self.attempt = attempt  # of all, also before a resume: names the log
        self.round = 0  # so often it has begun anew after its work was done: that is then another act
        self.tries = 0  # since the last resume: what `retry.attempts` counts
        self.first_started: float | None = None  # of these tries
        self.ready_at: float | None = None  # the last time: what policies go by
        self.started: float | None = None
        self.devices: tuple[str, ...] = ()  # of its last attempt
        self.finished: float | None = None
        self.seconds = 0.0
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.output: Any = None
        self.stored = False
        self.reason = ""
        self.error = ""
        self.unknown = unknown  # whether the outcome of any attempt is
        self.retry_at: float | None = None
        self.writes: Any = None
        self.key = ""  # under which its result is kept
        self.why: Any = None  # no kept result was served
        self.made: float | None = None  # when the kept result was made that was served
        self.undoable: Any = None  # what an undo of its last attempt needs
        self.wrote: Any = None  # by its last attempt, with hashes, where a rollback may remove it
        self.undo: UndoRun | None = None
        self.waits = ""  # for the twin that works on its key
        self.place = 0  # of the event by which it ended, among all of the run
        self.won: tuple[str, ...] = ()  # the keys of the items that a `for_each` chose
        self.asked: Any = None  # the question of an `ask`, and until when it stands
        self.prepared: list[int] = []  # attempts whose transaction may be prepared, and neither committed nor not
        self.rolled_back = False  # its transaction was: what it did is undone
        self.inside: Tally | None = None  # of what it holds, while it is open
        self.left = self.succeeded = self.failed = 0
        self.judged = False  # handed to a queue: neither its trigger nor its `when` is asked again

    @property
    def has_succeeded(self) -> bool:
        """Whether its last attempt has, also where that is undone by now, or is to be."""
        undo = self.state in UNDOS and self.finished is not None and not self.reason and not self.error
        return self.state is SUCCEEDED or undo

    def own(self) -> dict[str, str]:
        """The files that its attempts were seen to leave, with their hashes, and that were not there before."""
        known = self.undoable or {}
        there = known.get("there", ())
        return {**known.get("own", {}), **{p: digest for p, digest in (self.wrote or {}).items() if p not in there}}
