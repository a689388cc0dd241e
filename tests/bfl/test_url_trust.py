"""The key and the downloads go only where BFL is."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxUntrustedURLError
from airflow_provider_flux.bfl.settings import FluxSettings, read_settings
from airflow_provider_flux.bfl.url_trust import (
    check_delivery_url,
    check_polling_url,
    describe_url,
    redact,
)

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
def test_clusters_of_bfl_are_trusted(url: str) -> None:
    assert check_polling_url(url, BFL) == url
    assert check_delivery_url(url, BFL) == url


@pytest.mark.parametrize("url", FOREIGN)
def test_nobody_else_is(url: str) -> None:
    with pytest.raises(FluxUntrustedURLError):
        check_polling_url(url, BFL)
    with pytest.raises(FluxUntrustedURLError):
        check_delivery_url(url, BFL)


@pytest.mark.parametrize("account", ["bfldeliverysc", "bfldeliveryprodeu4", "bfldelivery"])
def test_the_delivery_storage_accounts_are_for_downloads_only(account: str) -> None:
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
def test_other_storage_accounts_are_not(url: str) -> None:
    with pytest.raises(FluxUntrustedURLError):
        check_delivery_url(url, BFL)


def test_the_connections_own_host_and_its_trusted_hosts_are() -> None:
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
def test_no_text_breaks_the_check(url: str) -> None:
    with pytest.raises(FluxUntrustedURLError, match="Refused"):
        check_polling_url(url, BFL)


def test_refusals_and_descriptions_hold_no_query() -> None:
    with pytest.raises(FluxUntrustedURLError) as caught:
        check_delivery_url("https://user:pw@evil.example/a.jpeg?sig=SECRET", BFL)
    assert "SECRET" not in str(caught.value)
    assert "pw" not in str(caught.value)
    assert describe_url("https://a.bfl.ai/r/s.jpeg?sig=SECRET") == "https://a.bfl.ai/r/s.jpeg"


def test_redaction() -> None:
    text = "key bfl_abc-DEF_9 url https://a.b/c?sig=X&se=2 blob " + "QUJD" * 30 + " own s3cret!"
    clean = redact(text, "s3cret", None)
    assert (
        clean == "key bfl_*** url https://a.b/c?<query removed> blob <long value removed> own ***!"
    )


def settings(**values):
    return read_settings(
        **{
            "api_key": "bfl_abc",
            "base_url": None,
            "extra": {},
            "source": "connection 'c'",
            **values,
        }
    )


def test_defaults() -> None:
    assert settings() == FluxSettings(api_key="bfl_abc")
    assert "bfl_abc" not in repr(settings())


@pytest.mark.parametrize(
    ("region", "host"), [("eu", "api.eu.bfl.ai"), ("us", "api.us.bfl.ai"), ("global", "api.bfl.ai")]
)
def test_a_region_changes_the_host(region: str, host: str) -> None:
    assert settings(extra={"region": region}).base_url == f"https://{host}"
    assert (
        settings(extra={"region": region}, base_url="http://localhost:1/").base_url
        == "http://localhost:1"
    )


def test_extras_are_read_as_the_form_stores_them() -> None:
    read = settings(
        extra={
            "connect_timeout": "3",
            "read_timeout": 5,
            "max_active": "12",
            "proxy": "http://u:pw@proxy:3128",
            "webhook_secret": "whs",
            "trusted_hosts": "A.example, *.b.example ,",
        }
    )
    assert (read.connect_timeout, read.read_timeout, read.max_active) == (3, 5, 12)
    assert read.trusted_hosts == ("a.example", "*.b.example")
    assert "pw" not in repr(read)
    assert "whs" not in repr(read)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"api_key": None}, "no API key"),
        ({"api_key": ""}, "no API key"),
        ({"api_key": "bfl_abc\n"}, "line break"),
        ({"api_key": "bfl abc"}, "space"),
        ({"api_key": "bfl_ä"}, "character"),
        ({"base_url": "api.bfl.ai"}, r"host='api.bfl.ai'.*scheme"),
        ({"base_url": "ftp://api.bfl.ai"}, "scheme"),
        ({"base_url": "https://"}, "scheme and host"),
        ({"base_url": "https://u:topsecret@api.bfl.ai"}, "no user"),
        ({"base_url": "https://api.bfl.ai/v1"}, "host only"),
        ({"base_url": "http://api.bfl.ai"}, "unencrypted"),
        ({"base_url": "http://api.bfl.ai."}, "scheme and host"),
        ({"base_url": "https://a..b"}, "scheme and host"),
        ({"base_url": "http://["}, "scheme and host"),
        ({"base_url": "https://a.b:99999"}, "scheme and host"),
        ({"extra": {"trusted_hosts": 5}}, "trusted_hosts=5"),
        ({"extra": {"region": "mars"}}, r"region='mars'.*global, eu, us"),
        ({"extra": {"read_timeout": "soon"}}, "read_timeout='soon'"),
        ({"extra": {"read_timeout": 0}}, "greater than 0"),
        ({"extra": {"max_active": 2.5}}, "whole number"),
        ({"extra": {"proxy": "proxy:3128"}}, "proxy"),
    ],
)
def test_a_bad_setting_is_named(values: dict, said: str) -> None:
    with pytest.raises(FluxConfigurationError, match=said) as caught:
        settings(**values)
    assert "connection 'c'" in str(caught.value)
    assert "bfl_abc" not in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_a_deep_path_is_shown_and_base64_is_not() -> None:
    path = "s3://media/" + "/".join(f"folder{n}" for n in range(20)) + "/" + "a" * 64 + ".png"
    assert redact(f"{path} could not be written") == f"{path} could not be written"
    blob = base64.b64encode(bytes(range(256)) * 3).decode()
    assert "/" in blob
    for before in ("input_image=", "image: ", "image:", "'", "(", ""):
        clean = redact(f"{before}{blob} end")
        assert clean.endswith("<long value removed> end")
        assert blob[:12] not in clean
