"""Queries of the gallery and of the review page, on rows of Airflow's database."""

from __future__ import annotations

import pytest
from airflow.utils.db import initdb
from airflow.utils.session import create_session

from airflow_provider_flux.gallery.card import CardOrigin
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from tests.support.airflow_names import AIRFLOW
from tests.support.waiting_tasks import find, new_task_instance, push_xcom

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 1), reason="the plugin needs Airflow 3.1")

OUTPUT_PATH = "/out/{request_id}.{ext}"
RETURNED = {"request_id": "a-request"}


@pytest.fixture
def origin() -> CardOrigin:
    """A task instance that has returned a generation."""
    initdb()
    key = new_task_instance(
        lambda: FluxGenerateOperator(task_id="hero", prompt="a fox", output_path=OUTPUT_PATH)
    )
    push_xcom(key, "return_value", RETURNED)
    push_xcom(key, "_link_GalleryLink", "/flux/")
    with create_session() as session:
        ti = find(key, session)
        return CardOrigin(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)


def test_a_task_is_found_by_its_dag_and_by_its_ids_with_what_it_returned(
    origin: CardOrigin,
) -> None:
    from airflow_provider_flux.plugin.task_records import find_record, find_records

    (record,) = find_records(origin.dag_id).tasks
    assert (record.origin, record.returned) == (origin, RETURNED)
    assert find_record(origin) == record


def test_the_dag_of_a_task_is_one_with_images(origin: CardOrigin) -> None:
    from airflow_provider_flux.plugin.task_records import find_dags_with_images

    assert origin.dag_id in find_dags_with_images()


def test_arguments_come_from_the_serialized_dag_and_from_the_rendered_fields(
    origin: CardOrigin,
) -> None:
    from airflow_provider_flux.plugin.task_records import (
        find_record,
        rendered_arguments,
        unrendered_arguments,
    )

    record = find_record(origin)
    assert record is not None
    assert unrendered_arguments(record) == {"output_path": OUTPUT_PATH}
    assert rendered_arguments([origin]) == {}  # it has not run


def test_a_task_that_asks_nobody_has_no_review(origin: CardOrigin) -> None:
    from airflow_provider_flux.plugin.review_records import find_next, find_review

    task = TaskIdentity(
        dag_id=origin.dag_id,
        run_id=origin.run_id,
        task_id=origin.task_id,
        map_index=origin.map_index,
    )
    assert (find_review(task), find_next(task)) == (None, None)
