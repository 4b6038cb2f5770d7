"""A run that fails is undone, as users see it: by the command, with real files, and deaths in the middle of it.

Knows nothing of how the order is found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT, Command
from tests.e2e.conftest import Flow, Start, Status, Until, Valid
from tests.helpers import processes

if TYPE_CHECKING:
    from tests.helpers.postgres import Database

WORLD = """
    name: world
    rollback: {{strategy: {0}}}
    nodes:
      a:
        run: echo a > a.txt; echo a >> world
        writes: [a.txt]
        compensate: [{{run: "sed -i /a/d world"}}]
      b:
        needs: [a]
        run: echo b > b.txt; echo b >> world
        writes: [b.txt]
        checkpoint: {{save: [world]}}
        compensate: [{{run: "sed -i /b/d world"}}]
      c:
        needs: [b]
        run: echo c > c.txt; echo c >> world
        writes: [c.txt]
        compensate: [{{run: "sed -i /c/d world"}}]
      aside:
        needs: [a]
        run: echo aside >> world
        compensate: [{{run: "sed -i /aside/d world"}}]
      fails: {{run: "test -e ready", needs: [c, aside]}}
      end: {{run: "true", needs: [aside]}}
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A file in which each node leaves a line, with one that was there before."""
    (tmp_path / "world").write_text("kept\n")
    (tmp_path / "b.txt").write_text("mine\n")
    return tmp_path


def lines(folder: Path) -> list[str]:
    return (folder / "world").read_text().split()


def there(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.txt")}


@pytest.mark.parametrize(
    ("strategy", "code", "left", "files"),
    [
        ("compensate", 3, {"kept"}, {"a.txt", "b.txt", "c.txt"}),
        ("full", 3, {"kept"}, {"b.txt"}),
        ("none", 1, {"kept", "a", "b", "c", "aside"}, {"a.txt", "b.txt", "c.txt"}),
        ("auto", 3, {"kept"}, {"a.txt", "b.txt", "c.txt"}),
    ],
)
def test_each_strategy_leaves_the_world_as_it_says(
    world: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid,
    strategy: str, code: int, left: set[str], files: set[str],
) -> None:  # fmt: skip
    flow(WORLD.format(strategy).replace("checkpoint: {save: [world]}", "checkpoint: false"))
    ended = wfctl("run", "flow.yaml", "--keep-going", "-j", "1")
    assert ended.returncode == code, ended.stderr
    assert set(lines(world)) == left
    assert there(world) == files, "what was there before stays"
    valid("status", status())


def test_partial_leaves_what_led_to_an_end_that_was_reached(world: Path, flow: Flow, wfctl: Command) -> None:
    flow(WORLD.format("partial"))
    assert wfctl("run", "flow.yaml", "--keep-going", "-j", "1").returncode == 3
    assert set(lines(world)) == {"kept", "a", "aside"}


def test_back_to_a_checkpoint_and_on_from_there(world: Path, flow: Flow, wfctl: Command, status: Status) -> None:
    flow(WORLD.format("checkpoint").replace('run: "test -e ready"', 'run: "test -e ready || { touch ready; exit 1; }"'))
    ended = wfctl("run", "flow.yaml", "-j", "1")
    assert ended.returncode == 0, ended.stderr
    assert set(lines(world)) >= {"kept", "a", "b", "c"}
    assert lines(world).count("b") == 1, "it ended before the checkpoint"
    assert lines(world).count("c") == 1, "it was undone, and ran again"
    assert status()["nodes"]["c"]["attempts"] == 2


def test_after_the_last_restart_the_run_has_failed(world: Path, flow: Flow, wfctl: Command, status: Status) -> None:
    flow(WORLD.format("checkpoint"))
    assert wfctl("run", "flow.yaml", "-j", "1").returncode == 1
    assert status()["nodes"]["fails"]["attempts"] == 2


TWO = """
    name: two
    rollback: {retry: {attempts: 2, delay: 10ms}}
    nodes:
      a: {run: "echo a >> world", compensate: [{run: "echo -a >> world"}]}
      m: {run: "true", needs: [a]}
      b:
        needs: [m]
        run: echo b >> world
        compensate:
          - run: test -e mended
          - {run: "echo -b >> world", verify: {run: "grep -q -e -b world"}}
      fails: {run: "false", needs: [b]}
