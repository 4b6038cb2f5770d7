"""The terminal or pipe that the user sits before: what it can show, and which view it gets.

Knows nothing of what a run does."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from wfctl.errors import UsageError
from wfctl.record import dataclass

if TYPE_CHECKING:
    from wfctl.app import Outcome
    from wfctl.driver import Watching
    from wfctl.history import Record
    from wfctl.renderers.plain import Plain, Tail, Wrote

NARROWEST = 20
"""Columns below which nothing is laid out: what is narrower wraps."""

WIDTH_OF_A_FILE = 100
"""Columns where there is no terminal."""


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
            unicode=(stream.encoding or "ascii").lower().startswith(("utf", "cp65001")),
            live=able and environ.get("CI", "").lower() in ("", "0", "false") and _in_foreground(stream),
        )


def size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of the terminal as they are now."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns = rows = 0
    return max(NARROWEST, columns) if columns else 80, rows or 24


def _in_foreground(stream: TextIO) -> bool:
    """Whether the terminal is ours: with `wfctl run … &` somebody else types on it, and no line may be written over."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True


def writer(stream: TextIO | None, told: Callable[[OSError], None] | None = None) -> Callable[[str], None]:
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


def _drop(stream: TextIO) -> None:
    """Let the stream lead nowhere, for what Python flushes at exit must not fail either."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass


def watching(json: bool) -> Watching:
    """The view of a run for this user: JSON lines, a live view on a terminal, else plain lines."""
    from wfctl.driver import Watching
    from wfctl.renderers.plain import ending

    error = writer(sys.stderr)
    if json:
        from wfctl.renderers.jsonl import JsonLines

        return Watching(events=JsonLines(writer(sys.stdout)).events, warn=lambda text: error(f"wfctl: {text}\n"))
    screen = Screen.of(sys.stderr)
    view: Plain | None = None

    def begin(record: Record) -> None:
        nonlocal view
        view = _view(error, _tail_of(record), screen)
        view.begin(record.state)

    def end(record: Record) -> None:
        assert view is not None
        view.end()
        if record.state.finished is not None:
            error(ending(record.state, _wrote_of(record), color=screen.color, unicode=screen.unicode))

    def warn(text: str) -> None:
        if view is None:
            error(f"wfctl: {text}\n")
        else:
            view.note(f"wfctl: {text}")

    return Watching(
        begin=begin, events=lambda events, state: view.events(events, state) if view else None, end=end, warn=warn
    )


def _tail_of(record: Record) -> Tail:
    from wfctl import logs

    return lambda node, attempt: logs.tail(record.folder, node, attempt)


def _wrote_of(record: Record) -> Wrote:
    from wfctl import logs

    return lambda node, attempts: logs.wrote(record.folder, node, attempts)


def _view(write: Callable[[str], None], tail: Tail, screen: Screen) -> Plain:
    if screen.live:
        from wfctl.renderers.live import Live

        stream = sys.stderr
        return Live(write, tail, color=screen.color, unicode=screen.unicode, size=lambda: size(stream))
    from wfctl.renderers.plain import Plain

    return Plain(write, tail, color=screen.color, unicode=screen.unicode)


def say(text: str) -> None:
    """Print what a command was asked for. Raises UsageError where that is lost, but not where nobody reads it."""

    def lost(error: OSError) -> None:
        raise UsageError(f"standard output cannot be written: {(error.strerror or str(error)).lower()}")

    writer(sys.stdout, lost)(text)


def finish(outcome: Outcome, json: bool) -> None:
    """What is left to say when a command that drove a run ends: the outputs of the run."""
    from wfctl.renderers.listing import outputs

    state = outcome.record.state
    if not json and state.outputs and outcome.exit_code == 0:

        def lost(error: OSError) -> None:  # the run has succeeded all the same
            why = (error.strerror or str(error)).lower()
            writer(sys.stderr)(
                f"wfctl: the outputs could not be printed ({why}); see them with: wfctl output {state.id}\n"
            )

        writer(sys.stdout, lost)(outputs(state.outputs))
