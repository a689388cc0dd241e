"""The settings of an account are checked, and a bad one is named without its secrets."""

from __future__ import annotations

import pytest

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.settings import FluxSettings, read_settings


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


def test_a_key_alone_is_enough_and_the_repr_hides_it() -> None:
    assert settings() == FluxSettings(api_key="bfl_abc")
    assert "bfl_abc" not in repr(settings())


@pytest.mark.parametrize(
    ("region", "host"), [("eu", "api.eu.bfl.ai"), ("us", "api.us.bfl.ai"), ("global", "api.bfl.ai")]
)
def test_a_region_chooses_the_host_and_an_explicit_host_wins(region: str, host: str) -> None:
    assert settings(extra={"region": region}).base_url == f"https://{host}"
    assert (
        settings(extra={"region": region}, base_url="http://localhost:1/").base_url
        == "http://localhost:1"
    )


def test_settings_are_read_from_the_texts_that_the_connection_form_stores() -> None:
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
    ("values", "message"),
    [
        ({"api_key": None}, "no API key"),
        ({"api_key": ""}, "no API key"),
        ({"api_key": "bfl_abc\n"}, "line break"),
        ({"api_key": "bfl abc"}, "space"),
        ({"api_key": "bfl_ä"}, "character"),
        ({"base_url": "api.bfl.ai"}, r"host='api.bfl.ai'.*scheme"),
        ({"base_url": "ftp://api.bfl.ai"}, "scheme"),
        ({"base_url": "https://"}, "scheme and host"),
        ({"base_url": "https://u:topsecret@api.bfl.ai"}, "has a user"),
        ({"base_url": "https://api.bfl.ai/v1"}, "only scheme and host"),
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
def test_an_invalid_setting_is_named_without_showing_a_secret(values: dict, message: str) -> None:
    with pytest.raises(FluxConfigurationError, match=message) as caught:
        settings(**values)
    assert "connection 'c'" in str(caught.value)
    assert "bfl_abc" not in str(caught.value)
    assert "topsecret" not in str(caught.value)
