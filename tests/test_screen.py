"""What a stream can show, and what happens when nobody reads it any more."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command
from wfctl.screen import Pipe, Screen, writer

FLOW = """\
version: 1
nodes:
  a: {run: "true"}
  b: {run: echo done > ledger, needs: [a]}
outputs: {greeting: grüezi}
"""


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


ABLE = {"TERM": "xterm"}


@pytest.mark.parametrize(
    ("stream", "environ", "color", "live"),
    [
        (Tty(), ABLE, True, True),
        (Tty(), {**ABLE, "NO_COLOR": "1"}, False, True),
        (Tty(), {**ABLE, "NO_COLOR": "1", "FORCE_COLOR": "1"}, False, True),
        (Tty(), {**ABLE, "CI": "true"}, True, False),
        (Tty(), {**ABLE, "CI": "false"}, True, True),
        (Tty(), {"TERM": "dumb"}, False, False),
        (Tty(), {}, False, False),
        (io.StringIO(), ABLE, False, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True, False),
        (io.StringIO(), {"FORCE_COLOR": "0"}, False, False),
        (None, {}, False, False),
    ],
)
def test_colour_and_life_follow_the_terminal_and_the_environment(
    stream: io.StringIO | None, environ: dict[str, str], color: bool, live: bool
) -> None:
    screen = Screen.of(stream, environ)
    assert (screen.color, screen.live) == (color, live)


@pytest.mark.parametrize(
    ("columns", "width"), [("40", 40), ("200", 200), ("5", 20), ("x", 100), ("0", 100), ("²", 100)]
)
def test_columns_are_taken_from_the_environment_where_they_make_sense(columns: str, width: int) -> None:
    assert Screen.of(io.StringIO(), {"COLUMNS": columns}).width == width


@pytest.mark.parametrize(("encoding", "unicode"), [("utf-8", True), ("ascii", False), ("latin-1", False)])
def test_unicode_is_drawn_only_where_the_stream_can_carry_it(encoding: str, unicode: bool) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    assert Screen.of(stream, {}).unicode is unicode


def test_a_terminal_of_the_c_locale_shows_ascii_and_a_file_is_read_elsewhere() -> None:
    for locale in ("C", "POSIX"):
        assert not Screen.of(Tty(), {**ABLE, "LC_ALL": locale}).unicode
        assert Screen.of(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), {"LC_ALL": locale}).unicode
    assert Screen.of(Tty(), {**ABLE, "LC_ALL": "C.UTF-8"}).unicode


def test_what_the_stream_cannot_carry_is_written_as_escapes() -> None:
    raw = io.BytesIO()
    write = writer(io.TextIOWrapper(raw, encoding="latin-1"))
    write("é 列\n")
    assert raw.getvalue() == b"\xe9 \\u5217\n"


def test_a_stream_that_nobody_reads_any_more_is_dropped_in_silence() -> None:
    reader, end = os.pipe()
    os.close(reader)
    with os.fdopen(end, "w") as stream:
        write = writer(stream)
        write("one\n")
        write("two\n")


def test_a_stream_that_was_never_there_takes_everything() -> None:
    writer(None)("text")


def run_with(tmp_path: Path, redirections: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "flow.yaml").write_text(FLOW)
    command = f"'{sys.executable}' -c 'import sys; from wfctl.cli import main; sys.exit(main())' run flow.yaml"
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(tmp_path / ".wfctl")}
    script = f"set -o pipefail; {command} {redirections}"
    return subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("redirections", ["2>&1 | head -1", ">&-", "2>&-", ">&- 2>&-", "2>/dev/full", "| true"])
def test_a_run_goes_on_when_its_view_is_gone(tmp_path: Path, redirections: str) -> None:
    ended = run_with(tmp_path, redirections)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr + ended.stdout
    assert "Exception" not in ended.stderr + ended.stdout
    assert (tmp_path / "ledger").read_text() == "done\n"


def test_for_eyes_is_stderr_and_for_programs_is_stdout(wfctl: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    ended = wfctl("run", "flow.yaml")
    assert ended.stdout == "greeting: grüezi\n"
    assert "[2/2] ✓ b" in ended.stderr


@pytest.mark.parametrize(("wanted", "stamped"), [("", True), ("no", False)])
def test_where_no_terminal_is_lines_have_a_time_unless_that_is_not_wanted(
    wfctl: Command, tmp_path: Path, wanted: str, stamped: bool
) -> None:
    (tmp_path / "flow.yaml").write_text("version: 1\nnodes: {a: {run: echo hi; exit 3}}\n")
    lines = wfctl("run", "flow.yaml", env={"WFCTL_TIMESTAMPS": wanted}).stderr.splitlines()
    times = [re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [^ ]", line) is not None for line in lines]
    assert [*zip(times, (line[:1] == " " for line in lines), strict=True)] == [
        (stamped, False),  # which run
        (stamped, False),  # how its node ended
        (False, True),  # what that had written
        (stamped, False),  # how it ended
        *[(False, True)] * 3,
    ]


def test_a_run_can_be_read_in_ascii(wfctl: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    ended = wfctl("run", "flow.yaml", env={"PYTHONIOENCODING": "ascii"})
    assert ended.stdout == "greeting: gr\\xfcezi\n"
    assert "[2/2] + b" in ended.stderr


def test_what_is_lost_on_a_full_disk_is_told(tmp_path: Path, wfctl: Command) -> None:
    (tmp_path / "flow.yaml").write_text("version: 1\nnodes: {a: {run: echo hi, stdout: text}}\noutputs: {a: x}\n")
    assert wfctl("run", "flow.yaml").returncode == 0
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(tmp_path / ".wfctl")}
    for words, code in [("status last", 2), ("output last a", 2), ("run flow.yaml", 0)]:
        command = [sys.executable, "-m", "wfctl", *words.split()]
        with open("/dev/full", "w") as full:
            ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environ, cwd=tmp_path)
        assert (ended.returncode, "no space left on device" in ended.stderr) == (code, True)


def full_pipe() -> tuple[int, int]:
    """A pipe that takes no byte more."""
    reader, end = os.pipe()
    os.set_blocking(end, False)
    try:
        while True:
            os.write(end, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(end, True)
    return reader, end


def test_a_reader_who_does_not_read_holds_nobody_up_and_loses_nothing() -> None:
    reader, end = full_pipe()
    with open(end, "w", encoding="utf-8") as stream:
        pipe = Pipe.over(stream)
        write = writer(pipe)
        for n in range(1000):
            write(f"line {n} {'─' * 90}\n")
        before = len(os.read(reader, 1 << 20))
        assert isinstance(pipe, Pipe)
        write("last\n")
        read = b""
        while not read.endswith(b"last\n"):
            pipe.flush()
            read += os.read(reader, 1 << 20)
    os.close(reader)
    assert before == 65536
    assert read.decode().splitlines()[:1000] == [f"line {n} {'─' * 90}" for n in range(1000)]


def test_who_reads_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfctl.screen.PATIENCE", 0.05)
    reader, end = full_pipe()
    with open(end, "w") as stream:
        pipe = Pipe.over(stream)
        assert isinstance(pipe, Pipe)
        writer(pipe)("text")
        pipe.drain()
    os.close(reader)
