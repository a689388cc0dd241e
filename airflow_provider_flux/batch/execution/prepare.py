"""The preparation of a pending row: read its inputs, look for an existing image, or claim it."""

from __future__ import annotations

import asyncio
import logging

from airflow_provider_flux.batch.execution.claims import RowClaims
from airflow_provider_flux.batch.execution.context import OutcomeRecorder
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.bfl.errors import FluxError, FluxExistsError, FluxRequestError
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.other_tasks import refuse_names_of_other_tasks
from airflow_provider_flux.landing.output_path import has_distinct_names, placeholders_in
from airflow_provider_flux.landing.reuse import find_existing, find_just_landed, find_reusable
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.object_store.filesystem import run_near

log = logging.getLogger(__name__)


class Preparer:
    """Preparer of pending rows, any number at a time.

    :param context: records the rows that end here.
    :param hook: hook of the connection, which reads the inputs.
    :param is_read_only: whether an existing image only counts, and is not copied to its target.
    :param claims: claims of the images of rows that are about to be submitted; ``None`` if no row
        is.
    """

    def __init__(
        self,
        context: OutcomeRecorder,
        hook: FluxHook,
        *,
        is_read_only: bool = False,
        claims: RowClaims | None = None,
    ) -> None:
        self._claims = claims
        self._context = context
        self._hook = hook
        self._is_read_only = is_read_only
        self._indexes_by_name: dict[str, int] = {}

    def must_prepare(self, row: PendingRow) -> bool:
        """Return whether a row has inputs to read, or may have an image already.

        The image may be that of another map index, whose rows have the same keys.

        :param row: a row as the store returns it.
        """
        request = row.request
        if may_reuse(row.plan.target) or _is_mapped(row):
            return True
        return any(request.parameters.get(name) for name in request.media_fields)

    async def prepare(self, row: PendingRow) -> PendingRow | None:
        """Prepare a row.

        :param row: a row as the store returns it.
        :return: the row with its prepared request; ``None`` if it has ended, since its image exists
            already or its inputs are of no use, or if it waits for an image of another row or task.
        """
        unprepared, claims = row, self._claims
        try:
            row = await self._read_inputs(row)
            self._check_name(row)
            if self._is_read_only:
                return await self._end_if_existing(row)
            must_wait = bool(claims and claims.must_wait(row))
            generation = None if must_wait else await self._find_existing(row)
            if claims and generation is None and not must_wait:
                must_wait = not await claims.claim(row, unprepared)
                generation = None if must_wait else await self._find_just_landed(row)
        except FluxError as error:
            is_invalid = isinstance(error, (FluxRequestError, FluxExistsError))
            self._context.end(row, "invalid" if is_invalid else "failed", reason=error.message)
            return None
        except Exception as error:  # for example a full disk
            log.exception("Row %s could not be prepared", row.label)
            self._context.end(row, "failed", reason=type(error).__name__)
            return None
        if must_wait:
            row.release()
            return None
        if generation is None:
            return row
        self._context.counters.saved += row.estimate or 0.0
        self._context.end(row, "reused", generation=generation)
        return None

    def release(self, row: PendingRow) -> None:
        """Remove the files of a row, and release its claim, because it is not submitted any more.

        :param row: the row.
        """
        row.release()
        if self._claims:
            self._claims.abandon(row.index)

    async def _read_inputs(self, row: PendingRow) -> PendingRow:
        inputs = self._hook.prepare_inputs(row.request)
        return row.with_prepared(await asyncio.to_thread(row.inputs.enter_context, inputs))

    def _check_name(self, row: PendingRow) -> None:
        """Refuse a row that turns out to be the same request as another, with the same name.

        :raises FluxRequestError: if the inputs of two rows have the same bytes, and the names
            depend on nothing else.
        """
        target = row.plan.target
        if has_distinct_names(target.path) or placeholders_in(target.path) & {"seed"}:
            return
        first = self._indexes_by_name.setdefault(row.plan.expected_uri("ext"), row.index)
        if first != row.index:
            raise FluxRequestError(
                f"The row is the same request as index {first}, and would get the same name. Add "
                "{key} to output_path."
            )

    async def _end_if_existing(self, row: PendingRow) -> PendingRow | None:
        """End a row whose image exists, without a copy of the image."""
        if may_reuse(row.plan.target):
            if await run_near(row.plan.target.path, find_existing(row.plan)) is None:
                return row
            self._context.end(row, "reused")
            return None
        await self._find_existing(row)
        return row

    async def _find_existing(self, row: PendingRow) -> Generation | None:
        if may_reuse(row.plan.target):
            return await run_near(row.plan.target.path, find_reusable(row.plan, row.estimate))
        if _is_mapped(row):
            await run_near(row.plan.target.path, refuse_names_of_other_tasks(row.plan))
        return None

    async def _find_just_landed(self, row: PendingRow) -> Generation | None:
        """Find the image that another task landed right before this row claimed it."""
        if row.plan.target.reuse == "never":
            return None
        return await run_near(row.plan.target.path, find_just_landed(row.plan, row.estimate))


def _is_mapped(row: PendingRow) -> bool:
    """Return whether the batch is a mapped task, which another map index runs beside."""
    map_index = row.plan.task.map_index
    return map_index is not None and map_index >= 0


def may_reuse(target: Target) -> bool:
    """Return whether an object that exists already may make a submit unnecessary.

    :param target: target of the batch.
    """
    return target.reuse != "never" or target.options.if_exists != "overwrite"
