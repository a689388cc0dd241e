"""Answers of the service as typed values.

They are read leniently, because the clusters answer in several shapes. Sources: the OpenAPI
document of api.bfl.ai and published answers of the service.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxGenerationError,
    FluxModeratedError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.bfl.quotes import HIDDEN, hide_reason
from airflow_provider_flux.bfl.redaction import redact_line
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.bfl.storable import is_storable_integer

_MAX_STATUS_CHARACTERS = 80
#: Longest text whose redaction is kept for the next poll.
_MAX_CACHED_CHARACTERS = 128
#: Members of an answer that may hold a reason.
_MEMBERS_WITH_TEXTS = (
    *("details", "result", "error", "message", "detail"),
    "Moderation Reasons",
)
#: Members of an answer that a generation in progress does not have.
_MEMBERS_AT_THE_END = (*_MEMBERS_WITH_TEXTS, "sample", "samples")
_URL = re.compile(r"(?i)\s*https?://")
_MAX_ERROR_CHARACTERS = 300
_MAX_REASON_CHARACTERS = 100
_MAX_AMOUNT_CHARACTERS = 40
#: Credits above this are no cost and no balance. Sums of smaller ones stay finite and exact enough.
_MAX_AMOUNT = 1e12


@dataclass(frozen=True)
class Submission:
    """BFL's answer to a submit: it has accepted the generation and bills it.

    :param request_id: id that BFL gave the generation.
    :param polling_url: URL to poll. A generation lives in one cluster, so the URL is used
        unchanged. ``None`` if the service returned none, which happens for requests with a webhook.
    :param submitted_at: when the submit was answered, in epoch seconds.
    :param cost: credits that the service reported. ``None`` for models whose cost it does not
        report at the submit, for example FLUX.1.
    :param cost_problem: the value that the service reported as the cost, as text, if it is not a
        number from 0 to a trillion. Then ``cost`` is ``None``. ``None`` if there is no problem.
    """

    request_id: str
    polling_url: str | None
    submitted_at: float
    cost: float | None = None
    cost_problem: str | None = None

    @classmethod
    def from_body(cls, body: Mapping[str, Any], *, now: float) -> Submission:
        """Read an ``AsyncResponse`` or an ``AsyncWebhookResponse``.

        :param body: the JSON object of the answer.
        :param now: when the answer arrived, in epoch seconds.
        :raises KeyError: if the object has no id.
        """
        request_id, polling_url = read_id(body), body.get("polling_url")
        if request_id is None:
            raise KeyError("id")
        return cls(
            request_id=request_id,
            polling_url=_read_text(polling_url),
            submitted_at=now,
            cost=read_amount(body.get("cost")),
            cost_problem=describe_bad_amount(body.get("cost")),
        )


@dataclass(frozen=True)
class GenerationResult:
    """BFL's answer to a poll: the status of a generation, and its result once it is ready.

    :param request_id: id of the generation. ``None`` if the answer has none.
    :param status: the status.
    :param status_text: the status as the service wrote it, at most 80 characters.
    :param sample: signed URL of the image or video, valid until the expiry that it names. Not part
        of the repr.
    :param draft_cache: signed URL of the draft cache of a draft video, which mode ``draft_enhance``
        needs. Not part of the repr.
    :param seed: seed that the service used. ``None`` if it does not report one.
    :param cost: credits that the service charged. ``None`` if it does not report them with the
        result.
    :param cost_problem: see :class:`Submission`.
    :param progress: 0 to 1. ``None`` if unknown.
    :param error: reason of a failed generation, redacted. ``None`` if there is none.
    :param moderation_reasons: reasons of a moderated generation, redacted. May be empty.
    """

    request_id: str | None
    status: Status
    status_text: str
    sample: str | None = field(default=None, repr=False)
    draft_cache: str | None = field(default=None, repr=False)
    seed: int | None = None
    cost: float | None = None
    cost_problem: str | None = None
    progress: float | None = None
    error: str | None = None
    moderation_reasons: tuple[str, ...] = ()

    @classmethod
    def from_body(
        cls, body: Mapping[str, Any], *, secrets: tuple[str, ...] = ()
    ) -> GenerationResult:
        """Read the answer to a poll.

        :param body: the JSON object. It has ``status`` or ``state``, and ``result`` may be an
            object, a text or absent. The URLs may be in the lists ``samples`` and ``draft_caches``,
            and that of the image may be the ``result`` itself or beside ``status``. The reason of a
            failure may be in ``details``, ``result.details`` or ``error``.
        :param secrets: texts that ``error`` and ``moderation_reasons`` must not quote.
        """
        text = str(read_status(body))
        common = cls(
            request_id=read_id(body),
            status=Status.of(text),
            status_text=_redact_short(text, *secrets)[:_MAX_STATUS_CHARACTERS],
            progress=read_number(body.get("progress")),
        )
        if body.get("cost") is None and not any(map(body.get, _MEMBERS_AT_THE_END)):
            return common  # as nearly all answers: the generation is in progress
        result = body.get("result")
        if isinstance(result, list) and result:
            result = result[0]
        fields: Mapping[str, Any] = result if isinstance(result, Mapping) else {}
        sample = result if isinstance(result, str) and _URL.match(result) else None
        parts = [body.get("details"), fields.get("details"), result, body.get("error"), body]
        has_texts = any(map(body.get, _MEMBERS_WITH_TEXTS))
        return replace(
            common,
            sample=_first_url(
                *(fields.get("sample"), fields.get("samples"), sample),
                *(body.get("sample"), body.get("samples")),
            ),
            draft_cache=_first_url(fields.get("draft_cache"), fields.get("draft_caches")),
            seed=_read_seed(fields.get("seed")),
            cost=read_amount(body.get("cost")),
            cost_problem=describe_bad_amount(body.get("cost")),
            error=_error_text(parts, secrets) if has_texts else None,
            moderation_reasons=_reasons(parts, secrets) if has_texts else (),
        )

    def without_texts(self) -> GenerationResult:
        """Return the result without the texts of BFL, which may quote a prompt."""
        is_known = self.status is not Status.UNKNOWN
        return replace(
            self,
            status_text=self.status.value if is_known else HIDDEN,
            error=HIDDEN if self.error else None,
            moderation_reasons=tuple(map(hide_reason, self.moderation_reasons)),
        )

    def as_error(self, *, request_id: str, cost: float | None) -> FluxError | None:
        """Return the typed error of a generation that ended without a result.

        :param request_id: id of the generation, for the message.
        :param cost: credits reported at the submit, used if the answer has none.
        :return: the error, or ``None`` if the generation is running or ready.
        """
        facts: dict[str, Any] = {
            "request_id": request_id,
            "cost": self.cost if self.cost is not None else cost,
        }
        if self.status.is_moderated:
            reasons = ", ".join(self.moderation_reasons) or "no reason given"
            subject = (
                "the prompt or an input"
                if self.status is Status.REQUEST_MODERATED
                else "the result"
            )
            return FluxModeratedError(
                f"BFL's moderation refused {subject} of request {request_id} ({reasons}). BFL "
                "does not charge for it. The same request is refused again: change the prompt or "
                "safety_tolerance.",
                reasons=self.moderation_reasons,
                **facts,
            )
        if self.status.is_failure:
            return FluxGenerationError(
                f"BFL ended request {request_id} with status {self.status_text!r}: "
                f"{self.error or 'no reason given'}. BFL does not charge for it.",
                **facts,
            )
        if self.status is Status.TASK_NOT_FOUND:
            return FluxTaskNotFoundError(
                f"BFL does not know request {request_id}: it has expired, or the polling URL "
                "belongs to another region. It was billed, and its result can no longer be "
                "downloaded.",
                **facts,
            )
        return None


def read_status(body: Mapping[str, Any]) -> Any:
    """Return the status of a generation as the service wrote it: ``status``, or else ``state``.

    :param body: the JSON object of an answer.
    """
    return body.get("state") if body.get("status") is None else body["status"]


def read_id(body: Mapping[str, Any]) -> str | None:
    """Return the id of a generation: a text or a number.

    :param body: the JSON object of an answer. Webhooks and gateways call the id ``task_id``.
    :return: the id in one printable line, or ``None`` if there is none.
    """
    for value in (body.get("id"), body.get("task_id")):
        if value and isinstance(value, (str, int)) and not isinstance(value, bool):
            return _redact_short(str(value)) or None
    return None


def _redact_short(text: str, *secrets: str) -> str:
    """Redact an id or a status, which all polls of a generation repeat."""
    is_short = len(text) <= _MAX_CACHED_CHARACTERS
    return (_redact_cached if is_short else redact_line)(text, *secrets)


_redact_cached = lru_cache(maxsize=1024)(redact_line)


def read_number(value: object) -> float | None:
    """Return a JSON number as a float.

    :param value: a JSON value. Python's parser also returns NaN and Infinity.
    :return: the number, or ``None`` if the value is not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_amount(value: object) -> float | None:
    """Return an amount of credits: a cost or a balance.

    :param value: a JSON value.
    :return: the credits, or ``None`` if the value is not a number from 0 to a trillion.
    """
    number = read_number(value)
    return number if number is not None and 0 <= number <= _MAX_AMOUNT else None


