"""Requests: checked parameters, ready to be submitted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from airflow_provider_flux.bfl.catalog import (
    MODELS,
    MediaField,
    MediaKind,
    Model,
    get_model,
    route_of,
)
from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import (
    InlineMedia,
    MediaFile,
    find_media_problems,
    find_media_warnings,
    inputs_of,
    is_path,
    iterate_inputs,
)
from airflow_provider_flux.bfl.pricing import Estimate
from airflow_provider_flux.bfl.storable import find_unstorable
from airflow_provider_flux.bfl.validation import find_problems, find_text_problems, parse_rendered
from airflow_provider_flux.bfl.warnings import find_warnings

#: Users of the DAG may write these texts, so they are never read as the name of a file.
_NEVER_AN_INPUT = frozenset({"prompt", "user", "webhook_url", "webhook_secret"})
_NOT_PART_OF_THE_IMAGE = frozenset({"webhook_url", "webhook_secret"})
#: Largest input that is read if the request is not checked.
_MAX_UNCHECKED_BYTES = 512 * MIB
#: In a request that is not checked, a value with one of these schemes must be an input.
_STORE_SCHEMES = (
    "s3://",
    "s3a://",
    "gs://",
    "gcs://",
    "abfs://",
    "abfss://",
    "file://",
    "local://",
)

#: Rendered texts that leave a parameter out.
_EMPTY_TEXTS = frozenset({"", "None"})


@dataclass(frozen=True)
class GenerationRequest:
    """A request for one image or video.

    :param model: name of the model.
    :param path: route of the model below the API host, for example ``/v1/flux-2-pro``.
    :param parameters: the JSON body. Inputs that were read are
        :class:`~airflow_provider_flux.bfl.inputs.MediaFile` objects. Not part of the repr, because
        it may hold image bytes and a secret.
    :param catalog_model: the model in the catalog. ``None`` if the catalog does not have it.
    :param warnings: sentences for the log.
    :param is_checked: whether the rules of the catalog apply (``validate=True``).
    :param is_prepared: whether the inputs have been read and checked.
    """

    model: str
    path: str
    parameters: Mapping[str, Any] = field(repr=False)
    catalog_model: Model | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    is_checked: bool = True
    is_prepared: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over model, parameters and the bytes of inputs, in hexadecimal.

        Requests for the same image have the same fingerprint. The webhook does not change the
        image, so it is left out. An input that is sent as a URL counts by its URL.
        """
        relevant = {
            name: value
            for name, value in self.parameters.items()
            if name not in _NOT_PART_OF_THE_IMAGE
        }
        canonical = json.dumps(
            [self.model, relevant],
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            default=_identity,
        )
        return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()

    @property
    def media_fields(self) -> Mapping[str, MediaField]:
        """The fields that contain images or videos, by name."""
        known = self.catalog_model.media_fields if self.catalog_model else {}
        if self.is_checked:
            return known
        candidates = {
            name: value for name, value in self.parameters.items() if name not in _NEVER_AN_INPUT
        }
        inputs = [
            name for name, value in candidates.items() if any(map(_is_input, iterate_inputs(value)))
        ]
        fields = {**{name: MediaField(name, MediaKind.FILE) for name in inputs}, **known}
        return {
            name: replace(spec, max_bytes=_MAX_UNCHECKED_BYTES) for name, spec in fields.items()
        }

    def with_inputs(self, inputs: Mapping[str, Any]) -> GenerationRequest:
        """Return the request with its inputs replaced by the files that were read, and check those.

        :param inputs: new values of fields with inputs.
        :raises FluxRequestError: if an input breaks a limit. The message names the field and the
            limit.
        """
        parameters = {**self.parameters, **inputs}
        if self.catalog_model is None or not self.is_checked:
            return replace(self, parameters=parameters, is_prepared=True)
        problems = find_media_problems(self.catalog_model, parameters)
        if problems:
            shown = ", ".join(
                f"{name}={file}" for name, file in _files(self.catalog_model, parameters)
            )
            raise FluxRequestError(f"{self.model}: {'; '.join(problems)}. Given: {shown}")
        warnings = (*self.warnings, *find_media_warnings(self.catalog_model, parameters))
        return replace(self, parameters=parameters, warnings=warnings, is_prepared=True)

    def with_seed(self, seed: int) -> GenerationRequest:
        """Return the request with another seed.

        :param seed: the seed.
        """
        return replace(self, parameters={**self.parameters, "seed": seed})


