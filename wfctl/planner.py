"""Makes the plan of a run: nodes with edges, demands, levels and path lengths, and the items that join it later.

Knows nothing of files, clocks or the machine: what it needs of them is in the `Request`."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wfctl import bounds, compensation, estimates, expr, graph, handovers, instances, quantity, scope
from wfctl.budget import DEVICES, Demand
from wfctl.compensation import Rollback
from wfctl.errors import Problem, Where
from wfctl.instances import Instance, Instances
from wfctl.items import Item
from wfctl.level import cycle_text
from wfctl.node import ITEM, PLANNED, Node, Value
from wfctl.params import env_of, params_of
from wfctl.paths import based, confined
from wfctl.plan import (
    DEFAULT_ESTIMATE,
    LOG_LIMIT,
    ON_BUSY,
    ON_FAILURE,
    SOURCES,
    Plan,
    Planned,
    Request,
)  # fmt: skip
from wfctl.policy import POLICIES
from wfctl.record import dataclass
from wfctl.scope import Scope
from wfctl.score import AGING, WEIGHTS, level_at, read_aging, read_groups, read_weights
from wfctl.spec import SCHEDULING, SUPPLY, Workflow
from wfctl.standing import Standing, standings


def build(workflow: Workflow, request: Request) -> tuple[Plan, list[Problem]]:
    """The plan of one run, and all that stands against it. With problems the plan is not fit to run."""
    return Planner(workflow, request).build()


@dataclass(frozen=True, slots=True)
class Joining:
    """What joins a plan: the items, all with what is inside of them, and of what holds others where its end stands."""

    children: list[str]
    planned: dict[str, Planned]
    ends: dict[str, tuple[float, Standing]]
    open_ended: set[str]


class Planner:
    """Builds one plan, and lets it grow. Collects problems as it goes."""

    def __init__(self, workflow: Workflow, request: Request) -> None:
        self.workflow = workflow
        self.request = request
        self.problems: list[Problem] = []
        self.run: dict[str, object] = {
            "id": request.run_id or expr.UNKNOWN,
            "started": request.started or expr.UNKNOWN,
        }
        self.params, problems = params_of(workflow, request.params, self.run, request.environ)
        self.problems += problems
        self.env, problems = env_of(workflow, self.params, self.run, request.environ)
        self.problems += problems
        self.names = scope.before(self.params, self.env, workflow.vars, self.run)
        self.root = "."
        self.pending: tuple[str, list[str], Joining] | None = None
        self.medians: Mapping[str, float] = {}
        self.settled_by_template: dict[int, Node] = {}

    def names_of(self, place: Scope) -> scope.Names:
        """What expressions see there, as far as it is known before the run."""
        if place.outer is None and place.sub is None:
            return self.names
        return scope.seen(place, self.names, lambda _: expr.UNKNOWN, self.request.environ)

    def base_of(self, file: str, place: Scope) -> str:
        """The folder of a sub-workflow's paths, seen from the root."""
        assert place.sub is not None
        assert place.sub.workflow is not None
        try:
            root = _path(expr.evaluate_value(place.sub.workflow.root, self.names_of(place)))
            return instances.base(self.request.folder, file, root, self.root)
        except (expr.ExpressionError, expr.Unknown, ValueError) as error:
            self.problems.append(Problem(("root",), str(error), file=file))
            return ""

    def build(self) -> tuple[Plan, list[Problem]]:
        workflow = self.workflow
        supplies = self.supplies()
        budget = self.budget(supplies)
        root = self.setting("root", workflow.root, _path, ".")
        self.root = posixpath.normpath(posixpath.join(self.request.folder, root))
        top = Scope(workflow.nodes)
        made = Instances(self.names_of, self.base_of, self.problems).file(workflow.nodes, top)
        for one in made.values():
            one.node = self.settled(one)
        self.edges(made)
        self.check_undos(made)
        self.by_kind(made)
        chosen, given = self.selection(made)
        outputs = workflow.outputs
        if len(chosen) < len(workflow.nodes):
            made = _without(made, chosen, given)
            # What would lean on a node that is left out would say null, and mean nothing by it.
            outputs = {k: v for k, v in outputs.items() if workflow.nodes_of(v) <= made.keys()}
        self.budgets, self.weights = budget, self.setting("weights", workflow.weights, read_weights, WEIGHTS)
        ends: dict[str, tuple[float, Standing]] = {}
        before = instances.points(made)
        planned, ordered, counted = self.placed(made, before, given, ends)
        lost = bounds.superseded(planned, ordered, before, counted)
        ordered = [point for point in ordered if point not in lost] if lost else ordered
        concurrency = int(self.setting("concurrency", workflow.concurrency, _count, self.request.cores))
        plan = Plan(
            name=workflow.name,
            run=self.run,
            params=self.params,
            env=self.env,
            secrets=workflow.secrets,
            vars=workflow.vars,
            outputs=outputs,
            nodes=planned,
            budget=budget,
            rates={name: parts["rate"] for name, parts in supplies.items() if parts.get("rate")},
            shared=self.shared(supplies, budget),
            lock=self.setting("lock", workflow.lock.get("name"), _name, ""),
            on_busy=self.setting("lock", workflow.lock.get("on_busy"), _among(ON_BUSY), "wait"),
            devices=self.request.devices or (),
            concurrency=concurrency,
            policy=str(self.setting("policy", workflow.policy, _among(POLICIES), "priority")),
            weights=self.weights,
            aging=self.setting("aging", workflow.aging, read_aging, AGING),
            groups=self.setting("groups", workflow.groups, read_groups, {}),
            on_failure=str(self.setting("on_failure", workflow.on_failure, _among(ON_FAILURE), "stop")),
            rollback=self.rollback(),
            timeout=self.setting("timeout", workflow.timeout, quantity.seconds, None),
            grace=self.setting("grace", workflow.grace, quantity.seconds, self.request.grace),
            log_limit=self.setting("log_limit", workflow.log_limit, quantity.size, LOG_LIMIT),
            root=self.root,
            critical_path=bounds.critical_path(planned, ordered, before, counted),
            bounds=bounds.lower_bounds(planned, ordered, before, counted, budget, concurrency),
            scope=top,
            environ=self.request.environ,
            open_ended={one.id for one in made.values() if one.open},
            ends=ends,
            planner=self,
        )
        return plan, self.problems

    def measured(self, plan: Plan, served: Collection[str] = ()) -> Plan:
        """The same plan with the critical path and the bounds of all there is by now: items may have joined, and the
        `served` need no work."""
        nodes = {**plan.nodes, **{name: replace(plan.nodes[name], given=True, estimate=0.0) for name in served}}
        before = instances.points(nodes)
        ordered = [point for point in graph.order(before) if nodes[instances.at(point)].likely]
        lengths = {point: 0.0 if point.endswith(instances.END) else nodes[point].estimate for point in ordered}
        path = bounds.critical_path(nodes, ordered, before, lengths)
        lower = bounds.lower_bounds(nodes, ordered, before, lengths, plan.budget, plan.concurrency)
        return replace(plan, critical_path=path, bounds=lower)

    def check_growth(self, plan: Plan, parent: str, items: Sequence[Item]) -> None:
        """Make what would join, to see whether it can. Raises ExpressionError as `Plan.grow`, which takes it then."""
        self.pending = (parent, [item.key for item in items], self.joining(plan, parent, items))

    def joining(self, plan: Plan, parent: str, items: Sequence[Item]) -> Joining:
        """The items of a `for_each` with all inside of them, each with its place. Raises ExpressionError."""
        holder = plan.nodes[parent]
        self.problems = []
        making = Instances(self.names_of, self.base_of, self.problems)
        children = making.items(parent, holder.node, holder.scope, items)
        made = making.made
        for one in made.values():
            one.node = self.settled(one)
        self.problems += handovers.add_edges(made, self.paths)
        before = instances.points(made)
        ends: dict[str, tuple[float, Standing]] = {}
        planned, _, _ = self.placed(made, before, set(), ends, plan.ends[parent])
        if self.problems:
            problem = self.problems[0]
            raise expr.ExpressionError(f"{problem.shown_path}: {problem.message}")
        return Joining(children, planned, ends, {one.id for one in made.values() if one.open})

    def grow(self, plan: Plan, parent: str, items: Sequence[Item]) -> list[str]:
        """As `Plan.grow` has it."""
        pending, self.pending = self.pending, None
        if pending is not None and pending[:2] == (parent, [item.key for item in items]):
            joining = pending[2]
        else:
            joining = self.joining(plan, parent, items)
        plan.nodes.update(joining.planned)
        plan.open_ended.update(joining.open_ended)
        plan.ends.update(joining.ends)
        plan.nodes[parent].children[:] = joining.children
        for joined in joining.planned.values():
            for need in joined.needs:
                if need not in joining.planned and need in plan.nodes:
                    plan.nodes[need].dependents.append(joined.id)
        return list(joining.planned)

    def edges(self, made: dict[str, Instance]) -> None:
        """Add what each node needs by who writes what it reads. Circles are told, and then cut."""
        self.check_folders(made)
        before = instances.points(made)
        sound = len(graph.order(before)) == len(before)  # the spec has told of cycles in what was written
        self.problems += handovers.add_edges(made, self.paths)
        before = instances.points(made)
        loops = graph.cycles(before)
        for loop in loops if sound else ():
            shown = list(dict.fromkeys(map(instances.at, loop[:-1])))
            first = made[shown[0]].node
            hint = "the paths that they read and write make this circle"
            what = cycle_text([*shown, shown[0]])
            self.problems.append(Problem(first.where, what, hint, key=True, path="", file=first.file))
        if loops:  # only good for finding more problems: without the edges of what has no order
            fine = set(graph.order(before))
            for one in made.values():
                one.needs = one.needs if one.id in fine else []

    def check_undos(self, made: Mapping[str, Instance]) -> None:
        """What undoes a node leans on nothing but what the node itself leans on."""
        if not self.problems:  # else edges may be missing
            self.problems += dict.fromkeys(compensation.strangers(made, lambda: instances.points(made)))

    def placed(
        self,
        made: Mapping[str, Instance],
        before: Mapping[str, Sequence[str]],
        given: set[str],
        ends: dict[str, tuple[float, Standing]],
        beyond: tuple[float, Standing] | None = None,
    ) -> tuple[dict[str, Planned], list[str], dict[str, float]]:
        """Each node with its place among the others; all points in order, but those that a plan leaves out; and how
        many seconds each takes.

        `ends` is told of what holds others. `beyond` is where the end of what all of them are inside of stands.
        """
        demands = {one.id: self.demand(one) for one in made.values()}
        ordered = graph.order(before)
        after = graph.successors(before)
        length, source = self.estimates(made)
        length.update(dict.fromkeys(given, 0.0))
        idle = self.left_out(made, ordered, before)
        counted = {point: 0.0 if point in idle else length.get(point, 0.0) for point in before}
        unknown = (one for one in made.values() if one.open and not one.children and one.id not in idle)
        counted.update({one.id: self.expected(one.node) for one in unknown})
        known: dict[str, tuple[float, Standing]] = {}
        if beyond is not None:
            known[instances.END] = beyond
            after = {point: others or [instances.END] for point, others in after.items()}
            counted[instances.END] = 0.0
        tails = graph.tails(ordered, after, counted.__getitem__, {p: tail for p, (tail, _) in known.items()})
        nodes = {point: made[instances.at(point)].node for point in before}
        standing = standings(
            nodes, ordered, after, tails, counted, self.budgets, self.weights, {p: s for p, (_, s) in known.items()}
        )
        default = Standing()  # of what lies on a cycle: such a plan is never run
        for point in before:
            if point.endswith(instances.END):
                ends[instances.at(point)] = (tails.get(point, 0.0), standing.get(point, default))
        dependents: dict[str, list[str]] = {one: [] for one in made}
        for one in made.values():
            for need in one.needs:
                if need in dependents:
                    dependents[need].append(one.id)
        chains: dict[str, tuple[str, float, int] | None] = {}
        planned = {}
        for name, one in made.items():
            chains[name] = chain = _chain(one, made, chains, tails)
            planned[name] = Planned(
                id=name,
                node=one.node,
                needs=tuple(one.needs),
                dependents=dependents[name],
                demand=demands[name],
                level=level_at(standing.get(name, default).rises, 0.0),
                estimate=length[name],
                source=source[name],
                tail=tails.get(name, 0.0),
                scope=one.scope,
                given=name in given,
                likely=one.node.section == "nodes" and name not in idle and name not in given,
                standing=standing.get(name, default),
                parent=one.parent,
                children=one.children,
                inside=one.inside,
                chain=chain,
            )
        return planned, [point for point in ordered if point not in idle], counted

    def estimates(self, made: Mapping[str, Instance]) -> tuple[dict[str, float], dict[str, str]]:
        """Seconds that each node is taken to need, and where that comes from."""
        history = self.request.estimates
        length, source = {}, {}
        for name, one in made.items():
            if one.holds or one.node.kind == "ask":  # a plan takes a question to be answered at once
                length[name], source[name] = 0.0, "declared"
                continue
            known = (history.get(name), one.node.estimate, self.medians.get(one.node.kind), DEFAULT_ESTIMATE)
            length[name], source[name] = next((v, w) for v, w in zip(known, SOURCES, strict=True) if v is not None)
        return length, source

    def expected(self, node: Node) -> float:
        """Seconds of a node whose items are not known, as if there were one: its own, or the longest path inside."""
        if node.each is not None:
            return self.expected(node.each.item)
        if node.kind == "ask":
            return 0.0
        if node.inner is None:
            known = (node.estimate, self.medians.get(node.kind), DEFAULT_ESTIMATE)
            return next(value for value in known if value is not None)
        inside = node.inner.nodes
        needs = {name: [n for n in one.needs if n in inside] for name, one in inside.items()}
        lengths = {name: self.expected(one) for name, one in inside.items()}
        return max(graph.tails(graph.order(needs), graph.successors(needs), lengths.__getitem__).values(), default=0.0)

    def by_kind(self, made: Mapping[str, Instance]) -> None:
        """Find the median of each kind in this file: of all there is before any of it is left out or joins."""
        if self.request.estimates:
            kinds = {name: one.node.kind for name, one in made.items() if not one.holds}
            self.medians = estimates.by_kind(self.request.estimates, kinds)

    # -- the file's own keys

    def rollback(self) -> Rollback:
        """What the file says of rollbacks."""
        said, usual = self.workflow.rollback, Rollback()
        if not said:
            return usual
        values = {key: getattr(usual, key) for key in ("strategy", "retry", "max_restarts")}
        readers = {**compensation.READERS, "retry": compensation.read_retry}
        for key in [key for key in readers if key in said]:
            values[key] = self.part(("rollback", key), said[key], readers[key], values[key])
        if said.get("when") is not None:
            values["retry"] = replace(values["retry"], when=said["when"])
        found = Rollback(**values)
        told = said.get("strategy") == "checkpoint"  # as it is written, where the file was read
        if found.strategy == "checkpoint" and not told:
            if not compensation.has_checkpoint(self.workflow.nodes.values()):
                what, hint = compensation.NO_CHECKPOINT, compensation.ADD_CHECKPOINT
                self.problems.append(Problem(("rollback", "strategy"), what, hint))
        return found

    def setting(self, key: str, value: Value, read: Any, default: Any) -> Any:
        if value is None:
            return default
        return self.part(("scheduling", key) if key in SCHEDULING else (key,), value, read, default)

    def part(self, where: Where, value: Value, read: Any, default: Any) -> Any:
        """A value of the file, its expressions evaluated; the default where that cannot be."""
        try:
            return read(expr.evaluate_value(value, self.names))
        except expr.Unknown:
            return default
        except (expr.ExpressionError, ValueError) as error:
            self.problems.append(Problem(where, str(error)))
            return default

    def supplies(self) -> dict[str, dict[str, Any]]:
        """Of each declared resource its parts, as numbers and words: amount, reserve, rate, share."""
        supplies: dict[str, dict[str, Any]] = {}
        for name, declared in self.workflow.resources.items():
            parts = supplies[name] = {}
            told = declared if isinstance(declared, dict) else {"amount": declared}
            for key, value in told.items():
                where: Where = ("resources", name, key) if told is declared else ("resources", name)
                try:
                    evaluated = expr.evaluate_value(value, self.names)
                    # What is plain was read when the file was.
                    parts[key] = evaluated if evaluated is value else SUPPLY[key](name, evaluated)
                except expr.Unknown:
                    continue
                except (expr.ExpressionError, ValueError) as error:
                    self.problems.append(Problem(where, str(error)))
        return supplies

    def budget(self, supplies: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
        """What this run may use of each resource: the amount less the reserve, and no device that it cannot see."""
        budget = dict(self.request.machine)
        for name, parts in supplies.items():
            amount, reserve = parts.get("amount"), parts.get("reserve") or 0
            if amount is None:  # it is not known, or has a fault; what nodes ask of it has none
                budget.pop(name, None)
            elif reserve > amount:
                has = quantity.shown_amount(name, amount)
                what = f"is {quantity.shown_amount(name, reserve)}, more than the amount, {has}"
                self.problems.append(Problem(("resources", name, "reserve"), what, "lower it"))
                budget.pop(name, None)
            else:
                budget[name] = amount - reserve
        if DEVICES in budget and self.request.devices is not None:
            budget[DEVICES] = min(budget[DEVICES], len(self.request.devices))
        return budget

    def shared(
        self, supplies: Mapping[str, Mapping[str, Any]], budget: Mapping[str, int]
    ) -> dict[str, tuple[int, int]]:
        """Amount and reserve of the budgets that runs have in common."""
        shared: dict[str, tuple[int, int]] = {}
        for name, parts in supplies.items():
            if parts.get("share") == "machine" and name in budget:
                reserve = parts.get("reserve") or 0
                shared[name] = (budget[name] + reserve, reserve)
        return shared

    # -- nodes

    def settled(self, one: Instance) -> Node:
        """The node with its deferred keys read, now that params are known: once for all that see the same."""
        node = one.node
        later = [node.deferred] if node.deferred else []
        if node.compensate:
            later += compensation.deferred(node.compensate)
        if later:
            shared = one.scope.file.sub is None and not any(r.path[0] in ITEM for r in expr.references_of(later))
            found = self.settled_by_template.get(id(node)) if shared else None
            if found is not None:
                return found
            settled = self.with_deferred(node, one.scope)
            if shared:
                self.settled_by_template[id(node)] = settled
                self.settled_by_template[id(settled)] = node  # kept: no other node may get its number
            node = settled
        if node.detach and node.receives:
            what = "what goes on after its node could write a secret to the log when nobody looks through that any more"
            problem = Problem(node.at("detach"), what, "take out detach, or its secrets", file=node.file)
            if problem not in self.problems[-1:]:
                self.problems.append(problem)
        return node

    def with_deferred(self, node: Node, place: Scope) -> Node:
        """The node with its deferred keys read, as they are there; its steps too."""
        values: dict[str, Any] = {}
        names = self.names_of(place)
        for key, raw in node.deferred.items():
            try:
                values[key] = PLANNED[key](expr.evaluate_value(raw, names))
            except expr.Unknown:
                continue
            except (expr.ExpressionError, ValueError) as error:
                self.problems.append(Problem(node.at(key), str(error), file=node.file))
        if "retry" in values:
            values["retry"] = replace(values["retry"], when=node.retry.when)
        if "collect" in values and node.collect is not None:
            values["collect"] = replace(values["collect"], until=node.collect.until, score=node.collect.score)
        if compensation.deferred(node.compensate):
            values["compensate"] = tuple(
                compensation.settled(
                    step, lambda part: self.with_deferred(part, place), lambda value: expr.evaluate_value(value, names)
                )
                for step in node.compensate or ()
            )
        return replace(node, deferred={}, **values)

    def demand(self, one: Instance) -> Demand:
        """What a node holds while it runs."""
        node, budget, declared = one.node, self.budgets, self.workflow.resources
        if one.holds:
            return ()
        for name, wanted in node.resources.items():
            where = node.at("resources", name)
            if name not in budget:
                if name not in declared:
                    hint = f"declare it: resources: {{{name}: …}}"
                    what = f'there is no budget named "{name}"'
                    self.problems.append(Problem(where, what, hint, key=True, file=node.file))
            elif wanted > budget[name]:
                has = quantity.shown_amount(name, budget[name])
                what = f"needs {quantity.shown_amount(name, wanted)}, the budget is {has}"
                here = f"that is this machine's; say resources: {{{name}: …}} to plan for another"
                hint = "" if name in declared else here
                if name == DEVICES and self.request.devices is not None:
                    hint = f"CUDA_VISIBLE_DEVICES shows {len(self.request.devices)} here"
                self.problems.append(Problem(where, what, hint, file=node.file))
        return tuple(sorted(node.resources.items()))

    def left_out(
        self, made: Mapping[str, Instance], ordered: list[str], before: Mapping[str, Sequence[str]]
    ) -> set[str]:
        """Points that will not be reached where all goes well: of nodes that wait for a failure, those whose `when` is
        known to be false, and what needs them."""
        out: set[str] = set()
        for point in ordered:
            one = made[instances.at(point)]
            node, needs = one.node, before[point]
            if point.endswith(instances.END):
                if one.id in out:
                    out.add(point)
                continue
            if one.parent in out:
                out.add(point)
                continue
            missing = sum(need in out for need in needs) if out else 0
            count = len(one.needs)
            if count and node.trigger == "any_failed":
                out.add(point)
            elif missing and node.trigger == "all_succeeded" and not node.last:
                out.add(point)
            elif missing and missing == count and node.trigger == "any_succeeded":
                out.add(point)
            elif node.when is not True and node.section == "nodes":
                try:
                    if expr.evaluate_value(node.when, self.names_of(one.scope)) is False:
                        out.add(point)
                except (expr.Unknown, expr.ExpressionError):
                    continue
        return out

    # -- which nodes

    def selection(self, made: Mapping[str, Instance]) -> tuple[set[str], set[str]]:
        """The nodes of the file to run, and those left out whose output they lean on."""
        request, nodes = self.request, self.workflow.nodes
        needs = instances.lifted(made, {one.id: one.needs for one in made.values()})
        for option, names in (("--from", request.start_from), ("--until", request.until), ("--only", request.only)):
            for name in names:
                if name not in nodes or nodes[name].section != "nodes":
                    raise SelectionError(option, name, [n for n, node in nodes.items() if node.section == "nodes"])
        main = {name for name, node in nodes.items() if node.section == "nodes"}
        chosen = set(main)
        if request.until:
            chosen &= graph.reach(request.until, needs)
        if request.start_from:
            chosen &= graph.reach(request.start_from, graph.successors(needs))
        if request.only:
            chosen &= set(request.only)
        given = {need for name in chosen for need in needs[name]} - chosen
        return chosen | (set(nodes) - main), given

    # -- files

    def check_folders(self, made: Mapping[str, Instance]) -> None:
        """A `cwd` that is known before the run lies in the root folder."""
        unknown = {"reads": expr.UNKNOWN, "writes": expr.UNKNOWN}
        run = dict.fromkeys(self.run, expr.UNKNOWN)
        top = {**scope.before(self.params, self.env, self.workflow.vars, run), **unknown}
        for one in made.values():
            node = one.node
            if node.cwd is None or one.holds:
                continue
            names = top if one.parent is None else {**self.names_of(one.scope), **unknown}
            try:
                confined(expr.evaluate_value(node.cwd, names), self.root)
            except expr.Unknown:
                continue
            except (expr.ExpressionError, ValueError) as error:
                self.problems.append(Problem(node.at("cwd"), str(error), file=node.file))

    def paths(self, one: Instance, key: str) -> Iterator[str]:
        """The paths under `reads` or `writes` that are known before the run, checked and made plain."""
        node = one.node
        raw = getattr(node, key)
        whole: Where = node.at(key)
        parts: Iterable[tuple[Where, object]] = [(whole, raw)]
        if isinstance(raw, (dict, list, tuple)):
            named = raw.items() if isinstance(raw, dict) else enumerate(raw)
            parts = (((*whole, name), part) for name, part in named)
        names = self.names_of(one.scope)
        for where, part in parts:
            try:
                value = expr.evaluate_value(part, names)
            except expr.Unknown:
                continue
            except expr.ExpressionError as error:
                self.problems.append(Problem(where, str(error), file=node.file))
                continue
            for path in value if isinstance(value, list) else [value]:
                try:
                    yield based(confined(path, self.root), one.scope.base)
                except ValueError as error:
                    self.problems.append(Problem(where, str(error), file=node.file))


def _without(made: Mapping[str, Instance], chosen: set[str], given: set[str]) -> dict[str, Instance]:
    """What is chosen, with all inside of it; and what is given, with nothing in it and no needs."""
    kept: dict[str, Instance] = {}
    for name, one in made.items():
        if one.parent is None:
            if name in chosen:
                kept[name] = one
            elif name in given:
                one.needs, one.children = [], []
                kept[name] = one
        elif one.parent in kept and one.parent not in given:
            kept[name] = one
    for one in kept.values():
        one.needs = [need for need in one.needs if need in kept]
    return kept


def _chain(
    one: Instance,
    made: Mapping[str, Instance],
    chains: Mapping[str, tuple[str, float, int] | None],
    tails: Mapping[str, float],
) -> tuple[str, float, int] | None:
    """The innermost item of a group that a node lies in."""
    if one.parent is None:
        return None
    item = one.scope.item
    if item is not None and one.node.inner is not None:
        return one.id, tails.get(one.id, 0.0), item.index
    return chains.get(one.parent)


class SelectionError(Exception):
    """`--from`, `--until` or `--only` names a node that is not there."""

    def __init__(self, option: str, name: str, known: list[str]) -> None:
        super().__init__(f'{option}: no node named "{name}"')
        self.option, self.name, self.known = option, name, known


def _path(value: object) -> str:
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise ValueError(f"expected a path, got {quantity.shown(value)}")


def _name(value: object) -> str:
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise ValueError(f"expected a name, got {quantity.shown(value)}")


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"expected a whole number from 1 up, got {quantity.shown(value)}")


def _among(names: Collection[str]) -> Any:
    def read(value: object) -> object:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"expected one of {', '.join(names)}, got {quantity.shown(value)}")
        return value

    return read
