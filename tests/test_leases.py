"""Budgets, devices and locks that real processes share: what one has no other has, and a dead one has nothing."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.conftest import ROOT
from tests.helpers import processes
from wfctl import leases as room
from wfctl.claims import Share
from wfctl.errors import Bug, BusyError, StateError
from wfctl.leases import Lease, Leases, Meeting, Refused
from wfctl.roster import Roster

DEADLINE = 20.0
GPUS = {"gpu": Share(2, devices=("0", "1"))}


children: list[int] = []
lines: list[socket.socket] = []
ends: list[int] = []


def piped() -> tuple[int, int]:
    """A pipe that is closed when the test is over."""
    pipe = os.pipe()
    ends.extend(pipe)
    return pipe


def forked(work: Callable[[], object]) -> int:
    """The pid of a child that does this and nothing else, and does not outlive the test."""
    pid = os.fork()
    children.append(pid)
    if pid == 0:
        code = 70
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    children.remove(pid)


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    while children:
        killed(children[-1])
    while lines:
        lines.pop().close()
    while ends:
        os.close(ends.pop())


class Run:
    """A run in a process of its own, that does what it is told: `run.take(…)`, with a number for a lease."""

    def __init__(self, folder: Path, run: str, shares: Mapping[str, Share], **more: Any) -> None:
        self._line, theirs = socket.socketpair()
        lines.append(self._line)
        self.nonce = more.setdefault("nonce", os.urandom(8).hex())
        self.pid = forked(lambda: self._serve(theirs, folder, shares, run, more))
        theirs.close()
        assert self._heard() == "joined"

    def tell(self, verb: str, *words: object, **more: object) -> None:
        self._line.send(pickle.dumps((verb, words, more)))

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def ask(*words: object, **more: object) -> Any:
            self.tell(verb, *words, **more)
            return self._heard()

        return ask

    def is_silent(self, seconds: float = 0.0) -> bool:
        return not select.select([self._line], [], [], seconds)[0]

    def _heard(self) -> Any:
        assert not self.is_silent(DEADLINE), "no answer"
        answer = pickle.loads(self._line.recv(1 << 16))
        if isinstance(answer, BaseException):
            raise answer
        return answer

    heard = _heard

    def kill(self) -> None:
        killed(self.pid)

    def join(self, folder: Path, shares: Mapping[str, Share], run: str, more: Any) -> Meeting:
        return Leases.join(folder, shares, run=run, **more)

    def _serve(self, line: socket.socket, folder: Path, shares: Mapping[str, Share], run: str, more: Any) -> None:
        self._line.close()  # else we would never hear that the test is over
        leases = self.join(folder, shares, run, more)
        taken: list[Lease] = []
        answer: object = "joined"
        while True:
            line.send(pickle.dumps(answer))
            if not (message := line.recv(1 << 16)):
                return
            verb, words, named = pickle.loads(message)
            try:
                if verb == "release" and isinstance(words[0], int):
                    words = (taken[words[0]],)
                answer = self._awake(leases) if verb == "awake" else getattr(leases, verb)(*words, **named)
            except Exception as error:
                answer = error
            if isinstance(answer, Lease):
                taken.append(answer)

    def _awake(self, leases: Meeting) -> str:
        """Sleep until somebody rings."""
        select.select([leases.fd], [], [])
        leases.woken()
        return "awake"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "wfctl" / "leases" / "boot"


@pytest.fixture
def start(folder: Path) -> Callable[..., Run]:
    return lambda run, shares, **more: Run(folder, run, shares, **more)


def held_by(answer: object) -> list[str]:
    assert isinstance(answer, Refused)
    return [holder.run for holder in answer.holders]


def devices(answer: object) -> tuple[str, ...]:
    assert isinstance(answer, Lease), answer
    return answer.devices["gpu"]


Start = Callable[..., Run]

# What is taken


def test_what_one_run_holds_no_other_can_take_until_it_is_released(start: Start) -> None:
    one, two = start("one", {"licence": Share(3)}), start("two", {"licence": Share(3)})
    assert one.take({"licence": 2}) == Lease({"licence": 2}, {})
    assert held_by(two.take({"licence": 2})) == ["one"]
    assert isinstance(two.take({"licence": 1}), Lease)
    one.release(0)
    assert isinstance(two.take({"licence": 2}), Lease)
    assert held_by(one.take({"licence": 1})) == ["two"]


def test_all_is_taken_at_once_or_nothing(start: Start) -> None:
    shares = {"licence": Share(1), "memory": Share(1 << 40)}
    one, two = start("one", shares), start("two", shares)
    one.take({"licence": 1})
    assert held_by(two.take({"memory": 1 << 40, "licence": 1})) == ["one"]
    assert isinstance(one.take({"memory": 1 << 40}), Lease)


def test_no_two_leases_have_a_device_in_common(start: Start) -> None:
    one, two = start("one", GPUS), start("two", GPUS)
    assert devices(one.take({"gpu": 1})) == ("0",)
    assert devices(two.take({"gpu": 1})) == ("1",)
    assert held_by(two.take({"gpu": 1})) == ["one"]
    one.release(0)
    assert devices(two.take({"gpu": 1})) == ("0",)


def test_who_is_refused_is_told_for_whom_it_waits(start: Start) -> None:
    one, two = start("20260131-120000-abc", GPUS), start("two", GPUS)
    one.take({"gpu": 2})
    refused = two.take({"gpu": 1})
    assert str(refused).startswith(f"waits for run 20260131-120000-abc (pid {one.pid}, ")
    assert [holder.pid for holder in refused.holders] == [one.pid]


def test_what_a_run_itself_holds_is_nobody_else_s_fault(start: Start) -> None:
    one = start("one", GPUS)
    one.take({"gpu": 2})
    assert str(one.take({"gpu": 1})) == "waits for this run itself"


def test_what_is_released_twice_is_a_bug_of_ours(start: Start) -> None:
    one = start("one", GPUS)
    one.take({"gpu": 1})
    one.release(0)
    with pytest.raises(Bug):
        one.release(0)


def test_a_smaller_budget_holds_while_its_run_lives(start: Start) -> None:
    one, two = start("one", {"licence": Share(4)}), start("two", {"licence": Share(1)})
    assert held_by(one.take({"licence": 2})) == ["two"]
    one.wait_for({"licence": 2})
    one.tell("awake")
    two.close()
    assert one.heard() == "awake"
    assert isinstance(one.take({"licence": 2}), Lease)


# Who dies


def test_what_a_killed_run_held_is_free_and_who_waits_is_woken(start: Start) -> None:
    one, two = start("one", GPUS), start("two", GPUS)
    one.take({"gpu": 2})
    two.wait_for({"gpu": 2})
    two.tell("awake")
    assert two.is_silent()
    one.kill()
    assert two.heard() == "awake"
    assert devices(two.take({"gpu": 2})) == ("0", "1")


def test_of_a_killed_run_nothing_is_left_once_another_has_looked(start: Start, folder: Path) -> None:
    one, two = start("one", GPUS), start("two", GPUS)
    one.kill()
    two.take({"gpu": 1})
    assert sorted(os.listdir(folder)) == sorted(["mutex", two.nonce, f"{two.nonce}.life"])
    two.close()
    assert os.listdir(folder) == ["mutex"]


class Guarded:
    """A run whose guard, a process of its own, has the run's life too. It leaves when it is told to."""

    def __init__(self, folder: Path) -> None:
        ready, self._begun = piped()
        lifeline, self._lifeline = piped()
        order, self._order = piped()

        def guard() -> None:
            os.close(self._lifeline)
            os.write(self._begun, b"%10d" % os.getpid())
            os.read(lifeline, 1)

        def engine() -> None:
            leases = Leases.join(folder, GPUS, run="guarded", nonce="guarded")
            leases.take({"gpu": 2})
            forked(guard)
            os.read(order, 1)
            leases.close()
            os.write(self._begun, b"!")
            signal.pause()

        self.pid = forked(engine)
        self._ready = ready
        self.guard = int(os.read(ready, 10))

    def leave(self) -> None:
        os.write(self._order, b"!")
        os.read(self._ready, 1)

    def kill(self) -> None:
        killed(self.pid)

    def kill_guard(self) -> None:
        os.kill(self.guard, signal.SIGKILL)


