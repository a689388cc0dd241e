"""The order of refusals: route, key, body, credits, active tasks."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_flux.bfl.catalog import MODELS
from tests.emulator.conftest import Client, Start

BODY = {"prompt": "a red fox"}


def test_an_unknown_route_is_answered_404_before_the_key_is_checked(client: Client) -> None:
    answer = client.post("flux-none", json=BODY, headers={})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    ("headers", "status", "detail"),
    [
        ({}, 403, "Not authenticated"),
        ({"x-key": "0123456789abcdef"}, 422, "Invalid API key format"),
        ({"x-key": "bfl_short"}, 422, "Invalid API key format"),
        ({"x-key": "bfl_with space in it"}, 422, "Invalid API key format"),
        ({"x-key": "bfl_revoked_1"}, 403, "Not authenticated"),
    ],
)
@pytest.mark.parametrize("body", [BODY, {"width": 7}])
def test_the_key_is_checked_before_the_body(
    client: Client, headers: dict[str, str], body: dict[str, Any], status: int, detail: str
) -> None:
    for path in (f"/v1/{model}" for model in MODELS):
        answer = requests.post(f"{client.server.url}{path}", json=body, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()) == (status, {"detail": detail})


def test_the_route_for_credits_needs_a_key(client: Client) -> None:
    url = f"{client.server.url}/v1/credits"
    assert client.get(url).status_code == 403
    assert client.get(url, headers={"X-Key": "bfl_another_account"}).json() == {"credits": 1000.0}


def test_a_poll_needs_no_key_but_a_key_is_checked(client: Client) -> None:
    url = client.submit()["polling_url"]
    assert client.get(url).status_code == 200
    assert client.get(url, headers=client.headers).status_code == 200
    refused = client.get(url, headers={"x-key": "wrong"})
    assert (refused.status_code, refused.json()) == (422, {"detail": "Invalid API key format"})


def test_a_poll_without_an_id_is_a_validation_error(client: Client) -> None:
    answer = client.get(f"{client.server.url}/v1/get_result")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "id"]


def test_a_range_error_has_the_shape_of_fastapi(client: Client) -> None:
    answer = client.post(json={"prompt": "x", "width": 2048})
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": [
            {
                "type": "less_than_equal",
                "loc": ["body", "width"],
                "msg": "Input should be less than or equal to 1440",
                "input": 2048,
                "ctx": {"le": 1440},
            }
        ]
    }


def test_the_error_for_a_missing_field_echoes_the_body(client: Client) -> None:
    answer = client.post("flux-2-pro", json={"seed": 1})
    (problem,) = answer.json()["detail"]
    assert (answer.status_code, problem["type"], problem["loc"]) == (
        422,
        "missing",
        ["body", "prompt"],
    )
    assert problem["input"] == {"seed": 1}


def test_the_body_is_checked_before_the_credits(start: Start) -> None:
    poor = start(credits=3)
    assert poor.post(json={"prompt": "x", "width": 7}).status_code == 422
    answer = poor.post(json=BODY)
    assert (answer.status_code, answer.json()) == (402, {"detail": "Insufficient credits"})
    assert poor.server.stats()["refused"] == 2
    assert poor.credits() == 3


def test_unknown_fields_are_ignored(client: Client) -> None:
    assert client.post(json={**BODY, "colour": "red"}).status_code == 200


def test_the_openapi_document_has_the_schemas_and_the_security_of_the_service(
    client: Client,
) -> None:
    document = client.get(f"{client.server.url}/openapi.json").json()
    for model in MODELS.values():
        route = document["paths"][model.path]["post"]
        schema = route["requestBody"]["content"]["application/json"]["schema"]
        bodies = [schema_type.__name__ for schema_type in model.modes.values()] or [
            model.schema.__name__
        ]
        named = schema["oneOf"] if model.modes else [schema]
        assert [entry["$ref"].rpartition("/")[2] for entry in named] == bodies
        assert set(schema.get("discriminator", {}).get("mapping", {})) == set(model.modes)
        assert route["security"] == [{"APIKeyHeader": []}]
        assert set(route["responses"]) == {"200", "422"}
    assert "security" not in document["paths"]["/v1/get_result"]["get"]
    assert not [path for path in document["paths"] if "_emulator" in path or "licenses" in path]


def test_only_the_flux_3_image_routes_are_without_a_webhook_response(client: Client) -> None:
    paths = client.get(f"{client.server.url}/openapi.json").json()["paths"]
    answers = {
        name: paths[model.path]["post"]["responses"]["200"] for name, model in MODELS.items()
    }
    without = [
        name for name, answer in answers.items() if "AsyncWebhookResponse" not in str(answer)
    ]
    assert without == ["flux-3-image", "flux-3-image-klein"]


def test_only_submits_are_counted_as_refused(client: Client) -> None:
    url = f"{client.server.url}/v1"
    assert (
        requests.post(
            f"{url}/delete_finetune", json={}, headers=client.headers, timeout=60
        ).status_code
        == 422
    )
    assert client.post(json={"width": 7}).status_code == 422
    assert client.server.stats()["refused"] == 1
