"""Claims of the rows of a batch, so that each image is submitted once, also by several tasks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.batch.execution.waiting_rows import ParkedRow, WaitingRows
from airflow_provider_flux.batch.row_policy import RowOutcome
from airflow_provider_flux.batch.row_states import PendingRow, SubmittedRow
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.configured_models import default_timeout
from airflow_provider_flux.landing.claim_policy import MAX_CLAIM_SECONDS, claim_seconds
from airflow_provider_flux.landing.claims import (
    ClaimWait,
    HeldClaim,
    claim_image,
    has_changed,
    release_claim,
)
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.reuse_index import index_stem
from airflow_provider_flux.object_store.filesystem import run_near

log = logging.getLogger(__name__)

#: Claims of other tasks that are looked at together.
_MAX_LOOKS = 8
#: Seconds in which claims are released at the end of the batch. Others expire.
_CLOSE_SECONDS = 2.0
#: Rows that wait for other tasks, and claims that were not released, that are logged.
_MAX_LOGGED = 20


@dataclass
class _Entry:
    """The claim of one row.

    :param image: name of the image.
    :param index: index of the row.
    :param plan: landing plan of the row.
    :param unprepared: the row before its preparation; ``None`` if an earlier try submitted it.
    :param claim: its claim in the store; ``None`` if an earlier try took it, or while another task
        has it.
    """

    image: str
    index: int
    plan: LandingPlan
    unprepared: PendingRow | None = None
    claim: HeldClaim | None = None


class RowClaims:
    """Claims of the rows in work. A row has one from its preparation until it ends.

    Rows of this batch are compared in memory. Without ``reuse`` nothing is claimed.

    :param timeout: seconds from the submit of a row for which the try waits for it; ``None`` for
        the default of its model.
    :param poll_interval: shortest seconds between two looks at the claim of another task.
    :param wake: makes the loop look for rows that may be submitted now.
    :ivar waiting: the rows that wait for others.
    """

    def __init__(
        self, timeout: float | None, poll_interval: float, wake: Callable[[], None]
    ) -> None:
        self.waiting = WaitingRows(poll_interval)
        self._timeout = timeout
        self._wake = wake
        self._by_image: dict[str, _Entry] = {}
        self._by_index: dict[int, _Entry] = {}
        #: The images of rows that have waited for another row, and are to generate it instead.
        self._heirs: dict[int, str] = {}
        #: What each row waited for last, and the monotonic time at which its first wait began.
        self._waits: dict[int, tuple[ClaimWait, float]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._releases: set[asyncio.Task[None]] = set()
        self._logged = 0

    def track_submitted(self, row: SubmittedRow) -> None:
        """Let the rows of this try wait for a row that an earlier try submitted.

        :param row: the row.
        """
        image = index_stem(row.plan)
        if image is not None and image not in self._by_image:
            self._enter(_Entry(image, row.index, row.plan))

    def must_wait(self, row: PendingRow) -> bool:
        """Let a row wait if another row of the batch generates its image.

        The claim of another image that the row had, before its fallback, is released.

        :param row: a row with its inputs read.
        :return: whether the row waits. Then it is returned to the queue later.
        """
        image = index_stem(row.plan)
        mine = self._by_index.get(row.index)
        if mine is not None and mine.image != image:
            self._leave(mine, has_landed=False)
        if image is None:
            return False
        other = self._by_image.get(image)
        if other is None or other.index == row.index:
            return False
        self._end_inheritance(row.index, has_landed=False)
        self.waiting.wait_for_row(image, row)
        return True

    async def claim(self, row: PendingRow, unprepared: PendingRow) -> bool:
        """Claim the image of a row. If another task has claimed it, the row waits.

        :param row: a row with its inputs read, whose image does not exist.
        :param unprepared: the same row before.
        :return: whether the row may be submitted.
        :raises FluxStorageError: if the store does not answer.
        """
        image = index_stem(row.plan)
        if image is None:
            return True
        if self.must_wait(row):
            return False
        mine = self._by_index.get(row.index)
        if (
            mine and mine.claim and mine.claim.is_fresh
        ):  # its image was rejected, and it tries again
            return True
        entry = self._enter(_Entry(image, row.index, row.plan, unprepared))
        self._end_inheritance(row.index, has_landed=False)
        try:
            return await self._claim(entry, row)
        except FluxError:
            self._leave(entry, has_landed=False)
            raise

    async def confirm(self, row: PendingRow) -> bool:
        """Renew the claim of a row right before its submit, if it waited long for its turn.

        :param row: a prepared row.
        :return: whether the row may be submitted. If not, it waits for the image of another task.
        :raises FluxStorageError: if the store does not answer.
        """
        entry = self._by_index.get(row.index)
        if entry is None or entry.claim is None or entry.claim.is_fresh:
            return True
        return await self._claim(entry, row)

    def end(self, index: int, outcome: RowOutcome) -> None:
        """Release the claim of a row that has ended, and return the rows that wait for it.

        :param index: index of the row.
        :param outcome: its outcome. With ``submitted`` the claim stays: a retry lands the image.
        """
        has_landed = outcome in ("landed", "reused")
        self._waits.pop(index, None)
        entry = self._by_index.get(index)
        if entry is None:
            self._end_inheritance(index, has_landed=has_landed)
        elif outcome == "submitted":
            self.waiting.drop_rows(entry.image)
            self._forget(entry)
        else:
            self._leave(entry, has_landed=has_landed)

    def abandon(self, index: int) -> None:
        """Release the claim of a row that this try does not submit any more.

        :param index: index of the row.
        """
        if entry := self._by_index.get(index):
            self._leave(entry, has_landed=False)

    async def close(self) -> None:
        """Wait a moment for the claims that are being released. Others expire."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._releases:
            _, late = await asyncio.wait(self._releases, timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _claim(self, entry: _Entry, row: PendingRow) -> bool:
        seen, began = self._waits.get(row.index, (None, time.monotonic()))
        timeout = self._timeout or default_timeout(row.request.model)
        found = await run_near(
            row.plan.target.path, claim_image(row.plan, claim_seconds(timeout), seen)
        )
        if not isinstance(found, ClaimWait):
            entry.claim = found
            return True
        if time.monotonic() - began >= MAX_CLAIM_SECONDS:
            log.warning(
                "Row %s is submitted, although %s has claimed its image for more than %g seconds. "
                "BFL may bill it twice.",
                row.label,
                found.owner,
                MAX_CLAIM_SECONDS,
            )
            return True
        # The entry stays: the other rows of the batch that want this image wait for this row.
        entry.claim = None
        self._log_wait(row, found)
        self._waits[row.index] = (found, began)
        self.waiting.park(entry.unprepared or row, found)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        return False

    async def _watch(self) -> None:
        """Look at the claims of other tasks, as long as rows wait for them."""
        while (seconds := self.waiting.seconds_until_look) is not None:
            await asyncio.sleep(seconds)
            due = self.waiting.pop_due(_MAX_LOOKS)
            await asyncio.gather(*map(self._look, due))

    async def _look(self, parked: ParkedRow) -> None:
        try:
            is_over = await run_near(parked.wait.uri, has_changed(parked.wait))
        except FluxError:  # the preparation of the row will report it, or go on
            is_over = True
        if is_over:
            self.waiting.return_row(parked)
            self._wake()
        else:
            self.waiting.park_again(parked)

    def _enter(self, entry: _Entry) -> _Entry:
        self._by_image[entry.image] = self._by_index[entry.index] = entry
        return entry

    def _forget(self, entry: _Entry) -> None:
        self._by_index.pop(entry.index, None)
        self._by_image.pop(entry.image, None)

    def _leave(self, entry: _Entry, *, has_landed: bool) -> None:
        """Forget a claim, release it in the store, and return the rows that wait for it."""
        self._forget(entry)
        self._return_rows(entry.image, has_landed=has_landed)
        self._start(self._release(entry, has_landed))

    def _return_rows(self, image: str, *, has_landed: bool) -> None:
        """Return the rows that wait for an image: all if it has landed, else one as its heir."""
        returned = self.waiting.return_rows(image, has_landed=has_landed)
        if returned and not has_landed:
            self._heirs[returned[0]] = image
        if returned:
            self._wake()

    def _end_inheritance(self, index: int, *, has_landed: bool) -> None:
        """Choose another heir of an image if a row that is one does not generate it."""
        image = self._heirs.pop(index, None)
        if image is not None and image not in self._by_image:
            self._return_rows(image, has_landed=has_landed)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _release(self, entry: _Entry, has_landed: bool) -> None:
        try:
            await run_near(
                entry.plan.target.path,
                release_claim(entry.plan, entry.claim, has_landed=has_landed),
            )
        except FluxError as error:
            self._logged += 1
            if self._logged <= _MAX_LOGGED:
                log.warning(
                    "The claim of the row at index %d stays until it expires. %s",
                    entry.index,
                    error,
                )

    def _log_wait(self, row: PendingRow, wait: ClaimWait) -> None:
        if row.index in self._waits:
            return
        self._logged += 1
        if self._logged <= _MAX_LOGGED:
            log.info("Row %s waits: another task generates its image (%s)", row.label, wait.owner)
