"""Which operator arguments are known when the DAG is parsed, and which only when the task runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args

from airflow_provider_flux.bfl.catalog import MediaKind, get_model
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import resolve_mode_alias
from airflow_provider_flux.bfl.validation import find_problems
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.landing.output_path import check_output_path
from airflow_provider_flux.landing.target import Reuse
from airflow_provider_flux.media.source import find_source_problems, hide

_JINJA_MARKS = ("{{", "{%", "{#")


def is_template(value: Any) -> bool:
    """Whether the value, or anything in it, is a Jinja template."""
    if isinstance(value, str):
        return any(mark in value for mark in _JINJA_MARKS)
    if isinstance(value, Mapping):
        return any(is_template(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(is_template(item) for item in value)


def is_resolved_later(value: Any) -> bool:
    """Whether the value is only known at run time: a template, an XComArg, or something holding one."""
    if hasattr(value, "iter_references"):  # XComArg and its kin
        return True
    if isinstance(value, Mapping):
        return any(is_resolved_later(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(is_resolved_later(item) for item in value)
    return is_template(value)


def check_output_path_argument(path: Any) -> Any:
    """Return the path as checked text; an XComArg is left to be checked when the task runs.

    :raises FluxRequestError: if no image can be written there.
    """
    return path if hasattr(path, "iter_references") else check_output_path(path)


def check_ledger_path(path: Any) -> Any:
    """Return the folder as checked text, without a slash at its end; what is resolved later is left as it is.

    :raises FluxRequestError: if no records can be kept there.
    """
    if path is None or is_resolved_later(path):
        return path
    text = str(path)
    is_folder = text.startswith("/") or "://" in text
    if not is_folder or not text.strip("/") or not text.isprintable() or set(text) & set("{}"):
        raise FluxRequestError(
            f"ledger_path={text!r} must be a folder, as an absolute path or a URI like s3://my_conn@bucket/ledger, "
            "without placeholders."
        )
    return text.rstrip("/")


def check_reuse(reuse: Any, path: Any, sidecar: Any) -> None:
    """Check whether images can be reused.

    :raises FluxRequestError: if they cannot.
    """
    if reuse not in get_args(Reuse):
        raise FluxRequestError(
            f"reuse={reuse!r} must be one of {', '.join(map(repr, get_args(Reuse)))}."
        )
    if reuse != "never" and path is None:
        raise FluxRequestError(
            f"reuse={reuse!r} needs output_path: an image is looked for where images land."
        )
    if reuse != "never" and not sidecar:
        raise FluxRequestError(
            f"reuse={reuse!r} needs sidecar=True: an image is known by its sidecar."
        )


def merge(named: Mapping[str, Any], parameters: Any) -> dict[str, Any]:
    """Return the named arguments and ``parameters`` as one.

    :raises FluxRequestError: if ``parameters`` is not a dict, or gives a named argument again.
    """
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, Mapping):
        raise FluxRequestError(
            f"parameters is {type(parameters).__name__}, not a dict of model parameters."
        )
    given = {name: value for name, value in named.items() if value is not None}
    twice = sorted(set(given) & set(parameters))
    if twice:
        raise FluxRequestError(
            f"{twice[0]} is given twice: as an argument and in parameters. Keep one."
        )
    return {**given, **parameters}


def take_secret(secret: Any, parameters: Any) -> tuple[str | None, Any, Any]:
    """Return a literal webhook secret, and both arguments without it.

    Template fields are stored in the serialized DAG, where a literal secret could be read.
    """
    within = parameters.get("webhook_secret") if isinstance(parameters, Mapping) else None
    literal = within or secret
    if not literal or is_resolved_later(literal):
        return None, secret, parameters
    if isinstance(parameters, Mapping):
        parameters = {name: value for name, value in parameters.items() if name != "webhook_secret"}
    return literal, None, parameters


def check_literals(model: Any, named: Mapping[str, Any], parameters: Any) -> None:
    """Check at parse time what can be checked; what is resolved later is checked before the submit.

    :raises FluxRequestError: naming each field, its value and the allowed range.
    """
    if is_resolved_later(model):
        return
    entry = get_model(model, known_models())
    if hasattr(parameters, "iter_references") or isinstance(parameters, str):
        merged, unresolved = dict(named), set(entry.fields)
    else:
        merged = merge(named, parameters)
        unresolved = {name for name, value in merged.items() if is_resolved_later(value)}
    literals = {
        name: value
        for name, value in merged.items()
        if name not in unresolved and value is not None
    }
    literals = resolve_mode_alias(entry, literals)
    problems = find_problems(entry, literals, unresolved=unresolved) + find_source_problems(
        entry.media, literals
    )
    if problems:
        raise FluxRequestError(f"{entry.name}: {'; '.join(problems)}")


def sent_defaults(model: Any) -> Mapping[str, Any]:
    """Return the defaults that are sent for a model that is known at parse time."""
    entry = known_models().get(model) if isinstance(model, str) else None
    return entry.sent_defaults if entry else {}


def hide_inputs(model: Any, parameters: Any) -> Any:
    """Return ``parameters`` with base64 in its media fields wrapped, so that Airflow stores none of it."""
    if not isinstance(parameters, Mapping):
        return parameters
    entry = known_models().get(model) if isinstance(model, str) else None
    kinds = {name: spec.kind for name, spec in entry.media_fields.items()} if entry else {}
    return {
        name: _hide(value, kinds.get(name, MediaKind.DRAFT)) for name, value in parameters.items()
    }


def _hide(value: Any, kind: MediaKind) -> Any:
    """Hide what is base64 already; a template such as ``data:image/png;base64,{{ ... }}`` is still to be rendered."""
    if isinstance(value, (list, tuple)):
        return [_hide(item, kind) for item in value]
    return value if is_template(value) else hide(value, kind)


def seconds(name: str, value: float | timedelta, *, minimum: float) -> float:
    """Return a duration argument in seconds.

    :raises FluxRequestError: if it is not a number, or below the minimum.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if (
        isinstance(number, bool)
        or not isinstance(number, (int, float))
        or not minimum <= number < float("inf")
    ):
        raise FluxRequestError(
            f"{name}={value!r} must be a number of seconds or a timedelta, {minimum:g} or more."
        )
    return float(number)


def check_count(name: str, value: Any) -> None:
    """Check a number of tasks; ``None`` is the default.

    :raises FluxRequestError: if it is no whole number, or below 1.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise FluxRequestError(f"{name}={value!r} must be a whole number of 1 or more.")
