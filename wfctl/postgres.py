"""PostgreSQL by psycopg: statements, prepared transactions, and backups by the database's own programs.

Knows nothing of workflows; it is told what a prepared transaction is called."""

from __future__ import annotations

import os
import re

from wfctl import statements
from wfctl.databases import ENDED, HOW, NO_ROWS, Database, Failure, scheme

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO, Any

    from wfctl.address import Address
    from wfctl.jobs import Tools

LOCKED = "10s"
"""How long a statement of a prepared transaction waits for a lock: what others have prepared may hold it for long."""

_CONNECT = 30  # seconds, where the url does not say `connect_timeout`
_UNDEFINED = "42704"
_AWAY = ("08", "57P")  # beginnings of codes: of connections, and of servers that shut down

_EMPTIED = """
DO $$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY (
        WITH members AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
        ours AS (
            SELECT n.oid, n.nspname FROM pg_namespace n
            WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            AND ('pg_namespace'::regclass, n.oid) NOT IN (TABLE members)
        ),
        ends AS (
            SELECT 1 AS turn, format('SCHEMA IF EXISTS %I', nspname) AS what FROM ours WHERE nspname <> 'public'
            UNION ALL
            SELECT CASE c.relkind WHEN 'S' THEN 3 ELSE 2 END, format('%s IF EXISTS %I.%I', CASE c.relkind
                WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, nspname, c.relname)
            FROM pg_class c JOIN ours ON ours.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND ('pg_class'::regclass, c.oid) NOT IN (TABLE members)
            UNION ALL
            SELECT 4, format(
                'ROUTINE IF EXISTS %I.%I(%s)', nspname, p.proname, pg_get_function_identity_arguments(p.oid))
            FROM pg_proc p JOIN ours ON ours.oid = p.pronamespace
            WHERE ('pg_proc'::regclass, p.oid) NOT IN (TABLE members)
            UNION ALL
            SELECT 5, format('TYPE IF EXISTS %I.%I', nspname, t.typname)
            FROM pg_type t JOIN ours ON ours.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
            WHERE (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c')
            AND ('pg_type'::regclass, t.oid) NOT IN (TABLE members)
        )
        SELECT coalesce(array_agg('DROP ' || what || ' CASCADE' ORDER BY turn), '{}') FROM ends
    ) LOOP
        EXECUTE statement;
    END LOOP;
END $$
"""
"""A statement that drops all schemas, tables, views, sequences, routines and types, but for those of extensions."""


