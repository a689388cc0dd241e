"""Assertions about images: each was submitted once, recorded and landed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tests.support.cluster.checkpointed_cluster import Site
from tests.support.cluster.harness import DagRun, TaskRow

STATES = """
    select key, value from task_state_store
    where dag_id = :dag_id and run_id = :run_id and key like 'flux.%'
"""
IN_FLIGHT = {
    "queued",
    "scheduled",
    "running",
    "deferred",
    "restarting",
    "up_for_retry",
    "up_for_reschedule",
}


@dataclass(frozen=True)
class ImageTask:
    """The task instance that generates one image.

    :param run: its DAG run.
    :param prompt: the exact prompt that it submits.
    :param task_id: its task.
    :param map_index: its map index; -1 if it is not mapped.
    :param lands: whether it has an ``output_path``. Without one, its record is in the task state
        store.
    """

    run: DagRun
    prompt: str
    task_id: str = "image"
    map_index: int = -1
    lands: bool = True


def assert_paid_once_and_landed(
    site: Site, image: ImageTask, *, submits: int | None = None, uncertain: int | None = None
) -> dict[str, Any]:
    """Assert that an image was submitted once, recorded and landed, and return its XCom.

    :param site: the cluster.
    :param image: the image.
    :param submits: expected number of submits. ``None`` allows one, and one more for each submit
        that the task reports as uncertain.
    :param uncertain: expected number of submits that the task reports as uncertain; ``None`` allows
        any.
    """
    assert_nothing_is_left(site, image)
    generation: dict[str, Any] = site.cluster.xcom(
        image.run, image.task_id, map_index=image.map_index
    )
    reported, submitted = generation["uncertain_submits"], site.submits_of(image.prompt)
    assert reported == (reported if uncertain is None else uncertain), (
        f"{image}: {reported} submits called uncertain"
    )
    assert submitted in ({submits} if submits is not None else range(1, 2 + reported)), (
        f"{image}: submitted {submitted} times"
    )
    if image.lands:
        assert_landed(site, image, generation)
    *earlier, last = records_of(site, image)
    assert (last["phase"], last["generation"]["request_id"]) == (
        "returned",
        generation["request_id"],
    ), last
    phases = [
        record["phase"] for record in earlier if record["phase"] != "failed" or record["generation"]
    ]
    # Beside the uncertain submits, only refused ones may be recorded, which cost nothing.
    assert phases == ["intent"] * reported, earlier
    assert not reported or "possibly billed" in logs_of(site, image)
    return generation


def assert_landed(site: Site, image: ImageTask, generation: dict[str, Any]) -> None:
    """Assert that image, sidecar and thumb of an XCom are whole, and that nothing else is there."""
    bucket, landed = site.bucket, generation["image"]
    key, sidecar_key = bucket.key_of(landed["uri"]), bucket.key_of(landed["sidecar"])
    sha256 = hashlib.sha256(bucket.read(key)).hexdigest()
    sidecar = json.loads(bucket.read(sidecar_key))
    assert sha256 == landed["sha256"] == sidecar["media"]["sha256"], (image, landed, sidecar)
    assert sidecar["request_id"] == generation["request_id"]
    thumb = landed["renditions"]["thumb"]
    thumb_key = bucket.key_of(thumb["uri"])
    assert hashlib.sha256(bucket.read(thumb_key)).hexdigest() == thumb["sha256"]
    assert bucket.keys(key) == sorted([key, sidecar_key, thumb_key])


def assert_failed_without_paying_again(site: Site, image: ImageTask, *, submits: int) -> None:
    """Assert that a task failed because its submit is uncertain, and did not submit again."""
    assert_nothing_is_left(site, image)
    assert site.submits_of(image.prompt) == submits, (
        f"{image}: submitted {site.submits_of(image.prompt)} times"
    )
    (record,) = records_of(site, image)
    assert (record["phase"], record["generation"]) == ("intent", None), record
    assert row_of(site, image).state == "failed"
    log = logs_of(site, image)
    assert "FluxSubmitUncertainError" in log, log
    assert "possibly billed" in log


def assert_nothing_is_left(site: Site, image: ImageTask) -> None:
    """Assert that no task of the run is in flight, and that no trigger is stored for it."""
    rows = site.cluster.task_instances(image.run)
    assert rows, f"{image}: no task instances"
    assert not [row for row in rows if row.state in IN_FLIGHT], rows
    assert not [row for row in site.cluster.trigger_rows() if row.run_id == image.run.run_id]


def is_recorded(site: Site, image: ImageTask) -> bool:
    """Whether a record has the generation of an image."""
    return any(record["generation"] for record in _find_records(site, image))


def row_of(site: Site, image: ImageTask) -> TaskRow:
    """Return the task instance of an image."""
    rows = site.cluster.task_instances(image.run)
    return next(
        row for row in rows if (row.task_id, row.map_index) == (image.task_id, image.map_index)
    )


def logs_of(site: Site, image: ImageTask) -> str:
    """Return the logs of all tries of an image, and of their triggers."""
    tries = range(1, row_of(site, image).try_number + 1)
    return "\n".join(
        site.cluster.task_log(image.run, image.task_id, n, image.map_index) for n in tries
    )


def records_of(site: Site, image: ImageTask) -> list[dict[str, Any]]:
    """Return the records of an image, the earliest first, and assert that there are some."""
    records = _find_records(site, image)
    assert records, f"{image} is not in the ledger"
    return records


def _find_records(site: Site, image: ImageTask) -> list[dict[str, Any]]:
    run, bucket = image.run, site.bucket
    if image.lands:
        keys = bucket.keys(f"out/_flux/ledger/{run.dag_id}/{run.run_id}/")
        stored = [(int(key.split(".")[-2]), json.loads(bucket.read(key))) for key in keys]
    else:
        rows = site.cluster.sql(STATES, dag_id=run.dag_id, run_id=run.run_id)
        stored = [(int(key.rpartition(".")[2]), json.loads(value)) for key, value in rows]
    owner = {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "task_id": image.task_id,
        "map_index": image.map_index,
    }
    own = [
        (number, record) for number, record in stored if owner.items() <= record["owner"].items()
    ]
    return [record for _, record in sorted(own, key=lambda entry: entry[0])]
