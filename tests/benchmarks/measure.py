"""Wall times of commands, measured in turn, and the facts of the machine they were measured on.

Knows nothing of what the commands mean."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Timed:
    """A command to time in `folder`. `fresh` names what is removed there before each time."""

    argv: Sequence[str]
    folder: Path
    fresh: Sequence[str] = ()

    def wall(self) -> float:
        """Seconds of one run; a command that fails ends the benchmark, with the end of what it said."""
        for name in self.fresh:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).unlink(missing_ok=True)
        environment = {**os.environ, "WFCTL_STATE_DIR": str(self.folder / ".wfctl")}
        with open(self.folder / "said.txt", "w+b") as said:
            start = time.perf_counter()
            code = subprocess.run(
                self.argv, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            ).returncode
            seconds = time.perf_counter() - start
            if code:
                said.seek(0)
                end = "\n".join(said.read().decode(errors="replace").splitlines()[-5:])
                raise SystemExit(f"{' '.join(self.argv)} ended with {code}:\n{end}")
        return seconds


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds of ours and of the peer, round by round."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]


def in_turn(ours: Timed, theirs: Timed, rounds: int) -> Comparison:
    """Ours, theirs, ours, theirs …, so that a slow moment hits both. The first of each is not counted."""
    ours.wall()
    theirs.wall()
    pairs = [(ours.wall(), theirs.wall()) for _ in range(rounds)]
    return Comparison([a for a, _ in pairs], [b for _, b in pairs])


def median_of(timed: Timed, rounds: int) -> float:
    return statistics.median(timed.wall() for _ in range(rounds))


def machine(wfctl: str, folder: Path) -> dict[str, str]:
    """What the figures depend on."""
    facts = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "wfctl": _first_line([wfctl, "--version"]),
        "fdatasync": f"{_fdatasync(folder) * 1000:.2f} ms (budgets hold to 0.3 ms)",
    }
    if shutil.which("ninja"):
        facts["ninja"] = _first_line(["ninja", "--version"])
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _first_line(argv: Sequence[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.partition("\n")[0]


def _fdatasync(folder: Path, times: int = 200) -> float:
    """Median seconds of an appended line and its sync, where the state will be."""
    taken = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(times):
            start = time.perf_counter()
            file.write(b"x" * 200)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)
