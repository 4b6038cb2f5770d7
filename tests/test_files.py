"""Work on files: what globs find, what becomes of links, what is refused, and what is left where something fails."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.kind import Kept, perform
from wfctl import handles
from wfctl.blobs import Blobs
from wfctl.fields import Body
from wfctl.handles import Tree, followed, matching
from wfctl.kinds import files
from wfctl.kinds.files import Files
from wfctl.result import Result


@dataclass
class Ground:
    """A root with files in it, beside a folder that is none of its business."""

    root: Path
    outside: Path

    def make(self, *paths: str) -> None:
        """Files that hold their own path; folders end with a slash; `a -> b` is a symlink."""
        for path in paths:
            name, _, leads = path.partition(" -> ")
            full = self.root / name
            full.parent.mkdir(parents=True, exist_ok=True)
            if leads:
                full.symlink_to(leads)
            elif path.endswith("/"):
                full.mkdir()
            else:
                full.write_bytes(os.fsencode(name))

    def tree(self) -> list[str]:
        """All that is there, as it was written to `make`; a file says what it holds, if not its own path."""
        return sorted(self._shown(path) for path in self.root.rglob("*") if self._shown(path))

    def _shown(self, path: Path) -> str:
        name = path.relative_to(self.root).as_posix()
        if path.is_symlink():
            return f"{name} -> {os.readlink(path)}"
        if path.is_dir():
            return "" if any(path.iterdir()) else f"{name}/"
        if not path.is_file():
            return name
        held = os.fsdecode(path.read_bytes())
        return name if held == name else f"{name} = {held}"

    def hands(self, cwd: str = ".") -> Kept:
        return Kept(str(self.root), str(self.root / cwd))

    def do(self, cwd: str = ".", /, **fields: Any) -> Result:
        return Files().perform(fields, self.hands(cwd))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    for name in ("root", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside/precious").write_text("precious")
    yield Ground(tmp_path / "root", tmp_path / "outside")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["precious"]
    assert (tmp_path / "outside/precious").read_text() == "precious"


def done(**output: list[str]) -> Result:
    return Result(output=output)


# -- delete


def test_delete_takes_paths_and_globs_and_folders_as_a_whole(ground: Ground) -> None:
    ground.make("a.tmp", "b.tmp", "keep", "build/x/y", "build/z", "work/one.tmp", "work/deep/two.tmp")
    assert ground.do(delete=["*.tmp", "build"]) == done(deleted=["a.tmp", "b.tmp", "build"])
    assert ground.do(delete="**/*.tmp") == done(deleted=["work/deep/two.tmp", "work/one.tmp"])
    assert ground.tree() == ["keep", "work/deep/"]


def test_what_is_missing_is_deleted_already(ground: Ground) -> None:
    ground.make("file")
    assert ground.do(delete=["no", "no/such", "file/inside", "*.no", "no/**"]) == done(deleted=[])
    assert ground.tree() == ["file"]


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*", ["a", "b.d", "b.txt"]),
        ("?.txt", ["b.txt"]),
        ("[ac]*", ["a"]),
        ("*/", ["a", "b.d"]),
        (".*", [".hidden"]),
        ("**", ["a", "b.d", "b.txt"]),
        ("a/**", ["a/c", "a/x.txt"]),
        ("**/x.txt", ["a/c/x.txt", "a/x.txt"]),
        ("a/**/**/x.txt", ["a/c/x.txt", "a/x.txt"]),
        ("**/c/*", ["a/c/x.txt"]),
        ("*/c/x.txt", ["a/c/x.txt"]),
        ("**/c/**", ["a/c/x.txt"]),
        ("a*/../b*", ["b.d", "b.txt"]),
        ("./b.txt", ["b.txt"]),
    ],
)
def test_globs_match_as_in_a_shell(ground: Ground, glob: str, found: list[str]) -> None:
    ground.make("a/x.txt", "a/c/x.txt", "a/.git/x.txt", "b.txt", "b.d/", ".hidden")
    assert ground.do(delete=glob) == done(deleted=found)


def test_a_path_stands_on_the_folder_of_the_node_and_the_root_confines_it(ground: Ground) -> None:
    ground.make("sub/a", "a", "b")
    assert ground.do("sub", delete=["a", "../b"]) == done(deleted=["b", "sub/a"])
    assert ground.do("sub", delete="../../outside/precious").reason == "not_started"
    assert ground.do("sub", delete=str(ground.root / "a")) == done(deleted=["a"])
    assert ground.tree() == ["sub/"]


def test_a_root_that_is_called_by_a_symlink_is_the_same_root(ground: Ground) -> None:
    ground.make("a", "b", "c")
    (ground.root.parent / "called").symlink_to("root")
    called = ground.root.parent / "called"
    hands = Kept(str(called), str(ground.root))
    result = Files().perform({"delete": ["a", str(called / "b"), str(ground.root / "c")]}, hands)
    assert result == done(deleted=["a", "b", "c"])


# -- links


def test_a_symlink_is_deleted_and_never_what_it_leads_to(ground: Ground) -> None:
    ground.make("out/file -> ../../outside/precious", "out/folder -> ../../outside", "link -> ../outside", "no -> no")
    ground.make("into/deep/link -> ../../../outside")
    assert ground.do(delete=["out", "link", "no", "**/link"]) == done(deleted=["into/deep/link", "link", "no", "out"])
    assert ground.tree() == ["into/deep/"]


@pytest.mark.parametrize("verb", ["delete", "copy", "move"])
@pytest.mark.parametrize("path", ["link/precious", "link/*", "link/**", "a/link/precious"])
def test_a_path_that_leads_through_a_symlink_is_refused_and_the_rest_is_done(
    ground: Ground, verb: str, path: str
) -> None:
    ground.make("link -> ../outside", "a/link -> ../../outside", "b")
    paths = [path, "b"]
    result = ground.do(**{verb: paths if verb == "delete" else {"from": paths, "to": "new/"}})
    link = path.rpartition("/")[0]
    assert result.reason == "files"
    assert result.error == f'"{link}" is a symlink, and none is followed; name the folder that it leads to'
    assert "b" not in ground.tree() or verb == "copy"


def test_globs_pass_symlinks_by(ground: Ground) -> None:
    ground.make("link -> ../outside", "a/link -> ../../outside")
    assert ground.do(delete=["*/precious", "**/precious"]) == done(deleted=[])


@pytest.mark.parametrize("to", ["link", "link/", "link/x", "link/x/"])
def test_nothing_is_put_where_a_symlink_leads(ground: Ground, to: str) -> None:
    ground.make("link -> ../outside", "a")
    for verb in ("copy", "move"):
        result = ground.do(**{verb: {"from": "a", "to": to}})
        assert result.error == '"link" is a symlink, and none is followed; name the folder that it leads to'
    assert ground.tree() == ["a", "link -> ../outside"]


def test_a_symlink_in_the_place_of_a_copy_is_replaced(ground: Ground) -> None:
    ground.make("a", "to/a -> ../../outside/precious", "b/c", "to/b/c -> ../../../outside/precious")
    assert ground.do(copy={"from": ["a", "b"], "to": "to"}) == done(copied=["to/a", "to/b"])
    assert ground.tree() == ["a", "b/c", "to/a = a", "to/b/c = b/c"]


def test_a_symlink_to_a_folder_in_the_way_of_a_folder_is_not_followed(ground: Ground) -> None:
    ground.make("b/c", "to/b -> ../../outside")
    for verb in ("copy", "move"):
        result = ground.do(**{verb: {"from": "b", "to": "to/"}})
        assert result.error == '"b" is a folder, and "to/b" is none; delete that first'


def test_symlinks_are_copied_and_moved_as_they_are(ground: Ground) -> None:
    ground.make("d/l -> ../../outside", "l -> ../outside/precious", "gone -> nowhere")
    assert ground.do(copy={"from": ["d", "l", "gone"], "to": "c/"}) == done(copied=["c/d", "c/gone", "c/l"])
    assert ground.do(move={"from": ["d", "l", "gone"], "to": "m/"}) == done(moved=["m/d", "m/gone", "m/l"])
    links = ["/d/l -> ../../outside", "/gone -> nowhere", "/l -> ../outside/precious"]
    assert ground.tree() == [*(f"c{link}" for link in links), *(f"m{link}" for link in links)]


# -- copy and move


def test_to_is_a_folder_if_it_ends_so_or_is_there_or_several_come(ground: Ground) -> None:
    ground.make("a", "b", "there/")
    assert ground.do(copy={"from": "a", "to": "new"}) == done(copied=["new"])
    assert ground.do(copy={"from": "a", "to": "deep/new/"}) == done(copied=["deep/new/a"])
    assert ground.do(copy={"from": "a", "to": "there"}) == done(copied=["there/a"])
    assert ground.do(copy={"from": ["a", "b"], "to": "both"}) == done(copied=["both/a", "both/b"])
    assert ground.do("there", copy={"from": "../b", "to": "."}) == done(copied=["there/b"])
    assert ground.do(move={"from": "[ab]", "to": "moved/x"}) == done(moved=["moved/x/a", "moved/x/b"])
    assert [name for name in ground.tree() if name.startswith("moved")] == ["moved/x/a = a", "moved/x/b = b"]


def test_a_folder_is_copied_whole_with_modes_and_times(ground: Ground) -> None:
    ground.make("a/.hidden", "a/b/run.sh", "a/empty/")
    os.chmod(ground.root / "a/b/run.sh", 0o4750)
    os.utime(ground.root / "a/b/run.sh", ns=(1_000_000_001, 2_000_000_002))
    os.utime(ground.root / "a/b", ns=(3_000_000_003, 4_000_000_004))
    os.chmod(ground.root / "a/b", 0o550)
    assert ground.do(copy={"from": "a", "to": "c"}) == done(copied=["c"])
    assert ground.tree()[-3:] == ["c/.hidden = a/.hidden", "c/b/run.sh = a/b/run.sh", "c/empty/"]
    copied, folder = os.stat(ground.root / "c/b/run.sh"), os.stat(ground.root / "c/b")
    assert (stat.S_IMODE(copied.st_mode), copied.st_mtime_ns) == (0o750, 2_000_000_002)  # no rights of its owner
    assert (stat.S_IMODE(folder.st_mode), folder.st_mtime_ns) == (0o550, 4_000_000_004)


def test_a_folder_goes_into_one_of_its_name(ground: Ground) -> None:
    ground.make("a/x", "a/d/y", "to/a/x", "to/a/d/z")
    assert ground.do(copy={"from": "a", "to": "to/"}) == done(copied=["to/a"])
    assert ground.do(copy={"from": "a", "to": "to/"}) == done(copied=["to/a"])
    assert ground.do("to", copy={"from": "../a", "to": "."}) == done(copied=["to/a"])
    assert ground.tree() == ["a/d/y", "a/x", "to/a/d/y = a/d/y", "to/a/d/z", "to/a/x = a/x"]
    assert ground.do(move={"from": "a", "to": "to/"}) == done(moved=["to/a"])
    assert ground.tree() == ["to/a/d/y = a/d/y", "to/a/d/z", "to/a/x = a/x"]


def test_a_folder_that_becomes_another_does_so_again(ground: Ground) -> None:
    ground.make("a/x", "a/d/y")
    for _ in range(2):
        assert ground.do(copy={"from": "a", "to": "b"}) == done(copied=["b"])
    assert ground.tree() == ["a/d/y", "a/x", "b/d/y = a/d/y", "b/x = a/x"]


@pytest.mark.parametrize(
    ("move", "there", "moved"),
    [
        ({"from": "a", "to": "b"}, "b", ["b"]),
        ({"from": "a", "to": "b"}, "b/a", ["b/a"]),
        ({"from": "a", "to": "b/"}, "b/a", ["b/a"]),
        ({"from": "a*", "to": "b/"}, "b/a1", []),
        ({"from": ["a", "c"], "to": "b/"}, "b/a", ["b/a", "b/c"]),
    ],
    ids=str,
)
def test_what_a_lost_attempt_has_moved_is_moved(
    ground: Ground, move: dict[str, object], there: str, moved: list[str]
) -> None:
    ground.make(there, "c")
    hands = Kept(str(ground.root), str(ground.root), attempt=2)
    assert Files().perform({"move": move}, hands).error.startswith("nothing is there of")
    hands = Kept(str(ground.root), str(ground.root), attempt=2, unsure=True)
    ground.make("c")
    assert Files().perform({"move": move}, hands) == done(moved=moved)


def test_what_no_attempt_can_have_moved_is_missing(ground: Ground) -> None:
    ground.make("b/c")
    hands = Kept(str(ground.root), str(ground.root), attempt=2, unsure=True)
    for move in ({"from": "a", "to": "b/"}, {"from": "a", "to": "d"}, {"from": "a*", "to": "e/"}):
        assert Files().perform({"move": move}, hands).error == f'nothing is there of "{move["from"]}"'


def test_lists_are_done_one_after_the_other_and_deleting_comes_first(ground: Ground) -> None:
    ground.make("a", "old/x")
    result = ground.do(
        move=[{"from": "b", "to": "c"}, {"from": "c", "to": "old/d"}], copy=[{"from": "a", "to": "b"}], delete="old"
    )
    assert result == done(deleted=["old"], copied=["b"], moved=["c", "old/d"])
    assert ground.tree() == ["a", "old/d = a"]


def test_a_file_becomes_another_at_once_and_links_to_the_old_one_stay(ground: Ground) -> None:
    ground.make("new", "data")
    (ground.root / "same").hardlink_to(ground.root / "data")
    assert ground.do(copy={"from": "new", "to": "data"}).reason == ""
    assert ground.tree() == ["data = new", "new", "same = data"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder in another file system."""
    memory = "/dev/shm"
    if not os.path.isdir(memory) or os.stat(memory).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("there is no second file system here")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def test_moving_to_another_file_system_copies_and_deletes(ground: Ground, elsewhere: Path) -> None:
    ground.make("a/b/c", "a/l -> ../outside", "f")
    hands = Kept("/", str(ground.root))
    result = Files().perform({"move": {"from": ["a", "f"], "to": f"{elsewhere}/to"}}, hands)
    assert result == done(moved=[f"{elsewhere}/to/a"[1:], f"{elsewhere}/to/f"[1:]])
    there = Ground(elsewhere, ground.outside)
    assert there.tree() == ["to/a/b/c = a/b/c", "to/a/l -> ../outside", "to/f = f"]
    assert ground.tree() == []