def describe_bad_amount(value: object) -> str | None:
    """Return a value that should be an amount of credits and is not, for a warning.

    :param value: a JSON value. ``None`` stands for an amount that is not reported.
    :return: the shortened value, or ``None`` if there is no problem.
    """
    if value is None or read_amount(value) is not None:
        return None
    return redact_line(repr(value))[:_MAX_AMOUNT_CHARACTERS]


def drop_bad_number(value: object) -> object:
    """Return a stored amount of credits; ``None`` for a number that cannot be one.

    :param value: a value of a record, a sidecar or an XCom. A value that is not a number is
        returned unchanged, for the check of its type.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if is_number and read_amount(value) is None else value


def _read_seed(value: object) -> int | None:
    """Return a seed: a whole number, which some JSON writers end with ``.0``.

    A manifest and a database hold no more than 64 bits.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and is_storable_integer(value) else None  # type: ignore[arg-type,return-value]


def _read_text(value: object) -> str | None:
    """Return a text that a record can hold; ``None`` if it is empty or has a lone surrogate."""
    text = value.strip() if isinstance(value, str) else ""
    return text if text and text.encode(errors="ignore").decode() == text else None


def _first_url(*candidates: object) -> str | None:
    """Return the first text of some members, each of which may be a list."""
    for candidate in candidates:
        for value in candidate if isinstance(candidate, list) else [candidate]:
            if text := _read_text(value):
                return text
    return None


def _error_text(parts: Sequence[object], secrets: tuple[str, ...]) -> str | None:
    """Return the reason of an ``Error``: the first part that is a text or has one.

    Sources: ``details.error`` in the OpenAPI document, ``result`` in older answers, ``error`` and
    ``result.details`` in fixtures of public clients.
    """
    for part in parts:
        text = _reason_of(part)
        if text:
            return redact_line(text, *secrets)[:_MAX_ERROR_CHARACTERS]
    return None


def _reason_of(part: object) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return None
    names = ("error", "message", "detail")
    return next((part[name] for name in names if isinstance(part.get(name), str)), None)


def _reasons(parts: Sequence[object], secrets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the reasons of a moderation: those of the first part that has some."""
    for part in parts:
        reasons = part.get("Moderation Reasons") if isinstance(part, Mapping) else part
        texts = [reasons] if isinstance(reasons, str) else reasons
        if isinstance(texts, list) and any(texts):
            return tuple(
                redact_line(str(text), *secrets)[:_MAX_REASON_CHARACTERS] for text in texts
            )
    text = _error_text(parts, secrets)
    return (text[:_MAX_REASON_CHARACTERS],) if text else ()
