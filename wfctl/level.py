"""The nodes of a file, or of one group in it, as they were written: what each is, what it sees, and what it needs.

Knows no other level but the one around it, and nothing of the file's own keys."""

from __future__ import annotations

import posixpath
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from wfctl import expr, graph
from wfctl.errors import UsageError, Where, dotted
from wfctl.node import (
    AT_END,
    EACH_ALONE,
    ITEM,
    KEYS,
    OF_EACH,
    OF_GROUP,
    STANDING,
    Each,
    Inner,
    Node,
    NodeReader,
    Value,
)  # fmt: skip

if TYPE_CHECKING:
    from wfctl.jobs import Kind
    from wfctl.spec import Builder

KINDS = ("run", "call", "http", "sql", "files", "notify", "ask", "workflow", "nodes")
NODE_KEYS = frozenset(
    "description needs when trigger env secrets cwd with shell args stdin stdout params outputs expect timeout retry"
    " continue_on_error priority deadline business_value user_level group estimate resources limit reads writes"
    " idempotency checkpoint compensate compensate_when pivot for_each key max_parallel collect detach".split()
)
"""What a node may say beside its kind."""

GROUPS = ("nodes", "workflow")
"""The kinds that hold other nodes."""

RUN_NAMES_AT_END: Mapping[str, None] = dict.fromkeys(("id", "started", *AT_END))


