"""The verbs, one function each: arguments in, plain data out.

Parses no argv, prints nothing, and leaves the driving of a run to `driver`."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wfctl import __version__, flow, graph, history, instant, machine
from wfctl import events as ev
from wfctl.driver import Watching, drive, fetch, keeps, pin, places
from wfctl.errors import ExitCode, Fault, Invalid, Problem, StateError, UsageError, WfctlError
from wfctl.experience import Experience
from wfctl.history import Record
from wfctl.noderun import DONE, SUCCEEDED, UNDOING, WAITING_INPUT
from wfctl.plan import Plan, Request
from wfctl.recall import Recall
from wfctl.record import dataclass
from wfctl.state import UNDOES, RunState, RunStatus
from wfctl.store import RunFolder, Store
from wfctl.undoing import scheme_of

if TYPE_CHECKING:
    from wfctl import journal
    from wfctl.engine import Plotter
    from wfctl.forecast import Forecast
    from wfctl.renderers.picture import Picture
    from wfctl.results import Results
    from wfctl.search import Search
    from wfctl.secrets import Secrets

LONG_JOURNAL = 1024 * 1024
"""Bytes of a journal from which a checkpoint of the state saves more than opening the cache costs."""


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
    env_file: str | None = None
    optimize: Search | None = None
    no_wait: bool = False
    force: Sequence[str] = ()
    """Nodes that run although a result of theirs is kept; `*` for all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command that drives a run ended."""

    record: Record
    exit_code: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A run that was stopped. `ended` is how many processes a dead engine had left of it."""

    run: str
    ended: int


# -- the main job


def run(asked: Asked, store: Store, watching: Watching) -> Outcome:
    """Run a workflow to its end. Raises Invalid before anything is written, StateError, UsageError."""
    recall = _recall(store)
    opened = flow.read(asked.file, asked.settings, recall)
    variables = _variables(asked.env_file)
    request = _request(opened, asked, variables, store)
    now = time.time()
    plan = flow.planned(opened, replace(request, started=instant.to_text(now)))
    of = store.find_run(asked.of).id if asked.of is not None else None
    wanted = [name for name, planned in plan.nodes.items() if planned.given]
    if of is not None and not wanted:
        raise UsageError("--of gives the outputs of what is left out, and nothing is; add --from, --only or --until")
    _check_forced(asked.force, plan)
    given = _given(plan, store, of, wanted) if of is not None else _kept(opened, request, store, wanted)
    if keeps(plan):
        from wfctl import upkeep

        upkeep.limits(os.environ)  # what is wrong there is told before anything runs
    if not os.path.isdir(plan.root):  # told before there is a run
        raise UsageError(f'there is no folder "{plan.root}"; make it, or correct root')
    secrets = _secrets(opened, variables) if plan.secrets else None
    course = None
    if asked.optimize is not None:
        from wfctl.course import plot

        course = plot(RunState(plan), 0.0, "start", asked.optimize)
        now = time.time()
    store.prepare()
    _warn_of_network(store, watching.warn)
    from wfctl import custody

    custody.end_others(store, watching.warn)
    if not (opened.document.checked or asked.settings or opened.leans_on_packages):
        recall.put(opened.document.digest, opened.document.data)
    folder = store.new_run(now)
    request = replace(request, started=instant.to_text(now), run_id=folder.id)
    if opened.mentions_run:
        plan = flow.planned(opened, request)
    else:
        plan = replace(plan, run={"id": folder.id, "started": request.started})
    definition = pin(folder, opened.definition, 1)
    from wfctl.journal import JournalWriter

    writer = JournalWriter.create(folder)
    started = ev.RunStarted(
        time=now,
        run=folder.id,
        workflow=plan.name,
        file=opened.path,
        digest=opened.digest,
        definition=definition,
        request=history.request_to_data(request),
        of=of,
        no_wait=asked.no_wait,
        forced=tuple(asked.force),
        version=__version__,
    )
    state = RunState(plan)
    state.id = folder.id
    record = Record(folder, state, [started])
    facts: list[ev.Event] = [started, *_served(given, now)]
    if course is not None:
        facts.append(replace(course, time=now))
    return Outcome(record, drive(record, writer, facts, watching, variables=variables, secrets=secrets))


