"""A plan that is followed: its order inside each level, who waits for whose units, and when it is given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers.simulate import CrashAt, Simulated, build, flow, simulate
from wfctl import events as ev
from wfctl import paper
from wfctl.course import DRIFT, SLACK, plot
from wfctl.forecast import forecast
from wfctl.state import RunState, fold

TIGHT = {
    "first": {"estimate": 2, "resources": {"cpu": 2}},
    "wide": {"estimate": 4, "resources": {"cpu": 4}, "needs": ["first"]},
    "long": {"estimate": 6, "resources": {"cpu": 1}},
    "last": {"estimate": 3, "resources": {"cpu": 3}, "needs": ["wide"]},
}
"""Started as soon as it fits, `long` would keep `wide` waiting until 6: in all 13 seconds. Held back until 6, 12."""


def tight(policy: str = "critical_path", **keys: Any) -> dict[str, Any]:
    return flow(TIGHT, resources={"cpu": 4}, scheduling={"policy": policy}, **keys)


def planned(run: Simulated) -> list[str]:
    """Why each plan was made."""
    return [event.reason for event in run.events if isinstance(event, ev.RunPlanned)]


def test_the_policy_alone_starts_whatever_fits() -> None:
    assert simulate(tight()).timeline == "first[0-2] long[0-6] wide[6-10] last[10-13]"


def test_a_plan_holds_back_what_would_delay_what_matters_more() -> None:
    run = simulate(tight(), plot=plot)
    assert run.timeline == "first[0-2] wide[2-6] last[6-9] long[6-12]"
    assert planned(run) == ["start"]


def test_the_forecast_follows_the_plan_that_a_run_follows() -> None:
    plan, _ = build(tight())
    foretold, run = forecast(plan, plot=plot), simulate(tight(), plot=plot)
    starts = {event.node: event.time for event in run.events if isinstance(event, ev.NodeStarted)}
    assert (foretold.start, foretold.makespan) == (starts, 12)


@st.composite
def crowded(draw: st.DrawFn) -> dict[str, Any]:
    """A workflow whose nodes ask for more than there is, each with its estimate."""
    nodes: dict[str, Any] = {}
    for number in range(draw(st.integers(4, 10))):
        nodes[f"n{number}"] = {
            "estimate": draw(st.sampled_from([0.1, 0.2, 0.3, 1, 2.5])),
            "resources": {"cpu": draw(st.integers(1, 4)), "licence": draw(st.integers(0, 2))},
            "needs": draw(st.lists(st.sampled_from(sorted(nodes)), max_size=2, unique=True)) if nodes else [],
            **({"priority": level} if (level := draw(st.sampled_from(["low", "normal", "high", ""]))) else {}),
        }
    policy = draw(st.sampled_from(["priority", "critical_path"]))
    supply = {"cpu": 4, "licence": 2}
    return flow(nodes, resources=supply, scheduling={"policy": policy}, concurrency=draw(st.integers(1, 4)))


@settings(max_examples=100, deadline=None)
@given(crowded())
def test_a_run_that_lasts_as_estimated_starts_each_node_when_it_is_planned(data: dict[str, Any]) -> None:
    run = simulate(data, plot=plot)
    plans = [event for event in run.events if isinstance(event, ev.RunPlanned)]
    assume(plans)
    begun = {event.node: event.time for event in run.events if isinstance(event, ev.NodeStarted)}
    assert len(plans) == 1
    assert {node: begun[node] for node in plans[0].order} == dict(zip(plans[0].order, plans[0].start, strict=True))


def test_what_ends_early_or_late_moves_those_that_wait_for_its_units_alone() -> None:
    early = simulate(tight(), seconds={"wide": 1}, plot=plot)
    assert early.timeline == "first[0-2] wide[2-3] last[3-6] long[3-9]"
    late = simulate(tight(), seconds={"wide": 4.3}, plot=plot)
    assert late.timeline == "first[0-2] wide[2-6.3] last[6.3-9.3] long[6.3-12.3]"
    assert planned(early) == planned(late) == ["start"]


def test_what_is_late_is_planned_again() -> None:
    """`first` needs ten times as long: nothing is gained any more by holding `long` back for `wide`."""
    run = simulate(tight(), seconds={"first": 20}, plot=plot)
    assert planned(run) == ["start", "drift"]
    begun = {event.node: event.time for event in run.events if isinstance(event, ev.NodeStarted)}
    assert 6 + SLACK <= begun["long"] < 20, "it fits beside first, which was to be long over"


def test_where_estimates_are_far_off_nothing_waits_for_longer_than_it_was_planned_to() -> None:
    """Without another plan: then what is late simply starts, once it fits."""
    seldom: list[str] = []

    def once(state: RunState, now: float, reason: str) -> ev.RunPlanned | None:
        seldom.append(reason)
        return plot(state, now, reason) if reason == "start" else None

    run = simulate(tight(), seconds={"first": 20}, plot=once)
    begun = {event.node: event.time for event in run.events if isinstance(event, ev.NodeStarted)}
    assert begun["long"] == pytest.approx(6 + max(SLACK, DRIFT * 6))
    assert seldom == ["start", "drift"]


def test_levels_are_law_whatever_is_shorter() -> None:
    nodes = {
        "low": {"estimate": 9, "resources": {"cpu": 1}, "priority": "low"},
        "a": {"estimate": 1, "resources": {"cpu": 1}, "priority": "high"},
        "b": {"estimate": 1, "resources": {"cpu": 2}, "priority": "high", "needs": ["a"]},
    }
    run = simulate(flow(nodes, resources={"cpu": 2}), plot=plot)
    assert run.timeline == "a[0-1] b[1-2] low[2-11]"


@pytest.mark.parametrize("policy", ["fifo", "fair", "deadline"])
def test_an_order_that_says_who_is_next_is_never_improved(policy: str) -> None:
    run = simulate(tight(policy), plot=plot)
    assert planned(run) == []
    assert run.timeline == simulate(tight(policy)).timeline


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"long": {"resources": {"cpu": 1}}}, id="an estimate is guessed"),
        pytest.param({"wide": {"estimate": 4, "needs": ["first"]}, "last": {"estimate": 3}}, id="nothing contends"),
    ],
)
def test_there_is_no_plan_where_it_could_tell_nothing(change: Mapping[str, Any]) -> None:
    run = simulate(flow({**TIGHT, **change}, resources={"cpu": 4}, concurrency=9), plot=plot)
    assert planned(run) == []


def test_a_resumed_run_is_planned_anew_from_where_it_stands() -> None:
    crashed = simulate(tight(), plot=plot, crash=CrashAt("submitted", 2))
    run = simulate(tight(), run=crashed, plot=plot)
    assert planned(run) == ["start", "resume"]
    assert run.state.status == "succeeded"
    assert run.state.exit_code == 0


def test_a_plan_outlives_a_checkpoint() -> None:
    crashed = simulate(tight(), plot=plot, crash=CrashAt("recorded", 1))
    state = fold(crashed.events, lambda event: crashed.plan)
    kept = paper.from_data(crashed.plan, paper.to_data(state))
    assert kept.course == state.course is not None
    assert paper.to_data(kept) == paper.to_data(state)


def test_a_failed_node_gives_its_units_back_to_those_that_wait_for_them() -> None:
    run = simulate(tight(on_failure="continue"), fails={"wide": 1}, plot=plot)
    assert run.timeline == "first[0-2] wide[2-6] long[6-12]"
    assert run.ended["last"] == "skipped:needs"


def test_a_node_that_is_skipped_keeps_nobody_waiting() -> None:
    nodes = {**TIGHT, "wide": {**TIGHT["wide"], "when": "${{ nodes.first.output == 1 }}"}}
    data = flow(nodes, resources={"cpu": 4}, scheduling={"policy": "critical_path"})
    run = simulate(data, outputs={"first": 0}, plot=plot)
    assert run.timeline == "first[0-2] long[2-8]"
