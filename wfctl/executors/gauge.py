"""How large logs are, how full a disk is, how short of memory or files the machine, and how soon to look again.

Knows no processes and reads no clock."""

from __future__ import annotations

import os
from collections.abc import Iterable

OFTEN, SELDOM = 0.02, 1.0
"""Seconds between two looks, at least and at most."""

ROOM = 64 * 1024 * 1024
"""Bytes that must be free, or a twentieth of the disk where that is less."""

FASTEST = 4 * 1024**3
"""Bytes that a process writes in a second at most, about: no log can grow faster, and no disk fill."""


def may_be_over(limit: int, seconds: float) -> bool:
    """Whether one that took so long can have written more than the limit: spares most of them a look."""
    return seconds * FASTEST > limit


class Log:
    """The files that one attempt writes to, and their limit in bytes."""

    __slots__ = ("_growth", "_seen", "_size", "limit", "paths")

    def __init__(self, paths: Iterable[str], limit: int, now: float) -> None:
        self.paths = tuple(paths)
        self.limit = limit
        self._size = 0
        self._seen = now
        self._growth = 0.0      # bytes a second, between the last two looks

    def is_over(self, now: float) -> bool:
        """Look at the sizes. A file that is gone has none."""
        size = max(map(_size, self.paths), default=0)
        if now > self._seen:
            self._growth = max(0.0, (size - self._size) / (now - self._seen))
        self._size, self._seen = size, now
        return size > self.limit

    def pause(self) -> float:
        """Seconds after which it is worth another look: half of those until the limit, as fast as it grows now."""
        return (self.limit - self._size) / self._growth / 2 if self._growth else SELDOM

    def cut(self) -> None:
        """Leave of each file what the limit allows."""
        for path in self.paths:
            try:
                if _size(path) > self.limit:
                    os.truncate(path, self.limit)
            except OSError:     # gone, or its disk is broken: then there is nothing to keep
                continue


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


class Disk:
    """The file system under a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._free = 0

    def room(self) -> int:
        """Bytes that are still free above what must be; negative where too few are. Much where it cannot be told."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return FASTEST
        if not disk.f_blocks:   # not every file system counts
            return FASTEST
        self._free = disk.f_bavail * disk.f_frsize
        return self._free - min(ROOM, disk.f_blocks * disk.f_frsize // 20)

    def __str__(self) -> str:
        """How little was free when it was last looked at, and the way out."""
        free = f"only {self._free / 2**20:.1f} MiB are free" if self._free >= 2**16 else "nothing is free"
        return f'{free} on the disk of "{self._folder}"; make room there'


def has_descriptors(count: int) -> bool:
    """Whether this process may open so many files more."""
    taken: list[int] = []
    try:
        while len(taken) < count:
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        for fd in taken:
            os.close(fd)
    return True


class Memory:
    """What the kernel has ended for lack of memory, on this machine, or in one of its groups with a limit."""

    def __init__(self) -> None:
        self._told = _oom_kills()

    def was_short(self) -> bool:
        """Whether there was one more since the last that was told."""
        short = _oom_kills() > self._told
        self._told += short
        return short


def _oom_kills() -> int:
    try:
        with open("/proc/vmstat", "rb") as file:
            return int(file.read().partition(b"\noom_kill ")[2].split(None, 1)[0])
    except (OSError, IndexError, ValueError):  # the kernel does not count them
        return 0


def pause(pauses: Iterable[float]) -> float:
    """The shortest of these pauses, within what is allowed."""
    return min(SELDOM, max(OFTEN, min(pauses, default=SELDOM)))
