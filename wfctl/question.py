"""What a node asks a person: the message, what can be answered, how much time there is.

Knows neither who is asked nor how."""

from __future__ import annotations

from collections.abc import Mapping

from wfctl import expr, quantity
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


def question(said: Mapping[str, object], names: Mapping[str, object]) -> Question:
    """The question of what a node has `said`. Raises ExpressionError where it cannot be made."""
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
    try:
        return read_choices(raw)
    except ValueError as error:
        raise ValueError(f"choices: {error}") from None


def read_choices(raw: object) -> tuple[str, ...]:
    """What can be answered. ValueError says what is wrong."""
    if not isinstance(raw, (list, tuple)) or not raw:
        raise ValueError(f"expected a list of texts, got {quantity.shown(raw)}")
    texts = tuple(expr.as_text(one) for one in raw)
    for text in texts:
        if not text.strip() or not text.isprintable():
            raise ValueError(f"{quantity.shown(text)} is nothing that can be typed")
    if len({text.casefold() for text in texts}) < len(texts):
        raise ValueError("two of them are the same")
    return texts
