"""Documents as text for people: one run, many runs, outputs, a resolved node.

Knows no store: it is given the documents that programs read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any

from wfctl.renderers.advice import Advice
from wfctl.renderers.plain import NO_WORK, because, counted
from wfctl.renderers.text import LOOKS, Pen, duration, look, number, pad, plural, safe, size, state_word, width_of
from wfctl.renderers.undo import standing

MANY = 100
"""Nodes up to which each has a line; of more only those that want attention, and at most so many."""

_GOES_ON = ("failed", "interrupted", "waiting_input", "committing", "rollback_failed", "rolled_back")

CHECKPOINTS = 5
"""Checkpoints that are shown, the last ones."""

_ATTENTION = ("failed", "timed_out", "undo_failed", "waiting_input", "interrupted", "running", "retrying", "undoing")
_OF_OTHERS = ("waiting", "ready", "succeeded", "cached", "skipped", "cancelled", "undone")
_QUIET = ("succeeded", "cached")
_SECONDS = ("timeout", "grace", "deadline", "estimate", "delay", "max_delay", "max_time")


# -- one run


def run_status(
    document: Mapping[str, Any],
    *,
    width: int = 80,
    color: bool = False,
    unicode: bool = True,
    advice: Advice | None = None,
) -> str:
    """One run: how it stands, its nodes, and what to type next."""
    pen, advice = Pen(width, color, unicode), advice or Advice()
    nodes: Mapping[str, Mapping[str, Any]] = document["nodes"]
    shown = _shown(nodes)
    lines = _run_head(document, pen)
    if nodes:
        lines += [_counts(nodes.values(), pen), ""]
    names = {name: pen.safe(name) for name in shown}
    column = min(max(map(width_of, names.values()), default=0), max(12, width // 3))
    for name in shown:
        lines += _node_lines(name, nodes[name], column, pen)
    if len(shown) < len(nodes):
        rest = plural(len(nodes) - len(shown), "node")
        every = pen.safe(advice.command("status", document["id"]))
        lines.append(pen.paint(f"  + {rest} not shown; all: {every} --json", "dim"))
    if prepared := document.get("transactions"):
        told = ", ".join(f"{pen.safe(one['node'])} ({pen.safe(one['name'])})" for one in prepared)
        lines += ["", f"  {plural(len(prepared), 'prepared transaction')} open: {told}"]
    if places := document.get("checkpoints"):
        lines += ["", *_checkpoints(places, pen)]
    if document.get("rollback"):
        lines += ["", *standing(document, pen)]
    if asked := {name: node["question"]["choices"] for name, node in nodes.items() if node.get("question")}:
        lines += ["", *(f"answer with: {pen.safe(text)}" for text in advice.answers(document["id"], asked))]
    steps = (document.get("rollback") or {}).get("steps", ())
    if failed := [one["node"] for one in steps if one["state"] == "undo_failed"]:
        lines += ["", f"go on with: {pen.safe(advice.retry_undo(document['id'], failed[0]))}"]
        lines.append(f"or by hand: {pen.safe(advice.undone_by_hand(document['id'], failed[0]))}")
    elif document["state"] in _GOES_ON:
        lines += ["", f"go on with: {pen.safe(advice.resume(document['id'], document['wants_update']))}"]
    return "\n".join(lines) + "\n"


def _checkpoints(places: Sequence[Mapping[str, Any]], pen: Pen) -> list[str]:
    """The last checkpoints, the newest first, with what they saved."""
    column = max(width_of(pen.clip(place["name"], 40)) for place in places[-CHECKPOINTS:])
    lines = ["  checkpoints (go back with --from-checkpoint NAME):"]
    for place in reversed(places[-CHECKPOINTS:]):
        saved = plural(len(place["files"]), "file") + f", {size(place['bytes'])}" if place["files"] else "no files"
        lines.append(f"    {pad(pen.clip(place['name'], 40), column)}  {_when(place['time'])}{pen.dot}{saved}")
    if len(places) > CHECKPOINTS:
        lines.append(pen.paint(f"    + {len(places) - CHECKPOINTS} before", "dim"))
    return lines


def _run_head(document: Mapping[str, Any], pen: Pen) -> list[str]:
    state = str(document["state"])
    how = state_word(state)
    since = _when(document["started"]) if document["started"] else ""
    if document["finished"] and document["started"]:
        how += f" after {duration(_seconds(document['finished']) - _seconds(document['started']))}"
    name = pen.clip(document["workflow"], max(8, pen.width - len(how) - 4))
    head = pen.paint(pen.mark(state), look(state).style) + f" {pen.paint(name, 'bold')}  "
    lines = [head + pen.paint(how, look(state).style)]
    lines += [f"  {part}" for part in _joined([str(document["id"]), since], pen.width - 2, pen)]
    if document["error"]:
        lines += [f"  {line}" for line in _wrapped(document["error"], pen.width - 2, pen)]
    return lines


def _shown(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The ids of the nodes that get a line, in their order in the file."""
    if len(nodes) <= MANY:
        return list(nodes)
    wanted = [name for name, node in nodes.items() if node["state"] in _ATTENTION]
    if len(wanted) <= MANY:
        return wanted
    urgency = {state: i for i, state in enumerate(_ATTENTION)}
    first = set(sorted(wanted, key=lambda name: urgency[nodes[name]["state"]])[:MANY])
    return [name for name in wanted if name in first]


