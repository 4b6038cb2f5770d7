"""Saved files by their content.

Knows no workflow and no run: who needs a file that is saved here is known elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wfctl.digests import CHUNK, is_digest
from wfctl.record import dataclass

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from typing import Self

DRAFT = ".wfctl-"
"""What the names of files begin with that are not whole yet; the number of their process and chance follow."""

_DRAFT_AGE = 3600.0  # seconds without a change after which nobody works on a draft any more
_CLONE = 0x40049409  # FICLONE of linux/fs.h
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BESIDE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC  # a folder of the user's, which need not be one that can be listed
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe in place of a file is not waited for
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE = (FileNotFoundError, NotADirectoryError)  # the latter: a symlink is in its place
_MODE = 0o400  # of a blob: it has other names in the folders of runs, and who writes to one of them damages all


class Changed(OSError):
    """A file that does not hold, or no longer, what it was said to hold."""


class Damaged(OSError):
    """A blob that does not hold what its name says. It is not there any more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A blob: its size in bytes, when it was last put, in seconds since the epoch, and how many names it has."""

    digest: str
    size: int
    mtime: float
    links: int


class Blobs:
    """The saved files in `folder`, which is made when the first is put.

    On disk: `ab/abcd…`, the SHA-256 of the content in 64 hexadecimal digits, in a folder named by the first two. The
    folders are for us alone, blobs can only be read. A blob is made under the name of a draft, synced, and renamed: one
    that is there is whole, whoever was killed meanwhile, and of two who put the same the later one changes nothing.

    A digest that is none is a ValueError, since it becomes a path. No symlink is followed in here, whoever planted it.
    What the system denies is an OSError with the path, and leaves nothing half done.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cleared: set[tuple[int, int]] = set()  # folders of the user's where no draft of the dead is any more

    # -- in

    def put(self, path: str, digest: str | None = None) -> tuple[str, int]:
        """Save what a file of the user's holds: its digest, and its bytes.

        Of a file that is written to meanwhile, that is what was read of it. With `digest`, it is what the file is known
        to hold: nothing is read where that is saved already; raises Changed, and saves nothing, where it holds another.
        Never a hard link, for the user's file may be written to in place later.
        """
        if digest is not None:
            _check(digest)
        with _source(path) as reader:
            size = os.fstat(reader).st_size
            if digest is not None and self._is_renewed(digest, size):
                return digest, size
            return self._copy(reader, path, digest)

    def put_own(self, path: str) -> tuple[str, int]:
        """The same for a file of ours to which nobody ever writes again: it becomes the blob, where it can, by a link.

        Then it cannot be written to any more: it has the mode of a blob.
        """
        with _source(path, os.O_NOFOLLOW) as reader:
            digest, size = _hashed(reader, path)
            if not self._is_renewed(digest, size) and not self._is_linked(reader, path, digest):
                os.lseek(reader, 0, os.SEEK_SET)
                self._copy(reader, path, digest)
            return digest, size

    def put_bytes(self, content: bytes) -> str:
        """Save these bytes: their digest."""
        from hashlib import sha256

        digest = sha256(content).hexdigest()
        if not self._is_renewed(digest, len(content)):
            with self._root(make=True) as root, _Draft(root, str(self._folder)) as draft:
                draft.write(content)
                draft.finish(_MODE)
                self._settle(root, draft.name, digest)
        return digest

    # -- out

    def link(self, digest: str, target: str) -> None:
        """Give a file of ours that content: by a hard link where it can, else as a copy. For good, when this returns.

        It appears whole, in place of what was there, in a folder that is there, and must not be written to. Raises
        FileNotFoundError where there is no such blob, Damaged as `read` does.
        """
        with self._blob(digest) as (shard, reader), _folder_of(target, _FOLDER) as beside:
            if _hashed(reader, self._path(digest))[0] != digest:
                raise self._damaged(shard, reader, digest)
            draft = _draft_name()
            try:
                os.link(digest, draft, src_dir_fd=shard, dst_dir_fd=beside, follow_symlinks=False)
            except OSError:  # not in each file system, nor without end; what else is wrong shows in what follows
                os.lseek(reader, 0, os.SEEK_SET)
                self._give(shard, reader, digest, beside, target, _MODE)
            else:
                try:
                    _rename(draft, beside, target)
                finally:
                    _unlink(beside, draft)  # between two names of one file a rename does nothing
            with _about(target):
                _sync(beside)

    def take(self, digest: str, target: str, mode: int) -> None:
        """Put back a file of the user's: by a reflink where it can, else as a copy. Folders that are missing are made.

        It appears whole, in place of what was there, also of a symlink. Of `mode` only what all may do is kept: whose
        rights a program takes is not put back. Raises IsADirectoryError where the target is a folder, FileNotFoundError
        where there is no such blob, Damaged as `read` does.
        """
        with self._blob(digest) as (shard, reader):
            if os.path.isdir(target) and not os.path.islink(target):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            with _folder_of(target, _BESIDE) as beside:
                self._clear(beside)
                # Its name is not synced: no more is that of a file which a node has written.
                self._give(shard, reader, digest, beside, target, mode & 0o777)

    def read(self, digest: str) -> bytes:
        """What a blob holds.

        Raises FileNotFoundError where there is none, and Damaged, and removes it, where it does not hold that.
        """
        from hashlib import sha256

        with self._blob(digest) as (shard, reader):
            with _about(self._path(digest)), open(reader, "rb", closefd=False) as file:
                content = file.read()
            if sha256(content).hexdigest() != digest:
                raise self._damaged(shard, reader, digest)
            return content

    @contextmanager
    def opened(self, digest: str) -> Iterator[int]:
        """A handle to read what a blob holds, of which it was made sure. Raises as `read` does."""
        with self._blob(digest) as (shard, reader):
            if _hashed(reader, self._path(digest))[0] != digest:
                raise self._damaged(shard, reader, digest)
            os.lseek(reader, 0, os.SEEK_SET)
            yield reader

    def has(self, digest: str) -> int | None:
        """The bytes of a blob; None where there is none. What it holds is not looked at."""
        try:
            with self._shard(digest) as shard:
                told = os.stat(digest, dir_fd=shard, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return told.st_size if stat.S_ISREG(told.st_mode) else None

    # -- what is there

    def entries(self) -> Iterator[Entry]:
        """All blobs, by digest. What is none, by its name or sort, is passed over."""
        try:
            with self._root() as root:
                firsts = sorted(os.listdir(root))
        except _NOT_THERE:
            return
        for first in firsts:
            if is_digest(first + "0" * 62):
                yield from self._entries(first)

    def _entries(self, first: str) -> list[Entry]:
        found = []
        try:
            with self._shard(first + "0" * 62) as shard, os.scandir(shard) as entries:
                for entry in entries:
                    if is_digest(entry.name) and entry.name[:2] == first and entry.is_file(follow_symlinks=False):
                        try:
                            told = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:  # it has just been removed
                            continue
                        found.append(Entry(entry.name, told.st_size, told.st_mtime, told.st_nlink))
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda entry: entry.digest)

    def remove(self, digest: str) -> None:
        """Remove a blob, if it is there. Other names of it, in the folders of runs, stay."""
        try:
            with self._shard(digest) as shard, _about(self._path(digest)):
                os.unlink(digest, dir_fd=shard)
        except FileNotFoundError:
            pass

    def sweep(self, now: float) -> None:
        """Remove the drafts of those who were killed: what has not changed in the hour before `now`, in seconds."""
        try:
            with self._root() as root:
                for name in os.listdir(root):
                    if name.startswith(DRAFT) and _changed(root, name) < now - _DRAFT_AGE:
                        _unlink(root, name)
        except _NOT_THERE:
            pass

    def _clear(self, beside: int) -> None:
        """Remove from a folder of the user's what was left there by those who were killed while they put a file back:
        whoever goes on with that looks here again. Once for each folder: it may be a large one."""
        told = os.fstat(beside)
        if (place := (told.st_dev, told.st_ino)) in self._cleared:
            return
        self._cleared.add(place)
        try:
            folder = os.open(".", _FOLDER, dir_fd=beside)
        except OSError:  # it cannot be listed
            return
        try:
            for name in os.listdir(folder):
                if name.startswith(DRAFT) and _is_draft(name):
                    _bury(folder, name)
        finally:
            os.close(folder)

    # -- how they come and go

    def _is_renewed(self, digest: str, size: int) -> bool:
        """Whether that is saved already. If so, it is young again: who removes old ones does not take it for one."""
        if self.has(digest) != size:  # of another size it is damaged, and is replaced
            return False
        try:
            with self._shard(digest) as shard:
                os.utime(digest, dir_fd=shard, follow_symlinks=False)
        except FileNotFoundError:  # it has just been removed
            return False
        return True

    def _copy(self, reader: int, path: str, digest: str | None) -> tuple[str, int]:
        with self._root(make=True) as root, _Draft(root, str(self._folder)) as draft:
            found, size = draft.fill(reader, path)
            if digest is not None and found != digest:
                raise Changed(errno.ESTALE, "has been changed meanwhile", path)
            if digest is not None or not self._is_renewed(found, size):
                draft.finish(_MODE)
                self._settle(root, draft.name, found)
        return found, size

    def _is_linked(self, reader: int, path: str, digest: str) -> bool:
        """Whether the file has become the blob."""
        with self._root(make=True) as root:
            draft = _draft_name()
            try:
                os.link(path, draft, dst_dir_fd=root, follow_symlinks=False)
            except OSError:  # as in `link`
                return False
            try:
                if not os.path.samestat(os.stat(draft, dir_fd=root, follow_symlinks=False), os.fstat(reader)):
                    return False
                with _about(path):
                    os.fchmod(reader, _MODE)
                    os.utime(reader)
                    os.fsync(reader)
                self._settle(root, draft, digest)
            finally:
                _unlink(root, draft)
        return True

    def _settle(self, root: int, draft: str, digest: str) -> None:
        """A draft becomes a blob."""
        first = digest[:2]
        with _about(self._path(digest)):
            try:
                os.mkdir(first, 0o700, dir_fd=root)
                _sync(root)
            except FileExistsError:
                pass
            shard = os.open(first, _FOLDER, dir_fd=root)
            try:
                os.rename(draft, digest, src_dir_fd=root, dst_dir_fd=shard)
                _sync(shard)
            finally:
                os.close(shard)

    def _give(self, shard: int, reader: int, digest: str, beside: int, target: str, mode: int) -> None:
        """A target becomes a copy of a blob, of which it is made sure meanwhile."""
        with _Draft(beside, target) as draft:
            if draft.fill(reader, self._path(digest))[0] != digest:
                raise self._damaged(shard, reader, digest)
            draft.finish(mode)
            _rename(draft.name, beside, target)

    def _damaged(self, shard: int, reader: int, digest: str) -> Damaged:
        """The error for a blob that does not hold what its name says; it is removed."""
        try:
            # Unless somebody has put a whole one in its place by now.
            if os.path.samestat(os.stat(digest, dir_fd=shard, follow_symlinks=False), os.fstat(reader)):
                os.unlink(digest, dir_fd=shard)
        except OSError:  # the next one who wants it will be told the same
            pass
        return Damaged(errno.EIO, "was damaged", self._path(digest))

    # -- where they are

    def _path(self, digest: str) -> str:
        """What errors call it."""
        return f"{self._folder}/{digest[:2]}/{digest}"

    @contextmanager
    def _root(self, make: bool = False) -> Iterator[int]:
        """A handle of the folder. FileNotFoundError where there is none, and none is to be made."""
        with _about(str(self._folder)):
            try:
                root = os.open(self._folder, _FOLDER)
            except FileNotFoundError:
                if not make:
                    raise
                self._folder.parent.mkdir(0o700, parents=True, exist_ok=True)
                self._folder.mkdir(0o700, exist_ok=True)
                with _folder_of(str(self._folder), _FOLDER & ~os.O_NOFOLLOW) as parent:
                    _sync(parent)
                root = os.open(self._folder, _FOLDER)
        try:
            yield root
        finally:
            os.close(root)

    @contextmanager
    def _shard(self, digest: str) -> Iterator[int]:
        """A handle of the folder that a blob lies in. FileNotFoundError where there is none, or a symlink."""
        _check(digest)
        try:
            with self._root() as root:
                shard = os.open(digest[:2], _FOLDER, dir_fd=root)
        except _NOT_THERE:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path(digest)) from None
        try:
            yield shard
        finally:
            os.close(shard)

    @contextmanager
    def _blob(self, digest: str) -> Iterator[tuple[int, int]]:
        """Handles of that folder and of the blob. FileNotFoundError where there is none."""
        with self._shard(digest) as shard:
            with _about(self._path(digest)):
                told = os.stat(digest, dir_fd=shard, follow_symlinks=False)
                if not stat.S_ISREG(told.st_mode):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                reader = os.open(digest, _READ | os.O_NOFOLLOW, dir_fd=shard)
            try:
                yield shard, reader
            finally:
                os.close(reader)


