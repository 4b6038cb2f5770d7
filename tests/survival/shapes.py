"""Small flows of the shapes that nodes can have together, each node of which notes what it does; and the patterns of
`workflows/patterns/`, as they are.

Knows nothing of kills."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One flow. `races`: who wins is open, so nodes may end in other ways, and what is recorded first must stay.

    `pattern` names one of the patterns, in place of nodes; then only its outputs are compared, but those in `open`.
    """

    nodes: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    code: int = 0
    answer: tuple[str, str] | None = None
    files: dict[str, Any] = field(default_factory=dict)
    races: bool = False
    pattern: str = ""
    open: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """What its run is started with."""
        return ["run", f"workflows/patterns/{self.pattern}.yaml" if self.pattern else "flow.yaml"]

    def write(self, folder: Path) -> None:
        """Its files, in a folder for one run."""
        (folder / "locks").mkdir(parents=True)
        if self.pattern:
            for name in ("patterns", "data"):
                shutil.copytree(WORKFLOWS / name, folder / "workflows" / name)
        flow = {"version": 1, "concurrency": 8, "nodes": self.nodes, "outputs": self.outputs}
        for name, content in {"flow.yaml": flow, **self.files}.items():
            (folder / name).write_text(json.dumps(content))


# The lock is held for as long as the node or a child of it lives: who finds it taken has met another attempt alive.
_NOTED = """
exec 9>> "locks/$WFCTL_NODE"
note() { echo "$1 $WFCTL_NODE $WFCTL_ATTEMPT 0" >> ledger; }
flock -n 9 || note overlap
note start
%s
note end
"""


def run(script: str = "", **keys: Any) -> dict[str, Any]:
    """A node that notes its start and its end, and does something in between."""
    return {"run": _NOTED % script, **keys}


def out(value: str, **keys: Any) -> dict[str, Any]:
    """A node whose output is that text of JSON, where the shell fills in what it is given."""
    return run(f'echo "{value}" > "$WFCTL_OUTPUT"', **keys)


_ITEM = out("$WFCTL_ITEM")
_SLOW = 'test "$WFCTL_ITEM" != 3 || sleep 60'
_INNER = {
    "version": 1,
    "params": {"n": {"type": "integer"}},
    "nodes": {"a": out("${{ params.n }}"), "b": out("${{ nodes.a.output + 1 }}")},
    "finally": {"z": run()},
    "outputs": {"b": "${{ nodes.b.output }}"},
}

