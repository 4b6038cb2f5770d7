"""The items of a `for_each`: elements with keys, out of a list, an expression or a matrix.

Knows nothing of nodes: expressions are evaluated with the names that it is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

from wfctl import expr, quantity
from wfctl.record import dataclass

MOST = 100_000
"""Items of one `for_each`."""

LONGEST_KEY = 200
"""Characters of a key: it is a part of ids, of names of files and of lines on a screen."""


@dataclass(frozen=True, slots=True)
class Item:
    """One element: `value` is what `item` says of it, `index` its place, `key` its name among the others."""

    key: str
    value: Any
    index: int

    def names(self) -> dict[str, object]:
        """What the expressions of its node see of it."""
        return {"item": self.value, "index": self.index, "key": self.key}


def items_of(
    source: object, key: expr.Template | str | None, names: Callable[[], dict[str, object]]
) -> tuple[Item, ...]:
    """The items that a `for_each` gives; `names` makes what its expressions see.

    Raises ExpressionError for what is no list, too long, or has two items of one key; Unknown where that is not known.
    """
    if isinstance(source, Mapping) and "matrix" in source:
        values: list[Any] = list(combinations(source, names()))
        by_values = True
    else:
        value = expr.evaluate_value(source, names())
        if not isinstance(value, (list, tuple)):
            raise expr.ExpressionError(f"for_each: expected a list, got {quantity.shown(value)}")
        if len(value) > MOST:
            raise expr.ExpressionError(_too_many(len(value)))
        values, by_values = list(value), False
    found: dict[str, Item] = {}
    for index, element in enumerate(values):
        plain = Item("", element, index)
        name = _key(plain, key, by_values, names)
        if name in found:
            first = found[name].index
            hint = 'say with "key" what tells them apart' if key is None else "they are to tell the items apart"
            raise expr.ExpressionError(f'the items {first} and {index} have the same key, "{name}"; {hint}')
        found[name] = Item(name, element, index)
    return tuple(found.values())


def _key(item: Item, key: expr.Template | str | None, by_values: bool, names: Callable[[], dict[str, object]]) -> str:
    if key is None:
        return ",".join(map(expr.as_text, item.value.values())) if by_values else str(item.index)
    seen = names()
    seen.update(item=item.value, index=item.index)
    text = key if isinstance(key, str) else expr.as_text(key.evaluate(seen))
    if not text.strip() or not text.isprintable():
        what = f"the key of item {item.index} is {quantity.shown(text)}"
        raise expr.ExpressionError(f"{what}; it must be a name that can be printed")
    if "[" in text or "]" in text:
        what = f"the key of item {item.index}, {quantity.shown(text)}, holds a bracket"
        raise expr.ExpressionError(f"{what}; the ids of nodes are made of them")
    if len(text) > LONGEST_KEY:
        raise expr.ExpressionError(f"the key of item {item.index} is over {LONGEST_KEY} characters long; shorten it")
    return text


def _too_many(count: int) -> str:
    return f"for_each: {count:,} items, and at most {MOST:,} are possible; let an item be a batch of them"


def combinations(source: Mapping[str, Any], names: dict[str, object]) -> Iterator[dict[str, Any]]:
    """The mappings of a matrix, in order: all combinations but the excluded ones, then those that `include` adds.

    A combination is excluded by a mapping whose values it all has. An included mapping that names only some of the
    matrix, with values that combinations have, adds its other names to these; any other is an item of its own.
    """
    matrix = expr.evaluate_value(source["matrix"], names)
    if not isinstance(matrix, Mapping) or not matrix:
        raise expr.ExpressionError(f"for_each.matrix: expected names with lists, got {quantity.shown(matrix)}")
    count = 1
    for name, values in matrix.items():
        if not isinstance(values, (list, tuple)):
            raise expr.ExpressionError(f"for_each.matrix.{name}: expected a list, got {quantity.shown(values)}")
        count *= len(values)
        if count > MOST:
            raise expr.ExpressionError(_too_many(count))
    excluded, included = (_mappings(source, part, names) for part in ("exclude", "include"))
    for one in excluded:
        if strange := [name for name in one if name not in matrix]:
            there = ", ".join(map(str, matrix))
            raise expr.ExpressionError(f'for_each.exclude: the matrix has no "{strange[0]}"; there are {there}')
    whole = [dict(zip(matrix, values, strict=True)) for values in product(*matrix.values())]
    kept = [one for one in whole if not any(_has(one, other) for other in excluded)]
    alone = []
    for more in included:
        shared = {name: value for name, value in more.items() if name in matrix}
        fitting = [one for one in kept if _has(one, shared)] if len(shared) < len(matrix) else []
        for one in fitting:
            one.update(more)
        if not fitting:
            alone.append(dict(more))
    yield from kept
    yield from alone


def _mappings(source: Mapping[str, Any], part: str, names: dict[str, object]) -> list[Mapping[str, Any]]:
    found = expr.evaluate_value(source.get(part) or [], names)
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, Mapping) for one in found):
        raise expr.ExpressionError(f"for_each.{part}: expected a list of mappings, got {quantity.shown(found)}")
    return list(found)


def _has(one: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    return all(name in one and one[name] == value for name, value in part.items())
