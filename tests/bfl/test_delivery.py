"""Answers of the delivery host become typed errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

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


def signed_url(seconds: float) -> str:
    """Return a URL that expires after some seconds."""
    expiry = datetime.now(UTC) + timedelta(seconds=seconds)
    return f"https://delivery.eu2.bfl.ai/a?se={expiry:%Y-%m-%dT%H:%M:%SZ}&sig=secret"


@pytest.mark.parametrize(
    ("url", "is_still_valid", "reason"),
    [
        (signed_url(3600), True, "although it is valid until "),
        (signed_url(-3600), False, "it expired at "),
        (signed_url(90 * 86400), False, "It names no expiry"),
        ("https://delivery.eu2.bfl.ai/a?se=hostile&sig=secret", False, "It names no expiry"),
    ],
)
def test_the_error_of_a_refused_url_tells_its_own_expiry(
    url: str, is_still_valid: bool, reason: str
) -> None:
    """Fault 32: the life of a link is not 10 minutes, but what the link says."""
    error = download_error(403, {}, request_id="r", url=url)
    assert isinstance(error, errors.FluxResultExpiredError)
    assert error.is_still_valid is is_still_valid
    assert reason in str(error)
    assert "secret" not in str(error)


def test_the_clock_of_the_delivery_host_decides_whether_a_url_has_expired() -> None:
    late = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    early = format_datetime(datetime.now(UTC) - timedelta(hours=2), usegmt=True)
    for date, seconds, expected in ((late, 3600, False), (early, -3600, True)):
        error = download_error(403, {"Date": date}, request_id="r", url=signed_url(seconds))
        assert isinstance(error, errors.FluxResultExpiredError)
        assert error.is_still_valid is expected
