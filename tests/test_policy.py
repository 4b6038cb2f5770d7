"""The order in which ready nodes are started, one slot at a time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.simulate import Memory, Simulated, flow, simulate
from wfctl import paper
from wfctl.noderun import READY
from wfctl.policy import POLICIES, age
from wfctl.score import LEVELS, WEIGHTS
from wfctl.state import RunState


def order(nodes: dict[str, Any], policy: str, **scheduling: Any) -> str:
    """The ids in the order in which they were started."""
    run = simulate(flow(nodes, concurrency=1, scheduling={"policy": policy, **scheduling}))
    return " ".join(attempt.split("/")[0] for attempt in run.attempts)


# -- fifo


def test_fifo_starts_first_what_was_ready_first() -> None:
    nodes = {"a": {"priority": "low"}, "b": {"needs": ["a"], "priority": "critical"}, "c": [], "d": {"estimate": "9s"}}
    assert order(nodes, "fifo") == "a c d b"


@pytest.mark.parametrize("policy", POLICIES)
def test_of_equals_the_first_ready_is_first(policy: str) -> None:
    assert order({"b": [], "a": [], "c": []}, policy) == "b a c"


# -- priority


def test_priority_starts_the_higher_level_first() -> None:
    nodes = {"low": {"priority": "low"}, "plain": [], "high": {"priority": "high"}, "top": {"priority": "critical"}}
    assert order(nodes, "priority") == "top high plain low"


def test_a_level_is_inherited_by_all_that_the_node_needs() -> None:
    nodes = {
        "plain": [],
        "base": {"priority": "low"},
        "middle": ["base"],
        "urgent": {"needs": ["middle"], "priority": "high"},
    }
    assert order(nodes, "priority") == "base middle urgent plain"


def test_a_level_that_the_score_gives_is_inherited_too() -> None:
    nodes = {"plain": [], "base": {"priority": "low"}, "paid": {"needs": ["base"], "user_level": "vip"}}
    assert order(nodes, "priority") == "base paid plain"


def test_a_level_is_inherited_through_paths_too() -> None:
    nodes = {"plain": [], "make": {"writes": ["x"]}, "use": {"reads": ["x"], "priority": "high"}}
    assert order(nodes, "priority") == "make use plain"


def test_a_low_level_is_not_inherited() -> None:
    nodes = {"base": [], "plain": [], "lazy": {"needs": ["base"], "priority": "low"}}
    assert order(nodes, "priority") == "base plain lazy"


def test_a_level_that_rises_with_a_deadline_is_inherited_from_that_moment_on() -> None:
    weights = {**dict.fromkeys(WEIGHTS, 0), "deadline": 1}
    for seconds, expected in ((9, "first plain base due"), (10, "first base due plain")):  # the last hour has begun
        nodes = {
            "first": {"estimate": seconds, "priority": "critical"},
            "plain": {"needs": ["first"], "estimate": 500},
            "base": ["first"],
            "due": {"needs": ["base"], "deadline": 3610},
        }
        assert order(nodes, "priority", weights=weights) == expected


def test_inside_a_level_the_higher_score_is_first() -> None:
    nodes = {name: {"business_value": value, "priority": "high"} for name, value in (("b", 50), ("a", 90), ("c", 10))}
    assert order(nodes, "priority") == "a b c"


def test_inside_a_level_the_longest_remaining_path_is_first() -> None:
    nodes = {"short": {"estimate": "2s"}, "head": {"estimate": "1s"}, "tail": {"needs": ["head"], "estimate": "9s"}}
    assert order(nodes, "priority") == "head tail short"


def test_of_equal_scores_the_longest_remaining_path_is_first() -> None:
    assert order({"a": [], "b": {"estimate": 5}}, "priority", weights={"dependency": 0}) == "b a"


def test_a_failed_attempt_adds_to_the_score_inside_a_level() -> None:
    retry = {"attempts": 2, "delay": 1, "jitter": False}
    nodes = {"first": {"retry": retry}, "second": [], "third": []}
    run = simulate(flow(nodes, concurrency=1), fails={"first": [1]})
    assert run.timeline == "first[0-1] second[1-2] first[2-3] third[3-4]"
    lower = {**nodes, "first": {"retry": retry, "priority": "low"}}
    run = simulate(flow(lower, concurrency=1), fails={"first": [1]})
    assert run.timeline == "second[0-1] third[1-2] first[2-3] first[4-5]"


def test_priority_is_the_default() -> None:
    run = simulate(flow({"plain": [], "high": {"priority": "high"}}, concurrency=1))
    assert run.timeline == "high[0-1] plain[1-2]"


# -- ageing


def chain(length: int) -> dict[str, Any]:
    """Nodes that become ready one after the other, each when the one before has ended."""
    return {f"n{i}": {"needs": [f"n{i - 1}"] if i else [], "estimate": 1} for i in range(length)}


def test_without_age_a_low_node_waits_for_all_of_a_higher_level() -> None:
    nodes = {"low": {"priority": "low", "estimate": 1}, **chain(30)}
    assert order(nodes, "priority", aging="365d").split()[-1] == "low"


def test_who_has_waited_for_the_time_of_aging_is_a_level_ahead() -> None:
    nodes = {"low": {"priority": "low", "estimate": 1}, **chain(30)}
    started = order(nodes, "priority", aging="10s").split()
    assert started.index("low") == 11  # n10 became ready 10 s later, and has the longer path; n11 is of a later tenth


def test_nodes_of_one_tenth_of_aging_are_of_one_age() -> None:
    for aging, expected in (("100s", "first second paid plain"), ("5s", "first second plain paid")):
        nodes = {
            "first": {"priority": "critical"},
            "second": {"priority": "critical", "estimate": 0.5},
            "plain": ["first"],
            "paid": {"needs": ["second"], "business_value": 90, "priority": "normal"},
        }
        assert order(nodes, "priority", aging=aging) == expected


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0.001, 1e6), st.integers(0, 3), st.integers(0, 3))
def test_a_whole_aging_earlier_is_as_good_as_a_level(
    ready: float, later: float, aging: float, one: int, other: int
) -> None:
    first, second = age(ready, aging) - 10 * one, age(ready + later, aging) - 10 * other
    if later >= aging * (other - one + 0.1):
        assert first <= second
    if one >= other:
        assert first <= second


# -- deadline


def test_the_earliest_deadline_is_first_and_none_is_last() -> None:
    nodes = {"none": {"priority": "critical"}, "b": {"deadline": 120}, "c": {"deadline": 180}, "a": {"deadline": 60}}
    assert order(nodes, "deadline") == "a b c none"


def test_what_a_node_needs_is_due_earlier_by_the_time_that_the_node_takes() -> None:
    for seconds, expected in ((30, "base other due"), (20, "other base due")):
        nodes = {
            "other": {"deadline": 75},
            "base": [],
            "due": {"needs": ["base"], "deadline": 100, "estimate": seconds},
        }
        assert order(nodes, "deadline") == expected


# -- critical path


def test_critical_path_asks_for_no_level() -> None:
    nodes = {"urgent": {"priority": "critical"}, "long": {"estimate": "10m"}}
    assert order(nodes, "critical_path") == "long urgent"


# -- all of them


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    nodes: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 15))):
        needs = sorted(draw(st.sets(st.integers(0, i - 1), max_size=2))) if i else []
        nodes[f"n{i}"] = {
            "needs": [f"n{n}" for n in needs],
            "estimate": draw(st.integers(0, 9)),
            "priority": draw(st.sampled_from(LEVELS)),
            "group": draw(st.sampled_from(["", "a", "b"])),
            "deadline": draw(st.integers(0, 60)),
            "retry": {"attempts": 2, "delay": 1},
        }
    scheduling = {"policy": draw(st.sampled_from(sorted(POLICIES))), "aging": draw(st.integers(1, 100))}
    return flow(nodes, concurrency=draw(st.integers(1, 3)), scheduling=scheduling)


@given(workflows(), st.sets(st.integers(0, 14), max_size=4), st.data())
def test_a_rank_depends_on_nothing_but_plan_and_what_was_recorded(
    data: dict[str, Any], failing: set[int], drawn: st.DataObject
) -> None:
    run = simulate(data, fails={f"n{i}": [1] for i in failing if f"n{i}" in data["nodes"]})
    kept = run.journal.kept[: drawn.draw(st.integers(1, len(run.journal.kept)))]
    state, rank = replayed(run, kept), POLICIES[run.plan.policy]
    from_checkpoint = paper.from_data(run.plan, paper.to_data(state))
    later = replayed(run, kept)
    later.time += 12345
    for name, node in run.plan.nodes.items():
        if state.nodes[name].state is READY:
            ranks = [rank(node, run.plan, other) for other in (state, from_checkpoint, later)]
            assert ranks[0] == ranks[1] == ranks[2]


def replayed(run: Simulated, kept: list[dict[str, Any]]) -> RunState:
    """The state that the first events of a run lead to."""
    part = Simulated(run.plan, Memory(kept=kept), [], run.state)
    state = RunState(run.plan)
    for event in part.events:
        state.apply(event)
    return state
