"""Commands of GitHub's runner: ours are understood as they were meant, and those of others are never obeyed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.services import Order, orders
from wfctl.errors import Fault
from wfctl.renderers.account import Account, Case, Place
from wfctl.renderers.annotations import LENGTH, MOST, fault, places, render
from wfctl.renderers.commands import OURS, command, inert, obeyed

ACCOUNT = Account(status_command="wfctl status r1", run="r1", workflow="flow", file="flow.yaml", state="failed")


def failed(node: str, *log: str, message: str = "exit code 1", line: int = 7) -> Case:
    return Case(
        node=node, verdict="failed", state="failed", message=message, log=log, place=Place("flow.yaml", line, 3)
    )


def test_a_failed_node_is_an_error_at_its_place_with_the_end_of_its_log() -> None:
    (order,) = orders(render(replace(ACCOUNT, cases=(failed("build", "one", "two"),))))
    assert order == Order(
        "error", "exit code 1\none\ntwo", {"file": "flow.yaml", "line": "7", "col": "3", "title": "build failed"}
    )


def test_what_the_run_tolerates_is_a_warning_and_what_went_well_is_nothing() -> None:
    tolerated = replace(failed("lint"), verdict="skipped", tolerated=True)
    passed = Case(node="a", verdict="passed", state="succeeded")
    (order,) = orders(render(replace(ACCOUNT, cases=(passed, tolerated))))
    assert (order.name, order.properties["title"]) == ("warning", "lint failed")


def test_of_many_failures_the_first_are_told_and_how_many_more_there_are() -> None:
    found = orders(render(replace(ACCOUNT, cases=tuple(failed(f"n{i}") for i in range(100)))))
    assert len(found) == MOST
    assert found[-1].text == "92 more nodes went wrong; all of them: wfctl status r1"


def test_an_annotation_is_no_longer_than_the_service_takes() -> None:
    (order,) = orders(render(replace(ACCOUNT, cases=(failed("a", *["x" * 999] * 50, message="m" * 9999),))))
    assert LENGTH - 1000 < len(order.text) <= LENGTH
    assert order.text.endswith("x" * 999)


def test_without_a_line_the_file_alone_is_named() -> None:
    (order,) = orders(render(replace(ACCOUNT, cases=(replace(failed("a"), place=None),))))
    assert order.properties == {"file": "flow.yaml", "title": "a failed"}


def test_a_service_without_annotations_is_told_the_places_as_lines() -> None:
    assert places(replace(ACCOUNT, cases=(failed("a\n::error::x"),))) == "flow.yaml:7:3: a\\n::error::x: exit code 1\n"


def test_a_fault_is_an_error_at_its_place() -> None:
    (order,) = orders(fault(Fault("a,b:c%.yaml", 3, 5, "nodes.a", "50% is\nwrong", "say so")))
    assert order == Order("error", "nodes.a: 50% is\nwrong; say so", {"file": "a,b:c%.yaml", "line": "3", "col": "5"})


@given(st.text(st.characters(exclude_characters="\r"), max_size=40), st.text(max_size=40))
def test_what_is_put_in_a_command_comes_out_of_it_and_makes_no_other(text: str, value: str) -> None:
    log = command("error", text, title=value)
    (order,) = orders(log)
    assert (order.name, set(order.properties) <= {"title"}) == ("error", True)
    if text.isascii() and text.isprintable() and "##[" not in text:
        assert order.text == text
    if value.isascii() and value.isprintable() and "##[" not in value:
        assert order.properties.get("title", "") == value


@pytest.mark.parametrize(
    "line",
    [
        "::error::evil", "  \t::set-env name=PATH::evil", "\u00a0::add-mask::a", "x ##[add-mask]a",
        "##[stop-commands]t", "::stop-commands::t", "a\r::error::evil", "\n\n::group::x", "::::error::x", ":::error::x",
    ],
)  # fmt: skip
def test_a_foreign_line_is_no_command(line: str) -> None:
    assert orders(inert(line)) == []
    assert orders(obeyed(f"{line}\n{OURS}::endgroup::\n")) == [Order("endgroup", "")]


pieces = st.sampled_from(["::", ":", "##[", "#", "[", "]", "error", "add-mask", " ", "\n", "\r", "\t", "=", ",", "x"])


@given(st.lists(pieces, max_size=12).map("".join))
def test_no_foreign_text_at_all_is_a_command(text: str) -> None:
    assert orders(inert(text)) == []
    assert orders(obeyed(text)) == []


def test_what_is_no_command_stays_as_it_is() -> None:
    text = "a::b  std::vector x: ::1 # [y] ## [z]\n  │ ::error::shown\n"
    assert inert(text) == text
