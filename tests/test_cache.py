"""The cache: an aid that may be lost, damaged or planted at any moment, and never hurts."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import wfctl
from wfctl import cache as module
from wfctl.cache import Cache, Checkpoint, Kept, Shelved

STATE = {"nodes": {"load": {"state": "succeeded", "output": "ü \udcff"}}, "at": 1.5}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(path: Path) -> Cache:
    cache = Cache.open(path)
    assert cache is not None
    return cache


@pytest.fixture
def cache(path: Path) -> Iterator[Cache]:
    cache = opened(path)
    yield cache
    cache.close()


def execute(path: Path, statement: str, *values: object) -> list[tuple]:
    with closing(sqlite3.connect(path / "cache.db", isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


KEY, OTHER = "a" * 64, "b" * 64
FACTS: dict[str, Any] = {
    "workflow": "w", "node": "n", "run": "r1", "attempt": 1, "at": 100.0, "seconds": 1.5, "exit_code": 0,
    "parts": {"kind": "run"},
}  # fmt: skip
LARGE = {"text": "ü" * 40_000}


def kept(key: str = KEY, **more: Any) -> Kept:
    """A result of a small output that has written a file."""
    return Kept(key=key, **{**FACTS, "output": {"n": [1, None, "ü"]}, "writes": {"out/x": ["c" * 64, 420, 3]}, **more})


def failed(**more: Any) -> dict[str, Any]:
    """A failure as a run records it."""
    return {**FACTS, "exit_code": 1, "reason": "exit_code", "error": "", **more}


def sealed(text: str) -> str:
    """A value as the cache writes it, with the checksum of whoever plants it."""
    return f"{zlib.crc32(text.encode()):08x}{text}"


def listed(cache: Cache) -> list[Shelved]:
    found = cache.listing()
    assert found is not None
    return found


def loaded(path: Path, run: str = "r") -> Checkpoint | None:
    with closing(opened(path)) as cache:
        return cache.load_checkpoint(run)


# Checkpoints


def test_the_newest_checkpoint_of_a_run_is_loaded(cache: Cache, path: Path) -> None:
    for position in (1, 2, 3):
        assert cache.save_checkpoint("r", position, {**STATE, "n": position}, f"chain{position}")
    assert cache.save_checkpoint("other", 9, STATE, "chain9")
    assert cache.load_checkpoint("r") == loaded(path) == Checkpoint(3, "chain3", {**STATE, "n": 3})
    assert cache.load_checkpoint("unknown") is None


def test_after_a_restart_the_newest_is_not_the_one_that_is_replaced(path: Path) -> None:
    for position in (1, 2, 3, 4, 5):
        with closing(opened(path)) as cache:
            cache.load_checkpoint("r")
            cache.save_checkpoint("r", position, {}, "")
    execute(path, "UPDATE Cache SET value = 'x' WHERE value LIKE '%\"position\":5%'")
    assert loaded(path) == Checkpoint(4, "", {})


def test_a_forgotten_run_has_none(cache: Cache) -> None:
    cache.save_checkpoint("r", 1, STATE, "")
    cache.save_checkpoint("r", 2, STATE, "")
    cache.save_checkpoint("s", 1, STATE, "")
    cache.forget("r")
    assert cache.load_checkpoint("r") is None
    assert cache.load_checkpoint("s") == Checkpoint(1, "", STATE)


def test_what_is_no_plain_data_is_not_kept(cache: Cache) -> None:
    for value in (float("nan"), {1}, b"x"):
        assert not cache.save_checkpoint("r", 1, {"value": value}, "")
    assert cache.load_checkpoint("r") is None


def test_values_stay_in_the_row_whatever_their_size_and_nothing_is_evicted(cache: Cache, path: Path) -> None:
    for run in range(3):
        assert cache.save_checkpoint(f"r{run}", 1, {"large": "x" * 4_000_000}, "")
    assert os.listdir(path) == ["cache.db"]
    settings = dict(execute(path, "SELECT key, value FROM Settings"))
    assert settings["eviction_policy"] == "none"
    assert settings["cull_limit"] == settings["sqlite_mmap_size"] == 0
    assert (path / "cache.db").stat().st_mode & 0o777 == 0o600


# Planted and damaged


def test_a_planted_pickle_does_nothing(cache: Cache, path: Path, tmp_path: Path) -> None:
    """CVE-2025-69872: the library's own disks unpickle a row whose mode says so."""
    cache.save_checkpoint("r", 1, STATE, "")
    cache.keep([kept(), kept(OTHER, output=LARGE)], {"w/n": {"keys": [KEY]}})
    cache.fail(KEY, failed())
    cache.remember_digests({"in": [1, 2, 3]})
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple:
            return (trap.touch, ())

    pickled = pickle.dumps(Trap())
    (path / "planted.val").write_bytes(pickled)
    for mode in range(6):
        for value, filename in ((pickled, None), (None, "planted.val"), (pickled, "planted.val")):
            execute(path, "UPDATE Cache SET mode = ?, value = ?, filename = ?", mode, value, filename)
            assert nothing_of(cache)
    for raw, key in enumerate(execute(path, "SELECT key FROM Cache")):
        execute(path, "UPDATE Cache SET key = ?, raw = ? WHERE key = ?", pickled, raw + 2, *key)
    execute(path, "UPDATE Cache SET raw = 0 WHERE raw = 2")
    assert nothing_of(cache)
    assert cache.keep([kept()])
    cache.drop(listed(cache))
    cache.drop_notes(1e9)
    assert not trap.exists()

    pickle.loads(pickled)
    assert trap.exists(), "the trap of this test works"


