"""A run as lines: one for each node that ended.

Knows no store: the end of a log is asked of who has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from wfctl import events as ev
from wfctl.noderun import NodeState
from wfctl.plan import Plan
from wfctl.renderers.advice import Advice
from wfctl.renderers.text import Pen, duration, look, number, plural, state_word
from wfctl.state import RunState

TAIL = 10
"""Lines of a failed node's log that are shown."""

TAILS = 20
"""Failed nodes of which the log is shown; from then on a line each, or a broken machine would flood the screen."""

NAMES = 3
"""Names in a line that tells of many nodes at once."""

_CTRL_C = 2
"""SIGINT. The module `signal` is not worth its import for it."""

NO_WORK = ("expression", "not_started")
"""Reasons of failures before there was any work: no time was spent and no log was written."""

Tail = Callable[[str, int | str], list[str]]
"""The last lines of the log of a node's attempt, or of a try of its undo."""

Stamp = Callable[[float], str]
"""What stands before a line that tells of a moment."""


def no_stamp(moment: float) -> str:
    """For eyes that were there."""
    return ""


LeftOut = ev.NodeSkipped | ev.NodeCancelled
_URGENT = (ev.NodeFailed, ev.NodeRetrying, ev.NodeAsked)
_OF_THE_RUN = (ev.RunStopping, ev.RunHalted, ev.RunPaused, ev.RunTimedOut, ev.RollbackBegun, ev.RunRestarted)
_URGENT_UNDOS = (ev.UndoFailed, ev.UndoRetrying)

_ENDED: Mapping[type[ev.Event], NodeState] = {
    ev.NodeSucceeded: NodeState.SUCCEEDED,
    ev.NodeServed: NodeState.CACHED,
    ev.NodeFailed: NodeState.FAILED,
    ev.NodeSkipped: NodeState.SKIPPED,
    ev.NodeCancelled: NodeState.CANCELLED,
}
_NEEDS = {
    "all_succeeded": "something it needs did not succeed",
    "any_succeeded": "nothing it needs succeeded",
    "any_failed": "nothing it needs failed",
    "none_failed": "something it needs failed",
}
_REASONS = {
    "when": "its `when` was false",
    "needs": "because of what it needs",
    "run_failing": "the run is failing",
    "run_timeout": "the run's time was up",
    "superseded": "it was no longer needed",
    "collect": "its for_each could no longer succeed",
    "group_failing": "its group is failing",
    "inner": "all in it was skipped",
}


def because(reason: str, trigger: str = "") -> str:
    """The fixed word of a reason as people say it; of `needs` more can be said with the node's trigger."""
    if reason == "needs" and trigger in _NEEDS:
        return _NEEDS[trigger]
    return _REASONS.get(reason, reason)


def ended_as(event: ev.Event) -> NodeState | None:
    """The final state that an event brings its node to; None for all other events."""
    if isinstance(event, ev.NodeFailed) and event.timed_out:
        return NodeState.TIMED_OUT
    return _ENDED.get(type(event))


def ended_before(events: Iterable[ev.Event], state: RunState) -> int:
    """How many nodes had ended before these events, the last that the state took in."""
    return sum(state.ended.values()) - sum(1 for event in events if type(event) in _ENDED)


