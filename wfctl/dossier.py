"""All that there is to tell of one run, as plain data: its nodes with attempts and logs, its plan, what happened.

Writes nothing, and does not know how any of it is shown."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from wfctl import events as ev
from wfctl import exhibit, history, journal, logs
from wfctl.course import work_before
from wfctl.driver import keeps
from wfctl.errors import Bug, WfctlError
from wfctl.forecast import forecast
from wfctl.history import Record
from wfctl.noderun import BAD, UNDO_FAILED
from wfctl.quantity import unit_of
from wfctl.score import LEVELS
from wfctl.state import RunState

if TYPE_CHECKING:
    from wfctl.plan import Plan, Planned
    from wfctl.store import RunFolder

EVENTS = 30_000
"""Events that are told; of more the first and the last."""

DRAWN = 20_000
"""Nodes up to which graphs are drawn, that of the file and what lies in its nodes: of more, no browser shows them in
time."""

LINES = 40
"""Last lines of a log that are told, where nobody says how many."""

LOG_OF_ONE = 16 * 1024
LOGS = 3 * 1024 * 1024
"""Bytes of the end of a log that are told, at most; and of all: where there are many nodes, each gets less. What failed
always gets as much as it may."""

LEAST_LOG = 400

FAILURES = 50
"""So many that failed get as much; of more, who would read the last?"""

ATTEMPTS = 5
"""Attempts of one node whose logs are told, the last ones."""

OUTPUT_OF_ONE = 4000
OUTPUTS = 1024 * 1024
"""Characters of the output of a node, and of all."""

TEXT = 300
"""Characters of what a node does, and of one detail of an event."""


def read(folder: RunFolder) -> tuple[Record, list[ev.Event]]:
    """A run and all that has happened in it, both of one look. Raises StateError where it cannot be read."""
    readings: list[journal.Reading] = []

    def take(skip: int, chain: str) -> journal.Reading:
        readings.append(journal.read(folder.journal, skip, chain))
        return readings[-1]

    record = history.open_run(folder, take)
    return record, [ev.from_data(data) for data in readings[-1].events]


def gather(
    record: Record, events: Sequence[ev.Event], lines: int = LINES, variables: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Everything of one run, with so many last lines of each log. Times are seconds since the epoch, also those of what
    was planned. The `variables` may have the secrets that hide them in the log of what runs.

    Raises StateError where a log cannot be read.
    """
    status = record.status()
    story = _Story(events)
    state = record.state
    return {
        **history.summary(record, status),
        "began": state.started,
        "ended": state.finished,
        "time": state.time,
        "breaks": story.breaks,
        "folder": str(record.folder.path.absolute()),
        "version": record.first.version,
        "wants_update": state.wants_update,
        "policy": record.plan.policy,
        "concurrency": record.plan.concurrency,
        "resources": _resources(record.plan),
        "plan": _planned(record, story),
        "plans": [{"time": e.time, "reason": e.reason} for e in story.plans if e.order],
        "nodes": _nodes(record, status, story, lines, variables),
        "critical_path": list(record.plan.critical_path),
        "longest": _longest(record, story),
        "checkpoints": _checkpoints(state),
        "transactions": history.transactions(state),
        "rollback": _rollback(record, story),
        "rollbacks": [
            {"time": e.time, "strategy": e.strategy, "why": e.why, "by": e.by, "then": e.then} for e in story.rollbacks
        ],
        "events": _events(events),
        "events_left_out": max(0, len(events) - EVENTS),
    }


