"""The page of costs, asked from a real API server."""

from __future__ import annotations

import re

import pytest

from tests.plugin.conftest import Landed
from tests.support.airflow_names import AIRFLOW
from tests.support.plugin_server import PluginServer

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 1), reason="the gallery needs Airflow 3.1")


def read_page(server: PluginServer, user: str, **query: str) -> str:
    """Return the page as soon as all ledgers are read."""
    client = server.client(user)
    for _ in range(200):
        answer = client.get("/flux/costs", params=query)
        assert answer.status_code == 200, answer.text
        if "Show what was read meanwhile" not in answer.text:
            assert "could not be read:" not in answer.text, answer.text
            return answer.text
    raise AssertionError("The ledgers are never read.")


def rows_of(html: str) -> dict[str, list[str]]:
    """Return the cells of each row of the table by the name of the group."""
    rows = re.findall(r'<th scope="row"[^>]*>(.*?)</th>(.*?)</tr>', html, re.DOTALL)
    return {
        re.sub(r"<.*?>", "", name): re.findall(r"<td[^>]*>(.*?)</td>", cells)
        for name, cells in rows
    }


class TestCosts:
    def test_a_user_sees_the_costs_of_the_dags_that_the_user_may_read(
        self, server: PluginServer, landed: Landed
    ) -> None:
        pages = {
            user: rows_of(read_page(server, user, by="dag")) for user in ("viewer", "stranger")
        }
        own_dags = {"album", "album_planted", "album_unread", "All"}
        assert own_dags <= set(pages["viewer"]), f"{pages}\n{server.log_text()}"
        assert all(name.startswith(("album", "All")) for name in pages["viewer"])
        assert set(pages["stranger"]) == {"foreign", "All"}
        assert rows_of(read_page(server, "blind", by="dag")) == {}
        forbidden = rows_of(read_page(server, "stranger", by="task", dag="album"))
        assert forbidden == {}
        assert server.client(None).get("/flux/costs").status_code == 401

    def test_the_costs_are_those_that_the_tasks_returned(
        self, server: PluginServer, landed: Landed
    ) -> None:
        html = read_page(server, "viewer", by="task", dag="album")
        rows = re.findall(r'<tr><th scope="row">album</th>(.*?)</tr>', html, re.DOTALL)
        tasks = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
        costs = {cells[0]: float(cells[3]) for cells in tasks}
        assert costs["hero"] == landed.returned["album", "hero"]["cost"]
        assert costs["shelf"] == landed.returned["album", "shelf"]["credits"]
        assert sum(costs.values()) == float(rows_of(html)["All"][2])

    def test_a_page_by_day_has_a_chart_without_anything_that_its_policy_forbids(
        self, server: PluginServer, landed: Landed
    ) -> None:
        html = read_page(server, "viewer")
        assert '<rect class="part' in html
        assert "style=" not in html
        assert "<script>" not in html
        policy = server.client("viewer").get("/flux/costs").headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert server.client("viewer").get("/flux/static/costs.css").status_code == 200

    def test_a_wrong_date_is_named_and_a_hostile_one_is_text(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client = server.client("viewer")
        answer = client.get(
            "/flux/costs", params={"from": "<script>"}, headers={"accept": "text/html"}
        )
        assert answer.status_code == 400
        assert "from=&#39;&lt;script&gt;&#39; is no date" in answer.text
        assert client.get("/flux/costs", params={"by": "prompt"}).status_code == 422

    def test_the_gallery_leads_to_the_costs_of_its_dag(
        self, server: PluginServer, landed: Landed
    ) -> None:
        client = server.client("viewer")
        assert 'href="/flux/costs"' in client.get("/flux/").text
        assert 'href="/flux/costs?dag=album"' in client.get("/flux/dags/album").text
