"""One run driven to its end in this process: the real clock, the real executor, the journal, who looks on.

Knows no verb, and not where a run comes from."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wfctl import events as ev
from wfctl import history, plugins
from wfctl.errors import BusyError, Skipped, StateError, Stopped, UsageError, WfctlError, Where
from wfctl.history import Definition, Record
from wfctl.noderun import SUCCEEDED
from wfctl.plan import Plan
from wfctl.proc import NONCE
from wfctl.record import dataclass
from wfctl.scope import During
from wfctl.state import RunState
from wfctl.store import RunFolder

if TYPE_CHECKING:
    from select import epoll

    from wfctl.answers import Ear
    from wfctl.attempt import Attempts
    from wfctl.checkpoints import Checkpoints
    from wfctl.custody import Custody
    from wfctl.engine import Watcher
    from wfctl.executors.local import LocalExecutor
    from wfctl.jobs import Place
    from wfctl.journal import JournalWriter
    from wfctl.leases import Leases, Meeting
    from wfctl.node import Node
    from wfctl.plan import Planned
    from wfctl.results import Results
    from wfctl.secrets import Secrets
    from wfctl.sharing import Sharing
    from wfctl.twins import Twins
    from wfctl.undos import Undos

CHECKPOINT_EVENTS = 20_000
"""How many events lie between two checkpoints of a run, at least; later half as many as there were before.

Each holds the whole state: at equal distances, a run of ten times the nodes would pay for them a hundred times."""


@dataclass(frozen=True, slots=True)
class Watching:
    """Who looks on: told of the run before it begins, of each turn's events, and that it has ended."""

    begin: Callable[[Record, Secrets | None], None] = lambda record, secrets: None
    """The secrets are told so that they can be hidden."""
    events: Watcher = lambda events, state: None
    end: Callable[[Record], None] = lambda record: None
    warn: Callable[[str], None] = lambda text: None
    ear: int = -1
    """Where a person who is asked may type an answer; -1 where nobody can."""
    command: Callable[..., str] = lambda verb, *words: " ".join(("wfctl", verb, *words))
    """A command of ours, to be typed next: of a verb and its words."""
    paused: Callable[[bool], None] = lambda on: None
    """Ctrl-Z is about to stop this process; or it goes on, and others may have written to the terminal meanwhile."""


def pin(folder: RunFolder, definition: Definition, number: int) -> str:
    """Keep a definition for good in the run's folder; its name there. Raises StateError."""
    from wfctl.journal import refusal
    from wfctl.store import write_whole

    name = "workflow.json" if number == 1 else f"workflow.{number}.json"
    try:
        write_whole(folder.path / name, definition.to_bytes())
    except OSError as error:
        raise refusal("write", folder.path / name, error) from None
    return name


def drive(
    record: Record,
    writer: JournalWriter,
    facts: Sequence[ev.Event],
    watching: Watching,
    new_plan: Plan | None = None,
    variables: Mapping[str, str] = os.environ,
    secrets: Secrets | None = None,
) -> int:
    """Drive the run to its end, beginning with `facts`; the exit code.

    With a new plan the first fact pins it. `variables` are what processes inherit, `secrets` those of the plan, None
    where it has none. Raises StateError where the state cannot be written.
    """
    from wfctl.custody import Custody

    state = record.state
    if new_plan is not None:
        update = facts[0]
        assert isinstance(update, ev.RunUpdated)
        writer.append(ev.to_data(update))
        state.adopt(new_plan, update)
        record.pins.append(update)
        facts = facts[1:]
    plan = state.plan
    join: list[Callable[[str, str], Meeting]] = [_joining(record, plan)] if plan.shared or plan.lock else []
    scopes = _scopes(plan)
    join += [_joining_twins(record, scope) for scope in scopes]
    try:
        with Custody.begin(record.folder, writer.lock_fd, watching.warn, join) as custody:
            if plan.lock and (leases := _leases(custody)) is not None:
                _lock(leases, plan, watching)
            return _drive(record, writer, facts, watching, custody, variables, secrets)
    except (BusyError, Skipped, Stopped):
        if not state.events:  # it never began
            _remove_tree(record.folder.path)
        raise
    finally:
        writer.close()


