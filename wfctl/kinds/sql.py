"""The kind `sql`: statements for a database, its backup and what puts that back.

Knows nothing of when it runs or what becomes of its rows."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping

from wfctl.fields import Body, FieldsKind
from wfctl.result import Result

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from typing import Any

    from wfctl.databases import Database
    from wfctl.errors import Problem, Where
    from wfctl.jobs import Job, Place, Tools
    from wfctl.node import Node
    from wfctl.postgres import Postgres

_WORK = ("query", "execute", "backup", "restore", "rollback_prepared")
_PATHS = {"writes": "backup", "reads": "restore"}


class Sql(FieldsKind):
    """`sql: {url, query or execute, with, backup, prepare}`, `{url, restore}` and `{url, rollback_prepared}`."""

    name = "sql"
    secrets = frozenset({"url"})

    def check(self, fields: Mapping[str, Any], where: Where) -> Iterator[Problem]:
        """What goes with what, and what each statement says."""
        from wfctl.errors import Problem

        said = [key for key in _WORK if key in fields]
        if not said:
            yield Problem(where, "says nothing to do", f"add one of {', '.join(_WORK)}")
        if "query" in fields and "execute" in fields:
            yield Problem((*where, "query"), "does not go with execute", "take one of them out", key=True)
        elif "query" in fields and "backup" in fields:
            yield Problem((*where, "backup"), "does not go with query", "take it out, or say execute", key=True)
        for key in ("restore", "rollback_prepared"):
            if key in fields and len(said) > 1:
                yield Problem((*where, key), f"does not go with {said[0]}", "give it a node of its own", key=True)
        for key in _PATHS.values():
            yield from _check_path(fields.get(key), (*where, key))
        yield from self._check_prepare(fields, where)
        yield from self._check_url(fields, where)
        for key in ("query", "execute"):
            several = isinstance(fields.get(key), (list, tuple))
            for place, statement in _placed(fields.get(key), (*where, key)):
                yield from _check_statement(statement, fields.get("with") or {}, place, several or "prepare" in fields)

    def _check_prepare(self, fields: Mapping[str, Any], where: Where) -> Iterator[Problem]:
        from wfctl.errors import Problem

        prepare = fields.get("prepare")
        if not isinstance(prepare, (bool, type(None))):
            what = "cannot be an expression: what a run does at its end must be known before"
            yield Problem((*where, "prepare"), what, "write true or false")
        if prepare and "execute" not in fields:
            yield Problem((*where, "prepare"), "goes with execute", "take it out, or add execute", key=True)

    def _check_url(self, fields: Mapping[str, Any], where: Where) -> Iterator[Problem]:
        """As far as the url shows: that of an expression may begin with text."""
        from wfctl import databases, expr
        from wfctl.errors import Problem, nearest

        url = fields.get("url")
        whole = isinstance(url, str)
        first = url.parts[0] if isinstance(url, expr.Template) else url
        if not isinstance(first, str):
            return
        place, scheme = (*where, "url"), databases.scheme(first)
        if not scheme:
            if whole or "://" in first:
                yield Problem(place, f'"{first[:60]}" names no database', "write one such as sqlite:///data.db")
            return
        if not databases.is_known(scheme):
            hint = nearest(scheme, databases.known()) or "install its package for SQLAlchemy, or correct the name"
            yield Problem(place, f'no database is called "{scheme}"', hint)
        elif whole and databases.is_memory(first):
            yield _problem(place, databases.MEMORY)
        if scheme not in databases.POSTGRES:
            for key in ("prepare", "rollback_prepared"):
                if fields.get(key):
                    yield Problem((*where, key), "is for PostgreSQL", "take it out, or name postgresql://", key=True)
            if scheme not in databases.SQLITE:
                for key in ("backup", "restore"):
                    if key in fields:
                        yield _problem((*where, key), databases.NO_BACKUP, key=True)

    def prepares(self, body: object) -> bool:
        """Whether it leaves a prepared transaction."""
        assert isinstance(body, Body)
        return self.flat(body.fields).get("prepare") is True

    def paths(self, body: object, key: str) -> tuple[object, ...]:
        """It writes its backup, and reads what it restores."""
        assert isinstance(body, Body)
        path = self.flat(body.fields).get(_PATHS[key])
        return () if path is None else (path,)

    def prepare(
        self, job: Job, node: object, names: Mapping[str, object], place: Place, vars: Mapping[str, object]
    ) -> Job:
        """The job with its task, its paths as they are seen from the root, and its url in parts."""
        from dataclasses import replace

        made = self._made(job, node, names, place, vars)
        assert made.task is not None
        seen = {key: posixpath.join(job.base, path) for key in _PATHS.values() if (path := made.task.fields.get(key))}
        return replace(made, task=replace(made.task, fields={**made.task.fields, **seen}))

    def ending(
        self, job: Job, node: Any, names: Mapping[str, object], place: Place, vars: Mapping[str, object],
        *, name: str, commit: bool, again: bool,
    ) -> Job:  # fmt: skip
        """The job that commits the transaction of that name, or rolls it back."""
        from dataclasses import replace

        own = self.flat(node.body.fields)
        asked = {"commit_prepared": name, "again": again} if commit else {"rollback_prepared": name}
        body = Body({self.name: {"url": own["url"], **asked}})
        return self._made(job, replace(node, body=body), names, place, vars)

    def _made(
        self, job: Job, node: Any, names: Mapping[str, object], place: Place, vars: Mapping[str, object]
    ) -> Job:
        """The job with its task. Of its url each text that was filled in stands by itself: what a node has said, or a
        password, is data there, and needs no percent signs."""
        from dataclasses import replace

        from wfctl import values

        fields = dict(self.flat(node.body.fields))
        url = fields.pop("url")
        made = super().prepare(job, replace(node, body=Body({self.name: fields})), names, place, vars)
        assert made.task is not None
        parts: list[str | None] = [""]
        sealed, filled = dict(made.sealed), dict(made.task.filled)
        for piece in values.pieces(url, names, vars):
            if isinstance(piece, values.Secret):
                variable = f"WFCTL_URL_{len(filled) + 1}"
                sealed[variable], filled[variable] = ("", piece, ""), ("url", len(parts))
                parts += [None, ""]
            elif isinstance(piece, values.Filled):
                parts += [values.checked(piece, "url"), ""]
            else:
                parts[-1] = f"{parts[-1]}{piece}"
        task = replace(made.task, fields={**made.task.fields, "url": parts}, filled=filled)
        return replace(made, task=task, sealed=sealed)

    def settled(self, fields: dict[str, Any], node: Node) -> dict[str, Any]:
        """Expressions must have made a mapping of `with`, and text of what is text."""
        from wfctl.expr import ExpressionError, as_text

        for key in ("rollback_prepared", "backup", "restore"):
            if not isinstance(fields.get(key), (str, type(None))):
                raise ExpressionError(f"{key}: expected text, got {as_text(fields[key])[:60]}")
        given = fields.get("with")
        if given is not None and not isinstance(given, dict):
            raise ExpressionError(f"with: expected a mapping of parameters, got {as_text(given)[:60]}")
        return fields

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        """Do it. What the database or its driver says becomes a result."""
        from wfctl.databases import Failure

        try:
            return Result(output=_Work(fields, tools).output())
        except Failure as failure:
            return Result(reason=failure.reason, error=str(failure), unknown=failure.unknown)


def _check_path(path: object, where: Where) -> Iterator[Problem]:
    from wfctl.paths import confined

    try:
        if isinstance(path, str):
            confined(path, "/")
    except ValueError as error:
        yield _problem(where, str(error))


def _problem(where: Where, text: str, *, key: bool = False) -> Problem:
    from wfctl.errors import Problem

    what, _, hint = text.partition("; ")
    return Problem(where, what, hint, key=key)


def _placed(statements: object, where: Where) -> Iterator[tuple[Where, object]]:
    """Each statement with its place."""
    if isinstance(statements, (list, tuple)):
        yield from (((*where, i), statement) for i, statement in enumerate(statements))
    elif statements is not None:
        yield where, statements


def _check_statement(statement: object, given: object, where: Where, in_transaction: bool) -> Iterator[Problem]:
    from wfctl import databases, statements
    from wfctl.errors import Problem

    if not isinstance(statement, str):
        what = "a statement cannot hold an expression: the database would read its value as SQL"
        yield Problem(where, what, "write :name there, and the value in with: {name: ${{ … }}}")
        return
    if in_transaction and (word := statements.ends_transaction(statement)):
        yield Problem(where, f'"{word}" is not yours to say: all statements are one transaction', "take it out")
    for name in statements.names(statement):
        if isinstance(given, Mapping) and name not in given:
            yield _problem(where, databases.missing(name, [str(key) for key in given]))


class _Work:
    """One task: a database, and what is asked of it. Raises Failure."""

    def __init__(self, fields: Mapping[str, Any], tools: Tools) -> None:
        self.fields = fields
        self.tools = tools
        self.given: Mapping[str, Any] = fields.get("with") or {}
        self.backup: str | None = fields.get("backup")
        self.name: str | None = None
        self.count = 0

    def output(self) -> object:
        """What was asked for, done."""
        from wfctl import databases

        statements = self._statements()
        make = self.backup is None and ("execute" in self.fields or "restore" in self.fields)
        database = databases.opened(self.fields["url"], self.tools, make=make)
        try:
            if "query" in self.fields:
                return self._query(database, statements)
            self._other(database)
            if "execute" in self.fields:
                self._execute(database, statements)
            return {"rowcount": self.count, "backup": self.fields.get("backup"), "prepared": self.name}
        except database.errors as error:
            raise database.failure(error) from None
        finally:
            database.close()

    def _statements(self) -> list[tuple[str, dict[str, Any]]]:
        """The statements with their values; all is known before anything is done."""
        from wfctl.databases import values_of

        said = self.fields.get("query") or self.fields.get("execute") or []
        return [(one, values_of(self.given, one)) for one in ([said] if isinstance(said, str) else said)]

    def _query(self, database: Database, statements: list[tuple[str, dict[str, Any]]]) -> object:
        """The rows of the last statement. One that changes something, and cannot tell its rows, has changed nothing."""
        from wfctl.databases import Failure
        from wfctl.rows import TOO_MANY, NoRow, collected

        database.begin(writes=False)
        for statement, values in statements[:-1]:
            database.run(statement, values)
        try:
            rows = collected(*database.rows(*statements[-1]))
        except NoRow as error:
            raise Failure("output" if str(error) == TOO_MANY else "database", str(error)) from None
        database.decides = True
        database.commit()
        return rows

    def _other(self, database: Database) -> None:
        """What is done without statements, or before them."""
        if path := self.fields.get("restore"):
            self._restore(database, path)
        elif name := self.fields.get("rollback_prepared"):
            _postgres(database).roll_back(name)
        elif name := self.fields.get("commit_prepared"):
            database.decides = True
            _postgres(database).commit_prepared(name, again=bool(self.fields.get("again")))
        elif path := self.backup:
            self._back_up(database, path)

    def _execute(self, database: Database, statements: list[tuple[str, dict[str, Any]]]) -> None:
        from wfctl import backups
        from wfctl.databases import Failure

        try:
            try:
                self._done(database, statements)
            except database.errors as error:
                raise database.failure(error) from None
        except Failure as failure:
            if self.backup is not None and not failure.unknown:
                backups.settled(self._path(self.backup))
            raise

    def _done(self, database: Database, statements: list[tuple[str, dict[str, Any]]]) -> None:
        if self.fields.get("prepare"):
            from wfctl.transactions import transaction_name

            run, node, attempt = self.tools.run, self.tools.node, self.tools.attempt
            name = transaction_name(run, node, attempt)
            _postgres(database).prepare(name, [transaction_name(run, node, n) for n in range(1, attempt)])
            self._all(database, statements)
            database.decides = True
            _postgres(database).prepared(name)
            self.name = name
        elif isinstance(self.fields["execute"], str):
            database.decides = True
            self.count = database.run(*statements[0])
        else:
            database.begin(writes=True)
            self._all(database, statements)
            database.decides = True
            database.commit()

    def _all(self, database: Database, statements: list[tuple[str, dict[str, Any]]]) -> None:
        from wfctl.databases import Failure

        for number, (statement, values) in enumerate(statements, 1):
            try:
                self.count += database.run(statement, values)
            except database.errors as error:
                failure = database.failure(error)
                if len(statements) == 1 or failure.reason != "database":
                    raise failure from None
                raise Failure("database", f"statement {number} of {len(statements)}: {failure}") from None

    # -- backups

    def _back_up(self, database: Database, said: str) -> None:
        """Write it before the statements. That of an earlier attempt stays where nobody knows whether it has done
        them: what is there now may be what they made of it."""
        from wfctl import backups
        from wfctl.databases import Failure

        path = self._path(said)
        if self.tools.attempt > 1 and backups.stands(path, self.tools.key):
            self.tools.log(f'"{said}" stays as an earlier attempt has made it: its statements may be done')
            return
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            backups.make(path, database.backup, self.tools.key if "execute" in self.fields else "")
        except OSError as error:
            raise Failure("backup", f'"{said}" cannot be written: {(error.strerror or "").lower()}') from None

    def _restore(self, database: Database, said: str) -> None:
        from wfctl import backups
        from wfctl.databases import Failure

        path = self._path(said)
        try:
            backups.check(path)
        except backups.Damaged as error:
            raise Failure("backup", f'"{said}" is not restored: {error}') from None
        except OSError as error:
            raise Failure("backup", f'"{said}" cannot be read: {(error.strerror or "").lower()}') from None
        database.restore(path)

    def _path(self, said: str) -> str:
        from wfctl.databases import Failure
        from wfctl.paths import confined

        try:
            return os.path.join(self.tools.root, confined(said, self.tools.root))
        except ValueError as error:
            raise Failure("not_started", str(error)) from None


def _postgres(database: Database) -> Postgres:
    """The database where it is a PostgreSQL."""
    from wfctl.databases import Failure
    from wfctl.postgres import Postgres

    if not isinstance(database, Postgres):
        raise Failure("not_started", "prepared transactions are for PostgreSQL; name it by postgresql://")
    return database