"""


def test_an_undo_that_is_given_up_waits_for_a_person(world: Path, flow: Flow, wfctl: Command, status: Status) -> None:
    flow(TWO)
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 4
    assert f"once mended: wfctl rollback {status()['id']} --retry b" in ended.stderr
    assert "waits for that: a" in ended.stderr
    assert lines(world) == ["kept", "a", "b"]
    assert wfctl("resume", "last").returncode == 4, "it goes forward no more"
    assert wfctl("rollback", "last").returncode == 4
    (world / "mended").touch()
    again = wfctl("rollback", "last", "--retry", "b", "--reason", "mended")
    assert again.returncode == 3, again.stderr
    assert lines(world) == ["kept", "a", "b", "-b", "-a"]
    assert [one["state"] for one in status()["rollback"]["steps"]] == ["undone", "undone"]


@pytest.mark.parametrize("word", ["--done", "--skip"])
def test_a_person_says_what_became_of_it_with_a_reason(
    world: Path, flow: Flow, wfctl: Command, status: Status, word: str
) -> None:
    flow(TWO)
    wfctl("run", "flow.yaml")
    silent = wfctl("rollback", "last", word, "b")
    assert (silent.returncode, "add --reason TEXT" in silent.stderr) == (2, True)
    wrong = wfctl("rollback", "last", word, "a", "--reason", "x")
    assert (wrong.returncode, 'the undo of "a" was not given up; given up were: b' in wrong.stderr) == (2, True)
    both = wfctl("rollback", "last", word, "b", "--retry", "b", "--reason", "x")
    assert (both.returncode, '"b" is named twice; say one of --retry' in both.stderr) == (2, True)
    assert wfctl("rollback", "last", word, "b", "--reason", "by telephone").returncode == 3
    assert lines(world) == ["kept", "a", "b", "-a"]
    told = next(one for one in status()["rollback"]["steps"] if one["node"] == "b")
    assert (told["how"], bool(told["by"])) == (word[2:], True)


@pytest.mark.parametrize("point", ["decided", "recorded", "submitted", "completed"])
def test_a_death_at_any_point_of_a_rollback_is_followed_by_the_rest_of_it(
    world: Path, flow: Flow, wfctl: Command, point: str
) -> None:
    flow(TWO)
    (world / "mended").touch()
    turn = 0
    while True:
        turn += 1
        (world / "world").write_text("kept\n")
        shutil.rmtree(world / ".wfctl", ignore_errors=True)
        ended = wfctl("run", "flow.yaml", env={"WFCTL_TEST_CRASH": f"{point}:{turn}"})
        if ended.returncode == 3:
            break
        assert ended.returncode == -signal.SIGKILL
        if not any(path.stat().st_size for path in world.glob(".wfctl/runs/*/journal.jsonl")):
            continue  # it had not begun
        on = wfctl("resume", "last")
        assert on.returncode == 3, on.stderr
        assert list(dict.fromkeys(lines(world))) == ["kept", "a", "b", "-b", "-a"], turn
    assert turn > 4


def test_ctrl_c_pauses_a_rollback_and_resume_goes_on_with_it(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until, status: Status, unharmed: None
) -> None:
    flow("""
        nodes:
          a: {run: "true", compensate: [{run: "touch begun; test -e go || sleep 60; echo undone >> world"}]}
          fails: {run: "false", needs: [a]}
    """)
    process = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "it is being undone")
    assert status()["state"] == "rolling_back"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, "0 of 1 node undone" in err) == (130, True), err
    (tmp_path / "go").touch()
    on = wfctl("resume", "last")
    assert on.returncode == 3, on.stderr
    assert lines(tmp_path) == ["undone"]


def test_editing_the_file_changes_no_undo(world: Path, flow: Flow, wfctl: Command) -> None:
    text = """
        params: {{what: {{default: {0}}}}}
        nodes:
          a: {{run: "true", compensate: [{{run: "echo {1} ${{{{ params.what }}}} >> world"}}]}}
          fails: {{run: "test -e ready", needs: [a]}}
        rollback: {{strategy: none}}
    """
    flow(text.format("old", "old"))
    assert wfctl("run", "flow.yaml").returncode == 1
    flow(text.format("new", "new"))
    assert wfctl("resume", "last", "--update").returncode == 1
    assert wfctl("rollback", "last").returncode == 3
    assert lines(world) == ["kept", "old", "old"]


def test_steps_that_came_later_undo_nothing_that_was_done_before(
    world: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    text = """
        nodes:
          a: {{run: "true"{0}}}
          fails: {{run: "test -e ready", needs: [a]}}
    """
    flow(text.format(""))
    assert wfctl("run", "flow.yaml").returncode == 1
    flow(text.format(', compensate: [{run: "echo undone >> world"}]'))
    assert wfctl("resume", "last", "--update").returncode == 1
    assert lines(world) == ["kept"]
    assert status()["nodes"]["a"]["state"] == "succeeded"


def test_a_run_that_succeeded_is_undone_by_hand_and_shown_before(
    world: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid
) -> None:
    flow(TWO)
    (world / "mended").touch()
    flow(TWO.replace('"false"', '"true"'))
    assert wfctl("run", "flow.yaml").returncode == 0
    before = sorted(path.name for path in (world / ".wfctl").rglob("*"))
    shown = wfctl("rollback", "last", "--dry-run")
    assert shown.returncode == 0
    assert shown.stdout.index("1. b") < shown.stdout.index("run: test -e mended") < shown.stdout.index("2. a")
    valid("undo", json.loads(wfctl("rollback", "last", "--dry-run", "--json").stdout))
    assert sorted(path.name for path in (world / ".wfctl").rglob("*")) == before, "nothing is written"
    assert wfctl("rollback", "last").returncode == 3
    assert lines(world) == ["kept", "a", "b", "-b", "-a"]
    again = wfctl("rollback", "last")
    assert "has nothing to undo" in again.stderr
    assert wfctl("resume", "last").returncode == 0, "what was undone runs afresh"
    assert lines(world)[-2:] == ["a", "b"]


def test_plan_tells_what_would_be_undone(flow: Flow, wfctl: Command, valid: Valid) -> None:
    flow(TWO)
    told = json.loads(wfctl("plan", "flow.yaml", "--if-fails", "fails", "--json").stdout)
    valid("undo", {"run": "x", **told})
    assert [[one["node"] for one in wave] for wave in told["order"]] == [["b"], ["a"]]
    wrong = wfctl("plan", "flow.yaml", "--if-fails", "fail")
    assert (wrong.returncode, 'did you mean "fails"?' in wrong.stderr) == (2, True)


def test_what_may_have_been_done_and_left_no_output_is_not_undone_half_filled(
    world: Path, flow: Flow, wfctl: Command
) -> None:
    flow("""
        nodes:
          a: {run: "kill -9 $$", stdout: json, compensate: [{run: "echo ${{ output.id }} >> world"}]}
    """)
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 4
    assert '"a" has left no output (outcome unknown)' in ended.stderr
    assert lines(world) == ["kept"]


def test_a_step_has_what_its_node_has_and_one_key_for_all_tries(
    world: Path, flow: Flow, wfctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    (world / "sub").mkdir()
    flow("""
        secrets: [TOKEN]
        rollback: {retry: {attempts: 3, delay: 1ms}}
        nodes:
          a:
            run: "true"
            cwd: sub
            env: {WHO: me}
            secrets: [TOKEN]
            compensate: [{run: 'echo "$WHO ${#TOKEN} $TOKEN $WFCTL_IDEMPOTENCY_KEY" | tee -a ../world; test "$(wc -l < ../world)" = 3'}]
          fails: {run: "false", needs: [a]}
    """)  # noqa: E501
    assert wfctl("run", "flow.yaml").returncode == 3
    first, second = (line.split() for line in (world / "world").read_text().splitlines()[1:])
    assert first == second
    assert first[:2] == ["me", "15"]
    log = wfctl("logs", "last", "a").stdout
    assert "me 15 " in log
    assert not [path for path in (world / ".wfctl").rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_what_was_undone_is_not_served_nor_is_what_may_still_be(
    world: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    text = """
        nodes:
          a: {run: "echo a >> world", idempotency: true, compensate: [{run: "sed -i /a/d world"}]}
          b: {run: "test -e ready", needs: [a]}
    """
    flow(text)
    assert wfctl("run", "flow.yaml").returncode == 3
    assert "nothing is kept" in wfctl("cache", "ls").stdout
    (world / "ready").touch()
    assert wfctl("run", "flow.yaml").returncode == 0
    assert wfctl("run", "flow.yaml").returncode == 0
    assert (lines(world), status()["nodes"]["a"]["state"]) == (["kept", "a"], "cached")
    first = wfctl("runs", "--json").stdout
    made = [run["id"] for run in json.loads(first) if run["state"] == "succeeded"][-1]
    assert wfctl("rollback", made).returncode == 3
    assert wfctl("run", "flow.yaml").returncode == 0
    assert status()["nodes"]["a"]["state"] == "succeeded"


# The examples


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy of the workflows that come with the project; where they write."""
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows", ignore=shutil.ignore_patterns("build", ".wfctl"))
    return tmp_path / "workflows/build"