# -- what is refused


FAULTS = [
    ({"delete": "../x"}, ("delete",), '"../x" leads out of the root folder; set root: .. where that is meant', ""),
    ({"delete": ["a", "b/../../x"]}, ("delete", 1), '"b/../../x" leads out of the root folder', ""),
    ({"delete": "."}, ("delete",), "that is the root folder itself", "name what lies in it, such as *"),
    ({"copy": {"from": "../a", "to": "b"}}, ("copy", "from"), '"../a" leads out of the root folder', ""),
    ({"copy": {"from": "a", "to": ".."}}, ("copy", "to"), '".." leads out of the root folder', ""),
    ({"move": [{"from": ["a", "./"], "to": "b/"}]}, ("move", 0, "from", 1), "that is the root folder itself", ""),
    ({"restore": "../a"}, ("restore",), '"../a" leads out of the root folder', ""),
]


@pytest.mark.parametrize(("said", "where", "message", "hint"), FAULTS)
def test_what_no_run_may_do_is_a_fault_of_the_file(
    said: dict[str, Any], where: tuple[str | int, ...], message: str, hint: str
) -> None:
    [problem] = Files().parse({"files": said}, ("nodes", "a"), None)[1]
    assert problem.where == ("nodes", "a", "files", *where)
    assert problem.message.startswith(message)
    assert hint in problem.hint


