"""The file that says which processes a live run has: what stands in it, and what is believed of a damaged one."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wfctl import roster
from wfctl.roster import Entries, Roster

NONCE = "0123456789abcdef"


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], Roster]:
    return lambda: Roster.create(f"{tmp_path}/live/run", NONCE)


def seconds() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def leaders(written: Roster) -> set[int]:
    return set(roster.read(written.fd).leaders)


def test_it_says_who_was_started_when_and_how_to_know_the_run_s_processes(make: Callable[[], Roster]) -> None:
    before = seconds()
    written = make()
    written.enter(4711, seconds())
    written.enter(4712, seconds())
    after = seconds()
    read = roster.read(written.fd)
    assert (read.nonce, read.boot, read.cage) == (NONCE, roster.boot_id(), None)
    assert before * roster.TICKS - 1 <= read.began <= after * roster.TICKS
    assert read.leaders.keys() == {4711, 4712}
    for first, last in read.leaders.values():
        assert read.began <= first <= last <= after * roster.TICKS


def test_its_cage_is_named_once_there_is_one(make: Callable[[], Roster]) -> None:
    written = make()
    written.enter(4711, seconds())
    written.name_cage("/some/cage")
    read = roster.read(written.fd)
    assert (read.nonce, read.cage, set(read.leaders)) == (NONCE, "/some/cage", {4711})
    with pytest.raises(OSError, match="too long"):
        written.name_cage("/some/" + "x" * 1000)
    assert roster.read(written.fd).cage == "/some/cage"


def test_it_is_no_longer_than_the_most_processes_at_once_need(make: Callable[[], Roster]) -> None:
    written = make()
    length = os.fstat(written.fd).st_size
    for pid in range(1, 10_000):
        written.leave(written.enter(pid, 0))
    assert os.fstat(written.fd).st_size == length
    assert written.is_empty
    assert leaders(written) == {9_999}
    for pid in range(1, 201):
        written.enter(pid, 0)
    assert not written.is_empty
    assert leaders(written) == set(range(1, 201))
    assert os.fstat(written.fd).st_size < length + 200 * 50


def test_of_a_number_that_came_again_the_later_one_counts_wherever_it_stands(make: Callable[[], Roster]) -> None:
    written = make()
    low, high = written.enter(1, 5), written.enter(2, 5)
    written.leave(high)
    written.leave(low)
    written.enter(2, 9)
    assert roster.read(written.fd).leaders[2][0] == 9 * roster.TICKS


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_it_is_ours_alone_whatever_the_umask(make: Callable[[], Roster], umask: int) -> None:
    before = os.umask(umask)
    try:
        path = Path(make().path)
    finally:
        os.umask(before)
    assert [oct(stat.S_IMODE(p.stat().st_mode)) for p in (path.parent, path)] == ["0o700", "0o600"]


def test_it_is_locked_as_long_as_anybody_has_it_open(make: Callable[[], Roster]) -> None:
    written = make()
    copy = os.dup(written.fd)
    other = os.open(written.path, os.O_RDONLY)
    written.close()
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(copy)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_a_full_disk_stops_no_run(make: Callable[[], Roster]) -> None:
    full = Roster("full", os.open("/dev/full", os.O_RDWR), {})
    assert full.enter(1, 0) == 0
    full.close()


def test_removed_twice_it_is_gone(make: Callable[[], Roster]) -> None:
    written = make()
    os.unlink(written.path)
    written.remove()
    assert written.fd == -1


def read(folder: Path, content: bytes) -> Entries:
    path = folder / "content"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        return roster.read(fd)
    finally:
        os.close(fd)


def test_cut_anywhere_what_is_left_is_read(make: Callable[[], Roster], tmp_path: Path) -> None:
    written = make()
    written.enter(4711, 1)
    whole = Path(written.path).read_bytes()
    head = whole.index(b"\n")
    said = whole.index(b"}") + 1    # blanks follow
    for length in range(head + 100):
        found = read(tmp_path, whole[:length])
        assert found.nonce == (NONCE if length >= said else "")
        assert (4711 in found.leaders) == (length > head + 43)


def test_with_any_byte_changed_nothing_is_believed_that_was_not_written(
    make: Callable[[], Roster], tmp_path: Path
) -> None:
    written = make()
    written.enter(4711, 1)
    whole = Path(written.path).read_bytes()[:300]
    for place in range(len(whole)):
        for other in (0, whole[place] ^ 0x80):
            found = read(tmp_path, whole[:place] + bytes([other]) + whole[place + 1 :])
            assert found.nonce in (NONCE, "") or place < whole.index(b"\n")
            assert len(found.leaders) <= 1


@pytest.mark.parametrize(
    "head",
    [b"", b"null", b"[]", b"{}", b"[" * 100_000, b'{"format": 1, "nonce": ""}', b'{"nonce": 5, "boot": "b"}', b"\xff"],
)
def test_a_head_that_makes_no_sense_gives_no_nonce(head: bytes, tmp_path: Path) -> None:
    found = read(tmp_path, head + b"\n1 2 3\n")
    assert (found.nonce, found.boot, found.leaders) == ("", "", {})


def test_of_another_format_the_nonce_is_believed_and_no_slot(tmp_path: Path) -> None:
    found = read(tmp_path, b'{"format": 2, "nonce": "%s", "boot": "b", "began": "soon"}\n1 2 3\n' % NONCE.encode())
    assert (found.nonce, found.boot, found.cage, found.began, found.leaders) == (NONCE, "b", None, 0, {})
