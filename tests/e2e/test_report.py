"""`wfctl report`: one page that holds all of a run, whatever became of it, and nothing that could be obeyed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow, Start, Until
from tests.e2e.test_foreign_text import HOSTILE, flow_of, harmful
from wfctl import dossier, drawing
from wfctl.renderers.report import render
from wfctl.store import Store

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def told(page: str) -> dict[str, Any]:
    """What the page has to tell, as its own script reads it; its nodes by id, with their texts in place."""
    (found,) = DATA.findall(page)
    data: dict[str, Any] = json.loads(found)
    texts = data["texts"]
    for node in data["nodes"]:
        node |= {key: texts[node.get(key, 0)] for key in ("kind", "note", "does", "why", "held", "about")}
    data["nodes"] = {node["id"]: node for node in data["nodes"]}
    return data


def report(wfctl: Command, *words: str, **options: Any) -> dict[str, Any]:
    ended = wfctl("report", "last", "-o", "-", *words, **options)
    assert (ended.returncode, ended.stderr) == (0, "")
    return told(ended.stdout)


def test_a_page_is_written_where_one_wants_it(flow: Flow, wfctl: Command, tmp_path: Path) -> None:
    wfctl("run", flow('nodes: {a: {run: "true"}}'))
    (run,) = (path.name for path in (tmp_path / ".wfctl/runs").iterdir())
    said = wfctl("report", run[:8], "-o", "x.html")
    assert (said.returncode, said.stdout) == (0, "")
    assert said.stderr == "wrote x.html; open it in a browser\n"
    assert wfctl("report").returncode == 0
    pages = [wfctl("report", "last", "-o", "-").stdout, (tmp_path / "x.html").read_text()]
    pages.append((tmp_path / f"report-{run}.html").read_text())
    assert all(page.startswith("<!DOCTYPE html>") and told(page)["run"]["id"] == run for page in pages)
    assert wfctl("report", "nope", "-o", "y.html").returncode == 2
    assert wfctl("report", "last", "-o", "no/such/folder.html").returncode == 2
    assert not (tmp_path / "y.html").exists()


def test_the_policy_of_the_page_names_its_own_style_and_script_and_lets_nothing_else_be(
    flow: Flow, wfctl: Command
) -> None:
    wfctl("run", flow('nodes: {a: {run: "true"}}'))
    page = wfctl("report", "last", "-o", "-").stdout
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts]
        assert rules[rule].split() == [f"'sha256-{one}'" for one in hashes]
    assert not re.search(r"""\b(?:src|href)\s*=\s*["']?\s*(?:https?:|//|data:)|@import|url\(""", page)


def test_it_tells_of_each_node_what_became_of_it_and_when(flow: Flow, wfctl: Command) -> None:
    name = flow("""
        concurrency: 1
        on_failure: continue
        resources: {memory: 2GiB}
        nodes:
          a: {run: echo hello, description: says so, stdout: text, estimate: 2s, resources: {memory: 1GiB}}
          again: {run: 'test "$WFCTL_ATTEMPT" = 2 || { echo no luck; exit 3; }', retry: {attempts: 2, delay: 1ms}}
          bad: {run: 'echo the reason >&2; exit 4', needs: [a]}
          never: {run: "true", needs: [bad]}
        outputs: {word: "${{ nodes.a.output }}"}
    """)
    assert wfctl("run", name).returncode == 1
    data = report(wfctl)
    run, nodes = data["run"], data["nodes"]
    assert run["state"] == "failed"
    assert run["headline"].endswith(": 1 failed, 2 succeeded, 1 skipped")
    assert run["next"] == [["once mended", f"wfctl resume {run['id']}"]]
    assert (nodes["a"]["state"], nodes["a"]["about"], nodes["a"]["est"]) == ("succeeded", "says so", 2000)
    assert nodes["a"]["does"] == "run: echo hello"
    assert nodes["a"]["out"] == ["hello", 5, "text"]
    assert nodes["a"]["uses"] == [["memory", 2**30]]
    assert nodes["a"]["why"].startswith("it ran: nothing is kept of it")
    first, second = nodes["again"]["tries"]
    assert (first[0], first[4], first[6], data["texts"][first[7]]) == (1, "failed", 3, "exit code 3")
    assert (second[0], second[4]) == (2, "succeeded")
    assert first[1] <= first[2] <= first[3] <= first[9] <= second[2] <= second[3]
    took = json.loads(wfctl("status", "last", "--json").stdout)["nodes"]["again"]["seconds"]
    assert second[5] == round(took * 1000)  # as all else says it: without what the engine did before and after
    assert [(log[0], log[3]) for log in nodes["again"]["logs"]] == [(1, "no luck"), (2, "")]
    assert (nodes["bad"]["note"], nodes["bad"]["logs"][0][3]) == ("exit code 4", "the reason")
    assert "start" not in nodes["never"]
    assert nodes["never"]["note"] == "something it needs did not succeed"
    assert [one["name"] for one in data["resources"]] == ["slots", "memory"]
    kinds = [data["kinds"][event[1]] for event in data["events"]]
    assert (kinds[0], kinds[-1]) == ("run started", "run finished")
    assert kinds.count("node retrying") == 1