def _joining(record: Record, plan: Plan) -> Callable[[str, str], Leases]:
    """How a run comes to share with others, once it has a nonce and a roster."""
    from wfctl import leases
    from wfctl.budget import DEVICES
    from wfctl.claims import Share

    def join(nonce: str, roster: str) -> leases.Leases:
        shares = {name: Share(amount, reserve) for name, (amount, reserve) in plan.shared.items()}
        if DEVICES in shares:
            amount, reserve = plan.shared[DEVICES]
            shares[DEVICES] = Share(amount, reserve, plan.devices or tuple(map(str, range(amount))))
        outer = os.environ.get("WFCTL_NONCE", "").split(":")
        return leases.Leases.join(
            leases.folder(os.environ), shares,
            run=record.folder.id, nonce=nonce, outer=[one for one in outer if one], roster=roster, lock=plan.lock,
        )  # fmt: skip

    return join


def _scopes(plan: Plan) -> list[str]:
    """For whom results of this run may be kept: runs that reach the same keys are to meet there."""
    found: set[str] = set()
    for node in nodes_of(plan):
        if node.idempotency is not None:
            from wfctl import keys

            found |= keys.scopes_of(node.idempotency)
    return sorted(found)


def _joining_twins(record: Record, scope: str) -> Callable[[str, str], Twins]:
    """How a run comes to those that may work on the same keys."""
    from wfctl import twins

    def join(nonce: str, roster: str) -> twins.Twins:
        machine = scope == "machine"
        folder = twins.machine_folder(os.environ) if machine else twins.folder(record.folder.state)
        outer = [one for one in os.environ.get(NONCE, "").split(":") if one]
        return twins.Twins.join(
            folder, run=record.folder.id, nonce=nonce, outer=outer, roster=roster, machine=machine
        )

    return join


def _twins(custody: Custody, plan: Plan) -> dict[str, Twins]:
    """Those that were joined, by their scope."""
    from wfctl.twins import Twins

    return dict(zip(_scopes(plan), (one for one in custody.joined if isinstance(one, Twins)), strict=True))


def _leases(custody: Custody) -> Leases | None:
    """What the run holds of what it shares with others, if it shares anything."""
    if not custody.joined:
        return None
    from wfctl.leases import Leases

    return next((one for one in custody.joined if isinstance(one, Leases)), None)


