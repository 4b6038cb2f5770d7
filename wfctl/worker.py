"""The process that performs one task of a Python kind: reads it from a file, and leaves the result in another.

Knows neither engine nor store; it is started as a script, so that no variable of the node can hide the package."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

# At the level of the module nothing of ours is imported: a process that `multiprocessing` spawns imports this again.


class WorkerTools:
    """What a kind is given in a process of its own: that is ended from outside, so nothing has to be stopped here."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.folder = os.getcwd()
        self.root: str = told["root"]
        self.run: str = told["run"]
        self.node: str = told["node"]
        self.attempt: int = told["attempt"]
        self.key: str = told["key"]
        self.unsure: bool = told["unsure"]
        self.timeout: float | None = told["timeout"]
        self.environ: Mapping[str, str] = os.environ
        self._log = os.dup(2)  # whatever becomes of standard error

    def log(self, text: str) -> None:
        """To where standard error went at first, which is the log."""
        flush()
        content = f"{text}\n".encode("utf-8", "backslashreplace")
        try:
            while content:
                content = content[os.write(self._log, content) :]
        except OSError:  # the disk is full; what matters is in the result
            pass

    def when_stopped(self, stop: Callable[[], None]) -> None:
        """The whole process is ended."""


def main(file: str, others: list[str]) -> int:
    """Perform the task in that file; what the process is to end with. `others` are folders for the modules of others.

    They come behind the standard library, as the root does for a `call`: what lies there may be called anything.
    """
    import json

    from wfctl import plugins, tasks
    from wfctl.result import Result

    with open(file, encoding="utf-8", errors="surrogatepass") as stream:
        told = json.load(stream)
    fields = tasks.filled_in(told["fields"], {v: tuple(w) for v, w in told["filled"].items()}, os.environ.pop)
    place = behind_library()
    sys.path[place:place] = others
    sys.path += [folder for folder in told["path"] if folder not in sys.path]
    sys.argv[:] = [told["node"]]  # ours are no affair of the code that is performed
    for printed in (sys.stdout, sys.stderr):
        if hasattr(printed, "reconfigure"):  # who is killed has lost nothing, and a log takes any character
            printed.reconfigure(line_buffering=True, errors="backslashreplace")
    tools, pid = WorkerTools(told), os.getpid()
    try:
        kind: Any = plugins.made(told["kind"])
    except Exception as error:  # it could be loaded where the run is driven
        result = Result(reason="not_started", error=str(error))
    else:
        result = tasks.performed(kind, fields, tools)
    code = tasks.exit_code(result)
    flush()
    if os.getpid() != pid:  # a fork that came back out of the work: the result is its parent's to leave
        os._exit(code)
    try:
        tasks.write(told["result"], result)
    except OSError as error:
        tools.log(f"the result cannot be written: {error}")
        code = code or 1
    let_go(tools)
    return code


def behind_library() -> int:
    """The place in `sys.path` of what comes right after the standard library."""
    library = os.path.dirname(os.__file__)
    places = [i for i, folder in enumerate(sys.path) if folder in (library, os.path.join(library, "lib-dynload"))]
    return places[-1] + 1 if places else 0


def flush() -> None:
    """What was printed goes out; whatever has become of the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, or something else by now
            pass


def let_go(tools: WorkerTools) -> None:
    """Wait for nothing that the work has left running: Python would, for as long as that takes.

    The work is done. Who started this process ends what is left, unless the node says `detach`.
    """
    left = []
    if (threading := sys.modules.get("threading")) is not None:
        here = threading.current_thread()
        left = [t.name for t in threading.enumerate() if t is not here and not t.daemon and t.is_alive()]
        if left:
            threading._shutdown = lambda: None  # type: ignore[attr-defined]
    if (processes := sys.modules.get("multiprocessing.util")) is not None:
        import atexit

        children = [child.name for child in sys.modules["multiprocessing"].active_children() if not child.daemon]
        if children:
            left += children
            atexit.unregister(processes._exit_function)
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        tools.log(f"not waited for, though still running: {', '.join(left[:5])}{more}")


if __name__ == "__main__":
    # The folders of PYTHONPATH, in front of the library, are out of the way until all that is ours was imported.
    first = sys.path.index(library) if (library := os.path.dirname(os.__file__)) in sys.path else 0
    if first and sys.path[first - 1].endswith(f"python{sys.version_info[0]}{sys.version_info[1]}.zip"):
        first -= 1
    theirs = sys.path[:first]
    # Our own package, not another one that may be installed.
    sys.path[:first] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    import wfctl  # noqa: F401 (its modules are found by it)

    del sys.path[0]
    sys.exit(main(sys.argv[1], theirs))
