"""The answer to a submit that was lost, as a webhook delivers it later.

The receiver in the API server keeps it beside the record, and changes no record: a try may write
that at the same time. Whoever reads an uncertain record next looks for it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.ledger.record import Record, utc_now

#: Key of an answer in the task state store: this prefix and the number of its record.
ANSWER_KEY_PREFIX = "flux.answer."
#: Bytes of the largest answer that is read.
MAX_ANSWER_BYTES = 4096


class DeliveredAnswer(BaseModel):
    """Version 1 of an answer.

    :param schema_version: 1.
    :param claim: ``claim`` of the record whose submit it answers.
    :param request_id: BFL's id of the request, from a webhook with our own reference and secret.
    :param received_at: time of the webhook, in ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    claim: str
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\-]{1,128}$")]
    received_at: str = Field(default_factory=utc_now)


def parse_answer(stored: Any) -> DeliveredAnswer | None:
    """Parse a stored answer; ``None`` if it is none. It is a hint: without it, nothing is settled.

    :param stored: the bytes of a file, or the JSON value of the task state store.
    """
    try:
        if isinstance(stored, bytes):
            return DeliveredAnswer.model_validate_json(stored)
        return DeliveredAnswer.model_validate(stored)
    except ValidationError:
        return None


def accepted_by(answer: DeliveredAnswer, record: Record) -> Generation:
    """Return the generation of a submit whose answer a webhook delivered.

    It has no polling URL, as BFL's own answer to a request with a webhook has none (source:
    ``AsyncWebhookResponse`` in the OpenAPI document). The connection's host is asked by the id.

    :param answer: the answer.
    :param record: the uncertain record.
    """
    cost = record.estimated_cost
    return Generation(
        request_id=answer.request_id,
        polling_url=None,
        model=record.model,
        status=Status.PENDING.value,
        seed=None,
        fingerprint=record.fingerprint,
        cost=cost,
        cost_source=None if cost is None else "estimated",
        estimated_cost=cost,
        submitted_at=record.opened_at,
        reused=False,
        uncertain_submits=0,
        image=None,
        video=None,
    )
