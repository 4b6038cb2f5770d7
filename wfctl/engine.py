"""The loop of a run: ask what to do, record it, act, take what came.

Knows no executor, no store, no view and no clock of its own: it is handed them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wfctl import events as ev
from wfctl import expr
from wfctl.budget import DEVICES
from wfctl.decide import (
    Ask,
    Done,
    EndTransaction,
    Gather,
    Judge,
    Leavings,
    Look,
    PlanAgain,
    PutBack,
    Record,
    RemoveFiles,
    Settle,
    Start,
    Stop,
    Undo,
    Wait,
    answered,
    conclude,
    conclude_undo,
    decide,
    evaluate_condition,
    undo_failed,
)
from wfctl.errors import StateError
from wfctl.estimates import keys_of
from wfctl.gather import gathered
from wfctl.items import items_of
from wfctl.jobs import (
    Answer,
    Busy,
    Clock,
    Completion,
    Ending,
    Executor,
    Job,
    Journal,
    Keeping,
    LowDisk,
    Message,
    Nudged,
    Paused,
    Served,
    Sharing,
    Signalled,
    Trial,
    Undos,
    Woken,
)
from wfctl.plan import Planned
from wfctl.question import question
from wfctl.scope import Check, During
from wfctl.state import RunState, RunStatus
from wfctl.transactions import transaction_name

ECHO = 0.1
"""Seconds. Who stops a run often says it twice at once: timeout(1) tells the process and its group, a window that
closes tells of it itself and by its shell. That is one wish, not two."""

Watcher = Callable[[Sequence[ev.Event], RunState], None]
"""Told of the events of a turn, after they are kept. What it raises ends its watching, not the run."""

Plotter = Callable[[RunState, float, str], ev.RunPlanned | None]
"""Makes a plan of what has not started: of the state, the moment, and why. None where the policy does as well."""


class Engine:
    """Drives one run to its end.

    Without a journal nothing is kept: that is a plan. `prepare` makes the job of an attempt (it may
    raise ExpressionError), `collect` reads what one left behind, `during` gives expressions their names.
    `sharing` lends what other runs use too; `keeping` has the results that are kept, and `save` saves the files of a
    checkpoint.
    `plot` makes a plan to be followed, for what has not started. `store_output` keeps what groups hand out, `answers`
    tells what people have answered, and `check` what is wrong with a value by a JSON Schema. `prepare_ending` makes the
    job that commits the prepared transaction of an attempt or rolls it back, maybe once more.
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
        sharing: Sharing | None = None,
        warn: Callable[[str], None] = lambda text: None,
        point: Callable[[str], None] = lambda name: None,
        plot: Plotter | None = None,
        store_output: Callable[[str, object], tuple[object, bool]] = lambda node, output: (output, False),
        answers: Callable[[], Sequence[Answer]] = lambda: (),
        check: Check = lambda schema, value: (),
        prepare_ending: Callable[[Planned, int, bool, bool], Job] | None = None,
        keeping: Keeping | None = None,
        undo: Undos | None = None,
        put_back: Callable[[Mapping[str, Any]], None] = lambda files: None,
        save: Callable[[Planned], Mapping[str, Any] | None] = lambda planned: None,
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
        self._sharing = sharing
        self._told = ""  # for whom it waits
        self._warn = warn
        self._point = point
        self._plot = plot
        self._store_output = store_output
        self._answers = answers
        self._check = check
        self._prepare_ending = prepare_ending or (lambda planned, attempt, commit, again: prepare(planned, attempt))
        self._keeping = keeping
        self._undo = undo
        self._put_back = put_back
        self._trials: dict[str, Trial] = {}  # of steps of undos, by the id of the job that runs for them
        self._save = save
        self._twins_look = False  # an attempt with a key has ended
        self._to_release: list[str] = []  # nodes whose keys others may have, once what they left is kept
        self._jobs: dict[str, Job] = {}
        self._endings: dict[str, tuple[int, bool]] = {}  # of the jobs, those that end a transaction
        self._batch: list[ev.Event] = []
        self._signalled_at = float("-inf")
        self._grown = False  # items have joined since the last plan

    def set_course(self, reason: str) -> None:
        """Look for a plan to be followed from now on, and record it where there is one."""
        if planned := self._planned(self._now(), reason):
            self.record(planned)
        elif self.state.course is not None:  # what was followed knows nothing of what has joined
            self.record(ev.RunPlanned(time=self._now(), reason=reason))

    def run(self) -> RunState:
        """Go on until nothing is left to do. Raises StateError where the state cannot be kept: then nothing runs."""
        try:
            self._drive()
        except StateError:
            self._give_up()
            raise
        return self.state

    def _drive(self) -> None:
        self._hear(self._now())
        messages = self._executor.wait(self._now())  # what speaks against any start, a full disk, is known by now
        while True:
            for message in messages:
                self._take(message)
            acts, until, done = self._turn()
            self._keep()
            for act in acts:
                act()
            released = self._release()
            if done:
                return
            messages = self._executor.wait(self._now() if released else until)

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
            if self._grown and isinstance(action, (Start, Wait)):  # all that joined in this turn is planned at once
                self._grown = False
                self.set_course("growth")
                continue
            match action:
                case Start(node):
                    job = self._start(node, now)
                case EndTransaction(node, attempt, commit):
                    job = self._end_transaction(node, attempt, commit, now)
                case Undo(node, step):
                    job = self._start_undo(node, step, now)
                case Stop(node):
                    job_id = self._stopped(node)
                    acts.append(lambda job_id=job_id: self._executor.cancel(job_id))  # type: ignore[misc]
                    continue
                case Wait(until):
                    if self._keeping is not None:
                        self._keeping.stand_in_line(bool(self.state.aside) and not self.state.starts_nothing)
                    return acts, self._stand_in_line(now, until), False
                case Done():
                    return acts, None, True
                case _:
                    self._conclude(action, now)
                    continue
            if job is not None:
                acts.append(lambda job=job: self._submit(job))  # type: ignore[misc]

    def _stopped(self, node: str) -> str:
        """The job that is to be ended of a node: its attempt, or a step of its undo."""
        undoing = self.state.undoing
        if undoing is not None and node in undoing.running:
            undoing.stopping.add(node)
            return next(job_id for job_id, trial in self._trials.items() if trial.node == node)
        self.state.stop_asked(node)
        return self._job_id(node, self.state.nodes[node].attempt)

    def _conclude(
        self,
        action: Record | Judge | Look | Gather | Ask | PlanAgain | Settle | RemoveFiles | PutBack,
        now: float,
    ) -> None:
        """Record what follows from what is known: there is nothing to be done for it but what is done at once."""
        match action:
            case Record(event):
                self.record(event)
                if isinstance(event, ev.NodeUndone):
                    self._undone(event.node)
            case RemoveFiles(node):
                removed, left = self._undo.remove(node) if self._undo is not None else ((), ())
                self.record(ev.NodeUndone(time=now, node=node, removed=removed, left=left))
                self._undone(node)
            case PutBack(checkpoint):
                self._keep()  # recorded before it is done: after a crash it is done again
                self._put_back(self.state.checkpoints[checkpoint].files)
                self.record(ev.FilesPutBack(time=now, checkpoint=checkpoint))
            case Judge(node):
                event = self._judge(node, now)
                self.record(event)
                self._grown |= isinstance(event, ev.NodeOpened) and bool(event.items)
            case Look(node):
                self._look(node, now)
            case Gather(node):
                if (end := gathered(self.state, self._during, node, now, self._store_output)) is not None:
                    self.record(end)
                else:
                    self.state.nests.looked(node)
            case Ask(node):
                self.record(self._ask(node, now))
                self._hear(now)  # it may have been answered before a crash
            case PlanAgain():
                self.record(self._planned(now, "drift") or ev.RunPlanned(time=now, reason="drift"))
            case Settle(status):
                settled = self._settle(status, now)
                if self.state.prepared and settled.state == RunStatus.SUCCEEDED and not self.state.committing:
                    self.record(ev.RunCommitting(time=now))
                else:
                    self._settled(settled)

    def _settled(self, settled: ev.RunSettled) -> None:
        if self._keeping is not None:
            self._to_release += self._keeping.settled(settled.state == RunStatus.SUCCEEDED)
        self.record(settled)

    def _undone(self, node: str) -> None:
        if self._keeping is not None and self.state.nodes[node].key:
            self._keeping.undone(node)

    def _start_undo(self, node: str, step: int, now: float) -> Job | None:
        """The job of a try of a step; None where it cannot be made: then a person is needed."""
        undo = self.state.nodes[node].undo
        attempt = 1 if undo is None else undo.attempt + 1
        assert self._undo is not None
        try:
            trial = self._undo.trial(node, step, attempt)
        except expr.ExpressionError as error:
            unknown = " (outcome unknown)" if self.state.nodes[node].unknown else ""
            self.record(ev.UndoFailed(time=now, node=node, step=step, reason="expression", error=f"{error}{unknown}"))
            return None
        self.record(ev.UndoStarted(time=now, node=node, step=step, attempt=attempt))
        self._trials[trial.job.id] = trial
        return trial.job

    def _tried(self, trial: Trial, completion: Completion, left: Leavings, now: float) -> None:
        """A step, or what is to prove that it worked, has ended."""
        undoing, node = self.state.undoing, trial.node
        assert undoing is not None
        reason, error = conclude_undo(trial.step, trial.names, completion, left)
        if reason and (node in undoing.stopping or reason == "low_disk"):
            self.record(ev.UndoInterrupted(time=now, node=node, step=trial.number))
        elif reason:
            problem = (reason, f"verify: {error}" if trial.verifies else error)
            code = completion.code if completion.ending is Ending.EXITED else None
            sees = {**trial.names(), "output": left.output, "exit_code": code, "error": error}
            self.record(undo_failed(self.state, node, trial.number, trial.retry, lambda: sees, problem, now))
        elif trial.then is not None:
            try:
                proof = trial.then()
            except expr.ExpressionError as problem:
                failed = f"verify: {problem}"
                self.record(ev.UndoFailed(time=now, node=node, step=trial.number, reason="expression", error=failed))
                return
            self._trials[proof.job.id] = proof
            self._submit(proof.job)
            if node in undoing.stopping:
                self._executor.cancel(proof.job.id)
        else:
            self.record(ev.UndoStepDone(time=now, node=node, step=trial.number, seconds=completion.seconds))

    def _planned(self, now: float, reason: str) -> ev.RunPlanned | None:
        return self._plot(self.state, now, reason) if self._plot else None

    def _keep(self) -> None:
        """One write and one sync for all events of the turn; only then may anything be done, or shown."""
        if not self._batch:
            return
        self._point("decided")
        if self._keeping is not None:
            # Before it is recorded: a success that was recorded and not kept would be done once more by a twin.
            self._keeping.keep()
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

    def _look(self, node: str, now: float) -> None:
        """Serve a kept result, else let the node wait for its turn."""
        try:
            found = self._keeping.look(node, now) if self._keeping is not None else None
        except expr.Unknown:  # a plan does not know
            found = None
        except expr.ExpressionError as error:
            self.record(self._not_made(node, now, error))
            return
        if found is None:
            self.state.looked(node)
            if self.state.nodes[node].waits:
                self.record(ev.NodeWaiting(time=now, node=node, holder=""))
        else:
            self._serve(node, found, now)

    def _serve(self, node: str, found: Served, now: float) -> None:
        self.record(
            ev.NodeServed(
                time=now, node=node, output=found.output, stored=found.stored, of=found.of, key=found.key,
                made=found.made,
            )
        )  # fmt: skip
        self._checkpoint(node, now)

    def _checkpoint(self, node: str, now: float) -> None:
        """The node has succeeded: where it says so, this is a place to come back to."""
        planned = self.plan.nodes[node]
        if planned.node.checkpoint is not None and (files := self._save(planned)) is not None:
            self.record(ev.CheckpointSaved(time=now, node=node, files=files))

    def _not_made(self, node: str, now: float, error: expr.ExpressionError) -> ev.NodeFailed:
        attempt = self.state.nodes[node].attempt + 1
        return ev.NodeFailed(time=now, node=node, attempt=attempt, reason="expression", error=str(error))

    def _release(self) -> bool:
        """Let others have the keys of nodes that have ended; whether nodes of this run have waited for one too."""
        for node in self._to_release:
            if self._keeping is not None:
                self._keeping.release(node)
        self._to_release = []
        look, self._twins_look = self._twins_look, False
        return look and self.state.look_again()

    def _set_aside(self, node: str, busy: Busy, now: float) -> None:
        """A start is a wish: another works on the key. It is told once for each who does."""
        run = self.state.nodes[node]
        if run.waits != busy.holder:
            self._warn(f"{node} waits for {busy.holder}, which works on the same key")
            self.record(ev.NodeWaiting(time=now, node=node, holder=busy.holder, key=busy.key))
        else:
            self.state.set_aside(node)

    def _start(self, node: str, now: float) -> Job | None:
        planned = self.plan.nodes[node]
        attempt, unsure = self.state.nodes[node].attempt + 1, self.state.nodes[node].unknown
        claimed = None
        try:
            job = self._prepare(planned, attempt)
            writes = self._writes(planned)
            frozen = self._undo.freeze(node) if self._undo is not None else None
            if planned.node.idempotency is not None and self._keeping is not None:
                claimed = self._keeping.claim(node, now, forced=self.state.is_forced(node))
        except expr.ExpressionError as error:
            self.record(self._not_made(node, now, error))
            return None
        if isinstance(claimed, Served):
            self._serve(node, claimed, now)
            return None
        if isinstance(claimed, Busy):
            self._set_aside(node, claimed, now)
            return None
        wants = {name: amount for name, amount in planned.demand if name in self.plan.shared}
        devices = self.state.budget.devices(planned.demand) if DEVICES not in wants else ()
        if wants and self._sharing is not None:
            lent = self._sharing.lend(node, wants)
            if isinstance(lent, str):
                if claimed is not None and self._keeping is not None:
                    self._keeping.release(node)
                self._refused(node, lent)
                return None
            devices = lent.get(DEVICES, devices)
        prepares = planned.node.prepares
        key, why = (claimed.key, claimed.why) if claimed is not None else ("", None)
        self.record(
            ev.NodeStarted(
                time=now, node=node, attempt=attempt, writes=writes, devices=devices, prepares=prepares, key=key,
                why=why, undo=frozen,
            )
        )  # fmt: skip
        if unsure:
            job = replace(job, unsure=True)
        return replace(job, devices=devices) if DEVICES in self.plan.budget else job

    def _refused(self, node: str, why: str) -> None:
        """A start is a wish: other runs hold what it asks for, nothing was written, and the node stays ready."""
        if not self.state.refused and why != self._told:
            self._warn(f"{node} {why}")
            self._told = why
        self.state.refuse(node)

    def _stand_in_line(self, now: float, until: float | None) -> float | None:
        """Be woken for the first that was refused. Until it has waited for `aging` other runs may pass it, as nobody
        can tell them how long it would take; the moment to ask again, if that is before `until`."""
        if self._sharing is None:
            return until
        state, first = self.state, next(iter(self.state.refused), None)
        if first is None or state.starts_nothing:
            self._sharing.stand_in_line(None, passable=True)
            return until
        wants = {name: amount for name, amount in self.plan.nodes[first].demand if name in self.plan.shared}
        patient = round(state.started + state.ready_moment(first) + self.plan.aging, 6)
        self._sharing.stand_in_line(wants, passable=now < patient)
        return until if now >= patient else patient if until is None else min(until, patient)

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
            if not evaluate_condition(planned.node.when, self._during.of(node)):
                return ev.NodeSkipped(time=now, node=node, reason="when")
        except expr.Unknown:  # a plan assumes that it will be true
            pass
        except expr.ExpressionError as error:
            return ev.NodeFailed(
                time=now, node=node, attempt=self.state.nodes[node].attempt, reason="expression", error=f"when: {error}"
            )
        if planned.holds:
            return self._opened(planned, now)
        return ev.NodeReady(time=now, node=node)

    def _opened(self, planned: Planned, now: float) -> ev.Event:
        """A node that holds others begins; the items of a `for_each` are found out where they are not known."""
        attempt = self.state.nodes[planned.id].attempt
        if not self.state.is_open_ended(planned):
            return ev.NodeOpened(time=now, node=planned.id)
        each = planned.node.each
        if each is None:
            wrong = self._during.given(planned.id, self._check)
            if not wrong:
                return ev.NodeOpened(time=now, node=planned.id)
            return ev.NodeFailed(time=now, node=planned.id, attempt=attempt, reason="expression", error=wrong)
        try:
            found = items_of(each.items, each.key, lambda: dict(self._during.seen_by(planned.id)))
            event = ev.NodeOpened(time=now, node=planned.id, items=[[item.key, item.value] for item in found])
            self.plan.planner.check_growth(self.plan, planned.id, found)
        except expr.Unknown:  # a plan counts the items of the last run, else one
            keys = self._assumed(planned.id)
            return ev.NodeOpened(time=now, node=planned.id, items=[[k, expr.UNKNOWN] for k in keys], assumed=True)
        except expr.ExpressionError as error:
            text = str(error)
            return ev.NodeFailed(time=now, node=planned.id, attempt=attempt, reason="expression", error=text)
        return event

    def _assumed(self, node: str) -> list[str]:
        return keys_of(self.plan.planner.request.estimates, node) or ["0"]

    def _ask(self, node: str, now: float) -> ev.Event:
        """The question of a node, or its end where that cannot be made."""
        planned = self.plan.nodes[node]
        attempt = self.state.nodes[node].attempt + 1
        try:
            said: Any = planned.node.body
            fields = question(said.fields["ask"], self._during.of(node))
        except expr.Unknown:  # a plan takes it to be answered at once
            return ev.NodeAsked(time=now, node=node, message="", choices=())
        except expr.ExpressionError as error:
            return ev.NodeFailed(time=now, node=node, attempt=attempt, reason="expression", error=str(error))
        until = None if fields.timeout is None else round(now + fields.timeout, 6)
        return ev.NodeAsked(time=now, node=node, message=fields.message, choices=fields.choices, until=until)

    def _end_transaction(self, node: str, attempt: int, commit: bool, now: float) -> Job | None:
        """The job that ends a prepared transaction; None where that cannot be made, which is recorded."""
        try:
            job = self._prepare_ending(self.plan.nodes[node], attempt, commit, self.state.commit_again)
        except expr.ExpressionError as error:
            self.record(self._not_ended(node, attempt, commit, str(error), now))
            return None
        self.state.end_asked(node, attempt)
        self._endings[job.id] = (attempt, commit)
        return job

    def _not_ended(self, node: str, attempt: int, commit: bool, why: str, now: float) -> ev.TransactionEnded:
        name = transaction_name(self.state.id, node, attempt)
        word, verb = ("committed", "COMMIT") if commit else ("rolled back", "ROLLBACK")
        error = f"the prepared transaction of {node} could not be {word} ({why}); by hand: {verb} PREPARED '{name}'"
        return ev.TransactionEnded(time=now, node=node, attempt=attempt, committed=commit, error=error)

    def _ended_transaction(self, job: Job, completion: Completion, left: Leavings, now: float) -> ev.TransactionEnded:
        attempt, commit = self._endings.pop(job.id)
        good = completion.ending is Ending.EXITED and completion.code == 0 and not left.failed and not left.error
        if good:
            return ev.TransactionEnded(time=now, node=job.node, attempt=attempt, committed=commit)
        why = left.failure or left.error or completion.error or str(completion.ending)
        return self._not_ended(job.node, attempt, commit, why, now)

    def _settle(self, status: RunStatus, now: float) -> ev.RunSettled:
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

    def _hear(self, now: float) -> None:
        """Take the answers that people have given."""
        for answer in self._answers() if self.state.asking else ():
            run = self.state.nodes.get(answer.node)
            if run is not None and answer.node in self.state.asking:
                self.record(answered(self.plan, self.state, self._during, answer, now))

    def _take(self, message: Message) -> None:
        now = self._now()
        if isinstance(message, Nudged):
            self._hear(now)
            return
        if isinstance(message, Signalled):
            self._signalled(message.number, now)
            return
        if isinstance(message, Paused):
            self.record(ev.RunPaused(time=now, seconds=round(message.seconds, 6)))
            return
        if isinstance(message, LowDisk):
            self.record(ev.RunHalted(time=now, reason="low_disk", error=message.error))
            return
        if isinstance(message, Woken):
            if self._sharing is not None:
                self._sharing.woken()
            if self._keeping is not None:
                self._keeping.woken()
            self.state.ask_again()
            self.state.look_again()
            return
        job = self._jobs.pop(message.job_id)
        left = self._collect(job, message)
        self._point("completed")
        if job.id in self._endings:
            self.record(self._ended_transaction(job, message, left, now))
            return
        if (trial := self._trials.pop(job.id, None)) is not None:
            self._tried(trial, message, left, now)
            return
        end = conclude(self.plan, self.state, self._during, job.node, message, left, now)
        if isinstance(end, ev.AttemptEnded) and self._undo is not None:
            end = replace(end, wrote=self._undo.wrote(job.node))
        if self.state.nodes[job.node].key and self._keeping is not None:
            self._twins_look = True
            if self._keeping.ended(end):
                self._to_release.append(job.node)
        self.record(end)
        if isinstance(end, ev.NodeSucceeded):
            self._checkpoint(job.node, now)
        if self._sharing is not None and self._sharing.give_back(job.node):
            self.state.ask_again()