class _Story:
    """What the events say that no state keeps: each attempt with its times, each try of an undo, each plan."""

    def __init__(self, events: Sequence[ev.Event]) -> None:
        self.attempts: dict[str, list[dict[str, Any]]] = {}
        self.undos: dict[str, list[dict[str, Any]]] = {}
        self.plans: list[ev.RunPlanned] = []
        self.rollbacks: list[ev.RollbackBegun] = []
        self.words: dict[str, str] = {}
        """Why a person has said that a node is undone, or stays."""
        self.opened: dict[str, float] = {}
        self.breaks: list[tuple[float, float]] = []
        """When nobody drove the run: between two engines, or while the machine slept."""
        self._last = 0.0
        self._ready: dict[str, float] = {}
        self._open: dict[str, dict[str, Any]] = {}
        for event in events:
            self._take(event)
            self._last = event.time

    def _take(self, event: ev.Event) -> None:
        match event:
            case ev.NodeReady():
                self._ready[event.node] = event.time
            case ev.NodeOpened():
                self.opened[event.node] = event.time
            case ev.NodeAsked():
                self._begin(event.node, event.time, 0)
            case ev.NodeStarted():
                self._begin(event.node, event.time, event.attempt, event.devices)
            case ev.AttemptEnded():
                self._end(event)
            case ev.NodeCancelled():
                if (attempt := self._open.pop(event.node, None)) is not None:
                    attempt.update(end=event.time, state="cancelled", reason=event.reason)
            case ev.RunResumed():
                self._interrupt(event.time)
                self.breaks.append((self._last, event.time))
            case ev.RunPaused():
                self.breaks.append((event.time - event.seconds, event.time))
            case ev.RunPlanned():
                self.plans.append(event)
            case ev.NodeUndone():
                self.words[event.node] = event.reason
            case ev.RollbackBegun():
                self.rollbacks.append(event)
            case ev.UndoStarted() | ev.UndoStepDone() | ev.UndoRetrying() | ev.UndoFailed() | ev.UndoInterrupted():
                self._undo(event)

    def _begin(self, node: str, time: float, number: int, devices: Sequence[str] = ()) -> None:
        told = self.attempts.setdefault(node, [])
        ready = self._ready.pop(node, None)
        self._open[node] = {"n": number, "ready": ready, "start": time, "devices": list(devices), "state": "running"}
        told.append(self._open[node])

    def _end(self, event: ev.AttemptEnded) -> None:
        attempt = self._open.pop(event.node, None)
        if attempt is None:
            if event.attempt <= 0 or not isinstance(event, ev.NodeFailed) or event.reason == "inner":
                return
            attempt = {"n": event.attempt, "ready": None, "start": None, "devices": []}  # its job could not be made
            self.attempts.setdefault(event.node, []).append(attempt)
        attempt.update(
            end=event.time,
            state=_ENDS.get(type(event), "failed"),
            seconds=event.seconds,
            exit_code=event.exit_code,
            signal=event.signal,
            reason=event.reason,
            error=event.error,
        )
        if isinstance(event, ev.NodeFailed) and event.timed_out:
            attempt["state"] = "timed_out"
        if isinstance(event, ev.NodeRetrying):
            attempt["again"] = event.retry_at

    def _interrupt(self, time: float) -> None:
        """An engine has died: when its attempts ended nobody knows, but that it was before `time`."""
        for attempt in self._open.values():
            attempt.update(end=time, state="interrupted", reason="engine_died")
        self._open.clear()
        for undos in self.undos.values():
            if undos[-1]["state"] == "undoing":
                undos[-1].update(end=time, state="interrupted")

    def _undo(self, event: Any) -> None:
        told = self.undos.setdefault(event.node, [])
        if isinstance(event, ev.UndoStarted):
            told.append({"step": event.step, "n": event.attempt, "start": event.time, "state": "undoing"})
        elif told:
            told[-1].update(end=event.time, state=_UNDO_ENDS[type(event)], error=getattr(event, "error", ""))


_ENDS: Mapping[type[ev.Event], str] = {
    ev.NodeSucceeded: "succeeded",
    ev.NodeRetrying: "failed",
    ev.NodeFailed: "failed",
    ev.NodeInterrupted: "interrupted",
}
_UNDO_ENDS: Mapping[type[ev.Event], str] = {
    ev.UndoStepDone: "undone",
    ev.UndoRetrying: "failed",
    ev.UndoFailed: "undo_failed",
    ev.UndoInterrupted: "interrupted",
}


# -- what was planned


def _resources(plan: Plan) -> list[dict[str, Any]]:
    """What nodes share, of which one of them asks for something; first the slots."""
    asked = {name for planned in plan.nodes.values() for name, _ in planned.demand}
    told: list[dict[str, Any]] = [{"name": "slots", "budget": plan.concurrency, "unit": "count"}]
    for name, amount in plan.budget.items():
        if name in asked:
            told.append({"name": name, "budget": _in_units(name, amount), "unit": unit_of(name, amount)})
    return told


def _in_units(resource: str, amount: float) -> float:
    return amount / 1000 if resource == "cpu" else amount


