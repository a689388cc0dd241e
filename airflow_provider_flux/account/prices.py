"""The price that counts for a submit if its own is not known: the dearest of its family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.pricing import (
    ByValue,
    Flat,
    PerInputSecond,
    PerMegapixel,
    PerSecond,
    PerUpscaledSecond,
    Price,
)
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.bfl.responses import read_amount
from airflow_provider_flux.configured_models import known_models

#: Megapixels of the largest image of FLUX.2, and of one input image of that size.
_MOST_MEGAPIXELS = 4
#: Megapixels of the largest video that is upscaled, times the largest factor of 2 for each side.
_UPSCALED_MEGAPIXELS = 2560 * 1440 / 1e6 * 4
_FAMILY = re.compile(r"flux-(?:tools|kontext|pro|\d+)(?:-video)?")


def price_of(request: GenerationRequest) -> float:
    """Return the credits that count for a submit before BFL answers.

    :param request: the request. If its inputs have been read, their sizes count.
    """
    return expected_price(request.model, estimate_cost(request).credits)


def expected_price(model: str, estimate: float | None) -> float:
    """Return an estimate, or the dearest price of the model's family if there is none.

    :param model: name of the model.
    :param estimate: credits by the price list; ``None`` if they are not known.
    """
    return estimate if estimate is not None else find_dearest(model, known_models())


def counted_credits(generation: Mapping[str, Any]) -> float:
    """Return the credits that count for an accepted generation.

    :param generation: the generation. If BFL did not report its cost, its expected price counts.
    """
    cost = read_amount(generation.get("cost"))
    if cost is not None:
        return cost
    return expected_price(
        str(generation.get("model")), read_amount(generation.get("estimated_cost"))
    )


def find_dearest(name: str, models: Mapping[str, Model]) -> float:
    """Return the dearest price of a model, else of its family, else of all models.

    :param name: name of the model.
    :param models: the known models.
    """
    if name in models:
        return _most_of(models[name].price)
    family = _family_of(name)
    relatives = [model for model in models.values() if family and _family_of(model.name) == family]
    return max(_most_of(model.price) for model in relatives or models.values())


def _family_of(name: str) -> str:
    match = _FAMILY.match(name)
    return match.group() if match else ""


def _most_of(price: Price) -> float:
    """Return the credits of the dearest request by a price rule."""
    match price:
        case Flat():
            return price.per_image
        case PerMegapixel():
            return round(price.first + price.further * (2 * _MOST_MEGAPIXELS - 1), 6)
        case ByValue():
            return max(price.prices.values())
        case PerSecond():
            return max(
                max(rates.values()) * price.longest[mode] for mode, rates in price.rates.items()
            )
        case PerInputSecond():
            return price.rate * price.longest
        case PerUpscaledSecond():
            rate = max(price.precise, price.creative)
            return float(round(rate * _UPSCALED_MEGAPIXELS * price.longest))
    return max(price.estimate({}, {}).credits or 0.0, 1.0)
