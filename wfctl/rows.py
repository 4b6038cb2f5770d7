"""Rows of a database as plain JSON data, as many as an output may hold.

Knows no database: values are told by what Python makes of them."""

from __future__ import annotations

import json

from wfctl.result import LARGEST

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

TOO_MANY = "the output has more than 16 MiB as JSON; ask for fewer rows or columns, or let the database sum them up"


class NoRow(ValueError):
    """What cannot be part of an output; its text says which column, and the way out."""


def collected(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[dict[str, Any]]:
    """Each row as a mapping. Raises NoRow, also as soon as they are too many."""
    for name in names:
        if names.count(name) > 1:
            raise NoRow(f'two columns are called "{name}"; give one of them another name: … AS {name}_2')
    made: list[dict[str, Any]] = []
    size = 2
    for row in rows:
        mapping = {name: plain(value, name) for name, value in zip(names, row, strict=True)}
        size += len(json.dumps(mapping, ensure_ascii=False).encode("utf-8", "surrogatepass")) + 2
        if size > LARGEST:
            raise NoRow(TOO_MANY)
        made.append(mapping)
    return made


def plain(value: object, column: str) -> Any:
    """A value of a column as JSON has it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if value - value != 0:
            raise NoRow(f'the column "{column}" holds {value}, which JSON has not; NULLIF or CAST … AS TEXT')
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        hint = f"take hex({column}) or encode({column}, 'base64')"
        raise NoRow(f'the column "{column}" holds bytes, which JSON has not; {hint}')
    if isinstance(value, (list, tuple)):
        return [plain(inner, column) for inner in value]
    if isinstance(value, dict):
        return {str(key): plain(inner, column) for key, inner in value.items()}
    return _of_library(value, column)


def _of_library(value: Any, column: str) -> Any:
    """Values of types whose modules are loaded only where a driver makes such."""
    kind = type(value)
    if hasattr(kind, "isoformat"):  # date, time, datetime
        return value.isoformat()
    if hasattr(kind, "total_seconds"):
        return _duration(value)
    if kind.__name__ == "Decimal":
        return _number(value, column)
    if kind.__module__ in ("uuid", "ipaddress"):
        return str(value)
    raise NoRow(f'the column "{column}" holds {kind.__name__}, which JSON has not; take CAST({column} AS TEXT)')


def _number(value: Any, column: str) -> int | float | str:
    """A decimal as the number that JSON has for it; text where that would be another one."""
    if not value.is_finite():
        raise NoRow(f'the column "{column}" holds {value}, which JSON has not; NULLIF or CAST … AS TEXT')
    if value.as_tuple().exponent == 0 and len(value.as_tuple().digits) <= 4_000:
        return int(value)
    near = float(value)
    exact = near - near == 0 and type(value)(repr(near)) == value
    return near if exact else str(value)


def _duration(value: Any) -> str:
    """`PT93600S`, as ISO 8601 has it."""
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    whole, part = divmod(abs(micros), 1_000_000)
    fraction = f".{part:06}".rstrip("0") if part else ""
    return f"{'-' if micros < 0 else ''}PT{whole}{fraction}S"
