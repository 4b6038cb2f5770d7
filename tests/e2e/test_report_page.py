"""The page of a run in a real browser: opened at once, searched, sorted, printed; and nothing of others runs in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.e2e.test_foreign_text import MARKS
from tests.helpers.browser import opened, running
from wfctl import dossier
from wfctl.renderers.picture import Picture, PictureEdge, PictureNode
from wfctl.renderers.report import render
from wfctl.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ATTACKS = (
    "</script><script>window.ran=1</script>",
    "<img src=x onerror=window.ran=2>",
    "\"'><svg/onload=window.ran=3>",
    "<!--<script>",
    "javascript:window.ran=4",
    "\x1b[31mred\x1b]8;;http://x/\x07\x1b[0m",
    "\x00" + MARKS,
)
EVIL = " ".join(ATTACKS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as started:
        yield started


def wfctl(folder: Path, *words: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(folder / ".wfctl")}
    subprocess.run([sys.executable, "-m", "wfctl", *words], cwd=folder, env=env, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of 60 nodes, one of which says hostile things under hostile names, and fails."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "say.py").write_text(
        f"import os, sys\nsys.stdout.buffer.write({EVIL.encode()!r})\n"
        f"open(os.environ['WFCTL_OUTPUT'], 'w').write({json.dumps(json.dumps(EVIL))})\n"
        "sys.exit(3 if 'fail' in sys.argv else 0)\n"
    )
    evil, say = json.dumps(EVIL.replace("\x00", "")), f"{sys.executable} say.py"
    steps = "\n".join(f'  step-{i}: {{run: "true", needs: [says], estimate: {i}s}}' for i in range(55))
    (folder / "flow.yaml").write_text(f"""
version: 1
description: {evil}
on_failure: continue
params: {{p: {{type: string, default: {evil}}}}}
nodes:
  says: {{run: "{say}", description: {evil}, compensate: [{{run: [echo, {evil}]}}]}}
  fails: {{run: "{say} fail", needs: [says]}}
  each: {{for_each: ["{ATTACKS[1]}"], key: "${{{{ item }}}}", run: [echo, {evil}], needs: [says]}}
{steps}
""")
    wfctl(folder, "run", "flow.yaml")
    wfctl(folder, "report", "last", "-o", "r.html")
    return folder / "r.html"


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run that failed deep inside, with a long log, and was undone in part."""
    folder = tmp_path_factory.mktemp("stuck")
    (folder / "flow.yaml").write_text("""
version: 1
name: trip
nodes:
  flight: {run: "true", compensate: [{run: "true"}]}
  hotel: {run: "true", needs: [flight], compensate: [{run: "echo closed; exit 5"}]}
  car: {run: "true", needs: [hotel], compensate: [{run: "true"}]}
  tickets: {for_each: [1, 2], run: "test ${{ item }} = 2", needs: [hotel], collect: {tolerate: 1}}
  papers:
    needs: [car, tickets]
    nodes:
      photo: {run: "true"}
      offices: {needs: [photo], nodes: {visa: {run: "seq 1 100; echo the reason >&2; exit 4"}}}
rollback: {retry: {attempts: 1}}
""")
    wfctl(folder, "run", "flow.yaml")
    wfctl(folder, "report", "last", "-o", "r.html")
    return folder / "r.html"


@pytest.fixture
def page(browser: Browser, ran: Path) -> Iterator[Page]:
    """The page, opened; at the end nothing of others has run in it, and nothing was asked for beside it."""
    with opened(browser, ran) as (page, wrong):
        yield page
        assert page.evaluate("window.ran") is None
        assert wrong == []


def rows(page: Page) -> list[str]:
    return page.locator("table.nodes tbody tr td:nth-child(2)").all_inner_texts()


