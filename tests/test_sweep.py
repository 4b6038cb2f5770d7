"""Which processes a sweep ends, and which it leaves alone: with real ones, whose engine there never was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import CHILD, ROOT
from tests.helpers import processes
from wfctl import roster, sweep
from wfctl.roster import Entries, Roster

BARE = f"env -i {CHILD}"
DEADLINE = 20.0


class Leftovers:
    """Processes of a run that is said to be dead, and its roster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nonce = os.urandom(8).hex()
        self.roster = Roster.create(f"{folder}/live/run", self.nonce)
        self.seen: list[processes.Process] = []
        self._started: list[subprocess.Popen[bytes]] = []

    def entries(self) -> Entries:
        return roster.read(self.roster.fd)

    def start(self, *argv: str, nonce: str | None = None, enter: bool = False) -> subprocess.Popen[bytes]:
        """Start a leader of a session: with the run's nonce, or another, or none ("")."""
        env = {k: v for k, v in os.environ.items() if k != "WFCTL_NONCE"}
        said = self.nonce if nonce is None else nonce
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        process = subprocess.Popen(
            argv, cwd=self.folder, start_new_session=True, env={**env, **({"WFCTL_NONCE": said} if said else {})}
        )
        if enter:
            self.roster.enter(process.pid, before)
        self._started.append(process)
        return process

    def look(self, pid: int) -> processes.Process:
        found = processes.look(pid)
        assert found is not None
        return found

    def child(self, name: str) -> processes.Process:
        """The process whose pid is told in that file."""
        limit = time.monotonic() + DEADLINE
        while not (self.folder / name).exists():
            assert time.monotonic() < limit, f"{name} never came"
            time.sleep(0.005)
        self.seen.append(self.look(int((self.folder / name).read_text())))
        return self.seen[-1]

    def end(self) -> None:
        processes.kill(self.seen)
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.roster.close()


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Leftovers]:
    leftovers = Leftovers(tmp_path)
    yield leftovers
    leftovers.end()


# What is ended


def test_the_nonce_in_the_environment_finds_it_wherever_it_went(left: Leftovers) -> None:
    left.start(*CHILD.split(), "double=daemon", "ready=ready", "exit=0").wait()
    daemon = left.child("daemon")
    assert (daemon.parent, daemon.session) != (os.getpid(), os.getsid(0))
    swept = sweep.sweep(left.entries())
    assert (swept.ended, swept.left, swept.is_clean) == (1, [], True)
    assert not daemon.is_alive()


def test_the_nonce_may_be_one_of_several(left: Leftovers) -> None:
    inner = left.start("sleep", "100", nonce=f"outer:{left.nonce}:inner")
    sweep.sweep(left.entries())
    assert inner.wait(DEADLINE) == -signal.SIGKILL


def test_a_recorded_leader_is_ended_with_its_session_whatever_the_environment(left: Leftovers) -> None:
    leader = left.start("sh", "-c", f"{BARE} fork=orphan exit=0; sleep 100", nonce="", enter=True)
    orphan = left.child("orphan")
    assert orphan.session == leader.pid
    assert sweep.sweep(left.entries()).ended >= 2
    assert leader.wait(DEADLINE) == -signal.SIGKILL
    assert not orphan.is_alive()


def test_what_descends_from_one_that_belongs_is_ended_though_it_hides(left: Leftovers) -> None:
    left.start("sh", "-c", f"setsid {BARE} fork=hidden wait=never & sleep 100")
    hidden = left.child("hidden")
    assert left.nonce.encode() not in hidden.environ()
    sweep.sweep(left.entries())
    assert not hidden.is_alive()


def test_one_that_ignores_signals_or_is_stopped_is_ended(left: Leftovers) -> None:
    deaf = left.start(*CHILD.split(), "ignore=TERM", "ready=deaf", "hang")
    stopped = left.start(*CHILD.split(), "stop")
    sweep.sweep(left.entries())
    assert [process.wait(DEADLINE) for process in (deaf, stopped)] == [-signal.SIGKILL] * 2


def test_one_whose_first_thread_has_ended_is_ended(left: Leftovers) -> None:
    program = "from ctypes import CDLL; from threading import *; Thread(target=Event().wait).start(); "
    process = left.start(sys.executable, "-c", f"{program} CDLL(None).pthread_exit(0)", enter=True)
    limit = time.monotonic() + DEADLINE
    while b") Z" not in Path(f"/proc/{process.pid}/stat").read_bytes():
        assert time.monotonic() < limit
        time.sleep(0.005)
    sweep.sweep(left.entries())
    assert process.wait(DEADLINE) == -signal.SIGKILL


def test_one_that_is_another_process_each_moment_is_ended(left: Leftovers) -> None:
    hop = "import os, time\nwhile True:\n if os.fork(): os._exit(0)\n time.sleep(0.005)\n open('hops', 'a').write('x')"
    left.start(sys.executable, "-c", hop).wait()
    limit = time.monotonic() + DEADLINE
    while not (left.folder / "hops").exists():
        assert time.monotonic() < limit
        time.sleep(0.005)
    assert sweep.sweep(left.entries()).is_clean
    hops = (left.folder / "hops").stat().st_size
    assert processes.with_text(f"WFCTL_NONCE={left.nonce}") == []
    assert (left.folder / "hops").stat().st_size == hops


def test_a_child_that_was_on_its_way_to_its_program_is_waited_for(left: Leftovers) -> None:
    late: list[subprocess.Popen[bytes]] = []

    def settled() -> bool:
        if len(late) < 3:
            late.append(left.start("sleep", "100"))
            return False
        return True

    assert sweep.sweep(left.entries(), settled=settled).is_clean
    assert [process.wait(DEADLINE) for process in late] == [-signal.SIGKILL] * 3


