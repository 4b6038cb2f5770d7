"""How a node is undone: steps, each done by a kind and proved by another; and what a file says of rollbacks.

Knows neither when a node is undone nor in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wfctl import expr, quantity
from wfctl.node import Node, Retry
from wfctl.record import dataclass

if TYPE_CHECKING:
    from wfctl.jobs import Kind

TIMEOUT = 300.0
"""Seconds that a try of a step has, and what proves it, where they do not say."""

STRATEGIES = ("compensate", "full", "partial", "checkpoint", "auto", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of an undo. It is a node of its own, with `env`, `secrets` and `cwd` of the one that it undoes; `verify`
    is what proves that it worked. `said` are the keys of `retry` that it says itself."""

    node: Node
    verify: Node | None = None
    said: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """What a file says of rollbacks. Without a `strategy` it is `compensate` where any node says how it is undone."""

    strategy: str | None = None
    retry: Retry = Retry(attempts=5)
    max_restarts: int = 1


def read_strategy(raw: object) -> str:
    """The name of a strategy. ValueError says what is wrong."""
    if not isinstance(raw, str) or raw not in STRATEGIES:
        near = expr.closest(raw, STRATEGIES) if isinstance(raw, str) else ""
        hint = f"; {near}" if near else f"; there are {', '.join(STRATEGIES)}"
        raise ValueError(f"no strategy named {quantity.shown(raw)}{hint}")
    return raw


def read_restarts(raw: object) -> int:
    """How often a run goes back at most. ValueError says what is wrong."""
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        raise ValueError(f"expected a whole number from 0 up, got {quantity.shown(raw)}")
    return raw


def retry_of(step: Step, rollback: Rollback) -> Retry:
    """When another try follows one that failed: as the step says, else the file."""
    return replace(rollback.retry, **{key: getattr(step.node.retry, key) for key in step.said})


def references(steps: Iterable[Step], kinds: Callable[[str], Kind | None]) -> set[tuple[str, ...]]:
    """Every path that the steps name."""
    return {reference.path for step in steps for one in (step.node, step.verify) for reference in _named(one, kinds)}


def _named(node: Node | None, kinds: Callable[[str], Kind | None]) -> Iterator[expr.Reference]:
    if node is None:
        return
    said: Mapping[str, Any] = {key: getattr(node, key) for key in ("args", "stdin", "timeout", "expect")}
    yield from expr.references_of(said)
    kind = kinds(node.kind)
    for _, template in kind.expressions(node.body, ()) if kind is not None else ():
        yield from template.references
