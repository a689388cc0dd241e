"""Tests of a ledger in files: in each store, with a failing store, and read by a trigger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import given

from airflow_provider_flux.bfl.errors import FluxRequestError, FluxStorageError, FluxTimeoutError
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.record_files import stem_of
from airflow_provider_flux.object_store import objects
from tests.conftest import KEY
from tests.support.answering_proxy import AnsweringProxy
from tests.support.ledger_fixtures import LedgerKind
from tests.support.object_stores import S3Store, Store
from tests.support.record_samples import IDS
from tests.support.run_operator import WAYS, run_trigger
from tests.support.task_tries import Died, Task, phases

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def records_in(store: Store) -> list[dict[str, Any]]:
    contents = [
        store.read(f"{store.root}/{name}") for name in store.all_names() if "_flux/ledger/" in name
    ]
    return [json.loads(data or b"") for data in contents]


@pytest.fixture
def proxy(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnsweringProxy]:
    """An S3 store that can fail, whose clients retry for a short time only."""
    monkeypatch.setattr(objects, "_RETRY_SECONDS", 1.0)
    store = S3Store(s3)
    store.make_bucket()
    with AnsweringProxy(s3) as proxy:
        conn_id = f"s3_{uuid4().hex}"
        connection = json.loads(store.connection(proxy.url))
        connection["extra"]["config_kwargs"] = {"retries": {"max_attempts": 0}}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        proxy.root = store.root_by(conn_id)
        yield proxy


@pytest.mark.parametrize("way", WAYS)
def test_a_retry_resumes_by_the_records_in_each_store(
    emulator: EmulatorServer, store: Store, die_at: Callable[[str], None], way: str
) -> None:
    task = Task({"prompt": "a fox", "output_path": f"{store.root}/{{seed}}.{{ext}}", **WAYS[way]})
    if way == "deferred":
        task.defer()  # Neither its trigger nor its worker runs any more.
    else:
        die_at("before poll")
        with pytest.raises(Died):
            task.retry()
    assert phases(records_in(store)) == ["submitted"]
    generation = task.retry()
    assert len(store.read(generation["image"]["uri"]) or b"") == generation["image"]["bytes"]
    assert task.retry() == generation
    assert task.clear()["request_id"] != generation["request_id"]
    assert phases(records_in(store)) == ["returned", "returned"]
    assert emulator.stats()["submits"] == 2


def test_a_trigger_records_a_landed_image_before_its_task_goes_on(
    emulator: EmulatorServer, store: Store
) -> None:
    """If the scheduler fails the task now, a clear returns the image."""
    task = Task(
        {"prompt": "a fox", "output_path": f"{store.root}/{{seed}}.{{ext}}", **WAYS["deferred"]}
    )
    _, deferred, _ = task.defer()
    event = asyncio.run(run_trigger(deferred.trigger))
    (record,) = records_in(store)
    assert record["phase"] == "persisted"
    assert record["generation"] == event["generation"]
    asked = (emulator.stats()["polls"], emulator.stats()["downloads"])
    assert task.clear() == event["generation"]
    assert (emulator.stats()["polls"], emulator.stats()["downloads"]) == asked
    assert emulator.stats()["submits"] == 1


def without_times(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event of a trigger without the times that it measured."""
    return {name: value for name, value in event.items() if name != "timings"}


def test_a_trigger_that_runs_twice_lands_once(emulator: EmulatorServer, tmp_path: Path) -> None:
    task = Task(
        {"prompt": "a fox", "output_path": f"{tmp_path}/{{seed}}.{{ext}}", **WAYS["deferred"]}
    )
    _, deferred, _ = task.defer()
    first = without_times(asyncio.run(run_trigger(deferred.trigger)))
    second = without_times(asyncio.run(run_trigger(deferred.trigger)))
    assert first == second
    assert emulator.stats()["downloads"] == 1


