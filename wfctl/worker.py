"""The process that performs one task of a Python kind: reads it from a file, and leaves the result in another.

Knows neither engine nor store; it is started as a script, so that no variable of the node can hide the package."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # first of all: the folder of the package, behind what the interpreter has
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from wfctl import plugins, tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from wfctl.jobs import PythonKind


class WorkerTools:
    """What a kind is given in a process of its own: that is ended from outside, so nothing has to be stopped here."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.folder = os.getcwd()
        self.root: str = told["root"]
        self.run: str = told["run"]
        self.node: str = told["node"]
        self.attempt: int = told["attempt"]
        self.key: str = told["key"]
        self.timeout: float | None = told["timeout"]

    def log(self, text: str) -> None:
        """To standard error, which is the log."""
        print(text, file=sys.stderr, flush=True)

    def when_stopped(self, stop: Callable[[], None]) -> None:
        """The whole process is ended."""


def main(file: str) -> int:
    """Perform the task in that file; 0 where it succeeded."""
    with open(file, encoding="utf-8") as stream:
        told = json.load(stream)
    fields = tasks.filled_in(told["fields"], {v: tuple(w) for v, w in told["filled"].items()}, os.environ.pop)
    kind: PythonKind = plugins.kind(told["kind"])  # type: ignore[assignment]
    result = tasks.performed(kind, fields, WorkerTools(told))
    tasks.write(told["result"], result)
    return tasks.exit_code(result)


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    sys.exit(code)
