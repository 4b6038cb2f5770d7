"""JUnit XML of a run, as `junitparser` reads it."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import junitparser
from hypothesis import given
from hypothesis import strategies as st

from wfctl.renderers.account import Account, Case, Place, Verdict
from wfctl.renderers.junit import render

HOSTILE = "]]></failure>\x00\x1b[31m\ud800\udcff\ufffe\uffff\u2028<!-- & \"' \x85\U000e0001"


def account(*cases: Case) -> Account:
    return Account(
        run="r1", workflow="flow", file="flow.yaml", state="failed", exit_code=1, seconds=1.5,
        started="2026-11-28T20:17:01", cases=cases,
    )  # fmt: skip


def read(text: str) -> junitparser.TestSuite:
    (suite,) = junitparser.JUnitXml.fromstring(text.encode())
    return suite


def test_each_node_is_a_case_with_how_it_went_and_how_long_it_took() -> None:
    suite = read(
        render(
            account(
                Case(node="a", verdict="passed", state="succeeded", seconds=1.25),
                Case(node="b[x]", verdict="failed", state="failed", reason="exit_code", message="exit code 3"),
                Case(node="c", verdict="error", state="interrupted", message="stopped"),
                Case(node="d", verdict="skipped", state="skipped", reason="when", message="its `when` was false"),
            )
        )
    )
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == ("flow", 4, 1, 1, 1)
    assert (suite.time, suite.timestamp) == (1.5, "2026-11-28T20:17:01")
    cases = {case.name: case for case in suite}
    assert list(cases) == ["a", "b[x]", "c", "d"]
    assert {case.classname for case in suite} == {"flow"}
    assert (cases["a"].is_passed, cases["a"].time) == (True, 1.25)
    (failure,) = cases["b[x]"].result
    assert isinstance(failure, junitparser.Failure)
    assert (failure.message, failure.type, failure.text) == ("exit code 3", "exit_code", "exit code 3")
    assert [type(case.result[0]).__name__ for case in (cases["c"], cases["d"])] == ["Error", "Skipped"]


def test_a_failure_holds_the_end_of_the_log_below_its_message() -> None:
    suite = read(render(account(Case(node="a", verdict="failed", state="failed", message="m", log=("one", "two")))))
    assert next(iter(suite)).result[0].text == "m\none\ntwo"


def facts(case: junitparser.TestCase) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in (case.system_out or "").splitlines())


def test_what_else_is_known_of_a_case_stands_in_its_output_and_what_is_not_is_left_out() -> None:
    served = Case(node="a", verdict="passed", state="cached", kind="run", served="r0")
    tolerated = Case(node="b", verdict="skipped", state="failed", kind="sql", tolerated=True, exit_code=2, attempts=3)
    fine = Case(node="c", verdict="passed", state="succeeded", kind="run", attempts=1, exit_code=0)
    text = render(account(served, tolerated, fine))
    assert list(map(facts, read(text))) == [
        {"state": "cached", "kind": "run", "served_from": "r0"},
        {"state": "failed", "kind": "sql", "attempts": "3", "exit_code": "2", "tolerated": "true"},
        {},
    ]
    suite = next(ElementTree.fromstring(text).iter("testsuite"))
    assert {one.get("name"): one.get("value") for one in suite.iterfind("properties/property")} == {
        "run": "r1", "state": "failed", "exit_code": "1",
    }
    assert suite.get("file") == "flow.yaml"


def test_a_case_says_where_its_node_is_written() -> None:
    case = Case(node="a", verdict="failed", state="failed", place=Place("ci/flow.yaml", 7, 3))
    (element,) = ElementTree.fromstring(render(account(case), placed=True)).iter("testcase")
    assert (element.get("file"), element.get("line")) == ("ci/flow.yaml", "7")
    unknown = replace(case, place=Place("flow.yaml"))
    (element,) = ElementTree.fromstring(render(account(unknown), placed=True)).iter("testcase")
    assert (element.get("file"), element.get("line")) == ("flow.yaml", None)
    assert facts(next(iter(read(render(account(case))))))["written"] == "ci/flow.yaml:7"


KNOWN = {
    "testsuites": ("name time tests failures errors", "testsuite"),
    "testsuite": ("name tests failures errors time skipped timestamp file", "properties testcase"),
    "testcase": ("name time classname", "skipped error failure system-out"),
    "properties": ("", "property"),
    "property": ("name value", ""),
    **dict.fromkeys(("skipped", "error", "failure"), ("message type", "")),
    "system-out": ("", ""),
}
"""Of the elements that the schema of Jenkins has, junit-10.xsd, those that are written, with what may be in them."""


def test_it_holds_nothing_that_the_schema_of_jenkins_does_not_know() -> None:
    verdicts: list[Verdict] = ["passed", "failed", "error", "skipped"]
    cases = [
        Case(node=word, verdict=word, state="failed", message="m", log=("l",), attempts=2, place=Place("f", 1, 1))
        for word in verdicts
    ]
    for element in ElementTree.fromstring(render(account(*cases))).iter():
        attributes, inside = KNOWN[element.tag]
        assert set(element.attrib) <= set(attributes.split()), element.tag
        assert {one.tag for one in element} <= set(inside.split()), element.tag
        assert re.fullmatch(r"\d+\.\d{3}", element.get("time", "0.000"))


def test_a_run_that_went_wrong_by_itself_is_a_case_too() -> None:
    itself = Case(node="(run)", verdict="error", state="failed", message="the run's time was up")
    suite = read(render(replace(account(), itself=itself)))
    assert (suite.tests, suite.errors, next(iter(suite)).name) == (1, 1, "(run)")


def test_hostile_names_and_logs_are_shown_whole_and_obeyed_by_nobody() -> None:
    case = Case(node=HOSTILE, verdict="failed", state="failed", message=HOSTILE, log=(HOSTILE, "after"))
    suite = read(render(replace(account(case), workflow=HOSTILE, error=HOSTILE)))
    shown = "]]></failure>\\x00\\x1b[31m\\ud800\\xff\\ufffe\\uffff\\u2028<!-- & \"' \\x85\\U000e0001"
    (only,) = suite
    assert (suite.name, only.name, only.result[0].message) == (shown, shown, shown)
    assert only.result[0].text == f"{shown}\n{shown}\nafter"


anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)


@given(anything, st.lists(anything, max_size=3), st.sampled_from(["passed", "failed", "error", "skipped"]))
def test_it_is_well_formed_whatever_text_there_is(text: str, log: list[str], verdict: Verdict) -> None:
    case = Case(node=text, verdict=verdict, state="failed", kind=text, reason=text, message=text, log=tuple(log))
    content = render(replace(account(case), workflow=text, file=text, error=text)).encode()
    top = ElementTree.fromstring(content)
    assert [element.tag for element in top] == ["testsuite"]
    assert len(list(top.iter("testcase"))) == 1
