"""How a node is undone, as it was written: its steps, what proves each of them, and what a file says of rollbacks.

Knows no run and undoes nothing: it reads steps, tells what is wrong with them, and which values they will need."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from wfctl import expr, graph, instances, quantity
from wfctl.errors import Problem, Where, nearest
from wfctl.node import AFTER_WORK, Node, NodeReader, Retry, Value
from wfctl.node import read_retry as read_tries
from wfctl.record import dataclass

if TYPE_CHECKING:
    from wfctl.instances import Instance
    from wfctl.level import Level

STRATEGIES = ("compensate", "full", "partial", "checkpoint", "auto", "none")
"""What a rollback can be, in the order of the documentation."""

KEYS = ("compensate", "compensate_when", "pivot")
"""What a node may say of its undo."""

STEP_KEYS = tuple("description with shell args stdin stdout params outputs expect timeout retry".split())
"""What a step may say beside its kind and `verify`."""

TIMEOUT = 300.0
"""Seconds of one try of a step, or of what proves it, where they say nothing."""

RETRY = Retry(attempts=5, delay=1.0)
"""How a step is tried again where neither it nor the file says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A name in a value of a step: its path, where it stands, and the nodes that it leads to: directly (`near`), to be
    sought from the node that is undone; and by way of vars (`far`), in the whole file."""

    path: tuple[str, ...]
    where: Where
    offset: int = 0
    near: tuple[str, ...] = ()
    far: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of an undo, and what proves that it worked.

    Both are nodes as far as work goes, with the id of the node that they undo: `env`, `secrets` and `cwd` are those of
    that, and `timeout` is 5 minutes unless said. Of `node.retry` only the keys in `said` count: `retry_of` lays them
    over those of the file. `verify.retry` is its own, one attempt unless said.
    """

    node: Node
    verify: Node | None = None
    said: frozenset[str] = frozenset()
    """The keys of `retry` that the step says itself."""
    names: tuple[Named, ...] = field(default=(), compare=False)
    """What the values of both name, but what they see of their own work in `expect` and `retry.when`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """What the file says of rollbacks. `strategy` is one of STRATEGIES, None where that follows from the nodes."""

    strategy: str | None = None
    retry: Retry = RETRY
    max_restarts: int = 1


def retry_of(step: Step, rollback: Rollback) -> Retry:
    """How a step is tried again: what it says itself, over what the file says."""
    return replace(rollback.retry, **{key: getattr(step.node.retry, key) for key in step.said})


def references(steps: Iterable[Step], _: object = None) -> set[tuple[str, ...]]:
    """Every path that the values of these steps and of their proofs name: what an undo needs to know.

    Those of the node's own work are in it (`output …`), and those of secrets (`secrets NAME`), which nobody may record;
    a var that holds one is `vars NAME` as any other. What `env` and `cwd` name is not: they are the node's."""
    return {named.path for step in steps for named in step.names}


def deferred(steps: Iterable[Step] | None) -> list[Mapping[str, Value]]:
    """What of the steps is read once params are known, as `Node.deferred` has it."""
    parts = [one for step in steps or () for one in (step.node, step.verify)]
    return [one.deferred for one in parts if one is not None and one.deferred]


# -- what a file says


def read_strategy(raw: object) -> str:
    """A strategy by its name. ValueError says what is wrong, with the nearest one."""
    if isinstance(raw, str) and raw in STRATEGIES:
        return raw
    near = f"; {hint}" if isinstance(raw, str) and (hint := nearest(raw, STRATEGIES)) else ""
    raise ValueError(f"expected one of {', '.join(STRATEGIES)}, got {quantity.shown(raw)}{near}")


def read_retry(raw: object) -> Retry:
    """The `retry` of a rollback without its `when`. ValueError says what is wrong."""
    if not isinstance(raw, Mapping):
        return read_tries(raw)
    return read_tries({"attempts": RETRY.attempts, **{k: v for k, v in raw.items() if v is not None}})


def reads_retry(key: str) -> Callable[[object], Retry]:
    """A reader of one key of that."""
    return lambda part: read_retry({key: part})


