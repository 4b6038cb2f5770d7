"""A kind performed by itself: from what a workflow file says of it to its result, without engine and executor.

Knows no kind. Secrets are filled in as whoever performs a task does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wfctl import expr, tasks, values
from wfctl.errors import Problem
from wfctl.fields import FieldsKind
from wfctl.jobs import Job, Place, PythonKind, Result
from wfctl.node import Node

PLACE = Place(log="log", stdout="out", output="output", stdin="stdin", values="value-")


@dataclass
class Kept:
    """Tools that keep what they are told."""

    root: str
    folder: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    attempt: int = 1
    run: str = "r"
    node: str = "a"
    key: str = "r/a"
    unsure: bool = False
    lines: list[str] = field(default_factory=list)
    stop: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.folder = self.folder or self.root

    def log(self, text: str) -> None:
        self.lines.append(text)

    def when_stopped(self, stop: Callable[[], None]) -> None:
        self.stop = stop


def faults(kind: FieldsKind, raw: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a node of that kind before it runs."""
    return kind.parse(raw, ("nodes", "a"), None)[1]


def prepared(kind: FieldsKind, raw: Mapping[str, Any], vars: Mapping[str, Any], **names: Any) -> Job:
    """The job of a node; its expressions see these names."""
    body, problems = kind.parse(raw, ("nodes", "a"), None)
    assert not problems, problems
    parsed = {name: expr.parse_value(value) for name, value in vars.items()}
    job = Job(id="r/a/1", node="a", attempt=1, env={})
    return kind.prepare(job, Node(id="a", kind=kind.name, body=body), {**names, "vars": vars}, PLACE, parsed)


def perform(
    kind: FieldsKind,
    raw: Mapping[str, Any],
    tools: Kept,
    secrets: Mapping[str, str] = {},
    vars: Mapping[str, Any] = {},
    **names: Any,
) -> Result:
    """What becomes of it. Secrets are in no job: `secrets` are their values."""
    job = prepared(kind, raw, vars, **names)
    assert job.task is not None
    assert not [name for name, value in secrets.items() if value in repr(job)], "a secret is in the job"
    fields = tasks.filled_in(job.task.fields, job.task.filled, lambda name: values.unseal(job.sealed[name], secrets))
    worker: PythonKind = kind  # type: ignore[assignment]
    return tasks.performed(worker, fields, tools)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))
