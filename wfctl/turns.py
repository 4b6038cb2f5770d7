"""Ready nodes in groups that take turns, each as much as its weight says: the policy `fair`.

Knows nothing of why one node of a group comes before another: it is told by ranks, and keeps a queue for each group."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from wfctl.ready import LOOK, Head, Queue, Ready

if TYPE_CHECKING:
    from wfctl.budget import Budget, Wish
    from wfctl.plan import Plan
    from wfctl.policy import Rank

_Turn = tuple[float, int, str]


class Turns(Queue):
    """Start-time fair queueing (Goyal, Vin and Cheng 1996) of groups, by their dominant share (Ghodsi et al. 2012).

    Each group has a mark on a common scale: what it was given, by its weight. The group with the least mark is next,
    and a start moves its mark on by what the node costs: its time, times the largest part that it holds of any budget.
    The time is the estimate until the true one is known. A group that begins to want something has its mark moved up to
    the least of those that wait, and to that of the last start: it gets no credit for time in which it wanted nothing.

    A rank that a node gets when it becomes ready could not do this: either the shares would be wrong, or a node that
    comes later and matters more would stand behind all of its group.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._size = 0
        self._queues: dict[str, Ready] = {}
        self._marks: dict[str, float] = {}
        self._now = 0.0  # the mark at which the last start was
        self._turns: list[_Turn] = []
        self._shown: dict[str, _Turn] = {}  # the one entry of each group that counts in _turns
        self._charged: dict[str, float] = {}  # seconds, by running node
        self._looked: set[str] = set()  # the groups that were, since something was given back
        self._count = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, node: str) -> bool:
        return node in self._queues.get(self._group(node), ())

    def push(self, node: str, wish: Wish, rank: Rank, since: float) -> None:
        """Add a node that waits since then to the queue of its group."""
        group = self._group(node)
        queue = self._queues.setdefault(group, Ready())
        if not len(queue):
            turn = self._next()
            least = self._now if turn is None else max(self._now, turn[0])
            self._marks[group] = max(self._marks.get(group, 0.0), least)
            self._show(group)
        queue.push(node, wish, rank, since)
        self._size += 1

    def remove(self, node: str) -> None:
        """Take a node out."""
        self._queues[self._group(node)].remove(node)
        self._size -= 1

    def freed(self) -> None:
        """Something was given back: what could not start may be able to now."""
        for group in self._looked:
            self._queues[group].freed()
        self._looked.clear()

    def best(self, budget: Budget, now: float, patience: float) -> str | None:
        """The best-ranked node that may start of the first group that has one; None when none may.

        What the first of the first group will need is kept for it, also from those of the other groups.
        """
        passed: list[_Turn] = []
        before: Head | None = None
        found = None
        while found is None and len(passed) <= LOOK and (turn := self._next()) is not None:
            passed.append(heappop(self._turns))
            queue = self._queues[turn[2]]
            self._looked.add(turn[2])
            found = queue.best(budget, now, patience, before)
            before = before or queue.head
            if found is not None and queue.shifts:
                self.freed()
        for turn in passed:
            heappush(self._turns, turn)
        return found

    @property
    def first(self) -> str | None:
        """The best-ranked node of the group that is next, whether it fits or not."""
        turn = self._next()
        return None if turn is None else self._queues[turn[2]].first

    def _next(self) -> _Turn | None:
        """The turn of the group that is next; entries that count no more are dropped on the way."""
        while self._turns:
            turn = self._turns[0]
            if self._shown.get(turn[2]) is turn:
                if len(self._queues[turn[2]]):
                    return turn
                del self._shown[turn[2]]
            heappop(self._turns)
        return None

    def started(self, node: str) -> None:
        """A node that was taken out begins: its group pays for it."""
        group = self._group(node)
        self._now = max(self._now, self._marks[group])
        self._charged[node] = self._plan.nodes[node].estimate
        self._pay(node, self._charged[node])

    def ended(self, node: str, seconds: float = 0.0) -> None:
        """It took so long: its group pays the rest, or is given back what was too much."""
        if node in self._charged:
            self._pay(node, seconds - self._charged.pop(node))

    def _pay(self, node: str, seconds: float) -> None:
        group, plan = self._group(node), self._plan
        parts = [amount / plan.budget[name] for name, amount in plan.nodes[node].demand if plan.budget.get(name)]
        cost = seconds * max(1 / plan.concurrency, *parts, 0.0)
        self._marks[group] += cost / plan.groups.get(group, 1.0)
        if self._queues[group]:
            self._show(group)

    def _show(self, group: str) -> None:
        self._count += 1
        turn = self._shown[group] = (self._marks[group], self._count, group)
        heappush(self._turns, turn)

    def _group(self, node: str) -> str:
        return self._plan.nodes[node].node.group
