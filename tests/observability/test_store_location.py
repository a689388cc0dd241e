"""Names of files in lineage, and in the consoles of object stores."""

from __future__ import annotations

import json

import pytest

from airflow_provider_flux.observability.store_location import console_url, dataset_name

SIGNED = "https://host.example/folder/input.png?sig=canary&se=1"


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("s3://my_conn@bucket/a/b.jpeg", "s3://bucket", "a/b.jpeg"),
        ("s3a://bucket/a/", "s3://bucket", "a"),
        ("s3://key:secret@bucket/x", "s3://bucket", "x"),
        ("gs://my_conn@bucket/a.jpeg", "gs://bucket", "a.jpeg"),
        ("gs://bucket", "gs://bucket", "/"),
        ("file:///data/a.jpeg", "file", "/data/a.jpeg"),
        ("/data/rows.csv", "file", "/data/rows.csv"),
        (
            "abfss://images@shop.dfs.core.windows.net/a.jpeg",
            "abfss://images@shop.dfs.core.windows.net",
            "a.jpeg",
        ),
        ("abfs://images/a.jpeg", "abfss://images", "a.jpeg"),
        (SIGNED, "https://host.example", "folder/input.png"),
        ("https://user:canary@host.example/x#frag", "https://host.example", "x"),
        ("hdfs://namenode:8020/a/b.png", "hdfs://namenode:8020", "a/b.png"),
    ],
)
def test_a_dataset_has_the_name_of_the_naming_spec_without_secret_and_connection(
    uri: str, namespace: str, name: str
) -> None:
    assert dataset_name(uri) == (namespace, name)


@pytest.mark.parametrize(
    "connection",
    [
        {"conn_type": "wasb", "login": "shop"},
        {"conn_type": "wasb", "host": "shop.blob.core.windows.net", "login": "client-id"},
        {"conn_type": "wasb", "host": "https://shop.blob.core.windows.net/"},
        {"conn_type": "adls", "extra": {"account_name": "shop"}},
    ],
)
def test_the_account_of_an_azure_dataset_comes_from_its_connection(
    connection: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_LINEAGE", json.dumps(connection))
    namespace, name = dataset_name("abfs://azure_lineage@images/a.jpeg")
    assert (namespace, name) == ("abfss://images@shop.dfs.core.windows.net", "a.jpeg")


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        (
            "s3://bucket/a b/hero.jpeg",
            "https://console.aws.amazon.com/s3/object/bucket?prefix=a%20b/hero.jpeg",
        ),
        ("s3://bucket/a/", "https://console.aws.amazon.com/s3/buckets/bucket?prefix=a/"),
        (
            "gs://conn@bucket/a?b.jpeg",
            "https://console.cloud.google.com/storage/browser/_details/bucket/a%3Fb.jpeg",
        ),
        ("gs://bucket/a/", "https://console.cloud.google.com/storage/browser/bucket/a/"),
        ("abfs://images/a.jpeg", None),
        ("file:///data/a.jpeg", None),
        ("/data/a.jpeg", None),
        ("s3://key:secret@bucket/x", "https://console.aws.amazon.com/s3/object/bucket?prefix=x"),
    ],
)
def test_a_console_shows_files_of_its_own_store_only(uri: str, url: str | None) -> None:
    assert console_url(uri) == url


@pytest.mark.parametrize(
    ("extra", "start"),
    [
        ({"endpoint_url": "http://minio:9000"}, None),
        ({"service_config": {"s3": {"endpoint_url": "http://minio:9000"}}}, None),
        ({"endpoint_url": "https://s3.eu-central-1.amazonaws.com"}, "https://console.aws."),
        ({"region_name": "cn-north-1"}, "https://console.amazonaws.cn/"),
        ({"region_name": "us-gov-west-1"}, "https://console.amazonaws-us-gov.com/"),
    ],
)
def test_the_aws_console_is_that_of_the_connection(
    extra: dict[str, object], start: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "aws", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_LINKS", json.dumps(connection))
    url = console_url("s3://aws_links@bucket/a.jpeg")
    assert (url is None) if start is None else (url or "").startswith(start)


def test_a_link_needs_no_connection_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert console_url("s3://no_such_connection@bucket/a.jpeg") == (
        "https://console.aws.amazon.com/s3/object/bucket?prefix=a.jpeg"
    )
