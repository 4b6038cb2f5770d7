"""The timeline of a plan: readable at any width and size, and true to the times."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.conftest import Command
from wfctl.renderers.text import width_of
from wfctl.renderers.timeline import MOST_ROWS, ROWS_OF_MANY, Bar, Resource, Timeline, render

By = Literal["node", "resource"]
GIB = 2.0**30


def small() -> Timeline:
    bars = (
        Bar("licence", 0, 0, note="served", cached=True),
        Bar("extract", 0, 10, critical=True, demand={"cpu": 2.0, "memory": GIB}),
        Bar("check", 0, 3, demand={"cpu": 1.0}),
        Bar("score_a", 10, 32, critical=True, demand={"cpu": 2.0, "memory": 12 * GIB}),
        Bar("score_b", 10, 25, level="high", demand={"cpu": 2.0}),
        Bar("load", 32, 40, critical=True, demand={"cpu": 2.0, "memory": GIB}),
    )
    resources = (Resource("cpu", 4, "cpu"), Resource("memory", 16 * GIB, "bytes"))
    bounds = {"critical path": 40, "work / cpu": 28.3}
    return Timeline("nightly", 40, bounds, bars, resources, 4, "cpu", ("2 are guessed",))


def many(count: int, slots: int = 8) -> Timeline:
    chance = random.Random(count)
    free = [0.0] * slots
    bars = []
    for i in range(count):
        slot = free.index(min(free))
        start, free[slot] = free[slot], free[slot] + chance.expovariate(0.2)
        bars.append(Bar(f"task_{i}", start, free[slot], critical=chance.random() < 0.1))
    return Timeline("many", max(free), {"critical path": max(free) / 2}, tuple(bars), (), slots, "slots")


def rows(text: str) -> list[str]:
    """The rows of nodes: between the axis and the resources."""
    lines = text.splitlines()
    axis = next(i for i, line in enumerate(lines) if line.lstrip().startswith(("├", "+-")))
    return lines[axis + 1 : lines.index("", axis)]


def counted(text: str) -> int:
    """How many nodes the rows are for."""
    return sum(int(found[1].replace(",", "")) if (found := re.search(r" ×(\S+)", row)) else 1 for row in rows(text))


def test_a_small_plan() -> None:
    expected = """\
nightly: 40s for 6 nodes on 4 slots, 1 served
at the lower bound: no plan is shorter

  makespan                   40s ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
◆ critical path              40s ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 100 %
  work / cpu                 28s ━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 71 %

  node             start    time 0s       10s       20s       30s
                                 ├────────┬─────────┬─────────┬─────────
≡ licence             0s      0s ≡ served ┊         ┊         ┊
  check               0s    3.0s ▒▒▒      ┊         ┊         ┊
◆ extract             0s     10s █████████▊         ┊         ┊
  score_b            10s     15s          ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ high
◆ score_a            10s     22s          ██████████████████████▎
◆ load               32s    8.0s          ┊         ┊         ┊ ████████

  in use            peak      of
  at once              2       4 ▄▄▄▂▂▂▂▂▂▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▂▂▂▂▂▂▂▂▂▂▂▂▂▂
  cpu                  4       4 ▆▆▆▄▄▄▄▄▄████████████████▄▄▄▄▄▄▄▄▄▄▄▄▄▄
  memory          12 GiB  16 GiB ▁▁▁▁▁▁▁▁▁▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▁▁▁▁▁▁▁

- 2 are guessed
"""
    assert render(small(), width=72) == expected


def test_the_same_plan_by_resource() -> None:
    expected = """\
nightly: 40s for 6 nodes on 4 slots, 1 served
at the lower bound: no plan is shorter

  makespan                   40s ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
◆ critical path              40s ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 100 %
  work / cpu                 28s ━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 71 %

  lane             nodes    busy 0s       10s       20s       30s
                                 ├────────┬─────────┬─────────┬─────────
cpu: 71 % used, the scarcest, at most 4 of 4 at once
  1                    3   100 % ▌extract█▌score_a██████████████▌load███
  2                    3   100 % ▌extract█▌score_a██████████████▌load███
  3                    2    45 % ▌▒▒      ▌score_b▒▒▒▒▒▒▒     ┊
  4                    1    38 %          ▌score_b▒▒▒▒▒▒▒     ┊

memory: 44 % used, at most 12 GiB of 16 GiB at once
  1                    1    55 %          ▌score_a 12 GiB███████
  smaller              2         ▁▁▁▁▁▁▁▁▁▁         ┊         ┊ ▁▁▁▁▁▁▁▁
  in use               3    44 % ▁▁▁▁▁▁▁▁▁▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▁▁▁▁▁▁▁

