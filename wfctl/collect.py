"""When a `for_each` is done, and whether it succeeded: one rule for each strategy.

Knows neither the items nor their outputs, but only how many there are and how many ended in which way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor
from typing import Any, Protocol

from wfctl import expr, quantity
from wfctl.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Collect:
    """What a `collect` says. `tolerate` is a number of items, or as a float a share of them; `timeout` in seconds."""

    strategy: str = "all"
    tolerate: int | float = 0
    until: expr.Template | bool | None = None
    score: expr.Template | None = None
    timeout: float | None = None

    def may_fail(self, items: int) -> int:
        """How many of so many items may fail."""
        return self.tolerate if isinstance(self.tolerate, int) else floor(self.tolerate * items + 1e-9)

    def enough(self, items: int) -> int:
        """How many successes of so many items end it."""
        return {"first": 1, "majority": items // 2 + 1}.get(self.strategy, items)


class Tally(Protocol):
    """Of the items of a `for_each`: how many there are, how many have not ended, and how the others did.

    The rest was skipped."""

    total: int
    left: int
    succeeded: int
    failed: int
    cancelled: int


MET, LOST, ENDED = "met", "lost", "ended"
"""It is done; it can no longer be; or all ended, some of them because the run itself goes to its end."""


def verdict(collect: Collect, tally: Tally) -> str | None:
    """How it stands; None while that is open."""
    found = STRATEGIES[collect.strategy](collect, tally)
    if found is None and not tally.left:
        return ENDED if tally.cancelled else LOST
    return found


def _all(collect: Collect, tally: Tally) -> str | None:
    if tally.failed > collect.may_fail(tally.total):
        return LOST
    return MET if not tally.left and not tally.cancelled else None


def _first(collect: Collect, tally: Tally) -> str | None:
    return MET if tally.succeeded else None


def _majority(collect: Collect, tally: Tally) -> str | None:
    if 2 * tally.succeeded > tally.total:
        return MET
    possible = tally.succeeded + tally.left + tally.cancelled
    return LOST if 2 * possible <= tally.total else None


def _best(collect: Collect, tally: Tally) -> str | None:
    if tally.failed > collect.may_fail(tally.total):
        return LOST
    return MET if not tally.left and not tally.cancelled and tally.succeeded else None


STRATEGIES: Mapping[str, Callable[[Collect, Tally], str | None]] = {
    "all": _all,
    "first": _first,
    "majority": _majority,
    "best": _best,
}


def read_collect(raw: object) -> Collect:
    """A `collect` without its `until` and `score`. ValueError says what is wrong."""
    told = {"strategy": raw} if isinstance(raw, str) else raw
    if not isinstance(told, dict):
        raise ValueError(f"expected one of {', '.join(STRATEGIES)}, or a mapping, got {quantity.shown(raw)}")
    values: dict[str, Any] = {}
    strategy = told.get("strategy")
    if strategy is not None:
        if not isinstance(strategy, str) or strategy not in STRATEGIES:
            raise ValueError(f"strategy is one of {', '.join(STRATEGIES)}, got {quantity.shown(strategy)}")
        values["strategy"] = strategy
    if told.get("tolerate") is not None:
        values["tolerate"] = read_tolerate(told["tolerate"])
    if told.get("timeout") is not None:
        values["timeout"] = quantity.seconds(told["timeout"])
    return Collect(**values)


def read_tolerate(raw: object) -> int | float:
    """A number of items, or a share such as `5%` as a float from 0 to 1. ValueError says what is wrong."""
    if isinstance(raw, int) and not isinstance(raw, bool) and raw >= 0:
        return raw
    if isinstance(raw, str) and raw.endswith("%"):
        try:
            share = float(raw[:-1]) / 100
        except ValueError:
            share = -1.0
        if 0 <= share <= 1:
            return share
    raise ValueError(f"tolerate is a number of items, or a share such as 5%, got {quantity.shown(raw)}")
