"""The format that a single request asks for, by the suffix of its ``output_path``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.landing.suffixes import choose_format, find_suffix_problem
from airflow_provider_flux.operators.arguments import is_resolved_later

_FORMAT = "output_format"


def format_of_path(path: Any, model: Any, parameters: Mapping[str, Any]) -> str | None:
    """Return the ``output_format`` to request for the suffix of a path.

    :param path: argument ``output_path``.
    :param model: argument ``model``.
    :param parameters: parameters that the user has set, without the defaults that are sent.
    :return: ``None`` if the user has chosen a format, or the suffix needs none.
    """
    entry = known_models().get(model) if isinstance(model, str) else None
    if entry is None or not isinstance(path, str) or is_resolved_later(parameters.get("mode")):
        return None
    return choose_format(path, entry, parameters).get(_FORMAT)


def check_literal_suffix(path: Any, model: Any, parameters: Mapping[str, Any]) -> None:
    """Check at parse time that the suffix of a path fits to the literal arguments.

    :param path: argument ``output_path``.
    :param model: argument ``model``.
    :param parameters: named arguments and ``parameters``. With a template in the ``output_format``
        or in the ``mode``, the check waits for the submit.
    :raises FluxRequestError: if it promises another format, with both ways out.
    """
    if not isinstance(path, str) or not isinstance(model, str):
        return
    if any(is_resolved_later(parameters.get(name)) for name in (_FORMAT, "mode")):
        return
    _check(path, find_suffix_problem(path, known_models().get(model), parameters))


def check_suffix(path: Any, request: GenerationRequest) -> None:
    """Check before the submit that the suffix of a path fits to the request.

    :param path: argument ``output_path``, rendered.
    :param request: the request. One that was not checked may have any format.
    :raises FluxRequestError: if it promises another format, with both ways out.
    """
    if isinstance(path, str) and request.is_checked:
        _check(path, find_suffix_problem(path, request.catalog_model, request.parameters))


def _check(path: str, problem: str | None) -> None:
    if problem:
        raise FluxRequestError(f"output_path={path!r} {problem}.")
