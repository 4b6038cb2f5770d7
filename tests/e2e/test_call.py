"""Python functions in a workflow, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow, Status

WORK = """
import asyncio, os

def extract(day):
    print("for", day)
    return [{"id": i, "day": day} for i in range(3)]

async def score(rows, *, factor=1):
    await asyncio.sleep(0)
    return {row["day"] + str(row["id"]): row["id"] * factor for row in rows}

def flaky(path):
    with open(path, "a") as stream:
        stream.write("x")
    if os.path.getsize(path) < 3:
        raise ConnectionError("not yet")

def leak():
    print("it is", os.environ["TOKEN"])
    raise ValueError("401 for " + os.environ["TOKEN"])
"""


@pytest.fixture(autouse=True)
def work(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORK)


def test_what_a_function_returns_is_what_the_next_one_is_given(wfctl: Command, flow: Flow) -> None:
    name = flow("""
        params: {day: {default: monday}}
        nodes:
          extract: {call: "work:extract", with: {day: "${{ params.day }}"}}
          score:
            call: work.py:score
            with: {rows: "${{ nodes.extract.output }}", factor: 2}
            expect: ${{ len(output) == 3 }}
          shell: {run: 'echo ${{ nodes.score.output.monday2 }}', stdout: text}
        outputs: {two: "${{ nodes.shell.output }}"}
    """)
    ended = wfctl("run", name, "--json")
    assert json.loads(ended.stdout.splitlines()[-1])["outputs"] == {"two": "4"}
    assert wfctl("logs", "last", "extract").stdout == "for monday\n"


def test_an_attempt_that_raised_is_followed_by_another(wfctl: Command, flow: Flow, status: Status) -> None:
    name = flow("nodes: {a: {call: 'work.py:flaky', with: {path: ledger}, retry: {attempts: 5, delay: 0}}}")
    assert wfctl("run", name).returncode == 0
    assert status()["nodes"]["a"]["attempts"] == 3
    assert wfctl("logs", "last", "a").stdout.count("ConnectionError: not yet") == 2


def test_a_failure_is_short_in_the_report_and_whole_in_the_log(wfctl: Command, flow: Flow, status: Status) -> None:
    ended = wfctl("run", flow("nodes: {a: {call: 'work.py:flaky', with: {path: no/ledger}}}"))
    assert ended.returncode == 1
    node = status()["nodes"]["a"]
    error = "FileNotFoundError: [Errno 2] No such file or directory: 'no/ledger' (work.py:13 in flaky)"
    assert (node["reason"], node["error"], node["outcome"]) == ("exception", error, "known")
    assert error in ended.stderr
    assert wfctl("logs", "last", "a").stdout.startswith("Traceback (most recent call last):\n")


def test_what_cannot_be_called_is_no_failure_of_the_work(wfctl: Command, flow: Flow, status: Status) -> None:
    name = flow("nodes: {a: {call: 'work.py:extract', with: {dya: x}, retry: {attempts: 3}}}")
    assert wfctl("run", name).returncode == 1
    node = status()["nodes"]["a"]
    assert (node["attempts"], node["reason"]) == (1, "not_started")
    assert node["error"] == '"work.py:extract" has no argument "dya"; did you mean "day"?'


def test_arguments_that_an_expression_makes_are_a_mapping(wfctl: Command, flow: Flow, status: Status) -> None:
    name = flow("params: {x: {default: [1]}}\nnodes: {a: {call: 'work.py:extract', with: '${{ params.x }}'}}")
    assert wfctl("run", name).returncode == 1
    assert status()["nodes"]["a"]["error"] == "with: expected a mapping of arguments, got [1]"
    assert wfctl("run", name, "-p", 'x={"day": "today"}').returncode == 0


def test_the_secret_in_the_error_of_a_library_is_nowhere(
    wfctl: Command, flow: Flow, status: Status, tmp_path: Path
) -> None:
    name = flow("secrets: [TOKEN]\nnodes: {a: {call: 'work:leak', secrets: [TOKEN]}}")
    ended = wfctl("run", name, env={"TOKEN": "hunter2hunter"})
    assert ended.returncode == 1
    assert status()["nodes"]["a"]["error"] == "ValueError: 401 for ************* (work.py:20 in leak)"
    assert "hunter2" not in ended.stderr
    kept = [path for path in (tmp_path / ".wfctl").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"hunter2" in path.read_bytes()]


def test_who_writes_the_file_that_is_called_comes_first(wfctl: Command, flow: Flow) -> None:
    name = flow("""
        nodes:
          use: {call: "made.py:f"}
          make: {run: "echo 'def f(): return 1' > made.py", writes: [made.py]}
    """)
    assert wfctl("run", name).returncode == 0
    assert wfctl("output", "last", "use").stdout == "1\n"


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("work/sub:f", '5:11: nodes.a.call: "work/sub" is neither a module nor a file.py; write "work/sub.py:f"'),
        ("../work.py:f", '5:11: nodes.a.call: "../work.py" leads out of the root folder'),
        ("'${{ params.x }}.y:f'", "nodes.a.call: cannot be an expression: what is called is code"),
        ("work", "nodes.a.call: expected module:function or file.py:function"),
    ],
)
def test_what_no_run_could_call_is_a_fault_with_its_place(wfctl: Command, flow: Flow, target: str, fault: str) -> None:
    ended = wfctl("validate", flow(f"params: {{x: {{default: 1}}}}\nnodes:\n  a:\n    call: {target}\n"))
    assert ended.returncode == 2
    assert fault in ended.stderr + ended.stdout


def test_show_says_what_is_called_and_with_what(wfctl: Command, flow: Flow) -> None:
    name = flow("nodes: {a: {call: 'work:extract', with: {day: '${{ run.id }}'}}}")
    shown = json.loads(wfctl("show", name, "a", "--json").stdout)
    assert shown["fields"] == {"call": "work:extract", "with": {"day": "${{ run.id }}"}}


def test_a_target_that_braces_make_unreadable_is_told_with_its_cure(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("validate", flow('nodes:\n  a: {call: work.py:f, with: {x: "${{ run.id }}"}}\n'))
    assert ended.stderr == ('flow.yaml:3:13: in { } and [ ] a text with a ":" must be quoted; write "work.py:f"\n')
