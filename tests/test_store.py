"""The state folder: where it is, when it is refused, how runs are named, found and removed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import wfctl
from wfctl.errors import BusyError, StateError, UsageError
from wfctl.journal import JournalWriter
from wfctl.store import RunFolder, Store, write_whole

NOON = 1_795_348_800.0  # 2026-11-22 12:00:00 UTC


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / ".wfctl")
    store.prepare()
    return store


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody who is not root, and us as that somebody: root passes every mode."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


def begin(store: Store, now: float) -> RunFolder:
    folder = store.new_run(now)
    writer = JournalWriter.create(folder)
    writer.append({"event": "run_started"})
    writer.sync()
    writer.close()
    return folder


def tree(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


# Where it is


def test_the_option_wins_then_the_environment_then_the_nearest_folder_then_here(tmp_path: Path) -> None:
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    environ = {"WFCTL_STATE_DIR": "from_env"}
    assert Store.find("given", here, environ).path == here / "given"
    assert Store.find(None, here, environ).path == here / "from_env"
    assert Store.find(None, here, {"WFCTL_STATE_DIR": ""}).path == here / ".wfctl"
    (tmp_path / ".wfctl").mkdir()
    assert Store.find(None, here, {}).path == tmp_path / ".wfctl"
    (tmp_path / "a" / ".wfctl").mkdir()
    assert Store.find(None, here, {}).path == tmp_path / "a" / ".wfctl"


def test_looking_makes_nothing(tmp_path: Path) -> None:
    store = Store.find(None, tmp_path, {"WFCTL_STATE_DIR": "state"})
    assert store.run_ids() == []
    with pytest.raises(UsageError, match=r'no runs yet in ".*state"; start one with `wfctl run FLOW`'):
        store.find_run("last")
    assert tree(tmp_path) == []


# Making it, checking it


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_it_is_ours_alone_whatever_the_umask(unprivileged: Path, umask: int) -> None:
    store = Store(unprivileged / ".wfctl")
    before = os.umask(umask)
    try:
        store.prepare()
        folder = begin(store, NOON)
    finally:
        os.umask(before)
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (store.path, *store.path.rglob("*"))}
    assert {p.name: oct(mode) for p, mode in modes.items() if mode != (0o700 if p.is_dir() else 0o600)} == {}
    assert store.run_ids() == [folder.id]


def test_it_hides_itself_from_git_and_names_its_format(store: Store) -> None:
    assert (store.path / ".gitignore").read_text() == "*\n"
    assert (store.path / "format").read_text() == "1\n"
    assert tree(store.path) == [".gitignore", "format", "runs"]


def test_making_it_again_changes_nothing(store: Store) -> None:
    (store.path / ".gitignore").write_text("mine\n")
    store.prepare()
    assert (store.path / ".gitignore").read_text() == "mine\n"


def test_one_that_was_half_made_is_completed(tmp_path: Path) -> None:
    (tmp_path / ".wfctl" / "runs").mkdir(parents=True, mode=0o700)
    (tmp_path / ".wfctl").chmod(0o700)
    Store(tmp_path / ".wfctl").prepare()
    assert tree(tmp_path / ".wfctl") == [".gitignore", "format", "runs"]


def test_one_whose_runs_were_moved_away_begins_anew(store: Store) -> None:
    store.runs.rmdir()
    store.prepare()
    assert store.new_run(NOON).path.is_dir()


def test_a_symlink_is_refused(tmp_path: Path, store: Store) -> None:
    link = tmp_path / "link"
    link.symlink_to(store.path)
    with pytest.raises(StateError, match="is a symlink; name the folder it leads to with --state-dir"):
        Store(link).prepare()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".wfctl").write_text("")
    with pytest.raises(StateError, match="is not a folder; move it away"):
        Store(tmp_path / ".wfctl").prepare()


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_one_that_others_can_write_is_refused(store: Store, mode: int) -> None:
    store.path.chmod(mode)
    with pytest.raises(StateError, match=rf"can be written by others \(mode 0{mode:o}\); .* chmod go-w"):
        store.prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_one_of_another_owner_is_refused(store: Store) -> None:
    os.chown(store.path, 65534, 65534)
    with pytest.raises(StateError, match=r"belongs to another user \(uid 65534\); choose another with --state-dir"):
        store.prepare()


def test_one_that_cannot_be_written_is_refused_and_can_be_read(unprivileged: Path) -> None:
    store = Store(unprivileged / ".wfctl")
    store.prepare()
    folder = begin(store, NOON)
    store.path.chmod(0o500)
    store.runs.chmod(0o500)
    try:
        with pytest.raises(StateError, match="cannot be written; make it writable, or choose another"):
            store.prepare()
        with pytest.raises(StateError, match=r'cannot make ".*": permission denied; check its owner'):
            store.new_run(NOON)
        assert store.find_run("last") == folder
    finally:
        store.path.chmod(0o700)
        store.runs.chmod(0o700)


def test_a_place_where_none_can_be_made_is_refused(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)
    try:
        with pytest.raises(StateError, match=r'cannot make ".*": permission denied; check its owner and mode'):
            Store(unprivileged / ".wfctl").prepare()
    finally:
        unprivileged.chmod(0o700)


def test_a_newer_format_is_refused_by_all_who_look_into_it(store: Store) -> None:
    (store.path / "format").write_text("2\n")
    for act in (store.prepare, lambda: store.find_run("last")):
        with pytest.raises(StateError, match=r"newer wfctl \(format 2, this one knows up to 1\); upgrade wfctl"):
            act()


@pytest.mark.parametrize("text", ["", "one", "9" * 5000, "\udcff"])
def test_a_damaged_format_is_refused_with_its_file(store: Store, text: str) -> None:
    (store.path / "format").write_text(text, errors="surrogateescape")
    with pytest.raises(StateError, match=r'format" is damaged'):
        store.prepare()


# Runs


def test_ids_are_the_time_and_sort_by_it(store: Store) -> None:
    folders = [begin(store, NOON + after) for after in (0, 0.5, 0.501, 1, 86400)]
    assert folders[0].id == "20261122-120000-000"
    assert folders[1].id == "20261122-120000-i00"
    assert store.run_ids() == [f.id for f in reversed(folders)]
    assert store.find_run("last") == folders[-1]


def test_two_runs_of_one_moment_have_two_ids(store: Store) -> None:
    last_of_its_second = NOON + 1 - 1 / 46656 / 2
    ids = [store.new_run(last_of_its_second).id for _ in range(3)]
    assert ids == ["20261122-120000-zzz", "20261122-120001-000", "20261122-120001-001"]


def test_processes_that_begin_at_once_never_share_a_folder(store: Store) -> None:
    code = f"from wfctl.store import *\nfor i in range(50): print(Store(Path({str(store.path)!r})).new_run({NOON}).id)"
    env = {**os.environ, "PYTHONPATH": str(Path(wfctl.__file__).parents[1])}
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) for _ in range(3)]
    ids = [id_ for child in children for id_ in child.communicate()[0].split()]
    assert len(ids) == len(set(ids)) == 150


def test_a_run_has_its_folders(store: Store) -> None:
    folder = store.new_run(NOON)
    assert tree(folder.path) == ["logs", "outputs", "tmp"]
    folder.tmp.rmdir()
    folder.make_folders()
    assert tree(folder.path) == ["logs", "outputs", "tmp"]


def test_a_run_exists_from_its_first_synced_event(store: Store) -> None:
    folder = store.new_run(NOON)
    writer = JournalWriter.create(folder)
    assert store.run_ids() == []
    writer.append({"event": "run_started"})
    writer.sync()
    assert store.run_ids() == [folder.id]
    writer.close()


def test_a_run_is_found_by_its_id_and_by_a_beginning_that_only_it_has(store: Store) -> None:
    a, b = begin(store, NOON), begin(store, NOON + 60)
    assert store.find_run(a.id) == a
    assert store.find_run("20261122-1201") == b
    with pytest.raises(UsageError, match=rf'"2026" may be any of 2 runs \({b.id}, {a.id}\); type more of the id'):
        store.find_run("2026")


@pytest.mark.parametrize("text", ["", "../x", "/", ".", "20261122-120000-00z", "\0"])
def test_an_unknown_id_is_refused(store: Store, text: str) -> None:
    begin(store, NOON)
    with pytest.raises(UsageError, match=r'(?s)^no run ".*"; '):
        store.find_run(text)


def test_an_unknown_id_gets_the_nearest_one(store: Store) -> None:
    begin(store, NOON)
    with pytest.raises(UsageError, match='did you mean "20261122-120000-000"'):
        store.find_run("20261122-12000-000")


# Removing


def test_a_removed_run_is_gone(store: Store) -> None:
    folder = begin(store, NOON)
    (folder.logs / "a.log").write_text("x")
    store.remove(folder.id)
    assert tree(store.runs) == []


def test_a_run_that_is_driven_is_not_removed(store: Store) -> None:
    folder = begin(store, NOON)
    writer, _ = JournalWriter.resume(folder)
    with pytest.raises(BusyError, match="is driven by process"):
        store.remove(folder.id)
    writer.close()
    assert store.run_ids() == [folder.id]


def test_folders_that_a_node_made_read_only_are_removed_and_links_not_followed(unprivileged: Path) -> None:
    store = Store(unprivileged / ".wfctl")
    store.prepare()
    folder = begin(store, NOON)
    outside = unprivileged / "outside"
    (outside / "kept").mkdir(parents=True)
    outside.chmod(0o500)
    (folder.tmp / "link").symlink_to(outside)
    (folder.tmp / "deep" / "er").mkdir(parents=True)
    (folder.tmp / "deep" / "er" / "file").write_text("x")
    (folder.tmp / "deep" / "er").chmod(0o500)
    (folder.tmp / "deep").chmod(0o500)
    store.remove(folder.id)
    assert tree(store.runs) == []
    assert stat.S_IMODE(outside.stat().st_mode) == 0o500
    outside.chmod(0o700)


def test_sweep_removes_what_crashes_left_and_no_beginning(store: Store) -> None:
    run = begin(store, NOON)
    young, old, driven = (store.new_run(NOON + i) for i in range(3))
    writer = JournalWriter.create(driven)
    for folder in (old, driven, run):
        os.utime(folder.path, (NOON - 7200, NOON - 7200))
    os.utime(young.path, (NOON, NOON))
    (store.runs / ".removed-x" / "logs").mkdir(parents=True)
    assert sorted(store.sweep(NOON + 10)) == [".removed-x", old.id]
    assert tree(store.runs)[:1] == [run.id]
    assert {p.name for p in store.runs.iterdir()} == {run.id, young.id, driven.id}
    writer.close()


def test_a_file_written_whole_replaces_the_old_one_and_leaves_no_draft(tmp_path: Path) -> None:
    write_whole(tmp_path / "f", b"old")
    write_whole(tmp_path / "f", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"new"
