"""From names to what plugs in: the built-in tables, each entry imported when a workflow names it.

Imports nothing before it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import cast

from wfctl.jobs import Kind

KINDS: Mapping[str, str] = {
    "run": "wfctl.kinds.run:Run",
    "ask": "wfctl.kinds.ask:Ask",
}


@cache
def kind(name: str) -> Kind | None:
    """The kind of that name; None where this version has none."""
    if name not in KINDS:
        return None
    module, _, attribute = KINDS[name].partition(":")
    return cast(Kind, getattr(import_module(module), attribute)())
