"""The workflow of each policy, run for real: the order that makes the difference; and `--explain`.

Knows nothing of how a policy ranks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Command
from tests.e2e.conftest import Flow, Status

Order = Callable[..., list[str]]
Plan = Callable[..., dict[str, Any]]


@pytest.fixture
def order(tmp_path: Path, wfctl: Command, status: Status) -> Order:
    """Runs the workflow of a policy; its nodes in the order in which they were started."""

    def run(policy: str, *words: str) -> list[str]:
        shutil.copy(ROOT / f"workflows/policies/{policy}.yaml", tmp_path)
        ended = wfctl("run", f"{policy}.yaml", *words)
        assert ended.returncode == 0, ended.stderr
        nodes = status()["nodes"]
        return sorted(nodes, key=lambda name: str(nodes[name]["started"]))

    return run


@pytest.fixture
def plan(wfctl: Command) -> Plan:
    """What `plan --json` says of the workflow of a policy."""

    def tell(policy: str, *words: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            wfctl("plan", str(ROOT / f"workflows/policies/{policy}.yaml"), "--json", *words).stdout
        )
        return document

    return tell


def planned(document: dict[str, Any]) -> list[str]:
    nodes = document["nodes"]
    return sorted(nodes, key=lambda name: nodes[name]["start"])


def test_fifo_serves_who_came_first_whatever_their_level(order: Order, plan: Plan) -> None:
    expected = ["passport", "licence", "photo", "permit", "minister", "stamp"]
    assert order("fifo") == planned(plan("fifo")) == expected
    assert order("fifo", "--policy", "priority")[:2] == ["minister", "passport"]


def test_priority_sends_the_repair_out_before_the_nightly_checks(order: Order, plan: Plan) -> None:
    started = order("priority")
    assert set(started[:2]) == {"fetch", "invoice"}
    assert set(started[-2:]) == {"fuzz", "soak"}
    assert started.index("build") < started.index("docs") < started.index("lint")
    by_priority, by_fifo = plan("priority")["nodes"], plan("priority", "--policy", "fifo")["nodes"]
    assert by_priority["deploy"]["finish"] == 0.8
    assert by_fifo["deploy"]["finish"] > 1.4
    assert [by_priority[name]["level"] for name in ("fetch", "invoice", "docs", "soak")] == [
        "critical", "high", "normal", "low",
    ]  # fmt: skip


def test_fair_gives_the_film_two_frames_for_each_of_the_trailer(order: Order, plan: Plan) -> None:
    started = order("fair")
    for count in range(3, 13, 3):
        films = sum(name.startswith("film") for name in started[:count])
        assert abs(films - count * 2 / 3) <= 1, started
    assert next(name for name in started if name.startswith("trailer")) == "trailer_4"
    by_fifo = planned(plan("fair", "--policy", "fifo"))
    assert all(name.startswith("film") for name in by_fifo[:8])


def test_deadline_has_every_report_in_time(order: Order, plan: Plan) -> None:
    due = {"day": 0.7, "week": 1.1, "month": 1.6}
    assert order("deadline") == planned(plan("deadline")) == ["count", "day", "week", "month", "archive"]
    assert all(plan("deadline")["nodes"][name]["finish"] <= moment for name, moment in due.items())
    by_fifo = plan("deadline", "--policy", "fifo")["nodes"]
    assert [name for name, moment in due.items() if by_fifo[name]["finish"] <= moment] == ["month"]


def test_critical_path_begins_with_the_longest_chain_and_is_done_sooner(order: Order, plan: Plan) -> None:
    started = order("critical_path")
    assert "ground" in started[:2]
    assert started.index("walls") < started.index("shed")
    soon, late = plan("critical_path"), plan("critical_path", "--policy", "fifo")
    assert soon["makespan"] == pytest.approx(soon["lower_bound"]) == pytest.approx(0.9)
    assert late["makespan"] == 1.2


# -- --explain


WAITING = """
concurrency: 2
resources: {gpu: 2}
nodes:
  train: {run: sleep 60, resources: {gpu: 1}, priority: critical, business_value: 100}
  infer: {run: "true", resources: {gpu: 2}, user_level: vip}
  after: {run: "true", needs: [infer]}
"""


def test_a_ready_node_of_a_live_run_says_what_it_waits_for(
    flow: Flow, wfctl: Command, start: Any, until: Any, status: Status, valid: Any
) -> None:
    flow(WAITING)
    start("run", "flow.yaml")
    until(lambda: "running" in wfctl("status").stdout, "the node runs")
    said = json.loads(wfctl("status", "last", "--explain", "infer", "--json").stdout)
    valid("explain", said)
    assert said["state"] == "ready"
    assert [(w["for"], w.get("name"), w["holders"]) for w in said["waits"]] == [("resource", "gpu", {"train": 1})]
    shown = wfctl("status", "--explain", "infer").stdout
    assert "gpu       wants 2, 1 of 2 is free; held by train (1)" in shown
    assert "needs     infer (ready)" in wfctl("status", "--explain", "after").stdout
    assert wfctl("cancel", "last").returncode == 0
    ended = json.loads(wfctl("status", "last", "--explain", "infer", "--json").stdout)
    valid("explain", ended)
    assert ended["waits"] == []


def test_a_plan_says_why_a_node_begins_when_it_does(flow: Flow, wfctl: Command, valid: Any) -> None:
    flow(WAITING)
    said = json.loads(wfctl("plan", "flow.yaml", "--explain", "infer", "--json").stdout)
    valid("explain", said)
    assert (said["ready"], said["start"]) == (0.0, 1.0)
    shown = wfctl("plan", "flow.yaml", "--explain", "infer").stdout
    assert "user             1.000 × 0.200 = 0.200   user_level vip" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("words", [("plan", "flow.yaml"), ("status", "last")], ids=" ".join)
def test_a_node_that_is_not_there_is_a_fault_of_usage(words: tuple[str, ...], flow: Flow, wfctl: Command) -> None:
    flow('nodes: {score: {run: "true"}}')
    assert wfctl("run", "flow.yaml").returncode == 0
    ended = wfctl(*words, "--explain", "scroe")
    assert ended.returncode == 2
    assert ended.stderr == 'wfctl: --explain: no node named "scroe"; did you mean "score"?\n'


def test_a_plan_lets_the_soak_test_wait_for_what_needs_all_boards(order: Order, plan: Plan) -> None:
    by_plan, by_fifo = plan("improved"), plan("improved", "--policy", "fifo")
    assert (by_plan["makespan"], by_fifo["makespan"]) == (1.2, 1.3)
    assert (by_plan["improved"], by_fifo["improved"]) == (True, False)
    started = order("improved")
    assert started[:2] == ["build", "flash"]
    assert set(started[2:]) == {"soak", "check"}


def test_a_search_is_never_worse_and_says_how_it_went(plan: Plan) -> None:
    found = plan("improved", "--optimize", "0.1", "--seed", "7")
    assert found["makespan"] == found["search"]["before"] == found["search"]["after"] == 1.2
    assert found["search"]["plans"] > 100
    at_once = plan("critical_path", "--optimize", "60")["search"]
    assert at_once["after"] == at_once["lower_bound"] == 0.9
    assert at_once["seconds"] < 10, "it ends where none can be shorter"