def test_what_stands_on_a_cwd_is_judged_when_that_is_known(ground: Ground) -> None:
    assert Files().parse({"files": {"delete": "../x"}, "cwd": "sub"}, (), None)[1] == []


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"delete": ["a", "../x"]}, 'delete: "../x" leads out of the root folder; set root: .. where that is meant'),
        ({"delete": ["a", "/etc/passwd"]}, 'delete: "/etc/passwd" lies outside of the root folder; paths are relative'),
        ({"delete": ["a", "b/.."]}, "delete: that is the root folder itself; name what lies in it, such as *"),
        ({"delete": ["a", ""]}, 'delete: expected a path, got ""'),
        ({"delete": ["a", "b\0"]}, "delete: expected a path, got "),
        ({"copy": {"from": "a", "to": "b"}, "delete": None}, "delete: expected a path, got null"),
        ({"delete": ["a", None]}, "delete: expected a path, got null"),
        ({"delete": "a", "copy": {"from": ["a", [7]], "to": "b"}}, "copy: from: expected a path, got 7"),
        ({"delete": "a", "move": [{"from": "a", "to": ["b"]}]}, 'move: to: expected a path, got ["b"]'),
    ],
)
def test_what_leads_out_of_the_root_or_is_no_path_is_refused_before_anything_is_done(
    ground: Ground, said: dict[str, Any], error: str
) -> None:
    ground.make("a")
    result = ground.do(**said)
    assert (result.reason, result.output) == ("not_started", None)
    assert result.error.startswith(error)
    assert ground.tree() == ["a"]


