"""The setting ``account_path``."""

from __future__ import annotations

import pytest

from airflow_provider_flux.bfl.account_path import check_account_path
from airflow_provider_flux.bfl.errors import FluxConfigurationError

SOURCE = "connection 'flux_default'"


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        (None, None),
        ("", None),
        ("/shared/flux/", "/shared/flux"),
        ("file:///shared/flux", "file:///shared/flux"),
        ("s3://aws_default@bucket/flux", "s3://aws_default@bucket/flux"),
        ("s3://aws_default@bucket", "s3://aws_default@bucket"),
        ("gs://bucket/", "gs://bucket"),
        ("abfs://az@container/a/b", "abfs://az@container/a/b"),
    ],
)
def test_a_folder_is_taken_without_its_last_slash(value: str | None, folder: str | None) -> None:
    assert check_account_path(value, SOURCE) == folder


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (7, "has type int"),
        ("flux", "is neither a URI nor an absolute path"),
        ("./flux", "is neither a URI nor an absolute path"),
        ("/", "is the root of the disk"),
        ("//", "is the root of the disk"),
        ("file:///", "is the root of the disk"),
        ("file://host/flux", "has a host"),
        ("s3://", "names no bucket"),
        ("s3://aws_default@/flux", "names no bucket"),
        ("s3://AKIA:secret/with@bucket/flux", "has credentials in it"),
        ("s3://AKIA:secret@bucket/flux", "has credentials in it"),
        ("s3://bucket/a/../b", "has a part '..'"),
        ("s3://bucket/%2e%2e/b", "has a part '..'"),
        ("s3://bucket/a?versionId=1", "a character that is not allowed"),
        ("s3://bucket/{{ ds }}", "a character that is not allowed"),
        ("s3://bucket/a\nb", "a character that is not allowed"),
        (" /shared", "has a space around it"),
        ("/shared/" + "x" * 700, "is longer than 700 bytes"),
    ],
)
def test_anything_else_is_refused_with_the_way_out(value: object, problem: str) -> None:
    with pytest.raises(FluxConfigurationError) as caught:
        check_account_path(value, SOURCE)
    message = str(caught.value)
    assert message.startswith("account_path=")
    assert f"in {SOURCE}" in message
    assert problem in message
    assert "s3://aws_default@my-bucket/flux" in message
    assert "secret" not in message
    assert len(message) < 500
    assert "\n" not in message
