"""What a failed run has touched, which strategy undoes what of it, and in which order: pure functions.

Knows no run: nodes and their graph are given as plain data."""

from __future__ import annotations

import json
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


def test_past_a_pivot_in_a_group_what_led_to_the_group_stays() -> None:
    graph = {"a": [], "g": ["a"], "g.i": ["g"], "g.j": ["g"], "g" + END: ["g.i", "g.j"]}
    nodes = {"a": done(place=1), "g.i": done(pivot=True, place=2), "g.j": done(place=3)}
    assert found(nodes, graph).kept_by_pivot == ("a", "g.i")
    assert found(nodes, graph).affected == ("g.j",)


def test_ids_stand_in_the_order_of_their_ends_and_last_what_has_none() -> None:
    nodes = {"a": Touched(state="interrupted", unknown=True), "b": done(place=9), "c": done(place=4)}
    assert found(nodes).affected == ("c", "b", "a")


def test_an_analysis_is_plain_data_and_names_all() -> None:
    nodes = {f"n{i}": done(place=i + 1) for i in range(1000)}
    data = found(nodes, {name: [] for name in nodes}).to_data()
    assert json.loads(json.dumps(data)) == data
    assert data["with_steps"] == list(nodes)


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


def test_what_was_interrupted_has_not_ended_before_a_checkpoint() -> None:
    nodes = {**WHOLE, "e": Touched(state="interrupted", unknown=True, answer="steps")}
    assert scheme("checkpoint", nodes, checkpoints={"a": 1, "b": 2}).undo == ("c", "e")


def test_nobody_goes_back_to_before_a_pivot() -> None:
    nodes = {**WHOLE, "b": done("", pivot=True, place=2)}
    assert scheme("checkpoint", nodes, checkpoints={"b": 3}).then == "restart"
    back = choose("checkpoint", None, case(nodes, checkpoints={"a": 1}))
    assert (back.strategy, back.undo, back.then) == ("compensate", ("c",), "rolled_back")
    assert back.why == "as the workflow says; there is no checkpoint to go back to since the pivot"
    unsaid = {**nodes, "c": done("", place=3)}
    assert scheme("auto", unsaid, checkpoints={"a": 1}).strategy == "compensate"


def test_after_so_many_restarts_checkpoint_gives_up() -> None:
    back = scheme("checkpoint", checkpoints={"b": 2}, restarts=2, max_restarts=2)
    assert (back.undo, back.then, back.checkpoint) == (("c",), "failed", "b"), "it ends where it went back to"


def test_auto_gives_up_after_so_many_restarts_as_checkpoint_does() -> None:
    back = scheme("auto", checkpoints={"b": 2}, restarts=1)
    assert back == scheme("checkpoint", checkpoints={"b": 2}, restarts=1)
    assert back.then == "failed"


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


def test_what_would_have_ended_before_follows_from_the_graph_and_not_from_the_file() -> None:
    graph = {"c": ["b"], "b": ["a"], "a": [], "d": ["c"]}
    would = if_fails("d", {name: Touched(state="waiting") for name in graph}, graph)
    assert {name: one.place for name, one in would.items()} == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_if_one_in_a_group_failed_what_needs_the_group_would_not_run() -> None:
    graph = {"g": [], "g.i": ["g"], "g.j": ["g"], "g" + END: ["g.i", "g.j"], "x": ["g" + END]}
    nodes = {name: Touched(state="waiting") for name in ("g.i", "g.j", "x")}
    assert {n: one.state for n, one in if_fails("g.i", nodes, graph).items()} == {"g.j": "succeeded", "g.i": "failed"}


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


def test_what_never_ran_makes_nobody_wait() -> None:
    graph = {"u": [], "s": ["u"], "x": [], "v": ["s", "x"]}
    order = Order(["u", "v"], graph, executed=["u", "x", "v"])
    assert sorted(order.ready()) == ["u", "v"]
    assert order.blocked_by(["v"]) == set()
    assert sequence(["u", "v"], graph) == [["v"], ["u"]], "not told what ran, it takes all to have"


