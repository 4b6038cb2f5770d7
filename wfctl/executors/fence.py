"""Keeps jobs to their hard limits: in a cgroup of their own where the system has one for us, else by resource limits.

Knows nothing of budgets: it is handed a job that has limits, before it starts and after it has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from wfctl.cage import own_folder
from wfctl.jobs import Job, Limits
from wfctl.quantity import shown_amount

PERIOD = 100_000                                    # microseconds: how often the kernel deals out processor time anew
OLD = 60.0                                          # seconds after which an empty cgroup was left by a dead engine
LAST_WORDS = 4096                                   # bytes of a log in which a process says why it ended
NO_MEMORY = (b"memoryerror", b"cannot allocate memory", b"out of memory", b"bad_alloc", b"outofmemory")

# Both end as the program itself, with the limit on: no moment in which it has none. `ulimit -d` counts what is written
# to, in KiB; `-v` would count address space too, of which many programs take a lot that they never use.
INTO_GROUP = ("/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"')
UNDER_LIMIT = ("/bin/sh", "-c", 'ulimit -d "$0" 2>/dev/null; exec "$@"')


class Fence:
    """The limits of the jobs of one run. `nonce` names their cgroups. `warn` is told once of what cannot be enforced.

    A cgroup may have limits where one above hands its controllers down, holds no process, and is ours to write to. So
    where we stand beside others in it (the scopes and services of systemd do) there can be one for each job.
    """

    def __init__(self, nonce: str, warn: Callable[[str], None], home: str | None = None) -> None:
        self._nonce = nonce
        self._warn = warn
        self._groups: dict[str, str] = {}  # folders, by the job's id
        self._count = 0
        self._above = _dividing(own_folder() if home is None else home)
        self._handed = _words(f"{self._above}/cgroup.subtree_control") if self._above is not None else set()
        self._told = False
        if self._above is not None:
            _remove_old(self._above)

    def words(self, job: Job) -> Sequence[str]:
        """What to put before the words of a job, so that it starts inside of its limits."""
        limits = job.limits
        if limits is None:
            return ()
        group = self._group(limits)
        if group is not None:
            self._groups[job.id] = group
            self._tell(limits, self._handed)
            return (*INTO_GROUP, group)
        self._tell(limits, set())
        return (*UNDER_LIMIT, str(max(1, limits.memory // 1024))) if limits.memory is not None else ()

    def encloses(self, job: Job) -> bool:
        """Whether the job has a cgroup of its own."""
        return job.id in self._groups

    def ended(self, job: Job, failed: bool) -> str:
        """The job has ended; its group goes. Why it failed, if that was for its limit of memory; else nothing."""
        limits = job.limits
        group = self._groups.pop(job.id, None)
        short = False
        if group is not None:
            short = _killed_in(group)
            _remove(group)
        elif failed and limits is not None and limits.memory is not None:
            short = any(sign in _last_words(job.log).lower() for sign in NO_MEMORY)
        if not (short and failed) or limits is None or limits.memory is None:
            return ""
        limit = shown_amount("memory", limits.memory)
        return f"out of memory: its hard limit is {limit}; let it use less, or raise that"

    def _group(self, limits: Limits) -> str | None:
        """A new cgroup with these limits; None where none can be made."""
        if self._above is None:
            return None
        self._count += 1
        group = f"{self._above}/wfctl-{self._nonce}.{self._count}"
        try:
            os.mkdir(group, 0o755)
        except OSError:
            self._above = None  # not ours to write to: it is not tried again
            return None
        try:
            if limits.memory is not None and "memory" in self._handed:
                _write(f"{group}/memory.max", str(limits.memory))
                _try_to_write(f"{group}/memory.swap.max", "0")  # not there where swap is not counted
                _try_to_write(f"{group}/memory.oom.group", "1")
            if limits.cpu is not None and "cpu" in self._handed:
                _write(f"{group}/cpu.max", f"{max(1000, limits.cpu * PERIOD // 1000)} {PERIOD}")
            if not _may_enter(group):
                raise PermissionError
        except OSError:
            _remove(group)
            self._above = None
            return None
        return group

    def _tell(self, limits: Limits, enforced: set[str]) -> None:
        lacking = [name for name in ("memory", "cpu") if getattr(limits, name) is not None and name not in enforced]
        if not lacking or self._told:
            return
        self._told = True
        how = {"memory": "memory is limited for each process by itself", "cpu": "cpu is not limited"}
        why = "this system lets us make no cgroup with limits"
        if enforced:
            how["memory"] = "memory is not limited"
            why = "the cgroup above hands down too little"
        self._warn(f"limit: hard: {' and '.join(how[name] for name in lacking)}: {why}")


def _dividing(folder: str | None) -> str | None:
    """The nearest cgroup, from this one upward, that hands controllers down to those in it."""
    while folder is not None and os.path.exists(f"{folder}/cgroup.subtree_control"):
        if _words(f"{folder}/cgroup.subtree_control") & {"memory", "cpu"}:
            return folder if os.access(folder, os.W_OK) else None
        folder = os.path.dirname(folder)
    return None


def _may_enter(group: str) -> bool:
    """Whether a process of ours may go there: it needs the right to write in all that both have above them."""
    return os.access(f"{group}/cgroup.procs", os.W_OK) and os.access(f"{os.path.dirname(group)}/cgroup.procs", os.W_OK)


def _killed_in(group: str) -> bool:
    """Whether the kernel has ended a process in it for lack of memory."""
    try:
        with open(f"{group}/memory.events", encoding="ascii") as file:
            counts = dict(line.split() for line in file)
    except (OSError, ValueError):
        return False
    return int(counts.get("oom_kill", 0)) > 0


def _last_words(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_WORDS))
            return file.read(LAST_WORDS)
    except OSError:
        return b""


def _remove_old(above: str) -> None:
    """Remove what dead engines have left: cgroups in which nobody is."""
    try:
        names = [name for name in os.listdir(above) if name.startswith("wfctl-") and "." in name]
        for name in names:
            if time.time() - os.stat(f"{above}/{name}").st_mtime > OLD:
                _remove(f"{above}/{name}")
    except OSError:
        pass


def _remove(group: str) -> None:
    try:
        os.rmdir(group)
    except OSError:  # somebody is in it: it is removed when it is old
        pass


def _words(path: str) -> set[str]:
    try:
        with open(path, encoding="ascii") as file:
            return set(file.read().split())
    except OSError:
        return set()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _try_to_write(path: str, text: str) -> None:
    try:
        _write(path, text)
    except OSError:
        pass
