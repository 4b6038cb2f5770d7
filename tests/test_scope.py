"""The names that expressions see, before a run, while it goes on, and at its end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.simulate import Simulated, flow, simulate
from wfctl import expr, scope


def shown(value: str, **told: Any) -> object:
    """What an output says after a run of `a`, which wrote work/x and left `{"rows": 3}`."""
    data = flow(
        {"a": {"writes": {"raw": "work/${{ params.day }}"}, "reads": ["in"]}, "b": {"when": False}},
        params={"day": {"default": "mon"}},
        env={"KIND": "csv"},
        vars={"label": "${{ params.day }}/${{ nodes.a.output.rows }}"},
        outputs={"x": value},
    )
    run = simulate(data, outputs={"a": {"rows": 3}}, **told)
    assert run.state.exit_code == 0, run.state.error
    return run.state.outputs["x"]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("params.day", "mon"),
        ("env.KIND", "csv"),
        ("vars.label", "mon/3"),
        ("nodes.a.output", {"rows": 3}),
        ("nodes.a.output.rows + 1", 4),
        ("nodes.a.state", "succeeded"),
        ("nodes.a.writes.raw", "work/mon"),
        ("nodes.b.output", None),
        ("nodes.b.state", "skipped"),
        ("run.id", "r"),
        ("run.started", "2026-01-31T10:00:00.000000Z"),
        ("default(nodes.a.output.columns, 7)", 7),
    ],
)
def test_what_an_expression_may_name(expression: str, value: object) -> None:
    assert shown(f"${{{{ {expression} }}}}") == value


def test_own_paths_have_names_and_places() -> None:
    env = {"W": "${{ writes.raw }}", "R": "${{ reads[0] }}", "ALL": "${{ join(reads, ' ') }}"}
    run = simulate(flow({"a": {"writes": {"raw": "x"}, "reads": ["y"], "env": env}}))
    assert run.ended == {"a": "ok"}


def test_a_path_that_is_not_there_fails_the_node() -> None:
    run = simulate(flow({"a": {"reads": ["y"], "env": {"R": "${{ reads[1] }}"}}}))
    assert run.ended == {"a": "failed:expression"}


def test_paths_made_of_an_output_are_those_that_were_recorded() -> None:
    nodes = {
        "a": [],
        "b": {"writes": {"out": "work/${{ nodes.a.output }}"}},
        "c": {"when": "${{ nodes.b.writes.out == 'work/x' }}"},
    }
    assert simulate(flow(nodes), outputs={"a": "x"}).ended["c"] == "ok"


@pytest.mark.parametrize("expression", ["len(nodes)", "[n for n in nodes]", "keys(vars)"])
def test_what_is_made_on_demand_cannot_be_listed(expression: str) -> None:
    data = flow({"a": []}, vars={"v": 1}, outputs={"x": f"${{{{ {expression} }}}}"})
    try:
        run: Simulated = simulate(data)
    except AssertionError:
        return  # refused when it was read
    assert run.state.exit_code == 1


def test_before_the_run_all_about_nodes_is_unknown() -> None:
    names = scope.before(
        {"n": 1}, {}, {"v": expr.parse("${{ nodes.a.output }}"), "w": expr.parse("${{ params.n }}")}, {}
    )
    assert expr.evaluate_value(expr.parse("${{ vars.w }}"), names) == 1
    with pytest.raises(expr.Unknown):
        expr.evaluate_value(expr.parse("${{ vars.v.x }}"), names)


def test_a_large_output_is_fetched_only_when_it_is_named() -> None:
    run = simulate(flow({"a": [], "b": []}), outputs={"a": {"file": "a.json"}, "b": {"file": "b.json"}})
    fetched: list[object] = []

    def fetch(value: object, stored: bool) -> object:
        fetched.append(value)
        return "large"

    names = scope.During(run.plan, run.state, fetch).shared()
    assert expr.evaluate_value(expr.parse("${{ nodes.a.output }}"), names) == "large"
    assert fetched == [{"file": "a.json"}]
