"""The last words of a run, typed as they stand there: each command that they name does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import Flow

Typed = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    """A line that a person types into a shell where `wfctl` is on the PATH, and no state folder is named."""
    program = tmp_path / "bin/wfctl"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom wfctl.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    ours = ("WFCTL", "GITHUB", "GITLAB")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ = {**inherited, "PYTHONPATH": str(ROOT), "PATH": f"{program.parent}:{os.environ['PATH']}"}

    def type_in(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return type_in


def commands(text: str) -> dict[str, str]:
    """What is to be typed, by what is said of it."""
    return {found[1].strip(): found[2] for found in re.finditer(r"^ *([a-z ]+): +(wfctl .*)$", text, re.MULTILINE)}


WHERES = ["wfctl", "wfctl --state-dir 'the state'"]


@pytest.mark.parametrize("wfctl", WHERES)
def test_of_a_failure_the_log_is_shown_and_once_mended_the_run_goes_on(typed: Typed, flow: Flow, wfctl: str) -> None:
    name = flow("""
        secrets: [TOKEN]
        nodes:
          each: {for_each: ["it's $(mine)"], key: "${{ item }}", run: "echo no luck; test -e mended", secrets: [TOKEN]}
    """)
    typed("echo TOKEN=correct-horse > 'my env'")
    ended = typed(f"{wfctl} run {name} --env-file 'my env'")
    assert ended.returncode == 1
    found = commands(ended.stderr)
    assert typed(found["whole log"]).stdout == "no luck\n"
    typed("touch mended")
    assert typed(found["once mended"]).returncode == 0


@pytest.mark.parametrize("wfctl", WHERES)
def test_of_an_undo_that_was_given_up_its_log_is_shown_and_it_is_tried_again(
    typed: Typed, flow: Flow, wfctl: str
) -> None:
    name = flow("""
        rollback: {retry: {attempts: 1}}
        nodes:
          a: {run: "true", compensate: [{run: "echo stuck; test -e mended"}]}
          b: {run: "false", needs: [a]}
    """)
    ended = typed(f"{wfctl} run {name}")
    assert ended.returncode == 4
    found = commands(ended.stderr)
    assert "stuck" in typed(found["its log"]).stdout
    assert commands(typed(f"{wfctl} status").stdout)["go on with"] == found["once mended"]
    assert found["once mended"] in typed(f"{wfctl} resume last").stderr
    assert typed(found["or by hand"].replace("TEXT", "seen")).returncode == 3


@pytest.mark.parametrize("wfctl", WHERES)
def test_a_question_is_answered_and_then_the_run_goes_on(typed: Typed, flow: Flow, wfctl: str) -> None:
    name = flow('nodes: {ok: {ask: {message: "now?", choices: [yes please, not yet]}}}')
    ended = typed(f"{wfctl} run {name} --no-wait")
    assert ended.returncode == 7
    found = commands(ended.stderr)
    answered = typed(found["answer"].partition("|")[0])
    assert answered.returncode == 0
    assert answered.stderr == f"answered; go on with: {found['then']}\n"
    assert typed(found["then"]).returncode == 0


def test_who_is_asked_is_told_what_has_gone_wrong_so_far(typed: Typed, flow: Flow) -> None:
    name = flow("nodes: {a: {run: echo no luck; exit 3}, ok: {ask: {message: go on}}}")
    ended = typed(f"wfctl run {name} --no-wait --keep-going")
    assert ended.returncode == 7
    assert "open\n  ✗ a  exit code 3\n  whole log:   wfctl logs" in ended.stderr


def test_of_a_run_that_somebody_drives_the_error_says_what_ends_it(typed: Typed, flow: Flow) -> None:
    wfctl = "wfctl --state-dir 'the state'"
    name = flow("nodes: {a: {run: touch begun; exec sleep 60}}")
    ended = typed(f"{wfctl} run {name} > told 2>&1 & until [ -e begun ]; do sleep 0.01; done; {wfctl} resume last")
    assert ended.returncode == 5
    (command,) = re.findall("`(wfctl [^`]* cancel [^`]*)`", ended.stderr)
    assert typed(command).returncode == 0
    (wrong,) = re.findall("`(wfctl [^`]*)`", typed(f"{wfctl} resume nope").stderr)
    assert typed(wrong).returncode == 0


def test_what_a_person_leaves_as_it_is_is_told_apart_from_what_was_undone(typed: Typed, flow: Flow) -> None:
    name = flow("""
        rollback: {retry: {attempts: 1}}
        nodes:
          a: {run: "true", compensate: [{run: "true"}]}
          b: {run: "true", needs: [a], compensate: [{run: "false"}]}
          c: {run: "false", needs: [b]}
    """)
    typed(f"wfctl run {name}")
    ended = typed("wfctl rollback last --skip b --reason 'never mind'")
    assert ended.returncode == 3
    assert "  undone:      a\n  stays:       b, as somebody has said\n" in ended.stderr


def test_an_undo_that_has_printed_nothing_has_no_log_to_look_at(typed: Typed, flow: Flow) -> None:
    name = flow("""
        rollback: {retry: {attempts: 1}}
        nodes:
          a: {run: "echo done", compensate: [{run: "false"}]}
          b: {run: "false", needs: [a]}
    """)
    assert "its log" not in commands(typed(f"wfctl run {name}").stderr)


def test_a_program_that_is_not_on_the_path_is_called_as_it_was(typed: Typed, flow: Flow) -> None:
    name = flow("nodes: {a: {run: test -e mended}}")
    assert re.search("once mended: wfctl resume", typed(f"bin/wfctl run {name}").stderr)
    ended = typed(f"cp -r bin own; own/wfctl run {name}")
    assert re.search(r"once mended: own/wfctl resume [\w-]+$", ended.stderr, re.MULTILINE)
    ended = typed(f"rm -r bin; PATH={os.defpath}; $PWD/own/wfctl run {name}")
    assert re.search(r"once mended: /.*/own/wfctl resume [\w-]+$", ended.stderr, re.MULTILINE)