def test_a_trigger_finds_by_the_record_an_image_that_bfl_forgot(
    tmp_path: Path, connect: Any
) -> None:
    """A name with {seed} is not known without the image; the record has it."""
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        connect(server.url)
        task = Task(
            {"prompt": "a fox", "output_path": f"{tmp_path}/{{seed}}.{{ext}}", **WAYS["deferred"]}
        )
        _, deferred, _ = task.defer()
        first = without_times(asyncio.run(run_trigger(deferred.trigger)))
        server.reset()
        assert without_times(asyncio.run(run_trigger(deferred.trigger))) == first


@pytest.mark.parametrize("record", [True, False])
def test_a_landed_image_is_returned_although_no_event_arrived(
    tmp_path: Path, connect: Any, record: bool
) -> None:
    """Airflow ended the deferral, BFL forgot the request, and the name is not known."""
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        connect(server.url)
        task = Task(
            {"prompt": "a fox", "output_path": f"{tmp_path}/{{seed}}.{{ext}}", **WAYS["deferred"]}
        )
        operator, deferred, context = task.defer()
        event = asyncio.run(run_trigger(deferred.trigger))
        server.reset()
        if record:
            assert (
                operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
                == event["generation"]
            )
        else:  # dag.test() drops what a task defers with
            event_of_trigger = {
                "status": "error",
                "error": {"type": "FluxTaskNotFoundError"},
                "generation": event["generation"],
            }
            assert operator.execute_complete(context, event_of_trigger) == event["generation"]
        assert phases(task.records(tmp_path)) == ["returned"]


