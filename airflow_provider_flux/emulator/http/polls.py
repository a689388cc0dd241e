"""The route that clients poll for a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.emulator.fault_scripts import Fault
from airflow_provider_flux.emulator.http.auth import OptionalKey
from airflow_provider_flux.emulator.http.forwarded import external_url, url_by_other_name
from airflow_provider_flux.emulator.http.responses import (
    BrokenResponse,
    bomb_response,
    dripping_response,
    error_response,
    foreign_redirect,
    html_page,
    raw_json,
)
from airflow_provider_flux.emulator.http.schemas import ResultResponse, SettledCostResultResponse
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.tasks import Task, poll_body, reshape, with_fault_cost

_LONG_JSON = b'{"id": "' + b"0" * 512 + b'"}'


def poll_routes(service: Service) -> APIRouter:
    """Return the route ``GET /v1/get_result``.

    :param service: the service that the route uses.
    """
    router = APIRouter(tags=["Utility"])

    @router.get(
        "/v1/get_result",
        response_model=SettledCostResultResponse | ResultResponse,
        dependencies=[OptionalKey],
        summary="Get the result of a task.",
    )
    async def get_result(request: Request, id: str) -> Response:
        service.count_poll(id)
        task = service.find_task(id, host=request.url.hostname)
        if task is None:
            return _not_found(id)
        fault = service.fault_counter.next_due(task.faults, _FAULT_RESPONSES, id)
        if fault is not None:
            return _FAULT_RESPONSES[fault.name](fault, request, id)
        return _task_response(service, task)

    return router


def _task_response(service: Service, task: Task) -> Response:
    body = service.describe(task)
    http_status = task.outcome.http_status if body["status"] == task.outcome.status else 200
    if service.fault_counter.next_due(task.faults, {"unknown-status"}, task.id):
        body = poll_body(task.id, "Queued")
    if body["status"] == Status.READY and service.fault_counter.next_due(
        task.faults, {"no-result"}, task.id
    ):
        body = {**body, "result": None}
    body = reshape(body, task.faults)
    if "state-key" in task.faults:
        body["state"] = body.pop("status")
    return raw_json(with_fault_cost(body, task), http_status)


def _not_found(task_id: str) -> Response:
    return JSONResponse(poll_body(task_id, Status.TASK_NOT_FOUND), 404)


#: The response of each fault that replaces the poll body.
_FAULT_RESPONSES: Mapping[str, Callable[[Fault, Request, str], Response]] = {
    "poll-500": lambda *_: error_response(500, "Internal Server Error"),
    "poll-503": lambda fault, *_: error_response(503, "Service Unavailable", fault.seconds),
    "poll-429": lambda fault, *_: error_response(429, "Rate limit exceeded", fault.seconds),
    "poll-403": lambda *_: error_response(403, "Not authenticated"),
    "poll-reset": lambda *_: BrokenResponse(_LONG_JSON, media_type="application/json", reset=True),
    "poll-html": lambda *_: html_page(),
    "poll-redirect": lambda fault, request, task_id: foreign_redirect(request),
    "poll-moved": lambda fault, request, task_id: RedirectResponse(external_url(request), 307),
    "poll-regional": lambda fault, request, task_id: RedirectResponse(
        url_by_other_name(request), 307
    ),
    "poll-bomb": lambda *_: bomb_response("application/json"),
    "poll-drip": lambda fault, *_: dripping_response("application/json", fault.seconds),
    "not-found": lambda fault, request, task_id: _not_found(task_id),
}
