"""Measure wfctl beside its peers: `python -m tests.benchmarks [LINE…]`, from the project's folder.

Knows nothing of single lines."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.lines import LINES, Bench, Result
from tests.benchmarks.measure import machine
from tests.benchmarks.peers import PEERS

COLUMNS = "{:<16} {:<15} {:>9} {:>9} {:>8} {:>15} {:>8}  {}"


def main() -> None:
    args = arguments()
    wfctl = args.wfctl or beside_python() or shutil.which("wfctl")
    if not wfctl:
        raise SystemExit("no wfctl beside this python and none on the path: pip install . first, or say --wfctl PATH")
    missing = [peer for peer in args.peer if not shutil.which(PEERS[peer].argv[0])]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}; pip install {' '.join(missing)}, or choose with --peer")
    with tempfile.TemporaryDirectory(prefix="wfctl-bench-", dir=args.folder) as folder:
        bench = Bench(wfctl, Path(folder), args.rounds, tuple(args.peer))
        facts = machine(wfctl, bench.folder)
        if not args.json:
            show_head(facts)
        results = []
        for name in args.lines or LINES:
            for result in LINES[name](bench, name):
                results.append(result)
                if not args.json:
                    show(result)
    if args.json:
        json.dump({"machine": facts, "lines": [as_data(result) for result in results]}, sys.stdout, indent=2)
        print()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure wfctl beside its peers.")
    parser.add_argument("lines", nargs="*", metavar="LINE", help=f"of {' '.join(LINES)} (all)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of each pair (5)")
    parser.add_argument("--peer", action="append", choices=PEERS, help="for cold runs (ninja)")
    parser.add_argument("--wfctl", metavar="PATH", help="the command to measure (the one beside this python)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the state will be; its disk counts")
    parser.add_argument("--json", action="store_true", help="data instead of a table")
    args = parser.parse_args()
    args.peer = args.peer or ["ninja"]
    unknown = [line for line in args.lines if line not in LINES]
    if unknown:
        parser.error(f"no line {', '.join(unknown)}; there are {' '.join(LINES)}")
    return args


def beside_python() -> str | None:
    command = Path(sys.executable).with_name("wfctl")
    return str(command) if command.exists() else None


def show_head(facts: dict[str, str]) -> None:
    for name, fact in facts.items():
        print(f"{name:<10} {fact}")
    print()
    print(COLUMNS.format("line", "against", "wfctl s", "other s", "ratio", "min to max", "target", ""))


def show(result: Result) -> None:
    spread = f"{min(result.ratios):.2f} to {max(result.ratios):.2f}"
    verdict = "" if result.met else "MISSED"
    if result.sizes:
        verdict += "  " + ", ".join(f"{size:,}: {seconds:.2f} s" for size, seconds in result.sizes.items())
    figures = (f"{result.ours:.3f}", f"{result.theirs:.3f}", f"{result.ratio:.2f}", spread, f"≤ {result.target:g}")
    print(COLUMNS.format(result.line, result.against, *figures, verdict.strip()).rstrip(), flush=True)


def as_data(result: Result) -> dict[str, object]:
    return {
        "line": result.line,
        "against": result.against,
        "ours": result.ours,
        "theirs": result.theirs,
        "ratio": result.ratio,
        "min": min(result.ratios),
        "max": max(result.ratios),
        "target": result.target,
        "met": result.met,
        "sizes": result.sizes,
    }


if __name__ == "__main__":
    main()
