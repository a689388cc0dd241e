"""The clients in a process that cannot import Airflow."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from tests.conftest import KEY

#: Makes each import of Airflow fail, and builds a request.
_PREAMBLE = """
    import asyncio, sys, time

    class NoAirflow:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {"airflow", "fsspec", "upath"}:
                raise ImportError(f"{name} must not be imported")

    sys.meta_path.insert(0, NoAirflow())

    from airflow_provider_flux.bfl.polling import Poller
    from airflow_provider_flux.bfl.request import build_request
    from airflow_provider_flux.bfl.settings import FluxSettings

    settings = FluxSettings(api_key=sys.argv[2], base_url=sys.argv[1])
    request = build_request("flux-pro-1.1", {"prompt": "a fox", "output_format": "png"})

    def poller_of(submission):
        return Poller(
            request_id=submission.request_id,
            submitted_at=submission.submitted_at,
            deadline=time.time() + 30,
            poll_interval=0.1,
        )
"""
_SYNC = """
    from airflow_provider_flux.client import FluxClient

    with FluxClient(settings) as client:
        submission = client.submit(request)
        result = client.wait(poller_of(submission), submission.polling_url)
        image = client.download(result.sample)
        balance = client.get_credits()
"""
_ASYNC = """
    from airflow_provider_flux.client import FluxAsyncClient

    async def main():
        async with FluxAsyncClient(settings) as client:
            submission = await client.submit(request)
            result = await client.wait(poller_of(submission), submission.polling_url)
            return await client.download(result.sample), await client.get_credits()

    image, balance = asyncio.run(main())
"""
_EPILOGUE = """
    assert image.startswith(b"\\x89PNG"), image[:16]
    assert balance == 996, balance
    print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("calls", "unused"),
    [(_SYNC, {"aiohttp"}), (_ASYNC, set())],
    ids=["FluxClient", "FluxAsyncClient"],
)
def test_a_client_submits_waits_and_downloads_without_airflow(
    emulator: EmulatorServer, calls: str, unused: set[str]
) -> None:
    code = textwrap.dedent(_PREAMBLE) + textwrap.dedent(calls) + textwrap.dedent(_EPILOGUE)
    command = [sys.executable, "-c", code, emulator.url, KEY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & {"airflow", "fsspec", "upath", "PIL", *unused} == set()
    assert emulator.stats()["submits"] == 1
