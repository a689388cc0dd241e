"""Answers that expand, have no end or drip: through both clients, in a process of their own."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.polling import Poller
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.client import FluxAsyncClient, FluxClient
from tests.support.memory_use import MAX_GROWTH_MIB, Measured, measure
from tests.support.sample_media import MIB
from tests.support.scripted_host import Exchange, ScriptedHost, drip

CLIENTS = ("FluxClient", "FluxAsyncClient")
READ_TIMEOUT = 1.0
#: The timeout of an answer, and what a busy machine adds to it.
SLACK_SECONDS = 10.0


@pytest.fixture
def host() -> Iterator[ScriptedHost]:
    """A host that answers as a test scripts it."""
    with ScriptedHost() as host:
        yield host


@cache
def make_bomb(encoding: str) -> bytes:
    """Return about 300 KB that expand to 300 MiB."""
    compressor = zlib.compressobj(9, wbits={"gzip": 31, "deflate": -15}[encoding])
    chunk = b'{"credits": 1}' + b" " * (MIB - 14)
    return b"".join(compressor.compress(chunk) for _ in range(300)) + compressor.flush()


def send_bomb(exchange: Exchange, encoding: str) -> None:
    """Answer with a body that expands to 300 MiB."""
    bomb = make_bomb("deflate" if encoding == "deflate" else "gzip")
    send_encoded(exchange, gzip.compress(bomb) if "," in encoding else bomb, encoding)


def send_encoded(exchange: Exchange, body: bytes, encoding: str) -> None:
    """Answer with a body that claims an encoding."""
    exchange.send(body, Content_Encoding=encoding, Content_Type="application/json")


def send_without_end(exchange: Exchange, *, head: bytes, piece: bytes) -> None:
    """Answer with a body that does not end before the client hangs up."""
    exchange.read()
    exchange.close_connection = True
    with suppress(OSError):
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\n" + head)
        for _ in range(4096):
            exchange.wfile.write(piece)


def call(client: str, name: str, url: str, **settings: Any) -> str:
    """Make one call of a client without retries, and return its outcome as text."""
    account = FluxSettings("bfl_key", base_url=url, **{"read_timeout": READ_TIMEOUT, **settings})
    request = build_request("flux-2-pro", {"prompt": "a fox"})
    try:
        if client == "FluxClient":
            with FluxClient(account) as sync_client:
                return str(_act(sync_client, name, url, request))
        return str(asyncio.run(_act_async(account, name, url, request)))
    except FluxError as error:
        return f"{type(error).__name__}: {error}"


def call_repeatedly(times: int, client: str, name: str, url: str) -> list[str]:
    """Make a call several times, and return the outcomes."""
    return [call(client, name, url, read_timeout=5) for _ in range(times)]


def _act(client: Any, name: str, url: str, request: Any) -> Any:
    if name == "submit":
        return client.submit_once(request)
    if name == "poll":
        return client.poll("id-1")
    if name == "download":
        return client.download(f"{url}/sample.jpeg")
    return client.get_credits(retry=False)


async def _act_async(account: FluxSettings, name: str, url: str, request: Any) -> Any:
    async with FluxAsyncClient(account) as client:
        return await _act(client, name, url, request)


BOMBS: dict[str, Callable[[Exchange], None]] = {
    "gzip": partial(send_bomb, encoding="gzip"),
    "deflate": partial(send_bomb, encoding="deflate"),
    "gzip in gzip": partial(send_bomb, encoding="gzip, gzip"),
    "an unknown encoding": partial(send_bomb, encoding="zstd"),
    "a million lists": lambda exchange: exchange.send(b"[" + b"[0]," * 262_144 + b"0]"),
    "a length of 8 EiB": partial(
        send_without_end, head=b"Content-Length: 9223372036854775807\r\n\r\n", piece=b"x" * MIB
    ),
    "no length": partial(send_without_end, head=b"\r\n", piece=b"x" * MIB),
    "endless chunks": partial(
        send_without_end,
        head=b"Transfer-Encoding: chunked\r\n\r\n",
        piece=b"100000\r\n" + b"x" * MIB + b"\r\n",
    ),
    "an endless size of a chunk": partial(
        send_without_end, head=b"Transfer-Encoding: chunked\r\n\r\n", piece=b"1;" + b"x" * MIB
    ),
    "endless headers": partial(send_without_end, head=b"", piece=b"X: " + b"x" * 4000 + b"\r\n"),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", ["credits", "poll", "submit"])
def test_no_answer_of_the_api_fills_the_memory(host: ScriptedHost, name: str, client: str) -> None:
    """Fault 9: an answer is read up to 2 MiB, also after it is decoded."""
    host.answers["*"] = list(BOMBS.values())
    run = measure(call_repeatedly, len(BOMBS), client, name, host.url)
    expected = "FluxSubmitUncertainError" if name == "submit" else "FluxServiceError"
    assert [outcome.partition(":")[0] for outcome in run.outcome] == [expected] * len(BOMBS)
    assert run.grown_mib < MAX_GROWTH_MIB


COMPRESSED = ("gzip", "deflate", "gzip, gzip", "br")


@pytest.mark.parametrize("client", CLIENTS)
def test_no_compressed_result_fills_the_memory(host: ScriptedHost, client: str) -> None:
    """Fault 9: a delivery host that compresses 300 MiB to 300 KB cannot fill a worker."""
    host.answers["*"] = [partial(send_bomb, encoding=name) for name in COMPRESSED]
    run = measure(call_repeatedly, len(COMPRESSED), client, "download", host.url)
    for outcome in run.outcome:
        assert outcome.startswith("FluxImageError: The result ")
    assert run.grown_mib < MAX_GROWTH_MIB


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_small_compressed_answer_is_decoded(
    host: ScriptedHost, encoding: str, client: str
) -> None:
    """Fault 9: the limit does not refuse a gateway that compresses all answers."""
    text = json.dumps({"credits": 12.5}).encode()
    body = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
    host.answers["*"] = partial(send_encoded, body=body, encoding=encoding)
    assert call(client, "credits", host.url) == "12.5"
    assert call(client, "download", host.url) == str(text)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_refusal_that_quotes_a_large_request_is_still_a_refusal(
    host: ScriptedHost, client: str
) -> None:
    """Fault 9: a 422 that quotes 8 MiB of the request proves that nothing was billed."""
    body = {"detail": [{"loc": ["body", "prompt"], "msg": "bad", "input": "A" * 8 * MIB}]}
    host.answers["*"] = lambda exchange: exchange.send_json(body, 422)
    outcome = call(client, "submit", host.url, read_timeout=20)
    refusal = "FluxRequestError: BFL refused flux-2-pro, and nothing was billed (HTTP 422"
    assert outcome.startswith(refusal)


DRIPS: dict[str, Callable[[Exchange], None]] = {
    "status line": partial(drip, head=b"HTTP/1.1 200 "),
    "headers": partial(drip, head=b"HTTP/1.1 200 OK\r\nX: "),
    "interim answers": partial(
        drip, head=b"HTTP/1.1 100 Continue\r\n\r\n", piece=b"HTTP/1.1 100 Continue\r\n\r\n"
    ),
    "body": partial(drip, head=b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"),
    "body without a length": partial(drip, head=b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunks": partial(
        drip, head=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", piece=b"1\r\n \r\n"
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("part", DRIPS)
@pytest.mark.parametrize("name", ["credits", "submit"])
def test_an_answer_that_drips_ends_at_the_read_timeout(
    host: ScriptedHost, name: str, part: str, client: str
) -> None:
    """Fault 9: an answer that sends a byte at a time does not outlive its timeout."""
    host.answers["*"] = DRIPS[part]
    begin = time.monotonic()
    outcome = call(client, name, host.url)
    assert time.monotonic() - begin < READ_TIMEOUT + SLACK_SECONDS
    expected = "FluxSubmitUncertainError" if name == "submit" else "FluxServiceError"
    assert outcome.startswith(f"{expected}:")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.usefixtures("hurry")
def test_a_result_that_drips_ends_at_the_read_timeout(host: ScriptedHost, client: str) -> None:
    """Fault 9: neither does a result, each time that it is downloaded."""
    host.answers["*"] = DRIPS["body"]
    begin = time.monotonic()
    outcome = call(client, "download", host.url, read_timeout=0.3)
    assert time.monotonic() - begin < 5 * 0.3 + 2 * SLACK_SECONDS
    assert outcome.startswith("FluxServiceError: The download from ")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_poll_that_drips_does_not_outlive_the_wait(host: ScriptedHost, client: str) -> None:
    """Fault 9: ``timeout`` of the operator also ends the poll that runs at the deadline."""
    host.answers["*"] = DRIPS["body"]
    begin = time.monotonic()
    assert "was not ready at its deadline" in wait(client, host.url)
    assert time.monotonic() - begin < 1 + 2 * 5 + SLACK_SECONDS


def wait(client: str, url: str) -> str:
    """Wait one second for a generation, with a read timeout of a minute."""
    account = FluxSettings("bfl_key", base_url=url, read_timeout=60)
    now = time.time()
    poller = Poller(request_id="id-1", submitted_at=now, deadline=now + 1, poll_interval=0.1)

    async def wait_async() -> Any:
        async with FluxAsyncClient(account) as async_client:
            return await async_client.wait(poller, None)

    try:
        if client == "FluxAsyncClient":
            return str(asyncio.run(wait_async()))
        with FluxClient(account) as sync_client:
            return str(sync_client.wait(poller, None))
    except FluxError as error:
        return str(error)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_steady_result_may_take_longer_than_the_read_timeout(
    host: ScriptedHost, client: str
) -> None:
    """Fault 9: the limit does not end a large download that is only slow."""
    content = bytes(3 * MIB)

    def send_slowly(exchange: Exchange) -> None:
        exchange.read()
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(len(content)))
        exchange.end_headers()
        for at in range(0, len(content), MIB // 4):
            exchange.wfile.write(content[at : at + MIB // 4])
            exchange.host.closing.wait(0.15)

    host.answers["*"] = send_slowly
    assert call(client, "download", host.url) == str(content)


def test_a_connection_is_used_again_after_an_answer_with_little_time_left(
    host: ScriptedHost,
) -> None:
    """Fault 9: the time that was left for one answer does not limit the next request."""
    slow = lambda exchange: (exchange.wait(1.5), exchange.send_json({"credits": 1}))  # noqa: E731
    host.answers["*"] = slow
    with FluxClient(FluxSettings("bfl_key", base_url=host.url, read_timeout=2)) as client:
        assert [client.get_credits(retry=False) for _ in range(3)] == [1, 1, 1]


def test_the_measure_of_memory_sees_what_a_function_takes() -> None:
    run: Measured = measure(_take_memory)
    assert run.outcome == 150 * MIB
    assert run.grown_mib > 140


def _take_memory() -> int:
    return len(b"x" * (150 * MIB))
