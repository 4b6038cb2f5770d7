"""Placing nodes in time: budgets, needs, levels, bounds and what already runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wfctl import optimize
from wfctl.layout import Layout, Problem, Schedule, chains
from wfctl.optimize import draft
from wfctl.schedule import Part


@st.composite
def problems(draw: st.DrawFn, most: int = 12, levels: int = 1, running: bool = False) -> Problem:
    """Small problems of two resources, with nodes of zero seconds and nodes that ask for nothing."""
    size = draw(st.integers(0, most))
    capacities = draw(st.tuples(st.integers(1, 6), st.integers(1, 1000)))
    demand = st.tuples(*(st.integers(0, capacity) for capacity in capacities))
    lengths = draw(st.sampled_from([st.integers(0, 9), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.7, 1e-6])]))
    started: dict[int, float] = {}
    if running:
        started = draw(st.dictionaries(st.integers(0, max(0, size - 1)), st.floats(0, 50), max_size=min(3, size)))
    return Problem(
        durations=draw(st.lists(lengths, min_size=size, max_size=size)),
        needs=[sorted(draw(st.sets(st.integers(0, node - 1), max_size=3))) if node else [] for node in range(size)],
        demands=draw(st.lists(demand, min_size=size, max_size=size)),
        capacities=capacities,
        levels=draw(st.lists(st.integers(0, levels - 1), min_size=size, max_size=size)),
        started=started,
        now=50.0 if running else 0.0,
    )


def check(problem: Problem, start: Sequence[float], finish: Sequence[float]) -> None:
    """No need is broken; no capacity is exceeded, but by what ran before."""
    for node, needs in enumerate(problem.needs):
        if node not in problem.started:
            assert start[node] >= max((finish[other] for other in needs), default=problem.now)
            assert finish[node] - start[node] == pytest.approx(problem.durations[node], abs=1e-6)
            held = [n for n in range(len(start)) if start[n] <= start[node] < finish[n]]
            for resource, capacity in enumerate(problem.capacities):
                ran = sum(problem.demands[n][resource] for n in held if n in problem.started)
                ours = sum(problem.demands[n][resource] for n in held if n not in problem.started)
                assert ours <= max(0, capacity - ran)


def shortest(problem: Problem) -> float:
    """The least makespan there is, by trying all orders."""
    layout = Layout(problem)
    best = float("inf")
    for nodes in permutations(range(len(problem.durations))):
        place = {node: i for i, node in enumerate(nodes)}
        if all(place[other] < place[node] for node in nodes for other in problem.needs[node]):
            part = layout.part(nodes, {})
            best = min(best, layout.moment(max(part.forward(range(part.size)), default=0)))
    return best


def part_of(problem: Problem) -> Part:
    layout = Layout(problem)
    return layout.part(layout.levels[0], layout.fixed)


WIDE = Problem(durations=[3, 2, 2, 1], needs=[[], [], [], []], demands=[[1]] * 4, capacities=[2])
CHAIN = Problem(durations=[1, 2, 3], needs=[[], [0], [1]])


@given(problems(most=20))
def test_no_plan_breaks_a_need_or_a_budget(problem: Problem) -> None:
    plan = draft(problem)
    check(problem, plan.start, plan.finish)
    assert sorted(plan.order) == list(range(len(problem.durations)))
    place = {node: i for i, node in enumerate(plan.order)}
    assert all(place[other] < place[node] for node, needs in enumerate(problem.needs) for other in needs)


@given(problems(most=15, levels=3, running=True))
def test_nor_does_one_round_what_runs(problem: Problem) -> None:
    plan = draft(problem)
    check(problem, plan.start, plan.finish)
    for node, at in problem.started.items():
        assert plan.start[node] == at
        assert plan.finish[node] == pytest.approx(max(problem.now, at + problem.durations[node]))


@given(problems(most=15, levels=3))
def test_a_lower_level_never_delays_a_higher(problem: Problem) -> None:
    level = list(problem.levels)
    for node in reversed(range(len(level))):
        for other in problem.needs[node]:
            level[other] = max(level[other], level[node])
    plan = draft(problem)
    for least in set(level):
        # What is at this level or above is planned as if the rest were not there.
        kept = [node for node in range(len(level)) if level[node] >= least]
        place = {node: i for i, node in enumerate(kept)}
        alone = Problem(
            durations=[problem.durations[node] for node in kept],
            needs=[[place[other] for other in problem.needs[node]] for node in kept],
            demands=[problem.demands[node] for node in kept],
            capacities=problem.capacities,
            levels=[level[node] for node in kept],
        )
        check(alone, [plan.start[node] for node in kept], [plan.finish[node] for node in kept])
        for node in kept:
            if level[node] == least:
                assert not could_be_earlier(problem, plan.start, plan.finish, node, level)


def could_be_earlier(
    problem: Problem, start: Sequence[float], finish: Sequence[float], node: int, level: Sequence[int]
) -> bool:
    """Whether a node would fit earlier if all that is below its level were taken away."""
    length = problem.durations[node]
    others = [n for n in range(len(start)) if n != node and level[n] >= level[node] and finish[n] > start[n]]
    ready = max((finish[other] for other in problem.needs[node]), default=0.0)
    for at in sorted({ready, *(finish[n] for n in others)}):
        if ready <= at < start[node] - 1e-9:
            moments = [at, *(start[n] for n in others if at < start[n] < at + length - 1e-9)]
            if all(fits(problem, node, [n for n in others if start[n] <= m < finish[n]]) for m in moments):
                return True
    return False


def fits(problem: Problem, node: int, beside: Sequence[int]) -> bool:
    return all(
        sum(problem.demands[n][resource] for n in [node, *beside]) <= capacity
        for resource, capacity in enumerate(problem.capacities)
    )


@given(problems(most=6))
def test_no_bound_is_above_the_best_that_there_is(problem: Problem) -> None:
    plan = draft(problem)
    assert plan.bounds.best <= shortest(problem) <= plan.makespan
    if problem.durations:
        part = part_of(problem)
        assert part.bound() <= max(part.forward(range(part.size)))


@given(problems(most=12, levels=2, running=True), st.integers(0, 99))
def test_justifying_never_makes_longer(problem: Problem, seed: int) -> None:
    layout = Layout(problem)
    finish = dict(layout.fixed)
    for nodes in layout.levels:
        part = layout.part(nodes, finish)
        chance = random.Random(seed)
        for ends in part.parallel(part.tails), part.forward(part.ranked([chance.random() for _ in nodes])):
            assert max(part.justified(part.last_first(ends), max(ends))) <= max(ends)
        finish.update(zip(nodes, ends, strict=False))


def linked(problem: Problem, plan: Schedule) -> list[tuple[int, int]]:
    """The chains of a plan, by the problem's own numbers."""
    rows = [problem.demands[node] if problem.demands else () for node in plan.order]
    start, finish = [plan.start[node] for node in plan.order], [plan.finish[node] for node in plan.order]
    return [(plan.order[one], plan.order[other]) for one, other in chains(rows, problem.capacities, start, finish)]