def stock(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "saga/shop.sqlite")) as shop:
        (found,) = shop.execute("SELECT pieces FROM stock").fetchone()
        return int(found)


def test_an_order_is_undone_when_it_cannot_be_shipped(examples: Path, wfctl: Command) -> None:
    ended = wfctl("run", "workflows/order_saga.yaml", "-p", "carrier=on_strike")
    assert ended.returncode == 3, ended.stderr
    assert json.loads((examples / "saga/charges.json").read_text()) == {}
    assert (stock(examples), list(examples.glob("saga/label-*"))) == (10, [])
    shipped = wfctl("run", "workflows/order_saga.yaml")
    assert (shipped.returncode, shipped.stdout) == (0, "shipped: order 1001\n"), shipped.stderr
    assert stock(examples) == 8


def test_money_that_is_not_given_back_waits_for_a_person(examples: Path, wfctl: Command, tmp_path: Path) -> None:
    words = ("-p", "carrier=on_strike", "-p", "refunds=closed")
    try:
        ended = wfctl("run", "workflows/order_saga.yaml", *words)
        assert ended.returncode == 4, ended.stderr
        assert stock(examples) == 8, "what it depends on waits with it"
        (examples / "saga/charges.open").touch()
        assert wfctl("rollback", "last", "--retry", "charge").returncode == 3
        assert json.loads((examples / "saga/charges.json").read_text()) == {}
        assert stock(examples) == 10
    finally:  # the service goes on, for its refunds were still to come
        processes.kill([process for process in processes.of_folder(tmp_path) if "pay.py" in process.command])


