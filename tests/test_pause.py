"""Ctrl-Z: the run and its jobs stop, and go on as if no time had passed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.space import DEADLINE
from wfctl.executors.adopted import descendants

PROGRAM = """
import os, sys, time
from wfctl.executors.local import LocalExecutor
from wfctl.jobs import Completion, Job

class Clock:
    now = staticmethod(time.time)

wait = "until [ -s far ] && [ -s orphan ]; do :; done; touch up; until [ -e go ]; do sleep 0.01; done"
script = "setsid sh -c 'echo $$ > far; sleep 1000' & (setsid sh -c 'echo $$ > orphan; sleep 1000' &); " + wait
paused = lambda on: print("away" if on else "back", flush=True)
with LocalExecutor(Clock(), root=".", environ=dict(os.environ), grace=5, paused=paused) as executor:
    executor.submit(Job(id="r/a/1", node="a", attempt=1, argv=("sh", "-c", script), timeout=1.0))
    while True:
        for message in executor.wait(None):
            print(message, flush=True)
            if isinstance(message, Completion):
                sys.exit(0 if message.seconds < 1 else 1)
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of a group of its own, as a shell starts it, that performs one job."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True, process_group=0
    )
    await_up(tmp_path)
    with process:
        yield process
        for pid in (process.pid, *descendants(process.pid)) if process.poll() is None else ():
            os.kill(pid, signal.SIGKILL)


def await_up(folder: Path) -> None:
    """Waits until the job runs, and what it has started too."""
    limit = time.monotonic() + DEADLINE
    while not (folder / "up").exists():
        assert time.monotonic() < limit
        time.sleep(0.005)


def await_states(pids: list[int], wanted: set[str]) -> None:
    limit = time.monotonic() + DEADLINE
    while {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids} != wanted:
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_ctrl_z_stops_all_of_the_run_and_the_pause_counts_for_no_timeout(
    engine: subprocess.Popen[str], tmp_path: Path
) -> None:
    engine.send_signal(signal.SIGTSTP)
    assert os.WIFSTOPPED(os.waitpid(engine.pid, os.WUNTRACED)[1])
    await_states(descendants(engine.pid), {"T"})
    time.sleep(1.1)  # longer than the job may take
    (tmp_path / "go").touch()
    engine.send_signal(signal.SIGCONT)
    shown, _ = engine.communicate(timeout=DEADLINE)
    assert engine.returncode == 0, shown
    lines = [line for line in shown.splitlines() if line not in ("back", "Nudged()")]
    assert lines[0] == "away"
    assert lines[1].startswith("Paused(seconds=1.")
    assert "exited" in lines[2]
    assert shown.startswith("away\nback\n")


def test_where_nobody_could_continue_it_the_run_goes_on_at_once(tmp_path: Path) -> None:
    """In a group of which no shell knows, the kernel does not stop anything."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        await_up(tmp_path)
        process.send_signal(signal.SIGTSTP)
        assert process.stdout is not None
        assert process.stdout.readline() == "away\n"
        (tmp_path / "go").touch()
        shown, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert "exited" in shown


def test_a_stop_that_nobody_hears_leads_to_a_new_drawing(engine: subprocess.Popen[str], tmp_path: Path) -> None:
    engine.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(engine.pid, os.WUNTRACED)[1])
    (tmp_path / "go").touch()
    engine.send_signal(signal.SIGCONT)
    shown, _ = engine.communicate(timeout=DEADLINE)
    assert shown.startswith("back\n")
