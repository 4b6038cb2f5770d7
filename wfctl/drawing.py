"""A plan, a run or a forecast as what renderers draw: plain data, without anything that they may not see.

Draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from wfctl import history
from wfctl.budget import DEVICES
from wfctl.history import Record
from wfctl.plan import DEFAULT_ESTIMATE, Plan, Planned
from wfctl.quantity import unit_of
from wfctl.renderers.picture import Picture, PictureEdge, PictureNode
from wfctl.renderers.reason import brief
from wfctl.renderers.text import duration, number, plural
from wfctl.renderers.timeline import Bar, Resource, Timeline

if TYPE_CHECKING:
    from wfctl.forecast import Forecast


def picture(plan: Plan, record: Record | None = None, *, expand: bool = False) -> Picture:
    """The picture of a plan, or of a run with its states. What lies in others is folded into them, or with `expand`
    drawn: then the box of what holds others is where these come together."""
    names = [name for name in plan.in_order() if expand or plan.nodes[name].parent is None]
    pairs = _edges(plan) if expand else _levels(plan).get(None, ())
    return _picture(plan, record, plan.name, names, pairs, expand=expand)


def insides(plan: Plan, record: Record | None, most: int) -> dict[str, Picture]:
    """What lies in each node that holds others, as pictures of their own: what holds others again is one box in them.
    They draw so many nodes together, at most, those further out first: what is too much stays folded."""
    levels = _levels(plan)
    found: dict[str, Picture] = {}
    todo = [name for name, planned in plan.nodes.items() if planned.parent is None]
    for name in todo:  # grows while it is read
        children = plan.nodes[name].children
        if not children or len(children) > most:
            continue
        most -= len(children)
        found[name] = _picture(plan, record, name, children, levels.get(name, ()))
        todo += children
    return found


def _picture(
    plan: Plan,
    record: Record | None,
    title: str,
    names: Sequence[str],
    pairs: Iterable[tuple[str, str]],
    *,
    expand: bool = False,
) -> Picture:
    """These nodes, with the arrows between them."""
    critical = set(plan.critical_path) if record is None and len(plan.critical_path) > 1 else set()
    status = record.status() if record else ""
    nodes = []
    for name in names:
        planned = plan.nodes[name]
        run_ = record.state.nodes[name] if record else None
        shown = history.node_document(record, name, status) if record else None
        nodes.append(
            PictureNode(
                id=name,
                kind=planned.node.kind,
                state=shown["state"] if shown else None,
                seconds=run_.seconds if run_ and run_.started is not None and run_.finished is not None else None,
                section="finally" if planned.node.section == "finally" else "nodes",
                critical=name in critical or (not expand and any(one in critical for one in planned.children)),
                note=_inside(plan, planned),
            )
        )
    edges = tuple(PictureEdge(need, name) for need, name in dict.fromkeys(pairs))
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


def _backwards(wanted: Sequence[str], before: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Each of these with those of them that are next before it, through whatever lies between."""
    from wfctl import graph

    chosen = set(wanted)
    nearest: dict[str, dict[str, None]] = {}
    for point in graph.order(before):
        found: dict[str, None] = {}
        for other in before[point]:
            found.update({other: None} if other in chosen else nearest[other])
        nearest[point] = found
    for name in reversed(wanted):
        for other in nearest[name]:
            yield name, other


def _inside(plan: Plan, planned: Planned) -> str:
    """What a node holds, in words."""
    if planned.node.each is not None:
        if not planned.children and planned.id in plan.open_ended:
            return "for each item"
        return plural(len(planned.children), "item")
    return plural(len(planned.children), "node") if planned.holds else ""


def _levels(plan: Plan) -> dict[str | None, list[tuple[str, str]]]:
    """Each edge where it can be seen when all else is folded: between those two that stand side by side, by what is
    around both."""
    around: dict[str, tuple[str, ...]] = {}
    for name in plan.in_order():
        parent = plan.nodes[name].parent
        around[name] = (name,) if parent is None else (*around[parent], name)
    found: dict[str | None, list[tuple[str, str]]] = {}
    for name, planned in plan.nodes.items():
        for need in planned.needs:
            common: str | None = None
            for one, other in zip(around[need], around[name], strict=False):
                if one != other:
                    found.setdefault(common, []).append((one, other))
                    break
                common = one
    return found


def _edges(plan: Plan) -> Iterator[tuple[str, str]]:
    """All edges. What the one around them needs, those need that need nothing beside them."""
    for name, planned in plan.nodes.items():
        if planned.parent is not None and not any(plan.nodes[o].parent == planned.parent for o in planned.dependents):
            yield name, planned.parent
        if planned.children:
            continue
        needs = planned.needs
        around = planned
        while not needs and around.parent is not None:
            around = plan.nodes[around.parent]
            needs = around.needs
        for need in needs:
            yield need, name


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
