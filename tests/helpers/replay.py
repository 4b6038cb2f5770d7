"""A run shown to a view as its engine would show it, a turn for each event.

Runs nothing: the events are there before."""

from __future__ import annotations

from collections.abc import Iterator

from tests.helpers.simulate import Simulated
from wfctl import events as ev
from wfctl.renderers.plain import Plain
from wfctl.state import RunState


def turns(run: Simulated) -> Iterator[tuple[ev.Event, RunState]]:
    """Each event of the run, with the state after it."""
    state = RunState(run.plan)
    for event in run.events:
        state.apply(event)
        yield event, state


def show(run: Simulated, view: Plain, until: str = "") -> RunState:
    """Show the run to the view, up to and with the first event of the name `until`; the state then."""
    for event, state in turns(run):
        view.events([event], state)
        if event.name == until:
            break
    return state