def test_what_was_planned_at_the_start_stands_beside_what_happened(flow: Flow, wfctl: Command) -> None:
    name = flow("""
        concurrency: 4
        nodes:
          a: {run: "true", estimate: 10s}
          b: {run: "true", estimate: 20s, needs: [a]}
    """)
    wfctl("run", name)
    data = report(wfctl)
    assert data["planned"]["from"] == "again"
    assert data["planned"]["note"].startswith("Planned: made again from the definition and the estimates")
    assert [data["nodes"][node]["plan"] for node in "ab"] == [[0, 10_000], [10_000, 30_000]]
    assert all(data["nodes"][node]["critical"] for node in "ab")
    wfctl("run", name)  # by now there is a history; but the plan of a run is that of its own start
    assert max(report(wfctl)["nodes"]["b"]["plan"]) < 10_000


def test_a_plan_that_was_followed_is_told_as_it_was_recorded(flow: Flow, wfctl: Command) -> None:
    name = flow("""
        nodes:
          a: {run: "true", estimate: 10s}
          b: {run: "true", estimate: 20s, needs: [a]}
    """)
    assert wfctl("run", name, "--optimize", "0.1").returncode == 0
    data = report(wfctl)
    assert data["planned"]["from"] == "journal"
    assert [data["nodes"][node]["plan"] for node in "ab"] == [[0, 10_000], [10_000, 30_000]]


def test_it_tells_what_was_undone_what_was_not_and_why(flow: Flow, wfctl: Command) -> None:
    name = flow("""
        nodes:
          a: {run: "true", compensate: [{run: "true"}]}
          b: {run: "true", compensate: [{run: "echo stuck; exit 5"}], needs: [a]}
          c: {run: "true", needs: [b]}
          d: {run: "exit 1", needs: [c]}
        rollback: {retry: {attempts: 1}}
    """)
    assert wfctl("run", name).returncode not in (0, 1, 2)
    data = report(wfctl)
    run, story = data["run"], data["rollback"]
    assert (run["state"], story["state"], story["strategy"]) == ("rollback_failed", "rollback_failed", "compensate")
    assert story["why"] == "some nodes say how they are undone"
    ids = list(data["nodes"])
    steps = {ids[step["node"]]: step for step in story["steps"]}
    assert (steps["b"]["state"], steps["b"]["error"]) == ("undo_failed", "exit code 5")
    assert (steps["a"]["state"], [ids[i] for i in story["blocked"]]) == ("waiting", ["a"])
    assert "c" in [ids[i] for i in story["without"]]
    assert steps["b"]["does"] == ["run: echo stuck; exit 5"]
    assert [line for _, line in run["next"]] == [
        f"wfctl rollback {run['id']} --retry b", f"wfctl rollback {run['id']} --done b --reason TEXT",
    ]  # fmt: skip
    assert data["nodes"]["b"]["undone"][0][4] == "undo_failed"
    assert "stuck" in [log[3] for log in data["nodes"]["b"]["logs"]]
    wfctl("rollback", "last", "--done", "b", "--reason", "I did it")
    step = {ids[step["node"]]: step for step in report(wfctl)["rollback"]["steps"]}["b"]
    assert (step["how"], step["reason"]) == ("done", "I did it")


