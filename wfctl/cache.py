"""Keep what may be lost: checkpoints of runs, in a database that only ever yields checked JSON.

Knows nothing of what a state means. Losing all of it loses no work: the journal decides."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import diskcache

FORMAT = 1
"""The format of what is kept; part of each key, so that another format is not there."""

# How long a process may wait for another's transaction, in seconds: the cache is not worth more.
_TIMEOUT = 0.5

# Two for each run, written in turn: a damaged one leaves the one before.
_SLOTS = 2

_TABLES = {"Settings": {"key", "value"}, "Cache": {"key", "raw", "mode", "filename", "value"}}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a run after the first `position` events of its journal, which had this `chain` there."""

    position: int
    chain: str
    state: dict[str, Any]


class Cache:
    """The database. Whatever goes wrong with it is a miss, or a thing not kept; never an exception."""

    def __init__(self, path: Path, database: diskcache.Cache) -> None:
        self._path = path
        self._database = database
        self._next_slot: dict[str, int] = {}
        self._damaged: os.stat_result | None = None

    @classmethod
    def open(cls, path: Path) -> Cache | None:
        """Open the database in the folder `path`, making it if need be.

        One that is damaged is set aside as `<path>.damaged` and begun anew. None when there can be
        none: read-only, full disk, or another process has been writing for over half a second.
        """
        for _ in range(2):
            try:
                path.mkdir(0o700, parents=True, exist_ok=True)
                folder = os.stat(path)
            except OSError:
                return None
            try:
                _probe(path)
                return cls(path, _open(path))
            except (OSError, sqlite3.OperationalError):
                return None
            # Anything else is damage, however the library words what a broken or planted database does to it.
            except Exception:
                _set_aside(path, folder)
        return None

    def save_checkpoint(self, run: str, position: int, state: Mapping[str, Any], chain: str) -> bool:
        """Keep the state of a run; whether it is kept. The one before stays as a reserve."""
        slot = self._next_slot.get(run, 0)
        kept = self._put(_key(run, slot), {"run": run, "position": position, "chain": chain, "state": dict(state)})
        if kept:
            self._next_slot[run] = (slot + 1) % _SLOTS
        return kept

    def load_checkpoint(self, run: str) -> Checkpoint | None:
        """The newest good checkpoint of a run. Whether it belongs to the journal, `journal.read` tells by its chain."""
        newest = None
        for slot in range(_SLOTS):
            found = _checkpoint(run, self._get(_key(run, slot)))
            if found and (newest is None or found.position > newest.position):
                newest = found
                self._next_slot[run] = (slot + 1) % _SLOTS
        return newest

    def forget(self, run: str) -> None:
        """Drop the checkpoints of a run."""
        for slot in range(_SLOTS):
            try:
                self._database.delete(_key(run, slot), retry=False)
            except _failures() as error:
                self._recover(error)
        self._next_slot.pop(run, None)

    def close(self) -> None:
        """Give back the database's descriptors; one that turned out to be damaged is set aside."""
        self._disconnect()
        if self._damaged:
            _set_aside(self._path, self._damaged)

    def _put(self, key: str, value: object) -> bool:
        try:
            return bool(self._database.set(key, value, retry=False))
        except _failures() as error:
            self._recover(error)
            return False

    def _get(self, key: str) -> object:
        try:
            return self._database.get(key, retry=False)
        except _failures() as error:
            self._judge(error)
            return None

    def _recover(self, error: Exception) -> None:
        # A commit that failed leaves its transaction open, and with it a lock that others would meet.
        self._disconnect()
        self._judge(error)

    def _judge(self, error: Exception) -> None:
        if type(error) is sqlite3.DatabaseError:  # its subclasses tell of other things than damage
            try:
                self._damaged = os.stat(self._path)
            except OSError:
                pass

    def _disconnect(self) -> None:
        """The library connects again when it is next asked for something."""
        try:
            self._database.close()
        except sqlite3.Error:
            pass


