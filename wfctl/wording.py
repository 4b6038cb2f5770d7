"""Says in our own words what a YAML parser and a JSON Schema validator complain of.

Knows nothing of files, and opens no library: it is handed the errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, Protocol

from wfctl.errors import Fault, Problem, Where, dotted, nearest
from wfctl.quantity import shown
from wfctl.record import dataclass


class SchemaError(Protocol):
    """What the validator tells, as far as it is used here."""

    message: str
    kind: Any  # `name` of the keyword, and its `value`
    instance: Any
    instance_path: list[str | int]
    schema_path: list[str | int]


KINDS = ("run", "call", "http", "sql", "files", "notify", "ask", "workflow", "nodes")
TYPES = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "null",
}
_LIMITS = {
    "minimum": "must be at least {}, got {}",
    "maximum": "must be at most {}, got {}",
    "exclusiveMinimum": "must be more than {}, got {}",
    "exclusiveMaximum": "must be less than {}, got {}",
    "multipleOf": "must be a multiple of {}, got {}",
}
QUOTE_IT = 'quote it: "${{ … }}"'
_COUNTS = {
    "minItems": "must have at least {} elements",
    "maxItems": "must have at most {} elements",
    "minProperties": "must have at least {} keys",
    "maxProperties": "must have at most {} keys",
    "minLength": "must be at least {} characters long",
    "maxLength": "must be at most {} characters long",
}


def problems(
    errors: Iterable[SchemaError],
    ours: Mapping[str, object] | None,
    theirs: Mapping[str, object] | None = None,
    *,
    hints: bool = True,
) -> list[Problem]:
    """One problem for each real mistake.

    `ours` is the schema when it is the published one: its titles are written to stand in a message. None for
    the schema of a user, whose titles say other things. `theirs` is that, where its keys are to be known by name.
    Without `hints` nobody looks for what another unknown key was meant to be, which takes the longest of all.
    """
    found: dict[tuple[Where, bool], Problem] = {}
    unknown: dict[Where, set[str]] = {}  # what unknown keys of a mapping were probably meant to be
    missing: list[tuple[str, Problem]] = []
    known_kinds = _kinds(ours)
    for error in errors:
        name, where = error.kind.name, tuple(error.instance_path)
        if name == "additionalProperties":
            for problem, meant in _unknown_keys(error, where, ours or theirs, hints):
                found.setdefault((problem.where, True), problem)
                unknown.setdefault(where, set()).add(meant)
        elif name == "required":
            key = error.kind.value
            missing.append((key, Problem(where, f'missing key "{key}"', key=True)))
        elif name == "oneOf" and ours is not None:
            if isinstance(error.instance, dict):  # else it is said already that this is no mapping
                kinds = [kind for kind in known_kinds if kind in error.instance]
                if kinds:
                    found.setdefault((where, True), _two_kinds(kinds, where))
                else:
                    missing.append(("", Problem(where, "has no kind", "add one, such as run", key=True)))
        else:
            problem = _problem(error, where, ours)
            found.setdefault((problem.where, problem.key), problem)
    # What a misspelt key was meant to be is not missing besides.
    for key, problem in missing:
        meant_here = unknown.get(problem.where, set())
        if not (meant_here & {key} if key else meant_here & known_kinds):
            found.setdefault((problem.where, True), problem)
    return list(found.values())


def got(value: object) -> str:
    """A value in a message: what the user typed, or what it is where that would be long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else shown(value)


def quoted(values: Iterable[object]) -> str:
    known = [shown(value) for value in values]
    more = f" and {len(known) - 12} more" if len(known) > 13 else ""
    return ", ".join(known[:12] if more else known) + more


