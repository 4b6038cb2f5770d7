"""Makes plain data of the events of a YAML parser, and finds places in them again.

Knows nothing of the parser, of files, or of what the data mean."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Protocol

from wfctl.errors import Fault, Invalid, Problem, Where, dotted, nearest
from wfctl.quantity import shown

MAX_DEPTH = 100
MAX_ADDED = 1_000_000
"""How many values aliases and merges may add to what is written."""
MAX_DIGITS = 4_000
"""Python refuses to print integers of more than 4,300 digits."""


class Mark(Protocol):
    line: int
    column: int


class Event(Protocol):
    """What the parser tells, as far as it is used here."""

    value: str
    tag: str | None
    anchor: str | None
    style: str | None
    start_mark: Mark
    end_mark: Mark


Open = Callable[[bytes], tuple[Callable[[], Event], Any]]
"""Parses: gives a function that gives the next event, and the classes of events."""


class Content(NamedTuple):
    """What a file is to hold, and the ways out where it does not. Without `empty` it may hold nothing."""

    noun: str
    suffixes: tuple[str, ...]
    top: str
    empty: str
    large: str


WORKFLOW = Content(
    "a workflow file",
    (".yaml", ".yml"),
    "start with version: and nodes:",
    "`wfctl init` writes a first workflow",
    "split it with the kind workflow, or use for_each",
)
PARAMS = Content(
    "a file of params",
    (".yaml", ".yml", ".json"),
    "give each param its name: NAME: VALUE",
    "",
    "let a node read what is so large from a file of its own",
)

_CORE = "tag:yaml.org,2002:"
_TAGS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "null": (type(None),),
}

# YAML 1.2's core schema: `no` and dates are text. Only a scalar that starts so can be anything else.
_FIRST = frozenset("0123456789+-.~nNtTfF") | {""}
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def resolved(text: str) -> str | int | float | bool | None:
    """What a plain scalar means. ValueError where it is a number that cannot be held."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} digits is too long")
        base: int = {"o": 8, "x": 16}.get(text[1:2], 10)
        return int(text, base)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            raise ValueError(f"{text if len(text) < 40 else 'the number'} is too large")
        return value
    if _INFINITE.fullmatch(text):
        raise ValueError(f"{text} is no finite number")
    return text


def prints_otherwise(text: str, value: object) -> bool:
    """Whether a plain scalar loses its looks: `3.10`, `0644`, `True`. `1e-4` is a number and nothing else."""
    if isinstance(value, bool):
        return text not in ("true", "false")
    if isinstance(value, int):
        return text != str(value)
    return isinstance(value, float) and "e" not in text.lower() and text != repr(value)


@dataclass(slots=True)
class _Anchored:
    value: object
    size: int
    height: int


