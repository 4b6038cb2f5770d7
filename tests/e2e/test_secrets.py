"""A secret reaches the processes that list it, and nothing else: not the state, not a screen, not a command line."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.conftest import ROOT, Command, Ended
from tests.e2e.conftest import Flow, Start, Status, Until

TOKEN, PG = "s3cr&t value/+é", "hunter2hunter"
GIVEN = {"TOKEN": TOKEN, "PG": PG}
LEAK = """\
import base64, os, sys, time
from urllib.parse import quote
token = os.environ["TOKEN"]
print("plain", token)
print("base64", base64.b64encode(b"me:" + token.encode()).decode())
print("url", quote(token, safe=""), quote(token).lower())
for part in (token[:6], token[6:]):
    sys.stdout.write(part)
    sys.stdout.flush()
    time.sleep(0.02)
print()
"""


def forms(value: str) -> list[bytes]:
    content = value.encode()
    inner = [base64.b64encode(b"x" * n + content)[4 * bool(n) : (n + len(content)) // 3 * 4] for n in range(3)]
    hexes = [content.hex(), content.hex().upper()]
    urls = [quote(value), quote(value, safe=""), quote(value, safe="").lower(), quote_plus(value)]
    return [content, *inner, *(text.encode() for text in [*hexes, *urls, json.dumps(value)[1:-1]])]


def leaks(*texts: str | bytes, folder: Path | None = None) -> list[str]:
    """Where a form of the secrets stands: in these texts, and in any file of the state in a folder."""
    found = {f"text {i}": text.encode() if isinstance(text, str) else text for i, text in enumerate(texts)}
    for path in sorted((folder / ".wfctl").rglob("*")) if folder else ():
        if path.is_file():
            found[path.name] = path.read_bytes()
    wanted = [form for value in GIVEN.values() for form in forms(value)]
    return [where for where, content in found.items() if any(form in content for form in wanted)]


@pytest.fixture
def leak(tmp_path: Path) -> str:
    (tmp_path / "leak.py").write_text(LEAK)
    return f"{sys.executable} leak.py"


@pytest.fixture
def said(wfctl: Command) -> Iterator[Callable[..., Ended]]:
    """Runs a command with the secrets in its environment; nothing that any of them prints may hold one."""
    printed: list[str] = []

    def run(*words: str, env: dict[str, str] | None = None) -> Ended:
        ended = wfctl(*words, env=GIVEN if env is None else env)
        printed.extend((ended.stdout, ended.stderr))
        assert "Traceback" not in ended.stderr
        return ended

    yield run
    assert leaks(*printed) == []


# -- who is given one


def test_a_secret_reaches_those_that_list_it_and_no_others(
    flow: Flow, said: Callable[..., Ended], tmp_path: Path
) -> None:
    name = flow("""
        secrets: [TOKEN, PG]
        vars: {auth: {user: etl, password: "${{ secrets.PG }}"}}
        nodes:
          none: {run: env > none.txt}
          token: {run: 'printf %s "$TOKEN" > token.txt; env > token.env', secrets: [TOKEN]}
          url:
            run: 'printf %s "$URL" > url.txt; env > url.env'
            env: {URL: "db://${{ vars.auth.user }}:${{ vars.auth.password }}@h?run=${{ run.id }}"}
    """)
    assert said("run", name).returncode == 0
    run_id = json.loads(said("status", "--json").stdout)["id"]
    assert (tmp_path / "token.txt").read_text() == TOKEN
    assert (tmp_path / "url.txt").read_text() == f"db://etl:{PG}@h?run={run_id}"
    assert not {"TOKEN=", "PG="} & {
        line[: line.find("=") + 1] for line in (tmp_path / "none.txt").read_text().split("\n")
    }
    assert PG not in (tmp_path / "token.env").read_text()
    assert TOKEN not in (tmp_path / "url.env").read_text()
    assert leaks(folder=tmp_path) == []


def test_a_secret_is_on_no_command_line(flow: Flow, said: Callable[..., Ended], tmp_path: Path) -> None:
    name = flow("""
        secrets: [TOKEN]
        nodes:
          a:
            run: cat /proc/$$/cmdline /proc/$PPID/cmdline > argv
            secrets: [TOKEN]
            env: {B: "x${{ secrets.TOKEN }}"}
    """)
    assert said("run", name).returncode == 0
    assert leaks((tmp_path / "argv").read_bytes()) == []


def test_an_env_file_gives_variables_and_secrets(flow: Flow, wfctl: Command, tmp_path: Path) -> None:
    name = flow("""
        env: {HOME_OF: {default: nobody}, ALL: workflow}
        secrets: [TOKEN]
        nodes:
          a: {run: 'echo "$HOME_OF $ALL $NODE $FILE $OUT ${TOKEN:0:2}" > seen', secrets: [TOKEN], env: {NODE: node}}
    """)
    (tmp_path / ".env").write_text("HOME_OF=file\nALL=file\nNODE=file\nFILE=file\nTOKEN=hunter2\n")
    outside = {"FILE": "out", "OUT": "out", "TOKEN": "swordfish"}
    assert wfctl("run", name, "--env-file", ".env", env=outside).returncode == 0
    assert (tmp_path / "seen").read_text() == "file workflow node file out hu\n"


# -- before anything runs


def test_all_that_is_missing_is_told_before_anything_runs(
    flow: Flow, said: Callable[..., Ended], tmp_path: Path
) -> None:
    name = flow("secrets: [TOKEN, PG, PIN]\nnodes: {a: {run: touch ran}}\n")
    ended = said("run", name, env={"PG": "", "PIN": "123"})
    assert ended.returncode == 2
    assert [line.partition(";")[0] for line in ended.stderr.splitlines()] == [
        'flow.yaml:2:11: the secret "TOKEN" is missing in the environment',
        'flow.yaml:2:18: the secret "PG" is empty in the environment',
        'flow.yaml:2:22: the secret "PIN" has less than 4 characters, too few to be told from other text in a log',
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_to_look_at_a_workflow_needs_no_secrets(flow: Flow, wfctl: Command) -> None:
    name = flow("""
        secrets: [TOKEN]
        vars: {url: "https://x:${{ secrets.TOKEN }}@h/"}
        nodes: {a: {run: "true", secrets: [TOKEN], env: {URL: "${{ vars.url }}?${{ run.id }}"}}}
    """)
    for words in (["validate", name], ["graph", name], ["plan", name, "--json"], ["run", name, "--dry-run"]):
        assert wfctl(*words).returncode == 0
    shown = wfctl("show", name, "a", env=GIVEN).stdout
    assert "  TOKEN: ***  (from the secrets)\n" in shown
    assert "  URL: https://x:***@h/?${{ run.id }}  (from the node)\n" in shown
    assert leaks(shown, wfctl("show", name, "a", "--json", env=GIVEN).stdout) == []


# -- what a node says of its secret


def test_a_node_that_prints_its_secret_leaves_none(
    flow: Flow, said: Callable[..., Ended], tmp_path: Path, leak: str
) -> None:
    name = flow(f"""
        secrets: [TOKEN, PG]
        on_failure: continue
        nodes:
          log: {{run: "{leak}; {leak} >&2", secrets: [TOKEN]}}
          fails: {{run: "{leak}; echo fatal: bad token $TOKEN >&2; exit 3", secrets: [TOKEN]}}
          retried: {{run: "{leak}; exit 3", secrets: [TOKEN], retry: {{attempts: 2, delay: 1ms}}}}
          late: {{run: "{leak}; sleep 60", secrets: [TOKEN], timeout: 500ms}}
          killed: {{run: "{leak}; kill -9 $$", secrets: [TOKEN], stdout: text}}
          missing: {{run: [./no-such-program], secrets: [TOKEN]}}
          argv: {{run: [bash, -xc, 'curl_of() {{ :; }}; curl_of "$TOKEN"'], secrets: [TOKEN]}}
    """)
    assert said("run", name).returncode == 1
    assert leaks(folder=tmp_path) == []
    for words in (
        ["logs", "last"],
        ["logs", "last", "fails", "--raw"],
        ["status"],
        ["status", "--json"],
        ["runs", "--json"],
    ):
        said(*words)
    log = said("logs", "last", "log").stdout.splitlines()
    assert [line.split(" ")[0] for line in log[:3]] == ["plain", "base64", "url"]
    assert log[0] == "plain " + "*" * len(TOKEN.encode())


@pytest.mark.parametrize(
    ("script", "stdout"),
    [("echo $TOKEN", "text"), ("echo '[1, \"'$PG'\"]'", "json"), ("echo pg=x$PG > $WFCTL_OUTPUT", "none"),
     ("printf %s $PG | base64", "lines"), ("printf %0100000d 0; echo $PG", "text")],
    ids=["text", "json", "file", "base64", "large"],
)  # fmt: skip
def test_an_output_with_a_secret_fails_its_node_and_is_kept_nowhere(
    flow: Flow, said: Callable[..., Ended], status: Status, tmp_path: Path, script: str, stdout: str
) -> None:
    name = flow(f"""
        secrets: [TOKEN, PG]
        nodes:
          a:
            run: {script}
            stdout: {stdout}
            secrets: [TOKEN, PG]
          b: {{run: "echo ${{{{ nodes.a.output }}}}"}}
    """)
    assert said("run", name, "--json").returncode == 1
    ended = status()["nodes"]["a"]
    assert (ended["reason"], ended["outcome"], ended["output"]) == ("secret", "unknown", None)
    assert ended["error"].startswith("its output held the secret ")
    assert leaks(folder=tmp_path) == []


def test_the_status_that_programs_read_stays_valid(
    flow: Flow, said: Callable[..., Ended], valid: Callable[[str, object], None]
) -> None:
    name = flow("secrets: [PG]\nnodes: {a: {run: echo $PG, secrets: [PG], stdout: text}}\n")
    lines = said("run", name, "--json").stdout.splitlines()
    for line in lines:
        valid("events", json.loads(line))
    valid("status", json.loads(said("status", "--json").stdout))


# -- a dead engine


@pytest.fixture
def dead(flow: Flow, start: Start, until: Until, status: Status, tmp_path: Path, leak: str) -> str:
    """A run whose engine was killed while a node that had printed its secret ran; its file."""
    name = flow(f"""
        secrets: [TOKEN, PG]
        nodes:
          a:
            run: |
              {leak}
              echo $TOKEN > $WFCTL_OUTPUT
              test -e go || {{ touch told; sleep 60; }}
              rm $WFCTL_OUTPUT
            secrets: [TOKEN]
    """)
    run = start("run", name, env=GIVEN)
    until((tmp_path / "told").exists, "the node has told its secret")
    run.kill()
    run.communicate(timeout=30)
    until(lambda: status()["state"] == "interrupted", "nothing of the run is alive")
    (tmp_path / "go").touch()
    return name


def test_resume_takes_out_what_a_dead_engine_left(dead: str, said: Callable[..., Ended], tmp_path: Path) -> None:
    assert leaks(folder=tmp_path) != []  # nobody could take it out yet
    assert said("resume", "last").returncode == 0
    assert leaks(folder=tmp_path) == []
    log = said("logs", "last", "a").stdout
    assert log.count("plain " + "*" * len(TOKEN.encode())) == 2  # both attempts


def test_resume_wants_the_secrets_again_and_begins_nothing_without(dead: str, wfctl: Command, tmp_path: Path) -> None:
    (journal,) = (tmp_path / ".wfctl/runs").glob("*/journal.jsonl")
    before = journal.read_bytes()
    ended = wfctl("resume", "last")
    assert ended.returncode == 2
    assert [line.partition(": ")[2].partition(" in ")[0] for line in ended.stderr.splitlines()] == [
        'the secret "PG" is missing', 'the secret "TOKEN" is missing',
    ]  # fmt: skip
    assert "--env-file FILE" in ended.stderr
    assert journal.read_bytes() == before
    (tmp_path / "x.env").write_text(f'TOKEN="{TOKEN}"\nPG={PG}\n')
    assert wfctl("resume", "last", "--env-file", "x.env").returncode == 0
    assert leaks(folder=tmp_path) == []


def test_a_file_that_no_longer_names_the_secret_cannot_keep_it_in_the_log(
    dead: str, flow: Flow, said: Callable[..., Ended], tmp_path: Path
) -> None:
    flow('nodes: {a: {run: "true"}}\n')
    assert said("resume", "last", "--update", env={}).returncode == 2
    assert said("resume", "last", "--update").returncode == 0
    assert leaks(folder=tmp_path) == []


@pytest.mark.parametrize("words", [["logs", "last"], ["logs", "last", "a"], ["logs", "last", "a", "--raw"],
                                   ["logs", "last", "-f"], ["logs", "last", "a", "-f", "--raw"]])  # fmt: skip
def test_the_log_of_a_dead_engine_is_masked_by_who_has_the_secret_and_held_back_from_others(
    dead: str, said: Callable[..., Ended], words: list[str]
) -> None:
    held = said(*words, env={})
    assert (held.returncode, held.stdout) == (0, "")
    assert (
        '"a" has secrets, so its log is held back until `wfctl resume` has taken them out; set TOKEN here'
        in held.stderr
    )
    masked = said(*words).stdout
    assert "plain " + "*" * len(TOKEN.encode()) in masked


def test_a_log_over_its_limit_is_not_cut_in_the_middle_of_a_secret(
    flow: Flow, said: Callable[..., Ended], tmp_path: Path
) -> None:
    name = flow("""
        secrets: [PG]
        log_limit: 1KB
        nodes: {a: {run: 'printf "%0990d%s%0990d" 0 "$PG" 0; sleep 60', secrets: [PG]}}
    """)
    assert said("run", name).returncode == 1
    assert json.loads(said("status", "--json").stdout)["nodes"]["a"]["reason"] == "log_limit"
    (log,) = (tmp_path / ".wfctl/runs").glob("*/logs/a.1.log")
    assert log.read_bytes() == b"0" * 990 + b"*" * 10


# -- while it runs


def test_a_log_that_is_still_written_is_masked_or_held_back_until_its_attempt_has_ended(
    flow: Flow, start: Start, said: Callable[..., Ended], until: Until, tmp_path: Path, leak: str
) -> None:
    name = flow(f"""
        secrets: [TOKEN]
        nodes:
          a: {{run: "{leak}; touch told; while test ! -e go; do sleep 0.02; done; echo the end", secrets: [TOKEN]}}
    """)
    run = start("run", name, env=GIVEN)
    until((tmp_path / "told").exists, "the node has told its secret")
    assert said("logs", "last", env={}).stdout == ""
    assert "a: plain **" in said("logs", "last").stdout
    followers = [start("logs", "last", "-f", env=env) for env in ({}, GIVEN)]
    (tmp_path / "go").touch()
    assert run.wait(timeout=30) == 0
    shown = [follower.communicate(timeout=30)[0] for follower in followers]
    assert leaks(*shown) == []
    assert shown[0] == shown[1] == said("logs", "last").stdout
    assert shown[0].endswith("a: the end\n")


def test_a_live_view_shows_no_secret(flow: Flow, tmp_path: Path, leak: str) -> None:
    name = flow(f"secrets: [TOKEN]\nnodes: {{a: {{run: '{leak}; sleep 0.3; exit 3', secrets: [TOKEN]}}}}\n")
    terminal, inner = pty.openpty()
    environ = {
        **os.environ,
        **GIVEN,
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "WFCTL_STATE_DIR": str(tmp_path / ".wfctl"),
    }
    run = subprocess.Popen(
        [sys.executable, "-m", "wfctl", "run", name], cwd=tmp_path, env=environ, stdin=inner, stdout=inner, stderr=inner
    )
    os.close(inner)
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:  # the other side is closed
        pass
    os.close(terminal)
    assert run.wait(timeout=30) == 1
    assert b"plain **" in shown
    assert leaks(shown, folder=tmp_path) == []
