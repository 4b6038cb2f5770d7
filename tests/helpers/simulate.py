"""A workflow run in virtual time, told as a timeline: the unit tests of the core stand on this.

Starts no process and reads no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wfctl import events as ev
from wfctl import expr, plugins, spec
from wfctl import planner as planning
from wfctl.compensation import retry_of
from wfctl.decide import Leavings
from wfctl.engine import Engine, Plotter, Watcher
from wfctl.errors import Problem
from wfctl.executors.simulated import SimulatedExecutor
from wfctl.jobs import Answer, Completion, Ending, Job, Keeping, Message, Signalled, Trial
from wfctl.plan import Plan, Planned, Request
from wfctl.scope import During
from wfctl.state import RunState, fold

SHORT = {"succeeded": "ok", "cached": "cached"}
ENDINGS = {"timeout": Ending.TIMED_OUT, "missing": Ending.NOT_STARTED, "kill": Ending.KILLED, "lost": Ending.LOST}
REASONS = {"log_limit": Ending.KILLED, "low_disk": Ending.NOT_STARTED}


REQUEST = Request(cores=4, run_id="r", started="2026-01-31T10:00:00.000000Z")


class Crash(BaseException):
    """The engine dies here."""


@dataclass
class Memory:
    """A journal in memory: what was synced survives a crash."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    pending: list[dict[str, Any]] = field(default_factory=list)

    def append(self, event: Mapping[str, Any]) -> None:
        self.pending.append(dict(event))

    def sync(self) -> None:
        self.kept += self.pending
        self.pending = []

    def die(self, written: int = 0) -> None:
        """The machine dies: of what was not synced, only the first `written` events reached the disk."""
        self.kept += self.pending[:written]
        self.pending = []


@dataclass
class CrashAt:
    """Dies when the named point is passed for the `turn`-th time; `passed` counts."""

    name: str
    turn: int
    passed: int = 0

    def __call__(self, point: str) -> None:
        self.passed += point == self.name
        if point == self.name and self.passed == self.turn:
            raise Crash


class Interrupting(SimulatedExecutor):
    """A simulated executor that delivers signals, or other messages, at given moments."""

    def __init__(
        self, start: float, outcome: Callable[[Job], Completion], signals: Sequence[tuple[float, int | Message]]
    ) -> None:
        super().__init__(start, outcome)
        self._signals = list(signals)

    def submit(self, job: Job) -> None:
        live = [job_id for job_id in self._running if job_id.split("/")[1] == job.node and job_id != job.id]
        assert not live, f"two live attempts: {job.id} beside {live}"
        super().submit(job)

    def wait(self, until: float | None) -> Any:
        if self._signals:
            at, number = self._signals[0]
            messages = (
                super().wait(at if until is None else min(at, until)) if self._next() > at else super().wait(until)
            )
            if self.now() >= at:
                self._signals.pop(0)
                return [*messages, Signalled(number) if isinstance(number, int) else number]
            return messages
        return super().wait(until)

    def _next(self) -> float:
        live = [end for end in self._ends if end[2] in self._running]
        return min(live)[0] if live else float("inf")


@dataclass
class Simulated:
    """One run, over all its engines. `attempts` lists every attempt that was begun, in order."""

    plan: Plan
    journal: Memory
    attempts: list[str]
    state: RunState

    @property
    def timeline(self) -> str:
        """`a[0-1] b[1-2]`: every attempt with its start and finish, by start."""
        rows = []
        begun: dict[str, float] = {}
        for event in self.events:
            if isinstance(event, ev.NodeStarted):
                begun[event.node] = event.time
            elif isinstance(event, (ev.AttemptEnded, ev.NodeCancelled)) and event.node in begun:
                start = begun.pop(event.node)
                rows.append((start, f"{event.node}[{start:g}-{event.time:g}]"))
        return " ".join(text for _, text in sorted(rows, key=lambda row: row[0]))

    @property
    def events(self) -> list[ev.Event]:
        return [ev.from_data(data) for data in self.journal.kept]

    @property
    def ended(self) -> dict[str, str]:
        """How each node ended: `ok`, or its state with its reason, `skipped:when`."""
        return {
            name: SHORT.get(run.state, f"{run.state}:{run.reason}" if run.reason else str(run.state))
            for name, run in self.state.nodes.items()
        }