def _lock(leases: Leases, plan: Plan, watching: Watching) -> None:
    """Take the lock of the run. Raises BusyError or Skipped, as the file says, where another run holds it.

    Nothing runs yet, and no executor takes the signals: to be told to stop ends the waiting.
    """

    def stop(number: int, frame: object) -> None:
        raise Stopped(number, f'stopped while it waited for the lock "{plan.lock}": nothing was run')

    taken = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in taken}
    try:
        if not leases.hold(plan.on_busy, watching.warn):
            raise Skipped(f'skipped: another run holds the lock "{plan.lock}", and on_busy says so')
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _drive(
    record: Record,
    writer: JournalWriter,
    facts: Sequence[ev.Event],
    watching: Watching,
    custody: Custody,
    variables: Mapping[str, str],
    secrets: Secrets | None,
) -> int:
    from wfctl import outputs
    from wfctl.attempt import Attempts
    from wfctl.engine import Engine

    state, folder, plan = record.state, record.folder, record.plan
    try:
        os.chdir(plan.root)
    except OSError as error:
        raise UsageError(f'the root folder "{plan.root}" cannot be entered: {(error.strerror or "").lower()}') from None
    during = During(plan, state, lambda output, stored: fetch(folder, output, stored))
    attempts = Attempts(plan, during, plugins.kind, places(folder), lambda: state.settled, state.saved)
    clock = Clock(max(facts[0].time, state.time))
    sharing = None
    if plan.shared and (leases := _leases(custody)) is not None:
        from wfctl.sharing import Sharing

        sharing = Sharing(leases)
    keeping = _keeping(record, during, custody, watching) if keeps(plan) else None
    checkpoints = _checkpoints(record, during, watching)
    watching.begin(record, secrets)
    disturbed: set[str] = set()
    try:
        ear = _ear(record, watching)
        bell = _bell([*([sharing.fd] if sharing else []), *(keeping.fds if keeping else [])])
        with _executor(record, clock, watching, custody, variables, secrets, sharing, disturbed, ear, bell) as executor:
            engine = Engine(
                state,
                journal=writer,
                executor=executor,
                clock=clock,
                during=during,
                prepare=attempts.job,
                prepare_ending=attempts.ending,
                collect=outputs.collect if secrets is None else secrets.collect,
                sharing=sharing,
                watchers=[watching.events, _Checkpoints(record, writer)],
                warn=watching.warn,
                point=crash_point(os.environ),
                plot=_plot,
                store_output=store(folder),
                check=_check,
                answers=ear.answers if ear is not None else lambda: (),
                keeping=keeping,
                undo=_undos(record, during, attempts, by_hand=any(_undoes(fact) for fact in facts)),
                put_back=checkpoints.put_back,
                save=checkpoints.save,
            )
            try:
                for event in facts:
                    engine.record(event)
                if state.course is None:
                    engine.set_course("start" if facts[0] is record.first else "resume")
                engine.run()
            finally:  # while signals are still taken: who presses Ctrl-C twice is to see the last words too
                watching.end(record)
    except WfctlError:
        raise
    except Exception as error:
        error.add_note(f"the run's folder: {folder.path}")
        raise
    finally:
        if keeping is not None:
            _put_away(keeping, folder, clock.now())
    custody.refuse_survivors(folder.id)
    _remove_tree(folder.tmp)
    _learn(record, facts[0].time, disturbed)
    assert state.exit_code is not None
    return state.exit_code


def _check(schema: Mapping[str, object], value: object) -> Sequence[tuple[Where, str]]:
    from wfctl import load

    return load.check_value(schema, value)


def _ear(record: Record, watching: Watching) -> Ear | None:
    """Who hears what people answer; nobody where no node can ask."""
    state = record.state
    if not any(node.kind == "ask" for node in nodes_of(state.plan)):
        return None
    from wfctl.answers import Ear, who

    def asking() -> list[tuple[str, int, Sequence[str]]]:
        return [(n, run.attempt, run.asked[2]) for n in state.asking if (run := state.nodes[n]).asked]

    typing = watching.ear if not state.no_wait else -1
    return Ear(record.folder, asking, watching.warn, fd=typing, by=who(os.environ))


def _undoes(fact: ev.Event) -> bool:
    return isinstance(fact, ev.RunResumed) and bool(fact.undo)


def _undos(record: Record, during: During, attempts: Attempts, *, by_hand: bool) -> Undos | None:
    """What undoing takes; nothing where no node says how it is undone, and no file may go."""
    state, plan = record.state, record.plan
    if plan.rollback.strategy is None and state.undoing is None and not by_hand:
        if not any(node.compensate for node in nodes_of(plan)):
            return None
    from wfctl import undos

    return undos.Undos(plan, state, during, attempts, history.terms(record))


def _bell(fds: Sequence[int]) -> int | epoll:
    """What is readable when one of these is; -1 where there is none."""
    if len(fds) < 2:
        return fds[0] if fds else -1
    import select

    bell = select.epoll()
    for fd in fds:
        bell.register(fd, select.EPOLLIN)
    return bell


def _keeping(record: Record, during: During, custody: Custody, watching: Watching) -> Results:
    """The results that are kept of the nodes of a run."""
    from wfctl import results

    folder = record.folder
    return results.Results(
        record.plan,
        record.state,
        during,
        plugins.kind,
        results.shelves(folder.state, os.environ, _scopes(record.plan)),
        folder=folder,
        place_of=lambda node: str(folder.outputs / history.file_name(node)),
        twins=_twins(custody, record.plan),
        warn=watching.warn,
    )


