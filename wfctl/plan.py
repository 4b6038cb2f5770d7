"""From a workflow and what was asked for to a plan: nodes with edges, demands, levels and path lengths.

Knows nothing of files, clocks or the machine: what it needs of them is in the `Request`."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import pairwise
from typing import Any

from wfctl import estimates, expr, graph, quantity, scope
from wfctl.budget import DEVICES, Demand
from wfctl.errors import Problem, Where
from wfctl.node import PLANNED, Node, Value
from wfctl.params import env_of, params_of
from wfctl.paths import Written, confined, parents
from wfctl.policy import IMPROVABLE, POLICIES
from wfctl.record import dataclass
from wfctl.score import AGING, WEIGHTS, level_at, read_aging, read_groups, read_weights
from wfctl.spec import SCHEDULING, SUPPLY, Workflow, cycle_text
from wfctl.standing import Standing, standings

ON_FAILURE = ("stop", "continue", "cancel")
ON_BUSY = ("wait", "fail", "skip")

DEFAULT_ESTIMATE = 1.0
"""Seconds that a node is taken to need when nothing is known of it."""

SOURCES = ("history", "declared", "kind", "assumed")
"""Where an estimate comes from, the best first: the last successes of the node, its own `estimate`, the last successes
of its kind, nowhere."""

UNASKED = 2000
"""Up to how many nodes a plan is improved unasked: 2,000 take 20 ms, or a second where many resources are scarce."""

LOG_LIMIT = 100 * 1024 * 1024
"""Bytes that the log of one attempt may have, where the file does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one run was asked for, and the facts it leans on. Recorded; a plan is made from it again at any time.

    `started` is UTC text, `folder` the file's own. `machine` holds the budgets of cpu and memory that count where the
    file names none, `cores` the concurrency where it names none. `devices` are those that this process may see, None
    where nothing says so.
    """

    params: Mapping[str, object] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""
    started: str = ""
    folder: str = "."
    cores: int = 1
    machine: Mapping[str, int] = field(default_factory=dict)
    devices: tuple[str, ...] | None = None
    grace: float = 10.0
    settings: tuple[str, ...] = ()
    """What was laid over the file, for an update of it."""
    start_from: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    estimates: Mapping[str, float] = field(default_factory=dict)
    """Seconds that nodes took of late, of those of which that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One node with its place in the plan. `tail` is the longest path of estimates from its start to the end.

    `source` is the one of SOURCES that its estimate comes from.

    `given` nodes are left out of the run; their output comes from elsewhere.
    """

    id: str
    node: Node
    needs: tuple[str, ...]
    dependents: tuple[str, ...]
    demand: Demand
    level: int
    estimate: float
    source: str
    tail: float
    index: int
    given: bool = False
    likely: bool = True
    """Whether it will run where all goes well, before `finally`."""
    standing: Standing = Standing()
    """`level` is that of the start of the run; a deadline may lift it later."""

    @property
    def estimated(self) -> bool:
        """Whether its estimate is more than an assumption."""
        return self.source != "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that `decide` must know beside the state. Frozen; built once for a run."""

    name: str
    run: Mapping[str, object]
    params: Mapping[str, object]
    env: Mapping[str, str]
    secrets: tuple[str, ...]
    vars: Mapping[str, Value]
    outputs: Mapping[str, Value]
    nodes: Mapping[str, Planned]
    budget: Mapping[str, int]
    """What nodes may hold at once, of each resource."""
    rates: Mapping[str, float]
    """Tokens in a second, of resources with a rate: each attempt that asks for one costs a token."""
    shared: Mapping[str, tuple[int, int]]
    """Amount and reserve of those budgets that all runs of this user here have in common."""
    lock: str
    """The name of the lock that one run at a time holds on this machine; none where it is empty."""
    on_busy: str
    devices: tuple[str, ...]
    """The names of the units of the resource `gpu`; none where they are numbers from 0 up."""
    concurrency: int
    policy: str
    weights: Mapping[str, float]
    """Of the score's factors; they add up to 1."""
    aging: float
    """Seconds in which waiting lifts a node by a level."""
    groups: Mapping[str, float]
    """Weights of groups; of those that are not here it is 1."""
    on_failure: str
    timeout: float | None
    grace: float
    log_limit: int
    """Bytes of the log of one attempt."""
    root: str
    critical_path: tuple[str, ...]
    bounds: Mapping[str, float]
    """Lower bounds of the makespan in seconds, by name."""

    @property
    def improvable(self) -> bool:
        """Whether a better order than the policy's own is to be looked for unasked: where that says what matters, but
        not who is next, where not all fit at once, estimates are more than guesses, and the nodes not too many."""
        likely = [planned for planned in self.nodes.values() if planned.likely]
        if self.policy not in IMPROVABLE or len(likely) > UNASKED or not all(p.estimated for p in likely):
            return False
        asked: Counter[str] = Counter()
        for planned in likely:
            asked.update(dict(planned.demand))
        return len(likely) > self.concurrency or any(asked[name] > there for name, there in self.budget.items())


