"""Whether what was ordered was paid for once, and is there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tests.support.cluster.checkpointed_cluster import Site
from tests.support.cluster.harness import DagRun, TaskRow

STATES = "select key, value from task_state_store where dag_id = :dag_id and run_id = :run_id and key like 'flux.%'"
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
class Order:
    """One image that a task orders.

    :param prompt: the very prompt that is submitted.
    :param lands: whether it has an ``output_path``; its record is in the task state store otherwise.
    """

    run: DagRun
    prompt: str
    task_id: str = "image"
    map_index: int = -1
    lands: bool = True


def assert_paid_once_and_landed(
    site: Site, order: Order, *, submits: int | None = None, uncertain: int | None = None
) -> dict[str, Any]:
    """Judge an order that had to end well, whatever was killed meanwhile; return its XCom.

    :param submits: how often it must have been paid for, if that is known. Otherwise: once, and perhaps once more for
        each submit that the task itself reports as uncertain.
    :param uncertain: how many of those there must be, if that is known.
    """
    assert_nothing_is_left(site, order)
    found: dict[str, Any] = site.cluster.xcom(order.run, order.task_id, map_index=order.map_index)
    reported, paid = found["uncertain_submits"], site.submits_of(order.prompt)
    assert reported == (reported if uncertain is None else uncertain), (
        f"{order}: {reported} submits called uncertain"
    )
    assert paid in ({submits} if submits is not None else range(1, 2 + reported)), (
        f"{order}: paid for {paid} times"
    )
    if order.lands:
        assert_landed(site, order, found)
    *earlier, last = records_of(site, order)
    assert (last["phase"], last["generation"]["request_id"]) == ("returned", found["request_id"]), (
        last
    )
    phases = [
        record["phase"] for record in earlier if record["phase"] != "failed" or record["generation"]
    ]
    assert phases == ["intent"] * reported, (
        earlier
    )  # beside them only what was refused, and cost nothing
    assert not reported or "possibly billed" in logs_of(site, order)
    return found


def assert_landed(site: Site, order: Order, found: dict[str, Any]) -> None:
    """Whole bytes are where the XCom says, they are those of the sidecar, and nothing else is there."""
    bucket, image = site.bucket, found["image"]
    key, beside = bucket.key_of(image["uri"]), bucket.key_of(image["sidecar"])
    sha256 = hashlib.sha256(bucket.read(key)).hexdigest()
    sidecar = json.loads(bucket.read(beside))
    assert sha256 == image["sha256"] == sidecar["media"]["sha256"], (order, image, sidecar)
    assert sidecar["request_id"] == found["request_id"]
    assert bucket.keys(key) == sorted([key, beside])


def assert_failed_without_paying_again(site: Site, order: Order, *, submits: int) -> None:
    """Judge an order whose submit is uncertain, and whose task must not submit again."""
    assert_nothing_is_left(site, order)
    assert site.submits_of(order.prompt) == submits, (
        f"{order}: paid for {site.submits_of(order.prompt)} times"
    )
    (record,) = records_of(site, order)
    assert (record["phase"], record["generation"]) == ("intent", None), record
    assert row_of(site, order).state == "failed"
    said = logs_of(site, order)
    assert "FluxSubmitUncertainError" in said, said
    assert "possibly billed" in said


def assert_nothing_is_left(site: Site, order: Order) -> None:
    """No task of the run waits, no trigger waits for it."""
    rows = site.cluster.task_instances(order.run)
    assert rows, f"{order}: no task instances"
    assert not [row for row in rows if row.state in IN_FLIGHT], rows
    assert not [row for row in site.cluster.trigger_rows() if row.run_id == order.run.run_id]


def is_recorded(site: Site, order: Order) -> bool:
    """Whether an order was submitted, and that is written down."""
    return any(record["generation"] for record in _find_records(site, order))


def row_of(site: Site, order: Order) -> TaskRow:
    """Return the task instance of an order."""
    rows = site.cluster.task_instances(order.run)
    return next(
        row for row in rows if (row.task_id, row.map_index) == (order.task_id, order.map_index)
    )


def logs_of(site: Site, order: Order) -> str:
    """Return the logs of all tries of an order, and of their triggers."""
    tries = range(1, row_of(site, order).try_number + 1)
    return "\n".join(
        site.cluster.task_log(order.run, order.task_id, n, order.map_index) for n in tries
    )


def records_of(site: Site, order: Order) -> list[dict[str, Any]]:
    """Return what the ledger has of an order, the earliest first; there is something."""
    found = _find_records(site, order)
    assert found, f"{order} is not in the ledger"
    return found


def _find_records(site: Site, order: Order) -> list[dict[str, Any]]:
    run, bucket = order.run, site.bucket
    if order.lands:
        keys = bucket.keys(f"out/_flux/ledger/{run.dag_id}/{run.run_id}/")
        stored = [(int(key.split(".")[-2]), json.loads(bucket.read(key))) for key in keys]
    else:
        rows = site.cluster.sql(STATES, dag_id=run.dag_id, run_id=run.run_id)
        stored = [(int(key.rpartition(".")[2]), json.loads(value)) for key, value in rows]
    owner = {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "task_id": order.task_id,
        "map_index": order.map_index,
    }
    own = [
        (number, record) for number, record in stored if owner.items() <= record["owner"].items()
    ]
    return [record for _, record in sorted(own, key=lambda one: one[0])]
