"""What a run would do: the run itself, on a simulated executor and clock.

Knows no store and no real time: a forecast cannot disagree with a run but by the estimates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wfctl import events as ev
from wfctl import expr
from wfctl.attempt import simulated
from wfctl.decide import Leavings
from wfctl.engine import Engine, Plotter
from wfctl.executors.simulated import SimulatedExecutor
from wfctl.jobs import Answer, Completion, Job, Keeping
from wfctl.node import AFTER_WORK
from wfctl.noderun import SUCCEEDED
from wfctl.plan import Plan
from wfctl.scope import During, Names
from wfctl.score import LEVELS, later, level_at
from wfctl.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When each node would start and finish, in seconds from the start of the run. Skipped ones are not in it."""

    plan: Plan
    start: Mapping[str, float]
    finish: Mapping[str, float]
    served: Mapping[str, ev.NodeServed] = field(default_factory=dict)
    """The nodes of which a kept result would be served, and what that is."""
    whys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of nodes whose result is kept: why they would run all the same."""
    gathered: Mapping[str, object] = field(default_factory=dict)
    """What those that hold others hand out, where it is known."""
    unsure: frozenset[str] = frozenset()
    """Those of which only a run can tell whether one is."""
    ready: Mapping[str, float] = field(default_factory=dict)
    explained: Mapping[str, Any] = field(default_factory=dict)
    """Of the one node that was asked for: what decides when it runs, as it is when that becomes ready."""
    improved: bool = False
    """Whether a better order than the policy's own is followed."""
    guessed: frozenset[str] = frozenset()
    """The `for_each` nodes whose items only a run can tell: those of the last run are taken, else one."""
    search: Mapping[str, Any] | None = None
    """How the search for it went, where there was one."""

    @property
    def makespan(self) -> float:
        """Seconds until the last node of `nodes` has ended."""
        return max((t for n, t in self.finish.items() if self.plan.nodes[n].node.section == "nodes"), default=0.0)

    @property
    def lower_bound(self) -> float:
        return max(self.plan.bounds.values(), default=0.0)

    @property
    def bounds(self) -> dict[str, float]:
        """Both kinds of lower bound: the longest path, and the work that the scarcest resource has to bear."""
        work = self.plan.bounds.get(f"work / {self.scarcest}", 0.0)
        return {"critical_path": self.plan.bounds.get("critical path", 0.0), "work": work}

    @property
    def scarcest(self) -> str:
        """The resource, or `slots`, that takes longest to bear its work."""
        work = {name[7:]: bound for name, bound in self.plan.bounds.items() if name.startswith("work / ")}
        return max(work, key=work.__getitem__, default="slots")

    def resources(self, node: str) -> dict[str, float]:
        """What a node holds while it runs, as a workflow says it: cpu in cores, sizes in bytes."""
        return {name: _in_units(name, amount) for name, amount in self.plan.nodes[node].demand}

    @property
    def budget(self) -> dict[str, float]:
        """What nodes may hold at once of each resource, in the same units."""
        return {name: _in_units(name, amount) for name, amount in self.plan.budget.items()}

    def assumed(self, node: str) -> bool:
        """Whether a node is in the plan only because something that a run must decide is taken to be so: its `when`,
        the items of a `for_each`, or those of what it lies in."""
        if node not in self.start:
            return False
        around: str | None = node
        while around is not None:
            if around in self.guessed or self._when(around) is None:
                return True
            around = self.plan.nodes[around].parent
        return False

    def _when(self, node: str) -> bool | None:
        """What a node's `when` is; None where only a run can tell."""
        when, plan = self.plan.nodes[node].node.when, self.plan
        if when is True:
            return True
        try:
            return bool(expr.evaluate_value(when, plan.planner.names_of(plan.nodes[node].scope)))
        except (expr.Unknown, expr.ExpressionError):
            return None

    def kept_outputs(self, nodes: Sequence[str]) -> dict[str, ev.NodeServed]:
        """What is kept of those of the nodes that would be served whole: of what holds others, all that is inside."""
        found = {}
        for name in nodes:
            if name in self.served:
                found[name] = self.served[name]
            elif self.plan.nodes[name].holds and name in self.gathered:
                inside = [one for one in self.plan.with_inside(name) if not self.plan.nodes[one].holds]
                if all(one in self.served for one in inside):
                    runs = ", ".join(sorted({self.served[one].of for one in inside}))
                    found[name] = ev.NodeServed(time=0.0, node=name, output=self.gathered[name], of=runs)
        return found

    def _when_served(self, node: str, moments: Mapping[str, float]) -> float | None:
        """When a node starts or finishes. What is served takes no time, and what another run gives is there at once."""
        if self.plan.nodes[node].given:
            return 0.0
        return self.served[node].time if node in self.served else moments.get(node)

    def cached(self, node: str) -> bool | None:
        """Whether the node would be served and not run; None where only a run can tell."""
        if self.plan.nodes[node].given or node in self.served:
            return True
        return None if node in self.unsure else False

    def left_out(self) -> dict[str, str]:
        """The nodes that would not run, and why."""
        nodes = self.plan.nodes
        there = self.start.keys() | self.served.keys()
        out = {name: "" for name, planned in nodes.items() if not (name in there or planned.given)}
        out = {name: "" for name in out if nodes[name].parent not in out}
        for name in out:
            if self._when(name) is False:
                out[name] = "its `when` is false"
            elif self.plan.nodes[name].node.trigger == "any_failed":
                out[name] = "waits for a failure"
            else:
                out[name] = "needs what does not run"
        return out

    def level(self, node: str) -> str:
        """The level of a node when it becomes ready; of one that does not, at the start."""
        return LEVELS[level_at(self.plan.nodes[node].standing.rises, self.ready.get(node, 0.0))]

    def score(self, node: str) -> float:
        """The score of a node at that moment."""
        planned, weight = self.plan.nodes[node], self.plan.weights["deadline"]
        return later(planned.standing.score, planned.node.deadline, weight, self.ready.get(node, 0.0))

    def explanation(self) -> dict[str, Any]:
        """`plan --explain NODE --json`: as `explain` has it, with when the node would start and finish."""
        name = self.explained["node"]
        return {**self.explained, "state": "planned", "start": self.start.get(name), "finish": self.finish.get(name)}

    def document(self) -> dict[str, Any]:
        """`plan --json`, as SEMANTICS 7 has it."""
        nodes = {
            name: {
                "start": self._when_served(name, self.start),
                "finish": self._when_served(name, self.finish),
                "cached": self.cached(name),
                "why": self.whys.get(name),
                "level": self.level(name),
                "score": self.score(name),
                "assumed": self.assumed(name),
                "estimate": None if self.cached(name) else planned.estimate,
                "estimate_from": None if self.cached(name) else planned.source,
                "resources": self.resources(name),
            }
            for name, planned in ((name, self.plan.nodes[name]) for name in self.plan.in_order())
        }
        return {
            "makespan": self.makespan,
            "lower_bound": self.lower_bound,
            "bounds": self.bounds,
            "scarcest": self.scarcest,
            "workflow": self.plan.name,
            "policy": self.plan.policy,
            "improved": self.improved,
            "search": self.search,
            "concurrency": self.plan.concurrency,
            "resources": self.budget,
            "critical_path": list(self.plan.critical_path),
            "nodes": nodes,
        }


