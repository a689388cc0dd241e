"""The decisions of one client that shares a quota: when to write, and how many slots it may use.

Slots change hands in two steps. A client whose share has become smaller first submits no more than
that, and writes that it holds fewer only after its generations have ended. Another client uses a
slot only after it has written that it holds it, and while all together hold no more than the limit.

The class has no clock and does no I/O, so tests and simulations drive it through simulated time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from airflow_provider_flux.account.governor.quota import MAX_CLIENTS, Quota, QuotaClient
from airflow_provider_flux.account.governor.shares import MAX_SLOTS, QuotaLimits, Slots
from airflow_provider_flux.bfl.priority import RANKS, Priority

#: Seconds between two looks at the shared object.
READ_SECONDS = 1.0
#: Seconds after which a client writes that it lives, and after which it counts as gone without it.
#: Both grow with the number of clients, because stores limit the writes of one object: GCS to about
#: one per second.
RENEW_SECONDS = 2.6
LASTS_SECONDS = 7.0
_CLIENTS_WITHOUT_WAIT = 3
#: Most seconds between two looks that count for the age of an entry. While a client could not look,
#: others could not write either.
_MAX_COUNTED_SECONDS = 2.5
#: A client without any slot for this long uses one anyway, whatever the object says. BFL may refuse
#: it, which costs nothing.
STARVED_SECONDS = 60.0


class FullQuotaError(Exception):
    """Raised if the object has no place for another client."""


@dataclass(frozen=True)
class Usage:
    """What a client does and could do.

    :param active: slots that it uses now, those of unanswered POSTs included.
    :param demand: slots that it could use.
    """

    active: Slots
    demand: Slots


@dataclass
class _Sighting:
    renewal: int
    age: float = 0.0


@dataclass
class QuotaMember:
    """One client of an account.

    :param name: id of the client: 32 hexadecimal digits.
    :param limits: limits of the account.
    :param priority: priority of its submits.
    :ivar permit: slots that it may use now.
    """

    name: str
    limits: QuotaLimits
    priority: Priority = "normal"
    permit: Slots = field(default_factory=Slots)
    _sightings: dict[str, _Sighting] = field(default_factory=dict)
    _looked_at: float | None = None
    _wrote_at: float | None = None
    _without_slot_since: float | None = None
    _planned: Slots | None = None
    _has_share: bool = True
    _lasts: float = LASTS_SECONDS

    def observe(self, quota: Quota, now: float) -> set[str]:
        """Take note of the clients, and return those that count as gone.

        :param quota: the object as it was read.
        :param now: seconds of a monotonic clock.
        """
        seconds = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        sightings = {
            name: self._sight(name, client.renewal, min(seconds, _MAX_COUNTED_SECONDS))
            for name, client in quota.clients.items()
            if name != self.name
        }
        self._sightings = sightings
        return {name for name, seen in sightings.items() if seen.age > quota.clients[name].lasts}

    def _sight(self, name: str, renewal: int, seconds: float) -> _Sighting:
        seen = self._sightings.get(name)
        if seen is None or seen.renewal != renewal:
            return _Sighting(renewal)
        return _Sighting(renewal, seen.age + seconds)

    def prepare(self, quota: Quota, usage: Usage, now: float) -> bool:
        """Lower :attr:`permit` if the share is smaller now, and return whether to write the entry.

        :param quota: the object as it was read.
        :param usage: what this client does.
        :param now: seconds of a monotonic clock.
        """
        gone = self.observe(quota, now)
        mine = quota.clients.get(self.name)
        if mine is None or self._wrote_at is None:
            return True
        others = quota.without(gone)
        self._plan(others, usage, now)
        if self._planned is not None:
            self.permit = _combine(min, self.permit, self._planned)
        if now - self._wrote_at >= RENEW_SECONDS * _scale(others):
            return True
        planned = self._plan(others, usage, now).clients[self.name]
        return planned.held != mine.held or planned.demand != mine.demand

    def renew(self, quota: Quota, usage: Usage, now: float) -> Quota:
        """Return the object with the new entry of this client. It may be called several times.

        :param quota: the object as it was read.
        :param usage: what this client did when the write began. It may use more meanwhile, but
            never more than :attr:`permit`.
        :param now: seconds of a monotonic clock.
        :raises FullQuotaError: if there is no place for this client.
        """
        return self._plan(quota.without(self.observe(quota, now)), usage, now)

    def confirm(self, now: float) -> Slots:
        """Use the slots of the last :meth:`renew`, which was written, and return them.

        :param now: seconds of a monotonic clock.
        """
        self._wrote_at = now
        if self._planned is not None:
            self.permit = self._planned
        if self._has_share:
            self._without_slot_since = None
        elif self._without_slot_since is None:
            self._without_slot_since = now
        return self.permit

    def is_lapsed(self, now: float) -> bool:
        """Return whether others may count this client as gone, because it could not write.

        :param now: seconds of a monotonic clock.
        """
        return self._wrote_at is None or now - self._wrote_at > self._lasts

    def leave(self, quota: Quota, active: Slots, seconds: float) -> Quota:
        """Return the object after this client has ended.

        :param quota: the object as it was read.
        :param active: slots of generations that go on at BFL.
        :param seconds: seconds for which they keep their slots.
        """
        mine = quota.clients.get(self.name)
        if mine is None or not active.total:
            return quota.without({self.name})
        changes = {
            "renewal": mine.renewal + 1,
            "lasts": seconds,
            "demand": Slots(),
            "held": active,
        }
        return quota.with_client(self.name, mine.model_copy(update=changes))

    def _plan(self, quota: Quota, usage: Usage, now: float) -> Quota:
        mine = quota.clients.get(self.name)
        if mine is None:
            if len(quota.clients) >= MAX_CLIENTS:
                raise FullQuotaError
            mine = QuotaClient(ticket=quota.next_ticket)
        demand = _limit(usage.demand, self.limits)
        self._lasts = LASTS_SECONDS * _scale(quota)
        entry = mine.model_copy(
            update={
                "rank": RANKS[self.priority],
                "renewal": mine.renewal + 1,
                "lasts": self._lasts,
                "demand": demand,
            }
        )
        quota = quota.with_client(self.name, entry)
        share, free = quota.shares(self.limits)[self.name], quota.free_for(self.name, self.limits)
        permit = _combine(min, share, free)
        self._has_share = permit.total > 0 or not demand.total
        if not self._has_share and self._is_starved(now):
            permit = _combine(min, demand, Slots(total=1, groups=dict.fromkeys(demand.groups, 1)))
        self._planned = permit
        # Until this is written, the client may use as much as it could before.
        in_use = _combine(max, usage.active, self.permit)
        held = _combine(max, permit, in_use)
        return quota.with_client(self.name, entry.model_copy(update={"held": held}))

    def _is_starved(self, now: float) -> bool:
        since = self._without_slot_since
        return since is not None and now - since >= STARVED_SECONDS


def _scale(quota: Quota) -> float:
    return max(len(quota.clients) / _CLIENTS_WITHOUT_WAIT, 1.0)


def _limit(demand: Slots, limits: QuotaLimits) -> Slots:
    """Return a demand without what is above the limits, so that it rarely changes."""
    groups = {group: min(demand.of(group), limit) for group, limit in limits.groups.items()}
    dropped = sum(demand.of(group) - slots for group, slots in groups.items())
    return Slots(total=min(max(demand.total - dropped, 0), limits.account), groups=groups)


def _combine(choose: Callable[[Iterable[int]], int], one: Slots, other: Slots) -> Slots:
    groups: Mapping[str, int] = {
        group: choose((one.of(group), other.of(group)))
        for group in sorted({*one.groups, *other.groups})
    }
    return Slots(total=min(choose((one.total, other.total)), MAX_SLOTS), groups=dict(groups))
