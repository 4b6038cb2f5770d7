"""Durations, sizes and amounts: from what people write to plain numbers.

Knows nothing of where in a file they stand. Seconds are float, bytes and thousandths int."""

from __future__ import annotations

import re
from typing import Literal, TypeGuard

_DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in ("d", "h", "m", "s", "ms")))
_SECONDS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_PERIODS = dict(zip(("d", "h", "m", "s", "ms"), _SECONDS, strict=True))

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGTP]?i?B?)")
_BYTES = {
    prefix + suffix: base**power
    for base, suffixes in ((1000, ("B", "")), (1024, ("iB", "i")))
    for power, prefix in enumerate(("", "K", "M", "G", "T", "P"))
    for suffix in suffixes
}

_NUMBER = re.compile(r"\d+(?:\.\d+)?")

LONGEST = 1e10
"""Seconds, 300 years: what is added to a moment stays a moment that can be written down."""

LARGEST = 10**18
"""Of any resource. Up to here sums and comparisons with floats cannot overflow."""


def unit_of(resource: str, budget: float) -> Literal["cpu", "bytes", "count"]:
    """In what a resource is told, of which there is so much. What there are millions of can only be bytes."""
    return "cpu" if resource == "cpu" else "bytes" if budget >= 1024 * 1024 else "count"


def seconds(value: object) -> float:
    """`500ms 10s 5m 2h 1d 1h30m`, or a number of seconds, as seconds. ValueError says what is wrong."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value) if value else None
        if match:
            parts = zip(match.groups(), _SECONDS, strict=True)
            number: object = sum(float(part) * unit for part, unit in parts if part)
        else:
            number = float(value) if _NUMBER.fullmatch(value) else None
    else:
        number = value
    if _within(number, LONGEST):
        return float(number)
    raise ValueError(f"expected a duration such as 500ms, 10s or 1h30m, got {shown(value)}")


def shown_seconds(value: float) -> str:
    """A duration as people write it, to a thousandth or three digits: 0.2 is `200ms`, 5400 is `1h30m`."""
    if value < 0.9995:
        return f"{value * 1000:.0f}ms"
    if value < 60:
        return f"{value:.3g}s"
    whole, text = round(value), ""
    for unit, length in zip("dhms", (86400, 3600, 60, 1), strict=True):
        count, whole = divmod(whole, length)
        text += f"{count}{unit}" if count else ""
    return text


def size(value: object) -> int:
    """`512MiB 16GiB 2GB`, or a number of bytes, as bytes. ValueError says what is wrong."""
    if isinstance(value, str):
        found = _size(value)
        if found is not None:
            return found
    elif _within(value, LARGEST) and value == int(value):
        return int(value)
    raise ValueError(f"expected a size such as 512MiB or 2GB, got {shown(value)}")


def amount(name: str, value: object) -> int:
    """How much of the resource `name`, exactly: cpu in thousandths, sizes in bytes, others whole.

    ValueError says what is wrong.
    """
    number = value
    if isinstance(value, str):
        if _NUMBER.fullmatch(value):
            number = int(value) if value.isdecimal() and len(value) < 30 else float(value)
        elif name == "cpu":
            raise ValueError(f"cpu is a number such as 2 or 0.5, got {shown(value)}")
        else:
            number = _size(value)
    if not _within(number, LARGEST):
        raise ValueError(f"expected an amount such as 2 or 512MiB, got {shown(value)}")
    if name == "cpu":
        thousandths = round(number * 1000)
        # As near as binary fractions come: 1.1 * 1000 is 1100.0000000000002.
        if abs(number * 1000 - thousandths) <= 1e-12 * number * 1000:
            return thousandths
        raise ValueError(f"cpu is counted in thousandths, got {shown(value)}")
    if number == int(number):
        return int(number)
    raise ValueError(f"{name} is counted in whole units, got {shown(value)}")


def rate(value: object) -> float | None:
    """`5/s`, `30/m` or `100/h` as tokens in a second; None for `none`. ValueError says what is wrong."""
    if value == "none":
        return None
    count, slash, unit = value.partition("/") if isinstance(value, str) else ("", "", "")
    if slash and _NUMBER.fullmatch(count) and unit in _PERIODS and (number := float(count)) > 0:
        per_second = number / _PERIODS[unit]
        if 1e-7 <= per_second <= 1e6:
            return per_second
    raise ValueError(f"expected a rate such as 5/s, 30/m or 100/h, got {shown(value)}")


def _within(value: object, most: float) -> TypeGuard[int | float]:
    """Whether it is a number from 0 to `most`: not NaN, not infinite, no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _size(text: str) -> int | None:
    """The bytes of a size as text, exactly; a part of a byte is dropped. None where it is no size."""
    match = _SIZE.fullmatch(text)
    if not match or match[2] not in _BYTES or not _within(float(match[1]) * _BYTES[match[2]], LARGEST):
        return None
    whole, _, part = match[1].partition(".")
    return int(whole + part) * _BYTES[match[2]] // 10 ** len(part) if len(part) < 30 else None


def shown_amount(name: str, value: int) -> str:
    """An amount as people write it: cpu 1500 is `1.5`, memory 1073741824 is `1GiB`."""
    if name == "cpu":
        return f"{value / 1000:.3f}".rstrip("0").rstrip(".")
    if value >= 1024:
        for prefix, power in (("PiB", 5), ("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
            if value % 1024**power == 0:
                return f"{value // 1024**power}{prefix}"
    return str(value)


def shown(value: object) -> str:
    """A value as the user may have typed it, short: for messages."""
    import json

    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number that is too long to show"
    return text if len(text) <= 60 else text[:57] + "…" + text[-1]
