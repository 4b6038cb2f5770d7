"""A run on a terminal: the lines of what ended, above a region that is drawn anew as things go on.

Knows no store, and holds up no engine: the region and all writing are the affair of a thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from wfctl import events as ev
from wfctl.renderers.plain import Plain, Tail, counted, ended_before
from wfctl.renderers.progress import Progress
from wfctl.renderers.text import Pen, Style, clip, duration, look, number, pad, width_of
from wfctl.state import RunState

FEW = 50
"""Up to so many nodes each success has its line; above that only what went wrong."""

OFTEN, SELDOM = 0.1, 0.5
"""Seconds between two drawings at least, and at most."""

MOST_ROWS = 15
"""Nodes that are shown in the region at most."""

Size = Callable[[], tuple[int, int]]
"""Columns and rows of the terminal, as they are now."""


class Region:
    """The last lines of a terminal, written over again and again.

    It changes no mode of the terminal (no hidden cursor, no wrapping switched off), so no death, not
    even `kill -9`, leaves anything to put right. Lines must be shorter than the terminal is wide.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._drawn: list[str] = []
        self._widths: list[int] = []

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
        text += f"\x1b[J{above}" if above else ""
        # Line by line, not all cleared first: that would flicker.
        self._write(text + "\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")
        self._drawn, self._widths = list(lines), list(widths)

    def forget(self) -> None:
        """What was drawn is no longer the last on the terminal: the next drawing begins where the cursor is."""
        self._drawn, self._widths = [], []