def build_request(
    model: str,
    parameters: Mapping[str, Any],
    *,
    validate: bool = True,
    rendered: Collection[str] = (),
    models: Mapping[str, Model] = MODELS,
) -> GenerationRequest:
    """Check parameters, and add the documented defaults of the model.

    :param model: name of the model.
    :param parameters: by the service's own names. ``None`` leaves a parameter out.
    :param validate: ``False`` sends a model or parameter that this version does not know.
    :param rendered: names of parameters that come from a template. Templates render to text, so
        for these ``"1024"`` counts as 1024, and ``"None"`` leaves the parameter out.
    :param models: the catalog, by default the built-in models.
    :raises FluxRequestError: if a parameter is not valid. The message names each field, its value
        and the allowed range.
    """
    if not validate:
        unchecked = {
            name: _as_json(value) for name, value in parameters.items() if value is not None
        }
        if broken := find_text_problems(unchecked):
            raise FluxRequestError(f"{model}: {'; '.join(broken.values())}")
        if unstorable := find_unstorable(unchecked):
            raise FluxRequestError(f"{model}: {'; '.join(unstorable)}")
        return GenerationRequest(
            model, route_of(model, models), unchecked, models.get(model), is_checked=False
        )
    catalog_model = get_model(model, models)
    resolved = resolve_mode_alias(catalog_model, parameters)
    if rendered and all(map(_is_certain, resolved.values())):
        # Texts and numbers of the right types, as most rows have them, need no parsing.
        complete = {**catalog_model.sent_defaults, **resolved}
        if not find_problems(catalog_model, complete):
            warnings = tuple(find_warnings(catalog_model, complete))
            return GenerationRequest(model, catalog_model.path, complete, catalog_model, warnings)
    typed = {
        name: parse_rendered(catalog_model, name, value, resolved) if name in rendered else value
        for name, value in resolved.items()
    }
    empty = [
        name for name in catalog_model.media_fields if name in typed and typed[name] in (None, "")
    ]
    supplied = {
        name: _as_json(value)
        for name, value in typed.items()
        if value is not None and name not in empty
    }
    complete = {**catalog_model.sent_defaults, **supplied}
    emptied = [name for name in empty if name in rendered or parameters[name] is not None]
    problems = find_problems(catalog_model, complete) + _lost_inputs(
        catalog_model, complete, emptied
    )
    if problems:
        raise FluxRequestError(f"{model}: {'; '.join(problems)}")
    emptied_warnings = (f"{name} is empty: the request is sent without it" for name in emptied)
    warnings = (*emptied_warnings, *find_warnings(catalog_model, complete))
    return GenerationRequest(model, catalog_model.path, complete, catalog_model, warnings)


def _is_certain(value: Any) -> bool:
    """Whether a rendered value is what it looks like, if the type of its field agrees."""
    if isinstance(value, str):
        return value.strip() not in _EMPTY_TEXTS
    return isinstance(value, (int, float))


def estimate_cost(request: GenerationRequest) -> Estimate:
    """Estimate the cost of a request by the price list of this version.

    If the service reports a cost, that one counts.

    :param request: the request. If its inputs have been read, their sizes count.
    :return: credits and US dollars.
    """
    if request.catalog_model is None:
        return Estimate(None, f"{request.model} is not in the price list of this version")
    inputs = {}
    if any(map(request.parameters.get, request.catalog_model.media_fields)):
        inputs = inputs_of(request.catalog_model, request.parameters)
    sizes = {
        name: [value if isinstance(value, MediaFile) else None for value in group]
        for name, group in inputs.items()
    }
    return request.catalog_model.price.estimate(request.parameters, sizes)


def resolve_mode_alias(model: Model, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a long name of ``mode`` by the name that the service accepts.

    :param model: the model.
    :param parameters: by the service's own names.
    :return: a copy of the parameters.
    """
    mode = parameters.get("mode")
    if not model.modes or not isinstance(mode, str):
        return dict(parameters)
    return {**parameters, "mode": model.mode_aliases.get(mode.strip(), mode.strip())}


def _lost_inputs(
    model: Model, parameters: Mapping[str, Any], emptied: Collection[str]
) -> list[str]:
    """Return the fault of an edit that has lost its only input, or its mask.

    BFL would accept it as a different request, and bill it.
    """
    has_input = bool(inputs_of(model, parameters))
    fields = model.schema_for(parameters).model_fields
    # A required field is already reported as missing.
    required = {name for name in emptied if name in fields and fields[name].is_required()}
    return [
        f"{name} is empty: its template, or the task before, has no value. Leave it out if it is "
        "not needed"
        for name in emptied
        if name not in required
        and (not has_input or model.media_fields[name].kind is MediaKind.MASK)
    ]


def _is_input(value: Any) -> bool:
    return isinstance(value, InlineMedia) or str(value)[:8].lower().startswith(_STORE_SCHEMES)


def _identity(value: Any) -> str:
    if isinstance(value, InlineMedia):  # not read yet
        return hashlib.sha256(value.text.encode()).hexdigest()
    return f"sha256:{value.sha256}" if isinstance(value, MediaFile) else str(value)


def _files(model: Model, parameters: Mapping[str, Any]) -> list[tuple[str, MediaFile]]:
    inputs = inputs_of(model, parameters)
    return [
        (name, value)
        for name, group in inputs.items()
        for value in group
        if isinstance(value, MediaFile)
    ]


def _as_json(value: Any) -> Any:
    """Return tuples as lists and path objects as text, which is what they become in JSON."""
    # A mapped task passes a lazy sequence.
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_as_json(item) for item in value]
    return str(value) if is_path(value) else value
