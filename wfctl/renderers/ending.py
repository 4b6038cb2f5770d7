"""The last words about a run: how it went, what went wrong, what was undone, and what to type next.

Knows no store: whether a node left a log is asked of who has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from wfctl.noderun import BAD, CANCELLED, FINAL, UNDONE, NodeState
from wfctl.renderers.advice import Advice
from wfctl.renderers.plain import counted, signal_name, some
from wfctl.renderers.text import Pen, duration, look, number, plural, state_word
from wfctl.state import RunState, RunStatus
from wfctl.undoing import Undoing

FAILURES = 5
"""Failed nodes that are named."""

Wrote = Callable[[str, int | str], bool]
"""Whether a node wrote anything in its attempts, of which this many were begun; or in the try of its undo that is
named."""

_ORDER = (
    "failed", "timed_out", "undo_failed", "undone", "undoing", "succeeded", "cached", "skipped", "cancelled",
    "tolerated",
)  # fmt: skip


def ending(
    state: RunState,
    wrote: Wrote = lambda node, which: True,
    *,
    color: bool = False,
    unicode: bool = True,
    advice: Advice | None = None,
) -> str:
    """The last words about a run that ended.

    `wrote` tells whether a node left a log that is worth a look.
    """
    lines = _LastWords(state, wrote, Pen(80, color, unicode), advice or Advice()).lines()
    return "".join(f"{line}\n" for line in lines)


class _LastWords:
    def __init__(self, state: RunState, wrote: Wrote, pen: Pen, advice: Advice) -> None:
        assert state.finished is not None
        self._state = state
        self._wrote = wrote
        self._pen = pen
        self._advice = advice
        self._took = duration(state.finished - state.began - state.paused)
        self._nodes = plural(len(state.nodes), "node")

    def lines(self) -> Iterator[str]:
        """All of them; the first says how it went."""
        status = self._state.status
        if status is RunStatus.WAITING_INPUT:
            yield from self._waits()
        elif status is RunStatus.INTERRUPTED:
            yield from self._interrupted()
        else:
            yield from self._over(status is RunStatus.SUCCEEDED)

    def _sign(self, word: str) -> str:
        state = str(self._state.status)
        return self._pen.paint(f"{self._pen.mark(state)} {word}", look(state).style)

    def _over(self, succeeded: bool) -> Iterator[str]:
        tolerated = self._tolerated()
        ended = {str(word): count for word, count in self._state.ended.items()}
        for name in tolerated:
            ended[self._state.nodes[name].state] -= 1
        ended["tolerated"] = len(tolerated)
        sign = self._sign(state_word(str(self._state.status)))
        if succeeded:
            rest = counted(ended, ("cached", "skipped", "cancelled"))
            yield ", ".join([f"{sign} in {self._took}: {self._nodes}", *rest])
        else:
            yield f"{sign} after {self._took}: {', '.join(counted(ended, _ORDER))}"
        if tolerated:
            yield f"  tolerated:   {some(tolerated, self._pen)}"
        if not succeeded:
            yield from self._way_out()

    def _tolerated(self) -> list[str]:
        """What failed, and the run is none the worse for it."""
        return [n for n, run in self._state.nodes.items() if run.state in BAD and self._state.spares(n)]

    def _waits(self) -> Iterator[str]:
        """What has gone wrong so far, what is asked, and how to answer."""
        state, safe = self._state, self._pen.safe
        asked = {name: state.nodes[name].asked[2] for name in state.asking}
        yield f"{self._sign('waits')} after {self._took}: {plural(len(asked), 'question')} open"
        yield from self._failures(list(state.failed_nodes))
        for name in asked:
            yield f"  {safe(name)}  {safe(state.nodes[name].asked[0])}"
        for text in self._advice.answers(state.id, asked):
            yield f"  answer:      {safe(text)}"
        yield f"  then:        {safe(self._advice.resume(state.id))}"

    def _interrupted(self) -> Iterator[str]:
        """How much is left, and what had gone wrong before."""
        state = self._state
        left = sum(1 for run in state.nodes.values() if run.state not in FINAL)
        what = f"{number(left)} of {self._nodes} left"
        if state.rolls_back and state.undoing is not None:
            undone = sum(1 for name in state.undoing.wanted if state.nodes[name].state is UNDONE)
            what = f"{number(undone)} of {plural(len(state.undoing.wanted), 'node')} undone"
        yield f"{self._sign(state_word(str(state.status)))}{signal_name(state.signal)} after {self._took}: {what}"
        if state.halted:
            yield f"  {self._pen.safe(state.halted)}"
        yield from self._failures(list(state.failed_nodes))
        yield f"  go on with:  {self._pen.safe(self._advice.resume(state.id))}"

    def _way_out(self) -> Iterator[str]:
        """What failed and why, where the whole log is, and the command that goes on once that is mended."""
        state, failed = self._state, self._state.failed_for_good
        for error in dict.fromkeys([*([state.error] if state.error else []), *state.unended.values()]):
            yield f"  {self._pen.safe(error)}"
        ran_out = state.timed_out and not failed
        if ran_out:
            yield from self._cut_short()
        yield from self._failures([*failed, *self._failed_at_the_end(failed)])
        if state.only_finally and state.failed_nodes:
            names = some(list(state.failed_nodes), self._pen)
            were = "was" if len(state.failed_nodes) == 1 else "were"
            yield f"  this time only `finally` was left to do; {names} {were} not tried again"
        if state.undoing is not None:
            yield from self._undone(state.undoing)
        else:
            mended = "go on with:" if ran_out else "once mended:"
            yield f"  {mended:<12} {self._pen.safe(self._advice.resume(state.id, state.wants_update))}"

    def _failed_at_the_end(self, failed: Sequence[str]) -> Iterator[str]:
        """What failed of `finally`: by that no run fails that has failed before."""
        for name, planned in self._state.plan.nodes.items():
            run = self._state.nodes[name]
            if planned.node.section == "finally" and run.state in BAD and run.reason != "inner" and name not in failed:
                if planned.parent is None and not self._state.spares(name):
                    yield name

    def _cut_short(self) -> Iterator[str]:
        """What the run's own timeout has stopped, and where the log of the first is that has one."""
        stopped = [
            name
            for name, run in self._state.nodes.items()
            if run.state is CANCELLED and run.reason == "run_timeout" and run.started is not None
            if not self._state.plan.nodes[name].holds
        ]
        if stopped:
            yield f"  stopped:     {some(stopped, self._pen)}"
        yield from self._whole_log(stopped)

    def _failures(self, failed: Sequence[str]) -> Iterator[str]:
        """What failed and why, and where the whole log is."""
        for name in failed[:FAILURES]:
            run = self._state.nodes[name]
            yield self._bad(run.state, name, self._pen.clip(run.error, 200) or state_word(str(run.state)))
        if len(failed) > FAILURES:
            status = self._pen.safe(self._advice.command("status", self._state.id))
            yield f"  and {number(len(failed) - FAILURES)} more; all of them: {status}"
        yield from self._whole_log(one for name in failed[:FAILURES] for one in self._failed_inside(name))

    def _bad(self, state: NodeState | str, name: str, why: str) -> str:
        mark = self._pen.paint(self._pen.mark(str(state)), look(str(state)).style)
        return f"  {mark} {self._pen.safe(name)}  {why}"

    def _failed_inside(self, name: str) -> Iterator[str]:
        """A node that failed, and what failed inside of it."""
        nodes = self._state.nodes
        return (one for one in self._state.plan.with_inside(name) if nodes[one].state in BAD)

    def _whole_log(self, names: Iterable[str]) -> Iterator[str]:
        """What shows the log of the first of these nodes that has written anything."""
        nodes = self._state.nodes
        for name in islice((name for name in names if self._wrote(name, nodes[name].attempt)), 1):
            yield f"  whole log:   {self._pen.safe(self._advice.command('logs', self._state.id, name))}"

    def _wrote_undoing(self, name: str) -> bool:
        undo = self._state.nodes[name].undo
        return undo is not None and self._wrote(name, f"{undo.step}.{undo.attempt}")

    def _undone(self, undoing: Undoing) -> Iterator[str]:
        """What was undone and what was not, and what to type next."""
        state, safe, advice = self._state, self._pen.safe, self._advice
        ended = [(n, run.undo) for n in undoing.wanted if (run := state.nodes[n]).state is UNDONE and run.undo]
        if undone := [name for name, undo in ended if undo.how != "skip"]:
            yield f"  undone:      {some(undone, self._pen)}"
        failed = undoing.failed
        for name in failed[:FAILURES]:
            undo = state.nodes[name].undo
            why = self._pen.clip(undo.error if undo is not None else "", 200)
            yield self._bad("undo_failed", name, f"was not undone: {why}")
        for name in islice(filter(self._wrote_undoing, failed), 1):
            yield f"  its log:     {safe(advice.command('logs', state.id, name))}"
        if blocked := undoing.blocked:
            yield f"  waits for that: {some(blocked, self._pen)}"
        if left := [name for name, undo in ended if undo.how == "skip"]:
            yield f"  stays:       {some(left, self._pen)}, as somebody has said"
        if kept := undoing.course.analysis.get("kept_by_pivot"):
            yield f"  stays:       {some(kept, self._pen)}, for the point of no return was passed"
        if failed:
            yield f"  once mended: {safe(advice.retry_undo(state.id, failed[0]))}"
            yield f"  or by hand:  {safe(advice.undone_by_hand(state.id, failed[0]))}"
        else:
            mended = "once mended:" if state.failed_for_good else "do it again:"  # it was undone as a person wanted it
            yield f"  {mended} {safe(advice.resume(state.id, state.wants_update))}"
