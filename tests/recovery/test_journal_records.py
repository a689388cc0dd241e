"""Tests of a journal as records: a change goes into segments of its own, like those of a try."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airflow_provider_flux.ledger import journal_segments
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.journal_entries import phase_entry
from airflow_provider_flux.ledger.journal_segments import read_journal
from airflow_provider_flux.ledger.journaled_submit import fold_entries
from airflow_provider_flux.object_store.filesystem import open_path
from airflow_provider_flux.recovery.journal_records import JournalRecordStore
from tests.support.journal_samples import (
    ACCEPTED,
    LANDED,
    WRITE_OPTIONS,
    new_intent,
    segment_header,
)

ROWS = 12


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A journal of a try that has submitted some rows and landed none."""
    open_path(str(tmp_path))
    folder = f"{tmp_path}/hero.rows/"

    async def fill() -> None:
        journal = Journal(folder, segment_header(session="a" * 32), WRITE_OPTIONS)
        for number in range(ROWS):
            entry = new_intent(str(number), number)
            await journal.append(entry)
            journal.append_soon(
                phase_entry(entry["claim"], str(number), "submitted", generation=ACCEPTED)
            )
        await journal.close()

    asyncio.run(fill())
    return folder


def test_a_retry_finds_the_changes_of_recover(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The changes need several segments.
    monkeypatch.setattr(journal_segments, "SEGMENT_BYTES", 3000)
    before = {path.name: path.read_bytes() for path in Path(folder).glob("*.jsonl")}
    store = JournalRecordStore(folder)
    for number, stored in enumerate(store.read_records()):
        store.update(
            number, stored.record.model_copy(update={"phase": "persisted", "generation": LANDED})
        )
        record = store.read(number)
        assert record
        assert record.phase == "persisted"
    submits = list(fold_entries(read_journal(folder)))
    assert [(submit.key, submit.phase) for submit in submits] == [
        (str(number), "persisted") for number in range(ROWS)
    ]
    assert all(submit.generation == LANDED for submit in submits)
    for name, data in before.items():
        # No writer changes the segments of another.
        assert (Path(folder) / name).read_bytes() == data


def test_the_segments_of_recover_are_closed_and_numbered_in_one_session(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_segments, "SEGMENT_BYTES", 3000)
    before = set(Path(folder).glob("*.jsonl"))
    store = JournalRecordStore(folder)
    for number, stored in enumerate(store.read_records()):
        store.update(
            number, stored.record.model_copy(update={"phase": "persisted", "generation": LANDED})
        )
    own = sorted(path.name for path in set(Path(folder).glob("*.jsonl")) - before)
    (session,) = {name.partition(".")[0] for name in own}
    assert [name.split(".")[1] for name in own] == [f"{number:06d}" for number in range(len(own))]
    assert len(own) > 2
    headers = [header for header, _ in read_journal(folder) if header.session == session]
    assert [header.is_closed for header in headers] == [True] * len(own)
    assert {(header.clear_id, header.owner.task_id) for header in headers} == {("3/x", "hero")}
    assert max((Path(folder) / name).stat().st_size for name in own) < 2 * 3000 + 1000
