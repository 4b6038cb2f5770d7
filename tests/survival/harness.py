"""Drives runs, kills what belongs to them at random moments, resumes at once, and collects what broke a promise.

Knows wfctl only as a command and as processes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.processes import Process, cgroup_of, guard_of, kill, with_text
from tests.survival import flow, ledger

ROOT = Path(__file__).resolve().parents[2]
WFCTL = [sys.executable, "-m", "wfctl"]
SOON = 1.0  # seconds after which nothing is alive, and a new guard is there
LONGEST = 120.0  # seconds that one engine may take
VICTIMS = {"engine": 40, "group": 20, "guard": 25, "engine and guard": 15}


@dataclass
class Report:
    """What was done, and what should not have happened."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    stuck: int = 0
    interrupted: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{n} {victim}" for victim, n in self.kills.items())
        lines = [f"{self.kills.total()} kills ({kills}) in {self.runs} runs; {self.interrupted} attempts were cut off"]
        lines += [f"violation: {text}" for text in self.violations]
        return "\n".join([*lines, f"{len(self.violations)} violations"])


class Survival:
    """One series of kills. `without` names a protection to take out: then it ends when that was missed."""

    def __init__(self, *, kills: int, nodes: int, seed: int, without: str = "") -> None:
        self.report = Report()
        self.nodes = nodes
        self._kills, self._seed, self._without = kills, seed, without
        self._cages: set[Path] = set()
        self._mark = f"SURVIVAL={os.getpid()}.{seed}.{time.monotonic_ns()}."
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("WFCTL_") or k == "WFCTL_NONCE"}
        self._environ |= {"PYTHONPATH": str(ROOT), **({"WFCTL_TEST_WITHOUT": without} if without else {})}

    def run(self, say: Callable[[str], None] = lambda text: None) -> Report:
        """Kill until the number is reached, over as many runs as that takes; after three that cannot end, give up."""
        while not self.is_enough and self.report.stuck < 3:
            with tempfile.TemporaryDirectory(prefix="survival-") as name:
                try:
                    _Run(self, Path(name), random.Random(f"{self._seed}.{self.report.runs}")).to_its_end()
                finally:
                    self._clear()
            self.report.runs += 1
            say(f"{self.report.kills.total()} kills, {len(self.report.violations)} violations")
        return self.report

    @property
    def is_enough(self) -> bool:
        return self.report.kills.total() >= self._kills or bool(self._without and self.report.violations)

    def count(self, victim: str, engine: int) -> None:
        """Count a kill, just before it."""
        self.report.kills[victim] += 1
        if self._without and (cage := cgroup_of(engine)) is not None:
            self._cages.add(cage)

    def _clear(self) -> None:
        """End what is left, and in a control remove the groups that nobody else removes."""
        deadline = time.monotonic() + 5 * SOON
        while (left := with_text(self._mark)) and time.monotonic() < deadline:
            kill(left)  # a hopper may be another one by now
        for cage in self._cages - {cgroup_of(os.getpid())}:
            while cage.exists() and time.monotonic() < deadline:
                try:
                    cage.rmdir()
                except OSError:  # what was killed is not gone yet
                    time.sleep(0.01)
        self._cages.clear()

    def mark(self, run: int, engine: int) -> str:
        """What stands in the environment of all that descends from an engine."""
        return f"{self._mark}{run}.{engine}."

    def start(self, folder: Path, run: int, engine: int, *words: str) -> subprocess.Popen[bytes]:
        """Start the command in a session, and so in a group, of its own."""
        name, _, value = self.mark(run, engine).partition("=")
        own = {"WFCTL_STATE_DIR": f"{folder}/.wfctl", name: value, "SURVIVAL_ENGINE": str(engine)}
        with open(folder / "said", "ab") as said, open(folder / "printed", "wb") as printed:
            return subprocess.Popen(
                [*WFCTL, *words],
                cwd=folder,
                env=self._environ | own,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=said,
                start_new_session=True,
            )


