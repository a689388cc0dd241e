"""Deliveries as of an object store: HEAD, validators, ranges and conditions."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest
import requests

from tests.emulator.conftest import Client


@pytest.fixture
def sample(client: Client) -> str:
    return client.sample("fox", seed=1, width=256, height=256)


def test_head_answers_as_get_without_a_body_and_counts_as_no_download(
    client: Client, sample: str
) -> None:
    """Fault 35: HEAD on a delivery was refused with 405."""
    head = requests.head(sample, timeout=60)
    assert (head.status_code, head.content) == (200, b"")
    assert client.server.stats()["downloads"] == 0
    whole = client.get(sample)
    for name in ("content-length", "content-type", "etag", "last-modified", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]
    assert parsedate_to_datetime(head.headers["last-modified"])


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-7", -7, None), ("bytes=5-", 5, None)],
)
def test_a_range_is_answered_with_that_part(
    client: Client, sample: str, asked: str, start: int, end: int | None
) -> None:
    """Fault 35: a range was ignored, so that a client could not resume a download."""
    whole = client.get(sample).content
    part = client.get(sample, headers={"Range": asked})
    assert (part.status_code, part.content) == (206, whole[start:end])
    first = start if start >= 0 else len(whole) + start
    last = first + len(part.content) - 1
    assert part.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=9-3", "bytes=-", "pages=1-2", "bytes=0-1,4-5", "x"])
def test_a_range_that_cannot_be_read_gets_the_whole_file(
    client: Client, sample: str, asked: str
) -> None:
    """Fault 35: as HTTP asks, a malformed range counts as none."""
    answer = client.get(sample, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, client.get(sample).content)


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(client: Client, sample: str, asked: str) -> None:
    """Fault 35: a range outside the file got the whole file."""
    size = len(client.get(sample).content)
    answer = client.get(sample, headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")


def test_if_range_with_another_etag_gets_the_whole_file(client: Client, sample: str) -> None:
    """Fault 35: If-Range had no meaning."""
    whole = client.get(sample)
    for validator, status in ((whole.headers["etag"], 206), ('"another"', 200)):
        headers = {"Range": "bytes=0-9", "If-Range": validator}
        assert client.get(sample, headers=headers).status_code == status


def test_a_file_that_the_client_has_already_is_not_sent(client: Client, sample: str) -> None:
    """Fault 35: a delivery had neither ETag nor Last-Modified."""
    whole = client.get(sample)
    for name, value in (
        ("If-None-Match", f'"another", {whole.headers["etag"]}'),
        ("If-Modified-Since", whole.headers["last-modified"]),
    ):
        answer = client.get(sample, headers={name: value})
        assert (answer.status_code, answer.content) == (304, b"")
    assert client.get(sample, headers={"If-None-Match": '"another"'}).status_code == 200
