"""The arguments of a batch that concern checks, at parse time and in a mapped task."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.checks.check import parse_checks
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.check_arguments import (
    parse_check_timeout,
    parse_max_rerolls,
    refuse_mapped_checks,
)

CHECKS = parse_checks(["not_blank"])


def _operator(**arguments: Any) -> FluxGenerateBatchOperator:
    return FluxGenerateBatchOperator(
        task_id="t", requests=["a fox"], output_path="/tmp/x/{key}.{ext}", **arguments
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"checks": ["blank"]}, r"checks\[0\]='blank' is no check"),
        ({"checks": ["{{ params.check }}"]}, "checks is, or holds, a template"),
        ({"checks": "not_blank"}, "must be a list"),
        ({"checks": ["not_blank"], "max_rerolls": -1}, "max_rerolls=-1 must be a whole number"),
        ({"checks": ["not_blank"], "max_rerolls": 21}, "max_rerolls=21 must be .* from 0 to 20"),
        ({"checks": ["not_blank"], "max_rerolls": True}, "max_rerolls=True must be"),
        ({"max_rerolls": 2}, "max_rerolls=2 has no effect without checks"),
        ({"max_rejected": "few"}, "max_rejected='few' must be a number of rows"),
        ({"check_timeout": 0}, "check_timeout=0 must be a number of seconds"),
    ],
)
def test_a_wrong_argument_is_an_import_error_of_the_dag(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(FluxRequestError, match=message):
        _operator(**arguments)


def test_checks_of_another_task_are_refused_because_they_name_code() -> None:
    other = SimpleNamespace(iter_references=lambda: iter(()))
    with pytest.raises(FluxRequestError, match="name code that runs on the worker"):
        _operator(checks=other)


def test_checks_are_no_template_field_and_numbers_are() -> None:
    fields = set(FluxGenerateBatchOperator.template_fields)
    assert "checks" not in fields
    assert {"max_rerolls", "max_rejected"} <= fields
    assert _operator(checks=["not_blank"], max_rerolls="{{ params.n }}").max_rerolls


def test_numbers_of_templates_are_texts() -> None:
    assert parse_max_rerolls(" 3 ", CHECKS) == 3
    assert parse_check_timeout(timedelta(minutes=1)) == 60
    for value in ("", "three", "1e1", "\u0663", "9999"):
        with pytest.raises(FluxRequestError, match="max_rerolls"):
            parse_max_rerolls(value, CHECKS)


def test_expand_gives_no_checks_and_partial_does() -> None:
    task = SimpleNamespace(partial_kwargs={"checks": ["not_blank"]})
    refuse_mapped_checks(["not_blank"], task)
    refuse_mapped_checks(None, SimpleNamespace(partial_kwargs={}))
    for given in (SimpleNamespace(partial_kwargs={}), None):
        with pytest.raises(FluxRequestError, match="Pass checks to partial"):
            refuse_mapped_checks(["os.system"], given)
