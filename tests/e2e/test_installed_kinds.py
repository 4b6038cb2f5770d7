"""A kind that an installed package has: the one of docs/kinds.md, used, misused, broken and gone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Command

BLOCK = re.compile(r"```\w+\n# (\S+)\n(.*?)```", re.DOTALL)
FILES = dict(BLOCK.findall((ROOT / "docs/kinds.md").read_text()))
DATA = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"

Run = Callable[..., Any]


def install(folder: Path, **modules: str) -> None:
    """As an installer does it: the modules, and what `pyproject.toml` says in a `.dist-info` beside them."""
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    name, version = project["name"], project["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in kinds.items())
             for group, kinds in project["entry-points"].items()]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(lines))
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where packages are installed."""
    install(tmp_path / "site", wfctl_checksum=FILES["wfctl_checksum.py"])
    return tmp_path / "site"


@pytest.fixture
def run(site: Path, tmp_path: Path, wfctl: Command) -> Run:
    """Runs a verb on a file with these nodes: `run("check: {checksum: …}", verb="validate")`; code and texts."""

    def command(nodes: str, *words: str, verb: str = "run") -> tuple[int, str]:
        lines = "".join(f"  {line}\n" for line in nodes.splitlines())
        (tmp_path / "flow.yaml").write_text(f"version: 1\nparams: {{by: {{default: md5}}}}\nnodes:\n{lines}")
        ended = wfctl(verb, "flow.yaml", *words, env={"PYTHONPATH": f"{ROOT}:{site}"})
        assert "Traceback" not in ended.stderr
        return ended.returncode, ended.stderr + ended.stdout

    return command


def test_the_kind_of_the_documents_is_used_as_they_say(tmp_path: Path, site: Path, wfctl: Command) -> None:
    (tmp_path / "flow.yaml").write_text(FILES["flow.yaml"])
    env = {"PYTHONPATH": f"{ROOT}:{site}"}
    ended = wfctl("run", "flow.yaml", env=env)
    assert ended.returncode == 0, ended.stderr
    assert wfctl("output", "last", "check", env=env).stdout == f"{DATA}\n"
    assert wfctl("logs", "last", "check", env=env).stdout == f"{DATA}  data.csv\n"
    graph = json.loads(wfctl("graph", "flow.yaml", "--format", "json", env=env).stdout)
    assert [(e["from"], e["to"], e["file"]) for e in graph["edges"]] == [("fetch", "check", True)]  # by what it reads
    assert ("check", "checksum") in [(node["id"], node["kind"]) for node in graph["nodes"]]


