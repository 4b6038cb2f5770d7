"""The published schema: it is whole, it is flat enough to be quick, and both validators read it alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import pytest

from wfctl import events as ev
from wfctl import level, load, rollback
from wfctl.noderun import NodeState
from wfctl.state import RunStatus

ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT / "tests" / "cases" / "load"
DESIGN = ROOT.parent / "shared"
SCHEMA = json.loads(load.schema_text())
QUICK = jsonschema_rs.Draft202012Validator(SCHEMA)
REFERENCE = jsonschema.Draft202012Validator(SCHEMA)


def data(path: Path) -> dict[str, Any]:
    return load.read(str(path)).data


def schemas(schema: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a key, with the key's name."""
    if isinstance(schema, dict):
        for key, inner in schema.get("properties", {}).items():
            yield f"{name}.{key}", inner
        for key, inner in schema.items():
            if key not in ("examples", "default", "enum", "required"):
                yield from schemas(inner, f"{name}.{key}")
    elif isinstance(schema, list):
        for place, inner in enumerate(schema):
            yield from schemas(inner, f"{name}[{place}]")


def values(value: Any) -> Iterator[Any]:
    """The value with one part at a time replaced by something of every type."""
    yield from (None, True, 0, -1, 1.5, "", "text", "${{ x }}", "10 parsecs", [], [[]], {}, {"zz": 1})
    if isinstance(value, dict):
        for key, inner in value.items():
            for changed in values(inner):
                yield {**value, key: changed}
        for key in value:
            yield {other: inner for other, inner in value.items() if other != key}
    elif isinstance(value, list):
        for place, inner in enumerate(value[:2]):
            for changed in values(inner):
                yield [*value[:place], changed, *value[place + 1 :]]


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert load.check_schema(SCHEMA) == []


def published(name: str) -> Any:
    return json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())


@pytest.mark.parametrize("file", sorted((ROOT / "schemas").glob("*.json")), ids=lambda path: path.stem)
def test_what_is_published_of_documents_are_json_schemas(file: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(file.read_text()))


def test_the_events_that_are_published_are_all_there_are() -> None:
    assert set(published("events")["properties"]["event"]["enum"]) == ev.EVENTS.keys()


def test_what_is_published_of_a_rollback_is_what_there_is() -> None:
    status, undo = published("status"), published("undo")
    assert status["$defs"]["analysis"] == undo["$defs"]["analysis"]
    assert {f.name for f in fields(rollback.Analysis)} == set(undo["$defs"]["analysis"]["required"])
    strategies = rollback.STRATEGIES.keys() - {"auto"}  # that is one of the others once it has chosen
    assert set(undo["properties"]["strategy"]["enum"]) == strategies
    assert set(status["properties"]["rollback"]["properties"]["strategy"]["enum"]) == {*strategies, "superseded"}


def test_the_states_that_are_published_are_all_there_are() -> None:
    assert set(published("status")["$defs"]["node"]["properties"]["state"]["enum"]) == set(NodeState)
    assert set(RunStatus) <= set(published("status")["properties"]["state"]["enum"])


def test_what_stands_beside_a_kind_is_known_alike_to_the_schema_and_to_who_looks_for_installed_kinds() -> None:
    assert SCHEMA["$defs"]["node_keys"]["properties"].keys() == level.NODE_KEYS | {*level.KINDS}


def test_the_example_of_every_key_is_good_and_uses_every_key() -> None:
    example = data(CASES / "every_key.yaml")
    assert QUICK.is_valid(example)
    text = (CASES / "every_key.yaml").read_text()
    known = {name.rpartition(".")[2] for name, _ in schemas(SCHEMA)} - {"bearer"}
    assert {key for key in known if not re.search(rf"\b{key}:", text)} == set()


def test_every_key_says_what_it_is_for() -> None:
    assert [name for name, schema in schemas(SCHEMA) if "description" not in schema] == []


def test_every_mapping_of_fixed_keys_ignores_x_keys_and_no_others() -> None:
    assert load.check_value(SCHEMA, {**data(CASES / "every_key.yaml"), "x-any": [1]}) == []
    for part in (SCHEMA, *SCHEMA["$defs"].values()):
        if part.get("additionalProperties") is False:
            assert part["patternProperties"] == {"^x-": True}


@pytest.mark.parametrize("key", ["version", "nodes"])
def test_version_and_nodes_are_required(key: str) -> None:
    example = data(CASES / "every_key.yaml")
    del example[key]
    assert [message for _, message in load.check_value(SCHEMA, example)] == [f'missing key "{key}"']


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_both_validators_agree_on_files(case: Path) -> None:
    if case.stem == "bad_yaml":
        pytest.skip("a value that holds itself is cut there")
    assert QUICK.is_valid(data(case)) == REFERENCE.is_valid(data(case)) or case.stem == "bad_ids"


