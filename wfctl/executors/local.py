"""Performs jobs as local processes, each in a session of its own, and small tasks in threads.

Knows nothing of graphs, budgets or retries: it is handed a Job and tells a Completion."""

from __future__ import annotations

import errno
import heapq
import os
import select
import signal
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from wfctl.errors import Bug, StateError, UsageError
from wfctl.executors import gauge, signals
from wfctl.executors.adopted import Adopted, descendants
from wfctl.executors.child import Child
from wfctl.executors.spawner import NO_DESCRIPTORS, NO_SECRETS, Spawner
from wfctl.jobs import (
    Clock,
    Completion,
    Ending,
    Guard,
    Job,
    LowDisk,
    Message,
    Nudged,
    Paused,
    PythonKind,
    Roster,
    Signalled,
    Woken,
)
from wfctl.quantity import shown_amount

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from wfctl.executors.fence import Fence
    from wfctl.executors.threads import Threads

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
HANDLED = (*SIGNALS, signal.SIGTSTP, signal.SIGCONT)
MAY_BE_IGNORED = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)    # nohup, and the background of a shell, ask for that
SCARCE = (*NO_DESCRIPTORS, errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY)
"""What may be there in a moment: a descriptor, a process, memory, a program that is still being written."""
DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)            # seconds between tries to start where something is scarce
SPARE_DESCRIPTORS = 16                              # left to the rest of the engine: journal, outputs, a child's log
GUARD_AGAIN = 1.0                                   # seconds between tries to start a guard
LAST_WAIT = 10.0                                    # seconds for what was killed to be gone, when all is closed
LONGEST_SLEEP = 86_400.0                            # epoll counts milliseconds in 32 bits
OF_A_TASK = 2                                       # descriptors that a task in a thread may open: log, socket or file

Enclose = Callable[[Callable[[], Iterable[int]]], None]