def _problem(error: SchemaError, where: Where, ours: Mapping[str, object] | None) -> Problem:
    name, value = error.kind.name, error.instance
    if name == "propertyNames":
        inner: SchemaError = error.kind.error
        key = str(inner.instance)
        title = _titled(ours, inner.schema_path)
        message = _no(key, title) if title else f"{shown(key)}: {inner.message}"
        return Problem((*where, key), message, key=True, path=dotted(where))
    if name == "not" and ours is not None and isinstance(value, dict):
        kind = next((kind for kind in _kinds(ours) if kind in value), "")
        return Problem((*where, kind), f"{kind} is a kind, and every node names its own", "leave it out", key=True)
    limit = error.kind.value
    if name in _LIMITS:
        return Problem(where, _LIMITS[name].format(shown(limit), shown(value)))
    if name in ("minItems", "minProperties", "minLength") and limit == 1:
        hint = "say none where there is nothing to undo" if where[-1:] == ("compensate",) else ""
        return Problem(where, "must not be empty", hint)
    if name == "uniqueItems" and isinstance(value, list):
        seen: set[str] = set()
        twice = next((text for text in map(shown, value) if text in seen or seen.add(text)), "")  # type: ignore[func-returns-value]
        return Problem(where, f"{twice} is listed twice")
    if name in _COUNTS:
        return Problem(where, _COUNTS[name].format(limit))
    options = _options(error, ours)
    if options:
        known = [option for option in options if isinstance(option, str)]
        hint = nearest(value, known) if isinstance(value, str) else ""
        return Problem(where, f"{got(value)} is not one of {quoted(options)}", hint)
    title = _titled(ours, error.schema_path)
    if title:
        if not isinstance(value, str):
            return Problem(where, f"expected {title}, got {got(value)}")
        if title.startswith(("id:", "name of")):
            return Problem(where, _no(value, title))
        only_list = title.startswith("a list of ") and "," not in title
        hint = f"write [{value}]" if only_list and value else ""
        return Problem(where, f"expected {title}, got {shown(value)}", hint)
    return Problem(where, _plainly(error))


def _plainly(error: SchemaError) -> str:
    """The error of a user's own schema, whose words are the user's."""
    name, value, limit = error.kind.name, error.instance, error.kind.value
    if name == "type":
        wanted = " or ".join(TYPES.get(one, one) for one in sorted(limit, key="null".__eq__))
        return f"expected {wanted}, got {got(value)}"
    if name == "const":
        return f"must be {shown(limit)}, got {got(value)}"
    if name == "format":
        return f"{got(value)} is no {limit}"
    if name == "pattern":
        return f"{got(value)} does not match the pattern {limit}"
    if name == "falseSchema":
        return f"{got(value)} is not allowed"
    if name in ("anyOf", "oneOf", "not"):
        return f"{got(value)} does not fit {name}"
    return error.message.splitlines()[0]


def _no(text: str, title: str) -> str:
    return f"{shown(text)} is no {title}"


def _unknown_keys(
    error: SchemaError, where: Where, ours: Mapping[str, object] | None, hints: bool
) -> Iterator[tuple[Problem, str]]:
    """One problem for each, and which key was probably meant ("" for none)."""
    schema = _at(ours, error.schema_path[:-1])
    known = list(schema.get("properties", ())) if schema else []
    for key in error.kind.value:
        hint = _nearest(key, tuple(known), hints)
        meant = hint.split('"')[1] if hint else ""
        if "compensate" in where and key in _NOT_OF_A_STEP:
            hint = _NOT_OF_A_STEP[key]
        if not hint and 0 < len(known) <= 10:
            hint = f"there are {', '.join(known)}"
        yield Problem((*where, key), f"unknown key {shown(key)}", hint, key=True, path=dotted(where)), meant


_NOT_OF_A_STEP = {
    **dict.fromkeys(("env", "secrets", "cwd"), "a step has that of the node which it undoes; say it there"),
    "needs": "steps are done one after the other, as they stand in the list; leave it out",
    "detach": "a step is done when all that it has started has ended; leave it out",
    "when": "a step is always done; let what it runs look whether there is anything to do",
    "continue_on_error": "write expect: true where its failure is no matter",
}


_MEANT: dict[tuple[str, tuple[str, ...]], str] = {}


def _nearest(key: str, known: tuple[str, ...], look: bool) -> str:
    """The same slip is often made in every node of a large file; one that is new is only looked for with `look`."""
    found = _MEANT.get((key, known))
    if found is None and look:
        found = _MEANT[key, known] = nearest(key, known)
    return found or ""


def _kinds(ours: Mapping[str, Any] | None) -> Set[str]:
    """The kinds that the schema knows, in its order: it may have more than the published one."""
    kinds = ours["$defs"]["kinds"]["oneOf"] if ours is not None else ()
    return dict.fromkeys(one["required"][0] for one in kinds).keys()


def _two_kinds(kinds: list[str], where: Where) -> Problem:
    noun = "a step" if "compensate" in where else "a node"
    return Problem(where, f"has two kinds, {kinds[0]} and {kinds[1]}; {noun} has exactly one", key=True)


