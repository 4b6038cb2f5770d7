"""The cache is kept small: what goes, in which order, and what never does."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from wfctl import upkeep
from wfctl.blobs import Blobs
from wfctl.cache import Cache, Kept
from wfctl.errors import UsageError
from wfctl.journal import Lock
from wfctl.store import RunFolder, Store

NOW = 1_800_000_000.0
DAY = 86_400.0
ALL = 1 << 40


class Kitchen:
    """A state folder and a machine's folder, into which results are put as runs do."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / ".wfctl")
        self.store.prepare()
        self.machine = folder / "home" / "wfctl"
        self.environ: Mapping[str, str] = {"XDG_CACHE_HOME": str(folder / "home")}

    def folder(self, scope: str) -> Path:
        if scope == "machine":
            assert upkeep.machine_folder(self.environ) == self.machine
            return self.machine
        return self.store.path

    def keep(
        self, name: str, used: float = NOW, *, scope: str = "workflow", files: Mapping[str, str] = {}, **more: Any
    ) -> str:
        """A result that was used last then, with saved files of that content; its key."""
        key = name.encode().hex().ljust(64, "0")
        folder = self.folder(scope)
        writes, size = {}, 0
        for path, content in files.items():
            source = folder.parent / "source"
            source.write_text(content)
            digest, count = Blobs(folder / "blobs").put(str(source))
            self.age(folder / f"blobs/{digest[:2]}/{digest}", used)
            writes[path], size = [digest, 0o644, count], size + count
        facts: dict[str, Any] = {"workflow": "w", "node": name, "run": "r", "attempt": 1, "at": used, "seconds": 1.0}
        facts |= {"exit_code": 0, "parts": {}, "writes": writes, "size": size, "saved": bool(files), **more}
        cache = Cache.open(folder / "cache")
        assert cache is not None
        assert cache.keep([Kept(key=key, **facts)])
        cache.touch([key], used)
        cache.close()
        return key

    def fail(self, name: str, used: float = NOW) -> None:
        facts = {"workflow": "w", "node": name, "run": "r", "attempt": 1, "at": 1.0, "seconds": 1.0, "exit_code": 1}
        cache = Cache.open(self.store.cache)
        assert cache is not None
        assert cache.fail(name.encode().hex().ljust(64, "0"), {**facts, "reason": "", "error": "", "parts": {}})
        cache.close()
        self.execute("UPDATE Cache SET access_time = ? WHERE key LIKE 'failure/%'", used)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.store.cache / "cache.db", isolation_level=None)) as connection:
            return connection.execute(statement, values).fetchall()

    def prune(self, size: int = ALL, age: float = 1e9, **more: Any) -> upkeep.Gone:
        return upkeep.prune(self.store, self.environ, NOW, size=size, age=age, **more)

    def there(self) -> list[str]:
        """The nodes whose results are there, that used last first."""
        return [one.kept.node if one.kept else "!" for _, one in upkeep.listing(self.store, self.environ)]

    def blobs(self, scope: str = "workflow") -> list[Path]:
        return sorted(path for path in (self.folder(scope) / "blobs").glob("*/*"))

    def age(self, path: Path, mtime: float) -> None:
        os.utime(path, (mtime, mtime))

    def begin(self, run: str, *keys: str) -> Lock:
        """A run that goes on, and has begun to work on these keys."""
        folder = self.store.path / "runs" / run
        folder.mkdir(parents=True)
        lines = "".join(f'{{"event":"node_served","node":"n","key":"{key}"}}\n' for key in keys)
        (folder / "journal.jsonl").write_text(lines)
        self.store.live.mkdir(exist_ok=True)
        (self.store.live / run).write_text("")
        return Lock.take(RunFolder(run, folder))


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


# What goes


def test_what_was_not_used_for_long_goes(kitchen: Kitchen) -> None:
    kitchen.keep("old", NOW - 31 * DAY)
    kitchen.keep("used", NOW - 29 * DAY, at=NOW - 100 * DAY)
    gone = kitchen.prune(age=upkeep.AGE)
    assert [(scope, one.kept and one.kept.node) for scope, one in gone.results] == [("workflow", "old")]
    assert kitchen.there() == ["used"]


