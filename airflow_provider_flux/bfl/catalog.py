"""The models of the service, one declarative entry each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.pricing import Flat, PerMegapixel, Price
from airflow_provider_flux.bfl.requests import (
    Flux2Inputs,
    FluxInputs,
    FluxKontextInputs,
    FluxPro11Inputs,
    FluxUltraInputs,
)


@dataclass(frozen=True)
class Model:
    """A generation route of the service.

    :param path: the route below the API host.
    :param schema: what the route accepts.
    :param price: expected credits of a request.
    :param image_fields: fields that carry an input image: never logged, and a reason to allow an
        empty prompt where ``prompt_required`` is false.
    :param sent_defaults: what our operators send when the user gives nothing, where the model's
        documentation page promises a default (and the API's own may differ, as for ``height``).
    :param prompt_required: whether a prompt is needed even beside an input image.
    :param echoes_cost: whether the submit answer reports the cost.
    :param max_active: active tasks per account on this route (source: BFL concurrency limits).
    :param typical_seconds: usual time from submit to Ready.
    """

    name: str
    path: str
    schema: type[FluxInputs]
    price: Price
    image_fields: tuple[str, ...] = ()
    sent_defaults: Mapping[str, Any] = field(default_factory=dict)
    prompt_required: bool = True
    echoes_cost: bool = False
    max_active: int = 24
    typical_seconds: float = 6.0


_REFERENCES = ("input_image", *(f"input_image_{n}" for n in range(2, 9)))

_ALL = (
    Model(
        name="flux-pro-1.1",
        path="/v1/flux-pro-1.1",
        schema=FluxPro11Inputs,
        price=Flat(4),
        image_fields=("image_prompt",),
        prompt_required=False,
        sent_defaults=MappingProxyType(
            {
                "width": 1024,
                "height": 1024,
                "prompt_upsampling": False,
                "safety_tolerance": 2,
                "output_format": "jpeg",
            }
        ),
        typical_seconds=4.5,
    ),
    Model(
        name="flux-pro-1.1-ultra",
        path="/v1/flux-pro-1.1-ultra",
        schema=FluxUltraInputs,
        price=Flat(6),
        image_fields=("image_prompt",),
        prompt_required=False,
        typical_seconds=10.0,
    ),
    Model(
        name="flux-2-pro",
        path="/v1/flux-2-pro",
        schema=Flux2Inputs,
        price=PerMegapixel(first=3, further=1.5),
        image_fields=_REFERENCES,
        echoes_cost=True,
        typical_seconds=10.0,
    ),
    Model(
        name="flux-kontext-pro",
        path="/v1/flux-kontext-pro",
        schema=FluxKontextInputs,
        price=Flat(4),
        image_fields=_REFERENCES[:4],
        typical_seconds=8.0,
    ),
)

MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _ALL})

_ROUTE_NAME = re.compile(r"[a-z0-9][a-z0-9._\-]*(/[a-z0-9][a-z0-9._\-]*)*")


def get_model(name: str) -> Model:
    """Return the entry of a model.

    :raises FluxRequestError: if there is none, with the nearest names.
    """
    model = MODELS.get(name) if isinstance(name, str) else None
    if model is None:
        near = nearest(name, MODELS)
        raise FluxRequestError(
            f"model={name!r} is not a known FLUX model.{near} Known: {', '.join(MODELS)}. "
            "To send a model this version does not know, set validate=False."
        )
    return model


def route_of(name: str) -> str:
    """Return the API path of a model that need not be in the catalog.

    :raises FluxRequestError: if the name cannot be part of a path.
    """
    if name in MODELS:
        return MODELS[name].path
    if not _ROUTE_NAME.fullmatch(name):
        raise FluxRequestError(
            f"model={name!r} cannot be a route of the API: use lower-case letters, digits, '.', '-', '/'."
        )
    return f"/v1/{name}"


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return `` Did you mean ...?`` for a mistyped name, or nothing."""
    near = difflib.get_close_matches(str(name).lower(), list(known), n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(match) for match in near)}?" if near else ""
