"""Rows that wait for an image that another row, or another task, generates."""

from __future__ import annotations

import time

from airflow_provider_flux.batch.execution.waiting_rows import WaitingRows
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.landing.claims import ClaimWait
from tests.support.batch_rows import CHEAP_MODEL, MODEL, build_row, row_builder


def pending(index: int, model: str = MODEL) -> PendingRow:
    request = build_row(index, model).request
    assert request
    return row_builder().build_pending(index, f"k{index}", request)


def claim_of_another(seconds: float = 60.0) -> ClaimWait:
    return ClaimWait("/x.claim", "1", "", "ads.hero", seconds, time.monotonic(), 0.0)


def test_a_landed_image_returns_all_rows_that_wait_for_it_in_order() -> None:
    waiting = WaitingRows(0.5)
    for index in (2, 1, 3):
        waiting.wait_for_row("fox", pending(index, CHEAP_MODEL if index == 3 else MODEL))
    waiting.wait_for_row("hare", pending(4))
    assert waiting.return_rows("fox", has_landed=True) == [1, 2, 3]
    assert waiting.returned_groups == [MODEL, CHEAP_MODEL]
    assert [waiting.pop(MODEL), waiting.pop(MODEL), waiting.pop(MODEL)] == [1, 2, None]
    assert waiting.pop(CHEAP_MODEL) == 3
    assert not waiting.is_empty
    waiting.drop_rows("hare")
    assert waiting.is_empty


def test_an_image_that_did_not_land_returns_one_row_to_generate_it() -> None:
    waiting = WaitingRows(0.5)
    for index in (1, 2):
        waiting.wait_for_row("fox", pending(index))
    assert waiting.return_rows("fox", has_landed=False) == [1]
    assert waiting.return_rows("fox", has_landed=False) == [2]
    assert waiting.return_rows("fox", has_landed=False) == []


def test_claims_of_other_tasks_are_looked_at_at_growing_intervals() -> None:
    waiting = WaitingRows(0.02)
    row = pending(1)
    assert waiting.seconds_until_look is None
    waiting.park(row, claim_of_another())
    assert waiting.pop_due(1) == []
    time.sleep(waiting.seconds_until_look or 0)
    (parked,) = waiting.pop_due(1)
    waiting.park_again(parked)
    assert not waiting.is_empty
    time.sleep(waiting.seconds_until_look or 0)
    (parked,) = waiting.pop_due(1)
    waiting.return_row(parked)
    assert waiting.pop(MODEL) is row
    assert waiting.is_empty


def test_a_claim_is_looked_at_when_it_expires() -> None:
    waiting = WaitingRows(60.0)
    waiting.park(pending(1), claim_of_another(seconds=0.0))
    assert waiting.seconds_until_look == 0
