"""What every Python kind must do: subclass `KindContract` with a `samples` fixture and the tests below are yours.

Knows no kind: it is handed what to write in a node of it. Each test is performed in every way that there is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import processes
from tests.helpers.simulate import Memory
from tests.helpers.space import SystemClock
from wfctl import events as ev
from wfctl import planner as planning
from wfctl import plugins, spec
from wfctl.attempt import Attempts
from wfctl.decide import Leavings
from wfctl.driver import places
from wfctl.engine import Engine
from wfctl.executors.local import LocalExecutor
from wfctl.jobs import Completion, Ending, Job
from wfctl.plan import Request
from wfctl.result import TOO_LARGE
from wfctl.scope import During
from wfctl.secrets import Secrets
from wfctl.state import RunState
from wfctl.store import RunFolder

WAYS: Mapping[str, Mapping[str, Any]] = {
    # what the executor is told besides
    "process": {},
    "thread": {"in_place": plugins.in_place},
}
"""The ways to perform a task. Those but `process` are for kinds that are `in_place`."""

SECRET = "hunter2hunter"
DEADLINE = 30.0  # seconds within which anything awaited here must have happened

FOREIGN = {
    "closed quote": '"; touch pwned; #',
    "substitution": "$(touch pwned)",
    "backticks": "`touch pwned`",
    "newline": "a\ntouch pwned\n",
    "sql": "'; DROP TABLE x; --",
    "dash": "-rf",
    "star": "*",
    "variable": "${HOME} $HOME %HOME%",
    "expression": "${{ run.id }}",
    "format": "{0} {x} %s %(x)s",
    "python": "__import__('os').system('touch pwned')",
    "blanks": "  a \t b  ",
    "empty": "",
    "backslash": "\\ \\n \\u0041",
    "slashes": "../../pwned",
    "address": "?a=b&c=d#e @ :80 //pwned",
    "header": "a\r\nX-Pwned: 1",
    "template": "<script>alert(1)</script> {{ x }} [link=x]",
    "letters": "é😀\u202e",
}
"""What an upstream node may have said."""

Node = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What stands in a node of the kind, for each thing that it can do; None for what no such node can do."""

    succeeds: tuple[Node, Any]
    """It ends at once, with that output."""
    fails: tuple[Node, str, str]
    """It fails at once, with that reason, and that in its error."""
    endless: tuple[Node, Callable[[], bool]] | None = None
    """It never ends, unless it is told to; and whether it has begun."""
    stubborn: tuple[Node, Callable[[], bool]] | None = None
    """It does not even end when it is told to."""
    large: Node | None = None
    """Its output has more than 16 MiB."""
    impossible: tuple[Node, str] | None = None
    """It cannot be started, and that is in its error."""
    echo: Callable[[str], Node] | None = None
    """For a text such as `${{ params.x }}`: a node whose output tells it again."""
    heard: Callable[[Any], Any] = lambda output: output
    """How that is read out of the output of `echo`."""
    tells: Node | None = None
    """The secret T is in its output."""
    complains: Node | None = None
    """The secret T is in its error."""
    prints: Node | None = None
    """The secret T is in its log."""


@dataclass
class Ran:
    """What became of a node: the events of the run, and the jobs of its attempts."""

    events: list[ev.Event]
    jobs: list[Job]

    @property
    def end(self) -> Any:
        [end] = [e for e in self.events if isinstance(e, (ev.NodeSucceeded, ev.NodeFailed, ev.NodeCancelled))]
        return end


