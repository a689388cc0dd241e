"""Rows of a manifest in a table: what is equal, what changed, and what is missing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_flux.transfers.table_writer import is_same_value


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        (None, None),
        ("a", "a"),
        (3, 3),
        (Decimal("3.00"), 3.0),
        (3.0, 3),
        (True, 1),
        (1, True),
        (Decimal("19.90"), "19.9"),
        (7, "7"),
        ("7", 7),
        (UUID(int=5), str(UUID(int=5))),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),
        (datetime(2026, 1, 2, 3), "2026-01-02T03:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        ("ok   ", "ok"),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_a_value_that_a_column_of_another_type_stored_is_the_same(stored: Any, value: Any) -> None:
    assert is_same_value(stored, value)


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        (None, "a"),
        ("a", None),
        ("", None),
        ("a", "b"),
        ("a", "a "),
        ("ab", "a"),
        (3, "1e9999999999999999999"),
        (3, 4),
        (3, "x"),
        (date(2026, 1, 2), "x"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00"),
        ({"a": 1}, "no json"),
        (b"a", "a"),
    ],
)
def test_a_value_that_differs_or_may_differ_is_written_again(stored: Any, value: Any) -> None:
    assert not is_same_value(stored, value)
