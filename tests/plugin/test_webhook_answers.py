"""A webhook names the request of a submit whose answer was lost: nothing is paid again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.utils.db import initdb
from airflow.utils.session import create_session

from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.bfl.webhook import WebhookNotice, read_notice, read_reference
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER_XCOM
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.ledger.record_task_state import RECORD_KEY_PREFIX
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.plugin.webhook_answers import keep_answer
from airflow_provider_flux.recovery.find import RecordFilter, find_records
from airflow_provider_flux.recovery.metadata_db import MetadataDbRecordStore
from airflow_provider_flux.recovery.recover import recover
from tests.support.airflow_names import AIRFLOW
from tests.support.receivers import HttpReceiver, http_receiver
from tests.support.run_operator import new_context
from tests.support.waiting_tasks import find, new_task_instance, push_xcom, set_state

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 1), reason="the plugin needs Airflow 3.1")

SECRET = "whs_canary_of_the_connection"


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """The metadata database."""
    initdb()


@pytest.fixture
def receiver(
    emulator: EmulatorServer, connect: Callable[..., None], hurry: None
) -> Iterator[HttpReceiver]:
    """The public host to which BFL sends webhooks."""
    connect(emulator.url, webhook_secret=SECRET, webhook_hosts=["127.0.0.1"])
    with http_receiver() as running:
        yield running


class LostTask:
    """A task of Airflow whose first try lost the answer to its submit.

    :ivar folder: where its image lands.
    """

    def __init__(self, receiver: HttpReceiver, folder: Path, fault: str = "submit-lost") -> None:
        self.folder = folder
        self._receiver = receiver
        self.arguments: dict[str, Any] = {
            "prompt": f"a fox [[fault:{fault}]]",
            "output_path": f"file://{folder}/hero.jpeg",
        }
        self.id = new_task_instance(self.build)
        with create_session() as session:
            ti = find(self.id, session)
            ti.try_number, ti.state = 1, "running"
            self.dag_id = ti.dag_id
        with pytest.raises(AirflowFailException, match="FluxSubmitUncertainError"):
            self.retry(1)
        set_state(self.id, "failed")

    def build(self) -> FluxGenerateOperator:
        """Return the operator of the task."""
        return FluxGenerateOperator(
            task_id="hero",
            webhook_url=f"{self._receiver.url}/flux/webhooks",
            deferrable=False,
            poll_interval=0.1,
            width=256,
            height=256,
            **self.arguments,
        )

    def retry(self, number: int, **changes: Any) -> Any:
        """Make a try, and return its XCom."""
        self.arguments |= changes
        context = new_context()
        ids = {"dag_id": self.dag_id, "run_id": "manual", "task_id": "hero", "id": self.id}
        for name, value in {**ids, "try_number": number, "max_tries": 3}.items():
            setattr(context["ti"], name, value)
        context["dag_run"] = SimpleNamespace(start_date=datetime(2026, 11, 30, tzinfo=UTC))
        try:
            return self.build().execute(context)
        finally:
            for key, value in context["ti"].xcoms.items():
                push_xcom(self.id, key, value)

    def notice(self) -> tuple[UUID, WebhookNotice]:
        """Wait for the webhook of BFL, and return what it says, as the receiver reads it."""
        deadline = time.monotonic() + 60
        while not self._receiver.bodies and time.monotonic() < deadline:
            time.sleep(0.02)
        ((path, body),) = self._receiver.bodies
        found, notice = read_reference(path.rpartition("/")[2], [SECRET]), read_notice(body)
        assert found is not None
        assert notice is not None
        return found[0], notice

    def answers(self) -> list[Path]:
        """Return the answers that are kept."""
        return list(self.folder.glob("_flux/ledger/**/*.answer.json"))


@pytest.fixture
def lost(receiver: HttpReceiver, tmp_path: Path) -> LostTask:
    return LostTask(receiver, tmp_path)


def test_the_next_try_lands_the_image_that_the_webhook_named_and_pays_nothing(
    lost: LostTask, emulator: EmulatorServer
) -> None:
    reference, notice = lost.notice()
    assert keep_answer(reference, notice)
    generation = lost.retry(2)
    assert generation["request_id"] == notice.request_id
    assert generation["image"]["uri"] == f"file://{lost.folder}/hero.jpeg"
    assert generation["uncertain_submits"] == 0
    assert emulator.stats()["submits"] == 1


def test_recover_lands_the_image_that_the_webhook_named(
    lost: LostTask, emulator: EmulatorServer
) -> None:
    assert keep_answer(*lost.notice())
    (found,) = find_records(RecordFilter([str(lost.folder)])).records
    result = recover(found)
    assert result is not None
    assert result.outcome == "recovered"
    assert (lost.folder / "hero.jpeg").exists()
    assert lost.retry(2)["image"]
    assert emulator.stats()["submits"] == 1


def test_a_webhook_is_kept_while_the_task_seems_to_run(lost: LostTask) -> None:
    """A worker that was killed looks like one that runs, for minutes."""
    set_state(lost.id, "running")
    assert keep_answer(*lost.notice())
    assert len(lost.answers()) == 1


def test_the_first_of_two_webhooks_counts(lost: LostTask) -> None:
    reference, notice = lost.notice()
    assert keep_answer(reference, notice)
    assert not keep_answer(reference, WebhookNotice("another", notice.status))
    assert notice.request_id in lost.answers()[0].read_text()


@pytest.mark.parametrize("request_id", ["a/../b", "a\nb", "\x1b[2J", "x" * 200])
def test_a_request_id_that_is_not_usual_is_not_kept(lost: LostTask, request_id: str) -> None:
    reference, notice = lost.notice()
    assert not keep_answer(reference, WebhookNotice(request_id, notice.status))
    assert lost.answers() == []


def test_a_webhook_of_another_try_is_not_kept(lost: LostTask) -> None:
    reference, notice = lost.notice()
    with create_session() as session:
        find(lost.id, session).try_number = 2
    assert not keep_answer(reference, notice)


def test_a_webhook_of_a_recorded_request_is_not_kept(
    receiver: HttpReceiver, tmp_path: Path
) -> None:
    task = LostTask(receiver, tmp_path, "submit-500")
    generation = task.retry(2, prompt="a fox", on_uncertain="resubmit")
    assert generation["uncertain_submits"] == 1
    with create_session() as session:
        find(task.id, session).try_number = 2
    assert not keep_answer(*task.notice())
    assert task.answers() == []


def test_a_folder_without_a_record_of_the_try_gets_nothing(lost: LostTask, tmp_path: Path) -> None:
    """An XCom, which a task has written, names the folder."""
    reference, notice = lost.notice()
    other = tmp_path / "other"
    other.mkdir()
    push_xcom(lost.id, LEDGER_FOLDER_XCOM, f"file://{other}")
    assert not keep_answer(reference, notice)
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"claim": "other", "request_id": "x"}'])
def test_an_answer_that_is_none_changes_nothing(
    lost: LostTask, content: str, emulator: EmulatorServer
) -> None:
    assert keep_answer(*lost.notice())
    lost.answers()[0].write_text(content)
    with pytest.raises(AirflowFailException, match="FluxSubmitUncertainError"):
        lost.retry(2)
    assert emulator.stats()["submits"] == 1


def test_the_answer_to_a_record_in_the_task_state_store_is_kept_there(
    receiver: HttpReceiver,
) -> None:
    model = pytest.importorskip(
        "airflow.models.task_state_store", reason="Airflow 3.3 has the store first"
    ).TaskStateStoreModel
    task = new_task_instance(lambda: FluxGenerateOperator(task_id="hero", prompt="a fox"))
    with create_session() as session:
        ti = find(task, session)
        ti.try_number, ti.state = 1, "failed"
        ids = {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
        record = Record(
            owner=TaskIdentity(**ids, try_number=1),
            clear_id="0",
            flux_conn_id="flux_default",
            model="flux-pro-1.1",
            fingerprint="a",
        )
        value = record.model_dump_json()
        run = ti.dag_run.id
        session.add(model(**ids, dag_run_id=run, key=f"{RECORD_KEY_PREFIX}1", value=value))
    notice = WebhookNotice("r-1", Status.READY)
    assert keep_answer(task, notice)
    assert not keep_answer(task, notice)
    stored = StoredRecord(MetadataDbRecordStore(**ids), 1, record)
    assert stored.resolve_lost_answer(is_written=True)
    assert stored.record.accepted["request_id"] == "r-1"
    stored.refresh()
    assert stored.record.is_in_flight
