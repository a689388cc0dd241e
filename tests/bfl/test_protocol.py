"""Answers of the service become typed values or typed errors, without secrets."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl import account, errors, protocol
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.http_messages import HttpAnswer
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.status import Status

KEY = "bfl_canary_0123456789"
SECRET = "canary-webhook-secret"
SETTINGS = FluxSettings(api_key=KEY)
REQUEST = build_request(
    "flux-pro-1.1", {"prompt": "x", "webhook_url": "https://a.b", "webhook_secret": SECRET}
)


def answer(status: int, body: object, **headers: str) -> HttpAnswer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, data
    )


def test_a_submit_is_described_with_key_and_body() -> None:
    described = protocol.submit_request(REQUEST, SETTINGS)
    assert (described.method, described.url) == ("POST", "https://api.bfl.ai/v1/flux-pro-1.1")
    assert described.headers["x-key"] == KEY
    assert json.loads(described.body or b"")["width"] == 1024
    assert KEY not in repr(described)
    assert SECRET not in repr(described)


def test_both_shapes_of_an_answer_to_a_submit_are_read() -> None:
    url = "https://api.eu2.bfl.ai/v1/get_result?id=u1"
    plain = protocol.read_submission(
        answer(200, {"id": "u1", "polling_url": url, "cost": 3}), REQUEST, now=5.0
    )
    assert (plain.request_id, plain.polling_url, plain.cost, plain.submitted_at) == (
        "u1",
        url,
        3.0,
        5.0,
    )
    webhook = {"id": "u2", "status": "Pending", "webhook_url": "https://a.b", "cost": None}
    assert protocol.read_submission(answer(200, webhook), REQUEST, now=5.0).polling_url is None


def test_a_poll_uses_the_polling_url_unchanged() -> None:
    url = "https://api.eu2.bfl.ai/v1/get_result?id=u1"
    assert protocol.poll_request("u1", url, SETTINGS).url == url
    assert (
        protocol.poll_request("u 1", None, SETTINGS).url
        == "https://api.bfl.ai/v1/get_result?id=u+1"
    )
    with pytest.raises(errors.FluxUntrustedURLError):
        protocol.poll_request("u1", "https://evil.example/v1/get_result?id=u1", SETTINGS)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"detail": "Finetune not found or not ready"}, errors.FluxRequestError),
        (401, {"error": "invalid_api_key"}, errors.FluxAuthenticationError),
        (402, {"detail": "Insufficient credits"}, errors.FluxInsufficientCreditsError),
        (403, {"detail": "Not authenticated"}, errors.FluxAuthenticationError),
        (404, {"detail": "Not Found"}, errors.FluxRequestError),
        (422, {"detail": "Invalid API key format"}, errors.FluxAuthenticationError),
        (
            422,
            {"detail": [{"loc": ["body", "width"], "msg": "too big", "input": 9}]},
            errors.FluxRequestError,
        ),
        (422, {"detail": {"message": "an object"}}, errors.FluxRequestError),
        (429, {}, errors.FluxRateLimitedError),
        (500, b"<html>", errors.FluxSubmitUncertainError),
        (503, {"detail": "down"}, errors.FluxSubmitUncertainError),
        (200, {"polling_url": "https://api.bfl.ai"}, errors.FluxSubmitUncertainError),
        (200, b"not json", errors.FluxSubmitUncertainError),
        (302, b"", errors.FluxSubmitUncertainError),
    ],
)
def test_a_refused_submit_is_a_typed_error(
    status: int, body: object, error: type[FluxError]
) -> None:
    with pytest.raises(error):
        protocol.read_submission(answer(status, body), REQUEST, now=0.0)


@pytest.mark.parametrize("status", list(range(300, 600)))
def test_only_a_documented_refusal_proves_that_a_submit_was_not_billed(status: int) -> None:
    """Fault 11: 408, 409, 425, 451, 499 and unknown 4xx counted as refusals."""
    is_refusal = status in {400, 401, 402, 403, 404, 405, 422, 429}
    with pytest.raises(FluxError) as caught:
        protocol.read_submission(answer(status, {"detail": "no"}), REQUEST, now=0.0)
    assert isinstance(caught.value, errors.FluxSubmitUncertainError) is not is_refusal


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"id": "u", "status": "Task not found"}),
        (404, {"status": "Task not found"}),
        (422, {"detail": "no", "polling_url": "https://api.bfl.ai/v1/get_result?id=u"}),
    ],
)
def test_a_refusal_that_names_a_generation_is_an_uncertain_submit(
    status: int, body: object
) -> None:
    """Fault 11: a 404 that is not that of the route counted as not billed."""
    with pytest.raises(errors.FluxSubmitUncertainError):
        protocol.read_submission(answer(status, body), REQUEST, now=0.0)


@pytest.mark.parametrize("status", [408, 409, 418, 421, 425, 451, 499])
def test_a_poll_is_repeated_after_an_undocumented_status(status: int) -> None:
    """Fault 11: an undocumented 4xx ended the wait for a generation that was billed."""
    with pytest.raises(errors.FluxServiceError):
        protocol.read_result(answer(status, {"detail": "no"}))


def test_an_error_quotes_the_reason_of_the_service_without_the_echoed_input() -> None:
    detail = [
        {
            "loc": ["body", "width"],
            "msg": "Input should be less",
            "input": {"image": "QUJD" * 500, "s": SECRET},
        },
        {"loc": ["body"], "msg": "Value error, mask size differs", "ctx": {"error": {}}},
        "a plain text",
    ]
    with pytest.raises(errors.FluxRequestError) as caught:
        protocol.read_submission(answer(422, {"detail": detail}), REQUEST, now=0.0)
    message = str(caught.value)
    assert "width: Input should be less; Value error, mask size differs; a plain text" in message
    assert "QUJD" not in message


@pytest.mark.parametrize(
    "leak",
    [
        KEY,
        SECRET,
        "QUJD" * 100,
        "https://delivery.eu.bfl.ai/r/s.jpeg?se=2026&sig=abcSIG%2Bdef",
        "data:image/png;base64,QUJD",
    ],
)
def test_an_error_never_quotes_a_secret(leak: str) -> None:
    for status in (400, 402, 403, 422, 429):
        with pytest.raises(FluxError) as caught:
            protocol.read_submission(
                answer(status, {"detail": f"bad thing: {leak} !"}), REQUEST, now=0.0
            )
        assert leak not in str(caught.value)
        assert "sig=" not in str(caught.value)
    for details in ({"error": f"no {leak}"}, {"Moderation Reasons": [f"no {leak}"]}, f"no {leak}"):
        for status in ("Error", "Content Moderated"):
            ended = GenerationResult.from_body(
                {"status": status, "details": details}, secrets=(SECRET, KEY)
            )
            assert leak not in str(ended.as_error(request_id="r", cost=None))


@pytest.mark.parametrize("status", [200, 404, 422, 500])
def test_a_poll_answer_with_a_status_counts_whatever_the_http_status(status: int) -> None:
    task = {
        "id": "u",
        "status": "Error",
        "result": None,
        "details": {"error": "Invalid or corrupted image input"},
    }
    assert protocol.read_result(answer(status, task)).status is Status.ERROR
    missing = {"id": "u", "status": "Task not found", "result": None}
    assert protocol.read_result(answer(status, missing)).status is Status.TASK_NOT_FOUND
    assert protocol.read_result(answer(status, {"state": "Pending"})).status is Status.PENDING


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (403, {"detail": "Not authenticated"}, errors.FluxAuthenticationError),
        (
            422,
            {"detail": [{"loc": ["query", "id"], "msg": "Field required"}]},
            errors.FluxRequestError,
        ),
        (408, {}, errors.FluxServiceError),
        (429, {}, errors.FluxRateLimitedError),
        (500, b"oops", errors.FluxServiceError),
        (200, b"<html>a gateway page</html>", errors.FluxServiceError),
        (302, b"", errors.FluxServiceError),
    ],
)
def test_a_refused_poll_is_a_typed_error(status: int, body: object, error: type[FluxError]) -> None:
    with pytest.raises(error):
        protocol.read_result(answer(status, body))


def test_a_404_of_a_gateway_reads_as_task_not_found() -> None:
    assert (
        protocol.read_result(answer(404, b"<html>no such page</html>")).status
        is Status.TASK_NOT_FOUND
    )


def test_a_submit_whose_parameters_json_cannot_represent_is_refused() -> None:
    request = build_request("flux-9", {"prompt": object()}, validate=False)
    with pytest.raises(errors.FluxRequestError, match="JSON"):
        protocol.submit_request(request, SETTINGS)


def test_any_2xx_answer_with_an_id_is_an_accepted_submit() -> None:
    assert protocol.read_submission(answer(202, {"id": "u1"}), REQUEST, now=0.0).request_id == "u1"


def test_a_ready_answer_is_read_completely() -> None:
    body = {
        "id": "u",
        "status": "Ready",
        "cost": 15,
        "progress": None,
        "result": {
            "sample": "https://delivery.eu.bfl.ai/s.jpeg?sig=abc",
            "seed": 42,
            "prompt": "longer",
        },
    }
    result = protocol.read_result(answer(200, body))
    assert result.status.is_success
    assert (result.seed, result.cost) == (42, 15.0)
    assert result.sample == body["result"]["sample"]
    assert "sig" not in repr(result)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://api.eu2.bfl.ai/v1/get_result?id=u", "https://api.eu2.bfl.ai/v1/get_result?id=u"),
        ("/v2/get_result?id=u", "https://api.bfl.ai/v2/get_result?id=u"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirected_poll_is_sent_to_a_trusted_host_with_the_key(
    status: int, location: str, url: str
) -> None:
    """Fault 19: a redirect to a regional endpoint ended a generation that was billed."""
    first = protocol.poll_request("u", None, SETTINGS)
    second = protocol.redirected_poll(first, answer(status, b"", Location=location), SETTINGS)
    assert second is not None
    assert (second.method, second.url, second.headers["x-key"]) == ("GET", url, KEY)


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/v1/get_result?id=u",
        "http://api.bfl.ai/v1/get_result?id=u",
        "//evil.example/x",
        "https://key@api.bfl.ai/",
        "http://[::1",
        "https://localhost\\.bfl.ai/",
    ],
)
def test_a_poll_that_is_redirected_to_a_host_that_is_not_trusted_is_refused(location: str) -> None:
    """Fault 19: each hop is checked as a polling URL."""
    first = protocol.poll_request("u", None, SETTINGS)
    with pytest.raises(errors.FluxUntrustedURLError, match="redirect"):
        protocol.redirected_poll(first, answer(302, b"", Location=location), SETTINGS)


def test_an_answer_that_is_no_redirect_is_not_followed() -> None:
    """Fault 19: an answer without a location, or of another status, is read as it is."""
    first = protocol.poll_request("u", None, SETTINGS)
    for reply in (answer(302, b""), answer(304, b"", Location="/x"), answer(200, {})):
        assert protocol.redirected_poll(first, reply, SETTINGS) is None


def test_the_urls_of_a_result_are_read_from_lists() -> None:
    """Fault 19: ``samples`` and ``draft_caches`` were not read."""
    urls = {"samples": ["https://a.bfl.ai/1", "https://a.bfl.ai/2"], "draft_caches": ["https://c"]}
    result = GenerationResult.from_body({"status": "Ready", "result": urls})
    assert (result.sample, result.draft_cache) == ("https://a.bfl.ai/1", "https://c")
    both = {**urls, "sample": "https://a.bfl.ai/0", "draft_cache": None}
    result = GenerationResult.from_body({"status": "Ready", "result": both})
    assert (result.sample, result.draft_cache) == ("https://a.bfl.ai/0", "https://c")


@pytest.mark.parametrize(
    "body",
    [
        {"error": "a reason"},
        {"error": {"message": "a reason"}},
        {"result": {"details": "a reason"}},
        {"result": {"details": {"error": "a reason"}}},
        {"details": {}, "result": None, "error": "a reason"},
        {"details": {"message": "a reason"}},
    ],
)
def test_the_reason_of_a_failure_is_read_wherever_it_is(body: dict) -> None:
    """Fault 19: a reason at the top level or in ``result.details`` was not told."""
    assert GenerationResult.from_body({"status": "Error", **body}).error == "a reason"


@pytest.mark.parametrize(
    "body",
    [
        {"Moderation Reasons": ["Violence"]},
        {"result": {"details": {"Moderation Reasons": ["Violence"]}}},
        {"result": {"Moderation Reasons": "Violence"}},
        {"error": "Violence"},
    ],
)
def test_the_reasons_of_a_moderation_are_read_wherever_they_are(body: dict) -> None:
    """Fault 19: reasons outside ``details`` were not told."""
    ended = GenerationResult.from_body({"status": "Content Moderated", **body})
    assert ended.moderation_reasons == ("Violence",)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.just(10**400) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_any_json_value_is_read_without_an_untyped_error(value: object) -> None:
    names = ("id", "status", "result", "cost", "progress", "details", "detail", "credits")
    body = json.dumps(dict.fromkeys(names, value)).encode()
    for status in (200, 404, 422, 500):
        reply = HttpAnswer(status, {}, body)
        with contextlib.suppress(FluxError):
            protocol.read_result(reply)
        with contextlib.suppress(FluxError):
            account.read_credits(reply)
        with contextlib.suppress(FluxError):
            protocol.read_submission(reply, REQUEST, now=0.0)


def test_a_deeply_nested_body_reads_as_no_json() -> None:
    with pytest.raises(errors.FluxServiceError):
        protocol.read_result(answer(200, b"[" * 200_000))