class Undos:
    """What undoing takes, in virtual time: a second a step, and a second what proves it."""

    def __init__(self, plan: Plan, state: RunState) -> None:
        self._plan, self._state = plan, state

    def freeze(self, node: str) -> Mapping[str, Any] | None:
        steps = self._plan.nodes[node].node.compensate
        return {"steps": len(steps), "pin": self._state.pin, "names": []} if steps else None

    def wrote(self, node: str) -> Mapping[str, str] | None:
        return None

    def trial(self, node: str, step: int, attempt: int) -> Trial:
        steps = self._plan.nodes[node].node.compensate
        assert steps
        found = steps[step - 1]
        retry = retry_of(found, self._plan.rollback)

        def made(word: str, spec: Any, then: Any = None) -> Trial:
            id = f"{self._state.id}/{node}/{word}.{step}/{attempt}"
            job = Job(id=id, node=node, attempt=attempt, estimate=1.0)
            proves = word == "verify"
            facts: dict[str, Any] = {"node": node, "number": step, "step": spec, "names": dict, "retry": retry}
            return Trial(**facts, job=job, verifies=proves, then=then)

        verify = found.verify
        return made("undo", found.node, (lambda: made("verify", verify)) if verify is not None else None)

    def remove(self, node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (f"{node}.out",), ()


def build(
    data: Mapping[str, Any], request: Request | None = None, files: Mapping[str, Any] | None = None
) -> tuple[Plan, list[Problem]]:
    """The plan of a workflow given as plain data, and everything that is wrong with it."""
    workflow, problems = spec.build(data, "flow", plugins.kind, (files or {}).get)
    plan, more = planning.build(workflow, request or REQUEST)
    return plan, problems + more


def flow(nodes: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """A workflow as plain data; a node given as a list is its needs, as text its script."""
    return {
        "version": 1,
        "name": "flow",
        "nodes": {name: node(raw) for name, raw in nodes.items()},
        **{key: {n: node(r) for n, r in raw.items()} if key == "finally" else raw for key, raw in keys.items()},
    }


def node(raw: Any) -> dict[str, Any]:
    if isinstance(raw, list):
        return {"run": "true", "needs": raw}
    if isinstance(raw, str):
        return {"run": raw}
    if "nodes" in raw:
        return {**raw, "nodes": {name: node(inner) for name, inner in raw["nodes"].items()}}
    return dict(raw) if {"run", "ask", "workflow"} & raw.keys() else {"run": "true", **raw}


def simulate(
    data: Mapping[str, Any],
    *,
    fails: Mapping[str, int | str | Sequence[int | str]] = {},
    seconds: Mapping[str, float] = {},
    outputs: Mapping[str, Any] = {},
    signals: Sequence[tuple[float, int | Message]] = (),
    request: Request | None = None,
    left: Mapping[str, Leavings] = {},
    crash: Callable[[str], None] = lambda point: None,
    written: int = 0,
    run: Simulated | None = None,
    journal: Memory | None = None,
    again: Sequence[str] = (),
    watchers: Sequence[Watcher] = (),
    warn: Callable[[str], None] = lambda text: None,
    plot: Plotter | None = None,
    files: Mapping[str, Any] | None = None,
    answers: Callable[[RunState], Sequence[Answer]] = lambda state: (),
    no_wait: bool = False,
    keeping: Keeping | None = None,
    save: Callable[[Planned], Mapping[str, Any] | None] = lambda planned: {},
    forced: Sequence[str] = (),
    checkpoint: str = "",
    undo_fails: Mapping[str, Sequence[int] | int] = {},
    undo: str = "",
    words: Sequence[ev.Event] = (),
) -> Simulated:
    """Run a workflow in virtual time, or go on with `run`.

    `fails` gives a node's exit codes, one an attempt (then 0), or for all when it is one number;
    "timeout", "missing", "lost", "kill", "log_limit" and "low_disk" are ways to end too. `outputs`
    gives what a node leaves, or `left` all of it. `signals` are messages with their moments, a number
    stands for that signal. `crash` may raise `Crash` at a named point: of what was not synced by
    then only the first `written` events are kept. `plot` makes the plan that is followed;
    without it the policy decides alone. `keeping` has the kept results, of which none is served for nodes that are
    `forced`; `save` tells what a checkpoint saves, and `checkpoint` is the one to go back to. `undo_fails` are exit
    codes of steps of undos, by `node.step`, and of what proves them, by `node.step?`; `undo` is the strategy by which
    it is undone by hand, and `words` what a person says of undos that were given up.
    """
    plan, problems = build(data, request, files)
    assert not problems, problems
    journal = journal or (run.journal if run else Memory())
    begun = run.attempts if run else []

    def undone(job: Job) -> Completion:
        _, node, what, attempt = job.id.split("/")
        word, _, number = what.partition(".")
        key = f"{node}.{number}" + ("?" if word == "verify" else "")
        begun.append(f"{word} {node}.{number}/{attempt}")
        wanted = undo_fails.get(key, 0)
        tries = sum(1 for one in begun if one.startswith(f"{word} {node}.{number}/")) if wanted else 0
        code = wanted if isinstance(wanted, int) else wanted[tries - 1] if tries <= len(wanted) else 0
        return Completion(job_id=job.id, ending=Ending.EXITED, code=code, seconds=job.estimate)

    def outcome(job: Job) -> Completion:
        if job.id.count("/") == 3:
            return undone(job)
        begun.append(f"{job.node}/{job.attempt}")
        turn = sum(1 for one in begun if one.split("/")[0] == job.node) if job.node in fails else 0
        wanted = fails.get(job.node, 0)
        code = wanted if isinstance(wanted, (int, str)) else wanted[turn - 1] if turn <= len(wanted) else 0
        took = seconds.get(job.node, job.estimate)
        reason = code if isinstance(code, str) and code in REASONS else ""
        ending = {**ENDINGS, **REASONS}.get(str(code), Ending.EXITED)
        number = 9 if ending is Ending.KILLED else code if isinstance(code, int) else None
        return Completion(job_id=job.id, ending=ending, code=number, seconds=took, reason=reason)

    state = fold(run.events, lambda event: plan) if run else RunState(plan)
    clock = Interrupting(state.time, outcome, signals)
    during = During(plan, state)

    def prepare(planned: Planned, attempt: int) -> Job:
        expr.evaluate_value(planned.node.env, during.of(planned.id))
        timeout = planned.node.timeout
        return Job(
            id=f"{state.id}/{planned.id}/{attempt}",
            node=planned.id,
            attempt=attempt,
            estimate=planned.estimate,
            timeout=timeout if isinstance(timeout, float) else None,
        )

    engine = Engine(
        state,
        journal=journal,
        executor=clock,
        clock=clock,
        during=during,
        prepare=prepare,
        collect=lambda job, completion: left.get(job.node) or Leavings(output=outputs.get(job.node)),
        watchers=watchers,
        warn=warn,
        point=crash,
        plot=plot,
        answers=lambda: answers(state),
        keeping=keeping,
        undo=Undos(plan, state),
        save=save,
    )
    result = Simulated(plan, journal, begun, state)
    try:
        if run is None:
            engine.record(
                ev.RunStarted(
                    time=0.0,
                    run="r",
                    workflow="flow",
                    file="f",
                    digest="",
                    definition="",
                    request={},
                    no_wait=no_wait,
                    forced=tuple(forced),
                )
            )
            for name in (name for name, planned in plan.nodes.items() if planned.given):
                engine.record(ev.NodeServed(time=0.0, node=name, output=outputs.get(name), of="other"))
        elif state.finished is None or state.status != "succeeded" or again or checkpoint or undo:
            resumed = ev.RunResumed(
                time=state.time, again=tuple(again), checkpoint=checkpoint, no_wait=no_wait, undo=undo
            )
            engine.record(resumed)
            for word in words:
                engine.record(replace(word, time=state.time))
        engine.set_course("resume" if run else "start")
        engine.run()
    except Crash:
        journal.die(written)
    return result
