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
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from airflow_provider_flux.bfl.catalog import MODELS, Model
from airflow_provider_flux.bfl.inputs import find_media_problems
from airflow_provider_flux.emulator.background import Background
from airflow_provider_flux.emulator.drawing import video
from airflow_provider_flux.emulator.errors import RefusalError
from airflow_provider_flux.emulator.faults import (
    Fault,
    FaultError,
    faults_in_header,
    faults_in_prompt,
    parse_faults,
)
from airflow_provider_flux.emulator.fetching import fetch_inputs
from airflow_provider_flux.emulator.http.answers import FOREIGN_ORIGIN, BrokenResponse, error
from airflow_provider_flux.emulator.http.auth import ApiKey
from airflow_provider_flux.emulator.http.schemas import AsyncResponse, AsyncWebhookResponse
from airflow_provider_flux.emulator.http.webhooks import WebhookSender
from airflow_provider_flux.emulator.inputs import Inputs, read_inputs
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.tasks import Task

#: Routes whose answer is never that of a webhook, by the service's own description.
_WITHOUT_WEBHOOK_ANSWER = frozenset({"flux-3-image"})
_NO_VIDEO = "The emulator draws videos with PyAV, which is not installed: pip install 'airflow-provider-flux[emulator]'"


class SubmitDesk:
    """Takes the requests of all models.

    :param closing: set when the server stops, to end the answers that hang.
    """

    def __init__(self, service: Service, background: Background, closing: asyncio.Event) -> None:
        self._service = service
        self._background = background
        self._webhooks = WebhookSender(service, background)
        self._closing = closing

    async def take(self, model: Model, request: Request, body: BaseModel, key: str) -> Response:
        """Make a task of a request whose body fits the schema, and answer.

        :raises RefusalError: if the service, or a fault, refuses the request.
        :raises RequestValidationError: if it refuses the inputs.
        """
        parameters = body.model_dump(mode="json", exclude_none=True)
        faults = _script(self._service, request, parameters)
        if model.output == "video" and not video.is_available():
            raise RefusalError(400, _NO_VIDEO)
        refused = self._service.faults.first_due(
            faults, _REFUSALS, (model.name, parameters.get("prompt"))
        )
        if refused:
            raise _REFUSALS[refused.name](refused, key, parameters)
        inputs = await read_inputs(model, parameters)
        await _check(model, parameters, inputs, request)
        home = _home(request, self._service.config.region_hosts)
        task = self._service.submit(model, parameters, inputs, key=key, home=home, faults=faults)
        if inputs.are_pending:
            self._background.start(self._fetch(task, parameters, inputs))
        else:
            self._webhooks.watch(task)
        if hang := task.faults.get("submit-hang"):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), hang.seconds)
        return _answer(task)

    async def _fetch(self, task: Task, parameters: Mapping[str, Any], inputs: Inputs) -> None:
        self._service.go_on(task, parameters, await fetch_inputs(task.model, parameters, inputs))
        self._webhooks.watch(task)


def submit_routes(desk: SubmitDesk) -> APIRouter:
    """Return the POST routes of all models."""
    router = APIRouter(tags=["Models"])
    for model in MODELS.values():
        has_webhook_answer = model.name not in _WITHOUT_WEBHOOK_ANSWER
        router.add_api_route(
            model.path,
            _endpoint(model, desk),
            methods=["POST"],
            response_model=AsyncResponse | AsyncWebhookResponse
            if has_webhook_answer
            else AsyncResponse,
            summary=f"Generate {'an image' if model.output == 'image' else 'a video'} with {model.name}.",
            operation_id=f"submit_{model.name}",
        )
    return router


def _endpoint(model: Model, desk: SubmitDesk) -> Callable[..., Awaitable[Response]]:
    async def submit(request: Request, inputs: BaseModel, key: ApiKey) -> Response:
        return await desk.take(model, request, inputs, key)

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


async def _check(
    model: Model, parameters: Mapping[str, Any], inputs: Inputs, request: Request
) -> None:
    """Refuse inputs that are images or videos, and not such as the model takes."""
    problems = find_media_problems(model, {**parameters, **inputs.given}) if inputs.given else []
    if problems:
        body = await request.json()
        raise RequestValidationError([_value_error(sentence, body) for sentence in problems])


def _value_error(sentence: str, body: Any) -> dict[str, Any]:
    message = f"Value error, {sentence}"
    return {
        "type": "value_error",
        "loc": ("body",),
        "msg": message,
        "input": body,
        "ctx": {"error": {}},
    }


def _home(request: Request, region_hosts: Sequence[str]) -> str:
    url = request.base_url
    if region_hosts:
        url = url.replace(hostname=random.choice(region_hosts))  # noqa: S311  which region is no secret
    return str(url).rstrip("/")


def _answer(task: Task) -> Response:
    if late := task.faults.get("submit-503-made"):
        return error(503, "Service Unavailable", late.seconds)
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
    if task.model.cost_reported == "at submit":
        charged = {
            "cost": task.plan.cost,
            "input_mp": task.plan.input_mp,
            "output_mp": task.plan.output_mp,
        }
    if task.webhook_url:
        return {"id": task.id, "status": "Pending", "webhook_url": task.webhook_url, **charged}
    return {"id": task.id, "polling_url": task.polling_url, **charged}


def _echo(fault: Fault, key: str, parameters: Mapping[str, Any]) -> RefusalError:
    secret = parameters.get("webhook_secret")
    signed = "https://delivery-eu.bfl.ai/results/a/sample.jpeg?se=2026-01-01T00%3A00%3A00Z&sig=c2lnbmF0dXJl"
    return RefusalError(
        400, f"Bad request: key {key}, secret {secret}, image {'iVBORw0KGgo' * 20}, see {signed}"
    )


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
    "detail-object": lambda *_: RefusalError(422, {"message": "The request was refused"}),
    "echo-secrets": _echo,
}