class _Draft:
    """A new file in an open folder, which is gone at the end unless it was renamed. `path` is what errors call it.

    While its maker lives it is locked: so it is told from one that was left behind.
    """

    __slots__ = ("_folder", "_handle", "_path", "name")

    def __init__(self, folder: int, path: str) -> None:
        self.name = _draft_name()
        self._folder = folder
        self._path = path

    def __enter__(self) -> Self:
        with _about(self._path):
            while True:
                self._handle = os.open(self.name, _NEW, 0o600, dir_fd=self._folder)
                if _is_held(self._handle):
                    return self
                os.close(self._handle)  # it was taken for one that was left behind, before it was locked

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)
        _unlink(self._folder, self.name)

    def fill(self, reader: int, path: str) -> tuple[str, int]:
        """Make it a copy of an open file, called `path`: the digest and bytes of what is in it."""
        if _is_cloned(reader, self._handle):
            return _hashed(self._handle, self._path)
        from hashlib import sha256

        known, size = sha256(), 0
        for content in _chunks(reader, path):
            known.update(content)
            size += len(content)
            self.write(content)
        return known.hexdigest(), size

    def write(self, content: bytes) -> None:
        left = memoryview(content)
        with _about(self._path):
            while left:
                left = left[os.write(self._handle, left) :]

    def finish(self, mode: int) -> None:
        with _about(self._path):
            os.fchmod(self._handle, mode)
            os.fsync(self._handle)


