"""What runs say to each other of what they share: who may take something beside whom, and for whom it is kept."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfctl.claims import Claims, Holder, Share, against, free_devices


def claims(
    nonce: str,
    shares: Mapping[str, Share],
    held: Mapping[str, int] | None = None,
    waits: Mapping[str, int] | None = None,
    ticket: int = 0,
    outer: tuple[str, ...] = (),
    devices: Mapping[str, list[str]] | None = None,
) -> Claims:
    holder = Holder(nonce, 1, "wfctl run")
    return Claims(
        nonce, outer, holder, "", dict(shares), dict(held or {}), dict(devices or {}), dict(waits or {}), ticket
    )


def names(found: list[Claims]) -> list[str]:
    return [one.nonce for one in found]


def test_the_smallest_budget_of_all_that_live_holds() -> None:
    large, small = claims("large", {"licence": Share(5)}, {"licence": 2}), claims("small", {"licence": Share(3)})
    assert names(against(large, {"licence": 1}, [small])) == []
    assert names(against(large, {"licence": 2}, [small])) == ["small"]
    assert names(against(small, {"licence": 2}, [large])) == ["large"]
    assert names(against(large, {"licence": 3}, [])) == []


def test_what_a_run_reserves_it_leaves_to_others() -> None:
    modest, other = claims("modest", {"cpu": Share(4000, reserve=1000)}), claims("other", {"cpu": Share(4000)})
    assert names(against(modest, {"cpu": 3000}, [other])) == []
    assert names(against(modest, {"cpu": 3500}, [other])) == ["modest"]
    assert names(against(other, {"cpu": 4000}, [modest])) == []


def test_what_comes_later_may_not_keep_back_who_stands_in_line() -> None:
    budget = {"cpu": Share(8)}
    busy = claims("busy", budget, {"cpu": 4})
    first = claims("first", budget, waits={"cpu": 6}, ticket=1)
    second = claims("second", budget, waits={"cpu": 5}, ticket=2)
    late = claims("late", budget)
    assert names(against(late, {"cpu": 1}, [busy, first, second])) == ["first", "second"]
    assert names(against(second, {"cpu": 5}, [late, first])) == ["first"]
    assert names(against(first, {"cpu": 6}, [late, second])) == []
    assert names(against(busy, {"cpu": 4}, [late, first])) == ["first"]
    assert names(against(late, {"cpu": 2}, [first])) == []


def test_what_is_for_nobody_in_the_line_may_be_taken() -> None:
    shares = {"cpu": Share(8), "licence": Share(1)}
    first = claims("first", shares, waits={"cpu": 8}, ticket=1)
    assert names(against(claims("late", shares), {"licence": 1}, [first])) == []


def test_a_run_does_not_pass_itself_in_the_line() -> None:
    other, mine = (
        claims("other", {"cpu": Share(8)}, {"cpu": 4}),
        claims("mine", {"cpu": Share(8)}, waits={"cpu": 8}, ticket=1),
    )
    assert names(against(mine, {"cpu": 1}, [other])) == ["mine"]
    assert names(against(mine, {"cpu": 8}, [])) == []


def test_one_that_may_be_passed_keeps_nobody_back() -> None:
    first = claims("first", {"cpu": Share(8)}, waits={"cpu": 8})
    assert names(against(claims("late", {"cpu": Share(8)}), {"cpu": 8}, [first])) == []


def test_one_whose_turn_cannot_come_while_a_smaller_budget_lives_keeps_nobody_back() -> None:
    large, small = claims("large", {"cpu": Share(8)}, waits={"cpu": 6}, ticket=1), claims("small", {"cpu": Share(4)})
    assert names(against(small, {"cpu": 4}, [large])) == []
    assert names(against(large, {"cpu": 6}, [small])) == ["small"]


@pytest.mark.parametrize(
    ("mine", "held", "free"),
    [
        ("0 1 2", "1", "0 2"),
        ("0 1", "01", "0"),
        ("2 3", "0 1", "2 3"),
        ("GPU-89 GPU-7a", "GPU-8932f937", "GPU-7a"),
        ("GPU-8932f937 GPU-7a", "GPU-89", "GPU-7a"),
        ("0 1", "GPU-89", ""),
        ("GPU-89", "3", ""),
        ("MIG-5c", "GPU-89", ""),
        ("MIG-5c MIG-5d", "MIG-5c", "MIG-5d"),
    ],
)
def test_a_device_is_free_if_no_name_that_is_held_may_mean_it(mine: str, held: str, free: str) -> None:
    seen, other = tuple(mine.split()), held.split()
    one = claims("one", {"gpu": Share(len(seen), devices=seen)})
    two = claims("two", {"gpu": Share(9, devices=(*other, *seen))}, {"gpu": len(other)}, devices={"gpu": other})
    assert free_devices(one, "gpu", [two]) == free.split()
    assert names(against(one, {"gpu": len(free.split()) + 1}, [two])) == ["two"]


def test_runs_that_see_no_device_in_common_do_not_meet() -> None:
    one = claims("one", {"gpu": Share(2, devices=("0", "1"))}, {"gpu": 2}, devices={"gpu": ["0", "1"]})
    two = claims("two", {"gpu": Share(1, devices=("2",))})
    assert names(against(two, {"gpu": 1}, [one])) == []
    assert names(against(claims("three", {"gpu": Share(1, devices=("1",))}), {"gpu": 1}, [one, two])) == ["one"]


def test_a_run_in_a_node_uses_what_the_node_was_given_and_waits_for_nobody_s_turn() -> None:
    shares = {"gpu": Share(1, devices=("0",))}
    outer = claims("outer", shares, {"gpu": 1}, devices={"gpu": ["0"]})
    first = claims("first", shares, waits={"gpu": 1}, ticket=1)
    inner = claims("inner", shares, outer=("outer",))
    assert names(against(inner, {"gpu": 1}, [outer, first])) == []
    assert names(against(first, {"gpu": 1}, [outer, inner])) == ["outer"]
    stranger = claims("stranger", shares, outer=("another",))
    assert names(against(stranger, {"gpu": 1}, [first])) == ["first"]


LEAST = {"cpu": 3, "memory": 2}
RUNS = 4
AMOUNTS = st.fixed_dictionaries({}, optional={name: st.integers(1, least) for name, least in LEAST.items()}).filter(
    bool
)
STEPS = st.lists(
    st.tuples(st.sampled_from("take release wait".split()), st.integers(0, RUNS - 1), AMOUNTS), max_size=40
)


class Crowd:
    """Runs that take, release and stand in line as they may, some with larger budgets than others."""

    def __init__(self) -> None:
        self.runs = [claims(str(n), {name: Share(least + n) for name, least in LEAST.items()}) for n in range(RUNS)]
        self.taken: list[tuple[Claims, dict[str, int]]] = []
        self.tickets = 0

    def may(self, run: Claims, wants: Mapping[str, int]) -> bool:
        return not against(run, wants, [other for other in self.runs if other is not run])

    def take(self, run: Claims, wants: dict[str, int]) -> None:
        if self.may(run, wants):
            self.taken.append((run, wants))
            self.count(run, wants, 1)
            if wants == run.waits:
                run.waits, run.ticket = {}, 0

    def release(self, place: int) -> None:
        if self.taken:
            self.count(*self.taken.pop(place % len(self.taken)), -1)

    def wait(self, run: Claims, wants: dict[str, int]) -> None:
        self.tickets += 1
        run.waits, run.ticket = wants, run.ticket or self.tickets

    def count(self, run: Claims, wants: Mapping[str, int], sign: int) -> None:
        for name, amount in wants.items():
            run.held[name] = run.held.get(name, 0) + sign * amount
        for name, least in LEAST.items():
            assert sum(one.held.get(name, 0) for one in self.runs) <= least

    def follow(self, steps: list[tuple[str, int, dict[str, int]]]) -> Crowd:
        for verb, number, wants in steps:
            if verb == "release":
                self.release(number)
            else:
                getattr(self, verb)(self.runs[number], wants)
        return self


@given(STEPS, STEPS)
def test_the_first_in_line_has_its_turn_when_those_that_held_something_let_go_whatever_others_try(
    steps: list[tuple[str, int, dict[str, int]]], tries: list[tuple[str, int, dict[str, int]]]
) -> None:
    crowd = Crowd().follow(steps)
    line = sorted((run for run in crowd.runs if run.ticket), key=lambda run: run.ticket)
    for _ in [*crowd.taken]:
        crowd.release(0)
        for _, number, wants in tries:  # and never give it back
            if not line or (crowd.runs[number], wants) != (line[0], line[0].waits):
                crowd.take(crowd.runs[number], wants)
    assert not line or crowd.may(line[0], line[0].waits)


LINE = claims("n", {"gpu": Share(2, 0, ("0", "GPU-89"))}, {"gpu": 1}, {"gpu": 1}, 3, ("o",), {"gpu": ["0"]}).to_bytes()


def test_claims_are_read_as_they_were_written() -> None:
    read = Claims.from_bytes("n", LINE)
    assert read is not None
    assert read.to_bytes() == LINE
    assert read.shares == {"gpu": Share(2, 0, ("0", "GPU-89"))}


@pytest.mark.parametrize("place", range(len(LINE)))
def test_a_line_with_any_bit_changed_or_cut_anywhere_is_damaged(place: int) -> None:
    for bit in range(8):
        changed = bytearray(LINE)
        changed[place] ^= 1 << bit
        assert Claims.from_bytes("n", bytes(changed)) is None
    assert Claims.from_bytes("n", LINE[:place]) is None


def test_claims_of_a_newer_format_are_not_understood() -> None:
    import zlib

    text = LINE.partition(b" ")[2].replace(b'"format":1', b'"format":2')
    assert Claims.from_bytes("n", b"%08x %s" % (zlib.crc32(text), text)) is None
