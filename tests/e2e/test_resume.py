"""What is left when a run was stopped, failed or killed, and how it goes on: nothing done is done again.

Knows nothing of what is inside the command but the names of the points where its engine may be killed."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHILD, Command
from tests.e2e.conftest import Flow, Start, Status, Until

# -- failed runs


def test_a_failed_run_goes_on_at_what_failed(wfctl: Command, flow: Flow, tmp_path: Path, status: Status) -> None:
    name = flow("""
        nodes:
          first: {run: echo first >> ledger}
          gate: {run: test -e open, needs: [first]}
          last: {run: echo last >> ledger, needs: [gate]}
        finally:
          note: {run: "echo ${{ run.state }} >> ledger"}
    """)
    assert wfctl("run", name).returncode == 1
    (tmp_path / "open").touch()
    assert wfctl("resume", "last").returncode == 0
    assert (tmp_path / "ledger").read_text().split() == ["first", "failed", "last", "succeeded"]
    assert [node["attempts"] for node in status()["nodes"].values()] == [1, 2, 1, 2]


def test_a_run_that_succeeded_has_nothing_left_to_do(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    wfctl("run", flow("nodes: {a: {run: echo x >> ledger}}"))
    ended = wfctl("resume", "last")
    assert ended.returncode == 0
    assert "has succeeded; there is nothing left to do" in ended.stderr
    assert (tmp_path / "ledger").read_text() == "x\n"


def test_an_id_may_be_its_beginning(wfctl: Command, flow: Flow, status: Status) -> None:
    wfctl("run", flow("nodes: {a: {run: 'false'}}"))
    run = status()["id"]
    assert wfctl("resume", run[:-1]).returncode == 1
    assert status(run)["nodes"]["a"]["attempts"] == 2


def test_the_run_is_pinned_to_its_definition_until_told_otherwise(
    wfctl: Command, flow: Flow, tmp_path: Path, status: Status
) -> None:
    text = "nodes: {a: {run: 'echo a >> ledger'}, b: {run: 'exit %d', needs: [a]}}"
    wfctl("run", flow(text % 1))
    flow(text % 0)
    pinned = wfctl("resume", "last")
    assert pinned.returncode == 1
    assert "has changed since; going on with what the run began with (--update takes the new one)" in pinned.stderr
    assert wfctl("resume", "last", "--update").returncode == 0
    assert (tmp_path / "ledger").read_text() == "a\n"
    assert status()["nodes"]["b"]["attempts"] == 3


def test_what_changed_but_succeeded_runs_again_only_on_demand(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    text = "nodes: {a: {run: 'echo %s >> ledger'}, b: {run: 'echo b >> ledger', needs: [a]}}"
    wfctl("run", flow(text % "old"))
    flow(text % "new")
    told = wfctl("resume", "last", "--update")
    assert told.returncode == 0
    assert "changed but succeeded before, so not run again: a; add --from a for that" in told.stderr
    assert (tmp_path / "ledger").read_text().split() == ["old", "b"]
    assert wfctl("resume", "last", "--update", "--from", "a").returncode == 0
    assert (tmp_path / "ledger").read_text().split() == ["old", "b", "new", "b"]


CHANGES = """
    params: {p: {type: integer, default: 1}}
    vars: {v: "${{ params.p }}-v", w: fixed}
    env: {E: e}
    defaults: {env: {D: d}}
    nodes:
      own: {run: echo own, env: {D: n}}
      by_param: {run: "echo ${{ params.p }}", env: {D: n}}
      by_var: {run: echo it, stdin: "${{ vars.v }}", env: {D: n}}
      by_default: {run: echo it}
      none: {run: "echo ${{ vars.w }}", env: {D: n}}
      last: {run: exit 1}
    on_failure: continue
    scheduling: {policy: fifo}
