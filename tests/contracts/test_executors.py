"""Every executor keeps the contract. A new one adds its class here, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.contracts.executor import Bench, ExecutorContract
from wfctl.executors.local import LocalExecutor
from wfctl.executors.simulated import SimulatedExecutor
from wfctl.jobs import Completion, Ending, Job


class SystemClock:
    def now(self) -> float:
        return time.time()


class TestLocal(ExecutorContract):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        def job(job_id: str, *argv: str) -> Job:
            return Job(id=job_id, node=job_id, attempt=1, argv=argv)

        clock = SystemClock()
        with LocalExecutor(clock, root=".", environ={"PATH": "/usr/bin:/bin"}, grace=5) as executor:
            yield Bench(
                executor=executor,
                clock=clock,
                quick=lambda job_id: job(job_id, "true"),
                endless=lambda job_id: job(job_id, "sleep", "1000"),
                impossible=lambda job_id: job(job_id, "no-such-program"),
            )


class TestSimulated(ExecutorContract):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        def job(job_id: str, seconds: float) -> Job:
            return Job(id=job_id, node=job_id, attempt=1, estimate=seconds)

        def outcome(job: Job) -> Completion:
            if job.estimate < 0:
                return Completion(job_id=job.id, ending=Ending.NOT_STARTED, error="as was asked for")
            return Completion(job_id=job.id, ending=Ending.EXITED, code=0, seconds=job.estimate)

        executor = SimulatedExecutor(start=1_000.0, outcome=outcome)
        yield Bench(
            executor=executor,
            clock=executor,
            quick=lambda job_id: job(job_id, 0.01),
            endless=lambda job_id: job(job_id, 1e9),
            impossible=lambda job_id: job(job_id, -1),
        )
        executor.close()

    @pytest.mark.parametrize("until", [1000.35, 1000.3500000004, 1000.3499999996])
    def test_who_waited_until_a_moment_finds_it_over_in_whole_microseconds(self, bench: Bench, until: float) -> None:
        """As the engine reads the clock: else it would ask for that moment again, for ever."""
        bench.executor.wait(until)
        assert until <= round(bench.clock.now(), 6) == bench.clock.now() <= until + 1e-6
