"""Keep what may be lost: kept results and checkpoints of runs, in a database that only ever yields checked JSON.

Knows nothing of what a state or a key means. Losing all of it loses no work of a run: the journal decides."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of one success: `key` is what it is served under, and `parts` are what that was made of."""

    key: str
    workflow: str
    node: str
    run: str
    attempt: int
    at: float
    """When it succeeded, in seconds since the epoch."""
    seconds: float
    exit_code: int | None
    output: Any = None
    blob: str = ""
    """The hash of the file that has the output as JSON, where it is a large one."""
    size: int = 0
    """Bytes of the files that are saved for it."""
    parts: Mapping[str, Any]
    writes: Mapping[str, list[Any]]
    """What it had written, by path: hash, mode and size."""
    saved: bool = False
    """Whether these files are saved."""

    @property
    def blobs(self) -> list[str]:
        """The saved files that it leans on."""
        files = [digest for digest, _, _ in self.writes.values()] if self.saved else []
        return [*files, self.blob] if self.blob else files


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """What is kept, to be listed: a result without its output, or a failure as it was recorded. `used` is when it was
    made or served last, `bytes` what it takes in the database and beside it."""

    key: str
    used: float
    bytes: int
    kept: Kept | None
    failure: Mapping[str, Any] | None = None


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

    # -- results

    def result(self, key: str) -> Kept | None:
        """What is kept under a key."""
        row = self._get(_RESULT + key)
        if isinstance(row, dict) and row.get("beside"):
            output = self._get(_OUTPUT + key, _NOTHING)
            return None if output is _NOTHING else _kept(key, {**row, "output": output})
        return _kept(key, row)

    def keep(self, results: Sequence[Kept], lasts: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> bool:
        """Keep results in place of what was under their keys, failures too; and by the place of a node what it had
        last. Whether all of it is kept: it is, or nothing."""
        try:
            with self._database.transact():
                for kept in results:
                    row, beside = _row(kept)
                    if beside:
                        self._database.set(_OUTPUT + kept.key, kept.output, retry=False)
                    self._database.set(_RESULT + kept.key, row, retry=False)
                    self._database.delete(_FAILURE + kept.key, retry=False)
                for place, last in lasts.items():
                    self._database.set(_LAST + place, dict(last), retry=False)
            return True
        except _failures() as error:
            self._recover(error)
            return False

    def last(self, place: str) -> Mapping[str, Any] | None:
        """What a node had last."""
        found = self._get(_LAST + place)
        return found if isinstance(found, dict) else None

    def fail(self, key: str, facts: Mapping[str, Any]) -> bool:
        """Record a failure under a key, beside a result that may be there; whether it is."""
        return self._put(_FAILURE + key, {**facts, "key": key})

    def failure(self, key: str) -> Mapping[str, Any] | None:
        """The last failure under a key after which there was no success."""
        found = self._get(_FAILURE + key)
        return found if isinstance(found, dict) and found.get("key") == key else None

    def touch(self, keys: Sequence[str], now: float) -> None:
        """Note that results were served now. The library uses the column only where it evicts, and here it does not."""
        self._execute("UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1", [(now, _RESULT + k) for k in keys])

    def used(self, keys: Sequence[str]) -> dict[str, float]:
        """When results were made or served last, of those that are there."""
        found: dict[str, float] = {}
        for key in keys:
            rows = self._rows("SELECT access_time FROM Cache WHERE key = ? AND raw = 1", _RESULT + key)
            found.update((key, used) for (used,) in rows if isinstance(used, float))
        return found

    def listing(self) -> list[Shelved] | None:
        """All results and failures, those that were used last first; None where they cannot be read."""
        try:
            with closing(_connected(self._path)) as connection:
                outputs = dict(connection.execute(_SIZES, (_OUTPUT, _after(_OUTPUT))).fetchall())
                found = [
                    one
                    for prefix in (_RESULT, _FAILURE)
                    for row in connection.execute(_ROWS, (prefix, _after(prefix)))
                    if (one := _shelved(prefix, outputs, *row)) is not None
                ]
        except sqlite3.Error as error:
            self._judge(error)
            return None
        return sorted(found, key=lambda one: (-one.used, one.key))

    def drop(self, keys: Sequence[str], failures: Sequence[str] = ()) -> int:
        """Drop results, and failures, with these keys; how many rows these were."""
        names = [*(_RESULT + key for key in keys), *(_FAILURE + key for key in failures)]
        names += [_OUTPUT + key for key in keys]
        gone = 0
        try:
            for start in range(0, len(names), 500):  # a lock that is held for long is in the way of runs
                with self._database.transact():
                    gone += sum(bool(self._database.delete(name, retry=False)) for name in names[start : start + 500])
        except _failures() as error:
            self._recover(error)
        return gone

    def drop_notes(self, before: float) -> None:
        """Drop what only explains or saves time, and was not written since then: last keys, hashes of files."""
        old = "DELETE FROM Cache WHERE key >= ? AND key < ? AND store_time < ?"
        self._execute(old, [(prefix, _after(prefix), before) for prefix in (_LAST, _DIGEST)])

    def recall_digest(self, path: str) -> object:
        """What was remembered of a file."""
        return self._get(_DIGEST + path)

    def remember_digests(self, found: Mapping[str, list[Any]]) -> None:
        """Remember the hashes of files, with all by which it is seen that they have not changed."""
        try:
            with self._database.transact():
                for path, facts in found.items():
                    self._database.set(_DIGEST + path, facts, retry=False)
        except _failures() as error:
            self._recover(error)

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

    def _get(self, key: str, default: object = None) -> object:
        try:
            return self._database.get(key, default, retry=False)
        except _failures() as error:
            self._judge(error)
            return default

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a question of ours to the database yields; nothing where it cannot be asked."""
        try:
            with closing(_connected(self._path)) as connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._judge(error)
            return []

    def _execute(self, statement: str, values: Sequence[tuple[object, ...]]) -> None:
        """Change many rows at once, where that can be."""
        try:
            with closing(_connected(self._path)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(statement, values)
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._judge(error)

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


_RESULT = f"result/{FORMAT}/"
_OUTPUT = f"output/{FORMAT}/"
_FAILURE = f"failure/{FORMAT}/"
_LAST = f"last/{FORMAT}/"
_DIGEST = f"digest/{FORMAT}/"

_INLINE = 2048  # bytes of an output that still stand in the row of its result: who lists results reads all of these
_NOTHING = object()

_ROWS = "SELECT key, access_time, value FROM Cache WHERE key >= ? AND key < ? AND raw = 1"
_SIZES = "SELECT key, length(value) FROM Cache WHERE key >= ? AND key < ? AND raw = 1"

_TYPES: Mapping[str, Any] = {
    "key": str,
    "workflow": str,
    "node": str,
    "run": str,
    "attempt": int,
    "at": (int, float),
    "seconds": (int, float),
    "exit_code": (int, type(None)),
    "output": object,
    "blob": str,
    "size": int,
    "parts": dict,
    "writes": dict,
    "saved": bool,
}
"""The fields of a result, with what each may be."""


def _after(prefix: str) -> str:
    """What comes after all keys with a prefix: it ends with a slash, and 0 is the next character."""
    return prefix[:-1] + "0"


def _row(kept: Kept) -> tuple[dict[str, Any], bool]:
    """What stands in the row of a result, and whether its output has a row of its own."""
    row = {name: getattr(kept, name) for name in _TYPES}
    small = isinstance(kept.output, (int, float, type(None))) or len(json.dumps(kept.output)) <= _INLINE
    return (row, False) if small else ({**row, "output": None, "beside": True}, True)


def _shelved(prefix: str, outputs: Mapping[str, int], key: Any, used: Any, value: Any) -> Shelved | None:
    """What a row lists; None for one that is damaged, or nobody's."""
    try:
        name, found = key[len(prefix) :], _unseal(value)
        size = len(value) + outputs.get(_OUTPUT + name, 0)
        used = float(used)
    except (TypeError, ValueError, OSError, RecursionError):
        return None
    if prefix == _FAILURE:
        good = isinstance(found, dict) and found.get("key") == name
        return Shelved(key=name, used=used, bytes=size, kept=None, failure=found) if good else None  # type: ignore[arg-type]
    kept = _kept(name, found)
    return Shelved(key=name, used=used, bytes=size + kept.size, kept=kept) if kept is not None else None


def _kept(key: str, value: object) -> Kept | None:
    """The result that a row holds; None where it is none, or that of another key."""
    if not isinstance(value, dict) or value.get("key") != key:
        return None
    if any(not isinstance(value.get(name), kind) for name, kind in _TYPES.items()):
        return None
    for facts in value["writes"].values():
        if not isinstance(facts, list) or [type(fact) for fact in facts] != [str, int, int]:
            return None
    said: dict[str, Any] = {name: value.get(name) for name in _TYPES}
    return Kept(**said)


def _connected(path: Path) -> sqlite3.Connection:
    """A connection of ours to a database that is there: what the library does for one key takes as long for each."""
    name = f"file:{quote(str(path / 'cache.db'))}?mode=rw"
    return sqlite3.connect(name, timeout=_TIMEOUT, isolation_level=None, uri=True)


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
        # What a process wrote is there after its death. After that of the machine it may be damaged, which is seen: to
        # sync would cost 0.6 ms for each of the turns in which a run keeps something.
        sqlite_synchronous=0,
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
