"""A plan, a run or a forecast as what renderers draw: plain data, without anything that they may not see.

Draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from wfctl import history, outline
from wfctl.budget import DEVICES
from wfctl.history import Record
from wfctl.noderun import BAD, FINAL
from wfctl.plan import DEFAULT_ESTIMATE, Plan, Planned
from wfctl.quantity import unit_of
from wfctl.renderers.picture import Picture, PictureEdge, PictureNode
from wfctl.renderers.reason import brief
from wfctl.renderers.text import duration, number, plural
from wfctl.renderers.timeline import Bar, Resource, Timeline

if TYPE_CHECKING:
    from wfctl.forecast import Forecast


def picture(plan: Plan, record: Record | None = None, *, expand: bool = False, critical: Sequence[str] = ()) -> Picture:
    """The picture of a plan, or of a run with its states. What lies in others is folded into them, or with `expand`
    drawn: then the box of what holds others is where these come together. The `critical` path is the plan's own, of a
    run what is told."""
    return _picture(plan, record, plan.name, outline.outline(plan, expand=expand), critical)


def insides(plan: Plan, record: Record, most: int, *, critical: Sequence[str] = ()) -> dict[str, Picture]:
    """What lies in each node of a run that holds others, as pictures of their own: what holds others again is one box
    in them. They draw so many nodes together, at most, those further out first: what is too much stays folded."""
    outlines = outline.insides(plan)
    found: dict[str, Picture] = {}
    todo = [name for name, planned in plan.nodes.items() if planned.parent is None]
    for name in todo:  # grows while it is read
        if name not in outlines or len(outlines[name].boxes) > most:
            continue
        most -= len(outlines[name].boxes)
        found[name] = _picture(plan, record, name, outlines[name], critical)
        todo += outlines[name].boxes
    return found


def _picture(
    plan: Plan, record: Record | None, title: str, found: outline.Outline, critical: Sequence[str]
) -> Picture:
    path = plan.critical_path if record is None else critical
    boxes, arrows = outline.along(plan, found, path) if len(path) > 1 else (set(), set())
    status = record.status() if record else ""
    nodes = []
    for name in found.boxes:
        planned = plan.nodes[name]
        shown = history.node_document(record, name, status) if record else None
        nodes.append(
            PictureNode(
                id=name,
                kind=planned.node.kind,
                state=shown["state"] if shown else None,
                seconds=shown["seconds"] if shown else None,
                section="finally" if planned.node.section == "finally" else "nodes",
                critical=name in boxes,
                note=_inside(plan, planned, record),
            )
        )
    edges = tuple(
        PictureEdge(*arrow, kind="file" if by_path else "needs", critical=arrow in arrows)
        for arrow, by_path in found.arrows.items()
    )
    return Picture(title=title, nodes=tuple(nodes), edges=edges, state=status or None)


def undoing(plan: Plan, record: Record | None = None) -> Picture:
    """How a plan would be undone if all of it had been done, or what would be undone of a run as it stands: an arrow
    leads from what is undone to what is undone after it. A point of no return stands in it too, of a plan."""
    from wfctl import exhibit, instances

    if record is None:
        undone = {n: one for n, one in plan.nodes.items() if one.node.section == "nodes" and not one.holds}
        wanted = [n for n, one in undone.items() if one.node.compensate or one.node.pivot]
        removed: Collection[str] = ()
    elif record.state.undoing is not None:
        wanted, removed = list(record.state.undoing.wanted), record.state.undoing.course.remove
    else:
        from wfctl.undoing import AS_SAID, scheme_of

        scheme, _ = scheme_of(plan, record.state, AS_SAID)
        wanted, removed = list(dict.fromkeys((*scheme.undo, *scheme.remove))), scheme.remove
    status = record.status() if record else ""
    nodes = []
    for name in wanted:
        planned = plan.nodes[name]
        words = exhibit.undo(plan, planned) if planned.node.compensate else []
        words += ["what it wrote is removed"] if name in removed else []
        words += ["a point of no return"] if planned.node.pivot else []
        state = history.node_document(record, name, status)["state"] if record else None
        nodes.append(PictureNode(id=name, kind=planned.node.kind, state=state, note="; ".join(words)))
    pairs = _backwards(wanted, instances.points(plan.nodes))
    title = f"{plan.name}: {'how it is undone' if record is None else 'what is undone'}"
    return Picture(
        title=title,
        nodes=tuple(nodes),
        edges=tuple(PictureEdge(*pair, kind="undo") for pair in pairs),
        state=status or None,
    )


_REDUCED = 20_000
"""So many undone nodes have no arrow too many: what is known of each to find them takes a bit for each other, 50 MB."""


def _backwards(wanted: Sequence[str], before: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Each of these with those of them that are next before it, through whatever lies between; none that is before
    another of these too."""
    from wfctl import graph

    chosen, order = set(wanted), graph.order(before)
    bit = {name: 1 << i for i, name in enumerate(name for name in order if name in chosen)}
    nearest: dict[str, dict[str, None]] = {}
    earlier: dict[str, int] = {}  # of each of these, as bits
    for point in order:
        found: dict[str, None] = {}
        for other in before[point]:
            found.update({other: None} if other in bit else nearest[other])
        if len(bit) <= _REDUCED:
            passed = 0
            for other in found:
                passed |= earlier[other]
            found = {other: None for other in found if not passed & bit[other]}
            if point in bit:
                earlier[point] = passed | sum(bit[other] for other in found)
        nearest[point] = found
    for name in reversed(wanted):
        for other in nearest[name]:
            yield name, other