def read_restarts(raw: object) -> int:
    """How often a rollback to a checkpoint may run the rest again. ValueError says what is wrong."""
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        raise ValueError(f"expected a whole number from 0 up, got {quantity.shown(raw)}")
    return raw


READERS: Mapping[str, Callable[[Any], Any]] = {"strategy": read_strategy, "max_restarts": read_restarts}
"""The parts of `rollback` beside `retry`, each with its reader."""


def has_checkpoint(nodes: Iterable[Node]) -> bool:
    """Whether any of the nodes, or of what is inside of them, may leave a checkpoint before the run ends."""
    for node in nodes:
        if node.section == "finally":
            continue
        if node.checkpoint is not None or (node.each is not None and has_checkpoint([node.each.item])):
            return True
        if node.inner is not None and has_checkpoint(node.inner.nodes.values()):
            return True
    return False


NO_CHECKPOINT = "no node has a checkpoint to go back to"
ADD_CHECKPOINT = "add checkpoint: true to a node, or choose another strategy"


# -- what a node says


def read(
    level: Level, kind: str, raw: Mapping[str, Any], reader: NodeReader, work: dict[str, Any], in_finally: bool
) -> None:
    """Read what a node of that kind says of its undo into its fields, `work`. What comes from the defaults and does
    nothing here is passed over; what the node says itself and does nothing is a fault."""
    said = [key for key in KEYS if raw.get(key) is not None]
    fault = level.builder.fault
    if said and (in_finally or kind == "ask"):
        why = "nothing in finally is undone" if in_finally else "an answer cannot be undone"
        for key in said:
            work.pop(key, None)
            if key in reader.own and raw[key] is not False:
                fault(reader.at(key), f'"{key}" does nothing here: {why}', "take it out", key=True)
        work["deferred"] = {key: value for key, value in work["deferred"].items() if key not in KEYS}
        return
    steps = raw.get("compensate")
    if steps == "none":
        work["compensate"] = ()
    elif isinstance(steps, list) and not work["prepares"]:
        found = [_Steps(level, reader, work).step(step, (*reader.at("compensate"), i)) for i, step in enumerate(steps)]
        work["compensate"] = tuple(step for step in found if step is not None)
    elif isinstance(steps, list) and "compensate" in reader.own:
        what = "a prepared transaction is rolled back by itself, so there is nothing to compensate"
        fault(reader.at("compensate"), what, "take out compensate, or prepare", key=True)
    if raw.get("compensate_when") == "attempted" and "compensate_when" in reader.own and not isinstance(steps, list):
        what = '"compensate_when" does nothing without steps'
        fault(reader.at("compensate_when"), what, "add compensate with a list of steps, or take it out", key=True)


class StepReader(NodeReader):
    """Reads the keys of a step. What it names is no need of the node: it is gathered in `names`, for who knows what the
    node depends on. `before` is what expressions see of which the plan is made."""

    def __init__(
        self, level: Level, where: Where, raw: Mapping[str, Any], known: Mapping[str, Any], before: Mapping[str, Any]
    ) -> None:
        super().__init__(level, where, raw, known, raw.keys())
        self.before = before
        self.names: list[Named] = []

    def check(self, template: Any, where: Where, known: Mapping[str, Any]) -> None:
        """Check an expression, and keep what it names."""
        self.dynamic = True
        own = AFTER_WORK if where[len(self.where) :] in (("expect",), ("retry", "when")) else ()
        for reference in template.references:
            if reference.path[0] not in own:
                self.name(reference, where)
        self.builder.check_template(template, where, known, secrets=self.may_hold_secrets)

    def name(self, reference: expr.Reference, where: Where) -> None:
        """Keep a name; one of a node that runs after all others is a fault."""
        near, far = self.level.named([reference])
        late = {n for n in near if self.level.section_of(n) == "finally"}
        late |= {n for n in far if self.builder.top.section_of(n) == "finally"}
        for other in sorted(late):
            what = f'names "{other}", which is a finally node and runs after this was undone'
            problem = Problem(where, what, "take it out", offset=reference.offset)
            self.builder.problems.append(problem)
        direct = reference.path[0] == "nodes"
        self.names.append(
            Named(
                path=reference.path,
                where=where,
                offset=reference.offset,
                near=tuple(sorted(near - late)) if direct else (),
                far=tuple(sorted((far if direct else near | far) - late)),
            )
        )


