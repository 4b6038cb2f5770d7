"""Schedules of one part of a plan: when each node ends, made from an order, round what is already fixed.

Knows nodes by place and amounts as one number, and nothing of workflows, levels, seconds, clocks or chance."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

NEVER = 1 << 62

_LOOK = 256
"""How many ready nodes that do not fit are passed over at one moment before the next is waited for."""

_CHUNK = 64
"""How many nodes are placed before the part of a profile that is full is left behind."""

_BEHIND = 256
"""How many changes of a profile a node may be placed before the last end: what is left further back is too small for
most, and looking there made 2,000 nodes side by side take 100 ms a pass."""


class Profile:
    """What is free from each moment on: `free[i]` holds from `at[i]` to `at[i + 1]`; the last moment is never."""

    __slots__ = ("at", "free")

    def __init__(self, at: list[int], free: list[int]) -> None:
        self.at = at
        self.free = free

    def mirrored(self, end: int) -> Profile:
        """The same with time running backwards from `end`; where nothing is held, any moment will do as the end."""
        if len(self.free) == 2:
            return self
        moments = [moment for moment in self.at[:-1] if moment < end]
        at = [-end, *(-moment for moment in reversed(moments)), NEVER]
        return Profile(at, [*reversed(self.free[: len(moments)]), self.free[-1], self.free[-1]])


Task = tuple[int, int, tuple[int, ...]]
"""Duration, packed demand (none where it lasts no time), and the places of those that come before."""


class Part:
    """The nodes of one level, to be placed round all that is fixed. Their places are 0 to size-1, in an order in
    which each comes after those it needs; what ends outside of the part follows as a gate."""

    def __init__(
        self, tasks: Sequence[Task], gates: list[int], profile: Profile, guard: int, least: int, work_bound: int
    ) -> None:
        self.size = len(tasks)
        self.profile = profile
        self.guard = guard
        self.least = least
        """The least of each resource that any node asks for: where this does not fit, nothing does."""
        self.ahead = tasks
        after: list[list[int]] = [[] for _ in range(self.size + len(gates))]
        for place, (_, _, before) in enumerate(tasks):
            for other in before:
                after[other].append(place)
        self.after = after
        self.back: list[Task] = [(tasks[i][0], tasks[i][1], tuple(after[i])) for i in range(self.size)]
        self.gates = gates
        self.work_bound = work_bound
        self.tails = [0] * self.size
        for place in reversed(range(self.size)):
            self.tails[place] = tasks[place][0] + max((self.tails[other] for other in after[place]), default=0)
        self._places = range(self.size)
        self._turned = range(self.size - 1, -1, -1)

    # Both generation schemes: Kolisch, Serial and parallel resource-constrained project scheduling methods, 1996.

    def forward(self, order: Sequence[int]) -> list[int]:
        """The ends of the nodes, each placed as early as it fits, in an order that keeps needs (the serial scheme)."""
        ends = [0] * self.size + self.gates
        _place(order, self.ahead, ends, self.profile, self.guard, self.least)
        return ends

    def backward(self, order: Sequence[int], end: int) -> list[int]:
        """The same with time running backwards from `end`: the order turns needs round, and a "finish" is a start."""
        ends = [0] * self.size
        _place(order, self.back, ends, self.profile.mirrored(end), self.guard, self.least)
        return ends

    def last_first(self, ends: Sequence[int]) -> list[int]:
        """The nodes by decreasing end: the order that turns time round, for either direction's result."""
        return sorted(self._turned, key=ends.__getitem__, reverse=True)

    def first_first(self, ends: Sequence[int]) -> list[int]:
        """The order of a forward pass from the ends of a backward pass."""
        return sorted(self._places, key=ends.__getitem__, reverse=True)

    def justified(self, order: Sequence[int], end: int) -> list[int]:
        """All moved as late as it fits in that order, then as early as it fits: never longer than the schedule that the
        order is from (double justification; Valls, Ballestín and Quintanilla 2005)."""
        return self.forward(self.first_first(self.backward(order, end)))

    def ranked(self, rank: Sequence[float]) -> list[int]:
        """The order that always takes the node of highest rank among those whose needs it has taken."""
        left = self._left()
        ready = [(-rank[place], place) for place in self._places if not left[place]]
        heapify(ready)
        order = []
        while ready:
            place = heappop(ready)[1]
            order.append(place)
            for other in self.after[place]:
                left[other] -= 1
                if not left[other]:
                    heappush(ready, (-rank[other], other))
        return order

    def parallel(self, rank: Sequence[float]) -> list[int]:
        """The ends of the nodes when at each moment the ready ones that fit are started, the highest rank first."""
        guard, least, tasks = self.guard, self.least, self.ahead
        at, free = self.profile.at, self.profile.free
        ends = [0] * self.size + self.gates
        left = [len(before) for _, _, before in tasks]
        running = [(end, place) for place, end in enumerate(self.gates, self.size)]
        heapify(running)
        ready: list[tuple[float, int]] = []  # the best is last, where it is taken out at no cost
        step, used, now = 0, 0, at[0]

        def enter(place: int) -> None:
            length, need, _ = tasks[place]
            if need:
                insort(ready, (rank[place], -place))
            else:
                ends[place] = now + length
                heappush(running, (now + length, place))

        for place in self._places:
            if not left[place]:
                enter(place)
        while now < NEVER:
            while running and running[0][0] <= now:
                done = heappop(running)[1]
                if done < self.size:
                    used -= tasks[done][1]
                for other in self.after[done]:
                    left[other] -= 1
                    if not left[other]:
                        enter(other)
            while at[step + 1] <= now:
                step += 1
            look = len(ready) - 1
            stop = look - _LOOK
            while look >= 0 and look > stop and (free[step] - used - least) & guard == guard:
                place = -ready[look][1]
                length, need, _ = tasks[place]
                if (free[step] - used - need) & guard == guard:
                    del ready[look]
                    used += need
                    ends[place] = now + length
                    heappush(running, (now + length, place))
                look -= 1
            now = min(running[0][0] if running else NEVER, at[step + 1])
        if len(free) > 2:
            # Only the moment of each start was looked at. Where less is free later, the order still tells what to do.
            begins = [end - length for end, (length, _, _) in zip(ends, tasks, strict=False)]
            return self.forward(sorted(self._places, key=begins.__getitem__))
        return ends

    def bound(self) -> int:
        """A moment before which the part cannot end: by its paths from what is fixed, or by work in what is left."""
        entry = [self.profile.at[0]] * self.size + self.gates
        for place, (_, _, before) in enumerate(self.ahead):
            for other in before:
                end = entry[other] + (self.ahead[other][0] if other < self.size else 0)
                entry[place] = max(entry[place], end)
        longest = max((entry[place] + self.tails[place] for place in self._places), default=0)
        return max(longest, self.work_bound)

    def _left(self) -> list[int]:
        return [sum(other < self.size for other in before) for _, _, before in self.ahead]


