"""A file becomes plain data, or every fault of it is told at once, where it stands, with the way out."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wfctl import load, tree
from wfctl.errors import Invalid, Problem, UsageError

CASES = Path(__file__).parent / "cases" / "load"
HEAD = "version: 1\nnodes: {a: {run: x}}\n"

Write = Callable[[str | bytes], load.Document]


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """The document of a text, as the file `f.yaml`."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> load.Document:
        Path("f.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return load.read("f.yaml")

    return write


def refusal(document: Write, text: str | bytes) -> str:
    with pytest.raises(Invalid) as caught:
        document(text)
    return str(caught.value)


def told(document: Write, text: str) -> list[str]:
    return [str(fault) for fault in load.check(document(text))]


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_fault_of_a_file_is_told_at_once(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    faults = load.check(load.read(case.name))
    assert "".join(f"{fault}\n" for fault in faults) == case.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("no", "no"), ("yes", "yes"), ("on", "on"), ("2026-01-31", "2026-01-31"), ("1_000", "1_000")],
        *[("8080", 8080), ("-5", -5), ("0o17", 15), ("0xff", 255), ("1e-4", 1e-4), ("-0.0", -0.0), (".5", 0.5)],
        *[("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("'5'", "5"), ("!!str 5", "5")],
        *[("nanny", "nanny"), ("+", "+"), ("-x", "-x"), ("1.2.3", "1.2.3"), ("!!float 3", 3), ("0x", "0x")],
    ],
)
def test_a_plain_scalar_is_read_by_yaml_1_2(document: Write, text: str, value: object) -> None:
    read = document(f"a: {text}\n").data["a"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("4", 4), ("5m", "5m"), ("true", True), ("null", None), ("", ""), ("no", "no"), ("9" * 5000, "9" * 5000)],
        *[("[echo, hi]", ["echo", "hi"]), ("{X: 1}", {"X": 1}), ('{"a": [null]}', {"a": [None]}), ("'5'", "5")],
        *[("echo: hi", "echo: hi"), ("[ -f x ] && echo", "[ -f x ] && echo"), ('"a" b', '"a" b'), ("{", "{")],
        *[("{a: 1, a: 2}", "{a: 1, a: 2}"), ("[]\nb: 1", "[]\nb: 1"), ("- a", "- a"), ("*x", "*x")],
    ],
)
def test_a_value_that_was_typed_is_read_as_in_a_file_and_else_is_text(text: str, value: object) -> None:
    assert load.value_of(text) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "p.yaml:1:1: expected a mapping at the top, got a list; give each param its name: NAME: VALUE"),
        ("a: 1\na: 2", 'p.yaml:2:1: duplicate key "a"; the first is in line 1'),
    ],
)
def test_faults_of_a_file_of_params_are_told_in_words_of_its_own(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(text)
    with pytest.raises(Invalid) as caught:
        load.read_params("p.yaml")
    assert str(caught.value) == says


def test_a_file_of_params_may_be_empty_but_must_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text("# none yet\n")
    assert load.read_params("p.yaml") == {}
    Path("folder").mkdir()
    for name in ("folder", "folder/none"):
        with pytest.raises(UsageError, match=r"; name a file of params$"):
            load.read_params(name)


def test_keys_are_text_as_they_are_written(document: Write) -> None:
    assert document("1: a\ntrue: b\n3.10: c\nnull: d\n").data == {"1": "a", "true": "b", "3.10": "c", "null": "d"}


def test_what_is_written_wins_over_what_is_merged_and_the_first_merged_over_the_next(document: Write) -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2, w: 2}\nc: {z: 3, <<: [*a, *b]}\nd: {<<: *a, x: 4}\n"
    data = document(text).data
    assert data["c"] == {"x": 1, "y": 1, "z": 3, "w": 2}
    assert data["d"] == {"x": 4, "y": 1}


def test_a_byte_order_mark_is_passed_over(document: Write) -> None:
    assert document(b"\xef\xbb\xbfa: 1\n").data == {"a": 1}


