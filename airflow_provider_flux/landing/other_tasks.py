"""Images of other tasks of the same DAG run: they are never replaced, because they were paid."""

from __future__ import annotations

import logging

from airflow_provider_flux.bfl.errors import FluxError, FluxExistsError
from airflow_provider_flux.landing.companion_names import sidecar_uri
from airflow_provider_flux.landing.expectations import expected_formats
from airflow_provider_flux.landing.object_name import safe_name
from airflow_provider_flux.landing.output_path import MAX_REQUEST_ID_BYTES, placeholders_in
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.landing.sidecar import MAX_SIDECAR_BYTES, parse_sidecar
from airflow_provider_flux.object_store.objects import read_start

log = logging.getLogger(__name__)

#: Placeholders by which no two images have one name.
_UNIQUE = frozenset({"request_id", "sha256"})


async def refuse_names_of_other_tasks(plan: LandingPlan) -> None:
    """Refuse a submit whose image would replace that of another task of the same DAG run.

    Runs on the event loop of the stores. If the store does not answer, the landing decides.

    :param plan: the plan of the request that is about to be submitted.
    :raises FluxExistsError: if another task of the run has landed an image under the name.
    """
    if not plan.expected_uris():  # the name is known only with BFL's answer
        return
    for uri in sorted({plan.expected_uri(ext) for ext in expected_formats(plan.request)}):
        stored = await read_stored_sidecar(uri, plan)
        if other := find_other_task(stored, uri, None, plan):
            raise FluxExistsError(
                f"The task {other.task_id!r} (map index {other.map_index}) of this DAG run has "
                f"landed its image at {uri}. It is untouched, and nothing was submitted. "
                "Give this task another output_path, for example with {{ task.task_id }}. If the "
                "mapped values moved since, remove that image and its sidecar."
            )


async def read_stored_sidecar(uri: str, plan: LandingPlan) -> bytes | None:
    """Read the object under the name of the sidecar of an image.

    :param uri: URI of the image.
    :param plan: its landing plan.
    :return: the content, cut if it is too large for a sidecar; ``None`` if there is none, if no
        other image can have the name, or if it cannot be read.
    """
    if _UNIQUE & placeholders_in(plan.target.path):
        return None
    try:
        return await read_start(sidecar_uri(uri), MAX_SIDECAR_BYTES + 1)
    except FluxError as error:
        log.warning("Another image may be replaced at %s. %s", uri, error)
        return None


def find_other_task(
    stored: bytes | None, uri: str, request_id: str | None, plan: LandingPlan
) -> TaskIdentity | None:
    """Return the other task of the same DAG run that has landed an image.

    :param stored: content of the sidecar of that image, from :func:`read_stored_sidecar`.
    :param uri: URI of the image.
    :param request_id: id of the request whose image is to land there; ``None`` before the submit.
    :param plan: its landing plan.
    :return: ``None`` if there is no such image, or no sidecar that describes it.
    """
    task = plan.task
    sidecar = parse_sidecar(stored) if stored else None
    if sidecar is None or task.dag_id is None or task.run_id is None:
        return None
    if sidecar.media.uri != uri or sidecar.request_id == request_id:
        return None
    run = sidecar.run
    is_same_run = (run.dag_id, run.run_id) == (task.dag_id, task.run_id)
    is_same_task = (run.task_id, run.map_index) == (task.task_id, task.map_index)
    return run if is_same_run and not is_same_task else None


def name_beside(uri: str, request_id: str) -> str:
    """Return the name of an image that cannot have its own: with its request id before the suffix.

    :param uri: the name that is taken.
    :param request_id: id that BFL gave the generation.
    """
    folder, slash, name = uri.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    unique = safe_name(request_id, MAX_REQUEST_ID_BYTES)
    if not stem:
        return f"{folder}{slash}{name}-{unique}"
    return f"{folder}{slash}{stem}-{unique}{dot}{suffix}"
