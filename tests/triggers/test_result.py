"""FluxResultTrigger: exactly one event, and an event loop that stays responsive."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from airflow_provider_flux.client import shared_session
from airflow_provider_flux.client.aio import FluxAsyncClient
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.triggers.result import FluxResultTrigger
from tests.conftest import KEY
from tests.support.run_operator import run_trigger

pytestmark = pytest.mark.usefixtures("hurry")


def generation(prompt: str = "a fox") -> Generation:
    from airflow_provider_flux.bfl.request import build_request
    from airflow_provider_flux.generation import new_generation

    request = build_request("flux-pro-1.1", {"prompt": prompt})
    return new_generation(request, FluxHook().submit(request))


def trigger(prompt: str = "a fox", *, timeout: float = 20.0, **arguments: Any) -> FluxResultTrigger:
    return FluxResultTrigger(
        flux_conn_id="flux_default",
        generation=generation(prompt),
        deadline=time.time() + timeout,
        poll_interval=0.1,
        **arguments,
    )


async def test_a_trigger_fires_ready_for_an_image_that_it_does_not_land(
    emulator: EmulatorServer,
) -> None:
    event = await run_trigger(trigger())
    assert event["status"] == "ready"
    assert event["generation"]["status"] == "Ready"
    assert isinstance(event["generation"]["seed"], int)
    assert "sig=" not in str(event)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("moderated", "FluxModeratedError"),
        ("error-422", "FluxGenerationError"),
        ("lost", "FluxTaskNotFoundError"),
        ("poll-403", "FluxAuthenticationError"),
        ("stuck", "FluxTimeoutError"),
    ],
)
async def test_a_trigger_fires_the_typed_error_of_its_generation(
    emulator: EmulatorServer, fault: str, error: str
) -> None:
    waiting = trigger(f"x [[fault:{fault}]]", timeout=1)
    event = await run_trigger(waiting)
    assert (event["status"], event["error"]["type"]) == ("error", error)
    assert event["error"]["request_id"] in {waiting.generation["request_id"], None}
    assert event["generation"] == waiting.generation


async def test_a_trigger_may_run_again_and_twice_at_once(emulator: EmulatorServer) -> None:
    waiting = trigger()
    first, second = await asyncio.gather(run_trigger(waiting), run_trigger(waiting))
    again = await run_trigger(waiting)
    times = [event.pop("timings")["ready_at"] for event in (first, second, again)]
    assert first == second == again
    assert max(times[:2]) < times[2]
    assert emulator.stats()["submits"] == 1


async def test_a_restart_of_a_trigger_does_not_move_its_deadline(emulator: EmulatorServer) -> None:
    waiting = trigger("x [[fault:stuck]]", timeout=1)
    await asyncio.sleep(1.1)
    started = time.monotonic()
    event = await run_trigger(waiting)
    assert event["error"]["type"] == "FluxTimeoutError"
    assert time.monotonic() - started < 0.8


async def test_a_clock_that_is_behind_does_not_move_the_deadline_of_a_trigger(
    emulator: EmulatorServer,
) -> None:
    """Fault 17: the submit, and the deadline with it, is an hour in the future."""
    waiting = trigger("x [[fault:stuck]]", timeout=3601)
    submitted_at = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat()
    waiting.generation["submitted_at"] = submitted_at
    event = await asyncio.wait_for(run_trigger(waiting), 10)
    assert event["error"]["type"] == "FluxTimeoutError"


async def test_a_trigger_fires_no_event_before_not_before(emulator: EmulatorServer) -> None:
    not_before = time.time() + 1.5
    await run_trigger(trigger(not_before=not_before))
    assert time.time() >= not_before


async def test_a_trigger_waits_while_the_service_is_down(connect) -> None:
    server = EmulatorServer(EmulatorConfig(latency=0.3))
    server.start()
    connect(server.url)
    port = int(server.url.rpartition(":")[2])
    waiting = trigger("x [[fault:slow=2]]", timeout=3)
    task = asyncio.create_task(run_trigger(waiting))
    await asyncio.sleep(0.3)
    server.stop()
    # The new emulator does not know the request. The trigger reports that in the end.
    again = EmulatorServer(EmulatorConfig(port=port))
    again.start()
    try:
        assert (await task)["error"]["type"] in {"FluxTaskNotFoundError", "FluxTimeoutError"}
    finally:
        again.stop()


async def test_a_trigger_hands_over_after_an_unexpected_error(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explode(*_: object) -> None:
        raise RuntimeError("nobody expects this")

    monkeypatch.setattr(FluxAsyncClient, "poll", explode)
    waiting = trigger()
    event = await run_trigger(waiting)
    assert (event["status"], event["generation"]) == ("hand_over", waiting.generation)


def open_sockets() -> int:
    return sum(1 for fd in os.listdir("/proc/self/fd") if _is_socket(fd))


def _is_socket(fd: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts sockets through /proc")
def test_two_hundred_triggers_share_a_session_and_leave_the_loop_free(connect) -> None:
    """The emulator runs in another process, so that it does not slow down this loop."""
    import re
    import subprocess
    import sys

    command = [
        sys.executable,
        "-m",
        "airflow_provider_flux.emulator",
        "--port",
        "0",
    ]
    command += ["--max-active", "1000", "--credits", "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url is not None
        connect(url[0])
        # A busy machine may delay a callback in one trial. A callback that blocks does so in all.
        assert any(_longest_callback(url[0], trial) < 0.1 for trial in range(3))
    finally:
        process.terminate()
        process.wait(10)


def _longest_callback(url: str, trial: int) -> float:
    """Wait for 200 triggers at once, and return the wall-clock seconds of the longest callback.

    No image is ready before most triggers wait, however late a busy machine starts them.
    """
    waiting = [trigger(f"fox {trial}-{n} [[fault:held]]", timeout=60) for n in range(200)]
    blocked: list[float] = []
    gc.collect()
    gc.freeze()  # no collection of objects of other tests during the measurement
    before = open_sockets()
    events = asyncio.run(_fire_all(url, waiting, blocked))
    gc.unfreeze()
    gc.collect()
    assert [event["status"] for event in events] == ["ready"] * 200
    assert open_sockets() == before
    return max(blocked)


async def _fire_all(
    url: str, waiting: list[FluxResultTrigger], blocked: list[float]
) -> list[dict[str, Any]]:
    loop = asyncio.get_running_loop()
    _time_callbacks(blocked)
    try:
        everyone = asyncio.gather(*(run_trigger(trigger) for trigger in waiting))
        most_users = 0
        while not everyone.done():
            await asyncio.sleep(0.05)
            if sessions := shared_session._SESSIONS.get(loop):
                (shared,) = sessions.values()
                if most_users <= 100 < shared.users:
                    await asyncio.to_thread(requests.post, f"{url}/_emulator/release", timeout=30)
                most_users = max(most_users, shared.users)
                connections = sum(len(pool) for pool in shared.session.connector._conns.values())
                assert (
                    connections + len(shared.session.connector._acquired)
                    <= shared_session.MAX_CALLS + shared_session.MAX_DOWNLOADS
                )
        events = everyone.result()
    finally:
        _stop_timing()
    assert most_users > 100
    assert shared_session._SESSIONS[loop] == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return events


_original_run = asyncio.events.Handle._run


def _time_callbacks(blocked: list[float]) -> None:
    """Record the duration of each callback of the loop."""

    def timed(handle: asyncio.events.Handle) -> None:
        started = time.perf_counter()
        _original_run(handle)
        blocked.append(time.perf_counter() - started)

    asyncio.events.Handle._run = timed  # type: ignore[method-assign]


def _stop_timing() -> None:
    asyncio.events.Handle._run = _original_run  # type: ignore[method-assign]


def test_the_stored_trigger_and_its_event_hold_no_api_key(emulator: EmulatorServer) -> None:
    waiting = trigger()
    event = asyncio.run(run_trigger(waiting))
    assert KEY not in repr(waiting) + str(waiting.serialize()) + str(event)
