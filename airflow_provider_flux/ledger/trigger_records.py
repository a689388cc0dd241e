"""The trigger's access to the record of its generation. Run it on the loop of the stores."""

from __future__ import annotations

import logging

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record_files import (
    read_record_file,
    record_write_options,
    replace_record_file,
)

log = logging.getLogger(__name__)


async def read_landed_generation(uri: str, request_id: str, root: str) -> Generation | None:
    """Return a generation whose image has landed by its record; ``None`` if none has.

    :param uri: URI of the record.
    :param request_id: BFL's id of the request. The record of another request does not count.
    :param root: folder of the images, with a slash at its end. An image elsewhere does not count.
    :raises FluxLedgerError: if the record exists and cannot be read.
    :raises FluxStorageError: if the store fails.
    """
    record = await read_record_file(uri)
    if record is None or not record.has_landed or not record.has_request(request_id):
        return None
    generation = record.accepted_below(root)
    return generation if generation["image"] or generation["video"] else None


async def mark_landed(uri: str, target: Target, generation: Generation) -> None:
    """Record that the image has landed. A failed write is logged and raises nothing.

    :param uri: URI of the record.
    :param target: where the image landed, for the options of the write.
    :param generation: the landed generation.
    """
    try:
        record = await read_record_file(uri)
        if record is None or not record.is_waiting_for(generation):
            return
        persisted = record.in_phase("persisted", generation=generation)
        await replace_record_file(uri, persisted, record_write_options(uri, target))
    except FluxError as error:
        log.warning("The image has landed, but its record could not be changed. %s", error)
