"""Finetunes, the usage of open weights, and the limits of an account."""

from __future__ import annotations

from datetime import datetime

import pytest
import requests

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.emulator.__main__ import _parser
from tests.emulator.conftest import Client, Start
from tests.support.emulator_media import encode_base64, plain_image

DEMO = "demo-style"


def _delete(client: Client, name: str) -> requests.Response:
    url = f"{client.server.url}/v1/delete_finetune"
    return requests.post(url, json={"finetune_id": name}, headers=client.headers, timeout=60)


def _finetunes(client: Client) -> list[str]:
    answer = client.get(f"{client.server.url}/v1/my_finetunes", headers=client.headers)
    assert set(answer.json()) == {"finetunes"}
    return list(answer.json()["finetunes"])


def test_finetunes_are_listed_described_used_and_deleted(start: Start) -> None:
    client = start(finetunes=["one", "org/two"])
    assert _finetunes(client) == ["one", "org/two"]
    url = f"{client.server.url}/v1/finetune_details"
    details = client.get(url, params={"finetune_id": "org/two"}, headers=client.headers).json()
    assert details["finetune_details"]["finetune_id"] == "org/two"
    assert client.submit(model="flux-pro-1.1-ultra-finetuned", finetune_id="one")["id"]
    deleted = _delete(client, "one").json()
    assert set(deleted) == {"status", "message", "deleted_finetune_id", "timestamp"}
    assert deleted["deleted_finetune_id"] == "one"
    assert datetime.fromisoformat(deleted["timestamp"]).tzinfo is not None
    assert _finetunes(client) == ["org/two"]
    assert _finetunes(Client(client.server, "bfl_another_account")) == ["one", "org/two"]


@pytest.mark.parametrize(
    "model", [name for name, model in MODELS.items() if "finetune_id" in model.fields]
)
def test_a_submit_with_an_unknown_finetune_is_refused(client: Client, model: str) -> None:
    image = {"image": encode_base64(plain_image())} if "image" in MODELS[model].fields else {}
    answer = client.post(model, json={"prompt": "x", "finetune_id": "another", **image})
    assert (answer.status_code, answer.json()) == (
        400,
        {"detail": "Finetune not found or not ready"},
    )
    assert client.credits() == 1000
    assert client.wait(client.submit(model=model, finetune_id=DEMO, **image))["status"] == "Ready"


def test_an_unknown_finetune_has_no_details_and_cannot_be_deleted(client: Client) -> None:
    url = f"{client.server.url}/v1/finetune_details?finetune_id=another"
    for answer in (client.get(url, headers=client.headers), _delete(client, "another")):
        assert (answer.status_code, answer.json()) == (
            404,
            {"detail": "Finetune not found or access denied"},
        )
    assert client.server.stats()["refused"] == 0


def test_finetune_routes_need_a_key_and_a_name(client: Client) -> None:
    url = f"{client.server.url}/v1"
    assert client.get(f"{url}/my_finetunes").status_code == 403
    assert client.get(f"{url}/finetune_details?finetune_id=x").status_code == 403
    assert (
        requests.post(f"{url}/delete_finetune", json={"finetune_id": "x"}, timeout=60).status_code
        == 403
    )
    answer = client.get(f"{url}/finetune_details", headers=client.headers)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (
        422,
        ["query", "finetune_id"],
    )


def test_the_command_takes_several_finetunes() -> None:
    options = _parser().parse_args(["--finetune", "a", "--finetune", "b"])
    assert options.finetunes == ["a", "b"]
    assert _parser().parse_args([]).finetunes is None


def _report(client: Client, slug: str, body: object) -> requests.Response:
    url = f"{client.server.url}/v1/licenses/models/{slug}/usage"
    return requests.post(url, json=body, headers=client.headers, timeout=60)


def test_the_reported_usage_of_open_weights_is_added_up(client: Client) -> None:
    for slug, number in (("flux-1-dev", 3), ("flux-1-dev", 4), ("flux-tools", 1)):
        answer = _report(client, slug, {"number_of_generations": number})
        assert (answer.status_code, answer.json()) == (200, {})
    assert client.server.stats()["license_generations"] == {"flux-1-dev": 7, "flux-tools": 1}


@pytest.mark.parametrize(
    "body", [{}, {"number_of_generations": 0}, {"number_of_generations": "many"}]
)
def test_a_usage_report_needs_a_positive_number(client: Client, body: object) -> None:
    assert _report(client, "flux-1-krea-dev", body).status_code == 422


def test_a_usage_report_needs_a_known_model_and_a_key(client: Client) -> None:
    assert _report(client, "flux-1-unknown", {"number_of_generations": 1}).status_code == 404
    client.headers = {}
    assert _report(client, "flux-1-dev", {"number_of_generations": 1}).status_code == 403
    assert client.server.stats()["license_generations"] == {}


# Limits


def test_kontext_max_has_at_most_six_active_tasks(start: Start) -> None:
    client = start(latency=60.0, max_active=200)
    statuses = [client.post("flux-kontext-max", json={"prompt": "x"}).status_code for _ in range(7)]
    assert statuses == [200] * 6 + [429]
    assert client.post("flux-kontext-pro", json={"prompt": "x"}).status_code == 200


def test_all_videos_share_a_limit_of_five_active_tasks(start: Start) -> None:
    client = start(latency=60.0, max_active=200)
    video = {"prompt": "x", "mode": "t2v"}
    by_url = {"prompt": "x", "video": "http://127.0.0.1:1/x.mp4"}
    assert [client.post("flux-3-video", json=video).status_code for _ in range(4)] == [200] * 4
    assert client.post("flux-tools/video-edit-v1", json=by_url).status_code == 200
    for model, body in (("flux-3-video", video), ("flux-tools/video-edit-v1", by_url)):
        refused = client.post(model, json=body)
        assert (refused.status_code, refused.json()["detail"][:19]) == (429, "Rate limit exceeded")
    assert client.post("flux-3-image", json={"prompt": "x"}).status_code == 200
    assert (
        Client(client.server, "bfl_another_account").post("flux-3-video", json=video).status_code
        == 200
    )


def test_a_video_is_refused_if_the_balance_is_too_low(start: Start) -> None:
    client = start(credits=84)
    answer = client.post("flux-3-video", json={"prompt": "x", "mode": "t2v"})
    assert (answer.status_code, answer.json()) == (402, {"detail": "Insufficient credits"})
    assert (
        client.post("flux-3-video", json={"prompt": "x", "mode": "t2v", "draft": True}).status_code
        == 200
    )
