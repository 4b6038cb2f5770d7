"""Small random workflows run for real: what the nodes noted, and the journal, break no rule of scheduling."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.helpers.referee import Referee
from wfctl import events as ev
from wfctl import history, journal
from wfctl.policy import POLICIES
from wfctl.score import LEVELS
from wfctl.store import Store

SLOTS, CPU, GPU = 3, 4, 2
NODE = "echo start $WFCTL_NODE >>ledger; sleep {}; echo end $WFCTL_NODE >>ledger"
FLAKY = "mkdir $WFCTL_NODE.failed 2>/dev/null && exit 1; "


def workflow(policy: str, chance: random.Random) -> dict[str, Any]:
    """A dozen nodes of some hundredths of a second, whose estimates are missing, good or wrong."""
    nodes: dict[str, Any] = {}
    for i in range(12):
        seconds = chance.choice([0, 0.02, 0.05, 0.1])
        said = {
            "run": (FLAKY if chance.random() < 0.2 else "") + NODE.format(seconds),
            "needs": chance.sample(sorted(nodes), min(len(nodes), chance.choice([0, 0, 1, 2]))),
            "resources": {"cpu": chance.choice([0, 1, 1, 2, 4]), "gpu": chance.choice([0, 0, 1, 2])},
            "priority": chance.choice(LEVELS),
            "group": chance.choice(["a", "b"]),
            "retry": {"attempts": 2, "delay": 0},
        }
        estimate = chance.choice([None, seconds, seconds, 0, 0.3])
        nodes[f"n{i}"] = said | ({} if estimate is None else {"estimate": estimate})
    scheduling = {"policy": policy, "aging": chance.choice([0.1, "10m"])}
    supply = {"cpu": CPU, "gpu": GPU}
    return {"version": 1, "concurrency": SLOTS, "resources": supply, "scheduling": scheduling, "nodes": nodes}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_no_rule_is_broken_by_a_real_run(policy: str, seed: int, wfctl: Command, tmp_path: Path) -> None:
    data = workflow(policy, random.Random(f"{policy} {seed}"))
    (tmp_path / "flow.yaml").write_text(json.dumps(data))
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 0, ended.stderr
    check_ledger(data["nodes"], (tmp_path / "ledger").read_text())
    run = Store(tmp_path / ".wfctl").find_run("last")
    events = [ev.from_data(line) for line in journal.read(run.journal).events]
    assert Referee(history.open_run(run).plan, turns(events), slack=0.25).faults == []


def check_ledger(nodes: dict[str, Any], ledger: str) -> None:
    """A node notes its start after it was given what it asked for, and its end before it gives that back."""
    live: set[str] = set()
    done: set[str] = set()
    for word, name in map(str.split, ledger.splitlines()):
        if word == "end":
            live.remove(name)
            done.add(name)
            continue
        assert done.issuperset(nodes[name]["needs"]), f"{name} began before what it needs had ended"
        live.add(name)
        held: Counter[str] = Counter(slots=len(live))
        for other in live:
            held.update(nodes[other]["resources"])
        assert not held - Counter(slots=SLOTS, cpu=CPU, gpu=GPU), f"{sorted(live)} ran at once"
    assert done == nodes.keys()


def turns(events: list[ev.Event]) -> list[list[ev.Event]]:
    """The events in turns of the loop: each ends with what was started in it."""
    found: list[list[ev.Event]] = [[]]
    for event in events:
        if found[-1] and isinstance(found[-1][-1], ev.NodeStarted) and not isinstance(event, ev.NodeStarted):
            found.append([])
        found[-1].append(event)
    return found
