"""The cache: an aid that may be lost, damaged or planted at any moment, and never hurts."""

from __future__ import annotations

import os
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import wfctl
from wfctl.cache import Cache, Checkpoint

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
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple:
            return (trap.touch, ())

    pickled = pickle.dumps(Trap())
    (path / "planted.val").write_bytes(pickled)
    for mode in range(6):
        for value, filename in ((pickled, None), (None, "planted.val"), (pickled, "planted.val")):
            execute(path, "UPDATE Cache SET mode = ?, value = ?, filename = ?", mode, value, filename)
            assert cache.load_checkpoint("r") is None
    execute(path, "UPDATE Cache SET key = ?, raw = 0", pickled)
    assert cache.load_checkpoint("r") is None
    assert not trap.exists()

    pickle.loads(pickled)
    assert trap.exists(), "the trap of this test works"


@pytest.mark.parametrize("key", ["disk_fetch", "disk_min_file_size", "disk_put", "sqlite_mmap_size", "nonsense"])
def test_planted_settings_do_nothing(path: Path, key: str) -> None:
    opened(path).close()
    execute(path, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, 1_000_000)
    with closing(opened(path)) as cache:
        assert cache.save_checkpoint("r", 1, STATE, "")
        assert cache.load_checkpoint("r") == Checkpoint(1, "", STATE)
    assert dict(execute(path, "SELECT key, value FROM Settings"))["sqlite_mmap_size"] == 0


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


# Others


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
