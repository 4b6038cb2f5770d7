"""What to type next: commands that a shell takes as they stand there."""

from __future__ import annotations

import shlex

import pytest

from wfctl.renderers.advice import Advice, shell_word

WORDS = ["a", "rain[2012]", "it's", "a b", "$(rm)", "~/x", "~", "x~", "日本", "", "*", "!", "-x", "a=b"]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_one_word_for_a_shell_whatever_it_holds(word: str) -> None:
    assert shlex.split(shell_word(word)) == [word]


def test_most_words_need_no_quotes() -> None:
    assert shell_word("extract_2-b.x/y") == "extract_2-b.x/y"


def test_the_next_command_looks_where_this_one_has_looked() -> None:
    advice = Advice(program=".venv/bin/wfctl", state_dir="my state", env_file="the env")
    begin = ".venv/bin/wfctl --state-dir 'my state'"
    assert advice.command("logs", "r", "a b") == f"{begin} logs r 'a b'"
    assert advice.resume("r", wants_update=True) == f"{begin} resume r --update --env-file 'the env'"
    assert advice.retry_undo("r", "a[1]") == f"{begin} rollback r --retry 'a[1]' --env-file 'the env'"
    assert advice.undone_by_hand("r", "a") == f"{begin} rollback r --done a --reason TEXT --env-file 'the env'"
    assert advice.answers("r", {"ok": ["yes please", "no"]}) == [f"{begin} answer r ok 'yes please'|no"]


def test_where_nothing_was_said_nothing_is_added() -> None:
    assert Advice().resume("r") == "wfctl resume r"
