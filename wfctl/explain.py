"""Why a node ranks where it does, and why it does not run now: what `--explain` shows, as plain data.

Draws nothing and asks no clock: all moments are seconds from the start of the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from wfctl import quantity
from wfctl.errors import UsageError, nearest
from wfctl.noderun import FINAL, READY, RETRYING, RUNNING, WAITING
from wfctl.plan import Plan, Planned
from wfctl.policy import age
from wfctl.score import LEVELS, RETRY_BONUS, level_at, total
from wfctl.standing import DECIDERS, own_rises, values
from wfctl.state import RunState

ORDERS: Mapping[str, str] = {
    "fifo": "first ready first; level and score do not count",
    "priority": "level with age, then score, then longest remaining path",
    "fair": "the group with the smallest share so far; inside it by priority",
    "deadline": "earliest deadline first, also of what waits for a node",
    "critical_path": "longest remaining path first; level and score do not count",
}
"""What each policy goes by."""

ORDERS_OF_PLANS: Mapping[str, str] = {
    "priority": "level, then the order of the plan, which replaces age, score and path",
    "critical_path": "the order of the plan, made to end early; level and score do not count",
}
"""The same where a plan is followed."""


def find(plan: Plan, name: str) -> Planned:
    """The node of that id. Raises UsageError for one that is not in this run."""
    planned = plan.nodes.get(name)
    if planned is None:
        hint = nearest(name, plan.nodes) or "`wfctl graph` shows the nodes"
        raise UsageError(f'--explain: no node named "{name}"; {hint}')
    if planned.given:
        raise UsageError(f'--explain: "{name}" is left out of this run; its output comes from another')
    return planned


def document(plan: Plan, state: RunState, name: str, now: float, status: str = "running") -> dict[str, Any]:
    """All that decides when a node runs: its score line by line, level, age, and what it waits for at this moment.

    The score is that of the moment of becoming ready, or of `now` for a node that is not yet. `status` is how the run
    stands (without an engine nothing runs), or `planned`. Raises UsageError for a node that is not there.
    """
    planned = find(plan, name)
    run = state.nodes[name]
    ready = None if run.ready_at is None or run.state is WAITING else state.ready_moment(name)
    moment = now if ready is None else ready
    found = factors(plan, planned, moment)
    score = total({factor: line["value"] for factor, line in found.items()}, plan.weights)
    failed = max(0, run.tries - (run.state is RUNNING or run.state in FINAL))
    level = level_at(planned.standing.rises, moment)
    later = {LEVELS[i + 1]: at for i, at in enumerate(planned.standing.rises) if moment < at and isfinite(at)}
    waited = (now if run.state is READY else moment) - moment
    return {
        "node": name,
        "state": str(run.state),
        "now": now,
        "ready": ready,
        "started": None if run.started is None else round(run.started - state.started, 6),
        "policy": plan.policy,
        "order": ORDERS[plan.policy] if state.course is None else ORDERS_OF_PLANS[plan.policy],
        "planned": _planned(state, name),
        "factors": found,
        "score": score,
        "failed_attempts": failed,
        "bonus": round(RETRY_BONUS * failed, 9),
        "level": LEVELS[level],
        "level_by": level_by(planned),
        "inherited": heirs(plan, planned, moment, level),
        "rises": later,
        "aging": plan.aging,
        "waited": waited,
        "age": (age(moment + waited, plan.aging) - age(moment, plan.aging)) / 10,
        "path": planned.tail,
        "due": planned.standing.due if isfinite(planned.standing.due) else None,
        "group": {"name": planned.node.group, "weight": plan.groups.get(planned.node.group, 1.0)},
        "waits": [] if state.finished is not None else list(waits(plan, state, planned, now, status)),
    }


def _planned(state: RunState, node: str) -> dict[str, Any] | None:
    """Where a node stands in the plan that is followed."""
    if state.course is None or node not in state.course.order:
        return None
    place = state.course.order.index(node)
    return {"place": place + 1, "of": len(state.course.order), "start": state.course.start[place]}


# -- what it is worth


def factors(plan: Plan, planned: Planned, moment: float) -> dict[str, dict[str, Any]]:
    """Each factor with its value at a moment, why it has that, its weight and their product."""
    node = planned.node
    said = values(node, planned.standing, plan.budget, moment)
    longest = max((other.tail for other in plan.nodes.values()), default=0.0)
    path, whole = quantity.shown_seconds(planned.tail), quantity.shown_seconds(longest)
    why = {
        "deadline": _nearness(node.deadline, moment),
        "business_value": "not said" if node.business_value is None else f"{node.business_value:g} of 100",
        "resource": _scarcity(plan, node.resources),
        "dependency": f"{path} left of {whole}, the longest path" if longest > 0 else "all paths take no time",
        "user": "not said" if node.user_level is None else f"user_level {node.user_level}",
    }
    return {
        name: {
            "value": round(said[name], 9),
            "weight": round(weight, 9),
            "product": round(said[name] * weight, 9),
            "why": why[name],
        }
        for name, weight in plan.weights.items()
    }


def _nearness(deadline: float | None, moment: float) -> str:
    if deadline is None:
        return "not said"
    left = deadline - moment
    return f"due in {quantity.shown_seconds(left)}" if left > 0 else f"overdue by {quantity.shown_seconds(-left)}"


def _scarcity(plan: Plan, wanted: Mapping[str, int]) -> str:
    shares = {name: amount / plan.budget[name] for name, amount in wanted.items() if plan.budget.get(name)}
    if not shares:
        return "asks for no resource"
    name = max(shares, key=lambda n: shares[n])
    amounts = [quantity.shown_amount(name, amount) for amount in (wanted[name], plan.budget[name])]
    return f"{name}: {amounts[0]} of {amounts[1]}"


def level_by(planned: Planned) -> str:
    """What a node's own level comes from: `priority`, `score`, or `default`."""
    node = planned.node
    if node.priority is not None:
        return "priority"
    return "score" if any(getattr(node, key) is not None for key in DECIDERS) else "default"


