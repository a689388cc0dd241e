"""The submit routes, one for each model of the catalog."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from http import HTTPStatus
from operator import or_
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.datastructures import URL
from starlette.responses import Response

from airflow_provider_flux.bfl.catalog import MODELS, Model
from airflow_provider_flux.bfl.inputs import find_media_problems
from airflow_provider_flux.emulator.background_jobs import BackgroundJobs
from airflow_provider_flux.emulator.drawing import video
from airflow_provider_flux.emulator.errors import RefusalError
from airflow_provider_flux.emulator.fault_scripts import (
    Fault,
    FaultError,
    faults_in_header,
    faults_in_prompt,
    parse_faults,
)
from airflow_provider_flux.emulator.http.auth import ApiKey
from airflow_provider_flux.emulator.http.forwarded import external_base_url
from airflow_provider_flux.emulator.http.responses import (
    FOREIGN_ORIGIN,
    BrokenResponse,
    error_response,
    raw_json,
)
from airflow_provider_flux.emulator.http.schemas import AsyncResponse, AsyncWebhookResponse
from airflow_provider_flux.emulator.http.webhooks import WebhookSender
from airflow_provider_flux.emulator.inputs import Inputs, read_inputs
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.tasks import Task, with_fault_cost
from airflow_provider_flux.emulator.url_inputs import fetch_inputs

#: Models whose routes have no webhook response in the OpenAPI document of the service.
_WITHOUT_WEBHOOK_RESPONSE = frozenset({"flux-3-image", "flux-3-image-klein"})
#: Models that answer an image of too many pixels with 400 (source: published clients).
_WITH_400_FOR_PIXELS = frozenset({"flux-3-image", "flux-3-image-klein"})
#: The usual text of each HTTP status. A status such as 499 has none.
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_PYAV_MISSING = (
    "The emulator draws videos with PyAV, which is not installed. Install it: "
    "pip install 'airflow-provider-flux[emulator]'"
)


class SubmitHandler:
    """Handles the submits of all models.

    :param service: the service that makes the tasks.
    :param background_jobs: fetches inputs and sends webhooks.
    :param closing: set when the server stops, to end the responses that hang.
    """

    def __init__(
        self, service: Service, background_jobs: BackgroundJobs, closing: asyncio.Event
    ) -> None:
        self._service = service
        self._background_jobs = background_jobs
        self._webhooks = WebhookSender(service, background_jobs)
        self._closing = closing

    async def handle(self, model: Model, request: Request, body: BaseModel, key: str) -> Response:
        """Make a task of a request, and return the response.

        :param model: the model of the route.
        :param request: the HTTP request.
        :param body: the body, which fits the schema of the model.
        :param key: the API key.
        :raises RefusalError: if the service, or a fault, refuses the request.
        :raises RequestValidationError: if the model does not take the inputs.
        """
        parameters = body.model_dump(mode="json", exclude_none=True)
        faults = _read_faults(self._service, request, parameters)
        if model.output == "video" and not video.is_available():
            raise RefusalError(400, _PYAV_MISSING)
        fault = self._service.fault_counter.next_due(
            faults, _REFUSALS, (model.name, parameters.get("prompt"))
        )
        if fault is not None:
            raise _REFUSALS[fault.name](fault, key, parameters)

        inputs = await read_inputs(model, parameters)
        await _check_media(model, parameters, inputs, request)
        base_url = _choose_base_url(request, self._service.config.region_hosts)
        task = self._service.submit(
            model, parameters, inputs, key=key, base_url=base_url, faults=faults
        )
        if inputs.are_pending:
            self._background_jobs.start(self._fetch(task, parameters, inputs))
        else:
            self._webhooks.watch(task)

        if hang := task.faults.get("submit-hang"):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), hang.seconds)
        return _response(task)

    async def _fetch(self, task: Task, parameters: Mapping[str, Any], inputs: Inputs) -> None:
        fetched = await fetch_inputs(task.model, parameters, inputs)
        self._service.complete_inputs(task, parameters, fetched)
        self._webhooks.watch(task)


def submit_routes(handler: SubmitHandler) -> APIRouter:
    """Return the POST routes of all models.

    :param handler: handles the submits.
    """
    router = APIRouter(tags=["Models"])
    for model in MODELS.values():
        has_webhook = model.name not in _WITHOUT_WEBHOOK_RESPONSE
        kind = "an image" if model.output == "image" else "a video"
        router.add_api_route(
            model.path,
            _endpoint(model, handler),
            methods=["POST"],
            response_model=AsyncResponse | AsyncWebhookResponse if has_webhook else AsyncResponse,
            summary=f"Generate {kind} with {model.name}.",
            operation_id=f"submit_{model.name}",
        )
    return router


def _endpoint(model: Model, handler: SubmitHandler) -> Callable[..., Awaitable[Response]]:
    async def submit(request: Request, inputs: BaseModel, key: ApiKey) -> Response:
        return await handler.handle(model, request, inputs, key)

    # FastAPI reads the schema of the body from the annotation; it differs by route.
    submit.__annotations__["inputs"] = _body_type(model)
    return submit


def _body_type(model: Model) -> Any:
    """Return the body of the route: one schema, or several with ``mode`` as the discriminator."""
    if not model.modes:
        return model.schema
    return Annotated[reduce(or_, model.modes.values()), Body(discriminator="mode")]


def _read_faults(
    service: Service, request: Request, parameters: Mapping[str, Any]
) -> dict[str, Fault]:
    try:
        in_header = parse_faults(faults_in_header(request.headers.get("x-flux-fault")))
        in_prompt = parse_faults(faults_in_prompt(parameters.get("prompt") or ""))
    except FaultError as error:
        raise RefusalError(400, str(error)) from None
    return {**service.default_faults, **in_header, **in_prompt}


async def _check_media(
    model: Model, parameters: Mapping[str, Any], inputs: Inputs, request: Request
) -> None:
    """Raise a validation error for images and videos that the model does not take."""
    if not inputs.by_field:
        return
    problems = find_media_problems(model, {**parameters, **inputs.by_field})
    if problems and model.name in _WITH_400_FOR_PIXELS and _has_too_many_pixels(model, inputs):
        raise RefusalError(400, problems[0])
    if problems:
        body = await request.json()
        raise RequestValidationError([_value_error(problem, body) for problem in problems])


def _has_too_many_pixels(model: Model, inputs: Inputs) -> bool:
    return any(
        (file.width or 0) * (file.height or 0) > (model.media_fields[name].max_pixels or math.inf)
        for name, files in inputs.files.items()
        for file in files
    )


def _value_error(problem: str, body: Any) -> dict[str, Any]:
    return {
        "type": "value_error",
        "loc": ("body",),
        "msg": f"Value error, {problem}",
        "input": body,
        "ctx": {"error": {}},
    }


def _choose_base_url(request: Request, region_hosts: Sequence[str]) -> str:
    url = URL(external_base_url(request))
    if region_hosts:
        url = url.replace(hostname=random.choice(region_hosts))  # noqa: S311  no secret
    return str(url)


def _response(task: Task) -> Response:
    if late := task.faults.get("submit-503-made"):
        return error_response(503, "Service Unavailable", late.seconds)
    if unclear := task.faults.get("submit-status-made"):
        return error_response(unclear.status, _phrase(unclear.status))
    body = _body(task)
    if "foreign-polling-url" in task.faults:
        body["polling_url"] = f"{FOREIGN_ORIGIN}/v1/get_result?id={task.id}"
    if "no-polling-url" in task.faults:
        body.pop("polling_url", None)
    response = raw_json(with_fault_cost(body, task))
    if "submit-lost" in task.faults:
        return BrokenResponse(bytes(response.body), media_type="application/json")
    return response


def _phrase(status: int) -> str:
    """Return the usual text of an HTTP status, also of one that is not standard."""
    return _PHRASES.get(status, "Error")


def _body(task: Task) -> dict[str, Any]:
    charge: dict[str, float | None] = {"cost": None, "input_mp": None, "output_mp": None}
    if task.model.cost_reported == "at submit":
        charge = {
            "cost": task.charge.cost,
            "input_mp": task.charge.input_mp,
            "output_mp": task.charge.output_mp,
        }
    if task.webhook_url:
        return {"id": task.id, "status": "Pending", "webhook_url": task.webhook_url, **charge}
    return {"id": task.id, "polling_url": task.polling_url, **charge}


def _echo_secrets(fault: Fault, key: str, parameters: Mapping[str, Any]) -> RefusalError:
    secret = parameters.get("webhook_secret")
    image = "iVBORw0KGgo" * 20
    query = "se=2026-01-01T00%3A00%3A00Z&sig=c2lnbmF0dXJl"
    url = f"https://delivery-eu.bfl.ai/results/a/sample.jpeg?{query}"
    return RefusalError(400, f"Bad request: key {key}, secret {secret}, image {image}, see {url}")


def _quote_prompt(_: Fault, __: str, parameters: Mapping[str, Any]) -> RefusalError:
    prompt = str(parameters.get("prompt"))
    forms = [prompt, prompt.upper(), json.dumps(prompt), quote(prompt), f"{prompt[:40]}..."]
    return RefusalError(
        422,
        [
            {"loc": ["body", "prompt"], "msg": f"Not allowed: {form}", "input": prompt}
            for form in forms
        ],
    )


#: The refusal of each fault that refuses a submit.
_REFUSALS: Mapping[str, Callable[[Fault, str, Mapping[str, Any]], RefusalError]] = {
    "rate-limit": lambda fault, *_: RefusalError(
        429, "Rate limit exceeded", retry_after=fault.seconds
    ),
    "no-credits": lambda *_: RefusalError(402, "Insufficient credits"),
    "busy-402": lambda *_: RefusalError(402, "Insufficient credits"),
    "submit-500": lambda *_: RefusalError(500, "Internal Server Error"),
    "submit-503": lambda fault, *_: RefusalError(
        503, "Service Unavailable", retry_after=fault.seconds
    ),
    "submit-status": lambda fault, *_: RefusalError(fault.status, _phrase(fault.status)),
    "detail-object": lambda *_: RefusalError(422, {"message": "The request was refused"}),
    "echo-secrets": _echo_secrets,
    "quote-prompt": _quote_prompt,
}
