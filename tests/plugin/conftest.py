"""A run of an album of images, a run of another DAG, and an API server that shows both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.utils.db import initdb

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.links.gallery import gallery_path
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.conftest import KEY
from tests.support.airflow_names import AIRFLOW
from tests.support.object_stores import S3Store, s3_connection
from tests.support.plugin_server import PluginServer, plugin_server

SMALL = {"width": 256, "height": 256}
#: A script that shows itself if a page takes a text for HTML.
SCRIPT = '"><script>alert(1)</script>'

collect_ignore_glob = ["*"] if AIRFLOW < (3, 1) else []


@dataclass
class Landed:
    """Runs that have landed images.

    :ivar folder: folder of the DAG ``album``.
    :ivar planted_folder: folder of the DAG ``album_planted``, whose records the tests replace.
    :ivar unread_folder: folder of the DAG ``album_unread``, whose prompts nobody can read.
    :ivar foreign_folder: folder of the DAG ``foreign``.
    :ivar run_ids: the run of each DAG.
    :ivar returned: what each task that is not mapped returned, by DAG and task.
    """

    folder: Path
    planted_folder: Path
    unread_folder: Path
    foreign_folder: Path
    run_ids: dict[str, str]
    returned: dict[tuple[str, str], Any]

    def page(self, dag_id: str = "album", task_id: str | None = None) -> str:
        """Return the path of a page: of a run, or of a task."""
        return gallery_path(dag_id, self.run_ids[dag_id], task_id)

    def thumb(self, task_id: str = "hero", index: int = 0, kind: str = "thumb") -> str:
        """Return the path of an object of a task of the album."""
        return f"{self.page('album', task_id)}/objects/{index}/{kind}"


@pytest.fixture(scope="session")
def landed(tmp_path_factory: pytest.TempPathFactory, s3: str) -> Iterator[Landed]:
    """Run both DAGs once for all tests."""
    names = ("album", "planted", "unread", "foreign")
    folder, planted, unread, foreign = (tmp_path_factory.mktemp(name) for name in names)
    store = S3Store(s3)
    store.make_bucket()
    initdb()
    with EmulatorServer(EmulatorConfig(latency=0)) as emulator, pytest.MonkeyPatch.context() as env:
        connection = {"conn_type": "flux", "password": KEY, "host": emulator.url}
        env.setenv("AIRFLOW_CONN_FLUX_DEFAULT", json.dumps(connection))
        env.setenv("AIRFLOW_CONN_AWS_LAB", s3_connection(s3))
        runs = {
            "album": run_dag(_album(folder, store.root)),
            "album_planted": run_dag(_planted(planted)),
            "album_unread": run_dag(_planted(unread, "album_unread")),
            "foreign": run_dag(_foreign(foreign)),
        }
        assert {run.state for run in runs.values()} == {"success"}
        returned = {
            (dag_id, ti.task_id): ti.xcom_pull(task_ids=ti.task_id)
            for dag_id, run in runs.items()
            for ti in run.get_task_instances()
            if ti.map_index < 0
        }
        (unread / "hero.jpeg.json").unlink()
        (unread / "shelf" / "manifest-shelf.jsonl.index").unlink()
        run_ids = {dag_id: run.run_id for dag_id, run in runs.items()}
        yield Landed(folder, planted, unread, foreign, run_ids, returned)


@pytest.fixture(scope="session")
def server(landed: Landed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginServer]:
    """An API server in a process of its own, with users of several rights."""
    with plugin_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def _album(folder: Path, bucket: str) -> DAG:
    with DAG("album", schedule=None) as dag:
        FluxGenerateOperator(
            task_id="hero", prompt=f"a fox {SCRIPT}", output_path=f"{folder}/hero.{{ext}}", **SMALL
        )
        FluxGenerateOperator.partial(
            task_id="many", output_path=f"{folder}/many/{{key}}.{{ext}}", **SMALL
        ).expand(prompt=["a fox", "a hen"])
        FluxGenerateOperator(
            task_id="cloud", prompt="a cloud", output_path=f"{bucket}/cloud.{{ext}}", **SMALL
        )
        FluxGenerateBatchOperator(
            task_id="shelf",
            requests=[
                {"key": "a-fox", "prompt": "a fox"},
                {"key": SCRIPT, "prompt": SCRIPT},
                {"key": "refused", "prompt": "a wolf [[fault:moderated]]"},
            ],
            defaults=SMALL,
            output_path=f"{folder}/shelf/{{index}}-{{key}}.{{ext}}",
        )
    return dag


def _planted(folder: Path, dag_id: str = "album_planted") -> DAG:
    with DAG(dag_id, schedule=None) as dag:
        FluxGenerateOperator(
            task_id="hero", prompt="a fox", output_path=f"{folder}/hero.{{ext}}", **SMALL
        )
        FluxGenerateBatchOperator(
            task_id="shelf",
            requests=["a fox"],
            defaults=SMALL,
            output_path=f"{folder}/shelf/{{key}}.{{ext}}",
        )
    return dag


def _foreign(folder: Path) -> DAG:
    with DAG("foreign", schedule=None) as dag:
        FluxGenerateOperator(
            task_id="hero", prompt="a secret", output_path=f"{folder}/hero.{{ext}}", **SMALL
        )

        @task
        def note() -> None:
            """Land nothing."""

        note()
    return dag
