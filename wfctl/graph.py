"""Order, cycles, reach and longest paths of a directed graph, given as plain mappings.

Knows nothing of nodes of a workflow: a graph is `{id: ids it comes after}`, every id a key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

Needs = Mapping[str, Collection[str]]


def successors(needs: Needs) -> dict[str, list[str]]:
    """The arrows turned round: for each id those that come directly after it, in the graph's order."""
    after: dict[str, list[str]] = {name: [] for name in needs}
    for name, before in needs.items():
        for other in before:
            after[other].append(name)
    return after


def order(needs: Needs) -> list[str]:
    """Every id after all it needs, else in the graph's own order. What lies on or behind a cycle is left out."""
    after = successors(needs)
    left = {name: len(before) for name, before in needs.items()}
    done = [name for name, count in left.items() if not count]
    for name in done:  # grows while it is read: Kahn's algorithm with the result as its queue
        for other in after[name]:
            left[other] -= 1
            if not left[other]:
                done.append(other)
    return done


def cycles(needs: Needs) -> list[list[str]]:
    """One cycle for each knot that has one, as the ids in order of the work, the first one repeated last."""
    sound = set(order(needs))
    knot = {name: [n for n in before if n not in sound] for name, before in needs.items() if name not in sound}
    place = {name: i for i, name in enumerate(needs)}
    found: list[list[str]] = []
    seen: set[str] = set()
    for start in knot:
        # Everything left needs something left, so walking back must meet its own trail.
        trail: dict[str, int] = {}
        path: list[str] = []
        name: str | None = start
        while name is not None and name not in trail and name not in seen:
            trail[name] = len(path)
            path.append(name)
            name = next(iter(knot[name]), None)
        if name in trail:
            loop = path[trail[name] :][::-1]
            first = min(range(len(loop)), key=lambda i: place[loop[i]])
            loop = loop[first:] + loop[:first]
            found.append([*loop, loop[0]])
        seen.update(path)
    return found


def reach(start: Iterable[str], step: Mapping[str, Collection[str]]) -> set[str]:
    """All that can be reached from `start` by `step`, `start` included."""
    found = set(start)
    todo = list(found)
    while todo:
        for other in step[todo.pop()]:
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def tails(
    ordered: Iterable[str],
    after: Mapping[str, Collection[str]],
    length: Callable[[str], float],
    known: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, float]:
    """The longest path from the start of each id to the end of the graph, its own length included.

    That of what is `known` is given, for it is no part of the graph."""
    tail: dict[str, float] = dict(known)
    for name in reversed(list(ordered)):
        tail[name] = length(name) + max((tail[other] for other in after[name]), default=0.0)
    return tail


def longest_path(
    ordered: Iterable[str], after: Mapping[str, Collection[str]], length: Callable[[str], float]
) -> list[str]:
    """The ids of one longest path, in order."""
    names = list(ordered)
    if not names:
        return []
    tail = tails(names, after, length)
    path = [max(names, key=lambda n: tail[n])]
    while after[path[-1]]:
        path.append(max(after[path[-1]], key=lambda n: tail[n]))
    return path
