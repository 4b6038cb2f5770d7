"""What the local executor does with real processes: how they start, what they are given, how they are ended.

Waits for facts (files that children make), never for a time to pass."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.space import DEADLINE, Space, SystemClock, await_death, child, is_alive, run
from wfctl.errors import StateError, UsageError
from wfctl.executors.local import SPARE_DESCRIPTORS, LocalExecutor
from wfctl.jobs import Completion, Ending, Job, Message, Signalled


@pytest.fixture
def ignored_hup_and_quit(default_signals: None) -> None:
    """As under nohup, and in the background of a shell."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)


# -- what a process is given -----------------------------------------------------------------------------------

BOTH_WAYS = pytest.mark.parametrize("cwd", [None, "sub"])   # without a folder of its own and with one


def is_passed_on(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:     # the one that listed them
        return False


@BOTH_WAYS
def test_a_process_leads_a_session_and_has_no_descriptor_of_ours_and_empty_input(space: Space, cwd: str | None) -> None:
    Path("sub").mkdir()
    assert space.perform(child(f"facts={space.root}/facts", cwd=cwd)).code == 0
    facts = json.loads(space.text("facts"))
    assert facts["pid"] == facts["session"] == facts["group"]
    assert facts["session"] != os.getsid(0)
    passed_on = [int(n) for n in os.listdir("/proc/self/fd") if int(n) > 2 and is_passed_on(int(n))]
    assert facts["descriptors"] == [0, 1, 2, *sorted(passed_on)]     # what the caller of wfctl gave is not ours
    assert facts["input"] == ""
    assert facts["folder"] == facts["env"]["PWD"] == str(space.root / (cwd or ""))


@BOTH_WAYS
@pytest.mark.usefixtures("ignored_hup_and_quit")
def test_a_process_has_default_dispositions_and_no_blocked_signal(
    make_space: Callable[[float], Space], cwd: str | None
) -> None:
    Path("sub").mkdir()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    space = make_space(1000)
    space.perform(run("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", cwd=cwd, log=f"{space.root}/log"))
    _, blocked, _, ignored = space.text("log").split()
    assert int(blocked, 16) == 0
    assert int(ignored, 16) & ~0x180000000 == 0     # glibc's spawn leaves its own two, 32 and 33, ignored
    space.executor.close()
    assert signal.pthread_sigmask(signal.SIG_SETMASK, mask) == {signal.SIGUSR1}


@BOTH_WAYS
def test_output_and_error_go_to_the_log_in_their_order(space: Space, cwd: str | None) -> None:
    Path("sub").mkdir()
    Path("log").write_text("before\n")
    space.perform(child("print=one", "complain=two", "print=three", log="log", cwd=cwd))
    assert space.text("log") == "before\none\ntwo\nthree\n"


@BOTH_WAYS
def test_standard_output_goes_to_its_own_file_where_it_is_the_output(space: Space, cwd: str | None) -> None:
    Path("sub").mkdir()
    Path("out").write_text("of somebody else, and longer")
    space.perform(child("print=one", "complain=two", log="log", stdout="out", cwd=cwd))
    assert (space.text("out"), space.text("log")) == ("one\n", "two\n")


@BOTH_WAYS
def test_standard_input_is_a_file_that_was_written_before(space: Space, cwd: str | None) -> None:
    Path("sub").mkdir()
    space.perform(run("cat", stdin="in", files={"in": b"\x00any\xff"}, log="log", cwd=cwd))
    assert Path("log").read_bytes() == b"\x00any\xff"


def test_folders_are_made_before_the_start(space: Space) -> None:
    assert space.perform(run("test", "-d", "a/b/c", folders=("a/b/c",))).code == 0
    assert space.perform(run("test", "-d", "a/b/c", folders=("a/b/c",), id="r/a/2")).code == 0


def test_the_environment_of_the_job_lies_over_the_inherited(tmp_path: Path) -> None:
    executor = LocalExecutor(
        SystemClock(), root=str(tmp_path), environ={"PATH": os.environ["PATH"], "A": "1", "B": "1"}, grace=1
    )
    with executor:
        executor.submit(Job(id="r/a/1", node="a", attempt=1, argv=("env",), env={"B": "größer", "C": ""}, log="log"))
        executor.wait(time.time() + DEADLINE)
    assert sorted((tmp_path / "log").read_text().splitlines()) == sorted(
        [f"PATH={os.environ['PATH']}", "A=1", "B=größer", "C=", f"PWD={tmp_path}"]
    )


def test_relative_paths_stand_on_the_root_wherever_the_engine_stands(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\ncat; pwd\n")
    (tmp_path / "tool").chmod(0o755)
    with LocalExecutor(SystemClock(), root=str(tmp_path), environ=dict(os.environ), grace=1) as executor:
        executor.submit(run("./tool", log="logs/a", folders=("logs",), files={"in": b"x\n"}, stdin="in"))
        executor.wait(time.time() + DEADLINE)
    assert (tmp_path / "logs/a").read_text() == f"x\n{tmp_path}\n"


def test_a_program_is_sought_on_the_path_of_the_job(space: Space) -> None:
    for folder in ("one", "two"):
        Path(folder).mkdir()
        Path(folder, "tool").write_text(f"#!/bin/sh\necho {folder}\n")
        Path(folder, "tool").chmod(0o755)
    Path("one/sub").mkdir()
    space.perform(run("tool", env={"PATH": f"{space.root}/two:{space.root}/one"}, log="a"))
    space.perform(run("tool", env={"PATH": "../one:../two"}, cwd="two", log="b"))
    assert (space.text("a"), space.text("b")) == ("two\n", "one\n")


def test_a_program_that_an_earlier_node_installed_is_found(space: Space) -> None:
    path = {"PATH": f"{space.root}/bin:{os.environ['PATH']}"}
    space.perform(run("true", env=path))
    space.perform(run("sh", "-c", "mkdir bin; printf '#!/bin/sh\\necho mine' > bin/true; chmod +x bin/true", env=path))
    space.perform(run("true", env=path, log="log"))
    assert space.text("log") == "mine\n"


@BOTH_WAYS
def test_a_script_without_an_interpreter_line_is_run_by_the_shell(space: Space, cwd: str | None) -> None:
    Path("sub").mkdir()
    for folder in (".", "sub"):
        write(f"{folder}/bare", 'echo "$1" from ${PWD##*/}\n', 0o755)
    told = space.perform(run("./bare", "a b", cwd=cwd, log=f"{space.root}/log"))
    assert (told.ending, told.code) == (Ending.EXITED, 0)
    assert space.text("log") == f"a b from {cwd or space.root.name}\n"


# -- how it ended ----------------------------------------------------------------------------------------------


@BOTH_WAYS
def test_the_exit_code_is_told(space: Space, cwd: str | None) -> None:
    Path("sub").mkdir()
    told = space.perform(child("exit=3", cwd=cwd))
    assert (told.ending, told.code, told.error) == (Ending.EXITED, 3, "")


@BOTH_WAYS
def test_death_by_a_signal_is_told_with_its_number(space: Space, cwd: str | None) -> None:
    Path("sub").mkdir()
    told = space.perform(child("die=KILL", cwd=cwd))
    assert (told.ending, told.code) == (Ending.KILLED, signal.SIGKILL)


@pytest.mark.parametrize(("how", "error"), [("die=KILL", "ended by SIGKILL"), ("exit=137", "exit code 137")])
def test_death_for_lack_of_memory_is_told_once(
    make_space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch, how: str, error: str
) -> None:
    kills = 7
    monkeypatch.setattr("wfctl.executors.gauge._oom_kills", lambda: kills)
    space = make_space(1000)
    assert "memory" not in space.perform(child(how)).error
    kills += 1
    told = space.perform(child(how))
    assert told.error == f"{error}, out of memory; let it use less, or lower concurrency"
    assert "memory" not in space.perform(child(how)).error


def test_all_that_ended_is_told_at_once(space: Space) -> None:
    for n in range(20):
        space.executor.submit(child(f"fork=up{n}", id=f"r/a/{n}", detach=True))
    for n in range(20):
        while not Path(f"up{n}").exists():
            time.sleep(0.005)
    pids = [int(space.text(f"up{n}")) for n in range(20)]
    leaders = [os.getsid(pid) for pid in pids]
    for leader in leaders:
        await_death(leader)
    assert len(space.executor.wait(time.time() + DEADLINE)) == 20
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_a_status_that_somebody_else_took_is_lost_and_not_success(space: Space) -> None:
    space.executor.submit(child("facts=facts", "wait=go"))
    pid = json.loads(space.await_file("facts"))["pid"]
    Path("go").touch()
    os.waitpid(pid, 0)
    told = space.ended()
    assert (told.ending, told.code) == (Ending.LOST, None)


def test_a_flood_goes_to_the_log_byte_by_byte(space: Space) -> None:
    space.perform(child("flood=20000000", log="log"))
    assert Path("log").stat().st_size == 20_000_000


# -- what it leaves behind -------------------------------------------------------------------------------------


def test_a_background_child_does_not_outlive_its_node(space: Space) -> None:
    told = space.perform(child("fork=up"))
    assert (told.ending, told.code) == (Ending.EXITED, 0)
    await_death(int(space.text("up")))


def test_a_background_child_outlives_a_detached_node(space: Space) -> None:
    space.perform(child("fork=up", detach=True))
    pid = int(space.text("up"))
    space.executor.close()
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)


# -- stop ------------------------------------------------------------------------------------------------------


def test_cancel_asks_with_term_and_tells_the_true_ending(space: Space) -> None:
    space.executor.submit(child("save=saved", "ready=up", "hang"))
    space.await_file("up")
    space.executor.cancel("r/a/1")
    told = space.ended()
    assert (told.ending, told.code) == (Ending.EXITED, 7)
    assert Path("saved").exists()


def test_a_node_that_ignores_term_is_killed_after_its_grace(make_space: Callable[[float], Space]) -> None:
    space = make_space(0.2)
    space.executor.submit(child("ignore=TERM", "ready=up", "hang"))
    space.await_file("up")
    begin = time.monotonic()
    space.executor.cancel("r/a/1")
    told = space.ended()
    assert (told.ending, told.code) == (Ending.KILLED, signal.SIGKILL)
    assert time.monotonic() - begin >= 0.2


def test_a_stopped_node_can_be_cancelled(space: Space) -> None:
    space.executor.submit(child("facts=facts", "stop"))
    pid = json.loads(space.await_file("facts"))["pid"]
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.005)
    space.executor.cancel("r/a/1")
    assert space.ended().code == signal.SIGTERM


