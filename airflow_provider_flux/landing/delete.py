"""Delete an image that a task landed, with all files beside it, if it is proven to be its own."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_flux.bfl.delivery import MAX_RESULT_BYTES
from airflow_provider_flux.bfl.errors import FluxError, FluxExistsError
from airflow_provider_flux.landing.below_root import describe_uri, find_escape
from airflow_provider_flux.landing.companion_names import draft_cache_uri, sidecar_uri
from airflow_provider_flux.landing.existing import load_image, load_sidecar
from airflow_provider_flux.landing.output_path import placeholders_in
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.reuse_index import remove_from_index
from airflow_provider_flux.landing.sidecar import RenditionFacts, Sidecar
from airflow_provider_flux.object_store.objects import exists, read, remove

log = logging.getLogger(__name__)

#: Texts in a name that may make it another name of the same object.
_ALIASES = ("//", "%", "?", "#", "\\")


async def delete_own_image(
    row: Mapping[str, Any], plan: LandingPlan, is_in_use: Callable[[str], bool]
) -> str | None:
    """Delete the image of a row that a manifest names, with its sidecar, renditions and caches.

    The manifest is data of a stranger, so the image is deleted only if its name is below the folder
    of the task, and its sidecar names this task and the hash of its bytes. Runs on the event loop
    of the stores. A deletion that was interrupted can be repeated.

    :param row: the row of the manifest, with ``key``, ``uri`` and perhaps ``sha256``.
    :param plan: the landing plan of the task.
    :param is_in_use: returns whether a row of the input has a file.
    :return: the reason why the image is kept; ``None`` if nothing of it is left.
    """
    uri = str(row.get("uri"))
    try:
        if problem := find_name_problem(uri, plan.target.folder):
            return problem
        if is_in_use(uri):
            return "a row of the input has the same image"
        sidecar = await load_sidecar(uri)
        if sidecar is None and await exists(uri) is False:
            return None
        problem = _find_owner_problem(row, uri, sidecar, plan)
        if problem or sidecar is None:
            return problem or "it has no sidecar, which would name the task that landed it"
        if problem := await _find_content_problem(row, uri):
            return problem
        await _delete(uri, sidecar, plan, is_in_use)
    except FluxError as error:
        return error.message
    return None


def find_name_problem(uri: str, root: str) -> str | None:
    """Return why a URI of a manifest names no image that the task may delete.

    :param uri: any text.
    :param root: folder of the images of the task, with a slash at its end.
    :return: the reason; ``None`` if the image may be deleted, as far as its name tells.
    """
    if problem := find_escape(uri, root):
        return f"its URI {problem}"
    name = uri.removeprefix(root)
    if name == uri or name.startswith("/") or any(text in name for text in _ALIASES):
        return "its URI may be another name of an image that is in use"
    if root.startswith("/") and os.path.realpath(uri) != os.path.join(os.path.realpath(root), name):
        return "its path goes through a link"
    return None


def _find_owner_problem(
    row: Mapping[str, Any], uri: str, sidecar: Sidecar | None, plan: LandingPlan
) -> str | None:
    if sidecar is None:
        return None
    run, task = sidecar.run, plan.task
    if (run.dag_id, run.task_id) != (task.dag_id, task.task_id):
        return f"its sidecar names another task, {run.dag_id!s}.{run.task_id!s}"
    if run.map_index != task.map_index:
        return f"its sidecar names another map index, {run.map_index}"
    if sidecar.rejection is not None:
        return "a check rejected it, and such images are kept"
    if sidecar.media.uri != uri:
        return "its sidecar is that of another image"
    if "index" in placeholders_in(plan.target.path):
        return None
    own = plan.with_target(key=row.get("key")).with_request(sidecar.request)
    expected = own.expected_uris()
    if expected and uri not in expected:
        return "output_path gives the image of its key another name"
    return None


async def _find_content_problem(row: Mapping[str, Any], uri: str) -> str | None:
    """Compare the bytes with the hashes of sidecar and manifest. A missing image has none."""
    try:
        image = await load_image(uri)
    except FluxExistsError:
        return "it is not a whole image"
    if image is None:
        return None
    recorded = row.get("sha256")
    if image.sidecar is None or recorded not in {None, image.info.sha256}:
        return "its bytes differ from what was landed"
    return None


async def _delete(
    uri: str, sidecar: Sidecar, plan: LandingPlan, is_in_use: Callable[[str], bool]
) -> None:
    """Delete the files of an image. The sidecar is the last: it proves whose the others are."""
    await remove_from_index(uri, plan.with_request(sidecar.request))
    for rendition in sidecar.media.renditions.values():
        if is_in_use(rendition.uri) or not await _is_unchanged(rendition, plan.target.folder):
            shown = describe_uri(rendition.uri)  # the text of a sidecar, which anyone may write
            log.warning("%s is kept: it is not the rendition that was written", shown)
            continue
        await remove(rendition.uri)
    if sidecar.media.draft_cache == draft_cache_uri(uri):
        await remove(sidecar.media.draft_cache)
    await remove(uri)
    await remove(sidecar_uri(uri))


async def _is_unchanged(rendition: RenditionFacts, root: str) -> bool:
    if find_name_problem(rendition.uri, root) or await exists(sidecar_uri(rendition.uri)):
        return False  # a rendition has no sidecar: this is an image of its own
    data = await read(rendition.uri, max_bytes=MAX_RESULT_BYTES)
    return data is None or hashlib.sha256(data).hexdigest() == rendition.sha256
