"""A run is what its journal says, wherever that was cut: ring two of the crash tests, on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Command
from wfctl import events as ev
from wfctl import history, journal, paper
from wfctl.cache import Cache
from wfctl.errors import StateError
from wfctl.history import Record
from wfctl.state import fold
from wfctl.store import RunFolder, Store

FLOW = """
version: 1
params: {n: {type: integer, default: 2}}
nodes:
  a: {run: "echo ${{ params.n }}", stdout: json}
  b: {run: "exit 3", needs: [a], continue_on_error: true}
  c: {run: "test -e there || { touch there; exit 1; }", needs: [a], retry: {attempts: 2, delay: 10ms}}
  d: {run: "echo ${{ nodes.a.output }}", needs: [b, c], when: "${{ nodes.a.output == 2 }}", stdout: text}
  e: {run: "true", needs: [d], when: "${{ nodes.d.output != '2' }}"}
finally:
  z: {run: "echo ${{ run.state }}"}
outputs: {d: "${{ nodes.d.output }}"}
"""


@pytest.fixture
def finished(tmp_path: Path, wfctl: Command) -> RunFolder:
    (tmp_path / "flow.yaml").write_text(FLOW)
    assert wfctl("run", "flow.yaml").returncode == 0
    return Store(tmp_path / ".wfctl").find_run("last")


def test_a_journal_cut_at_any_byte_tells_of_a_prefix_of_the_run(finished: RunFolder) -> None:
    whole = finished.journal.read_bytes()
    events = journal.read(finished.journal).events
    plan = history.open_run(finished).plan
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        finished.journal.write_bytes(whole[:cut])
        kept = max(0, sum(end <= cut for end in ends) - 1)  # the first line is the header
        if kept == 0:
            with pytest.raises(StateError):
                history.open_run(finished)
        elif cut in ends or cut % 7 == 0:
            told = paper.to_data(history.open_run(finished).state)
            assert told == paper.to_data(fold(map(ev.from_data, events[:kept]), lambda event: plan))


@pytest.mark.parametrize("needs", [[], ["nope"]], ids=["other nodes", "a fault"])
def test_a_run_whose_journal_does_not_fit_its_definition_cannot_be_read_and_the_others_can(
    finished: RunFolder, wfctl: Command, tmp_path: Path, needs: list[str]
) -> None:
    [path] = finished.path.glob("workflow*.json")
    other = {"version": 1, "nodes": {"other": {"run": "true", "needs": needs}}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": other}))
    (tmp_path / "ok.yaml").write_text("version: 1\nnodes: {a: {run: 'true'}}\n")
    assert wfctl("run", "ok.yaml").returncode == 0
    with pytest.raises(StateError):
        history.open_run(finished)
    listed = wfctl("runs")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert len(listed.stdout.splitlines()) == 3
    assert wfctl("resume", finished.id).returncode == 6


def test_a_run_cut_after_any_event_ends_as_the_whole_one_did(
    finished: RunFolder, tmp_path: Path, wfctl: Command
) -> None:
    whole = finished.journal.read_bytes().splitlines(keepends=True)
    expected = ended(history.open_run(finished))
    shutil.copytree(finished.path, tmp_path / "kept")
    for cut in range(2, len(whole) + 1):
        shutil.rmtree(finished.path)
        shutil.copytree(tmp_path / "kept", finished.path)
        finished.journal.write_bytes(b"".join(whole[:cut]) + b'{"crc":"torn')
        assert wfctl("resume", "last").returncode == 0
        assert ended(history.open_run(finished)) == expected


def ended(record: Record) -> dict[str, object]:
    states: dict[str, object] = {name: (run.state, run.output) for name, run in record.state.nodes.items()}
    return {**states, "run": (record.state.status, record.state.exit_code, record.state.outputs)}


def test_a_run_that_is_removed_leaves_no_checkpoint(finished: RunFolder, tmp_path: Path, wfctl: Command) -> None:
    cache = Cache.open(tmp_path / ".wfctl" / "cache")
    assert cache is not None
    cache.save_checkpoint(finished.id, 1, {}, "")
    cache.close()
    assert wfctl("clean", "--older-than", "0s").returncode == 0
    cache = Cache.open(tmp_path / ".wfctl" / "cache")
    assert cache is not None
    assert cache.load_checkpoint(finished.id) is None
    cache.close()


def test_a_checkpoint_of_another_version_is_passed_over_and_the_journal_replayed(
    finished: RunFolder, tmp_path: Path
) -> None:
    record, whole = history.open_run(finished), journal.read(finished.journal)
    cache = Cache.open(tmp_path / ".wfctl" / "cache")
    assert cache is not None
    state = history.checkpoint_of(record)
    other = {**state, "version": "0.0.9", "state": {"nodes": 5}}
    cache.save_checkpoint(finished.id, whole.position, other, whole.chain)
    assert ended(history.open_run(finished, cache=cache)) == ended(record)
    cache.save_checkpoint(finished.id, whole.position, state, whole.chain)
    assert ended(history.open_run(finished, cache=cache)) == ended(record)
    cache.close()
