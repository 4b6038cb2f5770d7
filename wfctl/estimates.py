"""How long nodes took of late: what is kept of that from run to run, and what it lets expect.

Knows no file, no clock and no plan: it is handed what was kept, ids and seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

KEPT = 5
"""Successes of a node that are kept. Their median is not moved by two odd ones, and follows a change in three runs."""

ABSENT = 20
"""Whole runs after which a node that is no longer in the file is forgotten: one that was put aside may come back."""

_LONGEST = 10**12  # milliseconds: 30 years; no more is believed


def median(values: Sequence[float]) -> float:
    """The value in the middle, or half-way between the two there. Not `statistics`: importing it takes 10 ms."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def by_node(kept: object, nodes: Collection[str]) -> dict[str, float]:
    """Seconds that the nodes took in the median of what is kept, to the millisecond: those of a file, and all in them.

    Those of which nothing is known are not in it; of items only those that the last run had. What is kept may be
    anything: what is not understood says nothing.
    """
    runs, entries = _parts(kept)
    return {
        name: int(median(entry[1:])) / 1000
        for name, entry in entries.items()
        if name in nodes or (top_of(name) in nodes and (entry[0] == runs or "[" not in name))
    }


def top_of(name: str) -> str:
    """The node of the file that one is, or lies in: `sample` for `sample[S1].align`."""
    return name.partition("[")[0].partition(".")[0]


def keys_of(seconds: Iterable[str], name: str) -> list[str]:
    """The keys of the items that a `for_each` of that id had, as far as ids of its nodes tell."""
    start = f"{name}["
    return list(dict.fromkeys(one[len(start) :].partition("]")[0] for one in seconds if one.startswith(start)))


def by_kind(seconds: Mapping[str, float], kinds: Mapping[str, str]) -> dict[str, float]:
    """The median of each kind, over those of its nodes that are known. `kinds` has the kind of every node.

    It is that of the nodes of one workflow: they resemble each other more than those of all that ever ran here do.
    """
    known: dict[str, list[float]] = {}
    for name, kind in kinds.items():
        if name in seconds:
            known.setdefault(kind, []).append(seconds[name])
    return {kind: round(median(values), 3) for kind, values in known.items()}


def merged(kept: object, nodes: Iterable[str], took: Mapping[str, float], *, whole: bool) -> dict[str, Any]:
    """What is kept after another run: of each node the run in which it was last seen, and its last successes.

    `nodes` are those of the run's plan, `took` has the seconds of those that succeeded. Where the run was not of the
    `whole` file, no other node is any nearer to being forgotten. There are only ids and whole numbers in it.
    """
    runs, before = _parts(kept)
    runs += whole
    here = set(nodes)
    entries = {
        name: [runs, *entry[1:]] if name in here else entry
        for name, entry in before.items()
        if name not in took and (name in here or entry[0] + ABSENT > runs)
    }
    for name, seconds in took.items():
        entry = before.get(name, [])
        entries[name] = [runs, *entry[max(1, len(entry) + 1 - KEPT) :], round(seconds * 1000)]
    return {"runs": runs, "nodes": entries}


def _parts(kept: Any) -> tuple[int, Mapping[str, list[int]]]:
    """How many whole runs there were, and what is kept of each node: that in which it was last seen, then its times."""
    try:
        runs, nodes = kept["runs"], kept["nodes"]
        numbers = [runs, *chain.from_iterable(nodes.values())]
        sound = {*map(type, numbers)} == {int} and min(numbers) >= 0 and max(numbers) <= _LONGEST
        if sound and min(map(len, nodes.values()), default=2) > 1:
            return runs, nodes
    except (AttributeError, KeyError, TypeError):
        pass
    return 0, {}
