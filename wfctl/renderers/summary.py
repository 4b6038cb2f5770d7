"""A run as a page of Markdown, for the summary of a CI job: how it went, the graph, what failed, each node.

Knows no file and no service: it is told how long the page may be."""

from __future__ import annotations

import re
from html import escape

from wfctl.renderers.account import Account, Case
from wfctl.renderers.text import duration, mark, plural, safe, state_word

LOG = 30
"""Lines of a log."""

FAILURES = 20
"""Failures that are told with their log."""

ROWS = 1000
"""Rows of the table of nodes."""

OPEN = 30
"""Rows from which on the table is folded."""

GRAPH = 45_000
"""Characters of a graph: Mermaid draws none with over 50,000, nor one with over 500 edges."""

EDGES = 500

_ACTIVE = re.compile("[\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]")


def render(account: Account, last_words: str, graph: str = "", most: int = 1_000_000) -> str:
    """The page, in at most so many bytes: what is less important goes first where there is no room.

    `last_words` is what a terminal would show at the end, `graph` Mermaid's text of the run.
    """
    head = "\n".join([_title(account), "", _pre(last_words.rstrip("\n")), ""]) + "\n"
    parts = [_failures(account), _undone(account), _graph(graph), _table(account, ROWS)]
    smaller = [_failures(account, 5, 5), _undone(account, 50), "", _table(account, 50)]
    for page in (head + "".join(parts), head + "".join(smaller), head):
        if _size(page) <= most:
            return page
    return ""


def _size(text: str) -> int:
    return len(text.encode("utf-8"))


def _title(account: Account) -> str:
    words = f"{_code(account.workflow)} {state_word(account.state)} · {duration(account.seconds)}"
    return f"### {mark(account.state)} {words}"


def _failures(account: Account, most: int = FAILURES, lines: int = LOG) -> str:
    bad = account.bad()
    if not bad:
        return ""
    text = "#### What went wrong\n\n"
    for case in bad[:most]:
        place = ""
        if case.place is not None:
            line = f":{case.place.line}" if case.place.line else ""
            place = f" · {_code(case.place.file + line)}"
        text += f"**{mark(case.state)}** {_code(case.node)} · {_code(case.message[:1000])}{place}\n\n"
        if case.log:
            text += _pre("\n".join(line[:500] for line in case.log[-lines:])) + "\n\n"
    if len(bad) > most:
        text += f"and {plural(len(bad) - most, 'more node')}; all of them: {_code(account.status_command)}\n\n"
    return text


def _undone(account: Account, most: int = 500) -> str:
    if not account.undone:
        return ""
    text = "#### The rollback\n\n" + (f"{_code(account.why_undone)}\n\n" if account.why_undone else "")
    for one in account.undone[:most]:
        note = f" · {_code(one.note[:1000])}" if one.note else ""
        word = "not undone yet" if one.state == "waiting" else state_word(one.state)
        text += f"- {mark(one.state)} {_code(one.node)} {word}{note}\n"
    if len(account.undone) > most:
        text += f"- and {plural(len(account.undone) - most, 'more node')}\n"
    return text + "\n"


def _graph(graph: str) -> str:
    if not graph:
        return ""
    edges = sum(" --> " in line or " -.-> " in line for line in graph.splitlines())
    if len(graph) > GRAPH or edges > EDGES:
        return "The graph is too large to be drawn here.\n\n"
    return f"```mermaid\n{graph}```\n\n"


def _table(account: Account, most: int) -> str:
    cases = sorted(account.cases, key=lambda case: not case.is_bad) if len(account.cases) > most else account.cases
    rows = ["| | node | state | took | |", "|---|---|---|--:|---|", *map(_row, cases[:most])]
    if len(cases) > most:
        rows.append(f"| | and {plural(len(cases) - most, 'more node')} | | | |")
    text = "\n".join(rows) + "\n"
    if len(rows) <= OPEN:
        return f"{text}\n"
    return f"<details><summary>{plural(len(cases), 'node')}</summary>\n\n{text}\n</details>\n\n"


def _row(case: Case) -> str:
    note = f"from run {case.served}" if case.served else case.message[:300] if case.message != case.state else ""
    again = f" · {case.attempts} attempts" if case.attempts > 1 else ""
    took = duration(case.seconds) if case.seconds else ""
    words = f"{_code(note) if note else ''}{again}"
    return f"| {mark(case.state)} | {_code(case.node)} | {state_word(case.state)} | {took} | {words} |"


def _code(text: str) -> str:
    """Foreign text within a line: each sign that Markdown or HTML might take for its own is spelt by its number."""
    signs = _ACTIVE.sub(lambda found: f"&#{ord(found[0])};", safe(text))
    # In `code` nobody is called by name, and nothing becomes a link.
    return f"<code>{signs}</code>" if signs else ""


def _pre(text: str) -> str:
    """Foreign lines."""
    return f"<pre>{escape(safe(text, lines=True), quote=False)}</pre>"
