"""How much a node matters: five factors from 0 to 1, their weighted sum, and the level that comes of it.

Knows nothing of other nodes, of events or of clocks: moments are seconds from the start of the run, and it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from wfctl import quantity

LEVELS = ("low", "normal", "high", "critical")

WEIGHTS: Mapping[str, float] = {
    "deadline": 0.25, "business_value": 0.2, "resource": 0.15, "dependency": 0.2, "user": 0.2,
}  # fmt: skip
"""How much each factor counts where the file does not say; they add up to 1."""

UNSAID = 0.5
"""The value of a factor that a node says nothing of."""

THRESHOLDS = (0.4, 0.6, 0.8)
"""From these scores on the level is normal, high, critical."""

USER_LEVELS: Mapping[str, float] = {"vip": 1.0, "premium": 0.6, "normal": 0.2}

NEARNESS = ((0.0, 1.0), (300.0, 0.9), (3600.0, 0.7), (86400.0, 0.5))
"""What a deadline counts that is at most so many seconds off."""
FAR = 0.3

AGING = 600.0
"""Seconds in which waiting lifts a node by a level, where the file does not say."""

RETRY_BONUS = 0.2
"""What each failed attempt adds to the score, inside a level."""

Rises = tuple[float, float, float]
"""From which moments on a level is normal, high, critical. It never falls again, for a deadline only comes nearer."""

FIXED: Mapping[str, Rises] = {
    "low": (inf, inf, inf), "normal": (0.0, inf, inf), "high": (0.0, 0.0, inf), "critical": (0.0, 0.0, 0.0),
}  # fmt: skip
"""The levels that a file gives by name."""


def normalised(raw: Mapping[str, float]) -> dict[str, float]:
    """All weights, those of `raw` over the defaults, made to add up to 1. ValueError where they are all 0."""
    weights = {**WEIGHTS, **raw}
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("at least one weight must be more than 0")
    return {name: weight / total for name, weight in weights.items()}


def read_weights(raw: object) -> dict[str, float]:
    """The `weights` of a file. ValueError says what is wrong."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"expected a mapping such as {{deadline: 2}}, got {quantity.shown(raw)}")
    given = {str(name): value for name, value in raw.items() if not str(name).startswith("x-")}
    for name in given:
        if name not in WEIGHTS:
            raise ValueError(f"{quantity.shown(name)} is no factor; there are {', '.join(WEIGHTS)}")
    return normalised({name: _number(name, value) for name, value in given.items() if value is not None})


def read_groups(raw: object) -> dict[str, float]:
    """The weights of groups. ValueError says what is wrong."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"expected a mapping such as {{nightly: 2}}, got {quantity.shown(raw)}")
    groups = {str(name): _number(str(name), value) for name, value in raw.items() if value is not None}
    for name, weight in groups.items():
        if weight < 1e-6:
            raise ValueError(f"{name} must be more than 0, or its nodes would never run")
    return groups


def read_value(raw: object) -> float:
    """A `business_value`. ValueError says what is wrong."""
    return _number("business_value", raw, most=100)


def read_aging(raw: object) -> float:
    """The seconds in which waiting lifts a node by a level. ValueError says what is wrong."""
    seconds = quantity.seconds(raw)
    if seconds < 1e-3:
        raise ValueError("must be at least a millisecond; a long time, such as 365d, lifts nothing")
    return seconds


def _number(name: str, value: object, most: float = 1e6) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most:
        return float(value)
    raise ValueError(f"{name} is a number from 0 to {most:.0f}, got {quantity.shown(value)}")


# -- the factors


def nearness(left: float) -> float:
    """What a deadline counts that is `left` seconds off."""
    for off, value in NEARNESS:
        if left <= off:
            return value
    return FAR


def scarcity(demand: Iterable[tuple[str, int]], budget: Mapping[str, int]) -> float | None:
    """The largest share of a budget that is asked for; None where nothing is."""
    shares = [wanted / budget[name] for name, wanted in demand if budget.get(name)]
    return min(max(shares), 1.0) if shares else None


def factors(
    *,
    deadline: float | None,
    business_value: float | None,
    scarcity: float | None,
    path: float | None,
    user_level: str | None,
    moment: float = 0.0,
) -> dict[str, float]:
    """The value of each factor at a moment. `path` is the remaining path as a share of the longest one."""
    return {
        "deadline": UNSAID if deadline is None else nearness(deadline - moment),
        "business_value": UNSAID if business_value is None else business_value / 100,
        "resource": UNSAID if scarcity is None else scarcity,
        "dependency": UNSAID if path is None else path,
        "user": UNSAID if user_level is None else USER_LEVELS[user_level],
    }


def total(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The score: the weighted sum, to nine digits, so that what is alike on paper is alike here."""
    return round(sum([values[name] * weights[name] for name in WEIGHTS]), 9)


def later(score: float, deadline: float | None, weight: float, moment: float) -> float:
    """What the score of the start of the run is at a later moment: only the deadline has come nearer."""
    if deadline is None:
        return score
    return round(score + (nearness(deadline - moment) - nearness(deadline)) * weight, 9)


# -- the level


def level_of(score: float) -> int:
    """The level that a score gives, as its place among `LEVELS`."""
    return sum(score >= threshold for threshold in THRESHOLDS)


def rises(score: float, deadline: float | None, weight: float) -> Rises:
    """When a node's level rises by its score, which is `score` at the start of the run; `weight` is the deadline's."""
    moments = [0.0]
    if deadline is not None:
        moments += sorted(deadline - off for off, _ in NEARNESS if deadline > off)
    levels = [level_of(later(score, deadline, weight, moment)) for moment in moments]
    normal, high, critical = (
        next((moment for moment, reached in zip(moments, levels, strict=True) if reached >= level), inf)
        for level in (1, 2, 3)
    )
    return normal, high, critical


def earlier(one: Rises, other: Rises) -> Rises:
    """The higher of two levels at each moment."""
    if one == other:
        return one
    return (min(one[0], other[0]), min(one[1], other[1]), min(one[2], other[2]))


def level_at(rises: Rises, moment: float) -> int:
    """The level at a moment, as its place among `LEVELS`."""
    return sum(moment >= rise for rise in rises)