class Live(Plain):
    """Writes a run as lines, and what goes on now below them.

    The engine's thread only hands events over. `size`, `clock` (seconds, from anywhere) and `ours`, whether the
    terminal is, are asked for each drawing.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        tail: Tail,
        *,
        color: bool = False,
        unicode: bool = True,
        size: Size,
        ours: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(write, tail, color=color, unicode=unicode)
        self._size = size
        self._ours = ours
        self._clock = clock
        self._region = Region(write)
        self._progress: Progress | None = None
        self._turns: deque[tuple[Sequence[ev.Event], int] | str] = deque()
        self._since = (0.0, 0.0)  # a moment of the run, and of the clock
        self._wake, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._drawing = threading.Lock()
        self._away = False
        self._error: Exception | None = None

    def begin(self, state: RunState) -> None:
        """Take which run this is, and begin to draw."""
        super().begin(state)
        self._thread = threading.Thread(target=self._watch, name="view", daemon=True)
        self._thread.start()

    def events(self, events: Sequence[ev.Event], state: RunState) -> None:
        """Take the events of one turn. Raises what went wrong in drawing since, so that the view is dropped."""
        if self._error is not None:
            raise self._error
        if self._progress is None:
            # The first turn begins or resumes the run: the state after it is where counting starts.
            done = ended_before(events, state)
            if head := self.heading(events, state, done):
                self._write(head)  # there is no region yet that it could stand in the way of
            self._turns.append((events, done))
            self._progress = Progress(state)
        else:
            self._turns.append((events, -1))
        self._since = (events[-1].time, self._clock())
        self._wake.set()

    def note(self, text: str) -> None:
        """Say what is no event, as a line above the region."""
        self._turns.append(f"{text}\n")
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self.draw(last=True)

    def pause(self, on: bool) -> None:
        """Take the region away before the run is stopped, and begin another when it goes on."""
        # A terminal that was stopped (Ctrl-S) holds the thread: then there is nothing that could be taken away.
        locked = self._drawing.acquire(timeout=1.0)
        try:
            if on and locked:
                self._draw_safely(last=True)
            self._away = on
            if not on:
                self._region.forget()
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
            if not self._away:
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
        if self._progress is not None and not last and not self._progress.asking and self._ours():
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
            assert self._progress is not None
            events, done = turn
            brief = self._progress.total > FEW
            if done >= 0:  # the first turn: counted already
                texts.append(self.told(events, done, self._progress.plan, brief=brief))
                continue
            texts.append(self.told(events, self._progress.done, self._progress.plan, brief=brief))
            for event in events:
                self._progress.take(event)
        return texts

    # -- the region

    def frame(self, progress: Progress, now: float, columns: int, rows: int) -> list[tuple[str, int]]:
        """The lines of the region with their widths: the bar, the counts, and what runs."""
        width = columns - 1  # a full line would wrap
        pen = Pen(width, self._pen.color, self._pen.unicode)
        room = max(0, min(rows // 2 - 2, MOST_ROWS))
        return [_bar(progress, now, pen), _counts(progress, now, pen), *_nodes(progress, now, pen, room)]


def _bar(progress: Progress, now: float, pen: Pen) -> tuple[str, int]:
    """How much is done, and how long the rest may take."""
    text = f" {number(progress.done)}/{number(progress.total)}"
    left = progress.left(now)
    if left is not None:
        short, long = f"  {_rough(left)} left", f"  about {_rough(left)} left"
        text += long if pen.width >= 60 else short
    cells = min(40, pen.width - width_of(text))
    if cells < 5:
        text = clip(text.strip(), pen.width, unicode=pen.unicode)
        return text, width_of(text)
    full, empty = ("━", "─") if pen.unicode else ("#", "-")
    done = cells * progress.done // progress.total if progress.total else cells
    bad = progress.ended.get("failed", 0) + progress.ended.get("timed_out", 0)
    bar = pen.paint(full * done, "red" if bad else "green") + pen.paint(empty * (cells - done), "dim")
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
    line, used = "", 0
    for text, style in parts:
        dot = pen.dot if line else ""
        if used + width_of(dot + text) > pen.width:
            break
        line += pen.paint(dot, "dim") + pen.paint(text, style)
        used += width_of(dot + text)
    return line, used


def _nodes(progress: Progress, now: float, pen: Pen, room: int) -> list[tuple[str, int]]:
    """What runs, the longest first, then what waits for its next attempt; in at most so many lines."""
    rows: list[tuple[str, str, str, Style]] = []
    for node, started in progress.running.items():
        if len(rows) > room:
            break
        estimate = progress.estimate(node)
        of = f" of {_clock(estimate) if estimate >= 1 else duration(estimate)}" if estimate else ""
        late = estimate is not None and now - started > 1.5 * estimate + 1
        rows.append(("running", node, _clock(now - started) + of, "yellow" if late else ""))
    for node, due in progress.retrying.items():
        if len(rows) > room:
            break
        rows.append(("retrying", node, f"again in {_clock(due - now)}", ""))
    count = len(progress.running) + len(progress.retrying)
    shown = rows if count <= room else rows[: max(0, room - 1)]
    names = [pen.safe(node) for _, node, _, _ in shown]
    wide = min(max(map(width_of, names), default=0), max(8, pen.width - 20))
    lines = []
    for (state, _, text, style), name in zip(shown, names, strict=True):
        name = pad(clip(name, wide, unicode=pen.unicode), wide)
        text = clip(text, max(0, pen.width - wide - 6), unicode=pen.unicode)
        line = f"  {pen.paint(pen.mark(state), look(state).style)} {name}  {pen.paint(text, style)}"
        lines.append((line, 6 + wide + width_of(text)))
    if count > len(shown) and room:
        more = clip(f"  + {number(count - len(shown))} more", pen.width, unicode=pen.unicode)
        lines.append((pen.paint(more, "dim"), len(more)))
    return lines


def _clock(seconds: float) -> str:
    """A time that goes on before the reader's eyes: whole seconds, for tenths would only flicker."""
    return f"{max(0, int(seconds))}s" if seconds < 60 else duration(int(seconds))


def _rough(seconds: float) -> str:
    """A guess, no finer than it is good for."""
    step = 1 if seconds < 20 else 5 if seconds < 120 else 15 if seconds < 600 else 60
    return _clock(max(step, round(seconds / step) * step))
