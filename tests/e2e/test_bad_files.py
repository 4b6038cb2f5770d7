"""A bad file ends with 2 and all its faults, each where it stands; nothing is run and nothing is written.

The faults themselves are golden texts in `tests/cases/faults`: a changed wording is a difference to read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Command
from wfctl import flow, load
from wfctl.errors import Invalid
from wfctl.plan import Request
from wfctl.wording import KINDS

CASES = ROOT / "tests/cases/faults"
Way = tuple[str | int, ...]
GOOD = 'version: 1\nnodes:\n  a: {run: "true"}\n'


COMMAND = """
import sys, time
from wfctl.cli import main
try:
    sys.exit(main())
finally:
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    open("used", "w").write(f"{time.process_time()} {peak}")
"""


class Refused:
    """What became of `wfctl run` on a file that must be refused."""

    def __init__(self, folder: Path, text: str | bytes, *words: str) -> None:
        (folder / "flow.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        before = sorted(folder.iterdir())
        ended = subprocess.run(
            [sys.executable, "-c", COMMAND, "run", "flow.yaml", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(folder / ".wfctl")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.text = ended.stderr
        self.faults = ended.stderr.splitlines()
        assert (ended.returncode, ended.stdout) == (2, ""), self.text[-2000:]
        assert "Traceback" not in self.text
        # Processor time: on a busy machine the clock on the wall says nothing.
        seconds, kib = map(float, (folder / "used").read_text().split())
        assert seconds < 3
        assert kib / 1024 < 300
        (folder / "used").unlink()
        assert sorted(folder.iterdir()) == before


def faults_of(folder: Path, text: str | bytes) -> list[str]:
    """The faults of a file, without the start of a command."""
    path = folder / "flow.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    request = Request(folder=str(folder), cores=2, machine={"cpu": 2000, "memory": 2**30})
    try:
        found = flow.check(flow.read(str(path)), request)
    except Invalid as error:
        found = error.faults
    return [str(fault).removeprefix(f"{folder}/flow.yaml:") for fault in found]


# -- 26 and 30: all faults at once, where they stand


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_validate_tells_every_fault_of_a_file_where_it_stands(case: Path, wfctl: Command) -> None:
    ended = wfctl("validate", case.name, cwd=CASES)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == case.with_suffix(".txt").read_text()


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_run_tells_the_same_and_writes_nothing(case: Path, tmp_path: Path) -> None:
    golden = case.with_suffix(".txt").read_text().replace(case.name, "flow.yaml")
    assert Refused(tmp_path, case.read_bytes()).text == golden


def test_faults_are_told_by_line(tmp_path: Path) -> None:
    faults = Refused(tmp_path, (CASES / "names.yaml").read_bytes()).faults
    places = [tuple(map(int, fault.split(":")[1:3])) for fault in faults]
    assert places == sorted(places)


@pytest.mark.parametrize("size", [1, 2, 50, 10_000])
def test_a_cycle_of_any_size_is_one_fault_that_shows_the_way_round(tmp_path: Path, size: int) -> None:
    nodes = "".join(f'  n{i}: {{run: "true", needs: [n{(i + 1) % size}]}}\n' for i in range(size))
    (fault,) = Refused(tmp_path, "version: 1\nnodes:\n" + nodes).faults
    assert fault.startswith("flow.yaml:3:3: cycle: n0 -> ")
    assert fault.split("; ")[0].endswith(" -> n0")
    assert len(fault) < 200


WRONG_NODES = {
    "unknown needs": ("    run: x\n    needs: [m{i}x]\n", 'no node named "m0x"'),
    "unknown names": ("    run: echo ${{{{ nodes.m{i}.output }}}}\n", 'no node named "m0"'),
    "wrong values": ("    run: 5\n    timeout: 10 parsecs\n    needs: n\n", "got 5"),
    "unknown keys": ("    r{i}n: x\n", 'did you mean "run"?'),
    "demands over the budget": ("    run: x\n    resources: {{cpu: 5000}}\n", "needs 5000"),
    "one path": ("    run: x\n    writes: [out]\n", 'is written by "n0" too'),
}


@pytest.mark.parametrize(("node", "first"), WRONG_NODES.values(), ids=WRONG_NODES)
def test_ten_thousand_wrong_nodes_are_told_in_time_and_cut_short(tmp_path: Path, node: str, first: str) -> None:
    text = "version: 1\nnodes:\n" + "".join(f"  n{i}:\n{node.format(i=i)}" for i in range(10_000))
    faults = Refused(tmp_path, text).faults
    assert first in faults[0]
    assert len(faults) == load.MAX_FAULTS + 1
    assert faults[-1].endswith("more faults from here on are not shown")


def test_among_ten_thousand_nodes_the_nearest_name_is_still_found(tmp_path: Path) -> None:
    nodes = "".join(f"  extract_{i}: {{run: x}}\n" for i in range(10_000))
    last = "  a: {run: x, needs: [extrct_4711]}\n  b: {run: 'echo ${{ nodes.extract_4711x.output }}'}\n"
    assert Refused(tmp_path, "version: 1\nnodes:\n" + nodes + last).faults == [
        'flow.yaml:10003:23: nodes.a.needs: no node named "extrct_4711"; did you mean "extract_4711"?',
        'flow.yaml:10004:22: nodes.b.run: no node named "extract_4711x"; did you mean "extract_4711"?',
    ]


def test_ten_thousand_faults_in_one_text_are_placed_in_time(tmp_path: Path) -> None:
    faults = Refused(tmp_path, f"version: 1\nnodes:\n  a:\n    run: 'echo {'${{ run.idd }} ' * 10_000}'\n").faults
    assert faults[0] == 'flow.yaml:4:20: nodes.a.run: run has no "idd"; did you mean "id"?'
    assert faults[1].startswith("flow.yaml:4:35: ")


# -- 27: every field with every wrong value

WRONG = {
    **{
        text: text for text in ["null", "true", "1", "-1", "1.5", ".nan", "-.inf", "1e400", "-0.0", "1e300", "[]", "{}"]
    },
    **{text: text for text in ["[[]]", "2026-01-31", "{a: {b: [c, null]}}", "[null]", '""', '" "', '"x"', '"a\\0b"']},
    "5,000 digits": "9" * 5_000,
    "3,999 digits": "9" * 3_999,
    "3,999 digits as text": '"' + "9" * 3_999 + '"',
    "parsecs": "10 parsecs",
    "a broken expression": '"${{ 1 + }}"',
    "an unknown name": '"${{ nosuch }}"',
    "a list, computed": '"${{ [1] }}"',
    "a mapping, computed": "\"${{ {'a': {}} }}\"",
    "null, computed": '"${{ null }}"',
    "a number, computed": '"${{ 1e300 }}"',
}


def fields(schema: Any, root: dict[str, Any], way: Way = ()) -> Iterator[Way]:
    """The way to every field that a JSON Schema names; a mapping of free names has the one name `a`."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    # Lists of lists end somewhere; nodes in nodes, steps and the last nodes have the fields of nodes once more.
    again = way.count("nodes") > 1 or way[:2] == ("finally", "a") or way[-1:] == ("compensate",)
    if again or way.count(0) > 2:
        return
    for part in [*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        yield from fields(part, root, way)
    inner: dict[str | int, Any] = dict(schema.get("properties", {}))
    if isinstance(schema.get("additionalProperties"), dict):
        inner["a"] = schema["additionalProperties"]
    if isinstance(schema.get("items"), dict):
        inner[0] = schema["items"]
    for key, following in inner.items():
        yield (*way, key)
        yield from fields(following, root, (*way, key))


def all_fields() -> list[Way]:
    schema = json.loads(load.schema_text())
    return list(dict.fromkeys(fields(schema, schema)))


def written(way: Way, value: str) -> tuple[str, set[int]]:
    """A file with that value at the end of that way, and the lines that lead to it or are wrong besides."""
    lines = ["version: 1"] * (way[0] != "version")
    if way != ("nodes",):
        lines += ["nodes:", "  z: {run: x, needs: [nosuch]}"]  # what defaults ask for is told there too
    besides = len(lines)
    for depth, part in enumerate(way):
        if way == ("nodes",) or part != "nodes" or depth:
            lines.append("  " * depth + ("-" if part == 0 else f"{part}:"))
        kind_follows = way[depth + 1 : depth + 2] and way[depth + 1] in KINDS
        if way[:depth] == ("nodes",) and len(way) > depth + 1 and not kind_follows:
            lines.append("  " * (depth + 1) + 'run: "true"')
    lines[-1] += f" {value}"
    return "\n".join(lines) + "\n", {1, *range(besides, len(lines) + 1)}


def test_the_fields_of_the_format_are_found() -> None:
    found = all_fields()
    assert len(found) > 200
    assert {("version",), ("nodes", "a", "retry", "delay"), ("nodes", "a", "http", "body", "file")} <= set(found)


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_a_wrong_value_of_any_field_is_told_in_its_line_and_hides_no_other_fault(tmp_path: Path, value: str) -> None:
    for way in all_fields():
        text, lines = written(way, value)
        faults = faults_of(tmp_path, text)
        assert {int(fault.split(":")[0]) for fault in faults} <= lines, (text[:2000], faults)
        assert way == ("nodes",) or any('no node named "nosuch"' in fault for fault in faults), (text[:2000], faults)


@pytest.mark.parametrize("value", ["[[]]", ".nan", "10 parsecs", "9" * 5_000])
def test_a_wrong_timeout_is_told_by_the_command(tmp_path: Path, value: str) -> None:
    (fault,) = Refused(tmp_path, GOOD + f"timeout: {value}\n").faults
    assert fault.startswith("flow.yaml:4:10: timeout: ")
    assert len(fault) < 200


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    (fault,) = Refused(tmp_path, 'version: 1\nnodes:\n  a: {run: "echo \\ud800"}\n').faults
    assert fault.startswith("flow.yaml:3:20: this escape is not known in double quotes")


# -- 28: what is no file of ours

BOMB = "\n".join(f"{x}: &{x} [{', '.join([f'*{y}'] * 10)}]" for x, y in zip("bcdefgh", "abcdefg", strict=True))
NO_FILE: dict[str, tuple[str | bytes, str]] = {
    "alias bomb": (f"a: &a [x]\n{BOMB}\n", "aliases make the file larger by more than 1,000,000 values"),
    "merge bomb": (
        f"a: &a {{{', '.join(f'k{i}: 1' for i in range(1000))}}}\nb:\n" + "  - <<: *a\n" * 2000,
        "aliases make the file larger by more than 1,000,000 values",
    ),
    "self-alias": ("version: 1\nnodes: &n {a: {run: x, env: *n}}\n", '"*n" stands inside "&n" itself'),
    "deep list": ("[" * 5_000 + "]" * 5_000, "is nested more than 100 deep"),
    "deep mapping": ("{a: " * 5_000 + "}" * 5_000, "is nested more than 100 deep"),
    "never closed": ("[" * 5_000, "is nested more than 100 deep"),
    "deep dashes": ("- " * 5_000 + "x", "is nested more than 100 deep"),
    "two documents": (GOOD + "---\na: 1\n", "a second document starts here; keep one document in a file"),
    "custom tag": (GOOD + "x: !!python/object/apply:os.system [x]\n", 'unknown tag "!!python/object/apply:os.system"'),
    "tab": ("version: 1\nnodes:\n\ta: {run: x}\n", "a tab indents here; use spaces"),
    "UTF-16": (GOOD.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), "the character U+0000 is not allowed here; take it out"),
    "invalid UTF-8": (b"version: 1\nname: caf\xe9\n", "the byte 0xe9 is not UTF-8; save it as UTF-8"),
    "control character": (b"version: 1\nname: a\x1b[2J\n", "the character U+001B is not allowed here"),
    "empty": ("", "is empty; `wfctl init` writes a first workflow"),
    "only a comment": ("# nothing\n", "is empty; `wfctl init` writes a first workflow"),
    "a scalar": ("hello\n", 'expected a mapping at the top, got "hello"'),
    "a list": ("- 1\n", "expected a mapping at the top, got a list"),
    "64 MiB": ("# " + "x" * (64 * 2**20), "is over 64 MiB"),
}


