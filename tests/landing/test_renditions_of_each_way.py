"""Renditions by each way to land: mapped tasks, lists, ``if_exists``, a retry after a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.utils.db import initdb

from airflow_provider_flux.bfl.errors import FluxBatchError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.landing import renditions
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.landing.test_renditions import SQUARE, THUMB, check_rendition, names_in, submits
from tests.support.batch_tries import batch, quick
from tests.support.image_task import copy_task, image_task, read_sidecar, run_task
from tests.support.object_stores import FileStore, Store
from tests.support.run_operator import WAYS
from tests.support.task_tries import Died, Task

__all__ = ["quick"]

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
BOTH = {"thumb": THUMB, "square": SQUARE}
NAMES = [f"x.jpeg{end}" for end in ("", ".json", ".square.jpeg", ".thumb.webp")]
each_way = pytest.mark.parametrize("way", ["sync", "deferred"], ids=["worker", "triggerer"])
each_if_exists = pytest.mark.parametrize("if_exists", ["overwrite", "skip", "error"])


@pytest.fixture
def kill_at_rendition(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that lets the process die once, at the rendition of this number."""

    def set_moment(number: int) -> None:
        original, begun = renditions.make_rendition, []

        def make(*arguments: Any) -> Any:
            begun.append(arguments)
            if len(begun) == number:
                raise Died
            return original(*arguments)

        monkeypatch.setattr(renditions, "make_rendition", make)

    return set_moment


@each_way
@each_if_exists
def test_a_first_landing_makes_renditions_whatever_if_exists_is(
    emulator: EmulatorServer, tmp_path: Path, way: str, if_exists: str
) -> None:
    task = image_task(f"{tmp_path}/x.{{ext}}", way=way, if_exists=if_exists, renditions=BOTH)
    image = run_task(task)["image"]
    assert list(image["renditions"]) == ["thumb", "square"]
    assert names_in(tmp_path) == NAMES


def test_each_mapped_task_has_renditions_of_its_own(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    initdb()
    with DAG("mapped_renditions", schedule=None) as dag:
        FluxGenerateOperator.partial(
            task_id="many",
            output_path=f"{tmp_path}/{{key}}.{{ext}}",
            renditions=BOTH,
            parameters={"width": 256, "height": 256},
        ).expand(prompt=["a fox", "a hen", "an owl"])
    run = run_dag(dag)
    assert run.state == "success"
    images = [
        ti.xcom_pull(task_ids="many", map_indexes=ti.map_index)["image"]
        for ti in run.get_task_instances()
    ]
    uris = [item["uri"] for image in images for item in image["renditions"].values()]
    assert len(set(uris)) == 6
    for image in images:
        for rendition in image["renditions"].values():
            check_rendition(FileStore(tmp_path), rendition)


def test_each_image_of_a_list_that_is_copied_has_renditions(
    emulator: EmulatorServer, store: Store
) -> None:
    paths = [f"{store.root}/in/{name}.{{ext}}" for name in ("a", "b")]
    first = [run_task(image_task(path, path[-8], renditions={})) for path in paths]
    copies = run_task(
        copy_task(first, f"{store.root}/copy/{{request_id}}.{{ext}}", renditions={"thumb": THUMB})
    )
    for copy in copies:
        check_rendition(store, copy["image"]["renditions"]["thumb"])
        assert list(read_sidecar(store, copy)["media"]["renditions"]) == ["thumb"]


@each_way
@each_if_exists
@pytest.mark.parametrize("number", [1, 2])
def test_a_retry_makes_the_renditions_that_a_killed_process_did_not(
    emulator: EmulatorServer,
    tmp_path: Path,
    kill_at_rendition: Callable[[int], None],
    way: str,
    if_exists: str,
    number: int,
) -> None:
    path = f"{tmp_path}/x.{{ext}}"
    arguments = {**WAYS[way], "if_exists": if_exists, "renditions": BOTH}
    task = Task({"prompt": "a fox", "output_path": path, **arguments})
    kill_at_rendition(number)
    with pytest.raises(Died):
        task.retry()
    assert "x.jpeg" in names_in(tmp_path)
    assert len(names_in(tmp_path)) < len(NAMES)
    image = task.retry()["image"]
    assert list(image["renditions"]) == ["thumb", "square"]
    for rendition in image["renditions"].values():
        check_rendition(FileStore(tmp_path), rendition)
    assert set(NAMES) - {"x.jpeg.json"} <= set(names_in(tmp_path))
    assert submits(emulator) == 1


def test_a_retry_of_a_batch_makes_the_rendition_at_which_a_row_was_interrupted(
    emulator: EmulatorServer, tmp_path: Path, kill_at_rendition: Callable[[int], None]
) -> None:
    task = batch(tmp_path, [{"prompt": "a"}, {"prompt": "b"}], renditions={"thumb": THUMB})
    kill_at_rendition(2)
    task.fail(FluxBatchError, "1 submitted")
    task.retry()
    assert task.outcomes() == ["landed", "landed"]
    assert all(Path(row["thumb"]).exists() for row in task.manifest())
    assert submits(emulator) == 2
