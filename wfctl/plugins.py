"""From names to what plugs in: the built-in tables, each entry imported when it is named; then what is installed.

Imports nothing before it is asked for; installed packages are looked through only for names that a table lacks."""

from __future__ import annotations

from functools import cache
from importlib import import_module

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

    from wfctl.jobs import Kind, PythonKind

KINDS: Mapping[str, str] = {
    "run": "wfctl.kinds.run:Run",
    "call": "wfctl.kinds.call:Call",
    "sql": "wfctl.kinds.sql:Sql",
    "http": "wfctl.kinds.http:Http",
    "files": "wfctl.kinds.files:Files",
    "notify": "wfctl.kinds.notify:Notify",
    "ask": "wfctl.kinds.ask:Ask",
}

GROUP = "wfctl.kinds"
"""The group of entry points under which a package says which kinds it has."""

_NEEDED = tuple("keys secrets slotless parse expressions prepares restores paths decides prepare".split())


@cache
def kind(name: str) -> Kind | None:
    """The kind of that name; None where there is none. Raises UsageError where its package is broken."""
    if name in KINDS:
        return made(KINDS[name])
    entry = installed().get(name)
    if entry is None:
        return None
    whose = f' of the package "{entry.dist.name} {entry.dist.version}"' if entry.dist is not None else ""
    return _checked(name, made(address(name), name, whose), whose)


@cache
def in_place(name: str) -> PythonKind | None:
    """The kind of that name where its tasks can be performed in this process; None where they want one of their own."""
    found = kind(name)
    return found if getattr(found, "in_place", False) else None  # type: ignore[return-value]


def address(name: str) -> str:
    """Where the kind of that name is, as `module:Class`. KeyError where there is none."""
    if name in KINDS:
        return KINDS[name]
    entry = installed()[name]
    return f"{entry.module}:{entry.attr}"


def made(address: str, name: str = "", whose: str = "") -> Kind:
    """The kind at an address. Raises UsageError where it cannot be made; then `name` and `whose` are told."""
    module, _, attribute = address.partition(":")
    try:
        found = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found()  # type: ignore[operator, no-any-return]
    except (Exception, SystemExit) as error:
        if address in KINDS.values():
            raise  # a bug of ours
        from wfctl.errors import UsageError

        what = f"{type(error).__name__}: {error}".rstrip(": ")
        raise UsageError(
            f'the kind "{name or address}"{whose} cannot be loaded: {what}; mend that package, or remove it'
        ) from error


def _checked(name: str, kind: Kind, whose: str) -> Kind:
    lacking = [needed for needed in _NEEDED if not hasattr(kind, needed)]
    called = getattr(kind, "name", name)
    if lacking:
        wrong = f"lacks {', '.join(lacking)}; derive it from wfctl.fields.FieldsKind"
    elif called != name:
        wrong = f'calls itself "{called}"; say name = "{name}" in its class'
    else:
        return kind
    from wfctl.errors import UsageError

    raise UsageError(f'the kind "{name}"{whose} {wrong}')


@cache
def installed() -> Mapping[str, EntryPoint]:
    """The kinds of installed packages, by name. Takes some 50 ms the first time."""
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)  # as an import has it: the first on the path
    return found
