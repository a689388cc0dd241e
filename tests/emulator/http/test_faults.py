"""The effect of each fault on the wire."""

from __future__ import annotations

import io
import math
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from PIL import Image, ImageChops, ImageStat

from airflow_provider_flux.emulator.faults import FAULTS
from tests.emulator.conftest import Client
from tests.support.emulator_media import decode_image, encode_base64, plain_image

BROKEN = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)
SMALL = {"width": 256, "height": 256}


def _submit(client: Client, fault: str, **parameters: Any) -> requests.Response:
    return client.post(json={"prompt": f"fox [[fault:{fault}]]", **SMALL, **parameters})


def _assert_refused(
    client: Client, fault: str, status: int, retry_after: str | None = None
) -> None:
    answer = _submit(client, fault)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, retry_after)
    assert client.server.stats()["submits"] == 0
    assert client.credits() == 1000


def _rate_limit(client: Client) -> None:
    statuses = [_submit(client, "rate-limit=2,7").status_code for _ in range(3)]
    assert statuses == [429, 429, 200]
    assert _submit(client, "rate-limit=1,7").headers["Retry-After"] == "7"
    assert client.server.stats()["refused"] == 3


def _submit_hang(client: Client) -> None:
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(
            f"{client.server.url}/v1/flux-pro-1.1",
            json={"prompt": "[[fault:submit-hang=3]]"},
            headers=client.headers,
            timeout=0.3,
        )
    assert client.server.stats()["submits"] == 1


def _submit_503_made(client: Client) -> None:
    answer = _submit(client, "submit-503-made=2")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert (client.server.stats()["submits"], client.server.stats()["refused"]) == (1, 0)
    assert client.credits() == 996


