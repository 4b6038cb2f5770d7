"""The workflow as it was written: frozen, with its expressions parsed and its meaning checked.

Knows nothing of YAML, of parameters' values, of the machine or of a run."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from types import NoneType
from typing import Any

from wfctl import expr, graph, quantity
from wfctl.errors import Problem, Where
from wfctl.jobs import Kind
from wfctl.level import Level, cycle_text
from wfctl.node import AFTER_WORK, ITEM, Node, Value, one_of
from wfctl.record import dataclass
from wfctl.values import within

SCHEDULING = ("policy", "weights", "aging", "groups")

RUN_NAMES: Mapping[str, None] = dict.fromkeys(("id", "started"))

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
    rollback: Mapping[str, Value] = field(default_factory=dict)
    """`strategy`, `retry`, `max_restarts`; and as `when`, what a retry asks of each try."""
    timeout: Value = None
    grace: Value = None
    log_limit: Value = None
    outputs: Mapping[str, Value] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """Nodes of both sections; those of `finally` come last. Nodes in groups are in these."""

    def nodes_of(self, value: Value) -> set[str]:
        """The nodes that `value` names, also through vars."""
        found: set[str] = set()
        for reference in expr.references_of(value):
            if len(reference.path) > 1 and reference.path[0] == "nodes":
                found.add(reference.path[1])
            elif len(reference.path) > 1 and reference.path[0] == "vars":
                found |= self.nodes_of(self.vars.get(reference.path[1]))
        return found


Files = Callable[[str], Mapping[str, Any] | None]
"""The data of a sub-workflow by the name that its nodes are said to be of: the way to it from the file's own folder."""


def build(
    data: Mapping[str, Any],
    stem: str,
    kinds: Callable[[str], Kind | None],
    files: Files = lambda name: None,
) -> tuple[Workflow, list[Problem]]:
    """The workflow in `data`, and all that is wrong with its meaning.

    `stem` names it where it has no `name`; `kinds` gives the kind of a name, None where it is not available; `files`
    gives what its sub-workflows say. Data of a wrong shape are passed over here: the schema has told of them. With
    problems the workflow is good for finding more of them, not for running.
    """
    return Builder(data, kinds, files).build(stem)


