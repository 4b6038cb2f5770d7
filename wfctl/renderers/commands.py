"""The commands that the runner of GitHub Actions finds in what a step prints: how they are written, and kept out.

Knows nothing of what is told by them."""

from __future__ import annotations

import re

from wfctl.renderers.text import safe

OURS = "\x00"
"""Begins a line that is a command of ours. No text that was made safe holds it."""

# The runner takes `::name::` where a line begins with it after any blanks, but `##[name]` wherever it stands. It takes
# them from standard error too.
_DOUBLE_COLON = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
_HASHES = re.compile(r"##\[")


def command(name: str, text: str = "", **properties: str | int) -> str:
    """One command, as a line: `::error file=flow.yaml,line=3::it failed`. Empty properties and zeros are left out."""
    told = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value)
    return f"::{name}{' ' if told else ''}{told}::{_data(text)}\n"


def inert(text: str) -> str:
    """The text with all shown and nothing obeyed: what would be a command has its first sign spelt as `\\x3a`."""
    return _HASHES.sub(r"##\\x5b", _DOUBLE_COLON.sub(r"\1\\x3a", text.replace("\r", "\\r")))


def obeyed(text: str) -> str:
    """Lines, of which those that begin with OURS are commands, and all others are not."""
    if OURS not in text:
        return inert(text)
    lines = text.split("\n")
    return "\n".join(line[len(OURS) :] if line.startswith(OURS) else inert(line) for line in lines)


def _data(text: str) -> str:
    # The runner prints what it took, and who shows that may take `##[` for its own. `%` comes before what it begins.
    text = safe(text, lines=True).replace("##[", "##\\x5b")
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
