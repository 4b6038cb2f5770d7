"""The kind sql as its tasks are performed: what becomes of statements, rows, backups and failures. By SQLite, and what
every database must do by PostgreSQL with both of its drivers too."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.kind import Kept
from wfctl.kinds.sql import Sql
from wfctl.result import Result

HOSTILE = ["'; DROP TABLE t; --", '"; x', "$(touch pwned)", ":name %s %(n)s {0} ?", "a\nb", "é😀\u202e", "", "\\", "$1"]


class Sqls:
    """`sql("query", "SELECT 1", n=2)`: what becomes of that, as `with: {n: 2}`, in the database `url`."""

    def __init__(self, url: str, root: Path) -> None:
        self.url = url
        self.tools = Kept(str(root), environ=dict(os.environ))

    def __call__(self, key: str, statement: Any, /, **given: Any) -> Any:
        result = self.result({key: statement, "with": given})
        assert not result.reason, result
        return result.output

    def result(self, fields: Mapping[str, Any]) -> Result:
        return Sql().perform({"url": self.url, **fields}, self.tools)

    def fails(self, fields: Mapping[str, Any]) -> tuple[str, str]:
        result = self.result(fields)
        assert result.output is None
        return result.reason, result.error


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sqls:
    """By SQLite."""
    monkeypatch.chdir(tmp_path)
    return Sqls("sqlite:///x.db", tmp_path)


@pytest.fixture(params=["sqlite", "psycopg", "alchemy"])
def each(request: pytest.FixtureRequest, sql: Sqls) -> Sqls:
    """By each way that there is to a database."""
    if request.param == "sqlite":
        Path("x.db").touch()
    else:
        database = request.getfixturevalue("postgres")
        sql.url = database.url
        if request.param == "alchemy":
            server = database.server
            sock = f"{server.folder}/.s.PGSQL.5432"
            base = server.url(database.name, scheme="postgresql+pg8000").partition("?")[0]
            sql.url = f"{base.replace('@/', '@localhost/')}?unix_sock={sock}"
    return sql


# -- what every database does


def test_rows_are_mappings_of_plain_data(each: Sqls) -> None:
    assert each("execute", ["CREATE TABLE t (id int, name text)", "INSERT INTO t VALUES (1, 'a'), (2, NULL)"]) == {
        "rowcount": 2,
        "backup": None,
        "prepared": None,
    }
    assert each("query", "SELECT id, name FROM t ORDER BY id") == [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    assert each("query", "SELECT id FROM t WHERE id > :least", least=2) == []
    assert each("query", ["INSERT INTO t VALUES (3, 'c')", "SELECT name FROM t WHERE id = 3"]) == [{"name": "c"}]
    assert each("query", "UPDATE t SET name = 'z' WHERE id = 3 RETURNING name") == [{"name": "z"}]
    assert each("query", "SELECT name FROM t WHERE id = 3") == [{"name": "z"}]
    assert each("execute", "DELETE FROM t WHERE id > :id", id=1)["rowcount"] == 2


def test_a_value_is_bound_and_never_read_as_sql(each: Sqls) -> None:
    each("execute", "CREATE TABLE t (said text)")
    each("execute", ["INSERT INTO t VALUES (:said)"] * 2, said=HOSTILE[0])
    for said in HOSTILE:
        [row] = each("query", "SELECT CAST(:said AS text) AS said, ':said %s' AS it -- :no\n", said=said)
        assert row == {"said": said, "it": ":said %s"}
    assert len(each("query", "SELECT * FROM t WHERE said = :said", said=HOSTILE[0])) == 2


def test_a_list_is_one_transaction(each: Sqls) -> None:
    each("execute", "CREATE TABLE t (id int PRIMARY KEY)")
    reason, error = each.fails({"execute": ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (:n)"], "with": {"n": 1}})
    assert reason == "database"
    assert error.startswith("statement 2 of 2: ")
    assert "unique" in error.lower()
    assert each("query", "SELECT * FROM t") == []


def test_a_query_that_cannot_tell_its_rows_has_changed_nothing(each: Sqls) -> None:
    each("execute", "CREATE TABLE t (id int)")
    told = "the statement gives no rows; say execute in place of query"
    assert each.fails({"query": "INSERT INTO t VALUES (1)"})[1] == told
    twice = "INSERT INTO t VALUES (1) RETURNING id, id"
    assert each.fails({"query": twice}) == (
        "database", 'two columns are called "id"; give one of them another name: … AS id_2',
    )  # fmt: skip
    assert each("query", "SELECT * FROM t") == []


def test_a_list_or_mapping_is_bound_as_json(each: Sqls) -> None:
    [row] = each("query", "SELECT CAST(:rows AS text) AS rows", rows=[{"id": 1, "name": "é"}])
    assert row == {"rows": '[{"id": 1, "name": "é"}]'}


def test_a_parameter_without_a_value_is_told_before_anything_is_done(each: Sqls) -> None:
    assert each.fails({"execute": ["CREATE TABLE t (id int)", "DELETE FROM t WHERE id = :idd"], "with": {"id": 1}}) == (
        "not_started", 'the parameter ":idd" has no value; did you mean "id"?',
    )  # fmt: skip
    assert "t" in each.fails({"query": "SELECT * FROM t"})[1]


def test_an_output_has_a_limit(each: Sqls) -> None:
    many = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < 300) SELECT :a AS a FROM r"
    reason, error = each.fails({"query": many.replace(":a", "CAST(:a AS text)"), "with": {"a": "x" * 60_000}})
    assert (reason, error.partition(";")[0]) == ("output", "the output has more than 16 MiB as JSON")


def test_half_a_character_is_no_value(each: Sqls) -> None:
    assert each.fails({"query": "SELECT CAST(:a AS text) AS a", "with": {"a": "\ud800"}})[0] == "database"


# -- SQLite


def test_the_folder_of_a_database_is_made_where_one_may_be(sql: Sqls) -> None:
    sql.url = "sqlite:///deep/er/x.db"
    assert sql.fails({"query": "SELECT 1"})[0] == "connection"
    assert not Path("deep").exists()
    sql("execute", "CREATE TABLE t (a int)")
    assert sql("query", "SELECT count(*) AS n FROM t") == [{"n": 0}]


def test_a_query_makes_no_database(sql: Sqls, tmp_path: Path) -> None:
    assert sql.fails({"query": "SELECT 1"}) == (
        "connection", 'there is no database "x.db"; a statement under execute makes one',
    )  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("sqlite://", "a database in memory ends with this node"),
        ("sqlite:///:memory:", "a database in memory ends with this node"),
        ("sqlite:///x.db?mode=memory", "a database in memory ends with this node"),
        ("sqlite://x.db", "the url cannot be read; write sqlite:///relative.db or sqlite:////absolute.db"),
        ("sqlite:///x.db?cache=shared", "the url cannot be read"),
        ("x.db", "the url names no database"),
        ("nosuch://user:hunter2@host/db", 'no installed package knows "nosuch"'),
        ("postgresql+nosuch://user:hunter2@host/db", 'no installed package knows "postgresql+nosuch"'),
        ("oracle+cx_oracle://user:hunter2@host/db", '"oracle+cx_oracle" needs the module "cx_Oracle"'),
        ("postgresql://user:hunter2@host/db?nosuch=1", "the url cannot be read; write dialect://user"),
        ("mysql://user:hunter2@host:port/db", "the url cannot be read; write dialect://user"),
    ],
)
def test_a_url_that_leads_nowhere_is_no_failure_of_the_work(sql: Sqls, url: str, error: str) -> None:
    result = sql.result({"url": url, "query": "SELECT 1"})
    assert result.reason == "not_started"
    assert result.error.startswith(error)
    assert "hunter2" not in result.error


def test_a_url_may_be_absolute_and_keep_the_database_as_it_is(sql: Sqls, tmp_path: Path) -> None:
    sql.url = f"sqlite:///{tmp_path}/o dd%20#1.db"
    sql("execute", "CREATE TABLE t (id int)")
    assert [path.name for path in tmp_path.iterdir()] == ["o dd%20#1.db"]
    sql.url += "?mode=ro"
    assert sql("query", "SELECT * FROM t") == []
    assert sql.fails({"execute": "DELETE FROM t"}) == ("database", "attempt to write a readonly database")


@pytest.mark.parametrize("name", [*filter(None, HOSTILE), "a?mode=memory", "a%41#x"])
def test_a_name_that_is_filled_in_stays_a_name(sql: Sqls, tmp_path: Path, name: str) -> None:
    made = sql.result({"url": ["sqlite:///", name, ""], "execute": "CREATE TABLE t (id int)"})
    assert not made.reason, made
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_database_in_memory_is_refused_by_whatever_name(sql: Sqls) -> None:
    for url in (["sqlite:///", ":memory:", ""], ["", "sqlite://", ""]):
        assert sql.fails({"url": url, "query": "SELECT 1"})[1].startswith("a database in memory ends with this node")


def test_one_statement_stands_outside_of_a_transaction(sql: Sqls) -> None:
    sql("execute", "CREATE TABLE t (id int)")
    sql("execute", "VACUUM")
    assert sql.fails({"execute": ["VACUUM"]})[1] == "cannot VACUUM from within a transaction"
    assert sql.fails({"execute": "DELETE FROM t; DELETE FROM t"})[1] == (
        "more than one statement in a text; write a list, one statement each"
    )


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("x'00ff'", "the column \"v\" holds bytes, which JSON has not; take hex(v) or encode(v, 'base64')"),
        ("9e999", 'the column "v" holds inf, which JSON has not; NULLIF or CAST … AS TEXT'),
    ],
)
def test_what_json_has_not_is_told_with_its_column(sql: Sqls, value: str, error: str) -> None:
    sql("execute", "CREATE TABLE t (id int)")
    assert sql.fails({"query": f"SELECT 1 AS n, {value} AS v"}) == ("database", error)


def test_a_number_that_sqlite_cannot_hold_is_a_failure(sql: Sqls) -> None:
    sql("execute", "CREATE TABLE t (id int)")
    assert sql.fails({"query": "SELECT :n AS n", "with": {"n": 2**70}})[0] == "database"


def test_what_is_no_database_is_told(sql: Sqls, tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("nothing of the sort" * 1000)
    assert sql.fails({"query": "SELECT 1 FROM t"}) == ("database", "file is not a database")


# -- backups of SQLite


@pytest.fixture
def filled(sql: Sqls) -> Sqls:
    sql("execute", ["CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)"])
    return sql


def ids(sql: Sqls) -> list[int]:
    return [row["id"] for row in sql("query", "SELECT id FROM t ORDER BY id")]


def test_a_backup_is_made_before_the_statements_and_put_back(filled: Sqls, tmp_path: Path) -> None:
    made = filled.result({"execute": "DELETE FROM t", "backup": "kept/before.db"})
    assert made.output == {"rowcount": 1, "backup": "kept/before.db", "prepared": None}
    assert ids(filled) == []
    assert filled.result({"restore": "kept/before.db"}).reason == ""
    assert ids(filled) == [1]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["before.db", "before.db.sha256"]


def test_its_checksum_is_as_other_programs_read_it(filled: Sqls, tmp_path: Path) -> None:
    import subprocess

    filled.result({"backup": "before.db"})
    subprocess.run(["sha256sum", "--check", "--strict", "before.db.sha256"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("how", ["a bit", "cut", "no checksum", "no backup"])
def test_a_backup_that_is_not_what_was_written_is_not_put_back(filled: Sqls, tmp_path: Path, how: str) -> None:
    filled.result({"execute": "INSERT INTO t VALUES (2)", "backup": "before.db"})
    path = tmp_path / "before.db"
    content = bytearray(path.read_bytes())
    if how == "no checksum":
        (tmp_path / "before.db.sha256").unlink()
    elif how == "no backup":
        path.unlink()
    else:
        content[5000] ^= 1
        path.write_bytes(content[:6000] if how == "cut" else content)
    reason, error = filled.fails({"restore": "before.db"})
    assert reason == "backup"
    assert '"before.db' in error
    assert ids(filled) == [1, 2]


def test_a_restore_is_seen_by_those_who_have_the_database_open(filled: Sqls, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = wal")
        filled.result({"execute": "DELETE FROM t", "backup": "before.db"})
        assert other.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
        assert filled.result({"restore": "before.db"}).reason == ""
        assert other.execute("SELECT count(*) FROM t").fetchall() == [(1,)]


@pytest.mark.parametrize("how", ["gone", "garbage"])
def test_a_database_that_is_lost_is_put_back(filled: Sqls, tmp_path: Path, how: str) -> None:
    filled.result({"backup": "before.db"})
    (tmp_path / "x.db").unlink()
    if how == "garbage":
        (tmp_path / "x.db").write_text("nothing of the sort" * 1000)
    assert filled.result({"restore": "before.db"}) == Result(
        output={"rowcount": 0, "backup": None, "prepared": None}
    )
    assert ids(filled) == [1]


def test_a_backup_stays_where_the_statements_of_an_earlier_attempt_may_be_done(filled: Sqls) -> None:
    """Its process was killed, say: the database may be changed, and its state before must not be lost."""
    work = {"execute": "INSERT INTO t VALUES (2)", "backup": "before.db"}
    filled.result(work)
    filled.tools.attempt = 2
    filled.result(work)
    assert filled.tools.lines == ['"before.db" stays as an earlier attempt has made it: its statements may be done']
    filled.result({"restore": "before.db"})
    assert ids(filled) == [1]


@pytest.mark.parametrize("why", ["known", "another node"])
def test_else_each_attempt_makes_its_own(filled: Sqls, why: str) -> None:
    work = {"execute": "INSERT INTO t VALUES (2)", "backup": "before.db"}
    filled.result(work if why == "another node" else {**work, "execute": "INSERT INTO nowhere VALUES (1)"})
    filled("execute", "INSERT INTO t VALUES (3)")
    filled.tools.attempt = 2
    if why == "another node":
        filled.tools.key = "r/b"
    filled.result(work)
    filled.result({"restore": "before.db"})
    assert 3 in ids(filled)


def test_a_backup_leaves_nothing_where_it_fails(filled: Sqls, tmp_path: Path) -> None:
    (tmp_path / "before.db").mkdir()
    assert filled.fails({"execute": "DELETE FROM t", "backup": "before.db"}) == (
        "backup", '"before.db" cannot be written: is a directory',
    )  # fmt: skip
    assert filled.fails({"backup": "../before.db"})[0] == "not_started"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before.db", "x.db"]
    assert ids(filled) == [1]


# -- PostgreSQL


@pytest.fixture
def pg(sql: Sqls, postgres: Any) -> Sqls:
    sql.url = postgres.url
    path = os.pathsep.join([str(postgres.server.bin), os.environ["PATH"]])
    sql.tools.environ = {**os.environ, "PATH": path}
    return sql


VALUES = {
    "true": True,
    "null::int": None,
    "12345678901234567890::numeric": 12345678901234567890,
    "1.50::numeric": 1.5,
    "0.1::numeric": 0.1,
    "0.12345678901234567891::numeric": "0.12345678901234567891",
    "date '2026-01-31'": "2026-01-31",
    "time '10:11:12.5'": "10:11:12.500000",
    "timestamp '2026-01-31 10:11'": "2026-01-31T10:11:00",
    "timestamptz '2026-01-31 10:11+00'": "2026-01-31T10:11:00+00:00",
    "interval '1 day 2 hours 0.25 s'": "PT93600.25S",
    "interval '-1 s'": "-PT1S",
    "array[1, 2]": [1, 2],
    "array[date '2026-01-31', null]": ["2026-01-31", None],
    """'{"a": [1, null, 1.5]}'::jsonb""": {"a": [1, None, 1.5]},
    "'11111111-2222-3333-4444-555555555555'::uuid": "11111111-2222-3333-4444-555555555555",
    "inet '10.0.0.1'": "10.0.0.1",
    "'a'::char(2)": "a ",
    "'x'::text": "x",
}


def test_values_of_postgresql_become_json(pg: Sqls) -> None:
    columns = ", ".join(f"{value} AS c{i}" for i, value in enumerate(VALUES))
    [row] = pg("query", ["SET timezone = 'UTC'", f"SELECT {columns}"])
    assert dict(zip(VALUES, row.values(), strict=True)) == VALUES


@pytest.mark.parametrize(
    "value", ["'nan'::float", "'nan'::numeric", "'infinity'::float", "'x'::bytea", "'[1,2]'::int4range"]
)
def test_values_of_postgresql_that_json_has_not(pg: Sqls, value: str) -> None:
    assert 'the column "v" holds' in pg.fails({"query": f"SELECT {value} AS v"})[1]


def test_an_error_is_short_and_tells_no_parameter(pg: Sqls) -> None:
    pg("execute", "CREATE TABLE t (id text PRIMARY KEY)")
    work = {"execute": ["INSERT INTO t VALUES (:id)"] * 2, "with": {"id": "hunter2"}}
    error = 'statement 2 of 2: duplicate key value violates unique constraint "t_pkey"'
    assert pg.fails(work) == ("database", error)


def test_a_text_without_parameters_may_be_a_whole_script(pg: Sqls) -> None:
    script = "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2); SELECT '100 %'"
    assert pg("execute", script)["rowcount"] == 3
    assert pg("query", "SELECT * FROM t") == [{"id": 1}, {"id": 2}]


def test_a_hidden_commit_is_told(pg: Sqls) -> None:
    pg("execute", "CREATE TABLE t (id int)")
    result = pg.result({"execute": ["INSERT INTO t VALUES (1); COMMIT"]})
    assert (result.reason, result.unknown) == ("database", True)
    assert "has ended the transaction" in result.error


def test_rows_in_json_go_in_as_one_parameter(pg: Sqls) -> None:
    pg("execute", "CREATE TABLE t (id int, score float)")
    statement = "INSERT INTO t SELECT * FROM json_to_recordset(:rows) AS r(id int, score float)"
    assert pg("execute", statement, rows=[{"id": 1, "score": 0.5}, {"id": 2, "score": 1}])["rowcount"] == 2


def test_a_database_that_does_not_answer_is_told_without_its_url(pg: Sqls, tmp_path: Path) -> None:
    result = pg.result({"url": f"postgresql://etl:hunter2@/db?host={tmp_path}", "query": "SELECT 1"})
    assert (result.reason, result.unknown) == ("connection", False)
    assert "No such file or directory" in result.error
    assert "hunter2" not in result.error
    assert pg.fails({"url": pg.url.replace("correct", "wrong"), "query": "SELECT 1"})[0] == "connection"


@pytest.mark.parametrize("name", ["p@ss/w:rd?x#%41&é'", "a b\\'\"", "x?host=elsewhere"])
@pytest.mark.parametrize("driver", ["psycopg", "alchemy"])
def test_what_is_filled_in_needs_no_percent_signs_and_leads_nowhere_else(pg: Sqls, name: str, driver: str) -> None:
    """A role, its password and its database of odd names."""
    import psycopg

    quoted = psycopg.sql.Identifier(name)
    password = name[::-1]
    make = [
        psycopg.sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(quoted, password),
        psycopg.sql.SQL("CREATE DATABASE {}").format(quoted),
    ]
    try:
        for statement in make:
            pg("execute", statement.as_string())
        start, end = "postgresql://", pg.url.partition("/")[2].partition("?")[2]
        if driver == "alchemy":
            folder = dict(pair.split("=") for pair in end.split("&"))["host"]
            start, end = "postgresql+pg8000://", f"unix_sock={folder}/.s.PGSQL.5432"
        url = [start, name, ":", password, "@localhost/" if driver == "alchemy" else "@/", name, f"?{end}"]
        told = pg.result({"url": url, "query": "SELECT current_user AS u, current_database() AS d"})
        assert told.output == [{"u": name, "d": name}], told
    finally:
        for drop in ("DROP DATABASE IF EXISTS {}", "DROP ROLE IF EXISTS {}"):
            pg("execute", psycopg.sql.SQL(drop).format(quoted).as_string())


def test_a_lost_answer_may_have_had_its_effect_and_a_lost_transaction_has_none(pg: Sqls) -> None:
    dying = "SELECT pg_terminate_backend(pg_backend_pid())"
    alone = pg.result({"execute": dying})
    assert (alone.reason, alone.unknown) == ("connection", True)
    inside = pg.result({"execute": [dying, "SELECT 1"]})
    assert (inside.reason, inside.unknown) == ("connection", False)


def test_a_backup_of_postgresql_is_put_back(pg: Sqls) -> None:
    pg("execute", ["CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)"])
    made = pg.result({"execute": "DELETE FROM t", "backup": "before.dump"})
    assert made.output == {"rowcount": 1, "backup": "before.dump", "prepared": None}
    assert pg.result({"restore": "before.dump"}).reason == ""
    assert ids(pg) == [1]


@pytest.mark.parametrize(
    "later",
    [
        "CREATE TABLE later (id int)",
        "CREATE TABLE later (id int REFERENCES t)",
        "CREATE VIEW later AS SELECT * FROM t",
        "CREATE MATERIALIZED VIEW later AS SELECT * FROM t",
        "CREATE SCHEMA later CREATE TABLE later (id int)",
        "CREATE TABLE later (id serial, other int GENERATED ALWAYS AS IDENTITY)",
        "CREATE FUNCTION later(t) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE later AS ENUM ('a')",
        "DROP TABLE kept.a CASCADE",
        "ALTER TABLE t RENAME TO later",
    ],
)
def test_what_came_into_the_database_after_its_backup_is_gone_when_that_is_put_back(pg: Sqls, later: str) -> None:
    pg("execute", ["CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)"])
    pg("execute", ["CREATE TYPE mood AS ENUM ('good')", "CREATE SCHEMA kept", "CREATE TABLE kept.a (b mood, c serial)"])
    pg("execute", ["CREATE VIEW kept.v AS SELECT * FROM kept.a", "INSERT INTO kept.a VALUES ('good')"])
    pg("execute", "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'")
    before = _names(pg)
    pg.result({"execute": later, "backup": "before.dump"})
    assert _names(pg) != before
    assert pg.result({"restore": "before.dump"}).error == ""
    assert _names(pg) == before
    assert ids(pg) == [1]
    assert pg("query", "SELECT b::text, f(c) FROM kept.v") == [{"b": "good", "f": 1}]


def test_what_cannot_be_put_back_changes_nothing(pg: Sqls, tmp_path: Path) -> None:
    pg("execute", ["CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)"])
    pg.result({"backup": "before.dump"})
    pg("execute", ["CREATE TABLE later (id int)", "DELETE FROM t"])
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pg_restore").write_text("#!/bin/sh\necho 'DROP TABLE IF EXISTS t; SELECT 1/0;'\n")
    (programs / "pg_restore").chmod(0o755)
    pg.tools.environ = {**pg.tools.environ, "PATH": f"{programs}:{pg.tools.environ['PATH']}"}
    assert pg.fails({"restore": "before.dump"}) == ("database", "ERROR:  division by zero")
    assert ids(pg) == []
    assert "later" in str(_names(pg))


def _names(sql: Sqls) -> list[dict[str, Any]]:
    """All that users make in a database: relations, routines and types."""
    rows: list[dict[str, Any]] = sql(
        "query",
        """
        SELECT o.kind, n.nspname::text AS schema, o.name::text FROM pg_namespace n JOIN (
            SELECT 'relation' AS kind, relnamespace AS of, relname AS name FROM pg_class
            UNION ALL SELECT 'routine', pronamespace, proname FROM pg_proc
            UNION ALL SELECT 'type', typnamespace, typname FROM pg_type
            UNION ALL SELECT 'schema', oid, nspname FROM pg_namespace
        ) o ON n.oid = o.of
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1, 2, 3
        """,
    )
    return rows


def test_a_backup_wants_the_programs_of_the_database(pg: Sqls, tmp_path: Path) -> None:
    pg.tools.environ = {"PATH": str(tmp_path)}
    assert pg.fails({"backup": "before.dump"}) == (
        "not_started",
        'backup needs the program "pg_dump", which is not on the PATH; install the client programs of PostgreSQL',
    )


def test_what_such_a_program_says_is_told_in_a_line(pg: Sqls, tmp_path: Path) -> None:
    (tmp_path / "x.dump").write_text("nothing of the sort")
    import hashlib

    (tmp_path / "x.dump.sha256").write_text(hashlib.sha256(b"nothing of the sort").hexdigest())
    reason, error = pg.fails({"restore": "x.dump"})
    assert reason == "database"
    assert "archive" in error
    assert "\n" not in error


# -- prepared transactions


def test_what_is_prepared_shows_when_it_is_committed(pg: Sqls, postgres: Any) -> None:
    pg("execute", "CREATE TABLE t (id int)")
    made = pg.result({"execute": ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"], "prepare": True})
    assert made.output == {"rowcount": 2, "backup": None, "prepared": "wfctl-r-a-1"}
    assert postgres.prepared() == ["wfctl-r-a-1"]
    assert ids(pg) == []
    pg("commit_prepared", "wfctl-r-a-1")
    assert ids(pg) == [1, 2]
    assert pg.fails({"commit_prepared": "wfctl-r-a-1"}) == (
        "database", 'prepared transaction with identifier "wfctl-r-a-1" does not exist',
    )  # fmt: skip
    assert pg.result({"commit_prepared": "wfctl-r-a-1", "again": True}).reason == ""


def test_what_is_rolled_back_is_undone_and_may_be_so_already(pg: Sqls, postgres: Any) -> None:
    pg("execute", "CREATE TABLE t (id int)")
    pg.result({"execute": "INSERT INTO t VALUES (1)", "prepare": True})
    for _ in range(2):
        pg("rollback_prepared", "wfctl-r-a-1")
    pg("rollback_prepared", "'; DROP TABLE t; -- \\")
    assert ids(pg) == []
    assert postgres.prepared() == []


def test_an_attempt_rolls_back_those_before_it(pg: Sqls, postgres: Any) -> None:
    pg("execute", "CREATE TABLE t (id int PRIMARY KEY)")
    for pg.tools.attempt in (1, 2, 3):
        pg.result({"execute": "INSERT INTO t VALUES (1)", "prepare": True})
        assert postgres.prepared() == [f"wfctl-r-a-{pg.tools.attempt}"]


def test_a_failed_statement_prepares_nothing(pg: Sqls, postgres: Any) -> None:
    pg("execute", "CREATE TABLE t (id int PRIMARY KEY)")
    assert pg.fails({"execute": ["INSERT INTO t VALUES (1)"] * 2, "prepare": True})[0] == "database"
    assert pg.fails({"execute": "COMMIT AND CHAIN; COMMIT", "prepare": True})[0] == "database"
    assert postgres.prepared() == []


def test_who_rolls_back_waits_for_the_session_that_may_still_prepare(pg: Sqls, postgres: Any) -> None:
    """The process was killed, and its statement goes on at the server for a moment."""
    import threading

    import psycopg

    pg("execute", "CREATE TABLE t (id int)")
    with psycopg.connect(postgres.url, autocommit=True) as old:
        old.execute("SELECT pg_advisory_lock(hashtextextended('wfctl-r-a-1', 0))")
        waiting = threading.Thread(target=pg.result, args=[{"rollback_prepared": "wfctl-r-a-1"}])
        waiting.start()
        old.execute("BEGIN")
        old.execute("INSERT INTO t VALUES (1)")
        old.execute("PREPARE TRANSACTION 'wfctl-r-a-1'")
        assert postgres.prepared() == ["wfctl-r-a-1"]
    waiting.join(30)
    assert postgres.prepared() == []


def test_only_postgresql_prepares(sql: Sqls) -> None:
    error = "prepared transactions are for PostgreSQL; name it by postgresql://"
    assert sql.fails({"execute": "CREATE TABLE t (id int)", "prepare": True}) == ("not_started", error)


def test_a_server_that_prepares_nothing_is_told_with_its_setting(sql: Sqls) -> None:
    from tests.helpers.postgres import running

    with running(prepared=0) as server:
        sql.url = server.url()
        reason, error = sql.fails({"execute": "CREATE TABLE t (id int)", "prepare": True})
        assert reason == "not_started"
        assert error.startswith("max_prepared_transactions is 0 at this server")
        server.stop()
        assert sql.fails({"query": "SELECT 1 AS one"})[0] == "connection"
        server.start()
        assert sql("query", "SELECT 1 AS one") == [{"one": 1}]
