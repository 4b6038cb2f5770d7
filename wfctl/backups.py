"""Backups as files: there whole or not at all, each with its checksum beside it.

Knows no database: it is handed what writes one, and what reads one."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Callable

ENDING = ".sha256"
"""What the file with the checksum is called beside that of the backup, in the form that `sha256sum -c` reads."""


class Damaged(Exception):
    """A backup that is not what was written; its text says why."""


def make(path: str, write: Callable[[str], None], mark: str) -> None:
    """Have `write` write a backup, and put it there. `mark` says whose it is, until it is `settled`."""
    draft = f"{path}.draft"
    _remove(draft)
    try:
        write(draft)
        with open(draft, "rb") as stream:
            os.fsync(stream.fileno())
        digest = _digest(draft)
        os.replace(draft, path)
    finally:
        _remove(draft)
    # A crash before this leaves a checksum that does not fit, and a restore says so.
    _write(path, digest, mark)


def stands(path: str, mark: str) -> bool:
    """Whether a whole backup of that mark is there."""
    try:
        check(path)
        return _read(path)[1:] == [_comment(mark)]
    except (OSError, Damaged):
        return False


def settled(path: str) -> None:
    """It is nobody's any more: what it was made before is known to be done, or not."""
    try:
        digest = _read(path)[0].split()[0]
        _write(path, digest, "")
    except (OSError, IndexError):
        pass


def check(path: str) -> None:
    """Raises Damaged where it is not what was written."""
    try:
        wanted = (_read(path) or [""])[0].partition(" ")[0]
    except FileNotFoundError:
        raise Damaged(f'there is no "{os.path.basename(path)}{ENDING}" beside it, the checksum of the backup') from None
    if _digest(path) != wanted:
        raise Damaged(f'the backup does not fit its checksum in "{os.path.basename(path)}{ENDING}"')


def _read(path: str) -> list[str]:
    with open(path + ENDING, encoding="utf-8", errors="replace") as stream:
        return stream.read().splitlines()


def _write(path: str, digest: str, mark: str) -> None:
    draft = f"{path}{ENDING}.draft"
    with open(draft, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(f"{digest}  {os.path.basename(path)}\n" + (f"{_comment(mark)}\n" if mark else ""))
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path + ENDING)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _comment(mark: str) -> str:
    return f"# before {mark!a}"


def _digest(path: str) -> str:
    import hashlib

    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
