"""What the running nodes of a run share: what is free of each resource, the tokens of rates, and who has which device.

Knows nothing of ranks and states, and reads no clock: it is told what starts, what ends, and when."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from types import MappingProxyType

from wfctl.record import dataclass

Demand = tuple[tuple[str, int], ...]
"""What a node holds while it runs, exact, sorted by name."""

LOOK_AHEAD = 256
"""How many estimated ends are looked at to find the moment of a reservation."""

DEVICES = "gpu"
"""The resource whose units are told apart."""

REQUESTS = 100
"""How many nodes that hold no slot may run at once, beside those that do."""

_REQUESTS = "\0"

_NO_RATES: Mapping[str, float] = MappingProxyType({})


class Wish:
    """What a node asks for, made by `Budget.wish`: those that ask for the same, for the same time, share one.

    `load` has the amounts, packed, and the slot where it needs one. Of each of the `rates` it takes a token. `seconds`
    is how long it will take by estimate, None where it has none. It is `refused` while other runs hold what it wants.
    """

    __slots__ = ("demand", "load", "rates", "refused", "seconds")

    def __init__(self, demand: Demand, load: int, rates: tuple[str, ...], seconds: float | None) -> None:
        self.demand = demand
        self.load = load
        self.rates = rates
        self.seconds = seconds
        self.refused = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is kept for the first node that does not fit."""

    at: float | None
    """When it can start, by estimates; None where they do not tell."""
    spare: int
    """What is left beside it then, packed, guards and all."""
    rates: tuple[str, ...]