def _key(run: str, slot: int) -> str:
    return f"checkpoint/{FORMAT}/{run}/{slot}"


def _checkpoint(run: str, value: object) -> Checkpoint | None:
    match value:
        case {"run": str(owner), "position": int(position), "chain": str(chain), "state": dict(state)} if owner == run:
            return Checkpoint(position, chain, state)
    return None


def _failures() -> tuple[type[Exception], ...]:
    """What a database that is locked, full, damaged or gone raises, and a value that is no JSON."""
    import diskcache

    return (sqlite3.Error, diskcache.Timeout, OSError, ValueError, TypeError, RecursionError)


def _open(path: Path) -> diskcache.Cache:
    import diskcache

    class JsonDisk(diskcache.Disk):  # type: ignore[misc]
        """Text keys; values as JSON text in the row, after their checksum. All else is refused.

        The library's own disk unpickles what it reads, whoever wrote it (CVE-2025-69872), and its
        JSONDisk still does so for a row whose mode says so. Here no row's mode leads to pickle or to a file.
        """

        def put(self, key: object) -> tuple[str, bool]:
            if not isinstance(key, str):
                raise TypeError("a key is text")
            return key, True

        def get(self, key: object, raw: object) -> str:
            if not isinstance(key, str) or not raw:
                raise OSError("a foreign key")
            return key

        def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, str]:
            if read:
                raise TypeError("a value is no stream")
            return 0, diskcache.core.MODE_TEXT, None, _seal(value)

        def fetch(self, mode: object, filename: object, value: object, read: bool) -> object:
            # The library takes OSError for a miss.
            if mode != diskcache.core.MODE_TEXT or filename is not None or read or not isinstance(value, str):
                raise OSError("a foreign row")
            return _unseal(value)

    return diskcache.Cache(
        str(path),
        timeout=_TIMEOUT,
        disk=JsonDisk,
        eviction_policy="none",
        cull_limit=0,
        statistics=0,
        tag_index=0,
        # Neither the database nor a WAL index is mapped: truncating a mapped file is SIGBUS, which
        # nothing survives. Without WAL a write costs 0.6 ms and not 0.05; many go into one transaction.
        sqlite_mmap_size=0,
        sqlite_journal_mode="delete",
        sqlite_synchronous=1,
    )


def _seal(value: object) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return f"{zlib.crc32(text.encode('ascii')):08x}{text}"


def _unseal(sealed: str) -> object:
    """The value of a checksummed text. Raises OSError when the checksum does not hold."""
    text = sealed[8:]
    if sealed[:8] != f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}":
        raise OSError("a damaged value")
    return json.loads(text)


def _probe(path: Path) -> None:
    """Raise what is wrong with the database: sqlite3.OperationalError when it is locked, another error for damage.

    Asked before the library opens it, which would wait for a lock for up to a minute.
    """
    file = path / "cache.db"
    try:
        # Made here, for sqlite would make it by the umask; an empty file is an empty database. One that is
        # there is not opened: closing it would free the locks of every other connection of this process.
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        pass
    else:
        os.fchmod(fd, 0o600)
        os.close(fd)
    connection = sqlite3.connect(file, timeout=_TIMEOUT, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        for table, columns in _TABLES.items():
            # A table may be missing: another process is just making it, or died over it.
            if table in tables:
                found = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                if not columns <= found:
                    raise sqlite3.DatabaseError(f"{table} is not the library's")
                connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()
    finally:
        connection.close()


def _set_aside(path: Path, folder: os.stat_result) -> None:
    """Rename a damaged database, for a person to look at; only the last one is kept."""
    import shutil

    aside = path.with_name(path.name + ".damaged")
    try:
        # Two may find the same damage: the second must not set aside what the first began anew.
        if os.path.samestat(os.stat(path), folder):
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(path, aside)
    except OSError:
        pass
