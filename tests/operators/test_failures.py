"""Errors of a task: the message that Airflow shows names the section of the documentation."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxError, FluxLedgerError
from airflow_provider_flux.cli.exit_codes import exit_on_error
from airflow_provider_flux.operators.failures import fail_without_retry

GUIDE = (Path(__file__).parents[2] / errors.DOCUMENTATION).read_text(encoding="utf-8")
SECTIONS = {heading.lower() for heading in re.findall(r"^### (Flux\w+)$", GUIDE, re.MULTILINE)}
CLASSES = [
    item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, FluxError)
]
each_class = pytest.mark.parametrize("error_class", CLASSES)


class HeldByAnotherError(FluxLedgerError):
    """An error of another module, for which the guide has no section."""


@each_class
def test_the_message_of_a_failed_task_ends_with_the_section_of_its_error(
    error_class: type[FluxError],
) -> None:
    with pytest.raises((FluxError, AirflowFailException)) as caught, fail_without_retry(None):
        raise error_class("The store is full.")
    message, _, anchor = str(caught.value).partition(f" See {errors.DOCUMENTATION}#")
    assert message.endswith("The store is full.")
    assert anchor == error_class.__name__.lower()
    assert anchor in SECTIONS


@each_class
def test_a_command_that_fails_prints_the_section_of_its_error(
    error_class: type[FluxError], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), exit_on_error("generate"):
        raise error_class("The store is full.")
    reference = f"See {errors.DOCUMENTATION}#{error_class.__name__.lower()}\n"
    assert capsys.readouterr().err == f"generate: The store is full. {reference}"


def test_a_message_names_its_section_once_if_two_operators_pass_it_on() -> None:
    with pytest.raises(FluxError) as caught, fail_without_retry(None), fail_without_retry(None):
        raise errors.FluxServiceError("BFL is down.")
    assert str(caught.value) == "BFL is down. See docs/errors.md#fluxserviceerror"
    assert caught.value.message == "BFL is down."


def test_an_import_error_of_a_dag_shows_the_section_in_its_traceback() -> None:
    shown = "".join(traceback.format_exception(errors.FluxRequestError("width is 7.")))
    assert shown.endswith("width is 7.\nSee docs/errors.md#fluxrequesterror\n")


def test_an_error_of_another_module_names_the_section_of_its_nearest_base_class() -> None:
    assert HeldByAnotherError("held").reference == "See docs/errors.md#fluxledgererror"
