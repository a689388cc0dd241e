"""Warnings about parameters that the service may refuse, change or ignore.

BFL's documentation does not say, or contradicts itself. The request is sent, and the warning is
logged: only a certain fault is refused before the submit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.aspect_ratio import is_usual_ratio, read_ratio
from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.output_size import find_size_warnings

_MAX_EDITING_TOLERANCE = 2
#: BFL's OpenAPI document of October 2026 allows this much; newer clients of BFL send up to 7.
_MAX_DOCUMENTED_TOLERANCE = 4


def find_warnings(model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """Return the warnings about the parameters of a request.

    :param model: the model.
    :param parameters: by the service's own names.
    :return: one sentence each.
    """
    warnings = find_size_warnings(model, parameters)
    if model.name.startswith("flux-kontext-"):
        warnings += _kontext_warnings(parameters)
    if model.name == "flux-3-image":
        warnings += _flux_3_image_warnings(parameters)
    if "draft" in model.fields:
        warnings += _draft_warnings(parameters)
    warnings += _gap_warnings(model, parameters)
    warnings += _webhook_warnings(parameters)
    return warnings


def _kontext_warnings(parameters: Mapping[str, Any]) -> list[str]:
    warnings = []
    text = parameters.get("aspect_ratio")
    ratio = read_ratio(text) if isinstance(text, str) else None
    if ratio is not None and not is_usual_ratio(ratio):
        warnings.append(
            f"aspect_ratio={text!r} is not between 21:9 and 9:21: the service may refuse it"
        )
    tolerance = parameters.get("safety_tolerance")
    if (
        parameters.get("input_image")
        and isinstance(tolerance, int)
        and tolerance > _MAX_EDITING_TOLERANCE
    ):
        warnings.append(
            f"safety_tolerance={tolerance}: with an input image the service may allow at most "
            f"{_MAX_EDITING_TOLERANCE}"
        )
    return warnings


def _flux_3_image_warnings(parameters: Mapping[str, Any]) -> list[str]:
    tolerance = parameters.get("safety_tolerance")
    if not isinstance(tolerance, int) or tolerance <= _MAX_DOCUMENTED_TOLERANCE:
        return []
    return [
        f"safety_tolerance={tolerance}: the service may allow at most {_MAX_DOCUMENTED_TOLERANCE}, "
        "because BFL's statements differ"
    ]


def _draft_warnings(parameters: Mapping[str, Any]) -> list[str]:
    resolution = parameters.get("resolution", "hd")
    if parameters.get("draft") is not True or resolution == "hd":
        return []
    return [
        f"resolution={resolution!r}: the service may refuse it for a draft, or generate the draft "
        "in hd"
    ]


def _webhook_warnings(parameters: Mapping[str, Any]) -> list[str]:
    if not str(parameters.get("webhook_url") or "").lower().startswith("http://"):
        return []
    return ["webhook_url is not https: the service may refuse it"]


def _gap_warnings(model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """Warn of a gap in the reference images, because a prompt counts them ("image 2")."""
    if not any(map(parameters.get, model.media_fields)):  # as most requests
        return []
    numbered = [
        name
        for name in model.media_fields
        if name == "input_image" or name.startswith("input_image_")
    ]
    is_set = [bool(parameters.get(name)) for name in numbered]
    count = sum(is_set)
    if all(is_set[:count]):
        return []
    missing = numbered[is_set.index(False)]
    return [
        f"{missing} is missing although a later image is set: prompts count the images in order, "
        "without gaps"
    ]
