"""The programs that wfctl is compared with: how each writes down a shape and runs it.

Knows nothing of time. A new peer is one line in the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks import flows


@dataclass(frozen=True, slots=True)
class Peer:
    """`write` gives the content of its `file`; `argv` runs it with four jobs; `fresh` is its memory of the last run."""

    file: str
    write: Callable[[flows.Shape], str]
    argv: Sequence[str]
    fresh: Sequence[str]


PEERS = {
    "ninja": Peer("build.ninja", flows.ninja, ("ninja", "-j", "4", "--quiet"), (".ninja_log", ".ninja_deps")),
}
