"""A cgroup of a run's own, where one can be made: whatever its processes do to hide, they are in it.

Knows nothing of which processes there should be. A guard loads it at its start, so it imports next to nothing."""

from __future__ import annotations

import _thread  # `threading` would say no more, and costs its import
import os

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PREFIX = "wfctl-"


class Cage:
    """The cgroup of one run. All that is started by who is in it is in it too.

    Whatever fails, fails silently: nothing requires a cage.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._moving: list[_thread.LockType] = []

    @classmethod
    def below(cls, nonce: str) -> Cage | None:
        """A cgroup below that of this process, not made yet.

        None where there is no cgroup v2, or where ours has limits: programs that look there for how much they may use,
        as Java does, would see none.
        """
        home = own_folder()
        return cls(f"{home}/{_PREFIX}{nonce}") if home is not None and not _is_limited(home) else None

    @classmethod
    def at(cls, path: str | None, nonce: str) -> Cage | None:
        """The cage that a roster names. None where it names none, or another folder: what it says may be damaged."""
        return cls(path) if path is not None and os.path.basename(path) == _PREFIX + nonce else None

    def make(self) -> bool:
        """Make it, empty; False where that cannot be."""
        try:
            os.mkdir(self.path, 0o755)
        except OSError:
            return False
        return True

    def enter(self, members: Callable[[], Iterable[int]]) -> None:
        """Begin to move this process in, and then `members`, who were started before it was.

        The first move takes the kernel some milliseconds, in which nobody can start a process: a thread waits for it.
        """
        self._move(self.path, members)

    def leave(self) -> None:
        """Begin to move this process out again."""
        self.wait()
        self._move(os.path.dirname(self.path), tuple)

    def wait(self) -> None:
        """Wait until a move has come to its end."""
        while self._moving:
            self._moving.pop().acquire()

    def has(self, pid: int | str) -> bool:
        """Whether that process is in the cage, or in a cgroup below it, or in one of its jobs beside it."""
        try:
            with open(f"/proc/{pid}/cgroup", "rb") as file:
                groups = file.read()
        except OSError:
            return False
        name = os.fsencode(f"/{os.path.basename(self.path)}")
        return name + b"/" in groups.replace(b"\n", b"/") or name + b"." in groups

    @property
    def is_empty(self) -> bool:
        """Whether no process is in the cage, or there is no cage any more."""
        try:
            with open(f"{self.path}/cgroup.events", "rb") as file:
                return b"populated 0" in file.read()
        except OSError:
            return True

    def kill(self) -> None:
        """KILL to all in the cage at once, where the kernel can do that. This process leaves it before."""
        try:
            if self.has("self"):
                _enter(os.path.dirname(self.path))
            if not self.has("self"):
                _write(f"{self.path}/cgroup.kill", b"1")
        except OSError:
            pass

    def remove(self) -> None:
        """Remove the cage if it is empty, and the cgroups that its processes have made in it."""
        for folder, _, _ in os.walk(self.path, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass

    def _move(self, path: str, members: Callable[[], Iterable[int]]) -> None:
        lock = _thread.allocate_lock()
        lock.acquire()

        def move() -> None:
            try:
                _enter(path)
                _take(path, members)
            except OSError:
                pass
            finally:
                lock.release()

        try:
            _thread.start_new_thread(move, ())
        except RuntimeError:  # no thread can be had
            move()
        self._moving.append(lock)


def own_folder(controller: str = "") -> str | None:
    """The folder of the cgroup v2 that this process is in, or of that of v1 for a controller; None without one.

    That of v2 may be mounted alone, or beside those of v1.
    """
    own = None
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if controller in controllers.split(","):
                    own = path
        if own is None:
            return None
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                place, _, what = line.partition(" - ")
                kind, *_, options = what.split() or ("", "")
                if kind == ("cgroup" if controller else "cgroup2") and (controller or options) in options.split(","):
                    root, folder = place.split()[3:5]
                    below = own if root == "/" else own.removeprefix(root)
                    if "\\" not in folder and (root == "/" or below != own):
                        return (folder + below).rstrip("/")
    except OSError:
        pass
    return None


def _is_limited(folder: str) -> bool:
    for name in ("memory.max", "memory.high", "cpu.max"):
        try:
            with open(f"{folder}/{name}", "rb") as file:
                if not file.read().startswith(b"max"):
                    return True
        except OSError:  # that controller is not in use there
            continue
    return False


def _take(path: str, members: Callable[[], Iterable[int]]) -> None:
    """Move them in. What one of them starts meanwhile is moved as well, until all who start others are inside."""
    taken: set[int] = set()
    while new := set(members()) - taken:
        for pid in new:
            try:
                _write(f"{path}/cgroup.procs", b"%d" % pid)
            except OSError:  # it has ended
                pass
        taken |= new


def _enter(path: str) -> None:
    _write(f"{path}/cgroup.procs", b"0")


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
