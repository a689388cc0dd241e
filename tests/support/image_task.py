"""A task that generates one image in a DAG run, and the files that it lands."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import BaseOperator

from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from tests.support.object_stores import Store
from tests.support.run_operator import WAYS, new_context, run_trigger

#: Each kind of store once and each way of waiting at least once, instead of all combinations.
each_store_and_way = pytest.mark.parametrize(
    ("store", "way"),
    [
        ("file", "sync"),
        ("s3", "deferred"),
        ("ceph", "sync"),
        ("gs", "between"),
        ("abfs", "deferred"),
    ],
    indirect=["store"],
)


def image_task(
    output_path: str, prompt: str = "a fox", way: str = "sync", **arguments: Any
) -> FluxGenerateOperator:
    """Return a task that generates one small image."""
    small = {} if "model" in arguments else {"width": 256, "height": 256}
    arguments = {"task_id": "hero", "poll_interval": 0.1, **small, **WAYS[way], **arguments}
    return FluxGenerateOperator(prompt=prompt, output_path=output_path, **arguments)


def copy_task(generation: Any, output_path: str, **arguments: Any) -> FluxToObjectStorageOperator:
    """Return a task that lands a generation of another task."""
    arguments = {"task_id": "copy", **arguments}
    return FluxToObjectStorageOperator(generation=generation, output_path=output_path, **arguments)


#: Numbers of clears: after each, the ledger's earlier records no longer count.
_CLEARS = itertools.count()


def task_context(
    task: BaseOperator,
    run_id: str = "monday",
    *,
    map_index: int = -1,
    try_number: int = 1,
    dag_id: str = "ads",
    **more: Any,
) -> Any:
    """Return the context of a task in a run of a DAG, cleared since its last run."""
    made = new_context(map_index)
    ids = {"dag_id": dag_id, "run_id": run_id, "task_id": task.task_id, "try_number": try_number}
    ids |= {"max_tries": next(_CLEARS)}
    for name, value in ids.items():
        setattr(made["ti"], name, value)
    return {**made, **more}


def run_task(task: BaseOperator, run_id: str = "monday", **more: Any) -> Any:
    """Run a task with its deferral, and return its XCom."""
    around = task_context(task, run_id, **more)
    try:
        done = task.execute(around)
    except TaskDeferred as deferred:
        event = asyncio.run(run_trigger(deferred.trigger))
        kwargs = json.loads(json.dumps(deferred.kwargs or {}))
        done = task.resume_execution(deferred.method_name, {**kwargs, "event": event}, around)
    return json.loads(json.dumps(done))


def read_image(store: Store, generation: Any) -> bytes:
    """Return the bytes of the landed image of a generation."""
    landed = generation["image"] or generation["video"]
    data = store.read(landed["uri"])
    assert data is not None
    return data


def read_sidecar(store: Store, generation: Any) -> dict[str, Any]:
    """Return the sidecar of the landed image of a generation."""
    landed = generation["image"] or generation["video"]
    data = store.read(landed["sidecar"])
    assert data is not None
    sidecar: dict[str, Any] = json.loads(data)
    return sidecar
