"""What a workflow file was found to say the last time: its checked data, by the hash of its bytes.

Knows nothing of YAML or of schemas: it saves a start the reading and checking of a file that has not changed."""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from wfctl import journal

MOST = 64
"""Files that are remembered; beyond that the oldest go."""

_LARGEST = 1 << 30  # bytes of one


class Recall:
    """A folder of checked data. `basis` is what they were checked by: of another basis nothing is remembered.

    It is an aid: what cannot be read, or not be written, is as if it had never been there.
    """

    def __init__(self, folder: Path, basis: bytes) -> None:
        self._folder = folder
        self._basis = f"{zlib.crc32(basis):08x}"

    def get(self, digest: str) -> dict[str, Any] | None:
        """The data of the file with that hash."""
        try:
            content = journal.content(self._path(digest), _LARGEST)
            seal, _, body = content.partition(b"\n")
            if int(seal, 16) != zlib.crc32(body):
                return None
            data = json.loads(body)
        except (OSError, ValueError, RecursionError):
            return None
        return data if isinstance(data, dict) else None

    def put(self, digest: str, data: dict[str, Any]) -> None:
        """Remember the data of a file that was found good."""
        body = json.dumps(data, separators=(",", ":")).encode()
        path = self._path(digest)
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

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest[:32]}-{self._basis}.json"

    def _forget(self) -> None:
        with os.scandir(self._folder) as entries:
            found = sorted((entry.stat().st_mtime, entry.path) for entry in entries)
        for _, path in found[:-MOST]:
            os.unlink(path)
