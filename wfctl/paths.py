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


def based(path: str, base: str) -> str:
    """A plain path of a folder `base`, seen from where that lies."""
    return posixpath.normpath(posixpath.join(base, path)) if base else path


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

    def matching(self, read: str) -> Iterator[tuple[str, bool]]:
        """The written paths that `read` touches: itself, what lies in it, what it lies in, what matches.

        Each with whether that is sure. What two globs have in common, or a glob finds in a written folder, shows only
        when it is there.
        """
        sure = [path for path in (read, *parents(read)) if path in self.exact]
        if _is_glob(read):
            near = dict.fromkeys([*self.starting(_start(read)), *self.globs_above(_start(read))])
        else:
            sure += self.starting("" if read == "." else read + "/")
            near = dict.fromkeys(self.globs_above(read))
        yield from ((path, True) for path in sure)
        for path in near:
            if _matches(path, read) or _matches(read, path):
                yield path, True
            elif _may_touch(path, read):
                yield path, False

    def globs_above(self, start: str) -> Iterator[str]:
        """The written globs whose own beginning is one of `start`."""
        for length in self.lengths:
            if length <= len(start):
                yield from self.globs.get(start[:length], ())

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


def _end(glob: str) -> str:
    """What all that a glob matches ends with."""
    return glob[max(map(glob.rfind, "*?]")) + 1 :]


def _may_touch(one: str, other: str) -> bool:
    """Whether a path can be of both patterns, or of one and in a folder of the other. In doubt it can.

    A name with a suffix, such as `x.csv`, is taken for a file: `*/y` and `**/y` seek no folder there.
    """
    a, b = one.split("/"), other.split("/")
    todo = [(0, 0)]
    seen = set(todo)
    while todo:
        i, j = todo.pop()
        if i == len(a) or j == len(b):
            return True
        steps: list[tuple[int, int]] = []
        if a[i] == "**":
            steps = [(i + 1, j)] if _is_file(b, j) else [(i + 1, j), (i, j + 1)]
        elif b[j] == "**":
            steps = [(i, j + 1)] if _is_file(a, i) else [(i, j + 1), (i + 1, j)]
        elif _alike(a[i], b[j]):
            sought = (a[i] == "*" and i + 1 < len(a), b[j] == "*" and j + 1 < len(b))  # as a folder
            too_deep = (sought[0] and _is_file(b, j)) or (sought[1] and _is_file(a, i))
            steps = [] if too_deep else [(i + 1, j + 1)]
        todo += [step for step in steps if step not in seen]
        seen.update(steps)
    return False


def _is_file(parts: list[str], place: int) -> bool:
    return place == len(parts) - 1 and posixpath.splitext(parts[place])[1][1:2].isalpha()


def _alike(one: str, other: str) -> bool:
    """Whether a name can be of both patterns. Of two globs only the ends are compared."""
    if not (_is_glob(one) and _is_glob(other)):
        return fnmatchcase(one, other) or fnmatchcase(other, one)
    heads, tails = (_start(one), _start(other)), (_end(one), _end(other))
    return any(h.startswith(g) for h, g in (heads, heads[::-1])) and any(h.endswith(g) for h, g in (tails, tails[::-1]))


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
