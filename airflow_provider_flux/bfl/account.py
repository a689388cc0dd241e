"""The routes of the account: balance, finetunes and usage reports. None of them is billed.

Sources: the OpenAPI document of api.bfl.ai and BFL's own clients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from airflow_provider_flux.bfl.errors import FluxRequestError, FluxServiceError
from airflow_provider_flux.bfl.http_errors import error_from_answer
from airflow_provider_flux.bfl.http_messages import (
    HttpAnswer,
    HttpRequest,
    get_request,
    post_request,
    read_json,
)
from airflow_provider_flux.bfl.responses import describe_bad_amount, read_amount
from airflow_provider_flux.bfl.settings import FluxSettings

#: Models with open weights whose licensees report their usage (source: BFL's own clients).
LICENSED_MODELS = ("flux-1-dev", "flux-1-kontext-dev", "flux-1-krea-dev", "flux-tools")
_PATH_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._\-]*")


def credits_request(settings: FluxSettings) -> HttpRequest:
    """Describe the GET of the account's balance.

    :param settings: the account.
    """
    return get_request("/v1/credits", settings)


def read_credits(answer: HttpAnswer) -> float:
    """Read the balance in credits.

    :param answer: the answer of the service.
    :raises FluxError: if the answer has no balance, or one that is not a number from 0 to a
        trillion.
    """
    body = read_json(answer)
    value = body.get("credits") if isinstance(body, Mapping) else None
    credits_left = read_amount(value)
    if answer.status == 200 and credits_left is not None:
        return credits_left
    if answer.status == 200 and (problem := describe_bad_amount(value)):
        raise FluxServiceError(
            f"BFL reported a balance of {problem}, which is not a number from 0 to a trillion. The "
            "balance is unknown."
        )
    raise error_from_answer(answer, "BFL did not return the balance")


def finetunes_request(settings: FluxSettings) -> HttpRequest:
    """Describe the GET of the account's finetunes.

    :param settings: the account.
    """
    return get_request("/v1/my_finetunes", settings)


def read_finetunes(answer: HttpAnswer) -> list[Any]:
    """Read the list of finetunes. BFL does not document its items.

    :param answer: the answer of the service.
    :raises FluxError: if the answer has no list.
    """
    finetunes = _member(answer, "finetunes", "BFL did not return the list of finetunes")
    if isinstance(finetunes, list):
        return finetunes
    raise FluxServiceError("The finetunes in BFL's answer are not a list.")


def finetune_request(finetune_id: str, settings: FluxSettings) -> HttpRequest:
    """Describe the GET of one finetune.

    :param finetune_id: name of the finetune.
    :param settings: the account.
    :raises FluxRequestError: if the name is empty.
    """
    return get_request(
        f"/v1/finetune_details?{urlencode({'finetune_id': _check_finetune_id(finetune_id)})}",
        settings,
    )


def read_finetune(answer: HttpAnswer) -> dict[str, Any]:
    """Read the details of a finetune.

    :param answer: the answer of the service.
    :raises FluxRequestError: if the finetune does not exist or belongs to another account.
    :raises FluxError: if the answer has no details.
    """
    details = _member(answer, "finetune_details", "BFL did not return the finetune")
    if isinstance(details, Mapping):
        return dict(details)
    raise FluxServiceError("The finetune details in BFL's answer are not an object.")


def delete_finetune_request(finetune_id: str, settings: FluxSettings) -> HttpRequest:
    """Describe the POST that deletes a finetune.

    :param finetune_id: name of the finetune.
    :param settings: the account.
    :raises FluxRequestError: if the name is empty.
    """
    body = json.dumps({"finetune_id": _check_finetune_id(finetune_id)}).encode()
    return post_request("/v1/delete_finetune", body, settings)


def read_deletion(answer: HttpAnswer) -> dict[str, Any]:
    """Read the confirmation of a deletion.

    :param answer: the answer of the service.
    :return: ``status``, ``message``, ``deleted_finetune_id`` and ``timestamp``.
    :raises FluxRequestError: if the finetune does not exist or belongs to another account.
    :raises FluxError: if the finetune was not deleted for another reason.
    """
    body = read_json(answer)
    if answer.status == 200 and isinstance(body, Mapping):
        return dict(body)
    raise error_from_answer(answer, "BFL did not delete the finetune")


def usage_request(model: str, generations: int, settings: FluxSettings) -> HttpRequest:
    """Describe the POST that reports how many images were generated with open weights.

    :param model: one of :data:`LICENSED_MODELS`, or a model that BFL licenses later.
    :param generations: number of images, 1 or more.
    :param settings: the account.
    :raises FluxRequestError: if the model cannot be part of a path, or the number is not 1 or more.
    """
    if not isinstance(model, str) or not _PATH_SEGMENT.fullmatch(model):
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
    """Check that BFL accepted a usage report. It does not document the body of the answer.

    :param answer: the answer of the service.
    :raises FluxError: if BFL refused the report.
    """
    if answer.status != 200:
        raise error_from_answer(answer, "BFL refused the usage report")


def _member(answer: HttpAnswer, name: str, refusal: str) -> Any:
    body = read_json(answer)
    if answer.status == 200 and isinstance(body, Mapping):
        return body.get(name)
    raise error_from_answer(answer, refusal)


def _check_finetune_id(finetune_id: str) -> str:
    if not isinstance(finetune_id, str) or not finetune_id.strip():
        raise FluxRequestError(f"finetune_id={finetune_id!r} must be the name of a finetune.")
    return finetune_id
