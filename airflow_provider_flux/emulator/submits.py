"""The submit routes, one for each model of the catalog."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse, Response

from airflow_provider_flux.bfl.catalog import MODELS, Model
from airflow_provider_flux.bfl.requests.common import FluxInputs
from airflow_provider_flux.emulator.answers import FOREIGN_ORIGIN, BrokenResponse
from airflow_provider_flux.emulator.auth import ApiKey
from airflow_provider_flux.emulator.faults import Fault, FaultError, faults_in_header, faults_in_prompt, parse_faults
from airflow_provider_flux.emulator.picture import MEGAPIXEL, size_of
from airflow_provider_flux.emulator.schemas import AsyncResponse, AsyncWebhookResponse
from airflow_provider_flux.emulator.service import RefusalError, Service
from airflow_provider_flux.emulator.tasks import Task
from airflow_provider_flux.emulator.webhooks import WebhookSender

_LARGEST = 4 * MEGAPIXEL


def submit_routes(service: Service, webhooks: WebhookSender, closing: asyncio.Event) -> APIRouter:
    """Return the POST routes of all models.

    :param closing: set when the server stops, to end the answers that hang.
    """
    router = APIRouter(tags=["Models"])
    for model in MODELS.values():
        router.add_api_route(
            model.path,
            _endpoint(model, service, webhooks, closing),
            methods=["POST"],
            response_model=AsyncResponse | AsyncWebhookResponse,
            summary=f"Generate an image with {model.name}.",
            operation_id=f"submit_{model.name}",
        )
    return router


def _endpoint(
    model: Model, service: Service, webhooks: WebhookSender, closing: asyncio.Event
) -> Callable[..., Awaitable[Response]]:
    async def submit(request: Request, inputs: FluxInputs, key: ApiKey) -> Response:
        parameters = inputs.model_dump(mode="json", exclude_none=True)
        faults = _script(service, request, parameters)
        _check_size(model, parameters)
        refused = service.faults.first_due(faults, _REFUSALS, (model.name, parameters.get("prompt")))
        if refused:
            raise _REFUSALS[refused.name](refused, key, parameters)
        home = _home(request, service.config.region_hosts)
        task = service.submit(model, parameters, key=key, home=home, faults=faults)
        webhooks.watch(task)
        if hang := faults.get("submit-hang"):
            with suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), hang.seconds)
        return _answer(task)

    # FastAPI reads the schema of the body from here; it differs by route.
    submit.__annotations__["inputs"] = _body_type(model)
    return submit


def _body_type(model: Model) -> Any:
    """Return what the route takes: one schema, or one of several told apart by ``mode``."""
    if not model.modes:
        return model.schema
    return Annotated[reduce(or_, model.modes.values()), Body(discriminator="mode")]


def _script(service: Service, request: Request, parameters: Mapping[str, Any]) -> dict[str, Fault]:
    try:
        of_header = parse_faults(faults_in_header(request.headers.get("x-flux-fault")))
        of_prompt = parse_faults(faults_in_prompt(parameters.get("prompt") or ""))
    except FaultError as problem:
        raise RefusalError(400, str(problem)) from None
    return {**service.script, **of_header, **of_prompt}


def _check_size(model: Model, parameters: Mapping[str, Any]) -> None:
    """Refuse what the schemas allow and the documentation does not: such an image takes gigabytes to draw."""
    width, height = size_of(model, parameters)
    if "width" in model.schema.model_fields and width * height > _LARGEST:
        message = "Value error, Output dimensions must not exceed 4 megapixels"
        problem = {"type": "value_error", "loc": ("body",), "msg": message, "input": parameters, "ctx": {"error": {}}}
        raise RequestValidationError([problem])


def _home(request: Request, region_hosts: Sequence[str]) -> str:
    url = request.base_url
    if region_hosts:
        url = url.replace(hostname=random.choice(region_hosts))  # noqa: S311  which region is no secret
    return str(url).rstrip("/")


def _answer(task: Task) -> Response:
    body = _body(task)
    if "foreign-polling-url" in task.faults:
        body["polling_url"] = f"{FOREIGN_ORIGIN}/v1/get_result?id={task.id}"
    if "no-polling-url" in task.faults:
        body.pop("polling_url", None)
    answer = JSONResponse(body)
    if "submit-lost" in task.faults:
        return BrokenResponse(bytes(answer.body), media_type="application/json")
    return answer


def _body(task: Task) -> dict[str, Any]:
    charged: dict[str, float | None] = {"cost": None, "input_mp": None, "output_mp": None}
    if task.cost_shown:
        output_mp = round(task.picture.width * task.picture.height / MEGAPIXEL, 2)
        charged = {"cost": task.cost, "input_mp": float(task.images_in), "output_mp": output_mp}
    if task.webhook_url:
        return {"id": task.id, "status": "Pending", "webhook_url": task.webhook_url, **charged}
    return {"id": task.id, "polling_url": task.polling_url, **charged}


def _echo(fault: Fault, key: str, parameters: Mapping[str, Any]) -> RefusalError:
    secret = parameters.get("webhook_secret")
    signed = "https://delivery-eu.bfl.ai/results/a/sample.jpeg?se=2026-01-01T00%3A00%3A00Z&sig=c2lnbmF0dXJl"
    return RefusalError(400, f"Bad request: key {key}, secret {secret}, image {'iVBORw0KGgo' * 20}, see {signed}")


_REFUSALS: Mapping[str, Callable[[Fault, str, Mapping[str, Any]], RefusalError]] = {
    "rate-limit": lambda fault, *_: RefusalError(429, "Rate limit exceeded", retry_after=fault.seconds),
    "no-credits": lambda *_: RefusalError(402, "Insufficient credits"),
    "submit-500": lambda *_: RefusalError(500, "Internal Server Error"),
    "submit-503": lambda fault, *_: RefusalError(503, "Service Unavailable", retry_after=fault.seconds),
    "detail-object": lambda *_: RefusalError(422, {"message": "The request was refused"}),
    "echo-secrets": _echo,
}
