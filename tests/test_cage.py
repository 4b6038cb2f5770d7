"""The cgroup of a run: who is in it, how it ends, and that nothing requires it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command
from wfctl import cage as cages
from wfctl import roster, sweep
from wfctl.cage import Cage
from wfctl.roster import Entries


def can_be_made() -> bool:
    cage = Cage.below("0test0probe0")
    if cage is None or not cage.make():
        return False
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from wfctl import cage; cage._enter({cage.path!r})"
    entered = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0
    cage.remove()
    return entered


needs_cgroup = pytest.mark.skipif(not can_be_made(), reason="no cgroup v2 can be made here")


@pytest.fixture
def nonce() -> str:
    return os.urandom(8).hex()


@pytest.fixture
def cage(nonce: str) -> Iterator[Cage]:
    made = Cage.below(nonce)
    assert made is not None
    assert made.make()
    yield made
    made.kill()
    limit = time.monotonic() + 10
    while not made.is_empty:
        assert time.monotonic() < limit
        time.sleep(0.005)
    made.remove()


def inside(cage: Cage, *argv: str) -> subprocess.Popen[bytes]:
    """A process in the cage that nothing else tells of."""
    words = ["sh", "-c", 'echo 0 > "$0/cgroup.procs"; exec env -i "$@"', cage.path, *argv]
    process = subprocess.Popen(words, start_new_session=True)
    limit = time.monotonic() + 20
    while not cage.has(process.pid):
        assert time.monotonic() < limit
        time.sleep(0.005)
    return process


@needs_cgroup
def test_what_is_in_the_cage_is_ended_though_nothing_else_tells_of_it(cage: Cage, nonce: str) -> None:
    hidden = inside(cage, "sleep", "100")
    swept = sweep.sweep(Entries(nonce, roster.boot_id(), cage.path))
    assert (hidden.wait(10), swept.is_clean) == (-signal.SIGKILL, True)
    assert not os.path.exists(cage.path)


@needs_cgroup
def test_what_made_cgroups_of_its_own_in_it_is_ended_and_they_are_removed(cage: Cage, nonce: str) -> None:
    inner = Cage(f"{cage.path}/own/deep")
    os.makedirs(inner.path)
    hidden = inside(inner, "sleep", "100")
    assert cage.has(hidden.pid)
    sweep.sweep(Entries(nonce, roster.boot_id(), cage.path))
    assert hidden.wait(10) == -signal.SIGKILL
    assert not os.path.exists(cage.path)


@needs_cgroup
def test_who_sweeps_from_inside_lives_and_the_rest_does_not(cage: Cage, nonce: str, tmp_path: Path) -> None:
    sibling = inside(cage, "sleep", "100")
    program = f"""if True:
        import sys; sys.path.insert(0, {str(ROOT)!r})
        from wfctl import roster, sweep
        print(sweep.sweep(roster.Entries({nonce!r}, roster.boot_id(), {cage.path!r})).ended)"""
    shell = inside(cage, "sh", "-c", f"'{sys.executable}' -c \"$0\" > '{tmp_path}/ended'; exit 5", program)
    assert (shell.wait(20), sibling.wait(10)) == (5, -signal.SIGKILL)
    assert (tmp_path / "ended").read_text() == "1\n"


@needs_cgroup
def test_who_is_not_in_it_does_not_belong(cage: Cage) -> None:
    with subprocess.Popen(["sleep", "100"]) as other:
        assert not cage.has(other.pid)
        assert not Cage(cage.path[:-1]).has("self")
        other.kill()


def test_a_roster_that_names_another_folder_is_not_believed() -> None:
    assert Cage.at(None, "0123456789abcdef") is None
    assert Cage.at("/sys/fs/cgroup/wfctl-0123456789abcde", "0123456789abcdef") is None
    assert Cage.at("/sys/fs/cgroup", "") is None


def group(said: Path) -> str:
    """The line on the cgroup of version 2, of what a process was told of its own; "" where there is none."""
    return next((line for line in said.read_text().splitlines() if line.startswith("0::")), "")


NODES = """
version: 1
nodes:
  early:
    timeout: 20s
    run: |
      until [ "$(grep ^0:: /proc/self/cgroup)" != "$(cat outside.txt)" ]; do sleep 0.02; done
      cat /proc/self/cgroup > early.txt
  late: {run: cat /proc/self/cgroup > late.txt, needs: [early]}
"""


@needs_cgroup
def test_a_run_that_lasts_gets_a_cage_for_those_that_run_and_those_to_come(wfctl: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(NODES)
    (tmp_path / "outside.txt").write_text(group(Path("/proc/self/cgroup")))
    assert wfctl("run", "flow.yaml").returncode == 0
    early, late = group(tmp_path / "early.txt"), group(tmp_path / "late.txt")
    assert early == late
    home = cages.own_folder()
    assert home is not None
    assert not os.path.exists(f"{home}/{late.rpartition('/')[2]}")


BRIEF = """
version: 1
nodes:
  a: {run: cat /proc/self/cgroup > a.txt}
"""


def test_one_that_is_soon_over_does_not_pay_for_it(wfctl: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(BRIEF)
    assert wfctl("run", "flow.yaml").returncode == 0
    assert group(tmp_path / "a.txt") == group(Path("/proc/self/cgroup"))


DETACHED = """
version: 1
nodes:
  a:
    detach: true
    run: |
      sleep 1.2   # others get theirs after a second
      cat /proc/self/cgroup > a.txt
"""


def test_a_run_with_a_detached_node_has_no_cage(wfctl: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(DETACHED)
    assert wfctl("run", "flow.yaml").returncode == 0
    assert group(tmp_path / "a.txt") == group(Path("/proc/self/cgroup"))


@pytest.mark.parametrize("own", [None, "/nonexistent"])
def test_where_none_can_be_made_there_is_none(own: str | None, nonce: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cages, "own_folder", lambda: own)
    cage = Cage.below(nonce)
    assert cage is None or not cage.make()


@pytest.mark.parametrize(
    ("name", "text", "made"),
    [
        ("memory.max", "max\n", True),
        ("memory.max", "1073741824\n", False),
        ("cpu.max", "max 100000\n", True),
        ("cpu.max", "50000 100000\n", False),
    ],
)
def test_where_there_are_limits_there_is_none_for_it_would_hide_them_from_who_looks(
    name: str, text: str, made: bool, nonce: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(cages, "own_folder", lambda: str(tmp_path))
    assert (Cage.below(nonce) is not None) == made


def test_one_that_cannot_be_entered_is_no_matter(nonce: str, tmp_path: Path) -> None:
    cage = Cage(f"{tmp_path}/wfctl-{nonce}")
    cage.enter(tuple)
    cage.leave()
    cage.wait()
    assert cage.is_empty
    cage.kill()
    cage.remove()
