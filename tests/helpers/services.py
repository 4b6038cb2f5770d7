"""What CI services make of the log of a step, by the rules of their own readers.

GitHub's runner: a line is a command that begins, after blanks, with `::name …::`, or has `##[name …]` anywhere. GitLab:
a section begins and ends by `section_start:TIME:NAME[options]`, each followed by a carriage return and `ESC[0K`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

COMMANDS = frozenset(
    "error warning notice debug group endgroup add-mask stop-commands set-env add-path set-output save-state "
    "add-matcher remove-matcher echo".split()
)


@dataclass(frozen=True)
class Order:
    """A command that the runner took."""

    name: str
    text: str
    properties: dict[str, str] = field(default_factory=dict)


def orders(log: str) -> list[Order]:
    """The commands that GitHub's runner would obey."""
    return [order for line in re.split("\r\n|\n|\r", log) if (order := _double_colon(line) or _hashes(line))]


def _double_colon(line: str) -> Order | None:
    line = line.lstrip()
    end = line.find("::", 2)
    if not line.startswith("::") or end < 0:
        return None
    name, _, rest = line[2:end].partition(" ")
    if name.lower() not in COMMANDS:
        return None
    pairs = [pair.partition("=") for pair in rest.split(",") if "=" in pair]
    return Order(name.lower(), _decoded(line[end + 2 :]), {key: _decoded(value, more=True) for key, _, value in pairs})


def _hashes(line: str) -> Order | None:
    start = line.find("##[")
    end = line.find("]", start)
    if start < 0 or end < 0:
        return None
    name = line[start + 3 : end].partition(" ")[0].lower()
    return Order(name, line[end + 1 :]) if name in COMMANDS else None


def _decoded(text: str, *, more: bool = False) -> str:
    for code, sign in (("%0D", "\r"), ("%0A", "\n"), *((("%3A", ":"), ("%2C", ",")) if more else ()), ("%25", "%")):
        text = text.replace(code, sign)
    return text


_SECTION = re.compile(r"section_(start|end):(\d+):([a-zA-Z0-9_.-]+)(\[(?:\w+=\w+)(?:, ?(?:\w+=\w+))*\])?\r\x1b\[0K")


@dataclass(frozen=True)
class Section:
    """A section of a job's log, under the first line in it."""

    title: str
    lines: tuple[str, ...]
    seconds: int


def sections(log: str) -> list[Section]:
    """The sections that GitLab would fold. Fails where they are not one after the other."""
    found: list[Section] = []
    start: tuple[int, int, str] | None = None
    for mark in _SECTION.finditer(log):
        if mark[1] == "start":
            assert start is None, "a section in another"
            start = (mark.end(), int(mark[2]), mark[3])
            continue
        assert start is not None, "an end without a start"
        assert start[2] == mark[3], "the end of another"
        title, *lines = log[start[0] : mark.start()].removesuffix("\x1b[0K").splitlines()
        found.append(Section(title, tuple(lines), int(mark[2]) - start[1]))
        start = None
    assert start is None, "a section without an end"
    return found
