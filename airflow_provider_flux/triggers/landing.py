"""What a trigger does when the image is ready: land it once, and write that down."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from airflow_provider_flux.bfl.errors import FluxError, FluxRequestError, FluxStorageError
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import read_landing_plan

if TYPE_CHECKING:
    from airflow_provider_flux.client.aio import FluxAsyncClient

log = logging.getLogger(__name__)


class Landing:
    """Where one generation is to land, and where that is written down.

    :param landing_plan: :class:`~airflow_provider_flux.landing.plan.LandingPlan` in JSON.
    :param record: URI of the record in the ledger.
    """

    def __init__(
        self, generation: Generation, landing_plan: Mapping[str, Any] | None, record: str | None
    ) -> None:
        self._generation = generation
        self._plan = read_landing_plan(landing_plan)
        self._record = record

    async def land(
        self,
        client: FluxAsyncClient,
        result: GenerationResult,
        refresh: Callable[[], Awaitable[GenerationResult]],
    ) -> Generation:
        """Land a result, unless the record says that it has landed: another triggerer may have run this trigger.

        :raises FluxError: if it cannot be landed here.
        """
        plan = self._plan
        if plan is None:
            raise FluxRequestError("the landing plan is not one that this version reads.")
        if not plan.target.is_here():
            raise FluxStorageError(
                "output_path is a local path, and the worker is on another machine."
            )
        await self._open(plan.target.path)
        from airflow_provider_flux.landing.land import land_async
        from airflow_provider_flux.ledger.trigger_records import mark_landed
        from airflow_provider_flux.object_store.filesystem import run_async

        if landed := await self._landed_by_record():
            log.info("Request %s has landed already", landed["request_id"])
            return landed
        landed = await land_async(client, self._generation, plan, result, refresh)
        if self._record:
            await run_async(mark_landed(self._record, plan.target, landed))
        return landed

    async def find_landed(self) -> Generation | None:
        """Look for what this trigger may have landed before it was restarted: BFL may keep it no longer."""
        plan = self._plan
        if plan is None or not plan.target.is_here():
            return None
        try:
            await self._open(plan.target.path)
            from airflow_provider_flux.landing.land import find_landed
            from airflow_provider_flux.object_store.filesystem import run_async

            return await self._landed_by_record() or await run_async(
                find_landed(self._generation, plan)
            )
        except FluxError as error:
            log.warning("Request %s: %s", self._generation["request_id"], error)
            return None

    async def _landed_by_record(self) -> Generation | None:
        from airflow_provider_flux.ledger.trigger_records import read_landed_generation
        from airflow_provider_flux.object_store.filesystem import run_async

        if self._record is None:
            return None
        try:
            return await run_async(
                read_landed_generation(self._record, self._generation["request_id"])
            )
        except FluxError as error:  # landing it twice does no harm, losing it does
            log.warning("Request %s: %s", self._generation["request_id"], error)
            return None

    async def _open(self, path: str) -> None:
        """Open the stores in a thread: on an event loop Airflow's S3 filesystem silently loses its connection."""
        await sync_to_async(_open_store)(path)
        if self._record:
            try:
                await sync_to_async(_open_store)(self._record)
            except FluxError as error:  # the image must not wait for its record
                log.warning("Request %s: %s", self._generation["request_id"], error)
                self._record = None


def _open_store(path: str) -> None:
    """Do what blocks: import Pillow and the store's packages, read its connection."""
    from airflow_provider_flux.landing import land as _landing  # noqa: F401
    from airflow_provider_flux.object_store.filesystem import open_path

    open_path(path)