def test_the_digest_is_that_of_the_bytes(document: Write) -> None:
    assert document("a: 1\n").digest != document("a:  1\n").digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "f.yaml: is empty; `wfctl init` writes a first workflow"),
        ("# only a comment\n", "f.yaml: is empty; `wfctl init` writes a first workflow"),
        ("hello", 'f.yaml:1:1: expected a mapping at the top, got "hello"; start with version: and nodes:'),
        ("- a", "f.yaml:1:1: expected a mapping at the top, got a list; start with version: and nodes:"),
        ("a:\n\tb: 1\n", "f.yaml:2:1: a tab indents here; use spaces"),
        ("a: 'b\nc: d\n", "f.yaml:1:4: this quote is never closed; add the closing quote"),
        ("a: [b\nc: d\n", 'f.yaml:2:2: expected "," or "]" here; close the "[" of 1:4, or quote the text'),
        ("a: b: c\n", 'f.yaml:1:5: a ":" is not expected here; quote the value, or check the indentation'),
        ("a:\n  - b\n c: d\n", "f.yaml:3:2: expected a key here; check the indentation"),
        ("a: @b\n", 'f.yaml:1:4: a value cannot start with "@"; quote it'),
        ('"\\q": b', "f.yaml:1:2: this escape is not known in double quotes; use single quotes, or double the backslash"),  # noqa: E501
        ("a: {b: ${{ c }}}\n", 'f.yaml:1:8: in { } and [ ] an expression must be quoted; quote it: "${{ … }}"'),
        ("a: [${{ c }}, d]\n", 'f.yaml:1:5: in { } and [ ] an expression must be quoted; quote it: "${{ … }}"'),
        ('a: ${{ {"b": 1} }}\n', 'f.yaml:1:12: a ":" is not expected here; quote it: "${{ … }}"'),
        ("a: \x1b[31m", 'f.yaml:1:4: the character U+001B is not allowed here; write it as "\\x1b", in double quotes'),
        ("a: b\0", "f.yaml:1:5: the character U+0000 is not allowed here; take it out"),
        ("a: é\nb: \xff".encode("latin-1"), "f.yaml:1:4: the byte 0xe9 is not UTF-8; save it as UTF-8"),
        (b"a: \xc3\xa9\nb: \xff", "f.yaml:2:4: the byte 0xff is not UTF-8; save it as UTF-8"),
        ("a: b".encode("utf-16"), "f.yaml:1:1: is UTF-16; save it as UTF-8"),
        ("a: " + "[" * 5000 + "]" * 5000, "f.yaml:1:103: a[0][0].…: is nested more than 100 deep"),
        ("a: " + "{a: " * 20000, "f.yaml:1:400: a.a.a.…: is nested more than 100 deep"),
        ("- " * 5000, "f.yaml:1:201: [0][0][0].…: is nested more than 100 deep"),
    ],
)
def test_what_cannot_be_read_is_told_with_place_and_cure(document: Write, text: str | bytes, says: str) -> None:
    assert refusal(document, text) == says


def test_faults_before_what_cannot_be_read_are_told_with_it(document: Write) -> None:
    first, second = refusal(document, "a: 1\na: 2\nb: [\n").splitlines()
    assert first == 'f.yaml:2:1: duplicate key "a"; the first is in line 1'
    assert second.startswith("f.yaml:4:1: ")


def test_a_second_document_is_a_fault(document: Write) -> None:
    says = "f.yaml:3:1: a second document starts here; keep one document in a file"
    assert told(document, HEAD + "---\nb: 1\n") == [says]


