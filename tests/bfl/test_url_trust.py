"""The API key is sent to hosts of BFL alone, and results are downloaded from hosts of BFL alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxUntrustedURLError
from airflow_provider_flux.bfl.redaction import describe_url
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.url_trust import check_delivery_url, check_polling_url

BFL = FluxSettings(api_key="bfl_k")
LOCAL = FluxSettings(
    api_key="bfl_k",
    base_url="http://127.0.0.1:8080",
    trusted_hosts=("127.0.0.2", "*.flux.internal"),
)

POLLING = [
    "https://api.bfl.ai/v1/get_result?id=1",
    "https://api.eu2.bfl.ai/v1/get_result?id=1",
    "https://api.ice.bfl.ai:443/v1/get_result?id=1",
    "https://gateway.bfl.ai/x",
]
FOREIGN = [
    "http://api.bfl.ai/v1/get_result?id=1",
    "https://evil.example/v1/get_result?id=1",
    "https://api.bfl.ai.evil.example/",
    "https://evilbfl.ai/",
    "https://api.bfl.ai@evil.example/",
    "https://user:pw@api.bfl.ai/",
    "https://api.bfl.ai:8443/",
    "https://api.bfl.ai:port/",
    "ftp://api.bfl.ai/",
    "file:///etc/passwd",
    "//api.bfl.ai/",
    "https://169.254.169.254/latest",
    "https://[::1",
    "https://evil.example\\.bfl.ai/",
    "https://evil.example\\@api.bfl.ai/",
    "https://evil.example%2f.bfl.ai/",
    "https://evil.example;.bfl.ai/",
    "https://evil.example\t.bfl.ai/",
    "https://evil.example\n.bfl.ai/",
    " https://api.bfl.ai/",
    "https://api..bfl.ai/",
    "https://-.bfl.ai/",
    f"https://{'a' * 64}.bfl.ai/",
    "https://äpi.bfl.ai/",
    "",
    "not a url",
]


@pytest.mark.parametrize("url", POLLING)
def test_urls_on_clusters_of_bfl_are_trusted(url: str) -> None:
    assert check_polling_url(url, BFL) == url
    assert check_delivery_url(url, BFL) == url


@pytest.mark.parametrize("url", FOREIGN)
def test_a_url_on_a_foreign_or_ambiguous_host_is_refused(url: str) -> None:
    with pytest.raises(FluxUntrustedURLError):
        check_polling_url(url, BFL)
    with pytest.raises(FluxUntrustedURLError):
        check_delivery_url(url, BFL)


@pytest.mark.parametrize("account", ["bfldeliverysc", "bfldeliveryprodeu4", "bfldelivery"])
def test_a_delivery_storage_account_may_be_downloaded_from_but_never_gets_the_key(
    account: str,
) -> None:
    url = f"https://{account}.blob.core.windows.net/results/a.jpeg?sig=x"
    assert check_delivery_url(url, BFL) == url
    with pytest.raises(FluxUntrustedURLError):
        check_polling_url(url, BFL)


@pytest.mark.parametrize(
    "url",
    [
        "https://other.blob.core.windows.net/a",
        "http://bfldeliverysc.blob.core.windows.net/a",
        "https://bfldelivery.blob.core.windows.net.evil.example/a",
        "https://bfldelivery-x.blob.core.windows.net/a",
    ],
)
def test_a_storage_account_that_is_not_of_bfl_is_refused(url: str) -> None:
    with pytest.raises(FluxUntrustedURLError):
        check_delivery_url(url, BFL)


def test_the_host_of_the_connection_and_its_trusted_hosts_are_trusted() -> None:
    for url in (
        "http://127.0.0.1:8080/v1/get_result?id=1",
        "http://127.0.0.2:8080/v1/get_result?id=1",
        "http://a.flux.internal/x",
        "https://flux.internal/x",
        "https://api.eu.bfl.ai/x",
    ):
        assert check_polling_url(url, LOCAL) == url
    for url in ("http://127.0.0.1:9090/", "http://127.0.0.3:8080/", "http://api.eu.bfl.ai/"):
        with pytest.raises(FluxUntrustedURLError):
            check_polling_url(url, LOCAL)


@given(st.text())
def test_any_text_that_is_not_a_trusted_url_is_refused(url: str) -> None:
    with pytest.raises(FluxUntrustedURLError, match="Refused"):
        check_polling_url(url, BFL)


def test_a_refusal_shows_neither_the_query_nor_the_password_of_a_url() -> None:
    with pytest.raises(FluxUntrustedURLError) as caught:
        check_delivery_url("https://user:pw@evil.example/a.jpeg?sig=SECRET", BFL)
    assert "SECRET" not in str(caught.value)
    assert "pw" not in str(caught.value)
    assert describe_url("https://a.bfl.ai/r/s.jpeg?sig=SECRET") == "https://a.bfl.ai/r/s.jpeg"