def _check(digest: str) -> None:
    if not is_digest(digest):
        raise ValueError(f"{digest!r} is no digest: 64 lowercase hexadecimal digits")


def _draft_name() -> str:
    return f"{DRAFT}{os.getpid()}-{os.urandom(6).hex()}"


def _is_draft(name: str) -> bool:
    """Whether `_draft_name` makes such names: what else begins like one may be a file of the user's."""
    number, _, chance = name.removeprefix(DRAFT).partition("-")
    return number.isdecimal() and len(chance) == 12 and is_digest(chance.zfill(64))


def _is_held(draft: int) -> bool:
    """Lock a draft; whether it has a name still."""
    import fcntl

    try:
        fcntl.flock(draft, fcntl.LOCK_EX)
    except OSError:  # not in each file system: then nobody can lock it, and take it for one that was left behind
        return True
    return os.fstat(draft).st_nlink > 0


def _bury(folder: int, name: str) -> None:
    """Remove a draft whose maker is dead."""
    import fcntl

    try:
        draft = os.open(name, _READ | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:  # it is a draft no more, or none of ours
        return
    try:
        if stat.S_ISREG(os.fstat(draft).st_mode):
            fcntl.flock(draft, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _unlink(folder, name)
    except OSError:  # its maker lives
        pass
    finally:
        os.close(draft)


@contextmanager
def _about(path: str) -> Iterator[None]:
    """Errors are told of that path: by handles they name none, or only the last part."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = path, None
        raise


@contextmanager
def _source(path: str, flags: int = 0) -> Iterator[int]:
    """A handle of a file to be saved. OSError where it is none: to open a pipe may wake somebody."""
    if not stat.S_ISREG(os.stat(path, follow_symlinks=not flags & os.O_NOFOLLOW).st_mode):
        raise OSError(errno.EINVAL, "is no file", path)
    reader = os.open(path, _READ | flags)
    try:
        if not stat.S_ISREG(os.fstat(reader).st_mode):
            raise OSError(errno.EINVAL, "is no file", path)
        yield reader
    finally:
        os.close(reader)


@contextmanager
def _folder_of(path: str, flags: int) -> Iterator[int]:
    """A handle of the folder that a path lies in."""
    folder = os.open(os.path.dirname(path) or ".", flags)
    try:
        yield folder
    finally:
        os.close(folder)


def _rename(draft: str, beside: int, target: str) -> None:
    with _about(target):
        os.rename(draft, os.path.basename(target), src_dir_fd=beside, dst_dir_fd=beside)


def _is_cloned(reader: int, writer: int) -> bool:
    """Whether one file shares the content of another now, until either is changed: some file systems can do that."""
    import fcntl

    try:
        fcntl.ioctl(writer, _CLONE, reader)
    except OSError:  # whatever it is: if a copy cannot be made either, that will say why
        return False
    return True


def _chunks(reader: int, path: str) -> Iterator[bytes]:
    while True:
        with _about(path):
            content = os.read(reader, CHUNK)
        if not content:
            return
        yield content


def _hashed(reader: int, path: str) -> tuple[str, int]:
    """The digest of what is left of an open file, and its bytes."""
    from hashlib import sha256

    known, size = sha256(), 0
    for content in _chunks(reader, path):
        known.update(content)
        size += len(content)
    return known.hexdigest(), size


def _changed(folder: int, name: str) -> float:
    """When a name was last changed, in seconds: not when its content was, for that may have been a file's before."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ctime
    except FileNotFoundError:
        return float("inf")


def _unlink(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:  # it is not there: it was renamed; or, at worst, it is left
        pass


def _sync(folder: int) -> None:
    """Make the names in a folder survive the death of the machine."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems have no such thing
            raise