slots: 36 % used, at most 2 of 4 at once
  1                    3   100 % ▌extract█▌score_a██████████████▌load███
  2                    2    45 % ▌▒▒      ▌score_b▒▒▒▒▒▒▒     ┊

- 2 are guessed
"""
    assert render(small(), by="resource", width=72) == expected


def test_without_unicode_all_is_ascii_and_the_critical_path_still_stands_out() -> None:
    text = render(small(), width=60, unicode=False)
    assert text.isascii()
    assert re.search(r"^\* score_a +10s +22s +:? *#{10,}", text, re.MULTILINE)
    assert re.search(r"^  score_b +10s +15s +:? *={5,}[ :]+high", text, re.MULTILINE)
    lanes = render(small(), by="resource", width=60, unicode=False)
    assert lanes.isascii()
    assert re.search(r"^  1 +3 +100 % \|extr~\|score_a#+\|load#", lanes, re.MULTILINE)


@pytest.mark.parametrize(
    ("makespan", "verdict"),
    [
        (40, "at the lower bound: no plan is shorter"),
        (40.0000001, "at the lower bound: no plan is shorter"),
        (40.001, "0.1 % above the lower bound"),
        (41, "2.5 % above the lower bound"),
        (60, "50 % above the lower bound"),
        (100, "2.5 times the lower bound"),
    ],
)
def test_the_makespan_is_told_against_the_higher_of_both_bounds(makespan: float, verdict: str) -> None:
    bars = (Bar("a", 0, makespan),)
    told = render(Timeline("w", makespan, {"critical path": 30, "work / slots": 40}, bars), width=80)
    assert told.splitlines()[1] == verdict


def test_what_is_served_is_counted_and_takes_no_time() -> None:
    text = render(small(), width=80)
    assert text.splitlines()[0] == "nightly: 40s for 6 nodes on 4 slots, 1 served"
    assert re.search(r"^≡ licence +0s +0s ≡ served", text, re.MULTILINE)
    assert "licence" not in render(small(), by="resource", width=80)


@pytest.mark.parametrize("by", ["node", "resource"])
@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [40, 59, 80, 200])
@pytest.mark.parametrize("count", [1, 5, 101, 5000])
def test_no_line_is_wider_than_the_terminal(count: int, width: int, unicode: bool, by: By) -> None:
    base = many(count)
    bars = tuple(
        Bar(f"{bar.node}_{'列' * (i % 40)}e\u0301\x1b", bar.start, bar.finish, i % 3 == 0, "low", "\x1b[31m" * (i % 5),
            {"x\x1b" * 25: 1e14, "gpu": 1})
        for i, bar in enumerate(base.bars)
    )  # fmt: skip
    resources = (Resource("x\x1b" * 25, 8e14, "bytes"), Resource("gpu", 8, names=("GPU-\x1b" * 10, "列" * 50)))
    foreign = Timeline("w" * 300, base.makespan, {"critical path": 1e9}, bars, resources, 8, "gpu", ("n\x1b" * 200,))
    text = render(foreign, by=by, width=width, unicode=unicode)
    assert max(map(width_of, text.splitlines())) <= width
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("count", [1, 7, 60])
def test_every_node_has_a_bar_where_its_time_is(count: int, width: int) -> None:
    plan = many(count)
    text = render(plan, width=width)
    left = next(line for line in text.splitlines() if line.lstrip().startswith("├")).index("├")
    cells = width - left
    for bar, row in zip(sorted(plan.bars, key=lambda b: (b.start, b.finish)), rows(text), strict=True):
        assert row.split()[1 if bar.critical else 0] == bar.node
        drawn = [i for i, char in enumerate(row[left:]) if char in "▒█▏▎▍▌▋▊▉"]
        assert abs(drawn[0] - bar.start / plan.makespan * cells) <= 1
        assert abs(drawn[-1] + 1 - bar.finish / plan.makespan * cells) <= 1
        assert drawn == list(range(drawn[0], drawn[-1] + 1))
        assert (row[0] == "◆") == bar.critical


def test_of_many_nodes_those_of_one_family_share_a_row() -> None:
    bars = [Bar(f"{kind}_{i}", i, i + 1) for kind in ("fetch", "align") for i in range(100)]
    bars += [Bar("fetch_100", 100, 110, critical=True), Bar("publish", 110, 120, critical=True)]
    text = render(Timeline("w", 120, {}, tuple(bars), (), 2), width=80)
    assert [" ".join(row.split()[:3]) for row in rows(text)] == [
        "fetch_* ×100 0s",
        "align_* ×100 0s",
        "◆ fetch_100 1m",
        "◆ publish 1m",
    ]


def test_a_family_shows_how_many_of_it_run_at_once() -> None:
    bars = [Bar(f"a_{i}", i % 2 * 25, i % 2 * 25 + 25) for i in range(100)]
    bars += [Bar(f"b_{i}", 50, 100) for i in range(100)]
    a, b = rows(render(Timeline("w", 100, {}, tuple(bars), (), 100), width=80))
    assert set(re.findall("[▁-█]", a)) == {"▄"}
    assert set(re.findall("[▁-█]", b)) == {"█"}


@settings(max_examples=40, deadline=None)
@given(
    ids=st.lists(st.from_regex(r"[a-c]{1,2}(_[0-9]{1,3}){0,2}(\[[a-z.]{1,3}\])?", fullmatch=True), max_size=200),
    width=st.integers(40, 200),
)
def test_every_node_is_in_one_row(ids: list[str], width: int) -> None:
    bars = tuple(Bar(name, i % 7, i % 7 + i % 3, critical=i % 5 == 0) for i, name in enumerate(ids))
    text = render(Timeline("w", 10, {"critical path": 5}, bars), width=width)
    assert counted(text) == len(ids)
    assert len(rows(text)) <= (len(ids) if len(ids) <= MOST_ROWS else ROWS_OF_MANY)
    assert max(map(width_of, text.splitlines())) <= width


def test_of_many_nodes_without_families_the_longest_are_shown() -> None:
    words = "".join(map(chr, range(ord("a"), ord("z") + 1)))
    bars = [Bar(a + b, 0, i + 1) for i, (a, b) in enumerate((a, b) for a in words for b in words)]
    shown = rows(render(Timeline("w", 700, {}, tuple(bars), (), 999), width=80))
    assert len(shown) == ROWS_OF_MANY
    assert {row.split()[0] for row in shown} == {bar.node for bar in bars[-ROWS_OF_MANY + 1 :]} | {"others"}
    assert any(row.split()[:2] == ["others", f"×{26 * 26 - ROWS_OF_MANY + 1}"] for row in shown)


def test_a_long_id_loses_its_middle() -> None:
    bars = tuple(Bar(f"align_of_the_whole_genome_of_sample_{i}", 0, 1) for i in range(3))
    assert [row.split()[0] for row in rows(render(Timeline("w", 1, {}, bars), width=80))] == [
        f"align_of_t…f_sample_{i}" for i in range(3)
    ]


def test_the_strips_show_the_most_in_use_in_each_slice() -> None:
    gpu = {"gpu": 1.0}
    bars = (Bar("a", 0, 50), Bar("b", 50, 100, demand=gpu), Bar("c", 60, 60.01), Bar("d", 50, 75, demand=gpu))
    plan = Timeline("w", 100, {}, bars, (Resource("gpu", 2),), 3)
    strips = {line.split()[0]: line for line in render(plan, width=80).splitlines()[-2:]}
    assert re.fullmatch("  gpu .* (█+)(▄+)", strips["gpu"])
    assert abs(strips["gpu"].count("█") - strips["gpu"].count("▄")) <= 1
    assert strips["at"].count("█") == 1  # c is short, and yet it shows


# -- by resource


def lanes(text: str, resource: str) -> dict[str, str]:
    """What is drawn in each lane of a resource, by the lane's name."""
    lines = text.splitlines()
    left = next(line for line in lines if line.lstrip().startswith("├")).index("├")
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"{resource}:"))
    end = lines.index("", begin) if "" in lines[begin:] else len(lines)
    return {line[:left].split()[0]: line[left:] for line in lines[begin + 1 : end]}


