"""What the users' view needs: a workflow file beside the state folder, and what became of its run.

Knows nothing of how the command works, but that a test need not start it only to look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.helpers import processes
from wfctl import app, history
from wfctl.store import Store

Flow = Callable[..., str]
Status = Callable[..., dict[str, Any]]
Valid = Callable[[str, object], None]
Start = Callable[..., "subprocess.Popen[str]"]
Until = Callable[[Callable[[], object], str], None]
Gone = Callable[[], None]

SOON = 1.0
"""Seconds after the death of an engine in which all that is left of its run must be gone."""


def environ(folder: Path) -> dict[str, str]:
    """What a command is started with whose state is in the test's folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(folder / ".wfctl")}


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
    """Starts the command and does not wait for it; what is left of it at the end of the test is killed.

    `through` are the words of a program that starts it: nohup, say."""
    started: list[subprocess.Popen[str]] = []

    def begin(
        *words: str, through: Sequence[str] = (), env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*through, sys.executable, "-m", "wfctl", *words],
            cwd=tmp_path,
            env={**environ(tmp_path), **(env or {})},
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
def unharmed(tmp_path: Path) -> Iterator[None]:
    """What holds after every test, whatever was done to its runs.

    Nothing of them is alive, their state loads, exit code and state agree, and no recorded success ran again. Ask for
    it before `start`, so that it looks when all that the test itself left is gone.
    """
    yield
    deadline = time.monotonic() + SOON
    while (left := processes.of_folder(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.01)
    processes.kill(left)
    assert not left, f"alive after the test: {left}"
    for folder in Store(tmp_path / ".wfctl").run_folders():
        record = history.open_run(folder)
        state = str(record.state.status)
        if record.state.finished is not None:
            assert (record.state.exit_code == 0) == (state == "succeeded")
        _check_successes(folder.journal)


def _check_successes(journal: Path) -> None:
    """A node whose success is recorded never began again, unless a person asked for it."""
    succeeded: set[str] = set()
    for event in map(json.loads, journal.read_text().splitlines()):
        if event.get("event") == "run_resumed":
            succeeded -= set(event.get("again", ()))
        elif event.get("event") == "node_started":
            assert event["node"] not in succeeded, f"{event['node']} began again after its success"
        elif event.get("event") == "node_succeeded":
            succeeded.add(event["node"])


@pytest.fixture
def gone(tmp_path: Path) -> Gone:
    """Waits until nothing of the test's runs is alive; a second at most."""

    def wait() -> None:
        deadline = time.monotonic() + SOON
        while left := processes.of_folder(tmp_path):
            assert time.monotonic() < deadline, f"still alive: {left}"
            time.sleep(0.01)

    return wait


@pytest.fixture
def until() -> Until:
    """Waits for a fact, 30 seconds at most: `until(path.exists, "the node has begun")`."""

    def wait(fact: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 30
        while not fact():
            assert time.monotonic() < deadline, f"waited for: {what}"
            time.sleep(0.01)

    return wait
