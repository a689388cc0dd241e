"""The keeper of one client's entry in the quota of its account, while the client works."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from airflow_provider_flux.account.governor.member import (
    READ_SECONDS,
    FullQuotaError,
    QuotaMember,
    Usage,
)
from airflow_provider_flux.account.governor.quota import Quota
from airflow_provider_flux.account.governor.shares import QuotaLimits, Slots
from airflow_provider_flux.account.shared_state import SharedState

log = logging.getLogger(__name__)

#: Seconds that one look or one write may take.
_ATTEMPT_SECONDS = 5.0
#: Seconds between two attempts after the store failed.
_PAUSE_SECONDS = 5.0


class Governed(Protocol):
    """A client whose submits the quota limits, for example the engine of a batch."""

    def usage(self) -> Usage:
        """Return the slots that the client uses and could use."""

    def set_permit(self, permit: Slots) -> None:
        """Keep to a number of slots.

        :param permit: slots that may be used.
        """

    def release_permit(self) -> None:
        """Go on without the quota of the account."""


class QuotaKeeper:
    """Keeps the entry of one client, and tells the client how many slots it may use.

    An error of the store never ends the client. For a few seconds it keeps the slots that it had.
    Then others may use them, so it finds the limit by itself, as a client without ``account_path``
    does, until the store answers again.

    :param state: the quota of the account.
    :param member: decisions of this client.
    :param clock: monotonic time in seconds.
    """

    def __init__(
        self,
        state: SharedState[Quota],
        member: QuotaMember,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._member = member
        self._clock = clock
        self._is_alone = False

    @property
    def limits(self) -> QuotaLimits:
        """The limits of the account."""
        return self._member.limits

    @limits.setter
    def limits(self, limits: QuotaLimits) -> None:
        self._member.limits = limits

    async def run(self, client: Governed) -> None:
        """Keep the entry until this is cancelled. No error ends it.

        :param client: the client of the entry.
        """
        client.set_permit(self._member.permit)
        while True:
            pause = READ_SECONDS
            try:
                async with asyncio.timeout(_ATTEMPT_SECONDS):
                    await self._renew(client)
            except Exception as error:
                self._handle(error, client)
                pause = _PAUSE_SECONDS if self._is_alone else READ_SECONDS
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads clients

    async def leave(self, active: Slots, seconds: float) -> None:
        """Give the slots back. An error is only logged: the entry ends by itself.

        :param active: slots of generations that go on at BFL.
        :param seconds: seconds for which they keep their slots.
        """
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                await self._state.update(lambda quota: self._member.leave(quota, active, seconds))
        except Exception as error:
            log.debug("The slots of the account were not given back. %s", error)

    async def _renew(self, client: Governed) -> None:
        quota = await self._state.read()
        # Nothing is submitted between these lines: they are one step of the event loop.
        usage = client.usage()
        must_write = self._member.prepare(quota, usage, self._clock())
        if not self._is_alone:
            client.set_permit(self._member.permit)
        if must_write:
            await self._state.update(
                lambda current: self._member.renew(current, usage, self._clock())
            )
            client.set_permit(self._member.confirm(self._clock()))
        if self._is_alone:
            log.info("The account_path answers again: this client shares the quota by it")
            self._is_alone = False

    def _handle(self, error: Exception, client: Governed) -> None:
        if self._is_alone or not self._member.is_lapsed(self._clock()):
            return
        self._is_alone = True
        reason = (
            "it has no place for another client"
            if isinstance(error, FullQuotaError)
            else f"{type(error).__name__}: {error}"
        )
        log.warning(
            "The quota in account_path cannot be used now (%s). Submits go on, and the limit is "
            "found by the submits that BFL refuses",
            reason,
        )
        client.release_permit()
