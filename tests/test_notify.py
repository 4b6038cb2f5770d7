"""The kind `notify`: all are told, what cannot be reached is named by its place, and no address is ever shown.

Tells a real server in a thread of the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import kind as helper
from tests.helpers.server import Asked, Server
from wfctl.jobs import Result
from wfctl.kinds.notify import Notify, document

# What apprise stands on warns of what Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")

Tell = Callable[..., Result]
Given = Mapping[str, Any]
NONE: Given = {}


@pytest.fixture
def tools(tmp_path: Path) -> helper.Kept:
    return helper.Kept(str(tmp_path))


@pytest.fixture
def tell(tools: helper.Kept) -> Tell:
    """Performs `notify: {to, …}`; secrets and other names go beside."""

    def perform(to: object, secrets: Given = NONE, names: Given = NONE, **more: Any) -> Result:
        return helper.perform(Notify(), {"notify": {"to": to, **more}}, tools, secrets, **names)

    return perform


def test_a_webhook_is_posted_what_chats_show_and_what_programs_read(tell: Tell, server: Server) -> None:
    names = {"params": {"nodes": ["a"]}}
    result = tell([f"{server.url}/echo"], title="orders: failed", body="${{ params.nodes }}", names=names)
    assert (result.reason, result.output) == ("", {"reached": [0], "failed": []})
    [seen] = server.seen
    text = 'orders: failed\n[\n  "a"\n]'
    assert server.json() == {"title": "orders: failed", "body": ["a"], "text": text, "content": text}
    assert (seen.method, seen.headers["content-type"]) == ("POST", "application/json")
    assert seen.headers["idempotency-key"] == "r/a/0"


def test_title_and_body_may_be_absent_and_a_long_text_is_cut_where_it_must_be() -> None:
    assert document("", None) == {"title": "", "body": None, "text": "", "content": ""}
    assert document("t", None)["text"] == "t"
    assert document("", "b")["text"] == "b"
    long = document("t", "x" * 5000)
    assert len(str(long["text"])) == 5002
    assert len(str(long["content"])) == 2000


def test_all_are_told_and_one_that_is_not_reached_is_a_failure(
    tell: Tell, server: Server, make_server: Callable[..., Server], tools: helper.Kept
) -> None:
    away = make_server()
    away.go()
    result = tell([f"{away.url}/x", f"{server.url}/echo", f"{server.url}/status/500", f"{server.url}/echo"], title="t")
    away.come()
    assert result.reason == "notify"
    assert result.error == "2 of 4 not reached: to[0]: connection refused; to[2]: HTTP 500 Internal Server Error"
    assert result.output["reached"] == [1, 3]
    assert result.output["failed"] == [
        {"to": 0, "error": "connection refused"},
        {"to": 2, "error": "HTTP 500 Internal Server Error"},
    ]
    assert tools.lines == ["to[0]: connection refused", "to[2]: HTTP 500 Internal Server Error"]


def test_an_address_that_is_a_secret_is_never_shown(tell: Tell, server: Server, tools: helper.Kept) -> None:
    for address in (f"{server.url}/status/404/T0KEN", "http://h:T0KEN/", "slack:T0KEN", "zulip1://T0KEN/x", "https://\nT0KEN"):
        result = tell(["x${{ secrets.HOOK }}", "${{ secrets.HOOK }}"], secrets={"HOOK": address}, title="t")
        assert result.reason == "notify"
        assert "T0KEN" not in repr(result) + repr(tools.lines)
    assert [seen.path for seen in server.seen] == ["/status/404/T0KEN"]


def test_one_address_may_stand_without_a_list(tell: Tell, server: Server) -> None:
    assert tell(f"{server.url}/echo", body="b").output["reached"] == [0]
    listed = tell("${{ params.to }}", names={"params": {"to": [f"{server.url}/echo"] * 2}}, body="b")
    assert listed.output["reached"] == [0, 1]
    assert tell("${{ params.to }}", names={"params": {"to": 3}}).error == "1 of 1 not reached: to[0]: that is no URL"
    assert tell("${{ params.to }}", names={"params": {"to": []}}).reason == "not_started"


def test_what_is_no_address_shows_before_the_run() -> None:
    def faults(to: object) -> list[str]:
        return [f"{p.shown_path}: {p.message}" for p in helper.faults(Notify(), {"notify": {"to": to}})]

    assert faults(["https://h/x", "slack://a/b", "${{ params.x }}"]) == []
    assert faults(["h/x"]) == ["nodes.a.notify.to[0]: is no URL"]
    assert faults([""]) == ["nodes.a.notify.to[0]: is no URL"]


def test_who_is_told_to_stop_tells_nobody_more(tell: Tell, server: Server, tools: helper.Kept) -> None:
    def answer(asked: Asked) -> None:
        tools.stop()
        asked.answer()

    server.own["/stop"] = answer
    result = tell([f"{server.url}/stop", f"{server.url}/echo"], body="b")
    assert [fault["error"] for fault in result.output["failed"]] == ["stopped", "stopped"]
    assert [seen.path for seen in server.seen] == ["/stop"]


def test_other_addresses_need_apprise(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)       # as where it is not installed
    result = tell(["slack://a/b/c"], title="t")
    assert result.error.endswith('only http:// and https:// are known without apprise; pip install "wfctl[notify]"')


def test_apprise_tells_what_it_knows(
    tell: Tell, server: Server, tools: helper.Kept, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("apprise", reason="apprise is not installed")
    place = f"127.0.0.1:{server.port}"
    to = [f"json://{place}/echo", f"json://{place}/status/500", "martian://${{ secrets.T }}"]
    result = tell(to, title="t", body={"a": 1}, secrets={"T": "T0KEN"})
    assert (server.seen[0].method, server.json()["title"]) == ("POST", "t")
    assert server.json()["message"] == '{\n  "a": 1\n}'
    assert result.output["reached"] == [0]
    assert [fault["error"] for fault in result.output["failed"]] == [
        "apprise could not reach it",
        "apprise knows no such address; correct it",
    ]
    assert [line for line in tools.lines if line.startswith("apprise: ")]
    assert capfd.readouterr() == ("", "")
