"""What files hold, as hashes, and when one is remembered."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from wfctl import digests
from wfctl.digests import CHUNK, Changing, Digests, folded, is_digest

LARGE = 64 * 1024
LONG_AGO = 1_000_000_000  # seconds; the time of a file, while that of its inode is now


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A few files, each of which holds its own path."""
    for path in ("a.txt", "b.txt", ".hidden", "src/x.c", "src/y.h", "src/deep/z.c", "src/.git/config"):
        put(tmp_path, path)
    return tmp_path


def put(folder: Path, path: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(path)


def found(folder: Path, path: str) -> list[str]:
    """The files that it stands for; each must be there by what it holds."""
    what = Digests(str(folder)).of(path)
    assert list(what) == sorted(what)
    for name, digest in what.items():
        if is_digest(digest):
            assert digest == sha((folder / name).read_bytes())
    return [name if is_digest(digest) else f"{name} {digest}" for name, digest in what.items()]


# -- what a path stands for


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, CHUNK - 1, CHUNK, CHUNK + 1, 3_000_000])
def test_a_file_stands_for_what_it_holds(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "x").write_bytes(content)
    assert Digests(str(tmp_path)).of("x") == {"x": sha(content)}
    assert Digests(str(tmp_path)).file("x") == sha(content)


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("a.txt", ["a.txt"]),
        ("src/x.c", ["src/x.c"]),
        ("nowhere", []),
        ("a.txt/in", []),
        ("src", ["src/.git/config", "src/deep/z.c", "src/x.c", "src/y.h"]),
        (".", [".hidden", "a.txt", "b.txt", "src/.git/config", "src/deep/z.c", "src/x.c", "src/y.h"]),
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("[b-z].txt", ["b.txt"]),
        ("*.none", []),
        (".h*", [".hidden"]),
        ("*/x.c", ["src/x.c"]),
        ("s*/*.c", ["src/x.c"]),
        ("**/*.c", ["src/deep/z.c", "src/x.c"]),
        ("src/**/*.c", ["src/deep/z.c", "src/x.c"]),
        ("**/deep/*", ["src/deep/z.c"]),
        ("*/deep", ["src/deep/z.c"]),
        ("**/deep/**", ["src/deep/z.c"]),
        ("src/**", ["src/.git/config", "src/deep/z.c", "src/x.c", "src/y.h"]),
        ("a.txt/**", []),
        ("**/config", []),
    ],
)
def test_a_path_stands_for_a_file_a_folder_or_all_that_a_glob_matches(here: Path, path: str, files: list[str]) -> None:
    assert found(here, path) == files


@pytest.mark.parametrize("pattern", ["*", "**", "*/**", "**/*", "src/**/deep/*", "**/**/*.c", "**/.*", "*/.*/**"])
def test_a_glob_matches_what_it_does_elsewhere(here: Path, pattern: str) -> None:
    files = Digests(str(here))
    matched = [files.of(path) for path in glob.glob(pattern, root_dir=here, recursive=True)]
    assert files.of(pattern) == {os.path.normpath(path): what for one in matched for path, what in one.items()}


def test_a_file_that_has_the_name_of_a_glob_is_itself(here: Path) -> None:
    put(here, "[b].txt")
    assert found(here, "[b].txt") == ["[b].txt"]


def test_an_empty_folder_is_something(tmp_path: Path) -> None:
    (tmp_path / "out/in").mkdir(parents=True)
    assert found(tmp_path, "out") == ["out/in/ folder"]
    assert found(tmp_path, "out/in") == ["out/in/ folder"]
    assert found(tmp_path, "*") == ["out/in/ folder"]


def test_a_symlink_that_is_named_or_matched_is_followed(here: Path) -> None:
    (here / "link").symlink_to("a.txt")
    (here / "there").symlink_to("src/deep")
    assert Digests(str(here)).of("link") == {"link": sha(b"a.txt")}
    assert Digests(str(here)).file("link") == sha(b"a.txt")
    assert Digests(str(here)).of("the*") == Digests(str(here)).of("there") == {"there/z.c": sha(b"src/deep/z.c")}