class Builder:
    """Makes plain data of one document's events, in one pass that keeps no positions."""

    def __init__(self, file: str, source: bytes, open: Open) -> None:
        self.open = open
        self.next, events = open(source)
        self.scalar_event: type = events.ScalarEvent
        self.alias_event: type = events.AliasEvent
        self.mapping_event: type = events.MappingStartEvent
        self.ends: tuple[type, ...] = (events.MappingEndEvent, events.SequenceEndEvent)
        self.stream_end: type = events.StreamEndEvent
        self.file = file
        self.source = source
        self.faults: list[Fault] = []
        self.duplicates: list[tuple[Where, Event]] = []
        self.reprints = False
        self.path: list[str | int] = []
        self.anchors: dict[str, _Anchored | None] = {}  # None: its value is still open
        self.deepest = 0
        self.count = 0  # values so far, those that aliases added counted again
        self.added = 0

    def build(self, content: Content = WORKFLOW) -> dict[str, object]:
        """The data of the one document. Raises Invalid where there are none, and what the parser raises."""
        self.next()  # the stream starts
        event = self.next()
        if isinstance(event, self.stream_end):
            if not content.empty:
                return {}
            self.stop(None, "is empty", content.empty)
        event = self.next()
        data = self.value(event, 1)
        if not isinstance(data, dict):
            from wfctl.wording import got

            self.stop(event, f"expected a mapping at the top, got {got(data)}", content.top)
        self.next()  # the document ends
        event = self.next()
        if not isinstance(event, self.stream_end):
            self.fault(event, "a second document starts here", "keep one document in a file")
        self.all_faults()
        return data

    def value(self, event: Event, depth: int) -> object:
        kind = event.__class__
        self.count += 1
        if kind is self.scalar_event:
            return self.scalar(event)
        if kind is self.alias_event:
            return self.alias(event, depth)
        if depth > MAX_DEPTH:
            self.stop(event, f"is nested more than {MAX_DEPTH} deep")
        anchor, tag = event.anchor, event.tag
        before, deepest = self.count, self.deepest
        if anchor:
            self.anchors[anchor] = None
            self.deepest = depth
        elif depth > deepest:
            self.deepest = depth
        mapping = kind is self.mapping_event
        if tag and str(tag) not in ("!", _CORE + ("map" if mapping else "seq")):
            self.unknown_tag(event)
        self.path.append("")
        value: object = self.mapping(depth) if mapping else self.sequence(depth)
        self.path.pop()
        if anchor:
            self.anchors[anchor] = _Anchored(value, self.count - before + 1, self.deepest - depth)
            self.deepest = max(deepest, self.deepest)
        return value

    def sequence(self, depth: int) -> list[object]:
        items: list[object] = []
        path = self.path
        while (event := self.next()).__class__ not in self.ends:
            path[-1] = len(items)
            items.append(self.value(event, depth + 1))
        return items

    def mapping(self, depth: int) -> dict[str, object]:
        mapping: dict[str, object] = {}
        merged: list[object] = []
        path, scalar = self.path, self.scalar_event
        while (event := self.next()).__class__ not in self.ends:
            if event.__class__ is scalar and not event.anchor:
                key: object = event.value
            else:
                path[-1] = ""
                key = self.key(event, depth)
            value_event = self.next()
            if key == "<<" and not event.style:
                path[-1] = "<<"
                merged.append(self.merge(value_event, depth))
                continue
            path[-1] = key if isinstance(key, str) else ""
            value = self.value(value_event, depth + 1)
            if not isinstance(key, str):
                continue
            if key in mapping:
                self.duplicates.append((tuple(path), event))
            else:
                mapping[key] = value
        for source in merged:
            for one in source if isinstance(source, list) else [source]:
                if isinstance(one, dict):
                    mapping = one | mapping
        return mapping

    def key(self, event: Event, depth: int) -> str | None:
        """A key that is no simple text: with an anchor, an alias, or a fault."""
        if event.__class__ is self.scalar_event:
            self.scalar(event)
            return event.value
        value = self.value(event, depth + 1)
        if isinstance(value, str):
            return value
        before = self.line(event.start_mark.line)[max(event.start_mark.column - 1, 0) :]
        if before.startswith("{{"):
            self.fault(event, "a key must be text", 'an expression is written "${{ … }}"')
        else:
            self.fault(event, "a key must be text", "quote it")
        return None

    def merge(self, event: Event, depth: int) -> object:
        value = self.value(event, depth)
        good = all(isinstance(one, dict) for one in value) if isinstance(value, list) else isinstance(value, dict)
        if not good:
            from wfctl.wording import got

            self.fault(event, f"takes a mapping or a list of mappings, got {got(value)}")
        return value

    def alias(self, event: Event, depth: int) -> object:
        name = event.anchor or ""
        if name not in self.anchors:
            known = [anchor for anchor, of in self.anchors.items() if of][-100:]  # the last: not the square of all
            self.fault(event, f'no anchor named "{name}" stands before', nearest(name, known))
            return None
        anchored = self.anchors[name]
        if anchored is None:
            self.fault(event, f'"*{name}" stands inside "&{name}" itself')
            return None
        self.count += anchored.size
        self.added += anchored.size
        self.deepest = max(self.deepest, depth + anchored.height)
        if self.added > MAX_ADDED:
            self.stop(event, f"aliases make the file larger by more than {MAX_ADDED:,} values")
        if depth + anchored.height > MAX_DEPTH:
            self.stop(event, f"is nested more than {MAX_DEPTH} deep")
        return anchored.value

    def scalar(self, event: Event) -> object:
        text: str = event.value
        value: object = text
        if event.tag:
            value = self.tagged(event)
        elif not event.style:  # plain
            if text[:1] in _FIRST:
                value = self.plain(event, text)
            elif "${{" in text:
                self.unclosed(event, text)
        if event.anchor:
            self.anchors[event.anchor] = _Anchored(value, 1, 0)
        return value

    def plain(self, event: Event, text: str) -> object:
        try:
            value = resolved(text)
        except ValueError as error:
            self.fault(event, str(error))
            return 0
        if value.__class__ is not str:
            self.reprints = self.reprints or prints_otherwise(text, value)
        elif "${{" in text:
            self.unclosed(event, text)
        return value

    def tagged(self, event: Event) -> object:
        tag = str(event.tag)
        if tag in ("!", _CORE + "str"):
            return event.value
        wanted = _TAGS.get(tag.removeprefix(_CORE))
        if wanted is None:
            self.unknown_tag(event)
            return event.value
        value = self.plain(event, event.value)
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            self.fault(event, f"{shown(event.value)} is no !!{tag.removeprefix(_CORE)}")
        return value

    def unknown_tag(self, event: Event) -> None:
        self.fault(event, f'unknown tag "{str(event.tag).replace(_CORE, "!!")}"', "leave it out")

    def unclosed(self, event: Event, text: str) -> None:
        """A `#` after a blank starts a comment, also inside `${{ … }}`. What else is unclosed, expressions tell."""
        start = text.rfind("${{")
        if "}}" not in text[start:] and text[start - 1 : start] != "$":
            rest = self.line(event.end_mark.line)[event.end_mark.column :]
            if rest.lstrip().startswith("#"):
                from wfctl.wording import QUOTE_IT

                self.fault(event, 'a " #" starts a comment and cuts this expression', QUOTE_IT)

    def all_faults(self) -> list[Fault]:
        """The faults met so far, with those of duplicate keys, which name their first place."""
        if self.duplicates:
            finder = Finder(self.source, self.open)
            try:
                finder.walk(where for where, _ in self.duplicates)
            except Exception:  # the file cannot be read to its end, which is told already
                pass
            top = finder.top
            for where, event in self.duplicates:
                first = f"the first is in line {top.find(where)[1] + 1}"
                self.path = list(where[:-1])
                self.fault(event, f"duplicate key {shown(where[-1])}", first)
            self.duplicates = []
        return self.faults

    def fault(self, event: Event | None, message: str, hint: str = "") -> None:
        line, column = (event.start_mark.line + 1, event.start_mark.column + 1) if event else (0, 0)
        path = dotted(tuple(part for part in self.path if part != ""))
        self.faults.append(Fault(self.file, line, column, path, message, hint))

    def stop(self, event: Event | None, message: str, hint: str = "") -> NoReturn:
        """Nothing more can be said of this file."""
        if len(self.path) > 10:
            self.path = [*self.path[:3], "…"]
        self.fault(event, message, hint)
        raise Invalid(self.all_faults())

    @functools.cached_property
    def lines(self) -> list[str]:
        return self.source.decode().splitlines()

    def line(self, number: int) -> str:
        return self.lines[number] if number < len(self.lines) else ""


