"""A child that says it is ready and then misbehaves, one word of its command line after the other.

Knows nothing of wfctl. Words: ready=FILE (made once all words before it were done), ignore=TERM, save=FILE (on TERM:
make it and end with 7), wait=FILE, fork=FILE (leave a child in the group that ignores TERM; its pid goes to FILE),
saver=FILE,DONE (the same, but on TERM it makes DONE and ends), die=KILL (end by that signal), stop, flood=BYTES,
print=TEXT, complain=TEXT, facts=FILE (what the process was given, as JSON), hang, exit=CODE.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def put(path: str, text: str = "") -> None:
    """Makes the file whole at once, for somebody may be waiting for it."""
    new = Path(f"{path}.new")
    new.write_text(text)
    new.rename(path)


def hang() -> None:
    while True:
        signal.pause()


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


def obey(word: str, value: str) -> None:
    match word:
        case "ready":
            put(value)
        case "ignore":
            signal.signal(signal.Signals["SIG" + value], signal.SIG_IGN)
        case "save":
            save_on_term(value, 7)
        case "wait":
            wait_for(value)
        case "fork":
            leave(value)
        case "saver":
            leave(*value.split(","))
        case "die":
            os.kill(os.getpid(), signal.Signals["SIG" + value])
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "flood":
            flood(int(value))
        case "print":
            print(value, flush=True)
        case "complain":
            print(value, file=sys.stderr, flush=True)
        case "facts":
            put(value, facts())
        case "hang":
            hang()
        case "exit":
            sys.exit(int(value))
        case _:
            sys.exit(f"no such word: {word}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        obey(*argument.partition("=")[::2])