class _Steps:
    """Reads the steps of one node, of which `reader` has read the fields `work`."""

    def __init__(self, level: Level, reader: NodeReader, work: Mapping[str, Any]) -> None:
        self.level = level
        self.builder = builder = level.builder
        self.reader = reader
        self.known = {**reader.with_paths, **AFTER_WORK}
        shared = ("env", "secrets", "cwd", "sealed", "default_env")
        self.shared = {key: work[key] for key in shared if key in work}
        self.dynamic = bool(work["dynamic"])
        self.received = set(work.get("secrets", ())) | builder.secrets_of(expr.references_of(work.get("env")))

    def step(self, raw: object, where: Where) -> Step | None:
        """One step; None where it has a fault that leaves nothing of it."""
        done = self.work(raw, where)
        if done is None or not isinstance(raw, dict):
            return None
        node, names = done
        proof = self.work(raw["verify"], (*where, "verify")) if raw.get("verify") is not None else None
        retry = raw.get("retry")
        said = frozenset(k for k, v in retry.items() if v is not None) & _RETRY if isinstance(retry, dict) else _NONE
        verify, more = proof if proof is not None else (None, [])
        return Step(node=node, verify=verify, said=said, names=(*names, *more))

    def work(self, raw: object, where: Where) -> tuple[Node, list[Named]] | None:
        """What a step, or a proof, does, and what it names."""
        from wfctl.level import GROUPS, kinds_in

        builder = self.builder
        if not isinstance(raw, dict):
            return None  # the schema has told of it
        found = kinds_in(raw, (*STEP_KEYS, "verify"))
        if len(found) != 1:
            return None  # the schema has told of none, or of two
        kind = found[0]
        if kind == "ask" or kind in GROUPS:
            what, hint = _NO_STEP["ask" if kind == "ask" else "groups"]
            builder.fault((*where, kind), f'"{kind}" cannot undo anything: {what}', hint, key=True)
            return None
        own = {key: value for key, value in raw.items() if key == kind or (key in STEP_KEYS and value is not None)}
        reader = StepReader(self.level, where, own, self.known, self.reader.known)
        fields = self.level.work(kind, own, where, reader, {})
        if fields is None:
            return None
        if fields["prepares"]:
            what = "a step does its work for good: nobody would commit what it prepares"
            builder.fault((*where, kind, "prepare"), what, "take it out", key=True)
        received = self.received | reader.received
        fields |= self.shared
        fields["dynamic"] = fields["dynamic"] or self.dynamic
        fields["receives"] = tuple(name for name in builder.secrets if name in received)
        fields.setdefault("timeout", TIMEOUT)
        name = str(self.reader.where[-1])
        return Node(id=name, kind=kind, where=where, file=builder.file, **fields), reader.names


_NONE: frozenset[str] = frozenset()
_RETRY = frozenset(("attempts", "delay", "backoff", "max_delay", "jitter", "max_time", "when"))
_NO_STEP = {
    "ask": ("nobody need be there to answer", "let a node ask, or use run, call, http, sql, files or notify"),
    "groups": ("a step is one piece of work", "write what is in it as steps, one after the other"),
}


# -- what an undo can count on


def settled(step: Step, read: Callable[[Node], Node], evaluate: Callable[[Value], object]) -> Step:
    """The step with its deferred keys read by `read`; `evaluate` gives a value, or raises what expressions raise."""
    said = step.said
    retry = step.node.deferred.get("retry")
    if isinstance(retry, expr.Template):  # which keys it has shows only now
        try:
            value = evaluate(retry)
        except (expr.ExpressionError, expr.Unknown):
            value = None  # `read` tells of it
        said |= {k for k, v in value.items() if v is not None} & _RETRY if isinstance(value, Mapping) else _NONE
    node = read(step.node) if step.node.deferred else step.node
    verify = read(step.verify) if step.verify is not None and step.verify.deferred else step.verify
    return replace(step, node=node, verify=verify, said=said)


Points = Callable[[], Mapping[str, list[str]]]


