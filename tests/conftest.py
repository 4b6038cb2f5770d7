"""What every test stands on: a clean environment, the command, and the data of others where it is there.

Knows nothing of single rooms: what only one test file needs lives in that file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.helpers.server import certify, make_server, server  # noqa: F401 (fixtures)
from tests.helpers.space import default_signals, make_space, space  # noqa: F401 (fixtures)

if TYPE_CHECKING:
    from tests.helpers.postgres import Database, Server

ROOT = Path(__file__).resolve().parents[1]

CHILD = f"{sys.executable} -S {ROOT / 'tests/helpers/child.py'}"
"""The words that start the child that misbehaves, for a shell."""

# A test must not feel that it runs in a node of wfctl (the project checks itself so): not the outer run's identity,
# nor its TMPDIR, for then the nearest state folder above a test's files would be the outer one. The nonce stays: by it
# the outer run finds what is left behind.
if "WFCTL_RUN_DIR" in os.environ:
    os.environ.pop("TMPDIR", None)
    tempfile.tempdir = None  # pytest has asked for it by now
for name in [n for n in os.environ if n.startswith("WFCTL_") and n != "WFCTL_NONCE"]:
    del os.environ[name]
# What is expected are the lines that a person sees: in a pipe each has its time before it.
os.environ["WFCTL_TIMESTAMPS"] = "no"
# Nor what a terminal or a CI service says of itself.
for name in "CI GITHUB_ACTIONS GITHUB_STEP_SUMMARY GITLAB_CI NO_COLOR FORCE_COLOR COLUMNS CUDA_VISIBLE_DEVICES".split():
    os.environ.pop(name, None)

# Nor what its caller ignores, as nohup and a shell's `&` do: whatever the tests start would ignore it too.
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Commands are started by the hundred: each would compile what changed since anybody kept it compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("wfctl", database=None, deadline=None, derandomize=True, print_blob=True)
settings.load_profile("wfctl")

Ended = subprocess.CompletedProcess[str]
Command = Callable[..., Ended]


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What runs of one user share, such as budgets and kept results of the machine, is not that of who tests."""
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))


@pytest.fixture
def wfctl(tmp_path: Path) -> Command:
    """Runs the command in the test's own folder: `wfctl("run", "flow.yaml", env={...}).returncode`.

    Its state is in `.wfctl` there, also when somebody has a state folder further up. Two minutes are its limit."""

    def command(*words: str, env: dict[str, str] | None = None, cwd: Path = tmp_path) -> Ended:
        return subprocess.run(
            [sys.executable, "-c", "import sys; from wfctl.cli import main; sys.exit(main())", *words],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), "WFCTL_STATE_DIR": str(tmp_path / ".wfctl"), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return command


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data and examples beside the project; a test that needs it is skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the shared data is not beside the project")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL for all tests that ask for one: it must stay up. Who stops it starts another."""
    from tests.helpers.postgres import running

    with running() as started:
        yield started


@pytest.fixture
def postgres(postgres_server: Server) -> Iterator[Database]:
    """A database of the test's own in it."""
    with postgres_server.database() as database:
        yield database
