"""One node as it was written: its keys, each read by its own reader into a frozen record.

Knows nothing of the other nodes and of their kinds: what a name means it asks the reader of the whole file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from wfctl import expr, quantity
from wfctl.errors import Where
from wfctl.record import dataclass
from wfctl.score import LEVELS, USER_LEVELS, read_value

if TYPE_CHECKING:
    from wfctl.spec import Builder

AFTER_WORK: Mapping[str, None] = dict.fromkeys(("output", "exit_code", "error", "attempt"))

Value = object
"""Plain data in which texts with `${{ }}` have become `expr.Template`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed attempt is followed by another. Times in seconds."""

    attempts: int = 1
    delay: float = 1.0
    backoff: float = 2.0
    max_delay: float = 300.0
    jitter: bool = True
    max_time: float | None = None
    when: expr.Template | bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One unit of work. `needs` holds the declared ids and those that its expressions name."""

    id: str
    kind: str
    body: object
    section: str = "nodes"
    description: str = ""
    needs: tuple[str, ...] = ()
    when: expr.Template | bool = True
    trigger: str = "all_succeeded"
    env: Mapping[str, Value] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Those that its process finds in variables of the same name."""
    receives: tuple[str, ...] = ()
    """All that its process is handed, also inside of `env`."""
    sealed: frozenset[str] = frozenset()
    """Of `env` what holds a secret."""
    cwd: Value = None
    shell: str | None = None
    args: Value = ()
    stdin: Value = None
    stdout: str = "none"
    expect: expr.Template | bool | None = None
    timeout: Value = None
    retry: Retry = Retry()
    continue_on_error: bool = False
    priority: str | None = None
    deadline: float | None = None
    """Seconds from the start of the run."""
    business_value: float | None = None
    user_level: str | None = None
    group: str = ""
    estimate: float | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    limit: str = "soft"
    reads: Value = ()
    writes: Value = ()
    detach: bool = False
    default_env: frozenset[str] = field(default=frozenset(), compare=False)
    """Of `env` what the defaults of the file say."""
    deferred: Mapping[str, Value] = field(default_factory=dict)
    """Keys that the planner needs and that hold expressions: read once params are known."""
    dynamic: bool = False
    """Whether any value of the work itself holds an expression."""


class NodeReader:
    """Reads the keys of one node, but its kind and needs."""

    def __init__(
        self, builder: Builder, where: Where, raw: Mapping[str, Any], known: Mapping[str, Any], own: Collection[str]
    ) -> None:
        self.builder = builder
        self.where = where
        self.own = own
        self.raw = raw
        self.known = known
        self.named: set[str] = set()
        self.received: set[str] = set()
        self.dynamic = False
        self.may_hold_secrets = False
        self.deferred: dict[str, Value] = {}

    def at(self, key: str) -> Where:
        """Where the value of a key is written: in the node, else in the defaults."""
        return (*self.where, key) if key in self.own else ("defaults", key)

    @property
    def with_paths(self) -> Mapping[str, Any]:
        raw = self.raw
        paths = {key: self.builder.path_names(raw, key) for key in ("reads", "writes") if key in raw}
        return {**self.known, **paths}

    def fields(self) -> dict[str, Any]:
        """The arguments for `Node` that the raw mapping gives; what it does not say keeps its default."""
        fields: dict[str, Any] = {}
        for key in self.raw.keys() & _READERS.keys():
            if self.raw[key] is None:  # it unsets a default, where there is one
                continue
            value = _READERS[key](self, key)
            if value is not None:
                fields[key] = value
        fields["deferred"] = self.deferred
        if self.builder.secrets:
            held = {k: self.builder.secrets_of(expr.references_of(v)) for k, v in fields.get("env", {}).items()}
            fields["sealed"] = frozenset(k for k, names in held.items() if names)
            self.received = set(fields.get("secrets", ())).union(*held.values())
        return fields

    @property
    def receives(self) -> tuple[str, ...]:
        """The secrets that the work is handed, one way or another, in the order of the file."""
        return tuple(name for name in self.builder.secrets if name in self.received)

    def check_body(self, template: Any, where: Where, secret: Collection[str]) -> None:
        """Check an expression of the kind's own value, of which the fields `secret` may hold secrets."""
        inside = where[len(self.where) :]
        self.may_hold_secrets = len(inside) > 1 and inside[1] in secret
        self.check(template, where, self.with_paths)
        if self.may_hold_secrets:
            self.received |= self.builder.secrets_of(template.references)
        self.may_hold_secrets = False

    def check(self, template: Any, where: Where, known: Mapping[str, Any]) -> None:
        self.dynamic = True
        self.named |= self.builder.nodes_of(template.references)
        self.builder.check_template(template, where, known, secrets=self.may_hold_secrets)

    def plain(self, key: str) -> object:
        return self.raw[key]

    def shell(self, key: str) -> str | None:
        """The words of a shell, parted by blanks. None where there is none."""
        raw = self.raw[key]
        words = raw if isinstance(raw, list) else [raw]
        where = self.at(key)
        text = " ".join(word for word in words if isinstance(word, str))
        if "${{" in text:
            what = "cannot be an expression: how a script is read depends on the shell"
            self.builder.fault(where, what, "write its name")
        elif isinstance(raw, list) and any(isinstance(word, str) and len(word.split()) != 1 for word in words):
            self.builder.fault(where, "an element is empty or holds blanks", "write a wrapper script and name that")
        elif raw is not None and not text.strip():
            self.builder.fault(where, "names no shell", "write one such as bash, or leave it out")
        else:
            return text or None
        return None

    def value(self, key: str) -> Value:
        """A value that is made when the attempt starts."""
        return self.compiled(key, self.with_paths if "reads" in self.raw or "writes" in self.raw else self.known)

    def environment(self, key: str) -> Value:
        raw = self.raw[key]
        if not isinstance(raw, dict):
            return None  # the schema has told of it
        self.may_hold_secrets = True
        value = self.value(key)
        self.may_hold_secrets = False
        assert isinstance(value, dict)
        return {k: v for k, v in value.items() if v is not None}

    def path(self, key: str) -> Value:
        return self.compiled(key, self.known)

    def compiled(self, key: str, known: Mapping[str, Any]) -> Value:
        where = self.at(key)
        value = self.builder.compile(self.raw[key], where)
        if value is not self.raw[key]:
            for place, template in expr.templates_of(value, where):
                self.check(template, place, known)
        return value

    def secrets(self, key: str) -> tuple[str, ...]:
        """The declared ones among the listed names."""
        listed, where = self.raw[key], self.at(key)
        names = {i: n for i, n in enumerate(listed if isinstance(listed, list) else ()) if isinstance(n, str)}
        env = self.raw.get("env")
        for i, name in names.items():
            if name not in self.builder.secrets:
                hint = expr.closest(name, self.builder.secrets) or f"declare it at the top: secrets: [{name}]"
                self.builder.fault((*where, i), f'no secret named "{name}"', hint)
            elif isinstance(env, dict) and env.get(name) is not None:
                self.builder.fault((*where, i), f'"{name}" stands in env as well', "take one of them out")
        return tuple(name for name in names.values() if name in self.builder.secrets)

    def duration(self, key: str) -> Value:
        value = self.value(key)
        if value is not self.raw[key]:
            return value
        return self.builder.attempt(lambda: quantity.seconds(value), self.at(key), None)

    def condition(self, key: str) -> expr.Template | bool | None:
        known = self.known if key == "when" else {**self.with_paths, **AFTER_WORK}
        return self.boolean(self.raw[key], self.at(key), known)

    def boolean(self, raw: object, where: Where, known: Mapping[str, Any]) -> expr.Template | bool | None:
        """One whole expression, or a plain boolean."""
        if isinstance(raw, bool):
            return raw
        faults = len(self.builder.problems)
        value = self.builder.compile(raw, where)
        if isinstance(value, expr.Template) and value.whole:
            self.check(value, where, known)
            return value
        if len(self.builder.problems) == faults and isinstance(raw, str):
            self.builder.fault(where, "must be one whole expression", 'write it as "${{ … }}"')
        return None

    def planned(self, key: str) -> object:
        """A value that the planner needs: now where it is plain, else once params are known."""
        raw, where = self.raw[key], self.at(key)
        when: expr.Template | bool | None = None
        if key == "retry" and isinstance(raw, dict) and "when" in raw:
            when = self.boolean(raw["when"], (*where, "when"), {**self.with_paths, **AFTER_WORK})
            raw = {k: v for k, v in raw.items() if k != "when"}
        value = self.builder.compile(raw, where)
        for place, template in expr.templates_of(value, where):
            self.builder.check_template(template, place, self.known)
            if self.builder.nodes_of(template.references):
                what = "is needed before anything runs and cannot name nodes"
                self.builder.fault(place, what, "use params, env, or vars without nodes")
        if value is not raw:
            self.deferred[key] = value
            return Retry(when=when) if when is not None else None
        result = self.read(key, raw, where)
        return replace(result, when=when) if when is not None and result is not None else result

    def read(self, key: str, raw: object, where: Where) -> Any:
        """A plain value of a planned key; None where it is wrong, told at each entry that is."""
        try:
            return PLANNED[key](raw)
        except ValueError as error:
            entries = raw.items() if isinstance(raw, dict) else ()
            wrong = [name for name, value in entries if not self.right(key, {name: value}, (*where, name))]
            if not wrong:
                self.builder.fault(where, str(error))
        return None

    def right(self, key: str, entry: object, where: Where) -> bool:
        try:
            PLANNED[key](entry)
        except ValueError as error:
            self.builder.fault(where, str(error))
            return False
        return True


