"""What an executor is handed and what it hands back, and the protocols of all that plugs in.

Knows nothing of workflows, budgets or retries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any, Protocol

from wfctl.errors import Problem, Where
from wfctl.record import dataclass
from wfctl.result import Result as Result

Sealed = tuple[str, ...]
"""A text without the secrets in it: pieces of text and names of secrets in turn, a piece first and last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a job may use and no more: bytes of memory, thousandths of a processor; None for what has no limit."""

    memory: int | None = None
    cpu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The work of a kind that is Python code: plain data, filled in, as its `perform` is handed it.

    Secrets are not in `fields`. `filled` says where they belong, by the variable of the job's `sealed` that has the
    text: who performs the task puts it there at the last moment. A process of its own finds the task in the file
    `file`, and leaves a result in `result`; both are absolute.
    """

    kind: str
    fields: Mapping[str, Any]
    filled: Mapping[str, Where] = field(default_factory=dict)
    file: str = ""
    result: str = ""
    key: str = ""
    """That of the job (`Idempotency-Key`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt, ready to be performed. Everything in it is plain data; secrets are not.

    `id` is `run/node/attempt`, fixed before the job is submitted. Times are seconds. Paths are
    absolute, or relative to the root that the executor was given. `cpu` is what WFCTL_CPU says.
    """

    id: str
    node: str
    attempt: int
    key: str = ""
    """The same for all attempts until one has succeeded: what others may know the act by."""
    argv: tuple[str, ...] = ()
    task: Task | None = None
    """In place of `argv`, where the kind is Python code."""
    env: Mapping[str, str] = field(default_factory=dict)
    sealed: Mapping[str, Sealed] = field(default_factory=dict)
    """Variables with secrets in them: the performer fills in the values as it starts the process, and nobody else."""
    cwd: str | None = None
    base: str = ""
    """The folder that paths of its node are seen from, itself seen from the root; empty for that."""
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
    log_limit: int | None = None
    """Bytes that its log may have; its file of standard output too."""
    devices: tuple[str, ...] | None = None
    """Those that it alone may use; None where the run has none to give, and hides none."""
    limits: Limits | None = None
    """What the system is to keep its processes to."""
    detach: bool = False
    unsure: bool = False
    """What an earlier attempt has done is not known."""
    saved: Mapping[str, Any] = field(default_factory=dict)
    """Of work that puts such files back, what checkpoints of the run have saved: by path the hash of the content, the
    mode and the size."""
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
    """What became of a job. `code` is the exit code, or the signal's number when killed.

    `reason` is empty, or the fixed word for what the executor itself has against it, however it ended:
    `log_limit`; `low_disk` where it was not started.
    """

    job_id: str
    ending: Ending
    code: int | None = None
    seconds: float = 0.0
    error: str = ""
    reason: str = ""
    result: Result | None = None
    """Of a task that was performed in this process; what another process did is in the file of the task."""


@dataclass(frozen=True, slots=True)
class Signalled:
    """The run itself was sent a signal."""

    number: int


@dataclass(frozen=True, slots=True)
class Paused:
    """The run was stopped (Ctrl-Z) and goes on, so many seconds later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class LowDisk:
    """The disk of the state is nearly full. `error` says how full, and the way out."""

    error: str


@dataclass(frozen=True, slots=True)
class Woken:
    """What other runs hold may have come free."""


@dataclass(frozen=True, slots=True)
class Nudged:
    """Somebody has left something for the run: an answer, maybe."""


Message = Completion | Signalled | Paused | LowDisk | Woken | Nudged


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a person has said to the question of a node: who it was, and why."""

    node: str
    choice: str
    by: str = ""
    reason: str = ""


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


