"""The facts about one model: route, schema, inputs, price and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_flux.bfl.pricing import Price

if TYPE_CHECKING:
    from pydantic import BaseModel

MIB = 1024 * 1024
#: Usual seconds that a signed URL lives, unless the documentation of the model says otherwise.
IMAGE_URL_LIFETIME = 600.0


class MediaKind(StrEnum):
    """The kind of input that a field contains."""

    IMAGE = "image"
    MASK = "mask"
    VIDEO = "video"
    DRAFT = "draft cache"
    FILE = "file"


@dataclass(frozen=True)
class MediaField:
    """A request field that carries an image or a video.

    :param name: name of the field.
    :param kind: kind of the input.
    :param takes_url: whether the service fetches a URL itself. If not, it accepts only base64.
    :param max_bytes: largest file in bytes, before base64.
    :param max_pixels: largest number of pixels. ``None`` if there is no limit.
    :param min_side: shortest side in pixels. ``None`` if there is no limit.
    :param max_seconds: longest video in seconds. ``None`` if there is no limit.
    :param same_size_as: field of the image that must have the same size. ``None`` if there is none.
    """

    name: str
    kind: MediaKind = MediaKind.IMAGE
    takes_url: bool = True
    max_bytes: int = 20 * MIB
    max_pixels: int | None = 20_000_000
    min_side: int | None = None
    max_seconds: float | None = None
    same_size_as: str | None = None


#: Fields that many routes share. Readers look for the other fields first.
_COMMON = ("safety_tolerance", "output_format", "seed", "webhook_url", "webhook_secret", "user")


@cache
def fields_of(*schemas: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of all fields of schemas, with those that many routes share at the end.

    :param schemas: schemas of one route.
    """
    names = dict.fromkeys(name for schema in schemas for name in schema.model_fields)
    return tuple(sorted(names, key=lambda name: _COMMON.index(name) if name in _COMMON else -1))


@dataclass(frozen=True)
class Model:
    """A model, which is a generation route of the service.

    Sources: BFL's documentation of the model, its pricing page and its concurrency limits.

    :param name: the route below ``/v1/``.
    :param schema_source: schema of the route's parameters: a class, or its module and name below
        ``bfl.schemas``, for example ``flux1.FluxDevInputs``. If the route has modes, the schema has
        the parameters of all.
    :param price: rule for the expected credits of a request.
    :param mode_sources: module and name of the schema for each value of ``mode``. Empty if the
        route has no modes.
    :param mode_aliases: other names of modes in BFL's documentation, each with its mode.
    :param media: fields that contain images or videos. They are never logged.
    :param sent_defaults: defaults that this provider always sends, because the documentation of the
        model promises them and the API's own may differ, for example ``height``.
    :param prompt_required: whether a prompt is needed even if there is an input image.
    :param output: kind of the result.
    :param image_format: format of each image if the route has no parameter ``output_format``.
        ``None`` if it is not known.
    :param cost_reported: whether the service reports the cost with the answer to the submit, with
        the result, or never.
    :param max_active: requests that may be active at once on this route, for one account.
    :param url_lifetime: usual seconds that the signed URL of a result lives. Each URL names its own
        expiry, which counts.
    :param typical_seconds: usual seconds from the submit to the result, an assumption of this
        version.
    :param is_402_ambiguous: whether HTTP 402 may mean "too fast" although the balance is enough,
        which was observed for videos that were submitted back to back.
    :param route: path below the API host. ``None`` stands for ``/v1/`` and the name.
    """

    name: str
    schema_source: type[BaseModel] | str
    price: Price
    mode_sources: Mapping[str, str] = field(default_factory=dict)
    mode_aliases: Mapping[str, str] = field(default_factory=dict)
    media: tuple[MediaField, ...] = ()
    sent_defaults: Mapping[str, Any] = field(default_factory=dict)
    prompt_required: bool = True
    output: Literal["image", "video"] = "image"
    image_format: Literal["jpeg", "png", "webp"] | None = None
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
    def schema(self) -> type[BaseModel]:
        """The schema of the route's parameters, which is imported now if it was not before."""
        source = self.schema_source
        return _import_schema(source) if isinstance(source, str) else source

    @property
    def modes(self) -> Mapping[str, type[BaseModel]]:
        """The schema for each value of ``mode``. Empty if the route has no modes."""
        sources = self.mode_sources.items()
        return MappingProxyType({mode: _import_schema(source) for mode, source in sources})

    @property
    def media_fields(self) -> Mapping[str, MediaField]:
        """The media fields by name."""
        return MappingProxyType({spec.name: spec for spec in self.media})

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of all fields of the route, in all of its modes."""
        return fields_of(*self.modes.values()) if self.modes else fields_of(self.schema)

    @property
    def default_format(self) -> str:
        """The format of the result if the request names none."""
        if self.output == "video":
            return "mp4"
        field_info = self.schema.model_fields.get("output_format")
        return self.image_format or "jpeg" if field_info is None else str(field_info.default)

    @property
    def has_webhooks(self) -> bool:
        """Whether the route accepts a ``webhook_url``."""
        return "webhook_url" in self.fields

    def schema_for(self, parameters: Mapping[str, Any]) -> type[BaseModel]:
        """Return the schema for the ``mode`` of a request.

        :param parameters: by the service's own names.
        :return: the schema of the mode, or the schema of the route if it has no modes or the mode
            is unknown.
        """
        mode = parameters.get("mode")
        return self.modes.get(mode, self.schema) if isinstance(mode, str) else self.schema


@cache
def _import_schema(source: str) -> type[BaseModel]:
    """Import a schema. A DAG file then costs the schemas of its own models alone.

    :param source: module and name of the class below ``bfl.schemas``.
    """
    module, _, name = source.partition(".")
    schema: type[BaseModel] = getattr(
        import_module(f"airflow_provider_flux.bfl.schemas.{module}"), name
    )
    return schema
