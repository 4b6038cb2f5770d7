"""The lines of the table: what is timed against what, and the target.

Knows nothing of how a line is shown."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.benchmarks import flows
from tests.benchmarks.measure import Comparison, Timed, in_turn, median_of
from tests.benchmarks.peers import PEERS

PASS = (sys.executable, "-c", "pass")
RUAMEL = (
    sys.executable,
    "-c",
    "from ruamel.yaml import YAML\nwith open('flow.yaml', encoding='utf-8') as file: YAML(typ='safe').load(file)",
)
SIZES = (1_000, 10_000, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table. Times are seconds; `ratios` are ours over the peer's, or one size over the size before."""

    line: str
    against: str
    ours: float
    theirs: float
    ratios: list[float]
    target: float
    sizes: dict[int, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The median of the rounds; for growth the worst step."""
        return max(self.ratios) if self.sizes else statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        return self.ratio <= self.target


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how the lines are measured. Every line gets a folder of its own."""

    wfctl: str
    folder: Path
    rounds: int
    peers: tuple[str, ...]

    def place(self, line: str, flow: str = "") -> Path:
        folder = self.folder / line
        folder.mkdir(parents=True)
        (folder / "flow.yaml").write_text(flow)
        return folder

    def versus(self, line: str, against: str, target: float, ours: Timed, theirs: Timed, rounds: int = 0) -> Result:
        seen: Comparison = in_turn(ours, theirs, rounds or self.rounds)
        return Result(
            line=line,
            against=against,
            ours=statistics.median(seen.ours),
            theirs=statistics.median(seen.theirs),
            ratios=seen.ratios,
            target=target,
        )


Line = Callable[[Bench, str], list[Result]]


def start(*words: str, target: float) -> Line:
    """A command that does nothing but start, against a Python that does nothing."""

    def line(bench: Bench, name: str) -> list[Result]:
        folder = bench.place(name)
        ours = Timed((bench.wfctl, *words), folder)
        return [bench.versus(name, "python -c pass", target, ours, Timed(PASS, folder), 2 * bench.rounds)]

    return line


def small_run(bench: Bench, name: str) -> list[Result]:
    """A run of three nodes, against a Python that does nothing: the first of a file, and a later one."""
    folder = bench.place(name, flows.workflow(flows.chain(3)))
    first = Timed((bench.wfctl, "run", "flow.yaml"), folder, (".wfctl",))
    again = Timed((bench.wfctl, "run", "flow.yaml"), folder)
    return [
        bench.versus(what, "python -c pass", 12, ours, Timed(PASS, folder), 2 * bench.rounds)
        for what, ours in ((f"{name} first", first), (f"{name} again", again))
    ]


def validate(bench: Bench, name: str) -> list[Result]:
    """10,000 nodes of 5 keys, against ruamel's safe loader with its C parser on the same file."""
    folder = bench.place(name, flows.five_keys(flows.layered(10_000)))
    ours = Timed((bench.wfctl, "validate", "flow.yaml"), folder)
    return [bench.versus(name, "ruamel safe", 0.6, ours, Timed(RUAMEL, folder))]


def plan(bench: Bench, name: str) -> list[Result]:
    """10,000 nodes, against `validate` of the same file."""
    folder = bench.place(name, flows.five_keys(flows.layered(10_000)))
    ours = Timed((bench.wfctl, "plan", "flow.yaml"), folder)
    return [bench.versus(name, "wfctl validate", 3, ours, Timed((bench.wfctl, "validate", "flow.yaml"), folder))]


def growth(verb: str) -> Line:
    """Ten times the nodes, at most twelve times the time."""

    def line(bench: Bench, name: str) -> list[Result]:
        times = {}
        for size in SIZES:
            folder = bench.place(f"{name}_{size}", flows.five_keys(flows.layered(size)))
            rounds = bench.rounds if size <= 10_000 else 1
            times[size] = median_of(Timed((bench.wfctl, verb, "flow.yaml"), folder), rounds)
        seconds = list(times.values())
        steps = [after / before for before, after in pairwise(seconds)]
        return [
            Result(
                line=name,
                against="a tenth of it",
                ours=seconds[-1],
                theirs=seconds[-2],
                ratios=steps,
                target=12,
                sizes=times,
            )
        ]

    return line


def cold_run(shape: flows.Shape, target: float) -> Line:
    """Nodes that do nothing, `-j 4`, with nothing kept from before, against each peer."""

    def line(bench: Bench, name: str) -> list[Result]:
        folder = bench.place(name, flows.workflow(shape))
        ours = Timed((bench.wfctl, "run", "flow.yaml", "-j", "4"), folder, (".wfctl",))
        results = []
        for peer_name in bench.peers:
            peer = PEERS[peer_name]
            (folder / peer.file).write_text(peer.write(shape))
            theirs = Timed(peer.argv, folder, peer.fresh)
            rounds = bench.rounds if len(shape) < 10_000 else min(bench.rounds, 3)
            results.append(bench.versus(name, peer_name, target, ours, theirs, rounds))
        return results

    return line


LINES: dict[str, Line] = {
    "version": start("--version", target=2),
    "help": start("--help", target=8),
    "run_3": small_run,
    "validate": validate,
    "validate_growth": growth("validate"),
    "plan": plan,
    "plan_growth": growth("plan"),
    "chain_200": cold_run(flows.chain(200), 1.5),
    "wide_1000": cold_run(flows.wide(1_000), 1.5),
    "layered_1000": cold_run(flows.layered(1_000), 1.5),
    "wide_10000": cold_run(flows.wide(10_000), 1.5),
    "layered_10000": cold_run(flows.layered(10_000), 1.5),
}
