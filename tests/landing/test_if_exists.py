"""``if_exists``: existing objects are kept, without a submit if the name is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.hero_task import across, hero, image_of, run, sidecar_of
from tests.support.object_stores import FileStore, Store
from tests.support.sample_media import picture

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@across
def test_skip_submits_nothing_if_the_name_is_known_before_the_submit(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    path = f"{store.root}/hero.{{ext}}"
    first = run(hero(path, "one"))
    second = run(hero(path, "two", way, if_exists="skip"), "tuesday")
    assert emulator.stats()["submits"] == 1
    assert (second["reused"], second["cost"], second["image"]) == (True, 0, first["image"])
    assert second["request_id"] == first["request_id"]


@across
def test_if_exists_error_is_raised_before_the_submit(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    path = f"{store.root}/hero.{{ext}}"
    first = run(hero(path, "one"))
    data = image_of(store, first)
    with pytest.raises(AirflowFailException, match="nothing was submitted"):
        run(hero(path, "two", way, if_exists="error"), "tuesday")
    assert emulator.stats()["submits"] == 1
    assert image_of(store, first) == data


@across
@pytest.mark.parametrize("if_exists", ["skip", "error"])
def test_an_object_is_kept_although_its_name_is_known_only_after_the_submit(
    emulator: EmulatorServer, store: Store, way: str, if_exists: Any
) -> None:
    path = f"{store.root}/{{seed}}.{{ext}}"
    first = run(hero(path, "one", seed=7))
    data, sidecar = image_of(store, first), sidecar_of(store, first)
    task = hero(path, "two", way, seed=7, if_exists=if_exists)
    if if_exists == "skip":
        second = run(task)
        assert second["image"] == first["image"]
        assert (second["reused"], second["cost"]) == (False, 4)
    else:
        with pytest.raises(AirflowFailException, match=r"FluxExistsError.*untouched.*on record"):
            run(task)
    assert emulator.stats()["submits"] == 2
    assert (image_of(store, first), sidecar_of(store, first)) == (data, sidecar)


@across
def test_if_exists_error_accepts_the_image_of_an_earlier_try_of_the_task(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    path = f"{store.root}/{{key}}.{{ext}}"
    first = run(hero(path, way=way, if_exists="error"), map_index=2, try_number=1)
    second = run(hero(path, way=way, if_exists="error"), map_index=2, try_number=2)
    assert (second["reused"], second["image"]) == (True, first["image"])
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    "other",
    [{"run_id": "tuesday"}, {"prompt": "a hare"}, {"task_id": "other"}, {"seed": 1}],
    ids=str,
)
def test_if_exists_error_refuses_the_image_of_another_task(
    emulator: EmulatorServer, tmp_path: Path, other: dict[str, Any]
) -> None:
    path = f"{tmp_path}/hero-{{index}}.{{ext}}"
    run(hero(path), map_index=2)
    run_id = {"run_id": other["run_id"]} if "run_id" in other else {}
    changed = {name: value for name, value in other.items() if name != "run_id"}
    with pytest.raises(AirflowFailException, match="FluxExistsError"):
        run(hero(path, if_exists="error", **changed), map_index=2, **run_id)
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\xff\xd8\xff\xe0", picture("jpeg")[:-1]], ids=range(4)
)
@pytest.mark.parametrize("if_exists", ["skip", "error"])
def test_an_object_that_is_no_image_is_neither_reused_nor_replaced(
    emulator: EmulatorServer, tmp_path: Path, if_exists: Any, content: bytes
) -> None:
    (tmp_path / "hero.jpeg").write_bytes(content)
    with pytest.raises(AirflowFailException, match=r"FluxExistsError.*not a whole image"):
        run(hero(f"{tmp_path}/hero.{{ext}}", if_exists=if_exists))
    assert (tmp_path / "hero.jpeg").read_bytes() == content
    assert emulator.stats()["submits"] == 0
    run(hero(f"{tmp_path}/hero.{{ext}}", if_exists="overwrite"))
    assert emulator.stats()["submits"] == 1


def test_an_image_of_another_format_does_not_count_as_the_requested_one(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    run(hero(f"{tmp_path}/hero.{{ext}}"))
    second = run(hero(f"{tmp_path}/hero.{{ext}}", if_exists="skip", output_format="png"))
    assert second["image"]["uri"].endswith("hero.png")
    assert [name for name in FileStore(tmp_path).names() if not name.endswith(".json")] == [
        "hero.jpeg",
        "hero.png",
    ]


@pytest.mark.parametrize("value", ["Skip", "replace", "", 1])
def test_an_unknown_value_of_if_exists_is_refused(value: Any) -> None:
    with pytest.raises(FluxRequestError, match="if_exists="):
        hero("/tmp/x.{ext}", if_exists=value)


@pytest.mark.parametrize("store", ["abfs"], indirect=True)
def test_an_invalid_store_option_is_reported_before_the_submit(
    emulator: EmulatorServer, store: Store
) -> None:
    """An option that the store rejects must not be found after the submit."""
    with pytest.raises((AirflowFailException, FluxRequestError)):
        run(hero(f"{store.root}/hero.{{ext}}", store_options={"tags": "team"}))
    assert emulator.stats()["submits"] == 0


def test_templates_in_store_options_are_checked_after_rendering_and_before_the_submit(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """The rendered options are checked before the submit."""
    whole = hero(
        "s3://aws_lab@media/x.{ext}",
        store_options="{{ var.json.options }}",
        cache_control="{{ params.x }}",
    )
    part = hero(
        "abfs://az@media/x.{ext}", store_options={"standard_blob_tier": "{{ params.tier }}"}
    )
    for task, rendered in ((whole, "StorageClass"), (part, {"standard_blob_tier": "Warm"})):
        task.store_options = rendered  # as Airflow sets it
        with pytest.raises(AirflowFailException, match=r"store_options|standard_blob_tier"):
            run(task)
    assert emulator.stats()["submits"] == 0
