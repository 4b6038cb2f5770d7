"""Workflows of any size for the benchmarks.

Knows nothing of how they are run, nor of other programs."""

from __future__ import annotations

from collections.abc import Iterable

Shape = list[tuple[str, tuple[str, ...]]]
"""Each node's id and what it needs."""


def wide(count: int) -> Shape:
    """Nodes that need nothing."""
    return [(f"n{i}", ()) for i in range(count)]


def chain(count: int) -> Shape:
    """Each node needs the one before."""
    return [(f"n{i}", (f"n{i - 1}",) if i else ()) for i in range(count)]


def layered(count: int, width: int = 100) -> Shape:
    """Layers of `width` nodes, each of which needs three of the layer above."""

    def needs(i: int) -> tuple[str, ...]:
        above = i // width * width - width
        return tuple(f"n{above + (i + step) % width}" for step in (0, 1, 37)) if above >= 0 else ()

    return [(f"n{i}", needs(i)) for i in range(count)]


def workflow(shape: Shape, command: str = "true") -> str:
    """The workflow file whose nodes do `command`, in which `{name}` stands for the node; by itself, nothing."""
    return _file(f"  {node}: {{run: '{command.format(name=node)}'{_needs(needs)}}}" for node, needs in shape)


def five_keys(shape: Shape) -> str:
    """The workflow file whose nodes have five keys each, as people write them: one a line."""
    return _file(
        f"  {node}:\n    run: ./work --part {i}\n    needs: [{', '.join(needs)}]\n    timeout: 10m\n"
        f"    estimate: {i % 7 + 1}s\n    resources: {{cpu: 1, memory: 100MiB}}"
        for i, (node, needs) in enumerate(shape)
    )


def _needs(needs: tuple[str, ...]) -> str:
    return f", needs: [{', '.join(needs)}]" if needs else ""


def _file(nodes: Iterable[str]) -> str:
    return "\n".join(["version: 1", "resources: {cpu: 64, memory: 64GiB}", "nodes:", *nodes, ""])
