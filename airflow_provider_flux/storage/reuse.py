"""An image that exists already is not paid for again: found under its own name, or by its fingerprint.

By its fingerprint: where ``reuse`` is on, a landed image leaves a pointer, a small JSON file in a folder
``_flux``. A pointer is a hint and no more: what it points to counts if its sidecar names the same
fingerprint and its bytes have the sha256 that the sidecar names.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator

from airflow_provider_flux.bfl.errors import FluxError, FluxExistsError
from airflow_provider_flux.bfl.responses import Status
from airflow_provider_flux.storage import sidecar
from airflow_provider_flux.storage.existing import Existing, describe, load, load_sidecar
from airflow_provider_flux.storage.naming import is_known_before
from airflow_provider_flux.storage.target import Target
from airflow_provider_flux.storage.wanted import possible_formats
from airflow_provider_flux.storage.writer import exists, put, read
from airflow_provider_flux.xcom import Generation, with_landed

log = logging.getLogger(__name__)


async def find(target: Target, estimated_cost: float | None) -> Generation | None:
    """Return the record of an image that makes the request needless, before anything is paid.

    To be run by :mod:`~airflow_provider_flux.stores`.

    :param estimated_cost: credits that are saved.
    :raises FluxExistsError: if there is an object that ``if_exists`` does not allow for.
    :raises FluxStorageError: if the store cannot tell.
    """
    wants_same = target.reuse != "never"
    found = await _same_image(_own_names(target), target) if wants_same else None
    found = found or await _same_name(target)
    if found:
        uri = found.uri
    else:
        found = await _same_image(await _pointed_to(target), target) if wants_same else None
        if not found:
            return None
        uri = await _bring_here(found, target)
    log.info("Reused %s: nothing is paid (saves %s credits)", found.uri, estimated_cost)
    return _record_of(found, uri, target, estimated_cost)


async def remember(uri: str, target: Target) -> None:
    """Leave a pointer to an image that has just landed. Without it a later request is paid, so a failure is logged."""
    pointer = _pointer(target)
    if pointer is None:
        return
    try:
        await put(pointer, json.dumps({"uri": uri}).encode(), target.manner_beside("application/json"))
    except FluxError as error:
        log.warning("The image has landed, but cannot be found for reuse: %s", error)


async def _same_image(uris: Iterable[str], target: Target) -> Existing | None:
    """Return a verified image of the same fingerprint."""
    for uri in uris:
        described = await load_sidecar(uri)
        if described is None or not _fits(described, target):
            continue
        try:
            found = await load(uri)
        except FluxExistsError:
            found = None
        if found and found.sidecar:
            return found
        log.warning("%s is not what its sidecar says: it is not reused", uri)
    return None


async def _same_name(target: Target) -> Existing | None:
    """Return what lies under the name this image would get, where it must not be replaced."""
    if target.options.if_exists == "overwrite":
        return None
    for uri in _own_names(target):
        if await exists(uri) is False:
            continue
        found = await load(uri)
        if found and (target.options.if_exists == "skip" or _is_of_this_task(found, target)):
            return found
        if found:
            raise FluxExistsError(f"There is an image at {uri} already; it is untouched, and nothing was paid.")
    return None


async def _bring_here(found: Existing, target: Target) -> str:
    """Copy an image that lies under another name to the target, with a sidecar that says so."""
    assert found.sidecar is not None  # noqa: S101 - it was found by it
    record = _record_of(found, found.uri, target, None)
    uri = target.uri_of(record, found.info)
    exclusive = target.options.if_exists != "overwrite"
    await put(uri, found.data, target.manner_of(record, found.info), exclusive=exclusive)
    media = found.sidecar.media.model_copy(update={"uri": uri})
    facts = {"media": media, "run": target.run, "request": target.request, "reused_from": found.uri}
    copied = found.sidecar.model_copy(update=facts)
    await put(sidecar.uri_of(uri), sidecar.to_bytes(copied), target.manner_beside(sidecar.CONTENT_TYPE))
    await remember(uri, target)
    return uri


def _fits(described: sidecar.Sidecar, target: Target) -> bool:
    if described.request.fingerprint is None or described.request.fingerprint != target.request.fingerprint:
        return False
    here, there = target.run, described.run
    return target.reuse == "always" or (here.dag_id, here.run_id) == (there.dag_id, there.run_id)


def _is_of_this_task(found: Existing, target: Target) -> bool:
    """Whether an earlier try of this very task has made it, for the same request."""
    if found.sidecar is None or found.sidecar.request.fingerprint != target.request.fingerprint:
        return False
    here, there = (run.model_copy(update={"try_number": None}) for run in (target.run, found.sidecar.run))
    return here == there


def _own_names(target: Target) -> Iterator[str]:
    """Yield the names the image can get, where they can be told before it is there."""
    if is_known_before(target.path):
        yield from dict.fromkeys(target.uri_before(ext) for ext in possible_formats(target.request))


async def _pointed_to(target: Target) -> list[str]:
    """Return what the pointer leads to, if there is one: an image below its own folder, or it is not ours."""
    pointer = _pointer(target)
    data = await read(pointer) if pointer else None
    try:
        uri = json.loads(data)["uri"] if data else None
    except (ValueError, KeyError, TypeError):
        return []
    return [uri] if isinstance(uri, str) and uri.startswith(target.root) and ".." not in uri.split("/") else []


def _pointer(target: Target) -> str | None:
    """Return where the pointer to an image of this fingerprint lies; each run has its own with ``reuse="run"``."""
    if target.reuse == "never" or not target.request.fingerprint or not target.root:
        return None
    name = target.request.fingerprint
    if target.reuse == "run":
        run = f"{target.run.dag_id}\n{target.run.run_id}"
        name += f"-{hashlib.sha256(run.encode()).hexdigest()[:16]}"
    return f"{target.root}_flux/images/{name}.json"


def _record_of(found: Existing, uri: str, target: Target, estimated_cost: float | None) -> Generation:
    described = found.sidecar
    record = Generation(
        request_id=described.request_id if described else "",
        polling_url=None,
        model=described.model if described else target.request.model or "unknown",
        status=Status.READY.value,
        seed=described.seed if described else None,
        fingerprint=described.request.fingerprint if described else None,
        cost=0.0,
        cost_source="reused",
        estimated_cost=estimated_cost,
        submitted_at=described.submitted_at if described else "",
        reused=True,
        image=None,
        video=None,
    )
    landed = describe(uri, found.info, sidecar.uri_of(uri) if described else None)
    return with_landed(record, landed, found.info.seconds, found.draft_cache)
