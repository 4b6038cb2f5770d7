"""What a dead engine has left of its run: who ends it, who tells of it, and who leaves it alone."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import CHILD, Command
from tests.helpers import processes
from wfctl import custody, sweep, upkeep
from wfctl.custody import Custody
from wfctl.errors import BusyError, ExitCode, StateError
from wfctl.leases import Meeting
from wfctl.roster import Roster
from wfctl.store import RunFolder, Store
from wfctl.twins import Twins

# Goes well once `open` is there, if nobody else holds the lock: an attempt that is alive still, say.
FLOW = f"version: 1\nnodes: {{a: {{run: 'test -e open && exec {CHILD} alone=held'}}}}\n"

Plant = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def folder(wfctl: Command, tmp_path: Path) -> RunFolder:
    """A run that has failed."""
    (tmp_path / "flow.yaml").write_text(FLOW)
    assert wfctl("run", "flow.yaml").returncode == 1
    return Store(tmp_path / ".wfctl").find_run("last")


@pytest.fixture
def plant(folder: RunFolder, tmp_path: Path) -> Iterator[Plant]:
    """Leaves a process of the run, as a dead engine and a dead guard do."""
    planted: list[subprocess.Popen[bytes]] = []

    def leave() -> subprocess.Popen[bytes]:
        nonce = os.urandom(8).hex()
        roster = Roster.create(str(folder.roster), nonce)
        words = [*CHILD.split(), "alone=held", "ready=planted", "hang"]
        env = {**os.environ, "WFCTL_NONCE": nonce}
        planted.append(subprocess.Popen(words, cwd=tmp_path, env=env, start_new_session=True))
        limit = time.monotonic() + 20
        while not (tmp_path / "planted").exists():
            assert time.monotonic() < limit
            time.sleep(0.005)
        roster.close()
        return planted[-1]

    yield leave
    for process in planted:
        process.kill()
        process.wait()


@pytest.fixture
def immortal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all that is left were another user's."""
    monkeypatch.setattr(sweep, "_kill", lambda process: False)


