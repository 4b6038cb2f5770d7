"""The state of a run on paper: plain data for a checkpoint, and back.

Knows no disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfctl import events as ev
from wfctl.noderun import NodeRun, NodeState
from wfctl.plan import Plan
from wfctl.state import Checkpoint, RunState, RunStatus

_KEPT = (
    "at_once",
    "began",
    "commit_again",
    "committing",
    "error",
    "events",
    "exit_code",
    "finally_failed",
    "finished",
    "halted",
    "id",
    "no_wait",
    "only_finally",
    "outputs",
    "paused",
    "putting_back",
    "settled",
    "signal",
    "started",
    "status",
    "stopping",
    "time",
    "timed_out",
    "tokens",
)
"""What is kept of a run as a whole; all else follows from its nodes."""


def to_data(state: RunState) -> dict[str, Any]:
    """The state as plain data."""
    return {
        "run": {key: getattr(state, key) for key in _KEPT},
        "course": ev.to_data(state.course) if state.course else None,
        "forced": sorted(state.forced),
        "checkpoints": [[name, one.place, one.time, one.files] for name, one in state.checkpoints.items()],
        "grown": [[name, items] for name, items in state.grown.items()],
        "nodes": {
            name: [str(run.state), *(getattr(run, key) for key in NodeRun.KEPT)] for name, run in state.nodes.items()
        },
    }


def from_data(plan: Plan, data: Mapping[str, Any]) -> RunState:
    """The counterpart of `to_data`. Raises KeyError, TypeError or ValueError where it does not fit the plan."""
    state = RunState(plan)
    for name, items in data.get("grown", ()):
        state.grow(name, [(key, value) for key, value in items])
    if data["nodes"].keys() != state.nodes.keys():
        raise ValueError("the checkpoint is of another plan")
    for key in _KEPT:
        setattr(state, key, data["run"][key])
    state.forced = set(data["forced"])
    state.checkpoints = {name: Checkpoint(place, time, files) for name, place, time, files in data["checkpoints"]}
    course = data["course"] and ev.from_data(data["course"])
    state.course = course if isinstance(course, ev.RunPlanned) else None
    state.status = RunStatus(state.status)
    state.settled = RunStatus(state.settled) if state.settled is not None else None
    for name, (word, *values) in data["nodes"].items():
        run = state.nodes[name]
        run.state = NodeState(word)
        for key, value in zip(NodeRun.KEPT, values, strict=True):
            setattr(run, key, value)
        run.devices, run.won = tuple(run.devices), tuple(run.won)
        run.prepared = list(run.prepared)
    state.derive()
    return state
