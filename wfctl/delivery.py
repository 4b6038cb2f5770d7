"""Writes a file that somebody asked for: whole, or not at all.

Knows nothing of what it holds. The state folder's own files are written elsewhere, and outlive a crash."""

from __future__ import annotations

import os
import stat

from wfctl.errors import UsageError


def check(option: str, path: str) -> str:
    """The whole path of a file that is to be written later, from another folder. Raises UsageError where that cannot
    be: what only shows at the end of a run shows too late."""
    whole = os.path.abspath(path)
    folder = os.path.dirname(os.path.realpath(whole))
    reason = ""
    if not path or path.endswith("/") or os.path.isdir(whole):
        reason = "names a folder; name a file in it"
    elif not os.path.isdir(folder):
        reason = f'cannot be written: there is no folder "{folder}"'
    elif not os.access(folder if _is_plain(whole) else whole, os.W_OK):
        reason = "cannot be written: permission denied"
    if reason:
        raise UsageError(f'{option}: "{path}" {reason}')
    return whole


def write(path: str, text: str) -> None:
    """Write it. Who reads meanwhile finds the old file or the new one. Raises OSError."""
    content = text.encode("utf-8", "backslashreplace")
    if not _is_plain(path):  # a pipe, say: nothing can stand in its place
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(fd, True)
        with open(fd, "wb") as file:
            file.write(content)
        return
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    draft = os.path.join(folder, f".{name[:200]}.{os.getpid()}")
    try:
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, target)
    except BaseException:
        discard(draft)
        raise


def beginning(path: str) -> bytes:
    """What a file that is there begins with; nothing where there is none, or one that is no file."""
    try:
        if _is_plain(path):
            with open(path, "rb") as file:
                return file.read(100)
    except OSError:
        pass
    return b""


def discard(path: str) -> None:
    """Take a file away, where it is there: what is left of an earlier run is no answer of this one."""
    try:
        if _is_plain(path):
            os.unlink(os.path.realpath(path))
    except OSError:
        pass


def _is_plain(path: str) -> bool:
    """Whether a regular file stands there, or nothing."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True
