"""What becomes of the processes that a job leaves behind, however far they went from it.

Waits for facts (files that children make), never for a time to pass."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.space import DEADLINE, NONCE, Space, await_death, child, is_alive, run
from wfctl.executors.adopted import Adopted
from wfctl.jobs import Completion, Ending

LEFT = pytest.mark.parametrize("left", ["fork", "double", "daemon"])
"""In the group; in a session of its own; in one of its own and without environment."""


@pytest.fixture(autouse=True)
def no_zombies() -> None:
    """Of what other tests have left behind and killed."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def completion(space: Space) -> Completion:
    [message] = space.messages(1)
    assert isinstance(message, Completion)
    return message


@LEFT
def test_what_a_job_left_is_gone_when_its_end_is_told(space: Space, left: str) -> None:
    told = space.perform(child(f"{left}=up"))
    assert (told.ending, told.code) == (Ending.EXITED, 0)
    assert not is_alive(int(space.text("up")))


def test_also_what_that_has_started_itself(space: Space) -> None:
    """A chain of sessions: each is found when the one before it has ended."""
    inner = "setsid sh -c 'echo $$ > inner; sleep 1000 & wait'"
    told = space.perform(run("sh", "-c", f'setsid sh -c "{inner} & wait" & until [ -s inner ]; do sleep 0.01; done'))
    assert told.code == 0
    assert not is_alive(int(space.text("inner")))
    assert children() == []


@LEFT
def test_what_a_killed_job_left_is_gone_when_its_end_is_told(space: Space, left: str) -> None:
    space.executor.submit(child(f"{left}=up", "ready=both", "hang"))
    space.await_file("both")
    space.executor.kill()
    assert completion(space).ending is Ending.KILLED
    assert not is_alive(int(space.text("up")))


def test_what_left_its_session_is_asked_too_in_a_stop(space: Space) -> None:
    space.executor.submit(
        run("sh", "-c", "setsid sh -c \"trap 'touch saved; exit' TERM; touch up; while :; do :; done\"")
    )
    space.await_file("up")
    space.executor.cancel("r/a/1")
    assert (completion(space).code, Path("saved").exists()) == (signal.SIGTERM, True)


@pytest.mark.parametrize("left", ["fork", "daemon"])
def test_what_ignores_that_is_killed_after_the_grace(make_space: Callable[..., Space], left: str) -> None:
    space = make_space(0.3)
    space.executor.submit(
        run("sh", "-c", "trap '' TERM; setsid sh -c 'echo $$ > up; sleep 1000' & trap - TERM; sleep 9")
    )
    space.await_file("up")
    space.executor.cancel("r/a/1")
    begin = time.monotonic()
    assert completion(space).code == signal.SIGTERM
    assert time.monotonic() - begin > 0.2
    assert children() == []


def test_the_leftovers_of_one_job_do_not_disturb_another(space: Space) -> None:
    space.executor.submit(child("double=other", "ready=both", "wait=go", id="r/b/1"))
    space.await_file("both")
    space.perform(child("double=up"))
    assert not is_alive(int(space.text("up")))
    assert is_alive(int(space.text("other")))
    Path("go").touch()
    assert completion(space).job_id == "r/b/1"
    assert not is_alive(int(space.text("other")))


def test_what_an_inner_run_has_left_belongs_to_its_node(space: Space) -> None:
    """An inner run that was killed, whose guard too: its nodes come to the outer run, in sessions of their own."""
    space.executor.submit(child("wait=go", id="r/b/1"))
    inner = "WFCTL_NONCE=$WFCTL_NONCE:fedc:fedc.1 setsid sh -c 'echo $$ > up; exec sleep 99'"
    space.perform(run("sh", "-c", f"{inner} & until [ -s up ]; do sleep 0.01; done"))
    assert not is_alive(int(space.text("up")))
    Path("go").touch()
    assert space.ended().job_id == "r/b/1"


def test_two_attempts_are_told_apart(space: Space) -> None:
    space.executor.submit(child("double=other", "ready=both", "hang", id="r/a/2"))
    space.await_file("both")
    space.perform(child("double=up"))
    assert is_alive(int(space.text("other")))


