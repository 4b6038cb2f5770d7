"""Names, paths and output of others are shown whole and obeyed by nothing, whatever the verb and the form."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command
from tests.e2e.conftest import Flow

MARKS = (
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\u200c\u200d\u2060\ufeff\u2028\u2029"
)
HOSTILE = "[/bin/sh] [link=x] <script>alert(1)</script> \x1b]52;c;aGk=\x07 \x1b[2J\x9b31m\x7f\x01\r" + MARKS + " end"
WHOLE = "[/bin/sh] [link=x] <script>alert(1)</script> \\x1b]52;c;aGk=\\x07 \\x1b[2J\\x9b31m\\x7f\\x01\\r"
FORBIDDEN = {chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]} - set("\n\t") | set(MARKS)


def harmful(text: str) -> set[str]:
    """What a terminal or a page could obey in this text."""
    return {
        char
        for char in text
        if char in FORBIDDEN or (unicodedata.category(char) in ("Cs", "Cf", "Cc") and char not in "\n\t")
    }


def flow_of(folder: Path) -> str:
    """A workflow whose every free text is hostile, and whose nodes say hostile things."""
    (folder / "say.py").write_text(
        f"import sys\nsys.stdout.buffer.write({HOSTILE.encode()!r})\n"
        "sys.stderr.buffer.write(b'\\xff\\xfe\\n')\nsys.exit(len(sys.argv) - 1)\n"
    )
    text, say = json.dumps(HOSTILE), f"{sys.executable} say.py"
    (folder / "flow.yaml").write_text(f"""
version: 1
description: {text}
on_failure: continue
params:
  p: {{type: string, default: {text}}}
  day: {{type: string, format: date, default: "2026-01-31"}}
env: {{E: {text}}}
vars: {{v: {text}}}
nodes:
  says: {{run: "{say}", stdout: text, description: {text}}}
  fails: {{run: "{say} now", env: {{E: {text}}}}}
  damaged: {{run: "{say} > $WFCTL_OUTPUT"}}
  path: {{run: [cat, "${{{{ params.p }}}}"]}}
  cwd: {{run: "true", cwd: "x${{{{ nodes.says.output }}}}"}}
  program: {{run: ["./x${{{{ nodes.says.output }}}}"]}}
  writes: {{run: "true", writes: ["x${{{{ nodes.says.output }}}}"]}}
  expects: {{run: "true", expect: "${{{{ nodes.says.output }}}}"}}
outputs:
  said: ${{{{ nodes.says.output }}}}
