"""The names that an expression sees, before and during a run.

Knows nothing of how expressions are evaluated, and never asks for a value before it is used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from wfctl import expr
from wfctl.errors import Where
from wfctl.node import AT_END
from wfctl.noderun import FINAL

if TYPE_CHECKING:
    from wfctl.items import Item
    from wfctl.node import Inner, Node
    from wfctl.noderun import NodeRun
    from wfctl.plan import Plan, Planned
    from wfctl.spec import Workflow
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
    run = {**dict.fromkeys(AT_END, expr.UNKNOWN), **run}
    names: Names = {"params": params, "env": env, "run": run, "nodes": expr.UNKNOWN, "secrets": expr.UNKNOWN}
    names["vars"] = Vars(vars, names)
    return names


class Scope:
    """Where a name is sought: among the nodes `inside` of a group, then further out.

    `prefix` makes an id of such a name. `item` is that of a `for_each`, for all that lies inside. A sub-workflow has a
    `sub`, and ends the search: what its nodes see of outside are its params, made of what the `giver` sees.
    """

    __slots__ = ("base", "giver", "inside", "item", "outer", "prefix", "sub")

    def __init__(
        self,
        inside: Collection[str] = (),
        prefix: str = "",
        outer: Scope | None = None,
        item: Item | None = None,
        sub: Inner | None = None,
        giver: Scope | None = None,
        base: str = "",
    ) -> None:
        self.inside = inside
        self.prefix = prefix
        self.outer = outer
        self.item = item
        self.sub = sub
        self.giver = giver
        self.base = base  # the folder of its paths, seen from the root

    def find(self, name: str) -> str | None:
        """The id of the node that a name means here."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.inside:
                return scope.prefix + name
            scope = scope.outer
        return None

    @property
    def file(self) -> Scope:
        """That of the whole file which it is in."""
        scope = self
        while scope.outer is not None:
            scope = scope.outer
        return scope

    @property
    def bound(self) -> Item | None:
        """The item that is seen from here."""
        scope: Scope | None = self
        while scope is not None and scope.item is None:
            scope = scope.outer
        return None if scope is None else scope.item


def seen(scope: Scope, root: Names, nodes: Callable[[Scope], object], environ: Mapping[str, str]) -> Names:
    """What the expressions of a node see. `root` is that of the file itself, `nodes` gives what `nodes` means."""
    names = dict(grounds(scope.file, root, nodes, environ))
    names["nodes"] = nodes(scope)
    item = scope.bound
    if item is not None:
        names.update(item.names())
    return names


def grounds(file: Scope, root: Names, nodes: Callable[[Scope], object], environ: Mapping[str, str]) -> Names:
    """The names of a whole file: those of a sub-workflow are made of what it is given."""
    if file.sub is None or file.sub.workflow is None or file.giver is None:
        return root
    giver = file.giver
    names: Names = {"run": root["run"], "nodes": nodes(file), "secrets": root.get("secrets")}
    given = Given(file.sub, lambda: seen(giver, root, nodes, environ), names)
    names["params"] = given
    names["env"] = Env(file.sub.workflow, names, environ)
    names["vars"] = Vars(file.sub.workflow.vars, names)
    return names


Check = Callable[[Mapping[str, object], object], Sequence[tuple[Where, str]]]
"""What is wrong with a value by a JSON Schema: where in it, and what."""


def wrong_params(inside: Scope, names: Names, check: Check) -> Iterator[tuple[str, str, str]]:
    """What is wrong with what a sub-workflow is given, as far as it is known: the param, where in it, and what."""
    assert inside.sub is not None
    assert inside.sub.workflow is not None
    params = names["params"]
    assert isinstance(params, Given)
    for name, schema in inside.sub.workflow.params.items():
        try:
            value = params[name]
        except expr.Unknown:
            continue
        except KeyError:
            continue  # it has no default and is not given, which was told when the file was read
        except expr.ExpressionError as error:
            yield name, "", str(error)
            continue
        for where, text in check({key: part for key, part in schema.items() if key != "default"}, value):
            yield name, "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where), text


