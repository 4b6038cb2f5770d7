"""Hard limits: what a job is started with, and how it is told that it was for its limit that it failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wfctl.executors.fence import OLD, Fence
from wfctl.jobs import Job, Limits

MIB = 2**20


def job(log: str = "", memory: int | None = 64 * MIB, cpu: int | None = None) -> Job:
    return Job(id="r/a/1", node="a", attempt=1, log=log, limits=Limits(memory=memory, cpu=cpu))


def run(fence: Fence, limited: Job, *argv: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*fence.words(limited), *argv], capture_output=True, check=False)


# -- without a cgroup: resource limits


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def fence(tmp_path: Path, said: list[str]) -> Fence:
    """Where there is no cgroup to be had."""
    return Fence("0nonce0", said.append, home=str(tmp_path))


def test_a_process_cannot_have_more_memory_than_its_limit(fence: Fence) -> None:
    hungry, modest = ([sys.executable, "-c", f"x = bytearray({size})"] for size in (500 * MIB, 10 * MIB))
    assert b"MemoryError" in run(fence, job(memory=200 * MIB), *hungry).stderr
    assert run(fence, job(memory=200 * MIB), *modest).returncode == 0


def test_its_words_and_its_exit_code_stay_as_they_are(fence: Fence) -> None:
    ended = run(fence, job(), "sh", "-c", 'printf "%s|" "$@"; exit 7', "x", "a b", "", "$HOME", "'")
    assert (ended.stdout, ended.returncode) == (b"a b||$HOME|'|", 7)


def test_what_is_not_limited_is_started_as_it_is(fence: Fence, said: list[str]) -> None:
    assert fence.words(Job(id="x", node="x", attempt=1)) == ()
    assert said == []


def test_what_cannot_be_enforced_is_told_once(fence: Fence, said: list[str]) -> None:
    for _ in range(3):
        fence.words(job(cpu=1500))
    what = "memory is limited for each process by itself and cpu is not limited"
    assert said == [f"limit: hard: {what}: this system lets us make no cgroup with limits"]


@pytest.mark.parametrize("words", ["MemoryError", "fork: Cannot allocate memory", "terminate: std::bad_alloc"])
def test_a_failure_that_speaks_of_memory_is_told_as_one(fence: Fence, tmp_path: Path, words: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"working\n{words}\n")
    assert "out of memory: its hard limit is 64MiB" in fence.ended(job(str(log)), failed=True)
    assert fence.ended(job(str(log)), failed=False) == ""
    log.write_text("no such file\n")
    assert fence.ended(job(str(log)), failed=True) == ""


# -- with a cgroup: a folder that looks like one, for few systems let a test make one


@pytest.fixture
def slice_(tmp_path: Path) -> Path:
    """A cgroup that hands its controllers down, and our own in it."""
    top = tmp_path / "top"
    (top / "ours.scope").mkdir(parents=True)
    (top / "cgroup.procs").write_text("")
    (top / "cgroup.subtree_control").write_text("memory pids cpu\n")
    (top / "ours.scope/cgroup.subtree_control").write_text("")
    return top


def group_in(top: Path) -> Path:
    (group,) = top.glob("wfctl-*")
    return group


def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is made has the files that the kernel puts into a cgroup."""
    make = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        make(path, mode)
        Path(path, "cgroup.procs").touch()

    monkeypatch.setattr("wfctl.executors.fence.os.mkdir", mkdir)


def test_a_job_has_a_cgroup_beside_ours_with_its_limits(
    slice_: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(monkeypatch)
    fence = Fence("0nonce0", said.append, home=str(slice_ / "ours.scope"))
    limited = job(cpu=1500)
    words = fence.words(limited)
    group = group_in(slice_)
    assert group.name == "wfctl-0nonce0.1"
    assert (group / "memory.max").read_text() == str(64 * MIB)
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group / "cpu.max").read_text() == "150000 100000"
    assert subprocess.run([*words, "true"], check=False).returncode == 0
    assert (group / "cgroup.procs").read_text() == "0\n", "the job enters by itself, before it is the program"
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert fence.encloses(limited)
    assert "out of memory" in fence.ended(limited, failed=True)
    assert not fence.encloses(limited)
    assert said == []


def test_what_the_cgroup_above_does_not_hand_down_is_told(
    slice_: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(monkeypatch)
    (slice_ / "cgroup.subtree_control").write_text("memory pids\n")
    Fence("0nonce0", said.append, home=str(slice_ / "ours.scope")).words(job(cpu=1500))
    assert not (group_in(slice_) / "cpu.max").exists()
    assert said == ["limit: hard: cpu is not limited: the cgroup above hands down too little"]


def test_where_no_cgroup_can_be_made_there_are_resource_limits(slice_: Path, said: list[str]) -> None:
    (slice_ / "wfctl-0nonce0.1").mkdir()  # so it cannot be made
    assert "ulimit" in Fence("0nonce0", said.append, home=str(slice_ / "ours.scope")).words(job())[2]
    assert "memory is limited for each process by itself" in said[0]


def test_cgroups_that_dead_engines_have_left_are_removed(slice_: Path, said: list[str]) -> None:
    for name, age in (("wfctl-0dead0.1", 2 * OLD), ("wfctl-0young0.1", 0.0), ("wfctl-0cage0", 2 * OLD)):
        (slice_ / name).mkdir()
        os.utime(slice_ / name, (0, os.stat(slice_).st_mtime - age))
    Fence("0nonce0", said.append, home=str(slice_ / "ours.scope"))
    assert sorted(path.name for path in slice_.glob("wfctl-*")) == ["wfctl-0cage0", "wfctl-0young0.1"]
