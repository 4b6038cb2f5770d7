"""Expressions, `${{ … }}`: parsed once from text, the names they use, their faults, their value.

Knows nothing of nodes, files or processes: names are looked up in the mapping it is handed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from typing import TypeAlias

from wfctl.errors import Where, nearest
from wfctl.functions import FUNCTIONS, MAX_TEXT, UNKNOWN, ExpressionError, FileValue, Unknown, as_text, plain
from wfctl.grammar import Code, ExpressionSyntax, Reference, Scope, Slip, compile_expression
from wfctl.record import dataclass

__all__ = [
    "FUNCTIONS",
    "UNKNOWN",
    "Expression",
    "ExpressionError",
    "ExpressionSyntax",
    "FileValue",
    "Known",
    "Reference",
    "Slip",
    "Template",
    "Unknown",
    "as_text",
    "closest",
    "evaluate_value",
    "parse",
    "parse_value",
    "problems_of",
    "references_of",
    "templates_of",
]

Known: TypeAlias = "Mapping[str, Known] | Collection[str] | None"
"""What may follow a name: the allowed names (a mapping says what may follow those), or None for anything."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One `${{ … }}`: `source` is the text inside, `offset` the place of its first character in the text around it."""

    source: str
    offset: int
    _code: Code = field(compare=False, repr=False)

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(Reference(r.path, r.offset + self.offset, r.guarded) for r in self._code.references)

    @property
    def path(self) -> tuple[str, ...]:
        """The names `a.b.c`, where it is nothing else; empty where anything is computed."""
        path = self._code.references[0].path if self._code.is_path else ()
        return path if self.source == ".".join(path) else ()

    def problems(self, known: Mapping[str, Known], hints: bool = True) -> list[Slip]:
        """The faults that show before any value is known: names, functions, numbers of arguments.

        A hint costs a look at every known name: without `hints` wrong names have none.
        """
        slips = [*self._code.slips, *(s for r in self._code.references for s in _name_slips(r, known, hints))]
        return [Slip(s.message, s.hint, s.offset + self.offset) for s in sorted(slips, key=lambda s: s.offset)]

    def evaluate(self, names: Mapping[str, object]) -> object:
        """The value, as plain data or a FileValue; raises ExpressionError or Unknown."""
        code = self._code
        scope = Scope(names)
        try:
            value = code.evaluate(scope)
            if code.is_path and type(value) in (dict, list):
                return value  # data as it lies there: not walked, not copied
            return FileValue(plain(value.data, scope)) if isinstance(value, FileValue) else plain(value, scope)
        except ExpressionError as error:
            raise error if code.is_path else ExpressionError(f"{error}, in {self}") from None
        except ZeroDivisionError:
            raise ExpressionError(f"division by zero, in {self}") from None
        except (OverflowError, MemoryError, RecursionError):
            raise ExpressionError(f"too large to compute, in {self}") from None

    def __str__(self) -> str:
        source = " ".join(self.source.split())
        return "${{ %s }}" % (source if len(source) <= 80 else source[:79] + "…")


@dataclass(frozen=True, slots=True)
class Template:
    """A text that holds at least one expression, as its literal texts and expressions in order."""

    text: str
    parts: tuple[str | Expression, ...] = field(compare=False, repr=False)

    @property
    def whole(self) -> bool:
        """The text is one expression and nothing else: its value keeps its type."""
        return len(self.parts) == 1

    @property
    def expressions(self) -> tuple[Expression, ...]:
        return tuple(part for part in self.parts if not isinstance(part, str))

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(reference for expression in self.expressions for reference in expression.references)

    def problems(self, known: Mapping[str, Known], hints: bool = True) -> list[Slip]:
        """As `Expression.problems`, for all of them."""
        return [slip for expression in self.expressions for slip in expression.problems(known, hints)]

    def evaluate(self, names: Mapping[str, object]) -> object:
        """The value of the one expression, or the text with all filled in; raises ExpressionError or Unknown."""
        first = self.parts[0]
        if len(self.parts) == 1 and not isinstance(first, str):
            return first.evaluate(names)
        text = "".join(part if isinstance(part, str) else as_text(part.evaluate(names)) for part in self.parts)
        if len(text) > MAX_TEXT:
            raise ExpressionError(f"a text of more than {MAX_TEXT >> 20} MiB")
        return text


# ---- texts and values that hold expressions

_HOLE = re.compile(
    r"""\$\$\{\{
      | \$\{\{ (?P<source> (?>(?: [^"'}] | "(?>(?:[^"\\]|\\.)*)" | '(?>(?:[^'\\]|\\.)*)' | \}(?!\}) )*) )
        (?P<end>\}\})?""",
    re.VERBOSE | re.DOTALL,
)


def parse(text: str) -> str | Template:
    """The text as a template, or as plain text when it holds no expression; raises ExpressionSyntax."""
    if "${{" not in text:
        return text
    parts: list[str | Expression] = []
    slips: list[Slip] = []
    literal, at = "", 0
    for hole in _HOLE.finditer(text):
        literal += text[at : hole.start()]
        at = hole.end()
        source = hole["source"]
        if source is None:
            literal += "${{"
            continue
        if hole["end"] is None:
            slips.append(_unclosed(text, hole.start(), at))
            at = len(text)
            break
        if literal:
            parts.append(literal)
            literal = ""
        offset = hole.start("source") + len(source) - len(source.lstrip())
        try:
            parts.append(Expression(source.strip(), offset, compile_expression(source.strip())))
        except ExpressionSyntax as fault:
            slips += [Slip(s.message, s.hint, s.offset + offset) for s in fault.slips]
    literal += text[at:]
    if slips:
        raise ExpressionSyntax(slips)
    if not parts:
        return literal
    return Template(text, (*parts, literal) if literal else tuple(parts))