class _Run:
    """One run, driven by one engine after the other until it has succeeded."""

    def __init__(self, survival: Survival, folder: Path, rng: random.Random) -> None:
        self._survival, self._folder, self._rng = survival, folder, rng
        self._number = survival.report.runs
        self._engine = 0
        self._looks: list[threading.Thread] = []
        (folder / "locks").mkdir()
        (folder / "flow.yaml").write_text(flow.text(survival.nodes, rng))

    def to_its_end(self) -> None:
        code = None
        refused = 0
        while code != 0 and refused < 3:
            process = self._start()
            code = self._drive(process)
            if code not in (0, -signal.SIGKILL):
                refused += 1
                said = (self._folder / "said").read_text().splitlines()
                self._broken(f"engine {self._engine} ended with {code}: {' / '.join(said[-3:])}")
                time.sleep(SOON)
        for look in self._looks:
            look.join()
        if code == 0:
            self._check_end()
        else:
            self._survival.report.stuck += 1

    def _start(self) -> subprocess.Popen[bytes]:
        self._engine += 1
        words = ("resume", "last") if ledger.journal(self._folder) else ("run", "flow.yaml")
        return self._survival.start(self._folder, self._number, self._engine, *words)

    def _drive(self, process: subprocess.Popen[bytes]) -> int:
        """Let the engine live for a while and kill something, until it has ended; its exit code."""
        deadline = time.monotonic() + LONGEST
        looked = False
        moment = self._moment()
        while (code := process.poll()) is None:
            time.sleep(0.005)
            if not looked and self._has_begun():
                looked = True
                self._check_older()
            if self._survival.is_enough and time.monotonic() > deadline:
                self._broken(f"engine {self._engine} did not end in {LONGEST:.0f} s")
                process.kill()
            elif not self._survival.is_enough and time.monotonic() > moment:
                self._strike(process)
                moment = self._moment()
        if code == 0:
            left = with_text(self._mark(self._engine))
            if left:
                self._broken(f"alive after its engine has ended well: {_names(left)}")
        return code

    def _moment(self) -> float:
        """When the next kill is due: often early, where a start or a sweep may be under way."""
        return time.monotonic() + self._rng.choice([self._rng.uniform(0, 0.2), self._rng.uniform(0, 1), 0.5])

    def _strike(self, engine: subprocess.Popen[bytes]) -> None:
        (victim,) = self._rng.choices(list(VICTIMS), list(VICTIMS.values()))
        guard = guard_of(engine.pid) if "guard" in victim else None
        if engine.poll() is not None or ("guard" in victim and guard is None):
            return  # there is nobody to kill: it has ended, or is still starting
        self._survival.count(victim, engine.pid)
        if victim == "guard":
            assert guard is not None
            kill([guard])
            self._check_replaced(engine, guard)
            return
        if victim == "group":
            os.killpg(engine.pid, signal.SIGKILL)
        else:
            if guard is not None:
                engine.send_signal(signal.SIGSTOP)  # or it would start another
                kill([guard])
            engine.kill()
        died = time.monotonic()
        engine.wait()
        if victim == "engine and guard":
            return  # what is left is ended by the next engine, before it starts anything
        self._check_gone(died, self._engine)

    # -- what must hold

    def _check_replaced(self, engine: subprocess.Popen[bytes], old: Process) -> None:
        died = time.monotonic()
        while engine.poll() is None:
            new = guard_of(engine.pid)
            if new is not None and new.pid != old.pid:
                return
            if time.monotonic() > died + SOON:
                self._broken(f"engine {self._engine} has no new guard after {SOON} s")
                return
            time.sleep(0.005)

    def _check_gone(self, died: float, engine: int) -> None:
        """Nothing of that engine is alive in a second. Half of the time the next one is not awaited for that."""

        def look() -> None:
            while (left := with_text(self._mark(engine))) and time.monotonic() < died + SOON:
                time.sleep(0.02)
            if left:
                self._broken(f"alive {SOON} s after the death of engine {engine}: {_names(left)}")

        thread = threading.Thread(target=look)
        thread.start()
        self._looks.append(thread)
        if self._rng.random() < 0.5:
            thread.join()

    def _has_begun(self) -> bool:
        return any(engine == self._engine for *_, engine in ledger.noted(self._folder))

    def _check_older(self) -> None:
        """When an engine has started a node, nothing of those before it is alive."""
        for engine in range(1, self._engine):
            if left := with_text(self._mark(engine)):
                self._broken(f"engine {self._engine} starts nodes, of engine {engine} is alive: {_names(left)}")

    def _check_end(self) -> None:
        for fault in ledger.faults(self._folder):
            self._broken(fault)
        self._survival.report.interrupted += ledger.interrupted(self._folder)
        code = self._survival.start(self._folder, self._number, 0, "status", "last", "--json").wait(LONGEST)
        shown = json.loads((self._folder / "printed").read_text() or "{}")
        if code != 0 or shown.get("state") != "succeeded":
            self._broken(f"status ended with {code} and calls the run {shown.get('state')}")
        else:
            states = {name: node["state"] for name, node in shown["nodes"].items() if node["state"] != "succeeded"}
            if states:
                self._broken(f"status does not know of the success of {states}")

    def _mark(self, engine: int) -> str:
        return self._survival.mark(self._number, engine)

    def _broken(self, text: str) -> None:
        self._survival.report.violations.append(f"run {self._number}: {text}")


def _names(processes: list[Process]) -> str:
    return "; ".join(f"{p.pid} {p.state} {p.command[-60:]}" for p in processes[:4])