class Sharing(Protocol):
    """What a run shares with other runs, lent to its nodes one by one."""

    def lend(self, node: str, wants: Mapping[str, int]) -> Mapping[str, tuple[str, ...]] | str:
        """Give the node all of that: its devices, by resource; or say for whom it waits, and give nothing."""

    def give_back(self, node: str) -> bool:
        """Whether the node had something, which others may have now."""

    def stand_in_line(self, wants: Mapping[str, int] | None, *, passable: bool) -> None:
        """Be woken when that may be had; while it is `passable`, other runs may take it first. None: for nothing."""

    def woken(self) -> None:
        """A `Woken` has arrived; before anything is asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is kept of a node that need not run: `file` is where its output lies, where that is a large one."""

    key: str
    of: str
    made: float
    output: object = None
    stored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Nothing is kept that would do, and nobody else works on it: the node is to run. `why` says why, as plain data."""

    key: str
    why: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Nothing is kept that would do, and somebody works on it now."""

    key: str
    holder: str


class Keeping(Protocol):
    """The results that are kept of nodes, of this and of earlier runs. What cannot be evaluated raises ExpressionError.

    In a plan nothing is claimed and nothing is kept."""

    unknown: set[str]
    """Nodes of a plan of which only a run can tell whether something is kept."""
    @property
    def whys(self) -> Mapping[str, Mapping[str, Any]]:
        """Of the nodes of a plan for which nothing is kept that would do: why that is."""

    def look(self, node: str, now: float) -> Served | None:
        """What would do in place of the work of a node."""

    def claim(self, node: str, now: float, *, forced: bool) -> Served | Claimed | Busy | None:
        """The same, and else the right to work on it, until `release`. A node that is `forced` runs whatever is kept.
        None where nothing of the node is to be kept."""

    def ended(self, event: Any) -> bool:
        """How an attempt ended that had claimed its key; whether others may have it when `keep` has kept what is left.

        What a rollback may undo nobody else is served before the run has ended."""

    def settled(self, succeeded: bool) -> list[str]:
        """The run can no longer undo what it did: the nodes whose keys others may have now."""

    def undone(self, node: str) -> None:
        """What is kept of a node holds no longer."""

    def keep(self) -> None:
        """Keep for good what has ended, before any of it is recorded."""

    def release(self, node: str) -> bool:
        """Whether the node had claimed a key. Others may work on it now."""

    def stand_in_line(self, waiting: bool) -> None:
        """Be woken when one of the keys that were busy may be had; or none is wanted any more."""

    def woken(self) -> None:
        """A `Woken` has arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A try of a step of an undo, or of what is to prove that it worked: the step as a node, and its job."""

    node: str
    number: int
    step: Any
    job: Job
    names: Callable[[], Mapping[str, object]]
    """What its `expect` sees beside what it leaves itself."""
    retry: Any
    verifies: bool = False
    then: Callable[[], Trial] | None = None
    """What is to prove that it worked. Raises ExpressionError."""


