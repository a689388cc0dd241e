"""Signed URLs of results: shape, expiry, forgery, and API keys on downloads."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

from tests.emulator.conftest import Client, Start


def test_a_signed_url_has_the_shape_of_an_azure_signature(client: Client) -> None:
    query = parse_qs(urlsplit(client.sample()).query)
    assert {name: values[0] for name, values in query.items() if name not in {"se", "sig"}} == {
        "sp": "r",
        "sv": "2024-11-04",
        "sr": "b",
        "rsct": "image/jpeg",
    }
    assert query["se"][0].endswith("Z")


def test_an_expired_url_is_answered_403_and_a_poll_returns_a_fresh_one(start: Start) -> None:
    client = start(url_lifetime=0.2)
    task = client.submit()
    sample = client.wait(task)["result"]["sample"]
    assert client.get(sample).status_code == 200
    time.sleep(0.25)
    refused = client.get(sample)
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/xml")
    assert "<Code>AuthenticationFailed</Code>" in refused.text
    assert "not valid in the specified time frame" in refused.text
    assert client.get(client.wait(task)["result"]["sample"]).status_code == 200


def test_a_forged_url_is_answered_403(client: Client) -> None:
    sample = client.sample()
    for forged in (
        sample.partition("?")[0],
        sample.replace("se=20", "se=21"),
        sample[:-6] + "AAA%3D",
    ):
        refused = client.get(forged)
        assert refused.status_code == 403
        assert "Signature did not match" in refused.text


def test_an_unknown_result_is_answered_404(client: Client) -> None:
    assert "BlobNotFound" in client.get(f"{client.server.url}/results/nope/sample.jpeg").text


def test_a_download_with_an_api_key_is_counted(client: Client) -> None:
    sample = client.sample()
    client.get(sample)
    assert client.server.stats()["key_seen_on_delivery"] == 0
    client.get(sample, headers=client.headers)
    stats = client.server.stats()
    assert (stats["downloads"], stats["key_seen_on_delivery"]) == (2, 1)