def resume(
    run_id: str,
    store: Store,
    watching: Watching,
    *,
    update: bool = False,
    start_from: Sequence[str] = (),
    checkpoint: str | None = None,
    env_file: str | None = None,
    no_wait: bool = False,
) -> Outcome:
    """Go on with a run. Raises BusyError where somebody drives it, UsageError, StateError, Invalid."""
    from wfctl import custody, journal

    folder = store.find_run(run_id)
    store.check()  # what others could write is no definition to run
    _warn_of_network(store, watching.warn)
    variables = _variables(env_file)
    writer: Any = None

    def take(skip: int, chain: str) -> journal.Reading:
        nonlocal writer
        writer, reading = journal.JournalWriter.resume(folder, skip=skip, chain=chain)
        return reading

    try:
        with _cache(store, folder) as cache:
            record = history.open_run(folder, take, cache)
        custody.end_own(folder, watching.warn)  # before anything is scheduled: a node is never alive twice
        custody.end_others(store, watching.warn)
        if checkpoint is not None:
            _check_checkpoint(checkpoint, record)
        again = _Again(tuple(start_from), checkpoint or "")
        return _go_on(record, store, writer, watching, update, again, variables, no_wait)
    finally:
        if writer is not None:
            writer.close()


@dataclass(frozen=True, slots=True)
class _Again:
    """What a person wants to run once more: these nodes, or all that has ended after a checkpoint."""

    nodes: tuple[str, ...]
    checkpoint: str


def _check_checkpoint(name: str, record: Record) -> None:
    """Raises UsageError where a run has no checkpoint of that name."""
    known = record.state.checkpoints
    if name not in known:
        from wfctl.errors import nearest

        hint = nearest(name, known) or (f"there are {', '.join(known)}" if known else "it has none")
        raise UsageError(f'no checkpoint "{name}" in run {record.folder.id}; {hint}')


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoWords:
    """What a person wants of a rollback: a strategy; and of nodes whose undo was given up that it is tried again, or
    taken for done, or that they stay."""

    strategy: str | None = None
    retry: Sequence[str] = ()
    done: Sequence[str] = ()
    skip: Sequence[str] = ()
    reason: str = ""


def rollback(
    run_id: str, store: Store, watching: Watching, words: UndoWords, env_file: str | None = None
) -> Outcome:
    """Undo a run by hand, or go on with its rollback. What runs is stopped first, and its end awaited.

    Raises UsageError, StateError, Invalid.
    """
    from wfctl import answers, custody, journal

    folder = store.find_run(run_id)
    store.check()
    variables = _variables(env_file)
    if journal.held_by(folder):
        with suppress(UsageError):  # it may have ended by itself meanwhile
            cancel(run_id, store, watching.warn)
    writer: Any = None

    def take(skip: int, chain: str) -> journal.Reading:
        nonlocal writer
        writer, reading = journal.JournalWriter.resume(folder, skip=skip, chain=chain)
        return reading

    try:
        with _cache(store, folder) as cache:
            record = history.open_run(folder, take, cache)
        custody.end_own(folder, watching.warn)
        custody.end_others(store, watching.warn)
        state, by = record.state, answers.who(os.environ)
        if state.committing and state.prepared:
            raise UsageError(f"its transactions are being committed; go on with that first: wfctl resume {folder.id}")
        facts = _undo_facts(record, words, by)
        goes_on = state.undoing is not None and not (state.finished is not None and state.undoing.is_done)
        if goes_on and state.undoing is not None and not state.undoing.is_aside:
            begun = state.undoing.course.strategy
            if words.strategy not in (None, begun):
                raise UsageError(f"--strategy: its rollback has begun, by {begun}; go on with it without --strategy")
        if not goes_on and not _touches(record, words.strategy):
            watching.warn(f"run {folder.id} has nothing to undo")
            over = state.status in (RunStatus.SUCCEEDED, *UNDOES)
            return Outcome(record, state.exit_code if over and state.exit_code is not None else ExitCode.FAILED)
        secrets = _secrets_again(record, record.plan, variables)
        folder.make_folders()
        now = max(time.time(), state.time)
        undo = words.strategy or "as said"
        resumed = ev.RunResumed(time=now, undo=undo, no_wait=True, version=__version__)
        whole = [resumed, *(replace(fact, time=now) for fact in facts)]
        return Outcome(record, drive(record, writer, whole, watching, None, variables, secrets))
    finally:
        if writer is not None:
            writer.close()