def read_demand(raw: object) -> dict[str, int]:
    """What a node asks for: amounts that are not 0. ValueError says what is wrong."""
    if not isinstance(raw, dict):
        raise ValueError(f"expected a mapping such as {{cpu: 2}}, got {quantity.shown(raw)}")
    demand = {name: quantity.amount(name, value) for name, value in raw.items() if value is not None}
    return {name: value for name, value in demand.items() if value}


def read_retry(raw: object) -> Retry:
    """A `retry` mapping without its `when`. ValueError says what is wrong."""
    if not isinstance(raw, dict):
        raise ValueError(f"expected a mapping such as {{attempts: 3}}, got {quantity.shown(raw)}")
    times: dict[str, Any] = {
        key: quantity.seconds(raw[key]) for key in ("delay", "max_delay", "max_time") if raw.get(key) is not None
    }
    rest: dict[str, Any] = {key: raw[key] for key in ("attempts", "backoff", "jitter") if raw.get(key) is not None}
    attempts, backoff = rest.get("attempts", 1), rest.get("backoff", 2)
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        raise ValueError(f"attempts is a whole number from 1 up, got {quantity.shown(attempts)}")
    if not isinstance(backoff, (int, float)) or isinstance(backoff, bool) or not 1 <= backoff <= 1e9:
        raise ValueError(f"backoff is a number from 1 up, got {quantity.shown(backoff)}")
    if not isinstance(rest.get("jitter", True), bool):
        raise ValueError(f"jitter is true or false, got {quantity.shown(rest['jitter'])}")
    return Retry(**rest, **times)


