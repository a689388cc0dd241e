"""The working table: rows in the order of the input, read while they are worked on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.batch.execution.prepare import narrow_limits
from airflow_provider_flux.batch.input.rows import Row
from airflow_provider_flux.batch.row_policy import RowPlan
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import Job, RowStore
from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.ledger.journal_entries import phase_entry
from tests.batch.test_row_policy import submit
from tests.ledger.test_journal_entries import LANDED, PAID, header, note, opened


@pytest.fixture
def table(tmp_path: Path) -> Iterator[RowStore]:
    """An empty table."""
    made = RowStore(tmp_path / "rows.sqlite")
    yield made
    made.close()


def fill(table: RowStore, count: int, kind: str = "m", start: int = 0, **more: Any) -> None:
    for number in range(start, start + count):
        table.add(
            Row(number, f"k{number}", kind, request_of(kind, {"prompt": f"p{number}"}), None, None),
            kind=kind,
            estimate=4.0,
        )
    table.commit()


def request_of(model: str, parameters: Mapping[str, Any]) -> GenerationRequest:
    return GenerationRequest(model, f"/v1/{model}", parameters)


def taken(table: RowStore, kind: str = "m", *, is_open: bool = False) -> list[Job]:
    return table.to_do(kind, after=-1, limit=-1, is_open=is_open)


def test_rows_come_in_pages_by_kind(table: RowStore) -> None:
    fill(table, 5)
    fill(table, 5, "n", start=5)
    assert sorted(table.kinds()) == ["m", "n"]
    first = table.to_do("m", after=-1, limit=3, is_open=False)
    assert [job.n for job in first] == [0, 1, 2]
    assert [job.n for job in table.to_do("m", after=2, limit=3, is_open=False)] == [3, 4]
    assert [job.n for job in taken(table, "n")] == [5, 6, 7, 8, 9]
    assert (first[1].key, first[1].parameters, first[1].estimate) == ("k1", {"prompt": "p1"}, 4.0)


def test_what_has_ended_is_not_to_do(table: RowStore) -> None:
    fill(table, 3)
    done, bought, _ = taken(table)
    done.generation = LANDED
    table.end(done, "landed", latency=1.5)
    bought.claim, bought.generation = "c", PAID
    table.submitted(bought)
    assert [job.n for job in taken(table)] == [2]
    (collected,) = taken(table, is_open=True)
    assert (collected.n, collected.claim, collected.generation) == (1, "c", PAID)
    with RowReader(table.path) as reader:
        assert reader.counts() == {"landed": 1, "submitted": 1, "pending": 1}
        assert reader.estimate() == (4.0, 0)
        ended = list(reader.in_order())
    assert [(one.n, one.outcome, one.latency) for one in ended] == [
        (0, "landed", 1.5), (1, "submitted", None), (2, "pending", None),
    ]  # fmt: skip
    assert ended[0].generation == LANDED


def test_what_is_charged(table: RowStore) -> None:
    """A generation that failed is not; one that was not collected yet is."""
    fill(table, 4)
    refused, open_one, failed, lost = taken(table)
    for job in (refused, open_one, failed, lost):
        job.claim, job.generation = "c", PAID
    refused.claim = failed.claim = lost.claim = None
    table.end(refused, "moderated")
    table.end(open_one, "failed")
    table.end(failed, "failed")
    table.end(lost, "lost")
    with RowReader(table.path) as reader:
        assert [one.is_charged for one in reader.in_order()] == [False, True, False, True]


def test_invalid_rows_are_kept_and_never_to_do(table: RowStore) -> None:
    table.add(Row(0, "row-0", "m", None, None, "width is missing"), kind="m", estimate=None)
    fill(table, 1, start=1)
    assert [job.n for job in taken(table)] == [1]
    with RowReader(table.path) as reader:
        (bad,) = reader.invalid()
        assert (bad.index, bad.problem) == (0, "width is missing")
        assert [row.index for row in reader.to_do(request_of)] == [1]


def test_a_plan_is_kept(table: RowStore) -> None:
    fill(table, 4)
    table.plan(0, RowPlan("done", "landed", submit("landed"), uncertain=1))
    table.plan(1, RowPlan("resume", None, submit("open"), is_fallback=True))
    table.plan(2, RowPlan("submit", uncertain=2))
    table.plan(3, RowPlan("done", "lost", submit("gone"), reason="gone"))
    table.commit()
    (open_one,) = taken(table, is_open=True)
    assert (open_one.n, open_one.is_fallback, open_one.generation) == (1, True, PAID)
    assert json.loads(open_one.facts or "")["prompt"] == "a fox"
    assert [(job.n, job.uncertain, job.claim) for job in taken(table)] == [(2, 2, None)]
    with RowReader(table.path) as reader:
        assert [(one.outcome, one.uncertain) for one in reader.in_order()] == [
            ("landed", 1), ("submitted", 0), ("pending", 2), ("lost", 0),
        ]  # fmt: skip


def test_the_history_of_a_row(table: RowStore) -> None:
    assert not table.index_history()


def test_it_is_told_by_key_whatever_segment_it_is_in(table: RowStore) -> None:
    first, other = opened("a"), opened("b")
    table.remember(header(), [note(first), note(other)])
    later = header("2026-11-28T00:00:00+00:00", "s2")
    table.remember(
        later,
        [note(phase_entry(first["claim"], "a", "returned", generation=LANDED)), note(opened("a"))],
    )
    table.remember(later, [note(phase_entry("unknown", "c", "failed"))])
    assert table.index_history()
    assert [one.phase for one in table.history("a")] == ["returned", "intent"]
    assert [one.phase for one in table.history("b")] == ["intent"]
    assert table.history("z") == []
    with pytest.raises(FluxLedgerError, match="missing"):
        table.history("c")


def test_it_is_read_while_it_is_written(table: RowStore) -> None:
    """Each reading is of one moment: whatever it is, all rows are there once, and none is half written."""
    fill(table, 300)
    stop, seen = threading.Event(), list[int]()

    def read() -> None:
        with RowReader(table.path) as reader:
            while not stop.is_set() or not seen:
                rows = list(reader.in_order())
                assert [row.n for row in rows] == list(range(300))
                assert all(bool(row.generation) == (row.outcome == "landed") for row in rows)
                seen.append(sum(row.outcome == "landed" for row in rows))

    thread = threading.Thread(target=read)
    thread.start()
    for job in taken(table):
        job.generation = LANDED
        table.end(job, "landed")
    stop.set()
    thread.join(20)
    assert seen == sorted(seen)
    with RowReader(table.path) as reader:
        assert reader.counts() == {"landed": 300}


def test_the_limits_of_models() -> None:
    usual = narrow_limits({})
    assert usual["flux-kontext-max"] == 6
    assert usual["video"] == 5
    assert "flux-2-pro" not in usual
    assert narrow_limits({"flux-kontext-max": 12, "flux-2-pro": 3}) == {
        **usual, "flux-kontext-max": 12, "flux-2-pro": 3,
    }  # fmt: skip
    for model in ("flux-3-video", "flux-tools/video-upscale-v1", "flux-tools/video-edit-v1"):
        assert narrow_limits({model: 2}) == {**usual, "video": 2}
