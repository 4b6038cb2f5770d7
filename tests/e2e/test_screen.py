"""The live view in a real terminal emulator, at the widths that people have, and as they change.

Knows nothing of what is inside the command. The terminal is tmux."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import CHILD
from tests.e2e.conftest import Flow, environ
from tests.helpers.tmux import Tmux

pytestmark = pytest.mark.usefixtures("unharmed")

NODES = f"""
name: shown
concurrency: 20
resources: {{gpu: 4, memory: 8GiB}}
nodes:
  first: {{run: 'true'}}
  train_the_rather_large_model_of_all_the_towns: {{
    run: 'for i in 1 2 3 4 5 6 7; do echo "epoch $i of many, and a loss that is told in a line without an end"; done; exec {CHILD} wait=go',
    resources: {{gpu: 3, memory: 5GiB}}, needs: [first], estimate: 30s}}
  spare: {{run: {CHILD} wait=go, needs: [first], estimate: 30s}}
  last: {{run: echo no table here; exit 3, needs: [train_the_rather_large_model_of_all_the_towns], estimate: 30s}}
"""  # noqa: E501


def shown(tmp_path: Path, flow: Flow, columns: int, rows: int = 24) -> Tmux:
    environment = environ(tmp_path) | {"LC_ALL": "C.UTF-8", "SHELL": "/bin/sh"}
    return Tmux(tmp_path, [sys.executable, "-m", "wfctl", "run", flow(NODES)], environment, columns, rows)


def region(lines: list[str]) -> list[str]:
    """What is below the lines that stay."""
    return lines[next(i for i, line in enumerate(lines) if "─" in line) :]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_run_is_read_at_every_width_and_leaves_nothing_behind(flow: Flow, tmp_path: Path, columns: int) -> None:
    with shown(tmp_path, flow, columns) as screen:
        lines = screen.wait_for("│ epoch 7")
        assert max(map(len, lines)) < columns
        bar, counts, used, train, *log, spare = region(lines)
        assert bar.endswith("left")
        assert " 1/4" in bar
        assert "2 running · 1 to go" in counts
        assert used.startswith("slots 2/20 · gpu 3/4")
        assert train.startswith("  ▶ train_the")
        assert train.endswith(" of 30s")
        assert [line[:13] for line in log] == [f"    │ epoch {i}" for i in range(3, 8)]
        assert spare.startswith("  ▶ spare")
        (tmp_path / "go").touch()
        screen.wait_for("code=1")
        lines = screen.all_lines
        assert "no table here" in " ".join(lines)
        assert "once mended: wfctl resume" in " ".join(lines)
        assert not any("─" in line or "▶" in line or "epoch" in line for line in lines), "the region is gone"


def test_a_window_that_is_dragged_shows_one_region_and_loses_no_line(flow: Flow, tmp_path: Path) -> None:
    with shown(tmp_path, flow, 100) as screen:
        screen.wait_for("│ epoch 7")
        for columns, rows in [(130, 30), (50, 24), (40, 14), (90, 24)]:
            end = "without an end" if columns > 80 else "…"
            screen.resize(columns, rows)
            # What a narrower window folds, it pushes up: of that a part may be above the screen, and out of reach.
            lines = screen.wait_for_line(lambda line: "│ epoch 7" in line and line.endswith(end))  # noqa: B023
            assert max(map(len, lines[-6:])) < columns
            assert sum("slots" in line for line in lines) == 1
        (tmp_path / "go").touch()
        lines = screen.wait_for("code=1")
        assert not any("slots" in line or "▶" in line for line in lines)
        before = screen.all_lines[:2]
        assert before[0].startswith("run ")
        assert before[1].startswith("[1/4] ✓ first")
