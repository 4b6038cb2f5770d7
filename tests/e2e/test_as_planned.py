"""A run of nodes that last as estimated starts each of them when `plan` said, but for the time that processes take."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
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
    check(wfctl, status)


@pytest.mark.parametrize("trace", TRACES)
def test_a_trace_with_sleeps_goes_as_planned(
    trace: str, shared: Path, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    """Those of many nodes have longer than the others: else they would show nothing but the starts of processes."""
    file, tool = shared / f"data/traces/{trace}.json", shared / "tools/to_flow.py"
    write = tmp_path / "flow.yaml"
    write.write_text(output(sys.executable, str(tool), str(file)))
    whole = json.loads(wfctl("plan", "flow.yaml", "--json").stdout)
    scale = max(1.5, len(whole["nodes"]) / 125) / whole["makespan"]
    write.write_text(output(sys.executable, str(tool), str(file), "--sleep", repr(scale)))
    check(wfctl, status)


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


def check(wfctl: Command, status: Status) -> None:
    """Each node starts when it is planned, or so much later as the processes before it may have taken to start."""
    plan = json.loads(wfctl("plan", "flow.yaml", "--json").stdout)
    planned = {name: node["start"] for name, node in plan["nodes"].items()}
    each = process_seconds()
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 0, ended.stderr
    seen = status()
    begun = instant.from_text(seen["started"])
    for place, name in enumerate(sorted(planned, key=planned.__getitem__), 1):
        late = instant.from_text(seen["nodes"][name]["started"]) - begun - planned[name]
        assert -0.001 <= late <= 0.1 + 2 * each * place, f"{name}: planned for {planned[name]}, {late:.3f} s late"


def process_seconds() -> float:
    """What a process that does nothing takes here and now, from the start to the end."""
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        subprocess.run(["sleep", "0"], check=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout
