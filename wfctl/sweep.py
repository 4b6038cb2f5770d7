"""Finds the processes that a dead run has left, and ends them.

Knows nothing of runs: a roster says what to look for. A guard loads it at its start, so it imports next to nothing."""

from __future__ import annotations

import os
import time

from wfctl import proc, roster
from wfctl.cage import Cage

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 10.0
"""Seconds after which a sweep gives up."""

# Seconds between two looks that find nothing: one that has just been started may not have its own environment yet.
_APART = 0.05
_SOON = 0.005  # between the first look that found something and the next; then longer: what does not end is waited for
_SLACK = 2  # ticks: the engine's clock and the kernel's are not read at the same moment
_DENIED = 3  # looks in a row that found only what we may not end


class Process:
    """A process as it was seen once: with the moment of its start the pid names it and no other."""

    __slots__ = ("alive", "parent", "pid", "session", "started")

    def __init__(self, pid: int, parent: int, session: int, started: int, alive: bool) -> None:
        self.pid = pid
        self.parent = parent
        self.session = session
        self.started = started
        self.alive = alive

    @property
    def identity(self) -> tuple[int, int]:
        return self.pid, self.started

    @property
    def command(self) -> list[str]:
        """Its command line, which may say anything; its name where it has none."""
        return proc.command(self.pid)


class Swept:
    """What came of a sweep: how many processes were ended, which could not be, and whether none can be on its way."""

    __slots__ = ("ended", "known", "left", "settled")

    def __init__(self, ended: int, left: list[Process], settled: bool = True, known: bool = True) -> None:
        self.ended = ended
        self.left = left
        self.settled = settled
        self.known = known  # else the roster was damaged, and it could not be told what to look for

    @property
    def is_clean(self) -> bool:
        return self.settled and not self.left


class Search:
    """Looks for the processes of one run, as often as it is asked: what was once found to belong is remembered.

    A process belongs if its pid is that of a recorded leader and it was started when that one was; if it is in the
    cage; if the nonce stands in its environment; if it descends from one that belongs, or is in a session that such a
    one leads or has led. This process and those that it descends from never do.
    """

    def __init__(self, entries: roster.Entries) -> None:
        self._entries = entries
        self._cage = Cage.at(entries.cage, entries.nonce)
        self._known: set[tuple[int, int]] = set()
        self._sessions: set[int] = set()
        self._spared = _ancestry()

    def look(self) -> list[Process]:
        """Those alive that belong, by one look at all processes that are younger than the run."""
        young = self._young()
        found = {pid for pid, process in young.items() if self._is_known(process)}
        self._spread(found, young)
        nonce = self._entries.nonce
        if nonce:
            found |= {pid for pid in young.keys() - found if nonce in proc.marks(pid)}
            self._spread(found, young)
        self._known |= {young[pid].identity for pid in found}
        self._sessions |= {pid for pid in found if young[pid].session == pid}
        return [young[pid] for pid in found if young[pid].alive]

    def _young(self) -> dict[int, Process]:
        """All processes that were started since the run began, those too that come while we look."""
        young: dict[int, Process] = {}
        seen = set(map(str, self._spared))
        for _ in range(10):
            new = [name for name in os.listdir("/proc") if name.isdigit() and name not in seen]
            if not new:
                break
            seen.update(new)
            for name in new:
                process = _look(name)
                if process is not None and process.started >= self._entries.began - _SLACK:
                    young[process.pid] = process
        return young

    def _is_known(self, process: Process) -> bool:
        if process.identity in self._known:
            return True
        started = self._entries.leaders.get(process.pid)
        if started is not None and started[0] - _SLACK <= process.started <= started[1] + _SLACK:
            return True
        return self._cage is not None and self._cage.has(process.pid)

    def _spread(self, found: set[int], young: dict[int, Process]) -> None:
        """Add what descends from those found, and who is in a session that one of them leads."""
        related: dict[int, list[int]] = {}
        for process in young.values():
            related.setdefault(process.parent, []).append(process.pid)
            related.setdefault(-process.session, []).append(process.pid)  # by a key of its own: it may be no child
        waiting = list(found)
        # A leader that is gone cannot lead another session; a stranger that has its pid does.
        waiting += [session for session in self._sessions if session not in young]
        while waiting:
            pid = waiting.pop()
            near = [*related.get(pid, ()), *(related.get(-pid, ()) if _leads(young.get(pid), pid) else ())]
            for other in near:
                if other not in found:
                    found.add(other)
                    waiting.append(other)


