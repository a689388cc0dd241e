"""Errors travel from the triggerer to the worker as JSON."""

from __future__ import annotations

import json

import pytest

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxError, error_from_dict


def test_an_error_is_rebuilt_from_its_json() -> None:
    sent = errors.FluxModeratedError("refused", reasons=("Violence",), request_id="r", cost=4)
    back = error_from_dict(json.loads(json.dumps(sent.as_dict())))
    assert isinstance(back, errors.FluxModeratedError)
    assert (back.message, back.reasons, back.request_id, back.cost) == (
        "refused",
        ("Violence",),
        "r",
        4,
    )
    assert type(error_from_dict({"type": "os.system"})) is FluxError


def all_errors(base: type[FluxError] = FluxError) -> list[type[FluxError]]:
    # Other modules may have subclasses for themselves, if a test has imported them before.
    subclasses = [cls for cls in base.__subclasses__() if cls.__module__ == errors.__name__]
    return [base, *(sub for cls in subclasses for sub in all_errors(cls))]


@pytest.mark.parametrize("error", all_errors())
def test_every_error_type_is_rebuilt_from_json_and_documents_its_retry(
    error: type[FluxError],
) -> None:
    assert type(error_from_dict(error("m").as_dict())) is error
    assert (
        "retry" in (error.__doc__ or "").lower()
        or error.is_permanent
        or error
        in {FluxError, errors.FluxImageError, errors.FluxStorageError, errors.FluxTransientError}
    )
