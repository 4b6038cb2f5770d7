"""Performs jobs as local processes, each in a session of its own.

Knows nothing of graphs, budgets or retries: it is handed a Job and tells a Completion."""

from __future__ import annotations

import errno
import heapq
import os
import select
import signal
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wfctl.errors import Bug, StateError
from wfctl.jobs import Clock, Completion, Ending, Job, Message, Signalled

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
MAY_BE_IGNORED = (signal.SIGHUP, signal.SIGQUIT)    # nohup, and the background of a shell, ask for that
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
SCARCE = (*NO_DESCRIPTORS, errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY)
"""What may be there in a moment: a descriptor, a process, memory, a program that is still being written."""
DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)            # seconds between tries to start where something is scarce
SPARE_DESCRIPTORS = 16                              # left to the rest of the engine: journal, outputs, a child's log
GONE = "the state folder was removed while the run was going on; begin anew with `wfctl run`"
LONGEST_SLEEP = 86_400.0                            # epoll counts milliseconds in 32 bits
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
SHELL = "/bin/sh"                                   # runs a program that the kernel takes for none
RESULT = APPEND | os.O_TRUNC                        # what is read as the output must hold this attempt's words alone


@dataclass(slots=True, eq=False)
class _Child:
    """A process that was started and whose completion was not told yet."""

    job: Job
    pid: int                        # also its session and its group
    started: float
    due: float | None = None        # when its timeout or its grace is over; a timer of another moment is stale
    stopping: bool = False          # TERM was sent
    timed_out: bool = False
    killed: bool = False            # KILL was sent: nothing more to wait for but its end
    ended: bool = False             # the leader is a zombie, and holds the pid until the group has had its grace
    others: set[int] = field(default_factory=set)   # pidfds of those of its group that outlived it in a stop


