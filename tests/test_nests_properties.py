"""What holds in every run of nested nodes, whatever lies in what, whatever fails, and wherever the engine dies.

Groups, sub-workflows, `for_each` and questions in each other, three deep; the checks go over the events of the run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.simulate import CrashAt, Memory, Simulated, build, flow, simulate
from wfctl import events as ev
from wfctl import paper
from wfctl.course import plot
from wfctl.explain import document
from wfctl.forecast import Forecast, forecast
from wfctl.jobs import Answer
from wfctl.noderun import BAD, DONE, FINAL, RUNNING, SKIPPED
from wfctl.plan import Plan, Planned
from wfctl.policy import POLICIES
from wfctl.state import RunState
from wfctl.trigger import TRIGGERS

FILES = {
    "sub.yaml": {
        "params": {"n": {"default": 1}},
        "nodes": {
            "p": {"run": "true", "env": {"N": "${{ params.n }}"}},
            "q": {"run": "true", "needs": ["p"], "retry": {"attempts": 2, "delay": 1, "jitter": False}},
            "r": {"for_each": [1, 2], "run": "true", "needs": ["p"]},
        },
        "finally": {"z": {"run": "true"}, "zz": {"run": "true", "needs": ["z"]}},
        "outputs": {"q": "${{ nodes.q.output }}"},
    }
}
EXAMPLES = 60
SAID: Mapping[str, Any] = {
    "trigger": ["all_succeeded", "all_succeeded", "all_done", "any_succeeded", "any_failed", "none_failed"],
    "continue_on_error": [False, False, False, True],
}


@st.composite
def nodes(draw: st.DrawFn, depth: int, around: tuple[str, ...], steady: bool) -> dict[str, Any]:
    """Up to 4 nodes that may need the ones before and those `around`, and may hold others.

    `steady` leaves out all whose end hangs on who is quicker."""
    found: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 4 if depth else 3))):
        name = f"{'abcd'[depth]}{i}"
        reach = [*found, *around]
        node: dict[str, Any] = {"needs": sorted(draw(st.sets(st.sampled_from(reach), max_size=2))) if reach else []}
        if node["needs"]:
            node["trigger"] = draw(st.sampled_from(SAID["trigger"]))
        node["continue_on_error"] = draw(st.sampled_from(SAID["continue_on_error"]))
        what = draw(st.sampled_from(["run", "run", "ask", "nodes", "nodes", "sub"] if depth < 3 else ["run", "ask"]))
        if what == "nodes":
            inner = draw(nodes(depth + 1, (*around, *found), steady))
            node["nodes"] = inner
            node["outputs"] = {"o": f"${{{{ nodes.{[*inner][-1]}.output }}}}"}
        elif what == "sub":
            node |= {"workflow": "sub.yaml", "params": {"n": 2}}
        elif what == "ask":
            node["ask"] = {"message": "?"}
        else:
            node |= {
                "run": "true",
                "retry": {"attempts": draw(st.integers(1, 2)), "delay": draw(st.integers(0, 3)), "jitter": False},
                "resources": {"cpu": draw(st.integers(0, 2))},
            }
        if draw(st.sampled_from([False, False, True])):
            runs = [n for n, other in found.items() if "run" in other and "for_each" not in other]
            grows = bool(runs) and draw(st.booleans())
            source = f"${{{{ nodes.{draw(st.sampled_from(runs))}.output or [7] }}}}" if grows else None
            node["for_each"] = source or [*range(draw(st.integers(0, 3)))]
            node["max_parallel"] = draw(st.sampled_from([None, 1, 2]))
            strategies = ["all"] if steady else ["all", "all", "first", "majority", "best"]
            node["collect"] = {
                "strategy": draw(st.sampled_from(strategies)),
                "tolerate": draw(st.sampled_from([0, 0, 1, "50%"])),
                "timeout": None if steady else draw(st.sampled_from([None, None, 3, 7])),
                "until": None if steady else draw(st.sampled_from([None, None, "${{ output == [1, 2] }}"])),
            }
        found[name] = node
    return found


class By(dict[str, Any]):
    """What a seed says of each node: found by its id, so it is the same in every run."""

    def __init__(self, seed: int, values: list[Any]) -> None:
        super().__init__()
        self.seed, self.may_be = seed, values

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        return self.may_be[crc32(f"{self.seed} {name}".encode()) % len(self.may_be)]

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]


@st.composite
def cases(draw: st.DrawFn, steady: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """A workflow, and how its nodes fare."""
    seed = draw(st.integers(0, 1000))
    data = flow(
        draw(nodes(0, (), steady)),
        concurrency=draw(st.integers(1, 4)),
        resources={"cpu": 3},
        on_failure="continue" if steady else draw(st.sampled_from(["stop", "continue", "cancel"])),
        scheduling={"policy": draw(st.sampled_from(sorted(POLICIES)))},
        timeout=None if steady else draw(st.sampled_from([None, None, None, 9])),
        **({"finally": draw(nodes(2, (), steady))} if draw(st.booleans()) else {}),
    )
    ways: list[list[Any]] = [[0], [0, 0, 0, 1], [0, 1], [0, 0, 0, 0, 0, 0, "timeout", 1]]
    choice = By(seed, draw(st.sampled_from([["approve"], ["approve", "reject"]])))
    return data, {
        "fails": By(seed, draw(st.sampled_from(ways))),
        "seconds": By(seed, [0.0, 1.0, 1.0, 2.0, 5.0]),
        "outputs": By(seed, [None, [1, 2], [], [3]]),
        "answers": lambda state: [Answer(node=n, choice=choice[n], by="ada") for n in state.asking],
        "files": FILES,
        "plot": draw(st.sampled_from([None, plot])),
    }


class Checked:
    """Takes the events of a run one by one, and sees to it that each may follow."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.plan, _ = build(data, files=FILES)
        self.state = RunState(self.plan)
        self.done: set[str] = set()

    def take(self, event: ev.Event) -> None:
        if isinstance(event, (ev.NodeStarted, ev.NodeAsked)):
            self.may_begin(self.plan.nodes[event.node])
        self.state.apply(event)
        if isinstance(event, ev.NodeStarted):
            self.holds_limits()

    def may_begin(self, planned: Planned) -> None:
        runs, nodes = self.state.nodes, self.plan.nodes
        assert runs[planned.id].state not in FINAL
        last = planned.node.last  # of a sub-workflow, of which something else ran again
        assert last or planned.id not in self.done, f"{planned.id} succeeded, and begins again"
        for one in (planned, *self.around(planned)):
            ended = Counter[str]()
            for need in one.needs:
                run = runs[need]
                if run.state not in FINAL:
                    ended["left"] += 1
                elif run.state in DONE or (run.state in BAD and nodes[need].node.continue_on_error):
                    ended["succeeded"] += 1
                elif run.state is not SKIPPED:
                    ended["failed"] += 1
            assert TRIGGERS[one.node.trigger](Needs(ended), len(one.needs)), f"{one.id} begins too early"
            assert one is planned or runs[one.id].state is RUNNING, f"{planned.id} begins in {one.id}"
            if one.node.last and one.parent:
                for other in nodes[one.parent].children:
                    assert nodes[other].node.last or runs[other].state in FINAL, f"{one.id} begins before {other} ended"

    def around(self, planned: Planned) -> Iterator[Planned]:
        while planned.parent is not None:
            planned = self.plan.nodes[planned.parent]
            yield planned

    def holds_limits(self) -> None:
        running = [name for name, run in self.state.nodes.items() if run.state is RUNNING]
        work = [name for name in running if not self.plan.nodes[name].holds]
        assert len(work) <= self.plan.concurrency
        assert sum(dict(self.plan.nodes[name].demand).get("cpu", 0) for name in work) <= self.plan.budget["cpu"]
        for name in running:
            most = self.plan.nodes[name].node.max_parallel
            if most is not None:
                children = self.plan.nodes[name].children
                assert sum(self.began(child) for child in children) <= most, f"too many items of {name}"

    def began(self, name: str) -> bool:
        run, planned = self.state.nodes[name], self.plan.nodes[name]
        if run.state in FINAL:
            return False
        return run.state in ("running", "retrying", "waiting_input") and (
            not planned.holds or any(self.state.nodes[child].state != "waiting" for child in planned.children)
        )