def strangers(made: Mapping[str, Instance], before: Points) -> Iterator[Problem]:
    """The names in steps of what the node does not depend on: nothing says that it had ended when the node began.

    `before` gives the points of all nodes (`instances.points`), by whatever makes their edges."""
    needed = _Needed(made, before)
    for one in made.values():
        if one.node.compensate:
            yield from _of(one.node, *needed.asked(one))
        elif one.open and one.node.each is not None and not one.children:
            near, far = needed.asked(one)
            yield from _of(one.node.each.item, near, far)
            yield from _inside(one.node.each.item, near, far)  # of items that only a run can tell, as it is written


Asked = Callable[[str], str]
"""What to do about a name; empty where the node depends on what it means."""

NEAR = 50
"""Points before a node that are looked through for a name, before all that lies behind what it names is."""


class _Needed:
    """Which nodes depend on which, found when it is asked for: most name what they need themselves."""

    def __init__(self, made: Mapping[str, Instance], points: Points) -> None:
        self._made, self._points = made, points
        self._before: Mapping[str, list[str]] | None = None
        self._after: Mapping[str, list[str]] = {}
        self._beyond: dict[str, set[str]] = {}

    def asked(self, one: Instance) -> tuple[Asked, Asked]:
        """What to do about the names of a node: those to be sought from there, and in its whole file."""
        scope = one.scope
        return (
            lambda name: self.way_out(one.id, name, scope.find(name)),
            lambda name: self.way_out(one.id, name, scope.file.find(name)),
        )

    def way_out(self, id: str, name: str, other: str | None) -> str:
        """What to do about a name of another node in a node; empty where nothing is wrong with it."""
        if other is None or self.by(id, other):
            return ""
        return f'"{name}" comes after it; take it out' if self.by(other, id) else f"add needs: [{name}]"

    def by(self, id: str, other: str | None) -> bool:
        """Whether the node of that id has another behind it when it begins."""
        if other is None or other not in self._made:
            return True  # somebody else has told of it
        point = other + instances.END if self._made[other].holds else other
        if other in self._made[id].needs:
            return True
        if self._before is None:
            self._before = self._points()
            self._after = graph.successors(self._before)
        if point in itertools.islice(_before(id, self._before), NEAR):
            return True
        if point not in self._beyond:
            self._beyond[point] = graph.reach(self._after[point], self._after)
        return id in self._beyond[point]


def _before(id: str, before: Mapping[str, list[str]]) -> Iterator[str]:
    """What comes before a node, the nearest first."""
    queue, seen = deque([id]), {id}
    while queue:
        point = queue.popleft()
        yield point
        new = [other for other in before[point] if other not in seen]
        seen.update(new)
        queue.extend(new)


def _of(node: Node, near: Asked, far: Asked) -> Iterator[Problem]:
    """The faults of one node; `near` and `far` say what to do about names that it does not depend on."""
    for named in (named for step in node.compensate or () for named in step.names):
        hints = [(n, near(n)) for n in named.near if n != node.id]
        hints += [(n, far(n)) for n in named.far if n != node.id]
        for other, hint in ((other, hint) for other, hint in hints if hint):
            way = "" if named.path[0] == "nodes" else f" by way of {'.'.join(named.path[:2])}"
            what = f'names "{other}"{way}, which "{node.id}" does not depend on'
            yield Problem(named.where, what, hint, offset=named.offset, file=node.file)


def _inside(around: Node, near: Asked, far: Asked) -> Iterator[Problem]:
    """Those of the nodes in a group that is not made yet. Edges by files do not show here."""
    if around.inner is None:
        return
    inside = around.inner.nodes
    needs = {name: [n for n in (*one.needs, *one.outside) if n in inside] for name, one in inside.items()}
    for name, one in inside.items():
        held = graph.reach(needs[name], needs) if one.compensate or one.inner or one.each else set()

        def here(other: str, held: set[str] = held) -> str:
            if other not in inside:
                return near(other)
            return "" if other in held else f"add needs: [{other}]"

        whole = here if around.inner.workflow is not None else far
        for node in (one, one.each.item) if one.each is not None else (one,):
            yield from _of(node, here, whole)
            yield from _inside(node, here, whole)
