"""The checkpoint proxy strikes the planned request at its point, and forwards all others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.checkpoint_proxy import Checkpoint, CheckpointProxy, Point, Strike
from tests.support.cluster.processes import wait_until
from tests.support.cutting_proxy import Cut
from tests.support.object_stores import S3Store
from tests.support.scripted_host import Exchange, ScriptedHost

LARGE = os.urandom(500_000)
KEY = {"x-key": "bfl_checkpoints_0123"}


def drop(_pid: int) -> None:
    raise Cut


@pytest.fixture
def host() -> Iterator[ScriptedHost]:
    """A host that answers with the body of the request."""
    with ScriptedHost(
        answers={"*": lambda exchange: exchange.send(b"got " + exchange.read())}
    ) as host:
        yield host


@pytest.fixture
def proxy(host: ScriptedHost) -> Iterator[CheckpointProxy]:
    with CheckpointProxy(host.url) as proxy:
        yield proxy


def post(proxy: CheckpointProxy, body: bytes, path: str = "/") -> bytes:
    return requests.post(f"{proxy.url}{path}", data=body, timeout=60).content


def test_the_proxy_forwards_other_requests_unchanged(
    host: ScriptedHost, proxy: CheckpointProxy
) -> None:
    with requests.Session() as session:
        for body in (b"", b"x", LARGE, b"y"):
            assert session.post(proxy.url, data=body, timeout=60).content == b"got " + body
        assert session.head(proxy.url, timeout=60).status_code == 501  # the status of the host
    assert {request.headers["host"] for request in host.received} == {
        proxy.url.removeprefix("http://")
    }


@pytest.mark.parametrize("point", ["received", "half sent", "answered", "half answered"])
def test_a_request_is_dropped_at_its_checkpoint(
    host: ScriptedHost, proxy: CheckpointProxy, point: Point
) -> None:
    strike = proxy.plan("/mine", Checkpoint(point, "POST", ""), drop)
    assert post(proxy, LARGE, "/other") == b"got " + LARGE
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        post(proxy, LARGE, "/mine")
    assert strike.done.is_set()
    assert strike.victim == os.getpid()
    assert post(proxy, LARGE, "/mine") == b"got " + LARGE  # once only
    received = [len(request.body) for request in host.received if request.path == "/mine"][:-1]
    if point == "received":
        assert received == []
    elif point == "half sent":  # a reset may drop some of the forwarded bytes
        assert max(received, default=0) <= len(LARGE) // 2
    else:
        assert received == [len(LARGE)]


def test_a_request_is_whole_if_the_strike_returns(proxy: CheckpointProxy) -> None:
    strikes = [
        proxy.plan("/mine", Checkpoint(point, "POST", ""), lambda _pid: None)
        for point in ("received", "half sent", "answered", "half answered")
    ]
    assert post(proxy, LARGE, "/mine") == b"got " + LARGE
    assert all(strike.done.is_set() for strike in strikes)


def test_body_answer_and_number_select_the_request(proxy: CheckpointProxy) -> None:
    third = Checkpoint("answered", "POST", "/p", body="a+", answer="got .*b", number=3)
    proxy.plan("", third, drop)
    for body in (b"ab", b"a", b"b", b"ab"):
        assert post(proxy, body, "/p")
    with pytest.raises(requests.ConnectionError):
        post(proxy, b"ab", "/p")


def test_an_error_of_a_strike_is_kept_for_the_test(proxy: CheckpointProxy) -> None:
    def fail(_pid: int) -> None:
        raise ProcessLookupError

    strike = proxy.plan("", Checkpoint("received", "POST", ""), fail)
    assert post(proxy, b"x") == b"got x"
    assert isinstance(strike.error, ProcessLookupError)


def test_a_strike_waits_for_the_next_client_if_the_first_has_disconnected(
    host: ScriptedHost, proxy: CheckpointProxy
) -> None:
    strike = proxy.plan("/mine", Checkpoint("answered", "POST", ""), drop)
    gone = threading.Event()

    def answer_late(exchange: Exchange) -> None:
        gone.wait(10)
        exchange.send()

    def is_dropped() -> bool:
        try:
            post(proxy, b"x", "/mine")
        except requests.ConnectionError:
            return True
        return False

    host.answers["/mine"] = [answer_late, lambda exchange: exchange.send()]
    with pytest.raises(requests.Timeout):
        requests.post(f"{proxy.url}/mine", timeout=0.5)
    assert not strike.done.is_set()
    gone.set()
    assert wait_until(is_dropped, 10)
    assert strike.done.is_set()


def test_polls_and_downloads_have_the_name_of_their_submit(
    emulator_process: EmulatorServer,
) -> None:
    with CheckpointProxy(emulator_process.url) as proxy:
        mine = [
            proxy.plan(
                "token-mine",
                Checkpoint("answered", "GET", "/v1/get_result", answer="Ready"),
                lambda _pid: None,
            ),
            proxy.plan(
                "token-mine", Checkpoint("half answered", "GET", "/results/"), lambda _pid: None
            ),
        ]
        for prompt in ("token-other", "token-mine"):
            assert not any(strike.done.is_set() for strike in mine)
            assert generate(proxy, prompt).startswith(b"\xff\xd8")
        assert all(strike.done.is_set() for strike in mine)


def generate(proxy: CheckpointProxy, prompt: str) -> bytes:
    """Submit, poll and download, as a client of BFL does."""
    submission = requests.post(
        f"{proxy.url}/v1/flux-pro-1.1", json={"prompt": prompt}, headers=KEY, timeout=60
    ).json()
    assert submission["polling_url"].startswith(proxy.url)
    while True:
        body = requests.get(submission["polling_url"], headers=KEY, timeout=60).json()
        if body["status"] == "Ready":
            return requests.get(body["result"]["sample"], timeout=60).content
        time.sleep(0.05)


def test_a_killed_client_leaves_no_half_object(s3: str) -> None:
    store = S3Store(s3, bucket="checkpoints")
    store.make_bucket()
    with CheckpointProxy(s3) as proxy:
        put = f"requests.put('{proxy.url}/checkpoints/half.bin', data=b'x' * {len(LARGE)})"
        code = f"import requests; {put}"
        client = subprocess.Popen([sys.executable, "-c", code])
        strike = proxy.plan("half.bin", Checkpoint("half sent", "PUT", r"\.bin"), kill)
        assert client.wait(30) == -signal.SIGKILL
        assert_struck(strike, client.pid)
        assert store.read("s3://aws_lab@checkpoints/half.bin") is None


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    raise Cut


def assert_struck(strike: Strike, pid: int) -> None:
    assert strike.done.wait(10)
    assert (strike.victim, strike.error) == (pid, None)


def test_the_proxy_is_down_for_a_while_and_starts_again(proxy: CheckpointProxy) -> None:
    with requests.Session() as session:
        assert session.post(proxy.url, data=b"x", timeout=60).content == b"got x"
        proxy.down_for(0.3)
        with pytest.raises(requests.ConnectionError):
            session.post(proxy.url, data=b"x", timeout=60)  # on the open connection
    with pytest.raises(requests.ConnectionError, match="refused"):
        post(proxy, b"x")

    def is_up() -> bool:
        try:
            return post(proxy, b"y") == b"got y"
        except requests.ConnectionError:
            return False

    assert wait_until(is_up, 10)
