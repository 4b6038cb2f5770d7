"""The journal and its lock: what is kept, what counts as damage, who may write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wfctl
from wfctl import journal
from wfctl.errors import Bug, BusyError, StateError
from wfctl.journal import JournalWriter, held_by, holder, read
from wfctl.store import RunFolder, Store

EVENTS = [{"event": "node_started", "node": f"n{i}", "attempt": 1, "when": i / 8} for i in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    store = Store(tmp_path / ".wfctl")
    store.prepare()
    return store.new_run(1_795_355_101.25)


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody who is not root, and us as that somebody: root passes every mode."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


def write(folder: RunFolder, events: list[dict]) -> None:
    writer = JournalWriter.create(folder)
    for event in events:
        writer.append(event)
    writer.sync()
    writer.close()


def child(code: str, folder: RunFolder) -> subprocess.Popen[str]:
    """Another process, with `folder` ready, that says what the test waits for."""
    start = (
        "import os, resource, sys; from pathlib import Path; from wfctl.errors import *; from wfctl.journal import *\n"
        f"from wfctl.store import RunFolder; folder = RunFolder({folder.id!r}, Path({str(folder.path)!r}))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(wfctl.__file__).parents[1])},
    )


@pytest.fixture
def driver(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that drives the run until it is killed."""
    code = "w = JournalWriter.create(folder); w.append({'event': 'a'}); w.sync(); print('ready', flush=True); input()"
    with child(code, folder) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


# What is kept


def test_what_was_synced_is_read_back_in_order(folder: RunFolder) -> None:
    write(folder, EVENTS)
    reading = read(folder.journal)
    assert reading.events == EVENTS
    assert (reading.position, reading.torn, reading.format) == (4, False, 1)


def test_a_line_is_json_with_its_checksum_first_and_the_first_line_says_the_format(folder: RunFolder) -> None:
    write(folder, EVENTS)
    header, first, *_ = [json.loads(line) for line in folder.journal.read_text().splitlines()]
    assert header == {"crc": header["crc"], "format": 1}
    assert list(first) == ["crc", *EVENTS[0]]


def test_nothing_is_on_disk_before_the_first_sync(folder: RunFolder) -> None:
    writer = JournalWriter.create(folder)
    writer.sync()
    writer.append(EVENTS[0])
    writer.close()
    assert folder.journal.read_bytes() == b""


