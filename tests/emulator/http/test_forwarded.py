"""The URLs in answers, as a client behind a reverse proxy needs them."""

from __future__ import annotations

import pytest

from tests.emulator.conftest import Client


def _polling_origin(client: Client, headers: dict[str, str]) -> str:
    answer = client.post(json={"prompt": "fox"}, headers=client.headers | headers)
    url = answer.json()["polling_url"]
    return str(url.removesuffix(f"/v1/get_result?id={answer.json()['id']}"))


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"X-Forwarded-Host": "flux.corp.example"}, "http://flux.corp.example"),
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example, b.internal"},
            "https://a.example",
        ),
        (
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Port": "8443"},
            "http://a.example:8443",
        ),
        (
            {
                "X-Forwarded-Host": "a.example",
                "X-Forwarded-Port": "443",
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Prefix": "/bfl/",
            },
            "https://a.example/bfl",
        ),
        ({"Forwarded": 'for=1.2.3.4;host="a.example:99";proto=https'}, "https://a.example:99"),
        (
            {"Forwarded": "host=a.example", "X-Forwarded-Host": "b.example"},
            "http://a.example",
        ),
        ({"X-Forwarded-Host": "[::1]:8484"}, "http://[::1]:8484"),
    ],
)
def test_a_polling_url_is_that_of_the_proxy(
    client: Client, headers: dict[str, str], origin: str
) -> None:
    """Fault 35: the polling URL followed X-Forwarded-Proto alone."""
    assert _polling_origin(client, headers) == origin


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-Host": "evil.example/path?x="},
        {"X-Forwarded-Proto": "ftp"},
        {"X-Forwarded-Port": "eighty"},
        {"X-Forwarded-Prefix": "//evil.example"},
        {"Forwarded": "nonsense"},
    ],
)
def test_a_forwarded_value_that_is_no_address_is_ignored(
    client: Client, headers: dict[str, str]
) -> None:
    """Fault 35: a header must not make a URL that nobody can open."""
    assert _polling_origin(client, headers) == client.server.url


def test_the_result_behind_a_proxy_is_delivered_through_it(client: Client) -> None:
    """Fault 35: a client outside could not open the URL of the result."""
    headers = {"X-Forwarded-Host": "a.example", "X-Forwarded-Prefix": "/bfl"}
    task = client.post(json={"prompt": "fox"}, headers=client.headers | headers).json()
    own = task["polling_url"].replace("http://a.example/bfl", client.server.url)
    sample = client.wait({"polling_url": own})["result"]["sample"]
    assert sample.startswith("http://a.example/bfl/results/")
    # The proxy removes its prefix before it forwards.
    assert client.get(sample.replace("http://a.example/bfl", client.server.url)).status_code == 200
