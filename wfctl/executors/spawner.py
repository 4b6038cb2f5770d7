"""Starts the process of a job, and says why one could not be started.

Knows nothing of what becomes of a process: it hands out its pid."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from wfctl import tasks
from wfctl.errors import StateError
from wfctl.jobs import Job
from wfctl.proc import NONCE
from wfctl.values import unseal

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
GONE = "the folder of the run is gone; if it was moved, `wfctl resume` goes on there; else begin anew with `wfctl run`"
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
RESULT = APPEND | os.O_TRUNC                        # what is read as the output must hold this attempt's words alone
SHELL = "/bin/sh"                                   # runs a program that the kernel takes for none
NO_SECRETS: Mapping[str, str] = MappingProxyType({})


class Surroundings(NamedTuple):
    """Root, folder and variables of one who performs a task, and the file that is its log."""

    root: str
    folder: str
    environ: Mapping[str, str]
    log: str


class Spawner:
    """Starts processes that stand in `root`, each with `environ` under the `env` of its job, leader of a session.

    Best made where the engine stands in `root` itself, for those without `cwd` start faster then. `nonce` is the last
    that WFCTL_NONCE says in `environ`, if anything; a detached job is not told of it, for it may outlive the run.
    `secrets` are the values of what jobs hold sealed."""

    def __init__(
        self, root: str, environ: Mapping[str, str], nonce: str = "", secrets: Mapping[str, str] = NO_SECRETS
    ) -> None:
        self._root = os.path.abspath(root)
        self._secrets = secrets
        self._environ = dict(environ)
        self._nonce = nonce
        self._base = "" if _same_folder(os.curdir, self._root) else self._root
        # Dispositions that are ignored are inherited through exec; Python itself ignores SIGPIPE and SIGXFSZ.
        self._ignored = [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]

    def spawn(self, job: Job, mark: str = "", before: Sequence[str] = ()) -> int:
        """The pid of the new session's leader. OSError and ValueError as the system and Python give them.

        `mark` joins the nonces, so that whatever comes of the process can be told from all others of the run. The words
        `before` those of the job name a program that becomes the job's in the end."""
        if job.task is not None:
            argv, content = tasks.command(job, self._root)
            job = replace(job, argv=argv, files={**job.files, job.task.file: content})
        self.lay_out(job)
        cwd = self._base if job.cwd is None else self.at(job.cwd)
        env = self._variables(job)
        if job.detach and self._nonce:
            _take_out(env, self._nonce)
        elif mark:
            env[NONCE] = f"{env.get(NONCE, '')}:{mark}"
        for name, sealed in job.sealed.items():
            env[name] = unseal(sealed, self._secrets)
        program = _find(job.argv[0] if job.argv else "", env.get("PATH", os.defpath), cwd)
        argv = job.argv
        if before:
            argv = (*before, program, *argv[1:])
            program = before[0]
        try:
            return self._spawn_program(cwd, program, argv, job, env)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without "#!": a shell would run it, and so do make and execvp.
            return self._spawn_program(cwd, SHELL, ("sh", program, *job.argv[1:]), job, env)

    def lay_out(self, job: Job) -> None:
        """Make the folders that a job wants, and its files. OSError and ValueError as the system gives them."""
        for folder in job.folders:
            os.makedirs(self.at(folder), exist_ok=True)
        for path, content in job.files.items():
            with open(self.at(path), "wb") as file:
                file.write(content)

    def ground(self, job: Job) -> tuple[dict[str, Any], Surroundings]:
        """The fields of a job's task with their secrets, and what surrounds whoever performs it in this process.

        OSError where the folder that it is to stand in is none."""
        task = job.task
        assert task is not None
        folder = os.path.join(self._root, job.cwd or "")
        if job.cwd is not None and not os.path.isdir(folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        texts = {name: unseal(sealed, self._secrets) for name, sealed in job.sealed.items()}
        fields = tasks.filled_in(task.fields, task.filled, texts.pop)
        environ = {**self._variables(job), **texts}
        return fields, Surroundings(self._root, folder, environ, self.at(job.log) if job.log else "")

    def _variables(self, job: Job) -> dict[str, str]:
        folder = os.path.join(self._root, job.cwd) if job.cwd is not None else self._root
        return {**self._environ, "PWD": folder, **_seen(job), **job.env}

    def _spawn_program(self, cwd: str, program: str, argv: tuple[str, ...], job: Job, env: dict[str, str]) -> int:
        if cwd:
            return self._spawn_in(cwd, program, argv, job, env)
        actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
            (os.POSIX_SPAWN_OPEN, fd, path, flags, 0o666) for fd, (_, path, flags) in enumerate(self._streams(job))
        ]
        if len(actions) == 2:
            actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
        return os.posix_spawn(
            program, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=self._ignored
        )

    def _spawn_in(self, cwd: str, program: str, argv: tuple[str, ...], job: Job, env: dict[str, str]) -> int:
        # posix_spawn of the standard library knows no folder to start in. Going there and back ourselves would pull
        # the ground from under other threads; Popen costs 1.1 times the whole, and without preexec_fn it vforks too.
        import subprocess

        fds: list[int] = []
        try:
            for _, path, flags in self._streams(job):
                fds.append(os.open(path, flags, 0o666))
            process = subprocess.Popen(
                argv, executable=program, cwd=cwd, env=env, stdin=fds[0], stdout=fds[1], stderr=fds[-1],
                start_new_session=True, close_fds=False,
            )  # fmt: skip
        finally:
            for fd in fds:
                os.close(fd)
        process.returncode = 0      # the exit status is ours to take: Popen must never wait for this pid
        return process.pid

    def _streams(self, job: Job) -> list[tuple[str, str, int]]:
        """Word, path and flags of standard input, output and error. Where there are two, error goes with output."""
        log = ("log", self.at(job.log) if job.log else os.devnull, APPEND)
        streams = [("standard input", self.at(job.stdin) if job.stdin else os.devnull, os.O_RDONLY)]
        if job.stdout:
            streams.append(("file of standard output", self.at(job.stdout), RESULT))
        streams.append(log)
        return streams

    def at(self, path: str) -> str:
        """A path of a job as this process must say it."""
        return os.path.join(self._base, path) if self._base else path

    def lacks_room(self, error: OSError | ValueError, job: Job) -> bool:
        """Whether the disk of the state is full: what stands there, and not what the node writes, had no room."""
        if not isinstance(error, OSError) or error.errno not in NO_SPACE:
            return False
        name = error.filename
        return not (isinstance(name, str) and any(self.at(folder).startswith(name) for folder in job.folders))

    # -- words

    def reason(self, error: OSError | ValueError, job: Job) -> str:
        """Why a job could not be started, with the way out. The system names no culprit: we look who it was.

        Raises StateError where the folder of the logs is gone: no job can start any more, and none is at fault.
        """
        if not isinstance(error, OSError):
            return _unspeakable(job) or str(error)
        cwd = self._base if job.cwd is None else self.at(job.cwd)
        if cwd and not os.path.isdir(cwd):
            what = "is no folder" if os.path.exists(cwd) else "does not exist"
            return f'the folder "{job.cwd or cwd}" of cwd {what}; make it first, or correct cwd'
        if error.errno in NO_DESCRIPTORS:
            return "too many open files; raise the limit (ulimit -n) or lower concurrency"
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            return f"{_cause(error)}; raise the limits of processes and memory (ulimit -u) or lower concurrency"
        if error.errno == errno.E2BIG:
            return self._too_big(job)
        for path in (*job.folders, *job.files):
            if error.filename == self.at(path):
                return f'cannot write "{path}": {_cause(error)}; make room or correct the path'
        for word, path, flags in self._streams(job):
            try:    # once more, to see which it was
                os.close(os.open(path, flags, 0o666))
            except OSError as own:
                if word == "log" and own.errno == errno.ENOENT:     # a file would be made: the folder is missing
                    raise StateError(GONE) from None
                return f'cannot open its {word}, "{path}": {_cause(own)}; correct the path'
        if job.task is not None:
            place = f'"{error.filename}": ' if isinstance(error.filename, str) else ""
            return f"{place}{_cause(error)}; make room or correct the path"
        return _no_program(error, job.argv[0] if job.argv else "", {**self._environ, **job.env}, cwd)

    def _too_big(self, job: Job) -> str:
        own = {**job.env, **{name: unseal(sealed, self._secrets) for name, sealed in job.sealed.items()}}
        texts = [(f"argument {i}", text, True) for i, text in enumerate(job.argv)]
        texts += [
            (f'the environment variable "{name}"', text, name in own) for name, text in {**self._environ, **own}.items()
        ]
        size, what, is_own = max((len(os.fsencode(text)), what, is_own) for what, text, is_own in texts)
        way_out = "hand it over by stdin: ${{ … }} or file(…)" if is_own else "run wfctl without it"
        return (
            f"arguments and environment are more than the system allows; the largest is {what} with {size:,} bytes;"
            f" {way_out}"
        )


