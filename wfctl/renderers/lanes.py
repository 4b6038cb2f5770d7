"""A graph as lanes, as `git log --graph` draws them, one row a node: for many nodes.

Knows nothing of titles and legends."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from wfctl.renderers.picture import PictureNode, Web, deep_order
from wfctl.renderers.text import DOWN, LEFT, RIGHT, UP, Pen, Style, duration, look, plural, width_of


@dataclass(slots=True)
class _Lane:
    """One upright line. Its sources join it from above, its targets leave it below; every source leads to
    every target. `slot` is its column while it is open."""

    sources: list[int]
    targets: list[int]
    begin: int = 0
    end: int = 0
    slot: int = -1


def lanes(net: Web, pen: Pen) -> list[str]:
    """Lanes for what edges connect, then a plain list of the nodes that stand alone."""
    joined = [i for i in range(len(net.nodes)) if net.needs[i] or net.feeds[i]]
    alone = [i for i in range(len(net.nodes)) if not (net.needs[i] or net.feeds[i])]
    lines = _joined(net.part(joined), pen) if joined else []
    if joined and alone:
        lines += ["", pen.paint(f"{pen.dash * 2} {plural(len(alone), 'node')} without edges", "dim")]
    for i in alone:
        sign, style = _sign(net.nodes[i], pen)
        lines.append(f"{pen.paint(sign, style)} " + _label(net.nodes[i], [], pen.width - 2, pen))
    return lines


def _sign(node: PictureNode, pen: Pen) -> tuple[str, Style]:
    """What stands for the node: the mark of its state, else a dot, or a diamond on the critical path."""
    if node.state:
        return pen.mark(node.state), look(node.state).style
    if node.critical:
        return "◆" if pen.unicode else "#", "bold yellow"
    return "●" if pen.unicode else "*", "bold"


def _joined(net: Web, pen: Pen) -> list[str]:
    """One row a node, in an order in which it can run; what does not fit as a lane is named beside its node."""
    places = deep_order(net)
    row_of = [0] * len(places)
    for row, i in enumerate(places):
        row_of[i] = row
    most = max(pen.width // 5, 4)
    kept, left_out = _affordable(_bundles(net, row_of), most)
    unseen: list[list[int]] = [[] for _ in places]
    for lane in left_out:
        for target in lane.targets:
            unseen[target] += lane.sources
    entering: list[list[_Lane]] = [[] for _ in places]
    leaving: list[list[_Lane]] = [[] for _ in places]
    for lane in kept:
        for i in lane.targets:
            entering[i].append(lane)
        for i in lane.sources:
            leaving[i].append(lane)
    slots: list[_Lane | None] = []
    lines: list[str] = []
    ended = -1
    for row, i in enumerate(places):
        own, text = _arrive(row, entering[i], slots, ended, _sign(net.nodes[i], pen), pen)
        # Marks in one column on rows that follow each other read as an edge, so where nothing goes on
        # the next node must not stand below.
        ended = -1 if leaving[i] else own
        missed = [net.nodes[j].id for j in sorted(unseen[i], key=row_of.__getitem__)]
        # The width of the lanes is what they take without colour: two columns each.
        lines.append(text + _label(net.nodes[i], missed, pen.width - 2 * len(slots), pen))
        if more := _depart(row, own, leaving[i], slots, pen):
            lines.append(more)
    if left_out:
        arrow = "←" if pen.unicode else "<-"
        lines += ["", pen.paint(f"{arrow} needs that are not drawn as lines", "dim")]
    return lines


def _bundles(net: Web, row_of: Sequence[int]) -> list[_Lane]:
    """The edges as few lanes: nodes that feed the same nodes share one; of the rest, an edge goes to the
    lane of its source or to that of its target, whichever serves more."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, feeds in enumerate(net.feeds):
        if feeds:
            groups.setdefault(tuple(feeds), []).append(i)
    fed_by: Counter[int] = Counter()
    for feeds_of_group in groups:
        fed_by.update(feeds_of_group)
    lanes: list[_Lane] = []
    into: dict[int, list[int]] = {}
    for feeds_of_group, sources in groups.items():
        targets = []
        for target in feeds_of_group:
            if fed_by[target] > len(feeds_of_group):
                into.setdefault(target, []).extend(sources)
            else:
                targets.append(target)
        if targets:
            lanes.append(_Lane(sources, targets))
    lanes += [_Lane(sources, [target]) for target, sources in into.items()]
    for lane in lanes:
        lane.begin = min(row_of[i] for i in lane.sources)
        lane.end = max(row_of[i] for i in lane.targets)
    return lanes


