"""A plan, a run or a forecast as what renderers draw: plain data, without anything that they may not see.

Draws nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wfctl import history
from wfctl.history import Record
from wfctl.node import LEVELS
from wfctl.plan import Plan
from wfctl.renderers.picture import Picture, PictureEdge, PictureNode
from wfctl.renderers.timeline import Bar, Timeline, Usage

if TYPE_CHECKING:
    from wfctl.forecast import Forecast


def picture(plan: Plan, record: Record | None = None) -> Picture:
    """The picture of a plan, or of a run with its states."""
    critical = set(plan.critical_path) if record is None and len(plan.critical_path) > 1 else set()
    status = record.status() if record else ""
    nodes = []
    for name, planned in plan.nodes.items():
        run_ = record.state.nodes[name] if record else None
        shown = history.node_document(record, name, status) if record else None
        nodes.append(
            PictureNode(
                id=name,
                kind=planned.node.kind,
                state=shown["state"] if shown else None,
                seconds=run_.seconds if run_ and run_.started is not None else None,
                section="finally" if planned.node.section == "finally" else "nodes",
                critical=name in critical,
            )
        )
    edges = tuple(PictureEdge(need, name) for name, planned in plan.nodes.items() for need in planned.needs)
    return Picture(title=plan.name, nodes=tuple(nodes), edges=edges, state=status or None)


def timeline(forecast: Forecast) -> Timeline:
    """A forecast as the timeline that is drawn of it."""

    plan, critical = forecast.plan, set(forecast.plan.critical_path)
    bars = tuple(
        Bar(
            node=name,
            start=start,
            finish=forecast.finish[name],
            critical=name in critical,
            level=LEVELS[plan.nodes[name].level],
            note="if its `when` holds" if forecast.assumed(name) else "",
        )
        for name, start in forecast.start.items()
    )
    wanted = {name for planned in plan.nodes.values() for name, _ in planned.demand}
    usage = []
    for name, budget in plan.budget.items():
        if name in wanted:
            unit: Any = "cpu" if name == "cpu" else "bytes" if budget >= 1024 * 1024 else "count"
            scale = 1000 if name == "cpu" else 1
            steps = tuple((moment, amount / scale) for moment, amount in forecast.usage(name))
            usage.append(Usage(name, budget / scale, unit, steps))
    left_out = [n for n, p in plan.nodes.items() if n not in forecast.start and not p.given]
    notes = [f"not in the plan, for it assumes success: {', '.join(left_out[:8])}"] if left_out else []
    unsaid = sum(1 for name in forecast.start if plan.nodes[name].node.estimate is None)
    if unsaid:
        notes.append(f"{unsaid} of {len(bars)} nodes have no estimate and count as 1s")
    return Timeline(
        workflow=plan.name,
        makespan=forecast.makespan,
        bounds={name: bound for name, bound in plan.bounds.items() if bound > 0},
        bars=bars,
        usage=tuple(usage),
        concurrency=plan.concurrency,
        notes=tuple(notes),
    )
