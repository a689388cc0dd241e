"""A cluster whose BFL and whose object store are reached by proxies with checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.cluster.conftest import flux_environment
from tests.support.checkpoint_proxy import Checkpoints
from tests.support.cluster.harness import Cluster
from tests.support.object_stores import S3Store, s3_connection

_AIRFLOW = tuple(map(int, version("apache-airflow").split(".")[:2]))
#: Where the ledger of a task without output_path is.
HAS_TASK_STATE_STORE = _AIRFLOW >= (3, 3)
#: Airflow 3.0 fails a task whose process was killed, whatever its retries; a user has to clear it.
RETRIES_KILLED_TASKS = _AIRFLOW >= (3, 1)

#: A lost worker is noticed within seconds. Workers beat more often than by default in return: they share a machine of
#: few cores with the tests, and a beat that comes late must not pass for a loss.
_QUICK_TO_NOTICE = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
}

#: Of a triggerer that does not beat. What runs elsewhere then, because this machine is slow, must do no harm either.
QUICK_TO_MOVE = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8"}

#: As Airflow is by default. Under load a scheduler that is sooner missed takes itself for dead, and its tasks for lost.
PATIENT = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "300",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "30",
}


@dataclass(frozen=True)
class Site:
    """What a test of crashes has at hand.

    :ivar bfl: the proxy before the emulator.
    :ivar store: the proxy before the S3 server.
    """

    cluster: Cluster
    emulator: EmulatorServer
    bfl: Checkpoints
    store: Checkpoints
    bucket: Bucket

    def submits_of(self, prompt: str) -> int:
        """Return how often a prompt was paid for."""
        return self.emulator.stats()["submits_per_prompt"].get(prompt, 0)


@dataclass(frozen=True)
class Bucket:
    """A bucket, looked into past the proxy and the package."""

    url: str
    name: str

    @cached_property
    def _client(self) -> Any:
        return S3Store(self.url).client

    def make(self, *, versioned: bool = False) -> None:
        """Make it; let it keep all versions of an object if that is wanted."""
        self._client.create_bucket(Bucket=self.name)
        if versioned:
            enabled = {"Status": "Enabled"}
            self._client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration=enabled)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, in order."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def read(self, key: str) -> bytes:
        """Return an object."""
        return bytes(self._client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def versions(self, key: str) -> int:
        """Return how often an object was written."""
        said = self._client.list_object_versions(Bucket=self.name, Prefix=key)
        return sum(one["Key"] == key for one in said.get("Versions", []))

    def key_of(self, uri: str) -> str:
        """Return the key in a URI such as ``s3://conn@bucket/key``."""
        before, _, key = uri.partition(f"@{self.name}/")
        assert before.startswith("s3://"), uri
        return key


@contextmanager
def open_site(
    folder: Path,
    dag_file: str,
    s3: str,
    *,
    bucket: str = "media",
    versioned: bool = False,
    config: EmulatorConfig | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """Start a cluster of two triggerers for one DAG file, which lands in ``s3://my_s3@<bucket>/``."""
    (folder / "dags").mkdir()
    (folder / "dags" / "dags.py").write_text(dag_file)
    place = Bucket(s3, bucket)
    place.make(versioned=versioned)
    with ExitStack() as stack:
        emulator = stack.enter_context(
            EmulatorServer(config or EmulatorConfig(latency=3, credits=1_000_000))
        )
        bfl, store = (
            stack.enter_context(Checkpoints(emulator.url)),
            stack.enter_context(Checkpoints(s3)),
        )
        flux = json.loads(flux_environment(emulator, folder)["AIRFLOW_CONN_FLUX_DEFAULT"])
        environment = {
            "AIRFLOW_CONN_FLUX_DEFAULT": json.dumps({**flux, "host": bfl.url}),
            "AIRFLOW_CONN_MY_S3": s3_connection(store.url),
            **_QUICK_TO_NOTICE,
            **(env or {}),
        }
        cluster = Cluster(folder, folder / "dags", triggerers=2, parallelism=16, env=environment)
        yield Site(stack.enter_context(cluster), emulator, bfl, store, place)
