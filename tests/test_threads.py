"""Tasks that the local executor performs in threads of the engine: handed over, ended, given up, and told as processes.

Waits for facts, never for a time to pass."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.space import DEADLINE, Space, child
from wfctl.executors.local import SPARE_DESCRIPTORS
from wfctl.jobs import Completion, Ending, Job, PythonKind, Result, Task, Tools

MakeSpace = Callable[..., Space]


class Kind:
    """A kind whose tasks do what the test says: `act` by name."""

    name = "test"
    in_place = True

    def __init__(self) -> None:
        self.acts: dict[str, Callable[[Mapping[str, Any], Tools], Result]] = {}
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.threads: set[int] = set()

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        self.threads.add(threading.get_ident())
        self.begun.release()
        return self.acts[fields["act"]](fields, tools)


@pytest.fixture
def kind() -> Kind:
    kind = Kind()
    kind.acts["echo"] = lambda fields, tools: Result(output=dict(fields))
    kind.acts["fail"] = lambda fields, tools: Result(reason="status", error="HTTP 500", retry_after=3.0)
    kind.acts["stoppable"] = until_stopped
    kind.acts["deaf"] = lambda fields, tools: Result(output=kind.may_end.wait(DEADLINE))
    return kind


def until_stopped(fields: Mapping[str, Any], tools: Tools) -> Result:
    stopped = threading.Event()
    tools.when_stopped(stopped.set)
    assert stopped.wait(DEADLINE)
    return Result(reason="connection", error="stopped")


def job(act: str, id: str = "r/a/1", *, filled: Mapping[str, tuple[str | int, ...]] = {}, **more: Any) -> Job:
    task = Task(kind="test", fields={"act": act, **more.pop("fields", {})}, filled=filled, key="r/a")
    return Job(id=id, node=id.split("/")[1], attempt=1, task=task, **more)


@pytest.fixture
def make(make_space: MakeSpace, kind: Kind) -> MakeSpace:
    def start(grace: float = 1000, **more: Any) -> Space:
        kinds: dict[str, PythonKind] = {"test": kind}  # type: ignore[dict-item]
        return make_space(grace, in_place=kinds.get, **more)

    return start


@pytest.fixture
def space(make: MakeSpace) -> Space:
    return make()


def begin(space: Space, kind: Kind, job: Job) -> None:
    space.executor.submit(job)
    assert kind.begun.acquire(timeout=DEADLINE)


# -- what it is given, and what becomes of it


def test_a_result_is_handed_over_as_it_is(space: Space) -> None:
    told = space.perform(job("echo", fields={"x": [1, {"y": None}]}))
    assert (told.ending, told.code, told.error, told.reason) == (Ending.EXITED, 0, "", "")
    assert told.result == Result(output={"act": "echo", "x": [1, {"y": None}]})
    assert told.seconds >= 0


def test_a_failure_is_exit_code_1(space: Space) -> None:
    told = space.perform(job("fail"))
    assert (told.ending, told.code) == (Ending.EXITED, 1)
    assert told.result == Result(reason="status", error="HTTP 500", retry_after=3.0)


def test_it_is_told_who_it_is_and_where(space: Space, kind: Kind) -> None:
    seen: list[Tools] = []

    def look(fields: Mapping[str, Any], tools: Tools) -> Result:
        seen.append(tools)
        return Result()

    kind.acts["look"] = look
    (space.root / "sub").mkdir()
    space.perform(job("look", "run/score[2]/1", cwd="sub", timeout=DEADLINE, env={"A": "1"}))
    [tools] = seen
    assert (tools.run, tools.node, tools.attempt, tools.key, tools.timeout) == ("run", "score[2]", 1, "r/a", DEADLINE)
    assert (tools.root, tools.folder) == (str(space.root), str(space.root / "sub"))
    assert (tools.environ["A"], tools.environ["PATH"]) == ("1", os.environ["PATH"])


def test_secrets_are_filled_in_where_they_belong_and_are_no_variables(make: MakeSpace, kind: Kind) -> None:
    seen: list[Mapping[str, str]] = []

    def look(fields: Mapping[str, Any], tools: Tools) -> Result:
        seen.append(tools.environ)
        return Result(output=dict(fields))

    kind.acts["look"] = look
    space = make(secrets={"TOKEN": "hunter2"})
    sealed = {"WFCTL_FIELD_1": ("Bearer ", "TOKEN", ""), "PROXY": ("http://u:", "TOKEN", "@h")}
    asked = job(
        "look", fields={"headers": {"A": None, "B": "b"}}, filled={"WFCTL_FIELD_1": ("headers", "A")}, sealed=sealed
    )
    told = space.perform(asked)
    assert told.result is not None
    assert told.result.output == {"act": "look", "headers": {"A": "Bearer hunter2", "B": "b"}}
    assert seen[0]["PROXY"] == "http://u:hunter2@h"
    assert "WFCTL_FIELD_1" not in seen[0]
    assert asked.task is not None
    assert "hunter2" not in repr(asked)


def test_folders_and_files_are_made_before_the_start(space: Space, kind: Kind) -> None:
    kind.acts["look"] = lambda fields, tools: Result(output=[os.path.isdir("a/b"), Path("value").read_text()])
    told = space.perform(job("look", folders=("a/b",), files={"value": b"x"}))
    assert told.result == Result(output=[True, "x"])


def test_a_log_is_made_when_something_is_written(space: Space, kind: Kind) -> None:
    space.perform(job("echo", log="log"))
    assert not Path("log").exists()

    def say(fields: Mapping[str, Any], tools: Tools) -> Result:
        tools.log("one\ud800")
        return Result()

    kind.acts["say"] = say
    space.perform(job("say", log="log"))
    space.perform(job("say", log="log", sealed={}))
    assert space.text("log") == "one\\ud800\n" * 2


def test_what_it_raises_is_whole_in_the_log_and_short_in_the_result(space: Space, kind: Kind) -> None:
    def fail(fields: Mapping[str, Any], tools: Tools) -> Result:
        raise fields["error"]

    kind.acts["raise"] = fail
    for error, told in ((KeyError("no"), "KeyError: 'no'"), (SystemExit(3), "SystemExit: 3")):
        completion = space.perform(job("raise", fields={"error": error}, log="log"))
        assert completion.result is not None
        assert (completion.code, completion.result.reason) == (1, "exception")
        assert completion.result.error.startswith(told)
    assert "in fail" in space.text("log")


def test_threads_are_kept_and_there_are_no_more_than_tasks_at_once(space: Space, kind: Kind) -> None:
    for n in range(20):
        space.perform(job("echo", f"r/a/{n}"))
    assert len(kind.threads) == 1
    kind.begun = threading.Semaphore(0)  # of those that are still to come
    for n in range(5):
        begin(space, kind, job("deaf", f"r/b/{n}"))
    kind.may_end.set()
    space.messages(5)
    assert len(kind.threads) == 5


def test_tasks_and_processes_run_beside_each_other(space: Space, kind: Kind) -> None:
    begin(space, kind, job("deaf", "r/a/1"))
    assert space.perform(child("exit=3", id="r/b/1")).code == 3
    kind.may_end.set()
    assert space.ended().job_id == "r/a/1"


def test_a_kind_that_is_not_in_place_and_one_with_hard_limits_get_a_process(
    make_space: MakeSpace, tmp_path: Path, kind: Kind
) -> None:
    """A question can only be asked by a run, so it fails there: but it is a process that fails."""
    space = make_space(1000)
    task = Task(kind="ask", fields={}, file=f"{tmp_path}/task.json", result=f"{tmp_path}/result")
    told = space.perform(Job(id="r/a/1", node="a", attempt=1, task=task, log="log"))
    assert (told.result, told.code) == (None, 1)
    assert kind.threads == set()


# -- what cannot start


def test_a_folder_that_is_none_is_told(space: Space) -> None:
    told = space.perform(job("echo", cwd="nowhere"))
    assert (told.ending, told.result) == (Ending.NOT_STARTED, None)
    assert told.error == 'the folder "nowhere" of cwd does not exist; make it first, or correct cwd'


def test_what_cannot_be_laid_out_is_told(space: Space) -> None:
    Path("file").touch()
    for more in ({"folders": ("file/a",)}, {"files": {"file/b": b""}}, {"files": {"a\0": b""}}):
        told = space.perform(job("echo", **more))
        assert told.ending is Ending.NOT_STARTED
        assert told.error


def test_where_descriptors_are_few_tasks_wait_for_each_other(space: Space, kind: Kind) -> None:
    taken = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def opened(fields: Mapping[str, Any], tools: Tools) -> Result:
        with open(os.devnull), open(os.devnull):
            return Result()

    kind.acts["open"] = opened
    space.executor.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + SPARE_DESCRIPTORS + 16, hard))
    try:
        space.executor.open()
        for n in range(100):
            space.executor.submit(job("open", f"r/a/{n}"))
        told = [message for message in space.messages(100) if isinstance(message, Completion)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {completion.ending for completion in told} == {Ending.EXITED}
    assert {completion.result for completion in told if completion.result and completion.result.reason} == set()


# -- how it ends


def test_a_cancelled_task_is_told_as_killed_by_term(space: Space, kind: Kind) -> None:
    begin(space, kind, job("stoppable"))
    space.executor.cancel("r/a/1")
    space.executor.cancel("r/a/1")
    told = space.ended()
    assert (told.ending, told.code, told.error) == (Ending.KILLED, signal.SIGTERM, "ended by SIGTERM")
    assert told.result is None


def test_one_that_succeeds_all_the_same_has_succeeded(space: Space, kind: Kind) -> None:
    begin(space, kind, job("deaf"))
    space.executor.cancel("r/a/1")
    kind.may_end.set()
    told = space.ended()
    assert (told.ending, told.code, told.result) == (Ending.EXITED, 0, Result(output=True))


def test_one_whose_time_is_over_is_stopped(space: Space) -> None:
    told = space.perform(job("stoppable", timeout=0.02))
    assert (told.ending, told.code, told.result) == (Ending.TIMED_OUT, None, None)
    assert told.seconds >= 0.02


def test_one_that_does_not_come_back_is_given_up_and_its_late_result_is_dropped(make: MakeSpace, kind: Kind) -> None:
    space = make(grace=0.02)
    begin(space, kind, job("deaf", log="log"))
    space.executor.cancel("r/a/1")
    told = space.ended()
    assert (told.ending, told.code) == (Ending.KILLED, signal.SIGKILL)
    assert space.perform(job("deaf", "r/b/1", timeout=0.01)).ending is Ending.TIMED_OUT
    assert space.perform(job("echo", "r/c/1")).code == 0
    kind.may_end.set()
    assert not space.executor.wait(time.time() + 0.05)


def test_nothing_is_written_to_the_log_of_one_that_was_given_up(make: MakeSpace, kind: Kind) -> None:
    """Its secrets were taken out of the log by then."""
    space = make(grace=0.0)
    wrote = threading.Event()

    def late(fields: Mapping[str, Any], tools: Tools) -> Result:
        kind.may_end.wait(DEADLINE)
        tools.log("a secret")
        wrote.set()
        return Result()

    kind.acts["late"] = late
    begin(space, kind, job("late", log="log"))
    space.executor.cancel("r/a/1")
    space.ended()
    kind.may_end.set()
    assert wrote.wait(DEADLINE)
    assert not Path("log").exists()


def test_kill_waits_for_nobody(space: Space, kind: Kind) -> None:
    for n in range(3):
        begin(space, kind, job("deaf", f"r/a/{n}"))
    space.executor.kill()
    told = space.messages(3)
    assert [(m.ending, m.code) for m in told if isinstance(m, Completion)] == [(Ending.KILLED, signal.SIGKILL)] * 3
    kind.may_end.set()


def test_close_waits_for_nobody_and_leaves_no_thread_that_waits(space: Space, kind: Kind) -> None:
    space.perform(job("echo"))
    begin(space, kind, job("deaf"))
    space.executor.close()
    kind.may_end.set()
    limit = time.monotonic() + DEADLINE
    while [thread for thread in threading.enumerate() if thread.name == "wfctl-task"]:
        assert time.monotonic() < limit
        time.sleep(0.001)


def test_a_stop_that_fails_is_told_in_the_log(make: MakeSpace, kind: Kind) -> None:
    def stubborn(fields: Mapping[str, Any], tools: Tools) -> Result:
        def stop() -> None:
            raise ZeroDivisionError

        tools.when_stopped(stop)
        return Result(output=kind.may_end.wait(DEADLINE))

    kind.acts["stubborn"] = stubborn
    space = make(grace=0.02)
    told = space.perform(job("stubborn", timeout=0.05, log="log"))
    assert told.ending is Ending.TIMED_OUT
    assert "it could not be stopped: ZeroDivisionError" in space.text("log")
    kind.may_end.set()


def test_a_log_over_its_limit_ends_its_task(space: Space, kind: Kind) -> None:
    def chatter(fields: Mapping[str, Any], tools: Tools) -> Result:
        stopped = threading.Event()
        tools.when_stopped(stopped.set)
        while not stopped.is_set():
            tools.log("x" * 99)
        return Result(reason="connection")

    kind.acts["chatter"] = chatter
    told = space.perform(job("chatter", log="log", log_limit=1024))
    assert (told.ending, told.code, told.reason) == (Ending.KILLED, signal.SIGKILL, "log_limit")
    assert told.error == "its log is over 1KiB; write less there, or raise log_limit"
    assert Path("log").stat().st_size == 1024


def test_a_pause_counts_for_no_timeout(space: Space, kind: Kind) -> None:
    begin(space, kind, job("deaf", timeout=1000))
    threads = space.executor._threads
    assert threads is not None
    due, started = threads.due(), threads._works["r/a/1"].started
    assert due is not None
    threads.shift(7.0)
    assert threads.due() == pytest.approx(due + 7.0)
    assert threads._works["r/a/1"].started == pytest.approx(started + 7.0)
    kind.may_end.set()
    assert space.ended().code == 0
