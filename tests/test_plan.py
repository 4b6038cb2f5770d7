"""From a workflow and a request to a plan: edges by paths, selections, budgets, bounds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.simulate import build, flow, simulate
from wfctl.errors import dotted
from wfctl.paths import confined
from wfctl.plan import Plan, Request
from wfctl.planner import SelectionError


def planned(nodes: dict[str, Any], request: Request | None = None, **keys: Any) -> Plan:
    plan, problems = build(flow(nodes, **keys), request)
    assert not problems, problems
    return plan


def faults(nodes: dict[str, Any], request: Request | None = None, **keys: Any) -> list[tuple[str, str]]:
    _, problems = build(flow(nodes, **keys), request)
    return [(dotted(p.where), p.message) for p in problems]


def is_edge(written: object, read: object) -> bool:
    plan = planned({"w": {"writes": written}, "r": {"reads": read}})
    return plan.nodes["r"].needs == ("w",)


# -- reads and writes


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("work/raw.csv", "work/raw.csv"),
        ("./build//raw.csv", "build/x/../raw.csv"),
        ("work", "work/raw.csv"),
        ("work/", "work/deep/raw.csv"),
        ("work/raw.csv", "work"),
        ("work/raw.csv", "work/*.csv"),
        ("work/a/b/raw.csv", "work/**/*.csv"),
        ("work/raw.csv", "work/**/*.csv"),
        ("work/a/raw.csv", "work/*"),
        ("work", "work/*.csv"),
        ("work/*.csv", "work/raw.csv"),
        ("work/*.csv", "work/*.csv"),
        ("work/*.csv", "work"),
        ("work/raw.csv", "."),
        ("out", "**/x"),
        ("out", "*/x"),
        ("out", "o*/deep/x"),
        ("out/a", "out/*/x"),
        ("o2/*.csv", "o2/x*"),
        ("o2/x*", "**/*.csv"),
        ("*/x", "out/*"),
        ("**/x", "out/*"),
        ("wo*/raw/x.csv", "work/raw"),
        ("out.d", "*.d/x"),
    ],
)
def test_a_path_that_one_writes_and_another_reads_is_an_edge(written: str, read: str) -> None:
    assert is_edge([written], [read])
    assert is_edge({"x": written}, {"y": read})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("work/raw.csv", "work/raw.csv.bak"),
        ("work", "workshop/x"),
        ("work/raw.csv", "work/*.json"),
        ("work/deep/raw.csv", "work/*.csv"),
        ("work/raw.csv", "other"),
        ("work/*.csv", "work/raw.json"),
        ("work/*.csv", "work/*.json"),
        ("work/a*", "work/b*"),
        ("work/*", "other/*"),
        ("work/raw.csv", "**/x"),
        ("work/raw.csv", "work/*/x"),
        ("work/*.csv", "work/**/x.json"),
    ],
)
def test_other_paths_are_none(written: str, read: str) -> None:
    assert not is_edge([written], [read])


def test_paths_may_be_made_of_params() -> None:
    nodes = {"w": {"writes": ["out/${{ params.day }}.csv"]}, "r": {"reads": ["out/mon.csv"]}}
    assert planned(nodes, params={"day": {"default": "mon"}}).nodes["r"].needs == ("w",)


def test_what_a_node_writes_itself_it_may_read() -> None:
    assert planned({"a": {"writes": ["x"], "reads": ["x"]}}).nodes["a"].needs == ()


def test_edges_by_paths_come_beside_the_others() -> None:
    nodes = {"w": {"writes": ["x"]}, "a": [], "r": {"needs": ["a"], "reads": ["x"]}}
    assert planned(nodes).nodes["r"].needs == ("a", "w")
    assert planned(nodes).nodes["w"].dependents == ["r"]


def test_paths_can_make_a_cycle() -> None:
    nodes = {"a": {"writes": ["x"], "reads": ["y"]}, "b": {"writes": ["y"], "reads": ["x"]}}
    assert faults(nodes) == [("nodes.a", "cycle: a -> b -> a")]


def test_what_globs_may_have_in_common_makes_no_cycle() -> None:
    nodes = {"lint": {"reads": ["**/x"], "writes": ["ok"]}, "build": {"needs": ["lint"], "writes": ["out"]}}
    plan = planned({**nodes, "look": {"reads": ["**/x"]}})
    assert plan.nodes["lint"].needs == ()
    assert set(plan.nodes["look"].needs) == {"lint", "build"}


def test_what_globs_may_have_in_common_hides_no_cycle_of_sure_edges() -> None:
    nodes = {"a": {"writes": ["x"], "reads": ["y", "**/z"]}, "b": {"writes": ["y"], "reads": ["x"]}}
    assert faults(nodes) == [("nodes.a", "cycle: a -> b -> a")]


def test_two_unordered_writers_are_a_fault() -> None:
    assert faults({"a": {"writes": ["x"]}, "b": {"writes": ["./x"]}}) == [
        ("nodes.b.writes", '"x" is written by "a" too, and neither comes after the other')
    ]


def test_two_writers_one_after_the_other_are_none() -> None:
    nodes = {"b": {"needs": ["m"], "writes": ["x"]}, "m": ["a"], "a": {"writes": ["x"]}}
    assert faults(nodes) == []


def test_of_three_writers_each_pair_must_be_ordered() -> None:
    nodes = {name: {"writes": ["x"], "needs": needs} for name, needs in {"a": [], "b": ["a"], "c": ["a"]}.items()}
    assert [where for where, _ in faults(nodes)] == ["nodes.c.writes"]


def test_a_folder_and_what_lies_in_it_are_not_written_in_any_order() -> None:
    nodes = {"whole": {"writes": ["out"]}, "part": {"writes": ["out/deep/x.csv", "outer/x"]}}
    assert faults(nodes) == [
        ("nodes.part.writes", '"out/deep/x.csv" lies in "out", which "whole" writes, and neither comes after the other')
    ]


@pytest.mark.parametrize("first", ["whole", "part"])
def test_a_folder_and_what_lies_in_it_may_be_written_one_after_the_other(first: str) -> None:
    second = {"whole": "part", "part": "whole"}[first]
    paths = {"whole": ["out"], "part": ["out/x.csv"]}
    nodes = {second: {"needs": ["m"], "writes": paths[second]}, "m": [first], first: {"writes": paths[first]}}
    assert faults(nodes) == []


def test_parts_of_a_folder_need_no_order_among_themselves() -> None:
    parts = {f"p{i}": {"needs": ["whole"], "writes": [f"out/{i}.csv"]} for i in range(1_000)}
    assert faults({"whole": {"writes": ["out"]}, **parts}) == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "", "a\0b", 5])
@pytest.mark.parametrize("key", ["reads", "writes"])
def test_a_path_cannot_leave_the_root(key: str, path: object) -> None:
    ((where, _),) = faults({"a": {key: ["fine", path]}})
    assert where == f"nodes.a.{key}[1]"
    ((where, _),) = faults({"a": {key: {"good": "fine", "bad": path}}})
    assert where == f"nodes.a.{key}.bad"


@pytest.mark.parametrize("cwd", ["../..", "/tmp", "", 5, "${{ params.up }}"])
def test_a_node_cannot_stand_outside_of_the_root(cwd: object) -> None:
    assert [where for where, _ in faults({"a": {"cwd": cwd}}, params={"up": {"default": ".."}})] == ["nodes.a.cwd"]


@pytest.mark.parametrize(
    "cwd", [".", "sub/..", "${{ nodes.b.output }}", "${{ writes.x }}", "${{ params.day }}", "${{ run.id }}"]
)
def test_what_a_cwd_is_made_of_may_be_known_only_later(cwd: str) -> None:
    nodes = {"a": {"cwd": cwd, "writes": {"x": "out"}}, "b": []}
    assert planned(nodes, Request(run_id=""), params={"day": {"type": "string"}}).nodes["a"].node.cwd


def test_an_absolute_path_inside_the_root_is_the_same_path() -> None:
    assert confined("/data/run/x/y", "/data/run") == "x/y"
    with pytest.raises(ValueError, match="outside of the root"):
        confined("/data/running/x", "/data/run")


def test_ten_thousand_writers_and_readers_are_joined() -> None:
    nodes: dict[str, Any] = {}
    for i in range(5_000):
        nodes[f"w{i}"] = {"writes": [f"work/{i}/x.csv"]}
        nodes[f"r{i}"] = {"reads": [f"work/{i}/*.csv"]}
    plan = planned(nodes)
    assert all(plan.nodes[f"r{i}"].needs == (f"w{i}",) for i in range(5_000))


# -- selection

DIAMOND: dict[str, Any] = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


@pytest.mark.parametrize(
    ("options", "runs", "given"),
    [
        ({}, "abcd", ""),
        ({"until": ("b",)}, "ab", ""),
        ({"start_from": ("b",)}, "bd", "ac"),
        ({"start_from": ("d",)}, "d", "bc"),
        ({"only": ("c",)}, "c", "a"),
        ({"only": ("a", "d")}, "ad", "bc"),
        ({"start_from": ("b",), "until": ("b", "c")}, "b", "a"),
    ],
)
def test_a_selection_runs_its_nodes_and_leans_on_what_was_given(options: dict[str, Any], runs: str, given: str) -> None:
    plan = planned(DIAMOND, Request(**options))
    assert "".join(name for name, node in plan.nodes.items() if not node.given) == runs
    assert "".join(name for name, node in plan.nodes.items() if node.given) == given


def test_given_nodes_do_not_run_and_hand_over_their_output() -> None:
    nodes = {"a": [], "b": {"when": "${{ nodes.a.output == 7 }}"}}
    run = simulate(flow(nodes), outputs={"a": 7}, request=Request(run_id="r", start_from=("b",)))
    assert (run.timeline, run.ended) == ("b[0-1]", {"a": "cached", "b": "ok"})


def test_finally_belongs_to_every_selection() -> None:
    plan = planned(DIAMOND, Request(only=("a",)), **{"finally": {"f": []}})
    assert list(plan.nodes) == ["a", "f"]


@pytest.mark.parametrize("options", [{"start_from": ("x",)}, {"until": ("x",)}, {"only": ("f",)}])
def test_a_selection_of_what_is_not_there_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SelectionError, match="no node named"):
        build(flow(DIAMOND, **{"finally": {"f": []}}), Request(**options))


# -- budgets


def test_a_demand_over_the_budget_is_a_fault() -> None:
    assert faults({"train": {"resources": {"gpu": 4}}}, resources={"gpu": 2}) == [
        ("nodes.train.resources.gpu", "needs 4, the budget is 2")
    ]
    assert faults({"a": {"resources": {"cpu": 1.5, "memory": "2GiB"}}}, resources={"cpu": 1, "memory": "1GiB"}) == [
        ("nodes.a.resources.cpu", "needs 1.5, the budget is 1"),
        ("nodes.a.resources.memory", "needs 2GiB, the budget is 1GiB"),
    ]


def test_a_demand_without_a_budget_is_a_fault() -> None:
    assert faults({"a": {"resources": {"licence": 1}}}) == [
        ("nodes.a.resources.licence", 'there is no budget named "licence"')
    ]
    assert faults({"a": {"resources": {"licence": 0}}}) == []


def test_cpu_and_memory_are_the_machines_where_nobody_says_else() -> None:
    machine = Request(machine={"cpu": 4000, "memory": 2**30})
    assert planned({"a": {"resources": {"cpu": 4}}}, machine).budget == {"cpu": 4000, "memory": 2**30}
    assert faults({"a": {"resources": {"cpu": 5}}}, machine) == [("nodes.a.resources.cpu", "needs 5, the budget is 4")]
    assert planned({"a": []}, machine, resources={"cpu": 64}).budget["cpu"] == 64_000


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"concurrency": "${{ params.bad }}"}, "concurrency"),
        ({"timeout": "${{ params.bad }}"}, "timeout"),
        ({"resources": {"gpu": "${{ params.bad }}"}}, "resources.gpu"),
        ({"scheduling": {"policy": "${{ params.bad }}"}}, "scheduling.policy"),
        ({"on_failure": "${{ params.bad }}"}, "on_failure"),
    ],
    ids=["concurrency", "timeout", "resources", "policy", "on_failure"],
)
def test_a_value_of_the_file_that_cannot_be_is_told_at_its_place(keys: dict[str, Any], where: str) -> None:
    assert [told for told, _ in faults({"a": []}, params={"bad": {"default": "x"}}, **keys)] == [where]


# -- params and env


def test_defaults_may_use_earlier_params_and_env() -> None:
    params = {"day": {"default": "mon"}, "file": {"default": "${{ params.day }}-${{ env.KIND }}"}}
    plan = planned({"a": []}, params=params, env={"KIND": "csv"})
    assert plan.params == {"day": "mon", "file": "mon-csv"}


def test_env_from_outside_wins_over_its_default_and_is_required_without() -> None:
    env = {"A": {"default": "a"}, "B": {"default": "b"}, "C": {}}
    assert planned({"a": []}, Request(environ={"B": "x", "C": "y"}), env=env).env == {"A": "a", "B": "x", "C": "y"}
    assert faults({"a": []}, env=env) == [("env.C", 'the environment has no "C"')]


def test_a_required_env_that_is_missing_is_told_and_not_the_param_that_leans_on_it() -> None:
    params = {"x": {"type": "string", "default": "${{ env.Q }}"}}
    assert faults({"a": []}, params=params, env={"Q": {}}) == [("env.Q", 'the environment has no "Q"')]


@pytest.mark.parametrize("kind", ["integer", ["integer", "null"]])
def test_a_whole_number_is_an_integer_however_it_is_written(kind: object) -> None:
    params = {"given": {"type": kind}, "default": {"type": kind, "default": 1e3}, "other": {"type": "number"}}
    plan = planned({"a": []}, Request(params={"given": 5.0, "other": 5.0}), params=params)
    assert [repr(value) for value in plan.params.values()] == ["5", "1000", "5.0"]


# -- lengths


def test_the_critical_path_and_the_bounds_are_of_what_will_run() -> None:
    nodes = {name: {"needs": needs, "estimate": 2} for name, needs in DIAMOND.items()}
    plan = planned({**nodes, "x": {"estimate": 100}}, Request(until=("d",), cores=2))
    assert plan.critical_path in (("a", "b", "d"), ("a", "c", "d"))
    assert plan.bounds == {"critical path": 6.0, "work / slots": 4.0}


def test_a_plan_does_not_lean_on_the_order_in_the_file() -> None:
    turned = dict(reversed(DIAMOND.items()))
    one, other = planned(DIAMOND), planned(turned)
    assert {n: (p.tail, p.level, set(p.needs)) for n, p in one.nodes.items()} == {
        n: (p.tail, p.level, set(p.needs)) for n, p in other.nodes.items()
    }