def test_the_json_disk_of_the_library_would_not_do(path: Path, tmp_path: Path) -> None:
    """Why there is one of ours: it too unpickles a row whose mode says so, and looks for JSON in what comes of it."""
    import diskcache

    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple:
            return (trap.touch, ())

    with closing(diskcache.Cache(str(path), disk=diskcache.JSONDisk)) as theirs:
        theirs.set("key", {"n": 1})
        execute(path, "UPDATE Cache SET mode = ?, value = ?", diskcache.core.MODE_PICKLE, pickle.dumps(Trap()))
        with pytest.raises(TypeError):
            theirs.get("key")
    assert trap.exists()


def nothing_of(cache: Cache) -> bool:
    """Whether all that can be asked for is missing."""
    rows = [cache.result(KEY), cache.result(OTHER), cache.failure(KEY), cache.last("w/n"), cache.recall_digest("in")]
    return not any([*rows, cache.load_checkpoint("r"), cache.listing()])


def test_the_file_that_a_planted_row_names_is_not_removed(cache: Cache, path: Path, tmp_path: Path) -> None:
    """The library removes it when the row is changed or deleted, wherever it lies."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("../precious", str(precious)):
        cache.keep([kept(), kept(OTHER)])
        cache.fail(KEY, failed())
        cache.save_checkpoint("r", 1, STATE, "")
        execute(path, "UPDATE Cache SET filename = ?", name)
        cache.keep([kept()])
        execute(path, "UPDATE Cache SET filename = ?", name)
        cache.drop(listed(cache))
        cache.forget("r")
    assert precious.read_text() == "mine"


def test_a_folder_whose_name_looks_like_a_variable_is_that_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library would fill it in."""
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))
    folder = tmp_path / "$ELSEWHERE" / "cache"
    with closing(opened(folder)) as cache:
        assert cache.keep([kept()])
        assert cache.result(KEY) == kept()
    assert (folder / "cache.db").stat().st_size
    assert os.listdir(tmp_path) == ["$ELSEWHERE"]


def test_a_folder_whose_name_is_no_text_does_as_well(tmp_path: Path) -> None:
    with closing(opened(tmp_path / os.fsdecode(b"\xff#?%") / "cache")) as cache:
        assert cache.keep([kept()])
        cache.touch([KEY], 5.0)
        assert [one.used for one in listed(cache)] == [5.0]
        assert cache.drop(listed(cache))


@pytest.mark.parametrize(
    "key",
    [
        "disk_fetch", "disk_min_file_size", "disk_put", "sqlite_mmap_size", "nonsense", "_disk", "get", "set",
        "sqlite_query_only", "sqlite_locking_mode", "sqlite_max_page_count",
    ],
)  # fmt: skip
def test_planted_settings_do_nothing(path: Path, key: str) -> None:
    opened(path).close()
    execute(path, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, 1_000_000)
    with closing(opened(path)) as cache:
        assert cache.save_checkpoint("r", 1, STATE, "")
        assert cache.load_checkpoint("r") == Checkpoint(1, "", STATE)
        assert cache.keep([kept()])
        assert cache.result(KEY) == kept()
        assert execute(path, "SELECT count(*) FROM Cache") == [(2,)], "others can write too"
    assert dict(execute(path, "SELECT key, value FROM Settings"))["sqlite_mmap_size"] == 0