def test_what_is_too_much_goes_strictly_by_its_last_use(kitchen: Kitchen) -> None:
    for i, size in enumerate([10, 10, 5000, 10, 10]):
        kitchen.keep(f"n{i}", NOW - i * DAY, output="x" * size)
    kitchen.prune(size=3000)
    assert kitchen.there() == ["n0", "n1"], "not the small ones behind the large one: they were used before it"


def test_the_sizes_of_saved_files_count(kitchen: Kitchen) -> None:
    for i in range(4):
        kitchen.keep(f"n{i}", NOW - i * DAY, files={"x": str(i) * 100_000})
    gone = kitchen.prune(size=250_000)
    assert kitchen.there() == ["n0", "n1"]
    assert len(kitchen.blobs()) == 2
    assert 200_000 < gone.bytes < 205_000, "each byte once"


def test_failures_go_as_results_do(kitchen: Kitchen) -> None:
    kitchen.fail("f")
    kitchen.keep("n")
    assert len(kitchen.prune(size=0).results) == 2
    assert kitchen.there() == []


def test_a_failure_and_a_result_of_one_key_are_told_apart(kitchen: Kitchen) -> None:
    kitchen.keep("n", NOW - 40 * DAY)
    kitchen.fail("n")  # just now
    kitchen.prune(age=30 * DAY)
    assert kitchen.there() == ["!"]


def test_all_goes_when_nothing_may_stay_even_what_comes_from_the_future(kitchen: Kitchen) -> None:
    for name, used in (("a", NOW - DAY), ("b", NOW), ("c", NOW + 400 * DAY)):
        kitchen.keep(name, used)
    kitchen.prune(size=0, age=0.0)
    assert kitchen.there() == []


def test_the_database_gives_its_room_back(kitchen: Kitchen) -> None:
    for i in range(40):
        kitchen.keep(f"n{i}", output="x" * 50_000)
    file = kitchen.store.cache / "cache.db"
    assert file.stat().st_size > 2_000_000
    kitchen.prune(size=0)
    assert file.stat().st_size < 200_000


# What stays


def test_what_a_live_run_has_made_or_used_stays_however_old_and_large(kitchen: Kitchen) -> None:
    served = kitchen.keep("served", NOW - 90 * DAY, files={"x": "x" * 10_000})
    kitchen.keep("other", NOW - DAY)
    lock = kitchen.begin("20270115-080000-abc", served, "f" * 64)
    gone = kitchen.prune(size=0, age=0.0)
    assert (kitchen.there(), gone.live, len(kitchen.blobs())) == (["served"], 1, 1)
    lock.close()
    assert kitchen.prune(size=0, age=0.0).live == 0
    assert (kitchen.there(), kitchen.blobs()) == ([], [])


def test_a_run_that_is_dead_protects_nothing(kitchen: Kitchen) -> None:
    kitchen.begin("20270115-080000-abc", kitchen.keep("n", NOW - 90 * DAY)).close()
    kitchen.prune(age=upkeep.AGE)
    assert kitchen.there() == []


