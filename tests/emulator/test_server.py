"""The server: in a thread, beside an event loop, under load, and as a command."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
import requests

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.emulator.__main__ import main
from airflow_provider_flux.emulator.faults import FAULTS
from tests.emulator.conftest import Client, Start

ROOT = Path(__file__).parents[2]
HEADERS = {"x-key": "bfl_emulator_tests"}


def test_two_servers_have_separate_accounts_and_tasks(start: Start) -> None:
    one, other = start(), start()
    one.submit()
    assert (one.server.stats()["submits"], other.server.stats()["submits"]) == (1, 0)
    assert one.server.url != other.server.url


def test_a_stopped_server_refuses_connections_and_can_start_again() -> None:
    server = EmulatorServer(EmulatorConfig(latency=0))
    for _ in range(2):
        with server:
            url = server.url
            assert requests.get(f"{url}/docs", timeout=60).status_code == 200
            begun = time.monotonic()
        assert time.monotonic() - begun < 1
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(url, timeout=60)
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.url


def test_stopping_the_server_ends_a_response_that_hangs(capfd: pytest.CaptureFixture[str]) -> None:
    with EmulatorServer() as server:
        body = {"prompt": "[[fault:submit-hang=60]]", "webhook_url": "http://127.0.0.1:1/"}
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.post(f"{server.url}/v1/flux-pro-1.1", json=body, headers=HEADERS, timeout=0.2)
        begun = time.monotonic()
    assert time.monotonic() - begun < 1
    assert capfd.readouterr().err == ""


def test_broken_responses_log_no_error(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    for fault in ("truncate", "reset"):
        with pytest.raises(requests.exceptions.RequestException):
            client.get(client.sample(f"[[fault:{fault}]]"))
    assert capfd.readouterr().err == ""


async def test_aiohttp_raises_for_broken_responses_too(client: Client) -> None:
    for fault in ("truncate", "reset"):
        sample = await asyncio.to_thread(client.sample, f"[[fault:{fault}]]")
        async with aiohttp.ClientSession() as session, session.get(sample) as answer:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()


async def test_two_hundred_tasks_run_beside_a_running_event_loop() -> None:
    with EmulatorServer(EmulatorConfig(latency=3, max_active=200)) as server:
        async with aiohttp.ClientSession(
            headers=HEADERS, connector=aiohttp.TCPConnector(limit=0)
        ) as session:
            statuses = await asyncio.gather(
                *(_generate(session, server.url, number) for number in range(200))
            )
        stats = server.stats()
    assert statuses == ["Ready"] * 200
    assert stats["max_active"] == 200
    assert stats["submits"] == 200


async def _generate(session: aiohttp.ClientSession, url: str, number: int) -> str:
    async with session.post(f"{url}/v1/flux-pro-1.1", json={"prompt": f"fox {number}"}) as answer:
        polling_url = (await answer.json())["polling_url"]
    while True:
        async with session.get(polling_url) as answer:
            status = str((await answer.json())["status"])
        if status != "Pending":
            return status
        await asyncio.sleep(0.1)


def test_a_port_in_use_is_an_error(emulator: EmulatorServer) -> None:
    port = int(emulator.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        EmulatorServer(EmulatorConfig(port=port)).start()


def _command(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "airflow_provider_flux.emulator", *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_url_and_ends_on_a_signal(signum: signal.Signals) -> None:
    process = _command(
        "--port",
        "0",
        "--latency",
        "0",
        "--credits",
        "8",
        "--fault",
        "state-key",
        "--fault",
        "error",
        "--finetune",
        "a",
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("FLUX emulator on http://127.0.0.1:")
        assert line.endswith(" (docs: /docs)\n")
        url = line.split()[3]
        task = requests.post(
            f"{url}/v1/flux-pro-1.1", json={"prompt": "x"}, headers=HEADERS, timeout=60
        ).json()
        assert requests.get(task["polling_url"], timeout=60).json()["state"] == "Error"
        assert requests.get(f"{url}/v1/credits", headers=HEADERS, timeout=60).json() == {
            "credits": 8.0
        }
        assert requests.get(f"{url}/v1/my_finetunes", headers=HEADERS, timeout=60).json() == {
            "finetunes": ["a"]
        }
        os.kill(process.pid, signum)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (0, "", "")


def test_the_command_logs_requests_with_verbose() -> None:
    process = _command("--port", "0", "--verbose", "--region-hosts", "127.0.0.2")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        task = requests.post(
            f"{url}/v1/flux-pro-1.1", json={"prompt": "x"}, headers=HEADERS, timeout=60
        ).json()
        assert task["polling_url"].startswith("http://127.0.0.2:")
        os.kill(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert '"POST /v1/flux-pro-1.1 HTTP/1.1" 200' in err


def test_the_command_explains_a_mistyped_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--fault", "stuk"])
    assert "Unknown fault 'stuk'. Known: rate-limit, " in capsys.readouterr().err


def test_the_help_text_lists_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(kind.usage in out for kind in FAULTS.values())
