"""Runs that keep results or go back to checkpoints are killed, at random or at each named point, and go on.

Knows nothing of how results lie on disk. A short series; `python -m tests.survival.kept --kills 200` is the large
one."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow, Start, Status, environ
from tests.survival import kept
from wfctl.blobs import Blobs

POINTS = ["decided", "recorded", "submitted", "completed"]
KILLED = -signal.SIGKILL
MOST = 60
"""Passages of one point, at most: more is a run that does not get on."""


@pytest.mark.parametrize("scope", ["workflow", "machine"])
def test_runs_that_reach_the_same_keys_do_each_once_whoever_is_killed(scope: str) -> None:
    report = kept.series(kills=6, runs=4, keys=10, seed=2, scope=scope)
    assert report.violations == [], str(report)
    assert report.kills.total() >= 6
    assert report.waits, "nobody met anybody"


def test_without_claims_they_meet_and_it_is_told() -> None:
    report = kept.series(kills=2, runs=4, keys=10, seed=1, without="claim")
    assert any("met another execution of key" in text for text in report.violations), str(report)
    assert any(" successes, of runs and attempts" in text for text in report.violations), str(report)


def test_a_cache_that_is_locked_for_a_moment_is_waited_for(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start
) -> None:
    flow("nodes: {work: {run: echo ran >> ledger, idempotency: {key: work, ttl: 1d}}}")
    assert wfctl("run", "flow.yaml").returncode == 0
    with closing(sqlite3.connect(tmp_path / ".wfctl/cache/cache.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        second = start("run", "flow.yaml")
        with suppress(subprocess.TimeoutExpired):
            second.wait(2)
        other.execute("ROLLBACK")
    assert second.wait(30) == 0
    assert (tmp_path / "ledger").read_text() == "ran\n"


def test_where_no_cache_can_be_what_is_not_kept_is_told_once(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    flow("nodes: {work: {for_each: [1, 2, 3], run: 'true', idempotency: true}}")
    (tmp_path / ".wfctl").mkdir(0o700)
    (tmp_path / ".wfctl/cache").write_text("")
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("results could not be kept") == 1


# At every point


POINTED = """
    name: points
    concurrency: 2
    nodes:
      make:
        run: echo make >> ledger; printf 'one\\n' > ${{ writes.out }}; echo '"made"'
        stdout: json
        writes: {out: out/a.txt}
        idempotency: {keep: true}
        checkpoint: {save: [out/a.txt]}
      use:
        run: echo use >> ledger; tr a-z A-Z < out/a.txt > out/b.txt; echo used
        stdout: text
        reads: [out/a.txt]
        writes: [out/b.txt]
        idempotency: {key: use, ttl: 1d, keep: true}
        checkpoint: true
      each:
        for_each: [x, y]
        needs: [use]
        run: echo ${{ item }} >> ledger; echo ${{ item }}
        stdout: text
        idempotency: {key: each, ttl: 1d}
    outputs: {all: ["${{ nodes.make.output }}", "${{ nodes.use.output }}", "${{ nodes.each.output }}"]}
