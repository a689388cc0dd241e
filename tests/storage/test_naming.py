"""Names are checked before anything is paid, and filled in when the image is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.storage.naming import check_output_path, expand


@pytest.mark.parametrize(
    "path",
    [
        "s3://bucket/key.{ext}",
        "s3://aws_default@media/{{ ds }}/hero.{ext}",
        "gs://b/{index:04d}-{request_id}.{ext}",
        "abfs://az@c/{seed}.png",
        "file:///data/{request_id}.{ext}",
        "/data/hero.jpeg",
        "{{ var.value.root }}/hero.{ext}",
        "memory://x/y.png",
    ],
)
def test_paths_that_can_be_written(path: str) -> None:
    assert check_output_path(path) == path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "is empty"),
        (None, "is empty"),
        ("   ", "is empty"),
        ("s3:///key.png", "has no bucket"),
        ("s3://conn@/key.png", "has no bucket"),
        ("s3://bucket", "names a folder"),
        ("s3://bucket/folder/", "names a folder"),
        ("images/hero.png", "is relative"),
        ("s3://bucket/{name}.png", r"unknown placeholder \{name\}.*\{ext\} \{request_id\} \{seed\} \{index\}"),
        ("s3://bucket/{}.png", "unknown placeholder"),
        ("s3://bucket/{ext", "unbalanced braces"),
        ("file://relative/x.png", "is relative"),
        ("/x/{request_id:04d}", "only {index} takes a format"),
        ("/x/{seed:x}", "only {index} takes a format"),
        ("/x/{index:q}", "only {index} takes a format"),
        ("/x/{ext!r}", "only {index} takes a format"),
        ("s3://bucket/../other/x.png", "climbs out"),
        ("s3://bucket/a\nb.png", "line break"),
        ("wasb://c/x.png", "Write abfs://"),
        ("https://example.com/x.png", "Name an object store"),
    ],
)
def test_paths_that_cannot(path: str | None, said: str) -> None:
    with pytest.raises(FluxRequestError, match=said):
        check_output_path(path)


def test_placeholders_are_filled_in() -> None:
    name = expand("s3://b/{index:04d}-{seed}-{request_id}.{ext}", ext="png", request_id="a-1", seed=7, index=3)
    assert name == "s3://b/0003-7-a-1.png"
    assert expand("/x/{seed}.{ext}", ext="png", request_id="a", seed=None, index=0) == "/x/unknown.png"


@pytest.mark.parametrize("path", ["/x/{ext.__class__}", "/x/{ext[0]}", "/x/{ext!z}", "/x/{index:999d}"])
def test_placeholders_are_names_and_nothing_more(path: str) -> None:
    with pytest.raises(FluxRequestError):
        expand(path, ext="png", request_id="a", seed=1, index=0)


@given(st.text())
def test_an_id_of_the_service_cannot_change_the_folder(request_id: str) -> None:
    name = expand("/data/{request_id}.{ext}", ext="png", request_id=request_id, seed=1, index=0)
    assert name.count("/") == 2
    assert ".." not in name
