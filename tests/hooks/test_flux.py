"""The hook over real HTTP: connections, retries that cannot pay twice, trust, redaction."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.provider_info import CONNECTION_FORM
from tests.conftest import KEY
from tests.support.submit_by_client import poller_of, submit_by_hook, wait_for

pytestmark = pytest.mark.usefixtures("hurry")


def generate(prompt: str = "a fox", **parameters: object) -> GenerationResult:
    return wait_for(submit_by_hook("flux-pro-1.1", {"prompt": prompt, **parameters}))


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_hook_submits_waits_and_downloads(emulator: EmulatorServer) -> None:
    result = generate(seed=7, width=256, height=256, output_format="png")
    assert result.seed == 7
    assert result.sample is not None
    assert FluxHook().get_conn().download(result.sample).startswith(b"\x89PNG")
    stats = emulator.stats()
    assert (stats["submits"], stats["key_seen_on_delivery"]) == (1, 0)


def test_get_result_polls_once_and_retries_transient_errors(emulator: EmulatorServer) -> None:
    hook = FluxHook()
    submission = submit_by_hook(
        "flux-pro-1.1", {"prompt": "x [[fault:poll-500=2]] [[fault:slow=30]]"}
    )
    result = hook.get_conn().get_result(submission.request_id, submission.polling_url)
    assert (result.status_text, result.sample) == ("Pending", None)
    assert emulator.stats()["polls"] == 3
    assert hook.get_conn().get_result("no-such-task").status_text == "Task not found"


def serve_once(answer: bytes) -> tuple[str, list[bytes]]:
    """Answer one connection with these bytes; return the URL, and what was received."""
    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            received.append(connection.recv(65536))
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", received


@pytest.mark.parametrize("location", [b"http://[::1", b"\xff\xfe", b"/elsewhere"])
def test_a_redirected_submit_is_uncertain_whatever_its_location(connect, location: bytes) -> None:
    head = b"HTTP/1.1 307 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location
    url, received = serve_once(head)
    connect(url)
    with pytest.raises(errors.FluxSubmitUncertainError):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    assert received[0].startswith(b"POST")


def test_a_proxy_that_breaks_off_after_the_submit_leaves_it_uncertain(connect) -> None:
    url, received = serve_once(b"")
    connect("http://bfl.test", proxy=url)
    with pytest.raises(errors.FluxSubmitUncertainError):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    assert len(received) == 1
    assert received[0].startswith(b"POST http://bfl.test/v1/flux-pro-1.1")


def test_a_proxy_that_refuses_the_tunnel_was_sent_nothing(connect) -> None:
    url, received = serve_once(
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    )
    connect("https://api.bfl.ai", proxy=url)
    with pytest.raises(errors.FluxConnectionError):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    assert received[0].startswith(b"CONNECT api.bfl.ai:443")


def test_a_certificate_that_is_not_trusted_was_sent_nothing(connect) -> None:
    url, received = serve_once(b"HTTP/1.1 200 OK\r\n\r\n")  # no TLS at all behind https
    connect(url.replace("http://", "https://"))
    with pytest.raises(FluxError):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    assert b"x-key" not in b"".join(received)


def test_the_key_does_not_follow_a_backslash(emulator: EmulatorServer) -> None:
    with pytest.raises(errors.FluxUntrustedURLError):
        FluxHook().get_conn().get_result("r", r"https://localhost\.bfl.ai/v1/get_result?id=r")


def test_the_debug_log_of_urllib3_holds_no_signature(emulator: EmulatorServer, caplog) -> None:
    sample = generate().sample
    assert sample is not None
    with caplog.at_level("DEBUG", logger="urllib3.connectionpool"):
        FluxHook().get_conn().download(sample)
    assert "GET /results/" in caplog.text
    assert "sig=" not in caplog.text


def test_one_pooled_connection_serves_many_calls(emulator: EmulatorServer) -> None:
    hook = FluxHook()
    for _ in range(5):
        hook.get_conn().get_credits()
    pools = hook.get_conn()._transport._session.get_adapter(emulator.url).poolmanager.pools
    assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118 - not a dict


def test_the_test_button_shows_the_balance_and_never_the_key(emulator: EmulatorServer) -> None:
    assert FluxHook().get_conn().get_credits() == 1000
    ok, said = FluxHook().test_connection()
    assert ok
    assert "1000 credits" in said
    assert KEY not in said
    assert emulator.stats()["submits"] == 0


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("not-a-key", "refused the API key"),
        ("bfl_revoked_0123456789", "refused the API key"),
        (None, "no API key"),
    ],
)
def test_the_test_button_says_what_is_wrong(
    emulator: EmulatorServer, connect, password: str | None, said: str
) -> None:
    connect(emulator.url, password)
    ok, message = FluxHook().test_connection()
    assert not ok
    assert said in message
    assert "bfl_revoked_0123456789" not in message


def test_the_environment_stands_in_for_a_missing_default_connection(
    emulator_process: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator_process.reset()
    monkeypatch.setenv("BFL_API_KEY", KEY)
    monkeypatch.setenv("BFL_API_BASE", emulator_process.url)
    assert FluxHook().get_conn().get_credits() == 1000
    monkeypatch.delenv("BFL_API_BASE")
    assert FluxHook().settings.base_url == "https://api.bfl.ai"
    with pytest.raises(errors.FluxConfigurationError, match="'flux_other' does not exist"):
        _ = FluxHook("flux_other").settings


def test_the_error_of_a_missing_connection_names_the_remedies() -> None:
    with pytest.raises(
        errors.FluxConfigurationError, match=r"'flux_default' does not exist.*BFL_API_KEY"
    ):
        _ = FluxHook().settings


def test_a_connection_may_be_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_FLUX_DEFAULT", f"flux://:{KEY}@/?region=eu&read_timeout=30&max_active=6"
    )
    settings = FluxHook().settings
    assert (settings.base_url, settings.read_timeout, settings.max_active) == (
        "https://api.eu.bfl.ai",
        30,
        6,
    )
    monkeypatch.setenv("AIRFLOW_CONN_FLUX_DEFAULT", f"flux://:{KEY}@http%3A%2F%2Flocalhost:8123")
    assert FluxHook().settings.base_url == "http://localhost:8123"


def test_the_form_is_declared_on_the_hook_too() -> None:
    assert FluxHook.get_ui_field_behaviour() == CONNECTION_FORM


@pytest.mark.parametrize(
    ("fault", "paid"),
    [("rate-limit=2", 1), ("rate-limit=1,0.2", 1)],
)
def test_a_full_account_is_waited_for(emulator: EmulatorServer, fault: str, paid: int) -> None:
    assert generate(f"x [[fault:{fault}]]").status.is_success
    assert emulator.stats()["submits"] == paid


def test_the_wait_for_a_full_account_has_a_limit(emulator: EmulatorServer) -> None:
    with pytest.raises(errors.FluxRateLimitedError):
        submit_by_hook("flux-pro-1.1", {"prompt": "x [[fault:rate-limit=99]]"}, max_wait=0.3)
    assert emulator.stats()["submits"] == 0


@pytest.mark.parametrize(
    ("fault", "error", "paid"),
    [
        ("no-credits", errors.FluxInsufficientCreditsError, 0),
        ("submit-500", errors.FluxSubmitUncertainError, 0),
        ("submit-503=1", errors.FluxSubmitUncertainError, 0),
        ("submit-lost", errors.FluxSubmitUncertainError, 1),
        ("detail-object", errors.FluxRequestError, 0),
        ("echo-secrets", errors.FluxRequestError, 0),
    ],
)
def test_a_submit_that_may_have_been_paid_is_never_repeated(
    emulator: EmulatorServer, fault: str, error: type[FluxError], paid: int
) -> None:
    with pytest.raises(error) as caught:
        submit_by_hook("flux-pro-1.1", {"prompt": f"x [[fault:{fault}]]"})
    stats = emulator.stats()
    assert stats["submits"] == paid
    assert stats["submits"] + stats["refused"] == 1
    assert KEY not in str(caught.value)


def test_the_connections_webhook_secret_is_not_echoed(emulator: EmulatorServer, connect) -> None:
    connect(emulator.url, webhook_secret="whs_from_connection")
    with pytest.raises(errors.FluxRequestError) as caught:
        submit_by_hook(
            "flux-pro-1.1",
            {"prompt": "x [[fault:echo-secrets]]", "webhook_url": "http://127.0.0.1:9"},
        )
    assert "whs_from_connection" not in str(caught.value)


def test_a_submit_whose_answer_times_out_is_uncertain(emulator: EmulatorServer, connect) -> None:
    connect(emulator.url, read_timeout=0.3)
    with pytest.raises(errors.FluxSubmitUncertainError, match="possible second charge"):
        submit_by_hook("flux-pro-1.1", {"prompt": "x [[fault:submit-hang=1]]"})
    assert emulator.stats()["submits"] == 1


def test_a_service_that_is_not_there_was_sent_nothing(connect, free_port: int) -> None:
    connect(f"http://127.0.0.1:{free_port}")
    with pytest.raises(errors.FluxConnectionError, match="Nothing was sent"):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    with pytest.raises(errors.FluxConnectionError):
        FluxHook().get_conn().get_credits()


def test_a_service_that_comes_up_late_is_submitted_to_once(
    connect, free_port: int, monkeypatch
) -> None:
    from tenacity import wait_fixed

    from airflow_provider_flux.bfl import retries

    monkeypatch.setattr(retries, "_BACKOFF", wait_fixed(1))
    connect(f"http://127.0.0.1:{free_port}")
    server = EmulatorServer(EmulatorConfig(port=free_port))
    threading.Timer(0.5, server.start).start()
    try:
        assert submit_by_hook("flux-pro-1.1", {"prompt": "x"}).request_id
        assert server.stats()["submits"] == 1
    finally:
        server.stop()


@pytest.mark.parametrize(
    "fault",
    [
        "poll-500=2",
        "poll-503=1,0.2",
        "poll-429=2",
        "poll-reset=2",
        "poll-html=1",
        "not-found=2",
        "unknown-status=3",
        "state-key",
        "slow=0.5",
    ],
)
def test_the_wait_survives_transient_errors(emulator: EmulatorServer, fault: str) -> None:
    assert generate(f"x [[fault:{fault}]]").status.is_success
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("moderated=Violence", errors.FluxModeratedError, "Violence"),
        ("request-moderated", errors.FluxModeratedError, "prompt or an input"),
        ("moderated-text", errors.FluxModeratedError, "moderation"),
        ("error", errors.FluxGenerationError, "'Error'"),
        ("error-422", errors.FluxGenerationError, "'Error'"),
        ("failed", errors.FluxGenerationError, "'Failed'"),
        ("lost", errors.FluxTaskNotFoundError, "does not know"),
        ("poll-403", errors.FluxAuthenticationError, "refused the API key"),
        ("poll-redirect", errors.FluxUntrustedURLError, "redirect"),
        ("foreign-polling-url", errors.FluxUntrustedURLError, "evil.example"),
    ],
)
def test_the_end_of_a_generation_is_typed(
    emulator: EmulatorServer, fault: str, error: type[FluxError], said: str
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        generate(f"x [[fault:{fault}]]")
    assert emulator.stats()["submits"] == 1


def test_waiting_ends_at_the_deadline_after_a_last_poll(emulator: EmulatorServer) -> None:
    submission = submit_by_hook("flux-pro-1.1", {"prompt": "x [[fault:stuck]]"})
    started = time.time()
    with pytest.raises(errors.FluxTimeoutError, match=submission.request_id):
        wait_for(submission, deadline=started + 1)
    assert 0.9 < time.time() - started < 2
    pausing = poller_of(submission, pause_at=time.time())
    assert FluxHook().get_conn().wait_or_pause(pausing, submission.polling_url) is None


def test_without_a_polling_url_the_host_of_the_connection_is_asked(
    emulator: EmulatorServer,
) -> None:
    assert generate("x [[fault:no-polling-url]]").status.is_success


def test_a_task_is_asked_for_in_its_own_region(connect) -> None:
    with EmulatorServer(
        EmulatorConfig(latency=0.1, region_hosts=("127.0.0.2", "127.0.0.3"))
    ) as server:
        connect(server.url, trusted_hosts="127.0.0.2,127.0.0.3")
        assert generate().status.is_success
        connect(server.url)
        with pytest.raises(errors.FluxUntrustedURLError):
            generate()


@pytest.mark.parametrize("fault", ["truncate=2", "reset=2", "deliver-503=1,0.1"])
def test_a_broken_download_is_started_again(emulator: EmulatorServer, fault: str) -> None:
    sample = generate(f"x [[fault:{fault}]]").sample
    assert sample is not None
    assert FluxHook().get_conn().download(sample).endswith(b"\xff\xd9")
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("expired=always", errors.FluxResultExpiredError),
        ("redirect-download", errors.FluxUntrustedURLError),
        ("truncate=always", errors.FluxServiceError),
    ],
)
def test_a_download_that_cannot_work_says_why_without_the_signature(
    emulator: EmulatorServer, fault: str, error: type[FluxError]
) -> None:
    sample = generate(f"x [[fault:{fault}]]").sample
    assert sample is not None
    signature = sample.partition("sig=")[2]
    with pytest.raises(error) as caught:
        FluxHook().get_conn().download(sample)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert signature not in str(caught.value)


def test_a_result_that_is_too_large_is_not_read_on(emulator: EmulatorServer) -> None:
    sample = generate().sample
    assert sample is not None
    with pytest.raises(errors.FluxImageError, match="larger than 1000 bytes"):
        FluxHook().get_conn().download(sample, max_bytes=1000)


@pytest.fixture
def redirecting_host(emulator: EmulatorServer) -> Iterator[Callable[[str], str]]:
    """A trusted host that redirects to wherever it is told."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(target: str) -> str:
        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    head = (
                        f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n"
                        "Content-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                    connection.sendall(head.encode())

        threading.Thread(target=answer, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/start"

    yield serve
    listener.close()


def test_a_download_follows_redirects_between_trusted_hosts_only(
    emulator, connect, redirecting_host
) -> None:
    connect(emulator.url, trusted_hosts="127.0.0.1")
    sample = generate().sample
    assert sample is not None
    url = redirecting_host(sample)
    assert FluxHook().get_conn().download(url).endswith(b"\xff\xd9")
    assert emulator.stats()["key_seen_on_delivery"] == 0


def test_a_redirect_loop_ends(emulator, connect, redirecting_host) -> None:
    connect(emulator.url, trusted_hosts="127.0.0.1")
    with pytest.raises(errors.FluxUntrustedURLError, match="redirected more than 3 times"):
        FluxHook().get_conn().download(redirecting_host("/start"))


def test_the_connections_webhook_secret_goes_along_with_a_webhook(
    emulator: EmulatorServer, connect
) -> None:
    received: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def receive() -> None:
        connection, _ = listener.accept()
        with connection:
            received.append(connection.recv(65536).decode())
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    connect(emulator.url, webhook_secret="whs_from_connection")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
    submission = submit_by_hook("flux-pro-1.1", {"prompt": "x", "webhook_url": url})
    assert submission.polling_url is None
    thread.join(5)
    listener.close()
    assert "whs_from_connection" in received[0]
    assert wait_for(submission).status.is_success


def test_a_proxy_of_the_connection_and_of_the_environment_is_used(
    emulator: EmulatorServer, connect, monkeypatch, free_port: int
) -> None:
    dead = f"http://user:hidden@127.0.0.1:{free_port}"
    connect("http://bfl.test", proxy=dead)
    with pytest.raises(errors.FluxConnectionError) as caught:
        FluxHook().get_conn().get_credits()
    assert "hidden" not in str(caught.value)
    # Asked as a proxy, the emulator answers absolute URLs.
    connect("http://bfl.test", proxy=emulator.url)
    assert FluxHook().get_conn().get_credits() == 1000
    monkeypatch.setenv("http_proxy", dead)  # the connection's own wins
    assert FluxHook().get_conn().get_credits() == 1000
    connect("http://bfl.test")
    monkeypatch.setenv("http_proxy", emulator.url)
    assert FluxHook().get_conn().get_credits() == 1000


def test_a_netrc_file_adds_no_credentials(emulator: EmulatorServer, monkeypatch, tmp_path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(netrc))
    prepared = (
        FluxHook()
        .get_conn()
        ._transport._session.prepare_request(requests.Request("GET", emulator.url))
    )
    assert "Authorization" not in prepared.headers