def forecast(
    plan: Plan,
    explain: str | None = None,
    plot: Plotter | None = None,
    keep: Callable[[RunState, During], Keeping] | None = None,
    forced: Collection[str] = (),
) -> Forecast:
    """Run the plan in virtual time. It assumes success; a `when` that cannot be known counts as true.

    `plot` finds the order that is followed; without it the policy alone decides. `keep` tells of kept results, of which
    none is served for nodes that are `forced`. Raises UsageError where the node to `explain` is not there.
    """
    start: dict[str, float] = {}
    finish: dict[str, float] = {}
    explained: dict[str, Any] = {}
    guessed: set[str] = set()
    served: dict[str, ev.NodeServed] = {}

    def watch(events: Sequence[ev.Event], state: RunState) -> None:
        for event in events:
            if isinstance(event, ev.NodeStarted):
                start[event.node] = event.time
            elif isinstance(event, ev.AttemptEnded):
                finish[event.node] = event.time
            elif isinstance(event, ev.NodeServed) and event.key:
                served[event.node] = event
            elif isinstance(event, ev.NodeOpened) and event.assumed:
                guessed.add(event.node)
        if explain and not explained and state.nodes[explain].ready_at is not None:
            explained.update(_explained(state, explain))

    if explain:
        from wfctl.explain import find

        find(plan, explain)
    executor = SimulatedExecutor()
    state = RunState(replace(plan, timeout=None))
    state.id = "plan"
    state.nests.patient = True
    state.force(forced)
    during = _Assuming(plan, state)
    keeping = keep(state, during) if keep is not None else None
    engine = Engine(
        state,
        journal=None,
        executor=executor,
        clock=executor,
        during=during,
        keeping=keeping,
        prepare=simulated,
        collect=_unknown,
        watchers=[watch],
        plot=plot,
        answers=lambda: [Answer(node=node, choice="approve") for node in state.asking],
    )
    for name, planned in plan.nodes.items():
        if planned.given:
            engine.record(ev.NodeServed(time=0.0, node=name, output=expr.UNKNOWN))
    engine.set_course("start")
    engine.run()
    if explain and not explained:
        explained.update(_explained(state, explain))
    _complete(state, start, finish)
    if guessed or served:
        plan = plan.planner.measured(plan, served)
    ready = {name: run.ready_at for name, run in state.nodes.items() if run.ready_at is not None}
    return Forecast(
        plan=plan, start=start, finish=finish, ready=ready, explained=explained, improved=state.course is not None,
        guessed=frozenset(guessed), served=served, gathered=_gathered(state),
        whys=keeping.whys if keeping else {}, unsure=frozenset(keeping.unknown if keeping else ()) - served.keys(),
    )  # fmt: skip


