"""Says how a command line may go on: verbs, options and their values, files, runs, nodes and params.

Knows no shell, and neither plans nor replays a run: it looks at what files hold, locks and writes nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wfctl.record import dataclass

if TYPE_CHECKING:
    from wfctl.store import RunFolder, Store

STRATEGIES = ("compensate", "full", "partial", "checkpoint", "auto", "none")
"""Those of `rollback`, said once more: its room takes longer to load than a key press may."""

MOST_TOLD = 50
"""Runs of which state and name are told; of older ones only the id."""
_HEAD, _TAIL = 1 << 14, 1 << 16  # bytes of a journal in which its first and its last event are looked for
_MOST_EVENTS = 2 << 20  # bytes of a journal in which nodes are looked for
_LARGEST_PARSED = 1 << 16  # bytes of a workflow file; the ids of a larger one are found by its lines
_LARGEST_READ = 16 << 20


class Candidate(NamedTuple):
    """What may stand there, and a word on it."""

    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a word may go on. `also` says what may stand there besides: `flows`, `files` or `folders`. `prefix` is the
    beginning of the word that belongs to no candidate; `goes_on` says that none ends the word."""

    candidates: Sequence[Candidate] = ()
    also: str = ""
    prefix: str = ""
    goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the words before lead to: a command, what it was given by the name of each param, and the option of which
    the value comes next."""

    command: Any
    verb: str
    given: Mapping[str, list[str]]
    option: Any
    plain: bool

    def first(self, name: str) -> str:
        """The first value of a param, with the home folder filled in; empty where there is none."""
        values = self.given.get(name)
        return os.path.expanduser(values[0]) if values else ""


def reply(words: Sequence[str], word: str, top: Any, start: Path, environ: Mapping[str, str]) -> Reply:
    """How `word` may go on after `words`. `top` is the command with all that it may be followed by."""
    place = _place(top, words)
    if place is None:
        return Reply()
    if place.option is not None:
        return _values(place, place.option, word, start, environ)
    if word.startswith("-") and not place.plain:
        name, has_value, value = word.partition("=")
        if not has_value:
            return Reply(candidates=_options(place))
        option = _named(place.command, name)
        if option is None or option.is_flag:
            return Reply()
        found = _values(place, option, value, start, environ)
        return Reply(
            candidates=found.candidates,
            also=found.also,
            prefix=f"{name}={found.prefix}",
            goes_on=found.goes_on,
        )
    verbs = getattr(place.command, "commands", None)
    if verbs is not None:
        return Reply(candidates=[Candidate(name, _first_line(verb.help)) for name, verb in verbs.items()])
    argument = _next_argument(place.command, place.given)
    return Reply() if argument is None else _values(place, argument, word, start, environ)


def _place(top: Any, words: Sequence[str]) -> _Place | None:
    command, verb, option, plain = top, "", None, False
    given: dict[str, list[str]] = {}
    for word in words:
        if option is not None:
            given.setdefault(option.name, []).append(word)
            option = None
        elif word == "--" and not plain:
            plain = True
        elif word.startswith("-") and word != "-" and not plain:
            name, has_value, value = word.partition("=")
            named = _named(command, name)
            if named is not None and not named.is_flag:
                if has_value:
                    given.setdefault(named.name, []).append(value)
                else:
                    option = named
        elif hasattr(command, "commands"):
            command, verb = command.commands.get(word), f"{verb} {word}".strip()
            if command is None:
                return None
        elif (argument := _next_argument(command, given)) is not None:
            given.setdefault(argument.name, []).append(word)
    return _Place(command=command, verb=verb, given=given, option=option, plain=plain)


def _named(command: Any, name: str) -> Any:
    return next((p for p in command.params if p.param_type_name == "option" and name in p.opts), None)


def _next_argument(command: Any, given: Mapping[str, list[str]]) -> Any:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    return next((param for param in arguments if param.nargs == -1 or param.name not in given), None)


def _options(place: _Place) -> list[Candidate]:
    """The options that may still be said: the long name of each."""
    found = [
        Candidate(max(param.opts, key=len), _first_line(param.help))
        for param in place.command.params
        if param.param_type_name == "option" and (param.multiple or param.name not in place.given)
    ]
    return [*found, Candidate("--help", "Show this message and exit.")]


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


# -- values


def _values(place: _Place, param: Any, word: str, start: Path, environ: Mapping[str, str]) -> Reply:
    """How the value of a param may go on: what it is, its metavar says."""
    kind = str(param.metavar or "").strip("[].")
    if kind == "FLOW":
        return Reply(also="flows")
    if kind == "DIR":
        return Reply(also="folders")
    if kind.startswith("FILE"):
        return Reply(also="files")
    if kind in ("ID", "FLOW|ID"):
        store = _store(place, start, environ)
        return Reply(candidates=_runs(store, word), also="flows" if kind == "FLOW|ID" else "")
    if kind == "NAME=VALUE":
        return _params(place, word)
    if kind in ("NODE", "CHOICE") or param.name == "from_checkpoint":
        return Reply(candidates=_nodes(place, param.name, kind, start, environ))
    if param.name == "workflow":
        names = dict.fromkeys(_name_of(run) for run in _store(place, start, environ).run_folders()[:MOST_TOLD])
        return Reply(candidates=[Candidate(name) for name in names if name])
    return Reply(candidates=[Candidate(value) for value in _fixed(place.verb, param.name)])


def _fixed(verb: str, name: str) -> Sequence[str]:
    """The values of an option that has few."""
    if name == "policy":
        from wfctl.policy import POLICIES

        return list(POLICIES)
    if name == "strategy":
        return STRATEGIES
    if name == "ci":
        from wfctl.reports import SERVICES

        return SERVICES
    if name == "by":
        return ("node", "resource")
    if name == "template":
        from wfctl.templates import TEMPLATES

        return list(TEMPLATES)
    if name == "shell":
        from wfctl.completers import SHELLS

        return list(SHELLS)
    if name == "format" and verb == "graph":
        from wfctl.renderers import GRAPH_FORMATS

        return list(GRAPH_FORMATS)
    return ("github",) if (verb, name) == ("validate", "format") else ()


def _params(place: _Place, word: str) -> Reply:
    """`name=`, or the value behind it where the file says which there are."""
    schemas = _data(place.first("flow")).get("params")
    schemas = schemas if isinstance(schemas, dict) else {}
    name, has_value, _ = word.partition("=")
    if not has_value:
        given = {text.partition("=")[0] for text in place.given.get("param", ())}
        return Reply(
            candidates=[Candidate(f"{n}=", _of_param(schema)) for n, schema in schemas.items() if n not in given],
            goes_on=True,
        )
    schema = schemas.get(name)
    schema = schema if isinstance(schema, dict) else {}
    values = schema.get("enum", [True, False] if schema.get("type") == "boolean" else [])
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return Reply(candidates=[Candidate(text) for text in texts], prefix=f"{name}=")


def _of_param(schema: object) -> str:
    if not isinstance(schema, dict):
        return ""
    text = str(schema.get("description") or schema.get("type") or "")
    return f"{text} ({json.dumps(schema['default'])})" if "default" in schema else text


# -- files


def _data(path: str) -> dict[str, Any]:
    """What a workflow file says, right or wrong; of a large one only which nodes it has."""
    if os.path.getsize(path) > _LARGEST_PARSED:
        with open(path, "rb") as file:
            return _by_lines(file.read(_LARGEST_READ).decode(errors="replace"))
    from wfctl import load

    return load.read(path).data


def _by_lines(text: str) -> dict[str, Any]:
    """The nodes that stand one below the other, as most do: to parse 10,000 would take a second."""
    found: dict[str, Any] = {}
    for section in ("nodes", "finally"):
        block = re.search(rf"^{section}:[ \t]*\n((?:[ \t#].*\n?|\n)*)", text, re.MULTILINE)
        indent = re.search(r"^ +(?=[\w-])", block[1], re.MULTILINE) if block else None
        if block and indent:
            found[section] = dict.fromkeys(re.findall(rf"^{indent[0]}([\w-]+):", block[1], re.MULTILINE))
    return found


def _ids(data: Mapping[str, Any], sections: Sequence[str] = ("nodes", "finally"), way: str = "") -> Iterator[Candidate]:
    """The nodes that are written in a file, those in groups too, each with its description."""
    for section in sections:
        nodes = data.get(section)
        for name, node in nodes.items() if isinstance(nodes, dict) else ():
            says = node if isinstance(node, dict) else {}
            yield Candidate(f"{way}{name}", str(says.get("description") or ""))
            if "for_each" not in says:
                yield from _ids(says, ("nodes",), f"{way}{name}.")


# -- runs


def _store(place: _Place, start: Path, environ: Mapping[str, str]) -> Store:
    from wfctl.store import Store

    return Store.find(place.first("state_dir") or None, start, environ)


def _runs(store: Store, word: str) -> list[Candidate]:
    """The runs, newest first, and `last` before them."""
    folders = store.run_folders()
    told = [folder for folder in folders if folder.id.startswith(word)]
    notes = {folder.id: _of_run(folder) for folder in [*folders[:1], *told[:MOST_TOLD]]}
    last = [Candidate("last", notes[folders[0].id])] if folders else []
    return [*last, *(Candidate(folder.id, notes.get(folder.id, "")) for folder in told)]


def _of_run(folder: RunFolder) -> str:
    """The name of a run's workflow, and how it stands."""
    from wfctl import journal

    try:
        ends = _lines(folder, _TAIL)
    except OSError:
        return ""
    last = ends[-1] if ends else {}
    if last.get("event") == "run_finished":
        state = str(last.get("state"))
    else:
        state = "running" if journal.signer(folder) is not None else "interrupted"
    return f"{_name_of(folder)} {state}".strip().replace("_", " ")


