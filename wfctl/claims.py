"""What one run says to others of what it shares, and who may take something beside them.

Knows nothing of files or processes, nor of nodes: it is handed the claims of all runs that live."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence

from wfctl.record import dataclass

FORMAT = 1
"""The format of claims. Of newer ones it cannot be told what they hold."""

_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Share:
    """What a run says of one thing that it shares: of no more than `amount` may be held by all runs together.

    `reserve` of it this run leaves to others. Where the units can be told apart, `devices` are those that it sees,
    as CUDA_VISIBLE_DEVICES names them; it shares then only with runs that see one of them too.
    """

    amount: int
    reserve: int = 0
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """A run as others see it; `command` is its command line, shortened, fit to be shown."""

    run: str
    pid: int
    command: str

    def __str__(self) -> str:
        return f"run {self.run} (pid {self.pid}, {self.command})" if self.pid else self.run


@dataclass(slots=True)
class Claims:
    """What a run shares, holds and waits for. `outer` are the nonces of the runs in whose nodes it runs."""

    nonce: str
    outer: tuple[str, ...]
    holder: Holder
    roster: str
    shares: dict[str, Share]
    held: dict[str, int]
    devices: dict[str, list[str]]
    waits: dict[str, int]
    ticket: int
    """Its place in the line of all runs that wait; 0 where others may pass it, or it does not wait."""

    def to_bytes(self) -> bytes:
        text = _encode(
            {
                "format": FORMAT,
                "outer": self.outer,
                "holder": [self.holder.run, self.holder.pid, self.holder.command],
                "roster": self.roster,
                "shares": {name: [s.amount, s.reserve, s.devices] for name, s in self.shares.items()},
                "held": self.held,
                "devices": self.devices,
                "waits": self.waits,
                "ticket": self.ticket,
            }
        ).encode()
        return b"%08x %s" % (zlib.crc32(text), text)

    @classmethod
    def from_bytes(cls, nonce: str, line: bytes) -> Claims | None:
        """None where they are damaged, or those of a newer wfctl."""
        crc, _, text = line.partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            return None
        said = json.loads(text)
        if said["format"] > FORMAT:
            return None
        shares = {name: Share(amount, reserve, tuple(seen)) for name, (amount, reserve, seen) in said["shares"].items()}
        rest = (said[key] for key in ("held", "devices", "waits", "ticket"))
        return cls(nonce, tuple(said["outer"]), Holder(*said["holder"]), said["roster"], shares, *rest)

    def is_related(self, other: Claims) -> bool:
        """Whether one runs in a node of the other: what that node was given is for both."""
        return self.nonce in other.outer or other.nonce in self.outer


def against(mine: Claims, wants: Mapping[str, int], others: Sequence[Claims]) -> list[Claims]:
    """The runs because of which `mine` cannot take that now, itself too; none when it can.

    All of it must be free, and it may not keep back a run that came before, nor what this run itself stands in line
    for: so whoever stands there gets what it wants when those that held it before have let go.
    """
    found = []
    for name, amount in wants.items():
        rivals = _rivals(mine, name, others)
        share = mine.shares[name]
        if amount > _room(mine, name, rivals) or (share.devices and amount > len(_free(mine, name, rivals))):
            short = [rival for rival in rivals if rival.held.get(name) or rival.shares[name].amount < share.amount]
            found += short or [mine]
    # Who runs in a node that holds something waits for nobody's turn: those in the line may wait for that node.
    is_inner = any(other.nonce in mine.outer and any(other.held.values()) for other in others)
    turn = mine.ticket if wants == mine.waits else 0
    for other in (mine, *others) if not is_inner else ():
        if 0 < other.ticket < (turn or sys.maxsize) and _delays(mine, wants, other, [mine, *others]):
            found.append(other)
    return list({id(claims): claims for claims in found}.values())


def free_devices(mine: Claims, name: str, others: Iterable[Claims]) -> list[str]:
    """Those that this run sees and nobody holds, in the order in which it names them."""
    return _free(mine, name, _rivals(mine, name, others))


def _free(mine: Claims, name: str, rivals: Iterable[Claims]) -> list[str]:
    held = [device for claims in (mine, *rivals) for device in claims.devices.get(name, ())]
    return [own for own in mine.shares[name].devices if not any(_is_same(own, device) for device in held)]


def _rivals(one: Claims, name: str, others: Iterable[Claims]) -> list[Claims]:
    """Those with which a run shares something: not those that it runs in, or that run in it."""
    return [
        other
        for other in others
        if other is not one
        and (share := other.shares.get(name)) is not None
        and _meet(one.shares[name].devices, share.devices)
        and not one.is_related(other)
    ]


def _least(one: Claims, name: str, rivals: Iterable[Claims]) -> int:
    """The smallest budget of all that live, without what `one` leaves to others."""
    share = one.shares[name]
    return min([share.amount, *(rival.shares[name].amount for rival in rivals)]) - share.reserve


def _room(one: Claims, name: str, rivals: Sequence[Claims]) -> int:
    """What a run could take now, if nobody stood in line."""
    return _least(one, name, rivals) - sum(claims.held.get(name, 0) for claims in (one, *rivals))


def _delays(mine: Claims, wants: Mapping[str, int], other: Claims, everyone: Sequence[Claims]) -> bool:
    """Whether to take that would keep back one that came before.

    Not one whose turn cannot come while runs with smaller budgets live: they would wait for it, and it for them.
    """
    rivals = {name: _rivals(other, name, everyone) for name in other.waits}
    if any(amount > _least(other, name, rivals[name]) for name, amount in other.waits.items()):
        return False
    return any(
        other.waits[name] + wants[name] > _room(other, name, rivals[name])
        for name in other.waits.keys() & wants.keys()
        if other is mine or any(rival is mine for rival in rivals[name])
    )


def _meet(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two runs that see these devices see one in common. Bare amounts are of one kind."""
    if not some or not others:
        return True
    return not set(some).isdisjoint(others) or any(_is_same(a, b) for a in some for b in others)


def _is_same(one: str, other: str) -> bool:
    """Whether two names may mean one device.

    CUDA knows a device by its index, or by a name such as GPU-8932f937 that may be cut short. Which index has which
    name cannot be told, nor which GPU has which MIG part, so names of two sorts may always mean the same.
    """
    if one.isdecimal() and other.isdecimal():
        return int(one) == int(other)
    sort, other_sort = (name.partition("-")[0] for name in (one, other))
    return sort != other_sort or one.startswith(other) or other.startswith(one)
