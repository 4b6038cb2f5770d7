"""Time and memory of commands, measured in turn, and the facts of the machine they were measured on.

Knows nothing of what the commands mean."""

from __future__ import annotations

import datetime
import os
import platform
import pty
import select
import statistics
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.processes import peak_megabytes, processor_seconds

LOOK = 20                                   # milliseconds between two looks at the memory of a process


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A command to measure in `folder`, with `environ` over what all get. `fresh` are globs of what is put aside there
    before each time. In comparisons it takes part in `rounds` rounds, and where it is `warm` in one before them that is
    not counted. It may write to a terminal."""

    argv: Sequence[str]
    folder: Path
    fresh: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    rounds: int = 1
    warm: bool = True
    on_terminal: bool = False

    @contextmanager
    def started(self, terminal: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
        """The process and the moment before it began; its end is awaited. One that fails ends the benchmark, with the
        end of what it said."""
        self._put_aside()
        environment = {**os.environ, "WFCTL_STATE_DIR": str(self.folder / ".wfctl"), **self.environ}
        with tempfile.TemporaryFile() as said:
            out = said.fileno() if terminal is None else terminal
            moment = time.perf_counter()
            process = subprocess.Popen(
                self.argv, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
            yield process, moment
            if code := process.wait():
                said.seek(0)
                end = "\n".join(said.read().decode(errors="replace").splitlines()[-5:])
                raise SystemExit(f"{' '.join(self.argv)} ended with {code}:\n{end}")

    def _put_aside(self) -> None:
        # Not removed: after many files were, a file system may look long for room for a new one (ext4 without a journal
        # for minutes: 0.1 ms a file, a fifth of a small node), and the next sync would wait for what was removed.
        for path in [path for pattern in self.fresh for path in self.folder.glob(pattern)]:
            path.rename(Path(tempfile.mkdtemp(prefix=".earlier-", dir=self.folder)) / path.name)

    def wall(self) -> float:
        """Seconds from before its start to its end."""
        with _terminal() if self.on_terminal else _nothing() as terminal, self.started(terminal) as (process, moment):
            process.wait()
            return time.perf_counter() - moment

    def alone(self) -> Alone:
        """What the process itself takes, without those it starts."""
        peak = 0.0
        with _terminal() if self.on_terminal else _nothing() as terminal, self.started(terminal) as (process, moment):
            descriptor = os.pidfd_open(process.pid)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            while not poll.poll(LOOK):
                peak = max(peak, peak_megabytes(process.pid))
            seconds = time.perf_counter() - moment
            os.close(descriptor)
            # It has ended and nobody has asked how: what it used can still be read. Its rusage would not do: it holds
            # the largest child too, and the size of this process, out of which it was made.
            return Alone(wall=seconds, processor=processor_seconds(process.pid), megabytes=peak)

    def idle(self, begin: float, end: float, on_terminal: bool = False) -> float:
        """Seconds of processor time that the process itself takes in each second, from `begin` to `end` seconds after
        its start."""
        with _terminal() if on_terminal else _nothing() as terminal, self.started(terminal) as (process, moment):
            marks = []
            for mark in (begin, end):
                time.sleep(max(0.0, moment + mark - time.perf_counter()))
                marks.append((time.perf_counter(), _running(process.pid)))
            (before, used_before), (after, used_after) = marks
            return (used_after - used_before) / (after - before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """One process: seconds, seconds of processor time, its largest size in memory."""

    wall: float
    processor: float
    megabytes: float


def in_turn(commands: Mapping[str, Timed]) -> dict[str, list[float]]:
    """Seconds of each, measured A, B, C, A, B, C …, so that a slow moment hits all."""
    for timed in commands.values():
        if timed.warm:
            timed.wall()
    seen: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(max(timed.rounds for timed in commands.values())):
        for name, timed in commands.items():
            if number < timed.rounds:
                seen[name].append(timed.wall())
    return seen


def machine(folder: Path) -> dict[str, str]:
    """What the figures depend on. `folder` is where the state will be."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _fact("/proc/cpuinfo", "model name") or platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "free memory": f"{int(_fact('/proc/meminfo', 'MemAvailable').split()[0]) / 1024**2:.1f} GiB",
        "load before": f"{os.getloadavg()[0]:.2f} (other programs at work make all of it worse)",
        "fdatasync": f"{_fdatasync(folder) * 1000:.2f} ms (budgets hold to 0.3 ms)",
        "python": platform.python_version(),
    }


def first_line(argv: Sequence[str]) -> str:
    """The first line that a command prints."""
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.partition("\n")[0]


def _fact(path: str, name: str) -> str:
    """The first value of that name in a file of the kernel."""
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _running(pid: int) -> float:
    """Seconds that the threads of a live process have run, exactly."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


@contextmanager
def _terminal() -> Iterator[int]:
    """A terminal whose other side is read by a thread."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))

    def read() -> None:
        try:
            while os.read(ours, 65_536):
                pass
        except OSError:     # nobody holds the other side any more
            os.close(ours)

    thread = threading.Thread(target=read)
    thread.start()
    yield theirs
    os.close(theirs)
    thread.join()


def _fdatasync(folder: Path, times: int = 200) -> float:
    """Median seconds of an appended line and its sync."""
    taken = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(times):
            start = time.perf_counter()
            file.write(b"x" * 200)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)