def test_nothing_is_submitted_if_the_intent_cannot_be_recorded(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    proxy.refuse("PUT", 403, "AccessDenied", part="_flux/ledger", times=99)
    with pytest.raises(FluxStorageError, match="_flux/ledger/"):
        Task({"prompt": "a fox", "output_path": f"{proxy.root}/x.{{ext}}"}).retry()
    assert emulator.stats()["submits"] == 0


def test_an_image_lands_although_the_answer_could_not_be_recorded(
    emulator: EmulatorServer, proxy: AnsweringProxy, caplog: pytest.LogCaptureFixture
) -> None:
    task = Task({"prompt": "a fox", "output_path": f"{proxy.root}/x.{{ext}}", **WAYS["deferred"]})
    # After the intent, and its repetition, which shows that the bucket refuses a second one.
    proxy.refuse("PUT", 403, "AccessDenied", part="_flux/ledger", after=2)
    _, deferred, _ = task.defer()
    assert "could not be changed to phase submitted" in caplog.text
    event = asyncio.run(run_trigger(deferred.trigger))
    assert event["status"] == "landed"
    assert task.clear() == event["generation"]
    assert emulator.stats()["submits"] == 1


def test_an_answer_that_could_not_be_recorded_is_recorded_after_the_deferral(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    task = Task(
        {
            "prompt": "x [[fault:stuck]]",
            "output_path": f"{proxy.root}/x.{{ext}}",
            **WAYS["deferred"],
        }
    )
    proxy.refuse("PUT", 403, "AccessDenied", part="_flux/ledger", after=2)
    operator, deferred, context = task.defer()
    event = {"status": "hand_over", "reason": "a test", "generation": deferred.trigger.generation}
    operator.timeout = 1
    with pytest.raises(FluxTimeoutError):  # It is left to retries, because it is recorded now.
        operator.execute_complete(context, event)
    with pytest.raises(FluxTimeoutError):
        task.retry(timeout=1)
    assert emulator.stats()["submits"] == 1


def test_a_task_that_may_not_read_its_ledger_never_pays_twice(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    """S3 answers "forbidden" for any object; only the exclusive create finds the record."""
    task = Task({"prompt": "a fox", "output_path": f"{proxy.root}/x.{{ext}}"})
    proxy.refuse("GET", 403, "AccessDenied", part="_flux/ledger", times=99)
    proxy.refuse("HEAD", 403, "403", part="_flux/ledger", times=99)
    task.retry()
    with pytest.raises(AirflowFailException, match=r"FluxLedgerError.*may read as well as write"):
        task.clear()
    assert emulator.stats()["submits"] == 1


def test_a_store_that_is_down_when_the_ledger_is_read_is_left_to_retries(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    task = Task({"prompt": "a fox", "output_path": f"{proxy.root}/x.{{ext}}"})
    task.retry()
    proxy.refuse("GET", 503, "SlowDown", part="_flux/ledger", times=99)
    with pytest.raises(FluxStorageError, match="could not be read"):
        task.clear()
    assert emulator.stats()["submits"] == 1


DAMAGES: dict[str, tuple[Callable[[str], str], str]] = {
    "cut": (lambda text: text[:100], "cannot be read"),
    "empty": (lambda text: "", "cannot be read"),
    "of a later version": (
        lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
        "later version",
    ),
    "without its id": (lambda text: text.replace('"request_id"', '"id"'), "cannot be read"),
    "of no phase": (lambda text: text.replace('"returned"', '"sold"'), "phase"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_unreadable_record_is_an_error_and_never_counts_as_no_record(
    emulator: EmulatorServer, ledger: LedgerKind, damage: str
) -> None:
    change, reason = DAMAGES[damage]
    task = ledger.task()
    task.retry()
    if task.state_store:
        ((key, text),) = task.state_store.rows.items()
        task.state_store.rows[key] = (
            change(text) if change(text).startswith("{") and damage != "cut" else '"torn"'
        )
    else:
        (file,) = ledger.folder.glob("_flux/ledger/**/*.json")
        file.write_text(change(file.read_text()))
    for again in (task.retry, task.clear):
        with pytest.raises(
            AirflowFailException, match=f"FluxLedgerError: .*{reason if damage != 'cut' else ''}"
        ):
            again()
    assert emulator.stats()["submits"] == 1


def test_a_record_contains_no_secret(emulator: EmulatorServer, ledger: LedgerKind) -> None:
    hooked = {"webhook_url": "http://127.0.0.1:9/?canary", "webhook_secret": "s3cret-canary"}
    task = ledger.task("the canary prompt", hide_prompt=True, **hooked)
    task.retry()
    text = json.dumps(ledger.records(task))
    assert not [secret for secret in ("canary", KEY, "sig=") if secret in text]


@given(IDS, IDS)
def test_each_task_has_its_own_record_names(one: TaskIdentity, other: TaskIdentity) -> None:
    stems = [stem_of("s3://c@b/x/", owner) for owner in (one, other)]
    assert (stems[0] == stems[1]) == (one == other)
    for stem in stems:
        parts = stem.removeprefix("s3://c@b/x/").split("/")
        assert len(parts) == 3
        assert all(part and not part.startswith(".") and len(part) < 120 for part in parts)


@pytest.mark.parametrize("letter", ["x", "é", "漢", "😀"])
def test_a_record_of_a_task_with_a_long_name_can_be_written(tmp_path: Path, letter: str) -> None:
    """Fault 15: a task id of 80 Chinese characters could never write its ledger."""
    owner = TaskIdentity(
        dag_id=letter * 250, run_id=letter * 250, task_id=letter * 250, map_index=123456
    )
    stem = stem_of(f"{tmp_path}/", owner)
    assert all(len(part.encode()) <= 255 for part in f"{stem}.1234567.json".split("/"))
    Path(stem).parent.mkdir(parents=True)
    assert Path(f"{stem}.1234567.json").write_text("{}")


def test_tasks_whose_long_names_begin_alike_have_records_of_their_own() -> None:
    """Fault 15: the hash at the end of a cut name tells them apart."""
    owners = [TaskIdentity(dag_id="d", run_id="r", task_id="漢" * 80 + end) for end in "ab"]
    assert len({stem_of("/ledger", owner) for owner in owners}) == 2


def test_a_folder_without_room_for_records_is_refused() -> None:
    """Fault 15: the store refused the record only when it was written."""
    with pytest.raises(FluxRequestError, match=r"of \d+ bytes. The limit of S3 is 1024. Set l"):
        stem_of("s3://bucket/" + "x/" * 480, TaskIdentity(dag_id="d", run_id="r", task_id="t"))
