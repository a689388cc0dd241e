"""The async client over real HTTP, and the one session that a loop's users share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.polling import Poller
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.client import shared_session
from airflow_provider_flux.client.aio import FluxAsyncClient
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.conftest import KEY

pytestmark = pytest.mark.usefixtures("hurry")


@pytest.fixture
async def client(emulator: EmulatorServer) -> AsyncIterator[FluxAsyncClient]:
    async with FluxAsyncClient(FluxSettings(api_key=KEY, base_url=emulator.url)) as client:
        yield client


async def generate(
    client: FluxAsyncClient, prompt: str = "a fox", *, seconds: float = 20
) -> GenerationResult:
    submission = await client.submit(build_request("flux-pro-1.1", {"prompt": prompt}), max_wait=1)
    poller = Poller(
        request_id=submission.request_id,
        submitted_at=submission.submitted_at,
        deadline=time.time() + seconds,
        poll_interval=0.1,
    )
    return await client.wait(poller, submission.polling_url)


async def test_the_async_client_submits_waits_downloads_and_reads_the_balance(
    client: FluxAsyncClient, emulator: EmulatorServer
) -> None:
    result = await generate(client)
    assert result.sample is not None
    assert (await client.download(result.sample)).endswith(b"\xff\xd9")
    assert await client.get_credits() == 996
    assert emulator.stats()["key_seen_on_delivery"] == 0


@pytest.mark.parametrize(
    "fault", ["rate-limit=2", "poll-500=2", "poll-reset=2", "poll-html=1", "not-found=2"]
)
async def test_the_async_client_recovers_from_transient_errors(
    client: FluxAsyncClient, emulator: EmulatorServer, fault: str
) -> None:
    assert (await generate(client, f"x [[fault:{fault}]]")).status.is_success
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("fault", "error", "paid"),
    [
        ("rate-limit=99", errors.FluxRateLimitedError, 0),
        ("no-credits", errors.FluxInsufficientCreditsError, 0),
        ("submit-500", errors.FluxSubmitUncertainError, 0),
        ("submit-lost", errors.FluxSubmitUncertainError, 1),
        ("moderated", errors.FluxModeratedError, 1),
        ("error-422", errors.FluxGenerationError, 1),
        ("lost", errors.FluxTaskNotFoundError, 1),
        ("stuck", errors.FluxTimeoutError, 1),
        ("poll-redirect", errors.FluxUntrustedURLError, 1),
        ("foreign-polling-url", errors.FluxUntrustedURLError, 1),
    ],
)
async def test_the_async_client_raises_a_typed_error_for_each_end_of_a_generation(
    client: FluxAsyncClient, emulator: EmulatorServer, fault: str, error: type[FluxError], paid: int
) -> None:
    with pytest.raises(error):
        await generate(client, f"x [[fault:{fault}]]", seconds=1)
    assert emulator.stats()["submits"] == paid


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("expired=always", errors.FluxResultExpiredError),
        ("redirect-download", errors.FluxUntrustedURLError),
        ("truncate=always", errors.FluxServiceError),
    ],
)
async def test_a_download_that_cannot_work_says_why(
    client: FluxAsyncClient, fault: str, error: type[FluxError]
) -> None:
    sample = (await generate(client, f"x [[fault:{fault}]]")).sample
    assert sample is not None
    with pytest.raises(error) as caught:
        await client.download(sample)
    assert sample.partition("sig=")[2] not in str(caught.value)


@pytest.mark.parametrize("fault", ["truncate=2", "reset=1", "deliver-503=1,0.1"])
async def test_a_broken_download_is_started_again(client: FluxAsyncClient, fault: str) -> None:
    sample = (await generate(client, f"x [[fault:{fault}]]")).sample
    assert sample is not None
    assert (await client.download(sample)).endswith(b"\xff\xd9")
    with pytest.raises(errors.FluxImageError):
        await client.download(sample, max_bytes=1000)


async def test_a_service_that_is_not_there_was_sent_nothing() -> None:
    with EmulatorServer(EmulatorConfig()) as gone:
        url = gone.url
    async with FluxAsyncClient(FluxSettings(api_key=KEY, base_url=url)) as client:
        with pytest.raises(errors.FluxConnectionError, match="Nothing was sent"):
            await client.get_credits()


async def test_the_environments_proxy_is_used(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", emulator.url)
    async with FluxAsyncClient(FluxSettings(api_key=KEY, base_url="http://bfl.test")) as client:
        assert await client.get_credits() == 1000
    monkeypatch.delenv("http_proxy")
    async with FluxAsyncClient(
        FluxSettings(api_key=KEY, base_url="http://bfl.test", proxy=emulator.url)
    ) as client:
        assert await client.get_credits() == 1000


async def test_users_of_one_account_share_a_session_until_the_last_leaves() -> None:
    one, other = FluxSettings(api_key=KEY), FluxSettings(api_key=KEY + "x")
    sessions = shared_session._SESSIONS.setdefault(asyncio.get_running_loop(), {})

    async def user(
        settings: FluxSettings, arrived: list[FluxAsyncClient], leave: asyncio.Event
    ) -> None:
        async with FluxAsyncClient(settings) as client:
            arrived.append(client)
            await leave.wait()

    arrived: list[FluxAsyncClient] = []
    leave = asyncio.Event()
    users = [asyncio.create_task(user(one, arrived, leave)) for _ in range(20)]
    while len(arrived) < 20:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert len({id(client._shared.session) for client in arrived}) == 1
    async with FluxAsyncClient(other) as client:
        assert client._shared.session is not arrived[0]._shared.session
        assert len(sessions) == 2
    leave.set()
    await asyncio.gather(*users)
    assert sessions == {}
    assert arrived[0]._shared.session.closed


async def test_a_cancelled_client_releases_the_session() -> None:
    settings = FluxSettings(api_key=KEY)
    sessions = shared_session._SESSIONS.setdefault(asyncio.get_running_loop(), {})

    async def user() -> None:
        async with FluxAsyncClient(settings):
            await asyncio.sleep(60)

    task = asyncio.create_task(user())
    while not sessions:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sessions == {}


async def test_an_answer_before_the_whole_body_was_sent_leaves_no_limit_behind() -> None:
    limit = shared_session.AnswerLimit(0.01)
    async with limit:
        pass
    limit.start()  # by the task that sends the body
    assert shared_session._watch_of_loop()._limits == set()
