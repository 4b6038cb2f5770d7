"""What all databases have in common: how one is opened, what it is asked, and what its failures are called.

Knows no driver but that of SQLAlchemy, for those that have no room of their own."""

from __future__ import annotations

import json
import re

from wfctl import statements

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from wfctl.address import Address
    from wfctl.jobs import Tools

SQLITE = ("sqlite", "sqlite+pysqlite")
POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")

_ALCHEMY = ("postgresql", "mysql", "mariadb", "oracle", "mssql")
"""Databases that SQLAlchemy knows by itself."""


class Failure(Exception):
    """What went wrong, in words for the user. `unknown`: it may have had its effect all the same."""

    def __init__(self, reason: str, text: str, *, unknown: bool = False) -> None:
        super().__init__(text)
        self.reason = reason
        self.unknown = unknown


class Database:
    """One connection. Outside of `begin` and `commit` each statement is a transaction of its own.

    Its methods raise what the driver raises; `failure` says what that means.
    """

    errors: tuple[type[BaseException], ...] = ()
    """What the driver raises."""
    decides = False
    """Whether a statement on its way decides what stays: its answer lost, nobody knows."""

    def begin(self, *, writes: bool) -> None:
        """Begin a transaction."""
        raise NotImplementedError

    def commit(self) -> None:
        """Commit it; raises Failure where a statement has ended it."""
        raise NotImplementedError

    def run(self, statement: str, values: Mapping[str, Any]) -> int:
        """Execute a statement; how many rows it says that it has changed."""
        raise NotImplementedError

    def rows(self, statement: str, values: Mapping[str, Any]) -> tuple[Sequence[str], Iterator[Sequence[object]]]:
        """The names and rows that a statement gives, one after the other. Raises Failure where it gives none."""
        raise NotImplementedError

    def failure(self, error: BaseException) -> Failure:
        """What one of `errors` means."""
        raise NotImplementedError

    def backup(self, path: str) -> None:
        """Write all that is in the database to a new file."""
        raise Failure("not_started", NO_BACKUP)

    def restore(self, path: str) -> None:
        """Make the database what a backup says, whole or not at all."""
        raise Failure("not_started", NO_BACKUP)

    def close(self) -> None:
        """Let go of it; what was not committed is undone."""
        raise NotImplementedError


NO_BACKUP = "backup and restore are for SQLite and PostgreSQL; use a program of the database in a run node"
NO_ROWS = "the statement gives no rows; say execute in place of query"
ENDED = "a statement has ended the transaction that is common to all; take its BEGIN, COMMIT or ROLLBACK out"


