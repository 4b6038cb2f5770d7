"""What nodes wrote: their logs in the run's folder, whole, by node, or as they grow.

Knows nothing of why anything was written."""

from __future__ import annotations

import os
from collections.abc import Iterator

from wfctl import history, journal
from wfctl.errors import UsageError, nearest
from wfctl.store import RunFolder

_BLOCK = 64 * 1024
_TAIL_BYTES = 16 * 1024


def tail(folder: RunFolder, node: str, attempt: int, lines: int = 10) -> list[str]:
    """The last lines of an attempt's log. Bytes that are no UTF-8 become surrogates, for `safe` to show."""
    try:
        with open(folder.path / history.log_name(node, attempt), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL_BYTES))
            content = file.read(_TAIL_BYTES)
    except OSError:
        return []
    return [line.decode("utf-8", "surrogateescape")[:1000] for line in content.splitlines()[-lines:]]


def read(folder: RunFolder, node: str | None, *, follow: bool = False, raw: bool = False) -> Iterator[bytes]:
    """The logs of a run, or of one node, attempt after attempt; with `follow` also what is still to come.

    Unless `raw`, control characters are made visible, and each line of a whole run is headed by its
    node. Raises UsageError for a node that is not there or has not run.
    """
    record = history.open_run(folder)
    if node is not None and node not in record.plan.nodes:
        hint = nearest(node, record.plan.nodes) or f"`wfctl status {folder.id}` shows the nodes"
        raise UsageError(f'no node "{node}" in run {folder.id}; {hint}')
    if follow:
        yield from _Follower(folder, node, raw).chunks()
        return
    nodes = [node] if node is not None else list(record.state.nodes)
    found = False
    for name in nodes:
        for attempt in range(1, record.state.nodes[name].attempt + 1):
            for path in _files(folder, name, attempt):
                found = True
                yield from _shown(path, "" if node is not None else name, raw)
    if node is not None and not found:
        state = history.node_document(record, node, record.status())["state"]
        raise UsageError(f'"{node}" has no log in run {folder.id}: it is {state}')


def wrote(folder: RunFolder, node: str, attempts: int) -> bool:
    """Whether the first so many attempts of a node left a byte that `read` would show."""
    return any(os.path.getsize(path) for attempt in range(1, attempts + 1) for path in _files(folder, node, attempt))


def _files(folder: RunFolder, node: str, attempt: int) -> list[str]:
    paths = [str(folder.path / history.log_name(node, attempt, suffix)) for suffix in ("log", "out")]
    return [path for path in paths if os.path.exists(path)]


def _shown(path: str, head: str, raw: bool) -> Iterator[bytes]:
    with open(path, "rb") as file:
        if raw:
            while block := file.read(_BLOCK):
                yield block
            return
        for line in _lines(file.read(_BLOCK) for _ in iter(int, 1)):
            yield _line(head, line)


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines of at most a block each, so that a log without any newline costs no memory."""
    rest = b""
    for block in blocks:
        if not block:
            break
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

    def __init__(self, folder: RunFolder, node: str | None, raw: bool) -> None:
        self._folder = folder
        self._node = node
        self._raw = raw
        self._read: dict[str, int] = {}
        self._rest: dict[str, bytes] = {}

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
        record = history.open_run(self._folder) if self._node is None else None
        names = list(record.state.nodes) if record else [self._node or ""]
        for name in names:
            for path in self._paths(name):
                yield from self._grown(path, "" if self._node else name, last)

    def _paths(self, name: str) -> list[str]:
        found = []
        attempt = 1
        while paths := _files(self._folder, name, attempt):
            found += paths
            attempt += 1
        return found

    def _grown(self, path: str, head: str, last: bool) -> Iterator[bytes]:
        with open(path, "rb") as file:
            file.seek(self._read.get(path, 0))
            while block := file.read(_BLOCK):
                self._read[path] = file.tell()
                if self._raw:
                    yield block
                    continue
                *lines, rest = (self._rest.get(path, b"") + block).split(b"\n")
                self._rest[path] = rest
                yield from (_line(head, line) for line in lines)
        if last and (rest := self._rest.pop(path, b"")):
            yield _line(head, rest)
