"""Many ids as few families."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wfctl.renderers.families import families


def told(ids: list[str], most: int = 10, weights: list[float] | None = None) -> dict[str, int]:
    return {f.label: len(f.members) for f in families(ids, weights or [1.0] * len(ids), most)}


def test_ids_that_differ_in_numbers_are_a_family() -> None:
    ids = [f"{kind}_{i}" for kind in ("fetch", "align") for i in range(9)] + ["publish"]
    assert told(ids) == {"fetch_*": 9, "align_*": 9, "publish": 1}


def test_what_is_the_same_in_all_of_a_family_stays() -> None:
    assert told([f"chr21_part_{i}" for i in range(3)] + ["chr21"]) == {"chr21_part_*": 3, "chr21": 1}


def test_items_and_inner_nodes_are_families() -> None:
    samples = [f"sample[{name}].{node}" for name in ("S1", "x-y", "3.11") for node in ("align", "sort")]
    assert told(samples) == {"sample[*].align": 3, "sample[*].sort": 3}


def test_most_of_all_in_one_family_are_told_apart_by_their_first_number() -> None:
    layers = [f"l{layer}_n{i}" for layer in range(50) for i in range(5)]
    assert told(layers) == {f"l{{{first}..{first + 4}}}_n*": 25 for first in range(0, 50, 5)}
    assert list(told([f"t{i:03}" for i in range(40)])) == [f"t{{{4 * i:03}..{4 * i + 3:03}}}" for i in range(10)]


def test_the_largest_and_the_heaviest_stay_where_there_are_too_many() -> None:
    ids = ["many_1", "many_2", "light", "heavy", "idle", "still"]
    assert told(ids, 3, [1, 1, 2, 5, 1, 1]) == {"many_*": 2, "heavy": 1, "": 3}


def test_those_that_are_left_over_are_called_by_what_they_begin_with() -> None:
    assert told(["build_a_1", "build_b", "build_c", "build_a_2"], 2) == {"build_a_*": 2, "build_*": 2}


@given(st.lists(st.text("ab_[]01٣", max_size=8), max_size=60), st.integers(1, 12))
def test_each_id_is_in_one_family(ids: list[str], most: int) -> None:
    found = families(ids, [1.0] * len(ids), most)
    assert sorted(i for family in found for i in family.members) == list(range(len(ids)))
    assert len(found) <= most
