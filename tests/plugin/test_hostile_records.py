"""Records that a stranger wrote: an XCom, a manifest, a sidecar or an image in the bucket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import update

from airflow_provider_flux.gallery.card import CardOrigin
from airflow_provider_flux.plugin.task_paths import TaskPaths
from airflow_provider_flux.plugin.task_records import find_record
from tests.plugin.conftest import SCRIPT, Landed
from tests.support.plugin_server import PluginServer

DAG_ID = "album_planted"


def foreign_uris(landed: Landed) -> dict[str, str]:
    """Return URIs that a record must not make the server open."""
    folder = landed.planted_folder
    return {
        "image of another DAG": landed.returned["foreign", "hero"]["image"]["uri"],
        "file of the server": "/etc/passwd",
        "the same as a URI": "file:///etc/passwd",
        "beside the folder": f"{folder}/../{landed.foreign_folder.name}/hero.jpeg",
        "escaped": f"{folder}/%2e%2e/{landed.foreign_folder.name}/hero.jpeg",
        "link out of the folder": f"{folder}/shelf/link.jpeg",
        "URL": "http://127.0.0.1:9/latest/meta-data.jpeg",
        "another store": "s3://aws_lab@media/cloud.jpeg",
        "memory": "memory://x/y.jpeg",
        "a character that is half": f"{folder}/shelf/\ud800.jpeg",
    }


def plant_link(landed: Landed) -> None:
    """Plant a link to the image of another DAG into the folder."""
    link = landed.planted_folder / "shelf" / "link.jpeg"
    if not link.is_symlink():
        link.symlink_to(landed.foreign_folder / "hero.jpeg")


@pytest.mark.parametrize("task_id", ["hero", "shelf"])
def test_only_uris_below_the_folder_of_a_task_are_its_objects(landed: Landed, task_id: str) -> None:
    plant_link(landed)
    record = find_record(CardOrigin(DAG_ID, landed.run_ids[DAG_ID], task_id))
    assert record is not None
    paths = TaskPaths(record)
    assert paths.has(landed.returned[DAG_ID, "hero"]["image"]["uri"]) is (task_id == "hero")
    assert [name for name, uri in foreign_uris(landed).items() if paths.has(uri)] == []


def test_a_manifest_shows_no_object_of_others_and_no_script(
    server: PluginServer, landed: Landed
) -> None:
    plant_link(landed)
    manifest = Path(landed.returned[DAG_ID, "shelf"]["manifest"].removeprefix("file://"))
    (row,) = map(json.loads, manifest.read_text().splitlines())
    hostile = [
        {**row, "uri": uri, "sidecar": uri, "thumb": uri, "sha256": None, "bytes": None}
        for uri in foreign_uris(landed).values()
    ]
    texts = dict.fromkeys(row, SCRIPT)
    strange = [texts, [], None, {"index": -5, "uri": ["x"]}, {"key": "\ud800", "cost": 1e400}]
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in [*hostile, *strange]))
    for index in manifest.parent.glob("*.index"):
        index.unlink()

    client, path = server.client("viewer"), landed.page(DAG_ID, "shelf")
    page = client.get(path)
    assert page.status_code == 200
    assert page.text.count('<li class="tile') == len(hostile) + len(strange)
    assert "<script>alert" not in page.text
    for number in range(len(hostile) + len(strange)):
        for kind in ("full", "thumb", "sidecar.json"):
            answer = client.get(f"{path}/objects/{number}/{kind}")
            assert answer.status_code == 404, f"row {number} as {kind}: {answer.text[:200]}"
        code = client.get(f"{path}/objects/{number}/code.txt")
        assert code.status_code == 200
        assert code.headers["content-type"].startswith("text/plain")


def test_an_xcom_shows_no_object_of_others_and_no_object_that_is_something_else(
    server: PluginServer, landed: Landed
) -> None:
    folder, hero = landed.planted_folder, landed.returned[DAG_ID, "hero"]
    (folder / "page.jpeg").write_text("<script>alert(1)</script>")
    (folder / "changed.jpeg").write_bytes((folder / "hero.jpeg").read_bytes() + b"\0")
    (folder / "deep.json").write_text("[" * 100_000)
    uris = {
        **dict.fromkeys(foreign_uris(landed).values(), 404),
        f"{folder}/page.jpeg": 415,
        f"{folder}/none.jpeg": 404,
        f"{folder}": 404,
    }
    images: list[Any] = [{"uri": uri, "sidecar": uri} for uri in uris]
    images.append({**hero["image"], "uri": f"{folder}/changed.jpeg", "sidecar": None})
    images.append({"uri": f"{folder}/hero.jpeg", "sidecar": f"{folder}/deep.json"})
    value = [{"request_id": SCRIPT, "image": image} for image in images]
    key = {"dag_id": DAG_ID, "task_id": "hero", "key": "return_value"}
    with create_session() as session:
        session.execute(update(XComModel).filter_by(**key).values(value=value))

    client, path = server.client("viewer"), landed.page(DAG_ID, "hero")
    assert "<script>alert" not in client.get(path).text
    statuses = [
        client.get(f"{path}/objects/{number}/full").status_code for number in range(len(value))
    ]
    assert statuses == [*uris.values(), 409, 200]
    sidecars = {
        client.get(f"{path}/objects/{number}/sidecar.json").status_code
        for number in range(len(value))
    }
    assert sidecars == {404}
    code = client.get(f"{path}/objects/{len(value) - 1}/code.txt")
    assert code.status_code == 200
