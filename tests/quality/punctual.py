"""How late the nodes of real runs start by their plans: `python -m tests.quality.punctual FLOW…`.

Says something only where the nodes of a workflow last as long as their estimates say, as `sleep` does, and where
nothing else keeps the machine busy. Knows nothing of how a plan is followed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

WFCTL = (sys.executable, "-m", "wfctl")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit((__doc__ or "").strip())
    print(f"a process that does nothing takes {process_seconds():.4f} s")
    for path in map(Path, sys.argv[1:]):
        planned, late = lateness(path)
        print(
            f"{path.stem}: {len(late)} nodes in {max(planned.values()):.2f} s, late by {statistics.median(late):.3f} s "
            f"in the median, {max(late):.3f} s at most, {min(late):.3f} s at least"
        )


def lateness(path: Path) -> tuple[dict[str, float], list[float]]:
    """When each node was planned to start, and how many seconds later it did."""
    with tempfile.TemporaryDirectory() as folder:
        wfctl = [*WFCTL, "--state-dir", folder]
        plan = json.loads(output(*wfctl, "plan", str(path), "--json"))
        output(*wfctl, "run", str(path))
        run = json.loads(output(*wfctl, "status", "last", "--json"))
    planned = {name: node["start"] for name, node in plan["nodes"].items() if node["start"] is not None}
    begun = moment(run["started"])
    return planned, [moment(run["nodes"][name]["started"]) - begun - start for name, start in planned.items()]


def process_seconds() -> float:
    """What a process that does nothing takes here and now, from its start to its end."""
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        subprocess.run(["sleep", "0"], check=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