def test_all_stays_claimed_while_a_guard_has_the_run_s_life(start: Start, folder: Path) -> None:
    two, one = start("two", GPUS), Guarded(folder)
    one.kill()
    assert held_by(two.take({"gpu": 1})) == ["guarded"]
    two.wait_for({"gpu": 2})
    two.tell("awake")
    assert two.is_silent()
    one.kill_guard()
    assert two.heard() == "awake"
    assert devices(two.take({"gpu": 2})) == ("0", "1")


def test_what_a_run_held_that_has_left_is_free_though_its_guard_is_still_there(start: Start, folder: Path) -> None:
    two, one = start("two", GPUS), Guarded(folder)
    two.wait_for({"gpu": 2})
    two.tell("awake")
    assert two.is_silent()
    one.leave()
    assert two.heard() == "awake"
    assert devices(two.take({"gpu": 2})) == ("0", "1")
    one.kill()
    one.kill_guard()


def test_what_a_run_has_left_without_a_guard_is_ended_before_its_devices_are_given_out(
    start: Start, tmp_path: Path
) -> None:
    path, nonce = f"{tmp_path}/live/one", os.urandom(8).hex()
    told, tell = piped()
    one = start("one", GPUS, nonce=nonce, roster=path)
    one.take({"gpu": 2})

    def engine() -> None:  # what the driver does beside
        Roster.create(path, nonce)
        node = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={"WFCTL_NONCE": nonce})
        os.write(tell, str(node.pid).encode())
        signal.pause()

    other = forked(engine)
    node = int(os.read(told, 100))
    killed(other)
    one.kill()
    assert processes.alive(node)
    assert devices(start("two", GPUS).take({"gpu": 1})) == ("0",)
    assert not processes.alive(node)
    assert not os.path.exists(path)


