"""`wfctl graph`: only what is around a node, how a flow is undone, and pictures for a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow
from tests.helpers.browser import opened, running
from wfctl.renderers import graph_html
from wfctl.renderers.picture import Picture, PictureEdge, PictureNode

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SAGA = """
    nodes:
      reserve: {run: "true", compensate: [{run: echo release}]}
      check: {run: "true", needs: [reserve]}
      charge: {run: "true", needs: [check], compensate: [{run: echo refund}]}
      pack: {run: "true", needs: [check], compensate: [{run: echo unpack}]}
      ship: {run: "false", needs: [charge, pack]}
      batch: {needs: [ship], nodes: {inner: {run: "true", compensate: [{run: echo inner}]}}}
"""


def drawn(wfctl: Command, *words: str) -> tuple[list[str], list[tuple[str, str]]]:
    ended = wfctl("graph", *words, "--json")
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout)
    return [node["id"] for node in shown["nodes"]], [(edge["from"], edge["to"]) for edge in shown["edges"]]


def test_focus_draws_a_node_with_what_is_depth_arrows_before_and_after_it(wfctl: Command, flow: Flow) -> None:
    file = flow(SAGA)
    assert drawn(wfctl, file, "--focus", "check")[0] == ["reserve", "check", "charge", "pack"]
    assert drawn(wfctl, file, "--focus", "ship", "--depth", "2")[0] == ["check", "charge", "pack", "ship", "batch"]
    assert drawn(wfctl, file, "--focus", "ship", "--depth", "0") == (["ship"], [])


def test_compensation_draws_who_is_undone_after_whom(wfctl: Command, flow: Flow) -> None:
    nodes, edges = drawn(wfctl, flow(SAGA), "--compensation")
    assert set(nodes) == {"reserve", "charge", "pack", "batch.inner"}
    assert set(edges) == {
        ("batch.inner", "charge"), ("batch.inner", "pack"), ("charge", "reserve"), ("pack", "reserve")
    }  # fmt: skip
    told = wfctl("graph", "flow.yaml", "--compensation").stdout
    assert "flow: how it is undone" in told
    assert "run: echo refund" in told


def test_an_undo_that_comes_later_anyway_has_no_arrow_of_its_own(wfctl: Command, flow: Flow) -> None:
    file = flow("""
        defaults: {compensate: [{run: echo undone}]}
        nodes:
          a: {run: "true"}
          b: {run: "true", needs: [a]}
          between: {run: "true", needs: [a, b], compensate: none}
          c: {run: "true", needs: [a, between]}
    """)
    assert drawn(wfctl, file, "--compensation") == (["a", "b", "c"], [("c", "b"), ("b", "a")])


def test_compensation_of_a_run_draws_what_has_to_be_undone_of_it(wfctl: Command, flow: Flow) -> None:
    assert wfctl("run", flow(SAGA)).returncode == 3
    nodes, edges = drawn(wfctl, "last", "--compensation")
    assert set(nodes) == {"reserve", "charge", "pack"}
    assert set(edges) == {("charge", "reserve"), ("pack", "reserve")}
    shown = json.loads(wfctl("graph", "last", "--compensation", "--json").stdout)
    assert {node["id"]: (node["state"], node["note"]) for node in shown["nodes"]} == {
        "reserve": ("undone", "run: echo release"),
        "charge": ("undone", "run: echo refund"),
        "pack": ("undone", "run: echo unpack"),
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--focus", "chekc"], 'no node named "chekc"; did you mean "check"?'),
        (["--focus", "inner"], 'no node named "inner"; did you mean "batch.inner"?'),
        (["--focus", "batch.iner"], 'no node named "batch.iner"; did you mean "batch.inner"?'),
        (["--focus", "batch.inner"], '"batch.inner" is not drawn: it lies in another node; --expand draws it'),
        (["--focus", "ship", "--compensation"], '"ship" is not drawn: nothing of it is undone'),
        (["--depth", "2"], "--depth says how far from --focus NODE"),
        (["--focus", "ship", "--depth", "-1"], "-1"),
        (["-f", "svgg"], 'did you mean "svg"?'),
    ],
)
def test_what_cannot_be_drawn_is_told_with_the_way_out(wfctl: Command, flow: Flow, words: list[str], says: str) -> None:
    ended = wfctl("graph", flow(SAGA), *words)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_is_folded_tells_how_many_it_holds_have_ended_and_have_failed(wfctl: Command, flow: Flow) -> None:
    flow("""
        nodes:
          each: {for_each: [0, 1, 0, 0], run: [sh, -c, "exit ${{ item }}"], collect: {tolerate: 1}}
          good: {nodes: {a: {run: "true"}, b: {run: "true"}}}
          open: {nodes: {a: {run: "true"}, b: {needs: [a], ask: {message: "well?"}}}}
    """)
    assert wfctl("run", "flow.yaml", "--no-wait").returncode == 7
    shown = json.loads(wfctl("graph", "last", "--json").stdout)
    assert {node["id"]: node["note"] for node in shown["nodes"]} == {
        "each": "4 items, 1 failed", "good": "2 nodes", "open": "1 of 2 nodes"
    }  # fmt: skip
    assert [node["id"] for node in shown["nodes"] if "seconds" not in node] == ["open"]  # it goes on


def test_groups_that_hand_each_other_files_are_drawn_opened_with_dashed_arrows(wfctl: Command, flow: Flow) -> None:
    flow("""
        nodes:
          g:
            nodes:
              a: {run: echo > x, writes: [x]}
              c: {run: cat y, reads: [y]}
          h: {nodes: {b: {run: cat x > y, reads: [x], writes: [y]}}}
    """)
    shown = wfctl("graph", "flow.yaml", "-f", "dot")
    assert shown.returncode == 0, shown.stderr
    assert '"g.a" -> "h.b" [style=dashed, penwidth=2]' in shown.stdout
    assert wfctl("run", "flow.yaml").returncode == 0
    assert wfctl("report", "last", "-o", "page.html").returncode == 0


def test_a_file_is_in_the_format_of_its_ending_where_none_is_said(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    file = flow(SAGA)
    begin = {
        "a.svg": "<?xml",
        "a.HTML": "<!DOCTYPE",
        "a.dot": "digraph",
        "a.mmd": "---",
        "a.json": "{",
        "a.txt": "flow · ",
    }
    for name, first in begin.items():
        assert wfctl("graph", file, "-o", name).returncode == 0
        assert (tmp_path / name).read_text("utf-8").startswith(first)
    assert wfctl("graph", file, "-f", "dot", "-o", "-").stdout.startswith("digraph")
    assert wfctl("graph", file, "-f", "dot", "-o", "b.svg").returncode == 0
    assert (tmp_path / "b.svg").read_text("utf-8").startswith("digraph")


@pytest.mark.parametrize("words", [[], ["--expand"], ["--compensation"], ["--focus", "ship"]], ids=" ".join)
@pytest.mark.parametrize("format", ["terminal", "mermaid", "dot", "svg", "html"])
def test_every_format_draws_all_of_these(wfctl: Command, flow: Flow, format: str, words: list[str]) -> None:
    ended = wfctl("graph", flow(SAGA), "-f", format, "-o", "picture", *words)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_run_is_drawn_in_colour_as_a_file_that_every_reader_of_xml_can_read(
    wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    wfctl("run", flow(SAGA))
    assert wfctl("graph", "last", "-f", "svg", "-o", "run.svg").returncode == 0
    root = ElementTree.parse(tmp_path / "run.svg").getroot()
    looks = {
        g.get("data-node"): g.get("class") for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("data-node")
    }
    assert looks["ship"] == "n bad"
    assert looks["charge"] == "n undo"
    assert looks["check"] == "n good"


# -- in a browser

EVIL = "</script><script>window.ran=1</script><img src=x onerror=window.ran=2>\"'><svg/onload=window.ran=3> \x1b[31m"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as started:
        yield started


def page_of(folder: Path, picture: Picture) -> Path:
    path = folder / "graph.html"
    path.write_text(graph_html.render(picture), encoding="utf-8")
    return path


def wide(size: int) -> Picture:
    """One node that many of the same come after, and one that comes after all; one apart."""
    inner = [f"part_{i}" for i in range(size)]
    edges = [edge for id in inner for edge in (PictureEdge("split", id), PictureEdge(id, "join"))]
    nodes = [PictureNode(id, "run", "succeeded", 1.0) for id in ("split", *inner, "join", "apart")]
    return Picture("wide", tuple(nodes), tuple(edges), "succeeded")


def test_a_click_marks_all_that_is_before_and_after_a_node_and_a_second_one_ends_it(
    browser: Browser, tmp_path: Path
) -> None:
    with opened(browser, page_of(tmp_path, wide(20))) as (page, wrong):
        page.click('[data-node="part_7"]')
        lit = page.eval_on_selector_all(".n.on", "all => all.map(one => one.dataset.node)")
        assert lit == ["split", "part_7", "join"]
        assert "1 node before it, 1 node after it" in page.inner_text("footer")
        page.click('[data-node="part_7"]')
        assert page.locator(".n.on").count() == 0
        assert wrong == []


def test_search_counts_what_it_finds_and_enter_goes_there(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, page_of(tmp_path, wide(300))) as (page, wrong):
        page.keyboard.press("/")
        page.keyboard.type("part_29")
        assert page.inner_text("footer").startswith("11 nodes found")
        page.keyboard.press("Shift+Enter")
        assert page.inner_text("footer").startswith("11 of 11: part_299 ·")
        page.keyboard.press("Enter")
        assert page.inner_text("footer").startswith("1 of 11: part_29 ·")
        box, view = page.locator('[data-node="part_29"]').bounding_box(), page.locator("main").bounding_box()
        assert box is not None
        assert view is not None
        assert abs(box["x"] + box["width"] / 2 - view["x"] - view["width"] / 2) < 2
        page.keyboard.press("Escape")
        assert page.locator(".wf.some").count() == 0
        assert wrong == []


def test_it_is_zoomed_by_wheel_buttons_and_keys_and_moved_by_the_mouse(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, page_of(tmp_path, wide(5))) as (page, wrong):

        def view() -> list[float]:
            return [float(part) for part in str(page.get_attribute("svg.wf", "viewBox")).split()]

        first = view()
        page.mouse.move(600, 400)
        page.mouse.wheel(0, -300)
        page.wait_for_function(f"document.querySelector('svg.wf').viewBox.baseVal.width < {first[2] * 0.9}")
        nearer = view()
        page.click("button[name=farther]")
        assert view()[2] > nearer[2]
        page.keyboard.press("+")  # the button has the focus still
        assert view()[2] == pytest.approx(nearer[2], rel=0.01)
        page.mouse.move(600, 400)
        page.mouse.down()
        page.mouse.move(500, 400)
        page.mouse.up()
        assert view()[0] > nearer[0]
        page.keyboard.press("0")
        assert view() == pytest.approx(first, rel=0.01)
        assert wrong == []


def test_the_keys_of_the_picture_work_from_the_start(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, page_of(tmp_path, wide(5))) as (page, wrong):
        views = [page.get_attribute("svg.wf", "viewBox")]
        for key in ("+", "ArrowRight", "0"):
            page.keyboard.press(key)
            views.append(page.get_attribute("svg.wf", "viewBox"))
        assert len(set(views)) == 3
        assert views[-1] == views[0]
        assert wrong == []


def test_the_node_that_has_the_focus_is_seen_from_far_too(browser: Browser, tmp_path: Path) -> None:
    chain = [f"n{i}" for i in range(60)]
    shown = Picture("chain", tuple(PictureNode(id, "run") for id in chain), tuple(map(PictureEdge, chain, chain[1:])))
    with opened(browser, page_of(tmp_path, shown)) as (page, wrong):
        page.click("button[name=all]")
        for key in ("Tab", "Tab", "Tab"):  # the picture, its first node, its second
            page.keyboard.press(key)
        looks = page.eval_on_selector_all(".far .n rect", "all => all.map(one => getComputedStyle(one).strokeWidth)")
        assert looks[:3] == ["1px", "6px", "1px"]
        assert wrong == []


PINCH = """() => {
  const view = document.querySelector("main");
  const tell = (type, id, x) => view.dispatchEvent(
    new PointerEvent(type, {pointerId: id, clientX: x, clientY: 400, bubbles: true, pointerType: "touch"}));
  tell("pointerdown", 7, 500); tell("pointerdown", 8, 700);
  tell("pointermove", 7, 400); tell("pointermove", 8, 800);
  tell("pointerup", 7, 400); tell("pointerup", 8, 800);
}"""


def test_two_fingers_zoom_where_they_are(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, page_of(tmp_path, wide(5))) as (page, wrong):
        page.evaluate("() => { window.box = document.querySelector('svg.wf').viewBox.baseVal; }")
        middle, width = page.evaluate("[box.x + box.width * 600 / 1280, box.width]")
        page.evaluate(PINCH)
        assert page.evaluate("[box.x + box.width * 600 / 1280, box.width]") == [
            pytest.approx(middle, abs=1),
            pytest.approx(width / 2, rel=0.01),
        ]
        assert wrong == []


def test_a_node_can_be_reached_and_chosen_by_keys_alone(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, page_of(tmp_path, wide(3))) as (page, wrong):
        page.focus('[data-node="join"]')
        page.keyboard.press("Enter")
        assert page.locator(".n.on").count() == 5
        page.keyboard.press("Escape")
        assert page.locator(".n.on").count() == 0
        assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_of_others_run_nothing_and_are_seen(browser: Browser, tmp_path: Path, scheme: str) -> None:
    evil = Picture(EVIL, (PictureNode(EVIL, "run", note=EVIL), PictureNode("b", EVIL)), (PictureEdge(EVIL, "b"),))
    with opened(browser, page_of(tmp_path, evil), color_scheme=scheme) as (page, wrong):
        page.locator(".n").first.click()
        assert "</script><script>window.ran=1</script>" in page.inner_text("footer")
        assert page.evaluate("window.ran") is None
        fill = page.evaluate("getComputedStyle(document.querySelector('.n rect')).fill")
        assert fill == {"light": "rgb(255, 255, 255)", "dark": "rgb(26, 31, 38)"}[scheme]
        assert wrong == []
