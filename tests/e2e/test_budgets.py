"""Budgets as a user meets them: devices, rates, hard limits, and what several runs share."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.e2e.conftest import Flow, Start, Status, Until
from wfctl import history
from wfctl.store import Store


def logs(folder: Path) -> dict[str, str]:
    """What each node of the last run wrote."""
    run = history.open_run(Store(folder / ".wfctl").find_run("last"))
    return {path.name.split(".")[0]: path.read_text() for path in run.folder.logs.glob("*.log")}


# -- devices


GPUS = """
    resources: {gpu: 2}
    nodes:
      a: {run: 'echo "$CUDA_VISIBLE_DEVICES $WFCTL_GPU"', resources: {gpu: 2}}
      b: {run: 'echo "$CUDA_VISIBLE_DEVICES $WFCTL_GPU"', resources: {gpu: 1}}
      none: {run: 'echo "[$CUDA_VISIBLE_DEVICES]"'}
      own: {run: 'echo "$CUDA_VISIBLE_DEVICES"', resources: {gpu: 1}, env: {CUDA_VISIBLE_DEVICES: "9"}}
"""


@pytest.mark.parametrize(
    ("inherited", "both", "first"), [({}, "0,1", "0"), ({"CUDA_VISIBLE_DEVICES": "3,GPU-1f"}, "3,GPU-1f", "3")]
)
def test_a_node_sees_its_devices_and_no_others(
    wfctl: Command, flow: Flow, tmp_path: Path, inherited: dict[str, str], both: str, first: str
) -> None:
    assert wfctl("run", "-j", "1", flow(GPUS), env=inherited).returncode == 0
    assert logs(tmp_path) == {"a": f"{both} {both}\n", "b": f"{first} {first}\n", "none": "[]\n", "own": "9\n"}


def test_where_no_devices_are_dealt_out_they_are_inherited(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    file = flow("""nodes: {a: {run: 'echo "$CUDA_VISIBLE_DEVICES"'}}""")
    assert wfctl("run", file, env={"CUDA_VISIBLE_DEVICES": "3,4"}).returncode == 0
    assert logs(tmp_path) == {"a": "3,4\n"}


def test_more_devices_than_can_be_seen_are_a_fault(wfctl: Command, flow: Flow) -> None:
    ended = wfctl("run", flow(GPUS), env={"CUDA_VISIBLE_DEVICES": "3"})
    assert ended.returncode == 2
    assert "nodes.a.resources.gpu: needs 2, the budget is 1; CUDA_VISIBLE_DEVICES shows 1 here" in ended.stderr
    assert wfctl("validate", "flow.yaml", env={"CUDA_VISIBLE_DEVICES": "3"}).returncode == 0


# -- rates


def test_a_rate_holds_between_real_starts(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    nodes = "\n".join(f"      n{i}: {{run: 'true', resources: {{api: 1}}}}" for i in range(8))
    file = flow(f"\n    resources: {{api: {{amount: 9, rate: 5/s}}}}\n    concurrency: 9\n    nodes:\n{nodes}\n")
    assert wfctl("run", file).returncode == 0
    run = history.open_run(Store(tmp_path / ".wfctl").find_run("last"))
    starts = sorted(node.started or 0.0 for node in run.state.nodes.values())
    tokens = [max(0, i - 4) / 5 for i in range(8)]  # a second's worth at once, and then one after the other
    assert all(at - starts[0] >= token - 1e-5 for at, token in zip(starts, tokens, strict=True))


# -- hard limits


HARD = f"""
    nodes:
      hungry:
        run: [{sys.executable}, -c, "x = bytearray(400_000_000)"]
        resources: {{memory: 100MiB}}
        limit: hard
      modest:
        run: 'echo $OMP_NUM_THREADS $MKL_NUM_THREADS'
        env: {{MKL_NUM_THREADS: "7"}}
        resources: {{memory: 100MiB, cpu: 1.5}}
        limit: hard
      soft: {{run: 'echo "[${{OMP_NUM_THREADS-}}]"', resources: {{cpu: 1}}}}