class Plain:
    """Writes a run as lines, as it goes."""

    typing = False
    """Whether a question can be answered where it is read."""

    def __init__(
        self,
        write: Callable[[str], object],
        tail: Tail,
        *,
        color: bool = False,
        unicode: bool = True,
        stamp: Stamp = no_stamp,
        advice: Advice | None = None,
    ) -> None:
        self._write = write
        self._tail = tail
        self._stamp = stamp
        self._advice = advice or Advice()
        self._attempts: dict[str, int] = {}  # the last of each node
        self._undos: dict[str, str] = {}  # what names the log of the last try of the undo of a node
        self._pen = Pen(80, color, unicode)
        self._tails = 0
        self._run = ""
        self._head = ""

    def begin(self, state: RunState) -> None:
        """Take which run this is. It is said with the first turn, for only that tells where a resumed run begins."""
        self._run = state.id
        self._head = f"run {state.id}: {self._pen.safe(state.plan.name)}, {plural(len(state.nodes), 'node')}"

    def events(self, events: Sequence[ev.Event], state: RunState) -> None:
        """Take the events of one turn."""
        done = ended_before(events, state)
        text = self.heading(events, state, done) + self.told(events, done, state.plan)
        if text:
            self._write(text)

    def heading(self, events: Sequence[ev.Event], state: RunState, done: int) -> str:
        """The line that says which run this is, and how many nodes had ended before, with the questions that are open
        since then; empty once it was said."""
        head, self._head = self._head, ""
        if not head:
            return ""
        first = any(isinstance(event, ev.RunStarted) for event in events)
        before = f", {number(done)} done before" if done and not first else ""
        anew = {event.node for event in events if isinstance(event, ev.NodeAsked)}
        asked = ""
        for name in [name for name in state.asking if name not in anew]:
            message, until, choices = state.nodes[name].asked
            asked += self._stamp(state.time) + self._question(name, message, until, choices, state.time)
        return f"{self._stamp(events[0].time)}{head}{before}\n{asked}"

    def note(self, text: str) -> None:
        """Say what is no event, as a line."""
        self._write(f"{text}\n")

    def pause(self, on: bool) -> None:
        """The run is about to be stopped, by Ctrl-Z, or goes on: lines need nothing for that."""

    def end(self) -> None:
        """Nothing more will come."""

    def told(self, events: Iterable[ev.Event], done: int, plan: Plan, *, brief: bool = False) -> str:
        """The lines of a turn's events, before which `done` nodes had ended; `brief` is only what went wrong."""
        lines: list[str] = []
        left_out: dict[tuple[NodeState, str], list[LeftOut]] = {}
        total = len(plan.nodes)
        digits = len(str(total))
        for event in events:
            state = ended_as(event)
            done += state is not None
            if isinstance(event, LeftOut):
                assert state is not None
                why = because(event.reason, plan.nodes[event.node].node.trigger)
                left_out.setdefault((state, why), []).append(event)
            elif isinstance(event, _OF_THE_RUN):
                lines.append(self._stamp(event.time) + self._told_run(event, plan))
            elif (not brief or isinstance(event, (*_URGENT, *_URGENT_UNDOS))) and (text := self._told_node(event)):
                lines.append(self.dressed(event, f"{self._stamp(event.time)}[{done:>{digits}}/{total}] {text}"))
            elif isinstance(event, ev.NodeStarted):
                self._attempts[event.node] = event.attempt
            elif isinstance(event, ev.UndoStarted):
                self._undos[event.node] = f"{event.step}.{event.attempt}"
        if left_out and not brief:
            head = f"{self._stamp(event.time)}[{done:>{digits}}/{total}] "
            lines += [head + text for text in self._told_left_out(left_out)]
        return "".join(lines)

    def dressed(self, event: ev.Event, text: str) -> str:
        """The lines of one node's event, for views that have more to say of it."""
        return text

    def _told_run(self, event: ev.Event, plan: Plan) -> str:
        if isinstance(event, ev.RollbackBegun):
            count = plural(len({*event.nodes, *event.remove}), "node")
            text = f"rolling back ({event.strategy}), {count} to undo: {self._pen.safe(event.why)}"
        elif isinstance(event, ev.RunRestarted):
            text = f"all after the checkpoint {self._pen.safe(event.checkpoint)} is undone: the rest runs again"
        elif isinstance(event, ev.RunStopping):
            text = "killing what runs" if event.at_once else "stopping what runs"
            if event.signal == _CTRL_C and not event.at_once:  # who sent another signal may have no such keys
                text += "; Ctrl-C once more kills it"
        elif isinstance(event, ev.RunHalted):
            text = f"nothing new starts: {self._pen.safe(event.error)}"
        elif isinstance(event, ev.RunPaused):
            text = f"goes on after a pause of {duration(event.seconds)}"
        else:
            text = f"the run's timeout of {duration(plan.timeout or 0)} has passed: stopping what runs"
        return self._pen.paint(text, "yellow") + "\n"

    def _told_node(self, event: ev.Event) -> str:
        """The line of one node's event, with the end of its log where that matters; empty where nobody waits for it."""
        match event:
            case ev.NodeSucceeded():
                return self._line("succeeded", event.node, duration(event.seconds))
            case ev.NodeAsked():
                return self._question(event.node, event.message, event.until, event.choices, event.time)
            case ev.NodeServed():
                what = "kept result of" if event.key else "taken from"
                return self._line("cached", event.node, f"{what} run {event.of}")
            case ev.NodeUndone():
                return self._line("undone", event.node, self._undone(event))
            case ev.UndoFailed():
                text = self._line("undo_failed", event.node, f"was not undone: {self._pen.safe(event.error)}")
                return text + self._undo_log(event.node)
            case ev.UndoRetrying():
                again = duration(max(0.0, event.retry_at - event.time))
                what = f"its undo failed: {self._pen.safe(event.error)}; again in {again}"
                return self._line("retrying", event.node, what)
            case ev.NodeInterrupted(reason="low_disk"):
                return self._line("interrupted", event.node, "found no room to start")
            case ev.NodeInterrupted():
                return self._line("interrupted", event.node, f"stopped after {duration(event.seconds)}")
            case ev.NodeRetrying():
                again = f"; again in {duration(max(0.0, event.retry_at - event.time))}"
                return self._line("retrying", event.node, self._failure(event) + again)
            case ev.NodeFailed():
                state = "timed_out" if event.timed_out else "failed"
                return self._line(state, event.node, self._failure(event)) + self._log(event)
        return ""

    def _question(self, node: str, message: str, until: float | None, choices: Sequence[str], now: float) -> str:
        """What a node asks, and how to answer."""
        pen = self._pen
        (how,) = self._advice.answers(self._run, {node: choices})
        if self.typing:
            how = f"type {' or '.join(choices)} here, or elsewhere: {how}"
        limit = f" (within {duration(max(0.0, until - now))})" if until is not None else ""
        text = self._line("waiting_input", node, pen.safe(message) + limit)
        return f"{text}    answer:  {pen.safe(how)}\n"

    def _told_left_out(self, groups: Mapping[tuple[NodeState, str], Sequence[LeftOut]]) -> list[str]:
        """What does not run, or not any more: a line each, or one for all that share a reason where they are many."""
        lines = []
        for (state, why), group in groups.items():
            if len(group) > NAMES:
                names = some([event.node for event in group], self._pen)
                lines.append(self._line(state, plural(len(group), "node"), f"{state}, {why}: {names}"))
                continue
            for event in group:
                seconds = event.seconds if isinstance(event, ev.NodeCancelled) else 0.0
                after = f" after {duration(seconds)}" if seconds else ""
                lines.append(self._line(state, event.node, f"{state}{after}, {why}") + self._log_of_late(event))
        return lines

    def _line(self, state: str, node: str, text: str) -> str:
        return f"{self._pen.paint(self._pen.mark(state), look(state).style)} {self._pen.safe(node)}  {text}\n"

    def _undone(self, event: ev.NodeUndone) -> str:
        if event.how != "steps":
            word = "undone by hand" if event.how == "done" else "left as it is"
            return f"{word}, says {self._pen.safe(event.by)}: {self._pen.safe(event.reason)}"
        files = f", {plural(len(event.removed), 'file')} removed" if event.removed else ""
        return f"undone{files}" + "".join(f"; left {self._pen.safe(one)}" for one in event.left)

    def _failure(self, event: ev.NodeFailed | ev.NodeRetrying) -> str:
        """How an attempt failed: `failed after 2.1s: exit code 3`."""
        if event.reason == "timed_out" and event.error:
            return self._pen.safe(event.error)
        after = f" after {duration(event.seconds)}" if event.reason not in NO_WORK else ""
        return f"failed{after}" + (f": {self._pen.safe(event.error)}" if event.error else "")

    def _log_of_late(self, event: LeftOut) -> str:
        """The last lines of the log of a node for which the time of the run was too short."""
        attempt = self._attempts.get(event.node)
        if event.reason != "run_timeout" or attempt is None or self._tails >= TAILS:
            return ""
        return self._set_off(self._tail(event.node, attempt))

    def _log(self, event: ev.NodeFailed) -> str:
        """The last lines of a failed node's log, set off by a bar."""
        if event.reason in NO_WORK or self._tails >= TAILS:
            return ""
        return self._set_off(self._tail(event.node, event.attempt))

    def _undo_log(self, node: str) -> str:
        """The last lines of what the last try of an undo has written, and of what was to prove it."""
        which = self._undos.get(node)
        if which is None or self._tails >= TAILS:
            return ""
        return self._set_off([*self._tail(node, f"undo.{which}"), *self._tail(node, f"verify.{which}")])

    def _set_off(self, lines: Sequence[str]) -> str:
        self._tails += 1
        bar = self._pen.paint("│" if self._pen.unicode else "|", "red")
        return "".join(f"    {bar} {self._pen.safe(line)}\n" for line in lines[-TAIL:])


def some(nodes: Sequence[str], pen: Pen) -> str:
    """The first names of many: `a, b, c and 9 more`."""
    rest = f" and {number(len(nodes) - NAMES)} more" if len(nodes) > NAMES else ""
    return ", ".join(map(pen.safe, nodes[:NAMES])) + rest


def counted(counts: Mapping[str, int], states: Iterable[str]) -> list[str]:
    """How many nodes are in which state, in the order of `states`, without those that have none: `3 succeeded`."""
    return [f"{number(counts[state])} {state_word(state)}" for state in states if counts.get(state)]


def signal_name(number: int | None) -> str:
    """What stopped a run, where the person at the keyboard may not know it."""
    import signal

    return f" by {signal.Signals(number).name}" if number and number != signal.SIGINT else ""
