"""What a run finds here: processors and memory within the limits of cgroups, and devices as CUDA reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wfctl import machine

GIB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cgroups, one in the other, of v2 and of v1; the inner ones are ours. The machine has 4 processors, 8 GiB."""
    for controller in ("unified", "memory", "cpu"):
        for folder in (tmp_path / controller, tmp_path / controller / "inner"):
            folder.mkdir()
            (folder / "cgroup.procs").touch()
    folders = {name: str(tmp_path / (name or "unified") / "inner") for name in ("", "memory", "cpu")}
    monkeypatch.setattr(machine, "own_folder", lambda controller="": folders.get(controller))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 8 * GIB // 4096}[name])
    return tmp_path


def test_without_limits_it_is_the_machine_s(groups: Path) -> None:
    (groups / "unified/inner/memory.max").write_text("max\n")
    (groups / "unified/inner/cpu.max").write_text("max 100000\n")
    (groups / "memory/inner/memory.limit_in_bytes").write_text("9223372036854771712\n")
    (groups / "cpu/inner/cpu.cfs_quota_us").write_text("-1\n")
    (groups / "cpu/inner/cpu.cfs_period_us").write_text("100000\n")
    assert (machine.cpu(), machine.memory()) == (4000, 8 * GIB)


@pytest.mark.parametrize("where", ["inner/", ""])
def test_the_tightest_limit_of_all_that_hold_us_counts(groups: Path, where: str) -> None:
    (groups / f"unified/{where}cpu.max").write_text("150000 100000\n")
    (groups / f"unified/{where}memory.max").write_text(f"{2 * GIB}\n")
    assert (machine.cpu(), machine.memory()) == (1500, 2 * GIB)


@pytest.mark.parametrize("where", ["inner/", ""])
def test_those_of_v1_count_too(groups: Path, where: str) -> None:
    (groups / f"cpu/{where}cpu.cfs_quota_us").write_text("50000\n")
    (groups / f"cpu/{where}cpu.cfs_period_us").write_text("100000\n")
    (groups / f"memory/{where}memory.limit_in_bytes").write_text(f"{GIB}\n")
    assert (machine.cpu(), machine.memory()) == (500, GIB)


@pytest.mark.parametrize(
    ("said", "devices"),
    [
        (None, None),
        ("", ()),
        ("0", ("0",)),
        ("3, 1", ("3", "1")),
        ("GPU-8932f937-d72c,MIG-1/2/3", ("GPU-8932f937-d72c", "MIG-1/2/3")),
        ("2,-1,3", ("2",)),
        ("NoDevFiles", ()),
        ("1,1", ("1",)),
    ],
)
def test_devices_are_read_as_cuda_reads_them(said: str | None, devices: tuple[str, ...] | None) -> None:
    assert machine.devices({} if said is None else {"CUDA_VISIBLE_DEVICES": said}) == devices