class Builder:
    """Reads one document. Collects problems as it goes; never raises for what a user wrote."""

    def __init__(
        self,
        data: Mapping[str, Any],
        kinds: Callable[[str], Kind | None],
        files: Files = lambda name: None,
        file: str = "",
        phase: str | None = None,
    ) -> None:
        self.data = data
        self.kinds = kinds
        self.files = files
        self.file = file
        self.problems: list[Problem] = []
        self.default_env = frozenset(self.mapping(self.mapping(data, "defaults"), "env"))
        self.vars: dict[str, Value] = {}
        self.needs_of_var: dict[str, set[str]] = {}
        self.secrets: tuple[str, ...] = ()
        self.secrets_of_var: dict[str, set[str]] = {}
        self.subs: list[Workflow] = []
        sections = {name: self.mapping(data, name) for name in ("nodes", "finally")}
        self.top = Level(self, sections, {name: (name,) for name in sections}, phase=phase)

    def build(self, stem: str) -> tuple[Workflow, list[Problem]]:
        data = self.data
        listed = data.get("secrets")
        self.secrets = tuple(dict.fromkeys(n for n in listed if isinstance(n, str))) if isinstance(listed, list) else ()
        self.vars = {k: self.compile(v, ("vars", k)) for k, v in self.mapping(data, "vars").items()}
        self.learn_names()
        self.check_vars()
        nodes = self.top.nodes()
        workflow = Workflow(
            name=name if isinstance(name := data.get("name"), str) else stem,
            description=text if isinstance(text := data.get("description"), str) else "",
            params=self.params(),
            env=self.env(),
            secrets=tuple(dict.fromkeys([*self.secrets, *(name for sub in self.subs for name in sub.secrets)])),
            vars=self.vars,
            root=self.setting("root", "."),
            concurrency=self.setting("concurrency", None),
            resources=self.budgets(),
            lock=self.lock(),
            **{key: value for key in SCHEDULING if (value := self.scheduling(key)) is not None},
            on_failure=self.setting("on_failure", "stop"),
            rollback=self.rollback(nodes),
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
        self.at_start: dict[str, Any] = {
            "params": dict.fromkeys(self.mapping(data, "params")),
            "env": dict.fromkeys(self.mapping(data, "env")),
            "vars": dict.fromkeys(self.vars),
            "run": RUN_NAMES,
        }
        self.known: dict[str, Any] = {**self.at_start, "nodes": self.top.names()}
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

    def rollback(self, nodes: Mapping[str, Node]) -> dict[str, Value]:
        """What the file says of rollbacks. What is plain in it is checked here, and read when the plan is made."""
        from wfctl import compensation

        raw, where = self.mapping(self.data, "rollback"), ("rollback",)
        if not raw:
            return {}
        said = {key: self.checked(raw.get(key), (*where, key), read) for key, read in compensation.READERS.items()}
        if said["strategy"] == "checkpoint" and not compensation.has_checkpoint(nodes.values()):
            self.fault((*where, "strategy"), compensation.NO_CHECKPOINT, compensation.ADD_CHECKPOINT)
        retry = raw.get("retry")
        if isinstance(retry, dict):
            said["retry"] = {
                key: self.checked(part, (*where, "retry", key), compensation.reads_retry(key))
                for key, part in retry.items()
                if key != "when"
            }
            said["when"] = self.condition(retry.get("when"), (*where, "retry", "when"))
        else:
            said["retry"] = self.checked(retry, (*where, "retry"), compensation.read_retry)
        return {key: value for key, value in said.items() if value is not None}

    def checked(self, raw: object, where: Where, read: Callable[[Any], object]) -> Value:
        """A value that may be an expression; None where it is plain and `read` has something against it."""
        value = self.compile(raw, where)
        self.check_names(value, where, self.at_start)
        if raw is None or value is not raw:
            return value
        return self.attempt(lambda: (read(raw), raw)[1], where, None)

    def condition(self, raw: object, where: Where) -> Value:
        """Whether a try is followed by another: a boolean, or an expression that sees what the try has left."""
        value = self.compile(raw, where)
        if isinstance(value, expr.Template) and value.whole:
            self.check_names(value, where, {**self.at_start, **AFTER_WORK})
            return value
        if isinstance(raw, str) and (value is not None or "${{" not in raw):
            self.fault(where, "must be one whole expression", 'write it as "${{ … }}"')
        return raw if isinstance(raw, bool) else None

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
            for node in sorted(self.top.named(expr.references_of(value))[0]):
                if self.top.section_of(node) == "finally":
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

    def sub(self, file: str, data: Mapping[str, Any], phase: str) -> Workflow:
        """Another file, whose nodes join those of the section `phase`."""
        inside = Builder(data, self.kinds, self.files, file, phase)
        workflow, problems = inside.build(_stem(file))
        self.problems += [replace(p, file=p.file or file) for p in problems]
        self.subs.append(workflow)
        return workflow

    def with_defaults(self, raw: dict[str, Any]) -> dict[str, Any]:
        """The keys of a node, those that the file has for all nodes under them."""
        defaults = self.data.get("defaults")
        return merged(defaults, raw) if isinstance(defaults, dict) else raw

    def refuse_strange(
        self, raw: Mapping[str, Any], own: Iterable[str], where: Where, kind: str, keys: Iterable[str]
    ) -> None:
        """A key that belongs to another kind would do nothing here. In the defaults it is meant for others."""
        for key in sorted({key for key in own if raw.get(key) is not None} & BESIDE.keys() - set(keys)):
            self.fault((*where, key), f'"{key}" goes with {BESIDE[key]}, not with {kind}', "take it out", key=True)

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
            if name in ITEM and name not in known:
                what = f'"{name}" is that of an item, and there is no for_each around this'
                self.problems.append(Problem(where, what, "add for_each, or take it out", offset=reference.offset))
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


def _stem(file: str) -> str:
    return posixpath.basename(file).rsplit(".", 1)[0]


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
