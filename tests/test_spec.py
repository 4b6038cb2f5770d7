"""The meaning of a workflow: needs, references, defaults, and every fault at its place."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.simulate import build, flow
from wfctl import score
from wfctl.errors import dotted

Faults = list[tuple[str, str, str]]


def faults(data: dict[str, Any]) -> Faults:
    """Every problem as (where, message, hint); where leads to the value, or with `!` to the key."""
    _, problems = build(data)
    return [(dotted(p.where) + "!" * p.key, p.message, p.hint) for p in problems]


def needs(data: dict[str, Any], node: str) -> tuple[str, ...]:
    plan, problems = build(data)
    assert not problems, problems
    return plan.nodes[node].needs


# -- needs


def test_an_unknown_need_is_told_with_the_nearest_name() -> None:
    assert faults(flow({"score": [], "load": ["scroe"]})) == [
        ("nodes.load.needs[0]", 'no node named "scroe"', 'did you mean "score"?')
    ]


def test_an_unknown_need_without_a_near_name_has_a_way_out() -> None:
    ((_, _, hint),) = faults(flow({"a": [], "b": ["elsewhere"]}))
    assert hint == "declare it, or take it out"


def test_all_unknown_needs_are_told_at_once() -> None:
    assert [where for where, _, _ in faults(flow({"a": ["x1"], "b": ["a", "x2", "x3"]}))] == [
        "nodes.a.needs[0]", "nodes.b.needs[1]", "nodes.b.needs[2]",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [2, 3, 50, 10_000])
def test_a_cycle_is_told_once(size: int) -> None:
    nodes = {f"n{i}": [f"n{(i - 1) % size}"] for i in range(size)}
    ((where, message, hint),) = faults(flow(nodes))
    assert where == "nodes.n0!"
    assert message.startswith("cycle: n0 -> n1 -> ")
    assert message.endswith("-> n0")
    assert len(message) < 200
    assert hint == "take out one of these needs"


def test_a_node_cannot_need_itself() -> None:
    assert faults(flow({"a": ["a"]})) == [("nodes.a!", "cycle: a -> a", "a node cannot need itself")]
    assert faults(flow({"a": {"env": {"X": "${{ nodes.a.output }}"}}})) == faults(flow({"a": ["a"]}))


@pytest.mark.parametrize("trigger", ["any_succeeded", "any_failed"])
def test_any_without_needs_is_a_fault(trigger: str) -> None:
    ((where, message, hint),) = faults(flow({"a": {"trigger": trigger}}))
    assert (where, message, hint) == (
        "nodes.a.trigger",
        f"{trigger} needs something that can succeed or fail",
        "add needs",
    )


def test_any_may_stand_on_a_reference_alone() -> None:
    nodes = {"a": [], "b": {"trigger": "any_failed", "when": "${{ nodes.a.state == 'failed' }}"}}
    assert faults(flow(nodes)) == []


def test_a_need_told_twice_counts_once() -> None:
    assert needs(flow({"a": [], "b": ["a", "a"]}), "b") == ("a",)


def test_needs_of_a_wrong_shape_are_left_to_the_schema() -> None:
    for wrong in ("abc", 5, {"a": 1}, [1, None]):
        data = flow({"a": [], "b": {"needs": wrong}, "c": ["x"]})
        assert "nodes.c.needs[0]" in [where for where, _, _ in faults(data)]


# -- references


@pytest.mark.parametrize(
    "raw",
    [
        {"env": {"X": "${{ nodes.a.output }}"}},
        {"when": "${{ nodes.a.state == 'succeeded' }}"},
        {"expect": "${{ output == nodes.a.output }}"},
        {"retry": {"attempts": 2, "when": "${{ nodes.a.output }}"}},
        {"args": ["x", "${{ nodes.a.output }}"], "run": "echo \"$@\""},
        {"stdin": "${{ nodes.a.output }}"},
        {"cwd": "${{ nodes.a.output }}"},
        {"timeout": "${{ nodes.a.output }}"},
        {"writes": ["${{ nodes.a.output }}"]},
        {"run": ["echo", "${{ nodes.a.output }}"]},
        {"run": "echo ${{ nodes.a.output }}"},
        {"env": {"X": "${{ vars.v }}"}},
        {"env": {"X": "${{ vars.w }}"}},
    ],
    ids=lambda raw: ",".join(raw) + str(raw)[-9:-5].strip(),
)  # fmt: skip
def test_to_name_a_node_anywhere_is_to_need_it(raw: dict[str, Any]) -> None:
    data = flow({"a": [], "b": raw}, vars={"v": "${{ nodes.a.output }}", "w": "x${{ vars.v }}"})
    assert needs(data, "b") == ("a",)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("nodes.aa.output", 'no node named "aa"'),
        ("params.dya", 'no param named "dya"'),
        ("vars.x", 'no var named "x"'),
        ("nope", 'no name "nope" here'),
        ("nodes.a.outptu", 'nodes.a has no "outptu"'),
        ("run.state", 'run has no "state"'),
        ("output", 'no name "output" here'),
        ("item", '"item" is that of an item, and there is no for_each around this'),
    ],
)
def test_an_unknown_name_is_a_fault_at_its_place(expression: str, message: str) -> None:
    data = flow({"a": [], "b": {"env": {"X": f"${{{{ {expression} }}}}"}}}, params={"day": {"default": "x"}})
    ((where, told, _),) = faults(data)
    assert (where, told) == ("nodes.b.env.X", message)


def test_after_the_work_expect_sees_what_came_of_it() -> None:
    data = flow({"a": {"expect": "${{ exit_code == 0 and output == 1 and error == '' and attempt == 1 }}"}})
    assert faults(data) == []


def test_vars_in_a_circle_are_a_fault() -> None:
    data = flow({"a": []}, vars={"x": "${{ vars.y }}", "y": "${{ vars.z }}", "z": "${{ vars.x }}"})
    assert [f[1] for f in faults(data)] == ["cycle: vars.x -> vars.z -> vars.y -> vars.x"]


def test_a_condition_is_one_whole_expression() -> None:
    ((where, message, hint),) = faults(flow({"a": {"when": "x${{ true }}"}}))
    assert (where, message, hint) == ("nodes.a.when", "must be one whole expression", 'write it as "${{ … }}"')


# -- finally


def test_main_and_finally_do_not_need_each_other() -> None:
    found = faults(flow({"a": ["f"]}, **{"finally": {"f": ["a"]}}))
    assert [(where, message) for where, message, _ in found] == [
        ("nodes.a.needs[0]", '"f" is a finally node; it runs after all others'),
        ("finally.f.needs[0]", '"a" has always ended when finally begins'),
    ]


def test_a_main_node_cannot_name_a_finally_node() -> None:
    data = flow({"a": {"env": {"X": "${{ nodes.f.output }}"}}}, **{"finally": {"f": []}})
    assert faults(data) == [("nodes.a!", 'names "f", which is a finally node and runs after it', "")]


def test_a_finally_node_may_name_all_others_and_the_end_of_the_run() -> None:
    env = {"X": "${{ nodes.a.output }} ${{ run.state }} ${{ run.failed_nodes }}"}
    assert needs(flow({"a": []}, **{"finally": {"f": {"env": env}}}), "f") == ()


def test_an_id_stands_in_one_section() -> None:
    ((where, message, hint),) = faults(flow({"a": []}, **{"finally": {"a": []}}))
    assert (where, message, hint) == ("finally.a!", 'the id "a" stands in nodes as well', "give one of them another id")


def test_outputs_cannot_come_of_finally() -> None:
    data = flow({"a": []}, outputs={"x": "${{ nodes.f.output }}"}, **{"finally": {"f": []}})
    assert [f[:2] for f in faults(data)] == [("outputs.x", '"f" is a finally node and has no output for others')]


# -- not available yet


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("compensate", "none"), ("pivot", True),
    ],
)  # fmt: skip
def test_a_key_of_later_is_refused_and_its_harmless_value_is_not(key: str, value: object) -> None:
    assert faults(flow({"a": {key: value}})) == [(f"nodes.a.{key}!", f'"{key}" is not available yet', "take it out")]
    harmless = {"idempotency": False, "checkpoint": False, "pivot": False}
    assert key not in harmless or faults(flow({"a": {key: harmless[key]}})) == []


def test_a_key_of_the_file_of_later_is_refused() -> None:
    data = flow({"a": []}, rollback={"strategy": "none"})
    assert [where for where, what, _ in faults(data) if "available" in what] == ["rollback!"]


# -- budgets


def test_a_budget_has_an_amount_a_reserve_a_rate_and_may_be_shared() -> None:
    supplies = {
        "cpu": {"amount": 4, "reserve": 0.5},
        "gpu": {"amount": "${{ params.n }}", "share": "machine", "reserve": 1},
        "api": {"amount": 9, "rate": "${{ params.r }}", "share": "run"},
        "disk": "2GiB",
    }
    params = {"n": {"default": 3}, "r": {"default": "90/m"}}
    plan, problems = build(flow({"a": {"resources": {"gpu": 2}}}, resources=supplies, params=params))
    assert problems == []
    assert plan.budget == {"cpu": 3500, "gpu": 2, "api": 9, "disk": 2 * 2**30}
    assert (plan.rates, plan.shared) == ({"api": 1.5}, {"gpu": (3, 1)})


@pytest.mark.parametrize(
    ("supply", "where", "what"),
    [
        ({"amount": 1, "reserve": 2}, "resources.x.reserve", "is 2, more than the amount, 1"),
        ({"amount": 1.5}, "resources.x.amount", "x is counted in whole units, got 1.5"),
        ({"amount": 1, "reserve": "a lot"}, "resources.x.reserve", "expected an amount such as 2 or 512MiB"),
        ({"amount": 1, "rate": "0/s"}, "resources.x.rate", "expected a rate such as 5/s, 30/m or 100/h"),
        ({"amount": 1, "rate": "${{ params.bad }}"}, "resources.x.rate", "expected a rate such as 5/s, 30/m or 100/h"),
        ({"amount": 1, "share": "${{ params.bad }}"}, "resources.x.share", "expected one of run, machine"),
    ],
)
def test_each_part_of_a_budget_is_told_where_it_is_wrong(supply: dict[str, Any], where: str, what: str) -> None:
    ((told, message, _),) = faults(flow({"a": []}, resources={"x": supply}, params={"bad": {"default": "much"}}))
    assert told == where
    assert message.startswith(what)


def test_what_is_reserved_is_none_that_a_node_could_have() -> None:
    data = flow({"a": {"resources": {"x": 3}}}, resources={"x": {"amount": 4, "reserve": 2}})
    assert [(where, what) for where, what, _ in faults(data)] == [("nodes.a.resources.x", "needs 3, the budget is 2")]


def test_a_lock_has_a_name_and_a_way_out() -> None:
    plan = build(flow({"a": []}, lock={"name": "deploy ${{ params.n }}"}, params={"n": {"default": 1}}))[0]
    assert (plan.lock, plan.on_busy) == ("deploy 1", "wait")
    assert build(flow({"a": []}, lock={"name": "x", "on_busy": "skip"}))[0].on_busy == "skip"
    wrong = flow({"a": []}, lock={"name": "${{ params.n }}"}, params={"n": {"default": 5}})
    assert [where for where, _, _ in faults(wrong)] == ["lock"]


# -- defaults


def test_defaults_lie_under_every_node_deeply() -> None:
    data = flow(
        {"a": {"retry": {"attempts": 5}, "env": {"B": "b"}}},
        defaults={"timeout": "30s", "retry": {"attempts": 2, "delay": "9s"}, "env": {"A": "a", "B": "x"}},
    )
    node = build(data)[0].nodes["a"].node
    assert (node.timeout, node.retry.attempts, node.retry.delay, node.env) == (30.0, 5, 9.0, {"A": "a", "B": "b"})


def test_null_unsets_a_default() -> None:
    data = flow({"a": {"timeout": None, "retry": {"delay": None}, "env": None}}, defaults={
        "timeout": "30s", "retry": {"attempts": 2, "delay": "9s"}, "env": {"A": "a"},
    })  # fmt: skip
    assert faults(data) == []
    node = build(data)[0].nodes["a"].node
    assert (node.timeout, node.retry.attempts, node.retry.delay, node.env) == (None, 2, 1.0, {})


@pytest.mark.parametrize(
    "key", ["timeout", "retry", "env", "resources", "when", "expect", "priority", "estimate", "cwd", "stdin"]
)
def test_null_where_there_is_no_default_is_nothing(key: str) -> None:
    assert faults(flow({"a": {key: None}})) == []
    assert build(flow({"a": {key: None}}))[0].nodes["a"].node == build(flow({"a": {}}))[0].nodes["a"].node


def test_a_fault_in_defaults_is_told_of_the_nodes() -> None:
    assert {message for _, message, _ in faults(flow({"a": {}, "b": {}}, defaults={"needs": ["x"]}))} == {
        'no node named "x"'
    }


# -- values the planner needs


def test_planned_keys_may_be_expressions_over_params() -> None:
    node = {
        "resources": {"gpu": "${{ params.n }}"},
        "retry": {"attempts": "${{ params.n }}", "when": "${{ exit_code == 75 }}"},
        "estimate": "${{ params.n * 10 }}",
        "priority": "${{ 'high' if params.n > 1 else 'low' }}",
        "deadline": "${{ params.n * 60 }}",
        "business_value": "${{ params.n * 30 }}",
        "user_level": "${{ 'vip' if params.n > 1 else 'normal' }}",
        "group": "team ${{ params.n }}",
        "continue_on_error": "${{ params.n > 1 }}",
    }
    plan, problems = build(flow({"a": node}, params={"n": {"default": 2}}, resources={"gpu": "${{ params.n }}"}))
    assert not problems
    made = plan.nodes["a"]
    assert (made.demand, made.estimate, made.node.priority) == ((("gpu", 2),), 20.0, "high")
    assert (made.node.retry.attempts, made.node.continue_on_error) == (2, True)
    said = (made.node.deadline, made.node.business_value, made.node.user_level, made.node.group)
    assert said == (120.0, 60.0, "vip", "team 2")
    assert made.node.retry.when is not True
    assert plan.budget == {"gpu": 2}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("retry", {"attempts": "${{ params.bad }}"}, "attempts is a whole number from 1 up"),
        ("retry", {"jitter": "${{ params.bad }}"}, "jitter is true or false"),
        ("retry", {"backoff": "${{ params.bad }}"}, "backoff is a number from 1 up"),
        ("estimate", "${{ params.bad }}", "expected a duration"),
        ("priority", "${{ params.bad }}", "expected one of low, normal, high, critical"),
        ("deadline", "${{ params.bad }}", "expected a duration"),
        ("business_value", "${{ params.bad }}", "business_value is a number from 0 to 100"),
        ("user_level", "${{ params.bad }}", "expected one of vip, premium, normal"),
        ("group", "${{ [params.bad] }}", "expected text"),
        ("continue_on_error", "${{ params.bad }}", "expected true or false"),
        ("resources", {"cpu": "${{ params.bad }}"}, "cpu is a number"),
    ],
)
def test_what_an_expression_makes_is_checked_too(key: str, value: object, message: str) -> None:
    data = flow({"a": {key: value}}, params={"bad": {"default": "a lot"}}, resources={"cpu": 2})
    ((where, told, _),) = faults(data)
    assert where.startswith(f"nodes.a.{key}")
    assert message in told


def test_a_planned_key_cannot_wait_for_a_node() -> None:
    ((where, message, _),) = faults(flow({"a": [], "b": {"estimate": "${{ nodes.a.output }}"}}))
    assert (where, message) == ("nodes.b.estimate", "is needed before anything runs and cannot name nodes")


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"timeout": "10 parsecs"}, "nodes.a.timeout"),
        ({"estimate": "soon"}, "nodes.a.estimate"),
        ({"retry": {"delay": "soon"}}, "nodes.a.retry.delay"),
        ({"resources": {"gpu": 1.5}}, "nodes.a.resources.gpu"),
        ({"when": "${{ 1 + }}"}, "nodes.a.when"),
        ({"env": {"X": "${{ 'a' }}", "Y": "${{ nope }}"}}, "nodes.a.env.Y"),
        ({"args": ["a", "${{ nope }}"]}, "nodes.a.args[1]"),
    ],
    ids=["timeout", "estimate", "retry", "resources", "when", "env", "args"],
)
def test_a_fault_knows_its_place(raw: dict[str, Any], where: str) -> None:
    assert [told for told, _, _ in faults(flow({"a": raw}, resources={"gpu": 2}))] == [where]


@pytest.mark.parametrize(
    ("scheduling", "message"),
    [
        ({"policy": "${{ params.bad }}"}, "expected one of fifo, priority, fair, deadline, critical_path"),
        ({"weights": {"user": "${{ params.bad }}"}}, "user is a number from 0 to 1000000"),
        ({"weights": dict.fromkeys(score.WEIGHTS, 0)}, "at least one weight must be more than 0"),
        ({"weights": "${{ params.bad }}"}, "expected a mapping"),
        ({"aging": "${{ params.bad }}"}, "expected a duration"),
        ({"aging": 0}, "must be at least a millisecond"),
        ({"groups": {"x": "${{ params.bad }}"}}, "x is a number"),
        ({"groups": {"x": 0}}, "x must be more than 0"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_scheduling_is_checked_where_it_is_written(scheduling: dict[str, Any], message: str) -> None:
    ((where, told, _),) = faults(flow({"a": []}, params={"bad": {"default": "a lot"}}, scheduling=scheduling))
    assert where == f"scheduling.{next(iter(scheduling))}"
    assert message in told


def test_scheduling_may_be_expressions_over_params() -> None:
    said = {"policy": "${{ params.p }}", "aging": "${{ params.n }}s", "weights": {"user": "${{ params.n }}"}}
    data = flow({"a": []}, params={"p": {"default": "fair"}, "n": {"default": 3}}, scheduling=said)
    plan, problems = build({**data, "scheduling": {**said, "groups": {"web": "${{ params.n }}"}}})
    assert not problems
    assert (plan.policy, plan.aging, plan.groups) == ("fair", 3.0, {"web": 3.0})
    assert plan.weights["user"] == pytest.approx(3 / 3.8)


def test_a_sound_workflow_of_ten_thousand_nodes_has_no_faults() -> None:
    nodes = {f"n{i}": [f"n{n}" for n in range(max(0, i - 3), i)] for i in range(10_000)}
    assert faults(flow(nodes)) == []
