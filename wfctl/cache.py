"""Keep what may be lost: kept results and checkpoints of runs, in a database that only ever yields checked JSON.

Knows nothing of what a state or a key means. Losing all of it loses no work of a run: the journal decides."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from wfctl.digests import is_digest
from wfctl.quantity import LONGEST

if TYPE_CHECKING:
    import diskcache

FORMAT = 1
"""The format of what is kept; part of each key, so that another format is not there."""

# How long a process may wait for another's transaction, in seconds: most of the cache is not worth more.
_TIMEOUT = 0.5

PATIENCE = 20.0
"""The same for results, in seconds: what cannot be looked up, or kept, is done once more. Where twenty runs look and
keep at once, one may be unlucky for seconds; longer waits only who meets one that was stopped in a transaction."""

# Two for each run, written in turn: a damaged one leaves the one before.
_SLOTS = 2

_TABLES = {
    "Settings": {"key", "value"},
    "Cache": {"key", "raw", "store_time", "access_time", "mode", "filename", "value"},
}

# What else the library makes. A trigger or a view of somebody else would have its say in all that is kept.
_SCHEMA = "SELECT name, type FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'"
_MADE = {"Cache_key_raw", "Cache_expire_time"} | {
    f"Settings_{what}" for what in ("count_insert", "count_delete", "size_insert", "size_update", "size_delete")
}


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

    def __init__(self, path: Path, database: diskcache.Cache, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._database = database
        self._next_slot: dict[str, int] = {}
        self._damaged: os.stat_result | None = None
        self._file = _file(path)

    @classmethod
    def open(cls, path: Path, timeout: float = _TIMEOUT) -> Cache | None:
        """Open the database in the folder `path`, making it if need be.

        One that is damaged is set aside as `<path>.damaged` and begun anew. None when there can be
        none: read-only, full disk, or others have been writing for `timeout` seconds; so long waits all that is asked
        of it, too.
        """
        for _ in range(2):
            try:
                path.mkdir(0o700, parents=True, exist_ok=True)
                folder = os.stat(path)
            except OSError:
                return None
            try:
                _probe(path, timeout)
                return cls(path, _open(path, timeout), timeout)
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
            except Exception as error:
                self._recover(error)
        self._next_slot.pop(run, None)

    # -- results

    def result(self, key: str) -> Kept | None:
        """What is kept under a key."""
        row = self._get(_RESULT + key)
        kept = _kept(key, row)
        if kept is None or not (isinstance(row, dict) and row.get("beside")):
            return kept
        beside = self._get(_OUTPUT + key)
        # It says of which success it is: after the death of the machine, it may be that of another.
        if not isinstance(beside, dict) or beside.get("of") != _success(kept) or "output" not in beside:
            return None
        return replace(kept, output=beside["output"])

    def keep(self, results: Sequence[Kept], lasts: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> bool:
        """Keep results in place of what was under their keys, failures too; and by the place of a node what it had
        last. Whether all of it is kept: it is, or nothing."""

        def change() -> bool:
            with self._database.transact():
                for kept in results:
                    row, beside = _row(kept)
                    if beside is not None:
                        self._database.set(_OUTPUT + kept.key, beside, retry=False)
                    else:
                        self._database.delete(_OUTPUT + kept.key, retry=False)
                    self._database.set(_RESULT + kept.key, row, retry=False)
                    self._database.delete(_FAILURE + kept.key, retry=False)
                for place, last in lasts.items():
                    self._database.set(_LAST + place, dict(last), retry=False)
            return True

        return self._changed(change)

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
        return found if isinstance(found, dict) and _is_failure(key, found) else None

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
            with closing(_connected(self._path, self._timeout)) as connection:
                sizes = _paged(connection, _OUTPUT, "size")
                outputs = {key: size for _, key, size in sizes if isinstance(size, int) and size > 0}
                found = [
                    one
                    for prefix in (_RESULT, _FAILURE)
                    for row in _paged(connection, prefix, "access_time, value")
                    if (one := _shelved(prefix, outputs, *row[1:])) is not None
                ]
        except Exception as error:
            self._judge(error)
            return None
        return sorted(found, key=lambda one: (-one.used, one.key))

    def withdraw(self, key: str) -> bool:
        """Drop the result under a key, as what it tells of was undone; whether none is there any more."""

        def change() -> bool:
            with self._database.transact():
                for prefix in (_RESULT, _OUTPUT):
                    self._database.delete(prefix + key, retry=False)
            return True

        return self._changed(change)

    def drop(self, rows: Sequence[Shelved]) -> list[Shelved]:
        """Drop what was listed: those that went. Who was made or used since it was listed stays."""
        gone: list[Shelved] = []
        for start in range(0, len(rows), _AT_ONCE):
            begin = time.monotonic()
            try:
                went = self._drop(rows[start : start + _AT_ONCE])
            except Exception as error:
                self._judge(error)
                break
            gone += went
            # Who waits for the lock looks now and then whether it is free, and for half a second: let him meet that.
            time.sleep(min((time.monotonic() - begin) / 2, 0.05) if start + _AT_ONCE < len(rows) else 0)
        return gone

    def _drop(self, rows: Sequence[Shelved]) -> list[Shelved]:
        try:
            with self._changing() as connection:
                return [one for one in rows if _dropped(connection, one)]
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise
        # A full disk has no room to write down what goes. Who is killed here leaves a damaged database, which is seen.
        with self._changing("MEMORY") as connection:
            return [one for one in rows if _dropped(connection, one)]

    def drop_notes(self, before: float, staying: AbstractSet[str] = frozenset()) -> None:
        """Drop what only explains or saves time, and was not written since then: hashes of files, and last keys of
        nodes of which none is among the keys `staying`. And what nobody can use: outputs without a result, what cannot
        be read, and what is of another format."""
        old = "DELETE FROM Cache WHERE key >= ? AND key < ? AND store_time < ?"
        try:
            with closing(_connected(self._path, self._timeout)) as connection:
                bad = [
                    (row[0], prefix)
                    for prefix in (_RESULT, _FAILURE)
                    for row in _paged(connection, prefix, "access_time, value")
                    if _shelved(prefix, {}, *row[1:]) is None
                ]
                # That of a node which was always served is old, and is asked for when it is not served any more.
                lasts = [
                    (_LAST, _after(_LAST), before, number)
                    for number, _, value in _paged(connection, _LAST, "value")
                    if staying.isdisjoint(_last_keys(value))
                ]
            with self._changing() as connection:
                connection.execute(old, (_DIGEST, _after(_DIGEST), before))
                connection.executemany(f"{old} AND rowid = ?", lasts)
                connection.execute(_STRAY, (len(_OUTPUT) + 1, _RESULT, _OUTPUT, _after(_OUTPUT)))
                ours = (_CHECKPOINT, _RESULT, _OUTPUT, _FAILURE, _LAST, _DIGEST)
                known = " OR ".join(["key >= ? AND key < ?"] * len(ours))
                bounds = [bound for prefix in ours for bound in (prefix, _after(prefix))]
                # Asked like this the index tells, and no row is read.
                foreign = f"SELECT rowid FROM Cache WHERE raw IS NOT 1 OR NOT ({known})"
                connection.execute(f"DELETE FROM Cache WHERE rowid IN ({foreign})", bounds)
                for number, prefix in bad:  # once more: somebody may have kept a good one there
                    rows = connection.execute(_ROW, (number, prefix, _after(prefix))).fetchall()
                    if any(_shelved(prefix, {}, *row) is None for row in rows):
                        connection.execute("DELETE FROM Cache WHERE rowid = ?", (number,))
        except Exception as error:
            self._judge(error)

    def recall_digest(self, path: str) -> object:
        """What was remembered of a file."""
        return self._get(_DIGEST + path)

    def remember_digests(self, found: Mapping[str, list[Any]]) -> None:
        """Remember the hashes of files, with all by which it is seen that they have not changed."""
        try:
            with self._database.transact():
                for path, facts in found.items():
                    if not _has_surrogates(path):  # what is no text cannot be a key
                        self._database.set(_DIGEST + path, facts, retry=False)
        except Exception as error:
            self._recover(error)

    def close(self) -> None:
        """Give back the database's descriptors; one that turned out to be damaged is set aside."""
        self._disconnect()
        if self._damaged:
            _set_aside(self._path, self._damaged)

    def _put(self, key: str, value: object) -> bool:
        return self._changed(lambda: bool(self._database.set(key, value, retry=False)))

    def _changed(self, change: Callable[[], bool]) -> bool:
        """Change something; whether it was. A database that was lost meanwhile is begun anew for it."""
        try:
            return change()
        except Exception as error:  # however the library words what a broken or planted database does to it
            self._recover(error)
        try:
            return self._is_begun_anew() and change()
        except Exception as error:
            self._recover(error)
            return False

    def _is_begun_anew(self) -> bool:
        """Whether there is a new database in place of one that was deleted, emptied or damaged."""
        if self._damaged:
            _set_aside(self._path, self._damaged)
            self._damaged = None
        elif self._file is not None and _is_there(self._path, self._file):  # it is locked, or the disk is full
            return False
        anew = Cache.open(self._path, self._timeout)
        if anew is None:
            return False
        self._database, self._file = anew._database, anew._file
        return True

    def _get(self, key: str, default: object = None) -> object:
        try:
            return self._database.get(key, default, retry=False)
        except Exception as error:
            self._judge(error)
            return default

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a question of ours to the database yields; nothing where it cannot be asked."""
        try:
            with closing(_connected(self._path, self._timeout)) as connection:
                return connection.execute(statement, values).fetchall()
        except Exception as error:
            self._judge(error)
            return []

    def _execute(self, statement: str, values: Sequence[tuple[object, ...]]) -> None:
        """Change many rows at once, where that can be."""
        try:
            with self._changing() as connection:
                connection.executemany(statement, values)
        except Exception as error:
            self._judge(error)

    @contextmanager
    def _changing(self, journal: str = "DELETE") -> Iterator[sqlite3.Connection]:
        """A transaction of ours: where it raises, nothing of it is there."""
        with closing(_connected(self._path, self._timeout)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # as in `_open`
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

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
        except Exception:
            pass


_CHECKPOINT = f"checkpoint/{FORMAT}/"
_RESULT = f"result/{FORMAT}/"
_OUTPUT = f"output/{FORMAT}/"
_FAILURE = f"failure/{FORMAT}/"
_LAST = f"last/{FORMAT}/"
_DIGEST = f"digest/{FORMAT}/"

_INLINE = 2048  # bytes of an output that still stand in the row of its result: who lists results reads all of these

_PAGE = 500  # rows that are read at once: a lock that is held for long is in the way of runs
_AT_ONCE = 50  # rows that go at once, with outputs of up to 64 KiB

_ROW = "SELECT key, access_time, value FROM Cache WHERE rowid = ? AND key >= ? AND key < ? AND raw = 1"

# Outputs whose result is not there.
_STRAY = (
    "DELETE FROM Cache WHERE rowid IN (SELECT o.rowid FROM Cache o LEFT JOIN Cache r ON r.raw = 1 "
    "AND r.key = ?2 || substr(o.key, ?1) WHERE o.key >= ?3 AND o.key < ?4 AND o.raw = 1 AND r.rowid IS NULL)"
)

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

_TEXT = (str, type(None))
_FAILED: Mapping[str, Any] = {
    **{name: kind for name, kind in _TYPES.items() if name not in ("output", "blob", "size", "writes", "saved")},
    "reason": _TEXT,
    "error": _TEXT,
}
"""Those of a failure that others rely on."""


def _after(prefix: str) -> str:
    """What comes after all keys with a prefix: it ends with a slash, and 0 is the next character."""
    return prefix[:-1] + "0"


def _row(kept: Kept) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What stands in the row of a result, and in that of its output where it has one of its own."""
    row = {name: getattr(kept, name) for name in _TYPES}
    small = isinstance(kept.output, (int, float, type(None))) or len(json.dumps(kept.output)) <= _INLINE
    if small:
        return row, None
    return {**row, "output": None, "beside": True}, {"of": _success(kept), "output": kept.output}


