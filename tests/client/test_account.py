"""The account routes: balance, finetunes and usage reports. BFL bills none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.client import FluxClient
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from tests.conftest import KEY
from tests.support.scripted_host import Answer, Exchange, ScriptedHost, status
from tests.support.submit_by_client import submit_by_hook

pytestmark = pytest.mark.usefixtures("hurry")
STYLE = "org-1/my style&x=1"

#: Every call, by its name.
CALLS: dict[str, Callable[[FluxClient], Any]] = {
    "credits": FluxClient.get_credits,
    "finetunes": FluxClient.get_my_finetunes,
    "details": lambda client: client.get_finetune_details("demo-style"),
    "delete": lambda client: client.delete_finetune("demo-style"),
    "usage": lambda client: client.report_license_usage("flux-1-dev", 3),
}
READS, WRITES = ("credits", "finetunes", "details"), ("delete", "usage")
every_call = pytest.mark.parametrize("call", CALLS)


@pytest.fixture
def service(connect: Callable[..., None]) -> Iterator[ScriptedHost]:
    with ScriptedHost() as host:
        connect(host.url)
        yield host


@pytest.fixture
def finetuned(connect: Callable[..., None]) -> Iterator[EmulatorServer]:
    """An emulator whose accounts have finetunes."""
    with EmulatorServer(EmulatorConfig(latency=0.1, finetunes=("demo-style", STYLE))) as server:
        connect(server.url)
        yield server


def test_finetunes_are_listed_looked_at_and_deleted(finetuned: EmulatorServer) -> None:
    client = FluxHook().get_conn()
    assert client.get_my_finetunes() == ["demo-style", STYLE]
    assert client.get_finetune_details(STYLE)["finetune_id"] == STYLE
    confirmation = client.delete_finetune(STYLE)
    assert sorted(confirmation) == ["deleted_finetune_id", "message", "status", "timestamp"]
    assert confirmation["deleted_finetune_id"] == STYLE
    assert client.get_my_finetunes() == ["demo-style"]


@pytest.mark.parametrize("call", [FluxClient.get_finetune_details, FluxClient.delete_finetune])
def test_a_finetune_that_is_not_there_is_a_request_error(
    finetuned: EmulatorServer, call: Any
) -> None:
    FluxHook().get_conn().delete_finetune(STYLE)
    for name in (STYLE, "no-such-style"):
        with pytest.raises(errors.FluxRequestError, match="Finetune not found or access denied"):
            call(FluxHook().get_conn(), name)


def test_an_image_with_a_finetune_that_is_not_there_is_refused(finetuned: EmulatorServer) -> None:
    parameters = {"prompt": "x", "finetune_id": "no-such-style"}
    with pytest.raises(errors.FluxRequestError, match=r"HTTP 400.*Finetune not found or not ready"):
        submit_by_hook("flux-pro-1.1-ultra-finetuned", parameters)
    assert submit_by_hook(
        "flux-pro-1.1-ultra-finetuned", {**parameters, "finetune_id": STYLE}
    ).request_id


@pytest.mark.parametrize("name", ["", "  ", None, 7, ["demo-style"]])
@pytest.mark.parametrize("call", [FluxClient.get_finetune_details, FluxClient.delete_finetune])
def test_an_invalid_finetune_name_fails_before_anything_is_sent(
    service: ScriptedHost, call: Any, name: Any
) -> None:
    with pytest.raises(errors.FluxRequestError, match="must be the name of a finetune"):
        call(FluxHook().get_conn(), name)
    assert service.received == []


def test_usage_of_open_weights_is_reported(emulator: EmulatorServer) -> None:
    client = FluxHook().get_conn()
    for model in (
        "flux-1-dev",
        "flux-1-kontext-dev",
        "flux-1-krea-dev",
        "flux-tools",
        "flux-1-dev",
    ):
        assert client.report_license_usage(model, 2) is None
    assert emulator.stats()["license_generations"] == {
        "flux-1-dev": 4,
        "flux-1-kontext-dev": 2,
        "flux-1-krea-dev": 2,
        "flux-tools": 2,
    }


def test_a_model_without_a_licence_is_refused_by_the_service(emulator: EmulatorServer) -> None:
    with pytest.raises(errors.FluxRequestError, match="Model not found"):
        FluxHook().get_conn().report_license_usage("flux-9-dev", 1)


@pytest.mark.parametrize(
    ("model", "count", "message"),
    [
        ("flux-1-dev", 0, "number_of_generations=0"),
        ("flux-1-dev", -1, "number_of_generations=-1"),
        ("flux-1-dev", 1.5, "number_of_generations=1.5"),
        ("flux-1-dev", True, "number_of_generations=True"),
        ("flux-1-dev", "3", "number_of_generations='3'"),
        ("../../delete_finetune", 1, "is not a licensed model. Known: flux-1-dev, "),
        ("flux-1-dev/x", 1, "is not a licensed model"),
        ("flux-1-dev?x=1", 1, "is not a licensed model"),
        ("FLUX.1 [dev]", 1, "is not a licensed model"),
        ("", 1, "is not a licensed model"),
        (None, 1, "is not a licensed model"),
    ],
)
def test_an_invalid_usage_report_fails_before_it_is_sent(
    service: ScriptedHost, model: Any, count: Any, message: str
) -> None:
    with pytest.raises(errors.FluxRequestError) as caught:
        FluxHook().get_conn().report_license_usage(model, count)
    assert message in str(caught.value)
    assert service.received == []


def hang_up(exchange: Exchange) -> None:
    exchange.read()
    exchange.hang_up()


#: What goes wrong, and the error of a call that only reads, and of one that changes something.
TROUBLE: dict[str, tuple[Answer, type[FluxError], type[FluxError]]] = {
    "401": (status(401), errors.FluxAuthenticationError, errors.FluxAuthenticationError),
    "403": (status(403), errors.FluxAuthenticationError, errors.FluxAuthenticationError),
    "402": (status(402), errors.FluxInsufficientCreditsError, errors.FluxInsufficientCreditsError),
    "404": (status(404), errors.FluxRequestError, errors.FluxRequestError),
    "422": (status(422), errors.FluxRequestError, errors.FluxRequestError),
    "429": (status(429), errors.FluxRateLimitedError, errors.FluxRateLimitedError),
    "500": (status(500), errors.FluxServiceError, errors.FluxServiceError),
    "503": (status(503), errors.FluxServiceError, errors.FluxServiceError),
    "lost": (hang_up, errors.FluxServiceError, errors.FluxServiceError),
}
ENDS = {"401", "402", "403", "404", "422"}


@every_call
@pytest.mark.parametrize("trouble", TROUBLE)
def test_errors_are_typed_and_only_reads_are_retried(
    service: ScriptedHost, call: str, trouble: str
) -> None:
    answer, of_reads, of_writes = TROUBLE[trouble]
    service.answers["*"] = answer
    with pytest.raises(FluxError) as caught:
        CALLS[call](FluxHook().get_conn())
    assert type(caught.value) is (of_reads if call in READS else of_writes)
    assert len(service.received) == (5 if call in READS and trouble not in ENDS else 1)
    assert "billed" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("call", READS)
def test_reads_wait_for_transient_errors_to_end(service: ScriptedHost, call: str) -> None:
    content = {"credits": 5, "finetunes": [], "finetune_details": {}}
    service.answers["*"] = [
        status(503),
        status(429),
        hang_up,
        lambda exchange: exchange.send_json(content),
    ]
    assert CALLS[call](FluxHook().get_conn()) in (5, [], {})
    assert len(service.received) == 4


@every_call
def test_a_service_that_is_not_there_was_sent_nothing(
    connect: Callable[..., None], call: str
) -> None:
    with ScriptedHost() as gone:
        connect(gone.url)
    with pytest.raises(errors.FluxConnectionError, match="Nothing was sent"):
        CALLS[call](FluxHook().get_conn())


@pytest.mark.parametrize("call", [*READS, "delete"])
@pytest.mark.parametrize(
    "content", [None, [], "text", {}, {"credits": "5", "finetunes": {}, "finetune_details": []}]
)
def test_an_answer_of_another_shape_is_a_service_error(
    service: ScriptedHost, call: str, content: Any
) -> None:
    service.answers["*"] = lambda exchange: exchange.send_json(content)
    if call == "delete" and isinstance(content, dict):
        # The finetune was deleted, whatever the body of the answer is.
        assert CALLS[call](FluxHook().get_conn()) == content
        return
    with pytest.raises(errors.FluxServiceError):
        CALLS[call](FluxHook().get_conn())


def test_the_routes_and_bodies_are_those_of_the_service(service: ScriptedHost) -> None:
    service.answers["*"] = lambda exchange: exchange.send_json(
        {"finetunes": [], "finetune_details": {}}
    )
    client = FluxHook().get_conn()
    client.get_my_finetunes()
    client.get_finetune_details(STYLE)
    client.delete_finetune(STYLE)
    client.report_license_usage("flux-tools", 12)
    assert [(asked.method, asked.path) for asked in service.received] == [
        ("GET", "/v1/my_finetunes"),
        ("GET", "/v1/finetune_details?finetune_id=org-1%2Fmy+style%26x%3D1"),
        ("POST", "/v1/delete_finetune"),
        ("POST", "/v1/licenses/models/flux-tools/usage"),
    ]
    assert [asked.json for asked in service.received[2:]] == [
        {"finetune_id": STYLE},
        {"number_of_generations": 12},
    ]
    assert {asked.headers["x-key"] for asked in service.received} == {KEY}