def sweep(entries: roster.Entries, limit: float = LIMIT, settled: Callable[[], bool] = lambda: True) -> Swept:
    """End all that a dead run has left, until two looks in a row find nothing; at most for `limit` seconds.

    `settled` says whether no process can be on its way any more that shows no sign of the run yet.
    """
    if os.environ.get("WFCTL_TEST_WITHOUT") == "sweep":  # for tests that must fail without
        return Swept(0, [])
    if not entries.boot:
        return Swept(0, [], known=False)
    if entries.boot != roster.boot_id():  # nothing is older than the machine; the pids are those of strangers
        return Swept(0, [])
    deadline = time.monotonic() + limit
    cage = Cage.at(entries.cage, entries.nonce)
    whole = cage if cage is not None and not _stands_in(cage) else None
    search = Search(entries)
    ended: set[tuple[int, int]] = set()
    empty = denied = 0
    pause = _SOON
    while True:
        found = search.look()
        if whole is not None:
            whole.kill()
        allowed = [process for process in found if _kill(process)]
        ended.update(process.identity for process in allowed)
        is_quiet = not found and (whole is None or whole.is_empty) and settled()
        empty = empty + 1 if is_quiet else 0
        denied = denied + 1 if found and not allowed else 0
        if empty == 2 or denied == _DENIED or time.monotonic() >= deadline:
            break
        time.sleep(pause if found else _APART)
        pause = min(2 * pause, _APART)
    if cage is not None and not found:
        cage.remove()
    ended -= {process.identity for process in found}
    return Swept(len(ended), found, empty > 0)


def clear(path: str, *, wait: bool = False) -> Swept | None:
    """Sweep by the roster at that path, and remove it where all has ended.

    None where there is none, its run is alive, or somebody else is at it; with `wait`, the latter two are waited for,
    for as long as a sweep may take, and then it raises BlockingIOError. Raises OSError.
    """
    import fcntl

    deadline = time.monotonic() + (LIMIT + 1 if wait else 0)

    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    return None
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_SOON)
        if not roster.is_at(fd, path):  # swept by another
            return None
        is_begun = os.fstat(fd).st_size > 0  # else its engine died before its first word
        swept = sweep(roster.read(fd)) if is_begun else Swept(0, [])
        if swept.is_clean:
            roster.discard(path)
    finally:
        os.close(fd)
    return swept


def _kill(process: Process) -> bool:
    """End it if it is still the one that was seen. False where we may not."""
    import signal

    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:  # it has ended
        return True
    try:
        now = _look(str(process.pid))
        if now is not None and now.started == process.started:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    finally:
        os.close(pidfd)
    return True


def _look(name: str) -> Process | None:
    fields = proc.stat(name)
    if not fields:
        return None
    # A zombie with threads is one whose first thread has ended: the process lives.
    alive = fields[proc.STATE] not in b"ZX" or int(fields[proc.THREADS]) > 1
    parent, session, started = (int(fields[place]) for place in (proc.PARENT, proc.SESSION, proc.STARTED))
    return Process(int(name), parent, session, started, alive)


def _ancestry() -> set[int]:
    """This process and those that it descends from."""
    pids: set[int] = set()
    process = _look(str(os.getpid()))
    while process is not None and process.pid not in pids:
        pids.add(process.pid)
        process = _look(str(process.parent))
    return pids


def _stands_in(cage: Cage) -> bool:
    """Whether one that this process descends from is in the cage: it may not be ended whole."""
    return any(cage.has(pid) for pid in _ancestry() if pid != os.getpid())


def _leads(process: Process | None, pid: int) -> bool:
    return process is None or process.session == pid
