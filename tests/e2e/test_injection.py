"""What an upstream node says stays data wherever it is used: byte for byte, or refused in words, never carried out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Command

FLOW = """\
version: 1
on_failure: continue
nodes:
  said: {run: cat said, stdout: json}
  word: {run: "printf %s ${{ nodes.said.output }} > word"}
  quoted: {run: 'printf %s "${{ nodes.said.output }}" > quoted'}
  substituted:
    run: |
      x="$(printf %s. "${{ nodes.said.output }}")"
      printf %s "${x%.}" > substituted
  document:
    run: |
      cat > document <<END
      ${{ nodes.said.output }}
      END
  command: {run: "./keep command ${{ nodes.said.output }}"}
  glued: {run: "./keep glued a-${{ nodes.said.output }}-b"}
  argv: {run: [./keep, argv, "${{ nodes.said.output }}"]}
  args: {run: 'printf %s "$1" > args', args: ["${{ nodes.said.output }}"]}
  env: {run: 'printf %s "$V" > env', env: {V: "${{ nodes.said.output }}"}}
  stdin: {run: cat > stdin, stdin: "${{ nodes.said.output }}"}
  file: {run: 'cp "${{ file(nodes.said.output) }}" file'}
"""
THROUGH_A_PROCESS = ["word", "quoted", "substituted", "document", "command", "glued", "argv", "args", "env"]
EVERYWHERE = [*THROUGH_A_PROCESS, "stdin"]


@pytest.fixture
def use(tmp_path: Path, wfctl: Command) -> Use:
    return Use(tmp_path, wfctl)


class Use:
    """Runs the workflow above on what was said, and keeps what arrived where."""

    def __init__(self, folder: Path, wfctl: Command) -> None:
        self.folder, self.wfctl = folder, wfctl

    def __call__(self, said: object) -> dict[str, bytes | None]:
        (self.folder / "keep").write_text('#!/bin/sh\nprintf %s "$2" > "$1"\n')
        (self.folder / "keep").chmod(0o755)
        (self.folder / "said").write_text(json.dumps(said))
        (self.folder / "flow.yaml").write_text(FLOW)
        ended = self.wfctl("run", "flow.yaml")
        assert ended.returncode in (0, 1), ended.stderr
        self.errors = json.loads(self.wfctl("status", "last", "--json").stdout)["nodes"]
        allowed = {".wfctl", "flow.yaml", "keep", "said", "file", *EVERYWHERE}
        assert {path.name for path in self.folder.iterdir()} <= allowed
        read = {name: self.folder / name for name in [*EVERYWHERE, "file"]}
        return {name: path.read_bytes() if path.exists() else None for name, path in read.items()}


FOREIGN = {
    "closed quote": '"; touch pwned; #',
    "substitution": "$(touch pwned)",
    "backticks": "`touch pwned`",
    "newline": "a\ntouch pwned\n",
    "and": "&& touch pwned",
    "sql": "'; DROP TABLE x; --",
    "dash": "-rf",
    "star": "*",
    "variable": "${HOME}",
    "our variable": "$WFCTL_VALUE_1 ${WFCTL_VALUE_1}",
    "expression": "${{ run.id }}",
    "blanks": "  a \t b  ",
    "trailing newlines": "x\n\n",
    "empty": "",
    "backslash": "\\",
    "continued line": "a\\\nb",
    "end of the document": "x\nEND\ntouch pwned\nEND",
    "tilde": "~",
    "braces": "{a,b}",
    "history": "!!",
    "controls": "\x01\x1b[31m\r\x7f",
    "letters": "é😀\u202e",
    "99 KiB": "x" * 99 * 1024,
}


@pytest.mark.parametrize("said", FOREIGN.values(), ids=FOREIGN)
def test_what_was_said_arrives_byte_for_byte_and_is_not_carried_out(use: Use, said: str) -> None:
    text = said.encode()
    expected = {**dict.fromkeys(EVERYWHERE, text), "document": text + b"\n", "glued": b"a-" + text + b"-b"}
    arrived = use(said)
    assert json.loads(arrived.pop("file") or b"") == said
    assert arrived == expected


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("a\0b", "NUL character"),
        ("\ud800", "half a surrogate pair"),
        ("x" * 200_000, "is 195 KiB, and more than 100 KiB cannot be handed to a process this way; use stdin"),
        ("é" * 100_000, "is 195 KiB, and more than 100 KiB cannot be handed to a process this way; use stdin"),
    ],
    ids=["NUL", "half a surrogate pair", "200 kB", "100,000 letters of two bytes"],
)
def test_what_no_argument_can_hold_is_refused_in_words(use: Use, said: str, reason: str) -> None:
    arrived = use(said)
    for name in THROUGH_A_PROCESS:
        assert arrived[name] is None
        assert reason in use.errors[name]["error"]
    assert json.loads(arrived["file"] or b"") == said
    if "surrogate" in reason:
        assert reason in use.errors["stdin"]["error"]
    else:
        assert arrived["stdin"] == said.encode()


@pytest.mark.parametrize("said", [["a", "touch pwned"], {"$(touch pwned)": 1}], ids=["list", "mapping"])
def test_a_list_or_mapping_in_a_script_is_refused_in_words(use: Use, said: object) -> None:
    arrived = use(said)
    assert arrived["quoted"] is None
    assert "in a script must be said as json(x)" in use.errors["quoted"]["error"]
    assert json.loads(arrived["stdin"] or b"") == said


def run(folder: Path, wfctl: Command, said: bytes, flow: str) -> tuple[int, str]:
    """The exit code and the texts of a run in which `nodes.said.output` is that text."""
    (folder / "said").write_bytes(said)
    (folder / "flow.yaml").write_text(f"version: 1\nnodes:\n  said: {{run: cat said, stdout: text}}\n{flow}")
    ended = wfctl("run", "flow.yaml")
    assert not (folder / "pwned").exists()
    assert not (folder.parent / "pwned").exists()
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("said", [b"\xff\xfea", b"caf\xe9", b"\xed\xa0\x80"])
def test_bytes_that_are_no_text_fail_the_node_that_said_them(tmp_path: Path, wfctl: Command, said: bytes) -> None:
    code, text = run(tmp_path, wfctl, said, "  use: {run: 'touch ${{ nodes.said.output }}'}\n")
    assert code == 1
    assert "said  failed" in text
    assert "standard output is no UTF-8 text (byte" in text


ODD_PATHS = [
    b"a b",
    b"-rf",
    b"*",
    b"$(touch pwned)",
    b"`touch pwned`",
    b"'; DROP",
    b"a\nb",
    b"~",
    b"[x]",
    "é😀".encode(),
]


@pytest.mark.parametrize("said", ODD_PATHS)
def test_a_path_that_was_said_is_one_path(tmp_path: Path, wfctl: Command, said: bytes) -> None:
    flow = """\
  write:
    run: 'printf x > "${{ writes.out }}"'
    writes: {out: "out/${{ nodes.said.output }}/file"}
  read:
    run: cat file
    cwd: out/${{ nodes.said.output }}
    needs: [write]
    stdout: text