def _options(error: SchemaError, ours: Mapping[str, object] | None) -> list[Any]:
    """What may be written, where that is a short list."""
    if error.kind.name == "enum":
        return [option for option in error.kind.value if option is not None]
    if error.kind.name == "anyOf" and ours is not None:
        alternatives = _at(ours, error.schema_path) or []
        return [option for one in alternatives for option in one.get("enum", ())]
    return []


def _titled(ours: Mapping[str, object] | None, path: list[str | int]) -> str:
    schema = _at(ours, path[:-1])
    return str(schema.get("title", "")) if isinstance(schema, dict) else ""


def _at(ours: Mapping[str, object] | None, path: Iterable[str | int]) -> Any:
    inner: Any = ours
    for part in path:
        if inner is None:
            return None
        inner = inner[part]
    return inner


# -- what the parser could not read


_UNREADABLE: tuple[tuple[str, str, str], ...] = (
    # what the parser says, what we say, and the way out
    ("mapping values are not allowed", 'a ":" is not expected here', "quote the value, or check the indentation"),
    ("did not find expected key", "expected a key here", "check the indentation"),
    ("expected <block end>", "expected a key here", "check the indentation"),
    ("did not find expected '-'", 'expected "- " here', "check the indentation"),
    ("could not find expected ':'", 'expected ":" after this key', 'write "key: value"'),
    ("escape", "this escape is not known in double quotes", "use single quotes, or double the backslash"),
    ("hexdecimal", "this escape is not known in double quotes", "use single quotes, or double the backslash"),
    ("undefined tag handle", "unknown tag", "leave it out"),
    ("<document start>", "expected the end of the file here", "keep one document in a file"),
    ("block sequence entries are not allowed", 'a "- " is not expected here', "start the list on a line of its own"),
    ("alphabetic or numeric", 'a "*" or "&" needs a name', "quote the value"),
    ("did not find expected alphabetic", 'a "*" or "&" needs a name', "quote the value"),
)


def syntax_fault(file: str, source: bytes, error: Any) -> Fault:
    """What the parser could not read, in our words, where its cause stands."""
    lines = source.decode().splitlines()
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _forbidden(file, source.decode())
    opened, said = error.context_mark, f"{error.problem or ''}"
    context = error.context or ""
    text = lines[mark.line] if mark.line < len(lines) else ""
    char, before = text[mark.column : mark.column + 1], text[: mark.column]
    hint = ""
    if "quoted scalar" in context and ("end of stream" in said or "document indicator" in said):
        mark, message, hint = opened, "this quote is never closed", "add the closing quote"
    elif before.endswith("$") and text[mark.column :].startswith("{{"):
        mark = _Place(mark.line, mark.column - 1)
        message, hint = "in { } and [ ] an expression must be quoted", QUOTE_IT
    elif "\t" in before[len(before.rstrip()) :] + char or "tab" in said:
        message, hint = "a tab indents here", "use spaces"
    elif "cannot start any token" in said:
        message, hint = f"a value cannot start with {shown(char)}", "quote it"
    elif "unexpected ':'" in said:
        start = max(before.rfind(sign) for sign in " ,[{") + 1
        message, hint = 'in { } and [ ] a text with a ":" must be quoted', f'write "{_word(text[start:])}"'
        mark = _Place(mark.line, start)
    elif "flow mapping" in context or "flow sequence" in context:
        bracket, closing = ("{", "}") if "mapping" in context else ("[", "]")
        place = f"{opened.line + 1}:{opened.column + 1}"
        message = f'expected "," or "{closing}" here'
        hint = f'close the "{bracket}" of {place}, or quote the text'
    else:
        known = ((ours, way) for key, ours, way in _UNREADABLE if key in said)
        message, hint = next(known, (f"is no YAML: {said}", ""))
        if "${{" in text:
            hint = QUOTE_IT
        if "simple key" in context:
            mark = opened
    return Fault(file, mark.line + 1, mark.column + 1, "", message, hint)


def _word(text: str) -> str:
    """What is written up to the next sign that ends a text in { } and [ ]."""
    return re.split(r"[\s,\]}]", text, maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class _Place:
    line: int
    column: int


_FORBIDDEN = re.compile("[^\\t\\n\\r -~\\x85\\xa0-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]")


def _forbidden(file: str, text: str) -> Fault:
    match = _FORBIDDEN.search(text)
    start = match.start() if match else 0
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    code = ord(text[start]) if match else 0
    hint = f'write it as "\\x{code:02x}", in double quotes' if 0 < code < 256 else "take it out"
    return Fault(file, line, column, "", f"the character U+{code:04X} is not allowed here", hint)
