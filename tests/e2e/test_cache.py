"""The verbs of the cache as people and programs see them, and what becomes of runs whose cache is harmed.

Knows of the cache only where its database lies, and what a planted row would look like."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHILD, Command, Ended
from tests.e2e.conftest import Flow, Start, Status, Until
from tests.e2e.test_foreign_text import HOSTILE, harmful

KEPT = """
    name: kept
    nodes:
      small: {run: "echo small >> ledger; echo out", stdout: text, idempotency: true}
      large: {run: "echo large >> ledger; printf %050000d 7", stdout: text, idempotency: true, needs: [small]}
      files:
        run: "echo files >> ledger; echo text > out.txt"
        writes: [out.txt]
        idempotency: {keep: true}
        needs: [large]
      wrong: {run: "echo wrong >> ledger; exit 3", idempotency: true, needs: [files]}
"""


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that other tests or the user share."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine"))


@pytest.fixture
def kept(flow: Flow, wfctl: Command, tmp_path: Path) -> Path:
    """A folder in which three results and a failure are kept; its database."""
    flow(KEPT)
    assert wfctl("run", "flow.yaml").returncode == 1
    return tmp_path / ".wfctl/cache/cache.db"


def execute(database: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def listed(wfctl: Command) -> list[dict[str, Any]]:
    ended = wfctl("cache", "ls", "--json")
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    return found


def nodes(wfctl: Command) -> set[str]:
    return {one["node"] for one in listed(wfctl)}


def ran(folder: Path) -> list[str]:
    return (folder / "ledger").read_text().split()


def fine(ended: Ended, code: int = 0) -> Ended:
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "BUG" not in ended.stderr
    return ended


# What is shown


@pytest.mark.usefixtures("kept")
def test_programs_are_told_all_that_is_kept(wfctl: Command) -> None:
    found = {one["node"]: one for one in listed(wfctl)}
    assert found.keys() == {"small", "large", "files", "wrong"}
    assert {one["workflow"] for one in found.values()} == {"kept"}
    assert {one["scope"] for one in found.values()} == {"workflow"}
    assert found["large"]["bytes"] > 50_000 > 2_000 > found["small"]["bytes"]
    assert {name: bool(one["failed"]) for name, one in found.items()} == {
        "small": False, "large": False, "files": False, "wrong": True
    }  # fmt: skip
    assert len(found["small"]["key"]) == 64


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("width", [60, 120])
def test_people_see_a_line_for_each_that_fits(wfctl: Command, width: int) -> None:
    shown = fine(wfctl("cache", "ls", env={"COLUMNS": str(width)})).stdout
    head, *lines, total = shown.splitlines()
    assert head.split() == ["key", "of", *(["run"] if width > 80 else []), "age", "used", "size"]
    assert len(lines) == 4
    assert total.strip().startswith("4 results, ")
    assert max(map(len, shown.splitlines())) <= width
    for name in ("small", "large", "files", "wrong"):
        assert f"kept: {name}" in shown


def test_where_nothing_is_kept_the_way_to_keep_something_is_told(wfctl: Command, tmp_path: Path) -> None:
    assert "idempotency" in fine(wfctl("cache", "ls")).stdout
    assert listed(wfctl) == []
    for verb in ("prune", "clear"):
        assert "0 results removed" in fine(wfctl("cache", verb)).stderr
        assert json.loads(wfctl("cache", verb, "--json").stdout) == {"results": [], "bytes": 0, "live": 0}
    assert "`wfctl cache ls`" in fine(wfctl("cache", "show", "ab"), 2).stderr
    assert not (tmp_path / ".wfctl").exists(), "to look makes nothing"


@pytest.mark.usefixtures("kept")
def test_one_result_is_found_by_the_beginning_of_its_key(wfctl: Command) -> None:
    for one in listed(wfctl):
        document = json.loads(fine(wfctl("cache", "show", one["key"][:12], "--json")).stdout)
        assert document["key"] == one["key"]
        if one["node"] == "large":
            assert document["output"] == f"{7:050000d}"
        if one["node"] == "files":
            assert document["writes"]["out.txt"]["bytes"] == 5
        if one["node"] == "wrong":
            assert "output" not in document
        assert document["parts"]["run"]
        assert one["key"] in fine(wfctl("cache", "show", one["key"][:12])).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), ["ls", "show", "prune", "clear"]),
        (("lsx",), ["'lsx'", "Did you mean 'ls'", "wfctl cache -h"]),
        (("nonsense",), ["'nonsense'", "wfctl cache -h"]),
        (("show",), ["KEY", "wfctl cache show -h"]),
        (("show", ""), ["`wfctl cache ls`"]),
        (("ls", "--nope"), ["--nope", "wfctl cache ls -h"]),
        (("prune", "--max-size", "much"), ["--max-size: expected a size such as 512MiB", '"much"']),
        (("prune", "--older-than", "-1d"), ["--older-than: expected a duration such as", '"-1d"']),
        (("prune", "--max-size"), ["--max-size", "requires an argument"]),
    ],
)
def test_who_types_something_else_is_told_the_way_out(wfctl: Command, words: tuple[str, ...], said: list[str]) -> None:
    ended = fine(wfctl("cache", *words), 2)
    for part in said:
        assert part in ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["WFCTL_CACHE_SIZE", "WFCTL_CACHE_AGE"])
def test_a_wrong_limit_is_told_before_anything_runs(wfctl: Command, flow: Flow, tmp_path: Path, name: str) -> None:
    flow(KEPT)
    for words in (["run", "flow.yaml"], ["cache", "prune"]):
        assert f"{name}: expected a " in fine(wfctl(*words, env={name: "much"}), 2).stderr
    assert not (tmp_path / "ledger").exists()


def test_foreign_text_is_shown_and_obeyed_by_nothing(wfctl: Command, kept: Path) -> None:
    for key, value in execute(kept, "SELECT key, substr(value, 9) FROM Cache WHERE key GLOB '[rf]*/*'"):
        row = json.loads(value)
        row.update(node=HOSTILE, workflow=HOSTILE, run=HOSTILE, parts={HOSTILE: HOSTILE, "run": [HOSTILE]})
        row.update({"error": HOSTILE} if key.startswith("failure") else {"output": HOSTILE, "beside": False})
        if row.get("writes"):
            row["writes"] = {HOSTILE: row["writes"]["out.txt"]}
        _plant(kept, key, row)
    found = listed(wfctl)
    assert [one["node"] for one in found] == [HOSTILE] * 4
    texts = [fine(wfctl("cache", "ls", env={"COLUMNS": width})).stdout for width in ("60", "120", "4000")]
    texts += [wfctl("cache", "ls", "--json").stdout]
    for one in found:
        texts += [fine(wfctl("cache", "show", one["key"], *more)).stdout for more in ([], ["--json"])]
    texts += [fine(wfctl("cache", "clear", *more)).stdout for more in (["--dry-run", "--json"], [])]
    assert [harmful(text) for text in texts] == [set()] * len(texts)
    assert "[/bin/sh]" in texts[2]


def _plant(database: Path, key: str, row: object) -> None:
    import zlib

    text = json.dumps(row, separators=(",", ":"))
    value = f"{zlib.crc32(text.encode()):08x}{text}"
    execute(database, "UPDATE Cache SET value = ? WHERE key = ?", value, key)


# What goes


def test_pruned_is_what_was_used_longest_ago(wfctl: Command, kept: Path) -> None:
    for age, name in enumerate(("wrong", "files", "small", "large")):
        _use(kept, name, age)
    ended = fine(wfctl("cache", "prune", "--max-size", "20KB", "--dry-run"))
    assert ended.stderr.startswith("1 result would go, ")
    assert nodes(wfctl) == {"small", "large", "files", "wrong"}
    gone = json.loads(fine(wfctl("cache", "prune", "--max-size", "20KB", "--json")).stdout)
    assert [one["node"] for one in gone["results"]] == ["large"]
    assert gone["bytes"] > 50_000
    assert nodes(wfctl) == {"small", "files", "wrong"}
    fine(wfctl("cache", "prune", "--older-than", "36h"))
    assert nodes(wfctl) == {"files", "wrong"}
    assert fine(wfctl("cache", "clear")).stderr.startswith("2 results removed, ")
    assert listed(wfctl) == []


def _use(database: Path, node: str, days: float) -> None:
    """Let what is kept of a node have been used so many days ago."""
    where = "key GLOB '[rf]*/*' AND value LIKE ?"
    execute(database, f"UPDATE Cache SET access_time = unixepoch() - ? WHERE {where}", days * 86400, f'%"{node}"%')


def test_what_a_run_was_served_that_goes_on_is_not_cleared(
    flow: Flow, wfctl: Command, start: Start, until: Until, tmp_path: Path
) -> None:
    flow("""
        name: kept
        nodes:
          served: {run: "echo ran >> ledger", idempotency: true}
          other: {run: "true", idempotency: {key: other}}
    """)
    fine(wfctl("run", "flow.yaml"))
    flow(f"""
        name: kept
        nodes:
          served: {{run: "echo ran >> ledger", idempotency: true}}
          waits: {{run: "{CHILD} ready=ready wait=go", needs: [served]}}
    """)
    run = start("run", "flow.yaml")
    until((tmp_path / "ready").exists, "the node runs")
    ended = fine(wfctl("cache", "clear"))
    assert "1 result removed" in ended.stderr
    assert "1 result stays: runs that go on have made or used it" in ended.stderr
    assert nodes(wfctl) == {"served"}
    (tmp_path / "go").touch()
    assert run.wait(timeout=30) == 0
    fine(wfctl("cache", "clear"))
    assert listed(wfctl) == []
    assert ran(tmp_path) == ["ran"]


def test_at_the_end_of_a_run_what_is_too_much_goes_and_nothing_of_it(flow: Flow, wfctl: Command) -> None:
    flow("""
        name: kept
        params: {n: {type: integer}}
        nodes:
          a: {run: "printf %050000d ${{ params.n }}", stdout: text, idempotency: true}
    """)
    limit = {"WFCTL_CACHE_SIZE": "120KB"}
    for n in range(5):
        fine(wfctl("run", "flow.yaml", "-p", f"n={n}", env=limit))
    assert len(listed(wfctl)) == 2, "two fit, and the last are there"
    fine(wfctl("run", "flow.yaml", "-p", "n=4", env=limit))


# What is planted


def test_a_planted_pickle_does_nothing_whatever_is_typed(wfctl: Command, kept: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (trap.touch, ())

    pickled = pickle.dumps(Trap())
    (kept.parent / "planted.val").write_bytes(pickled)
    key = listed(wfctl)[0]["key"]
    for filename in (None, "planted.val"):
        for mode in (1, 2, 3, 4):
            execute(kept, "UPDATE Cache SET mode = ?, value = ?, filename = ?", mode, pickled, filename)
            for words in (["cache", "ls"], ["plan", "flow.yaml"], ["why", "last", "small"]):
                fine(wfctl(*words))
            fine(wfctl("cache", "show", key), 2)
        fine(wfctl("run", "flow.yaml"), 1)
    fine(wfctl("cache", "clear"))
    assert not trap.exists()
    assert ran(tmp_path).count("small") == 3
    pickle.loads(pickled)
    assert trap.exists(), "the trap of this test works"


# What is lost


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 9999)


HARMS: dict[str, Callable[[Path], object]] = {
    "deleted": lambda database: shutil.rmtree(database.parent),
    "emptied": lambda database: os.truncate(database, 0),
    "garbage": _garbage,
    "truncated": lambda database: os.truncate(database, 9000),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_cache_that_is_lost_between_two_runs_costs_only_its_results(
    wfctl: Command, kept: Path, tmp_path: Path, harm: str
) -> None:
    HARMS[harm](kept)
    for words in (["cache", "ls"], ["plan", "flow.yaml"], ["status"], ["why", "last", "small"]):
        fine(wfctl(*words))
    for _ in range(3):
        fine(wfctl("run", "flow.yaml"), 1)
    counts = {name: ran(tmp_path).count(name) for name in ("small", "large", "files", "wrong")}
    assert counts["wrong"] == 4
    assert max(counts["small"], counts["large"], counts["files"]) <= 3, "deep damage may show only in use"
    assert {"small", "large", "files"} <= nodes(wfctl)


@pytest.mark.parametrize("harm", HARMS)
def test_a_cache_that_is_lost_in_the_middle_of_a_run_repeats_nothing_of_it(
    flow: Flow, wfctl: Command, start: Start, until: Until, status: Status, tmp_path: Path, harm: str
) -> None:
    flow(f"""
        name: kept
        nodes:
          before: {{run: "echo before >> ledger; printf %050000d 7", stdout: text, idempotency: true}}
          waits: {{run: "{CHILD} ready=ready wait=go", needs: [before]}}
          after: {{run: "echo after >> ledger", idempotency: true, needs: [waits]}}
          last: {{run: "echo last >> ledger", idempotency: true, needs: [after]}}
    """)
    run = start("run", "flow.yaml")
    until((tmp_path / "ready").exists, "the node runs")
    HARMS[harm](tmp_path / ".wfctl/cache/cache.db")
    (tmp_path / "go").touch()
    said = run.communicate(timeout=30)[1]
    assert run.returncode == 0, said
    assert "Traceback" not in said
    assert ran(tmp_path) == ["before", "after", "last"]
    assert {node["state"] for node in status()["nodes"].values()} == {"succeeded"}
    for _ in range(2):
        fine(wfctl("run", "flow.yaml"))
    assert ran(tmp_path).count("before") <= 3
    assert "before" in nodes(wfctl)


@pytest.mark.parametrize("harm", HARMS)
def test_a_run_that_was_interrupted_goes_on_without_its_cache(
    flow: Flow, wfctl: Command, start: Start, until: Until, tmp_path: Path, harm: str
) -> None:
    flow(f"""
        name: kept
        nodes:
          before: {{run: "echo before >> ledger", idempotency: true}}
          waits: {{run: "{CHILD} ready=ready wait=go", needs: [before]}}
          after: {{run: "echo after >> ledger", idempotency: true, needs: [waits]}}
    """)
    run = start("run", "flow.yaml")
    until((tmp_path / "ready").exists, "the node runs")
    run.kill()
    run.wait(timeout=30)
    HARMS[harm](tmp_path / ".wfctl/cache/cache.db")
    (tmp_path / "go").touch()
    fine(wfctl("resume", "last"))
    assert ran(tmp_path) == ["before", "after"]


# A disk that is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[Path, str], None]]:
    """Makes a folder a disk of its own."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
            subprocess.run(words, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("nothing can be mounted here: it needs root")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


MANY = """
    name: many
    concurrency: 2
    nodes:
      each:
        for_each: {matrix: {a: [1, 2, 3, 4, 5], b: [1, 2, 3, 4, 5, 6]}}
        run: echo x >> ledger; head -c 40000 /dev/urandom | base64 -w0
        stdout: text
        idempotency: true
      last: {run: "echo last >> ledger", needs: [each]}
"""


def test_where_results_cannot_be_kept_the_run_goes_on_with_a_warning(
    small_disk: Callable[[Path, str], None], flow: Flow, wfctl: Command, tmp_path: Path
) -> None:
    small_disk(tmp_path / ".wfctl/cache", "400k")
    flow(MANY)
    ended = fine(wfctl("run", "flow.yaml"))
    assert "results could not be kept" in ended.stderr
    assert ran(tmp_path).count("x") == 30
    assert ran(tmp_path)[-1] == "last"
    some = len(listed(wfctl))
    assert 0 < some < 30
    fine(wfctl("run", "flow.yaml"))
    assert 60 - 30 <= ran(tmp_path).count("x") < 60, "what could be kept is served"
    fine(wfctl("cache", "clear"))
    assert listed(wfctl) == [], "a full disk can be made room on"


def test_where_the_state_is_full_the_run_ends_and_goes_on_when_there_is_room(
    small_disk: Callable[[Path, str], None], flow: Flow, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    small_disk(tmp_path / ".wfctl", "1m")
    flow(MANY)
    ended = fine(wfctl("run", "flow.yaml"), 6)
    assert "free some space" in ended.stderr
    assert status()["state"] == "interrupted"
    assert ran(tmp_path).count("x") < 30
    subprocess.run(["mount", "-o", "remount,size=32m", str(tmp_path / ".wfctl")], check=True)
    fine(wfctl("resume", "last"))
    assert ran(tmp_path)[-1] == "last"
    again = sum(node["attempts"] > 1 for node in status()["nodes"].values())
    assert ran(tmp_path).count("x") == 30 + again, "only what was interrupted ran again"


# What it costs others


def test_other_verbs_load_nothing_of_it(flow: Flow, wfctl: Command, tmp_path: Path) -> None:
    import sys

    from tests.conftest import ROOT

    flow("nodes: {a: {run: 'true'}}")
    for words in (["run", "flow.yaml"], ["plan", "flow.yaml"], ["status"], ["runs"], ["--version"]):
        program = (
            "import sys; from wfctl.cli import main\n"
            f"sys.argv[1:] = {words!r}; main()\n"
            "print(sorted({'diskcache', 'sqlite3', 'wfctl.cache', 'wfctl.upkeep'} & set(sys.modules)), file=sys.stderr)"
        )
        env = {**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(tmp_path / ".wfctl")}
        ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert ended.stderr.splitlines()[-1] == "[]", words
