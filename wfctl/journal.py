"""Keep what happened in one run: an append-only file of checksummed lines, and the lock of who may append.

Knows nothing of what the events mean: they are mappings of plain data."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wfctl import proc
from wfctl.errors import Bug, BusyError, StateError
from wfctl.record import dataclass

if TYPE_CHECKING:
    from wfctl.store import RunFolder

FORMAT = 1
"""The journal's format. Older ones are read; a newer one is refused."""

Event = dict[str, Any]

# A line is {"crc":"1a2b3c4d",…}: the checksum covers what follows it in the line and starts from the
# line before, so that a line that was lost, doubled or moved is damage too. The first line holds the
# format and nothing else. All is ASCII: bytes that are no text arrive as lone surrogates and survive.
_SEAL = b'{"crc":"%08x"'
_SEAL_LENGTH = len(_SEAL % 0)
_HEADER = b',"format":%d}'
_LONGEST_HEAD = 4096  # bytes, in any format
_encode = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":")).encode

_fdatasync = getattr(os, "fdatasync", os.fsync)  # not every system has it

_LOCK_PAUSE = 0.01
# A look by `held_by` takes the lock for some microseconds; a writer outlasts it even with `wait=0`.
_LEAST_WAIT = 0.1

_WAYS_OUT = {
    errno.ENOSPC: "free some space, then try again",
    errno.EDQUOT: "free some space, then try again",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), then try again",
    errno.EROFS: "make the disk writable, or choose another folder with --state-dir",
    errno.EACCES: "check its owner and mode, or choose another folder with --state-dir",
    errno.EPERM: "check its owner and mode, or choose another folder with --state-dir",
    **dict.fromkeys(
        (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EOVERFLOW),
        "move it away, or put back what was there",
    ),
}


def refusal(doing: str, path: Path, error: OSError) -> StateError:
    """The text for a file of ours that the system denies us: `cannot write "x": no space left on device; …`."""
    reason = (error.strerror or "it failed").lower()
    way_out = _WAYS_OUT.get(error.errno or 0, "check the disk, then try again")
    return StateError(f'cannot {doing} "{path}": {reason}; {way_out}')


def open_file(path: str | Path, flags: int = 0) -> int:
    """A descriptor to read a file of a state folder.

    Raises OSError, also for what is no file: a pipe without a writer would hold us for ever.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EISDIR, "is no file", str(path))


def content(path: str | Path, largest: int) -> bytes:
    """All that a file of a state folder holds. Raises OSError, also for one of more than `largest` bytes."""
    with open(open_file(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > largest:
            raise OSError(errno.EOVERFLOW, "is far too large", str(path))
        return file.read()


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive the death of the machine."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems have no such thing
            raise
    finally:
        os.close(fd)


# The lock


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that drives a run; `command` is its command line, shortened, fit to be shown."""

    pid: int
    command: str


