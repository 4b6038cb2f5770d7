"""Flows of every shape are killed at named points and resumed: each ends as one that lived, and whoever won stays.

A short series; `python -m tests.survival.patterns` goes through every passage of every point, and the patterns too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.survival import patterns
from tests.survival.shapes import PATTERNS, SHAPES


@pytest.mark.parametrize(
    ("shapes", "every"),
    [(list(SHAPES), 4), (["approval.yaml", "first.yaml"], 9)],
    ids=["small flows", "patterns"],
)
def test_a_run_of_any_shape_that_was_killed_ends_as_one_that_lived(shapes: list[str], every: int) -> None:
    words = [sys.executable, "-m", "tests.survival.patterns", *shapes, "--every", str(every), "--jobs", "2"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout
    kills = int(ended.stdout.split()[0])
    assert kills >= 2 * len(shapes)
    assert ended.stdout.splitlines()[-1].endswith(f" of {len(shapes)} shapes; 0 violations")


def test_every_strategy_and_every_pattern_has_a_shape() -> None:
    assert {"first", "majority", "best", "until", "lost", *PATTERNS} <= SHAPES.keys()


WON: dict[str, Any] = {"event": "node_succeeded", "node": "x", "output": 2}


@pytest.mark.parametrize(
    ("events", "x", "y", "fault"),
    [
        ([WON], 2, 2, ""),
        ([WON, {**WON, "output": 1}], 1, 1, "2 winners were recorded: [2, 1]"),
        ([WON], 1, 1, "the winner was 2, and the outputs have 1"),
        ([WON], 2, 1, "the winner was 2, and what follows has seen 1"),
    ],
)
def test_a_second_winner_would_be_seen(events: list[Any], x: int, y: int, fault: str, tmp_path: Path) -> None:
    (tmp_path / ".wfctl/runs/1").mkdir(parents=True)
    (tmp_path / ".wfctl/runs/1/journal.jsonl").write_text("\n".join(map(json.dumps, events)))
    assert patterns.contradiction(tmp_path, {"outputs": {"x": x, "y": y}}) == fault
