"""Databases in a workflow, as a user meets them."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow, Start, Status, Until, Valid
from wfctl.errors import UsageError

if TYPE_CHECKING:
    from tests.helpers.postgres import Database

HOSTILE = "'; DROP TABLE orders; -- \"\n$(touch pwned)"


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    path = tmp_path / "orders.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT)")
    return path


def rows(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT id, name FROM orders ORDER BY id").fetchall()


def test_rows_are_the_output_and_values_stay_values(wfctl: Command, flow: Flow, orders: Path, tmp_path: Path) -> None:
    name = flow("""
        vars: {db: "sqlite:///orders.db"}
        params: {said: {}}
        nodes:
          load:
            sql:
              url: ${{ vars.db }}
              execute: ["INSERT INTO orders VALUES (1, :said)", "INSERT INTO orders VALUES (2, :list)"]
              with: {said: "${{ params.said }}", list: [1, "${{ params.said }}"]}
          ask:
            needs: [load]
            sql:
              url: ${{ vars.db }}
              query: SELECT name FROM orders WHERE id <= :most ORDER BY id
              with: {most: 2}
            expect: ${{ len(output) == 2 }}
        outputs: {count: "${{ nodes.load.output.rowcount }}", names: "${{ nodes.ask.output }}"}
    """)
    ended = wfctl("run", name, "--json", "-p", f"said={json.dumps(HOSTILE)}")
    told = json.loads(ended.stdout.splitlines()[-1])["outputs"]
    assert told == {"count": 2, "names": [{"name": HOSTILE}, {"name": json.dumps([1, HOSTILE])}]}
    assert not list(tmp_path.rglob("*pwned*"))


def test_a_failed_list_changes_nothing_and_its_backup_is_an_edge(
    wfctl: Command, flow: Flow, status: Status, orders: Path
) -> None:
    name = flow("""
        nodes:
          back: {sql: {url: "sqlite:///orders.db", restore: kept/before.db}, trigger: all_done}
          load:
            sql:
              url: sqlite:///orders.db
              execute: ["INSERT INTO orders VALUES (1, 'a')", "INSERT INTO nowhere VALUES (1)"]
              backup: kept/before.db
    """)
    assert wfctl("run", name).returncode == 1
    node = status()["nodes"]["load"]
    assert (node["reason"], node["outcome"]) == ("database", "known")
    assert node["error"] == "statement 2 of 2: no such table: nowhere"
    assert status()["nodes"]["back"]["state"] == "succeeded"
    assert rows(orders) == []


def test_in_a_sub_workflow_its_paths_stand_on_that_one_s_root(
    wfctl: Command, flow: Flow, orders: Path, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    orders.rename(tmp_path / "sub/orders.db")
    flow("nodes: {a: {sql: {url: 'sqlite:///orders.db', backup: before.db}}}", name="sub/flow.yaml")
    assert wfctl("run", flow("nodes: {s: {workflow: sub/flow.yaml}}")).returncode == 0
    assert (tmp_path / "sub/before.db").exists()


def test_a_secret_in_a_url_is_nowhere(
    wfctl: Command, flow: Flow, postgres: Database, tmp_path: Path, status: Status
) -> None:
    url = postgres.url.replace("correct-horse-battery", "${{ secrets.PASSWORD }}")
    name = flow(f"""
        secrets: [PASSWORD]
        vars: {{db: "{url}"}}
        nodes:
          good: {{sql: {{url: "${{{{ vars.db }}}}", query: "SELECT 1 AS one"}}}}
    """)
    assert wfctl("run", name, env={"PASSWORD": "correct-horse-battery"}).returncode == 0
    assert status()["nodes"]["good"]["output"] == [{"one": 1}]
    ended = wfctl("run", name, env={"PASSWORD": "wrong-horse-battery"})
    assert ended.returncode == 1
    assert status()["nodes"]["good"]["reason"] == "connection"
    kept = [path for path in (tmp_path / ".wfctl").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"horse-battery" in path.read_bytes()]
    assert "horse-battery" not in ended.stdout + ended.stderr


def test_what_a_node_says_leads_to_no_other_database(
    wfctl: Command, flow: Flow, postgres: Database, status: Status, tmp_path: Path
) -> None:
    """A name in a url stays a name, and a secret needs no percent signs there."""
    url = postgres.url.replace(f"/{postgres.name}?", "/${{ nodes.said.output }}?")
    url = url.replace("correct-horse-battery", "${{ secrets.PASSWORD }}")
    postgres.execute("CREATE ROLE odd LOGIN PASSWORD 'p@ss/w:rd?#%41-horse'")
    name = flow(f"""
        secrets: [PASSWORD]
        nodes:
          said: {{run: "printf '%s' '{postgres.name}?host=/elsewhere'", stdout: text}}
          other: {{sql: {{url: "{url.replace("postgres:", "odd:")}", query: SELECT 1}}}}
    """)
    assert wfctl("run", name, env={"PASSWORD": "p@ss/w:rd?#%41-horse"}).returncode == 1
    other = status()["nodes"]["other"]
    postgres.execute("DROP ROLE odd")
    assert (other["reason"], "elsewhere/.s.PGSQL" in other["error"]) == ("connection", False)
    assert f'database "{postgres.name}?host=/elsewhere" does not exist' in other["error"]


def test_a_backup_of_postgresql_tells_no_password_on_a_command_line(
    wfctl: Command, flow: Flow, postgres: Database, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pg_dump").write_text(f'#!/bin/sh\necho "$@" > words\nexec {postgres.server.bin}/pg_dump "$@"\n')
    (programs / "pg_dump").chmod(0o755)
    name = flow(f"""
        nodes: {{a: {{sql: {{url: "{postgres.url}", execute: CREATE TABLE t (id int), backup: before.dump}}}}}}
    """)
    ended = wfctl("run", name, env={"PATH": f"{programs}:{os.environ['PATH']}"})
    assert ended.returncode == 0, ended.stderr
    assert "--file" in (tmp_path / "words").read_text()
    assert "horse" not in (tmp_path / "words").read_text()


def test_a_database_that_is_away_is_tried_again(flow: Flow, start: Start, until: Until, status: Status) -> None:
    from tests.helpers.postgres import running

    with running() as server:
        server.stop()
        name = flow(f"""
            nodes:
              a:
                sql: {{url: "{server.url()}", query: "SELECT 1 AS one"}}
                retry: {{attempts: 500, delay: 50ms, backoff: 1}}
        """)
        process = start("run", name)
        until(lambda: _attempts(status) > 1, "a second attempt")
        server.start()
        assert process.wait(60) == 0
        node = status()["nodes"]["a"]
        assert (node["state"], node["output"], node["outcome"]) == ("succeeded", [{"one": 1}], "known")


def _attempts(status: Status) -> int:
    try:
        return int(status()["nodes"]["a"]["attempts"])
    except (UsageError, KeyError):  # not begun yet
        return 0


def test_a_stopped_statement_ends_at_the_server_too(
    wfctl: Command, flow: Flow, postgres: Database, until: Until
) -> None:
    postgres.execute("CREATE TABLE t (id int)")
    slow = "WITH waited AS (SELECT pg_sleep(1000)) INSERT INTO t SELECT 1 FROM waited"
    name = flow(f"""
        nodes: {{a: {{sql: {{url: "{postgres.url}", execute: "{slow}"}}, timeout: 1500ms}}}}
    """)
    assert wfctl("run", name).returncode == 1
    working = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'WITH waited%' AND state = 'active'"
    until(lambda: not postgres.execute(working), "the statement is gone")
    assert postgres.execute("SELECT * FROM t") == []


# -- prepared transactions


PREPARING = """
    nodes:
      one: {{sql: {{url: "{url}", execute: "INSERT INTO t VALUES (1)", prepare: true}}}}
      two: {{sql: {{url: "{url}", execute: ["INSERT INTO t VALUES (2)"], prepare: true}}}}
      look: {{sql: {{url: "{url}", query: "SELECT count(*) AS n FROM t"}}, needs: [one, two]}}
      last: {{run: "{last}", needs: [look]}}
