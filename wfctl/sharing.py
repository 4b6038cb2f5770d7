"""Lends to the nodes of a run what it shares with other runs, and stands in line for what they have.

Knows nothing of how runs come to terms: it is handed leases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wfctl.leases import Lease, Leases


class Sharing:
    """The shared part of one run's budget, lent node by node."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._lent: dict[str, Lease] = {}

    @property
    def fd(self) -> int:
        """Readable when it is worth asking again."""
        return self._leases.fd

    def lend(self, node: str, wants: Mapping[str, int]) -> Mapping[str, tuple[str, ...]] | str:
        """Give the node all of that: its devices, by resource; or say for whom it waits, and give nothing."""
        from wfctl.leases import Refused

        answer = self._leases.take(wants)
        if isinstance(answer, Refused):
            return str(answer)
        self._lent[node] = answer
        return answer.devices

    def give_back(self, node: str) -> bool:
        """Whether the node had something, which others may have now."""
        lease = self._lent.pop(node, None)
        if lease is not None:
            self._leases.release(lease)
        return lease is not None

    def stand_in_line(self, wants: Mapping[str, int] | None, *, passable: bool) -> None:
        """Be woken when that may be had; while it is `passable`, other runs may take it first."""
        self._leases.wait_for(wants, passable=passable)

    def woken(self) -> None:
        """`fd` was readable; before anything is asked for again."""
        self._leases.woken()
