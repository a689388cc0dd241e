"""The routes of an account: its balance, its finetunes, and its usage of open weights."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from airflow_provider_flux.emulator.http.auth import ApiKey
from airflow_provider_flux.emulator.http.responses import error_response
from airflow_provider_flux.emulator.http.schemas import (
    CreditsResponse,
    DeleteFinetuneInputs,
    DeleteFinetuneResponse,
    FinetuneDetailResponse,
    MyFinetunesResponse,
)
from airflow_provider_flux.emulator.service import Service

_LICENSED_MODELS = frozenset({"flux-1-dev", "flux-1-kontext-dev", "flux-1-krea-dev", "flux-tools"})


class _Usage(BaseModel):
    number_of_generations: Annotated[int, Field(ge=1)]


def account_routes(service: Service) -> APIRouter:
    """Return the routes of an account.

    :param service: the service that the routes use.
    """
    router = APIRouter(tags=["Utility"])

    @router.get("/v1/credits", summary="Get the credits of the account.")
    async def get_credits(key: ApiKey) -> CreditsResponse:
        return CreditsResponse(credits=service.account_of(key).credits)

    @router.get("/v1/my_finetunes", summary="List the finetunes of the account.")
    async def my_finetunes(key: ApiKey) -> MyFinetunesResponse:
        return MyFinetunesResponse(finetunes=service.account_of(key).finetunes)

    @router.get(
        "/v1/finetune_details", response_model=FinetuneDetailResponse, summary="Get a finetune."
    )
    async def finetune_details(finetune_id: str, key: ApiKey) -> Response:
        if finetune_id not in service.account_of(key).finetunes:
            return _unknown_finetune()
        return JSONResponse({"finetune_details": {"finetune_id": finetune_id, "status": "Ready"}})

    @router.post(
        "/v1/delete_finetune", response_model=DeleteFinetuneResponse, summary="Delete a finetune."
    )
    async def delete_finetune(inputs: DeleteFinetuneInputs, key: ApiKey) -> Response:
        finetunes = service.account_of(key).finetunes
        if inputs.finetune_id not in finetunes:
            return _unknown_finetune()
        finetunes.remove(inputs.finetune_id)
        now = datetime.fromtimestamp(service.clock(), UTC)
        body = {
            "status": "success",
            "message": "Finetune deleted",
            "deleted_finetune_id": inputs.finetune_id,
        }
        return JSONResponse(body | {"timestamp": now.isoformat()})

    # BFL's own clients call this route; the published description of the API leaves it out.
    @router.post("/v1/licenses/models/{slug}/usage", include_in_schema=False)
    async def report_usage(slug: str, usage: _Usage, key: ApiKey) -> Response:
        if slug not in _LICENSED_MODELS:
            return error_response(404, "Model not found")
        service.license_generations[slug] += usage.number_of_generations
        return JSONResponse({})

    return router


def _unknown_finetune() -> Response:
    return error_response(404, "Finetune not found or access denied")