"""
OUTPUTS = {"all": ["made", "used", ["x", "y"]]}
FILES = {"a.txt": "one\n", "b.txt": "ONE\n"}
WORK = {"make", "use", "each[0]", "each[1]"}


def files(folder: Path) -> dict[str, str]:
    """What is in a folder, and nothing else is."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """What all runs have recorded."""
    for path in sorted(folder.glob(".wfctl/runs/*/journal.jsonl")):
        for line in path.read_text().splitlines():
            yield json.loads(line)


def on_with(folder: Path, runs: int) -> list[str]:
    """The words that go on with the last of so many runs. One that was killed before anything was recorded is none."""
    begun = sum(path.stat().st_size > 0 for path in folder.glob(".wfctl/runs/*/journal.jsonl"))
    return ["resume", "last"] if begun == runs else ["run", "flow.yaml"]


def outputs(ended: subprocess.CompletedProcess[str], status: Status) -> object:
    """What came of the last run, whose command has ended well: one that had nothing left to do prints nothing."""
    assert ended.returncode == 0, ended.stderr
    shown = status()
    assert shown["state"] == "succeeded"
    return shown["outputs"]


def check_successes(folder: Path) -> None:
    """Each node has one success that is recorded; or its result was kept by who died before it could record that, and
    was then served."""
    found = [event for event in events(folder) if event.get("node") in WORK]
    succeeded = Counter(event["node"] for event in found if event["event"] == "node_succeeded")
    assert not succeeded or max(succeeded.values()) == 1, succeeded
    served = {event["node"] for event in found if event["event"] == "node_served"}
    assert succeeded.keys() | served == WORK


@pytest.mark.parametrize("point", POINTS)
def test_at_whatever_point_it_dies_it_goes_on_and_each_key_has_one_success(
    point: str, tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow(POINTED)
    for passage in range(1, MOST):
        for name in ("out", ".wfctl"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        ended = wfctl("run", "flow.yaml", env={"WFCTL_TEST_CRASH": f"{point}:{passage}"})
        was_killed = ended.returncode == KILLED
        if was_killed:
            ended = wfctl(*on_with(tmp_path, 1))
        assert (outputs(ended, status), files(tmp_path / "out")) == (OUTPUTS, FILES)
        check_successes(tmp_path)
        if passage % 4 == 0 or not was_killed:  # what is kept is whole: it is served, and put back
            shutil.rmtree(tmp_path / "out")
            (tmp_path / "ledger").unlink()
            ended = wfctl("run", "flow.yaml")
            assert (outputs(ended, status), files(tmp_path / "out")) == (OUTPUTS, FILES)
            assert not (tmp_path / "ledger").exists(), (tmp_path / "ledger").read_text()
        if not was_killed:
            break
    assert 3 < passage < MOST - 1


# Back to a checkpoint


BACK = """
    name: back
    nodes:
      make: {run: "mkdir -p out/in; echo 1 > out/a.txt; echo 2 > out/in/b.txt", checkpoint: {save: [out]}}
      look: {run: "cat out/a.txt out/in/b.txt > seen", needs: [make]}
      spoil: {run: "echo spoilt > out/a.txt; rm -rf out/in", needs: [look]}
      last: {run: cat seen, needs: [spoil], stdout: text}
    outputs: {seen: "${{ nodes.last.output }}"}
"""
SEEN = {"seen": "1\n2"}


def check_back(folder: Path, ended: subprocess.CompletedProcess[str], status: Status) -> None:
    """All was seen as it was saved; all that was spoilt is so again, and nothing else lies about."""
    assert outputs(ended, status) == SEEN
    assert files(folder / "out") == {"a.txt": "spoilt\n"}


@pytest.mark.parametrize("point", POINTS)
def test_going_back_to_a_checkpoint_is_done_in_the_end_at_whatever_point_it_is_killed(
    point: str, tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow(BACK)
    ended = wfctl("run", "flow.yaml")
    check_back(tmp_path, ended, status)
    for passage in range(1, MOST):
        crash = {"WFCTL_TEST_CRASH": f"{point}:{passage}"}
        ended = wfctl("resume", "last", "--from-checkpoint", "make", env=crash)
        if ended.returncode != KILLED:
            break
        check_back(tmp_path, wfctl("resume", "last"), status)
    check_back(tmp_path, ended, status)
    assert 2 < passage < MOST - 1


CHANGING = """
import os
from pathlib import Path
from wfctl.blobs import Blobs
put, left = Blobs.put, [int(os.environ["LEFT"])]
def put_what_changes(self, path, digest=None):
    if path.endswith("b.txt") and left[0]:
        left[0] -= 1
        Path(path).write_text(f"changed, {left[0]} left") if left[0] else os.unlink(path)
    return put(self, path, digest)
