"""Stores that can compare and swap an object, each behind a proxy that can lose its answers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import pytest

from airflow_provider_flux.object_store.filesystem import open_path
from tests.support.answering_proxy import AnsweringProxy
from tests.support.object_stores import AzureStore, BucketStore, FileStore, GcsStore, S3Store, Store

_NAME = re.compile(rb'"name": "([^"]*)"')
_KINDS: dict[str, tuple[str, type[BucketStore]]] = {
    "s3": ("s3", S3Store),
    "gs": ("gcs", GcsStore),
    "abfs": ("azure", AzureStore),
}


class GcsPreconditionProxy(AnsweringProxy):
    """A proxy before gcp-storage-emulator that heeds generations, as GCS does.

    It asks the emulator for the generation before each upload with a condition. One request at a
    time is passed on, so nothing comes between the question and the upload.
    """

    def judge_in_turn(self, method: str, path: str, body: bytes) -> tuple[int, str] | None:
        """Refuse an upload whose condition is not true, and a read of an old generation."""
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        bucket, _, rest = parts.path.partition("/b/")[2].partition("/o")
        if method == "POST" and "ifGenerationMatch" in query:
            found = _NAME.search(body)
            assert found is not None, body[:200]
            current = self._generation(bucket, quote(found[1].decode(), safe=""))
            is_met = current == query["ifGenerationMatch"][0]
            return None if is_met else (412, "conditionNotMet")
        if method == "GET" and "generation" in query:
            current = self._generation(bucket, rest.removeprefix("/"))
            return None if current == query["generation"][0] else (404, "notFound")
        return None

    def _generation(self, bucket: str, name: str) -> str:
        link = self.open_link()
        link.request("GET", f"/storage/v1/b/{bucket}/o/{name}")
        answer = link.getresponse()
        content = answer.read()
        link.close()
        return str(json.loads(content)["generation"]) if answer.status == 200 else "0"


@dataclass(frozen=True)
class ConditionalStore:
    """An empty folder in a store, which is open.

    :param root: its URI.
    :param store: the store, inspected without the package and without the proxy.
    :param proxy: the proxy; ``None`` for a local disk.
    """

    root: str
    store: Store
    proxy: AnsweringProxy | None

    def uri(self, name: str = "state.json") -> str:
        """Return the URI of an object.

        :param name: its name in the folder.
        """
        return f"{self.root}/{name}"

    def read(self, name: str = "state.json") -> bytes | None:
        """Return the bytes of an object, read without the package."""
        return self.store.read(self._inside(name))

    def _inside(self, name: str) -> str:
        return f"{self.store.root}/{name}"


@contextmanager
def conditional_store(kind: str, request: pytest.FixtureRequest) -> Iterator[ConditionalStore]:
    """Yield an empty folder of a kind of store: ``file``, ``s3``, ``gs`` or ``abfs``.

    :param kind: scheme of the store.
    :param request: of the test or fixture, for the servers.
    """
    if kind == "file":
        folder: Path = request.getfixturevalue("tmp_path") / "shared"
        folder.mkdir()
        open_path(str(folder))
        yield ConditionalStore(str(folder), FileStore(folder), None)
        return
    server, store_class = _KINDS[kind]
    url = request.getfixturevalue(server)
    store = store_class(url)
    store.make_bucket()
    conn_id = f"{kind}_{uuid4().hex[:12]}"
    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    proxy_class = GcsPreconditionProxy if kind == "gs" else AnsweringProxy
    with proxy_class(url) as proxy:
        os.environ[name] = store.connection(proxy.url)
        try:
            root = store.root_by(conn_id)
            open_path(root)
            yield ConditionalStore(root, store, proxy)
        finally:
            del os.environ[name]
