"""The synchronous client over real HTTP: submits, waits and downloads, as the hook connects it."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import requests
from tenacity import wait_fixed

from airflow_provider_flux.bfl import errors, retries
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.responses import GenerationResult, Submission
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from tests.conftest import KEY
from tests.support.scripted_host import ScriptedHost, redirect
from tests.support.submit_by_client import both_clients, new_poller, submit_by_hook, wait_by_hook

pytestmark = pytest.mark.usefixtures("hurry")


def generate(prompt: str = "a fox", **parameters: object) -> GenerationResult:
    return wait_by_hook(submit_by_hook("flux-pro-1.1", {"prompt": prompt, **parameters}))


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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
    """Answer one connection with ``answer``, and return the URL and the received bytes."""
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
def test_a_redirected_submit_is_uncertain_with_any_location(connect, location: bytes) -> None:
    head = b"HTTP/1.1 307 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location
    url, received = serve_once(head)
    connect(url)
    with pytest.raises(errors.FluxSubmitUncertainError):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    assert received[0].startswith(b"POST")


def test_a_submit_is_uncertain_if_the_proxy_disconnects_after_it(connect) -> None:
    url, received = serve_once(b"")
    connect("http://bfl.test", proxy=url)
    with pytest.raises(errors.FluxSubmitUncertainError):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    assert len(received) == 1
    assert received[0].startswith(b"POST http://bfl.test/v1/flux-pro-1.1")


def test_a_proxy_that_refuses_the_tunnel_receives_no_submit(connect) -> None:
    url, received = serve_once(
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    )
    connect("https://api.bfl.ai", proxy=url)
    with pytest.raises(errors.FluxConnectionError):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    assert received[0].startswith(b"CONNECT api.bfl.ai:443")


def test_a_server_without_a_trusted_certificate_receives_no_key(connect) -> None:
    url, received = serve_once(b"HTTP/1.1 200 OK\r\n\r\n")  # no TLS at all behind https
    connect(url.replace("http://", "https://"))
    with pytest.raises(FluxError):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    assert b"x-key" not in b"".join(received)


def test_the_key_is_not_sent_to_a_host_behind_a_backslash(emulator: EmulatorServer) -> None:
    with pytest.raises(errors.FluxUntrustedURLError):
        FluxHook().get_conn().get_result("r", r"https://localhost\.bfl.ai/v1/get_result?id=r")


def test_the_debug_log_of_urllib3_holds_no_signature(emulator: EmulatorServer, caplog) -> None:
    sample = generate().sample
    assert sample is not None
    with caplog.at_level("DEBUG", logger="urllib3.connectionpool"):
        FluxHook().get_conn().download(sample)
    assert "GET /results/" in caplog.text
    assert "sig=" not in caplog.text


def test_the_sync_client_serves_many_calls_by_one_connection(emulator: EmulatorServer) -> None:
    hook = FluxHook()
    for _ in range(5):
        hook.get_conn().get_credits()
    pools = hook.get_conn()._transport._session.get_adapter(emulator.url).poolmanager.pools
    assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118 - not a dict


@pytest.mark.parametrize(
    ("fault", "paid"),
    [("rate-limit=2", 1), ("rate-limit=1,0.2", 1)],
)
def test_a_submit_waits_for_a_full_account(emulator: EmulatorServer, fault: str, paid: int) -> None:
    assert generate(f"x [[fault:{fault}]]").status.is_success
    assert emulator.stats()["submits"] == paid


def test_the_wait_for_a_full_account_ends_after_max_wait(emulator: EmulatorServer) -> None:
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
def test_a_submit_that_bfl_may_have_billed_is_never_repeated(
    emulator: EmulatorServer, fault: str, error: type[FluxError], paid: int
) -> None:
    with pytest.raises(error) as caught:
        submit_by_hook("flux-pro-1.1", {"prompt": f"x [[fault:{fault}]]"})
    stats = emulator.stats()
    assert stats["submits"] == paid
    assert stats["submits"] + stats["refused"] == 1
    assert KEY not in str(caught.value)


@both_clients
@pytest.mark.parametrize("status", [408, 409, 421, 425, 451, 499])
def test_a_submit_with_an_undocumented_answer_is_uncertain_and_not_repeated(
    emulator: EmulatorServer, submit: Callable[..., Submission], status: int
) -> None:
    """Fault 11: these answers counted as refusals, and a batch posted again."""
    with pytest.raises(errors.FluxSubmitUncertainError, match=f"HTTP {status}"):
        submit("flux-pro-1.1", {"prompt": f"x [[fault:submit-status={status},3]]"})
    assert (emulator.stats()["submits"], emulator.stats()["refused"]) == (0, 1)


def test_an_error_holds_no_webhook_secret_of_the_connection(
    emulator: EmulatorServer, connect
) -> None:
    connect(emulator.url, webhook_secret="whs_from_connection", webhook_hosts="127.0.0.1")
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


def test_an_error_of_connecting_says_that_nothing_was_sent(connect, free_port: int) -> None:
    connect(f"http://127.0.0.1:{free_port}")
    with pytest.raises(errors.FluxConnectionError, match="Nothing was sent"):
        submit_by_hook("flux-pro-1.1", {"prompt": "x"})
    with pytest.raises(errors.FluxConnectionError):
        FluxHook().get_conn().get_credits()


def test_a_service_that_starts_late_receives_one_submit(
    connect, free_port: int, monkeypatch
) -> None:
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
def test_waiting_for_a_result_survives_transient_errors(
    emulator: EmulatorServer, fault: str
) -> None:
    assert generate(f"x [[fault:{fault}]]").status.is_success
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("fault", "error", "message"),
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
def test_each_failure_of_a_generation_has_its_own_error_type(
    emulator: EmulatorServer, fault: str, error: type[FluxError], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        generate(f"x [[fault:{fault}]]")
    assert emulator.stats()["submits"] == 1


def test_waiting_ends_at_the_deadline_after_a_last_poll(emulator: EmulatorServer) -> None:
    submission = submit_by_hook("flux-pro-1.1", {"prompt": "x [[fault:stuck]]"})
    started = time.time()
    with pytest.raises(errors.FluxTimeoutError, match=submission.request_id):
        wait_by_hook(submission, deadline=started + 1)
    assert 0.9 < time.time() - started < 2
    pausing = new_poller(submission, pause_at=time.time())
    assert FluxHook().get_conn().wait_or_pause(pausing, submission.polling_url) is None


def test_a_submission_without_polling_url_is_polled_at_the_host_of_the_connection(
    emulator: EmulatorServer,
) -> None:
    assert generate("x [[fault:no-polling-url]]").status.is_success


def test_a_request_is_polled_in_its_own_region_if_the_connection_trusts_the_host(connect) -> None:
    with EmulatorServer(
        EmulatorConfig(latency=0.1, region_hosts=("127.0.0.2", "127.0.0.3"))
    ) as server:
        connect(server.url, trusted_hosts="127.0.0.2,127.0.0.3")
        assert generate().status.is_success
        connect(server.url)
        with pytest.raises(errors.FluxUntrustedURLError):
            generate()


@pytest.mark.parametrize("fault", ["truncate=2", "reset=2", "deliver-503=1,0.1"])
def test_a_download_that_breaks_off_is_repeated(emulator: EmulatorServer, fault: str) -> None:
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
def test_the_error_of_a_download_names_the_reason_without_the_signature(
    emulator: EmulatorServer, fault: str, error: type[FluxError]
) -> None:
    sample = generate(f"x [[fault:{fault}]]").sample
    assert sample is not None
    signature = sample.partition("sig=")[2]
    with pytest.raises(error) as caught:
        FluxHook().get_conn().download(sample)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert signature not in str(caught.value)


def test_a_download_stops_at_max_bytes(emulator: EmulatorServer) -> None:
    sample = generate().sample
    assert sample is not None
    with pytest.raises(errors.FluxImageError, match="larger than 1000 bytes"):
        FluxHook().get_conn().download(sample, max_bytes=1000)


@pytest.fixture
def redirecting_host(emulator: EmulatorServer) -> Iterator[Callable[[str], str]]:
    """Start a trusted host that redirects to a location, and return its URL."""
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


def test_a_download_in_a_redirect_loop_ends_with_an_error(
    emulator, connect, redirecting_host
) -> None:
    connect(emulator.url, trusted_hosts="127.0.0.1")
    with pytest.raises(errors.FluxUntrustedURLError, match="redirected more than 3 times"):
        FluxHook().get_conn().download(redirecting_host("/start"))


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("hops", [1, 3, 4])
def test_a_poll_follows_up_to_three_redirects_between_trusted_hosts(
    connect, hops: int, asynchronous: bool
) -> None:
    """Fault 19: a poll that another trusted host had to answer ended its generation for good."""
    ready = {"id": "r", "status": "Ready", "result": {"sample": "https://api.bfl.ai/s"}}
    with ScriptedHost() as first, ScriptedHost("127.0.0.2") as second:
        hosts = [first, second]
        for hop in range(hops):
            there = f"{hosts[(hop + 1) % 2].url}/{hop + 1}"
            hosts[hop % 2].answers[f"/{hop}"] = redirect(there, 307)
        hosts[hops % 2].answers[f"/{hops}"] = lambda exchange: exchange.send_json(ready)
        connect(first.url, trusted_hosts="127.0.0.2")
        if hops > 3:
            with pytest.raises(errors.FluxServiceError, match="more than 3 times"):
                poll(f"{first.url}/0", asynchronous=asynchronous)
        else:
            assert poll(f"{first.url}/0", asynchronous=asynchronous).status.is_success
        received = [*first.received, *second.received]
        assert len(received) == min(hops, 3) + 1
        assert {request.headers["x-key"] for request in received} == {KEY}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_poll_sends_the_key_to_no_host_that_is_not_trusted(connect, asynchronous: bool) -> None:
    """Fault 19: a redirect is followed only after its check."""
    with ScriptedHost() as first, ScriptedHost("127.0.0.2") as stranger:
        first.answers["/0"] = redirect(f"{stranger.url}/1")
        connect(first.url)
        with pytest.raises(errors.FluxUntrustedURLError, match="redirect of the polling URL"):
            poll(f"{first.url}/0", asynchronous=asynchronous)
        assert stranger.received == []


def poll(url: str, *, asynchronous: bool) -> GenerationResult:
    """Poll once with one of the clients."""

    async def poll_async() -> GenerationResult:
        async with FluxHook().async_client() as client:
            return await client.poll("r", url)

    return asyncio.run(poll_async()) if asynchronous else FluxHook().get_conn().poll("r", url)


def test_a_webhook_is_called_with_the_secret_of_the_connection(
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
    connect(emulator.url, webhook_secret="whs_from_connection", webhook_hosts="127.0.0.1")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
    submission = submit_by_hook("flux-pro-1.1", {"prompt": "x", "webhook_url": url})
    assert submission.polling_url is None
    thread.join(5)
    listener.close()
    assert "whs_from_connection" in received[0]
    assert wait_by_hook(submission).status.is_success


def test_the_proxy_of_the_connection_precedes_that_of_the_environment(
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
    monkeypatch.setenv("http_proxy", dead)  # the proxy of the connection is used
    assert FluxHook().get_conn().get_credits() == 1000
    connect("http://bfl.test")
    monkeypatch.setenv("http_proxy", emulator.url)
    assert FluxHook().get_conn().get_credits() == 1000


def test_the_sync_client_reads_no_netrc_file(
    emulator: EmulatorServer, monkeypatch, tmp_path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(netrc))
    prepared = (
        FluxHook()
        .get_conn()
        ._transport._session.prepare_request(requests.Request("GET", emulator.url))
    )
    assert "Authorization" not in prepared.headers
