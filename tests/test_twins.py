"""Keys that real processes work on: what one has no other has, and a dead one has none once what it left is ended."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import random
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import processes
from tests.test_leases import (  # the first is a fixture
    DAMAGES,
    DEADLINE,
    Run,
    _no_child_is_left,  # noqa: F401
    forked,
    killed,
    piped,
)
from wfctl import leases as room
from wfctl import twins
from wfctl.errors import Bug, StateError
from wfctl.roster import Roster
from wfctl.twins import Twins


def key(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


K, L = key("k"), key("l")


class Twin(Run):
    """A run in a process of its own, that does what it is told: `run.claim(…)`."""

    def __init__(self, folder: Path, run: str, **more: Any) -> None:
        super().__init__(folder, run, {}, **more)

    def join(self, folder: Path, shares: object, run: str, more: Any) -> Twins:
        return Twins.join(folder, run=run, **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".wfctl" / "twins" / "boot"


@pytest.fixture
def start(folder: Path) -> Callable[..., Twin]:
    return lambda run, **more: Twin(folder, run, **more)


@pytest.fixture
def own(folder: Path) -> Iterator[Twins]:
    """A run in this process."""
    with Twins.join(folder, run="own", nonce="0123456789abcdef") as own:
        yield own


Start = Callable[..., Twin]


def by(answer: str) -> str:
    """Whose run has it."""
    return answer.removeprefix("run ").partition(" (")[0]


# What is claimed


def test_what_one_run_works_on_no_other_does_until_it_is_released(start: Start) -> None:
    one, two = start("one"), start("two")
    assert one.claim(K) == ""
    assert by(two.claim(K)) == "one"
    assert two.claim(L) == ""
    one.release(K)
    assert two.claim(K) == ""
    assert by(one.claim(K)) == "two"


def test_who_is_refused_is_told_who_has_it(start: Start) -> None:
    one, two = start("20260131-120000-abc"), start("two")
    one.claim(K)
    assert two.claim(K).startswith(f"run 20260131-120000-abc (pid {one.pid}, ")


def test_a_key_that_this_run_has_is_its_own_to_know_of(own: Twins) -> None:
    own.claim(K)
    with pytest.raises(Bug):
        own.claim(K)
    own.release(K)
    with pytest.raises(Bug):
        own.release(K)


def test_thousands_of_keys_can_be_held_and_waited_for(own: Twins, folder: Path) -> None:
    keys = [key(number) for number in range(10_000)]
    assert {own.claim(one) for one in keys} == {""}
    with Twins.join(folder, run="two", nonce="two") as two:
        assert {by(two.claim(one)) for one in keys} == {"own"}
        two.wait_for(keys)
        assert (folder / "two").stat().st_size == room.ROOM  # a full disk denies no change of it
        assert not is_called(two)
        own.release(keys[5_000])
        assert is_called(two)
        two.woken()
        assert two.claim(keys[5_000]) == ""
        own.close()
        assert is_called(two)
        assert os.listdir(folder / "keys") == [keys[5_000]]


def is_called(run: Twins) -> bool:
    """Whether it is told to ask again."""
    return bool(select.select([run.fd], [], [], 0)[0])


def test_one_run_may_have_no_more_keys_than_the_file_system_lets_it(
    own: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    with monkeypatch.context() as full:
        full.setattr(os, "link", refuse)
        with pytest.raises(StateError, match=r"^runs cannot share results by .*: too many links; name another state"):
            own.claim(K)
    assert own.claim(K) == ""


# Who dies


def test_what_a_killed_run_had_is_free_and_who_waits_is_woken(start: Start, folder: Path) -> None:
    one, two = start("one"), start("two")
    for some in (K, L):
        one.claim(some)
    two.claim(K)
    two.wait_for([K])
    two.tell("awake")
    assert two.is_silent()
    one.kill()
    assert two.heard() == "awake"
    assert two.claim(K) == ""
    assert sorted(os.listdir(folder)) == sorted(["keys", "mutex", two.nonce, f"{two.nonce}.life"])
    assert os.listdir(folder / "keys") == [K]


def test_all_stays_claimed_while_a_guard_has_the_run_s_life(start: Start, folder: Path) -> None:
    two = start("two")
    told, tell = piped()

    def engine() -> None:
        own = Twins.join(folder, run="guarded", nonce="guarded")
        own.claim(K)
        os.write(tell, b"%10d" % forked(signal.pause))
        signal.pause()

    one = forked(engine)
    guard = int(os.read(told, 10))
    killed(one)
    assert by(two.claim(K)) == "guarded"
    two.wait_for([K])
    two.tell("awake")
    assert two.is_silent()
    os.kill(guard, signal.SIGKILL)
    assert two.heard() == "awake"
    assert two.claim(K) == ""


def test_what_a_run_has_left_without_a_guard_is_ended_before_another_has_its_key(start: Start, tmp_path: Path) -> None:
    path, nonce = f"{tmp_path}/live/one", os.urandom(8).hex()
    told, tell = piped()
    one, two = start("one", nonce=nonce, roster=path), start("two")
    one.claim(K)

    def engine() -> None:  # what the driver does beside
        Roster.create(path, nonce)
        node = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={"WFCTL_NONCE": nonce})
        os.write(tell, str(node.pid).encode())
        signal.pause()

    other = forked(engine)
    node = int(os.read(told, 100))
    two.claim(K)
    two.wait_for([K])
    two.tell("awake")
    killed(other)
    assert processes.alive(node)
    one.kill()
    assert two.heard() == "awake"
    assert not processes.alive(node)
    assert two.claim(K) == ""
    assert not os.path.exists(path)


# Who waits


def test_who_waits_is_woken_by_a_release_of_what_it_waits_for_and_by_nothing_else(start: Start) -> None:
    one, two = start("one"), start("two")
    for some in (K, L):
        one.claim(some)
    two.claim(K)
    two.wait_for([K])
    two.tell("awake")
    one.release(L)
    assert two.is_silent()
    one.release(K)
    assert two.heard() == "awake"
    assert two.claim(K) == ""
    two.wait_for(())
    two.tell("awake")
    one.claim(L)
    one.release(L)
    assert two.is_silent()


def test_who_waits_for_several_is_woken_by_each(start: Start) -> None:
    one, two, three = start("one"), start("two"), start("three")
    one.claim(K)
    two.claim(L)
    three.wait_for([K, L])
    two.release(L)
    assert three.awake() == "awake"
    assert three.claim(L) == ""
    three.wait_for([K, L])
    one.release(K)
    assert three.awake() == "awake"
    assert three.claim(K) == ""


def test_what_came_free_since_it_was_refused_is_not_missed(start: Start) -> None:
    one, two = start("one"), start("two")
    one.claim(K)
    two.claim(K)
    one.release(K)
    two.wait_for([K])
    assert two.awake() == "awake"


def test_what_this_run_itself_has_does_not_wake_it(own: Twins) -> None:
    own.claim(K)
    own.wait_for([K])
    assert not is_called(own)


def test_all_who_wait_are_woken_and_who_comes_too_late_waits_on(start: Start) -> None:
    one, two, three = start("one"), start("two"), start("three")
    one.claim(K)
    for run in (two, three):
        run.wait_for([K])
        run.tell("awake")
    one.release(K)
    assert [two.heard(), three.heard()] == ["awake", "awake"]
    assert two.claim(K) == ""
    assert by(three.claim(K)) == "two"
    three.wait_for([K])
    three.tell("awake")
    assert three.is_silent()
    two.kill()
    assert three.heard() == "awake"
    assert three.claim(K) == ""


def test_who_leaves_wakes_who_waits(start: Start) -> None:
    one, two = start("one"), start("two")
    one.claim(K)
    two.wait_for([K])
    two.tell("awake")
    one.close()
    assert two.heard() == "awake"
    assert two.claim(K) == ""


# Runs in a node of another


def test_a_run_does_not_wait_for_the_node_that_it_runs_in(start: Start) -> None:
    outer = start("outer")
    outer.claim(K)
    inner = start("inner", outer=[outer.nonce])
    assert inner.claim(K) == ""
    innermost = start("innermost", outer=[outer.nonce, inner.nonce])
    assert innermost.claim(K) == ""
    for run in (innermost, inner, outer):
        run.release(K)
    assert start("stranger").claim(K) == ""


def test_two_runs_in_nodes_of_one_keep_out_of_each_other_s_way_all_the_same(start: Start) -> None:
    outer, stranger = start("outer"), start("stranger")
    outer.claim(K)
    one, two = start("one", outer=[outer.nonce]), start("two", outer=[outer.nonce])
    assert one.claim(K) == ""
    assert by(two.claim(K)) == "one"
    assert by(stranger.claim(K)) == "outer"
    two.wait_for([K])
    two.tell("awake")
    one.kill()
    assert two.heard() == "awake"
    assert two.claim(K) == ""


def test_what_a_run_in_one_of_its_nodes_has_an_outer_run_waits_for(start: Start) -> None:
    outer = start("outer")
    inner = start("inner", outer=[outer.nonce])
    inner.claim(K)
    assert by(outer.claim(K)) == "inner"


# What is damaged


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_whose_claims_are_damaged_has_its_keys_still_and_mends_them(
    start: Start, folder: Path, damage: str
) -> None:
    one, two = start("one"), start("two")
    one.claim(K)
    DAMAGES[damage](folder / one.nonce)
    assert "are damaged" in two.claim(K)
    assert two.claim(L) == ""
    assert one.awake() == "awake"
    assert by(two.claim(K)) == "one"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_claims_of_a_dead_run_are_in_nobody_s_way(start: Start, folder: Path, damage: str) -> None:
    one, two = start("one"), start("two")
    one.claim(K)
    DAMAGES[damage](folder / one.nonce)
    one.kill()
    assert two.claim(K) == ""


def test_what_names_nobody_that_lives_is_in_nobody_s_way(own: Twins, folder: Path) -> None:
    (folder / "keys" / K).touch()
    (folder / "keys" / L).symlink_to("nothing")
    assert [own.claim(K), own.claim(L)] == ["", ""]
    own.release(K)
    assert own.claim(K) == ""


def test_who_empties_the_folder_under_live_runs_stops_them(own: Twins, folder: Path) -> None:
    for path in folder.glob("0*"):
        path.unlink()
    with pytest.raises(StateError, match="was emptied while a run shares by it"):
        own.claim(K)


# The folder


def test_runs_with_one_state_folder_meet_and_those_of_the_machine_do_not_mix_with_what_shares_budgets() -> None:
    assert twins.folder(Path("/flows/.wfctl")).parent == Path("/flows/.wfctl/twins")
    environ = {"XDG_STATE_HOME": "/states"}
    assert twins.machine_folder(environ).parent == Path("/states/wfctl/twins")
    assert twins.machine_folder(environ).name == room.folder(environ).name == twins.folder(Path("x")).name


@pytest.mark.parametrize(
    ("machine", "way_out"), [(False, "name another state folder with --state-dir"), (True, "set XDG_STATE_HOME to a ")]
)
def test_where_runs_cannot_meet_the_way_out_is_named(folder: Path, machine: bool, way_out: str) -> None:
    folder.mkdir(parents=True)
    for name, fault in (("keys", "it is not a folder; remove it, or "), ("one.life", "file exists; ")):
        (folder / name).touch()
        with pytest.raises(StateError, match=rf"^runs cannot share results by .*: {fault}{way_out}"):
            Twins.join(folder, run="one", nonce="one", machine=machine)
        (folder / name).unlink()


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_what_is_made_is_ours_alone_whatever_the_umask(folder: Path, umask: int) -> None:
    folder.parents[1].mkdir()
    before = os.umask(umask)
    try:
        own = Twins.join(folder, run="one", nonce="one")
        own.claim(K)
    finally:
        os.umask(before)
    with own:
        modes = {path.relative_to(folder).as_posix(): oct(path.stat().st_mode & 0o777) for path in folder.rglob("*")}
    ours = dict.fromkeys(("mutex", "one", "one.life", f"keys/{K}"), "0o600")
    assert modes == {**ours, "keys": "0o700"}


def test_the_folder_of_a_former_boot_is_removed_with_its_keys_when_it_is_old(folder: Path) -> None:
    former = folder.parent / "former"
    with Twins.join(former, run="one", nonce="one") as one:
        one.claim(K)
        os.utime(former, (0, 0))
        Twins.join(folder, run="two", nonce="two").close()
    assert os.listdir(folder.parent) == ["boot"]


# And all of it at once

WORKERS = 8
KILLS = 60


class Untold(Twins):
    """One that takes what it likes: what is tested here must be seen to fail."""

    def claim(self, key: str) -> str:
        return ""

    def release(self, key: str) -> None:
        pass


class Mill:
    """Workers that do all work of a round once, whoever does it, and then that of the next; each with a guard.

    What is done stands in a ledger, a file for each key; who finds another at the same key leaves a clash.
    """

    def __init__(self, folder: Path, kind: type[Twins]) -> None:
        self.folder = folder
        self.ground = folder.parents[2]
        self.kind = kind
        self.begun, self._tell = piped()
        (self.ground / "ledger").mkdir()

    @property
    def clashes(self) -> list[str]:
        return [path.name for path in self.ground.glob("clash-*")]

    @property
    def ledger(self) -> dict[str, list[str]]:
        return {path.name: path.read_text().splitlines() for path in (self.ground / "ledger").iterdir()}

    def keys(self, turn: int) -> list[str]:
        return [key(f"{turn} {number}") for number in range(50)]

    def start(self, number: int) -> int:
        return forked(lambda: self._work(number))

    def stop(self) -> None:
        (self.ground / "stop").touch()

    def _work(self, number: int) -> None:
        pidfd = os.pidfd_open(os.getpid())
        chance = random.Random(os.getpid())
        with self.kind.join(self.folder, run=str(number), nonce=os.urandom(8).hex()) as twins:
            forked(lambda: select.select([pidfd], [], []))  # the guard, who has the life too
            for turn in itertools.count():
                if (self.ground / "stop").exists():
                    return
                left = self.keys(turn)
                chance.shuffle(left)
                while left := [one for one in left if not self._is_done(one)]:
                    if (busy := [one for one in left if not self._try(twins, one, number, chance)]) == left:
                        twins.wait_for(busy)
                        select.select([twins.fd], [], [])
                        twins.woken()

    def _try(self, twins: Twins, key: str, number: int, chance: random.Random) -> bool:
        """Whether nobody else works on it: then it is done."""
        if twins.claim(key):
            return False
        if not self._is_done(key):
            self._do(key, number, chance)
        twins.release(key)
        return True

    def _do(self, key: str, number: int, chance: random.Random) -> None:
        with open(self.ground / "ledger" / key, "ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                (self.ground / f"clash-{os.getpid()}").touch()
            os.write(self._tell, b"%d" % number)
            for _ in range(chance.randrange(300)):
                os.sched_yield()
            file.write(b"%d\n" % os.getpid())

    def _is_done(self, key: str) -> bool:
        try:
            return os.stat(self.ground / "ledger" / key).st_size > 0
        except FileNotFoundError:
            return False

    def next(self) -> int:
        """The number of a worker that has just begun to work on a key."""
        assert select.select([self.begun], [], [], DEADLINE)[0], "nobody goes on"
        return int(os.read(self.begun, 1))


def ended(pid: int) -> bool:
    """Whether a worker came to its end, and well; within the deadline."""
    fd = os.pidfd_open(pid)
    try:
        assert select.select([fd], [], [], DEADLINE)[0], "a worker does not end"
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return found is not None and (found.si_code, found.si_status) == (os.CLD_EXITED, 0)
    finally:
        os.close(fd)


def test_eight_runs_killed_at_random_do_all_work_once_and_never_two_of_them_at_once(folder: Path) -> None:
    mill, chance = Mill(folder, Twins), random.Random(6)
    workers = [mill.start(number) for number in range(WORKERS)]
    for _ in range(KILLS):
        begun = [mill.next() for _ in range(chance.randrange(1, 12))]
        number = chance.choice([begun[-1], chance.randrange(WORKERS)])
        killed(workers[number])
        workers[number] = mill.start(number)
    mill.stop()
    while select.select([mill.begun], [], [], 0)[0]:
        os.read(mill.begun, 1 << 16)
    assert [ended(pid) for pid in workers] == [True] * WORKERS
    assert mill.clashes == []
    done = mill.ledger
    assert {one for one, by in done.items() if len(by) != 1} == set()
    assert set(mill.keys(0)) <= done.keys()
    assert len({pid for by in done.values() for pid in by}) > WORKERS
    assert os.listdir(folder / "keys") == []


def test_without_the_claims_they_do_it_at_once_and_twice(folder: Path) -> None:
    mill = Mill(folder, Untold)
    workers = [mill.start(number) for number in range(WORKERS)]
    while not mill.clashes:
        mill.next()
    mill.stop()
    while select.select([mill.begun], [], [], 0)[0]:
        os.read(mill.begun, 1 << 16)
    assert [ended(pid) for pid in workers] == [True] * WORKERS
    assert max(len(by) for by in mill.ledger.values()) > 1
