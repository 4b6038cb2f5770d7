"""Tasks of Python kinds on their way: to the process that performs one, through its hands, and back as a result.

Knows no kind, and not who performs a task."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wfctl.jobs import Job, PythonKind, Result, Tools

if TYPE_CHECKING:
    from wfctl.errors import Where

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")


def command(job: Job, root: str) -> tuple[tuple[str, ...], bytes]:
    """The argv of a process that performs the task of a job, and what it finds in the task's file."""
    task = job.task
    assert task is not None
    told = {
        "kind": task.kind,
        "fields": task.fields,
        "filled": task.filled,
        "result": task.result,
        "root": root,
        "run": job.id.split("/", 1)[0],
        "node": job.node,
        "attempt": job.attempt,
        "key": task.key,
        "timeout": job.timeout,
    }
    content = json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass")
    # Not the folder that it stands in, where a file may be called as a module of the library is.
    return (sys.executable, "-P", SCRIPT, task.file), content


def filled_in(fields: Mapping[str, Any], filled: Mapping[str, Where], text_of: Callable[[str], str]) -> dict[str, Any]:
    """The fields with the texts that hold secrets in their places; `text_of` gives that of a variable."""
    whole: dict[str, Any] = dict(fields)
    for variable, where in filled.items():
        inner: Any = whole
        for part in where[:-1]:  # copied on the way: the task is not changed
            inner[part] = inner = list(inner[part]) if isinstance(inner[part], list) else dict(inner[part])
        inner[where[-1]] = text_of(variable)
    return whole


def performed(kind: PythonKind, fields: Mapping[str, Any], tools: Tools) -> Result:
    """What the kind makes of the fields. What it raises is a bug of it: whole in the log, short in the result."""
    try:
        return kind.perform(fields, tools)
    except Exception as error:
        tools.log("".join(traceback.format_exception(error)).rstrip())
        return Result(reason="exception", error=f"{type(error).__name__}: {error}".rstrip(": "))


def exit_code(result: Result) -> int:
    """What a process that left this result ends with."""
    return 1 if result.reason else 0


def write(path: str, result: Result) -> None:
    """Leave the result. It is there whole or not at all; the record of its end will keep what matters of it."""
    told = {"output": result.output, "reason": result.reason, "error": result.error, "retry_after": result.retry_after}
    draft = f"{path}.draft"
    with open(draft, "w", encoding="utf-8", errors="surrogatepass") as stream:
        json.dump(told, stream, ensure_ascii=False, allow_nan=False)
    os.rename(draft, path)
