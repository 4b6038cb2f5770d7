"""Nodes that ask for what other runs use too: a start is a wish, and who is refused waits in line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.simulate import REQUEST, Interrupting, Memory, build, flow
from wfctl import events as ev
from wfctl.attempt import simulated
from wfctl.decide import Leavings
from wfctl.engine import Engine
from wfctl.jobs import Completion, Ending, Signalled, Woken
from wfctl.scope import During
from wfctl.state import RunState


class Others:
    """What the other runs have left of one device, `free` from each of its moments on; `line` is what we stood for."""

    def __init__(self, free: Mapping[float, bool]) -> None:
        self.free = free
        self.clock: Interrupting | None = None
        self.lent: set[str] = set()
        self.line: list[tuple[float, Mapping[str, int] | None, bool]] = []

    @property
    def now(self) -> float:
        assert self.clock is not None
        return self.clock.now()

    def lend(self, node: str, wants: Mapping[str, int]) -> Mapping[str, tuple[str, ...]] | str:
        free = [is_free for moment, is_free in self.free.items() if moment <= self.now][-1]
        if not free or self.lent:
            return "waits for run other"
        self.lent.add(node)
        return {"gpu": ("7",)} if "gpu" in wants else {}

    def give_back(self, node: str) -> bool:
        had = node in self.lent
        self.lent.discard(node)
        return had

    def stand_in_line(self, wants: Mapping[str, int] | None, *, passable: bool) -> None:
        told = (self.now, wants, passable)
        if not self.line or self.line[-1][1:] != told[1:]:
            self.line.append(told)

    def woken(self) -> None:
        """Nothing is kept of it."""


def run(
    nodes: Mapping[str, Any], others: Others, woken: tuple[float, ...] = (), **keys: Any
) -> tuple[list[str], list[str]]:
    """Every attempt with its start and device; and what was told."""
    supply = {"gpu": {"amount": 2, "share": "machine"}, "cpu": 4}
    plan, problems = build(flow(nodes, resources=supply, **keys), REQUEST)
    assert not problems
    state = RunState(plan)
    state.id = "r"
    others.clock = clock = Interrupting(
        0.0,
        lambda job: Completion(job_id=job.id, ending=Ending.EXITED, code=0, seconds=job.estimate),
        [(moment, Woken()) for moment in woken],
    )
    journal, said = Memory(), list[str]()
    engine = Engine(
        state, journal=journal, executor=clock, clock=clock, during=During(plan, state),
        prepare=lambda planned, attempt: replace(simulated(planned, attempt), id=f"r/{planned.id}/{attempt}"),
        collect=lambda job, completion: Leavings(), sharing=others, warn=said.append,
    )  # fmt: skip
    engine.run()
    started = [e for e in map(ev.from_data, journal.kept) if isinstance(e, ev.NodeStarted)]
    return [f"{e.node}[{e.time:g}]{','.join(e.devices)}" for e in started], said


GPU = {"resources": {"gpu": 1}}


def test_what_is_lent_has_the_devices_that_the_runs_agreed_on() -> None:
    assert run({"a": GPU}, Others({0: True}))[0] == ["a[0]7"]


def test_what_is_refused_stays_ready_and_starts_when_it_is_woken() -> None:
    others = Others({0: False, 5: True})
    assert run({"a": GPU, "b": []}, others, woken=(3.0, 5.0)) == (["b[0]", "a[5]7"], ["a waits for run other"])


def test_who_ends_gives_back_and_the_next_of_the_run_asks_again() -> None:
    assert run({"a": GPU, "b": GPU}, Others({0: True}))[0] == ["a[0]7", "b[1]7"]


def test_a_run_stands_in_line_for_the_first_that_was_refused_and_leaves_it_again() -> None:
    others = Others({0: False, 5: True})
    nodes = {"first": {"resources": {"gpu": 2}, "priority": "high"}, "second": GPU}
    run(nodes, others, woken=(5.0,))
    assert others.line == [(0, {"gpu": 2}, True), (5, None, True)]


def test_other_runs_may_pass_it_until_it_has_waited_for_aging() -> None:
    others = Others({0: False, 9: True})
    run({"a": GPU}, others, woken=(9.0,), scheduling={"aging": "4s"})
    assert others.line == [(0, {"gpu": 1}, True), (4, {"gpu": 1}, False), (9, None, True)]


def test_what_does_not_need_it_goes_on() -> None:
    nodes = {"a": {**GPU, "priority": "high"}, "b": {"resources": {"cpu": 4}}, "c": ["b"]}
    assert run(nodes, Others({0: False, 9: True}), woken=(9.0,))[0] == ["b[0]", "c[1]", "a[9]7"]


@pytest.mark.parametrize("number", [2, 15])
def test_a_run_that_waits_for_others_can_be_stopped(number: int) -> None:
    others = Others({0: False})
    plan, _ = build(flow({"a": GPU}, resources={"gpu": {"amount": 2, "share": "machine"}}), REQUEST)
    state = RunState(plan)
    others.clock = clock = Interrupting(0.0, lambda job: pytest.fail("started"), [(2.0, Signalled(number))])
    Engine(
        state, journal=None, executor=clock, clock=clock, during=During(plan, state), prepare=simulated,
        collect=lambda job, completion: Leavings(), sharing=others,
    ).run()  # fmt: skip
    assert state.exit_code == 128 + number
