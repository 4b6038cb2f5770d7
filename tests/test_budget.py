"""What running nodes share: exact amounts, tokens of rates, devices, and what is kept for the first that waits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.simulate import CrashAt, Simulated, flow, simulate
from wfctl import events as ev
from wfctl.budget import Budget, Demand
from wfctl.plan import Request

# -- amounts


AMOUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 2**40), min_size=1)


@given(AMOUNTS, st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2**40)), max_size=12))
def test_what_fits_is_what_each_resource_and_the_slots_have_left(
    limits: dict[str, int], wanted: list[dict[str, int]]
) -> None:
    budget, free, slots = Budget(limits, slots=4), dict(limits), 4
    for i, wants in enumerate(wanted):
        demand: Demand = tuple(sorted((n, a) for n, a in wants.items() if a <= limits.get(n, a)))
        wish = budget.wish(demand, 1.0)
        fits = slots > 0 and all(a <= free[n] for n, a in demand if n in free)
        assert budget.fits(wish, 0.0) == fits
        if fits:
            budget.hold(f"n{i}", wish, 0.0)
            slots -= 1
            free.update({n: free[n] - a for n, a in demand if n in free})
        assert budget.free == free
    for node in list(budget._held):
        i = int(node[1:])
        demand = tuple(sorted((n, a) for n, a in wanted[i].items() if a <= limits.get(n, a)))
        budget.give_back(node, budget.wish(demand, 1.0))
    assert budget.free == limits
    assert budget.fits(budget.wish(tuple(sorted(limits.items())), 1.0), 0.0)


def test_a_reserve_is_left_to_others() -> None:
    nodes = {name: {"resources": {"disk": 2}} for name in "ab"}
    assert simulate(flow(nodes, resources={"disk": {"amount": 4, "reserve": 0}})).timeline == "a[0-1] b[0-1]"
    assert simulate(flow(nodes, resources={"disk": {"amount": 4, "reserve": 1}})).timeline == "a[0-1] b[1-2]"


# -- rates


def starts(run: Simulated) -> list[float]:
    return [event.time for event in run.events if isinstance(event, ev.NodeStarted)]


@pytest.mark.parametrize(
    ("rate", "moments"),
    [
        ("1/s", [0, 1, 2, 3, 4, 5]),
        ("2/s", [0, 0, 0.5, 1, 1.5, 2]),
        ("5/s", [0, 0, 0, 0, 0, 0.2]),
        ("30/m", [0, 2, 4, 6, 8, 10]),
        ("none", [0, 0, 0, 0, 0, 0]),
    ],
)
def test_each_attempt_costs_a_token_and_a_second_s_worth_may_be_had_at_once(rate: str, moments: list[float]) -> None:
    nodes = {f"n{i}": {"resources": {"api": 1}, "estimate": 0} for i in range(6)}
    run = simulate(flow(nodes, concurrency=6, resources={"api": {"amount": 6, "rate": rate}}))
    assert starts(run) == moments


def test_a_retry_costs_a_token_too() -> None:
    node = {"resources": {"api": 1}, "estimate": 0, "retry": {"attempts": 3, "delay": 0}}
    data = flow({"a": node}, resources={"api": {"amount": 1, "rate": "30/m"}})
    assert starts(simulate(data, fails={"a": [1, 1]})) == [0, 2, 4]


def test_who_asks_for_no_token_does_not_wait_for_one() -> None:
    nodes = {"a": {"resources": {"api": 1}}, "b": {"resources": {"api": 1}}, "c": []}
    run = simulate(flow(nodes, resources={"api": {"amount": 9, "rate": "6/m"}}))
    assert run.timeline == "c[0-1] a[0-1] b[10-11]"


def test_a_token_that_was_taken_before_a_crash_is_taken() -> None:
    nodes = {"a": {"resources": {"api": 1}}, "b": {"resources": {"api": 1}, "needs": ["a"]}}
    data = flow(nodes, resources={"api": {"amount": 1, "rate": "6/m"}})
    run = simulate(data, crash=CrashAt("submitted", 1))
    assert starts(simulate(data, run=run)) == [0, 10, 20]  # `a` runs again, and that costs a token too


@given(st.lists(st.floats(0, 3), min_size=1, max_size=30), st.integers(1, 5))
def test_in_no_span_of_time_are_there_more_tokens_than_a_rate_has(gaps: list[float], rate: int) -> None:
    budget = Budget({}, slots=99, rates={"api": float(rate)})
    wish = budget.wish((("api", 1),), 1.0)
    now, taken = 1_700_000_000.0, []
    for gap in gaps:
        now = round(max(now + gap, budget.next_token("api", now + gap)), 6)
        assert budget.fits(wish, now)
        budget.spend(wish, now)
        taken.append(now)
    for i, first in enumerate(taken):
        for count, last in enumerate(taken[i:], 1):
            assert count <= max(1, rate) + (last - first) * rate + 1e-4


# -- devices


def given_devices(run: Simulated) -> dict[str, tuple[str, ...]]:
    return {event.node: event.devices for event in run.events if isinstance(event, ev.NodeStarted)}


def test_the_lowest_devices_that_are_free_are_given() -> None:
    nodes = {
        "a": {"resources": {"gpu": 1}, "estimate": 1},
        "b": {"resources": {"gpu": 1}, "estimate": 5},
        "c": {"resources": {"gpu": 2}, "needs": ["a"]},
        "d": [],
    }
    run = simulate(flow(nodes, resources={"gpu": 3}, scheduling={"policy": "fifo"}))
    assert given_devices(run) == {"a": ("0",), "b": ("1",), "c": ("0", "2"), "d": ()}


def test_devices_are_those_that_this_process_may_see() -> None:
    nodes = {name: {"resources": {"gpu": 1}} for name in "abc"}
    request = Request(cores=4, run_id="r", devices=("4", "GPU-1f"))
    run = simulate(flow(nodes, resources={"gpu": 3}), request=request)
    assert given_devices(run) == {"a": ("4",), "b": ("GPU-1f",), "c": ("4",)}
    assert run.timeline == "a[0-1] b[0-1] c[1-2]"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=12))
def test_no_device_is_ever_given_to_two(drawn: list[tuple[int, int]]) -> None:
    nodes: dict[str, Any] = {
        f"n{i}": {"resources": {"gpu": gpu}, "estimate": time} for i, (gpu, time) in enumerate(drawn)
    }
    used: dict[str, str] = {}
    for event in simulate(flow(nodes, concurrency=9, resources={"gpu": 3})).events:
        if isinstance(event, ev.NodeStarted):
            assert len(event.devices) == nodes[event.node]["resources"]["gpu"]
            assert not used.keys() & set(event.devices)
            used.update(dict.fromkeys(event.devices, event.node))
        elif isinstance(event, ev.NodeSucceeded):
            used = {device: node for device, node in used.items() if node != event.node}


# -- what is kept for the first that does not fit


def big_among_small(count: int, **small: Any) -> dict[str, Any]:
    """One large node that ranks before the small ones, which come two by two."""
    nodes: dict[str, Any] = {
        "s0": {"resources": {"cpu": 1}, "priority": "critical", **small, "estimate": 2},
        "big": {"resources": {"cpu": 2}, "priority": "high", "estimate": 1},
    }
    nodes.update({f"s{i}": {"resources": {"cpu": 1}, **small} for i in range(1, count)})
    return nodes


def start_of(run: Simulated, node: str) -> float:
    return next(e.time for e in run.events if isinstance(e, ev.NodeStarted) and e.node == node)


def test_small_ones_that_would_delay_the_first_do_not_pass_it() -> None:
    run = simulate(flow(big_among_small(50, estimate=3), resources={"cpu": 2}))
    assert start_of(run, "big") == 2


def test_small_ones_that_have_ended_by_then_pass_it() -> None:
    run = simulate(flow(big_among_small(5, estimate=1), resources={"cpu": 2}))
    assert run.timeline == "s1[0-1] s0[0-2] s2[1-2] big[2-3] s3[3-4] s4[3-4]"


def test_small_ones_for_which_there_is_room_beside_it_pass_it() -> None:
    nodes = {
        "a": {"resources": {"cpu": 3}, "estimate": 2, "priority": "critical"},
        "big": {"resources": {"cpu": 3}, "estimate": 1, "priority": "high"},
        "long": {"resources": {"cpu": 1}, "estimate": 9},
    }
    assert start_of(simulate(flow(nodes, resources={"cpu": 4})), "long") == 0


def test_what_asks_for_nothing_that_it_lacks_passes_it_whatever_its_estimate() -> None:
    nodes = {
        "a": {"resources": {"gpu": 1}, "priority": "critical"},
        "big": {"resources": {"gpu": 2}, "priority": "high"},
        "other": {"resources": {"cpu": 1}},
    }
    run = simulate(flow(nodes, resources={"gpu": 2, "cpu": 1}, scheduling={"aging": "1ms"}))
    assert start_of(run, "other") == 0


def test_without_estimates_they_pass_it_until_it_has_waited_for_aging() -> None:
    """Two by two and out of step: without the end of its patience it would run last of all."""
    nodes = big_among_small(60)
    del nodes["big"]["estimate"], nodes["s0"]["estimate"]
    seconds = {f"s{i}": 3.0 if i else 2.0 for i in range(60)}
    patient = simulate(flow(nodes, resources={"cpu": 2}), seconds=seconds)
    assert start_of(patient, "big") > 80
    hasty = simulate(flow(nodes, resources={"cpu": 2}, scheduling={"aging": "10s"}), seconds=seconds)
    assert 10 <= start_of(hasty, "big") <= 13


def test_who_passes_without_an_estimate_lets_the_others_pass_too() -> None:
    """For then nobody knows any more when the first can start."""
    nodes = {
        "a": {"resources": {"cpu": 1}, "estimate": 2, "priority": "critical"},
        "big": {"resources": {"cpu": 3}, "estimate": 1, "priority": "high"},
        "long": {"resources": {"cpu": 1}, "estimate": 9},
        "unknown": {"resources": {"cpu": 1}, "priority": "low"},
    }
    assert start_of(simulate(flow(nodes, resources={"cpu": 3})), "long") == 0


def test_what_has_outlived_its_estimate_is_taken_to_end_at_once() -> None:
    """So small ones do not slip in between the estimated end and the true one."""
    run = simulate(flow(big_among_small(9, estimate=1), resources={"cpu": 2}), seconds={"s0": 7})
    assert start_of(run, "big") == 7
    assert run.timeline.startswith("s1[0-1] s0[0-7] s2[1-2] big[7-8]")


@pytest.mark.parametrize("estimate", [0, 1])
def test_estimates_that_are_too_short_let_nobody_starve(estimate: float) -> None:
    """What is over its time may end at once: the first counts on that, and what passes it does not count on more."""
    nodes: dict[str, Any] = {f"s{i}": {"resources": {"cpu": 1}, "estimate": estimate} for i in range(60)}
    nodes |= {f"s{i}": {**nodes[f"s{i}"], "priority": "critical"} for i in range(4)}
    nodes["big"] = {"resources": {"cpu": 3}, "priority": "high", "estimate": 1}
    seconds = {f"s{i}": 7.0 + i % 4 for i in range(60)}  # out of step
    run = simulate(flow(nodes, resources={"cpu": 4}, scheduling={"aging": "10s"}), seconds=seconds)
    assert start_of(run, "big") <= 10 + 10


def test_a_token_that_the_first_waits_for_is_not_taken_before_it() -> None:
    nodes = {
        "a": {"resources": {"cpu": 2}, "estimate": 9, "priority": "critical"},
        "big": {"resources": {"cpu": 2, "api": 1}, "priority": "high", "estimate": 1},
        "quick": {"resources": {"api": 1}, "estimate": 1},
    }
    slow = {"cpu": 2, "api": {"amount": 9, "rate": "3/m"}}  # the next token would come at 20
    assert start_of(simulate(flow(nodes, resources=slow)), "big") == 9
    fast = {"cpu": 2, "api": {"amount": 9, "rate": "30/m"}}
    assert start_of(simulate(flow(nodes, resources=fast)), "quick") == 0


Drawn = list[tuple[int, int, int, list[int]]]
WORK = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 9), st.lists(st.integers(1, 3), max_size=2)),
    min_size=1,
    max_size=12,
)


def workflow(drawn: Drawn, estimated: bool, **keys: object) -> dict[str, object]:
    return flow(
        {
            f"n{i}": {
                "resources": {"cpu": cpu, "gpu": gpu},
                "needs": sorted({f"n{i - back}" for back in backs if i - back >= 0}),
                **({"estimate": seconds} if estimated else {}),
            }
            for i, (cpu, gpu, seconds, backs) in enumerate(drawn)
        },
        resources={"cpu": 4, "gpu": 2},
        **keys,
    )


def live_at(run: Simulated) -> Iterable[tuple[float, set[str]]]:
    """After each moment at which something happened, what runs."""
    live: set[str] = set()
    events = run.events
    for i, event in enumerate(events):
        if isinstance(event, ev.NodeStarted):
            live.add(event.node)
        elif isinstance(event, ev.NodeSucceeded):
            live.discard(event.node)
        if i + 1 == len(events) or events[i + 1].time > event.time:
            yield event.time, set(live)


@given(WORK, st.booleans(), st.sampled_from(["fifo", "priority", "critical_path"]), st.integers(1, 5))
def test_no_schedule_exceeds_a_budget_or_breaks_an_edge(drawn: Drawn, estimated: bool, policy: str, slots: int) -> None:
    data = workflow(drawn, estimated, concurrency=slots, scheduling={"policy": policy, "aging": "3s"})
    run = simulate(data, seconds={f"n{i}": float(seconds) for i, (_, _, seconds, _) in enumerate(drawn)})
    assert set(run.ended.values()) == {"ok"}
    ends = {event.node: event.time for event in run.events if isinstance(event, ev.NodeSucceeded)}
    for event in run.events:
        if isinstance(event, ev.NodeStarted):
            assert all(ends[need] <= event.time for need in run.plan.nodes[event.node].needs)
    for _, live in live_at(run):
        assert len(live) <= slots
        assert sum(drawn[int(name[1:])][0] for name in live) <= 4
        assert sum(drawn[int(name[1:])][1] for name in live) <= 2


@given(WORK, st.integers(1, 5))
def test_nothing_idles_that_fits_and_delays_nobody(drawn: Drawn, slots: int) -> None:
    """Where not even the first fits, that is all that others wait for: of what has no needs, one always runs."""
    free_of_needs: Drawn = [(cpu, gpu, seconds, []) for cpu, gpu, seconds, _ in drawn]
    run = simulate(workflow(free_of_needs, True, concurrency=slots, scheduling={"policy": "fifo"}))
    started = {event.node: event.time for event in run.events if isinstance(event, ev.NodeStarted)}
    for moment, live in live_at(run):
        waiting = [i for i in range(len(drawn)) if started[f"n{i}"] > moment]
        if not waiting or len(live) == slots:
            continue
        cpu = 4 - sum(drawn[int(name[1:])][0] for name in live)
        gpu = 2 - sum(drawn[int(name[1:])][1] for name in live)
        first = waiting[0]
        assert drawn[first][0] > cpu or drawn[first][1] > gpu, "the first idles"
        promised = min(started[f"n{first}"], 1e9)
        for i in waiting[1:]:
            if drawn[i][0] <= cpu and drawn[i][1] <= gpu:
                assert moment + drawn[i][2] > promised, f"n{i} idles at {moment}"


@given(WORK, st.integers(1, 5))
def test_by_right_estimates_the_first_is_never_delayed_by_those_after_it(drawn: Drawn, slots: int) -> None:
    """In order of arrival, the first that does not fit starts when it would if nobody came after it."""
    free_of_needs: Drawn = [(cpu, gpu, seconds, []) for cpu, gpu, seconds, _ in drawn]
    whole = simulate(workflow(free_of_needs, True, concurrency=slots, scheduling={"policy": "fifo"}))
    waits = [event.node for event in whole.events if isinstance(event, ev.NodeStarted) and event.time > 0]
    if waits:
        first = min(waits, key=lambda name: int(name[1:]))
        alone = simulate(
            workflow(free_of_needs[: int(first[1:]) + 1], True, concurrency=slots, scheduling={"policy": "fifo"})
        )
        assert start_of(whole, first) == start_of(alone, first)
