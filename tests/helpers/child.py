"""A child that says it is ready and then misbehaves, one word of its command line after the other.

Knows nothing of wfctl. Words: ready=FILE (made once all words before it were done), ignore=TERM, save=FILE (on TERM:
make it and end with 7), wait=FILE, fork=FILE (leave a child in the group that ignores TERM; its pid goes to FILE),
saver=FILE,DONE (the same, but on TERM it makes DONE and ends), double=FILE (leave a grandchild in a session of its own;
its pid goes to FILE), daemon=FILE (the same, without environment and folder), alone=FILE (end with 7 where another
process, or a child of it, was here and lives), die=KILL (end by that signal), stop, flood=BYTES, print=TEXT,
complain=TEXT, facts=FILE (what the process was given, as JSON), hang, exit=CODE.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path


def put(path: str, text: str = "") -> None:
    """Makes the file whole at once, for somebody may be waiting for it."""
    new = Path(f"{path}.new")
    new.write_text(text)
    new.rename(path)


def hang() -> None:
    """In short sleeps: a signal that comes just before `signal.pause()` would be heard only by the next one."""
    while True:
        time.sleep(0.02)


def save_on_term(path: str, code: int) -> None:
    def saved(number: int, frame: object) -> None:
        put(path)
        os._exit(code)

    signal.signal(signal.SIGTERM, saved)


def leave(path: str, done: str = "") -> None:
    """Forks one that stays; returns once that one has its dispositions."""
    if os.fork():
        wait_for(path)
        return
    if done:
        save_on_term(done, 0)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    put(path, str(os.getpid()))
    hang()


def leave_session(path: str, *, bare: bool) -> None:
    """Forks twice, as daemons do; returns once the one that stays is in a session of its own."""
    if os.fork():
        os.wait()
        wait_for(path)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    put(path, str(os.getpid()))
    if bare:
        os.chdir("/")
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    hang()


def be_alone(path: str) -> None:
    """Takes a lock that children inherit, for as long as one of them lives."""
    try:
        fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(7)


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.005)


def descriptors() -> list[int]:
    with_the_listing = [int(name) for name in os.listdir("/proc/self/fd")]
    return sorted(fd for fd in with_the_listing if os.path.exists(f"/proc/self/fd/{fd}"))


def facts() -> str:
    return json.dumps(
        {
            "pid": os.getpid(),
            "session": os.getsid(0),
            "group": os.getpgid(0),
            "folder": os.getcwd(),
            "env": dict(os.environ),
            "descriptors": descriptors(),
            "input": sys.stdin.read(),
        }
    )


def flood(size: int) -> None:
    block = b"\xff\x00\x1b[31m" * 4096
    while size > 0:
        size -= os.write(1, block[:size])


WORDS: dict[str, Callable[[str], object]] = {
    "ready": put,
    "ignore": lambda name: signal.signal(signal.Signals["SIG" + name], signal.SIG_IGN),
    "save": lambda path: save_on_term(path, 7),
    "wait": wait_for,
    "fork": leave,
    "saver": lambda paths: leave(*paths.split(",")),
    "double": lambda path: leave_session(path, bare=False),
    "daemon": lambda path: leave_session(path, bare=True),
    "alone": be_alone,
    "die": lambda name: os.kill(os.getpid(), signal.Signals["SIG" + name]),
    "stop": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
    "flood": lambda size: flood(int(size)),
    "print": lambda text: print(text, flush=True),
    "complain": lambda text: print(text, file=sys.stderr, flush=True),
    "facts": lambda path: put(path, facts()),
    "hang": lambda _: hang(),
    "exit": lambda code: sys.exit(int(code)),
}

if __name__ == "__main__":
    for argument in sys.argv[1:]:
        word, _, value = argument.partition("=")
        if word not in WORDS:
            sys.exit(f"no such word: {word}")
        WORDS[word](value)
