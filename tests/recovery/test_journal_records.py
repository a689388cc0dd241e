"""A journal as records, for ``recover``: what is changed goes into segments of its own, as whole as those of a try."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airflow_provider_flux.ledger import journal_segments
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.journal_entries import phase_entry
from airflow_provider_flux.ledger.journal_segments import read_journal
from airflow_provider_flux.ledger.journaled_submit import fold_entries
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path
from airflow_provider_flux.recovery.journal_records import JournalRecordStore
from tests.ledger.test_journal_entries import LANDED, PAID, header, opened

ROWS = 12


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A journal of a try that has submitted some rows and landed none."""
    open_path(str(tmp_path))
    folder = f"{tmp_path}/hero.rows/"

    async def fill() -> None:
        journal = Journal(folder, header(session="a" * 32), WriteOptions("application/json"))
        for number in range(ROWS):
            line = opened(str(number), number)
            await journal.append(line)
            journal.append_soon(
                phase_entry(line["claim"], str(number), "submitted", generation=PAID)
            )
        await journal.close()

    asyncio.run(fill())
    return folder


def test_what_is_changed_is_what_a_try_finds(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        journal_segments, "SEGMENT_BYTES", 3000
    )  # so that one segment does not hold it
    before = {path.name: path.read_bytes() for path in Path(folder).glob("*.jsonl")}
    home = JournalRecordStore(folder)
    for number, entry in enumerate(home.read_records()):
        home.update(
            number, entry.record.model_copy(update={"phase": "persisted", "generation": LANDED})
        )
        found = home.read(number)
        assert found
        assert found.phase == "persisted"
    submits = list(fold_entries(read_journal(folder)))
    assert [(one.key, one.phase) for one in submits] == [
        (str(number), "persisted") for number in range(ROWS)
    ]
    assert all(one.generation == LANDED for one in submits)
    for name, data in before.items():
        assert (
            Path(folder) / name
        ).read_bytes() == data  # nobody writes into the segments of another


def test_its_segments_are_closed_numbered_and_of_one_session(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_segments, "SEGMENT_BYTES", 3000)
    before = set(Path(folder).glob("*.jsonl"))
    home = JournalRecordStore(folder)
    for number, entry in enumerate(home.read_records()):
        home.update(
            number, entry.record.model_copy(update={"phase": "persisted", "generation": LANDED})
        )
    own = sorted(path.name for path in set(Path(folder).glob("*.jsonl")) - before)
    (session,) = {name.partition(".")[0] for name in own}
    assert [name.split(".")[1] for name in own] == [f"{number:06d}" for number in range(len(own))]
    assert len(own) > 2
    headers = [found for found, _ in read_journal(folder) if found.session == session]
    assert [one.is_closed for one in headers] == [True] * len(own)
    assert {(one.clear_id, one.owner.task_id) for one in headers} == {("3/x", "hero")}
    assert max((Path(folder) / name).stat().st_size for name in own) < 2 * 3000 + 1000
