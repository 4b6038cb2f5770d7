"""What an attempt left behind, read and checked."""

from __future__ import annotations

import os
import socket
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from wfctl.decide import Leavings
from wfctl.jobs import Completion, Ending, Job
from wfctl.outputs import collect


def read(folder: Path, reading: str, stdout: str | bytes | None = None, written: str | None = None) -> Leavings:
    job = Job(id="r/a/1", node="a", attempt=1, reading=reading, output=str(folder / "output"))
    if stdout is not None:
        (folder / "stdout").write_bytes(stdout if isinstance(stdout, bytes) else stdout.encode())
        job = replace(job, stdout=str(folder / "stdout"))
    if written is not None:
        (folder / "output").write_text(written)
    return collect(job, Completion(job_id=job.id, ending=Ending.EXITED, code=0))


@pytest.mark.parametrize(
    ("reading", "stdout", "output"),
    [
        ("text", "a\nb\n\n", "a\nb"),
        ("text", "", ""),
        ("lines", "", []),
        ("lines", "a\n\nb", ["a", "", "b"]),
        ("lines", "a\r\nb\r\n", ["a", "b"]),
        ("lines", "a\fb\x1c\u2028c\n", ["a\fb\x1c\u2028c"]),
        ("json", ' {"a": [1, 2.5, null]} ', {"a": [1, 2.5, None]}),
    ],
)
def test_standard_output_becomes_the_output(tmp_path: Path, reading: str, stdout: str, output: object) -> None:
    assert read(tmp_path, reading, stdout).output == output


@pytest.mark.parametrize(
    ("written", "output"),
    [
        ("", None),
        ('{"a": 1}', {"a": 1}),
        ("a=1\nb=x=y\n", {"a": "1", "b": "x=y"}),
        ("msg=one\ftwo\n", {"msg": "one\ftwo"}),
        ("3", 3),
        ("true", True),
    ],
)
def test_the_output_file_is_json_or_lines_of_keys(tmp_path: Path, written: str, output: object) -> None:
    assert read(tmp_path, "none", written=written).output == output


@pytest.mark.parametrize(
    ("stdout", "error"),
    [
        ("1e999", "1e999 is no finite number"),
        ("[NaN]", "NaN is no finite number"),
        ("[" * 101 + "]" * 101, "nested over 100 deep"),
        ("[" * 100_000, "nested over 100 deep"),
        ("", "is empty, and JSON was expected"),
        ("{'a': 1}", "is no JSON: expecting property name enclosed in double quotes (line 1, column 2)"),
        (b"\xff", "is no UTF-8 text (byte 0)"),
    ],
)
def test_what_is_no_json_says_why(tmp_path: Path, stdout: str, error: str) -> None:
    assert error in read(tmp_path, "json", stdout).error


def test_text_in_the_output_file_says_what_it_may_hold(tmp_path: Path) -> None:
    error = read(tmp_path, "none", written="just text\n").error
    assert error == '$WFCTL_OUTPUT holds neither JSON nor key=value lines: "just text"'


def test_two_outputs_are_one_too_many(tmp_path: Path) -> None:
    assert "take one of them out" in read(tmp_path, "text", "a", written="b=1").error


def leave(folder: Path, what: str) -> None:
    """Put something else where the output belongs."""
    path = folder / "output"
    match what:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as here:
                here.bind(os.path.relpath(path))
        case "sparse":
            path.touch()
            os.truncate(path, 10 * 2**30)
        case _:
            path.symlink_to(what)


TOO_LARGE = "$WFCTL_OUTPUT is over 16 MiB, too much for an output; write a file and name it in writes"
NO_FILE = "$WFCTL_OUTPUT is no file; write one there, or nothing"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("pipe", NO_FILE),
        ("folder", NO_FILE),
        ("socket", "its output could not be read: no such device or address"),
        ("sparse", TOO_LARGE),
        ("/dev/zero", NO_FILE),
        ("/dev/stdin", ""),
        ("/proc/self/mem", "its output could not be read: input/output error"),
        ("/nowhere", ""),
        ("output", "its output could not be read: too many levels of symbolic links"),
    ],
)
def test_whatever_lies_where_the_output_belongs_neither_holds_nor_fills_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    leave(tmp_path, what)
    tracemalloc.start()
    left = read(tmp_path, "none")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 40_000_000
    assert left.output is None
    if error:
        assert left.error == error


def test_a_link_to_a_file_is_as_good_as_the_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_text('{"a": 1}')
    (tmp_path / "output").symlink_to("real")
    assert read(tmp_path, "none").output == {"a": 1}
