"""Pictures as SVG and as a page: sound XML, the same each time, all that is known in them, nothing of others obeyed."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfctl.renderers import graph_html, graph_svg
from wfctl.renderers.graph_svg import BLOCK, drawing, render, style
from wfctl.renderers.picture import Picture, PictureEdge, PictureNode, around
from wfctl.renderers.text import LOOKS

NS = "{http://www.w3.org/2000/svg}"
EVIL = "\"'><script>alert(1)</script>]]>&amp;<!-- \x1b[31m \u202e \x00 \ud800 \ufffe"


def chained(*ids: str, finally_: Iterable[str] = ()) -> Picture:
    nodes = [PictureNode(id, "run", "succeeded", 1.5) for id in ids]
    nodes += [PictureNode(id, "run", section="finally") for id in finally_]
    return Picture("flow", tuple(nodes), tuple(PictureEdge(a, b) for a, b in pairwise(ids)), "succeeded")


def fan(size: int) -> Picture:
    inner = [f"part_{i}" for i in range(size)]
    nodes = tuple(PictureNode(id, "run") for id in ("split", *inner, "join"))
    return Picture(
        "fan", nodes, tuple(edge for id in inner for edge in (PictureEdge("split", id), PictureEdge(id, "join")))
    )


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.encode())


def boxes(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [g for g in root.iter(f"{NS}g") if "n" in (g.get("class") or "").split()]


def arrows_of(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [path for path in root.iter(f"{NS}path") if path.get("data-e")]


def words(text: str) -> str:
    return " ".join("".join(parsed(text).itertext()).split())


def test_each_node_is_a_box_of_its_state_with_its_name_its_time_and_a_title() -> None:
    shown = Picture("flow", (PictureNode("load", "sql", "failed", 65.0, note="3 items"),), (), "failed")
    (box,) = boxes(parsed(render(shown)))
    assert box.get("data-node") == "load"
    assert (box.get("class") or "").split() == ["n", "bad"]
    assert [text.text for text in box.iter(f"{NS}text")] == ["✗ load", "sql · 1m 05s · 3 items"]
    assert [title.text for title in box.iter(f"{NS}title")] == ["load · sql · failed · 1m 05s · 3 items"]


def test_long_names_of_one_family_can_be_told_apart() -> None:
    names = [f"filterContams_HEP2_MSP1_Digests_s_1_sequence_{i}" for i in range(3)]
    shown = [box.findtext(f"{NS}text") for box in boxes(parsed(render(chained(*names))))]
    assert len(set(shown)) == 3


def test_the_whole_is_described_for_those_who_do_not_see_it() -> None:
    root = parsed(render(chained("a", "b")))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "flow: succeeded"
    assert [root.findtext(f"{NS}title"), root.findtext(f"{NS}desc")] == [
        "flow: succeeded", "2 nodes, 1 arrow, 2 succeeded"
    ]  # fmt: skip


def test_arrows_name_the_boxes_they_connect_by_their_place_in_the_file() -> None:
    shown = chained("a", "b", "c", finally_=["z", "end"])
    shown = Picture("flow", shown.nodes, (*shown.edges, PictureEdge("a", "c", "file"), PictureEdge("z", "end")))
    root = parsed(render(shown))
    names = [box.get("data-node") for box in boxes(root)]
    ends = [(path.get("data-e") or "").split() for path in arrows_of(root)]
    named = [(names[int(source)], names[int(target)]) for source, target in ends]
    assert named == [("a", "b"), ("b", "c"), ("a", "c"), ("z", "end")]
    assert [path.get("class") for path in arrows_of(root)] == [None, None, "f", None]


def test_the_critical_path_is_marked_and_what_comes_finally_stands_in_a_frame() -> None:
    nodes = tuple(PictureNode(id, "run", critical=id != "b") for id in "abc")
    shown = Picture("flow", (*nodes, PictureNode("z", "run", section="finally")),
                    (PictureEdge("a", "b"), PictureEdge("b", "c"), PictureEdge("a", "c", critical=True)))  # fmt: skip
    root = parsed(render(shown))
    assert [(box.get("class") or "").endswith(" c") for box in boxes(root)] == [True, False, True, False]
    assert [path.get("class") for path in arrows_of(root)] == [None, None, "c"]
    assert "thick: the critical path" in words(render(shown))
    assert "finally" in words(render(shown))


def test_many_that_need_and_feed_the_same_stand_in_a_block_with_one_arrow_in_and_one_out() -> None:
    root = parsed(render(fan(BLOCK)))
    names = [box.get("data-node") for box in boxes(root)]
    assert len(names) == len(set(names)) == BLOCK + 2
    assert sorted(path.get("data-e") or "" for path in arrows_of(root)) == [f"0 1-{BLOCK}", f"1-{BLOCK} {BLOCK + 1}"]
    assert len(arrows_of(parsed(render(fan(BLOCK - 1))))) == 2 * (BLOCK - 1)


def test_both_themes_name_a_colour_for_every_state() -> None:
    day, night = style().split("@media (prefers-color-scheme:dark)")
    for state in LOOKS:
        rule = f".wf .{graph_svg.color(state)} rect{{fill:#"
        assert rule in day
        assert rule in night
    assert ":root[data-theme=dark] .wf .good rect" in style([":root[data-theme=dark]"])


def test_one_for_a_page_has_no_rules_of_its_own() -> None:
    assert "<style" in render(chained("a"))
    assert "style" not in drawing(chained("a"))


def test_5000_nodes_are_less_than_two_megabytes() -> None:
    nodes = tuple(PictureNode(f"align_{i}", "run", "succeeded", i / 10) for i in range(5_000))
    edges = tuple(PictureEdge(f"align_{(i - 1) // 2}", f"align_{i}") for i in range(1, 5_000))
    assert len(render(Picture("large", nodes, edges)).encode()) < 2_000_000


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=()), max_size=12), min_size=1, max_size=6, unique=True), st.text()
)
def test_whatever_the_names_are_it_is_sound_xml_and_nothing_but_boxes_and_arrows(names: list[str], note: str) -> None:
    nodes = tuple(PictureNode(name, note, "running", note=note) for name in names)
    root = parsed(render(Picture(note, nodes, ())))
    assert {element.tag.removeprefix(NS) for element in root.iter()} <= {
        "svg", "title", "desc", "style", "rect", "text", "g", "path",
    }  # fmt: skip
    assert len(boxes(root)) == len(names)
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]


def test_hostile_names_are_shown_whole_and_are_text() -> None:
    text = render(Picture(EVIL, (PictureNode(EVIL, "run"), PictureNode("b", "run")), (PictureEdge(EVIL, "b"),)))
    assert "<script" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "\\x1b[31m \\u202e \\x00 \\ud800" in words(text)


def test_the_same_picture_is_the_same_file() -> None:
    assert render(fan(30)) == render(fan(30))
    assert graph_html.render(fan(30)) == graph_html.render(fan(30))


class Page(HTMLParser):
    """What a page consists of: its elements, the text of its scripts and styles, its policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.inline: dict[str, str] = {}
        self.policy = ""
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"] or ""
        self.handlers += [name for name in named if name.startswith("on") or name in ("style", "src", "href")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("script", "style") and self.tags[-1] not in self.inline:
            self.inline[self.tags[-1]] = data


@pytest.mark.parametrize("name", ["a", EVIL])
def test_a_page_lets_nothing_run_but_its_own_script_and_fetches_nothing(name: str) -> None:
    page = Page(graph_html.render(Picture(name, (PictureNode(name, "run"),), ())))
    assert [page.tags.count(tag) for tag in ("script", "style", "svg", "link", "img")] == [1, 1, 1, 0, 0]
    assert page.handlers == []
    assert page.policy.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.inline[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.policy
    assert "unsafe" not in page.policy


def test_around_a_node_is_what_lies_so_many_arrows_before_or_after_it() -> None:
    shown = Picture("flow", tuple(PictureNode(id, "run") for id in "abcdex"),
                    tuple(PictureEdge(a, b) for a, b in ("ab", "bc", "cd", "de", "xd")))  # fmt: skip
    assert [node.id for node in around(shown, "c", 0).nodes] == ["c"]
    assert [node.id for node in around(shown, "c", 1).nodes] == ["b", "c", "d"]  # x is not before c
    found = around(shown, "c", 9)
    assert [node.id for node in found.nodes] == list("abcde")
    assert [(edge.source, edge.target) for edge in found.edges] == [tuple(pair) for pair in ("ab", "bc", "cd", "de")]
