"""What is kept of nodes, as a table: what it is of, how old it is and when it was used, and how large.

Knows no cache: it is given the documents that programs read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from wfctl.renderers.text import Pen, duration, look, pad, plural, size, width_of

_COLUMNS: tuple[str, ...] = ("key", "of", "run", "age", "used", "size")
_RUN = 2  # the column that is left out where there is little room
_ROOM = 80


def listing(
    documents: Sequence[Mapping[str, Any]], *, width: int = 80, color: bool = False, unicode: bool = True
) -> str:
    """`cache ls` for people; the last line says how much it is in all."""
    pen = Pen(max(width, 60), color, unicode)
    now = datetime.now(UTC)
    rows, head = [_row(one, now, pen) for one in documents], _COLUMNS
    if not rows:
        return "nothing is kept; a node says so with idempotency\n"
    if pen.width < _ROOM:
        head, *rows = (row[:_RUN] + row[_RUN + 1 :] for row in (head, *rows))
    widths = [max(width_of(row[i]) for row in [head, *rows]) for i in range(len(head))]
    room = pen.width - 2 - sum(widths) + widths[1] - 2 * (len(head) - 1)
    widths[1] = max(12, min(widths[1], room))
    lines = [pen.paint("  " + _line(head, widths, pen).rstrip(), "dim")]
    for one, row in zip(documents, rows, strict=True):
        state = "failed" if one["failed"] else "cached"
        lines.append(f"{pen.paint(pen.mark(state), look(state).style)} {_line(row, widths, pen)}".rstrip())
    total = f"{plural(len(rows), 'result')}, {size(sum(one['bytes'] for one in documents))}"
    return "\n".join([*lines, pen.paint(f"  {total}", "dim")]) + "\n"


def _row(one: Mapping[str, Any], now: datetime, pen: Pen) -> tuple[str, ...]:
    """The cells of one row."""
    what = f"{one['workflow']}: {one['node']}"
    if one["scope"] == "machine":
        what += " (machine)"
    if one["failed"]:
        what += f", failed: {one['failed']}"
    return (
        str(one["key"])[:12], pen.safe(what), pen.safe(str(one["run"])), _ago(one["made"], now), _ago(one["used"], now),
        size(one["bytes"]),
    )  # fmt: skip


def _ago(moment: str | None, now: datetime) -> str:
    if moment is None:
        return ""
    return duration(max(0.0, (now - datetime.fromisoformat(moment)).total_seconds()))


def _line(cells: Sequence[str], widths: Sequence[int], pen: Pen) -> str:
    return "  ".join(pad(pen.clip(cell, column), column) for cell, column in zip(cells, widths, strict=True))
