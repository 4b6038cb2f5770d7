"""What earlier commands found out and later ones can do without: plain data by a key, in a folder.

Knows nothing of what the data say: the checked content of a workflow file, or how long its nodes took."""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from wfctl import journal

MOST = 64
"""Keys that a folder remembers; beyond that those go that were put there longest ago."""

_LARGEST = 1 << 30  # bytes of one


class Recall:
    """A folder of data. `basis` is what they were made by: of another basis nothing is remembered.

    It is an aid: what cannot be read, or not be written, is as if it had never been there.
    """

    def __init__(self, folder: Path, basis: bytes) -> None:
        self._folder = folder
        self._basis = f"{zlib.crc32(basis):08x}"

    def get(self, key: str) -> dict[str, Any] | None:
        """The data under a key, which is 32 hexadecimal digits or more."""
        try:
            content = journal.content(self._path(key), _LARGEST)
            seal, _, body = content.partition(b"\n")
            if int(seal, 16) != zlib.crc32(body):
                return None
            data = json.loads(body)
        except (OSError, ValueError, RecursionError):
            return None
        return data if isinstance(data, dict) else None

    def put(self, key: str, data: dict[str, Any]) -> None:
        """Remember the data in place of what was under that key; of two who do so at once, one is heard."""
        body = json.dumps(data, separators=(",", ":")).encode()
        path = self._path(key)
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            self._folder.parent.mkdir(0o700, exist_ok=True)
            self._folder.mkdir(0o700, exist_ok=True)
            draft.write_bytes(b"%08x\n" % zlib.crc32(body) + body)
            draft.rename(path)
            self._forget()
        except OSError:
            with suppress(OSError):
                draft.unlink()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key[:32]}-{self._basis}.json"

    def _forget(self) -> None:
        with os.scandir(self._folder) as entries:
            found = sorted((entry.stat().st_mtime, entry.path) for entry in entries)
        for _, path in found[:-MOST]:
            os.unlink(path)
