"""Saved files by their content."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wfctl.blobs import Blobs, Changed, Damaged

ROOT = Path(__file__).resolve().parents[1]
BIG = os.urandom(1 << 20) * 3 + b"and no whole chunk"
CONTENTS = [b"", b"content\n", BIG]
Put = Callable[[Blobs, Path], str]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


NONE = sha(b"what nobody has saved")


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "state/blobs")


def at(folder: Path, digest: str) -> Path:
    """Where a blob lies."""
    return folder / "state/blobs" / digest[:2] / digest


def left(folder: Path) -> list[str]:
    """The files below a folder, but for blobs: drafts that were left behind would be among them."""
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir() and len(path.name) != 64)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def by_bytes(blobs: Blobs, path: Path) -> str:
    return blobs.put_bytes(path.read_bytes())


WAYS: dict[str, Put] = {
    "put": lambda blobs, path: blobs.put(str(path))[0],
    "put known": lambda blobs, path: blobs.put(str(path), sha(path.read_bytes()))[0],
    "put_own": lambda blobs, path: blobs.put_own(str(path))[0],
    "put_bytes": by_bytes,
}


def refused(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def cloning(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A file system that can share content between files."""
    clones: list[int] = []

    def clone(writer: int, request: int, reader: int) -> int:
        assert request == 0x40049409
        os.pwrite(writer, os.pread(reader, 1 << 30, 0), 0)
        clones.append(reader)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    return clones


# -- in and out


