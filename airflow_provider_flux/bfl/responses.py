"""Answers of the service as typed values, read leniently: clusters answer in several shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxGenerationError,
    FluxModeratedError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.bfl.redaction import redact


class Status(StrEnum):
    """Where a generation stands. ``UNKNOWN`` is any text this provider does not know."""

    PENDING = "Pending"
    REASONING = "Reasoning"
    GENERATING = "Generating"
    READY = "Ready"
    ERROR = "Error"
    FAILED = "Failed"
    REQUEST_MODERATED = "Request Moderated"
    CONTENT_MODERATED = "Content Moderated"
    TASK_NOT_FOUND = "Task not found"
    UNKNOWN = "Unknown"

    @classmethod
    def of(cls, text: object) -> Status:
        """Return the status a service answer names."""
        try:
            return cls(str(text))
        except ValueError:
            return cls.UNKNOWN

    @property
    def is_success(self) -> bool:
        """Whether the image can be fetched."""
        return self is Status.READY

    @property
    def is_moderated(self) -> bool:
        """Whether moderation ended the generation."""
        return self in {Status.REQUEST_MODERATED, Status.CONTENT_MODERATED}

    @property
    def is_failure(self) -> bool:
        """Whether the generation ended without an image. *Task not found* may still turn up."""
        return self.is_moderated or self in {Status.ERROR, Status.FAILED}


@dataclass(frozen=True)
class Submission:
    """A generation BFL has accepted, and bills.

    :param polling_url: where to ask for the result. A task lives in one cluster, so it is used as it
        was returned; ``None`` when the service returned none (it may not for webhook requests).
    :param cost: credits the service reported at submit; FLUX.1 models report none.
    :param submitted_at: when the submit was answered, in epoch seconds.
    """

    request_id: str
    polling_url: str | None
    submitted_at: float
    cost: float | None = None

    @classmethod
    def from_body(cls, body: Mapping[str, Any], *, now: float) -> Submission:
        """Read an ``AsyncResponse`` or an ``AsyncWebhookResponse``.

        :raises KeyError: if it holds no id.
        """
        polling_url = body.get("polling_url")
        return cls(
            request_id=str(body["id"]),
            polling_url=str(polling_url) if polling_url else None,
            submitted_at=now,
            cost=read_number(body.get("cost")),
        )


@dataclass(frozen=True)
class GenerationResult:
    """What a poll says of a generation.

    :param status_text: the status as the service wrote it.
    :param sample: the signed URL of the image or video, good for 10 minutes or more; never part of the repr.
    :param draft_cache: the signed URL of what mode ``draft_enhance`` needs of a draft video.
    :param cost: credits the service settled on, where it says so.
    :param progress: 0 to 1, or ``None``.
    """

    request_id: str | None
    status: Status
    status_text: str
    sample: str | None = field(default=None, repr=False)
    draft_cache: str | None = field(default=None, repr=False)
    seed: int | None = None
    cost: float | None = None
    progress: float | None = None
    error: str | None = None
    moderation_reasons: tuple[str, ...] = ()

    @classmethod
    def from_body(
        cls, body: Mapping[str, Any], *, secrets: tuple[str, ...] = ()
    ) -> GenerationResult:
        """Read a poll answer: ``status`` or ``state``, a result that is an object, a text or absent.

        :param secrets: what must not be echoed in ``error`` and ``moderation_reasons``.
        """
        text = str(body.get("status", body.get("state")))
        result = body.get("result")
        fields: Mapping[str, Any] = result if isinstance(result, Mapping) else {}
        seed = fields.get("seed")
        return cls(
            request_id=str(body["id"]) if body.get("id") else None,
            status=Status.of(text),
            status_text=text[:80],
            sample=str(fields["sample"]) if fields.get("sample") else None,
            draft_cache=str(fields["draft_cache"]) if fields.get("draft_cache") else None,
            seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
            cost=read_number(body.get("cost")),
            progress=read_number(body.get("progress")),
            error=_error_text(body.get("details"), result, secrets),
            moderation_reasons=_reasons(body.get("details"), secrets),
        )

    def as_error(self, *, request_id: str, cost: float | None) -> FluxError | None:
        """Return the typed error of an ended generation; ``None`` while it runs or when it is Ready."""
        facts: dict[str, Any] = {
            "request_id": request_id,
            "cost": self.cost if self.cost is not None else cost,
        }
        if self.status.is_moderated:
            reasons = ", ".join(self.moderation_reasons) or "no reason given"
            what = (
                "The prompt or an input"
                if self.status is Status.REQUEST_MODERATED
                else "The result"
            )
            return FluxModeratedError(
                f"{what} of request {request_id} was refused by BFL's moderation ({reasons}). It is not charged. "
                "The same request is refused again: change the prompt or safety_tolerance.",
                reasons=self.moderation_reasons,
                **facts,
            )
        if self.status.is_failure:
            return FluxGenerationError(
                f"BFL ended request {request_id} with status {self.status_text!r}: "
                f"{self.error or 'no reason given'}. It is not charged.",
                **facts,
            )
        if self.status is Status.TASK_NOT_FOUND:
            return FluxTaskNotFoundError(
                f"BFL no longer knows request {request_id}: it has expired, or the polling URL is of another "
                "region. What was paid for it cannot be fetched any more.",
                **facts,
            )
        return None


def read_number(value: object) -> float | None:
    """Return a JSON number as a float; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _error_text(details: object, result: object, secrets: tuple[str, ...]) -> str | None:
    """Return the reason of an ``Error``: in ``details.error``, or on older answers in ``result``."""
    for place in (details, result):
        if isinstance(place, Mapping) and isinstance(place.get("error"), str):
            return redact(place["error"], *secrets)[:300]
        if isinstance(place, str) and place:
            return redact(place, *secrets)[:300]
    return None


def _reasons(details: object, secrets: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(details, str) and details:
        return (redact(details, *secrets)[:100],)
    reasons = details.get("Moderation Reasons") if isinstance(details, Mapping) else None
    if isinstance(reasons, str):
        reasons = [reasons]
    return (
        tuple(redact(str(reason), *secrets)[:100] for reason in reasons)
        if isinstance(reasons, list)
        else ()
    )
