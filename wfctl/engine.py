"""The loop of a run: ask what to do, record it, act, take what came.

Knows no executor, no store, no view and no clock of its own: it is handed them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence

from wfctl import events as ev
from wfctl import expr
from wfctl.decide import Done, Judge, Leavings, Record, Settle, Start, Stop, Wait, conclude, decide, evaluate_condition
from wfctl.errors import StateError
from wfctl.jobs import Clock, Completion, Executor, Job, Journal, LowDisk, Message, Paused, Signalled
from wfctl.plan import Planned
from wfctl.scope import During
from wfctl.state import RunState, RunStatus

ECHO = 0.1
"""Seconds. Who stops a run often says it twice at once: timeout(1) tells the process and its group, a window that
closes tells of it itself and by its shell. That is one wish, not two."""

Watcher = Callable[[Sequence[ev.Event], RunState], None]
"""Told of the events of a turn, after they are kept. What it raises ends its watching, not the run."""


class Engine:
    """Drives one run to its end.

    Without a journal nothing is kept: that is a plan. `prepare` makes the job of an attempt (it may
    raise ExpressionError), `collect` reads what one left behind, `during` gives expressions their names.
    `point` is called at the named moments where a crash is of interest:
    `decided`, `recorded`, `submitted`, `completed`.
    """

    def __init__(
        self,
        state: RunState,
        *,
        journal: Journal | None,
        executor: Executor,
        clock: Clock,
        during: During,
        prepare: Callable[[Planned, int], Job],
        collect: Callable[[Job, Completion], Leavings],
        watchers: Iterable[Watcher] = (),
        warn: Callable[[str], None] = lambda text: None,
        point: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.state = state
        self.plan = state.plan
        self._journal = journal
        self._executor = executor
        self._clock = clock
        self._during = during
        self._prepare = prepare
        self._collect = collect
        self._watchers = list(watchers)
        self._warn = warn
        self._point = point
        self._jobs: dict[str, Job] = {}
        self._batch: list[ev.Event] = []
        self._signalled_at = float("-inf")

    def run(self) -> RunState:
        """Go on until nothing is left to do. Raises StateError where the state cannot be kept: then nothing runs."""
        try:
            self._drive()
        except StateError:
            self._give_up()
            raise
        return self.state

    def _drive(self) -> None:
        messages = self._executor.wait(self._now())  # what speaks against any start, a full disk, is known by now
        while True:
            for message in messages:
                self._take(message)
            acts, until, done = self._turn()
            self._keep()
            for act in acts:
                act()
            if done:
                return
            messages = self._executor.wait(until)

    def _give_up(self) -> None:
        """Stop what runs, with its grace, and await it. How it ends cannot be recorded any more."""
        if self._jobs:
            self._warn("the state cannot be kept: stopping what runs")
        for job_id in self._jobs:
            self._executor.cancel(job_id)
        while self._jobs:
            for message in self._executor.wait(None):
                if isinstance(message, Completion):
                    self._jobs.pop(message.job_id, None)
                elif isinstance(message, Signalled):
                    self._executor.kill()

    def record(self, event: ev.Event) -> None:
        """Take a fact into the journal and then into the state. It is kept with the turn that it belongs to."""
        if self._journal is not None:
            self._journal.append(ev.to_data(event))
        self.state.apply(event)
        self._batch.append(event)

    def _now(self) -> float:
        # As the journal writes it: what is decided now is decided alike when it is read again.
        return round(self._clock.now(), 6)

    def _turn(self) -> tuple[list[Callable[[], None]], float | None, bool]:
        """Ask until the answer is to wait. What must be done is returned, for it is not recorded before."""
        now = self._now()
        acts: list[Callable[[], None]] = []
        while True:
            action = decide(self.plan, self.state, now)
            match action:
                case Start(node):
                    job = self._start(node, now)
                    if job is not None:
                        acts.append(lambda job=job: self._submit(job))  # type: ignore[misc]
                case Record(event):
                    self.record(event)
                case Judge(node):
                    self.record(self._judge(node, now))
                case Stop(node):
                    job_id = self._job_id(node, self.state.nodes[node].attempt)
                    self.state.stop_asked(node)
                    acts.append(lambda job_id=job_id: self._executor.cancel(job_id))  # type: ignore[misc]
                case Settle(status):
                    self.record(self._settle(status, now))
                case Wait(until):
                    return acts, until, False
                case Done():
                    return acts, None, True

    def _keep(self) -> None:
        """One write and one sync for all events of the turn; only then may anything be done, or shown."""
        if not self._batch:
            return
        self._point("decided")
        if self._journal is not None:
            self._journal.sync()
        self._point("recorded")
        batch, self._batch = self._batch, []
        for watcher in list(self._watchers):
            try:
                watcher(batch, self.state)
            except Exception as error:
                self._watchers.remove(watcher)
                self._warn(f"a view was dropped: {type(error).__name__}: {error}")

    def _start(self, node: str, now: float) -> Job | None:
        planned = self.plan.nodes[node]
        attempt = self.state.nodes[node].attempt + 1
        try:
            job = self._prepare(planned, attempt)
            writes = self._writes(planned)
        except expr.ExpressionError as error:
            self.record(ev.NodeFailed(time=now, node=node, attempt=attempt, reason="expression", error=str(error)))
            return None
        self.record(ev.NodeStarted(time=now, node=node, attempt=attempt, writes=writes))
        return job

    def _writes(self, planned: Planned) -> object:
        """The paths that an attempt will write, where an expression decides them. A plan may not know them."""
        if not planned.node.dynamic or not planned.node.writes:
            return None
        try:
            return self._during.paths(planned.id, "writes")
        except expr.Unknown:
            return None

    def _job_id(self, node: str, attempt: int) -> str:
        return f"{self.state.id}/{node}/{attempt}"

    def _submit(self, job: Job) -> None:
        # Recorded before: dying in between leaves an attempt without an end, which resume takes as
        # interrupted. The other order could run a node that the journal has never heard of.
        self._executor.submit(job)
        self._jobs[job.id] = job
        self._point("submitted")

    def _judge(self, node: str, now: float) -> ev.Event:
        planned = self.plan.nodes[node]
        try:
            if evaluate_condition(planned.node.when, self._during.of(node)):
                return ev.NodeReady(time=now, node=node)
        except expr.Unknown:  # a plan assumes that it will be true
            return ev.NodeReady(time=now, node=node)
        except expr.ExpressionError as error:
            return ev.NodeFailed(
                time=now, node=node, attempt=self.state.nodes[node].attempt, reason="expression", error=f"when: {error}"
            )
        return ev.NodeSkipped(time=now, node=node, reason="when")

    def _settle(self, status: RunStatus, now: float) -> ev.Event:
        if status is not RunStatus.SUCCEEDED or not self.plan.outputs:
            return ev.RunSettled(time=now, state=status)
        try:
            names = self._during.shared()
            outputs = {name: expr.evaluate_value(value, names) for name, value in self.plan.outputs.items()}
        except expr.Unknown:
            return ev.RunSettled(time=now, state=status)
        except expr.ExpressionError as error:
            return ev.RunSettled(time=now, state=RunStatus.FAILED, error=f"outputs: {error}")
        return ev.RunSettled(time=now, state=status, outputs=outputs)

    def _signalled(self, number: int, now: float) -> None:
        twice = self.state.stopping or self.state.signal is not None
        if twice and (number == signal.SIGHUP or abs(now - self._signalled_at) < ECHO):
            return
        self._signalled_at = now
        self.record(ev.RunStopping(time=now, signal=number, at_once=twice))
        if twice:
            self._executor.kill()

    def _take(self, message: Message) -> None:
        now = self._now()
        if isinstance(message, Signalled):
            self._signalled(message.number, now)
            return
        if isinstance(message, Paused):
            self.record(ev.RunPaused(time=now, seconds=round(message.seconds, 6)))
            return
        if isinstance(message, LowDisk):
            self.record(ev.RunHalted(time=now, reason="low_disk", error=message.error))
            return
        job = self._jobs.pop(message.job_id)
        left = self._collect(job, message)
        self._point("completed")
        self.record(conclude(self.plan, self.state, self._during, job.node, message, left, now))
