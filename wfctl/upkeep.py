"""The verbs that keep the state folder small: they remove old runs, and what is kept and not used any more.

Knows nothing of how a run goes on, and prints nothing."""

from __future__ import annotations

import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wfctl import history, quantity
from wfctl.blobs import Blobs
from wfctl.cache import Cache, Shelved
from wfctl.errors import StateError, UsageError
from wfctl.record import dataclass
from wfctl.store import RunFolder, Store

SIZE = 2 << 30
"""Bytes that all that is kept may have, where WFCTL_CACHE_SIZE does not say."""

AGE = 30 * 86_400.0
"""Seconds after which a result that was not used goes, where WFCTL_CACHE_AGE does not say."""

SELDOM = 86_400.0
"""Seconds between two looks whether something must go, where little is kept meanwhile."""

RECENT = 3600.0
"""Seconds in which a result that the machine shares may be in use, by a run that we do not know."""

_YOUNG = 3600.0  # seconds in which a blob may be that of a result that is just being kept
_TIDIED = "tidied"
_KEY = re.compile(rb'"key":"([0-9a-f]{64})"')  # in the words of a journal


# -- runs


def clean(
    store: Store, *, older_than: float, keep_last: int, dry_run: bool, warn: Callable[[str], None]
) -> list[str]:
    """Remove runs that ended long ago; the ids of those that went, or would go.

    Those that run, or have left processes that cannot be ended, always stay."""
    from wfctl import custody, journal
    from wfctl.errors import BusyError

    store.check()
    if not dry_run:
        custody.end_others(store, warn)
    now = time.time()
    gone = []
    for folder in store.run_folders()[keep_last:]:
        try:
            age = now - folder.journal.stat().st_mtime
            if age < older_than or journal.held_by(folder) or (folder.has_roster and not dry_run):
                continue
            if _is_open(folder):
                warn(f"run {folder.id} stays: it has prepared transactions; `wfctl resume {folder.id}` ends them")
                continue
        except OSError:
            continue
        except StateError as error:
            warn(str(error))
            continue
        if not dry_run:
            try:
                store.remove(folder.id)
            except BusyError:
                continue
        gone.append(folder.id)
    if not dry_run:
        store.sweep(now)
        _forget(store, gone)
    return gone


def _is_open(folder: RunFolder) -> bool:
    """Whether a run has prepared transactions that only it knows. Looked at where its words speak of such at all."""
    return b'"prepares":true' in folder.journal.read_bytes() and bool(history.open_run(folder).state.prepared)


def _forget(store: Store, runs: Sequence[str]) -> None:
    """Drop the checkpoints of runs that are gone."""
    if not runs or not os.path.exists(store.cache / "cache.db"):
        return
    cache = Cache.open(store.cache)
    if cache is not None:
        for run_id in runs:
            cache.forget(run_id)
        cache.close()


