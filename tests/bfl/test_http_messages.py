"""The header Retry-After is read in both of its forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from airflow_provider_flux.bfl import errors, http_messages, protocol
from airflow_provider_flux.bfl.http_messages import HttpAnswer


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    assert http_messages.parse_retry_after({"Retry-After": "7"}) == 7
    assert http_messages.parse_retry_after({"Retry-After": "-3"}) == 0
    assert http_messages.parse_retry_after({"Retry-After": "1e9"}) == 300
    assert http_messages.parse_retry_after({"Retry-After": "nan"}) is None
    assert http_messages.parse_retry_after({"Retry-After": "soon"}) is None
    assert http_messages.parse_retry_after({}) is None
    assert (
        http_messages.parse_retry_after(
            {"Retry-After": "Mon, 01 Jan 2024 00:00:00 +99999999999999"}
        )
        is None
    )
    in_a_minute = format_datetime(datetime.now(tz=UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 <= (http_messages.parse_retry_after({"Retry-After": in_a_minute}) or 0) <= 60
    with pytest.raises(errors.FluxServiceError) as caught:
        protocol.read_result(HttpAnswer(503, {"Retry-After": "9"}, b""))
    assert caught.value.retry_after == 9