def _counts(nodes: Iterable[Mapping[str, Any]], pen: Pen) -> str:
    counts: dict[str, int] = {}
    for node in nodes:
        word = "tolerated" if node["tolerated"] else node["state"]
        counts[word] = counts.get(word, 0) + 1
    order = [*_ATTENTION, *_OF_OTHERS, *(state for state in counts if state not in LOOKS)]
    parts = [pen.paint(text, look(state).style) for state in order for text in counted(counts, [state])]
    return "  " + pen.dot.join(parts)


def _node_lines(name: str, node: Mapping[str, Any], column: int, pen: Pen) -> list[str]:
    """One node: mark, id, seconds and what there is to say; what does not fit beside has lines of its own."""
    state = str(node["state"])
    timed = node["seconds"] is not None and state not in ("running", "retrying") and node["reason"] not in NO_WORK
    row = f"  {pen.paint(pen.mark(state), look(state).style)} {pad(pen.clip(name, column), column)}"
    row += f"  {duration(node['seconds']) if timed else '':>7}"
    notes = _notes(state, node, pen)
    if not notes:
        return [row.rstrip()]
    text, room = pen.dot.join(notes), pen.width - column - 15
    if width_of(text) <= room:
        return [f"{row}  {text}"]
    if not node["error"]:
        return [f"{row}  {pen.clip(state_word(state), room)}"]
    return [row.rstrip(), *(f"      {line}" for line in _wrapped(text, pen.width - 6, pen))]


def _notes(state: str, node: Mapping[str, Any], pen: Pen) -> list[str]:
    notes = []
    if node["attempts"] > 1:
        notes.append(plural(node["attempts"], "attempt"))
    if node["error"] and state not in _QUIET:
        notes.append(pen.safe(str(node["error"])))
    elif node["reason"] and state in ("skipped", "cancelled"):
        notes.append(f"{state}, {because(node['reason'])}")
    elif state == "cached":
        notes.append(f"kept result {pen.safe(node['reason'] or '')}".rstrip())
    elif node.get("waits"):
        notes.append(f"waits for {pen.safe(node['waits'])}, which works on the same key")
    elif state == "waiting_input" and node.get("question"):
        notes.append(pen.safe(node["question"]["message"]))
    elif state == "running" and node["started"]:
        notes.append(f"running since {_when(node['started'])[11:]}")
    elif state != "succeeded":
        notes.append(state_word(state))
    if node["tolerated"]:
        notes.append("tolerated")
    if node["outcome"] == "unknown" and state not in ("running", "interrupted", *_QUIET):
        notes.append("outcome unknown")
    return notes


# -- many runs


