"""What became of a run and of each node in it, as plain data for reports that are written at its end.

Knows nothing of how it is told, nor where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["passed", "failed", "error", "skipped"]
"""`failed` is a node whose work failed; `error` is one of which something else went wrong: it was stopped while it
ran, say, or could not be undone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is written. Lines and columns count from 1; 0 where the file is not any more what the run is of."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One node. All text is foreign. `log` are the last lines that it wrote, of those of which that matters."""

    node: str
    verdict: Verdict
    state: str
    kind: str = ""
    reason: str = ""
    message: str = ""
    log: tuple[str, ...] = ()
    seconds: float = 0.0
    attempts: int = 0
    exit_code: int | None = None
    served: str = ""
    """The run that its output was taken from."""
    tolerated: bool = False
    """It failed, and the run is none the worse for it."""
    place: Place | None = None

    @property
    def is_bad(self) -> bool:
        """Whether the run is the worse for it."""
        return self.verdict in ("failed", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """A node that was undone, or was to be. `note` says what is to be known of that beside the state."""

    node: str
    state: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A whole run. The cases are in the order of the file."""

    run: str
    workflow: str
    file: str
    state: str
    exit_code: int | None = None
    error: str = ""
    seconds: float = 0.0
    started: str = ""
    """UTC, to the second: `2026-11-28T20:17:01`."""
    cases: tuple[Case, ...] = ()
    itself: Case | None = None
    """The run as a case, where it went wrong and no node says so."""
    undone: tuple[Undone, ...] = field(default=())
    why_undone: str = ""
    status_command: str = ""
    """What shows all of it."""

    def all_cases(self) -> Iterator[Case]:
        """The nodes, and the run where it is a case by itself."""
        yield from self.cases
        if self.itself is not None:
            yield self.itself

    def bad(self) -> list[Case]:
        """What went wrong."""
        return [case for case in self.all_cases() if case.is_bad]
