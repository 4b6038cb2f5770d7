"""Rollback on the real executor: what a run did to the world, against what is left of that when it is undone.

Knows of what is inside the command only the names of the points where its engine may be killed, and what it records."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow, Gone, Start, Status, Until, Valid, environ
from tests.helpers.server import Server

POINTS = ["decided", "recorded", "submitted", "completed"]
KILLED = -signal.SIGKILL
MOST = 60
"""Passages of one point, at most: more is a rollback that does not get on."""


def ledger(folder: Path) -> list[str]:
    """What nodes and steps say that they did: each leaves a word."""
    path = folder / "ledger"
    return path.read_text().split() if path.exists() else []


def events(folder: Path) -> list[dict[str, Any]]:
    """All that was recorded of the only run there is."""
    (journal,) = folder.glob(".wfctl/runs/*/journal.jsonl")
    lines = map(json.loads, journal.read_text().splitlines())
    return [line for line in lines if "event" in line]


def check_legal(folder: Path, needs: Mapping[str, Sequence[str]]) -> None:
    """What holds of every rollback: nothing is undone that did not begin, or before all that needed it, or twice; no
    step that was done begins again; and from its beginning on nothing goes forward."""
    told = events(folder)
    start = next(place for place, event in enumerate(told) if event["event"] == "rollback_begun")
    wanted = {*told[start].get("nodes", ()), *told[start].get("remove", ())}
    began = {event["node"] for event in told[:start] if event["event"] == "node_started"}
    assert wanted <= began
    undone: list[str] = []
    done: list[tuple[str, int]] = []
    for event in told[start:]:
        assert event["event"] != "node_started" or event["node"] not in needs, "forward"
        if event["event"] == "undo_started":
            node = event["node"]
            assert node in wanted
            assert (node, event["step"]) not in done
            assert {n for n in wanted if node in behind(n, needs)} <= {*undone}, f"{node} was undone too early"
        elif event["event"] == "undo_step_done":
            done.append((event["node"], event["step"]))
        elif event["event"] == "node_undone":
            assert event["node"] not in undone
            undone.append(event["node"])


def behind(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    """All that a node depends on."""
    found: set[str] = set()
    todo = list(needs[name])
    while todo:
        if (one := todo.pop()) not in found:
            found.add(one)
            todo += needs[one]
    return found


def undos(document: Mapping[str, Any]) -> dict[str, str]:
    """The nodes of a rollback with what became of each."""
    return {one["node"]: one["state"] for one in document["rollback"]["steps"]}


# Each strategy: rows of a database, files that are new, that were there before, and that others have changed since

SHOP = """
    name: shop
    vars: {db: "sqlite:///shop.sqlite"}
    rollback: {strategy: STRATEGY}
    nodes:
      book:
        sql: {url: "${{ vars.db }}", execute: INSERT INTO sold VALUES ('book')}
        compensate: [{sql: {url: "${{ vars.db }}", execute: DELETE FROM sold WHERE what = 'book'}}]
      draw:
        needs: [book]
        run: "for file in plan mine shared; do echo draw >> $file.txt; done"
        writes: [plan.txt, mine.txt, shared.txt]
        compensate: none
      bill:
        needs: [draw]
        sql: {url: "${{ vars.db }}", execute: INSERT INTO sold VALUES ('bill')}
        compensate:
          - sql: {url: "${{ vars.db }}", execute: DELETE FROM sold WHERE what = 'bill'}
            verify:
              sql: {url: "${{ vars.db }}", query: SELECT 1 FROM sold WHERE what = 'bill'}
              expect: ${{ len(output) == 0 }}
      note:
        needs: [bill]
        run: echo note >> shared.txt; echo note > note.txt
        writes: [note.txt]
        compensate: none
      ship: {run: "echo ship > half.txt; exit 1", needs: [note], compensate: [{run: echo ship >> ledger}]}
      later: {run: echo later >> ledger, needs: [ship], compensate: [{run: echo -later >> ledger}]}
      aside:
        needs: [book]
        sql: {url: "${{ vars.db }}", execute: INSERT INTO sold VALUES ('aside')}
        compensate: [{sql: {url: "${{ vars.db }}", execute: DELETE FROM sold WHERE what = 'aside'}}]
      end: {run: "true", needs: [aside], compensate: none}
"""
SHOP_NEEDS = {
    "book": [], "draw": ["book"], "bill": ["draw"], "note": ["bill"], "ship": ["note"], "later": ["ship"],
    "aside": ["book"], "end": ["aside"],
}  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a database of one row, and a file that was there before."""
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as database:
        database.execute("CREATE TABLE sold (what TEXT)")
        database.execute("INSERT INTO sold VALUES ('before')")
        database.commit()
    (tmp_path / "mine.txt").write_text("mine\n")
    return tmp_path


def sold(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "shop.sqlite")) as database:
        rows = [row[0] for row in database.execute("SELECT what FROM sold")]
    assert len(rows) == len(set(rows)), f"twice: {rows}"
    assert "before" in rows, "what was there before is gone"
    return {*rows} - {"before"}


