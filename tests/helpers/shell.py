"""A person at a terminal: an interactive bash in a pty, what is typed, and what is seen.

Knows nothing of what is run."""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
import time
from collections.abc import Mapping
from pathlib import Path

CTRL_C, CTRL_Z = "\x03", "\x1a"


class Shell:
    """Use as `with Shell(folder, environ) as shell`. All waiting has a limit of 30 seconds."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.seen = ""
        self._folder, self._environ = folder, {**environ, "PS1": "$ ", "TERM": "xterm", "HISTFILE": ""}

    def __enter__(self) -> Shell:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(self._folder)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], self._environ)
        self.wait_for("$ ")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)  # hangs up: HUP to whatever runs in the foreground
        try:
            os.kill(self._pid, signal.SIGKILL)
        finally:
            os.waitpid(self._pid, 0)

    @property
    def modes(self) -> object:
        """The modes of the terminal."""
        return termios.tcgetattr(self._fd)

    def type(self, text: str) -> None:
        """Type it, after all that there is to see was seen."""
        self.look()
        self.seen = ""
        os.write(self._fd, text.encode())

    def look(self, longest: float = 0.0) -> None:
        """Take in what there is to see, or what comes within so many seconds."""
        while select.select([self._fd], [], [], longest)[0]:
            try:
                self.seen += os.read(self._fd, 65536).decode(errors="replace")
            except OSError:  # nobody is there any more
                return
            longest = 0.0

    def wait_for(self, text: str) -> None:
        """Look until the text was seen since the last typing."""
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < deadline, f"waited for {text!r}, saw {self.seen[-2000:]!r}"
            self.look(0.05)
