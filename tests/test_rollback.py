"""What a failed run has touched, which strategy undoes what of it, and in which order: pure functions.

Knows no run: nodes and their graph are given as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfctl.instances import END
from wfctl.rollback import STRATEGIES, Analysis, Case, Order, Scheme, Touched, analyse, choose, if_fails

GRAPH: dict[str, Sequence[str]] = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def done(answer: str = "steps", **facts: Any) -> Touched:
    return Touched(state="succeeded", answer=answer, **facts)


def failed(**facts: Any) -> Touched:
    return Touched(state="failed", **facts)


def found(nodes: Mapping[str, Touched], graph: Mapping[str, Sequence[str]] = GRAPH) -> Analysis:
    return analyse(nodes, graph)


def case(nodes: Mapping[str, Touched], graph: Mapping[str, Sequence[str]] = GRAPH, **facts: Any) -> Case:
    return Case(nodes=nodes, before=graph, analysis=analyse(nodes, graph), **{"checkpoints": {}, **facts})


# -- the analysis


def test_affected_is_what_has_done_its_work_or_may_have() -> None:
    nodes = {
        "a": done(place=1),
        "b": Touched(state="cached", answer="steps", place=2),
        "c": Touched(state="cancelled", unknown=True, answer="steps", place=3),
        "d": failed(answer="steps", place=4),
    }
    assert found(nodes).affected == ("a", "c")
    assert found(nodes).failed == ("d",)
    assert found(nodes).unknown == ("c",)
    assert found({**nodes, "d": failed(answer="steps", attempted=True, place=4)}).affected == ("a", "c", "d")


def test_what_holds_a_prepared_transaction_is_rolled_back_by_itself() -> None:
    assert found({"a": done(prepared=True), "d": failed()}).affected == ()


@pytest.mark.parametrize(
    ("nodes", "consistency", "complexity"),
    [
        ({"d": failed()}, "consistent", "low"),
        ({"a": done("none"), "d": failed()}, "consistent", "low"),
        ({"a": done(), "b": done("none"), "d": failed()}, "recoverable", "low"),
        ({"a": done(), "b": done(""), "d": failed()}, "inconsistent", "high"),
        ({"a": done(unknown=True)}, "recoverable", "high"),
    ],
)
def test_how_well_a_failure_can_be_mended(nodes: dict[str, Touched], consistency: str, complexity: str) -> None:
    assert (found(nodes).consistency, found(nodes).complexity) == (consistency, complexity)


@pytest.mark.parametrize(("count", "complexity"), [(5, "low"), (6, "medium"), (20, "medium"), (21, "high")])
def test_many_make_it_complex(count: int, complexity: str) -> None:
    nodes = {f"n{i}": done(place=i) for i in range(count)}
    assert found(nodes, {name: [] for name in nodes}).complexity == complexity


def test_past_a_pivot_all_that_led_there_stays() -> None:
    nodes = {"a": done(place=1), "b": done(pivot=True, place=2), "c": done(place=3), "d": failed(place=4)}
    assert found(nodes).kept_by_pivot == ("a", "b")
    assert found(nodes).affected == ("c",)
    assert found({**nodes, "b": failed(pivot=True)}).kept_by_pivot == ()


# -- strategies


WHOLE = {"a": done(place=1, wrote=True), "b": done("", place=2, wrote=True), "c": done(place=3), "d": failed(place=4)}


def scheme(name: str, nodes: Mapping[str, Touched] = WHOLE, **facts: Any) -> Scheme:
    return STRATEGIES[name](case(nodes, **facts))


def test_compensate_undoes_all_that_says_how() -> None:
    assert (scheme("compensate").undo, scheme("compensate").then) == (("a", "c"), "rolled_back")


def test_full_takes_away_what_was_written_too() -> None:
    assert (scheme("full").undo, scheme("full").remove) == (("a", "c"), ("a", "b"))


def test_partial_leaves_what_led_to_an_end_that_was_reached() -> None:
    graph = {"a": [], "b": ["a"], "x": ["b"], "c": ["a"], "y": ["c"]}
    nodes = {"a": done(place=1), "b": done(place=2), "x": failed(place=3), "c": done(place=4), "y": done(place=5)}
    assert STRATEGIES["partial"](case(nodes, graph)).undo == ("b",)


def test_an_end_inside_of_a_group_is_none_where_something_needs_the_group() -> None:
    graph = {"g": [], "g.i": ["g"], "g" + END: ["g.i"], "x": ["g" + END]}
    nodes = {"g.i": done(place=1), "x": failed(place=2)}
    assert STRATEGIES["partial"](case(nodes, graph)).undo == ("g.i",)
    del graph["x"]
    assert STRATEGIES["partial"](case({"g.i": done(place=1)}, graph)).undo == ()


def test_checkpoint_undoes_what_came_after_the_last_one() -> None:
    back = scheme("checkpoint", checkpoints={"a": 1, "b": 2})
    assert (back.undo, back.then, back.checkpoint) == (("c",), "restart", "b")


def test_after_so_many_restarts_checkpoint_gives_up() -> None:
    back = scheme("checkpoint", checkpoints={"b": 2}, restarts=2, max_restarts=2)
    assert (back.undo, back.then, back.checkpoint) == (("c",), "failed", "b"), "it ends where it went back to"


def test_without_a_checkpoint_there_is_compensation() -> None:
    assert scheme("checkpoint").strategy == "compensate"


@pytest.mark.parametrize(
    ("nodes", "checkpoints", "strategy"),
    [
        (WHOLE, {"b": 2}, "checkpoint"),
        (WHOLE, {}, "compensate"),
        ({f"n{i}": done("none", place=i) for i in range(6)}, {}, "partial"),
        ({f"n{i}": done("none", place=i) for i in range(5)}, {}, "full"),
    ],
)
def test_auto_goes_by_the_analysis(nodes: dict[str, Touched], checkpoints: dict[str, int], strategy: str) -> None:
    graph = {**{name: [] for name in nodes}, **GRAPH}
    assert STRATEGIES["auto"](case(nodes, graph, checkpoints=checkpoints)).strategy == strategy


def test_unasked_it_is_compensation_where_any_node_says_how_else_nothing() -> None:
    assert choose(None, None, case(WHOLE)).strategy == "compensate"
    assert choose(None, None, case({"a": done("none"), "d": failed()})).strategy == "none"
    assert choose("none", None, case(WHOLE)).then == "failed"
    assert choose("none", "full", case(WHOLE)).strategy == "full"


@pytest.mark.parametrize(("said", "by_hand"), [(None, None), ("auto", None), ("none", "partial"), ("checkpoint", None)])
def test_why_is_said_in_a_sentence(said: str | None, by_hand: str | None) -> None:
    why = choose(said, by_hand, case(WHOLE)).why
    assert why
    assert why == why.strip()
    assert "None" not in why


def test_what_would_be_undone_if_a_node_failed() -> None:
    nodes = {name: Touched(state="waiting", answer="steps") for name in GRAPH}
    assert found(if_fails("b", nodes, GRAPH)).affected == ("a", "c")
    assert found(if_fails("a", nodes, GRAPH)).affected == ()


# -- the order


def sequence(wanted: Sequence[str], graph: Mapping[str, Sequence[str]]) -> list[list[str]]:
    return [sorted(wave) for wave in Order(wanted, graph).sequence()]


def test_each_comes_after_all_that_needed_it() -> None:
    assert sequence("abcd", GRAPH) == [["d"], ["b", "c"], ["a"]]


def test_the_order_holds_through_what_is_not_undone() -> None:
    assert sequence("ad", GRAPH) == [["d"], ["a"]]
    assert sequence("abd", GRAPH) == [["d"], ["b"], ["a"]]


def test_the_order_holds_through_groups() -> None:
    graph = {"a": [], "g": ["a"], "g.i": ["g"], "g" + END: ["g.i"], "x": ["g" + END]}
    assert sequence(["a", "g.i", "x"], graph) == [["x"], ["g.i"], ["a"]]


def test_who_is_not_undone_blocks_what_it_depends_on_and_nobody_else() -> None:
    graph = {**GRAPH, "e": [], "f": ["e"]}
    order = Order(["a", "b", "c", "e", "f"], graph)
    assert sorted(order.ready()) == ["b", "c", "f"]
    assert order.blocked_by(["b"]) == {"a"}
    assert order.undone("c") == []
    assert order.undone("f") == ["e"]
    assert order.undone("b") == ["a"]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, list[str]], list[str]]:
    """Nodes each of which needs some before it, and some of them."""
    count = draw(st.integers(1, 12))
    names = [f"n{i}" for i in range(count)]
    before = {n: draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else [] for i, n in enumerate(names)}
    return before, draw(st.lists(st.sampled_from(names), unique=True))


def reached(name: str, before: Mapping[str, Sequence[str]]) -> set[str]:
    return {name}.union(*(reached(need, before) for need in before[name]))


@given(graphs(), st.randoms(use_true_random=False))
def test_whatever_ends_first_all_are_undone_once_and_none_too_early(
    drawn: tuple[dict[str, list[str]], list[str]], random: Any
) -> None:
    before, wanted = drawn
    order = Order(wanted, before)
    ready, undone = order.ready(), list[str]()
    while ready:
        name = ready.pop(random.randrange(len(ready)))
        later = {other for other in wanted if name in reached(other, before) and other != name}
        assert later <= set(undone)
        undone.append(name)
        ready += order.undone(name)
    assert sorted(undone) == sorted(wanted)


@given(graphs(), st.data())
def test_a_blocked_one_keeps_back_what_it_depends_on_alone(
    drawn: tuple[dict[str, list[str]], list[str]], data: st.DataObject
) -> None:
    before, wanted = drawn
    given_up = data.draw(st.sampled_from(wanted)) if wanted else ""
    order = Order(wanted, before)
    ready, undone = order.ready(), set[str]()
    while ready:
        name = ready.pop()
        if name != given_up:
            undone.add(name)
            ready += order.undone(name)
    blocked = order.blocked_by([given_up]) if given_up else set()
    assert undone == set(wanted) - blocked - {given_up}
    assert not given_up or blocked == reached(given_up, before) & set(wanted) - {given_up}


def test_ten_thousand_side_by_side_or_in_a_chain_are_no_matter() -> None:
    wide = {**{f"n{i}": [] for i in range(10_000)}, "x": [f"n{i}" for i in range(10_000)]}
    chain = {f"n{i}": [f"n{i - 1}"] if i else [] for i in range(10_000)}
    for graph in (wide, chain):
        assert sum(map(len, Order(list(graph), graph).sequence())) == len(graph)
