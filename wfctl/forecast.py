"""What a run would do: the run itself, on a simulated executor and clock.

Knows no store and no real time: a forecast cannot disagree with a run but by the estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wfctl import events as ev
from wfctl import expr
from wfctl.attempt import simulated
from wfctl.decide import Leavings
from wfctl.engine import Engine
from wfctl.executors.simulated import SimulatedExecutor
from wfctl.jobs import Completion, Job
from wfctl.node import AFTER_WORK, LEVELS
from wfctl.plan import Plan
from wfctl.scope import During, Names, before
from wfctl.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When each node would start and finish, in seconds from the start of the run. Skipped ones are not in it."""

    plan: Plan
    start: Mapping[str, float]
    finish: Mapping[str, float]

    @property
    def makespan(self) -> float:
        """Seconds until the last node of `nodes` has ended."""
        return max((t for n, t in self.finish.items() if self.plan.nodes[n].node.section == "nodes"), default=0.0)

    @property
    def lower_bound(self) -> float:
        return max(self.plan.bounds.values(), default=0.0)

    def usage(self, resource: str) -> tuple[tuple[float, float], ...]:
        """How much of a resource is in use from each moment on."""
        changes: dict[float, int] = {}
        for name, begin in self.start.items():
            amount = dict(self.plan.nodes[name].demand).get(resource, 0)
            if amount:
                changes[begin] = changes.get(begin, 0) + amount
                changes[self.finish[name]] = changes.get(self.finish[name], 0) - amount
        steps: list[tuple[float, float]] = []
        level = 0
        for moment in sorted(changes):
            level += changes[moment]
            steps.append((moment, float(level)))
        return tuple(steps)

    def assumed(self, node: str) -> bool:
        """Whether a node is in the plan only because its `when`, which a run must decide, is taken to be true."""
        when = self.plan.nodes[node].node.when
        if when is True or node not in self.start:
            return False
        plan = self.plan
        try:
            expr.evaluate_value(when, before(plan.params, plan.env, plan.vars, plan.run))
        except (expr.Unknown, expr.ExpressionError):
            return True
        return False

    def document(self) -> dict[str, Any]:
        """`plan --json`, as SEMANTICS 7 has it."""
        nodes = {
            name: {
                "start": self.start.get(name),
                "finish": self.finish.get(name),
                "cached": False,
                "level": LEVELS[planned.level],
                "score": None,
                "assumed": self.assumed(name),
            }
            for name, planned in self.plan.nodes.items()
            if not planned.given
        }
        return {
            "makespan": self.makespan,
            "lower_bound": self.lower_bound,
            "critical_path": list(self.plan.critical_path),
            "nodes": nodes,
        }


def forecast(plan: Plan) -> Forecast:
    """Run the plan in virtual time. It assumes success; a `when` that cannot be known counts as true."""
    start: dict[str, float] = {}
    finish: dict[str, float] = {}

    def watch(events: Sequence[ev.Event], state: RunState) -> None:
        for event in events:
            if isinstance(event, ev.NodeStarted):
                start[event.node] = event.time
            elif isinstance(event, ev.AttemptEnded):
                finish[event.node] = event.time

    executor = SimulatedExecutor()
    state = RunState(replace(plan, timeout=None))
    state.id = "plan"
    engine = Engine(
        state,
        journal=None,
        executor=executor,
        clock=executor,
        during=_Assuming(plan, state),
        prepare=simulated,
        collect=_unknown,
        watchers=[watch],
    )
    for name, planned in plan.nodes.items():
        if planned.given:
            engine.record(ev.NodeServed(time=0.0, node=name, output=expr.UNKNOWN))
    engine.run()
    return Forecast(plan=plan, start=start, finish=finish)


class _Assuming(During):
    """Nothing is known of what an attempt will leave, so what is expected of it is taken to hold."""

    def after(self, node: str, *, output: object, exit_code: int | None, error: str, attempt: int) -> Names:
        names = self.of(node)
        names.update(dict.fromkeys(AFTER_WORK, expr.UNKNOWN))
        return names


def _unknown(job: Job, completion: Completion) -> Leavings:
    return Leavings(output=expr.UNKNOWN)
