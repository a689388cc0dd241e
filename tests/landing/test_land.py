"""Landings of good and damaged results over real HTTP."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task_group
from PIL import Image

from airflow_provider_flux.bfl.errors import FluxImageError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from tests.support.image_task import (
    copy_task,
    each_store_and_way,
    image_task,
    read_image,
    read_sidecar,
    run_task,
    task_context,
)
from tests.support.object_stores import FileStore, Store
from tests.support.run_operator import WAYS
from tests.support.sample_media import decode

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ways = pytest.mark.parametrize("way", WAYS)
WRONG = [
    ("wrong-size", "its size is 128x128, not 256x256"),
    ("wrong-format", "its format is png, not jpeg"),
]


@each_store_and_way
@pytest.mark.parametrize(("fault", "mismatch"), WRONG)
def test_a_result_that_differs_from_the_request_lands_with_its_mismatches(
    emulator: EmulatorServer, store: Store, way: str, fault: str, mismatch: str
) -> None:
    generation = run_task(image_task(f"{store.root}/x.{{ext}}", f"x [[fault:{fault}]]", way))
    data, image = read_image(store, generation), generation["image"]
    with Image.open(io.BytesIO(data)) as real:
        assert (image["width"], image["height"]) == real.size
        assert image["content_type"] == Image.MIME[real.format or ""]
    assert image["uri"].endswith(image["content_type"].partition("/")[2])
    assert read_sidecar(store, generation)["mismatches"] == [mismatch]
    if store.scheme != "file":
        assert store.stat(image["uri"]).content_type == image["content_type"]


@ways
@pytest.mark.parametrize(("fault", "mismatch"), WRONG)
def test_a_result_that_differs_from_the_request_is_not_stored_if_on_mismatch_is_fail(
    emulator: EmulatorServer, tmp_path: Path, way: str, fault: str, mismatch: str
) -> None:
    task = image_task(
        f"{tmp_path}/x.{{ext}}", f"x [[fault:{fault}]]", way, on_mismatch="fail", reuse="always"
    )
    with pytest.raises(FluxImageError, match=f"{mismatch}.*It was not stored"):
        run_task(task)
    # The claim of the image stays for a retry, which may land it with another on_mismatch.
    assert [name for name in FileStore(tmp_path).names() if not name.endswith(".claim")] == []
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("way", "fault"),
    [
        *(("sync", fault) for fault in ("html=2", "empty=2", "truncate=1", "reset=1")),
        *(("deferred", fault) for fault in ("cut=2", "expired=1", "truncate=1", "deliver-503=1,0")),
        ("between", "cut=1"),
    ],
)
def test_a_damaged_download_is_repeated(
    emulator: EmulatorServer, tmp_path: Path, way: str, fault: str
) -> None:
    generation = run_task(image_task(f"{tmp_path}/x.{{ext}}", f"x [[fault:{fault}]]", way))
    data = Path(generation["image"]["uri"]).read_bytes()
    with Image.open(io.BytesIO(data)) as real:
        real.load()
    assert hashlib.sha256(data).hexdigest() == generation["image"]["sha256"]
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("way", "fault", "output_format"),
    [
        *(("sync", fault, "jpeg") for fault in ("html=always", "empty=always", "cut=always")),
        *(("deferred", "cut=always", output_format) for output_format in ("jpeg", "png", "webp")),
        *(("between", fault, "png") for fault in ("html=always", "empty=always")),
    ],
)
def test_a_download_that_stays_damaged_leaves_the_old_image(
    emulator: EmulatorServer, tmp_path: Path, way: str, fault: str, output_format: str
) -> None:
    target = tmp_path / f"x.{output_format}"
    target.write_bytes(b"old")
    task = image_task(
        f"{tmp_path}/x.{{ext}}", f"x [[fault:{fault}]]", way, output_format=output_format
    )
    with pytest.raises(FluxImageError, match="nothing was stored"):
        run_task(task)
    assert FileStore(tmp_path).names() == [target.name]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("store", "way", "output_format"),
    [
        ("file", "sync", "webp"),
        ("s3", "deferred", "jpeg"),
        ("gs", "between", "png"),
        ("abfs", "deferred", "webp"),
    ],
    indirect=["store"],
)
def test_names_hashes_and_sizes_are_those_of_the_marked_bytes(
    emulator: EmulatorServer, store: Store, way: str, output_format: str
) -> None:
    task = image_task(
        f"{store.root}/{{sha256}}.{{ext}}",
        way=way,
        output_format=output_format,
        embed_metadata=True,
        seed=7,
    )
    generation = run_task(task)
    data, found = read_image(store, generation), read_sidecar(store, generation)
    stored = hashlib.sha256(data).hexdigest()
    assert b"trainedAlgorithmicMedia" in data
    assert generation["image"]["sha256"] == found["media"]["sha256"] == stored
    assert generation["image"]["uri"] == f"{store.root}/{stored}.{output_format}"
    assert generation["image"]["bytes"] == found["media"]["bytes"] == len(data)
    plain = run_task(
        copy_task(
            {name: generation[name] for name in ("request_id", "polling_url")},
            f"{store.root}/plain",
        )
    )
    assert found["media"]["delivered_sha256"] == plain["image"]["sha256"] != stored
    with (
        Image.open(io.BytesIO(data)) as marked,
        Image.open(io.BytesIO(read_image(store, plain))) as delivered,
    ):
        assert marked.tobytes() == delivered.tobytes()
    if store.scheme != "file":
        assert store.stat(generation["image"]["uri"]).metadata["sha256"] == stored


@pytest.mark.parametrize("if_exists", ["overwrite", "error"])
def test_an_image_whose_damage_only_decoding_would_show_lands(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, if_exists: str
) -> None:
    """The PNG has valid checksums and no pixels."""
    from airflow_provider_flux.client import FluxClient

    download = FluxClient.download

    def damaged(*arguments: Any, **more: Any) -> bytes:
        data = download(*arguments, **more)
        at = data.index(b"IDAT")
        (length,) = struct.unpack(">I", data[at - 4 : at])
        chunk = b"IDAT" + bytes(length)
        return data[:at] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at + 8 + length :]

    monkeypatch.setattr(FluxClient, "download", damaged)
    generation = run_task(
        image_task(f"{tmp_path}/x.{{ext}}", output_format="png", if_exists=if_exists)
    )
    landed = Path(generation["image"]["uri"]).read_bytes()
    with pytest.raises(OSError, match="cannot decode"):
        decode(landed)


@ways
def test_placeholders_that_are_known_after_the_submit_are_filled_in(
    emulator: EmulatorServer, tmp_path: Path, way: str
) -> None:
    name = "{key}-{index:03d}-{seed}-{request_id}-{sha256}-{fingerprint}.{ext}"
    path = f"{tmp_path}/{{model}}/{name}"
    one = run_task(image_task(path, way=way, seed=7), map_index=5)
    sha = hashlib.sha256(Path(one["image"]["uri"]).read_bytes()).hexdigest()
    name = f"5-005-7-{one['request_id']}-{sha}-{one['fingerprint']}.jpeg"
    assert one["image"]["uri"] == f"{tmp_path}/flux-pro-1.1/{name}"
    assert (
        run_task(image_task(f"{tmp_path}/{{key}}.{{ext}}"))["image"]["uri"]
        == f"{tmp_path}/hero.jpeg"
    )


@each_store_and_way
def test_a_draft_video_lands_with_its_draft_cache(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    draft = {"mode": "t2v", "duration": 5, "draft": True}
    generation = run_task(
        image_task(f"{store.root}/film.{{ext}}", way=way, model="flux-3-video", parameters=draft)
    )
    video, found = generation["video"], read_sidecar(store, generation)
    assert store.names() == ["film.draft.bin", "film.mp4", "film.mp4.json"]
    assert found["media"]["draft_cache"] == video["draft_cache"] == f"{store.root}/film.draft.bin"
    assert (found["media"]["seconds"], found["media"]["content_type"]) == (5, "video/mp4")
    copied = run_task(copy_task(generation, f"{store.root}/b/film.{{ext}}"))
    assert (
        store.read(copied["video"]["draft_cache"]) == store.read(video["draft_cache"]) is not None
    )


def test_one_name_for_all_mapped_tasks_is_refused_before_the_submit(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    path = f"{tmp_path}/hero.{{ext}}"
    with DAG("ads", schedule=None) as dag:
        FluxGenerateOperator.partial(task_id="hero", output_path=path).expand(prompt=["a", "b"])
    with pytest.raises(
        AirflowFailException, match=r"the same for all mapped tasks\. Add \{index\} or \{key\}"
    ):
        run_task(image_task(path), map_index=1, dag=dag)
    assert emulator.stats()["submits"] == 0
    with DAG("ads", schedule=None) as dag:
        FluxGenerateOperator.partial(
            task_id="hero", output_path=f"{tmp_path}/{{key}}.{{ext}}"
        ).expand(prompt=["a"])
    assert (
        run_task(image_task(f"{tmp_path}/{{key}}.{{ext}}"), map_index=1, dag=dag)["image"]["uri"]
        == f"{tmp_path}/1.jpeg"
    )


def test_one_name_for_all_tasks_of_a_mapped_group_is_refused_before_the_submit(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    path = f"{tmp_path}/hero.{{ext}}"
    with DAG("ads", schedule=None) as dag:

        @task_group
        def ad(prompt: str) -> None:
            FluxGenerateOperator(task_id="hero", prompt=prompt, output_path=path)

        ad.expand(prompt=["a", "b"])
    with pytest.raises(AirflowFailException, match="the same for all mapped tasks"):
        run_task(image_task(path, task_id="ad.hero"), map_index=1, dag=dag)
    assert emulator.stats()["submits"] == 0


def test_lists_of_mapped_tasks_do_not_replace_each_other(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Each map index of a transfer gets a list; {index} starts at 0 in each."""
    made = [
        run_task(image_task(f"{tmp_path}/a/{{request_id}}.{{ext}}", f"fox {n}")) for n in range(2)
    ]
    landed = []
    for map_index, one in enumerate(made):
        try:
            landed += run_task(
                copy_task([one], f"{tmp_path}/b/{{index}}.{{ext}}"), map_index=map_index
            )
        except AirflowFailException:
            return
    assert len({one["image"]["uri"] for one in landed}) == 2


def test_a_retry_accepts_its_own_image_whose_sidecar_is_missing(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image exists without a sidecar; the next try must accept it as its own."""
    path = f"{tmp_path}/{{request_id}}.{{ext}}"
    first = run_task(image_task(f"{tmp_path}/first/x.{{ext}}"))
    target = tmp_path / f"{first['request_id']}.jpeg"
    target.write_bytes(Path(first["image"]["uri"]).read_bytes())
    again = run_task(
        copy_task(
            {name: first[name] for name in ("request_id", "polling_url")}, path, if_exists="error"
        )
    )
    assert (
        json.loads(Path(again["image"]["sidecar"]).read_text())["media"]["sha256"]
        == first["image"]["sha256"]
    )


def test_an_image_lands_outside_of_a_dag_run(emulator: EmulatorServer, tmp_path: Path) -> None:
    task = image_task(f"{tmp_path}/x.{{ext}}")
    bare = task_context(task)
    for name in ("dag_id", "run_id", "task_id", "try_number"):
        delattr(bare["ti"], name)
    assert task.execute(bare)["image"]["uri"] == f"{tmp_path}/x.jpeg"
