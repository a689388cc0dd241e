"""The bodies of the service's answers, for its OpenAPI document."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field


class StatusResponse(StrEnum):
    """Where a task stands."""

    TASK_NOT_FOUND = "Task not found"
    PENDING = "Pending"
    REASONING = "Reasoning"
    GENERATING = "Generating"
    REQUEST_MODERATED = "Request Moderated"
    CONTENT_MODERATED = "Content Moderated"
    READY = "Ready"
    ERROR = "Error"


class _Charged(BaseModel):
    cost: float | None = Field(None, description="Cost in credits for this request")
    input_mp: float | None = Field(None, description="Input megapixels (2 decimal places)")
    output_mp: float | None = Field(None, description="Output megapixels (2 decimal places)")


class AsyncResponse(_Charged):
    """Answer to a submit."""

    id: str
    polling_url: str


class AsyncWebhookResponse(_Charged):
    """Answer to a submit with a ``webhook_url``."""

    id: str
    status: str
    webhook_url: str


class ResultResponse(BaseModel):
    """Answer to a poll."""

    id: str = Field(description="Task id for retrieving result")
    status: StatusResponse
    result: Any | None = None
    progress: float | None = None
    details: dict[str, Any] | None = None
    preview: dict[str, Any] | None = None


class SettledCostResultResponse(ResultResponse):
    """Answer to a poll of a model that reports its cost."""

    cost: float = Field(description="Settled cost in credits")


class CreditsResponse(BaseModel):
    """Answer to a question for the balance."""

    credits: float = Field(description="User's current credit balance")


class MyFinetunesResponse(BaseModel):
    """Answer to a question for the finetunes."""

    finetunes: list[Any] = Field(description="List of finetunes created by the user")


class FinetuneDetailResponse(BaseModel):
    """Answer to a question for one finetune."""

    finetune_details: dict[str, Any] = Field(
        description="Details about the parameters used for finetuning"
    )


class DeleteFinetuneInputs(BaseModel):
    """Which finetune to delete."""

    finetune_id: str = Field(description="ID of the fine-tuned model you want to delete.")


class DeleteFinetuneResponse(BaseModel):
    """Answer to the deletion of a finetune."""

    status: str = Field(description="Status of the deletion operation")
    message: str = Field(description="Detailed message about the deletion result")
    deleted_finetune_id: str = Field(description="ID of the deleted finetune")
    timestamp: str = Field(description="Timestamp of the deletion")
