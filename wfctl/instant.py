"""A moment as text and as a number: UTC with six digits, and seconds since the epoch.

Reads no clock."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=64)
def _second(whole: int) -> str:
    # Many events share a second, and formatting one costs ten times this look-up.
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def to_text(moment: float) -> str:
    """`2026-01-31T10:00:00.250000Z`."""
    micros = round(moment * 1_000_000)
    whole, part = divmod(micros, 1_000_000)
    return f"{_second(whole)}.{part:06d}Z"


def from_text(text: str) -> float:
    """The counterpart of `to_text`. ValueError where it is no moment."""
    return datetime.fromisoformat(text).timestamp()