@given(problems(most=15, running=True))
def test_who_waits_for_those_whose_units_it_takes_keeps_every_budget_however_long_they_last(problem: Problem) -> None:
    for resource, capacity in enumerate(problem.capacities):
        assume(sum(problem.demands[node][resource] for node in problem.started) <= capacity)
    plan = draft(problem)
    slower = [seconds * (1 + node % 3) for node, seconds in enumerate(problem.durations)]
    wait: list[set[int]] = [set(needs) for needs in problem.needs]
    for giver, node in linked(problem, plan):
        wait[node].add(giver)
    start, finish = list(plan.start), list(plan.finish)
    for node in plan.order:
        if node in problem.started:
            finish[node] = max(problem.now, start[node] + slower[node])
        else:
            start[node] = max((finish[other] for other in wait[node]), default=problem.now)
            finish[node] = start[node] + slower[node]
    slow = Problem(
        durations=slower,
        needs=problem.needs,
        demands=problem.demands,
        capacities=problem.capacities,
        started=problem.started,
        now=problem.now,
    )
    check(slow, start, finish)


def test_who_takes_over_units_waits_for_who_has_had_them() -> None:
    assert sorted(linked(WIDE, draft(WIDE))) == [(0, 3), (1, 2)]


def test_both_bounds_are_told() -> None:
    assert (draft(WIDE).bounds.critical_path, draft(WIDE).bounds.work) == (3.0, 4.0)
    assert (draft(CHAIN).bounds.critical_path, draft(CHAIN).bounds.work) == (6.0, 0.0)
    assert draft(WIDE).makespan == 4.0
    assert draft(WIDE).optimal


