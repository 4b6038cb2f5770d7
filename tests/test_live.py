"""The live view, as it stands on the screen of a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.helpers.replay import show, turns
from tests.helpers.simulate import Simulated, flow, simulate
from tests.helpers.terminal import Terminal
from wfctl import events as ev
from wfctl.jobs import Paused
from wfctl.renderers.live import FEW, Live
from wfctl.state import RunState


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def live(terminal: Terminal, clock: Clock | None = None, log: list[str] | None = None, **keys: Any) -> Live:
    """A live view that is drawn when it is told to."""
    return Live(terminal.write, lambda node, attempt: log or [], size=terminal.size, clock=clock or Clock(), **keys)


def screen(run: Simulated, terminal: Terminal, until: str = "", later: float = 0.0, **keys: Any) -> list[str]:
    """What is on the screen when the event `until` has come, and some seconds later."""
    clock = Clock()
    view = live(terminal, clock, **keys)
    show(run, view, until)
    view.draw()
    clock.now += later
    view.draw()
    return terminal.text.splitlines()


WIDE = flow({"long": {"estimate": 20.0}, "quick": {"estimate": 2.0}, "last": ["long", "quick"]})


def test_what_ended_stands_above_a_bar_counts_and_what_runs() -> None:
    run = simulate(WIDE)
    assert screen(run, Terminal(), until="node_succeeded", later=3.0) == [
        "[1/3] ✓ quick  2.0s",
        "━━━━━━━━━━━━━─────────────────────────── 1/3",
        "5s · 1 running · 1 to go · 1 succeeded",
        "slots 1/4",
        "  ▶ long  5s of 20s",
    ]


def test_the_bar_tells_the_time_left_when_the_plan_knows_it() -> None:
    run = simulate(flow({"a": {"estimate": 90.0}, "b": {"estimate": 30.0, "needs": ["a"]}}))
    assert screen(run, Terminal(), until="node_started")[0].endswith(" 0/2  about 2m 00s left")
    assert screen(run, Terminal(columns=40), until="node_started")[0].endswith(" 0/2  2m 00s left")


def test_colour_and_unicode_are_left_out_where_the_terminal_has_none() -> None:
    shown = screen(simulate(WIDE), Terminal(), until="node_succeeded", later=3.0, unicode=False)
    assert shown[1:] == [
        "#############--------------------------- 1/3",
        "5s, 1 running, 1 to go, 1 succeeded",
        "slots 1/4",
        "  > long  5s of 20s",
    ]


def test_a_node_between_two_attempts_says_when_it_goes_on() -> None:
    run = simulate(flow({"a": {"retry": {"attempts": 2, "delay": 30.0, "jitter": False}}}), fails={"a": [1, 0]})
    assert screen(run, Terminal(), until="node_retrying", later=10.0)[-1] == "  ↻ a  again in 20s"


def test_what_is_in_use_of_each_budget_that_nodes_ask_for_is_told() -> None:
    node = {"estimate": 9.0, "resources": {"gpu": 1, "cpu": 1.5, "memory": 3 * 1024**3}}
    budgets = {"gpu": 2, "cpu": 4, "memory": 8 * 1024**3, "licence": 7}
    run = simulate(flow({f"n{i}": node for i in range(3)}, resources=budgets))
    view = live(terminal := Terminal())
    for event, state in turns(run):
        if isinstance(event, ev.NodeSucceeded):
            break
        view.events([event], state)
    view.draw()
    assert terminal.text.splitlines()[2] == "slots 2/4 · cpu 3/4 · gpu 2/2 · memory 6 GiB of 8 GiB"
    view.events([event], state)
    view.draw()
    assert terminal.text.splitlines()[3].startswith("slots 1/4 · cpu 1.5/4 · gpu 1/2 · memory 3 GiB")


def written(lines: dict[str, list[str]]) -> Callable[[str, int | str, int], list[str]]:
    """What nodes have written so far."""
    return lambda node, attempt, most: lines.get(node, [])[-most:]


SPINE = flow(
    {"side": {"estimate": 9.0}, "spine": {"estimate": 5.0}, "last": {"estimate": 60.0, "needs": ["spine"]}},
    scheduling={"policy": "fifo"},
)


def test_the_end_of_the_log_is_shown_of_the_node_that_the_end_of_the_run_waits_for() -> None:
    peek = written({"side": ["mine"], "spine": [f"line {i}" for i in range(9)]})
    run = simulate(SPINE, seconds={"spine": 9.0})
    view = live(terminal := Terminal(rows=14), clock := Clock(), peek=peek)
    for event, state in turns(run):
        if event.time > 0:
            break
        view.events([event], state)
    clock.now = 0.5
    view.draw()
    assert terminal.text.splitlines()[3:] == ["  ▶ side   0s of 9s", "  ▶ spine  0s of 5s"]  # it may be over at once
    clock.now = 3.0
    view.draw()
    assert terminal.text.splitlines()[3:] == [
        "  ▶ spine  3s of 5s",
        "    │ line 6",
        "    │ line 7",
        "    │ line 8",
        "  ▶ side   3s of 9s",
    ]


def test_a_node_that_has_written_nothing_leaves_the_place_to_the_next_and_that_stays() -> None:
    lines = {"side": ["half way"]}
    view = live(terminal := Terminal(), clock := Clock(), peek=written(lines))
    for event, state in turns(simulate(SPINE, seconds={"spine": 9.0})):
        if event.time > 0:
            break
        view.events([event], state)
    for now in (2.0, 3.0):
        clock.now = now
        view.draw()
        assert terminal.text.splitlines()[3:5] == [f"  ▶ side   {now:.0f}s of 9s", "    │ half way"]
        lines["spine"] = ["here I am"]


def test_what_a_running_node_writes_is_shown_and_not_obeyed() -> None:
    peek = written({"long": ["\x1b[2J\ttabs\u202e and a line that is far too long for this screen"]})
    shown = screen(simulate(WIDE), Terminal(40), until="node_succeeded", later=3.0, peek=peek)
    assert shown[-1] == "    │ \\x1b[2J    tabs\\u202e and a line…"


UNDOABLE = flow({
    "a": {"compensate": [{"run": "undo a"}, {"run": "more"}]}, "b": {"needs": ["a"], "compensate": [{"run": "undo b"}]},
    "bad": ["b"],
})  # fmt: skip


def test_in_a_rollback_the_view_says_what_is_being_undone_and_what_that_writes() -> None:
    run = simulate(UNDOABLE, fails={"bad": 1})
    view = live(terminal := Terminal(), clock := Clock(), peek=lambda node, attempt, most: [f"{node} {attempt}"])
    seen = []
    for event, state in turns(run):
        view.events([event], state)
        if isinstance(event, ev.UndoStarted):
            clock.now += 2.0
            view.draw()
            seen.append(terminal.text.splitlines())
    assert seen[0][-4:] == [
        "──────────────────────────────────────── 0/2 undone",
        "5s · rolling back · 1 being undone · 1 to go",
        "  ↶ b  being undone 2s",
        "    │ b undo.1.1",
    ]
    assert seen[-1][-2:] == ["  ↶ a  being undone 2s, step 2 of 2", "    │ a undo.2.1"]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_of_the_region_is_as_wide_as_the_terminal(columns: int) -> None:
    name = "a_rather_long_name_of_a_node_that_will_not_fit_into_many_terminals"
    run = simulate(flow({f"{name}_{i}": {"estimate": 3600.0} for i in range(9)}))
    shown = screen(run, Terminal(columns), until="node_started", later=4000.0)
    assert len(shown) == 4
    assert max(map(len, shown)) < columns


def test_as_many_nodes_are_shown_as_leave_half_of_the_screen_free() -> None:
    run = simulate(flow({f"n{i}": [] for i in range(40)}, concurrency=40))
    view = live(terminal := Terminal(rows=12))
    for event, state in turns(run):
        if isinstance(event, ev.NodeSucceeded):
            break
        view.events([event], state)
    view.draw()
    assert terminal.text.splitlines()[3:] == ["  ▶ n0  0s", "  ▶ n1  0s", "  ▶ n2  0s", "  + 37 more"]


def test_a_large_run_shows_what_went_wrong_and_no_line_for_each_success() -> None:
    names = [f"n{i}" for i in range(FEW + 1)]
    run = simulate(flow({name: [] for name in names}, on_failure="continue"), fails={"n7": 3})
    view = live(terminal := Terminal(), log=["disk full"])
    show(run, view)
    view.draw(last=True)
    assert terminal.text == f"[ 8/{FEW + 1}] ✗ n7  failed after 1.0s: exit code 3\n    │ disk full\n"


def test_foreign_text_is_shown_and_not_obeyed() -> None:
    run = simulate(flow({"a": []}), fails={"a": 1})
    shown = screen(run, Terminal(), until="node_failed", log=["[/bin/sh] \x1b]52;c;eA==\x07 \x1b[2J"])
    assert shown[1] == "    │ [/bin/sh] \\x1b]52;c;eA==\\x07 \\x1b[2J"


def test_a_terminal_that_became_narrower_keeps_what_stands_above_the_region() -> None:
    view, clock = live(terminal := Terminal(80), now := Clock()), now
    show(simulate(WIDE), view, "node_succeeded")
    view.draw()
    # The terminal folds what no longer fits; the cursor goes with its text.
    terminal.lines = [part for line in terminal.lines for part in [line[:30], line[30:]] if part]
    terminal.columns, terminal.row = 30, len(terminal.lines) - 1
    terminal.column = len(terminal.lines[-1])
    clock.now += 1
    view.draw()
    assert terminal.text.splitlines() == [
        "[1/3] ✓ quick  2.0s",
        "━━━━━━━━───────────────── 1/3",
        "3s · 1 running · 1 to go",
        "slots 1/4",
        "  ▶ long  3s of 20s",
    ]


def test_nothing_is_written_while_nothing_changes() -> None:
    written: list[str] = []
    view = Live(written.append, lambda node, attempt: [], size=lambda: (80, 24), clock=Clock())
    show(simulate(WIDE), view, "node_succeeded")
    view.draw()
    before = len(written)
    view.draw()
    assert len(written) == before


def test_the_region_is_gone_when_the_view_ends() -> None:
    terminal = Terminal()
    run = simulate(WIDE)
    state = RunState(run.plan)
    state.id = "r"
    view = live(terminal)
    view.begin(state)
    show(run, view, "node_succeeded")
    view.end()
    assert terminal.text == "run r: flow, 3 nodes\n[1/3] ✓ quick  2.0s\n"


def test_ctrl_z_takes_the_region_away_and_fg_draws_it_below_what_was_written_meanwhile() -> None:
    view = live(terminal := Terminal())
    show(simulate(WIDE), view, "node_succeeded")
    view.draw()
    view.pause(True)
    assert terminal.text == "[1/3] ✓ quick  2.0s\n"
    terminal.write("[1]+  Stopped\n$ fg\nwfctl run\n")
    view.pause(False)
    view.draw()
    assert terminal.text.splitlines()[:4] == ["[1/3] ✓ quick  2.0s", "[1]+  Stopped", "$ fg", "wfctl run"]
    assert terminal.text.splitlines()[-1] == "  ▶ long  2s of 20s"


def test_a_stop_that_nobody_heard_of_costs_no_line_of_the_shell() -> None:
    clock = Clock()
    view = live(terminal := Terminal(), clock=clock)
    show(simulate(WIDE), view, "node_succeeded")
    view.draw()
    terminal.write("\n[1]+  Stopped\n$ fg\n")
    clock.now += 5.0
    view.pause(False)
    view.draw()
    assert "[1]+  Stopped\n$ fg\n━" in terminal.text


def test_the_signal_to_go_on_leaves_no_second_region_where_nothing_was_stopped() -> None:
    """An answer and `wfctl cancel` send it, and after Ctrl-Z it is heard twice."""
    clock = Clock()
    view = live(terminal := Terminal(), clock=clock)
    show(simulate(WIDE), view, "node_succeeded")
    view.draw()
    view.pause(False)
    clock.now += 0.5
    view.draw()
    assert terminal.text.count("slots") == 1
    view.pause(True)
    terminal.write("[1]+  Stopped\n$ fg\n")
    clock.now += 60.0
    view.pause(False)
    view.draw()
    view.pause(False)
    clock.now += 0.5
    view.draw()
    assert terminal.text.count("slots") == 1


def test_in_the_background_there_is_no_region_only_lines() -> None:
    written: list[str] = []
    view = Live(written.append, lambda node, attempt: [], size=lambda: (80, 24), clock=Clock(), ours=lambda: False)
    show(simulate(WIDE), view, "node_succeeded")
    view.draw()
    assert written == ["[1/3] ✓ quick  2.0s\n"]


def test_on_a_terminal_that_is_too_narrow_there_are_only_lines() -> None:
    run = simulate(WIDE)
    assert screen(run, Terminal(columns=19), until="node_succeeded") == ["[1/3] ✓ quick  2.0s"]
    assert len(screen(run, Terminal(columns=20), until="node_succeeded")) > 1


def test_a_pause_counts_for_no_time_that_is_shown() -> None:
    run = simulate(flow({"long": {"estimate": 20.0}}), signals=[(5, Paused(4.0))])
    shown = screen(run, Terminal(), until="run_paused", later=1.0)
    assert shown == [
        "goes on after a pause of 4.0s",
        "──────────────────────────────────────── 0/1  about 18s left",
        "2s · 1 running",
        "slots 1/4",
        "  ▶ long  2s of 20s",
    ]


def test_a_note_stands_above_the_region() -> None:
    view = live(terminal := Terminal())
    show(simulate(WIDE), view, "node_started")
    view.draw()
    view.note("wfctl: a view was dropped")
    view.draw()
    assert terminal.text.splitlines()[0] == "wfctl: a view was dropped"
    assert terminal.text.splitlines()[-1] == "  ▶ long  0s of 20s"


def watch_until_it_tells(view: Live, state: RunState) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        view.events([ev.NodeReady(time=1.0, node="b")], state)


def test_a_view_that_breaks_leaves_a_clean_terminal_and_tells_its_engine() -> None:
    terminal = Terminal()

    def broken(node: str, attempt: int | str) -> list[str]:
        raise RuntimeError("the log went away")

    run = simulate(flow({"a": [], "b": []}, on_failure="continue"), fails={"a": 1})
    view = Live(terminal.write, broken, size=terminal.size)
    begun = RunState(run.plan)
    view.begin(begun)
    show(run, view, "node_failed")
    with pytest.raises(RuntimeError, match="the log went away"):
        watch_until_it_tells(view, begun)
    view.end()
    assert terminal.text == "run : flow, 2 nodes\n"


def test_the_engine_s_thread_writes_nothing() -> None:
    written: list[str] = []
    show(simulate(WIDE), Live(written.append, lambda node, attempt: [], size=lambda: (80, 24)))
    assert written == []


# -- the command on a real terminal


def on_a_terminal(
    tmp_path: Path, text: str, drive: Callable[[int, Callable[[], str]], None], **env: str
) -> tuple[int, str]:
    """Run the workflow on a pseudo-terminal; `drive` is given its process and what was shown so far."""
    (tmp_path / "flow.yaml").write_text(text)
    child, ours = pty.fork()
    if not child:
        os.chdir(tmp_path)
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1"}
        environ["WFCTL_STATE_DIR"] = str(tmp_path / ".wfctl")
        program = "import sys; from wfctl.cli import main; sys.exit(main())"
        os.execve(sys.executable, [sys.executable, "-c", program, "run", "flow.yaml"], {**environ, **env})
    shown = b""

    def read() -> str:
        nonlocal shown
        try:
            more = os.read(ours, 65536) if select.select([ours], [], [], 30)[0] else b""
        except OSError:  # nobody is left at the other end
            more = b""
        shown += more
        return shown.decode(errors="ignore") if more else ""

    drive(child, read)
    while read():
        pass
    _, status = os.waitpid(child, 0)
    os.close(ours)
    return os.waitstatus_to_exitcode(status), shown.decode()


def final(shown: str) -> list[str]:
    terminal = Terminal()
    terminal.write(shown)
    return terminal.text.splitlines()


WAITS = "version: 1\nnodes:\n  a: {run: sleep 60}\n  b: {run: 'true', needs: [a]}\n"


def test_a_run_on_a_terminal_ends_with_its_last_words_alone(tmp_path: Path) -> None:
    text = "version: 1\nnodes:\n  a: {run: sleep 1}\n  b: {run: echo no table; exit 3, needs: [a]}\n"
    code, shown = on_a_terminal(tmp_path, text, lambda child, read: None)
    lines = final(shown)
    assert code == 1
    assert "▶ a" in shown
    assert [line.split("  ")[0] for line in lines[1:4]] == ["[1/2] ✓ a", "[2/2] ✗ b", ""]
    assert lines[3:4] == ["    │ no table"]
    assert lines[-1].startswith("  once mended: wfctl resume ")
    assert not any("━" in line for line in lines)


def test_ctrl_c_leaves_a_clean_terminal(tmp_path: Path) -> None:
    def stop(child: int, read: Callable[[], str]) -> None:
        while (text := read()) and "▶ a" not in text:
            pass
        os.kill(child, signal.SIGINT)

    code, shown = on_a_terminal(tmp_path, WAITS, stop)
    lines = final(shown)
    assert code == 130
    assert lines[1] == "stopping what runs; Ctrl-C once more kills it"
    assert lines[-2].startswith("‖ interrupted after ")
    assert not any("━" in line for line in lines)


def test_a_secret_is_hidden_in_the_log_of_what_still_runs(tmp_path: Path) -> None:
    text = "version: 1\nsecrets: [TOKEN]\nnodes: {a: {secrets: [TOKEN], run: 'for i in 1 2 3 4 5 6 7 8 9; do echo"
    text += " pushing $i as me:$TOKEN, and on we go to the next of them; done; exec sleep 60'}}\n"

    def stop(child: int, read: Callable[[], str]) -> None:
        while (text := read()) and "│ pushing" not in text:
            pass
        os.kill(child, signal.SIGINT)

    _, shown = on_a_terminal(tmp_path, text, stop, TOKEN="hunter2hunter", COLUMNS="100")
    assert "as me:*************, and" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(("env", "stamped"), [("", False), ("yes", True)])
def test_on_a_terminal_lines_have_a_time_only_where_that_is_wanted(tmp_path: Path, env: str, stamped: bool) -> None:
    text = "version: 1\nnodes: {a: {run: 'true'}}\n"
    _, shown = on_a_terminal(tmp_path, text, lambda child, read: None, WFCTL_TIMESTAMPS=env)
    times = [re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) is not None for line in final(shown)]
    assert times == [stamped] * 3


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_terminal_that_cannot_or_will_not_gets_plain_lines(tmp_path: Path, env: dict[str, str]) -> None:
    text = "version: 1\nnodes:\n  a: {run: sleep 0.4}\n"
    code, shown = on_a_terminal(tmp_path, text, lambda child, read: None, **env)
    assert code == 0
    assert "\x1b" not in shown
    assert "[1/1] ✓ a" in shown