def _affordable(lanes: list[_Lane], most: int) -> tuple[list[_Lane], list[_Lane]]:
    """The most lanes of which never more than `most` are open at once, and the others."""
    lanes.sort(key=lambda lane: (lane.begin, lane.end))
    open_lanes: list[tuple[int, int]] = []  # furthest end first
    dropped: set[int] = set()
    alive = 0
    finished: list[tuple[int, int]] = []
    for number, lane in enumerate(lanes):
        while finished and finished[0][0] <= lane.begin:
            if heapq.heappop(finished)[1] not in dropped:
                alive -= 1
        heapq.heappush(finished, (lane.end, number))
        heapq.heappush(open_lanes, (-lane.end, number))
        alive += 1
        if alive > most:
            # The one that stays open longest is in the way of most others.
            dropped.add(heapq.heappop(open_lanes)[1])
            alive -= 1
    kept = [lane for number, lane in enumerate(lanes) if number not in dropped]
    return kept, [lane for number, lane in enumerate(lanes) if number in dropped]


def _free(slots: list[_Lane | None], near: int, taken: int = -1) -> int:
    """The free column nearest to `near`, but not `taken`; a new one at the end when there is none."""
    free = [i for i, lane in enumerate(slots) if lane is None and i != taken]
    if free:
        return min(free, key=lambda i: abs(i - near))
    slots += [None] * (2 if len(slots) == taken else 1)
    return len(slots) - 1


def _arrive(
    row: int, entering: Sequence[_Lane], slots: list[_Lane | None], ended: int, sign: tuple[str, Style], pen: Pen
) -> tuple[int, str]:
    """The row of a node with all lines that lead to it, and the column where it stands."""
    ending = sorted(lane.slot for lane in entering if lane.end == row)
    touched = [lane.slot for lane in entering]
    own = ending[len(ending) // 2] if ending else _free(slots, max(touched, default=0), ended)
    while slots[-1] is None and len(slots) - 1 > own:
        slots.pop()
    cells = [UP | DOWN if lane else 0 for lane in slots]
    for slot in ending:
        cells[slot] = UP
        slots[slot] = None
    between = _across(cells, own, touched, pen)
    right, left = ("▸", "◂") if pen.unicode else (">", "<")
    if any(slot < own for slot in touched):
        between[own - 1] = right
    if any(slot > own for slot in touched):
        between[own] = left
    pieces = [pen.line(directions) for directions in cells]
    pieces[own] = pen.paint(*sign)
    return own, _row(pieces, between)


def _depart(row: int, own: int, leaving: Sequence[_Lane], slots: list[_Lane | None], pen: Pen) -> str:
    """Open and join the lanes that the node feeds; the row that shows it, or "" when a line straight down does.

    An arrow stands where a lane that comes from above is joined: nothing leaves it there.
    """
    joined = [lane.slot for lane in leaving if lane.begin != row]
    cells = [UP | DOWN if lane else 0 for lane in slots]
    cells[own] = UP
    touched = list(joined)
    for lane in leaving:
        if lane.begin == row:
            lane.slot = own if slots[own] is None else _free(slots, own)
            slots[lane.slot] = lane
            cells += [0] * (len(slots) - len(cells))
            cells[lane.slot] |= DOWN
            touched.append(lane.slot)
    if all(slot == own for slot in touched):
        return ""
    between = _across(cells, own, touched, pen)
    right, left = ("▸", "◂") if pen.unicode else (">", "<")
    for slot in joined:
        if slot > own:
            between[slot - 1] = right
        else:
            between[slot] = left
    return _row([pen.line(directions) for directions in cells], between)


def _across(cells: list[int], own: int, touched: Sequence[int], pen: Pen) -> list[str]:
    """Draw a line across from `own` to all touched columns into the cells; what stands between the cells.

    Lanes on the way that are not touched stay as they are: the line passes under them.
    """
    first, last = min([own, *touched]), max([own, *touched])
    for slot in range(first, last + 1):
        if slot in touched or slot == own:
            cells[slot] |= (LEFT if slot > first else 0) | (RIGHT if slot < last else 0)
        elif not cells[slot]:
            cells[slot] = LEFT | RIGHT
    return [pen.dash if first <= slot < last else " " for slot in range(len(cells))]


def _row(pieces: Sequence[str], between: Sequence[str]) -> str:
    return "".join(piece + gap for piece, gap in zip(pieces, between, strict=True))


def _label(node: PictureNode, missed: Sequence[str], room: int, pen: Pen) -> str:
    """What stands beside a node's mark, in so many columns: id, kind, time, needs without a line, note."""
    words: list[tuple[str, Style]] = [(node.id, look(node.state).style if node.state else "")]
    if node.kind != "run":
        words.append((node.kind, "cyan"))
    if node.seconds is not None:
        words.append((duration(node.seconds), "dim"))
    if missed:
        words.append((("← " if pen.unicode else "<- ") + _some(missed, max(room // 2, 12)), "dim"))
    if node.note:
        words.append((node.note, "dim"))
    text = ""
    for word, style in words:
        if room < 4:
            break
        shown = pen.clip(word, room, middle=not text)
        text += ("  " if text else "") + pen.paint(shown, style)
        room -= width_of(shown) + 2
    return text


def _some(names: Sequence[str], room: int) -> str:
    """As many names as fit, and how many more there are."""
    shown = names[0]
    for count, name in enumerate(names[1:], 1):
        if len(shown) + len(name) + 2 > room - 8:
            return f"{shown} + {len(names) - count} more"
        shown += f", {name}"
    return shown
