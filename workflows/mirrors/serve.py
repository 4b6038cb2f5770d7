"""Serve a folder from four servers, on ports that are free, and print where: {"pid": …, "urls": […]}.

Usage: serve.py FOLDER. One is near, one is far, one lies about what it has, one is broken. They are one process that
goes on in the background, for ten minutes if nobody stops it."""

import json
import os
import signal
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Mirror(SimpleHTTPRequestHandler):
    """What the folder has, after `delay` seconds; `habit` is what else is to be said of it."""

    delay, habit = 0.0, "honest"

    def do_GET(self) -> None:
        time.sleep(self.delay)
        if self.habit == "broken":
            self.send_error(500)
        elif self.habit == "liar":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"something else\n")
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


KINDS = {"near": (0.02, "honest"), "far": (0.3, "honest"), "liar": (0.0, "liar"), "broken": (0.0, "broken")}

servers = []
for name, (delay, habit) in KINDS.items():
    kind = type(name, (Mirror,), {"delay": delay, "habit": habit})
    servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=sys.argv[1])))

if pid := os.fork():
    urls = [f"http://127.0.0.1:{server.server_port}" for server in servers]
    print(json.dumps({"pid": pid, "urls": urls}))
    sys.stdout.flush()
    os._exit(0)

os.setsid()
nothing = os.open(os.devnull, os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(nothing, fd)
signal.alarm(600)
for server in servers:
    threading.Thread(target=server.serve_forever).start()