def _seen(job: Job) -> dict[str, str]:
    """Which devices the job may use, in variables. One that was given none sees none of those that are dealt out."""
    if job.devices is None:
        return {}
    devices = ",".join(job.devices)
    return {"CUDA_VISIBLE_DEVICES": devices, "WFCTL_GPU": devices}


def _take_out(env: dict[str, str], nonce: str) -> None:
    """Those of outer runs stay: such a process must not outlive them."""
    others = [other for other in env.get(NONCE, "").split(":") if other not in ("", nonce)]
    if others:
        env[NONCE] = ":".join(others)
    else:
        env.pop(NONCE, None)


def _cause(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()


def _same_folder(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _find(name: str, search: str, cwd: str) -> str:
    """The program that `name` means on a PATH, absolute or relative to `cwd`. FileNotFoundError without one.

    Nothing is remembered: 6 µs of a start that costs 500, and a node may install what a later one shadows."""
    if not name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if "/" in name:
        return name
    for folder in search.split(":"):
        path = f"{folder}/{name}" if folder else f"./{name}"
        seen = path if path[0] == "/" or not cwd else os.path.join(cwd, path)
        if os.access(seen, os.X_OK) and not os.path.isdir(seen):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _unspeakable(job: Job) -> str:
    """Which text cannot be handed to a process: it holds NUL, or what cannot be encoded."""
    texts = [(f"argument {i}", text) for i, text in enumerate(job.argv)]
    texts += [(f'the environment variable "{name}"', name + text) for name, text in job.env.items()]
    paths = [job.cwd, job.stdin, job.stdout, job.log, *job.folders, *job.files]
    texts += [(f"the path {path!r}", path) for path in paths if path]
    for what, text in texts:
        if "\0" in text:
            return f"{what} holds a NUL character, which no process can be given; hand it over by stdin"
        try:
            os.fsencode(text)
        except UnicodeEncodeError:
            return f"{what} holds a character that cannot be encoded; take it out"
    for name in job.env:
        if not name or "=" in name:
            return f'"{name}" cannot name an environment variable; take out the "="'
    return ""


def _no_program(error: OSError, name: str, env: Mapping[str, str], cwd: str) -> str:
    """Why the program itself could not be started."""
    if not name:
        return "the name of the program is empty; give one"
    try:
        found = _find(name, env.get("PATH", os.defpath), cwd)
    except FileNotFoundError:
        return _not_on_path(name, env.get("PATH", os.defpath), cwd)
    path = os.path.join(cwd, found)
    if os.path.isdir(path):
        return f'"{name}" is a folder; name a program in it'
    if error.errno == errno.ENOENT and os.path.exists(path):
        return f'the interpreter of "{name}" is missing; correct its "#!" line, or install it'
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        place = f' in "{cwd}"' if cwd and not os.path.isabs(name) else ""
        return f'there is no "{name}"{place}; correct the name'
    if error.errno == errno.EACCES and os.path.exists(path) and not os.access(path, os.X_OK):
        return f'"{name}" is not executable; chmod +x it, or name its interpreter: [sh, {name}]'
    return f'"{name}" cannot be started: {_cause(error)}'


def _not_on_path(name: str, search: str, cwd: str) -> str:
    for folder in search.split(":"):
        path = os.path.join(cwd, folder, name)
        if os.path.isfile(path):
            return f'"{path}" is not executable; chmod +x it'
    if os.path.isfile(os.path.join(cwd, name)):
        return f'there is no program "{name}" on the PATH; the file beside it is called "./{name}"'
    return f'there is no program "{name}" on the PATH; install it, or correct the name or PATH'