@pytest.mark.parametrize(("text", "message"), NO_FILE.values(), ids=NO_FILE)
def test_what_is_no_workflow_file_is_refused_in_time_and_memory(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    assert message in Refused(tmp_path, text).faults[-1]


def test_a_byte_order_mark_moves_no_column(tmp_path: Path) -> None:
    assert Refused(tmp_path, b"\xef\xbb\xbfvresion: 1\nnodes: {a: {run: x}}\n").faults == [
        'flow.yaml:1:1: unknown key "vresion"; did you mean "version"?'
    ]


# -- 29: ids


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "", "x" * 300, "a\\0b", "a\\nb", "-rf", "😀", "é", "1a", "a b"])
def test_an_id_that_could_be_a_path_or_an_option_is_refused(tmp_path: Path, name: str) -> None:
    (fault,) = faults_of(tmp_path, f'version: 1\nnodes:\n  "{name}": {{run: x}}\n')
    assert fault.startswith("3:3: nodes: ")
    assert ' is no id: letters, digits, "_" and "-", not starting with a digit or "-", at most 100 characters' in fault


def test_ids_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    text = "version: 1\nnodes:\n  A: {run: x}\n  a: {run: x}\n"
    assert faults_of(tmp_path, text) == ['4:3: nodes: the ids "A" and "a" differ only in case; rename one']