def build(workflow: Workflow, request: Request) -> tuple[Plan, list[Problem]]:
    """The plan of one run, and all that stands against it. With problems the plan is not fit to run."""
    return _Planner(workflow, request).build()


class _Planner:
    """Builds one plan. Collects problems as it goes."""

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

    def build(self) -> tuple[Plan, list[Problem]]:
        workflow = self.workflow
        supplies = self.supplies()
        budget = self.budget(supplies)
        root = posixpath.normpath(posixpath.join(self.request.folder, self.setting("root", workflow.root, _path, ".")))
        nodes = {name: self.settled(node) for name, node in workflow.nodes.items()}
        needs = self.edges(nodes, root)
        chosen, given = self.selection(nodes, needs)
        outputs = workflow.outputs
        if len(chosen) < len(nodes):
            nodes = {name: node for name, node in nodes.items() if name in chosen or name in given}
            # What leans on a node that is left out would say null, and mean nothing by it.
            outputs = {k: v for k, v in outputs.items() if workflow.nodes_of(v) <= nodes.keys()}
        needs = {name: needs[name] if name in chosen else () for name in nodes}
        weights = self.setting("weights", workflow.weights, read_weights, WEIGHTS)
        planned, ordered, idle = self.placed(nodes, needs, given, budget, weights)
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
            weights=weights,
            aging=self.setting("aging", workflow.aging, read_aging, AGING),
            groups=self.setting("groups", workflow.groups, read_groups, {}),
            on_failure=str(self.setting("on_failure", workflow.on_failure, _among(ON_FAILURE), "stop")),
            timeout=self.setting("timeout", workflow.timeout, quantity.seconds, None),
            grace=self.setting("grace", workflow.grace, quantity.seconds, self.request.grace),
            log_limit=self.setting("log_limit", workflow.log_limit, quantity.size, LOG_LIMIT),
            root=root,
            critical_path=self.critical_path(planned, ordered, idle),
            bounds=lower_bounds([planned[name] for name in ordered if name not in idle], budget, concurrency),
        )
        return plan, self.problems

    def edges(self, nodes: Mapping[str, Node], root: str) -> dict[str, tuple[str, ...]]:
        """What each node needs: what it names, and who writes what it reads."""
        needs: dict[str, tuple[str, ...]] = {
            name: tuple(n for n in node.needs if n in nodes) for name, node in nodes.items()
        }
        self.check_folders(nodes, root)
        sound = len(graph.order(needs)) == len(needs)  # the spec has told of cycles in what was written
        self.add_file_edges(nodes, needs, root)
        loops = graph.cycles(needs)
        for loop in loops if sound else ():
            where = (nodes[loop[0]].section, loop[0])
            hint = "the paths that they read and write make this circle"
            self.problems.append(Problem(where, cycle_text(loop), hint, key=True, path=""))
        if loops:  # only good for finding more problems: without the edges of what has no order
            needs = {**dict.fromkeys(needs, ()), **{name: needs[name] for name in graph.order(needs)}}
        return needs

    def placed(
        self,
        nodes: Mapping[str, Node],
        needs: Mapping[str, tuple[str, ...]],
        given: set[str],
        budget: Mapping[str, int],
        weights: Mapping[str, float],
    ) -> tuple[dict[str, Planned], list[str], set[str]]:
        """Each node with its place among the others; all ids in order; and those that a plan leaves out."""
        demands = {name: self.demand(node, budget) for name, node in nodes.items()}
        ordered = graph.order(needs)
        after = graph.successors(needs)
        length, source = self.estimates(nodes)
        length.update(dict.fromkeys(given, 0.0))
        idle = self.left_out(nodes, ordered, needs)
        counted = {**length, **dict.fromkeys(idle, 0.0)}
        tails = graph.tails(ordered, after, counted.__getitem__)
        standing = standings(nodes, ordered, after, tails, counted, budget, weights)
        default = Standing()  # of what lies on a cycle: such a plan is never run
        planned = {
            name: Planned(
                id=name,
                node=node,
                needs=needs[name],
                dependents=tuple(after[name]),
                demand=demands[name],
                level=level_at(standing.get(name, default).rises, 0.0),
                estimate=length[name],
                source=source[name],
                tail=tails.get(name, 0.0),
                index=i,
                given=name in given,
                likely=node.section == "nodes" and name not in idle and name not in given,
                standing=standing.get(name, default),
            )
            for i, (name, node) in enumerate(nodes.items())
        }
        return planned, ordered, idle

    def estimates(self, nodes: Mapping[str, Node]) -> tuple[dict[str, float], dict[str, str]]:
        """Seconds that each node is taken to need, and where that comes from."""
        history = self.request.estimates
        kinds = estimates.by_kind(history, {n: node.kind for n, node in self.workflow.nodes.items()}) if history else {}
        length, source = {}, {}
        for name, node in nodes.items():
            known = (history.get(name), node.estimate, kinds.get(node.kind), DEFAULT_ESTIMATE)
            length[name], source[name] = next((v, w) for v, w in zip(known, SOURCES, strict=True) if v is not None)
        return length, source

    # -- the file's own keys

    def setting(self, key: str, value: Value, read: Any, default: Any) -> Any:
        if value is None:
            return default
        where: Where = ("scheduling", key) if key in SCHEDULING else (key,)
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
                if parts.get("rate"):
                    hint = "take out one of them, or declare a resource for each"
                    what = "a rate counts for one run, and cannot be shared by all of the machine"
                    self.problems.append(Problem(("resources", name, "rate"), what, hint))
                reserve = parts.get("reserve") or 0
                shared[name] = (budget[name] + reserve, reserve)
        return shared

    # -- nodes

    def settled(self, node: Node) -> Node:
        """The node with its deferred keys read, now that params are known."""
        if node.deferred:
            node = self.with_deferred(node)
        if node.detach and node.receives:
            what = "what goes on after its node could write a secret to the log when nobody looks through that any more"
            self.problems.append(Problem((node.section, node.id, "detach"), what, "take out detach, or its secrets"))
        return node

    def with_deferred(self, node: Node) -> Node:
        values: dict[str, Any] = {}
        for key, raw in node.deferred.items():
            try:
                values[key] = PLANNED[key](expr.evaluate_value(raw, self.names))
            except expr.Unknown:
                continue
            except (expr.ExpressionError, ValueError) as error:
                self.problems.append(Problem((node.section, node.id, key), str(error)))
        if "retry" in values:
            values["retry"] = replace(values["retry"], when=node.retry.when)
        return replace(node, deferred={}, **values)

    def demand(self, node: Node, budget: Mapping[str, int]) -> Demand:
        for name, wanted in node.resources.items():
            where = (node.section, node.id, "resources", name)
            declared = self.workflow.resources
            if name not in budget:
                if name not in declared:
                    hint = f"declare it: resources: {{{name}: …}}"
                    self.problems.append(Problem(where, f'there is no budget named "{name}"', hint, key=True))
            elif wanted > budget[name]:
                has = quantity.shown_amount(name, budget[name])
                what = f"needs {quantity.shown_amount(name, wanted)}, the budget is {has}"
                here = f"that is this machine's; say resources: {{{name}: …}} to plan for another"
                hint = "" if name in declared else here
                if name == DEVICES and self.request.devices is not None:
                    hint = f"CUDA_VISIBLE_DEVICES shows {len(self.request.devices)} here"
                self.problems.append(Problem(where, what, hint))
        return tuple(sorted(node.resources.items()))

    def left_out(self, nodes: Mapping[str, Node], ordered: list[str], needs: Mapping[str, tuple[str, ...]]) -> set[str]:
        """Nodes that will not run where all goes well: those that wait for a failure, those whose `when` is known to
        be false, and what needs them."""
        out: set[str] = set()
        for name in ordered:
            node, before = nodes[name], needs[name]
            missing = sum(need in out for need in before) if out else 0
            if before and node.trigger == "any_failed":
                out.add(name)
            elif missing and node.trigger == "all_succeeded":
                out.add(name)
            elif missing and missing == len(before) and node.trigger == "any_succeeded":
                out.add(name)
            elif node.when is not True and node.section == "nodes":
                try:
                    if expr.evaluate_value(node.when, self.names) is False:
                        out.add(name)
                except (expr.Unknown, expr.ExpressionError):
                    continue
        return out

    def critical_path(
        self, planned: Mapping[str, Planned], ordered: list[str], idle: Collection[str]
    ) -> tuple[str, ...]:
        main = [n for n in ordered if planned[n].node.section == "nodes" and not planned[n].given]
        inside = set(main)
        steps = {n: [m for m in planned[n].dependents if m in inside] for n in main}
        path = graph.longest_path(main, steps, lambda n: 0.0 if n in idle else planned[n].estimate)
        return tuple(n for n in path if n not in idle)

    # -- which nodes

    def selection(self, nodes: Mapping[str, Node], needs: Mapping[str, tuple[str, ...]]) -> tuple[set[str], set[str]]:
        """The nodes to run and those left out whose output they lean on."""
        request = self.request
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

    def check_folders(self, nodes: Mapping[str, Node], root: str) -> None:
        """A `cwd` that is known before the run lies in the root folder."""
        names = scope.before(self.params, self.env, self.workflow.vars, dict.fromkeys(self.run, expr.UNKNOWN))
        names.update(reads=expr.UNKNOWN, writes=expr.UNKNOWN)
        for node in nodes.values():
            if node.cwd is None:
                continue
            try:
                confined(expr.evaluate_value(node.cwd, names), root)
            except expr.Unknown:
                continue
            except (expr.ExpressionError, ValueError) as error:
                self.problems.append(Problem((node.section, node.id, "cwd"), str(error)))

    def add_file_edges(self, nodes: Mapping[str, Node], needs: dict[str, tuple[str, ...]], root: str) -> None:
        """A path that one node writes and another reads is an edge; two unordered writers are a fault."""
        writers: dict[str, list[str]] = {}
        reads: dict[str, list[str]] = {}  # by path: many nodes may seek the same
        for name, node in nodes.items():
            if node.writes or node.reads:
                for path in self.paths(node, "writes", root):
                    others = writers.setdefault(path, [])
                    if name not in others:
                        others.append(name)
                if node.section == "nodes":
                    for path in self.paths(node, "reads", root):
                        reads.setdefault(path, []).append(name)
        if not writers:
            return
        index = Written(writers)
        found: dict[str, dict[str, None]] = {}
        possible: dict[str, dict[str, None]] = {}
        for path, readers in reads.items():
            for written, sure in index.matching(path):
                for writer in writers[written]:
                    for name in readers if nodes[writer].section == "nodes" else ():
                        if writer != name:
                            (found if sure else possible).setdefault(name, {})[writer] = None
        for more in (found, _without_circles(possible, needs, found)):
            for name, names in more.items():
                needs[name] = tuple(dict.fromkeys((*needs[name], *names)))
        self.check_writers(nodes, needs, writers)

    def check_writers(
        self, nodes: Mapping[str, Node], needs: Mapping[str, tuple[str, ...]], writers: Mapping[str, list[str]]
    ) -> None:
        """Two writers of a path, or one of a folder and one of what lies in it, come one after the other."""
        shared = {path: names for path, names in writers.items() if len(names) > 1}
        inside: dict[str, list[str]] = {}  # written folders, and what is written in them
        for path in writers:
            for parent in parents(path):
                if parent in writers:
                    inside.setdefault(parent, []).append(path)
        if not shared and not inside:
            return
        place = {name: i for i, name in enumerate(graph.order(needs))}
        for path, names in shared.items():
            ordered = sorted(names, key=lambda n: (nodes[n].section == "finally", place.get(n, 0)))
            for one, other in pairwise(ordered):
                if nodes[one].section == nodes[other].section and not _comes_after(other, one, needs, place):
                    where = (nodes[other].section, other, "writes")
                    what = f'"{path}" is written by "{one}" too, and neither comes after the other'
                    self.problems.append(Problem(where, what, "let one need the other, or write two files"))
        after = graph.successors(needs) if inside else {}
        for folder, files in inside.items():
            for one in writers[folder]:
                found = {n: path for path in files for n in writers[path] if nodes[n].section == nodes[one].section}
                for other in _strangers(one, found, needs, after, place):
                    where = (nodes[other].section, other, "writes")
                    inner = f'"{found[other]}" lies in "{folder}", which "{one}" writes'
                    what = f"{inner}, and neither comes after the other"
                    self.problems.append(Problem(where, what, "let one need the other, or write to another folder"))

    def paths(self, node: Node, key: str, root: str) -> Iterator[str]:
        """The paths under `reads` or `writes` that are known before the run, checked and made plain."""
        raw = getattr(node, key)
        whole: Where = (node.section, node.id, key)
        parts: Iterable[tuple[Where, object]] = [(whole, raw)]
        if isinstance(raw, (dict, list, tuple)):
            named = raw.items() if isinstance(raw, dict) else enumerate(raw)
            parts = (((*whole, name), part) for name, part in named)
        for where, part in parts:
            try:
                value = expr.evaluate_value(part, self.names)
            except expr.Unknown:
                continue
            except expr.ExpressionError as error:
                self.problems.append(Problem(where, str(error)))
                continue
            for path in value if isinstance(value, list) else [value]:
                try:
                    yield confined(path, root)
                except ValueError as error:
                    self.problems.append(Problem(where, str(error)))


