"""Permissions of users, by the auth manager of a real API server."""

from __future__ import annotations

import re

import pytest

from tests.plugin.conftest import Landed
from tests.support.plugin_server import PluginServer

#: HTTP status of a page or object of the DAG ``album`` for each user.
STATUS_OF_ALBUM = {None: 401, "stranger": 403, "blind": 403, "viewer": 200, "admin": 200}


def paths_of_album(landed: Landed) -> list[str]:
    """Return a path for each route that shows something of the album."""
    from airflow_provider_flux.plugin.app import create_fastapi

    ids = {
        "dag_id": "album",
        "run_id": landed.run_ids["album"],
        "task_id": "hero",
        "index": "0",
        "kind": "thumb",
        "number": "1",
    }
    paths = create_fastapi().openapi()["paths"]
    return [
        "/flux" + re.sub(r"\{(\w+)\}", lambda match: ids[match[1]], path)
        for path, operations in paths.items()
        if "{dag_id}" in path and "get" in operations
    ]


@pytest.mark.parametrize("user", STATUS_OF_ALBUM)
def test_every_route_of_a_dag_asks_for_the_permission_to_read_its_xcoms(
    server: PluginServer, landed: Landed, user: str | None
) -> None:
    paths = paths_of_album(landed)
    assert len(paths) >= 6
    client = server.client(user)
    answers = {path: client.get(path).status_code for path in paths}
    # A page of another kind of task may not be there. That is for a user to know who may see it.
    shown = {
        path: 200 if user in {"viewer", "admin"} and status == 404 else status
        for path, status in answers.items()
    }
    assert shown == dict.fromkeys(paths, STATUS_OF_ALBUM[user])


def test_a_token_in_a_header_counts_as_the_cookie_does(
    server: PluginServer, landed: Landed
) -> None:
    headers = {"Authorization": f"Bearer {server.token('viewer')}"}
    assert server.client(None).get(landed.page(), headers=headers).status_code == 200
    forged = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."}
    assert server.client(None).get(landed.page(), headers=forged).status_code in {401, 403}


def test_another_dag_in_the_query_does_not_change_whose_images_are_shown(
    server: PluginServer, landed: Landed
) -> None:
    client = server.client("stranger")
    query = {"dag_id": "foreign"}
    assert client.get(landed.page(), params=query).status_code == 403
    assert client.get(landed.thumb(), params=query).status_code == 403
    own = client.get(landed.page("foreign"), params={"dag_id": "album"})
    assert own.status_code == 200
    assert "/dags/album/" not in own.text


def test_a_cached_image_is_sent_to_nobody_without_the_permission(
    server: PluginServer, landed: Landed
) -> None:
    etag = server.client("viewer").get(landed.thumb(kind="full")).headers["etag"]
    asking = {"If-None-Match": etag}
    for user in (None, "stranger", "blind"):
        answer = server.client(user).get(landed.thumb(kind="full"), headers=asking)
        assert answer.status_code in {401, 403}


def test_anybody_may_load_style_and_script_and_nothing_else(server: PluginServer) -> None:
    client = server.client(None)
    assert client.get("/flux/static/gallery.css").status_code == 200
    assert client.get("/flux/static/gallery.js").status_code == 200
    icon = client.get("/flux/static/icon.svg")
    assert icon.headers["content-type"].startswith("image/svg+xml")
    for path in ("/flux/static/pages.py", "/flux/static/..%2fpages.py", "/flux/openapi.json"):
        assert client.get(path).status_code == 404
    assert client.get("/flux/").status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "%00",
        "a%00b/runs/x",
        "album/runs/%1b",
        "album/runs/x/tasks/%00/review",
        "album/runs/x/tasks/%00/objects/0/full",
    ],
)
def test_an_id_that_cannot_exist_is_refused_before_airflow_asks_the_database(
    server: PluginServer, landed: Landed, path: str
) -> None:
    assert server.client("stranger").get(f"/flux/dags/{path}").status_code == 404