def test_in_a_stop_the_group_keeps_its_grace_when_the_leader_dies_first(space: Space) -> None:
    """A shell dies of TERM at once; what it ran may still be saving its work."""
    space.executor.submit(child("saver=up,saved", "hang"))
    space.await_file("up")
    space.executor.cancel("r/a/1")
    assert (space.ended().code, Path("saved").exists()) == (signal.SIGTERM, True)


def test_in_a_stop_what_is_left_of_the_group_is_killed_after_the_grace(make_space: Callable[[float], Space]) -> None:
    space = make_space(0.2)
    space.executor.submit(child("fork=up", "ready=both", "hang"))
    space.await_file("both")
    space.executor.cancel("r/a/1")
    assert space.ended().code == signal.SIGTERM
    await_death(int(space.text("up")))


def test_kill_during_a_grace_ends_it(space: Space) -> None:
    space.executor.submit(child("fork=up", "ready=both", "hang"))
    space.await_file("both")
    space.executor.cancel("r/a/1")
    await_death(os.getsid(int(space.text("up"))))
    space.executor.wait(0)
    space.executor.kill()
    assert space.ended().code == signal.SIGTERM
    await_death(int(space.text("up")))


def test_a_timeout_is_a_stop(space: Space) -> None:
    told = space.perform(child("hang", timeout=0.2))
    assert (told.ending, told.code) == (Ending.TIMED_OUT, None)
    assert 0.2 <= told.seconds < DEADLINE


