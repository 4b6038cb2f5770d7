"""The next thing to do, and what an ended attempt means: pure functions of plan and state.

Writes nothing, waits for nothing and evaluates no `when`: it says that one is to be evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any
from zlib import crc32

from wfctl import events as ev
from wfctl import expr, quantity
from wfctl.errors import Bug, ExitCode
from wfctl.jobs import Answer, Completion, Ending
from wfctl.question import REJECT
from wfctl.record import dataclass
from wfctl.state import NOT_DONE, RunState, RunStatus
from wfctl.undoing import SUPERSEDED, declares, scheme_of

if TYPE_CHECKING:
    from wfctl.node import Node, Retry
    from wfctl.plan import Plan
    from wfctl.scope import During


@dataclass(frozen=True, slots=True)
class Start:
    """Begin an attempt."""

    node: str


@dataclass(frozen=True, slots=True)
class Judge:
    """Evaluate the node's `when`."""

    node: str


@dataclass(frozen=True, slots=True)
class Look:
    """See whether a result of the node is kept that would do."""

    node: str


@dataclass(frozen=True, slots=True)
class Gather:
    """What lies in a node has ended, or enough of it has: evaluate what comes of it, and say how the node went."""

    node: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Put the question of a node to a person."""

    node: str


@dataclass(frozen=True, slots=True)
class Record:
    """A fact that follows from the state alone."""

    event: ev.Event


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell a running node to end."""

    node: str


@dataclass(frozen=True, slots=True)
class PlanAgain:
    """Make another plan for what has not started: the one that was followed has drifted."""


@dataclass(frozen=True, slots=True)
class EndTransaction:
    """Commit the prepared transaction of an attempt, or roll it back."""

    node: str
    attempt: int
    commit: bool


@dataclass(frozen=True, slots=True)
class Undo:
    """Begin a try of the next step of the undo of a node; `step` is counted from 1."""

    node: str
    step: int


@dataclass(frozen=True, slots=True)
class RemoveFiles:
    """Remove what a node has written, as far as nobody else has changed it since: then it is undone."""

    node: str


@dataclass(frozen=True, slots=True)
class PutBack:
    """Let the files of a checkpoint be as they were."""

    checkpoint: str


