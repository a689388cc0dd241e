"""The sidecar: a small JSON file beside an image that records its origin, for readers and reuse."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pendulum
from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue, ValidationError

from airflow_provider_flux import __version__
from airflow_provider_flux.bfl.responses import drop_bad_number
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary, TaskIdentity
from airflow_provider_flux.landing.rejection import RejectionNote
from airflow_provider_flux.landing.review_note import ReviewNote

#: IPTC's term for media that a model made which was trained on existing media.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CONTENT_TYPE = "application/json"
#: Bytes of the largest sidecar: more than any prompt has.
MAX_SIDECAR_BYTES = 2 * 1024 * 1024
#: Fields that the sidecar of a copy takes from the original.
_FIELDS_OF_ORIGIN = (
    "request_id",
    "seed",
    "region_host",
    "cost",
    "cost_source",
    "submitted_at",
)


class RenditionFacts(BaseModel):
    """A rendition of the file that a sidecar describes.

    :param uri: where it is.
    :param sha256: hash of its bytes, in hexadecimal.
    :param bytes: number of its bytes.
    :param width: pixels.
    :param height: pixels.
    :param content_type: its MIME type.
    :param spec: how it was made: the members of ``renditions`` that are set.
    """

    uri: str
    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str
    spec: dict[str, JsonValue] = {}


class MediaFacts(BaseModel):
    """The file that a sidecar describes.

    :param uri: where the file is.
    :param sha256: hash of its bytes, in hexadecimal.
    :param bytes: number of its bytes.
    :param width: pixels.
    :param height: pixels.
    :param content_type: its MIME type.
    :param delivered_sha256: hash of the bytes as BFL delivered them, if ``embed_metadata`` changed
        them.
    :param seconds: length of a video.
    :param draft_cache: URI of the file that ``draft_enhance`` needs of a draft video.
    :param renditions: the renditions of an image by name.
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
    renditions: dict[str, RenditionFacts] = {}


class Sidecar(BaseModel):
    """Version 1 of the sidecar. Fields are only added, not removed or changed, within a version.

    :param schema_version: version of this schema.
    :param digital_source_type: IPTC's term for the origin of the media.
    :param provider_version: version of this package.
    :param request_id: id that BFL gave the generation.
    :param model: name of the model.
    :param seed: the effective seed.
    :param region_host: host of BFL that made the image, from the polling URL.
    :param cost: credits (1 credit = 0.01 USD).
    :param cost_source: ``reported`` by BFL, or ``estimated``.
    :param submitted_at: time of the submit, ISO 8601.
    :param landed_at: time of the landing, ISO 8601.
    :param media: the file.
    :param mismatches: differences between the result and the request.
    :param request: what was requested.
    :param run: the task instance that landed the image.
    :param reused_from: URI of the image that this one is a copy of. The ``cost`` is that of the
        original, which BFL billed once.
    :param review: the decision of a review about the image; ``None`` without one.
    :param rejection: why a check rejected the image; ``None`` if none did.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1] = 1
    digital_source_type: str = DIGITAL_SOURCE_TYPE
    provider_version: str = __version__
    request_id: str
    model: str
    seed: int | None = None
    region_host: str | None = None
    cost: Annotated[float | None, BeforeValidator(drop_bad_number)] = None
    cost_source: Literal["reported", "estimated"] | None = None
    submitted_at: str
    landed_at: str
    media: MediaFacts
    mismatches: list[str] = []
    request: RequestSummary
    run: TaskIdentity
    reused_from: str | None = None
    review: ReviewNote | None = None
    rejection: RejectionNote | None = None


def build_sidecar(
    generation: Generation, plan: LandingPlan, media: MediaFacts, mismatches: list[str]
) -> Sidecar:
    """Return the sidecar of an image that has just landed.

    :param generation: the generation of the image.
    :param plan: the plan by which it landed.
    :param media: the file.
    :param mismatches: differences between the result and the request.
    """
    source = generation["cost_source"]
    request = plan.request
    if request.model is None:  # the task that landed it knows only the XCom
        known = {"model": generation["model"], "fingerprint": generation["fingerprint"]}
        request = request.model_copy(update=known)
    return Sidecar(
        request_id=generation["request_id"],
        model=generation["model"],
        seed=generation["seed"],
        region_host=urlsplit(generation["polling_url"] or "").hostname,
        cost=generation["cost"],
        cost_source=source if source != "reused" else None,
        submitted_at=generation["submitted_at"],
        landed_at=pendulum.now("UTC").isoformat(),
        media=media,
        mismatches=mismatches,
        request=request,
        run=plan.task,
        review=plan.review,
        rejection=plan.rejection,
    )


def with_origin(sidecar: Sidecar, copied_from: str, origin: Sidecar | None) -> Sidecar:
    """Return the sidecar of a copy, with what the sidecar of the original records.

    An image that is written again under its own name, to mark it, is a copy only if it was one
    before.

    :param sidecar: the sidecar without an origin.
    :param copied_from: URI of the original.
    :param origin: the sidecar of the original, if it has one.
    """
    is_in_place = copied_from == sidecar.media.uri
    changes: dict[str, Any] = {"reused_from": None if is_in_place else copied_from}
    if origin:
        changes["reused_from"] = origin.reused_from if is_in_place else copied_from
        changes.update({name: getattr(origin, name) for name in _FIELDS_OF_ORIGIN})
    return sidecar.model_copy(update=changes)


def with_renditions(sidecar: Sidecar, renditions: dict[str, RenditionFacts]) -> Sidecar:
    """Return a sidecar with other renditions.

    :param sidecar: the sidecar.
    :param renditions: the renditions by name.
    """
    media = sidecar.media.model_copy(update={"renditions": renditions})
    return sidecar.model_copy(update={"media": media})


def encode_sidecar(sidecar: Sidecar) -> bytes:
    """Return a sidecar as the JSON that is stored.

    :param sidecar: the sidecar.
    """
    return (sidecar.model_dump_json(indent=2) + "\n").encode()


def is_sidecar(data: bytes) -> bool:
    """Whether the content of an object is that of a sidecar, of whatever version.

    :param data: the content.
    """
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


def parse_sidecar(data: bytes) -> Sidecar | None:
    """Parse the content of a stored sidecar.

    :param data: the content.
    :return: ``None`` if it is anything else, for example a sidecar of a later version.
    """
    try:
        return Sidecar.model_validate_json(data)
    except ValidationError:
        return None
