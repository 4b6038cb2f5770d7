"""A run on a terminal: the lines of what ended, above a region that is drawn anew as things go on.

Knows no store, and holds up no engine: the region and all writing are the affair of a thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import inf
from time import monotonic

from wfctl import events as ev
from wfctl.renderers.advice import Advice
from wfctl.renderers.plain import Plain, Stamp, Tail, counted, ended_before, no_stamp
from wfctl.renderers.progress import SLOTS, Progress, Undone
from wfctl.renderers.text import Pen, Style, clip, duration, look, number, pad, size, width_of
from wfctl.state import RunState

FEW = 50
"""Up to so many nodes each success has its line; above that only what went wrong."""

OFTEN, SELDOM = 0.1, 0.5
"""Seconds between two drawings at least, and at most."""

ASLEEP = 1.0
"""Seconds without a look at the screen after which this process must have been stopped: it looks twice as often."""

MOST_ROWS = 15
"""Rows of nodes, and of the log of one of them, that are shown in the region at most."""

NARROWEST = 20
"""Columns below which there is no region: what is narrower would wrap."""

MOST_LOG = 5
"""Rows of that log at most."""

Size = Callable[[], tuple[int, int]]
"""Columns and rows of the terminal, as they are now."""

Peek = Callable[[str, int | str, int], Sequence[str]]
"""The last lines, so many at most, that an attempt has written which goes on, or a try of an undo."""

_Row = tuple[str, str, str, Style]
"""Of a node: the state whose mark it gets, its name, and what is said of it, in which style."""


class Region:
    """The last lines of a terminal, written over again and again.

    It changes no mode of the terminal (no hidden cursor, no wrapping switched off), so no death, not
    even `kill -9`, leaves anything to put right. Lines must be shorter than the terminal is wide.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._drawn: list[str] = []
        self._widths: list[int] = []
        self._columns = 0

    def draw(self, above: str, lines: Sequence[str], widths: Sequence[int], columns: int, rows: int) -> None:
        """Write `above` for good, and the lines below it in place of those that were drawn before."""
        if not above and list(lines) == self._drawn:
            return
        if not lines and not self._drawn:  # somebody else may be writing below: nothing of that is cleared
            self._write(above)
            return
        # A terminal that became narrower has folded the lines: they take more rows now.
        folded = sum(max(1, -(-width // columns)) for width in self._widths)
        up = min(folded, rows) - 1
        text = "\r" + (f"\x1b[{up}A" if up > 0 else "")
        # Line by line, not all cleared first: that would flicker. But a terminal that has folded lines remembers which
        # belong together, and would join what is written over them when it becomes wider.
        if above or not lines or columns != self._columns:
            # Some terminals keep what is cleared from their upper left corner on, as if it had been read.
            text += "\x1b[K\n\x1b[J\x1b[A" if up > 0 else "\x1b[K"
        self._write(text + above + "\n".join(f"{line}\x1b[K" for line in lines) + ("\x1b[J" if lines else ""))
        self._drawn, self._widths, self._columns = list(lines), list(widths), columns

    def forget(self) -> None:
        """What was drawn is no longer the last on the terminal: the next drawing begins where the cursor is."""
        self._drawn, self._widths = [], []


class Live(Plain):
    """Writes a run as lines, and what goes on now below them.

    The engine's thread only hands events over. `size`, `clock` (seconds, from anywhere), `ours`, whether the
    terminal is, and `peek` are asked for each drawing.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        tail: Tail,
        *,
        color: bool = False,
        unicode: bool = True,
        stamp: Stamp = no_stamp,
        advice: Advice | None = None,
        size: Size,
        peek: Peek = lambda node, attempt, lines: (),
        ours: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(write, tail, color=color, unicode=unicode, stamp=stamp, advice=advice)
        self._size = size
        self._peek = peek
        self._watched: tuple[str, int | str] | None = None
        self._ours = ours
        self._clock = clock
        self._region = Region(write)
        self._progress: Progress | None = None
        self._turns: deque[tuple[Sequence[ev.Event], int, Progress | None] | str] = deque()
        self._since = (0.0, 0.0)  # a moment of the run, and of the clock
        self._wake, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._drawing = threading.Lock()
        self._away = False
        self._looked, self._woke = clock(), -inf  # when the thread was last awake; and when it woke from a long sleep
        self._error: Exception | None = None
        self._began = False

    def begin(self, state: RunState) -> None:
        """Take which run this is, and begin to draw."""
        super().begin(state)
        self._thread = threading.Thread(target=self._watch, name="view", daemon=True)
        self._thread.start()

    def events(self, events: Sequence[ev.Event], state: RunState) -> None:
        """Take the events of one turn. Raises what went wrong in drawing since, so that the view is dropped."""
        if self._error is not None:
            raise self._error
        if not self._began:
            # The first turn begins or resumes the run: the state after it is where counting starts.
            done = ended_before(events, state)
            if head := self.heading(events, state, done):
                self._write(head)  # there is no region yet that it could stand in the way of
            self._turns.append((events, done, Progress(state)))
            self._began = True
        elif any(isinstance(event, ev.RunRestarted) for event in events):
            self._turns.append((events, ended_before(events, state), Progress(state)))  # much is to be done again
        else:
            self._turns.append((events, -1, None))
        self._since = (events[-1].time, self._clock())
        self._wake.set()

    def note(self, text: str) -> None:
        """Say what is no event, as a line above the region."""
        self._turns.append(f"{text}\n")
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self.draw(last=True)

    def pause(self, on: bool) -> None:
        """Take the region away before the run is stopped, and begin another when it goes on.

        That it goes on may be said twice, and also where it was never stopped: of an answer, or to be cancelled, an
        engine hears by the same signal. Then what is drawn is still the last on the terminal."""
        # A terminal that was stopped (Ctrl-S) holds the thread: then there is nothing that could be taken away.
        locked = self._drawing.acquire(timeout=1.0)
        try:
            if on and locked:
                self._draw_safely(last=True)
            if not on:
                now = self._clock()
                if self._away or now - self._looked > ASLEEP or now - self._woke < ASLEEP:
                    self._region.forget()
                self._looked, self._woke = now, -inf
            self._away = on
        finally:
            if locked:
                self._drawing.release()
        self._wake.set()

    def end(self) -> None:
        """Write what is left to be said and take the region away."""
        self._over.set()
        self._wake.set()
        if self._thread is not None:
            # A terminal that was stopped (Ctrl-S) holds the thread: the run's end does not wait for ever.
            self._thread.join(5.0)
            if not self._thread.is_alive() and self._error is None:
                self._guarded(last=True)

    def _watch(self) -> None:
        import signal

        # Signals are the engine's: it waits for them, this thread must not swallow one.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._over.wait(OFTEN) and self._error is None:
            self._guarded()
            self._wake.wait(SELDOM - OFTEN)
            self._wake.clear()

    def _guarded(self, last: bool = False) -> None:
        with self._drawing:
            now = self._clock()
            slept, self._looked = now - self._looked > ASLEEP, now
            if slept:  # the engine may not have heard yet that it was stopped, and then others have written meanwhile
                self._woke = now
            if not self._away and (last or not slept):
                self._draw_safely(last)

    def _draw_safely(self, last: bool) -> None:
        """Draw; what goes wrong takes the region away and is kept for the engine to hear."""
        try:
            self.draw(last)
        except Exception as error:
            self._error = error
            self._region.draw("", (), (), *self._size())

    def draw(self, last: bool = False) -> None:
        """Write the lines of what has come since the last time, and the region, unless this is the last time."""
        columns, rows = self._size()
        above = "".join(self._told_now())
        lines: list[tuple[str, int]] = []
        # Where somebody is asked, what is typed must stay to be read.
        if self._progress is not None and not (last or self._progress.asking or columns < NARROWEST) and self._ours():
            moment, then = self._since
            lines = self.frame(self._progress, moment + self._clock() - then, columns, rows)
        self._region.draw(above, [line for line, _ in lines], [width for _, width in lines], columns, rows)

    def _told_now(self) -> list[str]:
        texts = []
        for _ in range(len(self._turns)):  # no more than are there now: the engine may be faster
            turn = self._turns.popleft()
            if isinstance(turn, str):
                texts.append(turn)
                continue
            events, done, counted_anew = turn
            if counted_anew is not None:  # with these events already
                self._progress, self._watched = counted_anew, None
            assert self._progress is not None
            brief = self._progress.total > FEW
            if counted_anew is not None:
                texts.append(self.told(events, done, self._progress.plan, brief=brief))
                continue
            texts.append(self.told(events, self._progress.done, self._progress.plan, brief=brief))
            for event in events:
                self._progress.take(event)
        return texts

    # -- the region

    def frame(self, progress: Progress, now: float, columns: int, rows: int) -> list[tuple[str, int]]:
        """The lines of the region with their widths: the bar, the counts, what is in use, and what runs, first the
        node that matters with the last lines of its log."""
        width = columns - 1  # a full line would wrap
        pen = Pen(width, self._pen.color, self._pen.unicode)
        room = max(0, min(rows // 2 - 2, MOST_ROWS))
        undo = progress.undo
        if undo is not None and undo.goes_on and not progress.running:
            lines = [_undo_bar(undo, pen), _undo_counts(progress, undo, now, pen)]
        else:
            lines = [_bar(progress, now, pen), _counts(progress, now, pen)]
            if room >= 3:
                lines.append(_resources(progress, pen))
        count = len(progress.running) + len(progress.retrying)
        count += len(undo.running) + len(undo.retrying) if undo is not None else 0
        log = self._log_now(progress, now, max(room // 3, min(MOST_LOG, room - count)))
        first = self._watched[0] if log and self._watched is not None else ""
        room = max(0, room - len(log))
        shown = list(islice(_rows(progress, now, first), room if count <= room else max(0, room - 1)))
        return lines + _nodes(shown, count - len(shown) if room else 0, pen, log)

    def _log_now(self, progress: Progress, now: float, most: int) -> Sequence[str]:
        """The last lines of the node that matters. That is the one for which the end of the run waits the longest, of
        those that have written anything; and it stays that until it ends, for a log that changes cannot be read."""
        if most < 1:
            return ()
        ripe = progress.matters(now)
        if self._watched is not None and progress.runs(*self._watched):
            ripe = [self._watched, *ripe]
        for one in ripe:
            if lines := self._peek(*one, most):
                self._watched = one
                return lines[-most:]
        self._watched = None
        return ()


def _bar(progress: Progress, now: float, pen: Pen) -> tuple[str, int]:
    """How much is done, and how long the rest may take."""
    text = f" {number(progress.done)}/{number(progress.total)}"
    left = progress.left(now)
    if left is not None:
        short, long = f"  {_rough(left)} left", f"  about {_rough(left)} left"
        text += long if pen.width >= 60 else short
    bad = progress.ended.get("failed", 0) + progress.ended.get("timed_out", 0)
    return _drawn_bar(progress.done, progress.total, "red" if bad else "green", text, pen)


def _drawn_bar(done: int, total: int, style: Style, text: str, pen: Pen) -> tuple[str, int]:
    """A bar with a text behind it, or where it is too narrow for both that alone."""
    cells = min(40, pen.width - width_of(text))
    if cells < 5:
        text = clip(text.strip(), pen.width, unicode=pen.unicode)
        return text, width_of(text)
    full, empty = ("━", "─") if pen.unicode else ("#", "-")
    filled = cells * done // total if total else cells
    bar = pen.paint(full * filled, style) + pen.paint(empty * (cells - filled), "dim")
    return bar + text, cells + width_of(text)


def _counts(progress: Progress, now: float, pen: Pen) -> tuple[str, int]:
    """How long it has gone on, and how many nodes are in which state, as far as there is room."""
    counts = {**progress.ended, "running": len(progress.running), "retrying": len(progress.retrying)}
    waiting = progress.total - progress.done - len(progress.running) - len(progress.retrying)
    order = ("failed", "timed_out", "running", "retrying")
    parts: list[tuple[str, Style]] = [(_clock(now - progress.began), "")]
    parts += [("stopping", "yellow")] if progress.stopping else []
    parts += [(text, look(state).style) for state in order for text in counted(counts, [state])]
    parts += [(f"{number(waiting)} to go", "")] if waiting > 0 else []
    order = ("succeeded", "cached", "skipped", "cancelled")
    parts += [(text, look(state).style) for state in order for text in counted(counts, [state])]
    return _joined(parts, pen)


def _resources(progress: Progress, pen: Pen) -> tuple[str, int]:
    """What is in use of the slots, and of each budget that nodes ask for, as far as there is room."""
    parts: list[tuple[str, Style]] = []
    for name, used, whole in progress.in_use:
        word = "slots" if name == SLOTS else pen.safe(name)
        if name == "cpu":
            figures = f"{number(used / 1000)}/{number(whole / 1000)}"
        elif name != SLOTS and whole >= 1024 * 1024:
            figures = f"{size(used)} of {size(whole)}"
        else:
            figures = f"{number(used)}/{number(whole)}"
        parts.append((f"{word} {figures}", "cyan" if used >= whole else ""))
    return _joined(parts, pen)


def _undo_bar(undo: Undone, pen: Pen) -> tuple[str, int]:
    """How much of a rollback is done."""
    text = f" {number(undo.done)}/{number(len(undo.nodes))} undone"
    return _drawn_bar(undo.done, len(undo.nodes), "red" if undo.failed else "magenta", text, pen)


def _undo_counts(progress: Progress, undo: Undone, now: float, pen: Pen) -> tuple[str, int]:
    left = len(undo.nodes) - undo.done - undo.failed - len(undo.running) - len(undo.retrying)
    parts: list[tuple[str, Style]] = [(_clock(now - progress.began), ""), ("rolling back", "magenta")]
    parts += [("stopping", "yellow")] if progress.stopping else []
    parts += [(f"{number(undo.failed)} not undone", "bold red")] if undo.failed else []
    parts += [(f"{number(len(undo.running))} being undone", "magenta")] if undo.running else []
    parts += [(f"{number(len(undo.retrying))} retrying", "yellow")] if undo.retrying else []
    parts += [(f"{number(left)} to go", "")] if left > 0 else []
    return _joined(parts, pen)


def _joined(parts: Sequence[tuple[str, Style]], pen: Pen) -> tuple[str, int]:
    """The parts in one line, as many as there is room for."""
    line, used = "", 0
    for text, style in parts:
        dot = pen.dot if line else ""
        if used + width_of(dot + text) > pen.width:
            break
        line += pen.paint(dot, "dim") + pen.paint(text, style)
        used += width_of(dot + text)
    return line, used


def _rows(progress: Progress, now: float, first: str) -> Iterator[_Row]:
    """The `first` of what runs, then the others, the longest first, what waits for its next attempt, what is being
    undone."""
    undo = progress.undo
    if first:
        yield _undoing(progress, first, now) if first not in progress.running else _running(progress, first, now)
    for node in progress.running:
        if node != first:
            yield _running(progress, node, now)
    for node, due in progress.retrying.items():
        yield "retrying", node, f"again in {_clock(due - now)}", ""
    for node in undo.running if undo is not None else ():
        if node != first:
            yield _undoing(progress, node, now)
    for node, due in undo.retrying.items() if undo is not None else ():
        yield "retrying", node, f"its undo again in {_clock(due - now)}", ""


def _running(progress: Progress, node: str, now: float) -> _Row:
    started, estimate = progress.running[node], progress.estimate(node)
    of = f" of {_clock(estimate) if estimate >= 1 else duration(estimate)}" if estimate else ""
    late = estimate is not None and now - started > 1.5 * estimate + 1
    return "running", node, _clock(now - started) + of, "yellow" if late else ""


def _undoing(progress: Progress, node: str, now: float) -> _Row:
    assert progress.undo is not None
    step, _, since = progress.undo.running[node]
    steps = len(progress.plan.nodes[node].node.compensate or ())
    which = f", step {step} of {steps}" if 1 < steps >= step else ""
    return "undoing", node, f"being undone {_clock(now - since)}{which}", ""


def _nodes(rows: Sequence[_Row], more: int, pen: Pen, log: Sequence[str]) -> list[tuple[str, int]]:
    """The nodes, the first one with the end of its log, and how many more there are."""
    names = [pen.safe(node) for _, node, _, _ in rows]
    wide = min(max(map(width_of, names), default=0), max(8, pen.width - 20))
    bar = pen.paint("│" if pen.unicode else "|", "dim")
    lines = []
    for (state, _, text, style), name in zip(rows, names, strict=True):
        name = pad(clip(name, wide, unicode=pen.unicode), wide)
        text = clip(text, max(0, pen.width - wide - 6), unicode=pen.unicode)
        line = f"  {pen.paint(pen.mark(state), look(state).style)} {name}  {pen.paint(text, style)}"
        lines.append((line, 6 + wide + width_of(text)))
        if len(lines) == 1:
            for words in log:
                words = pen.clip(words.expandtabs(4), max(0, pen.width - 6))
                lines.append((f"    {bar} {pen.paint(words, 'dim')}", 6 + width_of(words)))
    if more:
        text = clip(f"  + {number(more)} more", pen.width, unicode=pen.unicode)
        lines.append((pen.paint(text, "dim"), len(text)))
    return lines


def _clock(seconds: float) -> str:
    """A time that goes on before the reader's eyes: whole seconds, for tenths would only flicker."""
    return f"{max(0, int(seconds))}s" if seconds < 60 else duration(int(seconds))


def _rough(seconds: float) -> str:
    """A guess, no finer than it is good for."""
    step = 1 if seconds < 20 else 5 if seconds < 120 else 15 if seconds < 600 else 60
    return _clock(max(step, round(seconds / step) * step))
