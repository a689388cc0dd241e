"""Limits of the webhook receiver: refused requests per minute, and repeated notices."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

#: Requests without a proof that one process of the API server answers in a minute with 401.
MAX_REFUSALS = 60
_WINDOW_SECONDS = 60.0
#: Notices whose repetition is answered without the database.
_MAX_REMEMBERED = 10_000


class RefusalLimiter:
    """Counts refused requests. Above the limit, requests without the secret are not read at all.

    BFL's own requests have the secret, so strangers do not delay them.

    :param limit: refusals in a minute. Default 60.
    :param clock: returns seconds that only grow.
    """

    def __init__(
        self, limit: int = MAX_REFUSALS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._times: deque[float] = deque(maxlen=limit)

    def add_refusal(self) -> None:
        """Count a refused request."""
        self._times.append(self._clock())

    @property
    def is_exceeded(self) -> bool:
        """Whether the last minute had as many refusals as the limit."""
        if len(self._times) < self._limit:
            return False
        return self._clock() - self._times[0] < _WINDOW_SECONDS


class HandledNotices:
    """The last notices that had their effect.

    :param limit: number of notices. Default 10,000.
    """

    def __init__(self, limit: int = _MAX_REMEMBERED) -> None:
        self._limit = limit
        self._notices: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, notice: Hashable) -> bool:
        return notice in self._notices

    def add(self, notice: Hashable) -> None:
        """Remember a notice, and forget the oldest above the limit.

        :param notice: reference and request id.
        """
        self._notices[notice] = None
        while len(self._notices) > self._limit:
            self._notices.popitem(last=False)
