"""Tasks of Python kinds on their way: to the process that performs one, through its hands, and back as a result.

Knows no kind, and not who performs a task."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping

from wfctl import plugins
from wfctl.result import LARGEST, TOO_LARGE, NoOutput, Result, brief, draft_of, plain

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from typing import Any

    from wfctl.errors import Where
    from wfctl.jobs import Job, PythonKind, Tools

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")

LONGEST_ERROR = 1024 * 1024
"""Characters of an error on its way. It is cut for good only when no secret is in it: half a one would not be found."""


def command(job: Job, root: str) -> tuple[tuple[str, ...], bytes]:
    """The argv of a process that performs the task of a job, and what it finds in the task's file."""
    task = job.task
    assert task is not None
    told = {
        "kind": plugins.address(task.kind),
        "path": [] if task.kind in plugins.KINDS else [folder for folder in sys.path if folder],  # it was found there
        "fields": task.fields,
        "filled": task.filled,
        "result": task.result,
        "root": root,
        "run": job.id.split("/", 1)[0],
        "node": job.node,
        "attempt": job.attempt,
        "key": task.key,
        "unsure": job.unsure,
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
    """What the kind makes of the fields, with an output that is plain data. What it raises is a failure."""
    try:
        result = kind.perform(fields, tools)
        if not isinstance(result, Result):
            raise TypeError(f"perform returned {type(result).__name__}, and not a Result")
        result.output = plain(result.output)
    except NoOutput as error:
        return Result(reason="output", error=brief(str(error), LONGEST_ERROR))
    except BaseException as error:  # a kind that calls `sys.exit` ends neither a worker nor a thread of the engine
        return failed(error, tools)
    result.error = brief(result.error, LONGEST_ERROR)
    return result


def failed(error: BaseException, tools: Tools) -> Result:
    """A failure by an exception: whole in the log, short in the result."""
    from wfctl.blame import short, whole

    tools.log(whole(error))
    return Result(reason="exception", error=brief(short(error, tools.root), LONGEST_ERROR))


def exit_code(result: Result) -> int:
    """What a process that left this result ends with. An output that cannot be taken is no matter of the process."""
    if result.code is not None:
        return result.code & 0xFF
    return 0 if result.reason in ("", "output") else 1


def write(path: str, result: Result) -> None:
    """Leave the result. It is there whole or not at all; the record of its end will keep what matters of it."""
    output = _encoded(result.output)
    if len(output) > LARGEST:
        output = b"null"
        result = result if result.reason else Result(reason="output", error=TOO_LARGE)
    rest = _encoded({key: value for key, value in result.told().items() if key not in ("output", "code")})
    fd = os.open(draft_of(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if fd < 3:  # somebody closed one of these, and what is printed must not go into the result
        import fcntl

        fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    with open(fd, "wb") as stream:
        stream.write(b'{"output": %b, %b' % (output, rest[1:]))
    os.rename(draft_of(path), path)


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