class Budget:
    """What is free. `limits` are the budgets, `slots` how many nodes may run at once, `rates` tokens in a second.

    `tokens` says of each rate when it will have all its tokens again; it is kept up to date in place. `devices` are the
    names of the devices, where they have others than their numbers.

    All amounts of a demand are packed into one whole number, a field for each, with a guard bit above: what does not
    fit borrows its guard. So to see whether a demand fits takes two operations, however many resources there are.
    """

    def __init__(
        self,
        limits: Mapping[str, int],
        slots: int,
        rates: Mapping[str, float] = _NO_RATES,
        tokens: dict[str, float] | None = None,
        devices: Sequence[str] = (),
    ) -> None:
        self.free = dict(limits)
        self._rates = rates
        self._tokens = {} if tokens is None else tokens
        self._names = devices
        self._places: dict[str, int] = {}  # where the field of each resource begins; first that of the slots
        self._fields: list[tuple[int, int]] = []  # the same, with masks of their width
        self.guards = width = 0
        whole = (("", slots), (_REQUESTS, REQUESTS), *limits.items())
        for name, limit in whole:
            self._places[name] = width
            self._fields.append((width, (1 << limit.bit_length()) - 1))
            width += limit.bit_length() + 1
            self.guards |= 1 << (width - 1)
        self.room = self.guards + self._packed(whole)
        self._least = [self._packed((("", 1),))]  # what any node asks for, at least
        self._wishes: dict[tuple[Demand, float | None, bool], Wish] = {}
        self._held: dict[str, tuple[float, str, int]] = {}  # by node: its estimated end, the node, its load
        self._ends: list[tuple[float, str, int]] = []  # the same, by end
        self._users: dict[str, str] = {}  # of devices

    def wish(self, demand: Demand, seconds: float | None, slotless: bool = False) -> Wish:
        """What a node with this demand asks for; `seconds` is its estimate, None where it has none."""
        found = self._wishes.get((demand, seconds, slotless))
        if found is None:
            rates = tuple(name for name, _ in demand if name in self._rates)
            place = _REQUESTS if slotless else ""
            if slotless and len(self._least) == 1:
                self._least.append(self._packed(((_REQUESTS, 1),)))
            load = self._packed(((place, 1), *demand))
            found = self._wishes[demand, seconds, slotless] = Wish(demand, load, rates, seconds)
        return found

    @property
    def has_room(self) -> bool:
        """Whether there is a slot, or room for one that needs none where there are such."""
        return any((self.room - load) & self.guards == self.guards for load in self._least)

    def fits(self, wish: Wish, now: float) -> bool:
        """Whether it may have what it asks for."""
        if wish.refused or (self.room - wish.load) & self.guards != self.guards:
            return False
        return all(self.next_token(name, now) <= now for name in wish.rates)

    def hold(self, node: str, wish: Wish, now: float, devices: Iterable[str] = ()) -> None:
        """A node has started, at `now`, and has what it asked for."""
        end = inf if wish.seconds is None else now + wish.seconds
        entry = self._held[node] = (end, node, wish.load)
        insort(self._ends, entry)
        self.room -= wish.load
        for name, amount in wish.demand:
            if name in self.free:
                self.free[name] -= amount
        for device in devices:
            self._users[device] = node

    def spend(self, wish: Wish, now: float) -> None:
        """An attempt has taken its tokens, at `now`."""
        for name in wish.rates:
            self._tokens[name] = max(self._tokens.get(name, now), now) + 1 / self._rates[name]

    def give_back(self, node: str, wish: Wish) -> None:
        """A node has ended. Its tokens are spent."""
        entry = self._held.pop(node)
        del self._ends[bisect_left(self._ends, entry)]
        self.room += wish.load
        for name, amount in wish.demand:
            if name in self.free:
                self.free[name] += amount
        if self._users:
            self._users = {device: user for device, user in self._users.items() if user != node}

    # -- devices

    def devices(self, demand: Demand) -> tuple[str, ...]:
        """The devices that a node with this demand is given: the lowest that are free."""
        count = next((amount for name, amount in demand if name == DEVICES), 0)
        found: list[str] = []
        number = 0
        while len(found) < count:
            device = self._names[number] if self._names else str(number)
            if device not in self._users:
                found.append(device)
            number += 1
        return tuple(found)

    # -- rates

    def next_token(self, name: str, now: float, taken: int = 0) -> float:
        """When there is a token of this rate, after so many more were taken now: `now`, or a later moment.

        A token bucket of one second's worth, at least of one token; it is full at first. It is kept as the moment at
        which it will be full again (the virtual scheduling algorithm of ITU-T I.371). To a microsecond, as events are
        written, so that who wakes at that moment finds the token.
        """
        rate = self._rates[name]
        full = max(self._tokens.get(name, now), now) + taken / rate
        return max(now, round(full - (max(1, int(rate)) - 1) / rate, 6))

    def next_change(self, now: float) -> float | None:
        """When the next token comes that is not there yet; None where all have some."""
        moments = [at for name in self._tokens if name in self._rates and (at := self.next_token(name, now)) > now]
        return min(moments, default=None)

    @property
    def has_rates(self) -> bool:
        """Whether what does not fit may fit later although nothing has ended."""
        return bool(self._rates)

    # -- reservations

    def reservation(self, wish: Wish, now: float) -> Reservation:
        """What to keep for a node that does not fit: it holds the first place among all that wait.

        It can start as soon as enough of what runs has ended, by the estimates of that; what has outlived its estimate
        is taken to end at once. But of that no more is counted on than the node needs, first what is over its time for
        longest: so what passes later cannot be, and the node starts when that has ended, however long it takes. Of so
        many ends that not all are looked at, the moment is the last that was: too early for the node, and so in its
        favour.
        """
        room, guards = self.room, self.guards
        if wish.refused:  # what other runs will do is not known
            return Reservation(None, self._left(room, wish.load), wish.rates)
        at: float | None = now
        for count, (end, _, load) in enumerate(self._ends):
            if (room - wish.load) & guards == guards:
                if not now < end == at:
                    break
            elif end == inf:
                at = None
                break
            elif count >= LOOK_AHEAD:
                break
            room += load
            at = max(now, end)
        if at is not None:
            at = max([at, *(self.next_token(name, now) for name in wish.rates)])
        return Reservation(at, self._left(room, wish.load), wish.rates)

    def may_pass(self, wish: Wish, kept: Reservation, now: float, patient: bool) -> bool:
        """Whether one that fits may start before the one that something is kept for: only if it does not delay that.

        It does not if it leaves enough for it even then, or has ended by then (EASY backfilling: Lifka 1995). Where
        there are no estimates to tell it may, as long as the other is `patient`; so may what takes no time by estimate
        when the other should have started.
        """
        enough = True
        if wish.rates and (shared := [name for name in wish.rates if name in kept.rates]):
            if kept.at is None:
                enough = False
            elif any(self.next_token(name, now, 1) > kept.at for name in shared):
                return False
        if enough and (kept.spare - wish.load) & self.guards == self.guards:
            return True
        if kept.at is None or wish.seconds is None:
            return patient
        return now + wish.seconds <= kept.at and (patient or kept.at > now)

    # -- packing

    def _packed(self, amounts: Iterable[tuple[str, int]]) -> int:
        """The amounts as one number. What has no budget has no limit."""
        places = self._places
        return sum([amount << places[name] for name, amount in amounts if name in places])

    def _left(self, room: int, load: int) -> int:
        """What of `room` a load leaves; nothing where it is too much."""
        left = self.guards
        for place, mask in self._fields:
            left += max(0, (room >> place & mask) - (load >> place & mask)) << place
        return left
