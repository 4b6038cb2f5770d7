"""Many ids as few families, named by what their members have in common: `align_*`.

Knows nothing of what the ids stand for."""

from __future__ import annotations

import heapq
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

PARTS = 10
"""A family that has most of all ids is divided by a number in them, into so many parts at most."""

_FIELD = re.compile(r"((?<=\[)[^]]+(?=])|[0-9]+)")
"""What tells members of one family apart: a number, or what stands in brackets."""

_WORD = re.compile(r"[^\W\d_]*")


@dataclass(frozen=True, slots=True)
class Family:
    """Some ids, as their places in the list of all. `label` is what is common to them, with `*` for what is not;
    the only id itself; or nothing, where they have nothing in common."""

    label: str
    members: tuple[int, ...]


def families(ids: Sequence[str], weights: Sequence[float], most: int) -> list[Family]:
    """All ids in at most so many families; each is in one. Where they are too many, the largest are told apart, of
    equal ones the heaviest, and the rest is one family. Costs n log n."""
    if not ids:
        return []
    kept: list[list[int]] = []
    pools: list[list[int]] = []
    todo: list[tuple[int, int, list[int]]] = [(-len(ids), 0, list(range(len(ids))))]
    while todo:
        family = heapq.heappop(todo)[2]
        room = most - len(kept) - len(pools) - len(todo)
        parts = _parts(ids, family) if room > 1 and len(family) > 1 else [family]
        if len(parts) == 1:
            kept.append(family)
            continue
        if len(parts) > room:
            parts.sort(key=lambda part: (len(part), max(weights[i] for i in part)), reverse=True)
            pools.append(sorted(i for part in parts[room - 1 :] for i in part))
            parts = parts[: room - 1]
        for part in parts:
            heapq.heappush(todo, (-len(part), part[0], part))
    found: list[Family] = []
    largest = max(kept, key=len)
    if 2 * len(largest) > len(ids):
        ranges = _divided(ids, largest, min(PARTS, most - len(kept) - len(pools) + 1))
        if ranges:
            kept.remove(largest)
            found += [Family(_label([ids[i] for i in part], ranged=True), tuple(part)) for part in ranges]
    found += [Family(_label([ids[i] for i in family]), tuple(family)) for family in kept]
    return found + [Family(_prefix([ids[i] for i in pool]), tuple(pool)) for pool in pools]


def _parts(ids: Sequence[str], family: Sequence[int]) -> list[list[int]]:
    """A family by the first words of its ids; where they all have the same, by all that is no number."""
    parts = _by(family, [(_WORD.match(ids[i]) or [""])[0] for i in family])
    return parts if len(parts) > 1 else _by(family, [_FIELD.sub("*", ids[i]) for i in family])


def _by(family: Sequence[int], keys: Sequence[Hashable]) -> list[list[int]]:
    parts: dict[Hashable, list[int]] = {}
    for i, key in zip(family, keys, strict=True):
        parts.setdefault(key, []).append(i)
    return list(parts.values())


def _divided(ids: Sequence[str], family: list[int], most: int) -> list[list[int]]:
    """A family by the first number that its members differ in, as ranges of it, if it is large and there is one."""
    if len(family) < 2 * most or most < 2:
        return []
    for values in list(zip(*(_FIELD.split(ids[i]) for i in family), strict=True))[1::2]:
        if len(set(values)) > 1 and all(value.isdecimal() for value in values):
            ordered = sorted(set(values), key=_magnitude)
            length = -(-len(ordered) // most)
            part_of = {value: place // length for place, value in enumerate(ordered)}
            return _by(family, [part_of[value] for value in values])
    return []


def _magnitude(digits: str) -> tuple[int, str, int]:
    """By how large the number is; it may have more digits than can be read as one."""
    bare = digits.lstrip("0")
    return len(bare), bare, len(digits)


def _label(members: Sequence[str], *, ranged: bool = False) -> str:
    """`align_*`; where the members are a range of the first number that they differ in, `align_{1..8}`."""
    if len(members) == 1:
        return members[0]
    split = [_FIELD.split(member) for member in members]
    if len({tuple(parts[::2]) for parts in split}) > 1:
        return _prefix(members)
    label = ""
    for values in zip(*split, strict=True):
        different = set(values)
        if len(different) == 1:
            label += values[0]
        elif ranged and all(value.isdecimal() for value in different):
            label += f"{{{min(different, key=_magnitude)}..{max(different, key=_magnitude)}}}"
            ranged = False
        else:
            label += "*"
    return label


def _prefix(members: Sequence[str]) -> str:
    """What all begin with, and a star; nothing where they differ from the first letter on."""
    first, last = min(members), max(members)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:same] + "*" if same else ""
