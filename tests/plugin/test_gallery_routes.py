"""Pages and objects of the gallery, asked from a real API server."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.plugin.conftest import SCRIPT, Landed
from tests.support.airflow_names import AIRFLOW
from tests.support.plugin_server import PluginServer

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 1), reason="the gallery needs Airflow 3.1")


class TestPages:
    @pytest.mark.parametrize(
        ("task_id", "count"), [("hero", 1), ("many", 2), ("shelf", 3), ("cloud", 1), (None, 7)]
    )
    def test_each_view_shows_a_tile_for_each_image_of_its_tasks(
        self, server: PluginServer, landed: Landed, task_id: str | None, count: int
    ) -> None:
        answer = server.client("viewer").get(landed.page("album", task_id))
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.text.count('<li class="tile') == count

    def test_the_view_of_a_dag_shows_all_its_runs(
        self, server: PluginServer, landed: Landed
    ) -> None:
        answer = server.client("viewer").get("/flux/dags/album")
        assert answer.text.count('<li class="tile') == 7

    def test_the_tab_of_a_task_that_is_not_mapped_has_a_placeholder_in_its_address(
        self, server: PluginServer, landed: Landed
    ) -> None:
        path = landed.page("album", "hero")
        answer = server.client("viewer").get(path, params={"map_index": "{MAP_INDEX}"})
        assert answer.text.count('<li class="tile') == 1

    def test_one_map_index_shows_its_image_alone(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client = server.client("viewer")
        answer = client.get(landed.page("album", "many"), params={"map_index": 1})
        assert answer.text.count('<li class="tile') == 1
        assert "/objects/0/thumb?map_index=1" in answer.text

    def test_a_filter_and_an_offset_choose_tiles(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client, path = server.client("viewer"), landed.page("album", "shelf")
        moderated = client.get(path, params={"outcome": "moderated"})
        assert moderated.text.count('<li class="tile') == 1
        rest = client.get(path, params={"offset": 2, "part": "tiles"})
        assert rest.text.count('<li class="tile') == 1
        assert "<html" not in rest.text

    def test_hostile_prompts_and_keys_are_text(self, server: PluginServer, landed: Landed) -> None:
        answer = server.client("viewer").get(landed.page("album", "shelf"))
        assert "&lt;script&gt;alert(1)" in answer.text
        assert "<script>alert" not in answer.text

    def test_a_page_allows_no_inline_script_and_no_other_site(
        self, server: PluginServer, landed: Landed
    ) -> None:
        headers = server.client("viewer").get(landed.page()).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "private, no-store"

    @pytest.mark.parametrize("path", ["/flux/dags/album", "/flux/nothing", "/flux/dags/album/"])
    def test_no_answer_names_the_host_that_the_request_names(
        self, server: PluginServer, landed: Landed, path: str
    ) -> None:
        names = ("Host", "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Original-URL")
        headers = dict.fromkeys(names, "evil.example")
        answer = server.client("viewer").get(path, headers=headers)
        assert "evil.example" not in f"{answer.headers} {answer.text}"

    def test_the_page_of_all_dags_names_those_that_the_user_may_see(
        self, server: PluginServer
    ) -> None:
        pages = {user: server.client(user).get("/flux/").text for user in ("viewer", "stranger")}
        assert "album" in pages["viewer"]
        assert "foreign" not in pages["viewer"]
        assert "foreign" in pages["stranger"]
        assert "album" not in pages["stranger"]


class TestSearch:
    @pytest.mark.parametrize(
        ("task_id", "text", "count"),
        [
            ("hero", "A FOX", 1),
            ("many", "hen", 1),
            ("cloud", "cloud", 1),
            (None, "a fox", 3),
            ("hero", "a fox that nobody asked for", 0),
        ],
    )
    def test_a_search_finds_the_prompts_of_single_images_in_their_sidecars(
        self, server: PluginServer, landed: Landed, task_id: str | None, text: str, count: int
    ) -> None:
        path = landed.page("album", task_id)
        answer = server.client("viewer").get(path, params={"text": text})
        assert answer.text.count('<li class="tile') == count
        assert "not searched" not in answer.text

    def test_a_search_of_a_dag_finds_prompts_and_scrolls_by_the_same_filter(
        self, server: PluginServer, landed: Landed
    ) -> None:
        query = {"text": "a fox", "offset": 1, "part": "tiles"}
        answer = server.client("viewer").get("/flux/dags/album", params=query)
        assert answer.text.count('<li class="tile') == 2
        assert 'data-total="3"' in answer.text

    def test_a_search_says_which_prompts_it_could_not_read(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client, path = server.client("viewer"), landed.page("album_unread")
        answer = client.get(path, params={"text": "fox"})
        assert answer.status_code == 200
        assert "The prompts of 1 image were not searched" in answer.text
        assert "shelf: Its prompts were not searched: its manifest has no index" in answer.text
        assert "not searched" not in client.get(path).text


class TestObjects:
    @pytest.mark.parametrize("task_id", ["hero", "cloud"])
    def test_the_full_image_has_the_bytes_that_landed(
        self, server: PluginServer, landed: Landed, task_id: str
    ) -> None:
        image = landed.returned["album", task_id]["image"]
        answer = server.client("viewer").get(landed.thumb(task_id, kind="full"))
        assert answer.status_code == 200, answer.text
        assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["etag"] == f'"{image["sha256"]}"'
        assert "sandbox" in answer.headers["content-security-policy"]
        assert int(answer.headers["content-length"]) == image["bytes"]

    def test_a_thumbnail_is_an_image(self, server: PluginServer, landed: Landed) -> None:
        answer = server.client("viewer").get(landed.thumb())
        with Image.open(BytesIO(answer.content)) as image:
            assert image.format in {"WEBP", "JPEG"}
            assert image.width <= 320

    @pytest.mark.parametrize("replacement", ["thumbnail of another image", "nothing"])
    def test_a_thumbnail_of_another_request_is_not_shown_in_place_of_the_image(
        self, server: PluginServer, landed: Landed, replacement: str
    ) -> None:
        image = landed.returned["album", "hero"]["image"]
        thumb = Path(image["renditions"]["thumb"]["uri"].removeprefix("file://"))
        own = thumb.read_bytes()
        assert server.client("viewer").get(landed.thumb()).content == own
        if replacement == "nothing":
            thumb.unlink()
        else:
            (other, _) = sorted((landed.folder / "many").glob("*.thumb.webp"))
            thumb.write_bytes(other.read_bytes())
        try:
            answer = server.client("viewer").get(landed.thumb())
        finally:
            thumb.write_bytes(own)
        assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]

    def test_a_browser_that_has_the_image_gets_no_bytes(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client, path = server.client("viewer"), landed.thumb(kind="full")
        etag = client.get(path).headers["etag"]
        again = client.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
        weak = client.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
        assert weak.status_code == 304
        assert again.headers["cache-control"].startswith("private")

    def test_a_range_has_these_bytes_and_no_others(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client, path = server.client("viewer"), landed.thumb(kind="full")
        whole = client.get(path).content
        part = client.get(path, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
        end = client.get(path, headers={"Range": "bytes=-5"})
        assert end.content == whole[-5:]
        beyond = client.get(path, headers={"Range": f"bytes={len(whole)}-"})
        assert beyond.status_code == 416

    def test_a_head_request_has_the_headers_alone(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client, path = server.client("viewer"), landed.thumb(kind="full")
        head, get = client.head(path), client.get(path)
        assert head.content == b""
        assert head.headers["content-length"] == get.headers["content-length"]

    def test_the_sidecar_and_the_code_of_an_image_are_no_pages(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client = server.client("viewer")
        sidecar = client.get(landed.thumb(kind="sidecar.json"))
        assert sidecar.json()["request"]["prompt"] == f"a fox {SCRIPT}"
        assert sidecar.headers["content-type"] == "application/json"
        code = client.get(landed.thumb(kind="code.txt"))
        assert code.headers["content-type"].startswith("text/plain")
        compile(code.text, "code", "eval")
        assert {answer.headers["x-content-type-options"] for answer in (sidecar, code)} == {
            "nosniff"
        }

    def test_a_card_without_an_image_and_a_card_that_is_not_there_have_no_object(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client = server.client("viewer")
        for path in (landed.thumb("shelf", 2), landed.thumb("hero", 7), landed.thumb("none")):
            assert client.get(path).status_code == 404
