"""A workflow of many small nodes in mixed shapes, each of which notes what it does.

Knows nothing of kills."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

NODE = Path(__file__).with_name("node.py")
HABITS = ["plain"] * 8 + ["stubborn"] * 2 + ["background"] * 2 + ["daemon"] * 2 + ["hopper", "flaky"]


def text(size: int, rng: random.Random) -> str:
    """A file of `size` nodes: a third stand alone, a third need three earlier ones each, the rest are chains of ten."""
    nodes = {}
    for i in range(size):
        if i < max(3, size // 3):
            needs = []
        elif i < 2 * size // 3:
            needs = rng.sample(range(max(0, i - 60), i), 3)
        else:
            needs = [i - 1] if i % 10 else [i % 7]
        seconds = rng.choice([0.005, 0.02, 0.05, rng.uniform(0, 0.3)])
        nodes[f"n{i:03}"] = {
            "run": [sys.executable, "-I", "-S", str(NODE), f"{seconds:.3f}", rng.choice(HABITS)],
            "needs": [f"n{n:03}" for n in needs],
            "retry": {"attempts": 2, "delay": 0},
        }
    return json.dumps({"version": 1, "concurrency": 8, "grace": "300ms", "nodes": nodes})
