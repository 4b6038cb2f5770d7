"""The body of a kind that is Python code: fields that hold expressions, and the task that they become.

Knows no kind, and performs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

# Who performs a task imports this with its kind, and waits for it: rooms of the engine are opened in functions.
TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from typing import Any

    from wfctl import expr
    from wfctl.errors import Problem, Where
    from wfctl.jobs import Job, Place
    from wfctl.node import Node


class Body:
    """What a node says of its kind, by key of the node: the kind's own value first, then those that stand beside it."""

    __slots__ = ("fields",)

    def __init__(self, fields: Mapping[str, object]) -> None:
        self.fields = fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Body) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(tuple(self.fields))

    def __repr__(self) -> str:
        return f"Body({self.fields!r})"


class FieldsKind:
    """What kinds of that sort have in common. A subclass has the `name`, `perform`, and what it wants to check.

    A kind whose value is a mapping gets that as `fields`; another one gets `{name: value}`. The keys beside it are
    added.
    """

    name: str = ""
    keys: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()
    slotless = False
    in_place = False

    def parse(self, raw: Mapping[str, Any], where: Where, shell: str | None) -> tuple[object, list[Problem]]:
        """The fields with their texts parsed, and what is wrong with them."""
        from wfctl import expr
        from wfctl.errors import Problem

        said = {key: raw[key] for key in (self.name, *self.keys) if raw.get(key) is not None}
        try:
            fields = expr.parse_value(said)
        except expr.ExpressionSyntax as error:
            return Body({}), [Problem((*where, *s.where), s.message, s.hint, offset=s.offset) for s in error.slips]
        assert isinstance(fields, Mapping)
        return Body(fields), list(self.check(self.flat(fields), (*where, self.name)))

    def check(self, fields: Mapping[str, Any], where: Where) -> Iterator[Problem]:
        """What is wrong with fields before the run; those that hold expressions are templates. `where` leads to the
        kind's own value."""
        yield from ()

    def expressions(self, body: object, where: Where) -> Iterator[tuple[Where, expr.Template]]:
        """Every template, with its place."""
        from wfctl import expr

        assert isinstance(body, Body)
        return expr.templates_of(body.fields, where)

    def prepares(self, body: object) -> bool:
        """Whether it leaves a prepared transaction."""
        return False

    def restores(self, body: object) -> bool:
        """Whether it puts back what checkpoints have saved."""
        return False

    def paths(self, body: object, key: str) -> tuple[object, ...]:
        """What it reads or writes by its own words."""
        return ()

    def prepare(
        self, job: Job, node: object, names: Mapping[str, object], place: Place, vars: Mapping[str, object]
    ) -> Job:
        """The job with its task. Secrets stay names."""
        from dataclasses import replace

        from wfctl import expr, values
        from wfctl.jobs import Task
        from wfctl.node import Node
        from wfctl.result import file_of

        assert isinstance(node, Node)
        assert isinstance(node.body, Body)
        sealed = dict(job.sealed)
        filled: dict[str, Where] = {}

        def value(part: expr.Template, where: tuple[str | int, ...]) -> object:
            if where[0] in self.secrets and len(text := values.seal(part, names, vars)) > 1:
                variable = f"WFCTL_FIELD_{len(filled) + 1}"
                sealed[variable], filled[variable] = text, where
                return None
            found = part.evaluate(names)
            return hand.path_of(found) if isinstance(found, expr.FileValue) else found

        hand = values.Hand(place)
        fields = {key: _filled(part, (key,), value) for key, part in self.flat(node.body.fields).items()}
        task = Task(
            kind=self.name,
            fields=self.settled(fields, node),
            filled=filled,
            file=f"{place.values}task.json",
            result=file_of(place.output),
            key=job.key,
        )
        return replace(job, task=task, sealed=sealed, files={**job.files, **hand.files})

    def decides(self, node: object, names: Mapping[str, object], vars: Mapping[str, object]) -> dict[str, object]:
        """What it says that decides its result, filled in. Of a secret that is its name."""
        from wfctl import values
        from wfctl.node import Node

        def value(part: expr.Template, where: tuple[str | int, ...]) -> object:
            if where[0] in self.secrets and len(text := values.seal(part, names, vars)) > 1:
                return {"sealed": list(text)}
            return values.lasting(part.evaluate(names))

        assert isinstance(node, Node)
        assert isinstance(node.body, Body)
        return {key: _filled(part, (key,), value) for key, part in self.flat(node.body.fields).items()}

    def settled(self, fields: dict[str, Any], node: Node) -> dict[str, Any]:
        """The fields as `perform` wants them. Raises ExpressionError for what expressions have made of them."""
        return fields

    def flat(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the kind and the keys beside it, in one mapping."""
        own = fields.get(self.name)
        if not isinstance(own, Mapping):
            return dict(fields)
        return {**own, **{key: fields[key] for key in self.keys if key in fields}}


def _filled(part: object, where: Where, value: Callable[[expr.Template, Where], object]) -> object:
    """The part with the values of its templates, each asked for with its place."""
    from wfctl import expr

    if isinstance(part, expr.Template):
        return value(part, where)
    if isinstance(part, Mapping):
        return {key: _filled(inner, (*where, key), value) for key, inner in part.items()}
    if isinstance(part, Sequence) and not isinstance(part, str):
        return [_filled(inner, (*where, i), value) for i, inner in enumerate(part)]
    return part
