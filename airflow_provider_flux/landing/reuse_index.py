"""The reuse index: small files by which an image is found by the fingerprint of its request.

They are in a folder ``_flux`` below the fixed beginning of ``output_path``. An entry is only a
hint: the image it names counts if its sidecar has the same fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import logging

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.landing.below_root import is_below
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.object_store.objects import put, read_hint, remove

log = logging.getLogger(__name__)

#: Bytes of the largest index entry, which holds one URI.
_MAX_ENTRY_BYTES = 64 * 1024


async def add_to_index(uri: str, plan: LandingPlan) -> None:
    """Write the index entry of an image that has just landed.

    A failure is logged: without the entry, a later request is submitted.

    :param uri: URI of the image.
    :param plan: the plan by which it landed.
    """
    entry_uri = _entry_uri(plan)
    if entry_uri is None:
        return
    content = json.dumps({"uri": uri}).encode()
    try:
        await put(entry_uri, content, plan.target.companion_write_options("application/json"))
    except FluxError as error:
        log.warning("The image has landed, but reuse cannot find it. %s", error)


async def find_in_index(plan: LandingPlan) -> list[str]:
    """Return the URI in the index entry of a request.

    :param plan: the plan of the request.
    :return: one URI, or none if there is no valid entry. An image outside of the folder of the
        index does not count.
    :raises FluxStorageError: if the entry cannot be read.
    """
    entry_uri = _entry_uri(plan)
    data = await read_hint(entry_uri, _MAX_ENTRY_BYTES) if entry_uri else None
    try:
        uri = json.loads(data)["uri"] if data else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    return [uri] if isinstance(uri, str) and is_below(uri, plan.target.root) else []


def index_stem(plan: LandingPlan) -> str | None:
    """Return what the URIs of the index entry and of the claims of an image begin with.

    With ``reuse="run"`` each DAG run has its own.

    :param plan: the plan of the request.
    :return: ``None`` if the plan reuses no image, or its path begins with no folder.
    """
    target, fingerprint = plan.target, plan.request.fingerprint
    if target.reuse == "never" or not fingerprint or not target.root:
        return None
    name = fingerprint
    if target.reuse == "run":
        run = f"{plan.task.dag_id}\n{plan.task.run_id}"
        name += f"-{hashlib.sha256(run.encode()).hexdigest()[:16]}"
    return f"{target.root}_flux/images/{name}"


def _entry_uri(plan: LandingPlan) -> str | None:
    stem = index_stem(plan)
    return f"{stem}.json" if stem else None


async def remove_from_index(uri: str, plan: LandingPlan) -> None:
    """Remove the index entry of an image that is about to be deleted, if it names that image.

    :param uri: URI of the image.
    :param plan: the plan of its request.
    :raises FluxStorageError: if the entry cannot be read or removed.
    """
    entry_uri = _entry_uri(plan)
    if entry_uri is not None and uri in await find_in_index(plan):
        await remove(entry_uri)
