"""Events on paper: every fact survives, what is not known is passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfctl import events as ev
from wfctl import instant

ENDED: dict[str, Any] = {
    "node": "a", "attempt": 2, "seconds": 1.5, "exit_code": 137, "signal": 9, "reason": "killed", "error": "ended",
}  # fmt: skip
FULL: list[ev.Event] = [
    ev.RunStarted(
        time=1.0, run="r", workflow="w", file="w.yaml", digest="d", definition="w.json", request={"params": {"n": 3}},
        given={"a": [1, None]}, of="other", no_wait=True, forced=("a",), version="1",
    ),
    ev.RunResumed(time=1.0, again=("a", "b"), checkpoint="a", undo="as said", no_wait=True, version="1"),
    ev.RollbackBegun(
        time=1.0, strategy="full", then="rolled_back", nodes=("a", "b"), remove=("b",), checkpoint="c", why="said",
        by="me", analysis={"affected": ["a", "b"], "complexity": "low"},
    ),
    ev.UndoStarted(time=1.0, node="a", step=1, attempt=2),
    ev.UndoStepDone(time=1.0, node="a", step=1, seconds=1.5),
    ev.UndoRetrying(time=1.0, node="a", step=1, retry_at=2.25, reason="exit_code", error="exit code 1"),
    ev.UndoFailed(time=1.0, node="a", step=1, reason="exit_code", error="exit code 1"),
    ev.UndoInterrupted(time=1.0, node="a", step=1),
    ev.UndoAsked(time=1.0, node="a", by="me", reason="mended"),
    ev.NodeUndone(
        time=1.0, node="a", how="done", by="me", reason="seen", removed=("x",), left=("y: it was there before",)
    ),
    ev.RunRestarted(time=1.0, checkpoint="a"),
    ev.FilesPutBack(time=1.0, checkpoint="a"),
    ev.CheckpointSaved(time=1.0, node="a", files={"raw.csv": ["0f" * 32, 0o644, 12]}),
    ev.RunUpdated(time=1.0, digest="d", definition="w.json", request={}),
    ev.RunPlanned(time=1.0, reason="drift", order=("a", "b"), start=(0.0, 2.5), estimates=(2.5, 1.0)),
    ev.RunStopping(time=1.0, signal=2, at_once=True),
    ev.RunHalted(time=1.0, reason="low_disk", error="the disk is full"),
    ev.RunPaused(time=1.0, seconds=2.5),
    ev.RunTimedOut(time=1.0),
    ev.RunCommitting(time=1.0),
    ev.TransactionEnded(time=1.0, node="a", attempt=2, committed=True, error="away"),
    ev.RunSettled(time=1.0, state="failed", error="outputs: none", outputs={"x": 1}),
    ev.RunFinished(time=1.0, state="succeeded", exit_code=0, failed=("a",), outputs={"x": [1, {"y": None}]}),
    ev.NodeReady(time=1.0, node="a"),
    ev.NodeOpened(time=1.0, node="a", items=[["k", {"x": 1}], ["l", 2]], assumed=True),
    ev.NodeAsked(time=1.0, node="a", message="go on?", choices=("yes", "no"), until=3.5),
    ev.NodeWaiting(time=1.0, node="a", holder="run x", key="0f"),
    ev.NodeStarted(
        time=1.0, node="a", attempt=1, writes={"raw": "work/raw.csv"}, devices=("0",), prepares=True, key="0f",
        why={"word": "never"}, undo={"steps": 1, "pin": 1, "names": [[["params", "n"], 3]], "there": ["x"]},
    ),
    ev.NodeSucceeded(time=1.0, **ENDED, output={"rows": 3}, stored=True, won=("k",), wrote={"x": "0f"}),
    ev.NodeRetrying(time=1.0, **ENDED, retry_at=2.25, unknown=True),
    ev.NodeFailed(time=1.0, **ENDED, timed_out=True, unknown=True),
    ev.NodeInterrupted(time=1.0, **ENDED),
    ev.NodeCancelled(time=1.0, node="a", reason="run_failing", seconds=2.0),
    ev.NodeSkipped(time=1.0, node="a", reason="when"),
    ev.NodeServed(time=1.0, node="a", output=7, stored=True, of="other", key="0f", made=0.25),
]  # fmt: skip


def on_paper(event: ev.Event) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(ev.to_data(event)))
    return data


def test_every_event_has_its_example() -> None:
    assert {type(event) for event in FULL} == set(ev.EVENTS.values())


@pytest.mark.parametrize("event", FULL, ids=lambda event: event.name)
def test_an_event_comes_back_from_paper_as_it_was(event: ev.Event) -> None:
    assert ev.from_data(on_paper(event)) == event


@pytest.mark.parametrize("event", FULL, ids=lambda event: event.name)
def test_what_a_later_version_adds_to_an_event_is_passed_over(event: ev.Event) -> None:
    assert ev.from_data({**on_paper(event), "from_the_future": [1]}) == event


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, {"file": "x"}, "text", 1.5, True])
def test_an_output_of_any_value_comes_back(value: object) -> None:
    event = ev.NodeSucceeded(time=1.0, node="a", attempt=1, exit_code=0, output=value)
    back = ev.from_data(on_paper(event))
    assert isinstance(back, ev.NodeSucceeded)
    assert (type(back.output), back.output) == (type(value), value)


def test_what_has_its_default_is_not_written() -> None:
    assert on_paper(ev.NodeStarted(time=0.0, node="a", attempt=1)) == {
        "event": "node_started", "time": "1970-01-01T00:00:00.000000Z", "node": "a", "attempt": 1,
    }  # fmt: skip


def test_an_unknown_event_and_a_missing_fact_are_refused() -> None:
    with pytest.raises(KeyError):
        ev.from_data({"event": "node_exploded", "time": "2026-01-31T10:00:00.000000Z"})
    with pytest.raises(TypeError):
        ev.from_data({"event": "node_ready", "time": "2026-01-31T10:00:00.000000Z"})


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (1_769_853_600.25, "2026-01-31T10:00:00.250000Z"),
        (1_769_853_600.0, "2026-01-31T10:00:00.000000Z"),
        (1_769_853_599.9999998, "2026-01-31T10:00:00.000000Z"),
    ],
)
def test_a_time_is_utc_with_six_digits(moment: float, text: str) -> None:
    assert ev.to_data(ev.NodeReady(time=moment, node="a"))["time"] == text
    retrying = ev.NodeRetrying(time=moment, node="a", attempt=1, retry_at=moment)
    assert ev.to_data(retrying)["retry_at"] == text


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_time_of_whole_microseconds_comes_back_exactly(micros: int) -> None:
    assert instant.from_text(instant.to_text(micros / 1_000_000)) == micros / 1_000_000
