"""The FastAPI application: routes, refusals, and what tests may ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from airflow_provider_flux.emulator.answers import error
from airflow_provider_flux.emulator.auth import ApiKey
from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.deliveries import delivery_routes
from airflow_provider_flux.emulator.polls import poll_routes
from airflow_provider_flux.emulator.schemas import CreditsResponse
from airflow_provider_flux.emulator.service import RefusalError, Service, Stats
from airflow_provider_flux.emulator.submits import submit_routes
from airflow_provider_flux.emulator.webhooks import WebhookSender


class Emulator:
    """The parts of one emulator.

    :param clock: returns epoch seconds.
    """

    def __init__(self, config: EmulatorConfig, clock: Callable[[], float] = time.time) -> None:
        self.service = Service(config, clock)
        self.webhooks = WebhookSender(self.service)
        #: Set before the server stops, to end the answers that hang.
        self.closing = asyncio.Event()

    def reset(self) -> None:
        """Forget every account, task, count and webhook."""
        self.webhooks.cancel()
        self.service.reset()


def create_app(emulator: Emulator) -> FastAPI:
    """Return the ASGI application of an emulator."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        emulator.webhooks.cancel()

    app = FastAPI(title="BFL API", description="Local emulator of the BFL API.", version="0.0.1", lifespan=lifespan)
    app.include_router(submit_routes(emulator.service, emulator.webhooks, emulator.closing))
    app.include_router(poll_routes(emulator.service))
    app.include_router(delivery_routes(emulator.service))
    app.include_router(_account_routes(emulator.service))
    app.include_router(_test_routes(emulator))
    _answer_refusals(app, emulator.service)
    return app


def _account_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["Utility"])

    @router.get("/v1/credits", summary="Get the credits of the account.")
    async def get_credits(key: ApiKey) -> CreditsResponse:
        return CreditsResponse(credits=service.balance(key))

    return router


def _test_routes(emulator: Emulator) -> APIRouter:
    router = APIRouter(prefix="/_emulator", include_in_schema=False)

    @router.get("/stats", response_model=None)
    async def get_stats() -> Stats:
        return emulator.service.stats()

    @router.post("/reset")
    async def reset() -> dict[str, bool]:
        emulator.reset()
        return {"reset": True}

    return router


def _answer_refusals(app: FastAPI, service: Service) -> None:
    def count(request: Request) -> None:
        if request.method == "POST":
            service.seen["refused"] += 1

    @app.exception_handler(RefusalError)
    async def refuse(request: Request, refusal: RefusalError) -> Response:
        count(request)
        return error(refusal.status, refusal.detail, refusal.retry_after)

    @app.exception_handler(RequestValidationError)
    async def refuse_invalid(request: Request, invalid: RequestValidationError) -> Any:
        count(request)
        return await request_validation_exception_handler(request, invalid)
