"""One node of a run that is going to be killed: holds its lock, notes start and end in the ledger, and misbehaves.

Knows nothing of wfctl but the variables it is given. Started as `python -I -S node.py SECONDS HABIT`. Its lock is held
for as long as it or a child of it lives: an attempt that finds it taken has met another one alive, and notes that."""

import fcntl
import os
import signal
import sys
import time

LONG = 60.0  # seconds that a child stays which nobody ends: longer than any run


def note(word: str) -> None:
    line = f"{word} {os.environ['WFCTL_NODE']} {os.environ['WFCTL_ATTEMPT']} {os.environ['SURVIVAL_ENGINE']}\n"
    fd = os.open("ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, line.encode())
    os.close(fd)


def lock() -> None:
    fd = os.open(f"locks/{os.environ['WFCTL_NODE']}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("overlap")


def leave() -> None:
    """A child in the background, that does not hear TERM."""
    if not os.fork():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(LONG)
        os._exit(0)


def leave_session() -> None:
    """A grandchild in a session of its own, as daemons are."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            time.sleep(LONG)
        os._exit(0)


def hop() -> None:
    """A descendant in a session of its own that is another process every 20 ms."""
    if os.fork():
        return
    os.setsid()
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        if os.fork():
            os._exit(0)
        time.sleep(0.02)
    os._exit(0)


def fail_once() -> None:
    try:
        os.close(os.open(f"locks/{os.environ['WFCTL_NODE']}.failed", os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    note("failed")
    os._exit(1)


HABITS = {
    "plain": lambda: None,
    "stubborn": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "background": leave,
    "daemon": leave_session,
    "hopper": hop,
    "flaky": fail_once,
}

if __name__ == "__main__":
    lock()
    note("start")
    HABITS[sys.argv[2]]()
    time.sleep(float(sys.argv[1]))
    note("end")
    os._exit(0)
