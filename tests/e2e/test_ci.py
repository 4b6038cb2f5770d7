"""A run in CI: the JUnit file, what the log of GitHub and of GitLab shows, and the page for the job."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import junitparser
import pytest

from tests.conftest import ROOT, Command
from tests.e2e.conftest import Flow, Start, Until
from tests.e2e.conftest import environ as environ_of
from tests.e2e.test_readme import FENCE
from tests.helpers.services import orders, sections

GITHUB = {"GITHUB_ACTIONS": "true", "CI": "true"}
GITLAB = {"GITLAB_CI": "true", "CI": "true"}


def cases(path: Path) -> dict[str, str]:
    """How each case went, by name; each name once, and the counts agree with them."""
    (suite,) = junitparser.JUnitXml.fromfile(str(path))
    found = {case.name: type(case.result[0]).__name__.lower() if case.result else "passed" for case in suite}
    told = list(found.values())
    assert len(found) == suite.tests == len(list(suite))
    counts = (suite.failures, suite.errors, suite.skipped)
    assert counts == tuple(told.count(word) for word in ("failure", "error", "skipped"))
    return found


def result(path: Path, name: str) -> junitparser.junitparser.FinalResult:
    (suite,) = junitparser.JUnitXml.fromfile(str(path))
    (found,) = next(case for case in suite if case.name == name).result
    return found


def said(folder: Path, *words: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Standard error and standard output of the command, with their carriage returns."""
    ended = subprocess.run(
        [sys.executable, "-m", "wfctl", *words], cwd=folder, env={**environ_of(folder), **env}, capture_output=True,
        stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    return ended.stderr.decode(), ended.stdout.decode()


ALL_SORTS = """
on_failure: continue
nodes:
  a: {run: echo fine}
  bad: {run: "echo the log; exit 3", needs: [a]}
  slow: {run: exec sleep 60, timeout: 50ms}
  after: {run: "true", needs: [bad]}
  never: {run: "true", when: false}
  lint: {run: exit 1, continue_on_error: true}
  each: {run: 'test "${{ item }}" != y', for_each: [x, y]}
  most: {run: 'test "${{ item }}" != y', for_each: [x, y], collect: {tolerate: 1}}
  none: {run: "true", for_each: []}
  group: {nodes: {in: {run: "true"}, out: {run: exit 1, needs: [in]}}}
  wrong: {run: "true", for_each: "${{ nodes.a.output.list }}"}
finally: {last: {run: "true"}}
"""


def test_each_node_is_one_case(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    ended = wfctl("run", flow(ALL_SORTS), "--junit", "out.xml")
    assert ended.returncode == 1
    assert cases(tmp_path / "out.xml") == {
        "a": "passed", "bad": "failure", "slow": "failure", "after": "skipped", "never": "skipped", "lint": "skipped",
        "each[0]": "passed", "each[1]": "failure", "most[0]": "passed", "most[1]": "skipped", "none": "passed",
        "group.in": "passed", "group.out": "failure", "wrong": "failure", "last": "passed",
    }  # fmt: skip
    assert result(tmp_path / "out.xml", "bad").text == "exit code 3\nthe log"
    assert result(tmp_path / "out.xml", "slow").type == "timed_out"
    assert result(tmp_path / "out.xml", "after").message == "skipped: something it needs did not succeed"
    assert result(tmp_path / "out.xml", "lint").type == result(tmp_path / "out.xml", "most[1]").type == "tolerated"


def test_the_file_is_of_the_whole_run_also_when_only_a_rest_was_done(
    wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    name = flow("nodes: {a: {run: 'true'}, b: {run: test -e there, needs: [a]}}")
    assert wfctl("run", name, "--junit", "out.xml").returncode == 1
    assert cases(tmp_path / "out.xml") == {"a": "passed", "b": "failure"}
    (tmp_path / "there").touch()
    for _ in range(2):  # the second time nothing is left to do
        (tmp_path / "out.xml").unlink()
        assert wfctl("resume", "last", "--junit", "out.xml").returncode == 0
        assert cases(tmp_path / "out.xml") == {"a": "passed", "b": "passed"}


def test_what_was_served_says_by_which_run(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow("nodes: {a: {run: 'true', idempotency: {}}}")
    wfctl("run", name)
    assert wfctl("run", name, "--junit", "out.xml").returncode == 0
    assert re.search(r"^served_from: \d{8}-\d{6}-\w{3}$", (tmp_path / "out.xml").read_text(), re.MULTILINE)


def test_a_run_that_was_undone_is_not_green(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow("""
        nodes:
          a: {run: 'true', compensate: [{run: 'true'}]}
          b: {run: 'true', needs: [a], compensate: [{run: "echo stuck; exit 2", retry: {attempts: 1}}]}
          c: {run: exit 1, needs: [b]}
    """)
    ended = wfctl("run", name, "--junit", "out.xml", env=GITHUB)
    assert ended.returncode == 4
    assert cases(tmp_path / "out.xml") == {"a": "passed", "b": "error", "c": "failure"}
    assert result(tmp_path / "out.xml", "b").text == "was not undone: exit code 2\nstuck"
    assert {order.properties["title"] for order in orders(ended.stderr)} == {"b undo failed", "c failed"}
    ended = wfctl("rollback", "last", "--done", "b", "--reason", "by me", "--junit", "out.xml")
    assert ended.returncode == 3
    assert cases(tmp_path / "out.xml") == {"a": "skipped", "b": "skipped", "c": "failure"}
    assert result(tmp_path / "out.xml", "b").message == "undone by hand"


def test_a_run_that_is_stopped_leaves_the_file_and_one_that_is_killed_no_old_one(
    start: Start, flow: Flow, until: Until, tmp_path: Path
) -> None:
    name = flow("nodes: {a: {run: 'touch begun; exec sleep 60'}, b: {run: 'true', needs: [a]}}")
    for number, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        process = start("run", name, "--junit", "out.xml")
        until((tmp_path / "begun").exists, "the node has begun")
        process.send_signal(number)
        assert process.wait(30) == code
        (tmp_path / "begun").unlink()
        if code == 143:
            assert cases(tmp_path / "out.xml") == {"a": "error", "b": "skipped"}
    assert not list(tmp_path.glob("*.xml*")) + list(tmp_path.glob(".out*"))


def test_a_run_that_fails_by_itself_is_a_case(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow("""
        nodes: {b: {run: echo 0, stdout: text}}
        outputs: {x: "${{ nodes.b.output.y }}"}
    """)
    assert wfctl("run", name, "--junit", "out.xml").returncode == 1
    assert cases(tmp_path / "out.xml") == {"b": "passed", "(run)": "error"}


def test_what_the_time_of_the_run_was_too_short_for_is_told_with_its_log(
    wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    name = flow("""
        timeout: 500ms
        nodes: {a: {run: "echo half way; exec sleep 60"}, b: {run: "true", needs: [a]}}
    """)
    ended = wfctl("run", name, "--junit", "out.xml", env=GITHUB)
    assert cases(tmp_path / "out.xml") == {"a": "error", "b": "skipped"}
    (order,) = orders(ended.stderr)
    assert re.fullmatch(r"stopped after [\d.]+s: the run's time was up\nhalf way", order.text)
    assert (order.properties["file"], order.properties["line"]) == ("flow.yaml", "4")


def test_who_waits_for_a_person_has_not_failed(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow("nodes: {ok: {ask: {message: 'ship it?', choices: [yes, no]}}, ship: {run: 'true', needs: [ok]}}")
    assert wfctl("run", name, "--no-wait", "--junit", "out.xml").returncode == 7
    assert cases(tmp_path / "out.xml") == {"ok": "skipped", "ship": "skipped"}
    assert result(tmp_path / "out.xml", "ok").message == "waits for an answer: ship it?"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("no/out.xml", "there is no folder"), (".", "names a folder"), ("flow.yaml/out.xml", "there is no folder"),
        ("", "names a folder"), ("flow.yaml", "is no XML; name another file"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_written_is_told_before_anything_runs(
    wfctl: Command, flow: Flow, tmp_path: Path, path: str, why: str
) -> None:
    ended = wfctl("run", flow("nodes: {a: {run: touch ran}}"), "--junit", path)
    assert (ended.returncode, why in ended.stderr) == (2, True)
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "flow.yaml").exists()


def test_where_nothing_could_be_run_no_report_of_an_earlier_run_is_left(
    wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    wfctl("run", flow("nodes: {a: {run: 'true'}}"), "--junit", "out.xml")
    assert cases(tmp_path / "out.xml") == {"a": "passed"}
    assert wfctl("run", flow("nodes: {a: {rum: 'true'}}"), "--junit", "out.xml").returncode == 2
    assert not (tmp_path / "out.xml").exists()


def test_a_file_that_can_no_longer_be_written_is_a_warning_and_the_run_has_succeeded(
    wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    summary = {**GITHUB, "GITHUB_STEP_SUMMARY": str(tmp_path / "out/summary.md")}
    ended = wfctl("run", flow("nodes: {a: {run: rm -r out}}"), "--junit", "out/wfctl.xml", env=summary)
    assert ended.returncode == 0
    assert "wfctl: --junit: " in ended.stderr
    assert "wfctl: the summary " in ended.stderr


def test_the_file_is_replaced_where_it_is_and_readable_as_files_are(
    wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    name = flow("root: sub\nnodes: {a: {run: 'true'}}")
    (tmp_path / "sub").mkdir()
    (tmp_path / "real.xml").write_text("<old/>")
    (tmp_path / "out.xml").symlink_to("real.xml")
    assert wfctl("run", name, "--junit", "out.xml").returncode == 0
    assert cases(tmp_path / "real.xml") == {"a": "passed"}
    assert (tmp_path / "out.xml").is_symlink()
    assert (tmp_path / "real.xml").stat().st_mode == (tmp_path / "flow.yaml").stat().st_mode
    assert wfctl("run", name, "--junit", "/dev/stdout").stdout.startswith("<?xml")


def test_no_report_holds_a_secret(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow("""
        secrets: [TOKEN]
        nodes:
          a: {run: 'echo "it is $TOKEN"; exit 1', secrets: [TOKEN]}
          b: {run: 'echo "it is $TOKEN"', secrets: [TOKEN]}
    """)
    env = {**GITHUB, "TOKEN": "hunter2hunter", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    ended = wfctl("run", name, "--keep-going", "--junit", "out.xml", env=env)
    for text in (ended.stderr, (tmp_path / "out.xml").read_text(), (tmp_path / "summary.md").read_text()):
        assert "it is *************" in text
        assert "hunter2" not in text


# -- GitHub


def test_github_is_told_by_groups_and_annotations_at_the_lines_of_the_file(
    wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    name = flow("""
        on_failure: continue
        nodes:
          fine: {run: echo fine}
          bad:
            run: echo the log; exit 3
          each:
            for_each: [x]
            run: exit 1
          sub: {workflow: sub.yaml}
    """)
    (tmp_path / "sub.yaml").write_text("version: 1\nnodes:\n  # here\n  deep: {run: exit 1}\n")
    ended = wfctl("run", name, env={**GITHUB, "GITHUB_WORKSPACE": str(tmp_path.parent)})
    found = orders(ended.stderr)
    assert [order.name for order in found] == ["group", "endgroup", "error", "error", "error"]
    told = [order.properties for order in found[2:]]
    places = {one["title"]: (one["file"], one["line"], one["col"]) for one in told}
    folder = tmp_path.name
    assert places == {
        "bad failed": (f"{folder}/flow.yaml", "6", "3"),
        "each[0] failed": (f"{folder}/flow.yaml", "8", "3"),
        "sub.deep failed": (f"{folder}/sub.yaml", "4", "3"),
    }
    assert found[2].text == "exit code 3\nthe log"


def test_a_file_that_was_changed_has_no_lines_any_more(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow("nodes: {a: {run: 'echo >> flow.yaml; exit 1'}}")
    (order,) = orders(wfctl("run", name, env=GITHUB).stderr)
    assert order.properties == {"file": "flow.yaml", "title": "a failed"}


def test_the_page_of_a_step_is_added_to_what_is_there_and_says_all(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    page = tmp_path / "summary.md"
    page.write_text("# before\n")
    name = flow("nodes: {a: {run: 'true'}, b: {run: 'echo the log; exit 3', needs: [a]}}")
    wfctl("run", name, env={**GITHUB, "GITHUB_STEP_SUMMARY": str(page)})
    text = page.read_text()
    assert text.startswith("# before\n### ✗ <code>flow</code> failed")
    assert "once mended: wfctl resume " in text
    assert "<pre>the log</pre>" in text
    assert "```mermaid\n" in text
    assert "| ✓ | <code>a</code> | succeeded |" in text
    page.write_text("x" * (1024 * 1024 - 100))
    wfctl("run", name, env={**GITHUB, "GITHUB_STEP_SUMMARY": str(page)})
    assert page.stat().st_size <= 1024 * 1024


def test_faults_of_the_file_are_annotated(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow("nodes: {a: {'##[error]x': y}}"), env=GITHUB)
    assert ended.returncode == 2
    found = orders(ended.stderr)
    assert {(order.name, order.properties["file"], order.properties["line"]) for order in found} == {
        ("error", "flow.yaml", "2")
    }


def test_programs_get_json_and_the_service_its_annotations(wfctl: Command, flow: Flow) -> None:
    name = flow("""
        nodes:
          a: {run: 'echo "##[error]x"', stdout: text}
          b: {run: 'echo ::error::x; exit 1', needs: [a]}
    """)
    ended = wfctl("run", name, "--json", env=GITHUB)
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert events[-1]["event"] == "run_finished"
    assert "##[error]x" in [event.get("output") for event in events]
    assert orders(ended.stdout) == []
    assert [order.name for order in orders(ended.stderr)] == ["error"]


EVIL = r"printf '::stop-commands::t\n  ::error::evil\nx ##[add-mask]y\n\033[0Ksection_end:1:wfctl-1\r\033[0K\n'"


@pytest.mark.parametrize("environ", [GITHUB, GITLAB])
def test_nothing_that_is_foreign_is_obeyed(flow: Flow, tmp_path: Path, environ: dict[str, str]) -> None:
    name = flow(f"""
        name: evil
        nodes:
          fine: {{run: {json.dumps(EVIL)}}}
          items:
            for_each: ["::error::x", "##error"]
            key: ${{{{ item }}}}
            run: {json.dumps(EVIL + "; exit 1")}
            continue_on_error: true
          out: {{run: 'printf "a\\n::error::x\\n##[error]y\\n"', stdout: text}}
        outputs: {{x: "${{{{ nodes.out.output }}}}"}}
    """)
    log, outputs = said(tmp_path, "run", name, "--keep-going", env=environ)
    if environ is GITHUB:
        ours = [order.name for order in orders(log)]
        assert sorted(ours) == ["endgroup", "endgroup", "group", "group", "warning", "warning"]
        assert orders(outputs) == []
        assert outputs == "a\n\\x3a:error::x\n##\\x5berror]y\n"
    else:
        assert [len(section.lines) for section in sections(log)] == [4, 3]


def test_faults_give_no_orders_in_a_container_that_knows_nothing_of_its_service(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow('nodes: {a: {run: "true", needs: ["##[add-mask]x"]}}'), "--ci", "github")
    assert ended.returncode == 2
    assert [order.name for order in orders(ended.stderr)] == ["error"]


# -- GitLab, and by hand


def test_gitlab_is_told_by_sections_and_the_places_of_failures(flow: Flow, tmp_path: Path) -> None:
    name = flow("nodes: {a: {run: echo fine}, b: {run: exit 1, needs: [a]}}")
    log, _ = said(tmp_path, "run", name, env=GITLAB)
    (section,) = sections(log)
    assert section.lines == ("fine",)
    assert log.endswith("flow.yaml:2:30: b: exit code 1\n")


def test_the_service_can_be_named_or_switched_off(wfctl: Command, flow: Flow) -> None:
    name = flow("nodes: {a: {run: echo fine}}")
    assert "::group::" in wfctl("run", name, "--ci", "github").stderr
    assert "section_start" in wfctl("run", name, "--ci", "gitlab", env=GITHUB).stderr
    assert "::group::" not in wfctl("run", name, "--ci", "off", env=GITHUB).stderr
    ended = wfctl("run", name, "--ci", "githib")
    assert (ended.returncode, ended.stderr) == (
        2, 'wfctl: --ci: no CI service named "githib"; did you mean "github"?\n',
    )  # fmt: skip


def test_ci_alone_changes_nothing(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow("nodes: {a: {run: echo fine}}"), env={"CI": "true", "GITHUB_STEP_SUMMARY": "s.md"})
    assert "fine" not in ended.stderr


def test_a_run_in_a_node_of_another_is_no_step(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    flow("nodes: {x: {run: echo deep; exit 1}}", "inner.yaml")
    inner = f"{sys.executable} -m wfctl run inner.yaml"
    env = {**GITHUB, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    ended = wfctl("run", flow(f"nodes: {{a: {{run: {json.dumps(inner)}}}}}"), env=env)
    assert [order.name for order in orders(ended.stderr)] == ["error"]
    assert (tmp_path / "summary.md").read_text().count("<code>flow</code>") == 1


# -- the document


def test_the_steps_that_the_document_shows_do_what_it_says(wfctl: Command, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    blocks = list(FENCE.finditer((ROOT / "docs/ci.md").read_text()))
    (tmp_path / "checks.yaml").write_text(next(b["body"] for b in blocks if b["name"] == "checks.yaml"))
    steps = {b["name"]: YAML(typ="safe", pure=True).load(b["body"]) for b in blocks if b["mark"] == "step"}
    job = steps["gitlab"]["checks"]
    assert job["artifacts"]["reports"]["junit"] in job["artifacts"]["paths"]
    run, upload = steps["github"]
    for command, kept in ((run["run"], upload["with"]["path"].split()), (job["script"][0], job["artifacts"]["paths"])):
        program, *words = shlex.split(command)
        assert (program, wfctl(*words).returncode) == ("wfctl", 1)
        assert all((tmp_path / path).exists() for path in kept)
        assert cases(tmp_path / "wfctl.xml")["test"] == "failure"
