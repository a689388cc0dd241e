"""Large uploads that break off: sent again only if nothing can have been billed."""

from __future__ import annotations

import base64
import io
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.inputs import MediaFile
from tests.support.sample_media import make_large_image
from tests.support.scripted_host import Exchange, ReceivedRequest, ScriptedHost
from tests.support.submit_by_client import (
    LARGE_BYTES,
    Submit,
    answer_accepted,
    both_clients,
    submit_by_hook,
)

pytestmark = pytest.mark.usefixtures("hurry")


def check_large(asked: ReceivedRequest) -> None:
    assert len(asked.body) == int(asked.headers["content-length"])
    assert base64.b64decode(asked.json["input_image"]) == make_large_image(LARGE_BYTES)


def break_off(exchange: Exchange) -> None:
    exchange.read(100_000)
    exchange.hang_up()


def take_and_hang_up(exchange: Exchange) -> None:
    exchange.read()
    exchange.hang_up()


def refuse(exchange: Exchange) -> None:
    exchange.send_json({"detail": "Too many active tasks"}, 429)


@both_clients
def test_an_upload_that_breaks_off_is_made_again(
    service: ScriptedHost, large: dict[str, Any], submit: Submit
) -> None:
    service.answers["*"] = [break_off, break_off, answer_accepted]
    assert submit("flux-2-pro", large).request_id == "r-1"
    assert [len(asked.body) for asked in service.received[:2]] == [100_000, 100_000]
    check_large(service.received[2])


@both_clients
def test_an_upload_that_always_breaks_off_was_never_paid(
    service: ScriptedHost, large: dict[str, Any], submit: Submit
) -> None:
    service.answers["*"] = break_off
    with pytest.raises(errors.FluxConnectionError, match="broke before the whole request was sent"):
        submit("flux-2-pro", large)
    assert len(service.received) == 4


@both_clients
def test_a_connection_that_breaks_after_the_upload_leaves_it_uncertain(
    service: ScriptedHost, large: dict[str, Any], submit: Submit
) -> None:
    service.answers["*"] = take_and_hang_up
    with pytest.raises(errors.FluxSubmitUncertainError):
        submit("flux-2-pro", large)
    assert len(service.received) == 1
    check_large(service.received[0])


@both_clients
def test_an_answer_that_does_not_come_leaves_it_uncertain(
    service: ScriptedHost, connect: Callable[..., None], large: dict[str, Any], submit: Submit
) -> None:
    connect(service.url, read_timeout=1)
    service.answers["*"] = lambda exchange: (exchange.read(), exchange.wait(3))[-1]
    with pytest.raises(errors.FluxSubmitUncertainError):
        submit("flux-2-pro", large)
    assert len(service.received) == 1


@both_clients
def test_an_upload_may_stall_longer_than_a_connection_may_take_to_open(
    service: ScriptedHost, connect: Callable[..., None], large: dict[str, Any], submit: Submit
) -> None:
    connect(service.url, connect_timeout=0.3, read_timeout=10)
    service.answers["*"] = lambda exchange: (
        exchange.read(100_000),
        exchange.wait(0.8),
        answer_accepted(exchange),
    )[-1]
    assert submit("flux-2-pro", large).request_id == "r-1"
    assert len(service.received) == 1
    check_large(service.received[0])


@both_clients
def test_a_full_account_is_sent_the_whole_body_again(
    service: ScriptedHost, large: dict[str, Any], submit: Submit
) -> None:
    service.answers["*"] = [refuse, break_off, refuse, answer_accepted]
    assert submit("flux-2-pro", large).request_id == "r-1"
    for number in (0, 2, 3):
        check_large(service.received[number])


@both_clients
def test_a_refusal_during_the_upload_is_read(
    service: ScriptedHost, large: dict[str, Any], submit: Submit
) -> None:
    def refuse_early(exchange: Exchange) -> None:
        body = json.dumps({"detail": "Too large"}).encode()
        exchange.wfile.write(
            b"HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        exchange.read()

    service.answers["*"] = refuse_early
    with pytest.raises(errors.FluxRequestError, match="HTTP 422: Too large"):
        submit("flux-2-pro", large)
    assert len(service.received) == 1


@contextmanager
def alarm(service: ScriptedHost, *, size: int) -> Iterator[None]:
    """Raise a task timeout shortly after the service has read ``size`` bytes of a request."""

    def ring(*_: object) -> None:
        raise AirflowTaskTimeout("Timeout")

    def watch() -> None:
        [asked] = service.wait_for(1)
        while len(asked.body) < size and not service.closing.wait(0.01):
            pass
        time.sleep(0.1)
        signal.pthread_kill(main, signal.SIGUSR1)

    main = threading.main_thread().ident or 0
    before = signal.signal(signal.SIGUSR1, ring)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_timeout_of_the_task_within_the_upload_stays_one(
    service: ScriptedHost, large: dict[str, Any], temporary: Path
) -> None:
    service.answers["*"] = lambda exchange: (
        exchange.read(100_000),
        exchange.wait(5),
        exchange.hang_up(),
    )[-1]
    with pytest.raises(AirflowTaskTimeout), alarm(service, size=100_000):
        submit_by_hook("flux-2-pro", large)
    assert len(service.received) == 1
    assert list(temporary.iterdir()) == []


def test_a_timeout_of_the_task_after_the_upload_leaves_it_uncertain(
    service: ScriptedHost, large: dict[str, Any]
) -> None:
    service.answers["*"] = lambda exchange: (exchange.read(), exchange.wait(5), exchange.hang_up())[
        -1
    ]
    with pytest.raises(errors.FluxSubmitUncertainError), alarm(service, size=LARGE_BYTES * 4 // 3):
        submit_by_hook("flux-2-pro", large)
    assert len(service.received) == 1


def test_a_file_that_changes_during_the_upload_fails_the_submit(service: ScriptedHost) -> None:
    file = MediaFile(
        "a.png", "image/png", LARGE_BYTES, "0" * 64, lambda: io.BytesIO(bytes(LARGE_BYTES // 2))
    )
    with pytest.raises(errors.FluxRequestError, match="changed while it was sent"):
        submit_by_hook("flux-2-pro", {"prompt": "x", "input_image": file})
    assert len(service.wait_for(1)) == 1


@both_clients
def test_temporary_files_are_gone_whatever_happens(
    service: ScriptedHost, large: dict[str, Any], temporary: Path, submit: Submit
) -> None:
    submit("flux-2-pro", large)
    service.answers["*"] = take_and_hang_up
    with pytest.raises(errors.FluxSubmitUncertainError):
        submit("flux-2-pro", large)
    assert list(temporary.iterdir()) == []
