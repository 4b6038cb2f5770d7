"""What a run would do: the run itself in virtual time, assuming success."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.simulate import build, flow
from wfctl.drawing import timeline as timeline_of
from wfctl.forecast import Forecast, forecast
from wfctl.plan import Request


def foretold(nodes: dict[str, Any], request: Request | None = None, **keys: Any) -> Forecast:
    plan, problems = build(flow(nodes, **keys), request)
    assert not problems, problems
    return forecast(plan)


def timeline(told: Forecast) -> str:
    return " ".join(
        f"{n}[{told.start[n]:g}-{told.finish[n]:g}]" for n in sorted(told.start, key=lambda n: told.start[n])
    )


def test_each_node_takes_its_estimate_else_a_second() -> None:
    nodes = {"a": {"estimate": "2s"}, "b": ["a"], "c": {"needs": ["b"], "estimate": 0}}
    assert timeline(foretold(nodes)) == "a[0-2] b[2-3] c[3-3]"


def test_the_bounds_are_those_of_the_items_that_are_assumed() -> None:
    nodes = {"l": [], "x": {"for_each": "${{ nodes.l.output }}", "nodes": {"a": [], "b": ["a"]}}, "y": ["x"]}
    request = Request(cores=2, estimates={"l": 1.0, "y": 1.0, **{f"x[{i}].{n}": 3.0 for i in range(4) for n in "ab"}})
    told = foretold(nodes, request)
    assert (told.makespan, told.bounds["work"], told.bounds["critical_path"]) == (14.0, 13.0, 8.0)
    assert told.plan.critical_path == ("l", "x[0].a", "x[0].b", "y")


def test_slots_and_budgets_hold() -> None:
    nodes = {name: {"resources": {"gpu": 1}} for name in "abc"}
    assert timeline(foretold(nodes, resources={"gpu": 2})) == "a[0-1] b[0-1] c[1-2]"


def test_an_unknown_when_counts_as_true_and_a_known_one_as_it_is() -> None:
    nodes = {
        "a": [],
        "b": {"when": "${{ nodes.a.output.rows > 0 }}"},
        "c": {"when": "${{ params.no }}"},
        "d": {"when": "${{ not params.no }}", "needs": ["b"]},
    }
    told = foretold(nodes, params={"no": {"default": False}})
    assert timeline(told) == "a[0-1] b[1-2] d[2-3]"
    shown = told.document()["nodes"]
    assert {name: node["assumed"] for name, node in shown.items()} == {"a": False, "b": True, "c": False, "d": False}
    assert shown["c"]["start"] is None


def test_what_finally_asks_about_the_run_is_assumed() -> None:
    data = flow({"a": []}, **{"finally": {"f": {"when": "${{ run.failed }}"}, "g": {"when": "${{ not run.failed }}"}}})
    assert [forecast(build(data)[0]).assumed(name) for name in ("a", "f", "g")] == [False, False, True]


def test_nodes_that_wait_for_a_failure_are_left_out() -> None:
    nodes = {
        "a": {"estimate": 2},
        "alarm": {"needs": ["a"], "trigger": "any_failed", "estimate": 99},
        "after": {"needs": ["alarm"], "estimate": 99},
        "all": {"needs": ["alarm", "a"], "trigger": "all_done"},
    }
    told = foretold(nodes)
    assert timeline(told) == "a[0-2] all[2-3]"
    assert (told.makespan, told.lower_bound) == (3, 3)
    assert told.document()["critical_path"] == ["a", "all"]


@pytest.mark.parametrize(("strategy", "end"), [("first", 3.0), ("majority", 5.0), ("best", 9.0), ("all", 9.0)])
def test_no_bound_counts_items_that_a_collect_does_not_wait_for(strategy: str, end: float) -> None:
    item = {"a": {"estimate": "${{ item }}"}, "b": {"needs": ["a"], "estimate": 1}}
    nodes = {"x": {"for_each": [8, 4, 2], "nodes": item, "collect": strategy}, "y": {"needs": ["x"], "estimate": 2}}
    told = foretold(nodes, concurrency=8)
    assert told.makespan == told.lower_bound == end + 2
    assert told.document()["critical_path"][-1] == "y"
    assert told.finish[told.document()["critical_path"][1]] == end


@pytest.mark.parametrize("strategy", ["all", "first", "majority"])
def test_no_collect_runs_out_of_time_in_a_plan(strategy: str) -> None:
    x = {"for_each": [1, 2], "estimate": 20, "collect": {"strategy": strategy, "timeout": 10}}
    assert timeline(foretold({"x": x, "y": ["x"]}, concurrency=2)).endswith(" y[20-21]")


def test_at_its_timeout_best_has_the_best_so_far_in_a_plan_too() -> None:
    x = {"for_each": [1, 20], "estimate": "${{ item }}", "collect": {"strategy": "best", "timeout": 10}}
    assert timeline(foretold({"x": x, "y": ["x"]})).endswith(" y[10-11]")


def test_who_is_no_longer_needed_ends_with_the_winner() -> None:
    nodes = {
        "x": {"for_each": [1, 3], "estimate": 2, "collect": "first", "max_parallel": 2},
        "y": {"for_each": [1, 2], "collect": "first", "nodes": {"ask": {"ask": {"message": "?"}}, "b": ["ask"]}},
    }
    told = foretold(nodes)
    assert told.finish["x[1]"] == 2.0
    assert set(told.start) <= set(told.finish)
    assert timeline_of(told).makespan == 2.0


@pytest.mark.parametrize(
    "raw",
    [
        {"expect": "${{ exit_code == 3 }}"},
        {"expect": "${{ output.rows > 0 and error == 'x' }}"},
        {"timeout": "1ms"},
        {"retry": {"attempts": 3, "when": "${{ output }}"}},
        {"writes": ["work/${{ nodes.first.output }}"]},
        {"env": {"X": "${{ nodes.first.output.x.y }}"}},
        {"timeout": "${{ nodes.first.output }}"},
    ],
    ids=lambda raw: " ".join(raw) + str(len(str(raw))),
)
def test_success_is_assumed(raw: dict[str, Any]) -> None:
    told = foretold({"first": [], "a": {**raw, "needs": ["first"]}, "b": ["a"]})
    assert timeline(told) == "first[0-1] a[1-2] b[2-3]"


def test_the_timeout_of_the_run_ends_no_plan() -> None:
    told = foretold({"a": {"estimate": "9s"}, "b": ["a"]}, timeout="5s")
    assert timeline(told) == "a[0-9] b[9-10]"
    assert told.makespan == 10


def test_what_is_given_is_served_and_takes_no_time() -> None:
    told = foretold({"a": {"estimate": 9}, "b": {"when": "${{ nodes.a.output == 7 }}"}}, Request(start_from=("b",)))
    assert timeline(told) == "b[0-1]"
    shown = told.document()["nodes"]
    assert [(name, n["start"], n["finish"], n["cached"]) for name, n in shown.items()] == [
        ("a", 0.0, 0.0, True),
        ("b", 0.0, 1.0, False),
    ]
    assert (shown["a"]["estimate"], shown["a"]["estimate_from"]) == (None, None)


def test_any_succeeded_does_not_wait_in_the_bound_either() -> None:
    nodes = {"a": [], "slow": {"estimate": 9}, "n": {"needs": ["a", "slow"], "trigger": "any_succeeded", "estimate": 3}}
    told = foretold(nodes)
    assert (told.makespan, told.lower_bound) == (9, 9)


def test_finally_counts_for_no_makespan() -> None:
    last: dict[str, Any] = {"finally": {"f": {"estimate": 9}}}
    told = foretold({"a": []}, **last)
    assert (timeline(told), told.makespan) == ("a[0-1] f[1-10]", 1)


def test_nodes_that_are_left_out_are_told_with_the_reason() -> None:
    nodes = {
        "a": {"when": False},
        "b": ["a"],
        "c": {"needs": ["a"], "trigger": "all_done"},
        "d": {"needs": ["c"], "trigger": "any_failed"},
    }
    told = foretold(nodes)
    assert told.left_out() == {"a": "its `when` is false", "b": "needs what does not run", "d": "waits for a failure"}
    notes = timeline_of(told).notes
    assert notes[0] == f"not in the plan: {', '.join(f'{name} ({why})' for name, why in told.left_out().items())}"


def test_where_estimates_come_from_is_counted_once() -> None:
    nodes = {"a": {"estimate": 2}, "b": [], "c": []}
    assert timeline_of(foretold(nodes)).notes == ("estimates: 1 declared, 2 assumed (1s)",)
    assert timeline_of(foretold({"a": {"estimate": 2}})).notes == ()


def test_of_the_bounds_by_work_that_of_the_scarcest_counts() -> None:
    nodes = {name: {"resources": {"gpu": 1, "cpu": 1.5}} for name in "abc"}
    told = foretold(nodes, resources={"gpu": 1, "cpu": 3})
    assert (told.scarcest, told.bounds) == ("gpu", {"critical_path": 1.0, "work": 3.0})
    assert timeline_of(told).bounds == {"critical path": 1.0, "work / gpu": 3.0}


def test_devices_keep_their_names_in_the_picture() -> None:
    nodes = {name: {"resources": {"gpu": 1, "memory": "2GiB"}} for name in "ab"}
    wide = {"gpu": 4, "memory": "8GiB", "disk": 3}
    shown = timeline_of(foretold(nodes, Request(cores=2, devices=("3", "GPU-8f")), resources=wide)).resources
    assert [(r.name, r.budget, r.unit, r.names) for r in shown] == [
        ("gpu", 2, "count", ("3", "GPU-8f")),
        ("memory", 8 * 2**30, "bytes", ()),
    ]


def test_a_plan_tells_all_that_a_run_can_be_compared_with() -> None:
    plan, _ = build(flow({"a": {"resources": {"cpu": 0.5}}, "b": {"estimate": "2s"}}, resources={"cpu": 2}))
    assert forecast(plan).document() == {
        "makespan": 2.0,
        "lower_bound": 2.0,
        "bounds": {"critical_path": 2.0, "work": 0.75},
        "scarcest": "slots",
        "workflow": "flow",
        "policy": "priority",
        "improved": False,
        "search": None,
        "concurrency": 4,
        "resources": {"cpu": 2.0},
        "critical_path": ["b"],
        "nodes": {
            "a": {
                "start": 0.0,
                "finish": 1.0,
                "cached": False,
                "why": None,
                "level": "normal",
                "score": 0.4625,
                "assumed": False,
                "estimate": 1.0,
                "estimate_from": "assumed",
                "resources": {"cpu": 0.5},
            },
            "b": {
                "start": 0.0,
                "finish": 2.0,
                "cached": False,
                "why": None,
                "level": "normal",
                "score": 0.6,
                "assumed": False,
                "estimate": 2.0,
                "estimate_from": "declared",
                "resources": {},
            },
        },
    }


@settings(max_examples=50)
@given(
    drawn=st.lists(
        st.tuples(
            st.integers(0, 5),
            st.integers(0, 2),
            st.lists(st.integers(0, 20), max_size=3),
            st.sampled_from(["all_succeeded", "all_done", "any_succeeded", "any_failed", "none_failed"]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_no_plan_undercuts_its_lower_bound(drawn: list[tuple[int, int, list[int], str]]) -> None:
    nodes: dict[str, Any] = {}
    for i, (seconds, gpu, before, trigger) in enumerate(drawn):
        needs = [f"n{n}" for n in sorted(set(before)) if n < i]
        nodes[f"n{i}"] = {"needs": needs, "estimate": seconds, "resources": {"gpu": gpu}}
        if needs:
            nodes[f"n{i}"]["trigger"] = trigger
    told = foretold(nodes, resources={"gpu": 2})
    assert told.lower_bound <= told.makespan + 1e-6
