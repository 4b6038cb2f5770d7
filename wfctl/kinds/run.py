"""The kind `run`: a script for a shell, or an argv, as a local subprocess.

Knows nothing of when it runs or what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from wfctl import expr, values
from wfctl.errors import Problem, Where
from wfctl.jobs import Job, Place
from wfctl.node import Node
from wfctl.record import dataclass
from wfctl.script import SHELLS, VARIABLE_PREFIX, Script, ScriptFaults, parse_script, value_text

LONGEST_ARGUMENT = 120_000
"""Bytes of a script that still go on the command line; Linux takes 128 KiB for one argument."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a node runs: a script or an argv, never both."""

    script: Script | None = None
    argv: tuple[object, ...] = ()


class Run:
    """`run: text` and `run: [argv, …]`."""

    keys = ("shell", "args", "stdin", "stdout")
    secrets: frozenset[str] = frozenset()
    slotless = False

    def parse(self, raw: Mapping[str, Any], where: Where, shell: str | None) -> tuple[object, list[Problem]]:
        """The command, and what is wrong with its expressions and where they stand."""
        value, where = raw["run"], (*where, "run")
        if isinstance(value, str):
            try:
                return Command(script=parse_script(value, shell)), []
            except (ScriptFaults, expr.ExpressionSyntax) as error:
                return Command(), [Problem(where, s.message, s.hint, offset=s.offset) for s in error.slips]
        if isinstance(value, list):
            try:
                parts = expr.parse_value(value)
            except expr.ExpressionSyntax as error:
                return Command(), [Problem((*where, *s.where), s.message, s.hint, offset=s.offset) for s in error.slips]
            return Command(argv=tuple(parts)), []  # type: ignore[arg-type]
        return Command(), []  # the schema has told of it

    def expressions(self, body: object, where: Where) -> Iterator[tuple[Where, expr.Template | expr.Expression]]:
        """Every expression of a command, with its place."""
        assert isinstance(body, Command)
        where = (*where, "run")
        if body.script is not None:
            for expression in body.script.values:
                yield where, expression
        for i, part in enumerate(body.argv):
            if not isinstance(part, str):
                yield from expr.templates_of(part, (*where, i))

    def prepares(self, body: object) -> bool:
        """What a command has done is done."""
        return False

    def restores(self, body: object) -> bool:
        """It knows of no checkpoints."""
        return False

    def paths(self, body: object, key: str) -> tuple[object, ...]:
        """What a command reads and writes shows in the keys of its node alone."""
        return ()

    def prepare(
        self, job: Job, node: object, names: Mapping[str, object], place: Place, vars: Mapping[str, object]
    ) -> Job:
        """The job with its argv, and with the values of its script as variables."""
        assert isinstance(node, Node)
        assert isinstance(node.body, Command)
        hand = values.Hand(place)
        extra = [text for part in values.spread(node.args, names) for text in hand.arguments(part)]
        if node.body.script is None:
            parts = (text for part in node.body.argv for text in hand.arguments(_evaluate(part, names)))
            argv: tuple[str, ...] = (*parts, *extra)
            env: dict[str, str] = {}
        else:
            argv, env = _shell_command(node, job.node, node.body.script, names, hand)
            argv = (*argv, *extra)
        return replace(job, argv=argv, env={**job.env, **env}, files={**job.files, **hand.files})

    def decides(self, node: object, names: Mapping[str, object], vars: Mapping[str, object]) -> dict[str, object]:
        """Its command, filled in, with what stands beside it."""
        assert isinstance(node, Node)
        assert isinstance(node.body, Command)
        said: dict[str, object] = {"stdout": node.stdout}
        script = node.body.script
        if script is None:
            said["run"] = [values.lasting(_evaluate(part, names)) for part in node.body.argv]
        elif script.argv is not None and node.shell is None and not node.args:
            said["run"] = [[p if isinstance(p, str) else _lasting(p, names) for p in word] for word in script.argv]
        else:
            said["run"] = script.text
            said["values"] = [_lasting(expression, names) for expression in script.values]
            said["shell"] = node.shell
        if node.args:
            said["args"] = [values.lasting(part) for part in values.spread(node.args, names)]
        if node.stdin is not None:
            said["stdin"] = values.lasting(expr.evaluate_value(node.stdin, names))
        return said


def _lasting(expression: expr.Expression, names: Mapping[str, object]) -> object:
    return values.lasting(expression.evaluate(names))


def _evaluate(part: object, names: Mapping[str, object]) -> object:
    return part if isinstance(part, str) else expr.evaluate_value(part, names)


def _shell_command(
    node: Node, id: str, script: Script, names: Mapping[str, object], hand: values.Hand
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The argv of a script without its `args`, and the variables that hold the values of its expressions."""
    if script.argv is not None and node.shell is None and not node.args:
        words = []
        for word in script.argv:
            words.append("".join(p if isinstance(p, str) else _word(p, names, hand) for p in word))
        return tuple(words), {}
    env = {f"{VARIABLE_PREFIX}{i}": _word(e, names, hand) for i, e in enumerate(script.values, 1)}
    shell = (node.shell or _default_shell()).split()
    name = os.path.basename(shell[0])
    if name not in SHELLS:
        return (*shell, hand.file(script.text.encode())), env
    if len(shell) == 1:
        shell += ["-eo", "pipefail"] if name == "bash" else ["-e"]
    text = script.text.encode("utf-8", "surrogateescape")
    if len(text) > LONGEST_ARGUMENT:
        return (*shell, hand.file(text)), env
    return (*shell, "-c", script.text, id), env  # $0: the shell's own complaints begin with the node's id


def _word(expression: expr.Expression, names: Mapping[str, object], hand: values.Hand) -> str:
    value = expression.evaluate(names)
    if isinstance(value, expr.FileValue):
        return hand.path_of(value)
    return values.checked(value_text(value), str(expression))


@cache
def _default_shell() -> str:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return "bash" if any(os.access(os.path.join(folder, "bash"), os.X_OK) for folder in folders) else "sh"