def test_hostile_text_is_text_wherever_it_is_shown(page: Page) -> None:
    for node in ("says", "fails", "each"):
        page.locator("table.nodes tbody").get_by_role("button", name=node, exact=True).click()
        assert page.locator("aside h2").inner_text() == node
        assert page.locator("main img, aside img, header img, body > script:not([type])").count() == 1  # our own script
    page.locator("table.nodes tbody").get_by_role("button", name="fails", exact=True).click()
    log = page.locator("aside pre.log").first.inner_text()
    assert "</script><script>window.ran=1</script> <img src=x onerror=window.ran=2>" in log
    assert "\\x00\\u202a" in log
    assert "\\x1b]8;;http://x/\\x07" in log
    assert all(mark not in page.locator("body").inner_text() for mark in MARKS)


def test_a_script_that_got_in_would_not_run(browser: Browser, ran: Path) -> None:
    """The policy alone stops it, should ever a text be taken for markup."""
    with opened(browser, ran) as (page, wrong):
        page.evaluate("""() => {
            const made = document.createElement("div");
            made.innerHTML = "<img src=x onerror='window.ran = 5'><a href='javascript:window.ran = 6' id=evil>x</a>";
            document.body.append(made);
            const script = document.createElement("script");
            script.textContent = "window.ran = 7";
            document.body.append(script);
            document.getElementById("evil").click();
        }""")
        page.wait_for_function("() => true")
        assert page.evaluate("window.ran") is None
        refused = [one for one in wrong if one.startswith("error: ")]
        assert len(refused) == 4
        assert all("Content Security Policy" in one for one in refused)


def seen(page: Page, what: Locator) -> bool:
    """Whether a reader who has touched nothing sees all of it."""
    box, window = what.bounding_box(), page.viewport_size
    return box is not None and window is not None and box["y"] + box["height"] < window["height"]


def test_who_opens_the_page_of_a_failure_sees_what_failed_why_what_was_undone_and_what_to_type(
    browser: Browser, stuck: Path
) -> None:
    with opened(browser, stuck, viewport={"width": 1280, "height": 800}) as (page, wrong):
        top = page.locator("#wrong")
        stories = top.locator(".wrong > p:first-child").all_inner_texts()
        assert [story[1:] for story in stories] == [
            "papers.offices.visa exit code 4", "hotel was not undone: exit code 5",
            "tickets[0] exit code 1; tolerated",
        ]  # fmt: skip
        log = top.locator("pre.log").first
        assert log.inner_text().endswith("100\nthe reason")
        hidden = log.evaluate("log => log.scrollHeight - log.clientHeight - log.scrollTop")
        assert hidden < 2  # it stands at its end
        head = page.locator("header").inner_text()
        assert "rollback failed" in head
        assert all(line in head.splitlines() for line in ("undone: car", "waits for what was not undone: flight"))
        assert "--retry hotel" in head
        assert seen(page, log)
        assert seen(page, page.locator("header .cmd").last)
        assert wrong == []


def test_times_are_those_of_the_reader_and_say_so(browser: Browser, ran: Path) -> None:
    for zone, told in (("Asia/Kolkata", "UTC+05:30"), ("America/St_Johns", "UTC−0[23]:30"), ("UTC", "UTC")):
        with opened(browser, ran, timezone_id=zone) as (page, _):
            moment = rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {told}"
            moment = moment.replace("+", "[+]")
            assert re.search(rf"started {moment}, ended {moment} · run ", page.locator("header").inner_text())
            assert re.search(rf"Made {moment}\.", page.locator("footer").inner_text())


UNNAMED = """() => [...document.querySelectorAll("button,input,a,th,pre,aside,section,nav,[tabindex],[role]")]
    .filter((one) => one.checkVisibility() && !one.closest("[aria-hidden=true]"))
    .filter((one) => !(one.getAttribute("aria-label") || one.textContent).trim()).map((one) => one.outerHTML)"""


