"""A payment service: POST /charges, GET and DELETE /charges/ID. Prints where it is: {"pid": …, "url": …}.

Usage: pay.py FILE open|closed. FILE keeps the charges, as JSON; `closed` gives no money back. It goes on in the
background, for ten minutes if nobody stops it. A repeated request (`Idempotency-Key`) is answered as the first was."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILE, REFUNDS = Path(sys.argv[1]), sys.argv[2]


def charges() -> dict[str, object]:
    return json.loads(FILE.read_text()) if FILE.exists() else {}


class Pay(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Idempotency-Key", "")
        known = charges()
        name = next((name for name, one in known.items() if one["key"] == key), f"c{len(known) + 1}")
        self.keep({**known, name: {**content, "key": key}})
        self.answer(201, {"id": name})

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.answer(200 if name in charges() else 404, {"id": name})

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        known = charges()
        if REFUNDS == "closed" and not FILE.with_suffix(".open").exists():
            self.answer(503, {"error": "no refunds today"})
        elif known.pop(name, None) is None:
            self.answer(404, {"error": "no such charge"})
        else:
            self.keep(known)
            self.answer(200, {"id": name})

    def keep(self, known: dict[str, object]) -> None:
        FILE.write_text(json.dumps(known))

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


FILE.parent.mkdir(parents=True, exist_ok=True)
server = ThreadingHTTPServer(("127.0.0.1", 0), Pay)
if pid := os.fork():
    print(json.dumps({"pid": pid, "url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    os._exit(0)

os.setsid()
nothing = os.open(os.devnull, os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(nothing, fd)
signal.alarm(600)
server.serve_forever()
