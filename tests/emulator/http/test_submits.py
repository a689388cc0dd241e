"""Submits and polls over HTTP: bodies, credits, regions, counts."""

from __future__ import annotations

import uuid

import pytest

from tests.emulator.conftest import Client, Start
from tests.support.emulator_media import encode_base64, plain_image


def test_a_submit_is_answered_with_id_and_polling_url_and_no_cost(client: Client) -> None:
    body = client.submit()
    assert str(uuid.UUID(body["id"])) == body["id"]
    assert body == {
        "id": body["id"],
        "polling_url": f"{client.server.url}/v1/get_result?id={body['id']}",
        "cost": None,
        "input_mp": None,
        "output_mp": None,
    }
    assert client.credits() == 996


def test_flux_2_reports_cost_and_megapixels(client: Client) -> None:
    image = encode_base64(plain_image(size=(1024, 1024)))
    body = client.submit(model="flux-2-pro", width=1440, height=1440, input_image=image)
    assert (body["cost"], body["input_mp"], body["output_mp"]) == (6.0, 1.0, 1.98)
    assert client.wait(body)["cost"] == 6.0


def test_the_poll_body_of_a_ready_task_is_complete(client: Client) -> None:
    task = client.submit("a blue bird", seed=42)
    body = client.wait(task)
    result = body.pop("result")
    assert body == {
        "id": task["id"],
        "status": "Ready",
        "progress": None,
        "details": None,
        "preview": None,
    }
    assert set(result) == {"sample", "prompt", "seed", "start_time", "end_time", "duration"}
    assert (result["prompt"], result["seed"]) == ("a blue bird", 42)
    assert result["end_time"] - result["start_time"] == pytest.approx(result["duration"])


def test_the_seed_is_random_if_none_is_requested(client: Client) -> None:
    seeds = {client.wait(client.submit())["result"]["seed"] for _ in range(2)}
    assert len(seeds) == 2


def test_an_unknown_id_is_answered_404_in_the_shape_of_a_task(client: Client) -> None:
    answer = client.get(f"{client.server.url}/v1/get_result?id=nope")
    assert answer.status_code == 404
    assert answer.json() == {
        "id": "nope",
        "status": "Task not found",
        "result": None,
        "progress": None,
        "details": None,
        "preview": None,
    }


def test_the_polling_url_names_the_host_of_the_submit(client: Client) -> None:
    answer = client.post(
        json={"prompt": "x"}, headers={**client.headers, "Host": "flux.example:99"}
    )
    assert answer.json()["polling_url"].startswith("http://flux.example:99/v1/get_result?id=")


def test_a_task_is_known_on_the_host_of_its_region_only(start: Start) -> None:
    client = start(region_hosts=["127.0.0.2", "127.0.0.3"])
    task = client.submit()
    port = client.server.url.rpartition(":")[2]
    own = task["polling_url"].removeprefix("http://").partition(":")[0]
    assert own in {"127.0.0.2", "127.0.0.3"}
    for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        answer = client.get(f"http://{host}:{port}/v1/get_result?id={task['id']}")
        assert answer.status_code == (200 if host == own else 404)
        assert answer.json()["id"] == task["id"]
    sample = client.wait(task)["result"]["sample"]
    assert sample.startswith(f"http://{own}:{port}/results/")
    assert client.get(sample).status_code == 200


def test_stats_count_submits_per_prompt_polls_and_refusals(client: Client) -> None:
    for prompt in ("a", "a", "b"):
        client.get(client.submit(prompt)["polling_url"])
    client.post(json={"prompt": "c"}, headers={})
    stats = client.get(f"{client.server.url}/_emulator/stats").json()
    expected = client.server.stats()
    # A task may end between the two calls.
    assert {**stats, "active": expected["active"]} == expected
    assert (stats["submits"], stats["submits_per_prompt"]) == (3, {"a": 2, "b": 1})
    assert stats["submits_per_model"] == {"flux-pro-1.1": 3}
    assert (stats["refused"], stats["polls"], stats["credits_spent"]) == (1, 3, 12)


def test_a_reset_over_http_forgets_tasks_and_restores_the_balance(client: Client) -> None:
    task = client.submit()
    assert client.post("../_emulator/reset").json() == {"reset": True}
    assert client.get(task["polling_url"]).status_code == 404
    assert client.credits() == 1000
