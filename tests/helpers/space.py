"""An executor of local processes in a folder of its own, and words for what a test waits for.

Waits for facts (files that children make), never for a time to pass."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from wfctl.executors.local import LocalExecutor
from wfctl.jobs import Completion, Job, Message

CHILD = Path(__file__).parent / "child.py"
DEADLINE = 30.0     # seconds within which anything awaited here must have happened


class SystemClock:
    def now(self) -> float:
        return time.time()


def run(*argv: str, id: str = "r/a/1", env: Mapping[str, str] = {}, **more: Any) -> Job:
    _, node, attempt = id.split("/")
    return Job(id=id, node=node, attempt=int(attempt), argv=argv, env=env, **more)


def child(*words: str, **more: Any) -> Job:
    return run(sys.executable, "-S", str(CHILD), *words, **more)


NONCE = "0123456789abcdef"


class Space:
    """An executor that stands in a folder of its own, and words for what a test waits for."""

    def __init__(self, root: Path, grace: float, **more: Any) -> None:
        self.root = root
        environ = {**os.environ, "WFCTL_NONCE": f"outer:{NONCE}"}
        self.executor = LocalExecutor(
            SystemClock(), root=str(root), environ=environ, grace=grace, nonce=NONCE, **more
        )

    def messages(self, count: int) -> list[Message]:
        limit = time.time() + DEADLINE
        told: list[Message] = []
        while len(told) < count:
            assert time.time() < limit, f"told only {told}"
            told += self.executor.wait(limit)
        return told

    def perform(self, job: Job) -> Completion:
        """The completion of the job, run alone."""
        self.executor.submit(job)
        return self.ended()

    def ended(self) -> Completion:
        [message] = self.messages(1)
        assert isinstance(message, Completion)
        return message

    def text(self, name: str) -> str:
        return (self.root / name).read_text()

    def await_file(self, name: str) -> str:
        limit = time.monotonic() + DEADLINE
        while not (self.root / name).exists():
            assert time.monotonic() < limit, f"{name} never came"
            self.executor.wait(time.time() + 0.01)
        return self.text(name)


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Whatever the caller of the tests ignores."""
    before = {n: signal.signal(n, signal.SIG_DFL) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def make_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default_signals: None
) -> Iterator[Callable[..., Space]]:
    monkeypatch.chdir(tmp_path)     # as the engine does
    spaces: list[Space] = []

    def make(grace: float, **more: Any) -> Space:
        space = Space(tmp_path, grace, **more)
        space.executor.open()
        spaces.append(space)
        return space

    yield make
    for space in spaces:
        space.executor.close()


@pytest.fixture
def space(make_space: Callable[..., Space]) -> Space:
    """One whose grace is longer than any test."""
    return make_space(1000)


def await_death(pid: int) -> None:
    limit = time.monotonic() + DEADLINE
    while is_alive(pid):
        assert time.monotonic() < limit, f"process {pid} is still alive"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