@pytest.mark.parametrize("content", CONTENTS, ids=["empty", "small", "big"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_put_can_be_had_back(tmp_path: Path, blobs: Blobs, way: str, content: bytes) -> None:
    digest = WAYS[way](blobs, written(tmp_path / "x", content))
    assert digest == sha(content)
    assert blobs.read(digest) == content
    assert blobs.has(digest) == len(content)
    assert [(entry.digest, entry.size) for entry in blobs.entries()] == [(digest, len(content))]
    blobs.take(digest, str(tmp_path / "taken"), 0o640)
    blobs.link(digest, str(tmp_path / "linked"))
    assert (tmp_path / "taken").read_bytes() == (tmp_path / "linked").read_bytes() == content
    assert left(tmp_path) == ["linked", "taken", "x"]


def test_put_says_how_much_it_saved(tmp_path: Path, blobs: Blobs) -> None:
    file = str(written(tmp_path / "x", b"12345"))
    assert blobs.put(file) == blobs.put(file, sha(b"12345")) == blobs.put_own(file) == (sha(b"12345"), 5)


def test_nothing_is_made_before_something_is_put(tmp_path: Path, blobs: Blobs) -> None:
    assert blobs.has(NONE) is None
    assert list(blobs.entries()) == []
    blobs.remove(NONE)
    blobs.sweep(time.time())
    for act in (blobs.read, lambda digest: blobs.take(digest, str(tmp_path / "in/x"), 0o600)):
        with pytest.raises(FileNotFoundError) as told:
            act(NONE)
        assert told.value.filename == str(at(tmp_path, NONE))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", WAYS)
def test_blobs_are_for_us_alone_and_cannot_be_written_to(tmp_path: Path, blobs: Blobs, way: str) -> None:
    blob = at(tmp_path, WAYS[way](blobs, written(tmp_path / "x", b"x")))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (blob, blob.parent, blob.parent.parent)]
    assert modes == [0o400, 0o700, 0o700]


def test_a_file_of_the_user_s_shares_nothing_with_its_blob(tmp_path: Path, blobs: Blobs) -> None:
    file = written(tmp_path / "x", b"before")
    digest, _ = blobs.put(str(file))
    blobs.take(digest, str(tmp_path / "y"), 0o600)
    assert at(tmp_path, digest).stat().st_nlink == 1
    for name in ("x", "y"):
        with open(tmp_path / name, "r+b") as stream:
            stream.write(b"after")
    assert blobs.read(digest) == b"before"


def test_files_of_ours_are_their_blob_by_another_name(tmp_path: Path, blobs: Blobs) -> None:
    digest, _ = blobs.put_own(str(written(tmp_path / "x", b"x")))
    blobs.link(digest, str(tmp_path / "y"))
    assert at(tmp_path, digest).samefile(tmp_path / "x")
    assert at(tmp_path, digest).samefile(tmp_path / "y")
    assert [entry.links for entry in blobs.entries()] == [3]
    blobs.link(digest, str(tmp_path / "y"))
    assert left(tmp_path) == ["x", "y"]


@pytest.mark.parametrize("content", CONTENTS, ids=["empty", "small", "big"])
def test_where_there_are_no_hard_links_there_are_copies(
    tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(os, "link", refused)
    digest, size = blobs.put_own(str(written(tmp_path / "x", content)))
    blobs.link(digest, str(tmp_path / "y"))
    assert (size, (tmp_path / "y").read_bytes()) == (len(content), content)
    assert [entry.links for entry in blobs.entries()] == [1]
    assert left(tmp_path) == ["x", "y"]


@pytest.mark.parametrize("content", CONTENTS, ids=["empty", "small", "big"])
def test_where_content_can_be_shared_it_is(
    tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    clones = cloning(monkeypatch)
    digest, size = blobs.put(str(written(tmp_path / "x", content)))
    assert (digest, size) == (sha(content), len(content))
    blobs.take(digest, str(tmp_path / "y"), 0o600)
    assert (tmp_path / "y").read_bytes() == content
    assert len(clones) == 2


def test_what_is_known_to_be_saved_is_not_read(
    tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(written(tmp_path / "x", b"x"))
    blobs.put(file)
    monkeypatch.setattr(os, "read", refused)
    assert blobs.put(file, sha(b"x")) == (sha(b"x"), 1)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_put_again_is_young_again(tmp_path: Path, blobs: Blobs, way: str) -> None:
    file = written(tmp_path / "x", b"x")
    os.utime(file, (1000, 1000))
    for _ in range(2):
        digest = WAYS[way](blobs, file)
        assert next(blobs.entries()).mtime > 1_000_000_000
        os.utime(at(tmp_path, digest), (1000, 1000))
    assert next(blobs.entries()).mtime == 1000


@pytest.mark.parametrize("way", ["put", "put known", "put_own"])
def test_a_file_that_is_not_what_it_was_said_to_be_is_not_saved(tmp_path: Path, blobs: Blobs, way: str) -> None:
    if way == "put known":
        with pytest.raises(Changed) as told:
            blobs.put(str(written(tmp_path / "x", b"after")), sha(b"before"))
        assert told.value.filename == str(tmp_path / "x")
    put = blobs.put_own if way == "put_own" else blobs.put
    os.mkfifo(tmp_path / "pipe")
    for name, error in (("pipe", "is no file"), (".", "is no file"), ("nowhere", "No such file")):
        with pytest.raises(OSError, match=error):
            put(str(tmp_path / name))
    assert list(blobs.entries()) == []
    assert set(left(tmp_path)) <= {"pipe", "x"}


def test_a_link_is_no_file_of_ours_but_may_be_one_of_the_user_s(tmp_path: Path, blobs: Blobs) -> None:
    written(tmp_path / "x", b"x")
    (tmp_path / "link").symlink_to("x")
    with pytest.raises(OSError, match="is no file"):
        blobs.put_own(str(tmp_path / "link"))
    assert blobs.put(str(tmp_path / "link")) == (sha(b"x"), 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is denied to root")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, blobs: Blobs) -> None:
    file = written(tmp_path / "x", b"x")
    file.chmod(0)
    for put in (blobs.put, blobs.put_own):
        with pytest.raises(PermissionError) as told:
            put(str(file))
        assert told.value.filename == str(file)


# -- back to the user


@pytest.mark.parametrize(("mode", "given"), [(0o755, 0o755), (0o100644, 0o644), (0, 0), (0o7777, 0o777)])
def test_what_is_taken_has_its_mode_but_takes_nobody_s_rights(
    tmp_path: Path, blobs: Blobs, mode: int, given: int
) -> None:
    blobs.take(blobs.put_bytes(b"x"), str(tmp_path / "x"), mode)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == given


def test_what_is_taken_replaces_what_was_there(tmp_path: Path, blobs: Blobs) -> None:
    digest = blobs.put_bytes(b"new")
    old = written(tmp_path / "old", b"old")
    os.link(old, tmp_path / "x")
    (tmp_path / "link").symlink_to("old")
    for name in ("x", "link", "a/b/c"):
        blobs.take(digest, str(tmp_path / name), 0o600)
        assert (tmp_path / name).read_bytes() == b"new"
        assert not (tmp_path / name).is_symlink()
    assert old.read_bytes() == b"old"


def test_what_is_taken_may_lie_where_we_stand(tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    digest = blobs.put_bytes(b"x")
    blobs.take(digest, "y" * 255, 0o600)
    blobs.link(digest, "z" * 255)
    assert left(tmp_path) == ["y" * 255, "z" * 255]


@pytest.mark.parametrize("links", [True, False])
def test_a_folder_is_not_replaced(
    tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    digest = blobs.put_bytes(b"x")
    (tmp_path / "x").mkdir()
    if not links:
        monkeypatch.setattr(os, "link", refused)
    for act in ("take", "link"):
        with pytest.raises(IsADirectoryError) as told:
            acts(blobs, tmp_path)[act](digest)
        assert told.value.filename == str(tmp_path / "x")
    assert left(tmp_path) == []


def test_where_no_folder_can_be_made_nothing_is_taken(tmp_path: Path, blobs: Blobs) -> None:
    written(tmp_path / "x", b"x")
    with pytest.raises(NotADirectoryError):
        blobs.take(blobs.put_bytes(b"y"), str(tmp_path / "x/y/z"), 0o600)
    assert left(tmp_path) == ["x"]


# -- damage, planted things


def acts(blobs: Blobs, folder: Path) -> dict[str, Callable[[str], Any]]:
    return {
        "read": blobs.read,
        "take": lambda digest: blobs.take(digest, str(folder / "x"), 0o600),
        "link": lambda digest: blobs.link(digest, str(folder / "x")),
    }


@pytest.mark.parametrize("act", ["read", "take", "link"])
@pytest.mark.parametrize("bad", [b"", b"contenT", b"content and more"])
@pytest.mark.parametrize("able", [True, False])
def test_a_damaged_blob_is_removed_and_said(
    tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch, act: str, bad: bytes, able: bool
) -> None:
    digest = blobs.put_bytes(b"content")
    at(tmp_path, digest).chmod(0o600)
    at(tmp_path, digest).write_bytes(bad)
    if not able:
        monkeypatch.setattr(os, "link", refused)
    with pytest.raises(Damaged) as told:
        acts(blobs, tmp_path)[act](digest)
    assert told.value.filename == str(at(tmp_path, digest))
    assert blobs.has(digest) is None
    assert left(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        acts(blobs, tmp_path)[act](digest)


@pytest.mark.parametrize("way", WAYS)
def test_one_of_the_wrong_size_is_replaced(tmp_path: Path, blobs: Blobs, way: str) -> None:
    digest = blobs.put_bytes(b"content")
    at(tmp_path, digest).chmod(0o600)
    at(tmp_path, digest).write_bytes(b"")
    WAYS[way](blobs, written(tmp_path / "x", b"content"))
    assert blobs.read(digest) == b"content"
    assert left(tmp_path) == ["x"]


@pytest.mark.parametrize("bad", ["", "../../x", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "\n", "../" + "a" * 61])
def test_a_digest_that_is_none_leads_nowhere(tmp_path: Path, blobs: Blobs, bad: str) -> None:
    file = str(written(tmp_path / "file", b"x"))
    blobs.put(file)
    others = {"has": blobs.has, "remove": blobs.remove, "put": lambda digest: blobs.put(file, digest)}
    for act in (acts(blobs, tmp_path) | others).values():
        with pytest.raises(ValueError, match="is no digest"):
            act(bad)
    assert left(tmp_path) == ["file"]


def test_a_symlink_in_place_of_a_blob_is_not_followed(tmp_path: Path, blobs: Blobs) -> None:
    digest = blobs.put_bytes(b"content")
    target = written(tmp_path / "target", b"content")
    at(tmp_path, digest).unlink()
    at(tmp_path, digest).symlink_to(target)
    assert blobs.has(digest) is None
    assert list(blobs.entries()) == []
    for act in acts(blobs, tmp_path).values():
        with pytest.raises(FileNotFoundError):
            act(digest)
    blobs.put_bytes(b"content")
    assert blobs.read(digest) == b"content"
    assert not at(tmp_path, digest).is_symlink()
    assert target.stat().st_mode & 0o777 != 0o400


@pytest.mark.parametrize("part", ["folder", "all"])
def test_a_symlink_in_place_of_a_folder_is_not_followed(tmp_path: Path, blobs: Blobs, part: str) -> None:
    digest = blobs.put_bytes(b"content")
    planted = at(tmp_path, digest).parent if part == "folder" else tmp_path / "state/blobs"
    planted.rename(tmp_path / "elsewhere")
    planted.symlink_to(tmp_path / "elsewhere")
    before = left(tmp_path)
    with pytest.raises(NotADirectoryError):
        blobs.put_bytes(b"content")
    for act in acts(blobs, tmp_path).values():
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            act(digest)
    assert left(tmp_path) == before
    assert blobs.has(digest) is None
    blobs.remove(digest)
    blobs.sweep(time.time() + 3700)
    assert list(blobs.entries()) == []
    assert len(list((tmp_path / "elsewhere").rglob(digest))) == 1


@pytest.mark.parametrize("what", ["pipe", "folder"])
def test_what_is_no_file_is_no_blob(tmp_path: Path, blobs: Blobs, what: str) -> None:
    at(tmp_path, NONE).parent.mkdir(parents=True)
    os.mkfifo(at(tmp_path, NONE)) if what == "pipe" else at(tmp_path, NONE).mkdir()
    assert blobs.has(NONE) is None
    assert list(blobs.entries()) == []
    with pytest.raises(FileNotFoundError):
        blobs.read(NONE)


# -- what is there


def test_entries_are_all_blobs_and_nothing_else(tmp_path: Path, blobs: Blobs) -> None:
    digests = sorted(blobs.put_bytes(str(n).encode() * n) for n in range(1, 20))
    folder = at(tmp_path, digests[0]).parent
    for stray in (folder / "readme", folder / ("f" * 63), folder.parent / ("0" * 64), folder.parent / ".wfctl-1-x"):
        stray.touch()
    (folder.parent / "zz").mkdir()
    (folder / sha(digests[0].encode())).touch()  # a digest, but in the folder of others
    assert [entry.digest for entry in blobs.entries()] == digests
    os.utime(at(tmp_path, digests[3]), (5, 7.5))
    entry = list(blobs.entries())[3]
    assert (entry.size, entry.mtime, entry.links) == (blobs.has(digests[3]), 7.5, 1)


def test_one_that_is_removed_stays_where_it_is_used(tmp_path: Path, blobs: Blobs) -> None:
    digest = blobs.put_bytes(b"x")
    blobs.link(digest, str(tmp_path / "x"))
    blobs.remove(digest)
    blobs.remove(digest)
    assert blobs.has(digest) is None
    assert (tmp_path / "x").read_bytes() == b"x"


def test_only_drafts_older_than_an_hour_are_swept(tmp_path: Path, blobs: Blobs) -> None:
    digest = blobs.put_bytes(b"x")
    draft = written(tmp_path / "state/blobs/.wfctl-1-abc", b"y")
    other = written(tmp_path / "state/blobs/other", b"y")
    for path in (draft, other):
        os.utime(path, (1000, 1000))  # a draft may be a link to what was written long ago
    blobs.sweep(time.time())
    assert draft.exists()
    blobs.sweep(time.time() + 3700)
    assert not draft.exists()
    assert other.exists()
    assert blobs.has(digest) == 1


# -- failures and deaths


@pytest.mark.parametrize("act", ["put", "put_own", "put_bytes", "take", "link"])
@pytest.mark.parametrize("call", ["write", "fsync", "rename", "fchmod"])
def test_what_fails_leaves_nothing(
    tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch, act: str, call: str
) -> None:
    file = str(written(tmp_path / "x", b"x"))
    saved = blobs.put_bytes(b"saved")
    target = str(tmp_path / "y")
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, call, failing)
    doing: dict[str, Callable[[], object]] = {
        "put": lambda: blobs.put(file),
        "put_own": lambda: blobs.put_own(file),
        "put_bytes": lambda: blobs.put_bytes(b"x"),
        "take": lambda: blobs.take(saved, target, 0o600),
        "link": lambda: blobs.link(saved, target),
    }
    with pytest.raises(OSError, match="No space left") as told:
        doing[act]()
    assert str(tmp_path) in told.value.filename
    assert left(tmp_path) == ["x"]
    assert [entry.digest for entry in blobs.entries()] == [saved]


def failing(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def program(text: str, *words: str) -> subprocess.Popen[str]:
    """Another process that has `blobs`, the folder `here` and `words`."""
    head = "import os, signal, sys\nfrom pathlib import Path\nfrom wfctl.blobs import Blobs\n"
    head += "here, words = Path(sys.argv[1]), sys.argv[2:]\nblobs = Blobs(here / 'state/blobs')\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + text, *words], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    )


def succeed(started: subprocess.Popen[str]) -> None:
    _, complaint = started.communicate(timeout=120)
    assert (started.returncode, complaint) == (0, "")


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, blobs: Blobs) -> None:
    written(tmp_path / "big", BIG)
    text = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
for act in (lambda: blobs.put(str(here / "big")), lambda: blobs.put_bytes(bytes(3 << 20)),
            lambda: blobs.take(words[0], str(here / "taken"), 0o600)):
    try:
        act()
    except OSError as error:
        assert error.filename, error
    else:
        raise SystemExit("it went on")
"""
    saved = blobs.put_bytes(bytes(2 << 20))
    succeed(program(text, str(tmp_path), saved))
    assert left(tmp_path) == ["big"]
    assert [entry.digest for entry in blobs.entries()] == [saved]


DEADLY = """
call, when, way = words
real = getattr(os, call)
def deadly(*given, **named):
    if when == "after":
        real(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, call, deadly)
blobs.put(str(here / "x")) if way == "put" else blobs.put_own(str(here / "x"))
"""


@pytest.mark.parametrize("way", ["put", "put_own"])
@pytest.mark.parametrize(("call", "when"), [("fsync", "before"), ("rename", "before"), ("rename", "after")])
def test_whoever_is_killed_leaves_a_whole_blob_or_none(
    tmp_path: Path, blobs: Blobs, call: str, when: str, way: str
) -> None:
    written(tmp_path / "x", BIG)
    blobs.put_bytes(b"so that the folder is there")
    ended = program(DEADLY, str(tmp_path), call, when, way)
    ended.communicate(timeout=60)
    assert ended.returncode == -signal.SIGKILL
    there = blobs.has(sha(BIG))
    assert there == (len(BIG) if when == "after" else None)
    blobs.put(str(tmp_path / "x"))
    assert blobs.read(sha(BIG)) == BIG
    blobs.sweep(time.time() + 3700)
    assert left(tmp_path) == ["x"]


MANY = """
import hashlib
contents = [str(n).encode() * (1 + n * n * 50) for n in range(30)]
for n, content in enumerate(contents):
    own = here / f"own-{words[0]}-{n}"
    own.write_bytes(content)
    digest = [lambda: blobs.put(str(here / str(n)))[0], lambda: blobs.put_own(str(own))[0],
              lambda: blobs.put_bytes(content)][(n + int(words[0])) % 3]()
    assert digest == hashlib.sha256(content).hexdigest()
    assert blobs.read(digest) == content
    blobs.take(digest, str(here / f"taken-{n}"), 0o600)
    blobs.link(digest, str(here / f"linked-{n}"))
"""


def test_many_may_put_and_take_the_same_at_once(tmp_path: Path, blobs: Blobs) -> None:
    contents = [str(n).encode() * (1 + n * n * 50) for n in range(30)]
    for n, content in enumerate(contents):
        written(tmp_path / str(n), content)
    for ended in [program(MANY, str(tmp_path), str(who)) for who in range(4)]:
        succeed(ended)
    assert [entry.digest for entry in blobs.entries()] == sorted(map(sha, contents))
    for n, content in enumerate(contents):
        assert blobs.read(sha(content)) == content
        assert (tmp_path / f"taken-{n}").read_bytes() == (tmp_path / f"linked-{n}").read_bytes() == content
    assert [name for name in left(tmp_path) if name.startswith(".")] == []