def test_what_is_used_while_it_is_looked_stays(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    key = kitchen.keep("n", NOW - 90 * DAY, files={"x": "x" * 10_000})
    kitchen.keep("m", NOW - 90 * DAY)
    looked = upkeep.live_keys

    def meanwhile(store: Store, over: str) -> set[str]:
        cache = Cache.open(store.cache)
        assert cache is not None
        cache.touch([key], NOW)
        cache.close()
        return looked(store, over)

    monkeypatch.setattr(upkeep, "live_keys", meanwhile)
    gone = kitchen.prune(age=upkeep.AGE)
    assert [one.kept and one.kept.node for _, one in gone.results] == ["m"]
    assert (kitchen.there(), len(kitchen.blobs())) == (["n"], 1)


def test_a_saved_file_that_nothing_needs_goes_an_hour_after_it_was_put(kitchen: Kitchen) -> None:
    kitchen.keep("n")
    kitchen.keep("orphans", files={"young": "1", "old": "2" * 5000, "linked": "3"})
    young, old, linked = sorted(kitchen.blobs(), key=lambda path: path.read_bytes())
    kitchen.age(young, NOW - 3590)
    for path in (old, linked):
        kitchen.age(path, NOW - 3610)
    os.link(linked, kitchen.store.path / "of a run")
    cache = Cache.open(kitchen.store.cache)
    assert cache is not None
    cache.drop([one for one in cache.listing() or () if one.kept and one.kept.node == "orphans"])
    cache.close()
    assert kitchen.prune(dry_run=True).bytes == 5000
    assert kitchen.prune().bytes == 5000
    assert set(kitchen.blobs()) == {young, linked}


def test_a_saved_file_of_a_result_that_stays_stays(kitchen: Kitchen) -> None:
    kitchen.keep("gone", NOW - 40 * DAY, files={"x": "shared", "y": "alone"})
    kitchen.keep("stays", NOW - DAY, files={"z": "shared"})
    kitchen.prune(age=30 * DAY)
    assert [path.read_text() for path in kitchen.blobs()] == ["shared"]


@pytest.mark.parametrize("what", ["locked", "unreadable"])
def test_while_it_is_not_known_what_is_kept_nothing_goes(kitchen: Kitchen, what: str) -> None:
    kitchen.keep("n", NOW - 90 * DAY, files={"x": "x"})
    file = kitchen.store.cache / "cache.db"
    other = sqlite3.connect(file, isolation_level=None)
    if what == "locked":
        other.execute("BEGIN EXCLUSIVE")
    else:
        file.rename(file.with_name("aside"))
        file.mkdir()
    gone = kitchen.prune(size=0)
    other.close()
    assert (gone.results, gone.bytes, len(kitchen.blobs())) == ([], 0, 1)


def test_a_dry_run_says_the_same_and_changes_nothing(kitchen: Kitchen) -> None:
    for i in range(4):
        kitchen.keep(f"n{i}", NOW - i * DAY, files={"x": str(i) * 1000})
    kitchen.fail("f")
    before = kitchen.execute("SELECT * FROM Cache"), kitchen.blobs(), os.listdir(kitchen.store.cache)
    would = kitchen.prune(size=3000, dry_run=True)
    assert (kitchen.execute("SELECT * FROM Cache"), kitchen.blobs(), os.listdir(kitchen.store.cache)) == before
    assert kitchen.prune(size=3000) == would
    assert len(would.results) > 1


# The machine's


def test_what_the_machine_shares_is_pruned_and_listed_too(kitchen: Kitchen) -> None:
    kitchen.keep("ours", NOW - 90 * DAY)
    kitchen.keep("all", NOW - 90 * DAY, scope="machine", files={"x": "1"})
    assert {scope for scope, _ in upkeep.listing(kitchen.store, kitchen.environ)} == {"workflow", "machine"}
    assert len(kitchen.prune(age=upkeep.AGE).results) == 2
    assert (kitchen.there(), kitchen.blobs("machine")) == ([], [])


def test_of_what_the_machine_shares_that_of_the_last_hour_stays(kitchen: Kitchen) -> None:
    for name, used in (("a", NOW - 3000), ("b", NOW - 4000), ("future", NOW + DAY)):
        kitchen.keep(name, used, scope="machine")
    assert kitchen.prune(size=0).live == 1
    assert kitchen.there() == ["a"]


def test_the_machine_s_folder_is_ours_alone_or_none(tmp_path: Path) -> None:
    def folder(name: str) -> Path | None:
        return upkeep.machine_folder({"XDG_CACHE_HOME": str(tmp_path / name)})

    assert folder("new") == tmp_path / "new/wfctl"
    assert (tmp_path / "new/wfctl").stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o702):
        (tmp_path / "new/wfctl").chmod(mode)
        assert folder("new") is None, oct(mode)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/wfctl").symlink_to(tmp_path)
    assert folder("linked") is None
    (tmp_path / "file").mkdir()
    (tmp_path / "file/wfctl").write_text("")
    assert folder("file") is None
    assert upkeep.machine_folder({"XDG_CACHE_HOME": "relative"}) is None
    assert upkeep.machine_folder({}) is None
    assert upkeep.machine_folder({"HOME": str(tmp_path)}) == tmp_path / ".cache/wfctl"


