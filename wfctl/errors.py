"""What can go wrong, as data: faults with their place, the error tree, the exit codes.

Knows nothing of how an error is shown."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

Where = tuple[str | int, ...]
"""The way to a value in a document: `("nodes", "load", "needs", 0)`."""


class ExitCode(enum.IntEnum):
    """What the command tells its caller; documented in the README, never renumbered."""

    OK = 0
    FAILED = 1
    USAGE = 2
    ROLLED_BACK = 3
    ROLLBACK_FAILED = 4
    BUSY = 5
    STATE = 6
    WAITING = 7
    BUG = 70
    HANGUP = 129
    INTERRUPT = 130
    QUIT = 131
    TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault that does not know its line yet: found in data, placed later by the document.

    `where` leads to the value; with `key` the fault is at the key of that name and not at its
    value. `offset` counts characters into a text value. `path` is what the message names, when
    that is not `where` itself ("" for none).
    """

    where: Where
    message: str
    hint: str = ""
    key: bool = False
    offset: int = 0
    path: str | None = None
    file: str = ""

    @property
    def shown_path(self) -> str:
        return dotted(self.where) if self.path is None else self.path


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault of one file. Lines and columns count from 1; 0 means the place is not in the file."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}: {path}{self.message}{hint}"


def dotted(where: Where) -> str:
    """`("nodes", "load", "needs", 0)` as people write it: `nodes.load.needs[0]`."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint `did you mean "x"?` for the known name closest to `name`, or "" when none is close."""
    import difflib

    folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f'did you mean "{folded[close[0]]}"?' if close else ""


class WfctlError(Exception):
    """Something the user can mend: one clear text, an exit code, never a traceback."""

    code: int = ExitCode.USAGE


class UsageError(WfctlError):
    """The command was called with words that make no sense here."""


class Invalid(WfctlError):
    """A file (or the parameters for it) has faults; all of them are here, in order of their place."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(faults)
        super().__init__("\n".join(map(str, self.faults)))


class BusyError(WfctlError):
    """Another process holds what is needed."""

    code = ExitCode.BUSY


class Skipped(WfctlError):
    """The run was not wanted, because of another: nothing was run, as was asked for."""

    code = ExitCode.OK


class Stopped(WfctlError):
    """A signal ended the command before it had begun anything."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(what)
        self.code = 128 + number


class StateError(WfctlError):
    """The state on disk is damaged, unreadable or cannot be written."""

    code = ExitCode.STATE


class Bug(Exception):
    """An invariant of ours does not hold. Shown with a traceback, for it is ours to mend."""
