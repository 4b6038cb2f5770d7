"""A graph to be drawn, as plain data, and the order of its nodes by place, layer and part.

Knows nothing of how it is drawn, nor where its nodes come from."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from wfctl.renderers.text import duration

Section = Literal["nodes", "finally"]


@dataclass(frozen=True, slots=True)
class PictureNode:
    """One box. `state` and `seconds` are of a run, None where there is none; `note` is foreign text."""

    id: str
    kind: str
    state: str | None = None
    seconds: float | None = None
    section: Section = "nodes"
    critical: bool = False
    note: str = ""

    def facts(self) -> list[str]:
        """What stands beside the id in a box: the kind, unless that is `run`, the time, the note."""
        time = [] if self.seconds is None else [duration(self.seconds)]
        return [*([self.kind] if self.kind != "run" else []), *time, *([self.note] if self.note else [])]


@dataclass(frozen=True, slots=True)
class PictureEdge:
    """One arrow: `target` comes after `source`. `kind` says what made it: `needs`, `file` where nothing but a path did,
    `undo`."""

    source: str
    target: str
    kind: Literal["needs", "file", "undo"] = "needs"
    critical: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A whole graph. Nodes in the order of their telling; edges name nodes of it and make no cycle."""

    title: str
    nodes: tuple[PictureNode, ...]
    edges: tuple[PictureEdge, ...]
    state: str | None = None


def arrows(picture: Picture) -> dict[tuple[str, str], bool]:
    """The edges as pairs of ids, each once, in order; True for those that only a file makes."""
    found: dict[tuple[str, str], bool] = {}
    for edge in picture.edges:
        pair = (edge.source, edge.target)
        found[pair] = found.get(pair, True) and edge.kind == "file"
    return found


def path_arrows(picture: Picture) -> set[tuple[str, str]]:
    """The arrows of the critical path: not each between two of its nodes, for some pass others over."""
    return {(edge.source, edge.target) for edge in picture.edges if edge.critical}


def around(picture: Picture, node: str, depth: int) -> Picture:
    """Only the node, and what lies at most so many arrows before or after it. KeyError where there is no such node."""
    before: dict[str, list[str]] = {one.id: [] for one in picture.nodes}
    after: dict[str, list[str]] = {one.id: [] for one in picture.nodes}
    for source, target in arrows(picture):
        before[target].append(source)
        after[source].append(target)
    near = {node}
    for links in (before, after):
        edge, seen = [node], {node}
        for _ in range(depth):
            edge = list(dict.fromkeys(other for one in edge for other in links[one] if other not in seen))
            if not edge:
                break
            seen.update(edge)
        near |= seen
    return replace(
        picture,
        nodes=tuple(one for one in picture.nodes if one.id in near),
        edges=tuple(edge for edge in picture.edges if edge.source in near and edge.target in near),
    )


class Web(NamedTuple):
    """The nodes of one section by place; `needs[i]` and `feeds[i]` are the places of the neighbours of
    `nodes[i]`, each once, in order."""

    nodes: Sequence[PictureNode]
    needs: list[list[int]]
    feeds: list[list[int]]

    def part(self, places: Sequence[int]) -> Web:
        """Only these nodes, and what runs between them."""
        at = {place: new for new, place in enumerate(places)}
        return Web(
            [self.nodes[i] for i in places],
            [[at[j] for j in self.needs[i] if j in at] for i in places],
            [[at[j] for j in self.feeds[i] if j in at] for i in places],
        )


def web(picture: Picture, section: Section) -> Web:
    """One section of the picture. Edges between sections are left out: all of `finally` comes after all else."""
    nodes = [node for node in picture.nodes if node.section == section]
    place = {node.id: i for i, node in enumerate(nodes)}
    pairs = {
        (place[edge.source], place[edge.target])
        for edge in picture.edges
        if edge.source in place and edge.target in place
    }
    needs: list[list[int]] = [[] for _ in nodes]
    feeds: list[list[int]] = [[] for _ in nodes]
    for source, target in sorted(pairs):
        needs[target].append(source)
        feeds[source].append(target)
    return Web(nodes, needs, feeds)


def order(net: Web) -> list[int]:
    """The places so that each comes after all it needs, and else as they were told."""
    missing = [len(needs) for needs in net.needs]
    ready = [i for i, count in enumerate(missing) if not count]
    done: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        done.append(i)
        for j in net.feeds[i]:
            missing[j] -= 1
            if not missing[j]:
                heapq.heappush(ready, j)
    return _whole(done, net)


def deep_order(net: Web) -> list[int]:
    """The same, but what has just become possible comes first, so that few things are open at once."""
    missing = [len(needs) for needs in net.needs]
    ready = [i for i in reversed(range(len(missing))) if not missing[i]]
    done: list[int] = []
    while ready:
        i = ready.pop()
        done.append(i)
        for j in reversed(net.feeds[i]):
            missing[j] -= 1
            if not missing[j]:
                ready.append(j)
    return _whole(done, net)


