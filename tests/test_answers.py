"""What people have answered: the first answer counts, what cannot be understood is none, and may be given anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wfctl.answers import Ear, leave, read
from wfctl.errors import UsageError
from wfctl.jobs import Answer
from wfctl.store import RunFolder

YES = Answer(node="g.q", choice="approve", by="ada", reason="fine")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder("r", tmp_path)


def path(folder: RunFolder) -> Path:
    return folder.path / "answers" / "g.q.1.json"


def ear(folder: RunFolder, *nodes: str) -> Ear:
    asking = [(node, 1, ("approve", "reject")) for node in nodes]
    return Ear(folder, lambda: asking, lambda text: None)


def test_an_answer_is_there_until_the_end_of_the_run(folder: RunFolder) -> None:
    leave(folder, YES, 1)
    assert read(folder, "g.q", 1) == YES
    assert ear(folder, "other", "g.q").answers() == [YES]
    assert read(folder, "g.q", 2) is None, "each attempt asks anew"


def test_the_first_answer_counts(folder: RunFolder) -> None:
    leave(folder, YES, 1)
    with pytest.raises(UsageError, match=r'"g\.q" was answered before: "approve" by ada'):
        leave(folder, Answer(node="g.q", choice="reject"), 1)
    assert os.listdir(folder.path / "answers") == ["g.q.1.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"choice": "approve"}', "\xff\x00"])
def test_what_cannot_be_read_is_no_answer_and_can_be_given_anew(folder: RunFolder, text: str) -> None:
    leave(folder, YES, 1)
    path(folder).write_text(text, encoding="latin-1")
    assert ear(folder, "g.q").answers() == []
    leave(folder, YES, 1)
    assert ear(folder, "g.q").answers() == [YES]


def test_what_was_not_asked_is_no_answer(folder: RunFolder) -> None:
    leave(folder, Answer(node="g.q", choice="whatever", by="eve"), 1)
    assert ear(folder, "g.q").answers() == []
