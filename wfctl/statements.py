"""What a text in SQL says before any database reads it: its parameters, and whether it ends a transaction.

Knows no database, and of its grammar only what hides a colon: quotes and comments."""

from __future__ import annotations

import re

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN = re.compile(
    r"""
      (?<!\w) [eE] ' (?>(?: [^'\\] | \\. | '' )*) (?: ' | \Z )    # a string of PostgreSQL with escapes
    | ' (?>(?: [^'] | '' )*) (?: ' | \Z )                        # what is not closed goes on to the end
    | " (?>(?: [^"] | "" )*) (?: " | \Z )
    | ` [^`]* (?: ` | \Z )
    | -- [^\n]*
    | /\* .*? (?: \*/ | \Z )
    | (?<![\w$]) (?P<tag> \$ (?: [^\W\d]\w* )? \$ ) .*? (?: (?P=tag) | \Z )
    | (?<![\w:]) : (?P<name> [A-Za-z_]\w* )
    """,
    re.VERBOSE | re.DOTALL,
)
_ENDS = re.compile(
    r"\s*(begin|start\s+transaction|commit|end|abort|rollback(?!\s+(work\s+|transaction\s+)?to\b)|prepare\s+transaction)\b",
    re.IGNORECASE,
)


def names(text: str) -> list[str]:
    """The parameters of a statement, in its order: what `:name` stands for outside of quotes and comments."""
    return list(dict.fromkeys(found["name"] for found in _TOKEN.finditer(text) if found["name"]))


def bound(text: str, literal: Callable[[str], str], parameter: Callable[[str], str]) -> str:
    """The statement as a driver wants it: its own text by `literal`, each parameter by `parameter`."""
    parts, end = [], 0
    for found in _TOKEN.finditer(text):
        if found["name"]:
            parts += [literal(text[end : found.start()]), parameter(found["name"])]
            end = found.end()
    return "".join([*parts, literal(text[end:])])


def ends_transaction(text: str) -> str:
    """The word by which the statement begins or ends a transaction; empty where it does not."""
    found = _ENDS.match(text)
    return " ".join(found[1].lower().split()) if found else ""