def test_a_timeout_that_is_survived_by_exiting_with_success_is_a_timeout(space: Space) -> None:
    told = space.perform(run("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.01; done", timeout=0.2))
    assert told.ending == Ending.TIMED_OUT


def test_a_timeout_does_not_shorten_the_grace_of_a_cancelled_node(space: Space) -> None:
    space.executor.submit(child("ignore=TERM", "ready=up", "wait=go", "exit=5", timeout=0.6))
    space.await_file("up")
    space.executor.cancel("r/a/1")
    assert space.executor.wait(time.time() + 0.8) == ()
    Path("go").touch()
    assert (space.ended().code) == 5


def test_close_leaves_no_process_and_gives_the_signals_back(space: Space) -> None:
    before = len(os.listdir("/proc/self/fd"))
    space.executor.submit(child("ignore=TERM", "facts=facts", "hang"))
    pid = json.loads(space.await_file("facts"))["pid"]
    space.executor.close()
    assert not is_alive(pid)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert len(os.listdir("/proc/self/fd")) < before


# -- signals of the run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_the_run_is_a_message(space: Space, number: int) -> None:
    os.kill(os.getpid(), number)
    assert space.executor.wait(time.time() + DEADLINE) == [Signalled(number)]


def test_each_of_two_signals_is_told(space: Space) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    assert space.messages(2) == [Signalled(signal.SIGINT)] * 2


