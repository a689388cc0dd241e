"""The response bodies of the service, for its OpenAPI document."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field


class StatusResponse(StrEnum):
    """Status of a task."""

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
    """Response to a submit.

    ``id`` and ``polling_url`` identify the task.
    """

    id: str
    polling_url: str


class AsyncWebhookResponse(_Charged):
    """Response to a submit with a ``webhook_url``.

    ``id`` identifies the task; ``status`` is its status; ``webhook_url`` repeats the request.
    """

    id: str
    status: str
    webhook_url: str


class ResultResponse(BaseModel):
    """Response to a poll.

    ``id`` and ``status`` of the task; ``result`` once it is ready; ``progress``, 0 to 1, before;
    ``details`` of a failure; ``preview`` is always empty.
    """

    id: str = Field(description="Task id for retrieving result")
    status: StatusResponse
    result: Any | None = None
    progress: float | None = None
    details: dict[str, Any] | None = None
    preview: dict[str, Any] | None = None


class SettledCostResultResponse(ResultResponse):
    """Response to a poll of a model that reports its ``cost``."""

    cost: float = Field(description="Settled cost in credits")


class CreditsResponse(BaseModel):
    """Response with the balance, ``credits``."""

    credits: float = Field(description="User's current credit balance")


class MyFinetunesResponse(BaseModel):
    """Response with the ``finetunes`` of the account."""

    finetunes: list[Any] = Field(description="List of finetunes created by the user")


class FinetuneDetailResponse(BaseModel):
    """Response with the ``finetune_details`` of one finetune."""

    finetune_details: dict[str, Any] = Field(
        description="Details about the parameters used for finetuning"
    )


class DeleteFinetuneInputs(BaseModel):
    """Request to delete a finetune, by its ``finetune_id``."""

    finetune_id: str = Field(description="ID of the fine-tuned model you want to delete.")


class DeleteFinetuneResponse(BaseModel):
    """Response to the deletion of a finetune.

    ``status`` and ``message`` describe the deletion of ``deleted_finetune_id`` at ``timestamp``.
    """

    status: str = Field(description="Status of the deletion operation")
    message: str = Field(description="Detailed message about the deletion result")
    deleted_finetune_id: str = Field(description="ID of the deleted finetune")
    timestamp: str = Field(description="Timestamp of the deletion")
