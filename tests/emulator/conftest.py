"""An emulator on a real socket, and a plain client for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.emulator_media import InputServer

KEY = "bfl_emulator_tests"
RUNNING = {"Pending", "Reasoning", "Generating"}


class Client:
    """Calls an emulator as a user of the service would."""

    def __init__(self, server: EmulatorServer, key: str = KEY) -> None:
        self.server = server
        self.headers = {"x-key": key}

    def post(self, model: str = "flux-pro-1.1", **kwargs: Any) -> requests.Response:
        """Submit with arguments of ``requests``, and return the response."""
        kwargs.setdefault("headers", self.headers)
        return requests.post(f"{self.server.url}/v1/{model}", timeout=60, **kwargs)

    def submit(
        self, prompt: str | None = "a red fox", model: str = "flux-pro-1.1", **parameters: Any
    ) -> dict[str, Any]:
        """Submit, and return the body of a response with status 200."""
        response = self.post(
            model, json=parameters if prompt is None else {"prompt": prompt, **parameters}
        )
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def get(self, url: str, **kwargs: Any) -> requests.Response:
        """Send a GET request without following redirects."""
        return requests.get(url, timeout=60, allow_redirects=False, **kwargs)

    def credits(self) -> float:
        """Return the balance."""
        return float(
            self.get(f"{self.server.url}/v1/credits", headers=self.headers).json()["credits"]
        )

    def wait(self, task: dict[str, Any]) -> dict[str, Any]:
        """Poll until the task has ended, and return the body."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            body: dict[str, Any] = self.get(task["polling_url"]).json()
            if body["status"] not in RUNNING:
                return body
            time.sleep(0.01)
        raise AssertionError(f"still running: {body}")

    def sample(self, prompt: str | None = "a red fox", **parameters: Any) -> str:
        """Submit, wait and return the signed URL of the result."""
        body = self.wait(self.submit(prompt, **parameters))
        assert body["status"] == "Ready", body
        return str(body["result"]["sample"])

    def image(self, prompt: str | None = "a red fox", **parameters: Any) -> bytes:
        """Submit, wait and download the result."""
        response = self.get(self.sample(prompt, **parameters))
        assert response.status_code == 200, response.text
        return response.content


#: Starts an emulator with a configuration, and returns a client for it.
Start = Callable[..., Client]


@pytest.fixture(scope="session")
def _shared_server() -> Iterator[EmulatorServer]:
    with EmulatorServer(EmulatorConfig(latency=0.03)) as server:
        yield server


@pytest.fixture
def emulator(_shared_server: EmulatorServer) -> EmulatorServer:
    """A fast emulator without accounts and tasks."""
    _shared_server.reset()
    return _shared_server


@pytest.fixture
def client(emulator: EmulatorServer) -> Client:
    """A client of the fast emulator."""
    return Client(emulator)


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts an emulator with a configuration, and returns a client for it."""
    servers: list[EmulatorServer] = []

    def start(**config: Any) -> Client:
        server = EmulatorServer(EmulatorConfig(**{"latency": 0.03, **config}))
        server.start()
        servers.append(server)
        return Client(server)

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def shelf() -> Iterator[InputServer]:
    """A server that inputs are fetched from."""
    with InputServer().open() as shelf:
        yield shelf
