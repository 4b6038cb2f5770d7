"""The values of a workflow's params and `env` in one run: what was given, what comes from outside, defaults.

Knows nothing of nodes, and not who was asked: what is given is plain data."""

from __future__ import annotations

from collections.abc import Mapping

from wfctl import expr, scope
from wfctl.errors import Problem
from wfctl.spec import Workflow
from wfctl.values import checked


def params_of(
    workflow: Workflow, given: Mapping[str, object], run: Mapping[str, object], environ: Mapping[str, str]
) -> tuple[dict[str, object], list[Problem]]:
    """The values of all params: as given, else by default, which may use earlier ones.

    A required one that was not given is `expr.UNKNOWN` here; to refuse it is the caller's affair.
    """
    params: dict[str, object] = {}
    problems: list[Problem] = []
    env: dict[str, object] = {n: expr.UNKNOWN for n, raw in workflow.env.items() if _is_missing(n, raw, environ)}
    env.update(env_of(workflow, given, run, environ)[0])
    for name, schema in workflow.params.items():
        params[name] = expr.UNKNOWN
        if name in given:
            params[name] = scope.whole(given[name], schema)
        elif "default" in schema:
            names: scope.Names = {"params": params, "env": env, "run": run, "secrets": expr.UNKNOWN}
            try:
                params[name] = scope.whole(expr.evaluate_value(schema["default"], names), schema)
            except expr.Unknown:
                pass
            except expr.ExpressionError as error:
                problems.append(Problem(("params", name, "default"), str(error)))
    return params, problems


def _is_missing(name: str, raw: object, environ: Mapping[str, str]) -> bool:
    """Whether an entry of `env` is to come from outside, and is not there."""
    return isinstance(raw, dict) and "default" not in raw and name not in environ


def env_of(
    workflow: Workflow, params: Mapping[str, object], run: Mapping[str, object], environ: Mapping[str, str]
) -> tuple[dict[str, str], list[Problem]]:
    """The workflow's `env` as text. `NAME: {default: …}` is taken from `environ`, or is required there."""
    env: dict[str, str] = {}
    problems: list[Problem] = []
    for name, raw in workflow.env.items():
        value = raw
        if isinstance(raw, dict):
            if name in environ:
                env[name] = environ[name]
                continue
            if _is_missing(name, raw, environ):
                hint = f"set it: {name}=… wfctl …; or give it a default"
                problems.append(Problem(("env", name), f'the environment has no "{name}"', hint, key=True))
                continue
            value = raw["default"]
        try:
            names = {"params": params, "run": run, "secrets": expr.UNKNOWN}
            env[name] = checked(expr.as_text(expr.evaluate_value(value, names)), "the value")
        except expr.Unknown:
            pass
        except (expr.ExpressionError, KeyError) as error:
            problems.append(Problem(("env", name), str(error)))
    return env, problems
