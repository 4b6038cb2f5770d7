"""What holds in every schedule, whatever the workflow and the policy, and however wrong estimates are.

No budget and no number of slots is exceeded, no edge and no level is broken, nobody starves, and nothing idles that
fits and may run. The rules themselves are in the referee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.referee import Referee
from tests.helpers.simulate import Simulated, flow, simulate
from wfctl import events as ev
from wfctl.budget import Budget
from wfctl.course import plot
from wfctl.errors import Bug
from wfctl.plan import Plan
from wfctl.policy import IMPROVABLE, POLICIES
from wfctl.score import LEVELS

BUDGET = {"cpu": 4, "gpu": 2, "memory": "3MiB"}


@st.composite
def nodes(draw: st.DrawFn, estimates: Sequence[int | None] = (None, 0, 1, 1, 2, 3, 9)) -> dict[str, Any]:
    """Up to 14 nodes, many of which need the ones before; some say nothing of their time, some retry."""
    found: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 14))):
        said: dict[str, Any] = {
            "needs": sorted(draw(st.sets(st.sampled_from([*found]), max_size=2))) if found else [],
            "resources": {
                "cpu": draw(st.sampled_from([0, 1, 1, 2, 3, 4, 0.5])),
                "gpu": draw(st.sampled_from([0, 0, 0, 1, 2])),
                "memory": draw(st.sampled_from([0, 0, 1, "1MiB", "2MiB", "3MiB"])),
            },
            "priority": draw(st.sampled_from(LEVELS)),
            "group": draw(st.sampled_from(["", "a", "b"])),
            "deadline": draw(st.sampled_from([None, 0, 5, 50])),
            "estimate": draw(st.sampled_from(estimates)),
            "retry": {"attempts": 2, "delay": draw(st.integers(0, 5)), "jitter": False},
        }
        found[f"n{i}"] = {key: value for key, value in said.items() if value is not None}
    return found


def refereed(data: Any, change: Any = lambda plan: plan, **how: Any) -> tuple[Simulated, list[str]]:
    """A run, and the rules it broke: those of its plan, or of a changed one."""
    batches: list[Sequence[ev.Event]] = []
    run = simulate(data, watchers=[lambda batch, state: batches.append(list(batch))], **how)
    return run, Referee(change(run.plan), batches).faults


@settings(max_examples=250)
@given(
    nodes(),
    st.sampled_from(sorted(POLICIES)),
    st.integers(1, 5),
    st.sampled_from([1, 7, 30, "365d"]),
    st.none() | st.lists(st.integers(0, 12), min_size=14, max_size=14),
    st.sets(st.integers(0, 13), max_size=3),
)
def test_no_rule_is_broken(
    nodes: dict[str, Any], policy: str, slots: int, aging: int | str, truth: list[int] | None, failing: set[int]
) -> None:
    scheduling = {"policy": policy, "aging": aging, "groups": {"a": 2}}
    run, faults = refereed(
        flow(nodes, concurrency=slots, resources=BUDGET, scheduling=scheduling),
        seconds={f"n{i}": float(seconds) for i, seconds in enumerate(truth or ())},
        fails={f"n{i}": [1] for i in failing},
    )
    assert set(run.ended.values()) == {"ok"}
    assert faults == []


@settings(max_examples=150)
@given(
    nodes(estimates=[0, 1, 2, 3, 9]),
    st.sampled_from(IMPROVABLE),
    st.integers(1, 5),
    st.none() | st.lists(st.integers(0, 12), min_size=14, max_size=14),
    st.sets(st.integers(0, 13), max_size=3),
)
def test_no_rule_is_broken_where_a_plan_is_followed(
    nodes: dict[str, Any], policy: str, slots: int, truth: list[int] | None, failing: set[int]
) -> None:
    """It may hold back what fits; how that may idle, and whom it may delay, is for the tests of plans to say."""
    run, faults = refereed(
        flow(nodes, concurrency=slots, resources=BUDGET, scheduling={"policy": policy}),
        seconds={f"n{i}": float(seconds) for i, seconds in enumerate(truth or ())},
        fails={f"n{i}": [1] for i in failing},
        plot=plot,
    )
    assert set(run.ended.values()) == {"ok"}
    assert faults == []


# -- the referee itself


def stream() -> dict[str, Any]:
    """A large node among small ones that come two by two, out of step."""
    nodes: dict[str, Any] = {f"s{i}": {"resources": {"cpu": 1}, "estimate": 2, "priority": "low"} for i in range(40)}
    nodes["s0"] |= {"estimate": 3, "priority": "critical"}
    nodes["big"] = {"resources": {"cpu": 2}, "estimate": 1, "priority": "high"}
    nodes["after"] = {"needs": ["big"], "priority": "normal"}
    return flow(nodes, resources={"cpu": 2}, scheduling={"aging": "5s"})


def test_of_a_good_schedule_the_referee_says_nothing() -> None:
    run, faults = refereed(stream())
    assert run.timeline.startswith("s1[0-2] s0[0-3] big[3-4] after[4-5] s2[4-6]")
    assert faults == []


@pytest.mark.parametrize(
    ("passes", "seen"),
    [
        (True, ["s2 starts at 2.0 and delays big", "big is first and starts at"]),
        (False, ["s1 idles at 0.0 and may start"]),
    ],
)
def test_it_sees_when_no_place_or_too_much_is_kept_for_the_first(
    passes: bool, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "may_pass", lambda *_, **__: passes)
    run, faults = refereed(stream())
    assert all(any(text in fault for fault in faults) for text in seen), faults
    if passes:
        assert run.timeline.endswith("big[41-42] after[42-43]"), "it starves behind all of them"


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda plan: replace(plan, budget={"cpu": 1000}), "s1 starts at 0.0 over a budget"),
        (lambda plan: replace(plan, concurrency=1), "over a budget"),
        (lambda plan: replace(plan, policy="fifo"), "which ranks before it and may"),
    ],
)
def test_it_sees_what_another_plan_would_not_allow(change: Any, seen: str) -> None:
    _, faults = refereed(stream(), change)
    assert any(seen in fault for fault in faults), faults


def test_an_edge_that_is_broken_is_a_bug() -> None:
    def with_need(plan: Plan) -> Plan:
        return replace(plan, nodes={**plan.nodes, "s1": replace(plan.nodes["s1"], needs=("s0",))})

    with pytest.raises(Bug, match="node s1 is waiting"):
        refereed(stream(), with_need)
