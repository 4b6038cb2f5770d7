"""One node as it was written: its keys, each read by its own reader into a frozen record.

Knows nothing of the other nodes and of their kinds: what a name means it asks the reader of the whole file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from wfctl import expr, quantity
from wfctl.errors import Where
from wfctl.record import dataclass
from wfctl.score import LEVELS, USER_LEVELS, read_value

if TYPE_CHECKING:
    from wfctl.collect import Collect
    from wfctl.compensation import Step
    from wfctl.level import Level
    from wfctl.spec import Workflow

AFTER_WORK: Mapping[str, None] = dict.fromkeys(("output", "exit_code", "error", "attempt"))

AT_END = ("state", "failed", "failed_nodes", "rollback")
"""What `run` says beside `id` and `started`, when all nodes but those of `finally` have ended."""

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
class Each:
    """Many of one node: `item` is what each of them is, with the expressions that see an item."""

    items: Value
    item: Node
    key: expr.Template | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """What a group holds. The names of a sub-workflow are those of its own file, and `params` is what it is given."""

    nodes: Mapping[str, Node]
    outputs: Mapping[str, Value] = field(default_factory=dict)
    workflow: Workflow | None = None
    params: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One unit of work, or what holds several: then it has an `inner` or an `each`.

    `needs` holds the declared ids and those that its expressions name: of nodes beside it, else further out.
    """

    id: str
    kind: str
    body: object
    where: Where = ()
    """The way to it in its file."""
    file: str = ""
    """The sub-workflow that it is written in; empty for the file itself."""
    inner: Inner | None = None
    last: bool = False
    """It belongs to the `finally` of a sub-workflow: it runs when all others in there have ended, however."""
    each: Each | None = None
    max_parallel: int | None = None
    collect: Collect | None = None
    outside: frozenset[str] = frozenset()
    """What the nodes inside of it name that is not inside."""
    far: tuple[str, ...] = ()
    """Nodes of the whole file that it needs by way of vars."""
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
    idempotency: Value = None
    """An `Idempotency`, or the value with expressions that becomes one; None where no result is kept."""
    checkpoint: Value = None
    """The globs that a checkpoint after it saves, or the value with expressions that tells them; None for none."""
    compensate: tuple[Step, ...] | None = field(default=None, compare=False)
    """The steps that undo it, in order; empty where it says that it needs none, None where it says nothing. This and
    the next two say nothing of the work itself, and so do not make a node another one."""
    compensate_when: str = field(default="completed", compare=False)
    """`completed`, or `attempted`: then a failed attempt is undone as well."""
    pivot: bool = field(default=False, compare=False)
    """Point of no return: once it has succeeded, it and all that it depends on stay."""
    detach: bool = False
    prepares: bool = False
    """It leaves a prepared transaction, which the end of the run decides."""
    slotless: bool = False
    """It holds no slot while it runs: it waits for others."""
    default_env: frozenset[str] = field(default=frozenset(), compare=False)
    """Of `env` what the defaults of the file say."""
    deferred: Mapping[str, Value] = field(default_factory=dict)
    """Keys that the planner needs and that hold expressions: read once params are known."""
    dynamic: bool = False
    """Whether any value of the work itself holds an expression."""

    def at(self, *path: str | int) -> Where:
        """Where a value of it is written."""
        return (*self.where, *path)


