"""The paths of a workflow as text: made plain, kept inside the root, and which of them touch.

Knows nothing of who reads or writes them, and looks at no disk."""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from wfctl import quantity


def confined(path: object, root: str) -> str:
    """`path` relative to `root`, made plain. ValueError where it is no path or leads out of `root`."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError(f"expected a path, got {quantity.shown(path)}")
    plain = posixpath.normpath(path)
    if posixpath.isabs(plain):
        base = posixpath.normpath(root)
        if posixpath.isabs(base) and (plain + "/").startswith(base.rstrip("/") + "/"):
            return posixpath.relpath(plain, base)
        raise ValueError(f'"{path}" lies outside of the root folder; paths are relative to it')
    if plain == ".." or plain.startswith("../"):
        raise ValueError(f'"{path}" leads out of the root folder; set root: .. where that is meant')
    return plain


def parents(path: str) -> Iterator[str]:
    """The folders that a plain path lies in, the innermost first."""
    while (path := posixpath.dirname(path)) and path != "/":
        yield path


class Written:
    """Paths that are written, sorted, so that a glob or a folder looks only at those that begin like it."""

    def __init__(self, written: Collection[str]) -> None:
        self.exact = set(written)
        self.sorted = sorted(written)
        self.globs: dict[str, list[str]] = {}
        for path in filter(_is_glob, self.sorted):
            self.globs.setdefault(_start(path), []).append(path)
        self.lengths = {len(start) for start in self.globs}

    def matching(self, read: str) -> Iterator[str]:
        """The written paths that `read` touches: itself, what lies in it, what it lies in, what matches."""
        if read in self.exact:
            yield read
        yield from (parent for parent in parents(read) if parent in self.exact)
        if _is_glob(read):
            yield from (path for path in self.starting(_start(read)) if path != read and _matches(path, read))
        else:
            yield from self.starting("" if read == "." else read + "/")
            globs = (glob for length in self.lengths for glob in self.globs.get(read[:length], ()))
            yield from (glob for glob in globs if _matches(read, glob))

    def starting(self, prefix: str) -> Iterator[str]:
        for i in range(bisect_left(self.sorted, prefix), len(self.sorted)):
            if not self.sorted[i].startswith(prefix):
                return
            yield self.sorted[i]


def _is_glob(path: str) -> bool:
    return any(c in path for c in "*?[")


def _start(glob: str) -> str:
    """What all that a glob matches begins with."""
    return glob[: min(i for i in map(glob.find, "*?[") if i >= 0)]


def _matches(path: str, glob: str) -> bool:
    """Whether a path is one of the glob, or lies in a folder that is.

    Folder by folder, for only `**` passes from one into the next, and stands for none as well. At most the product
    of both lengths: a regular expression of many `*` would try for ever.
    """
    parts, wanted = path.split("/"), glob.split("/")
    i = j = 0
    again: tuple[int, int] | None = None  # where to go on when the last `**` takes one folder more
    while j < len(wanted):
        if wanted[j] == "**":
            j += 1
            again = i, j
        elif i < len(parts) and fnmatchcase(parts[i], wanted[j]):
            i, j = i + 1, j + 1
        elif again is not None and again[0] < len(parts):
            i, j = again = again[0] + 1, again[1]
        else:
            return False
    return True