@dataclass(frozen=True, slots=True)
class Settle:
    """All nodes but `finally` have ended: evaluate the outputs, and say how the run went."""

    status: RunStatus


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until a job ends, or until this moment."""

    until: float | None


@dataclass(frozen=True, slots=True)
class Done:
    """The run has finished."""


Action = (
    Start | EndTransaction | Judge | Look | Gather | Ask | Record | Stop | PlanAgain | Settle | Wait | Done
    | Undo | RemoveFiles | PutBack
)  # fmt: skip


def decide(plan: Plan, state: RunState, now: float) -> Action:
    """The next thing to do. Reads only its arguments; the engine acts and asks again."""
    if state.finished is not None:
        return Done()
    if node := state.next_to_stop():
        return Stop(node)
    if node := state.nests.next_to_look():
        return Gather(node)
    if (action := _way_back(plan, state, now)) is not None:
        return action
    open_phase = "nodes" if state.settled is None else "finally"
    halted = state.starts_nothing
    if not state.open[open_phase] or (halted and not state.running):
        return _end(plan, state, now)
    deadline = None
    if plan.timeout is not None and state.settled is None and not state.timed_out and not halted:
        deadline = round(state.began + state.paused + plan.timeout, 6)  # `now` has no more digits
        if now >= deadline:
            return Record(ev.RunTimedOut(time=now))
    timers: list[float] = []
    if not halted:
        action = _next(state, now) or _due(state, now, timers) or _begin(state, now)
        if action is not None:
            return action
        if state.no_wait and state.asking and not state.running and not timers and not state.aside:
            return _end(plan, state, now)
        for moment in (state.next_answer_limit(), state.next_change(now)):
            if moment is not None:
                timers.append(moment)
        deadline = min([*timers, *([] if deadline is None else [deadline])], default=None)
    if not (state.running or state.refused or state.asking or state.aside) and deadline is None:
        raise Bug(dead_end(plan, state))
    return Wait(deadline)


def _way_back(plan: Plan, state: RunState, now: float) -> Action | None:
    """What is next where the run goes back, or its transactions are ended: nothing else happens meanwhile."""
    if state.putting_back:
        return PutBack(state.putting_back)
    if state.rolls_back and (action := _roll_back(plan, state, now)) is not None:
        return action
    if state.losers and state.settled is None and not state.starts_nothing:
        return Record(_losers_undone(state, now))
    if state.prepared and (state.committing or state.settled in NOT_DONE):
        return _transaction(state, now)
    return None


def _roll_back(plan: Plan, state: RunState, now: float) -> Action | None:
    """What is next in a rollback: steps whose turn it is, as many at once as nodes may run; then its end. None where
    the run goes on behind it."""
    undoing = state.undoing
    if undoing is None or state.undo_wanted:
        return Record(_begun(plan, state, state.undo_wanted, now))
    if state.starts_nothing:
        if (node := undoing.next_to_stop()) is not None:
            return Stop(node)
        if undoing.running or state.running:
            return Wait(None)
        if undoing.is_aside:
            return None
        code = exit_code(RunStatus.INTERRUPTED, state.signal, halted=bool(state.halted))
        failed = tuple(state.failed_for_good)
        return Record(ev.RunFinished(time=now, state=RunStatus.INTERRUPTED, exit_code=code, failed=failed))
    if len(undoing.running) + len(state.running) < plan.concurrency and (node := undoing.next_ready(now)) is not None:
        undo = state.nodes[node].undo
        step = 1 if undo is None else undo.step
        if step <= undoing.steps(node):
            return Undo(node, step)
        if undoing.removes(node):
            return RemoveFiles(node)
        return Record(ev.NodeUndone(time=now, node=node))
    at = undoing.next_retry()
    if undoing.running or at is not None or state.running:
        return Wait(at)
    if undoing.is_aside:
        return None
    if not undoing.is_done:
        return Settle(RunStatus.ROLLBACK_FAILED)
    if undoing.course.then == "restart":
        return Record(ev.RunRestarted(time=now, checkpoint=undoing.course.checkpoint))
    if undoing.course.checkpoint and not undoing.files_back:
        return PutBack(undoing.course.checkpoint)
    return Settle(RunStatus.FAILED if undoing.course.then == "failed" else RunStatus.ROLLED_BACK)


def _losers_undone(state: RunState, now: float) -> ev.RollbackBegun:
    """What races have left is undone at once: items that were ended as another had won. Nothing else begins then."""
    before = tuple(state.undoing.wanted) if state.undoing is not None and state.undoing.is_aside else ()
    why = "another item had won before these were done"
    nodes = (*before, *state.losers)
    return ev.RollbackBegun(time=now, strategy=SUPERSEDED, then="go on", nodes=nodes, why=why)


def _begun(plan: Plan, state: RunState, by_hand: str, now: float) -> ev.RollbackBegun:
    """The rollback that the workflow, or a person, wants."""
    scheme, analysis = scheme_of(plan, state, by_hand)
    return ev.RollbackBegun(
        time=now,
        strategy=scheme.strategy,
        then=scheme.then,
        nodes=scheme.undo,
        remove=scheme.remove,
        checkpoint=scheme.checkpoint,
        why=scheme.why,
        by="hand" if by_hand else "",
        analysis=analysis.to_data(),
    )


def _next(state: RunState, now: float) -> Action | None:
    """What follows from what has ended."""
    if node := state.next_doomed():
        return Record(ev.NodeSkipped(time=now, node=node, reason="needs"))
    if node := state.next_cancelled():
        return Record(_drop(state, node, now))
    if node := state.next_unjudged():
        return Judge(node)
    if node := state.next_to_ask():
        return Ask(node)
    if node := state.next_to_look():
        return Look(node)
    return None


def _due(state: RunState, now: float, timers: list[float]) -> Action | None:
    """What follows from the time. The moments that are to come are added to `timers`."""
    if (retry := state.next_retry()) is not None:
        if retry[0] <= now:
            return Record(ev.NodeReady(time=now, node=retry[1]))
        timers.append(retry[0])
    if (limit := state.nests.next_deadline()) is not None:
        if limit[0] <= now:
            return Gather(limit[1])
        timers.append(limit[0])
    if (answer := state.next_answer_due(now)) is not None:
        return Record(_unanswered(state, answer, now))
    return None


def _begin(state: RunState, now: float) -> Action | None:
    """What may begin."""
    if state.drifted(now):
        return PlanAgain()
    node = state.best_ready(now)
    return None if node is None else Start(node)


def _transaction(state: RunState, now: float) -> Action | None:
    """The next prepared transaction to be ended, as the run has ended; None when all are, or cannot be."""
    for node in state.prepared:
        for attempt in state.nodes[node].prepared:
            if (node, attempt) not in state.ending and (node, attempt) not in state.unended:
                return EndTransaction(node, attempt, state.committing)
    if state.ending:
        return Wait(None)
    if state.unended and state.committing:  # nothing else can come of this run but that they are committed
        failed = tuple(dict.fromkeys(node for node, _ in state.unended))
        return Record(
            ev.RunFinished(time=now, state=RunStatus.COMMITTING, exit_code=ExitCode.ROLLBACK_FAILED, failed=failed)
        )
    return None


def _drop(state: RunState, node: str, now: float) -> ev.Event:
    """The end of a node that the failing run does not start any more."""
    run = state.nodes[node]
    reason = "run_timeout" if state.timed_out else "run_failing" if state.failed_nodes else "group_failing"
    if run.retry_at is not None:  # an attempt of it has failed, and there will be no other
        return ev.NodeFailed(
            time=now,
            node=node,
            attempt=run.attempt,
            seconds=run.seconds,
            exit_code=run.exit_code,
            signal=run.signal,
            reason=run.reason,
            error=run.error,
            timed_out=run.reason == "timed_out",
            unknown=run.unknown,
        )
    return ev.NodeCancelled(time=now, node=node, reason=reason)


def _unanswered(state: RunState, node: str, now: float) -> ev.Event:
    """The end of a question that nobody has answered in time."""
    run = state.nodes[node]
    seconds = round(now - (now if run.started is None else run.started), 6)
    limit = seconds if run.asked[1] is None or run.started is None else run.asked[1] - run.started
    error = f"nobody answered within {quantity.shown_seconds(limit)}"
    facts: dict[str, Any] = {"time": now, "node": node, "attempt": run.attempt, "seconds": seconds}
    return ev.NodeFailed(**facts, reason="timed_out", error=error, timed_out=True)


def _end(plan: Plan, state: RunState, now: float) -> Action:
    if state.settled is None:
        if state.open["nodes"] and state.no_wait and state.asking and not state.starts_nothing:
            return Record(ev.RunFinished(time=now, state=RunStatus.WAITING_INPUT, exit_code=ExitCode.WAITING))
        if state.open["nodes"]:
            return Settle(RunStatus.INTERRUPTED)
        if not state.failing:
            given_up = state.undoing is not None and state.undoing.failed
            return Settle(RunStatus.ROLLBACK_FAILED if given_up else RunStatus.SUCCEEDED)
        if not state.starts_nothing and declares(plan):
            begun = _begun(plan, state, "", now)
            if begun.nodes or begun.remove or begun.checkpoint:
                return Record(begun)
        return Settle(RunStatus.FAILED)
    status = state.settled
    if state.starts_nothing and state.open["finally"]:
        status = RunStatus.INTERRUPTED
    elif status is RunStatus.SUCCEEDED and state.finally_failed:
        status = RunStatus.FAILED
    elif status in NOT_DONE and state.unended:
        status = RunStatus.ROLLBACK_FAILED
    return Record(
        ev.RunFinished(
            time=now,
            state=status,
            exit_code=exit_code(status, state.signal, halted=bool(state.halted)),
            failed=tuple(state.failed_for_good),
            outputs=state.outputs if status is RunStatus.SUCCEEDED else {},
        )
    )


def exit_code(status: RunStatus, signal: int | None, *, halted: bool = False) -> int:
    """What the command that ends the run returns."""
    if status is RunStatus.SUCCEEDED:
        return ExitCode.OK
    if status is RunStatus.ROLLBACK_FAILED:
        return ExitCode.ROLLBACK_FAILED
    if status is RunStatus.ROLLED_BACK:
        return ExitCode.ROLLED_BACK
    if status is RunStatus.INTERRUPTED:
        return ExitCode.STATE if halted and signal is None else 128 + (signal or 2)
    return ExitCode.FAILED


def dead_end(plan: Plan, state: RunState) -> str:
    """What waits for what, when nothing can go on: this must never be seen."""
    lines = ["nothing runs, nothing can start, and the run is not done"]
    for name, run in state.nodes.items():
        if run.state in ("waiting", "ready", "retrying") or (plan.nodes[name].holds and run.state == "running"):
            waits = [f"{n} ({state.nodes[n].state})" for n in plan.nodes[name].needs]
            if plan.nodes[name].holds:
                waits += [f"{n} ({state.nodes[n].state})" for n in plan.nodes[name].children[:20]]
            lines.append(
                f"{name} is {run.state}, needs {', '.join(waits) or 'nothing'}, holds {plan.nodes[name].demand}"
            )
    return "\n  ".join(lines[:50])


@dataclass(frozen=True, slots=True, kw_only=True)
class Leavings:
    """What an attempt left behind. `file` is where an output lies that is too large for the journal.

    `error` says what is wrong with the output, `reason` the fixed word for that: `output`, or `secret`. `failed` is the
    fixed word by which a task failed, empty where it did not, and `failure` says why.
    """

    output: object = None
    file: str | None = None
    error: str = ""
    reason: str = "output"
    missing: tuple[str, ...] = field(default=())
    failed: str = ""
    failure: str = ""
    retry_after: float | None = None
    """Seconds for which a server wants to be left alone."""
    unknown: bool = False
    """Whether a task that failed may have had its effect."""


_UNKNOWN = ("output", "secret", "log_limit")
"""Reasons for which nobody knows what was done, however the attempt ended."""


def conclude(
    plan: Plan, state: RunState, during: During, name: str, completion: Completion, left: Leavings, now: float
) -> ev.Event:
    """What the end of an attempt of the node `name` means: success, a retry, or the node's end."""
    run, spec = state.nodes[name], plan.nodes[name].node
    signal = completion.code if completion.ending is Ending.KILLED else None
    code = completion.code if signal is None else 128 + signal
    reason, error = _verdict(
        spec,
        lambda error: during.after(name, output=left.output, exit_code=code, error=error, attempt=run.attempt),
        completion, left, code,
    )  # fmt: skip
    facts: dict[str, Any] = {"time": now, "node": name, "attempt": run.attempt, "seconds": completion.seconds}
    if not reason:
        output = left.output if left.file is None else {"file": left.file}
        return ev.NodeSucceeded(**facts, exit_code=code, signal=signal, output=output, stored=left.file is not None)
    if reason == "low_disk":  # it was not its fault, and the run ends
        return ev.NodeInterrupted(**facts, reason=reason, error=error)
    asked = state.asked.get(name)
    if asked == "interrupted":
        return ev.NodeInterrupted(**facts, exit_code=code, signal=signal, reason="interrupted")
    if asked is not None and completion.ending is not Ending.TIMED_OUT:
        return ev.NodeCancelled(time=now, node=name, reason=asked, seconds=completion.seconds)
    if reason == "not_started":
        completion = replace(completion, ending=Ending.NOT_STARTED)
    unknown = left.unknown or reason in _UNKNOWN or completion.ending in (Ending.KILLED, Ending.TIMED_OUT, Ending.LOST)
    end = {**facts, "exit_code": code, "signal": signal, "reason": reason, "error": error, "unknown": unknown}
    retry = spec.retry
    more = completion.ending is not Ending.NOT_STARTED and run.tries < retry.attempts
    if more and state.admits(plan.nodes[name]):
        wait = left.retry_after
        if wait is None:
            wait = delay(state.id, name, run.tries, retry.delay, retry.backoff, retry.max_delay, retry.jitter)
        at = round(now + wait, 6)  # as it will be read again
        began = now if run.first_started is None else run.first_started
        in_time = retry.max_time is None or at - began <= retry.max_time
        again, problem = _again(during, name, left, code, error, run.attempt)
        if problem:
            end["error"] = f"{error}; retry.when: {problem}"
        elif again and in_time:
            return ev.NodeRetrying(**end, retry_at=at)
    return ev.NodeFailed(**end, timed_out=reason == "timed_out")


