"""What a state folder remembers of how long the nodes of one workflow took: asked before a run, added to at its end.

Knows nothing of runs, and not what is kept: that is for `estimates` to say."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from wfctl import estimates
from wfctl.recall import Recall

_BASIS = b"durations 1"


class Experience:
    """That of a workflow, known by its name and by where its file lies, seen from the folder that holds the state.

    So two workflows of one name, or of one pipe, do not mix, and a folder that is moved as a whole keeps all. Who
    changes the name, or moves the file alone, begins anew. It is an aid: nothing that becomes of its file is an error.
    """

    def __init__(self, state: Path, workflow: str, file: str) -> None:
        self._recall = Recall(state / "cache" / "estimates", _BASIS)
        place = os.path.relpath(file, state.parent)
        self._key = hashlib.sha256(f"{workflow}\0{place}".encode("utf-8", "surrogateescape")).hexdigest()

    def seconds(self, nodes: Collection[str]) -> dict[str, float]:
        """What to expect of the nodes of a file and of all in them; those of which nothing is known are not in it."""
        return estimates.by_node(self._recall.get(self._key), nodes)

    def add(self, nodes: Iterable[str], took: Mapping[str, float], *, whole: bool) -> None:
        """Take in the seconds of what succeeded in a run of these nodes; `whole` where it was of all in the file."""
        self._recall.put(self._key, estimates.merged(self._recall.get(self._key), nodes, took, whole=whole))
