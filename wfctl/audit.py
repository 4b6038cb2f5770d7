"""A run that has ended, or was left, as the account that reports are written of.

Writes none of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from wfctl import history, load, logs
from wfctl import noderun as nr
from wfctl.errors import Problem, WfctlError
from wfctl.history import Record
from wfctl.plan import Planned
from wfctl.renderers.account import Account, Case, Place, Undone, Verdict
from wfctl.renderers.advice import Advice
from wfctl.renderers.plain import because, signal_name
from wfctl.renderers.text import duration, state_word
from wfctl.state import RunStatus

LINES = 50
"""Lines of one log."""

LOGS = 4 * 1024 * 1024
"""Characters of all logs together: from then on failures are told without."""

WHOLE = "(run)"
"""What the run is called where it is a case by itself: no node can be."""


def account(record: Record, root: str, advice: Advice) -> Account:
    """The account of a run as it stands. Files are named from the folder `root`, where they lie below it."""
    state, auditor = record.state, _Auditor(record)
    cases = [auditor.case(name) for name in record.plan.in_order() if auditor.tells(name)]
    places = _places(record, [case.node for case in cases if case.is_bad or case.tolerated], root)
    cases = [replace(case, place=places.get(case.node)) for case in cases]
    file = shown(record.first.file, root)
    itself = None
    if auditor.status != RunStatus.SUCCEEDED and not any(case.is_bad for case in cases):
        itself = auditor.of_the_run(Place(file))
    end = state.finished if state.finished is not None else state.time
    return Account(
        run=record.folder.id,
        workflow=record.plan.name,
        file=file,
        state=auditor.status,
        exit_code=state.exit_code,
        error=state.error,
        seconds=max(0.0, end - state.began - state.paused),
        started=(history.moment(state.started) or "")[:19],
        cases=tuple(cases),
        itself=itself,
        undone=tuple(_undone(record)),
        why_undone=state.undoing.course.why if state.undoing is not None else "",
        status_command=advice.command("status", record.folder.id),
    )


class _Auditor:
    """Judges node after node, and hands out the ends of logs while there is room for them."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.status = record.status()
        self._nodes = record.plan.nodes
        self._runs = record.state.nodes
        self._room = LOGS
        undoing = record.state.undoing
        self._failed_before = frozenset(undoing.course.analysis.get("failed", ()) if undoing is not None else ())

    def tells(self, name: str) -> bool:
        """Whether a node is a case. What holds others is told by them, unless there are none, or none says what went
        wrong with it."""
        planned = self._nodes[name]
        if not planned.children:
            return True
        if not self.is_bad(name):
            return False
        return not any(self.is_bad(one) for one in self.record.plan.with_inside(name) if one != name)

    def is_bad(self, name: str) -> bool:
        """Whether a node failed, also where it was undone since."""
        state = self._runs[name].state
        return state in nr.BAD or (state in nr.UNDOS and name in self._failed_before)

    def case(self, name: str) -> Case:
        """What became of a node."""
        planned, run = self._nodes[name], self._runs[name]
        word = history.node_document(self.record, name, self.status)["state"]
        verdict, message = self._judged(planned, word)
        tolerated = verdict == "skipped" and self.is_bad(name)
        wanted = verdict in ("failed", "error") or tolerated
        return Case(
            node=name,
            verdict=verdict,
            state=word,
            kind=planned.node.kind,
            reason=run.reason if run.state is not nr.CACHED else "",
            message=message,
            log=self._log(name) if wanted else (),
            seconds=run.seconds if run.started is not None else 0.0,
            attempts=run.attempt,
            exit_code=run.exit_code,
            served=run.reason.removeprefix("from ") if run.state is nr.CACHED else "",
            tolerated=tolerated,
        )

    def _judged(self, planned: Planned, word: str) -> tuple[Verdict, str]:
        """How a node went, and why."""
        run = self._runs[planned.id]
        if run.state is nr.UNDO_FAILED:
            return "error", f"was not undone: {run.undo.error if run.undo is not None else ''}"
        if run.state is nr.UNDOING:
            return "error", "its undo has not come to an end"
        if self.is_bad(planned.id):
            why = run.error or state_word(word)
            if self.record.state.spares(planned.id):
                return "skipped", f"failed, which was tolerated: {why}"
            return "failed", f"{why}; undone" if run.state is nr.UNDONE else why
        if run.state is nr.UNDONE:
            how = run.undo.how if run.undo is not None else ""
            return "skipped", "undone by hand" if how == "done" else "left as it is" if how == "skip" else "undone"
        if run.state in nr.DONE:
            return "passed", ""
        if run.state is nr.CANCELLED and run.reason == "run_timeout" and run.attempt and not planned.holds:
            return "error", f"stopped after {duration(run.seconds)}: {because(run.reason)}"
        if run.state in (nr.SKIPPED, nr.CANCELLED):
            return "skipped", f"{word}: {because(run.reason, planned.node.trigger)}"
        if word == nr.INTERRUPTED:
            return "error", run.error or "it was stopped while it ran"
        if run.state is nr.RETRYING:
            return "error", f"it was to be tried again: {run.error}"
        if run.state is nr.RUNNING:
            return "error", "no end of it is recorded"
        if run.state is nr.WAITING_INPUT and run.asked:
            return "skipped", f"waits for an answer: {run.asked[0]}"
        return "skipped", "the run did not come to it"

    def _log(self, name: str) -> tuple[str, ...]:
        run = self._runs[name]
        attempt: int | str = run.attempt
        if run.state in (nr.UNDO_FAILED, nr.UNDOING) and run.undo is not None:
            # What a step under way has printed may hold secrets, until its end is recorded.
            if run.state is nr.UNDOING and self._nodes[name].node.receives:
                return ()
            attempt = f"undo.{run.undo.step}.{run.undo.attempt}"
        elif not run.attempt or logs.Seals.is_open(self.record, name, run.attempt):
            return ()
        lines = tuple(logs.tail(self.record.folder, name, attempt, LINES)) if self._room > 0 else ()
        self._room -= sum(map(len, lines))
        return lines

    def of_the_run(self, place: Place) -> Case | None:
        """The run as a case, where it went wrong by itself. One that waits for a person has not."""
        state = self.record.state
        if self.status == RunStatus.WAITING_INPUT:
            return None
        told = [state.error, state.halted, *state.unended.values()]
        if self.status == RunStatus.INTERRUPTED:
            told.append(f"it was stopped{signal_name(state.signal)}")
        message = "; ".join(dict.fromkeys(filter(None, told))) or state_word(self.status)
        return Case(node=WHOLE, verdict="error", state=self.status, message=message, place=place)


