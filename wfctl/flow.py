"""A workflow file opened for use: read, checked, its params filled in, planned.

Runs nothing and writes nothing. All faults of a file come together."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from wfctl import expr, load, plan, plugins, spec, tree
from wfctl.errors import Fault, Invalid, Problem, UsageError, Where, dotted, nearest
from wfctl.history import Definition
from wfctl.params import params_of
from wfctl.plan import Plan, Request
from wfctl.recall import Recall
from wfctl.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A file that was read, with whatever is wrong with it."""

    path: str
    document: load.Document
    workflow: spec.Workflow
    faults: tuple[Fault, ...]

    @property
    def definition(self) -> Definition:
        return Definition(file=self.path, digest=self.document.digest, data=self.document.data)

    @property
    def mentions_run(self) -> bool:
        """Whether a value that the plan is made of may hold the run's own id or start."""
        workflow = self.workflow
        values = [workflow.root, workflow.concurrency, workflow.policy, workflow.on_failure, workflow.timeout]
        values += [workflow.weights, workflow.aging, workflow.groups, workflow.lock]
        values += [*workflow.env.values(), *workflow.resources.values(), *workflow.vars.values()]
        values += [schema.get("default") for schema in workflow.params.values()]
        return any(r.path[0] == "run" for value in values for r in expr.references_of(value)) or any(
            r.path[0] == "run"
            for node in workflow.nodes.values()
            if node.dynamic or node.deferred
            for value in (node.reads, node.writes, node.deferred)
            for r in expr.references_of(value)
        )

    @property
    def leans_on_packages(self) -> bool:
        """Whether some node is of an installed kind: then the file is as good as what is installed."""
        return any(node.kind not in spec.KINDS for node in self.workflow.nodes.values())

    def refuse(self) -> None:
        """Raise Invalid where the file has faults."""
        if self.faults:
            raise Invalid(load.cut(list(self.faults)))


def read(file: str, settings: Sequence[str] = (), recall: Recall | None = None) -> Flow:
    """Read and check a file. `settings` are `KEY=VALUE` texts that are laid over it.

    A file that `recall` remembers is neither parsed nor checked again.

    Raises Invalid where no data can be made of it, UsageError where it cannot be opened.
    """
    document = load.read(file, recall.get) if recall and not settings else load.read(file)
    for setting in settings:
        where, data = _with_setting(document.data, setting)
        typed = setting if len(setting) <= 60 else f"{setting[:59]}…"
        document = replace(document, data=data, laid={where: f"--set {typed}", **document.laid})
    shape = load.check(document)
    stem = _id_of(os.path.basename(file).rsplit(".", 1)[0])
    try:
        workflow, problems = spec.build(document.data, stem, plugins.kind)
    except Exception:
        if not shape:
            raise
        # The shape is wrong in a way that its meaning cannot even be asked for.
        workflow, problems = spec.Workflow(name=stem), []
    faults = _together(shape, document.place(problems))
    return Flow(path=os.path.abspath(file), document=document, workflow=workflow, faults=tuple(faults))


def _id_of(stem: str) -> str:
    """A name for a workflow that has none, out of its file's: an id, though the file may be called anything."""
    name = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-") else "_" for sign in stem[:99])
    return f"_{name}" if name[:1].isdigit() or name[:1] == "-" else name or "flow"


def check(flow: Flow, request: Request) -> list[Fault]:
    """Every fault of a file, also those that show only when it is planned with the params' defaults."""
    faults = [*flow.faults, *flow.document.place(_default_problems(flow.workflow))]
    try:
        _, problems = plan.build(flow.workflow, replace(request, environ=Anything(request.environ)))
    except Exception:
        if not faults:
            raise
        return load.cut(sorted(faults))
    return load.cut(_beyond(faults, flow.document.place(problems)))


def planned(flow: Flow, request: Request) -> Plan:
    """The plan of a sound file. Raises Invalid with all its faults, UsageError for a wrong selection."""
    try:
        made, problems = plan.build(flow.workflow, request)
    except plan.SelectionError as error:
        hint = nearest(error.name, error.known) or "`wfctl graph` shows the nodes"
        raise UsageError(f"{error}; {hint}") from None
    except Exception:
        flow.refuse()
        raise
    faults = _beyond(flow.faults, flow.document.place(problems))
    if faults:
        raise Invalid(load.cut(faults))
    if made.nodes.keys() <= {name for name, node in flow.workflow.nodes.items() if node.section == "finally"}:
        raise UsageError("--from, --until and --only leave no node to run; `wfctl graph` shows what needs what")
    return made