def _name_of(folder: RunFolder) -> str:
    try:
        with open(folder.journal, "rb") as file:
            found = re.search(rb'"workflow":("(?:[^"\\]|\\.)*")', file.read(_HEAD))
        return str(json.loads(found[1])) if found else ""
    except (OSError, ValueError):
        return ""


def _lines(folder: RunFolder, most: int) -> list[dict[str, Any]]:
    """The events in the last so many bytes of a journal. Raises OSError."""
    with open(folder.journal, "rb") as file:
        before = max(0, os.fstat(file.fileno()).st_size - most)
        file.seek(before)
        lines = file.read().split(b"\n")[1 if before else 0 : -1]  # one was cut, and one has no end yet
    try:
        events = json.loads(b"[%s]" % b",".join(lines))  # at once: each for itself takes three times as long
    except ValueError:
        events = []
        for line in lines:
            with suppress(ValueError):
                events.append(json.loads(line))
    return [event for event in events if isinstance(event, dict)]


_ABOUT = {"retry": "undo_failed", "done": "undo_failed", "skip": "undo_failed", "from_checkpoint": "checkpoint_saved"}
"""The options that are about nodes to which just this has happened."""


def _nodes(place: _Place, name: str, kind: str, start: Path, environ: Mapping[str, str]) -> list[Candidate]:
    """The nodes of the file or the run that was named before; of a run with what has last happened to each."""
    flow = place.first("flow")
    if flow and (os.path.exists(flow) or "id" in place.given):
        chosen = name in ("start_from", "until", "only")  # what lies in another cannot be chosen alone
        found = list(_ids(_data(flow), ("nodes",) if chosen else ("nodes", "finally")))
        return [node for node in found if "." not in node.value] if chosen else found
    run = flow or place.first("id") or ("last" if place.verb == "status" else "")
    folder = _store(place, start, environ).find_run(run)
    events = [event for event in _lines(folder, _MOST_EVENTS) if isinstance(event.get("node"), str)]
    wanted = "node_asked" if place.verb == "answer" else _ABOUT.get(name)
    latest: dict[str, dict[str, Any]] = {}
    for event in events:
        if wanted != "checkpoint_saved" or event["event"] == wanted:
            latest[event["node"]] = event
    if kind == "CHOICE":
        asked = latest.get(place.first("node"), {})
        return [Candidate(str(choice)) for choice in asked.get("choices", ())]
    if wanted is not None:
        return [Candidate(node, str(e.get("message") or "")) for node, e in latest.items() if e["event"] == wanted]
    from wfctl import journal

    notes = {node: event["event"].removeprefix("node_").replace("_", " ") for node, event in latest.items()}
    written = _ids(json.loads(journal.content(folder.workflow, _LARGEST_READ))["data"])
    names = dict.fromkeys([*(node.value for node in written), *notes])
    return [Candidate(node, notes.get(node, "")) for node in names]