def _success(kept: Kept) -> list[Any]:
    """What tells one success from each other one."""
    return [kept.key, kept.run, kept.node, kept.attempt, kept.at]


def _dropped(connection: sqlite3.Connection, one: Shelved) -> bool:
    """Whether a row went that was not made or used since it was listed; with it the output that it has beside it."""
    prefix = _RESULT if one.kept is not None else _FAILURE
    delete = "DELETE FROM Cache WHERE key = ? AND raw = 1"
    if not connection.execute(f"{delete} AND access_time = ?", (prefix + one.key, one.used)).rowcount:
        return False
    if one.kept is not None:
        connection.execute(delete, (_OUTPUT + one.key,))
    return True


def _paged(connection: sqlite3.Connection, prefix: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """Number, key and these columns of all rows whose keys have a prefix; between two pages others may write."""
    bounds = "key > CAST(? AS TEXT) AND key < ? AND raw = 1"
    statement = f"SELECT rowid, key, {columns} FROM Cache WHERE {bounds} ORDER BY key LIMIT {_PAGE}"
    last = prefix.encode()
    while rows := connection.execute(statement, (last, _after(prefix))).fetchall():
        yield from rows
        last = rows[-1][1].encode(errors="surrogateescape")


def _last_keys(value: Any) -> list[str]:
    """The keys in a row of those that a node had last; none where it is damaged."""
    try:
        found: Any = _unseal(value)
        return [key for key in found["keys"] if isinstance(key, str)]
    except (TypeError, ValueError, KeyError, OSError, RecursionError, AttributeError):
        return []


def _shelved(prefix: str, outputs: Mapping[str, int], key: Any, used: Any, value: Any) -> Shelved | None:
    """What a row lists; None for one that is damaged, or nobody's."""
    try:
        name = key[len(prefix) :]
        found: Any = _unseal(value)
        size = len(value) + outputs.get(_OUTPUT + name, 0)
        if not 0 <= used <= LONGEST:
            return None
    except (TypeError, ValueError, OSError, RecursionError, AttributeError):
        return None
    if prefix == _FAILURE:
        good = _is_failure(name, found)
        return Shelved(key=name, used=used, bytes=size, kept=None, failure=found) if good else None
    kept = _kept(name, found)
    return Shelved(key=name, used=used, bytes=size + kept.size, kept=kept) if kept is not None else None


def _kept(key: str, value: Any) -> Kept | None:
    """The result that a row holds; None where it is none, or that of another key."""
    if not _is_of(key, value, _TYPES) or value["size"] < 0 or not (value["blob"] == "" or is_digest(value["blob"])):
        return None
    for facts in value["writes"].values():
        if not isinstance(facts, list) or [type(fact) for fact in facts] != [str, int, int] or not is_digest(facts[0]):
            return None
    said: dict[str, Any] = {name: value.get(name) for name in _TYPES}
    return Kept(**said)


def _is_failure(key: str, value: Any) -> bool:
    return _is_of(key, value, _FAILED)


def _is_of(key: str, value: Any, types: Mapping[str, Any]) -> bool:
    """Whether a row holds what it should, of that key, at a time that can be shown."""
    if not isinstance(value, dict) or value.get("key") != key:
        return False
    good = all(isinstance(value.get(name), kind) for name, kind in types.items())
    return good and 0 <= value["at"] <= LONGEST and abs(value["seconds"]) <= LONGEST


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _connected(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection of ours to a database that is there: what the library does for one key takes as long for each."""
    name = f"file:{quote(os.fsencode(path / 'cache.db'))}?mode=rw"
    connection = sqlite3.connect(name, timeout=timeout, isolation_level=None, uri=True)
    # A row that is no text is a damaged one, and no reason not to read the others.
    connection.text_factory = lambda content: content.decode(errors="surrogateescape")
    return connection


def _key(run: str, slot: int) -> str:
    return f"{_CHECKPOINT}{run}/{slot}"


def _checkpoint(run: str, value: object) -> Checkpoint | None:
    match value:
        case {"run": str(owner), "position": int(position), "chain": str(chain), "state": dict(state)} if owner == run:
            return Checkpoint(position, chain, state)
    return None


def _open(path: Path, timeout: float) -> diskcache.Cache:
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
            text = _seal(value)
            return len(text), diskcache.core.MODE_TEXT, None, text  # so that its size is known without reading it

        def fetch(self, mode: object, filename: object, value: object, read: bool) -> object:
            # The library takes OSError for a miss.
            if mode != diskcache.core.MODE_TEXT or filename is not None or read or not isinstance(value, str):
                raise OSError("a foreign row")
            return _unseal(value)

        def remove(self, file_path: object) -> None:
            """Nothing. The library removes the file that a row names, wherever that leads, when the row goes."""

    settings = {
        **diskcache.core.DEFAULT_SETTINGS,
        "eviction_policy": "none",
        "cull_limit": 0,
        "statistics": 0,
        "tag_index": 0,
        # Neither the database nor a WAL index is mapped: truncating a mapped file is SIGBUS, which
        # nothing survives. Without WAL a write costs 0.6 ms and not 0.05; many go into one transaction.
        "sqlite_mmap_size": 0,
        "sqlite_journal_mode": "delete",
        # What a process wrote is there after its death. After that of the machine it may be damaged, which is seen: to
        # sync would cost 0.6 ms for each of the turns in which a run keeps something.
        "sqlite_synchronous": 0,
    }

    class Library(diskcache.Cache):  # type: ignore[misc]
        """The library's cache, in exactly this folder and with these settings, whatever the database says.

        It would make each setting that it finds there an attribute of its own or a pragma, and fill in variables in
        the name of the folder.
        """

        _directory = property(lambda self: str(path), lambda self, value: None)

        def reset(self, key: str, value: object = diskcache.core.ENOVAL, update: bool = True) -> object:
            if key in diskcache.core.METADATA:
                return super().reset(key)
            return super().reset(key, settings[key], update) if key in settings else None

    return Library(os.sep, timeout=timeout, disk=JsonDisk, **settings)


def _seal(value: object) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return f"{zlib.crc32(text.encode('ascii')):08x}{text}"


def _unseal(sealed: str) -> object:
    """The value of a checksummed text. Raises OSError when the checksum does not hold, ValueError for what is none."""
    text = sealed[8:]
    if sealed[:8] != f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}":
        raise OSError("a damaged value")
    return _PLAIN.decode(text)


def _finite(text: str) -> float:
    if (number := float(text)) - number:  # infinite, or none: no document could hold it
        raise ValueError(f"{text} is no number")
    return number


_PLAIN = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _probe(path: Path, timeout: float) -> None:
    """Raise what is wrong with the database: sqlite3.OperationalError when it is locked, another error for damage.

    Asked before the library opens it, which would wait for a lock for up to a minute.
    """
    file = path / "cache.db"
    try:
        # Made here, for sqlite would make it by the umask; an empty file is an empty database. One that is
        # there is not opened: closing it would free the locks of every other connection of this process.
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        # One that was deleted while it was open is made anew by sqlite.
        if stat.S_ISREG((told := os.lstat(file)).st_mode) and told.st_mode & 0o077:
            os.chmod(file, 0o600)
    else:
        os.fchmod(fd, 0o600)
        os.close(fd)
    connection = sqlite3.connect(file, timeout=timeout, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        schema = dict(connection.execute(_SCHEMA).fetchall())
        tables = {name for name, kind in schema.items() if kind == "table"}
        if foreign := tables - _TABLES.keys() | (schema.keys() - tables - _MADE):
            raise sqlite3.DatabaseError(f"{sorted(foreign)} are not the library's")
        for table, columns in _TABLES.items():
            # A table may be missing: another process is just making it, or died over it.
            if table in tables:
                found = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                if not columns <= found:
                    raise sqlite3.DatabaseError(f"{table} is not the library's")
                connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()
    finally:
        connection.close()


def _file(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path / "cache.db")
    except OSError:
        return None


def _is_there(path: Path, file: os.stat_result) -> bool:
    """Whether that is still the database, and not an empty one."""
    now = _file(path)
    return now is not None and os.path.samestat(now, file) and now.st_size > 0


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
