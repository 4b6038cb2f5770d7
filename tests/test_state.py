"""State as a fold over events: what may follow what, what resume begins anew, what a checkpoint keeps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.simulate import CrashAt, Memory, Simulated, build, flow, simulate
from wfctl import events as ev
from wfctl import paper
from wfctl.errors import Bug
from wfctl.noderun import FINAL, MOVES, UNDOS, NodeState
from wfctl.state import RunState, fold


def begun(data: dict[str, Any]) -> RunState:
    """A state of which only the start is known."""
    state = RunState(build(data)[0])
    state.apply(ev.RunStarted(time=0.0, run="r", workflow="w", file="f", digest="", definition="", request={}))
    return state


def attempts(run: Simulated, *nodes: str) -> list[str]:
    return [attempt for attempt in run.attempts if not nodes or attempt.split("/")[0] in nodes]


# -- moves


def test_no_state_is_left_but_by_the_table() -> None:
    state = begun(flow({"a": [], "b": ["a"]}))
    for event in (
        ev.NodeStarted(time=1.0, node="b", attempt=1),
        ev.NodeSucceeded(time=1.0, node="a", attempt=1),
        ev.NodeReady(time=1.0, node="a"),
        ev.NodeSkipped(time=1.0, node="a", reason="needs"),
    ):
        with pytest.raises(Bug, match=f"{event.name}: node {event.node} is"):
            state.apply(event)


def test_a_fact_about_a_node_that_is_not_there_is_a_bug() -> None:
    with pytest.raises(Bug, match='no node "x" in the plan'):
        begun(flow({"a": []})).apply(ev.NodeReady(time=1.0, node="x"))


def test_no_move_leads_out_of_a_final_state() -> None:
    assert not [pair for pair in MOVES if pair[0] in FINAL]


def test_every_state_is_the_end_of_a_move_or_the_begin_of_one_or_that_of_an_undo() -> None:
    moves = {old for old, _ in MOVES} | set(MOVES.values()) | {NodeState.TIMED_OUT}
    assert moves | UNDOS == set(NodeState)
    assert not moves & UNDOS


def test_two_attempts_of_a_node_cannot_be_under_way() -> None:
    state = begun(flow({"a": []}))
    state.apply(ev.NodeStarted(time=1.0, node="a", attempt=1))
    with pytest.raises(Bug):
        state.apply(ev.NodeStarted(time=1.0, node="a", attempt=2))


def test_a_journal_begins_with_its_run() -> None:
    plan, _ = build(flow({"a": []}))
    with pytest.raises(Bug, match="without events"):
        fold([], lambda event: plan)
    with pytest.raises(Bug, match="begins with run_started"):
        fold([ev.NodeReady(time=1.0, node="a")], lambda event: plan)


def test_what_ended_is_counted_by_how() -> None:
    nodes: dict[str, Any] = {"a": [], "b": {"when": False}, "c": ["a"]}
    assert simulate(flow(nodes)).state.ended == {"succeeded": 2, "skipped": 1}


# -- resume


def test_resume_runs_again_what_failed_and_what_did_not_run_because_of_it() -> None:
    data = flow({"ok": [], "bad": ["ok"], "after": ["bad"], "no": {"when": False}, "after_no": ["no"], "other": ["ok"]})
    run = simulate(data, fails={"bad": [1]})
    assert run.ended["after"] == "skipped:needs"
    again = simulate(data, fails={"bad": [1]}, run=run)
    assert set(again.ended.values()) == {"ok", "skipped:when", "skipped:needs"}
    assert again.attempts == ["ok/1", "bad/1", "other/1", "bad/2", "after/1"]
    assert (again.state.status, again.state.exit_code) == ("succeeded", 0)


@pytest.mark.parametrize("mode", ["stop", "cancel"])
def test_resume_runs_again_what_was_cancelled(mode: str) -> None:
    data = flow({"bad": [], "slow": [], "after": ["slow"]}, on_failure=mode)
    run = simulate(data, fails={"bad": [1]}, seconds={"slow": 5})
    again = simulate(data, fails={"bad": [1]}, seconds={"slow": 5}, run=run)
    assert set(again.ended.values()) == {"ok"}
    assert len(attempts(again, "slow")) == (2 if mode == "cancel" else 1)


def test_a_timed_out_run_has_its_time_again() -> None:
    data = flow({"a": [], "slow": []}, timeout="3s")
    run = simulate(data, seconds={"slow": 9})
    again = simulate(data, seconds={"slow": 2}, run=run)
    assert again.timeline == "a[0-1] slow[0-3] slow[3-5]"
    assert again.state.exit_code == 0


def test_tries_begin_anew_and_attempts_are_numbered_on() -> None:
    data = flow({"a": {"retry": {"attempts": 2, "delay": 0}}})
    run = simulate(data, fails={"a": 1})
    assert simulate(data, fails={"a": [1, 1, 1, 0]}, run=run).attempts == ["a/1", "a/2", "a/3", "a/4"]


def test_a_tolerated_failure_is_not_run_again() -> None:
    data = flow({"a": {"continue_on_error": True}, "b": ["a"], "bad": ["b"]})
    run = simulate(data, fails={"a": 1, "bad": [1]})
    assert simulate(data, fails={"a": 1, "bad": [1]}, run=run).attempts == ["a/1", "b/1", "bad/1", "bad/2"]


def test_a_success_that_came_of_a_failure_stays() -> None:
    data = flow({"bad": [], "alarm": {"needs": ["bad"], "trigger": "any_failed"}})
    again = simulate(data, fails={"bad": [1]}, run=simulate(data, fails={"bad": [1]}))
    assert again.attempts == ["bad/1", "alarm/1", "bad/2"]
    assert again.ended == {"bad": "ok", "alarm": "ok"}


def test_a_node_that_a_person_asked_for_runs_again_with_all_that_depends_on_it() -> None:
    data = flow({"a": [], "b": ["a"], "c": ["b"], "other": ["a"]})
    again = simulate(data, run=simulate(data), again=["b"])
    assert attempts(again) == ["a/1", "b/1", "other/1", "c/1", "b/2", "c/2"]


def test_what_was_given_stays_given() -> None:
    from wfctl.plan import Request

    data = flow({"a": [], "b": ["a"]})
    request = Request(cores=1, run_id="r", start_from=("b",))
    run = simulate(data, fails={"b": [1]}, request=request)
    assert run.ended == {"a": "cached", "b": "failed:exit_code"}
    again = simulate(data, fails={"b": [1]}, request=request, run=run)
    assert again.attempts == ["b/1", "b/2"]


def test_finally_runs_again_after_a_resume_for_that_is_another_end() -> None:
    data = flow({"bad": []}, **{"finally": {"last": []}})
    again = simulate(data, fails={"bad": [1]}, run=simulate(data, fails={"bad": [1]}))
    assert again.attempts == ["bad/1", "last/1", "bad/2", "last/2"]


def test_a_decided_run_that_died_in_finally_does_only_the_rest_of_that() -> None:
    data = flow({"bad": []}, **{"finally": {"f": [], "g": ["f"]}})
    run = simulate(data, fails={"bad": 1}, crash=CrashAt("completed", 3))
    again = simulate(data, fails={"bad": 1}, run=run)
    assert again.attempts == ["bad/1", "f/1", "g/1", "g/2"]
    assert again.state.exit_code == 1


def test_an_attempt_that_died_with_its_engine_leaves_an_unknown_outcome() -> None:
    data = flow({"a": []})
    again = simulate(data, run=simulate(data, crash=CrashAt("submitted", 1)))
    assert (again.attempts, again.ended) == (["a/1", "a/2"], {"a": "ok"})
    assert again.state.nodes["a"].unknown


# -- another definition


def updated(old: dict[str, Any], new: dict[str, Any], **told: Any) -> Simulated:
    """A run under `old` that goes on under `new`."""
    run = simulate(old, **told)
    plan, _ = build(new)
    state = fold(run.events, lambda event: run.plan)
    event = ev.RunUpdated(time=state.time, digest="", definition="", request={})
    state.adopt(plan, event)
    return Simulated(plan, Memory(), run.attempts, state)


def test_under_another_definition_what_succeeded_stays_and_the_rest_begins_anew() -> None:
    old = flow({"a": [], "bad": ["a"], "gone": ["a"]})
    state = updated(old, flow({"a": [], "bad": ["a"], "new": ["a"]}), fails={"bad": 1}).state
    assert {name: str(run.state) for name, run in state.nodes.items()} == {
        "a": "succeeded",
        "bad": "ready",
        "new": "ready",
    }
    assert state.nodes["bad"].attempt == 1


# -- on paper


def test_a_checkpoint_of_another_plan_is_refused() -> None:
    data = paper.to_data(begun(flow({"a": []})))
    with pytest.raises(ValueError, match="another plan"):
        paper.from_data(build(flow({"b": []}))[0], data)


def test_failed_nodes_are_told_in_the_order_of_failing_also_from_a_checkpoint() -> None:
    run = simulate(
        flow({"late": [], "early": []}, on_failure="continue"), fails={"late": 1, "early": 1}, seconds={"late": 3}
    )
    assert list(run.state.failed_nodes) == ["early", "late"]
    assert list(paper.from_data(run.plan, paper.to_data(run.state)).failed_nodes) == ["early", "late"]