def answered(plan: Plan, state: RunState, during: During, answer: Answer, now: float) -> ev.Event:
    """What the answer to a question means: success, unless it is `reject` or `expect` is not met."""
    run, node = state.nodes[answer.node], plan.nodes[answer.node].node
    facts: dict[str, Any] = {"time": now, "node": answer.node, "attempt": run.attempt}
    facts["seconds"] = round(now - (now if run.started is None else run.started), 6)
    output = {"choice": answer.choice, "by": answer.by, "reason": answer.reason}
    who = f'"{answer.choice}" by {answer.by}' + (f": {answer.reason}" if answer.reason else "")
    if node.expect is None:
        good = answer.choice != REJECT
    else:
        try:
            names = during.after(answer.node, output=output, exit_code=None, error="", attempt=run.attempt)
            good = evaluate_condition(node.expect, names)
        except expr.Unknown:  # a plan assumes success
            good = True
        except expr.ExpressionError as error:
            return ev.NodeFailed(**facts, reason="expect", error=f"expect: {error}, when answered {who}")
    if good:
        return ev.NodeSucceeded(**facts, output=output)
    return ev.NodeFailed(**facts, reason="answer", error=f"answered {who}")


def conclude_undo(
    step: Node, names: Callable[[], Mapping[str, object]], completion: Completion, left: Leavings
) -> tuple[str, str]:
    """Why a try of a step, or what is to prove that it worked, has failed, as a fixed word and as text; both empty for
    success. What a step prints is not recorded: that a secret was in it is no failure, unless `expect` judges by it."""
    code = completion.code if completion.ending is not Ending.KILLED else 128 + (completion.code or 0)
    if left.reason == "secret" and not any(r.path[0] == "output" for r in expr.references_of(step.expect)):
        left = replace(left, error="")

    def after(error: str) -> dict[str, object]:
        return {**names(), "output": left.output, "exit_code": code, "error": error}

    return _verdict(step, after, completion, left, code)


