"""A failed run is undone: who, in which order, how often it is tried, and what waits for a person.

In virtual time; a step takes a second, and so does what proves that it worked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.simulate import CrashAt, Simulated, flow, simulate
from wfctl import events as ev
from wfctl.jobs import Answer
from wfctl.undoing import AS_SAID

STEP = {"run": "undo"}
BACK: dict[str, Any] = {"compensate": [STEP]}


def needing(*needs: str, **keys: Any) -> dict[str, Any]:
    return {"needs": list(needs), **keys}


def undone(run: Simulated) -> list[str]:
    """The tries of steps, in the order of their beginning: `a.1/1`."""
    return [one.removeprefix("undo ") for one in run.attempts if one.startswith("undo ")]


def ended(run: Simulated) -> tuple[str, int | None]:
    return str(run.state.status), run.state.exit_code


CHAIN = flow({"a": BACK, "b": needing("a", **BACK), "c": needing("b")})


def test_what_was_done_is_undone_in_reverse_order() -> None:
    run = simulate(CHAIN, fails={"c": 1})
    assert undone(run) == ["b.1/1", "a.1/1"]
    assert run.ended == {"a": "undone", "b": "undone", "c": "failed:exit_code"}
    assert ended(run) == ("rolled_back", 3)


def test_a_run_that_succeeds_is_not_undone() -> None:
    run = simulate(CHAIN)
    assert (undone(run), ended(run)) == ([], ("succeeded", 0))


def test_a_run_in_which_nothing_says_how_it_is_undone_has_failed() -> None:
    assert ended(simulate(flow({"a": [], "b": ["a"]}), fails={"b": 1})) == ("failed", 1)
    assert ended(simulate({**CHAIN, "rollback": {"strategy": "none"}}, fails={"c": 1})) == ("failed", 1)


def test_where_nothing_was_done_nothing_is_undone() -> None:
    run = simulate(CHAIN, fails={"a": 1})
    assert (undone(run), ended(run)) == ([], ("failed", 1))


def test_the_order_goes_through_nodes_without_compensation() -> None:
    data = flow({"a": BACK, "m": ["a"], "n": needing("a", **BACK), "z": needing("m", "n", **BACK), "x": ["z"]})
    run = simulate(data, fails={"x": 1})
    assert undone(run) == ["z.1/1", "n.1/1", "a.1/1"]


def test_independent_ones_are_undone_side_by_side_as_many_as_nodes_may_run() -> None:
    nodes = {f"n{i}": BACK for i in range(4)} | {"x": ["n0", "n1", "n2", "n3"]}
    for concurrency, seconds in ((4, 1.0), (2, 2.0)):
        run = simulate(flow(nodes, concurrency=concurrency), fails={"x": 1})
        begun = next(event.time for event in run.events if isinstance(event, ev.RollbackBegun))
        assert run.state.time - begun == seconds


def test_the_steps_of_a_node_are_done_one_after_the_other() -> None:
    run = simulate(flow({"a": {"compensate": [STEP, STEP, STEP]}, "x": ["a"]}), fails={"x": 1})
    assert undone(run) == ["a.1/1", "a.2/1", "a.3/1"]


def test_a_step_is_tried_again_and_then_goes_on() -> None:
    run = simulate(flow({"a": BACK, "x": ["a"]}), fails={"x": 1}, undo_fails={"a.1": [1, 1]})
    assert undone(run) == ["a.1/1", "a.1/2", "a.1/3"]
    assert ended(run) == ("rolled_back", 3)


def test_a_step_that_fails_for_good_needs_a_person_and_what_it_depends_on_waits() -> None:
    data = flow({"a": BACK, "b": needing("a", **BACK), "c": BACK, "x": ["b", "c"]})
    run = simulate(data, fails={"x": 1}, undo_fails={"b.1": 1})
    assert undone(run).count("b.1/5") == 1
    assert "b.1/6" not in undone(run)
    assert run.ended == {"a": "ok", "b": "undo_failed", "c": "undone", "x": "failed:exit_code"}
    assert ended(run) == ("rollback_failed", 4)
    assert run.state.undoing is not None
    assert (run.state.undoing.failed, run.state.undoing.blocked) == (["b"], ["a"])


def test_a_person_asks_for_another_try_and_the_rest_goes_on() -> None:
    data = flow({"a": BACK, "b": needing("a", **BACK), "x": ["b"]})
    run = simulate(data, fails={"x": 1}, undo_fails={"b.1": 1})
    again = simulate(data, run=run, undo=AS_SAID, words=[ev.UndoAsked(time=0.0, node="b", by="me")])
    assert undone(again)[-2:] == ["b.1/6", "a.1/1"]
    assert ended(again) == ("rolled_back", 3)


@pytest.mark.parametrize("how", ["done", "skip"])
def test_a_person_says_that_it_is_undone_or_is_to_stay(how: str) -> None:
    data = flow({"a": BACK, "b": needing("a", **BACK), "x": ["b"]})
    run = simulate(data, fails={"x": 1}, undo_fails={"b.1": 1})
    word = ev.NodeUndone(time=0.0, node="b", how=how, by="me", reason="seen")
    again = simulate(data, run=run, undo=AS_SAID, words=[word])
    assert undone(again)[-1] == "a.1/1"
    assert ended(again) == ("rolled_back", 3)


def test_what_is_to_prove_a_step_decides_with_it() -> None:
    data = flow({"a": {"compensate": [{**STEP, "verify": {"run": "check"}}]}, "x": ["a"]})
    run = simulate(data, fails={"x": 1}, undo_fails={"a.1?": [1]})
    assert [one for one in run.attempts if " " in one] == ["undo a.1/1", "verify a.1/1", "undo a.1/2", "verify a.1/2"]
    assert ended(run) == ("rolled_back", 3)


def test_a_clean_failure_is_undone_only_where_an_attempt_is_enough() -> None:
    for when, wanted in (("completed", []), ("attempted", ["x.1/1"])):
        run = simulate(flow({"x": {**BACK, "compensate_when": when}}), fails={"x": 1})
        assert undone(run) == wanted


def test_what_may_have_been_done_is_undone() -> None:
    run = simulate(flow({"x": BACK}), fails={"x": "kill"})
    assert undone(run) == ["x.1/1"]


def test_past_the_point_of_no_return_all_that_led_there_stays() -> None:
    data = flow({"a": BACK, "p": needing("a", pivot=True, **BACK), "b": needing("p", **BACK), "x": ["b"]})
    run = simulate(data, fails={"x": 1})
    assert undone(run) == ["b.1/1"]
    assert run.state.undoing is not None
    assert run.state.undoing.course.analysis["kept_by_pivot"] == ["a", "p"]


def test_finally_comes_after_the_rollback_and_sees_it() -> None:
    data = {**CHAIN, "finally": {"f": {"run": "tell", "when": '${{ run.state == "rolled_back" }}'}}}
    run = simulate(data, fails={"c": 1})
    assert run.attempts[-1] == "f/1"
    assert ended(run) == ("rolled_back", 3)


def test_a_signal_pauses_a_rollback_and_resume_goes_on_with_it() -> None:
    run = simulate(CHAIN, fails={"c": 1}, signals=[(3.5, 2)])
    assert ended(run) == ("interrupted", 130)
    on = simulate(CHAIN, run=run)
    assert run.attempts[-2:] == ["undo b.1/2", "undo a.1/1"]
    assert ended(on) == ("rolled_back", 3)


@pytest.mark.parametrize("point", ["decided", "recorded", "submitted", "completed"])
def test_after_a_crash_at_any_point_the_rollback_goes_on_and_ends_in_the_same_state(point: str) -> None:
    data = flow({"a": BACK, "b": needing("a", compensate=[STEP, {**STEP, "verify": STEP}]), "x": ["b"]})
    whole = simulate(data, fails={"x": 1})
    turn = 1
    while True:
        at = CrashAt(point, turn)
        run = simulate(data, fails={"x": 1}, crash=at)
        if at.passed < turn:
            break
        turn += 1
        if not run.journal.kept or run.journal.kept[-1]["event"] == "run_finished":
            continue
        on = simulate(data, fails={"x": 1}, run=run)
        assert (on.ended, ended(on)) == (whole.ended, ended(whole)), turn
        done = [(e.node, e.step) for e in on.events if isinstance(e, ev.UndoStepDone)]
        assert len(done) == len(set(done)) == 3
    assert turn > 3


def test_after_a_rollback_a_resume_runs_the_undone_afresh() -> None:
    run = simulate(CHAIN, fails={"c": [1]})
    on = simulate(CHAIN, run=run)
    assert on.attempts[-3:] == ["a/2", "b/2", "c/2"]
    assert ended(on) == ("succeeded", 0)


def test_a_run_that_succeeded_is_undone_by_hand_and_its_last_words_are_not_said_again() -> None:
    data = {**CHAIN, "finally": {"f": {"run": "tell"}}}
    run = simulate(data)
    by_hand = simulate(data, run=run, undo="compensate")
    assert undone(by_hand) == ["b.1/1", "a.1/1"]
    assert by_hand.attempts.count("f/1") == 1
    assert ended(by_hand) == ("rolled_back", 3)


MARKED = {"a": BACK, "m": needing("a", checkpoint=True, **BACK), "b": needing("m", **BACK), "x": ["b"]}


def test_back_to_a_checkpoint_undoes_what_came_after_it_and_runs_that_again() -> None:
    data = flow(MARKED, rollback={"strategy": "checkpoint"})
    run = simulate(data, fails={"x": [1]})
    assert undone(run) == ["b.1/1"]
    assert run.attempts == ["a/1", "m/1", "b/1", "x/1", "undo b.1/1", "b/2", "x/2"]
    assert ended(run) == ("succeeded", 0)
    assert run.state.restarts == 1


def test_after_so_many_restarts_the_run_has_honestly_failed() -> None:
    data = flow(MARKED, rollback={"strategy": "checkpoint", "max_restarts": 2})
    run = simulate(data, fails={"x": 1})
    assert [one for one in run.attempts if one.startswith("x/")] == ["x/1", "x/2", "x/3"]
    assert ended(run) == ("failed", 1)


def test_the_whole_of_it_is_no_dearer_for_each_node_than_running() -> None:
    data = flow({f"n{i}": BACK for i in range(3000)} | {"x": [f"n{i}" for i in range(3000)]}, concurrency=50)
    run = simulate(data, fails={"x": 1})
    assert ended(run) == ("rolled_back", 3)


RACE = flow({"a": {**BACK, "for_each": [1, 2, 3], "collect": "first"}, "b": ["a"], "c": ["b"]})
TOOK: dict[str, float] = {"a[0]": 1, "a[1]": 9, "a[2]": 9}


def test_who_lost_a_race_is_undone_at_once_and_the_run_goes_on_behind_it() -> None:
    run = simulate(RACE, seconds=TOOK)
    assert sorted(undone(run)) == ["a[1].1/1", "a[2].1/1"]
    assert run.attempts.index("c/1") > max(run.attempts.index(f"undo {one}") for one in undone(run))
    assert run.ended["a[1]"] == "undone:superseded"
    assert ended(run) == ("succeeded", 0)


@pytest.mark.parametrize("point", ["decided", "recorded", "submitted", "completed"])
def test_after_a_crash_a_loser_is_undone_and_never_runs_again(point: str) -> None:
    whole, turn = simulate(RACE, seconds=TOOK), 1
    while True:
        at = CrashAt(point, turn)
        run = simulate(RACE, seconds=TOOK, crash=at)
        if at.passed < turn:
            break
        turn += 1
        kept = [one for one in run.journal.kept if one["event"] == "rollback_begun"]
        if kept and run.journal.kept[-1]["event"] != "run_finished":
            on = simulate(RACE, seconds=TOOK, run=run)
            assert (on.ended, ended(on)) == (whole.ended, ended(whole)), turn
    assert turn > 3


def test_a_failure_after_a_race_undoes_the_winner_and_no_loser_twice() -> None:
    run = simulate(RACE, seconds=TOOK, fails={"c": 1})
    assert sorted(undone(run)) == ["a[0].1/1", "a[1].1/1", "a[2].1/1"]
    assert ended(run) == ("rolled_back", 3)


def test_a_signal_while_losers_are_undone_ends_the_run_and_resume_goes_on() -> None:
    run = simulate(RACE, seconds=TOOK, signals=[(1.5, 2)])
    assert ended(run) == ("interrupted", 130)
    on = simulate(RACE, run=run, seconds=TOOK)
    assert ended(on) == ("succeeded", 0)
    assert on.ended["a[2]"] == "undone:superseded"


@pytest.mark.parametrize("at", [1.5, 2.0, 2.5])
def test_a_run_that_is_stopped_while_losers_are_undone_can_be_undone_whole(at: float) -> None:
    parts = {"p": BACK, "a": needing("p", **BACK, for_each=[1, 2, 3], collect="first"), "b": needing("a", **BACK)}
    run = simulate(flow(parts), seconds=TOOK, signals=[(at, 2)])
    assert ended(run) == ("interrupted", 130)
    on = simulate(flow(parts), run=run, seconds=TOOK, undo=AS_SAID)
    assert (ended(on), on.attempts[-1]) == (("rolled_back", 3), "undo p.1/1")
    assert {"undone"} == {on.ended[f"a[{i}]"].partition(":")[0] for i in range(3)}


def test_a_loser_that_is_not_undone_needs_a_person() -> None:
    data = flow({"a": {**BACK, "for_each": [1, 2], "collect": "first"}})
    run = simulate(data, seconds={"a[0]": 1, "a[1]": 9}, undo_fails={"a[1].1": [1] * 5})
    assert ended(run) == ("rollback_failed", 4)
    word = ev.UndoAsked(time=0.0, node="a[1]", by="me")
    assert ended(simulate(data, run=run, undo=AS_SAID, words=[word])) == ("succeeded", 0)


def test_retry_when_decides_whether_a_step_is_tried_again() -> None:
    step = {"run": "undo", "retry": {"when": "${{ exit_code != 2 }}"}}
    run = simulate(flow({"a": {"compensate": [step]}, "x": ["a"]}), fails={"x": 1}, undo_fails={"a.1": [1, 2, 0]})
    assert undone(run) == ["a.1/1", "a.1/2"]
    assert ended(run) == ("rollback_failed", 4)


def test_by_hand_one_may_go_back_once_more_than_the_workflow_does() -> None:
    data = flow(MARKED, rollback={"strategy": "checkpoint", "max_restarts": 1})
    run = simulate(data, fails={"x": [1, 1, 0]})
    assert ended(run) == ("failed", 1)
    assert ended(simulate(data, run=run, undo=AS_SAID, fails={"x": [1, 1, 0]})) == ("succeeded", 0)


def test_a_path_through_a_node_that_was_skipped_holds_nothing_up() -> None:
    other = needing("u", when="${{ false }}")
    data = flow({"u": BACK, "w": BACK, "s": other, "v": needing("s", "w", trigger="any_succeeded", **BACK), "x": ["v"]})
    run = simulate(data, fails={"x": 1}, undo_fails={"v.1": 1})
    assert run.ended["s"].startswith("skipped")
    assert (run.ended["u"], run.ended["w"], run.ended["v"]) == ("undone", "ok", "undo_failed")
    assert run.state.undoing is not None
    assert run.state.undoing.blocked == ["w"]


def test_what_was_interrupted_is_not_forgotten_where_the_run_ends_before_it_began_again() -> None:
    data = flow({"a": BACK, "b": BACK}, concurrency=1)
    run = simulate(data, seconds={"a": 5, "b": 5}, signals=[(2, 2)])
    assert run.ended["a"].startswith("interrupted")
    on = simulate(data, run=run, signals=[(0, 2)])
    assert on.attempts == ["a/1"]
    assert undone(simulate(data, run=on, undo=AS_SAID)) == ["a.1/1"]


def test_partial_takes_an_answer_for_an_end_and_none_that_comes_last_in_a_sub_workflow() -> None:
    ask = {"ask": {"message": "fine?", "choices": ["yes", "no"]}}
    data = flow({"a": BACK, "ok": needing("a", **ask), "b": BACK, "x": ["b"]}, rollback={"strategy": "partial"})
    given = [Answer(node="ok", choice="yes", by="me")]
    run = simulate(data, fails={"x": 1}, seconds={"x": 9}, answers=lambda state: given if state.asking else [])
    assert run.ended["ok"] == "ok"
    assert undone(run) == ["b.1/1"]
    inner = {**flow({"i": BACK, "j": ["i"]}), "finally": {"f": {"run": "tell"}}}
    outer = flow({"g": {"workflow": "sub.yaml"}}, rollback={"strategy": "partial"})
    run = simulate(outer, fails={"g.j": 1}, files={"sub.yaml": inner})
    assert run.ended["g.f"] == "ok"
    assert undone(run) == ["g.i.1/1"]


LAST = {**CHAIN, "finally": {"f": {"run": "tell"}, "g": {"run": "tell", "needs": ["f"]}}}


def test_finally_comes_once_though_a_person_completes_the_rollback_later() -> None:
    run = simulate(LAST, fails={"c": 1}, undo_fails={"b.1": 1})
    assert (ended(run), run.attempts[-2:]) == (("rollback_failed", 4), ["f/1", "g/1"])
    on = simulate(LAST, run=run, undo=AS_SAID, words=[ev.UndoAsked(time=0.0, node="b", by="me")])
    assert (ended(on), on.attempts[-2:]) == (("rolled_back", 3), ["undo b.1/6", "undo a.1/1"])


def test_what_of_finally_has_not_ended_comes_behind_the_rollback_of_a_person() -> None:
    run = simulate(LAST, seconds={"f": 5}, signals=[(4, 2), (4.5, 2)])
    assert (run.attempts[-1], ended(run)) == ("f/1", ("interrupted", 130))
    on = simulate(LAST, run=run, undo=AS_SAID)
    assert on.attempts[-4:] == ["undo b.1/1", "undo a.1/1", "f/2", "g/1"]


def test_however_often_a_person_speaks_finally_has_come_once() -> None:
    run = simulate(LAST, fails={"c": 1}, undo_fails={"b.1": 1})
    on = simulate(LAST, run=run, undo=AS_SAID, undo_fails={"b.1": 1})
    assert (ended(on), on.ended["f"]) == (("rollback_failed", 4), "ok")
    on = simulate(LAST, run=on, undo=AS_SAID, words=[ev.UndoAsked(time=0.0, node="b", by="me")])
    assert (ended(on), on.attempts[-2:]) == (("rolled_back", 3), ["undo b.1/6", "undo a.1/1"])
    on = simulate(LAST, run=on, undo=AS_SAID)
    assert (on.ended["f"], on.ended["g"]) == ("ok", "ok")


def test_so_does_what_of_finally_waited_for_another() -> None:
    run = simulate(LAST, seconds={"g": 5}, signals=[(5, 2), (5.5, 2)])
    assert (run.attempts[-1], ended(run)) == ("g/1", ("interrupted", 130))
    on = simulate(LAST, run=run, undo=AS_SAID)
    assert on.attempts[-3:] == ["undo b.1/1", "undo a.1/1", "g/2"]
    assert ended(on) == ("rolled_back", 3)
