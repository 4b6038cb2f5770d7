"""What an exception says to those whose code it came out of: whole, without frames of ours, and short.

Knows nothing of what was performed."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_HERE = os.path.dirname(os.path.abspath(__file__))
_LIBRARY = os.path.dirname(os.__file__)
_OURS = (
    # Who leads to the code of others. In front of it they say nothing; behind it they would.
    f"{_HERE}/worker.py",
    f"{_HERE}/tasks.py",
    f"{_HERE}/kinds/call.py",
    f"{_HERE}/executors/",
    f"{_LIBRARY}/asyncio/",
    f"{_LIBRARY}/concurrent/",
    f"{_LIBRARY}/threading.py",
    f"{_LIBRARY}/importlib/",
    "<frozen importlib",
)
_INSTALLED = ("/site-packages/", "/dist-packages/")


def whole(error: BaseException) -> str:
    """The traceback as Python shows it, beginning with the first frame that is not ours."""
    import traceback

    return "".join(traceback.format_exception(type(error), error, _theirs(error.__traceback__))).rstrip()


def short(error: BaseException, root: str) -> str:
    """`ValueError: text (file.py:12 in build)`: the innermost place below `root`, else the innermost one."""
    others = 0
    while isinstance(error, BaseExceptionGroup):
        others += len(error.exceptions) - 1
        error = error.exceptions[0]
    text = _text(error)
    name = type(error).__name__
    said = f"{name}: {text}" if text else name
    if place := _place(error, root):
        said += f" ({place})"
    return f"{said} and {others} more" if others else said


def _text(error: BaseException) -> str:
    try:
        return str(error.msg if isinstance(error, SyntaxError) else error)
    except Exception as other:  # its own code
        return f"(its text cannot be made: {type(other).__name__})"


def _place(error: BaseException, root: str) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_name(error.filename, root)}:{error.lineno}"
    found = _theirs(error.__traceback__)
    frames = [(f.tb_frame.f_code.co_filename, f.tb_lineno, f.tb_frame.f_code.co_name) for f in _frames(found)]
    inside = [frame for frame in frames if _is_inside(frame[0], root)]
    for file, line, function in (inside or frames)[-1:]:
        return f"{_name(file, root)}:{line}" + ("" if function == "<module>" else f" in {function}")
    return ""


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    """The trace without the frames that led to the code of others; the whole where there is no other."""
    found = trace
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_OURS):
        found = found.tb_next
    return found or trace


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_inside(file: str, root: str) -> bool:
    return file.startswith(root.rstrip("/") + "/") and not any(part in file for part in _INSTALLED)


def _name(file: str, root: str) -> str:
    """A file as people call it: by the folder in which it was found, when that is one."""
    folders = [root, *sorted(map(str, sys.path), key=len, reverse=True)]
    start = next((folder for folder in folders if folder and file.startswith(folder.rstrip("/") + "/")), "")
    return file[len(start) :].lstrip("/") if start else file
