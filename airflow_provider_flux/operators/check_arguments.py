"""The arguments of a batch that concern checks: ``checks``, ``max_rerolls``, ``check_timeout``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.checks.check import Check, parse_checks
from airflow_provider_flux.operators.arguments import is_resolved_later, is_xcom_arg, parse_seconds

#: Most further submits of one row. More of them mean that the prompt, or the check, is wrong.
MAX_REROLLS = 20
_MIN_TIMEOUT = 0.1


def check_checks(value: Any) -> tuple[Check, ...]:
    """Return the checks of a batch.

    :param value: the argument ``checks``. It names code, so no template and no other task gives it.
    :raises FluxRequestError: naming the member that is wrong.
    """
    if is_xcom_arg(value) or is_resolved_later(value):
        raise FluxRequestError(
            "checks is, or holds, a template or the output of another task. Its import paths name "
            "code that runs on the worker. Write them in the DAG file."
        )
    return parse_checks(value)


def refuse_mapped_checks(value: Any, task: Any) -> None:
    """Refuse checks that ``expand()`` gave to a mapped task: they may be the output of another one.

    :param value: the argument ``checks`` of the operator that Airflow made for one map index.
    :param task: the mapped task in the DAG; ``None`` if it is not known.
    :raises FluxRequestError: if ``partial()`` does not name the same checks.
    """
    if value and getattr(task, "partial_kwargs", {}).get("checks") != value:
        raise FluxRequestError(
            "checks of a mapped task may not come from expand(): its import paths name code that "
            "runs on the worker. Pass checks to partial()."
        )


def parse_max_rerolls(value: Any, checks: tuple[Check, ...]) -> int:
    """Return the number of further submits of a row whose image a check rejected.

    :param value: a whole number; text counts as the number that it stands for.
    :param checks: the checks, without which there is nothing to try again.
    :raises FluxRequestError: if it is anything else, or there is no check.
    """
    text = str(value).strip()
    is_number = not isinstance(value, bool) and text.isascii() and text.isdecimal()
    if not is_number or len(text) > 3 or int(text) > MAX_REROLLS:
        raise FluxRequestError(
            f"max_rerolls={value!r} must be a whole number from 0 to {MAX_REROLLS}."
        )
    if int(text) and not checks:
        raise FluxRequestError(
            f"max_rerolls={value!r} has no effect without checks. Set checks, for example "
            '["not_blank"].'
        )
    return int(text)


def parse_check_timeout(value: float | timedelta) -> float:
    """Return the seconds that each check of an image has.

    :param value: the argument ``check_timeout``.
    :raises FluxRequestError: if it is no duration.
    """
    return parse_seconds("check_timeout", value, minimum=_MIN_TIMEOUT)
