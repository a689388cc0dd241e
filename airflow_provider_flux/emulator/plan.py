"""What a request comes to: what is drawn, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.emulator.drawing.picture import Picture, compose
from airflow_provider_flux.emulator.drawing.sizes import MEGAPIXEL
from airflow_provider_flux.emulator.inputs import Inputs


@dataclass(frozen=True)
class Plan:
    """What is drawn, and what it costs.

    :param cost: credits.
    :param input_mp: megapixels of the inputs; one that is not fetched yet counts as one.
    """

    picture: Picture
    cost: float
    input_mp: float

    @property
    def output_mp(self) -> float:
        """Megapixels that come out."""
        return round(self.picture.width * self.picture.height / MEGAPIXEL, 2)


def make_plan(model: Model, parameters: Mapping[str, Any], inputs: Inputs, seed: int) -> Plan:
    """Return the plan of a request, as far as its inputs are at hand."""
    picture = compose(model, parameters, inputs.files, seed)
    return Plan(picture, _cost(model, parameters, picture, inputs), _input_megapixels(inputs))


def _cost(model: Model, parameters: Mapping[str, Any], picture: Picture, inputs: Inputs) -> float:
    """Return the price of what is really made: where the request leaves it open, the price list counts with less."""
    made: dict[str, Any] = {**parameters, "width": picture.width, "height": picture.height}
    if picture.clip is not None:
        # For the enhancement of a draft no price is published: it costs what the video would without a draft.
        made |= {"mode": picture.clip.mode, "duration": picture.clip.seconds}
    sizes = {
        name: [one if isinstance(one, MediaFile) else None for one in group]
        for name, group in inputs.given.items()
    }
    return model.price.estimate(made, sizes).credits or 0.0


def _input_megapixels(inputs: Inputs) -> float:
    pixels = [
        (one.width or 0) * (one.height or 0) if isinstance(one, MediaFile) else MEGAPIXEL
        for group in inputs.given.values()
        for one in group
    ]
    return round(sum(pixels) / MEGAPIXEL, 2)
