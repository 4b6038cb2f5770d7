"""Nodes of installed kinds in the data of a file: where keys may name one, and the schema that knows them.

Looks for no package: it is told which kinds there are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from wfctl.errors import Where

_OF_PARTS = ("anyOf", "oneOf", "not", "const", "enum", "contains", "uniqueItems", "if")
"""Words of a schema that judge a value by all that is in it."""


def unknown_keys(data: Mapping[str, Any], known: Collection[str]) -> Iterator[tuple[Where, object]]:
    """The keys of nodes, and of the steps in them, that are not `known`: the way to each, and its value."""
    waiting: list[tuple[Where, Any]] = [((section,), data.get(section)) for section in ("nodes", "finally")]
    while waiting:
        where, nodes = waiting.pop()
        for name, node in _entries(nodes):
            if not isinstance(node, dict):
                continue
            for key, value in node.items():
                if key not in known and not key.startswith("x-"):
                    yield (*where, name, key), value
            for inner in node.keys() & {"nodes", "compensate"}:
                waiting.append(((*where, name, inner), node[inner]))
            if "verify" in node:
                waiting.append(((*where, name), {"verify": node["verify"]}))


def schema_with(schema: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The schema of workflow files with more kinds, of any value."""
    definitions = dict(schema["$defs"])
    for keys in ("node_keys", "step_keys", "verify_keys"):
        old = definitions[keys]
        definitions[keys] = {**old, "properties": {**old["properties"], **dict.fromkeys(names, True)}}
    required = [{"required": [name]} for name in sorted(names)]
    kinds = definitions["kinds"]
    definitions["kinds"] = {**kinds, "oneOf": [*kinds["oneOf"], *required]}
    parts = definitions["defaults"]["allOf"]
    definitions["defaults"] = {
        **definitions["defaults"],
        "allOf": [*parts[:-1], {"not": {"anyOf": [*parts[-1]["not"]["anyOf"], *required]}}],
    }
    return {**schema, "$defs": definitions}


def is_decided_later(word: str, value: object) -> bool:
    """Whether what a schema says of the value by that word may be otherwise once its expressions are evaluated."""
    return _holds_expression(value) if word in _OF_PARTS else isinstance(value, str) and "${{" in value


def _holds_expression(value: object) -> bool:
    if isinstance(value, (dict, list)):
        return any(map(_holds_expression, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and "${{" in value


def _entries(nodes: object) -> Iterator[tuple[str | int, object]]:
    """Of a mapping of nodes, or a list of steps."""
    if isinstance(nodes, dict):
        yield from nodes.items()
    elif isinstance(nodes, list):
        yield from enumerate(nodes)