def test_kept_results_items_and_checkpoints_are_told(flow: Flow, wfctl: Command, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("one")
    name = flow("""
        nodes:
          kept: {run: cp in out, reads: [in], writes: [out], idempotency: true}
          mark: {run: "true", needs: [kept], checkpoint: true}
          each: {for_each: [x, y], run: "echo ${{ item }}", needs: [mark]}
    """)
    wfctl("run", name)
    wfctl("run", name)
    data = report(wfctl)
    assert data["nodes"]["kept"]["state"] == "cached"
    assert data["nodes"]["kept"]["why"].startswith("served, and not run: the result of run ")
    assert len(data["nodes"]["kept"]["key"]) == 64
    assert [one[0] for one in data["checkpoints"]] == ["mark"]
    assert data["nodes"]["each"]["children"] == 2
    assert data["nodes"]["each[0]"]["logs"][0][3] == "x"
    (tmp_path / "in").write_text("two")
    wfctl("run", name)
    data = report(wfctl)
    texts = [data["texts"][i] for i in data["nodes"]["kept"]["changes"]]
    assert data["nodes"]["kept"]["why"].startswith("it ran: it is not what it was in run ")
    assert any(text.startswith("in ") and "changed" in text for text in texts)


def test_what_a_node_holds_is_a_picture_of_its_own_as_far_as_there_is_room(
    flow: Flow, wfctl: Command, tmp_path: Path
) -> None:
    wfctl("run", flow("""
        nodes:
          a: {run: "true"}
          group:
            needs: [a]
            nodes:
              first: {run: "true"}
              each: {for_each: [x, y, z], run: "true", needs: [first]}
    """))
    record, _ = dossier.read(Store(tmp_path / ".wfctl").find_run("last"))

    def drawn(most: int) -> dict[str, list[str]]:
        return {name: [n.id for n in one.nodes] for name, one in drawing.insides(record.plan, record, most).items()}

    group, items = ["group.first", "group.each"], [f"group.each[{i}]" for i in range(3)]
    assert drawn(5) == {"group": group, "group.each": items}
    assert (drawn(4), drawn(1)) == ({"group": group}, {})
    (edge,) = drawing.insides(record.plan, record, 5)["group"].edges
    assert (edge.source, edge.target) == ("group.first", "group.each")
    assert [(one.source, one.target) for one in drawing.picture(record.plan, record).edges] == [("a", "group")]


def test_a_run_that_is_under_way_can_be_told_and_what_may_hold_secrets_is_held_back(
    flow: Flow, start: Start, until: Until, wfctl: Command, tmp_path: Path
) -> None:
    token = "s3cr3t-of-ours"
    name = flow("""
        secrets: [TOKEN]
        nodes:
          done: {run: echo all fine}
          a:
            run: 'echo got $TOKEN; touch told; while test ! -e go; do sleep 0.02; done'
            secrets: [TOKEN]
            needs: [done]
          b: {run: "true", needs: [a]}
    """)
    run = start("run", name, env={"TOKEN": token})
    until((tmp_path / "told").exists, "the node has told its secret")
    data = report(wfctl)
    assert (data["run"]["state"], data["run"]["end"], data["run"]["live"]) == ("running", None, True)
    assert [data["nodes"][node]["state"] for node in ("done", "a", "b")] == ["succeeded", "running", "waiting"]
    record, events = dossier.read(Store(tmp_path / ".wfctl").find_run("last"))
    later = render(dossier.gather(record, events), drawing.picture(record.plan, record), record.state.started + 7200)
    assert told(later)["run"]["headline"] == "running for 2h 00m so far: 1 running, 1 succeeded, 1 waiting"
    assert re.search(r"<title>a · run · running(?! · [0-9])", later)  # how long is told as of now, or not at all
    assert data["nodes"]["done"]["logs"][0][3] == "all fine"
    assert "logs" not in data["nodes"]["a"]
    held = '"a" has secrets, so its log is held back until it has ended; set TOKEN'
    assert data["nodes"]["a"]["held"].startswith(held)
    masked = report(wfctl, env={"TOKEN": token})
    assert masked["nodes"]["a"]["logs"][0][3] == "got " + "*" * len(token)
    assert token not in json.dumps(masked)
    (tmp_path / "go").touch()
    assert run.wait(timeout=30) == 0
    assert report(wfctl)["nodes"]["a"]["logs"][0][3] == "got " + "*" * len(token)


def test_the_end_of_a_long_log_is_told_in_whole_lines_and_as_much_as_one_wants(flow: Flow, wfctl: Command) -> None:
    wfctl("run", flow("nodes: {a: {run: 'seq 1 100000; printf \"\\\\033[31mred\\\\033[0m\\\\n\"'}}"))
    attempt, name, size, end, cut = report(wfctl)["nodes"]["a"]["logs"][0]
    assert (attempt, name, size > 500_000, cut) == (1, "a.1.log", True, 1)
    assert end.splitlines() == [*(str(n) for n in range(99_962, 100_001)), "red"]  # a page has its own colours
    assert report(wfctl, "--lines", "2")["nodes"]["a"]["logs"][0][3] == "100000\nred"
    assert "logs" not in report(wfctl, "--lines", "0")["nodes"]["a"]


def test_a_run_whose_engine_died_says_that_the_end_of_its_nodes_is_not_known(
    flow: Flow, start: Start, until: Until, wfctl: Command, tmp_path: Path
) -> None:
    name = flow("nodes: {a: {run: 'touch told; while test ! -e go; do sleep 0.02; done'}}")
    run = start("run", name)
    until((tmp_path / "told").exists, "the node runs")
    run.kill()
    run.communicate(timeout=30)
    until(lambda: report(wfctl)["run"]["state"] == "interrupted", "nothing of the run is alive")
    data = report(wfctl)
    assert data["nodes"]["a"]["state"] == "interrupted"
    assert data["nodes"]["a"]["tries"][0][3:5] == [None, "interrupted"]
    assert data["run"]["next"] == [["go on with", f"wfctl resume {data['run']['id']}"]]
    (tmp_path / "go").touch()
    assert wfctl("resume", "last").returncode == 0
    data = report(wfctl)
    first, second = data["nodes"]["a"]["tries"]
    ((left, taken),) = data["breaks"]  # nobody drove it then
    assert first[2] <= left < taken == first[3] <= second[2]
    assert data["texts"][first[7]] == "its engine died; when it ended is not known"
    assert (first[4], second[4]) == ("interrupted", "succeeded")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run whose every free text is hostile."""
    import os
    import subprocess

    from tests.conftest import ROOT

    folder = tmp_path_factory.mktemp("hostile")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(folder / ".wfctl")}
    for words in (["run", flow_of(folder)], ["report", "last", "-o", "r.html"]):
        subprocess.run([sys.executable, "-m", "wfctl", *words], cwd=folder, env=env, capture_output=True, timeout=60)
    return (folder / "r.html").read_text()


def test_hostile_text_is_shown_whole_and_can_end_no_element(hostile: str) -> None:
    assert harmful(hostile) == set()
    assert hostile.count("<script") == hostile.count("</script>") == 2
    assert "alert(1)" in hostile
    assert "<script>alert" not in hostile
    data = told(hostile)
    shown = "[/bin/sh] [link=x] <script>alert(1)</script> \\x1b]52;c;aGk=\\x07 \\x1b[2J\\x9b31m\\x7f\\x01\\r"
    assert data["nodes"]["says"]["out"][0].startswith(shown)
    assert data["nodes"]["says"]["out"][1] == len(HOSTILE)
    assert any(shown in log[3] for log in data["nodes"]["fails"]["logs"])
