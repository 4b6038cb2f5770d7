"""Completion: what is offered where, in real shells, with names that a shell would obey."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import environ
from wfctl import completers, completion, rollback

FLOW = """
version: 1
name: report
params:
  day: {type: string, default: today, description: Of which day.}
  size: {enum: [small, large], default: small}
nodes:
  extract: {run: "true", description: Gets it.}
  stage:
    needs: [extract]
    nodes:
      load: {run: "false"}
finally:
  sweep: {run: "true"}
"""

NAMES = [
    "$(touch pwned)", "`touch pwned`", "a b;touch pwned", "q\"uo'te", "back\\slash", "co:lon", "ju!st", "st*r", "é[0]",
]  # fmt: skip
"""No ids that a run would take, but a file that is being written may hold anything."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a workflow, hostile files, and the command on a PATH of its own."""
    (tmp_path / "flow.yaml").write_text(FLOW)
    rows = "\n".join(f"  {json_text(name)}: {{run: 'true'}}" for name in [*NAMES, "esc\x1b[31m"])
    (tmp_path / "hostile.yaml").write_text(f"version: 1\nnodes:\n{rows}\n")
    for name in ("$(touch pwned).yaml", "two\nlines.yaml", "a b.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    command = tmp_path / "bin" / "wfctl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wfctl "$@"\n')
    command.chmod(0o755)
    return tmp_path


def json_text(text: str) -> str:
    import json

    return json.dumps(text)


def around(home: Path) -> dict[str, str]:
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    return {**environ(home), "PATH": path, "HOME": str(home), "TERM": "dumb", "HISTFILE": "", "LC_ALL": "C.UTF-8"}


def wfctl(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["wfctl", *words], cwd=home, env=around(home), capture_output=True, text=True, check=False)


def offered(home: Path, *words: str, shell: str = "fish") -> list[str]:
    """What is offered for the last of the words: the lines behind the first."""
    done = wfctl(home, "__complete", shell, words[-1], *words[:-1])
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()[1:]


def values(lines: list[str]) -> list[str]:
    return [line.partition("\t")[0] for line in lines]


def test_verbs_options_and_values_are_offered_with_what_they_mean(home: Path) -> None:
    assert "resume\tGo on with a run that failed or stopped." in offered(home, "")
    assert values(offered(home, "cache", "")) == ["ls", "show", "prune", "clear"]
    options = offered(home, "run", "flow.yaml", "--dry-run", "--jobs", "4", "-")
    assert "--param\tA param of the workflow." in options
    assert "--jobs" not in values(options)
    assert values(offered(home, "plan", "flow.yaml", "--policy=")) == [
        f"--policy={name}" for name in ("fifo", "priority", "fair", "deadline", "critical_path")
    ]
    assert values(offered(home, "rollback", "last", "--strategy", "")) == list(rollback.STRATEGIES)
    assert values(offered(home, "resume", "last", "--ci", "")) == ["github", "gitlab", "off"]
    assert values(offered(home, "completion", "")) == ["bash", "zsh", "fish"]
    assert tuple(rollback.STRATEGIES) == completion.STRATEGIES


def test_files_params_and_nodes_of_the_file_are_offered(home: Path) -> None:
    assert values(offered(home, "run", "")) == ["$(touch pwned).yaml", "a b.yaml", "bin/", "flow.yaml", "hostile.yaml"]
    assert offered(home, "run", "flow.yaml", "-p", "") == ['day=\tOf which day. ("today")', 'size=\t ("small")']
    assert values(offered(home, "run", "flow.yaml", "-p", "size=")) == ["size=small", "size=large"]
    assert offered(home, "run", "flow.yaml", "--only", "") == ["extract\tGets it.", "stage\t"]
    assert values(offered(home, "show", "flow.yaml", "")) == ["extract", "stage", "stage.load", "sweep"]
    (home / "large.yaml").write_text("nodes:\n" + "".join(f"  n{n}:\n    run: echo {n} # …\n" for n in range(4000)))
    assert values(offered(home, "show", "large.yaml", ""))[-1] == "n3999"


def test_runs_are_offered_newest_first_with_their_state_and_their_nodes(home: Path) -> None:
    assert offered(home, "status", "") == []
    assert not (home / ".wfctl").exists()
    for only in ("extract", "stage"):
        wfctl(home, "run", "flow.yaml", "--until", only)
    before = sorted((path, path.stat().st_mtime_ns) for path in (home / ".wfctl").rglob("*"))
    last, newest, oldest = offered(home, "resume", "")
    assert last == "last\treport failed"
    assert newest.partition("\t")[0] > oldest.partition("\t")[0]
    assert oldest.endswith("\treport succeeded")
    assert offered(home, "logs", "last", "") == [
        "extract\tsucceeded", "stage\tfailed", "stage.load\tfailed", "sweep\tsucceeded",
    ]  # fmt: skip
    assert values(offered(home, "runs", "--workflow", "")) == ["report"]
    assert sorted((path, path.stat().st_mtime_ns) for path in (home / ".wfctl").rglob("*")) == before
    (journal,) = (home / f".wfctl/runs/{newest.partition(chr(9))[0]}").glob("journal.jsonl")
    journal.write_text(journal.read_text().replace('{"crc"', "{crc", 1))
    assert "stage.load\tfailed" in offered(home, "logs", "last", ""), "what is damaged is not in the way of the rest"


def test_nothing_is_said_where_there_is_nothing_to_say(home: Path) -> None:
    (home / "broken.yaml").write_text("nodes: [")
    for words in (["run", "broken.yaml", "--only", ""], ["show", "gone.yaml", ""], ["logs", "2031", ""], ["nope", ""]):
        assert offered(home, *words) == []
    (home / ".wfctl").mkdir()
    (home / ".wfctl" / "format").write_text("99")
    assert offered(home, "logs", "last", "") == []
    assert wfctl(home, "__complete").stderr == ""


def typed(home: Path, command: list[str], script: str, line: str) -> str:
    """What a shell understands of a line in which Tab was pressed: the words that the command gets."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        os.chdir(home)
        os.execvpe(command[0], command, around(home))
    said = b""

    def hear(mark: bytes) -> bytes:
        nonlocal said
        deadline = time.monotonic() + 30
        while mark not in said:
            assert time.monotonic() < deadline, said
            if select.select([terminal], [], [], 1)[0]:
                said += os.read(terminal, 65536)
        return said

    try:
        (home / "rc").write_text(f"{script}\nwfctl() {{ printf '<%s>' \"$@\" > got; echo 'e''nd'; }}\necho 're''ady'\n")
        os.write(terminal, b". ./rc\n")
        hear(b"ready")
        os.write(terminal, line.encode() + b"\t\n")
        hear(b"end")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    return (home / "got").read_text()


BASH = ["bash", "--norc", "--noprofile", "-i"]
ZSH = ["zsh", "-f", "-i"]
ZSH_FIRST = "autoload -Uz compinit; compinit -D\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("show hostile.yaml \\$", ["show", "hostile.yaml", NAMES[0]]),
        ("show hostile.yaml '`", ["show", "hostile.yaml", NAMES[1]]),
        ('show hostile.yaml "a ', ["show", "hostile.yaml", NAMES[2]]),
        ("plan hostile.yaml --force=q", ["plan", "hostile.yaml", "--force=" + NAMES[3]]),
        ("show hostile.yaml co:", ["show", "hostile.yaml", NAMES[5]]),
        ("run \\$", ["run", "$(touch pwned).yaml"]),
        ("run flow.yaml -p size=l", ["run", "flow.yaml", "-p", "size=large"]),
    ],
)
def test_a_completed_word_is_the_name_and_nothing_is_run(
    home: Path, shell: str, line: str, words: list[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    script = completers.SHELLS[shell]
    command, script = (BASH, script) if shell == "bash" else (ZSH, ZSH_FIRST + script)
    assert typed(home, command, script, f"wfctl {line}") == "".join(f"<{word}>" for word in words)
    assert not (home / "pwned").exists()


def test_what_was_typed_before_is_read_and_not_run(home: Path) -> None:
    done = wfctl(home, "__complete", "bash", "=:", "wfctl run hostile.yaml --of $(touch pwned) `touch pwned` --only ju")
    assert done.stdout.splitlines()[1:] == ["ju\\!st"]
    assert not (home / "pwned").exists()


def test_fish_offers_the_same_and_runs_nothing(home: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("there is no fish here")
    (home / "script.fish").write_text(completers.SHELLS["fish"])

    def lines(line: str) -> list[str]:
        program = "source script.fish; complete -C $argv[1]"
        done = subprocess.run(
            [fish, "--no-config", "-c", program, line], cwd=home, env=around(home), capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    assert "runs\tList the runs, newest first." in lines("wfctl ru")
    assert "--policy=fair" in values(lines("wfctl plan flow.yaml --policy=f"))
    assert lines("wfctl run flow.yaml --only ext") == ["extract\tGets it."]
    assert {name.partition("\t")[0] for name in lines("wfctl show hostile.yaml '")} >= {NAMES[2], NAMES[5]}
    assert not (home / "pwned").exists()


def test_the_scripts_are_sound_and_the_verb_says_where_they_go(home: Path) -> None:
    for shell in completers.SHELLS:
        assert wfctl(home, "completion", shell).stdout == completers.SHELLS[shell]
    assert "~/.bashrc" in wfctl(home, "completion", "--help").stdout
    refused = wfctl(home, "completion", "fsih")
    assert (refused.returncode, refused.stderr) == (2, 'wfctl: no completion for "fsih"; did you mean "fish"?\n')
