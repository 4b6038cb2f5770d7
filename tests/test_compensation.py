"""How a node says that it is undone, and a file how it is rolled back: what is read, and every fault at its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.simulate import REQUEST, build, flow
from wfctl import compensation, exhibit
from wfctl.compensation import Rollback, Step
from wfctl.errors import dotted
from wfctl.node import Node, Retry
from wfctl.plan import Plan

STEP = {"run": "undo"}


def plan_of(data: dict[str, Any], **request: Any) -> Plan:
    plan, problems = build(data, replace(REQUEST, **request))
    assert problems == []
    return plan


def node_of(raw: dict[str, Any], **keys: Any) -> Node:
    return plan_of(flow({"a": raw}, **keys)).nodes["a"].node


def step_of(step: dict[str, Any], raw: dict[str, Any] | None = None, **keys: Any) -> Step:
    (found,) = node_of({**(raw or {}), "compensate": [step]}, **keys).compensate or ()
    return found


def faults(data: dict[str, Any], files: dict[str, Any] | None = None) -> list[tuple[str, str, str]]:
    """Every problem as (where, message, hint); with `!` where it is at the key."""
    _, problems = build(data, files=files)
    return [(dotted(p.where) + "!" * p.key, p.message, p.hint) for p in problems]


def lacking(data: dict[str, Any]) -> list[str]:
    """Where steps name what the node does not depend on."""
    return [where for where, what, _ in faults(data) if "does not depend on" in what]


# -- what is read


def test_a_node_may_have_steps_or_need_none_or_say_nothing() -> None:
    assert node_of({}).compensate is None
    assert node_of({"compensate": "none"}).compensate == ()
    steps = node_of({"compensate": [STEP, {"files": {"delete": ["x"]}}]}).compensate or ()
    assert [step.node.kind for step in steps] == ["run", "files"]


def test_what_nobody_says_is_completed_and_no_pivot() -> None:
    node = node_of({"compensate": [STEP]})
    assert (node.compensate_when, node.pivot) == ("completed", False)
    node = node_of({"compensate": [STEP], "compensate_when": "attempted", "pivot": True, "idempotency": True})
    assert (node.compensate_when, node.pivot) == ("attempted", True)


def test_what_a_plan_is_made_of_may_be_an_expression() -> None:
    params = {"when": {"default": "attempted"}, "last": {"default": True}}
    raw = {"compensate": [STEP], "compensate_when": "${{ params.when }}", "pivot": "${{ params.last }}"}
    node = node_of(raw, params=params)
    assert (node.compensate_when, node.pivot) == ("attempted", True)


def test_a_step_has_five_minutes_and_five_tries_unless_it_says_otherwise() -> None:
    step = step_of({**STEP, "verify": STEP})
    assert step.verify is not None
    assert (step.node.timeout, step.verify.timeout) == (300.0, 300.0)
    assert compensation.retry_of(step, Rollback()) == Retry(attempts=5, delay=1.0)
    assert step.verify.retry == Retry()
    step = step_of({**STEP, "timeout": "1m", "verify": {**STEP, "timeout": "2s", "retry": {"attempts": 9}}})
    assert step.verify is not None
    assert (step.node.timeout, step.verify.timeout, step.verify.retry.attempts) == (60.0, 2.0, 9)


def test_what_a_step_says_of_tries_lies_over_what_the_file_says() -> None:
    data = flow({"a": {"compensate": [{**STEP, "retry": {"delay": "7s"}}]}}, rollback={"retry": {"attempts": 2}})
    plan = plan_of(data)
    (step,) = plan.nodes["a"].node.compensate or ()
    assert compensation.retry_of(step, plan.rollback) == Retry(attempts=2, delay=7.0)


@pytest.mark.parametrize("retry", [{"attempts": "${{ params.n }}"}, "${{ {'attempts': params.n} }}"])
def test_tries_of_a_step_may_be_expressions(retry: object) -> None:
    if isinstance(retry, str):
        retry = "${{ params.retry }}"
    params = {"n": {"default": 3}, "retry": {"default": {"attempts": 3}}}
    step = step_of({**STEP, "retry": retry}, params=params)
    assert compensation.retry_of(step, Rollback(retry=Retry(attempts=8, delay=4.0))) == Retry(attempts=3, delay=4.0)


def test_tries_of_items_may_differ() -> None:
    step = {**STEP, "retry": {"attempts": "${{ item }}"}}
    nodes = plan_of(flow({"a": {"for_each": [2, 3], "compensate": [step]}})).nodes
    made = [nodes[name].node.compensate for name in nodes["a"].children]
    assert [steps[0].node.retry.attempts for steps in made if steps] == [2, 3]
    assert nodes["a"].node.compensate is None


def test_env_secrets_and_folder_of_a_step_are_those_of_the_node() -> None:
    raw = {"env": {"X": "${{ secrets.P }}", "Y": 1}, "secrets": ["Q"], "cwd": "sub"}
    step = step_of({**STEP, "verify": STEP}, raw, secrets=["P", "Q", "R"])
    for node in (step.node, step.verify):
        assert node is not None
        assert (sorted(node.env), node.secrets, node.cwd) == (["X", "Y"], ("Q",), "sub")
        assert (node.receives, node.sealed) == (("P", "Q"), frozenset({"X"}))


def test_a_step_receives_the_secrets_of_its_own_work_too() -> None:
    step = step_of({"http": {"url": "https://${{ secrets.R }}"}}, {"secrets": ["Q"]}, secrets=["P", "Q", "R"])
    assert step.node.receives == ("Q", "R")


def test_a_step_takes_no_defaults_of_nodes() -> None:
    step = step_of(STEP, defaults={"timeout": "1h", "stdout": "text", "reads": ["x"]})
    assert (step.node.timeout, step.node.stdout, step.node.reads) == (300.0, "none", ())


def test_an_undo_is_no_part_of_the_work() -> None:
    plain, other = node_of({}), node_of({"compensate": [STEP], "compensate_when": "attempted", "pivot": True})
    assert plain == other


# -- what steps name


SEES = {
    "output": "${{ output.id }}", "exit code": "${{ exit_code }}", "error": "${{ error }}", "attempt": "${{ attempt }}",
    "itself": "${{ nodes.a.output.id }}", "its paths": "${{ writes.raw }} ${{ reads.src }}",
    "params": "${{ params.p }}", "env": "${{ env.E }}", "vars": "${{ vars.v }}", "run": "${{ run.id }}",
}  # fmt: skip


@pytest.mark.parametrize("text", SEES.values(), ids=SEES.keys())
def test_a_step_sees_what_came_of_the_node_and_what_the_node_saw(text: str) -> None:
    raw = {"reads": {"src": "s"}, "writes": {"raw": "r"}, "compensate": [{"run": ["undo", text]}]}
    keys = {"params": {"p": {"default": 1}}, "env": {"E": "1"}, "vars": {"v": "x"}}
    assert faults(flow({"a": raw}, **keys)) == []


def test_a_step_of_an_item_sees_the_item() -> None:
    raw = {"for_each": [1], "compensate": [{"run": "undo ${{ item }} ${{ index }} ${{ key }}"}]}
    assert faults(flow({"a": raw})) == []
    ((where, what, _), *_) = faults(flow({"a": {"compensate": [{"run": "undo ${{ item }}"}]}}))
    assert (where, "no for_each" in what) == ("nodes.a.compensate[0].run", True)


def test_every_path_that_steps_name_is_told() -> None:
    work = {"run": "undo ${{ output.id }} ${{ vars.v }}", "stdin": "${{ nodes.b.output.x }}"}
    proof = {"run": ["check", "${{ params.p }}"], "expect": "${{ output == writes.raw }}"}
    raw = {"writes": {"raw": "r"}, "needs": ["b"], "compensate": [{**work, "verify": proof}]}
    keys = {"params": {"p": {"default": 1}}, "vars": {"v": "x"}}
    steps = plan_of(flow({"a": raw, "b": []}, **keys)).nodes["a"].node.compensate or ()
    assert compensation.references(steps) == {
        ("output", "id"), ("vars", "v"), ("nodes", "b", "output", "x"), ("params", "p"), ("writes", "raw"),
    }  # fmt: skip


def test_secrets_are_named_among_them() -> None:
    steps = node_of({"compensate": [{"http": {"url": "https://${{ secrets.P }}"}}]}, secrets=["P"]).compensate or ()
    assert compensation.references(steps) == {("secrets", "P")}


def test_expect_sees_what_the_step_itself_has_left() -> None:
    step = {"run": "undo", "expect": "${{ output == 1 and attempt < 3 }}", "retry": {"when": "${{ exit_code == 7 }}"}}
    assert compensation.references([step_of(step)]) == set()


def test_what_a_step_names_is_no_edge() -> None:
    raw = {"needs": ["b"], "compensate": [{"run": "undo ${{ nodes.z.output }}"}]}
    assert plan_of(flow({"z": [], "b": ["z"], "a": raw})).nodes["a"].needs == ("b",)


# -- what steps may count on


UNDO = {"compensate": [{"run": "undo ${{ nodes.z.output }}"}]}


@pytest.mark.parametrize(
    "nodes",
    [
        {"z": [], "a": {"needs": ["z"], **UNDO}},
        {"z": [], "b": ["z"], "a": {"needs": ["b"], **UNDO}},
        {"z": [], "a": {"env": {"X": "${{ nodes.z.output }}"}, **UNDO}},
        {"z": {"writes": ["f"]}, "a": {"reads": ["f"], **UNDO}},
        {"z": {"writes": ["f"]}, "b": {"reads": ["f"]}, "a": {"needs": ["b"], **UNDO}},
        {"z": [], "g": {"needs": ["z"], "nodes": {"a": UNDO}}},
        {"g": {"nodes": {"z": [], "a": {"needs": ["z"], **UNDO}}}},
        {"z": {"for_each": [1, 2]}, "a": {"needs": ["z"], **UNDO}},
        {"z": [], "a": {"needs": ["z"], "for_each": [1, 2], **UNDO}},
        {"z": [], "a": {"for_each": "${{ nodes.z.output }}", **UNDO}},
        {"z": [], "g": {"for_each": "${{ nodes.z.output }}", "nodes": {"a": UNDO}}},
        {"y": [], "g": {"for_each": "${{ nodes.y.output }}", "nodes": {"z": [], "a": {"needs": ["z"], **UNDO}}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_step_may_name_what_its_node_depends_on(nodes: dict[str, Any]) -> None:
    assert faults(flow(nodes)) == []


@pytest.mark.parametrize(
    ("nodes", "where"),
    [
        ({"z": [], "a": UNDO}, "a"),
        ({"z": [], "a": {"for_each": [1, 2, 3], **UNDO}}, "a"),
        ({"z": [], "g": {"nodes": {"a": UNDO}}}, "g.nodes.a"),
        ({"g": {"nodes": {"z": [], "a": UNDO}}}, "g.nodes.a"),
        ({"z": [], "y": [], "a": {"for_each": "${{ nodes.y.output }}", **UNDO}}, "a"),
        ({"y": [], "g": {"for_each": "${{ nodes.y.output }}", "nodes": {"z": [], "a": UNDO}}}, "g.nodes.a"),
    ],
    ids=str,
)  # fmt: skip
def test_a_step_may_name_no_other(nodes: dict[str, Any], where: str) -> None:
    what = 'names "z", which "a" does not depend on'
    assert faults(flow(nodes)) == [(f"nodes.{where}.compensate[0].run", what, "add needs: [z]")]


def test_what_comes_after_a_node_cannot_be_needed_by_it() -> None:
    what = 'names "z", which "a" does not depend on'
    told = [("nodes.a.compensate[0].run", what, '"z" comes after it; take it out')]
    assert faults(flow({"a": UNDO, "z": ["a"]})) == told
    assert faults(flow({"a": UNDO, "b": ["a"], "z": ["b"]})) == told


def test_vars_lead_to_nodes_as_well() -> None:
    undo = {"compensate": [{"run": "undo ${{ vars.w }}"}]}
    keys = {"vars": {"v": "${{ nodes.z.output }}", "w": "x${{ vars.v }}"}}
    ((where, what, hint),) = faults(flow({"z": [], "a": undo}, **keys))
    assert (where, hint) == ("nodes.a.compensate[0].run", "add needs: [z]")
    assert what == 'names "z" by way of vars.w, which "a" does not depend on'
    assert faults(flow({"z": [], "a": {"needs": ["z"], **undo}}, **keys)) == []


def test_a_proof_is_looked_at_as_its_step() -> None:
    proof = {"run": "check", "expect": "${{ output == nodes.z.output }}"}
    assert lacking(flow({"z": [], "a": {"compensate": [{**STEP, "verify": proof}]}})) == [
        "nodes.a.compensate[0].verify.expect"
    ]


def test_a_node_of_finally_is_no_help() -> None:
    ((where, what, hint),) = faults(flow({"a": UNDO}, **{"finally": {"z": []}}))
    assert (where, hint) == ("nodes.a.compensate[0].run", "take it out")
    assert what == 'names "z", which is a finally node and runs after this was undone'


def test_a_name_that_is_not_there_is_told_as_everywhere() -> None:
    ((where, what, _),) = faults(flow({"a": UNDO}))
    assert (where, what) == ("nodes.a.compensate[0].run", 'no node named "z"')


def test_a_sub_workflow_is_looked_at_in_its_own_file() -> None:
    files = {"sub.yaml": flow({"z": [], "a": UNDO})}
    _, problems = build(flow({"s": {"workflow": "sub.yaml"}}), files=files)
    assert [(p.file, dotted(p.where)) for p in problems] == [("sub.yaml", "nodes.a.compensate[0].run")]


@pytest.mark.parametrize("far", [2, 100])
def test_however_far_behind_it_lies_it_is_found(far: int) -> None:
    chain = {f"n{i}": [f"n{i - 1}"] if i else [] for i in range(far)}
    undo = {"compensate": [{"run": "undo ${{ nodes.n0.output }}"}]}
    assert faults(flow({**chain, "a": {"needs": [f"n{far - 1}"], **undo}})) == []
    assert lacking(flow({**chain, "b": [f"n{far - 1}"], "a": undo})) == ["nodes.a.compensate[0].run"]


# -- faults


@pytest.mark.parametrize(("kind", "value"), [("ask", {"message": "?"}), ("workflow", "x.yaml"), ("nodes", {"b": STEP})])
@pytest.mark.parametrize("proves", [False, True])
def test_a_kind_that_cannot_undo_is_told_with_the_way_out(kind: str, value: object, proves: bool) -> None:
    step = {**STEP, "verify": {kind: value}} if proves else {kind: value}
    ((where, what, hint),) = faults(flow({"a": {"compensate": [step]}}))
    assert where == f"nodes.a.compensate[0].{'verify.' if proves else ''}{kind}!"
    assert what.startswith(f'"{kind}" cannot undo anything: ')
    assert hint


def test_a_step_is_checked_as_a_node_of_its_kind() -> None:
    step = {"run": "undo", "with": {"x": 1}, "verify": {"files": {"delete": ["../x"]}}}
    assert [where for where, _, _ in faults(flow({"a": {"compensate": [step]}}))] == [
        "nodes.a.compensate[0].with!", "nodes.a.compensate[0].verify.files.delete[0]",
    ]  # fmt: skip


def test_a_secret_stands_only_where_it_may() -> None:
    step = {"run": "undo ${{ secrets.P }}"}
    ((where, what, _),) = faults(flow({"a": {"compensate": [step]}}, secrets=["P"]))
    assert (where, "cannot stand here" in what) == ("nodes.a.compensate[0].run", True)


def test_what_is_planned_sees_nothing_of_the_work() -> None:
    (where, what, _), *_ = faults(flow({"a": {"compensate": [{**STEP, "retry": {"attempts": "${{ output }}"}}]}}))
    assert where == "nodes.a.compensate[0].retry.attempts"
    assert '"output"' in what


PREPARES = {"sql": {"url": "postgresql://h/d", "execute": "DELETE FROM t", "prepare": True}}


def test_a_step_prepares_nothing() -> None:
    ((where, _, hint),) = faults(flow({"a": {"compensate": [PREPARES]}}))
    assert (where, hint) == ("nodes.a.compensate[0].sql.prepare!", "take it out")


def test_a_prepared_transaction_has_no_steps() -> None:
    def told(raw: dict[str, Any], **keys: Any) -> list[tuple[str, str, str]]:
        return faults({"version": 1, "nodes": {"a": {**PREPARES, **raw}}, **keys})

    ((where, _, hint),) = told({"compensate": [STEP]})
    assert (where, hint) == ("nodes.a.compensate!", "take out compensate, or prepare")
    assert told({"compensate": "none"}) == []
    assert told({}, defaults={"compensate": [STEP]}) == []


@pytest.mark.parametrize(("key", "value"), [("compensate", "none"), ("compensate", [STEP]), ("pivot", True)])
def test_where_it_does_nothing_it_is_a_fault(key: str, value: object) -> None:
    raw = {key: value}
    for where, data in {
        "nodes.a": flow({"a": {"ask": {"message": "?"}, **raw}}),
        "nodes.g": flow({"g": {"nodes": {"a": []}, **raw}}),
        "finally.f": flow({"a": []}, **{"finally": {"f": raw}}),
        "nodes.e": flow({"e": {"nodes": {"a": []}, "for_each": [1], **raw}}),
    }.items():
        ((told, what, hint),) = faults(data)
        assert told == f"{where}.{key}!"
        assert f'"{key}" does nothing' in what
        assert hint


def test_what_the_defaults_say_is_passed_over_where_it_does_nothing() -> None:
    defaults = {"compensate": [STEP], "compensate_when": "attempted", "pivot": True}
    nodes = {"a": [], "q": {"ask": {"message": "?"}}, "n": {"compensate": "none"}, "g": {"nodes": {"i": []}}}
    plan = plan_of(flow(nodes, defaults=defaults, **{"finally": {"f": []}}))
    said = {name: (p.node.compensate, p.node.pivot) for name, p in plan.nodes.items() if name in "qnf"}
    assert said == {"q": (None, False), "n": ((), True), "f": (None, False)}
    assert all(plan.nodes[name].node.compensate for name in ("a", "g.i"))


@pytest.mark.parametrize("steps", [None, "none"])
def test_attempted_without_steps_is_a_fault(steps: object) -> None:
    ((where, _, hint),) = faults(flow({"a": {"compensate": steps, "compensate_when": "attempted"}}))
    assert (where, hint) == ("nodes.a.compensate_when!", "add compensate with a list of steps, or take it out")


# -- what a file says


def test_a_file_need_not_say_how_it_is_rolled_back() -> None:
    assert plan_of(flow({"a": []})).rollback == Rollback()


def test_a_file_may_say_it_with_expressions() -> None:
    said = {
        "strategy": "${{ params.s }}", "max_restarts": "${{ params.n }}",
        "retry": {"delay": "${{ params.d }}", "attempts": 2, "when": "${{ exit_code == 75 }}"},
    }  # fmt: skip
    params = {"s": {"default": "full"}, "n": {"default": 0}, "d": {"default": "3s"}}
    found = plan_of(flow({"a": []}, rollback=said, params=params)).rollback
    assert (found.strategy, found.max_restarts) == ("full", 0)
    assert (found.retry.attempts, found.retry.delay) == (2, 3.0)
    assert getattr(found.retry.when, "text", "") == "${{ exit_code == 75 }}"


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"strategy": "compensat"}, "rollback.strategy"),
        ({"strategy": "${{ params.s }}"}, "rollback.strategy"),
        ({"max_restarts": -1}, "rollback.max_restarts"),
        ({"max_restarts": "${{ params.s }}"}, "rollback.max_restarts"),
        ({"retry": {"attempts": 0}}, "rollback.retry.attempts"),
        ({"retry": {"attempts": "${{ params.s }}"}}, "rollback.retry"),
        ({"retry": {"when": "x"}}, "rollback.retry.when"),
        ({"retry": {"when": "${{ nodes.a.output }}"}}, "rollback.retry.when"),
        ({"strategy": "${{ nodes.a.output }}"}, "rollback.strategy"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_it_is_told_at_its_place(said: dict[str, Any], where: str) -> None:
    found = faults(flow({"a": []}, rollback=said, params={"s": {"default": "compensat"}}))
    assert [place for place, _, _ in found] == [where]


def test_an_unknown_strategy_is_told_with_the_nearest() -> None:
    ((_, what, _),) = faults(flow({"a": []}, rollback={"strategy": "patrial"}))
    assert 'did you mean "partial"?' in what


@pytest.mark.parametrize("strategy", ["checkpoint", "${{ params.s }}"])
def test_a_rollback_to_a_checkpoint_wants_one(strategy: str) -> None:
    def told(nodes: dict[str, Any], **keys: Any) -> list[tuple[str, str, str]]:
        return faults(flow(nodes, rollback={"strategy": strategy}, params={"s": {"default": "checkpoint"}}, **keys))

    ((where, what, hint),) = told({"a": []}, **{"finally": {"f": {"checkpoint": True}}})
    assert (where, what) == ("rollback.strategy", "no node has a checkpoint to go back to")
    assert hint == "add checkpoint: true to a node, or choose another strategy"
    assert told({"a": {"checkpoint": True}}) == []
    assert told({"g": {"nodes": {"a": {"checkpoint": {"save": ["x"]}}}}}) == []
    assert told({"a": {"for_each": [1], "checkpoint": True}}) == []
    assert told({"a": []}, defaults={"checkpoint": True}) == []


# -- what is shown


def test_show_has_the_steps_filled_in_as_far_as_they_are_known() -> None:
    steps = [
        {"run": "rm -rf ${{ params.p }} ${{ output.dir }}"},
        {"http": {"method": "DELETE", "url": "https://${{ secrets.P }}/x"}, "verify": {"run": ["check", "a b"]}},
    ]
    raw = {"compensate": steps, "pivot": True}
    plan = plan_of(flow({"a": raw}, params={"p": {"default": "x"}}, secrets=["P"]))
    shown = exhibit.node(plan, "a")
    assert shown["compensate"] == [
        "run: rm -rf x ${{ output.dir }}",
        'http: {"method": "DELETE", "url": "https://***/x"}; verified by run: check \'a b\'',
    ]
    assert (shown["compensate_when"], shown["pivot"]) == ("completed", True)


def test_show_says_where_no_undo_is_needed() -> None:
    assert exhibit.node(plan_of(flow({"a": {"compensate": "none"}})), "a")["compensate"] == "none"


def test_show_has_how_a_file_is_rolled_back() -> None:
    said = exhibit.workflow(plan_of(flow({"a": []}, rollback={"strategy": "full"})))["rollback"]
    assert (said["strategy"], said["retry"]["attempts"], said["max_restarts"]) == ("full", 5, 1)
