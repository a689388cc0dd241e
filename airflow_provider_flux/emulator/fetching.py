"""Inputs that were given as URLs: fetched after the submit was answered, as the service does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from airflow_provider_flux.bfl.catalog import MediaField, Model
from airflow_provider_flux.bfl.inputs import MediaFile, find_media_problems
from airflow_provider_flux.emulator.background import in_thread
from airflow_provider_flux.emulator.inputs import (
    BROKEN_IMAGE,
    BrokenInputError,
    Inputs,
    broken,
    read_bytes,
)

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_CHUNK = 256 * 1024


async def fetch_inputs(model: Model, parameters: Mapping[str, Any], inputs: Inputs) -> Inputs:
    """Return the inputs with the files in place of their URLs, or with the error that ends the task."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        groups = [
            _fetch_all(session, model.media_fields[name], group)
            for name, group in inputs.given.items()
        ]
        files = dict(zip(inputs.given, await asyncio.gather(*groups), strict=True))
    errors = [
        str(one) for group in files.values() for one in group if isinstance(one, BrokenInputError)
    ]
    if errors:
        return Inputs(error=errors[0])
    fetched = {
        name: [one for one in group if isinstance(one, MediaFile)] for name, group in files.items()
    }
    # What the service says of a fetched image that is too large is not known.
    return (
        Inputs(error=BROKEN_IMAGE)
        if find_media_problems(model, {**parameters, **fetched})
        else Inputs(fetched)
    )


async def _fetch_all(
    session: aiohttp.ClientSession, spec: MediaField, group: Sequence[MediaFile | str]
) -> list[MediaFile | BrokenInputError]:
    return await asyncio.gather(*(_fetch(session, spec, one) for one in group))


async def _fetch(
    session: aiohttp.ClientSession, spec: MediaField, one: MediaFile | str
) -> MediaFile | BrokenInputError:
    if isinstance(one, MediaFile):
        return one
    try:
        data = await _download(session, one, spec.max_bytes)
        return await in_thread(read_bytes, data, spec, urlsplit(one).hostname or "")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return BrokenInputError(broken(spec))


async def _download(session: aiohttp.ClientSession, url: str, max_bytes: int) -> bytes:
    data = bytearray()
    async with session.get(url, raise_for_status=True) as answer:
        async for chunk in answer.content.iter_chunked(_CHUNK):
            data += chunk
            if len(data) > max_bytes:
                raise BrokenInputError(f"larger than {max_bytes} bytes")
    return bytes(data)
