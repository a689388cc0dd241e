"""Models of the Airflow configuration, for routes that this version does not know.

A model is described in JSON by a similar model of the catalog, and by the differences::

    {
      "flux-2-ultra": {
        "like": "flux-2-pro",
        "price": 9,
        "parameters": {"detail": {"type": "number", "maximum": 1}}
      }
    }
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from airflow_provider_flux.bfl.catalog import check_route, did_you_mean, get_model, route_of
from airflow_provider_flux.bfl.catalog.model import MediaField, MediaKind, Model
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxRequestError
from airflow_provider_flux.bfl.pricing import Flat

_MEDIA: Mapping[str, MediaKind] = {
    "image": MediaKind.IMAGE,
    "mask": MediaKind.MASK,
    "video": MediaKind.VIDEO,
}
_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    **dict.fromkeys(_MEDIA, str),
}


class _Parameter(BaseModel):
    """A parameter that the model adds or replaces, in the vocabulary of JSON Schema."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["string", "integer", "number", "boolean", "image", "mask", "video"]
    description: str = "As BFL describes it."
    required: bool = False
    default: Any = None
    enum: Annotated[list[str | int | float | bool], Field(min_length=1)] | None = None
    minimum: float | None = None
    maximum: float | None = None
    multiple_of: Annotated[float, Field(gt=0)] | None = Field(None, alias="multipleOf")

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        limits = [
            limit for limit in (self.minimum, self.maximum, self.multiple_of) if limit is not None
        ]
        if limits and self.type not in {"integer", "number"}:
            raise ValueError("minimum, maximum and multipleOf apply only to numbers")
        if self.type == "integer" and not all(limit.is_integer() for limit in limits):
            raise ValueError("minimum, maximum and multipleOf of an integer must be whole numbers")
        return self

    def definition(self) -> tuple[Any, Any]:
        """Return the type and the field for :func:`pydantic.create_model`."""
        limits = Field(ge=self.minimum, le=self.maximum, multiple_of=self.multiple_of)
        kind = Literal[tuple(self.enum)] if self.enum else Annotated[_TYPES[self.type], limits]
        if self.required:
            return kind, Field(description=self.description)
        return kind | None, Field(self.default, description=self.description)


class _CustomModel(BaseModel):
    """The description of a model in the configuration."""

    model_config = ConfigDict(extra="forbid")

    like: str
    path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/\-]+$")] | None = None
    price: Annotated[float, Field(ge=0)] | None = None
    max_active: Annotated[int, Field(ge=1)] | None = None
    typical_seconds: Annotated[float, Field(gt=0)] | None = None
    url_lifetime: Annotated[float, Field(gt=0)] | None = None
    parameters: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], _Parameter] = {}
    without: list[str] = []


def read_models(text: str) -> dict[str, Model]:
    """Read the models that a JSON object describes.

    :param text: the option ``models`` of the section ``[flux]``.
    :return: the models by name.
    :raises FluxConfigurationError: if a model is not valid. The message names the model, the field
        and the fault.
    """
    try:
        described = TypeAdapter(dict[str, _CustomModel]).validate_python(json.loads(text))
        return {name: _build(name, model) for name, model in described.items()}
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = ".".join(str(part) for part in first["loc"])
        subject = f"[flux] models: {location}" if location else "[flux] models"
        raise FluxConfigurationError(
            f"{subject}: {first['msg'].removeprefix('Value error, ')}."
        ) from None
    except FluxRequestError as error:
        raise FluxConfigurationError(f"[flux] models: {error}".rstrip(".") + ".") from None
    except (ValueError, TypeError) as error:
        raise FluxConfigurationError(f"[flux] models cannot be read: {error}.") from None


def _build(name: str, described: _CustomModel) -> Model:
    base = get_model(described.like)
    changes = described.model_dump(
        include={"max_active", "typical_seconds", "url_lifetime"}, exclude_none=True
    )
    if described.price is not None:
        changes["price"] = Flat(described.price)
    if described.parameters or described.without:
        changes["schema_source"] = _schema(name, base, described)
    if unknown := [field for field in described.without if field not in base.fields]:
        near = did_you_mean(unknown[0], base.fields)
        raise FluxRequestError(
            f"{name}.without: {unknown[0]!r} is not a parameter of {base.name}.{near}"
        )
    media = tuple(field for field in base.media if field.name not in described.without)
    media += tuple(
        MediaField(field, _MEDIA[parameter.type], max_pixels=None)
        for field, parameter in described.parameters.items()
        if parameter.type in _MEDIA
    )
    sent = {
        field: value
        for field, value in base.sent_defaults.items()
        if field not in described.without
    }
    if described.path:
        path = check_route(described.path, f"{name}.path={described.path!r}")
    else:
        path = route_of(name, {})
    return replace(
        base, name=name, route=path, media=media, sent_defaults=MappingProxyType(sent), **changes
    )


def _schema(name: str, base: Model, described: _CustomModel) -> type[BaseModel]:
    if base.modes:
        raise FluxRequestError(
            f"{name} is like {base.name}, which has modes, so its parameters cannot be changed."
        )
    if taken := [field for field in described.parameters if hasattr(BaseModel, field)]:
        raise FluxRequestError(
            f"{name}.parameters: {taken[0]!r} is a reserved name. Send it with validate=False"
        )
    kept: dict[str, Any] = {
        field: (info.rebuild_annotation(), info)
        for field, info in base.schema.model_fields.items()
        if field not in described.without
    }
    added: dict[str, Any] = {
        field: parameter.definition() for field, parameter in described.parameters.items()
    }
    title = "".join(word.title() for word in name.replace("/", "-").split("-")) + "Inputs"
    fields: dict[str, Any] = {**kept, **added}
    return create_model(title, __config__=base.schema.model_config, **fields)
