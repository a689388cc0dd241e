"""Two that work on one task, and what crosses a try: kills, lost answers, stores that fail in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_flux.bfl.errors import FluxError, FluxStorageError
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.generation import parse_generation
from airflow_provider_flux.ledger.record_files import FileRecordStore
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.ledger.task_ledger import TaskLedger
from airflow_provider_flux.object_store import objects
from tests.support.ledger_fixtures import Home
from tests.support.object_stores import S3Store
from tests.support.run_operator import WAYS, fire
from tests.support.task_tries import Died, StateStore, Task, phases

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def while_waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Do something while a task waits for a free slot, once."""

    def plan(act: Callable[[], object]) -> None:
        left = [act]

        def sleep(seconds: float) -> None:
            if left:
                left.pop()()

        monkeypatch.setattr("tenacity.nap.time.sleep", sleep)

    return plan


def test_a_killed_try_that_lives_on_does_not_submit_beside_its_successor(
    emulator: EmulatorServer, home: Home, while_waiting: Any
) -> None:
    old, new = (home.task("x [[fault:rate-limit=1]]") for _ in range(2))
    new.started, new.state_store, new.try_number = old.started, old.state_store, 1
    while_waiting(new.retry)
    with pytest.raises(AirflowFailException, match="FluxLedgerError: Another process"):
        old.retry()
    assert emulator.stats()["submits"] == 1
    assert new.retry()["uncertain_submits"] == 0


def test_a_late_answer_of_a_killed_try_is_not_paid_for_again(
    emulator: EmulatorServer,
    home: Home,
    dies: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is written down at the very moment when the next try submits anew, since nobody knew of it."""
    task = home.task(on_uncertain="resubmit")
    dies("after post")
    with pytest.raises(Died):
        task.retry()
    claiming = TaskLedger.claim

    def claim(self: TaskLedger, *arguments: Any, **more: Any) -> StoredRecord:
        latest = more["latest"]
        answered = {"request_id": "late", "cost": 4, "cost_source": "estimated", "fingerprint": "f"}
        StoredRecord(latest._store, latest.number, latest.record).write(
            "submitted", generation=parse_generation(answered)
        )
        return claiming(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(TaskLedger, "claim", claim)
        with pytest.raises(AirflowFailException, match="FluxLedgerError: Another process"):
            task.retry()
    assert phases(home.records(task)) == ["submitted", "failed"]
    assert emulator.stats()["submits"] == 1


def test_what_lands_while_a_cleared_task_submits_is_in_nobodys_way(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(
        {"prompt": "a fox", "output_path": f"{tmp_path}/{{request_id}}.{{ext}}", "on_clear": "new"}
    )
    task.arguments |= WAYS["deferred"]
    _, deferred, _ = task.defer()
    claiming = TaskLedger.claim

    def claim(self: TaskLedger, *arguments: Any, **more: Any) -> StoredRecord:
        with ThreadPoolExecutor() as pool:
            assert pool.submit(asyncio.run, fire(deferred.trigger)).result()["status"] == "landed"
        return claiming(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(TaskLedger, "claim", claim)
        task.clear(**WAYS["sync"])
    assert phases(task.records(tmp_path)) == ["persisted", "returned"]


def test_a_task_that_was_killed_while_it_waits_for_a_slot_submits_no_more(
    emulator: EmulatorServer, home: Home, while_waiting: Any
) -> None:
    task = home.task("x [[fault:rate-limit=1]]")
    while_waiting(lambda: task.operator and task.operator.on_kill())
    with pytest.raises(FluxError, match="killed"):
        task.retry()
    assert phases(home.records(task)) == ["failed"]
    assert emulator.stats()["submits"] == 0


def test_what_was_paid_for_counts_although_another_request_was_refused_since(
    emulator: EmulatorServer, home: Home, dies: Callable[[str], None]
) -> None:
    task = home.task()
    dies("before poll")
    with pytest.raises(Died):
        task.retry()
    with pytest.raises(AirflowFailException, match="FluxInsufficientCreditsError"):
        task.retry(prompt="x [[fault:no-credits]]")
    task.warnings.clear()
    task.clear(prompt="a fox")
    assert phases(home.records(task)) == ["returned", "failed"]
    assert (emulator.stats()["submits"], task.warnings) == (1, [])


@pytest.mark.parametrize("way", WAYS)
def test_an_image_of_the_old_request_is_described_as_what_it_is(
    emulator: EmulatorServer, tmp_path: Path, dies: Callable[[str], None], way: str
) -> None:
    task = Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}", "on_change": "resume"})
    dies("before poll")
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
def test_what_a_lost_worker_has_landed_is_not_called_lost(
    tmp_path: Path, connect: Any, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    def die(self: StoredRecord, phase: str, **_: Any) -> bool:
        if phase == "returned":
            raise Died
        return noting(self, phase, **_)

    noting = StoredRecord.write_or_warn
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


def test_what_was_landed_deleted_and_forgotten_is_paid_for_anew_after_a_clear(
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


def test_a_store_in_trouble_does_not_pass_for_a_lost_image(tmp_path: Path, connect: Any) -> None:
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
        image.mkdir()  # it cannot be read, and is not missing
        with pytest.raises(FluxStorageError):
            task.retry()
        image.rmdir()
        (tmp_path / "kept").rename(image)
        assert task.retry()["image"]["uri"] == str(image)


def test_a_store_that_is_down_when_a_task_goes_on_is_left_to_retries(
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
        }  # botocore's own, which take seconds
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


def test_an_answer_the_state_store_did_not_take_is_written_when_the_task_goes_on(
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


def test_a_claim_that_was_broken_off_leaves_no_doubt(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(self: FileRecordStore, *arguments: Any) -> None:
        creating(self, *arguments)
        raise AirflowTaskTimeout("Timeout")

    creating = FileRecordStore.create
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
    assert asyncio.run(fire(deferred.trigger))["status"] == "landed"
