"""Order, cycles, reach and longest paths."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wfctl import graph

DIAMOND = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}
LENGTH = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 1.0}


def ring(size: int) -> dict[str, list[str]]:
    """n0 before n1 before … before n0."""
    return {f"n{i}": [f"n{(i - 1) % size}"] for i in range(size)}


def test_every_id_comes_after_all_it_needs_else_as_it_stands() -> None:
    assert graph.order(DIAMOND) == ["a", "b", "c", "d"]
    assert graph.order({"b": [], "a": []}) == ["b", "a"]


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=60))
def test_any_graph_without_a_cycle_is_ordered_whole(pairs: list[tuple[int, int]]) -> None:
    needs: dict[str, list[str]] = {f"n{i}": [] for i in range(20)}
    for one, other in pairs:
        if one != other:
            needs[f"n{max(one, other)}"].append(f"n{min(one, other)}")
    place = {name: i for i, name in enumerate(graph.order(needs))}
    assert len(place) == 20
    assert all(place[need] < place[name] for name, before in needs.items() for need in before)


def test_what_lies_on_or_behind_a_cycle_has_no_order() -> None:
    assert graph.order({"a": [], "b": ["c", "a"], "c": ["b"], "behind": ["c"]}) == ["a"]


def test_a_cycle_is_told_in_the_order_of_the_work_from_its_first_id() -> None:
    assert graph.cycles({"b": ["c"], "a": ["b"], "c": ["a"], "behind": ["a"]}) == [["b", "a", "c", "b"]]


def test_each_knot_is_told_once() -> None:
    knots = {"a": ["b"], "b": ["a"], "c": ["d", "b"], "d": ["c"], "self": ["self"], "sound": []}
    assert graph.cycles(knots) == [["a", "b", "a"], ["c", "d", "c"], ["self", "self"]]


def test_no_cycle_is_told_where_there_is_none() -> None:
    assert graph.cycles(DIAMOND) == []


def test_a_cycle_of_ten_thousand_is_found_whole() -> None:
    (loop,) = graph.cycles(ring(10_000))
    assert len(loop) == 10_001
    assert loop[0] == loop[-1] == "n0"
    assert loop[1:4] == ["n1", "n2", "n3"]


def test_reach_follows_the_steps_and_includes_its_start() -> None:
    assert graph.reach(["b"], DIAMOND) == {"a", "b"}
    assert graph.reach([], DIAMOND) == set()
    assert graph.reach(["n0"], ring(10_000)) == set(ring(10_000))


def test_a_tail_is_the_longest_way_to_the_end_with_its_own_length() -> None:
    after = graph.successors(DIAMOND)
    assert graph.tails(graph.order(DIAMOND), after, LENGTH.__getitem__) == {"a": 7, "b": 3, "c": 6, "d": 1}


def test_the_longest_path_is_told_in_order() -> None:
    after = graph.successors(DIAMOND)
    assert graph.longest_path(graph.order(DIAMOND), after, LENGTH.__getitem__) == ["a", "c", "d"]
    assert graph.longest_path([], {}, LENGTH.__getitem__) == []


@given(st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=12, max_size=12))
def test_every_cycle_told_is_one(picked: list[list[int]]) -> None:
    needs = {str(i): [str(n) for n in before] for i, before in enumerate(picked)}
    loops = graph.cycles(needs)
    assert all(one in needs[other] for loop in loops for one, other in pairwise(loop))
    assert bool(loops) == (len(graph.order(needs)) < len(needs))
