"""Alt text of an image, from its prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.report.alt_text import MAX_CHARACTERS, alt_text_of


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Desk lamp of brass", "Desk lamp of brass"),
        ("  Desk\tlamp\n\nof  brass ", "Desk lamp of brass"),
        ("lamp\x00 of\u202e brass\x1b", "lamp of brass"),
        (f"{'word ' * 24}and more words", f"{'word ' * 24}and".strip()),
        (f"{'word, ' * 20}{'x' * 200}", f"{'word, ' * 19}word"),
        ("灯" * 200, "灯" * MAX_CHARACTERS),
        ("", None),
        (" \n", None),
        (None, None),
    ],
)
def test_the_alt_text_is_the_prompt_in_one_line_that_ends_with_a_word(
    prompt: str | None, expected: str | None
) -> None:
    assert alt_text_of(prompt) == expected


@given(st.text())
def test_an_alt_text_is_one_line_of_at_most_125_characters_of_its_prompt(prompt: str) -> None:
    text = alt_text_of(prompt)
    if text is not None:
        assert 0 < len(text) <= MAX_CHARACTERS
        assert len(text.splitlines()) == 1
        assert text == alt_text_of(text)
