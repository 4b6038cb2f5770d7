"""SQLite: a database that is a file, with backup and restore.

Knows nothing of workflows; the folder that a relative path is seen from is the current one."""

from __future__ import annotations

import os
import sqlite3
import time

from wfctl.databases import ENDED, MEMORY, NO_ROWS, Database, Failure

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from wfctl.address import Address

LOCKED = 30.0
"""Seconds to wait for another process that holds the database."""

_MODES = ("ro", "rw", "rwc")


class Sqlite(Database):
    """`sqlite:///relative.db` and `sqlite:////absolute.db`, with `?mode=ro` to keep it as it is."""

    errors = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeEncodeError)

    def __init__(self, address: Address, *, make: bool) -> None:
        path, _, options = address.text.partition("://")[2].partition("?")
        mode = options.removeprefix("mode=") if options else "rwc" if make else "rw"
        if not path.startswith("/") or mode not in _MODES:
            raise Failure("not_started", "the url cannot be read; write sqlite:///relative.db or sqlite:////absolute.db")
        self.path = address.filled(path[1:])
        if self.path == ":memory:":
            raise Failure("not_started", MEMORY)
        if mode == "rwc":  # as for everything else that a node writes
            try:
                os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
            except OSError as error:
                what = f'the folder of the database "{self.path}" cannot be made'
                raise Failure("connection", f"{what}: {error.strerror}".lower()) from None
        elif not os.path.exists(self.path):
            raise Failure("connection", f'there is no database "{self.path}"; a statement under execute makes one')
        try:
            self._connection = _connect(self.path, mode)
        except self.errors as error:
            raise self.failure(error) from None

    def begin(self, *, writes: bool) -> None:
        # To begin with reading and write later would fail where another has written meanwhile, and not wait.
        self._connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    def commit(self) -> None:
        if not self._connection.in_transaction:
            raise Failure("database", ENDED, unknown=True)
        self._connection.execute("COMMIT")

    def run(self, statement: str, values: Mapping[str, Any]) -> int:
        cursor = self._connection.execute(statement, values)
        for _ in cursor:  # one with RETURNING has done its work when its last row was taken
            pass
        return max(cursor.rowcount, 0)

    def rows(self, statement: str, values: Mapping[str, Any]) -> tuple[Sequence[str], Iterator[Sequence[object]]]:
        cursor = self._connection.execute(statement, values)
        if cursor.description is None:
            raise Failure("database", NO_ROWS)
        return [column[0] for column in cursor.description], iter(cursor)

    def failure(self, error: BaseException) -> Failure:
        text = str(error)
        if "one statement at a time" in text:
            text = "more than one statement in a text; write a list, one statement each"
        elif isinstance(error, UnicodeEncodeError):
            text = "a value holds half a surrogate pair, which is no text"
        return Failure("connection" if text.startswith("unable to open") else "database", text)

    def backup(self, path: str) -> None:
        copy = sqlite3.connect(path)
        try:
            self._connection.backup(copy, progress=_patience(), sleep=0.05)
        finally:
            copy.close()

    def restore(self, path: str) -> None:
        copy = _connect(os.path.abspath(path), "ro")
        try:
            [[checked]] = copy.execute("PRAGMA quick_check(1)")
            if checked != "ok":
                raise Failure("database", f"the backup is damaged: {checked}")
            # One transaction of the database: others see what was before, or what is then, and so does a crash.
            copy.backup(self._connection, progress=_patience(), sleep=0.05)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise
            self._replace(copy)
        finally:
            copy.close()

    def _replace(self, copy: sqlite3.Connection) -> None:
        """Put the backup in place of a file that is no database any more."""
        self._connection.close()
        draft = f"{self.path}.restored"
        made = sqlite3.connect(draft)
        try:
            copy.backup(made)
        finally:
            made.close()
        for rest in ("-journal", "-wal", "-shm"):  # of the old one; they would be played into the new one
            try:
                os.unlink(self.path + rest)
            except FileNotFoundError:
                pass
        os.replace(draft, self.path)

    def close(self) -> None:
        self._connection.close()


def _connect(path: str, mode: str) -> sqlite3.Connection:
    name = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    address = f"file:{'//' if path.startswith('/') else ''}{name}?mode={mode}"
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=LOCKED)


def _patience() -> Any:
    """Ends a copy that waits for ever for a database that others hold."""
    held = [time.monotonic() + LOCKED, -1.0]

    def look(status: int, remaining: int, total: int) -> None:
        if remaining != held[1]:
            held[:] = time.monotonic() + LOCKED, remaining
        elif time.monotonic() > held[0]:
            raise sqlite3.OperationalError("database is locked")

    return look