def _planned(record: Record, story: _Story) -> dict[str, Any]:
    """When each node was to run, as it was known when the run began.

    Where a plan was followed from the start that is in the journal. Else it is made again from what the run began with:
    the same definition and the same estimates give the same times.
    """
    began = record.state.started
    first = next((event for event in story.plans if event.reason == "start"), None)
    if first is not None and first.order:
        times = {
            name: [began + start, began + start + seconds]
            for name, start, seconds in zip(first.order, first.start, first.estimates, strict=True)
        }
        return {"from": "journal", "nodes": times, "critical_path": list(record.plan.critical_path)}
    try:
        pin = record.first
        definition = history.read_definition(record.folder, pin.definition)
        plan = history.plan_of(definition, history.request_from_data(pin.request))
        found = forecast(plan)
    except (Bug, WfctlError, ValueError, KeyError) as error:  # what has happened can be told all the same
        return {"from": "none", "why": str(error), "nodes": {}, "critical_path": []}
    times = {
        name: [began + start, began + found.finish[name]]
        for name, start in found.start.items()
        if not plan.nodes[name].holds
    }
    return {
        "from": "again",
        "nodes": times,
        "critical_path": list(plan.critical_path),
        "makespan": found.makespan,
        "kept": keeps(plan),
        "guessed": sorted(found.guessed),
    }


# -- nodes