def scheme(url: str) -> str:
    """What stands in front of `://`, in small letters; empty where that is not."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+_.-]*)://", url)
    return found[1].lower() if found else ""


def is_memory(url: str) -> bool:
    """Whether it names an SQLite database that ends with its process."""
    path, _, options = url.partition("://")[2].partition("?")
    return scheme(url) in SQLITE and (path in ("", "/", "/:memory:") or "mode=memory" in options)


def is_known(scheme: str) -> bool:
    """Whether there is such a database; those that installed packages add are looked for last."""
    plain = scheme.partition("+")[0]
    if scheme in (*SQLITE, *POSTGRES) or plain in _ALCHEMY:
        return True
    from importlib.metadata import entry_points

    return any(entry.name.partition(".")[0] == plain for entry in entry_points(group="sqlalchemy.dialects"))


def known() -> list[str]:
    """The names of databases, for a hint."""
    return ["sqlite", *_ALCHEMY]


def opened(url: str | Sequence[str], tools: Tools, *, make: bool) -> Database:
    """A connection to the database; `make`: an SQLite file may be made. Of several texts every second was filled in.
    Raises Failure."""
    from wfctl.address import Address

    address = Address(url)
    kind = scheme(address.text)
    if not kind:
        raise Failure("not_started", "the url names no database; write one such as sqlite:///data.db")
    if is_memory(address.text):
        raise Failure("not_started", MEMORY)
    if kind in SQLITE:
        from wfctl.sqlite import Sqlite

        return Sqlite(address, make=make)
    if kind in POSTGRES:
        from wfctl.postgres import Postgres

        return Postgres(address, tools)
    return Alchemy(address)


MEMORY = "a database in memory ends with this node, and nobody could see what was done; name a file: sqlite:///data.db"


def values_of(given: Mapping[str, Any], statement: str) -> dict[str, Any]:
    """What the parameters of a statement are bound to: lists and mappings as JSON text. Raises Failure."""
    wanted = statements.names(statement)
    for name in wanted:
        if name not in given:
            raise Failure("not_started", missing(name, list(given)))
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value := given[name], (list, dict)) else value
        for name in wanted
    }


def missing(name: str, given: list[str]) -> str:
    """What is said of a parameter that has no value."""
    from wfctl.errors import nearest

    return f'the parameter ":{name}" has no value; {nearest(name, given) or f"give it one in with: {{{name}: …}}"}'


class Alchemy(Database):
    """A database by SQLAlchemy, and the driver that its url names."""

    def __init__(self, address: Address) -> None:
        kind = scheme(address.text)
        try:
            import sqlalchemy
        except ImportError:
            what = f'"{kind}" needs SQLAlchemy, which is not installed'
            raise Failure("not_started", f"{what}; pip install 'wfctl[sql]', and its driver") from None
        from sqlalchemy import exc

        self.errors = (exc.SQLAlchemyError, UnicodeEncodeError)
        self._text = sqlalchemy.text
        try:
            engine = sqlalchemy.create_engine(_alchemy_url(address), poolclass=sqlalchemy.NullPool)
        except exc.NoSuchModuleError:
            what = f'no installed package knows "{kind}"'
            raise Failure("not_started", f"{what}; install its dialect for SQLAlchemy, or correct the name") from None
        except ImportError as error:
            what = f'"{kind}" needs the module "{error.name}", which is not installed'
            raise Failure("not_started", f"{what}; install that driver, or name another: dialect+driver://") from None
        except (exc.ArgumentError, ValueError, TypeError):  # their texts may hold the url
            raise Failure("not_started", f"the url cannot be read; write {HOW}") from None
        try:
            self._connection = engine.connect()
        except exc.SQLAlchemyError as error:
            raise Failure("connection", self.failure(error).args[0]) from None
        self._transaction: Any = None

    def begin(self, *, writes: bool) -> None:
        self._transaction = self._connection.begin()

    def commit(self) -> None:
        self._transaction.commit()

    def run(self, statement: str, values: Mapping[str, Any]) -> int:
        if self._transaction is None:
            self._alone()
        result = self._connection.execute(self._text(_escaped(statement)), values)
        count = max(result.rowcount, 0)
        result.close()
        if self._transaction is None:
            self._connection.commit()  # does nothing where each statement is its own transaction
        return count

    def _alone(self) -> None:
        """Have each statement be a transaction of its own: some cannot be part of one."""
        from sqlalchemy import exc

        try:
            self._connection.execution_options(isolation_level="AUTOCOMMIT")
        except (exc.ArgumentError, NotImplementedError):
            pass

    def rows(self, statement: str, values: Mapping[str, Any]) -> tuple[Sequence[str], Iterator[Sequence[object]]]:
        streamed = self._connection.execution_options(stream_results=False)
        result = streamed.execute(self._text(_escaped(statement)), values)
        if not result.returns_rows:
            raise Failure("database", NO_ROWS)
        return list(result.keys()), iter(result)

    def failure(self, error: BaseException) -> Failure:
        lost = bool(getattr(error, "connection_invalidated", False))
        text = _said(getattr(error, "orig", None) or error)
        return Failure("connection" if lost else "database", text, unknown=lost and self.decides)

    def close(self) -> None:
        self._connection.close()


def _alchemy_url(address: Address) -> Any:
    """As SQLAlchemy reads the written text, with what was filled in put into its parts."""
    from sqlalchemy import URL, make_url

    url = make_url(address.text)
    query = {
        address.filled(name): address.filled(value) if isinstance(value, str) else tuple(map(address.filled, value))
        for name, value in url.query.items()
    }

    def part(text: object) -> str | None:
        return None if text is None else address.filled(str(text))

    return URL.create(
        url.drivername, part(url.username), part(url.password), part(url.host), url.port, part(url.database), query
    )


HOW = "dialect://user:password@host/database, what is special in a part as %XX"


def _escaped(statement: str) -> str:
    """As SQLAlchemy reads it: what looks like a parameter and is none has a backslash."""
    return statements.bound(statement, lambda text: text.replace(":", "\\:"), lambda name: f":{name}")


def _said(error: BaseException) -> str:
    """The first line of what a driver says: drivers put it behind numbers, or into a mapping."""
    said: Any = error.args[-1] if error.args else error
    if isinstance(said, dict):  # the fields of a message of PostgreSQL, by their letters
        said = said.get("M", said)
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