def undo_failed(
    state: RunState,
    name: str,
    number: int,
    retry: Retry,
    names: Callable[[], Mapping[str, object]],
    problem: tuple[str, str],
    now: float,
) -> ev.Event:
    """What a failed try of a step means: another one, or that a person is needed. `names` are what its `retry.when`
    sees, `problem` the reason and the error."""
    undo = state.nodes[name].undo
    tries = undo.tries if undo is not None else 1
    reason, error = problem
    again = reason not in ("not_started", "expression") and tries < retry.attempts
    try:
        again = again and evaluate_condition(retry.when, names())
    except expr.ExpressionError as wrong:
        again, error = False, f"{error}; retry.when: {wrong}"
    if not again:
        return ev.UndoFailed(time=now, node=name, step=number, reason=reason, error=error)
    wait = delay(state.id, f"{name}/undo", tries, retry.delay, retry.backoff, retry.max_delay, retry.jitter)
    at = round(now + wait, 6)
    return ev.UndoRetrying(time=now, node=name, step=number, retry_at=at, reason=reason, error=error)


def _verdict(
    spec: Node,
    after: Callable[[str], Mapping[str, object]],
    completion: Completion,
    left: Leavings,
    code: int | None,
) -> tuple[str, str]:
    """Why the attempt failed, as a fixed word and as text; both empty for success. `after` gives the names that its
    `expect` sees, told its error."""
    if left.failed == "not_started":
        return left.failed, left.failure
    if completion.reason:
        return completion.reason, completion.error
    match completion.ending:
        case Ending.NOT_STARTED:
            return "not_started", completion.error
        case Ending.TIMED_OUT:
            return "timed_out", completion.error or f"timed out after {_limit(spec.timeout, completion)}"
        case Ending.LOST:
            return "lost", completion.error
    expect = spec.expect
    error_text = left.failure or completion.error
    if expect is not None:
        try:
            good = evaluate_condition(expect, after(error_text))
        except expr.Unknown:  # a plan assumes success
            good = True
        except expr.ExpressionError as error:
            return (left.reason, left.error) if left.error else ("expect", f"expect: {error}")
        if not good and left.failed:
            return left.failed, left.failure
        if not good:
            text = expect.text if isinstance(expect, expr.Template) else str(expect).lower()
            return (left.reason, left.error) if left.error else ("expect", f"expect was not met: {text}")
    elif own := _own_rule(completion, left, code):
        return own
    if left.error:
        return left.reason, left.error
    if left.missing:
        return "writes", f"did not write {', '.join(left.missing[:5])}"
    return "", ""


