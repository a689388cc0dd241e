"""XComs that a task of a stranger returned: each one gives a page, and no object of others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.conftest import SCRIPT, Landed
from tests.support.planted_tries import plant_task_instance
from tests.support.plugin_server import PluginServer

DAG_ID = "album_planted"
#: Longer than any store or database takes for a name.
LONG = "x" * 3_000_000
NOWHERE = "http://127.0.0.1:9/latest.jsonl"


def hostile_values(landed: Landed) -> dict[str, Any]:
    """Return values of the XCom of a task with one image, by what is wrong with them."""
    hero, folder = landed.returned[DAG_ID, "hero"], landed.planted_folder
    image = hero["image"]

    def generation(**changes: Any) -> dict[str, Any]:
        known = {name: value for name, value in changes.items() if name in hero}
        return {**hero, **known, "image": {**image, **changes}}

    texts = {
        "a script": SCRIPT,
        "a control character": "a\0\x1b[31m\u202eb",
        "half a character": "\ud800",
        "a text of megabytes": LONG,
    }
    numbers = {"NaN": float("nan"), "infinity": float("inf"), "1e308": 1e308, "long": 10**400}
    uris = {
        "a folder above": f"{folder}/../{landed.foreign_folder.name}/hero.jpeg",
        "backslashes": f"{folder}\\..\\{landed.foreign_folder.name}\\hero.jpeg",
        "a line break": f"{folder}/he\nro.jpeg",
        "an escape": f"{folder}/%252e%252e/{landed.foreign_folder.name}/hero.jpeg",
        "a version": f"{folder}/hero.jpeg?versionId=1",
        "a chain of filesystems": f"simplecache::file://{folder}/hero.jpeg",
        "a host": f"file://localhost{folder}/hero.jpeg",
        "the metadata of a machine": "http://169.254.169.254/latest/meta-data",
        "a filesystem of GitHub": "github://org:repo@main/hero.jpeg",
        "a connection of another team": f"s3://other@bucket{folder}/hero.jpeg",
        "a file of the server": "/etc/passwd",
    }
    manifests = (NOWHERE, "github://a:b@/x.jsonl", "memory://x/x.jsonl", "/etc/passwd", "\0", "")
    return {
        "a text of a list that is nested deeply": "[" * 100_000,
        "a text of an object that is nested deeply": '{"image":' * 50_000,
        "a time after the year 9999": generation(submitted_at="9999-12-31T23:59:59-14:00"),
        "a time before the year 1": generation(submitted_at="0001-01-01T00:00:00+14:00"),
        "a time in the year 10000": generation(submitted_at="10000-01-01T00:00:00Z"),
        "no object": [None, 1, [], {}, {"request_id": 1, "image": None}, True],
        "many": [hero] * 5000,
        **{
            f"texts: {k}": generation(**dict.fromkeys((*hero, *image), v)) for k, v in texts.items()
        },
        **{f"numbers: {k}": generation(cost=v, seed=v, width=v) for k, v in numbers.items()},
        **{f"URI: {k}": generation(uri=v, sidecar=v) for k, v in uris.items()},
        **{f"thumb: {k}": generation(renditions={"thumb": {"uri": v}}) for k, v in uris.items()},
        **{f"manifest {v!r}": {"manifest": v} for v in manifests},
        "a manifest that is a folder": {"manifest": str(folder)},
        "a manifest that is an image": {"manifest": image["uri"]},
    }


def test_each_hostile_xcom_gives_a_page_and_no_object_of_others(
    server: PluginServer, landed: Landed
) -> None:
    client, path = server.client("viewer"), landed.page(DAG_ID, "hero")
    own = (landed.planted_folder / "hero.jpeg").read_bytes()
    thumb = Path(landed.returned[DAG_ID, "hero"]["image"]["renditions"]["thumb"]["uri"])
    own_bytes = {own, Path(str(thumb).removeprefix("file:")).read_bytes()}
    problems = []
    # All at once: the server closes a connection on which nothing is asked for seconds.
    planted = {
        name: plant_task_instance(DAG_ID, "hero", value)
        for name, value in hostile_values(landed).items()
    }
    for name, map_index in planted.items():
        query = {"map_index": map_index}
        page = client.get(path, params=query)
        if page.status_code != 200 or "<script>alert" in page.text or len(page.content) > 10**6:
            problems.append((name, "page", page.status_code, len(page.content)))
        for kind in ("full", "thumb", "sidecar.json", "code.txt"):
            for number in (0, 4999):
                answer = client.get(f"{path}/objects/{number}/{kind}", params=query)
                is_media = kind in {"full", "thumb"} and answer.status_code == 200
                if answer.status_code >= 500 or (is_media and answer.content not in own_bytes):
                    problems.append((name, kind, number, answer.status_code))
    assert problems == []
    run = client.get(landed.page(DAG_ID))
    assert run.status_code == 200
    assert "<script>alert" not in run.text


def test_a_prompt_that_the_server_has_read_is_not_shown_in_another_dag(
    server: PluginServer, landed: Landed
) -> None:
    hero = landed.returned["foreign", "hero"]
    shown = server.client("stranger").get(landed.page("foreign", "hero"))
    assert "a secret" in shown.text
    query = {"map_index": plant_task_instance(DAG_ID, "hero", hero)}
    page = server.client("viewer").get(landed.page(DAG_ID, "hero"), params=query)
    assert page.text.count('<li class="tile') == 1
    assert "a secret" not in page.text


def test_a_sidecar_that_is_gone_takes_no_prompt_from_the_other_images(
    server: PluginServer, landed: Landed
) -> None:
    hero, folder = landed.returned[DAG_ID, "hero"], landed.planted_folder
    pipe = folder / "pipe.json"
    if not pipe.exists():
        os.mkfifo(pipe)
    others = [
        {**hero, "image": {**hero["image"], "sidecar": f"{folder}/{name}.json"}}
        for name in ("gone", "pipe")
    ]
    query = {"map_index": plant_task_instance(DAG_ID, "hero", [*others, hero])}
    page = server.client("viewer").get(landed.page(DAG_ID, "hero"), params=query)
    assert page.text.count('<p class="prompt">a fox') == 1


@pytest.mark.parametrize("end", ["", ".index"])
def test_a_link_in_the_place_of_a_manifest_or_index_shows_no_row_of_others(
    server: PluginServer, landed: Landed, end: str
) -> None:
    folder = landed.planted_folder / f"links{len(end)}"
    folder.mkdir(exist_ok=True)
    rows = [{"index": 0, "key": "row-of-others", "outcome": "landed"}]
    foreign = landed.foreign_folder / f"others{len(end)}.jsonl"
    foreign.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    own = folder / "manifest.jsonl"
    if end:
        plant_foreign_index(foreign, own)
    else:
        own.symlink_to(foreign)
    query = {
        "map_index": plant_task_instance(
            DAG_ID,
            "shelf",
            {"manifest": str(own)},
            output_path=f"{folder}/{{key}}.{{ext}}",
            manifest_path=str(own),
        )
    }
    page = server.client("viewer").get(landed.page(DAG_ID, "shelf"), params=query)
    assert page.status_code == 200
    assert "row-of-others" not in page.text
    assert ("own-row" in page.text) is bool(end)


def plant_foreign_index(foreign: Path, own: Path) -> None:
    """Write two manifests of one size, the index of the foreign one, and a link to that."""
    from airflow_provider_flux.gallery.card import card_of_row
    from tests.support.gallery_cards import encode_index

    size = foreign.stat().st_size
    own.write_text(json.dumps({"index": 0, "key": "own-row"}).ljust(size - 1) + "\n")
    index = Path(f"{foreign}.index")
    cards = [card_of_row(json.loads(foreign.read_text()))]
    index.write_bytes(encode_index(cards, manifest_bytes=size))
    Path(f"{own}.index").symlink_to(index)