def test_by_keys_alone_all_is_reached_seen_and_named(browser: Browser, stuck: Path) -> None:
    with opened(browser, stuck) as (page, wrong):
        at = "document.activeElement"
        reached: set[str] = set()
        while "rollback" not in reached:
            page.keyboard.press("Tab")
            assert page.evaluate(f"{at} !== document.body")  # else all was passed
            reached.add(page.evaluate(f"{at}.closest('header, nav, section, body').id || {at}.parentElement.className"))
            seen = f"(s => s.outlineStyle + getComputedStyle({at}.querySelector('rect') || {at}).strokeWidth)"
            assert page.evaluate(f"{seen}(getComputedStyle({at}))") != "none1px", page.evaluate(f"{at}.outerHTML")
        assert {"wrong", "graph", "timeline", "nodes"} <= reached
        assert page.evaluate(UNNAMED) == []
        page.locator("table.nodes").get_by_role("button", name="hotel").focus()
        page.keyboard.press("Enter")
        assert page.get_by_role("complementary", name="hotel").is_visible()
        assert page.evaluate(f"{at}.tagName") == "ASIDE"
        assert page.evaluate(UNNAMED) == []
        page.keyboard.press("Escape")
        assert page.evaluate(f"{at}.textContent") == "hotel"
        assert wrong == []


def test_on_a_phone_nothing_is_cut_off(browser: Browser, stuck: Path) -> None:
    with opened(browser, stuck, viewport={"width": 400, "height": 800}, has_touch=True) as (page, wrong):
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        page.locator("nav.bar").get_by_role("link", name="Timeline").tap()
        page.locator("table.nodes").get_by_role("button", name="hotel").tap()
        panel = page.locator("aside")
        assert panel.evaluate("panel => panel.scrollWidth - panel.clientWidth") == 0
        page.keyboard.press("Escape")
        view = page.locator(".wf-view:visible")
        view.scroll_into_view_if_needed()
        touch = "view => getComputedStyle(view).touchAction"
        assert view.evaluate(touch) == "pan-y"  # who only scrolls by is not caught
        view.focus()
        assert view.evaluate(touch) == "none"
        width = "view => view.querySelector('svg').viewBox.baseVal.width"
        before = view.evaluate(width)
        view.evaluate("""view => {
            const { x, y } = view.getBoundingClientRect();
            const finger = (type, pointerId, at) => view.dispatchEvent(
                new PointerEvent(type, { pointerId, clientX: x + at, clientY: y + 50, bubbles: true }));
            finger("pointerdown", 1, 100); finger("pointerdown", 2, 150);
            finger("pointermove", 2, 160); finger("pointermove", 2, 220);
            finger("pointerup", 1, 100); finger("pointerup", 2, 220);
        }""")
        assert view.evaluate(width) == pytest.approx(before * 50 / 120, rel=0.01)  # pixels apart, before and now
        assert wrong == []


def test_without_its_script_the_page_still_tells_what_failed(browser: Browser, stuck: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(stuck.as_uri())
    told = page.locator("body").inner_text()
    assert "rollback failed after" in told
    assert "papers.offices.visa: exit code 4" in told
    assert "--retry hotel" in told
    context.close()


def test_the_search_and_the_states_choose_what_is_shown(page: Page) -> None:
    assert len(rows(page)) == 59
    page.keyboard.press("/")
    page.keyboard.type("STEP-4")
    assert rows(page) == ["step-4", *(f"step-{i}" for i in range(40, 50))]
    assert page.get_by_role("status").inner_text() == "11 of 59"
    page.keyboard.press("Escape")
    assert len(rows(page)) == 59
    page.locator("header").get_by_role("button", name="failed").click()
    assert rows(page) == ["fails"]
    page.get_by_role("button", name="show all").click()
    assert len(rows(page)) == 59


def test_the_table_is_sorted_by_any_column_and_back(page: Page) -> None:
    page.get_by_role("button", name="estimate", exact=True).click()
    assert rows(page)[:3] == ["step-54 ◆", "step-53", "step-52"]
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="node", exact=True).click()
    found = [name.split()[0] for name in rows(page)]
    assert found.index("step-9") + 1 == found.index("step-10")  # numbers in names are numbers


