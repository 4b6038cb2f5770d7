"""Requests by the standard library alone: `python -m tests.benchmarks.asking PORT COUNT THREADS`.

Knows nothing of wfctl: it is what a run with as many requests is measured against."""

from __future__ import annotations

import http.client
import sys
from concurrent.futures import ThreadPoolExecutor


def main(port: int, count: int, threads: int) -> None:
    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/{number}", headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"HTTP {answer.status}")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, range(count)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