class Needs:
    def __init__(self, ended: Mapping[str, int]) -> None:
        self.left, self.succeeded, self.failed = ended["left"], ended["succeeded"], ended["failed"]


def check_end(plan: Plan, state: RunState) -> None:
    """States of parents and children agree, and so do the counts."""
    assert state.finished is not None
    if state.status == "interrupted":
        return
    for name, run in state.nodes.items():
        planned = plan.nodes[name]
        assert run.state in FINAL, f"{name} is {run.state} in a run that is {state.status}"
        inside = [state.nodes[child].state for child in planned.children]
        if run.state in DONE and planned.node.each is None:
            tolerated = [c for c in planned.children if plan.nodes[c].node.continue_on_error]
            assert not [c for c in planned.children if state.nodes[c].state in BAD and c not in tolerated], name
        if run.state is SKIPPED:
            assert all(state is SKIPPED for state in inside), name
        if run.state in DONE and planned.node.each is not None:
            strategy = state.nests.collect(name).strategy
            if strategy == "all":
                assert isinstance(run.output, list)
                assert len(run.output) == len(inside)
            else:
                assert run.won
    assert state.open == {"nodes": 0, "finally": 0}
    assert state.ended == Counter(run.state for run in state.nodes.values())
    bad = [n for n, run in state.nodes.items() if run.state in BAD and not state.nests.absorbed(plan.nodes[n])]
    assert (state.exit_code == 0) == (not bad and not state.timed_out), bad


