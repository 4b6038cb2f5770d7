"""The examples that go back: what they leave is compared, all of it, with what was there before.

Knows nothing of what is inside the command."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT, Command
from tests.e2e.conftest import Gone, Status
from tests.helpers import processes

if TYPE_CHECKING:
    from tests.helpers.postgres import Database

SAGA, MIGRATE, DEPLOY = (f"workflows/{name}.yaml" for name in ("order_saga", "migrate", "deploy"))
STRIKE = ("-p", "carrier=on_strike")


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Path]:
    """Where they write, in a copy of the project's workflows. A service that a failed test leaves is stopped."""
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows", ignore=shutil.ignore_patterns("build", ".wfctl"))
    yield tmp_path / "workflows/build"
    processes.kill([process for process in processes.of_folder(tmp_path) if "pay.py" in process.command])


def content(folder: Path) -> dict[str, str]:
    """All that is in a folder: of a file its text, of a database what makes it anew, of a link where it leads."""
    return {str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*"))}


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if path.is_dir():
        return "a folder"
    return dump(path) if path.suffix == ".sqlite" else path.read_text()


def dump(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump())


# -- an order


def test_an_order_that_fails_leaves_the_shop_as_the_one_before_left_it(
    built: Path, wfctl: Command, status: Status, gone: Gone
) -> None:
    assert wfctl("run", SAGA, "-p", "order=1000").returncode == 0
    before = content(built / "saga")
    assert set(before) == {"charges.json", "label-1000.txt", "shop.sqlite"}
    ended = wfctl("run", SAGA, *STRIKE)
    assert ended.returncode == 3, ended.stderr
    assert content(built / "saga") == before
    assert status()["nodes"]["ship"]["error"] == "exit code 1", "the first error stays the one that is told"
    gone()


def test_refunds_that_are_closed_wait_for_a_person_and_then_nothing_is_left(
    built: Path, wfctl: Command, tmp_path: Path, gone: Gone
) -> None:
    assert wfctl("run", SAGA, "-p", "order=1000").returncode == 0
    before = content(built / "saga")
    ended = wfctl("run", SAGA, *STRIKE, "-p", "refunds=closed")
    assert ended.returncode == 4
    assert "no refunds today" in ended.stderr
    assert "waits for that: reserve, service" in ended.stderr.replace("service, reserve", "reserve, service")
    assert [one for one in processes.of_folder(tmp_path) if "pay.py" in one.command], "it is still to give money back"
    assert wfctl("rollback", "last").returncode == 4, "nothing is mended yet"
    (built / "saga/charges.open").touch()
    ended = wfctl("rollback", "last", "--retry", "charge")
    assert ended.returncode == 3, ended.stderr
    (built / "saga/charges.open").unlink()
    assert content(built / "saga") == before
    gone()


def test_goods_that_are_not_there_are_not_paid_for(built: Path, wfctl: Command, status: Status, gone: Gone) -> None:
    ended = wfctl("run", SAGA, "-p", "pieces=11")
    assert ended.returncode == 3, ended.stderr
    assert "CHECK constraint failed" in status()["nodes"]["reserve"]["error"]
    assert set(content(built / "saga")) == {"shop.sqlite"}
    assert "VALUES('pears',10)" in dump(built / "saga/shop.sqlite")
    gone()


def test_an_order_that_was_undone_is_resumed_with_a_service_of_its_own(
    built: Path, wfctl: Command, status: Status, gone: Gone
) -> None:
    assert wfctl("run", SAGA, *STRIKE).returncode == 3
    first = status()["nodes"]["charge"]["attempts"]
    assert wfctl("resume", "last").returncode == 3
    nodes = status()["nodes"]
    assert nodes["charge"]["attempts"] == first + 1
    assert nodes["ship"]["error"] == "exit code 1", "all went well up to the carrier"
    assert (built / "saga/charges.json").read_text() == "{}"
    gone()


# -- a migration


def test_a_migration_that_breaks_leaves_rows_and_tables_as_they_were(built: Path, wfctl: Command) -> None:
    database = built / "migrate/people.sqlite"
    assert wfctl("run", MIGRATE, "--until", "before").returncode == 0
    before = dump(database)
    assert "Barbara Liskov" in before
    ended = wfctl("run", MIGRATE, "-p", "breaks=true")
    assert ended.returncode == 3, ended.stderr
    assert dump(database) == before
    ended = wfctl("run", MIGRATE)
    assert (ended.returncode, ended.stdout) == (0, "people: 4\n"), ended.stderr
    assert dump(database) != before


def test_a_migration_of_postgresql_that_breaks_leaves_rows_and_tables_as_they_were(
    built: Path, wfctl: Command, postgres: Database
) -> None:
    programs = {"PATH": f"{postgres.server.bin}:{os.environ['PATH']}"}  # to dump, and to restore
    words = (MIGRATE, "-p", f"db={postgres.url}")
    assert wfctl("run", *words, "--until", "before").returncode == 0
    before = tables(postgres)
    assert [row[1] for row in before["columns"]] == ["id", "name"]
    ended = wfctl("run", *words, "-p", "breaks=true", env=programs)
    assert ended.returncode == 3, ended.stderr
    assert tables(postgres) == before
    ended = wfctl("run", *words, env=programs)
    assert (ended.returncode, ended.stdout) == (0, "people: 4\n"), ended.stderr
    assert [row[1] for row in tables(postgres)["columns"]] == ["id", "first", "last"]


def tables(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """What is in the tables of a database, and how they are made."""
    mine = "'public'::regnamespace"
    return {
        "columns": database.execute(
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        ),
        "relations": database.execute(f"SELECT relname, relkind FROM pg_class WHERE relnamespace = {mine} ORDER BY 1"),
        "constraints": database.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            f"WHERE connamespace = {mine} AND contype <> 'n' ORDER BY 1"
        ),
        "rows": database.execute("SELECT * FROM people ORDER BY id"),
    }


def test_a_damaged_backup_changes_nothing_and_waits_for_a_person(built: Path, wfctl: Command) -> None:
    assert wfctl("run", MIGRATE, "--until", "before").returncode == 0
    before = dump(built / "migrate/people.sqlite")
    assert wfctl("run", MIGRATE).returncode == 0
    migrated = dump(built / "migrate/people.sqlite")
    backup = built / "migrate/people.backup"
    whole = backup.read_bytes()
    backup.write_bytes(whole[:-1] + b"?")
    ended = wfctl("rollback", "last")
    assert ended.returncode == 4, ended.stderr
    assert "the backup does not fit its checksum" in ended.stderr
    assert dump(built / "migrate/people.sqlite") == migrated
    backup.write_bytes(whole)
    ended = wfctl("rollback", "last", "--retry", "migrate")
    assert ended.returncode == 3, ended.stderr
    assert dump(built / "migrate/people.sqlite") == before


# -- a release


@pytest.mark.parametrize("time", ["the first time", "another time"])
def test_a_release_that_is_well_the_second_time_went_back_once(
    built: Path, wfctl: Command, status: Status, time: str
) -> None:
    words = ("run", DEPLOY, "-p", "release=v8", "-p", "well=later")
    if time == "another time":
        assert wfctl(*words).returncode == 0
    ended = wfctl(*words)
    assert (ended.returncode, ended.stdout) == (0, "live: this is v8\n"), ended.stderr
    assert ended.stderr.count("the rest runs again") == 1
    attempts = {name: node["attempts"] for name, node in status()["nodes"].items()}
    assert attempts == {"copy": 1, "live": 2, "tune": 2, "switch": 2, "well": 2}, "only what is after the checkpoint"


def test_a_release_that_is_never_well_has_failed_after_one_restart(built: Path, wfctl: Command, status: Status) -> None:
    assert wfctl("run", DEPLOY).returncode == 0
    before = content(built / "deploy")
    ended = wfctl("run", DEPLOY, "-p", "release=v8", "-p", "well=never")
    assert ended.returncode == 1
    assert ended.stderr.count("the rest runs again") == 1
    assert "the rest was run again once already" in ended.stderr
    assert status()["nodes"]["well"]["attempts"] == 2
    after = content(built / "deploy")
    new = set(after) - set(before)
    assert new == {"releases/v8", "releases/v8/index.txt", "looks-at-v8"}, "what was copied stays, for a look"
    assert {name: after[name] for name in before} == before


def test_a_first_release_that_is_not_well_leaves_no_link(built: Path, wfctl: Command) -> None:
    assert wfctl("run", DEPLOY, "-p", "well=never").returncode == 1
    assert not (built / "deploy/current").is_symlink()
    assert wfctl("run", DEPLOY).returncode == 0
    assert (built / "deploy/current").readlink() == Path("releases/v7")


# -- files as we want to write them


FLOWS = {"bio": (), "bluegreen": ("-p", "image=app:1", "-p", "environment=staging"), "scrape": (), "sweep": ()}


@pytest.mark.parametrize("drawn", [("-f", "mermaid"), ("-f", "dot"), ("-f", "json"), ("--expand",)], ids=" ".join)
@pytest.mark.parametrize("name", FLOWS)
def test_flows_of_others_are_drawn_in_every_form(
    shared: Path, wfctl: Command, name: str, drawn: tuple[str, ...]
) -> None:
    ended = wfctl("graph", str(shared / f"examples/flows/{name}.yaml"), *drawn)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.strip()


def test_a_plan_says_how_a_deploy_would_be_undone(shared: Path, wfctl: Command) -> None:
    ended = wfctl("plan", str(shared / "examples/flows/bluegreen.yaml"), *FLOWS["bluegreen"], "--if-fails", "soak")
    assert ended.returncode == 0, ended.stderr
    assert "recoverable" in ended.stdout
    assert 0 < ended.stdout.index("1. switch") < ended.stdout.index("2. start")