class LocalExecutor:
    """Local processes behind pidfds, timers and signals of the run, all awaited in one epoll.

    `root` is what relative paths of jobs stand on; jobs without `cwd` start fastest when the engine itself
    stands there. `environ` is what every process inherits, under the `env` of its job. `grace` is seconds
    between TERM and KILL. `nonce` is what WFCTL_NONCE says of this run, `secrets` the values of what jobs hold
    sealed, and `state` a folder whose disk must keep some room. `roster` is told of every process, and `guard`
    replaced when it dies. `enclose` is called once, when jobs have run for a while, a second at most: it may keep all
    processes, those that it is handed and those to come, where none can hide. `paused` is called with True before
    Ctrl-Z stops the run, and with False when it goes on, or the terminal may have been others' meanwhile. `warn` hears
    what cannot be done. `bell` is a descriptor that is readable when other runs may have given something back, and
    `ear` one that is when a person has typed something. `in_place` gives the kind whose tasks threads of this process
    perform: without it, or where it gives none, a task is performed by a process of its own.
    Use as `with executor:` (or `open`, `close`) in the main thread: signals arrive there.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        root: str,
        environ: Mapping[str, str],
        grace: float,
        nonce: str = "",
        secrets: Mapping[str, str] = NO_SECRETS,
        state: str | None = None,
        roster: Roster | None = None,
        guard: Guard | None = None,
        enclose: Enclose | None = None,
        paused: Callable[[bool], None] = lambda on: None,
        warn: Callable[[str], None] = lambda text: None,
        bell: int = -1,
        ear: int = -1,
        in_place: Callable[[str], PythonKind | None] = lambda kind: None,
    ) -> None:
        self._clock = clock
        self._root = root
        self._environ = environ
        self._grace = grace
        self._nonce = nonce
        self._secrets = secrets
        self._disk = gauge.Disk(state) if state is not None else None
        self._disk_is_low = False                           # that was told
        self._pause_of_looks = gauge.SELDOM                 # seconds
        self._roster = roster
        self._guard = guard
        self._guard_fd = -1
        self._enclose = enclose
        self._paused = paused
        self._warn = warn
        self._bell = bell
        self._ear = ear
        self._in_place = in_place
        self._threads: Threads | None = None                # made for the first task that they perform
        self._fence: Fence | None = None                    # made for the first job with limits
        self._adopted = Adopted()
        self._children: dict[str, Child] = {}
        self._leaders: dict[int, str] = {}                  # marks by pid, of all that are not reaped
        self._marks = 0                                     # given so far
        self._alive = 0                                     # of them, those that have not ended
        self._spares = False                                # a detached job ran: what is nobody's may be its
        self._watched: dict[int, Child] = {}               # by pidfd
        self._unwatched: list[tuple[Child, int]] = []      # with pids for which no descriptor was left
        self._held: OrderedDict[str, Job] = OrderedDict()   # submitted, and waiting for something scarce
        self._tries = 0                                     # delays used up since something could last be started
        self._timers: list[tuple[float, int, Child | Callable[[], None]]] = []
        self._numbers = 0                                   # breaks ties among timers
        self._set: set[Callable[[], None]] = set()          # of the timers that are no child's, those that will ring
        self._messages: list[Message] = []
        self._is_open = False

    # -- opening and closing ---------------------------------------------------------------------------------

    def __enter__(self) -> LocalExecutor:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Take over the signals and prepare to wait.

        StateError where the kernel has no pidfd (before Linux 5.4), UsageError where hardly any descriptor is left."""
        import resource

        if not gauge.has_descriptors(SPARE_DESCRIPTORS):    # else no end would be seen, and no signal
            raise UsageError("too few files may be open here at once; raise the limit (ulimit -n 64)")
        try:
            os.close(os.pidfd_open(os.getpid()))
        except (AttributeError, OSError) as error:
            raise StateError("processes cannot be watched here: wfctl needs Linux 5.4 or newer (pidfd)") from error
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._last_descriptor = 2**31 if limit == resource.RLIM_INFINITY else limit - SPARE_DESCRIPTORS
        self._spawner = Spawner(self._root, self._environ, self._nonce, self._secrets)
        self._deaf = {n for n in MAY_BE_IGNORED if signal.getsignal(n) is signal.SIG_IGN}
        self._epoll = select.epoll()
        self._wakeup, self._wakeup_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._wakeup, select.EPOLLIN)
        if self._bell >= 0:
            self._epoll.register(self._bell, select.EPOLLIN)
        if self._ear >= 0:      # told once: who hears it may have to leave it there, for another program
            self._epoll.register(self._ear, select.EPOLLIN | select.EPOLLET)
        # What is ignored gets the handler too (and is dropped in `_hear`): unlike SIG_IGN it ends with exec.
        self._handlers = {n: signal.signal(n, signals.noted) for n in HANDLED}
        # An ignored SIGCHLD would let the kernel reap our children, and a blocked signal never arrives.
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup_in, warn_on_full_buffer=False)
        self._adopted.open(self._guard_pid)
        self._is_open = True
        self._memory = gauge.Memory()
        self._watch_guard()
        self._look()        # a disk that is full is told before anything can start

    def close(self) -> None:
        """End what runs, await it, and give back signals and descriptors. Does nothing the second time."""
        if not self._is_open:
            return
        self.kill()
        if self._threads is not None:
            self._epoll.unregister(self._threads.bell)
            self._threads.close()
            self._threads = None
        limit = time.monotonic() + LAST_WAIT    # a process in an uninterruptible sleep must not hold us for ever
        while self._children and (left := limit - time.monotonic()) > 0:
            self._turn(left)
        self._end_nobodys(limit)
        self._is_open = False
        self._adopted.close()
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
        if job.id in self._children or job.id in self._held or self._is_in_thread(job.id):
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
            if not child.stopping and not child.ended:
                self._stop(child)
        elif self._threads is not None and job_id in self._threads:
            self._threads.cancel(job_id)
        elif self._held.pop(job_id, None) is not None:
            self._tell_not_started(job_id, "cancelled before it could be started")

    def kill(self) -> None:
        """KILL to all jobs and all that came of them, now."""
        for job_id in self._held:
            self._tell_not_started(job_id, "killed before it could be started")
        self._held.clear()
        for child in list(self._children.values()):
            self._kill(child)
        if self._threads is not None:
            self._messages += self._threads.kill()

    # -- starting --------------------------------------------------------------------------------------------

    def _start(self, job: Job) -> bool:
        """Start it, or tell why it never can be. False: something is scarce, and a later try is arranged."""
        error: OSError | ValueError
        kind = self._in_place(job.task.kind) if job.task is not None and job.limits is None else None
        if self._busy and self._only_spare():   # where nothing runs there is nothing that would give any back
            error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        elif kind is not None:
            try:
                self._start_in_thread(job, kind)
                return True
            except (OSError, ValueError) as failure:
                error = failure
        else:
            before = time.clock_gettime(time.CLOCK_BOOTTIME) if self._roster is not None else 0.0
            self._marks += 1
            mark = f"{self._nonce}.{self._marks}" if self._nonce else ""
            try:
                pid = self._spawner.spawn(job, mark, self._fenced(job))
            except (OSError, ValueError) as failure:
                error = failure
                if self._fence is not None:
                    self._fence.ended(job, failed=False)
            else:
                self._tries = 0
                self._leaders[pid] = mark
                self._take_in(Child(job, pid, time.monotonic()), before)
                return True
        if isinstance(error, OSError) and error.errno in SCARCE:
            # Our own children give their descriptors back, so that is no reason to give up while there are any.
            if self._tries < len(DELAYS) or (error.errno in NO_DESCRIPTORS and self._busy):
                self._set_retry()
                return False
        if self._disk is not None and self._spawner.lacks_room(error, job):
            self._disk.room()
            self._tell_not_started(job.id, str(self._disk), "low_disk")
            self._tell_low_disk()
        else:
            self._tell_not_started(job.id, self._spawner.reason(error, job))
        return True

    def _start_in_thread(self, job: Job, kind: PythonKind) -> None:
        if self._threads is None:
            from wfctl.executors.threads import Threads

            self._threads = Threads(self._grace)
            self._epoll.register(self._threads.bell, select.EPOLLIN)
        self._spawner.lay_out(job)
        self._threads.start(job, kind, *self._spawner.ground(job))
        self._tries = 0
        self._set_look(time.monotonic())

    @property
    def _busy(self) -> bool:
        return bool(self._children or self._threads)

    def _is_in_thread(self, job_id: str) -> bool:
        return self._threads is not None and job_id in self._threads

    def _fenced(self, job: Job) -> Sequence[str]:
        """The words that put a job inside of its limits."""
        if job.limits is None:
            return ()
        if self._fence is None:
            from wfctl.executors.fence import Fence

            self._fence = Fence(self._nonce, self._warn)
        return self._fence.words(job)

    def _take_in(self, child: Child, before: float) -> None:
        job = child.job
        self._children[job.id] = child
        self._alive += 1
        self._spares |= job.detach
        if self._roster is not None:
            child.slot = self._roster.enter(child.pid, before)
        self._set_look(child.started)
        self._watch(child, child.pid)
        if job.timeout is not None and not child.ended:
            self._set_timer(child, child.started + job.timeout)

    def _set_look(self, now: float) -> None:
        if self._look not in self._set:
            self._set_timer(self._look, now + self._pause_of_looks)

    def _only_spare(self) -> bool:
        """Whether the next descriptor would be one of the spare. The lowest free number is given, so we ask for one;
        tasks in threads may not have opened theirs yet."""
        try:
            fd = os.dup(self._wakeup)
        except OSError:
            return True
        os.close(fd)
        return fd + OF_A_TASK * len(self._threads or ()) >= self._last_descriptor

    def _watch(self, child: Child, pid: int) -> None:
        """Wait for the end of the leader, or of another that was adopted from it."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno in SCARCE:
                self._unwatched.append((child, pid))
                self._set_retry()
            elif pid == child.pid:      # reaped behind our back
                self._leader_ended(child)
                self._finish(child)
            return
        self._watched[pidfd] = child
        if pid != child.pid:
            child.others[pidfd] = pid
        self._epoll.register(pidfd, select.EPOLLIN)

    def _unwatch(self, pidfd: int) -> None:
        # Closing alone is not enough: a child that is just being started holds a copy of each descriptor until its
        # exec is through, so the epoll would go on to tell of this number when it is another process's already.
        self._epoll.unregister(pidfd)
        os.close(pidfd)

    def _retry(self) -> None:
        """Once more what waits for something scarce."""
        unwatched, self._unwatched = self._unwatched, []
        for child, pid in unwatched:
            self._watch(child, pid)
        if ended := [child for child, _ in unwatched if child.ended and not child.others]:
            self._end(ended)
        while self._held:
            job_id, job = self._held.popitem(last=False)
            if not self._start(job):
                self._held[job_id] = job
                self._held.move_to_end(job_id, last=False)
                return
        self._tries = 0

    def _tell_not_started(self, job_id: str, error: str, reason: str = "") -> None:
        self._messages.append(Completion(job_id=job_id, ending=Ending.NOT_STARTED, error=error, reason=reason))

    # -- waiting ---------------------------------------------------------------------------------------------

    def _turn(self, longest: float) -> None:
        """Sleep until something happened, a timer is due or `longest` seconds are over; take in what there is."""
        if self._timers:
            longest = min(longest, max(0.0, self._timers[0][0] - time.monotonic()))
        if self._threads and (due := self._threads.due()) is not None:
            longest = min(longest, max(0.0, due - time.monotonic()))
        ready = self._epoll.poll(min(longest, LONGEST_SLEEP), len(self._watched) + 4)
        ended: list[Child] = []
        for fd, _ in ready:
            if fd == self._wakeup:
                self._hear()
            elif fd == self._guard_fd:
                self._replace_guard()
            elif fd == self._bell:
                self._messages.append(Woken())
            elif fd == self._ear:
                self._messages.append(Nudged())
            elif self._threads is not None and fd == self._threads.bell:
                self._messages += self._threads.take()
            else:
                child = self._watched.pop(fd)
                self._unwatch(fd)
                pid = child.others.pop(fd, None)
                if pid is None:
                    self._leader_ended(child)
                else:
                    self._adopted.reap(pid)
                if child.ended and not child.others:
                    ended.append(child)
        if ended:
            self._end(ended)
        if self._timers:
            self._ring(time.monotonic())
        if self._threads:
            self._messages += self._threads.ring(time.monotonic())
        if (self._held or self._unwatched) and ready:
            self._retry()

    def _hear(self) -> None:
        for number in os.read(self._wakeup, 4096):
            if number in self._deaf:
                continue
            if number in SIGNALS:
                self._messages.append(Signalled(number))
            elif number == signal.SIGTSTP:
                self._pause()
            elif number == signal.SIGCONT:
                self._paused(False)
                self._messages.append(Nudged())

    def _set_timer(self, what: Child | Callable[[], None], when: float) -> None:
        if isinstance(what, Child):
            what.due = when
        else:
            self._set.add(what)
        if len(self._timers) > 2 * len(self._children) + 64:    # mostly stale: one live timer a child at most
            self._timers = [t for t in self._timers if not isinstance(t[2], Child) or t[2].due == t[0]]
            heapq.heapify(self._timers)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, what))

    def _set_retry(self) -> None:
        if self._retry_later not in self._set:
            self._set_timer(self._retry_later, time.monotonic() + DELAYS[min(self._tries, len(DELAYS) - 1)])

    def _retry_later(self) -> None:
        self._tries += 1
        self._retry()

    def _ring(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            when, _, what = heapq.heappop(self._timers)
            if not isinstance(what, Child):
                self._set.discard(what)
                what()
            elif what.due == when:
                if what.stopping:
                    self._kill(what)
                else:
                    what.timed_out = True
                    self._stop(what)

    # -- once a second, while jobs run -----------------------------------------------------------------------

    def _look(self) -> None:
        """At the sizes of logs, the room on the disk, and what was adopted meanwhile and has ended."""
        now = time.monotonic()
        pauses = []
        for child in list(self._children.values()):
            log = child.log or self._log_of(child)
            if log is None or child.killed:
                continue
            if log.is_over(now):
                child.too_long = True
                self._kill(child)
            else:
                pauses.append(log.pause())
        if self._disk is not None and not self._disk_is_low:
            room = self._disk.room()
            pauses.append(room / gauge.FASTEST)
            if room < 0:
                self._tell_low_disk()
        self._pause_of_looks = gauge.pause(pauses)
        if self._children:
            self._adopted.look(self._leaders, self._guard_pid)
            if self._enclose is not None:
                self._enclose(self._all)
                self._enclose = None
            awaited = {pid for child in self._children.values() for pid in child.others.values()}
            self._adopted.reap_all(awaited)
        if self._busy:
            self._set_look(now)

    def _all(self) -> Iterator[int]:
        """All processes of all jobs, wherever they went to, but those that a fence holds already."""
        limited = {c.pid for c in self._children.values() if self._fence is not None and self._fence.encloses(c.job)}
        for root in (*(pid for pid in self._leaders if pid not in limited), *self._adopted.owned()):
            yield from (root, *descendants(root))

    def _log_of(self, child: Child) -> gauge.Log | None:
        """Made when it is first asked for: most jobs have ended by then."""
        job = child.job
        if job.log_limit is not None:
            paths = [self._spawner.at(path) for path in (job.log, job.stdout) if path]
            child.log = gauge.Log(paths, job.log_limit, child.started)
        return child.log

    def _tell_low_disk(self) -> None:
        if not self._disk_is_low:
            self._disk_is_low = True
            self._messages.append(LowDisk(str(self._disk)))

    # -- the guard -------------------------------------------------------------------------------------------

    @property
    def _guard_pid(self) -> int:
        return self._guard.pid if self._guard is not None else -1

    def _watch_guard(self) -> None:
        if self._guard is None:
            return
        self._guard_fd = self._guard.fd
        if self._guard_fd < 0:
            self._set_timer(self._replace_guard, time.monotonic() + GUARD_AGAIN)
        else:
            self._epoll.register(self._guard_fd, select.EPOLLIN)

    def _replace_guard(self) -> None:
        assert self._guard is not None
        if self._guard_fd >= 0:
            self._epoll.unregister(self._guard_fd)
        self._guard.replace()
        self._watch_guard()

    # -- Ctrl-Z ----------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        """Stop the jobs and then ourselves, as Ctrl-Z asks; when we go on, no timer has seen the time between."""
        began = time.monotonic()
        self._adopted.look(self._leaders, self._guard_pid)
        self._signal_all(signal.SIGSTOP)
        self._paused(True)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)    # returns when somebody says CONT; at once where nobody could
        signal.signal(signal.SIGTSTP, signals.noted)
        self._signal_all(signal.SIGCONT)
        seconds = time.monotonic() - began
        for child in self._children.values():
            child.started += seconds
            if child.due is not None:
                child.due += seconds
        self._timers = [(when + seconds, number, what) for when, number, what in self._timers]
        if self._threads is not None:
            self._threads.shift(seconds)
        self._paused(False)
        self._messages.append(Paused(seconds))

    def _signal_all(self, number: int) -> None:
        """To all processes of all jobs, wherever they went to: but not to what was left alone."""
        for child in self._children.values():
            signals.send_group(child.pid, number)
            for root in (child.pid, *self._adopted.of(child.pid)):
                for pid in (root, *descendants(root)):
                    if signals.group_of(pid) != child.pid:
                        signals.send(pid, number)
        for root in () if self._spares else self._adopted.of(0):
            for pid in (root, *descendants(root)):
                signals.send(pid, number)

    # -- ending ----------------------------------------------------------------------------------------------

    def _stop(self, child: Child) -> None:
        child.stopping = True
        self._set_timer(child, time.monotonic() + self._grace)
        self._adopted.foresee(child.pid)
        signals.send_group(child.pid, signal.SIGTERM)
        signals.send_group(child.pid, signal.SIGCONT)    # one that was stopped hears TERM only when it goes on

    def _kill(self, child: Child) -> None:
        child.killed = child.stopping = True
        child.due = None
        if not child.ended:
            self._adopted.foresee(child.pid)
        signals.send_group(child.pid, signal.SIGKILL)
        for pid in child.others.values():
            signals.send(pid, signal.SIGKILL)

    def _leader_ended(self, child: Child) -> None:
        child.ended = True
        self._alive -= 1
        if not child.stopping:
            child.due = None

    def _end(self, children: Sequence[Child]) -> None:
        """Finish those that have left nothing behind; of the others, end that first.

        In a stop a shell dies at once, while the program it ran has heard TERM too and may be saving its work: that
        has the rest of the grace. The leader stays a zombie so long: its pid, which names session and group, cannot be
        given to a stranger. What ends leaves children of its own to us, so it is looked again until nothing comes."""
        self._adopted.look(self._leaders, self._guard_pid)
        for child in children:
            left = [] if child.lets_go else list(self._adopted.of(child.pid))
            if not self._alive and not self._spares:    # nobody else is left whose they could be
                left += self._adopted.of(0)
            if not child.lets_go and not child.stopping:
                signals.send_group(child.pid, signal.SIGKILL)
            for pid in left:
                if not self._adopted.reap(pid):
                    self._ask_to_end(child, pid)
            if not child.others and not any(other is child for other, _ in self._unwatched):
                self._finish(child)

    def _ask_to_end(self, child: Child, pid: int) -> None:
        """End one that was adopted, and wait for it."""
        number = signal.SIGKILL if child.killed or not child.stopping else signal.SIGTERM
        try:
            if number == signal.SIGKILL:
                os.kill(pid, number)
            elif os.getpgid(pid) != child.pid:      # the group has heard it
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)
        except OSError:     # another user's: it cannot be ended
            self._adopted.spare(pid)
        else:
            self._watch(child, pid)

    def _end_nobodys(self, limit: float) -> None:
        """KILL to all that was adopted and has outlived its job, until the moment `limit` at most."""
        while not self._spares and (left := limit - time.monotonic()) > 0:
            self._adopted.look(self._leaders, self._guard_pid)
            living = [pid for pid in self._adopted.owned() if not self._adopted.reap(pid)]
            if not living:
                return
            for pid in living:
                if not signals.send(pid, signal.SIGKILL):
                    self._adopted.spare(pid)
            pidfd = os.pidfd_open(living[0])
            waiting = select.poll()
            waiting.register(pidfd, select.POLLIN)
            waiting.poll(left * 1000)
            os.close(pidfd)

    def _finish(self, child: Child) -> None:
        """Take the exit status of a leader that has ended, and tell it."""
        if child.lets_go:
            for pid in list(self._adopted.of(child.pid)):
                self._adopted.spare(pid)
        self._adopted.done(child.pid)
        child.due = None
        del self._children[child.job.id]
        del self._leaders[child.pid]
        code: int | None = None
        error = reason = ""
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
                error = f"ended by {signals.name_of(code)}"
            else:
                ending, code = Ending.EXITED, os.WEXITSTATUS(status)
            killed = (Ending.KILLED, signal.SIGKILL), (Ending.EXITED, 128 + signal.SIGKILL)     # itself, or its child
            failed = (ending, code) != (Ending.EXITED, 0)
            if self._fence is not None and (why := self._fence.ended(child.job, failed)):
                error = f"{error or f'exit code {code}'}, {why}"
                self._memory.was_short()    # that was this one
            elif not child.killed and (ending, code) in killed and self._memory.was_short():
                error = f"{error or f'exit code {code}'}, out of memory; let it use less, or lower concurrency"
        if child.slot is not None and self._roster is not None:
            self._roster.leave(child.slot)
        now = time.monotonic()
        seconds = now - child.started
        limit = child.job.log_limit
        if limit is not None and gauge.may_be_over(limit, seconds):
            log = child.log or self._log_of(child)
            if log is not None and (child.too_long or log.is_over(now)):
                if not child.job.sealed:  # else who takes the secrets out cuts it then: never one in two
                    log.cut()
                reason = "log_limit"
                error = f"its log is over {shown_amount('', limit)}; write less there, or raise log_limit"
        self._messages.append(
            Completion(job_id=child.job.id, ending=ending, code=code, seconds=seconds, error=error, reason=reason)
        )
