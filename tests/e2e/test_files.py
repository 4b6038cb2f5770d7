"""Work on files in a workflow, as a user meets it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow, Status


def test_files_are_copied_moved_and_deleted_between_nodes(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow("""
        nodes:
          make: {run: 'mkdir -p raw && echo 1 >raw/a.csv && echo 2 >raw/b.csv', writes: {raw: raw}}
          keep: {files: {copy: {from: raw/*.csv, to: kept/}}}
          clean: {files: {delete: "${{ nodes.make.writes.raw }}"}, needs: [keep]}
        outputs: {kept: "${{ nodes.keep.output.copied }}", gone: "${{ nodes.clean.output.deleted }}"}
    """)
    ended = wfctl("run", name, "--json")
    assert ended.returncode == 0
    told = json.loads(ended.stdout.splitlines()[-1])["outputs"]
    assert told == {"kept": ["kept/a.csv", "kept/b.csv"], "gone": ["raw"]}
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".") == ["flow.yaml", "kept"]


def test_cleaning_up_a_hostile_folder_stays_in_the_root(
    wfctl: Command, flow: Flow, status: Status, tmp_path: Path
) -> None:
    (tmp_path / "root/inner").mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/data").write_text("data")
    (tmp_path / "root/inner/link").symlink_to(tmp_path / "precious")
    (tmp_path / "root/through").symlink_to(tmp_path / "precious")
    name = flow("""
        root: root
        on_failure: continue
        params: {dots: {default: ../precious}}
        nodes:
          through: {files: {delete: [through/*, through/data, inner]}}
          dots: {files: {delete: ["${{ params.dots }}", through]}}
    """)
    assert wfctl("run", name).returncode == 1
    nodes = status()["nodes"]
    error = '"through" is a symlink, and none is followed; name the folder that it leads to, and 1 more'
    assert (nodes["through"]["reason"], nodes["through"]["error"]) == ("files", error)
    error = 'delete: "../precious" leads out of the root folder; set root: .. where that is meant'
    assert (nodes["dots"]["reason"], nodes["dots"]["error"]) == ("not_started", error)
    assert sorted(p.name for p in (tmp_path / "root").iterdir()) == ["through"]
    assert (tmp_path / "precious/data").read_text() == "data"


def test_names_that_are_no_text_come_through(wfctl: Command, flow: Flow, status: Status, tmp_path: Path) -> None:
    names = [b"-rf", b"a\nb", b"\xff\xfe", b"$(touch pwned)", b"\x1b]52;x"]
    (tmp_path / "in").mkdir()
    for raw in names:
        with open(os.path.join(os.fsencode(tmp_path), b"in", raw), "wb"):
            pass
    name = flow("""
        nodes:
          copy: {files: {copy: {from: in/*, to: out/}}}
          move: {files: {move: {from: "${{ nodes.copy.output.copied }}", to: moved/}}}
          fail: {files: {copy: {from: "${{ nodes.move.output.moved }}", to: in/-rf/}}}
    """)
    ended = wfctl("run", name)
    assert ended.returncode == 1
    assert "\x1b" not in ended.stdout + ended.stderr
    assert sorted(os.listdir(os.path.join(os.fsencode(tmp_path), b"moved"))) == sorted(names)
    assert status()["nodes"]["fail"]["error"] == '"in/-rf" is no folder, and 4 more'
    assert not list(tmp_path.rglob("pwned"))
    assert wfctl("status", "last").returncode == 0


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("{restore: a}, idempotency: {}", "what it puts back is another thing in each run; take it out"),
        ("{delete: ../a}", '"../a" leads out of the root folder; set root: .. where that is meant'),
        ("{copy: {from: a}}", "to"),
    ],
)
def test_what_cannot_be_is_told_at_load(wfctl: Command, flow: Flow, said: str, fault: str) -> None:
    ended = wfctl("validate", flow(f"nodes: {{a: {{files: {said}}}}}"))
    assert ended.returncode == 2
    assert fault in ended.stdout + ended.stderr


def test_a_step_puts_back_what_the_last_checkpoint_saved(
    wfctl: Command, flow: Flow, status: Status, tmp_path: Path
) -> None:
    name = flow("""
        nodes:
          first: {run: 'mkdir -p data && echo 1 >data/a && echo 1 >data/b', checkpoint: {save: [data]}}
          second: {run: 'echo 2 >data/b', needs: [first], checkpoint: {save: [data/b]}}
          spoil: {run: 'echo 3 >data/b; rm data/a', needs: [second], compensate: [{files: {restore: data/*}}]}
          fails: {run: 'false', needs: [spoil]}
    """)
    assert wfctl("run", name).returncode == 3
    assert {path.name: path.read_text() for path in (tmp_path / "data").iterdir()} == {"a": "1\n", "b": "2\n"}


def test_a_node_puts_files_back_and_says_which(
    wfctl: Command, flow: Flow, status: Status, tmp_path: Path
) -> None:
    name = flow("""
        nodes:
          make: {run: 'mkdir -p in/data && echo 1 >in/data/a && chmod 750 in/data/a', checkpoint: {save: [in/data/*]}}
          spoil: {run: 'rm -r in/data', needs: [make]}
          back: {files: {restore: data}, cwd: in, needs: [spoil]}
          more: {files: {restore: '*.csv'}, cwd: in, needs: [back], continue_on_error: true}
        outputs: {restored: "${{ nodes.back.output.restored }}"}
    """)
    ended = wfctl("run", name, "--json")
    assert json.loads(ended.stdout.splitlines()[-1])["outputs"] == {"restored": ["in/data/a"]}
    assert (tmp_path / "in/data/a").stat().st_mode & 0o777 == 0o750
    assert status()["nodes"]["more"]["error"] == 'no checkpoint of this run has saved anything at "in/*.csv"'


def test_a_copy_that_is_killed_leaves_nothing_by_its_name(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as stream:
        stream.truncate(1 << 40)  # more than any disk here can take, and nothing of it is there
    ended = wfctl("run", flow("nodes: {a: {files: {copy: {from: large, to: b}}, timeout: 50ms}}"))
    assert ended.returncode == 1
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".") == ["flow.yaml", "large"]
