"""Reads a YAML file into plain data, and tells what is wrong with its shape: the one door to YAML and to schemas.

Knows nothing of what a workflow means, and runs nothing."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wfctl import tree
from wfctl.errors import Fault, Invalid, Problem, UsageError, Where, dotted, nearest
from wfctl.quantity import shown

if TYPE_CHECKING:
    from jsonschema_rs import Validator

MAX_BYTES = 64 * 2**20
MAX_FAULTS = 1_000


@dataclass(frozen=True)
class Document:
    """A file as plain data. `faults` are those that were met while the data were made (a duplicate key, an
    unknown tag, an unclosed `${{`): the data are as good as they can be in spite of them, and `check` tells of
    them together with those of shape. `reprints` says that some number would print otherwise than it is written.
    """

    file: str
    data: dict[str, object]
    digest: str
    source: bytes = field(repr=False)
    faults: tuple[Fault, ...] = ()
    reprints: bool = False
    checked: bool = False
    """The data are remembered from a time when they were found good."""
    laid: Mapping[Where, str] = field(default_factory=dict)
    """Values that were laid over those of the file, with what was typed for that: `--set concurrency=4`."""

    def place(self, problems: Iterable[Problem]) -> list[Fault]:
        """The problems with line and column, in order. What is not in the file is placed at what would hold it, but
        what was laid over it where it was typed."""
        found = list(problems)
        if not found:
            return []
        top = tree.Finder(self.source, _events).walk(problem.where for problem in found)
        lines = self.source.decode().splitlines()
        faults = []
        for problem in found:
            typed = next((text for where, text in self.laid.items() if problem.where[: len(where)] == where), None)
            if typed is not None:
                faults.append(Fault(typed, 0, 0, problem.shown_path, problem.message, problem.hint))
                continue
            line, column = tree.position(top, problem, lines)
            faults.append(Fault(self.file, line + 1, column + 1, problem.shown_path, problem.message, problem.hint))
        return sorted(faults)


def read(
    file: str,
    recall: Callable[[str], dict[str, Any] | None] = lambda digest: None,
    content: tree.Content = tree.WORKFLOW,
) -> Document:
    """The file as data. `recall` may remember what bytes of that hash were found to say.

    Raises Invalid where no data can be made of it at all (no YAML, no mapping, too deep), and UsageError where it
    cannot be opened. Lesser faults are in the document.
    """
    source = _bytes_of(file, content)
    digest = hashlib.sha256(source).hexdigest()
    remembered = recall(digest)
    if remembered is not None:
        return Document(file, remembered, digest, source, checked=True)
    _refuse_other_encodings(file, source)
    from ruamel.yaml.error import YAMLError

    builder = tree.Builder(file, source, _events)
    try:
        data = builder.build(content)
    except YAMLError as error:
        from wfctl import wording

        raise Invalid([*builder.all_faults(), wording.syntax_fault(file, source, error)]) from None
    return Document(file, data, digest, source, tuple(sorted(builder.faults)), builder.reprints)


def check(document: Document) -> list[Fault]:
    """Every fault of the document's shape, in order; empty when it is good."""
    if document.checked:
        return []
    validator, schema = _workflow_validator(), _workflow_schema()
    problems = [*_case_problems(document.data), *_param_problems(document.data)]
    if not validator.is_valid(document.data):
        from wfctl import wording

        installed, more = _installed(document.data, schema)
        problems += more
        if installed:
            schema = installed
            validator = _validator(schema)
        shown = 0
        for part in _parts(document.data):
            found = wording.problems(validator.iter_errors(part), schema, hints=shown < MAX_FAULTS)
            shown += sum(problem.where[:1] == ("nodes",) for problem in found)  # and those of the next come behind them
            problems += found
    if document.reprints and len(problems) < MAX_FAULTS:
        problems += _reprinted(document)
    # Where the making of the data had trouble, what the schema says of the result is an echo.
    told = {(fault.line, fault.column) for fault in document.faults}
    faults = [fault for fault in document.place(problems) if (fault.line, fault.column) not in told]
    return sorted([*document.faults, *faults])


