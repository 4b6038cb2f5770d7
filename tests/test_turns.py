"""Groups that share by weight: the policy `fair`, with one slot where shares are measured."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.simulate import Simulated, flow, simulate
from wfctl import events as ev


def shared(nodes: dict[str, Any], groups: dict[str, float], slots: int = 1, **keys: Any) -> Simulated:
    resources = keys.pop("resources", {})
    data = flow(nodes, concurrency=slots, resources=resources, scheduling={"policy": "fair", "groups": groups})
    return simulate(data, **keys)


def many(group: str, count: int, **said: Any) -> dict[str, Any]:
    return {f"{group}{i}": {"group": group, "estimate": 1, **said} for i in range(count)}


def order(run: Simulated) -> str:
    return " ".join(attempt.split("/")[0] for attempt in run.attempts)


def test_groups_of_equal_weight_take_turns() -> None:
    assert order(shared({**many("a", 3), **many("b", 3)}, {})) == "a0 b0 a1 b1 a2 b2"


def test_a_group_of_twice_the_weight_has_twice_the_turns() -> None:
    assert order(shared({**many("a", 6), **many("b", 3)}, {"a": 2})) == "a0 b0 a1 b1 a2 a3 b2 a4 a5"


def test_nodes_without_a_group_are_one_group() -> None:
    run = shared({**many("a", 2), "x": {"estimate": 1}, "y": {"estimate": 1}}, {})
    assert order(run) == "a0 x a1 y"


def test_inside_a_group_the_order_is_that_of_priority() -> None:
    nodes = {**many("a", 3), **many("b", 3)}
    nodes["a2"]["priority"] = nodes["b1"]["priority"] = "high"
    assert order(shared(nodes, {})) == "a2 b1 a0 b0 a1 b2"


def test_who_comes_later_and_matters_more_is_first_of_its_own_group() -> None:
    nodes = {**many("a", 4), **many("b", 4), "late": {"group": "b", "needs": ["a1"], "priority": "high", "estimate": 1}}
    assert order(shared(nodes, {})) == "a1 late a0 b0 a2 b1 a3 b2 b3"  # what `late` needs is high too


def test_time_counts_and_not_the_number_of_nodes() -> None:
    nodes = {**many("a", 2, estimate=4), **many("b", 8)}
    assert order(shared(nodes, {})) == "a0 b0 b1 b2 b3 a1 b4 b5 b6 b7"


def test_the_time_that_nodes_took_counts_and_not_their_estimate() -> None:
    nodes = {**many("a", 2), **many("b", 8)}
    run = shared(nodes, {}, seconds={"a0": 4, "a1": 4})
    assert order(run) == "a0 b0 b1 b2 b3 a1 b4 b5 b6 b7"


def test_a_failed_attempt_counts_too() -> None:
    nodes = {**many("a", 2, retry={"attempts": 2, "delay": 0}), **many("b", 4)}
    assert order(shared(nodes, {}, fails={"a0": [1], "a1": [1]})).split()[:6] == ["a0", "b0", "a0", "b1", "a1", "b2"]


def test_what_holds_more_of_a_budget_counts_more() -> None:
    nodes = {**many("a", 2, resources={"gpu": 4}), **many("b", 8, resources={"gpu": 1})}
    run = shared(nodes, {}, slots=8, resources={"gpu": 4})
    assert run.timeline == "a0[0-1] b0[1-2] b1[1-2] b2[1-2] b3[1-2] a1[2-3] b4[3-4] b5[3-4] b6[3-4] b7[3-4]"


def test_a_group_that_was_idle_gets_no_credit_for_it() -> None:
    nodes = {"early": {"group": "a", "estimate": 30, "priority": "high"}, **many("a", 5)}
    nodes |= many("b", 5, needs=["early"])
    assert order(shared(nodes, {})) == "early a0 b0 a1 b1 a2 b2 a3 b3 a4 b4"


def test_what_fits_of_another_group_passes_what_does_not() -> None:
    nodes = {**many("a", 2, resources={"gpu": 1}), **many("b", 2)}
    assert shared(nodes, {}, slots=2, resources={"gpu": 1}).timeline == "a0[0-1] b0[0-1] b1[1-2] a1[1-2]"


def test_the_first_of_all_groups_does_not_starve_behind_small_ones_of_another() -> None:
    nodes = {"small": {"estimate": 3, "group": "b", "priority": "high", "resources": {"gpu": 1}}}
    nodes |= {"big": {"estimate": 1, "group": "a", "resources": {"gpu": 2}}}
    nodes |= many("b", 3, estimate=5, resources={"gpu": 1})
    run = shared(nodes, {}, slots=4, resources={"gpu": 2})
    assert run.timeline == "small[0-3] big[3-4] b0[4-9] b1[4-9] b2[9-14]"


SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=25)
WEIGHTS = st.integers(1, 5)


@settings(max_examples=200)
@given(SIZES, SIZES, WEIGHTS, WEIGHTS, st.integers(0, 10), st.booleans())
def test_shares_differ_by_no_more_than_a_node_of_each_while_both_want_something(
    one: list[int], other: list[int], weight: int, other_weight: int, head_start: int, told: bool
) -> None:
    """The bound of start-time fair queueing (Goyal, Vin and Cheng 1996, theorem 1), from the moment on at which both
    groups have something ready until one has nothing left, whether the estimates are right or not."""
    first = [f"h{i}" for i in range(head_start)]
    nodes: dict[str, Any] = {
        n: {"group": "a", "priority": "high", "needs": first[:i][-1:]} for i, n in enumerate(first)
    }
    nodes |= {f"a{i}": {"group": "a"} for i in range(len(one))}
    nodes |= {f"b{i}": {"group": "b", "needs": first[-1:]} for i in range(len(other))}
    sizes = {f"a{i}": s for i, s in enumerate(one)} | {f"b{i}": s for i, s in enumerate(other)}
    if told:
        for name, size in sizes.items():
            nodes[name]["estimate"] = size
    weights = {"a": weight, "b": other_weight}
    run = shared(nodes, dict(weights), seconds=dict(sizes))
    begun = max((run.state.nodes[name].finished or 0.0 for name in first), default=0.0)
    used, left = {"a": 0.0, "b": 0.0}, {"a": len(one), "b": len(other)}
    largest = {"a": max([*one, 1]), "b": max(other)}
    for event in run.events:
        if isinstance(event, ev.NodeStarted) and event.node in sizes:
            left[event.node[0]] -= 1
        if isinstance(event, ev.NodeSucceeded) and event.node in sizes and event.time > begun:
            used[event.node[0]] += event.seconds
        if not all(left.values()):
            break
        apart = abs(used["a"] / weight - used["b"] / other_weight)
        assert apart <= largest["a"] / weight + largest["b"] / other_weight + 1e-6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=20))
def test_no_slot_is_idle_while_something_fits(drawn: list[tuple[str, int, int]]) -> None:
    nodes: dict[str, Any] = {
        f"n{i}": {"group": g, "estimate": s, "resources": {"gpu": gpu}} for i, (g, gpu, s) in enumerate(drawn)
    }
    run = shared({n: {**node, "estimate": None} for n, node in nodes.items()}, {}, slots=3, resources={"gpu": 3})
    assert {str(r.state) for r in run.state.nodes.values()} == {"succeeded"}
    starts = {e.node: e.time for e in run.events if isinstance(e, ev.NodeStarted)}
    ends = {e.node: e.time for e in run.events if isinstance(e, ev.NodeSucceeded)}
    for moment in sorted(set(ends.values()))[:-1]:
        running = [n for n in starts if starts[n] <= moment < ends[n]]
        free = 3 - sum(nodes[n]["resources"]["gpu"] for n in running)
        waiting = [n for n in starts if starts[n] > moment]
        assert len(running) == 3 or all(nodes[n]["resources"]["gpu"] > free for n in waiting)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_run_that_died_goes_on_with_its_groups(cut: int) -> None:
    run = shared({**many("a", 4), **many("b", 4)}, {"a": 3}, signals=[(cut / 2, 15)])
    scheduling = {"policy": "fair", "groups": {"a": 3}}
    again = simulate(flow({**many("a", 4), **many("b", 4)}, concurrency=1, scheduling=scheduling), run=run)
    assert {str(r.state) for r in again.state.nodes.values()} == {"succeeded"}
