"""The terminal or pipe that the user sits before: what it can show, and which view it gets.

Knows nothing of what a run does."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from time import localtime, strftime, time
from typing import TYPE_CHECKING, NoReturn, TextIO

from wfctl.errors import UsageError
from wfctl.record import dataclass

if TYPE_CHECKING:
    from wfctl.app import Outcome
    from wfctl.driver import Watching
    from wfctl.history import Record
    from wfctl.optimize import Progress
    from wfctl.renderers.advice import Advice
    from wfctl.renderers.live import Peek
    from wfctl.renderers.plain import Plain, Stamp
    from wfctl.reports import Reports
    from wfctl.search import Tell
    from wfctl.secrets import Secrets

NARROWEST = 20
"""Columns below which nothing is laid out: what is narrower wraps."""

WIDTH_OF_A_FILE = 100
"""Columns where there is no terminal."""

PATIENCE = 5.0
"""Seconds that a run which has ended waits for a reader who reads nothing."""

MOST_KEPT = 16 * 1024 * 1024
"""Bytes that are kept for a reader; for more it is waited."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What one stream can show."""

    width: int
    color: bool
    unicode: bool
    live: bool = False
    """Whether lines that were written can be written over."""

    @classmethod
    def of(cls, stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> Screen:
        """Look at a stream and the environment: NO_COLOR, FORCE_COLOR, TERM=dumb, CI and COLUMNS are respected."""
        if stream is None or stream.closed:
            return cls(width=WIDTH_OF_A_FILE, color=False, unicode=True)
        terminal = stream.isatty()
        able = terminal and environ.get("TERM", "dumb") != "dumb"
        forced = environ.get("FORCE_COLOR", "").lower() not in ("", "0", "false", "no")
        columns = environ.get("COLUMNS", "")
        if columns.isascii() and columns.isdigit() and 0 < int(columns) < 10_000:
            width = int(columns)
        else:
            width = size(stream)[0] if terminal else WIDTH_OF_A_FILE
        return cls(
            width=max(NARROWEST, width),
            color=(able or forced) and not environ.get("NO_COLOR"),
            unicode=(stream.encoding or "ascii").lower().startswith(("utf", "cp65001"))
            # Python writes UTF-8 in this locale too. But who sits before the terminal has said that it shows ASCII.
            and not (terminal and environ.get("LC_ALL") in ("C", "POSIX")),
            live=able and environ.get("CI", "").lower() in ("", "0", "false") and _in_foreground(stream),
        )


def size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of the terminal as they are now."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns = rows = 0
    return columns or 80, rows or 24


def _in_foreground(stream: TextIO) -> bool:
    """Whether the terminal is ours: with `wfctl run … &` somebody else types on it, and no line may be written over."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True


class Pipe:
    """A stream into a pipe or socket whose reader may be slow, or busy with other things, as a pager is.

    A full one holds nobody up: what it does not take is kept, and goes out before what is written next. Where that is
    more than fits into memory with ease, the writer waits after all."""

    def __init__(self, stream: TextIO) -> None:
        import select

        self._fd = stream.fileno()
        self._errors = stream.errors or "strict"
        self._kept = bytearray()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self.encoding = stream.encoding

    @classmethod
    def over(cls, stream: TextIO | None) -> Pipe | TextIO | None:
        """The stream so, if that is where it leads; else as it is."""
        import stat

        try:
            mode = os.fstat(stream.fileno()).st_mode if stream is not None else 0
        except (OSError, ValueError):
            mode = 0
        return cls(stream) if stream is not None and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) else stream

    def fileno(self) -> int:
        return self._fd

    def write(self, text: str) -> None:
        """Take the text. Raises UnicodeEncodeError, as streams do."""
        self._kept += text.encode(self.encoding, self._errors)

    def flush(self) -> None:
        """Write what is taken without waiting. Raises OSError where nobody reads any more."""
        self._pour(0.0 if len(self._kept) <= MOST_KEPT else None)

    def drain(self) -> None:
        """Write all, as long as somebody reads. Raises OSError."""
        self._pour(PATIENCE)

    def _pour(self, longest: float | None) -> None:
        while self._kept and self._poll.poll(None if longest is None else longest * 1000):
            # A pipe that can be written at all takes a page.
            del self._kept[: os.write(self._fd, self._kept[:4096])]


def writer(stream: TextIO | Pipe | None, told: Callable[[OSError], None] | None = None) -> Callable[[str], None]:
    """Writes to a stream until nobody reads it any more; from then on what is written is dropped: the run goes on.

    `told` is told once where it was lost for another reason: a full disk, say.
    """
    gone = stream is None

    def write(text: str) -> None:
        nonlocal gone
        if gone or stream is None:
            return
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError as error:
                stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
            stream.flush()
        except (OSError, ValueError) as error:
            gone = True
            _drop(stream)
            if told is not None and isinstance(error, OSError) and error.errno != errno.EPIPE:
                told(error)

    return write


def _drop(stream: TextIO | Pipe) -> None:
    """Let the stream lead nowhere, for what Python flushes at exit must not fail either."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass


def watching(json: bool, advice: Advice, reports: Reports | None = None) -> Watching:
    """The view of a run for this user: JSON lines, a live view on a terminal, else plain lines. `reports` is what the
    run leaves for others, `advice` what to type next."""
    from wfctl import logs
    from wfctl.driver import Watching
    from wfctl.renderers.ending import ending
    from wfctl.renderers.plain import no_stamp
    from wfctl.renderers.text import safe

    eyes = Pipe.over(sys.stderr)
    bare = error = writer(eyes)
    if reports is not None:
        error = reports.guarded(bare)

    def told(text: str) -> None:
        error(f"wfctl: {safe(text)}\n")

    if json:
        from wfctl.renderers.jsonl import JsonLines

        lines = Pipe.over(sys.stdout)

        def over(record: Record) -> None:
            if reports is not None:
                reports.end(record, bare, told)
            _drain(lines, eyes)

        return Watching(
            events=JsonLines(writer(lines)).events,
            warn=told,
            end=over,
            command=advice.command,
        )
    screen = Screen.of(sys.stderr)
    stamp = no_stamp if reports is not None and reports.service else stamps(sys.stderr)  # services stamp each line
    ear = _ear(screen)
    view: Plain | None = None

    def begin(record: Record, secrets: Secrets | None) -> None:
        nonlocal view
        if reports is not None:
            view = reports.view(error, record, color=screen.color, unicode=screen.unicode)
        view = view or _view(error, record, secrets, screen, stamp, advice)
        view.typing = ear >= 0 and not record.state.no_wait
        view.begin(record.state)

    def end(record: Record) -> None:
        assert view is not None
        view.end()
        if record.state.finished is not None:
            wrote = partial(logs.wrote, record.folder)
            words = ending(record.state, wrote, color=screen.color, unicode=screen.unicode, advice=advice)
            error(stamp(record.state.finished) + words)
        if reports is not None:
            reports.end(record, bare, told)
        _drain(eyes)

    def warn(text: str) -> None:
        if view is None:
            told(text)
        else:
            view.note(f"{stamp(time())}wfctl: {safe(text)}")

    return Watching(
        begin=begin,
        events=lambda events, state: view.events(events, state) if view else None,
        end=end,
        warn=warn,
        ear=ear,
        paused=lambda on: view.pause(on) if view else None,
        command=advice.command,
    )


def stamps(stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> Stamp:
    """What stands before each line that tells of a moment: nothing on a terminal, for who sits there has seen when it
    came; elsewhere date and time, as `status` tells them. WFCTL_TIMESTAMPS says otherwise."""
    said = environ.get("WFCTL_TIMESTAMPS", "").lower()
    terminal = stream is None or stream.closed or stream.isatty()
    if said in ("0", "no", "false", "never") or (terminal and said not in ("1", "yes", "true", "always")):
        from wfctl.renderers.plain import no_stamp

        return no_stamp
    return lambda moment: _second(int(moment))


@lru_cache(maxsize=4)
def _second(moment: int) -> str:
    # Thousands of lines may share a second.
    return strftime("%Y-%m-%d %H:%M:%S ", localtime(moment))


def _ear(screen: Screen) -> int:
    """Where a person can type who sees a question on this screen."""
    try:
        return sys.stdin.fileno() if screen.live and sys.stdin and sys.stdin.isatty() else -1
    except (OSError, ValueError):
        return -1


def searching(stream: TextIO, seconds: float) -> Tell | None:
    """Who hears on a terminal how far a search for a plan is, in one line that goes when it is over."""
    from wfctl.renderers.progress import search_line

    screen = Screen.of(stream)
    if not screen.live:
        return None

    def tell(elapsed: float, progress: Progress | None) -> None:
        line = search_line(elapsed, seconds, progress) if progress else ""
        stream.write(f"\r\x1b[K{line[: screen.width - 1]}")
        stream.flush()

    return tell


def _drain(*streams: Pipe | TextIO | None) -> None:
    """Wait until those who still read have it all."""
    for stream in streams:
        if isinstance(stream, Pipe):
            try:
                stream.drain()
            except OSError:
                _drop(stream)


def _peek_of(record: Record, secrets: Secrets | None) -> Peek:
    """Looks at the logs of what runs. The values of secrets are at hand: so what is shown is masked."""
    from wfctl import logs

    values = secrets.values if secrets is not None else {}

    def peek(node: str, attempt: int | str, lines: int) -> Sequence[str]:
        planned = record.plan.nodes.get(node)
        if planned is None:  # an item that has left again
            return ()
        names = set(planned.node.receives)
        for step in planned.node.compensate or ():
            names |= {*step.node.receives, *(step.verify.receives if step.verify is not None else ())}
        if not names <= values.keys():  # of an earlier definition: what cannot be hidden is not shown
            return ()
        mask = secrets.mask(tuple(sorted(names))) if secrets is not None and names else None
        return logs.peek(record.folder, node, attempt, lines, mask)

    return peek


def _view(
    write: Callable[[str], None],
    record: Record,
    secrets: Secrets | None,
    screen: Screen,
    stamp: Stamp,
    advice: Advice,
) -> Plain:
    from wfctl import logs

    tail = partial(logs.tail, record.folder)
    if screen.live:
        from wfctl.renderers.live import Live

        stream = sys.stderr
        return Live(
            write,
            tail,
            color=screen.color,
            unicode=screen.unicode,
            stamp=stamp,
            advice=advice,
            size=lambda: size(stream),
            peek=_peek_of(record, secrets),
            ours=lambda: _in_foreground(stream),
        )
    from wfctl.renderers.plain import Plain

    return Plain(write, tail, color=screen.color, unicode=screen.unicode, stamp=stamp, advice=advice)


def say(text: str) -> None:
    """Print what a command was asked for. Raises UsageError where that is lost, but not where nobody reads it."""

    writer(sys.stdout, _lost)(text)


def pour(chunk: bytes) -> None:
    """Print bytes as they are. Raises UsageError where they are lost, BrokenPipeError where nobody reads them."""
    try:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _lost(error)


def _lost(error: OSError) -> NoReturn:
    raise UsageError(f"standard output cannot be written: {(error.strerror or str(error)).lower()}")


def finish(outcome: Outcome, json: bool, advice: Advice, reports: Reports | None = None) -> None:
    """What is left to say when a command that drove a run ends: the outputs of the run."""
    from wfctl.renderers.listing import outputs
    from wfctl.renderers.text import safe

    state = outcome.record.state
    if reports is not None and not reports.handed_out:  # there was nothing to do: what was done before is told
        error = reports.guarded(writer(sys.stderr))
        reports.end(outcome.record, writer(sys.stderr), lambda text: error(f"wfctl: {safe(text)}\n"))
    if not json and state.outputs and outcome.exit_code == 0:

        def lost(error: OSError) -> None:  # the run has succeeded all the same
            why = (error.strerror or str(error)).lower()
            command = safe(advice.command("output", state.id))
            writer(sys.stderr)(f"wfctl: the outputs could not be printed ({why}); see them with: {command}\n")

        write = writer(sys.stdout, lost)
        (reports.guarded(write) if reports is not None else write)(outputs(state.outputs))
