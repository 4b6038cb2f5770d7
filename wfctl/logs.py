"""What nodes wrote: their logs in the run's folder, whole, by node, or as they grow.

Knows nothing of why anything was written."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wfctl import history, journal
from wfctl.errors import UsageError, nearest
from wfctl.history import Record
from wfctl.noderun import NodeState
from wfctl.store import RunFolder

if TYPE_CHECKING:
    from wfctl.mask import Mask, Veil

_BLOCK = 64 * 1024
_TAIL_BYTES = 16 * 1024
_PEEK_BYTES = 4 * 1024

_DRESS = re.compile(rb"\x1b\[(?:[0-9;:]*m|[0-2]?K)")
"""What colours a line, or clears the rest of it."""

_OVER = 4
"""So many texts, one written over the other, are lines. More of them are a bar that moves."""


def tail(folder: RunFolder, node: str, attempt: int | str, lines: int = 10) -> list[str]:
    """The last lines of the log of an attempt that has ended. Bytes that are no UTF-8 become surrogates, for `safe`."""
    content, _ = _end(folder, node, attempt, _TAIL_BYTES)
    return [line[:1000] for line in _rows(content)[-lines:]]


def peek(folder: RunFolder, node: str, attempt: int | str, lines: int, mask: Mask | None = None) -> list[str]:
    """The last lines that an attempt has written which goes on, without the empty ones; of one that is written over,
    as a progress bar is, what it says now.

    What `mask` hides is hidden, and held back is what may be a part of it: at the end, where more may come, and where
    reading began."""
    if mask is None:
        content, _ = _end(folder, node, attempt, _PEEK_BYTES)
    else:
        content, whole = _end(folder, node, attempt, _PEEK_BYTES + 2 * mask.reach)
        content = mask.hide(content)[0 if whole else mask.reach : -mask.reach]
    found: list[str] = []
    for line in reversed(_rows(content, over=1)):
        if text := line[:1000].rstrip():
            found.append(text)
            if len(found) == lines:
                break
    return found[::-1]


def _rows(content: bytes, over: int = _OVER) -> list[str]:
    """The lines for people: without colours, and of one that was written over and over, as a progress bar is, what it
    said last. All else is still there, with surrogates for what is no UTF-8: for `safe`."""
    rows: list[bytes] = []
    for line in _DRESS.sub(b"", content).removesuffix(b"\n").split(b"\n") if content else ():
        parts = line.rstrip(b"\r").split(b"\r")
        rows += parts if len(parts) <= over else parts[-1:]
    return [row.decode("utf-8", "surrogateescape") for row in rows]


def _end(folder: RunFolder, node: str, attempt: int | str, most: int, suffix: str = "log") -> tuple[bytes, bool]:
    """The last bytes of a log, and whether that is all of it."""
    try:
        with open(journal.open_file(folder.path / history.log_name(node, attempt, suffix)), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - most))
            return file.read(most), size <= most
    except OSError:
        return b"", True


def last_part(folder: RunFolder, node: str, attempt: int, most: int) -> tuple[list[str], bool]:
    """The lines of all that an attempt that has ended wrote, of each of its files at most so many bytes, from the end;
    and whether that is all of it."""
    found: list[str] = []
    whole = True
    for suffix in ("log", "out"):
        content, all_of_it = _end(folder, node, attempt, most, suffix)
        if not all_of_it:
            content, whole = content.partition(b"\n")[2] or content, False
        found += _rows(content)
    return found, whole


def read(
    folder: RunFolder,
    node: str | None,
    *,
    follow: bool = False,
    raw: bool = False,
    variables: Mapping[str, str] = os.environ,
    note: Callable[[str], object] = lambda text: None,
) -> Iterator[bytes]:
    """The logs of a run, or of one node and all inside of it, attempt after attempt; with `follow` what is to come too.

    Unless `raw`, control characters are made visible, and each line of a whole run is headed by its
    node. A log that may still hold secrets is masked by the `variables` where they have all of them, else held
    back, which `note` is told. Raises UsageError for a node that is not there or has not run.
    """
    record = history.open_run(folder)
    if node is not None and node not in record.plan.nodes:
        hint = nearest(node, record.plan.nodes) or f"`wfctl status {folder.id}` shows the nodes"
        raise UsageError(f'no node "{node}" in run {folder.id}; {hint}')
    seals = Seals(record, variables, note)
    if follow:
        yield from _Follower(folder, node, raw, seals).chunks()
        return
    alone = node is not None and not record.plan.nodes[node].holds
    found = False
    for name in _names(record, node):
        for attempt in range(1, record.state.nodes[name].attempt + 1):
            for path in _files(folder, name, attempt):
                found = True
                if not seals.is_open(record, name, attempt):
                    yield from _shown(path, "" if alone else name, raw, None)
                elif (mask := seals.mask(name)) is not None:
                    yield from _shown(path, "" if alone else name, raw, mask)
        for path in _of_undo(record, name):
            found = True
            yield from _shown(path, "" if alone else name, raw, None)
    if node is not None and not found:
        state = history.node_document(record, node, record.status())["state"]
        raise UsageError(f'"{node}" has no log in run {folder.id}: it is {state}')


def ends(
    record: Record, seals: Seals, node: str, lines: int, most: int, attempts: int
) -> Iterator[tuple[int, str, int, str, bool]]:
    """The last lines of each log of a node, of its last so many attempts and of its undo: the attempt (0 for an undo),
    the file's name, its size, the text in at most so many bytes, and whether anything stands before that.

    What may still hold secrets is masked, or left out, as `read` does. Bytes that are no UTF-8 become surrogates."""
    last = record.state.nodes[node].attempt
    for attempt in range(max(1, last - attempts + 1), last + 1):
        mask = None
        if seals.is_open(record, node, attempt) and (mask := seals.mask(node)) is None:
            continue
        for path in _files(record.folder, node, attempt):
            yield attempt, *_excerpt(path, lines, most, mask)
    for path in _of_undo(record, node):
        yield 0, *_excerpt(path, lines, most, None)


def _excerpt(path: str, lines: int, most: int, mask: Mask | None) -> tuple[str, int, str, bool]:
    with _opened(path) as file:
        size = whole = os.fstat(file.fileno()).st_size
        if mask is None:
            file.seek(max(0, size - most))
            content = file.read(most)
        else:  # a secret must not begin where nobody has looked: all is read
            content, whole = b"", 0
            for block in _veiled(iter(lambda: file.read(_BLOCK), b""), mask):
                content = (content + block)[-most:]
                whole += len(block)
    rows = content.split(b"\n")
    if not rows[-1]:
        rows.pop()
    if whole > len(content) and len(rows) > 1:
        del rows[0]  # it may have lost its beginning
    text = b"\n".join(rows[-lines:]).decode("utf-8", "surrogateescape")
    return os.path.basename(path), size, text, whole > len(content) or len(rows) > lines


def _of_undo(record: Record, node: str) -> Iterator[str]:
    """The logs of the steps that have undone a node, and of what proved them, in their order. Those of one whose step
    may be under way, and which has secrets, are held back."""
    run, receives = record.state.nodes[node], record.plan.nodes[node].node.receives
    if run.undo is None or (receives and run.state is NodeState.UNDOING):
        return
    folder, start = record.folder.logs, history.file_name(node)
    for step in range(1, run.undo.step + 1):
        for attempt in itertools.count(1):
            paths = [f"{folder}/{start}.{word}.{step}.{attempt}.log" for word in ("undo", "verify")]
            there = [path for path in paths if _is_there(path)]
            if not there:
                break
            yield from there


def _names(record: Record, node: str | None) -> list[str]:
    """The nodes whose logs are wanted, in order."""
    return list(record.plan.in_order() if node is None else record.plan.with_inside(node))


class Seals:
    """Which logs may still hold secrets, and what hides these.

    That the end of an attempt was recorded, or that the run went on after it, says that its log was scrubbed before.
    """

    def __init__(self, record: Record, variables: Mapping[str, str], note: Callable[[str], object]) -> None:
        self.record = record
        self._variables = variables
        self._note = note
        self._masks: dict[str, Mask | None] = {}

    @staticmethod
    def is_open(record: Record, node: str, attempt: int) -> bool:
        """Whether the log of that attempt may hold secrets. One that the record has not heard of has just begun."""
        if not record.plan.nodes[node].node.receives:
            return False
        run = record.state.nodes[node]
        return attempt > run.attempt or (attempt == run.attempt and run.state is NodeState.RUNNING)

    def mask(self, node: str) -> Mask | None:
        """What hides the secrets of a node; None where their values are not at hand."""
        if node not in self._masks:
            names = self.record.plan.nodes[node].node.receives
            missing = [name for name in names if not self._variables.get(name)]
            self._masks[node] = None
            if missing:
                until = "it has ended" if self.record.status() == "running" else "`wfctl resume` has taken them out"
                self._note(
                    f'"{node}" has secrets, so its log is held back until {until}; '
                    f"set {', '.join(missing)} here to see it masked"
                )
            else:
                from wfctl.mask import Mask

                self._masks[node] = Mask({name: self._variables[name] for name in names})
        return self._masks[node]


def wrote(folder: RunFolder, node: str, which: int | str) -> bool:
    """Whether the first so many attempts of a node left a byte that `read` would show; or that try of its undo."""
    if isinstance(which, str):
        names = [history.log_name(node, f"{word}.{which}") for word in ("undo", "verify")]
    else:
        names = [history.log_name(node, n, suffix) for n in range(1, which + 1) for suffix in ("log", "out")]
    return any(os.path.isfile(path) and os.path.getsize(path) for path in (folder.path / name for name in names))


def _files(folder: RunFolder, node: str, attempt: int) -> list[str]:
    paths = [str(folder.path / history.log_name(node, attempt, suffix)) for suffix in ("log", "out")]
    return [path for path in paths if _is_there(path)]


def _is_there(path: str) -> bool:
    """Whether there is such a log. Raises StateError where that cannot be told."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise journal.refusal("read", Path(path), error) from None
    return True


