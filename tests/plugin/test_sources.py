"""Cards of a page, from the records of its tasks."""

from __future__ import annotations

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import update

from airflow_provider_flux.gallery.card import CardOrigin
from airflow_provider_flux.gallery.filters import CardFilter
from airflow_provider_flux.plugin import sources
from airflow_provider_flux.plugin.sources import cards_of_page
from airflow_provider_flux.plugin.task_records import TaskRecord, TaskRecords
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


@pytest.mark.parametrize(
    ("operator", "is_paid"), [("FluxReviewOperator", False), ("ReviewShotsOperator", True)]
)
def test_a_copy_that_a_review_returned_costs_nothing_beside_its_original(
    landed: Landed, operator: str, is_paid: bool
) -> None:
    run_id, cost = landed.run_ids["album"], landed.returned["album", "hero"]["cost"]
    paid = cards_of_page("album", run_id, "hero").cards.totals
    assert (paid.images, paid.credits) == (1, cost)
    hero = update(TaskInstance).filter_by(dag_id="album", task_id="hero")
    with create_session() as session:
        session.execute(hero.values(operator=operator))
    try:
        shown = cards_of_page("album", run_id, "hero").cards.totals
        assert (shown.images, shown.credits) == (1, cost if is_paid else 0)
    finally:
        with create_session() as session:
            session.execute(hero.values(operator="FluxGenerateOperator"))


@pytest.mark.parametrize("shown", [["hero", "copy"], ["copy", "hero"]])
@pytest.mark.parametrize(("request_id", "cost_of_copy"), [("one", None), (None, 4.0)])
def test_a_transferred_image_costs_nothing_beside_its_original(
    shown: list[str],
    request_id: str | None,
    cost_of_copy: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = {
        task_id: TaskRecord(
            origin=CardOrigin("album", "run", task_id),
            state="success",
            returned={
                "request_id": request_id,
                "cost": 4.0,
                "image": {"uri": f"file:///images/{task_id}.jpeg"},
            },
            summary=None,
            dag_version_id=None,
            operator=operator,
        )
        for task_id, operator in (
            ("hero", "FluxGenerateOperator"),
            ("copy", "FluxToObjectStorageOperator"),
        )
    }

    def costs_of(task_ids: list[str]) -> dict[str, float | None]:
        found = TaskRecords([records[task_id] for task_id in task_ids])
        monkeypatch.setattr(sources, "find_records", lambda *_: found)
        page = cards_of_page("album").cards.page(CardFilter())
        return {card.origin.task_id: card.cost for card in page.cards}

    assert costs_of(shown) == {"hero": 4.0, "copy": cost_of_copy}
    assert costs_of(["copy"]) == {"copy": 4.0}
