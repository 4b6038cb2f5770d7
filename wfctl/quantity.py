"""Durations, sizes and amounts: from what people write to plain numbers.

Knows nothing of where in a file they stand. Seconds are float, bytes and thousandths int."""

from __future__ import annotations

import math
import re

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_SECONDS = (86400.0, 3600.0, 60.0, 1.0, 0.001)

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGTP]?i?B?)")
_BYTES = {
    prefix + suffix: base**power
    for base, suffixes in ((1000, ("B", "")), (1024, ("iB", "i")))
    for power, prefix in enumerate(("", "K", "M", "G", "T", "P"))
    for suffix in suffixes
}


def seconds(value: object) -> float:
    """`500ms 10s 5m 2h 1d 1h30m`, or a number of seconds, as seconds. ValueError says what is wrong."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value) and value >= 0:
            return float(value)
    elif isinstance(value, str) and value:
        match = _DURATION.fullmatch(value)
        if match:
            return sum(float(part) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True) if part)
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value)
    raise ValueError(f"expected a duration such as 500ms, 10s or 1h30m, got {shown(value)}")


def size(value: object) -> int:
    """`512MiB 16GiB 2GB`, or a number of bytes, as bytes. ValueError says what is wrong."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value) and value >= 0 and value == int(value):
            return int(value)
    elif isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match and match[2] in _BYTES:
            return int(float(match[1]) * _BYTES[match[2]])
    raise ValueError(f"expected a size such as 512MiB or 2GB, got {shown(value)}")


def amount(name: str, value: object) -> int:
    """How much of the resource `name`, exactly: cpu in thousandths, sizes in bytes, others whole.

    ValueError says what is wrong.
    """
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?", value):
        return size(value)
    if isinstance(value, str):
        value = float(value) if "." in value else int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        if name == "cpu":
            if round(value * 1000, 6) == round(value * 1000):
                return round(value * 1000)
            raise ValueError(f"cpu is counted in thousandths, got {shown(value)}")
        if value == int(value):
            return int(value)
        raise ValueError(f"{name} is counted in whole units, got {shown(value)}")
    raise ValueError(f"expected an amount such as 2 or 512MiB, got {shown(value)}")


def shown_amount(name: str, value: int) -> str:
    """An amount as people write it: cpu 1500 is `1.5`, memory 1073741824 is `1GiB`."""
    if name == "cpu":
        return f"{value / 1000:g}"
    if value >= 1024:
        for prefix, power in (("PiB", 5), ("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
            if value % 1024**power == 0:
                return f"{value // 1024**power}{prefix}"
    return str(value)


def shown(value: object) -> str:
    """A value as the user may have typed it, short: for messages."""
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…" + text[-1]
