"""The DAGs of the how-to pages, with inputs from a real S3 server."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from PIL import Image, ImageDraw

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.cluster.harness import Cluster, DagRun
from tests.support.emulator_media import (
    BLUE,
    GREEN,
    RED,
    YELLOW,
    DecodedVideo,
    colour_distance,
    decode_image,
    encode_image,
    encode_video,
    mean_colour,
    plain_image,
    quarters_image,
)

from .conftest import ROOT, flux_environment

pytestmark = pytest.mark.cluster

SNIPPETS = ("edit", "multi_reference", "inpaint", "outpaint", "erase", "try_on", "video")
TEXT_DAG = """
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_text", schedule=None):
    FluxGenerateOperator(
        task_id="text",
        model="flux-2-klein-4b",
        prompt="A lighthouse",
        parameters={"width": 512, "height": 256},
        output_path="s3://my_s3@media/out/flux_text/{request_id}.{ext}",
    )
"""
#: Four images that the triggerer lands, and two whose connection only the worker has, since the DAG
#: file defines it.
TRIGGER_DAG = """
import os

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

os.environ["AIRFLOW_CONN_WORKER_S3"] = os.environ["AIRFLOW_CONN_MY_S3"]

with DAG("flux_on_triggerer", schedule=None, default_args={"deferrable": True, "inline_wait": 0}):
    FluxGenerateOperator.partial(
        task_id="there", output_path="s3://my_s3@media/out/{{ run_id }}/{key}-{fingerprint}.{ext}"
    ).expand(prompt=[f"A lighthouse, {n}" for n in range(4)])
    FluxGenerateOperator.partial(
        task_id="here", output_path="s3://worker_s3@media/out/{{ run_id }}/{key}.{ext}"
    ).expand(prompt=["A pier", "A quay"])
    FluxGenerateOperator.partial(
        task_id="one_name", output_path="s3://my_s3@media/out/one.{ext}"
    ).expand(prompt=["A mole", "A jetty"])