def test_a_signal_ends_a_sleep(space: Space) -> None:
    space.executor.submit(child(f"wait={space.root}/never"))
    space.executor.submit(run("sh", "-c", f"kill -TERM {os.getpid()}; sleep 1000", id="r/b/1"))
    assert space.executor.wait(None) == [Signalled(signal.SIGTERM)]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.usefixtures("ignored_hup_and_quit")
def test_hup_and_quit_stay_ignored_where_they_were(make_space: Callable[[float], Space], number: int) -> None:
    space = make_space(1000)
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGTERM)
    assert space.messages(1) == [Signalled(signal.SIGTERM)]
    space.executor.close()
    assert signal.getsignal(number) is signal.SIG_IGN


# -- what cannot be started ------------------------------------------------------------------------------------


def write(path: str, text: str, mode: int) -> None:
    Path(path).write_text(text)
    Path(path).chmod(mode)


NUL = "holds a NUL character, which no process can be given; hand it over by stdin"
SUB: dict[str, Any] = {"cwd": "sub"}    # the start goes another way where there is a folder to start in
IMPOSSIBLE: dict[str, tuple[Job, str]] = {
    "empty": (run(), "the name of the program is empty; give one"),
    "no name": (run(""), "the name of the program is empty; give one"),
    "not on the path": (
        run("no-tool"),
        'there is no program "no-tool" on the PATH; install it, or correct the name or PATH',
    ),
    "not on the path but here": (
        run("plain"),
        'there is no program "plain" on the PATH; the file beside it is called "./plain"',
    ),
    "not executable on the path": (run("plain", env={"PATH": "/none:."}), '"./plain" is not executable; chmod +x it'),
    "no file": (run("./none"), 'there is no "./none"; correct the name'),
    "no file in cwd": (run("./none", **SUB), 'there is no "./none" in "sub"; correct the name'),
    "not executable": (
        run("./plain"),
        '"./plain" is not executable; chmod +x it, or name its interpreter: [sh, ./plain]',
    ),
    "not executable from cwd": (
        run("../plain", **SUB),
        '"../plain" is not executable; chmod +x it, or name its interpreter: [sh, ../plain]',
    ),
    "folder": (run("./sub"), '"./sub" is a folder; name a program in it'),
    "no interpreter": (
        run("./lost"),
        'the interpreter of "./lost" is missing; correct its "#!" line, or install it',
    ),
    "no cwd": (
        run("true", cwd="none"),
        'the folder "none" of cwd does not exist; make it first, or correct cwd',
    ),
    "cwd is a file": (
        run("true", cwd="plain"),
        'the folder "plain" of cwd is no folder; make it first, or correct cwd',
    ),
    "nul in argv": (run("true", "a\0b"), f"argument 1 {NUL}"),
    "nul in argv with cwd": (run("true", "a\0b", **SUB), f"argument 1 {NUL}"),
    "nul in program": (run("a\0b"), f"argument 0 {NUL}"),
    "nul in env": (run("true", env={"A": "\0"}), f'the environment variable "A" {NUL}'),
    "bad name in env": (
        run("true", env={"A=B": ""}),
        '"A=B" cannot name an environment variable; take out the "="',
    ),
    "lone surrogate": (
        run("true", "\ud800"),
        "argument 1 holds a character that cannot be encoded; take it out",
    ),
    "too big": (
        run("true", "x" * 200_000),
        (
            "arguments and environment are more than the system allows; the largest is argument 1"
            " with 200,000 bytes; hand it over by stdin: ${{ … }} or file(…)"
        ),
    ),
    "log is a folder": (
        run("true", log="sub"),
        'cannot open its log, "sub": is a directory; correct the path',
    ),
    "no standard input": (
        run("true", stdin="none"),
        'cannot open its standard input, "none": no such file or directory; correct the path',
    ),
    "no standard input with cwd": (
        run("true", stdin="none", **SUB),
        'cannot open its standard input, "none": no such file or directory; correct the path',
    ),
    "file where a folder is": (
        run("true", files={"sub": b""}),
        'cannot write "sub": is a directory; make room or correct the path',
    ),
    "folder where a file is": (
        run("true", folders=("plain",)),
        'cannot write "plain": file exists; make room or correct the path',
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_started_says_why_and_the_way_out(space: Space, case: str) -> None:
    write("plain", "echo\n", 0o644)
    write("lost", "#!/no/such/interpreter\n", 0o755)
    Path("sub").mkdir()
    job, error = IMPOSSIBLE[case]
    told = space.perform(job)
    assert (told.ending, told.error) == (Ending.NOT_STARTED, error)


def test_what_is_inherited_may_be_too_large_too(tmp_path: Path) -> None:
    environ = {**os.environ, "BIG": "x" * 200_000}
    with LocalExecutor(SystemClock(), root=str(tmp_path), environ=environ, grace=1) as executor:
        executor.submit(run("true", log=str(tmp_path / "log")))
        (told,) = executor.wait(None)
    assert isinstance(told, Completion)
    assert told.error.endswith('is the environment variable "BIG" with 200,000 bytes; run wfctl without it')


def test_without_the_folder_of_the_logs_nothing_goes_on(space: Space) -> None:
    with pytest.raises(StateError, match="the folder of the run is gone; if it was moved,"):
        space.executor.submit(run("true", log="none/log"))


def test_an_impossible_job_does_not_disturb_the_next(space: Space) -> None:
    space.executor.submit(run("no-such-tool"))
    space.executor.submit(run("true", id="r/b/1"))
    assert {m.job_id for m in space.messages(2) if isinstance(m, Completion)} == {"r/a/1", "r/b/1"}


def test_a_kernel_without_pidfd_is_named_at_once(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(pid: int) -> int:
        raise OSError(errno.ENOSYS, "")

    monkeypatch.setattr(os, "pidfd_open", absent)
    with pytest.raises(StateError, match=r"needs Linux 5.4 or newer \(pidfd\)$"):
        Space(space.root, 1).executor.open()


# -- scarcity --------------------------------------------------------------------------------------------------


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """As under `ulimit -n 64`: that leaves 56 of them, however many the tests before have left open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.dup(0) for _ in range(56)]
    for fd in free:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1] + 1, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def endings(messages: list[Message]) -> set[tuple[Ending, int | None, str]]:
    return {(m.ending, m.code, m.error) for m in messages if isinstance(m, Completion)}


@pytest.mark.usefixtures("few_descriptors")
def test_where_not_even_the_spare_descriptors_are_left_nothing_begins(space: Space) -> None:
    free = take_descriptors()
    for fd in free[: SPARE_DESCRIPTORS - 1]:
        os.close(fd)
    try:
        with pytest.raises(UsageError, match=r"raise the limit \(ulimit -n"):
            Space(space.root, 1).executor.open()
    finally:
        for fd in free[SPARE_DESCRIPTORS - 1 :]:
            os.close(fd)


@pytest.mark.usefixtures("few_descriptors")
@BOTH_WAYS
def test_two_hundred_jobs_share_64_descriptors(make_space: Callable[[float], Space], cwd: str | None) -> None:
    Path("sub").mkdir()
    space = make_space(1000)
    for n in range(200):
        space.executor.submit(run("sleep", "0.05", id=f"r/a/{n}", log=f"{space.root}/log", cwd=cwd))
    assert endings(space.messages(200)) == {(Ending.EXITED, 0, "")}


@pytest.mark.usefixtures("few_descriptors")
def test_the_spare_descriptors_stay_free_however_long_the_others_wait(make_space: Callable[[float], Space]) -> None:
    space = make_space(1000)
    for n in range(100):
        space.executor.submit(run("sleep", "0.02" if n % 2 else "1000", id=f"r/a/{n}"))
    space.messages(20)
    for _ in range(20):
        space.executor.wait(time.time() + 0.01)
    taken = take_descriptors()
    for fd in taken:
        os.close(fd)
    assert len(taken) >= SPARE_DESCRIPTORS - 1


def take_descriptors() -> list[int]:
    taken: list[int] = []
    while True:
        try:
            taken.append(os.open("/", os.O_RDONLY))
        except OSError:     # too many open files
            return taken


@pytest.mark.usefixtures("few_descriptors")
def test_jobs_run_also_when_others_have_taken_the_last_descriptor(make_space: Callable[[float], Space]) -> None:
    space = make_space(1000)
    space.executor.submit(run("true"))
    taken = take_descriptors()
    for n in range(5):
        space.executor.submit(run("true", id=f"r/b/{n}"))
    assert endings(space.messages(1)) == {(Ending.EXITED, 0, "")}   # its descriptor is free now: enough for one
    assert endings(space.messages(5)) == {(Ending.EXITED, 0, "")}
    for fd in taken:
        os.close(fd)


@pytest.mark.usefixtures("few_descriptors")
def test_held_jobs_can_be_cancelled_and_killed(make_space: Callable[[float], Space]) -> None:
    space = make_space(1000)
    for n in range(100):
        space.executor.submit(run("sleep", "1000", id=f"r/a/{n}"))
    space.executor.cancel("r/a/99")
    told = space.ended()
    assert (told.job_id, told.ending) == ("r/a/99", Ending.NOT_STARTED)
    assert told.error == "cancelled before it could be started"
    space.executor.kill()
    assert {e[0] for e in endings(space.messages(99))} == {Ending.KILLED, Ending.NOT_STARTED}


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> None:
    """The system refuses the next starts, as it does at a limit of processes (which holds for no root user)."""
    left = iter(range(times))
    spawn = os.posix_spawn

    def scarce(*args: object, **more: object) -> int:
        if next(left, None) is not None:
            raise OSError(number, os.strerror(number))
        return spawn(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "posix_spawn", scarce)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ETXTBSY])
def test_a_start_that_is_refused_for_a_moment_is_tried_again(
    space: Space, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, number, times=3)
    space.executor.submit(run("true"))
    space.executor.submit(run("true", id="r/b/1"))
    assert endings(space.messages(2)) == {(Ending.EXITED, 0, "")}


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (
            errno.EAGAIN,
            (
                "resource temporarily unavailable; raise the limits of processes and memory (ulimit -u)"
                " or lower concurrency"
            ),
        ),
        (errno.EMFILE, "too many open files; raise the limit (ulimit -n) or lower concurrency"),
    ],
)
def test_a_start_that_is_refused_for_seconds_is_told_and_the_next_does_not_wait_as_long(
    space: Space, monkeypatch: pytest.MonkeyPatch, number: int, error: str
) -> None:
    monkeypatch.setattr("wfctl.executors.local.DELAYS", (0.01, 0.02))
    refuse(monkeypatch, number, times=10**9)
    for n in range(50):
        space.executor.submit(run("true", id=f"r/a/{n}"))
    assert endings(space.messages(50)) == {(Ending.NOT_STARTED, None, error)}


# -- who watches over the run ----------------------------------------------------------------------------------


class Ledger:
    """A roster that remembers."""

    def __init__(self) -> None:
        self.pids: dict[int, int] = {}
        self.left: list[int] = []

    def enter(self, pid: int, before: float) -> int:
        assert 0 <= time.clock_gettime(time.CLOCK_BOOTTIME) - before < DEADLINE
        self.pids[len(self.pids)] = pid
        return len(self.pids) - 1

    def leave(self, slot: int) -> None:
        assert not is_alive(self.pids[slot])
        self.left.append(slot)


def test_every_process_stands_in_the_roster_while_it_lives(make_space: Callable[..., Space]) -> None:
    roster = Ledger()
    space = make_space(1000, roster=roster)
    space.executor.submit(run("sleep", "1000"))
    space.perform(child("facts=facts", id="r/b/1"))
    space.perform(run("no-such-program", id="r/c/1"))
    assert (len(roster.pids), roster.left) == (2, [1])
    assert json.loads(space.text("facts"))["pid"] == roster.pids[1]


class Sentry:
    """A guard that is only a process; it cannot be started the next `refused` times."""

    def __init__(self, refused: int = 0) -> None:
        self.pid = self.fd = -1
        self.refused = 0
        self.replace()
        self.refused = refused

    def replace(self) -> None:
        self.stop()
        self.refused -= 1
        if self.refused < 0:
            self.pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ, setsid=True)
            self.fd = os.pidfd_open(self.pid)

    def stop(self) -> None:
        if self.pid > 0:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.fd)
        self.pid = self.fd = -1


@pytest.mark.parametrize("refused", [0, 2])
def test_a_guard_that_died_is_replaced_and_the_run_goes_on(
    make_space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    monkeypatch.setattr("wfctl.executors.local.GUARD_AGAIN", 0.01)
    guard = Sentry(refused)
    space = make_space(1000, guard=guard)
    space.executor.submit(child("wait=go"))
    first = guard.pid
    os.kill(first, signal.SIGKILL)
    limit = time.monotonic() + DEADLINE
    while guard.pid in (first, -1):
        assert time.monotonic() < limit
        assert not space.executor.wait(time.time() + 0.01)
    Path("go").touch()
    assert space.ended().code == 0
    space.executor.close()
    assert is_alive(guard.pid)      # it is none of what a job left behind
    guard.stop()
