"""Values on their way into a process: as arguments, variables, standard input or files.

Knows nothing of what the process is. A value never becomes code: it stays one argument, whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from wfctl import expr
from wfctl.jobs import Place, Sealed

LONGEST = 100 * 1024
"""Bytes of one value in a script, argv or env. Linux takes 128 KiB for one string of either."""


def checked(text: str, what: str) -> str:
    """`text`, where it can be handed to a process. Raises ExpressionError with the way out where it cannot."""
    if "\0" in text:
        raise expr.ExpressionError(f"{what} holds a NUL character, which no argument or variable can; use stdin")
    size = len(text) if text.isascii() else len(_encoded(text, what))
    if size > LONGEST:
        raise expr.ExpressionError(
            f"{what} is {size // 1024} KiB, and more than 100 KiB cannot be handed to a process this way; "
            "use stdin: ${{ … }}, or file(…) for the path of a JSON file"
        )
    return text


def spread(value: object, names: Mapping[str, object]) -> list[object]:
    """The elements of a list of values, or of an expression that gives one."""
    if not value:
        return []
    evaluated = expr.evaluate_value(value, names)
    return list(evaluated) if isinstance(evaluated, (list, tuple)) else [evaluated]


def as_bytes(value: object) -> bytes:
    """A value of any size for standard input: text as it is, else JSON."""
    return _encoded(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), "the value")


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise expr.ExpressionError(f"{what} holds half a surrogate pair, which is no text for a program") from None


class Hand:
    """Collects the files that one attempt is handed, by the paths that it will find them under."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.files: dict[str, bytes] = {}

    def arguments(self, value: object) -> list[str]:
        """The arguments that one element of an argv becomes: a list is spliced, one argument each."""
        if isinstance(value, str):
            return [checked(value, "the argument")]
        if isinstance(value, expr.FileValue):
            return [self.path_of(value)]
        if isinstance(value, list):
            return [argument for part in value for argument in self.arguments(_inner(part))]
        return [checked(expr.as_text(value), "the argument")]

    def path_of(self, value: expr.FileValue) -> str:
        """The path of a JSON file with the value of `file(x)`."""
        return self.file(as_bytes(json.dumps(value.data)), ".json")

    def file(self, content: bytes, suffix: str = "") -> str:
        """The path of a file with that content."""
        path = f"{self._place.values}{len(self.files) + 1}{suffix}"
        self.files[path] = content
        return path


def _inner(part: object) -> object:
    # A list in a list is one argument, as JSON: splicing goes one level deep.
    return json.dumps(part, ensure_ascii=False) if isinstance(part, (list, dict)) else part


def lasting(value: object) -> object:
    """A value as plain data, whatever way it is handed over: what `file(x)` gives is its content, not its place."""
    if isinstance(value, expr.FileValue):
        return {"file": value.data}
    if isinstance(value, (list, tuple)):
        return [lasting(part) for part in value]
    if isinstance(value, Mapping):
        return {key: lasting(part) for key, part in value.items()}
    return value


# -- secrets


def seal(value: object, names: Mapping[str, object], vars: Mapping[str, object]) -> Sealed:
    """The text of a value of `env`, with the names of secrets in the place of their values.

    Only a path by itself can lead to a secret (the file was checked for that), so nothing is computed from one, and no
    text that an expression yields can be taken for the name of one. Raises ExpressionError.
    """
    parts = [""]
    for part in pieces(value, names, vars):
        if isinstance(part, Secret):
            parts += [part, ""]
        else:
            parts[-1] += part
    checked("".join(parts[::2]), "the value")
    return tuple(parts)


class Secret(str):
    """The name of a secret, among texts."""

    __slots__ = ()


class Filled(str):
    """What an expression gave, among the texts that are written in the file."""

    __slots__ = ()


def pieces(value: object, names: Mapping[str, object], vars: Mapping[str, object]) -> Iterator[str]:
    """The texts that a value consists of: as they are written, `Filled`, or the name of a `Secret`."""
    if not isinstance(value, expr.Template):
        yield expr.as_text(value)
        return
    for part in value.parts:
        if isinstance(part, str):
            yield part
        elif part.path[:1] == ("secrets",):
            yield Secret(part.path[1])
        elif part.path[:1] == ("vars",) and not _is_whole(inner := within(vars, part.path[1:])):
            yield from pieces(inner, names, vars)
        else:
            yield Filled(expr.as_text(part.evaluate(names)))


def _is_whole(value: object) -> bool:
    """Whether a value shows only when it is evaluated as a whole."""
    return value is None or isinstance(value, (Mapping, list))


def within(value: object, path: Sequence[str]) -> object:
    """What a path leads to in data with expressions that are not evaluated yet; None where it does not show."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def unseal(sealed: Sealed, values: Mapping[str, str]) -> str:
    """The text with the values of its secrets."""
    return "".join(values[part] if i % 2 else part for i, part in enumerate(sealed))
