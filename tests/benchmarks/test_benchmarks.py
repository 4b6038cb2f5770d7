"""The benchmarks do what they say, at sizes that cost no time: how long anything takes is not asked here.

Knows nothing of how a program does its work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks.lines import LINES, US, Bench, Result, Target, at_most, commands, growth, ratio
from tests.benchmarks.measure import Timed, in_turn
from tests.benchmarks.peers import PEERS, find
from tests.benchmarks.table import Table
from tests.conftest import ROOT

DIAMOND = [("n0", ()), ("n1", ("n0",)), ("n2", ("n0",)), ("n3", ("n1", "n2"))]


@pytest.fixture
def wfctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The command of this tree, whether it is installed or not."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = tmp_path / "bin/wfctl"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom wfctl.__main__ import main\nsys.exit(main())\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("name", LINES)
def test_every_line_can_be_measured(name: str, tmp_path: Path, wfctl: str) -> None:
    programs = {US: wfctl} | ({"make": make} if (make := shutil.which("make")) else {})
    bench = Bench(folder=tmp_path, programs=programs, rounds=1, shrink=500)
    results = LINES[name](bench, name)
    assert results or bench.cells
    assert all(figure >= 0 for result in results for figure in result.figures)
    assert all(cell.cold > 0 and cell.again > 0 for cell in bench.cells)


@pytest.mark.parametrize("name", PEERS)
def test_every_program_runs_each_node_once_in_order_and_then_finds_nothing_to_do(
    name: str, tmp_path: Path, wfctl: str
) -> None:
    path = wfctl if name == US else find(PEERS[name].cold[0])
    if not path:
        pytest.skip(f"{name} is not installed: pip install -e '.[bench]'")
    (tmp_path / "place").mkdir()
    order = tmp_path / "order"
    cold, again = commands(name, path, tmp_path / "place", DIAMOND, f"echo {{name}} >> {order}")
    for _ in range(2):
        order.write_text("")
        cold.wall()
        ran = order.read_text().split()
        assert sorted(ran) == ["n0", "n1", "n2", "n3"]
        assert (ran[0], ran[3]) == ("n0", "n3")
    if again.warm:
        again.wall()
    order.write_text("")
    again.wall()
    assert order.read_text() == ""


def test_commands_take_turns_after_a_first_time_of_the_warm_ones_that_is_not_counted(tmp_path: Path) -> None:
    def says(letter: str, rounds: int, warm: bool) -> Timed:
        argv = ("sh", "-c", f"printf {letter} >> order")
        return Timed(argv=argv, folder=tmp_path, rounds=rounds, warm=warm)

    seen = in_turn({"a": says("a", 2, True), "b": says("b", 2, True), "slow": says("s", 1, False)})
    assert (tmp_path / "order").read_text() == "ababsab"
    assert [len(seconds) for seconds in seen.values()] == [2, 2, 1]


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)ended with 3:.*no such shape"):
        Timed(argv=("sh", "-c", "echo no such shape; exit 3"), folder=tmp_path).wall()


def test_the_engine_is_measured_without_its_children(tmp_path: Path) -> None:
    busy = f"{sys.executable} -c 'b\"x\" * 200_000_000; sum(range(10_000_000))'"
    alone = Timed(argv=("sh", "-c", f"{busy} && :"), folder=tmp_path).alone()
    assert alone.megabytes < 50
    assert alone.processor < alone.wall / 2


def test_more_is_asked_of_the_peer_and_less_of_us(capsys: pytest.CaptureFixture[str]) -> None:
    assert ratio("wide", "ninja", at_most(1.5), [3.0], [2.0]).figures == [1.5]
    slower = ratio("wide", "luigi", Target(">", 5), [1.0, 1.0, 1.0], [4.0])
    assert (slower.measure, slower.figures, slower.met) == ("luigi / wfctl", [4.0], False)
    Table(markdown=True).result(slower)
    assert capsys.readouterr().out == "| wide | luigi / wfctl | 1.000 | 4.000 | 4.00 |  | 1 | > 5 | MISSED |\n"


def test_growth_counts_its_worst_step() -> None:
    result = growth("plan", {10: 1.0, 100: 13.0, 1_000: 100.0})
    assert (result.figure, result.met) == (13.0, False)


@pytest.mark.parametrize("form", ["--markdown", "--json"])
def test_the_report_names_the_peers_that_are_left_out(
    form: str, wfctl: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_ninja(program: str, beside: str = sys.executable) -> str | None:
        return None if program == "ninja" else find(program, beside)

    def start(bench: Bench, name: str) -> list[Result]:
        return [Result(line=name, measure="seconds", figures=[1.0])]

    monkeypatch.setattr(command, "find", without_ninja)
    monkeypatch.setitem(LINES, "start", start)
    words = [form, "--wfctl", wfctl, "--folder", str(tmp_path), "--peer", "ninja", "start"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    command.main()
    out = capsys.readouterr().out
    if form == "--json":
        assert json.loads(out)["machine"]["ninja"] == "not installed: left out"
    else:
        assert "| ninja | not installed: left out |" in out
        assert "| start | seconds |" in out


def test_who_has_installed_what_is_measured_alone_can_measure() -> None:
    program = "import sys; sys.modules.update(pytest=None, hypothesis=None); import tests.benchmarks.__main__"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
