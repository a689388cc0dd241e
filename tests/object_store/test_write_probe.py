"""A store that cannot be written is found before the submit, although the ledger is elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxInputError,
    FluxStorageError,
)
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.object_store import write_probe
from airflow_provider_flux.object_store.write_probe import PROBE_NAME
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from tests.support.answering_proxy import AnsweringProxy
from tests.support.ceph_like_proxy import CephLikeProxy
from tests.support.image_task import image_task, run_task, task_context
from tests.support.object_stores import FileStore, S3Store, Store, s3_connection

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin as a process that has proved nothing."""
    monkeypatch.setattr(write_probe, "_PROVED", set())


@pytest.fixture
def proxy(s3: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A proxy before the S3 server, with a folder behind it."""
    S3Store(s3).make_bucket()
    with AnsweringProxy(s3) as proxy:
        conn_id = f"probed_{uuid4().hex[:12]}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", s3_connection(proxy.url))
        proxy.root = f"s3://{conn_id}@media/{conn_id}"
        yield proxy


def test_credentials_that_may_not_write_are_found_before_the_submit(
    emulator: EmulatorServer, ceph_folder: Callable[..., str], tmp_path: Path
) -> None:
    """Fault 38: the image was billed first, and could not be written."""
    task = image_task(f"{ceph_folder('reader')}/{{key}}.{{ext}}", ledger_path=f"{tmp_path}")
    with pytest.raises(FluxStorageError, match=r"AccessDenied, HTTP 403\).*Nothing was submitted"):
        run_task(task)
    assert emulator.stats()["submits"] == 0


def test_a_store_that_refuses_the_form_of_the_write_is_found_before_the_submit(
    emulator: EmulatorServer, ceph_folder: Callable[..., str], tmp_path: Path
) -> None:
    """Fault 38: with trailers, as the user has set them, every write is refused."""
    folder = ceph_folder(config_kwargs={"request_checksum_calculation": "when_supported"})
    task = image_task(f"{folder}/{{key}}.{{ext}}", ledger_path=f"{tmp_path}")
    with pytest.raises(FluxStorageError, match="InvalidArgument, HTTP 400"):
        run_task(task)
    assert emulator.stats()["submits"] == 0


def test_a_batch_finds_a_store_that_it_may_not_write_before_its_first_submit(
    emulator: EmulatorServer, ceph_folder: Callable[..., str], tmp_path: Path
) -> None:
    """Fault 38: a batch submitted its first rows."""
    task = FluxGenerateBatchOperator(
        task_id="hero",
        requests=[{"prompt": "a fox"}],
        output_path=f"{ceph_folder('reader')}/{{key}}.{{ext}}",
        ledger_path=f"{tmp_path}/ledger",
        manifest_path=f"{tmp_path}/manifest.jsonl",
    )
    with pytest.raises(FluxStorageError, match="Nothing was submitted"):
        task.execute(task_context(task))
    assert emulator.stats()["submits"] == 0


@pytest.mark.parametrize("name", ["", "a/{key}"])
def test_a_store_is_probed_by_one_object_that_stays(
    emulator: EmulatorServer, store: Store, tmp_path: Path, name: str
) -> None:
    """Fault 38: the probe is written once, and a second task leaves it as it is."""
    for prompt in ("one", "two"):
        path = f"{store.root}/{name or prompt}.{{ext}}"
        run_task(image_task(path, prompt, ledger_path=f"{tmp_path}/ledger", sidecar=False))
    probes = [one for one in store.all_names() if one.endswith(PROBE_NAME)]
    assert len(probes) == (0 if isinstance(store, FileStore) else 1)


def test_a_ledger_in_the_same_store_needs_no_probe(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    """Fault 38: the record of the intent proves that the store can be written."""
    run_task(image_task(f"{proxy.root}/{{key}}.{{ext}}"))
    assert not [request for request in proxy.received if PROBE_NAME in request]


def test_the_probe_of_a_later_task_costs_one_request_and_needs_no_right_to_read_or_remove(
    emulator: EmulatorServer,
    proxy: AnsweringProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault 38: a bucket with retention, and credentials that may only write."""
    proxy.refuse("DELETE", 403, "AccessDenied", times=99)
    for prompt in ("one", "two"):
        monkeypatch.setattr(write_probe, "_PROVED", set())
        before = len(proxy.received)
        run_task(image_task(f"{proxy.root}/{prompt}.{{ext}}", prompt, ledger_path=f"{tmp_path}"))
    requests = [request for request in proxy.received[before:] if PROBE_NAME in request]
    assert [request.partition(" ")[0] for request in requests] == ["PUT"]


def test_a_policy_for_the_folder_of_the_image_alone_is_enough(
    emulator: EmulatorServer, proxy: AnsweringProxy, tmp_path: Path
) -> None:
    """Fault 38: a probe must not refuse a task that could land its image."""
    proxy.refuse("PUT", 403, "AccessDenied", part=f"{proxy.root.rpartition('/')[2]}/{PROBE_NAME}")
    task = image_task(f"{proxy.root}/{{model}}/x.{{ext}}", ledger_path=f"{tmp_path}")
    task._root = f"{proxy.root}/"
    task.output_path = f"{proxy.root}/monday/{{model}}.{{ext}}"
    assert run_task(task)["image"]
    assert f"monday/{PROBE_NAME}" in " ".join(proxy.received)


def test_a_versioned_bucket_that_ignores_the_condition_keeps_one_version_of_the_probe(
    emulator: EmulatorServer,
    ceph: CephLikeProxy,
    ceph_folder: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault 38: probes must not pile up."""
    ceph.make_versioned_bucket("versioned")
    folder = ceph_folder(bucket="versioned")
    for prompt in ("one", "two", "three"):
        monkeypatch.setattr(write_probe, "_PROVED", set())
        run_task(image_task(f"{folder}/{prompt}.{{ext}}", prompt, ledger_path=f"{tmp_path}"))
    assert len(ceph.versions(f"{folder}/{PROBE_NAME}")) == 1


@pytest.mark.parametrize("argument", ["manifest_path", "ledger_path"])
def test_a_batch_finds_a_missing_bucket_of_its_own_files_before_its_first_submit(
    emulator: EmulatorServer, ceph_folder: Callable[..., str], tmp_path: Path, argument: str
) -> None:
    """Fault 38: the manifest is written last, when all images are billed."""
    paths = {argument: f"{ceph_folder(bucket='nowhere')}/manifest.jsonl"}
    task = FluxGenerateBatchOperator(
        task_id="hero",
        requests=[{"prompt": "a fox"}],
        output_path=f"{tmp_path}/{{key}}.{{ext}}",
        **paths,
    )
    with pytest.raises((FluxConfigurationError, FluxStorageError, AirflowFailException)) as caught:
        task.execute(task_context(task))
    assert "nowhere" in str(caught.value)
    assert emulator.stats()["submits"] == 0


def test_an_input_and_rows_that_the_store_refuses_name_its_error_code(
    emulator: EmulatorServer, ceph_folder: Callable[..., str], tmp_path: Path
) -> None:
    """Fault 40: the messages named a class, or told to allow a read, for a wrong signature."""
    folder = ceph_folder("forged")
    task = image_task(
        f"{tmp_path}/{{key}}.{{ext}}",
        model="flux-kontext-pro",
        parameters={"input_image": f"{folder}/fox.png"},
    )
    with pytest.raises(FluxInputError, match="403"):
        run_task(task)
    batch = FluxGenerateBatchOperator(
        task_id="hero", requests=f"{folder}/rows.csv", output_path=f"{tmp_path}/{{key}}.{{ext}}"
    )
    with pytest.raises(AirflowFailException, match="Check the credentials"):
        batch.execute(task_context(batch))
    assert emulator.stats()["submits"] == 0
