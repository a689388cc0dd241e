"""Lineage of each operator, through the extraction of the OpenLineage provider."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.utils.state import TaskInstanceState

from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from tests.conftest import KEY
from tests.support.batch_tries import Batch, quick  # noqa: F401 - a fixture
from tests.support.emulator_media import encode_image, plain_image
from tests.support.run_operator import new_context, run_trigger
from tests.support.task_tries import Task

extractors = pytest.importorskip("airflow.providers.openlineage.extractors.manager")
pytestmark = pytest.mark.usefixtures("hurry")

PROMPT = "canary prompt of a secret fox"


def extract(operator: Any, state: TaskInstanceState = TaskInstanceState.SUCCESS) -> Any:
    """Return the lineage of an operator, as the listener of the provider extracts it."""
    run = SimpleNamespace(run_id="run")
    operator.dag = operator.dag if operator.has_dag() else None
    return extractors.ExtractorManager().extract_metadata(run, operator, state, None)


def names(datasets: list[Any]) -> list[tuple[str, str]]:
    return [(dataset.namespace, dataset.name) for dataset in datasets]


def assert_no_secret(lineage: Any) -> None:
    """Assert that lineage has no prompt, no key, no query and no id of a connection."""
    text = str(lineage)
    for secret in (KEY, PROMPT, "sig=", "?", "my_conn@", "lab@"):
        assert secret not in text


def input_file(folder: Path, name: str = "in.png") -> str:
    path = folder / name
    path.write_bytes(encode_image(plain_image()))
    return str(path)


@pytest.mark.parametrize("way", ["sync", "deferred", "decorated"])
def test_an_image_has_its_inputs_and_its_version_also_after_a_deferral(
    emulator: EmulatorServer, tmp_path: Path, way: str
) -> None:
    source = input_file(tmp_path)
    task = Task(
        {
            "prompt": PROMPT,
            "model": "flux-2-pro",
            "parameters": {"input_image": source},
            "output_path": f"{tmp_path}/out/{{seed}}.{{ext}}",
            "deferrable": way != "sync",
            "inline_wait": 30 if way == "sync" else 0,
        }
    )
    if way == "sync":
        generation = task.retry()
        operator: Any = task.operator
    else:
        _, deferred, context = task.defer()
        event = asyncio.run(run_trigger(deferred.trigger))
        if way == "decorated":  # the function that returned the parameters does not run again
            del task.arguments["parameters"]
        operator = task.new_operator()  # of another process, without the attributes of the first
        generation = operator.resume_execution(deferred.method_name, {"event": event}, context)
    lineage = extract(operator)
    image = generation["image"]
    assert names(lineage.inputs) == [("file", source)]
    assert names(lineage.outputs) == [("file", image["uri"].removeprefix("file://"))]
    (output,) = lineage.outputs
    assert output.facets["version"].datasetVersion == image["sha256"]
    assert output.outputFacets["outputStatistics"].size == image["bytes"]
    assert lineage.run_facets["externalQuery"].externalQueryId == generation["request_id"]
    assert_no_secret(lineage)


def test_a_failed_task_has_its_inputs_and_no_output(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    source = input_file(tmp_path)
    arguments = {"model": "flux-2-pro", "parameters": {"input_image": source}}
    task = Task(
        {
            **arguments,
            "prompt": "x [[fault:moderated=Violence]]",
            "output_path": f"{tmp_path}/x.{{ext}}",
        }
    )
    with pytest.raises(Exception, match="moderat"):
        task.retry()
    lineage = extract(task.operator, TaskInstanceState.FAILED)
    assert names(lineage.inputs) == [("file", source)]
    assert lineage.outputs == []


@pytest.mark.usefixtures("quick")
def test_a_batch_has_its_rows_file_the_folder_of_its_images_and_its_manifest(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    source, rows = input_file(tmp_path), tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"prompt": f"{PROMPT} {number}", "key": f"k{number}", "input_image": source})
            + "\n"
            for number in range(3)
        )
        + json.dumps({"prompt": "x [[fault:moderated=Violence]]", "key": "bad"})
    )
    batch = Batch(
        {
            "requests": str(rows),
            "model": "flux-2-pro",
            "output_path": f"{tmp_path}/out/{{key}}.jpeg",
            "max_moderated": 0,
        }
    )
    with pytest.raises(Exception, match="moderated"):
        batch.retry()
    lineage = extract(batch.operator, TaskInstanceState.FAILED)
    assert names(lineage.inputs) == [("file", str(rows)), ("file", source)]
    assert names(lineage.outputs) == [
        ("file", f"{tmp_path}/out"),
        ("file", f"{tmp_path}/out/manifest-hero.jsonl"),
    ]
    images, manifest = (output.outputFacets["outputStatistics"] for output in lineage.outputs)
    assert (images.fileCount, manifest.rowCount) == (3, 4)
    assert_no_secret(lineage)


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_a_copied_image_has_its_earlier_place_as_input(
    emulator: EmulatorServer, tmp_path: Path, store: Any
) -> None:
    generation = Task({"prompt": PROMPT, "output_path": f"{tmp_path}/a.{{ext}}"}).retry()
    operator = FluxToObjectStorageOperator(
        task_id="copy", generation=[generation], output_path=f"{store.root}/{{index}}.{{ext}}"
    )
    (copied,) = operator.execute(new_context())  # type: ignore[misc]
    lineage = extract(operator)
    assert names(lineage.inputs) == [("file", f"{tmp_path}/a.jpeg")]
    bucket, _, key = copied["image"]["uri"].partition("@")[2].partition("/")
    assert names(lineage.outputs) == [(f"gs://{bucket}", key)]
    assert_no_secret(lineage)
