"""The ready queue: the best-ranked node that fits and delays none before it, whatever comes and goes in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfctl.budget import Budget, Wish
from wfctl.ready import LOOK, Ready

ALL = 10_000


class Machine:
    """A queue before a machine with so much processor free."""

    def __init__(self, free: int) -> None:
        self.budget = Budget({"cpu": ALL}, slots=ALL)
        self.ready = Ready()
        self.free = ALL
        self.set_free(free)

    def set_free(self, free: int) -> None:
        """A stranger, of whom nothing is known, holds the rest."""
        if self.free < ALL:
            self.budget.give_back("stranger", self.wish(ALL - self.free))
        if free < ALL:
            self.budget.hold("stranger", self.wish(ALL - free), 0.0)
        self.free = free
        self.ready.freed()

    def wish(self, cpu: int, seconds: float | None = None) -> Wish:
        return self.budget.wish((("cpu", cpu),), seconds)

    def push(self, node: str, cpu: int = 1, rank: float = 0.0, seconds: float | None = None) -> None:
        self.ready.push(node, self.wish(cpu, seconds), (rank,), since=0.0)

    def best(self, now: float = 0.0) -> str | None:
        return self.ready.best(self.budget, now, patience=600.0)

    def take(self) -> str | None:
        """The best one leaves the queue."""
        node = self.best()
        if node is not None:
            self.ready.remove(node)
        return node


def test_the_least_rank_is_first_and_of_equals_the_first_pushed() -> None:
    machine = Machine(1)
    for name, rank in (("b", 2.0), ("c", 1.0), ("a", 1.0)):
        machine.push(name, rank=rank)
    assert [machine.take(), machine.take(), machine.take(), machine.take()] == ["c", "a", "b", None]


def test_what_does_not_fit_is_passed_over_and_is_first_when_it_fits() -> None:
    machine = Machine(2)
    machine.push("large", 4, 0.0)
    machine.push("small", 1, 1.0)
    assert machine.take() == "small"
    assert machine.take() is None
    machine.set_free(4)
    assert machine.take() == "large"


def test_what_has_waited_for_its_patience_is_passed_no_more() -> None:
    machine = Machine(2)
    machine.push("large", 4, 0.0)
    machine.push("small", 1, 1.0)
    assert machine.best(599.0) == "small"
    assert machine.best(600.0) is None


def test_a_node_taken_out_is_never_given() -> None:
    machine = Machine(1)
    machine.push("a", rank=0.0)
    machine.push("b", rank=1.0)
    machine.ready.remove("a")
    assert "a" not in machine.ready
    assert len(machine.ready) == 1
    assert machine.best() == "b"


def test_a_node_may_come_back() -> None:
    machine = Machine(1)
    machine.push("a")
    machine.ready.remove("a")
    machine.push("b")
    machine.push("a")
    assert machine.best() == "b"


def test_a_better_one_that_comes_is_first() -> None:
    machine = Machine(1)
    machine.push("large", 9, 1.0)
    assert machine.best() is None
    machine.push("better", 9, 0.0)
    assert machine.best() is None
    assert machine.ready.first == "better"
    machine.push("best", 1, -1.0)
    assert machine.best() == "best"


def test_better_ones_that_come_and_go_do_not_use_up_the_look() -> None:
    machine = Machine(9)
    machine.push("large", 9, 1.0)
    for i in range(2 * LOOK):  # each hides "large" for a while
        machine.push(f"n{i}", 9, 0.0)
        assert machine.take() == f"n{i}"
    machine.set_free(1)
    machine.push("small", 1, 2.0)
    assert machine.best() == "small"


def test_the_look_ends_after_its_limit() -> None:
    machine = Machine(1)
    for i in range(LOOK + 1):
        machine.push(f"large{i}", 100 + i, float(i))
    machine.push("small", 1, 9999.0)
    assert machine.best() is None
    machine.ready.remove("large0")
    assert machine.best() == "small"


def test_an_empty_queue_gives_none() -> None:
    assert Machine(1).best() is None


def test_who_comes_back_to_the_front_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfctl.ready.LOOK", 1)
    machine = Machine(9)
    for node, cpu, rank in [("last", 3, 3), ("first", 1, 0), ("second", 2, 2), ("better", 3, 1)]:
        machine.push(node, cpu, rank)
    machine.ready.remove("better")  # `last` is the best of its wish again, and was never taken off the others
    for node in ("first", "second", "last"):
        assert machine.best() == node
        machine.ready.remove(node)
    assert machine.best() is None


Step = tuple[str, int, int]
STEPS = st.tuples(st.sampled_from(["push", "take", "drop"]), st.integers(0, 9), st.integers(0, 5))


@given(st.lists(STEPS, max_size=80), st.integers(1, 4))
def test_it_is_always_the_best_that_fits(steps: list[Step], spread: int) -> None:
    """Also where the window holds but a few of the heads: then it is the best of the window."""
    from wfctl import ready as rooms

    machine, live, count = Machine(0), {}, 0
    before, rooms.LOOK = rooms.LOOK, spread
    try:
        for what, amount, rank in steps:
            if what == "push":
                count += 1
                live[f"n{count}"] = (rank, count, amount)
                machine.push(f"n{count}", amount, float(rank))
                continue
            if what == "drop" and live:
                dropped = list(live)[rank % len(live)]
                del live[dropped]
                machine.ready.remove(dropped)
            machine.set_free(amount)
            heads = {wanted: min(e for e in live.values() if e[2] == wanted) for _, _, wanted in live.values()}
            window = sorted(heads.values())[: spread + 1]
            fitting = [entry for entry in window if entry[2] <= amount]
            found = machine.best()
            assert found == (f"n{fitting[0][1]}" if fitting else None)
            if found is not None and what == "take":
                machine.ready.remove(found)
                del live[found]
    finally:
        rooms.LOOK = before
