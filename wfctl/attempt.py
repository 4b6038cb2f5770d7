"""The job of one attempt of one node: its environment, paths and limits, filled in by its kind.

Starts nothing. Reads no state but what expressions name."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from wfctl import expr, quantity, values
from wfctl.jobs import Job, Kind, Limits, Place, Sealed, TransactionKind
from wfctl.node import Node
from wfctl.paths import based, confined
from wfctl.plan import Plan, Planned
from wfctl.scope import During
from wfctl.state import RunStatus
from wfctl.transactions import transaction_name

ENDING = 60.0
"""Seconds that a database has to commit a prepared transaction, or to roll it back."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""By what libraries are told how many threads to have: else they take as many as the machine has processors."""


class Attempts:
    """Makes jobs for a run. `place_of` says where an attempt leaves things, `kinds` how a kind works, `saved` what
    checkpoints have saved by now."""

    def __init__(
        self,
        plan: Plan,
        during: During,
        kinds: Callable[[str], Kind | None],
        place_of: Callable[[str, int | str], Place],
        settled: Callable[[], RunStatus | None],
        saved: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._plan = plan
        self._during = during
        self._kinds = kinds
        self._place_of = place_of
        self._settled = settled
        self._saved = saved
        self._run_id = str(plan.run["id"])

    def job(self, planned: Planned, attempt: int) -> Job:
        """The job of that attempt. Raises ExpressionError where a value cannot be made."""
        names = self._during.of(planned.id) if planned.node.dynamic else {}
        place, env = self._place_of(planned.id, attempt), self._during.env(planned.id)
        return self._job(planned, attempt, names, place, str(attempt), env)

    def undo(
        self, planned: Planned, names: Mapping[str, object], step: str, attempt: int, env: Mapping[str, str]
    ) -> Job:
        """The job of a try of a step of an undo, which `planned` has in place of its node. `env` is that of its file,
        as it was when the node ran. Raises ExpressionError."""
        place = self._place_of(planned.id, f"{step}.{attempt}")
        job = self._job(planned, attempt, names, place, f"{step}/{attempt}", env)
        return replace(job, env={**job.env, "WFCTL_IDEMPOTENCY_KEY": job.key})

    def _job(
        self,
        planned: Planned,
        attempt: int,
        names: Mapping[str, object],
        place: Place,
        tail: str,
        around: Mapping[str, str],
    ) -> Job:
        node = planned.node
        kind = self._kinds(node.kind)
        assert kind is not None  # refused at load
        env = {
            **around,
            "WFCTL_NODE": planned.id,
            "WFCTL_ATTEMPT": str(attempt),
            "WFCTL_OUTPUT": place.output,
            "WFCTL_CPU": str(max(1, -(-node.resources.get("cpu", 1000) // 1000))),
        }
        if (item := planned.scope.bound) is not None:
            told = json.dumps(item.value, ensure_ascii=False)
            if len(told) <= values.LONGEST // 4 or len(told.encode("utf-8", "replace")) <= values.LONGEST:
                env["WFCTL_ITEM"] = told  # a larger one could not be handed over, and may not be needed
        if node.limit == "hard" and "cpu" in node.resources:
            env.update(dict.fromkeys(THREADS, env["WFCTL_CPU"]))
        for name, value in node.env.items():
            if name in node.sealed:
                continue
            env[name] = values.checked(expr.as_text(expr.evaluate_value(value, names)), f"env.{name}")
        if node.dynamic and node.reads:  # what is known before the run was looked at then
            tuple(declared(self._plan, planned, names, "reads"))
        writes = tuple(declared(self._plan, planned, names, "writes")) if node.writes else ()
        files = {}
        if node.stdin is not None:
            files[place.stdin] = values.as_bytes(expr.evaluate_value(node.stdin, names))
        cwd = planned.scope.base or None
        if node.cwd is not None:
            cwd = _path(self._plan, planned, expr.evaluate_value(node.cwd, names), "cwd")
        job = Job(
            id=f"{self._run_id}/{planned.id}/{tail}",
            node=planned.id,
            attempt=attempt,
            key=self._key(planned.id, tail.rpartition("/")[0]),
            env=env,
            sealed=self._sealed(planned, names) if node.receives else {},
            cwd=None if cwd == "." else cwd,
            base=planned.scope.base,
            stdin=place.stdin if node.stdin is not None else None,
            log=place.log,
            stdout=place.stdout if node.stdout != "none" else None,
            output=place.output,
            reading=node.stdout,
            files=files,
            folders=tuple({posixpath.dirname(path): None for path in writes if posixpath.dirname(path)}),
            writes=writes,
            timeout=self._timeout(planned, names),
            log_limit=self._plan.log_limit,
            limits=_limits(node) if node.limit == "hard" else None,
            detach=node.detach,
            saved=self._saved() if kind.restores(node.body) else {},
            estimate=planned.estimate,
        )
        return kind.prepare(job, node, names, place, self._during.vars(planned.id))

    def _key(self, node: str, step: str) -> str:
        """By what others may know the work of a node, or a step of its undo: what is done afresh has another."""
        run = self._during.node(node)
        times = str(run.round + 1) if run is not None and run.round else ""
        return "/".join(part for part in (self._run_id, node, times, step) if part)

    def ending(self, planned: Planned, attempt: int, commit: bool, again: bool) -> Job:
        """The job that ends the prepared transaction of an attempt. Raises ExpressionError."""
        node, place = planned.node, self._place_of(planned.id, attempt)
        names = self._during.of(planned.id)
        job = Job(
            id=f"{self._run_id}/{planned.id}/{attempt}:{'commit' if commit else 'rollback'}",
            node=planned.id,
            attempt=attempt,
            sealed=self._sealed(planned, names) if node.receives else {},
            cwd=planned.scope.base or None,
            log=place.log,
            output=place.output,
            timeout=ENDING,
            log_limit=self._plan.log_limit,
        )
        kind = cast(TransactionKind, self._kinds(node.kind))
        name = transaction_name(self._run_id, planned.id, attempt)
        vars = self._during.vars(planned.id)
        return kind.ending(job, node, names, place, vars, name=name, commit=commit, again=again)

    def _sealed(self, planned: Planned, names: Mapping[str, object]) -> dict[str, Sealed]:
        """The variables with secrets in them: those of `env`, and the listed ones as they are."""
        node, vars = planned.node, self._during.vars(planned.id)
        sealed = {name: values.seal(node.env[name], names, vars) for name in node.env if name in node.sealed}
        return sealed | {name: ("", name, "") for name in node.secrets}

    def _timeout(self, planned: Planned, names: Mapping[str, object]) -> float | None:
        value = planned.node.timeout
        limit: float | None = None
        if isinstance(value, float):
            limit = value
        elif value is not None:
            try:
                limit = quantity.seconds(expr.evaluate_value(value, names))
            except ValueError as error:
                raise expr.ExpressionError(f"timeout: {error}") from None
        if planned.node.section == "finally" and self._settled() is RunStatus.INTERRUPTED:
            # Somebody is waiting for the run to end: the last words have as long as the nodes had.
            return self._plan.grace if limit is None else min(limit, self._plan.grace)
        return limit


def declared(plan: Plan, planned: Planned, names: Mapping[str, object], key: str) -> Iterator[str]:
    """The paths under `reads` or `writes` of a node, relative to the root. Raises ExpressionError."""
    evaluated = expr.evaluate_value(getattr(planned.node, key), names)
    parts = evaluated.values() if isinstance(evaluated, dict) else evaluated
    for part in parts if not isinstance(parts, str) else [parts]:  # type: ignore[attr-defined]
        for path in part if isinstance(part, list) else [part]:
            yield _path(plan, planned, path, key)


def _path(plan: Plan, planned: Planned, path: object, key: str) -> str:
    try:
        return based(confined(path, plan.root), planned.scope.base)
    except ValueError as error:
        raise expr.ExpressionError(f"{key}: {error}") from None


def _limits(node: Node) -> Limits | None:
    """What the system is to keep a node to: what it holds of memory and cpu."""
    memory, cpu = node.resources.get("memory"), node.resources.get("cpu")
    return None if memory is None and cpu is None else Limits(memory=memory, cpu=cpu)


def simulated(planned: Planned, attempt: int) -> Job:
    """A job that only has its name, its time and its limit: for a plan."""
    timeout = planned.node.timeout
    return replace(
        _NOTHING,
        id=f"plan/{planned.id}/{attempt}",
        node=planned.id,
        attempt=attempt,
        estimate=planned.estimate,
        timeout=timeout if isinstance(timeout, float) and timeout > planned.estimate else None,
    )


_NOTHING = Job(id="", node="", attempt=0)
