"""A program in a real terminal emulator, tmux: what stands on its screen, at any size.

Knows nothing of what is run. Tests that need it are skipped where there is none."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest


class Tmux:
    """Use as `with Tmux(folder, words, environ, columns, rows) as screen`. The server is the test's own."""

    def __init__(
        self, folder: Path, words: Sequence[str], environ: Mapping[str, str], columns: int = 80, rows: int = 24
    ) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed")
        self._folder, self._environ = folder, dict(environ)
        # What ended stays to be seen, with its exit code below.
        self._command = f"{shlex.join(words)}; echo code=$?; exec cat"
        self._size = columns, rows

    def __enter__(self) -> Tmux:
        columns, rows = map(str, self._size)
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows, self._command)
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")

    def _tmux(self, *words: str) -> str:
        # A path of a socket may have 107 bytes; what tests are given is often longer.
        ended = subprocess.run(
            ["tmux", "-S", "screen", *words], cwd=self._folder, env=self._environ, capture_output=True, text=True,
            timeout=30, check=True,
        )  # fmt: skip
        return ended.stdout

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without the empty lines at the end."""
        return self._tmux("capture-pane", "-p").rstrip().splitlines()

    @property
    def all_lines(self) -> list[str]:
        """The same, below what has gone above it."""
        return self._tmux("capture-pane", "-p", "-S", "-").rstrip().splitlines()

    def resize(self, columns: int, rows: int) -> None:
        """Another size, as when a window is dragged."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def wait_for(self, text: str) -> list[str]:
        """The lines as soon as one has that text."""
        return self.wait_for_line(lambda line: text in line, text)

    def wait_for_line(self, is_it: Callable[[str], bool], what: str = "a line") -> list[str]:
        """The lines as soon as it is one of them."""
        deadline = time.monotonic() + 30
        while not any(map(is_it, lines := self.lines)):
            assert time.monotonic() < deadline, f"waited for {what!r}, saw {lines}"
            time.sleep(0.02)
        return lines
