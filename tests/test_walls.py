"""The walls of the house: who may import whom, and what a start may load."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "wfctl"
MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
"""Every module by its name below `wfctl`: `engine`, `kinds/run`."""

CORE = "errors spec expr graph plan policy rollback events state decide jobs engine keys".split()
IMPURE = {"os", "subprocess", "time", "threading", "random", "socket", "asyncio", "multiprocessing"}

# Each library's one door. A door is a module, or a folder of plug-ins.
DOORS = {
    "ruamel": {"load"},
    "jsonschema": {"load"},
    "jsonschema_rs": {"load"},
    "diskcache": {"cache"},
    "dotenv": {"environment"},
    "typer": {"cli"},
    "sqlalchemy": {"databases"},
    "psycopg": {"postgres"},
}

# What a room may not see, itself or through `TYPE_CHECKING`: to name a type is to know it.
STORES = {"store", "journal", "cache", "leases"}
WALLS = {
    "engine": {"app", "cli", "executors", "renderers", *STORES},
    "executors": {"plan", "state", "noderun", "decide", "engine", "app", "cli", *STORES},
    "renderers": {"engine", "app", "cli", *STORES},
    "kinds": {"engine", "app", "cli", *STORES},
    "guard": {"engine", "app", "cli", "jobs", "state", *STORES},
    "roster": {"engine", "app", "cli", "jobs", "state", *STORES},
    "sweep": {"engine", "app", "cli", "jobs", "state", *STORES},
    "cage": {"engine", "app", "cli", "jobs", "state", *STORES},
    "proc": {"engine", "app", "cli", "jobs", "state", *STORES},
    "custody": {"engine", "app", "cli", "state", "executors"},
    "worker": {"engine", "app", "cli", *STORES},
    "journal": {"state", "decide", "engine", "app", "cli"},
    "cache": {"state", "decide", "engine", "app", "cli"},
}


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def imported(nodes: list[ast.AST]) -> set[str]:
    """The full names that these nodes import: `os`, `wfctl.errors`, `wfctl.errors.Fault`."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports(module: str) -> set[str]:
    return imported(list(ast.walk(tree(module))))


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def rooms(module: str) -> set[str]:
    """The modules of ours that this one imports, by their names below `wfctl`."""
    found = set()
    for name in imports(module):
        parts = name.split(".")[1:] if name.startswith("wfctl.") else []
        found |= {room for end in (1, 2) if (room := "/".join(parts[:end])) in MODULES}
    return found


def at_module_level(module: str) -> set[str]:
    """What is imported when the module is: not inside a function, nor for the type checker alone."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [tree(module)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting.extend(node.orelse)
            continue
        found.append(node)
        waiting.extend(ast.iter_child_nodes(node))
    return imported(found)


def whole_core() -> list[str]:
    """The rooms of the core and all that they lean on: what they import is core, or it may not be imported."""
    found: set[str] = set()
    waiting = [room for room in CORE if room in MODULES]
    while waiting:
        room = waiting.pop()
        if room not in found:
            found.add(room)
            waiting.extend(rooms(room))
    return sorted(found)


@pytest.mark.parametrize("module", whole_core())
def test_the_core_imports_no_library_and_no_world(module: str) -> None:
    libraries = tops(imports(module)) - set(sys.stdlib_module_names) - {"wfctl"}
    assert not libraries
    assert not tops(imports(module)) & IMPURE


@pytest.mark.parametrize("module", MODULES)
def test_each_library_has_one_door_opened_inside_a_function(module: str) -> None:
    for library in tops(imports(module)) - set(sys.stdlib_module_names) - {"wfctl"}:
        doors = DOORS.get(library, {"kinds", "executors"})      # a library without a line here is a plug-in's own
        assert {module, module.partition("/")[0]} & doors, f"{library} is not opened here"
    loaded = tops(at_module_level(module)) - set(sys.stdlib_module_names) - {"wfctl"}
    assert loaded <= ({"typer"} if module == "cli" else set())


@pytest.mark.parametrize("module", MODULES)
def test_no_room_looks_through_a_wall(module: str) -> None:
    for room in {module, module.partition("/")[0]} & WALLS.keys():
        seen = {other.partition("/")[0] for other in rooms(module)}
        assert not seen & WALLS[room]


def test_a_start_loads_nothing_heavy() -> None:
    if "cli" not in MODULES:
        pytest.skip("there is no command yet")
    heavy = [library for library in DOORS if library != "typer"] + ["asyncio", "importlib.metadata"]
    program = f"import sys, wfctl.cli; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_under_the_name_of_a_noun(module: str) -> None:
    assert ast.get_docstring(tree(module))
    assert not {"utils", "util", "helpers", "helper", "misc", "common"} & set(module.split("/"))


@pytest.mark.parametrize("module", MODULES)
def test_no_pattern_repeats_a_group_possessively(module: str) -> None:
    # Python 3.11.0 to 3.11.4 match that wrongly (github.com/python/cpython/issues/106052), and Debian 12 has 3.11.2.
    # An atomic group of a repeat, `(?>(?:…)*)`, means the same.
    calls = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Call) and "re." in ast.unparse(node.func)]
    texts = [part.value for node in calls for part in ast.walk(node) if isinstance(part, ast.Constant)]
    assert [text for text in map(str, texts) if re.search(r"(?<!\\)\)(?:[*+?]|\{[\d,]+\})\+", text)] == []


def test_no_file_names_a_folder_of_somebody_s_machine() -> None:
    ours = re.compile(r"(?<![\w.$}/-])/(?:" + "home|work|root|Users" + r")/\w")
    kinds = {".py", ".md", ".yaml", ".yml", ".json", ".toml", ".lock", ".txt", ""}
    made = {"build", "dist", "__pycache__"}
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in sorted(ROOT.iterdir())
        if folder.name not in made and (folder.name == ".ci" or not folder.name.startswith("."))
        for path in ([folder] if folder.is_file() else sorted(folder.rglob("*")))
        if path.suffix in kinds and path.is_file() and not made & set(path.parts[len(ROOT.parts) :])
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if ours.search(line)
    ]
    assert found == []