def cut(faults: list[Fault]) -> list[Fault]:
    """The first MAX_FAULTS of sorted faults; the place of the next one says how many more there are."""
    if len(faults) <= MAX_FAULTS:
        return faults
    following = faults[MAX_FAULTS]
    message = f"{len(faults) - MAX_FAULTS} more faults from here on are not shown"
    return [*faults[:MAX_FAULTS], Fault(following.file, following.line, following.column, "", message)]


def check_value(schema: Mapping[str, object], value: object) -> list[tuple[Where, str]]:
    """What is wrong with a value by a user's JSON Schema: where inside the value, and what.

    A schema that is none itself (`check_schema` tells of that) allows everything.
    """
    from jsonschema_rs import ReferencingError, ValidationError

    from wfctl import wording

    infinite = [(where, "must be a finite number") for where in _infinite(value, ())]
    if infinite:
        return infinite
    try:
        errors = list(_validator(schema).iter_errors(value))
    except (ValidationError, ReferencingError, ValueError):
        return []
    return [(problem.where, _with_hint(problem)) for problem in wording.problems(errors, None)]


def check_schema(schema: object) -> list[tuple[Where, str]]:
    """What is wrong with a user's JSON Schema itself: where inside it, and what. Nothing is ever fetched."""
    from jsonschema_rs import ReferencingError, ValidationError

    from wfctl import wording

    remote = [(where, f'"{ref}" would be fetched; refer to a part of the schema itself, such as "#/$defs/x"')
              for where, ref in _references(schema, ()) if not ref.startswith("#")]
    if remote:
        return remote
    try:
        _validator(schema)
    except ValidationError as error:
        where = tuple(error.instance_path)
        value = functools.reduce(lambda inner, part: inner[part], where, schema)  # type: ignore[index]
        last = where[-1] if where else ""
        if last == "type" and isinstance(value, str):
            return [(where, "; ".join(filter(None, (f'"{value}" is no type', nearest(value, wording.TYPES)))))]
        if last == "format":
            return [(where, f"the format {shown(value)} is not known")]
        if last == "pattern":
            return [(where, f"{shown(value)} is no regular expression")]
        if error.kind.name == "$ref" or not where:
            return [(where, f"is no JSON Schema: {_first_line(error.message)}")]
        return [(problem.where, _with_hint(problem)) for problem in wording.problems([error], None)]
    except (ReferencingError, ValueError) as error:
        return [((), f"is no JSON Schema: {_first_line(str(error))}")]
    return []


def read_params(file: str) -> dict[str, object]:
    """A file of params, YAML or JSON: a mapping of names to values. Raises as `read`, with all faults."""
    document = read(file, content=tree.PARAMS)
    if document.faults:
        raise Invalid(document.faults)
    return document.data


def value_of(text: str) -> object:
    """What a file would hold that has this text behind a key, in one line; the text itself where it is no value.

    Raises ValueError for one that no file may hold: it is nested too deep, or its aliases make it too large.
    """
    if text[:1] not in ("[", "{", '"', "'"):
        try:
            return tree.resolved(text) if text else text  # nothing was typed: an empty text, not null
        except ValueError:
            return text
    from ruamel.yaml.error import YAMLError

    try:
        builder = tree.Builder("", f"value: {text}".encode(), _events)
        data = builder.build()
    except (YAMLError, UnicodeEncodeError):
        return text
    except Invalid as error:
        raise ValueError(error.faults[-1].message) from None
    return text if builder.faults or list(data) != ["value"] else data["value"]


@functools.cache
def schema_text() -> str:
    """The published JSON Schema of workflow files."""
    here = Path(__file__).resolve().parent
    for folder in (here, here.parent):  # a wheel holds `schemas`; a checkout has it beside the package
        path = folder / "schemas" / "workflow.schema.json"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError("schemas/workflow.schema.json is not installed with wfctl")


# -- from the file to bytes