@pytest.mark.parametrize("text", ["ü 漢 😀", "bad \udcff byte", "\x00\x1b\n\u2028", '{"crc":"00000000"'])
def test_any_text_survives(folder: RunFolder, text: str) -> None:
    write(folder, [{"event": "e", "crc": text, "format": text, text: [text]}])
    assert read(folder.journal).events == [{"event": "e", "crc": text, "format": text, text: [text]}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes", Path("x")])
def test_what_is_no_plain_data_is_a_bug_and_leaves_no_trace(folder: RunFolder, value: object) -> None:
    writer = JournalWriter.create(folder)
    with pytest.raises(Bug):
        writer.append({"event": "e", "value": value})
    writer.append(EVENTS[0])
    writer.sync()
    writer.close()
    assert read(folder.journal).events == EVENTS[:1]


def test_resume_goes_on_where_the_journal_ended(folder: RunFolder) -> None:
    write(folder, EVENTS[:2])
    writer, reading = JournalWriter.resume(folder)
    assert (reading.events, writer.position, writer.chain) == (EVENTS[:2], 2, reading.chain)
    for event in EVENTS[2:]:
        writer.append(event)
    writer.sync()
    writer.close()
    assert read(folder.journal).events == EVENTS
    assert read(folder.journal).chain == writer.chain


def test_a_new_run_never_writes_into_a_journal_that_is_there(folder: RunFolder) -> None:
    write(folder, EVENTS)
    with pytest.raises(StateError, match="file exists"):
        JournalWriter.create(folder)
    assert not held_by(folder)
    assert read(folder.journal).events == EVENTS


# Damage


def test_cut_at_every_byte_it_holds_the_whole_lines_before_and_can_go_on(folder: RunFolder) -> None:
    write(folder, EVENTS)
    whole = folder.journal.read_bytes()
    for cut in range(len(whole)):
        folder.journal.write_bytes(whole[:cut])
        kept = max(whole[:cut].count(b"\n") - 1, 0)
        writer, reading = JournalWriter.resume(folder)
        assert reading.events == EVENTS[:kept], cut
        assert reading.torn == (whole[:cut][-1:] not in (b"", b"\n")), cut
        writer.append({"event": "resumed"})
        writer.sync()
        writer.close()
        assert read(folder.journal).events == [*EVENTS[:kept], {"event": "resumed"}], cut


def test_any_flipped_bit_is_refused_or_is_the_torn_tail(folder: RunFolder) -> None:
    write(folder, EVENTS)
    whole = folder.journal.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            folder.journal.write_bytes(damaged)
            if place == len(whole) - 1:
                assert read(folder.journal).events == EVENTS[:-1], (place, bit)
            else:
                with pytest.raises(StateError):
                    read(folder.journal)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param(lambda a, b, c, d, e: [a, b, d, e], 3, id="a lost line"),
        pytest.param(lambda a, b, c, d, e: [a, b, b, c, d, e], 3, id="a doubled line"),
        pytest.param(lambda a, b, c, d, e: [a, b, d, c, e], 3, id="two lines changed places"),
        pytest.param(lambda a, b, c, d, e: [b, c, d, e], 1, id="no header"),
        pytest.param(lambda a, b, c, d, e: [a, b, "", c, d, e], 3, id="an empty line"),
        pytest.param(lambda a, b, c, d, e: [a, b, c, d, '{"event": "typed by hand"}'], 5, id="a line of a person"),
    ],
)
def test_damage_is_refused_with_its_line(folder: RunFolder, change: Callable[..., list[str]], line: int) -> None:
    write(folder, EVENTS)
    lines = change(*folder.journal.read_text().splitlines())
    folder.journal.write_text("\n".join(lines) + "\n")
    before = folder.journal.read_bytes()
    with pytest.raises(StateError, match=f"is damaged at line {line}: "):
        JournalWriter.resume(folder)
    assert folder.journal.read_bytes() == before
    assert not held_by(folder)