def test_a_node_is_opened_by_mouse_and_keys_and_has_an_address(page: Page) -> None:
    panel = page.locator("aside")
    page.locator("#timeline rect[data-n]").first.click()
    assert panel.is_visible()
    page.keyboard.press("Escape")
    assert panel.is_hidden()
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert panel.locator("h2").inner_text() == "fails"
    assert page.url.endswith("#node=fails")
    assert page.locator("tr.on").inner_text().split()[:2] == ["✗", "failed"]
    panel.get_by_role("button", name="says", exact=True).click()
    assert panel.locator("h2").inner_text() == "says"
    page.goto(page.url.partition("#")[0] + "#node=step-7")
    assert panel.locator("h2").inner_text() == "step-7"


def test_the_graph_shows_what_is_chosen_and_what_is_searched(page: Page) -> None:
    graph, panel = page.locator("#graph"), page.locator("aside")
    boxes = graph.locator(".n:visible")
    assert boxes.count() == 58
    graph.locator(".n[data-node=fails]").click()
    assert panel.locator("h2").inner_text() == "fails"
    assert graph.locator(".n.on").count() == 2  # what is before it is lit too
    page.keyboard.press("Escape")
    assert panel.is_hidden()
    assert graph.locator(".n.on").count() == 0
    page.locator("table.nodes").get_by_role("button", name="each[", exact=False).click()
    assert graph.locator(".n.it:visible").get_attribute("data-node") == f"each[{ATTACKS[1]}]"  # on a level of its own
    page.keyboard.press("Escape")
    graph.get_by_role("navigation").get_by_role("button").first.click()
    page.keyboard.press("/")
    page.keyboard.type("step-4")
    assert graph.locator(".n.on:visible").count() == 11
    page.keyboard.press("Enter")
    assert panel.locator("h2").inner_text() == "step-4"


def test_what_lies_in_a_box_of_the_graph_is_opened_and_left_again(browser: Browser, stuck: Path) -> None:
    with opened(browser, stuck) as (page, wrong):
        graph, panel = page.locator("#graph"), page.locator("aside")

        def drawn(which: str = ".n") -> list[str]:
            boxes = graph.locator(f"{which}:visible").all()
            return [box.get_attribute("data-node") or "" for box in boxes]

        graph.scroll_into_view_if_needed()
        graph.locator(".n[data-node=papers] .into").click()
        assert panel.is_hidden()
        assert drawn() == ["papers.photo", "papers.offices"]
        assert graph.locator(".e:visible path").count() == 1
        graph.locator(".n[data-node='papers.offices']").focus()
        page.keyboard.press("o")
        assert drawn() == ["papers.offices.visa"]
        assert graph.get_by_role("navigation").inner_text().split() == ["trip", "›", "papers", "›", "papers.offices"]
        page.keyboard.press("u")
        page.keyboard.press("u")
        assert set(drawn()) == {"flight", "hotel", "car", "tickets", "papers"}
        page.keyboard.press("/")
        page.keyboard.type("visa")
        assert drawn(".n.on") == ["papers"]  # what holds what is found
        page.locator("table.nodes").get_by_role("button", name="papers.offices.visa").click()
        assert drawn(".n.it") == ["papers.offices.visa"]
        panel.get_by_role("button", name="papers.offices", exact=True).click()
        assert "1 failed: papers.offices.visa" in panel.inner_text()
        panel.get_by_role("button", name="look inside").click()
        assert panel.is_hidden()
        assert drawn() == ["papers.offices.visa"]
        graph.locator(".n:visible").click()
        box, beside = graph.locator(".n.it").bounding_box(), panel.bounding_box()
        assert box is not None
        assert beside is not None
        assert box["x"] + box["width"] < beside["x"]  # what is chosen is not covered by what is told of it
        assert wrong == []


def test_the_timeline_is_drawn_by_node_and_by_resource_and_zoomed(page: Page) -> None:
    timeline = page.locator("#timeline")
    assert timeline.get_by_role("button", name="by node").get_attribute("aria-pressed") == "true"
    labels = timeline.locator("svg text.label")
    assert labels.count() == 58  # all but the one that holds another
    timeline.get_by_role("button", name="by resource").click()
    assert labels.count() == 0
    assert timeline.locator("svg path.area").count() == 1
    before = timeline.locator("svg text.soft").first.text_content(), timeline.locator("rect.plan").count()
    for _ in range(4):
        timeline.get_by_role("button", name="nearer").click()
    assert (timeline.locator("svg text.soft").first.text_content(), timeline.locator("rect.plan").count()) != before