"""


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("echo own", "echo mine", "own"),
        ("default: 1", "default: 2", "by_param, by_var"),
        ("-v", "-x", "by_var"),
        ("{D: d}", "{D: x}", "by_default"),
        ("{E: e}", "{E: x}", "own, by_param, by_var, by_default, none"),
        ("{run: echo own, ", "{run: echo own, description: other, priority: high, ", ""),
    ],
)
def test_what_decides_a_node_is_more_than_its_own_lines(
    old: str, new: str, names: str, wfctl: Command, flow: Flow
) -> None:
    assert wfctl("run", flow(CHANGES)).returncode == 1
    flow(CHANGES.replace(old, new))
    for _ in range(2):  # as long as it has not run again, it has succeeded by what was
        told = wfctl("resume", "last", "--update").stderr
        assert f"so not run again: {names}; add --from" in told if names else "so not run again" not in told


def test_what_runs_again_is_not_named_as_left(wfctl: Command, flow: Flow) -> None:
    text = "nodes: {a: {run: echo %s}, b: {run: echo %s, needs: [a]}, c: {run: 'false'}}\non_failure: continue"
    wfctl("run", flow(text % (1, 1)))
    flow(text % (2, 2))
    assert "so not run again" not in wfctl("resume", "last", "--update", "--from", "a").stderr
    assert "so not run again" not in wfctl("resume", "last", "--update").stderr
    flow("nodes: {b: {run: echo 2}, c: {run: 'false'}}\nfinally: {a: {run: echo other}}\non_failure: continue")
    assert "so not run again" not in wfctl("resume", "last", "--update").stderr


def test_an_update_must_be_sound_and_from_must_name_a_node(wfctl: Command, flow: Flow) -> None:
    wfctl("run", flow("nodes: {gate: {run: 'false'}}"))
    wrong = wfctl("resume", "last", "--from", "gaet")
    assert wrong.returncode == 2
    assert 'no node named "gaet" in this run; did you mean "gate"?' in wrong.stderr
    flow("nodes: {gate: {rum: 'false'}}")
    unsound = wfctl("resume", "last", "--update")
    assert unsound.returncode == 2
    assert 'unknown key "rum"; did you mean "run"?' in unsound.stderr
    assert wfctl("resume", "last").returncode == 1


def test_resume_works_from_another_folder(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    wfctl("run", flow("nodes: {a: {run: test -e open}}"))
    (tmp_path / "open").touch()
    (tmp_path / "elsewhere").mkdir()
    assert wfctl("resume", "last", cwd=tmp_path / "elsewhere").returncode == 0


# -- stopped runs


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
def test_a_signal_stops_the_run_which_can_be_resumed(
    number: int, code: int, flow: Flow, start: Start, until: Until, tmp_path: Path, wfctl: Command, status: Status
) -> None:
    name = flow(f"""
        nodes:
          done: {{run: echo done >> ledger}}
          a: {{run: {CHILD} ready=ready wait=go, needs: [done]}}
        finally:
          note: {{run: "echo ${{{{ run.state }}}} >> ledger"}}
    """)
    run = start("run", name)
    until((tmp_path / "ready").exists, "the node runs")
    run.send_signal(number)
    assert run.wait(30) == code
    assert [node["state"] for node in status()["nodes"].values()] == ["succeeded", "interrupted", "succeeded"]
    assert run.stderr is not None
    assert f"wfctl resume {status()['id']}" in run.stderr.read()
    (tmp_path / "go").touch()
    assert wfctl("resume", "last").returncode == 0
    assert (tmp_path / "ledger").read_text().split() == ["done", "interrupted", "succeeded"]


def test_the_second_signal_kills_what_does_not_want_to_end(
    flow: Flow, start: Start, until: Until, tmp_path: Path, status: Status
) -> None:
    run = start("run", flow(f"nodes: {{a: {{run: {CHILD} ignore=TERM ready=ready hang}}}}"))
    until((tmp_path / "ready").exists, "the node runs")
    run.send_signal(signal.SIGINT)
    until(lambda: _said(tmp_path, "run_stopping"), "the first signal was taken")
    time.sleep(0.2)  # within a tenth of a second it would be the same wish
    run.send_signal(signal.SIGINT)
    assert run.wait(5) == 130
    assert status()["state"] == "interrupted"


def _said(folder: Path, event: str) -> bool:
    return any(event in path.read_text() for path in (folder / ".wfctl/runs").glob("*/journal.jsonl"))


def test_cancel_stops_a_run_and_a_second_driver_is_refused(
    flow: Flow, start: Start, until: Until, tmp_path: Path, wfctl: Command, status: Status
) -> None:
    run = start("run", flow(f"nodes: {{a: {{run: {CHILD} ready=ready hang}}}}"))
    until((tmp_path / "ready").exists, "the node runs")
    assert status()["state"] == "running"
    refused = wfctl("resume", "last")
    assert refused.returncode == 5
    assert f"is driven by process {run.pid} (wfctl run " in refused.stderr
    cancelled = wfctl("cancel", "last")
    assert (cancelled.returncode, run.wait(30)) == (0, 143)
    assert status()["state"] == "interrupted"
    again = wfctl("cancel", "last")
    assert again.returncode == 2
    assert "is not running" in again.stderr


def test_a_killed_engine_leaves_an_interrupted_run(
    flow: Flow, start: Start, until: Until, tmp_path: Path, wfctl: Command, status: Status
) -> None:
    name = flow(f"nodes: {{a: {{run: {CHILD} ready=ready wait=go}}}}")
    run = start("run", name)
    until((tmp_path / "ready").exists, "the node runs")
    run.kill()
    run.wait(30)
    (tmp_path / "go").touch()
    until(lambda: status()["state"] != "running", "its guard has ended what was left")
    shown = status()
    assert (shown["state"], shown["finished"]) == ("interrupted", None)
    assert (shown["nodes"]["a"]["state"], shown["nodes"]["a"]["outcome"]) == ("interrupted", "unknown")
    assert [run["state"] for run in json.loads(wfctl("runs", "--json").stdout)] == ["interrupted"]
    assert wfctl("resume", "last").returncode == 0
    assert (status()["state"], status()["nodes"]["a"]["attempts"]) == ("succeeded", 2)


def test_damage_of_the_journal_is_refused_not_guessed(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    wfctl("run", flow("nodes: {a: {run: 'false'}}"))
    (journal,) = (tmp_path / ".wfctl/runs").glob("*/journal.jsonl")
    whole = journal.read_bytes()
    middle = whole.index(b"\n") // 2
    journal.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    for verb in ("resume", "status"):
        ended = wfctl(verb, "last")
        assert ended.returncode == 6
        assert "Traceback" not in ended.stderr
    journal.write_bytes(whole[:-1])  # a torn last line is only cut
    assert wfctl("resume", "last").returncode == 1


# -- killed at every point

# Each attempt that ran stands in its run's ledger. A child of a dead engine may still finish, and stands there too.
MIDDLE = """
    nodes:
      a: {run: 'echo a.$WFCTL_ATTEMPT >> $WFCTL_RUN_DIR/ledger'}
      b: {run: 'echo b.$WFCTL_ATTEMPT >> $WFCTL_RUN_DIR/ledger; echo "[1, 2]"', stdout: json, needs: [a]}
      c:
        needs: [a]
        run: echo c.$WFCTL_ATTEMPT >> $WFCTL_RUN_DIR/ledger; test $WFCTL_ATTEMPT -gt 1
        retry: {attempts: 9, delay: 0}
      d:
        needs: [c]
        run: echo d.$WFCTL_ATTEMPT >> $WFCTL_RUN_DIR/ledger; echo ${{ nodes.b.output[1] }}
        stdout: text
      never: {run: 'true', needs: [d], when: "${{ nodes.d.output == '3' }}"}
      %s
    finally:
      note: {run: 'echo note.$WFCTL_ATTEMPT >> $WFCTL_RUN_DIR/ledger'}
    outputs: {d: "${{ nodes.d.output }}"}
