"""The private names of other packages that this package uses exist, with the expected arguments."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from adlfs import AzureBlobFileSystem
from fsspec.asyn import AsyncFileSystem, get_loop
from fsspec.implementations.memory import MemoryFileSystem
from gcsfs import GCSFileSystem
from gcsfs.core import simple_upload
from s3fs import S3FileSystem

from airflow_provider_flux.object_store import fsspec_adapter

#: A function, and the names of its arguments that the adapter passes, in their order.
PINNED: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "S3FileSystem._pipe_file": (S3FileSystem._pipe_file, ["path", "data", "chunksize", "mode"]),
    "GCSFileSystem._pipe_file": (
        GCSFileSystem._pipe_file,
        ["path", "data", "metadata", "content_type", "fixed_key_metadata", "mode"],
    ),
    "gcsfs.core.simple_upload": (
        simple_upload,
        [
            *("fs", "bucket", "key", "datain", "metadatain", "content_type"),
            *("fixed_key_metadata", "mode", "kms_key_name"),
        ],
    ),
    "S3FileSystem._call_s3": (S3FileSystem._call_s3, ["method"]),
    "GCSFileSystem._call": (GCSFileSystem._call, ["method", "path"]),
    "S3FileSystem._put_file": (S3FileSystem._put_file, ["lpath", "rpath", "chunksize"]),
    "GCSFileSystem._put_file": (
        GCSFileSystem._put_file,
        ["lpath", "rpath", "content_type", "chunksize"],
    ),
}
#: Coroutines that :func:`fsspec_adapter.call` awaits, with the number of arguments it passes.
CALLED = ["_cat_file", "_info", "_find"]


@pytest.mark.parametrize("name", PINNED)
def test_a_private_function_takes_the_arguments_that_the_adapter_passes(name: str) -> None:
    function, expected = PINNED[name]
    assert inspect.iscoroutinefunction(function)
    parameters = inspect.signature(function).parameters
    takes_any = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    named = [parameter for parameter in parameters if parameter in expected]
    missing = [parameter for parameter in expected if parameter not in parameters]
    assert named[:2] == expected[:2]
    assert not missing or takes_any, missing


@pytest.mark.parametrize("kind", [S3FileSystem, GCSFileSystem, AzureBlobFileSystem])
@pytest.mark.parametrize("name", CALLED)
def test_a_filesystem_has_the_coroutine_that_the_adapter_awaits(kind: Any, name: str) -> None:
    function = getattr(kind, name)
    assert inspect.iscoroutinefunction(function)
    assert list(inspect.signature(function).parameters)[1] == "path"


@pytest.mark.parametrize("kind", [GCSFileSystem, AzureBlobFileSystem])
def test_a_filesystem_splits_a_path_into_three_parts(kind: Any) -> None:
    fs = kind.__new__(kind)
    fs.version_aware = False
    parts = fs.split_path("bucket/a/b.png")
    assert len(parts) == 3
    assert tuple(parts)[:2] == ("bucket", "a/b.png")


def test_a_filesystem_of_azure_names_the_parent_folder_whose_listing_is_cached() -> None:
    assert AzureBlobFileSystem._parent("container/a/b.png").rstrip("/") == "container/a"
    assert "self.service_client" in inspect.getsource(AzureBlobFileSystem.do_connect)


def test_a_filesystem_of_gcs_names_its_endpoint_and_passes_on_what_an_upload_needs() -> None:
    fs = GCSFileSystem(token="anon", endpoint_url="http://127.0.0.1:1", skip_instance_cache=True)
    assert fs._location == "http://127.0.0.1:1"
    assert {"headers", "data"} <= set(inspect.signature(GCSFileSystem._request).parameters)
    assert GCSFileSystem._parent("bucket/a/b.json") == "bucket/a"


def test_the_client_of_s3_knows_the_conditions_of_a_write() -> None:
    """It would leave out an argument that it does not know, and overwrite."""
    client = S3FileSystem(key="a", secret="b", skip_instance_cache=True).s3
    members = client.meta.service_model.operation_model("PutObject").input_shape.members
    assert {"IfMatch", "IfNoneMatch"} <= set(members)


def test_all_asynchronous_filesystems_share_the_loop_of_the_adapter() -> None:
    assert fsspec_adapter.store_loop() is get_loop() is AsyncFileSystem().loop


def test_a_filesystem_without_coroutines_is_called_in_a_thread() -> None:
    fs = MemoryFileSystem()
    fs.pipe_file("/adapter/a.txt", b"text")
    assert asyncio.run(fsspec_adapter.call(fs, "cat_file", "/adapter/a.txt")) == b"text"


def test_the_client_of_an_s3_filesystem_is_made_at_its_first_request() -> None:
    fs = S3FileSystem(endpoint_url="http://127.0.0.1:1", skip_instance_cache=True)
    assert fsspec_adapter.is_s3(fs)
    assert fsspec_adapter.s3_endpoint(fs) is None
    client = fs.s3
    assert fsspec_adapter.s3_endpoint(fs) == "http://127.0.0.1:1"
    fsspec_adapter.renew_s3_client(fs)
    assert fs.s3 is not client
