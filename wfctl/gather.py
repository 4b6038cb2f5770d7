"""What comes of a group or a `for_each` when what is inside has ended, or enough of it has.

Records nothing: it makes the fact, and who asked for it records that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wfctl import events as ev
from wfctl import expr
from wfctl.collect import ENDED, LOST, MET, Collect
from wfctl.decide import evaluate_condition
from wfctl.noderun import BAD, CANCELLED, DONE, SKIPPED, SUCCEEDED
from wfctl.plan import Planned
from wfctl.scope import During, Names
from wfctl.state import RunState

SHOWN = 5
"""Failed items that an error names."""

Store = Callable[[str, object], tuple[object, bool]]
"""Keeps the output of a node: what stands for it in the event, and whether it lies elsewhere."""


def gathered(state: RunState, during: During, name: str, now: float, store: Store) -> ev.Event | None:
    """The end of a node that holds others; None where it goes on."""
    planned, run = state.plan.nodes[name], state.nodes[name]
    facts: dict[str, Any] = {"time": now, "node": name, "attempt": run.attempt}
    facts["seconds"] = round(now - (run.started if run.started is not None else now), 6)
    try:
        if planned.node.each is None:
            return _group(state, during, planned, facts, store)
        return _each(state, during, planned, facts, store)
    except expr.ExpressionError as error:
        return ev.NodeFailed(**facts, reason="expression", error=str(error))


def _group(state: RunState, during: During, planned: Planned, facts: dict[str, Any], store: Store) -> ev.Event | None:
    inner = planned.node.inner
    assert inner is not None
    children = {name: state.nodes[name] for name in planned.children}
    nodes = state.plan.nodes
    failed = [n for n, run in children.items() if run.state in BAD and not nodes[n].node.continue_on_error]
    if failed:
        first = min(failed, key=lambda n: children[n].finished or 0.0)
        error = f"{_local(planned, first)}: {children[first].error or children[first].state}"
        if len(failed) > 1:
            error += f"; and {len(failed) - 1} more of it failed"
        unknown = any(children[name].unknown for name in failed)
        return ev.NodeFailed(**facts, reason="inner", error=error, unknown=unknown)
    asked = state.asked.get(planned.id)
    if asked is not None:
        return ev.NodeCancelled(time=facts["time"], node=planned.id, reason=asked, seconds=facts["seconds"])
    for name, run in children.items():  # then it is not done, and goes on once that is mended
        if run.state is SKIPPED and run.reason == "needs" and (cause := _failed_for(state, name)):
            error = f"{_local(planned, name)}: was skipped, for {cause} failed"
            return ev.NodeFailed(**facts, reason="inner", error=error)
    if cancelled := [run for run in children.values() if run.state is CANCELLED]:
        reason = cancelled[0].reason
        return ev.NodeCancelled(time=facts["time"], node=planned.id, reason=reason, seconds=facts["seconds"])
    if children and all(run.state is SKIPPED for run in children.values()):
        return ev.NodeSkipped(time=facts["time"], node=planned.id, reason="inner")
    if not inner.outputs:
        return ev.NodeSucceeded(**facts)
    names = during.inside(planned.id)
    try:
        output: object = {name: expr.evaluate_value(value, names) for name, value in inner.outputs.items()}
    except expr.Unknown:
        output = expr.UNKNOWN
    except expr.ExpressionError as error:
        raise expr.ExpressionError(f"outputs: {error}") from None
    return _succeeded(planned, facts, output, (), store)


def _failed_for(state: RunState, name: str) -> str | None:
    """The node whose failure is why a node was skipped that runs on success; None where there is none."""
    todo, seen = [name], {name}
    while todo:
        planned = state.plan.nodes[todo.pop()]
        if state.nests.for_failures(planned):
            continue
        for need in planned.needs:
            run = state.nodes[need]
            if run.state in BAD and not state.plan.nodes[need].node.continue_on_error:
                return need
            if run.state is SKIPPED and run.reason == "needs" and need not in seen:
                seen.add(need)
                todo.append(need)
    return None


def _each(state: RunState, during: During, planned: Planned, facts: dict[str, Any], store: Store) -> ev.Event | None:
    name, now = planned.id, facts["time"]
    nests, inside = state.nests, state.nodes[planned.id].inside
    assert inside is not None
    collect = nests.collect(name)
    asked = state.asked.get(name)
    standing = nests.standing(name)
    if asked is not None and not inside.left and standing != MET:
        return ev.NodeCancelled(time=now, node=name, reason=asked, seconds=facts["seconds"])
    if standing != MET and any(_enough(state, during, collect, item) for item in inside.fresh):
        standing = MET
    at = nests.deadline(name)
    timed_out = at is not None and now >= at and standing not in (MET, LOST)
    if timed_out and collect.strategy == "best" and inside.succeeded:
        standing = MET
    elif timed_out:
        limit = f"timed out: {inside.total - inside.left} of {inside.total} items ended"
        return ev.NodeFailed(**facts, reason="timed_out", error=limit, timed_out=True, unknown=True)
    if standing is None:
        return None
    if standing == ENDED:
        ended = [state.nodes[child] for child in planned.children if state.nodes[child].state is CANCELLED]
        return ev.NodeCancelled(time=now, node=name, reason=ended[0].reason, seconds=facts["seconds"])
    if standing == LOST:
        unknown = any(state.nodes[child].unknown for child in planned.children)
        return ev.NodeFailed(**facts, reason="collect", error=_lost(state, planned, collect), unknown=unknown)
    output, won = _chosen(state, during, planned, collect)
    return _succeeded(planned, facts, output, won, store)


def _succeeded(
    planned: Planned, facts: dict[str, Any], output: object, won: Sequence[str], store: Store
) -> ev.NodeSucceeded:
    kept, stored = (output, False) if _is_unknown(output) else store(planned.id, output)
    return ev.NodeSucceeded(**facts, output=kept, stored=stored, won=tuple(won))


def _is_unknown(output: object) -> bool:
    """Whether nothing is known of an output, or of a part: that is so in a plan alone."""
    return output is expr.UNKNOWN or (isinstance(output, list) and any(part is expr.UNKNOWN for part in output))


def _chosen(state: RunState, during: During, planned: Planned, collect: Collect) -> tuple[object, list[str]]:
    """The output that a strategy makes of the items, and the keys of those that it chose."""
    nodes, runs = state.plan.nodes, state.nodes
    good = [child for child in planned.children if runs[child].state in DONE]
    if collect.strategy == "all":
        return [during.output(child) if runs[child].state in DONE else None for child in planned.children], []
    if collect.strategy == "first":
        good = [min(good, key=lambda child: runs[child].finished or 0.0)]
    elif collect.strategy == "best":
        good = [_best(during, collect, good)]
    keys = [item.key for child in good if (item := nodes[child].scope.item) is not None]
    outputs = [during.output(child) for child in good]
    return (outputs if collect.strategy == "majority" else outputs[0]), keys


def _best(during: During, collect: Collect, good: Sequence[str]) -> str:
    """The item with the highest score; of equal ones the first."""
    best: tuple[float, str] | None = None
    for child in good:
        try:
            score = collect.score.evaluate(_after(during, child)) if collect.score is not None else 0
        except expr.Unknown:
            score = 0
        except expr.ExpressionError as error:
            raise expr.ExpressionError(f"collect.score of {child}: {error}") from None
        if not isinstance(score, (int, float)) or isinstance(score, bool):
            raise expr.ExpressionError(f"collect.score of {child}: must be a number, got {expr.as_text(score)[:60]}")
        if best is None or score > best[0]:
            best = (score, child)
    assert best is not None
    return best[1]


def _enough(state: RunState, during: During, collect: Collect, child: str) -> bool:
    """Whether `until` holds for an item that succeeded."""
    if collect.until is None:
        return False
    try:
        return evaluate_condition(collect.until, _after(during, child))
    except expr.Unknown:
        return False
    except expr.ExpressionError as error:
        raise expr.ExpressionError(f"collect.until of {child}: {error}") from None


def _after(during: During, child: str) -> Names:
    """What `until` and `score` see of an item that succeeded."""
    run = during.node(child)
    assert run is not None
    return during.after(child, output=during.output(child), exit_code=run.exit_code, error="", attempt=run.attempt)


def _lost(state: RunState, planned: Planned, collect: Collect) -> str:
    """Why the strategy of a `for_each` can no longer be met."""
    runs = {child: state.nodes[child] for child in planned.children}
    failed = [child for child, run in runs.items() if run.state in BAD]
    total = len(runs)
    good = sum(run.state is SUCCEEDED for run in runs.values())
    told = {
        "all": f"{len(failed)} of {total} items failed, and {collect.may_fail(total)} may",
        "first": f"none of {total} items succeeded",
        "majority": f"only {good} of {total} items succeeded so far, and more than half can no longer",
        "best": f"{len(failed)} of {total} items failed, and {collect.may_fail(total)} may"
        if len(failed) > collect.may_fail(total)
        else f"none of {total} items succeeded",
    }[collect.strategy]
    if not total:
        told = f'there is no item, and the strategy "{collect.strategy}" wants one'
    first = sorted(failed, key=lambda child: runs[child].finished or 0.0)[:SHOWN]
    named = [f"{child}: {runs[child].error or runs[child].state}" for child in first]
    if len(failed) > SHOWN:
        named.append(f"and {len(failed) - SHOWN} more")
    return f"{told}: {'; '.join(named)}" if named else told


def _local(group: Planned, child: str) -> str:
    """The id of a node as it is written in its group."""
    return child.removeprefix(f"{group.id}.")
