"""The guard as its engine sees it: what it holds, what it does not hear, and that there is another when it dies."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers import processes
from wfctl.guard import Guard
from wfctl.roster import Roster

DEADLINE = 20.0


class Post:
    """A guard of this process, what it was told to guard, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.roster = Roster.create(f"{folder}/live/run", os.urandom(8).hex())
        self.lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        self.guard = Guard(self.roster, self.lock, os.environ, self.said.append)

    def start(self) -> processes.Process:
        """Start it, and wait until it waits."""
        self.guard.start()
        until(lambda: os.readlink(f"/proc/{self.guard.pid}/cwd") == "/" and found().state == "S")
        return found()


def found() -> processes.Process:
    guard = processes.guard_of(os.getpid())
    assert guard is not None
    return guard


def until(fact: Callable[[], bool]) -> None:
    limit = time.monotonic() + DEADLINE
    while not fact():
        assert time.monotonic() < limit
        time.sleep(0.005)


def is_dead(fd: int, seconds: float = DEADLINE) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    post = Post(tmp_path)
    yield post
    post.guard.stop()
    post.roster.close()
    os.close(post.lock)


def test_it_holds_lock_and_roster_and_nothing_else_of_ours(post: Post) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    guard = post.start()
    os.close(writing)
    assert is_dead(reading), "who reads our output waits for the guard"
    os.close(reading)
    held = {fd: os.readlink(f"/proc/{guard.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{guard.pid}/fd")}
    assert [held[fd] for fd in "012"] == ["/dev/null"] * 3
    own = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in (post.lock, post.roster.fd)}
    assert set(own.values()) <= set(held.values())
    assert len(held) == 7  # and the lifeline and the engine


def test_it_holds_each_life_by_which_others_see_that_the_run_is_there(post: Post, tmp_path: Path) -> None:
    lives = [os.open(tmp_path / f"life{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) for number in range(9)]
    post.guard = Guard(post.roster, post.lock, os.environ, post.said.append, lives)
    guard = post.start()
    for fd in lives:
        os.close(fd)
    held = [os.readlink(f"/proc/{guard.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{guard.pid}/fd")]
    assert sorted(path for path in held if "/life" in path) == [f"{tmp_path}/life{number}" for number in range(9)]


def test_it_has_a_session_of_its_own_and_no_nonce_of_this_run(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFCTL_NONCE", "0outer0outer0")
    guard = post.start()
    assert (guard.session, guard.parent) == (guard.pid, os.getpid())
    assert b"WFCTL_NONCE=0outer0outer0\0" in guard.environ() + b"\0"


def test_it_hears_no_signal_that_is_meant_for_the_engine(post: Post) -> None:
    guard = post.start()
    for name in "INT TERM HUP QUIT TSTP TTIN TTOU USR1 USR2 PIPE ALRM".split():
        os.kill(guard.pid, signal.Signals[f"SIG{name}"])
    assert not is_dead(post.guard.fd, 0.05)
    assert found().state == "S"


def test_when_it_dies_there_is_another(post: Post) -> None:
    first = post.start()
    os.kill(first.pid, signal.SIGKILL)
    assert is_dead(post.guard.fd)
    post.guard.replace()
    second = found()
    assert second.pid == post.guard.pid != first.pid
    assert not is_dead(post.guard.fd, 0)
    assert post.said == []


def test_stopped_it_is_gone_and_reaped(post: Post) -> None:
    guard = post.start()
    post.guard.stop()
    assert (post.guard.pid, post.guard.fd) == (-1, -1)
    assert not Path(f"/proc/{guard.pid}").exists()
    post.guard.stop()


def test_one_that_cannot_see_its_engine_does_not_take_it_for_dead(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:  # as if its numbers were those of another namespace
        elsewhere.setattr(os, "getpid", lambda: 1 << 30)
        post.guard.start()
    until(lambda: os.readlink(f"/proc/{post.guard.pid}/cwd") == "/" and found().state == "S")
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen(["sleep", "30"], start_new_session=True) as node:
        post.roster.enter(node.pid, before)
        time.sleep(0.3)  # longer than two looks
        assert node.poll() is None
        os.close(post.guard._lifeline)
        post.guard._lifeline = -1
        assert node.wait(DEADLINE) == -signal.SIGKILL


def test_one_that_cannot_be_started_is_told_once_and_tried_again(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    post.guard.start()
    post.guard.replace()
    assert (post.guard.pid, post.guard.fd) == (-1, -1)
    assert len(post.said) == 1
    assert post.said[0].startswith("no guard could be started (no such file or directory): if wfctl is killed now, ")
    monkeypatch.undo()
    post.guard.replace()
    assert post.guard.pid == found().pid


def test_one_that_dies_at_once_each_time_is_not_started_without_end(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr("wfctl.guard._QUICK", 1000.0)  # seconds: each that dies here has died at once
    post.guard.start()
    for _ in range(5):
        assert is_dead(post.guard.fd)
        post.guard.replace()
    assert (post.guard.pid, post.guard.fd) == (-1, -1)
    assert [text.partition(":")[0] for text in post.said] == ["the guard dies whenever it is started"]
    monkeypatch.undo()
    monkeypatch.setattr("wfctl.guard._QUICK", 0.0)  # some time has passed
    post.guard.replace()
    until(lambda: processes.guard_of(os.getpid()) is not None)  # its command line stands there a moment after its start
    assert post.guard.pid == found().pid


def test_waiting_it_has_loaded_next_to_nothing() -> None:
    heavy = "collections dataclasses enum functools json re signal socket subprocess threading typing".split()
    program = f"""if True:
        import sys; sys.path.insert(0, {str(ROOT)!r}); import wfctl.guard, wfctl.roster, wfctl.sweep
        print([name for name in {heavy} if name in sys.modules])"""
    shown = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


ENGINE = """
import os, signal, sys, time
from pathlib import Path
from wfctl.custody import Custody
from wfctl.store import RunFolder

folder = RunFolder("run", Path("runs/run").absolute())
folder.path.mkdir(parents=True)
custody = Custody.begin(folder, os.open(folder.lock, os.O_RDWR | os.O_CREAT), print)
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
os.setsid()
Path("child.new").write_text(str(os.getpid()))
Path("child.new").rename("child")
while not Path("go").exists():
    time.sleep(0.01)
os.execve("/bin/sleep", ["sleep", "100"], {"WFCTL_NONCE": custody.nonce})
"""


def test_it_waits_for_a_child_that_is_on_its_way_to_its_program(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    engine = subprocess.run([sys.executable, "-c", ENGINE], cwd=tmp_path, env=environ, check=False)
    assert engine.returncode == -signal.SIGKILL
    until((tmp_path / "child").exists)
    child = processes.look(int((tmp_path / "child").read_text()))
    assert child is not None
    time.sleep(0.3)  # longer than two looks: a guard that does not wait is done by now
    assert child.is_alive()
    (tmp_path / "go").touch()
    until(lambda: not child.is_alive())
    until(lambda: not (tmp_path / "live" / "run").exists())
