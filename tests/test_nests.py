"""Groups and `for_each`: what is inside begins when it may, and the whole ends as its items allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.simulate import REQUEST, CrashAt, Memory, Simulated, build, flow, simulate
from wfctl.jobs import Answer, Paused
from wfctl.plan import Request

THREE = {"for_each": ["a", "b", "c"]}


def each(**keys: Any) -> dict[str, Any]:
    return flow({"x": {"for_each": [1, 2, 3, 4], **keys}})


def states(run: Simulated, *names: str) -> list[str]:
    return [run.ended[name] for name in names]


# -- for_each


def test_each_item_is_a_node_and_the_output_is_the_list_of_theirs_in_order() -> None:
    seconds = {"x[0]": 3.0, "x[1]": 1.0, "x[2]": 2.0}
    run = simulate(flow({"x": THREE}), seconds=seconds, outputs={"x[0]": "A", "x[1]": "B", "x[2]": "C"})
    assert run.timeline == "x[1][0-1] x[2][0-2] x[0][0-3]"
    assert run.state.nodes["x"].output == ["A", "B", "C"]


def test_what_needs_a_for_each_waits_for_all_of_it() -> None:
    run = simulate(flow({"x": THREE, "y": ["x"]}), seconds={"x[1]": 5.0})
    assert run.timeline == "x[0][0-1] x[2][0-1] x[1][0-5] y[5-6]"


def test_items_that_only_an_output_tells_join_by_one_event() -> None:
    data = flow({"list": [], "x": {"for_each": "${{ nodes.list.output }}", "key": "${{ item }}"}, "y": ["x"]})
    run = simulate(data, outputs={"list": ["p", "q"]})
    assert run.timeline == "list[0-1] x[p][1-2] x[q][1-2] y[2-3]"
    assert [event.name for event in run.events].count("node_opened") == 1


@pytest.mark.parametrize("strategy", ["all", "first", "majority", "best"])
def test_an_empty_list_is_done_for_all_and_a_failure_for_the_others(strategy: str) -> None:
    run = simulate(flow({"x": {"for_each": [], "collect": strategy}}))
    if strategy == "all":
        assert (run.ended["x"], run.state.nodes["x"].output) == ("ok", [])
    else:
        assert run.ended["x"] == "failed:collect"
        assert run.state.nodes["x"].error == f'there is no item, and the strategy "{strategy}" wants one'


def test_max_parallel_lets_the_next_item_begin_when_one_has_ended() -> None:
    run = simulate(each(max_parallel=2), seconds={"x[0]": 3.0})
    assert run.timeline == "x[1][0-1] x[0][0-3] x[2][1-2] x[3][2-3]"


def test_a_condition_that_names_the_item_is_asked_of_each() -> None:
    run = simulate(each(when="${{ item != 2 }}"))
    assert states(run, "x[0]", "x[1]", "x[2]", "x") == ["ok", "skipped:when", "ok", "ok"]


def test_any_other_condition_is_asked_once_and_skips_all() -> None:
    run = simulate(flow({"x": {**THREE, "when": "${{ 1 == 2 }}"}, "y": ["x"]}))
    assert states(run, "x", "x[0]", "x[2]", "y") == ["skipped:when", "skipped:needs", "skipped:needs", "skipped:needs"]


def test_a_for_each_whose_need_failed_is_skipped_with_all_its_items() -> None:
    run = simulate(flow({"a": [], "x": {**THREE, "needs": ["a"]}}, on_failure="continue"), fails={"a": 1})
    assert states(run, "x", "x[0]") == ["skipped:needs", "skipped:needs"]


def test_an_item_that_fails_is_tried_again_like_any_node() -> None:
    run = simulate(each(retry={"attempts": 2, "delay": 1, "jitter": False}), fails={"x[1]": [1]})
    assert run.ended["x"] == "ok"
    assert run.state.nodes["x[1]"].attempt == 2


def test_what_became_of_each_item_can_be_named() -> None:
    data = flow({
        "x": {**THREE, "collect": {"tolerate": 1}},
        "y": {
            "env": {"E": "${{ [i.error for i in nodes.x.items] }}"},
            "when": "${{ nodes.x.items[1].state == 'failed' }}",
        },
    })  # fmt: skip
    run = simulate(data, fails={"x[1]": 3})
    assert states(run, "x", "y") == ["ok", "ok"]
    assert run.state.nodes["x"].output == [None, None, None]


def test_what_joins_in_one_turn_is_planned_at_once() -> None:
    asked: list[str] = []
    each = {"for_each": "${{ nodes.l.output }}"}
    groups = {f"g{i}": {"nodes": {"x": each}} for i in range(5)}
    data = flow({"l": [], **groups, "m": ["l"], "y": {**each, "needs": ["m"]}})
    simulate(data, outputs={"l": [1, 2]}, plot=lambda state, now, reason: asked.append(f"{reason} {now:g}"))
    assert asked == ["start 0", "growth 1", "growth 4"]


def test_the_items_of_what_is_taken_from_another_run_are_not_known() -> None:
    data = flow({"x": THREE, "y": {"env": {"E": "${{ nodes.x.items }}"}}})
    run = simulate(data, request=replace(REQUEST, only=("y",)), outputs={"x": [1, 2, 3]})
    error = "the items of x are not known: its output was taken from another run"
    assert (run.ended["x"], run.state.nodes["y"].error) == ("cached", error)


# -- collect


def test_all_fails_at_once_when_more_failed_than_may() -> None:
    seconds = {"x[0]": 1.0, "x[1]": 9.0, "x[2]": 9.0, "x[3]": 9.0}
    run = simulate(each(max_parallel=3), seconds=seconds, fails={"x[0]": 7})
    assert states(run, "x", "x[1]", "x[3]") == ["failed:collect", "cancelled:collect", "cancelled:collect"]
    assert run.state.nodes["x"].error == "1 of 4 items failed, and 0 may: x[0]: exit code 7"
    assert run.state.nodes["x"].finished == 1.0


def test_so_many_may_fail_as_are_tolerated() -> None:
    run = simulate(each(collect={"tolerate": "50%"}), fails={"x[0]": 1, "x[3]": 1}, outputs={"x[1]": 5})
    assert run.ended["x"] == "ok"
    assert run.state.nodes["x"].output == [None, 5, None, None]
    assert run.state.status == "succeeded"


def test_with_on_failure_continue_all_items_run_before_it_fails() -> None:
    data = flow({"x": {"for_each": [1, 2, 3], "max_parallel": 1}}, on_failure="continue")
    run = simulate(data, fails={"x[0]": 1})
    assert states(run, "x[1]", "x[2]", "x") == ["ok", "ok", "failed:collect"]


def test_first_takes_the_first_success_and_ends_the_others() -> None:
    seconds = {"x[0]": 5.0, "x[1]": 2.0, "x[2]": 9.0, "x[3]": 1.0}
    run = simulate(each(collect="first"), seconds=seconds, fails={"x[3]": 1}, outputs={"x[1]": "won"})
    assert (run.ended["x"], run.state.nodes["x"].output) == ("ok", "won")
    assert run.state.nodes["x"].won == ("1",)
    assert states(run, "x[0]", "x[2]", "x[3]") == ["cancelled:superseded", "cancelled:superseded", "failed:exit_code"]
    assert run.state.status == "succeeded"


def test_first_fails_when_none_succeeded() -> None:
    run = simulate(each(collect="first"), fails={f"x[{i}]": 2 for i in range(4)})
    assert run.state.nodes["x"].error.startswith("none of 4 items succeeded: x[0]: exit code 2; x[1]")


def test_majority_is_done_with_more_than_half() -> None:
    seconds = {f"x[{i}]": float(i + 1) for i in range(4)}
    run = simulate(each(collect="majority"), seconds=seconds, outputs={f"x[{i}]": i for i in range(4)})
    assert run.state.nodes["x"].output == [0, 1, 2]
    assert run.ended["x[3]"] == "cancelled:superseded"


def test_majority_fails_as_soon_as_it_cannot_be() -> None:
    seconds = {f"x[{i}]": float(i + 1) for i in range(4)}
    run = simulate(each(collect="majority"), seconds=seconds, fails={"x[0]": 1, "x[1]": 1})
    assert states(run, "x", "x[2]") == ["failed:collect", "cancelled:collect"]
    assert "more than half can no longer" in run.state.nodes["x"].error


def test_best_takes_the_highest_score() -> None:
    outputs = {f"x[{i}]": {"acc": acc} for i, acc in enumerate([0.5, 0.9, 0.7, 0.9])}
    run = simulate(each(collect={"strategy": "best", "score": "${{ output.acc }}"}), outputs=outputs)
    assert (run.state.nodes["x"].output, run.state.nodes["x"].won) == ({"acc": 0.9}, ("1",))


def test_until_ends_any_of_them_early() -> None:
    collect = {"strategy": "best", "score": "${{ output }}", "until": "${{ output > 6 }}"}
    seconds = {f"x[{i}]": float(i + 1) for i in range(4)}
    run = simulate(each(collect=collect), seconds=seconds, outputs={"x[0]": 1, "x[1]": 7, "x[2]": 9})
    assert run.state.nodes["x"].output == 7
    assert states(run, "x[2]", "x[3]") == ["cancelled:superseded", "cancelled:superseded"]


def test_at_its_timeout_best_takes_the_best_so_far_and_the_others_fail() -> None:
    seconds = {"x[0]": 1.0, "x[1]": 50.0, "x[2]": 50.0, "x[3]": 50.0}
    best = simulate(each(collect={"strategy": "best", "timeout": "10s"}), seconds=seconds, outputs={"x[0]": 1})
    assert (best.ended["x"], best.state.nodes["x"].output) == ("ok", 1)
    all_ = simulate(each(collect={"timeout": "10s"}), seconds=seconds)
    assert all_.ended["x"] == "timed_out:timed_out"
    assert all_.state.nodes["x"].finished == 10.0
    assert all_.ended["x[2]"] == "cancelled:collect"


def test_a_score_that_is_no_number_says_so() -> None:
    run = simulate(each(collect={"strategy": "best", "score": "${{ output }}"}), outputs={"x[0]": "a"})
    assert run.state.nodes["x"].error == "collect.score of x[0]: must be a number, got a"


def test_the_failure_of_a_for_each_that_may_fail_does_not_fail_the_run() -> None:
    data = flow({"x": {**THREE, "continue_on_error": True}, "y": ["x"]})
    run = simulate(data, fails={"x[0]": 1})
    assert states(run, "x", "y") == ["failed:collect", "ok"]
    assert run.state.status == "succeeded"


# -- groups


GROUP = {"nodes": {"a": [], "b": ["a"]}, "outputs": {"b": "${{ nodes.b.output }}"}}


def test_a_group_is_done_when_all_in_it_are_and_hands_out_its_outputs() -> None:
    run = simulate(flow({"g": GROUP, "y": ["g"]}), outputs={"g.b": 3})
    assert run.timeline == "g.a[0-1] g.b[1-2] y[2-3]"
    assert run.state.nodes["g"].output == {"b": 3}


def test_names_are_sought_inside_first_and_then_outside() -> None:
    inner = {"a": {"env": {"X": "${{ nodes.out.output }}"}}, "b": {"env": {"X": "${{ nodes.a.output }}"}}}
    run = simulate(flow({"out": [], "a": [], "g": {"nodes": inner}}), seconds={"a": 9.0, "out": 2.0})
    assert run.timeline == "out[0-2] a[0-9] g.a[2-3] g.b[3-4]"


def test_only_the_node_inside_waits_for_what_it_names_outside() -> None:
    run = simulate(flow({"slow": [], "g": {"nodes": {"a": [], "b": ["a", "slow"]}}}), seconds={"slow": 5.0})
    assert run.timeline == "g.a[0-1] slow[0-5] g.b[5-6]"


def test_what_a_group_needs_holds_for_all_in_it() -> None:
    run = simulate(flow({"first": [], "g": {**GROUP, "needs": ["first"]}}))
    assert run.timeline == "first[0-1] g.a[1-2] g.b[2-3]"


def test_a_failure_in_a_group_fails_it_and_the_run() -> None:
    run = simulate(flow({"g": GROUP, "y": []}), fails={"g.a": 1}, seconds={"y": 3.0})
    assert states(run, "g.a", "g.b", "g") == ["failed:exit_code", "skipped:needs", "failed:inner"]
    assert list(run.state.failed_nodes) == ["g.a"]
    assert run.state.nodes["g"].error == "a: exit code 1"


def test_a_group_may_fail_where_it_says_so() -> None:
    run = simulate(flow({"g": {**GROUP, "continue_on_error": True}, "y": ["g"]}), fails={"g.a": 1})
    assert run.state.status == "succeeded"
    assert states(run, "g", "y") == ["failed:inner", "ok"]


def test_a_node_for_failures_in_a_failing_group_still_runs() -> None:
    nodes = {"a": [], "other": {"needs": ["a"]}, "tidy": {"needs": ["a"], "trigger": "all_done"}}
    run = simulate(flow({"g": {"nodes": nodes}}), fails={"g.a": 1})
    assert states(run, "g.tidy", "g.other", "g") == ["ok", "skipped:needs", "failed:inner"]


def test_a_group_in_which_all_was_skipped_is_skipped() -> None:
    nodes = {"a": {"when": "${{ 1 > 2 }}"}, "b": ["a"]}
    assert simulate(flow({"g": {"nodes": nodes}})).ended["g"] == "skipped:inner"


def test_groups_lie_in_groups() -> None:
    data = flow({"g": {"nodes": {"h": GROUP, "c": {"env": {"X": "${{ nodes.h.output.b }}"}}}}})
    run = simulate(data, outputs={"g.h.b": 1})
    assert run.timeline == "g.h.a[0-1] g.h.b[1-2] g.c[2-3]"


def test_a_group_waits_for_what_its_outputs_name_outside() -> None:
    data = flow({"slow": [], "g": {**GROUP, "outputs": {"s": "${{ nodes.slow.output }}"}}})
    run = simulate(data, outputs={"slow": "late"}, seconds={"slow": 5.0})
    assert run.state.nodes["g"].output == {"s": "late"}


def test_a_group_for_failures_runs_whole_with_its_retries() -> None:
    retry = {"attempts": 2, "delay": 1, "jitter": False}
    tidy = {"needs": ["bad"], "trigger": "any_failed", "nodes": {"a": {"retry": retry}, "b": ["a"]}}
    run = simulate(flow({"bad": [], "tidy": tidy}), fails={"bad": 1, "tidy.a": [1]})
    assert run.timeline == "bad[0-1] tidy.a[1-2] tidy.a[3-4] tidy.b[4-5]"
    assert run.ended["tidy"] == "ok"


def test_a_node_in_a_group_for_failures_that_needs_what_was_cancelled_is_skipped() -> None:
    tidy = {"needs": ["bad", "never"], "trigger": "all_done", "nodes": {"a": ["never"], "b": []}}
    run = simulate(flow({"bad": [], "never": ["bad"], "tidy": tidy}), fails={"bad": 1})
    assert states(run, "never", "tidy.a", "tidy.b", "tidy") == ["skipped:needs", "skipped:needs", "ok", "ok"]
    never = {"for_each": [1], "ask": {"message": "?"}}
    run = simulate(flow({"bad": [], "never": never, "tidy": tidy}), fails={"bad": 1})
    assert states(run, "never", "tidy.a", "tidy.b", "tidy") == ["cancelled:run_failing", "skipped:needs", "ok", "ok"]


def test_what_is_cancelled_without_having_worked_has_a_known_outcome() -> None:
    data = flow({"bad": [], "g": {"nodes": {"q": ASK}}})
    run = simulate(data, fails={"bad": 1})
    assert states(run, "g", "g.q") == ["cancelled:run_failing"] * 2
    assert not run.state.nodes["g"].unknown
    assert not run.state.nodes["g.q"].unknown


# -- finally


def test_the_nodes_of_finally_name_the_others_without_needing_them() -> None:
    data = flow(
        {"a": []},
        vars={"a": "${{ nodes.a.state }}"},
        **{"finally": {
            "g": {"nodes": {"x": {"env": {"A": "${{ vars.a }}", "B": "${{ nodes.a.state }}"}}}},
            "e": {"for_each": "${{ run.failed_nodes }}"},
        }},
    )  # fmt: skip
    run = simulate(data, fails={"a": 1})
    assert states(run, "g.x", "g", "e[0]") == ["ok", "ok", "ok"]


def test_only_what_failed_by_itself_is_named_among_what_failed() -> None:
    each = {"for_each": [1, 2], "collect": {"tolerate": 1}}
    run = simulate(flow({"e": each}, **{"finally": {"g": {"nodes": {"x": []}}}}), fails={"e[0]": 1, "g.x": 1})
    assert (run.state.exit_code, run.state.failed_for_good) == (1, ["g.x"])


def test_what_is_planned_before_a_run_cannot_lean_on_how_it_went() -> None:
    data = flow({"a": []}, **{"finally": {"z": {"continue_on_error": "${{ run.failed }}"}}})
    _, problems = build(data)
    assert [(p.message, p.hint) for p in problems] == [('run has no "failed"', "there is id, started")]


# -- a pipeline by item


PIPE = {"for_each": ["p", "q", "r"], "key": "${{ item }}", "nodes": {"one": [], "two": ["one"]}}


def test_each_item_has_a_chain_of_its_own() -> None:
    run = simulate(flow({"s": PIPE}), seconds={"s[p].one": 3.0})
    assert run.timeline == "s[q].one[0-1] s[r].one[0-1] s[p].one[0-3] s[q].two[1-2] s[r].two[1-2] s[p].two[3-4]"


def test_chains_that_began_go_first() -> None:
    run = simulate(flow({"s": PIPE}, concurrency=1))
    assert run.timeline == (
        "s[p].one[0-1] s[p].two[1-2] s[q].one[2-3] s[q].two[3-4] s[r].one[4-5] s[r].two[5-6]"
    )


def test_the_failure_of_an_item_ends_its_own_chain_and_counts_once() -> None:
    data = flow({"s": {**PIPE, "collect": {"tolerate": 1}}})
    run = simulate(data, fails={"s[q].one": 1})
    assert states(run, "s[q].one", "s[q].two", "s[q]", "s[r].two", "s") == [
        "failed:exit_code", "skipped:needs", "failed:inner", "ok", "ok",
    ]  # fmt: skip
    assert run.state.status == "succeeded"


def test_a_chain_that_is_superseded_ends_with_what_runs_in_it() -> None:
    seconds = {"s[p].one": 1.0, "s[p].two": 1.0, "s[q].one": 9.0}
    run = simulate(flow({"s": {**PIPE, "collect": "first"}}), seconds=seconds)
    assert states(run, "s", "s[q].one", "s[q].two", "s[q]") == ["ok", *["cancelled:superseded"] * 3]


# -- plans


def test_a_plan_knows_all_that_is_known_before_a_run() -> None:
    plan, problems = build(flow({"x": THREE, "g": GROUP, "y": ["x", "g"]}), Request(cores=8))
    assert not problems
    assert [n for n in plan.nodes if plan.nodes[n].parent] == ["x[0]", "x[1]", "x[2]", "g.a", "g.b"]
    assert plan.critical_path == ("g.a", "g.b", "y")
    assert plan.bounds["critical path"] == 3.0


def test_an_item_has_the_resources_that_its_expressions_give() -> None:
    data = flow({"x": {"for_each": [1, 2], "resources": {"cpu": "${{ item }}"}}}, resources={"cpu": 2})
    run = simulate(data)
    assert run.timeline == "x[1][0-1] x[0][1-2]"  # the one that asks for more has the higher score


def test_an_item_that_asks_for_too_much_is_told_before_the_run_or_fails_the_for_each() -> None:
    node = {"resources": {"cpu": "${{ item }}"}}
    _, problems = build(flow({"x": {"for_each": [1, 3], **node}}, resources={"cpu": 2}), REQUEST)
    assert [p.message for p in problems] == ["needs 3, the budget is 2"]
    data = flow({"l": [], "x": {"for_each": "${{ nodes.l.output }}", **node}}, resources={"cpu": 2})
    run = simulate(data, outputs={"l": [3]})
    assert run.state.nodes["x"].error == "nodes.x.resources.cpu: needs 3, the budget is 2"


@pytest.mark.parametrize(
    ("for_each", "error"),
    [
        (3, "for_each: expected a list, got 3"),
        ({"a": 1}, "for_each: expected a list, got {\"a\": 1}"),
        (
            list(range(100_001)),
            "for_each: 100,001 items, and at most 100,000 are possible; let an item be a batch of them",
        ),
    ],
)
def test_what_is_no_list_or_too_long_fails_the_node(for_each: object, error: str) -> None:
    run = simulate(flow({"l": [], "x": {"for_each": "${{ nodes.l.output }}"}}), outputs={"l": for_each})
    assert run.state.nodes["x"].error == error


def test_two_items_of_one_key_are_told() -> None:
    _, problems = build(flow({"x": {"for_each": [{"n": 1}, {"n": 1}], "key": "${{ item.n }}"}}))
    assert [p.message for p in problems] == [
        'the items 0 and 1 have the same key, "1"; they are to tell the items apart'
    ]


# -- asking


ASK = {"ask": {"message": "go on?"}}


def approve(state: Any, choice: str = "approve") -> list[Answer]:
    return [Answer(node=name, choice=choice, by="ada", reason="fine") for name in state.asking]


def test_a_question_waits_without_slot_and_its_answer_is_the_output() -> None:
    run = simulate(flow({"q": ASK, "y": ["q"]}, concurrency=1), answers=approve)
    assert run.state.nodes["q"].output == {"choice": "approve", "by": "ada", "reason": "fine"}
    assert run.ended["y"] == "ok"


def test_no_plan_counts_on_the_moment_of_an_answer() -> None:
    nodes = {"q": {"ask": {"message": "?"}}, "a": {"needs": ["q"], "estimate": 3}, "b": {"estimate": 5}}
    plan, _ = build(flow(nodes, concurrency=1))
    assert plan.bounds == {"critical path": 5.0, "work / slots": 8.0}
    assert not plan.improvable


def test_who_rejects_fails_the_node() -> None:
    run = simulate(flow({"q": ASK}), answers=lambda state: approve(state, "reject"))
    assert run.state.nodes["q"].error == 'answered "reject" by ada: fine'


def test_a_question_that_nobody_answers_in_time_fails() -> None:
    run = simulate(flow({"q": {"ask": {"message": "?", "timeout": "5s"}}}))
    assert run.ended["q"] == "timed_out:timed_out"
    assert run.state.nodes["q"].error == "nobody answered within 5s"


def test_a_pause_does_not_count_for_the_time_to_answer() -> None:
    run = simulate(flow({"q": {"ask": {"message": "?", "timeout": "5s"}}}), signals=[(2, Paused(4.0))])
    assert run.state.nodes["q"].finished == 9.0


def test_who_does_not_want_to_wait_ends_when_only_people_could_go_on() -> None:
    data = flow({"q": ASK, "other": [], "y": ["q"]})
    run = simulate(data, no_wait=True, seconds={"other": 4.0})
    assert (run.state.status, run.state.exit_code, run.state.time) == ("waiting_input", 7, 4.0)
    run = simulate(data, run=run, answers=approve)
    assert states(run, "q", "y", "other") == ["ok", "ok", "ok"]
    assert run.attempts == ["other/1", "y/1"]


# -- crashes


FLOWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pipe": (
        flow({"l": [], "s": {**PIPE, "for_each": "${{ nodes.l.output }}"}, "y": ["s"]}),
        {"outputs": {"l": ["p", "q"]}},
    ),
    "first": (each(collect="first", max_parallel=2), {"seconds": {"x[0]": 3.0}, "outputs": {"x[1]": 1}}),
    "majority": (each(collect="majority"), {"fails": {"x[0]": 1}, "outputs": {f"x[{i}]": i for i in range(4)}}),
    "best": (
        each(collect={"strategy": "best", "score": "${{ output }}"}),
        {"outputs": {f"x[{i}]": i for i in range(4)}},
    ),
    "until": (
        each(collect={"until": "${{ output == 2 }}"}, max_parallel=1),
        {"outputs": {f"x[{i}]": i for i in range(4)}},
    ),
    "groups": (flow({"g": {"nodes": {"h": GROUP, "c": ["h"]}}, "y": ["g"]}), {}),
}


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("point", ["decided", "recorded", "submitted", "completed"])
def test_a_crash_at_any_point_and_resume_end_in_the_same_outputs(name: str, point: str) -> None:
    data, keys = FLOWS[name]
    whole = simulate(data, **keys)
    wanted = {n: (r.state, r.output) for n, r in whole.state.nodes.items() if r.state in ("succeeded", "skipped")}
    for turn in range(1, 100):
        journal = Memory()
        crash = CrashAt(point, turn)
        run = simulate(data, journal=journal, crash=crash, **keys)
        if crash.passed < turn:
            return
        if not journal.kept:
            continue
        done = {n for n, r in simulate_state(data, journal, keys).items() if r == "succeeded"}
        begun = len(run.attempts)
        run = simulate(data, run=run, **keys)
        if name not in ("first", "majority"):  # there another one may win
            assert {n: (r.state, r.output) for n, r in run.state.nodes.items() if n in wanted} == wanted
        assert run.state.status == whole.state.status
        assert not done & {attempt.split("/")[0] for attempt in run.attempts[begun:]}
    raise AssertionError("it never came to its end")


def simulate_state(data: dict[str, Any], journal: Memory, keys: dict[str, Any]) -> dict[str, str]:
    from wfctl import events as ev
    from wfctl.state import fold

    plan, _ = build(data)
    state = fold([ev.from_data(event) for event in journal.kept], lambda event: plan)
    return {name: str(run.state) for name, run in state.nodes.items()}


def test_who_has_won_stays_the_winner_after_a_crash() -> None:
    data, keys = FLOWS["first"]
    winner = ("1",)
    for turn in range(1, 100):
        journal = Memory()
        crash = CrashAt("recorded", turn)
        run = simulate(data, journal=journal, crash=crash, **keys)
        if crash.passed < turn:
            return
        if any(event["event"] == "node_succeeded" and event["node"] == "x" for event in journal.kept):
            run = simulate(data, run=run, **{**keys, "seconds": {"x[0]": 0.1}})
            assert run.state.nodes["x"].won == winner
            assert run.ended["x[0]"] == "cancelled:superseded"


def test_a_for_each_that_failed_runs_only_what_did_not_succeed() -> None:
    data = each()
    run = simulate(data, fails={"x[1]": 1})
    assert run.ended["x"] == "failed:collect"
    run = simulate(data, run=run)
    assert run.ended["x"] == "ok"
    assert sorted(run.attempts[4:]) == ["x[1]/2"]


def test_a_node_inside_that_is_asked_for_again_takes_along_what_needs_it() -> None:
    data = flow({"s": PIPE, "y": ["s"]})
    run = simulate(data)
    begun = len(run.attempts)
    run = simulate(data, run=run, again=["s[q].two"])
    assert run.attempts[begun:] == ["s[q].two/2", "y/2"]


def test_items_are_found_out_anew_when_what_tells_them_runs_again() -> None:
    data = flow({"l": [], "x": {"for_each": "${{ nodes.l.output }}"}, "y": ["x"]})
    run = simulate(data, outputs={"l": [1, 2]})
    run = simulate(data, run=run, outputs={"l": [1]}, again=["l"])
    assert [n for n in run.state.nodes if n.startswith("x[")] == ["x[0]"]
    assert run.attempts[4:] == ["l/2", "x[0]/2", "y/2"]


def test_what_is_open_waits_again_when_what_it_needs_runs_again() -> None:
    data = flow(
        {"a": [], "g": {"needs": ["a"], "trigger": "all_done", "nodes": {"x": [], "y": ["x"]}}}, on_failure="continue"
    )
    journal = Memory()
    run = simulate(data, fails={"a": 1}, journal=journal, crash=CrashAt("recorded", 3))
    assert states(run, "a", "g", "g.x") == ["failed:exit_code", "running", "ok"]
    run = simulate(data, run=run)
    assert run.timeline.endswith("a[2-3] g.y[3-4]")


def test_a_group_in_which_a_node_was_skipped_for_a_failure_failed_and_goes_on_when_that_is_mended() -> None:
    group = {
        "nodes": {"x": {"needs": ["b"], "run": "true"}, "w": {"needs": ["x"], "run": "true"}, "y": {"run": "true"}}
    }
    data = flow({"a": [], "b": ["a"], "g": group, "z": ["g"]}, on_failure="continue")
    run = simulate(data, fails={"a": 1})
    assert states(run, "g.x", "g.w", "g.y", "g", "z") == [
        "skipped:needs", "skipped:needs", "ok", "failed:inner", "skipped:needs",
    ]  # fmt: skip
    assert run.state.nodes["g"].error == "x: was skipped, for a failed"
    again = simulate(data, run=run)
    assert states(again, "g.x", "g.w", "g", "z") == ["ok", "ok", "ok", "ok"]
    assert again.state.nodes["g.y"].attempt == 1


def test_a_group_in_which_all_was_skipped_for_a_failure_runs_when_that_succeeds() -> None:
    data = flow({"a": [], "g": {"nodes": {"x": ["a"]}}, "y": ["g"]}, on_failure="continue")
    run = simulate(data, fails={"a": 1})
    assert states(run, "g.x", "g", "y") == ["skipped:needs", "failed:inner", "skipped:needs"]
    assert states(simulate(data, run=run), "g.x", "g", "y") == ["ok", "ok", "ok"]


def test_items_in_which_a_node_was_skipped_for_a_failure_run_when_that_succeeds() -> None:
    inner = {"h": {"nodes": {"x": {"needs": ["a"], "run": "true"}}}, "y": {"run": "true"}}
    data = flow({"a": [], "g": {"for_each": [1, 2], "nodes": inner}}, on_failure="continue")
    run = simulate(data, fails={"a": 1})
    assert states(run, "g[0].h.x", "g[0].h", "g[0]", "g") == [
        "skipped:needs", "failed:inner", "failed:inner", "failed:collect",
    ]  # fmt: skip
    assert states(simulate(data, run=run), "g[0].h.x", "g[0].y", "g[1]", "g") == ["ok"] * 4


def test_groups_of_finally_wait_for_all_others_when_the_run_goes_on() -> None:
    data = flow({"a": []}, **{"finally": {"g": {"nodes": {"x": []}}, "h": {"nodes": {"q": ASK}}}})
    run = simulate(data, signals=[(0.5, 2), (1.2, 2)])
    assert states(run, "g", "g.x", "h.q") == ["running", "interrupted:interrupted", "waiting_input"]
    run = simulate(data, run=run, answers=approve)
    assert run.timeline.endswith("a[1.2-2.2] g.x[2.2-3.2]")
    assert run.ended["h.q"] == "ok"


def test_no_more_items_than_may_run_at_once_after_a_crash() -> None:
    group = {"for_each": [1, 2, 3], "max_parallel": 1, "nodes": {"x": [], "y": ["x"]}}
    data = flow({"g": group}, on_failure="continue", concurrency=4)
    journal = Memory()
    run = simulate(data, fails={"g[0].x": 1}, journal=journal, crash=CrashAt("recorded", 3))
    assert states(run, "g[0]", "g[1].x") == ["failed:inner", "ok"]
    run = simulate(data, run=run)
    assert run.timeline.endswith(" g[1].y[2-3] g[0].x[3-4] g[0].y[4-5] g[2].x[5-6] g[2].y[6-7]")


# -- sub-workflows


def test_a_sub_workflow_joins_with_its_own_names() -> None:
    sub = {
        "version": 1,
        "params": {"n": {"type": "integer"}, "m": {"default": "${{ params.n + 1 }}"}},
        "vars": {"v": "${{ params.m * 2 }}"},
        "nodes": {"a": {"run": "true", "env": {"X": "${{ vars.v }}"}}, "b": {"run": "true", "needs": ["a"]}},
        "finally": {"z": {"run": "true"}},
        "outputs": {"m": "${{ params.m }}", "b": "${{ nodes.b.output }}"},
    }
    data = flow({"up": [], "s": {"workflow": "sub.yaml", "params": {"n": "${{ nodes.up.output }}"}}, "y": ["s"]})
    run = simulate(data, files={"sub.yaml": sub}, outputs={"up": 4, "s.b": "B"})
    assert run.timeline == "up[0-1] s.a[1-2] s.b[2-3] s.z[3-4] y[4-5]"
    assert run.state.nodes["s"].output == {"m": 5, "b": "B"}


def test_in_a_sub_workflow_nodes_and_finally_name_each_other_as_in_any_file() -> None:
    sub = {
        "nodes": {"a": {"run": "true"}, "b": {"run": "true", "needs": ["a"]}},
        "finally": {"z": {"run": "true", "when": "${{ nodes.b.state == 'skipped' }}"}},
    }
    run = simulate(flow({"s": {"workflow": "sub.yaml"}}), files={"sub.yaml": sub}, fails={"s.a": 1})
    assert run.ended["s.z"] == "ok"
    sub = {
        "nodes": {"a": {"run": "true", "needs": ["z"]}, "b": {"run": "true", "env": {"E": "${{ nodes.z.state }}"}}},
        "finally": {"z": {"run": "true", "needs": ["a"]}},
        "outputs": {"z": "${{ nodes.z.output }}"},
    }
    _, problems = build(flow({"s": {"workflow": "sub.yaml"}}), files={"sub.yaml": sub})
    assert [p.message for p in problems] == [
        'names "z", which is a finally node and runs after it',
        '"z" is a finally node; it runs after all others',
        '"a" has always ended when finally begins',
        '"z" is a finally node and has no output for others',
    ]


def test_the_finally_of_a_sub_workflow_runs_however_it_went() -> None:
    sub = {"nodes": {"a": {"run": "true"}, "b": {"run": "true", "needs": ["a"]}}, "finally": {"z": {"run": "true"}}}
    run = simulate(flow({"s": {"workflow": "sub.yaml"}}), files={"sub.yaml": sub}, fails={"s.a": 1})
    assert states(run, "s.a", "s.b", "s.z", "s") == ["failed:exit_code", "skipped:needs", "ok", "failed:inner"]
    again = simulate(flow({"s": {"workflow": "sub.yaml"}}), files={"sub.yaml": sub}, run=run)
    assert states(again, "s.a", "s.b", "s.z", "s") == ["ok", "ok", "ok", "ok"]
    assert again.state.nodes["s.z"].attempt == 2, "it is the last word of each try"

