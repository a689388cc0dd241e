"""FluxToObjectStorageOperator: one generation or a list, fresh results, and retries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, XComArg

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from tests.support.run_operator import run_operator
from tests.support.submit_by_client import submit_by_hook

pytestmark = pytest.mark.usefixtures("hurry")


def generated(prompt: str = "a fox", **arguments: Any) -> dict[str, Any]:
    return run_operator(
        FluxGenerateOperator(task_id="hero", prompt=prompt, poll_interval=0.1, **arguments)
    )


def land(generation: Any, output_path: Any, **arguments: Any) -> Any:
    task = FluxToObjectStorageOperator(
        task_id="l", generation=generation, output_path=str(output_path), **arguments
    )
    return run_operator(task)


def test_a_generation_is_landed_with_a_fresh_result(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generation = generated(seed=5)
    landed = land(generation, f"file://{tmp_path}/{{seed}}.{{ext}}")
    assert landed == {**generation, "image": landed["image"]}
    assert landed["image"]["uri"] == f"file://{tmp_path}/5.jpeg"
    assert Path(tmp_path / "5.jpeg").stat().st_size == landed["image"]["bytes"]
    assert land(generation, f"file://{tmp_path}/{{seed}}.{{ext}}")["image"] == landed["image"]
    assert emulator.stats()["submits"] == 1


def test_the_generations_of_a_list_land_in_its_order(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generations = [generated(f"fox {n}") for n in range(3)]
    landed = land(generations, f"{tmp_path}/{{index:03d}}.{{ext}}")
    assert [generation["image"]["uri"] for generation in landed] == [
        f"{tmp_path}/00{n}.jpeg" for n in range(3)
    ]
    assert [landed_one["request_id"] for landed_one in landed] == [
        generation["request_id"] for generation in generations
    ]
    assert land([], f"{tmp_path}/{{index}}.{{ext}}") == []


def test_a_generation_may_be_json_text_of_a_template(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generation = generated()
    assert land(json.dumps(generation), f"{tmp_path}/a.{{ext}}")["image"]
    assert len(land(json.dumps([generation]), f"{tmp_path}/a.{{ext}}")) == 1


def test_a_generation_that_is_still_running_is_waited_for(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    submission = submit_by_hook("flux-pro-1.1", {"prompt": "x [[fault:slow=1]]"})
    generation = {"request_id": submission.request_id, "polling_url": submission.polling_url}
    assert Path(land(generation, f"{tmp_path}/a.{{ext}}")["image"]["uri"]).exists()


def test_an_expired_url_is_exchanged_for_a_fresh_one(tmp_path: Path, connect) -> None:
    with EmulatorServer(EmulatorConfig(latency=0.05, url_lifetime=600)) as server:
        connect(server.url)
        generation = generated("x [[fault:expired=1]]")
        assert Path(land(generation, f"{tmp_path}/a.{{ext}}")["image"]["uri"]).exists()


def test_damaged_downloads_do_not_prevent_the_exchange_of_an_expired_url(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generation = generated("x [[fault:cut=2]] [[fault:expired=1]]")
    assert Path(land(generation, f"{tmp_path}/a.{{ext}}")["image"]["uri"]).exists()
    assert emulator.stats()["downloads"] == 4


def test_the_error_of_an_expired_image_names_its_cost(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generation = generated("x [[fault:expired=always]]")
    with pytest.raises(AirflowFailException, match=r"billed \(4 credits, estimated\)") as caught:
        land(generation, f"{tmp_path}/a.{{ext}}")
    assert isinstance(caught.value.__cause__, errors.FluxResultExpiredError)
    assert generation["request_id"] in str(caught.value)


def test_a_url_that_is_refused_before_its_expiry_does_not_end_a_paid_generation(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 32: the expiry of the URL counts. Only a poll can tell that BFL has no image."""
    generation = generated("x [[fault:deliver-403=2]]")
    with pytest.raises(errors.FluxServiceError, match=r"valid until .* A retry gets a new URL"):
        land(generation, f"{tmp_path}/a.{{ext}}")
    assert Path(land(generation, f"{tmp_path}/a.{{ext}}")["image"]["uri"]).exists()
    assert emulator.stats()["submits"] == 1


