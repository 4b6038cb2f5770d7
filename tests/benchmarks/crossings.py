"""How many arrows cross in a picture of ours and in one of Graphviz's dot, and how long a layout takes.

Knows nothing of the table. Both are counted alike: between each row of boxes and the next, by the order there."""

from __future__ import annotations

import json
import random
import subprocess
import time
from bisect import bisect_right, insort
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tests.benchmarks.flows import Shape, chain, layered
from wfctl.renderers.layers import layout

Edges = list[tuple[int, int]]
Line = list[tuple[float, float]]


def traces(folder: Path) -> Iterator[tuple[str, int, Edges]]:
    """The graphs of all traces in WfFormat that are there, and of the instances of PSPLIB: name, nodes, edges."""
    for path in sorted(folder.glob("traces/*.json")):
        tasks = json.loads(path.read_text())["workflow"]["specification"]["tasks"]
        at = {task["id"]: i for i, task in enumerate(tasks)}
        yield path.stem, len(at), [(at[need], at[task["id"]]) for task in tasks for need in task["parents"]]
    for path in sorted(folder.glob("psplib/*/*.sm"))[::6]:
        lines = path.read_text().splitlines()
        begin = next(i for i, line in enumerate(lines) if line.startswith("PRECEDENCE RELATIONS")) + 2
        edges = []
        for line in lines[begin:]:
            if line.startswith("*"):
                break
            first, _, _, *after = map(int, line.split())
            edges += [(first - 1, other - 1) for other in after]
        yield path.stem, 1 + max(max(edge) for edge in edges), edges


def graphs(size: int) -> dict[str, tuple[int, Edges]]:
    """Graphs of so many nodes, in shapes that are easy and hard to draw."""
    chance = random.Random(1)

    def of(shape: Shape) -> tuple[int, Edges]:
        at = {name: i for i, (name, _) in enumerate(shape)}
        return size, [(at[need], at[name]) for name, needs in shape for need in needs]

    return {
        "chain": of(chain(size)),
        "layered": of(layered(size)),
        "tree": (size, [((i - 1) // 3, i) for i in range(1, size)]),
        "near": (size, [(chance.randrange(max(0, i - 50), i), i) for i in range(1, size) for _ in range(2)]),
        "far": (size, [(chance.randrange(i), i) for i in range(1, size) for _ in range(2)]),
    }


def layout_seconds(size: int, edges: Edges) -> float:
    """How long a layout takes."""
    start = time.perf_counter()
    layout([120] * size, [40] * size, edges)
    return time.perf_counter() - start


def ours(size: int, edges: Edges) -> int:
    """Crossings in our picture."""
    return layout([115] * size, [36] * size, edges).crossings


def dot(program: str, size: int, edges: Edges) -> int:
    """Crossings in the picture of dot: its boxes, and where its lines pass the rows between."""
    boxes = "".join(f"{i};" for i in range(size))
    arrows = "".join(f"{source}->{target};" for source, target in edges)
    text = f'digraph{{node[shape=box,width=1.6,height=.5,fixedsize=true,label=""] edge[dir=none];{boxes}{arrows}}}'
    told = subprocess.run([program, "-Tjson"], input=text, capture_output=True, text=True, check=True).stdout
    drawn = json.loads(told)
    place: dict[int, tuple[float, float]] = {}
    name_of = {}
    for box in drawn["objects"]:
        x, y = map(float, box["pos"].split(","))
        place[int(box["name"])] = (x, -y)
        name_of[box["_gvid"]] = int(box["name"])
    heights = sorted({y for _, y in place.values()})
    row = {y: i for i, y in enumerate(heights)}
    links: list[list[tuple[float, float]]] = [[] for _ in heights]
    for edge in drawn.get("edges", ()):
        source, target = place[name_of[edge["tail"]]], place[name_of[edge["head"]]]
        line = _line(edge["pos"])
        passed = [source[0], *(_where(line, y) for y in heights[row[source[1]] + 1 : row[target[1]]]), target[0]]
        for number, (left, right) in enumerate(pairwise(passed), row[source[1]]):
            links[number].append((left, right))
    return sum(map(_crossing, links))


def _line(spline: str) -> Line:
    """A line of dot as many short straight ones."""
    points = [(float(x), -float(y)) for x, y in (point.split(",") for point in spline.split())]
    line = [points[0]]
    for i in range(0, len(points) - 3, 3):
        for step in range(1, 9):
            u = step / 8
            v = 1 - u
            weights = (v**3, 3 * u * v * v, 3 * u * u * v, u**3)
            part = list(zip(weights, points[i : i + 4], strict=True))
            line.append((sum(w * p[0] for w, p in part), sum(w * p[1] for w, p in part)))
    return line


def _where(line: Line, y: float) -> float:
    """How far right a line is at a height."""
    for (x1, y1), (x2, y2) in pairwise(line):
        if min(y1, y2) <= y <= max(y1, y2):
            return x1 + (x2 - x1) * (y - y1) / (y2 - y1) if y1 != y2 else x1
    raise ValueError("a line that does not pass the row")


def _crossing(links: list[tuple[float, float]]) -> int:
    """Pairs of links of which one begins further left, and ends further right."""
    met: list[float] = []
    count = 0
    for _, end in sorted(links):
        count += len(met) - bisect_right(met, end)
        insort(met, end)
    return count