"""
SIZE = (1024, 768)
ROOM = quarters_image(SIZE)
#: The part of the room that the mask covers: a piece of its red quarter.
HOLE = (60, 60, 300, 240)
MASK = Image.new("L", SIZE)
ImageDraw.Draw(MASK).rectangle(HOLE, fill=255)
INPUTS = {
    "room.jpeg": encode_image(ROOM, "JPEG", quality=95),
    "mask.png": encode_image(MASK),
    "person.jpeg": encode_image(quarters_image((768, 1024)), "JPEG"),
    "garment.jpeg": encode_image(plain_image(BLUE, (512, 512)), "JPEG"),
    "logo.png": encode_image(plain_image(YELLOW, (256, 256))),
    "product.jpeg": encode_image(plain_image(RED, (800, 600)), "JPEG"),
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorServer]:
    with EmulatorServer(EmulatorConfig(latency=2, credits=100_000)) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3: str) -> Any:
    """A bucket with the inputs."""
    store = boto3.resource(
        "s3",
        endpoint_url=s3,
        aws_access_key_id="x",
        aws_secret_access_key="x",
        region_name="us-east-1",
    )
    bucket = store.create_bucket(Bucket="media")
    files = INPUTS | {"clip.mp4": encode_video(quarters_image((640, 360)), seconds=2)}
    for name, content in files.items():
        bucket.put_object(Key=f"in/{name}", Body=content)
    return bucket


@pytest.fixture(scope="module")
def cluster(
    emulator: EmulatorServer, s3: str, bucket: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    dags = folder / "dags"
    dags.mkdir()
    for name in SNIPPETS:
        shutil.copy(ROOT / "docs" / "snippets" / f"{name}.py", dags)
    (dags / "text.py").write_text(TEXT_DAG)
    (dags / "on_triggerer.py").write_text(TRIGGER_DAG)
    store = {
        "conn_type": "aws",
        "login": "x",
        "password": "x",
        "extra": {"endpoint_url": s3, "region_name": "us-east-1"},
    }
    environment = flux_environment(emulator, folder) | {"AIRFLOW_CONN_MY_S3": json.dumps(store)}
    with Cluster(folder, dags, env=environment) as running:
        yield running


def run_to_the_end(cluster: Cluster, dag_id: str) -> DagRun:
    run = cluster.run_dag(dag_id)
    assert cluster.wait(run, 180) == "success", cluster.dump()
    return run


def landed(
    cluster: Cluster,
    run: DagRun,
    task_id: str,
    bucket: Any,
    kind: str = "image",
    map_index: int = -1,
) -> bytes:
    """Return the bytes that a task landed, as the store serves them."""
    record = cluster.xcom(run, task_id, map_index=map_index)[kind]
    stored = bucket.Object(record["uri"].partition("@media/")[2]).get()
    content = bytes(stored["Body"].read())
    assert (stored["ContentType"], len(content)) == (record["content_type"], record["bytes"])
    return content


def image_of(cluster: Cluster, run: DagRun, task_id: str, bucket: Any) -> Image.Image:
    return decode_image(landed(cluster, run, task_id, bucket)).convert("RGB")


def is_near(
    image: Image.Image,
    box: tuple[int, int, int, int],
    colour: tuple[int, int, int],
    max_distance: float = 8,
) -> bool:
    return colour_distance(mean_colour(image, box), colour) <= max_distance


def test_an_image_from_text_lands_with_its_reported_cost(
    cluster: Cluster, emulator: EmulatorServer, bucket: Any
) -> None:
    run = run_to_the_end(cluster, "flux_text")
    assert image_of(cluster, run, "text", bucket).size == (512, 256)
    assert cluster.xcom(run, "text")["cost_source"] == "reported"


def test_an_edit_shows_its_input_from_s3(cluster: Cluster, bucket: Any) -> None:
    run = run_to_the_end(cluster, "flux_edit")
    image = image_of(cluster, run, "repaint", bucket)
    width, height = image.size
    assert abs(width / height - 4 / 3) < 0.02
    for box, colour in (
        ((0, height // 4, width // 2, height // 2 - 8), RED),
        ((width // 2, 90, width, 300), GREEN),
    ):
        assert is_near(image, box, colour, 60), (mean_colour(image, box), colour)


def test_the_estimate_for_several_references_is_the_reported_cost(
    cluster: Cluster, bucket: Any
) -> None:
    run = run_to_the_end(cluster, "flux_multi_reference")
    image = image_of(cluster, run, "combine", bucket)
    assert image.size == (1536, 1024)
    record = cluster.xcom(run, "combine")
    # 1.5 megapixels of output count as 2, each input as 1.
    assert (record["cost"], record["cost_source"], record["estimated_cost"]) == (
        9.0,
        "reported",
        9.0,
    )


def test_inpainting_changes_the_masked_area_only(cluster: Cluster, bucket: Any) -> None:
    image = image_of(cluster, run_to_the_end(cluster, "flux_inpaint"), "fill", bucket)
    assert image.size == SIZE
    assert is_near(image, (600, 60, 1000, 300), GREEN)
    assert not is_near(image, HOLE, RED, 20)


def test_outpainting_keeps_its_input_on_the_canvas(cluster: Cluster, bucket: Any) -> None:
    run = run_to_the_end(cluster, "flux_outpaint")
    canvas, margins = (image_of(cluster, run, task, bucket) for task in ("canvas", "margins"))
    assert (canvas.size, margins.size) == ((1536, 1024), (1536, 768))
    # The input is at the left edge, vertically centred.
    assert is_near(canvas, (100, 228, 400, 428), RED)
    assert is_near(margins, (356, 100, 656, 300), RED)
    assert cluster.xcom(run, "canvas")["image"]["content_type"] == "image/png"


def test_erase_fills_the_masked_area(
    cluster: Cluster, emulator: EmulatorServer, bucket: Any
) -> None:
    image = image_of(cluster, run_to_the_end(cluster, "flux_erase"), "erase", bucket)
    assert image.size == SIZE
    assert is_near(image, HOLE, RED, 60)  # filled from around it
    assert not is_near(image, HOLE, RED)
    assert is_near(image, (600, 450, 1000, 600), YELLOW)


def test_a_try_on_lands_in_the_size_of_the_person(cluster: Cluster, bucket: Any) -> None:
    image = image_of(cluster, run_to_the_end(cluster, "flux_try_on"), "try_on", bucket)
    assert image.size == (768, 1024)


def test_a_draft_is_enhanced_and_all_videos_land(
    cluster: Cluster, emulator: EmulatorServer, bucket: Any
) -> None:
    run = run_to_the_end(cluster, "flux_video")
    draft, final, animated = (
        DecodedVideo(landed(cluster, run, task, bucket, "video"))
        for task in ("draft", "enhance", "animate")
    )
    for clip in (draft, final, animated):
        assert (clip.codec, round(clip.seconds)) == ("h264", 5)
    assert final.size[0] > draft.size[0]
    assert is_near(animated.frames[0], (20, 40, 200, 120), RED, 40)
    record = cluster.xcom(run, "draft")
    assert record["image"] is None
    assert record["video"]["draft_cache"].endswith(".draft.bin")
    assert (record["cost"], record["cost_source"]) == (30, "reported")  # settled with the result
    assert emulator.stats()["key_seen_on_delivery"] == 0


def test_the_trigger_lands_an_image_or_else_the_worker_does(
    cluster: Cluster, emulator: EmulatorServer, bucket: Any
) -> None:
    before = emulator.stats()["submits"]
    run = cluster.run_dag("flux_on_triggerer")
    cluster.wait(run, 240)
    states = {(row.task_id, row.map_index): row.state for row in cluster.task_instances(run)}
    assert [states["there", n] for n in range(4)] == ["success"] * 4, cluster.dump()
    assert [states["here", n] for n in range(2)] == ["success"] * 2, cluster.dump()
    # Two images of one name are refused before any submit.
    assert {states["one_name", n] for n in range(2)} == {"failed"}
    assert emulator.stats()["submits"] - before == 6
    for task_id, count in (("there", 4), ("here", 2)):
        for n in range(count):
            content = landed(cluster, run, task_id, bucket, map_index=n)
            image = cluster.xcom(run, task_id, map_index=n)["image"]
            assert hashlib.sha256(content).hexdigest() == image["sha256"]
            described = json.loads(
                bucket.Object(image["sidecar"].partition("@media/")[2]).get()["Body"].read()
            )
            assert described["media"]["sha256"] == image["sha256"]
            assert (described["run"]["task_id"], described["run"]["map_index"]) == (task_id, n)
            assert described["request"]["prompt"].startswith("A ")
            log = cluster.task_log(run, task_id, map_index=n)
            assert log.count("Landed request") == 1
            assert ("the triggerer could not land the image" in log) == (task_id == "here"), log


def test_airflow_keeps_no_bytes_of_an_input(cluster: Cluster, bucket: Any) -> None:
    run_to_the_end(cluster, "flux_inpaint")
    marks = [base64.b64encode(content)[40:120].decode() for content in INPUTS.values()]
    searched = 0
    for name, text in cluster.all_text():
        searched += len(text)
        assert not [mark for mark in marks if mark in text], name
    assert searched > 10_000