class LocalExecutor:
    """Local processes behind pidfds, timers and signals of the run, all awaited in one epoll.

    `root` is what relative paths of jobs stand on; jobs without `cwd` start fastest when the engine itself
    stands there. `environ` is what every process inherits, under the `env` of its job. `grace` is seconds
    between TERM and KILL. Use as `with executor:` (or `open`, `close`) in the main thread: signals arrive there.
    """

    def __init__(self, clock: Clock, *, root: str, environ: Mapping[str, str], grace: float) -> None:
        self._clock = clock
        self._root = os.path.abspath(root)
        self._environ = dict(environ)
        self._grace = grace
        self._children: dict[str, _Child] = {}
        self._watched: dict[int, _Child] = {}               # by pidfd
        self._unwatched: list[_Child] = []                  # started when no descriptor was left for a pidfd
        self._held: OrderedDict[str, Job] = OrderedDict()   # submitted, and waiting for something scarce
        self._tries = 0                                     # delays used up since something could last be started
        self._timers: list[tuple[float, int, _Child | None]] = []   # None: try what waits for something scarce
        self._numbers = 0                                   # breaks ties among timers
        self._retry_is_set = False
        self._messages: list[Message] = []
        self._is_open = False

    # -- opening and closing ---------------------------------------------------------------------------------

    def __enter__(self) -> LocalExecutor:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Take over the signals and prepare to wait. StateError where the kernel has no pidfd (before Linux 5.4)."""
        import resource

        try:
            os.close(os.pidfd_open(os.getpid()))
        except (AttributeError, OSError) as error:
            raise StateError("processes cannot be watched here: wfctl needs Linux 5.4 or newer (pidfd)") from error
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._last_descriptor = 2**31 if limit == resource.RLIM_INFINITY else limit - SPARE_DESCRIPTORS
        self._base = "" if _same_folder(os.curdir, self._root) else self._root
        # Dispositions that are ignored are inherited through exec; Python itself ignores SIGPIPE and SIGXFSZ.
        self._ignored = [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
        self._deaf = {n for n in MAY_BE_IGNORED if n in self._ignored}
        self._epoll = select.epoll()
        self._wakeup, self._wakeup_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._wakeup, select.EPOLLIN)
        # What is ignored gets the handler too (and is dropped in `_hear`): unlike SIG_IGN it ends with exec.
        self._handlers = {n: signal.signal(n, _noted) for n in SIGNALS}
        # An ignored SIGCHLD would let the kernel reap our children, and a blocked signal never arrives.
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup_in, warn_on_full_buffer=False)
        self._is_open = True

    def close(self) -> None:
        """End what runs, await it, and give back signals and descriptors. Does nothing the second time."""
        if not self._is_open:
            return
        self.kill()
        limit = time.monotonic() + 10       # a process in an uninterruptible sleep must not hold us for ever
        while self._children and (left := limit - time.monotonic()) > 0:
            self._turn(left)
        self._is_open = False
        signal.set_wakeup_fd(self._wakeup_before)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for number, handler in self._handlers.items():
            if handler is not None:         # None: not installed by Python, so it cannot be put back
                signal.signal(number, handler)
        for pidfd in self._watched:
            os.close(pidfd)
        self._watched.clear()
        self._epoll.close()
        os.close(self._wakeup)
        os.close(self._wakeup_in)
        self._messages.clear()

    # -- the protocol ----------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Start the job, or hold it while descriptors or processes are scarce; what can never start is told.

        Raises StateError where the folder of its log is gone."""
        if job.id in self._children or job.id in self._held:
            raise Bug(f'job "{job.id}" was submitted twice')
        if self._held or not self._start(job):      # in order: behind those that wait already
            self._held[job.id] = job

    def wait(self, until: float | None) -> Sequence[Message]:
        """Sleep until something happened or the clock says `until` (None: no limit), and tell all that did."""
        while True:
            if self._messages:
                self._turn(0)
            elif until is None:
                self._turn(LONGEST_SLEEP)
            else:
                self._turn(max(0.0, until - self._clock.now()))
            if self._messages:
                messages, self._messages = self._messages, []
                return messages
            if until is not None and self._clock.now() >= until:
                return ()

    def cancel(self, job_id: str) -> None:
        """TERM and CONT to the job's group, `grace`, KILL. A job that has ended, or is stopping, is left alone."""
        if (child := self._children.get(job_id)) is not None:
            if not child.stopping:
                self._stop(child)
        elif self._held.pop(job_id, None) is not None:
            self._tell_not_started(job_id, "cancelled before it could be started")

    def kill(self) -> None:
        """KILL to the groups of all jobs, now."""
        for job_id in self._held:
            self._tell_not_started(job_id, "killed before it could be started")
        self._held.clear()
        for child in list(self._children.values()):
            self._kill(child)

    # -- starting --------------------------------------------------------------------------------------------

    def _start(self, job: Job) -> bool:
        """Start it, or tell why it never can be. False: something is scarce, and a later try is arranged."""
        error: OSError | ValueError
        if self._children and self._only_spare():   # without children there is nothing that would give any back
            error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        else:
            try:
                pid = self._spawn(job)
            except (OSError, ValueError) as failure:
                error = failure
            else:
                self._tries = 0
                child = self._children[job.id] = _Child(job, pid, time.monotonic())
                self._watch(child)
                if job.timeout is not None:
                    self._set_timer(child, child.started + job.timeout)
                return True
        if isinstance(error, OSError) and error.errno in SCARCE:
            # Our own children give their descriptors back, so that is no reason to give up while there are any.
            if self._tries < len(DELAYS) or (error.errno in NO_DESCRIPTORS and self._children):
                self._set_retry()
                return False
        self._tell_not_started(job.id, self._reason(error, job))
        return True

    def _only_spare(self) -> bool:
        """Whether the next descriptor would be one of the spare. The lowest free number is given, so we ask for one."""
        try:
            fd = os.dup(self._wakeup)
        except OSError:
            return True
        os.close(fd)
        return fd >= self._last_descriptor

    def _spawn(self, job: Job) -> int:
        """The pid of the new session's leader. OSError and ValueError as the system and Python give them."""
        for folder in job.folders:
            os.makedirs(self._at(folder), exist_ok=True)
        for path, content in job.files.items():
            with open(self._at(path), "wb") as file:
                file.write(content)
        cwd = self._base if job.cwd is None else self._at(job.cwd)
        env = {**self._environ, "PWD": os.path.join(self._root, cwd) if cwd else self._root, **job.env}
        program = _find(job.argv[0] if job.argv else "", env.get("PATH", os.defpath), cwd)
        try:
            return self._spawn_program(cwd, program, job.argv, job, env)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without "#!": a shell would run it, and so do make and execvp.
            return self._spawn_program(cwd, SHELL, ("sh", program, *job.argv[1:]), job, env)

    def _spawn_program(self, cwd: str, program: str, argv: tuple[str, ...], job: Job, env: dict[str, str]) -> int:
        if cwd:
            return self._spawn_in(cwd, program, argv, job, env)
        actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
            (os.POSIX_SPAWN_OPEN, fd, path, flags, 0o666) for fd, (_, path, flags) in enumerate(self._streams(job))
        ]
        if len(actions) == 2:
            actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
        return os.posix_spawn(
            program, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=self._ignored
        )

    def _spawn_in(self, cwd: str, program: str, argv: tuple[str, ...], job: Job, env: dict[str, str]) -> int:
        # posix_spawn of the standard library knows no folder to start in. Going there and back ourselves would pull
        # the ground from under other threads; Popen costs 1.1 times the whole, and without preexec_fn it vforks too.
        import subprocess

        fds: list[int] = []
        try:
            for _, path, flags in self._streams(job):
                fds.append(os.open(path, flags, 0o666))
            process = subprocess.Popen(
                argv, executable=program, cwd=cwd, env=env, stdin=fds[0], stdout=fds[1], stderr=fds[-1],
                start_new_session=True, close_fds=False,
            )  # fmt: skip
        finally:
            for fd in fds:
                os.close(fd)
        process.returncode = 0      # the exit status is ours to take: Popen must never wait for this pid
        return process.pid

    def _streams(self, job: Job) -> list[tuple[str, str, int]]:
        """Word, path and flags of standard input, output and error. Where there are two, error goes with output."""
        log = ("log", self._at(job.log) if job.log else os.devnull, APPEND)
        streams = [("standard input", self._at(job.stdin) if job.stdin else os.devnull, os.O_RDONLY)]
        if job.stdout:
            streams.append(("file of standard output", self._at(job.stdout), RESULT))
        streams.append(log)
        return streams

    def _at(self, path: str) -> str:
        """A path of a job as this process must say it."""
        return os.path.join(self._base, path) if self._base else path

    def _watch(self, child: _Child) -> None:
        try:
            pidfd = os.pidfd_open(child.pid)
        except OSError as error:
            if error.errno not in SCARCE:       # reaped behind our back
                self._finish(child)
                return
            self._unwatched.append(child)
            self._set_retry()
            return
        self._watched[pidfd] = child
        self._epoll.register(pidfd, select.EPOLLIN)

    def _unwatch(self, pidfd: int) -> None:
        # Closing alone is not enough: a child that is just being started holds a copy of each descriptor until its
        # exec is through, so the epoll would go on to tell of this number when it is another process's already.
        self._epoll.unregister(pidfd)
        os.close(pidfd)

    def _retry(self) -> None:
        """Once more what waits for something scarce."""
        unwatched, self._unwatched = self._unwatched, []
        for child in unwatched:
            self._watch(child)
        while self._held:
            job_id, job = self._held.popitem(last=False)
            if not self._start(job):
                self._held[job_id] = job
                self._held.move_to_end(job_id, last=False)
                return
        self._tries = 0

    def _tell_not_started(self, job_id: str, error: str) -> None:
        self._messages.append(Completion(job_id=job_id, ending=Ending.NOT_STARTED, error=error))

    # -- waiting ---------------------------------------------------------------------------------------------

    def _turn(self, longest: float) -> None:
        """Sleep until something happened, a timer is due or `longest` seconds are over; take in what there is."""
        if self._timers:
            longest = min(longest, max(0.0, self._timers[0][0] - time.monotonic()))
        ready = self._epoll.poll(min(longest, LONGEST_SLEEP), len(self._watched) + 1)
        outlived: list[_Child] = []
        for fd, _ in ready:
            if fd == self._wakeup:
                self._hear()
                continue
            child = self._watched.pop(fd)
            self._unwatch(fd)
            if fd in child.others:
                child.others.remove(fd)
                if not child.others:
                    outlived.append(child)
            else:
                child.ended = True
                if child.stopping and not child.killed and not child.job.detach:
                    outlived.append(child)
                else:
                    self._finish(child)
        if outlived:
            self._await_groups(outlived)
        if self._timers:
            self._ring(time.monotonic())
        if (self._held or self._unwatched) and ready:
            self._retry()

    def _hear(self) -> None:
        for number in os.read(self._wakeup, 4096):
            if number in SIGNALS and number not in self._deaf:
                self._messages.append(Signalled(number))

    def _set_timer(self, child: _Child | None, when: float) -> None:
        if child is not None:
            child.due = when
        if len(self._timers) > 2 * len(self._children) + 64:    # mostly stale: one live timer a child at most
            self._timers = [t for t in self._timers if t[2] is None or t[2].due == t[0]]
            heapq.heapify(self._timers)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, child))

    def _set_retry(self) -> None:
        if not self._retry_is_set:
            self._retry_is_set = True
            self._set_timer(None, time.monotonic() + DELAYS[min(self._tries, len(DELAYS) - 1)])

    def _ring(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            when, _, child = heapq.heappop(self._timers)
            if child is None:
                self._retry_is_set = False
                self._tries += 1
                self._retry()
            elif child.due == when:
                if child.stopping:
                    self._kill(child)
                else:
                    child.timed_out = True
                    self._stop(child)

    # -- ending ----------------------------------------------------------------------------------------------

    def _stop(self, child: _Child) -> None:
        child.stopping = True
        self._set_timer(child, time.monotonic() + self._grace)
        _signal_group(child.pid, signal.SIGTERM)
        _signal_group(child.pid, signal.SIGCONT)    # one that was stopped hears TERM only when it goes on

    def _kill(self, child: _Child) -> None:
        child.killed = child.stopping = True
        child.due = None
        if child.ended:
            self._finish(child)
        else:
            _signal_group(child.pid, signal.SIGKILL)

    def _await_groups(self, children: Iterable[_Child]) -> None:
        """Finish those whose group is empty; the others have what is left of their grace.

        In a stop a shell dies at once, while the program it ran has heard TERM too and may be saving its work.
        The leader stays a zombie so long: its pid, which names the group, cannot be given to a stranger."""
        members = _members({child.pid for child in children})
        for child in children:
            for pid in members[child.pid]:
                try:
                    pidfd = os.pidfd_open(pid)
                except OSError:     # gone meanwhile, or no descriptor is left: then KILL comes early
                    continue
                child.others.add(pidfd)
                self._watched[pidfd] = child
                self._epoll.register(pidfd, select.EPOLLIN)
            if not child.others:
                self._finish(child)

    def _finish(self, child: _Child) -> None:
        """Take the exit status of a leader that has ended, and tell it."""
        if not child.job.detach or child.killed:
            # Before the leader is reaped, for after that the group's number may be a stranger's.
            _signal_group(child.pid, signal.SIGKILL)
        for pidfd in child.others:
            del self._watched[pidfd]
            self._unwatch(pidfd)
        child.due = None
        del self._children[child.job.id]
        code: int | None = None
        error = ""
        try:
            status = os.waitpid(child.pid, 0)[1]
        except ChildProcessError:
            ending = Ending.LOST
            error = "its exit status was lost: something else in this process took it"
        else:
            if child.timed_out:
                ending = Ending.TIMED_OUT
            elif os.WIFSIGNALED(status):
                ending, code = Ending.KILLED, os.WTERMSIG(status)
                error = f"ended by {_signal_name(code)}"
            else:
                ending, code = Ending.EXITED, os.WEXITSTATUS(status)
        seconds = time.monotonic() - child.started
        self._messages.append(
            Completion(job_id=child.job.id, ending=ending, code=code, seconds=seconds, error=error)
        )

    # -- words -----------------------------------------------------------------------------------------------

    def _reason(self, error: OSError | ValueError, job: Job) -> str:
        """Why a job could not be started, with the way out. The system names no culprit: we look who it was.

        Raises StateError where the folder of the logs is gone: no job can start any more, and none is at fault.
        """
        if not isinstance(error, OSError):
            return _unspeakable(job) or str(error)
        cwd = self._base if job.cwd is None else self._at(job.cwd)
        if cwd and not os.path.isdir(cwd):
            what = "is no folder" if os.path.exists(cwd) else "does not exist"
            return f'the folder "{job.cwd or cwd}" of cwd {what}; make it first, or correct cwd'
        if error.errno in NO_DESCRIPTORS:
            return "too many open files; raise the limit (ulimit -n) or lower concurrency"
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            return f"{_cause(error)}; raise the limits of processes and memory (ulimit -u) or lower concurrency"
        if error.errno == errno.E2BIG:
            return _too_big(job)
        for path in (*job.folders, *job.files):
            if error.filename == self._at(path):
                return f'cannot write "{path}": {_cause(error)}; make room or correct the path'
        for word, path, flags in self._streams(job):
            try:    # once more, to see which it was
                os.close(os.open(path, flags, 0o666))
            except OSError as own:
                if word == "log" and own.errno == errno.ENOENT:     # a file would be made: the folder is missing
                    raise StateError(GONE) from None
                return f'cannot open its {word}, "{path}": {_cause(own)}; correct the path'
        return _no_program(error, job.argv[0] if job.argv else "", {**self._environ, **job.env}, cwd)


def _cause(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _noted(number: int, frame: object) -> None:
    """Nothing: the number reaches `wait` through the wakeup descriptor."""


def _same_folder(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):   # ended meanwhile, or it became another user's
        pass


def _members(groups: set[int]) -> dict[int, list[int]]:
    """The live processes of these process groups, by one look at all processes."""
    members: dict[int, list[int]] = {group: [] for group in groups}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # After the command, which may hold anything, parentheses too: state, parent, group.
                state, _, group = file.read().rpartition(b")")[2].split(None, 3)[:3]
        except OSError:     # ended meanwhile
            continue
        if int(group) in members and state not in b"ZX":
            members[int(group)].append(int(name))
    return members


def _find(name: str, search: str, cwd: str) -> str:
    """The program that `name` means on a PATH, absolute or relative to `cwd`. FileNotFoundError without one.

    Nothing is remembered: 6 µs of a start that costs 500, and a node may install what a later one shadows."""
    if not name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if "/" in name:
        return name
    for folder in search.split(":"):
        path = f"{folder}/{name}" if folder else f"./{name}"
        seen = path if path[0] == "/" or not cwd else os.path.join(cwd, path)
        if os.access(seen, os.X_OK) and not os.path.isdir(seen):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _unspeakable(job: Job) -> str:
    """Which text cannot be handed to a process: it holds NUL, or what cannot be encoded."""
    texts = [(f"argument {i}", text) for i, text in enumerate(job.argv)]
    texts += [(f'the environment variable "{name}"', name + text) for name, text in job.env.items()]
    paths = [job.cwd, job.stdin, job.stdout, job.log, *job.folders, *job.files]
    texts += [(f"the path {path!r}", path) for path in paths if path]
    for what, text in texts:
        if "\0" in text:
            return f"{what} holds a NUL character, which no process can be given; hand it over by stdin"
        try:
            os.fsencode(text)
        except UnicodeEncodeError:
            return f"{what} holds a character that cannot be encoded; take it out"
    for name in job.env:
        if not name or "=" in name:
            return f'"{name}" cannot name an environment variable; take out the "="'
    return ""


def _too_big(job: Job) -> str:
    sizes = [(len(os.fsencode(text)), f"argument {i}") for i, text in enumerate(job.argv)]
    sizes += [(len(os.fsencode(text)), f'the environment variable "{name}"') for name, text in job.env.items()]
    size, what = max(sizes)
    return (
        f"arguments and environment are more than the system allows; the largest is {what}"
        f" with {size:,} bytes; hand it over by stdin: ${{{{ … }}}} or file(…)"
    )


def _no_program(error: OSError, name: str, env: Mapping[str, str], cwd: str) -> str:
    """Why the program itself could not be started."""
    if not name:
        return "the name of the program is empty; give one"
    try:
        found = _find(name, env.get("PATH", os.defpath), cwd)
    except FileNotFoundError:
        return _not_on_path(name, env.get("PATH", os.defpath), cwd)
    path = os.path.join(cwd, found)
    if os.path.isdir(path):
        return f'"{name}" is a folder; name a program in it'
    if error.errno == errno.ENOENT and os.path.exists(path):
        return f'the interpreter of "{name}" is missing; correct its "#!" line, or install it'
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        place = f' in "{cwd}"' if cwd and not os.path.isabs(name) else ""
        return f'there is no "{name}"{place}; correct the name'
    if error.errno == errno.EACCES and os.path.exists(path) and not os.access(path, os.X_OK):
        return f'"{name}" is not executable; chmod +x it, or name its interpreter: [sh, {name}]'
    return f'"{name}" cannot be started: {_cause(error)}'


def _not_on_path(name: str, search: str, cwd: str) -> str:
    for folder in search.split(":"):
        path = os.path.join(cwd, folder, name)
        if os.path.isfile(path):
            return f'"{path}" is not executable; chmod +x it'
    if os.path.isfile(os.path.join(cwd, name)):
        return f'there is no program "{name}" on the PATH; the file beside it is called "./{name}"'
    return f'there is no program "{name}" on the PATH; install it, or correct the name or PATH'
