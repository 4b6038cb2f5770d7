"""When a node may run, given how the nodes that it needs have ended so far: one rule for each trigger.

Knows neither the nodes nor their states, but only how many ended in which way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class Ended(Protocol):
    """Of the needs of a node: how many are still open, how many succeeded, how many failed. The rest was skipped."""

    left: int
    succeeded: int
    failed: int


def _all_succeeded(ended: Ended, needs: int) -> bool | None:
    if ended.succeeded == needs:
        return True
    return None if ended.succeeded + ended.left == needs else False


def _all_done(ended: Ended, needs: int) -> bool | None:
    return True if not ended.left else None


def _any_succeeded(ended: Ended, needs: int) -> bool | None:
    if ended.succeeded:
        return True
    return None if ended.left else False


def _any_failed(ended: Ended, needs: int) -> bool | None:
    if ended.failed:
        return True
    return None if ended.left else False


def _none_failed(ended: Ended, needs: int) -> bool | None:
    if ended.failed:
        return False
    return None if ended.left else True


TRIGGERS: Mapping[str, Callable[[Ended, int], bool | None]] = {
    "all_succeeded": _all_succeeded,
    "all_done": _all_done,
    "any_succeeded": _any_succeeded,
    "any_failed": _any_failed,
    "none_failed": _none_failed,
}
"""Whether a trigger holds, given how its needs ended: None while that is open."""

FOR_FAILURES = frozenset({"all_done", "any_failed"})
"""Triggers of nodes that still run while the run is failing."""
