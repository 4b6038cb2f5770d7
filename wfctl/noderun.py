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
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    CACHED = "cached"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


WAITING, READY, RUNNING, RETRYING, INTERRUPTED, SUCCEEDED, CACHED, FAILED, TIMED_OUT, SKIPPED, CANCELLED = NodeState

FINAL = frozenset({SUCCEEDED, CACHED, FAILED, TIMED_OUT, SKIPPED, CANCELLED})
DONE = frozenset({SUCCEEDED, CACHED})
BAD = frozenset({FAILED, TIMED_OUT})

MOVES: Mapping[tuple[NodeState, type[ev.Event]], NodeState] = {
    (WAITING, ev.NodeReady): READY,
    (RETRYING, ev.NodeReady): READY,
    (READY, ev.NodeStarted): RUNNING,
    (RUNNING, ev.NodeSucceeded): SUCCEEDED,
    (RUNNING, ev.NodeRetrying): RETRYING,
    (RUNNING, ev.NodeFailed): FAILED,
    (READY, ev.NodeFailed): FAILED,  # its job could not be made
    (WAITING, ev.NodeFailed): FAILED,  # its `when` could not be evaluated
    (RETRYING, ev.NodeFailed): FAILED,  # the run is failing: its retry is dropped
    (RUNNING, ev.NodeInterrupted): INTERRUPTED,
    (RUNNING, ev.NodeCancelled): CANCELLED,
    (WAITING, ev.NodeCancelled): CANCELLED,
    (READY, ev.NodeCancelled): CANCELLED,
    (WAITING, ev.NodeSkipped): SKIPPED,
    (WAITING, ev.NodeServed): CACHED,
}
"""Every move there is. A pair that is not here is a bug of ours and says so."""


class NodeRun:
    """One node in one run. The counters are of its needs: how many have ended, and how."""

    __slots__ = (
        "attempt",
        "devices",
        "error",
        "exit_code",
        "failed",
        "finished",
        "first_started",
        "judged",
        "left",
        "output",
        "ready_at",
        "reason",
        "retry_at",
        "seconds",
        "signal",
        "started",
        "state",
        "stored",
        "succeeded",
        "tries",
        "unknown",
        "writes",
    )
    KEPT = (
        "attempt",
        "devices",
        "error",
        "exit_code",
        "finished",
        "first_started",
        "output",
        "ready_at",
        "reason",
        "retry_at",
        "seconds",
        "signal",
        "started",
        "stored",
        "tries",
        "unknown",
        "writes",
    )

    def __init__(self, attempt: int = 0, unknown: bool = False) -> None:
        self.state = WAITING
        self.attempt = attempt  # of all, also before a resume: names the log
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
        self.left = self.succeeded = self.failed = 0
        self.judged = False  # handed to a queue: neither its trigger nor its `when` is asked again
