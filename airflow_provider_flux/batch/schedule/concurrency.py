"""How many tasks may be active: learned from what the service accepts and refuses. No clock, no socket.

An account may have so many active tasks, and somebody else may use the same key. Nothing tells how many are
active but a refusal, so that the limit is found as TCP finds it: more after success, less after a refusal.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

#: A refusal of one task more than ever went well says where the ceiling is: next to nothing is given up. A refusal of
#: what went well before says that somebody else has come: who has half of the limit gives up this share, who has
#: less gives less, and who has more goes back to that half first, so that a newcomer soon has its part.
_GIVE_UP_PROBING = 0.04
_GIVE_UP_INTRUDED = 0.12
#: Who has no more than this share of the limit, or this many tasks, gives up nothing, and tries again.
_SMALL_SHARE = 0.125
_SMALL = 3
#: Accepted submits after which one more task is tried, at half of the limit; with the square of the share elsewhere,
#: so that those who have little grow faster. Each task beyond the ceiling makes the next come so much sooner.
_PATIENCE = 96.0
_PATIENCE_MOST = 1.5
_HASTE = 3.0
_MOST_STREAK = 10
#: Unanswered POSTs, as a part of the limit: so many at most are refused at once.
_BURST = 8
_BACKOFF = 0.5
_LONGEST_BACKOFF = 2.0


class _Lane:
    """One limit: of the account, or of one group of models."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self.active = 0
        self.unanswered = 0
        #: How many POSTs may be unanswered: few until the service has accepted some.
        self._burst = 1
        #: Unanswered POSTs that were sent before the last refusal: theirs say nothing new.
        self._stale = 0
        #: Tasks that have gone well: until the first refusal, or until all were active, nobody knows.
        self._ceiling = 0
        self._give_up = _GIVE_UP_PROBING
        self._streak = 0
        self._progress = 0
        self._refusals = 0
        self._not_before = 0.0

    def has_room(self) -> bool:
        return self.active + 1 <= self.limit and self.unanswered < self._burst

    def pause(self, now: float) -> float:
        """Return the seconds for which nothing may be sent."""
        return max(self._not_before - now, 0.0)

    def began(self) -> None:
        self.active += 1
        self.unanswered += 1

    def adopted(self) -> None:
        self.active += 1

    def ended(self) -> None:
        self.active = max(self.active - 1, 0)
        self._not_before = 0.0

    def dropped(self) -> None:
        self._answered()
        self.active = max(self.active - 1, 0)

    def accepted(self) -> None:
        was_full = self.active + 1 > self.limit
        self._burst = min(self._burst + 1, max(self.most // _BURST, 1))
        self._refusals = 0
        if self._answered():
            self._fall()
        elif self._held == self.most:
            self._ceiling = self.most
        elif was_full and self.limit < self.most:
            self._grow()

    def refused(self, now: float, jitter: float) -> None:
        is_stale = self._answered()
        self.active = max(self.active - 1, 0)
        if is_stale:
            return
        self._stale = self.unanswered
        self._give_up = _GIVE_UP_PROBING if self.limit > self._ceiling else _GIVE_UP_INTRUDED
        self._burst = 1
        backoff = min(_BACKOFF * 2.0 ** min(self._refusals, 10), _LONGEST_BACKOFF)
        self._not_before = now + backoff * (0.5 + jitter)
        self._refusals += 1
        self._fall()

    @property
    def _held(self) -> int:
        return self.active - self.unanswered

    @property
    def _small(self) -> float:
        return max(_SMALL, _SMALL_SHARE * self.most)

    def _answered(self) -> bool:
        """Note an answer, and return whether its POST was sent before the last refusal."""
        self.unanswered = max(self.unanswered - 1, 0)
        is_stale = self._stale > 0
        self._stale -= is_stale
        return is_stale

    def _fall(self) -> None:
        held = self._held
        self._progress = 0
        self._streak = 0
        if held <= self._small:
            self._ceiling = held
            self.limit = float(min(held + 1, self.most))
            return
        half = self.most / 2
        kept = min(held, half)
        self._ceiling = max(round(kept - self._give_up * kept * kept / half), 1)
        self.limit = float(self._ceiling)

    def _grow(self) -> None:
        self._progress += 1
        share = min(2 * self.limit / self.most, _PATIENCE_MOST)
        if self._progress < _PATIENCE * share**2 / _HASTE ** min(self._streak, _MOST_STREAK):
            return
        self._progress = 0
        self.limit = min(self.limit + 1, float(self.most))
        if self.limit > self._ceiling:
            self._streak += 1


class ConcurrencyLimiter:
    """Decide how many tasks may be active.

    Times are seconds of any monotonic clock.

    :param max_active: tasks that the account may have active.
    :param narrow: smaller limits, by group of models; groups that are not in it have only the limit of the account.
    :param jitter: returns a random number in [0, 1).
    """

    def __init__(
        self,
        max_active: int,
        narrow: Mapping[str, int],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._all = _Lane(max_active)
        self._narrow = {group: _Lane(min(limit, max_active)) for group, limit in narrow.items()}
        self._jitter = jitter
        self._not_before = 0.0
        self.most_active = 0

    @property
    def active(self) -> int:
        """Tasks that take a slot, those whose POST is not answered included."""
        return self._all.active

    @property
    def unanswered(self) -> int:
        """POSTs that are not answered yet."""
        return self._all.unanswered

    @property
    def limit(self) -> float:
        """Tasks that may be active now."""
        return self._all.limit

    def may_submit(self, group: str, now: float) -> bool:
        """Return whether one more POST may be sent at this moment."""
        lanes = self._lanes(group)
        return now >= self._not_before and all(
            lane.has_room() and not lane.pause(now) for lane in lanes
        )

    def next_chance(self, now: float) -> float | None:
        """Return the seconds until time alone may allow a submit; ``None`` if only an event can."""
        lanes = [self._all, *self._narrow.values()]
        waits = [lane.pause(now) for lane in lanes if lane.has_room()]
        seconds = max(
            self._not_before - now, min((wait for wait in waits if wait > 0), default=0.0)
        )
        return seconds if seconds > 0 else None

    def began(self, group: str, now: float) -> None:
        """Note that a POST is about to be sent."""
        for lane in self._lanes(group):
            lane.began()
        self.most_active = max(self.most_active, self.active)

    def accepted(self, group: str, now: float) -> None:
        """Note that a POST was answered with a task."""
        for lane in self._lanes(group):
            lane.accepted()

    def refused(self, group: str, now: float, retry_after: float | None) -> None:
        """Note a 429: the slot is given back, and fewer tasks are tried.

        :param retry_after: seconds for which the service wants no submit at all.
        """
        *wider, narrowest = self._lanes(group)
        for lane in wider:
            lane.dropped()
        narrowest.refused(now, self._jitter())
        self._not_before = max(self._not_before, now + (retry_after or 0.0))

    def dropped(self, group: str, now: float) -> None:
        """Note that a POST made no task for another reason: nothing was sent, a 4xx, a lost answer."""
        for lane in self._lanes(group):
            lane.dropped()

    def adopted(self, group: str, now: float) -> None:
        """Note an active task of an earlier try, which takes a slot without a POST."""
        for lane in self._lanes(group):
            lane.adopted()
        self.most_active = max(self.most_active, self.active)

    def ended(self, group: str, now: float) -> None:
        """Note that a task was seen to have ended: its slot is free."""
        for lane in self._lanes(group):
            lane.ended()

    def _lanes(self, group: str) -> list[_Lane]:
        """Return the limits that hold for a group, the narrowest last."""
        return [self._all, self._narrow[group]] if group in self._narrow else [self._all]
