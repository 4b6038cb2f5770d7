"""Perform jobs in virtual time: each takes its estimate, and time jumps from one finish to the next.

Knows nothing of processes. It is the planner's executor and clock, and that of the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from wfctl.jobs import Completion, Ending, Job, Message


def _as_estimated(job: Job) -> Completion:
    return Completion(job_id=job.id, ending=Ending.EXITED, code=0, seconds=job.estimate)


class SimulatedExecutor:
    """An executor and a clock in one. `outcome` says how a job will end and how long it takes."""

    def __init__(self, start: float = 0.0, outcome: Callable[[Job], Completion] = _as_estimated) -> None:
        self._now = start
        self._outcome = outcome
        self._count = 0
        self._ends: list[tuple[float, int, str]] = []
        self._running: dict[str, Completion] = {}

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    def submit(self, job: Job) -> None:
        """The job will end after the seconds of its outcome, or at its timeout."""
        end = self._outcome(job)
        if job.timeout is not None and end.seconds > job.timeout:
            end = Completion(job_id=job.id, ending=Ending.TIMED_OUT, seconds=job.timeout)
        self._end(job.id, end)

    def _end(self, job_id: str, end: Completion, after: float | None = None) -> None:
        self._count += 1
        self._running[job_id] = end
        heappush(self._ends, (self._now + (end.seconds if after is None else after), self._count, job_id))

    def wait(self, until: float | None) -> Sequence[Message]:
        """Jump to the next finish, or to `until`, and give all that ends at that moment."""
        while self._ends and self._ends[0][2] not in self._running:
            heappop(self._ends)
        if not self._ends or (until is not None and until < self._ends[0][0]):
            if until is None:
                raise RuntimeError("waiting for ever: no job runs")
            # Events count microseconds, and so does who asks again: a moment between two of them would never be over.
            at = round(until, 6)
            self._now = max(self._now, at if at >= until else round(at + 1e-6, 6))
            return []
        self._now = max(self._now, self._ends[0][0])
        ended: list[Message] = []
        while self._ends and self._ends[0][0] <= self._now:
            job_id = heappop(self._ends)[2]
            end = self._running.pop(job_id, None)
            if end is not None:
                ended.append(end)
        return ended

    def cancel(self, job_id: str) -> None:
        """The job ends at once, killed by SIGTERM."""
        if job_id in self._running:
            del self._running[job_id]
            self._end(job_id, Completion(job_id=job_id, ending=Ending.KILLED, code=15), after=0.0)

    def kill(self) -> None:
        """All jobs end at once, killed by SIGKILL."""
        for job_id in list(self._running):
            del self._running[job_id]
            self._end(job_id, Completion(job_id=job_id, ending=Ending.KILLED, code=9), after=0.0)

    def close(self) -> None:
        """Nothing is held."""
        self._running.clear()
        self._ends.clear()
