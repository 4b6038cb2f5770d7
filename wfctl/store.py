"""Find, make and check the state folder `.wfctl/`, and name the runs in it.

Knows nothing of what a run is or did: a run is a folder with a journal that is not empty."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from wfctl.errors import BusyError, StateError, UsageError, nearest
from wfctl.journal import Lock, content, refusal, sync_folder
from wfctl.record import dataclass

FORMAT = 1
"""The folder's format, in its file `format`. Older ones are read; a newer one is refused."""

NAME = ".wfctl"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TICKS = len(_DIGITS) ** 3
_REMOVED = ".removed-"
_LARGEST_FORMAT = 1 << 20  # bytes; what is more than a number is told as damage
# How old a folder without a run must be before `sweep` takes it for a leftover and not for a beginning, in seconds.
_LEFTOVER_AGE = 3600.0


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole, for good, or not at all, whatever dies meanwhile. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o600)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where the things of one run lie. The folder need not exist."""

    id: str
    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def workflow(self) -> Path:
        return self.path / "workflow.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def outputs(self) -> Path:
        return self.path / "outputs"

    @property
    def tmp(self) -> Path:
        return self.path / "tmp"

    @property
    def state(self) -> Path:
        """The state folder that it lies in."""
        return self.path.parent.parent

    @property
    def roster(self) -> Path:
        """Which processes the run has, while it is driven. Beside the runs: one look finds what dead engines left."""
        return self.state / "live" / self.id

    @property
    def has_roster(self) -> bool:
        """Whether there is one. Raises StateError where that cannot be told."""
        try:
            return self.roster.exists()
        except OSError as error:
            raise refusal("read", self.roster, error) from None

    def make_folders(self) -> None:
        """Make what is missing of `logs`, `outputs` and `tmp` (which is gone when a run ends). Raises StateError."""
        for path in (self.logs, self.outputs, self.tmp):
            try:
                _make(path)
            except OSError as error:
                raise refusal("make", path, error) from None


@dataclass(frozen=True, slots=True)
class Store:
    """A state folder, that need not exist yet. Only `prepare`, `new_run`, `remove` and `sweep` write."""

    path: Path

    @classmethod
    def find(cls, explicit: str | None, start: Path, environ: Mapping[str, str]) -> Store:
        """The state folder for one who stands in `start`.

        `explicit`, else WFCTL_STATE_DIR, else the nearest `.wfctl` at or above `start`, else a new
        one in `start`. Makes nothing.
        """
        start = Path(os.path.abspath(start))
        named = explicit or environ.get("WFCTL_STATE_DIR")
        if named:
            return cls(Path(os.path.abspath(start / named)))
        for folder in (start, *start.parents):
            if os.path.lexists(folder / NAME):
                return cls(folder / NAME)
        return cls(start / NAME)

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def live(self) -> Path:
        """The rosters of runs that are driven, or whose engine has died."""
        return self.path / "live"

    def prepare(self) -> None:
        """Make the folder if need be, and see that it is ours alone and can be written.

        Raises StateError: a symlink, of another owner, writable by others, of a newer format, read-only.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            made = _make(self.path)
            self._check_owner()
            begun = self._checked_format() is not None
            _make(self.runs)  # somebody may have moved it away
            if not begun:
                write_whole(self.path / ".gitignore", b"*\n")
                # Last, so that where the format stands all else does.
                write_whole(self.path / "format", b"%d\n" % FORMAT)
            if made:
                sync_folder(self.path.parent)
        except OSError as error:
            raise refusal("make", self.path, error) from None

    def check(self) -> None:
        """See that the folder, where there is one, is ours alone and can be written. Raises StateError as `prepare`."""
        if os.path.lexists(self.path):
            self._check_owner()

    def new_run(self, now: float) -> RunFolder:
        """A folder for a new run that begins `now` (seconds since the epoch). Raises StateError.

        Ids are the UTC time, `20261122-134501-k3f`: the last part is the fraction of the second, so
        they sort by time. An id that is taken, by another process too, moves to the next fraction.
        """
        tick = int(now * _TICKS)
        while True:
            folder = self._folder(_id(tick))
            try:
                made = _make(folder.path)
            except OSError as error:
                raise refusal("make", folder.path, error) from None
            if made:
                folder.make_folders()
                return folder
            tick += 1

    def run_ids(self) -> list[str]:
        """The ids of all runs, newest first. Opens nothing, writes nothing. Raises StateError if unreadable."""
        return list(self._ids())

    def run_folders(self) -> list[RunFolder]:
        """The folders of all runs, newest first. Raises StateError if unreadable."""
        return [self._folder(name) for name in self._ids()]

    def find_run(self, text: str) -> RunFolder:
        """The run that `text` names: an id, the beginning of just one id, or `last`.

        Raises UsageError when there is none, or more than one; StateError if the folder cannot be read.
        """
        self._checked_format()
        if text == "last":
            for newest in self._ids():
                return self._folder(newest)
        ids = self.run_ids()
        if not ids:
            raise UsageError(f'no runs yet in "{self.path}"; start one with `wfctl run FLOW`')
        if text in ids:
            return self._folder(text)
        matches = [id_ for id_ in ids if id_.startswith(text)] if text else []
        if len(matches) == 1:
            return self._folder(matches[0])
        if matches:
            shown = ", ".join(matches[:5]) + (", …" if len(matches) > 5 else "")
            raise UsageError(f'"{text}" may be any of {len(matches)} runs ({shown}); type more of the id')
        hint = nearest(text, ids) or "`wfctl runs` lists them"
        raise UsageError(f'no run "{text}"; {hint}')

    def remove(self, run_id: str) -> None:
        """Remove a run and all its files. Raises BusyError while somebody drives it, and StateError.

        The folder first gets a name that is no run's, so that a crash leaves a leftover and no half run.
        """
        folder = self._folder(run_id)
        lock = Lock.take(folder)
        try:
            grave = self.runs / (_REMOVED + run_id)
            os.rename(folder.path, grave)
            _delete_tree(grave)
        except OSError as error:
            raise refusal("remove", folder.path, error) from None
        finally:
            lock.close()

    def sweep(self, now: float) -> list[str]:
        """Remove what crashes left behind: removals not finished, folders whose run never began. Returns their names.

        Nothing younger than an hour is touched, nor anything that is locked. Raises StateError.
        """
        swept = []
        for entry in self._entries():
            try:
                if entry.name.startswith(_REMOVED):
                    _delete_tree(Path(entry.path))
                elif not _began(entry) and now - entry.stat(follow_symlinks=False).st_mtime > _LEFTOVER_AGE:
                    self.remove(entry.name)
                else:
                    continue
            except (BusyError, FileNotFoundError):
                continue  # somebody else is at it
            except OSError as error:
                raise refusal("remove", Path(entry.path), error) from None
            swept.append(entry.name)
        return swept

    def _folder(self, run_id: str) -> RunFolder:
        return RunFolder(run_id, self.runs / run_id)

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.runs) as entries:
                return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refusal("read", self.runs, error) from None

    def _ids(self) -> Iterator[str]:
        entries = [entry for entry in self._entries() if not entry.name.startswith(".")]
        entries.sort(key=lambda entry: entry.name, reverse=True)
        return (entry.name for entry in entries if _began(entry))

    def _check_owner(self) -> None:
        found = os.lstat(self.path)
        fault = ""
        if stat.S_ISLNK(found.st_mode):
            fault = "is a symlink; name the folder it leads to with --state-dir"
        elif not stat.S_ISDIR(found.st_mode):
            fault = "is not a folder; move it away, or choose another with --state-dir"
        elif found.st_uid != os.geteuid():
            fault = f"belongs to another user (uid {found.st_uid}); choose another with --state-dir"
        elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            mode = stat.S_IMODE(found.st_mode)
            fault = f"can be written by others (mode {mode:04o}); take that away with: chmod go-w '{self.path}'"
        elif os.statvfs(self.path).f_flag & os.ST_RDONLY:
            fault = "is on a read-only file system; make the disk writable, or choose another with --state-dir"
        elif not os.access(self.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            fault = "cannot be written; make it writable, or choose another with --state-dir"
        if fault:
            raise StateError(f'state folder "{self.path}" {fault}')

    def _checked_format(self) -> int | None:
        """The folder's format, None where none is written yet."""
        path = self.path / "format"
        try:
            text = content(path, _LARGEST_FORMAT).strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise refusal("read", path, error) from None
        if not text.isdigit() or len(text) > 9:
            raise StateError(f'"{path}" is damaged: it holds no number; remove that one file, then try again')
        if int(text) > FORMAT:
            raise StateError(
                f'state folder "{self.path}" was made by a newer wfctl (format {int(text)}, this one knows up to '
                f"{FORMAT}); upgrade wfctl, or choose another folder with --state-dir"
            )
        return int(text)


def _make(path: Path) -> bool:
    """Make a folder of ours; False where something of that name is there already."""
    try:
        path.mkdir(0o700)
    except FileExistsError:
        return False
    path.chmod(0o700)  # the umask may have taken away even the owner's rights
    return True


def _id(tick: int) -> str:
    second, tick = divmod(tick, _TICKS)
    tick, last = divmod(tick, 36)
    first, middle = divmod(tick, 36)
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(second))
    return f"{moment}-{_DIGITS[first]}{_DIGITS[middle]}{_DIGITS[last]}"


def _began(entry: os.DirEntry[str]) -> bool:
    try:
        return os.stat(os.path.join(entry.path, "journal.jsonl"), follow_symlinks=False).st_size > 0
    except OSError:
        return False


def _delete_tree(path: Path) -> None:
    import shutil

    while os.path.lexists(path):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            continue  # another `clean` is at it too
        except PermissionError:
            # A node may have left folders without write permission, as build tools do.
            if not _open_folders(path):
                raise


def _open_folders(path: Path) -> bool:
    """Give the owner all rights to every folder below; False when none lacked them."""
    changed = False
    for folder, names, _ in os.walk(path):
        for name in names:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner) and os.stat(inner).st_mode & 0o700 != 0o700:
                os.chmod(inner, 0o700)
                changed = True
    return changed
