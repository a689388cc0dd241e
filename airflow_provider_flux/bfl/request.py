"""A checked request, ready to be paid for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from airflow_provider_flux.bfl.validation import find_problems, parse_rendered
from airflow_provider_flux.bfl.warnings import find_warnings

#: What a user of the DAG may write; it is never taken for the name of a file to send.
_NEVER_AN_INPUT = frozenset({"prompt", "user", "webhook_url", "webhook_secret"})
_NOT_PART_OF_THE_IMAGE = frozenset({"webhook_url", "webhook_secret"})
#: Largest input that is read where the limits of the catalog do not count.
_MOST_BYTES = 512 * MIB
#: Where files lie; in a request that is not checked such a value must be an input to send along.
_STORE_SCHEMES = ("s3://", "s3a://", "gs://", "gcs://", "abfs://", "abfss://", "file://")


@dataclass(frozen=True)
class GenerationRequest:
    """One image or video to generate.

    :param model: name of the model.
    :param path: route of the model below the API host.
    :param parameters: the JSON body; input files are
        :class:`~airflow_provider_flux.bfl.inputs.MediaFile`. Not part of the repr: it may hold
        image bytes and a secret.
    :param catalog_model: what the catalog says of the model, if it knows it.
    :param warnings: what may not work as meant, to be logged.
    :param is_checked: whether what the catalog says of the model counts (``validate=True``).
    :param is_prepared: whether its inputs have been read and checked.
    """

    model: str
    path: str
    parameters: Mapping[str, Any] = field(repr=False)
    catalog_model: Model | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    is_checked: bool = True
    is_prepared: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 over model, parameters and the bytes of input files: equal for equal images wanted.

        Where the webhook goes does not change the image, so it does not count. An input that is
        sent as a URL counts by its URL.
        """
        wanted = {
            name: value
            for name, value in self.parameters.items()
            if name not in _NOT_PART_OF_THE_IMAGE
        }
        canonical = json.dumps(
            [self.model, wanted],
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            default=_identity,
        )
        return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()

    @property
    def media_fields(self) -> Mapping[str, MediaField]:
        """The fields that carry images or videos."""
        known = self.catalog_model.media_fields if self.catalog_model else {}
        if self.is_checked:
            return known
        given = {
            name: value for name, value in self.parameters.items() if name not in _NEVER_AN_INPUT
        }
        found = [
            name for name, value in given.items() if any(map(_is_input, iterate_inputs(value)))
        ]
        fields = {**{name: MediaField(name, MediaKind.FILE) for name in found}, **known}
        return {name: replace(spec, max_bytes=_MOST_BYTES) for name, spec in fields.items()}

    def with_inputs(self, inputs: Mapping[str, Any]) -> GenerationRequest:
        """Return the request with its media fields replaced, checked as far as their bytes are known.

        :raises FluxRequestError: naming the field, and what the service would refuse about it.
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


def build_request(
    model: str,
    parameters: Mapping[str, Any],
    *,
    validate: bool = True,
    rendered: Collection[str] = (),
    models: Mapping[str, Model] = MODELS,
) -> GenerationRequest:
    """Check parameters and complete them with the documented defaults of the model.

    :param parameters: by the service's own names; ``None`` means "not given".
    :param validate: ``False`` sends a model or parameter this version does not know.
    :param rendered: names of parameters that came out of a template. Templates render to text, so
        for these ``"1024"`` counts as 1024 and ``"None"`` as not given.
    :param models: the catalog.
    :raises FluxRequestError: naming each field, its value and the allowed range.
    """
    if not validate:
        given = {name: _as_json(value) for name, value in parameters.items() if value is not None}
        return GenerationRequest(
            model, route_of(model, models), given, models.get(model), is_checked=False
        )
    entry = get_model(model, models)
    known = resolve_mode_alias(entry, parameters)
    typed = {
        name: parse_rendered(entry, name, value, known) if name in rendered else value
        for name, value in known.items()
    }
    empty = [name for name in entry.media_fields if name in typed and typed[name] in (None, "")]
    given = {
        name: _as_json(value)
        for name, value in typed.items()
        if value is not None and name not in empty
    }
    complete = {**entry.sent_defaults, **given}
    emptied = [name for name in empty if name in rendered or parameters[name] is not None]
    problems = find_problems(entry, complete) + _lost_inputs(entry, complete, emptied)
    if problems:
        raise FluxRequestError(f"{model}: {'; '.join(problems)}")
    warnings = [f"{name} came out empty: sent without it" for name in emptied] + find_warnings(
        entry, complete
    )
    return GenerationRequest(model, entry.path, complete, entry, tuple(warnings))


def estimate_cost(request: GenerationRequest) -> Estimate:
    """Return what a request is expected to cost by the price list of this version, in credits and USD.

    The service is the judge: where it reports a cost, that one counts.
    """
    if request.catalog_model is None:
        return Estimate(None, f"{request.model} is not in the price list of this version")
    inputs = inputs_of(request.catalog_model, request.parameters)
    sizes = {
        name: [one if isinstance(one, MediaFile) else None for one in group]
        for name, group in inputs.items()
    }
    return request.catalog_model.price.estimate(request.parameters, sizes)


def resolve_mode_alias(model: Model, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with a long word for ``mode`` replaced by the one the schema has."""
    mode = parameters.get("mode")
    if not model.modes or not isinstance(mode, str):
        return dict(parameters)
    return {**parameters, "mode": model.mode_aliases.get(mode.strip(), mode.strip())}


def _lost_inputs(
    model: Model, parameters: Mapping[str, Any], emptied: Collection[str]
) -> list[str]:
    """Refuse an edit that has lost its only input, or its mask: it would be paid for as something else."""
    has_input = bool(inputs_of(model, parameters))
    fields = model.schema_for(parameters).model_fields
    required = {
        name for name in emptied if name in fields and fields[name].is_required()
    }  # told to be missing
    return [
        f"{name} came out empty: its template, or the task before, gave none. Leave it out to do "
        "without it"
        for name in emptied
        if name not in required
        and (not has_input or model.media_fields[name].kind is MediaKind.MASK)
    ]


def _is_input(value: Any) -> bool:
    return isinstance(value, InlineMedia) or str(value).startswith(_STORE_SCHEMES)


def _identity(value: Any) -> str:
    if isinstance(value, InlineMedia):  # not read yet
        return hashlib.sha256(value.text.encode()).hexdigest()
    return f"sha256:{value.sha256}" if isinstance(value, MediaFile) else str(value)


def _files(model: Model, parameters: Mapping[str, Any]) -> list[tuple[str, MediaFile]]:
    inputs = inputs_of(model, parameters)
    return [
        (name, one) for name, group in inputs.items() for one in group if isinstance(one, MediaFile)
    ]


def _as_json(value: Any) -> Any:
    """Return tuples as the lists, and path objects as the text, that they become in JSON."""
    if isinstance(value, Sequence) and not isinstance(
        value, (str, bytes)
    ):  # also the lazy one of a mapped task
        return [_as_json(item) for item in value]
    return str(value) if is_path(value) else value
