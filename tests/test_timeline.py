"""The timeline of a plan: readable at any width and size, and true to the times."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from wfctl.renderers.text import width_of
from wfctl.renderers.timeline import Bar, Timeline, Usage, render


def small() -> Timeline:
    bars = (
        Bar("extract", 0, 10, critical=True),
        Bar("licence", 0, 3, note="cached"),
        Bar("score_a", 10, 32, critical=True),
        Bar("score_b", 10, 25, level="high"),
        Bar("load", 32, 40, critical=True),
    )
    usage = (
        Usage("cpu", 4, "cpu", ((0, 2), (3, 1), (10, 4), (25, 2), (40, 0))),
        Usage("memory", 16 * 2**30, "bytes", ((0, 2**30), (10, 12 * 2**30), (40, 0))),
    )
    return Timeline("nightly", 40, {"critical path": 40, "work / cpu": 25.5}, bars, usage, 4, ("2 are guessed",))


def many(count: int, slots: int = 8) -> Timeline:
    chance = random.Random(count)
    free = [0.0] * slots
    bars = []
    for i in range(count):
        slot = free.index(min(free))
        start, free[slot] = free[slot], free[slot] + chance.expovariate(0.2)
        bars.append(Bar(f"task_{i}", start, free[slot], critical=chance.random() < 0.1))
    return Timeline("many", max(free), {"critical path": max(free) / 2}, tuple(bars), (), slots)


def rows(text: str) -> list[str]:
    """The rows of nodes: between the axis and the resources."""
    lines = text.splitlines()
    axis = next(i for i, line in enumerate(lines) if line.lstrip().startswith(("├", "+-")))
    return lines[axis + 1 : lines.index("", axis)]


def test_a_small_plan() -> None:
    expected = """\
nightly: 40s for 5 nodes on 4 slots

  makespan                   40s ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
  critical path              40s ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 100%
  work / cpu                 26s ━━━━━━━━━━━━━━━━━━━━━━━━━ 64%

  node             start    time 0s       10s       20s       30s
                                 ├────────┬─────────┬─────────┬─────────
  licence             0s    3.0s ▒▒▒ cached         ┊         ┊
◆ extract             0s     10s █████████▊         ┊         ┊
  score_b            10s     15s          ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ high
◆ score_a            10s     22s          ██████████████████████▎
◆ load               32s    8.0s          ┊         ┊         ┊ ████████

  in use            peak      of
  at once              2       4 ▄▄▄▂▂▂▂▂▂▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▂▂▂▂▂▂▂▂▂▂▂▂▂▂
  cpu                  4       4 ▄▄▄▂▂▂▂▂▂████████████████▄▄▄▄▄▄▄▄▄▄▄▄▄▄
  memory          12 GiB  16 GiB ▁▁▁▁▁▁▁▁▁▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆

- 2 are guessed
"""
    assert render(small(), width=72) == expected


def test_without_unicode_all_is_ascii_and_the_critical_path_still_stands_out() -> None:
    text = render(small(), width=60, unicode=False)
    assert text.isascii()
    assert re.search(r"^\* score_a +10s +22s +:? *#{10,}", text, re.MULTILINE)
    assert re.search(r"^  score_b +10s +15s +:? *={5,}[ :]+high", text, re.MULTILINE)


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [40, 59, 80, 200])
@pytest.mark.parametrize("count", [1, 5, 61, 5000])
def test_no_line_is_wider_than_the_terminal(count: int, width: int, unicode: bool) -> None:
    base = many(count)
    bars = tuple(
        Bar(f"{bar.node}_{'列' * (i % 40)}", bar.start, bar.finish, i % 3 == 0, "low", "\x1b[31m" * (i % 5))
        for i, bar in enumerate(base.bars)
    )
    usage = (Usage("x" * 50, 1e15, "bytes", ((0, 1.3e15),)), Usage("gpu", 0, "count", ()))
    foreign = Timeline("w" * 300, base.makespan, {"critical path": 1e9}, bars, usage, 8, ("n\x1b" * 200,))
    text = render(foreign, width=width, unicode=unicode)
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


def test_of_many_nodes_the_longest_are_shown_and_the_rest_is_counted() -> None:
    plan = many(5000)
    text = render(plan, width=80)
    assert len(rows(text)) == 41
    assert rows(text)[-1].startswith("+ 4960 more")
    longest = max(plan.bars, key=lambda bar: bar.finish - bar.start)
    assert any(longest.node in row for row in rows(text))


def test_the_strips_show_the_most_in_use_in_each_slice() -> None:
    bars = (Bar("a", 0, 50), Bar("b", 50, 100), Bar("c", 60, 60.01))
    plan = Timeline("w", 100, {}, bars, (Usage("gpu", 2, "count", ((0, 0), (50, 2), (75, 1), (100, 0))),), 2)
    strips = {line.split()[0]: line.split()[-1] for line in render(plan, width=80).splitlines()[-3:]}
    assert strips["gpu"][-1] == "▄"
    assert strips["gpu"].count("█") == strips["gpu"].count("▄")
    assert strips["at"].count("█") == 1  # c is short, and yet it shows


def test_a_plan_without_any_time_is_shown_too() -> None:
    text = render(Timeline("w", 0, {"critical path": 0}, (Bar("a", 0, 0),)), width=60)
    assert "▒" in rows(text)[0]
    assert "nodes" in render(Timeline("w", 0, {}, ()), width=60)


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
