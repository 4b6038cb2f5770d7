"""The documents say what is so: their commands are run in a fresh copy, their examples are validated.

Knows nothing of what is inside the command. `python -m tests.e2e.test_readme` writes what is really printed into
them, but for commands whose output is shortened by a line `…`: those are for people to edit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

FENCE = re.compile(
    r"^(?:<!-- (?P<mark>\w+): (?P<name>\S+) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
VARYING = [
    (re.compile(r"\d{8}-\d{6}-\w{3}"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\b(?:\d+[dhm] )?\d+(?:\.\d+)?(?:ms|s|m|h|d)\b"), "SPAN"),
    (re.compile(r"^\[ *\d+/"), "[/"),
    (re.compile(r"\s+"), " "),
]


@dataclass(frozen=True)
class Shown:
    """A command of a console block, the lines shown for it, and the exit code it ends with."""

    command: str
    lines: tuple[str, ...]
    code: int


def shown_in(block: str) -> Iterator[Shown]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        code = re.search(r"# exit code (\d+)$", command)
        yield Shown(command, tuple(lines), int(code[1]) if code else 0)


class Copy:
    """A fresh copy of what the README speaks of, with the command on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "copy"
        shutil.copytree(ROOT / "workflows", self.folder / "workflows", ignore=shutil.ignore_patterns("build", ".wfctl"))
        (folder / "bin").mkdir()
        command = folder / "bin/wfctl"
        command.write_text(f"#!{sys.executable}\nimport sys\nfrom wfctl.cli import main\nsys.exit(main())\n")
        command.chmod(0o755)
        self.environ = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "WFCTL_STATE_DIR": str(self.folder / ".wfctl"),
            "COLUMNS": "80",
        }

    def run(self, command: str) -> tuple[int, list[str]]:
        """The exit code and the lines of what a terminal would show."""
        words = ["bash", "-c", command]
        ended = subprocess.run(
            words, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=60,
        )  # fmt: skip
        return ended.returncode, [line.rstrip() for line in ended.stdout.splitlines()]


SHOWING = ("README.md", "docs/scheduling.md", "docs/graph.md")
"""The documents that show what commands print."""


def normal(line: str) -> str:
    for pattern, word in VARYING:
        line = pattern.sub(word, line.rstrip())
    return line


@pytest.mark.parametrize("document", SHOWING)
def test_the_commands_of_a_document_print_what_it_shows(document: str, tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    for block in FENCE.finditer((ROOT / document).read_text()):
        if block["mark"] == "file":
            (copy.folder / block["name"]).write_text(block["body"])
        for shown in shown_in(block["body"]) if block["language"] == "console" else ():
            code, lines = copy.run(shown.command)
            assert code == shown.code, (shown.command, lines)
            # Nodes that run side by side end in any order.
            real, told = Counter(map(normal, lines)), Counter(map(normal, shown.lines))
            if "…" in told:
                del told["…"]
                assert told <= real, (shown.command, told - real)
            else:
                assert told == real, (shown.command, lines)


def test_the_two_commands_of_the_readme_set_up_all_they_need(tmp_path: Path) -> None:
    commands = {b["name"]: b["body"].strip() for b in FENCE.finditer(_readme()) if b["mark"] == "command"}
    assert list(commands) == ["run", "test"]
    run, test = (command.split(" && ") for command in commands.values())
    assert run[:2] == ["python3 -m venv .venv", ".venv/bin/pip install -q ."]
    assert Copy(tmp_path).run(run[2].removeprefix(".venv/bin/"))[0] == 0
    assert test == ["python3 -m venv .venv", '.venv/bin/pip install -q -e ".[test]"', ".venv/bin/pytest -q"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "test" in project["optional-dependencies"]


@pytest.mark.parametrize("name", ["format.md", "semantics.md", "design.md", "kept.md", "rollback.md"])
def test_the_workflows_in_the_documents_have_no_faults(name: str, tmp_path: Path, wfctl: Command) -> None:
    blocks = [b["body"] for b in FENCE.finditer((ROOT / "docs" / name).read_text()) if b["language"] == "yaml"]
    files = []
    for number, text in enumerate(blocks, 1):
        files.append(f"{number}.yaml")
        (tmp_path / files[-1]).write_text(text)
    if files:
        ended = wfctl("validate", *files)
        assert ended.returncode == 0, ended.stderr
    assert files or name != "format.md"


def test_the_reference_of_the_format_has_every_key() -> None:
    text = (ROOT / "docs/format.md").read_text()
    schema = json.loads((ROOT / "schemas/workflow.schema.json").read_text())
    there = {*schema["properties"], *schema["$defs"]["node_keys"]["properties"]}
    assert {key for key in there if f"`{key}`" not in text} == set()


def test_links_between_the_documents_lead_somewhere() -> None:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def _readme() -> str:
    return (ROOT / "README.md").read_text()


def renew() -> None:
    """Write what the commands of the documents really print into them."""
    for document in SHOWING:
        _renew(ROOT / document)


def _renew(document: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))

        def renewed(block: re.Match[str]) -> str:
            if block["mark"] == "file":
                (copy.folder / block["name"]).write_text(block["body"])
            if block["language"] != "console":
                return block[0]
            printed = ""
            for shown in shown_in(block["body"]):
                _, lines = copy.run(shown.command)
                printed += "\n".join([f"$ {shown.command}", *(shown.lines if "…" in shown.lines else lines)]) + "\n"
            return f"```console\n{printed}```"

        text = FENCE.sub(renewed, document.read_text())
    document.write_text(text)


if __name__ == "__main__":
    renew()
