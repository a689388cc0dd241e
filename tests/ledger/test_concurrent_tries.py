"""Tests of two tries of one task, and of stores that fail between them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_flux.bfl.errors import FluxError, FluxStorageError
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.generation_input import parse_generation
from airflow_provider_flux.ledger.record_files import FileRecordStore
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.ledger.task_ledger import TaskLedger
from airflow_provider_flux.object_store import objects
from airflow_provider_flux.object_store.filesystem import open_path
from tests.support.ceph_like_proxy import CephLikeProxy
from tests.support.ledger_fixtures import LedgerKind
from tests.support.object_stores import S3Store
from tests.support.run_operator import WAYS, run_trigger
from tests.support.task_tries import Died, StateStore, Task, phases

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def while_waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Call a function once while a task waits for a free slot."""

    def set_action(act: Callable[[], object]) -> None:
        left = [act]

        def sleep(seconds: float) -> None:
            if left:
                left.pop()()

        monkeypatch.setattr("tenacity.nap.time.sleep", sleep)

    return set_action


def test_a_killed_try_that_lives_on_does_not_submit_in_parallel_to_its_successor(
    emulator: EmulatorServer, ledger: LedgerKind, while_waiting: Any
) -> None:
    old, new = (ledger.task("x [[fault:rate-limit=1]]") for _ in range(2))
    new.started, new.state_store, new.try_number = old.started, old.state_store, 1
    while_waiting(new.retry)
    with pytest.raises(AirflowFailException, match="FluxLedgerError: Another process"):
        old.retry()
    assert emulator.stats()["submits"] == 1
    assert new.retry()["uncertain_submits"] == 0


