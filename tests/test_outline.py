"""A plan as boxes and arrows: what may be folded is, no arrow is false, and none is missing."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers.simulate import build, flow
from wfctl import graph, instances
from wfctl.instances import END
from wfctl.outline import Outline, along, outline
from wfctl.plan import Plan

SUB = {
    "sub.yaml": {
        "nodes": {"p": {"run": "true"}, "q": {"run": "true", "needs": ["p"]}},
        "finally": {"y": {"run": "true"}, "z": {"run": "true", "needs": ["y"]}},
    }
}


def planned(nodes: dict[str, Any]) -> Plan:
    plan, problems = build(flow(nodes), files=SUB)
    assert not problems, problems
    return plan


def arrows(nodes: dict[str, Any], *, expand: bool = True) -> set[tuple[str, str]]:
    return set(outline(planned(nodes), expand=expand).arrows)


CROSSED = {
    "g": {"nodes": {"a": {"writes": ["x"]}, "c": {"reads": ["y"]}}},
    "h": {"nodes": {"b": {"reads": ["x"], "writes": ["y"]}}},
    "k": {"needs": ["h"], "nodes": {"d": {}}},
}
"""Paths lead from inside of `g` to inside of `h` and back."""


def test_what_lies_in_others_is_folded_with_its_arrows() -> None:
    nodes = {
        "a": {},
        "b": {},
        "g": {"needs": ["a"], "nodes": {"x": {}, "y": {"needs": ["x", "b"]}}},
        "c": {"needs": ["g"]},
    }
    found = outline(planned(nodes))
    assert found.boxes == ["a", "b", "g", "c"]
    assert set(found.arrows) == {("a", "g"), ("b", "g"), ("g", "c")}
    assert found.box_of["g.y"] == "g"


def test_groups_that_come_before_and_after_each_other_are_opened_and_no_others() -> None:
    found = outline(planned(CROSSED))
    assert found.boxes == ["g", "g.a", "g.c", "h", "h.b", "k"]
    assert {("g.a", "h.b"), ("h.b", "g.c"), ("g.a", "g"), ("g.c", "g"), ("h.b", "h"), ("h", "k")} == set(found.arrows)


def test_an_arrow_is_of_a_path_where_nothing_else_makes_it() -> None:
    found = outline(planned({
        "a": {"writes": ["x"]}, "b": {"reads": ["x"]}, "c": {"reads": ["x"], "needs": ["a"]},
        "g": {"nodes": {"d": {"reads": ["x"]}, "e": {}}}, "h": {"needs": ["a"], "nodes": {"f": {"reads": ["x"]}}},
    }))  # fmt: skip
    assert found.arrows == {("a", "b"): True, ("a", "c"): False, ("a", "g"): True, ("a", "h"): False}


def test_what_needs_something_outside_waits_for_what_its_group_needs_too() -> None:
    nodes = {"a": {}, "b": {}, "g": {"needs": ["a"], "nodes": {"x": {"needs": ["b"]}, "y": {"needs": ["x"]}}}}
    assert arrows(nodes) == {("a", "g.x"), ("b", "g.x"), ("g.x", "g.y"), ("g.y", "g")}


def test_finally_of_a_sub_workflow_comes_after_all_else_of_it() -> None:
    assert arrows({"a": {}, "w": {"workflow": "sub.yaml", "needs": ["a"]}}) == {
        ("a", "w.p"), ("w.p", "w.q"), ("w.q", "w.y"), ("w.y", "w.z"), ("w.z", "w")
    }  # fmt: skip


def test_a_path_through_what_is_opened_leads_over_its_box() -> None:
    plan = planned({"a": {}, "b": {"needs": ["a"]}, "g": {"needs": ["b"], "nodes": {"x": {}, "y": {"needs": ["x"]}}},
                    "c": {"needs": ["g", "a"]}})  # fmt: skip
    path = ["a", "b", "g.x", "g.y", "c"]
    folded = outline(plan)
    assert along(plan, folded, path) == ({"a", "b", "g", "c"}, {("a", "b"), ("b", "g"), ("g", "c")})
    whole = outline(plan, expand=True)
    boxes, lines = along(plan, whole, path)
    assert boxes == {*path, "g"}
    assert lines == whole.arrows.keys() - {("a", "c")}


def test_a_path_that_ends_inside_of_others_ends_at_their_box() -> None:
    plan = planned({"g": {"nodes": {"h": {"nodes": {"x": {}}}}}})
    assert along(plan, outline(plan, expand=True), ["g.h.x"]) == (
        {"g.h.x", "g.h", "g"}, {("g.h.x", "g.h"), ("g.h", "g")}
    )  # fmt: skip


# -- whatever the workflow


@st.composite
def nodes(draw: st.DrawFn, depth: int = 0, around: tuple[str, ...] = ()) -> dict[str, Any]:
    """A few nodes that need others, lie in others, and read what any other writes."""
    found: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 4))):
        reach = [*found, *around]
        node: dict[str, Any] = {"needs": sorted(draw(st.sets(st.sampled_from(reach), max_size=2))) if reach else []}
        what = draw(st.sampled_from(["run", "run", "nodes", "each", "sub"] if depth < 2 else ["run", "run", "each"]))
        if what == "nodes":
            node["nodes"] = draw(nodes(depth + 1, (*around, *found)))
        elif what == "sub":
            node["workflow"] = "sub.yaml"
        else:
            node["reads"] = draw(st.lists(st.sampled_from("123"), max_size=1))
            if what == "run":
                node["writes"] = draw(st.lists(st.sampled_from("123"), max_size=1))
            else:
                node["for_each"] = [1, 2]
        found[f"{'abc'[depth]}{i}"] = node
    return found


@settings(max_examples=80, deadline=None)
@given(nodes())
def test_the_arrows_say_the_whole_order_and_nothing_else(made: dict[str, Any]) -> None:
    plan, problems = build(flow(made), files=SUB)
    assume(not problems)  # two write the same, or files make a circle
    for expand in (True, False):
        found = outline(plan, expand=expand)
        before: dict[str, list[str]] = {box: [] for box in found.boxes}
        for source, target in found.arrows:
            before[target].append(source)
        assert len(graph.order(before)) == len(before), "a circle"
        _check(plan, found, graph.successors(before), exact=expand)


def _check(plan: Plan, found: Outline, after: dict[str, list[str]], *, exact: bool) -> None:
    """From each box those are reached that come after it in the plan; of a folded one that holds of something in it."""
    points = instances.points(plan.nodes)
    later = graph.successors(points)
    drawn = {box: graph.reach([box], after) - {box} for box in found.boxes}
    for name, planned_ in plan.nodes.items():
        end = name + END if planned_.holds else name
        true = {
            instances.at(p) for p in graph.reach([end], later) if plan.nodes[instances.at(p)].holds is p.endswith(END)
        }
        true -= {name}
        if exact:
            assert drawn[name] == true
        else:
            assert {found.box_of[other] for other in true} - {found.box_of[name]} <= drawn[found.box_of[name]]