def one_of(*names: str) -> Callable[[object], object]:
    """A reader of one of these words."""

    def read(raw: object) -> object:
        if raw not in names:
            raise ValueError(f"expected one of {', '.join(names)}, got {quantity.shown(raw)}")
        return raw

    return read


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"expected text, got {quantity.shown(raw)}")
    return raw


def _boolean(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"expected true or false, got {quantity.shown(raw)}")
    return raw


PLANNED: Mapping[str, Callable[[Any], Any]] = {
    "resources": read_demand,
    "retry": read_retry,
    "estimate": quantity.seconds,
    "priority": one_of(*LEVELS),
    "deadline": quantity.seconds,
    "business_value": read_value,
    "user_level": one_of(*USER_LEVELS),
    "group": _text,
    "continue_on_error": _boolean,
    "stdout": one_of("none", "text", "lines", "json"),
    "limit": one_of("soft", "hard"),
    "detach": _boolean,
}
"""Keys of a node that must be known before anything runs, each with its reader."""

_READERS: Mapping[str, Callable[[NodeReader, str], Any]] = {
    "description": NodeReader.plain,
    "trigger": NodeReader.plain,
    "shell": NodeReader.shell,
    "env": NodeReader.environment,
    "secrets": NodeReader.secrets,
    "cwd": NodeReader.value,
    "args": NodeReader.value,
    "stdin": NodeReader.value,
    "timeout": NodeReader.duration,
    "reads": NodeReader.path,
    "writes": NodeReader.path,
    "when": NodeReader.condition,
    "expect": NodeReader.condition,
    **dict.fromkeys(PLANNED, NodeReader.planned),
}
