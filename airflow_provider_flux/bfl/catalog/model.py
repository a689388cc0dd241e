"""What the catalog says of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel

from airflow_provider_flux.bfl.pricing import Price

MIB = 1024 * 1024
#: Seconds a signed URL lives, where the documentation of the model says nothing else.
IMAGE_URL_LIFETIME = 600.0


class MediaKind(StrEnum):
    """What an input field holds."""

    IMAGE = "image"
    MASK = "mask"
    VIDEO = "video"
    DRAFT = "draft cache"
    FILE = "file"


@dataclass(frozen=True)
class MediaField:
    """A request field that carries an image or a video.

    :param takes_url: whether the service fetches a URL itself; otherwise only base64 is accepted.
    :param max_bytes: size of the file, before base64.
    :param max_pixels: pixels of an image.
    :param min_side: shortest side in pixels.
    :param max_seconds: longest video.
    :param same_size_as: field of the image whose size this one must have.
    """

    name: str
    kind: MediaKind = MediaKind.IMAGE
    takes_url: bool = True
    max_bytes: int = 20 * MIB
    max_pixels: int | None = 20_000_000
    min_side: int | None = None
    max_seconds: float | None = None
    same_size_as: str | None = None


#: What many routes share; a list of parameters is read for the others first.
_COMMON = ("safety_tolerance", "output_format", "seed", "webhook_url", "webhook_secret", "user")


def fields_of(*schemas: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of all fields, those that many routes share last."""
    names = dict.fromkeys(name for schema in schemas for name in schema.model_fields)
    return tuple(sorted(names, key=lambda name: _COMMON.index(name) if name in _COMMON else -1))


@dataclass(frozen=True)
class Model:
    """A generation route of the service.

    :param name: the route below ``/v1/``.
    :param schema: what the route accepts; for a route with modes, what is common to all of them.
    :param modes: schema for each value of ``mode``.
    :param mode_aliases: other words for a mode that BFL's documentation uses.
    :param price: expected credits of a request.
    :param media: fields that carry images or videos: never logged, and read from anywhere.
    :param sent_defaults: what our operators send when the user gives nothing, where the model's
        documentation page promises a default (and the API's own may differ, as for ``height``).
    :param prompt_required: whether a prompt is needed even beside an input image.
    :param output: what the result is.
    :param cost_reported: whether the service reports the cost with the answer to the submit, with the
        result, or never.
    :param max_active: active tasks per account on this route (source: BFL concurrency limits).
    :param url_lifetime: seconds the signed URL of a result lives.
    :param typical_seconds: usual time from submit to Ready.
    :param is_402_ambiguous: whether HTTP 402 may mean "too fast" although there are credits (seen on
        videos submitted back to back).
    """

    name: str
    schema: type[BaseModel]
    price: Price
    modes: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    mode_aliases: Mapping[str, str] = field(default_factory=dict)
    media: tuple[MediaField, ...] = ()
    sent_defaults: Mapping[str, Any] = field(default_factory=dict)
    prompt_required: bool = True
    output: Literal["image", "video"] = "image"
    cost_reported: Literal["at submit", "when ready", "never"] = "never"
    max_active: int = 24
    url_lifetime: float = IMAGE_URL_LIFETIME
    typical_seconds: float = 6.0
    is_402_ambiguous: bool = False
    route: str | None = None

    @property
    def path(self) -> str:
        """The route below the API host."""
        return self.route or f"/v1/{self.name}"

    @property
    def media_fields(self) -> Mapping[str, MediaField]:
        """The media fields by name."""
        return MappingProxyType({one.name: one for one in self.media})

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field of the route, of all its modes."""
        return fields_of(*self.modes.values()) if self.modes else fields_of(self.schema)

    @property
    def has_webhooks(self) -> bool:
        """Whether the route takes a ``webhook_url``."""
        return "webhook_url" in self.fields

    def schema_for(self, parameters: Mapping[str, Any]) -> type[BaseModel]:
        """Return the schema that holds for these parameters: it depends on ``mode``, where there are modes."""
        mode = parameters.get("mode")
        return self.modes.get(mode, self.schema) if isinstance(mode, str) else self.schema
