"""A graph in the language of Graphviz: `wfctl graph flow.yaml --format dot | dot -Tsvg`.

Knows nothing of widths and colours of a terminal."""

from __future__ import annotations

from wfctl.renderers.palette import fill
from wfctl.renderers.picture import Picture, PictureNode, arrows, path_arrows
from wfctl.renderers.text import look, safe


def render(picture: Picture, *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The picture as a `digraph`, left to right. Edges through files are dashed, the critical path is bold."""
    critical = path_arrows(picture)
    lines = [
        f"digraph {_quote(picture.title)} {{",
        '  graph [rankdir=LR, nodesep=0.25, ranksep=0.5, fontname="Helvetica"]',
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11, margin="0.14,0.08"]',
        '  edge [color="#57606a", arrowsize=0.7]',
    ]
    lines += [f"  {_box(node)}" for node in picture.nodes if node.section != "finally"]
    last = [node for node in picture.nodes if node.section == "finally"]
    if last:
        lines += ["  subgraph cluster_finally {", '    graph [label="finally", style="rounded,dashed"]']
        lines += [*(f"    {_box(node)}" for node in last), "  }"]
    for (source, target), file in arrows(picture).items():
        more = [*(["style=dashed"] if file else []), *(["penwidth=2"] if (source, target) in critical else [])]
        lines.append(f"  {_quote(source)} -> {_quote(target)}" + (f" [{', '.join(more)}]" if more else ""))
    return "\n".join([*lines, "}"]) + "\n"


def _box(node: PictureNode) -> str:
    small = node.facts()
    sign = f"{look(node.state).mark} " if node.state else ""
    # "\n" between the quoted halves is Graphviz's own line break; one inside them was made visible.
    label = _quote(f"{sign}{node.id}", label=True)[:-1]
    label += ("\\n" + _quote(" · ".join(small), label=True)[1:]) if small else '"'
    inside, border = fill(node.state)
    more = ", penwidth=2.5" if node.critical else ""
    return f'{_quote(node.id)} [label={label}, fillcolor="{inside}", color="{border}"{more}]'


def _quote(text: str, *, label: bool = False) -> str:
    """A quoted string. In a label Graphviz also reads backslashes and HTML entities; in a name it does not."""
    text = safe(text).replace("\\", "\\\\")
    if label:
        text = text.replace("&", "&amp;")
    return '"' + text.replace('"', '\\"') + '"'
