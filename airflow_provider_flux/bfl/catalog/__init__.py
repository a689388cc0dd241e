"""The catalog: one declarative object for each model of the service, and the search by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from airflow_provider_flux.bfl.catalog.image_models import IMAGE_MODELS
from airflow_provider_flux.bfl.catalog.model import MediaField, MediaKind, Model
from airflow_provider_flux.bfl.catalog.video_models import VIDEO_MODELS
from airflow_provider_flux.bfl.errors import FluxRequestError

__all__ = [
    "MODELS",
    "MediaField",
    "MediaKind",
    "Model",
    "check_route",
    "did_you_mean",
    "get_model",
    "route_of",
]

MODELS: Mapping[str, Model] = MappingProxyType(
    {model.name: model for model in (*IMAGE_MODELS, *VIDEO_MODELS)}
)

#: Names that people write, some of them in BFL's own material, and the models that they mean.
_ALIASES: Mapping[str, str] = {
    "flux-kontext": "'flux-kontext-pro' or 'flux-kontext-max'",
    "flux-fill": "'flux-pro-1.0-fill'",
    "flux-expand": "'flux-pro-1.0-expand'",
    "flux-pro-1.1-raw": "'flux-pro-1.1-ultra' with parameters={'raw': True}",
    "flux-pro": "'flux-pro-1.1' (flux-pro is retired)",
    "flux-2": "'flux-2-pro'",
    "flux-2-klein": "'flux-2-klein-4b' or 'flux-2-klein-9b'",
    "flux-3": "'flux-3-image' or 'flux-3-video'",
    "flux-3-klein": "'flux-3-image-klein'",
    "flux-outpainting": "'flux-tools/outpainting-v1'",
    "flux-erase": "'flux-tools/erase-v1'",
    "flux-deblur": "'flux-tools/deblur-v1'",
    "flux-vto": "'flux-tools/vto-v2'",
}
_ROUTE_NAME = re.compile(r"[a-z0-9][a-z0-9._\-]*(/[a-z0-9][a-z0-9._\-]*)*")
#: First segments of routes that generate nothing: balance, results, finetunes and usage reports
#: (source: the OpenAPI document of api.bfl.ai and BFL's own clients). ``delete_finetune`` deletes.
_ACCOUNT_ROUTES = frozenset(
    {
        *("credits", "get_result", "finetune", "my_finetunes", "finetune_details"),
        *("delete_finetune", "licenses"),
    }
)
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*")
_VERSION = re.compile(r"v\d+")
_WORD = re.compile(r"\d+(?:\.\d+)?b?|v\d+|[a-z]+")


def get_model(name: object, models: Mapping[str, Model] = MODELS) -> Model:
    """Return a model of the catalog.

    :param name: name of the model.
    :param models: the catalog, by default the built-in models.
    :raises FluxRequestError: if the catalog does not have the model. The message suggests a name.
    """
    model = models.get(name) if isinstance(name, str) else None
    if model is None:
        raise FluxRequestError(
            f"model={name!r} is not a known FLUX model.{_suggestion(str(name), models)} Known: "
            f"{', '.join(models)}. To send a model that this version does not know, set "
            "validate=False."
        )
    return model


def route_of(name: str, models: Mapping[str, Model] = MODELS) -> str:
    """Return the API path of a model, whether or not the catalog has it.

    :param name: name of the model.
    :param models: the catalog, by default the built-in models.
    :raises FluxRequestError: if the name cannot be part of a path, or is a route that generates
        nothing, for example ``delete_finetune``.
    """
    if isinstance(name, str) and name in models:
        return models[name].path
    if not isinstance(name, str) or not _ROUTE_NAME.fullmatch(name):
        raise FluxRequestError(
            f"model={name!r:.100} cannot be a route of the API. Use lower-case letters, digits, "
            "'.', '-' and '/'."
        )
    return check_route(f"/v1/{name}", f"model={name!r:.100}")


def check_route(path: str, subject: str) -> str:
    """Return the path of a route to which a generation may be submitted.

    :param path: path below the API host, for example ``/v1/flux-2-pro``.
    :param subject: the argument and its value, for the error.
    :raises FluxRequestError: if the path has an empty or a relative segment, or if the route is
        known and generates nothing.
    """
    root, *segments = path.split("/")
    if root or not segments or not all(map(_SEGMENT.fullmatch, segments)):
        raise FluxRequestError(
            f"{subject} is not a path of the API. Write it like /v1/flux-2-pro, without '..', "
            "empty parts, a query or percent signs."
        )
    names = [segment.lower().replace("-", "_").rstrip("._") for segment in segments]
    rest = names[1:] if _VERSION.fullmatch(names[0]) else names
    if not rest or any(name in _ACCOUNT_ROUTES for name in rest):
        raise FluxRequestError(
            f"{subject} is a route that generates nothing. Write the name of a model."
        )
    if _VERSION.fullmatch(rest[0]):
        raise FluxRequestError(
            f"{subject} has the version of the API twice. Write the name without it: flux-2-pro."
        )
    return path


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest a name for a mistyped one.

    :param name: the name that was written.
    :param known: the names that exist.
    :return: `` Did you mean ...?`` with a leading space, or an empty text.
    """
    near = difflib.get_close_matches(str(name).lower(), list(known), n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(match) for match in near)}?" if near else ""


def _suggestion(name: str, models: Mapping[str, Model]) -> str:
    """Suggest a model: one with the same words in another order, an alias, or a similar name."""
    words = _words(name)
    equivalent = [
        known
        for known in models
        if _words(known) == words or _words(known) == {"flux", "tools", *words}
    ]
    suggestion = " or ".join(repr(known) for known in equivalent)
    suggestion = suggestion or next(
        (target for alias, target in _ALIASES.items() if _words(alias) == words), ""
    )
    return f" Did you mean {suggestion}?" if suggestion else did_you_mean(name, models)


def _words(name: str) -> set[str]:
    """Return the words of a name: ``FLUX.2 [pro]`` has the same words as ``flux-2-pro``."""
    words = {*_WORD.findall(name.lower().removeprefix("flux.")), "flux"}
    return words - {"1"}  # "FLUX.1 [dev]" is flux-dev
