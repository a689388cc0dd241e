"""A cluster that reaches the emulator and the object store through proxies with checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.cluster.conftest import flux_environment
from tests.support.airflow_names import AIRFLOW
from tests.support.checkpoint_proxy import CheckpointProxy
from tests.support.cluster.harness import Cluster
from tests.support.object_stores import S3Store, s3_connection

#: Whether Airflow has the store that keeps the ledger of a task without output_path.
HAS_TASK_STATE_STORE = AIRFLOW >= (3, 3)
#: Whether Airflow retries a task whose process was killed. Airflow 3.0 fails it, and a user has to
#: clear it.
RETRIES_KILLED_TASKS = AIRFLOW >= (3, 1)

#: The scheduler notices a lost worker within a minute. In return, workers send more heartbeats than
#: by default: they share few cores with the tests, and a late heartbeat must not count as a loss.
_FAST_LOSS_DETECTION = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
}

#: Triggers move within seconds from a triggerer without heartbeats to another one. On a slow
#: machine they move needlessly, which must do no harm either.
FAST_TRIGGER_FAILOVER = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8"}

#: The thresholds that Airflow has by default. With shorter ones, a scheduler under load takes
#: itself for dead and its tasks for lost.
DEFAULT_THRESHOLDS = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "300",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "30",
}


@dataclass(frozen=True)
class Site:
    """The parts that a test of crashes uses.

    :ivar cluster: the Airflow deployment.
    :ivar emulator: the emulator of BFL.
    :ivar bfl: the proxy before the emulator.
    :ivar store: the proxy before the S3 server.
    :ivar bucket: the bucket that the images land in.
    """

    cluster: Cluster
    emulator: EmulatorServer
    bfl: CheckpointProxy
    store: CheckpointProxy
    bucket: Bucket

    def submits_of(self, prompt: str) -> int:
        """Return the number of submits of a prompt."""
        return self.emulator.stats()["submits_per_prompt"].get(prompt, 0)


@dataclass(frozen=True)
class Bucket:
    """A bucket, read without the proxy and without the package.

    :param url: URL of the S3 server.
    :param name: name of the bucket.
    """

    url: str
    name: str

    @cached_property
    def _client(self) -> Any:
        return S3Store(self.url).client

    def make(self, *, versioned: bool = False) -> None:
        """Create the bucket.

        :param versioned: keeps all versions of each object.
        """
        self._client.create_bucket(Bucket=self.name)
        if versioned:
            enabled = {"Status": "Enabled"}
            self._client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration=enabled)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix, sorted."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def read(self, key: str) -> bytes:
        """Return the bytes of an object."""
        return bytes(self._client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def versions(self, key: str) -> int:
        """Return the number of versions of an object."""
        listing = self._client.list_object_versions(Bucket=self.name, Prefix=key)
        return sum(version["Key"] == key for version in listing.get("Versions", []))

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
    celery_workers: int = 0,
    env: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """Start a cluster for one DAG file that lands in ``s3://my_s3@<bucket>/``.

    It has two triggerers, or one beside Celery workers.

    :param folder: a folder for the cluster, which may have a folder ``dags`` with other DAG files.
    :param dag_file: source of the DAG file.
    :param s3: URL of the S3 server.
    :param bucket: name of a new bucket.
    :param versioned: keeps all versions of each object.
    :param config: configuration of the emulator; ``None`` gives a latency of 3 seconds.
    :param celery_workers: number of workers of a CeleryExecutor; 0 for a LocalExecutor.
    :param env: settings that win over those of the cluster.
    """
    (folder / "dags").mkdir(exist_ok=True)
    (folder / "dags" / "dags.py").write_text(dag_file)
    images = Bucket(s3, bucket)
    images.make(versioned=versioned)
    with ExitStack() as stack:
        emulator = stack.enter_context(
            EmulatorServer(config or EmulatorConfig(latency=3, credits=1_000_000))
        )
        bfl, store = (
            stack.enter_context(CheckpointProxy(emulator.url)),
            stack.enter_context(CheckpointProxy(s3)),
        )
        flux = json.loads(flux_environment(emulator, folder)["AIRFLOW_CONN_FLUX_DEFAULT"])
        environment = {
            "AIRFLOW_CONN_FLUX_DEFAULT": json.dumps({**flux, "host": bfl.url}),
            "AIRFLOW_CONN_MY_S3": s3_connection(store.url),
            **_FAST_LOSS_DETECTION,
            **(env or {}),
        }
        cluster = Cluster(
            folder,
            folder / "dags",
            triggerers=1 if celery_workers else 2,
            parallelism=16,
            celery_workers=celery_workers,
            env=environment,
        )
        yield Site(stack.enter_context(cluster), emulator, bfl, store, images)
