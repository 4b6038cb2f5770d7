"""Logs over their limit and disks that become full: how soon that is seen of real processes, and what is told.

Waits for facts, but for one test, which counts how often nobody looks."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.space import Space, child, run
from wfctl.jobs import Completion, Ending, LowDisk

MANY = 1 << 40


def test_a_log_over_its_limit_stops_the_job_and_is_cut_there(space: Space) -> None:
    told = space.perform(child(f"flood={MANY}", log="log", log_limit=1_000_000))
    assert (told.ending, told.reason) == (Ending.KILLED, "log_limit")
    assert told.error == "its log is over 1000000; write less there, or raise log_limit"
    assert Path("log").read_bytes() == (b"\xff\x00\x1b[31m" * 200_000)[:1_000_000]


def test_so_does_a_file_of_standard_output(space: Space) -> None:
    told = space.perform(child("complain=x", f"flood={MANY}", log="log", stdout="out", log_limit=1_048_576))
    assert (told.reason, Path("out").stat().st_size, space.text("log")) == ("log_limit", 1_048_576, "x\n")
    assert told.error.startswith("its log is over 1MiB;")


def test_a_job_that_ended_before_anybody_looked_is_told_of_too(space: Space) -> None:
    told = space.perform(child("flood=60000000", log="log", log_limit=50_000_000))
    assert (told.reason, Path("log").stat().st_size) == ("log_limit", 50_000_000)


def test_a_log_within_its_limit_is_whole(space: Space) -> None:
    told = space.perform(child("flood=50000000", log="log", log_limit=50_000_000))
    assert (told.code, told.reason, Path("log").stat().st_size) == (0, "", 50_000_000)


def test_an_idle_executor_wakes_once_a_second(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    monkeypatch.setattr("wfctl.executors.gauge.Log.is_over", lambda log, now: looks.append(now))
    for n in range(8):
        space.executor.submit(run("sleep", "1000", id=f"r/a/{n}", log="log", log_limit=1000))
    begin = os.times()
    space.executor.wait(time.time() + 2.5)
    end = os.times()
    assert len(looks) == 8 * 2
    assert end.user + end.system - begin.user - begin.system < 0.03


class Small:
    """What `statvfs` says of a disk of 1 GiB."""

    f_frsize, f_blocks = 4096, 2**18

    def __init__(self, free: int) -> None:
        self.f_bavail = free // 4096


def disk_of(monkeypatch: pytest.MonkeyPatch, *free: int) -> None:
    """The disk has so many bytes free at each look, and then as many as at the last."""
    left = list(free)
    monkeypatch.setattr(os, "statvfs", lambda path: Small(left.pop(0) if len(left) > 1 else left[0]))


def test_a_disk_that_is_nearly_full_is_told_before_anything_starts(
    make_space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_of(monkeypatch, 50 * 2**20)
    space = make_space(1000, state="state")
    assert space.executor.wait(0) == [
        LowDisk('only 50.0 MiB are free on the disk of "state"; make room there')
    ]


def test_a_disk_that_becomes_full_is_told_once_while_jobs_run(
    make_space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_of(monkeypatch, 2**33, 2**33, 2**20)
    monkeypatch.setattr("wfctl.executors.gauge.SELDOM", 0.01)
    space = make_space(1000, state="state")
    space.executor.submit(run("sleep", "0.3"))
    low, ended = space.messages(2)
    assert isinstance(low, LowDisk)
    assert isinstance(ended, Completion)


def test_a_twentieth_of_a_small_disk_is_room_enough(
    make_space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_of(monkeypatch, 52 * 2**20)
    assert make_space(1000, state="state").executor.wait(0) == ()


def test_without_room_for_a_log_nothing_is_at_fault_but_the_disk(
    make_space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_space(1000, state=".")
    monkeypatch.setattr(os, "posix_spawn", refusing(errno.ENOSPC))
    space.executor.submit(run("true"))
    ended, low = space.messages(2)
    assert isinstance(ended, Completion)
    assert (ended.ending, ended.reason) == (Ending.NOT_STARTED, "low_disk")
    assert isinstance(low, LowDisk)


def refusing(number: int) -> Callable[..., int]:
    def refuse(*args: object, **more: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse
