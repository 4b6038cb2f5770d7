"""Plans that learn: what a run took is what the next plan expects.

Knows nothing of how that is kept."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHILD, Command
from tests.e2e.conftest import Flow, Status, Until, environ
from tests.helpers.processes import state_of
from tests.helpers.shell import CTRL_Z, Shell
from wfctl import app
from wfctl.store import Store

Expected = Callable[[str], dict[str, tuple[float, str]]]


@pytest.fixture
def expected(wfctl: Command) -> Expected:
    """Of each node of a file the seconds that a plan gives it, and where they come from."""

    def tell(name: str) -> dict[str, tuple[float, str]]:
        nodes: dict[str, Any] = json.loads(wfctl("plan", name, "--json").stdout)["nodes"]
        for told in nodes.values():
            assert told["start"] is None or told["finish"] - told["start"] == pytest.approx(told["estimate"])
        return {node: (told["estimate"], told["estimate_from"]) for node, told in nodes.items()}

    return tell


def test_a_plan_goes_from_what_is_declared_to_what_was_seen(flow: Flow, wfctl: Command, expected: Expected) -> None:
    nodes = "nodes:\n  slow: {run: sleep 0.6, estimate: 9}\n  quick: {run: sleep 0.1}\n"
    assert expected(flow(nodes)) == {"slow": (9.0, "declared"), "quick": (1.0, "assumed")}
    assert wfctl("run", "flow.yaml").returncode == wfctl("run", "flow.yaml").returncode == 0
    known = expected(flow(nodes + "  new: {run: sleep 5}\n  said: {run: sleep 5, estimate: 4}\n"))
    assert {name: source for name, (_, source) in known.items()} == {
        "slow": "history", "quick": "history", "new": "kind", "said": "declared",
    }  # fmt: skip
    slow, quick, new = (known[name][0] for name in ("slow", "quick", "new"))
    assert 0 < quick < slow < 9
    assert new == pytest.approx((slow + quick) / 2, abs=0.001)
    shown = json.loads(wfctl("show", "flow.yaml", "new", "--json").stdout)
    assert (shown["estimate"], shown["estimate_from"]) == (new, "kind")


def test_only_what_succeeded_by_running_is_history(
    flow: Flow, wfctl: Command, expected: Expected, status: Status
) -> None:
    name = flow("""
        nodes:
          good: {run: echo 1, stdout: json}
          bad: {run: exit 1, continue_on_error: true}
          late: {run: sleep 60, timeout: 0.1, continue_on_error: true}
          not: {run: "true", when: "${{ nodes.good.output == 2 }}"}
          again: {run: 'test -e tried || { touch tried; sleep 0.2; exit 1; }', retry: {attempts: 2, delay: 0.1}}
        finally: {last: {run: "true"}}
    """)
    assert wfctl("run", name).returncode == 0
    known = expected(name)
    assert {node for node, (_, source) in known.items() if source == "history"} == {"good", "again", "last"}
    last = status()["nodes"]["again"]["seconds"]
    assert known["again"][0] == pytest.approx(last, abs=0.001), "neither the attempt that failed nor the wait after it"


def test_what_is_served_tells_nothing(flow: Flow, wfctl: Command, tmp_path: Path, expected: Expected) -> None:
    name = flow("nodes:\n  a: {run: echo 1, stdout: json}\n  b: {run: 'echo ${{ nodes.a.output }}'}\n")
    assert wfctl("run", name).returncode == 0
    shutil.rmtree(tmp_path / ".wfctl/cache")
    assert wfctl("run", name, "--only", "b", "--of", "last").returncode == 0
    assert {node: source for node, (_, source) in expected(name).items()} == {"a": "kind", "b": "history"}


def test_a_run_that_goes_on_leans_on_what_it_knew_when_it_began_and_tells_only_of_its_own(
    flow: Flow, wfctl: Command, tmp_path: Path
) -> None:
    name = flow("nodes:\n  a: {run: sleep 0.1}\n  b: {run: test -e go, needs: [a]}\n")
    (tmp_path / "go").touch()
    assert wfctl("run", name).returncode == 0
    (tmp_path / "go").unlink()
    assert wfctl("run", name).returncode == 1
    before = app.open_record("last", Store(tmp_path / ".wfctl")).plan.nodes
    (kept,) = (tmp_path / ".wfctl/cache/estimates").iterdir()
    shutil.rmtree(tmp_path / ".wfctl/cache")
    (tmp_path / "go").touch()
    assert wfctl("resume", "last").returncode == 0
    after = app.open_record("last", Store(tmp_path / ".wfctl")).plan.nodes
    assert {node.source for node in before.values()} == {"history"}
    assert [node.estimate for node in before.values()] == [node.estimate for node in after.values()]
    assert json.loads(kept.read_text().splitlines()[1])["nodes"].keys() == {"b"}


def test_a_state_folder_that_keeps_nothing_hurts_no_run(flow: Flow, wfctl: Command, tmp_path: Path) -> None:
    name = flow("nodes: {a: {run: 'true'}}")
    for _ in range(3):
        ended = wfctl("run", name)
        assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
        shutil.rmtree(tmp_path / ".wfctl/cache", ignore_errors=True)
        (tmp_path / ".wfctl/cache").write_text("")


def test_what_ran_when_ctrl_z_stopped_the_run_tells_nothing(
    flow: Flow, until: Until, tmp_path: Path, expected: Expected
) -> None:
    name = flow(f"""
        nodes:
          a: {{run: 'echo $$ > pid; exec {CHILD} ready=ready wait=go'}}
          b: {{run: "true", needs: [a]}}
    """)
    with Shell(tmp_path, environ(tmp_path) | {"W": f"{sys.executable} -m wfctl"}) as shell:
        shell.type(f"$W run {name}\n")
        until((tmp_path / "ready").exists, "the node runs")
        node = int((tmp_path / "pid").read_text())
        shell.type(CTRL_Z)
        shell.wait_for("Stopped")
        until(lambda: state_of(node) == "T", "the node is stopped too")
        shell.type("fg\n")
        until(lambda: state_of(node) in ("R", "S"), "the node goes on")
        (tmp_path / "go").touch()
        shell.wait_for("$ ")
        shell.type("echo code=$?\n")
        shell.wait_for("code=0")
    assert {node: source for node, (_, source) in expected(name).items()} == {"a": "kind", "b": "history"}
