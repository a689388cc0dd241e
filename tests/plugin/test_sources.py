"""Cards of a page, from the records of its tasks."""

from __future__ import annotations

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import update

from airflow_provider_flux.plugin.sources import cards_of_page
from tests.plugin.conftest import Landed


def test_a_page_opens_a_number_of_batches_and_says_that_there_are_more(landed: Landed) -> None:
    page = cards_of_page("album", max_batches=0)
    assert page.cards.totals.cards == 4
    assert page.notices == ["There are 1 batches. The first 0 are shown."]
    assert cards_of_page("album").notices == []


@pytest.mark.parametrize("operator", ["_PythonDecoratedOperator", "FluxCreditsSensor"])
def test_a_task_that_lands_nothing_has_no_tile_that_says_why(landed: Landed, operator: str) -> None:
    failed = update(TaskInstance).filter_by(dag_id="foreign", task_id="note")
    with create_session() as session:
        session.execute(failed.values(state="failed", operator=operator))
    run_id = landed.run_ids["foreign"]
    assert cards_of_page("foreign", run_id, "note").cards.totals.cards == 0
    assert cards_of_page("foreign", run_id).cards.totals.cards == 1
