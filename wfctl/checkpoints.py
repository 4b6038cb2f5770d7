"""The files that checkpoints of one run save, and puts back.

Knows nothing of what else a checkpoint is, and neither when one is made nor who goes back to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wfctl import expr
from wfctl.blobs import Blobs, Changed
from wfctl.digests import Digests
from wfctl.errors import StateError
from wfctl.journal import refusal
from wfctl.keys import read_checkpoint
from wfctl.paths import based, confined
from wfctl.plan import Plan, Planned
from wfctl.scope import During
from wfctl.store import RunFolder

_TRIES = 3  # times that files are saved which others change meanwhile


class Checkpoints:
    """What the checkpoints of a run have saved. It lies among the blobs of the state folder, so that what several runs
    save is there once; each run has a link of its own to what it needs, and keeps it as long as it is there."""

    def __init__(self, plan: Plan, folder: RunFolder, during: During, warn: Callable[[str], None]) -> None:
        self._plan = plan
        self._folder = folder
        self._during = during
        self._warn = warn
        self._own = Blobs(folder.path / "saved")

    def save(self, planned: Planned) -> Mapping[str, Any] | None:
        """Save what the checkpoint of a node names: by path the hash of the content, the mode and the size.

        None where it is to be no checkpoint, or others go on changing what it names. Raises StateError where that
        cannot be.
        """
        globs = self._globs(planned)
        if globs is None:
            return None
        changed = ""
        for _ in range(_TRIES):
            try:
                return self._save(planned, globs)
            except (Changed, FileNotFoundError) as error:  # all of it is to be of one moment, as far as that can be
                changed = os.path.relpath(error.filename or globs[0], self._plan.root)
        self._warn(f'no checkpoint after {planned.id}: "{changed}" was changed each time that it was to be saved')
        return None

    def _save(self, planned: Planned, globs: Sequence[str]) -> Mapping[str, Any]:
        """Save what there is. Raises Changed or FileNotFoundError where that changes meanwhile."""
        shared = Blobs(self._folder.state / "blobs")
        digests = Digests(self._plan.root)
        found: dict[str, Any] = {}
        for glob in globs:
            path = self._folder.path / "saved"
            try:
                there = digests.of(glob)
                if not there:
                    self._warn(f'the checkpoint of {planned.id} saves nothing at "{glob}": nothing is there')
                for file, digest in there.items():
                    if len(digest) != 64:  # an empty folder, a link: nothing that could be put back
                        continue
                    full = os.path.join(self._plan.root, file)
                    status = os.stat(full)
                    shared.put(full, digest)
                    path = self._folder.path / "saved" / digest[:2] / digest
                    path.parent.mkdir(0o700, parents=True, exist_ok=True)
                    if self._own.has(digest) is None:
                        shared.link(digest, str(path))
                    found[file] = [digest, status.st_mode & 0o777, status.st_size]
            except (Changed, FileNotFoundError):
                raise
            except OSError as error:
                raise refusal("save", path if error.filename is None else error.filename, error) from None
        return found

    def put_back(self, files: Mapping[str, Any]) -> None:
        """Let the files be as they were saved; others are left alone. Raises StateError."""
        digests = Digests(self._plan.root)
        for file, (digest, mode, _) in files.items():
            try:
                if digests.file(confined(file, self._plan.root)) != digest:
                    self._own.take(digest, os.path.join(self._plan.root, file), mode)
            except (OSError, ValueError) as error:
                why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
                text = f'"{file}" cannot be put back: {why}; mend that and resume once more'
                raise StateError(text) from None

    def _globs(self, planned: Planned) -> list[str] | None:
        value = planned.node.checkpoint
        try:
            if not isinstance(value, tuple):
                value = read_checkpoint(expr.evaluate_value(value, self._during.of(planned.id)))
            if value is None:
                return None
            return [based(confined(path, self._plan.root), planned.scope.base) for path in value]
        except (ValueError, expr.ExpressionError) as error:
            self._warn(f"no checkpoint after {planned.id}: {error}")
            return None
