"""What became of a task, and which values may be its output.

Knows no kind. Imports next to nothing, for every process that performs a task waits for it."""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from typing import Any

LARGEST = 16 * 1024 * 1024
"""Bytes of one output; a larger one fails its node."""

DEEPEST = 100
"""How deep lists and mappings of an output may lie in each other, as in a workflow file."""

LONGEST_ERROR = 2_000
"""Characters of an error that is recorded."""

TOO_LARGE = "the output has more than 16 MiB as JSON; write a file and name it in writes"

_DIGITS = 4_000  # of a whole number: Python itself reads no more than 4,300


class Result:
    """What became of a task. It failed where `reason` is not empty: a fixed word, such as `status`; `error` says why.

    With the reason `not_started` the work was never begun, and there is no other attempt; `output` says that what it
    did may be good, but what it leaves cannot be taken. `retry_after` is how many seconds a server wants to be left
    alone. `unknown`: it failed, and may have had its effect all the same: a request was sent, and no answer came.
    `code` is what `exit_code` says in expressions, where that is not 0 for success and 1 for failure.
    """

    __slots__ = ("code", "error", "output", "reason", "retry_after", "unknown")  # dataclasses take 10 ms to import

    def __init__(
        self,
        *,
        output: Any = None,
        reason: str = "",
        error: str = "",
        retry_after: float | None = None,
        unknown: bool = False,
        code: int | None = None,
    ) -> None:
        self.output = output
        self.reason = reason
        self.error = error
        self.retry_after = retry_after
        self.unknown = unknown
        self.code = code

    def told(self) -> dict[str, Any]:
        """Its fields by name."""
        return {name: getattr(self, name) for name in ("output", "reason", "error", "retry_after", "unknown", "code")}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and self.told() == other.told()

    def __hash__(self) -> int:
        return hash((self.reason, self.error))

    def __repr__(self) -> str:
        return f"Result({', '.join(f'{name}={value!r}' for name, value in self.told().items())})"


def file_of(output: str) -> str:
    """Where a task leaves its result; `output` is the place for what a command leaves as its output."""
    return f"{output}.result"


def draft_of(file: str) -> str:
    """What a result is called while it is written."""
    return f"{file}.draft"


def brief(text: str, longest: int = LONGEST_ERROR) -> str:
    """The text, without what is more than that many characters."""
    return text if len(text) <= longest else f"{text[: longest - 2]} …"


class NoOutput(ValueError):
    """A value that cannot be an output; its text says which part of it, and the way out."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.inside: list[str] = []  # the way to the part, its end first

    def __str__(self) -> str:
        way = "".join(reversed(self.inside)) if len(self.inside) < DEEPEST else ""  # too deep: there is no end of it
        return f"output{brief(way, 200)} {self.args[0]}"


def plain(value: object, left: int = DEEPEST) -> Any:
    """The value as plain JSON data: tuples become lists, subclasses what they are made of. Raises NoOutput."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if isinstance(value, str):
        return value if kind is str else str.__str__(value)
    if isinstance(value, int):
        if -_SAFE < value < _SAFE:
            return value if kind is int else int(value)
        raise NoOutput(f"is a whole number of over {_DIGITS:,} digits; make it text: hex(x)")
    if isinstance(value, float):
        if value - value == 0:  # neither infinite nor none
            return value if kind is float else float(value)
        raise NoOutput(f"is {float(value)}, which JSON has not; put None in its place")
    if not isinstance(value, (dict, list, tuple)):
        raise NoOutput(f"is {called(value)}, which is no JSON; {_way_out(value)}")
    if not left:
        raise NoOutput(f"is nested over {DEEPEST} deep; leave less of it, or write a file and name it in writes")
    if isinstance(value, dict):
        return _mapping(value, left - 1)
    made = []
    for place, inner in enumerate(value):
        try:
            made.append(plain(inner, left - 1))
        except NoOutput as error:
            error.inside.append(f"[{place}]")
            raise
    return made


def _mapping(value: dict[Any, Any], left: int) -> dict[str, Any]:
    made = {}
    for key, inner in value.items():
        if not isinstance(key, str):
            raise NoOutput(f"has the key {brief(repr(key), 60)}, {called(key)}, and keys are text: str(key)")
        try:
            made[key if type(key) is str else str.__str__(key)] = plain(inner, left)
        except NoOutput as error:
            error.inside.append(f".{brief(key, 60)}")
            raise
    return made


_SAFE = 10**_DIGITS


def called(value: object) -> str:
    """What a value is, in words: `a set`, `a datetime.date`."""
    name = type(value).__qualname__
    module = type(value).__module__
    name = name if module in ("builtins", "__main__") else f"{module.partition('.')[0]}.{name}"
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


_WAYS = (
    # what such a value has, and how it becomes data
    ("isoformat", "make it data: x.isoformat()"),
    ("__fspath__", "make it data: str(x)"),
    ("decode", "make it data: x.decode(), or write a file and name it in writes"),
    ("to_dict", "make it data: x.to_dict()"),
    ("tolist", "make it data: x.tolist()"),
    ("model_dump", "make it data: x.model_dump()"),
    ("__dataclass_fields__", "make it data: dataclasses.asdict(x)"),
    ("as_integer_ratio", "make it data: str(x) or float(x)"),
    ("__await__", "await it"),
    ("__aiter__", "make it a list: [part async for part in x]"),
    ("__iter__", "make it a list: list(x)"),
)


def _way_out(value: object) -> str:
    for name, way in _WAYS:
        if hasattr(type(value), name):
            return way
    return "make it text, numbers, lists and mappings"
