"""The review page: the candidates as pictures, and the answer by keyboard.

The page sends the answer to Airflow's own API, which checks who may answer, and accepts one answer.
"""

from __future__ import annotations

import json
from pathlib import Path as LocalPath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.landing.sidecar import MAX_SIDECAR_BYTES, parse_sidecar
from airflow_provider_flux.links.gallery import gallery_path, ui_path
from airflow_provider_flux.plugin.access import READS_DAG, logged_in_user, may_answer
from airflow_provider_flux.plugin.byte_ranges import answer_with, has_version, not_modified
from airflow_provider_flux.plugin.review_records import (
    ReviewState,
    ShownCandidate,
    find_next,
    find_review,
)
from airflow_provider_flux.plugin.review_view import render_review
from airflow_provider_flux.plugin.stored_objects import ObjectError, open_media, read_small
from airflow_provider_flux.plugin.workers import in_database_thread, in_store_thread
from airflow_provider_flux.review.candidates import MAX_CANDIDATES
from airflow_provider_flux.review.form import review_path

router = APIRouter()

_LARGEST_INDEX = 2**31 - 1
_STATIC_FOLDER = LocalPath(__file__).parent / "review_page"
_STATIC_FILES = frozenset({"review.css", "review.js"})
#: Dependencies of a route that shows a review.
_READS_REVIEW = [*READS_DAG, Depends(requires_access_dag("GET", DagAccessEntity.HITL_DETAIL))]

Id = Annotated[str, Path(min_length=1, max_length=250)]
Number = Annotated[int, Path(ge=1, le=MAX_CANDIDATES)]
MapIndex = Annotated[int, Query(ge=-1, le=_LARGEST_INDEX)]
_REVIEW = "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/review"


@router.get("/review-static/{name}")
async def _static_file(name: str) -> Response:
    """Return a file that is the same for everybody: style or script."""
    if name not in _STATIC_FILES:
        raise HTTPException(404)
    return FileResponse(_STATIC_FOLDER / name, headers={"Cache-Control": "public, max-age=300"})


@router.get(_REVIEW, dependencies=_READS_REVIEW)
async def _review_page(
    dag_id: Id,
    run_id: Id,
    task_id: Id,
    user: Annotated[Any, Depends(logged_in_user)],
    map_index: MapIndex = -1,
) -> Response:
    """Show the candidates, and the decision once there is one."""
    review = await _find_review(dag_id, run_id, task_id, map_index)
    return HTMLResponse(
        render_review(
            review,
            api=_api_path(review.task),
            gallery=gallery_path(dag_id, run_id, task_id, map_index),
            may_answer=await in_database_thread(may_answer, user, dag_id, review.assigned_user_ids),
        )
    )


@router.get(f"{_REVIEW}/state", dependencies=_READS_REVIEW)
async def _review_state(dag_id: Id, run_id: Id, task_id: Id, map_index: MapIndex = -1) -> Response:
    """Return whether the review still waits, for the script that looks for changes."""
    review = await _find_review(dag_id, run_id, task_id, map_index)
    other = None if review.is_waiting else await in_database_thread(find_next, review.task)
    state = {
        "version": review.version,
        "task_state": review.task_state,
        "is_waiting": review.is_waiting,
        "note": review.note,
        "answer": None if review.answer is None else list(review.answer),
        "answered_by": review.answered_by,
        "next": ui_path(review_path(other)) if other else None,
    }
    # In ASCII: a text of a stranger may have half a character, which UTF-8 cannot have.
    return Response(json.dumps(state), media_type="application/json")


# Before the objects, whose path fits this one too.
@router.get(f"{_REVIEW}/candidates/{{number}}/request.json", dependencies=_READS_REVIEW)
async def _candidate_request(
    dag_id: Id, run_id: Id, task_id: Id, number: Number, map_index: MapIndex = -1
) -> Response:
    """Send what the sidecar of a candidate says about its request."""
    review, candidate = await _find_candidate(dag_id, run_id, task_id, map_index, number)
    uri = candidate.sidecar
    if uri is None or not await in_store_thread(review.has, uri):
        raise HTTPException(404)
    try:
        data = await in_store_thread(read_small, uri, MAX_SIDECAR_BYTES)
    except ObjectError as problem:
        raise HTTPException(problem.status, problem.text) from None
    sidecar = parse_sidecar(data)
    if sidecar is None or sidecar.media.sha256 != candidate.sha256:
        raise HTTPException(404)
    # A number that JSON cannot represent becomes null.
    request = sidecar.request.model_dump_json(include={"model", "prompt", "parameters"})
    return Response(request, media_type="application/json")


@router.api_route(
    f"{_REVIEW}/candidates/{{number}}/{{kind}}",
    methods=["GET", "HEAD"],
    dependencies=_READS_REVIEW,
)
async def _candidate_object(
    request: Request,
    dag_id: Id,
    run_id: Id,
    task_id: Id,
    number: Number,
    kind: Literal["thumb", "full"],
    map_index: MapIndex = -1,
) -> Response:
    """Send the image or video of a candidate, or its thumbnail."""
    review, candidate = await _find_candidate(dag_id, run_id, task_id, map_index, number)
    is_thumb = kind == "thumb" and candidate.thumb is not None
    uri = candidate.thumb if is_thumb else candidate.uri
    if uri is None or not await in_store_thread(review.has, uri):
        raise HTTPException(404)
    sha256, size = (None, None) if is_thumb else (candidate.sha256, candidate.bytes)
    if has_version(request, sha256):
        return not_modified(str(sha256))
    try:
        found = await in_store_thread(open_media, uri, sha256=sha256, size=size)
    except ObjectError as problem:
        raise HTTPException(problem.status, problem.text) from None
    return answer_with(found, request)


async def _find_review(dag_id: str, run_id: str, task_id: str, map_index: int) -> ReviewState:
    """Return a review.

    :raises HTTPException: 404 if there is none. PostgreSQL refuses some characters with an error.
    """
    if not all(map(str.isprintable, (dag_id, run_id, task_id))):
        raise HTTPException(404)
    task = TaskIdentity(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
    review = await in_database_thread(find_review, task)
    if review is None:
        raise HTTPException(404)
    return review


async def _find_candidate(
    dag_id: str, run_id: str, task_id: str, map_index: int, number: int
) -> tuple[ReviewState, ShownCandidate]:
    review = await _find_review(dag_id, run_id, task_id, map_index)
    candidate = review.find(number)
    if candidate is None:
        raise HTTPException(404)
    return review, candidate


def _api_path(task: TaskIdentity) -> str:
    """Return the path of the form in Airflow's API, which takes the answer."""
    dag_id, run_id, task_id = (
        quote(value or "", safe="") for value in (task.dag_id, task.run_id, task.task_id)
    )
    return ui_path(
        f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{task.map_index}"
        "/hitlDetails"
    )
