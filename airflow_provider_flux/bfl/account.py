"""The account routes: balance, finetunes, and the usage report of licensees. None of them is billed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from airflow_provider_flux.bfl.errors import FluxRequestError, FluxServiceError
from airflow_provider_flux.bfl.protocol import (
    HttpAnswer,
    HttpRequest,
    error_from_answer,
    get_request,
    post_request,
    read_json,
)
from airflow_provider_flux.bfl.responses import read_number
from airflow_provider_flux.bfl.settings import FluxSettings

#: Open-weights models whose licensees report their usage (source: BFL's own clients).
LICENSED_MODELS = ("flux-1-dev", "flux-1-kontext-dev", "flux-1-krea-dev", "flux-tools")
_SLUG = re.compile(r"[a-z0-9][a-z0-9._\-]*")


def credits_request(settings: FluxSettings) -> HttpRequest:
    """Describe the GET of the account's balance."""
    return get_request("/v1/credits", settings)


def read_credits(answer: HttpAnswer) -> float:
    """Read the balance in credits.

    :raises FluxError: if the answer holds none.
    """
    body = read_json(answer)
    credits_left = read_number(body.get("credits")) if isinstance(body, Mapping) else None
    if answer.status == 200 and credits_left is not None:
        return credits_left
    raise error_from_answer(answer, "The balance was refused by BFL")


def finetunes_request(settings: FluxSettings) -> HttpRequest:
    """Describe the GET of the account's finetunes."""
    return get_request("/v1/my_finetunes", settings)


def read_finetunes(answer: HttpAnswer) -> list[Any]:
    """Read the list of finetunes; BFL does not say what an item is.

    :raises FluxError: if the answer holds none.
    """
    found = _member(answer, "finetunes", "The list of finetunes was refused by BFL")
    if isinstance(found, list):
        return found
    raise FluxServiceError("BFL answered with a list of finetunes that is none.")


def finetune_request(finetune_id: str, settings: FluxSettings) -> HttpRequest:
    """Describe the GET of one finetune."""
    return get_request(
        f"/v1/finetune_details?{urlencode({'finetune_id': _checked(finetune_id)})}", settings
    )


def read_finetune(answer: HttpAnswer) -> dict[str, Any]:
    """Read what a finetune was made with.

    :raises FluxRequestError: if there is none with that id, or it is not the account's.
    """
    found = _member(answer, "finetune_details", "The finetune was refused by BFL")
    if isinstance(found, Mapping):
        return dict(found)
    raise FluxServiceError("BFL answered with details of a finetune that are none.")


def delete_finetune_request(finetune_id: str, settings: FluxSettings) -> HttpRequest:
    """Describe the POST that deletes a finetune."""
    body = json.dumps({"finetune_id": _checked(finetune_id)}).encode()
    return post_request("/v1/delete_finetune", body, settings)


def read_deletion(answer: HttpAnswer) -> dict[str, Any]:
    """Read the confirmation: ``status``, ``message``, ``deleted_finetune_id``, ``timestamp``.

    :raises FluxRequestError: if there is none with that id, or it is not the account's.
    """
    body = read_json(answer)
    if answer.status == 200 and isinstance(body, Mapping):
        return dict(body)
    raise error_from_answer(answer, "The finetune was not deleted by BFL")


def usage_request(model: str, generations: int, settings: FluxSettings) -> HttpRequest:
    """Describe the POST that reports how many images were made with open weights.

    :raises FluxRequestError: if the model cannot be part of a path, or the number is not 1 or more.
    """
    if not isinstance(model, str) or not _SLUG.fullmatch(model):
        raise FluxRequestError(
            f"model={model!r} is not a licensed model. Known: {', '.join(LICENSED_MODELS)}."
        )
    if isinstance(generations, bool) or not isinstance(generations, int) or generations < 1:
        raise FluxRequestError(
            f"number_of_generations={generations!r} must be a whole number of 1 or more."
        )
    body = json.dumps({"number_of_generations": generations}).encode()
    return post_request(f"/v1/licenses/models/{model}/usage", body, settings)


def check_usage(answer: HttpAnswer) -> None:
    """Check that a usage report was taken; BFL does not document the body of the answer.

    :raises FluxError: if it was refused.
    """
    if answer.status != 200:
        raise error_from_answer(answer, "The usage report was refused by BFL")


def _member(answer: HttpAnswer, name: str, what: str) -> Any:
    body = read_json(answer)
    if answer.status == 200 and isinstance(body, Mapping):
        return body.get(name)
    raise error_from_answer(answer, what)


def _checked(finetune_id: str) -> str:
    if not isinstance(finetune_id, str) or not finetune_id.strip():
        raise FluxRequestError(f"finetune_id={finetune_id!r} must be the name of a finetune.")
    return finetune_id