def test_an_alias_bomb_is_refused(document: Write) -> None:
    levels = "abcdefghi"
    lines = ["a: &a [" + ", ".join("x" * 10) + "]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in itertools.pairwise(levels)]
    assert "f[7]: aliases make the file larger by more than 1,000,000 values" in refusal(document, "\n".join(lines))


def test_depth_is_counted_through_aliases(document: Write) -> None:
    deep = "[" * 60 + "]" * 60
    assert "nested more than 100 deep" in refusal(document, f"a: &a {deep}\nb: " + "[" * 50 + "*a" + "]" * 50)


def test_a_large_file_without_aliases_is_no_bomb(document: Write) -> None:
    assert len(document("".join(f"k{n}: [a, b, c]\n" for n in range(1000))).data) == 1000


def test_an_integer_too_long_to_print_is_a_fault(document: Write) -> None:
    assert told(document, HEAD + "x-n: " + "7" * 5000) == ["f.yaml:3:6: x-n: a number of 5000 digits is too long"]


def test_over_64_mib_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    with file.open("wb") as stream:
        os.truncate(stream.fileno(), 64 * 2**20 + 1)
    with pytest.raises(Invalid, match="is over 64 MiB"):
        load.read(str(file))


def test_a_file_that_cannot_be_opened_is_a_usage_error_with_a_way_out(document: Write) -> None:
    document("a: 1")
    for file, says in [
        ("ff.yaml", 'no file "ff.yaml"; did you mean "f.yaml"?'),
        ("f.yml", 'no file "f.yml"; did you mean "f.yaml"?'),
        ("nope.yaml", 'no file "nope.yaml"; there are f.yaml'),
        ("other", 'no file "other"; there are f.yaml'),
        (".", '"." is a folder; there are f.yaml'),
        ("f.yaml/x", 'no file "f.yaml/x"; name a workflow file'),
        ("/dev/null", '"/dev/null" is no regular file; name a workflow file'),
        ("a\0b", 'cannot read "a\\u0000b": no name of a file holds a NUL character'),
    ]:
        with pytest.raises(UsageError) as caught:
            load.read(file)
        assert str(caught.value) == says


@pytest.mark.parametrize("good", ["${{ x }} # why", "$${{ x # y", "|\n  ${{ x # y }}", "'${{ x # y }}'"])
def test_an_expression_that_no_comment_cuts_is_no_trap(document: Write, good: str) -> None:
    assert document(f"a: {good}\n").faults == ()


def test_a_number_that_would_print_otherwise_is_told_where_an_alias_brings_it(document: Write) -> None:
    text = "version: 1\nx-e: &e {V: 3.10}\nnodes:\n  a:\n    run: x\n    env: {<<: *e}\n"
    assert told(document, text) == ['f.yaml:2:13: nodes.a.env.V: 3.10 is the number 3.1; quote it: "3.10"']


def test_a_number_where_a_number_is_wanted_may_look_as_it_likes(document: Write) -> None:
    node = "{run: x, timeout: 1.50, retry: {backoff: 2.0}, with: {x: 3.10}}"
    assert told(document, f"version: 1\nnodes: {{a: {node}}}\n") == []


def test_the_same_slip_in_every_node_of_a_large_file_is_cut_short(document: Write) -> None:
    text = "version: 1\nnodes:\n" + "".join(f"  n{n}:\n    rum: x\n" for n in range(2000))
    faults = [str(fault) for fault in load.cut(load.check(document(text)))]
    assert len(faults) == load.MAX_FAULTS + 1
    assert faults[0] == 'f.yaml:4:5: nodes.n0: unknown key "rum"; did you mean "run"?'
    assert faults[-1] == "f.yaml:2004:5: 1000 more faults from here on are not shown"


PLACES = """\
x: &x
  inner: {deep: [1, 2]}
plain: some ${{ words }}
quoted: "a \\"b\\" ${{ c }}"
block: |
  first
    second ${{ c }}
folded: >-
  one
  two ${{ c }}
tagged: &t !!str 'it''s ${{ c }}'
alias: *x
merged: {<<: *x, own: 1}
twice: a
"""


@pytest.mark.parametrize(
    ("problem", "line", "column"),
    [
        (Problem(("x", "inner", "deep", 1), ""), 2, 21),
        (Problem(("x", "inner", "deep"), "", key=True), 2, 11),
        (Problem(("alias", "inner", "deep", 0), ""), 2, 18),
        (Problem(("merged", "inner"), "", key=True), 2, 3),
        (Problem(("merged", "own"), ""), 13, 23),
        (Problem(("plain", "nowhere", 3), ""), 3, 1),
        (Problem(("nowhere",), ""), 1, 1),
        (Problem(("plain",), "", offset=5), 3, 13),
        (Problem(("quoted",), "", offset=6), 4, 18),
        (Problem(("block",), "", offset=15), 7, 12),
        (Problem(("folded",), "", offset=8), 10, 7),
        (Problem(("tagged",), "", offset=5), 11, 25),
    ],
)
def test_a_problem_is_placed_where_the_reader_finds_it(
    document: Write, problem: Problem, line: int, column: int
) -> None:
    (fault,) = document(PLACES).place([problem])
    assert (fault.line, fault.column) == (line, column)


def test_without_the_c_parser_the_result_is_the_same(document: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from ruamel.yaml import cyaml

    text = (CASES / "bad_yaml.yaml").read_text()
    by_c = (document(PLACES).data, told(document, text))
    monkeypatch.delattr(cyaml, "CParser")
    assert (document(PLACES).data, told(document, text)) == by_c


def test_params_files_are_yaml_or_json(document: Write) -> None:
    document('{"a": [1, null], "b": "x"}')
    assert load.read_params("f.yaml") == {"a": [1, None], "b": "x"}
    document("a: 1\na: 2\n")
    with pytest.raises(Invalid, match="duplicate key"):
        load.read_params("f.yaml")


def test_reading_costs_the_c_parser_alone_and_one_pass(document: Write) -> None:
    text = "a: {b: [1, {c: d}]}\n"
    document(text)
    asked = 0

    def counted(source: bytes) -> object:
        nonlocal asked
        asked += 1
        return load._events(source)

    tree.Builder("f.yaml", text.encode(), counted).build()  # type: ignore[arg-type]
    assert asked == 1


def test_what_no_step_of_an_undo_can_say_is_told_with_the_way_out(document: Write) -> None:
    def of(compensate: str) -> list[str]:
        return told(document, f"version: 1\nnodes:\n  a: {{run: x, compensate: {compensate}}}\n")

    at = "f.yaml:3:37: nodes.a.compensate[0]"
    order = "steps are done one after the other, as they stand in the list; leave it out"
    assert of("[{run: y, needs: [b]}]") == [f'{at}: unknown key "needs"; {order}']
    ended = "a step is done when all that it has started has ended; leave it out"
    assert of("[{run: y, detach: true}]") == [f'{at}: unknown key "detach"; {ended}']
    always = "a step is always done; let what it runs look whether there is anything to do"
    assert of("[{run: y, when: true}]") == [f'{at}: unknown key "when"; {always}']
    matter = "write expect: true where its failure is no matter"
    assert of("[{run: y, continue_on_error: true}]") == [f'{at}: unknown key "continue_on_error"; {matter}']
    assert of("[]") == ["f.yaml:3:27: nodes.a.compensate: must not be empty; say none where there is nothing to undo"]