def _own_rule(completion: Completion, left: Leavings, code: int | None) -> tuple[str, str] | None:
    """Why an attempt failed by the rule of its kind, where no `expect` stands in its place."""
    if left.failed:
        return left.failed, left.failure
    if completion.ending is Ending.KILLED:
        return "killed", completion.error or f"ended by signal {completion.code}"
    return ("exit_code", completion.error or f"exit code {code}") if code != 0 else None


def _limit(timeout: object, completion: Completion) -> str:
    """The time that an attempt had: as written, or as long as it took where an expression or a grace decided it."""
    if isinstance(timeout, float) and timeout <= completion.seconds:
        return quantity.shown_seconds(timeout)
    return quantity.shown_seconds(completion.seconds)


def _again(during: During, name: str, left: Leavings, code: int | None, error: str, attempt: int) -> tuple[bool, str]:
    """Whether `retry.when` wants another attempt, and what was wrong with it."""
    when = during.spec(name).retry.when
    if when is True:
        return True, ""
    try:
        names = during.after(name, output=left.output, exit_code=code, error=error, attempt=attempt)
        return evaluate_condition(when, names), ""
    except expr.ExpressionError as problem:
        return False, str(problem)


def evaluate_condition(condition: expr.Template | bool, names: Mapping[str, object]) -> bool:
    """The value of a `when`, `expect` or `retry.when`. Raises ExpressionError where it is no boolean."""
    if isinstance(condition, bool):
        return condition
    value = condition.evaluate(names)
    if not isinstance(value, bool):
        raise expr.ExpressionError(f"must be true or false, got {expr.as_text(value)[:60]}")
    return value


def delay(run_id: str, node: str, failures: int, first: float, backoff: float, longest: float, jitter: bool) -> float:
    """Seconds until the next attempt: exponential, capped, and with jitter between half and whole of that.

    The jitter comes from the names, not from chance, so that a replay needs none.
    """
    try:
        whole = min(longest, first * float(backoff) ** (failures - 1))
    except OverflowError:
        whole = longest
    if not jitter:
        return whole
    return whole * (0.5 + crc32(f"{run_id}/{node}/{failures}".encode()) / 2**33)
