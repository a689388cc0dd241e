"""The cutting proxy breaks the planned requests and no others."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import requests
from airflow.sdk import ObjectStoragePath

from tests.support.cutting_proxy import Cut, CuttingProxy
from tests.support.object_stores import BucketStore, GcsStore, Store
from tests.support.scripted_host import ScriptedHost

#: How a client puts it that the connection was reset: while it read, after it, or while it sent.
CUT = "reset|RemoteDisconnected|Broken pipe"
SMALL, LARGE = b"s" * 1000, b"l" * 500_000


@pytest.fixture
def host() -> Iterator[ScriptedHost]:
    """Run a host that reads every request and answers 200."""
    with ScriptedHost(answers={"*": lambda exchange: exchange.send(b"yes")}) as host:
        yield host


@pytest.fixture
def proxy(host: ScriptedHost) -> Iterator[CuttingProxy]:
    """Run a proxy before the host."""
    with CuttingProxy(host.url) as proxy:
        yield proxy


def post(proxy: CuttingProxy, body: bytes) -> bytes:
    return requests.post(proxy.url, data=body, timeout=60).content


def test_requests_pass_the_cutting_proxy_unchanged(host: ScriptedHost, proxy: CuttingProxy) -> None:
    with requests.Session() as session:
        for body in (b"", SMALL, LARGE, SMALL):
            assert session.post(proxy.url, data=body, timeout=60).content == b"yes"
    assert [bytes(asked.body) for asked in host.received] == [b"", SMALL, LARGE, SMALL]
    assert (proxy.connections, proxy.large, proxy.passed, proxy.cuts) == (1, 1, len(LARGE), 0)


@pytest.mark.parametrize("passed", [0, 1, 123_456, len(LARGE)])
def test_the_cutting_proxy_cuts_large_requests_at_a_byte_as_often_as_planned(
    host: ScriptedHost, proxy: CuttingProxy, passed: int
) -> None:
    proxy.cut(passed, times=2)
    for _ in range(2):
        assert post(proxy, SMALL) == b"yes"
        with pytest.raises(requests.ConnectionError, match=CUT):
            post(proxy, LARGE)
    assert (proxy.cuts, proxy.passed) == (2, 2 * passed)
    assert post(proxy, LARGE) == b"yes"
    assert proxy.cuts == 2


def test_the_cutting_proxy_loses_an_answer(host: ScriptedHost, proxy: CuttingProxy) -> None:
    proxy.cut(None)
    with pytest.raises(requests.ConnectionError, match=CUT):
        post(proxy, LARGE)
    assert [bytes(asked.body) for asked in host.received] == [LARGE]
    assert post(proxy, LARGE) == b"yes"


def test_the_cutting_proxy_kills_a_client_at_a_byte(
    host: ScriptedHost, proxy: CuttingProxy
) -> None:
    code = f"import requests; requests.post({proxy.url!r}, data=b'l' * {len(LARGE)})"
    client = subprocess.Popen([sys.executable, "-c", code])

    def kill() -> None:
        os.kill(client.pid, signal.SIGKILL)
        raise Cut

    proxy.at(100_000, kill)
    assert client.wait(30) == -signal.SIGKILL
    assert proxy.passed == 100_000
    (asked,) = host.wait_for(1)
    assert len(asked.body) <= 100_000


def test_the_cutting_proxy_calls_a_function_and_the_request_passes(
    host: ScriptedHost, proxy: CuttingProxy
) -> None:
    done = threading.Event()
    proxy.at(100_000, done.set)
    assert post(proxy, LARGE) == b"yes"
    assert done.is_set()
    assert bytes(host.received[0].body) == LARGE


def test_a_request_that_ends_too_early_uses_up_no_plan(proxy: CuttingProxy) -> None:
    proxy.cut(len(LARGE) + 1)
    assert post(proxy, LARGE) == b"yes"
    with pytest.raises(requests.ConnectionError):
        post(proxy, LARGE + LARGE)


def test_the_cutting_proxy_delays_large_requests(proxy: CuttingProxy) -> None:
    proxy.delay = 0.3
    begin = time.monotonic()
    post(proxy, SMALL)
    middle = time.monotonic()
    post(proxy, LARGE)
    assert middle - begin < 0.3 <= time.monotonic() - middle


def test_the_cutting_proxy_is_down_for_a_while(proxy: CuttingProxy) -> None:
    with requests.Session() as session:
        session.get(proxy.url, timeout=60)
        proxy.down_for(0.5)
        with pytest.raises(requests.ConnectionError):
            post(proxy, SMALL)
        time.sleep(0.8)
        assert session.get(proxy.url, timeout=60).content == b"yes"
    assert proxy.connections == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("store", ["s3", "gs", "abfs"], indirect=True)
def test_an_upload_to_a_store_is_cut_and_comes_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(store, BucketStore)
    data = random.Random(1).randbytes(1_000_000)
    with CuttingProxy(store.url) as proxy:
        monkeypatch.setenv(f"AIRFLOW_CONN_CUT_{store.scheme.upper()}", store.connection(proxy.url))
        proxy.cut(500_000)
        uri = f"{store.root_by(f'cut_{store.scheme}')}/a.png"
        ObjectStoragePath(uri).write_bytes(data)
        assert (proxy.cuts, proxy.large, proxy.passed) == (1, 2, 1_500_000)
    assert store.read(uri) == data
    assert store.names() == ["a.png"]


def test_the_cutting_proxy_cuts_a_body_in_chunks(gcs: str) -> None:
    store = GcsStore(gcs)
    store.make_bucket()
    with CuttingProxy(store.url) as proxy:
        query = f"uploadType=media&name={store.prefix}a.png"
        url = f"{proxy.url}/upload/storage/v1/b/{store.bucket}/o?{query}"
        proxy.cut(10_000)
        with pytest.raises(requests.ConnectionError):
            requests.post(url, data=iter([SMALL] * 50), timeout=60)
        assert (proxy.cuts, store.names()) == (1, [])
        requests.post(url, data=iter([SMALL] * 50), timeout=60)
    assert store.read(f"{store.root}/a.png") == SMALL * 50
