"""URIs of a stranger, and the folder below which they must stay."""

from __future__ import annotations

import pytest

from airflow_provider_flux.landing.below_root import is_below

ROOTS = ["s3://aws_lab@media/shop/", "gs://media/shop/", "abfs://az@media/shop/", "/tmp/shop/"]


@pytest.mark.parametrize("root", ROOTS)
def test_an_object_below_the_folder_is_below_it(root: str) -> None:
    assert is_below(f"{root}a/hero.jpeg", root)


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "%2e%2e/a", "%252e%252e/a", "a\\b", "a\0b", "a\nb", "a?versionId=1", ""],
)
def test_a_name_that_a_store_may_read_as_another_is_not_below_it(root: str, name: str) -> None:
    assert not is_below(f"{root}{name}", root)


@pytest.mark.parametrize("root", ROOTS)
def test_a_name_with_half_a_character_is_not_below_it(root: str) -> None:
    assert not is_below(f"{root}\ud800.jpeg", root)


def test_nothing_is_below_an_empty_folder() -> None:
    assert not is_below("s3://media/hero.jpeg", "")
