"""What files hold, as hashes, with a memory of those that have not changed.

Knows nothing of what a hash is for, nor where the memory is kept."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

CHUNK = 1 << 20
"""Bytes that are read at a time."""

MOST = 1000
"""Files of one declared path that are worth naming one by one; of more, `folded` says as much in a line."""

FOLDER = "folder"
"""What stands for an empty folder."""

SPECIAL = "special"
"""What stands for a pipe, socket or device: it has no content, and to open it may wait for somebody, or wake him."""

_REMEMBERED = 64 * 1024  # bytes from which on to ask a memory costs less than to read
_AGAIN = 3  # times that a file is read anew when it changed meanwhile
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_HEX = "0123456789abcdef"

# A file that is changed twice within one tick of the file system's clock looks the same after both (git calls it racily
# clean). So a hash is only remembered when the last change lay so long before the reading that no later one can bear
# its time: the coarsest clock in use, that of FAT, ticks every two seconds. Both times count: the time of the content
# can be set at will, that of the inode cannot.
_SETTLED = 2_000_000_000  # nanoseconds


class Changing(OSError):
    """A file that somebody wrote to each time it was read."""


class Digests:
    """What lies below the folder `root`. All paths are relative to it, plain, and confined to it already.

    A file that is not small is looked up by `recall`, which yields what `remember` was given for that path, or
    anything else where it has nothing: plain JSON data, `[device, inode, size, mtime, ctime, digest]`, times in
    nanoseconds. It is believed where all of them are still so. The folder `without` is passed over wherever it lies.

    Errors are OSErrors, with the path as it was named; `Changing` is one.
    """

    def __init__(
        self,
        root: str,
        recall: Callable[[str], object] = lambda path: None,
        remember: Callable[[str, list[object]], None] = lambda path, what: None,
        without: str = "",
    ) -> None:
        self._root = root
        self._without = _place(os.stat(without)) if without else None
        self._recall = recall
        self._remember = remember

    def of(self, path: str) -> dict[str, str]:
        """What a path of `reads` or `writes` stands for: the digest of each file, by its path, sorted.

        A glob stands for all that it matches, unless a file has that very name; a folder for every file in it, hidden
        ones too. A symlink that is named or matched is followed. One that lies in a folder is not: it is `link:` and
        its target, as is one that leads nowhere, or to a folder that was gone through already. Nothing there is an
        empty mapping.
        """
        found = _Found()
        if _is_glob(path) and not os.path.lexists(self._at(path)):
            matching = self._matching(path)
            links = [matched for matched in matching if os.path.islink(self._at(matched))]
            behind = set(links)
            for matched in [one for one in matching if one not in behind] + links:
                if matched not in found.folders:  # `**` matches folders and those in them
                    self._add(matched, found, matched in behind)
        else:
            self._add(path, found)
        return dict(sorted(found.digests.items()))

    def file(self, path: str) -> str | None:
        """The digest of a file's content, 64 hexadecimal digits; None where there is no regular file."""
        try:
            told = os.stat(self._at(path))
            return self._digest(path) if stat.S_ISREG(told.st_mode) else None
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise _named(error, path) from None

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _add(self, path: str, found: _Found, once: bool = False) -> None:
        """Add what a path stands for that was named itself, or matched. `once`: not what was gone through already."""
        at = self._at(path)
        try:
            told = os.stat(at)
            if stat.S_ISREG(told.st_mode):
                what = self._digest(path)
            elif not stat.S_ISDIR(told.st_mode):
                what = SPECIAL
            elif once and _place(told) in found.places:
                what = f"link:{os.readlink(at)}"
            else:
                what = None
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise _named(error, path) from None
            if os.path.islink(at):
                found.digests[path] = f"link:{os.readlink(at)}"
            return
        if what is not None:
            found.digests[path] = what
        elif stat.S_ISDIR(told.st_mode):
            found.digests.pop(path, None)  # the link that it is to one who matched the folder around it
            self._add_folder(path, found, once)

    def _add_folder(self, path: str, found: _Found, once: bool) -> None:
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            try:
                place = _place(os.stat(self._at(folder)))
                if place == self._without or (once and place in found.places):
                    continue
                found.folders.add(folder)
                found.places.add(place)
                with os.scandir(self._at(folder)) as listed:
                    entries = list(listed)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _named(error, folder) from None
            if not entries:
                found.digests[f"{folder}/"] = FOLDER
            for entry in entries:
                inner = entry.name if folder == "." else f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(inner)
                elif inner not in found.digests and (what := self._what(entry, inner)) is not None:
                    found.digests[inner] = what

    def _what(self, entry: os.DirEntry[str], path: str) -> str | None:
        """What stands for an entry of a folder that is none itself; None where it has just gone."""
        try:
            if entry.is_file(follow_symlinks=False):
                return self._digest(path)
            return f"link:{os.readlink(entry.path)}" if entry.is_symlink() else SPECIAL
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _named(error, path) from None

    # -- one file

    def _digest(self, path: str) -> str | None:
        """Of a file that was regular when it was last looked at."""
        for _ in range(1 + _AGAIN):
            started = time.time_ns()
            try:
                handle = os.open(self._at(path), _READ)
            except OSError as error:
                if error.errno in _NOT_THERE:
                    return None
                raise
            try:
                before = os.fstat(handle)
                if not stat.S_ISREG(before.st_mode):
                    return None
                large = before.st_size >= _REMEMBERED
                if large and (known := self._known(path, before)) is not None:
                    return known
                digest = _hashed(handle, before.st_size)
                after = os.fstat(handle)
            finally:
                os.close(handle)
            if _marks(before) == _marks(after):
                if large and max(after.st_mtime_ns, after.st_ctime_ns) <= started - _SETTLED:
                    self._remember(path, [*_marks(after), digest])
                return digest
        raise Changing(errno.EBUSY, "was changed each time it was read", path)

    def _known(self, path: str, told: os.stat_result) -> str | None:
        kept = self._recall(path)
        if not isinstance(kept, list) or kept[:5] != _marks(told):
            return None
        digest = kept[5] if len(kept) == 6 else None
        return digest if is_digest(digest) else None

    # -- globs

    def _matching(self, pattern: str) -> list[str]:
        """What a glob matches, sorted: hidden names only where the pattern has their dot.

        The `glob` of Python goes round in symlinks that lead upwards, as those of pnpm do, until a path is too long,
        and in two of them for ever. Here `**` enters no folder twice.
        """
        found: Iterable[str] = [""]
        parts = pattern.split("/")
        for number, part in enumerate(parts, 1):
            if part == "**":
                found = self._below(list(found), last=number == len(parts))
            elif _is_glob(part):
                found = self._matched(found, part)
            else:
                found = [inner for folder in found if os.path.lexists(self._at(inner := _join(folder, part)))]
        return sorted({path for path in found if path})

    def _matched(self, folders: Iterable[str], part: str) -> Iterator[str]:
        from fnmatch import fnmatchcase

        for folder in folders:
            for entry in self._entries(folder):
                if fnmatchcase(entry.name, part) and (part[0] == "." or entry.name[0] != "."):
                    yield _join(folder, entry.name)

    def _below(self, starts: list[str], last: bool) -> Iterator[str]:
        """The folders themselves, those in them, and so on; with `last`, whatever lies there too."""
        named, seen = set(starts), set[tuple[int, int]]()
        # Those behind symlinks come last: what can be reached without one has the name that it has without.
        waiting, linked = starts[::-1], list[str]()
        while waiting or linked:
            folder = (waiting or linked).pop()
            try:
                told = os.stat(self._at(folder))
            except OSError:
                continue
            if not stat.S_ISDIR(told.st_mode):
                continue
            is_new = _place(told) not in seen
            if is_new or folder in named:
                yield folder
            if not is_new:
                continue
            seen.add(_place(told))
            for entry in self._entries(folder)[::-1]:
                if entry.name[0] == ".":
                    continue
                inner = _join(folder, entry.name)
                if last:
                    yield inner  # and a folder stands for all that is in it, behind a symlink too
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(inner)
                elif not last and entry.is_symlink():
                    linked.append(inner)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """What is in a folder, sorted. Nothing where it cannot be listed: no glob of the node's finds more there."""
        try:
            with os.scandir(self._at(folder)) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return []


