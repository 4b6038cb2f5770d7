"""Estimates from history: what is kept of each node, what is forgotten, and what a plan makes of it."""

from __future__ import annotations

import json
import os
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.helpers.simulate import REQUEST, build, flow
from wfctl import estimates, history
from wfctl.estimates import ABSENT, KEPT, by_kind, by_node, merged
from wfctl.experience import Experience
from wfctl.plan import Planned, Request

SECONDS = some.integers(0, 10**9).map(lambda ms: ms / 1000)
RUNS = some.lists(some.dictionaries(some.sampled_from("abcde"), SECONDS), max_size=12)
ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=3),
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.dictionaries(some.sampled_from(["runs", "nodes", "a", "b"]), inner, max_size=3)
        | some.fixed_dictionaries({"runs": inner, "nodes": some.dictionaries(some.sampled_from("ab"), inner)})
    ),
    max_leaves=12,
)


def after(*runs: dict[str, float], kept: object = None) -> object:
    """What is kept after runs of a file with the nodes a to e, of which these succeeded."""
    for took in runs:
        kept = json.loads(json.dumps(merged(kept, "abcde", took, whole=True)))
    return kept


# -- what is kept


@given(some.lists(SECONDS, min_size=1))
def test_the_median_is_the_one_of_the_books(values: list[float]) -> None:
    assert estimates.median(values) == pytest.approx(statistics.median(values))


@given(RUNS)
def test_what_is_expected_of_a_node_is_the_median_of_its_last_successes(runs: list[dict[str, float]]) -> None:
    last = {name: [took[name] for took in runs if name in took][-KEPT:] for name in "abcde"}
    known = {name: statistics.median(values) for name, values in last.items() if values}
    assert by_node(after(*runs), "abcde") == pytest.approx(known, abs=0.0006)


def test_one_odd_run_changes_little_and_three_change_all() -> None:
    usual = [{"a": 10.0}] * 5
    assert by_node(after(*usual, {"a": 99.0}, {"a": 99.0}), "a") == {"a": 10.0}
    assert by_node(after(*usual, {"a": 99.0}, {"a": 99.0}, {"a": 99.0}), "a") == {"a": 99.0}


def test_what_takes_no_time_at_all_is_known_to_take_none() -> None:
    assert by_node(after({"a": 0.0002}), "ab") == {"a": 0.0}


def test_a_node_that_the_file_no_longer_has_is_forgotten_in_the_end() -> None:
    kept: Any = after({"a": 1.0, "b": 2.0})
    for _ in range(ABSENT - 1):
        kept = merged(kept, "a", {"a": 1.0}, whole=True)
    assert by_node(kept, "ab") == {"a": 1.0, "b": 2.0}
    assert merged(kept, "a", {"a": 1.0}, whole=True)["nodes"].keys() == {"a"}


def test_a_node_of_the_file_is_never_forgotten_however_long_it_has_not_succeeded() -> None:
    assert by_node(after({"a": 1.0}, *[{"b": 2.0}] * (ABSENT + 5)), "ab") == {"a": 1.0, "b": 2.0}


def test_runs_of_a_part_make_nothing_forgotten() -> None:
    kept: Any = after({"a": 1.0, "b": 2.0})
    for _ in range(ABSENT + 5):
        kept = merged(kept, "a", {"a": 1.0}, whole=False)
    assert by_node(kept, "ab") == {"a": 1.0, "b": 2.0}


@given(ANYTHING, RUNS)
def test_what_is_not_understood_says_nothing_and_harms_nothing(kept: object, runs: list[dict[str, float]]) -> None:
    assert all(0 <= seconds < 1e10 for seconds in by_node(kept, "abcde").values())
    assert by_node(after(*runs, *[{"a": 1.0}] * KEPT, kept=kept), "a") == {"a": 1.0}


def test_the_median_of_a_kind_is_that_of_its_nodes_which_are_known() -> None:
    kinds = {"a": "run", "b": "run", "c": "run", "d": "http", "e": "sql"}
    assert by_kind({"a": 1.0, "b": 3.0, "d": 0.2, "x": 100.0}, kinds) == {"run": 2.0, "http": 0.2}


# -- what a plan makes of it


def planned(nodes: dict[str, Any], request: Request = REQUEST, **known: float) -> dict[str, Planned]:
    plan, problems = build(flow(nodes), replace(request, estimates=known))
    assert not problems
    return dict(plan.nodes)