def test_a_run_that_is_driven_again_is_not_taken_for_what_is_left_of_it(start: Start, tmp_path: Path) -> None:
    path = f"{tmp_path}/live/one"
    one = start("one", GPUS, nonce="0123456789abcdef", roster=path)
    one.take({"gpu": 2})
    one.kill()
    Roster.create(path, "fedcba9876543210").close()
    assert devices(start("two", GPUS).take({"gpu": 1})) == ("0",)
    assert os.path.exists(path)


# Who waits


def test_who_waits_is_woken_by_a_release_and_by_nothing_else(start: Start) -> None:
    shares = {"licence": Share(2), "memory": Share(100)}
    one, two = start("one", shares), start("two", shares)
    one.take({"licence": 2})
    two.wait_for({"licence": 1})
    two.tell("awake")
    one.take({"memory": 50})
    assert two.is_silent()
    one.release(0)
    assert two.heard() == "awake"
    two.take({"licence": 1})
    two.tell("awake")
    one.release(1)
    assert two.is_silent()


def test_who_waits_sleeps(start: Start) -> None:
    one, two = start("one", GPUS), start("two", GPUS)
    one.take({"gpu": 2})
    two.wait_for({"gpu": 1})
    before = switches(two.pid)
    two.tell("awake")
    until(lambda: asleep(two.pid) and switches(two.pid) > before)
    before = switches(two.pid)
    for _ in range(10):
        one.take({"gpu": 1})
    assert switches(two.pid) == before


