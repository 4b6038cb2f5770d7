"""What undoing the nodes of a run takes: values frozen when an attempt begins, the jobs of steps, files that go.

Knows neither when a node is undone nor in which order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wfctl import compensation, expr
from wfctl.attempt import Attempts, declared
from wfctl.digests import Digests
from wfctl.jobs import Trial
from wfctl.noderun import NodeRun
from wfctl.plan import Plan, Planned
from wfctl.scope import During

if TYPE_CHECKING:
    from wfctl.history import Terms
    from wfctl.state import RunState

OWN = ("output", "exit_code", "error", "attempt")
"""What a step sees of the node that it undoes."""


class Undos:
    """As `jobs.Undos` has it. `terms` gives what undoes a node as the definition of a number says it."""

    def __init__(
        self,
        plan: Plan,
        state: RunState,
        during: During,
        attempts: Attempts,
        terms: Callable[[int, str], Terms],
    ) -> None:
        self._plan = plan
        self._state = state
        self._during = during
        self._attempts = attempts
        self._terms = terms
        self._removes = plan.rollback.strategy in ("full", "auto")

    def freeze(self, node: str) -> Mapping[str, Any] | None:
        """What an undo of the attempt that is about to begin will need."""
        planned = self._plan.nodes[node]
        frozen: dict[str, Any] = {}
        if planned.node.compensate:
            wanted = compensation.references(planned.node.compensate)
            wanted |= {r.path for r in expr.references_of((planned.node.env, planned.node.cwd))}
            wanted |= _behind(wanted, self._during.vars(node))
            wanted |= {("env", name) for name in self._during.env(node)}  # that of the run is in its definition
            own = ("nodes", planned.node.id, "writes")
            wanted |= {path[2:] for path in wanted if path[:3] == own}  # by its other name
            names = self._during.of(node)
            made = ((path, _value(path, names, planned)) for path in sorted(wanted))
            values = [[list(path), value] for path, value in made if value is not _GONE]
            frozen = {"steps": len(planned.node.compensate), "pin": self._state.pin, "names": values}
        if self._removes and planned.node.writes:
            found, left = self._files(planned), self._state.nodes[node].own()
            still = {path: digest for path, digest in found.items() if left.get(path) == digest}
            frozen["there"] = [path for path in found if path not in still]
            if still:
                frozen["own"] = still
        return frozen or None

    def wrote(self, node: str) -> Mapping[str, str] | None:
        """The hashes of what a node has written, where a rollback may remove it."""
        planned = self._plan.nodes[node]
        return self._files(planned) if self._removes and planned.node.writes else None

    def trial(self, node: str, step: int, attempt: int) -> Trial:
        """A try of a step. Raises ExpressionError."""
        planned, run = self._plan.nodes[node], self._state.nodes[node]
        if not run.undoable:
            raise expr.ExpressionError("nothing was recorded of what its undo needs")
        terms = self._terms(run.undoable["pin"], node)
        found = terms.steps[step - 1]
        names = _names(self._during, planned, run)
        retry = compensation.retry_of(found, terms.rollback)
        env = terms.env if terms.env != self._plan.env else {}  # it is handed on with what is inherited
        env = {**env, **self._during.env(node), **names["env"]}

        def proof() -> Trial:
            assert found.verify is not None
            job = self._attempts.undo(replace(planned, node=found.verify), names, f"verify.{step}", attempt, env)
            return Trial(
                node=node, number=step, step=found.verify, job=job, names=lambda: names, retry=retry, verifies=True
            )

        job = self._attempts.undo(replace(planned, node=found.node), names, f"undo.{step}", attempt, env)
        then = proof if found.verify is not None else None
        return Trial(node=node, number=step, step=found.node, job=job, names=lambda: names, retry=retry, then=then)

    def remove(self, node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Remove what a node has written, if it was not there before and is as it was left."""
        planned, run = self._plan.nodes[node], self._state.nodes[node]
        if run.wrote is None or not run.undoable or "there" not in run.undoable:
            return (), ("what it wrote: nothing was recorded of it",) if planned.node.writes else ()
        digests, removed, left = Digests(self._plan.root), [], []
        before = "it was there before" + (", or an attempt that was interrupted has left it" if run.unknown else "")
        for path, digest in run.wrote.items():
            if path in run.undoable["there"]:
                left.append(f"{path}: {before}")
                continue
            try:
                now = digests.file(path)
                if now == digest:
                    os.unlink(os.path.join(self._plan.root, path))
                    removed.append(path)
                elif now is not None:
                    left.append(f"{path}: it was changed since")
            except OSError as error:
                left.append(f"{path}: {(error.strerror or str(error)).lower()}")
        return tuple(removed), tuple(left)

    def _files(self, planned: Planned) -> dict[str, str]:
        digests = Digests(self._plan.root)
        found: dict[str, str] = {}
        try:
            for path in declared(self._plan, planned, self._during.of(planned.id), "writes"):
                found.update(digests.of(path))
        except (OSError, expr.ExpressionError):
            pass  # what cannot be read is not removed either
        return found