def heirs(plan: Plan, planned: Planned, moment: float, level: int) -> list[str]:
    """The way to the node whose level this one inherits, that last; empty where the level is its own."""
    way: list[str] = []
    while level_at(own_rises(planned.node, planned.standing.score, plan.weights), moment) < level:
        above = (plan.nodes[other] for other in _after(plan, planned))
        found = next((other for other in above if level_at(other.standing.rises, moment) >= level), None)
        if found is None or found.id in way:
            break
        planned = found
        way.append(planned.id)
    return way


def _after(plan: Plan, planned: Planned) -> Iterator[str]:
    """What comes after a node: what needs it, what is inside of it, and what comes after that in which it lies."""
    yield from planned.dependents
    yield from planned.children
    while planned.parent is not None:
        last, planned = planned.node.last, plan.nodes[planned.parent]
        if not last:
            yield from (child for child in planned.children if plan.nodes[child].node.last)
        yield from planned.dependents


# -- what it waits for


def waits(plan: Plan, state: RunState, planned: Planned, now: float, status: str) -> Iterator[dict[str, Any]]:
    """Everything that keeps a node from running at this moment; nothing where it runs or has ended."""
    run = state.nodes[planned.id]
    if run.state in FINAL or run.state is RUNNING:
        return
    if status not in ("running", "planned"):
        yield {"for": "engine"}
    elif state.starts_nothing:
        yield {"for": "end", "why": state.halted or "the run was told to stop"}
    if run.state is WAITING:
        earlier = _before(plan, state, planned)
        left = {name: str(state.nodes[name].state) for name in earlier if state.nodes[name].state not in FINAL}
        if left or planned.node.section == "nodes":
            yield {"for": "needs", "nodes": left, "trigger": planned.node.trigger}
        else:
            yield {"for": "finally"}
    elif run.state is RETRYING and run.retry_at is not None:
        yield {"for": "retry", "at": round(run.retry_at - state.started, 6)}
    elif run.state is READY and run.waits:
        yield {"for": "twin", "holder": run.waits}
    elif run.state is READY:
        if before := state.ready.holding_up(planned.id):
            assert state.course is not None
            at = state.course.start[state.course.order.index(planned.id)]
            yield {"for": "plan", "nodes": {name: str(state.nodes[name].state) for name in before}, "at": at}
            return
        found = list(_shortages(plan, state, planned, state.started + now))
        yield from found
        shared = [name for name, _ in planned.demand if name in plan.shared]
        first = state.ready.first
        if shared and not found and status == "running":  # in a plan there are no other runs
            yield {"for": "others", "names": shared}
        elif not found and first is not None and first != planned.id:
            yield {"for": "reservation", "of": first}


def _before(plan: Plan, state: RunState, planned: Planned) -> Iterator[str]:
    """What a waiting node waits for: what it needs, or what that needs in which it lies; of a `for_each` that lets only
    so many items run at once, the items that do; at the end of a sub-workflow all else in it."""
    yield from planned.needs
    while planned.parent is not None:
        around = plan.nodes[planned.parent]
        inside = state.nodes[around.id].inside
        if inside is not None and around.node.each is not None and not state.nests.lets(planned):
            yield from sorted(inside.active, key=around.children.index)
        if planned.node.last:
            yield from (child for child in around.children if not plan.nodes[child].node.last)
        yield from around.needs
        planned = around


def _shortages(plan: Plan, state: RunState, planned: Planned, now: float) -> Iterator[dict[str, Any]]:
    """What is not free, and who holds it. `now` is a time as events have it."""
    slots = plan.concurrency
    if len(state.running) >= slots:
        yield {"for": "slot", "needs": 1, "free": 0, "budget": slots, "holders": dict.fromkeys(state.running, 1)}
    for name, wanted in planned.demand:
        if name in plan.budget:
            holders, budget = held(plan, state.running, name), plan.budget[name]
            free = budget - sum(holders.values())
            if wanted > free:
                amounts = {"needs": wanted, "free": free, "budget": budget}
                yield {"for": "resource", "name": name, **amounts, "holders": holders}
        if name in plan.rates and (at := state.budget.next_token(name, now)) > now:
            yield {"for": "rate", "name": name, "rate": plan.rates[name], "at": round(at - state.started, 6)}


def held(plan: Plan, running: Iterable[str], resource: str) -> dict[str, int]:
    """How much of a resource each running node holds."""
    amounts = ((name, amount) for name in running for wanted, amount in plan.nodes[name].demand if wanted == resource)
    return dict(amounts)
