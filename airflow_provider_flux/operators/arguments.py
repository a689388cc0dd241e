"""Checks of operator arguments: of literals at parse time, of all others at run time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, get_args

from airflow_provider_flux.bfl.catalog import MediaKind, Model, get_model
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import resolve_mode_alias
from airflow_provider_flux.bfl.stable_seed import check_has_seed, is_stable
from airflow_provider_flux.bfl.urls import host_of
from airflow_provider_flux.bfl.validation import find_problems
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.landing.object_name import find_character_problem
from airflow_provider_flux.landing.output_path import check_output_path, has_jinja
from airflow_provider_flux.landing.target import Reuse
from airflow_provider_flux.media.source import find_source_problems, wrap_base64

_JINJA_MARKS = ("{{", "{%", "{#")


def is_template(value: Any) -> bool:
    """Whether a value holds a Jinja template.

    :param value: any value; lists and dicts are searched.
    """
    if isinstance(value, str):
        return any(mark in value for mark in _JINJA_MARKS)
    if isinstance(value, Mapping):
        return any(is_template(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(is_template(item) for item in value)


def is_resolved_later(value: Any) -> bool:
    """Whether a value is known at run time only: it is, or holds, a template or an XComArg.

    :param value: any value; lists and dicts are searched.
    """
    if is_xcom_arg(value):
        return True
    if isinstance(value, Mapping):
        return any(is_resolved_later(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(is_resolved_later(item) for item in value)
    return is_template(value)


def is_xcom_arg(value: Any) -> bool:
    """Whether a value is the output of another task, which Airflow resolves at run time.

    :param value: any value.
    """
    return hasattr(value, "iter_references")


def check_output_path_argument(path: Any, columns: Collection[str] | None = ()) -> Any:
    """Return the path as checked text.

    :param path: a string, an ``ObjectStoragePath``, or an XComArg, which is returned unchanged and
        checked at run time.
    :param columns: columns of a batch that are placeholders, too; ``None`` for any. None by
        default.
    :raises FluxRequestError: if the operator cannot write an image there.
    """
    return path if is_xcom_arg(path) else check_output_path(path, columns)


def check_ledger_path(path: Any) -> Any:
    """Return the folder as checked text, without a slash at its end.

    :param path: a string, an ``ObjectStoragePath`` or ``None``. A template or an XComArg is
        returned unchanged.
    :raises FluxRequestError: if it is no absolute folder.
    """
    return path if path is None or is_resolved_later(path) else check_rendered_ledger_path(path)


def check_rendered_ledger_path(path: Any) -> str:
    """Return the folder as checked text, without a slash at its end. No part of it is a template.

    :param path: a string or a path object.
    :raises FluxRequestError: if it is no absolute folder.
    """
    text = str(path)
    is_absolute = text.startswith("/") or "://" in text
    has_placeholder = bool(set(text) & set("{}"))
    if not is_absolute or not text.strip("/") or not text.isprintable() or has_placeholder:
        raise FluxRequestError(
            f"ledger_path={text!r} must be a folder: an absolute path, or a URI like "
            "s3://my_conn@bucket/ledger. It takes no placeholders."
        )
    if problem := find_character_problem(text):
        raise FluxRequestError(f"ledger_path={text!r} {problem}.")
    return text.rstrip("/")


def refuse_template(argument: str, path: str) -> str:
    """Return a path in which Airflow has rendered every template.

    :param argument: name of the argument, for the error.
    :param path: the path, after Airflow rendered the template fields.
    :raises FluxRequestError: if it holds a template. Then it is a part of a value that another
        task returned, or that a template gave, and is never rendered.
    """
    if has_jinja(path):
        raise FluxRequestError(
            f"{argument}={path!r} holds a template after rendering. Values of other tasks and of "
            "params are not rendered. Write the template in the DAG file."
        )
    return path


def find_webhook_hosts(*sources: Any) -> tuple[str, ...]:
    """Return the hosts of webhooks that the source of a DAG names in plain text.

    A host before a template counts, as in ``https://hooks.example.com/{{ run_id }}``. A template
    may hold values from outside, so a host within one does not.

    :param sources: arguments as the DAG file has them: each a URL, or a dict with a
        ``webhook_url``.
    """
    urls = [
        source.get("webhook_url") if isinstance(source, Mapping) else source for source in sources
    ]
    hosts = (_find_fixed_host(url) for url in urls if isinstance(url, str))
    return tuple(host for host in hosts if host)


def _find_fixed_host(url: str) -> str | None:
    fixed, template, _ = url.partition("{")
    is_whole = not template or "/" in fixed.partition("://")[2]
    return host_of(fixed) if is_whole else None


def check_reuse(reuse: Any, path: Any, sidecar: Any) -> None:
    """Check that the operator can look for existing images.

    :param reuse: argument ``reuse`` of the operator.
    :param path: argument ``output_path``.
    :param sidecar: argument ``sidecar``.
    :raises FluxRequestError: if ``reuse`` is unknown, or if another argument rules it out.
    """
    choices = get_args(Reuse)
    if reuse not in choices:
        raise FluxRequestError(f"reuse={reuse!r} must be one of {', '.join(map(repr, choices))}.")
    if reuse != "never" and path is None:
        raise FluxRequestError(
            f"reuse={reuse!r} needs output_path: the operator looks for images where it lands them."
        )
    if reuse != "never" and not sidecar:
        raise FluxRequestError(
            f"reuse={reuse!r} needs sidecar=True: the operator recognizes an image by its sidecar."
        )


def check_prompt_in_events(prompt_in_events: Any, sidecar: Any, hide_prompt: Any) -> None:
    """Check that the operator can put prompts into asset events.

    :param prompt_in_events: argument ``prompt_in_events`` of the operator.
    :param sidecar: argument ``sidecar``.
    :param hide_prompt: argument ``hide_prompt``.
    :raises FluxRequestError: if another argument rules it out.
    """
    if prompt_in_events and (hide_prompt or not sidecar):
        other = "hide_prompt=False" if hide_prompt else "sidecar=True"
        raise FluxRequestError(
            f"prompt_in_events=True needs {other}: the prompts of the events come from the "
            "sidecars."
        )


def merge_parameters(named: Mapping[str, Any], parameters: Any) -> dict[str, Any]:
    """Return the named arguments and ``parameters`` as one dict.

    :param named: named arguments of the operator by name; those that are ``None`` are left out.
    :param parameters: argument ``parameters`` of the operator: a dict or ``None``.
    :raises FluxRequestError: if ``parameters`` is no dict, or repeats a named argument.
    """
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, Mapping):
        raise FluxRequestError(
            f"parameters is {type(parameters).__name__}, not a dict of model parameters."
        )
    supplied = {name: value for name, value in named.items() if value is not None}
    repeated = sorted(set(supplied) & set(parameters))
    if repeated:
        raise FluxRequestError(
            f"{repeated[0]} is set twice: as an argument and in parameters. Keep one."
        )
    return {**supplied, **parameters}


def split_off_secret(secret: Any, parameters: Any) -> tuple[str | None, Any, Any]:
    """Return a literal webhook secret, and both arguments without it.

    Airflow stores template fields in the serialized DAG, where anyone could read the secret.

    :param secret: argument ``webhook_secret`` of the operator.
    :param parameters: argument ``parameters``, which may hold the secret instead.
    """
    within = parameters.get("webhook_secret") if isinstance(parameters, Mapping) else None
    literal = within or secret
    if not literal or is_resolved_later(literal):
        return None, secret, parameters
    if isinstance(parameters, Mapping):
        parameters = {name: value for name, value in parameters.items() if name != "webhook_secret"}
    return literal, None, parameters


def check_literals(
    model: Any, named: Mapping[str, Any], parameters: Any, *, is_complete: bool = True
) -> None:
    """Check the literal arguments of a request at parse time.

    What is resolved later is checked before the submit.

    :param model: argument ``model`` of the operator.
    :param named: named arguments of the operator by name.
    :param parameters: argument ``parameters``.
    :param is_complete: whether the arguments are the whole request. Otherwise no parameter counts
        as missing. Default ``True``.
    :raises FluxRequestError: naming each field, its value and the allowed range.
    """
    if is_resolved_later(model):
        return
    entry = get_model(model, known_models())
    if is_xcom_arg(parameters) or isinstance(parameters, str):
        merged, unresolved = dict(named), set(entry.fields)
    else:
        merged = merge_parameters(named, parameters)
        unresolved = {name for name, value in merged.items() if is_resolved_later(value)}
    if not is_complete:
        unresolved |= {name for name in entry.fields if merged.get(name) is None}

    literals = {
        name: value
        for name, value in merged.items()
        if name not in unresolved and value is not None
    }
    literals = resolve_mode_alias(entry, literals)
    if is_stable(literals.get("seed")):
        check_has_seed(entry, literals)
        del literals["seed"]
    problems = find_problems(entry, literals, unresolved=unresolved)
    problems += find_source_problems(entry.media, literals)
    if problems:
        raise FluxRequestError(f"{entry.name}: {'; '.join(problems)}")


def sent_defaults(model: Any) -> Mapping[str, Any]:
    """Return the defaults that the provider sends for a model; none for an unknown model.

    :param model: argument ``model`` of the operator.
    """
    entry = _known_model(model)
    return entry.sent_defaults if entry else {}


def hide_inputs(model: Any, parameters: Any) -> Any:
    """Return ``parameters`` with the base64 of its media fields wrapped.

    Airflow then stores a short description in place of the base64.

    :param model: argument ``model`` of the operator.
    :param parameters: argument ``parameters``; anything but a dict is returned unchanged.
    """
    if not isinstance(parameters, Mapping):
        return parameters
    entry = _known_model(model)
    kinds = {name: spec.kind for name, spec in entry.media_fields.items()} if entry else {}
    return {
        name: _hide(value, kinds.get(name, MediaKind.DRAFT)) for name, value in parameters.items()
    }


def parse_seconds(name: str, value: float | timedelta, *, minimum: float) -> float:
    """Return a duration in seconds.

    :param name: name of the argument, for the error.
    :param value: seconds, or a ``timedelta``.
    :param minimum: smallest allowed number of seconds.
    :raises FluxRequestError: if it is no finite number, or below the minimum.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not is_number or not minimum <= number < float("inf"):
        raise FluxRequestError(
            f"{name}={value!r} must be a number of seconds or a timedelta, {minimum:g} or more."
        )
    return float(number)


def check_count(name: str, value: Any) -> None:
    """Check a number of active generations.

    :param name: name of the argument, for the error.
    :param value: a whole number of 1 or more, or ``None`` for the default.
    :raises FluxRequestError: if it is anything else.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise FluxRequestError(f"{name}={value!r} must be a whole number of 1 or more.")


def _known_model(model: Any) -> Model | None:
    return known_models().get(model) if isinstance(model, str) else None


def _hide(value: Any, kind: MediaKind) -> Any:
    """Wrap base64. A template such as ``data:image/png;base64,{{ ... }}`` has to stay text."""
    if isinstance(value, (list, tuple)):
        return [_hide(item, kind) for item in value]
    return value if is_template(value) else wrap_base64(value, kind)