def test_ids_that_differ_only_in_case_are_refused_across_finally(tmp_path: Path) -> None:
    text = "version: 1\nnodes:\n  A: {run: x}\nfinally:\n  a: {run: x}\n"
    assert faults_of(tmp_path, text) == ['5:3: finally: the ids "A" and "a" differ only in case; rename one']


# -- 30: expressions


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x" * 100_000, "an expression of 100,000 characters; at most 10,000; let a node compute it"),
        ("(" * 5_000 + ")" * 4_000, "an expression nested too deeply; let a node compute it"),
        ("1+" * 4_000 + "1", "an expression of more than 300 operators; let a node compute it"),
        ('"' * 30_001, 'a text that starts with " is not closed; close it with the same quote'),
        ("{" * 30_000, "an expression of 30,000 characters; at most 10,000; let a node compute it"),
        ("not " * 2_000 + "x", "an expression nested too deeply; let a node compute it"),
    ],
    ids=["long", "deep", "operators", "quotes", "braces", "nots"],
)
@pytest.mark.parametrize("place", ["run: 'echo ${{{{ {} }}}}'", "run: [echo, '${{{{ {} }}}}']"], ids=["script", "argv"])
def test_an_expression_without_end_is_one_fault(tmp_path: Path, place: str, source: str, message: str) -> None:
    (fault,) = Refused(tmp_path, "version: 1\nnodes:\n  a:\n    " + place.format(source) + "\n").faults
    assert message in fault
    assert len(fault) < 300