def _put_away(keeping: Results, folder: RunFolder, now: float) -> None:
    """The end of what was kept: where that is much, what is older goes."""
    keeping.close(now)
    if keeping.kept_bytes:
        from wfctl import upkeep
        from wfctl.store import Store

        upkeep.tidy(Store(folder.state), os.environ, now, keeping.kept_bytes, over=folder.id)


class _NoCheckpoints:
    """Of a run without any: to load what saves files takes a moment."""

    def save(self, planned: Planned) -> None:
        return None

    def put_back(self, files: Mapping[str, object]) -> None:
        return None


def _checkpoints(record: Record, during: During, watching: Watching) -> Checkpoints | _NoCheckpoints:
    state = record.state
    if not state.checkpoints and all(node.checkpoint is None for node in nodes_of(state.plan)):
        return _NoCheckpoints()
    from wfctl.checkpoints import Checkpoints

    return Checkpoints(state.plan, record.folder, during, watching.warn)


def keeps(plan: Plan) -> bool:
    """Whether the result of any node may be kept."""
    return any(node.idempotency is not None for node in nodes_of(plan))


def nodes_of(plan: Plan) -> Iterator[Node]:
    """All nodes, also what is not there yet: items, and what lies in them. Some come more than once."""
    todo = [planned.node for planned in plan.nodes.values()]
    for node in todo:  # grows while it is read
        yield node
        todo += [node.each.item] if node.each is not None else []
        todo += node.inner.nodes.values() if node.inner is not None else []


def _plot(state: RunState, now: float, reason: str) -> ev.RunPlanned | None:
    """A plan to be followed; none where none would be, for what makes one takes a moment to import."""
    if not state.plan.improvable:
        return None
    from wfctl.course import plot

    return plot(state, now, reason)


def store(folder: RunFolder) -> Callable[[str, object], tuple[object, bool]]:
    """Where what groups and `for_each` nodes hand out is kept."""

    def keep(node: str, output: object) -> tuple[object, bool]:
        from wfctl import outputs
        from wfctl.journal import refusal

        path = folder.outputs / f"{history.file_name(node)}.0"
        try:
            return outputs.keep(str(path), output)
        except OSError as error:
            raise refusal("write", path, error) from None

    return keep


def _executor(
    record: Record,
    clock: Clock,
    watching: Watching,
    custody: Custody,
    variables: Mapping[str, str],
    secrets: Secrets | None,
    sharing: Sharing | None,
    disturbed: set[str],
    ear: Ear | None,
    bell: int | epoll,
) -> LocalExecutor:
    """`disturbed` becomes the nodes that ran when Ctrl-Z stopped the run: what they took says little of them."""
    from wfctl.executors.local import LocalExecutor

    plan = record.plan

    def paused(on: bool) -> None:
        disturbed.update(record.state.running)
        if on and sharing is not None:  # who is stopped keeps nobody waiting
            sharing.stand_in_line(None, passable=True)
        watching.paused(on)

    return LocalExecutor(
        clock,
        root=plan.root,
        environ=_environ(record, variables, custody.nonce),
        grace=plan.grace,
        nonce=custody.nonce,
        roster=custody.roster,
        guard=custody.guard,
        enclose=None if any(planned.node.detach for planned in plan.nodes.values()) else custody.enclose,
        state=str(record.folder.state),
        paused=paused,
        warn=watching.warn,
        bell=bell if isinstance(bell, int) else bell.fileno(),
        ear=ear.fd if ear is not None else -1,
        secrets=secrets.values if secrets is not None else {},
        in_place=plugins.in_place,
    )