"""
    assert run(tmp_path, wfctl, said, flow)[0] == 0
    assert (os.fsencode(tmp_path / "out") + b"/" + said.rstrip(b"\n") + b"/file") in files_below(tmp_path / "out")


def files_below(folder: Path) -> list[bytes]:
    return [os.path.join(where, name) for where, _, names in os.walk(os.fsencode(folder)) for name in names]


@pytest.mark.parametrize("said", ["..", "../pwned", "/etc/pwned", "a/../../pwned", "./../pwned"])
@pytest.mark.parametrize("key", ["cwd: {}", "writes: [{}]", "writes: {{x: {}}}"])
def test_a_path_that_leads_out_of_the_root_is_refused(tmp_path: Path, wfctl: Command, said: str, key: str) -> None:
    field = key.format('"${{ nodes.said.output }}"')
    code, text = run(tmp_path, wfctl, said.encode(), f"  use:\n    run: touch pwned\n    {field}\n")
    assert code == 1
    assert "root folder" in text


@pytest.mark.parametrize("said", ["../pwned", "/etc/pwned"])
@pytest.mark.parametrize("key", ["cwd: {}", "writes: [{}]", "reads: [{}]"])
def test_a_param_that_leads_out_of_the_root_is_refused(tmp_path: Path, wfctl: Command, said: str, key: str) -> None:
    field = key.format('"${{ params.x }}"')
    flow = f"version: 1\nparams: {{x: {{type: string}}}}\nnodes:\n  a:\n    run: touch pwned\n    {field}\n"
    (tmp_path / "flow.yaml").write_text(flow)
    ended = wfctl("run", "flow.yaml", "-p", f"x={said}")
    assert ended.returncode in (1, 2)
    assert "root folder" in ended.stderr
    assert not (tmp_path / "pwned").exists()


def test_a_param_and_a_name_of_the_environment_stay_data_as_well(tmp_path: Path, wfctl: Command) -> None:
    evil = '"; touch pwned; $(touch pwned) `touch pwned`'
    (tmp_path / "flow.yaml").write_text(
        "version: 1\nparams: {x: {type: string}}\nenv: {Y: {default: none}}\nnodes:\n"
        '  a: {run: \'printf "%s\\n%s\\n%s" ${{ params.x }} "$Y" "${{ env.Y }}" > kept\'}\n'
    )
    assert wfctl("run", "flow.yaml", "-p", f"x={evil}", env={"Y": evil}).returncode == 0
    assert (tmp_path / "kept").read_text() == f"{evil}\n{evil}\n{evil}"
    assert not (tmp_path / "pwned").exists()


def test_keys_of_an_output_are_no_names_of_ours(tmp_path: Path, wfctl: Command) -> None:
    flow = """\
  keys:
    run: printf '{"items":1,"__class__":2,"$(touch pwned)":3}'
    stdout: json
  use:
    run: echo ${{ nodes.keys.output.items }} ${{ nodes.keys.output["__class__"] }} ${{ keys(nodes.keys.output) }}
"""
    code, text = run(tmp_path, wfctl, b"", flow)
    assert code == 1
    assert "in a script must be said as json(x)" in text