def _submit_status(client: Client) -> None:
    answers = [_submit(client, "submit-status=408,3") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [408, 408, 408, 200]
    assert answers[0].json() == {"detail": "Request Timeout"}
    assert (client.server.stats()["submits"], client.server.stats()["refused"]) == (1, 3)


def _submit_status_made(client: Client) -> None:
    for status in (408, 409, 425, 451, 499):
        assert _submit(client, f"submit-status-made={status}").status_code == status
    assert (client.server.stats()["submits"], client.server.stats()["refused"]) == (5, 0)
    assert client.credits() == 980


def _submit_lost(client: Client) -> None:
    with pytest.raises(BROKEN):
        _submit(client, "submit-lost")
    assert client.server.stats()["submits"] == 1
    assert client.credits() == 996


def _detail_object(client: Client) -> None:
    answer = _submit(client, "detail-object")
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"]["message"], str)


def _echo_secrets(client: Client) -> None:
    answer = _submit(
        client, "echo-secrets", webhook_url="http://127.0.0.1:1/", webhook_secret="s3cret"
    )
    detail = answer.json()["detail"]
    assert answer.status_code == 400
    assert all(
        part in detail for part in (client.headers["x-key"], "s3cret", "iVBORw0KGgo", "sig=")
    )


def _quote_prompt(client: Client) -> None:
    answer = _submit(client, "quote-prompt")
    assert answer.status_code == 422
    assert "QUOTE-PROMPT" in answer.json()["detail"][1]["msg"]


def _foreign_polling_url(client: Client) -> None:
    assert (
        _submit(client, "foreign-polling-url")
        .json()["polling_url"]
        .startswith("https://evil.example/")
    )


def _no_polling_url(client: Client) -> None:
    assert set(_submit(client, "no-polling-url").json()) == {"id", "cost", "input_mp", "output_mp"}


def _absurd_cost(client: Client) -> None:
    for text, cost in [("-3", -3), ("Infinity", math.inf), ("1e999", math.inf), ("abc", "abc")]:
        task = _submit(client, f"absurd-cost={text}").json()
        assert (task["cost"], client.wait(task)["cost"]) == (cost, cost)


def _slow(client: Client) -> None:
    task = _submit(client, "slow=0.3").json()
    time.sleep(0.1)
    assert client.get(task["polling_url"]).json()["status"] == "Pending"
    assert client.wait(task)["result"]["duration"] == 0.3


def _stuck(client: Client) -> None:
    task = _submit(client, "stuck").json()
    time.sleep(0.1)
    assert client.get(task["polling_url"]).json()["status"] == "Pending"


def _assert_outcome(
    client: Client, fault: str, status: str, details: Any, http_status: int = 200
) -> None:
    task = _submit(client, fault).json()
    body = client.wait(task)
    assert (body["status"], body["details"], body["result"]) == (status, details, None)
    assert client.get(task["polling_url"]).status_code == http_status
    assert client.credits() == 1000


def _polls(client: Client, fault: str, times: int = 3) -> list[requests.Response]:
    task = _submit(client, fault).json()
    time.sleep(0.05)
    return [client.get(task["polling_url"]) for _ in range(times)]


def _assert_poll_statuses(
    client: Client, fault: str, statuses: list[int], retry_after: str | None = None
) -> None:
    answers = _polls(client, fault, len(statuses))
    assert [answer.status_code for answer in answers] == statuses
    assert answers[0].headers.get("Retry-After") == retry_after


def _poll_reset(client: Client) -> None:
    task = _submit(client, "poll-reset").json()
    with pytest.raises(BROKEN):
        client.get(task["polling_url"])
    assert client.wait(task)["status"] == "Ready"


def _poll_html(client: Client) -> None:
    first, second = _polls(client, "poll-html", 2)
    assert (first.status_code, first.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert second.json()["status"] == "Ready"


def _poll_redirect(client: Client) -> None:
    answer = _polls(client, "poll-redirect")[-1]
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("https://evil.example/v1/get_result?id=")


def _poll_moved(client: Client) -> None:
    answers = _polls(client, "poll-moved=2")
    assert [answer.status_code for answer in answers] == [307, 307, 200]
    assert answers[0].headers["location"] == answers[0].url


def _poll_regional(client: Client) -> None:
    """Fault 19: a redirect to another host that is trusted had no fault."""
    first, second = _polls(client, "poll-regional", 2)
    assert (first.status_code, second.status_code) == (307, 200)
    assert first.headers["location"] == first.url.replace("127.0.0.1", "localhost")
    assert client.get(first.headers["location"]).json()["status"] == "Ready"


def _assert_bomb(answer: requests.Response) -> None:
    """Fault 9: a small answer that fills the memory had no fault."""
    assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
    assert int(answer.headers["content-length"]) < 512 * 1024
    unpacked = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    size, packed = 0, answer.raw.read(decode_content=False)
    while packed:
        size += len(unpacked.decompress(packed, 1 << 20))
        packed = unpacked.unconsumed_tail
    assert size >= 256 << 20


def _poll_bomb(client: Client) -> None:
    task = _submit(client, "poll-bomb").json()
    with client.get(task["polling_url"], stream=True) as answer:
        _assert_bomb(answer)
    assert client.wait(task)["status"] == "Ready"


def _bomb(client: Client) -> None:
    sample = client.sample("fox [[fault:bomb]]", seed=1, **SMALL)
    with client.get(sample, stream=True) as answer:
        _assert_bomb(answer)
    assert client.get(sample).content == client.image("fox", seed=1, **SMALL)


def _assert_dripping(client: Client, url: str) -> None:
    """Fault 9: an answer that drips outlived the timeout, and had no fault."""
    with client.get(url, stream=True) as answer:
        pieces = answer.raw.stream(1)
        started = time.monotonic()
        assert b"".join(next(pieces) for _ in range(4)) == b" " * 4
        assert time.monotonic() - started > 0.1


def _poll_drip(client: Client) -> None:
    task = _submit(client, "poll-drip=1,0.05").json()
    _assert_dripping(client, task["polling_url"])
    assert client.wait(task)["status"] == "Ready"


def _held(client: Client) -> None:
    held, other = (_submit(client, "held", seed=seed).json() for seed in (1, 2))
    time.sleep(0.1)
    assert client.get(held["polling_url"]).json()["status"] == "Pending"
    assert client.server.release("another prompt") == 0
    answer = requests.post(f"{client.server.url}/_emulator/release?prompt=fox", timeout=60)
    assert answer.json() == {"released": 2}
    assert [client.wait(task)["status"] for task in (held, other)] == ["Ready", "Ready"]
    assert client.server.stats()["active"] == 0


def _no_result(client: Client) -> None:
    bodies = [answer.json() for answer in _polls(client, "no-result=2")]
    assert [body["status"] for body in bodies] == ["Ready"] * 3
    assert [body["result"] is None for body in bodies] == [True, True, False]


def _result_lists(client: Client) -> None:
    result = _polls(client, "result-lists")[0].json()["result"]
    assert "sample" not in result
    assert client.get(result["samples"][0]).status_code == 200


def _moved_error(client: Client, fault: str) -> dict[str, Any]:
    body = _polls(client, fault)[0].json()
    assert (body["status"], body["details"]) == ("Error", None)
    return body


def _error_at_top(client: Client) -> None:
    assert _moved_error(client, "error-at-top")["error"] == CORRUPT["error"]


def _error_in_result(client: Client) -> None:
    assert _moved_error(client, "error-in-result")["result"] == {"details": CORRUPT}


def _unknown_status(client: Client) -> None:
    assert [answer.json()["status"] for answer in _polls(client, "unknown-status=2")] == [
        "Queued",
        "Queued",
        "Ready",
    ]


def _state_key(client: Client) -> None:
    body = _polls(client, "state-key")[0].json()
    assert body["state"] == "Ready"
    assert "status" not in body


def _downloads(client: Client, fault: str, times: int = 2) -> list[requests.Response]:
    sample = client.sample(f"fox [[fault:{fault}]]", seed=1, **SMALL)
    return [client.get(sample) for _ in range(times)]


def _assert_broken(client: Client, fault: str) -> None:
    sample = client.sample(f"fox [[fault:{fault}=2]]", seed=1, **SMALL)
    for _ in range(2):
        with pytest.raises(BROKEN):
            client.get(sample)
    assert client.get(sample).content == client.image("fox", seed=1, **SMALL)


def _cut(client: Client) -> None:
    half, whole = _downloads(client, "cut")
    assert whole.content == client.image("fox", seed=1, **SMALL)
    assert half.content == whole.content[: len(whole.content) // 2]
    assert int(half.headers["content-length"]) == len(half.content)


def _html(client: Client) -> None:
    first, second = _downloads(client, "html")
    assert (first.status_code, first.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert second.headers["content-type"] == "image/jpeg"


def _empty(client: Client) -> None:
    first, second = _downloads(client, "empty")
    assert (first.status_code, first.content) == (200, b"")
    assert second.content


def _expired(client: Client) -> None:
    assert [answer.status_code for answer in _downloads(client, "expired")] == [403, 200]
    answers = _downloads(client, "expired=always", 3)
    assert [answer.status_code for answer in answers] == [403] * 3
    [expiry] = parse_qs(urlsplit(answers[0].url).query)["se"]
    assert datetime.fromisoformat(expiry) < datetime.now(UTC)


def _deliver_403(client: Client) -> None:
    refused, delivered = _downloads(client, "deliver-403")
    assert (refused.status_code, delivered.status_code) == (403, 200)
    [expiry] = parse_qs(urlsplit(refused.url).query)["se"]
    assert datetime.fromisoformat(expiry) > datetime.now(UTC)


def _deliver_503(client: Client) -> None:
    first, second = _downloads(client, "deliver-503=1,2")
    assert (first.status_code, first.headers["Retry-After"], second.status_code) == (503, "2", 200)


def _redirect_download(client: Client) -> None:
    answer = _downloads(client, "redirect-download")[-1]
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("https://evil.example/results/")


def _assert_levels(client: Client, fault: str, lowest: int, highest: int) -> None:
    """Assert that the first image of a prompt has one colour, and the next one has more."""
    plain, fine = (client.image(f"fox [[fault:{fault}]]", **SMALL) for _ in range(2))
    extrema = decode_image(plain).convert("RGB").getextrema()
    assert all(high - low <= 16 and lowest <= low <= high <= highest for low, high in extrema)
    assert max(high - low for low, high in decode_image(fine).getextrema()) > 60


def _duplicate(client: Client) -> None:
    first, second = (
        decode_image(client.image(f"{name} [[fault:duplicate=always]]", **SMALL))
        for name in ("fox", "owl")
    )
    difference = ImageChops.difference(first, second).resize((4, 4), Image.Resampling.BOX)
    assert max(high for _, high in difference.getextrema()) < 12


def _wrong_text(client: Client) -> None:
    wrong = client.image("fox [[fault:wrong-text]]", seed=1, **SMALL)
    right = client.image("fox", seed=1, **SMALL)
    difference = ImageChops.difference(decode_image(wrong), decode_image(right))
    assert max(ImageStat.Stat(difference.crop((0, 0, 256, 100))).mean) < 8
    assert max(high for _, high in difference.getextrema()) > 60


def _wrong_size(client: Client) -> None:
    answer = _downloads(client, "wrong-size", 1)[0]
    assert Image.open(io.BytesIO(answer.content)).size == (128, 128)


def _wrong_format(client: Client) -> None:
    answer = _downloads(client, "wrong-format", 1)[0]
    assert Image.open(io.BytesIO(answer.content)).format == "PNG"
    assert answer.headers["content-type"] == "image/jpeg"


def _busy_402(client: Client) -> None:
    answers = [_submit(client, "busy-402=2") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [402, 402, 200]
    assert answers[0].json() == {"detail": "Insufficient credits"}
    assert client.server.stats()["refused"] == 2


def _damaged(client: Client) -> None:
    first, second = _downloads(client, "damaged-video")
    assert len(first.content) == len(second.content)
    assert first.content[:1000] == second.content[:1000]
    decode_image(second.content)
    with pytest.raises(OSError, match="truncated"):
        decode_image(first.content)


CORRUPT = {"error": "Invalid or corrupted image input"}

CHECKS: dict[str, Callable[[Client], None]] = {
    "rate-limit": _rate_limit,
    "no-credits": lambda client: _assert_refused(client, "no-credits", 402),
    "busy-402": _busy_402,
    "submit-500": lambda client: _assert_refused(client, "submit-500", 500),
    "submit-503": lambda client: _assert_refused(client, "submit-503=1.5", 503, "1.5"),
    "submit-503-made": _submit_503_made,
    "submit-status": _submit_status,
    "submit-status-made": _submit_status_made,
    "submit-hang": _submit_hang,
    "submit-lost": _submit_lost,
    "detail-object": _detail_object,
    "echo-secrets": _echo_secrets,
    "quote-prompt": _quote_prompt,
    "foreign-polling-url": _foreign_polling_url,
    "no-polling-url": _no_polling_url,
    "absurd-cost": _absurd_cost,
    "slow": _slow,
    "held": _held,
    "stuck": _stuck,
    "moderated": lambda client: _assert_outcome(
        client,
        "moderated=Violence, Self Harm",
        "Content Moderated",
        {"Moderation Reasons": ["Violence", "Self Harm"]},
    ),
    "request-moderated": lambda client: _assert_outcome(
        client, "request-moderated", "Request Moderated", {"Moderation Reasons": ["Safety Filter"]}
    ),
    "moderated-text": lambda client: _assert_outcome(
        client, "moderated-text", "Content Moderated", "Safety Filter"
    ),
    "error": lambda client: _assert_outcome(client, "error", "Error", CORRUPT),
    "error-422": lambda client: _assert_outcome(
        client, "error-422", "Error", CORRUPT, http_status=422
    ),
    "error-503": lambda client: _assert_outcome(
        client, "error-503", "Error", CORRUPT, http_status=503
    ),
    "bad-input": lambda client: _assert_outcome(
        client, "bad-input", "Error", CORRUPT, http_status=422
    ),
    "failed": lambda client: _assert_outcome(
        client, "failed", "Failed", {"error": "The generation failed"}
    ),
    "poll-500": lambda client: _assert_poll_statuses(client, "poll-500=2", [500, 500, 200]),
    "poll-503": lambda client: _assert_poll_statuses(client, "poll-503=1,3", [503, 200], "3"),
    "poll-429": lambda client: _assert_poll_statuses(client, "poll-429", [429, 200]),
    "poll-403": lambda client: _assert_poll_statuses(client, "poll-403", [403, 403]),
    "not-found": lambda client: _assert_poll_statuses(client, "not-found=2", [404, 404, 200]),
    "lost": lambda client: _assert_poll_statuses(client, "lost", [404, 404, 404]),
    "poll-reset": _poll_reset,
    "poll-html": _poll_html,
    "poll-redirect": _poll_redirect,
    "poll-moved": _poll_moved,
    "poll-regional": _poll_regional,
    "poll-bomb": _poll_bomb,
    "poll-drip": _poll_drip,
    "bomb": _bomb,
    "drip": lambda client: _assert_dripping(
        client, client.sample("fox [[fault:drip=1,0.05]]", **SMALL)
    ),
    "no-result": _no_result,
    "result-lists": _result_lists,
    "error-at-top": _error_at_top,
    "error-in-result": _error_in_result,
    "unknown-status": _unknown_status,
    "state-key": _state_key,
    "truncate": lambda client: _assert_broken(client, "truncate"),
    "reset": lambda client: _assert_broken(client, "reset"),
    "cut": _cut,
    "damaged-video": _damaged,
    "html": _html,
    "empty": _empty,
    "expired": _expired,
    "deliver-403": _deliver_403,
    "deliver-503": _deliver_503,
    "redirect-download": _redirect_download,
    "blank": lambda client: _assert_levels(client, "blank", 0, 255),
    "black": lambda client: _assert_levels(client, "black", 0, 15),
    "duplicate": _duplicate,
    "wrong-text": _wrong_text,
    "wrong-size": _wrong_size,
    "wrong-format": _wrong_format,
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_does_what_its_meaning_says(client: Client, name: str) -> None:
    CHECKS[name](client)


def test_a_route_without_a_prompt_takes_faults_by_header(client: Client) -> None:
    headers = {**client.headers, "x-flux-fault": "failed"}
    task = client.post(
        "flux-tools/deblur-v1", json={"image": encode_base64(plain_image())}, headers=headers
    ).json()
    assert client.wait(task)["status"] == "Failed"
