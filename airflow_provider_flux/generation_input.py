"""Check a generation that another task, or a user, supplies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.responses import drop_bad_number
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.generation import CostSource, Generation, parse_time


def _normalize_time(value: object) -> str:
    """Return a time in ISO 8601 with its offset; the current time for an empty value."""
    return (parse_time(str(value)) if value else datetime.now(UTC)).isoformat()


#: Credits. A number that is not finite or is negative counts as unknown.
_Credits = Annotated[int | float | None, BeforeValidator(drop_bad_number)]


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
    cost: _Credits = None
    cost_source: CostSource | None = None
    estimated_cost: _Credits = None
    submitted_at: Annotated[str, BeforeValidator(lambda value: _normalize_time(value))] = Field(
        default_factory=lambda: _normalize_time(None)
    )
    reused: Annotated[bool, BeforeValidator(bool)] = False
    uncertain_submits: Annotated[int, BeforeValidator(lambda value: value or 0)] = 0
    image: Any = None
    video: Any = None


def parse_generation(value: Any, *, field: str = "generation") -> Generation:
    """Check a generation that another task, or a user, supplies.

    Only ``request_id`` is needed. ``polling_url`` should be there too, since a generation lives in
    one cluster of BFL.

    :param value: the mapping to check.
    :param field: name of the argument, for the error.
    :raises FluxRequestError: if the value is not a generation. The message names the member at
        fault.
    """
    if not isinstance(value, Mapping):
        raise FluxRequestError(
            f"{field} is {type(value).__name__}, not a generation. Pass the output of "
            "FluxGenerateOperator (hero.output), or a dict with request_id and polling_url."
        )
    request_id, has_landed = value.get("request_id"), value.get("image") or value.get("video")
    if not isinstance(request_id, str) or not (request_id or has_landed):
        raise FluxRequestError(
            f"{field} has no request_id: it is not the output of FluxGenerateOperator."
        )
    try:
        members = _GenerationInput.model_validate(dict(value)).model_dump()
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        problem = _describe_problem(name, value[name])
        raise FluxRequestError(f"{field} has {name}={value[name]!r:.80}. {problem}") from None
    if members["cost"] is None and value.get("cost") is not None:
        members["cost"] = members["estimated_cost"]
        members["cost_source"] = None if members["cost"] is None else "estimated"
    return cast("Generation", members)


def parse_generations(value: Any) -> tuple[list[Generation], bool]:
    """Check one generation or a list of them.

    :param value: a mapping, an iterable of mappings, or the JSON text of either.
    :return: the generations, and whether the value was a list.
    :raises FluxRequestError: if the value or an element is not a generation. The message names the
        element.
    """
    if isinstance(value, str):
        value = _parse_json(value)
    if isinstance(value, Mapping):
        return [parse_generation(value)], False
    if value is None or not hasattr(value, "__iter__"):
        raise FluxRequestError(
            f"generation is {value!r}: the task it comes from pushed no result (was it skipped?). "
            "Pass the output of FluxGenerateOperator, or a list of them."
        )
    generations = [
        parse_generation(item, field=f"generation[{index}]") for index, item in enumerate(value)
    ]
    return generations, True


def _describe_problem(name: str, value: Any) -> str:
    if name == "submitted_at":
        return "It must be an ISO 8601 time."
    if name == "cost_source":
        return "It must be reported, estimated or reused."
    return f"It must not be of type {type(value).__name__}."


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise FluxRequestError(
            "generation is text that is not JSON. A Jinja template renders a dict as Python text: "
            "pass hero.output itself, or '{{ ti.xcom_pull(task_ids=\"hero\") | tojson }}'."
        ) from None