def _undo_facts(record: Record, words: UndoWords, by: str) -> list[ev.Event]:
    """What a person says of nodes whose undo was given up. Raises UsageError for one of which it was not."""
    undoing = record.state.undoing
    failed = undoing.failed if undoing is not None else []
    for option, names in (("--retry", words.retry), ("--done", words.done), ("--skip", words.skip)):
        for name in names:
            if name not in failed:
                hint = f"given up were: {', '.join(failed)}" if failed else "no undo was given up"
                raise UsageError(f'{option}: the undo of "{name}" was not given up; {hint}')
    twice = [name for name, times in Counter((*words.retry, *words.done, *words.skip)).items() if times > 1]
    if twice:
        raise UsageError(f'"{twice[0]}" is named twice; say one of --retry, --done and --skip of each node')
    if (words.done or words.skip) and not words.reason:
        raise UsageError("--done and --skip are recorded with a reason; add --reason TEXT")
    facts: list[ev.Event] = [ev.UndoAsked(time=0.0, node=n, by=by, reason=words.reason) for n in words.retry]
    for how, names in (("done", words.done), ("skip", words.skip)):
        facts += [ev.NodeUndone(time=0.0, node=n, how=how, by=by, reason=words.reason) for n in names]
    return facts


def _touches(record: Record, strategy: str | None) -> bool:
    scheme, _ = scheme_of(record.plan, record.state, strategy or "as said")
    return bool(scheme.undo or scheme.remove or scheme.checkpoint or record.state.prepared)


def rollback_preview(run_id: str, store: Store, strategy: str | None) -> dict[str, Any]:
    """What `rollback` would do to a run, and in which order. Writes nothing. Raises UsageError."""
    record = open_record(run_id, store)
    return history.undo_preview(record, strategy or "as said")


def _go_on(
    record: Record,
    store: Store,
    writer: Any,
    watching: Watching,
    update: bool,
    wanted: _Again,
    variables: Mapping[str, str],
    no_wait: bool,
) -> Outcome:
    state, folder, again = record.state, record.folder, wanted.nodes
    now = max(time.time(), state.time)
    facts: list[ev.Event] = []
    differs = _file_differs(record)
    succeeded = state.finished is not None and state.status is RunStatus.SUCCEEDED
    if state.finished is not None and state.status is RunStatus.ROLLBACK_FAILED and state.undoing is not None:
        words = [word for name in state.undoing.failed[:3] for word in ("--retry", name)]
        watching.warn(f"its rollback waits for a person: {watching.command('rollback', folder.id, *words)}")
        return Outcome(record, ExitCode.ROLLBACK_FAILED)
    updated = _update(record, now, variables) if update and (differs or not succeeded) else None
    plan = updated[1] if updated else record.plan
    for name in again:
        if name not in plan.nodes:
            from wfctl.errors import nearest

            hint = nearest(name, plan.nodes) or f"`wfctl status {folder.id}` shows the nodes"
            raise UsageError(f'--from: no node named "{name}" in this run; {hint}')
        if plan.nodes[name].given:
            raise UsageError(f'--from: "{name}" was left out of this run; start another with `wfctl run`')
    if updated:
        _check_forgets_nothing(record, plan)
    if differs and not update:
        watching.warn(differs)
    if succeeded and not again and not updated and not wanted.checkpoint and not state.putting_back:
        watching.warn(f"run {folder.id} has succeeded; there is nothing left to do")
        return Outcome(record, ExitCode.OK)
    secrets = _secrets_again(record, plan, variables)
    if updated:
        event, plan, changed = updated
        anew = graph.reach(set(again), {n: p.dependents for n, p in plan.nodes.items()}) if again else ()
        stale = [n for n in changed if n not in anew]
        if stale:
            names = ", ".join(stale[:10]) + (f" and {len(stale) - 10} more" if len(stale) > 10 else "")
            watching.warn(f"changed but succeeded before, so not run again: {names}; add --from {stale[0]} for that")
        facts.append(event)
    folder.make_folders()
    facts.append(
        ev.RunResumed(time=now, again=again, checkpoint=wanted.checkpoint, no_wait=no_wait, version=__version__)
    )
    missing = [n for n, p in plan.nodes.items() if p.given and not (n in state.nodes and state.nodes[n].state in DONE)]
    facts += _served(_given(plan, store, record.first.of, missing), now)
    new_plan = plan if updated else None
    return Outcome(record, drive(record, writer, facts, watching, new_plan, variables, secrets))