def test_who_wants_two_units_is_in_two_lanes_and_devices_have_their_names() -> None:
    two = {"gpu": 2.0}
    bars = (Bar("one", 0, 10, demand={"gpu": 1}), Bar("two", 0, 5, demand=two), Bar("next", 5, 10, demand=two))
    text = render(Timeline("w", 10, {}, bars, (Resource("gpu", 3, names=("0", "3", "7")),), 3), by="resource", width=80)
    shown = lanes(text, "gpu")
    assert [re.findall(r"[a-z]+", shown[name]) for name in "037"] == [["one"], ["two", "next"], ["two", "next"]]


def test_of_a_resource_in_parts_those_that_hold_much_have_a_lane_with_the_amount() -> None:
    bars = (
        Bar("big", 0, 10, demand={"memory": 8 * GIB}),
        Bar("tiny", 0, 10, demand={"memory": GIB / 4}),
        Bar("mid", 0, 4, demand={"memory": 3 * GIB}),
        Bar("last", 4, 10, demand={"memory": 2 * GIB}),
    )
    plan = Timeline("w", 10, {}, bars, (Resource("memory", 16 * GIB, "bytes"),), 4)
    shown = lanes(render(plan, by="resource", width=100), "memory")
    assert list(shown) == ["1", "2", "smaller", "in"]
    assert re.findall(r"[a-z]+ [0-9] GiB", shown["1"] + shown["2"]) == ["big 8 GiB", "mid 3 GiB", "last 2 GiB"]


