"""The ready nodes, best first, and which of them fits.

Knows nothing of why one ranks before another, nor of what is free: it is told."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from wfctl.plan import Demand
from wfctl.policy import Rank

LOOK = 256
"""How many demands that do not fit are passed over before the search ends."""

_Entry = tuple[Rank, int, str]


class Ready:
    """One heap for each distinct demand, and a heap of their heads: a finish costs O(log n), not a sort."""

    def __init__(self) -> None:
        self._live: dict[str, _Entry] = {}
        self._heaps: dict[Demand, list[_Entry]] = {}
        self._heads: list[tuple[_Entry, Demand]] = []
        self._shown: dict[Demand, _Entry] = {}  # the one entry of each demand that counts in _heads
        self._count = 0
        self._stuck = False

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, node: str) -> bool:
        return node in self._live

    def push(self, node: str, demand: Demand, rank: Rank) -> None:
        """Add a node. Of equal ranks the one that was added first comes first."""
        self._count += 1
        entry = (rank, self._count, node)
        self._live[node] = entry
        heap = self._heaps.setdefault(demand, [])
        heappush(heap, entry)
        if heap[0] is entry:
            self._show(demand, entry)
        self._stuck = False

    def remove(self, node: str) -> None:
        """Take a node out; its entry is dropped when it comes to the top."""
        del self._live[node]

    def freed(self) -> None:
        """Something was given back: what did not fit may fit now."""
        self._stuck = False

    def best(self, fits: Callable[[Demand], bool]) -> str | None:
        """The best-ranked node that fits, still in the queue; None when none does."""
        if self._stuck:
            return None
        passed: list[tuple[_Entry, Demand]] = []
        found = None
        while self._heads and len(passed) <= LOOK:
            entry, demand = self._heads[0]
            if self._shown.get(demand) is not entry:
                heappop(self._heads)
            elif self._live.get(entry[2]) is not entry:
                heappop(self._heads)
                self._show_next(demand)
            elif passed and passed[-1][0] is entry:
                heappop(self._heads)  # shown, hidden by a better one and shown again: it counts once
            elif fits(demand):
                found = entry[2]
                break
            else:
                passed.append(heappop(self._heads))
        for head in passed:
            heappush(self._heads, head)
        self._stuck = found is None
        return found

    def _show(self, demand: Demand, entry: _Entry) -> None:
        self._shown[demand] = entry
        heappush(self._heads, (entry, demand))

    def _show_next(self, demand: Demand) -> None:
        heap = self._heaps[demand]
        while heap and self._live.get(heap[0][2]) is not heap[0]:
            heappop(heap)
        if heap:
            self._show(demand, heap[0])
        else:
            del self._heaps[demand], self._shown[demand]