def test_its_failure_and_what_cannot_start_are_those_of_a_node(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("other")
    code, text = run("a: {checksum: {file: data, is: x}, retry: {attempts: 2, delay: 0}}")
    assert code == 1
    assert '"data" has the checksum d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa' in text
    code, text = run("a: {checksum: {file: none}, retry: {attempts: 2, delay: 0}}")
    assert code == 1
    assert 'no file "none"; correct the name' in text


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ("a:\n  checksum: {file: x, by: crc}",
         'flow.yaml:5:29: nodes.a.checksum.by: "crc" is not one of "sha256", "sha512", "md5"'),
        ("a:\n  checksum: {by: md5}", 'flow.yaml:5:5: nodes.a.checksum: missing key "file"'),
        ("a:\n  checksum: {file: x, fiel: y}",
         'flow.yaml:5:25: nodes.a.checksum: unknown key "fiel"; did you mean "file"?'),
        ("a:\n  checksum: 3", "flow.yaml:5:15: nodes.a.checksum: expected a mapping, got 3"),
        ("a:\n  checksum: {file: '${{ parms.x }}'}",
         'flow.yaml:5:27: nodes.a.checksum.file: no name "parms" here; did you mean "params"?'),
        ("a:\n  checksum: {file: x}\n  run: 'true'",
         "flow.yaml:4:3: nodes.a: has two kinds, run and checksum; a node has exactly one"),
        ("a:\n  checksum: {file: x}\n  stdin: x",
         'flow.yaml:6:5: nodes.a.stdin: "stdin" goes with run, not with checksum'),
        ("a:\n  checksum: {file: x}\n  tiemout: 1s",
         'flow.yaml:6:5: nodes.a: unknown key "tiemout"; did you mean "timeout"?'),
        ("a:\n  cheksum: {file: x}", 'flow.yaml:5:5: nodes.a: unknown key "cheksum"; did you mean "checksum"?'),
        ("a:\n  nothing: {file: x}", 'flow.yaml:5:5: nodes.a: unknown key "nothing"'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_its_value_is_told_where_it_stands(run: Run, nodes: str, fault: str) -> None:
    code, text = run(nodes, verb="validate")
    assert code == 2
    assert text.startswith(fault)
    assert len(text.splitlines()) == 1


def test_a_kind_cannot_stand_in_the_defaults(run: Run) -> None:
    code, text = run("a: {checksum: {file: x}}", "--set", "defaults.checksum.file=y")
    assert code == 2
    assert "checksum is a kind, and every node names its own; leave it out" in text


def test_what_holds_an_expression_is_judged_by_its_value(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("data")
    assert run("a: {checksum: {file: data, by: '${{ params.by }}'}}")[0] == 0


def test_the_worker_finds_it_whatever_the_node_says_of_paths(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("data")
    assert run("a: {checksum: {file: data}, env: {PYTHONPATH: /nowhere}}")[0] == 0


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("import no_such_thing",
         "cannot be loaded: ModuleNotFoundError: No module named 'no_such_thing'; mend that package"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3; mend that package, or remove it"),
        ("x = 1", "cannot be loaded: AttributeError: module 'wfctl_checksum' has no attribute 'Checksum'"),
        ("class Checksum: pass",
         "lacks keys, secrets, slotless, parse, expressions, prepares, restores, paths, decides, prepare; derive it"),
        (("class Checksum:\n keys, secrets, slotless = (), frozenset(), False\n"
          " parse = expressions = prepares = paths = decides = prepare = None"), "lacks restores; derive it from"),
        ("from wfctl.fields import FieldsKind\nclass Checksum(FieldsKind): name = 'sum'",
         'calls itself "sum"; say name = "checksum" in its class'),
        ("from wfctl.fields import FieldsKind as K\nclass Checksum(K): name, schema = 'checksum', {'type': 'txt'}",
         'the kind "checksum" has a schema that is none: type "txt" is no type'),
    ],
)  # fmt: skip
def test_a_broken_package_is_a_fault_with_its_name_and_no_traceback(
    run: Run, site: Path, module: str, says: str
) -> None:
    (site / "wfctl_checksum.py").write_text(module)
    code, text = run("a:\n  checksum: {file: x}", verb="validate")
    assert code == 2
    assert text.startswith("flow.yaml:5:5: ")
    assert says in text
    assert len(text.splitlines()) == 1
    assert "schema" in says or 'the kind "checksum" of the package "wfctl-checksum 1.0"' in text


def test_a_run_whose_kind_is_gone_says_so(run: Run, site: Path, wfctl: Command, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("data")
    for _ in range(2):  # the second time much of the file might be remembered
        assert run("a: {checksum: {file: data}}")[0] == 0
    env = {"PYTHONPATH": str(ROOT)}
    for words in (["status", "last"], ["resume", "last"]):
        ended = wfctl(*words, env=env)
        assert ended.returncode == 6
        assert 'no kind "checksum" is installed any more, and this run was begun with it' in ended.stderr
        assert "Traceback" not in ended.stderr
    ended = wfctl("run", "flow.yaml", env=env)
    assert ended.returncode == 2
    assert 'nodes.a: unknown key "checksum"' in ended.stderr


def test_packages_are_looked_through_only_where_some_node_has_a_key_that_nobody_knows(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from wfctl import load
        for text in ("run: 'true'", "x-mine: 1, call: 'a:b', with: {x: 1}", "when: 3", "rnu: x"):
            open("flow.yaml", "w").write("version: 1\\nnodes: {a: {" + text + "}}")
            print(len(load.check(load.read("flow.yaml"))), "importlib.metadata" in sys.modules)
    """
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert shown.stdout.splitlines() == ["0 False", "0 False", "2 False", "1 True"], shown.stderr