class NodeReader:
    """Reads the keys of one node, but its kind and needs. `known` are the names that expressions see there."""

    def __init__(
        self, level: Level, where: Where, raw: Mapping[str, Any], known: Mapping[str, Any], own: Collection[str]
    ) -> None:
        self.level = level
        self.builder = level.builder
        self.where = where
        self.own = own
        self.raw = raw
        self.known = known
        self.before = known  # what is seen of it by what a plan is made of
        self.named: set[str] = set()
        self.far: set[str] = set()
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

    def fields(self, keys: Collection[str]) -> dict[str, Any]:
        """The arguments for `Node` that these keys give; what the raw mapping does not say keeps its default."""
        fields: dict[str, Any] = {}
        for key in self.raw.keys() & keys & _READERS.keys():
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
        self.note(template.references)
        self.builder.check_template(template, where, known, secrets=self.may_hold_secrets)

    def note(self, references: Iterable[expr.Reference]) -> None:
        """Take the nodes that are named for needs."""
        named, far = self.level.named(references)
        self.named |= named
        self.far |= far

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

    def keeping(self, key: str) -> Value:
        """What is kept of the node: its meaning where that is plain, else the value that an attempt fills in."""
        from wfctl import keys

        value, where = self.value(key), self.at(key)
        read = {"idempotency": keys.read_idempotency, "checkpoint": keys.read_checkpoint}[key]
        if value is self.raw[key]:
            return self.builder.attempt(lambda: read(value), where, None)
        if isinstance(value, dict):  # what is plain in it can be wrong already
            plain = {name: part for name, part in value.items() if part is self.raw[key][name]}
            self.builder.attempt(lambda: read(plain), where, None)
        return value

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
        later: dict[str, Any] = {}  # parts that are asked of each attempt
        if isinstance(raw, dict) and key in _ASKED_LATER:
            for part in [part for part in _ASKED_LATER[key] if raw.get(part) is not None]:
                later[part] = self.asked_later(part, raw[part], (*where, part))
            raw = {k: v for k, v in raw.items() if k not in _ASKED_LATER[key]}
        later = {part: value for part, value in later.items() if value is not None}
        value = self.builder.compile(raw, where)
        for place, template in expr.templates_of(value, where):
            self.builder.check_template(template, place, {**self.before, "run": self.builder.at_start["run"]})
            if any(self.level.named(template.references)):
                what = "is needed before anything runs and cannot name nodes"
                self.builder.fault(place, what, "use params, env, or vars without nodes")
        if value is not raw:
            self.deferred[key] = value
            return replace(PLANNED[key]({}), **later) if later else None
        result = self.read(key, raw, where)
        return replace(result, **later) if later and result is not None else result

    def asked_later(self, part: str, raw: object, where: Where) -> expr.Template | bool | None:
        """A condition or a score, which sees what the work has left."""
        known = {**self.with_paths, **AFTER_WORK}
        if part != "score":
            return self.boolean(raw, where, known)
        value = self.builder.compile(raw, where)
        if isinstance(value, expr.Template) and value.whole:
            self.check(value, where, known)
            return value
        if isinstance(raw, str) and "${{" not in raw:
            self.builder.fault(where, "must be one whole expression", 'write it as "${{ … }}"')
        return None

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


def read_collect(raw: object) -> Any:
    """As `collect` has it, which is not worth its import where no node says `for_each`."""
    from wfctl import collect

    return collect.read_collect(raw)


def _count(raw: object) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 1:
        raise ValueError(f"expected a whole number from 1 up, got {quantity.shown(raw)}")
    return raw


PLANNED: Mapping[str, Callable[[Any], Any]] = {
    "collect": read_collect,
    "max_parallel": _count,
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
    "compensate_when": one_of("completed", "attempted"),
    "pivot": _boolean,
}
"""Keys of a node that must be known before anything runs, each with its reader."""

_ASKED_LATER: Mapping[str, tuple[str, ...]] = {"retry": ("when",), "collect": ("until", "score")}
"""Parts of these that are asked when there is something to ask of."""

OF_EACH = frozenset(("description", "trigger", "when", "continue_on_error", "collect", "max_parallel"))
"""Keys that a `for_each` node has for itself. All others are those of its items; `collect` sees what an item leaves."""

EACH_ALONE = frozenset({"collect", "max_parallel"})
"""Keys that go with `for_each` alone."""

STANDING = frozenset(("priority", "deadline", "business_value", "user_level", "group"))
"""Keys that say how much a node matters."""

OF_GROUP = (OF_EACH | STANDING) - EACH_ALONE
"""Keys that a group has for itself. All others stand in its nodes."""

ITEM: Mapping[str, None] = dict.fromkeys(("item", "index", "key"))
"""What the nodes of a `for_each` see of their item."""

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
    "idempotency": NodeReader.keeping,
    "checkpoint": NodeReader.keeping,
    "when": NodeReader.condition,
    "expect": NodeReader.condition,
    **dict.fromkeys(PLANNED, NodeReader.planned),
}

KEYS = frozenset((*_READERS, "compensate"))
"""All keys that are read of a node: its steps by `compensation`, once all others are known."""