def _inside(plan: Plan, planned: Planned, record: Record | None) -> str:
    """What a node holds, in words: of a run also how much of it has ended, where not all has, and how many failed."""
    if not planned.holds:
        return ""
    if planned.node.each is not None and not planned.children and planned.id in plan.open_ended:
        return "for each item"
    words = plural(len(planned.children), "node" if planned.node.each is None else "item")
    if record is None:
        return words
    states = [record.state.nodes[child].state for child in planned.children]
    ended, failed = sum(state in FINAL for state in states), sum(state in BAD for state in states)
    if 0 < ended < len(states):
        words = f"{number(ended)} of {words}"
    return f"{words}, {number(failed)} failed" if failed else words


def timeline(forecast: Forecast) -> Timeline:
    """A forecast as the timeline that is drawn of it."""
    plan, critical = forecast.plan, set(forecast.plan.critical_path)
    bars = [
        Bar(name, 0.0, 0.0, note="served", cached=True, level=forecast.level(name))
        for name, planned in plan.nodes.items()
        if planned.given
    ]
    bars += [
        Bar(name, one.time, one.time, note=f"kept by run {one.of}", cached=True, level=forecast.level(name))
        for name, one in forecast.served.items()
    ]
    for name, start in forecast.start.items():
        if plan.nodes[name].holds:  # what is inside has bars of its own
            continue
        bars.append(
            Bar(
                node=name,
                start=start,
                finish=forecast.finish[name],
                critical=name in critical,
                level=forecast.level(name),
                note="" if not forecast.assumed(name) else "assumed" if forecast.guessed else "if its `when` holds",
                demand=forecast.resources(name),
            )
        )
    bounds = forecast.bounds
    return Timeline(
        workflow=plan.name,
        makespan=forecast.makespan,
        bounds={"critical path": bounds["critical_path"], f"work / {forecast.scarcest}": bounds["work"]},
        bars=tuple(bars),
        resources=_resources(forecast),
        concurrency=plan.concurrency,
        scarcest=forecast.scarcest,
        notes=tuple(_notes(forecast)),
    )


def _resources(forecast: Forecast) -> tuple[Resource, ...]:
    """What nodes of the plan hold; what nobody asks for tells nothing."""
    wanted = {name for node in forecast.start for name, _ in forecast.plan.nodes[node].demand}
    resources = []
    for name, budget in forecast.budget.items():
        if name in wanted:
            devices = forecast.plan.devices or tuple(map(str, range(int(min(budget, 64)))))
            resources.append(Resource(name, budget, unit_of(name, budget), devices if name == DEVICES else ()))
    return tuple(resources)


def _notes(forecast: Forecast) -> list[str]:
    """What must be known beside the picture: who is not in it, and what its times are made of."""
    notes = []
    if search := forecast.search:
        made, shorter = f"{plural(search['plans'], 'plan')} made in {duration(search['seconds'])}", 0.0
        if search["after"] < search["before"]:
            shorter = max(100 * (1 - search["after"] / search["before"]), 0.1)
        best = f"the best is {number(shorter)} % shorter than the first" if shorter else "the first is the best"
        notes.append(f"order: of {made} {best}")
    elif forecast.improved:
        notes.append("order: planned ahead; a run follows it")
    if left_out := forecast.left_out():
        told = ", ".join(f"{name} ({why})" for name, why in list(left_out.items())[:8])
        notes.append(f"not in the plan: {told}" + (f" and {len(left_out) - 8} more" if len(left_out) > 8 else ""))
    if forecast.whys:
        shown = [f"{name} ({brief(why)})" for name, why in list(forecast.whys.items())[:8]]
        more = len(forecast.whys) - len(shown)
        notes.append(f"not served: {', '.join(shown)}" + (f" and {more} more" if more > 0 else ""))
    if unsure := sorted(forecast.unsure):
        told = ", ".join(unsure[:8]) + (f" and {len(unsure) - 8} more" if len(unsure) > 8 else "")
        notes.append(f"served or not, as a run will tell: {told}")
    if forecast.guessed:
        told = ", ".join(sorted(forecast.guessed))
        notes.append(f"items of the last run, or one, are taken for those that only a run can tell: {told}")
    counts = Counter(forecast.plan.nodes[name].source for name in forecast.start if not forecast.plan.nodes[name].holds)
    if set(counts) - {"declared"}:
        told = ", ".join(f"{counts[source]} {words}" for source, words in _SOURCES.items() if counts[source])
        notes.append(f"estimates: {told}")
    return notes


_SOURCES = {
    "history": "from history",
    "declared": "declared",
    "kind": "from others of the kind",
    "assumed": f"assumed ({DEFAULT_ESTIMATE:g}s)",
}
