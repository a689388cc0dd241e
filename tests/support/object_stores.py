"""Real object-store servers on loopback, and stores in them that a test can inspect."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import requests

from tests.support.cluster.processes import free_port, wait_until

# The account that every azurite has; its key is published.
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_NPM_FOLDERS = (
    os.environ.get("FLUX_TESTS_NPM"),
    Path(__file__).resolve().parents[2] / ".venv" / "npm",
)
_START_SECONDS = 60
_STOP_SECONDS = 10


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto while the block lasts; yield its URL."""
    port = free_port()
    with _running(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port
    ) as url:
        yield url


@contextmanager
def azure_server() -> Iterator[str]:
    """Run azurite's blob service, in memory, while the block lasts; yield its URL."""
    script, port = azurite(), free_port()
    if script is None:
        raise FileNotFoundError("azurite, or node to run it with, is not installed")
    options = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with _running(
        ["node", str(script), "--blobHost", "127.0.0.1", "--blobPort", str(port), *options], port
    ) as url:
        yield url


@contextmanager
def gcs_server() -> Iterator[str]:
    """Run gcp-storage-emulator, in memory, while the block lasts; yield its URL."""
    port = free_port()
    options = ["-H", "127.0.0.1", "--port", str(port), "--in-memory", "--quiet"]
    with _running([sys.executable, "-m", "gcp_storage_emulator", "start", *options], port) as url:
        yield url


def azurite() -> Path | None:
    """Return azurite's script for the blob service; ``None`` if it cannot run here."""
    scripts = [
        Path(folder, "node_modules/azurite/dist/src/blob/main.js")
        for folder in _NPM_FOLDERS
        if folder
    ]
    return next((script for script in scripts if script.is_file() and shutil.which("node")), None)


def s3_connection(url: str) -> str:
    """Return the Airflow connection to an S3 server."""
    extra = {"region_name": "us-east-1", "endpoint_url": url}
    return json.dumps({"conn_type": "aws", "login": "test", "password": "testtest", "extra": extra})


def azure_connection(url: str) -> str:
    """Return the Airflow connection to an azurite."""
    return json.dumps(
        {"conn_type": "wasb", "extra": {"connection_string": _azure_connection_string(url)}}
    )


def gcs_connection(url: str) -> str:
    """Return the Airflow connection to a gcp-storage-emulator."""
    extra = {"project": "p", "is_anonymous": True, "gcs.endpoint": url}
    return json.dumps({"conn_type": "google_cloud_platform", "extra": extra})


class Stat(NamedTuple):
    """The properties of an object on its server. A local file has none of them."""

    content_type: str | None = None
    metadata: dict[str, str] = {}
    cache_control: str | None = None


class Store(ABC):
    """A folder in a store, inspected without fsspec and without the package."""

    scheme: ClassVar[str]
    #: What every URI of the store begins with; no slash at its end.
    root: str

    @abstractmethod
    def stat(self, uri: str) -> Stat:
        """Return the properties of an object; fail if there is none."""

    @abstractmethod
    def read(self, uri: str) -> bytes | None:
        """Return the bytes of an object; ``None`` if there is none."""

    @abstractmethod
    def all_names(self) -> list[str]:
        """Return the names of all objects below the root, relative to it, in order."""

    def names(self) -> list[str]:
        """Return the names without those of the ledger."""
        return [name for name in self.all_names() if "_flux/ledger/" not in name]


class FileStore(Store):
    """A local folder."""

    scheme = "file"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = f"file://{folder}"

    def stat(self, uri: str) -> Stat:
        assert self._path(uri).is_file(), uri
        return Stat()

    def read(self, uri: str) -> bytes | None:
        path = self._path(uri)
        return path.read_bytes() if path.is_file() else None

    def all_names(self) -> list[str]:
        return sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file()
        )

    @staticmethod
    def _path(uri: str) -> Path:
        return Path(uri.removeprefix("file://"))


class BucketStore(Store):
    """A folder in a bucket of the server at ``url``."""

    conn_id: ClassVar[str]

    def __init__(self, url: str, bucket: str = "media") -> None:
        self.url, self.bucket = url, bucket
        self.prefix = f"{uuid4().hex[:12]}/"
        self.root = self.root_by(self.conn_id)

    @staticmethod
    @abstractmethod
    def connection(url: str) -> str:
        """Return the Airflow connection to the server or to a proxy before it."""

    def root_by(self, conn_id: str) -> str:
        """Return the root with another connection in it."""
        return f"{self.scheme}://{conn_id}@{self.bucket}/{self.prefix}".rstrip("/")

    @abstractmethod
    def make_bucket(self) -> None:
        """Create the bucket if it does not exist."""

    @abstractmethod
    def _keys(self) -> list[str]: ...

    def all_names(self) -> list[str]:
        return sorted(key.removeprefix(self.prefix) for key in self._keys())

    def _key(self, uri: str) -> str:
        location, _, key = uri.partition(f"@{self.bucket}/")
        assert location.startswith(f"{self.scheme}://"), f"{uri} is not in {self.root}"
        return key


