"""The survey of the rows before the first submit: which of them have an image already."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import replace

from airflow_provider_flux.batch.execution.context import OutcomeRecorder
from airflow_provider_flux.batch.execution.earlier_rejections import EarlierRejections
from airflow_provider_flux.batch.execution.prepare import Preparer, may_reuse
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.hooks.flux import FluxHook

log = logging.getLogger(__name__)

#: Rows that are looked up at once. Each may hold an image in memory.
_MAX_CONCURRENT = 16
_ROWS_PER_READ = 100
#: Seconds between two lines of the log.
_LOG_SECONDS = 10.0


class RowSurvey:
    """Survey of the rows that are to be submitted. It runs once, on any event loop.

    Rows that have an image end as ``reused``, so that the budget and the balance are compared with
    what is paid. The store belongs to the survey while it runs.

    :param store: the rows of the batch, planned by their submits in earlier tries.
    :param counters: counts of the batch.
    :param hook: hook of the connection, which reads inputs.
    :param rejections: rejected images of earlier runs.
    :param prices_inputs: whether to read the inputs of all rows, on which their prices depend.
    :param is_read_only: whether nothing may be written, so that no image is copied to its target.
    """

    def __init__(
        self,
        store: RowStore,
        counters: Counters,
        hook: FluxHook,
        rejections: EarlierRejections,
        *,
        prices_inputs: bool = False,
        is_read_only: bool = False,
    ) -> None:
        self._store = store
        self._rejections = rejections
        self._recorder = OutcomeRecorder(store=store, counters=counters)
        self._preparer = Preparer(self._recorder, hook, is_read_only=is_read_only)
        self._finds_images = may_reuse(store.builder.plan.target)
        target = store.builder.plan.target
        self._shares_images = target.reuse != "never" and bool(target.root)
        self._prices_inputs = prices_inputs
        self._is_stopped = False
        self._done = 0
        self._logged_at = time.monotonic()

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to find out."""
        return self._finds_images or self._prices_inputs

    def stop(self) -> None:
        """Look up no further row. Any thread may call this."""
        self._is_stopped = True

    async def run(self) -> None:
        """Look up all rows that are to be submitted, or those until :meth:`stop`."""
        rows = self._rows()
        await asyncio.gather(*(self._work_through(rows) for _ in range(_MAX_CONCURRENT)))
        self._store.commit()
        if self._shares_images:
            self._store.mark_copies()

    def _rows(self) -> Iterator[PendingRow]:
        for group in self._store.open_groups():
            last = -1
            while rows := self._store.pending_rows(group, after=last, limit=_ROWS_PER_READ):
                last = rows[-1].index
                yield from rows

    async def _work_through(self, rows: Iterator[PendingRow]) -> None:
        for row in rows:
            if self._is_stopped:
                return
            if self._must_look_up(row):
                await self._look_up(row)
            self._done += 1
            self._log_progress()

    def _must_look_up(self, row: PendingRow) -> bool:
        if self._finds_images:
            return True
        return any(row.request.parameters.get(name) for name in row.request.media_fields)

    async def _look_up(self, row: PendingRow) -> None:
        prepared = await self._preparer.prepare(row)
        if prepared is None:
            return
        prepared.release()
        if not await self._end_if_rejected(prepared):
            self._store.set_prepared(prepared)

    async def _end_if_rejected(self, row: PendingRow) -> bool:
        """End a row that earlier runs tried as often as it may be; else go on with its attempts."""
        try:
            rejected = await self._rejections.find(row)
        except FluxError as error:
            self._recorder.end(row, "failed", reason=error.message)
            return True
        if rejected is None:
            return False
        row = replace(row, rejected=rejected)
        reason = self._rejections.describe_end(rejected)
        if reason is None:
            self._store.save(row)
            return False
        self._recorder.end(row, "rejected", reason=reason)
        return True

    def _log_progress(self) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            log.info("Looked for existing images of %d rows", self._done)