def test_a_late_answer_of_a_killed_try_stops_the_next_submit(
    emulator: EmulatorServer,
    ledger: LedgerKind,
    die_at: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer is recorded at the moment when the next try submits again."""
    task = ledger.task(on_uncertain="resubmit")
    die_at("after post")
    with pytest.raises(Died):
        task.retry()
    original_claim = TaskLedger.claim

    def claim(self: TaskLedger, *arguments: Any, **more: Any) -> StoredRecord:
        latest = more["latest"]
        answer = {"request_id": "late", "cost": 4, "cost_source": "estimated", "fingerprint": "f"}
        StoredRecord(latest._store, latest.number, latest.record).write(
            "submitted", generation=parse_generation(answer)
        )
        return original_claim(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(TaskLedger, "claim", claim)
        with pytest.raises(AirflowFailException, match="FluxLedgerError: Another process"):
            task.retry()
    assert phases(ledger.records(task)) == ["submitted", "failed"]
    assert emulator.stats()["submits"] == 1


def test_an_image_that_lands_while_a_cleared_task_submits_stops_nothing(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(
        {"prompt": "a fox", "output_path": f"{tmp_path}/{{request_id}}.{{ext}}", "on_clear": "new"}
    )
    task.arguments |= WAYS["deferred"]
    _, deferred, _ = task.defer()
    original_claim = TaskLedger.claim

    def claim(self: TaskLedger, *arguments: Any, **more: Any) -> StoredRecord:
        with ThreadPoolExecutor() as pool:
            assert (
                pool.submit(asyncio.run, run_trigger(deferred.trigger)).result()["status"]
                == "landed"
            )
        return original_claim(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(TaskLedger, "claim", claim)
        task.clear(**WAYS["sync"])
    assert phases(task.records(tmp_path)) == ["persisted", "returned"]


def test_a_task_killed_while_it_waits_for_a_slot_submits_nothing(
    emulator: EmulatorServer, ledger: LedgerKind, while_waiting: Any
) -> None:
    task = ledger.task("x [[fault:rate-limit=1]]")
    while_waiting(lambda: task.operator and task.operator.on_kill())
    with pytest.raises(FluxError, match="killed"):
        task.retry()
    assert phases(ledger.records(task)) == ["failed"]
    assert emulator.stats()["submits"] == 0


def test_a_generation_is_resumed_although_a_later_request_was_refused(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None]
) -> None:
    task = ledger.task()
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    with pytest.raises(AirflowFailException, match="FluxInsufficientCreditsError"):
        task.retry(prompt="x [[fault:no-credits]]")
    task.warnings.clear()
    task.clear(prompt="a fox")
    assert phases(ledger.records(task)) == ["returned", "failed"]
    assert (emulator.stats()["submits"], task.warnings) == (1, [])


@pytest.mark.parametrize("way", WAYS)
def test_the_sidecar_of_a_resumed_image_describes_the_submitted_request(
    emulator: EmulatorServer, tmp_path: Path, die_at: Callable[[str], None], way: str
) -> None:
    task = Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}", "on_change": "resume"})
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    described = json.loads(
        Path(task.retry(prompt="a cow", **WAYS[way])["image"]["sidecar"]).read_text()
    )
    assert described["request"]["prompt"] == "a fox"
    again = task.clear(prompt="a cow", reuse="always")
    assert not again["reused"]
    assert emulator.stats()["submits"] == 2


@pytest.mark.parametrize(
    "arguments", [{"deferrable": False}, {"deferrable": True, "inline_wait": 30}]
)
def test_an_image_that_a_lost_worker_landed_is_returned_although_bfl_forgot_it(
    tmp_path: Path, connect: Any, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    def die(self: StoredRecord, phase: str, **_: Any) -> bool:
        if phase == "returned":
            raise Died
        return write(self, phase, **_)

    write = StoredRecord.write_or_warn
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        connect(server.url)
        task = Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}", **arguments})
        with monkeypatch.context() as patched:
            patched.setattr(StoredRecord, "write_or_warn", die)
            with pytest.raises(Died):
                task.retry()
        assert phases(task.records(tmp_path)) == ["submitted"]
        server.reset()
        assert Path(task.retry()["image"]["uri"]).exists()
        assert phases(task.records(tmp_path)) == ["returned"]


def test_a_clear_submits_again_for_a_removed_image_that_bfl_forgot(
    tmp_path: Path, connect: Any
) -> None:
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        connect(server.url)
        task = Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}"})
        image = Path(task.retry()["image"]["uri"])
        server.reset()
        image.unlink()
        with pytest.raises(AirflowFailException, match="is lost"):
            task.retry()
        task.clear()
        assert phases(task.records(tmp_path)) == ["failed", "returned"]


def test_a_failing_store_does_not_count_as_a_lost_image(tmp_path: Path, connect: Any) -> None:
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        connect(server.url)
        task = Task(
            {
                "prompt": "a fox",
                "output_path": f"{tmp_path}/x.{{ext}}",
                "ledger_path": f"{tmp_path}/books",
            }
        )
        image = Path(task.retry()["image"]["uri"])
        server.reset()
        image.rename(tmp_path / "kept")
        image.mkdir()  # It cannot be read, but it is not missing.
        with pytest.raises(FluxStorageError):
            task.retry()
        image.rmdir()
        (tmp_path / "kept").rename(image)
        assert task.retry()["image"]["uri"] == str(image)


def test_a_store_that_is_down_after_a_deferral_is_left_to_retries(
    emulator: EmulatorServer, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.cutting_proxy import CuttingProxy

    monkeypatch.setattr(objects, "_RETRY_SECONDS", 1.0)
    store = S3Store(s3)
    store.make_bucket()
    with CuttingProxy(s3) as proxy:
        connection = json.loads(store.connection(proxy.url))
        connection["extra"]["config_kwargs"] = {
            "retries": {"max_attempts": 1}
        }  # botocore's own retries take seconds
        monkeypatch.setenv("AIRFLOW_CONN_DOWN_LATER", json.dumps(connection))
        task = Task(
            {
                "prompt": "a fox",
                "output_path": f"{store.root_by('down_later')}/x.{{ext}}",
                **WAYS["deferred"],
            }
        )
        operator, deferred, context = task.defer()
        event = {
            "status": "ready",
            "generation": {**deferred.trigger.generation, "status": "Ready"},
        }
        proxy.stop()
        with pytest.raises(FluxStorageError):
            operator.execute_complete(context, event)
        proxy.start()
        assert task.retry()["image"]["bytes"]
    assert emulator.stats()["submits"] == 1


def test_an_answer_that_the_task_state_store_refused_is_recorded_after_the_deferral(
    emulator: EmulatorServer,
) -> None:
    class Flaky(StateStore):
        fails_at = 2

        def set(self, key: str, value: Any, *, retention: Any) -> None:
            self.fails_at -= 1
            if self.fails_at in {0, -1}:  # after the answer, and before the deferral
                raise ConnectionError
            super().set(key, value, retention=retention)

    store = Flaky()
    task = Task({"prompt": "a fox", **WAYS["deferred"]}, state_store=store)
    task.retry()
    assert phases(task.records()) == ["returned"]
    assert task.clear()["uncertain_submits"] == 0


def test_an_interrupted_claim_leaves_no_uncertain_submit(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(self: FileRecordStore, *arguments: Any) -> None:
        original_create(self, *arguments)
        raise AirflowTaskTimeout("Timeout")

    original_create = FileRecordStore.create
    task = Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}"})
    with monkeypatch.context() as patched:
        patched.setattr(FileRecordStore, "create", create)
        with pytest.raises(AirflowTaskTimeout):
            task.retry()
    assert phases(task.records(tmp_path)) == ["failed"]
    assert task.retry()["uncertain_submits"] == 0
    assert emulator.stats()["submits"] == 1


def test_a_trigger_lands_although_it_cannot_reach_the_ledger(
    emulator: EmulatorServer, tmp_path: Path, aws_lab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import ObjectStoragePath

    ObjectStoragePath(f"s3://{aws_lab}@books/").mkdir(exist_ok=True)
    arguments = {
        "output_path": f"{tmp_path}/x.{{ext}}",
        "ledger_path": f"s3://{aws_lab}@books/{tmp_path.name}",
    }
    task = Task({"prompt": "a fox", **arguments, **WAYS["deferred"]})
    _, deferred, _ = task.defer()
    monkeypatch.delenv("AIRFLOW_CONN_AWS_LAB")
    assert asyncio.run(run_trigger(deferred.trigger))["status"] == "landed"


def test_two_tries_submit_once_although_the_store_accepts_the_intents_of_both(
    emulator: EmulatorServer, ceph: CephLikeProxy, ceph_folder: Callable[..., str]
) -> None:
    """Fault 39: both submitted in a versioned bucket of Ceph, without a warning."""
    ceph.make_versioned_bucket("versioned")
    folder = ceph_folder(bucket="versioned")
    arguments = {"prompt": "a fox", "output_path": f"{folder}/{{key}}.{{ext}}"}
    tries = [Task(dict(arguments)) for _ in range(2)]
    open_path(folder)
    ceph.barrier = threading.Barrier(2)
    try:
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(task.retry) for task in tries]
            errors = [one.exception(timeout=120) for one in running]
    finally:
        ceph.barrier = None
    (lost,) = [error for error in errors if error is not None]
    assert "exists already" in str(lost)
    assert emulator.stats()["submits"] == 1


def test_if_exists_error_lands_one_image_although_the_store_accepts_two(
    emulator: EmulatorServer,
    ceph: CephLikeProxy,
    ceph_folder: Callable[..., str],
    tmp_path: Path,
) -> None:
    """Fault 39: both landed, and the sidecar of one described the image of the other."""
    ceph.make_versioned_bucket("versioned")
    folder = ceph_folder(bucket="versioned")
    open_path(folder)
    tasks = [
        Task(
            {
                "prompt": f"a fox {number}",
                "output_path": f"{folder}/hero.{{ext}}",
                "if_exists": "error",
                "ledger_path": f"{tmp_path}/{number}",
            }
        )
        for number in range(2)
    ]
    ceph.barrier = threading.Barrier(2)
    try:
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(task.retry) for task in tasks]
            errors = [one.exception(timeout=120) for one in running]
    finally:
        ceph.barrier = None
    (winner,) = [one.result() for one, error in zip(running, errors, strict=True) if not error]
    data = ceph.read(winner["image"]["uri"])
    assert hashlib.sha256(data).hexdigest() == winner["image"]["sha256"]
    sidecar = json.loads(ceph.read(winner["image"]["sidecar"]))
    assert sidecar["media"]["sha256"] == winner["image"]["sha256"]
