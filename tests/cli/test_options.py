"""Values of options, before a command runs."""

from __future__ import annotations

import pytest

from airflow_provider_flux.cli.options import names, seed


def test_a_seed_is_a_whole_number_or_stable() -> None:
    assert seed(" Stable ") == "stable"
    assert seed("7") == 7


@pytest.mark.parametrize("text", ["fixed", "-1", "1.5", ""])
def test_another_seed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        seed(text)


def test_names_of_columns_to_keep_are_separated_by_commas_or_all() -> None:
    assert names("all") == "all"
    assert names(" a, b,,c ") == ["a", "b", "c"]
    assert names("") == []
