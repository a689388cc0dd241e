"""HTTP 402 for a video: busy, which is retried, or out of credits, which fails at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.sample_media import encode_base64, make_video
from tests.support.scripted_host import Exchange, ScriptedHost, status
from tests.support.submit_by_client import Submit, answer_accepted, both_clients

pytestmark = pytest.mark.usefixtures("hurry")
VIDEO = {"mode": "t2v", "prompt": "x", "duration": 5}


def video(prompt: str = "x", **parameters: Any) -> dict[str, Any]:
    return {**VIDEO, "prompt": prompt, **parameters}


@pytest.fixture
def poor(connect: Callable[..., None]) -> Iterator[EmulatorServer]:
    """An emulator whose accounts have 50 credits."""
    with EmulatorServer(EmulatorConfig(latency=0.1, credits=50)) as server:
        connect(server.url)
        yield server


@both_clients
def test_a_video_that_came_too_fast_is_submitted_again(
    emulator: EmulatorServer, submit: Submit
) -> None:
    assert submit("flux-3-video", video("x [[fault:busy-402=2]]")).request_id
    assert (emulator.stats()["submits"], emulator.stats()["refused"]) == (1, 2)


@both_clients
@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("flux-tools/video-upscale-v1", {"input_video": encode_base64(make_video())}),
        ("flux-tools/video-edit-v1", {"video": encode_base64(make_video())}),
    ],
)
def test_other_video_models_that_came_too_fast_are_submitted_again(
    emulator: EmulatorServer, model: str, parameters: dict[str, str], submit: Submit
) -> None:
    assert submit(model, {"prompt": "x [[fault:busy-402=1]]", **parameters}).request_id
    assert emulator.stats()["submits"] == 1


@both_clients
def test_a_service_that_stays_busy_is_left_to_airflows_retries(
    emulator: EmulatorServer, submit: Submit
) -> None:
    with pytest.raises(
        errors.FluxRateLimitedError, match=r"402 although the balance is 1000 credits"
    ):
        submit("flux-3-video", video("x [[fault:busy-402=always]]"), max_wait=0.3)
    assert emulator.stats()["submits"] == 0
    assert emulator.stats()["refused"] > 1


@both_clients
def test_a_balance_that_is_too_low_fails_at_once(poor: EmulatorServer, submit: Submit) -> None:
    started = time.monotonic()
    with pytest.raises(errors.FluxInsufficientCreditsError) as caught:
        submit("flux-3-video", video())
    assert "The balance is 50 credits, and the request needs an estimated 85 or more." in str(
        caught.value
    )
    assert time.monotonic() - started < 2
    assert (poor.stats()["submits"], poor.stats()["refused"]) == (0, 1)


@both_clients
def test_a_video_that_the_balance_covers_is_submitted(poor: EmulatorServer, submit: Submit) -> None:
    assert submit("flux-3-video", video(draft=True)).request_id


def refuse(exchange: Exchange) -> None:
    exchange.send_json({"detail": "Insufficient credits"}, 402)


@pytest.fixture
def service(connect: Callable[..., None]) -> Iterator[ScriptedHost]:
    """A host that refuses one submit with 402, and knows a balance."""
    with ScriptedHost(answers={"*": [refuse, answer_accepted]}) as host:
        connect(host.url)
        yield host


@both_clients
@pytest.mark.parametrize(
    ("parameters", "balance", "is_tried_again"),
    [
        ({}, 85, True),
        ({}, 84.9, False),
        ({}, 0, False),
        (
            {"duration": "auto"},
            85,
            True,
        ),  # the estimate is the most it may cost: the least counts, 5 s
        ({"duration": "auto"}, 84, False),
        ({"draft": True}, 30, True),
        ({"draft": True}, 29, False),
    ],
)
def test_the_balance_decides_whether_a_402_is_retried(
    service: ScriptedHost,
    parameters: dict[str, Any],
    balance: float,
    is_tried_again: bool,
    submit: Submit,
) -> None:
    service.answers["/v1/credits"] = lambda exchange: exchange.send_json({"credits": balance})
    if is_tried_again:
        assert submit("flux-3-video", video(**parameters)).request_id == "r-1"
    else:
        with pytest.raises(
            errors.FluxInsufficientCreditsError, match=f"The balance is {balance:g} credits"
        ):
            submit("flux-3-video", video(**parameters))
    paths = ["/v1/flux-3-video", "/v1/credits"] + ["/v1/flux-3-video"] * is_tried_again
    assert [asked.path for asked in service.received] == paths


@both_clients
def test_a_402_for_an_image_is_never_retried(service: ScriptedHost, submit: Submit) -> None:
    with pytest.raises(
        errors.FluxInsufficientCreditsError, match="balance of the account is too low"
    ):
        submit("flux-2-pro", {"prompt": "x"})
    assert [asked.path for asked in service.received] == ["/v1/flux-2-pro"]


@both_clients
def test_a_402_is_retried_if_the_balance_cannot_be_read(
    service: ScriptedHost, submit: Submit
) -> None:
    service.answers["/v1/credits"] = status(503)
    assert submit("flux-3-video", video()).request_id == "r-1"
    assert [asked.method for asked in service.received] == ["POST", *["GET"] * 5, "POST"]
