"""The workflow as it was written: frozen, with its expressions parsed and its meaning checked.

Knows nothing of YAML, of parameters' values, of the machine or of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from types import NoneType
from typing import Any

from wfctl import expr, graph, quantity
from wfctl.errors import Problem, UsageError, Where, dotted
from wfctl.jobs import Kind
from wfctl.node import Node, NodeReader, Value, one_of
from wfctl.record import dataclass
from wfctl.values import within

KINDS = ("run", "call", "http", "sql", "files", "notify", "ask", "workflow", "nodes")
NODE_KEYS = frozenset(
    "description needs when trigger env secrets cwd with shell args stdin stdout params outputs expect timeout retry"
    " continue_on_error priority deadline business_value user_level group estimate resources limit reads writes"
    " idempotency checkpoint compensate compensate_when pivot for_each key max_parallel collect detach".split()
)
"""What a node may say beside its kind."""
SCHEDULING = ("policy", "weights", "aging", "groups")

RUN_NAMES: Mapping[str, None] = dict.fromkeys(("id", "started"))
RUN_NAMES_AT_END: Mapping[str, None] = dict.fromkeys(("id", "started", "state", "failed", "failed_nodes", "rollback"))

# What FORMAT has and this version has not: refused at load, never at run. The values are those
# that ask for nothing and so are harmless.
_LATER_IN_FILE: Mapping[str, tuple[object, ...]] = {"rollback": ()}
_LATER_IN_NODE: Mapping[str, tuple[object, ...]] = {
    "idempotency": (False,),
    "checkpoint": (False,),
    "compensate": (),
    "compensate_when": (),
    "pivot": (False,),
    "for_each": (),
    "key": (),
    "max_parallel": (),
    "collect": (),
}
SUPPLY: Mapping[str, Callable[[str, object], object]] = {
    "amount": quantity.amount,
    "reserve": quantity.amount,
    "rate": lambda _, raw: quantity.rate(raw),
    "share": lambda _, raw: one_of("run", "machine")(raw),
}
"""The parts of a budget, each with its reader: of the resource's name and the value."""

BESIDE: Mapping[str, str] = {
    "shell": "run",
    "args": "run",
    "stdin": "run",
    "stdout": "run",
    "with": "call",
    "params": "workflow",
    "outputs": "nodes",
}
"""Keys of a node that belong to one kind alone."""

_LATER_NAMES = ("item", "index", "key")