def _place(
    order: Sequence[int], tasks: Sequence[Task], ends: list[int], profile: Profile, guard: int, least: int
) -> None:
    """Write the end of each node of the order: as early as it fits after all that come before it.

    This loop is where a search spends its time, hence its plain shape: 0.7 µs a node.
    """
    at = profile.at.copy()
    free = profile.free.copy()
    first = at[0]
    for chunk in range(0, len(order), _CHUNK):
        if chunk:
            passed = 0
            while (free[passed] - least) & guard != guard:
                passed += 1
            reached = bisect_right(at, max([ends[place] for place in order[chunk - _CHUNK : chunk]]))
            passed = max(passed, reached - _BEHIND)
            del at[:passed], free[:passed]
        floor = at[0]
        for place in order[chunk : chunk + _CHUNK]:
            length, need, before = tasks[place]
            start = floor if need else first
            for other in before:
                if ends[other] > start:
                    start = ends[other]
            end = start + length
            if need:
                begin = k = bisect_right(at, start) - 1
                while True:
                    if (free[k] - need) & guard == guard:
                        k += 1
                        if at[k] >= end:
                            break
                    else:
                        k += 1
                        begin = k
                        start = at[k]
                        end = start + length
                if at[begin] < start:
                    begin += 1
                    k += 1
                    at.insert(begin, start)
                    free.insert(begin, free[begin - 1])
                if at[k] > end:
                    at.insert(k, end)
                    free.insert(k, free[k - 1])
                for i in range(begin, k):
                    free[i] -= need
            ends[place] = end
