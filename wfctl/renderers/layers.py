"""Where the boxes and arrows of a graph go: rows of boxes, few crossings, long arrows straight.

Knows no words, colours or formats: it is given sizes and pairs of places, and gives back whole numbers. The same input
gives the same output, always.

    found = layout([60, 80, 60], [30, 30, 30], [(0, 1), (0, 2), (1, 2)])
    found.x[1], found.y[1]      the left upper corner of box 1; y grows downwards, nothing is below 0
    found.bands[1]              where its row begins and ends (`y`; with `rightwards` it is a column, and `x`)
    found.routes[2]             points from box 1 to box 2, for the third edge
    found.width, found.height   of the whole
    found.crossings             how many pairs of arrows cross

An arrow leads from the lower edge of its source to the upper edge of its target; each point is below the one before,
or at the same height. In the rows that it passes it has two points, one above the other, and no box there: whoever
draws it may round the way from row to row, and must draw what passes a row straight. With `rightwards` the same is
turned: rows are columns, arrows lead from the right edge of a box to the left edge of another.

It is the method of Sugiyama, Tagawa and Toda (Methods for visual understanding of hierarchical system structures, IEEE
Transactions on Systems, Man and Cybernetics 11, 1981) in the shape that Gansner, Koutsofios, North and Vo gave it (A
technique for drawing directed graphs, IEEE Transactions on Software Engineering 19, 1993): rows, then an order in each
row, then places. Pieces that no edge connects are drawn apart, and set beside each other.

What it costs grows like n log n, n being boxes, edges and the rows that edges pass. That last number alone can be n²,
so it is bounded: beyond `LANES` a box, the longest edges share one lane at the side. The sweeps are bounded by `WORK`:
small graphs get all that could help, large ones as many as there is time for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from operator import itemgetter
from random import Random
from typing import NamedTuple

CLOSER = 60
"""Boxes and edges that may be looked at to bring rows closer, for each box and edge."""
LANES = 8
"""Rows that edges may pass with a place of their own there, for each box; SPARE more in all."""
SPARE = 2_000
SWEEPS = 24
"""Most sweeps through the rows of one start; Gansner and others saw little gain from more."""
STARTS = ((True, False), (False, True), (True, True), (False, False))
"""From above or below, with means or medians. Each finds at times what others miss, but for large graphs two, or one,
must do."""
SHAKEN = 16
"""Further starts, from the best order so far with parts of it turned round, where there is work left."""
ROUNDS = 40
"""Most rounds in which neighbours in a row change places, after each sweep; hardly ever more than ten are of use."""
STALE = 8
"""Sweeps without gain after which there will be none."""
WORK = 400
"""Elements and links that all sweeps together may look at, for each box and edge: LEAST is a tenth of a second
in all, and MOST some seconds."""
LEAST, MOST = 200_000, 5_000_000

Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of boxes by their number, and of edges by theirs; see the head of the module."""

    x: list[int]
    y: list[int]
    bands: list[tuple[int, int]]
    routes: list[list[Point]]
    width: int
    height: int
    crossings: int


def layout(
    widths: Sequence[int],
    heights: Sequence[int],
    edges: Sequence[tuple[int, int]],
    *,
    rightwards: bool = False,
    beside: int = 16,
    between: int = 40,
    shape: float = 1.6,
) -> Layout:
    """Places for boxes of these sizes, `beside` apart in a row, rows `between` apart or, where arrows go far sideways,
    somewhat more. `shape` is the width for one of height, as pieces are set beside each other. An edge is a pair of
    numbers of boxes; several of a pair share their route. A cycle is a ValueError."""
    if rightwards:
        turned = layout(heights, widths, edges, beside=beside, between=between, shape=1 / shape)
        routes = [[(x, y) for y, x in route] for route in turned.routes]
        return Layout(turned.y, turned.x, turned.bands, routes, turned.height, turned.width, turned.crossings)
    pairs = sorted(set(edges))
    x, y, bands = [0] * len(widths), [0] * len(widths), [(0, 0)] * len(widths)
    routes_of: dict[tuple[int, int], list[Point]] = {}
    found = []
    allowed = min(max(WORK * (len(widths) + len(pairs)), LEAST), MOST)
    for boxes, own in _pieces(len(widths), pairs):
        at = {box: place for place, box in enumerate(boxes)}
        inner = [(at[source], at[target]) for source, target in own]
        # Each piece has its share of the work, as it has its share of the boxes.
        share = allowed * (len(boxes) + len(own)) // (len(widths) + len(pairs))
        piece = _piece([widths[i] for i in boxes], [heights[i] for i in boxes], inner, beside, between, share)
        found.append((boxes, own, piece))
    corners, width, height = _shelves([(piece.width, piece.height) for _, _, piece in found], 2 * beside, shape)
    for (boxes, own, piece), (left, top) in zip(found, corners, strict=True):
        for place, box in enumerate(boxes):
            x[box], y[box] = piece.x[place] + left, piece.y[place] + top
            bands[box] = (piece.bands[place][0] + top, piece.bands[place][1] + top)
        for pair, route in zip(own, piece.routes, strict=True):
            routes_of[pair] = [(px + left, py + top) for px, py in route]
    crossing = sum(piece.crossings for _, _, piece in found)
    return Layout(x, y, bands, [routes_of[edge] for edge in edges], width, height, crossing)