def test_a_symlink_in_a_folder_is_where_it_leads(here: Path) -> None:
    (here / "src/deep/up").symlink_to("..")
    (here / "src/deep/file").symlink_to("z.c")
    assert found(here, "src/deep") == ["src/deep/file link:z.c", "src/deep/up link:..", "src/deep/z.c"]


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_a_symlink_that_leads_nowhere_is_where_it_leads(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    assert found(tmp_path, "link") == found(tmp_path, "l*") == [f"link link:{target}"]
    assert Digests(str(tmp_path)).file("link") is None


def test_symlinks_that_lead_upwards_are_not_gone_round_in(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        put(tmp_path, f"pack/{name}/index.js")
        for other in {"a", "b", "c"} - {name}:
            (tmp_path / f"pack/{name}/{other}").symlink_to(f"../{other}")
    assert found(tmp_path, "pack/**/*.js") == ["pack/a/index.js", "pack/b/index.js", "pack/c/index.js"]
    assert found(tmp_path, "pack/**") == found(tmp_path, "pack")
    assert "pack/a/b link:../b" in found(tmp_path, "pack/**")


def test_a_glob_sees_what_lies_behind_a_symlink_once(tmp_path: Path) -> None:
    put(tmp_path, "big/jan/x.csv")
    (tmp_path / "data").mkdir()
    for name in ("one", "two"):
        (tmp_path / "data" / name).symlink_to("../big")
    assert found(tmp_path, "data/**/*.csv") in (["data/one/jan/x.csv"], ["data/two/jan/x.csv"])
    assert found(tmp_path, "data/**") == ["data/one/jan/x.csv", "data/two link:../big"]


def test_what_is_no_file_is_told_apart_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    os.mkfifo("in/pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("in/socket")
    os.symlink("/dev/zero", "zero")
    signal.alarm(30)  # the end of one who waits for a writer
    try:
        assert found(tmp_path, "in") == ["in/pipe special", "in/socket special"]
        assert found(tmp_path, "in/pipe") == ["in/pipe special"]
        assert found(tmp_path, "zero") == ["zero special"]
        assert Digests(".").file("in/pipe") is None
    finally:
        signal.alarm(0)


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff\n", "wb"):
        pass
    what = Digests(str(tmp_path)).of(".")
    assert what == {"\udcff\n": sha(b"")}
    assert is_digest(folded(what))


@pytest.mark.parametrize("what", ["nowhere", "folder", "a.txt/in"])
def test_where_no_file_is_there_is_no_digest(here: Path, what: str) -> None:
    (here / "folder").mkdir()
    assert Digests(str(here)).file(what) is None


def test_what_cannot_be_read_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int, length: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", broken)
    for act, path in ((Digests(str(here)).file, "src/x.c"), (Digests(str(here)).of, "src/deep")):
        with pytest.raises(OSError, match="Input/output") as told:
            act(path)
        assert told.value.filename == ("src/x.c" if path == "src/x.c" else "src/deep/z.c")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is denied to root")
def test_what_may_not_be_read_is_named(here: Path) -> None:
    (here / "a.txt").chmod(0)
    (here / "src/deep").chmod(0)
    for path, named in (("a.txt", "a.txt"), ("src", "src/deep"), ("*.txt", "a.txt")):
        with pytest.raises(PermissionError) as told:
            Digests(str(here)).of(path)
        assert told.value.filename == named
    (here / "src/deep").chmod(0o700)


# -- while somebody writes


def writing(monkeypatch: pytest.MonkeyPatch, file: Path, times: int) -> list[int]:
    """Somebody adds to the file just after so many readings of it."""
    readings: list[int] = []
    read = os.read

    def reading(handle: int, length: int) -> bytes:
        content = read(handle, length)
        readings.append(handle)
        if len(readings) <= times:
            with file.open("ab") as more:
                more.write(b"+")
        return content

    monkeypatch.setattr(os, "read", reading)
    return readings


def test_a_file_that_changes_meanwhile_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"begun")
    writing(monkeypatch, tmp_path / "x", 3)
    assert Digests(str(tmp_path)).file("x") == sha(b"begun+++")


def test_one_that_never_rests_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"begun")
    readings = writing(monkeypatch, tmp_path / "x", sys.maxsize)
    with pytest.raises(Changing) as told:
        Digests(str(tmp_path)).file("x")
    assert told.value.filename == "x"
    assert len(readings) == 4


# -- the memory


class Memory:
    """What was remembered, as JSON gives it back, and how often a file was really read."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, later: float = 3.0) -> None:
        self.kept: dict[str, Any] = {}
        self.read = 0
        self.digests = Digests(str(folder), self.kept.get, self.remember)
        hashed, now = digests._hashed, time.time_ns

        def counted(handle: int, size: int) -> str:
            self.read += 1
            return hashed(handle, size)

        monkeypatch.setattr(digests, "_hashed", counted)
        monkeypatch.setattr(time, "time_ns", lambda: now() + int(later * 1e9))

    def remember(self, path: str, what: list[object]) -> None:
        self.kept[path] = json.loads(json.dumps(what))


def test_a_large_file_that_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(bytes(LARGE))
    memory = Memory(tmp_path, monkeypatch)
    assert memory.digests.file("x") == memory.digests.file("x") == sha(bytes(LARGE))
    assert memory.digests.of(".") == memory.digests.of("*") == {"x": sha(bytes(LARGE))}
    assert memory.read == 1


def test_a_small_file_is_always_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(bytes(LARGE - 1))
    memory = Memory(tmp_path, monkeypatch)
    assert memory.digests.file("x") == memory.digests.file("x")
    assert (memory.read, memory.kept) == (2, {})


@pytest.mark.parametrize("how", ["written", "time set back", "replaced", "touched"])
def test_one_that_changed_in_any_way_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    file = tmp_path / "x"
    file.write_bytes(bytes(LARGE))
    os.utime(file, (LONG_AGO, LONG_AGO))
    memory = Memory(tmp_path, monkeypatch)
    memory.digests.file("x")
    before = file.stat()
    if how == "replaced":
        (tmp_path / "y").write_bytes(b"y" * LARGE)
        os.replace(tmp_path / "y", file)
    elif how != "touched":
        file.write_bytes(b"y" * LARGE)
    if how != "written":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + (how == "touched")))
    # The clock of a file system may tick slower than this test is; only then are both moments the same.
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(file, ns=(before.st_atime_ns, file.stat().st_mtime_ns))
    assert memory.digests.file("x") == sha(file.read_bytes())
    assert memory.read == 2


@pytest.mark.parametrize("back", [None, LONG_AGO])
def test_one_that_has_just_changed_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: int | None
) -> None:
    """It may change once more within the tick of the clock, whatever time it is given then."""
    (tmp_path / "x").write_bytes(bytes(LARGE))
    memory = Memory(tmp_path, monkeypatch, later=0)
    if back is not None:
        os.utime(tmp_path / "x", (back, back))
    memory.digests.file("x")
    assert memory.kept == {}


def test_one_from_the_future_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(bytes(LARGE))
    os.utime(tmp_path / "x", (LONG_AGO * 4, LONG_AGO * 4))
    memory = Memory(tmp_path, monkeypatch)
    memory.digests.file("x")
    assert memory.kept == {}


SPOILT: dict[str, Any] = {
    "nothing": lambda kept: None,
    "text": lambda kept: "x",
    "mapping": lambda kept: {"0": 1},
    "empty": lambda kept: [],
    "too short": lambda kept: kept[:5],
    "too long": lambda kept: [*kept, 0],
    "no digest": lambda kept: [*kept[:5], None],
    "path": lambda kept: [*kept[:5], "../../x"],
    "upper case": lambda kept: [*kept[:5], kept[5].upper()],
    "texts": lambda kept: [str(one) for one in kept],
    "another device": lambda kept: [kept[0] + 1, *kept[1:]],
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_memory_that_makes_no_sense_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    content = b"x" * LARGE
    (tmp_path / "x").write_bytes(content)
    memory = Memory(tmp_path, monkeypatch)
    memory.digests.file("x")
    memory.kept["x"] = SPOILT[how](memory.kept["x"])
    assert memory.digests.file("x") == sha(content)
    assert memory.read == 2


# -- many as one


def test_what_was_found_can_be_told_in_one_digest() -> None:
    found = {"a": sha(b"1"), "b": sha(b"2")}
    assert folded(found) == folded(dict(reversed(found.items())))
    assert folded({}) == sha(b"")
    assert folded({"a": "folder"}) == sha(b"a\0folder\0")
    assert len({folded(one) for one in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a1": ""}, {}, {"a": "1", "b": "1"})}) == 6


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 63 + "\n", "/" * 64, None, 1])
def test_a_digest_is_64_lowercase_hexadecimal_digits(text: object) -> None:
    assert not is_digest(text)
    assert is_digest("0f" * 32)
