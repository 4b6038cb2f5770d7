"""What expressions can do with plain data: look into it, compute with it, say it as text, within limits.

Knows nothing of how an expression is written, nor where its data comes from."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from wfctl.record import dataclass

MAX_ELEMENTS = 1_000_000  # of one list
MAX_TEXT = 16 * 1024 * 1024  # characters of one text
MAX_DIGITS = 4_000  # of one whole number; Python refuses to print more than 4,300
MAX_DEPTH = 100  # of one value, as in the file
MAX_STEPS = 20_000_000  # of one evaluation, about a second: an element of a list costs 1, four characters cost 1
_MAX_BITS = int(MAX_DIGITS * math.log2(10))


class ExpressionError(Exception):
    """An expression has no value: its text says why, for a person."""


class Missing(ExpressionError):
    """Something looked up is not there: the one error that `default(x, y)` takes for null."""


class Unknown(Exception):
    """The value depends on something that is not known yet."""


class _Unknown:
    """The type of UNKNOWN: whatever looks into it, compares, counts or prints it raises Unknown."""

    def _refuse(self, *_: object) -> NoReturn:
        raise Unknown("a value that is not known yet")

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = __str__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = _refuse
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()
"""Stands among the names, or anywhere inside their data, for what is not known yet: to touch it raises Unknown."""


@dataclass(frozen=True, slots=True)
class FileValue:
    """The value of `file(x)`: who performs the node writes `data` as JSON and puts the file's path in its place."""

    data: object


class Budget:
    """How much work one evaluation may still do."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = MAX_STEPS

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise ExpressionError("too much work for an expression; let a node compute it")

    def spend_on(self, value: object) -> None:
        """Pay for what made the value, or walks over it; refuse one that is too large."""
        if isinstance(value, str):
            _limit_text(len(value))
            self.spend(len(value) >> 2)
        elif isinstance(value, (list, Mapping)):
            _limit_list(len(value))
            self.spend(len(value))


# ---- data and text


def kind_of(value: object) -> str:
    """What a person calls the type of a value: `a list`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, Mapping) else "a file" if isinstance(value, FileValue) else "no plain data"


def look_up(value: object, key: object, path: tuple[str, ...] = ()) -> object:
    """`value[key]` of a mapping, list or text; raises Missing, Unknown. `path` is what the value is called."""
    found: object = UNKNOWN
    try:
        if value is UNKNOWN or key is UNKNOWN:
            raise Unknown(".".join(path))
        if isinstance(value, (dict, Mapping)) and isinstance(key, str):
            found = value[key]
        elif isinstance(value, (list, str)) and type(key) is int:
            found = value[key]
        else:
            raise KeyError
    except (KeyError, IndexError):
        raise Missing(_absence(value, key, ".".join(path))) from None
    if found is UNKNOWN:
        raise Unknown(".".join((*path, str(key))))
    return found


def _absence(value: object, key: object, path: str) -> str:
    wanted = f'"{key}"' if isinstance(key, str) else as_text(key)
    if isinstance(value, (Mapping, list)):
        minus = "; a minus wants blanks around it" if isinstance(key, str) and "-" in key else ""
        return f"{path or kind_of(value)} has no {wanted}{minus}"
    return f"{path} is {kind_of(value)} and has no {wanted}" if path else f"{kind_of(value)} has no {wanted}"


