"""The names of rejected images, which never replace another image."""

from __future__ import annotations

import pytest

from airflow_provider_flux.landing.output_path import fixed_folder
from airflow_provider_flux.landing.rejection import rejected_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://b/x/{key}.{ext}", "s3://b/x/rejected/{key}-{request_id}.{ext}"),
        ("s3://b/{key}.{ext}", "s3://b/rejected/{key}-{request_id}.{ext}"),
        ("/data/{model}/{key}.png", "/data/rejected/{model}/{key}-{request_id}.png"),
        ("/data/{key}", "/data/rejected/{key}-{request_id}"),
        ("/data/{index:04d}.{ext}", "/data/rejected/{index:04d}-{request_id}.{ext}"),
        ("/data/{request_id}.{ext}", "/data/rejected/{request_id}.{ext}"),
        ("/data/v1.2/{key}/image", "/data/v1.2/rejected/{key}/image-{request_id}"),
        ("/data/a.{key}.{ext}", "/data/rejected/a.{key}-{request_id}.{ext}"),
    ],
)
def test_a_rejected_image_has_a_name_of_its_own_below_the_folder_of_the_batch(
    path: str, expected: str
) -> None:
    assert rejected_path(path, f"{fixed_folder(path)}x.jpeg") == expected


def test_a_name_that_would_be_too_long_is_the_request_id_alone() -> None:
    path, name = "/data/{key}.{ext}", f"/data/{'k' * 230}.jpeg"
    assert rejected_path(path, name) == "/data/rejected/{request_id}.{ext}"
