"""Landed images of a small shop, and an API server that shows them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task
from airflow.utils.db import initdb

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.links.gallery import gallery_path
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.support.plugin_server import PluginServer, plugin_server

#: A key and a prompt that run a script if a page takes them for HTML.
HOSTILE = '"><img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
#: Positions of rows of the batch that have no image or are special.
HOSTILE_INDEX, MODERATED_INDEX = 3, 5
#: Each hundredth row of the batch is moderated, beginning with :data:`MODERATED_INDEX`.
MODERATED_EVERY = 100
BATCH_DAG, BATCH_TASK = "album_catalogue", "packshots"
SHOP_DAG = "album_shop"
_MODELS = ("flux-2-pro", "flux-pro-1.1")
_GOODS = ("trail shoe", "rain jacket", "tea cup", "desk lamp", "wool blanket", "field bag")
_PLACES = ("on wet slate", "in morning light", "on raw linen", "in a studio", "by the sea")
_SIZES = ((768, 768), (1024, 768), (576, 768))


@dataclass(frozen=True)
class GallerySite:
    """Landed images, and the server that shows them.

    :ivar server: the API server.
    :ivar run_ids: the run of each DAG.
    :ivar rows: number of rows of the batch.
    :ivar landing_seconds: seconds that the batch took.
    """

    server: PluginServer
    run_ids: Mapping[str, str]
    rows: int
    landing_seconds: float

    @property
    def moderated(self) -> int:
        """Number of rows of the batch that are moderated."""
        return len(range(MODERATED_INDEX, self.rows, MODERATED_EVERY))

    @property
    def batch_page(self) -> str:
        """URL of the page of the batch."""
        return self.url(gallery_path(BATCH_DAG, self.run_ids[BATCH_DAG], BATCH_TASK))

    @property
    def run_page(self) -> str:
        """URL of the page of the run with single images and a video."""
        return self.url(gallery_path(SHOP_DAG, self.run_ids[SHOP_DAG]))

    def url(self, path: str) -> str:
        """Return the URL of a path of the server."""
        return f"{self.server.url}{path}"

    def tab(self, dag_id: str, *, is_run: bool = False, task_id: str | None = None) -> str:
        """Return the URL of the tab in Airflow's UI: of a DAG, of its run, or of a task in it."""
        path, kind = f"/dags/{dag_id}", "dag"
        if is_run or task_id:
            path, kind = f"{path}/runs/{self.run_ids[dag_id]}", "run"
        if task_id:
            path, kind = f"{path}/tasks/{task_id}", "task"
        return self.url(f"{path}/plugin/flux-{kind}")


@contextmanager
def gallery_site(folder: Path, rows: int, *, is_drawn: bool = True) -> Iterator[GallerySite]:
    """Land a batch, some single images and a video, and run an API server while the block lasts.

    The metadata database is that of this process, so ``AIRFLOW_HOME`` must be a home for tests.

    :param folder: folder of the images and of the files of the server.
    :param rows: number of rows of the batch.
    :param is_drawn: whether each picture shows something. Others take a fraction of the time.
    """
    initdb()
    config = EmulatorConfig(
        latency=0, credits=10_000_000, seed=7, image_bytes=None if is_drawn else 20_000
    )
    before = {name: os.environ.get(name) for name in ("AIRFLOW_CONN_FLUX_DEFAULT",)}
    with EmulatorServer(config) as emulator:
        connection = {"conn_type": "flux", "password": "bfl_key_of_a_test", "host": emulator.url}
        os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = json.dumps(connection)
        try:
            started = time.monotonic()
            runs = {BATCH_DAG: run_dag(_catalogue(folder / "catalogue", rows, is_drawn))}
            seconds = time.monotonic() - started
            runs[SHOP_DAG] = run_dag(_shop(folder / "shop"))
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value
    states = {dag_id: str(run.state) for dag_id, run in runs.items()}
    if set(states.values()) != {"success"}:
        raise RuntimeError(f"the runs ended as {states}")
    run_ids = {dag_id: run.run_id for dag_id, run in runs.items()}
    server_folder = folder / "server"
    server_folder.mkdir()
    with plugin_server(server_folder) as server:
        yield GallerySite(server, run_ids, rows, seconds)


def row_of(index: int, is_drawn: bool = True) -> dict[str, Any]:
    """Return a row of the batch.

    :param index: its position.
    :param is_drawn: whether its picture shows something.
    """
    good, place = _GOODS[index % len(_GOODS)], _PLACES[index // len(_GOODS) % len(_PLACES)]
    key, prompt = f"sku-{index:05}", f"A {good} {place}, packshot {index}"
    if index == HOSTILE_INDEX and not is_drawn:  # pictures for people have no such row
        key = prompt = HOSTILE
    if index % MODERATED_EVERY == MODERATED_INDEX:
        prompt = f"{prompt} [[fault:moderated]]"
    width, height = _SIZES[index % len(_SIZES)] if is_drawn else (256, 256)
    row = {"key": key, "prompt": prompt, "model": _MODELS[index % 3 // 2]}
    return {**row, "width": width, "height": height}


def _catalogue(folder: Path, rows: int, is_drawn: bool) -> DAG:
    folder.mkdir()
    table = folder / "rows.jsonl"
    with table.open("w") as file:
        for index in range(rows):
            file.write(json.dumps(row_of(index, is_drawn)) + "\n")
    with DAG(BATCH_DAG, schedule=None) as dag:
        FluxGenerateBatchOperator(
            task_id=BATCH_TASK,
            requests=str(table),
            output_path=f"{folder}/{{index}}.{{ext}}",
        )
    return dag


def _shop(folder: Path) -> DAG:
    size: Any = {"width": 1024, "height": 768}
    with DAG(SHOP_DAG, schedule=None) as dag:
        FluxGenerateOperator(
            task_id="hero",
            prompt="A fox in a snowy forest, golden hour",
            output_path=f"{folder}/hero.{{ext}}",
            **size,
        )
        FluxGenerateOperator.partial(
            task_id="seasons", output_path=f"{folder}/seasons/{{key}}.{{ext}}", **size
        ).expand(prompt=[f"The same valley in {name}" for name in ("spring", "summer", "autumn")])
        FluxGenerateOperator(
            task_id="clip",
            model="flux-3-video",
            prompt="A drone flight over a misty forest at sunrise",
            parameters={"mode": "t2v", "duration": 5},
            output_path=f"{folder}/clip.{{ext}}",
        )

        @task
        def no_images() -> int:
            return 1

        no_images()
    return dag
