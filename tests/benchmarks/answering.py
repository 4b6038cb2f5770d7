"""A local HTTP server that takes as little as it can, for what is measured to be the one who asks.

Knows nothing of who that is: `python -m tests.benchmarks.answering` prints its port, and answers until it is ended."""

from __future__ import annotations

import asyncio
import sys

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"ok": true}'


class Answering(asyncio.Protocol):
    """One connection. Requests have no body, so each ends with its empty line."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.text = b""

    def data_received(self, data: bytes) -> None:
        *whole, self.text = (self.text + data).split(b"\r\n\r\n")
        self.transport.write(ANSWER * len(whole))
        if any(b"Connection: close" in request for request in whole):
            self.transport.close()


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        sys.exit(0)
