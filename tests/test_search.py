"""A search for a better plan: how it is told while it lasts, and what is said of it afterwards."""

from __future__ import annotations

import io
from math import inf

import pytest

from tests.helpers.terminal import Terminal
from tests.test_screen import Tty
from wfctl.layout import Problem
from wfctl.optimize import Progress
from wfctl.renderers.progress import search_line
from wfctl.screen import searching
from wfctl.search import Search

TIGHT = Problem(
    durations=[2, 6, 4, 3], needs=[[], [], [0], [2]], demands=[[2], [1], [4], [3]], capacities=[4], order=[0, 1, 2, 3]
)
"""12 seconds at best, although neither the longest path nor the work says so."""


def test_what_was_found_is_told_with_what_it_took() -> None:
    heard: list[Progress | None] = []
    search = Search(0.02, 1, lambda elapsed, progress: heard.append(progress))
    assert search.document() is None
    assert search(TIGHT).makespan == 12
    document = search.document()
    assert document is not None
    assert (document["before"], document["after"], document["lower_bound"]) == (12, 12, 9)
    assert document["plans"] > 1
    assert document["seconds"] > 0
    assert isinstance(heard[0], Progress)
    assert heard[-1] is None, "it is over"


@pytest.mark.parametrize(
    ("seconds", "makespan", "bound", "line"),
    [
        (10, 45, 40, "searching 1.2s of 10s: 45s, 12.5 % above the lower bound, 12,345 plans"),
        (10, 40, 40, "searching 1.2s of 10s: 40s, at the lower bound, 12,345 plans"),
        (inf, 45, 40, "searching 1.2s: 45s, 12.5 % above the lower bound, 12,345 plans"),
        (10, 0, 0, "searching 1.2s of 10s: 0s, at the lower bound, 12,345 plans"),
    ],
)
def test_a_line_says_how_far_it_is(seconds: float, makespan: float, bound: float, line: str) -> None:
    assert search_line(1.2, seconds, Progress(makespan=makespan, bound=bound, schedules=12345)) == line


def test_the_line_stands_on_a_terminal_alone_fits_there_and_goes_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.delenv("CI", raising=False)
    stream, terminal = Tty(), Terminal(columns=30)
    tell = searching(stream, 10)
    assert tell is not None
    tell(1.0, Progress(makespan=45, bound=40, schedules=7))
    terminal.write(stream.getvalue())
    assert terminal.text == "searching 1.0s of 10s: 45s, 1\n"
    tell(2.0, None)
    terminal.write(stream.getvalue())
    assert terminal.text == "\n"
    assert searching(io.StringIO(), 10) is None