def texts(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.txt")}


WRITTEN = {"plan", "mine", "shared", "note", "half"}


@pytest.mark.parametrize(
    ("strategy", "code", "rows", "files", "undone"),
    [
        ("compensate", 3, set(), WRITTEN, {"bill", "aside", "book"}),
        ("full", 3, set(), {"mine", "shared", "half"}, {"bill", "aside", "book", "draw", "note"}),
        ("partial", 3, {"book", "aside"}, WRITTEN, {"bill"}),
        ("auto", 3, set(), WRITTEN, {"bill", "aside", "book"}),
        ("none", 1, {"book", "bill", "aside"}, WRITTEN, None),
    ],
)
def test_after_each_strategy_the_world_is_as_it_must_be(
    shop: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid,
    strategy: str, code: int, rows: set[str], files: set[str], undone: set[str] | None,
) -> None:  # fmt: skip
    flow(SHOP.replace("STRATEGY", strategy))
    ended = wfctl("run", "flow.yaml", "--keep-going")
    assert ended.returncode == code, ended.stderr
    assert "ship" in ended.stderr, "the first error stays the one that is reported"
    assert (sold(shop), texts(shop), ledger(shop)) == (rows, files, [])
    assert (shop / "mine.txt").read_text() == "mine\ndraw\n"
    document = status()
    valid("status", document)
    assert document["state"] == ("rolled_back" if undone else "failed")
    if undone is None:
        assert document["rollback"] is None
        return
    assert undos(document) == dict.fromkeys(undone, "undone")
    check_legal(shop, SHOP_NEEDS)
    states = {name: node["state"] for name, node in document["nodes"].items()}
    assert (states["ship"], states["later"]) == ("failed", "skipped")
    assert document["rollback"]["analysis"]["consistency"] == "recoverable"


def test_full_lists_what_stays_and_why(shop: Path, flow: Flow, wfctl: Command, status: Status) -> None:
    flow(SHOP.replace("STRATEGY", "full"))
    assert wfctl("run", "flow.yaml").returncode == 3
    by_node = {one["node"]: one for one in status()["rollback"]["steps"]}
    assert by_node["draw"]["removed"] == ["plan.txt"]
    assert sorted(by_node["draw"]["left"]) == ["mine.txt: it was there before", "shared.txt: it was changed since"]
    assert (by_node["note"]["removed"], by_node["note"]["left"]) == (["note.txt"], [])
    shown = wfctl("status", "last").stdout
    assert "left mine.txt: it was there before" in shown
    assert "left shared.txt: it was changed since" in shown


def test_full_by_hand_promises_nothing_of_files_of_which_nothing_was_recorded(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow("""
        rollback: {strategy: none}
        nodes:
          a: {run: touch new, writes: [new]}
          b: {run: touch also, writes: [also], compensate: [{run: rm also}]}
          fails: {run: "false", needs: [a, b]}
    """)
    assert wfctl("run", "flow.yaml").returncode == 1
    told = wfctl("rollback", "last", "--strategy", "full", "--dry-run").stdout
    assert ("is removed" in told, "a says nothing of how it is undone, and stays" in told) == (False, True)
    assert wfctl("rollback", "last", "--strategy", "full").returncode == 3
    assert undos(status()) == {"b": "undone"}
    assert ((tmp_path / "new").exists(), (tmp_path / "also").exists()) == (True, False)


TRIED = """
    rollback: {strategy: full}
    nodes:
      a:
        run: "test ! -e mine.txt || echo a >> mine.txt; echo $WFCTL_ATTEMPT > new.txt; HOW"
        writes: [mine.txt, new.txt]
        retry: {attempts: 2, delay: 1ms}
      fails: {run: "test -e mended && false", needs: [a]}
"""


def left(document: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Of the first node: the files that went, and what is told of those that stay."""
    return document["rollback"]["steps"][0]["removed"], document["rollback"]["steps"][0]["left"]


def test_what_a_failed_attempt_has_made_was_not_there_before(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    (tmp_path / "mine.txt").write_text("mine\n")
    flow(TRIED.replace("HOW", "test $WFCTL_ATTEMPT = 2"))
    assert wfctl("run", "flow.yaml").returncode == 3
    assert left(status()) == (["new.txt"], ["mine.txt: it was there before"])


def test_nor_was_what_one_has_made_before_the_run_was_gone_on_with(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    (tmp_path / "mine.txt").write_text("mine\n")
    flow(TRIED.replace("HOW", "test -e mended"))
    assert wfctl("run", "flow.yaml").returncode == 1
    (tmp_path / "mended").touch()
    assert wfctl("resume", "last").returncode == 3
    assert left(status()) == (["new.txt"], ["mine.txt: it was there before"])


def test_what_somebody_has_put_in_its_place_meanwhile_was_there_before(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    (tmp_path / "mine.txt").write_text("mine\n")
    flow(TRIED.replace("HOW", "test -e mended"))
    assert wfctl("run", "flow.yaml").returncode == 1
    (tmp_path / "new.txt").write_text("by hand\n")
    (tmp_path / "mended").touch()
    assert wfctl("resume", "last").returncode == 3
    assert left(status()) == ([], ["mine.txt: it was there before", "new.txt: it was there before"])


@pytest.mark.parametrize("killed", [1, 2])
def test_of_what_a_killed_attempt_has_left_nobody_says_that_it_was_its_own(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, start: Start, gone: Gone, killed: int
) -> None:
    how = f"test -e mended && exit; test $WFCTL_ATTEMPT = {killed} || exit 1; kill -9 $PPID; sleep 60"
    (tmp_path / "mine.txt").write_text("mine\n")
    flow(TRIED.replace("echo $WFCTL_ATTEMPT >", "test -e new.txt || echo $WFCTL_ATTEMPT >").replace("HOW", how))
    assert start("run", "flow.yaml").wait(30) == KILLED
    gone()
    (tmp_path / "mended").touch()
    assert wfctl("resume", "last").returncode == 3
    unsure = "it was there before, or an attempt that was interrupted has left it"
    mine = f"mine.txt: {unsure}"
    # What the first attempt had made and was seen to leave is known, though the second was killed.
    assert left(status()) == (([], [mine, f"new.txt: {unsure}"]) if killed == 1 else (["new.txt"], [mine]))


@pytest.mark.parametrize("how", ["exit 1", "sleep 60"])
def test_what_an_attempt_that_failed_has_made_goes_where_it_is_undone(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, how: str
) -> None:
    flow(f"""
        rollback: {{strategy: full}}
        nodes:
          a:
            run: "echo half > new.txt; {how}"
            writes: [new.txt]
            timeout: 300ms
            compensate: [{{run: "true"}}]
            compensate_when: attempted
    """)
    assert wfctl("run", "flow.yaml").returncode == 3
    assert left(status()) == (["new.txt"], [])


def test_what_was_kept_by_none_is_undone_by_hand(shop: Path, flow: Flow, wfctl: Command, status: Status) -> None:
    flow(SHOP.replace("STRATEGY", "none"))
    assert wfctl("run", "flow.yaml", "--keep-going").returncode == 1
    ended = wfctl("rollback", "last")
    assert (ended.returncode, sold(shop), texts(shop)) == (3, set(), WRITTEN), ended.stderr
    assert status()["state"] == "rolled_back"
    check_legal(shop, SHOP_NEEDS)


CHECKED = SHOP.replace("STRATEGY", "checkpoint").replace(
    "writes: [plan.txt", "checkpoint: {save: [shared.txt]}\n        writes: [plan.txt"
)


def test_back_to_a_checkpoint_the_rest_runs_again_on_the_files_that_were_saved(
    shop: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid
) -> None:
    flow(CHECKED.replace("echo ship > half.txt; exit 1", "test -e half.txt || { touch half.txt; exit 1; }"))
    ended = wfctl("run", "flow.yaml", "--keep-going", "-j", "1")
    assert ended.returncode == 0, ended.stderr
    assert sold(shop) == {"book", "bill", "aside"}, "what was undone was done again, once"
    assert (shop / "shared.txt").read_text() == "draw\nnote\n", "it was put back before the second time"
    assert (shop / "plan.txt").read_text() == "draw\n", "what led to the checkpoint ran once"
    document = status()
    valid("status", document)
    assert (document["nodes"]["bill"]["attempts"], document["nodes"]["draw"]["attempts"]) == (2, 1)


def test_after_the_last_restart_the_world_is_as_at_the_checkpoint_and_the_run_has_failed(
    shop: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid
) -> None:
    flow(CHECKED)
    ended = wfctl("run", "flow.yaml", "-j", "1")
    assert ended.returncode == 1, ended.stderr
    assert "bill" not in sold(shop)
    assert "book" in sold(shop), "it ended before the checkpoint"
    assert (shop / "shared.txt").read_text() == "draw\n"
    document = status()
    valid("status", document)
    assert (document["state"], document["nodes"]["ship"]["attempts"]) == ("failed", 2)


def chain(count: int, keys: str = "") -> str:
    """Nodes that write a file each, an end that is reached, and one that fails."""
    names = [f"n{i}" for i in range(count)]
    nodes = [f"  {name}: {{run: echo > {name}.txt, writes: [{name}.txt]{keys}}}" for name in names]
    fails = f'  fails: {{run: "false", needs: [{", ".join(names)}]}}'
    return "\n".join(["rollback: {strategy: auto}", "nodes:", *nodes, fails, ""])


@pytest.mark.parametrize(
    ("text", "strategy", "files", "code"),
    [
        (chain(2), "full", 0, 3),
        (chain(5), "full", 0, 3),
        (chain(6, ", compensate: none"), "partial", 6, 1),
        (chain(2, ", compensate: [{run: rm n0.txt n1.txt || true}]"), "compensate", 0, 3),
    ],
)
def test_auto_goes_by_what_was_touched(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid,
    text: str, strategy: str, files: int, code: int,
) -> None:  # fmt: skip
    (tmp_path / "flow.yaml").write_text("version: 1\n" + text)
    told = json.loads(wfctl("plan", "flow.yaml", "--if-fails", "fails", "--json").stdout)
    assert told["strategy"] == strategy
    ended = wfctl("run", "flow.yaml")
    assert (ended.returncode, len(texts(tmp_path))) == (code, files), ended.stderr
    valid("status", document := status())
    if document["rollback"] is not None:
        assert document["rollback"]["strategy"] == strategy


# Death in a rollback

DIAMOND = """
    name: diamond
    rollback: {strategy: STRATEGY, retry: {attempts: 3, delay: 1ms}}
    nodes:
      a:
        run: echo a >> ledger; echo > a.txt
        writes: [a.txt]
        checkpoint: CHECKPOINT
        compensate:
          - {run: echo -a.1 >> ledger, verify: {run: grep -q -e -a.1 ledger}}
          - run: echo -a.2 >> ledger
      left: {run: echo left >> ledger, needs: [a]}
      right: {run: echo right >> ledger, needs: [a], compensate: [{run: echo -right >> ledger}]}
      low: {run: echo low >> ledger, needs: [left], compensate: [{run: echo -low >> ledger}]}
      z:
        run: echo z >> ledger; echo > z.txt
        writes: [z.txt]
        needs: [low, right]
        compensate: [{run: "echo -z >> ledger; test -e once || { touch once; exit 1; }"}]
      fails: {run: "test -e ready", needs: [z]}
"""
DIAMOND_NEEDS = {
    "a": [], "left": ["a"], "right": ["a"], "low": ["left"], "z": ["low", "right"], "fails": ["z"],
}  # fmt: skip


def diamond(strategy: str, checkpoint: str = "false") -> str:
    return DIAMOND.replace("STRATEGY", strategy).replace("CHECKPOINT", checkpoint)


def check_undone(folder: Path) -> None:
    """All was undone that says how, in an order that is legal; a step that was cut off was done again at most."""
    check_legal(folder, DIAMOND_NEEDS)
    done = [(e["node"], e["step"]) for e in events(folder) if e["event"] == "undo_step_done"]
    assert sorted(done) == [("a", 1), ("a", 2), ("low", 1), ("right", 1), ("z", 1)]
    words = list(dict.fromkeys(ledger(folder)))
    assert words[-2:] == ["-a.1", "-a.2"]
    assert {*words[5:]} == {"-z", "-low", "-right", "-a.1", "-a.2"}
    assert words[5] == "-z"


@pytest.fixture
def failed(tmp_path: Path, flow: Flow, wfctl: Command) -> Path:
    """A run that failed and kept all, and a copy of its folder as `again` finds it."""
    flow(diamond("none"))
    assert wfctl("run", "flow.yaml").returncode == 1
    shutil.copytree(tmp_path / ".wfctl", tmp_path / "was/.wfctl")
    shutil.copy(tmp_path / "ledger", tmp_path / "was/ledger")
    return tmp_path


def again(folder: Path) -> None:
    """As it was when it had failed."""
    shutil.rmtree(folder / ".wfctl")
    shutil.copytree(folder / "was/.wfctl", folder / ".wfctl")
    shutil.copy(folder / "was/ledger", folder / "ledger")
    (folder / "once").unlink(missing_ok=True)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_killed_at_any_passage_of_any_point_it_goes_on_and_ends_the_same(
    point: str, verb: str, failed: Path, wfctl: Command, status: Status
) -> None:
    killed = 0
    while True:
        again(failed)
        crash = {"WFCTL_TEST_CRASH": f"{point}:{killed + 1}"}
        if (ended := wfctl("rollback", "last", env=crash)).returncode == KILLED:
            killed += 1
            told = events(failed)
            begun = any(event["event"] == "run_resumed" for event in told)
            over = told[-1]["event"] == "run_finished"  # a resume would go forward, rightly
            ended = wfctl(verb if begun and not over else "rollback", "last")
        assert ended.returncode == 3, (killed, ended.stderr)
        check_undone(failed)
        assert undos(status()) == dict.fromkeys(["z", "right", "low", "a"], "undone"), killed
        assert ledger(failed).count("-z") <= 3
        if f"{point}:{killed}" != crash["WFCTL_TEST_CRASH"]:
            break
    assert 4 < killed < MOST


def test_killed_again_and_again_it_gets_on(failed: Path, wfctl: Command) -> None:
    crash = {"WFCTL_TEST_CRASH": "any:13"}
    codes = [wfctl("rollback", "last", env=crash).returncode]
    while codes[-1] == KILLED:
        codes.append(wfctl("resume", "last", env=crash).returncode)
        assert len(codes) < MOST
    assert codes[-1] == 3
    assert len(codes) > 2
    check_undone(failed)


@pytest.mark.parametrize("point", ["recorded", "submitted"])
def test_killed_while_files_are_removed_it_removes_the_rest(
    point: str, tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow(diamond("full"))
    for passage in range(1, MOST):
        for path in (tmp_path / "ledger", tmp_path / "once", *tmp_path.glob("*.txt")):
            path.unlink(missing_ok=True)
        shutil.rmtree(tmp_path / ".wfctl", ignore_errors=True)
        ended = wfctl("run", "flow.yaml", env={"WFCTL_TEST_CRASH": f"{point}:{passage}"})
        was_killed = ended.returncode == KILLED
        if was_killed:
            ended = wfctl("resume", "last")
        assert ended.returncode == 3, (passage, ended.stderr)
        left = [text for one in status()["rollback"]["steps"] for text in one["left"]]
        cut = {e["node"] for e in events(tmp_path) if e["event"] == "node_started" and e["attempt"] > 1}
        why = "it was there before, or an attempt that was interrupted has left it"
        allowed = {f"{name}.txt: {why}" for name in cut}
        assert {*left} == {f"{name}.txt: {why}" for name in texts(tmp_path)} <= allowed, passage
        if not was_killed:
            break
    assert 5 < passage < MOST - 1


@pytest.mark.parametrize("point", ["recorded", "completed"])
def test_killed_on_the_way_back_to_a_checkpoint_it_goes_back_and_on(
    point: str, tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    text = diamond("checkpoint", "{save: [saved]}").replace("echo > a.txt", "echo a > saved; echo > a.txt")
    text = text.replace("run: echo low >> ledger", "run: cat saved >> seen")
    text = text.replace("echo > z.txt", "echo z > saved; echo > z.txt")
    flow(text.replace('"test -e ready"', '"test -e ready || { touch ready; exit 1; }"'))
    for passage in range(1, MOST):
        for name in ("ledger", "once", "ready", "saved", "seen", "a.txt", "z.txt"):
            (tmp_path / name).unlink(missing_ok=True)
        shutil.rmtree(tmp_path / ".wfctl", ignore_errors=True)
        ended = wfctl("run", "flow.yaml", env={"WFCTL_TEST_CRASH": f"{point}:{passage}"})
        was_killed = ended.returncode == KILLED
        if was_killed:
            ended = wfctl("resume", "last")
        assert ended.returncode == 0, (passage, ended.stderr)
        steps = [(e["node"], e["step"]) for e in events(tmp_path) if e["event"] == "undo_step_done"]
        assert sorted(steps) in ([("low", 1), ("right", 1), ("z", 1)], []), passage
        assert (tmp_path / "saved").read_text() == "z\n"
        if steps:
            assert (tmp_path / "seen").read_text().split()[-1] == "a", "the file was put back"
        assert "-a.1" not in ledger(tmp_path)
        if not was_killed:
            break
    assert 5 < passage < MOST - 1


# The order


def test_the_order_holds_through_a_middle_without_compensation(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    flow(diamond("compensate"))
    assert wfctl("run", "flow.yaml").returncode == 3
    check_undone(tmp_path)
    assert ledger(tmp_path).count("-z") == 2, "it was tried again once"


def test_independent_ones_are_undone_side_by_side(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    meet = "touch here.$0; for i in $(seq 2000); do ls here.l here.r && exit 0; sleep 0.01; done; exit 1"
    nodes = "\n".join(
        f"      {n}: {{run: 'true', compensate: [{{run: [bash, -c, '{meet}', {n}], timeout: 30s}}]}}" for n in "lr"
    )
    flow(f"    nodes:\n{nodes}\n      fails: {{run: 'false', needs: [l, r]}}\n")
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 3, ended.stderr


# Steps that fail


@pytest.mark.parametrize("times", [1, 2])
def test_a_step_that_fails_a_few_times_is_done_in_the_end(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, times: int
) -> None:
    flow(f"""
        rollback: {{retry: {{attempts: 3, delay: 1ms}}}}
        nodes:
          a:
            run: "true"
            compensate:
              - run: echo 1 >> ledger
              - run: "echo 2 >> ledger; test $(grep -c 2 ledger) -gt {times}"
          fails: {{run: "false", needs: [a]}}
    """)
    assert wfctl("run", "flow.yaml").returncode == 3
    assert ledger(tmp_path) == ["1", *["2"] * (times + 1)]
    assert undos(status()) == {"a": "undone"}
    logs = [path.name for path in tmp_path.glob(".wfctl/runs/*/logs/a.undo.2.*")]
    assert sorted(logs) == [f"a.undo.2.{i + 1}.log" for i in range(times + 1)], "each try has its log"


GIVEN_UP = """
    name: given-up
    rollback: {retry: {attempts: 2, delay: 1ms}}
    nodes:
      root: {run: echo root >> ledger, compensate: [{run: echo -root >> ledger}]}
      bad:
        run: "true"
        needs: [root]
        compensate: [{run: echo -bad.1 >> ledger}, {run: "echo try >> ledger; test -e mended"}]
      good: {run: "true", needs: [root], compensate: [{run: echo -good >> ledger}]}
      alone: {run: "true", compensate: [{run: echo -alone >> ledger}]}
      fails: {run: "echo the first error >&2; exit 9", needs: [bad, good, alone]}
"""


def test_a_step_that_is_given_up_stops_only_what_waits_for_it_until_a_person_has_mended_the_cause(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid
) -> None:
    flow(GIVEN_UP)
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 4, ended.stderr
    assert "fails" in ended.stderr
    assert "9" in ended.stderr, "the first error is told"
    assert ledger(tmp_path).count("try") == 2
    assert {"-good", "-alone", "-bad.1"} < {*ledger(tmp_path)}
    assert "-root" not in ledger(tmp_path)
    valid("status", document := status())
    assert document["state"] == "rollback_failed"
    assert undos(document) == {"root": "waiting", "bad": "undo_failed", "good": "undone", "alone": "undone"}
    assert document["rollback"]["blocked"] == ["root"]
    (tmp_path / "mended").touch()
    ended = wfctl("rollback", "last", "--retry", "bad")
    assert ended.returncode == 3, ended.stderr
    words = ledger(tmp_path)
    assert words[-2:] == ["try", "-root"]
    assert [words.count(word) for word in ("-bad.1", "-good", "-alone", "-root")] == [1, 1, 1, 1]
    valid("status", document := status())
    assert document["state"] == "rolled_back"
    asked = next(event for event in events(tmp_path) if event["event"] == "undo_asked")
    assert (asked["node"], bool(asked["by"])) == ("bad", True)


def test_another_try_that_fails_needs_a_person_again(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow(GIVEN_UP)
    assert wfctl("run", "flow.yaml").returncode == 4
    assert wfctl("rollback", "last", "--retry", "bad").returncode == 4
    assert ledger(tmp_path).count("try") == 4, "as often as retry says"
    assert undos(status())["bad"] == "undo_failed"
    assert wfctl("resume", "last").returncode == 4
    assert wfctl("rollback", "last").returncode == 4
    assert ledger(tmp_path).count("try") == 4, "nobody asked for that"


@pytest.mark.parametrize("word", ["--done", "--skip"])
def test_the_word_of_a_person_is_recorded_with_the_reason_and_who_and_when(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid, word: str
) -> None:
    flow(GIVEN_UP)
    assert wfctl("run", "flow.yaml").returncode == 4
    before = events(tmp_path)
    silent = wfctl("rollback", "last", word, "bad")
    assert (silent.returncode, "--reason" in silent.stderr) == (2, True)
    assert events(tmp_path) == before, "nothing was recorded"
    ended = wfctl("rollback", "last", word, "bad", "--reason", "by hand")
    assert ended.returncode == 3, ended.stderr
    assert ledger(tmp_path)[-1] == "-root", "the rollback goes on in the same command"
    told = next(event for event in events(tmp_path) if event["event"] == "node_undone" and event["node"] == "bad")
    assert (told.get("how"), told["reason"], bool(told["by"]), bool(told["time"])) == (word[2:], "by hand", True, True)
    valid("status", document := status())
    assert document["state"] == "rolled_back"


def test_a_word_about_a_node_that_was_not_given_up_changes_nothing(
    tmp_path: Path, flow: Flow, wfctl: Command
) -> None:
    flow(GIVEN_UP)
    assert wfctl("run", "flow.yaml").returncode == 4
    before = events(tmp_path)
    for words in (["--retry", "good"], ["--done", "nobody", "--reason", "x"], ["--retry", "bad", "--skip", "root"]):
        ended = wfctl("rollback", "last", *words, *([] if "--reason" in words else ["--reason", "x"]))
        assert (ended.returncode, "given up were: bad" in ended.stderr) == (2, True), ended.stderr
    assert events(tmp_path) == before


@pytest.mark.parametrize("words", [["--done", "bad", "--done", "bad"], ["--done", "bad", "--skip", "bad"]])
def test_what_is_said_twice_frees_nothing_that_waits_for_another(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, words: list[str]
) -> None:
    flow("""
        rollback: {retry: {attempts: 1}}
        nodes:
          root: {run: "true", compensate: [{run: echo -root >> ledger}]}
          bad: {run: "true", needs: [root], compensate: [{run: "false"}]}
          worse: {run: "true", needs: [root], compensate: [{run: "false"}]}
          fails: {run: "false", needs: [bad, worse]}
    """)
    assert wfctl("run", "flow.yaml").returncode == 4
    ended = wfctl("rollback", "last", *words, "--reason", "x")
    assert ended.returncode in (2, 4), ended.stderr
    assert ledger(tmp_path) == []
    assert undos(status())["worse"] == "undo_failed"


# What else runs


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_what_runs_has_ended_before_the_first_undo(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, how: str
) -> None:
    flow(f"""
        on_failure: {how}
        grace: 20s
        nodes:
          first: {{run: "true", compensate: [{{run: echo -first >> ledger}}]}}
          long:
            needs: [first]
            run: |
              trap 'sleep 0.3; echo long-ended >> ledger; exit 1' TERM
              touch begun
              for i in $(seq 300); do test -e gone && break; sleep 0.01; done
              {"sleep 0.3" if how == "stop" else "sleep 60 & wait $!"}
              echo long-ended >> ledger
            compensate: [{{run: echo -long >> ledger}}]
          fails:
            needs: [first]
            run: "for i in $(seq 3000); do test -e begun && break; sleep 0.01; done; touch gone; exit 1"
    """)
    ended = wfctl("run", "flow.yaml", "-j", "2")
    assert ended.returncode == 3, ended.stderr
    words = ledger(tmp_path)
    assert words[0] == "long-ended"
    assert words[-1] == "-first"
    if how == "stop":
        assert words == ["long-ended", "-long", "-first"], "it had succeeded"
    check_legal(tmp_path, {"first": [], "long": ["first"], "fails": ["first"]})


# The file is edited between failure and rollback

EDITED = """
    name: edited
    params: {{to: {{default: {0}}}}}
    vars: {{of: "{0}-${{{{ params.to }}}}"}}
    rollback: {{{1}}}
    nodes:
      a:
        env: {{WHO: "{0} ${{{{ vars.of }}}}"}}
        run: echo > {0}.made
        writes: {{it: {0}.made}}
        compensate: [{{run: "echo {0} ${{{{ params.to }}}} $WHO ${{{{ writes.it }}}} >> ledger; test -e mended"}}]
      fails: {{run: "test -e ready", needs: [a]}}
"""
OLD = "old old old old-old old.made".split()


def test_the_old_steps_and_values_count_whatever_the_file_says_by_now(
    tmp_path: Path, flow: Flow, wfctl: Command
) -> None:
    flow(EDITED.format("old", "retry: {attempts: 1}"))
    assert wfctl("run", "flow.yaml").returncode == 4
    flow(EDITED.format("new", "retry: {attempts: 1}"))
    (tmp_path / "mended").touch()
    assert wfctl("rollback", "last", "--retry", "a").returncode == 3
    assert ledger(tmp_path) == OLD * 2


def test_they_count_also_when_the_run_has_taken_a_new_definition(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    flow(EDITED.format("old", "strategy: none"))
    assert wfctl("run", "flow.yaml").returncode == 1
    flow(EDITED.format("new", "strategy: none"))
    assert wfctl("resume", "last", "--update").returncode == 1
    (tmp_path / "mended").touch()
    assert wfctl("rollback", "last").returncode == 3
    assert ledger(tmp_path) == OLD


CHANGED = """
    name: edited
    rollback: {strategy: none}
    nodes:
      NODE
      fails: {run: "test -e ready"}
"""


def test_a_new_definition_of_the_node_changes_no_undo_of_it(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    flow(EDITED.format("old", "strategy: none"))
    (tmp_path / "mended").touch()
    assert wfctl("run", "flow.yaml").returncode == 1
    flow(CHANGED.replace("NODE", 'a: {run: "true"}'))
    assert wfctl("resume", "last", "--update").returncode == 1
    ended = wfctl("rollback", "last")
    assert ended.returncode == 3, ended.stderr
    assert ledger(tmp_path) == OLD


def test_a_definition_without_a_node_that_is_to_be_undone_is_refused_until_it_is(
    tmp_path: Path, flow: Flow, wfctl: Command
) -> None:
    flow(EDITED.format("old", "strategy: none"))
    (tmp_path / "mended").touch()
    assert wfctl("run", "flow.yaml").returncode == 1
    flow(CHANGED.replace("NODE", 'b: {run: "true"}'))
    refused = wfctl("resume", "last", "--update")
    assert (refused.returncode, '--update: the file has no more "a"' in refused.stderr) == (2, True)
    assert "wfctl rollback " in refused.stderr
    assert wfctl("rollback", "last").returncode == 3
    assert ledger(tmp_path) == OLD
    assert wfctl("resume", "last", "--update").returncode == 1
    assert ledger(tmp_path) == OLD


def test_the_variables_of_the_whole_workflow_are_the_old_ones_too(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    text = """
        env: {WHO: NAME}
        rollback: {strategy: none}
        nodes:
          a: {run: "true", compensate: [{run: echo $WHO >> ledger}]}
          fails: {run: "test -e ready", needs: [a]}
    """
    flow(text.replace("NAME", "old"))
    assert wfctl("run", "flow.yaml").returncode == 1
    flow(text.replace("NAME", "new"))
    assert wfctl("resume", "last", "--update").returncode == 1
    assert wfctl("rollback", "last").returncode == 3
    assert ledger(tmp_path) == ["old"]


def test_the_variables_of_a_sub_workflow_are_the_old_ones_too(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    sub = """
        env: {WHO: NAME}
        nodes:
          x: {run: "true", compensate: [{run: echo $WHO >> ledger}]}
    """
    flow("""
        rollback: {strategy: none}
        nodes:
          s: {workflow: sub.yaml}
          fails: {run: "false", needs: [s]}
    """)
    flow(sub.replace("NAME", "old"), "sub.yaml")
    assert wfctl("run", "flow.yaml").returncode == 1
    flow(sub.replace("NAME", "new"), "sub.yaml")
    assert wfctl("resume", "last", "--update").returncode == 1
    assert wfctl("rollback", "last").returncode == 3
    assert ledger(tmp_path) == ["old"]


@pytest.mark.parametrize("name", ["writes", "nodes.a.writes"])
def test_the_paths_of_a_node_are_the_old_ones_however_a_step_names_them(
    tmp_path: Path, flow: Flow, wfctl: Command, name: str
) -> None:
    text = f"""
        rollback: {{strategy: none}}
        nodes:
          a: {{run: touch OUT, writes: [OUT], compensate: [{{run: "echo ${{{{ {name}[0] }}}} >> ledger"}}]}}
          fails: {{run: "false", needs: [a]}}
    """
    flow(text.replace("OUT", "old"))
    assert wfctl("run", "flow.yaml").returncode == 1
    flow(text.replace("OUT", "new"))
    assert wfctl("resume", "last", "--update").returncode == 1
    assert wfctl("rollback", "last").returncode == 3
    assert ledger(tmp_path) == ["old"]


# Cleanup of files


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody else, with a file in it."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "precious").write_text("precious\n")
    return folder


def cleaning(what: str, made: str) -> str:
    return f"""
        rollback: {{retry: {{attempts: 2, delay: 1ms}}}}
        nodes:
          a:
            run: "{made}"
            env: {{OUT: "${{{{ run.id }}}}"}}
            compensate: [{{files: {{delete: ["{what}"]}}}}]
          fails: {{run: "false", needs: [a]}}
    """


def test_a_link_to_another_place_is_deleted_and_not_followed(
    tmp_path: Path, flow: Flow, wfctl: Command, outside: Path
) -> None:
    (tmp_path / "there").symlink_to(outside)
    link = "ln -s $(readlink there)"
    flow(cleaning("out", f"mkdir -p out/in && {link} out/in/link && {link}/precious out/it"))
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 3, ended.stderr
    assert not (tmp_path / "out").exists()
    assert (outside / "precious").read_text() == "precious\n"


@pytest.mark.parametrize("what", ["there/precious", "there/*", "out/../../precious", "../precious"])
def test_nothing_outside_of_the_root_is_deleted(
    tmp_path: Path, flow: Flow, wfctl: Command, outside: Path, what: str
) -> None:
    (tmp_path / "there").symlink_to(outside)
    (tmp_path / "out").mkdir()
    beside = tmp_path.parent / "precious"
    beside.write_text("precious\n")
    flow(cleaning(what, "true"))
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode in (2, 4), ended.stderr
    assert (outside / "precious").exists()
    assert beside.exists()


def test_a_path_out_of_the_root_that_shows_only_in_the_run_is_refused(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    beside = tmp_path.parent / "precious"
    beside.write_text("precious\n")
    flow("""
        rollback: {retry: {attempts: 2, delay: 1ms}}
        nodes:
          a: {run: echo ../precious, stdout: text, compensate: [{files: {delete: ["${{ output }}"]}}]}
          fails: {run: "false", needs: [a]}
    """)
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 4, ended.stderr
    assert beside.exists()
    assert "../precious" in status()["rollback"]["steps"][0]["error"]


def test_a_folder_that_cannot_be_read_waits_for_a_person(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    flow(cleaning("out", "mkdir -p out/in && touch out/in/file && chmod 0 out/in"))
    try:
        ended = wfctl("run", "flow.yaml")
        assert ended.returncode == 4, ended.stderr
        assert "out" in status()["rollback"]["steps"][0]["error"]
    finally:
        (tmp_path / "out/in").chmod(0o700)
    assert wfctl("rollback", "last", "--retry", "a").returncode == 3
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_deleted_already(flow: Flow, wfctl: Command) -> None:
    flow(cleaning("out", "true"))
    assert wfctl("run", "flow.yaml").returncode == 3


# The person

SLOW = """
    nodes:
      a: {run: echo a >> ledger, compensate: [{run: echo -a >> ledger}]}
      b:
        run: echo b >> ledger
        needs: [a]
        compensate: [{run: "touch begun; test -e go || sleep 60; echo -b >> ledger"}]
      fails: {run: "test -e ready", needs: [b]}
"""
SLOW_NEEDS = {"a": [], "b": ["a"], "fails": ["b"]}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_a_signal_pauses_a_rollback_and_it_is_gone_on_with(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until, status: Status, valid: Valid, gone: Gone,
    number: signal.Signals, code: int, verb: str,
) -> None:  # fmt: skip
    flow(SLOW)
    process = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "it is being undone")
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    gone()
    valid("status", document := status())
    assert document["state"] == "interrupted"
    assert document["rollback"]["state"] == "rolling_back"
    assert document["rollback"]["steps"][0]["error"] is None, "that was no failed try"
    (tmp_path / "go").touch()
    assert wfctl(verb, "last").returncode == 3
    assert ledger(tmp_path) == ["a", "b", "-b", "-a"]
    check_legal(tmp_path, SLOW_NEEDS)


def test_cancel_pauses_a_rollback_too(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until, status: Status
) -> None:
    flow(SLOW)
    process = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "it is being undone")
    assert wfctl("cancel", "last").returncode == 0
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert ledger(tmp_path) == ["a", "b"]
    (tmp_path / "go").touch()
    assert wfctl("resume", "last").returncode == 3
    assert ledger(tmp_path) == ["a", "b", "-b", "-a"]


def test_a_run_that_goes_on_is_stopped_before_it_is_undone(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until, status: Status
) -> None:
    flow("""
        nodes:
          a: {run: echo a >> ledger, compensate: [{run: echo -a >> ledger}]}
          long:
            needs: [a]
            run: |
              trap 'sleep 0.3; echo ended >> ledger; exit 1' TERM
              touch begun
              sleep 60 & wait $!
            compensate: [{run: echo -long >> ledger}]
          never: {run: echo never >> ledger, needs: [long], compensate: [{run: echo -never >> ledger}]}
    """)
    process = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "it runs")
    ended = wfctl("rollback", "last")
    process.communicate(timeout=30)
    assert (process.returncode, ended.returncode) == (143, 3), ended.stderr
    assert ledger(tmp_path) == ["a", "ended", "-long", "-a"], "what may have been done is undone, once it has ended"
    assert status()["state"] == "rolled_back"


def test_a_rollback_that_goes_on_is_not_begun_a_second_time(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until
) -> None:
    flow(SLOW)
    process = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "it is being undone")
    second = wfctl("resume", "last")
    assert second.returncode == 5, second.stderr
    assert str(process.pid) in second.stderr, "the holder is named"
    (tmp_path / "go").touch()
    third = wfctl("rollback", "last")
    process.communicate(timeout=30)
    assert third.returncode == 3, third.stderr
    assert ledger(tmp_path) == ["a", "b", "-b", "-a"]
    check_legal(tmp_path, SLOW_NEEDS)


def test_of_two_at_once_one_works(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until, status: Status
) -> None:
    flow(SLOW.replace("nodes:", "rollback: {strategy: none}\n    nodes:", 1))
    (tmp_path / "go").touch()
    assert wfctl("run", "flow.yaml").returncode == 1
    both = [start("rollback", "last") for _ in range(2)]
    for process in both:
        process.communicate(timeout=60)
    first, last = sorted((process.returncode for process in both), key=lambda code: code == 3)
    assert last == 3
    assert first in (3, 5, 143, -signal.SIGTERM), "who comes second stops the first, finds it done, or is told of it"
    assert list(dict.fromkeys(ledger(tmp_path))) == ["a", "b", "-b", "-a"]
    assert status()["state"] == "rolled_back"
    check_legal(tmp_path, SLOW_NEEDS)


DEAF = """
import fcntl, signal, sys, time
from wfctl import journal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = open(sys.argv[1], "r+")
fcntl.flock(lock, fcntl.LOCK_EX)
if sys.argv[2] == "named":
    journal._sign(lock.fileno())
print(flush=True)
time.sleep(60)
"""
"""Holds the lock of a run, and does not hear that it should end."""


@pytest.fixture
def deaf(failed: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts one, of which the lock says who it is, `named`, or not."""
    started = []

    def begin(how: str) -> subprocess.Popen[bytes]:
        (lock,) = failed.glob(".wfctl/runs/*/lock")
        words = [sys.executable, "-c", DEAF, str(lock), how]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environ(failed))
        assert process.stdout is not None
        assert process.stdout.readline()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("verb", ["rollback", "cancel"])
def test_who_holds_a_run_and_cannot_be_told_to_stop_is_not_waited_for(
    wfctl: Command, deaf: Callable[[str], subprocess.Popen[bytes]], verb: str
) -> None:
    deaf("nameless")
    began = time.monotonic()
    refused = wfctl(verb, "last")
    assert (refused.returncode, "cannot be named" in refused.stderr) == (5, True)
    assert time.monotonic() - began < 20


def test_it_is_said_who_is_waited_for_when_one_does_not_stop_soon(
    failed: Path, deaf: Callable[[str], subprocess.Popen[bytes]], start: Start
) -> None:
    holder = deaf("named")
    process = start("rollback", "last")
    assert process.stderr is not None
    said = process.stderr.readline()
    assert f"waiting for process {holder.pid} " in said
    assert f"kill -KILL {holder.pid}" in said
    holder.kill()
    process.communicate(timeout=30)
    assert process.returncode == 3


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """All files under a folder, as far as a write would show."""
    return {str(p): ((s := p.lstat()).st_size, s.st_mtime_ns) for p in sorted(folder.rglob("*"))}


def test_a_dry_run_shows_order_and_commands_and_writes_nothing(
    tmp_path: Path, flow: Flow, wfctl: Command, valid: Valid, failed: Path
) -> None:
    before = tree(tmp_path)
    shown = wfctl("rollback", "last", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    places = [shown.stdout.index(word) for word in (" 1. z", "echo -z", " 2. ", "echo -low", "a\n", "-a.1", "-a.2")]
    assert places == sorted(places)
    assert "left says nothing of how it is undone" in shown.stdout
    told = json.loads(wfctl("rollback", "last", "--dry-run", "--json").stdout)
    valid("undo", told)
    assert [[one["node"] for one in wave] for wave in told["order"]][::2] == [["z"], ["a"]]
    assert {one["node"] for one in told["order"][1]} == {"low", "right"}
    partial = json.loads(wfctl("rollback", "last", "--dry-run", "--json", "--strategy", "partial").stdout)
    assert partial["strategy"] == "partial"
    assert tree(tmp_path) == before, "nothing was written"
    wrong = wfctl("rollback", "last", "--strategy", "compensat")
    assert (wrong.returncode, "compensate" in wrong.stderr) == (2, True)
    assert tree(tmp_path) == before


def test_a_rollback_that_has_begun_keeps_its_strategy(flow: Flow, wfctl: Command) -> None:
    flow("""
        rollback: {retry: {attempts: 1}}
        nodes:
          a: {run: "true", compensate: [{run: test -e mended}]}
          fails: {run: "false", needs: [a]}
    """)
    assert wfctl("run", "flow.yaml").returncode == 4
    refused = wfctl("rollback", "last", "--strategy", "full")
    assert (refused.returncode, "its rollback has begun, by compensate" in refused.stderr) == (2, True)
    assert wfctl("rollback", "last", "--strategy", "compensate", "--skip", "a", "--reason", "x").returncode == 3


def test_a_dry_run_of_what_was_begun_tells_only_of_the_rest(
    tmp_path: Path, flow: Flow, wfctl: Command, valid: Valid
) -> None:
    flow(GIVEN_UP)
    assert wfctl("run", "flow.yaml").returncode == 4
    told = json.loads(wfctl("rollback", "last", "--dry-run", "--json").stdout)
    valid("undo", told)
    assert [[one["node"] for one in wave] for wave in told["order"]] == [["bad"], ["root"]]


def test_a_run_that_succeeded_is_undone_by_hand_once(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow(SLOW)
    for name in ("go", "ready"):
        (tmp_path / name).touch()
    assert wfctl("run", "flow.yaml").returncode == 0
    assert wfctl("rollback", "last").returncode == 3
    assert ledger(tmp_path) == ["a", "b", "-b", "-a"]
    told = next(event for event in events(tmp_path) if event["event"] == "rollback_begun")
    assert "by hand" in told["why"]
    second = wfctl("rollback", "last")
    assert (second.returncode, "has nothing to undo" in second.stderr) == (3, True)
    assert ledger(tmp_path) == ["a", "b", "-b", "-a"]
    assert status()["state"] == "rolled_back"


def test_a_run_that_was_interrupted_is_undone_only_by_hand(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until, status: Status
) -> None:
    flow("""
        nodes:
          a: {run: echo a >> ledger, compensate: [{run: echo -a >> ledger}]}
          long: {run: "touch begun; sleep 60", needs: [a], compensate: [{run: echo -long >> ledger}]}
    """)
    process = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "it runs")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert (process.returncode, ledger(tmp_path)) == (130, ["a"])
    ended = wfctl("rollback", "last")
    assert ended.returncode == 3, ended.stderr
    assert ledger(tmp_path) == ["a", "-long", "-a"], "what was cut off may have done its work"


def test_a_run_that_was_killed_is_undone_by_hand(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until, gone: Gone
) -> None:
    flow("""
        nodes:
          a: {run: echo a >> ledger, compensate: [{run: echo -a >> ledger}]}
          long: {run: "touch begun; sleep 60", needs: [a], compensate: [{run: echo -long >> ledger}]}
    """)
    process = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "it runs")
    process.kill()
    process.communicate(timeout=30)
    gone()
    assert wfctl("rollback", "last").returncode == 3
    assert ledger(tmp_path) == ["a", "-long", "-a"]


def test_an_interrupted_run_without_anything_to_undo_is_no_undo_that_was_interrupted(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until
) -> None:
    flow("""nodes: {a: {run: touch begun; sleep 60}}""")
    process = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "it runs")
    process.terminate()
    assert process.wait(30) == 143
    ended = wfctl("rollback", "last")
    assert (ended.returncode, "has nothing to undo" in ended.stderr) == (1, True)


@pytest.mark.parametrize(("step", "code"), [("echo -a >> ledger", 3), ("echo ${{ output }} >> ledger", 4)])
def test_the_only_node_of_a_run_that_was_killed_is_undone_and_not_half_filled(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, gone: Gone, status: Status, step: str, code: int
) -> None:
    flow(f"""
        nodes:
          a: {{run: "echo a >> ledger; kill -9 $PPID; sleep 60", stdout: text, compensate: [{{run: "{step}"}}]}}
    """)
    assert start("run", "flow.yaml").wait(30) == KILLED
    gone()
    assert "a\n        run: echo" in wfctl("rollback", "last", "--dry-run").stdout
    assert wfctl("rollback", "last").returncode == code
    assert ledger(tmp_path) == ["a", "-a"][: 2 if code == 3 else 1]
    assert ("outcome unknown" in (status()["rollback"]["steps"][0]["error"] or "")) == (code == 4)


def test_nobody_undoes_a_run_that_is_not_there(flow: Flow, wfctl: Command, tmp_path: Path) -> None:
    flow(SLOW)
    for words in (("rollback", "nobody"), ("rollback", "last"), ("rollback", "nobody", "--dry-run")):
        ended = wfctl(*words)
        assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr


def test_resume_after_a_rollback_runs_the_undone_and_what_needs_them_and_nothing_else(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow("""
        nodes:
          stays: {run: echo stays >> ledger}
          a: {run: echo a >> ledger, needs: [stays], compensate: [{run: echo -a >> ledger}]}
          reads: {run: echo reads >> ledger, needs: [a], compensate: none}
          other: {run: echo other >> ledger, needs: [stays], compensate: none}
          fails: {run: "test -e ready", needs: [reads, other]}
    """)
    assert wfctl("run", "flow.yaml").returncode == 3
    before = len(ledger(tmp_path))
    (tmp_path / "ready").touch()
    ended = wfctl("resume", "last")
    assert ended.returncode == 0, ended.stderr
    assert ledger(tmp_path)[before:] == ["a", "reads"]
    assert {n: one["attempts"] for n, one in status()["nodes"].items()} == {
        "stays": 1, "a": 2, "reads": 2, "other": 1, "fails": 2,
    }  # fmt: skip


def test_what_is_to_stay_as_it_is_stays_done_when_the_run_goes_forward(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow("""
        rollback: {retry: {attempts: 1}}
        nodes:
          a: {run: echo a >> ledger, compensate: [{run: "false"}]}
          b: {run: echo b >> ledger, compensate: [{run: echo -b >> ledger}]}
          fails: {run: test -e mended, needs: [a, b]}
    """)
    assert wfctl("run", "flow.yaml").returncode == 4
    assert wfctl("rollback", "last", "--skip", "a", "--reason", "it may stay").returncode == 3
    (tmp_path / "mended").touch()
    assert wfctl("resume", "last").returncode == 0
    assert sorted(ledger(tmp_path)) == ["-b", "a", "b", "b"]
    assert status()["nodes"]["a"]["state"] == "succeeded"


def test_what_fails_after_that_is_undone_again_once_more(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    flow(SLOW)
    (tmp_path / "go").touch()
    assert wfctl("run", "flow.yaml").returncode == 3
    assert wfctl("resume", "last").returncode == 3
    assert ledger(tmp_path) == ["a", "b", "-b", "-a"] * 2


# What a step is given


def leaks(folder: Path, secret: str) -> list[str]:
    """Files of the state in which a secret stands."""
    found = [path for path in (folder / ".wfctl").rglob("*") if path.is_file()]
    return [str(path) for path in found if secret.encode() in path.read_bytes()]


def test_a_secret_of_a_step_is_nowhere_but_in_the_step(
    tmp_path: Path, flow: Flow, wfctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hunter2-hunter2-hunter2"
    monkeypatch.setenv("TOKEN", secret)
    flow("""
        secrets: [TOKEN]
        rollback: {retry: {attempts: 2, delay: 1ms}}
        nodes:
          a:
            run: "true"
            env: {T: "${{ secrets.TOKEN }}"}
            compensate:
              - {run: 'echo "${#T} $T" | tee -a seen', verify: {run: 'grep "$T" seen'}}
              - run: 'echo "not so: $T" >&2; test -e mended'
          fails: {run: "false", needs: [a]}
    """)
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 4, ended.stderr
    assert (tmp_path / "seen").read_text() == f"{len(secret)} {secret}\n"
    spoken = [ended, wfctl("status", "last"), wfctl("status", "last", "--json"), wfctl("logs", "last", "a")]
    spoken.append(wfctl("rollback", "last", "--dry-run"))
    monkeypatch.delenv("TOKEN")
    (tmp_path / "mended").touch()
    without = wfctl("rollback", "last", "--retry", "a")
    assert (without.returncode, "TOKEN" in without.stderr) == (2, True), "nothing is undone without it"
    monkeypatch.setenv("TOKEN", secret)
    spoken.append(wfctl("rollback", "last", "--retry", "a", "--reason", "mended"))
    assert spoken[-1].returncode == 3, spoken[-1].stderr
    assert not [one.args for one in spoken if secret in one.stdout + one.stderr]
    assert leaks(tmp_path, secret) == []


def test_a_step_that_names_what_was_never_put_out_is_not_run_half_filled(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid
) -> None:
    flow("""
        nodes:
          a: {run: "kill -9 $$", stdout: json, compensate: [{run: "echo rm -rf /${{ output.place }} >> ledger"}]}
    """)
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 4, ended.stderr
    assert "outcome unknown" in ended.stderr
    assert ledger(tmp_path) == []
    valid("status", document := status())
    assert undos(document) == {"a": "undo_failed"}
    assert "outcome unknown" in document["rollback"]["steps"][0]["error"]
    assert wfctl("rollback", "last", "--retry", "a").returncode == 4
    assert wfctl("rollback", "last", "--done", "a", "--reason", "looked").returncode == 3


def test_each_step_has_one_key_for_all_of_its_tries_and_steps_have_different_ones(
    tmp_path: Path, flow: Flow, wfctl: Command
) -> None:
    say = 'echo "$WFCTL_IDEMPOTENCY_KEY" >> key'
    flow(f"""
        rollback: {{retry: {{attempts: 2, delay: 1ms}}}}
        nodes:
          a:
            run: "true"
            compensate: [{{run: '{say}1; test -e mended'}}, {{run: '{say}2'}}]
          b: {{run: "true", compensate: [{{run: '{say}3'}}]}}
          fails: {{run: "false", needs: [a, b]}}
    """)
    assert wfctl("run", "flow.yaml").returncode == 4
    (tmp_path / "mended").touch()
    assert wfctl("rollback", "last", "--retry", "a").returncode == 3
    keys = [(tmp_path / f"key{i}").read_text().split() for i in (1, 2, 3)]
    assert [len(one) for one in keys] == [3, 1, 1]
    assert [len({*one}) for one in keys] == [1, 1, 1], "over all tries, also those that a person asked for"
    assert len({one[0] for one in keys}) == 3


def test_what_was_undone_is_done_afresh_under_another_key(
    tmp_path: Path, flow: Flow, wfctl: Command, server: Server
) -> None:
    """Who is sent a key again gives the old answer again, and does nothing: the charge that was given back, say."""
    flow(f"""
        nodes:
          charge:
            http: {{url: "{server.url}/echo", json: 7}}
            compensate: [{{http: {{method: DELETE, url: "{server.url}/echo"}}}}]
          stays: {{needs: [charge], http: {{url: "{server.url}/echo", json: 8}}}}
          fails: {{run: test -e mended, needs: [stays]}}
    """)
    assert wfctl("run", "flow.yaml").returncode == 3
    assert wfctl("resume", "last").returncode == 3
    (tmp_path / "mended").touch()
    assert wfctl("resume", "last").returncode == 0
    keys = [(seen.method, seen.headers["idempotency-key"]) for seen in server.seen if seen.body in (b"7", b"")]
    assert [method for method, _ in keys] == ["POST", "DELETE", "POST", "DELETE", "POST"]
    assert len({key for _, key in keys}) == 5


def test_a_step_has_the_folder_and_the_variables_of_its_node(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    (tmp_path / "sub").mkdir()
    flow("""
        env: {ALL: all}
        params: {n: {default: 7}}
        nodes:
          first: {run: "echo value", stdout: text}
          a:
            cwd: sub
            env: {OWN: "own ${{ params.n }} ${{ nodes.first.output }}"}
            run: "true"
            compensate:
              - run: 'echo "$ALL $OWN $(basename "$PWD") $WFCTL_NODE" >> ../ledger'
                verify: {run: 'test "$OWN" = "own 7 value" && test -e ../ledger'}
          fails: {run: "false", needs: [a]}
    """)
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 3, ended.stderr
    assert (tmp_path / "ledger").read_text() == "all own 7 value sub a\n"


# Kept results


KEPT = """
    name: kept
    nodes:
      a:
        run: echo a >> ledger
        idempotency: true
        compensate: [{run: "touch begun; test -e go || sleep 60; echo -a >> ledger"}]
      b: {run: "touch at-b; WAIT; test -e ready", needs: [a]}
"""


def test_a_kept_result_goes_with_what_it_tells_of(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow(KEPT.replace("WAIT; ", ""))
    (tmp_path / "go").touch()
    assert wfctl("run", "flow.yaml").returncode == 3
    (tmp_path / "ready").touch()
    assert wfctl("run", "flow.yaml").returncode == 0
    assert status()["nodes"]["a"]["state"] == "succeeded", "nothing was served that was undone"
    assert ledger(tmp_path) == ["a", "-a", "a"]
    assert wfctl("run", "flow.yaml").returncode == 0
    assert status()["nodes"]["a"]["state"] == "cached"


def test_what_was_served_is_not_undone_by_who_was_served(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    flow(KEPT.replace("WAIT; ", ""))
    for name in ("go", "ready"):
        (tmp_path / name).touch()
    assert wfctl("run", "flow.yaml").returncode == 0
    (tmp_path / "ready").unlink()
    assert wfctl("run", "flow.yaml").returncode == 1, "this run has done nothing that is undone"
    assert ledger(tmp_path) == ["a"]
    assert wfctl("rollback", "last").returncode == 1
    assert ledger(tmp_path) == ["a"]


def test_a_result_is_not_served_to_others_while_its_run_may_still_undo_it(
    tmp_path: Path, flow: Flow, wfctl: Command, start: Start, until: Until, status: Status
) -> None:
    flow(KEPT.replace("WAIT", "for i in $(seq 3000); do test -e leave && break; sleep 0.01; done"))
    (tmp_path / "go").touch()
    first = start("run", "flow.yaml")
    until((tmp_path / "at-b").exists, "the first is past what it keeps")
    flow(KEPT.replace("touch at-b; WAIT; ", ""), "other.yaml")
    second = start("run", "other.yaml")
    until(lambda: len(list(tmp_path.glob(".wfctl/runs/*/journal.jsonl"))) == 2, "the second runs")
    until(lambda: status()["nodes"]["a"]["state"] in ("ready", "waiting", "running", "succeeded"), "it has begun")
    assert ledger(tmp_path) in (["a"], ["a", "a"])
    (tmp_path / "leave").touch()
    first.communicate(timeout=60)
    assert first.returncode == 3
    second.communicate(timeout=60)
    assert second.returncode == 3
    assert status()["nodes"]["a"]["state"] != "cached"
    assert sorted(ledger(tmp_path)) == ["-a", "-a", "a", "a"], "the second did its own work"


def test_items_that_join_again_go_on_counting_attempts(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    flow("""
        nodes:
          list: {run: "test ! -e none && echo '[1]'", stdout: json, compensate: [{run: "true"}]}
          each:
            for_each: ${{ nodes.list.output }}
            run: echo $WFCTL_ATTEMPT >> ledger
            compensate: [{run: echo $WFCTL_IDEMPOTENCY_KEY >> keys}]
          fails: {run: "false", needs: [each]}
    """)
    assert wfctl("run", "flow.yaml").returncode == 3
    (tmp_path / "none").touch()
    assert wfctl("resume", "last").returncode == 1  # the items have left
    (tmp_path / "none").unlink()
    assert wfctl("resume", "last").returncode == 3
    assert ledger(tmp_path) == ["1", "2"]
    assert len({*(tmp_path / "keys").read_text().split()}) == 2


def test_a_backup_of_what_was_undone_does_not_stand_for_what_is_done_afresh(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status
) -> None:
    with closing(sqlite3.connect(tmp_path / "it.sqlite")) as it, it:
        it.execute("CREATE TABLE t (a)")
    flow("""
        vars: {db: "sqlite:///it.sqlite"}
        nodes:
          migrate:
            sql: {url: "${{ vars.db }}", backup: before.sqlite, execute: INSERT INTO t VALUES ('migrated')}
            compensate: [{sql: {url: "${{ vars.db }}", restore: before.sqlite}}]
          fails: {run: "false", needs: [migrate]}
    """)
    assert wfctl("run", "flow.yaml").returncode == 3
    with closing(sqlite3.connect(tmp_path / "it.sqlite")) as it, it:
        it.execute("INSERT INTO t VALUES ('by others')")
    assert wfctl("resume", "last").returncode == 3
    with closing(sqlite3.connect(tmp_path / "it.sqlite")) as it:
        assert it.execute("SELECT a FROM t").fetchall() == [("by others",)]
