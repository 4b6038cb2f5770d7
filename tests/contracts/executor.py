"""What every executor must do: subclass `ExecutorContract` with a `bench` fixture and the tests below are yours.

Knows no executor: it is handed one, with jobs that suit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from wfctl.jobs import Clock, Completion, Ending, Executor, Job, Message

LONG = 60.0     # seconds of the executor's clock, within which anything awaited here must happen


@dataclass(frozen=True, kw_only=True)
class Bench:
    """An executor under test, and jobs for it by id: one that ends with 0 at once, one that ends only when told to,
    one that can never start."""

    executor: Executor
    clock: Clock
    quick: Callable[[str], Job]
    endless: Callable[[str], Job]
    impossible: Callable[[str], Job]

    def messages(self, count: int) -> list[Message]:
        """The next `count` messages; fails when they do not come."""
        limit = self.clock.now() + LONG
        told: list[Message] = []
        while len(told) < count:
            assert self.clock.now() < limit, f"told only {told}"
            told += self.executor.wait(limit)
        return told

    def completions(self, count: int) -> dict[str, Completion]:
        told = [m for m in self.messages(count) if isinstance(m, Completion)]
        assert len({c.job_id for c in told}) == count, f"told twice: {told}"
        return {c.job_id: c for c in told}

    def is_silent(self) -> bool:
        """Nothing more is told in a moment that is long against what was under way."""
        return not self.executor.wait(self.clock.now() + 0.05)


class ExecutorContract:
    """The rules. The `bench` fixture of a subclass opens the executor and closes it."""

    @pytest.fixture
    def bench(self) -> Bench:
        raise NotImplementedError

    def test_a_job_is_told_exactly_once(self, bench: Bench) -> None:
        bench.executor.submit(bench.quick("r/a/1"))
        [completion] = bench.messages(1)
        assert isinstance(completion, Completion)
        assert (completion.job_id, completion.ending, completion.code) == ("r/a/1", Ending.EXITED, 0)
        assert completion.seconds >= 0
        assert bench.is_silent()

    def test_each_of_many_jobs_is_told_exactly_once(self, bench: Bench) -> None:
        ids = {f"r/score[{n}]/1" for n in range(50)}
        for job_id in ids:
            bench.executor.submit(bench.quick(job_id))
        assert bench.completions(50).keys() == ids
        assert bench.is_silent()

    def test_jobs_may_be_submitted_while_others_run(self, bench: Bench) -> None:
        bench.executor.submit(bench.endless("r/long/1"))
        for n in range(5):
            bench.executor.submit(bench.quick(f"r/short/{n}"))
            assert bench.completions(1).keys() == {f"r/short/{n}"}

    @pytest.mark.parametrize("job_id", ["r/test[3.11,linux]/2", "r/a b/1", "r/größe/1", "r/sample[S/1].align/10"])
    def test_a_job_is_told_by_its_own_id(self, bench: Bench, job_id: str) -> None:
        bench.executor.submit(bench.quick(job_id))
        assert bench.completions(1).keys() == {job_id}

    def test_wait_returns_by_then_when_nothing_happens(self, bench: Bench) -> None:
        bench.executor.submit(bench.endless("r/a/1"))
        then = bench.clock.now() + 0.02
        assert not bench.executor.wait(then)
        assert bench.clock.now() >= then

    def test_wait_without_jobs_returns_by_then(self, bench: Bench) -> None:
        then = bench.clock.now() + 0.02
        assert not bench.executor.wait(then)
        assert bench.clock.now() >= then

    def test_wait_for_a_moment_that_is_past_returns_at_once(self, bench: Bench) -> None:
        bench.executor.submit(bench.endless("r/a/1"))
        before = bench.clock.now()
        assert not bench.executor.wait(before - 1)
        assert bench.clock.now() - before < LONG

    def test_wait_without_a_limit_returns_what_happened(self, bench: Bench) -> None:
        bench.executor.submit(bench.quick("r/a/1"))
        assert [m.job_id for m in bench.executor.wait(None) if isinstance(m, Completion)] == ["r/a/1"]

    def test_a_cancelled_job_is_told_with_its_true_ending(self, bench: Bench) -> None:
        bench.executor.submit(bench.endless("r/a/1"))
        bench.executor.cancel("r/a/1")
        assert bench.completions(1)["r/a/1"].ending in (Ending.KILLED, Ending.EXITED)
        assert bench.is_silent()

    def test_cancelling_one_job_leaves_the_others_alone(self, bench: Bench) -> None:
        bench.executor.submit(bench.endless("r/a/1"))
        bench.executor.submit(bench.endless("r/b/1"))
        bench.executor.cancel("r/b/1")
        assert bench.completions(1).keys() == {"r/b/1"}
        assert bench.is_silent()

    def test_cancelling_twice_tells_once(self, bench: Bench) -> None:
        bench.executor.submit(bench.endless("r/a/1"))
        bench.executor.cancel("r/a/1")
        bench.executor.cancel("r/a/1")
        bench.completions(1)
        assert bench.is_silent()

    def test_cancelling_a_job_that_has_ended_or_never_was_does_nothing(self, bench: Bench) -> None:
        bench.executor.submit(bench.quick("r/a/1"))
        bench.completions(1)
        bench.executor.cancel("r/a/1")
        bench.executor.cancel("r/never/1")
        assert bench.is_silent()

    def test_kill_ends_all_jobs_and_tells_each(self, bench: Bench) -> None:
        for n in range(5):
            bench.executor.submit(bench.endless(f"r/a/{n}"))
        bench.executor.cancel("r/a/0")
        bench.executor.kill()
        told = bench.completions(5)
        assert {told[f"r/a/{n}"].ending for n in range(1, 5)} == {Ending.KILLED}
        assert bench.is_silent()

    def test_a_job_that_cannot_start_is_told_and_does_not_raise(self, bench: Bench) -> None:
        bench.executor.submit(bench.impossible("r/a/1"))
        told = bench.completions(1)["r/a/1"]
        assert (told.ending, told.code) == (Ending.NOT_STARTED, None)
        assert told.error

    def test_close_ends_what_runs_and_may_be_said_twice(self, bench: Bench) -> None:
        bench.executor.submit(bench.endless("r/a/1"))
        bench.executor.close()
        bench.executor.close()
