"""Answers of the delivery host become typed errors."""

from __future__ import annotations

import pytest

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.delivery import download_error
from airflow_provider_flux.bfl.errors import FluxError


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, errors.FluxResultExpiredError),
        (404, errors.FluxResultExpiredError),
        (429, errors.FluxServiceError),
        (503, errors.FluxServiceError),
        (418, errors.FluxUntrustedURLError),
    ],
)
def test_a_refused_download_is_a_typed_error(status: int, error: type[FluxError]) -> None:
    assert isinstance(download_error(status, {}, request_id="r"), error)
    assert download_error(200, {}, request_id="r") is None