""")
    return "flow.yaml"


VERBS = [
    ["validate", "flow.yaml"], ["show", "flow.yaml"], ["show", "flow.yaml", "path"], ["show", "flow.yaml", "--json"],
    ["plan", "flow.yaml"], ["plan", "flow.yaml", "--json"], ["graph", "flow.yaml"], ["graph", "last"],
    ["graph", "last", "-f", "mermaid"], ["graph", "last", "-f", "dot"], ["graph", "last", "--json"],
    ["graph", "last", "-f", "svg"], ["graph", "last", "-f", "html"], ["graph", "flow.yaml", "--compensation"],
    ["status"], ["status", "--json"], ["runs"], ["runs", "--json"], ["logs", "last"], ["logs", "last", "says"],
    ["report", "last", "-o", "-"],
    ["output", "last"], ["resume", "last"], ["resume", "last", "--json"], ["clean", "--older-than", "0s", "--dry-run"],
]  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[bytes]]:
    folder = tmp_path_factory.mktemp("hostile")
    return folder, command(folder, "run", flow_of(folder))


def command(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "wfctl", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(folder / ".wfctl"), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )


def printed(ended: subprocess.CompletedProcess[bytes]) -> str:
    assert b"Traceback" not in ended.stderr
    return ended.stdout.decode() + ended.stderr.decode()  # and not a byte that is no UTF-8


def test_a_run_shows_hostile_text_whole_and_harmless(ran: tuple[Path, subprocess.CompletedProcess[bytes]]) -> None:
    _, ended = ran
    text = printed(ended)
    assert ended.returncode == 1
    assert harmful(text) == set()
    assert WHOLE in text
    assert all(f"\\u{ord(mark):04x}" in text for mark in MARKS)
    assert text.count("\\xff\\xfe") >= 1


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_no_verb_prints_what_could_be_obeyed(
    ran: tuple[Path, subprocess.CompletedProcess[bytes]], words: list[str]
) -> None:
    folder, _ = ran
    ended = command(folder, *words)
    assert ended.returncode in (0, 1), ended.stderr.decode()
    assert harmful(printed(ended)) == set()
    if "--json" in words:
        for document in ended.stdout.splitlines() if words[0] == "resume" else [ended.stdout]:
            json.loads(document)


def test_the_log_and_the_output_are_shown_whole(ran: tuple[Path, subprocess.CompletedProcess[bytes]]) -> None:
    folder, _ = ran
    shown = WHOLE + "".join(f"\\u{ord(mark):04x}" for mark in MARKS) + " end"
    assert command(folder, "logs", "last", "says").stdout.decode() == "\\xff\\xfe\n" + shown + "\n"
    assert command(folder, "logs", "last", "fails", "--raw").stdout.startswith(HOSTILE.encode())
    assert command(folder, "output", "last", "says").stdout.decode() == HOSTILE + "\n"  # the value, for pipes


def test_the_value_of_an_output_is_made_harmless_for_a_terminal(
    ran: tuple[Path, subprocess.CompletedProcess[bytes]],
) -> None:
    folder, _ = ran
    outer, inner = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(folder / ".wfctl")}
    with subprocess.Popen(
        [sys.executable, "-m", "wfctl", "output", "last", "says"], cwd=folder, env=environ, stdin=inner, stdout=inner
    ) as shown:
        os.close(inner)
        text = os.read(outer, 65536).decode().replace("\r\n", "\n")
        assert shown.wait(timeout=30) == 0
    os.close(outer)
    assert harmful(text) == set()
    assert text.startswith(WHOLE)


@pytest.mark.parametrize(
    "environ", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_a_screen_that_has_no_unicode_gets_all_of_it_in_ascii(
    ran: tuple[Path, subprocess.CompletedProcess[bytes]], environ: dict[str, str]
) -> None:
    folder, _ = ran
    for words in (["run", "flow.yaml"], ["status"], ["show", "flow.yaml"], ["graph", "last"]):
        ended = command(folder, *words, **environ)
        assert b"Traceback" not in ended.stderr
        assert harmful((ended.stdout + ended.stderr).decode("latin-1")) == set()


# -- what is typed, and what stands in files that have faults


@pytest.mark.parametrize(
    "words",
    [
        ["{}"], ["run", "{}"], ["run", "{}.yaml"], ["run", "good.yaml", "--{}"], ["run", "good.yaml", "-p", "{}"],
        ["run", "good.yaml", "-p", "{}=1"], ["run", "good.yaml", "-p", "n={}"], ["run", "good.yaml", "--set", "{}"],
        ["run", "good.yaml", "--set", "{}=1"], ["run", "good.yaml", "--set", "concurrency={}"],
        ["run", "good.yaml", "--only", "{}"], ["run", "good.yaml", "--of", "{}"], ["run", "good.yaml", "-j", "{}"],
        ["run", "good.yaml", "--policy", "{}"], ["run", "good.yaml", "--params-file", "{}"],
        ["run", "good.yaml", "--env-file", "{}"], ["plan", "{}"], ["graph", "{}"], ["graph", "good.yaml", "-f", "{}"],
        ["graph", "good.yaml", "--focus", "{}"],
        ["graph", "good.yaml", "-o", "no/{}"], ["show", "good.yaml", "{}"], ["status", "{}"], ["logs", "{}"],
        ["output", "{}"], ["resume", "{}"], ["cancel", "{}"], ["clean", "--older-than", "{}"], ["init", "{}"],
        ["validate", "{}", "--format", "github"], ["validate", "--format", "{}", "good.yaml"],
        ["--state-dir", "{}/x", "status"],
    ],
    ids=lambda words: " ".join(words),
)  # fmt: skip
def test_what_is_typed_comes_back_harmless(flow: Flow, tmp_path: Path, words: list[str]) -> None:
    flow("params: {n: {type: integer, default: 1}}\nnodes: {a: {run: echo hi}}\n", "good.yaml")
    ended = command(tmp_path, *(word.replace("{}", HOSTILE) for word in words))
    assert ended.returncode == 2
    assert harmful(printed(ended)) == set()


def test_words_that_are_no_text_do_no_harm(flow: Flow, tmp_path: Path) -> None:
    name = flow("nodes: {a: {run: echo hi}}\n")
    for words in ([b"\xff\xfe"], [b"run", b"\xff.yaml"], [b"run", name.encode(), b"-p", b"\xff=\xfe"]):
        ended = subprocess.run(
            [sys.executable.encode(), b"-m", b"wfctl", *words], cwd=tmp_path, capture_output=True, timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert ended.returncode == 2
        assert "\\xff" in printed(ended)


@pytest.mark.parametrize(
    "make",
    [
        lambda text: f"nodes: {{{text}: {{run: 'true'}}}}",
        lambda text: f"name: {text}\nnodes: {{a: {{run: 'true'}}}}",
        lambda text: f"nodes: {{a: {{run: 'true', {text}: 1, needs: [{text}], trigger: {text}}}}}",
        lambda text: f"params: {{p: {{type: {text}}}}}\nnodes: {{a: {{run: 'true', timeout: {text}, cwd: {text}}}}}",
        lambda text: f"nodes: {{a: {{run: 'true', resources: {{{text}: 1}}, reads: [{text}], secrets: [{text}]}}}}",
    ],
    ids=["id", "name", "keys", "values", "names"],
)
def test_faults_name_hostile_text_harmlessly(
    flow: Flow, wfctl: Command, tmp_path: Path, make: Callable[[str], str]
) -> None:
    name = flow(make(json.dumps(HOSTILE)))
    for words in (["validate", name], ["validate", name, "--json"], ["validate", name, "--format", "github"]):
        ended = wfctl(*words)
        assert "Traceback" not in ended.stderr
        assert ended.returncode == 2
        assert harmful(ended.stdout + ended.stderr) == set()
        assert "<script>" in ended.stdout + ended.stderr


def test_a_file_of_a_hostile_name_runs(flow: Flow, tmp_path: Path) -> None:
    name = flow("nodes: {a: {run: 'false'}}\n", HOSTILE.replace("/", "_")[:80] + ".yaml")
    for words in (["run", name], ["status"], ["runs"], ["resume", "last"], ["graph", name], ["validate", name]):
        assert harmful(printed(command(tmp_path, *words))) == set()
