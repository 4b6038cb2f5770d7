"""The order in which ready nodes are considered: one ranking function for each policy.

Knows nothing of what fits: that is for the core to check. Asks no clock: what counts is when the node became ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor
from typing import TYPE_CHECKING

from wfctl.score import RETRY_BONUS, later, level_at

if TYPE_CHECKING:
    from wfctl.plan import Plan, Planned
    from wfctl.state import RunState

Rank = tuple[float, ...]
"""Least first. The moment of becoming ready breaks ties."""


def fifo(node: Planned, plan: Plan, state: RunState) -> Rank:
    """First ready, first considered."""
    return ()


def priority(node: Planned, plan: Plan, state: RunState) -> Rank:
    """The higher level with age first; inside a level the higher score, then the longest remaining path.

    Whoever has waited longer for `aging` is a level ahead. That is counted from the moment of becoming ready, so
    the order of two waiting nodes never changes, and in tenths, in whole numbers: nodes of one tenth are of one age.
    """
    ready = state.ready_moment(node.id if node.chain is None else node.chain[0])
    level = level_at(node.standing.rises, ready)
    return (age(ready, plan.aging) - 10 * level, -score(node, plan, state), *path(node))


def path(node: Planned) -> Rank:
    """The longest remaining path first. What belongs to an item of a group goes by that of the whole item, then by the
    place of the item: so an item that was begun comes to its end before others begin, and first results come early."""
    if node.chain is None:
        return (-node.tail, 0.0, 0.0)
    _, tail, place = node.chain
    return (-tail, float(place), -node.tail)


def fair(node: Planned, plan: Plan, state: RunState) -> Rank:
    """By priority inside a group. Which group comes first is a matter of turns, which `Turns` keeps."""
    return priority(node, plan, state)


def deadline(node: Planned, plan: Plan, state: RunState) -> Rank:
    """The earliest deadline first, also the deadline of what waits for the node; none is last."""
    return (node.standing.due,)


def critical_path(node: Planned, plan: Plan, state: RunState) -> Rank:
    """The longest remaining path of estimated time first."""
    return path(node)


POLICIES: Mapping[str, Callable[[Planned, Plan, RunState], Rank]] = {
    "fifo": fifo,
    "priority": priority,
    "fair": fair,
    "deadline": deadline,
    "critical_path": critical_path,
}


IMPROVABLE = ("critical_path", "priority")
"""The policies whose order a plan may improve on. The others say who is next, whatever comes of it."""


def age(moment: float, aging: float) -> int:
    """A moment in tenths of `aging`; both are seconds, the moment from the start of the run."""
    return floor(10 * moment / aging)


def score(node: Planned, plan: Plan, state: RunState) -> float:
    """The score of a node that became ready, with its bonus for each failed attempt; in an item of a group, the item's:
    else what is nearer to the end would matter less."""
    whole = node if node.chain is None else plan.nodes[node.chain[0]]
    at_start, spec = whole.standing.score, node.node
    now = later(at_start, spec.deadline, plan.weights["deadline"], state.ready_moment(node.id))
    return round(now + RETRY_BONUS * state.nodes[node.id].tries, 9)
