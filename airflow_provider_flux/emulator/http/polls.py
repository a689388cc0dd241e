"""The route that is asked for a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from airflow_provider_flux.bfl.responses import Status
from airflow_provider_flux.emulator.faults import Fault
from airflow_provider_flux.emulator.http.answers import (
    BrokenResponse,
    error,
    foreign_redirect,
    html_page,
)
from airflow_provider_flux.emulator.http.auth import OptionalKey
from airflow_provider_flux.emulator.http.schemas import ResultResponse, SettledCostResultResponse
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.tasks import Task, task_shape

_LONG_JSON = b'{"id": "' + b"0" * 512 + b'"}'


def poll_routes(service: Service) -> APIRouter:
    """Return the route ``GET /v1/get_result``."""
    router = APIRouter(tags=["Utility"])

    @router.get(
        "/v1/get_result",
        response_model=SettledCostResultResponse | ResultResponse,
        dependencies=[OptionalKey],
        summary="Get the result of a task.",
    )
    async def get_result(request: Request, id: str) -> Response:
        service.count_poll(id)
        task = service.find(id, host=request.url.hostname)
        if task is None:
            return _not_found(id)
        fault = service.faults.first_due(task.faults, _FAULTS, id)
        return _FAULTS[fault.name](fault, request, id) if fault else _answer(service, task)

    return router


def _answer(service: Service, task: Task) -> Response:
    body = service.body(task)
    http_status = task.outcome.http_status if body["status"] == task.outcome.status else 200
    if service.faults.first_due(task.faults, {"unknown-status"}, task.id):
        body = task_shape(task.id, "Queued")
    if "state-key" in task.faults:
        body["state"] = body.pop("status")
    return JSONResponse(body, http_status)


def _not_found(task_id: str) -> Response:
    return JSONResponse(task_shape(task_id, Status.TASK_NOT_FOUND), 404)


_FAULTS: Mapping[str, Callable[[Fault, Request, str], Response]] = {
    "poll-500": lambda *_: error(500, "Internal Server Error"),
    "poll-503": lambda fault, *_: error(503, "Service Unavailable", fault.seconds),
    "poll-429": lambda fault, *_: error(429, "Rate limit exceeded", fault.seconds),
    "poll-403": lambda *_: error(403, "Not authenticated"),
    "poll-reset": lambda *_: BrokenResponse(_LONG_JSON, media_type="application/json", reset=True),
    "poll-html": lambda *_: html_page(),
    "poll-redirect": lambda fault, request, task_id: foreign_redirect(request),
    "not-found": lambda fault, request, task_id: _not_found(task_id),
}
