"""The names that an expression sees, before and during a run.

Knows nothing of how expressions are evaluated, and never asks for a value before it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from wfctl import expr

if TYPE_CHECKING:
    from wfctl.node import Node
    from wfctl.noderun import NodeRun
    from wfctl.plan import Plan
    from wfctl.state import RunState

Names = dict[str, object]


class _Lazy(Mapping[str, object]):
    """A mapping whose values are made when they are asked for. Its length is of no interest."""

    def __iter__(self) -> Iterator[str]:
        raise expr.ExpressionError("this cannot be listed; name what you need")

    def __len__(self) -> int:
        raise expr.ExpressionError("this has no length; name what you need")


class Vars(_Lazy):
    """`vars`: each evaluated with the names that its user sees."""

    def __init__(self, vars: Mapping[str, object], names: Names) -> None:
        self._vars = vars
        self._names = names

    def __getitem__(self, name: str) -> object:
        return expr.evaluate_value(self._vars[name], self._names)


def before(
    params: Mapping[str, object], env: Mapping[str, str], vars: Mapping[str, object], run: Mapping[str, object]
) -> Names:
    """What is known when a plan is made: all about nodes is unknown."""
    names: Names = {"params": params, "env": env, "run": run, "nodes": expr.UNKNOWN, "secrets": expr.UNKNOWN}
    names["vars"] = Vars(vars, names)
    return names


class During:
    """Names during a run, read from its plan and its state as they are at that moment.

    `fetch` gives the value behind what the state holds of an output, told whether it is stored: an
    output too large for the journal lies in a file.
    """

    def __init__(
        self, plan: Plan, state: RunState, fetch: Callable[[object, bool], object] = lambda value, stored: value
    ) -> None:
        self._plan = plan
        self._state = state
        self._fetch = fetch
        self._shared: Names = {
            "params": plan.params,
            "env": plan.env,
            "run": _Run(plan, state),
            "nodes": _Nodes(self),
        }
        self._shared["vars"] = Vars(plan.vars, self._shared)

    def shared(self) -> Names:
        """What every expression of the run sees."""
        return self._shared

    def of(self, node: str) -> Names:
        """What the expressions of one node see: its own `reads` and `writes` too."""
        return _Own(self, node)

    def after(self, node: str, *, output: object, exit_code: int | None, error: str, attempt: int) -> Names:
        """What `expect` and `retry.when` see."""
        names = self.of(node)
        names.update(output=output, exit_code=exit_code, error=error, attempt=attempt)
        return names

    def output(self, node: str) -> object:
        run = self._state.nodes.get(node)
        return None if run is None else self._fetch(run.output, run.stored)

    def paths(self, node: str, key: str) -> object:
        """The value of `reads` or `writes` of a node: as recorded, else evaluated."""
        run = self._state.nodes.get(node)
        if key == "writes" and run is not None and run.writes is not None:
            return run.writes
        planned = self._plan.nodes.get(node)
        if planned is None:
            return None
        value = expr.evaluate_value(getattr(planned.node, key), self._shared)
        return list(value) if isinstance(value, tuple) else value

    def node(self, node: str) -> NodeRun | None:
        return self._state.nodes.get(node)

    def spec(self, node: str) -> Node:
        """The node as it was written, its deferred keys read."""
        return self._plan.nodes[node].node


class _Own(Names):
    """What one node sees: `reads` and `writes` are its own paths, made when they are asked for."""

    def __init__(self, during: During, node: str) -> None:
        super().__init__(during.shared())
        self._during, self._node = during, node

    def __missing__(self, name: str) -> object:
        if name in ("reads", "writes"):
            return self._during.paths(self._node, name)
        raise KeyError(name)


class _Nodes(_Lazy):
    def __init__(self, during: During) -> None:
        self._during = during

    def __getitem__(self, name: str) -> object:
        return _Node(self._during, name)


class _Node(_Lazy):
    """`nodes.X`: what others may know of a node. One that is not in this run has no output."""

    def __init__(self, during: During, name: str) -> None:
        self._during, self._name = during, name

    def __getitem__(self, key: str) -> object:
        if key == "output":
            return self._during.output(self._name)
        if key == "state":
            run = self._during.node(self._name)
            return None if run is None else str(run.state)
        if key == "writes":
            return self._during.paths(self._name, "writes")
        raise KeyError(key)


class _Run(_Lazy):
    """`run`: at its end also how it went."""

    def __init__(self, plan: Plan, state: RunState) -> None:
        self._plan, self._state = plan, state

    def __getitem__(self, key: str) -> object:
        if key == "id":
            return self._plan.run["id"]
        if key == "started":
            return self._plan.run["started"]
        if key == "state":
            return str(self._state.settled or self._state.status)
        if key == "failed":
            return self._state.failing or self._state.settled == "failed"
        if key == "failed_nodes":
            return list(self._state.failed_nodes)
        if key == "rollback":
            return None
        raise KeyError(key)
