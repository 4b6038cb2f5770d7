"""A run as JUnit XML, which nearly every CI service reads: one case a node.

Knows no file: it gives back text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wfctl.renderers.account import Account, Case
from wfctl.renderers.text import safe

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TAGS = {"failed": "failure", "error": "error", "skipped": "skipped"}


def render(account: Account, *, placed: bool = False) -> str:
    """The account as one `testsuite` in `testsuites`: well-formed whatever names and logs hold, and valid by the schema
    of Jenkins (junit-10.xsd), of which some readers refuse what is not.

    With `placed` each case says where its node is written, by attributes that other services show and this schema does
    not know.
    """
    from xml.etree import ElementTree

    cases = list(account.all_cases())
    count = {verdict: sum(case.verdict == verdict for case in cases) for verdict in _TAGS}
    totals = {
        "name": _attribute(account.workflow),
        "tests": str(len(cases)),
        "failures": str(count["failed"]),
        "errors": str(count["error"]),
        "time": _time(account.seconds),
    }
    top = ElementTree.Element("testsuites", totals)
    more = {"skipped": str(count["skipped"]), "timestamp": account.started, "file": _attribute(account.file)}
    suite = ElementTree.SubElement(top, "testsuite", {**totals, **more})
    code = "" if account.exit_code is None else str(account.exit_code)
    _properties(
        suite,
        {"run": account.run, "state": account.state, "exit_code": code, "error": account.error},
    )
    for case in cases:
        _add(suite, case, account.workflow, placed)
    ElementTree.indent(top, " ")
    # Not as bytes: `unicode` writes no declaration of an encoding, which is then ours to write and true.
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(top, encoding="unicode")}\n'


def _add(suite: Element, case: Case, workflow: str, placed: bool) -> None:
    from xml.etree.ElementTree import SubElement

    attributes = {"classname": _attribute(workflow), "name": _attribute(case.node), "time": _time(case.seconds)}
    if placed and case.place is not None:
        attributes["file"] = _attribute(case.place.file)
        if case.place.line:
            attributes["line"] = str(case.place.line)
    element = SubElement(suite, "testcase", attributes)
    if case.verdict in _TAGS:
        kind = "tolerated" if case.tolerated else case.reason or case.state
        why = {"message": _attribute(case.message), "type": _attribute(kind)}
        # Some readers show the message, some the text: so that holds both.
        SubElement(element, _TAGS[case.verdict], why).text = "\n".join(map(_text, (case.message, *case.log)))
    # Not as properties: the schema has none for a case. And not where all went as it should: GitLab reads no file with
    # more than 250,000 things in it.
    if case.verdict in _TAGS or case.served or case.attempts > 1:
        SubElement(element, "system-out").text = "".join(f"{name}: {value}\n" for name, value in _facts(case).items())


def _facts(case: Case) -> dict[str, str]:
    """What else is known of a node; what is not is left out."""
    place = ""
    if case.place is not None:
        place = f"{case.place.file}:{case.place.line}" if case.place.line else case.place.file
    facts = {
        "state": case.state,
        "kind": case.kind,
        "reason": case.reason,
        "attempts": str(case.attempts or ""),
        "exit_code": "" if case.exit_code is None else str(case.exit_code),
        "served_from": case.served,
        "tolerated": "true" if case.tolerated else "",
        "written": place,
    }
    return {name: _attribute(value) for name, value in facts.items() if value}


def _properties(element: Element, facts: dict[str, str]) -> None:
    """What is known; what is empty says nothing."""
    from xml.etree.ElementTree import SubElement

    known = {name: value for name, value in facts.items() if value}
    if known:
        inside = SubElement(element, "properties")
        for name, value in known.items():
            SubElement(inside, "property", {"name": name, "value": _attribute(value)})


def _attribute(text: str) -> str:
    return _xml(safe(text))


def _text(text: str) -> str:
    return _xml(safe(text, lines=True))


def _xml(text: str) -> str:
    """The two characters that are printable to us and that XML has no way to hold."""
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _time(seconds: float) -> str:
    return f"{max(0.0, seconds):.3f}"