Blobs.put = put_what_changes
from wfctl.__main__ import main
main()
"""
"""The command, where somebody changes a file so many times just before it is saved, and removes it in the end."""


@pytest.mark.parametrize(("times", "saved"), [(1, ["out/a.txt"]), (2, ["out/a.txt"]), (1000, None)])
def test_a_file_that_is_changed_while_a_checkpoint_saves_it_ends_no_run(
    times: int, saved: list[str] | None, tmp_path: Path, flow: Flow, status: Status
) -> None:
    make = "mkdir out; echo 1 > out/a.txt; echo 2 > out/b.txt"
    flow(f"nodes: {{make: {{run: {make}, checkpoint: {{save: [out]}}}}, last: {{run: 'true', needs: [make]}}}}")
    words = [sys.executable, "-c", CHANGING, "run", "flow.yaml"]
    env = {**environ(tmp_path), "LEFT": str(times)}
    ended = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert [place["files"] for place in status()["checkpoints"]] == ([] if saved is None else [saved])
    told = 'no checkpoint after make: "out/b.txt" was changed each time that it was to be saved'
    assert (told in ended.stderr) == (saved is None)


def test_only_what_the_dead_have_left_half_is_removed_where_files_are_put_back(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    digest = blobs.put_bytes(b"whole")
    out = tmp_path / "out"
    out.mkdir()
    dead, alive, other = (out / f".wfctl-{name}" for name in ("1-00000000000a", "1-00000000000b", "1-notes"))
    for path in (dead, alive, other):
        path.write_text("half")
    with open(alive) as draft:
        fcntl.flock(draft, fcntl.LOCK_EX)
        blobs.take(digest, str(out / "a.txt"), 0o644)
    assert sorted(path.name for path in out.iterdir()) == [alive.name, other.name, "a.txt"]


MORTAL = """
import os, signal
from wfctl import blobs
left = [int(os.environ["LEFT"])]
def pass_by():
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
def mortal(function):
    def call(*args):
        pass_by()
        found = function(*args)
        pass_by()
        return found
    return call
blobs._rename = mortal(blobs._rename)
blobs._Draft.fill = mortal(blobs._Draft.fill)
blobs._Draft.finish = mortal(blobs._Draft.finish)
from wfctl.__main__ import main
main()
"""
"""The command, whose life ends at a passage of what puts files back."""


def test_who_is_killed_while_files_are_put_back_puts_them_back_when_it_goes_on(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow(BACK)
    ended = wfctl("run", "flow.yaml")
    check_back(tmp_path, ended, status)
    for passage in range(1, MOST):
        words = [sys.executable, "-c", MORTAL, "resume", "last", "--from-checkpoint", "make"]
        env = {**environ(tmp_path), "LEFT": str(passage)}
        ended = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        if ended.returncode != KILLED:
            break
        (tmp_path / "seen").unlink()
        assert status()["state"] != "succeeded", "it has still to be done"
        check_back(tmp_path, wfctl("resume", "last"), status)
    check_back(tmp_path, ended, status)
    assert passage == 1 + 2 * 6


def test_who_is_killed_while_kept_files_are_put_back_has_them_put_back_when_it_goes_on(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow(POINTED)
    assert outputs(wfctl("run", "flow.yaml"), status) == OUTPUTS
    (tmp_path / "ledger").unlink()
    for passage in range(1, MOST):
        shutil.rmtree(tmp_path / "out")
        words = [sys.executable, "-c", MORTAL, "run", "flow.yaml"]
        env = {**environ(tmp_path), "LEFT": str(passage)}
        ended = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        was_killed = ended.returncode == KILLED
        if was_killed:
            ended = wfctl(*on_with(tmp_path, passage + 1))
        assert (outputs(ended, status), files(tmp_path / "out")) == (OUTPUTS, FILES)
        if not was_killed:
            break
    assert not (tmp_path / "ledger").exists(), "something was done again"
    assert passage > 6
