"""Dataclasses that cost a third: frozen by the type checker, and not checked once more at run time.

Stands in for `dataclasses.dataclass` where classes are made at every start: each compiles its methods then, and all of
ours took 25 ms of 60; so `repr`, equality and hash are shared here, and assignment is left to the type checker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(cls=None, /, *, frozen=True, slots=True, kw_only=False):
        """A record with named fields; used and checked as the dataclass that it says to be."""

        def make(cls):
            made = dataclasses.dataclass(cls, slots=True, kw_only=kw_only, eq=False, repr=False)
            made.__repr__, made.__eq__, made.__hash__ = _repr, _eq, _hash
            return made

        return make if cls is None else make(cls)

    def _values(record):
        return [getattr(record, f.name) for f in dataclasses.fields(record) if f.compare]

    def _repr(self):
        shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
        return f"{type(self).__qualname__}({shown})"

    def _eq(self, other):
        return _values(self) == _values(other) if type(self) is type(other) else NotImplemented

    def _hash(self):
        return hash((type(self), *_values(self)))


__all__ = ["dataclass"]