class Spot:
    """Where a value stands, and those values inside it that were asked for, each with the place of its key."""

    __slots__ = ("column", "inside", "line", "reached", "style", "text")

    def __init__(self, event: Event) -> None:
        self.line, self.column = event.start_mark.line, event.start_mark.column
        self.text: str | None = None  # of a scalar
        self.style: str | None = None
        self.inside: dict[str | int, tuple[int, int, Spot]] = {}
        self.reached: tuple[int, tuple[int, int], int, int] | None = None  # how far `at` has come

    def find(self, where: Where) -> tuple[bool, int, int, Spot]:
        """The way as far as it leads: whether to its end, the place of the last key, the spot."""
        spot, line, column = self, self.line, self.column
        for part in where:
            if part not in spot.inside:
                return False, line, column, spot
            line, column, spot = spot.inside[part]
        return True, line, column, spot

    def at(self, offset: int, lines: list[str]) -> tuple[int, int]:
        """The place of one character of a scalar. What is no blank stands in the source in the same order as in the
        text, with indentation, folds, quotes and escapes between: so it is looked for, one after the other. Where
        the last search ended the next goes on, so that 10,000 places in one text do not cost its square."""
        if self.reached is None or self.reached[0] > offset:
            self.reached = self.start(lines)
        done, place, line, column = self.reached
        for char in (self.text or "")[done : offset + 1]:
            if char.isspace():
                continue
            if self.style == '"':
                line, column, end = _unescaped(lines, line, column)
            else:
                while line < len(lines) and (column := lines[line].find(char, column)) < 0:
                    line, column = line + 1, 0
                end = column + 1
            if line >= len(lines):
                break
            place = line, column
            column = end
        self.reached = offset + 1, place, line, column
        return place

    def start(self, lines: list[str]) -> tuple[int, tuple[int, int], int, int]:
        place = line, column = self.line, self.column
        if self.style in ("|", ">"):
            return 0, place, line + 1, 0
        properties = re.match(r"(?:[&!]\S*\s+)*[\"']?", lines[line][column:])
        return 0, place, line, column + (properties.end() if properties else 0)