def _without_circles(
    possible: Mapping[str, Collection[str]], *sure: Mapping[str, Collection[str]]
) -> Mapping[str, Collection[str]]:
    """Those of the possible needs that lie on no circle: what only may be must not make a sound file wrong."""
    if not possible:
        return possible
    names = sure[0]
    joined = {name: {n for needs in (*sure, possible) for n in needs.get(name, ())} for name in names}
    # No circle leads to the first, and from the second none can be reached.
    before, behind = set(graph.order(joined)), set(graph.order(graph.successors(joined)))
    return {n: [need for need in needs if n in behind or need in before] for n, needs in possible.items()}


def _comes_after(later: str, earlier: str, needs: Mapping[str, tuple[str, ...]], place: Mapping[str, int]) -> bool:
    """Whether a path of edges leads from `earlier` to `later`; looks at nothing that stands before `earlier`."""
    first = place.get(earlier, 0)
    seen = {later}
    todo = [later]
    while todo:
        for need in needs[todo.pop()]:
            if need == earlier:
                return True
            if need not in seen and place.get(need, 0) > first:
                seen.add(need)
                todo.append(need)
    return False


def _strangers(
    one: str,
    others: Iterable[str],
    needs: Mapping[str, Collection[str]],
    after: Mapping[str, Collection[str]],
    place: Mapping[str, int],
) -> list[str]:
    """Those of `others` that no path of edges joins with `one`; looks at nothing that stands beyond them."""
    kin = {one, *needs[one], *after[one]}  # mostly that is all
    left = [name for name in others if name not in kin]
    if not left:
        return []
    places = [place.get(name, 0) for name in (one, *left)]
    first, last = min(places), max(places)
    for steps in (needs, after):
        seen = {one}
        todo = [one]
        while todo:
            for name in steps[todo.pop()]:
                if name not in seen and first <= place.get(name, 0) <= last:
                    seen.add(name)
                    todo.append(name)
        kin |= seen
    return [name for name in left if name not in kin]


