"""A past or present run, read from its folder: its plan, its state, and the documents that programs read.

Drives nothing and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from wfctl import __version__, expr, instant, journal, paper, planner, plugins, spec
from wfctl import events as ev
from wfctl.errors import Bug, StateError, UsageError, WfctlError
from wfctl.jobs import Kind
from wfctl.node import Node
from wfctl.noderun import BAD, CACHED, DONE, READY, RUNNING, WAITING_INPUT
from wfctl.plan import Plan, Request
from wfctl.record import dataclass
from wfctl.state import RunState, RunStatus, fold
from wfctl.store import RunFolder
from wfctl.transactions import transaction_name

if TYPE_CHECKING:
    from wfctl.compensation import Rollback, Step
    from wfctl.rollback import Analysis, Scheme

FORMAT = 1
"""The format of the pinned definition."""

_LARGEST = 1 << 30  # bytes of one: many times what the largest file that is read can become


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a run is pinned to: the file's data after `--set`, and where the file was."""

    file: str
    digest: str
    data: Mapping[str, Any]
    files: Mapping[str, Any] = field(default_factory=dict)
    """What its sub-workflows say, by the way to each from its folder."""

    def to_bytes(self) -> bytes:
        """As it lies in the run's folder."""
        content = {"format": FORMAT, "file": self.file, "digest": self.digest, "data": self.data}
        if self.files:
            content["files"] = self.files
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_definition(folder: RunFolder, name: str) -> Definition:
    """The pinned definition of that name. Raises StateError where it is gone, damaged or of a newer format."""
    path = folder.path / name
    try:
        content = json.loads(journal.content(path, _LARGEST))
        if content["format"] > FORMAT:
            raise StateError(f'"{path}" was written by a newer wfctl; upgrade wfctl')
        files = dict(content.get("files", {}))
        return Definition(file=content["file"], digest=content["digest"], data=content["data"], files=files)
    except FileNotFoundError:
        raise StateError(f'"{path}" is missing; put back a copy of it, or begin anew with `wfctl run`') from None
    except OSError as error:
        raise journal.refusal("read", path, error) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StateError(f'"{path}" is damaged; begin anew with `wfctl run`') from None


def plan_of(definition: Definition, request: Request) -> Plan:
    """The plan that a definition and a request give, as they did when the run began."""
    stem = definition.file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    workflow, _ = spec.build(definition.data, stem, _kind_of_then, definition.files.get)
    return planner.build(workflow, request)[0]


def _kind_of_then(name: str) -> Kind:
    """A kind that the run was begun with. Raises StateError where its package is not there any more, or broken."""
    try:
        kind = plugins.kind(name)
    except UsageError as error:
        raise StateError(f"what this run was begun with is not as it was: {error}") from None
    if kind is None:
        raise StateError(f'no kind "{name}" is installed any more, and this run was begun with it; install its package')
    return kind


def request_to_data(request: Request) -> dict[str, Any]:
    """A request as plain data, without what has its default."""
    default = Request()
    return {f.name: v for f in fields(Request) if (v := getattr(request, f.name)) != getattr(default, f.name)}


