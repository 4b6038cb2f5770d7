"""A project scheduling problem from a file of PSPLIB: as a workflow, and as the judge of a plan for it.

The format is that of Kolisch and Sprecher (1996). Knows nothing of how plans are made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instance:
    """Tasks by place: seconds, what each holds of every resource, and those that come before it."""

    name: str
    seconds: tuple[int, ...]
    demands: tuple[tuple[int, ...], ...]
    needs: tuple[tuple[int, ...], ...]
    capacities: tuple[int, ...]

    @classmethod
    def read(cls, path: Path) -> Instance:
        """Raises ValueError where the file has no such tables."""
        tables = {name: list(_rows(path.read_text(), name)) for name in ("PRECEDENCE", "REQUESTS", "RESOURCEAVAIL")}
        tasks = tables["REQUESTS"]
        if not tasks or len(tasks) != len(tables["PRECEDENCE"]) or len(tables["RESOURCEAVAIL"]) != 1:
            raise ValueError(f"{path}: this is no instance of PSPLIB")
        needs: list[list[int]] = [[] for _ in tasks]
        for number, _, _, *after in tables["PRECEDENCE"]:
            for other in after:
                needs[other - 1].append(number - 1)
        return cls(
            name=path.stem,
            seconds=tuple(row[2] for row in tasks),
            demands=tuple(tuple(row[3:]) for row in tasks),
            needs=tuple(map(tuple, needs)),
            capacities=tuple(tables["RESOURCEAVAIL"][0]),
        )

    def workflow(self) -> str:
        """A workflow file whose plan is one for this problem: a node `t0`, `t1`, … for each task."""
        nodes = {
            f"t{i}": {
                "run": "true",
                "estimate": seconds,
                "needs": [f"t{other}" for other in self.needs[i]],
                "resources": {f"r{k}": amount for k, amount in enumerate(self.demands[i]) if amount},
            }
            for i, seconds in enumerate(self.seconds)
        }
        return json.dumps(
            {
                "version": 1,
                "name": self.name,
                "concurrency": len(nodes),
                "resources": {f"r{k}": amount for k, amount in enumerate(self.capacities)},
                "scheduling": {"policy": "critical_path"},
                "nodes": nodes,
            }
        )

    def makespan(self, start: Mapping[str, float]) -> float:
        """How long a plan takes. Raises ValueError where it breaks a rule of the problem."""
        begin = [start[f"t{i}"] for i in range(len(self.seconds))]
        end = [at + seconds for at, seconds in zip(begin, self.seconds, strict=True)]
        for i, needs in enumerate(self.needs):
            for other in needs:
                if begin[i] < end[other] - 1e-6:
                    raise ValueError(f"{self.name}: t{i} begins before t{other} has ended")
        for k, capacity in enumerate(self.capacities):
            changes = [(end[i] - 1e-6, -row[k]) for i, row in enumerate(self.demands) if self.seconds[i]]
            changes += [(begin[i], row[k]) for i, row in enumerate(self.demands) if self.seconds[i]]
            held = 0
            for moment, change in sorted(changes):
                held += change
                if held > capacity:
                    raise ValueError(f"{self.name}: {held} of {capacity} of r{k} are held at {moment:g}")
        return max(end)


def _rows(text: str, table: str) -> list[list[int]]:
    """The rows of whole numbers below a title."""
    found = re.search(rf"^{table}.*\n((?:(?!\*\*).*\n)*)", text, flags=re.MULTILINE)
    lines = found[1].splitlines() if found else []
    return [list(map(int, line.split())) for line in lines if re.fullmatch(r"[\s\d]*\d[\s\d]*", line)]
