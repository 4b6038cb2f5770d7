"""Engine, group and guard are killed at random moments: every promise holds, and a run without its sweep breaks some.

A small series; `python -m tests.survival --kills 300` is the large one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.survival import ledger
from tests.survival.harness import Survival


def test_no_promise_is_broken_however_often_a_run_is_killed() -> None:
    report = Survival(kills=12, nodes=80, seed=1).run()
    assert report.violations == [], str(report)
    assert report.kills.total() >= 12


def test_without_the_sweep_promises_are_broken_and_it_is_told() -> None:
    told = ""
    for seed in ("2", "3", "4"):  # it may be the next attempt that meets first what was left alive: then once more
        words = ["--kills", "30", "--nodes", "60", "--seed", seed, "--without", "sweep"]
        ended = subprocess.run(
            [sys.executable, "-m", "tests.survival", *words], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 1, ended.stdout
        assert "violations" in ended.stdout.splitlines()[-1]
        told += ended.stdout
        if "after the death of engine" in told:
            break
    assert "after the death of engine" in told


NOTES = ("start a 1 1", "end a 1 1", "start b 1 1", "end b 1 1")
EVENTS = ("started a 1", "succeeded a 1", "started b 1", "succeeded b 1")


@pytest.mark.parametrize(
    ("notes", "events", "fault"),
    [
        ((), (), ""),
        (("overlap b 2 1",), (), "overlap: attempt 2 of b met another one alive"),
        (("start a 1 2",), (), "attempt 1 of a ran 2 times"),
        (("start c 1 1",), (), "attempt 1 of c ran and was never announced"),
        ((), ("started a 2",), "a began again after its success was recorded"),
        ((), ("succeeded a 1",), "the success of a was recorded twice"),
        ((), ("started c 1", "succeeded c 1"), "attempt 1 of c is recorded as a success, and never came to its end"),
    ],
)
def test_the_ledger_tells_what_should_not_have_happened(
    notes: tuple[str, ...], events: tuple[str, ...], fault: str, tmp_path: Path
) -> None:
    write(tmp_path, (*NOTES, *notes), (*EVENTS, *events))
    assert list(ledger.faults(tmp_path)) == ([fault] if fault else [])


def test_the_ledger_tells_what_was_lost(tmp_path: Path) -> None:
    write(tmp_path, NOTES, EVENTS[:-1])
    assert list(ledger.faults(tmp_path)) == ["b was lost: no success is recorded"]


def write(folder: Path, notes: tuple[str, ...], events: tuple[str, ...]) -> None:
    """A run of two nodes that left these notes and these events."""
    run = folder / ".wfctl/runs/1"
    run.mkdir(parents=True)
    (folder / "flow.yaml").write_text('{"nodes": {"a": {}, "b": {}}}')
    (folder / "ledger").write_text("".join(f"{note}\n" for note in notes))
    lines = [
        json.dumps({"event": f"node_{name}", "node": node, "attempt": int(attempt)})
        for name, node, attempt in map(str.split, events)
    ]
    (run / "journal.jsonl").write_text("\n".join(lines))