def test_what_nobody_can_be_told_from_ends_with_the_last_job(space: Space) -> None:
    space.executor.submit(child("wait=go", id="r/b/1"))
    assert space.perform(child("daemon=up")).job_id == "r/a/1"
    pid = int(space.text("up"))
    Path("go").touch()
    assert completion(space).job_id == "r/b/1"
    assert not is_alive(pid)


@LEFT
def test_a_detached_job_keeps_what_it_left(space: Space, left: str) -> None:
    space.perform(child(f"{left}=up", detach=True))
    pid = int(space.text("up"))
    space.perform(run("true", id="r/b/1"))
    space.executor.close()
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_detached_job_does_not_know_the_nonce_of_the_run_but_those_of_outer_ones(space: Space) -> None:
    for n, detach in enumerate((False, True)):
        space.perform(run("sh", "-c", f"echo $WFCTL_NONCE > {n}", detach=detach))
    assert (space.text("0"), space.text("1")) == (f"outer:{NONCE}:{NONCE}.1\n", "outer\n")


def test_a_child_that_was_there_before_is_nobody_s_affair(make_space: Callable[..., Space]) -> None:
    stranger = os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ)
    space = make_space(1000)
    space.perform(child("daemon=up"))
    space.executor.close()
    assert not is_alive(int(space.text("up")))
    assert is_alive(stranger)
    os.kill(stranger, signal.SIGKILL)
    os.waitpid(stranger, 0)


def test_zombies_that_were_adopted_are_reaped_while_the_job_goes_on(space: Space) -> None:
    orphans = "for n in 1 2 3; do (sleep 0 & exec sleep 0) & done; wait; sleep 0.1; touch up"
    space.executor.submit(run("sh", "-c", f"{orphans}; until [ -e go ]; do sleep 0.05; done"))
    space.await_file("up")
    limit = time.monotonic() + DEADLINE
    while len(children()) > 1:
        assert time.monotonic() < limit
        space.executor.wait(time.time() + 0.05)
    Path("go").touch()
    assert completion(space).code == 0


def test_a_job_that_forks_without_end_is_ended_whole(space: Space) -> None:
    space.executor.submit(
        run("sh", "-c", "n=0; while [ $n -lt 300 ]; do setsid sleep 1000 & n=$((n+1)); done; touch up; wait")
    )
    space.await_file("up")
    space.executor.kill()
    completion(space)
    assert children() == []


def test_where_the_kernel_keeps_no_list_of_children_all_processes_are_looked_at(
    make_space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def without(path: str, *more: int) -> int:
        if path.endswith("/children"):
            raise FileNotFoundError(path)
        return real(path, *more)

    monkeypatch.setattr("wfctl.executors.adopted.os.open", without)
    space = make_space(1000)
    space.perform(child("double=up"))
    assert not is_alive(int(space.text("up")))


def test_nothing_new_costs_a_look_at_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    adopted = Adopted()
    adopted.open()
    monkeypatch.setattr("wfctl.executors.adopted.os.listdir", None)
    monkeypatch.setattr("wfctl.executors.adopted.os.read", None)
    adopted.look({}, -1)
    assert not adopted.owned()
    adopted.close()


@pytest.mark.usefixtures("default_signals")
def test_open_makes_a_subreaper_and_close_gives_that_back(space: Space) -> None:
    orphan = "import os, time; pid = os.fork(); pid or time.sleep(0.3); pid or print(os.getppid(), flush=True)"
    space.perform(run("python3", "-S", "-c", orphan, log="log", detach=True))
    limit = time.monotonic() + DEADLINE
    while not space.text("log"):
        assert time.monotonic() < limit
        space.executor.wait(time.time() + 0.02)
    assert int(space.text("log")) == os.getpid()


def test_a_death_of_somebody_else_s_child_is_survived(space: Space) -> None:
    """A stranger is reaped by who started it, and its pid may be anybody's afterwards."""
    space.executor.close()
    stranger = os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ)
    space.executor.open()
    os.kill(stranger, signal.SIGKILL)
    await_death(stranger)
    os.waitpid(stranger, 0)
    assert space.perform(child("double=up")).code == 0
    assert not is_alive(int(space.text("up")))