# Links


def test_a_cache_that_lies_elsewhere_is_used_there(kitchen: Kitchen, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    kitchen.store.cache.symlink_to(tmp_path / "elsewhere")
    kitchen.keep("n", NOW - 90 * DAY)
    assert kitchen.there() == ["n"]
    kitchen.prune(age=upkeep.AGE)
    assert (kitchen.there(), kitchen.store.cache.is_symlink()) == ([], True)


def test_behind_a_link_in_place_of_the_saved_files_nothing_goes(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.keep("n", NOW - 90 * DAY, files={"x": "x"})
    (kitchen.store.path / "blobs").rename(tmp_path / "others")
    (kitchen.store.path / "blobs").symlink_to(tmp_path / "others")
    kitchen.prune(age=upkeep.AGE)
    assert (kitchen.there(), len(kitchen.blobs())) == ([], 1)


# When


def test_at_the_end_of_a_run_it_is_looked_once_a_day_or_when_it_may_be_too_much(kitchen: Kitchen) -> None:
    def tidied(now: float, kept: int, size: int = 10**9) -> bool:
        kitchen.keep("n", NOW - 90 * DAY)
        upkeep.tidy(kitchen.store, {**kitchen.environ, "WFCTL_CACHE_SIZE": str(size)}, now, kept)
        return kitchen.there() == []

    assert tidied(NOW, 1), "nobody has looked yet"
    assert not tidied(NOW + DAY - 10, 1)
    assert tidied(NOW + DAY + 10, 1)
    for _ in range(9):  # one by one they are little
        assert not tidied(NOW + DAY + 20, 10**8)
    assert tidied(NOW + DAY + 20, 2 * 10**8)
    assert tidied(NOW + DAY + 30, 2000, size=1000), "the limit is another"
    assert tidied(NOW - 9 * DAY, 1), "the mark is from the future: a clock was put right"
    (kitchen.store.cache / "tidied").write_text("damaged")
    assert tidied(NOW - 9 * DAY, 1)


def test_what_the_database_has_grown_by_counts_whatever_is_said_to_be_kept(kitchen: Kitchen) -> None:
    environ = {**kitchen.environ, "WFCTL_CACHE_SIZE": "1MiB"}
    for number in range(60):
        kitchen.keep(f"n{number:02}", NOW + number, output="x" * 50_000)
        upkeep.tidy(kitchen.store, environ, NOW + number, 1)
        assert len(kitchen.there()) <= 21
    assert kitchen.there()[0] == "n59"
    assert (kitchen.store.cache / "cache.db").stat().st_size < 1.3 * 2**20


def test_a_full_cache_is_not_looked_through_at_the_end_of_each_run(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {**kitchen.environ, "WFCTL_CACHE_SIZE": "1MiB"}
    looks: list[float] = []
    prune = upkeep.prune

    def looked(store: Store, environ: Mapping[str, str], now: float, **more: Any) -> upkeep.Gone:
        looks.append(now)
        return prune(store, environ, now, **more)

    monkeypatch.setattr(upkeep, "prune", looked)
    for number in range(200):
        kitchen.keep(f"n{number:03}", NOW + number, output="x" * 10_000)
        upkeep.tidy(kitchen.store, environ, NOW + number, 4096)
    assert 5 < len(looks) < 40
    assert 80 <= len(kitchen.there()) <= 105


def test_a_run_that_is_over_protects_nothing_though_its_lock_is_held(kitchen: Kitchen) -> None:
    keys = [kitchen.keep(name, NOW) for name in "ab"]
    locks = [kitchen.begin(run, key) for run, key in zip(("over", "live"), keys, strict=True)]
    upkeep.tidy(kitchen.store, {**kitchen.environ, "WFCTL_CACHE_SIZE": "0"}, NOW, 1, over="over")
    assert kitchen.there() == ["b"]
    for lock in locks:
        lock.close()


def test_a_saved_file_that_several_results_have_counts_once(kitchen: Kitchen) -> None:
    for number in range(10):
        kitchen.keep(f"n{number}", NOW - number, files={"x": "x" * 100_000, f"y{number % 2}": "x" * 100_000})
    assert kitchen.prune(size=200_000).results == []
    assert len(kitchen.prune(size=100_000 + 3_000).results) in range(1, 10)


def test_when_the_database_alone_is_too_large_it_is_looked_at_once(kitchen: Kitchen) -> None:
    environ = {**kitchen.environ, "WFCTL_CACHE_SIZE": "500KB"}
    upkeep.tidy(kitchen.store, environ, NOW, 1)
    for i in range(12):
        kitchen.keep(f"n{i}", NOW - i, output="x" * 50_000)  # a run says less of outputs than they take
    upkeep.tidy(kitchen.store, environ, NOW, 1)
    assert len(kitchen.there()) == 8, "with some room for the next"
    assert (kitchen.store.cache / "cache.db").stat().st_size < 525_000, "it is not looked again for nothing"


def test_to_see_that_nothing_is_due_opens_nothing(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen.keep("n")
    upkeep.tidy(kitchen.store, kitchen.environ, NOW, 1)
    monkeypatch.setattr(Cache, "open", lambda path: pytest.fail("opened"))
    upkeep.tidy(kitchen.store, kitchen.environ, NOW, 1)


@pytest.mark.parametrize("harm", ["deleted", "a file", "unwritable value"])
def test_what_cannot_be_tidied_stays_and_hurts_nobody(kitchen: Kitchen, harm: str) -> None:
    environ = dict(kitchen.environ)
    if harm == "a file":
        kitchen.store.cache.write_text("")
    elif harm == "unwritable value":
        kitchen.keep("n")
        environ["WFCTL_CACHE_SIZE"] = "much"
    upkeep.tidy(kitchen.store, environ, NOW, upkeep.SIZE)


def test_limits_come_from_the_environment() -> None:
    assert upkeep.limits({}) == upkeep.limits({"WFCTL_CACHE_SIZE": "", "WFCTL_CACHE_AGE": ""}) == (2 << 30, 30 * DAY)
    assert upkeep.limits({"WFCTL_CACHE_SIZE": "1GiB", "WFCTL_CACHE_AGE": "12h"}) == (1 << 30, 43_200.0)
    assert upkeep.limits({"WFCTL_CACHE_SIZE": "5000", "WFCTL_CACHE_AGE": "90"}) == (5000, 90.0)
    assert upkeep.limits({"WFCTL_CACHE_SIZE": "0", "WFCTL_CACHE_AGE": "0"}) == (0, 0.0)


@pytest.mark.parametrize("name", ["WFCTL_CACHE_SIZE", "WFCTL_CACHE_AGE"])
@pytest.mark.parametrize("value", ["much", "-1", "nan", "1e9", "²", "9" * 5000, "1 GiB 2", " "])
def test_a_limit_that_is_none_is_told_by_name(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: expected a (size|duration) such as"):
        upkeep.limits({name: value})


# Words


def test_a_key_is_found_by_its_beginning(kitchen: Kitchen) -> None:
    key = kitchen.keep("ab", output={"x": "y" * 5000})
    kitchen.keep("ac")
    document = upkeep.one(key[:4], kitchen.store, kitchen.environ)
    assert (document["key"], document["output"], document["scope"]) == (key, {"x": "y" * 5000}, "workflow")
    with pytest.raises(UsageError, match=r'^"61" may be any of 2 keys; type more of it$'):
        upkeep.one("61", kitchen.store, kitchen.environ)
    for text in ("", "zz"):
        with pytest.raises(UsageError, match="`wfctl cache ls` lists what is"):
            upkeep.one(text, kitchen.store, kitchen.environ)


def test_one_key_with_a_result_and_a_failure_shows_the_result(kitchen: Kitchen) -> None:
    key = kitchen.keep("n")
    kitchen.fail("n")
    assert upkeep.one(key, kitchen.store, kitchen.environ)["failed"] is None
