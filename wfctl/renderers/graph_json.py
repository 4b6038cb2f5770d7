"""A graph as JSON for programs: `{"nodes": [{"id", "kind"}], "edges": [{"from", "to"}]}`.

Knows nothing of widths and colours. This form is public: keys are added, never renamed."""

from __future__ import annotations

from wfctl.renderers.picture import Picture, arrows, path_arrows
from wfctl.renderers.text import json_text


def render(picture: Picture, *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The picture as one JSON object. A key is there where there is something to say: `state` and `seconds` of a run,
    `note` how many a node holds or how it is undone, `section` of what is in `finally`, `critical` what is on the
    critical path, and of an edge `file` where nothing but a path makes it."""
    nodes: list[dict[str, str | float]] = []
    for node in picture.nodes:
        item: dict[str, str | float] = {"id": node.id, "kind": node.kind}
        if node.state is not None:
            item["state"] = node.state
        if node.seconds is not None:
            item["seconds"] = node.seconds
        if node.note:
            item["note"] = node.note
        if node.section != "nodes":
            item["section"] = node.section
        if node.critical:
            item["critical"] = True
        nodes.append(item)
    path = path_arrows(picture)
    edges: list[dict[str, str | bool]] = []
    for arrow, file in arrows(picture).items():
        edge: dict[str, str | bool] = {"from": arrow[0], "to": arrow[1]}
        if file:
            edge["file"] = True
        if arrow in path:
            edge["critical"] = True
        edges.append(edge)
    return json_text({"nodes": nodes, "edges": edges}, indent=2) + "\n"