def _unclosed(text: str, start: int, stop: int) -> Slip:
    """Why the expression from `start` has no end; `stop` is where reading it stopped: the end, or an open quote."""
    if text[stop : stop + 1] in ("'", '"') and "}}" in text[stop:]:
        return Slip(f"a text that starts with {text[stop]} is not closed", "close it with the same quote", stop)
    return Slip('"${{" is not closed', 'end it with "}}"; in YAML " #" starts a comment, so quote the value', start)


def parse_value(value: object) -> object:
    """A value with every text in its lists and mappings parsed (keys stay); the same object when none holds an
    expression. Raises ExpressionSyntax with the slips of all texts, each with its `where`."""
    slips: list[Slip] = []
    parsed = _parse_value(value, (), slips)
    if slips:
        raise ExpressionSyntax(slips)
    return parsed


def _parse_value(value: object, where: Where, slips: list[Slip]) -> object:
    if isinstance(value, str):
        try:
            return parse(value)
        except ExpressionSyntax as fault:
            slips += [Slip(s.message, s.hint, s.offset, where) for s in fault.slips]
            return value
    if isinstance(value, (list, tuple)):
        items = [_parse_value(item, (*where, i), slips) for i, item in enumerate(value)]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else type(value)(items)
    if isinstance(value, Mapping):
        entries = {key: _parse_value(item, (*where, key), slips) for key, item in value.items()}
        return value if all(entries[key] is item for key, item in value.items()) else entries
    return value


def templates_of(value: object, where: Where = ()) -> Iterator[tuple[Where, Template]]:
    """Every template in a value that `parse_value` made, with the way to it."""
    if isinstance(value, Template):
        yield where, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from templates_of(item, (*where, i))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from templates_of(item, (*where, key))


def references_of(value: object) -> Iterator[Reference]:
    """Every reference in a value that `parse_value` made."""
    for _, template in templates_of(value):
        yield from template.references


def problems_of(value: object, known: Mapping[str, Known]) -> Iterator[Slip]:
    """The problems of every template in a value that `parse_value` made, each with its `where`."""
    for where, template in templates_of(value):
        for slip in template.problems(known):
            yield Slip(slip.message, slip.hint, slip.offset, where)


def evaluate_value(value: object, names: Mapping[str, object]) -> object:
    """What `parse_value` made, with the value of every template in its place; raises ExpressionError or Unknown."""
    if isinstance(value, Template):
        return value.evaluate(names)
    if isinstance(value, (list, tuple)):
        return type(value)([evaluate_value(item, names) for item in value])
    if isinstance(value, Mapping):
        return {key: evaluate_value(item, names) for key, item in value.items()}
    return value


# ---- names

_NOUNS = {"params": "param", "vars": "var", "env": "env variable", "secrets": "secret", "nodes": "node"}
_MINUS = "a minus wants blanks around it"


def _name_slips(reference: Reference, known: Mapping[str, Known], hints: bool) -> Iterator[Slip]:
    """What is wrong with the names of a reference: at most one slip, for the first name that is wrong."""
    path, root = reference.path, reference.path[0]
    allowed: Known = known
    for i, name in enumerate(path):
        if allowed is None:
            return
        if name not in allowed:
            hint = _way_out(name, allowed, first=i == 0) if hints else ""
            yield Slip(_no_such(path, i), hint, reference.offset)
            return
        allowed = allowed[name] if isinstance(allowed, Mapping) else None
    if len(path) == 1 and root in _NOUNS:
        hint = f"write {root}.NAME; a computed name cannot be checked before the run"
        yield Slip(f'"{root}" must be followed by a name', hint, reference.offset)
    elif len(path) == 2 and root == "nodes" and allowed:
        hint = "write " + _listed([f"{root}.{path[1]}.{following}" for following in allowed], " or ")
        yield Slip(f"{root}.{path[1]} is no value by itself", hint, reference.offset)


def _no_such(path: tuple[str, ...], i: int) -> str:
    if i == 0:
        return f'no name "{path[0]}" here'
    if i == 1 and path[0] in _NOUNS:
        return f'no {_NOUNS[path[0]]} named "{path[1]}"'
    return f'{".".join(path[:i])} has no "{path[i]}"'


def _way_out(name: str, allowed: Collection[str], first: bool) -> str:
    if "-" in name and name.split("-")[0] in allowed:
        return _MINUS
    if first and name in FUNCTIONS:
        return f"{name} is a function: {name}(…)"
    return closest(name, allowed) or ("there is " + _listed(allowed) if allowed else "there are none")


def closest(name: str, known: Collection[str]) -> str:
    """As `nearest`, also among 100,000 names: of so many only those are found that are one typo away."""
    if len(known) <= 1000:
        return nearest(name, known)
    return next((f'did you mean "{near}"?' for near in _one_typo(name[:200]) if near in known), "")


def _one_typo(name: str) -> Iterator[str]:
    for i in range(len(name) + 1):
        head, tail = name[:i], name[i:]
        yield head + tail[1:2] + tail[:1] + tail[2:]
        yield head + tail[1:]
        for char in _ID:
            yield head + char + tail
            yield head + char + tail[1:]


_ID = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


def _listed(names: Collection[str], last: str = ", ") -> str:
    shown = sorted(names)[:12]
    if len(names) > len(shown):
        return ", ".join(shown) + f" and {len(names) - len(shown)} more"
    return last.join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
