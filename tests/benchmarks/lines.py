"""The lines of the table: what is measured against what, and the target.

Knows nothing of how a line is shown."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from tests.benchmarks import crossings, flows, kept, queue
from tests.benchmarks.measure import Timed, in_turn
from tests.benchmarks.peers import PEERS

PASS = (sys.executable, "-c", "pass")
RUAMEL = (
    sys.executable,
    "-c",
    "from ruamel.yaml import YAML\nwith open('flow.yaml', encoding='utf-8') as file: YAML(typ='safe').load(file)",
)
ROOT = Path(__file__).resolve().parents[2]
SIZES = (1_000, 10_000, 100_000)
SLEEP = 10                  # seconds that the nodes of the idle engine sleep
TERMINAL = {"TERM": "xterm", "CI": "", "NO_COLOR": ""}
US = "wfctl"
BLIND = """
import gc, os, sys
gc.set_threshold(100_000, 20, 20)
from pathlib import Path
from wfctl import app
from wfctl.driver import Watching
from wfctl.store import Store
asked = app.Asked(file="flow.yaml", settings=["concurrency=4"])
os._exit(app.run(asked, Store.find(None, Path.cwd(), os.environ), Watching()).exit_code)
"""
"""A run that nobody looks at, started and ended as `wfctl` is (`wfctl/__main__.py`): to be run by the Python of the
command that is measured."""
PASS_NAME = "python -c pass"


@dataclass(frozen=True, slots=True)
class Target:
    """At most, or more than, so much."""

    sign: str
    number: float

    def met(self, figure: float) -> bool:
        return figure <= self.number if self.sign == "≤" else figure > self.number

    def __str__(self) -> str:
        return f"{self.sign} {self.number:g}"


def at_most(number: float) -> Target:
    return Target("≤", number)


BESIDE: dict[str, Target | None] = {
    "make": None,               # only shown
    "go-task": Target(">", 1),
    "doit": Target(">", 1),
    "luigi": Target(">", 5),    # with durable state, in Python
    "snakemake": Target(">", 5),
    "redun": Target(">", 5),
}
"""How many times as long as wfctl each peer takes for a cold run; of ninja each line says what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table: `figures` of `measure`, a ratio of seconds where it is written as one; those are `ours`
    and the `other` one's. A line of growth counts its worst step, each other one its median."""

    line: str
    measure: str
    figures: Sequence[float]
    target: Target | None = None
    ours: float | None = None
    other: float | None = None
    growth: bool = False
    note: str = ""

    @property
    def figure(self) -> float:
        return max(self.figures) if self.growth else statistics.median(self.figures)

    @property
    def met(self) -> bool:
        return self.target is None or self.target.met(self.figure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Median seconds of one program for one shape: all of it, and nothing to do."""

    line: str
    program: str
    cold: float
    again: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where and how the lines are measured. Every line gets folders of its own.

    `programs` are wfctl and the peers that take part, with their paths. `shrink` divides every size. `cells` gathers
    what cold runs took.
    """

    folder: Path
    programs: dict[str, str]
    rounds: int = 3
    shrink: int = 1
    cells: list[Cell] = field(default_factory=list)

    def size(self, count: int) -> int:
        return max(count // self.shrink, 3)

    def place(self, name: str, flow: str = "") -> Path:
        """A new folder, with that workflow in `flow.yaml`."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        if flow:
            (folder / "flow.yaml").write_text(flow)
        return folder

    def ours(self, folder: Path, *words: str, fresh: Sequence[str] = (), rounds: int = 0) -> Timed:
        return Timed(argv=(self.programs[US], *words), folder=folder, fresh=fresh, rounds=rounds or self.rounds)


Line = Callable[[Bench, str], list[Result]]


def versus(line: str, other: str, target: Target, ours: Timed, theirs: Timed) -> Result:
    """Ours beside another command, in turn."""
    seen = in_turn({"ours": ours, "theirs": theirs})
    return ratio(line, other, target, seen["ours"], seen["theirs"])


def ratio(line: str, other: str, target: Target | None, ours: list[float], theirs: list[float]) -> Result:
    """Ours / the other's, round by round; the other's / ours where more is asked of that."""
    turned = target is not None and target.sign == ">"
    return Result(
        line=line,
        measure=f"{other} / {US}" if turned else f"{US} / {other}",
        figures=[b / a if turned else a / b for a, b in zip(ours, theirs, strict=False)],
        target=target,
        ours=statistics.median(ours),
        other=statistics.median(theirs),
    )


def growth(line: str, times: dict[int, float]) -> Result:
    """Ten times the nodes, at most twelve times the seconds."""
    return Result(
        line=line,
        measure="10x the nodes",
        figures=[after / before for before, after in pairwise(times.values())],
        target=at_most(12),
        growth=True,
        note=", ".join(f"{size:,}: {seconds:.2f} s" for size, seconds in times.items()),
    )


def start(*words: str, target: float) -> Line:
    """A command that does nothing but start, beside a Python that does nothing."""

    def line(bench: Bench, name: str) -> list[Result]:
        folder, rounds = bench.place(name), 3 * bench.rounds
        nothing = Timed(argv=PASS, folder=folder, rounds=rounds)
        return [versus(name, PASS_NAME, at_most(target), bench.ours(folder, *words, rounds=rounds), nothing)]

    return line


def small_run(bench: Bench, name: str) -> list[Result]:
    """A run of three nodes, beside a Python that does nothing: the first of a file, and a later one."""
    folder, rounds = bench.place(name, flows.workflow(flows.chain(3))), 3 * bench.rounds
    nothing = Timed(argv=PASS, folder=folder, rounds=rounds)
    first = bench.ours(folder, "run", "flow.yaml", fresh=[".wfctl"], rounds=rounds)
    again = bench.ours(folder, "run", "flow.yaml", rounds=rounds)
    return [
        versus(f"{name} first", PASS_NAME, at_most(12), first, nothing),
        versus(f"{name} again", PASS_NAME, at_most(12), again, nothing),
    ]


def validate(bench: Bench, name: str) -> list[Result]:
    """10,000 nodes of 5 keys, beside ruamel's safe loader with its C parser on the same file."""
    folder = bench.place(name, flows.five_keys(flows.layered(bench.size(10_000))))
    ruamel = Timed(argv=RUAMEL, folder=folder, rounds=bench.rounds)
    return [versus(name, "ruamel safe", at_most(0.6), bench.ours(folder, "validate", "flow.yaml"), ruamel)]


def plan(bench: Bench, name: str) -> list[Result]:
    """10,000 nodes, beside `validate` of the same file."""
    folder = bench.place(name, flows.five_keys(flows.layered(bench.size(10_000))))
    ours = bench.ours(folder, "plan", "flow.yaml")
    return [versus(name, "validate", at_most(3), ours, bench.ours(folder, "validate", "flow.yaml"))]


def verb_growth(verb: str) -> Line:
    """1,000, 10,000 and 100,000 nodes of 5 keys; the largest once."""

    def line(bench: Bench, name: str) -> list[Result]:
        times = {}
        for size in map(bench.size, SIZES):
            folder = bench.place(f"{name}/{size}", flows.five_keys(flows.layered(size)))
            rounds = bench.rounds if size <= 10_000 else 1
            times[size] = statistics.median(bench.ours(folder, verb, "flow.yaml").wall() for _ in range(rounds))
        return [growth(name, times)]

    return line


def ready(bench: Bench, name: str) -> list[Result]:
    """1,000, 10,000 and 100,000 nodes that are ready at once, alike and with distinct demands; the largest once."""
    results = []
    for what, seconds in (("queue", queue.queue_seconds), ("run", queue.run_seconds)):
        for kind, demands in (("alike", queue.alike), ("distinct", queue.distinct)):
            times = {}
            for size in map(bench.size, SIZES):
                rounds = bench.rounds if size <= 10_000 else 1
                times[size] = statistics.median(seconds(size, demands) for _ in range(rounds))
            results.append(growth(f"{name} {what} {kind}", times))
    return results


def commands(program: str, path: str, folder: Path, shape: flows.Shape, does: str = "true") -> tuple[Timed, Timed]:
    """A program's cold run of a shape, whose files are written for it, and its run that finds nothing to do."""
    peer = PEERS[program]
    for file, text in peer.files(shape, does).items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    cold = Timed(argv=(path, *peer.cold[1:]), folder=folder, environ=peer.environ, fresh=peer.fresh)
    return cold, replace(cold, argv=(path, *peer.again[1:]), fresh=(), warm=peer.again != peer.cold)


def cold_run(shape: Callable[[int], flows.Shape], count: int, ninja: Target | None = None) -> Line:
    """Nodes that do nothing, with nothing kept from before, by every program in turn; then the same, done already."""
    targets = {**BESIDE, "ninja": ninja}

    def line(bench: Bench, name: str) -> list[Result]:
        made = shape(bench.size(count))
        colds, agains = {}, {}
        for program, path in bench.programs.items():
            peer = PEERS[program]
            if count > peer.most:
                continue
            cold, again = commands(program, path, bench.place(f"{name}/{program}"), made)
            rounds = 1 if peer.slow else bench.rounds
            # What takes long does not show that it was the first time.
            colds[program] = replace(cold, rounds=rounds, warm=not peer.slow and count < 10_000)
            agains[program] = replace(again, rounds=rounds)
        seconds, nothing = in_turn(colds), in_turn(agains)
        for program, taken in seconds.items():
            before, after = statistics.median(taken), statistics.median(nothing[program])
            bench.cells.append(Cell(line=name, program=program, cold=before, again=after))
        return [ratio(name, peer, targets[peer], seconds[US], taken) for peer, taken in seconds.items() if peer != US]

    return line


def resume(bench: Bench, name: str) -> list[Result]:
    """A finished run of 10,000 nodes, beside three starts and half a second."""
    folder = bench.place(name, flows.workflow(flows.layered(bench.size(10_000))))
    bench.ours(folder, "run", "flow.yaml", "-j", "4").wall()
    seen = in_turn({"resume": bench.ours(folder, "resume", "last"), "version": bench.ours(folder, "--version")})
    allowed = [3 * seconds + 0.5 for seconds in seen["version"]]
    return [ratio(name, "(3 x --version + 0.5 s)", at_most(1), seen["resume"], allowed)]


def large(bench: Bench, name: str) -> list[Result]:
    """Cold runs of 1,000, 10,000 and 100,000 layered nodes, once each: growth, and what the engine itself takes."""
    seen = {}
    for size in map(bench.size, SIZES):
        folder = bench.place(f"{name}/{size}", flows.workflow(flows.layered(size)))
        seen[size] = bench.ours(folder, "run", "flow.yaml", "-j", "4").alone()
    results = [growth(name, {size: alone.wall for size, alone in seen.items()})]
    for size, most in zip(map(bench.size, SIZES[1:]), (150, 800), strict=True):
        what = f"peak MB of the engine, {size:,} nodes"
        results.append(Result(line=name, measure=what, figures=[seen[size].megabytes], target=at_most(most)))
    for size, target in zip(map(bench.size, SIZES[1:]), (at_most(0.5), None), strict=True):
        what = f"engine's processor ms a node, {size:,} nodes"
        each = seen[size].processor / size * 1_000
        results.append(Result(line=name, measure=what, figures=[each], target=target))
    return results


def idle(bench: Bench, name: str) -> list[Result]:
    """Eight nodes that sleep ten seconds: what the engine takes meanwhile."""
    sleep = SLEEP / bench.shrink
    nodes = "".join(f"  n{i}: {{run: sleep {sleep:g}}}\n" for i in range(8))
    results = []
    for where, on_terminal in (("", False), (", on a terminal", True)):
        folder = bench.place(name + ("/terminal" if on_terminal else "/file"), f"version: 1\nnodes:\n{nodes}")
        ours = bench.ours(folder, "run", "flow.yaml", "-j", "8")
        used = replace(ours, environ=TERMINAL).idle(sleep * 0.15, sleep * 0.9, on_terminal) * 1_000
        what = f"engine's processor ms a second{where}"
        results.append(Result(line=name, measure=what, figures=[used], target=at_most(10)))
    return results


def watched(bench: Bench, name: str) -> list[Result]:
    """10,000 nodes that do nothing, on a terminal with the live view, beside the same with nobody who looks on."""
    folder = bench.place(name, flows.workflow(flows.wide(bench.size(10_000))))
    live = bench.ours(folder, "run", "flow.yaml", "-j", "4", fresh=[".wfctl"])
    with open(bench.programs[US]) as script:
        first = script.readline().removeprefix("#!").strip()
    python = first if "python" in Path(first).name else sys.executable  # a long path is not written there
    blind = replace(live, argv=(python, "-c", BLIND))
    watched = replace(live, environ=TERMINAL, on_terminal=True)
    seen = [(watched.alone(), blind.alone()) for _ in range(bench.rounds)]
    measures = (("no view", "wall"), ("no view, engine's processor seconds", "processor"))
    return [
        ratio(name, what, at_most(1.1), *([getattr(pair[side], key) for pair in seen] for side in (0, 1)))
        for what, key in measures
    ]


def requests(bench: Bench, name: str) -> list[Result]:
    """1,000 requests to a local server, 100 at once, beside the standard library's client with 100 threads: the first
    run of a file, and a later one."""
    count, at_once = bench.size(1_000), str(bench.size(100))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.answering"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            port = server.stdout.readline().strip()
            nodes = "".join(f'  n{i}: {{http: {{url: "http://127.0.0.1:{port}/{i}"}}}}\n' for i in range(count))
            folder = bench.place(name, f"version: 1\nnodes:\n{nodes}")
            asking = (sys.executable, "-P", str(ROOT / "tests/benchmarks/asking.py"), port, str(count), at_once)
            library = Timed(argv=asking, folder=folder, rounds=bench.rounds)
            first = bench.ours(folder, "run", "flow.yaml", "-j", at_once, fresh=[".wfctl"])
            again = bench.ours(folder, "run", "flow.yaml", "-j", at_once)
            return [
                versus(f"{name} first", "http.client", at_most(3), first, library),
                versus(f"{name} again", "http.client", at_most(3), again, library),
            ]
        finally:
            server.terminate()


def kept_size(bench: Bench, name: str) -> list[Result]:
    """2 GiB of results where 1 GiB may stay: to keep and to find 1,000 at the end, beside the start."""
    limit = 1024**3 // bench.shrink
    seen = kept.fill(bench.place(name), 2 * limit, limit)
    part = max(len(seen.puts) // 8, 1)
    results = [
        ratio(name, f"{what} 1,000 at first", at_most(2), figures[-part:], figures[:part])
        for what, figures in (("keeping", seen.puts), ("finding", seen.gets))
    ]
    said = f"{seen.there:,} there, {seen.dropped:,} dropped, {seen.live} of {kept.LIVE} of a live run there"
    largest = f"largest {seen.largest / limit:.2f}, tidying took at most {max(seen.tidies):.2f} s"
    size = Result(
        line=name, measure="database / limit", figures=[seen.bytes / limit], target=at_most(1.1),
        note=f"{said}, {largest}",
    )  # fmt: skip
    return [*results, size]


def pictures(bench: Bench, name: str) -> list[Result]:
    """Graphs of 1,000 and of 10,000 nodes are given their places: the slowest shape of each size."""
    small, large = (crossings.graphs(bench.size(size)) for size in (1_000, 10_000))
    results = []
    for size, shapes, limit in ((1_000, small, 2), (10_000, large, 20)):
        times = {shape: crossings.layout_seconds(*graph) for shape, graph in shapes.items()}
        note = ", ".join(f"{shape}: {seconds:.2f} s" for shape, seconds in times.items())
        worst, target = max(times.values()), at_most(limit)
        results.append(Result(line=f"{name} {size}", measure="seconds", figures=[worst], target=target, note=note))
    return results


def crossing(bench: Bench, name: str) -> list[Result]:
    """Arrows that cross in our pictures, for one of dot, where that is installed: on traces and on instances of PSPLIB,
    where they are beside the project, and on one random graph."""
    program = shutil.which("dot")
    found = [("random", *crossings.graphs(60)["near"]), *crossings.traces(ROOT.parent / "shared/data")]
    pairs = [(crossings.ours(size, e), crossings.dot(program, size, e) if program else 0) for _, size, e in found]
    note = ", ".join(f"{what}: {own} / {other}" for (what, _, _), (own, other) in zip(found, pairs, strict=True))
    if not program:
        return [Result(line=name, measure="crossings", figures=[sum(a for a, _ in pairs)], note=f"no dot; {note}")]
    # What dot draws without a crossing, so must we; a first one more is a whole one more.
    ratios = [max(own, 1) / max(other, 1) for own, other in pairs]
    return [Result(line=name, measure="ours / dot", figures=ratios, target=at_most(1.3), growth=True, note=note)]


LINES: dict[str, Line] = {
    "version": start("--version", target=2),
    "help": start("--help", target=8),
    "run_3": small_run,
    "validate": validate,
    "validate_growth": verb_growth("validate"),
    "plan": plan,
    "plan_growth": verb_growth("plan"),
    "ready": ready,
    "chain_200": cold_run(flows.chain, 200, at_most(1.5)),
    "layered_200": cold_run(flows.layered, 200),
    "wide_1000": cold_run(flows.wide, 1_000, at_most(1.5)),
    "layered_1000": cold_run(flows.layered, 1_000, at_most(1.5)),
    "wide_10000": cold_run(flows.wide, 10_000, at_most(1.5)),
    "layered_10000": cold_run(flows.layered, 10_000, at_most(1.5)),
    "resume": resume,
    "requests": requests,
    "idle": idle,
    "watched": watched,
    "large": large,
    "kept_size": kept_size,
    "pictures": pictures,
    "crossings": crossing,
}