SHAPES = {
    "fan_out": Shape(
        nodes={"x": {"for_each": [1, 2, 3], "max_parallel": 2, **_ITEM}},
        outputs={"x": "${{ nodes.x.output }}"},
    ),
    "fan_in": Shape(
        nodes={
            "x": {"for_each": [1, 2], **run('echo "$WFCTL_ITEM" > "$WFCTL_OUTPUT"; test "$WFCTL_ITEM" = 1'),
                  "collect": {"tolerate": 1}},
            "all": run('cat > "$WFCTL_OUTPUT"', stdin="${{ [i.error for i in nodes.x.items] }}"),
        },
        outputs={"x": "${{ nodes.x.output }}", "all": "${{ nodes.all.output }}"},
    ),
    "pipeline": Shape(
        nodes={
            "s": {
                "for_each": ["p", "q"],
                "key": "${{ item }}",
                "nodes": {"one": out('\\"${{ item }}1\\"'), "two": out('\\"${{ nodes.one.output }}2\\"')},
                "outputs": {"two": "${{ nodes.two.output }}"},
            },
            "all": out("${{ len(nodes.s.output) }}"),
        },
        outputs={"s": "${{ nodes.s.output }}", "all": "${{ nodes.all.output }}"},
    ),
    "scatter_gather": Shape(
        nodes={
            "split": out("[4, 5]"),
            "part": {"for_each": "${{ nodes.split.output }}", **_ITEM},
            "all": out("${{ sum(nodes.part.output) }}"),
        },
        outputs={"all": "${{ nodes.all.output }}"},
    ),
    "matrix": Shape(
        nodes={
            "x": {
                "for_each": {
                    "matrix": {"a": [1, 2], "b": [3]},
                    "exclude": [{"a": 2}],
                    "include": [{"b": 3, "c": 4}, {"a": 5}],
                },
                **out("${{ item.a + default(item.b, 0) + default(item.c, 0) }}"),
            }
        },
        outputs={"x": "${{ [[i.key, i.output] for i in nodes.x.items] }}"},
    ),
    "first": Shape(
        nodes={
            "x": {"for_each": [1, 2, 3], **run(f'{_SLOW}; echo "$WFCTL_ITEM" > "$WFCTL_OUTPUT"'), "collect": "first"},
            "y": out("${{ nodes.x.output }}"),
        },
        outputs={"x": "${{ nodes.x.output }}", "y": "${{ nodes.y.output }}"},
        races=True,
    ),
    "majority": Shape(
        nodes={
            "x": {"for_each": [1, 2, 4, 3, 3], **run(f'{_SLOW}; echo "$WFCTL_ITEM" > "$WFCTL_OUTPUT"'),
                  "collect": "majority"},
            "y": out("${{ sum(nodes.x.output) }}"),
        },
        outputs={"x": "${{ nodes.x.output }}", "y": "${{ nodes.y.output }}"},
        races=True,
    ),
    "best": Shape(
        nodes={
            "x": {"for_each": [1, 7, 4], **_ITEM, "collect": {"strategy": "best", "score": "${{ output }}"}},
            "y": out("${{ nodes.x.output }}"),
        },
        outputs={"x": "${{ nodes.x.output }}", "y": "${{ nodes.y.output }}"},
    ),
    "until": Shape(
        nodes={
            "x": {"for_each": [1, 7, 3], **run(f'{_SLOW}; echo "$WFCTL_ITEM" > "$WFCTL_OUTPUT"'),
                  "collect": {"strategy": "best", "score": "${{ output }}", "until": "${{ output > 6 }}"}},
            "y": out("${{ nodes.x.output }}"),
        },
        outputs={"x": "${{ nodes.x.output }}", "y": "${{ nodes.y.output }}"},
        races=True,
    ),
    "lost": Shape(
        nodes={
            "x": {"for_each": [1, 2], "max_parallel": 1, **run('test "$WFCTL_ITEM" = 1')},
            "tell": {**run(), "needs": ["x"], "trigger": "any_failed"},
        },
        code=1,
    ),
    "approval": Shape(
        nodes={
            "draft": out("1"),
            "ask": {"ask": {"message": "${{ nodes.draft.output }}?", "choices": ["yes", "reject"]}},
            "publish": out('\\"${{ nodes.ask.output.choice }}\\"'),
        },
        outputs={"publish": "${{ nodes.publish.output }}"},
        answer=("ask", "yes"),
    ),
    "rejected": Shape(
        nodes={
            "ask": {"ask": {"message": "?"}},
            "publish": {**run(), "needs": ["ask"]},
            "tell": {**run(), "needs": ["ask"], "trigger": "any_failed"},
        },
        answer=("ask", "reject"),
        code=1,
    ),
    "groups": Shape(
        nodes={
            "g": {
                "nodes": {"h": {"nodes": {"a": out("1")}, "outputs": {"a": "${{ nodes.a.output }}"}},
                          "b": out("${{ nodes.h.output.a + 1 }}")},
                "outputs": {"b": "${{ nodes.b.output }}"},
            },
            "y": out("${{ nodes.g.output.b }}"),
        },
        outputs={"y": "${{ nodes.y.output }}"},
    ),
    "nested": Shape(
        nodes={
            "s": {
                "for_each": [1, 2],
                "nodes": {
                    "x": {"for_each": "${{ [item, item + 1] }}", **_ITEM},
                    "y": {**run('test "$WFCTL_ITEM" = 1', stdin="${{ nodes.x.output }}"),
                          "retry": {"attempts": 2, "delay": 0}},
                    "z": {**run(), "needs": ["y"], "trigger": "all_done"},
                },
                "outputs": {"x": "${{ nodes.x.output }}"},
                "collect": {"tolerate": 1},
            },
            "all": out("${{ len([i for i in nodes.s.items if i.state == 'failed']) }}"),
        },
        outputs={"s": "${{ nodes.s.output }}", "all": "${{ nodes.all.output }}"},
    ),
    "workflow": Shape(
        nodes={
            "list": out("[1, 2]"),
            "sub": {"for_each": "${{ nodes.list.output }}", "workflow": "inner.yaml", "params": {"n": "${{ item }}"}},
        },
        outputs={"sub": "${{ nodes.sub.output }}"},
        files={"inner.yaml": _INNER},
    ),
}  # fmt: skip

PATTERNS = {
    path.stem: Shape(
        pattern=path.stem, open=("others",), answer=("approve", "stable") if path.stem == "approval" else None
    )
    for path in sorted((WORKFLOWS / "patterns").glob("*.yaml"))
}