@dataclass
class Bench:
    """One way to perform nodes of a kind, in a run of its own that stands in `root`."""

    root: Path
    run_folder: RunFolder
    executor: LocalExecutor
    secrets: Secrets

    def prepared(self, nodes: Mapping[str, Node], **params: Any) -> tuple[RunState, During, Attempts]:
        data = {
            "version": 1,
            "secrets": ["T"],
            "params": {name: {} for name in params},
            "nodes": dict(nodes),
        }
        workflow, problems = spec.build(data, "flow", plugins.kind)
        plan, more = planning.build(workflow, Request(cores=2, run_id="r", folder=str(self.root), params=params))
        assert not problems + more, problems + more
        state = RunState(plan)
        during = During(plan, state)
        return state, during, Attempts(plan, during, plugins.kind, places(self.run_folder), lambda: None)

    def all_jobs(self, nodes: Mapping[str, Node], **params: Any) -> list[Job]:
        """The first attempts of nodes, with what a param holds already filled in."""
        state, _, attempts = self.prepared(nodes, **params)
        return [attempts.job(planned, 1) for planned in state.plan.nodes.values()]

    def job(self, node: Node) -> Job:
        [job] = self.all_jobs({"a": node})
        return job

    def ended(self, count: int = 1) -> list[Completion]:
        limit = time.time() + DEADLINE
        told: list[Completion] = []
        while len(told) < count:
            assert time.time() < limit, f"told only {told}"
            told += [message for message in self.executor.wait(limit) if isinstance(message, Completion)]
        return told

    def perform(self, job: Job) -> tuple[Completion, Leavings]:
        self.executor.submit(job)
        [completion] = self.ended()
        return completion, self.secrets.collect(job, completion)

    def run(self, node: Node) -> Ran:
        """The node in a run with a real engine."""
        state, during, attempts = self.prepared({"a": node})
        jobs: list[Job] = []

        def prepare(planned: Any, attempt: int) -> Job:
            jobs.append(attempts.job(planned, attempt))
            return jobs[-1]

        journal = Memory()
        engine = Engine(
            state, journal=journal, executor=self.executor, clock=SystemClock(), during=during,
            prepare=prepare, collect=self.secrets.collect,
        )  # fmt: skip
        engine.record(
            ev.RunStarted(time=time.time(), run="r", workflow="flow", file="f", digest="", definition="", request={})
        )
        engine.run()
        return Ran([ev.from_data(data) for data in journal.kept], jobs)

    def until(self, fact: Callable[[], bool]) -> None:
        limit = time.monotonic() + DEADLINE
        while not fact():
            assert time.monotonic() < limit, "it never came to that"
            self.executor.wait(time.time() + 0.01)

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.run_folder.logs.iterdir()))

    def left(self) -> dict[str, bytes]:
        """All files of the run, by name."""
        return {str(p): p.read_bytes() for p in self.run_folder.path.rglob("*") if p.is_file()}


@contextmanager
def open_bench(root: Path, grace: float, **more: Any) -> Iterator[Bench]:
    """A bench that stands in `root`, where the process must stand too; its run has its folder beside that."""
    folder = RunFolder("r", root.parent / "state" / "runs" / "r")
    folder.path.mkdir(parents=True)
    folder.make_folders()
    secrets = {"T": SECRET}
    executor = LocalExecutor(
        SystemClock(), root=str(root), environ=os.environ, grace=grace, nonce="0123456789abcdef", secrets=secrets,
        **more,
    )  # fmt: skip
    with executor:
        yield Bench(root, folder, executor, Secrets(secrets))