def test_a_long_script_is_read_in_time(tmp_path: Path) -> None:
    lines = """\
      echo "${{ params.x }}" | sort > out && cat <<END
      ${{ params.x }}
      END
"""
    head = "version: 1\nparams: {x: {default: 1}}\nnodes:\n  a:\n    run: |\n"
    (fault,) = Refused(tmp_path, f"{head}{lines * 2_000}    needs: [b]\n").faults
    assert fault == 'flow.yaml:6006:13: nodes.a.needs: no node named "b"; declare it, or take it out'


# -- 31: params

PARAMS = """\
version: 1
params:
  day: {type: string, format: date}
  shards: {type: integer, minimum: 1, default: 4}
  loud: {type: boolean, default: false}
nodes:
  a: {run: "true"}
"""


def test_every_wrong_param_is_told_at_once(tmp_path: Path) -> None:
    words = ["-p", "shards=many", "-p", "loud=perhaps", "-p", "shrads=2"]
    assert Refused(tmp_path, PARAMS, *words).faults == [
        '-p loud: expected true or false, got "perhaps"',
        '-p shards: expected an integer, got "many"',
        '-p shrads: no param named "shrads"; did you mean "shards"?',
        "flow.yaml: params.day: has no default and was not given; add -p day=…",
    ]


def test_the_params_of_a_file_are_checked_as_well(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text('{"day": "2026-02-30", "shards": 0, "nosuch": null}')
    assert Refused(tmp_path, PARAMS, "--params-file", "params.json").faults == [
        'params.json: no param named "nosuch"; there are day, shards, loud',
        'params.json: day: "2026-02-30" is no date',
        "params.json: shards: must be at least 1, got 0",
    ]


@pytest.mark.parametrize("words", ["-p day", "-p =x", "--params-file nosuch.yaml", "--params-file ."])
def test_params_that_cannot_be_read_are_refused(tmp_path: Path, words: str) -> None:
    assert len(Refused(tmp_path, PARAMS, *words.split()).faults) in (1, 2)
