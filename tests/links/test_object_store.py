"""Links of a task instance: set on the worker, before and after a deferral, without an XCom."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from airflow.sdk import DAG
from airflow.utils.db import initdb

from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.links.gallery import GalleryLink
from airflow_provider_flux.links.object_store import LandedImageLink, ManifestLink
from airflow_provider_flux.links.review import ReviewLink
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.operators.review import FluxReviewOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.support.batch_tries import Batch, quick  # noqa: F401 - a fixture
from tests.support.run_operator import run_trigger
from tests.support.task_tries import Task

pytestmark = pytest.mark.usefixtures("hurry")

CONSOLE = "https://console.cloud.google.com/storage/browser/"


def links_of(operator: Any) -> dict[str, str]:
    """Return the links of an operator, as Airflow evaluates them at the end of a phase."""
    return {
        link.name: link.get_link(operator, ti_key=None)
        for link in operator.operator_extra_links
        if not isinstance(link, GalleryLink)
    }


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_the_link_leads_to_the_folder_before_a_deferral_and_to_the_image_after_it(
    emulator: EmulatorServer, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    output_path = f"{store.root}/hero/{{seed}}.{{ext}}"
    task = Task(
        {"prompt": "a fox", "output_path": output_path, "deferrable": True, "inline_wait": 0}
    )
    waiting, deferred, context = task.defer()
    folder = store.root.partition("@")[2]
    assert links_of(waiting) == {"Landed image": f"{CONSOLE}{folder}/hero/"}
    event = asyncio.run(run_trigger(deferred.trigger))
    resumed = task.new_operator()
    generation = resumed.resume_execution(deferred.method_name, {"event": event}, context)
    link = links_of(resumed)["Landed image"]
    assert unquote(link) == f"{CONSOLE}_details/{generation['image']['uri'].partition('@')[2]}"
    assert "?" not in link
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_the_api_server_finds_the_link_in_the_database_and_the_log_has_no_error(
    emulator: EmulatorServer, store: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    initdb()
    with DAG("links", schedule=None) as dag:
        FluxGenerateOperator(
            task_id="hero",
            prompt="a fox",
            output_path=f"{store.root}/{{key}}.{{ext}}",
            deferrable=True,
            inline_wait=0,
        )
    run = run_dag(dag)
    assert run.state == "success"
    (link,) = run.get_task_instance("hero").xcom_pull(
        task_ids=["hero"], key="_link_LandedImageLink"
    )
    assert link == f"{CONSOLE}_details/{store.root.partition('@')[2]}/hero.jpeg"
    written = capfd.readouterr()
    assert "[error" not in written.out + written.err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_the_manifest_of_a_batch_has_a_link_once_it_is_written(
    emulator: EmulatorServer, store: Any
) -> None:
    batch = Batch({"requests": ["a fox"], "output_path": f"{store.root}/{{key}}.jpeg"})
    assert links_of(batch.new_operator()) == {"Manifest": ""}
    summary = batch.retry()
    manifest = summary["manifest"].partition("@")[2]
    assert links_of(batch.operator) == {"Manifest": f"{CONSOLE}_details/{manifest}"}


def test_a_local_folder_and_a_task_without_output_have_no_link(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    local = Task({"prompt": "a fox", "output_path": f"{tmp_path}/a.{{ext}}"})
    local.retry()
    bare = Task({"prompt": "a fox"})
    bare.retry()
    assert links_of(local.operator) == links_of(bare.operator) == {"Landed image": ""}


def test_each_link_is_declared_for_the_api_server() -> None:
    from airflow_provider_flux.provider_info import get_provider_info

    declared = {path.rpartition(".")[2] for path in get_provider_info()["extra-links"]}
    used = {
        type(link)
        for operator in (FluxGenerateOperator, FluxGenerateBatchOperator, FluxReviewOperator)
        for link in operator.operator_extra_links
    }
    assert used == {GalleryLink, LandedImageLink, ManifestLink, ReviewLink}
    assert declared == {link.__name__ for link in used}
