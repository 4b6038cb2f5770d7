"""Whatever dies, and however: no process of a run outlives it, and what was recorded is not done again.

Knows of what is inside the command only the names of the points where its engine may be killed, and how its guard is
called. Real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import CHILD, ROOT, Command
from tests.e2e.conftest import SOON, Flow, Gone, Start, Status, Until, environ
from tests.helpers.processes import (
    Process,
    alive,
    cgroup_of,
    children,
    everyone,
    guard_of,
    kill,
    look,
    of_folder,
    state_of,
)

pytestmark = pytest.mark.usefixtures("unharmed")



def _guard(engine: int, until: Until, old: int = 0) -> Process:
    until(lambda: (found := guard_of(engine)) is not None and found.pid != old, "the engine has a guard")
    found = guard_of(engine)
    assert found is not None
    return found


def _kill_both(run: subprocess.Popen[str], until: Until) -> None:
    """Engine and guard at one moment: the engine is stopped meanwhile, or it would start another guard."""
    guard = _guard(run.pid, until)
    run.send_signal(signal.SIGSTOP)
    kill([guard])
    run.kill()
    run.wait(30)


# -- engine, group, guard

# What a node may leave: a child that does not hear TERM, one in a session of its own, itself.
STUBBORN = """
    nodes:
      done: {run: echo done >> ledger}
      a: {run: "%s ignore=TERM fork=near double=far ready=ready wait=go", needs: [done]}
      b: {run: echo b >> ledger, needs: [a]}
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
@pytest.mark.parametrize("whole", [False, True], ids=["engine", "group"])
def test_nothing_is_alive_a_second_after_the_death_of_the_engine_and_resume_runs_only_what_was_cut_off(
    number: int, whole: bool, flow: Flow, start: Start, until: Until, gone: Gone, wfctl: Command,
    tmp_path: Path, status: Status,
) -> None:  # fmt: skip
    run = start("run", flow(STUBBORN % CHILD), start_new_session=True)
    until((tmp_path / "ready").exists, "the node runs")
    (os.killpg if whole else os.kill)(run.pid, number)
    assert run.wait(30) == -number
    gone()
    until(lambda: status()["state"] == "interrupted", "the last of them has let go of the run")
    assert status()["nodes"]["a"]["state"] == "interrupted"
    (tmp_path / "go").touch()
    resumed = wfctl("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "ledger").read_text().split() == ["done", "b"]
    assert [node["attempts"] for node in status()["nodes"].values()] == [1, 2, 1]


@pytest.mark.parametrize("point", ["decided", "recorded", "submitted", "completed"])
def test_at_whatever_point_the_engine_dies_its_nodes_die_with_it(
    point: str, wfctl: Command, flow: Flow, gone: Gone, tmp_path: Path
) -> None:
    name = flow(f"""
        concurrency: 2
        nodes:
          stays: {{run: {CHILD} fork=near double=far wait=go}}
          a: {{run: 'until [ -e far ]; do sleep 0.01; done'}}
          b: {{run: 'true', needs: [a]}}
          c: {{run: 'true', needs: [b]}}
    """)
    for count in (1, 2):
        for left in ("near", "far", "go"):
            (tmp_path / left).unlink(missing_ok=True)
        assert wfctl("run", name, env={"WFCTL_TEST_CRASH": f"{point}:{count}"}).returncode == -signal.SIGKILL
        gone()
    if point != "decided":  # before its first event is kept, there is no run
        (tmp_path / "go").touch()
        assert wfctl("resume", "last").returncode == 0


def test_a_killed_guard_is_replaced_within_a_second_and_the_run_goes_on(
    flow: Flow, start: Start, until: Until, gone: Gone, tmp_path: Path, status: Status
) -> None:
    run = start("run", flow(STUBBORN % CHILD))
    until((tmp_path / "ready").exists, "the node runs")
    guard = _guard(run.pid, until)
    for _ in range(3):
        kill([guard])
        before = time.monotonic()
        guard = _guard(run.pid, until, guard.pid)
        assert time.monotonic() - before < SOON
    assert status()["state"] == "running"
    (tmp_path / "go").touch()
    assert run.wait(30) == 0
    gone()


def test_the_new_guard_does_what_the_old_one_would_have_done(
    flow: Flow, start: Start, until: Until, gone: Gone, tmp_path: Path
) -> None:
    run = start("run", flow(STUBBORN % CHILD))
    until((tmp_path / "ready").exists, "the node runs")
    first = _guard(run.pid, until)
    kill([first])
    second = _guard(run.pid, until, first.pid)
    # It is no promise that holds in its first milliseconds: both would be dead at once.
    until(lambda: os.readlink(f"/proc/{second.pid}/cwd") == "/", "it waits")
    run.kill()
    run.wait(30)
    gone()


def test_resume_ends_what_is_left_of_engine_and_guard_before_it_starts_anything(
    flow: Flow, start: Start, until: Until, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    run = start("run", flow(f"""
        nodes:
          a:
            run: |
              {CHILD} alone=lock ignore=TERM double=far.$WFCTL_ATTEMPT ready=ready || exit
              test $WFCTL_ATTEMPT -gt 1 || {CHILD} hang
    """))  # fmt: skip
    until((tmp_path / "ready").exists, "the node runs")
    _kill_both(run, until)
    far = int((tmp_path / "far.1").read_text())
    assert alive(far), "nobody was left to end it"
    resumed = wfctl("resume", "last")
    assert (resumed.returncode, status()["nodes"]["a"]["exit_code"]) == (0, 0), resumed.stderr
    assert not alive(far)


@pytest.mark.parametrize("words", [["run", "other.yaml"], ["cancel", "last"]], ids=["run", "cancel"])
def test_another_command_in_the_state_folder_ends_what_is_left_of_engine_and_guard(
    words: list[str], flow: Flow, start: Start, until: Until, wfctl: Command, tmp_path: Path, gone: Gone
) -> None:
    flow("nodes: {x: {run: 'true'}}", "other.yaml")
    run = start("run", flow(STUBBORN % CHILD))
    until((tmp_path / "ready").exists, "the node runs")
    _kill_both(run, until)
    assert alive(int((tmp_path / "far").read_text()))
    assert wfctl(*words).returncode == 0
    gone()


def test_a_nested_wfctl_dies_with_its_outer_one(
    flow: Flow, start: Start, until: Until, gone: Gone, tmp_path: Path
) -> None:
    flow(STUBBORN % CHILD, "inner.yaml")
    outer = start("run", flow(f"nodes: {{n: {{run: {sys.executable} -m wfctl --state-dir inner run inner.yaml}}}}"))
    until((tmp_path / "ready").exists, "the inner node runs")
    outer.kill()
    outer.wait(30)
    gone()


@pytest.mark.parametrize("guarded", [True, False], ids=["its guard lives", "its guard dies too"])
def test_a_nested_wfctl_that_dies_takes_its_nodes_along_and_fails_its_node(
    guarded: bool, flow: Flow, start: Start, until: Until, tmp_path: Path, status: Status
) -> None:
    flow(STUBBORN % CHILD, "inner.yaml")
    name = flow(f"""
        on_failure: continue
        nodes:
          n: {{run: 'exec {sys.executable} -m wfctl --state-dir inner run inner.yaml'}}
          other: {{run: {CHILD} wait=over}}
    """)
    outer = start("run", name, "-j", "2")
    until((tmp_path / "ready").exists, "the inner node runs")
    far = int((tmp_path / "far").read_text())
    inner = next(p for p in everyone() if p.parent == outer.pid and "inner.yaml" in p.command)
    guard = _guard(inner.pid, until)
    if not guarded:
        os.kill(inner.pid, signal.SIGSTOP)
        kill([guard])
    kill([inner])
    until(lambda: status()["nodes"]["n"]["state"] == "failed", "the node has ended")
    assert not alive(far), "all that the node started has ended with it"
    (tmp_path / "over").touch()
    assert outer.wait(30) == 1
    assert [node["state"] for node in status()["nodes"].values()] == ["failed", "succeeded"]


def test_the_reader_of_a_pipe_sees_its_end_when_the_engine_dies(
    flow: Flow, start: Start, until: Until, tmp_path: Path
) -> None:
    run = start("run", flow(STUBBORN % CHILD))
    until((tmp_path / "ready").exists, "the node runs")
    run.kill()
    before = time.monotonic()
    run.communicate(timeout=30)
    assert time.monotonic() - before < SOON


# -- told to stop


def test_told_to_stop_nodes_have_their_grace_and_then_are_killed(
    flow: Flow, start: Start, until: Until, gone: Gone, tmp_path: Path, wfctl: Command, status: Status
) -> None:
    name = flow(f"""
        grace: 300ms
        nodes:
          hears: {{run: {CHILD} save=saved ready=one wait=go}}
          deaf: {{run: {CHILD} ignore=TERM fork=near double=far ready=two wait=go}}
          next: {{run: 'true', needs: [hears, deaf]}}
    """)
    run = start("run", name, "-j", "2")
    until(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists(), "the nodes run")
    run.terminate()
    assert run.wait(30) == 143
    assert not of_folder(tmp_path)
    assert (tmp_path / "saved").exists()
    assert [node["state"] for node in status()["nodes"].values()] == ["interrupted", "interrupted", "waiting"]
    (tmp_path / "go").touch()
    assert wfctl("resume", "last").returncode == 0


def test_ctrl_c_while_the_command_is_still_loading_is_no_bug(start: Start, until: Until, tmp_path: Path) -> None:
    slow = "import pathlib, time; pathlib.Path('loading').touch(); time.sleep(30)"
    (tmp_path / "typer.py").write_text(slow)
    run = start("status", env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    until((tmp_path / "loading").exists, "it loads what it stands on")
    run.send_signal(signal.SIGINT)
    assert run.communicate(timeout=30) == ("", "")
    assert run.returncode == 130


def test_a_run_under_nohup_does_not_hear_hangup(flow: Flow, start: Start, until: Until, tmp_path: Path) -> None:
    run = start("run", flow(f"nodes: {{a: {{run: {CHILD} ready=ready wait=go}}}}"), through=["nohup"])
    until((tmp_path / "ready").exists, "the node runs")
    run.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    assert run.wait(30) == 0


@pytest.mark.parametrize("words", ["--json | head -1", "2>&1 | head -1", "--json 2>/dev/full >/dev/full | cat"])
def test_a_run_goes_on_when_nobody_can_be_told(words: str, flow: Flow, tmp_path: Path, status: Status) -> None:
    name = flow("concurrency: 1\nnodes: {a: {run: sleep 0.1}, b: {run: 'true', needs: [a]}, c: {run: 'true'}}")
    line = f"{sys.executable} -m wfctl run {name} {words}"
    subprocess.run(line, shell=True, cwd=tmp_path, env=environ(tmp_path), capture_output=True, timeout=30, check=True)
    assert status()["state"] == "succeeded"


def test_a_run_whose_reader_does_not_read_ends_all_the_same(flow: Flow, start: Start, status: Status) -> None:
    noisy = "".join(f"\n          n{i}: {{run: 'printf %0900d 1; exit 1'}}" for i in range(150))
    run = start("run", flow(f"""
        on_failure: continue
        nodes:{noisy}
    """))  # fmt: skip
    assert run.wait(30) == 1
    assert status()["state"] == "failed"


def test_a_run_whose_reader_does_not_read_can_be_told_to_stop(
    flow: Flow, start: Start, until: Until, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 65536):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    process = subprocess.Popen(
        [sys.executable, "-m", "wfctl", "run", flow(f"nodes: {{a: {{run: {CHILD} ready=ready hang}}}}")],
        cwd=tmp_path,
        env=environ(tmp_path),
        stdin=subprocess.DEVNULL,
        stderr=writer,
    )
    try:
        until((tmp_path / "ready").exists, "the node runs")
        process.terminate()
        assert process.wait(20) == 143
    finally:
        process.kill()
        process.wait(30)
        os.close(reader)
        os.close(writer)


def test_a_stopped_node_can_be_cancelled(
    flow: Flow, start: Start, until: Until, wfctl: Command, tmp_path: Path
) -> None:
    name = flow(f"nodes: {{a: {{run: 'echo $$ > pid; exec {CHILD} save=saved ready=ready stop hang'}}}}")
    run = start("run", name)
    until((tmp_path / "ready").exists, "the node runs")
    until(lambda: state_of(int((tmp_path / "pid").read_text())) == "T", "the node is stopped")
    assert wfctl("cancel", "last").returncode == 0
    assert run.wait(30) == 143
    assert (tmp_path / "saved").exists()


def test_a_stopped_engine_can_be_cancelled_and_its_guard_waits_for_it(
    flow: Flow, start: Start, until: Until, wfctl: Command, tmp_path: Path
) -> None:
    run = start("run", flow(f"nodes: {{a: {{run: {CHILD} save=saved ready=ready hang}}}}"))
    until((tmp_path / "ready").exists, "the node runs")
    run.send_signal(signal.SIGSTOP)
    until(lambda: state_of(run.pid) == "T", "the engine is stopped")
    assert wfctl("cancel", "last").returncode == 0
    assert run.wait(30) == 143
    assert (tmp_path / "saved").exists()


# -- as process 1


@pytest.fixture
def as_process_1() -> list[str]:
    """The words that start a program as the first process of a world of its own."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("a pid namespace cannot be made here: it needs root")
    return words


def test_as_process_1_it_ends_and_takes_in_what_nodes_leave(
    as_process_1: list[str], flow: Flow, start: Start, tmp_path: Path, status: Status
) -> None:
    name = flow(f"""
        nodes:
          a: {{run: {CHILD} double=far}}
          b: {{run: 'ls -d /proc/[0-9]* > seen; cat /proc/[0-9]*/stat >> seen', needs: [a]}}
          c: {{run: exit 3, needs: [b]}}
    """)
    run = start("run", name, through=as_process_1)
    assert run.wait(30) == 1, run.communicate()
    assert [node["exit_code"] for node in status()["nodes"].values()] == [0, 0, 3]
    assert ") Z " not in (tmp_path / "seen").read_text(), "what was adopted is reaped"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_as_process_1_it_hears_signals(
    number: int, code: int, as_process_1: list[str], flow: Flow, start: Start, until: Until, tmp_path: Path
) -> None:
    name = flow(f"nodes: {{a: {{run: {CHILD} save=saved ready=ready hang}}}}")
    run = start("run", name, through=as_process_1)
    until((tmp_path / "ready").exists, "the node runs")
    (engine,) = children(run.pid)
    os.kill(engine.pid, number)
    assert run.wait(30) == code
    assert (tmp_path / "saved").exists()


def test_the_death_of_process_1_is_the_end_of_its_nodes(
    as_process_1: list[str], flow: Flow, start: Start, until: Until, wfctl: Command, gone: Gone,
    tmp_path: Path,
) -> None:  # fmt: skip
    run = start("run", flow(STUBBORN % CHILD), through=as_process_1)
    until((tmp_path / "ready").exists, "the node runs")
    kill(children(run.pid))
    run.wait(30)
    gone()
    (tmp_path / "go").touch()
    assert wfctl("resume", "last").returncode == 0


# -- what nodes leave behind


def test_a_node_has_ended_when_all_that_it_started_has(wfctl: Command, flow: Flow, tmp_path: Path) -> None:
    name = flow(f"""
        nodes:
          near: {{run: {CHILD} fork=near}}
          far: {{run: {CHILD} double=far}}
          both: {{run: '{CHILD} fork=both.near double=both.far; exit 3', retry: {{attempts: 2, delay: 0}}}}
          last:
            run: for f in near far both.near both.far; do kill -0 $(cat $f) && echo $f >> left; done; true
            needs: [near, far, both]
            trigger: all_done
    """)
    assert wfctl("run", name).returncode == 1
    assert not (tmp_path / "left").exists(), (tmp_path / "left").read_text()


def test_a_daemon_without_environment_is_gone_when_the_run_is(
    wfctl: Command, flow: Flow, tmp_path: Path, gone: Gone
) -> None:
    assert wfctl("run", flow(f"nodes: {{a: {{run: {CHILD} daemon=pid}}}}")).returncode == 0
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_daemon_without_environment_dies_with_its_engine_where_there_are_cgroups(
    cgroups: None, flow: Flow, start: Start, until: Until, gone: Gone, tmp_path: Path
) -> None:
    run = start("run", flow(f"nodes: {{a: {{run: {CHILD} daemon=pid ready=ready hang}}}}"))
    until((tmp_path / "ready").exists, "the node runs")
    daemon = int((tmp_path / "pid").read_text())
    until(lambda: cgroup_of(daemon) != cgroup_of(os.getpid()), "the run has lasted, and got a cgroup")
    run.kill()
    run.wait(30)
    gone()
    assert not alive(daemon)


@pytest.fixture
def cgroups() -> None:
    """Skips where this process may make no group of processes of its own (cgroup v2)."""
    own = cgroup_of(os.getpid())
    if own is None:
        pytest.skip("there are no cgroups of version 2 here")
    try:
        (own / f"of-a-test-{os.getpid()}").mkdir()
        (own / f"of-a-test-{os.getpid()}").rmdir()
    except OSError:
        pytest.skip("a cgroup cannot be made here")


def test_what_a_detached_node_leaves_outlives_even_the_engine(
    flow: Flow, start: Start, until: Until, tmp_path: Path
) -> None:
    name = flow(f"""
        nodes:
          stays: {{run: "{CHILD} double=stays", detach: true}}
          a: {{run: "{CHILD} ready=ready hang", needs: [stays]}}
    """)
    run = start("run", name)
    until((tmp_path / "ready").exists, "the second node runs")
    stays = look(int((tmp_path / "stays").read_text()))
    assert stays is not None
    try:
        run.kill()
        run.wait(30)
        until(lambda: [p.pid for p in of_folder(tmp_path)] == [stays.pid], "all others are gone")
    finally:
        kill([stays])


# -- a stranger


@pytest.mark.parametrize(
    ("boot", "earlier", "dies"),
    [("another", 0, False), ("this", 1000, False), ("this", 0, True)],
    ids=["of another boot", "started at another moment", "as a control, the one that was recorded"],
)
def test_a_stranger_with_a_recorded_pid_is_not_touched(
    boot: str, earlier: int, dies: bool, flow: Flow, start: Start, until: Until, wfctl: Command, tmp_path: Path
) -> None:
    run = start("run", flow(STUBBORN % CHILD))
    until((tmp_path / "ready").exists, "the node runs")
    _kill_both(run, until)
    kill(of_folder(tmp_path))
    (tmp_path / "go").touch()
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True, cwd="/", env={})
    (roster,) = (tmp_path / ".wfctl/live").iterdir()
    header, *slots = roster.read_text().splitlines()
    head = json.loads(header)
    found = look(stranger.pid)
    assert found is not None
    moment = found.started - earlier
    slots[1] = f"{stranger.pid:10} {moment - 1:15} {moment + 1:15}"
    if boot == "another":
        header = header.replace(head["boot"], head["boot"][::-1])
    roster.write_text("\n".join([header, *slots]) + "\n")
    try:
        assert wfctl("resume", "last").returncode == 0
        assert (stranger.poll() is not None) == dies
    finally:
        stranger.kill()
        stranger.wait()
        if boot == "another" and head["cage"]:
            os.rmdir(head["cage"])
    assert not roster.exists()
