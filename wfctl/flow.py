"""A workflow file opened for use: read, checked, its params filled in, planned.

Runs nothing and writes nothing. All faults of a file come together."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any

from wfctl import expr, level, load, planner, plugins, spec, tree
from wfctl.errors import Fault, Invalid, Problem, UsageError, Where, dotted, nearest
from wfctl.history import Definition
from wfctl.node import Node
from wfctl.params import params_of
from wfctl.plan import Plan, Request
from wfctl.recall import Recall
from wfctl.record import dataclass
from wfctl.scope import wrong_params


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A file that was read, with whatever is wrong with it."""

    path: str
    document: load.Document
    workflow: spec.Workflow
    faults: tuple[Fault, ...]
    subs: Mapping[str, load.Document] = field(default_factory=dict)
    """The sub-workflows, by the way to each from the folder of the file."""

    @property
    def digest(self) -> str:
        """Of all that was read."""
        return digest_of(self.document.digest, {name: sub.digest for name, sub in self.subs.items()})

    @property
    def definition(self) -> Definition:
        files = {name: sub.data for name, sub in self.subs.items()}
        return Definition(file=self.path, digest=self.digest, data=self.document.data, files=files)

    @property
    def outside(self) -> list[str]:
        """The variables that `env` takes from outside, in any of the files."""
        workflows = [self.workflow, *_workflows(self.workflow.nodes)]
        return [name for workflow in workflows for name, value in workflow.env.items() if isinstance(value, dict)]

    def place(self, problems: Iterable[Problem]) -> list[Fault]:
        """The problems with file, line and column."""
        found = list(problems)
        faults = self.document.place(problem for problem in found if not problem.file)
        for name in dict.fromkeys(problem.file for problem in found if problem.file):
            faults += self.subs[name].place(problem for problem in found if problem.file == name)
        return sorted(faults)

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
            for node in _all(workflow.nodes)
            if node.dynamic or node.deferred or node.each or node.inner
            for value in _seen_before(node)
            for r in expr.references_of(value)
        )

    @property
    def leans_on_packages(self) -> bool:
        """Whether some node is of an installed kind: then the file is as good as what is installed."""
        return any(node.kind not in level.KINDS for node in _all(self.workflow.nodes))

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
    subs, strange, faults = _subs(document, file)
    for sub in subs.values():
        faults += load.check(sub)
    shape = sorted([*shape, *faults])
    stem = _id_of(os.path.basename(file).rsplit(".", 1)[0])
    try:
        workflow, problems = spec.build(
            document.data, stem, plugins.kind, lambda name: subs[name].data if name in subs else None
        )
    except Exception:
        if not shape:
            raise
        # The shape is wrong in a way that its meaning cannot even be asked for.
        workflow, problems = spec.Workflow(name=stem), []
    flow = Flow(path=os.path.abspath(file), document=document, workflow=workflow, faults=(), subs=subs)
    return replace(flow, faults=tuple(_together(shape, flow.place([*strange, *problems]))))


def digest_of(digest: str, subs: Mapping[str, str]) -> str:
    """One hash for the file and its sub-workflows, given those of each."""
    if not subs:
        return digest
    import hashlib

    parts = "\n".join([digest, *(f"{name} {subs[name]}" for name in sorted(subs))])
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()


def _subs(top: load.Document, file: str) -> tuple[dict[str, load.Document], list[Problem], list[Fault]]:
    """The sub-workflows of a file, those of these, and so on; and what is wrong with the ways to them."""
    folder = os.path.dirname(file)
    found: dict[str, load.Document] = {}
    strange: list[Problem] = []
    faults: list[Fault] = []

    def follow(document: load.Document, name: str, way: list[str]) -> None:
        for where, path in _named(document.data):
            other = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            here = "" if len(way) == 1 else name
            if other in way:
                loop = " -> ".join([*way[way.index(other) :], other])
                hint = "a workflow cannot be a part of itself"
                strange.append(Problem(where, f"recursion: {loop}", hint, file=here))
                continue
            if other not in found:
                try:
                    found[other] = load.read(os.path.join(folder, other))
                except UsageError as error:
                    strange.append(Problem(where, str(error), file=here))
                    continue
                except Invalid as error:
                    faults.extend(error.faults)
                    continue
            follow(found[other], other, [*way, other])

    follow(top, os.path.basename(file), [os.path.basename(file)])
    return found, strange, list(dict.fromkeys(faults))


