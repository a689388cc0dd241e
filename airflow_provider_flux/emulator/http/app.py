"""The FastAPI application: all routes, the refusals, and the routes for tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.responses import HTMLResponse, JSONResponse, Response

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.emulator.background_jobs import BackgroundJobs
from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.errors import RefusalError
from airflow_provider_flux.emulator.http.account_routes import account_routes
from airflow_provider_flux.emulator.http.deliveries import delivery_routes
from airflow_provider_flux.emulator.http.docs_page import render_docs_page
from airflow_provider_flux.emulator.http.polls import poll_routes
from airflow_provider_flux.emulator.http.responses import error_response
from airflow_provider_flux.emulator.http.submits import SubmitHandler, submit_routes
from airflow_provider_flux.emulator.http.webhooks import WebhookSender
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.stats import Stats


class Emulator:
    """The parts of one emulator.

    :param config: the configuration.
    :param clock: returns epoch seconds.
    """

    def __init__(self, config: EmulatorConfig, clock: Callable[[], float] = time.time) -> None:
        self.service = Service(config, clock)
        #: The jobs that fetch inputs and send webhooks.
        self.background_jobs = BackgroundJobs()
        #: Set before the server stops, to end the responses that hang.
        self.closing = asyncio.Event()
        self._webhooks = WebhookSender(self.service, self.background_jobs)

    def reset(self) -> None:
        """Forget every account, task, count and webhook."""
        self.background_jobs.cancel()
        self.service.reset()

    def release(self, text: str = "") -> int:
        """End the waiting of held tasks, and return their number.

        :param text: a part of their prompts; empty releases all.
        """
        released = self.service.release(text)
        for task in released:
            self._webhooks.watch(task)
        return len(released)


def create_app(emulator: Emulator) -> FastAPI:
    """Return the ASGI application of an emulator.

    :param emulator: the emulator that the routes use.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        emulator.background_jobs.cancel()

    app = FastAPI(
        title="BFL API",
        description="Local emulator of the BFL API.",
        version="0.0.1",
        lifespan=lifespan,
        # The pages of FastAPI load their scripts from another server.
        docs_url=None,
        redoc_url=None,
    )
    handler = SubmitHandler(emulator.service, emulator.background_jobs, emulator.closing)
    app.include_router(submit_routes(handler))
    app.include_router(poll_routes(emulator.service))
    app.include_router(delivery_routes(emulator.service))
    app.include_router(account_routes(emulator.service))
    app.include_router(_test_routes(emulator))

    @app.get("/docs", include_in_schema=False)
    async def show_docs() -> HTMLResponse:
        return HTMLResponse(render_docs_page(app.openapi()))

    _handle_refusals(app, emulator.service)
    return app


def _test_routes(emulator: Emulator) -> APIRouter:
    router = APIRouter(prefix="/_emulator", include_in_schema=False)

    @router.get("/stats", response_model=None)
    async def get_stats() -> Stats:
        return emulator.service.stats()

    @router.get("/timeline", response_model=None)
    async def get_timeline() -> Response:
        return JSONResponse(emulator.service.timeline())

    @router.post("/release")
    async def release(prompt: str = "") -> dict[str, int]:
        return {"released": emulator.release(prompt)}

    @router.post("/reset")
    async def reset() -> dict[str, bool]:
        emulator.reset()
        return {"reset": True}

    return router


def _handle_refusals(app: FastAPI, service: Service) -> None:
    submit_paths = {model.path for model in MODELS.values()}

    def count(request: Request, status: int) -> None:
        if request.url.path in submit_paths:
            service.count_refusal(status)

    @app.exception_handler(RefusalError)
    async def refuse(request: Request, refusal: RefusalError) -> Response:
        count(request, refusal.status)
        return error_response(refusal.status, refusal.detail, refusal.retry_after)

    @app.exception_handler(RequestValidationError)
    async def refuse_invalid(request: Request, invalid: RequestValidationError) -> Any:
        count(request, 422)
        return await request_validation_exception_handler(request, invalid)