class Undos(Protocol):
    """What undoing the nodes of a run takes."""

    def freeze(self, node: str) -> Mapping[str, Any] | None:
        """What an undo of the attempt that is about to begin will need; None where it has none."""

    def wrote(self, node: str) -> Mapping[str, str] | None:
        """The hashes of what a node has written, where a rollback may remove it; else None."""

    def trial(self, node: str, step: int, attempt: int) -> Trial:
        """A try of a step, counted from 1. Raises ExpressionError."""

    def remove(self, node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Remove what a node has written, if it was not there before and is as it was left: what went, and what did not
        with the reason."""


class Roster(Protocol):
    """Which processes a run has, kept for whoever must end them when its engine is dead."""

    def enter(self, pid: int, before: float) -> int:
        """Take in a process that was started after `before` (seconds since boot); the slot that it has."""

    def leave(self, slot: int) -> None:
        """Its process has ended and was reaped."""


class Guard(Protocol):
    """The process that ends what is left when the engine is dead."""

    @property
    def pid(self) -> int:
        """Of the guard as it is now; -1 where there is none."""

    @property
    def fd(self) -> int:
        """Becomes readable when the guard is dead; -1 where there is none."""

    def replace(self) -> None:
        """Start another in place of one that is gone. Where that fails, `fd` is -1 and it may be tried again."""


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
    saved: str = ""
    """The folder of the blobs that checkpoints of the run have saved."""


class Kind(Protocol):
    """How one kind of node does its work. One module each, found by the kind's name."""

    keys: tuple[str, ...]
    """Keys of a node that stand beside the kind's own and belong to it, such as `with`."""
    secrets: frozenset[str]
    """Fields of its value that may hold a secret. It is filled in when the work begins, and never recorded."""
    slotless: bool
    """Whether its nodes hold no slot while they run: they wait for others, not for this machine."""

    def parse(self, raw: Mapping[str, Any], where: Where, shell: str | None) -> tuple[object, list[Problem]]:
        """The kind's own value of the node `raw`, checked and frozen: the node's `body`. `where` leads to the node."""

    def expressions(self, body: object, where: Where) -> Iterable[tuple[Where, Any]]:
        """Every template in a body, with its place below the node `where`: for references and checks."""

    def prepares(self, body: object) -> bool:
        """Whether its work leaves a prepared transaction, which the end of the run decides. Such a kind is a
        `TransactionKind`."""

    def restores(self, body: object) -> bool:
        """Whether its work puts back what checkpoints of the run have saved: its job is told of that."""

    def paths(self, body: object, key: str) -> tuple[object, ...]:
        """What it reads or writes by its own words; `key` is `reads` or `writes`. It counts among those of the node."""

    def decides(self, node: Any, names: Mapping[str, object], vars: Mapping[str, object]) -> Mapping[str, object]:
        """What it says that decides its result, by key of the node: plain data, filled in; a secret is its name. What
        the node has in common with all kinds is not in it. Raises ExpressionError."""

    def prepare(
        self, job: Job, node: Any, names: Mapping[str, object], place: Place, vars: Mapping[str, object]
    ) -> Job:
        """The job of one attempt, from a job that has all but the work itself. `vars` are as they were written: secrets
        are found there by name. Raises ExpressionError."""


class Tools(Protocol):
    """What the code of a kind is given beside its fields. Relative paths stand on `folder`, and so does the process."""

    folder: str
    """Absolute: the node's `cwd`, else the root."""
    root: str
    """Absolute: what files of the workflow must lie in."""
    run: str
    node: str
    attempt: int
    key: str
    """As that of the task."""
    unsure: bool
    """Whether an earlier attempt may have done the work, or a part: it was ended, or lost in a crash."""
    environ: Mapping[str, str]
    """The variables that a process of the node has: a kind that heeds one, such as a proxy, looks here."""
    timeout: float | None
    """Seconds that the attempt has. Whoever performs it ends it then; it may be of use to tell others."""

    def log(self, text: str) -> None:
        """Write a line to the log of the attempt."""

    def when_stopped(self, stop: Callable[[], None]) -> None:
        """Call this, from another thread, when the attempt is to end: it makes what `perform` waits for fail at once.
        The last one that was given counts; it is called at once where the attempt is to end already."""


class TransactionKind(Kind, Protocol):
    """A kind that may leave a prepared transaction behind."""

    def ending(
        self,
        job: Job,
        node: Any,
        names: Mapping[str, object],
        place: Place,
        vars: Mapping[str, object],
        *,
        name: str,
        commit: bool,
        again: bool,
    ) -> Job:
        """The job that commits the transaction of that name, or rolls it back. `again` where that may be done already.
        Raises ExpressionError."""


class PythonKind(Kind, Protocol):
    """A kind whose work is Python code. It is performed in a process of its own (`worker`), or in a thread of the
    engine where it is `in_place`: the result is the same."""

    in_place: bool

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        """Do the work. May block. What it raises is a failure with a traceback in the log: a bug of the kind."""
