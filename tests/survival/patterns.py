"""`python -m tests.survival.patterns`: flows of every shape are killed at each named point, resumed, and must end as if
they had lived; exit code 1 where one did not.

Knows wfctl as a command, by its journal and the names of the points where its engine may be killed. To start it takes
a fork of this process, which has loaded all that a start loads: that is three times as cheap as an interpreter."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.helpers.processes import kill, with_text
from tests.survival import ledger
from tests.survival.harness import ROOT
from tests.survival.shapes import PATTERNS, SHAPES, Shape

ALL = {**SHAPES, **{f"{name}.yaml": shape for name, shape in PATTERNS.items()}}

POINTS = ("decided", "recorded", "submitted", "completed")
SOON = 1.0
LONGEST = 60.0
"""Seconds that one engine may take."""
KILLED = -signal.SIGKILL


@dataclass
class Report:
    """What was done with one shape, and what should not have happened."""

    shape: str
    kills: int = 0
    starts: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


class Series:
    """The kills of one shape, each run in a folder of its own. `every` takes only each so manyth passage of a point."""

    def __init__(self, name: str, folder: Path, every: int) -> None:
        self.report = Report(name)
        self._shape = ALL[name]
        self._folder = folder
        self._every = every
        self._run = 0
        self._mark = f"SURVIVAL={os.getpid()}.{time.monotonic_ns()}."

    def go(self) -> Report:
        """All kills; what is left of the processes of the shape ends with it."""
        began = time.monotonic()
        try:
            alive = Life(self, self._shape, "")
            alive.to_its_end()
            if not self.report.violations:
                self._kill(alive.result())
        finally:
            kill(with_text(self._mark))
        self.report.seconds = time.monotonic() - began
        return self.report

    def _kill(self, wanted: object) -> None:
        first = 1 + sum(map(ord, self.report.shape)) % self._every  # not the same passages of each shape
        for point in POINTS if self._every == 1 else ("any",):
            for count in range(first, 1000, self._every):
                # Now and then the one that resumes is killed too.
                then = f"{point}:{1 + count % 5}" if count % 4 == 0 else ""
                life = Life(self, self._shape, f"{point}:{count}", then)
                life.to_its_end(wanted)
                if not life.was_killed:
                    break
        for step in (3, 5, 11, 17) if self._every == 1 else (11,):  # the shorter ones may never get on by themselves
            Life(self, self._shape, f"any:{step}", f"any:{step}", again=True).to_its_end(wanted)

    # -- what a life needs

    def fresh(self) -> tuple[Path, str]:
        """A folder for one more run, and the mark of its processes."""
        self._run += 1
        folder = self._folder / str(self._run)
        self._shape.write(folder)
        return folder, f"{self._mark}{self._run}."

    def broken(self, text: str) -> None:
        """Note what should not have been."""
        self.report.violations.append(f"{self.report.shape}: {text}")


class Life:
    """One run, from its begin to its end, over as many engines as that takes."""

    def __init__(self, series: Series, shape: Shape, crash: str, then: str = "", again: bool = False) -> None:
        self._series, self._shape = series, shape
        self._crashes = [crash, then] if not again else [crash] + [then] * 20
        self._told = f"killed at {crash}" + (f", then at {then}" if then else "")
        self._folder, self._mark = series.fresh()
        self._answered = False
        self.was_killed = False

    def to_its_end(self, wanted: object = None) -> None:
        """Start it until it has ended, then look at what is left of it."""
        for crash in [*self._crashes, "", ""]:
            code = self._drive(crash)
            # A rejection is a failure, and what failed runs again on resume: so that is asked again.
            if code == 7 and self._shape.answer and (not self._answered or self._shape.answer[1] == "reject"):
                self._answered = True
                if self._command("answer", "last", *self._shape.answer) != 0:
                    self._broken("the answer was not taken")
                code = self._drive(crash)
            if code == KILLED:
                self.was_killed = True
                self._series.report.kills += 1
            elif code == 7:
                self._broken("it asks again what was answered")
                return
            else:
                break
        else:
            self._broken("it does not come to its end")
            return
        if code != self._shape.code:
            said = " / ".join((self._folder / "said").read_text().splitlines()[-3:])
            self._broken(f"exit code {code}: {said}")
            return
        self._look(wanted)

    def _drive(self, crash: str) -> int:
        words = ["resume", "last"] if ledger.journal(self._folder) else self._shape.words
        return self._command(*words, *(["--no-wait"] if self._shape.answer else []), crash=crash)

    def _command(self, *words: str, crash: str = "") -> int:
        """The exit code of the command, -9 where it was killed."""
        self._series.report.starts += 1
        pid = os.fork()
        if not pid:
            _become(self._folder, self._mark, words, crash)
        deadline = time.monotonic() + LONGEST
        while True:  # nobody tells of its end but the kernel, and a pidfd says it without a wait
            fd = os.pidfd_open(pid)
            try:
                if _readable(fd, deadline - time.monotonic()):
                    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            finally:
                os.close(fd)
            self._broken(f"{' '.join(words)} does not end")
            os.kill(pid, signal.SIGKILL)
            deadline += LONGEST

    # -- what must hold

    def _look(self, wanted: object) -> None:
        for fault in faults(self._folder):
            self._broken(fault)
        deadline = time.monotonic() + SOON
        while (left := with_text(self._mark)) and time.monotonic() < deadline:
            time.sleep(0.01)
        if left:
            self._broken(f"alive after its end: {'; '.join(process.command[-60:] for process in left[:4])}")
        found = self.result()
        if wanted is not None and not self._shape.races and found != wanted:
            self._broken(f"ended otherwise:\n  {found}\n  {wanted}")
        if self._shape.races and (fault := contradiction(self._folder, found)):
            self._broken(fault)

    def result(self) -> Any:
        """What must be the same, however often an engine died."""
        from wfctl import app, history
        from wfctl.store import Store

        shown = history.document(app.open_record("last", Store(self._folder / ".wfctl")))
        if self._shape.pattern:
            return {name: value for name, value in shown["outputs"].items() if name not in self._shape.open}
        keys = ("state", "exit_code", "output", "reason", "error")
        nodes = {name: {key: node[key] for key in keys} for name, node in shown["nodes"].items()}
        return {"state": shown["state"], "outputs": shown["outputs"], "nodes": nodes}

    def _broken(self, text: str) -> None:
        self._series.broken(f"{self._told}: {text}")


def faults(folder: Path) -> Iterator[str]:
    """What contradicts the promises: of nodes that do something by what they noted, of the others by the journal."""
    noted = {node for _, node, *_ in ledger.noted(folder)}
    yield from ledger.contradictions(folder, lambda node: node in noted)


def contradiction(folder: Path, found: Any) -> str:
    """Where the end of a race is not what was recorded first."""
    recorded = [event for event in map(json.loads, ledger.journal(folder)) if event.get("event") == "node_succeeded"]
    won = [event["output"] for event in recorded if event["node"] == "x"]
    if len(won) != 1:
        return f"{len(won)} winners were recorded: {won}"
    if found["outputs"]["x"] != won[0]:
        return f"the winner was {won[0]}, and the outputs have {found['outputs']['x']}"
    total = sum(won[0]) if isinstance(won[0], list) else won[0]
    if found["outputs"]["y"] != total:
        return f"the winner was {won[0]}, and what follows has seen {found['outputs']['y']}"
    return ""


def _readable(fd: int, seconds: float) -> bool:
    import select

    return bool(select.select([fd], [], [], max(0, seconds))[0])


def _become(folder: Path, mark: str, words: tuple[str, ...], crash: str) -> None:
    """Go on as the command, in this process, and never come back."""
    code = 70
    try:
        os.chdir(folder)
        for name in [n for n in os.environ if n.startswith("WFCTL_") and n != "WFCTL_NONCE"]:
            del os.environ[name]
        name, _, value = mark.partition("=")
        os.environ |= {"PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": f"{folder}/.wfctl", name: value}
        os.environ["WFCTL_TEST_CRASH"] = crash
        said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        empty = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((empty, 0), (said, 1), (said, 2)):
            os.dup2(source, target)
        os.closerange(3, 100)
        sys.argv = ["wfctl", *words]
        from wfctl.cli import main

        code = main()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _preload() -> None:
    """Load what the command will load, so that no fork has to."""
    from importlib import import_module

    names = "cli app driver engine decide gather nests journal store spec load plan screen guard answers kinds.ask"
    for name in names.split():
        import_module(f"wfctl.{name}")


def _of_shape(name: str, every: int) -> Report:
    _preload()
    with tempfile.TemporaryDirectory(prefix="survival-") as folder:
        return Series(name, Path(folder), every).go()


def kill_all(names: list[str], every: int, jobs: int, say: Callable[[str], None] = lambda text: None) -> list[Report]:
    """All kills of these shapes, so many shapes at a time."""
    reports = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        for future in [pool.submit(_of_shape, name, every) for name in names]:
            report = future.result()
            told = f"{report.kills} kills, {report.starts} starts, {report.seconds:.1f} s"
            say(f"{report.shape}: {told}, {len(report.violations)} violations")
            reports.append(report)
    return reports


def main() -> int:
    """Read the words of the command, run the series, print what came of it."""
    name, does = "python -m tests.survival.patterns", "Kill runs of every shape at every point."
    parser = argparse.ArgumentParser(prog=name, description=does)
    parser.add_argument("shapes", nargs="*", help=f"some of {', '.join(ALL)} (all)", metavar="SHAPE")
    parser.add_argument("--every", type=int, default=1, help="only each so manyth passage, of any point (1: all)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="shapes at a time (cores)")
    words = parser.parse_args()
    if strange := [shape for shape in words.shapes if shape not in ALL]:
        parser.error(f'no shape "{strange[0]}"; there are {", ".join(ALL)}')
    reports = kill_all(words.shapes or list(ALL), words.every, words.jobs, lambda text: print(text, file=sys.stderr))
    violations = [text for report in reports for text in report.violations]
    for text in violations:
        print(f"violation: {text}")
    kills, starts = sum(report.kills for report in reports), sum(report.starts for report in reports)
    print(f"{kills} kills in {starts} starts of {len(reports)} shapes; {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