def test_lanes_that_are_the_same_are_drawn_once() -> None:
    bars = tuple(Bar(name, 0, 5, demand={"cpu": 1}) for name in "ab")
    text = render(Timeline("w", 5, {}, bars, (Resource("cpu", 2, "cpu"),), 4, "cpu"), by="resource", width=80)
    assert "cpu: 100 % used, the scarcest, at most 2 of 2 at once" in text.splitlines()
    assert "slots: 50 % used, at most 2 of 4 at once, in the lanes of cpu" in text.splitlines()
    assert len(re.findall("▌a", text)) == 1


def test_of_many_lanes_the_first_are_shown_and_the_rest_is_counted() -> None:
    bars = tuple(Bar(f"n{i}", 0, 5) for i in range(40))
    shown = lanes(render(Timeline("w", 5, {}, bars, (), 50), by="resource", width=80), "slots")
    assert list(shown) == [*map(str, range(1, 17)), "24", "in"]
    assert set(shown["24"]) == {"█"}


@settings(max_examples=40, deadline=None)
@given(
    drawn=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=30),
    width=st.integers(40, 200),
)
def test_no_lane_holds_two_nodes_at_once(drawn: list[tuple[int, int, int]], width: int) -> None:
    """Each node is busy as often as it wants units: the lanes' time adds up to the work."""
    bars = tuple(Bar(f"n{i}", start, start + took, demand={"x": n}) for i, (start, took, n) in enumerate(drawn))
    peak = max(sum(bar.demand["x"] for bar in bars if bar.start <= moment < bar.finish) for moment in range(30))
    assume(peak <= 16)
    shown = render(Timeline("w", 30, {}, bars, (Resource("x", peak),), 99), by="resource", width=width).splitlines()
    begin = next(i for i, line in enumerate(shown) if line.startswith("x:"))
    busy = [int(line[: line.index("%")].split()[-1]) for line in shown[begin + 1 : shown.index("", begin)]]
    assert len(busy) == peak
    work = sum(bar.seconds * bar.demand["x"] for bar in bars) / max(bar.finish for bar in bars)
    assert abs(sum(busy) - 100 * work) <= len(busy)


def test_a_plan_without_any_time_is_shown_too() -> None:
    text = render(Timeline("w", 0, {"critical path": 0}, (Bar("a", 0, 0),)), width=60)
    assert "▒" in rows(text)[0]
    assert "nodes" in render(Timeline("w", 0, {}, ()), width=60)
    assert "slots: 0 % used" in render(Timeline("w", 0, {}, ()), by="resource", width=60)


@pytest.mark.parametrize("makespan", [0.0007, 0.02, 1, 59, 3600, 86400, 1e7])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_ticks_are_round_and_stand_clear_of_each_other(makespan: float, width: int) -> None:
    text = render(Timeline("w", makespan, {}, (Bar("a", 0, makespan),)), width=width)
    head = next(line for line in text.splitlines() if line.lstrip().startswith("node"))
    labels = re.split(r"\s{2,}", head[head.index(" 0s") :].strip())
    assert labels[0] == "0s"
    assert len(labels) == len(set(labels))
    steps = {round(b - a, 6) for a, b in pairwise(map(_seconds, labels))}
    assert len(steps) <= 1


def _seconds(label: str) -> float:
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(float(part[:-1]) * units[part[-1]] for part in label.split())


def test_the_command_draws_by_node_or_by_resource(wfctl: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text("version: 1\nnodes: {a: {run: echo, estimate: 1s}}\n")
    plain, by_node = wfctl("plan", "flow.yaml"), wfctl("plan", "flow.yaml", "--by", "node")
    assert "◆ a " in by_node.stdout
    assert by_node.stdout == plain.stdout
    assert "slots: " in wfctl("plan", "flow.yaml", "--by", "resource").stdout
    wrong = wfctl("plan", "flow.yaml", "--by", "day")
    assert (wrong.returncode, wrong.stderr) == (2, 'wfctl: --by: "day" is neither node nor resource\n')