def test_nothing_and_one_node_have_a_plan() -> None:
    assert draft(Problem(durations=[], needs=[])).makespan == 0.0
    one = draft(Problem(durations=[2.5], needs=[[]], demands=[[7]], capacities=[7]))
    assert (one.start, one.finish, one.order) == ([0.0], [2.5], [0])


def test_nodes_that_ask_for_all_run_one_after_the_other() -> None:
    plan = draft(Problem(durations=[1, 1, 1], needs=[[], [], []], demands=[[4, 1]] * 3, capacities=[4, 9]))
    assert sorted(plan.start) == [0.0, 1.0, 2.0]


def test_a_node_of_no_time_holds_nothing() -> None:
    full = Problem(durations=[2, 0], needs=[[], []], demands=[[1], [1]], capacities=[1], levels=[1, 0])
    assert draft(full).start == [0.0, 0.0]
    assert draft(Problem(durations=[0, 0, 0], needs=[[], [0], [1]], demands=[[1]] * 3, capacities=[1])).makespan == 0.0


def test_times_that_are_sums_are_exact() -> None:
    plan = draft(Problem(durations=[0.1, 0.2, 0.3, 1], needs=[[], [0], [], [1, 2]]))
    assert plan.finish[1] == plan.finish[2] == plan.start[3] == 0.3


def test_what_runs_keeps_its_place_and_the_rest_starts_from_now() -> None:
    plan = draft(
        Problem(
            durations=[10, 4, 3, 2],
            needs=[[], [], [0], []],
            demands=[[1], [1], [1], [1]],
            capacities=[2],
            started={0: 2.0, 1: 5.0},
            now=11.0,
        )
    )
    assert plan.start == [2.0, 5.0, 12.0, 11.0]
    assert plan.finish == [12.0, 11.0, 15.0, 13.0]  # node 1 should have ended at 9, and may at any moment


def test_a_level_is_inherited_by_what_is_needed() -> None:
    plan = draft(Problem(durations=[1, 5, 1], needs=[[], [], [0]], demands=[[1]] * 3, capacities=[1], levels=[0, 1, 2]))
    assert plan.start == [0.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (Problem(durations=[1, 1], needs=[[1], [0]]), "circle"),
        (Problem(durations=[1], needs=[[]], demands=[[3]], capacities=[2]), "more than there is"),
        (Problem(durations=[-1], needs=[[]]), "below zero"),
        (Problem(durations=[float("nan")], needs=[[]]), "not finite"),
        (Problem(durations=[1], needs=[]), "length"),
        (Problem(durations=[1], needs=[[]], demands=[[1, 1]], capacities=[2]), "what there is not"),
    ],
)
def test_what_has_no_plan_says_why(problem: Problem, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        draft(problem)


def test_ten_thousand_nodes_are_planned_without_improvement() -> None:
    size = 10_000
    assert size > optimize.IMPROVED
    needs = [[node - 100] if node >= 100 else [] for node in range(size)]
    demands = [[1, 1 + node % 997] for node in range(size)]
    plan = draft(
        Problem(durations=[1 + node % 7 for node in range(size)], needs=needs, demands=demands, capacities=[8, 4000])
    )
    assert plan.schedules <= 2
    assert plan.bounds.best <= plan.makespan < 1.2 * plan.bounds.best