"""


def test_a_hard_limit_is_kept_and_a_node_that_needs_more_fails_as_out_of_memory(
    wfctl: Command, flow: Flow, tmp_path: Path, status: Status
) -> None:
    file = flow("\n    resources: {cpu: 4, memory: 1GiB}" + HARD)
    ended = wfctl("run", "--keep-going", file, env={"OMP_NUM_THREADS": ""})
    assert ended.returncode == 1
    assert "out of memory: its hard limit is 100MiB; let it use less, or raise that" in ended.stdout + ended.stderr
    assert ended.stderr.count("limit: hard") <= 1, "what cannot be enforced is told once"
    assert {n: v for n, v in logs(tmp_path).items() if n != "hungry"} == {"modest": "2 7\n", "soft": "[]\n"}
    assert [status()["nodes"][name]["state"] for name in ("hungry", "modest", "soft")] == [
        "failed", "succeeded", "succeeded",
    ]  # fmt: skip


# -- what runs share


@pytest.fixture
def meeting(tmp_path: Path) -> Mapping[str, str]:
    """A place where the runs of the test meet, and no others."""
    return {"XDG_STATE_HOME": str(tmp_path / "states")}


def sharing(tmp_path: Path, count: int, seconds: float) -> str:
    """Nodes that each have one of two devices, and fail where another has it."""
    script = f"exec flock -n {tmp_path}/device.$WFCTL_GPU sleep {seconds}"
    nodes = "\n".join(f"      n{i}: {{run: '{script}', resources: {{gpu: 1}}}}" for i in range(count))
    return f"\n    resources: {{gpu: {{amount: 2, share: machine}}}}\n    concurrency: 8\n    nodes:\n{nodes}\n"


def test_two_runs_never_have_one_device_and_who_waits_says_for_whom(
    start: Start, flow: Flow, tmp_path: Path, meeting: Mapping[str, str]
) -> None:
    file = flow(sharing(tmp_path, 6, 0.1))
    runs = [start("run", file, env=meeting) for _ in range(2)]
    told = [process.communicate(timeout=60) for process in runs]
    assert [process.returncode for process in runs] == [0, 0]
    assert any("waits for run" in err for _, err in told)


def test_devices_of_a_killed_run_are_free_and_never_given_twice(
    start: Start, flow: Flow, tmp_path: Path, meeting: Mapping[str, str], until: Until
) -> None:
    """A small series; WFCTL_TEST_KILLS=100 makes it a large one."""
    file = flow(sharing(tmp_path, 400, 0.02))
    chance = random.Random(1)
    runs = [start("run", file, env=meeting) for _ in range(2)]
    for _ in range(int(os.environ.get("WFCTL_TEST_KILLS", "8"))):
        enough = _written(tmp_path) + chance.randrange(3000)
        until(lambda enough=enough: _written(tmp_path) > enough, "the runs go on")  # type: ignore[misc]
        victim = chance.randrange(2)
        runs[victim].send_signal(signal.SIGKILL)
        runs[victim].communicate(timeout=30)
        runs[victim] = start("run", file, env=meeting)
    for process in runs:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    for folder in Store(tmp_path / ".wfctl").run_folders():
        assert not history.open_run(folder).state.failed_nodes, "a node met another one on its device"


def _written(folder: Path) -> int:
    """Bytes of all journals."""
    return sum(path.stat().st_size for path in folder.glob(".wfctl/runs/*/journal.jsonl"))


LOCKED = """
    params: {busy: {type: string, default: wait}}
    lock: {name: deploy, on_busy: "${{ params.busy }}"}
    nodes: {a: {run: 'echo x >>begun; while ! test -e go; do sleep 0.01; done'}}
"""


def test_one_run_at_a_time_holds_a_lock(
    wfctl: Command, start: Start, flow: Flow, tmp_path: Path, meeting: Mapping[str, str], until: Until
) -> None:
    file = flow(LOCKED)
    env = dict(meeting)
    holder = start("run", file, env=env)
    until((tmp_path / "begun").exists, "the holder has begun")
    fails, skips = (wfctl("run", file, "-p", f"busy={how}", env=env) for how in ("fail", "skip"))
    assert (fails.returncode, skips.returncode) == (5, 0)
    assert f'lock "deploy" is held by run {Store(tmp_path / ".wfctl").find_run("last").id}' in fails.stderr
    assert 'skipped: another run holds the lock "deploy"' in skips.stderr
    stopped, waiting = start("run", file, env=env), start("run", file, env=env)
    for process in (stopped, waiting):
        assert process.stderr is not None
        assert 'lock "deploy": waits for run' in process.stderr.readline()
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(30) == 143
    (tmp_path / "go").touch()
    assert (holder.wait(30), waiting.wait(30)) == (0, 0)
    assert (tmp_path / "begun").read_text() == "x\nx\n"
    assert len(list(Store(tmp_path / ".wfctl").run_folders())) == 2, "what never began has left nothing"
