"""The row store: rows in the order of the input, read while another thread works on them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_flux.batch.input.rows import Row
from airflow_provider_flux.batch.row_policy import RowPlan
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import RowStore
from tests.batch.test_row_policy import build_submit
from tests.support.batch_rows import CHEAP_MODEL, MODEL, build_request, build_row, row_builder
from tests.support.journal_samples import ACCEPTED, LANDED, new_intent, parse_entry, segment_header


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RowStore]:
    """An empty row store."""
    opened_store = RowStore(tmp_path / "rows.sqlite", row_builder())
    yield opened_store
    opened_store.close()


def fill(store: RowStore, count: int, model: str = MODEL, start: int = 0) -> None:
    for index in range(start, start + count):
        store.add(build_row(index, model))
    store.commit()


def test_pending_rows_come_in_pages_by_limit_group(store: RowStore) -> None:
    fill(store, 5)
    fill(store, 5, CHEAP_MODEL, start=5)
    assert sorted(store.open_groups()) == sorted([MODEL, CHEAP_MODEL])
    first = store.pending_rows(MODEL, limit=3)
    assert [row.index for row in first] == [0, 1, 2]
    assert [row.index for row in store.pending_rows(MODEL, after=2, limit=3)] == [3, 4]
    assert [row.index for row in store.pending_rows(CHEAP_MODEL)] == [5, 6, 7, 8, 9]
    row = first[1]
    assert (row.key, row.request.parameters["prompt"], row.estimate) == ("k1", "p1", 4.0)
    assert (row.plan.target.key, row.plan.request.prompt) == ("k1", "p1")


def test_a_row_that_has_ended_is_not_pending_any_more(store: RowStore) -> None:
    fill(store, 3)
    landed, accepted, _ = store.pending_rows(MODEL)
    store.end(landed, "landed", generation=LANDED, latency=1.5)
    store.save(accepted.accept("c", ACCEPTED))
    assert [row.index for row in store.pending_rows(MODEL)] == [2]
    with RowReader(store.path) as reader:
        assert reader.count_outcomes() == {"landed": 1, "submitted": 1, "pending": 1}
        assert reader.expected_cost() == (4.0, 0)
        rows = list(reader.all_rows())
    assert [(row.index, row.outcome, row.latency) for row in rows] == [
        (0, "landed", 1.5), (1, "submitted", None), (2, "pending", None),
    ]  # fmt: skip
    assert [row.generation for row in rows] == [LANDED, ACCEPTED, None]


def test_a_generation_that_failed_is_not_charged_and_a_submitted_one_is(store: RowStore) -> None:
    fill(store, 4)
    moderated, left, failed, lost = (row.accept("c", ACCEPTED) for row in store.pending_rows(MODEL))
    store.end(moderated, "moderated", generation=ACCEPTED)
    store.end(left, "submitted", generation=ACCEPTED)
    store.end(failed, "failed", generation=ACCEPTED)
    store.end(lost, "lost", generation=ACCEPTED)
    with RowReader(store.path) as reader:
        assert [row.is_charged for row in reader.all_rows()] == [False, True, False, True]


def test_an_invalid_row_is_stored_and_never_pending(store: RowStore) -> None:
    store.add(Row(0, "row-0", MODEL, None, None, "width is missing"))
    fill(store, 1, start=1)
    store.history.add_segment(
        segment_header(), [parse_entry(new_intent("row-0")), parse_entry(new_intent("k1"))]
    )
    assert [row.index for row in store.pending_rows(MODEL)] == [1]
    with RowReader(store.path) as reader:
        (invalid,) = reader.invalid_rows()
        assert (invalid.index, invalid.problem) == (0, "width is missing")
        assert [row.index for row in reader.tried_rows(build_request)] == [1]


def test_only_rows_that_earlier_tries_submitted_are_planned(store: RowStore) -> None:
    fill(store, 3)
    store.history.add_segment(
        segment_header(), [parse_entry(new_intent("k2")), parse_entry(new_intent("k0"))]
    )
    with RowReader(store.path) as reader:
        assert list(reader.tried_rows(build_request)) == [build_row(0), build_row(2)]


def test_a_plan_decides_whether_a_row_is_pending_resumed_or_ended(store: RowStore) -> None:
    fill(store, 4)
    rows = [build_row(index) for index in range(4)]
    store.apply_plan(rows[0], RowPlan("done", "landed", build_submit("landed"), uncertain=1))
    store.apply_plan(rows[1], RowPlan("resume", submit=build_submit("open"), is_fallback=True))
    store.apply_plan(rows[2], RowPlan("submit", uncertain=2))
    store.apply_plan(rows[3], RowPlan("done", "lost", build_submit("gone"), reason="gone"))
    store.commit()
    (resumed,) = store.submitted_rows()
    assert (resumed.index, resumed.is_fallback, resumed.generation) == (1, True, ACCEPTED)
    assert resumed.is_resumed
    assert resumed.plan.request.prompt == "a fox"  # as the earlier try requested it
    assert [(row.index, row.uncertain_submits) for row in store.pending_rows(MODEL)] == [(2, 2)]
    with RowReader(store.path) as reader:
        assert [(row.outcome, row.uncertain_submits) for row in reader.all_rows()] == [
            ("landed", 1), ("submitted", 0), ("pending", 2), ("lost", 0),
        ]  # fmt: skip


def test_a_fallback_that_is_tried_has_its_own_group_price_and_request(store: RowStore) -> None:
    row = build_row(0, MODEL, fallback_model=CHEAP_MODEL)
    store.add(row)
    (pending,) = store.pending_rows(MODEL)
    assert (pending.fallback, pending.is_fallback) == (row.fallback, False)
    store.apply_plan(row, RowPlan("submit", is_fallback=True))
    assert store.pending_rows(MODEL) == []
    (fallback,) = store.pending_rows(CHEAP_MODEL)
    assert (fallback.request, fallback.estimate) == (row.fallback, 3.0)
    assert (fallback.fallback, fallback.is_fallback) == (None, True)


def test_a_reader_sees_each_row_once_and_none_half_written(store: RowStore) -> None:
    """Each reading is of one moment, whatever the thread that writes does."""
    fill(store, 300)
    stop, landed = threading.Event(), list[int]()

    def read() -> None:
        with RowReader(store.path) as reader:
            while not stop.is_set() or not landed:
                rows = list(reader.all_rows())
                assert [row.index for row in rows] == list(range(300))
                assert all(bool(row.generation) == (row.outcome == "landed") for row in rows)
                landed.append(sum(row.outcome == "landed" for row in rows))

    thread = threading.Thread(target=read)
    thread.start()
    for row in store.pending_rows(MODEL):
        store.end(row, "landed", generation=LANDED)
    stop.set()
    thread.join(20)
    assert landed == sorted(landed)
    with RowReader(store.path) as reader:
        assert reader.count_outcomes() == {"landed": 300}
