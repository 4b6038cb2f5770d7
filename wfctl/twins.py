"""The keys that a run works on among all runs that meet in a folder: no two have one at a time.

Knows nothing of results, nor of what a key stands for. Who is there, who has died and who is woken is told as among
runs that share budgets. A key that is held is one more name of its holder's FIFO: no file is made, and none written."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wfctl import leases
from wfctl.claims import Claims, Holder
from wfctl.errors import Bug, StateError
from wfctl.journal import shown_command
from wfctl.roster import boot_id

if TYPE_CHECKING:
    from typing import Self

# By so much of a key a run says that it waits for it: another one that begins like it wakes it in vain, at worst. Where
# even that does not fit into what the file of claims has on a full disk too, it is woken whenever one comes free.
_BEGIN = 8
_ANY = "any"

_WAY_OUT = "name another state folder with --state-dir"


class Twins(leases.Meeting):
    """The keys that this run works on. Use as `with Twins.join(…) as twins:`, in one thread.

    Nobody keeps a place in a line: who is woken asks again for all that it wants. Nobody waits for a key for the sake
    of another that it has, so runs cannot wait for each other in a circle.
    """

    def __init__(self, ground: leases.Ground, claims: Claims) -> None:
        super().__init__(ground, claims)
        self._keys = f"{ground.folder}/keys"
        self._held: dict[str, str] = {}  # keys with the names that say so
        self._waiting: frozenset[str] = frozenset()
        self._inode = -1

    @classmethod
    def join(
        cls,
        folder: Path,
        *,
        run: str,
        nonce: str,
        outer: Iterable[str] = (),
        roster: str = "",
        machine: bool = False,
    ) -> Self:
        """Come to the runs that meet in `folder`; with `machine`, errors name the way out for that of all the machine.

        `nonce` is what WFCTL_NONCE says of the run's own processes, `outer` what it says to this one. `roster` is the
        path by which what is left of the run is ended if engine and guard die at once: before that, none of its keys is
        free. Raises StateError.
        """
        holder = Holder(run, os.getpid(), shown_command(sys.orig_argv))
        held = {"keys": 1}  # from the first, so that what is left of it is ended in any case, and is not written anew
        claims = Claims(nonce, tuple(filter(None, outer)), holder, roster, {}, held, {}, {}, 0)
        way_out = leases.WAY_OUT if machine else _WAY_OUT
        twins = cls(leases.Ground(folder, "share results", way_out), claims)
        twins._come()
        return twins

    def claim(self, key: str) -> str:
        """Take a key; or say who has it, and take nothing. Raises StateError.

        What a run has in whose node this one runs is no obstacle: that node waits for us, so to wait for its key might
        never end. Which of that run's nodes has the key cannot be told. All runs in its nodes keep out of each
        other's way as ever.
        """
        if key in self._held:
            raise Bug(f"{key} was claimed, and is held")
        with self._mutex:
            self._look()
            name, owner = self._find(key)
            if owner not in ("", self._claims.nonce):
                claims = self._peers[owner].claims
                return str(claims.holder if claims is not None else self._unknown(owner))
            try:
                os.link(self._path(leases.LIFE), name)
            except FileExistsError:  # of one that is gone
                os.unlink(name)
                os.link(self._path(leases.LIFE), name)
            self._held[key] = name
            return ""

    def release(self, key: str) -> None:
        """Give a key back. Raises StateError."""
        if (name := self._held.pop(key, None)) is None:
            raise Bug(f"{key} was released, and is not held")
        with self._mutex:
            _remove(name)
            self._look()
            for peer in self._peers.values():
                if peer.claims is not None and not peer.claims.waits.keys().isdisjoint((key[:_BEGIN], _ANY)):
                    leases.ring_at(peer.bell)

    def wait_for(self, keys: Collection[str]) -> None:
        """Be woken when one of these may be had, in place of those of before. To say it again costs next to nothing.

        Raises StateError.
        """
        wanted = frozenset(keys)
        if wanted == self._waiting:
            return
        mine, new = self._claims, wanted - self._waiting
        with self._mutex:
            self._look()
            mine.waits = {key[:_BEGIN]: 1 for key in wanted}
            if len(mine.to_bytes()) >= leases.ROOM:
                mine.waits = {_ANY: 1}
            self._write()
            self._waiting = wanted
            if any(not self._find(key)[1] for key in new):
                leases.ring_at(self.life)  # it came free since it was refused

    def close(self) -> None:
        """Give back all and leave. Where the files cannot be removed, the next run does."""
        try:
            with self._mutex:
                for name in self._held.values():
                    _remove(name)
                self._held.clear()
        except StateError:
            pass
        super().close()  # wakes all that wait

    def _find(self, key: str) -> tuple[str, str]:
        """The name that says who has a key, as far as it matters to us; and the nonce of who lives and has it."""
        name = f"{self._keys}/{key}"
        while (owner := self._owner(name)) in self._claims.outer:
            name = f"{self._keys}/{key}.{owner}"  # among those that run in its nodes
        return name, owner

    def _owner(self, name: str) -> str:
        """The nonce of the run that lives and has a name; "" for none. What still has a name is no other's number."""
        inode = _inode(name)
        owners = (nonce for nonce, peer in self._peers.items() if peer.inode == inode)
        return self._claims.nonce if inode == self._inode else next(owners, "")

    def _appear(self) -> None:
        self._ground.make(Path(self._keys))
        super()._appear()
        self._inode = os.fstat(self.life).st_ino

    def _bury(self, name: str) -> None:
        inode = _inode(f"{self._folder}/{name}{leases.LIFE}")
        super()._bury(name)
        # It is told by these that nobody has them any more; this is to leave nothing lying about.
        for key in os.listdir(self._keys):
            if _inode(path := f"{self._keys}/{key}") == inode:
                _remove(path)


def folder(state: Path) -> Path:
    """Where runs with one state folder meet. The boot id tells machines apart that share it."""
    return state / "twins" / (boot_id() or os.uname().nodename)


def machine_folder(environ: Mapping[str, str]) -> Path:
    """Where all runs of this user on this machine meet, beside where they share budgets. Raises StateError."""
    return folder(leases.folder(environ).parents[1])


def _inode(path: str) -> int:
    """The number of a file; -1 where there is none."""
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return -1


def _remove(link: str) -> None:
    try:
        os.unlink(link)
    except FileNotFoundError:
        pass
