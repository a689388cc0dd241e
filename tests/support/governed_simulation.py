"""Clients of one account that share its quota by one object, in simulated time."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_provider_flux.account.governor.member import READ_SECONDS, QuotaMember, Usage
from airflow_provider_flux.account.governor.quota import Quota
from airflow_provider_flux.account.governor.shares import QuotaLimits, Slots
from airflow_provider_flux.bfl.priority import Priority
from tests.support.account_simulation import Client, Clock


@dataclass
class SimulatedStore:
    """The store of the quota object.

    :param request_seconds: range of the time of one read or write.
    """

    clock: Clock
    rng: random.Random
    request_seconds: tuple[float, float] = (0.02, 0.15)
    quota: Quota = field(default_factory=Quota)
    version: int = 0
    writes: int = 0

    def seconds(self) -> float:
        """Draw the time of one request."""
        return self.rng.uniform(*self.request_seconds)


@dataclass
class GovernedClient(Client):
    """A batch that may have ``account_path``: its keeper looks, and writes by compare-and-swap.

    :param store: store of the quota object; ``None`` without ``account_path``.
    :param priority: priority of the batch.
    :param stops_at: time at which its process is killed; ``None`` if it ends by itself.
    :param look_seconds: mean seconds between two looks at the object.
    """

    store: SimulatedStore | None = None
    priority: Priority = "normal"
    stops_at: float | None = None
    look_seconds: float = READ_SECONDS

    def __post_init__(self) -> None:
        self.is_killed = False
        self._member = QuotaMember(
            f"{self.rng.getrandbits(128):032x}", QuotaLimits(24, {}), self.priority
        )
        if self.store:
            self.limiter.set_permit(0, {})
            self.clock.call_later(self.starts_at, self._look)
        super().__post_init__()
        if self.stops_at is not None:
            self.clock.call_later(self.stops_at, self._kill)

    @property
    def _shared(self) -> SimulatedStore:
        assert self.store is not None
        return self.store

    @property
    def usage(self) -> Usage:
        """What the client does and could do."""
        active = self.limiter.active
        return Usage(Slots(total=active), Slots(total=min(active + len(self._pending), 24)))

    def _kill(self) -> None:
        self.is_killed = True
        self._pending = deque()

    def _look(self) -> None:
        if self.is_killed:
            return
        if not self._pending and not self.limiter.active:
            self._shared.quota = self._member.leave(self._shared.quota, Slots(), 1.0)
            self._shared.version += 1
            return
        quota = self._shared.quota

        def arrive() -> None:
            usage = self.usage
            must_write = self._member.prepare(quota, usage, self.clock.now)
            self._permit()
            if must_write:
                self._read_to_write(usage)
            else:
                self._look_later()

        self.clock.call_later(self._shared.seconds(), arrive)

    def _read_to_write(self, usage: Usage) -> None:
        quota, version = self._shared.quota, self._shared.version

        def write() -> None:
            if self._shared.version != version:
                self._read_to_write(usage)
                return
            self._shared.quota = self._member.renew(quota, usage, self.clock.now)
            self._shared.version += 1
            self._shared.writes += 1
            self.clock.call_later(self._shared.seconds(), confirm)

        def confirm() -> None:
            self._member.confirm(self.clock.now)
            self._permit()
            self._look_later()

        self.clock.call_later(self._shared.seconds(), write)

    def _look_later(self) -> None:
        self.clock.call_later(self.look_seconds * self.rng.uniform(0.8, 1.2), self._look)

    def _permit(self) -> None:
        permit = self._member.permit
        groups: Mapping[str, int] = permit.groups
        self.limiter.set_permit(permit.total, groups)
        if not self.is_killed:
            self._submit_all()
