"""Performs tasks in threads of this process, which are kept for the tasks to come.

Knows no process, no signal and no secret: it is handed a task that is filled in, and its kind."""

from __future__ import annotations

import errno
import heapq
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from wfctl import tasks
from wfctl.executors.signals import name_of
from wfctl.executors.spawner import APPEND, Surroundings
from wfctl.jobs import Completion, Ending, Job, PythonKind, Result
from wfctl.quantity import shown_amount

CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


class ThreadTools:
    """What a kind is given in a thread. Its log is a file that is made when there is something to write."""

    def __init__(self, job: Job, around: Surroundings) -> None:
        assert job.task is not None
        self.folder = around.folder
        self.root = around.root
        self.run = job.id.split("/", 1)[0]
        self.node = job.node
        self.attempt = job.attempt
        self.key = job.task.key
        self.unsure = job.unsure
        self.environ = around.environ
        self.timeout = job.timeout
        self.too_long = False
        """More was to be written than the log may have."""
        self._path = around.log
        self._limit = job.log_limit
        self._cut = not job.sealed      # else who takes the secrets out cuts it then: never one in two
        self._lock = threading.Lock()
        self._fd = -1
        self._open = True
        self._stop: Callable[[], None] | None = None
        self._stopped = False

    def log(self, text: str) -> None:
        """To the log, as a process would that prints it. Nothing once the attempt is over: the log is scrubbed then."""
        with self._lock:
            if not self._open or self.too_long or not self._path:
                return
            try:
                if self._fd < 0:
                    self._fd = os.open(self._path, APPEND | os.O_CLOEXEC, 0o666)
                content = f"{text}\n".encode("utf-8", "backslashreplace")
                while content:
                    content = content[os.write(self._fd, content) :]
                self.too_long = self._limit is not None and os.fstat(self._fd).st_size > self._limit
                if self.too_long and self._cut:
                    os.ftruncate(self._fd, self._limit or 0)
            except OSError:     # no room, say: the work itself is not less done for that
                return
        if self.too_long:
            self.stop()

    def when_stopped(self, stop: Callable[[], None]) -> None:
        """What to call when the attempt is to end."""
        with self._lock:
            self._stop = stop
            at_once = self._stopped
        if at_once:
            self._call(stop)

    def stop(self) -> None:
        """Make what the kind waits for fail."""
        with self._lock:
            self._stopped = True
            stop = self._stop
        if stop is not None:
            self._call(stop)

    def close(self) -> None:
        """The attempt is over, whatever its thread still does."""
        with self._lock:
            self._open = False
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _call(self, stop: Callable[[], None]) -> None:
        try:
            stop()
        except Exception as error:      # a bug of the kind; the grace ends the attempt all the same
            self.log(f"it could not be stopped: {type(error).__name__}: {error}")


@dataclass(slots=True, eq=False)
class Work:
    """One task on its way through a thread. What the thread leaves here it leaves under the lock of all."""

    job: Job
    kind: PythonKind
    fields: Mapping[str, Any]
    tools: ThreadTools
    started: float
    due: float | None = None        # when its timeout or its grace is over; a timer of another moment is stale
    stopping: bool = False
    timed_out: bool = False
    killed: bool = False
    given_up: bool = False          # its end was told; what its thread still comes to is nobody's affair
    result: Result | None = field(default=None, repr=False)
    ended: float = 0.0


