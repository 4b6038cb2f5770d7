"""The workflow that measures servers and loads what the quickest has: real servers, a real database, a real death.

Knows nothing of what is inside the command."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT, Command
from tests.e2e.conftest import Status
from tests.helpers import processes

if TYPE_CHECKING:
    from tests.helpers.postgres import Database

pytestmark = [
    pytest.mark.usefixtures("unharmed"),
    pytest.mark.skipif(importlib.util.find_spec("wfctl.kinds.sql") is None, reason="the kind sql is not there yet"),
]
FLOW = "workflows/mirrors.yaml"
WET = ["2012: 148 of 366 days", "2013: 119 of 365 days", "2014: 123 of 365 days", "2015: 116 of 365 days"]


@pytest.fixture
def built(tmp_path: Path, unharmed: None) -> Iterator[Path]:
    """Where it writes, in a copy of the project's workflows. Its servers are gone when a run has ended."""
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows", ignore=shutil.ignore_patterns("build", ".wfctl"))
    yield tmp_path / "workflows/build/mirrors"
    processes.kill([process for process in processes.of_folder(tmp_path) if "serve.py" in process.command])


def test_the_quickest_that_is_right_is_loaded_and_the_others_are_named(
    built: Path, wfctl: Command, status: Status, tmp_path: Path
) -> None:
    ended = wfctl("run", FLOW)
    assert ended.returncode == 0, ended.stderr
    shown = status()
    urls = shown["nodes"]["serve"]["output"]["urls"]
    assert shown["outputs"]["wet"] == WET
    assert shown["outputs"]["from"] == f"{urls[0]}/seattle-weather.csv"
    failed = shown["outputs"]["failed"]
    assert [text.split(": ")[0] for text in failed] == urls[2:]
    assert "something else under that name" in failed[0]
    assert "it answers 500" in failed[1]
    took = [shown["nodes"][f"measure[{url}]"]["output"]["seconds"] for url in urls[:2]]
    assert took[0] < took[1]
    database = sqlite3.connect(built / "weather.sqlite")
    assert database.execute("SELECT count(*), max(high) FROM weather").fetchone() == (1461, 35.6)
    database.close()
    assert not processes.of_folder(tmp_path)


def test_a_second_run_loads_the_same_again(built: Path, wfctl: Command, status: Status) -> None:
    for _ in range(2):
        assert wfctl("run", FLOW).returncode == 0
        assert status()["outputs"]["wet"] == WET


def test_it_loads_into_postgresql_too(built: Path, wfctl: Command, status: Status, postgres: Database) -> None:
    ended = wfctl("run", FLOW, "-p", f"db={postgres.url}")
    assert ended.returncode == 0, ended.stderr
    shown = status()
    assert shown["outputs"]["wet"] == WET
    assert shown["nodes"]["sqlite"]["state"] == "skipped"
    assert postgres.execute("SELECT count(*), max(high) FROM weather") == [(1461, pytest.approx(35.6))]


def test_servers_of_ones_own_are_asked_and_none_is_started(
    built: Path, wfctl: Command, status: Status, mirror: str
) -> None:
    ended = wfctl("run", FLOW, "-p", f"urls={json.dumps([mirror])}")
    assert ended.returncode == 0, ended.stderr
    shown = status()
    assert shown["outputs"] == {"from": f"{mirror}/seattle-weather.csv", "failed": [], "wet": WET}
    assert (shown["nodes"]["serve"]["state"], shown["nodes"]["stop"]["state"]) == ("skipped", "skipped")


def test_where_nobody_has_it_nothing_is_loaded_and_the_servers_are_stopped(
    built: Path, wfctl: Command, status: Status, tmp_path: Path
) -> None:
    ended = wfctl("run", FLOW, "-p", "file=nothing.csv")
    assert ended.returncode == 1
    assert "it answers 404" in status()["nodes"]["measure"]["error"]
    assert not built.exists()
    assert not processes.of_folder(tmp_path)


def test_a_run_that_was_killed_goes_on_with_the_same_servers(
    built: Path, wfctl: Command, status: Status, tmp_path: Path
) -> None:
    ended = wfctl("run", FLOW, env={"WFCTL_TEST_CRASH": "completed:6"})
    assert ended.returncode == -signal.SIGKILL
    urls = status()["nodes"]["serve"]["output"]["urls"]
    ended = wfctl("resume", "last")
    assert ended.returncode == 0, ended.stderr
    assert status()["outputs"]["from"] == f"{urls[0]}/seattle-weather.csv"
    assert status()["outputs"]["wet"] == WET
    assert not processes.of_folder(tmp_path)


@pytest.fixture
def mirror() -> Iterator[str]:
    """A server of the test's own that has the data of the workflows."""
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(ROOT / "workflows/data")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
