"""The search for a better plan: never worse, repeatable, over at the bound, and as good as the literature."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_schedule import WIDE, check, problems
from wfctl.layout import Problem, Schedule
from wfctl.optimize import Progress, draft, search


def hard(seed: int = 7, size: int = 60, levels: int = 1) -> Problem:
    """A random problem with four scarce resources, whose draft can be improved; the first nodes have higher levels."""
    chance = random.Random(seed)
    return Problem(
        durations=[chance.randint(1, 10) for _ in range(size)],
        needs=[sorted({chance.randrange(max(0, n - 12), n) for _ in range(2)}) if n > 2 else [] for n in range(size)],
        demands=[[chance.randint(0, 10) for _ in range(4)] for _ in range(size)],
        capacities=[14, 15, 16, 17],
        levels=[levels - node * levels // size for node in range(size)],
    )


def searched(problem: Problem, schedules: int, seed: int = 1) -> Schedule:
    """A search that only the number of schedules ends."""
    return search(problem, seconds=1.0, chance=random.Random(seed), elapsed=lambda: 0.0, limit=schedules)


@settings(max_examples=40)
@given(problems(most=14, levels=3, running=True), st.integers(0, 9))
def test_a_search_is_never_worse_than_the_draft_and_breaks_nothing(problem: Problem, seed: int) -> None:
    found = searched(problem, 300, seed)
    check(problem, found.start, found.finish)
    assert found.bounds.best <= found.makespan <= draft(problem).makespan


def test_a_search_finds_what_the_draft_does_not() -> None:
    assert searched(hard(), 2000).makespan < draft(hard()).makespan


def test_a_draft_depends_on_its_problem_alone() -> None:
    assert draft(hard()) == draft(hard())


def test_a_search_is_the_same_for_a_seed_and_a_number_of_schedules() -> None:
    one, same, other = searched(hard(), 900), searched(hard(), 900), searched(hard(), 900, seed=2)
    assert one == same
    assert one.start != other.start


def test_a_clock_that_is_slower_changes_only_when_it_ends() -> None:
    ticks = iter(range(10_000))
    slow = search(hard(), seconds=100.0, chance=random.Random(1), elapsed=lambda: float(next(ticks)))
    assert slow == searched(hard(), slow.schedules)


def test_a_search_is_over_at_the_lower_bound() -> None:
    found = searched(WIDE, 1_000_000)
    assert found.optimal
    assert found.schedules < 10


def test_a_search_without_time_is_the_draft() -> None:
    found = search(hard(), seconds=0.0, chance=random.Random(1), elapsed=lambda: 0.0)
    assert found == draft(hard())


def test_progress_is_told_at_each_better_plan() -> None:
    told: list[Progress] = []
    found = search(hard(), seconds=1.0, chance=random.Random(1), elapsed=lambda: 0.0, limit=2000, tell=told.append)
    spans = [progress.makespan for progress in told]
    assert spans == sorted(spans, reverse=True)
    assert spans[0] == draft(hard()).makespan > spans[-1] == found.makespan
    assert {progress.bound for progress in told} == {found.bounds.best}


def test_progress_is_told_now_and_then_where_nothing_is_found() -> None:
    ticks = iter(range(10_000))
    told: list[Progress] = []
    search(hard(), seconds=5.0, chance=random.Random(1), elapsed=lambda: next(ticks) / 50, tell=told.append)
    assert len(told) >= 40


def read(path: Path) -> Problem:
    """An instance of PSPLIB."""
    parts = re.split(r"^(?:PRECEDENCE|REQUESTS|RESOURCEAVAIL).*$", path.read_text(), flags=re.MULTILINE)[1:]
    after, nodes, capacities = (
        [[int(word) for word in line.split()] for line in part.splitlines() if re.fullmatch(r"[\d\s]*\d\s*", line)]
        for part in parts
    )
    needs: list[list[int]] = [[] for _ in nodes]
    for node, _, _, *others in after:
        for other in others:
            needs[other - 1].append(node - 1)
    return Problem(
        durations=[node[2] for node in nodes],
        needs=needs,
        demands=[node[3:] for node in nodes],
        capacities=capacities[0],
    )


@pytest.mark.parametrize(("name", "percent"), [("j30", 1.6), ("j60", 2.8)])
def test_a_draft_is_as_near_to_the_best_known_plans_as_promised(shared: Path, name: str, percent: float) -> None:
    folder = shared / "data" / "psplib"
    with (folder / "bounds.csv").open() as lines:
        known = {row["instance"]: row for row in csv.DictReader(lines)}
    gaps = []
    for path in sorted((folder / name).iterdir()):
        problem, best = read(path), float(known[path.stem]["upper"])
        plan = draft(problem)
        check(problem, plan.start, plan.finish)
        assert plan.bounds.best <= best <= plan.makespan
        gaps.append(plan.makespan / best - 1)
    assert len(gaps) == 60
    assert 100 * sum(gaps) / 60 <= percent


def test_a_search_goes_level_by_level() -> None:
    problem = hard(levels=2)
    before, after = draft(problem), searched(problem, 3000)
    check(problem, after.start, after.finish)
    assert after.makespan < before.makespan


def test_a_shorter_level_that_makes_the_whole_longer_is_not_taken() -> None:
    problem = hard(seed=8, size=40, levels=2)
    assert searched(problem, 400).makespan <= draft(problem).makespan