def test_resume_ends_it_before_it_starts_anything(
    wfctl: Command, folder: RunFolder, plant: Plant, tmp_path: Path
) -> None:
    left = plant()
    (tmp_path / "open").touch()
    resumed = wfctl("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert left.wait(10) == -signal.SIGKILL
    assert not folder.roster.exists()


@pytest.mark.parametrize("words", [["run", "flow.yaml"], ["clean"]], ids=" ".join)
def test_other_commands_in_the_state_folder_end_it_and_tell(
    words: list[str], wfctl: Command, folder: RunFolder, plant: Plant
) -> None:
    left = plant()
    ended = wfctl(*words)
    assert f"wfctl: ended what was left of run {folder.id}: 1 process\n" in ended.stderr
    assert left.wait(10) == -signal.SIGKILL
    assert not folder.roster.exists()


def test_cancel_ends_it_and_tells_and_then_finds_nothing_more(wfctl: Command, folder: RunFolder, plant: Plant) -> None:
    left = plant()
    cancelled = wfctl("cancel", "last")
    assert cancelled.returncode == 0
    assert f"ended what was left of run {folder.id}: 1 process" in cancelled.stderr
    assert left.wait(10) == -signal.SIGKILL
    assert wfctl("cancel", "last").returncode == 2


def test_who_only_looks_leaves_it_alone(wfctl: Command, folder: RunFolder, plant: Plant) -> None:
    left = plant()
    for words in (["status"], ["runs"], ["logs", "last"], ["clean", "--dry-run"], ["plan", "flow.yaml"]):
        assert wfctl(*words).returncode == 0
    assert left.poll() is None
    assert folder.roster.exists()


def test_of_a_run_whose_folder_is_gone_it_is_ended_too(wfctl: Command, folder: RunFolder, plant: Plant) -> None:
    left = plant()
    shutil.rmtree(folder.path)
    wfctl("run", "flow.yaml")
    assert left.wait(10) == -signal.SIGKILL
    assert not folder.roster.exists()


def test_a_run_that_lives_is_left_alone(folder: RunFolder, tmp_path: Path) -> None:
    said: list[str] = []
    with Custody.begin(folder, os.open(folder.lock, os.O_RDWR), said.append):
        custody.end_others(Store(tmp_path / ".wfctl"), said.append)
        assert folder.roster.exists()
    assert not folder.roster.exists()
    assert said == []


def test_where_another_has_the_processes_though_the_lock_is_free_nothing_is_started(
    folder: RunFolder, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = plant()
    monkeypatch.setattr(sweep, "LIMIT", -1)
    with open(folder.roster, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=f'the processes of run "{folder.id}" are in the hands of another wfctl'):
            custody.end_own(folder, lambda text: None)
    assert left.poll() is None


def test_what_cannot_be_ended_is_named_and_nothing_is_started(folder: RunFolder, plant: Plant, immortal: None) -> None:
    left = plant()
    with pytest.raises(StateError) as refused:
        custody.end_own(folder, lambda text: None)
    assert refused.value.code == ExitCode.STATE
    text = str(refused.value)
    assert text.startswith(f'of run "{folder.id}" a process is alive and cannot be ended: {left.pid} ({sys.executable}')
    assert text.endswith(f"; end them (sudo kill -9 {left.pid}), then try again")
    assert folder.roster.exists()


def test_what_cannot_be_ended_of_another_run_is_a_warning_and_that_run_is_kept(
    folder: RunFolder, plant: Plant, immortal: None, tmp_path: Path
) -> None:
    left = plant()
    said: list[str] = []
    gone = upkeep.clean(Store(tmp_path / ".wfctl"), older_than=0, keep_last=0, dry_run=False, warn=said.append)
    assert gone == []
    assert len(said) == 1
    assert f"cannot be ended: {left.pid} (" in said[0]


def test_a_damaged_list_of_processes_is_told_and_stops_nothing(
    wfctl: Command, folder: RunFolder, tmp_path: Path
) -> None:
    folder.roster.write_bytes(b"\0" * 100)
    (tmp_path / "open").touch()
    resumed = wfctl("resume", "last")
    assert resumed.returncode == 0
    assert f"the list of the processes of run {folder.id} is damaged" in resumed.stderr


def test_where_no_list_can_be_made_no_run_begins(wfctl: Command, folder: RunFolder, tmp_path: Path) -> None:
    live = tmp_path / ".wfctl" / "live"
    live.rmdir()
    live.write_text("")
    refused = wfctl("run", "flow.yaml")
    assert refused.returncode == 6
    assert f'wfctl: cannot make "{live}/' in refused.stderr


def test_a_process_that_has_not_left_at_the_end_is_named(folder: RunFolder, immortal: None) -> None:
    with Custody.begin(folder, os.open(folder.lock, os.O_RDWR), lambda text: None) as kept:
        kept.refuse_survivors(folder.id)
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        process = subprocess.Popen(["sleep", "100"], start_new_session=True)
        slot = kept.roster.enter(process.pid, before)
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # begun, and for a moment without its words
            os.sched_yield()
        with pytest.raises(StateError, match=rf"cannot be ended: {process.pid} \(sleep 100\)"):
            kept.refuse_survivors(folder.id)
        process.kill()
        process.wait()
        kept.roster.leave(slot)


def test_what_the_run_shares_with_others_is_had_by_its_guard_too_and_left_at_the_end_the_last_first(
    folder: RunFolder, tmp_path: Path
) -> None:
    left: list[str] = []
    join = [coming(tmp_path / name, left) for name in ("one", "two")]
    with Custody.begin(folder, os.open(folder.lock, os.O_RDWR), lambda text: None, join) as kept:
        assert [one.life > 0 for one in kept.joined] == [True, True]
        guard = Path(f"/proc/{kept.guard.pid}")
        limit = time.monotonic() + 20
        while os.readlink(guard / "cwd") != "/":  # it has closed by then what is not for it
            assert time.monotonic() < limit
            os.sched_yield()
        lives = {os.path.realpath(f"/proc/self/fd/{one.life}") for one in kept.joined}
        assert lives <= {os.path.realpath(path) for path in (guard / "fd").iterdir()}  # others of it come and go
    assert left == ["two", "one"]


def test_where_it_cannot_share_all_it_leaves_what_it_has_and_nothing_is_begun(
    folder: RunFolder, tmp_path: Path
) -> None:
    left: list[str] = []
    (tmp_path / "two").touch()
    join = [coming(tmp_path / name, left) for name in ("one", "two")]
    with pytest.raises(StateError, match="runs cannot share results by"):
        Custody.begin(folder, os.open(folder.lock, os.O_RDWR), lambda text: None, join)
    assert left == ["one"]
    assert not folder.roster.exists()


def coming(ground: Path, left: list[str]) -> Callable[[str, str], Meeting]:
    """How a run comes to share something; it is noted when it leaves."""

    class Noted(Twins):
        def close(self) -> None:
            left.append(ground.name)
            super().close()

    return lambda nonce, roster: Noted.join(ground / "twins" / "boot", run="run", nonce=nonce, roster=roster)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_impatient_at_the_end_does_not_leave_half_of_it_undone(
    number: int, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Custody.begin(folder, os.open(folder.lock, os.O_RDWR), lambda text: None) as kept:
        stop = kept.guard.stop

        def impatient() -> None:
            os.kill(os.getpid(), number)
            stop()

        monkeypatch.setattr(kept.guard, "stop", impatient)
        before = signal.getsignal(number)
    assert not folder.roster.exists()
    assert signal.getsignal(number) is before


def test_when_a_run_has_ended_there_is_neither_guard_nor_list(wfctl: Command, folder: RunFolder) -> None:
    assert os.listdir(folder.roster.parent) == []
    assert [p for p in processes.everyone() if str(folder.roster) in p.command] == []