def _check_forgets_nothing(record: Record, plan: Plan) -> None:
    """Raises UsageError where a new definition lacks nodes whose work may have to be undone."""
    gone = [
        name
        for name, run in record.state.nodes.items()
        if run.undoable and run.undoable.get("steps") and (run.state is SUCCEEDED or run.unknown)
        if name.partition("[")[0] not in plan.nodes  # items are found again as the run goes on
    ]
    if gone:
        names = ", ".join(f'"{name}"' for name in gone[:10]) + (f" and {len(gone) - 10} more" if len(gone) > 10 else "")
        hint = f"undo the run first with `wfctl rollback {record.folder.id}`, or keep them in the file"
        raise UsageError(f"--update: the file has no more {names}, of which the run still knows how to undo it; {hint}")


def _warn_of_network(store: Store, warn: Callable[[str], None]) -> None:
    """Tell of a state folder that other machines have too: what holds by kernel locks may not hold there."""
    from wfctl import mounts

    if sort := mounts.network(str(store.path)):
        what = f'state folder "{store.path}" is on a network file system ({sort})'
        warn(f"{what}: let no other machine use it, or choose a local one with --state-dir")


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


def _recall(store: Store) -> Recall:
    """What was found good before. Looked at only where the state folder is ours alone: it tells what to run."""
    from wfctl import load

    if os.path.lexists(store.path):
        store.prepare()
    return Recall(store.cache / "flows", f"{__version__}\n{load.schema_text()}".encode())


def _check_forced(names: Sequence[str], plan: Plan) -> None:
    """Raises UsageError for a node to be forced that is not there. Items may be known only in the run."""
    for name in names:
        if name != "*" and name not in plan.nodes and name.partition("[")[0] not in plan.nodes:
            from wfctl.errors import nearest

            hint = nearest(name, plan.nodes) or "`wfctl graph` shows the nodes"
            raise UsageError(f'--force: no node named "{name}"; {hint}')


def _kept(opened: flow.Flow, request: Request, store: Store, wanted: Sequence[str]) -> dict[str, ev.NodeServed]:
    """The kept results of nodes that are left out and whose output is wanted. Raises UsageError where one has none."""
    if not wanted:
        return {}
    whole = flow.planned(opened, replace(request, start_from=(), until=(), only=()))
    found = _foreseen(whole, store).kept_outputs(wanted)
    if missing := [name for name in wanted if name not in found]:
        names = ", ".join(missing[:10])
        what = "left out, but what runs needs their output, and no result is kept that holds"
        raise UsageError(f"{what}: {names}; name a run that has it: --of ID")
    return found


def _given(plan: Plan, store: Store, of: str | None, wanted: Sequence[str]) -> dict[str, ev.NodeServed]:
    """The outputs of the wanted nodes from the run `of`. Raises UsageError for one that is not there."""
    if not wanted:
        return {}
    if of is None:
        names = ", ".join(wanted[:10])
        raise UsageError(f"left out, but what runs needs their output: {names}; start another run with `wfctl run`")
    past = history.open_run(store.find_run(of))
    if past.plan.name != plan.name:
        what = f'run {past.folder.id} is of another workflow, "{past.plan.name}"'
        raise UsageError(f'{what}; name one of "{plan.name}" (`wfctl runs --workflow {plan.name}`)')
    found: dict[str, ev.NodeServed] = {}
    for name in wanted:
        run_ = past.state.nodes.get(name)
        if run_ is None or run_.state not in DONE:
            how = "does not have it" if run_ is None else f"has it {run_.state}"
            raise UsageError(f'"{name}" is left out, and run {past.folder.id} {how}; run it too, or name another run')
        output = fetch(past.folder, run_.output, run_.stored)
        found[name] = ev.NodeServed(time=0.0, node=name, output=output, of=past.folder.id)
    return found


def _served(given: Mapping[str, ev.NodeServed], now: float) -> list[ev.Event]:
    return [replace(served, time=now) for served in given.values()]


