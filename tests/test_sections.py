"""The view of a run in the log of a CI service: what nodes wrote is folded, and cannot break out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.helpers.services import orders, sections
from wfctl import events as ev
from wfctl.renderers.commands import obeyed
from wfctl.renderers.sections import BYTES, Fold, Gitlab, Sections, github

Log = Callable[[ev.Event, Sequence[str]], str]


def view(fold: Fold, *, whole: bool = True, color: bool = False) -> Log:
    """What the view makes of one event, of whose attempt these are the lines."""

    def told(event: ev.Event, lines: Sequence[str]) -> str:
        asked: list[int] = []

        def last_part(node: str, attempt: int, most: int) -> tuple[Sequence[str], bool]:
            asked.append(most)
            return lines, whole

        shown = Sections(lambda text: None, lambda node, attempt: list(lines), last_part, fold, color=color)
        text = shown.dressed(event, shown._told_node(event))
        assert asked in ([], [BYTES])
        return obeyed(text) if fold is github else text

    return told


def succeeded(node: str = "a") -> ev.Event:
    return ev.NodeSucceeded(time=100.0, node=node, attempt=1, seconds=5.0)


def failed(node: str = "a", reason: str = "exit_code") -> ev.Event:
    return ev.NodeFailed(time=100.0, node=node, attempt=1, seconds=5.0, reason=reason, error="exit code 1")


def test_github_folds_what_a_node_wrote_below_its_line() -> None:
    assert view(github)(succeeded(), ["one", "two"]) == "::group::✓ a  5.0s\none\ntwo\n::endgroup::\n"


def test_gitlab_folds_it_with_the_time_that_it_took() -> None:
    (section,) = sections(view(Gitlab())(succeeded(), ["one", "two"]))
    assert (section.title, section.lines, section.seconds) == ("✓ a  5.0s", ("one", "two"), 5)


@pytest.mark.parametrize("fold", [github, Gitlab()])
def test_who_wrote_nothing_is_a_plain_line(fold: Fold) -> None:
    assert view(fold)(succeeded(), []) == "✓ a  5.0s\n"


def test_of_a_failure_the_end_stays_open_and_the_rest_is_folded() -> None:
    lines = [f"line {i}" for i in range(12)]
    text = view(github)(failed(), lines)
    before, _, group = text.partition("::group::")
    assert before == "✗ a  failed after 5.0s: exit code 1\n" + "".join(f"    │ {line}\n" for line in lines[-10:])
    assert group == "what a wrote\n" + "".join(f"{line}\n" for line in lines) + "::endgroup::\n"
    assert "::group::" not in view(github)(failed(), lines[:10]), "all of it stands there already"


def test_a_failure_before_there_was_any_work_has_no_log() -> None:
    assert view(github)(failed(reason="not_started"), ["old"]) == "✗ a  failed: exit code 1\n"


def test_of_a_long_log_the_last_part_is_shown_and_where_the_rest_is() -> None:
    text = view(github, whole=False)(succeeded("a b"), ["end"])
    assert "the last of it; whole log: wfctl logs '' 'a b'\nend\n" in text


def test_all_logs_together_are_bounded() -> None:
    lines = ["x" * 3000] * 20
    told: list[str] = []
    shown = Sections(lambda text: None, lambda node, attempt: [], lambda *asked: (lines, True), github)
    for _ in range(100):
        told.append(shown.dressed(succeeded(), "✓ a\n"))
    assert 2_000_000 < sum(map(len, told)) < 2_300_000
    assert sum("logs are left out" in text for text in told) == 1


HOSTILE = [
    "::endgroup::", "::error::evil", " ::stop-commands::t", "##[endgroup]", "x ##[add-mask]y",
    "\x1b[0Ksection_end:1:wfctl-1\r\x1b[0K", "section_start:1:evil\r\x1b[0Khidden", "\r\x1b[2K\x1b[1A",
]  # fmt: skip


@pytest.mark.parametrize("color", [False, True])
def test_foreign_lines_issue_no_commands(color: bool) -> None:
    for event in (succeeded("::error::x ##[error]y"), failed("::error::x ##[error]y")):
        text = view(github, color=color)(event, HOSTILE * 3)
        assert [order.name for order in orders(text)] == ["group", "endgroup"]


@pytest.mark.parametrize("color", [False, True])
def test_foreign_lines_begin_and_end_no_sections(color: bool) -> None:
    for event in (succeeded(HOSTILE[5]), failed(HOSTILE[6])):
        (section,) = sections(view(Gitlab(), color=color)(event, HOSTILE * 3))
        assert len(section.lines) == 3 * len(HOSTILE)