"""


@pytest.fixture
def table(postgres: Database) -> Database:
    postgres.execute("CREATE TABLE t (id int)")
    return postgres


def test_what_was_prepared_is_committed_at_the_end(wfctl: Command, flow: Flow, table: Database, status: Status) -> None:
    ended = wfctl("run", flow(PREPARING.format(url=table.url, last="true")))
    assert ended.returncode == 0, ended.stderr
    assert status()["nodes"]["look"]["output"] == [{"n": 0}]
    assert sorted(table.execute("SELECT id FROM t")) == [(1,), (2,)]
    assert table.prepared() == []


def test_what_was_prepared_is_rolled_back_when_the_run_fails(wfctl: Command, flow: Flow, table: Database) -> None:
    assert wfctl("run", flow(PREPARING.format(url=table.url, last="false"))).returncode == 1
    assert table.execute("SELECT id FROM t") == []
    assert table.prepared() == []


def test_who_resumes_after_a_crash_commits_each_once(
    wfctl: Command, flow: Flow, table: Database, start: Start, until: Until, tmp_path: Path
) -> None:
    last = f"touch begun; until [ -e {tmp_path}/go ]; do sleep 0.02; done"
    process = start("run", flow(PREPARING.format(url=table.url, last=last)))
    until((tmp_path / "begun").exists, "the last node has begun")
    assert len(table.prepared()) == 2
    process.kill()
    process.wait()
    (tmp_path / "go").touch()
    ended = wfctl("resume", "last")
    assert ended.returncode == 0, ended.stderr
    assert sorted(table.execute("SELECT id FROM t")) == [(1,), (2,)]
    assert table.prepared() == []


def test_who_undoes_after_a_crash_rolls_back_what_was_prepared(
    wfctl: Command, flow: Flow, table: Database, start: Start, until: Until, tmp_path: Path, valid: Valid
) -> None:
    process = start("run", flow(PREPARING.format(url=table.url, last="touch begun; sleep 60")))
    until((tmp_path / "begun").exists, "the last node has begun")
    process.kill()
    process.wait()
    assert "the prepared transaction of two is rolled back" in wfctl("rollback", "last", "--dry-run").stdout
    valid("undo", json.loads(wfctl("rollback", "last", "--dry-run", "--json").stdout))
    ended = wfctl("rollback", "last")
    assert (ended.returncode, table.prepared()) == (3, []), ended.stderr
    assert table.execute("SELECT id FROM t") == []


def test_a_database_that_is_away_at_the_end_leaves_the_statements_to_type(
    wfctl: Command, flow: Flow, start: Start, until: Until, tmp_path: Path
) -> None:
    from tests.helpers.postgres import running

    with running() as server, server.database() as table:
        table.execute("CREATE TABLE t (id int)")
        last = f"touch begun; until [ -e {tmp_path}/go ]; do sleep 0.02; done"
        process = start("run", flow(PREPARING.format(url=table.url, last=last)))
        until((tmp_path / "begun").exists, "the last node has begun")
        names = table.prepared()
        server.stop()
        (tmp_path / "go").touch()
        _, told = process.communicate(timeout=60)
        assert process.returncode == 4
        for name in names:
            assert f"COMMIT PREPARED '{name}'" in told
        server.start()
        refused = wfctl("rollback", "last")
        assert (refused.returncode, "wfctl resume " in refused.stderr) == (2, True)
        assert wfctl("resume", "last").returncode == 0
        assert sorted(table.execute("SELECT id FROM t")) == [(1,), (2,)]
