"""A run as lines: what ended, why, and the last words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.helpers.replay import show, turns
from tests.helpers.simulate import CrashAt, Simulated, flow, simulate
from wfctl.jobs import LowDisk
from wfctl.renderers.ending import ending
from wfctl.renderers.plain import TAILS, Plain
from wfctl.state import RunState


def lines(run: Simulated, log: list[str] | None = None, **keys: Any) -> list[str]:
    out: list[str] = []
    show(run, Plain(out.append, lambda node, attempt: log or [], **keys))
    return "".join(out).splitlines()


def resumed(data: dict[str, Any], run: Simulated, again: Sequence[str] = (), **how: Any) -> list[str]:
    """What is seen of a run from where it goes on."""
    out: list[str] = []
    view = Plain(out.append, lambda node, attempt: [])
    before = len(run.events)
    view.begin(run.state)
    for place, (event, state) in enumerate(turns(simulate(data, run=run, again=again, **how))):
        if place >= before:
            view.events([event], state)
    return "".join(out).splitlines()


def last_words(run: Simulated, **keys: Any) -> list[str]:
    return ending(run.state, **keys).splitlines()


def test_a_run_begins_with_its_id_and_how_much_there_is_to_do() -> None:
    out: list[str] = []
    run = simulate(flow({"a": [], "b": ["a"]}))
    state = RunState(run.plan)
    state.id = "20260131-100000-abc"
    view = Plain(out.append, lambda node, attempt: [])
    view.begin(state)
    show(run, view, "run_started")
    assert out == ["run 20260131-100000-abc: flow, 2 nodes\n"]


FINAL_WORDS = flow({"a": [], "b": ["a"]}, **{"finally": {"f": "true"}})


def test_a_resumed_run_counts_on_from_what_was_done_before() -> None:
    shown = resumed(FINAL_WORDS, simulate(FINAL_WORDS, fails={"b": 1}))
    assert shown[:3] == ["run r: flow, 3 nodes, 1 done before", "[2/3] ✓ b  1.0s", "[3/3] ✓ f  1.0s"]


def test_what_is_to_be_done_again_was_not_done_before() -> None:
    shown = resumed(FINAL_WORDS, simulate(FINAL_WORDS), again=["b"])
    assert shown[:2] == ["run r: flow, 3 nodes, 1 done before", "[2/3] ✓ b  1.0s"]


def test_a_finally_that_ran_when_the_run_was_stopped_is_to_be_done_again() -> None:
    stopped = simulate(FINAL_WORDS, signals=[(1.5, 15)])
    assert stopped.ended["f"] == "ok"
    assert resumed(FINAL_WORDS, stopped)[0] == "run r: flow, 3 nodes, 1 done before"


def test_a_question_that_is_still_open_is_shown_again_when_the_run_goes_on() -> None:
    data = flow({"q": {"ask": {"message": "go on?"}}, "a": ["q"]})
    assert resumed(data, simulate(data, no_wait=True), no_wait=True) == [
        "run r: flow, 2 nodes",
        "? q  go on?",
        "    answer:  wfctl answer r q approve|reject",
    ]


def test_each_node_that_ends_has_a_line_with_its_place_in_the_count() -> None:
    assert lines(simulate(flow({"a": [], "b": ["a"]}), seconds={"b": 65})) == ["[1/2] ✓ a  1.0s", "[2/2] ✓ b  1m 05s"]


def test_nodes_that_end_in_one_turn_are_counted_one_by_one() -> None:
    run = simulate(flow({"a": [], "b": []}))
    state = RunState(run.plan)
    out: list[str] = []
    for event in run.events:
        state.apply(event)
    Plain(out.append, lambda node, attempt: []).events(run.events, state)
    assert "".join(out).splitlines() == ["[1/2] ✓ a  1.0s", "[2/2] ✓ b  1.0s"]


def test_a_failure_stands_with_the_end_of_its_log_and_says_what_is_left_out() -> None:
    run = simulate(flow({"a": [], "b": ["a"]}), fails={"a": 3})
    assert lines(run, ["[/bin/sh] \x1b[2J", "no such table"]) == [
        "[1/2] ✗ a  failed after 1.0s: exit code 3",
        "    │ [/bin/sh] \\x1b[2J",
        "    │ no such table",
        "[2/2] - b  skipped, something it needs did not succeed",
    ]


def test_a_retry_says_when_the_next_attempt_is_due() -> None:
    data = flow({"a": {"retry": {"attempts": 2, "delay": 2.0, "jitter": False}}})
    assert lines(simulate(data, fails={"a": [1, 0]})) == [
        "[0/1] ↻ a  failed after 1.0s: exit code 1; again in 2.0s",
        "[1/1] ✓ a  1.0s",
    ]


def test_a_node_that_ran_out_of_time_says_so() -> None:
    assert lines(simulate(flow({"a": []}), fails={"a": "timeout"})) == ["[1/1] ◷ a  timed out after 1s"]


def test_many_nodes_left_out_in_one_turn_share_a_line() -> None:
    run = simulate(flow({"a": [], **{f"n{i}": ["a"] for i in range(2000)}}), fails={"a": 1})
    state = RunState(run.plan)
    out: list[str] = []
    for event in run.events:
        state.apply(event)
    Plain(out.append, lambda node, attempt: []).events(run.events, state)
    assert "".join(out).splitlines()[-1] == (
        "[2001/2001] - 2000 nodes  skipped, something it needs did not succeed: n0, n1, n2 and 1997 more"
    )


def test_only_the_first_of_many_failures_show_their_logs() -> None:
    run = simulate(
        flow({f"n{i}": [] for i in range(TAILS + 5)}, on_failure="continue"),
        fails=dict.fromkeys([f"n{i}" for i in range(TAILS + 5)], 1),
    )
    shown = lines(run, ["disk full"])
    assert sum("exit code 1" in line for line in shown) == TAILS + 5
    assert shown.count("    │ disk full") == TAILS


def test_without_unicode_and_colour_every_line_is_plain_ascii() -> None:
    shown = "\n".join(lines(simulate(flow({"a": [], "b": ["a"]}), fails={"b": 1}), ["naïve"], unicode=False))
    assert shown.isascii()
    assert shown == "[1/2] + a  1.0s\n[2/2] x b  failed after 1.0s: exit code 1\n    | na\\xefve"


def test_a_stop_says_how_to_make_it_harder() -> None:
    shown = lines(simulate(flow({"a": []}), signals=[(0.5, 2)]))
    assert shown[0] == "stopping what runs; Ctrl-C once more kills it"
    assert shown[1].startswith("[0/1] ‖ a  stopped after ")


def test_who_stops_a_run_from_elsewhere_is_told_of_no_keys() -> None:
    assert lines(simulate(flow({"a": []}), signals=[(0.5, 15)]))[0] == "stopping what runs"


# -- the last words


def test_success_is_one_line() -> None:
    assert last_words(simulate(flow({"a": [], "b": {"when": False, "needs": ["a"]}}))) == [
        "✓ succeeded in 1.0s: 2 nodes, 1 skipped"
    ]


def test_a_failure_that_was_tolerated_is_named() -> None:
    run = simulate(flow({"a": {"continue_on_error": True}, "b": ["a"]}), fails={"a": 1})
    assert last_words(run) == ["✓ succeeded in 2.0s: 2 nodes", "  tolerated:   a"]


def test_what_a_for_each_does_without_was_tolerated_too() -> None:
    data = flow({"each": {"for_each": ["x", "y"], "collect": {"tolerate": 1}, "run": "true"}})
    words = last_words(simulate(data, fails={"each[1]": 1}))
    assert words == ["✓ succeeded in 1.0s: 3 nodes", "  tolerated:   each[1]"]


def test_what_failed_of_finally_is_told_beside_what_failed_before() -> None:
    data = flow({"a": []}, **{"finally": {"note": {"run": "true"}}})
    words = last_words(simulate(data, fails={"a": 1, "note": 2}))
    assert words[1:3] == ["  ✗ a  exit code 1", "  ✗ note  exit code 2"]


def test_what_was_tolerated_is_not_counted_among_the_failures() -> None:
    run = simulate(flow({"a": {"continue_on_error": True}, "b": ["a"]}), fails={"a": 1, "b": 1})
    assert last_words(run)[:2] == ["✗ failed after 2.0s: 1 failed, 1 tolerated", "  tolerated:   a"]


def test_a_failed_run_names_what_failed_where_the_log_is_and_what_to_type_next() -> None:
    run = simulate(flow({"a": [], "b": ["a"], "c": ["b"]}), fails={"b": 3})
    assert last_words(run) == [
        "✗ failed after 2.0s: 1 failed, 1 succeeded, 1 skipped",
        "  ✗ b  exit code 3",
        "  whole log:   wfctl logs r b",
        "  once mended: wfctl resume r",
    ]


def test_many_failures_are_counted_after_the_first() -> None:
    names = [f"n{i}" for i in range(9)]
    run = simulate(flow({name: [] for name in names}, on_failure="continue"), fails=dict.fromkeys(names, 1))
    assert "  and 4 more; all of them: wfctl status r" in last_words(run)


def test_what_could_not_start_has_no_log_to_look_into() -> None:
    assert last_words(simulate(flow({"a": []}), fails={"a": "missing"}), wrote=lambda node, attempts: False)[1:] == [
        "  ✗ a  failed",
        "  once mended: wfctl resume r",
    ]


def test_an_empty_log_is_not_worth_a_look() -> None:
    run = simulate(flow({"a": [], "b": []}, on_failure="continue"), fails={"a": 1, "b": 1})
    assert "  whole log:   wfctl logs r b" in last_words(run, wrote=lambda node, attempts: node == "b")
    assert "wfctl logs" not in "".join(last_words(run, wrote=lambda node, attempts: False))


def test_a_fault_of_the_file_goes_on_with_the_mended_file() -> None:
    run = simulate(flow({"a": []}, outputs={"x": "${{ nodes.a.output.nope }}"}), outputs={"a": {}})
    words = last_words(run)
    assert words[0] == "✗ failed after 1.0s: 1 succeeded"
    assert words[1].startswith("  outputs: ")
    assert words[-1] == "  once mended: wfctl resume r --update"


def test_a_run_that_ran_out_of_time_can_go_on() -> None:
    run = simulate(flow({"a": []}, timeout=5.0), seconds={"a": 60})
    assert lines(run)[0] == "the run's timeout of 5.0s has passed: stopping what runs"
    assert last_words(run)[-1] == "  go on with:  wfctl resume r"


def test_only_a_failure_in_finally_is_named_too() -> None:
    run = simulate(flow({"a": []}, **{"finally": {"f": "true"}}), fails={"f": 4})
    assert last_words(run)[1] == "  ✗ f  exit code 4"


def test_a_resume_that_only_finished_finally_says_that_nothing_else_was_tried() -> None:
    data = flow({"a": [], "b": ["a"]}, **{"finally": {"f": "true"}})
    killed = simulate(data, fails={"b": 1}, crash=CrashAt("submitted", 3))  # f has begun
    run = simulate(data, fails={"b": 1}, run=killed)
    assert run.attempts[-1] == "f/2"
    assert last_words(run)[-2:] == [
        "  this time only `finally` was left to do; b was not tried again",
        "  once mended: wfctl resume r",
    ]
    again = simulate(data, fails={"b": 1}, run=run)
    assert not any("only `finally`" in line for line in last_words(again))


def test_an_interrupted_run_says_what_is_left_and_how_to_go_on() -> None:
    run = simulate(flow({"a": [], "b": ["a"]}), signals=[(0.5, 15)])
    words = last_words(run)
    assert words[0].startswith("‖ interrupted by SIGTERM after ")
    assert words[0].endswith(": 2 of 2 nodes left")
    assert words[1] == "  go on with:  wfctl resume r"


def test_a_full_disk_says_what_is_low_and_how_to_go_on() -> None:
    low = 'only 12 MiB are free on the disk of ".wfctl"; make room there'
    run = simulate(flow({"a": [], "b": ["a"]}), signals=[(0.5, LowDisk(low))])
    assert lines(run)[0] == f"nothing new starts: {low}"
    words = last_words(run)
    assert words[0].startswith("‖ interrupted after ")
    assert words[1:] == [f"  {low}", "  go on with:  wfctl resume r"]


def test_a_node_that_found_no_room_to_start_says_so() -> None:
    low = LowDisk("nothing is free")
    run = simulate(flow({"a": []}), fails={"a": ["low_disk"]}, seconds={"a": 0.5}, signals=[(0.5, low)])
    assert "[0/1] ‖ a  found no room to start" in lines(run)


def test_a_log_over_its_limit_says_so() -> None:
    run = simulate(flow({"a": []}), fails={"a": "log_limit"})
    assert lines(run)[0] == "[1/1] ✗ a  failed after 1.0s"


def test_where_no_terminal_is_each_line_that_tells_of_a_moment_has_its_time_before_it() -> None:
    data = flow({"a": {}, "b": {"needs": ["a"]}, "c": ["b"]})
    shown = lines(simulate(data, fails={"b": 3}), ["no such table"], stamp=lambda moment: f"12:00:{moment:02.0f} ")
    assert shown == [
        "12:00:01 [1/3] ✓ a  1.0s",
        "12:00:02 [2/3] ✗ b  failed after 1.0s: exit code 3",
        "    │ no such table",
        "12:00:02 [3/3] - c  skipped, something it needs did not succeed",
    ]


SAGA = flow({"a": {"compensate": [{"run": "undo a"}]}, "b": {"needs": ["a"]}}, rollback={"retry": {"attempts": 1}})


def test_an_undo_that_is_given_up_shows_the_end_of_its_log_and_of_what_was_to_prove_it() -> None:
    run = simulate(SAGA, fails={"b": 1}, undo_fails={"a.1": 1})
    out: list[str] = []
    show(run, Plain(out.append, lambda node, attempt: [f"of {attempt}"]))
    shown = "".join(out).splitlines()
    place = next(i for i, line in enumerate(shown) if "was not undone" in line)
    assert shown[place + 1 :] == ["    │ of undo.1.1", "    │ of verify.1.1"]
    words = last_words(run)
    place = next(i for i, line in enumerate(words) if "was not undone" in line)
    assert words[place + 1] == "  its log:     wfctl logs r a"


def test_a_run_that_is_out_of_time_says_what_it_stopped_and_where_the_log_of_that_is() -> None:
    run = simulate(flow({"a": {}, "b": ["a"]}, timeout=5.0), seconds={"a": 9.0})
    assert lines(run, ["half way"])[-2:] == ["[2/2] ⊘ a  cancelled, the run's time was up", "    │ half way"]
    assert last_words(run)[1:] == [
        "  the run's own timeout has passed",
        "  stopped:     a",
        "  whole log:   wfctl logs r a",
        "  go on with:  wfctl resume r",
    ]


def test_a_run_that_was_stopped_says_what_had_failed_by_then() -> None:
    run = simulate(flow({"a": {}, "b": {}}, on_failure="continue"), fails={"a": 1}, seconds={"b": 9}, signals=[(4, 2)])
    assert last_words(run)[1:] == [
        "  ✗ a  exit code 1",
        "  whole log:   wfctl logs r a",
        "  go on with:  wfctl resume r",
    ]


def test_a_run_that_succeeded_and_was_undone_by_hand_has_nothing_to_be_mended() -> None:
    run = simulate(SAGA)
    assert run.state.status == "succeeded"
    words = last_words(simulate(SAGA, run=run, undo="compensate"))
    assert words[1:] == ["  undone:      a", "  do it again: wfctl resume r"]