def test_history_comes_before_what_is_declared_and_that_before_the_kind() -> None:
    nodes = planned({"a": {"estimate": 9}, "b": {"estimate": 9}, "c": [], "d": []}, a=2.0, d=4.0)
    assert {name: (node.estimate, node.source) for name, node in nodes.items()} == {
        "a": (2.0, "history"),
        "b": (9.0, "declared"),
        "c": (3.0, "kind"),
        "d": (4.0, "history"),
    }
    assert all(node.estimated for node in nodes.values())


def test_without_history_what_is_not_declared_is_assumed_to_take_a_second() -> None:
    node = planned({"a": []})["a"]
    assert (node.estimate, node.source, node.estimated) == (1.0, "assumed", False)


def test_no_time_at_all_may_be_declared_and_may_be_history() -> None:
    nodes = planned({"a": {"estimate": 0}, "b": {"estimate": 5}}, b=0.0)
    assert [(node.estimate, node.source) for node in nodes.values()] == [(0.0, "declared"), (0.0, "history")]


def test_what_is_left_out_of_a_run_still_tells_of_its_kind() -> None:
    nodes = planned({"a": [], "b": []}, replace(REQUEST, only=("b",)), a=7.0)
    assert (nodes["b"].estimate, nodes["b"].source) == (7.0, "kind")


def test_a_request_without_estimates_is_one_of_before_there_were_any() -> None:
    assert "estimates" not in history.request_to_data(Request())
    assert history.request_from_data({"run_id": "r"}).estimates == {}


# -- where it lies


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a state folder in it."""
    (tmp_path / "home/.wfctl").mkdir(parents=True)
    return tmp_path / "home"


def of(home: Path, file: str = "flow.yaml", name: str = "flow") -> Experience:
    return Experience(home / ".wfctl", name, str(home / file))


def test_what_was_added_is_expected_the_next_time(home: Path) -> None:
    of(home).add(["a", "b"], {"a": 1.5}, whole=True)
    assert of(home).seconds(["a", "b"]) == {"a": 1.5}


def test_two_workflows_of_one_name_do_not_mix_nor_two_that_came_by_one_pipe(home: Path) -> None:
    of(home, "one/flow.yaml").add("a", {"a": 1.0}, whole=True)
    of(home, "../../dev/fd/63", "one").add("a", {"a": 2.0}, whole=True)
    assert of(home, "two/flow.yaml").seconds("a") == of(home, "../../dev/fd/63", "two").seconds("a") == {}


def test_a_folder_that_is_moved_with_its_state_keeps_what_it_knows(home: Path) -> None:
    of(home).add("a", {"a": 1.0}, whole=True)
    assert of(home.rename(home.with_name("moved"))).seconds("a") == {"a": 1.0}


def test_a_file_that_is_cut_anywhere_says_nothing_and_is_written_anew(home: Path) -> None:
    of(home).add("a", {"a": 1.0}, whole=True)
    (file,) = (home / ".wfctl/cache/estimates").iterdir()
    for cut in range(len(whole := file.read_bytes())):
        file.write_bytes(whole[:cut])
        assert of(home).seconds("a") == {}
    of(home).add("a", {"a": 2.0}, whole=True)
    assert of(home).seconds("a") == {"a": 2.0}


@pytest.mark.parametrize("odd", ["file", "pipe", "folder"])
def test_what_stands_in_its_place_harms_nothing(home: Path, odd: str) -> None:
    of(home).add("a", {"a": 1.0}, whole=True)
    (file,) = (home / ".wfctl/cache/estimates").iterdir()
    if odd == "file":
        shutil.rmtree(home / ".wfctl/cache")
        (home / ".wfctl/cache").write_text("")
    elif odd == "pipe":
        file.unlink()
        os.mkfifo(file)
    else:
        file.unlink()
        (file / "x").mkdir(parents=True)
    assert of(home).seconds("a") == {}
    of(home).add("a", {"a": 2.0}, whole=True)


def test_of_two_runs_that_end_at_once_one_is_heard_and_nothing_is_torn(home: Path) -> None:
    children = []
    for seconds in (1.0, 2.0):
        if (pid := os.fork()) == 0:
            for _ in range(50):
                of(home).add("a", {"a": seconds}, whole=True)
            os._exit(0)
        children.append(pid)
    seen = [of(home).seconds("a") for _ in range(100)]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
    known = [found["a"] for found in [*seen, of(home).seconds("a")] if found]
    assert {*known} <= {1.0, 1.5, 2.0}
    assert seen == sorted(seen, key=bool), "once it was there it is never gone"
    assert of(home).seconds("a")
