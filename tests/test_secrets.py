"""Secrets on both sides of a process: sealed in its job, filled in at the last moment, taken out of what it left."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.simulate import build
from wfctl import environment, expr, secrets, values
from wfctl.decide import Leavings
from wfctl.errors import Invalid, UsageError
from wfctl.jobs import Completion, Ending, Job, Place, Result, Task
from wfctl.secrets import Secrets

HELD = Secrets({"A": "hunter2hunter", "B": "swordfish"})


# -- sealed texts


def sealed(value: object, vars: Mapping[str, object] | None = None, **names: object) -> tuple[str, ...]:
    parsed = {name: expr.parse_value(var) for name, var in (vars or {}).items()}
    return values.seal(expr.parse_value(value), {"params": names, "vars": parsed}, parsed)


def test_a_sealed_text_has_names_in_the_place_of_values() -> None:
    assert sealed("x ${{ secrets.A }}-${{ secrets.B }}") == ("x ", "A", "-", "B", "")
    assert sealed("${{ secrets.A }}") == ("", "A", "")
    assert values.unseal(("x ", "A", "-", "B", ""), HELD.values) == "x hunter2hunter-swordfish"


def test_vars_may_stand_between_a_secret_and_its_use() -> None:
    vars = {"auth": {"user": "me", "port": 5, "password": "${{ secrets.A }}"}, "url": "me:${{ vars.auth.password }}@db"}
    assert sealed("${{ vars.url }}/${{ params.n }}", vars, n=3) == ("me:", "A", "@db/3")
    assert sealed("${{ vars.auth.user }}:${{ vars.auth.port }}", vars) == ("me:5",)


def test_no_value_of_an_expression_is_taken_for_a_secret() -> None:
    for said in ("A", "\x01A\x01", "${{ secrets.A }}", "***"):
        assert sealed("${{ params.said }}", said=said) == (said,)
    with pytest.raises(expr.ExpressionError, match="NUL"):
        sealed("${{ params.said }}", said="\0A\0")


def node(keys: dict[str, Any]) -> Any:
    data = {
        "version": 1,
        "secrets": ["A", "B"],
        "vars": {"url": "x${{ secrets.B }}"},
        "nodes": {"n": {"run": "true", **keys}},
    }
    plan, problems = build(data)
    assert not problems, problems
    return plan.nodes["n"].node


def test_a_node_receives_what_it_lists_and_what_its_env_holds() -> None:
    assert node({}).receives == ()
    assert node({"secrets": ["A"]}).receives == ("A",)
    assert node({"env": {"URL": "${{ vars.url }}", "C": "c"}}).receives == ("B",)
    both = node({"secrets": ["A"], "env": {"URL": "${{ vars.url }}", "C": "c"}})
    assert (both.receives, both.sealed, both.secrets) == (("A", "B"), {"URL"}, ("A",))


# -- the file of --env-file


def env_file(folder: Path, content: str | bytes) -> dict[str, str]:
    path = folder / "x.env"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return environment.read(str(path))


def test_an_env_file_holds_names_and_values_as_they_stand(tmp_path: Path) -> None:
    text = '\ufeff# a comment\n\nA=plain\nexport B=\'a "b" $HOME ${A} # c\'\r\nC="two\nlines\\n"\nD=\nA=last\n'
    wanted = {"A": "last", "B": 'a "b" $HOME ${A} # c', "C": "two\nlines\n", "D": ""}
    assert env_file(tmp_path, text) == wanted


def test_every_fault_of_an_env_file_is_told_with_its_line_and_without_its_words(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        env_file(tmp_path, "A=1\n\nNAME\n# c\nno such hunter2 line\nB='open\nC=2\nD=a\0b\n")
    told = [str(fault).removeprefix(f"{tmp_path}/") for fault in caught.value.faults]
    assert [text.split(": ")[0] for text in told] == ["x.env:3:1", "x.env:5:1", "x.env:6:1", "x.env:8:1"]
    assert "has no value; write NAME=value" in told[0]
    assert "hunter2" not in "".join(told)


def test_a_line_of_an_env_file_without_a_value_may_be_one_of_a_key_and_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        env_file(tmp_path, "KEY=-----BEGIN-----\nMIIEhunter2\n-----END-----\n")
    assert "hunter2" not in str(caught.value)


def test_an_env_file_names_no_variable_that_no_process_can_be_given(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r'x\.env:2:1: the name of a variable cannot hold "="; take it out'):
        env_file(tmp_path, "B=1\n'A=hunter2'=c\n")


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"x\.env:2:1: the byte 0xe9 is not UTF-8; save it as UTF-8"):
        env_file(tmp_path, b"A=1\nB=caf\xe9\n")


@pytest.mark.parametrize("name", ["missing.env", ".", "a\0b"])
def test_an_env_file_that_cannot_be_read_is_a_clear_text(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"--env-file .*; name a file of NAME=value lines"):
        environment.read(str(tmp_path / name))


def test_a_secret_must_be_there_and_long_enough_to_be_hidden() -> None:
    given = {"GOOD": "1234", "EMPTY": "", "SHORT": "abc", "BLANK": "     a", "LARGE": "x" * 200_000}
    found, wrong = environment.secrets([*given, "MISSING"], given)
    assert found == {"GOOD": "1234"}
    assert {name: what.partition(f'"{name}" ')[2] for name, (what, _) in wrong.items()} == {
        "EMPTY": "is empty in the environment",
        "SHORT": "has less than 4 characters, too few to be told from other text in a log",
        "BLANK": "has less than 4 characters, too few to be told from other text in a log",
        "LARGE": "is 195 KiB, and more than 100 KiB cannot be handed to a process",
        "MISSING": "is missing in the environment",
    }
    assert wrong["MISSING"][1] == "set it: MISSING=… wfctl …, or name a file that has it: --env-file FILE"


# -- what is left behind


def left_by(folder: Path, **content: str | bytes) -> tuple[Any, Path]:
    """What `collect` makes of an attempt that left this in its `log`, `stdout` and `output`."""
    for name, text in content.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    job = Job(
        id="r/n/1",
        node="n",
        attempt=1,
        sealed={"T": ("", "A", "")},
        log=str(folder / "log"),
        stdout=str(folder / "stdout") if "stdout" in content else None,
        output=str(folder / "output"),
        reading="json" if "stdout" in content else "none",
    )
    return HELD.collect(job, Completion(job_id=job.id, ending=Ending.EXITED, code=0)), folder


def test_a_log_is_scrubbed_and_an_output_without_secrets_is_taken(tmp_path: Path) -> None:
    left, folder = left_by(tmp_path, log="it is hunter2hunter\n", output='{"swordfish": 1}')
    assert (left.output, left.error) == ({"swordfish": 1}, "")
    assert (folder / "log").read_text() == "it is *************\n"


@pytest.mark.parametrize("where", ["stdout", "output"])
@pytest.mark.parametrize(
    "text",
    ['"hunter2hunter"', '{"hunter2hunter": 1}', '["aHVudGVyMmh1bnRlcg=="]', '"' + "x" * 100_000 + 'hunter2hunter"',
     '"\\u0068\\u0075nter2hunter"', "no JSON, but hunter2hunter"],
    ids=["value", "key", "base64", "large", "escaped", "damaged"],
)  # fmt: skip
def test_an_output_that_holds_a_secret_is_none_and_leaves_none(tmp_path: Path, where: str, text: str) -> None:
    left, folder = left_by(tmp_path, **{where: text})
    assert (left.output, left.file, left.reason) == (None, None, "secret")
    assert left.error == 'its output held the secret "A", and outputs are recorded; leave it out, or write it to a file'
    files = [path.read_bytes() for path in folder.iterdir()]
    assert not any(
        b"hunter2" in content or b"aHVudGVyMmh1bnRlcg" in content or b"\\u0068" in content for content in files
    )


@pytest.mark.parametrize("text", ["!no JSON, but hunter2hunter", "!" + "x" * 51 + "hunter2hunter", '"hunter2hunter"'])
def test_an_output_that_leads_to_a_file_with_a_secret_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "own").write_text(text)
    (tmp_path / "output").symlink_to(tmp_path / "own")
    left, folder = left_by(tmp_path)
    assert (left.output, left.error) == (None, "$WFCTL_OUTPUT is no file; write one there, or nothing")
    assert not os.path.lexists(folder / "output")
    assert (folder / "own").read_text() == text  # that is the node's own


def test_a_folder_in_the_place_of_an_output_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "x").write_text("hunter2hunter")
    left, folder = left_by(tmp_path)
    assert left.error == "$WFCTL_OUTPUT is no file; write one there, or nothing"
    assert not (folder / "output").exists()


def test_secrets_of_other_nodes_are_no_affair_of_a_node(tmp_path: Path) -> None:
    left, folder = left_by(tmp_path, log="swordfish", output='"swordfish"')
    assert left.output == "swordfish"
    assert (folder / "log").read_text() == "swordfish"


def test_an_output_over_the_limit_is_not_looked_through_and_not_kept(tmp_path: Path) -> None:
    with open(tmp_path / "output", "wb") as file:
        file.truncate(10 * 1024**3)
    left, folder = left_by(tmp_path)
    assert "over 16 MiB" in left.error
    assert not (folder / "output").exists()


def test_what_a_dead_engine_left_is_scrubbed_all_of_it(tmp_path: Path) -> None:
    names = ("log", "stdout", "output")
    for name in (*names, "output.json"):
        (tmp_path / name).write_text("hunter2hunter")
    for name in ("output.result", "output.result.draft"):  # which nobody will read
        (tmp_path / name).write_text("hunter2hunter")
    HELD.scrub(Place(**{name: str(tmp_path / name) for name in names}, stdin="", values=""), ("A",))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"*" * 13}


# -- results of tasks


def of_task(folder: Path, result: Result) -> Leavings:
    """What `collect` makes of a result that was left in this process."""
    task = Task(kind="call", fields={}, result=str(folder / "output.result"))
    job = Job(id="r/n/1", node="n", attempt=1, task=task, sealed={"T": ("", "A", "")}, output=str(folder / "output"))
    return HELD.collect(job, Completion(job_id=job.id, ending=Ending.EXITED, code=0, result=result))


def test_an_error_is_recorded_without_its_secrets_also_where_it_is_cut(tmp_path: Path) -> None:
    for before in (0, 1_985, 1_992, 1_999):
        left = of_task(tmp_path, Result(reason="status", error="." * before + "hunter2hunter" + "." * 5_000))
        assert len(left.failure) == 2_000
        assert "h" not in left.failure
        assert left.failed == "status"


def test_a_failure_keeps_its_reason_where_its_output_held_a_secret(tmp_path: Path) -> None:
    left = of_task(tmp_path, Result(output="x" * 100_000 + "hunter2hunter", reason="status", error="500"))
    assert (left.output, left.file, left.failed, left.failure, left.reason) == (None, None, "status", "500", "secret")
    assert list(tmp_path.iterdir()) == []


def test_a_job_says_what_it_is_handed() -> None:
    job = Job(id="r/n/1", node="n", attempt=1, sealed={"X": ("a", "B", "b", "A", ""), "A": ("", "A", "")})
    assert secrets.names_of(job) == ("A", "B")
