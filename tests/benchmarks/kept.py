"""Twice as many results as may stay: what it takes to keep and to find some while the database is empty, and when it
has long been full.

Knows nothing of commands: it keeps as the end of a turn does, and tidies as the end of a run does."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from wfctl import upkeep
from wfctl.cache import Cache, Kept
from wfctl.journal import Lock
from wfctl.store import Store

OUTPUT = 50_000
"""Bytes of an output: more than stands in a row of a result, less than lies in a file of its own."""

TURN = 20
"""Results that end in one turn of the loop."""

RUN = 1_000
"""Results of one run."""

LIVE = 100
"""Results of a run that goes on all the time."""

ROW = 4_096
"""Bytes that a run says a result has, beside its files."""


@dataclass(slots=True)
class Seen:
    """What was seen: seconds for 1,000, run by run, and at the end the database."""

    puts: list[float] = field(default_factory=list)
    gets: list[float] = field(default_factory=list)
    tidies: list[float] = field(default_factory=list)
    largest: int = 0
    """Bytes of the database when it was largest, between two runs."""
    bytes: int = 0
    there: int = 0
    dropped: int = 0
    live: int = 0
    """How many results of the run that goes on are still there."""


def fill(folder: Path, total: int, limit: int, each: Callable[[int], None] = lambda run: None) -> Seen:
    """Keep results of so many bytes, where `limit` bytes may stay. `each` is told after each run."""
    store = Store(folder)
    store.prepare()
    environ = {"WFCTL_CACHE_SIZE": str(limit), "XDG_CACHE_HOME": str(folder)}
    count = max(total // OUTPUT, 2 * LIVE)
    per_run = min(RUN, max(count // 20, TURN))
    seen = Seen()
    lock = _goes_on(store)
    try:
        _keep(store, range(-LIVE, 0))
        for run, first in enumerate(range(0, count, per_run)):
            numbers = range(first, min(first + per_run, count))
            seen.puts.append(_keep(store, numbers) / len(numbers) * 1_000)
            seen.gets.append(_find(store, numbers) / len(numbers) * 1_000)
            begin = time.perf_counter()
            upkeep.tidy(store, environ, time.time(), len(numbers) * ROW)
            seen.tidies.append(time.perf_counter() - begin)
            seen.largest = max(seen.largest, _bytes(store))
            each(run)
        upkeep.prune(store, environ, time.time(), size=limit, age=upkeep.AGE)
        seen.bytes = _bytes(store)
        seen.there = len(upkeep.listing(store, environ))
        seen.dropped = count + LIVE - seen.there
        with closing(_opened(store)) as cache:
            seen.live = sum(cache.result(key_of(number)) is not None for number in range(-LIVE, 0))
    finally:
        lock.close()
    return seen


def key_of(number: int) -> str:
    return sha256(b"%d" % number).hexdigest()


def _goes_on(store: Store) -> Lock:
    """A run that somebody drives, and that has made the first results."""
    folder = store.new_run(time.time())
    lines = (f'{{"event":"node_started","key":"{key_of(number)}"}}\n' for number in range(-LIVE, 0))
    folder.journal.write_text("".join(lines))
    folder.workflow.write_text("{}")
    store.live.mkdir(0o700, exist_ok=True)
    folder.roster.touch()
    return Lock.take(folder)


def _keep(store: Store, numbers: range) -> float:
    """Seconds to keep these."""
    outputs = random.Random(numbers.start)
    found = [_kept(number, outputs.randbytes(OUTPUT // 2).hex()) for number in numbers]
    with closing(_opened(store)) as cache:
        begin = time.perf_counter()
        for first in range(0, len(found), TURN):
            turn = found[first : first + TURN]
            assert cache.keep(turn, {f"kept/{one.node}": {"keys": [one.key]} for one in turn})
        return time.perf_counter() - begin


def _find(store: Store, numbers: range) -> float:
    """Seconds to find these, in no order, and to note that they were used."""
    order = list(numbers)
    random.Random(len(order)).shuffle(order)
    keys = [key_of(number) for number in order]
    with closing(_opened(store)) as cache:
        begin = time.perf_counter()
        assert all(cache.result(key) is not None for key in keys)
        cache.touch(keys, time.time())
        return time.perf_counter() - begin


def _kept(number: int, output: str) -> Kept:
    return Kept(
        key=key_of(number), workflow="kept", node=f"n{number}", run="r", attempt=1, at=time.time(), seconds=1.0,
        exit_code=0, output=output, parts={"kind": "run", "run": "true"}, writes={},
    )  # fmt: skip


def _opened(store: Store) -> Cache:
    cache = Cache.open(store.cache)
    assert cache is not None
    return cache


def _bytes(store: Store) -> int:
    return os.stat(store.cache / "cache.db").st_size
