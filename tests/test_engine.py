"""The loop of a run in virtual time: budgets, signals, size, and death at every named point."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain, count, repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.simulate import CrashAt, Memory, Simulated, build, flow, simulate
from wfctl import events as ev
from wfctl import paper
from wfctl.engine import Watcher
from wfctl.errors import StateError
from wfctl.executors.simulated import SimulatedExecutor
from wfctl.jobs import LowDisk
from wfctl.state import RunState, fold

# -- slots and budgets


def test_no_more_nodes_run_at_once_than_concurrency_allows() -> None:
    run = simulate(flow({"a": [], "b": [], "c": []}, concurrency=2))
    assert run.timeline == "a[0-1] b[0-1] c[1-2]"


def test_the_cores_of_the_machine_are_the_default() -> None:
    assert simulate(flow({f"n{i}": [] for i in range(9)})).state.finished == 3  # four at once


def test_a_node_waits_until_the_budget_is_free() -> None:
    nodes = {"a": {"resources": {"cpu": 2}}, "b": {"resources": {"cpu": 1}}}
    assert simulate(flow(nodes, resources={"cpu": 2})).timeline == "a[0-1] b[1-2]"


def test_thousandths_of_a_core_add_up_exactly() -> None:
    nodes = {f"n{i}": {"resources": {"cpu": 0.1}} for i in range(11)}
    run = simulate(flow(nodes, resources={"cpu": 1}, concurrency=20))
    assert [run.timeline.count(f"[{s}-") for s in (0, 1)] == [10, 1]


def test_sizes_add_up_exactly() -> None:
    nodes = {"a": {"resources": {"memory": "1GiB"}}, "b": {"resources": {"memory": "1GiB"}}}
    assert simulate(flow(nodes, resources={"memory": "2GiB"})).state.finished == 1
    assert simulate(flow(nodes, resources={"memory": 2 * 1024**3 - 1})).state.finished == 2


def test_a_smaller_one_passes_one_that_does_not_fit() -> None:
    nodes = {
        "holds": {"resources": {"gpu": 1}, "priority": "critical"},
        "large": {"resources": {"gpu": 2}, "priority": "high"},
        "small": {"resources": {"gpu": 1}},
    }
    assert simulate(flow(nodes, resources={"gpu": 2})).timeline == "holds[0-1] small[0-1] large[1-2]"


Drawn = list[tuple[int, int, int, list[int]]]


@settings(max_examples=60)
@given(
    drawn=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5), st.lists(st.integers(0, 30), max_size=3)),
        min_size=1,
        max_size=30,
    ),
    policy=st.sampled_from(["fifo", "priority", "critical_path"]),
    slots=st.integers(1, 5),
)
def test_nothing_exceeds_a_budget_and_nothing_idles_while_something_fits(drawn: Drawn, policy: str, slots: int) -> None:
    budget = {"cpu": 3, "gpu": 2}
    nodes: dict[str, Any] = {
        f"n{i}": {
            "needs": [f"n{n}" for n in sorted(set(needs)) if n < i],
            "resources": {"cpu": cpu, "gpu": gpu},
        }
        for i, (cpu, gpu, _, needs) in enumerate(drawn)
    }
    # Without estimates: by these a node may be held back for one that is before it (tests/test_budget.py).
    seconds = {f"n{i}": float(seconds) for i, (_, _, seconds, _) in enumerate(drawn)}
    data = flow(nodes, concurrency=slots, resources=budget, scheduling={"policy": policy})
    run = simulate(data, seconds=seconds)
    assert set(run.ended.values()) == {"ok"}
    start = {e.node: e.time for e in run.events if isinstance(e, ev.NodeStarted)}
    end = {e.node: e.time for e in run.events if isinstance(e, ev.NodeSucceeded)}
    for moment in sorted({*start.values(), *end.values()}):
        live = [n for n in nodes if start[n] <= moment < end[n]]
        free = {r: most - sum(nodes[n]["resources"][r] for n in live) for r, most in budget.items()}
        assert len(live) <= slots
        assert min(free.values()) >= 0
        waiting = [n for n in nodes if start[n] > moment and all(end[m] <= moment for m in nodes[n]["needs"])]
        for name in waiting if len(live) < slots else []:
            assert any(nodes[name]["resources"][r] > free[r] for r in free), f"{name} idles at {moment}"


# -- size


def test_ten_thousand_independent_nodes_end() -> None:
    run = simulate(flow({f"n{i}": [] for i in range(10_000)}, concurrency=100))
    assert run.state.finished == 100
    assert run.state.ended == {"succeeded": 10_000}


def test_ten_thousand_nodes_of_as_many_demands_end() -> None:
    nodes = {f"n{i}": {"resources": {"memory": 10_000 + i}} for i in range(10_000)}
    assert simulate(flow(nodes, concurrency=100, resources={"memory": "1MB"})).state.exit_code == 0


def test_a_chain_of_ten_thousand_ends() -> None:
    nodes = {f"n{i}": [f"n{i - 1}"] if i else [] for i in range(10_000)}
    assert simulate(flow(nodes)).state.finished == 10_000


def test_a_chain_of_ten_thousand_is_skipped_to_its_end() -> None:
    nodes: dict[str, Any] = {f"n{i}": [f"n{i - 1}"] if i else {"when": False} for i in range(10_000)}
    assert simulate(flow(nodes)).state.ended == {"skipped": 10_000}


def test_a_node_of_five_thousand_needs_waits_for_all() -> None:
    nodes: dict[str, Any] = {f"n{i}": [] for i in range(5_000)}
    nodes["last"] = list(nodes)
    run = simulate(flow(nodes, concurrency=50))
    assert run.timeline.endswith("last[100-101]")


@pytest.mark.parametrize("mode", ["stop", "cancel", "continue"])
def test_ten_thousand_nodes_fail_together(mode: str) -> None:
    nodes: dict[str, Any] = {
        "bad": [],
        **{f"n{i}": ["bad"] for i in range(5_000)},
        **{f"m{i}": [] for i in range(5_000)},
    }
    run = simulate(flow(nodes, on_failure=mode), fails={"bad": 1})
    assert run.state.exit_code == 1
    assert run.state.ended["skipped"] == 5_000  # type: ignore[index]


# -- signals


LONG = flow({"a": [], "b": ["a"], "c": []}, **{"finally": {"last": []}})
TIMES = {"c": 5.0, "last": 2.0}


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129), (3, 131)])
def test_the_first_signal_stops_what_runs_and_still_does_finally(number: int, code: int) -> None:
    run = simulate(LONG, seconds=TIMES, signals=[(1.5, number)])
    assert run.timeline == "a[0-1] c[0-1.5] b[1-1.5] last[1.5-3.5]"
    assert run.ended == {"a": "ok", "b": "interrupted:interrupted", "c": "interrupted:interrupted", "last": "ok"}
    assert (run.state.status, run.state.exit_code) == ("interrupted", code)


def test_the_second_signal_ends_all_at_once_without_finally() -> None:
    run = simulate(LONG, seconds=TIMES, signals=[(1.5, 2), (2.5, 15)])
    assert run.timeline == "a[0-1] c[0-1.5] b[1-1.5] last[1.5-2.5]"
    assert run.ended["last"] == "interrupted:interrupted"
    assert (run.state.status, run.state.exit_code) == ("interrupted", 130)


@pytest.mark.parametrize(("second", "at"), [(2, 1.5), (15, 1.55), (1, 2.5)])
def test_an_echo_of_the_first_signal_or_a_hangup_is_no_second(second: int, at: float) -> None:
    run = simulate(LONG, seconds=TIMES, signals=[(1.5, 2), (at, second)])
    assert run.timeline == "a[0-1] c[0-1.5] b[1-1.5] last[1.5-3.5]"
    assert run.state.exit_code == 130


def test_finally_sees_that_the_run_was_interrupted() -> None:
    check = {"when": "${{ run.state == 'interrupted' and not run.failed }}"}
    run = simulate(flow({"a": []}, **{"finally": {"last": check}}), seconds={"a": 9}, signals=[(2, 15)])
    assert run.ended["last"] == "ok"


def test_a_pending_retry_waits_for_the_resume() -> None:
    data = flow({"a": {"retry": {"attempts": 2, "delay": "10s", "jitter": False}}})
    run = simulate(data, fails={"a": [1]}, signals=[(3, 2)])
    assert (run.state.exit_code, run.ended["a"]) == (130, "retrying:exit_code")
    assert simulate(data, fails={"a": [1]}, run=run).timeline == "a[0-1] a[11-12]"


def test_a_signal_after_the_last_node_changes_nothing() -> None:
    run = simulate(flow({"a": []}), signals=[(1, 2)])
    assert (run.state.status, run.state.exit_code) == ("succeeded", 0)


def test_a_signal_during_finally_interrupts_the_run() -> None:
    run = simulate(LONG, seconds=TIMES, signals=[(5.5, 2)])
    assert (run.state.status, run.state.exit_code, run.ended["last"]) == ("interrupted", 130, "interrupted:interrupted")
    again = simulate(LONG, seconds=TIMES, run=run)
    assert again.attempts == ["a/1", "c/1", "b/1", "last/1", "last/2"]
    assert again.state.exit_code == 0


@pytest.mark.parametrize("signals", [[(1.5, 2)], [(1.5, 2), (1.5, 2)], [(1.5, 2), (2.5, 2)]])
def test_resume_runs_what_was_interrupted_and_what_follows(signals: list[tuple[float, int]]) -> None:
    run = simulate(LONG, seconds=TIMES, signals=signals)
    again = simulate(LONG, seconds=TIMES, run=run)
    assert [a for a in again.attempts if not a.startswith("last")] == ["a/1", "c/1", "b/1", "b/2", "c/2"]
    assert set(again.ended.values()) == {"ok"}
    assert again.state.exit_code == 0


def test_an_interrupted_attempt_does_not_count_as_a_try() -> None:
    data = flow({"a": {"retry": {"attempts": 2, "delay": "1s", "jitter": False}}})
    run = simulate(data, fails={"a": [0, 1]}, seconds={"a": 5}, signals=[(2, 2)])
    again = simulate(data, fails={"a": [0, 1]}, run=run)
    assert again.attempts == ["a/1", "a/2", "a/3"]
    assert again.ended == {"a": "ok"}


def test_a_failing_run_that_is_interrupted_is_interrupted_where_something_is_left() -> None:
    run = simulate(flow({"bad": [], "slow": []}), fails={"bad": 1}, seconds={"slow": 9}, signals=[(2, 2)])
    assert (run.state.status, run.state.exit_code) == ("interrupted", 130)


# -- the machine allows no more


LOW = LowDisk("only 12 MiB are free")


def test_on_a_disk_that_is_nearly_full_what_runs_ends_and_nothing_starts() -> None:
    run = simulate(LONG, seconds=TIMES, signals=[(0.5, LOW)])
    assert run.timeline == "a[0-1] c[0-5]"
    assert (run.ended["a"], run.ended["c"], run.attempts) == ("ok", "ok", ["a/1", "c/1"])
    assert (run.state.status, run.state.exit_code, run.state.error) == ("interrupted", 6, "only 12 MiB are free")


def test_a_run_that_could_end_on_a_full_disk_says_nothing_of_it() -> None:
    run = simulate(flow({"a": []}), signals=[(0.5, LOW)])
    assert (run.state.status, run.state.exit_code, run.state.error) == ("succeeded", 0, "")


def test_on_a_full_disk_a_run_starts_nothing_at_all() -> None:
    run = simulate(LONG, signals=[(0, LOW)])
    assert (run.attempts, run.state.exit_code) == ([], 6)


def test_a_node_that_found_no_room_to_start_is_none_that_failed() -> None:
    run = simulate(flow({"a": []}), fails={"a": ["low_disk"]}, seconds={"a": 0.5}, signals=[(0.5, LOW)])
    assert (run.ended["a"], run.state.exit_code) == ("interrupted:low_disk", 6)
    assert simulate(flow({"a": []}), run=run).ended["a"] == "ok"


def test_retries_wait_for_the_resume_when_a_disk_is_full() -> None:
    data = flow({"a": {"retry": {"attempts": 2, "delay": "10s", "jitter": False}}, "b": []})
    run = simulate(data, fails={"a": [1]}, seconds={"b": 2}, signals=[(0.5, LOW)])
    assert (run.ended["a"], run.ended["b"], run.state.exit_code) == ("retrying:exit_code", "ok", 6)


def test_after_a_full_disk_resume_runs_the_rest() -> None:
    again = simulate(LONG, seconds=TIMES, run=simulate(LONG, seconds=TIMES, signals=[(0.5, LOW)]))
    assert again.attempts == ["a/1", "c/1", "b/1", "last/1"]
    assert (again.state.status, again.state.exit_code, again.state.error) == ("succeeded", 0, "")


def test_a_disk_that_is_full_when_only_finally_is_left_leaves_that_to_the_resume() -> None:
    run = simulate(LONG, seconds=TIMES, signals=[(4.5, LOW)])
    assert (run.state.status, run.state.exit_code, "last/1" in run.attempts) == ("interrupted", 6, False)
    again = simulate(LONG, seconds=TIMES, run=run)
    assert (again.attempts, again.state.exit_code) == (["a/1", "c/1", "b/1", "last/1"], 0)


def test_a_signal_on_a_full_disk_ends_what_runs() -> None:
    run = simulate(LONG, seconds=TIMES, signals=[(0.5, LOW), (0.7, 15)])
    assert run.ended["c"] == "interrupted:interrupted"
    assert (run.state.status, run.state.exit_code) == ("interrupted", 143)


class Full(Memory):
    """A journal on a disk that is full from a moment on: so many syncs work."""

    def __init__(self, works: int) -> None:
        super().__init__()
        self.works = works

    def sync(self) -> None:
        self.works -= 1
        if self.works < 0:
            raise StateError("no space left on device")
        super().sync()


def test_where_the_journal_cannot_be_written_what_runs_is_stopped_and_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[str] = []
    cancel = SimulatedExecutor.cancel

    def noted(executor: SimulatedExecutor, job_id: str) -> None:
        stopped.append(job_id)
        cancel(executor, job_id)

    monkeypatch.setattr(SimulatedExecutor, "cancel", noted)
    warnings: list[str] = []
    with pytest.raises(StateError, match="no space left"):
        simulate(LONG, seconds=TIMES, journal=Full(works=1), warn=warnings.append)
    assert stopped == ["r/c/1"]  # a had ended; b was never started
    assert warnings == ["the state cannot be kept: stopping what runs"]


def test_what_was_not_recorded_runs_again_when_the_journal_can_be_written() -> None:
    full = Full(works=1)
    with pytest.raises(StateError):
        simulate(LONG, seconds=TIMES, journal=full)
    full.die()
    run = simulate(LONG, seconds=TIMES, run=Simulated(build(LONG)[0], Memory(full.kept), [], RunState(build(LONG)[0])))
    assert sorted(run.attempts) == ["a/2", "b/1", "c/2", "last/1"]
    assert run.state.exit_code == 0


# -- watchers


def test_a_view_that_raises_is_dropped_and_the_run_goes_on() -> None:
    warnings: list[str] = []
    seen: list[str] = []

    def bad(events: Sequence[ev.Event], state: RunState) -> None:
        raise ValueError("no screen")

    def good(events: Sequence[ev.Event], state: RunState) -> None:
        seen.extend(event.name for event in events)

    run = simulate(flow({"a": []}), watchers=[bad, good], warn=warnings.append)
    assert run.state.exit_code == 0
    assert warnings == ["a view was dropped: ValueError: no screen"]
    assert seen == ["run_started", "node_started", "node_succeeded", "run_settled", "run_finished"]


# -- death

POINTS = ("decided", "recorded", "submitted", "completed")
TRIES = {"retry": {"attempts": 3, "delay": "1s"}}
TELL: dict[str, Any] = {"finally": {"tell": {"when": "${{ run.failed }}"}, "sweep": {"trigger": "all_done"}}}

WORKFLOWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "diamond": (flow({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}), {}),
    "retries": (flow({"a": TRIES, "b": {**TRIES, "needs": ["a"]}, "c": TRIES}), {"a": [1, 1], "b": 1, "c": ["kill"]}),
    "stop": (flow({"bad": [], "slow": [], "n": ["bad", "slow"], "m": ["n"]}, **TELL), {"bad": 1}),
    "cancel": (
        flow({"bad": [], "slow": {"estimate": 9}, "n": ["bad", "slow"]}, on_failure="cancel", **TELL),
        {"bad": 1},
    ),
    "continue": (
        flow(
            {"bad": [], "x": ["bad"], "y": [], "z": {"needs": ["x", "y"], "trigger": "none_failed"}},
            on_failure="continue",
        ),
        {"bad": "timeout"},
    ),
    "finally": (flow({"a": []}, outputs={"x": 1}, **{"finally": {"f": TRIES, "g": ["f"]}}), {"f": 1}),
    "when": (
        flow({
            "a": [],
            "b": {"when": "${{ nodes.a.state == 'failed' }}"},
            "c": {"needs": ["b"], "trigger": "all_done"},
            "d": {"needs": ["c"], "continue_on_error": True},
            "e": {"when": "${{ nodes.d.output == null }}"},
        }),
        {"d": 1},
    ),
    "budgets": (
        flow(
            {f"n{i}": {"resources": {"gpu": i % 3}, "needs": [f"n{i - 4}"] if i > 3 else []} for i in range(8)},
            concurrency=3,
            resources={"gpu": 2},
            on_failure="continue",
        ),
        {"n2": "kill"},
    ),
    "handler": (
        flow({
            "bad": [],
            "never": ["bad"],
            "alarm": {"needs": ["bad"], "trigger": "any_failed"},
            "late": {**TRIES, "needs": ["alarm"], "trigger": "all_done"},
        }),
        {"bad": 1, "late": [1]},
    ),
    "timeout": (flow({"a": [], "slow": {"estimate": 60}, "b": ["slow"]}, timeout="20s", **TELL), {}),
}  # fmt: skip


def ending(run: Simulated) -> tuple[object, ...]:
    """All that must be the same, however often the engine died."""
    return {name: str(node.state) for name, node in run.state.nodes.items()}, run.state.status, run.state.exit_code


def repeated(run: Simulated) -> list[str]:
    """Nodes that were started again after a success of theirs was recorded."""
    done: set[str] = set()
    again = []
    for event in run.events:
        if isinstance(event, ev.NodeSucceeded):
            done.add(event.node)
        elif isinstance(event, ev.NodeStarted) and event.node in done:
            again.append(event.node)
    return again


def finished(run: Simulated) -> bool:
    return bool(run.journal.kept) and isinstance(run.events[-1], ev.RunFinished)


def survive(name: str, *crashes: CrashAt, written: int = 0) -> Simulated:
    """Run a workflow, die at each crash in turn, and resume until the run has finished."""
    data, fails = WORKFLOWS[name]
    run = None
    for crash in chain(crashes, repeat(NEVER)):
        run = simulate(data, fails=fails, run=run, crash=crash, written=written)
        if finished(run):
            return run
        if not run.journal.kept:
            run = None  # it never existed: somebody starts it anew
    raise AssertionError("unreachable")


NEVER = CrashAt("", 1)


def crashes(name: str, point: str, *before: CrashAt, written: int = 0) -> Iterator[tuple[CrashAt, Simulated]]:
    """The workflow, dead at each passage of the point in turn, until that is passed no more."""
    for turn in count(1):
        crash = CrashAt(point, turn)
        for one in before:
            one.passed = 0
        yield crash, survive(name, *before, crash, written=written)
        if crash.passed < turn:
            return


@pytest.mark.parametrize("name", WORKFLOWS)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_crash_at_any_point_ends_in_the_same_state(name: str, point: str, written: int) -> None:
    reference = ending(survive(name))
    for crash, run in crashes(name, point, written=written):
        assert ending(run) == reference, crash
        assert repeated(run) == [], crash


@pytest.mark.parametrize("name", ["diamond", "stop", "when", "handler", "finally"])
@pytest.mark.parametrize("point", POINTS)
def test_so_does_any_pair_of_crashes(name: str, point: str) -> None:
    reference = ending(survive(name))
    for first, _ in list(crashes(name, point)):
        for second_point in POINTS:
            for second, run in crashes(name, second_point, first):
                assert ending(run) == reference, (first, second)
                assert repeated(run) == [], (first, second)


def test_a_node_that_runs_again_is_noticed_by_these_tests() -> None:
    data, fails = WORKFLOWS["diamond"]
    asked = simulate(data, fails=fails, run=survive("diamond"), again=["b"])
    assert repeated(asked) == ["b", "d"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_journal_leads_to_the_state_that_lives_and_so_does_a_checkpoint(name: str) -> None:
    data, fails = WORKFLOWS[name]
    crash = CrashAt("completed", 2)
    run = simulate(data, fails=fails, crash=crash, watchers=[mirror([])], warn=pytest.fail)
    if not finished(run):
        simulate(data, fails=fails, run=run, watchers=[mirror(run.events)], warn=pytest.fail)


def mirror(events: list[ev.Event]) -> Watcher:
    """A watcher that folds what it is told, as it reads on paper, and compares the result with the state."""

    def watch(batch: Sequence[ev.Event], state: RunState) -> None:
        events.extend(ev.from_data(json.loads(json.dumps(ev.to_data(event)))) for event in batch)
        live = paper.to_data(state)
        assert paper.to_data(fold(events, lambda event: state.plan)) == live
        assert paper.to_data(paper.from_data(state.plan, json.loads(json.dumps(live)))) == live

    return watch


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_checkpoint_anywhere_and_the_events_after_it_are_the_journal(name: str) -> None:
    run = survive(name, CrashAt("submitted", 3))
    whole = paper.to_data(fold(run.events, lambda event: run.plan))
    for cut in range(1, len(run.events)):
        kept = json.loads(json.dumps(paper.to_data(fold(run.events[:cut], lambda event: run.plan))))
        state = paper.from_data(run.plan, kept)
        assert paper.to_data(fold(run.events[cut:], lambda event: run.plan, state)) == whole, cut
