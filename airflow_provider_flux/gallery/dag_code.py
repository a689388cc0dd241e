"""The request of a card as the code of a task, to copy into a DAG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.gallery.card import Card

_JINJA_START = re.compile(r"\{[{%#]")
_NOT_IN_NAME = re.compile(r"\W+", re.ASCII)


def dag_code_of_card(card: Card) -> str:
    """Return the operator call for the image of a card, as far as the card knows the request.

    :param card: the card.
    """
    size = {"width": card.width, "height": card.height}
    model = known_models().get(card.model)
    known = model.fields if model else ()
    parameters = {name: value for name, value in size.items() if value and name in known}
    return _call(card.key, card.model, card.prompt, card.seed, parameters)


def dag_code_of_sidecar(sidecar: Mapping[str, Any]) -> str:
    """Return the operator call for the request that a sidecar records.

    :param sidecar: content of the sidecar.
    """
    request = sidecar.get("request")
    request = request if isinstance(request, Mapping) else {}
    media = sidecar.get("media")
    uri = media.get("uri") if isinstance(media, Mapping) else None
    parameters = request.get("parameters")
    return _call(
        str(uri or "").rpartition("/")[2],
        request.get("model") or sidecar.get("model"),
        request.get("prompt"),
        sidecar.get("seed"),
        _parameters_of(parameters) if isinstance(parameters, Mapping) else {},
    )


def _parameters_of(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a record as an operator takes them: inputs by their URI."""
    named = {str(name): _name_input(value) for name, value in recorded.items()}
    return {name: value for name, value in named.items() if name != "seed" and value is not None}


def _name_input(value: Any) -> Any:
    """Return the URI of an input; ``None`` for base64, which a record does not have."""
    if isinstance(value, Mapping) and isinstance(value.get("uri"), str):
        return None if value["uri"] == "base64" else value["uri"]
    if isinstance(value, list):
        return [_name_input(item) for item in value]
    return value


def _call(
    name: str, model: object, prompt: object, seed: object, parameters: Mapping[str, Any]
) -> str:
    task_id = _NOT_IN_NAME.sub("_", name.partition(".")[0]).strip("_")[:40] or "image"
    arguments = {"task_id": f"generate_{task_id}", "model": model, "prompt": prompt, "seed": seed}
    known = {key: value for key, value in arguments.items() if value or value == 0}
    lines = [f"    {key}={_literal(value)}," for key, value in known.items()]
    if parameters:
        lines.append("    parameters={")
        lines += [f"        {key!r}: {_literal(value)}," for key, value in parameters.items()]
        lines.append("    },")
    return "\n".join(["FluxGenerateOperator(", *lines, ")"])


def _literal(value: object) -> str:
    """Return a value as Python, whose texts Airflow does not render as templates.

    ``repr`` also escapes control characters, and marks that turn the direction of the text.
    """
    return repr(_escape_jinja(value))


def _escape_jinja(value: object) -> object:
    if isinstance(value, str):
        return _JINJA_START.sub(lambda match: f'{{{{ "{match[0]}" }}}}', value)
    if isinstance(value, Mapping):
        return {str(key): _escape_jinja(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escape_jinja(item) for item in value]
    return value