"""
ENDS = [("e: {run: 'true', needs: [d]}", 0), ("e: {run: exit 3, needs: [d], trigger: all_done}", 1)]


@pytest.mark.parametrize("point", ["decided", "recorded", "submitted", "completed"])
@pytest.mark.parametrize(("end", "code"), ENDS, ids=["succeeds", "fails"])
def test_a_run_whose_engine_is_killed_at_the_nth_point_ends_as_one_that_lived(
    point: str, end: str, code: int, wfctl: Command, flow: Flow, tmp_path: Path, status: Status
) -> None:
    name = flow(MIDDLE % end)
    assert wfctl("run", name).returncode == code
    wanted = _result(status())
    # Both runs are the same until `e`, and of what comes before it one death is enough.
    for count in range(1 if code == 0 else 6, 100):
        shutil.rmtree(tmp_path / ".wfctl", ignore_errors=True)
        ended = wfctl("run", name, env={"WFCTL_TEST_CRASH": f"{point}:{count}"})
        if ended.returncode == code:
            assert count > 5
            return
        assert ended.returncode == -signal.SIGKILL
        if (point, count) == ("decided", 1):  # before its first event is kept, there is no run
            assert json.loads(wfctl("runs", "--json").stdout) == []
            continue
        resumed = wfctl("resume", "last")
        assert resumed.returncode == code, resumed.stderr
        assert _result(status()) == wanted
        _check_ledger(tmp_path)
    pytest.fail("the run never completed")


def test_an_engine_that_is_killed_again_and_again_gets_there(
    wfctl: Command, flow: Flow, tmp_path: Path, status: Status
) -> None:
    assert wfctl("run", flow(MIDDLE % ""), env={"WFCTL_TEST_CRASH": "any:3"}).returncode == -signal.SIGKILL
    codes: list[int] = []
    while len(codes) < 30 and 0 not in codes:
        codes.append(wfctl("resume", "last", env={"WFCTL_TEST_CRASH": "any:7"}).returncode)
    assert set(codes[:-1]) == {-signal.SIGKILL}
    assert (status()["state"], status()["nodes"]["d"]["output"]) == ("succeeded", "2")
    _check_ledger(tmp_path)


def test_the_ledger_would_show_what_runs_again(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    wfctl("run", flow(MIDDLE % ""))
    _check_ledger(tmp_path)
    wfctl("resume", "last", "--from", "d")
    with pytest.raises(AssertionError, match="d began again after its success"):
        _check_ledger(tmp_path)


def _result(document: dict[str, Any]) -> object:
    """What must be the same, however often the engine died: not times, ids and numbers of attempts."""
    keys = ("state", "exit_code", "output", "reason")
    nodes = {name: [node[key] for key in keys] for name, node in document["nodes"].items()}
    return document["state"], nodes, document["outputs"]


def _check_ledger(folder: Path) -> None:
    """What ran was announced in the journal before, no attempt ran twice, and nothing after its recorded success."""
    (run,) = (folder / ".wfctl/runs").iterdir()
    ran = Counter((run / "ledger").read_text().split())
    assert set(ran.values()) == {1}
    announced: set[str] = set()
    succeeded: set[str] = set()
    for event in map(json.loads, (run / "journal.jsonl").read_text().splitlines()):
        node, attempt = event.get("node"), f"{event.get('node')}.{event.get('attempt')}"
        if event.get("event") == "node_started":
            # `finally` belongs to how a run ended: it is done once more when a failed run is resumed
            assert node not in succeeded or node == "note", f"{node} began again after its success"
            announced.add(attempt)
        elif event.get("event") == "node_succeeded":
            succeeded.add(node)
            assert attempt in ran or node == "e"
    assert ran.keys() <= announced


def test_an_update_keeps_what_was_set_and_asks_for_what_is_new(
    flow: Flow, tmp_path: Path, wfctl: Command, status: Status
) -> None:
    text = """
        params: {a: {type: integer}%s}
        nodes:
          x: {run: "echo ${{ params.a }} > x.txt"}
          y: {run: "%s", needs: [x]}
    """
    flow(text % ("", "exit 1"))
    assert wfctl("run", "flow.yaml", "-p", "a=1", "--set", "grace=7s").returncode == 1
    flow(text % (", b: {type: integer}", "test ${{ params.b }} = 2"))
    ended = wfctl("resume", "last", "--update")
    assert (ended.returncode, "params.b: has no default" in ended.stderr) == (2, True)
    flow(text % (", b: {type: integer, default: 2}", "test ${{ params.b }} = 2"))
    assert wfctl("resume", "last", "--update").returncode == 0
    (run,) = (tmp_path / ".wfctl" / "runs").iterdir()
    assert '"grace": "7s"' in (run / "workflow.2.json").read_text()


def test_of_two_resumes_at_once_one_works(
    flow: Flow, wfctl: Command, start: Start, until: Until, tmp_path: Path
) -> None:
    flow("nodes: {a: {run: 'echo x >> ledger; test ! -e slow || sleep 5; exit 1'}}")
    wfctl("run", "flow.yaml")
    (tmp_path / "slow").touch()
    first = start("resume", "last")
    until(lambda: (tmp_path / "ledger").read_text() == "x\nx\n", "the first resume works")
    second = wfctl("resume", "last")
    assert (second.returncode, "is driven by process" in second.stderr) == (5, True)
    assert wfctl("cancel", "last").returncode == 0
    first.wait(20)
    assert (tmp_path / "ledger").read_text() == "x\nx\n"


def test_what_was_left_out_does_not_run_though_its_output_was_not_recorded(
    flow: Flow, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    flow(
        'nodes: {a: {run: "echo a >> ledger; echo A", stdout: text}, b: {run: "echo ${{ nodes.a.output }} >> ledger"}}'
    )
    wfctl("run", "flow.yaml")
    wfctl("run", "flow.yaml", "--from", "b", "--of", "last")
    journal = tmp_path / ".wfctl" / "runs" / status()["id"] / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:2]))  # cut before node_served
    (tmp_path / "ledger").unlink()
    assert wfctl("resume", "last").returncode == 0
    assert (tmp_path / "ledger").read_text() == "A\n"
    assert wfctl("resume", "last", "--from", "a").returncode == 2


def test_outputs_come_from_a_run_of_the_same_workflow(flow: Flow, wfctl: Command) -> None:
    text = 'name: %s\nnodes: {a: {run: echo A, stdout: text}, b: {run: "echo ${{ nodes.a.output }}"}}'
    flow(text % "one")
    wfctl("run", "flow.yaml")
    assert wfctl("run", "flow.yaml", "--of", "last").returncode == 2
    flow(text % "two")
    ended = wfctl("run", "flow.yaml", "--only", "b", "--of", "last")
    assert (ended.returncode, "is of another workflow" in ended.stderr) == (2, True)


def test_an_update_to_the_same_file_leaves_a_finished_run_as_it_is(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    wfctl("run", flow("nodes: {a: {run: echo a >> ledger}}\nfinally: {z: {run: echo z >> ledger}}"))
    assert "nothing left to do" in wfctl("resume", "last", "--update").stderr
    assert (tmp_path / "ledger").read_text() == "a\nz\n"


NESTED = """
    on_failure: continue
    nodes:
      list: {run: "echo a b c | tr ' ' '\\n'", stdout: lines}
      x: {for_each: [a, b, c], run: "echo x ${{ item }}; test ${{ item }} != c || test -e ok", stdout: text}
      y:
        for_each: ${{ nodes.list.output }}
        run: "echo y ${{ item }}; test ${{ item }} != c || test -e ok"
        stdout: text
      g:
        nodes:
          a: {run: "echo one", stdout: text}
          b: {run: "test -e ok", needs: [a]}
        outputs: {a: "${{ nodes.a.output }}"}
    outputs: {x: "${{ nodes.x.output }}", y: "${{ nodes.y.output }}"}
"""


def test_an_update_takes_no_item_for_another_of_the_same_place(
    flow: Flow, tmp_path: Path, wfctl: Command, status: Status
) -> None:
    assert wfctl("run", flow(NESTED)).returncode == 1
    (tmp_path / "ok").touch()
    flow(NESTED.replace("[a, b, c]", "[z, b, d, a]"))
    assert wfctl("resume", "last", "--update").returncode == 0
    shown = status()
    assert shown["outputs"]["x"] == ["x z", "x b", "x d", "x a"]
    assert [shown["nodes"][f"x[{i}]"]["attempts"] for i in range(4)] == [2, 1, 2, 1]


def test_an_update_says_what_succeeded_inside_of_others_by_what_has_changed(
    flow: Flow, tmp_path: Path, wfctl: Command
) -> None:
    wfctl("run", flow(NESTED))
    (tmp_path / "ok").touch()
    flow(NESTED.replace("echo", "echo  "))
    shown = wfctl("resume", "last", "--update")
    assert (
        "changed but succeeded before, so not run again: list, x[0], x[1], g.a, y[0], y[1]; add --from list for that"
    ) in shown.stderr.replace("\n", " ")
    assert shown.returncode == 0
