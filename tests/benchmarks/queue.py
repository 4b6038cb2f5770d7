"""Many nodes that are all ready at once: seconds of the queue and its budget alone, and of a whole run in virtual time.

Knows nothing of commands, files and processes: what they take is in other lines."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from heapq import heappop, heappush

from wfctl import planner as planning
from wfctl import plugins, spec
from wfctl.budget import Budget, Demand, Wish
from wfctl.forecast import forecast
from wfctl.plan import Request
from wfctl.ready import Ready

SLOTS = 64
CPU = 64_000
MEMORY = 64 * 1024**3

Demands = Callable[[int], tuple[int, int]]
"""Thousandths of processors and bytes of memory of the i-th node."""


def alike(i: int) -> tuple[int, int]:
    """All nodes ask for the same."""
    return 2_000, 1024**3


def distinct(i: int) -> tuple[int, int]:
    """No two nodes ask for the same; two or three out of four do not fit beside what runs."""
    return 1_000 * (i % 13), 1024**3 + i * 1024


def queue_seconds(count: int, demands: Demands) -> float:
    """To let so many nodes in, and start each as soon as something before it has ended and it fits."""
    return _timed(lambda: _through_the_queue(count, demands))


def _through_the_queue(count: int, demands: Demands) -> None:
    budget = Budget({"cpu": CPU, "memory": MEMORY}, SLOTS)
    ready = Ready()
    wishes: list[Wish] = []
    running: list[tuple[float, str]] = []
    now = 0.0
    for i in range(count):
        cpu, memory = demands(i)
        demand: Demand = (("cpu", cpu), ("memory", memory))
        wishes.append(budget.wish(demand, _seconds(i)))
        ready.push(f"n{i}", wishes[i], (-_seconds(i * 31),), now)
    while len(ready):
        while (best := ready.best(budget, now, patience=600.0)) is not None:
            ready.remove(best)
            budget.hold(best, wishes[int(best[1:])], now)
            heappush(running, (now + _seconds(int(best[1:])), best))
        now, ended = heappop(running)
        budget.give_back(ended, wishes[int(ended[1:])])
        ready.freed()


def run_seconds(count: int, demands: Demands) -> float:
    """To run so many nodes in virtual time: the engine, the state, the queue. Reading them is not in it."""
    nodes = {}
    for i in range(count):
        cpu, memory = demands(i)
        resources = {"cpu": cpu / 1000, "memory": memory}
        nodes[f"n{i}"] = {"run": "true", "estimate": _seconds(i), "resources": resources}
    budget = {"cpu": CPU // 1000, "memory": MEMORY}
    data = {"version": 1, "name": "queue", "concurrency": SLOTS, "resources": budget, "nodes": nodes}
    workflow, _ = spec.build(data, "queue", plugins.kind)
    plan, problems = planning.build(workflow, Request(cores=SLOTS, run_id="queue", started="2026-01-31T10:00:00Z"))
    assert not problems, problems
    return _timed(lambda: forecast(plan))


def _timed(work: Callable[[], object]) -> float:
    """Seconds, with garbage looked for as seldom as the command does."""
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(100_000, 20, 20)
    begin = time.perf_counter()
    work()
    taken = time.perf_counter() - begin
    gc.set_threshold(*before)
    return taken


def _seconds(i: int) -> float:
    """Estimates in no order, so that ends are out of step."""
    return i * 7 % 19 / 4 + 1