class Postgres(Database):
    """`postgresql://user:password@host/database`, as its own library reads it."""

    def __init__(self, where: Address, tools: Tools) -> None:
        try:
            import psycopg
            from psycopg import conninfo, pq
        except ImportError:
            what = f'"{scheme(where.text)}" needs psycopg, which is not installed'
            raise Failure("not_started", f"{what}; pip install 'wfctl[postgres]'") from None
        self.errors = (psycopg.Error, UnicodeEncodeError)
        self._environ = tools.environ
        address = "postgresql" + where.quoted[len(scheme(where.text)) :]
        try:
            options = {"connect_timeout": _CONNECT, **conninfo.conninfo_to_dict(address)}
            self._told = {
                option.envvar.decode(): option.val.decode()
                for option in pq.Conninfo.parse(address.encode())
                if option.envvar and option.val
            }
        except (psycopg.Error, UnicodeEncodeError):  # their texts hold parts of the url
            raise Failure("not_started", f"the url cannot be read; write {HOW}") from None
        try:
            self._connection = psycopg.connect(**options, autocommit=True)  # type: ignore[arg-type]
        except psycopg.Error as error:
            raise Failure("connection", _first_line(str(error))) from None
        self._status = pq.TransactionStatus
        self._literal = psycopg.sql.Literal
        self._end_with_client()

    def _end_with_client(self) -> None:
        """Have the server end a statement whose client was killed, and not only when it has an answer for it."""
        try:
            self._connection.execute("SELECT set_config('client_connection_check_interval', '500ms', false)")
        except self.errors:  # a server before 14, or one that cannot
            pass

    def begin(self, *, writes: bool) -> None:
        self._connection.execute("BEGIN")

    def commit(self) -> None:
        self._check_open()
        self._connection.execute("COMMIT")

    def _check_open(self) -> None:
        if self._connection.info.transaction_status != self._status.INTRANS:
            raise Failure("database", ENDED, unknown=True)

    def run(self, statement: str, values: Mapping[str, Any]) -> int:
        cursor: Any = self._connection.execute(*_formed(statement, values))
        count: int = max(cursor.rowcount, 0)
        while cursor.nextset():  # of a text with several statements
            count += max(cursor.rowcount, 0)
        return count

    def rows(self, statement: str, values: Mapping[str, Any]) -> tuple[Sequence[str], Iterator[Sequence[object]]]:
        from itertools import chain

        cursor: Any = self._connection.cursor()
        rows = cursor.stream(*_formed(statement, values))  # as they come: not all need fit into memory
        try:
            first = next(rows)
        except StopIteration:  # then it does not tell the columns either
            return (), iter(())
        except self.errors as error:
            if "didn't produce a result" in str(error):
                raise Failure("database", NO_ROWS) from None
            raise
        return [column.name for column in cursor.description], chain([first], rows)

    def failure(self, error: BaseException) -> Failure:
        code = getattr(error, "sqlstate", None) or ""
        lost = self._connection.broken or code.startswith(_AWAY)
        if isinstance(error, UnicodeEncodeError):
            text = "a value holds half a surrogate pair, which is no text"
        else:
            primary = getattr(getattr(error, "diag", None), "message_primary", None)
            text = primary or _first_line(str(error))
        return Failure("connection" if lost else "database", text, unknown=lost and self.decides)

    def close(self) -> None:
        self._connection.close()

    # -- prepared transactions

    def prepare(self, name: str, earlier: Iterable[str]) -> None:
        """Begin a transaction for `prepared` to end. Those of earlier attempts are rolled back. Raises Failure."""
        [most] = self._connection.execute("SHOW max_prepared_transactions").fetchone() or ("0",)
        if most == "0":
            what = "max_prepared_transactions is 0 at this server, so nothing can be prepared"
            raise Failure("not_started", f"{what}; set it in postgresql.conf and restart that, or leave prepare out")
        for old in earlier:
            self.roll_back(old)
        self._hold(name)
        self._connection.execute("BEGIN")
        self._connection.execute(f"SET LOCAL lock_timeout = '{LOCKED}'")

    def prepared(self, name: str) -> None:
        """End the transaction: it stays, until somebody commits it or rolls it back."""
        self._check_open()
        self._say("PREPARE TRANSACTION", name)

    def commit_prepared(self, name: str, *, again: bool) -> None:
        """Commit what was prepared. `again`: that may be done, and then there is no such name."""
        self._end("COMMIT PREPARED", name, may_lack=again)

    def roll_back(self, name: str) -> None:
        """Undo what was prepared; if there is no such name, nothing was, or it is undone."""
        self._hold(name)  # whoever prepares it has done so then, or never will
        self._end("ROLLBACK PREPARED", name, may_lack=True)

    def _hold(self, name: str) -> None:
        """Wait until no session works on the transaction of that name, and be the one that does.

        A killed client's statement goes on for a moment: its transaction would be prepared after it was rolled back.
        """
        self._connection.execute(f"SET lock_timeout = '{LOCKED}'")
        try:
            self._connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
        finally:
            if not self._connection.broken:
                self._connection.execute("RESET lock_timeout")

    def _end(self, words: str, name: str, *, may_lack: bool) -> None:
        try:
            self._say(words, name)
        except self.errors as error:
            if getattr(error, "sqlstate", None) != _UNDEFINED or not may_lack:
                raise

    def _say(self, words: str, name: str) -> None:
        # Such a statement takes no parameters, so the name is quoted.
        quoted = self._literal(name).as_string(self._connection)
        self._connection.execute(f"{words} {quoted}".encode())

    # -- backups

    def backup(self, path: str) -> None:
        self._program("pg_dump", "backup", "--format=custom", f"--file={path}")

    def restore(self, path: str) -> None:
        """Make the database what it was, in one transaction. What came after the backup goes first: it may stand in the
        way, as a view of an old table does, and it was not there."""
        import tempfile

        with tempfile.TemporaryFile(dir=os.path.dirname(path) or ".") as script:
            self._program("pg_restore", "restore", "--clean", "--if-exists", "--file=-", path, output=script)
            script.seek(0)
            words = ("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1")
            self._program("psql", "restore", *words, f"--command={_EMPTIED}", "--file=-", source=script)

    def _program(
        self, name: str, what: str, *words: str, source: IO[bytes] | None = None, output: IO[bytes] | None = None
    ) -> None:
        """Run a program of the database's. What the url says it finds in variables, which others cannot look at."""
        import shutil
        import subprocess

        program = shutil.which(name, path=self._environ.get("PATH", os.defpath))
        if program is None:
            hint = "install the client programs of PostgreSQL"
            raise Failure("not_started", f'{what} needs the program "{name}", which is not on the PATH; {hint}')
        ended = subprocess.run(
            [program, "--no-password", *words],
            env={**self._environ, **self._told, "LC_MESSAGES": "C"},
            stdin=source or subprocess.DEVNULL,
            stdout=output or subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if ended.returncode:
            text = _complaint(ended.stderr) or f"{name} ended with exit code {ended.returncode}"
            raise Failure("connection" if "connection to server" in text else "database", text)


def _formed(statement: str, values: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any] | None]:
    """As psycopg wants it. Without parameters it is sent as it is, so that a text may hold several statements."""
    if not values:
        return statement.encode(), None
    formed = statements.bound(statement, lambda text: text.replace("%", "%%"), lambda name: f"%({name})s")
    return formed.encode(), values


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "the connection failed")


def _complaint(text: str) -> str:
    """What a program of PostgreSQL says that is wrong, in a line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if re.search(r"\b(error|fatal):", line, re.IGNORECASE)] or lines[-1:]
    return re.sub(r"^(pg_\w+|psql)(:<stdin>:\d+)?: (error: )?", "", wrong[0]) if wrong else ""


