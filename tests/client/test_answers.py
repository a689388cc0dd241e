"""Both clients decide alike on each answer of the corpus, over real HTTP."""

from __future__ import annotations

import time
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.polling import Done, Failed, PollAgain, Poller
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.client.aio import FluxAsyncClient
from airflow_provider_flux.client.sync import FluxClient
from airflow_provider_flux.landing.download import inspect_result
from tests.conftest import KEY
from tests.support.scripted_host import Exchange, ScriptedHost

pytestmark = pytest.mark.usefixtures("hurry")

ANSWERS = tomllib.loads(Path(__file__).with_name("answers.toml").read_text())["answers"]
REQUEST = build_request("flux-pro-1.1", {"prompt": "a fox"})
#: A decision: its name, and what was read or raised.
Decision = tuple[str, Any]


@pytest.mark.parametrize("client", ["sync", "async"])
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer["name"])
async def test_both_clients_decide_as_the_corpus_says(answer: dict[str, Any], client: str) -> None:
    """Fault 19: bodies as BFL, its gateways and its delivery hosts may send them."""
    with ScriptedHost(answers={"*": lambda exchange: send(exchange, answer)}) as host:
        settings = FluxSettings(api_key=KEY, base_url=host.url)
        if client == "sync":
            with FluxClient(settings) as sync_client:
                decision, value = await decide(answer["call"], host, in_line(sync_client))
        else:
            async with FluxAsyncClient(settings) as async_client:
                decision, value = await decide(answer["call"], host, async_client)
        assert decision == answer["expect"], value
        check_value(answer, value, host.url)
        assert len(host.received) == 1 or answer["call"] == "download"


def send(exchange: Exchange, answer: dict[str, Any]) -> None:
    """Answer as the corpus says."""
    url = exchange.host.url
    headers = {"Content_Type": answer.get("type", "application/json")}
    if "location" in answer:
        headers["Location"] = answer["location"].replace("HOST", url)
    body = answer["body"].replace("HOST", url).encode()
    exchange.send(body, answer.get("status", 200), **headers)


def in_line(client: FluxClient) -> Any:
    """Return an object with the methods of a client as coroutines."""

    def method(call: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def run(*arguments: Any) -> Any:
            return call(*arguments)

        return run

    names = ("submit_once", "poll", "download")
    return type("InLine", (), {name: staticmethod(method(getattr(client, name))) for name in names})


async def decide(call: str, host: ScriptedHost, client: Any) -> Decision:
    """Make a call, and return the decision that follows."""
    poller = Poller(
        request_id="38b4",
        submitted_at=time.time(),
        deadline=time.time() + 60,
        poll_interval=1,
    )
    try:
        if call == "submit":
            return "accepted", await client.submit_once(REQUEST)
        if call == "download":
            data = await client.download(f"{host.url}/results/a.jpeg?sig=secret")
            return "whole image", inspect_result(data, "flux-pro-1.1")
        result = await client.poll("38b4", f"{host.url}/v1/get_result?id=38b4")
        return name_of(poller.on_result(result, time.time()), result)
    except FluxError as error:
        if call != "poll":
            return type(error).__name__, error
        return name_of(poller.on_error(error, time.time()), error)


def name_of(decision: object, value: GenerationResult | FluxError) -> Decision:
    """Return the name of a decision about a poll."""
    match decision:
        case PollAgain():
            return "poll again", value
        case Done(result):
            return "ready", result
        case Failed(error):
            return type(error).__name__, error
    raise AssertionError(decision)


def check_value(answer: dict[str, Any], value: Any, url: str) -> None:
    """Check what was read or raised."""
    for name, attribute in (("id", "request_id"), ("cost", "cost"), ("seed", "seed")):
        if name in answer:
            assert getattr(value, attribute) == answer[name]
    if answer["expect"] == "accepted":
        expected = answer.get("polling_url")
        assert expected is None or value.polling_url == expected.replace("HOST", url)
        assert "cost" in answer or value.cost is None
    assert answer.get("says", "") in str(value)
    assert "hides" not in answer or answer["hides"] not in str(value)
    assert KEY not in str(value)
    assert "secret" not in str(value)


def test_the_corpus_has_many_answers_for_each_call() -> None:
    count = Counter(answer["call"] for answer in ANSWERS)
    assert count["submit"] >= 30
    assert count["poll"] >= 30
    assert count["download"] >= 10
    assert len({answer["name"] for answer in ANSWERS}) == len(ANSWERS)
