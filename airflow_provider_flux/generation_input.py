"""The shape of a generation that another task or a user supplies, as a pydantic model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.generation import CostSource, parse_time


def _normalize_time(value: object) -> str:
    """Return a time in ISO 8601 with its offset; the current time for an empty value."""
    return (parse_time(str(value)) if value else datetime.now(UTC)).isoformat()


class _GenerationInput(BaseModel):
    """The members of a generation. Only ``request_id`` is required."""

    model_config = ConfigDict(strict=True, extra="ignore", defer_build=True)

    request_id: str
    polling_url: str | None = None
    model: Annotated[str, BeforeValidator(lambda value: str(value or "unknown"))] = "unknown"
    status: Annotated[str, BeforeValidator(lambda value: str(value or Status.UNKNOWN.value))] = (
        Status.UNKNOWN.value
    )
    seed: int | None = None
    fingerprint: str | None = None
    cost: int | float | None = None
    cost_source: CostSource | None = None
    estimated_cost: int | float | None = None
    submitted_at: Annotated[str, BeforeValidator(lambda value: _normalize_time(value))] = Field(
        default_factory=lambda: _normalize_time(None)
    )
    reused: Annotated[bool, BeforeValidator(bool)] = False
    uncertain_submits: Annotated[int, BeforeValidator(lambda value: value or 0)] = 0
    image: Any = None
    video: Any = None


def validate_members(value: Mapping[str, Any]) -> dict[str, Any]:
    """Check the members of a generation, and fill in those that are missing.

    :param value: the mapping that another task or a user supplies.
    :return: the members of a generation, all of them.
    :raises pydantic.ValidationError: if a member has a wrong type or value.
    """
    return _GenerationInput.model_validate(dict(value)).model_dump()