@pytest.mark.parametrize("key", ["_disk", "sqlite_mmap_size", "sqlite_query_only", b"no text"])
def test_settings_that_are_planted_while_it_is_open_do_nothing(path: Path, cache: Cache, key: object) -> None:
    cache.keep([kept()])
    execute(path, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, 1_000_000)
    cache.save_checkpoint("r", 1, {"x": float("nan")}, "")  # it connects anew after what went wrong
    os.truncate(path / "cache.db", 5000)
    assert cache.result(KEY) in (None, kept())
    cache.keep([kept()])
    cache.fail(KEY, failed())
    cache.close()
    with closing(opened(path)) as anew:
        assert anew.keep([kept()])


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER mine AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END",
        "CREATE VIEW mine AS SELECT * FROM Cache",
        "CREATE TABLE mine (x)",
        "ALTER TABLE Cache RENAME TO mine; CREATE VIEW Cache AS SELECT * FROM mine",
    ],
)
def test_a_database_in_which_others_have_a_say_is_set_aside(path: Path, statement: str) -> None:
    with closing(opened(path)) as cache:
        cache.keep([kept()])
    for part in statement.split(";") if "END" not in statement else [statement]:
        execute(path, part)
    with closing(opened(path)) as cache:
        assert cache.result(KEY) is None
        assert cache.keep([kept()])
        assert cache.result(KEY) == kept()
    assert path.with_name("cache.damaged").is_dir()


def test_a_value_with_any_byte_changed_is_a_miss(cache: Cache, path: Path) -> None:
    cache.save_checkpoint("r", 1, {"n": 1}, "")
    ((value,),) = execute(path, "SELECT CAST(value AS BLOB) FROM Cache")
    for place in range(len(value)):
        for bit in (0, 7):
            damaged = bytearray(value)
            damaged[place] ^= 1 << bit
            execute(path, "UPDATE Cache SET value = CAST(? AS TEXT)", bytes(damaged))
            assert cache.load_checkpoint("r") is None, (place, bit)
    execute(path, "UPDATE Cache SET value = CAST(? AS TEXT)", value)
    assert cache.load_checkpoint("r") == Checkpoint(1, "", {"n": 1})


def test_a_checkpoint_moved_to_another_run_is_a_miss(cache: Cache, path: Path) -> None:
    cache.save_checkpoint("r", 1, STATE, "")
    execute(path, "UPDATE Cache SET key = replace(key, '/r/', '/s/')")
    assert cache.load_checkpoint("s") is None


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_database_replaced_by_garbage_is_set_aside_and_begun_anew(path: Path, content: bytes) -> None:
    opened(path).close()
    (path / "cache.db").write_bytes(content)
    with closing(opened(path)) as cache:
        assert cache.load_checkpoint("r") is None
        assert cache.save_checkpoint("r", 1, STATE, "")
    assert loaded(path) == Checkpoint(1, "", STATE)
    assert (path.with_name("cache.damaged") / "cache.db").read_bytes() == content


def test_a_database_of_somebody_else_is_set_aside(path: Path) -> None:
    path.mkdir()
    execute(path, "CREATE TABLE Cache (mine TEXT)")
    with closing(opened(path)) as cache:
        assert cache.save_checkpoint("r", 1, STATE, "")
    assert path.with_name("cache.damaged").is_dir()


def test_cut_anywhere_it_is_the_old_one_or_a_new_one_and_works(path: Path) -> None:
    with closing(opened(path)) as cache:
        cache.save_checkpoint("r", 1, {"x": "x" * 9000}, "")
    whole = (path / "cache.db").read_bytes()
    for cut in range(0, len(whole), 1999):
        (path / "cache.db").write_bytes(whole[:cut])
        for _ in range(2):  # deeper damage shows in use: then the next one to open begins anew
            with closing(opened(path)) as cache:
                assert cache.load_checkpoint("r") in (None, Checkpoint(1, "", {"x": "x" * 9000}), Checkpoint(2, "", {}))
                cache.save_checkpoint("r", 2, {}, "")
        assert loaded(path) == Checkpoint(2, "", {}), cut