def _bytes_of(file: str, content: tree.Content) -> bytes:
    try:
        kind = os.stat(file).st_mode
        if stat.S_ISDIR(kind):
            raise UsageError(f'"{file}" is a folder; {_files_in(file, content) or f"name {content.noun}"}')
        if not stat.S_ISREG(kind):
            raise UsageError(f'"{file}" is no regular file; name {content.noun}')
        with open(file, "rb") as stream:
            source = stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        folder, name = os.path.split(file)
        here = [f for f in _listed(folder or ".", content) if nearest(_stem(name), [_stem(f)])]
        hint = nearest(name, here) or _files_in(folder or ".", content) or f"name {content.noun}"
        raise UsageError(f'no file "{file}"; {hint}') from None
    except ValueError:
        raise UsageError(f"cannot read {shown(file)}: no name of a file holds a NUL character") from None
    except OSError as error:
        raise UsageError(f"cannot read {shown(file)}: {(error.strerror or str(error)).lower()}") from None
    if len(source) > MAX_BYTES:
        raise Invalid([Fault(file, 0, 0, "", "is over 64 MiB", content.large)])
    return source.removeprefix(b"\xef\xbb\xbf")


def _stem(name: str) -> str:
    """A file's name without the suffix, in which all workflows are alike."""
    return os.path.splitext(name)[0]


def _listed(folder: str, content: tree.Content) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(content.suffixes))
    except OSError:
        return []


def _files_in(folder: str, content: tree.Content) -> str:
    names = _listed(folder, content)
    more = ", …" if len(names) > 5 else ""
    return f"there are {', '.join(names[:5])}{more}" if names else ""


