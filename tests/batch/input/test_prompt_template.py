"""The template of prompts: plain names of columns, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.batch.input.prompt_template import PromptTemplate
from airflow_provider_flux.bfl.errors import FluxRequestError


def test_a_prompt_has_the_texts_of_its_columns() -> None:
    template = PromptTemplate.parse("Photo of {name}, {main colour}, {name} {{raw}}")
    assert template.columns == ("name", "main colour")
    assert template.fill({"name": "a door", "main colour": "red"}) == (
        "Photo of a door, red, a door {raw}"
    )


@pytest.mark.parametrize(
    "text",
    [
        *("{name.upper}", "{name[0]}", "{name!r}", "{name:>9}", "{}", "{.x}", "{a{b}}"),
        *("{name", "name}", "{name!}", "{a:{b}}", "{{}", "", "  ", None, 7, ["{name}"]),
    ],
)
def test_a_template_with_anything_but_plain_names_is_refused(text: Any) -> None:
    with pytest.raises(FluxRequestError, match=r"^prompt="):
        PromptTemplate.parse(text)


@given(st.text("{}!:.[]ab", max_size=12) | st.text(max_size=12))
def test_any_text_is_a_template_or_refused_by_one_error(text: str) -> None:
    try:
        template = PromptTemplate.parse(text)
    except FluxRequestError:
        return
    cells = dict.fromkeys(template.columns, "<cell>")
    assert template.fill(cells).count("<cell>") >= len(cells)


@given(st.text(max_size=20))
def test_the_text_of_a_cell_is_inserted_as_it_is(cell: str) -> None:
    template = PromptTemplate.parse("a {x} b {y}")
    assert template.fill({"x": cell, "y": "{x}"}) == f"a {cell} b {{x}}"
