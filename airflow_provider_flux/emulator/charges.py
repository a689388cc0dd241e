"""Charges: the credits that a request costs, and the megapixels that they are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.pricing import MEGAPIXEL
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.inputs import Inputs


@dataclass(frozen=True)
class Charge:
    """The cost of a request.

    :param cost: credits.
    :param input_mp: megapixels of the inputs; an input that is not fetched yet counts as one.
    :param output_mp: megapixels of the image, or of one frame of the video.
    """

    cost: float
    input_mp: float
    output_mp: float


def compute_charge(
    model: Model, parameters: Mapping[str, Any], picture: Picture, inputs: Inputs
) -> Charge:
    """Return the charge for a picture.

    :param model: the model of the request.
    :param parameters: the checked body of the request.
    :param picture: the picture of the request, whose real size is charged.
    :param inputs: the inputs of the request.
    """
    output_mp = round(picture.width * picture.height / MEGAPIXEL, 2)
    return Charge(_cost(model, parameters, picture, inputs), _input_megapixels(inputs), output_mp)


def _cost(model: Model, parameters: Mapping[str, Any], picture: Picture, inputs: Inputs) -> float:
    """Return the price of the real size: if the request leaves it open, the price list has less."""
    priced: dict[str, Any] = {**parameters, "width": picture.width, "height": picture.height}
    if picture.clip is not None:
        # BFL publishes no price for the enhancement of a draft. It costs as much as the video
        # would without a draft.
        priced |= {"mode": picture.clip.mode, "duration": picture.clip.seconds}
    sizes = {
        name: [entry if isinstance(entry, MediaFile) else None for entry in group]
        for name, group in inputs.by_field.items()
    }
    return round_credits(model.price.estimate(priced, sizes).credits or 0.0)


def round_credits(credits: float) -> float:
    """Return credits without the dust of binary fractions, such as 0.1 + 0.2.

    :param credits: an amount of credits.
    """
    return round(credits, 6)


def _input_megapixels(inputs: Inputs) -> float:
    pixels = [
        (entry.width or 0) * (entry.height or 0) if isinstance(entry, MediaFile) else MEGAPIXEL
        for group in inputs.by_field.values()
        for entry in group
    ]
    return round(sum(pixels) / MEGAPIXEL, 2)