def _opened(path: str) -> BinaryIO:
    try:
        return open(journal.open_file(path), "rb")
    except OSError as error:
        raise journal.refusal("read", Path(path), error) from None


def _shown(path: str, head: str, raw: bool, mask: Mask | None) -> Iterator[bytes]:
    with _opened(path) as file:
        blocks: Iterator[bytes] = iter(lambda: file.read(_BLOCK), b"")
        if mask is not None:
            blocks = _veiled(blocks, mask)
        if raw:
            yield from blocks
            return
        for line in _lines(blocks):
            yield _line(head, line)


def _veiled(blocks: Iterator[bytes], mask: Mask) -> Iterator[bytes]:
    from wfctl.mask import Veil

    veil = Veil(mask)
    for block in blocks:
        if text := veil.feed(block):
            yield text
    yield veil.rest()


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines of at most a block each, so that a log without any newline costs no memory."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) >= _BLOCK:
            yield rest
            rest = b""
    if rest:
        yield rest


def _line(head: str, line: bytes) -> bytes:
    from wfctl.renderers.text import safe

    text = safe(line.decode("utf-8", "surrogateescape").rstrip("\r"), lines=True)
    return f"{head}: {text}\n".encode() if head else f"{text}\n".encode()


class _Follower:
    """Follows the logs of a live run, woken by nothing but time: five looks a second are enough for eyes."""

    INTERVAL = 0.2

    def __init__(self, folder: RunFolder, node: str | None, raw: bool, seals: Seals) -> None:
        self._folder = folder
        self._node = node
        self._raw = raw
        self._seals = seals
        self._has_secrets = any(p.node.receives for p in seals.record.plan.nodes.values())
        self._alone = node is not None and not seals.record.plan.nodes[node].holds
        self._read: dict[str, int] = {}
        self._rest: dict[str, bytes] = {}
        self._veils: dict[str, Veil] = {}

    def chunks(self) -> Iterator[bytes]:
        import time

        while True:
            # Asked before looking: what was written before the run ended is then seen after it.
            alive = journal.held_by(self._folder)
            yield from self._new(last=not alive)
            if not alive:
                return
            time.sleep(self.INTERVAL)

    def _new(self, last: bool) -> Iterator[bytes]:
        record = history.open_run(self._folder) if not self._alone or self._has_secrets else None
        names = [self._node or ""] if record is None or self._alone else _names(record, self._node)
        for name in names:
            for attempt, path in self._paths(name):
                head = "" if self._alone else name
                if record is not None and self._seals.is_open(record, name, attempt):
                    mask = self._seals.mask(name)
                    if mask is not None:
                        yield from self._grown(path, head, last, mask)
                else:
                    self._lift(path)
                    yield from self._grown(path, head, last)

    def _paths(self, name: str) -> Iterator[tuple[int, str]]:
        attempt = 1
        while paths := _files(self._folder, name, attempt):
            yield from ((attempt, path) for path in paths)
            attempt += 1

    def _lift(self, path: str) -> None:
        """Take what was held back from the file once more: there it is scrubbed now, in its place."""
        if (veil := self._veils.pop(path, None)) is not None:
            self._read[path] -= len(veil.held)

    def _grown(self, path: str, head: str, last: bool, mask: Mask | None = None) -> Iterator[bytes]:
        with _opened(path) as file:
            file.seek(self._read.get(path, 0))
            while block := file.read(_BLOCK):
                self._read[path] = file.tell()
                yield from self._told(path, head, block if mask is None else self._veil(path, mask).feed(block))
        if last and mask is not None:
            yield from self._told(path, head, self._veil(path, mask).rest())
        if last and (rest := self._rest.pop(path, b"")):
            yield _line(head, rest)

    def _veil(self, path: str, mask: Mask) -> Veil:
        from wfctl.mask import Veil

        return self._veils.setdefault(path, Veil(mask))

    def _told(self, path: str, head: str, text: bytes) -> Iterator[bytes]:
        if self._raw:
            if text:
                yield text
            return
        *lines, self._rest[path] = (self._rest.get(path, b"") + text).split(b"\n")
        yield from (_line(head, line) for line in lines)