@pytest.mark.parametrize("harm", ["delete", "empty", "garbage"])
def test_harm_while_it_is_open_never_reaches_the_run(cache: Cache, path: Path, harm: str) -> None:
    cache.save_checkpoint("r", 1, STATE, "")
    for file in list(path.iterdir()):
        if harm == "delete":
            file.unlink()
        else:  # in place, as `: > file` does: fatal where the file is mapped
            os.truncate(file, 0)
            file.write_bytes(b"" if harm == "empty" else b"garbage" * 9999)
    for position in (2, 3):
        cache.save_checkpoint("r", position, STATE, "")
        cache.load_checkpoint("r")
    cache.forget("r")
    cache.close()
    with closing(opened(path)) as anew:
        assert anew.save_checkpoint("r", 9, STATE, "")
        assert anew.load_checkpoint("r") == Checkpoint(9, "", STATE)


# Results


@pytest.mark.parametrize("output", [None, False, 0, 1.5, "", "x" * 3000, [], LARGE, {"a": None}])
def test_what_is_kept_is_there_as_it_was(cache: Cache, path: Path, output: object) -> None:
    result = kept(output=output, blob="d" * 64, size=7, saved=True, exit_code=None)
    assert cache.keep([result, kept(OTHER)])
    assert cache.result(KEY) == result
    assert cache.result("c" * 64) is None
    with closing(opened(path)) as other:
        assert other.result(KEY) == result
    assert result.blobs == ["c" * 64, "d" * 64]
    assert kept().blobs == [], "files that are not saved"


def test_a_later_result_takes_the_place_of_the_one_before_with_its_output(cache: Cache, path: Path) -> None:
    for output in (LARGE, "small", LARGE | {"again": 1}, None):
        cache.keep([kept(output=output, at=200.0)])
        assert cache.result(KEY) == kept(output=output, at=200.0)
    assert execute(path, "SELECT key FROM Cache") == [(f"result/1/{KEY}",)], "no output is left behind"


@pytest.mark.parametrize("wrong", [float("nan"), {1}, b"x", {"deep": float("inf")}])
def test_all_of_one_call_is_kept_or_nothing(cache: Cache, wrong: object) -> None:
    cache.keep([kept()])
    cache.fail(OTHER, failed())
    assert not cache.keep([kept(run="r2"), kept(OTHER), kept("c" * 64, output=wrong)], {"w/n": {"keys": [KEY]}})
    assert (cache.result(KEY), cache.result(OTHER), cache.last("w/n")) == (kept(), None, None)
    assert cache.failure(OTHER) is not None
    assert cache.keep([kept(run="r2")], {"w/n": {"keys": [KEY]}}), "and it goes on"
    assert cache.last("w/n") == {"keys": [KEY]}


def test_a_failure_lies_beside_a_result_until_there_is_a_success(cache: Cache) -> None:
    cache.keep([kept()])
    assert cache.fail(KEY, failed(error="no"))
    assert cache.failure(KEY) == failed(error="no", key=KEY)
    assert cache.result(KEY) == kept()
    cache.keep([kept(run="r2")])
    assert cache.failure(KEY) is None


