"""The workflows that come with the project, and real traces, run to their end.

Knows nothing of what is inside the command."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command
from tests.e2e.conftest import Status


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the workflows use, in the test's own folder."""
    for name in "workflows wfctl schemas".split():
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("build", "__pycache__", ".wfctl"))
    for name in "pyproject.toml README.md LICENSE CHANGELOG.md".split():
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_weather_ends_in_a_page_that_agrees_with_its_database(project: Path, wfctl: Command, status: Status) -> None:
    ended = wfctl("run", "workflows/weather.yaml")
    assert ended.returncode == 0, ended.stderr
    page = (project / "workflows/build/weather.txt").read_text()
    assert ended.stdout.rstrip() == page.rstrip()
    db = sqlite3.connect(project / "workflows/build/weather.sqlite")
    days, hottest = db.execute("SELECT count(*), max(high) FROM days").fetchone()
    db.close()
    assert days == 1461
    assert f"hottest    {hottest} °C    2014-08-11" in page
    document = status()
    assert {node["state"] for node in document["nodes"].values()} == {"succeeded"}
    assert document["nodes"]["check"]["output"] == {"days": 1461, "first": "2012-01-01", "last": "2015-12-31"}
    assert (project / "workflows/build/weather.log").read_text() == f"{document['id']} succeeded\n"


def test_the_years_of_the_weather_are_params(project: Path, wfctl: Command) -> None:
    ended = wfctl("run", "workflows/weather.yaml", "-p", "first=2014", "-p", "last=2014", "-p", "wet=5")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Seattle, 2014 to 2014 ")
    wrong = wfctl("run", "workflows/weather.yaml", "-p", "wet=-1", "-p", "frist=2014")
    assert wrong.returncode == 2
    assert '-p frist: no param named "frist"; did you mean "first"?' in wrong.stderr
    assert "-p wet: " in wrong.stderr


def test_bad_weather_stops_at_the_check_and_says_which_line(project: Path, wfctl: Command, status: Status) -> None:
    data = project / "workflows/data/seattle-weather.csv"
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(lines[:100] + lines[101:]))
    ended = wfctl("run", "workflows/weather.yaml")
    assert ended.returncode == 1
    assert "line 101: 2012-04-10 follows 2012-04-08" in ended.stderr
    states = {name: node["state"] for name, node in status()["nodes"].items()}
    assert states["check"] == "failed"
    assert states["load"] == "skipped"
    assert states["note"] == "succeeded"


def test_a_frozen_release_is_resumed_at_publish_alone(project: Path, wfctl: Command, status: Status) -> None:
    frozen = wfctl("run", "workflows/release.yaml", "-p", "freeze=true")
    assert frozen.returncode == 1
    assert "remove build/releases/FREEZE, then resume" in frozen.stderr
    before = status()["nodes"]
    (project / "build/releases/FREEZE").unlink()
    ended = wfctl("resume", "last")
    assert ended.returncode == 0, ended.stderr
    after = status()["nodes"]
    assert {name: node["attempts"] for name, node in after.items() if node["attempts"] != 1} == {"publish": 2}
    assert [n for n in after if after[n]["started"] != before[n]["started"]] == ["publish"]
    release = ended.stdout.strip().removeprefix("release: ")
    name = Path(release).name
    check = ["sha256sum", "--check", "--quiet", f"{name}.tar.gz.sha256"]
    assert subprocess.run(check, cwd=project / release).returncode == 0


def test_a_release_is_published_once_and_the_same_again_is_fine(project: Path, wfctl: Command) -> None:
    assert wfctl("run", "workflows/release.yaml").returncode == 0
    assert wfctl("run", "workflows/release.yaml").returncode == 0
    assert "is out already, the same" in wfctl("logs", "last", "publish").stdout
    with (project / "CHANGELOG.md").open("a") as changelog:
        changelog.write("\nanother line\n")
    changed = wfctl("run", "workflows/release.yaml")
    assert changed.returncode == 1
    assert "is out already, with other content" in changed.stderr


def test_the_checks_of_the_project_are_sound_and_planned(project: Path, wfctl: Command) -> None:
    assert wfctl("validate", *(f"workflows/{name}.yaml" for name in "weather ci release".split())).returncode == 0
    plan = json.loads(wfctl("plan", "workflows/ci.yaml", "-j", "8", "--set", "resources.cpu=8", "--json").stdout)
    assert plan["makespan"] == plan["lower_bound"] == 200
    drawn = wfctl("graph", "workflows/ci.yaml")
    assert drawn.returncode == 0
    assert "installed" in drawn.stdout


def test_one_check_can_be_run_alone(project: Path, wfctl: Command, status: Status) -> None:
    ended = wfctl("run", "workflows/ci.yaml", "--only", "lint", "-p", "python=true")
    assert ended.returncode == 0, ended.stderr
    assert list(status()["nodes"]) == ["lint"]


TRACES = """
bacass-dirt02-001 epigenomics-chameleon-hep-1seq-100k-001 montage-chameleon-2mass-01d-001 seismology-chameleon-500p-001
srasearch-chameleon-10a-001
"""


@pytest.mark.parametrize("trace", TRACES.split())
def test_a_real_trace_runs_to_its_end(trace: str, shared: Path, tmp_path: Path, wfctl: Command) -> None:
    words = [sys.executable, "tools/to_flow.py", f"data/traces/{trace}.json", "--sleep", "0.001"]
    turned = subprocess.run(words, cwd=shared, capture_output=True, text=True, check=True)
    (tmp_path / "trace.yaml").write_text(turned.stdout)
    ended = wfctl("run", "trace.yaml", "--json")
    assert ended.returncode == 0, ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    nodes = json.loads(wfctl("graph", "trace.yaml", "--format", "json").stdout)
    finished: set[str] = set()
    needs: dict[str, set[str]] = {node["id"]: set() for node in nodes["nodes"]}
    for edge in nodes["edges"]:
        needs[edge["to"]].add(edge["from"])
    for event in events:
        if event["event"] == "node_started":
            assert needs[event["node"]] <= finished
        elif event["event"] == "node_succeeded":
            finished.add(event["node"])
    assert finished == needs.keys()
