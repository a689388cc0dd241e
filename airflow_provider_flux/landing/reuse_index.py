"""Pointers: small files by which an image is found by the fingerprint of its request, whatever its name.

They lie in a folder ``_flux`` below the fixed beginning of ``output_path``. A pointer is a hint and no
more: what it leads to counts if its sidecar names the same fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import logging

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.object_store.objects import put, read

log = logging.getLogger(__name__)


async def add_to_index(uri: str, plan: LandingPlan) -> None:
    """Leave a pointer to an image that has just landed. Without it a later request is paid, so a failure is logged."""
    pointer = _uri_of(plan)
    if pointer is None:
        return
    try:
        await put(
            pointer,
            json.dumps({"uri": uri}).encode(),
            plan.target.companion_write_options("application/json"),
        )
    except FluxError as error:
        log.warning("The image has landed, but cannot be found for reuse: %s", error)


async def look_up(plan: LandingPlan) -> list[str]:
    """Return what the pointer leads to, if there is one: an image below its own folder, or it is not ours.

    :raises FluxStorageError: if it cannot be told.
    """
    pointer = _uri_of(plan)
    data = await read(pointer) if pointer else None
    try:
        uri = json.loads(data)["uri"] if data else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    if not isinstance(uri, str) or not uri.startswith(plan.target.root) or not uri.isprintable():
        return []
    return [] if ".." in uri.split("/") else [uri]


def _uri_of(plan: LandingPlan) -> str | None:
    """Return where the pointer for the fingerprint lies; each run has its own with ``reuse="run"``."""
    if plan.target.reuse == "never" or not plan.request.fingerprint or not plan.target.root:
        return None
    name = plan.request.fingerprint
    if plan.target.reuse == "run":
        run = f"{plan.task.dag_id}\n{plan.task.run_id}"
        name += f"-{hashlib.sha256(run.encode()).hexdigest()[:16]}"
    return f"{plan.target.root}_flux/images/{name}.json"