def _behind(wanted: set[tuple[str, ...]], vars: Mapping[str, object]) -> set[tuple[str, ...]]:
    """What the vars among the paths are made of: where one may hold a secret, it is filled in part by part."""
    found: set[tuple[str, ...]] = set()
    todo = [path[1] for path in wanted if path[0] == "vars" and len(path) > 1]
    for name in todo:  # grows while it is read
        for reference in expr.references_of(vars.get(name)):
            if reference.path not in found:
                found.add(reference.path)
                todo += [reference.path[1]] if reference.path[0] == "vars" and len(reference.path) > 1 else []
    return found


_GONE = object()


def _value(path: tuple[str, ...], names: Mapping[str, Any], planned: Planned) -> Any:
    """What a path leads to; `_GONE` where that is the node's own, a secret, or not there."""
    if path[0] in (*OWN, "secrets") or path[:2] == ("nodes", planned.node.id):
        return _GONE
    try:
        value: Any = names[path[0]]
        for name in path[1:]:
            value = value[name]
        return value if isinstance(value, (str, int, float, bool, list, dict, type(None))) else _GONE
    except (expr.ExpressionError, KeyError, TypeError, IndexError):
        return _GONE


def _names(during: During, planned: Planned, run: NodeRun) -> dict[str, Any]:
    """What the steps of a node see: what was frozen, and what the node itself has left."""
    tree: dict[str, Any] = {}
    for path, value in run.undoable["names"]:
        inner = tree
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[path[-1]] = value
    names: dict[str, Any] = _Left(planned.id, during.of(planned.id))
    live_vars = names.get("vars", {})
    names.update({root: tree.get(root, {}) for root in ("params", "env", "run")})
    names.update({root: tree[root] for root in ("item", "index", "key") if root in tree})
    names["vars"] = _Over(tree.get("vars", {}), live_vars)
    own: dict[str, Any] = _Left(planned.id, {"state": str(run.state)})
    for key in ("reads", "writes"):
        if key in tree:
            names[key] = own[key] = tree[key]
        elif getattr(planned.node, key):
            names[key] = own[key] = during.paths(planned.id, key)
    names.update(exit_code=run.exit_code, error=run.error, attempt=run.attempt)
    if run.has_succeeded:
        names["output"] = own["output"] = during.output(planned.id)
    names["nodes"] = {**tree.get("nodes", {}), planned.node.id: own}
    return names


class _Left(dict[str, Any]):
    """What a node has left: it may have left no output, and an undo that names that is not to run half filled in."""

    def __init__(self, node: str, known: Mapping[str, Any]) -> None:
        super().__init__(known)
        self._node = node

    def __missing__(self, name: str) -> Any:
        if name == "output":
            raise expr.ExpressionError(f'"{self._node}" has left no output')
        raise KeyError(name)


class _Over(Mapping[str, object]):
    """Values that were frozen, over those of now: a var with a secret in it is no value, and was not recorded."""

    def __init__(self, frozen: Mapping[str, Any], live: Any) -> None:
        self._frozen, self._live = frozen, live

    def __getitem__(self, name: str) -> object:
        return self._frozen[name] if name in self._frozen else self._live[name]

    def __iter__(self) -> Any:
        return iter(self._frozen)

    def __len__(self) -> int:
        return len(self._frozen)
