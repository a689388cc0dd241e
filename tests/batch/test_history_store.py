"""The history store: what the journal says about a row, whatever segment says it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.ledger.journal_entries import phase_entry
from tests.support.batch_rows import row_builder
from tests.support.journal_samples import LANDED, new_intent, parse_entry, segment_header


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RowStore]:
    """An empty row store."""
    opened_store = RowStore(tmp_path / "rows.sqlite", row_builder())
    yield opened_store
    opened_store.close()


def test_a_store_without_entries_has_no_history(store: RowStore) -> None:
    assert not store.history.create_index()


def test_a_row_has_the_submits_of_its_key_from_all_segments(store: RowStore) -> None:
    history = store.history
    first, other = new_intent("a"), new_intent("b")
    history.add_segment(segment_header(), [parse_entry(first), parse_entry(other)])
    later = segment_header("2026-11-28T00:00:00+00:00", "s2")
    landed = phase_entry(first["claim"], "a", "returned", generation=LANDED)
    history.add_segment(later, [parse_entry(landed), parse_entry(new_intent("a"))])
    history.add_segment(later, [parse_entry(phase_entry("unknown", "c", "failed"))])
    assert history.create_index()
    assert [submit.phase for submit in history.submits_of("a")] == ["returned", "intent"]
    assert [submit.phase for submit in history.submits_of("b")] == ["intent"]
    assert history.submits_of("z") == []
    with pytest.raises(FluxLedgerError, match="missing"):
        history.submits_of("c")