def _named(data: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """The sub-workflows that a file names, each with its place."""
    todo: list[tuple[Where, object]] = [((key,), data.get(key)) for key in ("nodes", "finally")]
    while todo:
        where, nodes = todo.pop(0)
        for name, node in nodes.items() if isinstance(nodes, dict) else ():
            if isinstance(node, dict):
                path = node.get("workflow")
                if isinstance(path, str) and path and "${{" not in path:
                    yield (*where, name, "workflow"), path
                if "nodes" in node:
                    todo.append(((*where, name, "nodes"), node["nodes"]))


def _all(nodes: Mapping[str, Node]) -> Iterator[Node]:
    """All nodes, with those inside of others and what the items of a `for_each` are."""
    for node in nodes.values():
        yield node
        if node.each is not None:
            yield from _all({"": node.each.item})
        if node.inner is not None:
            yield from _all(node.inner.nodes)


def _workflows(nodes: Mapping[str, Node]) -> Iterator[spec.Workflow]:
    """The sub-workflows, as they were read."""
    for node in _all(nodes):
        if node.inner is not None and node.inner.workflow is not None:
            yield node.inner.workflow


def _seen_before(node: Node) -> Iterator[object]:
    """The values of a node that a plan is made of."""
    yield from (node.reads, node.writes, node.deferred)
    if node.each is not None:
        yield from (node.each.items, node.each.key)
    if node.inner is not None:
        yield node.inner.params
        if node.inner.workflow is not None:
            inside = node.inner.workflow
            yield from (inside.root, *inside.vars.values(), *inside.env.values())
            yield from (schema.get("default") for schema in inside.params.values())


def _id_of(stem: str) -> str:
    """A name for a workflow that has none, out of its file's: an id, though the file may be called anything."""
    name = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-") else "_" for sign in stem[:99])
    return f"_{name}" if name[:1].isdigit() or name[:1] == "-" else name or "flow"


def check(flow: Flow, request: Request) -> list[Fault]:
    """Every fault of a file, also those that show only when it is planned with the params' defaults."""
    faults = [*flow.faults, *flow.place(_default_problems(flow.workflow))]
    try:
        made, problems = planner.build(flow.workflow, replace(request, environ=Anything(request.environ)))
        problems += _given_problems(made)
    except Exception:
        if not faults:
            raise
        return load.cut(sorted(faults))
    return load.cut(_beyond(faults, flow.place(problems)))


def planned(flow: Flow, request: Request) -> Plan:
    """The plan of a sound file. Raises Invalid with all its faults, UsageError for a wrong selection."""
    try:
        made, problems = planner.build(flow.workflow, request)
    except planner.SelectionError as error:
        around = error.name.replace("[", ".").partition(".")[0]
        hint = nearest(error.name, error.known) or "`wfctl graph` shows the nodes"
        if around in error.known:
            hint = f'what lies in "{around}" cannot be chosen alone; name "{around}"'
        raise UsageError(f"{error}; {hint}") from None
    except Exception:
        flow.refuse()
        raise
    faults = _beyond(flow.faults, flow.place([*problems, *_given_problems(made)]))
    if faults:
        raise Invalid(load.cut(faults))
    if not any(planned.node.section == "nodes" and not planned.given for planned in made.nodes.values()):
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
    faults += flow.place(problems)
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
                    faults += flow.place([Problem(("params", name, "default", *inner), message)])
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


def _given_problems(made: Plan) -> list[Problem]:
    """What sub-workflows are given and refuse, as far as that is known before the run."""
    found = []
    for planned in made.nodes.values():
        if planned.inside is not None and planned.inside.sub is not None:
            names = made.planner.names_of(planned.inside)
            for name, where, text in wrong_params(planned.inside, names, load.check_value):
                told = f"{where.lstrip('.')}: {text}" if where else text
                found.append(Problem(planned.node.at("params", name), told, file=planned.node.file))
    return found


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
