"""A run that asks: answered by another command, at the terminal, or after it has ended.

Knows nothing of what is inside the command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow, Start, Status, Until, environ
from tests.helpers.shell import CTRL_C, CTRL_Z, Shell

pytestmark = pytest.mark.usefixtures("unharmed")

TWO = """
    nodes:
      a: {ask: {message: "first?"}}
      g: {nodes: {q: {for_each: [x, y], key: "${{ item }}", ask: {message: "${{ item }}?", choices: [yes please, no]}}}}
      end: {run: "echo ${{ nodes.a.output.choice }} > end", needs: [g]}
"""


def test_who_does_not_wait_goes_on_when_all_is_answered(
    wfctl: Command, flow: Flow, status: Status, tmp_path: Path
) -> None:
    run = wfctl("run", flow(TWO), "--no-wait")
    assert run.returncode == 7
    assert "wfctl answer" in run.stderr
    assert wfctl("answer", "last", "a", "APPROVE").returncode == 0
    assert wfctl("answer", "last", "g.q[x]", "yes please").returncode == 0
    refused = wfctl("answer", "last", "g.q[y]", "approve")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == 'wfctl: "g.q[y]" cannot be answered "approve"; say yes please or no\n'
    assert wfctl("resume", "last", "--no-wait").returncode == 7
    assert status()["state"] == "waiting_input"
    wfctl("answer", "last", "g.q[y]", "no", "--reason", "why not")
    assert wfctl("resume", "last").returncode == 0
    assert (tmp_path / "end").read_text() == "approve\n"
    assert status()["nodes"]["g.q[y]"]["output"] | {"by": ""} == {"choice": "no", "by": "", "reason": "why not"}


@pytest.mark.parametrize("message", ["ship?", "really?"])
def test_an_answer_outlives_an_update_that_leaves_its_question_alone(
    wfctl: Command, flow: Flow, status: Status, message: str
) -> None:
    said = 'nodes: {q: {ask: {message: "%s"}}, e: {needs: [q], run: "echo %s"}}'
    assert wfctl("run", flow(said % ("ship?", "a")), "--no-wait").returncode == 7
    assert wfctl("answer", "last", "q", "approve").returncode == 0
    flow(said % (message, "b"))
    ended = wfctl("resume", "last", "--update", "--no-wait")
    if message == "ship?":
        assert (ended.returncode, status()["nodes"]["q"]["attempts"]) == (0, 1)
    else:
        assert (ended.returncode, status()["nodes"]["q"]["attempts"]) == (7, 2)


def test_an_answer_wakes_the_run_that_waits(
    wfctl: Command, flow: Flow, start: Start, until: Until, tmp_path: Path
) -> None:
    run = start("run", flow('nodes: {a: {ask: {message: "?"}}, b: {run: "true", needs: [a]}}'))
    journals = (tmp_path / ".wfctl").glob
    until(lambda: any("node_asked" in one.read_text() for one in journals("runs/*/journal.jsonl")), "it asks")
    assert wfctl("answer", "last", "a", "approve").returncode == 0
    assert run.wait(10) == 0


def test_a_question_at_the_terminal_survives_its_engine(
    flow: Flow, status: Status, tmp_path: Path
) -> None:
    with Shell(tmp_path, environ(tmp_path) | {"W": f"{sys.executable} -m wfctl"}) as shell:
        shell.type(f"$W run {flow('nodes: {a: {ask: {message: ready or not, timeout: 1m}}}')}\n")
        shell.wait_for("ready or not")
        shell.type(CTRL_Z)
        shell.wait_for("Stopped")
        shell.type("fg\n")
        shell.wait_for("goes on after a pause")
        shell.type(CTRL_C)
        shell.wait_for("wfctl resume")
        assert status()["nodes"]["a"]["state"] == "waiting_input"
        shell.type("clear; $W resume last; echo code=$?\n")
        shell.wait_for("code=$?")
        shell.wait_for("ready or not")
        shell.type("perhaps\n")
        shell.wait_for('"perhaps" is no answer; type approve or reject')
        shell.type("approve if you must\n")
        shell.wait_for("code=0")
    assert status()["nodes"]["a"]["output"]["reason"] == "if you must"
