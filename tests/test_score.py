"""How much a node matters: factors, weights, levels, and what is inherited of them."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.simulate import build, flow
from wfctl.forecast import forecast
from wfctl.plan import Plan
from wfctl.score import LEVELS, THRESHOLDS, WEIGHTS, later, level_at, level_of, nearness, normalised, rises, total

DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0


def planned(nodes: dict[str, Any], **keys: Any) -> Plan:
    plan, problems = build(flow(nodes, **keys))
    assert not problems, problems
    return plan


def score(node: dict[str, Any], **keys: Any) -> float:
    """The score of a node at the start of a run in which it is alone."""
    return planned({"a": node}, **keys).nodes["a"].standing.score


def level(node: dict[str, Any], **keys: Any) -> str:
    return LEVELS[planned({"a": node}, **keys).nodes["a"].level]


# -- factors


@pytest.mark.parametrize(
    ("left", "value"),
    [
        (-1, 1.0), (0, 1.0), (1, 0.9), (5 * MINUTE, 0.9), (5 * MINUTE + 1, 0.7), (HOUR, 0.7), (HOUR + 1, 0.5),
        (DAY, 0.5), (DAY + 1, 0.3), (365 * DAY, 0.3),
    ],
)  # fmt: skip
def test_a_deadline_counts_more_the_nearer_it_is(left: float, value: float) -> None:
    assert nearness(left) == value


# In each case the other factors count half, but the remaining path: it is the longest, and counts 1.
@pytest.mark.parametrize(
    ("factor", "node", "value"),
    [
        ("deadline", {}, 0.5),
        ("deadline", {"deadline": "30m"}, 0.7),
        ("business_value", {}, 0.5),
        ("business_value", {"business_value": 0}, 0.0),
        ("business_value", {"business_value": 85}, 0.85),
        ("resource", {}, 0.5),
        ("resource", {"resources": {"gpu": 0}}, 0.5),
        ("resource", {"resources": {"gpu": 1}}, 0.25),
        ("resource", {"resources": {"gpu": 1, "cpu": 3}}, 0.75),
        ("dependency", {}, 1.0),
        ("dependency", {"estimate": 0}, 0.5),
        ("user", {}, 0.5),
        ("user", {"user_level": "vip"}, 1.0),
        ("user", {"user_level": "premium"}, 0.6),
        ("user", {"user_level": "normal"}, 0.2),
    ],
    ids=str,
)
def test_a_factor_that_alone_has_weight_is_the_score(factor: str, node: dict[str, Any], value: float) -> None:
    alone = {name: int(name == factor) for name in WEIGHTS}
    assert score(node, resources={"gpu": 4, "cpu": 4}, scheduling={"weights": alone}) == value


def test_the_remaining_path_counts_against_the_longest() -> None:
    plan = planned(
        {"a": {"estimate": 3}, "b": {"needs": ["a"], "estimate": 1}, "c": {"estimate": 2}},
        scheduling={"weights": {**dict.fromkeys(WEIGHTS, 0), "dependency": 1}},
    )
    assert {name: node.standing.score for name, node in plan.nodes.items()} == {"a": 1.0, "b": 0.25, "c": 0.5}


# -- weights


def test_by_default_the_weights_are_those_of_the_contract_and_add_up_to_one() -> None:
    assert planned({"a": []}).weights == {
        "deadline": 0.25, "business_value": 0.2, "resource": 0.15, "dependency": 0.2, "user": 0.2,
    }  # fmt: skip
    assert sum(WEIGHTS.values()) == pytest.approx(1)


@given(st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(0, 1e6), min_size=1))
def test_weights_are_made_to_add_up_to_one_and_keep_their_proportions(raw: dict[str, float]) -> None:
    whole = {**WEIGHTS, **raw}
    if not sum(whole.values()):
        with pytest.raises(ValueError, match="more than 0"):
            normalised(raw)
        return
    made = normalised(raw)
    assert sum(made.values()) == pytest.approx(1)
    for name in WEIGHTS:
        assert made[name] * sum(whole.values()) == pytest.approx(whole[name])


@given(st.fixed_dictionaries({name: st.floats(0, 1) for name in WEIGHTS}), st.floats(0.1, 9))
def test_a_score_lies_between_the_least_and_the_greatest_factor(values: dict[str, float], weight: float) -> None:
    assert min(values.values()) - 1e-9 <= total(values, normalised({"user": weight})) <= max(values.values()) + 1e-9


# -- levels


@pytest.mark.parametrize(
    ("points", "word"),
    [
        (1.0, "critical"), (0.8, "critical"), (0.799, "high"), (0.6, "high"), (0.599, "normal"), (0.4, "normal"),
        (0.399, "low"), (0.0, "low"),
    ],
)  # fmt: skip
def test_a_score_gives_a_level(points: float, word: str) -> None:
    assert LEVELS[level_of(points)] == word


def test_a_node_that_says_nothing_of_itself_is_normal_whatever_its_score() -> None:
    assert score({}) == 0.6
    assert level({}) == "normal"


@pytest.mark.parametrize(
    ("node", "word"),
    [
        ({"deadline": "4m", "business_value": 100, "user_level": "vip"}, "critical"),
        ({"user_level": "vip"}, "high"),
        ({"user_level": "normal"}, "normal"),
        ({"deadline": "2d", "business_value": 0, "user_level": "normal"}, "low"),
        ({"deadline": "4m", "business_value": 100, "user_level": "vip", "priority": "low"}, "low"),
        ({"business_value": 0, "user_level": "normal", "deadline": "2d", "priority": "critical"}, "critical"),
    ],
    ids=str,
)
def test_a_level_is_what_priority_says_else_what_the_score_gives(node: dict[str, Any], word: str) -> None:
    short = {**node, "estimate": 0}  # so the path counts half
    assert level(short) == word


def test_a_level_rises_while_the_deadline_comes_nearer() -> None:
    node = {"deadline": "2h", "business_value": 80, "user_level": "vip", "estimate": 0}
    # 0.125 + 0.16 + 0.075 + 0.1 + 0.2 = 0.66 at first; 0.71, 0.76 and 0.785 later
    at_start = planned({"a": node}).nodes["a"].standing
    assert at_start.score == 0.66
    assert at_start.rises == (0.0, 0.0, inf)
    more = planned({"a": {**node, "business_value": 90}}).nodes["a"].standing
    assert more.rises == (0.0, 0.0, 2 * HOUR)
    assert [later(more.score, 2 * HOUR, 0.25, moment) for moment in (0, HOUR, 115 * MINUTE, 2 * HOUR)] == [
        0.68, 0.73, 0.78, 0.805,
    ]  # fmt: skip


@given(
    points=st.floats(0, 1),
    deadline=st.floats(0, 3 * DAY),
    weight=st.floats(0, 1),
    moments=st.lists(st.floats(0, 4 * DAY), min_size=2, max_size=5),
)
def test_the_level_at_any_moment_is_that_of_the_score_at_that_moment(
    points: float, deadline: float, weight: float, moments: list[float]
) -> None:
    found = rises(points, deadline, weight)
    levels = [level_at(found, moment) for moment in sorted(moments)]
    assert levels == sorted(levels)
    for moment in moments:
        expected = level_of(later(points, deadline, weight, moment))
        near = any(abs(deadline - off - moment) < 1e-6 for off in (0, 5 * MINUTE, HOUR, DAY))
        assert level_at(found, moment) == expected or near


# -- what is inherited


NODES = st.fixed_dictionaries(
    {"estimate": st.integers(0, 100)},
    optional={
        "priority": st.sampled_from(LEVELS),
        "deadline": st.integers(0, 5000),
        "business_value": st.integers(0, 100),
        "user_level": st.sampled_from(["vip", "premium", "normal"]),
    },
)


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    nodes: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 12))):
        needs = sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else []
        nodes[f"n{i}"] = {**draw(NODES), "needs": [f"n{n}" for n in needs]}
    return flow(nodes)


@given(workflows(), st.lists(st.floats(0, 6000), min_size=1, max_size=4))
def test_at_no_moment_does_a_node_need_one_of_a_lower_level(data: dict[str, Any], moments: list[float]) -> None:
    plan, _ = build(data)
    for node in plan.nodes.values():
        for moment in moments:
            for need in node.needs:
                below = plan.nodes[need].standing.rises
                assert level_at(below, moment) >= level_at(node.standing.rises, moment)


@given(workflows())
def test_no_node_is_due_later_than_what_needs_it_can_begin_in_time(data: dict[str, Any]) -> None:
    plan, _ = build(data)
    for node in plan.nodes.values():
        for need in node.needs:
            assert plan.nodes[need].standing.due <= node.standing.due - node.estimate


@given(workflows())
def test_a_plan_tells_level_and_score_of_every_node(data: dict[str, Any]) -> None:
    told = forecast(build(data)[0]).document()["nodes"]
    for node in told.values():
        assert node["level"] in LEVELS
        assert 0 <= node["score"] <= 1


def test_the_thresholds_are_those_of_the_levels() -> None:
    assert len(THRESHOLDS) == len(LEVELS) - 1