def test_a_folder_behind_a_symlink_out_of_the_root_is_no_place_to_stand_on(ground: Ground) -> None:
    ground.make("link -> ../outside")
    result = ground.do("link", delete="*")
    assert (result.reason, "lies outside of the root folder" in result.error) == ("not_started", True)


@pytest.mark.parametrize("verb", ["copy", "move"])
@pytest.mark.parametrize(
    ("source", "to", "error"),
    [
        ("a", "a", '"a" is there already: it cannot be put onto itself'),
        ("d/x", "d/", '"d/x" is there already: it cannot be put onto itself'),
        ("d", "d/", '"d" cannot be put into itself, as "d/d"'),
        ("d", "d", '"d" is there already: it cannot be put onto itself'),
        ("d", "d/new/deep", '"d" cannot be put into itself, as "d/new/deep"'),
        ("a", "same", '"a" and "same" are the same file'),
        ("a", "e/d", '"a" is no folder, and "e/d" is one; delete that first'),
        ("e/d", "a", '"e/d" is a folder, and "a" is none; delete that first'),
        ("a", "d/x/y", '"d/x" is no folder'),
        ("no", "new", 'nothing is there of "no"'),
        ("no*", "new/", 'nothing is there of "no*"'),
        (["d/x", "e/x"], "new", '"d/x" and "e/x" would both become "new/x"; name a folder for each'),
    ],
)
def test_what_cannot_be_put_there_says_why(ground: Ground, verb: str, source: Any, to: str, error: str) -> None:
    ground.make("a", "d/x", "e/x", "e/d/")
    (ground.root / "same").hardlink_to(ground.root / "a")
    if to == "e/d":
        (ground.root / "e/d").rmdir()
        ground.make("e/d/a/")
    before = ground.tree()
    result = ground.do(**{verb: {"from": source, "to": to}})
    assert result.reason == "files"
    assert result.error == (error if to != "e/d" else '"a" is no folder, and "e/d/a" is one; delete that first')
    assert ground.tree() == before


