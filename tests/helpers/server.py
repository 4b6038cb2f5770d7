"""A real HTTP server in a thread of the test, that answers by path, also as no server should.

Knows nothing of wfctl. What a path does says `Asked` below; a test may add paths of its own."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest


@dataclass(frozen=True)
class Seen:
    """One request as it came; header names lower-cased. `target` is the path with its query, as it was written."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class Asked(BaseHTTPRequestHandler):
    """Answers one request. `/NAME/REST` is answered by the method `at_NAME`, or by what a test put in `own`."""

    protocol_version = "HTTP/1.1"
    server: _Listener

    def handle_one_request(self) -> None:
        with suppress(OSError):     # who asked has gone
            super().handle_one_request()

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        size = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(size)
        self.seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self.body)
        self.server.owner.seen.append(self.seen)
        self.query = dict(parse_qsl(urlsplit(self.path).query))
        if not self.path.startswith("/"):
            self.at_proxy()
        else:
            self.rest: list[str] = self.seen.path.split("/")[2:]
            own = self.server.owner.own.get(self.seen.path)
            if own is not None:
                own(self)
            else:
                getattr(self, f"at_{self.seen.path.split('/')[1]}", self.at_nowhere)()
        with suppress(OSError):
            self.wfile.flush()
        return False    # it was answered here, whatever the method

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""

    def answer(
        self, status: int = 200, body: bytes | str = b"", kind: str = "text/plain", *more: tuple[str, str]
    ) -> None:
        """A whole answer, with more headers."""
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in more:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def raw(self, content: bytes) -> None:
        """These bytes and nothing else, and then the end."""
        self.wfile.write(content)
        self.close_connection = True

    # -- what paths do

    def at_nowhere(self) -> None:
        self.answer(404, "no such thing\n")

    def at_echo(self) -> None:
        """What was asked, as JSON."""
        told = {"method": self.command, "target": self.path, "headers": self.seen.headers}
        self.answer(200, json.dumps({**told, "body": self.body.decode("utf-8", "replace")}), "application/json")

    def at_status(self) -> None:
        """`/status/503?body=…&Retry-After=7`: that status, with what is said there as body and headers."""
        headers = [(name, value) for name, value in self.query.items() if name != "body"]
        self.answer(int(self.rest[0]), self.query.get("body", ""), "text/plain", *headers)

    def at_redirect(self) -> None:
        """`/redirect/302?to=URL`."""
        self.answer(int(self.rest[0]), "", "text/plain", ("Location", self.query["to"]))

    def at_bytes(self) -> None:
        """`/bytes/1000`: so many, in pieces of any size."""
        left = int(self.rest[0])
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(left))
        self.end_headers()
        while left:
            block = b"0123456789abcdef" * min(4096, -(-left // 16))
            self.wfile.write(block[:left])
            left -= len(block[:left])

    def at_endless(self) -> None:
        """A body without an end and without a length, as fast as it is taken."""
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while not self.server.owner.closing.is_set():
            self.wfile.write(b"x" * 65536)

    def at_drip(self) -> None:
        """A byte now and then, and no end."""
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n.")
        while not self.server.owner.closing.wait(0.01):
            self.wfile.write(b".")

    def at_hang(self) -> None:
        """No answer, until the server is closed."""
        self.server.owner.hanging.release()
        self.server.owner.closing.wait()

    def at_short(self) -> None:
        """Less than was announced."""
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

    def at_reset(self) -> None:
        """The connection is torn down."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def at_nothing(self) -> None:
        """The connection is closed without a word."""
        self.close_connection = True

    def at_garbage(self) -> None:
        """No HTTP."""
        self.raw(b"\x16\x03\x01 what is this\r\n\r\n")

    def at_proxy(self) -> None:
        """As a proxy that says so, and passes nothing on: what reaches it shows in `seen`."""
        if self.command == "CONNECT":
            self.answer(403, "not through here")
        else:
            self.answer(200, "by the proxy")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    owner: Server

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asks may go whenever it wants."""


@dataclass
class Server:
    """`url` is where it answers; `seen` is what came. It can go away and come back at the same place."""

    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    own: dict[str, Callable[[Asked], None]] = field(default_factory=dict)
    """What a test adds: by whole path."""
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    hanging: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released by each request that hangs."""

    def come(self) -> None:
        """Begin to answer, or do so again."""
        self.closing.clear()
        self._listener = _Listener(("127.0.0.1", self.port), Asked)
        self._listener.owner = self
        if self.tls is not None:
            self._listener.socket = self.tls.wrap_socket(
                self._listener.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._listener.server_address[1]
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,))
        self._thread.start()

    def go(self) -> None:
        """Answer no more: connections are refused, those that hang are closed."""
        self.closing.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()

    def in_turn(self, path: str, *answers: int | Callable[[Asked], None]) -> None:
        """Answer there with these, one after the other; a number is a status. The last stays."""
        left = list(answers)

        def next_one(asked: Asked) -> None:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, int):
                asked.answer(answer)
            else:
                answer(asked)

        self.own[path] = next_one

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    def json(self) -> Any:
        """The JSON that came last."""
        return json.loads(self.seen[-1].body)


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """Starts servers; they end with the test."""
    servers: list[Server] = []

    def make(**options: Any) -> Server:
        server = Server(**options)
        server.come()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.go()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server()


@dataclass(frozen=True)
class Certificate:
    """A certificate that only the tests know, for `localhost` and 127.0.0.1, or for another name."""

    file: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


@pytest.fixture(scope="session")
def certify(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Certificate]:
    """Makes certificates by the program openssl; without it the test is skipped."""
    made: dict[str, Certificate] = {}

    def make(names: str = "DNS:localhost,IP:127.0.0.1") -> Certificate:
        if shutil.which("openssl") is None:
            pytest.skip("there is no program openssl to make a certificate with")
        if names not in made:
            folder = tmp_path_factory.mktemp("certificate")
            found = Certificate(folder / "cert.pem", folder / "key.pem")
            words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            words += ["-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={names}"]
            words += ["-keyout", str(found.key), "-out", str(found.file)]
            subprocess.run(words, check=True, capture_output=True)
            made[names] = found
        return made[names]

    return make
