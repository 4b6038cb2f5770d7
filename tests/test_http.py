"""The kind `http`: what is sent, what becomes of an answer, and what of none.

Asks a real server in a thread of the test. Nothing here knows an engine."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import threading
import zlib
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.helpers import kind as helper
from tests.helpers.server import Asked, Certificate, Server
from wfctl import __version__, exchange
from wfctl.jobs import Result
from wfctl.kinds.http import Http

Ask = Callable[..., Result]
Given = Mapping[str, Any]
NONE: Given = {}


@pytest.fixture
def tools(tmp_path: Path) -> helper.Kept:
    return helper.Kept(str(tmp_path))


@pytest.fixture
def ask(tools: helper.Kept) -> Ask:
    """Performs `http: {url, …}`: `ask(url, method="POST")`; secrets, vars and other names go beside."""

    def perform(url: str, secrets: Given = NONE, vars: Given = NONE, names: Given = NONE, **more: Any) -> Result:
        return helper.perform(Http(), {"http": {"url": url, **more}}, tools, secrets, vars, **names)

    return perform


def faults(**keys: Any) -> list[str]:
    return [f"{p.shown_path}: {p.message}" for p in helper.faults(Http(), {"http": keys})]


# -- what is sent ------------------------------------------------------------------------------------------------


def test_a_request_says_who_asks_and_asks_for_it_as_it_is(ask: Ask, server: Server) -> None:
    assert ask(f"{server.url}/echo").reason == ""
    [seen] = server.seen
    assert (seen.method, seen.target, seen.body) == ("GET", "/echo", b"")
    assert seen.headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": f"wfctl/{__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
    }


def test_a_value_is_sent_as_json(ask: Ask, server: Server) -> None:
    x = {"params": {"x": 2}}
    ask(f"{server.url}/echo", method="put", json={"a": [1, None, "ü"], "b": "${{ params.x }}"}, names=x)
    seen = server.seen[0]
    assert (seen.method, seen.headers["content-type"]) == ("PUT", "application/json")
    assert server.json() == {"a": [1, None, "ü"], "b": 2}


def test_a_null_that_an_expression_yields_is_sent_and_one_that_is_written_unsets(ask: Ask, server: Server) -> None:
    ask(f"{server.url}/echo", json="${{ params.x }}", names={"params": {"x": None}})
    ask(f"{server.url}/echo", json=None)
    assert [(seen.method, seen.body) for seen in server.seen] == [("POST", b"null"), ("GET", b"")]


def test_a_body_is_text_and_a_file_is_sent_as_it_lies_there(ask: Ask, server: Server, tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(b"\x00\xff" * 300_000)
    ask(f"{server.url}/echo", body="größe")
    ask(f"{server.url}/echo", method="PUT", body={"file": "in.bin"})
    ask(f"{server.url}/echo", method="POST", body={"file": str(tmp_path / "in.bin")}, headers={"content-type": "x/y"})
    text, first, second = server.seen
    assert (text.method, text.body.decode()) == ("POST", "größe")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert first.body == second.body == b"\x00\xff" * 300_000
    assert (first.headers["content-type"], second.headers["content-type"]) == ("application/octet-stream", "x/y")


def test_a_body_that_an_expression_yields_is_never_the_name_of_a_file(ask: Ask, server: Server, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("nobody's business")
    ask(f"{server.url}/echo", body="${{ params.x }}", names={"params": {"x": {"file": "private"}}})
    assert json.loads(server.seen[0].body) == {"file": "private"}


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"user": "me", "password": "größe:x"}, "Basic " + base64.b64encode("me:größe:x".encode()).decode()),
        ({"user": "me"}, "Basic " + base64.b64encode(b"me:").decode()),
        ({"bearer": "tok/en=="}, "Bearer tok/en=="),
        ("${{ params.auth }}", "Bearer it"),
    ],
)
def test_auth_becomes_a_header(ask: Ask, server: Server, auth: object, header: str) -> None:
    ask(f"{server.url}/echo", auth=auth, names={"params": {"auth": {"bearer": "it"}}})
    assert server.seen[0].headers["authorization"] == header


def test_user_and_password_of_a_url_are_auth_and_are_not_shown(ask: Ask, server: Server) -> None:
    result = ask(f"http://me:p%40ss@127.0.0.1:{server.port}/status/500")
    assert server.seen[0].headers["authorization"] == exchange.basic("me", "p@ss")
    assert "p%40ss" not in result.error
    assert "p@ss" not in result.error


def test_headers_of_the_file_stand_before_ours(ask: Ask, server: Server) -> None:
    own = {"user-agent": "me", "ACCEPT": "text/csv", "X-Size": "größe", "X-N": 3, "X-None": None}
    ask(f"{server.url}/echo", headers=own)
    seen = server.seen[0].headers
    assert (seen["user-agent"], seen["accept"], seen["x-n"]) == ("me", "text/csv", "3")
    assert seen["x-size"].encode("latin-1").decode() == "größe"
    assert "x-none" not in seen


def test_what_may_change_something_has_a_key_that_is_the_same_for_all_attempts(
    ask: Ask, server: Server, tools: helper.Kept
) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
        ask(f"{server.url}/echo", method=method)
    ask(f"{server.url}/echo", method="POST", headers={"idempotency-key": "mine"})
    tools.key = "r/größe[\n]"
    ask(f"{server.url}/echo", method="POST")
    tools.key = "r/" + "x" * 300
    ask(f"{server.url}/echo", method="POST")
    keys = [seen.headers.get("idempotency-key") for seen in server.seen]
    assert keys[:8] == [None] * 3 + ["r/a"] * 4 + ["mine"]
    assert keys[8] == "r/gr%C3%B6%C3%9Fe[%0A]"
    assert len(keys[9] or "") == 64


# -- the URL, and foreign values ----------------------------------------------------------------------------------

HOSTILE = [
    '"; touch pwned; #',
    "$(touch pwned)",
    "a\r\nX-Evil: 1\r\n\r\nGET /other",
    "'; DROP TABLE x; --",
    "../../admin",
    "1/delete?force=1&x=2#top",
    "@evil.example/",
    "größe 100%25 %2e%2e",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_behind_the_host_stays_one_piece_of_the_url(ask: Ask, server: Server, value: str) -> None:
    result = ask(
        server.url + "/echo/${{ params.x }}/end?q=${{ params.x }}",
        params={"p": "${{ params.x }}", "${{ no }}": 1},
        names={"params": {"x": value}},
    )
    assert result.reason == "", result.error
    [seen] = server.seen
    path, _, query = seen.target.partition("?")
    assert seen.target.isascii()
    before, middle, end = path.split("/")[1:]
    assert (before, unquote(middle), end) == ("echo", value, "end")
    assert [unquote(pair) for pair in query.split("&")] == [f"q={value}", f"p={value}", "${{ no }}=1"]
    assert "x-evil" not in seen.headers


def test_a_url_may_be_an_expression_or_begin_with_one(ask: Ask, server: Server) -> None:
    base = server.url
    names = {"params": {"url": f"{base}/echo?a=b c", "base": base, "port": server.port, "next": "/echo?page=2"}}
    for url in (
        "${{ params.url }}",
        "${{ params.base }}/echo/${{ 1 }}",
        "http://127.0.0.1:${{ params.port }}/echo",
        "${{ params.base }}${{ params.next }}",
    ):
        assert ask(url, names=names).reason == ""
    assert [seen.target for seen in server.seen] == ["/echo?a=b%20c", "/echo/1", "/echo", "/echo?page=2"]


def test_params_come_behind_what_the_url_says(ask: Ask, server: Server) -> None:
    params = {"many": [1, "b"], "none": None, "yes": True, "deep": {"a": 1}, "ü": "&="}
    ask(f"{server.url}/echo?a=1#part", params=params)
    ask(f"{server.url}/echo", params={"none": None})
    [first, second] = [seen.target for seen in server.seen]
    assert first == "/echo?a=1&many=1&many=b&yes=true&deep=%7B%22a%22%3A%201%7D&%C3%BC=%26%3D"
    assert second == "/echo"


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("${{ 'http://h/\\r\\nX: 1' }}", "the URL holds a line break or another control character; take it out"),
        ("${{ 'ftp://h/' }}", "that is no URL that starts with http:// or https://"),
        ("${{ 'h/x' }}", "that is no URL that starts with http:// or https://"),
        ("${{ 'http:///x' }}", "the host or port of the URL is none; write https://host or https://host:8443"),
        ("${{ 'http://h:99999/x' }}", "the host or port of the URL is none; write https://host or https://host:8443"),
        ("${{ 'http://h a/x' }}", "the host or port of the URL is none; write https://host or https://host:8443"),
        ("${{ 'http://a..b/x' }}", "the host or port of the URL is none; write https://host or https://host:8443"),
        ("${{ 'http://a\\\\b/x' }}", "the host or port of the URL is none; write https://host or https://host:8443"),
        ("http://good.example${{ '@evil.example/' }}", 'value 1 in the URL holds a "@" or "\\" and would choose'),
        ("http://h/${{ null }}", "value 1 in the URL is null"),
    ],
)
def test_a_url_that_is_none_is_not_asked_for(ask: Ask, url: str, error: str) -> None:
    result = ask(url)
    assert result.reason == "not_started"
    assert error in result.error


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"headers": {"X-A": "${{ 'a\\r\\nX-B: 1' }}"}}, 'the header "X-A" holds a line break or another control'),
        ({"headers": "${{ {'X-A': 'a\\u0000'} }}"}, 'the header "X-A" holds a line break or another control'),
        ({"headers": "${{ {'X A': 1} }}"}, '"X A" is no name of a header'),
        ({"headers": "${{ {'Content-Length': 1} }}"}, 'the header "Content-Length" follows from what is sent'),
        ({"headers": "${{ [1] }}"}, "headers is no mapping of names to texts"),
        ({"method": "${{ 'GET / HTTP/1.1\\r\\n' }}"}, "the method is none; write one such as GET, POST or DELETE"),
        ({"method": "${{ 'CONNECT' }}"}, "the method is none; write one such as GET, POST or DELETE"),
        ({"auth": {"bearer": "${{ 'a\\nb' }}"}}, "auth.bearer is empty, or holds a blank, a line break or what is not"),
        ({"auth": {"user": "${{ 'a:b' }}", "password": "x"}}, 'auth.user holds a ":", which no user of basic'),
        ({"auth": "${{ {'user': 'a', 'bearer': 'b'} }}"}, "auth is neither {user, password} nor {bearer}"),
        ({"auth": {"bearer": "a"}, "headers": "${{ {'authorization': 'b'} }}"}, "auth and a header Authorization are"),
        ({"params": "${{ 'a=b' }}"}, "params is no mapping of names to values"),
        ({"body": {"file": "${{ '../x' }}"}}, 'body.file: "../x" leads out of the root folder'),
        ({"body": {"file": "${{ '/etc/passwd' }}"}}, 'body.file: "/etc/passwd" lies outside of the root folder'),
        ({"body": {"file": "nowhere"}}, 'body.file: "nowhere" cannot be read: no such file or directory'),
        ({"body": {"file": "."}}, 'body.file: "." is no file; name one'),
        ({"save": "${{ '../x' }}"}, 'save: "../x" leads out of the root folder'),
        ({"save": "${{ 'a\\u0000' }}"}, "save: expected a path"),
    ],
)
def test_what_cannot_be_sent_is_not_sent(ask: Ask, server: Server, more: dict[str, Any], error: str) -> None:
    result = ask(f"{server.url}/echo", **more)
    assert (result.reason, server.seen) == ("not_started", [])
    assert error in result.error
    assert result.output["status"] == 0


def test_what_shows_before_any_value_is_known_is_a_fault_of_the_file() -> None:
    assert faults(url="ftp://h/x") == ['nodes.a.http.url: "ftp://h/x" is no URL of http or https']
    assert faults(url="h/x") == ['nodes.a.http.url: "h/x" is no URL of http or https']
    assert faults(url="file:///etc/${{ params.x }}") == ['nodes.a.http.url: "file:///etc/" is no URL of http or https']
    assert faults(url="https://:80/x") == ["nodes.a.http.url: has no host, or one that is none"]
    assert faults(url="ftp://u:p@h") == ['nodes.a.http.url: "ftp://h" is no URL of http or https']
    for url in ("${{ params.x }}", "${{ params.x }}/a", "https://${{ params.x }}", "${{ vars.a }}${{ vars.b }}"):
        assert faults(url=url) == []
    url = "https://h/"
    assert faults(url=url, json=1, body="x") == ["nodes.a.http.json: stands beside body"]
    assert faults(url=url, method="A B") == ['nodes.a.http.method: "A B" is no method']
    assert faults(url=url, headers={"A": "x", "a": "y"}) == [
        'nodes.a.http.headers.a: "a" is "A" once more: case does not count'
    ]
    assert faults(url=url, headers={"A B": "x"}) == ['nodes.a.http.headers.A B: "A B" is no name of a header']
    assert faults(url=url, headers={"A": "x\ny"}) == [
        "nodes.a.http.headers.A: holds a line break or another control character"
    ]
    assert faults(url=url, headers={"Content-Length": "1"}) == [
        'nodes.a.http.headers.Content-Length: "Content-Length" follows from what is sent'
    ]
    assert faults(url=url, auth={"user": "a", "bearer": "b"}) == [
        "nodes.a.http.auth: is {user, password} and {bearer} at once"
    ]
    assert faults(url=url, auth={"bearer": "a"}, headers={"authorization": "b"}) == [
        'nodes.a.http.headers.authorization: "authorization" stands beside auth'
    ]


def test_the_file_that_is_sent_is_read_and_the_one_that_is_saved_is_written() -> None:
    kind = Http()
    raw = {"http": {"url": "http://h/", "body": {"file": "in"}, "save": "out"}}
    body, _ = kind.parse(raw, ("nodes", "a"), None)
    assert (kind.paths(body, "reads"), kind.paths(body, "writes")) == (("in",), ("out",))
    body, _ = kind.parse({"http": {"url": "http://h/", "body": "in"}}, ("nodes", "a"), None)
    assert (kind.paths(body, "reads"), kind.paths(body, "writes")) == ((), ())


# -- the answer ----------------------------------------------------------------------------------------------------


def test_an_answer_is_status_headers_and_json(ask: Ask, server: Server) -> None:
    server.own["/x"] = lambda asked: asked.answer(
        201, '\ufeff{"a": 1e3}', "application/vnd.x+json; charset=utf-8", ("X-A", "1"), ("x-a", "2"),
        ("Set-Cookie", "a=1; Expires=Mon, 1 Jan"), ("set-cookie", "b=2"), ("X-N", "größe".encode().decode("latin-1")),
    )  # fmt: skip
    output = ask(f"{server.url}/x").output
    assert (output["status"], output["json"], output["bytes"]) == (201, {"a": 1000.0}, 13)
    assert output["headers"]["x-a"] == "1, 2"
    assert output["headers"]["x-n"] == "größe"
    assert output["headers"]["set-cookie"] == ["a=1; Expires=Mon, 1 Jan", "b=2"]
    assert "text" not in output


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"gr\xc3\xb6\xc3\x9fe", "text/plain", "größe"),
        (b"gr\xf6\xdfe", "text/plain; charset=ISO-8859-1", "größe"),
        (b"gr\xf6\xdfe", "text/html; charset=utf-8", "gr\ufffd\ufffde"),
        (b"gr\xc3\xb6\xc3\x9fe", "text/plain; charset=martian", "größe"),
        (b"6162", "text/plain; charset=hex", "6162"),
        (b"\\x41", "text/plain; charset=unicode_escape", "\\x41"),
        (b"\xff\xfea\0b\0", "text/csv; charset=utf-16", "ab"),
        (b"plain", "application/octet-stream", "plain"),
        (b"a\0b", "text/plain", "a\0b"),
        (b"", "image/png", ""),
        (b"{no", "application/json", "{no"),
        (b"NaN", "application/json", "NaN"),
        (b"1e999", "application/json", "1e999"),
        (b"9" * 5000, "application/json", "9" * 5000),
        (b"[" * 100_000, "application/json", "[" * 100_000),
        (b"", "application/json", ""),
    ],
)
def test_what_is_no_json_is_text_by_its_charset(ask: Ask, server: Server, body: bytes, kind: str, text: str) -> None:
    server.own["/x"] = lambda asked: asked.answer(200, body, kind)
    result = ask(f"{server.url}/x")
    assert (result.reason, result.output["text"], "json" in result.output) == ("", text, False)


@pytest.mark.parametrize("body", [b"\x89PNG\0", b"\xff\xfe"])
def test_what_is_no_text_points_to_save(ask: Ask, server: Server, body: bytes) -> None:
    server.own["/x"] = lambda asked: asked.answer(200, body, "image/png")
    result = ask(f"{server.url}/x")
    assert (result.reason, result.output["status"], result.output["bytes"]) == ("body", 200, len(body))
    what = f"GET {server.url}/x: the answer is no text (image/png, {len(body)} bytes)"
    assert result.error == f"{what}; write it to a file with save: PATH"


@pytest.mark.parametrize("path", ["bytes/16777217", "endless"])
def test_a_body_that_is_too_large_is_not_held(ask: Ask, server: Server, path: str) -> None:
    result = ask(f"{server.url}/{path}")
    assert result.reason == "body"
    what = "the answer has over 16 MiB, too much for an output"
    assert result.error == f"GET {server.url}/{path}: {what}; write it to a file with save: PATH"


def compressed(content: bytes, name: str) -> bytes:
    if name == "raw":
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(content) + packer.flush()
    return gzip.compress(content) if name == "gzip" else zlib.compress(content)


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw"])
def test_what_comes_compressed_unasked_is_unpacked(ask: Ask, server: Server, name: str) -> None:
    encoding = ("Content-Encoding", "gzip" if name == "gzip" else "deflate")
    server.own["/x"] = lambda asked: asked.answer(200, compressed(b"[1]", name), "application/json", encoding)
    server.own["/bomb"] = lambda asked: asked.answer(200, compressed(b" " * 2**25, name), "application/json", encoding)
    assert ask(f"{server.url}/x").output["json"] == [1]
    assert "over 16 MiB" in ask(f"{server.url}/bomb").error


def test_chunks_are_one_body(ask: Ask, server: Server) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.own["/x"] = lambda asked: asked.raw(head + b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")
    server.own["/cut"] = lambda asked: asked.raw(head + b"3\r\nabc\r\n5\r\nd")
    assert ask(f"{server.url}/x").output["text"] == "abcd"
    assert ask(f"{server.url}/cut").reason == "connection"


def test_head_has_no_body_and_the_length_that_a_get_has(ask: Ask, server: Server) -> None:
    server.own["/x"] = lambda asked: asked.answer(200, "abc")
    output = ask(f"{server.url}/x", method="HEAD").output
    assert (output["bytes"], output["headers"]["content-length"]) == (0, "3")


# -- failures ------------------------------------------------------------------------------------------------------


def test_another_status_than_2xx_is_a_failure_that_says_where_and_what(
    ask: Ask, server: Server, tools: helper.Kept
) -> None:
    result = ask(f"{server.url}/status/503?body=busy%0Acome+back", params={"day": "1 Jan"})
    assert (result.reason, result.unknown) == ("status", False)
    where = f"{server.url}/status/503?body=busy%0Acome+back&day=1%20Jan"
    assert result.error == f"HTTP 503 Service Unavailable, from GET {where}: busy"
    assert (result.output["status"], result.output["text"]) == (503, "busy\ncome back")
    assert tools.lines == ["HTTP 503 Service Unavailable:\nbusy\ncome back"]


def test_a_page_is_not_quoted_and_a_long_line_is_cut(ask: Ask, server: Server) -> None:
    server.own["/page"] = lambda asked: asked.answer(404, "<!DOCTYPE html>", "text/html")
    server.own["/long"] = lambda asked: asked.answer(404, "x" * 1000)
    assert ask(f"{server.url}/page").error == f"HTTP 404 Not Found, from GET {server.url}/page"
    assert ask(f"{server.url}/long").error.endswith("x" * 199 + "…")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("short", "the answer ended early: 91 bytes are missing"),
        ("reset", "connection reset by peer"),
        ("nothing", "the connection was closed without an answer"),
        ("garbage", "the answer is no HTTP: "),
    ],
)
def test_no_whole_answer_is_status_0(ask: Ask, server: Server, path: str, error: str) -> None:
    for method in ("GET", "POST"):
        result = ask(f"{server.url}/{path}", method=method)
        assert (result.reason, result.output["status"], result.retry_after) == ("connection", 0, None)
        assert result.error.startswith(f"{method} {server.url}/{path}: {error}")
        assert result.unknown == (method == "POST")     # it may have had its effect


def test_too_many_headers_are_no_answer(ask: Ask, server: Server) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200))
    server.own["/many"] = lambda asked: asked.raw(head + b"\r\n")
    server.own["/long"] = lambda asked: asked.raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000)
    assert "the answer is no HTTP: got more than 100 headers" in ask(f"{server.url}/many").error
    assert ask(f"{server.url}/long").reason == "connection"


def test_a_server_that_is_away_is_a_failure_of_the_connection(ask: Ask, make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.go()
    result = ask(f"{server.url}/echo", method="POST")
    assert (result.reason, result.error) == ("connection", f"POST {server.url}/echo: connection refused")
    assert "its host was not found" in ask("http://no-such-host.invalid/").error
    server.come()
    assert ask(f"{server.url}/echo").reason == ""


def test_what_was_never_sent_had_no_effect(ask: Ask, make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.go()
    assert not ask(f"{server.url}/echo", method="POST").unknown
    server.come()


def test_what_nothing_comes_of_ends_in_time(
    ask: Ask, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "IDLE", 0.05)
    result = ask(f"{server.url}/hang", method="POST")
    assert (result.reason, result.output["status"], result.unknown) == ("timeout", 0, True)
    assert result.error == f"POST {server.url}/hang: nothing came for too long"


def test_an_address_that_does_not_answer_ends_in_time(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CONNECT", 0.05)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]       # nobody accepts: the queue is full
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        result = ask(f"http://127.0.0.1:{port}/")
        for sock in waiting:
            sock.close()
    assert (result.reason, result.error) == ("timeout", f"GET http://127.0.0.1:{port}/: no connection within 0.05 s")


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (503, {"Retry-After": "7"}, 7),
        (429, {"Retry-After": "0"}, 0),
        (429, {"Retry-After": "99999999999"}, 3600),
        (429, {"Retry-After": "-5"}, None),
        (429, {"Retry-After": "soon"}, None),
        (500, {"Retry-After": "7"}, None),
        (503, {}, None),
        (503, {"Retry-After": formatdate(10**9 + 30, usegmt=True), "Date": formatdate(10**9, usegmt=True)}, 30),
        (503, {"Retry-After": formatdate(10**9 + 30, usegmt=True)}, 0),
        (503, {"Retry-After": formatdate(32 * 10**9, usegmt=True)}, 3600),
    ],
)
def test_a_server_says_how_long_it_wants_to_be_left_alone(
    ask: Ask, server: Server, status: int, headers: dict[str, str], seconds: float | None
) -> None:
    def answer(asked: Asked) -> None:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        asked.raw("\r\n".join([f"HTTP/1.1 {status} No", *lines, "Content-Length: 0", "", ""]).encode())

    server.own["/x"] = answer
    assert ask(f"{server.url}/x").retry_after == seconds


@pytest.mark.parametrize("path", ["hang", "drip", "endless"])
@pytest.mark.parametrize("save", [None, "out"])
def test_whatever_waits_is_ended_from_another_thread(
    server: Server, tools: helper.Kept, tmp_path: Path, path: str, save: str | None
) -> None:
    results: list[Result] = []
    keys = {"url": f"{server.url}/{path}", **({"save": save} if save else {})}
    thread = threading.Thread(target=lambda: results.append(helper.perform(Http(), {"http": keys}, tools)))
    before = helper.descriptors()
    thread.start()
    while not server.seen:
        thread.join(0.001)
    tools.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert results[0].reason in ("connection", "body")      # without an end it is soon too large
    assert list(tmp_path.iterdir()) == []
    assert helper.descriptors() <= before + 1      # the server's side may take a moment


def test_who_was_stopped_before_it_began_sends_nothing(server: Server, tools: helper.Kept) -> None:
    tools.when_stopped = lambda stop: stop()  # type: ignore[method-assign]
    result = helper.perform(Http(), {"http": {"url": f"{server.url}/echo"}}, tools)
    assert (result.reason, server.seen) == ("connection", [])


# -- save ----------------------------------------------------------------------------------------------------------


def test_a_body_is_saved_as_it_comes(ask: Ask, server: Server, tmp_path: Path) -> None:
    result = ask(f"{server.url}/bytes/40000000", save="deep/${{ params.x }}.bin", names={"params": {"x": "a b"}})
    assert result.reason == ""
    assert (result.output["file"], result.output["bytes"]) == ("deep/a b.bin", 40_000_000)
    assert "text" not in result.output
    assert (tmp_path / "deep/a b.bin").stat().st_size == 40_000_000
    assert os.listdir(tmp_path / "deep") == ["a b.bin"]


def test_what_is_not_whole_is_not_saved_and_what_was_there_stays(ask: Ask, server: Server, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("before")
    for path in ("short", "status/404?body=no"):
        assert ask(f"{server.url}/{path}", save="out").reason in ("connection", "status")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "before")]


def test_a_draft_of_an_attempt_that_was_killed_goes_with_the_next(
    ask: Ask, server: Server, tools: helper.Kept, tmp_path: Path
) -> None:
    drafts: list[str] = []

    def answer(asked: Asked) -> None:
        asked.raw(b"HTTP/1.1 200 OK\r\n\r\n")
        asked.wfile.flush()
        while not (found := os.listdir(tmp_path)):
            pass
        drafts.extend(found)

    server.own["/x"] = answer
    tools.attempt = 2
    ask(f"{server.url}/x", save="out")
    (tmp_path / "out").unlink()
    [draft] = drafts
    (tmp_path / draft).write_text("left by the second")
    tools.attempt = 3
    ask(f"{server.url}/x", save="out")
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_is_replaced_and_not_followed(ask: Ask, server: Server, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("mine")
    (tmp_path / "out").symlink_to(outside)
    server.own["/x"] = lambda asked: asked.answer(200, "new")
    ask(f"{server.url}/x", save="out")
    assert (outside.read_text(), (tmp_path / "out").read_text()) == ("mine", "new")
    assert not (tmp_path / "out").is_symlink()


def test_what_cannot_be_written_says_so(ask: Ask, server: Server, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "file").touch()
    result = ask(f"{server.url}/bytes/3", save="out", method="POST")
    assert (result.reason, result.output["status"], result.unknown) == ("save", 200, True)
    assert '"out" cannot be written: is a folder; make room or correct the path' in result.error
    assert ask(f"{server.url}/bytes/3", save="file/x").reason == "save"


# -- redirects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method", "after"),
    [
        (301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (307, "POST", "POST"), (308, "POST", "POST"),
        (301, "PUT", "PUT"), (302, "DELETE", "DELETE"), (303, "PUT", "GET"), (303, "HEAD", "HEAD"), (302, "GET", "GET"),
    ],
)  # fmt: skip
def test_redirects_are_followed_as_browsers_do(
    ask: Ask, server: Server, tmp_path: Path, status: int, method: str, after: str
) -> None:
    (tmp_path / "in").write_text("content")
    body = {} if method in ("GET", "HEAD") else {"body": {"file": "in"}}
    result = ask(f"{server.url}/redirect/{status}?to=/echo/x", method=method, auth={"bearer": "t0ken"}, **body)
    first, second = server.seen
    assert (result.reason, second.method, second.target) == ("", after, "/echo/x")
    assert second.body == (first.body if after == method else b"")
    assert ("content-type" in second.headers) == (after == method and bool(body))
    assert second.headers["authorization"] == "Bearer t0ken"


def test_nothing_that_says_who_asks_goes_to_another_origin(
    ask: Ask, make_server: Callable[..., Server], tools: helper.Kept
) -> None:
    one, other = make_server(), make_server()
    given = {"Cookie": "a", "X-Api-Key": "b", "Proxy-Authorization": "c", "X-Mine": "d", "Accept": "text/csv"}
    sealed = {"Accept-Language": "${{ secrets.T }}", "Range": "bytes=0-1"}
    url = f"{one.url}/redirect/307?to=http://u:p@127.0.0.1:{other.port}/redirect/302?to={one.url}/echo"
    headers = {**given, **sealed}
    result = ask(url, headers=headers, auth={"bearer": "x"}, secrets={"T": "s3cret"}, method="PUT", body="b")
    assert result.reason == ""
    assert one.seen[0].headers["authorization"] == "Bearer x"
    assert one.seen[0].headers["accept-language"] == "s3cret"
    for seen in (*other.seen, one.seen[1]):
        assert set(seen.headers) == {
            "host", "user-agent", "accept", "accept-encoding", "range", "idempotency-key", "content-type",
            "content-length", "connection",
        }  # fmt: skip
    assert len(tools.lines) == 2
    assert "u:p" not in "".join(tools.lines)


@pytest.mark.parametrize(
    ("to", "error"),
    [
        ("/redirect/302?to=/loop", "over 10 redirects, one after the other"),
        ("ftp://h/", "it redirects to what is no URL of http or https"),
        ("file:///etc/passwd", "it redirects to what is no URL of http or https"),
        ("http://[/", "it redirects to what is no URL of http or https"),
    ],
)
def test_where_redirects_lead_nowhere_they_end(ask: Ask, server: Server, to: str, error: str) -> None:
    server.own["/loop"] = lambda asked: asked.answer(302, "", "text/plain", ("Location", "/loop"))
    result = ask(f"{server.url}/redirect/302", params={"to": to})
    assert (result.reason, result.output["status"]) == ("redirect", 302)
    assert error in result.error
    assert len(server.seen) <= 11


def test_a_redirect_without_a_place_is_an_answer(ask: Ask, server: Server) -> None:
    assert ask(f"{server.url}/status/302").reason == "status"
    assert ask(f"{server.url}/status/304").output["status"] == 304


# -- secrets -------------------------------------------------------------------------------------------------------

SECRET = "s3cr&t/+é"


def test_secrets_reach_the_server_and_nobody_else(ask: Ask, server: Server, tools: helper.Kept) -> None:
    result = ask(
        server.url + "/status/500/${{ secrets.A }}?t=${{ vars.query }}",
        headers={"X-A": "Token ${{ secrets.B }}"},
        auth={"user": "me", "password": "${{ secrets.A }}"},
        vars={"query": "x${{ secrets.A }}"},
        secrets={"A": SECRET, "B": "t0ken"},
    )
    [seen] = server.seen
    assert unquote(seen.path.rpartition("/")[2]) == SECRET
    assert unquote(seen.target.partition("?t=")[2]) == f"x{SECRET}"
    assert seen.headers["x-a"] == "Token t0ken"
    assert seen.headers["authorization"] == exchange.basic("me", SECRET)
    assert result.error == f"HTTP 500 Internal Server Error, from GET {server.url}/status/500/***?t=***"
    assert tools.lines == []


def test_a_url_that_is_a_secret_is_not_shown(ask: Ask, server: Server, tools: helper.Kept) -> None:
    url = f"{server.url}/redirect/302?to=/status/500"
    result = ask("${{ secrets.HOOK }}", method="POST", secrets={"HOOK": url})
    assert result.error == "HTTP 500 Internal Server Error, from POST ***"
    assert tools.lines == []
    for broken in (f"{url}\n", "ftp://h/" + SECRET, "http://h:x/" + SECRET):
        result = ask("${{ secrets.HOOK }}", secrets={"HOOK": broken})
        assert result.reason == "not_started"
        assert broken.strip() not in result.error + repr(tools.lines)


def test_a_secret_that_no_header_can_hold_is_not_shown(ask: Ask, server: Server) -> None:
    for more in ({"headers": {"X-A": "${{ secrets.A }}"}}, {"auth": {"bearer": "${{ secrets.A }}"}}):
        result = ask(f"{server.url}/echo", secrets={"A": "two\nlines"}, **more)
        assert (result.reason, server.seen) == ("not_started", [])
        assert "two" not in result.error


@pytest.mark.parametrize("before", [195, 4090])
def test_no_secret_is_cut_in_two_where_it_is_still_to_be_taken_out(
    ask: Ask, server: Server, tools: helper.Kept, before: int
) -> None:
    server.own["/x"] = lambda asked: asked.answer(500, "x" * before + asked.headers["X-A"])
    result = ask(f"{server.url}/x", headers={"X-A": "${{ secrets.A }}"}, secrets={"A": "t0ken-of-some-length"})
    assert result.error.endswith("t0ken-of-some-length")
    assert tools.lines[0].endswith("t0ken-of-some-length")


# -- TLS -----------------------------------------------------------------------------------------------------------

Certify = Callable[..., Certificate]


def test_who_is_not_trusted_is_not_asked(ask: Ask, make_server: Callable[..., Server], certify: Certify) -> None:
    server = make_server(tls=certify().context())
    result = ask(f"{server.url}/echo", auth={"bearer": "x"})
    assert (result.reason, result.output["status"], server.seen) == ("connection", 0, [])
    assert result.error.startswith(f"GET {server.url}/echo: its certificate is not trusted: self")
    assert result.error.endswith("; name the file of its issuer in SSL_CERT_FILE")


def test_certificates_are_trusted_by_a_file(
    ask: Ask, make_server: Callable[..., Server], certify: Certify, tools: helper.Kept
) -> None:
    server = make_server(tls=certify().context())
    tools.environ = {"SSL_CERT_FILE": str(certify().file)}
    assert ask(f"{server.url}/echo").output["json"]["method"] == "GET"
    assert ask(f"https://localhost:{server.port}/echo").reason == ""


def test_a_certificate_of_another_host_is_refused(
    ask: Ask, make_server: Callable[..., Server], certify: Certify, tools: helper.Kept
) -> None:
    other = certify("DNS:other.example")
    server = make_server(tls=other.context())
    tools.environ = {"SSL_CERT_FILE": str(other.file)}
    result = ask(f"{server.url}/echo")
    assert (result.reason, server.seen) == ("connection", [])
    assert "its certificate is not trusted: ip address mismatch" in result.error


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_named(
    ask: Ask, tools: helper.Kept, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "certs.pem"
    if content:
        file.write_text(content)
    tools.environ = {"SSL_CERT_FILE": str(file)}
    result = ask("https://127.0.0.1:1/")
    assert result.reason == "not_started"
    assert f'the certificates in "{file}" cannot be read' in result.error


def test_plain_http_where_tls_is_expected_is_a_failure_of_the_connection(ask: Ask, server: Server) -> None:
    result = ask(f"https://127.0.0.1:{server.port}/echo")
    assert (result.reason, server.seen) == ("connection", [])
    assert ": no TLS: " in result.error


def test_https_is_not_left_for_http(
    ask: Ask, make_server: Callable[..., Server], certify: Certify, tools: helper.Kept
) -> None:
    plain, server = make_server(), make_server(tls=certify().context())
    tools.environ = {"SSL_CERT_FILE": str(certify().file)}
    result = ask(f"{server.url}/redirect/302?to={plain.url}/echo")
    assert (result.reason, result.output["status"], plain.seen) == ("redirect", 302, [])
    assert ask(f"{plain.url}/redirect/302?to={server.url}/echo").reason == ""


def test_what_waits_for_tls_is_ended_from_another_thread(tools: helper.Kept) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        results: list[Result] = []
        thread = threading.Thread(target=lambda: results.append(helper.perform(Http(), {"http": {"url": url}}, tools)))
        thread.start()
        asking, _ = silent.accept()
        with asking:
            asking.recv(10)     # the handshake has begun
            tools.stop()
            thread.join(10)
    assert [result.reason for result in results] == ["connection"]


# -- proxies -------------------------------------------------------------------------------------------------------


def test_a_proxy_is_asked_where_variables_name_one(ask: Ask, server: Server, tools: helper.Kept) -> None:
    tools.environ = {"http_proxy": f"http://me:pw@127.0.0.1:{server.port}"}
    assert ask("http://elsewhere.example:81/x?a=1").output["text"] == "by the proxy"
    tools.environ = {"HTTPS_PROXY": f"127.0.0.1:{server.port}"}
    result = ask("https://elsewhere.example/x")
    plain, tunnel = server.seen
    assert (plain.target, plain.headers["host"]) == ("http://elsewhere.example:81/x?a=1", "elsewhere.example:81")
    assert plain.headers["proxy-authorization"] == exchange.basic("me", "pw")
    assert (tunnel.method, tunnel.target, tunnel.headers) == (
        "CONNECT",
        "elsewhere.example:443",
        {"host": "elsewhere.example:443"},
    )
    assert result.error == "GET https://elsewhere.example/x: the proxy refused: HTTP 403 Forbidden"


def test_a_proxy_passes_tls_through(
    ask: Ask, make_server: Callable[..., Server], certify: Certify, tools: helper.Kept
) -> None:
    server = make_server(tls=certify().context())
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def pass_through() -> None:
            asking, _ = listening.accept()
            head = asking.recv(65536)
            assert head.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n".encode())
            asking.sendall(b"HTTP/1.1 200 Fine\r\n\r\n")
            with socket.create_connection(("127.0.0.1", server.port)) as asked:
                ways = [threading.Thread(target=carry, args=way) for way in ((asking, asked), (asked, asking))]
                for way in ways:
                    way.start()
                for way in ways:
                    way.join()
            asking.close()

        def carry(one: socket.socket, other: socket.socket) -> None:
            while block := one.recv(65536):
                other.sendall(block)
            other.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=pass_through)
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        tools.environ = {"https_proxy": address, "SSL_CERT_FILE": str(certify().file)}
        assert ask(f"{server.url}/echo", auth={"bearer": "x"}).reason == ""
        thread.join(10)
    assert server.seen[0].headers["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({"http_proxy": "http://p:1"}, "p"),
        ({"HTTP_PROXY": "p:1"}, "p"),
        ({"HTTP_PROXY": "p:1", "REQUEST_METHOD": "GET"}, None),
        ({"http_proxy": "p:1", "HTTP_PROXY": "q:1"}, "p"),
        ({"all_proxy": "p:1"}, "p"),
        ({"all_proxy": "p:1", "HTTP_PROXY": "q:1"}, "q"),
        ({"https_proxy": "p:1"}, None),
        ({"http_proxy": ""}, None),
        ({"http_proxy": "p:1", "no_proxy": "*"}, None),
        ({"http_proxy": "p:1", "NO_PROXY": "x, api.example.com"}, None),
        ({"http_proxy": "p:1", "no_proxy": "example.com"}, None),
        ({"http_proxy": "p:1", "no_proxy": ".example.com"}, None),
        ({"http_proxy": "p:1", "no_proxy": "ample.com"}, "p"),
        ({"http_proxy": "p:1", "no_proxy": "example.com:8080"}, None),
        ({"http_proxy": "p:1", "no_proxy": "example.com:81"}, "p"),
    ],
)
def test_which_proxy_counts(environ: dict[str, str], proxy: str | None) -> None:
    found = exchange.proxy_of(exchange.parsed("http://api.example.com:8080/"), environ)
    assert (found and found.host) == proxy


@pytest.mark.parametrize(
    ("url", "listed", "direct"),
    [
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://[fd00::1]/", "fd00::/8", True),
        ("http://[::1]:81/", "[::1]:81", True),
        ("http://[::1]:81/", "[::1]:82", False),
    ],
)
def test_addresses_may_be_excepted_by_their_network(url: str, listed: str, direct: bool) -> None:
    environ = {"http_proxy": "p:1", "no_proxy": listed}
    assert (exchange.proxy_of(exchange.parsed(url), environ) is None) == direct


def test_a_proxy_of_another_sort_is_refused_and_not_shown(ask: Ask, tools: helper.Kept) -> None:
    tools.environ = {"http_proxy": "socks5://me:pw@h:1"}
    result = ask("http://h/")
    assert result.reason == "not_started"
    what = "http_proxy names no proxy that starts with http://"
    assert result.error == f"GET http://h/: {what}; correct it, or set no_proxy"