def test_a_newer_format_is_refused_by_name(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FORMAT", 2)
    write(folder, EVENTS)
    assert read(folder.journal).format == 2
    monkeypatch.undo()
    with pytest.raises(StateError, match=r"newer wfctl \(format 2, this one reads up to 1\); upgrade wfctl"):
        read(folder.journal)


def test_a_journal_that_is_missing_says_so(folder: RunFolder) -> None:
    with pytest.raises(StateError, match="is missing"):
        read(folder.journal)


# Checkpoints


def test_what_a_matching_checkpoint_covers_is_verified_and_not_returned(folder: RunFolder) -> None:
    write(folder, EVENTS[:3])
    mark = read(folder.journal)
    writer, _ = JournalWriter.resume(folder)
    writer.append(EVENTS[3])
    writer.sync()
    writer.close()
    reading = read(folder.journal, skip=mark.position, chain=mark.chain)
    assert (reading.events, reading.skipped, reading.position) == (EVENTS[3:], 3, 4)
    folder.journal.write_bytes(folder.journal.read_bytes().replace(b'"n0"', b'"n9"'))
    with pytest.raises(StateError, match="line 2"):
        read(folder.journal, skip=mark.position, chain=mark.chain)


@pytest.mark.parametrize(("skip", "chain"), [(2, "00000000"), (99, ""), (0, "x"), (-1, "")])
def test_a_checkpoint_of_another_journal_is_not_used(folder: RunFolder, skip: int, chain: str) -> None:
    write(folder, EVENTS)
    reading = read(folder.journal, skip, chain)
    assert (reading.events, reading.skipped) == (EVENTS, 0)


# One writer, any number of readers


def test_a_second_writer_is_told_who_drives_the_run(folder: RunFolder, driver: subprocess.Popen[str]) -> None:
    with pytest.raises(BusyError, match=rf"driven by process {driver.pid} \(.+\); .*wfctl cancel {folder.id}"):
        JournalWriter.resume(folder, wait=0)
    by = holder(folder)
    assert by is not None
    assert by.pid == driver.pid
    assert by.command.startswith(sys.executable[:40])
    assert len(by.command) <= 60


def test_the_death_of_the_driver_frees_the_run(folder: RunFolder, driver: subprocess.Popen[str]) -> None:
    assert held_by(folder)
    driver.kill()
    writer, reading = JournalWriter.resume(folder, wait=10)
    assert reading.events == [{"event": "a"}]
    writer.close()
    assert not held_by(folder)


def test_the_run_stays_locked_while_a_guard_holds_the_descriptor(folder: RunFolder) -> None:
    writer = JournalWriter.create(folder)
    guard = os.dup(writer.lock_fd)
    writer.close()
    assert held_by(folder)
    os.close(guard)
    assert not held_by(folder)


def test_looking_whether_a_run_is_driven_does_not_stop_a_writer(folder: RunFolder) -> None:
    write(folder, EVENTS)
    looking = "import time\nprint('ready', flush=True)\nwhile True: held_by(folder)"
    with child(looking, folder) as process:
        assert process.stdout
        process.stdout.readline()
        for _ in range(20):
            JournalWriter.resume(folder)[0].close()
        process.kill()


def test_a_recorded_pid_that_is_now_a_strangers_is_not_named(folder: RunFolder) -> None:
    writer = JournalWriter.create(folder)
    folder.lock.write_text(f"{os.getppid()} 1\n")
    assert holder(folder) is None
    with pytest.raises(BusyError, match="cannot be named"):
        JournalWriter.resume(folder, wait=0)
    writer.close()


def test_a_reader_beside_the_writer_sees_a_prefix(folder: RunFolder) -> None:
    code = (
        "w = JournalWriter.create(folder)\nfor i in range(3000):\n"
        "    w.append({'i': i, 'x': 'x' * 300})\n    if i % 7 == 0: w.sync()\nw.sync()"
    )
    seen = [0]
    with child(code, folder) as process:
        while process.poll() is None:
            if folder.journal.exists():
                events = read(folder.journal).events
                assert [e["i"] for e in events] == list(range(len(events)))
                seen.append(len(events))
    assert seen == sorted(seen)
    assert read(folder.journal).position == 3000


# Disks


def test_a_full_disk_ends_the_journal_and_resume_goes_on(folder: RunFolder) -> None:
    code = """
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
w = JournalWriter.create(folder)
for act in (lambda: [(w.append({"i": i}), w.sync()) for i in range(100)], lambda: w.append({}), w.sync):
    try: act()
    except StateError as error: print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try: w.sync()
except StateError: print("still refused", folder.journal.stat().st_size)
"""
    with child(code, folder) as process:
        said = process.communicate()[0].splitlines()
    assert len(said) == 4
    assert len(set(said[:3])) == 1
    assert said[0].startswith(f'cannot write "{folder.journal}": file too large; raise the limit')
    assert said[3] == "still refused 1000"

    writer, reading = JournalWriter.resume(folder)
    assert reading.torn
    assert reading.events == [{"i": i} for i in range(reading.position)]
    writer.append({"i": reading.position})
    writer.sync()
    writer.close()
    assert read(folder.journal).position == reading.position + 1


def test_a_folder_that_cannot_be_written_can_be_read(unprivileged: Path) -> None:
    store = Store(unprivileged / ".wfctl")
    store.prepare()
    folder = store.new_run(0)
    write(folder, EVENTS)
    for path in (folder.journal, folder.lock):
        path.chmod(0o400)
    folder.path.chmod(0o500)
    try:
        assert read(folder.journal).events == EVENTS
        assert not held_by(folder)
        with pytest.raises(StateError, match="permission denied; check its owner and mode"):
            JournalWriter.resume(folder)
    finally:
        folder.path.chmod(0o700)


def test_a_run_that_was_removed_meanwhile_cannot_be_resumed(folder: RunFolder) -> None:
    write(folder, EVENTS)
    folder.path.rename(folder.path.with_name("elsewhere"))
    with pytest.raises(StateError, match="has no folder any more"):
        JournalWriter.resume(folder)
