"""The judge of plans: what it reads, what it lets pass, and what it finds on one small instance of our own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.quality import __main__ as command
from tests.quality.instance import Instance

SMALL = """\
************************************************************************
PRECEDENCE RELATIONS:
jobnr.    #modes  #successors   successors
   1        1          3           2   3   4
   2        1          1           5
   3        1          1           5
   4        1          1           5
   5        1          0
************************************************************************
REQUESTS/DURATIONS:
jobnr. mode duration  R 1
------------------------------------------------------------------------
  1      1     0       0
  2      1     2       2
  3      1     3       1
  4      1     1       1
  5      1     0       0
************************************************************************
RESOURCEAVAILABILITIES:
  R 1
   2
************************************************************************
"""
STARTS = {"t0": 0, "t1": 0, "t2": 2, "t3": 2, "t4": 5}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.sm"
    path.write_text(SMALL)
    (tmp_path / "bounds.csv").write_text("instance,lower,upper,optimal\nsmall,5,5,1\n")
    return path


def test_an_instance_is_read(small: Path) -> None:
    instance = Instance.read(small)
    assert (instance.seconds, instance.capacities) == ((0, 2, 3, 1, 0), (2,))
    assert instance.needs == ((), (0,), (0,), (0,), (1, 2, 3))
    assert instance.makespan(STARTS) == 5


@pytest.mark.parametrize(
    ("starts", "why"),
    [
        ({**STARTS, "t4": 4}, "t4 begins before t2 has ended"),
        ({**STARTS, "t3": 1}, "3 of 2 of r0 are held at 1"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_none(small: Path, starts: dict[str, float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Instance.read(small).makespan(starts)


def test_the_mean_gap_of_a_folder_is_told(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["quality", str(small.parent)])
    command.main()
    told = "0.00 % longer than the best known, the mean of 1; 1 as short"
    assert capsys.readouterr().out == f"{small.parent.name}: {told}\n"
