"""Webhooks, and the receiver that they are sent to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.emulator.conftest import Client
from tests.support.emulator_media import wait_until


class Receiver:
    """A webhook receiver that refuses the first ``refusals`` calls."""

    def __init__(self) -> None:
        self.refusals = 0
        self.calls: list[tuple[dict[str, str], dict[str, Any]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.calls.append((dict(self.headers), body))
                self.send_response(500 if len(receiver.calls) <= receiver.refusals else 204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def wait_for(self, number: int) -> None:
        deadline = time.monotonic() + 5
        while len(self.calls) < number and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.calls) == number


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook receiver on a real socket."""
    receiver = Receiver()
    thread = threading.Thread(
        target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_webhook_has_the_poll_body_and_the_secret(client: Client, receiver: Receiver) -> None:
    body = client.submit(webhook_url=receiver.url, webhook_secret="s3cret", seed=5)
    assert body == {
        "id": body["id"],
        "status": "Pending",
        "webhook_url": receiver.url,
        "cost": None,
        "input_mp": None,
        "output_mp": None,
    }
    receiver.wait_for(1)
    ((headers, sent),) = receiver.calls
    assert headers["X-Webhook-Secret"] == "s3cret"
    assert (sent["id"], sent["status"], sent["result"]["seed"]) == (body["id"], "Ready", 5)
    assert client.get(sent["result"]["sample"]).status_code == 200


def test_a_webhook_reports_failures_and_needs_no_secret(client: Client, receiver: Receiver) -> None:
    client.submit("[[fault:moderated=Violence]]", webhook_url=receiver.url)
    receiver.wait_for(1)
    ((headers, sent),) = receiver.calls
    assert "X-Webhook-Secret" not in headers
    assert sent["details"] == {"Moderation Reasons": ["Violence"]}


def test_a_refused_webhook_is_sent_again(client: Client, receiver: Receiver) -> None:
    receiver.refusals = 2
    client.submit(webhook_url=receiver.url)
    receiver.wait_for(3)
    wait_until(lambda: client.server.stats()["webhooks"])
    assert client.server.stats()["webhooks"] == 1


def test_a_webhook_without_a_receiver_is_given_up(client: Client) -> None:
    client.submit(webhook_url="http://127.0.0.1:1/hook")
    wait_until(lambda: client.server.stats()["webhooks_failed"] == 1)
    assert client.server.stats()["webhooks"] == 0
