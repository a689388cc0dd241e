"""Number of active generations, learned from the submits that the service accepts and refuses.

An account has a limit of active generations, and other clients may use the same key. Only a refusal
(429) shows how many generations are active. The limiter therefore searches for the limit as TCP
does: it increases its own limit after accepted submits and decreases it after a refusal.

The classes only decide. They have no clock and no socket, so tests drive them through simulated
time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

#: Share of the limit that a decrease gives up at half of the account's limit; less below that half.
#: A refused probe, one generation more than was ever accepted, shows where the limit is, so little
#: is given up. A refusal of a number that was accepted before shows that another client has come. A
#: client above half of the account's limit first returns to that half, so that the other one soon
#: has its part.
_DECREASE_AFTER_PROBE = 0.04
_DECREASE_AFTER_CONTENTION = 0.12
#: A client with at most this share of the account's limit, or this many generations, gives up
#: nothing.
_NO_DECREASE_SHARE = 0.125
_NO_DECREASE_GENERATIONS = 3
#: Accepted submits before the limit increases by one, at half of the account's limit. Elsewhere the
#: number goes with the square of the share, so that clients with few generations grow faster.
_ACCEPTED_PER_INCREASE = 96.0
#: Largest limit that counts for that, as a multiple of half of the account's limit.
_MAX_INCREASE_RATIO = 1.5
#: Each successful increase beyond the last known ceiling makes the next one come sooner by this
#: factor.
_PROBE_SPEEDUP = 3.0
_MAX_PROBE_STREAK = 10
#: The account's limit, divided by the POSTs that may be unanswered: at most that many fail at once.
_UNANSWERED_DIVISOR = 8
_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 2.0


class _SlotLimit:
    """One limit of active generations: that of the account, or that of one group of models.

    :param maximum: largest number of active generations.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.limit = float(maximum)
        #: Slots that the governor of the account permits; ``None`` without one.
        self.permit: int | None = None
        self.active = 0
        self.unanswered = 0
        #: POSTs that may be unanswered: one at first, more as the service accepts submits.
        self._max_unanswered = 1
        #: Unanswered POSTs sent before the last refusal. Their answers carry no new information.
        self._stale = 0
        #: Generations that were active at once without a refusal, 0 until that is known: it is
        #: learned from the first refusal, or when all of ``maximum`` are active.
        self._ceiling = 0
        self._decrease_share = _DECREASE_AFTER_PROBE
        self._probe_streak = 0
        self._accepted_since_increase = 0
        self._refusals_in_a_row = 0
        self._blocked_until = 0.0

    def has_room(self) -> bool:
        limit = self.limit if self.permit is None else min(self.limit, self.permit)
        return self.active + 1 <= limit and self.unanswered < self._max_unanswered

    def resize(self, maximum: int) -> None:
        """Change the largest number of active generations."""
        if self.limit == self.maximum:
            self.limit = float(maximum)
        self.maximum = maximum
        self.limit = min(self.limit, float(maximum))
        self._ceiling = min(self._ceiling, maximum)

    def release_permit(self) -> None:
        """Go on without the governor, from where it was."""
        if self.permit is not None:
            self._ceiling = max(min(self.permit, self.maximum), 1)
            self.limit = min(self.limit, float(self._ceiling))
        self.permit = None

    def seconds_blocked(self, now: float) -> float:
        """Return the seconds for which no POST may be sent."""
        return max(self._blocked_until - now, 0.0)

    def record_submit(self) -> None:
        self.active += 1
        self.unanswered += 1

    def record_resumed(self) -> None:
        self.active += 1

    def release_slot(self) -> None:
        self.active = max(self.active - 1, 0)
        self._blocked_until = 0.0

    def record_dropped(self) -> None:
        self._take_answer()
        self.active = max(self.active - 1, 0)

    def record_accepted(self) -> None:
        was_full = self.active + 1 > self.limit
        self._max_unanswered = min(
            self._max_unanswered + 1, max(self.maximum // _UNANSWERED_DIVISOR, 1)
        )
        self._refusals_in_a_row = 0

        if self._take_answer():
            self._decrease()
        elif self._accepted == self.maximum:
            self._ceiling = self.maximum
        elif was_full and self.limit < self.maximum:
            self._increase()

    def record_refused(self, now: float, jitter: float) -> None:
        is_stale = self._take_answer()
        self.active = max(self.active - 1, 0)
        if is_stale:
            return

        self._stale = self.unanswered
        is_probe = self.limit > self._ceiling
        self._decrease_share = _DECREASE_AFTER_PROBE if is_probe else _DECREASE_AFTER_CONTENTION
        self._max_unanswered = 1

        backoff = _BACKOFF_SECONDS * 2.0 ** min(self._refusals_in_a_row, 10)
        self._blocked_until = now + min(backoff, _MAX_BACKOFF_SECONDS) * (0.5 + jitter)
        self._refusals_in_a_row += 1
        self._decrease()

    @property
    def _accepted(self) -> int:
        """Active generations that the service has confirmed."""
        return self.active - self.unanswered

    @property
    def _no_decrease_below(self) -> float:
        return max(_NO_DECREASE_GENERATIONS, _NO_DECREASE_SHARE * self.maximum)

    def _take_answer(self) -> bool:
        """Count an answer, and return whether its POST was sent before the last refusal."""
        self.unanswered = max(self.unanswered - 1, 0)
        is_stale = self._stale > 0
        self._stale -= is_stale
        return is_stale

    def _decrease(self) -> None:
        """Lower the limit in proportion to the accepted generations (multiplicative decrease)."""
        accepted = self._accepted
        self._accepted_since_increase = 0
        self._probe_streak = 0
        if accepted <= self._no_decrease_below:
            self._ceiling = accepted
            self.limit = float(min(accepted + 1, self.maximum))
            return

        half = self.maximum / 2
        kept = min(accepted, half)
        self._ceiling = max(round(kept - self._decrease_share * kept * kept / half), 1)
        self.limit = float(self._ceiling)

    def _increase(self) -> None:
        """Raise the limit by one after enough accepted submits (additive increase)."""
        self._accepted_since_increase += 1
        ratio = min(2 * self.limit / self.maximum, _MAX_INCREASE_RATIO)
        speedup = _PROBE_SPEEDUP ** min(self._probe_streak, _MAX_PROBE_STREAK)
        if self._accepted_since_increase < _ACCEPTED_PER_INCREASE * ratio**2 / speedup:
            return

        self._accepted_since_increase = 0
        self.limit = min(self.limit + 1, float(self.maximum))
        if self.limit > self._ceiling:
            self._probe_streak += 1


class ConcurrencyLimiter:
    """Decides how many generations may be active.

    The caller asks :meth:`can_submit` before each POST, records the POST with
    :meth:`record_submit`, and records its answer with one of :meth:`record_accepted`,
    :meth:`record_refused` and :meth:`record_dropped`. It calls :meth:`release_slot` when an
    accepted generation has ended.

    All times are seconds of one monotonic clock of the caller's choice.

    :param max_active: generations that the account may have active at once.
    :param group_limits: smaller limits by group of models. A group that is not in the mapping has
        only the limit of the account.
    :param jitter: returns a random number in [0, 1), which spreads the retries of several clients.
    :ivar is_paused: whether nothing may be submitted.
    :ivar peak_active: largest number of slots that were taken at once.
    """

    def __init__(
        self,
        max_active: int,
        group_limits: Mapping[str, int],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._account = _SlotLimit(max_active)
        self._group_limits = dict(group_limits)
        self._groups = {
            group: _SlotLimit(min(limit, max_active)) for group, limit in group_limits.items()
        }
        self._jitter = jitter
        self._blocked_until = 0.0
        self.is_paused = False
        self.peak_active = 0

    @property
    def active(self) -> int:
        """Slots that are taken, including those of unanswered POSTs."""
        return self._account.active

    @property
    def unanswered(self) -> int:
        """POSTs that have no answer yet."""
        return self._account.unanswered

    @property
    def limit(self) -> float:
        """Generations of the account that may be active now."""
        return self._account.limit

    @property
    def maximum(self) -> int:
        """Largest number of active generations."""
        return self._account.maximum

    @property
    def active_by_group(self) -> dict[str, int]:
        """Slots that are taken, for each group that has a limit of its own."""
        return {group: limit.active for group, limit in self._groups.items()}

    def resize(self, max_active: int) -> None:
        """Change the largest number of active generations. Those that are active go on.

        :param max_active: generations that may be active at once.
        """
        self._account.resize(max_active)
        for group, limit in self._groups.items():
            limit.resize(min(self._group_limits[group], max_active))

    def set_permit(self, total: int, groups: Mapping[str, int]) -> None:
        """Keep to the slots that the governor of the account permits, besides all other limits.

        :param total: slots of the account.
        :param groups: slots by group of models. A group that is not in the mapping has none.
        """
        self._account.permit = total
        for group, limit in self._groups.items():
            limit.permit = groups.get(group, 0)

    def release_permit(self) -> None:
        """Go on without the governor: start with what it permitted, and search for the limit."""
        for limit in (self._account, *self._groups.values()):
            limit.release_permit()

    def can_submit(self, group: str, now: float) -> bool:
        """Return whether one more POST may be sent now.

        :param group: group of models that the request belongs to.
        :param now: current time in seconds.
        """
        return (
            not self.is_paused
            and now >= self._blocked_until
            and all(
                limit.has_room() and not limit.seconds_blocked(now)
                for limit in self._limits_of(group)
            )
        )

    def seconds_until_submit(self, now: float) -> float | None:
        """Return the seconds until a submit may be allowed without any further event.

        :param now: current time in seconds.
        :return: a positive number, or ``None`` if only an answer or a released slot can allow one.
        """
        limits = [self._account, *self._groups.values()]
        blocked = [limit.seconds_blocked(now) for limit in limits if limit.has_room()]
        shortest = min((seconds for seconds in blocked if seconds > 0), default=0.0)
        seconds = max(self._blocked_until - now, shortest)
        return seconds if seconds > 0 else None

    def record_submit(self, group: str) -> None:
        """Take a slot for a POST that is about to be sent.

        :param group: group of models that the request belongs to.
        """
        for limit in self._limits_of(group):
            limit.record_submit()
        self.peak_active = max(self.peak_active, self.active)

    def record_accepted(self, group: str) -> None:
        """Record that the service accepted a POST. Its generation keeps the slot.

        :param group: group that was passed to :meth:`record_submit`.
        """
        for limit in self._limits_of(group):
            limit.record_accepted()

    def record_refused(self, group: str, now: float, retry_after: float | None) -> None:
        """Record a 429: release the slot and lower the narrowest limit of the group.

        :param group: group that was passed to :meth:`record_submit`.
        :param now: current time in seconds.
        :param retry_after: seconds for which the service asks for no submit at all, or ``None``.
        """
        *wider, narrowest = self._limits_of(group)
        for limit in wider:
            limit.record_dropped()
        narrowest.record_refused(now, self._jitter())
        self._blocked_until = max(self._blocked_until, now + (retry_after or 0.0))

    def record_dropped(self, group: str) -> None:
        """Release the slot of a POST that made no generation for a reason other than a 429.

        Examples are a POST that was not sent and one that was answered with another 4xx status.

        :param group: group that was passed to :meth:`record_submit`.
        """
        for limit in self._limits_of(group):
            limit.record_dropped()

    def record_resumed(self, group: str) -> None:
        """Take a slot for an active generation that an earlier try submitted.

        :param group: group of models that the request belongs to.
        """
        for limit in self._limits_of(group):
            limit.record_resumed()
        self.peak_active = max(self.peak_active, self.active)

    def release_slot(self, group: str) -> None:
        """Release the slot of a generation that has ended.

        :param group: group that its slot was taken for.
        """
        for limit in self._limits_of(group):
            limit.release_slot()

    def _limits_of(self, group: str) -> list[_SlotLimit]:
        """Return the limits that apply to a group, the narrowest last."""
        return [self._account, self._groups[group]] if group in self._groups else [self._account]
