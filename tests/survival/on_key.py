"""One execution of a key that runs share: holds a lock by the name of the key, and notes start, end, and who it met.

Knows nothing of wfctl but the variables it is given. Started as `python -I -S on_key.py FOLDER KEY SECONDS HABIT`. Its
lock is held for as long as it or a child of it lives: an execution that finds it taken has met another one alive."""

import fcntl
import os
import sys
import time

folder, key, seconds, habit = sys.argv[1:]
who = f"{os.environ['SURVIVAL_RUN']} {os.environ['WFCTL_ATTEMPT']} {os.getpid()}"


def note(word: str) -> None:
    fd = os.open(f"{folder}/ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, f"{word} {key} {who}\n".encode())
    os.close(fd)


def leave() -> None:
    """A child in a session of its own, which must be gone, too, before the key is another's."""
    if not os.fork():
        os.setsid()
        for fd in (0, 1, 2):
            os.close(fd)
        time.sleep(60)
        os._exit(0)


def fail_once() -> None:
    try:
        os.close(os.open(f"{folder}/locks/{key}.failed", os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    note("failed")
    os._exit(1)


lock = os.open(f"{folder}/locks/{key}", os.O_RDWR | os.O_CREAT, 0o600)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    note("met")
note("start")
if habit == "leaves":
    leave()
time.sleep(float(seconds))
if habit == "fails":
    fail_once()
note("end")
print(who, flush=True)
os._exit(0)
