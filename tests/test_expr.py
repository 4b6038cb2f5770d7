"""The language of `${{ }}`: what it reads, what it yields, what it refuses, and where it stops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfctl.expr import (
    FUNCTIONS,
    UNKNOWN,
    ExpressionError,
    ExpressionSyntax,
    FileValue,
    Known,
    Template,
    Unknown,
    as_text,
    evaluate_value,
    parse,
    parse_value,
    problems_of,
    references_of,
)

NAMES: dict[str, object] = {
    "params": {"day": "2026-01-31", "shards": 4, "a-b": 7},
    "item": {"id": "S1", "lr": 0.1, "import": "yes", "items": [1]},
    "nodes": {"call-variants": {"output": [{"vcf": "a", "n": 3}, {"vcf": "b", "n": 1}]}, "none": {"output": None}},
}


def template(source: str) -> Template:
    parsed = parse(f"${{{{ {source} }}}}")
    assert isinstance(parsed, Template)
    return parsed


def value(source: str, **names: object) -> object:
    return template(source).evaluate(NAMES | names)


def slip(text: str) -> str:
    with pytest.raises(ExpressionSyntax) as caught:
        parse(text)
    return caught.value.slips[0].message


VALUES = [
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("-2 ** 2", -4),
    ("2 ** -1", 0.5),
    ("2 ** 3 ** 2", 512),
    ("7 // 2 + 7 % 2", 4),
    ("1e3 + 0.5", 1000.5),
    ("'a' + \"b\"", "ab"),
    ("'it\\'s\\n\\u00e9'", "it's\né"),
    ("[1, 2] + [3]", [1, 2, 3]),
    ("'ab' * 2", "abab"),
    ("1 < 2 <= 2 != 3", True),
    ("1 < 2 > 3", False),
    ("not true or null == null", True),
    ("0 or 'x'", "x"),
    ("'a' if params.shards > 3 else 'b'", "a"),
    ("2 in [1, 2] and 'b' in 'abc' and 'day' in params", True),
    ("3 not in (1, 2)", True),
    ("[10, 20, 30][-1]", 30),
    ("[10, 20, 30][1:]", [20, 30]),
    ("'abc'[::-1]", "cba"),
    ("{'a': [1]}['a'][0]", 1),
    ("params.day", "2026-01-31"),
    ("params['day']", "2026-01-31"),
    ("params.a-b", 7),
    ("params.shards - 1", 3),
    ("item.import", "yes"),
    ("item.items", [1]),
    ("nodes.call-variants.output[0].vcf", "a"),
    ("[o.vcf for o in nodes.call-variants.output if o.n > 1]", ["a"]),
    ("[[a, b] for a in range(2) for b in [a]]", [[0, 0], [1, 1]]),
    ("[k + v for k, v in [['a', 'b']]]", ["ab"]),
    ("[item for item in [1]] + [item.id]", [1, "S1"]),
    ("default(params.nothing, 5)", 5),
    ("default(params.nothing.more[3], 5)", 5),
    ("default(nodes.none.output, 5)", 5),
    ("default(nodes.none.output.x, 5)", 5),
    ("default(params.shards, 1 / 0)", 4),
    ("len('abc') + len([1]) + len(params)", 7),
    ("range(1, 6, 2)", [1, 3, 5]),
    ("min(3, 1) + max([2, 5])", 6),
    ("sum([1, 2.5])", 3.5),
    ("sorted([3, 1, 2])", [1, 2, 3]),
    ("sorted(nodes.call-variants.output, 'n')[0].vcf", "b"),
    ("keys({'a': 1}) + values({'a': 1})", ["a", 1]),
    ("json({'a': [1, null, true, 'é']})", '{"a": [1, null, true, "é"]}'),
    ("lower('Ab') + upper('Ab')", "abAB"),
    ("split('a b  c') + split('a,b', ',')", ["a", "b", "c", "a", "b"]),
    ("join(['a', 1, null], '-')", "a-1-null"),
    ("replace('a.b', '.', '/')", "a/b"),
    ("startswith('abc', 'a') and endswith('abc', 'c')", True),
    ("basename('a/b.tar.gz')", "b.tar.gz"),
    ("basename('a/b/')", "b"),
    ("stem('a/b.tar.gz')", "b.tar"),
    ("stem('.bashrc')", ".bashrc"),
    ("date('2026-03-01', '-1d')", "2026-02-28"),
    ("date('2026-01-31T23:30Z', '1h30m')", "2026-02-01T01:00Z"),
    ("date('2026-01-31 23:30:00.500+02:00', '-500ms')", "2026-01-31 23:30:00.000+02:00"),
]


@pytest.mark.parametrize(("source", "expected"), VALUES, ids=[source for source, _ in VALUES])
def test_an_expression_yields(source: str, expected: object) -> None:
    result = value(source)
    assert result == expected
    assert type(result) is type(expected)


def test_file_marks_a_value_for_the_performer() -> None:
    assert value("file(params)") == FileValue(NAMES["params"])


ERRORS = [
    ("params.dya", 'params has no "dya"'),
    ("params.shards-1", 'params has no "shards-1"; a minus wants blanks around it'),
    ("nodes.none.output.x", 'nodes.none.output is null and has no "x"'),
    ("item.lr.x", 'item.lr is a number and has no "x"'),
    ("nothing", 'no name "nothing" here'),
    ("[1][5]", "a list has no 5"),
    ("[1][true]", "a list has no true"),
    ("1 / 0", "division by zero"),
    ("1 + 'a'", '"+" does not go between a number and text'),
    ("'a' % 1", '"%" does not go between text and a number'),
    ("1 < 'a'", '"<" does not go between a number and text'),
    ("[1] < ['a']", '"<" does not go between a list and a list'),
    ("1 in 2", '"in" does not go between a number and a number'),
    ("-'a'", '"-" does not go between a number and text'),
    ("(-8) ** 0.5", "the result is no real number"),
    ("1e308 * 10", "the result is too large"),
    ("10 ** 4001", "the result is too large"),
    ("9 ** 9 ** 9", "the result is too large"),
    ("2.0 ** 9999", "too large to compute"),
    ("'x' * 10 ** 9", "a text of more than 16 MiB"),
    ("[0] * 10 ** 9", "a list of more than 1,000,000 elements"),
    ("range(10 ** 12)", "range: a list of more than 1,000,000 elements"),
    ("range(0, 1, 0)", "range: the step cannot be 0"),
    ("[0 for a in range(2000) for b in range(2000)]", "too much work for an expression; let a node compute it"),
    ("replace('x' * 10 ** 6, 'x', 'y' * 1000)", "replace: a text of more than 16 MiB"),
    ("[x for x in 'abc']", "for … in … goes over a list"),
    ("sorted([1, 'a'])", "sorted: the elements cannot be compared with each other"),
    ("max([])", "max: the list is empty"),
    ("len(1)", "len: a number has no length"),
    ("join([[1]], ',')", "join: a list cannot be joined; say json(x) for its text"),
    ("split('a', '')", "split: the separator cannot be empty"),
    ("'a'[1:2:0]", "a slice cannot go by steps of 0"),
    ("date('today', '1d')", 'date: "today" is no date like 2026-01-31 or 2026-01-31T12:00:00Z'),
    ("date('2026-02-30', '1d')", 'date: there is no date "2026-02-30" moved by "1d"'),
    ("date('2026-01-31', '1x')", 'date: "1x" is no duration like "-1d" or "1h30m"'),
    ("date('2026-01-31', '1h')", 'date: a date moves by whole days, not by "1h"'),
]


@pytest.mark.parametrize(("source", "message"), ERRORS, ids=[source for source, _ in ERRORS])
def test_an_error_says_what_is_wrong_and_where(source: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(source)
    shown = " ".join(source.split())
    assert str(caught.value) in (message, f"{message}, in ${{{{ {shown} }}}}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${{ a", '"${{" is not closed'),
        ("${{ 'a }}", "a text that starts with ' is not closed"),
        ("${{ }}", "the expression is empty"),
        ("${{ 1 + }}", "a value is missing at the end"),
        ("${{ (1 }}", '")" is missing at the end'),
        ("${{ a b }}", 'an operator is missing before "b"'),
        ("${{ a = b }}", '"=" means nothing here'),
        ("${{ a && b }}", '"&&" means nothing here'),
        ("${{ a is null }}", 'an operator is missing before "is"'),
        ("${{ True }}", 'a value is missing before "True"'),
        ("${{ 10s }}", '"10s" is no number'),
        ("${{ 0644 }}", '"0644" is no number'),
        ("${{ 1e999 }}", '"1e999" is larger than any number here'),
        ("${{ " + "9" * 5000 + " }}", "a number of more than 4,000 digits"),
        ("${{ é }}", '"é" means nothing here'),
        ("${{ lambda: 1 }}", 'a value is missing before "lambda"'),
        ("${{ (a := 1) }}", '"=" means nothing here'),
        ("${{ f'{a}' }}", "an operator is missing before '{a}'"),
        ("${{ 'a'.upper() }}", "only functions can be called"),
        ("${{ a.b() }}", "only functions can be called"),
        ("${{ len(*a) }}", 'a value is missing before "*"'),
        ("${{ " + "(" * 100 + " }}", "an expression nested too deeply"),
        ("${{ 1" + "+1" * 1000 + " }}", "an expression of more than 300 operators"),
        ("${{ " + "a" * 100_000 + " }}", "an expression of 100,000 characters"),
    ],
    ids=lambda text: text[:30],
)
def test_a_text_that_cannot_be_read_is_a_slip(text: str, message: str) -> None:
    assert slip(text) == message


@pytest.mark.parametrize("source", ["params.__class__", "[].__class__", "''.format", "params.keys", "item.__init__.x"])
def test_python_objects_have_no_attributes_here(source: str) -> None:
    with pytest.raises(ExpressionError, match="has no"):
        value(source)


def test_every_unreadable_expression_of_a_text_is_told_with_its_place() -> None:
    text = "a ${{ 1 + }} b ${{ ok }} c ${{ ( }}"
    with pytest.raises(ExpressionSyntax) as caught:
        parse(text)
    assert [text[: s.offset] for s in caught.value.slips] == ["a ${{ 1 +", "a ${{ 1 + }} b ${{ ok }} c ${{ ("]


def test_an_unclosed_expression_points_to_the_trap_of_yaml() -> None:
    with pytest.raises(ExpressionSyntax) as caught:
        parse("x ${{ a")
    assert caught.value.slips[0].hint == 'end it with "}}"; in YAML " #" starts a comment, so quote the value'


# ---- templates


def test_text_without_expressions_stays_text() -> None:
    assert parse("a $b {{ }} }}") == "a $b {{ }} }}"
    assert parse("$${{ a }} and $${{ b }}") == "${{ a }} and ${{ b }}"


def test_an_expression_ends_at_the_first_braces_outside_of_quotes() -> None:
    assert parse_and_evaluate("${{ '}}' }}}}") == "}}}}"
    assert parse_and_evaluate("${{ {'a': {'b': 1} }['a']['b'] }}") == 1


def parse_and_evaluate(text: str) -> object:
    return evaluate_value(parse(text), NAMES)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${{ params.shards }}", 4),
        ("${{params.shards}}", 4),
        (" ${{ params.shards }}", " 4"),
        ("${{ 1 }}${{ 2 }}", "12"),
        ("n=${{ null }} ${{ true }} ${{ 1.5 }} ${{ [1, 'a'] }}", 'n=null true 1.5 [1, "a"]'),
        ("$${{ a }} ${{ params.day }}", "${{ a }} 2026-01-31"),
    ],
)
def test_a_whole_expression_keeps_its_type_and_others_become_text(text: str, result: object) -> None:
    assert parse_and_evaluate(text) == result
    assert template("1").whole


def test_a_value_is_never_read_again() -> None:
    assert value("x", x="${{ params.day }}") == "${{ params.day }}"


def test_templates_are_equal_by_their_text() -> None:
    assert len({parse("${{ a }}"), parse("${{ a }}"), parse("${{ b }}")}) == 2


def test_a_file_cannot_stand_inside_text() -> None:
    with pytest.raises(ExpressionError, match=r"file\(x\) must be the whole expression"):
        parse_and_evaluate("--in=${{ file(params) }}")


def test_values_are_parsed_and_evaluated_at_any_depth() -> None:
    data = {"a": ["x", {"b": "${{ params.shards }}"}], "${{ key }}": 1}
    parsed = parse_value(data)
    assert evaluate_value(parsed, NAMES) == {"a": ["x", {"b": 4}], "${{ key }}": 1}
    assert [reference.path for reference in references_of(parsed)] == [("params", "shards")]
    assert parse_value(plain := {"a": ["x", 1]}) is plain


def test_slips_inside_data_say_the_way_to_them() -> None:
    with pytest.raises(ExpressionSyntax) as caught:
        parse_value({"a": ["x", "${{ ( }}"], "b": "${{ ) }}"})
    assert [s.where for s in caught.value.slips] == [("a", 1), ("b",)]
    parsed = parse_value({"a": ["x", "${{ y }}"]})
    assert [s.where for s in problems_of(parsed, {"x": None})] == [("a", 1)]


@pytest.mark.parametrize(
    ("data", "text"), [("a", "a"), (1, "1"), (1e20, "1e+20"), (None, "null"), ({"a": True}, '{"a": true}')]
)
def test_text_of_a_value(data: object, text: str) -> None:
    assert as_text(data) == text


# ---- references and problems


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("params.day", ["params.day"]),
        ("nodes.a.output['x y'].z[0].w", ["nodes.a.output.x y.z"]),
        ("nodes.a.output[params.i].x", ["nodes.a.output", "params.i"]),
        ("[o.vcf for o in nodes.a.output if o.n > params.n]", ["params.n", "nodes.a.output"]),
        ("[x for x in x]", ["x"]),
        ("[[y for y in x.ys] for x in xs]", ["xs"]),
        ("len(item)", ["item"]),
        ("'nodes.a' + \"params.b\"", []),
    ],
)
def test_references_are_the_names_that_are_read(source: str, paths: list[str]) -> None:
    assert [".".join(reference.path) for reference in template(source).references] == paths


def test_a_reference_knows_its_place_and_its_guard() -> None:
    text = "a ${{ default(b.c, d) }}"
    parsed = parse(text)
    assert isinstance(parsed, Template)
    assert [(r.path, text[r.offset], r.guarded) for r in parsed.references] == [
        (("b", "c"), "b", True),
        (("d",), "d", False),
    ]


KNOWN: dict[str, Known] = {
    "params": {"day": None, "shards": None},
    "nodes": {"extract": {"output": None, "state": None, "writes": {"raw": None}}, "score": {"output": None}},
    "run": {"id", "state"},
    "item": None,
    "secrets": {},
}


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("params.dya", 'no param named "dya"', 'did you mean "day"?'),
        ("params.zzz", 'no param named "zzz"', "there is day, shards"),
        ("params.shards-1", 'no param named "shards-1"', "a minus wants blanks around it"),
        ("secrets.X", 'no secret named "X"', "there are none"),
        ("nodes.scroe.output", 'no node named "scroe"', 'did you mean "score"?'),
        ("nodes.extract.outptu", 'nodes.extract has no "outptu"', 'did you mean "output"?'),
        ("nodes.extract.writes.rew", 'nodes.extract.writes has no "rew"', 'did you mean "raw"?'),
        ("nodes.extract", "nodes.extract is no value by itself", None),
        ("run.stat", 'run has no "stat"', 'did you mean "state"?'),
        ("prams.day", 'no name "prams" here', 'did you mean "params"?'),
        ("zzz", 'no name "zzz" here', "there is item, nodes, params, run, secrets"),
        ("len", 'no name "len" here', "len is a function: len(…)"),
        ("nodes[item].output", '"nodes" must be followed by a name', None),
        ("[n for n in nodes]", '"nodes" must be followed by a name', None),
        ("lenn(item)", 'no function named "lenn"', 'did you mean "len"?'),
        ("len()", "len takes 1 argument, not 0", ""),
        ("replace('a')", "replace takes 3 arguments, not 1", ""),
        ("range(1, 2, 3, 4)", "range takes 1 to 3 arguments, not 4", ""),
        ("[file(item)]", "file(x) must be the whole expression", ""),
        ("'\\q'", '"\\q" means nothing in a text', "write \\\\ for a backslash"),
        ("default(params.zzz, 1)", 'no param named "zzz"', "there is day, shards"),
    ],
)
def test_problems_are_told_before_any_value_is_known(source: str, message: str, hint: str | None) -> None:
    (problem,) = template(source).problems(KNOWN)
    assert problem.message == message
    assert hint is None or problem.hint == hint


@pytest.mark.parametrize(
    "source",
    [
        *("params.day", "nodes.extract.output.a.b[0]", "nodes['extract'].writes.raw", "item.x", "run.id"),
        *("keys(nodes.extract.writes)", "[params.x for params in item]", "[o.x for o in nodes.score.output]"),
    ],
)
def test_known_names_are_no_problem(source: str) -> None:
    assert template(source).problems(KNOWN) == []


def test_all_problems_are_told_in_order_with_their_place() -> None:
    text = "x ${{ foo(params.a) + params.b }} ${{ c }}"
    parsed = parse(text)
    assert isinstance(parsed, Template)
    places = [text[p.offset :][:8] for p in parsed.problems(KNOWN)]
    assert places == ["foo(para", "params.a", "params.b", "c }}"]


# ---- what is not known yet, and what is looked up late


@pytest.mark.parametrize(
    "source",
    [
        *("x", "x.a", "x[0]", "len(x)", "x + 1", "x == 1", "not x", "1 if x else 2"),
        *("default(x, 1)", "default(x.a, 1)"),
        *("y[0]", "y[0].a", "1 in y", "'a' + y[0]", "[a for a in x]", "[a for a in y]"),
        *("sorted(y)", "json(y)", "max(y)", "sum(y)", "join(y, '')"),
    ],
)
def test_touching_what_is_not_known_yet_raises_unknown(source: str) -> None:
    with pytest.raises(Unknown):
        value(source, x=UNKNOWN, y=[UNKNOWN, UNKNOWN])


def test_what_does_not_depend_on_the_unknown_has_a_value() -> None:
    assert value("1 if true else x", x=UNKNOWN) == 1
    assert value("len(y)", y=[UNKNOWN]) == 1


class Lazy(Mapping[str, object]):
    """A mapping that knows its keys and finds its values when asked."""

    def __getitem__(self, key: str) -> object:
        if key == "late":
            raise Unknown("late")
        if key == "broken":
            raise ExpressionError("the output is gone")
        return {"a": 1, "b": [2]}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("a", "b"))

    def __len__(self) -> int:
        return 2


def test_names_may_be_looked_up_late() -> None:
    assert value("x.a + x.b[0]", x=Lazy()) == 3
    assert value("x", x=Lazy()) == {"a": 1, "b": [2]}
    assert value("default(x.c, 5)", x=Lazy()) == 5
    with pytest.raises(Unknown):
        value("default(x.late, 5)", x=Lazy())
    with pytest.raises(ExpressionError, match="the output is gone"):
        value("default(x.broken, 5)", x=Lazy())


# ---- whatever is written

PIECES = st.sampled_from(
    [
        *("${{", "}}", "$${{", " ", "a", "item", ".", "-", "1", "'", '"', "\\", "(", ")", "[", "]", "{", "}", ","),
        *(":", "+", "**", "é", "for", "in", "if", "else", "not", "and", "==", "<", "null", "\n", "0x", "1e9"),
        *FUNCTIONS,
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join), st.lists(PIECES).map(lambda p: "${{" + " ".join(p) + "}}")))
@settings(deadline=None)
def test_any_text_is_a_template_or_a_slip(text: str) -> None:
    try:
        parsed = parse(text)
    except ExpressionSyntax as fault:
        if any(found.offset > len(text) for found in fault.slips):
            raise
        return
    if isinstance(parsed, Template):
        parsed.problems(KNOWN)


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=6,
)
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">=", "in", "not in", "and", "or"]


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    calls = st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, max_size=3))
    return st.one_of(
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(lambda t: "({} {} {})".format(*t)),
        calls.map(lambda t: f"{t[0]}({', '.join(t[1])})"),
        st.tuples(inner, inner).map(lambda t: "{}[{}]".format(*t)),
        st.tuples(inner, inner).map(lambda t: "{}[{}:]".format(*t)),
        st.tuples(inner, inner, inner).map(lambda t: "[{} for y in {} if {}]".format(*t)),
        st.tuples(inner, inner, inner).map(lambda t: "({} if {} else {})".format(*t)),
        inner.map(lambda s: f"{s}.a"),
        inner.map(lambda s: f"(-{s})"),
    )


SOURCES = st.recursive(st.sampled_from(["x", "y", "x.a", "1", "0", "99", "1e300", "'a'", "null", "true", "[]"]), larger)


@given(SOURCES, DATA)
@settings(deadline=None, max_examples=300)
def test_any_expression_over_any_data_has_a_value_or_an_error(source: str, data: object) -> None:
    try:
        result = template(source).evaluate({"x": data})
    except (ExpressionError, ExpressionSyntax):
        return
    if not isinstance(result, FileValue):
        as_text(result)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("secrets.A", ("secrets", "A")), (" vars.a-b.c ", ("vars", "a-b", "c")), ("upper(secrets.A)", ()),
        ("vars.a[0]", ()), ('secrets["A"]', ()), ('secrets.A + "x"', ()), ("1", ()),
    ],
)  # fmt: skip
def test_the_path_of_an_expression_is_there_where_it_is_nothing_else(source: str, path: tuple[str, ...]) -> None:
    assert [expression.path for expression in template(source).expressions] == [path]
