"""Measure wfctl beside its peers: `python -m tests.benchmarks [LINE…]`, from the project's folder.

Knows nothing of single lines."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.lines import LINES, US, Bench, Result
from tests.benchmarks.measure import first_line, machine
from tests.benchmarks.peers import PEERS, find
from tests.benchmarks.table import Table


def main() -> None:
    args = arguments()
    programs, missing = installed(args.peer or [name for name in PEERS if name != US], args.wfctl)
    with tempfile.TemporaryDirectory(prefix="wfctl-bench-", dir=args.folder) as folder:
        bench = Bench(folder=Path(folder), programs=programs, rounds=args.rounds, shrink=args.shrink)
        facts = machine(bench.folder)
        facts |= {name: version(name, path) for name, path in programs.items()}
        facts |= dict.fromkeys(missing, "not installed: left out")
        if args.shrink > 1:
            facts["sizes"] = f"divided by {args.shrink}: this shows that all of it works, and no figures"
        table = None if args.json else Table(markdown=args.markdown)
        if table:
            table.facts(facts)
        results = []
        for name in args.lines or LINES:
            for result in LINES[name](bench, name):
                results.append(result)
                if table:
                    table.result(result)
    if table:
        table.cells(bench.cells, {name: text for name in programs if (text := limits(name))})
    else:
        document = {
            "machine": facts,
            "lines": [as_data(result) for result in results],
            "seconds": [
                {"line": cell.line, "program": cell.program, "cold": cell.cold, "again": cell.again}
                for cell in bench.cells
            ],
        }
        json.dump(document, sys.stdout, indent=2)
        print()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure wfctl beside its peers.")
    parser.add_argument("lines", nargs="*", metavar="LINE", help=f"of {' '.join(LINES)} (all)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of each comparison (3)")
    parser.add_argument(
        "--peer", action="append", choices=[name for name in PEERS if name != US], help="for cold runs (all installed)"
    )
    parser.add_argument("--wfctl", metavar="PATH", help="the command to measure (the one beside this python)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the state will be; its disk counts")
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="divide every size: a quick look")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="a table for docs/benchmarks.md")
    form.add_argument("--json", action="store_true", help="data instead of a table")
    args = parser.parse_args()
    if unknown := [line for line in args.lines if line not in LINES]:
        parser.error(f"no line {', '.join(unknown)}; there are {' '.join(LINES)}")
    if args.rounds < 1 or not 1 <= args.shrink <= 1_000:
        parser.error("--rounds is at least 1, --shrink 1 to 1000")
    return args


def installed(peers: list[str], wfctl: str | None) -> tuple[dict[str, str], list[str]]:
    """wfctl and those of the peers that are there, with their paths; and the others."""
    ours = wfctl or find(US)
    if not ours:
        raise SystemExit("no wfctl beside this python and none on the path: pip install . first, or say --wfctl PATH")
    found = {name: find(PEERS[name].cold[0]) for name in peers}
    there = {name: path for name, path in found.items() if path}
    return {US: ours, **there}, [name for name, path in found.items() if not path]


def version(name: str, path: str) -> str:
    """What a program says of its version, by itself or by the Python beside it."""
    program, *words = PEERS[name].version
    command = path if program == PEERS[name].cold[0] else find(program, path) or program
    return first_line([command, *words])


def limits(name: str) -> str:
    """In which shapes and rounds a program takes no part, so that the whole does not take hours."""
    peer = PEERS[name]
    return ", ".join(["one round"] * peer.slow + [f"up to {peer.most:,} nodes"] * (peer.most < 10_000))


def as_data(result: Result) -> dict[str, object]:
    return {
        "line": result.line,
        "measure": result.measure,
        "ours": result.ours,
        "other": result.other,
        "figures": list(result.figures),
        "figure": result.figure,
        "target": str(result.target or ""),
        "met": result.met,
        "note": result.note,
    }


if __name__ == "__main__":
    main()