# -- what goes wrong on the way


@contextmanager
def nobody(root: Path, **modes: int) -> Iterator[None]:
    """Be one who owns what is in a folder and may no more than others: what has these modes cannot be read, say."""
    was = os.geteuid()
    paths = {name.replace("_", "/"): mode for name, mode in modes.items()}
    if was == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
    for name, mode in paths.items():
        os.chmod(root / name, mode)
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)
        for name in paths:
            if (root / name).exists():
                os.chmod(root / name, 0o700)


@dataclass
class Opened:
    tree: Tree
    complaints: list[str]


@pytest.fixture
def opened(ground: Ground) -> Iterator[Opened]:
    complaints: list[str] = []
    with Tree(str(ground.root), ".draft", complaints.append) as tree:
        yield Opened(tree, complaints)


def test_what_cannot_be_read_is_named_and_the_rest_is_done(ground: Ground, opened: Opened) -> None:
    ground.make("a/locked/x", "a/empty/", "a/b", "a/shut/y", "z", "file")
    with nobody(ground.root, a_locked=0, a_empty=0, a_shut=0o500, file=0):
        assert opened.tree.find("**/x") == []
        assert not opened.tree.put("a", "copy")
        assert not opened.tree.put("file", "copy")
        assert not opened.tree.delete("a")
        assert opened.tree.delete("z")
    read = ['"a/empty" cannot be looked through', '"a/locked" cannot be looked through', '"a/empty" cannot be read']
    read += ['"a/locked" cannot be read', '"file" cannot be copied']
    gone = ['"a/locked" cannot be deleted', '"a/shut/y" cannot be deleted']
    assert opened.complaints == [f"{what}: permission denied" for what in read + gone]
    assert ground.tree() == ["a/locked/x", "a/shut/y", "file"]  # an empty folder is gone, locked or not


def test_what_may_not_be_listed_can_be_passed_through(ground: Ground, opened: Opened) -> None:
    ground.make("a/b/c")
    with nobody(ground.root, a=0o300):
        assert opened.tree.delete("a/b/c")
        assert opened.tree.put("a/b", "a/d", moves=True)
    assert (opened.complaints, ground.tree()) == ([], ["a/d/"])


def test_a_draft_with_a_locked_folder_in_it_is_thrown_away(ground: Ground, opened: Opened) -> None:
    ground.make("a/b/c")
    os.mkfifo(ground.root / "a/pipe")
    with nobody(ground.root, a_b=0o500):
        assert not opened.tree.put("a", "c")
    assert ground.tree() == ["a/b/c", "a/pipe"]