def request_from_data(data: Mapping[str, Any]) -> Request:
    """The counterpart of `request_to_data`."""
    known = {f.name for f in fields(Request)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
    return Request(**values)


@dataclass(slots=True)
class Record:
    """A run as its journal tells it. `plan` is the one in force; `pins` are the events that pinned one."""

    folder: RunFolder
    state: RunState
    pins: list[ev.RunStarted | ev.RunUpdated]

    @property
    def first(self) -> ev.RunStarted:
        assert isinstance(self.pins[0], ev.RunStarted)
        return self.pins[0]

    @property
    def plan(self) -> Plan:
        return self.state.plan

    def status(self) -> str:
        """How the run stands now: a run that has not finished is running only while its lock is held."""
        if self.state.finished is not None:
            return str(self.state.status)
        if not journal.held_by(self.folder):
            return str(RunStatus.INTERRUPTED)
        return str(RunStatus.ROLLING_BACK if self.state.rolls_back else RunStatus.RUNNING)


def open_run(folder: RunFolder, take: Callable[[int, str], journal.Reading] | None = None, cache: Any = None) -> Record:
    """Read a run. `take` reads its journal where the caller holds the lock; `cache` may save replaying all of it.

    Raises StateError where the journal or the definition cannot be read.
    """
    checkpoint = cache.load_checkpoint(folder.id) if cache is not None else None
    if checkpoint is not None and checkpoint.state.get("version") != __version__:
        checkpoint = None  # what another one has written down of a state may be laid out otherwise
    skip, chain = (checkpoint.position, checkpoint.chain) if checkpoint else (0, "")
    reading = take(skip, chain) if take else journal.read(folder.journal, skip, chain)
    try:
        facts = [ev.from_data(data) for data in reading.events]
        state = None
        pins: list[ev.RunStarted | ev.RunUpdated] = []

        def pinned_plan(event: ev.RunStarted | ev.RunUpdated) -> Plan:
            pins.append(event)
            return plan_of(read_definition(folder, event.definition), request_from_data(event.request))

        if checkpoint is not None and reading.skipped:
            kept = checkpoint.state
            pins += [ev.from_data(data) for data in kept["pins"]]  # type: ignore[misc]
            latest = pins[-1]
            state = paper.from_data(
                plan_of(read_definition(folder, latest.definition), request_from_data(latest.request)), kept["state"]
            )
        if not facts and state is None:
            raise StateError(f'run "{folder.id}" has an empty journal; `wfctl clean` removes it')
        state = fold(facts, pinned_plan, state)
    except StateError:
        raise
    except (Bug, KeyError, TypeError, ValueError, WfctlError) as error:
        text = f'"{folder.journal}" cannot be understood ({error}); it may be of another version of wfctl'
        raise StateError(text) from None
    return Record(folder, state, pins)


def checkpoint_of(record: Record) -> dict[str, Any]:
    """What a checkpoint of the run holds."""
    pins = [ev.to_data(pin) for pin in record.pins]
    return {"version": __version__, "pins": pins, "state": paper.to_data(record.state)}


# -- an update


_SAYS_NOTHING_OF_THE_WORK = (
    "description", "needs", "priority", "deadline", "business_value", "user_level", "group", "estimate",
    "idempotency", "checkpoint",
)  # fmt: skip


def changed(record: Record, plan: Plan) -> list[str]:
    """The nodes that succeeded under a definition by which they would have run otherwise than by `plan`."""
    ran: dict[int, list[str]] = {}
    nodes, runs = record.plan.nodes, record.state.nodes
    for name, run in runs.items():
        around = nodes[name].parent
        if around is not None and runs[around].state in DONE:
            continue  # what lies in another was written there
        if run.state in DONE and nodes[name].node.section == "nodes" and not nodes[name].given:
            since = [pin.time <= (run.started or 0.0) for pin in record.pins]
            ran.setdefault(max(0, sum(since) - 1), []).append(name)
    found: set[str] = set()
    for number, names in ran.items():
        pin = record.pins[number]
        last = number == len(record.pins) - 1
        before = record.plan if last else plan_of(
            read_definition(record.folder, pin.definition), request_from_data(pin.request)
        )  # fmt: skip
        found.update(_otherwise(before, plan, names, record.plan))
    return [name for name in runs if name in found]


def _written(plan: Plan, name: str, grown: Plan) -> Node | None:
    """A node as a plan has it: one that joined in the run, and so is only in that which has `grown`, as it is written
    in what it lies in. None where the plan has no such node."""
    if name in plan.nodes:
        return plan.nodes[name].node
    around = grown.nodes[name].parent
    holder = _written(plan, around, grown) if around is not None else None
    if holder is None:
        return None
    if holder.each is not None:
        return holder.each.item
    return holder.inner.nodes.get(grown.nodes[name].node.id) if holder.inner is not None else None


def _otherwise(before: Plan, after: Plan, names: Iterable[str], grown: Plan) -> Iterator[str]:
    """Those of the nodes that the two plans run in another way: by their own words, or by values that these name."""
    there = {name: node for name in names if (node := _written(after, name, grown)) and node.section == "nodes"}
    if (before.env, before.root) != (after.env, after.root):  # every node is given them
        yield from there
        return
    values = _changed_values(before, after)
    keys = [f.name for f in fields(Node) if f.compare and f.name not in _SAYS_NOTHING_OF_THE_WORK]
    for name, new in there.items():
        old = _written(before, name, grown)
        if old is None:
            continue
        if name in before.nodes and name not in after.nodes:  # what one has read by now the other has not
            new = new if not new.deferred else after.planner.with_deferred(new, grown.nodes[name].scope)
        if any(getattr(old, key) != getattr(new, key) for key in keys):
            yield name
        elif values and any(r.path[:2] in values for r in _references(new)):
            yield name


class Terms(NamedTuple):
    """What a definition says of the undo of a node."""

    steps: tuple[Step, ...]
    rollback: Rollback
    env: Mapping[str, str]
    """That of the whole run."""


def terms(record: Record) -> Callable[[int, str], Terms]:
    """What undoes a node, as the definition of a number says it, which was in force when the node ran."""
    plans = {len(record.pins): record.plan}

    def of(pin: int, name: str) -> Terms:
        if pin not in plans:
            event = record.pins[pin - 1]
            plans[pin] = plan_of(read_definition(record.folder, event.definition), request_from_data(event.request))
        plan = plans[pin]
        node = _written(plan, name, record.plan)
        if node is not None and name not in plan.nodes and node.compensate:  # what one that joined has read
            node = plan.planner.with_deferred(node, record.plan.nodes[name].scope)
        return Terms((node.compensate or ()) if node is not None else (), plan.rollback, plan.env)

    return of


def _changed_values(before: Plan, after: Plan) -> set[tuple[str, ...]]:
    """The params and vars that are not what they were, also those vars that only lean on such."""
    found: set[tuple[str, ...]] = {("params", n) for n, v in after.params.items() if before.params.get(n) != v}
    found |= {("vars", n) for n, v in after.vars.items() if before.vars.get(n) != v}
    leaning = {n: {r.path[:2] for r in expr.references_of(v)} for n, v in after.vars.items()} if found else {}
    while more := {("vars", n) for n, paths in leaning.items() if paths & found} - found:
        found |= more
    return found


def _references(node: Node) -> Iterator[expr.Reference]:
    for key in fields(Node):
        yield from expr.references_of(getattr(node, key.name))
    inside = [node.each.item] if node.each is not None else []
    inside += node.inner.nodes.values() if node.inner is not None else []
    for one in inside:
        yield from _references(one)
    if node.each is not None:
        yield from expr.references_of((node.each.items, node.each.key))
    if node.inner is not None:
        yield from expr.references_of((dict(node.inner.outputs), dict(node.inner.params)))
    kind = plugins.kind(node.kind) if node.body is not None else None
    for _, template in kind.expressions(node.body, ()) if kind is not None else ():
        yield from template.references


# -- documents


def moment(seconds: float | None) -> str | None:
    """A time as the documents say it."""
    return None if seconds is None else instant.to_text(seconds)


def document(record: Record) -> dict[str, Any]:
    """`status ID --json`, as SEMANTICS 7 has it."""
    status = record.status()
    nodes = {name: node_document(record, name, status) for name in record.plan.in_order()}
    return {
        **summary(record, status),
        "folder": str(record.folder.path.absolute()),
        "wants_update": record.state.wants_update,
        "transactions": transactions(record.state),
        "checkpoints": checkpoints(record.state),
        "nodes": nodes,
        "rollback": None if record.state.undoing is None else record.state.undoing.told(),
    }


def undo_preview(record: Record, strategy: str) -> dict[str, Any]:
    """`rollback --dry-run --json`: what would be undone of a run as it stands, in which order, and how."""
    from wfctl.undoing import executed, scheme_of

    found = scheme_of(record.plan, record.state, strategy)
    document = undo_document(record.plan, *found, executed(record.state))
    return {"run": record.folder.id, **document, "transactions": transactions(record.state)}


def undo_document(
    plan: Plan, scheme: Scheme, analysis: Analysis, executed: Collection[str] | None = None
) -> dict[str, Any]:
    """A rollback that is not begun: its strategy and why, what was touched, and the waves in which nodes are undone, by
    what was `executed`, or all of it."""
    from wfctl import exhibit, instances, rollback

    order = rollback.Order(dict.fromkeys((*scheme.undo, *scheme.remove)), instances.points(plan.nodes), executed)

    def undo(name: str) -> dict[str, Any]:
        return {"node": name, "steps": exhibit.undo(plan, plan.nodes[name]) if name in scheme.undo else []}

    return {
        "strategy": scheme.strategy,
        "then": scheme.then,
        "why": scheme.why,
        "analysis": analysis.to_data(),
        "order": [[undo(name) for name in wave] for wave in order.sequence()],
        "remove": list(scheme.remove),
    }


def transactions(state: RunState) -> list[dict[str, Any]]:
    """The prepared transactions of a run that were neither committed nor rolled back, as far as it is known."""
    return [
        {"node": node, "attempt": attempt, "name": transaction_name(state.id, node, attempt)}
        for node in state.prepared
        for attempt in state.nodes[node].prepared
    ]


def checkpoints(state: RunState) -> list[dict[str, Any]]:
    """The places in a run to come back to, the last one last."""
    return [
        {
            "name": name,
            "time": moment(one.time),
            "files": sorted(one.files),
            "bytes": sum(size for _, _, size in one.files.values()),
        }
        for name, one in state.checkpoints.items()
    ]


def summary(record: Record, status: str | None = None) -> dict[str, Any]:
    """What `runs --json` says of a run."""
    state = record.state
    return {
        "id": record.folder.id,
        "workflow": record.plan.name,
        "file": record.first.file,
        "state": status or record.status(),
        "exit_code": state.exit_code,
        "started": moment(state.started),
        "finished": moment(state.finished),
        "params": dict(record.plan.params),
        "counts": {str(word): count for word, count in sorted(state.ended.items())},
        "total": len(state.nodes),
        "error": state.error,
        "outputs": dict(state.outputs),
    }


def node_document(record: Record, name: str, status: str) -> dict[str, Any]:
    """One node of `status ID --json`."""
    run = record.state.nodes[name]
    word = str(run.state)
    if run.state is RUNNING and status != RunStatus.RUNNING:
        word = "interrupted"
    return {
        "state": word,
        "outcome": "unknown" if run.unknown or word == "interrupted" else "known",
        "attempts": run.attempt,
        "exit_code": run.exit_code,
        "started": moment(run.started),
        "finished": moment(run.finished),
        "seconds": run.seconds if run.finished is not None and run.started is not None else None,
        "output": run.output,
        "tolerated": run.state in BAD and record.state.spares(name),
        "reason": run.reason or None,
        "error": run.error or None,
        "log": log_name(name, run.attempt) if run.attempt and record.plan.nodes[name].node.kind != "ask" else None,
        **_of_kind(record, name),
    }


def why_document(record: Record, name: str, status: str | None = None) -> dict[str, Any]:
    """`why ID NODE --json`: whether a node ran or was served, and what decided that. Raises UsageError.

    Who asks for many says how the run stands, so that it need not be found for each."""
    run = record.state.nodes.get(name)
    if run is None:
        from wfctl.errors import nearest

        hint = nearest(name, record.state.nodes) or f"`wfctl status {record.folder.id}` shows the nodes"
        raise UsageError(f'no node "{name}" in run {record.folder.id}; {hint}')
    why = dict(run.why) if run.why else None
    if why is not None and isinstance(why.get("made"), (int, float)):
        why["ago"] = round(max(0.0, (run.started or record.state.time) - why["made"]), 6)
        why["made"] = moment(why["made"])
    return {
        "node": name,
        "run": record.folder.id,
        "state": node_document(record, name, status or record.status())["state"],
        "attempts": run.attempt,
        "key": run.key or None,
        "of": run.reason.removeprefix("from ") if run.state is CACHED else None,
        "made": moment(run.made),
        "ago": round(run.started - run.made, 6) if run.made is not None and run.started is not None else None,
        "waits": run.waits or None,
        "why": why,
    }


def _of_kind(record: Record, name: str) -> dict[str, Any]:
    """What there is to say of a node that asks, or that holds others."""
    run, planned = record.state.nodes[name], record.plan.nodes[name]
    if run.state is READY and run.waits:
        return {"waits": run.waits}
    if planned.node.kind == "ask" and run.state is WAITING_INPUT and run.asked:
        message, until, choices = run.asked
        return {"question": {"message": message, "choices": choices, "until": moment(until)}}
    if planned.node.each is not None:
        return {"items": len(planned.children), "won": list(run.won)}
    return {}


def log_name(node: str, attempt: int | str, suffix: str = "log") -> str:
    """The name of a log in the run's folder."""
    return f"logs/{file_name(node)}.{attempt}.{suffix}"


def file_name(node: str) -> str:
    """A node's id as part of a file's name: what could lead elsewhere, or be too long, is written otherwise."""
    if node.isidentifier() and node.isascii() and len(node) <= 150:
        return node
    from urllib.parse import quote

    name = quote(node, safe="[],=+@")
    if len(name) <= 150:
        return name
    import hashlib

    return f"{name[:100]}~{hashlib.sha256(node.encode()).hexdigest()[:16]}"
