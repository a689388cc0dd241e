"""The connections of docs/operations/stores.md open a store or write to a real server."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import put, read
from tests.docs.test_docs import blocks, table, text_of
from tests.support.object_stores import AzureStore, GcsStore, S3Store, azure_connection

TEXT = text_of("docs/operations/stores.md")
TRIED = {row[0]: row[2] for row in table(TEXT, "connection")}
_OF_STORE = {"my_s3": "s3", "my_minio": "s3", "my_gcs": "gs", "my_azure": "abfs"}


def shown() -> dict[str, dict[str, Any]]:
    """Return the connections of the page by id."""
    words = [
        word
        for code in blocks(TEXT, "bash")
        for word in shlex.split(code)
        if "AIRFLOW_CONN_" in word
    ]
    pairs = [word.removeprefix("AIRFLOW_CONN_").split("=", 1) for word in words]
    return {name.lower(): json.loads(value) for name, value in pairs}


SHOWN = shown()


def scheme_of(name: str) -> str:
    return next(scheme for prefix, scheme in _OF_STORE.items() if name.startswith(prefix))


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a key file in Google's format with a worthless key."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    ).decode()
    content = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": pem,
        "client_email": "flux-writer@my-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path = tmp_path_factory.mktemp("secrets") / "flux-writer.json"
    path.write_text(json.dumps(content))
    return path


def uri_with(connection: dict[str, Any], scheme: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Define a connection with a fresh id, since Airflow caches stores; return a URI in it."""
    conn_id = f"shown_{uuid4().hex[:12]}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return f"{scheme}://{conn_id}@media/{conn_id}/a.bin"


def write_and_read(uri: str) -> None:
    open_path(uri)
    run_sync(put(uri, b"image bytes", WriteOptions("image/png")))
    assert run_sync(read(uri)) == b"image bytes"


def test_every_connection_of_the_page_is_in_its_table() -> None:
    named = {name for cell in TRIED for name in re.findall(r"my_\w+", cell)}
    assert named == set(SHOWN)


# A role is asked for when the store is opened: it is written with below.
@pytest.mark.parametrize("name", sorted(set(SHOWN) - {"my_s3_role"}))
def test_a_connection_of_the_page_opens_its_store(
    name: str, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = json.loads(
        json.dumps(SHOWN[name]).replace("/secrets/flux-writer.json", str(key_file))
    )
    if name.endswith("_default"):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    scheme = scheme_of(name)
    assert scheme in open_path(uri_with(connection, scheme, monkeypatch)).fs.protocol


@pytest.mark.parametrize("name", ["my_s3", "my_s3_role", "my_s3_instance", "my_minio"])
def test_an_s3_connection_of_the_page_writes(
    name: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    S3Store(s3).make_bucket()
    connection = json.loads(json.dumps(SHOWN[name]))
    connection["extra"] |= {"endpoint_url": s3, "region_name": "us-east-1"}
    connection["extra"]["service_config"] = {"sts": {"endpoint_url": s3}}
    if "login" not in connection:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testtest")
    write_and_read(uri_with(connection, "s3", monkeypatch))


def test_aws_default_may_be_missing(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    S3Store(s3).make_bucket()
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    ambient = {
        "ACCESS_KEY_ID": "test",
        "SECRET_ACCESS_KEY": "testtest",
        "DEFAULT_REGION": "us-east-1",
    }
    for name, value in {**ambient, "ENDPOINT_URL": s3}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    write_and_read("s3://aws_default@media/default/a.bin")


def test_a_gcs_connection_of_the_page_writes(gcs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    GcsStore(gcs).make_bucket()
    connection = json.loads(json.dumps(SHOWN["my_gcs_endpoint"]))
    connection["extra"]["gcs.endpoint"] = gcs
    write_and_read(uri_with(connection, "gs", monkeypatch))


@pytest.mark.parametrize("credential", ["key", "sas"])
def test_an_azure_connection_of_the_page_writes(
    credential: str, azure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AzureStore(azure)
    store.make_bucket()
    string = json.loads(azure_connection(azure))["extra"]["connection_string"]
    if credential == "sas":
        account = dict(part.split("=", 1) for part in string.strip(";").split(";"))
        signature = _sas(account["AccountName"], account["AccountKey"])
        string = f"BlobEndpoint={account['BlobEndpoint']};SharedAccessSignature={signature}"
    connection = json.loads(json.dumps(SHOWN["my_azure_string"]))
    assert "connection_string" in connection["extra"]
    connection["extra"]["connection_string"] = string
    write_and_read(uri_with(connection, "abfs", monkeypatch))


def _sas(account: str, key: str) -> str:
    from datetime import UTC, datetime, timedelta

    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    may = AccountSasPermissions(read=True, write=True, create=True, list=True)
    kinds = ResourceTypes(container=True, object=True)
    return generate_account_sas(account, key, kinds, may, datetime.now(UTC) + timedelta(hours=1))


def test_each_connection_marked_as_written_in_the_table_has_a_test_that_writes() -> None:
    rows = {cell: tried for cell, tried in TRIED.items() if tried.startswith("written")}
    named = {name for cell in rows for name in re.findall(r"my_\w+|aws_default", cell)}
    assert named == {
        "my_s3",
        "my_s3_role",
        "my_s3_instance",
        "aws_default",
        "my_minio",
        "my_gcs_endpoint",
        "my_azure_string",
    }
