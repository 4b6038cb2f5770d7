"""Kept results and checkpoints in a run: what is served, what runs, who waits for whom, and where one can go back to.

In virtual time, with a memory in place of the cache."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.helpers.simulate import CrashAt, Simulated, flow, simulate
from wfctl import events as ev
from wfctl import expr
from wfctl.jobs import Busy, Claimed, Served, Woken

KEPT = {"idempotency": True}


@dataclass
class Shelf:
    """A memory of results, of which each node has its own key but for those in `same`. `others` are keys that other
    runs work on; a `Woken` frees them all, and leaves the results `left`."""

    kept: dict[str, Any] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    left: dict[str, Any] = field(default_factory=dict)
    wrong: str = ""
    unknown: set[str] = field(default_factory=set)
    whys: dict[str, Any] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    pending: dict[str, Any] = field(default_factory=dict)
    waiting: list[bool] = field(default_factory=list)

    def key(self, node: str) -> str:
        if node == self.wrong:
            raise expr.ExpressionError("reads: no")
        return self.same.get(node, node)

    def look(self, node: str, now: float) -> Served | None:
        key = self.key(node)
        return Served(key=key, of="other", made=-1.0, output=self.kept[key]) if key in self.kept else None

    def claim(self, node: str, now: float, *, forced: bool) -> Served | Claimed | Busy | None:
        key = self.key(node)
        if key in self.others:
            return Busy(key=key, holder="run x")
        if key in self.held:
            return Busy(key=key, holder=f"node {self.held[key]}")
        if not forced and (served := self.look(node, now)):
            return served
        self.held[key] = node
        return Claimed(key=key, why={"word": "forced" if forced else "never"})

    def ended(self, event: Any) -> bool:
        if isinstance(event, ev.NodeSucceeded):
            self.pending[self.key(event.node)] = event.output
        return True

    def settled(self, succeeded: bool) -> list[str]:
        return []

    def undone(self, node: str) -> None:
        self.kept.pop(self.key(node), None)

    def keep(self) -> None:
        self.kept |= self.pending
        self.pending = {}

    def release(self, node: str) -> bool:
        return self.held.pop(self.key(node), None) is not None

    def stand_in_line(self, waiting: bool) -> None:
        self.waiting.append(waiting)

    def woken(self) -> None:
        self.others.clear()
        self.kept |= self.left


def ran(run: Simulated) -> list[str]:
    return [attempt.split("/")[0] for attempt in run.attempts]


def test_what_is_kept_is_served_and_takes_no_time() -> None:
    shelf = Shelf(kept={"a": 7})
    run = simulate(flow({"a": KEPT, "b": {**KEPT, "needs": ["a"]}}), keeping=shelf, outputs={"b": 8})
    assert (run.timeline, run.ended) == ("b[0-1]", {"a": "cached", "b": "ok"})
    assert shelf.kept == {"a": 7, "b": 8}
    assert run.state.nodes["a"].output == 7
    assert (run.state.nodes["a"].made, run.state.nodes["a"].reason) == (-1.0, "from other")


def test_all_that_is_kept_is_served_in_one_turn_whatever_it_would_hold() -> None:
    nodes = {f"n{i}": {**KEPT, "needs": [f"n{i - 1}"] if i else [], "resources": {"gpu": 1}} for i in range(50)}
    shelf = Shelf(kept=dict.fromkeys(nodes, 1))
    run = simulate(flow(nodes, resources={"gpu": 1}), keeping=shelf)
    assert set(run.ended.values()) == {"cached"}
    assert run.attempts == []
    assert run.state.time == 0.0


def test_who_is_served_does_not_wait_for_a_slot() -> None:
    run = simulate(flow({"long": "true", "a": KEPT}, concurrency=1), keeping=Shelf(kept={"a": 1}))
    served = next(event for event in run.events if isinstance(event, ev.NodeServed))
    assert served.time == 0.0


def test_a_node_without_idempotency_is_neither_asked_for_nor_kept() -> None:
    shelf = Shelf(kept={"a": 7})
    run = simulate(flow({"a": "true"}), keeping=shelf, outputs={"a": 9})
    assert (run.timeline, shelf.kept) == ("a[0-1]", {"a": 7})


def test_a_failure_is_not_kept_and_what_needs_it_does_not_run() -> None:
    shelf = Shelf()
    run = simulate(flow({"a": KEPT, "b": {**KEPT, "needs": ["a"]}}), fails={"a": 1}, keeping=shelf)
    assert run.ended == {"a": "failed:exit_code", "b": "skipped:needs"}
    assert (shelf.kept, shelf.held) == ({}, {})


@pytest.mark.parametrize(("forced", "wanted"), [(["a"], ["a"]), (["*"], ["a", "b"]), ([], [])])
def test_who_is_forced_runs_whatever_is_kept(forced: Collection[str], wanted: list[str]) -> None:
    shelf = Shelf(kept={"a": 7, "b": 8})
    run = simulate(flow({"a": KEPT, "b": KEPT}), keeping=shelf, forced=tuple(forced), outputs={"a": 1, "b": 2})
    assert ran(run) == wanted
    assert shelf.kept == {"a": 7, "b": 8} | {name: {"a": 1, "b": 2}[name] for name in wanted}


def test_two_nodes_of_one_key_run_once_the_second_waits_for_the_first() -> None:
    shelf = Shelf(same={"a": "k", "b": "k"})
    told: list[str] = []
    run = simulate(flow({"a": KEPT, "b": KEPT}), keeping=shelf, outputs={"a": 3}, warn=told.append)
    assert (run.timeline, run.ended) == ("a[0-1]", {"a": "ok", "b": "cached"})
    assert told == ["b waits for node a, which works on the same key"]
    assert run.state.nodes["b"].output == 3


def test_the_second_takes_over_when_the_first_fails() -> None:
    shelf = Shelf(same={"a": "k", "b": "k"})
    run = simulate(flow({"a": KEPT, "b": KEPT}, on_failure="continue"), fails={"a": 1}, keeping=shelf)
    assert (run.timeline, run.ended) == ("a[0-1] b[1-2]", {"a": "failed:exit_code", "b": "ok"})


def test_who_waits_for_its_twin_is_in_nobodys_way() -> None:
    shelf = Shelf(same={"a": "k", "b": "k"})
    run = simulate(flow({"a": KEPT, "b": KEPT, "c": "true"}, concurrency=2), keeping=shelf)
    assert sorted(run.timeline.split()) == ["a[0-1]", "c[0-1]"]


def test_a_twin_in_another_run_is_waited_for_and_its_result_taken() -> None:
    shelf = Shelf(others={"a"}, left={"a": 5})
    run = simulate(flow({"a": KEPT}), keeping=shelf, signals=[(3.0, Woken())])
    assert (run.attempts, run.ended, run.state.time) == ([], {"a": "cached"}, 3.0)
    waits = [event for event in run.events if isinstance(event, ev.NodeWaiting)]
    assert [(event.node, event.holder) for event in waits] == [("a", "run x")]
    assert shelf.waiting[-1] is True


def test_who_is_woken_and_finds_nothing_runs_itself() -> None:
    shelf = Shelf(others={"a"})
    run = simulate(flow({"a": KEPT}), keeping=shelf, signals=[(3.0, Woken())])
    assert run.timeline == "a[3-4]"


def test_who_is_woken_and_waits_for_a_slot_then_is_not_said_to_wait_for_its_twin() -> None:
    shelf = Shelf(others={"a"})
    data = flow({"a": {**KEPT, "priority": "high"}, "long": "true"}, concurrency=1)
    run = simulate(data, keeping=shelf, seconds={"long": 9}, signals=[(3.0, Woken())])
    assert run.timeline == "long[0-9] a[9-10]"
    assert [event.holder for event in run.events if isinstance(event, ev.NodeWaiting)] == ["run x", ""]


def test_the_wait_for_a_twin_ends_with_the_run() -> None:
    shelf = Shelf(others={"a"})
    run = simulate(flow({"a": KEPT}), keeping=shelf, signals=[(1.0, 2)])
    assert (run.state.status, run.state.exit_code) == ("interrupted", 130)
    failing = simulate(flow({"a": KEPT, "b": "true"}), keeping=Shelf(others={"a"}), fails={"b": 1})
    assert failing.ended == {"a": "cancelled:run_failing", "b": "failed:exit_code"}


def test_a_key_that_cannot_be_made_fails_its_node() -> None:
    run = simulate(flow({"a": KEPT}), keeping=Shelf(wrong="a"))
    assert run.ended == {"a": "failed:expression"}
    assert run.state.nodes["a"].error == "reads: no"


def test_items_are_served_one_by_one() -> None:
    shelf = Shelf(kept={"a[0]": 1, "a[2]": 3})
    data = flow({"a": {**KEPT, "for_each": [1, 2, 3]}})
    run = simulate(data, keeping=shelf, outputs={"a[1]": 2})
    assert ran(run) == ["a[1]"]
    assert run.state.nodes["a"].output == [1, 2, 3]


def test_why_a_node_ran_is_recorded_with_its_key() -> None:
    run = simulate(flow({"a": KEPT, "b": "true"}), keeping=Shelf())
    assert (run.state.nodes["a"].key, run.state.nodes["a"].why) == ("a", {"word": "never"})
    assert (run.state.nodes["b"].key, run.state.nodes["b"].why) == ("", None)


def test_what_is_asked_for_again_runs_and_what_needs_it_may_be_served() -> None:
    data, shelf = flow({"a": KEPT, "b": {**KEPT, "needs": ["a"]}}), Shelf()
    run = simulate(data, keeping=shelf)
    again = simulate(data, keeping=shelf, run=run, again=["a"])
    assert ran(again) == ["a", "b", "a"]
    assert again.ended == {"a": "ok", "b": "cached"}


def crashes(data: dict[str, Any], name: str) -> Iterator[Simulated]:
    """Runs that died at each passage of a point, and were resumed with what was kept by then."""
    turn = 1
    while True:
        shelf, at = Shelf(), CrashAt(name, turn)
        run = simulate(data, keeping=shelf, crash=at)
        if at.passed < turn:
            return
        shelf.held.clear()  # the kernel frees them
        shelf.pending.clear()
        if run.journal.kept:  # else it has never begun
            yield simulate(data, keeping=shelf, run=run)
        turn += 1


@pytest.mark.parametrize("point", ["decided", "recorded", "submitted", "completed"])
def test_no_success_is_repeated_after_a_crash_at_any_point(point: str) -> None:
    data = flow({"a": KEPT, "b": {**KEPT, "needs": ["a"]}, "c": {**KEPT, "needs": ["b"]}})
    for run in crashes(data, point):
        assert set(run.ended.values()) <= {"ok", "cached"}
        succeeded = [event.node for event in run.events if isinstance(event, ev.NodeSucceeded)]
        assert len(succeeded) == len(set(succeeded))


# Checkpoints


MARKED: dict[str, Any] = {"checkpoint": True}


def test_a_checkpoint_is_recorded_with_the_success_of_its_node() -> None:
    data = flow({"a": MARKED, "b": ["a"]})
    run = simulate(data, save=lambda planned: {"x": ["0", 1, 2]} if planned.node.checkpoint is not None else None)
    names = [event.name for event in run.events]
    assert names.index("checkpoint_saved") == names.index("node_succeeded") + 1
    assert {name: one.files for name, one in run.state.checkpoints.items()} == {"a": {"x": ["0", 1, 2]}}


def test_who_goes_back_to_a_checkpoint_runs_what_came_after_it_once_more() -> None:
    data = flow({"a": [], "b": {**MARKED, "needs": ["a"]}, "c": ["b"], "d": ["c"], "long": ["a"]})
    run = simulate(data, seconds={"long": 5})
    assert run.timeline == "a[0-1] b[1-2] long[1-6] c[2-3] d[3-4]"
    back = simulate(data, run=run, checkpoint="b")
    assert sorted(ran(back)[5:]) == ["c", "d", "long"]
    assert (back.state.status, back.state.putting_back) == ("succeeded", "")
    assert [event.checkpoint for event in back.events if isinstance(event, ev.FilesPutBack)] == ["b"]


def test_checkpoints_after_the_one_gone_back_to_are_made_anew() -> None:
    data = flow({"a": MARKED, "b": {**MARKED, "needs": ["a"]}, "c": {"needs": ["b"]}})
    run = simulate(data, fails={"c": 1})
    assert list(run.state.checkpoints) == ["a", "b"]
    back = simulate(data, run=run, checkpoint="a")
    assert ran(back)[3:] == ["b", "c"]
    assert list(back.state.checkpoints) == ["a", "b"]


def test_a_served_node_makes_its_checkpoint_too() -> None:
    run = simulate(flow({"a": {**KEPT, **MARKED}}), keeping=Shelf(kept={"a": 1}))
    assert list(run.state.checkpoints) == ["a"]


def test_a_group_that_ended_after_a_checkpoint_keeps_what_ended_before_it() -> None:
    data = flow({"g": {"nodes": {"x": MARKED, "y": ["x"]}, "checkpoint": None}, "z": ["g"]})
    run = simulate(data)
    back = simulate(data, run=run, checkpoint="g.x")
    assert ran(back)[3:] == ["g.y", "z"]


