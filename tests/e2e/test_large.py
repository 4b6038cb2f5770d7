"""Large workflows run to their end, each node once and in order, in bounded time and memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from wfctl import journal

COMMAND = """
import sys, time
from wfctl.cli import main
try:
    sys.exit(main())
finally:
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    open("used", "w").write(f"{time.process_time()} {peak}")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that can be: 20,000 syncs of a slow disk are not what is asked about here."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


class Used:
    """What one command printed, and the processor time and memory that it took itself."""

    def __init__(self, folder: Path, nodes: list[str] | str, *words: str) -> None:
        text = nodes if isinstance(nodes, str) else "nodes:\n" + "".join(f"  {node}\n" for node in nodes)
        (folder / "flow.yaml").write_text(f"version: 1\n{text}")
        ended = subprocess.run(
            [sys.executable, "-c", COMMAND, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(folder / ".wfctl")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        self.out = ended.stdout
        seconds, kib = (folder / "used").read_text().split()
        self.seconds, self.megabytes = float(seconds), int(kib) / 1024


def chain(size: int) -> list[str]:
    return [f'n{i}: {{run: "true", needs: [{f"n{i - 1}" if i else ""}]}}' for i in range(size)]


SHAPES = {
    "a chain of 10,000": chain(10_000),
    "10,000 independent nodes, between one that all of them need and one that needs all": [
        'one: {run: "true"}',
        *(f'n{i}: {{run: "true", needs: [one]}}' for i in range(10_000)),
        f'all: {{run: "true", needs: [{", ".join(f"n{i}" for i in range(10_000))}]}}',
    ],
}


@pytest.mark.parametrize("nodes", SHAPES.values(), ids=SHAPES)
def test_a_large_workflow_runs_every_node_once_after_what_it_needs(folder: Path, nodes: list[str]) -> None:
    used = Used(folder, nodes, "run", "flow.yaml", "--json", "-j", "4")
    events = [json.loads(line) for line in used.out.splitlines()]
    assert events[-1]["state"] == "succeeded"
    ends = [event["node"] for event in events if event["event"] == "node_succeeded"]
    assert len(ends) == len(set(ends)) == len(nodes)
    if "all" in ends:
        assert (ends[0], ends[-1]) == ("one", "all")
    if len(nodes) == 10_000 and "needs" in nodes[1]:
        assert ends == [f"n{i}" for i in range(10_000)]
    assert used.seconds < 30, f"{used.seconds:.1f} s of processor time"
    assert used.megabytes < 150, f"{used.megabytes:.0f} MB"


def test_a_hundred_thousand_nodes_are_planned(folder: Path) -> None:
    layered = [f"needs: [{', '.join(f'n{i - 100 - k}' for k in range(3)) if i > 102 else ''}]" for i in range(50_000)]
    nodes = [f'n{i}: {{run: "true", {needs}}}' for i, needs in enumerate(layered)]
    nodes += [f'alone{i}: {{run: "true"}}' for i in range(50_000)]
    used = Used(folder, nodes, "plan", "flow.yaml", "--json", "-j", "8")
    plan = json.loads(used.out)
    assert len(plan["nodes"]) == 100_000
    assert plan["makespan"] >= plan["lower_bound"] > 0
    assert used.seconds < 60, f"{used.seconds:.1f} s of processor time"
    assert used.megabytes < 800, f"{used.megabytes:.0f} MB"


GLOBS = {
    "one side": ("out/{i}/a.txt", "out/{i}/*.txt"),
    "both sides": ("out/{i}/*.txt", "out/{i}/a.txt"),
}


@pytest.mark.parametrize(("writes", "reads"), GLOBS.values(), ids=GLOBS)
def test_five_thousand_globs_over_five_thousand_paths_become_edges(folder: Path, writes: str, reads: str) -> None:
    nodes = [f'w{i}: {{run: "true", writes: ["{writes.format(i=i)}"]}}' for i in range(5_000)]
    nodes += [f'r{i}: {{run: "true", reads: ["{reads.format(i=i)}"]}}' for i in range(5_000)]
    used = Used(folder, nodes, "graph", "flow.yaml", "--format", "json")
    assert len(json.loads(used.out)["edges"]) == 5_000
    assert used.seconds < 10, f"{used.seconds:.1f} s of processor time"


def test_a_glob_of_a_thousand_stars_takes_no_longer(folder: Path) -> None:
    nodes = [
        f'w: {{run: "true", writes: ["{"a" * 250}.txt"]}}',
        f'r: {{run: "true", reads: ["{"*a" * 1_000}b", "**/**/c"]}}',
    ]
    used = Used(folder, nodes, "graph", "flow.yaml", "--format", "json")
    assert json.loads(used.out)["edges"] == []
    assert used.seconds < 3, f"{used.seconds:.1f} s of processor time"


FAN_IN = """
nodes:
  x:
    for_each: ${{ range(5000) }}
    run: [expr, "${{ item }}", "-", "77"]     # exit code 1 where that is 0
    stdout: json
    collect: {tolerate: 1}
  stdin: {run: cat, stdin: "${{ nodes.x.items }}", stdout: json}
  file: {run: [cat, "${{ file(nodes.x.output) }}"], stdout: json}
  argv: {run: [echo, "${{ json(nodes.x.items) }}"], continue_on_error: true}
  env: {run: [env], env: {ITEMS: "${{ nodes.x.items }}"}, continue_on_error: true}
  many: {run: [echo, "${{ [i.key + 1000 * 'x' for i in nodes.x.items] }}"], continue_on_error: true}
"""


def test_five_thousand_items_come_in_by_stdin_and_by_file_and_argv_says_why_not(folder: Path) -> None:
    used = Used(folder, FAN_IN, "run", "flow.yaml", "--json", "-j", "4")
    events = [json.loads(line) for line in used.out.splitlines()]
    ends = {event["node"]: event for event in events if event["event"] in ("node_succeeded", "node_failed")}
    items = stored(folder, ends["stdin"])
    assert [item["key"] for item in items] == [str(i) for i in range(5_000)]
    assert [item["output"] for item in items] == [i - 77 if i != 77 else None for i in range(5_000)]
    assert [(item["key"], item["state"], item["error"]) for item in items if item["error"]] == [
        ("77", "failed", "exit code 1")
    ]
    assert stored(folder, ends["file"]) == [item["output"] for item in items]
    for name, what in {"argv": "the argument", "env": "env.ITEMS"}.items():
        assert re.fullmatch(
            rf"{what} is \d+ KiB, and more than 100 KiB cannot be handed to a process this way; "
            r"use stdin: \$\{\{ … \}\}, or file\(…\) for the path of a JSON file",
            ends[name]["error"],
        )
    assert "more than the system allows" in ends["many"]["error"]
    assert "hand it over by stdin: ${{ … }} or file(…)" in ends["many"]["error"]
    assert used.seconds < 15, f"{used.seconds:.1f} s of processor time"
    assert used.megabytes < 150, f"{used.megabytes:.0f} MB"


def stored(folder: Path, end: dict[str, Any]) -> Any:
    """The output of a node, also where it lies in a file."""
    if not end.get("stored"):
        return end["output"]
    (path,) = folder.glob(f".wfctl/runs/*/{end['output']['file']}")
    return json.loads(journal.content(path, 1 << 24))
