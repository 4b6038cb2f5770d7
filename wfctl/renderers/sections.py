"""A run as lines in the log of a CI service, with what each node wrote folded below its line.

Knows no store: what a node wrote is asked of who has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from wfctl import events as ev
from wfctl.renderers.advice import Advice
from wfctl.renderers.commands import OURS, command
from wfctl.renderers.plain import NO_WORK, TAIL, Plain, Tail

BYTES = 64 * 1024
"""Of what one attempt wrote so much is shown, from the end."""

ALL = 2 * 1024 * 1024
"""Characters of all logs together: GitLab cuts the log of a job at 4 MiB."""

LONGEST = 4000
"""Characters of one line."""

_COLOURS = re.compile("\x1b\\[[0-9;]*m")

LastPart = Callable[[str, int, int], tuple[Sequence[str], bool]]
"""The lines of what an attempt of a node wrote, at most so many bytes, and whether that is all."""


class Fold(Protocol):
    """How a service folds lines away."""

    def __call__(self, title: str, lines: str, start: float, end: float) -> str:
        """The lines below their title, which is one line; all of them end with a newline."""


def github(title: str, lines: str, start: float, end: float) -> str:
    """A group of GitHub Actions. Of foreign lines a command could be made: they are looked at where they go out."""
    title = _COLOURS.sub("", title.rstrip())
    return f"{OURS}{command('group', title)}{lines}{OURS}{command('endgroup')}"


class Gitlab:
    """Sections of GitLab, each under a name of its own."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, title: str, lines: str, start: float, end: float) -> str:
        """A section, folded at first. Its name is a number, for a node's could be no name of a section."""
        self._count += 1
        name = f"wfctl-{self._count}"
        head = f"\x1b[0Ksection_start:{int(start)}:{name}[collapsed=true]\r\x1b[0K{title}"
        return f"{head}{lines}\x1b[0Ksection_end:{int(end)}:{name}\r\x1b[0K\n"


class Sections(Plain):
    """Plain lines, with folds."""

    def __init__(
        self,
        write: Callable[[str], object],
        tail: Tail,
        last_part: LastPart,
        fold: Fold,
        *,
        color: bool = False,
        unicode: bool = True,
        advice: Advice | None = None,
    ) -> None:
        super().__init__(write, tail, color=color, unicode=unicode, advice=advice)
        self._last_part = last_part
        self._fold = fold
        self._room = ALL
        self._hinted = False

    def dressed(self, event: ev.Event, text: str) -> str:
        """The lines of one node's event, and what the attempt that ended by it wrote, folded."""
        if not isinstance(event, ev.AttemptEnded) or not event.attempt or event.reason in NO_WORK:
            return text
        if self._room <= 0:
            if self._hinted:
                return text
            self._hinted = True
            command = self._pen.safe(self._advice.command("logs", self._run))
            return f"{text}    from here on logs are left out; all of them: {command}\n"
        lines, whole = self._last_part(event.node, event.attempt, BYTES)
        head, rest = text.partition("\n")[::2]
        if not lines or (rest and whole and len(lines) <= TAIL):  # all of it stands there already
            return text
        shown = [f"{self._pen.safe(line[:LONGEST])}\n" for line in lines]
        if not whole:
            command = self._pen.safe(self._advice.command("logs", self._run, event.node))
            shown.insert(0, f"the last of it; whole log: {command}\n")
        self._room -= sum(map(len, shown))
        start = event.time - event.seconds
        if rest:  # the end of it stays open before eyes
            title = f"what {self._pen.safe(event.node)} wrote\n"
            return text + self._fold(title, "".join(shown), start, event.time)
        return self._fold(f"{head}\n", "".join(shown), start, event.time)