def run_list(runs: Sequence[Mapping[str, Any]], *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """Many runs, a line each; a narrow screen gets fewer columns."""
    if not runs:
        return "no runs\n"
    pen = Pen(width, color, unicode)
    # Marks, ids and how long it took are always there; the rest comes as there is room for it.
    words, dates = width >= 70, width >= 100
    ids = max(width_of(pen.safe(run["id"])) for run in runs)
    names = max(width_of(pen.safe(str(run["workflow"] or "?"))) for run in runs)
    names = max(8, min(names, width - ids - 13 - (24 if words else 0) - (21 if dates else 0)))
    head = f"  {pad('run', ids)}  {pad('workflow', names)}  {'took':>7}"
    head += (f"  {'state':<11}  succeeded" if words else "") + ("  started" if dates else "")
    lines = [pen.paint(head, "dim")]
    for run in runs:
        state = str(run["state"])
        line = f"{pen.paint(pen.mark(state), look(state).style)} {pad(pen.safe(run['id']), ids)}  "
        line += f"{pad(pen.clip(str(run['workflow'] or '?'), names), names)}  "
        if not run.get("started"):
            lines.append(line + pen.clip(str(run.get("error") or state), max(7, width - ids - names - 6)))
            continue
        ended = run.get("finished")
        line += f"{duration(_seconds(ended) - _seconds(run['started'])) if ended else '':>7}"
        if words:
            good = sum(run["counts"].get(word, 0) for word in _QUIET)
            line += "  " + pen.paint(f"{state_word(state):<11}", look(state).style)
            line += "  " + pad(f"{number(good)}/{number(run['total'])}", 9)
        lines.append((line + (f"  {_when(run['started'])}" if dates else "")).rstrip())
    return "\n".join(lines) + "\n"


# -- values


def outputs(values: Mapping[str, Any]) -> str:
    """The outputs of a run: text as it is, the rest as JSON; each under its name, but for one text of many lines."""
    parts = []
    for name, value in values.items():
        text = value if isinstance(value, str) else _json(value)
        text = safe(text, lines=True).rstrip("\n")
        if "\n" in text:
            parts.append(text if len(values) == 1 else f"{safe(name)}:\n{text}")
        else:
            parts.append(f"{safe(name)}: {text}")
    return "\n".join(parts) + "\n" if parts else ""


def mapping(data: Mapping[str, Any]) -> str:
    """A resolved workflow or node, a key a line; what is empty is left out."""
    lines: list[str] = []
    for key, value in data.items():
        if value in (None, "", [], {}):
            continue
        if key == "nodes" and isinstance(value, Mapping):
            lines.append("nodes:")
            for name, needs in value.items():
                lines.append(safe(f"  {name}" + (f"  after {', '.join(needs)}" if needs else "")))
        elif key in ("needs", "secrets", "nodes"):
            lines.append(f"{key}: {safe(', '.join(value))}")
        elif isinstance(value, Mapping):
            lines.append(f"{key}:")
            lines += [f"  {safe(str(k))}: {_inline(v, str(k))}" for k, v in value.items() if v is not None]
        elif isinstance(value, str) and "\n" in value:
            lines.append(f"{key}: |")
            lines += [f"  {safe(line)}".rstrip() for line in value.rstrip("\n").split("\n")]
        else:
            lines.append(f"{key}: {_inline(value, key)}")
    return "\n".join(lines) + "\n"


def _inline(value: object, key: str = "") -> str:
    if isinstance(value, str):
        return safe(value)
    if key in _SECONDS and isinstance(value, (int, float)) and not isinstance(value, bool):
        return duration(value)
    if isinstance(value, Mapping) and set(value) == {"value", "from"}:
        return f"{_inline(value['value'])}  (from the {value['from']})"
    return safe(json.dumps(value, ensure_ascii=False, default=str))


def _json(value: object) -> str:
    """JSON that can be read: in one line where that is short or nothing is nested, else an entry a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if len(text) <= 100 or not any(isinstance(entry, (dict, list)) for entry in inner):
        return text
    if isinstance(value, dict):
        rows = [f"{json.dumps(key)}: {json.dumps(v, ensure_ascii=False, default=str)}" for key, v in value.items()]
        return "{\n  " + ",\n  ".join(rows) + "\n}"
    return "[\n  " + ",\n  ".join(json.dumps(v, ensure_ascii=False, default=str) for v in inner) + "\n]"


# -- pieces


def _joined(parts: Iterable[str], width: int, pen: Pen) -> list[str]:
    """The parts in one line, or a line each where they do not fit."""
    found = [part for part in parts if part]
    line = pen.dot.join(found)
    return [line] if width_of(line) <= width else found


def _wrapped(text: str, width: int, pen: Pen) -> list[str]:
    return wrap(pen.safe(text), max(20, width), break_on_hyphens=False) or [""]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _when(text: str) -> str:
    """A moment in the reader's own time, to the second."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