def _pieces(size: int, pairs: list[tuple[int, int]]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """The boxes that edges connect, with these edges; by their first boxes."""
    top = list(range(size))

    def find(i: int) -> int:
        while top[i] != i:
            top[i] = top[top[i]]
            i = top[i]
        return i

    for source, target in pairs:
        a, b = find(source), find(target)
        top[max(a, b)] = min(a, b)
    boxes: dict[int, list[int]] = {}
    for i in range(size):
        boxes.setdefault(find(i), []).append(i)
    edges: dict[int, list[tuple[int, int]]] = {first: [] for first in boxes}
    for pair in pairs:
        edges[find(pair[0])].append(pair)
    return [(boxes[first], edges[first]) for first in boxes]


def _shelves(sizes: list[tuple[int, int]], gap: int, shape: float) -> tuple[list[Point], int, int]:
    """Left upper corners of pieces on shelves, the highest first, and the width and height of all."""
    area = sum((width + gap) * (height + gap) for width, height in sizes)
    limit = max([isqrt(int(area * shape)), *(width for width, _ in sizes)], default=0)
    corners: list[Point] = [(0, 0)] * len(sizes)
    left = top = deep = right = 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i][1]):
        width, height = sizes[i]
        if left and left + width > limit:
            left, top = 0, top + deep + gap
            deep = 0
        corners[i] = (left, top)
        left, deep, right = left + width + gap, max(deep, height), max(right, left + width)
    return corners, right, top + deep


