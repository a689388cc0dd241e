"""Decide about the claim of an image: take it, renew it, or wait. Pure: no store, no clock."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from airflow_provider_flux.bfl.redaction import redact_line

#: Longest lifetime of a claim, whatever it says itself, in seconds. It is also the longest time for
#: which a task waits for the claims of others, because whoever may write to the bucket can renew
#: one for ever.
MAX_CLAIM_SECONDS = 3600.0
#: Seconds from a claim to its submit, after which the submit renews the claim.
CLAIM_LEAD_SECONDS = 120.0
#: Seconds that a claim outlives the wait for its image, so that it can land.
_LANDING_SECONDS = 60.0
#: Characters of the names of an owner that a message shows.
_MAX_LABEL_CHARACTERS = 200

#: ``take`` a claim that nobody has, ``renew`` the own one, or ``wait`` for that of another task.
ClaimDecision = Literal["take", "renew", "wait"]


class ClaimOwner(BaseModel):
    """The task instance, and in a batch the row, that generates an image.

    The number of the try does not belong to it, so a retry has the claim of its earlier tries.

    :param dag_id: the DAG; ``None`` outside of a run.
    :param run_id: the DAG run.
    :param task_id: the task.
    :param map_index: the map index; -1 for a task that is not mapped.
    :param key: key of the row; for a single image, that of its path.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int = -1
    key: str = ""

    def is_same(self, other: ClaimOwner) -> bool:
        """Whether two owners are one. Outside of a run, no two owners are.

        :param other: the other owner.
        """
        return self.dag_id is not None and self == other

    @property
    def label(self) -> str:
        """The owner on one line, without control characters and of limited length."""
        index = "" if self.map_index < 0 else f"[{self.map_index}]"
        text = f"{self.dag_id}.{self.task_id}{index}, run {self.run_id}, key {self.key!r}"
        return redact_line(text)[:_MAX_LABEL_CHARACTERS]


@dataclass(frozen=True)
class Claim:
    """A claim as its object describes it. Whoever may write to the bucket may have written it.

    :param owner: who claims the image; ``None`` if the object cannot be read as a claim.
    :param seconds: lifetime from the time at which the store wrote the object, in seconds.
    :param is_released: whether the owner gave the claim back.
    """

    owner: ClaimOwner | None = None
    seconds: float = MAX_CLAIM_SECONDS
    is_released: bool = False


class _ClaimFile(BaseModel):
    """The object of a claim. ``claimed_at`` and ``expires_at`` are for readers."""

    owner: ClaimOwner
    seconds: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
    is_released: StrictBool = False


def claim_seconds(timeout: float) -> float:
    """Return the lifetime of a new claim.

    :param timeout: seconds from the submit for which its owner waits for the image.
    """
    return min(timeout + CLAIM_LEAD_SECONDS + _LANDING_SECONDS, MAX_CLAIM_SECONDS)


def parse_claim(data: bytes) -> Claim:
    """Return the claim in an object. An object that is no claim is one of an unknown owner.

    :param data: content of the object.
    """
    try:
        parsed = _ClaimFile.model_validate(json.loads(data))
    except (ValueError, RecursionError, ValidationError):
        return Claim()
    return Claim(parsed.owner, min(parsed.seconds, MAX_CLAIM_SECONDS), parsed.is_released)


def encode_claim(
    owner: ClaimOwner,
    seconds: float,
    *,
    claimed_at: str,
    expires_at: str,
    token: str,
    is_released: bool = False,
) -> bytes:
    """Return the content of the object of a claim.

    :param owner: who claims the image.
    :param seconds: lifetime of the claim, in seconds.
    :param claimed_at: time of the claim by the clock of its owner, for readers.
    :param expires_at: end of its lifetime by that clock, for readers.
    :param token: random text, so that no two claims have the same bytes.
    :param is_released: whether the owner gives the claim back.
    """
    content = {
        "owner": owner.model_dump(),
        "seconds": seconds,
        "claimed_at": claimed_at,
        "expires_at": expires_at,
        "token": token,
        "is_released": is_released,
    }
    return json.dumps(content, indent=2).encode() + b"\n"


def decide_claim(claim: Claim | None, owner: ClaimOwner, *, age: float) -> ClaimDecision:
    """Decide about an image that a task is about to submit.

    :param claim: the latest claim of the image; ``None`` if there is none.
    :param owner: the task, and in a batch the row, that wants the image.
    :param age: seconds since the store wrote the claim.
    """
    if claim is None or claim.is_released or not age < seconds_to_live(claim):
        return "take"
    if claim.owner is not None and claim.owner.is_same(owner):
        return "renew"
    return "wait"


def seconds_to_live(claim: Claim) -> float:
    """Return the lifetime of a claim, which is limited whatever it says itself.

    :param claim: the claim.
    """
    if math.isnan(claim.seconds):
        return MAX_CLAIM_SECONDS
    return max(0.0, min(claim.seconds, MAX_CLAIM_SECONDS))
