"""The gallery of images in GCS and Azure, on an API server of two processes below a path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from airflow.sdk import DAG
from airflow.utils.db import initdb
from PIL import Image

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.conftest import KEY
from tests.support.object_stores import AzureStore, BucketStore, GcsStore
from tests.support.planted_tries import plant_task_instance
from tests.support.plugin_server import PluginServer, plugin_server

SIMPLE = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
SMALL = {"width": 256, "height": 256}
SCHEMES = ("gs", "abfs")


@dataclass
class Clouds:
    """Images that landed in both stores, and the server that shows them.

    :ivar server: the API server, with Airflow's own simple auth manager.
    :ivar returned: what each task returned.
    :ivar page: path of the run.
    """

    server: PluginServer
    returned: dict[str, Any]
    page: str


@pytest.fixture(scope="module")
def clouds(gcs: str, azure: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    """Land images in both stores, and serve them at a base URL with a path."""
    stores: list[BucketStore] = [GcsStore(gcs), AzureStore(azure)]
    initdb()
    with EmulatorServer(EmulatorConfig(latency=0)) as emulator, pytest.MonkeyPatch.context() as env:
        connection = {"conn_type": "flux", "password": KEY, "host": emulator.url}
        env.setenv("AIRFLOW_CONN_FLUX_DEFAULT", json.dumps(connection))
        for store in stores:
            store.make_bucket()
            env.setenv(f"AIRFLOW_CONN_{store.conn_id.upper()}", store.connection(store.url))
        run = run_dag(_dag(stores))
        assert run.state == "success"
        returned = {
            ti.task_id: ti.xcom_pull(task_ids=ti.task_id) for ti in run.get_task_instances()
        }
        with plugin_server(
            tmp_path_factory.mktemp("clouds"),
            {"AIRFLOW__CORE__AUTH_MANAGER": SIMPLE},
            path="/data/airflow",
            workers=2,
        ) as server:
            page = f"/flux/dags/album_clouds/runs/{quote(run.run_id, safe='')}"
            yield Clouds(server, returned, page)


def _dag(stores: list[BucketStore]) -> DAG:
    with DAG("album_clouds", schedule=None) as dag:
        for store in stores:
            FluxGenerateOperator(
                task_id=f"hero_{store.scheme}",
                prompt="a fox in a cloud",
                output_path=f"{store.root}/hero/{{key}}.{{ext}}",
                **SMALL,
            )
            FluxGenerateBatchOperator(
                task_id=f"shelf_{store.scheme}",
                requests=[{"key": "a-fox", "prompt": "a fox"}, {"key": "a-hen", "prompt": "a hen"}],
                defaults=SMALL,
                output_path=f"{store.root}/shelf/{{key}}.{{ext}}",
            )
    return dag


@pytest.fixture
def viewer(clouds: Clouds) -> Iterator[httpx.Client]:
    with clouds.server.client("viewer") as client:
        yield client


def test_a_run_shows_the_images_of_both_stores_with_links_below_the_path(
    clouds: Clouds, viewer: httpx.Client
) -> None:
    page = viewer.get(clouds.page)
    assert page.status_code == 200, page.text
    assert page.text.count('<li class="tile') == 6
    assert page.text.count("a fox in a cloud") >= 2
    assert 'class="notice"' not in page.text
    assert page.text.count('href="/data/airflow/flux/dags/') >= 6
    assert 'src="/flux/' not in page.text
    style = viewer.get("/flux/static/gallery.css")
    assert style.status_code == 200


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_image_its_range_and_its_thumbnail_have_the_bytes_that_landed(
    clouds: Clouds, viewer: httpx.Client, scheme: str
) -> None:
    image = clouds.returned[f"hero_{scheme}"]["image"]
    path = f"{clouds.page}/tasks/hero_{scheme}/objects/0"
    full = viewer.get(f"{path}/full")
    assert hashlib.sha256(full.content).hexdigest() == image["sha256"], full.text[:200]
    part = viewer.get(f"{path}/full", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, full.content[10:20])
    with Image.open(BytesIO(viewer.get(f"{path}/thumb").content)) as thumb:
        assert thumb.format == "WEBP"
    assert viewer.get(f"{path}/sidecar.json").json()["request"]["prompt"] == "a fox in a cloud"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_batch_is_filtered_by_its_index(
    clouds: Clouds, viewer: httpx.Client, scheme: str
) -> None:
    path = f"{clouds.page}/tasks/shelf_{scheme}"
    page = viewer.get(path, params={"text": "a hen"})
    assert page.text.count('<li class="tile') == 1
    assert viewer.get(f"{path}/objects/1/full").headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_object_beside_the_folder_of_a_task_is_not_there(
    clouds: Clouds, viewer: httpx.Client, scheme: str
) -> None:
    task_id = f"hero_{scheme}"
    hero = clouds.returned[task_id]
    own = hero["image"]["uri"]
    store, _, name = own.rpartition("/hero/")
    other = clouds.returned[f"hero_{'abfs' if scheme == 'gs' else 'gs'}"]["image"]["uri"]
    uris = [
        f"{store}/shelf/a-fox.jpeg",
        f"{store}/hero/../shelf/a-fox.jpeg",
        f"{store}/hero/%2e%2e/shelf/a-fox.jpeg",
        f"{store}/hero\\..\\shelf\\a-fox.jpeg",
        f"{own}?versionId=1",
        own.replace(f"{scheme}://", f"{scheme}://other_"),
        other,
        f"{store}/hero/",
        f"{store}/hero/gone.jpeg",
        f"{store}/hero/\ud800.jpeg",
        f"{store}/hero/{'x' * 3000}.jpeg",
        f"{store}/hero/#{name}",
    ]
    value = [{**hero, "image": {**hero["image"], "uri": uri, "sidecar": uri}} for uri in uris]
    query = {"map_index": plant_task_instance("album_clouds", task_id, value)}
    assert viewer.get(f"{clouds.page}/tasks/{task_id}", params=query).status_code == 200
    statuses = {
        uri: viewer.get(
            f"{clouds.page}/tasks/{task_id}/objects/{number}/full", params=query
        ).status_code
        for number, uri in enumerate(uris)
    }
    assert {uri: status for uri, status in statuses.items() if status != 404} == {}


def test_the_simple_auth_manager_decides_who_sees_the_images(clouds: Clouds) -> None:
    statuses = {
        user: clouds.server.client(user).get(clouds.page).status_code
        for user in (None, "viewer", "admin")
    }
    assert statuses == {None: 401, "viewer": 200, "admin": 200}
