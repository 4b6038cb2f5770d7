"""A plan as boxes and arrows: what lies in a node is folded into its box, or drawn beside it.

Knows nothing of states, words and formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from wfctl import graph, instances
from wfctl.plan import Plan

Arrow = tuple[str, str]


class Outline(NamedTuple):
    """Ids of boxes in the order of their telling, and arrows between them, which make no circle: True for those that
    only a path makes, which one writes and the other reads. `box_of` is the box that stands for a node.

    The box of an opened node stands where all in it come together."""

    boxes: list[str]
    arrows: dict[Arrow, bool]
    box_of: dict[str, str]


def outline(plan: Plan, *, expand: bool = False) -> Outline:
    """The plan with all folded that lies in others, or with `expand` all opened.

    Paths lead from inside of one to inside of another, so folded boxes can come before and after each other at once.
    These are opened, for else there were a circle that is none."""
    holders = {name for name, planned in plan.nodes.items() if planned.children}
    opened = set(holders) if expand else set()
    while True:
        found = _Folding(plan, opened).outline()
        closed = {box for loop in _loops(found) for box in loop} & holders - opened
        if not closed:
            return found
        opened |= closed


def insides(plan: Plan) -> dict[str, Outline]:
    """What lies in each node that holds others, with all folded that lies in that; but where folded boxes would come
    before and after each other at once."""
    around: dict[str, tuple[str, ...]] = {}  # all that a node lies in, the outermost first, and the node
    for name in plan.in_order():  # what is inside comes behind what it is in
        parent = plan.nodes[name].parent
        around[name] = (name,) if parent is None else (*around[parent], name)
    found = {name: Outline(list(one.children), {}, {}) for name, one in plan.nodes.items() if one.children}
    for name, planned in plan.nodes.items():
        for holder, box in pairwise(around[name]):
            found[holder].box_of[name] = box
        written = set(instances.written(planned.node, planned.scope))
        for need in planned.needs:
            holder = ""
            for one, other in zip(around[need], around[name], strict=False):
                if one != other:
                    if holder:
                        arrows = found[holder].arrows
                        arrows[one, other] = arrows.get((one, other), True) and need not in written
                    break
                holder = one
    return {holder: inside for holder, inside in found.items() if not _loops(inside)}


def _loops(found: Outline) -> list[list[str]]:
    before: dict[str, list[str]] = {box: [] for box in found.boxes}
    for source, target in found.arrows:
        before[target].append(source)
    return graph.cycles(before)


def along(plan: Plan, found: Outline, path: Sequence[str]) -> tuple[set[str], set[Arrow]]:
    """The boxes and the arrows that a path of nodes leads over: out of what is opened by way of its box."""
    boxes: set[str] = set()
    arrows: set[Arrow] = set()
    here: str | None = None
    for name in (found.box_of[name] for name in path if name in found.box_of):
        while here is not None and here != name and (here, name) not in found.arrows:
            around = plan.nodes[here].parent
            if around is not None:
                arrows.add((here, around))
                boxes.add(around)
            here = around
        if here is not None and here != name:
            arrows.add((here, name))
        boxes.add(name)
        here = name
    while here is not None and (around := plan.nodes[here].parent) is not None:
        arrows.add((here, around))
        boxes.add(around)
        here = around
    return boxes, arrows & found.arrows.keys()


class _Folding:
    """The boxes of a plan of which these nodes are `opened`, and what each needs itself."""

    def __init__(self, plan: Plan, opened: set[str]) -> None:
        self.plan, self.opened = plan, opened
        self.box_of: dict[str, str] = {}
        for name in plan.in_order():  # what is inside comes behind what it is in
            parent = plan.nodes[name].parent
            self.box_of[name] = name if parent is None or parent in opened else self.box_of[parent]
        self.boxes = [name for name, box in self.box_of.items() if name == box]
        self.needs: dict[str, dict[str, bool]] = {box: {} for box in self.boxes}
        for name, planned in plan.nodes.items():
            own = self.needs[self.box_of[name]]
            written = set(instances.written(planned.node, planned.scope))
            for need in planned.needs:
                source = self.box_of[need]
                if source != self.box_of[name]:
                    own[source] = own.get(source, True) and need not in written
        self.leading = {
            need for box in self.boxes for need in self.needs[box] if self._parent(need) in self._around(box)
        }
        """What something comes after that lies in the same node."""

    def outline(self) -> Outline:
        """All boxes and arrows."""
        arrows: dict[Arrow, bool] = {}
        for box in self.boxes:
            if box not in self.opened:
                arrows |= {(source, box): path for source, path in self._first(box).items()}
            elif ends := self._ends(box):
                arrows |= dict.fromkeys(((one, box) for one in ends), False)
        return Outline(self.boxes, arrows, self.box_of)

    def _first(self, box: str) -> dict[str, bool]:
        """What a box needs; where nothing that lies in the same node comes before it, also what that one waits for."""
        parent, own = self._parent(box), self.needs[box]
        if parent is None or any(parent in self._around(need) for need in own):
            return own
        if self.plan.nodes[box].node.last and (work := self._ends(parent, last=False)):
            return {**dict.fromkeys(work, False), **own}
        return {**self._first(parent), **own}

    def _ends(self, box: str, *, last: bool = True) -> list[str]:
        """What comes last inside of a box; not `last`: before the `finally` of a sub-workflow."""
        ends = [one for one in self.plan.nodes[box].children if one not in self.leading]
        final = [one for one in ends if last and self.plan.nodes[one].node.last]
        return final or [one for one in ends if not self.plan.nodes[one].node.last]

    def _parent(self, box: str) -> str | None:
        return self.plan.nodes[box].parent

    def _around(self, name: str) -> Iterator[str | None]:
        """All that a node lies in."""
        while (parent := self.plan.nodes[name].parent) is not None:
            yield parent
            name = parent