def _environ(record: Record, variables: Mapping[str, str], nonce: str) -> dict[str, str]:
    """What every process of the run inherits: no secret, for who lists it is handed it."""
    folder = record.folder
    own = {"WFCTL_RUN_ID": folder.id, "WFCTL_RUN_DIR": str(folder.path), "TMPDIR": str(folder.tmp)}
    outer = os.environ.get(NONCE)  # this run may be a node of another, that must find its processes too
    own[NONCE] = f"{outer}:{nonce}" if outer else nonce
    secrets = record.plan.secrets
    inherited = {n: v for n, v in variables.items() if n not in secrets} if secrets else variables
    return {**inherited, **record.plan.env, **own}


def _learn(record: Record, since: float, disturbed: Collection[str]) -> None:
    """Remember how long took what has succeeded since then, when this engine began, for estimates of later runs."""
    from wfctl.experience import Experience

    state, request, nodes = record.state, record.pins[-1].request, record.plan.nodes
    took = {
        name: run.seconds
        for name, run in state.nodes.items()
        if run.state is SUCCEEDED
        and (run.started or 0.0) >= since
        and name not in disturbed
        and not nodes[name].holds
        and nodes[name].node.kind != "ask"
    }
    if took:
        whole = not any(request.get(key) for key in ("start_from", "until", "only"))
        Experience(record.folder.state, record.plan.name, record.first.file).add(state.nodes, took, whole=whole)


class Clock:
    """Seconds since the epoch by the monotonic clock, so that they never go back: not even after `start`."""

    def __init__(self, start: float) -> None:
        self._offset = max(start, time.time()) - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset


class _Checkpoints:
    """Keeps a checkpoint of the state now and then, so that a long journal need not be replayed whole."""

    def __init__(self, record: Record, writer: JournalWriter) -> None:
        self._record = record
        self._writer = writer
        self._kept = writer.position

    def __call__(self, events: Sequence[ev.Event], state: RunState) -> None:
        new = self._writer.position - self._kept
        due = max(CHECKPOINT_EVENTS, self._kept // 2)
        if new < due and not (state.finished is not None and new > CHECKPOINT_EVENTS // 10):
            return
        from wfctl.cache import Cache

        self._kept = self._writer.position
        folder = self._record.folder
        cache = Cache.open(folder.state / "cache")
        if cache is not None:
            try:
                cache.save_checkpoint(
                    folder.id, self._writer.position, history.checkpoint_of(self._record), self._writer.chain
                )
            finally:
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


def places(folder: RunFolder) -> Callable[[str, int | str], Place]:
    """Where the attempts of a run leave things."""
    from wfctl.jobs import Place

    logs, outputs, tmp = f"{folder.logs}/", f"{folder.outputs}/", f"{folder.tmp}/"

    def place_of(node: str, attempt: int | str) -> Place:
        name = f"{history.file_name(node)}.{attempt}"
        return Place(
            log=f"{logs}{name}.log",
            stdout=f"{logs}{name}.out",
            output=f"{outputs}{name}",
            stdin=f"{tmp}{name}.stdin",
            values=f"{tmp}{name}.value-",
            saved=f"{folder.path}/saved",
        )

    return place_of


def fetch(folder: RunFolder, output: object, stored: bool) -> object:
    """The value behind what a state holds of an output. Raises StateError where its file is gone or damaged."""
    if not stored:
        return output
    from wfctl import outputs
    from wfctl.journal import refusal

    try:
        return outputs.fetch(str(folder.path), output, stored)
    except OSError as error:
        raise refusal("read", Path(error.filename or folder.outputs), error) from None
    except (ValueError, RecursionError):
        file = output.get("file") if isinstance(output, Mapping) else None
        path = folder.path / str(file)
        raise StateError(f'"{path}" is damaged; put back a copy of the file, or run its node again') from None


def _remove_tree(path: Path) -> None:
    # Nearly always empty: not worth the import of shutil.
    try:
        path.rmdir()
    except NotADirectoryError:
        with suppress(OSError):
            path.unlink()  # a node put it there; to look into a pipe would hold us for ever
    except OSError:
        import shutil

        shutil.rmtree(path, ignore_errors=True)
