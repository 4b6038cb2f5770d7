"""What holds of every rollback: random workflows with random failures, some of them crashed at random points.

In virtual time."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.simulate import CrashAt, Simulated, flow, simulate
from wfctl import events as ev
from wfctl import instances

POINTS = ("decided", "recorded", "submitted", "completed")


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """A workflow of up to nine nodes, some of them in a group or many, and what goes wrong in it."""
    count = draw(st.integers(1, 9))
    names = [f"n{i}" for i in range(count)]
    nodes: dict[str, Any] = {}
    for i, name in enumerate(names):
        needs = draw(st.lists(st.sampled_from(names[:i]), unique=True, max_size=3)) if i else []
        node: dict[str, Any] = {"needs": needs}
        if draw(st.booleans()):
            node["compensate"] = [{"run": "undo"}] * draw(st.integers(1, 2))
        if draw(st.integers(0, 5)) == 0:
            node["for_each"] = [1, 2]
        elif draw(st.integers(0, 5)) == 0:
            node = {"needs": needs, "nodes": {"i": {"run": "true", "compensate": [{"run": "undo"}]}, "j": ["i"]}}
        nodes[name] = node
    keys = {"concurrency": draw(st.integers(1, 3)), "on_failure": draw(st.sampled_from(["stop", "continue", "cancel"]))}
    inner = [n for n in names if "nodes" not in nodes[n] and "for_each" not in nodes[n]]
    fails = dict.fromkeys(draw(st.lists(st.sampled_from(inner), unique=True, max_size=2)) if inner else [], 1)
    seconds = {name: draw(st.integers(1, 5)) for name in names}
    stubborn = draw(st.lists(st.sampled_from(names), unique=True, max_size=2))
    undo_fails = {f"{name}.1": draw(st.sampled_from([[1], [1, 1], 1])) for name in stubborn}
    return {"data": flow(nodes, **keys), "fails": fails, "seconds": seconds, "undo_fails": undo_fails}


def run_of(case: dict[str, Any], **more: Any) -> Simulated:
    return simulate(case["data"], fails=case["fails"], seconds=case["seconds"], undo_fails=case["undo_fails"], **more)


def done(run: Simulated) -> list[str]:
    return [event.node for event in run.events if isinstance(event, ev.NodeUndone)]


def reached(point: str, before: Any) -> set[str]:
    """All points that lead to this one."""
    todo, seen = [point], set[str]()
    while todo:
        for need in before[todo.pop()]:
            if need not in seen:
                seen.add(need)
                todo.append(need)
    return seen


@settings(max_examples=150)
@given(cases())
def test_nothing_is_undone_twice_nor_what_did_not_run_nor_before_what_needed_it(case: dict[str, Any]) -> None:
    run = run_of(case)
    undone = done(run)
    assert len(undone) == len(set(undone))
    succeeded = {event.node for event in run.events if isinstance(event, ev.NodeSucceeded)}
    unknown = {name for name, one in run.state.nodes.items() if one.unknown}
    assert set(undone) <= succeeded | unknown
    before = instances.points(run.plan.nodes)
    told = _told(run)
    wanted = set(run.state.undoing.wanted) if run.state.undoing is not None else set()
    for name in wanted:
        for earlier in reached(name, before) & wanted:
            if ("start", earlier) in told:
                assert told.index(("done", name)) < told.index(("start", earlier))


def _told(run: Simulated) -> list[tuple[str, str]]:
    """What happened in the rollback, in its order."""
    told: list[tuple[str, str]] = []
    for event in run.events:
        if isinstance(event, ev.UndoStarted):
            told.append(("start", event.node))
        elif isinstance(event, ev.NodeUndone):
            told.append(("done", event.node))
    return told


@settings(max_examples=150)
@given(cases())
def test_all_that_can_be_undone_is(case: dict[str, Any]) -> None:
    run = run_of(case)
    undoing = run.state.undoing
    if undoing is None:
        return
    states = {name: str(run.state.nodes[name].state) for name in undoing.wanted}
    left = {name for name, state in states.items() if state != "undone"}
    assert left == {*undoing.failed, *undoing.blocked}
    assert (run.state.exit_code == 4) == bool(undoing.failed)


@settings(max_examples=150)
@given(cases(), st.sampled_from(POINTS), st.integers(1, 40))
def test_a_crash_anywhere_and_a_resume_end_in_the_same_state(case: dict[str, Any], point: str, turn: int) -> None:
    whole = run_of(case)
    if whole.state.undoing is None:
        return
    first = next(i for i, event in enumerate(whole.events) if isinstance(event, ev.RollbackBegun))
    run = run_of(case, crash=CrashAt(point, turn))
    kept = run.journal.kept
    if len(kept) <= first or kept[-1]["event"] == "run_finished":
        return  # it died before, and what runs then may run otherwise; or it had ended
    on = run_of(case, run=run)
    assert {n: str(one.state) for n, one in on.state.nodes.items()} == {
        n: str(one.state) for n, one in whole.state.nodes.items()
    }
    assert on.state.exit_code == whole.state.exit_code
    steps = [(event.node, event.step) for event in on.events if isinstance(event, ev.UndoStepDone)]
    assert len(steps) == len(set(steps))
