"""What can happen in a run: one frozen dataclass for each fact, to and from plain data.

Has no behaviour. Facts are complete: to replay them needs no clock, no chance and no disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from typing import Any, ClassVar

from wfctl import instant
from wfctl.record import dataclass

FORMAT = 1
"""The version of the journal's vocabulary. Older ones are read; a newer one is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact. `time` is seconds since the epoch and never goes back within a run."""

    name: ClassVar[str] = ""
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run exists from here on. `request` is what its plan is made from, `definition` the file it is pinned to."""

    name: ClassVar[str] = "run_started"
    run: str
    workflow: str
    file: str
    digest: str
    definition: str
    request: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)
    """Outputs of nodes that were left out, from the run `of`."""
    of: str | None = None
    no_wait: bool = False
    """Not to wait for people: it ends where only they could go on."""
    forced: tuple[str, ...] = ()
    """Nodes that run although a result of theirs is kept; `*` for all."""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """Another engine goes on. What ran is interrupted; `again` are the nodes that a person asked for again. With a
    `checkpoint` all that has ended after that begins anew, and the files that it saved are to be put back."""

    name: ClassVar[str] = "run_resumed"
    again: tuple[str, ...] = ()
    checkpoint: str = ""
    undo: str = ""
    """The strategy by which a person wants the run to be undone, in place of going on; `as said` for the file's."""
    no_wait: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackBegun(Event):
    """The run is undone: these nodes by their steps, and of `remove` also the files that they wrote. `then` is what
    comes next, `analysis` what the failure has touched, and `by` who asked for it, where that was a person."""

    name: ClassVar[str] = "rollback_begun"
    strategy: str
    then: str
    nodes: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    checkpoint: str = ""
    why: str = ""
    by: str = ""
    analysis: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoStarted(Event):
    """A try of a step of an undo is about to begin. Steps are counted from 1, as tries are."""

    name: ClassVar[str] = "undo_started"
    node: str
    step: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoStepDone(Event):
    """A step is done, and verified where it says how."""

    name: ClassVar[str] = "undo_step_done"
    node: str
    step: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRetrying(Event):
    """A try of a step failed; another is due at `retry_at`."""

    name: ClassVar[str] = "undo_retrying"
    node: str
    step: int
    retry_at: float
    reason: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoFailed(Event):
    """A step was given up: a person is needed, and what the node depends on waits for that."""

    name: ClassVar[str] = "undo_failed"
    node: str
    step: int
    reason: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoInterrupted(Event):
    """A try of a step was ended because the run was told to stop."""

    name: ClassVar[str] = "undo_interrupted"
    node: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoAsked(Event):
    """A person wants an undo that was given up to be tried again."""

    name: ClassVar[str] = "undo_asked"
    node: str
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUndone(Event):
    """The node is undone. `how` is `steps`, or what a person said: `done`, or `skip`. `removed` are files that it had
    written and that went, `left` those that did not, each with the reason."""

    name: ClassVar[str] = "node_undone"
    node: str
    how: str = "steps"
    by: str = ""
    reason: str = ""
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRestarted(Event):
    """What came after a checkpoint is undone: the run goes on from there."""

    name: ClassVar[str] = "run_restarted"
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPutBack(Event):
    """The files of the checkpoint that the run goes on from are as they were then."""

    name: ClassVar[str] = "files_put_back"
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """The state up to here can be come back to, by the name of the node that has just succeeded. `files` are those that
    were saved: by path the hash of the content, the mode and the size."""

    name: ClassVar[str] = "checkpoint_saved"
    node: str
    files: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUpdated(Event):
    """From here on another definition holds, for what has not succeeded."""

    name: ClassVar[str] = "run_updated"
    digest: str
    definition: str
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlanned(Event):
    """From here on this plan is followed: `order` is that of the starts, `start` is in seconds from the start of the
    run. What runs already is in it. None is followed where it is empty. `reason` is `start`, `resume`, `growth`
    or `drift`."""

    name: ClassVar[str] = "run_planned"
    reason: str
    order: tuple[str, ...] = ()
    start: tuple[float, ...] = ()
    estimates: tuple[float, ...] = ()
    """What each node is taken to last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopping(Event):
    """The run was told to stop, by a signal; `at_once` when told twice."""

    name: ClassVar[str] = "run_stopping"
    signal: int
    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHalted(Event):
    """Nothing new starts, because of the machine: `low_disk`. What runs goes on to its end."""

    name: ClassVar[str] = "run_halted"
    reason: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(Event):
    """The run was stopped for so many seconds (Ctrl-Z), and goes on. They count for no timeout."""

    name: ClassVar[str] = "run_paused"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimedOut(Event):
    """The run's own timeout has passed."""

    name: ClassVar[str] = "run_timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommitting(Event):
    """All nodes have succeeded, and some hold a prepared transaction: from here on these are only committed."""

    name: ClassVar[str] = "run_committing"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionEnded(Event):
    """The prepared transaction of an attempt was committed, or rolled back; or that failed, and `error` says why."""

    name: ClassVar[str] = "transaction_ended"
    node: str
    attempt: int
    committed: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettled(Event):
    """All nodes but those of `finally` have ended: how the run went is decided."""

    name: ClassVar[str] = "run_settled"
    state: str
    error: str = ""
    outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """Nothing is left to do."""

    name: ClassVar[str] = "run_finished"
    state: str
    exit_code: int
    failed: tuple[str, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReady(Event):
    """Its `when` was true, or its retry is due."""

    name: ClassVar[str] = "node_ready"
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOpened(Event):
    """A node that holds others begins: what is inside may start. `items` are the keys and values of a `for_each` that
    come to be known only now; None where it was known who is inside. Where they are `assumed`, that is for a plan."""

    name: ClassVar[str] = "node_opened"
    node: str
    items: Any = None
    assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAsked(Event):
    """A person is asked. `until` is when the question is over without an answer."""

    name: ClassVar[str] = "node_asked"
    node: str
    message: str
    choices: tuple[str, ...]
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWaiting(Event):
    """It could start, but that another works on its key now, whose result may do: `holder` says who. Empty where
    nobody does any more: it waits for its turn as others do."""

    name: ClassVar[str] = "node_waiting"
    node: str
    holder: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Event):
    """An attempt is about to begin. Recorded before the process exists."""

    name: ClassVar[str] = "node_started"
    node: str
    attempt: int
    writes: Any = None
    """The paths that it will write, where an expression decides them."""
    devices: tuple[str, ...] = ()
    """Those that it alone has while it runs."""
    prepares: bool = False
    """It will leave a prepared transaction."""
    key: str = ""
    """Under which its result will be kept."""
    undo: Any = None
    """What an undo of it needs, as it is now: how many `steps` it has, the number of the definition that says them
    (`pin`), and the values of the `names` in them; and of a node whose files may go those that were `there`, and with
    their hashes its `own`, that earlier attempts had left."""
    why: Any = None
    """Why it runs and no kept result is served, as `results` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Event):
    """Common to all ends of an attempt. `exit_code` is 128 + the signal's number where a signal ended it."""

    node: str
    attempt: int
    seconds: float = 0.0
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    error: str = ""
    wrote: Any = None
    """The files that it has written with their hashes, where a rollback may remove them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSucceeded(AttemptEnded):
    """Done. A large output lies in a file: then `output` is `{"file": path}` and `stored` is true."""

    name: ClassVar[str] = "node_succeeded"
    output: Any = None
    stored: bool = False
    won: tuple[str, ...] = ()
    """Of a `for_each` whose strategy chooses: the keys of the items that its output is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRetrying(AttemptEnded):
    """The attempt failed; another is due at `retry_at`."""

    name: ClassVar[str] = "node_retrying"
    retry_at: float
    unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailed(AttemptEnded):
    """Failed for good. `timed_out` when its last attempt ran out of time; `unknown` when what it did is not known."""

    name: ClassVar[str] = "node_failed"
    timed_out: bool = False
    unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInterrupted(AttemptEnded):
    """The attempt was ended because the run was told to stop."""

    name: ClassVar[str] = "node_interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCancelled(Event):
    """It will not run, or was ended, because of others: `run_failing`, `run_timeout`, `superseded`, `collect`."""

    name: ClassVar[str] = "node_cancelled"
    node: str
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSkipped(Event):
    """It does not run: its `when` was false, or its trigger can no longer hold."""

    name: ClassVar[str] = "node_skipped"
    node: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeServed(Event):
    """Its output was taken from elsewhere; it does not run. `of` is the run that made it, and with a `key` it is a
    kept result, of the moment `made`."""

    name: ClassVar[str] = "node_served"
    node: str
    output: Any = None
    stored: bool = False
    of: str = ""
    key: str = ""
    made: float | None = None


