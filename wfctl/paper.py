"""The state of a run on paper: plain data for a checkpoint, and back.

Knows no disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wfctl import events as ev
from wfctl.noderun import NodeRun, NodeState, UndoRun
from wfctl.plan import Plan
from wfctl.state import Checkpoint, RunState, RunStatus
from wfctl.undoing import Course, Undoing

_KEPT = (
    "at_once",
    "began",
    "by_hand",
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
    "pin",
    "putting_back",
    "restarts",
    "settled",
    "signal",
    "started",
    "status",
    "stopping",
    "time",
    "timed_out",
    "tokens",
    "undo_wanted",
)
"""What is kept of a run as a whole; all else follows from its nodes."""


def to_data(state: RunState) -> dict[str, Any]:
    """The state as plain data."""
    return {
        "run": {key: getattr(state, key) for key in _KEPT},
        "course": ev.to_data(state.course) if state.course else None,
        "undoing": asdict(state.undoing.course) if state.undoing is not None else None,
        "undos": {name: run.undo.to_data() for name, run in state.nodes.items() if run.undo is not None},
        "forced": sorted(state.forced),
        "checkpoints": [[name, one.place, one.time, one.files] for name, one in state.checkpoints.items()],
        "grown": [[name, items] for name, items in state.grown.items()],
        "former": {name: _told(run) for name, run in state.former.items()},
        "nodes": {name: _told(run) for name, run in state.nodes.items()},
    }


def _told(run: NodeRun) -> list[Any]:
    return [str(run.state), *(getattr(run, key) for key in NodeRun.KEPT)]


def _tell(run: NodeRun, told: list[Any]) -> None:
    run.state = NodeState(told[0])
    for key, value in zip(NodeRun.KEPT, told[1:], strict=True):
        setattr(run, key, value)
    run.devices, run.won = tuple(run.devices), tuple(run.won)
    run.prepared = list(run.prepared)


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
    planned = data["course"] and ev.from_data(data["course"])
    state.course = planned if isinstance(planned, ev.RunPlanned) else None
    state.status = RunStatus(state.status)
    state.settled = RunStatus(state.settled) if state.settled is not None else None
    for name, told in data["nodes"].items():
        _tell(state.nodes[name], told)
        if name in data["undos"]:
            state.nodes[name].undo = UndoRun.from_data(data["undos"][name])
    for name, told in data["former"].items():
        _tell(state.former.setdefault(name, NodeRun()), told)
    state.derive()
    if (course := data["undoing"]) is not None:
        lists = {key: tuple(course[key]) for key in ("nodes", "remove")}
        state.undoing = Undoing(state, Course(**{**course, **lists}))
    return state
