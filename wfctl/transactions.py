"""The names of prepared transactions: made of run, node and attempt, so that each can be found again.

Knows no database."""

from __future__ import annotations

import hashlib
import re

LONGEST = 200
"""Bytes that PostgreSQL allows for a name, less one."""


def transaction_name(run: str, node: str, attempt: int) -> str:
    """The name of the transaction that an attempt prepares: plain letters, digits, `_`, `.` and `-`."""
    name = f"wfctl-{run}-{node}-{attempt}"
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    if plain == name and len(plain) < LONGEST:
        return plain
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{plain[: LONGEST - 40]}-{mark}-{attempt}"
