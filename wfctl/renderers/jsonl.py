"""The events of a run as JSON, one object a line, for programs.

Knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wfctl import events as ev
from wfctl.renderers.text import json_text
from wfctl.state import RunState

_FOR_RESUME_ONLY = ("definition", "digest", "request", "version")


class JsonLines:
    """Writes each event of a run; the last line is `run_finished`."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def events(self, events: Sequence[ev.Event], state: RunState) -> None:
        """Take the events of one turn."""
        lines = []
        for event in events:
            data = {"event": "", "time": "", "run": state.id, **ev.to_data(event)}
            for key in _FOR_RESUME_ONLY:
                data.pop(key, None)
            if isinstance(event, ev.RunFinished):
                data = {**data, "failed": list(event.failed), "outputs": dict(event.outputs)}
            lines.append(json_text(data) + "\n")
        self._write("".join(lines))
