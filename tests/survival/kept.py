"""`python -m tests.survival.kept --kills 200`: twenty runs reach the same hundred keys at once, are killed at random
moments, and go on or do not; exit code 1 where a key was worked on twice at a time, or had more than one success.

Knows wfctl only as a command, by its journals and as processes. Whether two executions of a key meet, the kernel says:
each holds a lock by the name of its key, and so does all that it leaves behind."""

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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers.processes import guard_of, kill, with_text
from tests.survival.harness import ROOT, SOON, WFCTL

NODE = Path(__file__).with_name("on_key.py")
VICTIMS = {"engine": 35, "group": 15, "guard": 10, "engine and guard": 20, "node": 20}
LONGEST = 120.0
"""Seconds in which all runs must have come to their end, once nobody is killed any more."""

WITHOUT = {
    "claim": "from wfctl.twins import Twins as T; T.claim = lambda self, key: ''; T.release = lambda self, key: None",
    "keep": "from wfctl.results import Results; Results.keep = lambda self: None",
}
"""Protections, with what takes them out of the command that is started: then a promise must be broken."""

DOOM = """
import os, signal
from wfctl.results import Results
left, keep = [int(os.environ["SURVIVAL_KEEPS"])], Results.keep
def keep_and_die(self):
    left[0] -= any(shelf.kept for shelf in self._shelves.values())
    keep(self)
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
Results.keep = keep_and_die
"""
"""Lets an engine die when it has kept so many results, before it records the success of the last: no clock meets that
moment."""


@dataclass
class Report:
    """What was done, and what should not have happened."""

    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    resumed: int = 0
    begun: int = 0
    cut: int = 0
    waits: int = 0
    silent: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{n} {victim}" for victim, n in self.kills.items())
        lines = [f"{self.kills.total()} kills ({kills}) in {self.rounds} rounds; {self.resumed} times a run went on"]
        lines += [f"{self.begun} executions began, {self.cut} of them did not end; {self.waits} times a run waited"]
        lines += [f"{self.silent} results were kept by a run that died before it could record its success"]
        lines += [f"violation: {text}" for text in self.violations]
        return "\n".join([*lines, f"{len(self.violations)} violations"])


class Note(NamedTuple):
    """A line of the ledger: an execution is a run with an attempt."""

    word: str
    key: str
    run: int
    attempt: int
    pid: int