def _update(record: Record, now: float, variables: Mapping[str, str]) -> tuple[ev.RunUpdated, Plan, list[str]]:
    """The file as it is now, pinned as the next definition of the run; and the nodes that succeeded by what changed."""
    request = history.request_from_data(record.pins[-1].request)
    opened = flow.read(record.first.file, request.settings)
    environ = _environ(opened, variables)
    kept = {name: value for name, value in request.params.items() if name in opened.workflow.params}
    request = replace(
        request,
        environ=environ,
        params=flow.params(opened, (), None, environ, kept),
        estimates=_estimates(record.folder.state, opened),
    )
    plan = flow.planned(opened, request)
    changed = history.changed(record, plan)
    event = ev.RunUpdated(
        time=now,
        digest=opened.digest,
        definition=pin(record.folder, opened.definition, len(record.pins) + 1),
        request=history.request_to_data(request),
    )
    return event, plan, changed


def _file_differs(record: Record) -> str:
    """A note where the file is no longer what the run is pinned to."""
    import hashlib

    from wfctl import journal

    path = record.first.file

    def digest(name: str) -> str:
        with open(journal.open_file(name), "rb") as file:  # what came by a pipe cannot be read again
            return hashlib.sha256(file.read()).hexdigest()

    try:
        now = digest(path)
        if now == record.pins[-1].digest:
            return ""
        subs = history.read_definition(record.folder, record.pins[-1].definition).files
        now = flow.digest_of(now, {name: digest(os.path.join(os.path.dirname(path), name)) for name in subs})
    except OSError as error:
        gone = error.filename or path
        return f"{gone} is gone; going on with the definition that the run began with"
    if now == record.pins[-1].digest:
        return ""
    what = f"{path}, or a sub-workflow of it," if subs else path
    return f"{what} has changed since; going on with what the run began with (--update takes the new one)"


def _request(opened: flow.Flow, asked: Asked, variables: Mapping[str, str], store: Store) -> Request:
    environ = _environ(opened, variables)
    params = flow.params(opened, asked.params, asked.params_file, environ)
    return replace(
        _machine(opened.path),
        params=params,
        environ=environ,
        settings=tuple(asked.settings),
        start_from=tuple(asked.start_from),
        until=tuple(asked.until),
        only=tuple(asked.only),
        estimates=_estimates(store.path, opened),
    )


def _estimates(state: Path, opened: flow.Flow) -> dict[str, float]:
    """Seconds that the nodes of a workflow took of late, as far as the state folder remembers."""
    workflow = opened.workflow
    return Experience(state, workflow.name, opened.path).seconds(workflow.nodes)


def _variables(env_file: str | None) -> Mapping[str, str]:
    """The variables that a run takes from outside. Raises Invalid, UsageError."""
    if env_file is None:
        return os.environ
    from wfctl import environment

    return environment.variables(env_file)


def _environ(opened: flow.Flow, variables: Mapping[str, str]) -> dict[str, str]:
    """Of the variables only what the file's `env` takes from outside: that much is recorded."""
    return {name: variables[name] for name in opened.outside if name in variables}


def _secrets(opened: flow.Flow, variables: Mapping[str, str]) -> Secrets:
    """The secrets of a workflow. Raises Invalid with all that cannot be had."""
    from wfctl import environment
    from wfctl.secrets import Secrets

    names = opened.workflow.secrets
    values, wrong = environment.secrets(names, variables)
    if wrong:
        problems = [Problem(("secrets", names.index(n)), what, hint, path="") for n, (what, hint) in wrong.items()]
        raise Invalid(opened.place(problems))
    return Secrets(values)


def _secrets_again(record: Record, plan: Plan, variables: Mapping[str, str]) -> Secrets | None:
    """The secrets of a run that goes on, once what a dead engine left in its folder is rid of them.

    Raises Invalid with all that cannot be had: they were never recorded.
    """
    running = {name: record.plan.nodes[name].node.receives for name in record.state.running}
    names = dict.fromkeys([*plan.secrets, *(name for received in running.values() for name in received)])
    if not names:
        return None
    from wfctl import environment
    from wfctl.secrets import Secrets

    values, wrong = environment.secrets(names, variables)
    if wrong:
        raise Invalid([Fault(f"run {record.folder.id}", 0, 0, "", *words) for words in wrong.values()])
    secrets = Secrets(values)
    place_of = places(record.folder)
    for name, run in record.state.nodes.items():
        if run.state is UNDOING and run.undo is not None:
            for step in record.plan.nodes[name].node.compensate or ():
                for word, one in (("undo", step.node), ("verify", step.verify)):
                    if one is not None and one.receives:
                        where = place_of(name, f"{word}.{run.undo.step}.{run.undo.attempt}")
                        secrets.scrub(where, one.receives)
    for name, received in running.items():
        if received:
            secrets.scrub(place_of(name, record.state.nodes[name].attempt), received)
    return secrets