def params(
    flow: Flow,
    texts: Sequence[str],
    file: str | None,
    environ: Mapping[str, str],
    before: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, object]:
    """The params as given by `-p NAME=VALUE` texts over `--params-file`, every one checked, defaults not filled in.

    `before` are values of an earlier time, under both.

    Raises Invalid with the faults of the params and of the file together.
    """
    schemas = flow.workflow.params
    faults: list[Fault] = []
    given = dict(before)
    source: dict[str, str] = {}
    for name, value in (load.read_params(file) if file else {}).items():
        given[name], source[name] = value, file or ""
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f'-p "{text}": write it as -p NAME=VALUE')
        given[name] = _typed(value, schemas.get(name, {}), f"-p {name}")
        source[name] = f"-p {name}"
    for name in [n for n in given if n not in schemas]:
        hint = nearest(name, schemas) or (f"there are {', '.join(schemas)}" if schemas else "the workflow has none")
        faults.append(Fault(source[name], 0, 0, "", f'no param named "{name}"', hint))
        del given[name]
    values, problems = params_of(flow.workflow, given, {"id": expr.UNKNOWN, "started": expr.UNKNOWN}, environ)
    faults += flow.document.place(problems)
    for name, schema in schemas.items():
        where = source.get(name, flow.document.file)
        if name not in given and "default" not in schema:
            faults.append(Fault(where, 0, 0, f"params.{name}", "has no default and was not given", f"add -p {name}=…"))
        elif values[name] is not expr.UNKNOWN and not any(problem.where[1] == name for problem in problems):
            for inner, message in load.check_value(_plain(schema), values[name]):
                if name in given:
                    path = dotted((name, *inner) if where == file else inner)
                    faults.append(Fault(where, 0, 0, path, message))
                else:
                    faults += flow.document.place([Problem(("params", name, "default", *inner), message)])
    if faults:
        raise Invalid(load.cut(_beyond(flow.faults, faults)))
    return {name: values[name] for name in given}


def _default_problems(workflow: spec.Workflow) -> list[Problem]:
    """Defaults that their own schema refuses, but those that lean on the run or on what is outside of the file."""
    values, _ = params_of(workflow, {}, {}, {})
    return [
        Problem(("params", name, "default", *inner), message)
        for name, schema in workflow.params.items()
        if "default" in schema and values[name] is not expr.UNKNOWN
        for inner, message in load.check_value(_plain(schema), values[name])
    ]


def _plain(schema: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in schema.items() if key != "default"}


def _typed(text: str, schema: Mapping[str, object], typed: str) -> object:
    """The text of a `-p` as the value that its schema wants; as text where it is none. `typed` names it in faults."""
    kinds = schema.get("type")
    wanted = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if wanted == ["string"] or (not wanted and all(isinstance(v, str) for v in _listed(schema.get("enum")))):
        if wanted or "enum" in schema:
            return text
    value = _value_of(text, typed)
    return text if "string" in wanted and isinstance(value, (int, float)) and "number" not in wanted else value


def _value_of(text: str, typed: str) -> object:
    """The JSON value that the text is, else the text. UsageError where it is nested deeper than a file may be."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        value, deep = None, True
    else:
        deep = _is_deeper(value, tree.MAX_DEPTH)
    if deep:
        raise UsageError(f"{typed}: is nested more than {tree.MAX_DEPTH} deep; write it to a file and give its path")
    return value


def _is_deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        groups = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, (dict, list))]
        level = [inner for group in groups for inner in group]
    return bool(level)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _with_setting(data: dict[str, Any], setting: str) -> tuple[Where, dict[str, Any]]:
    """The place of `a.b=value`, and the data with that laid over it; the value is YAML, else text."""
    key, equals, text = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise UsageError(f'--set "{setting}": write it as --set KEY=VALUE, such as --set concurrency=4')
    try:
        value = load.value_of(text)
    except ValueError as error:
        raise UsageError(f"--set {key}: {error}; write it to the file") from None
    result = inner = dict(data)
    *parents, last = key.split(".")
    for name in parents:
        under = inner.get(name)
        inner[name] = inner = dict(under) if isinstance(under, dict) else {}
    inner[last] = value
    return (*parents, last), result


def _together(first: Sequence[Fault], second: Sequence[Fault]) -> list[Fault]:
    """Both, but of two at one place the first: the same mistake is told once."""

    def place(fault: Fault) -> tuple[object, ...]:
        return (fault.line, fault.column) if fault.line else (fault.file, fault.path)

    taken = set(map(place, first))
    return sorted([*first, *(fault for fault in second if place(fault) not in taken)])


def _beyond(first: Sequence[Fault], second: Sequence[Fault]) -> list[Fault]:
    """Both, but nothing of the second about a value that has faults already: that would be their echo."""
    told = {f.path for f in first if f.path}
    return _together(first, [f for f in second if f.path not in told])


class Anything(dict[str, str]):
    """An environment in which everything is set: what is missing here need not be missing where the file runs."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return ""
