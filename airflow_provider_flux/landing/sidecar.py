"""The sidecar: a small JSON file beside an image that says where it came from. For readers, and for reuse."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

import pendulum
from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_flux import __version__
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary, TaskIdentity

#: IPTC's term for media made by a model that was trained on existing media.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CONTENT_TYPE = "application/json"


class MediaFacts(BaseModel):
    """The file a sidecar describes.

    :param delivered_sha256: of the bytes as BFL delivered them, where ``embed_metadata`` has changed them.
    :param seconds: length of a video.
    :param draft_cache: URI of what ``draft_enhance`` needs of a draft video.
    """

    uri: str
    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str
    delivered_sha256: str | None = None
    seconds: float | None = None
    draft_cache: str | None = None


class Sidecar(BaseModel):
    """Version 1 of the sidecar. Fields are added, never removed or changed, without a new version.

    :param seed: the effective seed.
    :param region_host: host of BFL that made it, from the polling URL.
    :param cost: credits (1 credit = 0.01 USD), ``reported`` by BFL or ``estimated``.
    :param mismatches: what is not as the request wanted it.
    :param reused_from: URI of the image this is a copy of; the ``cost`` is that of the original, paid once.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1] = 1
    digital_source_type: str = DIGITAL_SOURCE_TYPE
    provider_version: str = __version__
    request_id: str
    model: str
    seed: int | None = None
    region_host: str | None = None
    cost: float | None = None
    cost_source: Literal["reported", "estimated"] | None = None
    submitted_at: str
    landed_at: str
    media: MediaFacts
    mismatches: list[str] = []
    request: RequestSummary
    run: TaskIdentity
    reused_from: str | None = None


def uri_of(image_uri: str) -> str:
    """Return the name of the sidecar of an image: ``hero.jpeg.json`` beside ``hero.jpeg``."""
    return f"{image_uri}.json"


def build(
    record: Generation, plan: LandingPlan, media: MediaFacts, mismatches: list[str]
) -> Sidecar:
    """Return the sidecar of an image that has just landed."""
    source = record["cost_source"]
    request = plan.request
    if request.model is None:  # landed by a task that knows no more than the XCom
        request = request.model_copy(
            update={"model": record["model"], "fingerprint": record["fingerprint"]}
        )
    return Sidecar(
        request_id=record["request_id"],
        model=record["model"],
        seed=record["seed"],
        region_host=urlsplit(record["polling_url"] or "").hostname,
        cost=record["cost"],
        cost_source=source if source != "reused" else None,
        submitted_at=record["submitted_at"],
        landed_at=pendulum.now("UTC").isoformat(),
        media=media,
        mismatches=mismatches,
        request=request,
        run=plan.task,
    )


def as_copy(described: Sidecar, copied_from: str, origin: Sidecar | None) -> Sidecar:
    """Return the sidecar of a copy: who made the image, where and for how much, is known from the original.

    An image may take its own place, to be marked; it is a copy then if it was one before.
    """
    is_in_place = copied_from == described.media.uri
    facts: dict[str, Any] = {"reused_from": None if is_in_place else copied_from}
    if origin:
        facts["reused_from"] = origin.reused_from if is_in_place else copied_from
        known = ("request_id", "seed", "region_host", "cost", "cost_source", "submitted_at")
        facts.update({name: getattr(origin, name) for name in known})
    return described.model_copy(update=facts)


def to_bytes(sidecar: Sidecar) -> bytes:
    """Return the sidecar as JSON, as it is stored."""
    return (sidecar.model_dump_json(indent=2) + "\n").encode()


def from_bytes(data: bytes) -> Sidecar | None:
    """Return a sidecar that was stored; ``None`` for anything else, a later version included."""
    try:
        return Sidecar.model_validate_json(data)
    except ValidationError:
        return None
