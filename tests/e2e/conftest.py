"""What the users' view needs: a workflow file beside the state folder, and what became of its run.

Knows nothing of how the command works, but that a test need not start it only to look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.conftest import ROOT
from wfctl import app, history
from wfctl.store import Store

Flow = Callable[..., str]
Status = Callable[..., dict[str, Any]]
Valid = Callable[[str, object], None]
Start = Callable[..., "subprocess.Popen[str]"]
Until = Callable[[Callable[[], object], str], None]


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    """Writes a workflow file of version 1: `flow("nodes: …")`; its name."""

    def write(text: str, name: str = "flow.yaml") -> str:
        (tmp_path / name).write_text("version: 1\n" + dedent(text))
        return name

    return write


@pytest.fixture
def status(tmp_path: Path) -> Status:
    """What `status ID --json` says, without a process for each look. The verb itself has tests of its own."""

    def read(run: str = "last") -> dict[str, Any]:
        record = app.open_record(run, Store(tmp_path / ".wfctl"))
        document: dict[str, Any] = json.loads(json.dumps(history.document(record)))
        return document

    return read


@pytest.fixture
def valid() -> Valid:
    """Checks a document against the published schema of that name: `valid("status", document)`."""
    from jsonschema import Draft202012Validator

    def check(name: str, document: object) -> None:
        schema = json.loads((ROOT / f"schemas/{name}.schema.json").read_text())
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema).validate(document)

    return check


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the command and does not wait for it; what is left of it at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "wfctl", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(tmp_path / ".wfctl")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


@pytest.fixture
def until() -> Until:
    """Waits for a fact, 30 seconds at most: `until(path.exists, "the node has begun")`."""

    def wait(fact: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 30
        while not fact():
            assert time.monotonic() < deadline, f"waited for: {what}"
            time.sleep(0.01)

    return wait
