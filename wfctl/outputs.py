"""What an attempt left behind: its output, read and checked, and whether what it was to write is there.

Knows nothing of what success is."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wfctl import journal
from wfctl.decide import Leavings
from wfctl.jobs import Completion, Ending, Job, Result
from wfctl.result import DEEPEST, LARGEST, TOO_LARGE, brief, draft_of
from wfctl.store import write_whole

INLINE = 64 * 1024
"""Bytes of an output that still stand in the journal; a larger one lies in a file of its own."""

_LARGEST_STORED = 1 << 34
"""Bytes of a stored output that are still read: those of a `for_each` may be many times `LARGEST`."""


class _Bad(ValueError):
    """An output that cannot be taken; its text says why."""


def collect(job: Job, completion: Completion, hide: Callable[[str], str] = str) -> Leavings:
    """Read what the job left. Faults are told in the result, not raised. `hide` takes secrets out of an error."""
    if job.task is not None:
        return _of_task(job, completion, hide)
    if completion.ending not in (Ending.EXITED, Ending.KILLED):
        return Leavings()
    missing = _missing(job)
    try:
        output = _read(job)
        if output is None:
            return Leavings(missing=missing)
        file = _kept(job, output)
    except _Bad as error:
        return Leavings(error=str(error), missing=missing)
    except OSError as error:
        return Leavings(error=f"its output could not be read: {(error.strerror or '').lower()}", missing=missing)
    return Leavings(output=output, file=file, missing=missing)


def _missing(job: Job) -> tuple[str, ...]:
    return tuple(path for path in job.writes if not _is_there(path))


def _of_task(job: Job, completion: Completion, hide: Callable[[str], str]) -> Leavings:
    """What a task left: its result, which a process of its own wrote to a file. That is gone then, however it ended."""
    assert job.task is not None
    path = job.task.result
    try:
        if completion.ending not in (Ending.EXITED, Ending.KILLED):
            return Leavings()
        missing = _missing(job)
        told = _told(completion.result, path)
        if told is None:
            return _nothing_left(completion, missing)
        failed, failure = told["reason"], brief(hide(told["error"]))
        if failed == "output":
            return Leavings(error=failure, missing=missing)
        left = Leavings(
            missing=missing, failed=failed, failure=failure, retry_after=told["retry_after"], unknown=told["unknown"]
        )
        try:
            _check_depth(told["output"], "its output", DEEPEST)
            return replace(left, output=told["output"], file=_kept(job, told["output"]))
        except _Bad as error:
            return replace(left, error=str(error))
    except _Bad as error:
        return Leavings(error=str(error))
    except OSError as error:
        return Leavings(error=f"its result could not be read: {(error.strerror or '').lower()}")
    finally:
        for left_over in (path, draft_of(path)):
            try:
                os.unlink(left_over)
            except OSError:  # not there: it was performed in this process, or wrote none
                pass


def _nothing_left(completion: Completion, missing: tuple[str, ...]) -> Leavings:
    """What it means that there is no result: the process ended before the work did."""
    if completion.ending is Ending.KILLED:
        return Leavings(missing=missing)  # and that says all
    what = f"exit code {completion.code}: its process ended before its work was done"
    return Leavings(error=what) if completion.code == 0 else Leavings(failed="exit_code", failure=what)


_RESULT = "its result"


def _told(result: Result | None, path: str) -> dict[str, Any] | None:
    """The fields of a result, from the file where it was left in one; None where there is none."""
    if result is not None:
        return result.told()
    content = _content(path, _RESULT, 2 * LARGEST)
    if content is None:
        return None
    try:
        told = _parse(content.decode("utf-8", "surrogatepass"), _RESULT, DEEPEST + 1)
    except UnicodeDecodeError:
        told = None
    if isinstance(told, dict) and all(isinstance(told.get(key), kind) for key, kind in _FIELDS.items()):
        return told
    raise _Bad("its result is damaged: something else than its worker has written it")


_FIELDS: Mapping[str, Any] = {
    "output": object,
    "reason": str,
    "error": str,
    "retry_after": (int, float, type(None)),
    "unknown": bool,
}


def fetch(folder: str, output: object, stored: bool) -> object:
    """The value behind a recorded output. Raises OSError or ValueError where its file is gone or damaged."""
    if not stored or not isinstance(output, Mapping):
        return output
    return json.loads(journal.content(os.path.join(folder, str(output["file"])), _LARGEST_STORED))


def _is_there(path: str) -> bool:
    if any(c in path for c in "*?["):
        import glob

        return os.path.lexists(path) or next(glob.iglob(path, recursive=True), None) is not None
    return os.path.lexists(path)


def _read(job: Job) -> object:
    if job.reading != "none" and job.stdout is not None:
        if os.path.exists(job.output):
            raise _Bad(
                f"`stdout: {job.reading}` makes its output, and it wrote to $WFCTL_OUTPUT too; take one of them out"
            )
        return _from_stdout(_content(job.stdout, "standard output") or b"", job.reading)
    content = _content(job.output, "$WFCTL_OUTPUT")
    return None if content is None else _from_file(_text(content, "$WFCTL_OUTPUT"))


def _content(path: str, what: str, largest: int = LARGEST) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would hold us for ever
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _Bad(f"{what} is no file; write one there, or nothing")
        with open(fd, "rb", closefd=False) as file:
            content = b"" if found.st_size > largest else file.read(largest + 1)
    finally:
        os.close(fd)
    if max(found.st_size, len(content)) > largest:
        raise _Bad(f"{what} is over 16 MiB, too much for an output; write a file and name it in writes")
    return content


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _Bad(f"{what} is no UTF-8 text (byte {error.start})") from None


def _from_stdout(content: bytes, reading: str) -> object:
    text = _text(content, "standard output")
    if reading == "json":
        return _parse(text, "standard output")
    if reading == "text":
        return text.rstrip("\r\n")
    return _lines(text)


def _lines(text: str) -> list[str]:
    """What newlines part, and nothing else: a form feed or a U+2028 is part of its line."""
    lines = text.removesuffix("\n").split("\n") if text else []
    return [line.removesuffix("\r") for line in lines]


def _from_file(text: str) -> object:
    """JSON, or `key=value` lines."""
    stripped = text.strip()
    if not stripped:
        return None
    if re.match(r"[A-Za-z_][\w.-]*=", stripped):
        pairs = {}
        for number, line in enumerate(_lines(text), 1):
            if line.strip():
                key, equals, value = line.partition("=")
                if not equals:
                    raise _Bad(f'$WFCTL_OUTPUT, line {number}: neither JSON nor key=value: "{line[:60]}"')
                pairs[key.strip()] = value
        return pairs
    if stripped[0] not in '{["-0123456789tfnN':
        line = stripped.partition("\n")[0]
        raise _Bad(f'$WFCTL_OUTPUT holds neither JSON nor key=value lines: "{line[:60]}"')
    return _parse(text, "$WFCTL_OUTPUT")


def _parse(text: str, what: str, deepest: int = DEEPEST) -> object:
    if not text.strip():
        raise _Bad(f"{what} is empty, and JSON was expected")
    try:
        value = json.loads(text, parse_constant=_not_finite, parse_float=_finite)
        _check_depth(value, what, deepest)
        return value
    except RecursionError:
        raise _Bad(f"{what} is nested over {DEEPEST} deep") from None
    except _Bad:
        raise
    except json.JSONDecodeError as error:
        reason = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise _Bad(f"{what} is no JSON: {reason} (line {error.lineno}, column {error.colno})") from None
    except ValueError as error:
        raise _Bad(f"{what} is no JSON: {error}") from None


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} is no finite number")


def _check_depth(value: object, what: str, left: int) -> None:
    if isinstance(value, (dict, list)):
        if not left:
            raise _Bad(f"{what} is nested over {DEEPEST} deep")
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, what, left - 1)


def keep(path: str, output: object) -> tuple[object, bool]:
    """What stands for the output of a group or a `for_each` in the journal, and whether it lies in a file at `path`.

    It has no limit of its own, as it is made of outputs that have one. Raises OSError."""
    file = _stored(path, output, None)
    return (output, False) if file is None else ({"file": file}, True)


def _kept(job: Job, output: object) -> str | None:
    """The name of the file that holds a large output, kept against a crash; None for a small one."""
    return _stored(job.output, output, LARGEST)


def _stored(base: str, output: object, largest: int | None) -> str | None:
    if isinstance(output, (bool, int, float)) or (isinstance(output, str) and len(output) < INLINE // 8):
        return None
    content = json.dumps(output, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(content) <= INLINE:
        return None
    if largest is not None and len(content) > largest:
        raise _Bad(TOO_LARGE)
    from pathlib import Path

    path = Path(base + ".json")
    write_whole(path, content)
    return f"outputs/{path.name}"
