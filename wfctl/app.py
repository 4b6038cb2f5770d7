"""The verbs, one function each: arguments in, plain data out.

The only place that chooses the real clock, executor, store and views. Parses no argv, prints nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wfctl import __version__, flow, history, instant, plugins
from wfctl import events as ev
from wfctl.errors import ExitCode, Fault, Invalid, StateError, UsageError, WfctlError
from wfctl.history import Record
from wfctl.plan import Plan, Request
from wfctl.recall import Recall
from wfctl.record import dataclass
from wfctl.scope import During
from wfctl.state import DONE, RunState, RunStatus
from wfctl.store import RunFolder, Store

if TYPE_CHECKING:
    from wfctl.engine import Watcher
    from wfctl.forecast import Forecast
    from wfctl.jobs import Place

LONG_JOURNAL = 1024 * 1024
"""Bytes of a journal from which a checkpoint of the state saves more than opening the cache costs."""

CHECKPOINT_EVENTS = 20_000
"""How many events lie between two checkpoints of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the words of a command ask of a workflow file, as they were typed."""

    file: str
    params: Sequence[str] = ()
    params_file: str | None = None
    settings: Sequence[str] = ()
    start_from: Sequence[str] = ()
    until: Sequence[str] = ()
    only: Sequence[str] = ()
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Watching:
    """Who looks on: told of the run before it begins, of each turn's events, and that it has ended."""

    begin: Callable[[Record], None] = lambda record: None
    events: Watcher = lambda events, state: None
    end: Callable[[Record], None] = lambda record: None
    warn: Callable[[str], None] = lambda text: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command that drives a run ended."""

    record: Record
    exit_code: int
    notes: tuple[str, ...] = ()


# -- the main job


def run(asked: Asked, store: Store, watching: Watching) -> Outcome:
    """Run a workflow to its end. Raises Invalid before anything is written, StateError, UsageError."""
    recall = _recall(store)
    opened = flow.read(asked.file, asked.settings, recall)
    request = _request(opened, asked)
    now = time.time()
    plan = flow.planned(opened, replace(request, started=instant.to_text(now)))
    of = store.find_run(asked.of).id if asked.of is not None else None
    given = _given(plan, store, of)
    if not os.path.isdir(plan.root):  # told before there is a run
        raise UsageError(f'there is no folder "{plan.root}"; make it, or correct root')
    store.prepare()
    if not (opened.document.checked or asked.settings):
        recall.put(opened.document.digest, opened.document.data)
    folder = store.new_run(now)
    request = replace(request, started=instant.to_text(now), run_id=folder.id)
    if opened.mentions_run:
        plan = flow.planned(opened, request)
    else:
        plan = replace(plan, run={"id": folder.id, "started": request.started})
    from wfctl import journal

    definition = "workflow.json"
    try:
        from wfctl.store import write_whole

        write_whole(folder.path / definition, opened.definition.to_bytes())
    except OSError as error:
        raise journal.refusal("write", folder.path / definition, error) from None
    writer = journal.JournalWriter.create(folder)
    started = ev.RunStarted(
        time=now,
        run=folder.id,
        workflow=plan.name,
        file=opened.path,
        digest=opened.document.digest,
        definition=definition,
        request=history.request_to_data(request),
        of=of,
        version=__version__,
    )
    state = RunState(plan)
    state.id = folder.id
    record = Record(folder, state, [started], _nothing_read())
    facts: list[ev.Event] = [started]
    facts += [
        ev.NodeServed(time=now, node=name, output=output, stored=stored, of=of or "")
        for name, (output, stored) in given.items()
    ]
    return _drive(record, writer, facts, watching)


def resume(
    run_id: str, store: Store, watching: Watching, *, update: bool = False, start_from: Sequence[str] = ()
) -> Outcome:
    """Go on with a run. Raises BusyError where somebody drives it, UsageError, StateError, Invalid."""
    from wfctl import journal

    folder = store.find_run(run_id)
    writer: Any = None

    def take(skip: int, chain: str) -> journal.Reading:
        nonlocal writer
        writer, reading = journal.JournalWriter.resume(folder, skip=skip, chain=chain)
        return reading

    with _cache(store, folder) as cache:
        try:
            record = history.open_run(folder, take, cache)
            return _go_on(record, writer, watching, update, tuple(start_from))
        finally:
            if writer is not None:
                writer.close()


def _go_on(record: Record, writer: Any, watching: Watching, update: bool, again: tuple[str, ...]) -> Outcome:
    state, folder = record.state, record.folder
    notes = []
    now = max(time.time(), state.time)
    facts: list[ev.Event] = []
    updated = _update(record, now) if update else None
    plan = updated[1] if updated else record.plan
    for name in again:
        if name not in plan.nodes:
            from wfctl.errors import nearest

            hint = nearest(name, plan.nodes) or f"`wfctl status {folder.id}` shows the nodes"
            raise UsageError(f'--from: no node named "{name}" in this run; {hint}')
    if not update and (differs := _file_differs(record)):
        notes.append(differs)
    if state.finished is not None and state.status is RunStatus.SUCCEEDED and not again and not updated:
        return Outcome(record, ExitCode.OK, (*notes, f"run {folder.id} has succeeded; there is nothing left to do"))
    if updated:
        event, plan, changed = updated
        stale = [n for n in changed if n in state.nodes and state.nodes[n].state in DONE and n not in again]
        if stale:
            notes.append(
                f"changed but succeeded before, so not run again: {', '.join(stale)}; add --from {stale[0]} for that"
            )
        facts.append(event)
    folder.make_folders()
    facts.append(ev.RunResumed(time=now, again=again, version=__version__))
    outcome = _drive(record, writer, facts, watching, plan if updated else None)
    return replace(outcome, notes=(*notes, *outcome.notes))


def _drive(
    record: Record, writer: Any, facts: Sequence[ev.Event], watching: Watching, new_plan: Plan | None = None
) -> Outcome:
    """Drive the run to its end in this process: the real clock, the real executor."""
    from wfctl import outputs
    from wfctl.attempt import Attempts
    from wfctl.engine import Engine
    from wfctl.executors.local import LocalExecutor

    state, folder = record.state, record.folder
    if new_plan is not None:
        update = facts[0]
        assert isinstance(update, ev.RunUpdated)
        writer.append(ev.to_data(update))
        state.adopt(new_plan, update)
        record.pins.append(update)
        facts = facts[1:]
    plan = state.plan
    try:
        os.chdir(plan.root)
    except OSError as error:
        raise UsageError(f'the root folder "{plan.root}" cannot be entered: {(error.strerror or "").lower()}') from None
    during = During(plan, state, lambda output, stored: _fetch(folder, output, stored))
    attempts = Attempts(plan, during, plugins.kind, places(folder), lambda: state.settled)
    clock = Clock(max(facts[0].time, state.time))
    environ = {
        **os.environ,
        **plan.env,
        "WFCTL_RUN_ID": folder.id,
        "WFCTL_RUN_DIR": str(folder.path),
        "TMPDIR": str(folder.tmp),
    }
    watching.begin(record)
    try:
        with LocalExecutor(clock, root=plan.root, environ=environ, grace=plan.grace) as executor:
            engine = Engine(
                state,
                journal=writer,
                executor=executor,
                clock=clock,
                during=during,
                prepare=attempts.job,
                collect=outputs.collect,
                watchers=[watching.events, _Checkpoints(record, writer)],
                warn=watching.warn,
                point=crash_point(os.environ),
            )
            for event in facts:
                engine.record(event)
            engine.run()
    except WfctlError:
        raise
    except Exception as error:
        error.add_note(f"the run's folder: {folder.path}")
        raise
    finally:
        watching.end(record)
        writer.close()
    _remove_tree(folder.tmp)
    assert state.exit_code is not None
    return Outcome(record, state.exit_code)


class Clock:
    """Seconds since the epoch by the monotonic clock, so that they never go back: not even after `start`."""

    def __init__(self, start: float) -> None:
        self._offset = max(start, time.time()) - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset


class _Checkpoints:
    """Keeps a checkpoint of the state now and then, so that a long journal need not be replayed whole."""

    def __init__(self, record: Record, writer: Any) -> None:
        self._record = record
        self._writer = writer
        self._kept = writer.position

    def __call__(self, events: Sequence[ev.Event], state: RunState) -> None:
        new = self._writer.position - self._kept
        if new < CHECKPOINT_EVENTS and not (state.finished is not None and new > CHECKPOINT_EVENTS // 10):
            return
        from wfctl.cache import Cache

        self._kept = self._writer.position
        folder = self._record.folder
        cache = Cache.open(folder.path.parent.parent / "cache")
        if cache is not None:
            try:
                cache.save_checkpoint(
                    folder.id, self._writer.position, history.checkpoint_of(self._record), self._writer.chain
                )
            finally:
                cache.close()


@contextmanager
def _cache(store: Store, folder: RunFolder) -> Iterator[Any]:
    """The cache, where the run's journal is long enough for that to pay."""
    try:
        long = folder.journal.stat().st_size > LONG_JOURNAL and store.cache.is_dir()
    except OSError:
        long = False
    if not long:
        yield None
        return
    from wfctl.cache import Cache

    cache = Cache.open(store.cache)
    try:
        yield cache
    finally:
        if cache is not None:
            cache.close()


