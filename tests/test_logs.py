"""The end of a log that is still being written: bounded, masked, and as a person would see it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wfctl import logs
from wfctl.mask import Mask
from wfctl.store import RunFolder

Seen = Callable[[RunFolder, str, int], list[str]]

SECRET = "correct-horse-battery"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder("r", tmp_path / "runs/r")
    made.logs.mkdir(parents=True)
    return made


def write(folder: RunFolder, content: bytes, node: str = "a") -> None:
    (folder.logs / f"{node}.1.log").write_bytes(content)


def test_the_last_lines_are_seen_without_the_empty_ones(folder: RunFolder) -> None:
    write(folder, b"one\n\ntwo\n   \nthree\nand a ha")
    assert logs.peek(folder, "a", 1, 3) == ["two", "three", "and a ha"]


def test_a_line_that_is_written_over_is_what_it_says_now(folder: RunFolder) -> None:
    write(folder, b"start\r\n 10 %\r 20 %\r 30 %")
    assert logs.peek(folder, "a", 1, 5) == ["start", " 30 %"]


LOOKS: dict[str, Seen] = {
    "tail": logs.tail,
    "last_part": lambda folder, node, attempt: logs.last_part(folder, node, attempt, 10_000)[0],
    "peek": lambda folder, node, attempt: logs.peek(folder, node, attempt, 9),
}


@pytest.mark.parametrize("last", LOOKS.values(), ids=LOOKS)
def test_people_see_no_colours_and_of_a_bar_that_moved_how_far_it_came(folder: RunFolder, last: Seen) -> None:
    bar = b"".join(b"\r\x1b[K\x1b[1;32m%3d %%\x1b[0m" % n for n in range(101))
    write(folder, b"\x1b[1mbegin\x1b[0m\r\n" + bar + b"\n\x1b[38;5;9mno room\x1b[m left\n\x1b[2J\n")
    assert last(folder, "a", 1) == ["begin", "100 %", "no room left", "\x1b[2J"]


@pytest.mark.parametrize("last", list(LOOKS.values())[:2], ids=list(LOOKS)[:2])
def test_what_was_written_over_once_is_not_lost(folder: RunFolder, last: Seen) -> None:
    write(folder, b"no such table\rdone\r\n")
    assert last(folder, "a", 1) == ["no such table", "done"]


def test_of_a_huge_log_only_the_end_is_read(folder: RunFolder) -> None:
    with open(folder.logs / "a.1.log", "wb") as file:
        file.truncate(1024**4)  # sparse: to read it all would take long
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    assert logs.peek(folder, "a", 1, 1) == ["last"]


def test_what_is_no_file_is_no_log(folder: RunFolder) -> None:
    os.mkfifo(folder.logs / "a.1.log")
    assert logs.peek(folder, "a", 1, 3) == []
    assert logs.peek(folder, "b", 1, 3) == []


def test_a_secret_is_never_seen_wherever_the_log_ends_and_reading_begins(folder: RunFolder) -> None:
    mask = Mask({"TOKEN": SECRET})
    line = b"login as me:" + SECRET.encode() + b" at once\n"
    for end in range(600, 600 + 2 * len(line)):  # a writer may have got as far as any of these
        write(folder, (line * 40 * 4)[: end * 9])
        for seen in logs.peek(folder, "a", 1, 500, mask):
            assert SECRET[:6] not in seen
            assert SECRET[-6:] not in seen
    assert logs.peek(folder, "a", 1, 500, mask)[1:3] == ["login as me:********************* at once"] * 2
