"""A script made ready for the shell: values become variables, and a plain command needs no shell at all.

Knows nothing of nodes or processes, nor of the shell's grammar, which `shell` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping

from wfctl.expr import Expression, ExpressionError, ExpressionSyntax, FileValue, Slip, Template, as_text, parse
from wfctl.functions import kind_of
from wfctl.programs import needs_shell
from wfctl.record import dataclass
from wfctl.shell import HINT, HOLE, VARIABLE_PREFIX, Scanner, ScriptFaults

__all__ = ["SHELLS", "VARIABLE_PREFIX", "Script", "ScriptFaults", "parse_script", "value_text"]

SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh"))
"""The shells whose grammar is read; with any other a script may hold no expressions."""
_SIMPLE = re.compile(r"[\w./:@%+,=-]+(?: [\w./:@%+,=-]+)*", re.ASCII)
_ARGV = re.compile(r"""[\w./:@%+,=\0-]+|'[^'\n\0]*'|"[^"$`\\\n]*"|( +)""", re.ASCII)


@dataclass(frozen=True, slots=True)
class Script:
    """A script made ready: `text` for the shell, the i-th of `values` in the variable `WFCTL_VALUE_<i+1>`.

    `argv` are the words of a plain command that needs no shell, each as its literal texts and expressions; else None.
    """

    text: str
    values: tuple[Expression, ...] = ()
    argv: tuple[tuple[str | Expression, ...], ...] | None = None


def parse_script(text: str, shell: str | None = None) -> Script:
    """The script of a `run` node; raises ScriptFaults and, for what is no expression at all, ExpressionSyntax.

    With a `shell` of the user's own the script always goes to it: `argv` is None.
    """
    template = parse(text)
    parts = (template,) if isinstance(template, str) else template.parts
    if any(isinstance(part, str) and HOLE in part for part in parts):
        raise ExpressionSyntax([Slip("a script cannot hold a NUL character", "", text.find(HOLE))])
    if isinstance(template, str):
        return Script(template, argv=None if shell else _argv(template, ()))
    values = template.expressions
    name = shell.split()[0].rpartition("/")[2] if shell and shell.strip() else "bash"
    if name not in SHELLS:
        raise ScriptFaults(
            [Slip(f"{value} cannot stand in a script for {name}", HINT, value.offset) for value in values]
        )
    holed = _holed(template)
    ready = Scanner(holed, values, strict=name in ("zsh", "ksh")).scan()
    return Script(ready, values, None if shell else _argv(holed, values))


def value_text(value: object) -> str:
    """The text of a value in a script; raises ExpressionError for what no argument can hold."""
    if isinstance(value, (list, Mapping, FileValue)):
        raise ExpressionError(f"{kind_of(value)} in a script must be said as json(x)")
    text = as_text(value)
    if "\0" in text:
        raise ExpressionError("a value with a NUL character cannot be handed to a program")
    if not text.isascii():
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise ExpressionError("a value with half a surrogate pair cannot be handed to a program") from None
    return text


def _holed(template: Template) -> str:
    """The text with one NUL in the place of each expression."""
    return "".join(part if isinstance(part, str) else HOLE for part in template.parts)


def _argv(holed: str, values: tuple[Expression, ...]) -> tuple[tuple[str | Expression, ...], ...] | None:
    """The words of a script that is one command of plain and simply quoted words, else None."""
    line = holed.strip(" \n")
    if _SIMPLE.fullmatch(line):
        plain = line.split(" ")
        return None if "=" in plain[0] or needs_shell(plain[0]) else tuple((word,) for word in plain)
    words = [""]
    at = 0
    while at < len(line):
        piece = _ARGV.match(line, at)
        if not piece:
            return None
        if piece[1]:
            words.append("")
        else:
            # An empty quoted word would vanish here: it has no text to stand for it.
            quoted = line[at] in "'\""
            if quoted and len(piece[0]) == 2:
                return None
            words[-1] += piece[0][1:-1] if quoted else piece[0]
        at = piece.end()
    if not words[0] or "=" in words[0] or needs_shell(words[0]):
        return None
    rest = iter(values)
    return tuple(tuple(next(rest) if piece == HOLE else piece for piece in re.findall("\0|[^\0]+", w)) for w in words)
