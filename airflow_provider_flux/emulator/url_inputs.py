"""The fetching of inputs that are URLs.

As at the service, it happens after the submit was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from airflow_provider_flux.bfl.catalog import MediaField, Model
from airflow_provider_flux.bfl.inputs import MediaFile, find_media_problems
from airflow_provider_flux.emulator.background_jobs import run_in_thread
from airflow_provider_flux.emulator.inputs import (
    BROKEN_IMAGE,
    BrokenInputError,
    Inputs,
    error_of,
    read_file,
)

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_CHUNK_BYTES = 256 * 1024


async def fetch_inputs(model: Model, parameters: Mapping[str, Any], inputs: Inputs) -> Inputs:
    """Return the inputs with files in place of URLs, or with the error that ends the task.

    :param model: the model of the request.
    :param parameters: the checked body of the request.
    :param inputs: the inputs of the request, some of them URLs.
    """
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        groups = [
            _fetch_group(session, model.media_fields[name], group)
            for name, group in inputs.by_field.items()
        ]
        results = dict(zip(inputs.by_field, await asyncio.gather(*groups), strict=True))

    entries = [entry for group in results.values() for entry in group]
    errors = [str(entry) for entry in entries if isinstance(entry, BrokenInputError)]
    if errors:
        return Inputs(error=errors[0])
    files = {
        name: [entry for entry in group if isinstance(entry, MediaFile)]
        for name, group in results.items()
    }
    if find_media_problems(model, {**parameters, **files}):
        # The text of the service for a fetched image that is too large is not known.
        return Inputs(error=BROKEN_IMAGE)
    return Inputs(files)


async def _fetch_group(
    session: aiohttp.ClientSession, spec: MediaField, group: Sequence[MediaFile | str]
) -> list[MediaFile | BrokenInputError]:
    return await asyncio.gather(*(_fetch(session, spec, entry) for entry in group))


async def _fetch(
    session: aiohttp.ClientSession, spec: MediaField, entry: MediaFile | str
) -> MediaFile | BrokenInputError:
    if isinstance(entry, MediaFile):
        return entry
    try:
        data = await _download(session, entry, spec.max_bytes)
        return await run_in_thread(read_file, data, spec, urlsplit(entry).hostname or "")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return BrokenInputError(error_of(spec))


async def _download(session: aiohttp.ClientSession, url: str, max_bytes: int) -> bytes:
    data = bytearray()
    async with session.get(url, raise_for_status=True) as response:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            data += chunk
            if len(data) > max_bytes:
                raise BrokenInputError(f"larger than {max_bytes} bytes")
    return bytes(data)