def test_a_migration_that_loses_rows_is_taken_back(examples: Path, wfctl: Command) -> None:
    ended = wfctl("run", "workflows/migrate.yaml", "-p", "breaks=true")
    assert ended.returncode == 3, ended.stderr
    with closing(sqlite3.connect(examples / "migrate/people.sqlite")) as people:
        assert people.execute("SELECT * FROM people WHERE id = 3").fetchall() == [(3, "Edsger Dijkstra")]
        assert people.execute("SELECT count(*) FROM people").fetchone() == (4,)
    assert wfctl("run", "workflows/migrate.yaml").stdout == "people: 4\n"


def test_a_migration_of_postgresql_is_taken_back(examples: Path, wfctl: Command, postgres: Database) -> None:
    words = ("run", "workflows/migrate.yaml", "-p", f"db={postgres.url}")
    programs = {"PATH": f"{postgres.server.bin}:{os.environ['PATH']}"}  # to dump, and to restore
    ended = wfctl(*words, "-p", "breaks=true", env=programs)
    assert ended.returncode == 3, ended.stderr
    assert postgres.execute("SELECT id, name FROM people WHERE id = 3") == [(3, "Edsger Dijkstra")]
    assert wfctl(*words, env=programs).stdout == "people: 4\n"


@pytest.mark.parametrize(("well", "code", "live"), [("now", 0, "v8"), ("later", 0, "v8"), ("never", 1, "v7")])
def test_a_release_that_is_not_well_is_switched_back(
    examples: Path, wfctl: Command, well: str, code: int, live: str
) -> None:
    assert wfctl("run", "workflows/deploy.yaml").returncode == 0
    (examples / "deploy/settings.txt").write_text("workers: 3\n")
    ended = wfctl("run", "workflows/deploy.yaml", "-p", "release=v8", "-p", f"well={well}")
    assert ended.returncode == code, ended.stderr
    assert (examples / "deploy/current").readlink() == Path(f"releases/{live}")
    settings = (examples / "deploy/settings.txt").read_text()
    assert settings == ("workers: 3\n" if well == "never" else "workers: 4\n")


