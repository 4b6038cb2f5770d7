"""A file opened for use: what it is called, and what is typed to fill it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfctl import flow
from wfctl.errors import Invalid, UsageError
from wfctl.plan import Request

DEEP = "[" * 3000 + "]" * 3000


def opened(folder: Path, text: str = "nodes: {a: {run: 'true'}}", name: str = "flow.yaml") -> flow.Flow:
    (folder / name).write_text(f"version: 1\n{text}\n")
    return flow.read(str(folder / name))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("nightly-load.yaml", "nightly-load"),
        ("deploy", "deploy"),
        (".yaml", "flow"),
        ("we ird é.yaml", "we_ird__"),
        ("my.flow.yml", "my_flow"),
        ("2026.yaml", "_2026"),
        ("-x.yaml", "_-x"),
        ("x" * 200 + ".yaml", "x" * 99),
    ],
)
def test_a_workflow_without_a_name_is_called_by_its_file_and_that_is_an_id(
    file: str, name: str, tmp_path: Path
) -> None:
    assert opened(tmp_path, name=file).workflow.name == name


@pytest.mark.parametrize("typed", ["5.0", "5e0", "5"])
def test_a_whole_number_for_an_integer_is_one(typed: str, tmp_path: Path) -> None:
    file = opened(tmp_path, "params: {n: {type: integer}, x: {type: number}}\nnodes: {a: {run: 'true'}}")
    (tmp_path / "params.yaml").write_text(f"n: {typed}\nx: {typed}")
    for words, source in ((["n=" + typed, "x=" + typed], None), ([], str(tmp_path / "params.yaml"))):
        given = flow.params(file, words, source, {})
        assert (repr(given["n"]), given["x"]) == ("5", 5.0)
    with pytest.raises(Invalid):
        flow.params(file, ["n=5.5", "x=1"], None, {})


def test_a_param_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    file = opened(tmp_path, "params: {any: {}}\nnodes: {a: {run: 'true'}}")
    for text in (DEEP, "[" * 101 + "1" + "]" * 101, '{"a":' * 500 + "1" + "}" * 500):
        with pytest.raises(UsageError, match=r"^-p any: is nested more than 100 deep; "):
            flow.params(file, [f"any={text}"], None, {})
    good = "[" * 100 + "]" * 100
    assert repr(flow.params(file, [f"any={good}"], None, {})["any"]) == good


def test_a_setting_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    file = opened(tmp_path).path
    with pytest.raises(UsageError, match=r"^--set vars\.x: is nested more than 100 deep; "):
        flow.read(file, [f"vars.x={DEEP}"])


def test_a_missing_env_is_told_where_a_param_leans_on_it(tmp_path: Path) -> None:
    text = "env: {Q: {}}\nparams: {x: {type: string, default: '${{ env.Q }}'}}\nnodes: {a: {run: 'true'}}"
    file = opened(tmp_path, text)
    with pytest.raises(Invalid) as told:
        flow.planned(file, Request(params=flow.params(file, (), None, {})))
    [fault] = told.value.faults
    assert (fault.line, fault.message) == (2, 'the environment has no "Q"')


def test_a_cwd_outside_of_the_root_is_told_with_its_place(tmp_path: Path) -> None:
    file = opened(tmp_path, "nodes:\n  a: {run: 'true', cwd: ../..}")
    [fault] = flow.check(file, Request(folder=str(tmp_path)))
    assert (fault.line, fault.path) == (3, "nodes.a.cwd")
    assert fault.message == '"../.." leads out of the root folder; set root: .. where that is meant'