class _Found:
    """What was found so far, and which folders were gone through, by name and by place."""

    __slots__ = ("digests", "folders", "places")

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.folders: set[str] = set()
        self.places: set[tuple[int, int]] = set()


def folded(found: Mapping[str, str]) -> str:
    """One digest for what `Digests.of` found: that of all pairs, sorted; a NUL, which no word holds, ends each word."""
    from hashlib import sha256

    text = "".join(f"{path}\0{digest}\0" for path, digest in sorted(found.items()))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_digest(text: object) -> bool:
    """Whether that is 64 lowercase hexadecimal digits."""
    return isinstance(text, str) and len(text) == 64 and not text.strip(_HEX)


def _is_glob(path: str) -> bool:
    """Whether a path that does not exist as it stands is a pattern."""
    return any(c in path for c in "*?[")


def _hashed(handle: int, size: int) -> str:
    """The digest of a regular file that has just been opened, and that had so many bytes then."""
    from hashlib import sha256

    content = os.read(handle, min(size + 1, CHUNK))
    known = sha256(content)
    if len(content) != size or size == CHUNK:  # else that was all, and nobody needs to ask for the end
        while content := os.read(handle, CHUNK):
            known.update(content)
    return known.hexdigest()


def _marks(told: os.stat_result) -> list[object]:
    """By which a file is known to be as it was."""
    return [told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns]


def _place(told: os.stat_result) -> tuple[int, int]:
    return told.st_dev, told.st_ino


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _named(error: OSError, path: str) -> OSError:
    """The error, told of the path as people named it. Reading by a handle names none."""
    error.filename, error.filename2 = path, None
    return error
