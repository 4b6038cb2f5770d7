"""Nodes that print, ask and run without measure: the run holds its limits, and what is shown is harmless.

Knows nothing of what is inside the command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHILD, Command
from tests.e2e.conftest import Flow, Start, Status, Until, environ
from tests.helpers.processes import peak_megabytes, processor_seconds

pytestmark = pytest.mark.usefixtures("unharmed")

MIB = 1024 * 1024


# -- logs


@pytest.mark.parametrize("stream", ["", ", stdout: text"], ids=["log", "standard output"])
def test_a_node_that_prints_without_end_is_stopped_and_its_log_is_whole_up_to_the_limit(
    stream: str, flow: Flow, start: Start, until: Until, tmp_path: Path, status: Status
) -> None:
    name = flow(f"""
        log_limit: 20MiB
        on_failure: continue
        nodes:
          floods: {{run: "yes 'It goes on and on, at some gigabytes a second.'"{stream}}}
          other: {{run: 'sleep 0.3; echo fine'}}
    """)
    run = start("run", name)
    peak = 0.0
    while run.poll() is None:
        peak = max(peak, peak_megabytes(run.pid))
        time.sleep(0.01)
    assert run.returncode == 1
    shown = status()
    assert (shown["nodes"]["floods"]["state"], shown["nodes"]["floods"]["reason"]) == ("failed", "log_limit")
    assert (shown["nodes"]["floods"]["outcome"], shown["nodes"]["other"]["state"]) == ("unknown", "succeeded")
    assert "20MiB" in shown["nodes"]["floods"]["error"].replace(" ", "")
    (log,) = (tmp_path / f".wfctl/runs/{shown['id']}/logs").glob("floods.1.*" if not stream else "floods.1.out")
    line = b"It goes on and on, at some gigabytes a second.\n"
    assert log.read_bytes() == (line * (20 * MIB // len(line) + 1))[: 20 * MIB]
    assert 0 < peak < 200


def test_a_large_log_within_its_limit_is_kept_byte_by_byte(
    flow: Flow, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    ended = wfctl("run", flow(f"log_limit: 30MB\nnodes: {{a: {{run: {CHILD} flood=29999999}}}}"))
    assert ended.returncode == 0, ended.stderr
    block = b"\xff\x00\x1b[31m"
    log = (tmp_path / ".wfctl/runs" / status()["id"] / status()["nodes"]["a"]["log"]).read_bytes()
    assert log == (block * (30_000_000 // len(block) + 1))[:29_999_999]


# No newline, no UTF-8, NUL, what clears and titles a terminal, asks it to answer, sets its clipboard, turns text round.
HARMFUL = (
    b"no newline \xff\xfe\xc3( NUL \x00 BEL \x07 clear \x1b[2J\x1b[H title \x1b]0;pwned\x07 answer \x1b[6n\x9b6n"
    b" \xc2\x9b6n clipboard \x1b]52;c;cHduZWQ=\x07 back \b\b\b\r over \xe2\x80\xae round \xe2\x81\xa6 \xe2\x80\xa8"
    b" [/bin/sh] [link=x]y[/link] <script>alert(1)</script>"
)
PLAIN = [
    "no newline",
    "clear",
    "title",
    "pwned",
    "clipboard",
    "[/bin/sh]",
    "[link=x]y[/link]",
    "<script>alert(1)</script>",
]
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def harmful(tmp_path: Path, flow: Flow) -> str:
    """A workflow whose one node prints what no terminal must be given, and fails."""
    (tmp_path / "bytes").write_bytes(HARMFUL)
    return flow("nodes: {a: {run: cat bytes; exit 1}}")


def test_foreign_bytes_are_kept_as_they_are_and_shown_whole_and_harmless(
    harmful: str, wfctl: Command, tmp_path: Path, status: Status
) -> None:
    ended = wfctl("run", harmful)
    assert ended.returncode == 1
    shown = wfctl("logs", "last", "a").stdout
    every = wfctl("logs", "last").stdout
    for text in (ended.stderr, shown, every, wfctl("status", "last").stdout):
        assert not CONTROL.search(text), repr(CONTROL.search(text))
    for text in (ended.stderr, shown, every):
        assert [part for part in PLAIN if part not in text] == []
    run = tmp_path / ".wfctl/runs" / status()["id"]
    assert (run / status()["nodes"]["a"]["log"]).read_bytes() == HARMFUL
    raw = subprocess.run(
        [sys.executable, "-m", "wfctl", "logs", "last", "a", "--raw"],
        env=environ(tmp_path),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert raw.stdout == HARMFUL


# -- many, and few of what they need


def test_two_hundred_nodes_at_once_share_64_descriptors(
    flow: Flow, start: Start, status: Status, tmp_path: Path
) -> None:
    nodes = "".join(f"\n          n{i}: {{run: 'echo {i} >> ledger; sleep 0.05'}}" for i in range(200))
    run = start("run", flow(f"""
        nodes:{nodes}
    """), "-j", "200", through=["bash", "-c", 'ulimit -n 64; exec "$@"', "-"])  # fmt: skip
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 0, said[-2000:]
    assert sorted(map(int, (tmp_path / "ledger").read_text().split())) == list(range(200))


@pytest.fixture
def few_processes() -> Iterator[list[str]]:
    """The words that start a program which may have twenty processes, itself and all below it counted."""
    group = Path(f"/sys/fs/cgroup/pids/of-a-test-{os.getpid()}")
    if not group.parent.is_dir():
        group = Path(f"/sys/fs/cgroup/of-a-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no group with a limit of processes can be made here: it needs root")
    try:
        if not (group / "pids.max").exists():
            pytest.skip("processes cannot be limited here")
        (group / "pids.max").write_text("20")
        yield ["bash", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "-"]
    finally:
        group.rmdir()


def test_where_processes_are_scarce_nodes_wait_for_each_other(
    few_processes: list[str], flow: Flow, start: Start, tmp_path: Path
) -> None:
    nodes = "".join(f"\n          n{i}: {{run: [sh, -c, 'echo {i} >> ledger; exec sleep 0.1']}}" for i in range(60))
    run = start("run", flow(f"""
        nodes:{nodes}
    """), "-j", "60", through=few_processes)  # fmt: skip
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 0, said[-2000:]
    assert sorted(map(int, (tmp_path / "ledger").read_text().split())) == list(range(60))


def test_an_idle_engine_uses_next_to_nothing(flow: Flow, start: Start, until: Until, tmp_path: Path) -> None:
    nodes = "".join(f"\n          n{i}: {{run: 'touch began.{i}; exec sleep 60'}}" for i in range(8))
    run = start("run", flow(f"""
        nodes:{nodes}
    """), "-j", "8")  # fmt: skip
    until(lambda: len(list(tmp_path.glob("began.*"))) == 8, "all run")
    time.sleep(0.3)
    before = processor_seconds(run.pid)
    time.sleep(1.5)
    assert processor_seconds(run.pid) - before <= 0.02, "10 ms a second, in steps of 10 ms"
    assert peak_megabytes(run.pid) < 100


# -- limits of time


def test_timeouts_with_retries_keep_the_bound_that_they_add_up_to(flow: Flow, wfctl: Command, status: Status) -> None:
    name = flow(f"""
        grace: 100ms
        nodes:
          a:
            run: {CHILD} ignore=TERM fork=near double=far hang
            timeout: 200ms
            retry: {{attempts: 3, delay: 100ms}}
    """)
    before = time.monotonic()
    assert wfctl("run", name).returncode == 1
    assert time.monotonic() - before < 3 * (0.2 + 0.1) + 2 * 0.1 + 2
    node = status()["nodes"]["a"]
    assert (node["state"], node["attempts"], node["outcome"]) == ("timed_out", 3, "unknown")


def test_the_timeout_of_the_run_bounds_all_retries(flow: Flow, wfctl: Command, status: Status) -> None:
    name = flow("""
        timeout: 500ms
        grace: 100ms
        nodes:
          a: {run: sleep 0.2; exit 1, retry: {attempts: 1000, delay: 10ms}}
          b: {run: 'trap "" TERM; sleep 60 & wait; wait', timeout: 60s}
    """)
    before = time.monotonic()
    assert wfctl("run", name).returncode == 1
    assert time.monotonic() - before < 0.5 + 0.1 + 2
    assert status()["nodes"]["b"]["state"] == "cancelled"


# -- out of memory


@pytest.fixture
def little_memory() -> Iterator[str]:
    """What a node does first to have 20 MB at most, before the kernel kills it. Skips where that cannot be had."""
    group = Path(f"/sys/fs/cgroup/memory/of-a-test-{os.getpid()}")
    if not Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists():
        group = Path(f"/sys/fs/cgroup/of-a-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no group with a limit of memory can be made here: it needs root and a memory controller")
    try:
        limit = next(
            (group / name for name in ("memory.limit_in_bytes", "memory.max") if (group / name).exists()), None
        )
        if limit is None:
            pytest.skip("there is no memory controller here")
        limit.write_text("20000000")
        yield f"echo $$ > {group}/cgroup.procs"
    finally:
        group.rmdir()


def test_a_node_that_ran_out_of_memory_says_so(little_memory: str, flow: Flow, wfctl: Command, status: Status) -> None:
    name = flow(f"""
        nodes:
          a: {{run: '{little_memory}; exec {sys.executable} -c "bytearray(200_000_000)"'}}
          b: {{run: kill -9 $$}}
        on_failure: continue
    """)
    ended = wfctl("run", name)
    assert ended.returncode == 1
    out, killed = (status()["nodes"][node] for node in "ab")
    assert (out["reason"], out["outcome"]) == ("killed", "unknown")
    assert "memory" in out["error"], out["error"]
    assert "SIGKILL" in killed["error"]
    assert "memory" in ended.stderr
