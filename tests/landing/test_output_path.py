"""Checks of ``output_path`` before the submit, and its placeholders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.landing.output_path import (
    check_output_path,
    columns_in,
    fill_columns,
    fill_placeholders,
    fixed_folder,
    has_distinct_names,
)


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
def test_an_output_path_that_names_a_file_is_accepted(path: str) -> None:
    assert check_output_path(path) == path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "is empty"),
        (None, "is empty"),
        ("   ", "is empty"),
        ("s3:///key.png", "has no bucket"),
        ("s3://conn@/key.png", "has no bucket"),
        ("s3://bucket", "names a folder"),
        ("s3://bucket/folder/", "names a folder"),
        ("images/hero.png", "is relative"),
        (
            "s3://bucket/{name}.png",
            r"unknown placeholder \{name\}.*\{key\} \{index\} \{request_id\} \{seed\}",
        ),
        ("s3://bucket/{}.png", "unknown placeholder"),
        ("s3://bucket/{ext", "unbalanced braces"),
        ("file://relative/x.png", "is relative"),
        ("/x/{request_id:04d}", "Only {index} takes a format"),
        ("/x/{seed:x}", "Only {index} takes a format"),
        ("/x/{index:q}", "Only {index} takes a format"),
        ("/x/{ext!r}", "Only {index} takes a format"),
        ("s3://bucket/../other/x.png", "leaves its folder"),
        ("s3://bucket/a\nb.png", "line break"),
        ("wasb://c/x.png", "Write abfs://"),
        ("S3://bucket/x.png", "lower case"),
        ("s3://bucket/a?versionId=1.png", "another name"),
        ("abfs://bucket/a\\b.png", "another name"),
        ("s3://bucket/a/./b.png", "a folder '.'"),
        ("s3://bucket/./b.png", "a folder '.'"),
        ("file:///data/x#/../../evil.png", "leaves its folder"),
        ("s3://bucket/x?/../evil.png", "leaves its folder"),
        ("abfs://media@account.dfs.core.windows.net/x.png", "names an Azure host"),
        ("https://example.com/x.png", "Use an object store"),
    ],
)
def test_an_output_path_that_cannot_be_written_is_refused(path: str | None, message: str) -> None:
    with pytest.raises(FluxRequestError, match=message):
        check_output_path(path)


VALUES = {
    "ext": "png",
    "request_id": "a-1",
    "seed": 7,
    "index": 3,
    "key": "shoe/1 ü",
    "model": "flux-tools/erase-v1",
}


def test_placeholders_of_an_output_path_are_filled_in() -> None:
    name = fill_placeholders("s3://b/{index:04d}-{seed}-{request_id}.{ext}", VALUES)
    assert name == "s3://b/0003-7-a-1.png"
    assert fill_placeholders("/x/{seed}.{ext}", {**VALUES, "seed": None}) == "/x/unknown.png"
    assert fill_placeholders("/x/{model}/{key}", VALUES) == "/x/flux-tools_erase-v1/shoe_1_ü"


@pytest.mark.parametrize(
    "path", ["/x/{ext.__class__}", "/x/{ext[0]}", "/x/{ext!z}", "/x/{index:999d}"]
)
def test_a_placeholder_with_attributes_or_indexes_is_refused(path: str) -> None:
    with pytest.raises(FluxRequestError):
        fill_placeholders(path, VALUES)


@given(st.text(), st.sampled_from(["request_id", "key", "model", "ext"]))
def test_no_value_can_change_the_folder_or_hide_the_file(value: str, name: str) -> None:
    path = fill_placeholders(f"/data/{{{name}}}.png", {**VALUES, name: value})
    assert path.count("/") == 2
    assert ".." not in path.split("/")
    assert not path.startswith("/data/.")
    assert check_output_path(path) == path


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("s3://b/images/{{ ds }}/hero.{ext}", "s3://b/images/"),
        ("s3://c@b/{key}.{ext}", "s3://c@b/"),
        ("/data/hero.png", "/data/"),
        ("file:///data/x{index}.png", "file:///data/"),
        ("{{ var.value.root }}/hero.{ext}", ""),
        ("s3://{{ params.bucket }}/hero.{ext}", ""),
        ("file:///{{ ds }}/hero.{ext}", ""),
    ],
)
def test_the_fixed_folder_ends_before_the_first_template_or_placeholder(
    path: str, root: str
) -> None:
    assert fixed_folder(path) == root


def test_some_placeholders_give_each_image_its_own_name_and_some_may() -> None:
    assert has_distinct_names("/x/{model}.{ext}") is False
    assert all(
        has_distinct_names(f"/x/{{{name}}}.png")
        for name in ("key", "index", "request_id", "sha256")
    )
    # one seed, or one request made twice, may be that of all
    assert [has_distinct_names(f"/x/{{{name}}}.png") for name in ("seed", "fingerprint")] == [
        None,
        None,
    ]


@pytest.mark.parametrize(
    "path",
    [
        "file://{{ var.value.base }}/x.jpeg",
        "file://{{ var.value.base }}",
        "s3://{{ var.value.base }}",
        "local://{% if a %}/a{% endif %}/x.jpeg",
    ],
)
def test_a_template_behind_the_scheme_may_bring_the_root(path: str) -> None:
    """Fault 28: such a path was called relative when the DAG was parsed."""
    assert check_output_path(path) == path


@pytest.mark.parametrize("path", ["file:///tmp/\ud800.jpeg", "s3://b/\udfff/x.jpeg"])
def test_a_path_with_a_lone_surrogate_is_refused(path: str) -> None:
    """Fault 28: no store can keep such a name."""
    with pytest.raises(FluxRequestError, match="control character"):
        check_output_path(path)


class TestColumns:
    PATH = "s3://bucket/{{ ds }}/{category}/{main colour}/{index:04d}-{key}.{ext}"

    def test_a_declared_column_is_a_placeholder(self) -> None:
        assert check_output_path(self.PATH, ["category", "main colour"]) == self.PATH
        assert check_output_path(self.PATH, None) == self.PATH
        assert columns_in(self.PATH) == ["category", "main colour"]

    def test_another_column_is_an_unknown_placeholder_with_a_hint(self) -> None:
        with pytest.raises(FluxRequestError, match=r"\{category\}.*\{sku\}.* with keep_columns"):
            check_output_path("/x/{category}.{ext}", ["sku"])

    @pytest.mark.parametrize("field", ["{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{}"])
    def test_a_column_is_a_plain_name(self, field: str) -> None:
        with pytest.raises(FluxRequestError):
            check_output_path(f"/x/{field}.{{ext}}", None)

    @pytest.mark.parametrize(
        "path", ["s3://{a}/{key}.{ext}", "/{a}/{key}.{ext}", "file:///{a}.{ext}", "s3://x@{a}/b"]
    )
    def test_a_column_chooses_no_bucket_and_no_first_folder(self, path: str) -> None:
        with pytest.raises(FluxRequestError, match="begins with no folder"):
            check_output_path(path, ["a"])

    def test_a_path_with_columns_may_give_each_row_its_own_name(self) -> None:
        assert has_distinct_names("/x/{category}.{ext}") is None

    @given(st.text(max_size=200))
    def test_the_value_of_a_column_is_one_part_of_a_name(self, value: str) -> None:
        path = fill_columns("/x/{category}/{index:04d}-{key}.{ext}", {"category": value})
        assert path.endswith("/{index:04d}-{key}.{ext}")
        assert path.count("/") == 3
        assert path.count("{") == 3
        assert "/.." not in path
        assert check_output_path(path) == path

    def test_a_built_in_placeholder_is_never_that_of_a_column(self) -> None:
        assert fill_columns("/x/{key}.{ext}", {"key": "a", "ext": "exe"}) == "/x/{key}.{ext}"
