"""Keys of rows."""

from __future__ import annotations

import unicodedata
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.mapping import is_null_text
from airflow_provider_flux.landing.object_name import safe_name
from tests.support.batch_inputs import (
    SHORT_TEXT,
    read_all_rows,
    read_problem,
    read_valid_row,
    write_file,
)


@given(
    st.lists(
        st.none()
        | st.sampled_from(["a", " a", "a/b", "a_b", "A", "row-1", "", "0", "x" * 200])
        | SHORT_TEXT
    )
)
def test_the_first_row_with_a_key_keeps_it(keys: list[str | None]) -> None:
    table = [{"prompt": "p", "key": key} for key in keys]
    if not table:
        return
    rows = read_all_rows(table)
    first_by_name: dict[str, int] = {}
    valid: set[str] = set()
    for row, key in zip(rows, keys, strict=True):
        text = unicodedata.normalize("NFC", key or "").strip()
        if not text or is_null_text(text):
            assert row.problem == f"index {row.index}: key is empty"
        elif (first := first_by_name.get(safe_name(text))) is not None:
            assert row.key == text
            assert f"is taken by index {first}" in (row.problem or "")
        else:
            assert (row.key, row.problem) == (text, None)
            assert safe_name(row.key) not in valid
            valid.add(safe_name(row.key))
        first_by_name.setdefault(safe_name(row.key), row.index)


def test_a_mapped_key_is_required_in_each_row() -> None:
    rows = read_all_rows(
        [{"sku": "a", "text": "x"}, {"text": "y"}, "z"], columns={"key": "sku", "prompt": "text"}
    )
    assert [row.problem for row in rows] == [None, "index 1: key is empty", None]
    assert [row.key for row in rows] == ["a", "row-1", "2"]


@pytest.mark.parametrize(
    ("key", "text"),
    [(17, "17"), (1.5, "1.5"), (UUID(int=1), str(UUID(int=1))), (date(2026, 11, 1), "2026-11-01")],
)
def test_a_key_may_have_any_type_with_a_plain_text_form(key: Any, text: str) -> None:
    assert read_valid_row({"prompt": "a", "key": key}).key == text


@pytest.mark.parametrize(
    ("key", "message"), [(["a"], "key is list, not text"), ("k" * 2000, "longer than 1024")]
)
def test_a_list_or_a_very_long_text_is_refused_as_key(key: Any, message: str) -> None:
    assert message in read_problem({"prompt": "a", "key": key})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (101, "101"),
        (101.0, "101"),
        (Decimal(101), "101"),
        (Decimal("101.00"), "101"),
        (Decimal("1.01E+2"), "101"),
        ("101", "101"),
        (np.float64(101), "101"),
        (np.int64(101), "101"),
        (-0.0, "0"),
        (2**60, str(2**60)),
        (1.1, "1.1"),
        ("1.10", "1.10"),
        (Decimal("1.10"), "1.10"),
        (Decimal("12345678901234567.01"), "12345678901234567.01"),
        (Decimal("1E-7"), "0.0000001"),
    ],
)
def test_a_key_is_the_value_and_not_the_type_of_its_column(key: Any, text: str) -> None:
    """Fault 13: a column of floats had other keys than the same column of integers."""
    assert read_valid_row({"prompt": "a", "key": key}).key == text


@pytest.mark.parametrize("key", [float(2**53), -1e17, 1e300])
def test_a_float_that_may_have_lost_digits_is_no_key(key: float) -> None:
    """Fault 13: two numbers may have become the same float."""
    assert "Make the column text" in read_problem({"prompt": "a", "key": key})


@pytest.mark.parametrize(
    "key", [Decimal("1E+999999"), Decimal("1E-999999"), 10**5000], ids=["large", "small", "int"]
)
def test_a_number_with_thousands_of_digits_is_no_key(key: Any) -> None:
    """Fault 13: it must not end the batch either."""
    assert read_problem({"prompt": "a", "key": key})


@pytest.mark.parametrize(
    ("first", "second"), [("कि", "की"), ("ที่", "ที้"), ("நா", "நி"), ("כִּ", "כֵּ"), ("ก้า", "ก่า")]
)
def test_keys_that_differ_in_a_combining_mark_have_different_file_names(
    first: str, second: str
) -> None:
    """Fault 25: keys in Hindi and Thai were cut to pieces, and collided."""
    rows = read_all_rows([{"prompt": "a", "key": key} for key in (first, second)])
    assert [(row.key, row.problem) for row in rows] == [(first, None), (second, None)]
    assert [safe_name(row.key) for row in rows] == [first, second]


@pytest.mark.parametrize("key", ["Stühlchen", "が", "é", "각"])
def test_a_key_has_one_form_whatever_program_wrote_it(key: str) -> None:
    """Fault 25: macOS writes decomposed letters, and other systems composed ones."""
    decomposed = unicodedata.normalize("NFD", key)
    assert decomposed != key
    assert read_valid_row({"prompt": "a", "key": decomposed}).key == key
    assert safe_name(decomposed) == key


def test_a_repeated_key_keeps_its_name_and_has_the_line_of_the_file(tmp_path: Path) -> None:
    """Fault 26: the row was called ``row-1``, and nobody found it in the file."""
    path = write_file(tmp_path, "rows.csv", b"key,prompt\nA,a\nA,b\n,c\n")
    first, second, third = read_all_rows(path)
    assert (first.key, first.problem) == ("A", None)
    assert second.key == "A"
    assert (second.problem or "").startswith("line 3: key 'A' is taken by line 2.")
    assert (third.key, third.problem) == ("row-4", "line 4: key is empty")
