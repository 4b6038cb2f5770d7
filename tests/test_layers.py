"""Where boxes and arrows of a graph go: nothing lies on anything else, arrows lead on, and few of them cross."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.crossings import graphs
from tests.conftest import ROOT
from wfctl.renderers import layers
from wfctl.renderers.layers import Layout, inversions, layout

Graph = tuple[list[int], list[int], list[tuple[int, int]]]


@st.composite
def some_graphs(draw: st.DrawFn) -> Graph:
    """Boxes of any size, and edges without a cycle, told in any order."""
    size = draw(st.integers(1, 24))
    sizes = st.lists(st.integers(1, 90), min_size=size, max_size=size)
    names = draw(st.permutations(range(size)))
    pairs = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = draw(st.lists(pairs, max_size=60)) if size > 1 else []
    return draw(sizes), draw(sizes), [(names[a], names[b]) for a, b in edges]


def passes_through(found: Layout, graph: Graph, upright: bool = True) -> list[tuple[int, int]]:
    """Edges with a box, that is none of their own, in which a straight piece of them lies."""
    widths, heights, edges = graph
    hit = []
    for number, (edge, route) in enumerate(zip(edges, found.routes, strict=True)):
        for (x1, y1), (x2, y2) in pairwise(route):
            if (x1 != x2) if upright else (y1 != y2):
                continue
            for box in set(range(len(widths))) - set(edge):
                left, top = found.x[box], found.y[box]
                inside_x = (
                    max(min(x1, x2), left) < min(max(x1, x2), left + widths[box])
                    or left < x1 == x2 < left + widths[box]
                )
                inside_y = (
                    max(min(y1, y2), top) < min(max(y1, y2), top + heights[box]) or top < y1 == y2 < top + heights[box]
                )
                if inside_x and inside_y:
                    hit.append((number, box))
    return hit


@settings(max_examples=150, deadline=None)
@given(some_graphs(), st.booleans())
def test_no_box_lies_on_another_and_all_lie_within_the_picture(graph: Graph, rightwards: bool) -> None:
    widths, heights, edges = graph
    found = layout(widths, heights, edges, rightwards=rightwards)
    for a, b in combinations(range(len(widths)), 2):
        apart = found.x[a] + widths[a] < found.x[b] or found.x[b] + widths[b] < found.x[a]
        assert apart or found.y[a] + heights[a] < found.y[b] or found.y[b] + heights[b] < found.y[a]
    for i in range(len(widths)):
        assert 0 <= found.x[i] <= found.x[i] + widths[i] <= found.width
        assert 0 <= found.y[i] <= found.y[i] + heights[i] <= found.height
    assert all(0 <= x <= found.width and 0 <= y <= found.height for route in found.routes for x, y in route)


@settings(max_examples=150, deadline=None)
@given(some_graphs())
def test_every_edge_leads_down_from_its_source_to_its_target_and_through_no_other_box(graph: Graph) -> None:
    widths, heights, edges = graph
    found = layout(widths, heights, edges)
    assert len(found.routes) == len(edges)
    for (source, target), route in zip(edges, found.routes, strict=True):
        assert route[0] == (found.x[source] + widths[source] // 2, found.y[source] + heights[source])
        assert route[-1] == (found.x[target] + widths[target] // 2, found.y[target])
        assert all(upper <= lower for (_, upper), (_, lower) in pairwise(route))
        assert found.bands[source][1] < found.bands[target][0]
    assert passes_through(found, graph) == []


@settings(max_examples=50, deadline=None)
@given(some_graphs())
def test_rightwards_is_the_same_turned(graph: Graph) -> None:
    widths, heights, edges = graph
    down, right = layout(heights, widths, edges, shape=0.5), layout(widths, heights, edges, rightwards=True, shape=2)
    assert (right.x, right.y, right.width, right.height) == (down.y, down.x, down.height, down.width)
    assert right.routes == [[(x, y) for y, x in route] for route in down.routes]
    assert right.crossings == down.crossings


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.data())
def test_a_tree_is_drawn_without_a_crossing(size: int, data: st.DataObject) -> None:
    edges = [(data.draw(st.integers(0, i - 1)), i) for i in range(1, size)]
    assert layout([10] * size, [10] * size, edges).crossings == 0


def test_an_edge_past_many_rows_is_straight_where_it_passes_them() -> None:
    chain = [(i, i + 1) for i in range(20)]
    found = layout([40] * 21, [20] * 21, [*chain, (0, 20)])
    passing = [x for x, _ in found.routes[-1][1:-1]]
    assert len(set(passing)) == 1
    assert len(found.routes[-1]) == 4


def test_pieces_that_nothing_connects_are_set_beside_each_other_and_not_in_one_long_row() -> None:
    found = layout([100] * 400, [40] * 400, [])
    assert 0.7 < found.width / found.height < 3


def test_a_chain_leads_straight_down() -> None:
    found = layout([30, 80, 50], [20] * 3, [(0, 1), (1, 2)])
    assert len({x for route in found.routes for x, _ in route}) == 1
    assert found.bands == [(0, 20), (60, 80), (120, 140)]


def test_a_cycle_is_an_error_and_an_empty_graph_is_none() -> None:
    with pytest.raises(ValueError, match="cycle"):
        layout([1, 1], [1, 1], [(0, 1), (1, 0)])
    assert layout([], [], []) == Layout([], [], [], [], 0, 0, 0)


def test_edges_of_the_same_pair_share_their_route() -> None:
    found = layout([10, 10], [10, 10], [(0, 1), (0, 1)])
    assert found.routes[0] == found.routes[1]


def test_when_edges_pass_too_many_rows_the_longest_share_a_lane_beside_all_boxes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layers, "LANES", 0)
    monkeypatch.setattr(layers, "SPARE", 3)
    edges = [*((i, i + 1) for i in range(9)), (0, 9), (1, 9), (0, 3)]
    graph: Graph = ([30] * 10, [10] * 10, edges)
    found = layout(*graph)
    right = max(found.x) + 30
    aside = [number for number, route in enumerate(found.routes) if any(x > right for x, _ in route)]
    assert aside == [9, 10]  # (0, 3) has a place in its rows
    assert passes_through(found, graph) == []


def test_sweeps_end_when_their_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    size, edges = graphs(300)["far"]
    best = layout([10] * size, [10] * size, edges).crossings
    monkeypatch.setattr(layers, "MOST", 1)
    assert layout([10] * size, [10] * size, edges).crossings > best


def test_crossings_are_counted_as_pairs_in_the_wrong_order() -> None:
    values = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
    assert inversions(values, 10) == sum(a > b for a, b in combinations(values, 2))
    assert layout([1] * 4, [1] * 4, [(0, 2), (0, 3), (1, 2), (1, 3)]).crossings == 1


def test_the_same_graph_is_drawn_the_same_whatever_the_seed_of_hashes() -> None:
    program = (
        "from tests.benchmarks.crossings import graphs\nfrom wfctl.renderers.layers import layout\n"
        "for size, edges in graphs(80).values(): print(layout([30] * size, [9] * size, edges))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True,
            check=True,
        ).stdout
        for seed in "123"
    }  # fmt: skip
    assert len(said) == 1
