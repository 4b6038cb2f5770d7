"""What would be undone, in which order and how; and how a rollback stands: in plain words.

Knows no run: it is given the documents that programs read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from wfctl.renderers.text import Pen, plural

SHOWN = 12
"""Names of a list that are shown; of the others, how many there are."""


def preview(
    document: Mapping[str, Any], *, width: int = 80, color: bool = False, unicode: bool = True, whole: bool = False
) -> str:
    """`rollback --dry-run`, and `plan --if-fails`, for people. With `whole` no command is cut at the width."""
    pen = Pen(max(width, 40), color, unicode)
    lines = [*_analysis(document, pen), ""]
    prepared = (pen.safe(one["node"]) for one in document.get("transactions", ()))
    ended = [f"  the prepared transaction of {node} is rolled back" for node in prepared]
    if not document["order"] and not ended:
        return "\n".join([*lines, "nothing would be undone"]) + "\n"
    for number, wave in enumerate(document["order"], 1):
        for one in wave:
            lines.append(f"  {number:>2}. {pen.paint(pen.safe(one['node']), 'bold')}")
            lines += [f"        {pen.safe(step) if whole else pen.clip(step, pen.width - 8)}" for step in one["steps"]]
            if one["node"] in document["remove"]:
                lines.append("        what it wrote is removed, unless it was there before or was changed since")
    lines += [*ended, "", f"then: {THEN[document['then']]}"]
    return "\n".join(line.rstrip() for line in lines) + "\n"


THEN = {
    "rolled_back": "the run ends as rolled back (exit code 3)",
    "restart": "the files of the checkpoint are put back, and the rest runs again",
    "failed": "the run ends as failed (exit code 1)",
}


def _analysis(document: Mapping[str, Any], pen: Pen) -> Iterator[str]:
    analysis = document["analysis"]
    yield f"strategy {pen.paint(document['strategy'], 'bold')}: {pen.safe(document['why'])}"
    touched = plural(len(analysis["affected"]), "node")
    yield f"{touched} touched, {analysis['consistency']}, complexity {analysis['complexity']}"
    yield from _apart(analysis, document["remove"], pen, "  ")


def _apart(analysis: Mapping[str, Any], goes: Collection[str], pen: Pen, indent: str) -> Iterator[str]:
    """What a person has to know beside what is undone; the files of those in `goes` are removed."""
    for key, one, many in (
        ("without", "says nothing of how it is undone, and stays", "say nothing of how they are undone, and stay"),
        ("kept_by_pivot", "stays, for a point of no return was passed", "stay, for a point of no return was passed"),
        ("unknown", "may have done its work or not", "may have done their work or not"),
    ):
        if names := [name for name in analysis.get(key, ()) if key != "without" or name not in goes]:
            text = f"{_some(names, pen)} {one if len(names) == 1 else many}"
            yield from wrap(text, max(30, pen.width - 2), initial_indent=indent, subsequent_indent=indent + "  ")


def _some(names: Sequence[str], pen: Pen) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(pen.safe, names[:SHOWN])) + rest


def standing(document: Mapping[str, Any], pen: Pen) -> list[str]:
    """How the rollback of a run stands, for `status`."""
    rollback = document["rollback"]
    by_state: dict[str, list[str]] = {}
    for one in rollback["steps"]:
        if one["how"] != "skip":  # that one is told by itself
            by_state.setdefault(one["state"], []).append(one["node"])
    lines = [f"  rollback ({rollback['strategy']}): {pen.safe(rollback['why'])}"]
    words = (("undone", "undone"), ("undoing", "being undone"), ("waiting", "not undone yet"))
    lines += [f"    {word}: {_some(by_state[state], pen)}" for state, word in words if by_state.get(state)]
    for one in rollback["steps"]:
        if one["state"] == "undo_failed":
            why = pen.clip(one["error"] or "", max(20, pen.width - 40))
            what = f"{pen.safe(one['node'])} was not undone (step {one['step']})"
            lines.append(f"    {pen.mark('undo_failed')} {what}: {why}")
        elif one["state"] == "undoing" and one["error"]:
            why = pen.clip(one["error"], max(20, pen.width - 40))
            lines.append(f"    {pen.safe(one['node'])}: step {one['step']} failed and is tried again: {why}")
        elif one["how"] in ("done", "skip"):
            what = "undone by hand" if one["how"] == "done" else "left as it is"
            lines.append(f"    {pen.safe(one['node'])}: {what}, says {pen.safe(one['by'] or '')}")
    left = [text for one in rollback["steps"] for text in one["left"]]
    lines += [f"    left {pen.clip(text, max(20, pen.width - 9))}" for text in left[:SHOWN]]
    if len(left) > SHOWN:
        lines.append(f"    left {plural(len(left) - SHOWN, 'more file')}")
    if rollback["blocked"]:
        lines.append(f"    waits for that: {_some(rollback['blocked'], pen)}")
    lines += _apart(rollback["analysis"], [one["node"] for one in rollback["steps"]], pen, "    ")
    return lines
