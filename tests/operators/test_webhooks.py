"""The webhook secret of a connection goes only to hosts that the DAG or the connection names."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Param, task
from airflow.utils.db import initdb

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.links import gallery
from airflow_provider_flux.operators.arguments import find_webhook_hosts
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.support.run_operator import new_context

SECRET = "whs_canary_of_the_connection"


class Receiver(http.server.ThreadingHTTPServer):
    """A webhook receiver on loopback that keeps the secrets it gets."""

    def __init__(self) -> None:
        self.secrets: list[str | None] = []
        self.is_called = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.secrets.append(self.headers.get("X-Webhook-Secret"))
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.server.is_called.set()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


@pytest.fixture
def receiver(emulator: EmulatorServer, connect: Callable[..., None]) -> Iterator[Receiver]:
    connect(emulator.url, webhook_secret=SECRET)
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@task
def data(value: Any) -> Any:
    return value


def batch(root: Path, **arguments: Any) -> FluxGenerateBatchOperator:
    arguments = {"requests": ["a fox"], "output_path": f"{root}/{{key}}.jpeg", **arguments}
    return FluxGenerateBatchOperator(task_id="made", **arguments)


def generate(**arguments: Any) -> FluxGenerateOperator:
    return FluxGenerateOperator(task_id="made", prompt="a fox", **arguments)


partial = FluxGenerateOperator.partial
#: Tasks whose DAG file names the host of the webhook.
NAMED_PARAMETERS: dict[str, Callable[[str, Path], Any]] = {
    "argument": lambda url, _: generate(webhook_url=url),
    "parameters": lambda url, _: generate(parameters={"webhook_url": url}),
    "template behind the host": lambda url, _: generate(webhook_url=url + "/{{ run_id }}"),
    "partial": lambda url, _: partial(task_id="made", webhook_url=url).expand(prompt=["a fox"]),
    "defaults": lambda url, root: batch(root, defaults={"webhook_url": url}),
}
#: Tasks whose webhook comes from data, or from whoever triggers the run.
FROM_OUTSIDE: dict[str, Callable[[str, Path], Any]] = {
    "params": lambda url, _: generate(webhook_url="{{ params.url }}"),
    "params in parameters": lambda url, _: generate(parameters={"webhook_url": "{{ params.url }}"}),
    "output": lambda url, _: generate(webhook_url=data(url)),
    "output of parameters": lambda url, _: generate(parameters=data({"webhook_url": url})),
    "expand": lambda url, _: partial(task_id="made", prompt="a fox").expand(
        parameters=data([{"webhook_url": url}])
    ),
    "expand_kwargs": lambda url, _: partial(task_id="made", prompt="a fox").expand_kwargs(
        data([{"webhook_url": url}])
    ),
    "defaults": lambda url, root: batch(root, defaults=data({"webhook_url": url})),
    "params in defaults": lambda url, root: batch(
        root, defaults={"webhook_url": "{{ params.url }}"}
    ),
    "rows": lambda url, root: batch(
        root, requests=[{"prompt": "a fox", "webhook_url": url}], defaults={"webhook_url": url}
    ),
}


def run(make: Callable[[str, Path], Any], url: str, root: Path) -> str:
    with DAG("hooks", schedule=None, params={"url": Param(url, type="string")}) as dag:
        make(url, root)
    return str(run_dag(dag).state)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("way", NAMED_PARAMETERS)
def test_a_host_that_the_dag_file_names_gets_the_secret(
    receiver: Receiver, tmp_path: Path, way: str
) -> None:
    """Fault 4: the webhook of a DAG file needs no entry in the connection."""
    assert run(NAMED_PARAMETERS[way], receiver.url, tmp_path) == "success"
    assert receiver.is_called.wait(20)
    assert receiver.secrets == [SECRET]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("way", FROM_OUTSIDE)
def test_a_host_from_outside_gets_no_secret_and_no_submit(
    emulator: EmulatorServer, receiver: Receiver, tmp_path: Path, way: str
) -> None:
    """Fault 4: whoever supplies the URL would get the secret of the connection."""
    assert run(FROM_OUTSIDE[way], receiver.url, tmp_path) == "failed"
    assert emulator.stats()["submits"] + emulator.stats()["refused"] == 0
    assert receiver.secrets == []


@pytest.mark.usefixtures("database")
def test_a_host_that_the_connection_names_gets_the_secret(
    emulator: EmulatorServer, connect: Callable[..., None], receiver: Receiver, tmp_path: Path
) -> None:
    """Fault 4: ``webhook_hosts`` allows a webhook from outside."""
    connect(emulator.url, webhook_secret=SECRET, webhook_hosts=["127.0.0.1"])
    assert run(FROM_OUTSIDE["params"], receiver.url, tmp_path) == "success"
    assert receiver.is_called.wait(20)
    assert receiver.secrets == [SECRET]


@pytest.fixture
def airflow_3_0(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The version of Airflow whose API server has no plugins with pages."""
    monkeypatch.setattr(gallery, "version", lambda _package: "3.0.6")
    gallery.has_pages.cache_clear()
    yield
    gallery.has_pages.cache_clear()


@pytest.mark.usefixtures("airflow_3_0")
def test_a_webhook_to_a_receiver_that_airflow_does_not_have_is_refused_before_the_submit(
    emulator: EmulatorServer, connect: Callable[..., None]
) -> None:
    connect(emulator.url, webhook_secret=SECRET, webhook_hosts=["airflow.example.com"])
    url = "https://airflow.example.com/flux/webhooks"
    operator = FluxGenerateOperator(task_id="hero", prompt="a fox", webhook_url=url)
    with pytest.raises(Exception, match=r"needs Airflow 3\.1 or newer"):
        operator.execute(new_context())
    assert emulator.stats()["submits"] == 0


@pytest.mark.usefixtures("receiver")
def test_a_hook_sends_the_secret_only_to_hosts_that_it_is_told(emulator: EmulatorServer) -> None:
    """Fault 4: code of a user that submits by the hook."""
    parameters = {"prompt": "a fox", "webhook_url": "https://hooks.example.com/h"}
    request = FluxHook().build_request("flux-pro-1.1", parameters)
    with pytest.raises(FluxRequestError, match=r"hooks\.example\.com/h: the webhook_secret"):
        FluxHook().submit(request)
    assert emulator.stats()["submits"] == 0
    told = FluxHook(webhook_hosts=["*.example.com"])
    assert told.with_webhook_secret(request).parameters["webhook_secret"] == SECRET


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Hooks.example.com/h", "hooks.example.com"),
        ("https://hooks.example.com/{{ run_id }}", "hooks.example.com"),
        ("https://hooks.example.com{{ x }}/h", None),
        ("https://{{ x }}.example.com/h", None),
        ("https://hooks.example.com@{{ x }}/h", None),
        ("https://hooks.example.com\\@evil.example/h", None),
        ("{{ x }}", None),
        ("https:/{{ x }}", None),
        (None, None),
    ],
)
def test_a_template_in_the_host_names_no_host(url: str | None, host: str | None) -> None:
    expected = () if host is None else (host,)
    assert find_webhook_hosts(url) == find_webhook_hosts({"webhook_url": url}) == expected