class Lock:
    """The right to drive a run. The kernel frees it when the last process that holds `fd` is gone."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def take(cls, folder: RunFolder, wait: float = 0.0, *, patient: bool = False) -> Lock:
        """Take the lock, waiting up to `wait` seconds for a holder that is dying; `patient`, also for one that works.

        Raises BusyError, naming the holder, and StateError where the lock cannot be had at all.
        """
        now = time.monotonic()
        soon, deadline = now + _LEAST_WAIT, now + max(wait, _LEAST_WAIT)
        try:
            fd = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise _removed(folder) from None
        except OSError as error:
            raise refusal("lock", folder.lock, error) from None
        try:
            os.fchmod(fd, 0o600)
            while not _try(fd, fcntl.LOCK_EX):
                now = time.monotonic()
                if now >= deadline or (now >= soon and not patient and holder(folder) is not None):
                    raise _busy(folder)
                time.sleep(_LOCK_PAUSE)
            # `clean` may have taken the folder away between open and lock.
            if not _is_at(fd, folder.lock):
                raise _removed(folder)
            _sign(fd)
        except OSError as error:
            os.close(fd)
            raise refusal("lock", folder.lock, error) from None
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    def close(self) -> None:
        """Let go; the run stays locked while another process holds the same descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def held_by(folder: RunFolder) -> bool:
    """Whether somebody drives the run now. Writes nothing.

    flock has no query, and /proc/locks is silent about holders in other containers and about those
    that inherited the lock. So this tries a shared lock for a moment: other looks do not disturb it,
    and a writer that meets it tries again.
    """
    try:
        fd = open_file(folder.lock, os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise refusal("read", folder.lock, error) from None
    try:
        return not _try(fd, fcntl.LOCK_SH)
    except OSError as error:
        raise refusal("lock", folder.lock, error) from None
    finally:
        os.close(fd)


def holder(folder: RunFolder) -> Holder | None:
    """The live process that drives the run; None when nobody does, or it cannot be told."""
    return signer(folder) if held_by(folder) else None


def signer(folder: RunFolder) -> Holder | None:
    """The live process that has last taken the lock, which it may have let go by now. Takes no lock itself."""
    try:
        pid, started = content(folder.lock, 1024).decode("ascii").split()
        # A pid alone is never trusted: it may be a stranger's by now.
        if _start_time(int(pid)) != started:
            return None
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    return Holder(int(pid), shown_command(command.split("\0")))


def shown_command(words: Sequence[str]) -> str:
    """A command line as it was typed, in at most 60 characters: without the way to Python, and that to wfctl."""
    for place, word in enumerate(words[:3]):
        if word.rpartition("/")[2] == "wfctl":
            words = ["wfctl", *words[place + 1 :]]
            break
    shown = "".join(sign if sign.isprintable() else " " for sign in " ".join(words)).strip()
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _try(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    """Write who holds the lock into it, for messages and `cancel`. It holds without, so a full disk is no matter."""
    pid = os.getpid()
    text = f"{pid} {_start_time(pid)}\n".encode()
    try:
        os.pwrite(fd, text, 0)
        os.ftruncate(fd, len(text))
    except OSError:
        pass


def _start_time(pid: int) -> str:
    """When the process started, in the kernel's ticks since boot; "?" where there is no /proc."""
    fields = proc.stat(pid)
    return fields[proc.STARTED].decode() if fields else "?"


def _busy(folder: RunFolder) -> BusyError:
    by = holder(folder)
    if by is None:
        return BusyError(
            f'run "{folder.id}" is held by a process that cannot be named, perhaps a dying one; try again in a moment'
        )
    return BusyError(
        f'run "{folder.id}" is driven by process {by.pid} ({by.command}); '
        f"wait for it, or end it with `wfctl cancel {folder.id}`"
    )


def _removed(folder: RunFolder) -> StateError:
    return StateError(f'run "{folder.id}" has no folder any more; `wfctl runs` shows those that are left')


# Reading


@dataclass(frozen=True, slots=True)
class Reading:
    """What a journal holds.

    `events` are those after the first `skipped`. `torn`: it ends in a line that was never finished,
    which is left out. `chain` stands for the whole journal so far, and `size` is its whole lines, in bytes.
    """

    events: list[Event]
    torn: bool
    format: int
    chain: str
    skipped: int
    size: int

    @property
    def position(self) -> int:
        """The number of events in the journal, skipped ones counted."""
        return self.skipped + len(self.events)


def read(path: Path, skip: int = 0, chain: str = "") -> Reading:
    """Read a journal, also while it is written. Needs no lock, writes nothing.

    With `skip` and `chain`, the position and chain of a checkpoint, the first `skip` events are
    verified but not parsed, if the journal really had that chain there; else all are returned and
    `skipped` is 0. Raises StateError, with the line, for damage other than a torn last line, and
    for a newer format.
    """
    try:
        with open(open_file(path), "rb", buffering=0) as file:
            head = os.pread(file.fileno(), _LONGEST_HEAD, 0)
            if len(head) == _LONGEST_HEAD and b"\n" not in head:  # told before all of it is taken into memory
                raise _damaged(path, 1, "it names no format")
            data = file.read()
    except FileNotFoundError:
        raise StateError(f'"{path}" is missing; `wfctl runs` shows the runs there are') from None
    except OSError as error:
        raise refusal("read", path, error) from None
    return _parse(path, data, skip, chain)


def _parse(path: Path, data: bytes, skip: int, chain: str) -> Reading:
    lines = data.split(b"\n")
    tail = lines.pop()
    if not lines:
        return Reading([], bool(tail), FORMAT, "", 0, 0)
    format_ = _format(path, lines[0])

    crc = 0
    crc_at_skip = -1
    crc32 = zlib.crc32
    for number, line in enumerate(lines):
        crc = crc32(line[_SEAL_LENGTH:], crc)
        if line[:_SEAL_LENGTH] != _SEAL % crc:
            raise _damaged(path, number + 1, "its checksum does not hold")
        if number == skip:  # the header is line 0, so line n is event n
            crc_at_skip = crc

    skipped = skip if skip and chain == f"{crc_at_skip:08x}" else 0
    wanted = lines[skipped + 1 :]
    # One call for all: 1.5 times as fast as a call for each line.
    text = b"[{" + b",{".join([line[_SEAL_LENGTH + 1 :] for line in wanted]) + b"]" if wanted else b"[]"
    try:
        events: list[Event] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, skipped + 2, f"no JSON from here on ({error})") from None
    return Reading(events, bool(tail), format_, f"{crc:08x}", skipped, len(data) - len(tail))


def _format(path: Path, line: bytes) -> int:
    """The format that the first line names, looked at before any checksum: a newer one may count otherwise."""
    try:
        value = json.loads(line)["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        value = None
    if not isinstance(value, int) or value < 1:
        raise _damaged(path, 1, "it names no format")
    if value > FORMAT:
        raise StateError(
            f'"{path}" was written by a newer wfctl (format {value}, this one reads up to {FORMAT}); upgrade wfctl'
        )
    return value


def _damaged(path: Path, line: int, why: str) -> StateError:
    return StateError(
        f'"{path}" is damaged at line {line}: {why}; put back a copy of the file, or begin anew with `wfctl run`'
    )


# Writing


class JournalWriter:
    """The one writer of a run's journal: holds the run's lock until `close`."""

    def __init__(self, path: Path, fd: int, lock: Lock, reading: Reading) -> None:
        self._path = path
        self._fd = fd
        self._lock = lock
        self._pending: list[bytes] = []
        self._refused: StateError | None = None
        self._crc = int(reading.chain or "0", 16)
        self.position = reading.position
        """The number of events appended so far, in this life and those before."""
        if not reading.size:
            # Goes out with the first events: a run exists from its first synced event, not before.
            self._seal(_HEADER % FORMAT)

    @classmethod
    def create(cls, folder: RunFolder) -> JournalWriter:
        """Begin the journal of a new run, locked, its name on disk for good. Raises StateError, BusyError."""
        lock = Lock.take(folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(folder.journal, flags, 0o600)
            os.fchmod(fd, 0o600)
            sync_folder(folder.path)
            sync_folder(folder.path.parent)
        except OSError as error:
            lock.close()
            raise refusal("make", folder.journal, error) from None
        return cls(folder.journal, fd, lock, Reading([], False, FORMAT, "", 0, 0))

    @classmethod
    def resume(
        cls, folder: RunFolder, wait: float = 2.0, skip: int = 0, chain: str = ""
    ) -> tuple[JournalWriter, Reading]:
        """Go on with a journal: lock it, waiting up to `wait` seconds, read it, cut a torn last line.

        `skip` and `chain` are as for `read`. Raises BusyError, naming the holder, and StateError.
        """
        lock = Lock.take(folder, wait)
        fd = -1
        try:
            reading = read(folder.journal, skip, chain)
            fd = os.open(folder.journal, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            if reading.torn:
                os.ftruncate(fd, reading.size)
                os.fsync(fd)
        except (OSError, StateError) as error:
            if fd >= 0:
                os.close(fd)
            lock.close()
            if isinstance(error, StateError):
                raise
            raise refusal("write", folder.journal, error) from None
        return cls(folder.journal, fd, lock, reading), reading

    @property
    def chain(self) -> str:
        """Stands for all events up to `position`: equal chains, equal journals."""
        return f"{self._crc:08x}"

    @property
    def lock_fd(self) -> int:
        """The lock's descriptor, for the guard to hold too: then the lock is free only when nothing is alive."""
        return self._lock.fd

    def append(self, event: Mapping[str, Any]) -> None:
        """Take the event into memory; `sync` keeps it.

        Raises Bug for what is no plain data (NaN, too), and StateError after a failed sync.
        """
        if self._refused:
            raise self._refused
        try:
            text = _encode(dict(event))
        except (TypeError, ValueError, RecursionError) as error:
            raise Bug(f"an event is no plain data ({error}): {event!r:.500}") from error
        if len(text) < 3:
            raise Bug("an event is empty")
        self._seal(b"," + text[1:].encode("ascii"))
        self.position += 1

    def sync(self) -> None:
        """Keep all events appended since the last time: one write, one fdatasync.

        Raises StateError where that fails (disk full, read-only, broken), and from then on always:
        after a failed sync the kernel may have dropped what it could not write and report success
        the next time, so nothing more is written. `resume` finds whatever arrived.
        """
        if self._refused:
            raise self._refused
        if not self.position or not self._pending:
            return
        rest = memoryview(b"".join(self._pending))
        self._pending.clear()
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            _fdatasync(self._fd)
        except OSError as error:
            self._refused = refusal("write", self._path, error)
            raise self._refused from None
        except BaseException:  # Ctrl-C in here: a line may be half written, and no other may follow it
            self._refused = StateError(f'"{self._path}" was left in the middle of a write; go on with `wfctl resume`')
            raise

    def close(self) -> None:
        """Let go of the file and the lock. What was not synced is not kept."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._refused = StateError(f'"{self._path}" is closed')
        self._lock.close()

    def _seal(self, rest: bytes) -> None:
        self._crc = zlib.crc32(rest, self._crc)
        self._pending.append(_SEAL % self._crc + rest + b"\n")
