"""The patterns that are there to be copied: each runs, and what it leaves is what the data say.

Knows nothing of what is inside the command."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Command
from tests.e2e.conftest import Start, Status, Until

PATTERNS = sorted(path.stem for path in (ROOT / "workflows/patterns").glob("*.yaml"))

pytestmark = pytest.mark.usefixtures("unharmed")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Where patterns write, in a copy of the project's workflows."""
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows", ignore=shutil.ignore_patterns("build", ".wfctl"))
    return tmp_path / "workflows/build/patterns"


@pytest.fixture
def days() -> list[dict[str, str]]:
    with open(ROOT / "workflows/data/seattle-weather.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def outputs(built: Path, wfctl: Command, status: Status) -> Any:
    """Runs a pattern with params, and gives its outputs: `outputs("fan_out", years=[2013])`."""

    def run(pattern: str, **params: object) -> Any:
        words = [word for name, value in params.items() for word in ("-p", f"{name}={json.dumps(value)}")]
        ended = wfctl("run", f"workflows/patterns/{pattern}.yaml", *words)
        assert ended.returncode == 0, ended.stderr
        return status()["outputs"]

    return run


def test_there_is_a_pattern_for_each_way_to_work_together() -> None:
    named = "approval best fan_in fan_out first majority matrix pipeline scatter_gather"
    assert named.split() == PATTERNS


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_says_what_it_is_for_and_can_be_planned(pattern: str, built: Path, wfctl: Command) -> None:
    file = f"workflows/patterns/{pattern}.yaml"
    text = (built.parents[2] / file).read_text()
    assert text.splitlines()[2].startswith(f"# {pattern.replace('_', '-').capitalize()}: ")
    assert "#   made by    " in text
    assert "#   to copy    " in text
    planned = wfctl("plan", file)
    assert planned.returncode == 0, planned.stderr


def test_all_patterns_are_sound(built: Path, wfctl: Command) -> None:
    assert wfctl("validate", *(f"workflows/patterns/{name}.yaml" for name in PATTERNS)).returncode == 0


def test_fan_out_writes_a_file_a_year(outputs: Any, built: Path, days: list[dict[str, str]]) -> None:
    by_year = Counter(day["date"][:4] for day in days)
    assert outputs("fan_out") == {"days": list(by_year.values())}
    for year, count in by_year.items():
        assert len((built / f"fan_out/{year}.csv").read_text().splitlines()) == count + 1
    assert outputs("fan_out", years=[2014]) == {"days": [365]}


def test_fan_out_of_a_year_that_is_not_there_fails_and_names_it(built: Path, wfctl: Command) -> None:
    ended = wfctl("run", "workflows/patterns/fan_out.yaml", "-p", "years=[2014, 1999]")
    assert ended.returncode == 1
    assert "1 of 2 items failed, and 0 may: year[1999]: exit code 1" in ended.stderr


def test_fan_in_sets_what_was_measured_and_names_what_was_not(outputs: Any, days: list[dict[str, str]]) -> None:
    lines = outputs("fan_in")["table"].splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert lines[0].split() == ["low", "mean", "high"]
    assert rows["humidity"] == ["failed:", "exit", "code", "3"]
    for column in "precipitation temp_max temp_min wind".split():
        found = [float(day[column]) for day in days]
        low, mean, high = map(float, rows[column])
        assert (low, high) == (min(found), max(found))
        assert mean == pytest.approx(sum(found) / len(found), abs=0.06)


def test_pipeline_makes_a_line_a_year(outputs: Any, days: list[dict[str, str]]) -> None:
    lines = outputs("pipeline")["page"].splitlines()
    for line, year in zip(lines, ["2012", "2013", "2014", "2015"], strict=True):
        own = [day for day in days if day["date"].startswith(year)]
        wet = sum(float(day["precipitation"]) >= 1 for day in own)
        rain = sum(float(day["precipitation"]) for day in own)
        high = max(float(day["temp_max"]) for day in own)
        assert line == f"{year}  {wet:4} wet days  {rain:5.0f} mm  {high:5.1f} °C"


def test_scatter_gather_adds_up_whatever_the_parts_are(outputs: Any, days: list[dict[str, str]]) -> None:
    by_weather = dict(Counter(day["weather"] for day in days))
    assert outputs("scatter_gather") == {"parts": 6, "days": by_weather}
    assert outputs("scatter_gather", lines=1000) == {"parts": 2, "days": by_weather}


def test_first_takes_what_is_right_and_stops_the_slow(outputs: Any, built: Path, status: Status) -> None:
    assert outputs("first") == {"from": "build/patterns/first/near.csv", "lines": 1462}
    sum_ = hashlib.sha256((built / "first/near.csv").read_bytes()).hexdigest()
    assert f"default: {sum_}" in (ROOT / "workflows/patterns/first.yaml").read_text()
    shown = status()["nodes"]
    states = {name: shown[f"fetch[{name}]"]["state"] for name in ("gone", "damaged", "near", "far")}
    assert (states["near"], states["far"]) == ("succeeded", "cancelled")
    assert "succeeded" not in (states["gone"], states["damaged"])
    assert shown["fetch[far]"]["reason"] == "superseded"


def test_first_fails_where_nobody_has_the_right_one(built: Path, wfctl: Command) -> None:
    ended = wfctl("run", "workflows/patterns/first.yaml", "-p", f"sum={'0' * 64}", "-p", PLACE)
    assert ended.returncode == 1
    assert "none of 1 items succeeded: fetch[near]: exit code 1" in ended.stderr


PLACE = 'places=[{"name": "near", "path": "data/seattle-weather.csv", "seconds": 0}]'


def test_majority_is_enough(outputs: Any, built: Path) -> None:
    found = outputs("majority")
    assert found["kept"] == ["ash", "cedar", "fir"]
    assert [other.split(":")[0] for other in found["others"]] == ["birch", "elm"]
    for name in found["kept"]:
        assert (built / f"majority/{name}/weather.csv").read_bytes() == (
            ROOT / "workflows/data/seattle-weather.csv"
        ).read_bytes()


def test_majority_fails_as_soon_as_too_many_are_down(built: Path, wfctl: Command, status: Status) -> None:
    ended = wfctl("run", "workflows/patterns/majority.yaml", "-p", 'down=["ash", "birch", "fir"]')
    assert ended.returncode == 1
    assert "more than half can no longer" in status()["nodes"]["store"]["error"]
    mended = wfctl("run", "workflows/patterns/majority.yaml", "-p", "down=[]", "-p", "slow=[]")
    assert mended.returncode == 0


def test_best_finds_the_least_error(outputs: Any, status: Status) -> None:
    found = outputs("best")
    assert found == {"memory": 0.8, "window": 7, "error": 2.131, "tomorrow": 6.2}
    tried = [node["output"]["error"] for name, node in status()["nodes"].items() if name.startswith("try[")]
    assert (len(tried), min(tried)) == (12, 2.131)


def test_best_tries_no_more_when_one_is_good_enough(outputs: Any, status: Status) -> None:
    assert outputs("best", good_enough=9)["error"] < 9
    states = Counter(node["state"] for name, node in status()["nodes"].items() if name.startswith("try["))
    assert states["cancelled"] > 0


def test_matrix_runs_each_combination_in_its_zone(outputs: Any) -> None:
    assert outputs("matrix") == {
        "days": [
            "sh,UTC0: 2015-01-01 00:00",
            "sh,JST-9: 2015-01-01 09:00",
            "bash,UTC0,-u: 2015-01-01 00:00",
            "bash,JST-9,-u: 2015-01-01 09:00",
            "bash,EST5EDT,-u: 2014-12-31 19:00",
            "bash,NPT-5:45: 2015-01-01 05:45",
        ]
    }


# -- approval

APPROVAL = "workflows/patterns/approval.yaml"


def test_approval_waits_for_an_answer_from_outside(
    built: Path, wfctl: Command, start: Start, status: Status, until: Until
) -> None:
    run = start("run", APPROVAL)
    until(lambda: (built / "approval/draft.txt").exists() and status()["nodes"]["approve"]["state"] == "waiting_input",
          "it asks")  # fmt: skip
    answered = wfctl("answer", "last", "approve", "stable", "--reason", "looks well")
    assert (answered.returncode, "the run goes on" in answered.stderr) == (0, True)
    assert run.wait(30) == 0
    shown = status()
    assert shown["outputs"]["published"] == "build/patterns/approval/stable/page.txt"
    assert shown["nodes"]["approve"]["output"] == {
        "choice": "stable", "by": shown["outputs"]["by"], "reason": "looks well",
    }  # fmt: skip
    assert (built / "approval/stable/page.txt").read_text().split()[:2] == ["714", "sun"]


def test_approval_may_be_answered_when_nothing_runs(built: Path, wfctl: Command, status: Status) -> None:
    waiting = wfctl("run", APPROVAL, "--no-wait")
    assert (waiting.returncode, status()["state"]) == (7, "waiting_input")
    again = wfctl("resume", "last", "--no-wait")
    assert (again.returncode, status()["state"]) == (7, "waiting_input")
    wrong = wfctl("answer", "last", "approve", "perhaps")
    assert wrong.returncode == 2
    assert "stable" in wrong.stderr
    assert wfctl("answer", "last", "approve", "beta").returncode == 0
    ended = wfctl("resume", "last")
    assert ended.returncode == 0, ended.stderr
    assert status()["outputs"]["published"] == "build/patterns/approval/beta/page.txt"
    assert not (built / "approval/note.txt").exists()


def test_approval_that_is_refused_publishes_nothing_and_resume_asks_again(
    built: Path, wfctl: Command, status: Status
) -> None:
    assert wfctl("run", APPROVAL, "--no-wait").returncode == 7
    assert wfctl("answer", "last", "approve", "reject", "--reason", "a typo").returncode == 0
    assert wfctl("resume", "last").returncode == 1
    shown = status()["nodes"]
    assert {name: node["state"] for name, node in shown.items()} == {
        "draft": "succeeded", "approve": "failed", "publish": "skipped", "tell": "succeeded",
    }  # fmt: skip
    assert shown["approve"]["error"].startswith('answered "reject" by ')
    assert shown["approve"]["error"].endswith(": a typo")
    assert (built / "approval/note.txt").read_text().endswith("stays a draft, the approval has failed\n")
    assert wfctl("resume", "last", "--no-wait").returncode == 7
    assert wfctl("answer", "last", "approve", "stable").returncode == 0
    assert wfctl("resume", "last").returncode == 0
    assert (built / "approval/stable/page.txt").exists()


def test_approval_that_nobody_gives_in_time_is_a_refusal(built: Path, wfctl: Command, status: Status) -> None:
    ended = wfctl("run", APPROVAL, "-p", "patience=100ms")
    assert ended.returncode == 1
    shown = status()["nodes"]
    assert (shown["approve"]["state"], shown["publish"]["state"]) == ("timed_out", "skipped")
    assert (built / "approval/note.txt").read_text().endswith("has timed_out\n")
