"""A graph as JSON for programs: `{"nodes": [{"id", "kind"}], "edges": [{"from", "to"}]}`.

Knows nothing of widths and colours. This form is public: keys are added, never renamed."""

from __future__ import annotations

from wfctl.renderers.picture import Picture, arrows
from wfctl.renderers.text import json_text


def render(picture: Picture, *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The picture as one JSON object; `state` and `seconds` stand in a node where a run gave them, `note` where there
    is more to say: how many it holds, or how it is undone."""
    nodes: list[dict[str, str | float]] = []
    for node in picture.nodes:
        item: dict[str, str | float] = {"id": node.id, "kind": node.kind}
        if node.state is not None:
            item["state"] = node.state
        if node.seconds is not None:
            item["seconds"] = node.seconds
        if node.note:
            item["note"] = node.note
        nodes.append(item)
    edges = [{"from": source, "to": target} for source, target in arrows(picture)]
    return json_text({"nodes": nodes, "edges": edges}, indent=2) + "\n"
