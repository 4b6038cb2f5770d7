"""What an executor is handed and what it hands back, and the protocols of all that plugs in.

Knows nothing of workflows, budgets or retries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any, Protocol

from wfctl.errors import Problem, Where
from wfctl.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt, ready to be performed. Everything in it is plain data; secrets are not.

    `id` is `run/node/attempt`, fixed before the job is submitted. Times are seconds. Paths are
    absolute, or relative to the root that the executor was given. `cpu` is what WFCTL_CPU says.
    """

    id: str
    node: str
    attempt: int
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    stdin: str | None = None
    log: str = ""
    stdout: str | None = None
    output: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    reading: str = "none"
    """How standard output becomes the output: none, text, lines, json."""
    writes: tuple[str, ...] = ()
    """Paths, maybe globs, that must be there after success."""
    timeout: float | None = None
    detach: bool = False
    estimate: float = 1.0


class Ending(StrEnum):
    """How an attempt ended, as its executor saw it. `not_started` is no failure of the work."""

    EXITED = "exited"
    KILLED = "killed"
    TIMED_OUT = "timed_out"
    NOT_STARTED = "not_started"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What became of a job. `code` is the exit code, or the signal's number when killed."""

    job_id: str
    ending: Ending
    code: int | None = None
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Signalled:
    """The run itself was sent a signal."""

    number: int


Message = Completion | Signalled


class Clock(Protocol):
    """Seconds since the epoch, that never go back within a run."""

    def now(self) -> float: ...


class Executor(Protocol):
    """Performs jobs. One contract suite holds every implementation to this."""

    def submit(self, job: Job) -> None:
        """Start the job. What cannot be started is reported by a completion, not by an exception."""

    def wait(self, until: float | None) -> Sequence[Message]:
        """Sleep until something happened or the clock says `until` (None: no limit), and tell it."""

    def cancel(self, job_id: str) -> None:
        """Ask the job to end: TERM, its grace, KILL. Its completion arrives as any other."""

    def kill(self) -> None:
        """End all jobs at once, without grace. Their completions arrive as any other."""

    def close(self) -> None:
        """Give back what is held. No job runs any more, but those that were detached."""


class Journal(Protocol):
    """What happened, kept. Events are mappings of plain data."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Take the event; it is kept once `sync` has returned."""

    def sync(self) -> None:
        """Keep all that was appended, against the death of this process and of the machine."""


class Names(Protocol):
    """What an expression sees: top-level names to plain data or lazy mappings."""

    def __getitem__(self, name: str, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an attempt leaves things: paths made by the run's folder, none of which need exist."""

    log: str
    stdout: str
    output: str
    stdin: str
    values: str
    """Start of the names of files for values that are handed over as files."""


class Kind(Protocol):
    """How one kind of node does its work. One module each, found by the kind's name."""

    def parse(self, value: object, where: Where, shell: str | None) -> tuple[object, list[Problem]]:
        """The kind's own value of a node, checked and frozen: the node's `body`."""

    def expressions(self, body: object, where: Where) -> Iterable[tuple[Where, Any]]:
        """Every template in a body, with its place: for references and checks."""

    def prepare(self, job: Job, node: Any, names: Mapping[str, object], place: Place) -> Job:
        """The job of one attempt, from a job that has all but the work itself. Raises ExpressionError."""