class SelectionError(Exception):
    """`--from`, `--until` or `--only` names a node that is not there."""

    def __init__(self, option: str, name: str, known: list[str]) -> None:
        super().__init__(f'{option}: no node named "{name}"')
        self.option, self.name, self.known = option, name, known


def lower_bounds(planned: Sequence[Planned], budget: Mapping[str, int], concurrency: int) -> dict[str, float]:
    """What no schedule of these nodes, in order, can undercut: the longest path, and for each budget all work divided
    by it. Seconds."""
    work: dict[str, float] = {}
    ends: dict[str, float] = {}  # the earliest
    slots = 0.0
    path = 0.0
    for node in planned:
        if node.node.section != "nodes":
            continue
        before = [ends[need] for need in node.needs if need in ends]
        first = min(before, default=0.0) if node.node.trigger == "any_succeeded" else max(before, default=0.0)
        ends[node.id] = first + node.estimate  # 0 for what is given
        if node.given:
            continue
        slots += node.estimate
        path = max(path, ends[node.id])
        for name, wanted in node.demand:
            work[name] = work.get(name, 0.0) + node.estimate * wanted
    # So many slots are enough for all; a number of 4,000 digits would divide no float.
    bounds = {"critical path": path, "work / slots": slots / min(concurrency, 2**53)}
    bounds.update({f"work / {name}": total / budget[name] for name, total in work.items() if budget.get(name)})
    return bounds


def edges(plan: Plan) -> Iterator[tuple[str, str]]:
    """Every edge, as (needed, by)."""
    for node in plan.nodes.values():
        for need in node.needs:
            yield need, node.id


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
