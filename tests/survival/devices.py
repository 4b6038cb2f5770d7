"""`python -m tests.survival.devices --kills 100`: two runs share two devices, are killed at random moments and resumed
at once; exit code 1 where two nodes ever had one device at a time, or a run did not come to its end.

Knows wfctl only as a command and as processes. Whether two nodes meet, the kernel says: each holds a lock by the name
of its device, and so do all that it leaves behind."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.processes import guard_of, kill, with_text
from tests.survival.harness import ROOT, WFCTL

NODE = Path(__file__).with_name("on_device.py")
VICTIMS = {"engine": 40, "group": 25, "guard": 20, "engine and guard": 15}
DEVICES = "01"
LONGEST = 60.0  # seconds in which something must happen


@dataclass
class Report:
    """What was done, and what should not have happened."""

    kills: Counter[str] = field(default_factory=Counter)
    begun: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    waits: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{n} {victim}" for victim, n in self.kills.items())
        begun = ", ".join(f"{n} on device {device}" for device, n in sorted(self.begun.items()))
        told = f"{self.cut} attempts were cut off, {self.waits} times a run said for whom it waits"
        lines = [f"{self.kills.total()} kills ({kills}); {self.begun.total()} attempts began ({begun}); {told}"]
        lines += [f"violation: {text}" for text in self.violations]
        return "\n".join([*lines, f"{len(self.violations)} violations"])


class Rivals:
    """Two runs, each in a folder of its own, that share the devices of the machine and nothing else.

    Without `sharing` each takes all of them for its own: then nodes must meet.
    """

    def __init__(self, folder: Path, *, nodes: int, seed: int, sharing: bool = True) -> None:
        self.report = Report()
        self._folder = folder
        self._share = "machine" if sharing else "run"
        self._chance = random.Random(seed)
        self._mark = f"SURVIVAL={os.getpid()}.{seed}.{time.monotonic_ns()}."
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("WFCTL_") or k == "WFCTL_NONCE"}
        self._environ |= {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "meeting"), "SURVIVAL": self._mark}
        self._environ.pop("CUDA_VISIBLE_DEVICES", None)
        self._engines: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("one", "two"):
            (folder / name).mkdir()
            (folder / name / "flow.yaml").write_text(self._flow(nodes))

    def _flow(self, count: int) -> str:
        words = [sys.executable, "-I", "-S", str(NODE), str(self._folder)]
        nodes = {
            f"n{i:03}": {
                "run": [*words, f"{self._chance.choice([0.01, 0.05, 0.2]):.3f}"],
                "resources": {"gpu": 2 if self._chance.random() < 0.15 else 1},
            }
            for i in range(count)
        }
        supply = {"gpu": {"amount": len(DEVICES), "share": self._share}}
        return json.dumps({"version": 1, "concurrency": 4, "grace": "300ms", "resources": supply, "nodes": nodes})

    def fight(self, kills: int, say: Callable[[str], None] = lambda text: None) -> Report:
        """Kill until the number is reached, each time resume at once; then let both come to their end."""
        try:
            for name in ("one", "two"):
                self._start(name)
            while self.report.kills.total() < kills and not self.report.violations:
                self._await_progress()
                self._strike(self._chance.choice(sorted(self._engines)))
                self._look()
                say(f"{self.report.kills.total()} kills, {len(self.report.violations)} violations")
            for name in self._engines if not self.report.violations else ():
                self._let_end(name)
            self._look()
            for path in self._folder.glob("*/said"):
                self.report.waits += path.read_text().count("waits for run")
        finally:
            for engine in self._engines.values():
                if engine.poll() is None:
                    engine.kill()
                engine.wait()
            kill(with_text(self._mark))
        return self.report

    def _start(self, name: str) -> None:
        """Begin the run, or go on with it."""
        folder = self._folder / name
        has_begun = any(path.stat().st_size for path in folder.glob(".wfctl/runs/*/journal.jsonl"))
        words = ("resume", "last") if has_begun else ("run", "flow.yaml")
        with open(folder / "said", "ab") as said:
            self._engines[name] = subprocess.Popen(
                [*WFCTL, *words],
                cwd=folder,
                env={**self._environ, "WFCTL_STATE_DIR": str(folder / ".wfctl")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def _await_progress(self) -> None:
        """Until some more attempts have begun; often early, where a start or a sweep is still under way."""
        wanted = self._begun() + self._chance.choice([0, 1, self._chance.randrange(12)])
        deadline = time.monotonic() + LONGEST
        pause = time.monotonic() + self._chance.uniform(0, 0.3)
        while self._begun() < wanted or time.monotonic() < pause:
            for name, engine in self._engines.items():
                if engine.poll() == 0:
                    raise SystemExit(f"run {name} has come to its end; give it more nodes")
            if time.monotonic() > deadline:
                self._broken("no node has begun for a minute")
                return
            time.sleep(0.005)

    def _strike(self, name: str) -> None:
        engine = self._engines[name]
        (victim,) = self._chance.choices(list(VICTIMS), list(VICTIMS.values()))
        guard = guard_of(engine.pid) if "guard" in victim else None
        if engine.poll() is not None:
            self._broken(f"run {name} ended with {engine.returncode}: {self._last_words(name)}")
        elif "guard" not in victim or guard is not None:
            self.report.kills[victim] += 1
            if guard is not None and victim != "guard":
                engine.send_signal(signal.SIGSTOP)  # or it would start another
            if guard is not None:
                kill([guard])
            if victim == "group":
                os.killpg(engine.pid, signal.SIGKILL)
            elif victim != "guard":
                engine.kill()
            if victim != "guard":
                engine.wait()
                self._start(name)

    def _let_end(self, name: str) -> None:
        try:
            code = self._engines[name].wait(4 * LONGEST)
        except subprocess.TimeoutExpired:
            self._broken(f"run {name} does not come to its end")
            return
        if code != 0:
            self._broken(f"run {name} ended with {code}: {self._last_words(name)}")

    # -- what must hold

    def _look(self) -> None:
        """What the nodes noted: nobody met another one on its device."""
        notes = [line.split() for line in self._notes().splitlines()]
        for word, attempt, device in notes:
            if word == "met":
                self._broken(f"{attempt} met another node on device {device}")
        self.report.begun = Counter(device for word, _, device in notes if word == "start")
        starts, ends = (sum(word == wanted for word, *_ in notes) for wanted in ("start", "end"))
        self.report.cut = starts - ends

    def _begun(self) -> int:
        return self._notes().count("start ")

    def _notes(self) -> str:
        try:
            return (self._folder / "ledger").read_text()
        except FileNotFoundError:
            return ""

    def _last_words(self, name: str) -> str:
        return " / ".join((self._folder / name / "said").read_text().splitlines()[-3:])

    def _broken(self, text: str) -> None:
        if text not in self.report.violations:
            self.report.violations.append(text)


def main() -> int:
    """Read the words of the command, run the series, print what came of it."""
    name, does = "python -m tests.survival.devices", "Kill runs that share devices."
    parser = argparse.ArgumentParser(prog=name, description=does)
    parser.add_argument("--kills", type=int, default=100, help="how many (100)")
    parser.add_argument("--nodes", type=int, default=600, help="nodes of each of the two runs (600)")
    parser.add_argument("--seed", type=int, default=1, help="where chance begins (1)")
    parser.add_argument("--without", choices=["sharing"], default="", help="take it out: then nodes must meet")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="survival-") as folder:
        rivals = Rivals(Path(folder), nodes=words.nodes, seed=words.seed, sharing=not words.without)
        report = rivals.fight(words.kills, lambda text: print(text, file=sys.stderr))
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
