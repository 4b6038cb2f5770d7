"""The kind `ask`: a question to a person, which waits without slot or resource.

Knows neither who is asked nor how: it makes the question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wfctl import expr, quantity
from wfctl.errors import Problem, Where
from wfctl.fields import FieldsKind
from wfctl.jobs import Result, Tools
from wfctl.question import read_choices


class Ask(FieldsKind):
    """`ask: {message, choices, timeout}`. No executor performs it: the engine waits for an answer."""

    name = "ask"
    slotless = True

    def check(self, fields: Mapping[str, Any], where: Where) -> Iterator[Problem]:
        """What is wrong with choices and timeout that are plain."""
        for key, read in (("choices", read_choices), ("timeout", quantity.seconds)):
            value = fields.get(key)
            if value is not None and not any(expr.templates_of(value)):
                try:
                    read(value)
                except ValueError as error:
                    yield Problem((*where, key), str(error))

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        """It cannot be performed: nobody is there to be asked."""
        return Result(reason="not_started", error="a question can only be asked by a run")
