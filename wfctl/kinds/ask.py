"""The kind `ask`: a question to a person, which waits without slot or resource.

Knows neither who is asked nor how: it makes the question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wfctl import expr, quantity
from wfctl.errors import Problem, Where
from wfctl.fields import Body, FieldsKind
from wfctl.jobs import Result, Tools
from wfctl.node import Node
from wfctl.record import dataclass

CHOICES = ("approve", "reject")
"""What can be answered where the file does not say."""

REJECT = "reject"
"""The answer that fails the node."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, what can be answered, and how many seconds there are for that; None for no limit."""

    message: str
    choices: tuple[str, ...]
    timeout: float | None


class Ask(FieldsKind):
    """`ask: {message, choices, timeout}`. No executor performs it: the engine waits for an answer."""

    name = "ask"
    slotless = True

    def check(self, fields: Mapping[str, Any], where: Where) -> Iterator[Problem]:
        """What is wrong with choices and timeout that are plain."""
        for key, read in (("choices", _choices), ("timeout", quantity.seconds)):
            value = fields.get(key)
            if value is not None and not any(expr.templates_of(value)):
                try:
                    read(value)
                except ValueError as error:
                    yield Problem((*where, key), str(error))

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        """It cannot be performed: nobody is there to be asked."""
        return Result(reason="not_started", error="a question can only be asked by a run")


def question(node: Node, names: Mapping[str, object]) -> Question:
    """The question of a node. Raises ExpressionError where it cannot be made."""
    assert isinstance(node.body, Body)
    said = node.body.fields["ask"]
    assert isinstance(said, Mapping)
    fields = {key: expr.evaluate_value(value, names) for key, value in said.items()}
    try:
        timeout = fields.get("timeout")
        return Question(
            message=expr.as_text(fields["message"]),
            choices=_choices(fields.get("choices", CHOICES)),
            timeout=None if timeout is None else quantity.seconds(timeout),
        )
    except ValueError as error:
        raise expr.ExpressionError(f"ask: {error}") from None


def _choices(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, (list, tuple)) or not raw:
        raise ValueError(f"choices: expected a list of texts, got {quantity.shown(raw)}")
    texts = tuple(expr.as_text(one) for one in raw)
    for text in texts:
        if not text.strip() or not text.isprintable():
            raise ValueError(f"choices: {quantity.shown(text)} is nothing that can be typed")
    if len({text.casefold() for text in texts}) < len(texts):
        raise ValueError("choices: two of them are the same")
    return texts
