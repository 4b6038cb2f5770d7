"""Kept results, checkpoints and `why`, as users see them: by the command, with real files.

Knows nothing of how results lie on disk, but that `cache/` and `blobs/` may be deleted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Command
from tests.e2e.conftest import Flow, Start, Status, Until, Valid

COPY = """
    name: copy
    params: {{mark: {{default: x}}}}
    nodes:
      copy:
        run: |
          echo ran >> ledger
          cat in.txt - > ${{{{ writes.out }}}} <<< ${{{{ params.mark }}}}
          echo '"made"' > "$WFCTL_OUTPUT"
        reads: [in.txt]
        writes: {{out: out/copy.txt}}
        idempotency: {0}
    outputs: {{it: "${{{{ nodes.copy.output }}}}"}}
"""


@pytest.fixture
def copying(tmp_path: Path, flow: Flow) -> Path:
    """A workflow that copies a file, whose result is kept for good."""
    (tmp_path / "in.txt").write_text("one\n")
    flow(COPY.format("true"))
    return tmp_path


def ran(folder: Path) -> int:
    """How often the work was done."""
    ledger = folder / "ledger"
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


def why(wfctl: Command, node: str = "copy", run: str = "last") -> dict[str, Any]:
    ended = wfctl("why", run, node, "--json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def state(status: Status, node: str = "copy") -> str:
    found: str = status()["nodes"][node]["state"]
    return found


def test_what_was_done_is_served_and_not_done_again(copying: Path, wfctl: Command, status: Status) -> None:
    first, second = wfctl("run", "flow.yaml"), wfctl("run", "flow.yaml")
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert (ran(copying), state(status)) == (1, "cached")
    assert first.stdout == second.stdout == "it: made\n"
    assert "kept result from" in wfctl("status").stdout


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda folder: (folder / "in.txt").write_text("two\n"), "in.txt"),
        (lambda folder: (folder / "in.txt").unlink(), "in.txt"),
        (lambda folder: _replace(folder, "echo ran", "echo  ran"), "run"),
        (lambda folder: _replace(folder, "default: x", "default: y"), "params.mark"),
        (lambda folder: _replace(folder, "name: copy", "name: copy\nenv: {LANG: C}"), "env LANG"),
        (lambda folder: _replace(folder, "out/copy.txt", "out/other.txt"), "writes"),
    ],
    ids=["other content", "file gone", "script", "param", "env", "paths"],
)
def test_what_decides_the_result_has_changed_so_it_runs_and_why_names_it(
    copying: Path, wfctl: Command, change: Any, named: str
) -> None:
    wfctl("run", "flow.yaml")
    change(copying)
    wfctl("run", "flow.yaml")
    assert ran(copying) == 2
    told = why(wfctl)
    assert told["why"]["word"] == "changed"
    assert named in [part.removeprefix("reads ").removeprefix("named ") for part, _, _ in told["why"]["changes"]]
    assert f"  {named}  " in wfctl("why", "last", "copy").stdout


def _replace(folder: Path, old: str, new: str) -> None:
    text = (folder / "flow.yaml").read_text()
    assert old in text
    (folder / "flow.yaml").write_text(text.replace(old, new))


def test_going_back_to_what_was_is_served(copying: Path, wfctl: Command, status: Status) -> None:
    for content, count, how in (("one", 1, "succeeded"), ("two", 2, "succeeded"), ("two", 2, "cached")):
        (copying / "in.txt").write_text(content)
        wfctl("run", "flow.yaml")
        assert (ran(copying), state(status)) == (count, how)
    (copying / "in.txt").write_text("one")
    wfctl("run", "flow.yaml")
    assert why(wfctl)["why"]["word"] == "writes", "the file is that of the second run now"


@pytest.mark.parametrize("change", ["unlink", "other content", "touch"])
def test_a_hit_holds_only_while_the_written_files_do(copying: Path, wfctl: Command, change: str) -> None:
    wfctl("run", "flow.yaml")
    out = copying / "out/copy.txt"
    if change == "unlink":
        out.unlink()
    elif change == "touch":
        os.utime(out, (0, 0))
    else:
        out.write_text("damaged")
    wfctl("run", "flow.yaml")
    assert ran(copying) == (1 if change == "touch" else 2)
    assert out.read_text() == "one\nx\n"
    if change != "touch":
        assert why(wfctl)["why"]["path"] == "out/copy.txt"


def test_files_that_are_kept_are_put_back(copying: Path, wfctl: Command, flow: Flow) -> None:
    flow(COPY.format("{keep: true}"))
    wfctl("run", "flow.yaml")
    out = copying / "out/copy.txt"
    out.chmod(0o751)
    shutil.rmtree(copying / "out")
    ended = wfctl("run", "flow.yaml")
    assert ended.returncode == 0, ended.stderr
    assert (ran(copying), out.read_text()) == (1, "one\nx\n")
    out.write_text("written in place")
    assert wfctl("run", "flow.yaml").returncode == 0
    assert (ran(copying), out.read_text()) == (1, "one\nx\n"), "what is kept was not changed with it"


def test_without_what_was_kept_the_work_is_done_again(copying: Path, wfctl: Command, flow: Flow) -> None:
    flow(COPY.format("{keep: true}"))
    wfctl("run", "flow.yaml")
    shutil.rmtree(copying / ".wfctl/blobs")
    shutil.rmtree(copying / "out")
    assert wfctl("run", "flow.yaml").returncode == 0
    assert ran(copying) == 2


def test_a_key_of_ones_own_holds_for_its_ttl_whatever_else_changes(copying: Path, wfctl: Command, flow: Flow) -> None:
    flow(COPY.format('{key: "copy ${{ params.mark }}"}'))
    wfctl("run", "flow.yaml")
    (copying / "in.txt").write_text("two\n")
    wfctl("run", "flow.yaml")
    assert ran(copying) == 1
    wfctl("run", "flow.yaml", "-p", "mark=y")
    assert ran(copying) == 2
    flow(COPY.format('{key: "copy ${{ params.mark }}", ttl: 0s}'))
    wfctl("run", "flow.yaml", "-p", "mark=y")
    assert (ran(copying), why(wfctl)["why"]["word"]) == (3, "expired")
    assert "has expired (ttl 0s)" in wfctl("why", "last", "copy").stdout


def test_a_failure_is_shown_and_never_served(copying: Path, wfctl: Command, flow: Flow) -> None:
    (copying / "in.txt").unlink()
    assert wfctl("run", "flow.yaml").returncode == 1
    assert wfctl("run", "flow.yaml").returncode == 1
    assert (ran(copying), why(wfctl)["why"]["word"]) == (2, "failed")
    assert "failed" in wfctl("cache", "ls").stdout


def test_what_a_failed_attempt_wrote_is_not_taken_for_whole(tmp_path: Path, wfctl: Command, flow: Flow) -> None:
    flow("""
        nodes:
          half:
            run: echo half > out.txt; test -e ready; echo whole >> out.txt; echo ran >> ledger
            writes: [out.txt]
            idempotency: true
    """)
    assert wfctl("run", "flow.yaml").returncode == 1
    assert (tmp_path / "out.txt").read_text() == "half\n", "nothing is deleted"
    (tmp_path / "ready").touch()
    assert wfctl("run", "flow.yaml").returncode == 0
    assert ran(tmp_path) == 1


def test_who_is_forced_runs_and_its_new_result_is_kept(copying: Path, wfctl: Command, status: Status) -> None:
    wfctl("run", "flow.yaml")
    assert wfctl("run", "flow.yaml", "--force", "copy").returncode == 0
    assert (ran(copying), why(wfctl)["why"]) == (2, {"word": "forced"})
    assert wfctl("run", "flow.yaml", "--force-all").returncode == 0
    assert ran(copying) == 3
    assert wfctl("run", "flow.yaml").returncode == 0
    assert (ran(copying), state(status)) == (3, "cached")
    wrong = wfctl("run", "flow.yaml", "--force", "cop")
    assert (wrong.returncode, wrong.stderr) == (2, 'wfctl: --force: no node named "cop"; did you mean "copy"?\n')


def test_a_file_that_changed_while_it_was_read_leaves_no_result(tmp_path: Path, wfctl: Command, flow: Flow) -> None:
    (tmp_path / "in.txt").write_text("one")
    flow("""
        nodes:
          racy: {run: "cat in.txt; echo ran >> ledger; test -e once || { touch once; echo two > in.txt; }", reads: [in.txt], idempotency: true}
    """)  # noqa: E501
    ended = wfctl("run", "flow.yaml")
    assert 'the result of racy is not kept: "in.txt" was changed while it ran' in ended.stderr
    for count in (2, 2):
        assert wfctl("run", "flow.yaml").returncode == 0
        assert ran(tmp_path) == count


def test_items_have_results_of_their_own(tmp_path: Path, wfctl: Command, flow: Flow) -> None:
    text = """
        nodes:
          each:
            for_each: {0}
            key: ${{{{ item }}}}
            run: echo ${{{{ item }}}} | tee -a ledger
            stdout: text
            idempotency: {{key: same, ttl: 1d}}
        outputs: {{all: "${{{{ nodes.each.output }}}}"}}
    """
    flow(text.format("[a, b]"))
    wfctl("run", "flow.yaml")
    flow(text.format("[b, c, a]"))
    ended = wfctl("run", "flow.yaml", "--json")
    assert json.loads(ended.stdout.splitlines()[-1])["outputs"] == {"all": ["b", "c", "a"]}
    assert (tmp_path / "ledger").read_text().split() in (["a", "b", "c"], ["b", "a", "c"])


def test_a_large_output_is_kept_beside_and_is_the_runs_own_when_served(
    tmp_path: Path, wfctl: Command, flow: Flow, status: Status
) -> None:
    flow("""
        nodes:
          large: {run: "echo ran >> ledger; seq 100000", stdout: lines, idempotency: true}
          last: {run: "tail -n 1", stdin: "${{ join(nodes.large.output, '\\n') }}", stdout: text}
        outputs: {last: "${{ nodes.last.output }}"}
    """)
    wfctl("run", "flow.yaml")
    second = wfctl("run", "flow.yaml")
    assert (ran(tmp_path), second.stdout) == (1, "last: 100000\n")
    shutil.rmtree(tmp_path / ".wfctl/cache")
    shutil.rmtree(tmp_path / ".wfctl/blobs")
    assert json.loads(wfctl("output", "last", "large").stdout)[-1] == "100000"
    assert json.loads(wfctl("output", status()["nodes"]["large"]["reason"][5:], "large").stdout)[0] == "1"


def test_deleting_the_cache_in_the_middle_of_a_run_loses_nothing_of_it(
    tmp_path: Path, wfctl: Command, flow: Flow
) -> None:
    flow("""
        nodes:
          a: {run: "echo ran >> ledger; echo 1", stdout: json, idempotency: true}
          b: {run: rm -rf .wfctl/cache .wfctl/blobs, needs: [a], idempotency: {key: b}}
          c: {run: "test -e ready && echo ${{ nodes.a.output }}", stdout: json, needs: [b], idempotency: true}
        outputs: {c: "${{ nodes.c.output }}"}
    """)
    assert wfctl("run", "flow.yaml").returncode == 1
    (tmp_path / "ready").touch()
    ended = wfctl("resume", "last")
    assert (ended.returncode, ended.stdout, ran(tmp_path)) == (0, "c: 1\n", 1), ended.stderr


def test_what_is_left_out_is_served_from_what_is_kept(copying: Path, wfctl: Command) -> None:
    _replace(copying, "outputs:", "  last: {run: \"echo ${{ nodes.copy.output }}\", stdout: text}\noutputs:")
    alone = wfctl("run", "flow.yaml", "--only", "last")
    assert alone.returncode == 2
    assert "no result is kept that holds: copy; name a run that has it: --of ID" in alone.stderr
    wfctl("run", "flow.yaml")
    ended = wfctl("run", "flow.yaml", "--only", "last")
    assert (ended.returncode, ran(copying)) == (0, 1), ended.stderr
    assert wfctl("output", "last", "last").stdout == "made\n"


def test_the_plan_says_what_would_be_served_and_why_not(copying: Path, wfctl: Command, valid: Valid) -> None:
    _replace(
        copying,
        "outputs:",
        "  after: {run: cat out/copy.txt, reads: [out/copy.txt], idempotency: true}\noutputs:",
    )

    def cached() -> dict[str, Any]:
        document = json.loads(wfctl("plan", "flow.yaml", "--json").stdout)
        valid("plan", document)
        return {name: node["cached"] for name, node in document["nodes"].items()}

    assert cached() == {"copy": False, "after": None}
    assert not (copying / ".wfctl").exists(), "a plan writes nothing"
    wfctl("run", "flow.yaml")
    assert cached() == {"copy": True, "after": True}
    (copying / "in.txt").write_text("two")
    assert cached() == {"copy": False, "after": None}
    assert "not served: copy (in.txt changed)" in wfctl("plan", "flow.yaml").stdout
    assert ran(copying) == 1


def test_a_scope_of_the_machine_is_shared_by_all_folders(
    copying: Path, tmp_path: Path, wfctl: Command, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    flow(COPY.format("{scope: machine, keep: true}"))
    wfctl("run", "flow.yaml")
    shutil.rmtree(tmp_path / ".wfctl")
    shutil.rmtree(tmp_path / "out")
    _replace(copying, "name: copy", "name: renamed")
    ended = wfctl("run", "flow.yaml")
    assert (ended.returncode, ran(copying)) == (0, 1), ended.stderr
    assert (copying / "out/copy.txt").read_text() == "one\nx\n"


def test_no_secret_is_kept(tmp_path: Path, wfctl: Command, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    flow("""
        secrets: [TOKEN]
        nodes:
          use:
            run: echo ran >> ledger; echo "${#TOKEN} $AUTH"
            env: {AUTH: "Bearer ${{ secrets.TOKEN }}"}
            secrets: [TOKEN]
            idempotency: true
    """)
    assert wfctl("run", "flow.yaml").returncode == 0
    monkeypatch.setenv("TOKEN", "another-one")
    assert wfctl("run", "flow.yaml").returncode == 0
    assert ran(tmp_path) == 1, "a secret counts by its name"
    found = subprocess.run(["grep", "-rlF", "hunter2", ".wfctl"], cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        ("{run: x, idempotency: {ttl: 10 parsecs}}", "nodes.a.idempotency.ttl: "),
        ("{run: x, idempotency: {scope: world}}", "nodes.a.idempotency.scope: "),
        ("{run: x, idempotency: {kee: true}}", 'unknown key "kee"; did you mean "keep"?'),
        ("{ask: {message: x}, idempotency: true}", "nodes.a.idempotency: no result of this can be kept: a person"),
        ("{nodes: {b: {run: x}}, idempotency: true}", 'nodes.a.idempotency: "idempotency" does nothing on a group'),
        ("{run: x, checkpoint: {save: 3}}", "nodes.a.checkpoint.save: "),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_a_fault(flow: Flow, wfctl: Command, node: str, fault: str) -> None:
    flow(f"nodes: {{a: {node}}}")
    ended = wfctl("validate", "flow.yaml")
    assert (ended.returncode, fault in ended.stderr) == (2, True), ended.stderr


def test_show_says_the_key_that_a_run_would_seek(copying: Path, wfctl: Command) -> None:
    shown = json.loads(wfctl("show", "flow.yaml", "copy", "--json").stdout)
    wfctl("run", "flow.yaml")
    assert shown["key"] == why(wfctl)["key"]
    assert shown["idempotency"] == {"key": None, "ttl": None, "scope": "workflow", "keep": False}


def test_why_of_what_is_not_kept_and_of_what_is_not_there(flow: Flow, wfctl: Command, valid: Valid) -> None:
    flow("nodes: {a: {run: 'true'}, b: {run: 'true', needs: [a], when: '${{ 1 > 2 }}'}}")
    wfctl("run", "flow.yaml")
    valid("why", why(wfctl, "a"))
    assert "nothing is kept of it (it has no idempotency), so it runs in each run" in wfctl("why", "last", "a").stdout
    assert "it has not run" in wfctl("why", "last", "b").stdout
    wrong = wfctl("why", "last", "aa")
    assert (wrong.returncode, "did you mean" in wrong.stderr) == (2, True)


# Twins


TWINS = """
    name: twins
    nodes:
      work:
        run: |
          echo ran >> ledger
          mkfifo "gate-$WFCTL_RUN_ID" && echo "$WFCTL_RUN_ID" > begun.new && mv begun.new begun
          cat "gate-$WFCTL_RUN_ID"
        stdout: text
        idempotency: {key: work, ttl: 1d}
    outputs: {it: "${{ nodes.work.output }}"}
