"""A workflow or one node of it with everything filled in that is known before a run: what `show` shows.

Runs nothing. What only a run can tell stays as it was written."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from wfctl import expr, quantity, scope
from wfctl.errors import UsageError, nearest
from wfctl.fields import Body
from wfctl.keys import Idempotency
from wfctl.kinds.run import Command
from wfctl.node import Node, Retry
from wfctl.plan import Plan, Planned
from wfctl.score import LEVELS

SEALED = "***"
"""What stands for the value of a secret."""


def workflow(plan: Plan) -> dict[str, Any]:
    """The workflow's own values, and its nodes by id with what they need."""
    return {
        "name": plan.name,
        "root": plan.root,
        "params": {name: _soft(value, {}) for name, value in plan.params.items()},
        "env": dict(plan.env),
        "secrets": list(plan.secrets),
        "concurrency": plan.concurrency,
        "resources": {name: quantity.shown_amount(name, amount) for name, amount in plan.budget.items()},
        "policy": plan.policy,
        "on_failure": plan.on_failure,
        "rollback": {**asdict(plan.rollback), "retry": _retry(plan.rollback.retry)},
        "timeout": plan.timeout,
        "grace": plan.grace,
        "log_limit": quantity.shown_amount("log_limit", plan.log_limit),
        "nodes": {name: list(planned.needs) for name, planned in plan.nodes.items()},
    }


def node(plan: Plan, name: str, key_of: Callable[[str], str | None] = lambda node: None) -> dict[str, Any]:
    """One node; `key_of` gives the key of its result as things are now. Raises UsageError for one that is not there."""
    planned = plan.nodes.get(name)
    if planned is None:
        raise UsageError(f'no node named "{name}"; {nearest(name, plan.nodes) or "`wfctl graph` shows the nodes"}')
    spec = planned.node
    names = _names(plan, planned)
    for key in ("reads", "writes"):
        names[key] = _soft(getattr(spec, key), names)
    return {
        "id": name,
        "kind": spec.kind,
        "description": spec.description,
        "needs": list(planned.needs),
        "when": spec.when.text if isinstance(spec.when, expr.Template) else spec.when,
        "trigger": spec.trigger,
        **_many(planned, names),
        **_command(planned, names),
        **_fields(spec.body, names),
        "env": environment(plan, planned, names),
        "cwd": _soft(spec.cwd, names) or ".",
        "stdin": _soft(spec.stdin, names),
        "stdout": spec.stdout,
        "expect": spec.expect.text if isinstance(spec.expect, expr.Template) else spec.expect,
        "timeout": _soft(spec.timeout, names),
        "retry": _retry(spec.retry),
        "priority": LEVELS[planned.level],
        "deadline": spec.deadline,
        "business_value": spec.business_value,
        "user_level": spec.user_level,
        "group": spec.group,
        "estimate": planned.estimate,
        "estimate_from": planned.source,
        "resources": {n: quantity.shown_amount(n, amount) for n, amount in planned.demand},
        "reads": names["reads"],
        "writes": names["writes"],
        **(_keeping(spec, names) | {"key": key_of(name)} if spec.idempotency is not None else {}),
        "checkpoint": _soft(spec.checkpoint, names),
        "compensate": undo(plan, planned) if spec.compensate else "none" if spec.compensate == () else [],
        "compensate_when": spec.compensate_when if spec.compensate else "",
        "pivot": spec.pivot or None,
    }


def _names(plan: Plan, planned: Planned) -> scope.Names:
    """What its expressions see before a run; a secret is stars, wherever it is named."""
    top = scope.before(plan.params, plan.env, plan.vars, plan.run)
    top["secrets"] = dict.fromkeys(plan.secrets, SEALED)
    return dict(scope.seen(planned.scope, top, lambda _: expr.UNKNOWN, plan.environ))


def _keeping(spec: Node, names: Mapping[str, object]) -> dict[str, Any]:
    """What is kept of it, and how long."""
    said = asdict(spec.idempotency) if isinstance(spec.idempotency, Idempotency) else _soft(spec.idempotency, names)
    return {"idempotency": said}


def does(plan: Plan, planned: Planned) -> str:
    """What a node does, in one line, filled in as far as that is known before a run."""
    return _told(planned, _names(plan, planned))


def undo(plan: Plan, planned: Planned) -> list[str]:
    """The steps that undo a node, a line each, filled in as far as that is known now."""
    names = _names(plan, planned)
    for key in ("reads", "writes"):
        names[key] = _soft(getattr(planned.node, key), names)
    told = []
    for step in planned.node.compensate or ():
        text = _told(replace(planned, node=step.node), names)
        if step.verify is not None:
            text += f"; verified by {_told(replace(planned, node=step.verify), names)}"
        told.append(text)
    return told


