"""The ready queue: the best-ranked node that fits, whatever is pushed and taken in between."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from wfctl.plan import Demand
from wfctl.ready import LOOK, Ready


def cpu(amount: int) -> Demand:
    return (("cpu", amount),)


def fits(amount: int) -> Callable[[Demand], bool]:
    """A machine with so much free."""
    return lambda demand: sum(wanted for _, wanted in demand) <= amount


def test_the_least_rank_is_first_and_of_equals_the_first_pushed() -> None:
    ready = Ready()
    for name, rank in (("b", 2.0), ("c", 1.0), ("a", 1.0)):
        ready.push(name, (), (rank,))
    taken = []
    while node := ready.best(fits(0)):
        ready.remove(node)
        taken.append(node)
    assert taken == ["c", "a", "b"]


def test_what_does_not_fit_is_passed_over() -> None:
    ready = Ready()
    ready.push("large", cpu(4), (0.0,))
    ready.push("small", cpu(1), (1.0,))
    assert ready.best(fits(2)) == "small"
    ready.remove("small")
    assert ready.best(fits(2)) is None
    ready.freed()
    assert ready.best(fits(4)) == "large"


def test_a_node_taken_out_is_never_given() -> None:
    ready = Ready()
    ready.push("a", cpu(1), (0.0,))
    ready.push("b", cpu(1), (1.0,))
    ready.remove("a")
    assert "a" not in ready
    assert len(ready) == 1
    assert ready.best(fits(1)) == "b"


def test_a_node_may_come_back() -> None:
    ready = Ready()
    ready.push("a", cpu(1), (0.0,))
    ready.remove("a")
    ready.push("b", cpu(1), (0.0,))
    ready.push("a", cpu(1), (0.0,))
    assert ready.best(fits(1)) == "b"


def test_better_ones_that_come_and_go_do_not_use_up_the_look() -> None:
    ready = Ready()
    ready.push("large", cpu(9), (1.0,))
    for i in range(2 * LOOK):  # each hides "large" for a while
        ready.push(f"n{i}", cpu(9), (0.0,))
        assert ready.best(fits(9)) == f"n{i}"
        ready.remove(f"n{i}")
        ready.best(fits(9))
    ready.push("small", cpu(1), (2.0,))
    assert ready.best(fits(1)) == "small"


def test_the_look_ends_after_its_limit() -> None:
    ready = Ready()
    for i in range(LOOK + 1):
        ready.push(f"large{i}", cpu(100 + i), (float(i),))
    ready.push("small", cpu(1), (9999.0,))
    assert ready.best(fits(1)) is None
    ready.remove("large0")
    ready.freed()
    assert ready.best(fits(1)) == "small"


def test_an_empty_queue_gives_none() -> None:
    assert Ready().best(fits(0)) is None


Step = tuple[str, int, int]


@given(
    st.lists(st.tuples(st.sampled_from(["push", "take", "drop"]), st.integers(0, 3), st.integers(0, 5)), max_size=80)
)
def test_it_is_always_the_best_that_fits(steps: list[Step]) -> None:
    ready, live, count = Ready(), {}, 0
    for what, amount, rank in steps:
        if what == "push":
            count += 1
            live[f"n{count}"] = (rank, count, amount)
            ready.push(f"n{count}", cpu(amount), (float(rank),))
            continue
        if what == "drop" and live:
            dropped = list(live)[rank % len(live)]
            del live[dropped]
            ready.remove(dropped)
        ready.freed()
        found = ready.best(fits(amount))
        fitting = [(entry[:2], name) for name, entry in live.items() if entry[2] <= amount]
        assert found == (min(fitting)[1] if fitting else None)
        if found is not None and what == "take":
            ready.remove(found)
            del live[found]
