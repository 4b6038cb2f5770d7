"""A run follows what `plan` shows: the same plan, and no node before its time.

How late they are is a matter of the machine, and measured by a command, `python -m tests.quality.punctual`."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Status
from wfctl import instant

TRACES = (
    "bacass-dirt02-001",
    "epigenomics-chameleon-hep-1seq-100k-001",
    "montage-chameleon-2mass-01d-001",
    "seismology-chameleon-500p-001",
    "srasearch-chameleon-10a-001",
)


@pytest.mark.parametrize("policy", ["priority", "critical_path", "fifo"])
def test_a_crowded_run_goes_as_planned(policy: str, wfctl: Command, tmp_path: Path, status: Status) -> None:
    (tmp_path / "flow.yaml").write_text(json.dumps(crowded(policy, random.Random(7))))
    check(wfctl, status, tmp_path, improved=policy != "fifo")


@pytest.mark.parametrize("trace", TRACES)
def test_a_trace_with_sleeps_goes_as_planned(
    trace: str, shared: Path, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    file, tool = shared / f"data/traces/{trace}.json", shared / "tools/to_flow.py"
    write = tmp_path / "flow.yaml"
    write.write_text(output(sys.executable, str(tool), str(file)))
    scale = 1.5 / json.loads(wfctl("plan", "flow.yaml", "--json").stdout)["makespan"]
    write.write_text(output(sys.executable, str(tool), str(file), "--sleep", repr(scale)))
    check(wfctl, status, tmp_path)


def crowded(policy: str, chance: random.Random) -> dict[str, Any]:
    """Two dozen nodes that ask for more than there is."""
    nodes: dict[str, Any] = {}
    for i in range(24):
        seconds = chance.choice([0.1, 0.15, 0.25, 0.4])
        nodes[f"n{i}"] = {
            "run": f"sleep {seconds}",
            "estimate": seconds,
            "needs": chance.sample(sorted(nodes), min(len(nodes), chance.choice([0, 0, 1, 2]))),
            "resources": {"cpu": chance.choice([1, 1, 2, 3]), "licence": chance.choice([0, 0, 1])},
            "priority": chance.choice(["normal", "high"]),
        }
    supply = {"cpu": 4, "licence": 2}
    return {"version": 1, "concurrency": 4, "resources": supply, "scheduling": {"policy": policy}, "nodes": nodes}


def check(wfctl: Command, status: Status, folder: Path, improved: bool = True) -> None:
    """The plan that the run began with is the one that was shown, and it is kept: what comes later is never early."""
    plan = json.loads(wfctl("plan", "flow.yaml", "--json").stdout)
    planned = {name: node["start"] for name, node in plan["nodes"].items()}
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 0, ended.stderr
    lines = next((folder / ".wfctl/runs").glob("*/journal.jsonl")).read_text().splitlines()
    events = [json.loads(line) for line in lines]
    plans = [event for event in events if event.get("event") == "run_planned"]
    assert bool(plans) == plan["improved"] == improved
    if improved:
        first = min(plans[0]["start"])  # it was made when the run was ready to begin
        starts = [start - first for start in plans[0]["start"]]
        assert dict(zip(plans[0]["order"], starts, strict=True)) == pytest.approx(planned, abs=1e-5)
    if len(plans) < 2:  # a machine that is slow beyond all estimates makes another plan
        seen = status()
        begun = instant.from_text(seen["started"])
        early = {name: instant.from_text(seen["nodes"][name]["started"]) - begun - planned[name] for name in planned}
        assert min(early.values()) >= -0.001, early


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout
