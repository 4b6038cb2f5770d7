"""The order in which ready nodes are considered: one ranking function for each policy.

Knows nothing of what fits: that is for the core to check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wfctl.plan import Planned

Rank = tuple[float, ...]
"""Least first. The moment of becoming ready breaks ties."""


def fifo(node: Planned) -> Rank:
    """First ready, first considered."""
    return ()


def priority(node: Planned) -> Rank:
    """The higher level first; inside a level the longest remaining path."""
    return (-node.level, -node.tail)


def critical_path(node: Planned) -> Rank:
    """The longest remaining path of estimated time first."""
    return (-node.tail,)


POLICIES: Mapping[str, Callable[[Planned], Rank]] = {
    "fifo": fifo,
    "priority": priority,
    "critical_path": critical_path,
}
