"""`status`, `runs`, `show` and outputs, as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from wfctl.renderers.listing import MANY, mapping, outputs, run_list, run_status

STARTED, FINISHED = "2026-01-31T10:00:00.000000Z", "2026-01-31T10:00:08.000000Z"
ID = "20260131-100000-abc"


def node(state: str, seconds: float | None = None, **keys: Any) -> dict[str, Any]:
    rest = {"attempts": 1, "error": None, "reason": None, "outcome": "known", "started": STARTED, "tolerated": False}
    return {"state": state, "seconds": seconds, **rest, **keys}


def run(nodes: dict[str, Any], state: str = "failed", **keys: Any) -> dict[str, Any]:
    rest = {"id": ID, "workflow": "nightly_orders", "started": STARTED, "finished": FINISHED, "error": ""}
    return {"state": state, **rest, "wants_update": False, "nodes": nodes, **keys}


FAILED = run(
    {
        "extract": node("succeeded", 2.0),
        "score_with_a_long_name": node("succeeded", 65.0, attempts=3),
        "load": node("failed", 4.0, error="exit code 3"),
        "publish": node("skipped", reason="needs"),
    }
)


def body(document: dict[str, Any], **keys: Any) -> list[str]:
    """The lines of the nodes."""
    text = run_status(document, unicode=False, **keys)
    return text.split("\n\n")[1].rstrip("\n").split("\n")


def test_a_run_tells_how_it_stands_what_became_of_each_node_and_what_to_type() -> None:
    text = run_status(FAILED)
    assert text.splitlines()[0] == "✗ nightly_orders  failed after 8.0s"
    assert text.splitlines()[1].startswith(f"  {ID} · 2026-01-31 ")
    assert text.splitlines()[2:] == [
        "  1 failed · 2 succeeded · 1 skipped",
        "",
        "  ✓ extract                    2.0s",
        "  ✓ score_with_a_long_name   1m 05s  3 attempts",
        "  ✗ load                       4.0s  exit code 3",
        "  - publish                          skipped, because of what it needs",
        "",
        f"go on with: wfctl resume {ID}",
    ]


def test_a_run_that_succeeded_names_no_command() -> None:
    assert "wfctl" not in run_status(run({"a": node("succeeded", 1.0)}, "succeeded"))


def test_an_error_that_does_not_fit_beside_its_node_is_told_whole_below_it() -> None:
    shown = body(
        run({"a": node("failed", 0.0, reason="not_started", error='there is no program "psql" on the PATH')}), width=40
    )
    assert shown == ["  x a", '      there is no program "psql" on the', "      PATH"]


def test_what_became_of_an_unknown_attempt_is_said() -> None:
    assert body(run({"a": node("failed", 1.0, error="ended by signal 9", outcome="unknown")}))[0].endswith(
        "ended by signal 9, outcome unknown"
    )


def test_a_failure_that_was_tolerated_is_not_counted_among_the_failures() -> None:
    text = run_status(run({"a": node("failed", 1.0, error="exit code 3", tolerated=True), "b": node("failed", 1.0)}))
    assert text.splitlines()[2:5] == ["  1 failed · 1 tolerated", "", "  ✗ a     1.0s  exit code 3 · tolerated"]


def test_what_only_another_file_can_mend_goes_on_with_that() -> None:
    assert run_status(run({}, wants_update=True)).endswith(f"go on with: wfctl resume {ID} --update\n")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    long = "x" * 90
    text = run_status(
        run({long: node("failed", 1.0, error="y " * 90), "b": node("skipped", reason="when")}), width=width
    )
    text += run_list([summary(), summary(workflow=long)], width=width)
    assert max(map(len, text.splitlines())) <= max(width, len(f"go on with: wfctl resume {ID}"))


def test_of_many_nodes_only_those_that_want_attention_have_a_line() -> None:
    many = {f"n{i}": node("succeeded", 1.0) for i in range(10_000)}
    many["n77"] = node("failed", 1.0, error="exit code 3")
    text = run_status(run(many))
    assert text.splitlines()[2:6] == [
        "  1 failed · 9999 succeeded",
        "",
        "  ✗ n77     1.0s  exit code 3",
        f"  + 9999 nodes not shown; all: wfctl status {ID} --json",
    ]


def test_of_very_many_failures_the_first_are_shown() -> None:
    many = {f"n{i}": node("running" if i % 2 else "failed", 1.0) for i in range(1000)}
    shown = body(run(many))
    assert len(shown) == MANY + 1
    assert all(line.startswith("  x ") for line in shown[:-1])


def test_foreign_text_is_shown_and_not_obeyed() -> None:
    text = run_status(run({"a": node("failed", 1.0, error="\x1b[2J[/bin/sh]")}, error="\x1b]0;x\x07"))
    assert "\x1b" not in text
    assert "\\x1b[2J[/bin/sh]" in text


# -- many runs


def summary(state: str = "succeeded", **keys: Any) -> dict[str, Any]:
    rest = {"id": ID, "workflow": "nightly_orders", "started": STARTED, "finished": FINISHED, "error": ""}
    return {"state": state, **rest, "counts": {"succeeded": 3, "cached": 1, "skipped": 2}, "total": 6, **keys}


def test_runs_have_a_line_each() -> None:
    assert run_list([summary("failed"), summary("running", finished=None)]).splitlines() == [
        "  run                  workflow           took  state        succeeded",
        f"✗ {ID}  nightly_orders     8.0s  failed       4/6",
        f"▶ {ID}  nightly_orders           running      4/6",
    ]


def test_a_narrow_screen_gets_fewer_columns_and_a_wide_one_more() -> None:
    assert run_list([summary()], width=40).splitlines()[1] == f"✓ {ID}  nightly…     8.0s"
    assert run_list([summary()], width=120).splitlines()[0].endswith("succeeded  started")


def test_a_run_that_cannot_be_read_says_why() -> None:
    broken = {"id": ID, "workflow": None, "state": "unreadable", "error": "its journal is empty"}
    assert run_list([broken]).splitlines()[1] == f"· {ID}  ?         its journal is empty"


def test_no_runs_are_no_empty_screen() -> None:
    assert run_list([]) == "no runs\n"


# -- values


def test_one_text_of_many_lines_is_printed_as_it_is() -> None:
    assert outputs({"table": "a  b\n1  2\n"}) == "a  b\n1  2\n"


def test_several_outputs_stand_under_their_names() -> None:
    assert outputs({"n": 3, "text": "x\ny", "who": "[b]\x1b[2J"}) == "n: 3\ntext:\nx\ny\nwho: [b]\\x1b[2J\n"


def test_long_json_has_an_entry_a_line_where_entries_are_nested() -> None:
    rows = [{"month": i, "rain": "y" * 40} for i in range(3)]
    assert outputs({"rows": rows}).count("\n") == 5
    assert outputs({"rows": list(range(100))}).count("\n") == 1


def test_a_resolved_node_is_a_key_a_line_without_what_is_empty() -> None:
    data = {
        "id": "a", "needs": ["b", "c"], "cwd": "", "timeout": 90.0, "script": "x\ny",
        "env": {"A": {"value": "1", "from": "node"}},
    }  # fmt: skip
    assert mapping(data) == (
        "id: a\nneeds: b, c\ntimeout: 1m 30s\nscript: |\n  x\n  y\nenv:\n  A: 1  (from the node)\n"
    )


def test_the_nodes_of_a_workflow_say_what_they_come_after() -> None:
    assert mapping({"nodes": {"a": [], "b": ["a"]}}) == "nodes:\n  a\n  b  after a\n"