_WRITTEN = re.compile(
    r"(?:\s|\\(?:[ \tntrvfNLP_]|x(?:09|0[a-dA-D]|20|85|[aA]0)|$))*(\\(?:x..|u.{4}|U.{8}|.)|\S)",
)


def _unescaped(lines: list[str], line: int, column: int) -> tuple[int, int, int]:
    """The next character in double quotes that is no blank: its line, and from where to where it is written there."""
    while line < len(lines):
        written = _WRITTEN.match(lines[line], column)
        if written:
            return line, written.start(1), written.end(1)
        line, column = line + 1, 0
    return line, column, column


class Trie(dict[str | int, "Trie"]):
    """The ways that are asked for, as a tree."""


class Finder:
    """One walk over the events. What stands below an anchor is kept whole, for an alias may ask for it."""

    def __init__(self, source: bytes, open: Open) -> None:
        self.next, self.events = open(source)
        self.anchors: dict[str, Spot] = {}

    def walk(self, wheres: Iterable[Where]) -> Spot:
        """Keep the places of what is asked for, below the spot of the whole. `top` is it, as far as the walk came."""
        wanted = Trie()
        for where in wheres:
            inner = wanted
            for part in where:
                inner = inner.setdefault(part, Trie())
        self.next()  # the stream starts
        self.next()  # the document starts
        event = self.next()
        self.top = Spot(event)
        self.fill(self.top, event, wanted)
        return self.top

    def spot(self, event: Event, wanted: Trie | None) -> Spot:
        if isinstance(event, self.events.AliasEvent):
            return self.anchors.get(event.anchor or "") or Spot(event)
        spot = Spot(event)
        self.fill(spot, event, wanted)
        return spot

    def fill(self, spot: Spot, event: Event, wanted: Trie | None) -> None:
        """`wanted` None: everything."""
        if event.anchor:
            self.anchors[event.anchor] = spot
            wanted = None
        if isinstance(event, self.events.ScalarEvent):
            spot.text, spot.style = event.value, event.style
        elif isinstance(event, self.events.MappingStartEvent):
            self.fill_mapping(spot, wanted)
        else:
            place = 0
            while not isinstance(event := self.next(), self.events.SequenceEndEvent):
                self.keep(spot, place, event, event, wanted)
                place += 1

    def fill_mapping(self, spot: Spot, wanted: Trie | None) -> None:
        merged: list[Spot] = []
        while not isinstance(event := self.next(), self.events.MappingEndEvent):
            if isinstance(event, self.events.ScalarEvent):
                name = event.value
                if event.anchor:
                    self.spot(event, Trie())
            else:
                name = self.spot(event, Trie()).text or ""
            value = self.next()
            if name == "<<" and not getattr(event, "style", ""):
                source = self.spot(value, None)
                merged += [one for *_, one in source.inside.values()] if 0 in source.inside else [source]
            else:
                self.keep(spot, name, event, value, wanted)
        for source in merged:
            for name, entry in source.inside.items():
                if wanted is None or name in wanted:
                    spot.inside.setdefault(name, entry)

    def keep(self, spot: Spot, name: str | int, key: Event, value: Event, wanted: Trie | None) -> None:
        """Read on, and keep the first of that name."""
        inner = None if wanted is None else wanted.get(name, _NOTHING)
        child = self.spot(value, inner)
        if inner is not _NOTHING and name not in spot.inside:
            spot.inside[name] = (key.start_mark.line, key.start_mark.column, child)


_NOTHING = Trie()


def position(top: Spot, problem: Problem, lines: list[str]) -> tuple[int, int]:
    """Line and column from 0."""
    whole, line, column, spot = top.find(problem.where)
    if problem.key or not whole:
        return line, column
    return spot.at(problem.offset, lines) if problem.offset else (spot.line, spot.column)
