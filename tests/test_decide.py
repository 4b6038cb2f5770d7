"""What a run does next, and what an ended attempt means: SEMANTICS 2, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.simulate import Simulated, flow, simulate
from wfctl import events as ev
from wfctl.decide import Leavings, delay
from wfctl.jobs import Paused
from wfctl.noderun import NodeState

ALWAYS = {"retry": {"attempts": 3, "delay": "1s", "jitter": False}}
"""Three tries, after 1 s and 2 s."""


def one(raw: dict[str, Any], **told: Any) -> Simulated:
    """A run of one node, `a`."""
    return simulate(flow({"a": raw}), **told)


def failures(run: Simulated) -> list[ev.AttemptEnded]:
    return [event for event in run.events if isinstance(event, (ev.NodeFailed, ev.NodeRetrying))]


# -- triggers


ENDINGS: dict[str, dict[str, Any]] = {
    "ok": {},
    "fail": {"run": "exit 1"},
    "late": {"run": "exit 1", "timeout": "1ms"},
    "tolerated": {"run": "exit 1", "continue_on_error": True},
    "skip": {"when": "${{ params.no }}"},
}


def ends(trigger: str, *needs: str) -> str:
    """What becomes of a node with that trigger whose needs end so."""
    nodes = {f"{how}{i}": ENDINGS[how] for i, how in enumerate(needs)}
    fails: dict[str, Any] = {name: 1 for name in nodes if name.startswith(("fail", "tolerated"))}
    nodes["n"] = {"needs": list(nodes), "trigger": trigger}
    run = simulate(flow(nodes, on_failure="continue", params={"no": {"default": False}}), fails=fails)
    return "runs" if run.ended["n"] == "ok" else run.ended["n"]


@pytest.mark.parametrize(
    ("trigger", "runs"),
    [
        # ok      fail     late     tolerated skip    ok+fail  ok+skip  fail+skip
        ("all_succeeded", "yes no no yes no no no no"),
        ("all_done", "yes yes yes yes yes yes yes yes"),
        ("any_succeeded", "yes no no yes no yes yes no"),
        ("any_failed", "no yes yes no no yes no yes"),
        ("none_failed", "yes no no yes yes no yes no"),
    ],
)
def test_a_trigger_decides_by_how_the_needs_ended(trigger: str, runs: str) -> None:
    cases = [("ok",), ("fail",), ("late",), ("tolerated",), ("skip",), ("ok", "fail"), ("ok", "skip"), ("fail", "skip")]
    said = [ends(trigger, *needs) for needs in cases]
    assert said == ["runs" if word == "yes" else "skipped:needs" for word in runs.split()]


@pytest.mark.parametrize(
    ("trigger", "end"),
    [
        ("all_succeeded", "cancelled:run_failing"),
        ("any_succeeded", "cancelled:run_failing"),
        ("none_failed", "cancelled:run_failing"),
        ("any_failed", "ok"),
        ("all_done", "ok"),
    ],
)
def test_cancelled_counts_as_failed(trigger: str, end: str) -> None:
    nodes = {"bad": [], "never": ["slow"], "slow": [], "n": {"needs": ["never"], "trigger": trigger}}
    run = simulate(flow(nodes), fails={"bad": 1}, seconds={"slow": 9})
    assert run.ended["never"] == "cancelled:run_failing"
    assert run.ended["n"] == end


@pytest.mark.parametrize("trigger", ["all_succeeded", "all_done", "none_failed"])
def test_a_node_without_needs_starts_at_once(trigger: str) -> None:
    assert one({"trigger": trigger}).timeline == "a[0-1]"


def test_any_succeeded_does_not_wait_for_the_rest() -> None:
    nodes = {"quick": [], "slow": [], "n": {"needs": ["quick", "slow"], "trigger": "any_succeeded"}}
    assert simulate(flow(nodes), seconds={"slow": 9}).timeline == "quick[0-1] slow[0-9] n[1-2]"


def test_any_failed_does_not_wait_for_the_rest() -> None:
    nodes = {"bad": [], "slow": [], "n": {"needs": ["bad", "slow"], "trigger": "any_failed"}}
    run = simulate(flow(nodes), seconds={"slow": 9}, fails={"bad": 1})
    assert run.timeline == "bad[0-1] slow[0-9] n[1-2]"


def test_all_succeeded_is_skipped_as_soon_as_one_did_not() -> None:
    nodes = {"bad": [], "slow": [], "n": ["bad", "slow"]}
    run = simulate(flow(nodes, on_failure="continue"), seconds={"slow": 9}, fails={"bad": 1})
    assert next(event.time for event in run.events if isinstance(event, ev.NodeSkipped)) == 1


# -- when


def test_a_false_when_skips_and_a_true_one_runs() -> None:
    data = flow(
        {"a": {"when": "${{ params.n > 2 }}"}, "b": {"when": "${{ params.n > 3 }}"}}, params={"n": {"default": 3}}
    )
    run = simulate(data)
    assert run.ended == {"a": "ok", "b": "skipped:when"}
    assert run.state.exit_code == 0


def test_a_plain_false_skips() -> None:
    assert one({"when": False}).ended == {"a": "skipped:when"}


def test_when_sees_the_outputs_and_states_of_others() -> None:
    nodes = {"a": [], "b": {"when": "${{ nodes.a.output.rows > 0 and nodes.a.state == 'succeeded' }}"}}
    assert simulate(flow(nodes), outputs={"a": {"rows": 1}}).ended["b"] == "ok"
    assert simulate(flow(nodes), outputs={"a": {"rows": 0}}).ended["b"] == "skipped:when"


def test_what_needs_a_skipped_node_is_skipped_and_so_on() -> None:
    run = simulate(flow({"a": {"when": False}, "b": ["a"], "c": ["b"], "d": {"needs": ["c"], "trigger": "all_done"}}))
    assert run.ended == {"a": "skipped:when", "b": "skipped:needs", "c": "skipped:needs", "d": "ok"}


@pytest.mark.parametrize(
    ("when", "error"),
    [("${{ nodes.a.output.rows }}", "no"), ("${{ params.n }}", "when: must be true or false, got 3")],
)
def test_a_when_without_a_boolean_value_fails_the_node(when: str, error: str) -> None:
    run = simulate(flow({"a": [], "b": {"needs": ["a"], "when": when}}, params={"n": {"default": 3}}))
    assert run.ended["b"] == "failed:expression"
    assert error in run.state.nodes["b"].error
    assert run.state.exit_code == 1


def test_a_value_that_cannot_be_made_fails_the_node_without_an_attempt() -> None:
    nodes = {"a": [], "b": {**ALWAYS, "env": {"X": "${{ nodes.a.output.rows }}"}}}
    run = simulate(flow(nodes))
    assert run.ended["b"] == "failed:expression"
    assert run.attempts == ["a/1"]


# -- continue_on_error


def test_a_tolerated_failure_counts_as_success_with_null_for_those_who_need_it() -> None:
    nodes = {
        "a": {"continue_on_error": True},
        "b": {"when": "${{ nodes.a.output == null and nodes.a.state == 'failed' }}"},
    }
    run = simulate(flow(nodes), fails={"a": 1}, outputs={"a": 7})
    assert run.ended == {"a": "failed:exit_code", "b": "ok"}
    assert (run.state.exit_code, run.events[-1].failed) == (0, ())  # type: ignore[attr-defined]


def test_the_output_of_a_failed_and_of_a_skipped_node_is_null() -> None:
    check = {"trigger": "all_done", "when": "${{ nodes.a.output == null and nodes.b.output == null }}"}
    run = simulate(flow({"a": [], "b": {"when": False}, "c": check}), fails={"a": 1}, outputs={"a": 7})
    assert run.ended["c"] == "ok"


# -- on_failure

MIXED: dict[str, Any] = {
    "bad": [],
    "runs": [],
    "after_bad": ["bad"],
    "after_runs": ["runs"],
    "later": ["after_runs"],
    "cleanup": {"needs": ["bad", "after_runs"], "trigger": "all_done"},
    "alarm": {"needs": ["bad"], "trigger": "any_failed"},
}


def mixed(mode: str) -> Simulated:
    return simulate(flow(MIXED, on_failure=mode, concurrency=8), fails={"bad": 1}, seconds={"runs": 5})


def test_stop_lets_what_runs_finish_and_starts_nothing_new() -> None:
    run = mixed("stop")
    assert run.timeline == "bad[0-1] runs[0-5] cleanup[1-2] alarm[1-2]"
    assert run.ended["after_bad"] == "skipped:needs"
    assert run.ended["after_runs"] == run.ended["later"] == "cancelled:run_failing"
    assert run.state.exit_code == 1


def test_cancel_stops_what_runs() -> None:
    run = mixed("cancel")
    assert run.timeline == "bad[0-1] runs[0-1] cleanup[1-2] alarm[1-2]"
    assert run.ended["runs"] == "cancelled:run_failing"
    assert run.state.nodes["runs"].unknown


def test_continue_runs_all_that_does_not_need_the_failed() -> None:
    run = mixed("continue")
    assert run.timeline == "bad[0-1] runs[0-5] alarm[1-2] after_runs[5-6] later[6-7] cleanup[6-7]"
    assert run.ended["after_bad"] == "skipped:needs"
    assert run.state.exit_code == 1


def test_stop_is_the_default() -> None:
    assert simulate(flow({"a": [], "b": []}, concurrency=1), fails={"a": 1}).ended["b"] == "cancelled:run_failing"


@pytest.mark.parametrize("names", [["first", "second"], ["second", "first"]])
def test_what_is_cancelled_does_not_lean_on_the_order_in_the_file(names: list[str]) -> None:
    needs = {"first": ["slow"], "second": ["first"]}
    nodes = {"bad": [], "slow": [], **{name: needs[name] for name in names}}
    run = simulate(flow(nodes), fails={"bad": 1}, seconds={"slow": 2})
    assert run.ended["first"] == run.ended["second"] == "cancelled:run_failing"


@pytest.mark.parametrize(("mode", "end"), [("stop", 3), ("cancel", 3), ("continue", 6)])
def test_a_pending_retry_is_dropped_when_the_run_is_failing(mode: str, end: float) -> None:
    retried = {"retry": {"attempts": 2, "delay": "4s", "jitter": False}}
    nodes = {"bad": [], "again": retried}
    run = simulate(flow(nodes, on_failure=mode), fails={"bad": 1, "again": [1, 0]}, seconds={"bad": 3})
    assert run.state.finished == end
    assert run.ended["again"] == ("ok" if mode == "continue" else "failed:exit_code")


def test_a_dropped_retry_keeps_what_its_last_attempt_was() -> None:
    nodes = {"bad": [], "again": {**ALWAYS, "retry": {"attempts": 2, "delay": "9s"}}}
    run = simulate(flow(nodes), fails={"bad": 1, "again": "timeout"}, seconds={"bad": 3})
    assert run.ended["again"] == "timed_out:timed_out"
    assert run.state.nodes["again"].unknown
    assert run.state.failed_nodes.keys() == {"bad", "again"}


def test_a_due_retry_that_waits_for_a_slot_is_dropped_too() -> None:
    run = simulate(flow({"again": ALWAYS, "bad": []}, concurrency=1), fails={"again": 1, "bad": 1}, seconds={"bad": 5})
    assert run.timeline == "again[0-1] bad[1-6]"
    assert run.ended["again"] == "failed:exit_code"


def test_what_fails_while_the_run_is_failing_is_not_tried_again() -> None:
    run = simulate(flow({"bad": [], "slow": ALWAYS}), fails={"bad": 1, "slow": 1}, seconds={"slow": 5})
    assert run.timeline == "bad[0-1] slow[0-5]"


def test_a_node_that_waits_for_a_failure_keeps_its_retries() -> None:
    nodes = {"bad": [], "alarm": {**ALWAYS, "needs": ["bad"], "trigger": "any_failed"}}
    run = simulate(flow(nodes), fails={"bad": 1, "alarm": [1, 1, 0]})
    assert run.ended["alarm"] == "ok"


# -- expect


@pytest.mark.parametrize(
    ("expect", "code", "end"),
    [
        ("${{ exit_code in [0, 3] }}", 3, "ok"),
        ("${{ exit_code == 0 }}", 3, "failed:expect"),
        ("${{ exit_code == 3 }}", 0, "failed:expect"),
        ("${{ output.rows > 0 }}", 1, "ok"),
        ("${{ exit_code == 137 }}", "kill", "ok"),
        ("${{ attempt == 1 and error == '' }}", 0, "ok"),
        ("${{ output.columns > 0 }}", 0, "failed:expect"),
        ("${{ output.rows }}", 0, "failed:expect"),
    ],
)
def test_expect_decides_in_place_of_the_exit_code(expect: str, code: int | str, end: str) -> None:
    run = one({"expect": expect}, fails={"a": code}, outputs={"a": {"rows": 2}})
    assert run.ended == {"a": end}


def test_an_expect_that_was_not_met_says_which() -> None:
    run = one({"expect": "${{ exit_code == 0 }}"}, fails={"a": 3})
    assert run.state.nodes["a"].error == "expect was not met: ${{ exit_code == 0 }}"


@pytest.mark.parametrize("way", ["timeout", "missing", "lost"])
def test_expect_is_not_asked_where_nothing_ended_by_itself(way: str) -> None:
    assert one({"expect": "${{ true }}"}, fails={"a": way}).state.exit_code == 1


# -- what an end means


@pytest.mark.parametrize(
    ("way", "end", "unknown"),
    [
        (1, "failed:exit_code", False),
        ("kill", "failed:killed", True),
        ("timeout", "timed_out:timed_out", True),
        ("lost", "failed:lost", True),
        ("missing", "failed:not_started", False),
        ("log_limit", "failed:log_limit", True),
    ],
)
def test_an_attempt_that_did_not_end_by_itself_has_an_unknown_outcome(way: int | str, end: str, unknown: bool) -> None:
    run = one({}, fails={"a": way})
    assert run.ended == {"a": end}
    assert run.state.nodes["a"].unknown is unknown
    assert run.state.exit_code == 1


def test_an_unknown_outcome_is_not_forgotten_by_a_later_attempt() -> None:
    run = one(ALWAYS, fails={"a": ["kill", 0]})
    assert run.ended == {"a": "ok"}
    assert run.state.nodes["a"].unknown


def test_killed_and_not_expected_is_unknown_too() -> None:
    assert one({"expect": "${{ exit_code == 0 }}"}, fails={"a": "kill"}).state.nodes["a"].unknown


def test_exit_0_without_a_valid_output_is_a_failure_of_unknown_outcome() -> None:
    run = one({}, left={"a": Leavings(error="standard output is no JSON")})
    assert run.ended == {"a": "failed:output"}
    assert run.state.nodes["a"].error == "standard output is no JSON"
    assert run.state.nodes["a"].unknown


def test_what_was_not_written_is_a_failure() -> None:
    run = one({"writes": ["x"]}, left={"a": Leavings(missing=("x",))})
    assert run.ended == {"a": "failed:writes"}
    assert run.state.nodes["a"].error == "did not write x"


def test_a_signal_shows_as_128_and_its_number() -> None:
    (event,) = failures(one({}, fails={"a": "kill"}))
    assert (event.exit_code, event.signal, event.error) == (137, 9, "ended by signal 9")


# -- retry


def test_a_failed_attempt_is_tried_again_with_growing_delay() -> None:
    run = one({"retry": {"attempts": 4, "delay": "1s", "jitter": False}}, fails={"a": [1, 1, 1]})
    assert run.timeline == "a[0-1] a[2-3] a[5-6] a[10-11]"
    assert run.attempts == ["a/1", "a/2", "a/3", "a/4"]


def test_the_last_failure_is_the_nodes_end() -> None:
    run = one(ALWAYS, fails={"a": 1})
    assert (run.attempts, run.ended) == (["a/1", "a/2", "a/3"], {"a": "failed:exit_code"})


def test_backoff_and_max_delay_shape_the_delays() -> None:
    retry = {"attempts": 5, "delay": "2s", "backoff": 3, "max_delay": "7s", "jitter": False}
    run = one({"retry": retry}, fails={"a": 1})
    assert run.timeline == "a[0-1] a[3-4] a[10-11] a[18-19] a[26-27]"


def test_no_retry_is_begun_that_would_end_the_time() -> None:
    retry = {"attempts": 9, "delay": "1s", "max_time": "6s", "jitter": False}
    assert one({"retry": retry}, fails={"a": 1}).timeline == "a[0-1] a[2-3] a[5-6]"


@pytest.mark.parametrize(
    ("when", "attempts"),
    [
        ("${{ exit_code == 75 }}", 1),
        ("${{ exit_code == 1 }}", 3),
        ("${{ attempt < 2 }}", 2),
        ("${{ 'exit code 1' in error }}", 3),
        (False, 1),
    ],
)
def test_retry_when_decides(when: str | bool, attempts: int) -> None:
    run = one({"retry": {**ALWAYS["retry"], "when": when}}, fails={"a": 1})
    assert len(run.attempts) == attempts


def test_a_retry_when_that_cannot_be_answered_is_no_and_says_why() -> None:
    run = one({"retry": {"attempts": 3, "when": "${{ output.rows > 0 }}"}}, fails={"a": 1})
    assert run.attempts == ["a/1"]
    assert run.state.nodes["a"].error.startswith("exit code 1; retry.when: ")


def test_what_could_not_start_is_not_tried_again() -> None:
    assert one(ALWAYS, fails={"a": "missing"}).attempts == ["a/1"]


@pytest.mark.parametrize("way", [1, "kill", "timeout"])
def test_every_other_failure_is(way: int | str) -> None:
    assert one(ALWAYS, fails={"a": [way]}).attempts == ["a/1", "a/2"]


def test_a_due_retry_holds_no_slot_and_no_resource() -> None:
    nodes = {"a": {**ALWAYS, "resources": {"gpu": 1}}, "b": {"resources": {"gpu": 1}}}
    run = simulate(flow(nodes, concurrency=1, resources={"gpu": 1}), fails={"a": [1, 0]})
    assert run.timeline == "a[0-1] b[1-2] a[2-3]"


def test_jitter_takes_up_to_half_and_is_the_same_in_every_replay() -> None:
    delays = {delay("r", f"n{i}", 1, 8.0, 2.0, 300.0, True) for i in range(500)}
    assert len(delays) > 400
    assert 4.0 <= min(delays) < 4.2 < 7.8 < max(delays) <= 8.0
    assert delay("r", "n1", 1, 8.0, 2.0, 300.0, True) == delay("r", "n1", 1, 8.0, 2.0, 300.0, True)
    assert delay("r", "n1", 1, 8.0, 2.0, 300.0, True) != delay("other", "n1", 1, 8.0, 2.0, 300.0, True)


@pytest.mark.parametrize("backoff", [2.0, 1e300])
def test_a_delay_never_passes_max_delay(backoff: float) -> None:
    assert delay("r", "n", 10_000, 1.0, backoff, 300.0, False) == 300.0


# -- timeouts


def test_a_timeout_ends_an_attempt_and_retries_count_anew() -> None:
    run = one({**ALWAYS, "timeout": "2s"}, seconds={"a": 9})
    assert run.timeline == "a[0-2] a[3-5] a[7-9]"
    assert run.ended == {"a": "timed_out:timed_out"}


def test_the_timeout_of_the_run_stops_what_runs_and_fails_it() -> None:
    nodes = {"a": [], "slow": [], "b": ["slow"], "alarm": {"needs": ["slow"], "trigger": "any_failed"}}
    run = simulate(flow(nodes, timeout="3s"), seconds={"slow": 9})
    assert run.timeline == "a[0-1] slow[0-3] alarm[3-4]"
    assert run.ended["slow"] == run.ended["b"] == "cancelled:run_timeout"
    assert run.state.exit_code == 1
    assert run.state.error == "the run's own timeout has passed"


def test_a_pause_counts_for_no_timeout_of_the_run_nor_for_the_time_of_its_retries() -> None:
    data = flow({"a": {"retry": {"attempts": 2, "delay": "1s", "jitter": False, "max_time": "6s"}}}, timeout="9s")
    assert simulate(data, fails={"a": [1]}, seconds={"a": 5.5}).ended == {"a": "failed:exit_code"}
    run = simulate(data, fails={"a": [1]}, seconds={"a": 5.5}, signals=[(2, Paused(4.0))])
    assert run.ended == {"a": "ok"}
    assert run.timeline == "a[0-5.5] a[6.5-12]"


def test_a_timeout_between_two_microseconds_comes_too() -> None:
    assert simulate(flow({"a": []}, timeout=0.1234564)).ended == {"a": "cancelled:run_timeout"}


def test_the_timeout_of_the_run_ends_retries_in_every_mode() -> None:
    for mode in ("stop", "cancel", "continue"):
        run = simulate(flow({"a": ALWAYS}, timeout="3s", on_failure=mode), fails={"a": 1}, seconds={"a": 2.5})
        assert run.timeline == "a[0-2.5]", mode
        assert run.ended == {"a": "failed:exit_code"}


def test_the_timeout_of_the_run_ends_what_waits_for_a_failure_too() -> None:
    nodes = {"bad": [], "alarm": {"needs": ["bad"], "trigger": "any_failed"}}
    run = simulate(flow(nodes, timeout="3s", on_failure="cancel"), fails={"bad": 1}, seconds={"alarm": 99})
    assert run.timeline == "bad[0-1] alarm[1-3]"
    assert run.ended["alarm"] == "cancelled:run_timeout"


def test_a_run_that_timed_out_is_failed_for_finally() -> None:
    check = {"when": "${{ run.failed and run.state == 'failed' and run.failed_nodes == [] }}"}
    run = simulate(flow({"a": []}, timeout="1s", **{"finally": {"tell": check}}), seconds={"a": 9})
    assert run.ended["tell"] == "ok"


# -- finally


def test_finally_runs_once_after_all_else() -> None:
    run = simulate(flow({"a": [], "b": ["a"]}, **{"finally": {"x": [], "y": ["x"]}}))
    assert run.timeline == "a[0-1] b[1-2] x[2-3] y[3-4]"
    assert run.state.exit_code == 0


@pytest.mark.parametrize("mode", ["stop", "cancel", "continue"])
def test_finally_sees_how_the_run_ended(mode: str) -> None:
    told = {"when": "${{ run.failed and run.state == 'failed' and run.failed_nodes == ['a'] }}"}
    fine = {"when": "${{ not run.failed and run.state == 'succeeded' and nodes.a.output == 7 }}"}
    data = flow({"a": []}, on_failure=mode, **{"finally": {"told": told, "fine": fine}})
    failed = simulate(data, fails={"a": 1})
    assert (failed.ended["told"], failed.ended["fine"], failed.state.exit_code) == ("ok", "skipped:when", 1)
    good = simulate(data, outputs={"a": 7})
    assert (good.ended["told"], good.ended["fine"], good.state.exit_code) == ("skipped:when", "ok", 0)


def test_a_failure_in_finally_turns_0_into_1() -> None:
    run = simulate(flow({"a": []}, outputs={"x": 1}, **{"finally": {"f": [], "g": []}}), fails={"f": 1})
    assert (run.state.exit_code, run.state.status) == (1, "failed")
    assert run.ended["g"] == "ok"


def test_what_failed_in_finally_is_named_where_nothing_else_did() -> None:
    data = flow({"a": []}, **{"finally": {"f": [], "g": {"continue_on_error": True}}})
    ends = [simulate(data, fails=fails).events[-1] for fails in ({"f": 1, "g": 1}, {"a": 1, "f": 1}, {"g": 1})]
    assert [end.failed for end in ends if isinstance(end, ev.RunFinished)] == [("f",), ("a",), ()]


def test_a_tolerated_failure_in_finally_changes_nothing() -> None:
    run = simulate(flow({"a": []}, **{"finally": {"f": {"continue_on_error": True}}}), fails={"f": 1})
    assert run.state.exit_code == 0


def test_finally_has_triggers_and_retries_of_its_own() -> None:
    last = {"f": ALWAYS, "g": ["f"], "h": {"needs": ["f"], "trigger": "any_failed"}}
    run = simulate(flow({"a": []}, **{"finally": last}), fails={"a": 1, "f": 1})
    assert run.timeline == "a[0-1] f[1-2] f[3-4] f[6-7] h[7-8]"
    assert run.ended["g"] == "skipped:needs"


def test_a_workflow_may_have_nothing_but_skipped_nodes() -> None:
    run = simulate(flow({"a": {"when": False}}, **{"finally": {"f": []}}))
    assert run.ended == {"a": "skipped:when", "f": "ok"}
    assert run.state.exit_code == 0


# -- outputs


def test_outputs_are_made_at_the_end_of_a_success() -> None:
    data = flow(
        {"a": [], "b": {"when": False}}, outputs={"rows": "${{ nodes.a.output.rows }}", "none": "${{ nodes.b.output }}"}
    )
    end = simulate(data, outputs={"a": {"rows": 3}}).events[-1]
    assert isinstance(end, ev.RunFinished)
    assert end.outputs == {"rows": 3, "none": None}


def test_outputs_that_cannot_be_made_fail_the_run() -> None:
    run = simulate(flow({"a": []}, outputs={"rows": "${{ nodes.a.output.rows }}"}))
    assert (run.state.exit_code, run.state.status) == (1, "failed")
    assert run.state.error.startswith("outputs: ")


def test_a_failed_run_has_no_outputs() -> None:
    end = simulate(flow({"a": []}, outputs={"x": 1}), fails={"a": 1}).events[-1]
    assert isinstance(end, ev.RunFinished)
    assert (end.outputs, end.failed, end.exit_code) == ({}, ("a",), 1)


def test_every_final_state_is_reached_in_these_tests() -> None:
    assert {str(s) for s in NodeState} >= {"succeeded", "cached", "failed", "timed_out", "skipped", "cancelled"}