class Threads:
    """Threads of one executor. `bell` is readable when `take` has something to tell; `grace` is seconds that one has to
    come back once it was told to stop. One that does not is left behind: it is a daemon, and ends with the process."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._count = 0                             # threads that take work
        self._works: dict[str, Work] = {}           # by the job's id
        self._done: list[Work] = []                 # performed, and not told yet
        self._timers: list[tuple[float, int, Work]] = []
        self._numbers = 0                           # breaks ties among timers
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._works

    def __len__(self) -> int:
        return len(self._works)

    # -- what may be asked of it

    def start(self, job: Job, kind: PythonKind, fields: Mapping[str, Any], around: Surroundings) -> None:
        """Begin the task of a job. OSError where no thread can be started."""
        work = Work(job, kind, fields, ThreadTools(job, around), time.monotonic())
        if self._count <= len(self._works):
            try:
                threading.Thread(target=self._serve, name="wfctl-task", daemon=True).start()
            except RuntimeError:
                if not self._count:
                    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
                # The next that is free takes it.
            else:
                self._count += 1
        self._works[job.id] = work
        if job.timeout is not None:
            self._set_timer(work, work.started + job.timeout)
        self._queue.put(work)

    def cancel(self, job_id: str) -> None:
        """Tell it to stop. One that was told already, or has come back, is left alone."""
        work = self._works[job_id]
        if not work.stopping and work.result is None:
            self._stop(work)

    def kill(self) -> list[Completion]:
        """Stop all and wait for none; their ends."""
        ended = self.take()
        for work in list(self._works.values()):
            work.stopping = work.killed = True
            work.tools.stop()
            if self._give_up(work):
                ended.append(self._end(work, Ending.KILLED, signal.SIGKILL))
        return ended + self.take()

    def take(self) -> list[Completion]:
        """The ends of those that have come back."""
        with self._lock:
            try:
                os.eventfd_read(self.bell)
            except BlockingIOError:
                pass
            done, self._done = self._done, []
        return [self._told(work) for work in done]

    def due(self) -> float | None:
        """The moment of the next timer."""
        while self._timers and self._timers[0][2].due != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def ring(self, now: float) -> list[Completion]:
        """Stop whose time is over; the ends of those that were told so, and have not come back."""
        ended = []
        while (due := self.due()) is not None and due <= now:
            work = heapq.heappop(self._timers)[2]
            work.due = None
            if not work.stopping:
                work.timed_out = True
                self._stop(work)
            elif self._give_up(work):
                ended.append(self._end(work, Ending.TIMED_OUT if work.timed_out else Ending.KILLED, signal.SIGKILL))
        return ended

    def shift(self, seconds: float) -> None:
        """All of it stood still for so long: no timer has seen that time."""
        for work in self._works.values():
            work.started += seconds
            if work.due is not None:
                work.due += seconds
        self._timers = [(when + seconds, number, work) for when, number, work in self._timers]

    def close(self) -> None:
        """Let the threads go. Nothing may be under way."""
        for _ in range(self._count):
            self._queue.put(None)
        with self._lock:
            os.close(self.bell)
            self.bell = -1

    # -- in a thread

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - CRASHES)     # they are the main thread's
        while (work := self._queue.get()) is not None:
            try:
                result = tasks.performed(work.kind, work.fields, work.tools)
            except BaseException as error:      # SystemExit, say: in a process of its own it would end that
                result = Result(reason="exception", error=f"{type(error).__name__}: {error}".rstrip(": "))
            work.fields = {}        # secrets may be in them
            work.tools.close()
            with self._lock:
                if work.given_up:   # another has this one's place
                    return
                work.result, work.ended = result, time.monotonic()
                self._done.append(work)
                os.eventfd_write(self.bell, 1)
            del work, result        # not kept while the next is waited for

    # -- ends

    def _stop(self, work: Work) -> None:
        work.stopping = True
        self._set_timer(work, time.monotonic() + self._grace)
        work.tools.stop()

    def _give_up(self, work: Work) -> bool:
        """Leave it behind; False where it has come back by now."""
        with self._lock:
            if work.result is not None:
                return False
            work.given_up = True
        work.tools.close()
        self._count -= 1
        return True

    def _told(self, work: Work) -> Completion:
        assert work.result is not None
        if work.timed_out:
            return self._end(work, Ending.TIMED_OUT)
        code = tasks.exit_code(work.result)
        if work.tools.too_long or (work.stopping and code):     # else it was through before it heard of it
            at_once = work.tools.too_long or work.killed
            return self._end(work, Ending.KILLED, signal.SIGKILL if at_once else signal.SIGTERM)
        return self._end(work, Ending.EXITED, code, work.result)

    def _end(self, work: Work, ending: Ending, code: int | None = None, result: Result | None = None) -> Completion:
        seconds = (work.ended or time.monotonic()) - work.started
        work.due = work.result = None       # a stale timer may still hold it
        del self._works[work.job.id]
        error = reason = ""
        if ending is Ending.KILLED and code is not None:
            error = f"ended by {name_of(code)}"
        if work.tools.too_long:
            reason = "log_limit"
            error = f"its log is over {shown_amount('', work.job.log_limit or 0)}; write less there, or raise log_limit"
        return Completion(
            job_id=work.job.id,
            ending=ending,
            code=None if ending is Ending.TIMED_OUT else code,
            seconds=seconds,
            error=error,
            reason=reason,
            result=result,
        )

    def _set_timer(self, work: Work, when: float) -> None:
        work.due = when
        if len(self._timers) > 2 * len(self._works) + 64:       # mostly stale
            self._timers = [timer for timer in self._timers if timer[2].due == timer[0]]
            heapq.heapify(self._timers)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, work))
