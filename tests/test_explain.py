"""Why a node ranks where it does, and what it waits for: the document, and how it is drawn."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.simulate import Memory, Simulated, build, flow, simulate
from tests.test_keeping import Shelf
from tests.test_score import workflows
from wfctl.errors import UsageError
from wfctl.explain import document
from wfctl.forecast import forecast
from wfctl.jobs import LowDisk
from wfctl.renderers.explanation import render
from wfctl.score import LEVELS, level_at
from wfctl.standing import own_rises
from wfctl.state import RunState


def foretold(nodes: dict[str, Any], node: str, **keys: Any) -> dict[str, Any]:
    """What `plan --explain NODE --json` says."""
    plan, problems = build(flow(nodes, **keys))
    assert not problems, problems
    return forecast(plan, node).explanation()


def during(nodes: dict[str, Any], node: str, moment: float, status: str = "running", **keys: Any) -> dict[str, Any]:
    """What is said of a node of a run at a moment, as its journal tells it until then."""
    options = {name: keys.pop(name) for name in ("fails", "signals", "keeping") if name in keys}
    run = simulate(flow(nodes, **keys), **options)
    part = Simulated(run.plan, Memory([data for data in run.journal.kept if told(run, data) <= moment]), [], run.state)
    state = RunState(run.plan)
    for event in part.events:
        state.apply(event)
    return document(run.plan, state, node, moment, status)


def told(run: Simulated, data: dict[str, Any]) -> float:
    return Simulated(run.plan, Memory([data]), [], run.state).events[0].time


def text(said: dict[str, Any], **how: Any) -> str:
    return render(said, **how)


# -- the sum


def test_the_sum_is_there_line_by_line() -> None:
    node = {"deadline": "20m", "business_value": 80, "user_level": "vip", "resources": {"gpu": 1}, "estimate": 3}
    said = foretold({"a": node, "b": {"needs": ["a"], "estimate": 1}}, "a", resources={"gpu": 2})
    assert said["factors"] == {
        "deadline": {"value": 0.7, "weight": 0.25, "product": 0.175, "why": "due in 20m"},
        "business_value": {"value": 0.8, "weight": 0.2, "product": 0.16, "why": "80 of 100"},
        "resource": {"value": 0.5, "weight": 0.15, "product": 0.075, "why": "gpu: 1 of 2"},
        "dependency": {"value": 1.0, "weight": 0.2, "product": 0.2, "why": "4s left of 4s, the longest path"},
        "user": {"value": 1.0, "weight": 0.2, "product": 0.2, "why": "user_level vip"},
    }
    assert (said["score"], said["level"], said["level_by"]) == (0.81, "critical", "score")


def test_what_is_not_said_counts_half_and_is_told_so() -> None:
    said = foretold({"a": {"estimate": 0}}, "a")
    assert {name: line["value"] for name, line in said["factors"].items()} == dict.fromkeys(said["factors"], 0.5)
    assert [line["why"] for line in said["factors"].values()] == [
        "not said", "not said", "asks for no resource", "all paths take no time", "not said",
    ]  # fmt: skip


def test_a_deadline_is_told_as_it_was_when_the_node_became_ready() -> None:
    nodes = {"a": {"estimate": 40}, "b": {"needs": ["a"], "deadline": 60}, "c": {"needs": ["a"], "deadline": 30}}
    assert foretold(nodes, "b")["factors"]["deadline"]["why"] == "due in 20s"
    assert foretold(nodes, "c")["factors"]["deadline"]["why"] == "overdue by 10s"


@given(workflows(), st.data())
def test_the_lines_add_up_to_the_score_and_the_score_is_the_plan_s(data: dict[str, Any], drawn: st.DataObject) -> None:
    plan, _ = build(data)
    name = drawn.draw(st.sampled_from(sorted(plan.nodes)))
    told = forecast(plan, name)
    said = told.explanation()
    assert sum(line["product"] for line in said["factors"].values()) == pytest.approx(said["score"])
    row = told.document()["nodes"][name]
    assert (row["level"], row["score"]) == (said["level"], pytest.approx(said["score"]))


# -- the level


def test_a_level_tells_where_it_comes_from() -> None:
    nodes = {"a": [], "b": {"priority": "high"}, "c": {"user_level": "vip"}}
    ways = {name: (said["level"], said["level_by"]) for name in nodes for said in [foretold(nodes, name)]}
    assert ways == {"a": ("normal", "default"), "b": ("high", "priority"), "c": ("high", "score")}


def test_an_inherited_level_tells_of_whom_and_by_which_way() -> None:
    nodes = {"a": [], "b": ["a"], "c": {"needs": ["b"], "priority": "critical"}, "d": {"needs": ["a"]}}
    said = foretold(nodes, "a")
    assert (said["level"], said["inherited"]) == ("critical", ["b", "c"])
    assert "critical, inherited from c, by b" in text(said)


def test_a_level_is_inherited_out_of_groups_and_into_them() -> None:
    group = {"nodes": {"a": [], "b": {"needs": ["a"], "nodes": {"c": []}}}}
    nodes = {"up": [], "g": {**group, "needs": ["up"]}, "y": {"needs": ["g"], "priority": "critical"}}
    assert foretold(nodes, "g.a")["inherited"] == ["g.b", "g.b.c", "y"]
    assert foretold(nodes, "g.b.c")["inherited"] == ["y"]
    each = {"for_each": [1, 2], "priority": "${{ 'high' if item == 2 else 'low' }}", "needs": ["up"]}
    assert foretold({"up": [], "e": each}, "up")["inherited"] == ["e", "e[1]"]


def test_what_lies_in_another_waits_for_what_that_waits_for() -> None:
    nodes = {"up": [], "g": {"nodes": {"a": []}, "needs": ["up"]}, "e": {"for_each": [1, 2, 3], "max_parallel": 1}}
    said = during(nodes, "g.a", 0.5)
    assert said["waits"] == [{"for": "needs", "nodes": {"up": "running"}, "trigger": "all_succeeded"}]
    said = during(nodes, "e[2]", 0.5)
    assert said["waits"] == [{"for": "needs", "nodes": {"e[0]": "running"}, "trigger": "all_succeeded"}]


def test_a_level_that_will_rise_says_when() -> None:
    node = {"deadline": "2h", "business_value": 90, "user_level": "vip", "estimate": 0}
    said = foretold({"a": node}, "a")
    assert said["rises"] == {"critical": 7200.0}
    assert "high, by its score; critical from 2h 00m on" in text(said)


@given(workflows(), st.data())
def test_the_heir_has_the_level_for_itself(data: dict[str, Any], drawn: st.DataObject) -> None:
    plan, _ = build(data)
    name = drawn.draw(st.sampled_from(sorted(plan.nodes)))
    said = forecast(plan, name).explanation()
    before = name
    for other in said["inherited"]:
        assert before in plan.nodes[other].needs
        before = other
    heir = plan.nodes[before]
    own = own_rises(heir.node, heir.standing.score, plan.weights)
    assert LEVELS[level_at(own, said["ready"])] == said["level"]


# -- what it waits for


def test_a_node_that_starts_when_it_is_ready_waits_for_nothing() -> None:
    said = foretold({"a": {"estimate": 2}, "b": ["a"]}, "b")
    assert (said["ready"], said["start"], said["finish"], said["waits"]) == (2.0, 2.0, 3.0, [])
    assert text(said).startswith("b  ready at 2.0s and starts\n")


def test_a_slot_that_is_not_free_is_told_with_who_holds_it() -> None:
    said = foretold({"a": {"estimate": 4}, "b": {"estimate": 2}, "c": []}, "c", concurrency=2)
    assert said["waits"] == [{"for": "slot", "needs": 1, "free": 0, "budget": 2, "holders": {"a": 1, "b": 1}}]
    shown = text(said)
    assert shown.startswith("c  ready at 0s, starts 2.0s later\n")
    assert "at 0s it waits for\n  slot      all 2 are taken, by a, b\n" in shown


def test_every_resource_that_is_short_is_told_with_who_holds_how_much() -> None:
    nodes = {
        "a": {"estimate": 9, "resources": {"gpu": 2, "cpu": 1.5}},
        "b": {"resources": {"gpu": 2, "cpu": 1, "memory": "1GiB"}, "priority": "low"},
    }
    said = foretold(nodes, "b", resources={"gpu": 3, "cpu": 2, "memory": "4GiB"})
    assert said["waits"] == [
        {"for": "resource", "name": "cpu", "needs": 1000, "free": 500, "budget": 2000, "holders": {"a": 1500}},
        {"for": "resource", "name": "gpu", "needs": 2, "free": 1, "budget": 3, "holders": {"a": 2}},
    ]
    assert "  cpu       wants 1, 0.5 of 2 is free; held by a (1.5)\n" in text(said)


def test_what_is_kept_for_another_is_told_with_its_name() -> None:
    nodes = {
        "a": {"estimate": 4, "resources": {"gpu": 1}, "priority": "critical"},
        "big": {"estimate": 1, "resources": {"gpu": 2}, "priority": "high"},
        "small": {"estimate": 9, "resources": {"gpu": 1}},
    }
    said = foretold(nodes, "small", resources={"gpu": 2})
    assert said["waits"] == [{"for": "reservation", "of": "big"}]
    assert "  order     what is free is kept for big, which comes first\n" in text(said)


def test_what_is_shared_with_other_runs_is_named_where_nothing_of_its_own_is_short() -> None:
    nodes = {"b": {"resources": {"gpu": 1}, "estimate": 1}}
    shared: dict[str, Any] = {"resources": {"gpu": {"amount": 1, "share": "machine"}}}
    run = simulate(flow(nodes, **shared))
    state = RunState(run.plan)
    state.apply(run.events[0])
    said = document(run.plan, state, "b", 2.0)
    assert said["waits"] == [{"for": "others", "names": ["gpu"]}]
    assert "  others    other runs here, with which it shares gpu\n" in text(said)
    assert foretold(nodes, "b", **shared)["waits"] == []


def test_needs_that_have_not_ended_are_told_with_their_states() -> None:
    nodes = {"a": {"estimate": 4}, "b": {"estimate": 1}, "c": {"needs": ["a", "b"]}}
    said = during(nodes, "c", 2.0)
    assert said["waits"] == [{"for": "needs", "nodes": {"a": "running"}, "trigger": "all_succeeded"}]
    assert "  needs     a (running)\n" in text(said)


def test_who_waits_for_its_twin_is_told_for_whom() -> None:
    shelf = Shelf(same={"a": "k", "b": "k"})
    kept = {"idempotency": True}
    said = during({"a": kept, "b": kept}, "b", 0.0, keeping=shelf)
    assert said["waits"] == [{"for": "twin", "holder": "node a"}]
    assert "twin      node a, which works on the same key" in text(said)


def test_the_next_attempt_is_told_with_its_moment_and_its_bonus() -> None:
    nodes = {"a": {"estimate": 1, "retry": {"attempts": 3, "delay": 10, "jitter": False}}}
    said = during(nodes, "a", 3.0, fails={"a": [1]})
    assert (said["state"], said["waits"]) == ("retrying", [{"for": "retry", "at": 11.0}])
    assert (said["failed_attempts"], said["bonus"]) == (1, 0.2)
    assert "  retry     its next attempt, due in 8.0s\n" in text(said)
    assert "  retries   1 failed attempt: 0.2 more than the score, inside the level\n" in text(said)


def test_age_is_told_in_levels() -> None:
    nodes = {"a": {"estimate": 100}, "b": {"estimate": 1}}
    said = during(nodes, "b", 65.0, concurrency=1, scheduling={"aging": "100s"})
    assert (said["waited"], said["age"]) == (65.0, 0.6)
    assert "ready since 1m 05s: 0.6 levels ahead of what becomes ready now" in text(said)


def test_a_running_node_waits_for_nothing_and_counts_no_failure() -> None:
    said = during({"a": {"estimate": 5}}, "a", 2.0)
    assert (said["state"], said["waits"], said["failed_attempts"]) == ("running", [], 0)


def test_without_an_engine_that_is_the_first_reason() -> None:
    said = during({"a": {"estimate": 5}, "b": ["a"]}, "b", 2.0, status="interrupted")
    assert said["waits"][0] == {"for": "engine"}
    assert "wfctl resume" in text(said)


def test_a_run_that_starts_nothing_more_says_why() -> None:
    full = LowDisk(error="the disk is full")
    said = during({"a": {"estimate": 5}, "b": []}, "b", 2.0, concurrency=1, signals=[(1, full)])
    assert said["waits"][0] == {"for": "end", "why": "the disk is full"}
    assert "  end       nothing starts any more: the disk is full\n" in text(said)


def test_finally_waits_for_the_end_of_all_others() -> None:
    last: dict[str, Any] = {"finally": {"f": []}}
    said = during({"a": {"estimate": 5}}, "f", 2.0, **last)
    assert said["waits"] == [{"for": "finally"}]


def test_a_node_that_is_not_in_the_plan_is_told_so() -> None:
    said = foretold({"a": [], "alarm": {"needs": ["a"], "trigger": "any_failed"}}, "alarm")
    assert said["start"] is None
    assert text(said).startswith("alarm  not in the plan\n")


def test_a_name_that_is_not_there_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match='no node named "scroe"; did you mean "score"'):
        foretold({"score": []}, "scroe")


# -- on the screen


POLICY = {"fifo": "first ready first", "deadline": "earliest deadline first", "fair": "the group with the smallest"}


@pytest.mark.parametrize("policy", POLICY)
def test_the_policy_is_said_in_words(policy: str) -> None:
    said = foretold({"a": {"group": "team", "deadline": 9}}, "a", scheduling={"policy": policy, "groups": {"team": 2}})
    shown = text(said)
    assert f"  policy    {policy}: {POLICY[policy]}" in shown
    assert ("team, with weight 2" in shown) == (policy == "fair")
    assert ("at 9.0s, so that" in shown) == (policy == "deadline")


@given(
    name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,99}", fullmatch=True),
    count=st.integers(1, 30),
    width=st.integers(20, 120),
    unicode=st.booleans(),
)
def test_it_is_never_wider_than_the_screen(name: str, count: int, width: int, unicode: bool) -> None:
    nodes = {f"holder_{i}": {"estimate": 9, "priority": "high"} for i in range(count)}
    said = foretold({**nodes, name: {"deadline": 8000, "resources": {"gpu": 1}}}, name, concurrency=count,
                    resources={"gpu": 1})  # fmt: skip
    shown = text(said, width=width, unicode=unicode)
    assert max(map(len, shown.splitlines())) <= max(width, 60)
    assert unicode or shown.isascii()
    assert f"and {count - 6} more" in re.sub(r"\s+", " ", shown) or count <= 6


def test_foreign_text_does_nothing() -> None:
    said = foretold({"a": {"group": "\x1b[31mred"}}, "a", scheduling={"policy": "fair"})
    assert "\x1b" not in text(said)
    assert "\\x1b[31mred" in text(said)
