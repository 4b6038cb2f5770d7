"""The processes of a test, looked at from outside through /proc.

Knows nothing of wfctl but that its guard names itself on its command line."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLK_TCK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """A live process: no zombie. `started` is ticks since boot; with the pid it names this one and no other."""

    pid: int
    parent: int
    session: int
    state: str
    started: int
    command: str

    def is_alive(self) -> bool:
        now = look(self.pid)
        return now is not None and now.started == self.started

    def environ(self) -> bytes:
        return _read(self.pid, "environ")


def look(pid: int) -> Process | None:
    """The live process of that pid."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    if not fields or fields[0] in b"ZX":
        return None
    command = " ".join(_read(pid, "cmdline").decode(errors="replace").split("\0")).strip()
    return Process(pid, int(fields[1]), int(fields[3]), fields[0].decode(), int(fields[19]), command)


def alive(pid: int) -> bool:
    return look(pid) is not None


def state_of(pid: int) -> str:
    """The kernel's letter for what a live process does: R, S, T …; empty where there is none."""
    process = look(pid)
    return process.state if process else ""


def everyone() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := look(int(name))) is not None:
            yield process


def children(pid: int) -> list[Process]:
    return [process for process in everyone() if process.parent == pid]


def guard_of(engine: int) -> Process | None:
    """The guard of a live engine: its child that leads a session of its own and says what it is."""
    found = [p for p in children(engine) if p.session == p.pid and "wfctl.guard" in p.command]
    return found[0] if found else None


def with_text(text: str) -> list[Process]:
    """The live processes whose environment holds the text."""
    return [process for process in everyone() if text.encode() in process.environ()]


def of_folder(folder: Path) -> list[Process]:
    """The live processes that have to do with a folder: by environment, command line, current folder or open files.

    Not this one, nor those above it."""
    mark = f"{folder}/"
    above = _ancestors()
    return [process for process in everyone() if process.pid not in above and _speaks_of(process, mark)]


def kill(processes: list[Process]) -> None:
    """KILL to each of them that is still the one that was seen."""
    for process in processes:
        if process.is_alive():
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def cgroup_of(pid: int) -> Path | None:
    """The folder of a process's group of the second kind; None where there is no such thing."""
    mounts = [line.split() for line in _read(os.getpid(), "mountinfo").decode().splitlines()]
    mount = next((words[4] for words in mounts if words[words.index("-") + 1] == "cgroup2"), None)
    group = next((line[3:] for line in _read(pid, "cgroup").decode().splitlines() if line.startswith("0::")), None)
    return None if mount is None or group is None else Path(mount, group.strip("/"))


def processor_seconds(pid: int) -> float:
    """User and system time that a process itself has used, in hundredths; it must not have been reaped."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLK_TCK


def peak_megabytes(pid: int) -> float:
    """The most memory that a live process has held; 0 when it has ended."""
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def _speaks_of(process: Process, mark: str) -> bool:
    if mark in f"{process.command}/" or mark.encode() in process.environ() + b"/":
        return True
    base = f"/proc/{process.pid}"
    try:
        links = [f"{base}/cwd", *(f"{base}/fd/{fd}" for fd in os.listdir(f"{base}/fd"))]
    except OSError:  # ended meanwhile, or another user's
        return False
    return any(f"{_target(link)}/".startswith(mark) for link in links)


def _ancestors() -> set[int]:
    pids, pid = {os.getpid()}, os.getppid()
    while pid > 1 and (process := look(pid)) is not None:
        pids.add(pid)
        pid = process.parent
    return pids


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