# -- kept results


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which results are kept: `scope` says for whom."""

    scope: str
    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def blobs(self) -> Blobs:
        return Blobs(self.folder / "blobs")


@dataclass(frozen=True, slots=True)
class Gone:
    """What went, or would go: the results, and bytes of them and of files that nothing needs any more. `live` are
    results that would have gone too, but that a run which goes on has made or used. `staying` are the bytes of what
    stays, by scope."""

    results: list[tuple[str, Shelved]]
    bytes: int
    live: int
    staying: Mapping[str, int]


def limits(environ: Mapping[str, str]) -> tuple[int, float]:
    """The bytes that what is kept may have, and the seconds after which it goes unused. Raises UsageError."""
    size: Any = _from(environ, "WFCTL_CACHE_SIZE", quantity.size, SIZE)
    age: Any = _from(environ, "WFCTL_CACHE_AGE", quantity.seconds, AGE)
    return int(size), float(age)


def _from(environ: Mapping[str, str], name: str, read: Callable[[object], object], default: object) -> object:
    text = environ.get(name, "")
    try:
        return read(text) if text else default
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def machine_folder(environ: Mapping[str, str], *, make: bool = True) -> Path | None:
    """The folder of what all runs of this user share; None where there is none that is ours alone. Makes it, unless
    told not to."""
    home = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):
        if not os.path.isabs(environ.get("HOME", "")):
            return None
        home = f"{environ['HOME']}/.cache"
    folder = Path(home, "wfctl")
    try:
        if make:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return folder if ours and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def places(store: Store, environ: Mapping[str, str]) -> list[Place]:
    """Where something is kept."""
    machine = machine_folder(environ, make=False)
    found = [Place("workflow", store.path), *([Place("machine", machine)] if machine is not None else [])]
    return [place for place in found if os.path.exists(place.cache / "cache.db")]


@contextmanager
def _opened(place: Place) -> Iterator[Cache | None]:
    cache = Cache.open(place.cache)
    try:
        yield cache
    finally:
        if cache is not None:
            cache.close()


def listing(store: Store, environ: Mapping[str, str]) -> list[tuple[str, Shelved]]:
    """All that is kept, each with its scope, what was used last first."""
    found: list[tuple[str, Shelved]] = []
    for place in places(store, environ):
        with _opened(place) as cache:
            found += [(place.scope, one) for one in (cache.listing() if cache is not None else None) or ()]
    return sorted(found, key=lambda one: -one[1].used)


def one(key: str, store: Store, environ: Mapping[str, str]) -> dict[str, Any]:
    """All that is known of one result, or failure, by the beginning of its key. Raises UsageError."""
    found = [(scope, shelved) for scope, shelved in listing(store, environ) if key and shelved.key.startswith(key)]
    if len({shelved.key for _, shelved in found}) > 1:
        raise UsageError(f'"{key}" may be any of {len(found)} keys; type more of it')
    if not found:
        raise UsageError(f'nothing is kept under a key "{key}"; `wfctl cache ls` lists what is')
    scope, shelved = found[0]
    for place in places(store, environ):
        if place.scope == scope and shelved.kept is not None:
            with _opened(place) as cache:
                kept = cache.result(shelved.key) if cache is not None else None
            if kept is not None:
                shelved = Shelved(key=shelved.key, used=shelved.used, bytes=shelved.bytes, kept=kept)
    return document(scope, shelved, whole=True)


def document(scope: str, shelved: Shelved, *, whole: bool = False) -> dict[str, Any]:
    """A result or a failure as programs read it; `whole` with what its key was made of, and what it left."""
    kept, failure = shelved.kept, shelved.failure or {}
    names = ("workflow", "node", "run", "attempt")
    facts = {name: getattr(kept, name) if kept else failure.get(name) for name in names}
    at = kept.at if kept else failure.get("at")
    found = {
        "key": shelved.key,
        "scope": scope,
        **facts,
        "made": history.moment(at if isinstance(at, (int, float)) else None),
        "used": history.moment(shelved.used) if kept else None,
        "bytes": shelved.bytes,
        "failed": None if kept else str(failure.get("error") or failure.get("reason") or "failed"),
    }
    if not whole:
        return found
    found["parts"] = dict(kept.parts if kept else failure.get("parts") or {})
    if kept is None:
        return found
    files = kept.writes.items()
    writes = {path: {"sha256": digest, "mode": mode, "bytes": size} for path, (digest, mode, size) in files}
    output = {"blob": kept.blob} if kept.blob else kept.output
    return {
        **found, "seconds": kept.seconds, "exit_code": kept.exit_code, "writes": writes, "saved": kept.saved,
        "output": output,
    }  # fmt: skip


def prune(
    store: Store,
    environ: Mapping[str, str],
    now: float,
    *,
    size: int,
    age: float,
    room: int = 0,
    dry_run: bool = False,
    over: str = "",
) -> Gone:
    """Drop what was not used for `age` seconds, then what was used longest ago, until all has at most `size` bytes:
    what each scope has for itself. Where it has more, `room` bytes of them are left free.

    What a run that goes on has made or used stays; the run `over` does not.
    """
    gone: list[tuple[str, Shelved]] = []
    left: dict[str, int] = {}
    freed = live = 0
    for place in places(store, environ):
        with _opened(place) as cache:
            rows = cache.listing() if cache is not None else None
            if cache is None or rows is None:
                continue
            # After the rows were read: of who began between the two is seen what it uses.
            most = size - room if _total(rows) > size else size
            leaving, staying, kept_alive = _choose(rows, now, most, age, _in_use(place, store, now, over))
            live += kept_alive
            if not dry_run:
                went = cache.drop(leaving)
                names = {(one.key, one.kept is None) for one in went}
                staying += [one for one in leaving if (one.key, one.kept is None) not in names]
                leaving = went
                cache.drop_notes(now - age, {one.key for one in staying})
            left[place.scope] = _total(staying)
            gone += [(place.scope, one) for one in leaving]
            freed += sum(one.bytes for one in leaving) + _sweep(place, leaving, staying, now, dry_run)
    return Gone(gone, freed, live, left)


def _choose(
    rows: Iterable[Shelved], now: float, size: int, age: float, in_use: Callable[[Shelved], bool]
) -> tuple[list[Shelved], list[Shelved], int]:
    """What goes and what stays, of rows of which those come first that were used last; and how many stay only because
    they are in use."""
    leaving: list[Shelved] = []
    staying: list[Shelved] = []
    total = kept_alive = 0
    seen: set[str] = set()
    for row in rows:
        total += _weight(row, seen)
        is_old = now - row.used > age or total > size  # once it is full, all that is older goes
        if is_old and not in_use(row):
            leaving.append(row)
        else:
            staying.append(row)
            kept_alive += is_old
    return leaving, staying, kept_alive


def _weight(row: Shelved, seen: set[str]) -> int:
    """The bytes of a result, without those of saved files that others have which were `seen` before it."""
    if row.kept is None or not row.kept.saved:
        return row.bytes
    files: dict[str, int] = {digest: size for digest, _, size in row.kept.writes.values()}
    twice: int = sum(size for _, _, size in row.kept.writes.values()) - sum(files[one] for one in files.keys() - seen)
    seen.update(files)
    return row.bytes - twice


def _total(rows: Iterable[Shelved]) -> int:
    seen: set[str] = set()
    return sum(_weight(row, seen) for row in rows)


def _in_use(place: Place, store: Store, now: float, over: str) -> Callable[[Shelved], bool]:
    """Whether a run that goes on has made or used a result, or may have.

    The keys are in the journals of those that go on. Runs that have another state folder, and share the machine's
    results, we do not know: what was made or used in the last hour may be theirs.
    """
    keys = live_keys(store, over)
    recent = now - RECENT if place.scope == "machine" else math.inf
    return lambda row: row.key in keys or recent <= row.used <= now


def _sweep(place: Place, gone: Iterable[Shelved], staying: Iterable[Shelved], now: float, dry_run: bool) -> int:
    """Remove saved files that nothing needs: no result, and no run by a link of its own. The bytes of those that did
    not belong to what has just `gone`, whose bytes are counted with it."""
    needed = {digest for row in staying if row.kept is not None for digest in row.kept.blobs}
    counted = {digest for row in gone if row.kept is not None for digest in row.kept.blobs}
    freed = 0
    blobs = place.blobs
    for entry in blobs.entries():
        if entry.digest not in needed and entry.links == 1 and entry.mtime < now - _YOUNG:
            if not dry_run:
                blobs.remove(entry.digest)
            freed += entry.size if entry.digest not in counted else 0
    if not dry_run:
        blobs.sweep(now)
    return freed


def live_keys(store: Store, over: str = "") -> set[str]:
    """The keys of what runs that go on now, but for the run `over`, have made, work on, or were served.

    Raises StateError.
    """
    from wfctl import journal

    try:
        names = os.listdir(store.live)
    except OSError:
        return set()
    keys: set[str] = set()
    for name in names:
        folder = RunFolder(name, store.runs / name)
        if name == over or not journal.held_by(folder):
            continue
        try:
            keys.update(found.decode() for found in _KEY.findall(folder.journal.read_bytes()))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise journal.refusal("read", folder.journal, error) from None
    return keys


def tidy(store: Store, environ: Mapping[str, str], now: float, kept: int, over: str = "") -> None:
    """Prune at the end of a run that has kept so many bytes of files: where all may be too much by now, or nobody has
    looked for a day. The run `over` goes on no more, though its lock is still held."""
    try:
        size, age = limits(environ)
        due = [_is_due(place, now, kept, size, age) for place in places(store, environ)]
        if not any(due):
            return
        # Some room more, so that not each run that keeps a little has to look again.
        room = size // 10
        gone = prune(store, environ, now, size=size, age=age, room=room, over=over)
        for place in places(store, environ):
            staying = min(gone.staying.get(place.scope, 0), size - room)  # more is in use, and cannot go now
            _mark(place, int(now), staying, _database(place), 0)
    except (OSError, StateError, UsageError):
        return  # an aid: what cannot be removed now stays; limits that are none were told where the run began


def _is_due(place: Place, now: float, kept: int, size: int, age: float) -> bool:
    """Whether something may have to go. Opens no database: its size tells what became of it since the last time.

    A mark says when that was, in seconds, and in bytes what stayed, the size of the database then, and what runs have
    kept beside it since.
    """
    from wfctl.journal import content

    try:
        at, staying, had, files = map(int, content(place.cache / _TIDIED, 200).split())
    except (FileNotFoundError, ValueError):
        return True
    files += kept
    _mark(place, at, staying, had, files)
    return not 0 <= now - at < min(SELDOM, age) or staying + max(_database(place) - had, 0) + files > size


def _mark(place: Place, *numbers: int) -> None:
    # It need not be whole: one that is not is none.
    fd = os.open(place.cache / _TIDIED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        print(*numbers, file=file)


def _database(place: Place) -> int:
    return os.stat(place.cache / "cache.db").st_size
