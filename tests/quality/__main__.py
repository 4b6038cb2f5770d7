"""How far plans are from the best known ones: `python -m tests.quality FOLDER… [--optimize SECONDS]`.

A folder holds instances of PSPLIB (`*.sm`), and it or the one above it `bounds.csv` with the best known makespans
(`instance,lower,upper`). Every plan is checked. Knows nothing of how they are made."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.quality.instance import Instance


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description="Compare plans with the best known.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="with instances of PSPLIB")
    parser.add_argument("--optimize", metavar="SECONDS", help="search that long for each plan")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first so many of each folder")
    args = parser.parse_args()
    words = ["--optimize", args.optimize] if args.optimize else []
    for folder in args.folders:
        gaps = [gap(path, words) for path in sorted(folder.glob("*.sm"))[: args.limit]]
        if not gaps:
            raise SystemExit(f"{folder}: no *.sm is there")
        mean, best = 100 * sum(gaps) / len(gaps), sum(one < 1e-9 for one in gaps)
        print(f"{folder.name}: {mean:.2f} % longer than the best known, the mean of {len(gaps)}; {best} as short")


def gap(path: Path, words: list[str]) -> float:
    """How much longer the plan of one instance is than the best known one, as a part of that."""
    instance = Instance.read(path)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "flow.yaml").write_text(instance.workflow())
        command = [sys.executable, "-m", "wfctl", "--state-dir", f"{folder}/state", "plan", "flow.yaml", "--json"]
        told = subprocess.run([*command, *words], cwd=folder, capture_output=True, text=True)
    if told.returncode:
        raise SystemExit(told.stderr)
    plan = json.loads(told.stdout)
    start = {name: node["start"] for name, node in plan["nodes"].items()}
    return instance.makespan(start) / best_known(path) - 1


def best_known(path: Path) -> float:
    """The makespan of the shortest plan that anybody has found for an instance."""
    for folder in (path.parent, path.parent.parent):
        if (folder / "bounds.csv").exists():
            with (folder / "bounds.csv").open() as rows:
                return next(float(row["upper"]) for row in csv.DictReader(rows) if row["instance"] == path.stem)
    raise SystemExit(f"{path}: no bounds.csv is beside it or above")


if __name__ == "__main__":
    main()