PLANTED: dict[str, Callable[[str], str]] = {
    "no JSON": lambda text: "{",
    "another sort": lambda text: "[1]",
    "nested without end": lambda text: "[" * 200_000,
    "of another key": lambda text: text.replace(KEY, OTHER),
    "a path for a hash": lambda text: text.replace("c" * 64, "../../x"),
    "a path for an output": lambda text: text.replace('"blob":""', '"blob":"../x"'),
    "a size below nothing": lambda text: text.replace('"size":0', '"size":-5'),
    "a time that is none": lambda text: text.replace('"at":100.0', '"at":NaN'),
    "a time without end": lambda text: text.replace('"at":100.0', '"at":1e999'),
    "a time that cannot be shown": lambda text: text.replace('"at":100.0', '"at":1e300'),
    "an output that is no number": lambda text: text.replace("null", "Infinity"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_no_run_would_have_kept_is_a_miss_and_goes(cache: Cache, path: Path, what: str) -> None:
    cache.keep([kept(), kept(OTHER)])
    ((text,),) = execute(path, "SELECT substr(value, 9) FROM Cache WHERE key = ?", f"result/1/{KEY}")
    assert PLANTED[what](text) != text
    execute(path, "UPDATE Cache SET value = ? WHERE key = ?", sealed(PLANTED[what](text)), f"result/1/{KEY}")
    assert cache.result(KEY) is None
    assert [one.key for one in listed(cache)] == [OTHER]
    cache.drop_notes(0.0)
    assert execute(path, "SELECT key FROM Cache") == [(f"result/1/{OTHER}",)]


@pytest.mark.parametrize("name", [*FACTS, "writes", "saved"])
def test_a_field_of_another_type_is_a_miss(cache: Cache, path: Path, name: str) -> None:
    wrong: dict[str, Any] = {name: ["x"]}
    cache.keep([replace(kept(), **wrong)])
    cache.fail(KEY, failed(**{name: ["x"]}))
    assert cache.result(KEY) is None
    assert (cache.failure(KEY) is None) == (name not in ("writes", "saved"))


@pytest.mark.parametrize("value", [None, 5, b"bytes", b"\xff\xfe", 1.5])
def test_one_row_that_is_no_text_hides_no_other(cache: Cache, path: Path, value: object) -> None:
    cache.keep([kept(), kept(OTHER)])
    for cast in ("?", "CAST(? AS TEXT)"):
        execute(path, f"UPDATE Cache SET value = {cast} WHERE key = ?", value, f"result/1/{KEY}")
        assert cache.result(KEY) is None
        assert [one.key for one in listed(cache)] == [OTHER]


def test_a_row_that_was_moved_to_another_key_is_a_miss(cache: Cache, path: Path) -> None:
    cache.keep([kept(output=LARGE)])
    cache.fail(KEY, failed())
    execute(path, "UPDATE Cache SET key = replace(key, ?, ?)", KEY, OTHER)
    assert (cache.result(OTHER), cache.failure(OTHER)) == (None, None)
    assert listed(cache) == []


@pytest.mark.parametrize("harm", ["DELETE FROM Cache", "UPDATE Cache SET value = 'x'", "UPDATE Cache SET mode = 4"])
def test_without_its_output_there_is_no_result(cache: Cache, path: Path, harm: str) -> None:
    cache.keep([kept(output=LARGE)])
    execute(path, f"{harm} WHERE key LIKE 'output/%'")
    assert cache.result(KEY) is None


@pytest.mark.parametrize("other", [kept(OTHER, output="x" * 9000), kept(output="x" * 9000, run="r0", at=50.0)])
def test_an_output_of_another_success_is_not_taken_for_it(cache: Cache, path: Path, other: Kept) -> None:
    cache.keep([other])
    ((value,),) = execute(path, "SELECT value FROM Cache WHERE key LIKE 'output/%'")
    cache.keep([kept(output=LARGE)])
    execute(path, "UPDATE Cache SET value = ? WHERE key = ?", value, f"output/1/{KEY}")
    assert cache.result(KEY) is None


def test_listed_is_what_is_there_with_its_size_the_last_used_first(cache: Cache, path: Path) -> None:
    cache.keep([kept(), kept(OTHER, output=LARGE, size=1_000_000)])
    cache.fail("c" * 64, failed())
    cache.touch([OTHER], 2e9)
    cache.touch([KEY, "unknown"], 1e9)
    execute(path, "UPDATE Cache SET access_time = 1.5e9 WHERE key LIKE 'failure/%'")
    shown = listed(cache)
    assert [(one.key, one.used) for one in shown] == [(OTHER, 2e9), ("c" * 64, 1.5e9), (KEY, 1e9)]
    assert shown[0].kept == kept(OTHER, output=None, size=1_000_000), "outputs with a row of their own are not read"
    assert shown[0].bytes > 1_000_000 + 40_000 > 1000 > shown[2].bytes > 100
    assert (shown[1].kept, shown[1].failure) == (None, failed(key="c" * 64))
    assert cache.used([KEY, OTHER, "unknown"]) == {KEY: 1e9, OTHER: 2e9}


def test_to_list_reads_no_large_output(cache: Cache, path: Path) -> None:
    cache.keep([kept(output=LARGE)])
    execute(path, "UPDATE Cache SET value = zeroblob(100000000), size = 100000000 WHERE key LIKE 'output/%'")
    code = (
        "import resource, sys; from pathlib import Path; from wfctl.cache import Cache\n"
        "c = Cache.open(Path(sys.argv[1])); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "[one] = c.listing(); print(one.bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    size, grown = map(int, subprocess.run([sys.executable, "-c", code, path], env=ENV, **TEXT).stdout.split())
    assert size > 100_000_000
    assert grown < 20_000, "kilobytes"


def test_others_can_write_while_it_is_listed_and_cleared_up(
    cache: Cache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.keep([kept(f"{i:064x}") for i in range(20)])
    monkeypatch.setattr(module, "_PAGE", 3)
    shelved, written = module._shelved, 0

    def looked_at(*facts: Any) -> Shelved | None:
        nonlocal written
        with closing(sqlite3.connect(path / "cache.db", timeout=0, isolation_level=None)) as other:
            written += other.execute("UPDATE Cache SET access_count = access_count + 1").rowcount
        return shelved(*facts)

    monkeypatch.setattr(module, "_shelved", looked_at)
    assert len(listed(cache)) == 20
    cache.drop_notes(0.0)
    assert written == 2 * 20 * 20


def test_dropped_is_what_was_listed_and_has_not_been_made_or_used_since(cache: Cache) -> None:
    keys = [f"{i:064x}" for i in range(1203)]
    cache.keep([kept(key, output=LARGE if key in keys[:3] else 1) for key in keys])
    cache.fail(keys[5], failed())
    rows = listed(cache)
    cache.touch(keys[:1], 1e9)
    cache.keep([kept(keys[1], run="r2", output=LARGE)])
    gone = cache.drop(rows)
    assert {(one.key, one.kept is None) for one in rows} - {(one.key, one.kept is None) for one in gone} == {
        (keys[0], False), (keys[1], False)
    }  # fmt: skip
    assert {one.key for one in listed(cache)} == set(keys[:2])
    assert cache.result(keys[0]) == kept(keys[0], output=LARGE)
    assert cache.result(keys[1]) == kept(keys[1], run="r2", output=LARGE)


def test_what_a_node_had_last_stays_while_one_of_its_results_does(cache: Cache, path: Path) -> None:
    cache.keep([kept()], {"w/served": {"keys": [OTHER, KEY]}, "w/gone": {"keys": [OTHER]}, "w/wrong": {"keys": 1}})
    execute(path, "UPDATE Cache SET store_time = 5")
    cache.drop_notes(10.0, {KEY})
    assert [cache.last(f"w/{node}") for node in ("served", "gone", "wrong")] == [{"keys": [OTHER, KEY]}, None, None]


def test_notes_go_when_they_are_old_and_what_nobody_can_use_at_once(cache: Cache, path: Path) -> None:
    cache.keep([kept(output=LARGE)], {"w/n": {"keys": [KEY]}, "w/old": {"keys": []}})
    cache.remember_digests({"in": [1], "old": [2], "\udcff": [3]})
    cache.save_checkpoint("r", 1, STATE, "")
    execute(path, "UPDATE Cache SET store_time = 5 WHERE key LIKE '%old'")
    for key, raw in (("result/0/x", 1), ("nonsense", 1), (f"output/1/{OTHER}", 1), (f"result/1/{OTHER}", 0)):
        execute(path, "INSERT INTO Cache (key, raw, mode, value, store_time) VALUES (?, ?, 3, 'x', 9e9)", key, raw)
    cache.drop_notes(10.0)
    assert {key for (key,) in execute(path, "SELECT key FROM Cache")} == {
        f"result/1/{KEY}", f"output/1/{KEY}", "last/1/w/n", "digest/1/in", "checkpoint/1/r/0"
    }  # fmt: skip


def test_the_file_shrinks_when_outputs_are_dropped(cache: Cache, path: Path) -> None:
    file = path / "cache.db"
    empty = file.stat().st_size
    cache.keep([kept(f"{i:064x}", output="x" * 50_000) for i in range(40)])
    assert file.stat().st_size > 2_000_000
    assert len(cache.drop(listed(cache))) == 40
    assert file.stat().st_size < empty + 50_000


# Lost and damaged while it is open


def _replace(path: Path, content: bytes) -> None:
    (path / "new").write_bytes(content)
    os.rename(path / "new", path / "cache.db")


def _of_somebody(path: Path) -> None:
    (path / "cache.db").unlink()
    execute(path, "CREATE TABLE Cache (mine TEXT)")


def _without(path: Path, folder: bool) -> None:
    """A folder in place of the database, or nothing at all."""
    (path / "cache.db").unlink()
    if folder:
        (path / "cache.db").mkdir()
    else:
        path.rmdir()


HARMS: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: (path / "cache.db").unlink(),
    "folder deleted": lambda path: _without(path, folder=False),
    "emptied": lambda path: os.truncate(path / "cache.db", 0),
    "truncated to a page": lambda path: os.truncate(path / "cache.db", 4096),
    "truncated in a page": lambda path: os.truncate(path / "cache.db", 9000),
    "garbage in place": lambda path: (path / "cache.db").write_bytes(b"garbage" * 9999),
    "garbage within": lambda path: os.pwrite(os.open(path / "cache.db", os.O_WRONLY), b"\xff" * 30_000, 4096),
    "garbage instead": lambda path: _replace(path, b"garbage" * 9999),
    "of somebody else": _of_somebody,
    "a folder instead": lambda path: _without(path, folder=True),
}


@pytest.mark.parametrize("harm", HARMS)
def test_whatever_happens_to_an_open_database_is_a_miss_and_the_next_is_a_good_one(
    cache: Cache, path: Path, harm: str
) -> None:
    keys = [f"{i:064x}" for i in range(50)]
    cache.keep([kept(key, output="x" * 5000) for key in keys], {"w/n": {"keys": keys}})
    HARMS[harm](path)
    for _ in range(2):
        for key in keys:
            assert cache.result(key) in (None, kept(key, output="x" * 5000))
        assert (cache.failure("none"), cache.recall_digest("none")) == (None, None)
        assert cache.last("w/n") in (None, {"keys": keys})
        assert cache.used(keys) is not None
        cache.drop([one for one in cache.listing() or () if one.key == keys[0]])
        cache.touch(keys, 1e9)
        cache.drop_notes(0.0)
        cache.remember_digests({"in": [1]})
        cache.fail(KEY, failed())
        if cache.keep([kept()]):
            assert cache.result(KEY) == kept(), "what is said to be kept is there"
    cache.close()
    if harm == "a folder instead":  # nothing of ours
        (path / "cache.db").rmdir()
    with closing(opened(path)) as anew:  # deeper damage shows in use
        anew.keep([kept(run="r2")])
    with closing(opened(path)) as anew:
        assert anew.keep([kept(run="r2")])
    with closing(opened(path)) as anew:
        assert anew.result(KEY) == kept(run="r2")
    assert (path / "cache.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("harm", ["deleted", "folder deleted", "emptied", "garbage in place", "garbage instead"])
def test_after_its_loss_the_same_run_goes_on_keeping(cache: Cache, path: Path, harm: str) -> None:
    cache.keep([kept(OTHER)])
    HARMS[harm](path)
    assert cache.keep([kept()]), "begun anew at once"
    with closing(opened(path)) as other:
        assert (other.result(KEY), other.result(OTHER)) == (kept(), None)


# Others


ENV = {**os.environ, "PYTHONPATH": str(Path(wfctl.__file__).parents[1])}
TEXT: Any = {"check": True, "capture_output": True, "text": True}

KEEPING = """
import sys
from pathlib import Path
from wfctl.cache import Cache, Kept
cache = Cache.open(Path(sys.argv[1]))
for turn in range(int(sys.argv[3])):
    results = [
        Kept(key=f"{sys.argv[2]}{turn:06}{i:057}", workflow="w", node="n", run="r", attempt=1, at=1.0, seconds=1.0,
             exit_code=0, output="x" * 5000 * i, parts={}, writes={})
        for i in range(5)
    ]
    kept = cache.keep(results, {f"w/{sys.argv[2]}": {"keys": [str(turn)]}})
    print(turn if kept else -1, flush=True)
"""


def keeping(path: Path, letter: str, turns: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", KEEPING, str(path), letter, str(turns)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=ENV)


def turns_of(path: Path, letter: str) -> dict[int, int]:
    """How much of each turn can be served."""
    with closing(opened(path)) as cache:
        found: dict[int, int] = {}
        for one in listed(cache):
            if one.key[0] == letter and cache.result(one.key) is not None:
                turn = int(one.key[1:7])
                found[turn] = found.get(turn, 0) + 1
        return found


def test_two_processes_keep_at_once_and_all_that_they_said_is_kept_is_there(path: Path) -> None:
    children = {letter: keeping(path, letter, 40) for letter in "ef"}
    for letter, child in children.items():
        said = {int(line) for line in child.communicate()[0].split()} - {-1}
        assert said
        assert turns_of(path, letter) == dict.fromkeys(said, 5)
    assert not path.with_name("cache.damaged").exists()


@pytest.mark.parametrize("after", [1, 2, 3, 5, 8, 13])
def test_who_is_killed_leaves_each_call_whole_or_not_there(path: Path, after: int) -> None:
    with keeping(path, "e", 100_000) as child:
        assert child.stdout
        for _ in range(after):
            child.stdout.readline()
        # Somewhere in what it does then: wherever that is, the database may not mind.
        for _ in range(after * 997):
            pass
        child.send_signal(signal.SIGKILL)
        said = set(range(after)) | {int(line) for line in child.stdout.read().split()}
    found = turns_of(path, "e")
    assert said <= found.keys(), "what was said to be kept is there"
    assert set(found.values()) == {5}
    assert not path.with_name("cache.damaged").exists()


@pytest.mark.parametrize("statement", ["INSERT", "UPDATE", "COMMIT"])
def test_who_is_killed_within_a_statement_leaves_what_was_there_before(path: Path, statement: str) -> None:
    with closing(opened(path)) as cache:
        cache.keep([kept(), kept(OTHER, output=LARGE)])
    code = (
        "import os, sqlite3, sys; from pathlib import Path; from dataclasses import replace\n"
        "from wfctl.cache import Cache\n"
        "c = Cache.open(Path(sys.argv[1])); con = c._database._con; con.execute('PRAGMA cache_size = 5')\n"
        "con.set_trace_callback(lambda s: s.startswith(sys.argv[2]) and os.kill(os.getpid(), 9))\n"
        "old = [c.result(k * 64) for k in 'ab']\n"
        "new = [replace(old[0], key=f'{i:064x}', output='y' * 50_000) for i in range(9)]\n"
        "c.keep([*new, *(replace(one, output='y' * 50_000) for one in old)])"
    )
    ended = subprocess.run([sys.executable, "-c", code, path, statement], env=ENV)
    assert ended.returncode == -9
    with closing(opened(path)) as cache:
        assert (cache.result(KEY), cache.result(OTHER)) == (kept(), kept(OTHER, output=LARGE))
        assert len(listed(cache)) == 2
        assert cache.keep([kept(run="r2")])


def test_two_processes_use_it_at_once(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from wfctl.cache import Cache\n"
        "c = Cache.open(Path(sys.argv[1])); run = sys.argv[2]\n"
        "kept = [n for n in range(1, 41) if c.save_checkpoint(run, n, {'n': n}, '')]\n"
        "print(kept[-1], c.load_checkpoint(run).state['n'])"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(wfctl.__file__).parents[1])}
    children = [
        subprocess.Popen([sys.executable, "-c", code, path, run], stdout=subprocess.PIPE, text=True, env=env)
        for run in ("r", "s")
    ]
    # Where the other holds it too long, one may not be kept, and says so.
    for child, run in zip(children, ("r", "s"), strict=True):
        last, found = map(int, child.communicate()[0].split())
        assert last == found
        assert loaded(path, run) == Checkpoint(last, "", {"n": last})
    assert not path.with_name("cache.damaged").exists()


def test_a_database_that_another_has_locked_costs_a_moment_and_no_run(cache: Cache, path: Path) -> None:
    cache.save_checkpoint("r", 1, STATE, "")
    with closing(sqlite3.connect(path / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert not cache.save_checkpoint("r", 2, STATE, "")
        assert cache.load_checkpoint("r") is None
        assert Cache.open(path) is None
    assert cache.save_checkpoint("r", 3, STATE, "")
    assert cache.load_checkpoint("r") == Checkpoint(3, "", STATE)
    assert not path.with_name("cache.damaged").exists()


def test_a_full_disk_keeps_what_was_there_and_no_lock(path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from wfctl.cache import Cache\n"
        "c = Cache.open(Path(sys.argv[1])); print(c.save_checkpoint('r', 1, {}, ''))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))\n"
        "print(c.save_checkpoint('r', 2, {'x': 'x' * 200_000}, ''), c.load_checkpoint('r').position, flush=True)\n"
        "input()"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(wfctl.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as child:
        assert child.stdout
        assert [child.stdout.readline(), child.stdout.readline()] == ["True\n", "False 1\n"]
        with closing(opened(path)) as cache:
            assert cache.save_checkpoint("r", 3, STATE, "")
        child.kill()
    assert loaded(path) == Checkpoint(3, "", STATE)


def test_where_there_can_be_none_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Cache.open(tmp_path / "file") is None
    assert Cache.open(tmp_path / "file" / "cache") is None