def _refuse_other_encodings(file: str, source: bytes) -> None:
    if source[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Invalid([Fault(file, 1, 1, "", "is UTF-16", "save it as UTF-8")])
    try:
        source.decode()
    except UnicodeDecodeError as error:
        before = source[: error.start].decode().splitlines(keepends=True) or [""]
        line, column = (len(before), len(before[-1])) if before[-1][-1:] not in ("\n", "\r") else (len(before) + 1, 0)
        message = f"the byte 0x{source[error.start]:02x} is not UTF-8"
        raise Invalid([Fault(file, line, column + 1, "", message, "save it as UTF-8")]) from None


# -- from bytes to events


def _events(source: bytes) -> tuple[Callable[[], tree.Event], Any]:
    """A function that gives the parser's next event, and the classes of events.

    The C parser where there is one, for it is 10 times as fast."""
    from ruamel.yaml import YAML, cyaml, events

    parser_class = getattr(cyaml, "CParser", None)
    if parser_class is not None:
        return parser_class(source).get_event, events
    return YAML(typ="safe", pure=True).parse(source.decode()).__next__, events


# -- shapes


@functools.cache
def _workflow_schema() -> dict[str, Any]:
    import json

    schema: dict[str, Any] = json.loads(schema_text())
    return schema


@functools.cache
def _workflow_validator() -> Validator:
    return _validator(_workflow_schema())


def _installed(data: dict[str, object], schema: dict[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The schema with the installed kinds, and what is wrong with the values of those that the data name by their own
    schemas; None where there is none. Packages are looked through only if some node has a key that nobody knows."""
    from wfctl import installed, plugins

    unknown = list(installed.unknown_keys(data, schema["$defs"]["node_keys"]["properties"]))
    kinds = plugins.installed() if unknown else {}
    if not kinds:
        return None, []
    named = [(where, value) for where, value in unknown if where[-1] in kinds]
    problems = [problem for where, value in named for problem in _by_own_schema(value, where)]
    return installed.schema_with(schema, kinds.keys()), problems


def _by_own_schema(value: object, where: Where) -> list[Problem]:
    """What is wrong with the value of an installed kind, by the schema that the kind has, if any."""
    from wfctl import installed, plugins, wording

    name = str(where[-1])
    try:
        schema = getattr(plugins.kind(name), "schema", None)
    except UsageError:
        return []  # who asks for the kind itself is told
    if schema is None:
        return []
    for inner, message in check_schema(schema):
        return [Problem(where, f'the kind "{name}" has a schema that is none: {dotted(inner)} {message}', key=True)]
    errors = _validator(schema).iter_errors(value)
    sure = (error for error in errors if not installed.is_decided_later(error.kind.name, error.instance))
    found = []
    for problem in wording.problems(sure, None, schema):
        inside = (*where, *problem.where)
        path = None if problem.path is None else dotted(inside[:-1])  # an unknown key is told of what holds it
        found.append(Problem(inside, problem.message, problem.hint, key=problem.key, path=path))
    return found


def _validator(schema: object) -> Validator:
    """Knows every format it is asked for, and fetches nothing."""
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True, ignore_unknown_formats=False, offline=True)  # type: ignore[arg-type]


def _parts(data: dict[str, object]) -> Iterator[dict[str, object]]:
    """The data, the nodes of a large file in portions: each error of the validator holds a copy of what it is about,
    which made 400 MB of 10,000 misspelt keys."""
    nodes = data.get("nodes")
    if not isinstance(nodes, dict) or len(nodes) <= _PORTION:
        yield data
        return
    ids = list(nodes)
    for start in range(0, len(ids), _PORTION):
        portion = {name: nodes[name] for name in ids[start : start + _PORTION]}
        yield {"version": 1, "nodes": portion} if start else {**data, "nodes": portion}


_PORTION = 500


def _case_problems(data: Mapping[str, object]) -> Iterator[Problem]:
    """Ids of one workflow that are the same when case is folded."""
    ids: dict[str, str] = {}
    waiting: list[tuple[Where, object, dict[str, str]]] = [((key,), data.get(key), ids) for key in ("finally", "nodes")]
    while waiting:
        where, nodes, first = waiting.pop()
        if not isinstance(nodes, dict):
            continue
        for name, node in nodes.items():
            other = first.setdefault(name.casefold(), name)
            if other != name:
                message = f'the ids "{other}" and "{name}" differ only in case'
                yield Problem((*where, name), message, "rename one", key=True, path=dotted(where))
            if isinstance(node, dict) and "nodes" in node:
                waiting.append(((*where, name, "nodes"), node["nodes"], {}))


def _param_problems(data: Mapping[str, object]) -> Iterator[Problem]:
    params = data.get("params")
    for name, schema in params.items() if isinstance(params, dict) else ():
        if isinstance(schema, dict):
            for where, message in check_schema(schema):
                yield Problem(("params", name, *where), message)


_STRICT: Mapping[str, tuple[str, ...]] = {
    # definitions of the schema that stand for text, and what else they allow
    "text": (),
    "text_or_null": ("null",),
    "text_or_default": ("object",),
    "element": ("array", "object", "null"),
}


@functools.cache
def _strict_validator() -> Validator:
    strict = {**_workflow_schema()}
    strict["$defs"] = {**strict["$defs"]}
    for name, other in _STRICT.items():
        strict["$defs"][name] = {"type": ["string", *other]}
    return _validator(strict)


def _reprinted(document: Document) -> list[Problem]:
    """Numbers that would print otherwise, where they stand for text.

    Found by a stricter schema, in which text is nothing but text; where it complains of a number, the file says
    how that was written.
    """
    wheres = set()
    for error in _strict_validator().iter_errors(document.data):
        if isinstance(error.instance, (int, float)) and error.kind.name == "type":
            wheres.add(tuple(error.instance_path))
    found = []
    top = tree.Finder(document.source, _events).walk(wheres)
    for where in wheres:
        whole, _, _, spot = top.find(where)
        text = spot.text or ""
        try:
            value = tree.resolved(text)
        except ValueError:
            continue  # told when the data were made
        if whole and not spot.style and tree.prints_otherwise(text, value):
            kind = "value" if isinstance(value, bool) else "number"
            found.append(Problem(where, f"{text} is the {kind} {shown(value)}", f'quote it: "{text}"'))
    return found


def _infinite(value: object, where: Where) -> Iterator[Where]:
    if isinstance(value, float) and not math.isfinite(value):
        yield where
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _infinite(inner, (*where, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _infinite(inner, (*where, place))


def _references(schema: object, where: Where) -> Iterator[tuple[Where, str]]:
    """The references of a schema, and the dialect where it is not the one we speak."""
    if isinstance(schema, dict):
        for key, inner in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(inner, str):
                yield (*where, key), inner
            elif key == "$schema" and isinstance(inner, str) and not inner.startswith(_DIALECT):
                yield (*where, key), inner
            elif key not in ("default", "const", "enum", "examples"):
                yield from _references(inner, (*where, key))
    elif isinstance(schema, list):
        for place, inner in enumerate(schema):
            yield from _references(inner, (*where, place))


_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _with_hint(problem: Problem) -> str:
    return f"{problem.message}; {problem.hint}" if problem.hint else problem.message


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
