"""``if_exists``: existing objects are kept, without a submit if the name is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxRequestError, FluxStorageError
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.ceph_like_proxy import CephLikeProxy
from tests.support.image_task import (
    each_store_and_way,
    image_task,
    read_image,
    read_sidecar,
    run_task,
)
from tests.support.object_stores import FileStore, Store
from tests.support.sample_media import make_image

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@each_store_and_way
def test_skip_submits_nothing_if_the_name_is_known_before_the_submit(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    path = f"{store.root}/hero.{{ext}}"
    first = run_task(image_task(path, "one"))
    second = run_task(image_task(path, "two", way, if_exists="skip"), "tuesday")
    assert emulator.stats()["submits"] == 1
    assert (second["reused"], second["cost"], second["image"]) == (True, 0, first["image"])
    assert second["request_id"] == first["request_id"]


@each_store_and_way
def test_if_exists_error_is_raised_before_the_submit(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    path = f"{store.root}/hero.{{ext}}"
    first = run_task(image_task(path, "one"))
    data = read_image(store, first)
    with pytest.raises(AirflowFailException, match="nothing was submitted"):
        run_task(image_task(path, "two", way, if_exists="error"), "tuesday")
    assert emulator.stats()["submits"] == 1
    assert read_image(store, first) == data


@each_store_and_way
@pytest.mark.parametrize("if_exists", ["skip", "error"])
def test_an_object_is_kept_although_its_name_is_known_only_after_the_submit(
    emulator: EmulatorServer, store: Store, way: str, if_exists: Any
) -> None:
    path = f"{store.root}/{{seed}}.{{ext}}"
    first = run_task(image_task(path, "one", seed=7))
    data, sidecar = read_image(store, first), read_sidecar(store, first)
    task = image_task(path, "two", way, seed=7, if_exists=if_exists)
    if if_exists == "skip":
        second = run_task(task)
        assert second["image"] == first["image"]
        assert (second["reused"], second["cost"]) == (False, 4)
    else:
        with pytest.raises(AirflowFailException, match=r"FluxExistsError.*untouched.*on record"):
            run_task(task)
    assert emulator.stats()["submits"] == 2
    assert (read_image(store, first), read_sidecar(store, first)) == (data, sidecar)


@each_store_and_way
def test_if_exists_error_accepts_the_image_of_an_earlier_try_of_the_task(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    path = f"{store.root}/{{key}}.{{ext}}"
    first = run_task(image_task(path, way=way, if_exists="error"), map_index=2, try_number=1)
    second = run_task(image_task(path, way=way, if_exists="error"), map_index=2, try_number=2)
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
    run_task(image_task(path), map_index=2)
    run_id = {"run_id": other["run_id"]} if "run_id" in other else {}
    changed = {name: value for name, value in other.items() if name != "run_id"}
    with pytest.raises(AirflowFailException, match="FluxExistsError"):
        run_task(image_task(path, if_exists="error", **changed), map_index=2, **run_id)
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\xff\xd8\xff\xe0", make_image("jpeg")[:-1]], ids=range(4)
)
@pytest.mark.parametrize("if_exists", ["skip", "error"])
def test_an_object_that_is_no_image_is_neither_reused_nor_replaced(
    emulator: EmulatorServer, tmp_path: Path, if_exists: Any, content: bytes
) -> None:
    (tmp_path / "hero.jpeg").write_bytes(content)
    with pytest.raises(AirflowFailException, match=r"FluxExistsError.*not a whole image"):
        run_task(image_task(f"{tmp_path}/hero.{{ext}}", if_exists=if_exists))
    assert (tmp_path / "hero.jpeg").read_bytes() == content
    assert emulator.stats()["submits"] == 0
    run_task(image_task(f"{tmp_path}/hero.{{ext}}", if_exists="overwrite"))
    assert emulator.stats()["submits"] == 1


def test_an_image_of_another_format_does_not_count_as_the_requested_one(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    run_task(image_task(f"{tmp_path}/hero.{{ext}}"))
    second = run_task(image_task(f"{tmp_path}/hero.{{ext}}", if_exists="skip", output_format="png"))
    assert second["image"]["uri"].endswith("hero.png")
    assert [name for name in FileStore(tmp_path).names() if not name.endswith(".json")] == [
        "hero.jpeg",
        "hero.jpeg.thumb.webp",
        "hero.png",
        "hero.png.thumb.webp",
    ]


@pytest.mark.parametrize("value", ["Skip", "replace", "", 1])
def test_an_unknown_value_of_if_exists_is_refused(value: Any) -> None:
    with pytest.raises(FluxRequestError, match="if_exists="):
        image_task("/tmp/x.{ext}", if_exists=value)


@pytest.mark.parametrize("store", ["abfs"], indirect=True)
def test_an_invalid_store_option_is_reported_before_the_submit(
    emulator: EmulatorServer, store: Store
) -> None:
    """An option that the store rejects must not be found after the submit."""
    with pytest.raises((AirflowFailException, FluxRequestError)):
        run_task(image_task(f"{store.root}/hero.{{ext}}", store_options={"tags": "team"}))
    assert emulator.stats()["submits"] == 0


def test_templates_in_store_options_are_checked_after_rendering_and_before_the_submit(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """The rendered options are checked before the submit."""
    whole = image_task(
        "s3://aws_lab@media/x.{ext}",
        store_options="{{ var.json.options }}",
        cache_control="{{ params.x }}",
    )
    part = image_task(
        "abfs://az@media/x.{ext}", store_options={"standard_blob_tier": "{{ params.tier }}"}
    )
    for task, rendered in ((whole, "StorageClass"), (part, {"standard_blob_tier": "Warm"})):
        task.store_options = rendered  # as Airflow sets it
        with pytest.raises(AirflowFailException, match=r"store_options|standard_blob_tier"):
            run_task(task)
    assert emulator.stats()["submits"] == 0


def test_skip_says_that_the_existing_object_may_not_be_read(
    emulator: EmulatorServer,
    ceph_folder: Callable[..., str],
    ceph: CephLikeProxy,
    tmp_path: Path,
) -> None:
    """Fault 43: the message was that the object is gone and that landing again is free."""
    folder = ceph_folder("writer")
    ceph.put_object(f"{folder}/hero.jpeg", make_image("jpeg"))
    task = image_task(
        f"{folder}/hero.{{ext}}", if_exists="skip", ledger_path=f"{tmp_path}", sidecar=False
    )
    with pytest.raises(FluxStorageError, match="but the credentials may not read it") as caught:
        run_task(task)
    assert "vanished" not in str(caught.value)
