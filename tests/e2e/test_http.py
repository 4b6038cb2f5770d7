"""Requests and notifications as a user meets them: servers that fail, hang, go away and come back; secrets; stops.

Asks a real server in a thread of the test."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow, Start, Status, Until
from tests.e2e.test_secrets import forms
from tests.helpers import processes
from tests.helpers.server import Asked, Server


def journal(folder: Path, event: str) -> list[dict]:
    """The events of that name of the one run in a folder."""
    [file] = folder.glob(".wfctl/runs/*/journal.jsonl")
    return [found for found in map(json.loads, file.read_text().splitlines()) if found.get("event") == event]


def test_an_answer_is_the_output_of_its_node(flow: Flow, wfctl: Command, server: Server) -> None:
    name = flow(f"""
        nodes:
          ask: {{http: {{url: "{server.url}/echo", json: {{a: 1}}}}}}
          use: {{run: 'echo ${{{{ nodes.ask.output.json.body }}}} ${{{{ nodes.ask.output.status }}}}', stdout: text}}
    """)
    assert wfctl("run", name).returncode == 0
    assert wfctl("output", "last", "use").stdout.strip() == '{"a": 1} 200'


def test_what_is_saved_is_written_and_who_reads_it_waits(
    flow: Flow, wfctl: Command, server: Server, tmp_path: Path
) -> None:
    name = flow(f"""
        nodes:
          use: {{run: wc -c < deep/out, reads: [deep/out], stdout: json}}
          get: {{http: {{url: "{server.url}/bytes/12345", save: deep/out}}}}
          put: {{http: {{url: "{server.url}/echo", method: PUT, body: {{file: made}}}}}}
          make: {{run: printf content > made, writes: [made]}}
    """)
    assert wfctl("run", name).returncode == 0
    assert json.loads(wfctl("output", "last", "use").stdout) == 12345
    assert json.loads(wfctl("output", "last", "put").stdout)["json"]["body"] == "content"


@pytest.mark.usefixtures("unharmed")
def test_a_server_that_fails_hangs_and_goes_away_is_asked_again_when_it_is_back(
    flow: Flow, wfctl: Command, status: Status, server: Server, tmp_path: Path
) -> None:
    name = flow(f"""
        nodes:
          ask: {{http: {{url: "{server.url}/x"}}, timeout: 0.3, retry: {{attempts: 3, delay: 0}}}}
    """)
    server.in_turn("/x", 500, 404, Asked.at_hang, 200)
    assert wfctl("run", name).returncode == 1
    tries = [*journal(tmp_path, "node_retrying"), *journal(tmp_path, "node_failed")]
    assert [found["reason"] for found in tries] == ["status", "status", "timed_out"]
    assert (status()["nodes"]["ask"]["state"], status()["nodes"]["ask"]["outcome"]) == ("timed_out", "unknown")
    server.go()
    assert wfctl("resume", "last").returncode == 1
    node = status()["nodes"]["ask"]
    assert (node["state"], node["error"]) == ("failed", f"GET {server.url}/x: connection refused")
    server.come()
    assert wfctl("resume", "last").returncode == 0
    assert status()["nodes"]["ask"]["attempts"] == 7


def test_retries_may_depend_on_the_status_and_wait_as_long_as_the_server_says(
    flow: Flow, wfctl: Command, status: Status, server: Server
) -> None:
    def busy(asked: Asked) -> None:
        asked.answer(429, "", "text/plain", ("Retry-After", "0"))

    server.in_turn("/busy", busy, Asked.at_reset, 201)
    server.in_turn("/gone", 410)
    retry = "retry: {attempts: 5, delay: 0, when: '${{ output.status in [0, 429] }}'}"
    name = flow(f"""
        on_failure: continue
        nodes:
          busy: {{http: {{url: "{server.url}/busy"}}, {retry}, expect: '${{{{ output.status == 201 }}}}'}}
          slow: {{http: {{url: "{server.url}/slow"}}, retry: {{attempts: 2, delay: 1h}}}}
          gone: {{http: {{url: "{server.url}/gone"}}, {retry}}}
          fine: {{http: {{url: "{server.url}/gone"}}, expect: '${{{{ output.status == 410 }}}}'}}
    """)
    server.in_turn("/slow", busy, 200)
    assert wfctl("run", name).returncode == 1
    nodes = status()["nodes"]
    assert {n: (nodes[n]["state"], nodes[n]["attempts"]) for n in nodes} == {
        "busy": ("succeeded", 3),
        "slow": ("succeeded", 2),
        "gone": ("failed", 1),
        "fine": ("succeeded", 1),
    }
    assert nodes["gone"]["error"] == f"HTTP 410 Gone, from GET {server.url}/gone"


def test_a_lost_answer_to_what_may_change_something_is_unknown(
    flow: Flow, wfctl: Command, status: Status, server: Server
) -> None:
    name = flow(f"""
        on_failure: continue
        nodes:
          get: {{http: {{url: "{server.url}/reset"}}}}
          post: {{http: {{url: "{server.url}/reset", method: POST}}}}
    """)
    assert wfctl("run", name).returncode == 1
    nodes = status()["nodes"]
    assert {name: node["outcome"] for name, node in nodes.items()} == {"get": "known", "post": "unknown"}


def test_attempts_of_one_node_have_one_key(flow: Flow, wfctl: Command, server: Server) -> None:
    server.in_turn("/x", 500, 500, 200)
    name = flow(f"""
        nodes:
          a: {{http: {{url: "{server.url}/x", method: POST}}, retry: {{attempts: 3, delay: 0}}}}
          b: {{http: {{url: "{server.url}/x", method: POST}}, needs: [a]}}
    """)
    assert wfctl("run", name).returncode == 0
    keys = [seen.headers["idempotency-key"] for seen in server.seen]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]


HOSTILE = ["\"; touch pwned; #", "$(touch pwned)", "a\nX-Evil: 1", "'; DROP TABLE x", "../../etc/passwd", "?a=1&b#c"]


def test_foreign_values_stay_data(flow: Flow, wfctl: Command, server: Server, tmp_path: Path) -> None:
    name = flow(
        "params: {url: {type: string}, value: {type: string}}\n"
        "on_failure: continue\n"
        "nodes:\n"
        '  url: {http: {url: "${{ params.url }}/echo/${{ params.value }}", params: {v: "${{ params.value }}"}}}\n'
        '  body: {http: {url: "${{ params.url }}/echo", method: POST, json: {v: "${{ params.value }}"}}}\n'
        '  header: {http: {url: "${{ params.url }}/echo", headers: {X-V: "${{ params.value }}"}}}\n'
    )
    saving = flow("""
        params: {url: {type: string}, value: {type: string}}
        nodes: {save: {http: {url: "${{ params.url }}/echo?save", save: "in/${{ params.value }}"}}}
    """, "saving.yaml")  # fmt: skip
    for value in HOSTILE:
        for flow_file in (name, saving):
            wfctl("run", flow_file, "-p", f"url={server.url}", "-p", f"value={value}")
    targets = [seen.target for seen in server.seen if "?v=" in seen.target]
    assert [unquote(target.partition("?v=")[2]) for target in targets] == HOSTILE
    assert [unquote(target.partition("?v=")[0]) for target in targets] == [f"/echo/{value}" for value in HOSTILE]
    assert [json.loads(seen.body)["v"] for seen in server.seen if seen.body] == HOSTILE
    headers = [seen.headers["x-v"] for seen in server.seen if "x-v" in seen.headers]
    assert headers == [value for value in HOSTILE if "\n" not in value]
    assert not [seen for seen in server.seen if "x-evil" in seen.headers]
    assert {path.name for path in tmp_path.iterdir()} == {".wfctl", name, saving, "in"}
    assert len([seen for seen in server.seen if "?save" in seen.target]) == len(HOSTILE) - 1    # one path led outside


TOKEN = "s3cr&t value/+é"


def test_secrets_are_seen_by_the_server_alone(
    flow: Flow, wfctl: Command, server: Server, tmp_path: Path
) -> None:
    def tell(asked: Asked) -> None:
        """A server that says all it heard to anybody, and is broken."""
        heard = " ".join([asked.path, *asked.headers.values()]).encode("latin-1")
        asked.answer(200 if "fine" in asked.path else 500, b"I heard " + heard, "text/plain", ("X-Heard", asked.path))

    name = flow(f"""
        secrets: [TOKEN, HOOK]
        on_failure: continue
        vars: {{base: "{server.url}/tell"}}
        nodes:
          url: {{http: {{url: "${{{{ vars.base }}}}?t=${{{{ secrets.TOKEN }}}}"}}}}
          header: {{http: {{url: "${{{{ vars.base }}}}", headers: {{X-T: "Token ${{{{ secrets.TOKEN }}}}"}}}}}}
          auth: {{http: {{url: "${{{{ vars.base }}}}", auth: {{user: me, password: "${{{{ secrets.TOKEN }}}}"}}}}}}
          fine: {{http: {{url: "${{{{ vars.base }}}}/fine", headers: {{X-T: "${{{{ secrets.TOKEN }}}}"}}}}}}
          told: {{notify: {{to: ["${{{{ secrets.HOOK }}}}"], title: t}}}}
          away: {{http: {{url: "http://127.0.0.1:1/${{{{ secrets.TOKEN }}}}"}}}}
    """)
    server.own["/tell"] = server.own["/tell/fine"] = tell
    env = {"TOKEN": TOKEN, "HOOK": f"{server.url}/tell?h0ok3d"}
    ended = wfctl("run", name, env=env)
    assert ended.returncode == 1
    assert len(server.seen) == 5
    wanted = [form for value in (TOKEN, "h0ok3d") for form in forms(value)]
    shown = [ended.stdout, ended.stderr, *(wfctl(*words).stdout for words in (["status"], ["status", "--json"]))]
    shown += [wfctl("logs", "last", "--raw", env=env).stdout]
    kept = [path.read_bytes() for path in sorted((tmp_path / ".wfctl").rglob("*")) if path.is_file()]
    for text in [*(text.encode() for text in shown), *kept]:
        assert not [form for form in wanted if form in text]
    failed = {found["node"]: found for found in journal(tmp_path, "node_failed")}
    assert failed.keys() == {"url", "header", "auth", "fine", "told", "away"}
    assert failed["fine"]["reason"] == "secret"
    assert failed["told"]["error"] == "1 of 1 not reached: to[0]: HTTP 500 Internal Server Error"
    assert failed["away"]["error"] == "GET http://127.0.0.1:1/***: connection refused"


# -- many at once, and how they are ended


def hanging(server: Server, count: int) -> str:
    nodes = "".join(f'  n{i}: {{http: {{url: "{server.url}/hang/{i}"}}}}\n' for i in range(count))
    return f"nodes:\n{nodes}"


def await_hanging(server: Server, count: int) -> None:
    for _ in range(count):
        assert server.hanging.acquire(timeout=30)


@pytest.mark.usefixtures("unharmed")
def test_many_requests_at_once_need_no_process_each(flow: Flow, start: Start, status: Status, server: Server) -> None:
    engine = start("run", flow(hanging(server, 60)), "-j", "60")
    await_hanging(server, 60)
    assert [p.command for p in processes.children(engine.pid) if "wfctl.guard" not in p.command] == []
    engine.send_signal(signal.SIGTERM)
    assert engine.wait(10) == 143
    assert {node["state"] for node in status()["nodes"].values()} == {"interrupted"}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_request_that_was_cut_off_is_made_again_on_resume(
    flow: Flow, start: Start, wfctl: Command, server: Server, number: int
) -> None:
    server.in_turn("/x", Asked.at_hang, 200)
    name = flow(f'nodes: {{a: {{http: {{url: "{server.url}/x", method: POST}}}}}}')
    engine = start("run", name)
    await_hanging(server, 1)
    engine.send_signal(number)
    assert engine.wait(10) in (130, -9)
    assert wfctl("resume", "last").returncode == 0
    assert len({seen.headers["idempotency-key"] for seen in server.seen}) == 1
    assert len(server.seen) == 2


@pytest.mark.usefixtures("unharmed")
def test_a_failing_run_that_cancels_stops_requests(flow: Flow, wfctl: Command, status: Status, server: Server) -> None:
    def fail(asked: Asked) -> None:
        await_hanging(server, 1)
        asked.answer(500)

    server.own["/fail"] = fail
    name = flow(f"""
        on_failure: cancel
        concurrency: 2
        nodes:
          long: {{http: {{url: "{server.url}/hang"}}}}
          fail: {{http: {{url: "{server.url}/fail"}}}}
    """)
    assert wfctl("run", name).returncode == 1
    nodes = status()["nodes"]
    assert (nodes["long"]["state"], nodes["fail"]["state"]) == ("cancelled", "failed")


@pytest.mark.usefixtures("unharmed")
def test_a_pause_stops_requests_too(
    flow: Flow, start: Start, status: Status, server: Server, until: Until
) -> None:
    released = threading.Event()

    def answer(asked: Asked) -> None:
        server.hanging.release()
        assert released.wait(30)
        asked.answer(200)

    server.own["/x"] = answer
    engine = start("run", flow(f'nodes: {{a: {{http: {{url: "{server.url}/x"}}}}}}'), process_group=0)
    await_hanging(server, 1)
    engine.send_signal(signal.SIGTSTP)
    until(lambda: processes.state_of(engine.pid) == "T", "the engine is stopped")
    released.set()
    engine.send_signal(signal.SIGCONT)
    assert engine.wait(10) == 0
    assert status()["nodes"]["a"]["state"] == "succeeded"


def test_a_process_of_its_own_comes_to_the_same(flow: Flow, wfctl: Command, status: Status, server: Server) -> None:
    """With hard limits a task is no thread's: what it asks and what becomes of it is the same."""
    hard = "limit: hard, resources: {memory: 512MiB}"
    name = flow(f"""
        on_failure: continue
        nodes:
          a: {{http: {{url: "{server.url}/echo", method: POST, json: [1], save: one}}}}
          b: {{http: {{url: "{server.url}/echo", method: POST, json: [1], save: two}}, {hard}}}
          c: {{http: {{url: "{server.url}/status/503?body=busy"}}}}
          d: {{http: {{url: "{server.url}/status/503?body=busy"}}, {hard}}}
    """)
    assert wfctl("run", name).returncode == 1
    nodes = status()["nodes"]
    outputs = {name: {**(nodes[name]["output"] or {}), "headers": None, "file": None, "bytes": 0} for name in "ab"}
    assert outputs["a"] == outputs["b"]
    assert nodes["c"]["error"] == nodes["d"]["error"]
    assert (nodes["c"]["reason"], nodes["c"]["exit_code"]) == (nodes["d"]["reason"], nodes["d"]["exit_code"])
    one, two = (seen for seen in server.seen if seen.method == "POST")
    assert one.headers.keys() == two.headers.keys()


# -- notify


def test_finally_tells_what_has_become_of_the_run(
    flow: Flow, wfctl: Command, server: Server, make_server: Callable[..., Server]
) -> None:
    name = flow(f"""
        secrets: [HOOK]
        nodes: {{a: {{run: 'false'}}}}
        finally:
          tell:
            when: ${{{{ run.failed }}}}
            notify:
              to: ["${{{{ secrets.HOOK }}}}", "{server.url}/echo"]
              title: "${{{{ run.state }}}}"
              body: ${{{{ run.failed_nodes }}}}
    """)
    assert wfctl("run", name, env={"HOOK": f"{server.url}/echo/h0ok3d"}).returncode == 1
    assert [seen.path for seen in server.seen] == ["/echo/h0ok3d", "/echo"]
    assert (server.json()["title"], server.json()["body"]) == ("failed", ["a"])
    assert json.loads(wfctl("output", "last", "tell").stdout) == {"reached": [0, 1], "failed": []}
