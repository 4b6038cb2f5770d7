"""What a run leaves for others: nothing of it can hurt the run, nor what else is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import environ
from wfctl import app
from wfctl.history import Record
from wfctl.renderers import graph_mermaid
from wfctl.renderers.advice import Advice
from wfctl.reports import Reports
from wfctl.store import Store


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Of a run that has failed."""
    flow = tmp_path / "flow.yaml"
    flow.write_text("version: 1\nname: flow\nnodes: {a: {run: exit 3}}\n")
    words = [sys.executable, "-m", "wfctl", "run", flow.name]
    assert subprocess.run(words, cwd=tmp_path, env=environ(tmp_path), capture_output=True).returncode == 1
    return app.open_record("last", Store(tmp_path / ".wfctl"))


def test_by_a_report_that_goes_wrong_no_other_is_lost(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("no graph")

    monkeypatch.setattr(graph_mermaid, "render", broken)
    variables = {**environ(tmp_path), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    reports = Reports.wanted(str(tmp_path / "out.xml"), "github", variables, Advice())
    assert reports is not None
    said: list[str] = []
    told: list[str] = []
    reports.end(record, said.append, told.append)
    assert told == ["a report was dropped: RuntimeError: no graph"]
    assert "::error " in "".join(said)
    assert 'failures="1"' in (tmp_path / "out.xml").read_text()
