"""A graph as a Mermaid flowchart, which many pages and chats draw where it is pasted.

Knows nothing of widths and colours of a terminal."""

from __future__ import annotations

import re

from wfctl.renderers.palette import fill
from wfctl.renderers.picture import Picture, PictureNode, arrows, path_arrows
from wfctl.renderers.text import look, safe

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
            inside, border = fill(state)
            letters = "#555" if look(state).style == "dim" else "#111"
            lines.append(f"  classDef {state} fill:{inside},stroke:{border},color:{letters}")
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
    if small := node.facts():
        words.append(f"<small>{' · '.join(map(_quote, small))}</small>")
    sign = f"{_quote(look(node.state).mark)} " if node.state else ""
    return f'["{sign}{"<br/>".join(words)}"]' + (f":::{node.state}" if node.state else "")


def _quote(text: str) -> str:
    return _ACTIVE.sub(lambda found: f"#{ord(found[0])};", safe(text))


def _yaml(text: str) -> str:
    import json

    return json.dumps(safe(text), ensure_ascii=False)