class Given(_Lazy):
    """`params` in a sub-workflow: as its node gives them, else by default."""

    def __init__(self, sub: Inner, outside: Callable[[], Names], names: Names) -> None:
        self._sub, self._outside, self._names = sub, outside, names

    def __getitem__(self, name: str) -> object:
        assert self._sub.workflow is not None
        schema = self._sub.workflow.params[name]
        if name in self._sub.params:
            return whole(expr.evaluate_value(self._sub.params[name], self._outside()), schema)
        return whole(expr.evaluate_value(schema["default"], self._names), schema)


def whole(value: object, schema: Mapping[str, object]) -> object:
    """The value, but an integer that was written as `5.0` or `1e3` as one: a JSON Schema takes that for the same."""
    kinds = schema.get("type")
    wanted = kinds if isinstance(kinds, list) else [kinds]
    if isinstance(value, float) and value.is_integer() and "integer" in wanted and "number" not in wanted:
        return int(value)
    return value


class Env(_Lazy):
    """`env` in a sub-workflow."""

    def __init__(self, workflow: Workflow, names: Names, environ: Mapping[str, str]) -> None:
        self._workflow, self._names, self._environ = workflow, names, environ

    def __getitem__(self, name: str) -> object:
        raw = self._workflow.env[name]
        if isinstance(raw, dict):
            if name in self._environ:
                return self._environ[name]
            if "default" not in raw:
                raise expr.ExpressionError(f'the environment has no "{name}"')
            raw = raw["default"]
        return expr.as_text(expr.evaluate_value(raw, self._names))

    def all(self) -> dict[str, str]:
        """Every one of them."""
        return {name: str(self[name]) for name in self._workflow.env}


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
            "nodes": _Nodes(self, plan.scope),
        }
        self._root = plan.scope
        self._kept: dict[tuple[str, str], object] = {}  # what is made of many items, and large outputs
        self._shared["vars"] = Vars(plan.vars, self._shared)

    def shared(self) -> Names:
        """What every expression of the file itself sees."""
        return self._shared

    def of(self, node: str) -> Names:
        """What the expressions of one node see: its own `reads` and `writes` too."""
        return _Own(self, node)

    def inside(self, group: str) -> Names:
        """What the `outputs` of a group see."""
        planned = self._plan.nodes[group]
        assert planned.inside is not None
        return self._seen(planned.inside)

    def given(self, group: str, check: Check) -> str:
        """What is wrong with the params that a sub-workflow is given; empty where nothing is, or it is not known."""
        planned = self._plan.nodes[group]
        assert planned.inside is not None
        return "; ".join(f"params.{name}{inner}: {text}" for name, inner, text in wrong_params(
            planned.inside, self.inside(group), check
        ))  # fmt: skip

    def seen_by(self, node: str) -> Names:
        """What the expressions of one node see, but its own paths."""
        planned = self._plan.nodes.get(node)
        if planned is None or planned.scope is self._root:
            return self._shared
        return self._seen(planned.scope)

    def _seen(self, scope: Scope) -> Names:
        return seen(scope, self._shared, lambda of: _Nodes(self, of), self._plan.environ)

    def env(self, node: str) -> Mapping[str, str]:
        """The `env` of the file that a node is in, where that is another than that of the run."""
        file = self._plan.nodes[node].scope.file
        if file.sub is None:
            return {}
        env = grounds(file, self._shared, lambda of: _Nodes(self, of), self._plan.environ)["env"]
        assert isinstance(env, Env)
        return env.all()

    def vars(self, node: str) -> Mapping[str, object]:
        """The `vars` of the file that a node is in, as they were written."""
        sub = self._plan.nodes[node].scope.file.sub
        return self._plan.vars if sub is None or sub.workflow is None else sub.workflow.vars

    def after(self, node: str, *, output: object, exit_code: int | None, error: str, attempt: int) -> Names:
        """What `expect` and `retry.when` see."""
        names = self.of(node)
        names.update(output=output, exit_code=exit_code, error=error, attempt=attempt)
        return names

    def output(self, node: str) -> object:
        """The output of a node; None where it has none."""
        run = self._state.nodes.get(node)
        if run is None:
            return None
        if not run.stored:
            return self._fetch(run.output, False)
        return self._once(node, "output", lambda: self._fetch(run.output, True))

    def items(self, node: str) -> object:
        """What became of each item of a `for_each`, in order."""
        run = self._state.nodes.get(node)
        planned = self._plan.nodes.get(node)
        if run is None or planned is None or planned.node.each is None:
            return None
        if planned.given:
            raise expr.ExpressionError(f"the items of {node} are not known: its output was taken from another run")
        if run.state not in FINAL:
            return self._items(planned)
        return self._once(node, "items", lambda: self._items(planned))

    def _items(self, planned: Planned) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for child in planned.children:
            run, item = self._state.nodes[child], self._plan.nodes[child].scope.item
            assert item is not None
            found.append(
                {
                    "key": item.key,
                    "item": item.value,
                    "state": str(run.state),
                    "output": self.output(child),
                    "error": run.error or None,
                    "attempts": run.attempt,
                }
            )
        return found

    def _once(self, node: str, what: str, make: Callable[[], object]) -> object:
        """Made when it is first asked for: 10,000 items that all name it would read or make it 10,000 times.

        Only the last few are kept: they may be large."""
        run = self._state.nodes[node]
        key = (node, f"{what} {run.finished}")
        if key not in self._kept:
            while len(self._kept) >= 4:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = make()
        return self._kept[key]

    def paths(self, node: str, key: str) -> object:
        """The value of `reads` or `writes` of a node: as recorded, else evaluated."""
        run = self._state.nodes.get(node)
        if key == "writes" and run is not None and run.writes is not None:
            return run.writes
        planned = self._plan.nodes.get(node)
        if planned is None:
            return None
        value = expr.evaluate_value(getattr(planned.node, key), self.seen_by(node))
        return list(value) if isinstance(value, tuple) else value

    def node(self, node: str) -> NodeRun | None:
        return self._state.nodes.get(node)

    def spec(self, node: str) -> Node:
        """The node as it was written, its deferred keys read."""
        return self._plan.nodes[node].node