def test_the_error_names_the_first_and_how_many_more_and_the_log_all(ground: Ground) -> None:
    ground.make("a")
    hands = ground.hands()
    result = Files().perform({"copy": [{"from": ["x", "y", "a"], "to": "b/"}, {"from": "z", "to": "b/"}]}, hands)
    assert result == Result(output={"copied": ["b/a"]}, reason="files", error='nothing is there of "x", and 2 more')
    assert hands.lines == [f'nothing is there of "{name}"' for name in "xyz"]


def test_what_is_neither_file_nor_folder_is_deleted_and_moved_but_not_copied(ground: Ground) -> None:
    ground.make("a/b")
    os.mkfifo(ground.root / "a/pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(ground.root / "a/socket"))
    result = ground.do(copy={"from": "a", "to": "c"})
    assert result.error == '"a/pipe" is neither file, folder nor symlink, and cannot be copied, and 1 more'
    assert ground.do(move={"from": "a", "to": "c"}) == done(moved=["c"])
    assert ground.tree() == ["c/b = a/b", "c/pipe", "c/socket"]
    assert ground.do(delete="c") == done(deleted=["c"])


def test_folders_that_lie_too_deep_are_refused(ground: Ground) -> None:
    deep = "/".join(["d"] * 120)
    ground.make(f"{deep}/x", "a")
    before = ground.tree()
    said: dict[str, Any]
    for said in ({"delete": "*"}, {"copy": {"from": "d", "to": "b/"}}):
        result = ground.do(**said)
        assert "lies over 100 folders deep; use run: with a command such as rm -r" in result.error
    assert ground.tree() == ["b/", *before[1:]]
    assert ground.do(move={"from": "d", "to": "e"}) == done(moved=["e"])
    assert ground.do(delete=f"e/{deep[60:]}") == done(deleted=[f"e/{deep[60:]}"])


def test_what_a_killed_attempt_has_left_the_next_one_throws_away(ground: Ground) -> None:
    ground.make("a")
    draft = _leave_a_draft(ground)
    assert draft in os.listdir(ground.root)
    assert ground.do(delete="*draft").output == {"deleted": []}  # no glob takes it for one of its own
    assert ground.do(copy={"from": "a", "to": "b"}) == done(copied=["b"])
    assert ground.tree() == ["a", "b = a"]


def _leave_a_draft(ground: Ground) -> str:
    """A folder by the name of a draft of the node, with a link and a locked folder in it; the name."""
    name = files._draft(ground.hands().key)
    ground.make(f"{name}/link -> ../../outside", f"{name}/locked/x")
    os.chmod(ground.root / name / "locked", 0)
    return name


@pytest.mark.parametrize("verb", ["copy", "move", "delete"])
def test_what_is_told_to_end_ends_and_leaves_no_draft(ground: Ground, verb: str) -> None:
    ground.make(*(f"a/{i:02}/x" for i in range(20)))
    hands = ground.hands()
    hands.when_stopped = lambda stop: stop()  # type: ignore[method-assign]
    said: Any = "a" if verb == "delete" else {"from": "a", "to": "b/"}
    result = Files().perform({verb: said}, hands)
    assert (result.reason, result.error) == ("files", "stopped")
    assert [path for path in ground.tree() if path != "b/"] == [f"a/{i:02}/x" for i in range(20)]


# -- others who change what is worked on


MOMENTS = 1_000
"""More than any of the following has."""

CALLS = frozenset(n for n, line in enumerate(Path(handles.__file__).read_text().splitlines(), 1) if " os." in line)
"""The lines before which others may have done something."""


@pytest.mark.parametrize("work", ["delete", "copy", "move", "into", "find", "put there", "copy file"])
def test_what_becomes_a_symlink_at_any_moment_leads_nowhere(ground: Ground, work: str) -> None:
    handles_before = len(os.listdir("/proc/self/fd"))
    for moment in range(MOMENTS):
        shutil.rmtree(ground.root)
        ground.root.mkdir()
        ground.make("a/b/own", "to/c/")
        if work == "into":
            ground.make("to/a/b/x")
        if not _swapped(ground, work, moment):
            break
        assert not [line for line in ground.tree() if line.endswith(" = precious")]
    assert 5 < moment < MOMENTS
    assert len(os.listdir("/proc/self/fd")) == handles_before


def _swapped(ground: Ground, work: str, moment: int) -> bool:
    """Do the work, and put a link in the place of something before its call of that number; whether it came to that."""
    places = {"put there": "to/c", "into": "to/a/b", "copy file": "a/b/own"}
    place = ground.root / places.get(work, "a/b")
    other = ground.outside / "precious" if work == "copy file" else ground.outside
    calls = iter(range(moment + 1))

    def trace(frame: Any, event: str, _: object) -> Any:
        if frame.f_code.co_filename != handles.__file__:
            return None
        if event == "line" and frame.f_lineno in CALLS and next(calls, None) == moment:
            if place.exists():
                place.rename(ground.root / "elsewhere")
            if place.parent.is_dir():
                place.symlink_to(other)
        return trace

    with Tree(str(ground.root), ".draft", lambda _: None) as tree:
        was = sys.gettrace()
        sys.settrace(trace)
        try:
            if work == "find":
                assert "a/b/precious" not in tree.find("a/*/*")
            elif work == "delete":
                tree.delete("a")
            else:
                to = "to/c/deep/a" if work == "put there" else "to/a"
                tree.put("a", to, moves=work == "move")
        finally:
            sys.settrace(was)
    return next(calls, None) is None


def test_what_vanishes_meanwhile_is_deleted(ground: Ground) -> None:
    ground.make("a/b/c", "a/d")
    complaints: list[str] = []

    def go_on() -> None:
        shutil.rmtree(ground.root / "a", ignore_errors=True)

    with Tree(str(ground.root), ".draft", complaints.append, go_on) as tree:
        assert tree.delete("a")
        ground.make("a/b/c")
        assert not tree.put("a", "b")
    assert complaints == ['"a" cannot be copied: no such file or directory']


# -- foreign text


HOSTILE = ["-rf", "a\nb", "* *", "[a-c]", "?", "${HOME}", "$(touch pwned)", "'; --", "é😀\u202e", "\\", "\udcff", "~"]


def test_names_stay_data_whatever_is_in_them(ground: Ground) -> None:
    ground.make(*(f"in/{name}/{name}" for name in HOSTILE), "in/b")
    copied = ground.do(copy={"from": "in/*", "to": "out/"})
    assert copied == done(copied=sorted(f"out/{name}" for name in [*HOSTILE, "b"]))
    assert ground.do(move={"from": "out/*", "to": "moved/"}).reason == ""
    assert sorted(os.listdir(ground.root / "moved")) == sorted([*HOSTILE, "b"])
    for name in HOSTILE:
        assert ground.do(copy={"from": "in/b", "to": f"named/{name}"}) == done(copied=[f"named/{name}"])
    assert ground.do(delete=["moved/**", "in", "named"]).reason == ""
    assert ground.tree() == ["moved/", "out/"]


SAID = [*HOSTILE[:-2], "~", "*", "**", "[ab]*", "o*"]


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("by", ["nodes.x.output", "item"])
def test_what_a_node_has_said_is_a_name_and_no_glob(ground: Ground, name: str, by: str) -> None:
    ground.make("work/one", "work/a", "work/b", f"work/{name}")
    names: dict[str, Any] = {"nodes": {"x": {"output": name}}, "item": name}
    said = f"${{{{ {by} }}}}"

    def do(**fields: Any) -> Result:
        return perform(Files(), {"files": fields}, Kept(str(ground.root)), **names)

    assert do(copy={"from": [f"work/{said}"], "to": f"kept/{said}"}) == done(copied=[f"kept/{name}"])
    for _ in range(2):
        do(delete=f"work/{said}")
        assert [path for path in ground.tree() if path.startswith("work/")] == ["work/a", "work/b", "work/one"]


def test_a_list_of_names_that_a_node_has_said_is_that_of_its_names(ground: Ground) -> None:
    ground.make("a*", "ab", "c", "d")
    names: dict[str, Any] = {"nodes": {"x": {"output": ["a*", "c"]}}}
    result = perform(Files(), {"files": {"delete": ["${{ nodes.x.output }}"]}}, Kept(str(ground.root)), **names)
    assert result == done(deleted=["a*", "c"])


def test_what_the_file_says_may_be_a_glob_by_whatever_name(ground: Ground) -> None:
    ground.make("work/a.tmp", "work/b.tmp", "work/c")
    said = {"delete": ["${{ vars.first }}", "${{ nodes.x.writes.y }}", "work/?.${{ params.end }}"]}
    names: dict[str, Any] = {"params": {"end": "tmp"}, "nodes": {"x": {"writes": {"y": "work/c*"}}}}
    result = perform(Files(), {"files": said}, Kept(str(ground.root)), vars={"first": "work/a*"}, **names)
    assert result == done(deleted=["work/a.tmp", "work/b.tmp", "work/c"])


def test_a_glob_that_matches_nothing_is_a_path_and_a_bracket_makes_it_one(ground: Ground) -> None:
    ground.make("score[2].csv", "x", "*", "y")
    assert ground.do(delete="score[2].csv") == done(deleted=["score[2].csv"])
    assert ground.do(delete="[*]") == done(deleted=["*"])
    assert ground.tree() == ["x", "y"]


# -- what checkpoints have saved


def restore(ground: Ground, globs: object, saved: dict[str, str], mode: int = 0o644) -> Result:
    """Put back what a run whose checkpoints have saved these contents has there."""
    folder = ground.outside.parent / "saved"
    blobs = Blobs(folder)
    told = {path: [blobs.put_bytes(text.encode()), mode, len(text)] for path, text in saved.items()}
    return ground.do(restore=globs, **{files.SAVED: told, files.SAVED_IN: str(folder)})


def test_what_was_saved_is_put_back_in_place_of_whatever_is_there(ground: Ground) -> None:
    ground.make("a", "b/c", "d", "b/link -> ../d")
    saved = {"a": "old a", "b/c": "old c", "b/link": "old link", "gone/x": "old x", "other": "old other"}
    assert restore(ground, ["a", "b", "gone/*"], saved, 0o750) == done(restored=["a", "b/c", "b/link", "gone/x"])
    assert ground.tree() == ["a = old a", "b/c = old c", "b/link = old link", "d", "gone/x = old x"]
    assert stat.S_IMODE((ground.root / "a").stat().st_mode) == 0o750


@pytest.mark.parametrize(
    "glob", ["a/*", "a/*/", "**/?", "**", "**/", ".h*", ".hid", "a/[bc]", "[*]", "a", "a/**/y", "?/b"]
)
def test_a_glob_names_what_it_finds_where_that_is_there_and_all_that_lies_in_it(ground: Ground, glob: str) -> None:
    paths = [".hid/z", "a/.b", "a/b/y", "a/x", "c", "k*"]
    ground.make(*paths)
    with Tree(str(ground.root), "draft", pytest.fail) as tree:
        found = tree.find(glob.rstrip("/"), glob.endswith("/"))
    inside = [path for path in paths if any(f"{path}/".startswith(f"{one}/") for one in found)]
    assert matching(glob.rstrip("/"), paths, glob.endswith("/")) == inside


def test_what_nothing_has_saved_is_not_put_back_and_the_rest_is(ground: Ground) -> None:
    result = restore(ground, ["nosuch", "a"], {"a": "old"})
    assert (result.reason, result.error) == ("files", 'no checkpoint of this run has saved anything at "nosuch"')
    assert ground.tree() == ["a = old"]


def test_nothing_is_put_back_through_a_symlink_or_over_a_folder(ground: Ground) -> None:
    ground.make(f"link -> {ground.outside}", "was/inner")
    result = restore(ground, "*", {"link/precious": "old", "was": "old"})
    assert result.error == followed("link") + ", and 1 more"
    assert ground.tree() == [f"link -> {ground.outside}", "was/inner"]


def test_what_was_saved_and_is_damaged_is_said_and_leaves_what_is_there(ground: Ground) -> None:
    restore(ground, "a", {"a": "old"})
    ground.make("a")
    (blob,) = (path for path in (ground.outside.parent / "saved").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_text("OLD")
    told = {files.SAVED: {"a": [blob.name, 0o644, 3]}, files.SAVED_IN: str(blob.parent.parent)}
    result = ground.do(restore="a", **told)
    assert result.error == 'what was saved of "a" cannot be read: was damaged'
    assert ground.tree() == ["a"]


# -- what it says


def test_an_output_names_the_first_and_counts_the_rest(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.MOST == 1_000
    monkeypatch.setattr(files, "MOST", 2)
    ground.make("a", "b", "c", "d", "e")
    result = ground.do(delete="*", copy={"from": [], "to": "x/"})
    assert result.output == {"deleted": ["a", "b"], "copied": [], "more": {"deleted": 3}}


def test_it_reads_what_it_copies_and_moves_where_that_is_written_down() -> None:
    said = {"copy": {"from": ["a", "b/*"], "to": "c"}, "move": [{"from": "d", "to": "e"}], "delete": "f"}
    kind = Files()
    body = kind.parse({"files": said}, (), None)[0]
    assert isinstance(body, Body)
    assert (kind.paths(body, "reads"), kind.paths(body, "writes")) == (("a", "b/*", "d"), ())
    assert kind.paths(kind.parse({"files": said, "cwd": "sub"}, (), None)[0], "reads") == ()