def _piece(
    widths: list[int], heights: list[int], edges: list[tuple[int, int]], beside: int, between: int, work: int
) -> Layout:
    """One connected graph."""
    row_of = _rows(len(widths), edges)
    net = _net(row_of, edges)
    crossing = _untangle(net, work)
    center = _centers(net, [*widths, *([0] * (net.size - len(widths)))], beside)
    left = min(center[i] - width // 2 for i, width in enumerate(widths))
    left = min([left, *center[len(widths) :]])
    center = [place - left for place in center]
    right = max(center[i] - width // 2 + width for i, width in enumerate(widths))
    right = max([right, *center[len(widths) :]])
    side = right + beside if net.outside else right
    tops, bottoms = _bands(net, heights, center, between)
    x = [center[i] - width // 2 for i, width in enumerate(widths)]
    y = [(tops[row_of[i]] + bottoms[row_of[i]] - height) // 2 for i, height in enumerate(heights)]
    routes = []
    for (source, target), lane in zip(edges, net.lanes, strict=True):
        first, last = row_of[source], row_of[target]
        route = [(center[source], y[source] + heights[source]), (center[source], bottoms[first])]
        if lane is None:
            route += [(side, tops[first + 1]), (side, bottoms[last - 1])]
        else:
            for row, element in enumerate(lane, first + 1):
                route += [(center[element], tops[row]), (center[element], bottoms[row])]
        route += [(center[target], tops[last]), (center[target], y[target])]
        routes.append(_clean(route))
    bands = [(tops[row], bottoms[row]) for row in row_of]
    return Layout(x, y, bands, routes, side, bottoms[-1], crossing)


def _clean(route: list[Point]) -> list[Point]:
    """The route without points that lie on the straight line down between their neighbours, or on one of them."""
    kept = route[:1]
    for here, after in pairwise(route[1:]):
        if here not in (kept[-1], after) and not kept[-1][0] == here[0] == after[0]:
            kept.append(here)
    return [*kept, route[-1]]


# --- Rows -------------------------------------------------------------------------------------------------------------


def _rows(size: int, edges: list[tuple[int, int]]) -> list[int]:
    """The row of each box: as early as all it needs allows, then moved where that makes the edges shorter.

    A box with more edges below than above is drawn down to them, one with more above up again; then boxes that are held
    together by edges from row to row are, as one. No such move makes the sum of all lengths longer. The shortest sum is
    what Gansner and others find by a network simplex, at many times the cost; this comes near to it."""
    above: list[list[int]] = [[] for _ in range(size)]
    below: list[list[int]] = [[] for _ in range(size)]
    for source, target in edges:
        below[source].append(target)
        above[target].append(source)
    missing = [len(needs) for needs in above]
    order = [i for i in range(size) if not missing[i]]
    row = [0] * size
    for i in order:
        for j in below[i]:
            row[j] = max(row[j], row[i] + 1)
            missing[j] -= 1
            if not missing[j]:
                order.append(j)
    if len(order) < size:
        raise ValueError("a graph with a cycle has no rows")
    for _ in range(2):
        for i in reversed(order):
            if below[i] and len(above[i]) <= len(below[i]):
                row[i] = min(row[j] for j in below[i]) - 1
        for i in order:
            if above[i] and len(above[i]) >= len(below[i]):
                row[i] = max(row[j] for j in above[i]) + 1
    left = CLOSER * (size + len(edges))
    while left > 0:
        before = sum(row)
        for links, back, way in ((below, above, 1), (above, below, -1)):
            for i in order if way < 0 else reversed(order):
                left -= _draw(i, row, links, back, way, left)
        if sum(row) == before:
            break
    first = min(row)
    return [place - first for place in row]


def _draw(start: int, row: list[int], ahead: list[list[int]], back: list[list[int]], way: int, most: int) -> int:
    """Move a box, with those that it would push on the way, if more edges get shorter so than longer, as far as can be.
    How many boxes and edges were looked at, `most` at most."""
    if len(ahead[start]) <= len(back[start]) and all(row[j] != row[start] + way for j in ahead[start]):
        return 1
    moved = [start]
    held = {start}
    looked = 1
    for i in moved:
        looked += 1 + len(ahead[i]) + len(back[i])
        if looked > most:
            return looked
        for j in ahead[i]:
            if row[j] == row[i] + way and j not in held:
                held.add(j)
                moved.append(j)
    gain, room = 0, 0
    for i in moved:
        for j in ahead[i]:
            if j not in held:
                gain += 1
                free = way * (row[j] - row[i]) - 1
                room = min(room, free) if room else free
        gain -= sum(j not in held for j in back[i])
    if gain > 0:
        for i in moved:
            row[i] += way * room
    return looked


class _Net(NamedTuple):
    """Elements in rows: below `boxes` they are boxes, the others places where one edge passes a row. Links lead from
    each row to the next."""

    boxes: int
    size: int
    rows: list[list[int]]
    row_of: list[int]
    above: list[list[int]]
    below: list[list[int]]
    lanes: list[list[int] | None]
    """Of each edge the elements between its ends, or None for one that goes around at the side."""
    outside: bool


def _net(row_of: list[int], edges: list[tuple[int, int]]) -> _Net:
    """The elements and links of these edges, in the order of their numbers."""
    boxes = len(row_of)
    spans = [row_of[target] - row_of[source] - 1 for source, target in edges]
    left = LANES * boxes + SPARE
    outside = set()
    if sum(spans) > left:
        for i in sorted(range(len(edges)), key=lambda i: spans[i]):
            left -= spans[i]
            if left < 0 and spans[i]:
                outside.add(i)
    rows_of = list(row_of)
    above: list[list[int]] = [[] for _ in row_of]
    below: list[list[int]] = [[] for _ in row_of]
    lanes: list[list[int] | None] = []
    for i, (source, target) in enumerate(edges):
        if i in outside:
            lanes.append(None)
            continue
        lane = []
        upper = source
        for row in range(row_of[source] + 1, row_of[target]):
            element = len(rows_of)
            rows_of.append(row)
            above.append([upper])
            below.append([])
            below[upper].append(element)
            lane.append(element)
            upper = element
        below[upper].append(target)
        above[target].append(upper)
        lanes.append(lane)
    rows: list[list[int]] = [[] for _ in range(max(row_of) + 1)]
    for element, row in enumerate(rows_of):
        rows[row].append(element)
    return _Net(boxes, len(rows_of), rows, rows_of, above, below, lanes, bool(outside))


# --- Order in the rows ------------------------------------------------------------------------------------------------


def _untangle(net: _Net, work: int) -> int:
    """Put the elements of each row in an order in which few links cross; how many still do.

    From several starts, depth first from above or from below, sweeps move each element to the mean place of its
    neighbours, or to their median; then those side by side in a row change places while that helps. The best of all is
    kept, and its elements are sifted."""
    once = net.size + sum(map(len, net.below))
    best: list[list[int]] = []
    fewest = -1
    chance = Random(0)
    for number in range(len(STARTS) + SHAKEN):
        start, median = STARTS[number % len(STARTS)]
        if number < len(STARTS):
            rows = _first_order(net, start)
        else:
            rows = _shaken(best, chance)
        stale = 0
        for sweep in range(SWEEPS):
            loose = sweep % 4 < 2
            if sweep:
                _sweep(net, rows, down=(sweep % 2 == 0) == start, median=median, turn=loose)
            work -= 3 * once + _switch(net, rows, work // 2, loose=loose)
            count = crossings(rows, net.below)
            stale += 1
            if fewest < 0 or count < fewest:
                best, fewest, stale = [list(row) for row in rows], count, 0
            if not fewest or stale >= STALE or work < 8 * once:
                break
        if not fewest or work < 8 * once:
            break
    if fewest and work > 2 * sum(len(row) ** 2 for row in best):
        _sift(net, best)
        _switch(net, best, work, loose=False)
        fewest = crossings(best, net.below)
    net.rows[:] = best
    return fewest


def _shaken(rows: list[list[int]], chance: Random) -> list[list[int]]:
    """The same rows, with a part of each in another order: a way out of an order that no single step makes better."""
    shaken = []
    for row in rows:
        first, last = sorted((chance.randrange(len(row) + 1), chance.randrange(len(row) + 1)))
        shaken.append([*row[:first], *reversed(row[first:last]), *row[last:]])
    return shaken


def _first_order(net: _Net, down: bool) -> list[list[int]]:
    """The elements as a walk meets them that goes to the depth first: a tree has no crossings then."""
    rows: list[list[int]] = [[] for _ in net.rows]
    ahead, back = (net.below, net.above) if down else (net.above, net.below)
    seen = [False] * net.size
    for start in range(net.size):
        if back[start] or seen[start]:
            continue
        waiting = [start]
        while waiting:
            element = waiting.pop()
            if not seen[element]:
                seen[element] = True
                rows[net.row_of[element]].append(element)
                waiting.extend(reversed(ahead[element]))
    return rows


def _sweep(net: _Net, rows: list[list[int]], *, down: bool, median: bool, turn: bool) -> None:
    """Order each row by the places of its neighbours in the row before. What has none keeps its place. With `turn`,
    those of the same mean change their order, for it may be the wrong one."""
    place = [0] * net.size
    near = net.above if down else net.below
    key = [0.0] * net.size
    previous: list[int] = []
    for number in range(len(rows)) if down else range(len(rows) - 1, -1, -1):
        row = rows[number]
        for i, element in enumerate(previous):
            place[element] = i
        moved = [element for element in row if near[element]]
        for element in moved:
            own = near[element]
            if len(own) == 1:
                key[element] = place[own[0]]
            elif median:
                places = sorted([place[other] for other in own])
                middle = len(places) // 2
                key[element] = places[middle] if len(places) % 2 else (places[middle - 1] + places[middle]) / 2
            else:
                key[element] = sum([place[other] for other in own]) / len(own)
        if turn:
            moved.reverse()
        moved.sort(key=key.__getitem__)
        if len(moved) == len(row):
            rows[number] = moved
        else:
            after = iter(moved)
            rows[number] = [next(after) if near[element] else element for element in row]
        previous = rows[number]


def _switch(net: _Net, rows: list[list[int]], work: int, *, loose: bool) -> int:
    """Let those side by side change places while fewer links cross so; if `loose` also where as many do, for that opens
    ways which are else closed. A row is looked at again when it or one beside it was changed for the better, while
    there is work to be spent; how much was."""
    place = _place(net.size, rows)
    spent = 0
    todo = set(range(len(rows)))
    for _ in range(ROUNDS):
        again = set()
        for number in sorted(todo):
            row = rows[number]
            if len(row) < 2:
                continue
            if spent > work:
                return spent
            ups, downs = _ends(net, row, place)
            spent += 2 * len(row) + sum(map(len, ups.values())) + sum(map(len, downs.values()))
            better = False
            for i in range(len(row) - 1):
                a, b = row[i], row[i + 1]
                gain = _gain(ups[a], ups[b]) + _gain(downs[a], downs[b])
                if gain > 0 or (loose and gain == 0):
                    row[i], row[i + 1] = b, a
                    better = better or gain > 0
            for i, element in enumerate(row):
                place[element] = i
            if better:
                again |= {number - 1, number, number + 1}
        todo = {number for number in again if 0 <= number < len(rows)}
        if not todo:
            break
    return spent


def _sift(net: _Net, rows: list[list[int]]) -> None:
    """Move each element to where in its whole row the fewest links cross (Matuszewski, Schönfeld and Molitor, Using
    sifting for k-layer straightline crossing minimization, Graph Drawing 1999). Costs the square of a row's length, so
    it is for short ones."""
    place = _place(net.size, rows)
    for row in rows:
        ups, downs = _ends(net, row, place)
        for element in list(row):
            up, down, here = ups[element], downs[element], row.index(element)
            most, best, gain = 0, here, 0
            for i in range(here + 1, len(row)):
                gain += _gain(up, ups[row[i]]) + _gain(down, downs[row[i]])
                most, best = max((most, best), (gain, i), key=itemgetter(0))
            gain = 0
            for i in range(here - 1, -1, -1):
                gain += _gain(ups[row[i]], up) + _gain(downs[row[i]], down)
                most, best = max((most, best), (gain, i), key=itemgetter(0))
            row.insert(best, row.pop(here))
        for i, element in enumerate(row):
            place[element] = i


def _place(size: int, rows: list[list[int]]) -> list[int]:
    """Of each element its place in its row."""
    place = [0] * size
    for row in rows:
        for i, element in enumerate(row):
            place[element] = i
    return place


def _ends(net: _Net, row: list[int], place: list[int]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Where the links of each element of a row end, above and below, sorted."""
    ups = {element: sorted([place[other] for other in net.above[element]]) for element in row}
    downs = {element: sorted([place[other] for other in net.below[element]]) for element in row}
    return ups, downs


def _gain(first: list[int], second: list[int]) -> int:
    """How many crossings fewer there are when the element with neighbours at `first` goes behind that of `second`."""
    if not first or not second or first[0] == second[0] == first[-1] == second[-1]:
        return 0
    gain = 0
    if len(first) <= len(second):
        for place in first:
            gain += bisect_left(second, place) - len(second) + bisect_right(second, place)
    else:
        for place in second:
            gain += len(first) - bisect_right(first, place) - bisect_left(first, place)
    return gain


def crossings(rows: list[list[int]], links: list[list[int]]) -> int:
    """How many pairs of links from each row to the next cross: inversions, counted in a tree of sums as Barth, Jünger
    and Mutzel do (Simple and efficient bilayer cross counting, Graph Drawing 2002)."""
    place = _place(len(links), rows)
    count = 0
    for upper, lower in pairwise(rows):
        ends = []
        for element in upper:
            below = links[element]
            if len(below) == 1:
                ends.append(place[below[0]])
            else:
                ends.extend(sorted([place[other] for other in below]))
        count += inversions(ends, len(lower))
    return count


def inversions(values: Iterable[int], limit: int) -> int:
    """Pairs of which the first is larger; all are from 0 to below `limit`."""
    tree = [0] * (limit + 1)
    count = highest = 0
    for before, value in enumerate(values):
        if value < highest:
            smaller, i = 0, value + 1
            while i:
                smaller += tree[i]
                i &= i - 1
            count += before - smaller
        else:
            highest = value
        i = value + 1
        while i <= limit:
            tree[i] += 1
            i += i & -i
    return count


# --- Places in the rows -----------------------------------------------------------------------------------------------


def _centers(net: _Net, widths: list[int], beside: int) -> list[int]:
    """Where each element is in its row, long edges straight, the others as straight as can be.

    Brandes and Köpf (Fast and simple horizontal coordinate assignment, Graph Drawing 2001): elements are joined with
    their median neighbours into columns, four times, each time with another preference, and the mean of the two middle
    places is taken. Columns are set beside each other by longest paths, which also avoids the mistake of the paper
    that Brandes, Walter and Zink correct (Erratum, arXiv 2008.01252)."""
    around = max(4, beside // 2)  # beside a line less room will do than between two boxes
    barred = _conflicts(net)
    found = []
    for down in (True, False):
        for rightmost in (False, True):
            rows = net.rows if down else net.rows[::-1]
            if rightmost:
                rows = [row[::-1] for row in rows]
            root = _columns(net, rows, net.above if down else net.below, barred)
            centers = _compact(net, rows, root, widths, beside, around)
            found.append([-place for place in centers] if rightmost else centers)
    reach = []
    for centers in found:
        lefts = min(place - widths[i] // 2 for i, place in enumerate(centers))
        rights = max(place + (widths[i] + 1) // 2 for i, place in enumerate(centers))
        reach.append((rights - lefts, lefts, rights))
    _, left, right = min(reach)
    shifts = [right - rights if i % 2 else left - lefts for i, (_, lefts, rights) in enumerate(reach)]
    a, b, c, d = ([place + shift for place in centers] for centers, shift in zip(found, shifts, strict=True))
    return [sum(sorted(four)[1:3]) // 2 for four in zip(a, b, c, d, strict=True)]


def _conflicts(net: _Net) -> set[tuple[int, int]]:
    """Links that cross a link between two lines: these may not be straight, for the lines shall be."""
    place = _place(net.size, net.rows)
    barred: set[tuple[int, int]] = set()
    for upper, lower in pairwise(net.rows):
        left, done = 0, 0
        for i, element in enumerate(lower):
            passes = element >= net.boxes and net.above[element][0] >= net.boxes
            if not passes and i < len(lower) - 1:
                continue
            right = place[net.above[element][0]] if passes else len(upper) - 1
            for other in lower[done : i + 1]:
                for source in net.above[other]:
                    if not left <= place[source] <= right and (source < net.boxes or other < net.boxes):
                        barred.add((source, other))
            left, done = right, i + 1
    return barred


def _columns(net: _Net, rows: list[list[int]], near: list[list[int]], barred: set[tuple[int, int]]) -> list[int]:
    """Each element's column, by its first element: it is joined with the median of its neighbours before it, unless
    that crosses a pair that was joined already."""
    down = near is net.above
    place = [0] * net.size
    root = list(range(net.size))
    joined = [False] * net.size
    previous: list[int] = []
    for row in rows:
        for i, element in enumerate(previous):
            place[element] = i
        last = -1
        for element in row:
            own = near[element]
            if not own:
                continue
            if len(own) > 1:
                own = sorted(own, key=place.__getitem__)
            middle = (len(own) - 1) // 2
            for other in own[middle : len(own) // 2 + 1]:
                pair = (other, element) if down else (element, other)
                if place[other] > last and not joined[other] and pair not in barred:
                    joined[other] = True
                    root[element] = root[other]
                    last = place[other]
                    break
        previous = row
    return root


def _compact(
    net: _Net, rows: list[list[int]], root: list[int], widths: list[int], beside: int, around: int
) -> list[int]:
    """The columns as far left as they can be, then each as near as can be to what is right of it."""
    apart: list[list[tuple[int, int]]] = [[] for _ in root]
    missing = [0] * net.size
    boxes = net.boxes
    for row in rows:
        for one, other in pairwise(row):
            gap = beside if one < boxes and other < boxes else around
            apart[root[one]].append((root[other], (widths[one] + widths[other] + 1) // 2 + gap))
            missing[root[other]] += 1
    place = [0] * net.size
    order = [i for i in range(net.size) if root[i] == i and not missing[i]]
    for i in order:
        start = place[i]
        for other, gap in apart[i]:
            if start + gap > place[other]:
                place[other] = start + gap
            missing[other] -= 1
            if not missing[other]:
                order.append(other)
    for i in reversed(order):
        if apart[i]:
            place[i] = max(place[i], min(place[other] - gap for other, gap in apart[i]))
    return [place[i] for i in root]


def _bands(net: _Net, heights: list[int], center: list[int], between: int) -> tuple[list[int], list[int]]:
    """Where each row begins and ends. The further arrows go sideways, the more room there is for them."""
    tops, bottoms = [], []
    top = 0
    for row in net.rows:
        bottom = top + max((heights[i] for i in row if i < net.boxes), default=0)
        far = max((abs(center[i] - center[j]) for i in row for j in net.below[i]), default=0)
        tops.append(top)
        bottoms.append(bottom)
        top = bottom + between + min(far // 8, 2 * between)
    return tops, bottoms
