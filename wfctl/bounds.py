"""What no order of a plan can undercut, and the longest path through it.

Knows no state and no policy: it is handed planned nodes with their points in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wfctl import graph, instances
from wfctl.plan import Planned


def superseded(
    planned: Mapping[str, Planned],
    ordered: Iterable[str],
    before: Mapping[str, Sequence[str]],
    lengths: Mapping[str, float],
) -> set[str]:
    """The points of items that nothing waits for, as enough others end earlier, with all that is inside of them."""
    races = {
        name + instances.END: node.collect.enough(len(one.children))
        for name, one in planned.items()
        if (node := one.node).each is not None and node.collect is not None
    }
    lost: set[str] = set()
    ends: dict[str, float] = {}
    for point in ordered if races else ():
        one = planned[instances.at(point)]
        if point in races:
            items = [end for child in one.children if (end := _end_of(planned[child])) in ends]
            late = sorted(items, key=ends.__getitem__)[races[point] :]
            todo = [instances.at(end) for end in late]
            for name in todo:  # grows while it is read
                lost |= {name, name + instances.END}
                todo += planned[name].children
        earlier = [ends[need] for need in before[point] if need in ends and need not in lost]
        ends[point] = _first(one, point, earlier) + lengths[point]
    return lost


def _end_of(one: Planned) -> str:
    return one.id + instances.END if one.holds else one.id


def _first(one: Planned, point: str, earlier: Sequence[float]) -> float:
    """The earliest moment of a point by the ends of what comes before it."""
    if one.node.trigger == "any_succeeded" and not point.endswith(instances.END):
        return min(earlier, default=0.0)
    return max(earlier, default=0.0)


def critical_path(
    planned: Mapping[str, Planned],
    ordered: list[str],
    before: Mapping[str, Sequence[str]],
    lengths: Mapping[str, float],
) -> tuple[str, ...]:
    """The nodes of one longest path."""
    nodes = {point: planned[instances.at(point)] for point in ordered}
    main = [p for p in ordered if nodes[p].node.section == "nodes" and not nodes[p].given]
    inside = set(main)
    after: dict[str, list[str]] = {point: [] for point in main}
    for point in main:
        for need in before[point]:
            if need in inside:
                after[need].append(point)
    path = graph.longest_path(main, after, lengths.__getitem__)
    return tuple(p for p in path if not nodes[p].holds or (not nodes[p].children and not p.endswith(instances.END)))


def lower_bounds(
    planned: Mapping[str, Planned],
    ordered: Iterable[str],
    before: Mapping[str, Sequence[str]],
    lengths: Mapping[str, float],
    budget: Mapping[str, int],
    concurrency: int,
) -> dict[str, float]:
    """What no schedule of these nodes can undercut: the longest path, and for each budget all work divided by it.

    `ordered` are points of such `lengths`, each after those `before` it. Seconds."""
    work: dict[str, float] = {}
    ends: dict[str, float] = {}  # the earliest
    slots = 0.0
    path = 0.0
    for point in ordered:
        node = planned[instances.at(point)]
        if node.node.section != "nodes":
            continue
        first = _first(node, point, [ends[need] for need in before[point] if need in ends])
        ends[point] = first + lengths[point]  # 0 for what is given
        path = max(path, ends[point])
        if node.given or node.holds:
            continue
        if not node.node.slotless:
            slots += node.estimate
        for name, wanted in node.demand:
            work[name] = work.get(name, 0.0) + node.estimate * wanted
    # So many slots are enough for all; a number of 4,000 digits would divide no float.
    bounds = {"critical path": path, "work / slots": slots / min(concurrency, 2**53)}
    bounds.update({f"work / {name}": total / budget[name] for name, total in work.items() if budget.get(name)})
    return bounds