def views(state: RunState) -> dict[str, Any]:
    """The quick views that can be made anew from the states of the nodes."""
    return {
        "open": state.open,
        "ended": {k: v for k, v in state.ended.items() if v},
        "running": {*state.running},
        "asking": {*state.asking},
        "ready": {n for n, r in state.nodes.items() if r.state == "ready" and n in state.ready},
        "failed": {*state.failed_nodes},
        "retry": state.next_retry(),
        "deadline": state.nests.next_deadline(),
        "free": dict(state.free),
        "states": {n: (r.state, r.left, r.succeeded, r.failed) for n, r in state.nodes.items()},
        "inside": {
            n: (t.total, t.left, t.succeeded, t.failed, t.cancelled, t.last)
            + (({*t.active},) if state.plan.nodes[n].node.each else ())
            for n, r in state.nodes.items() if (t := r.inside) is not None
        },
    }  # fmt: skip


def follow(data: Any, run: Simulated, at: int = -1) -> Checked:
    """Go over all events; after the one `at` the state is put on paper and read again."""
    checked = Checked(data)
    for i, event in enumerate(run.events):
        if isinstance(event, ev.RunResumed):
            nodes = checked.plan.nodes
            done = [n for n, r in checked.state.nodes.items() if r.state in DONE]
            checked.done = {n for n in done if nodes[n].node.section == "nodes" and not nodes[n].holds}
        checked.take(event)
        if i == at:
            plan, _ = build(data, files=FILES)
            written = json.dumps(paper.to_data(checked.state))
            again = paper.from_data(plan, json.loads(written))
            assert json.dumps(paper.to_data(again)) == written
            assert views(again) == views(checked.state)
            for name, node in checked.state.nodes.items():
                said = document(checked.plan, checked.state, name, event.time)
                assert said["waits"] or node.state != "waiting", f"{name} waits, and nothing says why"
    return checked


@settings(max_examples=EXAMPLES)
@given(cases(), st.integers(0, 40))
def test_whatever_fails_the_run_comes_to_its_end_and_each_begins_when_it_may(case: Any, at: int) -> None:
    data, how = case
    run = simulate(data, **how)
    check_end(run.plan, run.state)
    follow(data, run, at)


@settings(max_examples=EXAMPLES)
@given(cases(steady=True), st.integers(1, 40), st.sampled_from(["decided", "recorded", "submitted", "completed"]))
def test_a_crash_anywhere_changes_no_end_and_runs_no_success_again(case: Any, turn: int, point: str) -> None:
    data, how = case
    whole = simulate(data, **how)
    check_end(whole.plan, whole.state)
    run = simulate(data, crash=CrashAt(point, turn), journal=Memory(), **how)
    while run.state.finished is None and run.journal.kept:
        run = simulate(data, run=run, **how)
    if not run.journal.kept:
        return
    follow(data, run)
    check_end(run.plan, run.state)
    assert {n: (r.state, r.output) for n, r in run.state.nodes.items()} == {
        n: (r.state, r.output) for n, r in whole.state.nodes.items()
    }
    assert run.state.status == whole.state.status


@settings(max_examples=EXAMPLES)
@given(cases(), st.floats(0, 12), st.booleans())
def test_a_run_that_is_stopped_or_crashes_can_go_on(case: Any, when: float, twice: bool) -> None:
    data, how = case
    signals = [(when, 2), (when + 0.5, 2)] if twice else [(when, 2)]
    run = simulate(data, signals=signals, **how)
    for _ in range(4):
        if run.state.status == "succeeded":
            break
        run = simulate(data, run=run, crash=CrashAt("recorded", 3), **how)
    if run.state.finished is None:
        run = simulate(data, run=run, **how)
    check_end(run.plan, run.state)
    follow(data, run)


def early(found: Forecast) -> bool:
    """Whether a `for_each` is done before all its items: then the rest of them takes no time."""
    collects = [planned.node.collect for planned in found.plan.nodes.values() if planned.node.collect]
    return any(one.strategy in ("first", "majority") or one.until or one.timeout is not None for one in collects)


@settings(max_examples=EXAMPLES)
@given(cases())
def test_a_forecast_is_made_of_all_of_them(case: Any) -> None:
    data, how = case
    plan, problems = build(data, files=FILES)
    assert not problems
    found = forecast(plan, plot=how["plot"])
    assert found.makespan >= found.lower_bound - 1e-6 or early(found)
    for name, start in found.start.items():
        assert start <= found.finish.get(name, start)
    assert found.document()["nodes"].keys() >= found.start.keys()
