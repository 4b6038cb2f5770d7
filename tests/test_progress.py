"""How far a run is and how long it may still take: nothing is said where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.helpers.replay import turns
from tests.helpers.simulate import flow, simulate
from wfctl.renderers.progress import Progress


def progress(data: Mapping[str, Any], moment: float, **keys: Any) -> Progress:
    """The progress of a simulated run after all that had happened at a moment."""
    kept = None
    for event, state in turns(simulate(data, **keys)):
        if event.time > moment:
            break
        if kept is None:
            kept = Progress(state)
        else:
            kept.take(event)
    assert kept is not None
    return kept


def test_with_estimates_the_time_left_is_the_plan_s() -> None:
    data = flow({f"n{i}": {"estimate": 10.0} for i in range(8)}, concurrency=2)
    assert progress(data, 0.0).left(0.0) == pytest.approx(40)
    assert progress(data, 0.0).left(5.0) == pytest.approx(35)
    assert progress(data, 10.0).left(10.0) == pytest.approx(30)


def test_a_scarce_resource_counts_and_not_the_slots() -> None:
    node = {"estimate": 10.0, "resources": {"gpu": 1}}
    data = flow({f"n{i}": node for i in range(4)}, concurrency=4, resources={"gpu": 1})
    assert progress(data, 0.0).left(0.0) == pytest.approx(40)


def test_the_longest_path_counts_where_it_is_longer_than_the_work() -> None:
    data = flow({"a": {"estimate": 5.0}, "b": {"estimate": 5.0, "needs": ["a"]}, "c": {"estimate": 1.0}}, concurrency=4)
    assert progress(data, 0.0).left(0.0) == pytest.approx(10)
    assert progress(data, 5.0).left(7.0) == pytest.approx(3)


def test_estimates_that_prove_wrong_are_corrected_by_what_was_seen() -> None:
    data = flow({f"n{i}": {"estimate": 1.0} for i in range(4)}, concurrency=1)
    seen = progress(data, 6.0, seconds={f"n{i}": 3.0 for i in range(4)})
    assert seen.left(6.0) == pytest.approx(6)


def test_without_estimates_nothing_is_said_before_enough_was_seen() -> None:
    data = flow({f"n{i}": [] for i in range(10)}, concurrency=1)
    took = {f"n{i}": 4.0 for i in range(10)}
    assert progress(data, 8.0, seconds=took).left(8.0) is None
    assert progress(data, 12.0, seconds=took).left(12.0) == pytest.approx(28)


def test_a_node_that_takes_longer_than_anybody_thought_has_no_time_left_to_tell() -> None:
    assert progress(flow({"a": {"estimate": 5.0}}), 0.0).left(60.0) is None


def test_a_run_that_is_being_stopped_has_no_time_left_to_tell() -> None:
    data = flow({"a": {"estimate": 100.0}})
    assert progress(data, 10.0, signals=[(10.0, 2)]).left(10.0) is None


def test_counts_follow_the_events() -> None:
    run = progress(flow({"a": [], "b": ["a"], "c": ["a"]}, concurrency=1), 1.0)
    assert (run.done, run.total, run.ended, list(run.running)) == (1, 3, {"succeeded": 1}, ["b"])


def test_a_node_between_two_attempts_runs_no_more_and_is_no_end() -> None:
    data = flow({"a": {"retry": {"attempts": 2, "delay": 5.0, "jitter": False}}})
    run = progress(data, 1.0, fails={"a": [1, 0]})
    assert (run.done, list(run.running), run.retrying) == (0, [], {"a": 6.0})
