"""The guard of a run: a small process that waits for the death of the engine, and then ends all that is left.

Knows nothing of what runs: a roster says it. What the guard itself loads imports next to nothing: every run pays it."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wfctl.roster import Roster

# The descriptors that the guard has, besides the standard ones, which lead nowhere; then the lives, if there are any.
_LIFELINE, _LOCK, _ROSTER, _LIVES = 3, 4, 5, 6

_QUICK = 1.0  # a guard that dies so soon, in seconds, may have something that kills it each time
_TRIES = 5

_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from wfctl.guard import main; main()"


class Guard:
    """The guard as its engine sees it.

    It holds the run's lock and its roster too, so that both are free only when nothing is alive. The writing end of a
    pipe is the lifeline: it is cut when the engine is dead and no child of it is still on its way to its own program.
    `lives` are more descriptors by which others see whether anything is alive.
    """

    def __init__(
        self,
        roster: Roster,
        lock: int,
        environ: Mapping[str, str],
        warn: Callable[[str], None],
        lives: Sequence[int] = (),
    ) -> None:
        self._roster = roster
        self._lock = lock
        self._lives = lives
        self._environ = environ
        self._warn = warn
        self._lifeline = -1
        self._started = 0.0
        self._quick = 0
        self._told = False
        self.pid = -1
        """Of the guard as it is now; -1 where there is none."""
        self.fd = -1
        """Becomes readable when the guard is dead; -1 where there is none."""

    def start(self) -> None:
        """Start the guard. Where that fails it is told, once, and the run goes on without."""
        self._started = time.monotonic()
        try:
            self._spawn()
        except OSError as error:
            self.stop()
            self._tell(f"no guard could be started ({(error.strerror or str(error)).lower()})")

    def replace(self) -> None:
        """Start another in place of one that is dead. Where that fails, `fd` is -1, and it may be tried again."""
        if self.pid > 0:
            died_soon = time.monotonic() - self._started < _QUICK
            self._quick = self._quick + 1 if died_soon else 0
            self.stop()
        if self._quick < _TRIES or time.monotonic() - self._started >= _QUICK:
            self.start()
        else:
            self._tell("the guard dies whenever it is started")

    def stop(self) -> None:
        """End the guard: nothing is left to be guarded."""
        if self.pid > 0:
            import signal

            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        self._forget()

    def _spawn(self) -> None:
        import signal

        sources: list[int] = []
        end, self._lifeline = os.pipe()
        try:
            for fd in (end, self._lock, self._roster.fd, *self._lives):
                sources.append(_above(fd, _LIVES + len(self._lives)))  # out of the way of those it will have
            actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, 0, 2),
            ]
            for fd, source in enumerate(sources, _LIFELINE):
                actions.append((os.POSIX_SPAWN_DUP2, source, fd))
            package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
            told = [package, str(os.getpid()), self._roster.path, str(len(self._lives))]
            words = [sys.executable or "", "-I", "-S", "-c", _PROGRAM, *told]
            self.pid = os.posix_spawn(
                words[0],
                words,
                self._environ,
                file_actions=actions,
                setsid=True,
                setsigmask=signal.valid_signals(),  # what ends or stops the engine is not meant for the guard
            )
            self.fd = os.pidfd_open(self.pid)
        finally:
            for fd in (end, *sources):
                os.close(fd)

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            self._warn(f"{what}: if wfctl is killed now, nodes may go on until the next `wfctl resume`")

    def _forget(self) -> None:
        for fd in (self.fd, self._lifeline):
            if fd >= 0:
                os.close(fd)
        self.pid = self.fd = self._lifeline = -1


def main() -> None:
    """What the guard does: nothing, until its engine is dead."""
    # Before the engine can be dead: by then a node may have put another version of us in our place.
    from wfctl import roster, sweep

    engine, path, lives = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    _close_others(_LIVES + lives)
    os.chdir("/")
    _await_death(engine)
    swept = sweep.sweep(roster.read(_ROSTER), settled=_is_cut)
    if swept.is_clean:
        roster.discard(path)
    # The lock goes with us.


def _await_death(engine: int) -> None:
    """By its pidfd. Where that is not to be had, by the lifeline: a child on its way to its program may hold it too."""
    import select

    poll = select.poll()
    try:
        pidfd = os.pidfd_open(engine)
    except OSError:
        pidfd = -1
    if pidfd >= 0 and os.getppid() == engine:
        poll.register(pidfd, select.POLLIN)
    else:  # it died before, and the number may be another's; or it lives, where its number means nothing to us
        poll.register(_LIFELINE, 0)
    poll.poll()


def _is_cut() -> bool:
    """Whether nobody holds the lifeline: no child of the engine is left that had not come to its own program."""
    import select

    poll = select.poll()
    poll.register(_LIFELINE, 0)  # its end is told without being asked for
    return bool(poll.poll(0))


def _close_others(first: int) -> None:
    """Close what the engine itself was handed open: who waits for the end of that must not wait for us."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= first:
            try:
                os.close(int(name))
            except OSError:  # that of the listing itself
                pass


def _above(fd: int, least: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)
