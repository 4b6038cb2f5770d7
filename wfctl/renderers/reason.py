"""Why a node ran or was served, in words: one sentence, then a line for each thing that has changed.

Knows no cache and no run: it is given what was recorded, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from wfctl.renderers.text import Pen, duration, pad, plural, safe

SHOWN = 3
"""Changes that are told where one line must do."""

NAMED = "named "
"""What the name of a value begins with that the node names: it is why a part of the key is another."""


def render(document: Mapping[str, Any], *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """`why ID NODE` for people."""
    pen = Pen(max(width, 40), color, unicode)
    head = f"{pen.paint(pen.safe(document['node']), 'bold')}  "
    text = _how(document, pen)
    lines = wrap(text, max(20, pen.width - 2), break_on_hyphens=False)
    told = [head + document["state"].replace("_", " "), *(f"  {line}" for line in lines)]
    changes = document["why"].get("changes", ()) if document["why"] else ()
    told += _changes(changes, pen)
    if more := (document["why"] or {}).get("more", 0):
        told.append(f"  and {plural(more, 'more change')}")
    if document["key"]:
        told.append(pen.paint(f"  key {document['key'][:16]}", "dim"))
    return "\n".join(line.rstrip() for line in told) + "\n"


def told(document: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The same in parts, for a page: the sentence, and a line for each thing that has changed."""
    pen = Pen(200, False, True)
    changes = document["why"].get("changes", ()) if document["why"] else ()
    lines = [line.strip() for line in _changes(changes, pen)]
    if more := (document["why"] or {}).get("more", 0):
        lines.append(f"and {plural(more, 'more change')}")
    return _how(document, pen), lines


def _how(document: Mapping[str, Any], pen: Pen) -> str:
    if document["state"] == "cached":
        where = pen.safe(document["of"] or "another run")
        if not document["key"]:
            return f"it was left out of this run; its output is that of run {where}"
        return f"served, and not run: the result of run {where}{_age(document)} still holds"
    if document["waits"]:
        return f"waits for {pen.safe(document['waits'])}, which works on the same key"
    if not document["why"]:
        if document["attempts"]:
            return "it ran: nothing is kept of it (it has no idempotency), so it runs in each run"
        return "it has not run"
    return f"it ran: {sentence(document['why'])}"


def sentence(why: Mapping[str, Any]) -> str:
    """Why nothing that is kept did, in one sentence without what has changed."""
    run = f"run {safe(str(why.get('of', '')))}{_age(why)}"
    match why["word"]:
        case "forced":
            return "somebody wanted it to, whatever is kept (--force, or --from)"
        case "never":
            return "no earlier result of it is known"
        case "failed":
            return f"under this key it failed in {run}, and failures are never served"
        case "expired":
            return f"its result of {run} has expired (ttl {duration(why['ttl'])})"
        case "writes":
            return f"{safe(str(why['path']))} {safe(str(why['what']))} by {run}"
        case "dropped":
            return "what was kept of it is not there any more"
        case "gone":
            return "the output that was kept of it is not there any more"
        case "changed":
            return f"it is not what it was in {run}"
        case word:
            return safe(str(word))


def brief(why: Mapping[str, Any]) -> str:
    """The same for one line, with the first of what has changed."""
    changes: Sequence[Any] = why.get("changes", ())
    if not changes:
        return sentence(why)
    told = [f"{_name(part)} {_verb(before, after)}" for part, before, after in _causes(changes)[:SHOWN]]
    more = len(_causes(changes)) - SHOWN + why.get("more", 0)
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _age(why: Mapping[str, Any]) -> str:
    return f" ({duration(why['ago'])} before)" if why.get("ago") is not None else ""


def _causes(changes: Sequence[Any]) -> list[Any]:
    """What has changed, the causes first: what the node names, and files; then what these have made of it."""
    first = [change for change in changes if change[0].startswith((NAMED, "reads "))]
    return first or list(changes)


def _name(part: str) -> str:
    return safe(part.removeprefix(NAMED).removeprefix("reads "))


def _verb(before: object, after: object) -> str:
    return "is new" if before is None or before == "nothing" else "is gone" if after in (None, "nothing") else "changed"


def _changes(changes: Sequence[Any], pen: Pen) -> Iterator[str]:
    column = min(30, max((len(_name(part)) for part, _, _ in changes), default=0))
    for part, before, after in [*_causes(changes), *(one for one in changes if one not in _causes(changes))]:
        arrow = "→" if pen.unicode else "->"
        text = f"{_shown(before, pen)} {arrow} {_shown(after, pen)}"
        if _verb(before, after) != "changed":
            text = _verb(before, after)
        elif part.startswith("reads "):
            text = f"changed ({text})"
        yield "  " + pen.clip(f"  {pad(_name(part), column)}  {text}", pen.width - 2)


def _shown(value: object, pen: Pen) -> str:
    """A part of a key: a hash is told by its beginning."""
    import json

    if isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef"):
        return value[:8]
    if isinstance(value, Mapping) and value.keys() == {"sha256", "begins"}:
        return f"{pen.safe(str(value['begins'])[:40])}…"
    text = json.dumps(value, ensure_ascii=False)
    return pen.safe(text if len(text) <= 60 else f"{text[:60]}…")