def _whole(done: list[int], net: Web) -> list[int]:
    if len(done) < len(net.nodes):
        raise ValueError("a picture with a cycle cannot be put in order")
    return done


def depths(net: Web) -> list[int]:
    """The layer of each place: after all it needs; what feeds more than it needs stays close to what it feeds."""
    places = order(net)
    depth = [0] * len(places)
    for i in places:
        depth[i] = max((depth[j] + 1 for j in net.needs[i]), default=0)
    for i in reversed(places):
        if len(net.needs[i]) < len(net.feeds[i]):
            depth[i] = min(depth[j] for j in net.feeds[i]) - 1
    return depth


def parts(net: Web) -> list[Web]:
    """The pieces that no edge connects, in the order of their first nodes."""
    seen = [False] * len(net.nodes)
    pieces: list[Web] = []
    for start in range(len(seen)):
        if seen[start]:
            continue
        seen[start] = True
        piece = [start]
        for i in piece:
            for j in (*net.needs[i], *net.feeds[i]):
                if not seen[j]:
                    seen[j] = True
                    piece.append(j)
        pieces.append(net.part(sorted(piece)))
    return pieces


class Layers(NamedTuple):
    """The nodes in rows, with lines for the edges that pass a row.

    An element below `len(nodes)` is that node; any other is a line, which carries the edges of one
    node, `owner`, past one row. Every link leads from an element of a row to one of the next.
    """

    rows: list[list[int]]
    owner: list[int]
    above: list[list[int]]
    below: list[list[int]]


def layers(net: Web) -> Layers:
    """The nodes in rows by depth, ordered so that few edges cross."""
    depth = depths(net)
    size = len(depth)
    owner = list(range(size))
    above: list[list[int]] = [[] for _ in owner]
    below: list[list[int]] = [[] for _ in owner]
    rows: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]

    def link(upper: int, lower: int) -> None:
        below[upper].append(lower)
        above[lower].append(upper)

    for i in deep_order(net):
        rows[depth[i]].append(i)
    for i in range(size):
        upper, far = i, max((depth[j] for j in net.feeds[i]), default=0)
        for row in range(depth[i] + 1, far + 1):
            for j in net.feeds[i]:
                if depth[j] == row:
                    link(upper, j)
            if row < far:
                owner.append(i)
                above.append([])
                below.append([])
                rows[row].append(len(owner) - 1)
                link(upper, len(owner) - 1)
                upper = len(owner) - 1
    return Layers(_untangled(rows, above, below), owner, above, below)


def _untangled(rows: list[list[int]], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """The rows after sweeps down and up, each element moved to the mean place of its neighbours; the best of all."""
    from wfctl.renderers.layers import crossings  # which knows better ways; boxes that few nodes fill need none

    best, fewest = rows, crossings(rows, below)
    for sweep in range(12):
        if not fewest:
            break
        down = sweep % 2 == 0
        rows = [list(row) for row in rows]
        places = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for k in places:
            fixed = rows[k - 1 if down else k + 1]
            at = {element: place for place, element in enumerate(fixed)}
            own = {element: place for place, element in enumerate(rows[k])}
            links = above if down else below
            mean = {e: sum(at[j] for j in links[e]) / len(links[e]) if links[e] else own[e] for e in rows[k]}
            rows[k].sort(key=mean.__getitem__)
        count = crossings(rows, below)
        if count < fewest:
            best, fewest = rows, count
    return best


def settle(wanted: Sequence[float], sizes: Sequence[int], weights: Sequence[float], limit: int) -> list[int]:
    """Where things that stand side by side begin: in their order, without overlap, from 0 to `limit` at
    most, each as near as can be to where it wants to begin (least squares, by weight).

    The sizes must add up to no more than the limit.
    """
    # Take away the sizes before each, and what is left to find is the nearest rising sequence: pool
    # neighbours that are in the wrong order until none is.
    offset, before = [], 0
    pools: list[tuple[float, float, int]] = []
    for want, size, weight in zip(wanted, sizes, weights, strict=True):
        offset.append(before)
        mean, heavy, count = want - before, weight, 1
        before += size
        while pools and pools[-1][0] >= mean:
            other, other_heavy, other_count = pools.pop()
            mean = (mean * heavy + other * other_heavy) / (heavy + other_heavy)
            heavy, count = heavy + other_heavy, count + other_count
        pools.append((mean, heavy, count))
    slack = limit - before
    starts = [min(max(round(mean), 0), slack) for mean, _, count in pools for _ in range(count)]
    return [start + shift for start, shift in zip(starts, offset, strict=True)]
