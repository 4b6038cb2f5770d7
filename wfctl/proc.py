"""What the kernel tells of a process by its pid: nothing of one that is gone, or is another user's.

Knows nothing of whose it is. A guard loads it at its start, so it imports next to nothing."""

from __future__ import annotations

import os

NONCE = "WFCTL_NONCE"
"""The variable that says which runs a process stems from, the outer ones first, and of which attempt in each."""

STATE, PARENT, SESSION, THREADS, STARTED = 0, 1, 3, 17, 19
"""Where these stand in `stat`. The start is in ticks since boot."""

_VARIABLE = f"\0{NONCE}=".encode()


def stat(pid: int | str) -> list[bytes]:
    """What is said of it after its command, up to the moment of its start; empty where nothing is."""
    text = read(pid, "stat")
    # The command may hold anything, parentheses too.
    fields = text[text.rfind(b")") + 2 :].split(None, STARTED + 1)
    return fields if len(fields) > STARTED else []


def marks(pid: int | str) -> list[str]:
    """What NONCE says in its environment."""
    _, _, rest = (b"\0" + read(pid, "environ")).partition(_VARIABLE)
    return rest.partition(b"\0")[0].decode(errors="replace").split(":")


def command(pid: int | str) -> list[str]:
    """Its command line, which may say anything; its name where it has none."""
    words = read(pid, "cmdline") or read(pid, "comm").rstrip()
    return words.decode(errors="replace").rstrip("\0").split("\0")


def read(pid: int | str, name: str) -> bytes:
    """What stands in a file of its folder."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    parts = []
    try:
        while part := os.read(fd, 1 << 16):
            parts.append(part)
    except OSError:
        pass
    finally:
        os.close(fd)
    return b"".join(parts)
