"""What the nodes of a run noted, and its journal, held against each other.

Knows nothing of kills, nor of what is alive."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path


def noted(folder: Path) -> list[tuple[str, str, str, int]]:
    """Word, node, attempt and number of the engine, in the order in which they were noted."""
    try:
        lines = (folder / "ledger").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(word, node, attempt, int(engine)) for word, node, attempt, engine in map(str.split, lines)]


def journal(folder: Path) -> list[str]:
    """The lines of the run's journal; none before it has begun. An engine that died before that left an empty one."""
    kept = [path for path in folder.glob(".wfctl/runs/*/journal.jsonl") if path.stat().st_size]
    assert len(kept) < 2, "a run was begun twice"
    return kept[0].read_text().splitlines() if kept else []


def interrupted(folder: Path) -> int:
    """How many attempts began and did not come to an end of their own."""
    notes = noted(folder)
    began = {note[1:3] for note in notes if note[0] == "start"}
    return len(began - {note[1:3] for note in notes if note[0] in ("end", "failed")})


def faults(folder: Path) -> Iterator[str]:
    """What contradicts the promises in a run that has succeeded."""
    yield from contradictions(folder)
    nodes = json.loads((folder / "flow.yaml").read_text())["nodes"]
    succeeded = {event["node"] for event in map(json.loads, journal(folder)) if event.get("event") == "node_succeeded"}
    yield from (f"{node} was lost: no success is recorded" for node in nodes if node not in succeeded)


def contradictions(folder: Path, notes_itself: Callable[[str], bool] = lambda node: True) -> Iterator[str]:
    """What contradicts the promises in any run, of nodes that note what they do or, where not, of what is recorded."""
    notes = noted(folder)
    for word, node, attempt, _ in notes:
        if word == "overlap":
            yield f"overlap: attempt {attempt} of {node} met another one alive"
    started = Counter((node, attempt) for word, node, attempt, _ in notes if word == "start")
    yield from (f"attempt {attempt} of {node} ran {n} times" for (node, attempt), n in started.items() if n > 1)
    ended = {(node, attempt) for word, node, attempt, _ in notes if word == "end"}

    announced: set[tuple[str, str]] = set()
    succeeded: set[str] = set()
    for event in map(json.loads, journal(folder)):
        name, node, attempt = event.get("event"), event.get("node"), str(event.get("attempt"))
        if name == "node_started":
            announced.add((node, attempt))
            if node in succeeded:
                yield f"{node} began again after its success was recorded"
        elif name == "node_succeeded":
            if node in succeeded:
                yield f"the success of {node} was recorded twice"
            succeeded.add(node)
            if (node, attempt) not in ended and notes_itself(node):
                yield f"attempt {attempt} of {node} is recorded as a success, and never came to its end"
    for node, attempt in sorted(started.keys() - announced):
        yield f"attempt {attempt} of {node} ran and was never announced"