class _Run:
    """One of the runs, over as many engines as it comes to have."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number, self.folder = number, folder
        self.engine: subprocess.Popen[bytes] | None = None
        self.was_struck = False  # an engine of it was killed
        self.is_doomed = False  # the engine kills itself, should it come so far
        self.resume_at: float | None = None  # that is when it goes on; where it is dead and this is None, it was left
        self.said = folder / f"said.{number}"

    def journal(self) -> list[dict[str, Any]]:
        """What is recorded of it; nothing before it has begun."""
        for path in self.folder.glob(".wfctl/runs/*/journal.jsonl"):
            events = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
            if len(events) > 1 and events[1]["request"]["params"]["who"] == self.number:
                return events
        return []

    def last_words(self) -> str:
        return " / ".join(self.said.read_text().splitlines()[-3:])


class Crowd:
    """Runs of one workflow that start at the same time and reach the same keys in the same order.

    With the scope `machine` each has a folder and a state of its own. `without` names a protection to take out.
    """

    def __init__(
        self, folder: Path, report: Report, *, runs: int, keys: int, seed: object, scope: str = "workflow",
        without: str = "",
    ) -> None:  # fmt: skip
        self._folder, self._report = folder, report
        self._keys = keys
        self._chance = random.Random(f"{seed}")
        self._mark = f"SURVIVAL={os.getpid()}.{seed}.{time.monotonic_ns()}."
        self._change = WITHOUT.get(without, "")
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("WFCTL_") or k == "WFCTL_NONCE"}
        self._environ |= {"PYTHONPATH": str(ROOT), "SURVIVAL": self._mark}
        self._environ |= {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CACHE", "STATE")}
        (folder / "locks").mkdir()
        folders = [folder / str(number) for number in range(runs)] if scope == "machine" else [folder / "all"] * runs
        text = self._flow(scope)
        for one in set(folders):
            one.mkdir()
            (one / "flow.yaml").write_text(text)
        self._runs = [_Run(number, one) for number, one in enumerate(folders)]

    def _flow(self, scope: str) -> str:
        habits = ["plain", "plain", "leaves", "fails"]
        seconds = [self._chance.choice([0.0, 0.05, self._chance.uniform(0.05, 0.5)]) for _ in range(self._keys)]
        items = [{"n": n, "for": f"{seconds[n]:.3f}", "is": self._chance.choice(habits)} for n in range(self._keys)]
        words = [sys.executable, "-I", "-S", str(NODE), str(self._folder)]
        each = {
            "for_each": items,
            "run": [*words, "${{ item.n }}", "${{ item.for }}", "${{ item.is }}"],
            "stdout": "text",
            "retry": {"attempts": 20, "delay": "20ms", "backoff": 1},
            "idempotency": {"key": "key-${{ item.n }}", "ttl": "1d", "scope": scope},
        }
        return json.dumps(
            {
                "version": 1,
                "name": "crowd",
                "concurrency": 3,
                "grace": "300ms",
                "params": {"who": {"type": "integer"}},
                "nodes": {"each": each},
                "outputs": {"all": "${{ nodes.each.output }}"},
            }
        )

    def fight(self, kills: int, enough: Callable[[], bool] = lambda: False) -> None:
        """Kill so often, or until all have ended, or it is enough; let all come to their end, and look at it."""
        try:
            before = self._report.kills.total()
            for run in self._runs:
                self._start(run, doomed=kills > 0 and self._chance.random() < 0.25)
            moment = self._moment()
            while any(self._lives(run) for run in self._runs) and not enough():
                time.sleep(0.005)
                self._resume_due()
                if self._report.kills.total() - before >= kills:
                    break
                if time.monotonic() > moment and self._has_begun():
                    self._strike()
                    moment = self._moment()
            self._let_end()
            self._let_end_left()
            self._look()
        finally:
            for run in self._runs:
                if run.engine is not None and run.engine.poll() is None:
                    run.engine.kill()
                    run.engine.wait()
            self._clear()

    def _clear(self) -> None:
        deadline = time.monotonic() + 5 * SOON
        while (left := with_text(self._mark)) and time.monotonic() < deadline:
            kill(left)

    def _start(self, run: _Run, *words: str, doomed: bool = False) -> None:
        """Begin a run, or go on with it."""
        events = run.journal()
        if not words:
            words = ("resume", events[1]["run"]) if events else ("run", "flow.yaml", "-p", f"who={run.number}")
        self._report.resumed += words[0] == "resume"
        run.resume_at, run.is_doomed = None, doomed
        change = "\n".join(filter(None, (self._change, DOOM if doomed else "")))
        command = [sys.executable, "-c", f"{change}\nfrom wfctl.__main__ import main\nmain()"] if change else WFCTL
        own = {"WFCTL_STATE_DIR": str(run.folder / ".wfctl"), "SURVIVAL_RUN": str(run.number)}
        own["SURVIVAL_KEEPS"] = str(self._chance.randrange(1, 8))
        with open(run.said, "ab") as said:
            run.engine = subprocess.Popen(
                [*command, *words],
                cwd=run.folder,
                env=self._environ | own,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    # -- kills

    def _moment(self) -> float:
        return time.monotonic() + self._chance.choice([0, self._chance.uniform(0, 0.1), self._chance.uniform(0, 0.5)])

    def _has_begun(self) -> bool:
        return (self._folder / "ledger").exists()

    @staticmethod
    def _lives(run: _Run) -> bool:
        return run.engine is not None and run.engine.poll() is None

    def _strike(self) -> None:
        (victim,) = self._chance.choices(list(VICTIMS), list(VICTIMS.values()))
        run = self._chance.choice([run for run in self._runs if self._lives(run)] or self._runs)
        if victim == "node":
            nodes = [process for process in with_text(self._mark) if NODE.name in process.command]
            if nodes:
                self._report.kills[victim] += 1
                kill([self._chance.choice(nodes)])
            return
        engine = run.engine
        assert engine is not None
        guard = guard_of(engine.pid) if "guard" in victim else None
        if engine.poll() is not None or ("guard" in victim and guard is None):
            return  # there is nobody to kill: it has ended, or is still starting
        self._report.kills[victim] += 1
        if victim == "group":
            os.killpg(engine.pid, signal.SIGKILL)
        if guard is not None and victim != "guard":
            engine.send_signal(signal.SIGSTOP)  # or it would start another
        if guard is not None:
            kill([guard])
        if victim == "guard":
            return
        engine.kill()
        if engine.wait() != 0:  # or it was faster
            self._decide(run)

    def _decide(self, run: _Run) -> None:
        """A run has died: it goes on, now or later, or is left."""
        run.was_struck, run.is_doomed = True, False
        left = sum(one.resume_at is None and one.was_struck and not self._lives(one) for one in self._runs)
        delays = [0.0, 0.0, self._chance.uniform(0, 2)]
        delay = self._chance.choice([*delays, None] if left < len(self._runs) / 2 else delays)
        run.resume_at = None if delay is None else time.monotonic() + delay

    def _resume_due(self, all_of_them: bool = False) -> None:
        for run in self._runs:
            if run.is_doomed and run.engine is not None and run.engine.poll() == -signal.SIGKILL:
                self._report.kills["having kept"] += 1
                self._decide(run)
            if run.resume_at is not None and (all_of_them or time.monotonic() > run.resume_at):
                self._start(run, doomed=not all_of_them and self._chance.random() < 0.25)

    def _let_end(self) -> None:
        """All that live or were to go on; what was left stays so."""
        self._resume_due(all_of_them=True)
        deadline = time.monotonic() + LONGEST
        for run in self._runs:
            assert run.engine is not None
            try:
                code = run.engine.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._broken(f"run {run.number} does not come to its end: {run.last_words()}")
                run.engine.kill()
                continue
            if code == -signal.SIGKILL and run.is_doomed:
                self._report.kills["having kept"] += 1
                run.was_struck = True
                self._start(run)
                code = run.engine.wait(LONGEST)
            if code not in (0, -signal.SIGKILL) or (code and not run.was_struck):
                self._broken(f"run {run.number} ended with {code}: {run.last_words()}")

    def _let_end_left(self) -> None:
        """Half of those that were left go on when all is done; a look at the others ends what they left."""
        for run in self._runs:
            assert run.engine is not None
            if run.engine.returncode == -signal.SIGKILL:
                goes_on = self._chance.random() < 0.5 and bool(run.journal())
                began = len(self._notes())
                self._start(run, *(() if goes_on else ("status",)))
                assert run.engine is not None
                code = run.engine.wait(LONGEST)
                if code and (goes_on or run.journal()):
                    self._broken(f"run {run.number}, left and looked at, ended with {code}: {run.last_words()}")
                if len(self._notes()) != began:
                    self._broken(f"run {run.number} went on when all was done, and did something: {self._notes()[-1]}")

    # -- what must hold

    def _look(self) -> None:
        notes = self._notes()
        self._report.begun += sum(note.word == "start" for note in notes)
        self._report.cut += sum(note.word == "start" for note in notes) - sum(note.word == "end" for note in notes)
        journals = {run.number: run.journal() for run in self._runs}
        for events in journals.values():
            self._report.waits += sum(event.get("event") == "node_waiting" for event in events)
        for note in notes:
            if note.word == "met":
                self._broken(f"run {note.run} met another execution of key {note.key}")
        for fault in self._faults(notes, journals):
            self._broken(fault)
        deadline = time.monotonic() + SOON
        while (left := with_text(self._mark)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if left:
            self._broken(f"alive when all has ended: {'; '.join(f'{p.pid} {p.command[-60:]}' for p in left[:4])}")

    def _faults(self, notes: list[Note], journals: dict[int, list[dict[str, Any]]]) -> Iterator[str]:
        """What contradicts the promises, key by key and then run by run."""
        numbers = {events[1]["run"]: number for number, events in journals.items() if events}
        made: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by key, the executions whose success is recorded
        served: dict[str, set[int]] = defaultdict(set)  # by key, whose result others have taken
        had: dict[int, Counter[str]] = {}
        for number, events in journals.items():
            had[number] = Counter()
            for event in events:
                name, node = event.get("event"), event.get("node", "")
                if not node.startswith("each["):
                    continue
                key = node[5:-1]
                if name == "node_succeeded":
                    made[key].append((number, event["attempt"]))
                elif name == "node_served":
                    served[key].add(numbers.get(event["of"], -1))
                had[number][key] += name in ("node_succeeded", "node_served")
        winners: dict[str, Note] = {}
        for key in map(str, range(self._keys)):
            yield from self._faults_of(key, [n for n in notes if n.key == key], made[key], served[key], winners)
        outputs = self._outputs(journals)
        won = [winners[str(n)] for n in range(self._keys) if str(n) in winners]
        wanted = [f"{note.run} {note.attempt} {note.pid}" for note in won]
        for number, found in outputs.items():
            if found != wanted:
                strange = [f"{one} and not {right}" for one, right in zip(found, wanted, strict=False) if one != right]
                yield f"run {number} has {len(found)} outputs, of {len(wanted)} that were made: {strange[:3]}"
            if any(n != 1 for n in had[number].values()) or len(had[number]) != self._keys:
                yield f"run {number} has not each key once"

    def _faults_of(
        self, key: str, notes: list[Note], made: list[tuple[int, int]], served: set[int], winners: dict[str, Note]
    ) -> Iterator[str]:
        ended = [note for note in notes if note.word == "end"]
        if len(made) > 1:
            yield f"key {key} has {len(made)} successes, of runs and attempts {made}"
        if len(served | {run for run, _ in made}) > 1:
            yield f"key {key} was made by {made}, and served from runs {sorted(served)}"
        for note in ended:
            if (note.run, note.attempt) not in made and not self._runs[note.run].was_struck:
                yield f"key {key} was done by run {note.run}, which nobody killed, and its success is not recorded"
        if made:
            won = [note for note in ended if (note.run, note.attempt) in made]
        else:  # whoever kept it died before it could say so: it is the last that it had done
            self._report.silent += bool(served)
            won = [note for note in ended if note.run in served][-1:]
        if not won:
            if served or made:
                yield f"key {key} has a result, of {made or served}, that nobody has made"
            return
        winners[key] = won[0]
        if late := [note for note in notes[notes.index(won[0]) + 1 :] if note.word == "start"]:
            yield f"key {key} was done, and begun again by runs {[note.run for note in late]}"

    def _outputs(self, journals: dict[int, list[dict[str, Any]]]) -> dict[int, list[str]]:
        """The outputs of the runs that have succeeded, as the command would show them; the state of all loads."""
        from wfctl import app, history
        from wfctl.store import Store

        found = {}
        for run in self._runs:
            if not journals[run.number]:
                continue
            record = app.open_record(journals[run.number][1]["run"], Store(run.folder / ".wfctl"))
            shown = history.document(record)
            if shown["state"] == "succeeded":
                found[run.number] = list(shown["outputs"]["all"])
            elif run.engine is not None and not run.was_struck:
                self._broken(f"run {run.number} was not killed, and is {shown['state']}")
        return found

    def _notes(self) -> list[Note]:
        try:
            lines = (self._folder / "ledger").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [Note(word, key, *map(int, rest)) for word, key, *rest in map(str.split, lines)]

    def _broken(self, text: str) -> None:
        self._report.violations.append(f"round {self._report.rounds}: {text}")


def series(
    *, kills: int, runs: int, keys: int, seed: int, scope: str = "workflow", without: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> Report:  # fmt: skip
    """One crowd after the other, until so many were killed; with a protection taken out, until that was missed."""
    report = Report()
    while (missing := kills - report.kills.total()) > 0 and not (without and report.violations):
        with tempfile.TemporaryDirectory(prefix="survival-") as folder:
            crowd = Crowd(
                Path(folder), report, runs=runs, keys=keys, seed=f"{seed}.{report.rounds}", scope=scope, without=without
            )
            crowd.fight(missing)
        report.rounds += 1
        say(f"{report.kills.total()} kills, {len(report.violations)} violations")
    return report


def main() -> int:
    """Read the words of the command, run the series, print what came of it."""
    name, does = "python -m tests.survival.kept", "Kill runs that reach the same keys at once."
    parser = argparse.ArgumentParser(prog=name, description=does)
    parser.add_argument("--kills", type=int, default=200, help="how many (200)")
    parser.add_argument("--runs", type=int, default=20, help="runs at a time (20)")
    parser.add_argument("--keys", type=int, default=100, help="keys that they share (100)")
    parser.add_argument("--seed", type=int, default=1, help="where chance begins (1)")
    parser.add_argument("--scope", choices=["workflow", "machine"], default="workflow", help="who meets (workflow)")
    parser.add_argument("--without", choices=list(WITHOUT), default="", help="take it out: it must be missed")
    words = parser.parse_args()
    report = series(**vars(words), say=lambda text: print(text, file=sys.stderr))
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