def crash_point(environ: Mapping[str, str]) -> Callable[[str], None]:
    """A hook for tests: `WFCTL_TEST_CRASH=point:n` kills this process at the n-th passage of a named point."""
    wanted = environ.get("WFCTL_TEST_CRASH")
    if not wanted:
        return lambda name: None
    point, _, count = wanted.partition(":")
    left = int(count or 1)

    def passed(name: str) -> None:
        nonlocal left
        if point in (name, "any"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return passed


def places(folder: RunFolder) -> Callable[[str, int], Place]:
    """Where the attempts of a run leave things."""
    from wfctl.jobs import Place

    logs, outputs, tmp = f"{folder.logs}/", f"{folder.outputs}/", f"{folder.tmp}/"

    def place_of(node: str, attempt: int) -> Place:
        name = f"{history.file_name(node)}.{attempt}"
        return Place(
            log=f"{logs}{name}.log",
            stdout=f"{logs}{name}.out",
            output=f"{outputs}{name}",
            stdin=f"{tmp}{name}.stdin",
            values=f"{tmp}{name}.value-",
        )

    return place_of


def _fetch(folder: RunFolder, output: object, stored: bool) -> object:
    if not stored:
        return output
    from wfctl import outputs

    try:
        return outputs.fetch(str(folder.path), output, stored)
    except (OSError, ValueError) as error:
        raise StateError(f'an output of run "{folder.id}" cannot be read back: {error}') from None


def _recall(store: Store) -> Recall:
    """What was found good before. Looked at only where the state folder is ours alone: it tells what to run."""
    from wfctl import load

    if store.path.exists():
        store.prepare()
    return Recall(store.cache / "flows", f"{__version__}\n{load.schema_text()}".encode())


def _given(plan: Plan, store: Store, of: str | None) -> dict[str, tuple[Any, bool]]:
    """The outputs of the nodes that are left out, from the run `of`. Raises UsageError for one that is not there."""
    wanted = [name for name, planned in plan.nodes.items() if planned.given]
    if not wanted:
        return {}
    if of is None:
        names = ", ".join(wanted[:10])
        raise UsageError(f"left out, but what runs needs their output: {names}; name a run that has it: --of ID")
    past = history.open_run(store.find_run(of))
    found: dict[str, tuple[Any, bool]] = {}
    for name in wanted:
        run_ = past.state.nodes.get(name)
        if run_ is None or run_.state not in DONE:
            how = "does not have it" if run_ is None else f"has it {run_.state}"
            raise UsageError(f'"{name}" is left out, and run {past.folder.id} {how}; run it too, or name another run')
        output = _fetch(past.folder, run_.output, run_.stored)
        found[name] = (output, False)
    return found


def _update(record: Record, now: float) -> tuple[ev.RunUpdated, Plan, list[str]]:
    """The file as it is now, pinned as the next definition of the run; and which nodes changed."""
    from wfctl import journal
    from wfctl.store import write_whole

    opened = flow.read(record.first.file)
    opened.refuse()
    request = history.request_from_data(record.pins[-1].request)
    request = replace(request, environ=_environ(opened))
    plan = flow.planned(opened, request)
    name = f"workflow.{len(record.pins) + 1}.json"
    try:
        write_whole(record.folder.path / name, opened.definition.to_bytes())
    except OSError as error:
        raise journal.refusal("write", record.folder.path / name, error) from None
    before = history.read_definition(record.folder, record.pins[-1].definition).data
    changed = [n for n in plan.nodes if _node_data(before, n) != _node_data(opened.document.data, n)]
    event = ev.RunUpdated(
        time=now, digest=opened.document.digest, definition=name, request=history.request_to_data(request)
    )
    return event, plan, changed


def _node_data(data: Mapping[str, Any], name: str) -> Any:
    return (data.get("nodes") or {}).get(name) or (data.get("finally") or {}).get(name)


def _file_differs(record: Record) -> str:
    """A note where the file is no longer what the run is pinned to."""
    import hashlib

    path = record.first.file
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return f"{path} is gone; going on with the definition that the run began with"
    if digest == record.pins[-1].digest:
        return ""
    return f"{path} has changed since; going on with what the run began with (--update takes the new one)"


def _request(opened: flow.Flow, asked: Asked) -> Request:
    environ = _environ(opened)
    params = flow.params(opened, asked.params, asked.params_file, environ)
    return replace(
        _machine(opened.path),
        params=params,
        environ=environ,
        start_from=tuple(asked.start_from),
        until=tuple(asked.until),
        only=tuple(asked.only),
    )


def _environ(opened: flow.Flow) -> dict[str, str]:
    """Of the environment only what the file takes from it: that much is recorded."""
    return {n: os.environ[n] for n, v in opened.workflow.env.items() if isinstance(v, dict) and n in os.environ}


def _machine(path: str) -> Request:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Request(
        folder=os.path.dirname(path),
        cores=cores,
        machine={"cpu": cores * 1000, "memory": memory},
        grace=3.0 if os.environ.get("CI") else 10.0,
    )


def _nothing_read() -> Any:
    from wfctl.journal import FORMAT, Reading

    return Reading([], False, FORMAT, "", 0, 0)


def _remove_tree(path: Path) -> None:
    # Nearly always empty: not worth the import of shutil.
    try:
        path.rmdir()
    except OSError:
        import shutil

        shutil.rmtree(path, ignore_errors=True)


# -- before a run


def validate(files: Sequence[str]) -> list[Fault]:
    """Every fault of every file. Runs nothing, opens nothing but the files."""
    faults: list[Fault] = []
    for file in files:
        try:
            opened = flow.read(file)
            # A file is not wrong because it asks for more than the machine that checks it has.
            boundless = {"cpu": 2**62, "memory": 2**62}
            faults += flow.check(opened, replace(_machine(opened.path), machine=boundless))
        except Invalid as error:
            faults += error.faults
        except UsageError as error:  # the other files have faults too
            faults.append(Fault(file, 0, 0, "", str(error)))
    return faults


def plan(asked: Asked, store: Store) -> Forecast:
    """The predicted timeline. Raises Invalid, UsageError."""
    from wfctl.forecast import forecast

    opened = flow.read(asked.file, asked.settings)
    return forecast(flow.planned(opened, _request(opened, asked)))


def sound(file: str) -> Plan:
    """The plan of a file for looking at: params that are not given are unknown. Raises Invalid."""
    opened = flow.read(file)
    opened.refuse()
    return flow.planned(opened, replace(_machine(opened.path), environ=flow.Anything(os.environ)))


def show(asked: Asked, node: str | None) -> dict[str, Any]:
    """The resolved workflow, or one node of it. Raises Invalid, UsageError."""
    from wfctl import exhibit

    opened = flow.read(asked.file, asked.settings)
    plan = flow.planned(opened, _request(opened, asked))
    return exhibit.workflow(plan) if node is None else exhibit.node(plan, node)


# -- after a run


def open_record(run_id: str, store: Store) -> Record:
    """A run as it stands, for reading. Writes nothing."""
    return history.open_run(store.find_run(run_id))


def runs(store: Store, *, failed: bool = False, workflow: str | None = None) -> list[dict[str, Any]]:
    """A summary of each run, newest first; one that cannot be read says why."""
    found = []
    for folder in store.run_folders():
        try:
            summary = history.summary(history.open_run(folder))
        except StateError as error:
            summary = {"id": folder.id, "workflow": None, "state": "unreadable", "error": str(error)}
        if (not failed or summary["state"] not in ("succeeded", "running")) and workflow in (None, summary["workflow"]):
            found.append(summary)
    return found


def cancel(run_id: str, store: Store) -> str:
    """Tell the engine of a run to stop, and wait until it has let go. The id of the run."""
    from wfctl import journal

    folder = store.find_run(run_id)
    held = journal.holder(folder)
    if held is None:
        raise UsageError(f"run {folder.id} is not running; `wfctl status {folder.id}` shows how it stands")
    with suppress(ProcessLookupError):
        os.kill(held.pid, signal.SIGTERM)
    journal.Lock.take(folder, wait=60.0).close()
    return folder.id


def clean(store: Store, *, older_than: float | None, keep_last: int, dry_run: bool) -> list[str]:
    """Remove runs that ended long ago; the ids of those that went, or would go. Running ones always stay."""
    from wfctl import journal
    from wfctl.errors import BusyError

    now = time.time()
    gone = []
    for folder in store.run_folders()[keep_last:]:
        try:
            age = now - folder.journal.stat().st_mtime
        except OSError:
            continue
        if (older_than is not None and age < older_than) or journal.held_by(folder):
            continue
        if not dry_run:
            try:
                store.remove(folder.id)
            except BusyError:
                continue
        gone.append(folder.id)
    if not dry_run:
        store.sweep(now)
    return gone


def output(run_id: str, node: str | None, store: Store) -> object:
    """The outputs of a run, or the output of one node. Raises UsageError where there is none."""
    from wfctl.errors import nearest

    record = open_record(run_id, store)
    if node is None:
        return dict(record.state.outputs)
    run_ = record.state.nodes.get(node)
    if run_ is None:
        hint = nearest(node, record.state.nodes) or f"`wfctl status {record.folder.id}` shows the nodes"
        raise UsageError(f'no node "{node}" in run {record.folder.id}; {hint}')
    if run_.state not in DONE:
        state = history.node_document(record, node, record.status())["state"]
        raise UsageError(f'"{node}" has no output in run {record.folder.id}: it is {state}')
    return _fetch(record.folder, run_.output, run_.stored)


# -- pictures


def picture(what: str, store: Store) -> Any:
    """The picture of a workflow file, or of a run with its states. Where both are there, the file wins."""
    from wfctl.renderers.picture import Picture, PictureEdge, PictureNode

    record = None
    if os.path.exists(what) or what.endswith((".yaml", ".yml")):
        plan = sound(what)
    else:
        try:
            record = open_record(what, store)
        except UsageError as error:
            raise UsageError(f'there is no file "{what}", and {error}') from None
        plan = record.plan
    critical = set(plan.critical_path) if record is None and len(plan.critical_path) > 1 else set()
    status = record.status() if record else ""
    nodes = []
    for name, planned in plan.nodes.items():
        run_ = record.state.nodes[name] if record else None
        shown = history.node_document(record, name, status) if record else None
        nodes.append(
            PictureNode(
                id=name,
                kind=planned.node.kind,
                state=shown["state"] if shown else None,
                seconds=run_.seconds if run_ and run_.started is not None else None,
                section="finally" if planned.node.section == "finally" else "nodes",
                critical=name in critical,
            )
        )
    edges = tuple(PictureEdge(need, name) for name, planned in plan.nodes.items() for need in planned.needs)
    return Picture(title=plan.name, nodes=tuple(nodes), edges=edges, state=status or None)


def timeline(forecast: Forecast) -> Any:
    """A forecast as the timeline that is drawn of it."""
    from wfctl.renderers.timeline import Bar, Timeline, Usage
    from wfctl.spec import LEVELS

    plan, critical = forecast.plan, set(forecast.plan.critical_path)
    bars = tuple(
        Bar(
            node=name,
            start=start,
            finish=forecast.finish[name],
            critical=name in critical,
            level=LEVELS[plan.nodes[name].level],
            note="" if plan.nodes[name].node.when is True else "if its `when` holds",
        )
        for name, start in forecast.start.items()
    )
    wanted = {name for planned in plan.nodes.values() for name, _ in planned.demand}
    usage = []
    for name, budget in plan.budget.items():
        if name in wanted:
            unit: Any = "cpu" if name == "cpu" else "bytes" if budget >= 1024 * 1024 else "count"
            scale = 1000 if name == "cpu" else 1
            steps = tuple((moment, amount / scale) for moment, amount in forecast.usage(name))
            usage.append(Usage(name, budget / scale, unit, steps))
    left_out = [n for n, p in plan.nodes.items() if n not in forecast.start and not p.given]
    notes = [f"not in the plan, for it assumes success: {', '.join(left_out[:8])}"] if left_out else []
    unsaid = sum(1 for name in forecast.start if plan.nodes[name].node.estimate is None)
    if unsaid:
        notes.append(f"{unsaid} of {len(bars)} nodes have no estimate and count as 1s")
    return Timeline(
        workflow=plan.name,
        makespan=forecast.makespan,
        bounds={name: bound for name, bound in plan.bounds.items() if bound > 0},
        bars=bars,
        usage=tuple(usage),
        concurrency=plan.concurrency,
        notes=tuple(notes),
    )


def write_file(path: str, text: str) -> None:
    """Write a picture or a page. Raises UsageError where that cannot be."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f'"{path}" cannot be written: {(error.strerror or "").lower()}') from None