def test_what_never_settles_is_given_up_and_told(left: Leftovers) -> None:
    swept = sweep.sweep(left.entries(), limit=0.2, settled=lambda: False)
    assert (swept.left, swept.settled, swept.is_clean) == ([], False, False)


# What is left alone


def strange(left: Leftovers, change: Callable[[Entries], None]) -> bool:
    """Whether a process of the run lives through a sweep by a roster that was changed so."""
    process = left.start("sleep", "100", enter=True)
    entries = left.entries()
    change(entries)
    swept = sweep.sweep(entries)
    return (swept.ended, swept.left) == (0, []) and process.poll() is None


def test_after_a_reboot_nobody_is_touched(left: Leftovers) -> None:
    assert strange(left, lambda entries: setattr(entries, "boot", "1b4e28ba-2fa1-11d2-883f-b9a761bde3fb"))


def test_where_the_boot_cannot_be_told_nobody_is_touched_and_that_is_said(left: Leftovers) -> None:
    assert strange(left, lambda entries: setattr(entries, "boot", ""))
    assert not sweep.sweep(Entries()).known


def test_one_that_is_older_than_the_run_is_not_touched(left: Leftovers) -> None:
    assert strange(left, lambda entries: setattr(entries, "began", entries.began + 1000))


def test_a_stranger_with_a_recorded_number_is_not_touched(left: Leftovers) -> None:
    stranger = left.start("sh", "-c", "sleep 100 & sleep 100", nonce="")
    started = left.look(stranger.pid).started
    entries = left.entries()
    entries.leaders[stranger.pid] = started - 100, started - 50
    assert sweep.sweep(entries).ended == 0
    assert stranger.poll() is None


@pytest.mark.parametrize("nonce", ["", ":", "0123456789abcdef", "x"])
def test_one_of_another_run_or_of_none_is_not_touched(left: Leftovers, nonce: str) -> None:
    other = left.start("env", f"WFCTL_NONCE={nonce}", f"OTHER={left.nonce}", "sleep", "100", nonce="")
    assert sweep.sweep(left.entries()).ended == 0
    assert other.poll() is None


def test_without_a_nonce_the_environment_tells_nothing(left: Leftovers) -> None:
    other = left.start("env", "WFCTL_NONCE=", "sleep", "100", nonce="")
    entries = left.entries()
    entries.nonce = ""
    sweep.sweep(entries)
    assert other.poll() is None


def test_who_sweeps_and_those_it_descends_from_are_not_touched(left: Leftovers) -> None:
    left.roster.close()
    program = f"import sys; sys.path.insert(0, '{ROOT}'); from wfctl import sweep; print(sweep.clear('live/run').ended)"
    (left.folder / "sweeper.py").write_text(program)
    shell = left.start("sh", "-c", f"sleep 100 & '{sys.executable}' sweeper.py > ended; echo yes > lived")
    assert shell.wait(DEADLINE) == 0
    assert [(left.folder / name).read_text() for name in ("ended", "lived")] == ["1\n", "yes\n"]


def test_zombies_are_not_alive(left: Leftovers) -> None:
    process = left.start("true", enter=True)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    swept = sweep.sweep(left.entries())
    assert (swept.ended, swept.is_clean) == (0, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user's processes to end")
def test_one_that_may_not_be_ended_is_named_and_not_waited_for(left: Leftovers) -> None:
    process = left.start("sleep", "100", enter=True)
    os.setresuid(65534, 65534, 0)
    try:
        began = time.monotonic()
        swept = sweep.sweep(left.entries())
    finally:
        os.setresuid(0, 0, 0)
    assert time.monotonic() - began < sweep.LIMIT / 2
    assert [(found.pid, found.command) for found in swept.left] == [(process.pid, ["sleep", "100"])]
    assert (swept.ended, swept.is_clean) == (0, False)


def test_taken_out_for_a_negative_control_it_does_nothing(left: Leftovers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFCTL_TEST_WITHOUT", "sweep")
    assert strange(left, lambda entries: None)


# By a roster's name


def test_the_roster_goes_when_all_has_ended(left: Leftovers) -> None:
    process = left.start("sleep", "100")
    left.roster.close()
    swept = sweep.clear(left.roster.path)
    assert swept is not None
    assert (swept.ended, process.wait(DEADLINE)) == (1, -signal.SIGKILL)
    assert not os.path.exists(left.roster.path)
    assert sweep.clear(left.roster.path) is None


def test_the_roster_of_a_live_run_is_left_alone(left: Leftovers) -> None:
    process = left.start("sleep", "100")
    assert sweep.clear(left.roster.path) is None
    assert process.poll() is None
    assert os.path.exists(left.roster.path)


def test_an_empty_roster_is_one_whose_engine_died_before_its_first_word(left: Leftovers) -> None:
    os.truncate(left.roster.path, 0)
    left.roster.close()
    swept = sweep.clear(left.roster.path)
    assert swept is not None
    assert (swept.known, os.path.exists(left.roster.path)) == (True, False)


def test_a_damaged_roster_goes_too_and_that_is_said(left: Leftovers) -> None:
    Path(left.roster.path).write_bytes(b"\0" * 4096)
    left.roster.close()
    swept = sweep.clear(left.roster.path)
    assert swept is not None
    assert (swept.known, os.path.exists(left.roster.path)) == (False, False)