def plain(value: object, budget: Budget, depth: int = 0) -> object:
    """The value as lists, dicts and scalars of its own; raises ExpressionError for anything else in it.

    Parts that appear twice are counted twice, for whoever prints the value walks them twice.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if value is UNKNOWN:
        raise Unknown("a value that is not known yet")
    if depth > MAX_DEPTH:
        raise ExpressionError(f"a value nested more than {MAX_DEPTH} deep")
    if isinstance(value, (list, tuple)):
        budget.spend_on(value)
        return [plain(item, budget, depth + 1) for item in value]
    if isinstance(value, Mapping):
        budget.spend_on(value)
        return {key: plain(value[key], budget, depth + 1) for key in value}
    raise ExpressionError("file(x) must be the whole expression" if isinstance(value, FileValue) else "no plain data")


def as_text(value: object) -> str:
    """How a value reads inside longer text: text as it is, a number as itself, anything else as JSON."""
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    import json

    try:
        return json.dumps(plain(value, Budget()), ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ExpressionError("a number that is not finite, or too large, has no text") from None


# ---- operators


def _limit_text(length: int) -> None:
    if length > MAX_TEXT:
        raise ExpressionError(f"a text of more than {MAX_TEXT >> 20} MiB")


def _limit_list(length: int) -> None:
    if length > MAX_ELEMENTS:
        raise ExpressionError(f"a list of more than {MAX_ELEMENTS:,} elements")


def _number(value: object) -> int | float:
    """The result of arithmetic, if it is a number that can be kept and printed."""
    if isinstance(value, int) and value.bit_length() <= _MAX_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ExpressionError("the result is no real number" if isinstance(value, complex) else "the result is too large")


def _unfit(symbol: str, left: object, right: object) -> ExpressionError:
    if left is UNKNOWN or right is UNKNOWN:
        raise Unknown("a value that is not known yet")
    return ExpressionError(f'"{symbol}" does not go between {kind_of(left)} and {kind_of(right)}')


def _add(left: object, right: object) -> object:
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return _number(left + right)
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(left, list) and isinstance(right, list):
        return left + right
    raise _unfit("+", left, right)


def _multiply(left: object, right: object) -> object:
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return _number(left * right)
    if isinstance(left, int):
        left, right = right, left
    if isinstance(right, int):
        if isinstance(left, str):
            _limit_text(len(left) * right)
            return left * right
        if isinstance(left, list):
            _limit_list(len(left) * right)
            return left * right
    raise _unfit("*", left, right)


def _power(left: object, right: object) -> object:
    if not isinstance(left, (int, float)) or not isinstance(right, (int, float)):
        raise _unfit("**", left, right)
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > 2 * _MAX_BITS and abs(left) > 1:
        raise ExpressionError("the result is too large")  # before anyone computes it
    return _number(left**right)


def _arithmetic(symbol: str, compute: Callable[[Any, Any], object]) -> Callable[[object, object], object]:
    def apply(left: object, right: object) -> object:
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return _number(compute(left, right))
        raise _unfit(symbol, left, right)

    return apply


def _order(symbol: str, compare: Callable[[Any, Any], bool]) -> Callable[[object, object], bool]:
    def apply(left: object, right: object) -> bool:
        for kind in ((int, float), str, list):
            if isinstance(left, kind) and isinstance(right, kind):
                try:
                    return compare(left, right)
                except TypeError:
                    break
        raise _unfit(symbol, left, right)

    return apply


def _contains(left: object, right: object) -> bool:
    if isinstance(right, (list, Mapping)) or (isinstance(right, str) and isinstance(left, str)):
        try:
            return left in right
        except TypeError:  # a list is no key
            return False
    raise _unfit("in", left, right)


ARITHMETIC: Mapping[str, Callable[[object, object], object]] = {
    "+": _add,
    "*": _multiply,
    "**": _power,
    "-": _arithmetic("-", operator.sub),
    "/": _arithmetic("/", operator.truediv),
    "//": _arithmetic("//", operator.floordiv),
    "%": _arithmetic("%", operator.mod),
}
"""Operators that make a value. They raise ExpressionError, ZeroDivisionError and OverflowError."""

COMPARISONS: Mapping[str, Callable[[object, object], bool]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<": _order("<", operator.lt),
    "<=": _order("<=", operator.le),
    ">": _order(">", operator.gt),
    ">=": _order(">=", operator.ge),
    "in": _contains,
    "not in": lambda left, right: not _contains(left, right),
}


def negate(value: object) -> object:
    return ARITHMETIC["-"](0, value)


def cut(value: object, start: object, stop: object, step: object) -> object:
    """`value[start:stop:step]` of a list or text."""
    if step == 0:
        raise ExpressionError("a slice cannot go by steps of 0")
    if isinstance(value, (list, str)):
        return value[slice(_bound(start), _bound(stop), _bound(step))]
    raise ExpressionError(f"{kind_of(value)} has no slices")


def _bound(value: object) -> int | None:
    if value is None or type(value) is int:
        return value
    raise ExpressionError(f"a slice goes by whole numbers, not {kind_of(value)}")


# ---- functions


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ExpressionError(f"text is wanted, not {kind_of(value)}")


def _list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ExpressionError(f"a list is wanted, not {kind_of(value)}")


def _mapping(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return value
    raise ExpressionError(f"a mapping is wanted, not {kind_of(value)}")


def _len(value: object) -> int:
    if isinstance(value, (str, list, Mapping)):
        return len(value)
    raise ExpressionError(f"{kind_of(value)} has no length")


def _range(*bounds: object) -> list[int]:
    whole = [bound for bound in bounds if type(bound) is int]
    if len(whole) != len(bounds):
        raise ExpressionError("whole numbers are wanted")
    if len(whole) == 3 and whole[2] == 0:
        raise ExpressionError("the step cannot be 0")
    numbers = range(*whole)
    # Not len(numbers): that overflows where the range is longer than the machine can count.
    _limit_list((numbers.stop - numbers.start) // numbers.step)
    return list(numbers)


def _extreme(choose: Callable[[Sequence[Any]], object]) -> Callable[..., object]:
    def apply(*values: object) -> object:
        candidates = _list(values[0]) if len(values) == 1 else values
        if not candidates:
            raise ExpressionError("the list is empty")
        return _comparing(choose, candidates)

    return apply


def _comparing(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return call(*arguments, **options)
    except TypeError:
        raise ExpressionError("the elements cannot be compared with each other") from None


def _sorted(values: object, key: object = None) -> list[object]:
    name = None if key is None else _text(key)
    by = None if name is None else (lambda element: look_up(element, name))
    result: list[object] = _comparing(sorted, _list(values), key=by)
    return result


def _sum(values: object) -> object:
    total: object = 0
    for value in _list(values):
        if not isinstance(value, (int, float)):
            raise _unfit("+", total, value)
        total = _add(total, value)
    return total


def _values(value: object) -> list[object]:
    mapping = _mapping(value)
    return [mapping[key] for key in mapping]


def _split(text: object, separator: object = None) -> list[str]:
    if separator == "":
        raise ExpressionError("the separator cannot be empty")
    parts = _text(text).split(None if separator is None else _text(separator), MAX_ELEMENTS)
    _limit_list(len(parts))
    return parts


def _join(values: object, separator: object) -> str:
    parts = []
    for value in _list(values):
        if isinstance(value, (list, Mapping, FileValue)):
            raise ExpressionError(f"{kind_of(value)} cannot be joined; say json(x) for its text")
        parts.append(as_text(value))
    glue = _text(separator)
    _limit_text(sum(map(len, parts)) + len(glue) * len(parts))
    return glue.join(parts)


def _replace(text: object, old: object, new: object) -> str:
    text, old, new = _text(text), _text(old), _text(new)
    _limit_text(len(text) + text.count(old) * max(0, len(new) - len(old)))
    return text.replace(old, new)


def _basename(path: object) -> str:
    return _text(path).rstrip("/").rpartition("/")[2]


def _stem(path: object) -> str:
    """The last name of a path without its last suffix: `a/b.tar.gz` is `b.tar`, `.bashrc` stays."""
    name = _basename(path)
    head = name.rpartition(".")[0]
    return head if head.strip(".") else name


_MICROSECONDS = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3_600 * 10**6, "d": 86_400 * 10**6}


def _date(when: object, shift: object) -> str:
    """An ISO date or date and time moved by a signed duration (`-1d`, `1h30m`), in the form it came in."""
    import re
    from datetime import datetime, timedelta

    time = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)(?:([T ])(\d\d:\d\d)(:\d\d)?(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?)?", _text(when), re.ASCII
    )
    if not time:
        raise ExpressionError(f'"{_text(when)[:40]}" is no date like 2026-01-31 or 2026-01-31T12:00:00Z')
    span = re.fullmatch(r"([+-]?)((?:\d{1,9}(?:ms|[smhd]))+)", _text(shift).replace(" ", ""), re.ASCII)
    if not span:
        raise ExpressionError(f'"{_text(shift)[:40]}" is no duration like "-1d" or "1h30m"')
    moved = sum(int(n) * _MICROSECONDS[unit] for n, unit in re.findall(r"(\d+)(ms|[smhd])", span[2]))
    day, separator, clock, seconds, fraction, zone = time.groups()
    if not separator and moved % _MICROSECONDS["d"]:
        raise ExpressionError(f'a date moves by whole days, not by "{shift}"')
    try:
        # The zone is carried along as text: moving by a duration does not change it.
        start = datetime.fromisoformat(f"{day}T{clock or '00:00'}{seconds or ':00'}{(fraction or '.')[:7]:0<7}")
        end = start + timedelta(microseconds=-moved if span[1] == "-" else moved)
    except (ValueError, OverflowError):
        raise ExpressionError(f'there is no date "{when}" moved by "{shift}"') from None
    if not separator:
        return end.date().isoformat()
    digits = len(fraction or "") or (7 if end.microsecond else 0)
    form = "minutes" if not seconds and not digits and not end.second else "seconds"
    shown = end.isoformat(separator, form) + (f".{end.microsecond:06}"[:digits] if digits else "")
    return shown + (zone or "")


@dataclass(frozen=True, slots=True)
class Function:
    """One function: it takes `least` to `most` arguments; `walks` says that its cost grows with their size."""

    call: Callable[..., object]
    least: int = 1
    most: int = 1
    walks: bool = True


def _first_known(first: object, second: object) -> object:
    return second if first is None else first


FUNCTIONS: Mapping[str, Function] = {
    "len": Function(_len, walks=False),
    "range": Function(_range, 1, 3),
    "min": Function(_extreme(min), 1, 100),
    "max": Function(_extreme(max), 1, 100),
    "sum": Function(_sum),
    "sorted": Function(_sorted, 1, 2),
    "keys": Function(lambda value: list(_mapping(value))),
    "values": Function(_values),
    "default": Function(_first_known, 2, 2, walks=False),  # the evaluator asks for the second only where it is needed
    "json": Function(_json),
    "file": Function(FileValue),
    "lower": Function(lambda text: _text(text).lower()),
    "upper": Function(lambda text: _text(text).upper()),
    "split": Function(_split, 1, 2),
    "join": Function(_join, 2, 2),
    "replace": Function(_replace, 3, 3),
    "startswith": Function(lambda text, start: _text(text).startswith(_text(start)), 2, 2, walks=False),
    "endswith": Function(lambda text, end: _text(text).endswith(_text(end)), 2, 2, walks=False),
    "basename": Function(_basename),
    "stem": Function(_stem),
    "date": Function(_date, 2, 2),
}
"""All there are. Each raises ExpressionError for arguments it cannot take."""
