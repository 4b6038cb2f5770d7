"""The ready nodes, best first, and the first of them that a budget allows to start.

Knows nothing of why one ranks before another, nor of what it asks for: it is told."""

from __future__ import annotations

from bisect import bisect_left
from heapq import heappop, heappush
from typing import Any

from wfctl.budget import Budget, Wish
from wfctl.policy import Rank

LOOK = 256
"""How many wishes that cannot be met are passed over, beside the first, before the search ends."""

Head = tuple[Wish, float]
"""What one that waits asks for, and since when it does."""

_Entry = tuple[Any, ...]
"""The numbers of the rank, one that is higher for who came later, then the node, its wish, and since when it waits.

All in one, for where 100,000 wait, each thing more that is looked at is one more that is in no cache."""

_NODE, _WISH, _SINCE = -3, -2, -1


class Queue:
    """What a queue is told and asked beside who is ready; here nothing comes of it, and nobody is held back."""

    def started(self, node: str) -> None:
        """A node that was taken out begins."""

    def ended(self, node: str, seconds: float = 0.0) -> None:
        """A node has given back what it held, after so long, or never will hold anything."""

    def next_release(self) -> float | None:
        """When one that is held back will be looked at; None where nothing depends on the time."""
        return None

    def holding_up(self, node: str) -> list[str]:
        """For whom a node is held back although it may fit."""
        return []

    def drifted(self, now: float) -> bool:
        """Whether what happens is so far from what was planned that it is to be planned again."""
        return False


class Ready(Queue):
    """One heap for each distinct wish. The best of their heads stand in order in a window, the others in a heap.

    What a search has passed over is not looked at again before something was given back, or a better one came: so an
    end costs at most a look along the window, and O(log n) for what enters and leaves it.
    """

    def __init__(self) -> None:
        self._live: dict[str, _Entry] = {}
        self._heaps: dict[Wish, list[_Entry]] = {}
        self._window: list[_Entry] = []
        self._others: list[_Entry] = []  # all after those of the window; some of them are heads no more
        self._count = 0
        self._passed = 0  # so many of the window cannot start, as things stand
        self._looked = 0.0
        self._before: Head | None = None
        self.shifts = False
        """Whether, once the best one runs, what waits first may have to wait longer: then others may pass it too."""

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, node: str) -> bool:
        return node in self._live

    def push(self, node: str, wish: Wish, rank: Rank, since: float) -> None:
        """Add a node that waits since then. Of equal ranks the one that was added first comes first."""
        self._count += 1
        entry = self._live[node] = (*rank, self._count, node, wish, since)
        heap = self._heaps.setdefault(wish, [])
        if not heap or entry < heap[0]:
            if heap:
                self._hide(heap[0])
            self._show(entry)
        heappush(heap, entry)

    def remove(self, node: str) -> None:
        """Take a node out; where it is no head, its entry is dropped when it becomes one."""
        entry = self._live.pop(node)
        heap = self._heaps[entry[_WISH]]
        if heap[0] is entry:
            self._hide(entry)
            heappop(heap)
            while heap and not self._waits(heap[0]):
                heappop(heap)
            if heap:
                self._show(heap[0])
            else:
                del self._heaps[entry[_WISH]]
                self._fill()

    def freed(self) -> None:
        """Something was given back: what could not start may be able to now."""
        self._passed = 0

    def best(self, budget: Budget, now: float, patience: float, before: Head | None = None) -> str | None:
        """The best-ranked node that may start, still in the queue; None when none may.

        What the first that does not fit will need is kept for it. Where no estimates tell when that will be, others
        pass it until it has waited for `patience`, in seconds. `before` is the first where this queue comes after
        another one.
        """
        if before != self._before or (now != self._looked and budget.has_rates):
            self._passed = 0
        self._looked, self._before = now, before
        guards, room, first = budget.guards, budget.room, before or self.head
        kept, patient = None, False
        for place in range(self._passed, len(self._window)):
            entry = self._window[place]
            wish: Wish = entry[_WISH]
            if (room - wish.load) & guards != guards or ((wish.rates or wish.refused) and not budget.fits(wish, now)):
                continue
            if first is not None and (place or before is not None):
                if kept is None:
                    kept, patient = budget.reservation(first[0], now), now < first[1] + patience
                if not budget.may_pass(wish, kept, now, patient):
                    continue
            self.shifts = kept is None or (kept.at is not None and wish.seconds is None)
            self._passed = 0 if self.shifts else place
            return str(entry[_NODE])
        self._passed = len(self._window)
        return None

    @property
    def first(self) -> str | None:
        """The best-ranked node, whether it fits or not: if it does not, something is kept for it."""
        return str(self._window[0][_NODE]) if self._window else None

    @property
    def head(self) -> Head | None:
        """What the best-ranked node asks for, and since when."""
        return (self._window[0][_WISH], self._window[0][_SINCE]) if self._window else None

    # -- heads

    def _waits(self, entry: _Entry) -> bool:
        return self._live.get(entry[_NODE]) is entry

    def _show(self, entry: _Entry) -> None:
        """Place a new head."""
        window = self._window
        if len(window) > LOOK and entry > window[-1]:
            heappush(self._others, entry)
            return
        self._fill()
        place = bisect_left(window, entry)
        if place < len(window) and window[place] is entry:  # it was a head before, and still among the others
            return
        window.insert(place, entry)
        if place < self._passed:
            self._passed = 0
        if len(window) > LOOK + 1:
            heappush(self._others, window.pop())

    def _hide(self, entry: _Entry) -> None:
        """Take a head out of the window; among the others it stays until it would enter that."""
        place = bisect_left(self._window, entry)
        if place < len(self._window) and self._window[place] is entry:
            del self._window[place]
            if place < self._passed:
                self._passed = self._passed - 1 if place else 0

    def _fill(self) -> None:
        """Let the best of the others into a window that has room."""
        while self._others and len(self._window) <= LOOK:
            entry = heappop(self._others)
            heap = self._heaps.get(entry[_WISH])
            twice = bool(self._window) and self._window[-1] is entry
            if heap and heap[0] is entry and self._waits(entry) and not twice:
                self._window.append(entry)
