"""What every format of a graph says, read back from it: each node, each arrow, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import combinations
from typing import Literal
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wfctl.renderers import DrawGraph, graph_dot, graph_json, graph_mermaid, graph_svg
from wfctl.renderers.picture import Picture, PictureEdge, PictureNode, Section
from wfctl.renderers.text import safe

Said = tuple[list[str], set[tuple[str, str]], set[tuple[str, str]], set[tuple[str, str]]]
"""Nodes; all arrows, those that are dashed, and those that are thick."""

NAMES = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=8).map(safe)
"""What may be a key of an item, and so stand in an id: what can be printed."""


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """A few nodes in two sections, and at times many that need the very same one."""
    names = draw(st.lists(NAMES, min_size=1, max_size=7, unique=True))
    sections: st.SearchStrategy[Section] = st.sampled_from(("nodes", "nodes", "finally"))
    nodes = [PictureNode(name, draw(NAMES), section=draw(sections)) for name in names]
    kinds: st.SearchStrategy[Literal["needs", "file"]] = st.sampled_from(("needs", "file"))
    edges = [
        PictureEdge(one.id, other.id, draw(kinds), draw(st.booleans()))
        for one, other in combinations(nodes, 2)
        if one.section == other.section and draw(st.booleans())
    ]
    if draw(st.booleans()):
        alike = [f"part number {i}" for i in range(13)]
        nodes += [PictureNode(id, "run") for id in ("split them up", *alike)]
        edges += [PictureEdge("split them up", id) for id in alike]
    return Picture("flow", tuple(nodes), tuple(edges))


def _quoted(text: str) -> str:
    return text.replace('\\"', '"').replace("\\\\", "\\")


_ID = r'"((?:[^"\\]|\\.)*)"'


def dot(text: str) -> Said:
    nodes = [_quoted(name) for name in re.findall(rf"^ +{_ID} \[label=", text, re.MULTILINE)]
    lines = re.findall(rf"^  {_ID} -> {_ID}(.*)$", text, re.MULTILINE)
    edges = {(_quoted(one), _quoted(other)): more for one, other, more in lines}
    return nodes, {*edges}, {e for e in edges if "dashed" in edges[e]}, {e for e in edges if "penwidth" in edges[e]}


def mermaid(text: str) -> Said:
    found = dict(re.findall(r'^ +(n\d+)\["(.*?)(?:<br/>.*)?"\]', text, re.MULTILINE))
    names = {key: re.sub(r"#(\d+);", lambda code: chr(int(code[1])), name) for key, name in found.items()}
    edges = [(names[a], names[b], line) for a, line, b in re.findall(r"^  (n\d+) (\S+) (n\d+)$", text, re.MULTILINE)]
    thick = re.search(r"^  linkStyle (\S+) ", text, re.MULTILINE)
    return (
        list(names.values()), {edge[:2] for edge in edges}, {edge[:2] for edge in edges if edge[2] == "-.->"},
        {edges[int(i)][:2] for i in (thick[1].split(",") if thick else ())},
    )  # fmt: skip


def in_json(text: str) -> Said:
    shown = json.loads(text)
    edges = {(edge["from"], edge["to"]): edge for edge in shown["edges"]}
    return (
        [node["id"] for node in shown["nodes"]], {*edges}, {e for e in edges if edges[e].get("file")},
        {e for e in edges if edges[e].get("critical")},
    )  # fmt: skip


def svg(text: str) -> Said:
    class Read(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.nodes: list[str] = []
            self.paths: list[tuple[str, str]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            named = dict(attrs)
            if named.get("data-node") is not None:
                self.nodes.append(named["data-node"] or "")
            if named.get("data-e"):
                self.paths.append((named["data-e"] or "", named.get("class") or ""))

    read = Read()
    read.feed(text)
    edges: dict[tuple[str, str], str] = {}
    for ends, look in read.paths:
        ranges = [[int(i) for i in part.split("-")] for part in ends.split(" ")]
        sources, targets = ([read.nodes[i] for i in range(part[0], part[-1] + 1)] for part in ranges)
        edges |= {(one, other): look for one in sources for other in targets}
    return (
        read.nodes,
        {*edges},
        {e for e in edges if "f" in edges[e].split()},
        {e for e in edges if "c" in edges[e].split()},
    )


FORMATS: dict[str, tuple[DrawGraph, Callable[[str], Said]]] = {
    "dot": (graph_dot.render, dot),
    "mermaid": (graph_mermaid.render, mermaid),
    "json": (graph_json.render, in_json),
    "svg": (graph_svg.render, svg),
}


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=40, deadline=None)
@given(shown=pictures())
@example(Picture("flow", (PictureNode('a"\\', "run"), PictureNode("\\", "run")), (PictureEdge('a"\\', "\\"),)))
def test_every_format_says_each_node_and_each_arrow_once_and_how_it_is(format: str, shown: Picture) -> None:
    draw, read = FORMATS[format]
    nodes, edges, dashed, thick = read(draw(shown))
    assert sorted(nodes) == sorted(node.id for node in shown.nodes)
    assert edges == {(edge.source, edge.target) for edge in shown.edges}
    assert dashed == {(edge.source, edge.target) for edge in shown.edges if edge.kind == "file"}
    assert thick == {(edge.source, edge.target) for edge in shown.edges if edge.critical}


@settings(max_examples=6, deadline=None)
@given(shown=pictures())
def test_graphviz_reads_what_is_written_for_it(shown: Picture) -> None:
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    drawn = subprocess.run(
        ["dot", "-Tsvg"], input=graph_dot.render(shown).encode(), capture_output=True, timeout=30, check=True
    )
    assert drawn.stderr == b""
    kinds = [group.get("class") for group in ElementTree.fromstring(drawn.stdout).iter("{http://www.w3.org/2000/svg}g")]
    assert (kinds.count("node"), kinds.count("edge")) == (len(shown.nodes), len(shown.edges))
