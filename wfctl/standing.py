"""Where each node stands among the others of its plan: its score, its level with what it inherits, when it is due.

Knows nothing of events, and of no moment but the start of the run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING

from wfctl.record import dataclass
from wfctl.score import FIXED, Rises, earlier, factors, rises, scarcity, total

if TYPE_CHECKING:
    from wfctl.node import Node

DECIDERS = ("deadline", "business_value", "user_level")
"""A node that says one of these, and no `priority`, has the level that its score gives."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a policy asks of a node. Moments are seconds from the start of the run.

    `score` is that of the start, `path` the remaining path as a share of the longest one (None where all estimates
    are 0). `due` is by when the node must be done, so that all that needs it can meet its deadline.
    """

    score: float = 0.6
    rises: Rises = FIXED["normal"]
    due: float = inf
    path: float | None = None


def own_rises(node: Node, at_start: float, weights: Mapping[str, float]) -> Rises:
    """The level of a node for itself: as it says, else by its score, else `normal`."""
    if node.priority is not None:
        return FIXED[node.priority]
    if any(getattr(node, key) is not None for key in DECIDERS):
        return rises(at_start, node.deadline, weights["deadline"])
    return FIXED["normal"]


def values(node: Node, standing: Standing, budget: Mapping[str, int], moment: float) -> dict[str, float]:
    """The five factors of a node at a moment."""
    return factors(
        deadline=node.deadline,
        business_value=node.business_value,
        scarcity=scarcity(node.resources.items(), budget),
        path=standing.path,
        user_level=node.user_level,
        moment=moment,
    )


def standings(
    nodes: Mapping[str, Node],
    ordered: Sequence[str],
    after: Mapping[str, Collection[str]],
    tails: Mapping[str, float],
    lengths: Mapping[str, float],
    budget: Mapping[str, int],
    weights: Mapping[str, float],
    known: Mapping[str, Standing] = MappingProxyType({}),
) -> dict[str, Standing]:
    """The standing of every node of `ordered`: each after all it needs; `after` has those that need it.

    A level is inherited by all that a node needs, the higher wins: else what matters would wait for what does not
    (priority inheritance). A deadline is inherited less the time that those in between take, which makes earliest
    deadline first right where nodes need each other (Blazewicz 1976; Chetto, Silly and Bouchentouf 1990). That of what
    is `known` is given.
    """
    longest = max(tails.values(), default=0.0)
    found: dict[str, Standing] = dict(known)
    for name in reversed(ordered):
        node = nodes[name]
        path = tails[name] / longest if longest > 0 else None
        at_start = total(values(node, Standing(path=path), budget, 0.0), weights)
        lifted = own_rises(node, at_start, weights)
        due = inf if node.deadline is None else node.deadline
        for other in after[name]:
            lifted = earlier(lifted, found[other].rises)
            due = min(due, found[other].due - lengths[other])
        found[name] = Standing(at_start, lifted, due, path)
    return found