def switches(pid: int) -> int:
    """How often a process has gone to sleep."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def asleep(pid: int) -> bool:
    process = processes.look(pid)
    return process is not None and process.state == "S"


def until(fact: Callable[[], bool]) -> None:
    limit = time.monotonic() + DEADLINE
    while not fact():
        assert time.monotonic() < limit
        os.sched_yield()


def test_what_came_free_since_it_was_refused_is_not_missed(start: Start) -> None:
    one, two = start("one", GPUS), start("two", GPUS)
    one.take({"gpu": 2})
    two.take({"gpu": 1})
    one.release(0)
    two.wait_for({"gpu": 1})
    assert two.awake() == "awake"


def test_who_comes_while_one_waits_wakes_it_for_its_own_end_may_matter(start: Start) -> None:
    one, two = start("one", {"licence": Share(2)}), start("two", {"licence": Share(2)})
    one.take({"licence": 1})
    two.wait_for({"licence": 2})
    three = start("three", {"licence": Share(1)})
    assert two.awake() == "awake"
    one.release(0)
    assert two.awake() == "awake"
    assert held_by(two.take({"licence": 2})) == ["three"]
    two.tell("awake")
    three.kill()
    assert two.heard() == "awake"
    assert isinstance(two.take({"licence": 2}), Lease)


def test_one_that_needs_much_does_not_starve_behind_small_ones(start: Start) -> None:
    shares = {"memory": Share(10)}
    large, *small = [start(name, shares) for name in ("large", "a", "b")]
    for one in small:
        one.take({"memory": 2})
    assert held_by(large.take({"memory": 8})) == ["a", "b"]
    large.wait_for({"memory": 8})
    for one in small:
        assert "large" in held_by(one.take({"memory": 2}))
        one.release(0)
    assert large.awake() == "awake"
    assert isinstance(large.take({"memory": 8}), Lease)
    assert isinstance(small[0].take({"memory": 2}), Lease)


def test_one_that_may_still_be_passed_is_woken_all_the_same(start: Start) -> None:
    one, two = start("one", {"memory": Share(10)}), start("two", {"memory": Share(10)})
    one.take({"memory": 3})
    two.wait_for({"memory": 8}, passable=True)
    assert isinstance(one.take({"memory": 7}), Lease)
    two.wait_for({"memory": 8})
    one.release(1)
    assert two.awake() == "awake"
    assert held_by(one.take({"memory": 7})) == ["two"]


def test_who_leaves_the_line_lets_the_next_one_go(start: Start) -> None:
    one, two, three = (start(name, {"memory": Share(10)}) for name in ("one", "two", "three"))
    one.take({"memory": 3})
    two.wait_for({"memory": 8})
    assert held_by(three.take({"memory": 5})) == ["two"]
    three.wait_for({"memory": 5})
    two.wait_for(None)
    assert three.awake() == "awake"
    assert isinstance(three.take({"memory": 5}), Lease)


def test_who_wants_something_else_now_keeps_its_place_in_line(start: Start) -> None:
    one, two, three = (start(name, {"memory": Share(10)}) for name in ("one", "two", "three"))
    one.take({"memory": 9})
    two.wait_for({"memory": 8})
    three.wait_for({"memory": 9})
    two.wait_for({"memory": 7})
    assert held_by(three.take({"memory": 9})) == ["one", "two"]
    assert held_by(two.take({"memory": 7})) == ["one"]


def test_two_runs_that_need_the_same_two_kinds_both_come_to_their_end(folder: Path) -> None:
    shares = {"licence": Share(1), "memory": Share(8)}

    def drive(first: str, second: str) -> None:
        with Leases.join(folder, shares, run=first, nonce=os.urandom(8).hex()) as leases:
            for wants in [{first: 1}, {first: 1, second: 1}, {second: 1}] * 100:
                while isinstance(lease := leases.take(wants), Refused):
                    leases.wait_for(wants)
                    assert select.select([leases.fd], [], [], DEADLINE)[0]
                    leases.woken()
                leases.release(lease)

    pids = [forked(lambda: drive("licence", "memory")), forked(lambda: drive("memory", "licence"))]
    assert [os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT).si_status for pid in pids] == [0, 0]  # type: ignore[union-attr]
    assert os.listdir(folder) == ["mutex"]


# What is damaged


def newer(line: bytes) -> bytes:
    import zlib

    text = json.dumps({**json.loads(line.partition(b" ")[2]), "format": 99}).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "not ours": lambda path: path.write_bytes(b"hello\n"),
    "gone": lambda path: path.unlink(),
    "newer": lambda path: path.write_bytes(newer(path.read_bytes().split(b"\n")[0])),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_is_given_out_while_the_claims_of_a_live_run_are_damaged_and_it_mends_them(
    start: Start, folder: Path, damage: str
) -> None:
    one, two = start("one", GPUS), start("two", GPUS)
    one.take({"gpu": 1})
    DAMAGES[damage](folder / one.nonce)
    assert "are damaged" in str(two.take({"gpu": 1}))
    two.wait_for({"gpu": 1})
    assert one.awake() == "awake"
    assert two.awake() == "awake"
    assert devices(two.take({"gpu": 1})) == ("1",)
    assert held_by(two.take({"gpu": 1})) == ["one"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_claims_of_a_dead_run_are_in_nobody_s_way(start: Start, folder: Path, damage: str) -> None:
    one, two = start("one", GPUS), start("two", GPUS)
    one.take({"gpu": 2})
    DAMAGES[damage](folder / one.nonce)
    one.kill()
    assert devices(two.take({"gpu": 2})) == ("0", "1")


def test_who_empties_the_folder_under_live_runs_stops_them(start: Start, folder: Path) -> None:
    one = start("one", GPUS)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(StateError, match="was emptied while a run shares by it"):
        one.take({"gpu": 1})


# Locks


def test_a_lock_is_held_as_long_as_its_run_lives(start: Start) -> None:
    one, two = start("one", {}, lock="deploy"), start("two", {}, lock="deploy")
    assert one.hold() is True
    assert two.hold("skip") is False
    with pytest.raises(BusyError, match=rf'^lock "deploy" is held by run one \(pid {one.pid}, .*\); wait for its end'):
        two.hold("fail")
    assert start("three", {}, lock="another").hold("fail") is True
    one.close()
    assert two.hold("fail") is True


def test_those_who_wait_for_a_lock_get_it_in_their_order_when_its_run_is_killed(start: Start, folder: Path) -> None:
    one, two, three = (start(name, {}, lock="deploy") for name in ("one", "two", "three"))
    one.hold()
    for run in (two, three):
        run.tell("hold", "wait")
        until(lambda path=folder / run.nonce: b'"ticket":0' not in path.read_bytes())  # type: ignore[misc]
    one.kill()
    assert two.heard() is True
    assert three.is_silent()
    two.kill()
    assert three.heard() is True


def test_who_waits_for_a_lock_says_for_whom(start: Start, folder: Path) -> None:
    one = start("one", {}, lock="deploy")
    one.hold()
    said, say = piped()

    def tell(text: str) -> None:
        os.write(say, text.encode())

    def wait() -> None:
        leases = Leases.join(folder, {}, run="two", nonce="two", lock="deploy")
        leases.hold("wait", tell)
        tell("mine")

    forked(wait)
    assert os.read(said, 1000).decode().startswith(f'lock "deploy": waits for run one (pid {one.pid}, ')
    one.kill()
    assert os.read(said, 1000) == b"mine"


# The folder


def test_all_runs_of_a_user_meet_in_one_folder_whatever_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    at_home = room.folder({})
    assert at_home.is_absolute()
    for environ in ({"HOME": "/elsewhere"}, {"XDG_RUNTIME_DIR": "/run/user/0"}, {"XDG_STATE_HOME": "relative"}):
        assert room.folder(environ) == at_home
    assert room.folder({"XDG_STATE_HOME": "/states"}).parts[:4] == ("/", "states", "wfctl", "leases")
    monkeypatch.setattr(os, "geteuid", lambda: 1_999_999_999)
    assert room.folder({"HOME": "/the/home"}).is_relative_to("/the/home/.local/state/wfctl/leases")
    with pytest.raises(StateError, match="set XDG_STATE_HOME"):
        room.folder({})


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_what_is_made_is_ours_alone_whatever_the_umask(folder: Path, umask: int) -> None:
    folder.parents[2].mkdir(exist_ok=True)
    before = os.umask(umask)
    try:
        leases = Leases.join(folder, GPUS, run="one", nonce="one")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (folder.parents[1], folder, *folder.iterdir())}
    assert modes == {"wfctl": "0o700", "boot": "0o700", "mutex": "0o600", "one": "0o600", "one.life": "0o600"}
    leases.close()


def link(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "target").mkdir()
    path.symlink_to("target")


def foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    path.mkdir(parents=True)
    os.chown(path, 12345, -1)


def open_to_all(path: Path) -> None:
    path.mkdir(parents=True)
    path.chmod(0o777)


def file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize("level", range(3))
@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (link, "is a symlink"),
        (foreign, r"belongs to another user \(uid 12345\)"),
        (open_to_all, r"can be written by others \(mode 0777\)"),
        (file, "is not a folder"),
    ],
)
def test_a_folder_that_is_not_ours_alone_is_refused(
    folder: Path, level: int, make: Callable[[Path], None], fault: str
) -> None:
    make((folder, *folder.parents)[level])
    with pytest.raises(StateError, match=f"it {fault}; remove it, or set XDG_STATE_HOME"):
        Leases.join(folder, GPUS, run="one", nonce="one")


def test_the_folders_of_former_boots_are_removed_when_they_are_old(folder: Path) -> None:
    for name, age in (("old", 31), ("young", 29)):
        former = folder.parent / name
        former.mkdir(parents=True, mode=0o700, exist_ok=True)
        os.mkfifo(former / "one.life")
        os.utime(former, (0, time.time() - age * 86_400))
    folder.parents[1].chmod(0o700)
    folder.parent.chmod(0o700)
    Leases.join(folder, GPUS, run="one", nonce="one").close()
    assert sorted(os.listdir(folder.parent)) == ["boot", "young"]


# And all of it at once

KILLS = 100


class Arena:
    """Two runs on two devices, each with a guard and nodes as the real ones have, and what the nodes saw of others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ground = folder.parents[2]
        self.begun, self._tell = piped()
        for device in "01":
            (self.ground / f"device-{device}").touch()

    @property
    def clashes(self) -> list[str]:
        return [path.name for path in self.ground.glob("clash-*")]

    def start(self, number: int) -> int:
        return forked(lambda: self._engine(number))

    def _engine(self, number: int) -> NoReturn:
        leases = Leases.join(self.folder, GPUS, run=f"run{number}", nonce=os.urandom(8).hex())
        lifeline, self._end = os.pipe()
        self._guard = forked(lambda: self._guards(lifeline))
        os.close(lifeline)
        nodes: dict[int, Lease] = {}
        while True:
            while isinstance(lease := leases.take({"gpu": 1}), Lease):
                nodes[self._start_node(lease.devices["gpu"][0], leases.life)] = lease
            leases.wait_for({"gpu": 1})
            for fd in select.select([leases.fd, *nodes], [], [])[0]:
                if fd == leases.fd:
                    leases.woken()
                else:
                    os.close(fd)
                    leases.release(nodes.pop(fd))

    def _start_node(self, device: str, life: int) -> int:
        """A descriptor that hangs up when the node has ended. It begins only when the guard knows of it."""
        begin, go = os.pipe()
        ended, hangs_up = os.pipe()

        def node() -> None:
            for fd in (life, self._end, go, ended):
                os.close(fd)
            if os.read(begin, 1):
                self._work(device)

        pid = forked(node)
        os.close(begin)
        os.close(hangs_up)
        os.write(self._end, b"%d\n" % pid)
        os.write(go, b"!")
        os.close(go)
        return ended

    def _work(self, device: str) -> None:
        with open(self.ground / f"device-{device}", "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                (self.ground / f"clash-{os.getpid()}-{device}").touch()
            os.write(self._tell, device.encode())
            for _ in range(random.Random(os.getpid()).randrange(300)):
                os.sched_yield()

    def _guards(self, lifeline: int) -> None:
        """Hold the run's life, being its child; when it is dead, end its nodes and await them."""
        os.close(self._end)
        pids = b""
        while read := os.read(lifeline, 1 << 16):
            pids += read
        for pid in map(int, pids.split()):
            try:
                fd = os.pidfd_open(pid)
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            except ProcessLookupError:
                continue
            select.select([fd], [], [])


def test_two_runs_killed_a_hundred_times_never_have_two_nodes_on_a_device(folder: Path) -> None:
    arena, chance = Arena(folder), random.Random(4)
    engines = [arena.start(0), arena.start(1)]
    seen = ""
    for _ in range(KILLS):
        for _ in range(chance.randrange(1, 6)):
            assert select.select([arena.begun], [], [], DEADLINE)[0], "no run goes on"
            seen += os.read(arena.begun, 1).decode()
        number = chance.randrange(2)
        killed(engines[number])
        engines[number] = arena.start(number)
    for pid in engines:
        killed(pid)
    assert arena.clashes == []
    assert set(seen) == {"0", "1"}
    with Leases.join(folder, GPUS, run="last", nonce="last") as last:
        while isinstance(last.take({"gpu": 2}), Refused):
            last.wait_for({"gpu": 2})
            assert select.select([last.fd], [], [], DEADLINE)[0], "what the dead held is not free"
            last.woken()


def test_what_does_not_share_does_not_load_it() -> None:
    program = "import sys, wfctl.app, wfctl.driver, wfctl.engine; print('wfctl.leases' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
