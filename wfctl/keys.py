"""What decides a result: its parts, the key that they make, and how two of them differ.

Knows no store, and neither reads a file nor evaluates an expression: it is handed values and hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from wfctl import expr, quantity
from wfctl.record import dataclass

FORMAT = 1
"""What keys are made by. A part of each: after a change of that no old result is taken for a new one."""

OWN_TTL = 3600.0
"""Seconds that a result holds under a key of the user's, where no `ttl` says otherwise."""

SCOPES = ("workflow", "machine")

MOST_CHANGES = 20
"""Differences that are told of two keys; of more there is the number."""

_LONGEST = 200  # characters of a part that are kept as they are; of a longer one its hash and how it begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """What an `idempotency` says, once it is filled in. `key` is the user's own, None for the automatic one; `ttl` is
    in seconds, None for ever."""

    key: str | None = None
    ttl: float | None = None
    scope: str = "workflow"
    keep: bool = False


def read_idempotency(raw: object) -> Idempotency | None:
    """The meaning of a value without expressions; None where nothing is to be kept. ValueError says what is wrong."""
    if raw is None or raw is False:
        return None
    if raw is True:
        return Idempotency()
    if not isinstance(raw, Mapping):
        raise ValueError(f"expected true, false or a mapping such as {{ttl: 1h}}, got {quantity.shown(raw)}")
    key, keep, scope = raw.get("key"), raw.get("keep"), raw.get("scope")
    if key is not None:
        key = expr.as_text(key)
        if not key:
            raise ValueError("the key is empty, so it would be the same for all; fill it, or take it out")
    if scope not in (None, *SCOPES):
        raise ValueError(f"scope is one of {', '.join(SCOPES)}, got {quantity.shown(scope)}")
    if not isinstance(keep, bool | None):
        raise ValueError(f"keep is true or false, got {quantity.shown(keep)}")
    ttl = quantity.seconds(raw["ttl"]) if raw.get("ttl") is not None else OWN_TTL if key is not None else None
    return Idempotency(key=key, ttl=ttl, scope=scope or "workflow", keep=bool(keep))


def scopes_of(value: object) -> set[str]:
    """The scopes that a value of `idempotency` may come to have, which may hold expressions."""
    if isinstance(value, Idempotency):
        return {value.scope}
    said = value.get("scope", SCOPES[0]) if isinstance(value, Mapping) else None
    return {said} if isinstance(said, str) else set(SCOPES)


def read_checkpoint(raw: object) -> tuple[str, ...] | None:
    """The globs that a checkpoint saves; None where there is to be none. ValueError says what is wrong."""
    if raw is None or raw is False:
        return None
    if raw is True:
        return ()
    if not isinstance(raw, Mapping):
        raise ValueError(f"expected true, false or a mapping such as {{save: [out/*]}}, got {quantity.shown(raw)}")
    save = raw.get("save")
    globs = [save] if isinstance(save, str) else [] if save is None else save
    if not isinstance(globs, (list, tuple)) or not all(isinstance(glob, str) and glob for glob in globs):
        raise ValueError(f"save is a list of paths, got {quantity.shown(save)}")
    return tuple(globs)


Parts = Mapping[str, Any]
"""What decides a result, by name: plain data."""


def key_of(parts: Parts, workflow: str | None) -> str:
    """The key that the parts make, as 64 hexadecimal digits: the same on every machine and for every Python.

    It is the SHA-256 of their JSON with sorted keys, in ASCII. `workflow` is whose results are sought; None for a
    result that all workflows share. Raises Unknown where a part holds what only a run can tell.
    """
    text = _text({"format": FORMAT, "workflow": workflow, "parts": parts})
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def brief(parts: Parts) -> dict[str, Any]:
    """The parts as they are kept for `difference`: what is long only by its hash and how it begins."""
    return {name: _brief(value, deep=True) for name, value in parts.items()}


def _brief(value: object, deep: bool = False) -> object:
    if isinstance(value, (bool, int, float)) or value is None or (isinstance(value, str) and len(value) <= _LONGEST):
        return value
    if deep and isinstance(value, Mapping):
        return {str(name): _brief(inner) for name, inner in value.items()}
    text = _text(value)
    if len(text) <= _LONGEST:
        return json.loads(text)
    return {"sha256": hashlib.sha256(text.encode("ascii")).hexdigest()[:16], "begins": text[: _LONGEST // 2]}


def difference(before: Parts, after: Parts) -> list[list[Any]]:
    """How brief parts differ: the name of a part, what it was and what it is, None where it was not or is not there.

    A part with parts of its own, such as `reads` or `env`, is told by those: `reads main.c`.
    """
    return list(_difference(before, after))


def _difference(before: Parts, after: Parts) -> Iterator[list[Any]]:
    for name in dict.fromkeys((*after, *before)):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if _has_parts(was) and _has_parts(now):
            was, now = was or {}, now or {}
            for part in dict.fromkeys((*now, *was)):
                if was.get(part) != now.get(part):
                    yield [f"{name} {part}", was.get(part), now.get(part)]
        else:
            yield [name, was, now]


def _has_parts(value: object) -> bool:
    """Whether a part has parts, or is not there and could have: it is no hash of something long."""
    return value is None or (isinstance(value, Mapping) and value.keys() != {"sha256", "begins"})


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False, allow_nan=False).encode


def _text(value: object) -> str:
    try:
        return _encode(value)
    except TypeError:  # names that are no text
        return _encode(json.loads(json.dumps(value, default=_not_known)))


def _not_known(value: object) -> object:
    raise expr.Unknown("it is not known before the run")
