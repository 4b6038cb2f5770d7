"""The processes that the engine inherits from its jobs, as their parents end: found, and told whose they are.

Ends none of them, and knows no job: an owner is the leader of a session, and the node and attempt that it works on."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from wfctl import proc

_PR_SET_CHILD_SUBREAPER = 36
_MOST = 1 << 16     # bytes of a list of children that are read at once; the kernel gives a page or less
_PAGE = 2048        # a list that is longer may have been cut


class Adopted:
    """Which children of this process are none that it started, and which leader each belongs to.

    Leaders are told by their pid, and stay unreaped while they are asked for, so that the number of their session is
    theirs alone; each has a mark, which its environment says. All pids here are of children that nobody else reaps:
    they cannot become a stranger's."""

    def __init__(self) -> None:
        self._fd = -1
        self._scans = False                         # where the kernel keeps no list of children
        self._strangers: set[int] = set()           # children from before: somebody else's affair
        self._owners: dict[int, int] = {}           # by pid: its leader, or 0 where nobody can tell
        self._of: dict[int, set[int]] = {}          # by leader, the reverse
        self._spared: set[int] = set()              # left alone for good
        self._foreseen: dict[int, tuple[int, bytes]] = {}     # descendants of a leader that lives: it, and their start

    def open(self, guard: int = -1) -> None:
        """From now on orphans among the descendants become children of this process, where the system has that."""
        _set_subreaper(True)
        try:
            if os.readlink("/proc/self") != str(os.getpid()):
                return      # the pids there are those of another namespace
            self._fd = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._scans = os.path.exists("/proc/self/stat")
        self._strangers = set(self._children()) - {guard}

    def close(self) -> None:
        """Adopt no more."""
        _set_subreaper(False)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def look(self, leaders: Mapping[int, str], guard: int) -> None:
        """Take in what was adopted since the last time. `leaders` are the unreaped ones, with their marks.

        A microsecond where there is nothing new: orphans come to the main thread, and the kernel lists its children."""
        own = len(leaders) + len(self._owners) + len(self._spared) + (guard > 0)
        if self._fd >= 0 and not self._strangers:
            listed = os.pread(self._fd, _MOST, 0)
            if len(listed) < _PAGE and listed.count(b" ") == own:
                return
        children = self._children()
        self._strangers.intersection_update(children)
        by_mark: dict[str, int] = {}
        for pid in children:
            if pid in leaders or pid in self._owners or pid in self._spared or pid == guard or pid in self._strangers:
                continue
            by_mark = by_mark or {mark: leader for leader, mark in leaders.items() if mark}
            owner = self._owner(pid, leaders, by_mark)
            self._owners[pid] = owner
            self._of.setdefault(owner, set()).add(pid)

    def of(self, leader: int) -> Collection[int]:
        """What was adopted from the session or the attempt of that leader; of 0, what nobody can be told from."""
        return self._of.get(leader, ())

    def owned(self) -> Collection[int]:
        """All that was adopted and is not left alone."""
        return self._owners.keys()

    def reap(self, pid: int) -> bool:
        """Take its exit status, if it has ended."""
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                return False
        except ChildProcessError:
            pass
        self._forget(pid)
        return True

    def reap_all(self, awaited: Collection[int]) -> None:
        """Take the exit statuses of all that have ended, but for those that somebody awaits."""
        for pid in (*self._owners, *self._spared):
            if pid not in awaited:
                self.reap(pid)

    def spare(self, pid: int) -> None:
        """Leave it alone for good: it may outlive its job, or it cannot be ended."""
        self._forget(pid)
        self._spared.add(pid)

    def foresee(self, leader: int) -> None:
        """Note the descendants of a leader that lives, so that they are known as its own wherever they go to."""
        for pid in descendants(leader):
            if started := _started(pid):
                self._foreseen[pid] = leader, started

    def done(self, leader: int) -> None:
        """The leader is about to be reaped: what it leaves is nobody's."""
        if self._foreseen:
            self._foreseen = {pid: seen for pid, seen in self._foreseen.items() if seen[0] != leader}
        for pid in self._of.pop(leader, ()):
            self._owners[pid] = 0
            self._of.setdefault(0, set()).add(pid)

    def _forget(self, pid: int) -> None:
        self._spared.discard(pid)
        owner = self._owners.pop(pid, None)
        if owner is not None and (pids := self._of.get(owner)) is not None:
            pids.discard(pid)
            if not pids:
                del self._of[owner]

    def _owner(self, pid: int, leaders: Mapping[int, str], by_mark: Mapping[str, int]) -> int:
        try:
            session = os.getsid(pid)
        except OSError:
            return 0
        if session in leaders:
            return session
        seen = self._foreseen.get(pid)
        if seen is not None and seen[0] in leaders and seen[1] == _started(pid):
            return seen[0]
        return next((by_mark[mark] for mark in proc.marks(pid) if mark in by_mark), 0)

    def _children(self) -> list[int]:
        if self._fd < 0:
            return list(_scanned(os.getpid())) if self._scans else []
        os.lseek(self._fd, 0, os.SEEK_SET)
        listed = b""
        while more := os.read(self._fd, _MOST):
            listed += more
        return [int(pid) for pid in listed.split()]


def descendants(leader: int) -> list[int]:
    """The live processes below one, each after its parent. A look at each of them, not at all there are."""
    found = [leader]
    for pid in found:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    found += map(int, file.read().split())
        except OSError:     # ended meanwhile, or the kernel keeps no such list
            continue
    return found[1:]


def _scanned(parent: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := proc.stat(name)) and int(fields[proc.PARENT]) == parent:
            yield int(name)


def _started(pid: int) -> bytes:
    fields = proc.stat(pid)
    return fields[proc.STARTED] if fields else b""


def _set_subreaper(on: bool) -> None:
    try:
        import _ctypes  # ctypes itself takes 3 ms to import, too much for one call

        prctl = _ctypes.dlsym(_ctypes.dlopen("", 0), "prctl")
        _ctypes.call_function(prctl, (_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0))
    except (ImportError, AttributeError, OSError):
        pass