def test_the_same_word_twice_or_too_early_sets_nothing_free() -> None:
    graph = {"z": [], "a": ["z"], "b": ["z"], "c": ["b"]}
    order = Order("zabc", graph)
    assert [order.undone(name) for name in "aabb"] == [[], [], [], []]
    assert order.undone("c") == ["z"], "through what was said to be undone before"


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """Nodes each of which needs some before it, some of them groups, in groups too; what ran, and some of that."""
    before: dict[str, list[str]] = {}
    works: list[str] = []

    def add(prefix: str, depth: int, opens: list[str]) -> list[str]:
        ends: list[str] = []
        for i in range(draw(st.integers(1, 6 - 2 * depth))):
            name = f"{prefix}n{i}"
            needs = draw(st.lists(st.sampled_from(ends), unique=True, max_size=3)) if ends else []
            before[name] = [*needs, *opens]
            if depth < 2 and draw(st.integers(0, 2)) == 0:
                before[name + END] = [name, *add(f"{name}.", depth + 1, [name])]
                ends.append(name + END)
            else:
                works.append(name)
                ends.append(name)
        return ends

    add("", 0, [])
    ran = draw(st.lists(st.sampled_from(works), unique=True)) if works else []
    return before, ran, draw(st.lists(st.sampled_from(ran), unique=True)) if ran else []


def leading(name: str, before: Mapping[str, Sequence[str]], ran: Sequence[str]) -> set[str]:
    """All points from which a path leads to this one, through none but what ran and the two points of groups."""
    found, todo = set[str](), [name]
    while todo:
        for need in before[todo.pop()]:
            if need not in found and (need in ran or need.endswith(END) or need + END in before):
                found.add(need)
                todo.append(need)
    return found


Drawn = tuple[dict[str, list[str]], list[str], list[str]]


@given(graphs(), st.randoms(use_true_random=False))
def test_whatever_ends_first_all_are_undone_once_and_none_too_early(drawn: Drawn, random: Any) -> None:
    before, ran, wanted = drawn
    order = Order(wanted, before, ran)
    leads = {name: leading(name, before, ran) for name in wanted}
    ready, undone = order.ready(), list[str]()
    while ready:
        name = ready.pop(random.randrange(len(ready)))
        assert {other for other in wanted if name in leads[other]} <= set(undone)
        undone.append(name)
        ready += order.undone(name)
        free = {n for n in wanted if {other for other in wanted if n in leads[other]} <= set(undone)}
        assert free - set(undone) == set(ready), "none waits that could go"
    assert sorted(undone) == sorted(wanted)


@given(graphs())
def test_waves_hold_each_once_after_all_that_needed_it(drawn: Drawn) -> None:
    before, ran, wanted = drawn
    waves = Order(wanted, before, ran).sequence()
    wave = {name: i for i, names in enumerate(waves) for name in names}
    assert sorted(name for names in waves for name in names) == sorted(wanted)
    assert all(wave[n] > wave[other] for other in wanted for n in leading(other, before, ran) & set(wanted))


@given(graphs(), st.data())
def test_a_blocked_one_keeps_back_what_it_depends_on_alone(drawn: Drawn, data: st.DataObject) -> None:
    before, ran, wanted = drawn
    given_up = set(data.draw(st.lists(st.sampled_from(wanted), unique=True, max_size=2))) if wanted else set()
    order = Order(wanted, before, ran)
    ready, undone = order.ready(), set[str]()
    while ready:
        name = ready.pop()
        if name not in given_up:
            undone.add(name)
            ready += order.undone(name)
    blocked = order.blocked_by(given_up)
    assert undone == set(wanted) - blocked - given_up
    assert blocked == set().union(*(leading(n, before, ran) for n in given_up)) & set(wanted) - given_up


MANY = [f"n{i}" for i in range(10_000)]
LARGE: Mapping[str, dict[str, Sequence[str]]] = {
    "side by side": {**{name: [] for name in MANY}, "x": MANY},
    "a chain": {name: MANY[max(0, i - 1) : i] for i, name in enumerate(MANY)},
    "layers": {name: MANY[i // 100 * 100 - 100 : i // 100 * 100] if i >= 100 else [] for i, name in enumerate(MANY)},
    "many twice": {
        "a": [],
        "f": ["a"],
        "f" + END: ["f", *MANY],
        "g": ["f" + END],
        "x": ["g" + END],
        **{name: ["f"] for name in MANY},
        **{f"g.{name}": ["g"] for name in MANY},
        "g" + END: ["g", *(f"g.{name}" for name in MANY)],
    },
}


@pytest.mark.parametrize("shape", LARGE)
def test_ten_thousand_are_no_matter(shape: str) -> None:
    graph = LARGE[shape]
    works = [point for point in graph if not point.endswith(END) and point + END not in graph]
    assert sum(map(len, Order(works, graph, works).sequence())) == len(works)
    assert Order(works, graph).blocked_by([works[-1]]) <= set(works)
