"""Why a node ranks where it does, and what it waits for: the sum line by line, then the rest in sentences.

Knows no plan and no run: it is given the document that programs read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from wfctl.quantity import shown_amount
from wfctl.renderers.text import Pen, duration, pad, plural, state_word

SHOWN = 6
"""Names of a list that are shown; of the others, how many there are."""

_INDENT = 10
_OWN = {
    "priority": "as its `priority` says",
    "score": "by its score",
    "default": "as nothing is said of it",
}


def render(document: Mapping[str, Any], *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The explanation of one node in at most `width` columns (60 at least)."""
    pen = Pen(max(width, 60), color, unicode)
    name = pen.clip(document["node"], pen.width - 30)
    lines = [f"{pen.paint(name, 'bold')}  {_how(document)}", "", *_sum(document, pen), ""]
    for title, text in _sentences(document, pen):
        lines += _paragraph(title, text, pen)
    if document["waits"]:
        lines += ["", _because(document)]
        for wait in document["waits"]:
            lines += _paragraph(*_wait(wait, document, pen), pen)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _how(document: Mapping[str, Any]) -> str:
    """How the node stands, in the first line."""
    if document["state"] != "planned":
        return state_word(document["state"])
    if document["start"] is None:
        return "not in the plan"
    ready, start = document["ready"], document["start"]
    late = f", starts {duration(start - ready)} later" if start > ready else " and starts"
    return f"ready at {duration(ready)}{late}"


def _sum(document: Mapping[str, Any], pen: Pen) -> Iterator[str]:
    """The factors, a line each: value times weight is a part of the score."""
    times = "×" if pen.unicode else "x"
    column = max(len(name) for name in document["factors"])
    yield pen.paint(f"  {pad('factor', column)}   value   weight", "dim")
    for name, line in document["factors"].items():
        figures = f"  {pad(name, column)}   {line['value']:5.3f} {times} {line['weight']:5.3f}"
        figures += f" = {line['product']:5.3f}   "
        yield figures + pen.paint(pen.clip(line["why"], pen.width - len(figures)), "dim")
    score = pen.paint(f"{document['score']:5.3f}", "bold")
    yield f"  {pad('score', column)} {'':15} = {score}"


def _sentences(document: Mapping[str, Any], pen: Pen) -> Iterator[tuple[str, str]]:
    """All but the sum that decides the rank."""
    level = f"{document['level']}, "
    if document["inherited"]:
        level += f"inherited from {pen.safe(document['inherited'][-1])}"
        if len(document["inherited"]) > 1:
            level += f", by {_listed(document['inherited'][:-1], pen)}"
    else:
        level += _OWN[document["level_by"]]
    for word, moment in document["rises"].items():
        level += f"; {word} from {duration(moment)} on"
    yield "level", level
    if document["failed_attempts"]:
        failed = plural(document["failed_attempts"], "failed attempt")
        yield "retries", f"{failed}: {document['bonus']:.1f} more than the score, inside the level"
    if document["waited"] > 0:
        ahead = f"{document['age']:.1f} levels ahead of what becomes ready now"
        yield "age", f"ready since {duration(document['waited'])}: {ahead} (a level each {duration(document['aging'])})"
    if document["policy"] == "deadline":
        due = "no deadline, nor has what needs it: last" if document["due"] is None else None
        yield "due", due or f"at {duration(document['due'])}, so that all that needs it is in time"
    elif document["policy"] != "fifo":
        yield "path", f"{duration(document['path'])} from its start to the end of what needs it"
    if document["policy"] == "fair":
        group = pen.safe(document["group"]["name"] or "no group")
        yield "group", f"{group}, with weight {document['group']['weight']:g}"
    if place := document["planned"]:
        yield "plan", f"number {place['place']} of {place['of']}, at {duration(place['start'])}"
    yield "policy", f"{document['policy']}: {document['order']}"


def _because(document: Mapping[str, Any]) -> str:
    if document["state"] == "planned":
        return f"at {duration(document['now'])} it waits for"
    return "it does not run now, for it waits for"


def _wait(wait: Mapping[str, Any], document: Mapping[str, Any], pen: Pen) -> tuple[str, str]:
    """One thing that keeps the node from running: a word for it, and what there is to say."""
    match wait["for"]:
        case "slot":
            return "slot", f"all {wait['budget']} are taken, by {_listed(list(wait['holders']), pen)}"
        case "resource":
            wanted, free, budget = (shown_amount(wait["name"], wait[key]) for key in ("needs", "free", "budget"))
            holders = [f"{name} ({shown_amount(wait['name'], held)})" for name, held in wait["holders"].items()]
            by = f"; held by {_listed(holders, pen)}" if holders else ""
            return pen.clip(wait["name"], _INDENT - 2), f"wants {wanted}, {free} of {budget} is free{by}"
        case "rate":
            left = duration(max(0.0, wait["at"] - document["now"]))
            return pen.clip(wait["name"], _INDENT - 2), f"its turn at {wait['rate']:g} a second, in {left}"
        case "reservation":
            return "order", f"what is free is kept for {pen.safe(wait['of'])}, which comes first"
        case "plan":
            before = _listed(list(wait["nodes"]), pen)
            return "plan", f"what {before} will give back, or its own time, {duration(wait['at'])}"
        case "others":
            return "others", f"other runs here, with which it shares {_listed(wait['names'], pen)}"
        case "twin":
            return "twin", f"{pen.safe(wait['holder'])}, which works on the same key"
        case "needs":
            needs = [f"{name} ({state_word(state)})" for name, state in wait["nodes"].items()]
            return "needs", _listed(needs, pen) or "its condition"
        case "retry":
            left = wait["at"] - document["now"]
            return "retry", f"its next attempt, due {f'in {duration(left)}' if left > 0 else 'now'}"
        case "finally":
            return "finally", "the end of all other nodes"
        case "engine":
            return "engine", "somebody to drive the run: wfctl resume"
        case _:
            return "end", f"nothing starts any more: {pen.safe(wait['why'])}"


def _listed(names: Sequence[str], pen: Pen) -> str:
    shown = ", ".join(pen.safe(name) for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _paragraph(title: str, text: str, pen: Pen) -> list[str]:
    lines = wrap(text, pen.width - _INDENT - 2, break_on_hyphens=False) or [""]
    return [f"  {pad(title if not i else '', _INDENT - 2)}  {line}" for i, line in enumerate(lines)]
