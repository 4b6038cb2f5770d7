"""Finds, deletes, copies, moves and fills what lies in one folder, by handles: each is opened in the one before it.

Knows no node. No symlink is followed, so whatever changes between look and act, nothing is done outside."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from typing import Self

DEEPEST = 100
"""How deep folders may lie in what is worked on: each holds a handle, of which a process has some 1,000."""

CHUNK = 16 * 1024 * 1024
"""Bytes that are copied before it is asked again whether to go on."""

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # what may not be listed can be passed through
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe in place of a file is not waited for
_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHER_WAY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_MODE = 0o1777  # who copies a program does not copy whose rights it takes


class Refused(Exception):
    """What is not done; the text says why, with the path."""


class Tree:
    """What lies in the folder `root`. Paths are plain and relative to it.

    What cannot be done is told to `complain`, and the rest is done. `go_on` is asked all the while; what it raises
    comes out of here. `draft` is the name of copies that are not whole yet; what has it is thrown away.
    """

    def __init__(
        self, root: str, draft: str, complain: Callable[[str], None], go_on: Callable[[], None] = lambda: None
    ) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._draft = draft
        self._complain = complain
        self._go_on = go_on

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    # -- looking

    def status(self, path: str) -> os.stat_result | None:
        """What is there, a symlink itself; None for nothing. Raises Refused where a symlink leads there."""
        try:
            with self._folder(os.path.dirname(path)) as folder:
                return _status(folder, os.path.basename(path) or ".")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused(f'"{path}" cannot be reached: {_why(error)}') from None

    def find(self, pattern: str, folders: bool = False) -> list[str]:
        """The paths of a glob, sorted; with `folders` nothing but those. What lies in one of them is not named.

        As in a shell, only what begins with a dot matches names that do, and a glob that matches nothing is a path.
        `**` stands for any number of folders.
        """
        parts = pattern.split("/")
        plain = next((i for i, part in enumerate(parts) if is_glob(part)), len(parts))
        found: list[str] = []
        if plain < len(parts):
            start = "/".join(parts[:plain])
            try:
                with self._folder(start) as folder:
                    self._seek(folder, start, _ended(parts[plain:]), {0}, folders, found, 0)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise Refused(f'"{start}" cannot be reached: {_why(error)}') from None
        return sorted(found) if found else [pattern] if self.status(pattern) else []

    def _seek(
        self, folder: int, at: str, parts: list[str], places: set[int], folders: bool, found: list[str], depth: int
    ) -> None:
        """Add what is found in a folder; `places` are those of the parts that its entries may match."""
        for name, is_folder in self._entries(folder, at, "looked through") or ():
            self._go_on()
            path = f"{at}/{name}" if at else name
            inside, whole = _passed(parts, places, name)
            if whole and (is_folder or not folders):
                found.append(path)
            elif inside and is_folder and self._is_near(path, depth):
                try:
                    inner = os.open(name, _FOLDER, dir_fd=folder)
                except OSError:  # gone, or another thing by now
                    continue
                try:
                    self._seek(inner, path, parts, inside, folders, found, depth + 1)
                finally:
                    os.close(inner)

    # -- acting

    def delete(self, path: str) -> bool:
        """Whether it is gone, with all that lies in it. What is missing is."""
        try:
            with self._folder(os.path.dirname(path)) as folder:
                return _clear(_Spot(folder, path), 0, self._go_on, self._complain)
        except FileNotFoundError:
            return True
        except Refused as refused:
            self._complain(str(refused))
        except OSError as error:
            self._complain(f'"{path}" cannot be reached: {_why(error)}')
        return False

    def put(self, source: str, target: str, moves: bool = False) -> bool:
        """Whether all of it is there now, and with `moves` nowhere else.

        What is new appears when it is whole. A folder goes into one that is there, entry by entry.
        """
        what = source
        try:
            with self._folder(os.path.dirname(source)) as one:
                what = target
                with self._folder(os.path.dirname(target), make=True) as other:
                    return self._put(_Spot(one, source), _Spot(other, target), 0, moves)
        except Refused as refused:
            self._complain(str(refused))
        except OSError as error:
            self._complain(f'"{what}" cannot be reached: {_why(error)}')
        return False

    def fill(self, target: str, reader: int, mode: int) -> bool:
        """Whether a file holds what an open one does, from where that stands. It appears whole, with the folders that
        are missing, in place of what was there, unless that is a folder."""
        try:
            with self._folder(os.path.dirname(target), make=True) as folder:
                spot = _Spot(folder, target)
                there = spot.status()
                if there and stat.S_ISDIR(there.st_mode):
                    raise Refused(f'"{target}" is a folder, and was a file; delete that first')
                return self._appears(spot, lambda draft: self._write(draft, reader, mode))
        except Refused as refused:
            self._complain(str(refused))
        except OSError as error:
            self._complain(f'"{target}" cannot be put back: {_why(error)}')
        return False

    def _put(self, source: _Spot, target: _Spot, depth: int, moves: bool) -> bool:
        self._go_on()
        try:
            told, there = source.must(), target.status()
            is_folder = stat.S_ISDIR(told.st_mode)
            if there and os.path.samestat(told, there):
                raise Refused(f'"{source.path}" and "{target.path}" are the same file')
            if there and stat.S_ISDIR(there.st_mode) != is_folder:
                one, other = ("a folder", "none") if is_folder else ("no folder", "one")
                raise Refused(f'"{source.path}" is {one}, and "{target.path}" is {other}; delete that first')
            if there and is_folder:
                return self._put_into(source, target, depth, moves)
            if moves and _renamed(source, target):
                return True
            if not self._appears(target, lambda draft: self._fill(source, draft, depth)):
                return False
            return not moves or _clear(source, depth, self._go_on, self._complain)
        except Refused as refused:
            self._complain(str(refused))
        except OSError as error:
            self._complain(f'"{source.path}" cannot be {"moved" if moves else "copied"}: {_why(error)}')
        return False

    def _put_into(self, source: _Spot, target: _Spot, depth: int, moves: bool) -> bool:
        if not self._is_near(source.path, depth):
            return False
        with source.inside() as one, target.inside() as other:
            entries = self._entries(one, source.path, "read")
            done = [self._put(source.at(one, n), target.at(other, n), depth + 1, moves) for n, _ in entries or ()]
        if entries is None or not all(done):
            return False  # and that was told
        if moves:
            os.rmdir(source.name, dir_fd=source.folder)
        return True

    def _appears(self, target: _Spot, made: Callable[[_Spot], bool]) -> bool:
        """Have it made beside its place, and put it there when it is whole."""
        draft = _Spot(target.folder, os.path.join(os.path.dirname(target.path), self._draft))
        _clear(draft, 0, ours=True)  # of an attempt that was killed
        try:
            if not made(draft):
                return False
            os.rename(draft.name, target.name, src_dir_fd=draft.folder, dst_dir_fd=target.folder)
            return True
        finally:
            _clear(draft, 0, ours=True)

    def _fill(self, source: _Spot, new: _Spot, depth: int) -> bool:
        self._go_on()
        try:
            told = source.must()
            if stat.S_ISDIR(told.st_mode):
                return self._fill_folder(source, new, depth, told)
            if stat.S_ISLNK(told.st_mode):
                os.symlink(os.readlink(source.name, dir_fd=source.folder), new.name, dir_fd=new.folder)
                _keep_times(new, told)
            elif stat.S_ISREG(told.st_mode):
                self._fill_file(source, new)
            else:
                raise Refused(f'"{source.path}" is neither file, folder nor symlink, and cannot be copied')
            return True
        except Refused as refused:
            self._complain(str(refused))
        except OSError as error:
            self._complain(f'"{source.path}" cannot be copied: {_why(error)}')
        return False

    def _fill_folder(self, source: _Spot, new: _Spot, depth: int, told: os.stat_result) -> bool:
        if not self._is_near(source.path, depth):
            return False
        os.mkdir(new.name, 0o700, dir_fd=new.folder)
        with source.inside() as one, new.inside(_LIST) as other:  # one that is only passed through has no mode to set
            entries = self._entries(one, source.path, "read")
            done = [self._fill(source.at(one, name), new.at(other, name), depth + 1) for name, _ in entries or ()]
            os.fchmod(other, told.st_mode & _MODE)
        _keep_times(new, told)
        return entries is not None and all(done)

    def _fill_file(self, source: _Spot, new: _Spot) -> None:
        reader = os.open(source.name, _READ, dir_fd=source.folder)
        try:
            told = os.fstat(reader)
            if not stat.S_ISREG(told.st_mode):  # it was, a moment ago
                raise Refused(f'"{source.path}" is another thing by now')
            self._write(new, reader, told.st_mode)
            _keep_times(new, told)
        finally:
            os.close(reader)

    def _write(self, new: _Spot, reader: int, mode: int) -> bool:
        writer = os.open(new.name, _DRAFT, 0o600, dir_fd=new.folder)
        try:
            self._pour(reader, writer)
            os.fchmod(writer, mode & _MODE)
        finally:
            os.close(writer)
        return True

    def _pour(self, reader: int, writer: int) -> None:
        try:
            while os.copy_file_range(reader, writer, CHUNK):
                self._go_on()
        except OSError as error:
            if error.errno not in _OTHER_WAY:
                raise
        while content := os.read(reader, CHUNK):  # what that could not, or said to be nothing
            while content:
                content = content[os.write(writer, content) :]
            self._go_on()

    # -- folders

    @contextmanager
    def _folder(self, path: str, make: bool = False) -> Iterator[int]:
        """A handle of a folder, to which no symlink leads. FileNotFoundError where there is none."""
        folder = os.dup(self._root)
        try:
            at = ""
            for name in path.split("/") if path and path != "." else ():
                at = f"{at}/{name}" if at else name
                inner = self._enter(folder, name, at, make)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _enter(self, folder: int, name: str, path: str, make: bool) -> int:
        try:
            try:
                return os.open(name, _FOLDER, dir_fd=folder)
            except FileNotFoundError:
                if not make:
                    raise
            try:
                os.mkdir(name, dir_fd=folder)
            except FileExistsError:
                pass
            return os.open(name, _FOLDER, dir_fd=folder)
        except NotADirectoryError:
            told = _status(folder, name)
            if told is not None and stat.S_ISLNK(told.st_mode):
                raise Refused(followed(path)) from None
            if make:
                raise Refused(f'"{path}" is no folder') from None
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None

    def _entries(self, folder: int, path: str, verb: str) -> list[tuple[str, bool]] | None:
        """The names in a folder, sorted, and whether each is a folder; None where that cannot be told."""
        try:
            return _listed(folder)
        except OSError as error:
            self._complain(f'"{path or "."}" cannot be {verb}: {_why(error)}')
            return None

    def _is_near(self, path: str, depth: int) -> bool:
        if depth >= DEEPEST:
            self._complain(_too_deep(path))
        return depth < DEEPEST


class _Spot:
    """A name in a folder that is open, whatever has it; `path` is how people call it."""

    __slots__ = ("folder", "name", "path")

    def __init__(self, folder: int, path: str) -> None:
        self.folder = folder
        self.path = path
        self.name = os.path.basename(path)

    def at(self, inside: int, name: str) -> _Spot:
        """The spot of a name in the folder that this one is, of which `inside` is the handle."""
        return _Spot(inside, f"{self.path}/{name}")

    def status(self) -> os.stat_result | None:
        return _status(self.folder, self.name)

    def must(self) -> os.stat_result:
        """Its status. OSError where there is nothing."""
        return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)

    @contextmanager
    def inside(self, how: int = _FOLDER) -> Iterator[int]:
        handle = os.open(self.name, how, dir_fd=self.folder)
        try:
            yield handle
        finally:
            os.close(handle)


def _clear(
    spot: _Spot,
    depth: int,
    go_on: Callable[[], None] = lambda: None,
    complain: Callable[[str], None] = lambda _: None,
    ours: bool = False,
) -> bool:
    """Whether a spot is empty now. A folder of `ours` is emptied whatever its mode."""
    go_on()
    try:
        told = spot.status()
        if told is None:
            return True
        if not stat.S_ISDIR(told.st_mode):
            os.unlink(spot.name, dir_fd=spot.folder)
            return True
        if depth >= DEEPEST:
            complain(_too_deep(spot.path))
            return False
        with spot.inside() as inside:
            if ours:
                with suppress(OSError):  # by another name, that is of the folder and not of what is in its place by now
                    os.chmod(f"/proc/self/fd/{inside}", 0o700)
            try:
                names = [name for name, _ in _listed(inside)]
            except PermissionError as error:
                try:
                    os.rmdir(spot.name, dir_fd=spot.folder)  # an empty one can be
                    return True
                except OSError:
                    raise error from None
            done = [_clear(spot.at(inside, name), depth + 1, go_on, complain, ours) for name in names]
        if not all(done):
            return False  # and that was told
        os.rmdir(spot.name, dir_fd=spot.folder)
    except FileNotFoundError:  # somebody else was quicker
        return True
    except OSError as error:
        complain(f'"{spot.path}" cannot be deleted: {_why(error)}')
        return False
    return True


def _renamed(source: _Spot, target: _Spot) -> bool:
    """Whether it is there by another name now. Not where that is in another file system."""
    try:
        os.rename(source.name, target.name, src_dir_fd=source.folder, dst_dir_fd=target.folder)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _listed(folder: int) -> list[tuple[str, bool]]:
    handle = os.open(".", _LIST, dir_fd=folder)
    try:
        with os.scandir(handle) as entries:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    finally:
        os.close(handle)


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _keep_times(spot: _Spot, told: os.stat_result) -> None:
    times = (told.st_atime_ns, told.st_mtime_ns)
    os.utime(spot.name, ns=times, dir_fd=spot.folder, follow_symlinks=False)


def is_glob(part: str) -> bool:
    return any(c in part for c in "*?[")


def matching(pattern: str, paths: Iterable[str], folders: bool = False) -> list[str]:
    """Those of some paths of files which `Tree.find` would find if they were there, or that lie in what it would."""
    paths, parts = list(paths), _ended(pattern.split("/"))
    found = [path for path in paths if _is_reached(path.split("/"), parts, folders)]
    return found or [path for path in paths if f"{path}/".startswith(f"{pattern}/")]


def _is_reached(names: list[str], parts: list[str], folders: bool) -> bool:
    places = {0}
    for depth, name in enumerate(names, 1):
        places, whole = _passed(parts, places, name)
        if whole and (depth < len(names) or not folders):
            return True
    return False


def _ended(parts: list[str]) -> list[str]:
    """The parts of a glob, of which the last one names something."""
    return [*parts, "*"] if parts[-1] == "**" else parts


def _passed(parts: list[str], places: set[int], name: str) -> tuple[set[int], bool]:
    """Which parts of a glob the names inside of `name` may match, where that may match those at `places`; and whether
    it is what the whole glob names."""
    inside: set[int] = set()
    whole = False
    todo = set(places)
    for i in places:
        while parts[i] == "**":  # of no folder at all
            todo.add(i := i + 1)
    for i in todo:
        if parts[i] == "**":
            if not name.startswith("."):
                inside.add(i)
        elif not _matches(name, parts[i]):
            continue
        elif i + 1 < len(parts):
            inside.add(i + 1)
        else:
            whole = True
    return inside, whole


def _matches(name: str, part: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(name, part) and (part[0] == "." or name[0] != ".")


def followed(path: str) -> str:
    """What is said where a symlink would have to be followed."""
    return f'"{path}" is a symlink, and none is followed; name the folder that it leads to'


def _too_deep(path: str) -> str:
    return f'"{path}" lies over {DEEPEST} folders deep; use run: with a command such as rm -r'


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
