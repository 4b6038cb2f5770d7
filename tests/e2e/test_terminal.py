"""A run at a terminal: Ctrl-C, Ctrl-Z and a window that is closed, and the terminal as it was before.

Knows nothing of what is inside the command. The terminal is a pty, the shell is bash."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHILD
from tests.e2e.conftest import Flow, Gone, Status, Until, environ
from tests.helpers.processes import state_of
from tests.helpers.shell import CTRL_C, CTRL_Z, Shell

pytestmark = pytest.mark.usefixtures("unharmed")

WFCTL = {"W": f"{sys.executable} -m wfctl"}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with Shell(tmp_path, environ(tmp_path) | WFCTL) as shell:
        yield shell


def test_ctrl_c_stops_the_run_and_leaves_the_terminal_as_it_was(
    shell: Shell, flow: Flow, until: Until, tmp_path: Path, status: Status
) -> None:
    modes = shell.modes
    shell.type(f"$W run {flow(f'nodes: {{a: {{run: {CHILD} save=saved ready=ready hang}}}}')}\n")
    until((tmp_path / "ready").exists, "the node runs")
    shell.type(CTRL_C)
    shell.wait_for("wfctl resume")
    shell.wait_for("$ ")
    assert shell.seen.count("\x1b[?25h") >= shell.seen.count("\x1b[?25l"), "the cursor is shown again"
    shell.type("echo code=$?\n")
    shell.wait_for("code=130")
    assert shell.modes == modes
    assert (tmp_path / "saved").exists()
    assert status()["state"] == "interrupted"


def test_ctrl_c_twice_kills_what_does_not_want_to_end(
    shell: Shell, flow: Flow, until: Until, tmp_path: Path, status: Status
) -> None:
    modes = shell.modes
    shell.type(f"$W run {flow(f'nodes: {{a: {{run: {CHILD} ignore=TERM fork=near ready=ready hang}}}}')}\n")
    until((tmp_path / "ready").exists, "the node runs")
    shell.type(CTRL_C)
    journal = next((tmp_path / ".wfctl/runs").glob("*/journal.jsonl"))
    until(lambda: "run_stopping" in journal.read_text(), "the first was heard")
    time.sleep(0.2)  # within a tenth of a second it would be the same wish
    before = time.monotonic()
    shell.type(CTRL_C)
    shell.wait_for("$ ")
    assert time.monotonic() - before < 5, "the grace is ten seconds"
    shell.type("echo code=$?\n")
    shell.wait_for("code=130")
    assert shell.modes == modes
    assert status()["state"] == "interrupted"


def test_ctrl_z_stops_the_nodes_too_and_the_pause_counts_for_no_timeout(
    shell: Shell, flow: Flow, until: Until, tmp_path: Path, status: Status
) -> None:
    name = flow(f"""
        timeout: 2s
        nodes:
          a: {{run: 'echo $$ > pid; exec {CHILD} ready=ready wait=go', timeout: 2s}}
          b: {{run: {CHILD} double=far, needs: [a]}}
    """)
    modes = shell.modes
    shell.type(f"$W run {name}\n")
    until((tmp_path / "ready").exists, "the node runs")
    node = int((tmp_path / "pid").read_text())
    shell.type(CTRL_Z)
    shell.wait_for("Stopped")
    until(lambda: state_of(node) == "T", "the node is stopped too")
    assert shell.modes == modes
    time.sleep(2.1)  # longer than the timeouts
    shell.type("fg\n")
    until(lambda: state_of(node) in ("R", "S"), "the node goes on")
    (tmp_path / "go").touch()
    shell.wait_for("$ ")
    shell.type("echo code=$?\n")
    shell.wait_for("code=0")
    shown = status()
    assert (shown["state"], shell.modes) == ("succeeded", modes)
    assert shown["nodes"]["a"]["seconds"] < 2


def test_ctrl_z_twice_and_then_ctrl_c(shell: Shell, flow: Flow, until: Until, tmp_path: Path) -> None:
    name = flow(f"nodes: {{a: {{run: 'echo $$ > pid; exec {CHILD} save=saved ready=ready hang'}}}}")
    shell.type(f"$W run {name}\n")
    until((tmp_path / "ready").exists, "the node runs")
    node = int((tmp_path / "pid").read_text())
    for _ in range(2):
        shell.type(CTRL_Z)
        shell.wait_for("Stopped")
        until(lambda: state_of(node) == "T", "the node is stopped too")
        shell.type("fg\n")
        until(lambda: state_of(node) in ("R", "S"), "the node goes on")
    shell.type(CTRL_C)
    shell.wait_for("wfctl resume")
    assert (tmp_path / "saved").exists()


def test_a_closed_terminal_is_a_hangup(flow: Flow, until: Until, tmp_path: Path, gone: Gone, status: Status) -> None:
    with Shell(tmp_path, environ(tmp_path) | WFCTL) as shell:
        shell.type(f"$W run {flow(f'nodes: {{a: {{run: {CHILD} save=saved ready=ready hang}}}}')}\n")
        until((tmp_path / "ready").exists, "the node runs")
    until((tmp_path / "saved").exists, "the node heard TERM")
    gone()
    until(lambda: status()["state"] == "interrupted", "the run has ended")