def _undone(record: Record) -> Iterator[Undone]:
    """What a rollback has done, or is to do."""
    undoing = record.state.undoing
    for one in undoing.told()["steps"] if undoing is not None else ():
        notes = [one["error"]] if one["state"] == nr.UNDO_FAILED and one["error"] else []
        undo = record.state.nodes[one["node"]].undo
        if undo is not None and undo.how in ("done", "skip"):
            notes.append(f"{'by hand' if undo.how == 'done' else 'left as it is'}, says {undo.by}: {undo.reason}")
        notes += [f"left {left}" for left in one["left"]]
        yield Undone(node=one["node"], state=one["state"], note="; ".join(notes))


# -- where nodes are written


def _places(record: Record, names: Sequence[str], root: str) -> dict[str, Place]:
    """Where these nodes are written. Without lines where the files are not any more what the run is pinned to."""
    from wfctl import flow

    if not names:
        return {}
    first = record.first.file
    folder = os.path.dirname(first)
    by_file: dict[str, list[str]] = {}
    for name in names:
        by_file.setdefault(record.plan.nodes[name].node.file, []).append(name)
    paths = {file: os.path.join(folder, file) if file else first for file in by_file}
    places = {name: Place(shown(paths[file], root)) for file, inside in by_file.items() for name in inside}
    try:
        pin = record.pins[-1]
        subs = history.read_definition(record.folder, pin.definition).files
        top = _source(first)
        found = {name: _source(os.path.join(folder, name)) for name in subs}
        if flow.digest_of(top.digest, {name: sub.digest for name, sub in found.items()}) != pin.digest:
            return places
        for file, inside in by_file.items():
            document = found[file] if file else top
            # The path of a fault is free for what tells them apart.
            wanted = [Problem(record.plan.nodes[n].node.where, "", key=True, path=n) for n in inside]
            for fault in document.place(wanted):
                places[fault.path] = Place(places[fault.path].file, fault.line, fault.column)
    except (WfctlError, KeyError):  # gone, or not to be read: the names of the files have to do
        pass
    return places


def _source(file: str) -> load.Document:
    """A file of which only the places are asked: it need not be understood."""
    return load.read(file, lambda digest: {})


def shown(path: str, root: str) -> str:
    """A path as seen from the root, where it lies below it."""
    inside = os.path.relpath(os.path.realpath(path), os.path.realpath(root))
    return path if inside.split(os.sep)[0] == os.pardir else inside
