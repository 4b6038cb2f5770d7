"""One process that performs a job, from its start until its completion is told.

Knows nothing of how it is started, awaited or ended: what that has come to is noted here."""

from __future__ import annotations

from dataclasses import dataclass, field

from wfctl.executors.gauge import Log
from wfctl.jobs import Job


@dataclass(slots=True, eq=False)
class Child:
    """The leader of a session, and what was adopted from it."""

    job: Job
    pid: int                        # also its session and its group
    started: float
    slot: int | None = None         # in the roster
    log: Log | None = None
    due: float | None = None        # when its timeout or its grace is over; a timer of another moment is stale
    stopping: bool = False          # TERM was sent
    timed_out: bool = False
    too_long: bool = False          # its log is
    killed: bool = False            # KILL was sent: nothing more to wait for but its end
    ended: bool = False             # the leader is a zombie, and holds the pid until all it left has ended too
    others: dict[int, int] = field(default_factory=dict)    # adopted from it and awaited: pid by pidfd

    @property
    def lets_go(self) -> bool:
        """Whether what it leaves behind may go on."""
        return self.job.detach and not self.killed
