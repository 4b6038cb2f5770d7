"""`python -m tests.survival --kills 300 --seed 1`: random kills, and a summary; exit code 1 where a promise was broken.

Knows nothing of how anything is killed."""

from __future__ import annotations

import argparse
import sys

from tests.survival.harness import Survival


def main() -> int:
    """Read the words of the command, run the series, print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.survival", description="Kill runs at random moments.")
    parser.add_argument("--kills", type=int, default=300, help="how many (300)")
    parser.add_argument("--nodes", type=int, default=200, help="nodes of a run (200)")
    parser.add_argument("--seed", type=int, default=1, help="where chance begins (1)")
    parser.add_argument("--without", choices=["sweep"], default="", help="take a protection out: it must be missed")
    words = parser.parse_args()
    series = Survival(kills=words.kills, nodes=words.nodes, seed=words.seed, without=words.without)
    report = series.run(lambda text: print(text, file=sys.stderr))
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