FLOWS = {
    "bio.yaml": (),
    "bluegreen.yaml": ("-p", "image=app:1", "-p", "environment=staging"),
    "scrape.yaml": (),
    "sweep.yaml": (),
}


@pytest.mark.parametrize("name", FLOWS)
def test_flows_as_we_want_to_write_them_load_and_are_drawn(shared: Path, wfctl: Command, name: str) -> None:
    flow = shared / "examples/flows" / name
    for words in (("validate",), ("graph",), ("plan", *FLOWS[name])):
        ended = wfctl(words[0], str(flow), *words[1:])
        assert ended.returncode == 0, ended.stderr


def test_the_commands_of_a_preview_are_whole_where_no_screen_is_too_narrow_for_them(flow: Flow, wfctl: Command) -> None:
    long = "echo " + " ".join(f"word{n}" for n in range(40))
    flow(f"""
        nodes:
          a: {{run: "true", compensate: [{{run: "{long}"}}]}}
          fails: {{run: "false", needs: [a]}}
    """)
    words = ("plan", "flow.yaml", "--if-fails", "fails")
    assert long in wfctl(*words).stdout
    assert long not in wfctl(*words, env={"COLUMNS": "80"}).stdout
    wfctl("run", "flow.yaml", "--until", "a")
    assert long in wfctl("rollback", "last", "--dry-run").stdout


def test_a_failure_of_what_holds_others_names_them(flow: Flow, wfctl: Command) -> None:
    flow("""
        nodes:
          g:
            nodes: {x: {run: "true", compensate: [{run: "true"}]}, y: {run: "true"}}
        finally: {f: {run: "true"}}
    """)
    of_group = wfctl("plan", "flow.yaml", "--if-fails", "g")
    assert (of_group.returncode, of_group.stderr) == (
        2, 'wfctl: --if-fails: "g" fails by what it holds; name one of that: g.x, g.y\n'
    )  # fmt: skip
    of_last = wfctl("plan", "flow.yaml", "--if-fails", "f")
    assert of_last.stderr == (
        'wfctl: --if-fails: nothing is undone because of "f", which is in finally: that comes after the undoing\n'
    )


def test_a_step_has_done_its_work_though_it_prints_a_secret(
    tmp_path: Path, flow: Flow, wfctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    flow("""
        secrets: [TOKEN]
        rollback: {retry: {attempts: 1}}
        nodes:
          a:
            run: "true"
            secrets: [TOKEN]
            compensate: [{run: 'echo gone >> world; echo "$TOKEN"', stdout: text}]
          fails: {run: "false", needs: [a]}
    """)
    assert wfctl("run", "flow.yaml").returncode == 3
    assert (tmp_path / "world").read_text() == "gone\n"
    kept = [path for path in (tmp_path / ".wfctl").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"hunter2" in path.read_bytes()]


def test_a_step_that_is_judged_by_an_output_with_a_secret_has_failed(
    flow: Flow, wfctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    flow("""
        secrets: [TOKEN]
        rollback: {retry: {attempts: 1}}
        nodes:
          a:
            run: "true"
            secrets: [TOKEN]
            compensate: [{run: 'echo "$TOKEN"', stdout: text, expect: "${{ output != 'bad' }}"}]
          fails: {run: "false", needs: [a]}
    """)
    ended = wfctl("run", "flow.yaml")
    assert (ended.returncode, 'held the secret "TOKEN"' in ended.stderr) == (4, True)


def test_what_was_interrupted_is_undone_though_a_new_file_skips_it(
    tmp_path: Path, flow: Flow, start: Start, until: Until, wfctl: Command
) -> None:
    text = """
        nodes:
          a: {{when: {0}, run: "touch did; exec sleep 60", compensate: [{{run: "rm did; touch gone"}}]}}
          fails: {{run: "false", needs: [a], trigger: all_done}}
    """
    flow(text.format("true"))
    run = start("run", "flow.yaml")
    until((tmp_path / "did").exists, "the node has begun its work")
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == 130
    flow(text.format("false"))
    assert wfctl("resume", "last", "--update").returncode == 3
    assert (tmp_path / "gone").exists()
    assert not (tmp_path / "did").exists()
