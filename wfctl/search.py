"""A search for a better plan, for so many seconds of real time.

Knows nothing of how plans are made better, nor of who is told."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wfctl.layout import Problem, Schedule
    from wfctl.optimize import Progress

    Tell = Callable[[float, Progress | None], None]
    """Hears now and then after how many seconds the search is how far; None when it is over."""


class Search:
    """Called with a problem it finds the best plan that it can.

    Its random numbers come from `seed`: what takes the same number of steps ends with the same plan.
    """

    def __init__(self, seconds: float, seed: int, tell: Tell | None = None) -> None:
        self.seconds = seconds
        self._seed = seed
        self._tell = tell
        self._first: Progress | None = None
        self._found: Schedule | None = None
        self._took = 0.0

    def __call__(self, problem: Problem) -> Schedule:
        """Raises ValueError where there is no plan."""
        from wfctl.optimize import search

        begin = time.monotonic()

        def hear(progress: Progress) -> None:
            self._first = self._first or progress
            if self._tell:
                self._tell(time.monotonic() - begin, progress)

        chance = random.Random(self._seed)
        self._found = search(
            problem, seconds=self.seconds, chance=chance, elapsed=lambda: time.monotonic() - begin, tell=hear
        )
        self._took = time.monotonic() - begin
        if self._tell:
            self._tell(self._took, None)
        return self._found

    def document(self) -> dict[str, Any] | None:
        """How it went: seconds, plans made, the makespan before and after, the lower bound; None where it made none."""
        if self._first is None or self._found is None:
            return None
        return {
            "seconds": round(self._took, 3),
            "plans": self._found.schedules,
            "before": self._first.makespan,
            "after": self._found.makespan,
            "lower_bound": self._first.bound,
        }
