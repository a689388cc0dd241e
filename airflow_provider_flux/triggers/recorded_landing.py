"""Landing on the triggerer: at most once, because the ledger has a record of it."""

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


class RecordedLanding:
    """Landing of one generation that its record in the ledger protects from being repeated.

    Another triggerer may have run the same trigger before.

    :param generation: the generation to land.
    :param landing_plan: :class:`~airflow_provider_flux.landing.plan.LandingPlan` as JSON.
    :param record_uri: URI of the record in the ledger; ``None`` if there is none to read.
    """

    def __init__(
        self, generation: Generation, landing_plan: Mapping[str, Any] | None, record_uri: str | None
    ) -> None:
        self._generation = generation
        self._plan = read_landing_plan(landing_plan)
        self._record_uri = record_uri

    async def land(
        self,
        client: FluxAsyncClient,
        result: GenerationResult,
        refresh: Callable[[], Awaitable[GenerationResult]],
    ) -> Generation:
        """Land a result, unless the record says that it has landed.

        :param client: client to download with.
        :param result: the Ready result.
        :param refresh: function that asks BFL for the result again, with a fresh URL.
        :return: the generation with its image.
        :raises FluxError: if this triggerer cannot land it.
        """
        plan = self._plan
        if plan is None:
            raise FluxRequestError("This version cannot read the landing plan.")
        if not plan.target.is_on_this_host():
            raise FluxStorageError(
                "output_path is a local path, and the worker is on another machine."
            )
        await self._open(plan.target.path)
        from airflow_provider_flux.landing.land import land_async
        from airflow_provider_flux.ledger.trigger_records import mark_landed
        from airflow_provider_flux.object_store.filesystem import run_async

        if landed := await self._read_record():
            log.info("Request %s has landed already", landed["request_id"])
            return landed
        landed = await land_async(client, self._generation, plan, result, refresh)
        if self._record_uri:
            await run_async(mark_landed(self._record_uri, plan.target, landed))
        return landed

    async def find_landed(self) -> Generation | None:
        """Find an image that this trigger landed before a restart, and that BFL no longer keeps.

        :return: the generation with its image; ``None`` if there is none, or the store cannot be
            read.
        """
        plan = self._plan
        if plan is None or not plan.target.is_on_this_host():
            return None
        try:
            await self._open(plan.target.path)
            from airflow_provider_flux.landing.land import find_landed
            from airflow_provider_flux.object_store.filesystem import run_async

            return await self._read_record() or await run_async(find_landed(self._generation, plan))
        except FluxError as error:
            self._warn(error)
            return None

    async def _read_record(self) -> Generation | None:
        """Return the landed generation of the record.

        A record that cannot be read counts as none: to land an image twice does no harm.
        """
        from airflow_provider_flux.ledger.trigger_records import read_landed_generation
        from airflow_provider_flux.object_store.filesystem import run_async

        if self._record_uri is None or self._plan is None:
            return None
        try:
            request_id, root = self._generation["request_id"], self._plan.target.folder
            return await run_async(read_landed_generation(self._record_uri, request_id, root))
        except FluxError as error:
            self._warn(error)
            return None

    async def _open(self, path: str) -> None:
        """Open the stores of the image and of the record in a thread.

        On an event loop Airflow's S3 filesystem silently loses its connection.
        """
        await sync_to_async(_open_store)(path)
        if self._record_uri is None:
            return
        try:
            await sync_to_async(_open_store)(self._record_uri)
        except FluxError as error:  # the image must not wait for its record
            self._warn(error)
            self._record_uri = None

    def _warn(self, error: FluxError) -> None:
        log.warning("Request %s: %s", self._generation["request_id"], error)


def _open_store(path: str) -> None:
    """Import Pillow and the packages of the store, and read its connection. All of these block."""
    from airflow_provider_flux.landing import land as _landing  # noqa: F401
    from airflow_provider_flux.object_store.filesystem import open_path

    open_path(path)
