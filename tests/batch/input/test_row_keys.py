"""Keys of rows."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.landing.output_path import safe_name
from tests.support.batch_inputs import SHORT_TEXT, read_all_rows, read_problem, read_valid_row


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
    for row, key in zip(rows, keys, strict=True):
        text = (key or "").strip()
        if not text:
            assert row.problem == f"index {row.index}: key is empty"
        elif (first := first_by_name.get(safe_name(text))) is not None:
            assert f"is taken by index {first}" in (row.problem or "")
        else:
            assert (row.key, row.problem) == (text, None)
        first_by_name.setdefault(safe_name(row.key), row.index)
    assert len({safe_name(row.key) for row in rows}) == len(rows)


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
