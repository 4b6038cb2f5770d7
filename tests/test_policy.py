"""The order in which ready nodes are started, one slot at a time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.simulate import flow, simulate


def order(nodes: dict[str, Any], policy: str, **keys: Any) -> str:
    """The ids in the order in which they were started."""
    run = simulate(flow(nodes, concurrency=1, scheduling={"policy": policy}, **keys))
    return " ".join(attempt.split("/")[0] for attempt in run.attempts)


def test_fifo_starts_first_what_was_ready_first() -> None:
    nodes = {"a": {"priority": "low"}, "b": {"needs": ["a"], "priority": "critical"}, "c": [], "d": {"estimate": "9s"}}
    assert order(nodes, "fifo") == "a c d b"


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


def test_a_level_is_inherited_through_paths_too() -> None:
    nodes = {"plain": [], "make": {"writes": ["x"]}, "use": {"reads": ["x"], "priority": "high"}}
    assert order(nodes, "priority") == "make use plain"


def test_a_low_level_is_not_inherited() -> None:
    nodes = {"base": [], "plain": [], "lazy": {"needs": ["base"], "priority": "low"}}
    assert order(nodes, "priority") == "base plain lazy"


def test_inside_a_level_the_longest_remaining_path_is_first() -> None:
    nodes = {"short": {"estimate": "2s"}, "head": {"estimate": "1s"}, "tail": {"needs": ["head"], "estimate": "9s"}}
    assert order(nodes, "priority") == "head tail short"


def test_critical_path_asks_for_no_level() -> None:
    nodes = {"urgent": {"priority": "critical"}, "long": {"estimate": "10m"}}
    assert order(nodes, "critical_path") == "long urgent"


@pytest.mark.parametrize("policy", ["fifo", "priority", "critical_path"])
def test_of_equals_the_first_ready_is_first(policy: str) -> None:
    assert order({"b": [], "a": [], "c": []}, policy) == "b a c"


def test_priority_is_the_default() -> None:
    run = simulate(flow({"plain": [], "high": {"priority": "high"}}, concurrency=1))
    assert run.timeline == "high[0-1] plain[1-2]"