"""


def test_two_runs_at_once_do_it_once(
    tmp_path: Path, flow: Flow, start: Start, until: Until, status: Status, unharmed: None
) -> None:
    flow(TWINS)
    first = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "the first runs")
    name = (tmp_path / "begun").read_text().strip()
    second = start("run", "flow.yaml")
    until(lambda: status()["nodes"]["work"].get("waits", "").startswith(f"run {name}"), "the second waits")
    (tmp_path / f"gate-{name}").write_text("done\n")
    for process in (first, second):
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, "it: done\n"), err
    assert ran(tmp_path) == 1


def test_when_the_first_dies_the_second_takes_over(
    tmp_path: Path, flow: Flow, start: Start, until: Until, status: Status
) -> None:
    flow(TWINS)
    first = start("run", "flow.yaml")
    until((tmp_path / "begun").exists, "the first runs")
    name = (tmp_path / "begun").read_text().strip()
    (tmp_path / "begun").unlink()
    second = start("run", "flow.yaml")
    until(lambda: status()["nodes"]["work"].get("waits"), "the second waits")
    first.kill()
    until((tmp_path / "begun").exists, "the second runs")
    other = (tmp_path / "begun").read_text().strip()
    assert other != name
    (tmp_path / f"gate-{other}").write_text("done\n")
    out, err = second.communicate(timeout=30)
    assert (second.returncode, out, ran(tmp_path)) == (0, "it: done\n", 2), err


# Checkpoints


MARKED = """
    name: marked
    nodes:
      make: {run: "mkdir -p out; echo 1 > out/a.txt; echo ran >> ledger", checkpoint: {save: [out/*.txt]}}
      spoil: {run: "echo spoilt > out/a.txt; rm -f out/b.txt", needs: [make]}
      check: {run: "test -e ready", needs: [spoil]}
"""


def test_a_run_goes_back_to_a_checkpoint_with_its_files(
    tmp_path: Path, flow: Flow, wfctl: Command, status: Status, valid: Valid
) -> None:
    flow(MARKED)
    assert wfctl("run", "flow.yaml").returncode == 1
    document = status()
    valid("status", document)
    [place] = document["checkpoints"]
    assert (place["name"], place["files"], place["bytes"]) == ("make", ["out/a.txt"], 2)
    assert "checkpoints (go back with --from-checkpoint NAME):\n    make  " in wfctl("status").stdout
    flow(MARKED.replace("echo spoilt > out/a.txt", "cat out/a.txt > seen"))
    shutil.rmtree(tmp_path / ".wfctl/blobs")
    ended = wfctl("resume", "last", "--from-checkpoint", "make", "--update")
    assert ended.returncode == 1, ended.stderr
    assert (tmp_path / "seen").read_text() == "1\n"
    assert ran(tmp_path) == 1
    (tmp_path / "ready").touch()
    assert wfctl("resume", "last").returncode == 0


def test_a_checkpoint_that_is_not_there_is_refused(flow: Flow, wfctl: Command) -> None:
    flow(MARKED)
    wfctl("run", "flow.yaml")
    ended = wfctl("resume", "last", "--from-checkpoint", "mak")
    assert ended.returncode == 2
    assert 'no checkpoint "mak" in run ' in ended.stderr
    assert 'did you mean "make"?' in ended.stderr


def test_a_succeeded_run_goes_back_too(tmp_path: Path, flow: Flow, wfctl: Command) -> None:
    flow(MARKED)
    (tmp_path / "ready").touch()
    assert wfctl("run", "flow.yaml").returncode == 0
    assert wfctl("resume", "last", "--from-checkpoint", "make").returncode == 0
    assert ran(tmp_path) == 1


# The example


@pytest.fixture
def program(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "workflows/program", tmp_path / "workflows/program")
    shutil.copy(ROOT / "workflows/build.yaml", tmp_path / "workflows")
    return tmp_path / "workflows"


MAKEFILE = """
objects = build/program/main.o build/program/text.o build/program/words.o
build/program/greet: $(objects)
\tprintf '#!/bin/sh\\n' > $@; cat build/program/text.o build/program/words.o build/program/main.o >> $@; chmod +x $@; echo link
build/program/%.o: program/%.sh program/compile.sh program/common.inc
\tmkdir -p build/program; sh program/compile.sh $< $@; echo 'compile[$*]'
"""  # noqa: E501

EDITS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "nothing": (lambda folder: None, set()),
    "one source": (lambda folder: _edit(folder / "program/words.sh"), {"compile[words]", "link"}),
    "what all read": (
        lambda folder: _edit(folder / "program/common.inc"),
        {"compile[main]", "compile[text]", "compile[words]", "link"},
    ),
}


def _edit(path: Path) -> None:
    path.write_text(path.read_text() + ": changed\n")
    os.utime(path)  # make goes by times


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_makes_the_same_nodes_run_as_under_make(
    program: Path, wfctl: Command, status: Status, edit: str
) -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    change, wanted = EDITS[edit]

    def made() -> set[str]:
        (program / "Makefile").write_text(MAKEFILE)
        ended = subprocess.run(["make", "-s"], cwd=program, capture_output=True, text=True, check=True)
        return set(ended.stdout.split())

    def run() -> set[str]:
        ended = wfctl("run", "workflows/build.yaml")
        assert ended.returncode == 0, ended.stderr
        nodes = status()["nodes"]
        return {n for n, node in nodes.items() if node["state"] == "succeeded" and n not in ("compile", "greet")}

    everything = {"compile[main]", "compile[text]", "compile[words]", "link"}
    assert run() == everything
    shutil.rmtree(program / "build")
    assert made() == everything
    change(program)
    assert made() == wanted
    assert run() == wanted
    if edit == "one source":
        assert "  program/words.sh  changed" in wfctl("why", "last", "compile[words]").stdout


def test_the_folder_of_the_machine_is_made_for_those_that_use_it_and_must_be_ones_own(
    copying: Path, wfctl: Command, flow: Flow, tmp_path: Path
) -> None:
    home = {"XDG_CACHE_HOME": str(tmp_path / "home")}
    wfctl("run", "flow.yaml", env=home)
    wfctl("plan", "flow.yaml", env=home)
    wfctl("cache", "ls", env=home)
    assert not (tmp_path / "home").exists()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/wfctl").symlink_to(tmp_path)
    flow(COPY.format("{scope: machine}"))
    ended = wfctl("run", "flow.yaml", env=home)
    assert ended.returncode == 6
    assert "set XDG_CACHE_HOME to one, or leave scope: machine out" in ended.stderr
