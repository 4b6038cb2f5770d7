"""Which nodes of a run begin anew when it goes on, after a resume or under another definition.

Knows no event and no queue: it is the part of the state's fold that looks back. Only `RunState` comes here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wfctl import graph, instances
from wfctl.noderun import (
    CANCELLED,
    DONE,
    FAILED,
    FINAL,
    INTERRUPTED,
    RETRYING,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    TIMED_OUT,
    UNDONE,
    WAITING_INPUT,
    NodeRun,
)  # fmt: skip

if TYPE_CHECKING:
    from wfctl.plan import Plan
    from wfctl.state import RunState


def asked_again(plan: Plan, asked: set[str]) -> tuple[set[str], set[str]]:
    """What runs again where these are asked for: they, all that needs them, and all inside of such; and what those
    lie in, which is opened again and keeps what else is inside."""
    again: set[str] = set()
    around: set[str] = set()
    todo = [(name, True) for name in asked]
    while todo:
        name, whole = todo.pop()
        planned = plan.nodes[name]
        if name in again or (not whole and name in around):
            continue
        (again if whole else around).add(name)
        todo += [(other, True) for other in planned.dependents]
        if whole:
            todo += [(child, True) for child in planned.children]
        if planned.parent is not None:
            todo.append((planned.parent, False))
    return again, around - again


def forget(state: RunState, asked: set[str], finally_only: bool) -> None:
    """Begin anew with every node that has not succeeded, and with what `asked` leads to."""
    again, around = asked_again(state.plan, asked) if asked else (set(), set())
    anew: set[str] = set()
    stirred: set[str | None] = set()  # what holds such
    kept: set[str] = set()  # of what holds others: then all inside stays
    for name in in_order(state.plan):
        run, planned = state.nodes[name], state.plan.nodes[name]
        if planned.parent in kept:
            keep = True
            if run.state not in FINAL:  # its rival had won, or it could not be of use any more
                run.state, run.reason, run.finished = CANCELLED, "superseded", state.time
        elif planned.node.section == "finally":
            keep = finally_only and run.state in FINAL
        elif finally_only:
            keep = True
        elif run.state is SKIPPED:
            keep = not planned.holds or run.reason != "inner"  # what is inside may not be skipped any more
            keep = keep and name not in again | around and not any(need in anew for need in planned.needs)
            keep = keep and planned.parent not in anew
        else:
            tolerated = planned.node.continue_on_error and run.state in (FAILED, TIMED_OUT)
            keep = (run.state in DONE or tolerated) and name not in again and name not in around
            keep = keep and not (planned.node.last and planned.parent in stirred)  # it is the last word of each try
        if keep:
            if planned.holds and run.state in FINAL:
                kept.add(name)
            continue
        if planned.holds and run.state is RUNNING and name not in again and name not in around:
            begun = finally_only or planned.node.section == "nodes"
            if begun and planned.parent not in anew and not any(need in anew for need in planned.needs):
                run.first_started = state.time  # it stays open
                continue
        open_ = planned.node.section == "nodes" or finally_only
        if run.state is WAITING_INPUT and name not in again and open_:
            continue  # the question stands
        anew.add(name)
        if not planned.node.last:
            stirred.add(planned.parent)
        if run.state is RETRYING and name not in again and open_:
            continue  # its retry is due when it was due
        state.nodes[name] = _fresh(run)
    for name in [name for name in state.grown if name in again]:
        state.shrink(name)  # what it is made of may be another now


def keep_skipped(state: RunState) -> None:
    """What was to be undone, and is to stay as it is, as a person said, is done still."""
    for run in state.nodes.values():
        if run.state is UNDONE and run.has_succeeded and run.undo is not None and run.undo.how == "skip":
            run.state, run.undo = SUCCEEDED, None


def forget_cut_words(state: RunState) -> None:
    """Begin anew with what of `finally` was interrupted: it comes behind the rollback, and what has ended does not."""
    for name, run in state.nodes.items():
        if run.state is INTERRUPTED and state.plan.nodes[name].node.section == "finally":
            state.nodes[name] = _fresh(run)


def _fresh(run: NodeRun) -> NodeRun:
    """The node as it begins anew."""
    fresh = remembering(run)
    if run.state is INTERRUPTED:
        # The attempt counts for its number, not for `retry.attempts`: nothing of the work failed.
        fresh.tries = max(0, run.tries - 1)
        fresh.first_started = run.first_started if fresh.tries else None
    return fresh


def remembering(run: NodeRun, unknown: bool | None = None) -> NodeRun:
    """A new one that knows what an earlier attempt may have left, and how that is undone."""
    unknown = run.unknown if unknown is None else unknown
    fresh = NodeRun(run.attempt, unknown)
    fresh.prepared = run.prepared
    stays = run.state is not UNDONE or (run.undo is not None and run.undo.how == "skip")
    fresh.round = run.round + (run.state is SUCCEEDED or not stays)
    fresh.wrote = run.own() or None
    if unknown and run.state is not UNDONE:
        fresh.undoable = run.undoable
    return fresh


def in_order(plan: Plan) -> list[str]:
    """All nodes, each after what it needs, and after what it lies in."""
    before = instances.points(plan.nodes)
    return [point for point in graph.order(before) if not point.endswith(instances.END)]


def items_over(
    grown: Mapping[str, list[tuple[str, Any]]], before: Plan, plan: Plan, old: Mapping[str, NodeRun]
) -> dict[str, list[tuple[str, Any]]]:
    """Of the items that joined those that join the new plan as well: their `for_each` says the same, or is done."""
    kept: dict[str, list[tuple[str, Any]]] = {}
    for name, items in grown.items():
        planned = plan.nodes.get(name)
        was = before.nodes[name].node.each
        now = planned.node.each if planned is not None and not planned.children else None
        if was is not None and now is not None:
            if (was.items, was.key) == (now.items, now.key) or old[name].state in DONE:
                kept[name] = items
    return kept


def carried_over(before: Plan, plan: Plan, old: Mapping[str, NodeRun]) -> dict[str, NodeRun]:
    """The nodes under another plan: what succeeded stays, where it is still there; the rest begins anew."""
    nodes: dict[str, NodeRun] = {}
    others: set[str] = set()  # items of another value, and all inside of them
    for name, planned in plan.nodes.items():
        run = old.get(name)
        if planned.parent in others or (run is not None and _value_of(plan, name) != _value_of(before, name)):
            others.add(name)
        if run is None:
            nodes[name] = NodeRun()
            continue
        stays = run.state in DONE and planned.node.section == "nodes" and name not in others
        inside = planned.parent is not None and nodes[planned.parent].state in DONE
        stands = run.state is WAITING_INPUT and name not in others and before.nodes[name].node.body == planned.node.body
        if not stays and not stands and not (inside and run.state in FINAL):
            run = remembering(run, run.unknown or run.state is RUNNING)
        nodes[name] = run
    return nodes


def _value_of(plan: Plan, name: str) -> object:
    """The value of the item that a node is, None where it is none."""
    planned = plan.nodes[name]
    item = planned.scope.item if planned.parent is not None and plan.nodes[planned.parent].node.each else None
    return None if item is None else [item.value]