EVENTS: Mapping[str, type[Event]] = {
    kind.name: kind
    for kind in (
        RunStarted,
        RunResumed,
        RollbackBegun,
        UndoStarted,
        UndoStepDone,
        UndoRetrying,
        UndoFailed,
        UndoInterrupted,
        UndoAsked,
        NodeUndone,
        RunRestarted,
        FilesPutBack,
        CheckpointSaved,
        RunUpdated,
        RunPlanned,
        RunStopping,
        RunHalted,
        RunPaused,
        RunTimedOut,
        RunCommitting,
        TransactionEnded,
        RunSettled,
        RunFinished,
        NodeReady,
        NodeOpened,
        NodeAsked,
        NodeWaiting,
        NodeStarted,
        NodeSucceeded,
        NodeRetrying,
        NodeFailed,
        NodeInterrupted,
        NodeCancelled,
        NodeSkipped,
        NodeServed,
    )
}


def _defaults(kind: type[Event]) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (f.name, f.default if f.default_factory is MISSING else f.default_factory())
        for f in fields(kind)
        if f.name != "time"
    )


_FIELDS: Mapping[type[Event], tuple[tuple[str, Any], ...]] = {kind: _defaults(kind) for kind in EVENTS.values()}


_LISTS = frozenset(
    "again failed devices order start estimates choices won forced nodes remove removed left".split()
)
_MOMENTS = frozenset(("retry_at", "until", "made"))


def to_data(event: Event) -> dict[str, Any]:
    """The event as plain data, without what has its default."""
    data: dict[str, Any] = {"event": event.name, "time": instant.to_text(event.time)}
    for name, default in _FIELDS[type(event)]:
        value = getattr(event, name)
        if value is not default and value != default:
            data[name] = value
    for name in _MOMENTS & data.keys():
        data[name] = instant.to_text(data[name])
    return data


def from_data(data: Mapping[str, Any]) -> Event:
    """The counterpart of `to_data`. Keys that this version does not know are passed over.

    Raises KeyError for an unknown event and TypeError for a missing fact.
    """
    kind = EVENTS[data["event"]]
    known = {name: data[name] for name, _ in _FIELDS[kind] if name in data}
    for name in _LISTS & known.keys():
        known[name] = tuple(known[name])
    for name in _MOMENTS & known.keys():
        known[name] = instant.from_text(known[name])
    return kind(time=instant.from_text(data["time"]), **known)
