"""Every verb as a user meets it: what goes in, what comes out, which exit code.

Knows nothing of what is inside the command. Faults of files, injection and crashes have files of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHILD, ROOT, Command
from tests.e2e.conftest import Flow, Start, Status, Until, Valid, environ

THREE = """
    nodes:
      a: {run: echo one, stdout: text}
      b: {run: "echo ${{ nodes.a.output }} two", stdout: text}
      c: {run: "echo ${{ nodes.b.output }} three", stdout: text}
    outputs: {said: "${{ nodes.c.output }}"}
"""
FAILS = """
    nodes:
      good: {run: echo fine}
      bad: {run: "echo broken >&2; exit 3", needs: [good]}
      after: {run: echo never, needs: [bad]}
"""

# -- running


def test_a_run_prints_its_outputs_on_stdout_and_its_course_on_stderr(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow(THREE))
    assert (ended.returncode, ended.stdout) == (0, "said: one two three\n")
    assert re.search(r"^\[3/3\] ✓ c  \S+$", ended.stderr, re.MULTILINE)
    assert re.search(r"^✓ succeeded in \S+: 3 nodes$", ended.stderr, re.MULTILINE)


def test_a_failing_run_says_what_failed_shows_its_log_and_the_way_out(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow(FAILS))
    assert (ended.returncode, ended.stdout) == (1, "")
    for line in ["✗ bad  failed after", "│ broken", "✗ bad  exit code 3", "wfctl logs 2", "wfctl resume 2"]:
        assert line in ended.stderr


def test_the_events_of_a_run_are_lines_of_json(wfctl: Command, flow: Flow, valid: Valid) -> None:
    for text, code in ((THREE, 0), (FAILS, 1)):
        ended = wfctl("run", flow(text), "--json")
        events = [json.loads(line) for line in ended.stdout.splitlines()]
        for event in events:
            valid("events", event)
        first, last = events[0], events[-1]
        assert (first["event"], last["event"], last["run"]) == ("run_started", "run_finished", first["run"])
        assert last["exit_code"] == ended.returncode == code
        assert last["failed"] == (["bad"] if code else [])
        times = [event["time"] for event in events]
        assert (times, ended.stderr) == (sorted(times), "")


def test_a_dry_run_shows_the_plan_and_leaves_no_trace(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    ended = wfctl("run", flow("nodes: {a: {run: touch made}}"), "--dry-run", "--json")
    assert json.loads(ended.stdout)["makespan"] == 1
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / ".wfctl").exists()


def test_keep_going_runs_all_that_does_not_need_the_failed_and_fail_fast_stops_what_runs(
    wfctl: Command, flow: Flow, status: Status
) -> None:
    name = flow(f"""
        concurrency: 2
        grace: 2s
        nodes:
          bad: {{run: "until [ -e ready ]; do sleep 0.01; done; exit 1"}}
          slow: {{run: {CHILD} ready=ready wait=go}}
          after: {{run: touch go, needs: [bad], trigger: all_done}}
          free: {{run: echo free, needs: [slow]}}
    """)
    wfctl("run", name)
    assert _states(status) == {"bad": "failed", "slow": "succeeded", "after": "succeeded", "free": "cancelled"}
    wfctl("run", name, "--keep-going")
    assert _states(status) == {"bad": "failed", "slow": "succeeded", "after": "succeeded", "free": "succeeded"}
    assert wfctl("run", name, "--keep-going", "--fail-fast").returncode == 2


def test_fail_fast_ends_what_runs(wfctl: Command, flow: Flow, status: Status) -> None:
    name = flow(f"""
        concurrency: 2
        nodes:
          bad: {{run: "until [ -e ready ]; do sleep 0.01; done; exit 1"}}
          slow: {{run: {CHILD} ready=ready hang}}
    """)
    assert wfctl("run", name, "--fail-fast").returncode == 1
    assert _states(status) == {"bad": "failed", "slow": "cancelled"}


def _states(status: Status) -> dict[str, str]:
    return {name: node["state"] for name, node in status()["nodes"].items()}


def test_a_budget_is_never_passed(wfctl: Command, flow: Flow) -> None:
    name = flow("""
        concurrency: 4
        resources: {disk: 3}
        defaults: {resources: {disk: 2}}
        nodes:
          a: {run: 'true'}
          b: {run: 'true'}
          c: {run: 'true', resources: {disk: 1}}
          d: {run: 'true', resources: {disk: 3}}
          e: {run: 'true'}
    """)
    ended = wfctl("run", name, "--json")
    assert ended.returncode == 0, ended.stderr
    wants = {"a": 2, "b": 2, "c": 1, "d": 3, "e": 2}
    held = 0
    for event in map(json.loads, ended.stdout.splitlines()):
        held += wants.get(event.get("node"), 0) * {"node_started": 1, "node_succeeded": -1}.get(event["event"], 0)
        assert 0 <= held <= 3


def test_what_may_fail_does_not_fail_the_run_and_stands_when_it_is_resumed(
    wfctl: Command, flow: Flow, status: Status, tmp_path: Path
) -> None:
    name = flow("""
        nodes:
          may: {run: echo may >> ledger; exit 1, continue_on_error: true, stdout: text}
          next: {run: 'echo ${{ nodes.may.output }}', stdout: text}
          gate: {run: test -e open, needs: [next]}
    """)
    assert wfctl("run", name).returncode == 1
    assert _states(status) == {"may": "failed", "next": "succeeded", "gate": "failed"}
    (tmp_path / "open").touch()
    ended = wfctl("resume", "last")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "ledger").read_text() == "may\n"
    assert re.search(r"^ .*\bmay$", ended.stderr, re.MULTILINE)


def test_the_timeout_of_the_run_ends_it_and_is_said(wfctl: Command, flow: Flow, status: Status) -> None:
    ended = wfctl("run", flow("timeout: 300ms\nnodes: {a: {run: sleep 60}, b: {run: 'true', needs: [a]}}"))
    assert ended.returncode == 1
    assert _states(status) == {"a": "cancelled", "b": "cancelled"}
    assert "timeout" in ended.stderr


# -- parts of a workflow


@pytest.mark.parametrize(
    ("words", "nodes"),
    [
        (["--until", "b"], "a b"),
        (["--from", "b", "--of", "last"], "b c"),
        (["--only", "c", "--of", "last"], "c"),
        (["--from", "b", "--until", "b", "--of", "last"], "b"),
    ],
)
def test_a_part_runs_with_the_outputs_of_an_earlier_run(
    words: list[str], nodes: str, wfctl: Command, flow: Flow, status: Status
) -> None:
    wfctl("run", flow(THREE))
    ended = wfctl("run", "flow.yaml", *words)
    assert ended.returncode == 0, ended.stderr
    ran = [name for name, node in status()["nodes"].items() if node["state"] == "succeeded"]
    assert " ".join(ran) == nodes


def test_what_is_left_out_and_needed_must_be_served(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow(THREE), "--only", "c")
    what = "left out, but what runs needs their output, and no result is kept that holds: b"
    assert (ended.returncode, ended.stderr) == (2, f"wfctl: {what}; name a run that has it: --of ID\n")
    wfctl("run", "flow.yaml", "--until", "a")
    assert 'wfctl: "b" is left out' in wfctl("run", "flow.yaml", "--only", "c", "--of", "last").stderr
    assert 'did you mean "b"?' not in wfctl("run", "flow.yaml", "--only", "zzz").stderr
    for inside in ("b.x", "b[1].x"):
        said = wfctl("run", "flow.yaml", "--until", inside).stderr
        assert 'what lies in "b" cannot be chosen alone; name "b"' in said


def test_a_part_that_holds_no_node_is_refused(wfctl: Command, flow: Flow) -> None:
    name = flow("nodes: {a: {run: 'true'}, b: {run: 'true'}}\nfinally: {f: {run: 'true'}}")
    ended = wfctl("run", name, "--from", "a", "--until", "b")
    assert ended.returncode == 2
    assert "--from, --until and --only leave no node to run" in ended.stderr


# -- params


def test_params_come_from_the_command_a_file_or_their_default(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow("""
        params:
          day: {type: string, default: monday}
          count: {type: integer, default: 1}
          tags: {type: array, items: {type: string}, default: []}
        nodes: {a: {run: [echo, "${{ params.day }}", "${{ params.count }}", "${{ params.tags }}"], stdout: text}}
        outputs: {x: "${{ nodes.a.output }}"}
    """)
    (tmp_path / "params.yaml").write_text("day: tuesday\ncount: 2\n")
    assert wfctl("run", name).stdout == "x: monday 1\n"
    assert wfctl("run", name, "--params-file", "params.yaml").stdout == "x: tuesday 2\n"
    words = ["--params-file", "params.yaml", "-p", "count=3", "-p", 'tags=["a b", "c"]', "-p", "day=2026-01-31"]
    assert wfctl("run", name, *words).stdout == "x: 2026-01-31 3 a b c\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "count=many"], '-p count: expected an integer, got "many"'),
        (["-p", "count=0"], "-p count: must be at least 1, got 0"),
        (["-p", "cuont=2", "-p", "day=x"], '-p cuont: no param named "cuont"; did you mean "count"?'),
        (["-p", "count", "-p", "day=x"], 'wfctl: -p "count": write it as -p NAME=VALUE'),
        (["--params-file", "none.yaml"], "none.yaml"),
        ([], "params.day: has no default and was not given; add -p day=…"),
    ],
)
def test_wrong_params_are_told_before_anything_runs(
    words: list[str], message: str, wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    name = flow("""
        params: {day: {type: string}, count: {type: integer, minimum: 1, default: 1}}
        nodes: {a: {run: touch made}}
    """)
    ended = wfctl("run", name, *words)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert not (tmp_path / ".wfctl").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "grace=soon"], "--set grace=soon: grace: expected a duration"),
        (["--set", "gracee=1s"], '--set gracee=1s: unknown key "gracee"; did you mean "grace"?'),
        (["--set", 'nodes.b={"run": "true", "needs": ["c"]}'], 'nodes.b.needs: no node named "c"'),
        (["--policy", "fastest"], '--set scheduling.policy=fastest: scheduling.policy: "fastest" is not one of'),
        (["--set", "nodes.a.timeout=-1"], "--set nodes.a.timeout=-1: nodes.a.timeout: "),
    ],
)
def test_what_is_wrong_with_a_setting_is_told_as_it_was_typed(
    words: list[str], message: str, wfctl: Command, flow: Flow
) -> None:
    ended = wfctl("run", flow("grace: 2s\nnodes: {a: {run: 'true'}}"), *words)
    assert ended.returncode == 2
    assert ended.stderr.startswith("--set ")
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_setting_may_be_a_list_or_a_mapping(wfctl: Command, flow: Flow) -> None:
    name = flow('nodes: {a: {run: "false", stdout: text}}\noutputs: {x: "${{ nodes.a.output }}"}')
    words = ["--set", 'nodes.a.run=[sh, -c, "echo $X-$0", hi]', "--set", "nodes.a.env={X: 1}"]
    assert wfctl("run", name, *words).stdout == "x: 1-hi\n"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("resum", 'wfctl: no command named "resum"; did you mean "resume"?\n'),
        ("flow.yaml", 'wfctl: no command named "flow.yaml"; did you mean `wfctl run flow.yaml`?\n'),
        ("xyzzy", 'wfctl: no command named "xyzzy"; `wfctl --help` lists them\n'),
    ],
)
def test_an_unknown_command_is_told_with_a_way_out(word: str, message: str, wfctl: Command) -> None:
    ended = wfctl(word)
    assert (ended.returncode, ended.stderr) == (2, message)


# -- what a node is given, and what it leaves


def _output(wfctl: Command, flow: Flow, node: str, *more: str) -> object:
    """The output of the one node `x` of a workflow."""
    ended = wfctl("run", flow("\n".join([*more, "nodes:", f"  x: {node}"])))
    assert ended.returncode == 0, ended.stderr
    shown = wfctl("status", "last", "--json").stdout
    return json.loads(shown)["nodes"]["x"]["output"]


@pytest.mark.parametrize(
    ("node", "output"),
    [
        (r"{run: 'printf ''a\nb\n\n''', stdout: text}", "a\nb"),
        (r"{run: 'printf ''a\nb\n\n''', stdout: lines}", ["a", "b", ""]),
        (r"""{run: 'echo ''{"a": [1, null]}''', stdout: json}""", {"a": [1, None]}),
        ("{run: echo unseen}", None),
        (r"""{run: 'echo ''{"a": [1]}'' > "$WFCTL_OUTPUT"'}""", {"a": [1]}),
        (r"""{run: 'printf ''size=3\nname=a=b\n'' > "$WFCTL_OUTPUT"'}""", {"size": "3", "name": "a=b"}),
        ("{run: 'echo $1-$2', args: [a b, c], stdout: text}", "a b-c"),
        ("{run: 'import sys; print(sys.argv[1:])', shell: python3, args: [a b], stdout: text}", "['a b']"),
        ("{run: 'echo $0', shell: sh, stdout: text}", "x"),
        ("{run: cat, stdin: '${{ [1, {\"a\": true}] }}', stdout: json}", [1, {"a": True}]),
        ("{run: cat, stdout: text}", ""),
        ("{run: basename $PWD, cwd: sub, stdout: text}", "sub"),
        ("{run: 'false | cat; echo on', expect: '${{ exit_code == 1 }}', stdout: text}", ""),
    ],
)
def test_an_output(node: str, output: object, wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert _output(wfctl, flow, node) == output


def test_the_variables_of_every_node(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    node = """{run: 'env > seen; pwd -P > here', resources: {cpu: 0.5}}"""
    _output(wfctl, flow, node)
    seen = dict(re.findall(r"^(WFCTL_\w+)=(.*)$", (tmp_path / "seen").read_text(), re.MULTILINE))
    run = tmp_path / ".wfctl/runs" / seen["WFCTL_RUN_ID"]
    assert (seen["WFCTL_NODE"], seen["WFCTL_ATTEMPT"], seen["WFCTL_CPU"]) == ("x", "1", "1")
    assert Path(seen["WFCTL_RUN_DIR"]) == run
    assert Path(seen["WFCTL_OUTPUT"]).parent == run / "outputs"
    assert (tmp_path / "here").read_text().strip() == str(tmp_path.resolve())


def test_the_environment_of_the_node_goes_before_that_of_the_workflow_and_that_before_the_inherited(
    wfctl: Command, flow: Flow
) -> None:
    name = flow("""
        env: {B: workflow, C: workflow, D: {default: unset}, E: {default: unset}}
        nodes: {x: {run: [sh, -c, "echo $A $B $C $D $E"], env: {C: node}, stdout: text}}
        outputs: {x: "${{ nodes.x.output }} ${{ env.D }}"}
    """)
    ended = wfctl("run", name, env={"A": "outer", "B": "outer", "C": "outer", "D": "outer"})
    assert ended.stdout == "x: outer workflow node outer unset outer\n"
    required = flow("env: {TOKEN: {}}\nnodes: {x: {run: 'true'}}", "needs.yaml")
    refused = wfctl("run", required)
    assert refused.returncode == 2
    assert "TOKEN" in refused.stderr


def test_the_temporary_folder_is_the_run_s_own_and_is_gone_at_its_end(
    wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    _output(wfctl, flow, "{run: 'mktemp > where; test -f $(cat where)'}")
    where = Path((tmp_path / "where").read_text().strip())
    assert where.is_relative_to(tmp_path / ".wfctl/runs")
    assert not where.parent.exists()


def test_parents_of_what_a_node_writes_are_made_and_who_reads_it_waits(wfctl: Command, flow: Flow) -> None:
    name = flow("""
        nodes:
          use: {run: "cat ${{ reads.it }}", reads: {it: deep/down/file}, stdout: text}
          make: {run: "echo made > ${{ writes.it }}", writes: {it: deep/down/file}}
        outputs: {x: "${{ nodes.use.output }}"}
    """)
    assert wfctl("run", name).stdout == "x: made\n"


def test_a_file_that_was_not_written_fails_its_node(wfctl: Command, flow: Flow, status: Status) -> None:
    assert wfctl("run", flow("nodes: {x: {run: 'true', writes: [a/b, c]}}")).returncode == 1
    node = status()["nodes"]["x"]
    assert (node["reason"], node["error"]) == ("writes", "did not write a/b, c")


@pytest.mark.parametrize(
    ("node", "reason", "error"),
    [
        ("{run: echo no, stdout: json}", "output", "standard output is no JSON: expecting value (line 1, column 1)"),
        ("{run: 'echo a=1 > $WFCTL_OUTPUT; echo b >> $WFCTL_OUTPUT'}", "output", 'neither JSON nor key=value: "b"'),
        ("{run: 'printf ''\\377''', stdout: text}", "output", "standard output is no UTF-8 text (byte 0)"),
        ("{run: 'echo 5 > $WFCTL_OUTPUT', expect: '${{ output > 5 }}'}", "expect", "was not met: ${{ output > 5 }}"),
        ("{run: kill -9 $$}", "killed", "ended by"),
        ("{run: no-such-program-here}", "not_started", "no-such-program-here"),
        ("{run: 'true', cwd: nowhere}", "not_started", "nowhere"),
        ("{run: sleep 30, timeout: 100ms}", "timed_out", "timed out after 100ms"),
    ],
)
def test_a_failure_says_why(
    node: str, reason: str, error: str, wfctl: Command, flow: Flow, status: Status
) -> None:
    ended = wfctl("run", flow(f"nodes:\n  x: {node}"))
    assert ended.returncode == 1
    shown = status()["nodes"]["x"]
    assert shown["reason"] == reason
    assert error in (shown["error"] or "")
    assert error in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_large_output_lies_in_a_file_and_comes_back_whole(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow("""
        nodes:
          big: {run: "head -c 200000 /dev/zero | tr '\\\\0' x", stdout: text}
          count: {run: wc -c, stdin: "${{ nodes.big.output }}", stdout: json}
        outputs: {count: "${{ nodes.count.output }}"}
    """)
    ended = wfctl("run", name)
    assert ended.stdout == "count: 200000\n", ended.stderr
    shown = json.loads(wfctl("status", "last", "--json").stdout)
    assert list(shown["nodes"]["big"]["output"]) == ["file"]
    assert (tmp_path / ".wfctl/runs" / shown["id"] / shown["nodes"]["big"]["output"]["file"]).is_file()
    assert wfctl("output", "last", "big").stdout == "x" * 200000 + "\n"


def test_an_output_over_16_mib_fails_its_node(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow("nodes: {big: {run: head -c 17000000 /dev/zero, stdout: text}}"))
    assert ended.returncode == 1
    assert "standard output is over 16 MiB, too much for an output; write a file" in ended.stderr


def test_what_a_detached_node_leaves_running_goes_on_and_others_are_ended(
    wfctl: Command, flow: Flow, tmp_path: Path, until: Until
) -> None:
    name = flow(f"""
        nodes:
          stays: {{run: "{CHILD} fork=stays.pid", detach: true}}
          goes: {{run: "{CHILD} fork=goes.pid"}}
    """)
    assert wfctl("run", name).returncode == 0
    stays, goes = (int((tmp_path / f"{n}.pid").read_text()) for n in ("stays", "goes"))
    try:
        os.kill(stays, 0)
        until(lambda: not _alive(goes), "what was left behind is ended")
    finally:
        os.kill(stays, 9)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- looking


def test_status_runs_plan_graph_and_faults_are_what_their_schemas_say(
    wfctl: Command, flow: Flow, valid: Valid
) -> None:
    wfctl("run", flow(THREE))
    wfctl("run", flow(FAILS, "fails.yaml"))
    valid("status", json.loads(wfctl("status", "last", "--json").stdout))
    listed = json.loads(wfctl("runs", "--json").stdout)
    valid("runs", listed)
    assert [run["workflow"] for run in listed] == ["fails", "flow"]
    assert [run["state"] for run in json.loads(wfctl("runs", "--failed", "--json").stdout)] == ["failed"]
    assert len(json.loads(wfctl("runs", "--workflow", "flow", "--json").stdout)) == 1
    valid("plan", json.loads(wfctl("plan", "flow.yaml", "--json").stdout))
    valid("graph", json.loads(wfctl("graph", "flow.yaml", "--json").stdout))
    drawn = json.loads(wfctl("graph", "last", "--format", "json").stdout)
    valid("graph", drawn)
    assert [node["state"] for node in drawn["nodes"]] == ["succeeded", "failed", "skipped"]
    faults = json.loads(wfctl("validate", flow("nodes: {a: {rum: x}}", "bad.yaml"), "--json").stdout)
    valid("faults", faults)
    assert json.loads(wfctl("validate", "flow.yaml", "--json").stdout) == []


def test_the_schema_that_is_printed_is_the_published_one(wfctl: Command) -> None:
    assert json.loads(wfctl("schema").stdout) == json.loads((ROOT / "schemas/workflow.schema.json").read_text())


def test_a_file_that_is_not_there_hides_no_fault_of_others(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("validate", "none.yaml", flow("nodes: {a: {rum: x}}"), "nothing.yaml")
    assert ended.returncode == 2
    first, second, third = ended.stderr.splitlines()
    assert first.startswith('none.yaml: no file "none.yaml"')
    assert 'unknown key "rum"' in second
    assert third.startswith('nothing.yaml: no file "nothing.yaml"')


def test_faults_can_be_printed_as_annotations(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("validate", flow("nodes: {a: {rum: x}}"), "--format", "github")
    assert ended.returncode == 2
    assert ended.stdout.startswith("::error file=flow.yaml,line=2,col=13::nodes.a: unknown key \"rum\"")


@pytest.mark.parametrize(
    ("format", "begins"), [("mermaid", "\nflowchart "), ("dot", "digraph"), ("terminal", "flow · 3 nodes")]
)
def test_a_picture_is_drawn_in_each_format_to_stdout_or_a_file(
    format: str, begins: str, wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    drawn = wfctl("graph", flow(THREE), "--format", format)
    assert begins in drawn.stdout
    assert wfctl("graph", "flow.yaml", "-f", format, "-o", "picture").returncode == 0
    assert begins in (tmp_path / "picture").read_text()


def test_show_tells_what_a_node_will_be_given(wfctl: Command, flow: Flow) -> None:
    name = flow("""
        params: {day: {type: string, default: monday}}
        env: {A: "1"}
        defaults: {env: {B: d, C: d}}
        nodes: {x: {run: [echo, "${{ params.day }}"], env: {B: "${{ params.day }}"}, timeout: 1m}}
    """)
    shown = json.loads(wfctl("show", name, "x", "-p", "day=x y", "--json").stdout)
    assert (shown["argv"], shown["timeout"]) == (["echo", "x y"], 60)
    assert shown["env"] == {
        "A": {"value": "1", "from": "workflow"},
        "B": {"value": "x y", "from": "node"},
        "C": {"value": "d", "from": "defaults"},
    }
    assert re.search(r"^timeout: (60|1m)", wfctl("show", name, "x").stdout, re.MULTILINE)
    assert json.loads(wfctl("show", name, "--json").stdout)["params"] == {"day": "monday"}


def test_status_tells_what_was_tolerated_where_files_are_and_the_way_out(
    wfctl: Command, flow: Flow, valid: Valid
) -> None:
    wfctl("run", flow("""
        nodes:
          may: {run: echo words; exit 1, continue_on_error: true}
          a: {run: "echo '{}'", stdout: json, needs: [may]}
          bad: {run: "echo ${{ nodes.a.output.nope }}"}
    """))
    document = json.loads(wfctl("status", "--json").stdout)
    valid("status", document)
    assert {name: node["tolerated"] for name, node in document["nodes"].items()} == {
        "may": True, "a": False, "bad": False,
    }  # fmt: skip
    assert (Path(document["folder"]) / document["nodes"]["may"]["log"]).read_text() == "words\n"
    way_out = f"wfctl resume {document['id']} --update\n"
    assert document["wants_update"] is True
    assert wfctl("status").stdout.endswith(f"go on with: {way_out}")
    assert wfctl("resume", "last").stderr.endswith(f"once mended: {way_out}")


@pytest.mark.parametrize("words", [["logs", "last"], ["logs", "last", "b", "--raw"], ["output", "last", "a"]])
def test_what_cannot_be_printed_is_told(words: list[str], wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    wfctl("run", flow("nodes: {a: {run: echo there, stdout: text}, b: {run: echo here}}"))
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "wfctl", *words]
        shown = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, env=environ(tmp_path))
    assert shown.returncode == 2
    assert shown.stderr == b"wfctl: standard output cannot be written: no space left on device\n"


def test_a_log_without_a_byte_is_not_offered_and_says_so(wfctl: Command, flow: Flow) -> None:
    assert "wfctl logs" not in wfctl("run", flow("nodes: {a: {run: exit 1}}")).stderr
    told = wfctl("logs", "last", "a")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", '"a" wrote nothing\n')


def test_a_run_whose_state_folder_is_removed_by_a_node_ends(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow("nodes: {a: {run: rm -rf .wfctl}, b: {run: 'true', needs: [a]}}"))
    assert ended.returncode == 6
    assert "wfctl: the folder of the run is gone; if it was moved, `wfctl resume` goes on there; " in ended.stderr


def test_logs_are_printed_whole_by_node_or_byte_for_byte(wfctl: Command, flow: Flow) -> None:
    wfctl("run", flow(r"""nodes: {a: {run: 'printf "x\033[31my\n"; echo err >&2'}, b: {run: echo there}}"""))
    assert "b: there\n" in wfctl("logs", "last").stdout
    assert "\x1b" not in wfctl("logs", "last", "a").stdout
    assert wfctl("logs", "last", "a", "--raw").stdout == "x\x1b[31my\nerr\n"
    missing = wfctl("logs", "last", "c")
    assert (missing.returncode, missing.stdout) == (2, "")


def test_the_logs_of_a_live_run_are_followed_to_its_end(
    wfctl: Command, flow: Flow, start: Start, until: Until, tmp_path: Path
) -> None:
    name = flow(f"nodes: {{a: {{run: {CHILD} print=first ready=ready wait=go print=second}}}}")
    run = start("run", name)
    until((tmp_path / "ready").exists, "the node prints")
    follower = start("logs", "last", "a", "-f")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "first\n"
    assert json.loads(wfctl("status", "last", "--json").stdout)["nodes"]["a"]["state"] == "running"
    (tmp_path / "go").touch()
    assert follower.stdout.read() == "second\n"
    assert (run.wait(30), follower.wait(30)) == (0, 0)


def test_the_output_of_a_run_or_of_a_node_is_for_pipes(wfctl: Command, flow: Flow) -> None:
    wfctl("run", flow(THREE))
    assert json.loads(wfctl("output", "last").stdout) == {"said": "one two three"}
    assert wfctl("output", "last", "b").stdout == "one two\n"
    wfctl("run", flow(FAILS))
    refused = wfctl("output", "last", "after")
    assert refused.returncode == 2
    assert '"after" has no output in run' in refused.stderr
    assert "it is skipped" in refused.stderr


def test_words_of_people_are_there_wherever_there_is_json(wfctl: Command, flow: Flow) -> None:
    wfctl("run", flow(FAILS))
    shown = wfctl("status").stdout
    assert re.search(r"✗ bad .*exit code 3", shown)
    assert re.search(r"go on with: wfctl resume \S+$", shown)
    assert re.search(r"flow .* failed ", wfctl("runs").stdout)
    assert "critical path" in wfctl("plan", "flow.yaml").stdout
    assert wfctl("validate", "flow.yaml").stderr == "no faults: flow.yaml\n"
    assert wfctl("show", "flow.yaml").stdout.startswith("name: flow\n")


# -- around it


@pytest.mark.parametrize("template", ["hello", "ci", "data"])
def test_a_first_file_runs_as_it_is(template: str, wfctl: Command) -> None:
    assert wfctl("init", template).returncode == 0
    assert wfctl("validate", "flow.yaml").returncode == 0
    assert wfctl("run", "flow.yaml").returncode == 0
    assert wfctl("init", template).returncode == 2


def test_old_runs_are_removed_and_the_newest_kept(wfctl: Command, flow: Flow) -> None:
    for _ in range(3):
        wfctl("run", flow(THREE))
    before = [run["id"] for run in json.loads(wfctl("runs", "--json").stdout)]
    assert wfctl("clean").stderr == "0 runs removed\n"
    would = wfctl("clean", "--older-than", "0s", "--keep-last", "1", "--dry-run")
    assert (would.stdout.split(), would.stderr) == (before[1:], "2 runs would go\n")
    assert json.loads(wfctl("clean", "--older-than", "0s", "--keep-last", "1", "--json").stdout) == before[1:]
    assert [run["id"] for run in json.loads(wfctl("runs", "--json").stdout)] == before[:1]
    assert wfctl("clean", "--older-than", "0s").stderr == "1 run removed\n"
    assert wfctl("runs").stdout == "no runs\n"


def test_the_state_folder_is_private_and_ignored(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    wfctl("run", flow(THREE))
    state = tmp_path / ".wfctl"
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / ".gitignore").read_text().strip() == "*"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["run", "none.yaml"], 2),
        (["run"], 2),
        (["rnu", "flow.yaml"], 2),
        (["status", "nothing"], 2),
        (["logs", "nothing"], 2),
        (["output", "nothing"], 2),
        (["resume", "nothing"], 2),
        (["cancel", "nothing"], 2),
        (["graph", "nothing"], 2),
        (["run", "flow.yaml", "--of", "nothing", "--only", "c"], 2),
    ],
)
def test_usage_has_exit_code_2_and_no_traceback(words: list[str], code: int, wfctl: Command, flow: Flow) -> None:
    flow(THREE)
    ended = wfctl(*words)
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr


def test_a_missing_root_is_told_before_there_is_a_run(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    ended = wfctl("run", flow("root: nowhere\nnodes: {a: {run: 'true'}}"))
    assert ended.returncode == 2
    assert ended.stderr.endswith('/nowhere"; make it, or correct root\n')
    assert not (tmp_path / ".wfctl").exists()


def test_state_that_cannot_be_written_is_exit_code_6(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    ended = wfctl("run", flow(THREE), env={"WFCTL_STATE_DIR": str(tmp_path / "state")})
    assert ended.returncode == 6
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("words", [["logs", "last"], ["logs", "last", "many", "--raw"], ["output", "last", "many"]])
def test_who_has_read_enough_is_no_failure(words: list[str], wfctl: Command, flow: Flow, start: Start) -> None:
    wfctl("run", flow("nodes: {many: {run: seq 100000, stdout: lines}}"))
    looking = start(*words)
    assert looking.stdout is not None
    looking.stdout.readline()
    looking.stdout.close()
    looking.stdout = None
    assert looking.wait(30) == 0
    assert looking.stderr is not None
    assert looking.stderr.read() == ""


def test_a_run_whose_streams_are_closed_goes_on(flow: Flow, start: Start) -> None:
    run = start("run", flow(THREE))
    for pipe in (run.stdout, run.stderr):
        assert pipe is not None
        pipe.close()
    run.stdout = run.stderr = None
    assert run.wait(30) == 0


def test_paths_may_be_named_after_the_run(wfctl: Command, flow: Flow, tmp_path: Path, status: Status) -> None:
    name = flow(
        """
        params: {tag: {type: string, default: "t-${{ run.id }}"}}
        nodes:
          a: {run: "echo hi > ${{ writes[0] }}", writes: ["${{ run.id }}"]}
          b: {run: "cat ${{ reads[0] }} > ${{ params.tag }}", reads: ["${{ run.id }}"]}
        """
    )
    assert wfctl("validate", name).returncode == 0
    assert wfctl("run", name).returncode == 0
    run = status()["id"]
    assert (tmp_path / f"t-{run}").read_text() == (tmp_path / run).read_text() == "hi\n"


@pytest.mark.parametrize("name", ["g", "p", "p[0]", "s", "s.a"])
def test_what_holds_others_is_shown_with_them_and_their_environment(
    wfctl: Command, flow: Flow, tmp_path: Path, name: str
) -> None:
    flow("env: {INNER: of the file}\nnodes: {a: {run: echo}}", "sub.yaml")
    nodes = "{g: {nodes: {a: {run: echo}}}, p: {for_each: [1], nodes: {a: {run: echo}}}, s: {workflow: sub.yaml}}"
    shown = wfctl("show", flow(f"nodes: {nodes}"), name)
    assert shown.returncode == 0
    assert ("INNER: of the file" if name == "s.a" else f"{'p[0]' if name == 'p' else name}") in shown.stdout


def test_a_first_run_has_nothing_done_before(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow('nodes: {w: {for_each: [1, 2], when: "${{ 1 == 2 }}", run: echo}, x: {run: echo}}'))
    assert ended.returncode == 0
    assert "done before" not in ended.stdout + ended.stderr