def _nodes(
    record: Record, status: str, story: _Story, lines: int, variables: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    names = list(record.plan.in_order())
    ends = _Ends(record, names, lines, variables)
    room = OUTPUTS
    told: dict[str, dict[str, Any]] = {}
    for name in names:
        node = _node(record, name, status, story)
        limit = min(OUTPUT_OF_ONE, max(120, OUTPUTS // len(names)), max(0, room))
        node["output"] = output = _output(record, name, limit)
        room -= len(output["text"]) if output is not None else 0
        node["logs"], node["held"] = ends.of(name, len(story.undos.get(name, ())) > 0)
        told[name] = node
    return told


def _node(record: Record, name: str, status: str, story: _Story) -> dict[str, Any]:
    planned, run = record.plan.nodes[name], record.state.nodes[name]
    shown = history.node_document(record, name, status)
    attempts = story.attempts.get(name, [])
    if attempts and attempts[0]["ready"] is None and attempts[0].get("start") is not None:
        attempts[0]["ready"] = run.ready_at if len(attempts) == 1 else _could_start(record, planned, story)
    if shown["state"] == "interrupted" and attempts and attempts[-1]["state"] == "running":
        attempts[-1]["state"] = "interrupted"
    spec = planned.node
    return {
        "kind": "for_each" if spec.each is not None else spec.kind,
        "section": spec.section,
        "parent": planned.parent,
        "children": len(planned.children),
        "needs": list(planned.needs),
        "description": spec.description,
        "does": _does(record.plan, planned),
        "when": _written(spec.when) if spec.when is not True else "",
        "priority": LEVELS[planned.level],
        "pivot": spec.pivot,
        "secret": bool(spec.receives),
        "state": shown["state"],
        "outcome": shown["outcome"],
        "tolerated": shown["tolerated"],
        "reason": run.reason,
        "trigger": spec.trigger,
        "error": run.error,
        "exit_code": run.exit_code,
        "ready": run.ready_at,
        "started": story.opened.get(name, run.started),
        "finished": run.finished,
        "attempts": attempts,
        "question": shown.get("question"),
        "waits": shown.get("waits"),
        "estimate": planned.estimate,
        "estimate_from": planned.source,
        "demand": [[resource, _in_units(resource, amount)] for resource, amount in planned.demand],
        "why": history.why_document(record, name, status),
        "undo": exhibit.undo(record.plan, planned) if spec.compensate else [],
        "undone": story.undos.get(name, []),
    }


def _could_start(record: Record, planned: Planned, story: _Story) -> float | None:
    """When the first attempt of several could have begun: state keeps that of the last. None where a resume lies
    between, so that it cannot be told."""
    nodes = record.state.nodes
    ends = [ended for need in planned.needs if (ended := nodes[need].finished) is not None]
    around = story.opened.get(planned.parent) if planned.parent is not None else None
    moment = max([*ends, around or record.state.started])
    return moment if moment <= story.attempts[planned.id][0]["start"] else None


def _does(plan: Plan, planned: Planned) -> str:
    """What it does, in one line; nothing where that cannot be told any more."""
    if planned.holds:
        return ""
    try:
        return _cut(exhibit.does(plan, planned), TEXT)
    except WfctlError:
        return ""


def _written(value: object) -> str:
    return str(getattr(value, "text", value))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _output(record: Record, name: str, limit: int) -> dict[str, Any] | None:
    """What a node handed out, as far as there is room; what lies in a file stays there."""
    run = record.state.nodes[name]
    if run.output is None or run.state in BAD:
        return None
    if run.stored:
        return {"text": "", "size": 0, "file": True}
    text = run.output if isinstance(run.output, str) else json.dumps(run.output, indent=1, ensure_ascii=False)
    return {"text": text[:limit], "size": len(text), "json": not isinstance(run.output, str)}


class _Ends:
    """The last lines of the logs of a run. What failed comes first: it may take more, and is never left out."""

    def __init__(self, record: Record, names: Sequence[str], lines: int, variables: Mapping[str, str]) -> None:
        self._record, self._lines = record, lines
        self._notes: list[str] = []
        self._seals = logs.Seals(record, variables, self._notes.append)
        bad = (*BAD, UNDO_FAILED)
        self._failed = {name for name in names if record.state.nodes[name].state in bad}
        wrote = sum(1 for name in names if record.state.nodes[name].attempt)
        self._limit = min(LOG_OF_ONE, max(LEAST_LOG, LOGS // max(1, wrote)))
        self._failures = FAILURES

    def of(self, name: str, undone: bool) -> tuple[list[dict[str, Any]], str]:
        """The ends of the logs of a node, the last attempt last; and why some are held back."""
        record, run = self._record, self._record.state.nodes[name]
        if not self._lines or record.plan.nodes[name].holds or not (run.attempt or undone):
            return [], ""
        limit = self._limit
        if name in self._failed and self._failures:
            limit, self._failures = LOG_OF_ONE, self._failures - 1
        self._notes.clear()
        found = [
            {"attempt": attempt, "name": file, "size": size, "text": text, "cut": cut}
            for attempt, file, size, text, cut in logs.ends(record, self._seals, name, self._lines, limit, ATTEMPTS)
        ]
        return found, "; ".join(self._notes)


# -- what came of it


def _longest(record: Record, story: _Story) -> list[str]:
    """The nodes that decided how long the run took: from the last that ended back, each the last that it waited for."""
    ends: dict[str, float] = {}
    for name, attempts in story.attempts.items():
        if name in record.plan.nodes and not record.plan.nodes[name].holds and attempts[-1].get("end"):
            ends[name] = attempts[-1]["end"]
    nodes = record.plan.nodes
    work = [name for name in ends if nodes[name].node.section == "nodes"]
    if not work:
        return []
    chain = [max(work, key=ends.__getitem__)]
    while before := [need for need in work_before(record.plan, nodes[chain[-1]]) if need in ends]:
        chain.append(max(before, key=ends.__getitem__))
    return chain[::-1]


def _checkpoints(state: RunState) -> list[dict[str, Any]]:
    return [
        {"name": name, "time": one.time, "files": sorted(one.files), "bytes": sum(s for _, _, s in one.files.values())}
        for name, one in state.checkpoints.items()
    ]


def _rollback(record: Record, story: _Story) -> dict[str, Any] | None:
    """What was undone and what was not, as `status --json` says it, beside what each step of it is."""
    if record.state.undoing is None:
        return None
    told = record.state.undoing.told()
    plan = record.plan
    for one in told["steps"]:
        one["does"] = exhibit.undo(plan, plan.nodes[one["node"]]) if one["node"] in plan.nodes else []
        one["reason"] = story.words.get(one["node"], "")
    return told


_UNTOLD = frozenset(
    (
        "node", "time", "request", "analysis", "order", "start", "estimates", "output", "outputs", "wrote", "files",
        "undo", "why", "items", "writes", "given", "digest", "definition", "key", "stored",
    )
)  # fmt: skip


def _events(events: Sequence[ev.Event]) -> list[list[Any]]:
    """Each event: when, what, of which node, and its details in words."""
    if len(events) > EVENTS:
        events = [*events[: EVENTS // 2], *events[-EVENTS // 2 :]]
    told = []
    names: dict[type[ev.Event], list[tuple[str, Any]]] = {}
    for event in events:
        kind = type(event)
        if kind not in names:
            names[kind] = [(f.name, f.default) for f in fields(kind) if f.name not in _UNTOLD]
        details = [
            f"{name.replace('_', ' ')} {_detail(name, value, event.time)}".rstrip()
            for name, default in names[kind]
            if (value := getattr(event, name)) not in (default, None, "", (), False)
        ]
        told.append([event.time, event.name, getattr(event, "node", ""), _cut(", ".join(details), TEXT)])
    return told


def _detail(name: str, value: Any, now: float) -> str:
    if name in ("retry_at", "until", "made"):
        return f"{value - now:+.3f}s"
    if isinstance(value, float):
        return f"{value:.3f}s"
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return "" if value is True else str(value)