class Before(During):
    """Names before a run: what nodes will leave is not known."""

    def output(self, node: str) -> object:
        return expr.UNKNOWN

    def items(self, node: str) -> object:
        return expr.UNKNOWN


class _Own(Names):
    """What one node sees: `reads` and `writes` are its own paths, made when they are asked for."""

    def __init__(self, during: During, node: str) -> None:
        super().__init__(during.seen_by(node))
        self._during, self._node = during, node

    def __missing__(self, name: str) -> object:
        if name in ("reads", "writes"):
            return self._during.paths(self._node, name)
        raise KeyError(name)


class _Nodes(_Lazy):
    def __init__(self, during: During, scope: Scope) -> None:
        self._during, self._scope = during, scope

    def __getitem__(self, name: str) -> object:
        # What was left out of the run has no output.
        return _Node(self._during, self._scope.find(name) or name)


class _Node(_Lazy):
    """`nodes.X`: what others may know of a node. One that is not in this run has no output."""

    def __init__(self, during: During, id: str) -> None:
        self._during, self._id = during, id

    def __getitem__(self, key: str) -> object:
        if key == "output":
            return self._during.output(self._id)
        if key == "state":
            run = self._during.node(self._id)
            return None if run is None else str(run.state)
        if key == "items":
            return self._during.items(self._id)
        if key == "writes":
            return self._during.paths(self._id, "writes")
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
            return None if self._state.undoing is None else self._state.undoing.told()
        raise KeyError(key)
