"""The names of urllib3 and requests that the adapter relies on, and the module they stay in."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError

import airflow_provider_flux
from airflow_provider_flux.client.urllib3_adapter import TimeoutAdapter, is_nothing_sent

PACKAGE = Path(airflow_provider_flux.__file__).parent


def test_only_the_adapter_imports_urllib3() -> None:
    importing = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(from|import) urllib3", path.read_text(), re.MULTILINE)
    ]
    assert importing == ["client/urllib3_adapter.py"]


@pytest.mark.parametrize("pool", [HTTPConnectionPool, HTTPSConnectionPool])
def test_a_pool_of_urllib3_opens_the_connections_of_its_connection_class(pool: type) -> None:
    assert issubclass(pool.ConnectionCls, HTTPConnection)  # type: ignore[attr-defined]
    assert "self.ConnectionCls(" in inspect.getsource(pool._new_conn)  # type: ignore[attr-defined]


@pytest.mark.parametrize("connection", [HTTPConnection, HTTPSConnection])
def test_a_connection_of_urllib3_sets_its_socket_when_it_connects(connection: type) -> None:
    assert re.search(r"self\.sock\b.* = ", inspect.getsource(connection.connect))  # type: ignore[attr-defined]


def test_requests_takes_its_pools_from_the_method_that_the_adapter_overrides() -> None:
    assert "self.get_connection_with_tls_context(" in inspect.getsource(HTTPAdapter.send)


def test_the_adapter_gives_each_pool_one_class_of_connections() -> None:
    adapter = TimeoutAdapter(7.5)
    request = requests.Request("GET", "https://api.bfl.ai/v1/credits").prepare()
    pools = [
        adapter.get_connection_with_tls_context(request, verify=True, proxies=None, cert=None)
        for _ in range(2)
    ]
    assert pools[0] is pools[1]
    assert pools[0].ConnectionCls.timeout_when_open == 7.5
    assert pools[0].ConnectionCls.__bases__ == (HTTPSConnection,)


def test_an_error_of_a_connection_is_recognized_behind_the_wrappers_of_urllib3() -> None:
    pool = HTTPConnectionPool("127.0.0.1")
    refused = NewConnectionError(HTTPConnection("127.0.0.1"), "refused")
    wrapped = requests.ConnectionError(MaxRetryError(pool, "/v1/credits", refused))
    assert is_nothing_sent(wrapped)
    assert not is_nothing_sent(requests.ConnectionError("reset"))
    assert not is_nothing_sent(None)
