"""The colours of states in pictures that others draw, light enough for black text on any page.

Knows nothing of how they draw."""

from __future__ import annotations

from wfctl.renderers.text import Style, look

_FILLS: dict[Style, tuple[str, str]] = {
    "green": ("#d7f5dd", "#2da44e"),
    "bold red": ("#ffdce0", "#cf222e"),
    "bold cyan": ("#d8f0ff", "#0969da"),
    "cyan": ("#eef7ff", "#54aeff"),
    "yellow": ("#fff3c4", "#bf8700"),
    "bold yellow": ("#fff3c4", "#bf8700"),
    "magenta": ("#f3e3ff", "#8250df"),
    "dim": ("#f3f4f6", "#9aa0a6"),
}


def fill(state: str | None) -> tuple[str, str]:
    """Fill and border of a box in this state; white for what has none."""
    return _FILLS.get(look(state or "").style, ("#ffffff", "#57606a"))
