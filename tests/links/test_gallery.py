"""Addresses of the gallery, and the link of a task instance to it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.links import gallery
from airflow_provider_flux.links.gallery import GalleryLink, gallery_path, gallery_url
from tests.support.run_operator import run_trigger
from tests.support.task_tries import Task

KEY = SimpleNamespace(dag_id="d", run_id="manual__2026-01-01T00:00:00+00:00", task_id="t")


@pytest.fixture(autouse=True)
def _airflow_with_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "has_pages", lambda: True)


def link_of(operator: Any, **changes: Any) -> str:
    """Return the link of an operator to the gallery, as Airflow evaluates it."""
    (link,) = (link for link in operator.operator_extra_links if isinstance(link, GalleryLink))
    return link.get_link(operator, ti_key=SimpleNamespace(**{**vars(KEY), **changes}))


@pytest.mark.usefixtures("hurry")
def test_the_link_is_the_same_before_and_after_a_deferral(
    emulator: EmulatorServer, tmp_path: Any
) -> None:
    arguments = {"prompt": "a fox", "output_path": f"{tmp_path}/a.{{ext}}"}
    task = Task({**arguments, "deferrable": True, "inline_wait": 0})
    waiting, deferred, context = task.defer()
    page = "/flux/dags/d/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/t"
    assert link_of(waiting) == page
    event = asyncio.run(run_trigger(deferred.trigger))
    resumed = task.new_operator()
    resumed.resume_execution(deferred.method_name, {"event": event}, context)
    assert link_of(resumed) == page


def test_the_link_of_a_mapped_task_leads_to_its_map_index() -> None:
    operator = SimpleNamespace(operator_extra_links=[GalleryLink()])
    assert link_of(operator, map_index=3).endswith("/tasks/t?map_index=3")
    assert link_of(operator, map_index=-1).endswith("/tasks/t")


def test_an_airflow_below_a_path_has_its_gallery_below_the_same_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://data.example.com/airflow/")
    assert gallery_path() == "/airflow/flux/"
    assert gallery_path("a b", "r/1") == "/airflow/flux/dags/a%20b/runs/r%2F1"
    assert gallery_url("d") == "https://data.example.com/airflow/flux/dags/d"


def test_a_message_has_no_url_if_airflow_does_not_know_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "")
    assert gallery_url("d") == ""
    assert gallery_path("d") == "/flux/dags/d"


def test_a_gallery_that_is_switched_off_has_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__FLUX__GALLERY", "False")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://data.example.com")
    assert link_of(SimpleNamespace(operator_extra_links=[GalleryLink()])) == ""
    assert gallery_url("d") == ""
