"""The processes that a live run has: a small file, there while the run is driven, for whoever must end them after it.

Knows nothing of how a process is found or ended. A guard loads it at its start, so it imports next to nothing."""

from __future__ import annotations

import os
import time

FORMAT = 1
"""The file's format. Of another one only the head is believed, as far as it can be read."""

TICKS = os.sysconf("SC_CLK_TCK")
"""The kernel counts the moments when processes were started in so many parts of a second."""

# Pid, and the moments just before and after its start. All are of one length, so that each is written in its place.
_SLOT = b"%10d %15d %15d\n"
_LENGTH = len(_SLOT % (0, 0, 0))
_HEAD = 1024  # bytes of the first line, so that it can be written anew in its place
_READY = 64  # slots made at once: they fill the block that the head takes anyway, and a full disk denies none of them
_LARGEST = 1 << 24


class Entries:
    """What a roster says.

    `nonce` stands in the environment of the run's processes, `boot` names the life of the machine that they belong to,
    `cage` is the folder of their cgroup. `began` is before the first of them, in ticks since boot. `leaders` are pids
    with the ticks between which each was started. Where the file is damaged, `nonce` and `boot` are "".
    """

    __slots__ = ("began", "boot", "cage", "leaders", "nonce")

    def __init__(
        self,
        nonce: str = "",
        boot: str = "",
        cage: str | None = None,
        began: int = 0,
        leaders: dict[int, tuple[int, int]] | None = None,
    ) -> None:
        self.nonce = nonce
        self.boot = boot
        self.cage = cage
        self.began = began
        self.leaders = leaders or {}


class Roster:
    """The roster of a run as its engine writes it.

    Nothing is synced, for it matters only as long as the machine lives. The file is locked while a process has `fd`
    open: one that is not locked is of a run whose engine and guard are dead.
    """

    def __init__(self, path: str, fd: int, head: dict[str, object]) -> None:
        self.path = path
        self.fd = fd
        self._head = head
        self._free: list[int] = []
        self._used = 0

    @classmethod
    def create(cls, path: str, nonce: str) -> Roster:
        """Begin the roster of a run that has none. Raises OSError."""
        import fcntl

        folder = os.path.dirname(path)
        try:
            os.mkdir(folder, 0o700)
            os.chmod(folder, 0o700)  # the umask may have taken away even the owner's rights
        except FileExistsError:
            pass
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(fd, 0o600)
                fcntl.flock(fd, fcntl.LOCK_EX)
                if is_at(fd, path):  # else somebody took it for one left behind, just before it was locked
                    head = {"format": FORMAT, "nonce": nonce, "boot": boot_id(), "cage": None, "began": int(_now())}
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, _padded(head) + _SLOT % (0, 0, 0) * _READY, 0)
                    return cls(path, fd, head)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    @property
    def is_empty(self) -> bool:
        """Whether every process that was entered has left."""
        return len(self._free) == self._used

    def enter(self, pid: int, before: float) -> int:
        """Take in a process that was started between `before` (seconds since boot) and now; the slot that it has."""
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._used
            self._used += 1
        try:
            os.pwrite(self.fd, _SLOT % (pid, before * TICKS, _now()), _HEAD + slot * _LENGTH)
        except OSError:  # a full disk; the process is found by its nonce all the same
            pass
        return slot

    def leave(self, slot: int) -> None:
        """Its process has ended. What stands in the slot is harmless: who reads it compares the moment of the start."""
        self._free.append(slot)

    def name_cage(self, path: str) -> None:
        """Say which cgroup the run is about to have. Raises OSError, also where the path is too long."""
        self._head["cage"] = path
        os.pwrite(self.fd, _padded(self._head), 0)

    def remove(self) -> None:
        """Remove the file: nothing of the run is alive."""
        discard(self.path)
        self.close()

    def close(self) -> None:
        """Let go of the file, and leave it to others."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def read(fd: int) -> Entries:
    """What stands in a roster, as far as it can be read: a damaged one is no reason to leave processes alive."""
    data = os.pread(fd, min(os.fstat(fd).st_size, _LARGEST), 0)
    head, _, rest = data.partition(b"\n")
    entries, is_ours = _head(head)
    for line in rest.split(b"\n")[:-1] if is_ours else ():  # what follows the last newline was never whole
        words = line.split()
        if len(words) == 3 and all(word.isdigit() and len(word) < 18 for word in words) and int(words[0]):
            pid, span = int(words[0]), (int(words[1]), int(words[2]))
            entries.leaders[pid] = max(span, entries.leaders.get(pid, span))  # of one left behind the number came again
    return entries


def _head(line: bytes) -> tuple[Entries, bool]:
    """What the first line says, and whether the others are of a format that is known."""
    import json

    try:
        head = json.loads(line)
        nonce, boot, cage, began = (head.get(name) for name in ("nonce", "boot", "cage", "began"))
        known = head.get("format") == FORMAT
    except (ValueError, AttributeError, RecursionError):
        return Entries(), False
    sound = isinstance(nonce, str) and len(nonce) >= 8 and nonce.isalnum() and isinstance(boot, str)
    if not sound:
        return Entries(), False
    return Entries(nonce, boot, cage if isinstance(cage, str) else None, began if type(began) is int else 0), known


def _padded(head: dict[str, object]) -> bytes:
    import errno
    import json

    text = json.dumps(head).encode()
    if len(text) >= _HEAD:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return text.ljust(_HEAD - 1) + b"\n"


def is_at(fd: int, path: str) -> bool:
    """Whether the open file still has that name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def discard(path: str) -> None:
    """Remove a roster, if it is still there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def boot_id() -> str:
    """What the kernel calls this life of the machine; "" where it cannot be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS
