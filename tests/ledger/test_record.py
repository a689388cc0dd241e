"""Tests of the record of one submit: it is parsed as stored, and nothing else is a record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.ledger.record import Record, parse_record
from tests.support.record_samples import TEXT, records


@given(records())
def test_a_record_is_parsed_as_it_was_stored(record: Record) -> None:
    assert parse_record(record.as_bytes(), "here") == record
    assert parse_record(json.loads(json.dumps(record.as_json())), "here") == record


@given(st.binary(max_size=60) | st.dictionaries(TEXT, TEXT, max_size=3))
def test_content_that_is_no_record_is_an_error(stored: Any) -> None:
    with pytest.raises(FluxLedgerError, match="here"):
        parse_record(stored, "here")


@given(records(), st.data())
def test_a_truncated_record_is_an_error(record: Record, data: st.DataObject) -> None:
    text = record.as_bytes().rstrip()
    with pytest.raises(FluxLedgerError):
        parse_record(text[: data.draw(st.integers(0, len(text) - 1))], "here")
