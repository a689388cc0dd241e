"""Interruptions of a working batch: a stop, a timeout, another client of the same account."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_flux.emulator import EmulatorServer
from tests.conftest import KEY
from tests.support.batch_tries import SMALL, Batch

#: Seconds in which the answers to submits that the emulator counted arrive.
_ANSWER_SECONDS = 0.3


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition, and fail if it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def meanwhile(interrupt: Callable[[], object]) -> Iterator[None]:
    """Interrupt the batch inside the ``with`` block, from another thread."""
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
        assert not thread.is_alive()


def submit_as_another_client(
    server: EmulatorServer,
    prompt: str = "somebody else",
    key: str = KEY,
    model: str = "flux-pro-1.1",
) -> int:
    """Submit as another client of the same key does, and return the HTTP status."""
    answer = requests.post(
        f"{server.url}/v1/{model}",
        json={"prompt": prompt, **SMALL},
        headers={"x-key": key},
        timeout=9,
    )
    return answer.status_code


def release_when(
    server: EmulatorServer, is_reached: Callable[[], object], *, submits: int
) -> Callable[[], None]:
    """Return an interruption that ends the waiting of held generations from a moment on.

    So a number of active generations is reached on any machine, however slow.

    :param is_reached: whether the moment has come.
    :param submits: submits in all, after which no generation is held any more.
    """

    def interrupt() -> None:
        wait_until(is_reached, 60)
        stats = server.stats()
        while stats["active"] or stats["submits"] < submits:
            server.release()
            time.sleep(0.05)
            stats = server.stats()

    return interrupt


def stop_after(server: EmulatorServer, task: Batch, count: int) -> Callable[[], None]:
    """Return an interruption that stops the task after a number of submits, as SIGTERM does."""

    def interrupt() -> None:
        wait_until(lambda: server.stats()["submits"] >= count)
        time.sleep(_ANSWER_SECONDS)
        assert task.operator
        task.operator.on_kill()

    return interrupt


def time_out_after(server: EmulatorServer, count: int) -> Callable[[], None]:
    """Return an interruption that raises in the main thread after a number of submits.

    Airflow's ``execution_timeout`` does the same: it raises from a signal handler.
    """

    def strike(*_: object) -> None:
        raise AirflowTaskTimeout("Timeout")

    def interrupt() -> None:
        wait_until(lambda: server.stats()["submits"] >= count)
        time.sleep(_ANSWER_SECONDS)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, strike)
    return interrupt
