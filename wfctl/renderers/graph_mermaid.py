"""A graph as a Mermaid flowchart, which many pages and chats draw where it is pasted.

Knows nothing of widths and colours of a terminal."""

from __future__ import annotations

import re

from wfctl.renderers.picture import Picture, PictureNode, arrows, path_arrows
from wfctl.renderers.text import duration, look, safe

# Fill, border; light enough for black text on any page.
_FILLS = {
    "green": "fill:#d7f5dd,stroke:#2da44e,color:#111",
    "bold red": "fill:#ffdce0,stroke:#cf222e,color:#111",
    "bold cyan": "fill:#d8f0ff,stroke:#0969da,color:#111",
    "cyan": "fill:#eef7ff,stroke:#54aeff,color:#111",
    "yellow": "fill:#fff3c4,stroke:#bf8700,color:#111",
    "bold yellow": "fill:#fff3c4,stroke:#bf8700,color:#111",
    "magenta": "fill:#f3e3ff,stroke:#8250df,color:#111",
    "dim": "fill:#f3f4f6,stroke:#9aa0a6,color:#555",
    "": "fill:#ffffff,stroke:#9aa0a6,color:#111",
}
_ACTIVE = re.compile(r'["#%&<>`\\]')  # what Mermaid (`%%{…}%%` anywhere), its Markdown or its HTML takes for its own


def render(picture: Picture, *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The picture as `flowchart TD`; edges through files are dashed, the critical path is thick.

    Nodes are called n0, n1 … there, because an id such as `end` is a word of Mermaid."""
    names = {node.id: f"n{i}" for i, node in enumerate(picture.nodes)}
    lines = ["---", f"title: {_yaml(picture.title)}", "---", "flowchart TD"]
    last = [node for node in picture.nodes if node.section == "finally"]
    lines += [f"  {names[node.id]}{_box(node)}" for node in picture.nodes if node.section != "finally"]
    if last:
        lines += ['  subgraph last["finally"]', *(f"    {names[node.id]}{_box(node)}" for node in last), "  end"]
    found = arrows(picture)
    for (source, target), file in found.items():
        lines.append(f"  {names[source]} {'-.->' if file else '-->'} {names[target]}")
    for state in dict.fromkeys(node.state for node in picture.nodes):
        if state is not None:
            lines.append(f"  classDef {state} {_FILLS[look(state).style]}")
    critical = [names[node.id] for node in picture.nodes if node.critical]
    if critical:
        lines += ["  classDef critical stroke-width:3px", f"  class {','.join(critical)} critical"]
    path = path_arrows(picture)
    if path:
        numbers = ",".join(str(i) for i, arrow in enumerate(found) if arrow in path)
        lines.append(f"  linkStyle {numbers} stroke-width:3px")
    return "\n".join(lines) + "\n"


def _box(node: PictureNode) -> str:
    words = [_quote(node.id)]
    small = [_quote(node.kind)] if node.kind != "run" else []
    if node.seconds is not None:
        small.append(duration(node.seconds))
    if node.note:
        small.append(_quote(node.note))
    if small:
        words.append(f"<small>{' · '.join(small)}</small>")
    sign = f"{_quote(look(node.state).mark)} " if node.state else ""
    return f'["{sign}{"<br/>".join(words)}"]' + (f":::{node.state}" if node.state else "")


def _quote(text: str) -> str:
    return _ACTIVE.sub(lambda found: f"#{ord(found[0])};", safe(text))


def _yaml(text: str) -> str:
    import json

    return json.dumps(safe(text), ensure_ascii=False)