MANY = 100
"""Problems of one file after which no more names are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """One file. The values of its own keys may still hold expressions over params, env, run and vars."""

    name: str
    description: str = ""
    params: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    env: Mapping[str, Value] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    vars: Mapping[str, Value] = field(default_factory=dict)
    root: Value = "."
    concurrency: Value = None
    resources: Mapping[str, Value] = field(default_factory=dict)
    lock: Mapping[str, Value] = field(default_factory=dict)
    policy: Value = "priority"
    weights: Value = None
    aging: Value = None
    groups: Value = None
    on_failure: Value = "stop"
    timeout: Value = None
    grace: Value = None
    log_limit: Value = None
    outputs: Mapping[str, Value] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """Nodes of both sections; those of `finally` come last."""

    def nodes_of(self, value: Value) -> set[str]:
        """The nodes that `value` names, also through vars."""
        found: set[str] = set()
        for reference in expr.references_of(value):
            if len(reference.path) > 1 and reference.path[0] == "nodes":
                found.add(reference.path[1])
            elif len(reference.path) > 1 and reference.path[0] == "vars":
                found |= self.nodes_of(self.vars.get(reference.path[1]))
        return found


def build(data: Mapping[str, Any], stem: str, kinds: Callable[[str], Kind | None]) -> tuple[Workflow, list[Problem]]:
    """The workflow in `data`, and all that is wrong with its meaning.

    `stem` names it where it has no `name`; `kinds` gives the kind of a name, None where it is not
    available. Data of a wrong shape are passed over here: the schema has told of them. With
    problems the workflow is good for finding more of them, not for running.
    """
    return Builder(data, kinds).build(stem)


class Builder:
    """Reads one document. Collects problems as it goes; never raises for what a user wrote."""

    def __init__(self, data: Mapping[str, Any], kinds: Callable[[str], Kind | None]) -> None:
        self.data = data
        self.kinds = kinds
        self.problems: list[Problem] = []
        self.sections = {
            name: raw if isinstance(raw := data.get(name), dict) else {} for name in ("nodes", "finally")
        }
        self.default_env = frozenset(self.mapping(self.mapping(data, "defaults"), "env"))
        self.vars: dict[str, Value] = {}
        self.needs_of_var: dict[str, set[str]] = {}
        self.secrets: tuple[str, ...] = ()
        self.secrets_of_var: dict[str, set[str]] = {}
        self.known: dict[str, Any] = {}

    def build(self, stem: str) -> tuple[Workflow, list[Problem]]:
        data = self.data
        self.refuse_later(data, (), _LATER_IN_FILE)
        self.refuse_later(self.mapping(data, "defaults"), ("defaults",), _LATER_IN_NODE)
        listed = data.get("secrets")
        self.secrets = tuple(dict.fromkeys(n for n in listed if isinstance(n, str))) if isinstance(listed, list) else ()
        self.vars = {k: self.compile(v, ("vars", k)) for k, v in self.mapping(data, "vars").items()}
        self.learn_names()
        self.check_vars()
        nodes: dict[str, Node] = {}
        for section, raws in self.sections.items():
            for name, raw in raws.items():
                if section == "finally" and name in self.sections["nodes"]:
                    what = f'the id "{name}" stands in nodes as well'
                    self.fault((section, name), what, "give one of them another id", key=True)
                elif isinstance(raw, dict) and isinstance(name, str):
                    node = self.node(name, raw, section)
                    if node is not None:
                        nodes[name] = node
        self.check_needs(nodes)
        workflow = Workflow(
            name=name if isinstance(name := data.get("name"), str) else stem,
            description=text if isinstance(text := data.get("description"), str) else "",
            params=self.params(),
            env=self.env(),
            secrets=self.secrets,
            vars=self.vars,
            root=self.setting("root", "."),
            concurrency=self.setting("concurrency", None),
            resources=self.budgets(),
            lock=self.lock(),
            **{key: value for key in SCHEDULING if (value := self.scheduling(key)) is not None},
            on_failure=self.setting("on_failure", "stop"),
            timeout=self.setting("timeout", None, quantity.seconds),
            grace=self.setting("grace", None, quantity.seconds),
            log_limit=self.setting("log_limit", None, quantity.size),
            outputs=self.outputs(),
            nodes=nodes,
        )
        # What is wrong in the defaults was met in every node.
        return workflow, list(dict.fromkeys(self.problems))

    # -- the file's own keys

    def learn_names(self) -> None:
        """What expressions may name, as `expr` wants it: shared by all, so that 10,000 nodes cost one table."""
        data = self.data
        nodes = {
            name: {"output": None, "state": None, "items": None, "writes": self.path_names(raw, "writes")}
            for raws in self.sections.values()
            for name, raw in raws.items()
        }
        self.at_start: dict[str, Any] = {
            "params": dict.fromkeys(self.mapping(data, "params")),
            "env": dict.fromkeys(self.mapping(data, "env")),
            "vars": dict.fromkeys(self.vars),
            "run": RUN_NAMES,
        }
        self.known = {**self.at_start, "nodes": nodes}
        self.declared = dict.fromkeys(self.secrets)

    def params(self) -> dict[str, Mapping[str, Value]]:
        params: dict[str, Mapping[str, Value]] = {}
        for name, schema in self.mapping(self.data, "params").items():
            where = ("params", name)
            if not isinstance(schema, dict):
                continue
            if "default" in schema:
                default = self.compile(schema["default"], (*where, "default"))
                earlier = {**self.at_start, "params": dict.fromkeys(params)}
                del earlier["vars"]
                self.check_names(default, (*where, "default"), earlier)
                schema = {**schema, "default": default}
            params[name] = schema
        return params

    def env(self) -> dict[str, Value]:
        known = {k: self.at_start[k] for k in ("params", "run")}
        env: dict[str, Value] = {}
        for name, raw in self.mapping(self.data, "env").items():
            if name in self.secrets:
                self.fault(("env", name), f'"{name}" is a secret, and env is recorded', "take it out of env", key=True)
            env[name] = self.compile(raw, ("env", name))
            self.check_names(env[name], ("env", name), known)
        return env

    def setting(self, key: str, default: object, read: Callable[[object], object] | None = None) -> Value:
        """A key of the file that may be an expression; `read` converts it when it is none."""
        raw = self.data.get(key)
        if raw is None:
            return default
        value = self.compile(raw, (key,))
        self.check_names(value, (key,), self.at_start)
        if read is None or value is not raw:
            return value
        return self.attempt(lambda: read(raw), (key,), default)

    def budgets(self) -> dict[str, Value]:
        budgets: dict[str, Value] = {}
        for name, raw in self.mapping(self.data, "resources").items():
            where: Where = ("resources", name)
            if isinstance(raw, dict):
                budgets[name] = {k: self.supply(name, k, v, (*where, k)) for k, v in raw.items() if k in SUPPLY}
            else:
                budgets[name] = self.supply(name, "amount", raw, where)
        return budgets

    def lock(self) -> dict[str, Value]:
        raw = {k: v for k, v in self.mapping(self.data, "lock").items() if k in ("name", "on_busy")}
        value = {k: self.compile(v, ("lock", k)) for k, v in raw.items()}
        for key, part in value.items():
            self.check_names(part, ("lock", key), self.at_start)
        return value

    def supply(self, name: str, key: str, raw: object, where: Where) -> Value:
        """One part of a budget: read where it is plain, else an expression. None where it is wrong."""
        value = self.compile(raw, where)
        self.check_names(value, where, self.at_start)
        return self.attempt(lambda: SUPPLY[key](name, raw), where, None) if value is raw else value

    def scheduling(self, key: str) -> Value:
        where = ("scheduling", key)
        value = self.compile(self.mapping(self.data, "scheduling").get(key), where)
        self.check_names(value, where, self.at_start)
        return value

    def outputs(self) -> dict[str, Value]:
        outputs: dict[str, Value] = {}
        for name, raw in self.mapping(self.data, "outputs").items():
            value = outputs[name] = self.compile(raw, ("outputs", name))
            self.check_names(value, ("outputs", name), self.known)
            for node in sorted(self.nodes_named(value)):
                if node in self.sections["finally"] and node not in self.sections["nodes"]:
                    self.fault(("outputs", name), f'"{node}" is a finally node and has no output for others')
        return outputs

    def check_vars(self) -> None:
        """Names in vars; the nodes and secrets that each leans on, also through other vars; no var in a circle."""
        uses: dict[str, list[str]] = {}
        for name, value in self.vars.items():
            others = {r.path[1] for r in expr.references_of(value) if r.path[0] == "vars" and len(r.path) > 1}
            uses[name] = [other for other in self.vars if other in others] if others else []
        for loop in graph.cycles(uses):
            self.fault(("vars", loop[0]), cycle_text([f"vars.{n}" for n in loop]), key=True, path="")
        self.needs_of_var = {}
        for name in graph.order(uses):
            direct = {
                r.path[1] for r in expr.references_of(self.vars[name]) if r.path[0] == "nodes" and len(r.path) > 1
            }
            self.needs_of_var[name] = direct.union(*(self.needs_of_var[other] for other in uses[name]))
            if self.secrets:
                self.secrets_of_var[name] = self.secrets_of(expr.references_of(self.vars[name]))
        for name, value in self.vars.items():
            for place, template in expr.templates_of(value, ("vars", name)):
                self.check_template(template, place, self.known, secrets=True)

    # -- nodes

    def node(self, name: str, raw: dict[str, Any], section: str) -> Node | None:
        where: Where = (section, name)
        own_keys = raw.keys()
        self.refuse_later(raw, where, _LATER_IN_NODE)
        own_env = self.mapping(raw, "env")
        raw = self.with_defaults(raw)
        found = [kind for kind in KINDS if kind in raw]
        if not found:  # then maybe one that is installed
            found = [key for key in raw if key not in NODE_KEYS and not key.startswith("x-")]
        if len(found) != 1:
            return None  # the schema has told of none, or of two
        try:
            kind = self.kinds(found[0])
        except UsageError as error:
            self.fault((*where, found[0]), str(error), key=True, path="")
            return None
        if kind is None:
            if found[0] in KINDS:
                self.fault((*where, found[0]), f'the kind "{found[0]}" is not available yet', "use run", key=True)
            elif self.hints:  # who checked the shape has told of it already
                what = f'no kind "{found[0]}" is installed'
                self.fault((*where, found[0]), what, "install its package, or correct the name", key=True)
            return None
        own = {**self.known, "run": RUN_NAMES_AT_END} if section == "finally" else self.known
        reader = NodeReader(self, where, raw, own, own_keys)
        fields = reader.fields()
        self.refuse_strange(raw, own_keys, where, found[0], kind.keys)
        faults = len(self.problems)
        body, problems = kind.parse(raw, where, fields.get("shell"))
        self.problems += problems
        for place, template in kind.expressions(body, where):
            reader.check_body(template, place, kind.secrets)
        for key in ("reads", "writes") if len(self.problems) == faults else ():  # else the faults would be told twice
            if more := kind.paths(body, key):
                fields[key] = joined(fields.get(key), more)
        fields["dynamic"] = reader.dynamic
        if self.secrets:
            fields["receives"] = reader.receives
        if self.default_env:
            fields["default_env"] = self.default_env.difference(own_env)
        listed = raw.get("needs")
        declared = [n for n in listed if isinstance(n, str)] if isinstance(listed, list) else []
        inside = self.sections[section]
        named = sorted(n for n in reader.named if n in inside and n != name)
        for other in sorted(n for n in reader.named if n not in inside) if section == "nodes" else ():
            self.fault(where, f'names "{other}", which is a finally node and runs after it', key=True)
        if name in reader.named or name in declared:
            self.fault(where, f"cycle: {name} -> {name}", "a node cannot need itself", key=True, path="")
        if not declared and not named and str(raw.get("trigger")).startswith("any_"):
            self.fault(reader.at("trigger"), f"{raw['trigger']} needs something that can succeed or fail", "add needs")
        needs = tuple(dict.fromkeys([n for n in declared if n in inside and n != name] + named))
        return Node(id=name, kind=found[0], body=body, section=section, needs=needs, **fields)

    def with_defaults(self, raw: dict[str, Any]) -> dict[str, Any]:
        defaults = self.data.get("defaults")
        return merged(defaults, raw) if isinstance(defaults, dict) else raw

    def check_needs(self, nodes: dict[str, Node]) -> None:
        """Every need exists and lies in the same section; nothing needs itself by a detour."""
        known = {name for raws in self.sections.values() for name in raws}
        for section, raws in self.sections.items():
            for name, raw in raws.items():
                declared = self.with_defaults(raw).get("needs") if isinstance(raw, dict) else None
                holder: Where = (section, name) if isinstance(raw, dict) and "needs" in raw else ("defaults",)
                path = dotted((*holder, "needs"))
                for i, need in enumerate(declared if isinstance(declared, list) else ()):
                    where = (*holder, "needs", i)
                    if not isinstance(need, str):
                        continue  # the schema has told of it
                    if need not in known:
                        near = (expr.closest(need, known) if self.hints else "") or "declare it, or take it out"
                        self.fault(where, f'no node named "{need}"', near, path=path)
                    elif section == "finally" and need in self.sections["nodes"]:
                        self.fault(where, f'"{need}" has always ended when finally begins', "take it out", path=path)
                    elif section == "nodes" and need not in raws:
                        what = f'"{need}" is a finally node; it runs after all others'
                        self.fault(where, what, "take it out", path=path)
        edges = {name: [n for n in node.needs if n in nodes] for name, node in nodes.items()}
        for loop in graph.cycles(edges):
            where = (nodes[loop[0]].section, loop[0])
            self.fault(where, cycle_text(loop), "take out one of these needs", key=True, path="")

    # -- tools

    def fault(self, where: Where, message: str, hint: str = "", *, key: bool = False, path: str | None = None) -> None:
        self.problems.append(Problem(where, message, hint, key=key, path=path))

    @property
    def hints(self) -> bool:
        """Whether wrong names still get a hint: it costs a look at all names, and the reader has seen the pattern."""
        return len(self.problems) < MANY

    def attempt(self, read: Callable[[], Any], where: Where, default: Any) -> Any:
        try:
            return read()
        except ValueError as error:
            self.fault(where, str(error))
        return default

    def mapping(self, data: Mapping[str, Any], key: str) -> dict[str, Any]:
        raw = data.get(key)
        return raw if isinstance(raw, dict) else {}

    def path_names(self, raw: object, key: str) -> Mapping[str, None] | None:
        """The names under `reads` or `writes`, None where anything may follow."""
        value = raw.get(key) if isinstance(raw, dict) else None
        return dict.fromkeys(value) if isinstance(value, dict) else None

    def refuse_strange(
        self, raw: Mapping[str, Any], own: Iterable[str], where: Where, kind: str, keys: Iterable[str]
    ) -> None:
        """A key that belongs to another kind would do nothing here. In the defaults it is meant for others."""
        for key in sorted({key for key in own if raw.get(key) is not None} & BESIDE.keys() - set(keys)):
            self.fault((*where, key), f'"{key}" goes with {BESIDE[key]}, not with {kind}', "take it out", key=True)

    def refuse_later(self, raw: Mapping[str, Any], where: Where, later: Mapping[str, tuple[object, ...]]) -> None:
        for key in raw.keys() & later.keys():
            value = raw[key]
            if value is not None and not any(value is harmless or value == harmless for harmless in later[key]):
                self.fault((*where, key), f'"{key}" is not available yet', "take it out", key=True)

    def compile(self, value: object, where: Where) -> Value:
        """`value` with its texts parsed; the same object where there is no expression in it."""
        if isinstance(value, str):
            if "${{" not in value:
                return value
            try:
                return expr.parse(value)
            except expr.ExpressionSyntax as error:
                self.problems += [Problem(where, s.message, s.hint, offset=s.offset) for s in error.slips]
                return None
        if isinstance(value, dict):
            pairs = {k: self.compile(v, (*where, k)) for k, v in value.items()}
            return value if all(pairs[k] is value[k] for k in pairs) else pairs
        if isinstance(value, list):
            parts = [self.compile(v, (*where, i)) for i, v in enumerate(value)]
            return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
        return value

    def check_names(self, value: Value, where: Where, known: Mapping[str, Any]) -> None:
        for place, template in expr.templates_of(value, where):
            self.check_template(template, place, known)

    def check_template(self, template: Any, where: Where, known: Mapping[str, Any], *, secrets: bool = False) -> None:
        """Every name in it is known; no secret is in it but where the place may hold `secrets`."""
        for reference in template.references:
            name = reference.path[0]
            if name in _LATER_NAMES and name not in known:
                what = f'"{name}" is not available yet'
                self.problems.append(Problem(where, what, "take it out", offset=reference.offset))
                known = {**known, name: None}
            elif name == "secrets":
                known = {**known, name: self.declared}
        slips = template.problems(known, self.hints)
        self.problems += [Problem(where, s.message, s.hint, offset=s.offset) for s in slips]
        if self.secrets and not slips and self.secrets_of(template.references):
            for expression in getattr(template, "expressions", (template,)):  # a script has them one by one
                self.check_secret(expression, where, secrets)

    def check_secret(self, expression: expr.Expression, where: Where, allowed: bool) -> None:
        """A secret is filled in at the last moment, so nothing can be computed from one, and only `env` can take it."""
        names = sorted(self.secrets_of(expression.references))
        if not names:
            return
        if not allowed:
            what = f'the secret "{names[0]}" cannot stand here, where it would be recorded or seen'
            hint = f'list it under the secrets of a node, and use "${names[0]}" there'
        elif not expression.path:
            what = f'nothing can be computed from the secret "{names[0]}"'
            hint = f"write ${{{{ secrets.{names[0]} }}}} and no more, or let the process do that"
        elif expression.path[0] == "vars" and isinstance(
            within(self.vars, expression.path[1:]), (dict, list, NoneType)
        ):
            what, hint = f"{'.'.join(expression.path)} holds a secret and is no text", "name a text in it"
        else:
            return
        self.problems.append(Problem(where, what, hint, offset=expression.offset))

    def secrets_of(self, references: Iterable[expr.Reference]) -> set[str]:
        """The secrets that an expression leads to, also through vars."""
        found: set[str] = set()
        for reference in references if self.secrets else ():
            if len(reference.path) > 1:
                if reference.path[0] == "secrets":
                    found.add(reference.path[1])
                elif reference.path[0] == "vars":
                    found |= self.secrets_of_var.get(reference.path[1], set())
        return found

    def nodes_named(self, value: Value) -> set[str]:
        """The nodes whose outputs decide `value`, also through vars."""
        return self.nodes_of(expr.references_of(value))

    def nodes_of(self, references: Iterable[expr.Reference]) -> set[str]:
        found: set[str] = set()
        for reference in references:
            if len(reference.path) > 1:
                if reference.path[0] == "nodes":
                    found.add(reference.path[1])
                elif reference.path[0] == "vars":
                    found |= self.needs_of_var.get(reference.path[1], set())
        return {name for name in found if any(name in raws for raws in self.sections.values())}


def joined(paths: Value, more: tuple[Value, ...]) -> Value:
    """The paths of a node and those that its kind adds; they have no names of their own."""
    if isinstance(paths, Mapping):
        return {**paths, **{f"({i})": path for i, path in enumerate(more)}}
    return [*(paths if isinstance(paths, (list, tuple)) else [] if paths is None else [paths]), *more]


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`, mappings in mappings too; a `null` in `over` unsets what is under it."""
    result = dict(under)
    for key, value in over.items():
        if value is None and key in under:
            del result[key]
        elif isinstance(value, dict) and isinstance(under.get(key), dict):
            result[key] = merged(under[key], value)
        else:
            result[key] = value
    return {key: value for key, value in result.items() if value is not None or key in over}


def cycle_text(loop: list[str]) -> str:
    """`cycle: a -> b -> a`, shortened in the middle where it is long."""
    shown = loop if len(loop) <= 13 else [*loop[:6], f"({len(loop) - 12} more)", *loop[-6:]]
    return f"cycle: {' -> '.join(shown)}"
