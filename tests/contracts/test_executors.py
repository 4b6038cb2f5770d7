"""Every executor keeps the contract. A new one adds its class here, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.contracts.executor import Bench, ExecutorContract
from wfctl.executors.local import LocalExecutor
from wfctl.executors.simulated import SimulatedExecutor
from wfctl.jobs import Completion, Ending, Job, PythonKind, Result, Task, Tools


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


class InPlace:
    """A kind whose tasks end at once, or when they are told to."""

    in_place = True

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        stopped = threading.Event()
        tools.when_stopped(stopped.set)
        return Result(reason="stopped") if fields["endless"] and stopped.wait() else Result()


class TestLocalInThreads(ExecutorContract):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        def job(job_id: str, endless: bool = False, **more: Any) -> Job:
            return Job(id=job_id, node=job_id, attempt=1, task=Task(kind="test", fields={"endless": endless}), **more)

        clock = SystemClock()
        kinds: dict[str, PythonKind] = {"test": InPlace()}  # type: ignore[dict-item]
        with LocalExecutor(clock, root=".", environ={}, grace=5, in_place=kinds.get) as executor:
            yield Bench(
                executor=executor,
                clock=clock,
                quick=job,
                endless=lambda job_id: job(job_id, endless=True),
                impossible=lambda job_id: job(job_id, cwd="no-such-folder"),
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
