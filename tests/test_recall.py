"""What a file was found to say is remembered by its bytes, and only as an aid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Command
from wfctl.recall import MOST, Recall

FLOW = "version: 1\nnodes:\n  a: {run: echo one, stdout: text}\noutputs: {a: '${{ nodes.a.output }}'}\n"


@pytest.fixture
def recall(tmp_path: Path) -> Recall:
    return Recall(tmp_path / "flows", b"schema 1")


def test_what_was_put_is_there_again(recall: Recall) -> None:
    recall.put("d" * 64, {"version": 1, "x": ["ä", 1.5, None]})
    assert recall.get("d" * 64) == {"version": 1, "x": ["ä", 1.5, None]}


def test_of_other_bytes_or_another_schema_nothing_is_known(recall: Recall, tmp_path: Path) -> None:
    recall.put("d" * 64, {"version": 1})
    assert recall.get("e" * 64) is None
    assert Recall(tmp_path / "flows", b"schema 2").get("d" * 64) is None


@pytest.mark.parametrize("cut", range(0, 22, 3))
def test_a_torn_memory_is_none(recall: Recall, tmp_path: Path, cut: int) -> None:
    recall.put("d" * 64, {"version": 1})
    (file,) = (tmp_path / "flows").iterdir()
    file.write_bytes(file.read_bytes()[:cut])
    assert recall.get("d" * 64) is None


def test_the_oldest_go(recall: Recall, tmp_path: Path) -> None:
    for i in range(MOST + 5):
        recall.put(f"{i:064}"[::-1], {"i": i})
    assert len(os.listdir(tmp_path / "flows")) == MOST


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Recall(tmp_path / "file" / "flows", b"").put("d" * 64, {})


def test_a_second_run_does_as_the_first_and_a_changed_file_is_read_anew(tmp_path: Path, wfctl: Command) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    assert [wfctl("run", "flow.yaml").stdout for _ in range(2)] == ["a: one\n", "a: one\n"]
    (tmp_path / "flow.yaml").write_text(FLOW.replace("one", "two"))
    assert wfctl("run", "flow.yaml").stdout == "a: two\n"


def test_faults_of_params_leave_nothing_behind(tmp_path: Path, wfctl: Command) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    assert wfctl("run", "flow.yaml", "-p", "x=1").returncode == 2
    assert not (tmp_path / ".wfctl").exists()


def test_a_remembered_file_still_tells_the_place_of_what_only_a_param_makes_wrong(
    tmp_path: Path, wfctl: Command
) -> None:
    flow = "version: 1\nparams: {n: {type: integer, default: 1}}\nresources: {x: 2}\nnodes:\n"
    (tmp_path / "flow.yaml").write_text(flow + '  a: {run: "true", resources: {x: "${{ params.n }}"}}\n')
    assert wfctl("run", "flow.yaml").returncode == 0
    assert "flow.yaml:5:" in wfctl("run", "flow.yaml", "-p", "n=3").stderr
