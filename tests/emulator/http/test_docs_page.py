"""The page ``/docs`` of the emulator."""

from __future__ import annotations

import re

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.emulator.faults import FAULTS
from tests.emulator.conftest import Client


def test_the_docs_page_lists_all_routes_and_faults_and_loads_nothing(client: Client) -> None:
    """Fault 35: the page loaded its scripts from a CDN, and stayed empty without it."""
    page = client.get(f"{client.server.url}/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for model in MODELS.values():
        assert f"POST {model.path}</code>" in page.text
    for kind in FAULTS.values():
        assert kind.name in page.text
    assert "prompt" in page.text
    assert "<script" not in page.text
    links = re.findall(r"(?:href|src)=([^ >]+)", page.text)
    assert links
    for link in links:  # relative, so that they work behind a proxy with a prefix
        assert client.get(f"{client.server.url}/{link}").status_code == 200