def _gathered(state: RunState) -> dict[str, object]:
    holders = ((name, run) for name, run in state.nodes.items() if state.plan.nodes[name].holds)
    return {name: run.output for name, run in holders if run.state is SUCCEEDED and run.output is not expr.UNKNOWN}


def _complete(state: RunState, start: dict[str, float], finish: dict[str, float]) -> None:
    """Add when what holds others and what asks begins, of which there is no start of an attempt; and the ends of those
    that were stopped, for another one was quicker."""
    for name, run in state.nodes.items():
        planned = state.plan.nodes[name]
        if run.started is not None and (planned.holds or planned.node.kind == "ask"):
            start[name] = run.started
        if name in start and name not in finish:
            finish[name] = state.time if run.finished is None else run.finished


def _in_units(resource: str, amount: int) -> float:
    return amount / 1000 if resource == "cpu" else amount


def _explained(state: RunState, node: str) -> dict[str, Any]:
    from wfctl.explain import document

    return document(state.plan, state, node, state.time - state.started, status="planned")


class _Assuming(During):
    """Nothing is known of what an attempt will leave, so what is expected of it is taken to hold."""

    def after(self, node: str, *, output: object, exit_code: int | None, error: str, attempt: int) -> Names:
        names = self.of(node)
        names.update(dict.fromkeys(AFTER_WORK, expr.UNKNOWN))
        return names


def _unknown(job: Job, completion: Completion) -> Leavings:
    return Leavings(output=expr.UNKNOWN)