def test_hours_in_which_nobody_drove_the_run_are_no_part_of_its_timeline(
    browser: Browser, stuck: Path, tmp_path: Path
) -> None:
    told = dossier.gather(*dossier.read(Store(stuck.parent / ".wfctl").find_run("last")))
    last, hour = told["nodes"]["papers.offices.visa"]["attempts"][-1], 3600
    told["breaks"] = [[last["start"] - 0.001, last["start"] - 0.001 + hour]]
    last.update(ready=last["start"] + hour, start=last["start"] + hour, end=last["end"] + hour)
    told["ended"] += hour
    (tmp_path / "r.html").write_text(render(told))
    with opened(browser, tmp_path / "r.html") as (page, wrong):
        timeline = page.locator("#timeline")
        assert re.search(r"took 0\.\d\ds", timeline.inner_text())
        assert timeline.locator(".idle title").text_content() == "nobody drove the run for 1h 00m"
        assert timeline.locator("rect.did.bad").first.is_visible()
        assert "more nodes than a browser can draw" in page.locator("#graph").inner_text()  # no picture was given
        assert wrong == []


def test_light_and_dark_are_as_the_system_has_it_or_as_one_chooses(browser: Browser, ran: Path) -> None:
    def brightness(page: Page) -> int:
        return int(page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"))

    for scheme, dark in (("light", False), ("dark", True)):
        with opened(browser, ran, color_scheme=scheme) as (page, wrong):
            assert (brightness(page) < 100) is dark
            page.keyboard.press("t")
            assert (brightness(page) < 100) is not dark
            page.emulate_media(media="print")
            assert brightness(page) == 255
            assert not page.locator("nav.bar").is_visible()
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
            assert page.locator(".paper svg .n").count() == 58
            assert page.locator(".paper svg .n").last.is_visible()
            page.evaluate("dispatchEvent(new Event('afterprint'))")
            assert page.locator(".paper").count() == 0
            assert page.pdf().startswith(b"%PDF")
            assert wrong == []


def test_a_page_of_5000_nodes_is_below_5_mb_and_works_as_a_small_one_does(
    browser: Browser, ran: Path, tmp_path: Path
) -> None:
    record, events = dossier.read(Store(ran.parent / ".wfctl").find_run("last"))
    told = dossier.gather(record, events, lines=0)
    like = told["nodes"]["step-1"]
    told["nodes"] |= {
        f"node-{i}": {**like, "needs": [f"node-{j}" for j in {i - 70, i - 50 - i % 9} if j >= 0]} for i in range(5000)
    }
    told["plan"]["nodes"] |= {f"node-{i}": [told["began"] + i, told["began"] + i + 3] for i in range(5000)}
    told["events"] += [[told["began"] + i, "node_started", f"node-{i % 5000}", "attempt 1"] for i in range(10_000)]
    edges = [PictureEdge(need, name) for name in told["nodes"] for need in told["nodes"][name]["needs"]]
    boxes = tuple(PictureNode(name, "run", "succeeded", 0.5) for name in told["nodes"])
    (tmp_path / "r.html").write_text(render(told, Picture("large", boxes, tuple(edges))))
    assert (tmp_path / "r.html").stat().st_size < 5_000_000
    with opened(browser, tmp_path / "r.html") as (page, wrong):
        page.keyboard.press("/")
        page.keyboard.type("node-4999")
        assert rows(page) == ["node-4999"]
        page.keyboard.press("Enter")
        assert page.locator("#graph .n.it[data-node=node-4999]").is_visible()
        drawn = "[...document.querySelectorAll('#graph svg text, #graph path')].filter(one => one.checkVisibility())"
        assert 0 < page.evaluate(f"{drawn}.length") < 1000  # only what can be seen: else to move is slow
        page.keyboard.press("Escape")
        page.get_by_role("button", name="all of it").first.click()
        page.wait_for_function("document.querySelectorAll('#graph .off').length === 0")
        assert wrong == []
