"""Signals to processes that may be gone by now, or another user's.

Knows nothing of whose they are."""

from __future__ import annotations

import os
import signal


def send(pid: int, number: int) -> bool:
    """False where it became another user's, and cannot be told anything."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def send_group(pid: int, number: int) -> None:
    """To all of a group that can be told."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def group_of(pid: int) -> int:
    """The process group; -1 of one that is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def name_of(number: int) -> str:
    """`SIGTERM`, or its number for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def noted(number: int, frame: object) -> None:
    """A handler that does nothing: the number reaches the wakeup descriptor without it."""