def _machine(path: str) -> Request:
    cpu = machine.cpu()
    return Request(
        folder=os.path.dirname(path),
        cores=-(-cpu // 1000),
        machine={"cpu": cpu, "memory": machine.memory()},
        devices=machine.devices(os.environ),
        grace=3.0 if os.environ.get("CI") else 10.0,
    )


# -- before a run


def validate(files: Sequence[str], env_file: str | None = None) -> list[Fault]:
    """Every fault of every file. Runs nothing, opens nothing but the files."""
    faults: list[Fault] = []
    try:
        _variables(env_file)
    except Invalid as error:
        faults += error.faults
    for file in files:
        try:
            opened = flow.read(file)
            # A file is not wrong because it asks for more than the machine that checks it has.
            boundless = {"cpu": 2**62, "memory": 2**62}
            faults += flow.check(opened, replace(_machine(opened.path), machine=boundless, devices=None))
        except Invalid as error:
            faults += error.faults
        except UsageError as error:  # the other files have faults too
            faults.append(Fault(file, 0, 0, "", str(error)))
    return faults


def plan(asked: Asked, store: Store, explain: str | None = None) -> Forecast:
    """The predicted timeline, and why one node stands where it does in it. Raises Invalid, UsageError."""
    from wfctl.course import plot

    def plotted(state: RunState, now: float, reason: str) -> ev.RunPlanned | None:
        return plot(state, now, reason, asked.optimize if reason == "start" else None)

    opened = flow.read(asked.file, asked.settings)
    planned = flow.planned(opened, _request(opened, asked, _variables(asked.env_file), store))
    _check_forced(asked.force, planned)
    found = _foreseen(planned, store, explain, plotted, asked.force)
    return replace(found, search=asked.optimize.document()) if asked.optimize is not None else found


def if_fails(asked: Asked, store: Store, node: str) -> dict[str, Any]:
    """What would be undone, in which order, if a node failed. Raises Invalid, UsageError."""
    from wfctl import undoing

    opened = flow.read(asked.file, asked.settings)
    plan = _foreseen(flow.planned(opened, _request(opened, asked, _variables(asked.env_file), store)), store).plan
    planned = plan.nodes.get(node)
    if planned is None:
        from wfctl.errors import nearest

        hint = nearest(node, plan.nodes) or "`wfctl graph` shows the nodes"
        raise UsageError(f'--if-fails: no node named "{node}"; {hint}')
    if planned.node.section == "finally":
        why = "which is in finally: that comes after the undoing"
        raise UsageError(f'--if-fails: nothing is undone because of "{node}", {why}')
    if planned.holds:
        inside = ", ".join(planned.children[:5]) + (", …" if len(planned.children) > 5 else "")
        hint = f"; name one of that: {inside}" if inside else ""
        raise UsageError(f'--if-fails: "{node}" fails by what it holds{hint}')
    return history.undo_document(plan, *undoing.if_fails(plan, node))


def _foreseen(
    plan: Plan,
    store: Store,
    explain: str | None = None,
    plotted: Plotter | None = None,
    forced: Sequence[str] = (),
) -> Forecast:
    """What a run of the plan would do, with the results that are kept now."""
    from wfctl.forecast import forecast

    if not keeps(plan):
        return forecast(plan, explain, plotted)
    from wfctl import plugins, results

    shelves = results.shelves(store.path, os.environ, make=False)
    try:
        return forecast(
            plan,
            explain,
            plotted,
            lambda state, during: results.Results(plan, state, during, plugins.kind, shelves),
            forced,
        )
    finally:
        for shelf in shelves.values():
            shelf.close()


def sound(file: str) -> Plan:
    """The plan of a file for looking at: params that are not given are unknown. Raises Invalid."""
    opened = flow.read(file)
    opened.refuse()
    return flow.planned(opened, replace(_machine(opened.path), environ=flow.Anything(os.environ)))


def show(asked: Asked, store: Store, node: str | None) -> dict[str, Any]:
    """The resolved workflow, or one node of it. Raises Invalid, UsageError."""
    from wfctl import exhibit

    opened = flow.read(asked.file, asked.settings)
    plan = flow.planned(opened, _request(opened, asked, _variables(asked.env_file), store))
    if node is None:
        return exhibit.workflow(plan)
    with _kept_results(plan, store) as results:
        return exhibit.node(plan, node, results.key_of if results is not None else lambda name: None)


@contextmanager
def _kept_results(plan: Plan, store: Store) -> Iterator[Results | None]:
    """What is kept, for looking before a run, in which nothing is known yet of what nodes will leave."""
    if not keeps(plan):
        yield None
        return
    from wfctl import plugins, results
    from wfctl.scope import Before

    state = RunState(plan)
    shelves = results.shelves(store.path, os.environ, make=False)
    try:
        yield results.Results(plan, state, Before(plan, state), plugins.kind, shelves)
    finally:
        for shelf in shelves.values():
            shelf.close()


# -- after a run


def open_record(run_id: str, store: Store) -> Record:
    """A run as it stands, for reading. Writes nothing."""
    return history.open_run(store.find_run(run_id))


def explain(run_id: str, node: str, store: Store) -> dict[str, Any]:
    """Why a node of a run ranks where it does, and what it waits for now. Raises UsageError."""
    from wfctl import explain as explain_

    record = open_record(run_id, store)
    state = record.state
    now = round((time.time() if state.finished is None else state.finished) - state.started, 6)
    return explain_.document(record.plan, state, node, now, record.status())


def why(run_id: str, node: str, store: Store) -> dict[str, Any]:
    """Why a node of a run ran or was served, as it was recorded then. Raises UsageError."""
    return history.why_document(open_record(run_id, store), node)


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


def cancel(run_id: str, store: Store, warn: Callable[[str], None]) -> Cancelled:
    """Tell the engine of a run to stop, and wait until it has let go; or end what a dead engine has left of it.

    Raises UsageError where there is neither, StateError where something cannot be ended.
    """
    from wfctl import custody, journal

    folder = store.find_run(run_id)
    store.check()
    # One that is held, but by nobody who has a name, is being swept by its guard at this moment.
    was_running = journal.held_by(folder)
    if (held := journal.holder(folder)) is not None:
        with suppress(ProcessLookupError):
            os.kill(held.pid, signal.SIGTERM)
            os.kill(held.pid, signal.SIGCONT)  # one that was stopped hears TERM only when it goes on
    ended = 0
    if was_running or folder.has_roster:
        lock = _let_go(folder, held, warn)
        try:
            ended = custody.end_own(folder, warn)
        finally:
            lock.close()
    custody.end_others(store, warn)
    if not was_running and not ended:
        raise UsageError(f"run {folder.id} is not running; `wfctl status {folder.id}` shows how it stands")
    return Cancelled(folder.id, ended)


def _let_go(folder: RunFolder, told: journal.Holder | None, warn: Callable[[str], None]) -> journal.Lock:
    """The lock of a run whose engine was told to stop. Who cannot be told is dying, or will not stop for us.

    Raises BusyError."""
    from wfctl import journal
    from wfctl.errors import BusyError

    try:
        return journal.Lock.take(folder, wait=2.0, patient=True)
    except BusyError:
        if told is None:
            raise
    end = f"kill -KILL {told.pid}"
    warn(f"waiting for process {told.pid} ({told.command}) to stop; `{end}` ends it at once")
    try:
        return journal.Lock.take(folder, wait=_patience(folder), patient=True)
    except BusyError:
        what = f"process {told.pid} ({told.command}) was told to stop run {folder.id}, and does not"
        raise BusyError(f"{what}; end it with `{end}`, then try again") from None


def _patience(folder: RunFolder) -> float:
    """Seconds in which an engine that was told to stop must have: its nodes may take all of their grace."""
    grace = 0.0
    with suppress(WfctlError):  # who cannot read a run can still end it
        grace = history.open_run(folder).plan.grace
    return 60.0 + grace


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that was left for a run. Where nobody drives that it must be resumed."""

    run: str
    driven: bool


def answer(run_id: str, node: str, choice: str, reason: str, store: Store) -> Answered:
    """Answer the question of a node. Raises UsageError where it asks nothing, or that is no answer; StateError."""
    from wfctl import answers, journal
    from wfctl.errors import nearest
    from wfctl.jobs import Answer

    record = open_record(run_id, store)
    store.check()
    run_ = record.state.nodes.get(node)
    if run_ is None:
        hint = nearest(node, record.state.nodes) or f"`wfctl status {record.folder.id}` shows the nodes"
        raise UsageError(f'no node "{node}" in run {record.folder.id}; {hint}')
    if run_.state is not WAITING_INPUT or not run_.asked:
        how = history.node_document(record, node, record.status())["state"]
        asking = ", ".join(record.state.asking)
        hint = f"what asks is {asking}" if asking else "nobody is asked anything now"
        raise UsageError(f'"{node}" asks nothing in run {record.folder.id}: it is {how}; {hint}')
    choices = run_.asked[2]
    meant = next((one for one in choices if one.casefold() == choice.casefold()), None)
    if meant is None:
        raise UsageError(f'"{node}" cannot be answered "{choice}"; say {" or ".join(choices)}')
    given = Answer(node=node, choice=meant, by=answers.who(os.environ), reason=reason)
    answers.leave(record.folder, given, run_.attempt)
    held = journal.holder(record.folder) if journal.held_by(record.folder) else None
    if held is not None:
        with suppress(ProcessLookupError):
            os.kill(held.pid, signal.SIGCONT)  # it looks for what was left; to a stranger it would mean nothing
    return Answered(record.folder.id, held is not None)


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
    return fetch(record.folder, run_.output, run_.stored)


# -- pictures


def picture(
    what: str,
    store: Store,
    *,
    expand: bool = False,
    compensation: bool = False,
    focus: str | None = None,
    depth: int = 1,
) -> Picture:
    """The picture of a workflow file, or of a run with its states; or of how it is undone. Where both are there, the
    file wins. `focus` leaves what is at most `depth` arrows from one node. Raises Invalid, UsageError."""
    from wfctl import drawing

    record = None
    if os.path.exists(what) or what.endswith((".yaml", ".yml")):
        plan = sound(what)
    else:
        try:
            record = open_record(what, store)
        except UsageError as error:
            raise UsageError(f'there is no file "{what}", and {error}') from None
        plan = record.plan
    whole = drawing.undoing(plan, record) if compensation else drawing.picture(plan, record, expand=expand)
    if focus is None:
        return whole
    if any(one.id == focus for one in whole.nodes):
        from wfctl.renderers.picture import around

        return around(whole, focus, depth)
    if focus in plan.nodes:
        why_not = "nothing of it is undone" if compensation else "it lies in another node; --expand draws it"
        raise UsageError(f'--focus: "{focus}" is not drawn: {why_not}')
    from wfctl.errors import nearest

    inside = next((f'did you mean "{name}"?' for name in plan.nodes if name.endswith(f".{focus}")), "")
    hint = inside or nearest(focus, plan.nodes) or "`wfctl graph` shows the nodes"
    raise UsageError(f'--focus: no node named "{focus}"; {hint}')


def report(run_id: str, store: Store, lines: int | None = None) -> tuple[str, str]:
    """The id of a run, and the page of it, with so many `lines` of each log. Raises UsageError, StateError."""
    from wfctl import dossier, drawing
    from wfctl.renderers.report import render

    record, events = dossier.read(store.find_run(run_id))
    told = dossier.gather(record, events, dossier.LINES if lines is None else lines)
    path = told["critical_path"]
    graph = drawing.picture(record.plan, record, critical=path)
    room = dossier.DRAWN - len(graph.nodes)
    if room < 0:
        return record.folder.id, render(told, made=time.time())
    insides = drawing.insides(record.plan, record, room, critical=path)
    return record.folder.id, render(told, graph, time.time(), insides)


def write_file(path: str, text: str) -> None:
    """Write a picture or a page. Raises UsageError where that cannot be."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f'"{path}" cannot be written: {(error.strerror or "").lower()}') from None