def test_both_validators_agree_on_every_wrong_type_in_every_key() -> None:
    example = data(CASES / "every_key.yaml")
    nodes: dict[str, Any] = example.pop("nodes")
    for key, value in example.items():
        for changed in values(value):
            agree({"version": 1, "nodes": {"a": {"run": "x"}}, key: changed})
    for node in nodes.values():
        for changed in values(node):
            agree({"version": 1, "nodes": {"a": changed}})


def agree(document: dict[str, Any]) -> None:
    quick, reference = QUICK.is_valid(document), REFERENCE.is_valid(document)
    assert quick == reference, document


def test_every_wrong_type_in_every_key_is_told_without_the_words_of_json_schema(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    for key, value in data(CASES / "every_key.yaml").items():
        for number, changed in enumerate(values(value)):
            if number >= 300:
                break
            document = {"version": 1, "nodes": {"a": {"run": "x"}}, key: changed}
            if QUICK.is_valid(document):
                continue
            file.write_text(json.dumps(document))
            faults = load.check(load.read(str(file)))
            assert faults, document
            for fault in faults:
                assert fault.line == 1
                assert not re.search(r"valid under|schemas listed|oneOf|anyOf|not of type", fault.message), fault


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        ({"type": "integer"}, "eight", [((), 'expected an integer, got "eight"')]),
        ({"type": ["integer", "null"]}, [], [((), "expected an integer or null, got a list")]),
        ({"type": "integer", "minimum": 1}, 0, [((), "must be at least 1, got 0")]),
        ({"enum": ["a", "b"]}, "c", [((), '"c" is not one of "a", "b"')]),
        ({"enum": ["dev", "prod"]}, "prd", [((), '"prd" is not one of "dev", "prod"; did you mean "prod"?')]),
        ({"type": "string", "format": "date"}, "31.1.2026", [((), '"31.1.2026" is no date')]),
        ({"type": "string", "pattern": "^a+$"}, "b", [((), '"b" does not match the pattern ^a+$')]),
        ({"type": "array", "items": {"type": "number"}}, [1, "x"], [((1,), 'expected a number, got "x"')]),
        ({"required": ["size"]}, {"b": 1}, [((), 'missing key "size"')]),
        ({"properties": {"size": {}}, "additionalProperties": False}, {"sise": 1}, [(("sise",), 'unknown key "sise"')]),
        ({"type": "number"}, float("nan"), [((), "must be a finite number")]),
        ({"type": "number", "title": "free text"}, "x", [((), 'expected a number, got "x"')]),
        ({"type": "array", "minItems": 1}, [], [((), "must not be empty")]),
        ({"const": 1}, 2, [((), "must be 1, got 2")]),
        ({"type": "integer", "default": 3}, 8, []),
    ],
)
def test_a_param_that_does_not_fit_its_schema_is_told_plainly(
    schema: dict[str, Any], value: object, says: object
) -> None:
    assert load.check_value(schema, value) == says


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$schema": "http://127.0.0.1:9/schema.json"},
        {"properties": {"a": {"$ref": "file:///etc/hostname"}}},
        {"$ref": "other.json"},
    ],
)
def test_no_schema_is_ever_fetched(schema: dict[str, Any]) -> None:
    ((where, message),) = load.check_schema(schema)
    assert where[-1] in ("$ref", "$schema")
    assert "would be fetched" in message
    assert load.check_value(schema, 1) == []


def test_references_inside_a_schema_are_followed() -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}
    assert load.check_schema(schema) == []
    assert load.check_value(schema, [1, "x"]) == [((1,), 'expected an integer, got "x"')]


@pytest.mark.parametrize("name", ["bio", "bluegreen", "scrape", "sweep"])
def test_the_design_examples_are_good(name: str) -> None:
    file = DESIGN / "examples" / "flows" / f"{name}.yaml"
    if not file.exists():
        pytest.skip("the design examples are not here")
    assert load.check(load.read(str(file))) == []


def test_the_first_look_of_the_format_is_good(tmp_path: Path) -> None:
    file = DESIGN / "design" / "FORMAT.md"
    if not file.exists():
        pytest.skip("the design is not here")
    flow = tmp_path / "flow.yaml"
    flow.write_text(file.read_text().split("```yaml\n")[1].split("```")[0])
    assert load.check(load.read(str(flow))) == []