_VALUE = re.compile(r'"?\$\{?(WFCTL_VALUE_\d+)\}?"?')


def _told(planned: Planned, names: Mapping[str, object]) -> str:
    """What a node does, in one line."""
    said = _command(planned, names)
    if "argv" in said:
        words = [*map(_text, said["argv"]), *map(_text, said["args"] or ())]
        return f"run: {' '.join(word if '${{' in word else shlex.quote(word) for word in words)}"
    if "script" in said:
        values = {name: value if isinstance(value, str) else _text(value) for name, value in said["values"].items()}
        script = _VALUE.sub(lambda found: values.get(found[1], found[0]), said["script"])
        return f"run: {'; '.join(line.strip() for line in script.splitlines() if line.strip())}"
    fields = said.get("fields", {})
    own = fields.get(planned.node.kind, fields)
    return f"{planned.node.kind}: {own if isinstance(own, str) else json.dumps(own, ensure_ascii=False)}"


def _many(planned: Planned, names: Mapping[str, object]) -> dict[str, Any]:
    """What a node that holds others says of that."""
    spec = planned.node
    if spec.each is None:
        return {"nodes": list(planned.children)} if spec.inner is not None else {}
    collect = spec.collect
    parts = {k: getattr(v, "text", v) for k, v in asdict(collect).items() if v is not None} if collect else {}
    return {
        "for_each": _soft(spec.each.items, names),
        "key": spec.each.key.text if isinstance(spec.each.key, expr.Template) else spec.each.key,
        "items": list(planned.children),
        "max_parallel": spec.max_parallel,
        "collect": parts,
    }


def _fields(body: object, names: Mapping[str, object]) -> dict[str, Any]:
    """What a node of a kind that is Python code says of its work."""
    return {key: _soft(value, names) for key, value in body.fields.items()} if isinstance(body, Body) else {}


def environment(plan: Plan, planned: Planned, names: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    """The variables that the workflow adds to the inherited ones, each with where it comes from."""
    found: dict[str, dict[str, Any]] = {n: {"value": v, "from": "workflow"} for n, v in plan.env.items()}
    if isinstance(own := names.get("env"), scope.Env):  # of the file that a node of a sub-workflow is in
        found.update({name: {"value": _text(value), "from": "workflow"} for name, value in own.all().items()})
    for name, value in planned.node.env.items():
        source = "defaults" if name in planned.node.default_env else "node"
        found[name] = {"value": _text(_soft(value, names)), "from": source}
    found.update({name: {"value": SEALED, "from": "secrets"} for name in planned.node.secrets})
    return found


def _command(planned: Planned, names: Mapping[str, object]) -> dict[str, Any]:
    body = planned.node.body
    if isinstance(body, Body):
        return {"fields": _soft(body.fields, names)}
    if not isinstance(body, Command):
        return {}
    args = _soft(planned.node.args, names)
    if body.script is None:
        argv: list[object] = []
        for part in body.argv:
            value = _soft(part, names)
            argv += value if isinstance(value, list) else [_text(value)]
        return {"argv": argv, "args": args}
    if body.script.argv is not None and planned.node.shell is None and not planned.node.args:
        words = ["".join(p if isinstance(p, str) else _text(_soft_one(p, names)) for p in w) for w in body.script.argv]
        return {"argv": words, "args": []}
    values = {f"WFCTL_VALUE_{i}": _soft_one(e, names) for i, e in enumerate(body.script.values, 1)}
    return {
        "shell": planned.node.shell or "bash -eo pipefail",
        "script": body.script.text,
        "values": values,
        "args": args,
    }


def _retry(retry: Retry) -> dict[str, object]:
    when = retry.when.text if isinstance(retry.when, expr.Template) else retry.when
    return {**asdict(replace(retry, when=True)), "when": when}


def _soft(value: object, names: Mapping[str, object]) -> Any:
    """The value with all filled in that is known; an expression that is not stays as its text."""
    if isinstance(value, expr.Template):
        try:
            return _soft(value.evaluate(names), names)
        except (expr.Unknown, expr.ExpressionError):
            if value.whole:
                return value.text
            return "".join(part if isinstance(part, str) else _text(_soft_one(part, names)) for part in value.parts)
    if isinstance(value, Mapping):
        return {key: _soft(inner, names) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_soft(inner, names) for inner in value]
    return None if value is expr.UNKNOWN else value


def _soft_one(expression: expr.Expression, names: Mapping[str, object]) -> object:
    try:
        return expression.evaluate(names)
    except (expr.Unknown, expr.ExpressionError):
        return str(expression)


def _text(value: object) -> str:
    return value if isinstance(value, str) else expr.as_text(value)