def test_a_generation_that_bfl_no_longer_knows_fails_for_good(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generation = {"request_id": "gone", "polling_url": f"{emulator.url}/v1/get_result?id=gone"}
    with pytest.raises(AirflowFailException, match="FluxTaskNotFoundError"):
        land({**generation, "submitted_at": "2026-01-01T00:00:00+00:00"}, f"{tmp_path}/a.{{ext}}")


@pytest.mark.parametrize("fault", ["cut=always", "html=always", "empty=always"])
def test_a_damaged_image_is_not_stored_and_a_retry_is_free(
    emulator: EmulatorServer, tmp_path: Path, fault: str
) -> None:
    generation = generated(f"x [[fault:{fault}]]")
    with pytest.raises(errors.FluxImageError, match="nothing was stored"):
        land(generation, f"{tmp_path}/a.{{ext}}")
    assert list(tmp_path.iterdir()) == []
    assert emulator.stats()["submits"] == 1


def test_a_failing_store_is_left_to_airflows_retries(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generation = generated()
    (tmp_path / f"{generation['request_id']}.jpeg").mkdir()  # in the way
    with pytest.raises(errors.FluxStorageError):
        land(generation, f"{tmp_path}/{{request_id}}.{{ext}}")
    assert land(generation, f"{tmp_path}/a.{{ext}}")["image"]


def test_a_folder_that_cannot_be_written_is_refused_before_the_download(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AirflowFailException, match="is a file, not a folder"):
        land(generated(), f"{tmp_path}/file/a.{{ext}}")


def test_a_list_lands_its_other_images_before_it_fails(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generations = [generated("one"), generated("two [[fault:cut=always]]"), generated("three")]
    with pytest.raises(errors.FluxImageError, match="1 of 3 images could not be landed"):
        land(generations, f"{tmp_path}/{{index}}.{{ext}}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0.jpeg",
        "0.jpeg.json",
        "0.jpeg.thumb.webp",
        "2.jpeg",
        "2.jpeg.json",
        "2.jpeg.thumb.webp",
    ]


def test_a_list_is_left_to_airflows_retries_if_a_retry_may_help_one_image(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generations = [generated("one [[fault:expired=always]]"), generated("two [[fault:cut=always]]")]
    with pytest.raises(errors.FluxImageError, match="2 of 2"):
        land(generations, f"{tmp_path}/{{index}}.{{ext}}")


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        (None, "pushed no result"),
        (7, "pushed no result"),
        ("{'request_id': 'r'}", "not JSON"),
        ({}, "no request_id"),
        ({"request_id": 7}, "no request_id"),
        ({"request_id": "r", "polling_url": 7}, "polling_url=7. It must not be of type int"),
        ({"request_id": "r", "polling_url": "https://evil.example/x"}, "evil.example"),
        ({"request_id": "r", "submitted_at": "yesterday"}, "submitted_at='yesterday'"),
        ({"request_id": "r", "submitted_at": "2026-11-22/P1D"}, "ISO 8601"),
        ([{"request_id": "r"}, None], r"generation[1] is NoneType"),
        ([{"request_id": "r"}, {"request_id": "s"}], "the same name"),
    ],
)
def test_the_error_of_a_malformed_generation_names_the_fault(
    emulator: EmulatorServer, tmp_path: Path, generation: Any, message: str
) -> None:
    with pytest.raises(AirflowFailException) as caught:
        land(generation, f"{tmp_path}/x.{{ext}}")
    assert message in str(caught.value)
    assert emulator.stats()["submits"] == 0


@pytest.mark.parametrize("path", ["", "s3:///x", "x.png", "s3://b/{name}"])
def test_a_wrong_output_path_fails_when_the_dag_is_parsed(path: str) -> None:
    with pytest.raises(FluxRequestError, match="output_path"):
        FluxToObjectStorageOperator(task_id="l", generation={}, output_path=path)


def test_the_output_of_another_task_is_resolved_at_run_time() -> None:
    with DAG("d", schedule=None):
        hero = FluxGenerateOperator(task_id="hero", prompt="x")
        task = FluxToObjectStorageOperator(
            task_id="l", generation=hero.output, output_path=hero.output["path"]
        )
    assert isinstance(task.generation, XComArg)
    assert isinstance(task.output_path, XComArg)