class S3Store(BucketStore):
    """A folder in a bucket of an S3 server."""

    scheme = "s3"
    conn_id = "aws_lab"
    connection = staticmethod(s3_connection)

    @cached_property
    def client(self) -> Any:
        """The client of boto3."""
        import boto3

        keys = {
            "aws_access_key_id": "test",
            "aws_secret_access_key": "testtest",
            "region_name": "us-east-1",
        }
        return boto3.client("s3", endpoint_url=self.url, **keys)

    def make_bucket(self) -> None:
        self.client.create_bucket(Bucket=self.bucket)

    def stat(self, uri: str) -> Stat:
        response = self.client.head_object(Bucket=self.bucket, Key=self._key(uri))
        return Stat(response["ContentType"], response["Metadata"], response.get("CacheControl"))

    def read(self, uri: str) -> bytes | None:
        try:
            content: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(uri))[
                "Body"
            ].read()
        except self.client.exceptions.NoSuchKey:
            return None
        return content

    def _keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix
        )
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


class CephStore(S3Store):
    """A folder in a versioned bucket behind a Ceph-like proxy, inspected without the proxy."""

    conn_id = "ceph_lab"


class GcsStore(BucketStore):
    """A folder in a bucket of a GCS server. It is inspected by the JSON API over plain HTTP."""

    scheme = "gs"
    conn_id = "gcs_lab"
    connection = staticmethod(gcs_connection)

    def make_bucket(self) -> None:
        response = requests.post(f"{self.url}/storage/v1/b", json={"name": self.bucket}, timeout=60)
        assert response.ok or response.status_code == 409, response.text

    def stat(self, uri: str) -> Stat:
        response = self._get(quote(self._key(uri), safe=""))
        response.raise_for_status()
        item = response.json()
        return Stat(item.get("contentType"), item.get("metadata", {}), item.get("cacheControl"))

    def read(self, uri: str) -> bytes | None:
        response = self._get(quote(self._key(uri), safe=""), alt="media")
        if response.status_code == 404:
            return None
        response.raise_for_status()
        return response.content

    def _keys(self) -> list[str]:
        response = self._get("", prefix=self.prefix)
        response.raise_for_status()
        return [item["name"] for item in response.json().get("items", [])]

    def _get(self, name: str, **query: str) -> requests.Response:
        url = f"{self.url}/storage/v1/b/{self.bucket}/o/{name}".rstrip("/")
        return requests.get(url, params=query, timeout=60)


class AzureStore(BucketStore):
    """A folder in a container of an Azure blob service."""

    scheme = "abfs"
    conn_id = "az_lab"
    connection = staticmethod(azure_connection)

    @cached_property
    def client(self) -> Any:
        """The client of the container."""
        from azure.storage.blob import ContainerClient

        return ContainerClient.from_connection_string(
            _azure_connection_string(self.url), self.bucket
        )

    def make_bucket(self) -> None:
        if not self.client.exists():
            self.client.create_container()

    def stat(self, uri: str) -> Stat:
        response = self.client.get_blob_client(self._key(uri)).get_blob_properties()
        return Stat(
            response.content_settings.content_type,
            response.metadata,
            response.content_settings.cache_control,
        )

    def read(self, uri: str) -> bytes | None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            content: bytes = self.client.download_blob(self._key(uri)).readall()
        except ResourceNotFoundError:
            return None
        return content

    def _keys(self) -> list[str]:
        return list(self.client.list_blob_names(name_starts_with=self.prefix))


def _azure_connection_string(url: str) -> str:
    account = f"AccountName={_AZURE_ACCOUNT};AccountKey={_AZURE_KEY}"
    return f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={url}/{_AZURE_ACCOUNT};"


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[str]:
    """Run a server while the block lasts; yield its URL once it answers."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            if not wait_until(lambda: process.poll() is not None or _answers(url), _START_SECONDS):
                raise TimeoutError(f"{command} does not answer")
            if process.poll() is not None:
                log.seek(0)
                raise RuntimeError(
                    f"{command} ended while starting:\n{log.read().decode(errors='replace')}"
                )
            yield url
        finally:
            _end(process)


def _answers(url: str) -> bool:
    try:
        requests.get(url, timeout=1)
    except requests.RequestException:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
