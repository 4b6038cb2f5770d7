"""What ends the processes of a run when its engine cannot: roster, guard and cage, from the first one to the last.

Knows nothing of what the processes do, and not how they are found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wfctl import roster, sweep
from wfctl.cage import Cage
from wfctl.errors import BusyError, StateError
from wfctl.guard import Guard
from wfctl.journal import refusal, shown_command
from wfctl.roster import Roster
from wfctl.store import RunFolder, Store

if TYPE_CHECKING:
    from wfctl.leases import Meeting


class Custody:
    """The custody of one run that is driven. Use as `with Custody.begin(…) as custody:`, inside of the run's lock.

    `nonce` must stand in the environment of every process, and `roster` be told of it. Each step of the end leaves
    things so that whoever finds them after a death can finish: the roster is there until nothing else is.
    """

    def __init__(self, nonce: str, roster: Roster, guard: Guard, joined: Sequence[Meeting] = ()) -> None:
        self.joined = joined
        """What it shares with others, in the order in which that was asked for."""
        self.nonce = nonce
        self.roster = roster
        self.guard = guard
        self._cage: Cage | None = None

    @classmethod
    def begin(
        cls,
        folder: RunFolder,
        lock: int,
        warn: Callable[[str], None],
        join: Iterable[Callable[[str, str], Meeting]] = (),
    ) -> Custody:
        """Start a guard that holds the lock (a descriptor) too. Each of `join` is handed nonce and roster, and gives
        something that the run shares with others: that stays taken while guard or engine live, and is left at the end.
        Raises StateError where it cannot be made.
        """
        nonce = os.urandom(8).hex()
        try:
            roster = Roster.create(str(folder.roster), nonce)
        except OSError as error:
            raise refusal("make", folder.roster, error) from None
        joined: list[Meeting] = []
        try:
            for come in join:
                joined.append(come(nonce, str(folder.roster)))
        except BaseException:
            roster.remove()
            _leave(joined)
            raise
        # In a node of an outer run the guard is none of that node's processes, to be ended with it: it has work to do.
        environ = {name: value for name, value in os.environ.items() if name not in ("WFCTL_NODE", "WFCTL_ATTEMPT")}
        guard = Guard(roster, lock, environ, warn, [one.life for one in joined])
        guard.start()
        return cls(nonce, roster, guard, joined)

    def __enter__(self) -> Custody:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def enclose(self, members: Callable[[], Iterable[int]]) -> None:
        """Begin to move the run into a cage, where one can be made: this process, all it starts from now on, `members`.

        Not of a run some of whose processes may outlive it.
        """
        cage = Cage.below(self.nonce)
        if cage is None:
            return
        try:
            self.roster.name_cage(cage.path)
        except OSError:
            return
        if cage.make():
            self._cage = cage
            cage.enter(members)

    def end(self) -> None:
        """Give up the custody: what the executor had has ended. Strays that only the cage knows of are ended now.

        Who is impatient, and asks once more for an end that has been recorded, is not to leave half of it undone.
        """
        import signal

        deaf = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._end()
        finally:
            for number, handler in deaf.items():
                signal.signal(number, handler)

    def _end(self) -> None:
        if self._cage is not None:
            self._cage.leave()
        self.guard.stop()
        if self._cage is not None:
            self._cage.wait()
            if not self._cage.is_empty:
                sweep.sweep(roster.read(self.roster.fd))
            self._cage.remove()
        if self.roster.is_empty:
            self.roster.remove()
        else:
            self.roster.close()
        _leave(self.joined)

    def refuse_survivors(self, run: str) -> None:
        """Raise StateError where a process was entered and has not left: it could not be ended."""
        if not self.roster.is_empty:
            left = sweep.sweep(roster.read(self.roster.fd), limit=0).left
            if left:
                raise StateError(_survivors(run, left))


def _leave(joined: Sequence[Meeting]) -> None:
    for one in reversed(joined):
        one.close()


def end_own(folder: RunFolder, warn: Callable[[str], None]) -> int:
    """End what a dead engine has left of a run, whose lock is ours; how many that were.

    Raises StateError, naming them, where some cannot be ended, and BusyError where somebody else has them.
    """
    swept = _clear(folder.roster, wait=True)
    if swept is None:
        return 0
    if swept.left:
        raise StateError(_survivors(folder.id, swept.left))
    if not swept.known:
        warn(_unknown(folder.id))
    return swept.ended


def end_others(store: Store, warn: Callable[[str], None]) -> None:
    """End what dead engines have left of any run, and tell of it. Runs that live are left alone."""
    try:
        names = os.listdir(store.live)
    except OSError:  # nearly always: there is none
        return
    for name in sorted(names):
        try:
            swept = _clear(store.live / name, wait=False)
        except StateError as error:
            warn(str(error))
            continue
        if swept is None:
            continue
        if swept.left:
            warn(_survivors(name, swept.left))
        elif not swept.known:
            warn(_unknown(name))
        elif swept.ended:
            warn(ended_text(name, swept.ended))


def ended_text(run: str, count: int) -> str:
    """Says that so many processes of a run were ended."""
    return f"ended what was left of run {run}: {count} process{'' if count == 1 else 'es'}"


def _clear(path: Path, *, wait: bool) -> sweep.Swept | None:
    try:
        return sweep.clear(str(path), wait=wait)
    except BlockingIOError:  # as after somebody has removed the lock: there is another now, that is free
        way_out = "end that process, or wait for it, then try again"
        raise BusyError(f'the processes of run "{path.name}" are in the hands of another wfctl; {way_out}') from None
    except OSError as error:
        raise refusal("read", path, error) from None


def _survivors(run: str, left: Iterable[sweep.Process]) -> str:
    named = [f"{process.pid} ({shown_command(process.command)})" for process in left]
    names = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
    what = "a process is" if len(named) == 1 else "processes are"
    pids = " ".join(name.split()[0] for name in named[:5])
    return f'of run "{run}" {what} alive and cannot be ended: {names}; end them (sudo kill -9 {pids}), then try again'


def _unknown(run: str) -> str:
    return f"the list of the processes of run {run} is damaged: see for yourself whether some are left (ps -ef)"
