"""Rows that wait for an image that another row, or another task, generates. No I/O."""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from dataclasses import dataclass

from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.landing.claims import ClaimWait

#: Longest time between two looks at the claim of another task.
_MAX_INTERVAL_SECONDS = 15.0
#: The time between two looks grows to this part of the time that the row has waited.
_INTERVAL_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class ParkedRow:
    """A row that waits for the image of another task.

    :param row: the row before its preparation.
    :param wait: the claim of the other task.
    :param parked_at: monotonic time since when it waits for this claim.
    """

    row: PendingRow
    wait: ClaimWait
    parked_at: float


class WaitingRows:
    """The rows of one batch that wait, and those that have waited and are to be prepared again.

    They take no slot of the quota and no place in the queue. A row that waits for another row of
    the batch takes a number of memory, so that any number of rows may wait for one image.

    :param poll_interval: shortest seconds between two looks at the claim of another task.
    """

    def __init__(self, poll_interval: float) -> None:
        self._poll_interval = poll_interval
        #: Index and group of the rows that wait for another row, by the image that it generates.
        self._by_image: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        #: Rows that wait for another task, in the order of the next look.
        self._parked: list[tuple[float, int, ParkedRow]] = []
        #: Rows to prepare again, by group: a row, or its index if the store has all of it.
        self._returned: defaultdict[str, list[tuple[int, PendingRow | None]]] = defaultdict(list)

    @property
    def is_empty(self) -> bool:
        """Whether no row waits, and none is to be prepared again."""
        return not (self._by_image or self._parked or self.returned_groups)

    @property
    def returned_groups(self) -> list[str]:
        """The limit groups that have rows to prepare again."""
        return [group for group, rows in self._returned.items() if rows]

    def pop(self, group: str) -> int | PendingRow | None:
        """Return the next row of a limit group to prepare again.

        :param group: the limit group.
        :return: the row, or its index if the store has all of it; ``None`` if there is none.
        """
        if not self._returned[group]:
            return None
        index, row = heapq.heappop(self._returned[group])
        return index if row is None else row

    def wait_for_row(self, image: str, row: PendingRow) -> None:
        """Let a row wait until another row of the batch has generated an image.

        :param image: name of the image.
        :param row: the row.
        """
        heapq.heappush(self._by_image[image], (row.index, row.group))

    def return_rows(self, image: str, *, has_landed: bool) -> list[int]:
        """Return rows that wait for an image: all if it has landed, else one, to generate it.

        :param image: name of the image.
        :param has_landed: whether it has landed.
        :return: the indexes of these rows.
        """
        rows, returned = self._by_image.get(image, []), []
        for _ in range(len(rows) if has_landed else min(1, len(rows))):
            index, group = heapq.heappop(rows)
            heapq.heappush(self._returned[group], (index, None))
            returned.append(index)
        if not rows:
            self._by_image.pop(image, None)
        return returned

    def drop_rows(self, image: str) -> None:
        """Leave rows that wait for an image to the next try: it lands the image.

        :param image: name of the image.
        """
        self._by_image.pop(image, None)

    def park(self, row: PendingRow, wait: ClaimWait) -> None:
        """Let a row wait for the image of another task.

        :param row: the row before its preparation.
        :param wait: the claim of the other task.
        """
        now = time.monotonic()
        self._push(ParkedRow(row, wait, now), now)

    def park_again(self, parked: ParkedRow) -> None:
        """Let a row wait on after a look that found nothing new.

        :param parked: the row.
        """
        self._push(parked, time.monotonic())

    def return_row(self, parked: ParkedRow) -> None:
        """Return a row because the claim that it waited for has changed.

        :param parked: the row.
        """
        row = parked.row
        heapq.heappush(self._returned[row.group], (row.index, row))

    @property
    def seconds_until_look(self) -> float | None:
        """Seconds until a claim is to be looked at; ``None`` if no row waits for one."""
        return max(0.0, self._parked[0][0] - time.monotonic()) if self._parked else None

    def pop_due(self, limit: int) -> list[ParkedRow]:
        """Return the rows whose claims are to be looked at now.

        :param limit: most rows to return.
        """
        due: list[ParkedRow] = []
        now = time.monotonic()
        while self._parked and self._parked[0][0] <= now and len(due) < limit:
            due.append(heapq.heappop(self._parked)[2])
        return due

    def _push(self, parked: ParkedRow, now: float) -> None:
        waited = now - parked.parked_at
        seconds = min(max(self._poll_interval, waited * _INTERVAL_SHARE), _MAX_INTERVAL_SECONDS)
        due = now + min(seconds, max(0.0, parked.wait.seconds_left))
        heapq.heappush(self._parked, (due, parked.row.index, parked))
