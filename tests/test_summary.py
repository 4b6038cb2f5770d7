"""The Markdown of a run: what it says, that it is bounded, and that foreign text is text in it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from itertools import pairwise

import pytest

from wfctl.renderers import graph_mermaid
from wfctl.renderers.account import Account, Case, Place, Undone
from wfctl.renderers.picture import Picture, PictureEdge, PictureNode
from wfctl.renderers.summary import EDGES, render

CASES = (
    Case(node="build", verdict="passed", state="succeeded", seconds=2.0),
    Case(node="kept", verdict="passed", state="cached", served="r0"),
    Case(
        node="ship", verdict="failed", state="failed", message="exit code 3", log=("one", "two"), attempts=2,
        place=Place("ci/flow.yaml", 7, 3),
    ),
    Case(node="tell", verdict="skipped", state="cancelled", message="cancelled: the run is failing"),
)  # fmt: skip
ACCOUNT = Account(run="r1", workflow="flow", file="ci/flow.yaml", state="failed", seconds=61.0, cases=CASES)
WORDS = "✗ failed after 1m 01s\n  once mended: wfctl resume r1\n"
HOSTILE = (
    "a|b`c`*d*_e_[f](javascript:g)<script>h</script>@user #1 https://evil.example www.x.y ~~i~~ \\ &lt; $x$ \x1b[31m"
)


def html(markdown: str) -> str:
    """As a page shows it, with tables, and HTML as it is."""
    markdown_it = pytest.importorskip("markdown_it", reason="no Markdown reader is installed")
    rendered: str = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    return rendered


def rows(page: str) -> list[list[str]]:
    """The cells of its table, as text."""
    found = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in found]
    return [[unescape(re.sub(r"</?code>", "", cell)) for cell in row] for row in cells]


def test_it_says_how_it_went_what_failed_and_what_to_type() -> None:
    page = html(render(ACCOUNT, WORDS))
    assert page.startswith("<h3>✗ <code>flow</code> failed · 1m 01s</h3>")
    assert "<pre>✗ failed after 1m 01s\n  once mended: wfctl resume r1</pre>" in page
    assert "<code>ship</code> · <code>exit code 3</code> · <code>ci/flow.yaml:7</code>" in page
    assert "<pre>one\ntwo</pre>" in page


def test_each_node_has_a_row() -> None:
    assert rows(html(render(ACCOUNT, WORDS))) == [
        ["", "node", "state", "took", ""],
        ["✓", "build", "succeeded", "2.0s", ""],
        ["≡", "kept", "cached", "", "from run r0"],
        ["✗", "ship", "failed", "", "exit code 3 · 2 attempts"],
        ["⊘", "tell", "cancelled", "", "cancelled: the run is failing"],
    ]


def test_what_was_undone_is_told_with_what_is_left() -> None:
    undone = (Undone(node="a", state="undone", note="left x.txt: it was changed"), Undone(node="b", state="waiting"))
    page = html(render(replace(ACCOUNT, undone=undone, why_undone="some say how"), WORDS))
    assert "<code>some say how</code>" in page
    assert "◁ <code>a</code> undone · <code>left x.txt: it was changed</code>" in page
    assert "○ <code>b</code> not undone yet" in page


def graph(nodes: int) -> str:
    names = [f"n{i}" for i in range(nodes)]
    edges = tuple(PictureEdge(a, b) for a, b in pairwise(names))
    return graph_mermaid.render(Picture("flow", tuple(PictureNode(n, "run", "failed") for n in names), edges))


def test_the_graph_is_drawn_by_mermaid_unless_that_would_refuse_it() -> None:
    assert f"```mermaid\n{graph(3)}```\n" in render(ACCOUNT, WORDS, graph(3))
    large = render(ACCOUNT, WORDS, graph(EDGES + 2))
    assert "```" not in large
    assert "too large to be drawn" in large


def test_a_long_table_is_folded_and_what_failed_is_in_it_first_where_it_is_cut() -> None:
    many = [Case(node=f"n{i}", verdict="passed", state="succeeded") for i in range(2000)]
    assert "<details><summary>50 nodes</summary>" in render(replace(ACCOUNT, cases=tuple(many[:50])), WORDS)
    text = render(replace(ACCOUNT, cases=(*many, CASES[2])), WORDS)
    table = rows(html(text))
    assert table[1][1] == "ship"
    assert table[-1][1] == "and 1001 more nodes"
    assert len(table) == 1002


def test_it_is_never_longer_than_it_may_be() -> None:
    log = ("ü" * 1000,) * 50
    bad = tuple(replace(CASES[2], node=f"n{i}" * 50, message="m" * 5000, log=log) for i in range(3000))
    for most in (1_000_000, 100_000, 1000, 10):
        assert len(render(replace(ACCOUNT, cases=bad), WORDS, graph(100), most).encode()) <= most
    assert "wfctl resume r1" in render(replace(ACCOUNT, cases=bad), WORDS, "", 1000)
    assert render(replace(ACCOUNT, cases=bad), WORDS, "", 10) == ""


def test_hostile_text_is_shown_and_is_nothing_but_text() -> None:
    shown = HOSTILE.replace("\x1b", "\\x1b")
    cases = (replace(CASES[2], node=HOSTILE, message=HOSTILE, log=("</pre>" + HOSTILE, "", "```", "# x")),)
    hostile = replace(
        ACCOUNT, workflow=HOSTILE, cases=cases, undone=(Undone(node=HOSTILE, state="undone", note=HOSTILE),)
    )
    text = render(hostile, f"</pre>{HOSTILE}")
    page = html(text)
    assert rows(page)[1][1] == shown
    assert unescape(page).count(shown) >= 6
    tags = set(re.findall(r"<(\w+)", page))
    assert tags == {"h3", "h4", "p", "pre", "code", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    for sign in ("@user", " #1", "https:", "www."):  # what a page would make links of, outside of `pre`
        assert sign not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
