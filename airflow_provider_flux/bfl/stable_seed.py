"""Seeds that follow from a key and a request, so that the same picture comes again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import GenerationRequest

#: The seed that asks for a stable one, in place of a number.
STABLE = "stable"
#: Parameters that do not change the picture: how it is reported, moderated and encoded.
_NOT_IN_THE_PICTURE = frozenset(
    {"seed", "webhook_url", "webhook_secret", "user", "safety_tolerance", "output_format"}
)
#: Seeds have 31 bits, which every model and every database takes.
_MAX_SEED = 2**31 - 1


def is_stable(seed: Any) -> bool:
    """Whether a seed asks for a stable one: the text ``stable``, in any case.

    :param seed: value of the parameter ``seed``.
    """
    return isinstance(seed, str) and seed.strip().lower() == STABLE


def stable_seed(key: str, model: str, parameters: Mapping[str, Any]) -> int:
    """Return the seed of a request, which depends on nothing but the picture and its name.

    The order of parameters, their types (``1``, ``1.0`` and ``"1"``), and parameters that do not
    change the picture make no difference. Inputs count by the text that names them.

    :param key: key of the row; empty for a request without one.
    :param model: name of the model.
    :param parameters: body of the request. Its own seed does not count.
    :return: a number from 0 to 2,147,483,647.
    """
    relevant = {
        name: _plain(value)
        for name, value in parameters.items()
        if name not in _NOT_IN_THE_PICTURE and value is not None
    }
    return _hash([key, model, relevant])


def reroll_seed(seed: int | None, number: int, fingerprint: str) -> int:
    """Return the seed of another attempt at a picture. The same arguments give the same seed.

    :param seed: seed of the first attempt; ``None`` if BFL drew it.
    :param number: number of the attempt, from 1.
    :param fingerprint: fingerprint of the request.
    :return: a number from 0 to 2,147,483,647, which is not ``seed``.
    """
    rerolled = _hash(["reroll", seed, number, fingerprint])
    return rerolled if rerolled != seed else (rerolled + 1) & _MAX_SEED


def check_has_seed(model: Model, parameters: Mapping[str, Any]) -> None:
    """Check that a model takes a seed.

    :param model: the model.
    :param parameters: parameters of the request, whose ``mode`` counts.
    :raises FluxRequestError: if it has none, so that its pictures cannot be reproduced.
    """
    if "seed" not in model.schema_for(parameters).model_fields:
        raise FluxRequestError(
            f"seed={STABLE!r} needs a model with the parameter seed, which {model.name} does not "
            "have. Leave seed out, or choose another model"
        )


def with_stable_seed(request: GenerationRequest, key: str = "") -> GenerationRequest:
    """Return a request with its stable seed.

    :param request: the checked request, whose seed does not count.
    :param key: key of the row; empty for a request without one.
    :raises FluxRequestError: if the model takes no seed.
    """
    if request.is_checked and request.catalog_model is not None:
        check_has_seed(request.catalog_model, request.parameters)
    seed = stable_seed(key, request.model, request.parameters)
    return replace(request, parameters={**request.parameters, "seed": seed})


def _hash(value: Any) -> int:
    canonical = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str
    )
    digest = hashlib.sha256(canonical.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4]) & _MAX_SEED


def _plain(value: Any) -> Any:
    """Return a value in which numbers and truth values are text, and whole numbers are equal."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    return str(getattr(value, "text", value))
