"""The workflow as it was written: frozen, with its expressions parsed and its meaning checked.

Knows nothing of YAML, of parameters' values, of the machine or of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field, replace
from typing import Any

from wfctl import expr, graph, quantity
from wfctl.errors import Problem, Where, dotted
from wfctl.jobs import Kind
from wfctl.record import dataclass

KINDS = ("run", "call", "http", "sql", "files", "notify", "ask", "workflow", "nodes")
TRIGGERS = ("all_succeeded", "all_done", "any_succeeded", "any_failed", "none_failed")
LEVELS = ("low", "normal", "high", "critical")
POLICIES = ("fifo", "priority", "critical_path")

RUN_NAMES: Mapping[str, None] = dict.fromkeys(("id", "started"))
RUN_NAMES_AT_END: Mapping[str, None] = dict.fromkeys(("id", "started", "state", "failed", "failed_nodes", "rollback"))
AFTER_WORK: Mapping[str, None] = dict.fromkeys(("output", "exit_code", "error", "attempt"))

# What FORMAT has and this version has not: refused at load, never at run. The values are those
# that ask for nothing and so are harmless.
_LATER_IN_FILE: Mapping[str, tuple[object, ...]] = {"secrets": ([],), "rollback": (), "lock": (), "log_limit": ()}
_LATER_IN_SCHEDULING: Mapping[str, tuple[object, ...]] = {"weights": (), "aging": (), "groups": ()}
_LATER_IN_NODE: Mapping[str, tuple[object, ...]] = {
    "secrets": ([],),
    "deadline": (),
    "business_value": (),
    "user_level": (),
    "group": (),
    "limit": ("soft",),
    "idempotency": (False,),
    "checkpoint": (False,),
    "compensate": (),
    "compensate_when": (),
    "pivot": (False,),
    "for_each": (),
    "key": (),
    "max_parallel": (),
    "collect": (),
    "with": (),
}
_LATER_IN_RESOURCE: Mapping[str, tuple[object, ...]] = {"reserve": (0,), "share": ("run",), "rate": (None,)}
_LATER_NAMES = ("secrets", "item", "index", "key")

MANY = 100
"""Problems of one file after which no more names are looked for."""

Value = object
"""Plain data in which texts with `${{ }}` have become `expr.Template`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed attempt is followed by another. Times in seconds."""

    attempts: int = 1
    delay: float = 1.0
    backoff: float = 2.0
    max_delay: float = 300.0
    jitter: bool = True
    max_time: float | None = None
    when: expr.Template | bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One unit of work. `needs` holds the declared ids and those that its expressions name."""

    id: str
    kind: str
    body: object
    section: str = "nodes"
    description: str = ""
    needs: tuple[str, ...] = ()
    when: expr.Template | bool = True
    trigger: str = "all_succeeded"
    env: Mapping[str, Value] = field(default_factory=dict)
    cwd: Value = None
    shell: str | None = None
    args: Value = ()
    stdin: Value = None
    stdout: str = "none"
    expect: expr.Template | bool | None = None
    timeout: Value = None
    retry: Retry = Retry()
    continue_on_error: bool = False
    priority: str = "normal"
    estimate: float | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    reads: Value = ()
    writes: Value = ()
    detach: bool = False
    deferred: Mapping[str, Value] = field(default_factory=dict)
    """Keys that the planner needs and that hold expressions: read once params are known."""
    dynamic: bool = False
    """Whether any value of the work itself holds an expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """One file. The values of its own keys may still hold expressions over params, env, run and vars."""

    name: str
    description: str = ""
    params: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    env: Mapping[str, Value] = field(default_factory=dict)
    vars: Mapping[str, Value] = field(default_factory=dict)
    root: Value = "."
    concurrency: Value = None
    resources: Mapping[str, Value] = field(default_factory=dict)
    policy: Value = "priority"
    on_failure: Value = "stop"
    timeout: Value = None
    grace: Value = None
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
    return _Builder(data, kinds).build(stem)


class _Builder:
    """Reads one document. Collects problems as it goes; never raises for what a user wrote."""

    def __init__(self, data: Mapping[str, Any], kinds: Callable[[str], Kind | None]) -> None:
        self.data = data
        self.kinds = kinds
        self.problems: list[Problem] = []
        self.sections = {
            name: raw if isinstance(raw := data.get(name), dict) else {} for name in ("nodes", "finally")
        }
        self.vars: dict[str, Value] = {}
        self.needs_of_var: dict[str, set[str]] = {}
        self.known: dict[str, Any] = {}

    def build(self, stem: str) -> tuple[Workflow, list[Problem]]:
        data = self.data
        self.refuse_later(data, (), _LATER_IN_FILE)
        self.refuse_later(self.mapping(data, "defaults"), ("defaults",), _LATER_IN_NODE)
        self.vars = {k: self.compile(v, ("vars", k)) for k, v in self.mapping(data, "vars").items()}
        self.learn_names()
        self.check_vars()
        nodes: dict[str, Node] = {}
        for section, raws in self.sections.items():
            for name, raw in raws.items():
                if section == "finally" and name in self.sections["nodes"]:
                    self.fault((section, name), f'the id "{name}" stands in nodes as well', "give one of them another id", key=True)
                elif isinstance(raw, dict) and isinstance(name, str):
                    node = self.node(name, raw, section)
                    if node is not None:
                        nodes[name] = node
        self.check_needs(nodes)
        scheduling = self.mapping(data, "scheduling")
        self.refuse_later(scheduling, ("scheduling",), _LATER_IN_SCHEDULING)
        workflow = Workflow(
            name=name if isinstance(name := data.get("name"), str) else stem,
            description=text if isinstance(text := data.get("description"), str) else "",
            params=self.params(),
            env=self.env(),
            vars=self.vars,
            root=self.setting("root", "."),
            concurrency=self.setting("concurrency", None),
            resources=self.budgets(),
            policy=self.policy(scheduling.get("policy", "priority")),
            on_failure=self.setting("on_failure", "stop"),
            timeout=self.setting("timeout", None, quantity.seconds),
            grace=self.setting("grace", None, quantity.seconds),
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
                self.refuse_later(raw, where, _LATER_IN_RESOURCE)
                where, raw = (*where, "amount"), raw.get("amount")
            value = self.compile(raw, where)
            self.check_names(value, where, self.at_start)
            if value is raw:
                value = self.attempt(lambda n=name, r=raw: quantity.amount(n, r), where, None)  # type: ignore[misc]
            budgets[name] = value
        return budgets

    def policy(self, raw: object) -> Value:
        where = ("scheduling", "policy")
        if isinstance(raw, str) and raw in ("fair", "deadline"):
            self.fault(where, f'the policy "{raw}" is not available yet', f"use one of {', '.join(POLICIES)}")
        value = self.compile(raw, where)
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
        """Names in vars; the nodes that each leans on, also through other vars; no var in a circle."""
        uses: dict[str, list[str]] = {}
        for name, value in self.vars.items():
            self.check_names(value, ("vars", name), self.known)
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

    # -- nodes

    def node(self, name: str, raw: dict[str, Any], section: str) -> Node | None:
        where: Where = (section, name)
        own_keys = raw.keys()
        self.refuse_later(raw, where, _LATER_IN_NODE)
        raw = self.with_defaults(raw)
        found = [kind for kind in KINDS if kind in raw]
        if len(found) != 1:
            return None  # the schema has told of none, or of two
        kind = self.kinds(found[0])
        if kind is None:
            self.fault((*where, found[0]), f'the kind "{found[0]}" is not available yet', "use run", key=True)
            return None
        own = {**self.known, "run": RUN_NAMES_AT_END} if section == "finally" else self.known
        reader = _NodeReader(self, where, raw, own, own_keys)
        fields = reader.fields()
        body, problems = kind.parse(raw[found[0]], (*where, found[0]), fields.get("shell"))
        self.problems += problems
        for place, template in kind.expressions(body, (*where, found[0])):
            reader.check(template, place, reader.with_paths)
        fields["dynamic"] = reader.dynamic
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
                        self.fault(where, f'"{need}" is a finally node; it runs after all others', "take it out", path=path)
        edges = {name: [n for n in node.needs if n in nodes] for name, node in nodes.items()}
        for loop in graph.cycles(edges):
            self.fault((nodes[loop[0]].section, loop[0]), cycle_text(loop), "take out one of these needs", key=True, path="")

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

    def refuse_later(self, raw: Mapping[str, Any], where: Where, later: Mapping[str, tuple[object, ...]]) -> None:
        for key in raw.keys() & later.keys():
            if raw[key] is not None and not any(raw[key] is harmless or raw[key] == harmless for harmless in later[key]):
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

    def check_template(self, template: Any, where: Where, known: Mapping[str, Any]) -> None:
        for reference in template.references:
            name = reference.path[0]
            if name in _LATER_NAMES and name not in known:
                what = f'"{name}" is not available yet'
                self.problems.append(Problem(where, what, "take it out", offset=reference.offset))
                known = {**known, name: None}
        slips = template.problems(known, self.hints)
        self.problems += [Problem(where, s.message, s.hint, offset=s.offset) for s in slips]

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


class _NodeReader:
    """Reads the keys of one node, but its kind and needs."""

    def __init__(
        self, builder: _Builder, where: Where, raw: Mapping[str, Any], known: Mapping[str, Any], own: Collection[str]
    ) -> None:
        self.builder = builder
        self.where = where
        self.own = own
        self.raw = raw
        self.known = known
        self.named: set[str] = set()
        self.dynamic = False
        self.deferred: dict[str, Value] = {}

    def at(self, key: str) -> Where:
        """Where the value of a key is written: in the node, else in the defaults."""
        return (*self.where, key) if key in self.own else ("defaults", key)

    @property
    def with_paths(self) -> Mapping[str, Any]:
        raw = self.raw
        paths = {key: self.builder.path_names(raw, key) for key in ("reads", "writes") if key in raw}
        return {**self.known, **paths}

    def fields(self) -> dict[str, Any]:
        """The arguments for `Node` that the raw mapping gives; what it does not say keeps its default."""
        fields: dict[str, Any] = {}
        for key in self.raw.keys() & _READERS.keys():
            if self.raw[key] is None:  # it unsets a default, where there is one
                continue
            value = _READERS[key](self, key)
            if value is not None:
                fields[key] = value
        fields["deferred"] = self.deferred
        return fields

    def check(self, template: Any, where: Where, known: Mapping[str, Any]) -> None:
        self.dynamic = True
        self.named |= self.builder.nodes_of(template.references)
        self.builder.check_template(template, where, known)

    def plain(self, key: str) -> object:
        return self.raw[key]

    def shell(self, key: str) -> str | None:
        """The words of a shell, parted by blanks. None where there is none."""
        raw = self.raw[key]
        words = raw if isinstance(raw, list) else [raw]
        where = self.at(key)
        text = " ".join(word for word in words if isinstance(word, str))
        if "${{" in text:
            what = "cannot be an expression: how a script is read depends on the shell"
            self.builder.fault(where, what, "write its name")
        elif isinstance(raw, list) and any(isinstance(word, str) and len(word.split()) != 1 for word in words):
            self.builder.fault(where, "an element is empty or holds blanks", "write a wrapper script and name that")
        elif raw is not None and not text.strip():
            self.builder.fault(where, "names no shell", "write one such as bash, or leave it out")
        else:
            return text or None
        return None

    def value(self, key: str) -> Value:
        """A value that is made when the attempt starts."""
        return self.compiled(key, self.with_paths if "reads" in self.raw or "writes" in self.raw else self.known)

    def environment(self, key: str) -> Value:
        value = self.value(key)
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value

    def path(self, key: str) -> Value:
        return self.compiled(key, self.known)

    def compiled(self, key: str, known: Mapping[str, Any]) -> Value:
        where = self.at(key)
        value = self.builder.compile(self.raw[key], where)
        if value is not self.raw[key]:
            for place, template in expr.templates_of(value, where):
                self.check(template, place, known)
        return value

    def duration(self, key: str) -> Value:
        value = self.value(key)
        if value is not self.raw[key]:
            return value
        return self.builder.attempt(lambda: quantity.seconds(value), self.at(key), None)

    def condition(self, key: str) -> expr.Template | bool | None:
        known = self.known if key == "when" else {**self.with_paths, **AFTER_WORK}
        return self.boolean(self.raw[key], self.at(key), known)

    def boolean(self, raw: object, where: Where, known: Mapping[str, Any]) -> expr.Template | bool | None:
        """One whole expression, or a plain boolean."""
        if isinstance(raw, bool):
            return raw
        faults = len(self.builder.problems)
        value = self.builder.compile(raw, where)
        if isinstance(value, expr.Template) and value.whole:
            self.check(value, where, known)
            return value
        if len(self.builder.problems) == faults and isinstance(raw, str):
            self.builder.fault(where, "must be one whole expression", 'write it as "${{ … }}"')
        return None

    def planned(self, key: str) -> object:
        """A value that the planner needs: now where it is plain, else once params are known."""
        raw, where = self.raw[key], self.at(key)
        when: expr.Template | bool | None = None
        if key == "retry" and isinstance(raw, dict) and "when" in raw:
            when = self.boolean(raw["when"], (*where, "when"), {**self.with_paths, **AFTER_WORK})
            raw = {k: v for k, v in raw.items() if k != "when"}
        value = self.builder.compile(raw, where)
        for place, template in expr.templates_of(value, where):
            self.builder.check_template(template, place, self.known)
            if self.builder.nodes_of(template.references):
                self.builder.fault(
                    place, "is needed before anything runs and cannot name nodes", "use params, env, or vars without nodes"
                )
        if value is not raw:
            self.deferred[key] = value
            return Retry(when=when) if when is not None else None
        result = self.read(key, raw, where)
        return replace(result, when=when) if when is not None and result is not None else result

    def read(self, key: str, raw: object, where: Where) -> Any:
        """A plain value of a planned key; None where it is wrong, told at each entry that is."""
        try:
            return PLANNED[key](raw)
        except ValueError as error:
            entries = raw.items() if isinstance(raw, dict) else ()
            wrong = [name for name, value in entries if not self.right(key, {name: value}, (*where, name))]
            if not wrong:
                self.builder.fault(where, str(error))
        return None

    def right(self, key: str, entry: object, where: Where) -> bool:
        try:
            PLANNED[key](entry)
        except ValueError as error:
            self.builder.fault(where, str(error))
            return False
        return True


def read_demand(raw: object) -> dict[str, int]:
    """What a node asks for: amounts that are not 0. ValueError says what is wrong."""
    if not isinstance(raw, dict):
        raise ValueError(f"expected a mapping such as {{cpu: 2}}, got {quantity.shown(raw)}")
    demand = {name: quantity.amount(name, value) for name, value in raw.items() if value is not None}
    return {name: value for name, value in demand.items() if value}


def read_retry(raw: object) -> Retry:
    """A `retry` mapping without its `when`. ValueError says what is wrong."""
    if not isinstance(raw, dict):
        raise ValueError(f"expected a mapping such as {{attempts: 3}}, got {quantity.shown(raw)}")
    times: dict[str, Any] = {
        key: quantity.seconds(raw[key]) for key in ("delay", "max_delay", "max_time") if raw.get(key) is not None
    }
    rest: dict[str, Any] = {key: raw[key] for key in ("attempts", "backoff", "jitter") if raw.get(key) is not None}
    attempts, backoff = rest.get("attempts", 1), rest.get("backoff", 2)
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        raise ValueError(f"attempts is a whole number from 1 up, got {quantity.shown(attempts)}")
    if not isinstance(backoff, (int, float)) or isinstance(backoff, bool) or not 1 <= backoff <= 1e9:
        raise ValueError(f"backoff is a number from 1 up, got {quantity.shown(backoff)}")
    if not isinstance(rest.get("jitter", True), bool):
        raise ValueError(f"jitter is true or false, got {quantity.shown(rest['jitter'])}")
    return Retry(**rest, **times)


def _one_of(*names: str) -> Callable[[object], object]:
    def read(raw: object) -> object:
        if raw not in names:
            raise ValueError(f"expected one of {', '.join(names)}, got {quantity.shown(raw)}")
        return raw

    return read


def _boolean(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"expected true or false, got {quantity.shown(raw)}")
    return raw


PLANNED: Mapping[str, Callable[[Any], Any]] = {
    "resources": read_demand,
    "retry": read_retry,
    "estimate": quantity.seconds,
    "priority": _one_of(*LEVELS),
    "continue_on_error": _boolean,
    "stdout": _one_of("none", "text", "lines", "json"),
    "detach": _boolean,
}
"""Keys of a node that must be known before anything runs, each with its reader."""

_READERS: Mapping[str, Callable[[_NodeReader, str], Any]] = {
    "description": _NodeReader.plain,
    "trigger": _NodeReader.plain,
    "shell": _NodeReader.shell,
    "env": _NodeReader.environment,
    "cwd": _NodeReader.value,
    "args": _NodeReader.value,
    "stdin": _NodeReader.value,
    "timeout": _NodeReader.duration,
    "reads": _NodeReader.path,
    "writes": _NodeReader.path,
    "when": _NodeReader.condition,
    "expect": _NodeReader.condition,
    **dict.fromkeys(PLANNED, _NodeReader.planned),
}


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
