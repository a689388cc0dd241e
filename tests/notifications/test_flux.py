"""FluxNotifier: messages to a real SMTP server, and to an HTTP server with Slack's API."""

from __future__ import annotations

import email
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from email.message import Message as Mail
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.utils.db import initdb

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.notifications.flux import FluxNotifier
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.support.airflow_names import AIRFLOW
from tests.support.cluster.processes import free_port
from tests.support.review_tries import ReviewTask, generate_candidates

SMALL = {"width": 512, "height": 512}


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


class SlackServer(ThreadingHTTPServer):
    """The routes of Slack's API that post a message and upload files.

    :ivar calls: method and arguments of each call.
    :ivar files: bytes of each uploaded file.
    :ivar refused: methods that answer with an error, as without their scope.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: list[bytes] = []
        self.refused: set[str] = set()
        super().__init__(("127.0.0.1", 0), _SlackHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/api/"

    def arguments_of(self, method: str) -> list[dict[str, Any]]:
        """Return the arguments of the calls of a method."""
        return [arguments for name, arguments in self.calls if name == method]


class _SlackHandler(BaseHTTPRequestHandler):
    server: SlackServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        method = path.rpartition("/")[2]
        if method == "upload":
            self.server.files.append(body)
            self._answer(b"OK")
            return
        self.server.calls.append((method, self._read(body or query.encode())))
        if method in self.server.refused:
            self._answer(b'{"ok": false, "error": "missing_scope"}')
            return
        answer: dict[str, Any] = {"ok": True, "files": [{"id": "F1"}], "channel": "C1", "ts": "1"}
        if method == "files.getUploadURLExternal":
            answer |= {"upload_url": f"{self.server.url}upload", "file_id": "F1"}
        self._answer(json.dumps(answer).encode())

    def do_GET(self) -> None:
        self.do_POST()

    def _read(self, body: bytes) -> dict[str, Any]:
        if (self.headers["Content-Type"] or "").startswith("application/json"):
            return dict(json.loads(body))
        return dict(urllib.parse.parse_qsl(body.decode()))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    """Slack on loopback, and a connection to it."""
    pytest.importorskip("airflow.providers.slack")
    with SlackServer() as server:
        connection = {
            "conn_type": "slack",
            "password": "xoxb-test",
            "extra": {"base_url": server.url},
        }
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", json.dumps(connection))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Mail]]:
    """Mails that a real SMTP server on loopback got, and a connection to it."""
    pytest.importorskip("airflow.providers.smtp")
    controllers = pytest.importorskip("aiosmtpd.controller")
    received: list[Mail] = []

    class Handler:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
            received.append(email.message_from_bytes(envelope.content, policy=default))
            return "250 OK"

    port = free_port()
    controller = controllers.Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    yield received
    controller.stop()


def run(make: Callable[[], Any], **arguments: Any) -> str:
    """Run a DAG of one task, and return its state."""
    with DAG("notified", schedule=None, **arguments):
        task = make()
    return str(run_dag(task.dag).state)


def hero(root: Path, prompt: str = "a fox", **arguments: Any) -> FluxGenerateOperator:
    return FluxGenerateOperator(
        task_id="hero",
        prompt=prompt,
        output_path=f"file://{root}/hero.{{ext}}",
        deferrable=False,
        **SMALL,
        **arguments,
    )


def text_of(mail: Mail) -> str:
    (body,) = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    return str(body.get_content())  # type: ignore[attr-defined]


class TestSlack:
    def test_a_landed_image_is_posted_with_its_thumb(
        self, emulator: EmulatorServer, slack: SlackServer, tmp_path: Path
    ) -> None:
        notifier = FluxNotifier(slack_channel="C0123456789")
        assert run(lambda: hero(tmp_path, on_success_callback=notifier)) == "success"
        (upload,) = slack.arguments_of("files.completeUploadExternal")
        assert upload["channel_id"] == "C0123456789"
        assert "*notified.hero: the image has landed*" in upload["initial_comment"]
        assert "Cost: 4 credits ($0.04)" in upload["initial_comment"]
        (thumb,) = [path for path in tmp_path.iterdir() if "thumb" in path.name]
        (file,) = slack.files
        assert thumb.read_bytes() in file
        assert not slack.arguments_of("chat.postMessage")

    @pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow 3.0 cannot ask a person")
    def test_a_review_that_waits_is_posted_with_a_link_to_its_page(
        self,
        emulator: EmulatorServer,
        slack: SlackServer,
        hurry: None,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://flux.example.com/airflow")
        notifier = FluxNotifier(slack_channel="C0123456789")
        ReviewTask(tmp_path, generate_candidates(tmp_path), notifiers=notifier).ask()
        (post,) = slack.arguments_of("chat.postMessage")
        assert post["text"].splitlines() == [
            "*shop.review: 4 candidates wait for a reviewer*",
            "Run: night",
            "Review: https://flux.example.com/airflow/flux/dags/shop/runs/night/tasks/review/review",
        ]

    def test_without_the_right_to_upload_the_text_is_posted(
        self, emulator: EmulatorServer, slack: SlackServer, tmp_path: Path
    ) -> None:
        slack.refused.add("files.getUploadURLExternal")
        notifier = FluxNotifier(slack_channel="C0123456789")
        assert run(lambda: hero(tmp_path, on_success_callback=notifier)) == "success"
        (message,) = slack.arguments_of("chat.postMessage")
        assert message["text"].startswith("*notified.hero: the image has landed*")

    def test_an_error_mentions_nobody(
        self, emulator: EmulatorServer, slack: SlackServer, tmp_path: Path
    ) -> None:
        notifier = FluxNotifier(slack_channel="C0123456789")
        run(lambda: hero(tmp_path, "x [[fault:moderated]]", on_failure_callback=notifier))
        (message,) = slack.arguments_of("chat.postMessage")
        assert message["text"].startswith("*notified.hero failed*\nError: ")
        assert "moderation refused" in message["text"]
        assert "<" not in message["text"]

    def test_a_slack_that_refuses_everything_fails_no_task(
        self, emulator: EmulatorServer, slack: SlackServer, tmp_path: Path
    ) -> None:
        slack.refused |= {"files.getUploadURLExternal", "chat.postMessage"}
        notifier = FluxNotifier(slack_channel="C0123456789")
        assert run(lambda: hero(tmp_path, on_success_callback=notifier)) == "success"


class TestEmail:
    def test_a_landed_image_is_mailed_with_its_thumb(
        self, emulator: EmulatorServer, mails: list[Mail], tmp_path: Path
    ) -> None:
        notifier = FluxNotifier(email_to="art@example.com", text="Hero of {{ dag.dag_id }}")
        assert run(lambda: hero(tmp_path, on_success_callback=notifier)) == "success"
        (mail,) = mails
        assert (mail["Subject"], mail["To"]) == ("Hero of notified", "art@example.com")
        assert mail["From"] == "airflow@example.com"
        (thumb,) = [path for path in tmp_path.iterdir() if "thumb" in path.name]
        attached = [part for part in mail.walk() if part.get_filename()]
        assert [part.get_payload(decode=True) for part in attached] == [thumb.read_bytes()]
        assert f"{tmp_path}/hero.jpeg" in text_of(mail)

    def test_a_batch_is_summarized_without_pictures(
        self, emulator: EmulatorServer, mails: list[Mail], tmp_path: Path
    ) -> None:
        notifier = FluxNotifier(email_to=["a@example.com", "b@example.com"])

        def batch() -> FluxGenerateBatchOperator:
            return FluxGenerateBatchOperator(
                task_id="all",
                requests=["a fox", "a hare", "x [[fault:moderated]]"],
                defaults=SMALL,
                output_path=f"file://{tmp_path}/{{key}}.{{ext}}",
                on_success_callback=notifier,
            )

        assert run(batch) == "success"
        (mail,) = mails
        assert mail["Subject"] == "notified.all: 2 of 3 images"
        assert "<th align='left'>Moderated</th><td>1</td>" in text_of(mail)
        assert not [part for part in mail.walk() if part.get_filename()]

    def test_a_mail_server_that_is_down_fails_no_task(
        self, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": 9}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        notifier = FluxNotifier(email_to="art@example.com")
        assert run(lambda: hero(tmp_path, on_success_callback=notifier)) == "success"


def test_a_notifier_without_a_receiver_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(FluxRequestError, match="slack_channel or email_to"):
        FluxNotifier()
