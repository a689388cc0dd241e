"""The expiry of a signed URL is read from its own query, and is believed within limits only."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_flux.bfl.expiry import answered_at, describe_time, read_expiry

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC).timestamp()
HOST = "https://delivery.eu2.bfl.ai/a.jpeg"


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("se=2026-11-29T12%3A10%3A00Z&sp=r&sig=x", 600),
        ("sig=x&se=2026-11-29T12:10:00Z", 600),
        ("SE=2026-11-29T12:10:00.5Z", 600.5),
        ("se=2026-11-29T13:10:00%2B01:00", 600),
        ("se=2026-11-29T12:10:00", 600),
        ("se=2026-11-29T11:00:00Z", -3600),
        ("se=2026-11-30", 43200),
        ("X-Amz-Date=20261129T120000Z&X-Amz-Expires=3600&X-Amz-Signature=x", 3600),
        ("x-goog-date=20261129T115000Z&x-goog-expires=900", 300),
        (f"AWSAccessKeyId=a&Expires={int(NOW) + 120}&Signature=b", 120),
    ],
)
def test_the_expiry_is_that_of_the_url(query: str, seconds: float) -> None:
    """Fault 32: a signed URL of an image lives for 10 minutes or an hour, as it says itself."""
    assert read_expiry(f"{HOST}?{query}", NOW) == NOW + seconds


@pytest.mark.parametrize(
    "query",
    [
        "",
        "sig=x",
        "se=",
        "se=soon",
        "se=9999-12-31T23:59:59Z",
        "se=0001-01-01",
        "se=2026-13-29T12:10:00Z",
        f"se={'9' * 5000}",
        "&".join(["se=2026-11-29T12:10:00Z"] * 200),
        "X-Amz-Date=20261129T120000Z&X-Amz-Expires=9999999999999999999999",
        "X-Amz-Date=20261129T120000Z&X-Amz-Expires=-99999999999",
        "X-Amz-Date=today&X-Amz-Expires=60",
        "X-Amz-Expires=60",
        "Expires=nan",
        "Expires=inf",
        "Expires=-1",
        "Expires=9e99",
    ],
)
def test_a_url_without_a_sane_expiry_counts_as_one_without(query: str) -> None:
    assert read_expiry(f"{HOST}?{query}", NOW) is None


@pytest.mark.parametrize("url", ["", "https://[", "not a url", "\x00"])
def test_a_text_that_is_no_url_has_no_expiry(url: str) -> None:
    assert read_expiry(url, NOW) is None


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sun, 99 Nov 2026 12:00:00 GMT"])
def test_without_a_date_the_clock_of_this_machine_counts(date: str | None) -> None:
    assert answered_at({} if date is None else {"Date": date}, NOW) == NOW


@pytest.mark.parametrize(
    "date", ["Sun, 29 Nov 2026 12:00:07 GMT", "Sun, 29 Nov 2026 12:00:07 -0000"]
)
def test_the_date_of_the_answer_beats_the_clock_of_this_machine(date: str) -> None:
    assert answered_at({"Date": date}, NOW + 86400) == NOW + 7


def test_a_time_in_a_message_is_in_utc() -> None:
    assert describe_time(NOW) == "2026-11-29 12:00:00 UTC"