class Level:
    """The nodes of a file, or of one group in it: the names that they see, and what they need of each other.

    `outer` is what lies around it; `bound` says that its expressions see an item of a `for_each`. A sub-workflow has a
    `phase`: the section of the run that all its nodes join, which says nothing of who may name whom in its file.
    """

    def __init__(
        self,
        builder: Builder,
        sections: Mapping[str, Mapping[str, Any]],
        places: Mapping[str, Where],
        outer: Level | None = None,
        bound: bool = False,
        section: str | None = None,
        phase: str | None = None,
    ) -> None:
        self.builder = builder
        self.sections = sections
        self.places = places
        self.outer = outer
        self.bound = bound
        self.section = section  # that of what lies around it, which holds for all inside
        self.phase = phase
        self.outside: set[str] = set()

    # -- names

    def names(self) -> Mapping[str, Any]:
        """What may follow `nodes`: sought inside first, then outside."""
        path_names = self.builder.path_names
        own = {
            name: {"output": None, "state": None, "items": None, "writes": path_names(raw, "writes")}
            for raws in self.sections.values()
            for name, raw in raws.items()
        }
        return own if self.outer is None else ChainMap(own, self.outer.known["nodes"])

    @property
    def known(self) -> dict[str, Any]:
        """What expressions of its nodes may name."""
        return self._known

    def section_of(self, name: str) -> str | None:
        """Where a node is, as far as it shows from here: `nodes`, `finally`, or None where there is none."""
        for section, raws in self.sections.items():
            if name in raws:
                return self.section or section
        return self.outer.section_of(name) if self.outer else None

    def named(self, references: Iterable[expr.Reference]) -> tuple[set[str], set[str]]:
        """The nodes that references name: directly, to be sought from here; and by way of vars, in the whole file."""
        near: set[str] = set()
        far: set[str] = set()
        for reference in references:
            if len(reference.path) > 1:
                if reference.path[0] == "nodes":
                    near.add(reference.path[1])
                elif reference.path[0] == "vars":
                    far |= self.builder.needs_of_var.get(reference.path[1], set())
        if self.outer is None:
            near, far = near | far, set()
        top = self.builder.top
        return {n for n in near if self.section_of(n)}, {n for n in far if top.section_of(n)}

    # -- nodes

    def nodes(self) -> dict[str, Node]:
        """All its nodes, checked."""
        builder = self.builder
        self._known = builder.known if self.outer is None else {**builder.known, "nodes": self.names()}
        if self.bound:
            self._known = {**self._known, **ITEM}
        nodes: dict[str, Node] = {}
        for section, raws in self.sections.items():
            for name, raw in raws.items():
                if section == "finally" and name in self.sections["nodes"]:
                    what = f'the id "{name}" stands in nodes as well'
                    builder.fault((*self.places[section], name), what, "give one of them another id", key=True)
                elif isinstance(raw, dict) and isinstance(name, str):
                    node = self.node(name, raw, section)
                    if node is not None:
                        nodes[name] = node
        self.check_needs(nodes)
        return nodes

    def node(self, name: str, raw: dict[str, Any], section: str) -> Node | None:
        builder = self.builder
        where: Where = (*self.places[section], name)
        own_keys = raw.keys()
        own_env = builder.mapping(raw, "env")
        group = next((key for key in GROUPS if key in raw), None)
        if group is None:
            raw = builder.with_defaults(raw)
        found = kinds_in(raw, NODE_KEYS)
        if len(found) != 1:
            return None  # the schema has told of none, or of two
        kind = found[0]
        many = raw.get("for_each") is not None
        known = self.known
        if section == "finally" or self.section == "finally":
            known = {**known, "run": RUN_NAMES_AT_END}
        reader = NodeReader(self, where, raw, {**known, **ITEM} if many else known, own_keys)
        work = self.group(kind, raw, where, section, reader) if group else self.work(kind, raw, where, reader, own_env)
        if work is None:
            return None
        if not group and raw.keys() & {"compensate", "compensate_when", "pivot"}:
            from wfctl import compensation

            compensation.read(self, kind, raw, reader, work, "finally" in (section, self.section))
        if many:
            own = NodeReader(self, where, raw, reader.known, own_keys)
            fields = self.many(kind, raw, where, section, known, own, work, name)
            reader.named |= own.named
            reader.far |= own.far
        else:
            fields = work
            for key in ("key", *EACH_ALONE):
                if key in own_keys and raw[key] is not None:
                    hint = "take it out, or add for_each"
                    builder.fault((*where, key), f'"{key}" goes with for_each', hint, key=True)
        needs = self.needs_of(name, raw, section, where, reader)
        far = {n for n in reader.far if self.builder.top.section_of(n) == (self.section or section)}
        self.outside |= far
        return Node(
            id=name,
            kind=kind,
            where=where,
            file=builder.file,
            section=self.phase or self.section or section,
            needs=needs,
            far=tuple(sorted(far)),
            last=section == "finally" and self.phase is not None,
            **fields,
        )

    def work(
        self, name: str, raw: dict[str, Any], where: Where, reader: NodeReader, own_env: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The fields of a node that does something itself."""
        builder = self.builder
        try:
            kind = builder.kinds(name)
        except UsageError as error:
            builder.fault((*where, name), str(error), key=True, path="")
            return None
        if kind is None:
            if name in KINDS:
                builder.fault((*where, name), f'the kind "{name}" is not available yet', "use run", key=True)
            elif builder.hints:  # who checked the shape has told of it already
                hint = "install its package, or correct the name"
                builder.fault((*where, name), f'no kind "{name}" is installed', hint, key=True)
            return None
        fields = reader.fields(KEYS - OF_EACH if raw.get("for_each") is not None else KEYS - EACH_ALONE)
        builder.refuse_strange(raw, reader.own, where, name, kind.keys)
        body, problems = kind.parse(raw, where, fields.get("shell"))
        builder.problems += problems
        faults = len(builder.problems) - len(problems)
        for place, template in kind.expressions(body, where):
            reader.check_body(template, place, kind.secrets)
        for key in ("reads", "writes") if len(builder.problems) == faults else ():  # else they would be told twice
            if more := kind.paths(body, key):
                fields[key] = joined(fields.get(key), more)
        if fields.get("idempotency") is not None and (why := _never_kept(kind, body, name)):
            builder.fault(reader.at("idempotency"), f"no result of this can be kept: {why}", "take it out", key=True)
        fields["dynamic"] = reader.dynamic
        if builder.secrets:
            fields["receives"] = reader.receives
        if builder.default_env:
            fields["default_env"] = builder.default_env.difference(own_env)
        return {"body": body, "slotless": kind.slotless, "prepares": kind.prepares(body), **fields}

    def group(
        self, kind: str, raw: dict[str, Any], where: Where, section: str, reader: NodeReader
    ) -> dict[str, Any] | None:
        """The fields of a node that holds others."""
        builder = self.builder
        strange = sorted(key for key in reader.own if raw[key] is not None and key in KEYS - OF_GROUP - EACH_ALONE)
        for key in strange:
            hint = "say it in its nodes, or in defaults"
            builder.fault((*where, key), f'"{key}" does nothing on a group', hint, key=True)
        builder.refuse_strange(raw, reader.own, where, kind, ("outputs",) if kind == "nodes" else ("params",))
        many = raw.get("for_each") is not None
        fields = reader.fields(STANDING if many else OF_GROUP)
        inner: tuple[Inner, set[str]] | None
        if kind == "nodes":
            inner = self.written(raw, where, section, many, reader)
        else:
            inner = self.sub(raw, where, section, reader)
        if inner is None:
            return None
        node, outside = inner
        return {"body": None, "inner": node, "outside": frozenset(outside), **fields}

    def written(
        self, raw: dict[str, Any], where: Where, section: str, many: bool, reader: NodeReader
    ) -> tuple[Inner, set[str]]:
        """A group written in place, and what its nodes name that is further out. What its `outputs` name there it
        needs itself: they are made when all inside has ended, whoever else has."""
        builder = self.builder
        level = Level(
            builder,
            {"nodes": builder.mapping(raw, "nodes")},
            {"nodes": (*where, "nodes")},
            outer=self,
            bound=self.bound or many,
            section=self.section or ("finally" if section == "finally" else None),
            phase=self.phase,
        )
        nodes = level.nodes()
        outputs = {}
        for name, value in builder.mapping(raw, "outputs").items():
            outputs[name] = builder.compile(value, (*where, "outputs", name))
            builder.check_names(outputs[name], (*where, "outputs", name), level.known)
            near, far = level.named(expr.references_of(outputs[name]))
            reader.named |= {n for n in near if not level.holds(n)}
            reader.far |= far
        return Inner(nodes=nodes, outputs=outputs), level.outside

    def sub(
        self, raw: dict[str, Any], where: Where, section: str, reader: NodeReader
    ) -> tuple[Inner, set[str]] | None:
        """Another file as a group. What it is given is made of names that are seen here."""
        builder = self.builder
        path = raw["workflow"]
        if not isinstance(path, str):
            return None  # the schema has told of it
        if "${{" in path:
            what = "cannot be an expression: it is read before anything runs"
            builder.fault((*where, "workflow"), what, "write its path")
            return None
        file = posixpath.normpath(posixpath.join(posixpath.dirname(builder.file), path))
        data = builder.files(file)
        if data is None:
            return None  # who opened the files has told of it
        workflow = builder.sub(file, data, self.phase or self.section or section)
        params = {}
        given = builder.mapping(raw, "params")
        for name, value in given.items():
            place = (*where, "params", name)
            params[name] = builder.compile(value, place)
            if name not in workflow.params:
                hint = expr.closest(name, workflow.params) or f"{path} has {', '.join(workflow.params) or 'none'}"
                builder.fault(place, f'no param named "{name}" in {path}', hint, key=True)
            for at, template in expr.templates_of(params[name], place):
                reader.check(template, at, reader.known)
        for name, schema in workflow.params.items():
            if name not in given and "default" not in schema:
                builder.fault((*where, "workflow"), f'"{path}" wants the param "{name}"', f"add params: {{{name}: …}}")
        return Inner(nodes=workflow.nodes, outputs=workflow.outputs, workflow=workflow, params=params), set()

    def many(
        self,
        kind: str,
        raw: dict[str, Any],
        where: Where,
        section: str,
        known: Mapping[str, Any],
        own: NodeReader,
        work: dict[str, Any],
        name: str,
    ) -> dict[str, Any]:
        """The fields of a `for_each` node, with what each of its items is."""
        builder = self.builder
        fields = own.fields(OF_EACH - {"when"})
        key = None
        if raw.get("key") is not None:
            key = builder.compile(raw["key"], own.at("key"))
            seen = {**known, "item": None, "index": None}
            for place, template in expr.templates_of(key, own.at("key")):
                own.check(template, place, seen)
            if not isinstance(key, expr.Template):
                hint = 'write it as an expression: "${{ item.id }}"'
                builder.fault(own.at("key"), "gives all items the same key", hint)
        place = own.at("for_each")
        items = builder.compile(raw["for_each"], place)
        for at, template in expr.templates_of(items, place):
            own.check(template, at, known)
        # Asked once, unless it sees the item: then of each.
        when: dict[str, Any] = {}
        if raw.get("when") is not None:
            when = {"when": value} if (value := own.condition("when")) is not None else {}
        of_item = any(r.path[0] in ITEM and r.path[0] not in known for r in expr.references_of(when.get("when")))
        item = Node(
            id=name,
            kind=kind,
            where=where,
            file=builder.file,
            section=self.phase or self.section or section,
            **work,
            **(when if of_item else {}),
        )
        each = Each(items=items, item=item, key=key if isinstance(key, expr.Template) else None)
        outside = work.get("outside", frozenset())
        return {"body": None, "each": each, "outside": outside, **fields, **({} if of_item else when)}

    # -- needs

    def holds(self, name: str) -> bool:
        """Whether a node is one of this level."""
        return any(name in raws for raws in self.sections.values())

    def needs_of(
        self, name: str, raw: dict[str, Any], section: str, where: Where, reader: NodeReader
    ) -> tuple[str, ...]:
        """What a node declares to need, and what its expressions name, as far as that is a need."""
        builder = self.builder
        listed = raw.get("needs")
        declared = [n for n in listed if isinstance(n, str)] if isinstance(listed, list) else []
        here = self.section or section
        named = sorted(n for n in reader.named if self.section_of(n) == here and n != name)
        late = {n for n in reader.named if self.section_of(n) == "finally"}
        late |= {n for n in reader.far if builder.top.section_of(n) == "finally"}
        for other in sorted(late) if here == "nodes" else ():
            builder.fault(where, f'names "{other}", which is a finally node and runs after it', key=True)
        if name in reader.named or name in declared:
            builder.fault(where, f"cycle: {name} -> {name}", "a node cannot need itself", key=True, path="")
        if not declared and not named and str(raw.get("trigger")).startswith("any_"):
            what = f"{raw['trigger']} needs something that can succeed or fail"
            builder.fault(reader.at("trigger"), what, "add needs")
        needs = tuple(dict.fromkeys([n for n in declared if self.section_of(n) == here and n != name] + named))
        self.outside.update(n for n in needs if not self.holds(n))
        return needs

    def check_needs(self, nodes: dict[str, Node]) -> None:
        """Every need exists and lies in the same section; nothing needs itself by a detour."""
        builder = self.builder
        for section, raws in self.sections.items():
            here = self.section or section
            for name, raw in raws.items():
                if not isinstance(raw, dict):
                    continue
                whole = raw if any(key in raw for key in GROUPS) else builder.with_defaults(raw)
                declared = whole.get("needs")
                holder: Where = (*self.places[section], name) if "needs" in raw else ("defaults",)
                path = dotted((*holder, "needs"))
                for i, need in enumerate(declared if isinstance(declared, list) else ()):
                    if isinstance(need, str):  # else the schema has told of it
                        self.check_need(need, here, (*holder, "needs", i), path)
        edges = {}
        for name, node in nodes.items():
            inside = [n for n in sorted(node.outside) if n in nodes]
            edges[name] = list(dict.fromkeys([*(n for n in node.needs if n in nodes), *inside]))
            self.outside.update(n for n in node.outside if n not in nodes)
        for loop in graph.cycles(edges):
            builder.fault(nodes[loop[0]].where, cycle_text(loop), "take out one of these needs", key=True, path="")

    def check_need(self, need: str, here: str, where: Where, path: str) -> None:
        builder = self.builder
        there = self.section_of(need)
        if there is None:
            near = (expr.closest(need, self.known["nodes"]) if builder.hints else "") or "declare it, or take it out"
            builder.fault(where, f'no node named "{need}"', near, path=path)
        elif here == "finally" and there == "nodes":
            builder.fault(where, f'"{need}" has always ended when finally begins', "take it out", path=path)
        elif here == "nodes" and there == "finally":
            what = f'"{need}" is a finally node; it runs after all others'
            builder.fault(where, what, "take it out", path=path)


def kinds_in(raw: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    """The kinds that a node or a step names; where there is none of ours, what is none of its other `keys`: maybe one
    that is installed."""
    found = [kind for kind in KINDS if kind in raw]
    return found or [key for key in raw if key not in keys and not key.startswith("x-")]


def joined(paths: Value, more: tuple[Value, ...]) -> Value:
    """The paths of a node and those that its kind adds; they have no names of their own."""
    if isinstance(paths, Mapping):
        return {**paths, **{f"({i})": path for i, path in enumerate(more)}}
    return [*(paths if isinstance(paths, (list, tuple)) else [] if paths is None else [paths]), *more]


def cycle_text(loop: list[str]) -> str:
    """`cycle: a -> b -> a`, shortened in the middle where it is long."""
    shown = loop if len(loop) <= 13 else [*loop[:6], f"({len(loop) - 12} more)", *loop[-6:]]
    return f"cycle: {' -> '.join(shown)}"


def _never_kept(kind: Kind, body: object, name: str) -> str:
    """Why no result of such a node can be kept; empty where it can."""
    if name == "ask":
        return "a person is asked each time"
    if kind.prepares(body):
        return "a prepared transaction is done when the run ends"
    return "what it puts back is another thing in each run" if kind.restores(body) else ""