class KindContract:
    """The rules. The `samples` fixture of a subclass may write files to `root`, and start what it needs."""

    name: str

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "root").mkdir()
        return tmp_path / "root"

    @pytest.fixture
    def samples(self, root: Path) -> Samples:
        raise NotImplementedError

    @pytest.fixture(params=WAYS)
    def way(self, request: pytest.FixtureRequest) -> str:
        if request.param != "process" and plugins.in_place(self.name) is None:
            pytest.skip("this kind is always performed by a process of its own")
        return str(request.param)

    @pytest.fixture
    def grace(self) -> float:
        """Longer than any test, but where one asks for less."""
        return 1000.0

    @pytest.fixture
    def bench(
        self, root: Path, tmp_path: Path, way: str, grace: float, default_signals: None, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Bench]:
        monkeypatch.chdir(root)  # as the engine does
        with open_bench(root, grace, **WAYS[way]) as bench:
            yield bench
        assert processes.of_folder(tmp_path) == []

    # -- how it ends

    def test_success_is_told_with_its_output(self, bench: Bench, samples: Samples) -> None:
        node, output = samples.succeeds
        completion, left = bench.perform(bench.job(node))
        assert (completion.ending, completion.code) == (Ending.EXITED, 0)
        assert (left.output, left.failed, left.error) == (output, "", "")

    def test_failure_is_told_with_its_reason_and_a_short_error(self, bench: Bench, samples: Samples) -> None:
        node, reason, error = samples.fails
        end = bench.run(node).end
        assert isinstance(end, ev.NodeFailed)
        assert end.reason == reason
        assert error in end.error
        assert len(end.error) <= 2_000

    def test_what_cannot_be_started_is_no_failure_of_the_work_and_is_not_tried_again(
        self, bench: Bench, samples: Samples
    ) -> None:
        if samples.impossible is None:
            pytest.skip("a node of this kind can always begin")
        node, error = samples.impossible
        ran = bench.run({**node, "retry": {"attempts": 3, "delay": 0}})
        assert (ran.end.reason, ran.end.unknown) == ("not_started", False)
        assert error in ran.end.error
        assert len(ran.jobs) == 1

    def test_the_next_attempt_has_a_number_of_its_own_and_the_same_key(self, bench: Bench, samples: Samples) -> None:
        node = samples.fails[0]
        ran = bench.run({**node, "retry": {"attempts": 2, "delay": 0}})
        assert [job.attempt for job in ran.jobs] == [1, 2]
        assert len({job.task.key for job in ran.jobs if job.task}) == 1
        assert [type(e).__name__ for e in ran.events if "Retrying" in type(e).__name__] == ["NodeRetrying"]

    def test_a_timeout_ends_it_and_nothing_is_left(self, bench: Bench, samples: Samples) -> None:
        if samples.endless is None:
            pytest.skip("a node of this kind always ends")
        end = bench.run({**samples.endless[0], "timeout": 0.5}).end
        assert isinstance(end, ev.NodeFailed)
        assert (end.timed_out, end.unknown) == (True, True)
        assert processes.of_folder(bench.root) == []

    def test_to_cancel_ends_it_before_its_grace_is_over(self, bench: Bench, samples: Samples) -> None:
        if samples.endless is None:
            pytest.skip("a node of this kind always ends")
        node, begun = samples.endless
        job = bench.job(node)
        bench.executor.submit(job)
        bench.until(begun)
        bench.executor.cancel(job.id)
        [completion] = bench.ended()
        assert (completion.ending, completion.code) != (Ending.EXITED, 0)
        assert bench.secrets.collect(job, completion).output is None
        assert processes.of_folder(bench.root) == []

    @pytest.mark.parametrize("grace", [0.1])
    def test_what_does_not_end_when_it_is_told_to_is_ended(self, bench: Bench, samples: Samples) -> None:
        if samples.stubborn is None:
            pytest.skip("a node of this kind always ends when it is told to")
        node, begun = samples.stubborn
        job = bench.job(node)
        bench.executor.submit(job)
        bench.until(begun)
        bench.executor.cancel(job.id)
        [completion] = bench.ended()
        assert (completion.ending, completion.code) == (Ending.KILLED, 9)
        assert processes.of_folder(bench.root) == []

    def test_to_kill_ends_it_at_once(self, bench: Bench, samples: Samples) -> None:
        if samples.endless is None:
            pytest.skip("a node of this kind always ends")
        node, begun = samples.endless
        bench.executor.submit(bench.job(node))
        bench.until(begun)
        bench.executor.kill()
        [completion] = bench.ended()
        assert completion.ending is Ending.KILLED

    # -- what it leaves

    def test_an_output_over_the_limit_fails_it_with_the_way_out(self, bench: Bench, samples: Samples) -> None:
        if samples.large is None:
            pytest.skip("the output of this kind is always small")
        end = bench.run(samples.large).end
        assert (end.reason, end.error.partition(";")[0], end.unknown) == ("output", TOO_LARGE.partition(";")[0], True)
        assert sum(map(len, bench.left().values())) < 1024 * 1024

    def test_no_result_stays_behind(self, bench: Bench, samples: Samples) -> None:
        bench.perform(bench.job(samples.succeeds[0]))
        assert [path.name for path in bench.run_folder.outputs.iterdir()] == []

    # -- secrets

    @pytest.mark.parametrize("says", ["tells", "complains", "prints"])
    def test_a_secret_is_in_nothing_that_is_kept(self, bench: Bench, samples: Samples, says: str) -> None:
        node = getattr(samples, says)
        if node is None:
            pytest.skip("a node of this kind has no such place")
        ran = bench.run(node)
        assert SECRET not in repr(ran.jobs)
        assert SECRET not in repr(ran.events)
        assert not [name for name, content in bench.left().items() if SECRET.encode() in content]
        if says == "tells":
            assert ran.end.reason == "secret"
            assert '"T"' in ran.end.error
        elif says == "complains":
            assert "*" * len(SECRET) in ran.end.error
        else:
            assert "*" * len(SECRET) in bench.log()

    # -- foreign text

    def test_what_an_upstream_node_said_stays_data(self, bench: Bench, samples: Samples) -> None:
        if samples.echo is None:
            pytest.skip("a node of this kind tells nothing again")
        nodes = {f"n{i}": samples.echo(f"${{{{ params.said[{i}] }}}}") for i in range(len(FOREIGN))}
        jobs = bench.all_jobs(nodes, said=list(FOREIGN.values()))
        for job in jobs:
            bench.executor.submit(job)
        ended = {completion.job_id: completion for completion in bench.ended(len(jobs))}
        said = {}
        for job, name in zip(jobs, FOREIGN, strict=True):
            left = bench.secrets.collect(job, ended[job.id])
            said[name] = left.failure or left.error or samples.heard(left.output)
        assert said == FOREIGN
        assert not list(bench.root.parent.rglob("*pwned*"))
