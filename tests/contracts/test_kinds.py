"""Every Python kind keeps the contract. A new one adds its class here, and nothing else."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.contracts.kind import KindContract, Samples
from tests.helpers.server import Server


class TestCall(KindContract):
    name = "call"

    @pytest.fixture
    def samples(self, root: Path) -> Samples:
        (root / "work.py").write_text(
            dedent("""
                import os, signal, time

                def add(a, b):
                    return {"sum": a + b, "of": (a, b)}

                def fail():
                    raise ValueError("no such order")

                def hang(deaf=False):
                    if deaf:
                        signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    open("begun", "w").close()
                    while True:
                        time.sleep(0.02)

                def flood():
                    return "x" * (17 * 1024 * 1024)

                def echo(value, kept=None, *, items=()):
                    return [value, kept, *items]

                def tell():
                    return [os.environ["T"]]

                def complain():
                    raise ValueError("wrong: " + os.environ["T"])

                def say():
                    print(os.environ["T"])
            """)
        )

        def begun() -> bool:
            return (root / "begun").exists()

        return Samples(
            succeeds=({"call": "work:add", "with": {"a": 1, "b": 2}}, {"sum": 3, "of": [1, 2]}),
            fails=({"call": "work.py:fail"}, "exception", "ValueError: no such order (work.py:8 in fail)"),
            endless=({"call": "work.py:hang"}, begun),
            stubborn=({"call": "work.py:hang", "with": {"deaf": True}}, begun),
            large={"call": "work.py:flood"},
            impossible=({"call": "work.py:ad"}, '"work.py" has no "ad"; did you mean "add"?'),
            echo=lambda text: {"call": "work:echo", "with": {"value": [text], "items": [{"a": text}]}},
            heard=lambda output: output[0][0] if output[0][0] == output[2]["a"] else output,
            tells={"call": "work.py:tell", "secrets": ["T"]},
            complains={"call": "work.py:complain", "secrets": ["T"]},
            prints={"call": "work.py:say", "secrets": ["T"]},
        )


class TestSql(KindContract):
    name = "sql"

    @pytest.fixture
    def samples(self, root: Path) -> Samples:
        for name in ("x.db", "hunter2hunter.db"):
            with closing(sqlite3.connect(root / name)) as database:
                database.execute("CREATE TABLE t (id INT PRIMARY KEY, said TEXT)")
        endless = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r"

        def begun() -> bool:
            return (root / "x.db-journal").exists()

        def sql(key: str, statement: object, url: str = "sqlite:///x.db", **given: object) -> dict[str, object]:
            return {"sql": {"url": url, key: statement, "with": given}}

        secret = "sqlite:///${{ secrets.T }}.db"
        return Samples(
            succeeds=(sql("execute", ["INSERT INTO t VALUES (1, :a)"], a="x"),
                      {"rowcount": 1, "backup": None, "prepared": None}),
            fails=(sql("query", "SELECT id FROM nowhere"), "database", "no such table: nowhere"),
            endless=(sql("execute", ["INSERT INTO t VALUES (1, 'x')", endless]), begun),
            large=sql("query", "SELECT hex(zeroblob(9000000)) AS zeros"),
            impossible=(sql("query", "SELECT 1", url="${{ 'sqlite://' }}"), "a database in memory ends with this node"),
            echo=lambda text: sql("query", "SELECT :a AS one, :b AS list", a=text, b=[text]),
            heard=lambda output: output[0]["one"] if [output[0]["one"]] == json.loads(output[0]["list"]) else output,
            tells=sql("query", "SELECT file FROM pragma_database_list", url=secret),
            complains=sql("query", "SELECT json_extract('{}', file) AS x FROM pragma_database_list", url=secret),
        )  # fmt: skip


class TestHttp(KindContract):
    name = "http"

    @pytest.fixture
    def samples(self, server: Server) -> Samples:
        server.own["/fixed"] = lambda asked: asked.raw(
            b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'
        )
        headers = {"content-type": "application/json", "content-length": "8"}

        def begun() -> bool:
            return any(seen.path == "/hang" for seen in server.seen)

        def echo(text: str) -> dict[str, Any]:
            asks = {"url": f"{server.url}/echo", "method": "POST", "json": {"a": [text]}, "params": {"q": text}}
            return {"http": asks}

        def heard(output: Any) -> Any:
            told = output["json"]
            [body] = json.loads(told["body"])["a"]
            query = dict(parse_qsl(urlsplit(told["target"]).query, keep_blank_values=True))
            return body if query == {"q": body} else told

        return Samples(
            succeeds=(
                {"http": {"url": f"{server.url}/fixed"}},
                {"status": 200, "headers": headers, "json": {"a": 1}, "bytes": 8},
            ),
            fails=({"http": {"url": f"{server.url}/status/503?body=busy"}}, "status", "HTTP 503 Service Unavailable"),
            endless=({"http": {"url": f"{server.url}/hang"}}, begun),
            echo=echo,
            heard=heard,
            tells={"http": {"url": f"{server.url}/echo", "headers": {"X-A": "${{ secrets.T }}"}}},
        )


class TestNotify(KindContract):
    name = "notify"

    @pytest.fixture
    def samples(self, server: Server) -> Samples:
        def begun() -> bool:
            return any(seen.path == "/hang" for seen in server.seen)

        return Samples(
            succeeds=({"notify": {"to": [f"{server.url}/echo"], "body": "b"}}, {"reached": [0], "failed": []}),
            fails=({"notify": {"to": [f"{server.url}/echo", f"{server.url}/status/500"]}}, "notify", "HTTP 500"),
            endless=({"notify": {"to": [f"{server.url}/hang"], "body": "b"}}, begun),
        )


class TestFiles(KindContract):
    name = "files"

    @pytest.fixture
    def samples(self, root: Path) -> Samples:
        for name in ("a", "b.tmp", "out/c"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(name)
        copy = {"from": ["a", "out"], "to": "new/"}
        return Samples(
            succeeds=(
                {"files": {"delete": ["*.tmp", "gone"], "copy": copy}},
                {"deleted": ["b.tmp"], "copied": ["new/a", "new/out"]},
            ),
            fails=({"files": {"copy": {"from": "gone", "to": "b"}}}, "files", 'nothing is there of "gone"'),
            impossible=({"files": {"delete": "${{ '../b' }}"}}, 'delete: "../b" leads out of the root folder'),
        )
