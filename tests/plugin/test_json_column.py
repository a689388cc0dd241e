"""Values of JSON columns, which a task of a stranger chose."""

from __future__ import annotations

import pytest

from airflow_provider_flux.plugin.json_column import decode_column


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "a fox", "\ud800", "1" * 5000])
def test_a_text_that_json_cannot_parse_stays_a_text(text: str) -> None:
    assert decode_column(text) == text


def test_json_as_text_and_a_decoded_value_are_the_same() -> None:
    assert decode_column('{"a": [1]}') == decode_column({"a": [1]}) == {"a": [1]}
