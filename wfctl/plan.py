"""The plan of a run, and what that was asked for: nodes with edges, demands, levels and path lengths.

Knows nothing of files, clocks or the machine, and not how it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from wfctl.budget import Demand
from wfctl.items import Item
from wfctl.node import Node, Value
from wfctl.policy import IMPROVABLE
from wfctl.record import dataclass
from wfctl.scope import Scope
from wfctl.standing import Standing

if TYPE_CHECKING:
    from wfctl.compensation import Rollback
    from wfctl.planner import Planner

ON_FAILURE = ("stop", "continue", "cancel")
ON_BUSY = ("wait", "fail", "skip")

DEFAULT_ESTIMATE = 1.0
"""Seconds that a node is taken to need when nothing is known of it."""

SOURCES = ("history", "declared", "kind", "assumed")
"""Where an estimate comes from, the best first: the last successes of the node, its own `estimate`, the last successes
of its kind, nowhere."""

UNASKED = 2000
"""Up to how many nodes a plan is improved unasked: 2,000 take 20 ms, or a second where many resources are scarce."""

LOG_LIMIT = 100 * 1024 * 1024
"""Bytes that the log of one attempt may have, where the file does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one run was asked for, and the facts it leans on. Recorded; a plan is made from it again at any time.

    `started` is UTC text, `folder` the file's own. `machine` holds the budgets of cpu and memory that count where the
    file names none, `cores` the concurrency where it names none. `devices` are those that this process may see, None
    where nothing says so.
    """

    params: Mapping[str, object] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""
    started: str = ""
    folder: str = "."
    cores: int = 1
    machine: Mapping[str, int] = field(default_factory=dict)
    devices: tuple[str, ...] | None = None
    grace: float = 10.0
    settings: tuple[str, ...] = ()
    """What was laid over the file, for an update of it."""
    start_from: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    estimates: Mapping[str, float] = field(default_factory=dict)
    """Seconds that nodes took of late, of those of which that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One node with its place in the plan. `tail` is the longest path of estimates from its start to the end.

    `source` is the one of SOURCES that its estimate comes from. What holds others has `children`, takes no time itself,
    and what is inside has it as `parent`. `given` nodes are left out of the run; their output comes from elsewhere.
    """

    id: str
    node: Node
    needs: tuple[str, ...]
    dependents: list[str]
    """It grows with the plan."""
    demand: Demand
    level: int
    estimate: float
    source: str
    tail: float
    scope: Scope
    given: bool = False
    likely: bool = True
    """Whether it will run where all goes well, before `finally`."""
    standing: Standing = Standing()
    """`level` is that of the start of the run; a deadline may lift it later."""
    parent: str | None = None
    children: list[str] = field(default_factory=list)
    inside: Scope | None = None
    """What a group's own nodes are sought in."""
    chain: tuple[str, float, int] | None = None
    """The item of a group that it belongs to, the longest path from the start of that, and the place of the item."""

    @property
    def estimated(self) -> bool:
        """Whether its estimate is more than an assumption."""
        return self.source != "assumed"

    @property
    def holds(self) -> bool:
        """Whether it holds others, and does no work of its own."""
        return self.node.each is not None or self.node.inner is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that `decide` must know beside the state. Built once for a run, and then only read: but that the items of a
    `for_each` join `nodes` when they come to be known, by `RunState.apply` alone."""

    name: str
    run: Mapping[str, object]
    params: Mapping[str, object]
    env: Mapping[str, str]
    secrets: tuple[str, ...]
    vars: Mapping[str, Value]
    outputs: Mapping[str, Value]
    nodes: dict[str, Planned]
    budget: Mapping[str, int]
    """What nodes may hold at once, of each resource."""
    rates: Mapping[str, float]
    """Tokens in a second, of resources with a rate: each attempt that asks for one costs a token."""
    shared: Mapping[str, tuple[int, int]]
    """Amount and reserve of those budgets that all runs of this user here have in common."""
    lock: str
    """The name of the lock that one run at a time holds on this machine; none where it is empty."""
    on_busy: str
    devices: tuple[str, ...]
    """The names of the units of the resource `gpu`; none where they are numbers from 0 up."""
    concurrency: int
    policy: str
    weights: Mapping[str, float]
    """Of the score's factors; they add up to 1."""
    aging: float
    """Seconds in which waiting lifts a node by a level."""
    groups: Mapping[str, float]
    """Weights of groups; of those that are not here it is 1."""
    on_failure: str
    rollback: Rollback
    timeout: float | None
    grace: float
    log_limit: int
    """Bytes of the log of one attempt."""
    root: str
    critical_path: tuple[str, ...]
    bounds: Mapping[str, float]
    """Lower bounds of the makespan in seconds, by name."""
    scope: Scope
    """Where the names of the file itself are sought."""
    environ: Mapping[str, str]
    """What the `env` of the files takes from outside."""
    open_ended: set[str]
    """The `for_each` nodes whose items only a run can tell, and the sub-workflows: what they are given is checked."""
    ends: dict[str, tuple[float, Standing]]
    """Of what holds others: the longest path from its end, and where that stands."""
    planner: Planner
    """Makes the items that join."""

    def grow(self, parent: str, items: Sequence[Item]) -> list[str]:
        """Let the items of a `for_each` join, and all inside of them; the ids of all that joined, in order.

        Raises ExpressionError where one of them cannot be: it asks for more than there is, say."""
        return self.planner.grow(self, parent, items)

    def in_order(self) -> Iterator[str]:
        """All ids as a reader looks for them: in the order of the file, what is inside of a node behind it."""
        for name, planned in list(self.nodes.items()):
            if planned.parent is None:
                yield from self.with_inside(name)

    def with_inside(self, name: str) -> Iterator[str]:
        """A node and all inside of it, in that order."""
        todo = [name]
        while todo:
            one = todo.pop()
            yield one
            todo += reversed(self.nodes[one].children)

    def shrink(self, parent: str) -> list[str]:
        """Let the items of a `for_each` leave again, for others will come; the ids of all that left."""
        gone: list[str] = []
        todo = list(self.nodes[parent].children)
        for name in todo:  # grows while it is read
            todo += self.nodes[name].children
            gone.append(name)
        leaving = set(gone)
        for need in {need for name in gone for need in self.nodes[name].needs} - leaving:
            self.nodes[need].dependents[:] = [n for n in self.nodes[need].dependents if n not in leaving]
        for name in gone:
            del self.nodes[name]
        self.nodes[parent].children.clear()
        return gone

    @property
    def improvable(self) -> bool:
        """Whether a better order than the policy's own is to be looked for unasked: where that says what matters, but
        not who is next, where not all fit at once, estimates are more than guesses, and the nodes not too many."""
        if self.policy not in IMPROVABLE:
            return False
        likely: list[Planned] = []
        for planned in self.nodes.values():
            if planned.likely and not planned.holds:
                # a chain that began goes first, and for a person's answer nothing is held back
                if planned.chain or planned.node.kind == "ask":
                    return False
                if not planned.estimated or len(likely) == UNASKED:
                    return False
                likely.append(planned)
        asked: Counter[str] = Counter()
        for planned in likely:
            asked.update(dict(planned.demand))
        return len(likely) > self.concurrency or any(asked[name] > there for name, there in self.budget.items())


def edges(plan: Plan) -> Iterator[tuple[str, str]]:
    """Every edge, as (needed, by)."""
    for node in plan.nodes.values():
        for need in node.needs:
            yield need, node.id
