"""What went wrong as annotations, which GitHub Actions shows beside the line of the file that they are of.

Knows nothing of what else a step prints."""

from __future__ import annotations

from wfctl.errors import Fault
from wfctl.renderers.account import Account, Case, Place
from wfctl.renderers.commands import command
from wfctl.renderers.text import plural, safe, state_word

MOST = 9
"""Errors, and warnings: a step has ten of each at most, and one is the service's own, of the exit code."""

LINES = 10
"""Lines of a log in one annotation."""

LENGTH = 4000
"""Characters in one; with over 4,096 the service leaves it out."""


def render(account: Account) -> str:
    """A line for each node that went wrong: an error, or a warning where the run is none the worse for it."""
    bad = account.bad()
    tolerated = [case for case in account.cases if case.tolerated]
    return _told("error", bad, account) + _told("warning", tolerated, account)


def fault(found: Fault) -> str:
    """A fault of a file."""
    hint = f"; {found.hint}" if found.hint else ""
    path = f"{found.path}: " if found.path else ""
    text = path + found.message + hint
    return command("error", text[:LENGTH], file=found.file, line=found.line, col=found.column)


def places(account: Account) -> str:
    """The same as plain lines, for a service that has no annotations: where each is written, and why it failed."""
    lines = []
    for case in account.bad()[:MOST]:
        place = case.place or Place(account.file)
        line = f":{place.line}:{place.column}" if place.line else ""
        lines.append(f"{safe(place.file)}{line}: {safe(case.node)}: {safe(case.message)[:1000]}\n")
    return "".join(lines)


def _told(level: str, cases: list[Case], account: Account) -> str:
    shown = cases if len(cases) <= MOST else cases[: MOST - 1]
    text = "".join(_annotation(level, case, account) for case in shown)
    if len(cases) > len(shown):
        more = f"{plural(len(cases) - len(shown), 'more node')} went wrong; all of them: {account.status_command}"
        text += command(level, more, file=account.file, title=f"{account.workflow} and more")
    return text


def _annotation(level: str, case: Case, account: Account) -> str:
    place = case.place or Place(account.file)
    message = safe(case.message)[:1000]
    room = LENGTH - len(message)
    lines: list[str] = []
    for line in reversed(case.log[-LINES:]):
        line = safe(line)
        room -= len(line) + 1
        if room < 0:
            break
        lines.insert(0, line)
    title = f"{safe(case.node)[:200]} {state_word(case.state)}"
    return command(
        level, "\n".join([message, *lines]), file=place.file, line=place.line, col=place.column, title=title
    )
