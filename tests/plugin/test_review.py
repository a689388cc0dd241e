"""The review page on a real API server, while ``dag.test()`` waits for the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.conftest import KEY
from tests.support.airflow_names import AIRFLOW
from tests.support.plugin_server import PluginServer
from tests.support.review_run import ReviewRun, review_run

pytestmark = pytest.mark.skipif(
    AIRFLOW < (3, 3), reason="before Airflow 3.3, dag.test() cannot wait for an answer"
)


@pytest.fixture(scope="module")
def review(server: PluginServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewRun]:
    """A review of three candidates that waits until the last test answers it."""
    folder = tmp_path_factory.mktemp("review")
    with EmulatorServer(EmulatorConfig(latency=0)) as emulator, pytest.MonkeyPatch.context() as env:
        connection = {"conn_type": "flux", "password": KEY, "host": emulator.url}
        env.setenv("AIRFLOW_CONN_FLUX_DEFAULT", json.dumps(connection))
        with review_run(folder, 3) as run, server.client("admin") as client:
            run.wait(client)
            yield run


@pytest.fixture
def admin(server: PluginServer) -> Iterator[httpx.Client]:
    with server.client("admin") as client:
        yield client


def stored_state(review: ReviewRun) -> Any:
    """Return the row of the XCom that the page shows."""
    return select(XComModel).where(
        XComModel.dag_id == review.dag_id, XComModel.key == "flux_review"
    )


class TestAccess:
    @pytest.mark.parametrize(
        "part",
        ["", "/state", "/candidates/1/thumb", "/candidates/1/full", "/candidates/1/request.json"],
    )
    @pytest.mark.parametrize(
        ("user", "status"), [(None, 401), ("stranger", 403), ("blind", 403), ("viewer", 200)]
    )
    def test_only_who_may_read_the_dag_sees_the_review(
        self, server: PluginServer, review: ReviewRun, part: str, user: str | None, status: int
    ) -> None:
        with server.client(user) as client:
            assert client.get(f"{review.path}{part}").status_code == status

    def test_a_viewer_gets_no_buttons_and_airflow_refuses_the_answer(
        self, server: PluginServer, review: ReviewRun
    ) -> None:
        with server.client("viewer") as client:
            page = client.get(review.path).text
            assert "Airflow does not permit you to answer" in page
            assert 'id="answer"' not in page
            body = {"chosen_options": ["1"], "params_input": {}}
            assert client.patch(review.api_path, json=body).status_code == 403


class TestPage:
    def test_every_candidate_is_a_button_with_its_picture(
        self, admin: httpx.Client, review: ReviewRun
    ) -> None:
        page = admin.get(review.path)
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert page.text.count('class="candidate"') == 3
        assert f'{review.path}/candidates/3/full"' in page.text
        assert "<script>" not in page.text
        assert "style=" not in page.text

    def test_pictures_are_those_that_landed_and_the_browser_keeps_them(
        self, admin: httpx.Client, review: ReviewRun
    ) -> None:
        full = admin.get(f"{review.path}/candidates/2/full")
        file = next((review.folder / "candidates").glob("sku-002.jpeg"))
        assert (full.headers["content-type"], full.content) == ("image/jpeg", file.read_bytes())
        again = admin.get(full.url.path, headers={"If-None-Match": full.headers["etag"]})
        assert again.status_code == 304
        thumb = admin.get(f"{review.path}/candidates/2/thumb")
        assert thumb.headers["content-type"] == "image/webp"

    def test_the_prompt_comes_from_the_sidecar_as_json(
        self, admin: httpx.Client, review: ReviewRun
    ) -> None:
        answer = admin.get(f"{review.path}/candidates/1/request.json")
        assert answer.json()["prompt"] == "a <b>product</b> number 1"
        assert answer.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        ("part", "status"),
        [
            ("/candidates/4/full", 404),
            ("/candidates/0/full", 422),
            ("/candidates/501/full", 422),
            ("/candidates/x/full", 422),
            ("/candidates/1/raw", 422),
            ("?map_index=7", 404),
            ("?map_index=-2", 422),
        ],
    )
    def test_what_is_not_there_is_no_error_of_the_server(
        self, admin: httpx.Client, review: ReviewRun, part: str, status: int
    ) -> None:
        assert admin.get(f"{review.path}{part}").status_code == status

    @pytest.mark.parametrize("name", ["review.js", "review.css"])
    def test_style_and_script_are_files(self, admin: httpx.Client, name: str) -> None:
        assert admin.get(f"/flux/review-static/{name}").status_code == 200
        assert admin.get("/flux/review-static/..%2Freview.py").status_code == 404


class TestHostileRecords:
    """A user who may change XComs changes that of the review."""

    @pytest.fixture
    def change(self, review: ReviewRun) -> Iterator[Any]:
        with create_session() as session:
            before = session.scalar(stored_state(review)).value

        def write(value: Any) -> None:
            with create_session() as session:
                session.scalar(stored_state(review)).value = value

        def update(review: dict[str, Any] | None = None, **members: Any) -> None:
            content = json.loads(before) if isinstance(before, str) else dict(before)
            content |= review or {}
            content["candidates"] = [
                {**candidate, **members} for candidate in content["candidates"]
            ]
            write(json.dumps(content) if isinstance(before, str) else content)

        yield update
        write(before)

    @pytest.mark.parametrize(
        "uri",
        [
            "/etc/passwd",
            "file:///etc/passwd",
            "http://169.254.169.254/latest",
            "s3://other@secret/key.jpeg",
            "{folder}/../foreign/hero.jpeg",
            "{folder}/%2e%2e/x.jpeg",
        ],
    )
    def test_no_object_elsewhere_is_read(
        self, admin: httpx.Client, review: ReviewRun, change: Any, uri: str
    ) -> None:
        place = uri.replace("{folder}", str(review.folder))
        change(uri=place, thumb=place, sidecar=place)
        for part in ("full", "thumb", "request.json"):
            assert admin.get(f"{review.path}/candidates/1/{part}").status_code == 404

    def test_texts_of_a_record_are_escaped(
        self, admin: httpx.Client, review: ReviewRun, change: Any
    ) -> None:
        change(key='"><script>alert(1)</script>', model="<img src=x onerror=alert(1)>")
        page = admin.get(review.path).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;" in page

    @pytest.mark.parametrize(
        "members",
        [
            {"sha256": "x"},
            {"uri": 5},
            {"bytes": -1, "width": "wide", "seed": [1], "cost": {}, "key": None},
            {"cost": 10**400, "seed": 10**400, "width": 10**400, "height": 1},
            {"cost": float("nan"), "key": "\ud800", "model": "a\0\x1b[31m\u202eb"},
            {"key": "x" * 3_000_000, "model": "x" * 3_000_000},
            {"review": {"note": "\ud800", "prompt": "\ud800", "credits_left": 10**400}},
            {"review": {"credits_left": float("nan"), "max_rounds": 10**400, "round": "\ud800"}},
        ],
    )
    def test_malformed_records_are_no_error_of_the_server(
        self, admin: httpx.Client, review: ReviewRun, change: Any, members: dict[str, Any]
    ) -> None:
        change(**members)
        assert admin.get(review.path).status_code == 200
        assert admin.get(f"{review.path}/state").json()["is_waiting"] is True
        assert admin.get(f"{review.path}/candidates/1/full").status_code in {200, 404}

    def test_a_long_note_leaves_the_candidates_in_sight(
        self, admin: httpx.Client, review: ReviewRun, change: Any
    ) -> None:
        change(review={"note": "x" * 32_000}, seed=10**400)
        page = admin.get(review.path).text
        assert "x" * 1000 in page
        assert "x" * 1001 not in page
        assert "0" * 20 not in page

    def test_a_number_that_json_cannot_represent_is_null_in_the_request(
        self, admin: httpx.Client, review: ReviewRun, change: Any
    ) -> None:
        sidecar = review.folder / "candidates" / "planted.json"
        stored = json.loads((review.folder / "candidates/sku-001.jpeg.json").read_text())
        stored["request"]["parameters"] |= {"guidance": float("nan")}
        sidecar.write_text(json.dumps(stored))
        change(sidecar=str(sidecar))
        answer = admin.get(f"{review.path}/candidates/1/request.json")
        assert answer.json()["parameters"]["guidance"] is None


class TestAnswer:
    def test_the_first_answer_counts_and_the_page_says_who_gave_it(
        self, admin: httpx.Client, review: ReviewRun
    ) -> None:
        fields = dict.fromkeys(admin.get(review.api_path).json()["params"])
        body = {"chosen_options": ["2"], "params_input": {**fields, "comment": "sharp"}}
        assert admin.patch(review.api_path, json=body).status_code == 200
        assert admin.patch(review.api_path, json=body).status_code == 409

        result = review.wait_end()

        assert result["state"] == "success"
        image = Path(result["xcom"]["image"]["uri"])
        assert image.read_bytes() == (review.folder / "candidates/sku-002.jpeg").read_bytes()
        assert "2, by admin." in " ".join(admin.get(review.path).text.split())
        state = admin.get(f"{review.path}/state").json()
        assert (state["is_waiting"], state["answered_by"]) == (False, "admin")
