"""The ledger as files: in each store, in trouble, and as a trigger sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxStorageError, FluxTimeoutError
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.object_store import objects
from tests.conftest import KEY
from tests.support.answering_proxy import AnsweringProxy
from tests.support.ledger_fixtures import Home
from tests.support.object_stores import S3Store, Store
from tests.support.run_operator import WAYS, fire
from tests.support.task_tries import Died, Task, phases

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def records_in(store: Store) -> list[dict[str, Any]]:
    found = [
        store.read(f"{store.root}/{name}") for name in store.all_names() if "_flux/ledger/" in name
    ]
    return [json.loads(data or b"") for data in found]


@pytest.fixture
def proxy(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnsweringProxy]:
    """An S3 store that can be in trouble, whose clients do not try again by themselves for long."""
    monkeypatch.setattr(objects, "_RETRY_SECONDS", 1.0)
    store = S3Store(s3)
    store.make_bucket()
    with AnsweringProxy(s3) as made:
        conn_id = f"s3_{uuid4().hex}"
        connection = json.loads(store.connection(made.url))
        connection["extra"]["config_kwargs"] = {"retries": {"max_attempts": 0}}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        made.root = store.root_by(conn_id)
        yield made


@pytest.mark.parametrize("way", WAYS)
def test_a_retry_collects_from_each_store(
    emulator: EmulatorServer, store: Store, dies: Callable[[str], None], way: str
) -> None:
    task = Task({"prompt": "a fox", "output_path": f"{store.root}/{{seed}}.{{ext}}", **WAYS[way]})
    if way == "deferred":
        task.defer()  # and neither trigger nor worker is ever seen again
    else:
        dies("before poll")
        with pytest.raises(Died):
            task.retry()
    assert phases(records_in(store)) == ["submitted"]
    generation = task.retry()
    assert len(store.read(generation["image"]["uri"]) or b"") == generation["image"]["bytes"]
    assert task.retry() == generation
    assert task.clear()["request_id"] != generation["request_id"]
    assert phases(records_in(store)) == ["returned", "returned"]
    assert emulator.stats()["submits"] == 2


def test_what_a_trigger_has_landed_is_on_record_before_its_task_goes_on(
    emulator: EmulatorServer, store: Store
) -> None:
    """The scheduler may fail the task now; with retries=0 a person finds it here, and a clear returns it."""
    task = Task(
        {"prompt": "a fox", "output_path": f"{store.root}/{{seed}}.{{ext}}", **WAYS["deferred"]}
    )
    _, deferred, _ = task.defer()
    event = asyncio.run(fire(deferred.trigger))
    (record,) = records_in(store)
    assert record["phase"] == "persisted"
    assert record["generation"] == event["generation"]
    asked = (emulator.stats()["polls"], emulator.stats()["downloads"])
    assert task.clear() == event["generation"]
    assert (emulator.stats()["polls"], emulator.stats()["downloads"]) == asked
    assert emulator.stats()["submits"] == 1


def test_a_trigger_that_runs_twice_lands_once(emulator: EmulatorServer, tmp_path: Path) -> None:
    task = Task(
        {"prompt": "a fox", "output_path": f"{tmp_path}/{{seed}}.{{ext}}", **WAYS["deferred"]}
    )
    _, deferred, _ = task.defer()
    first = asyncio.run(fire(deferred.trigger))
    second = asyncio.run(fire(deferred.trigger))
    assert first == second
    assert emulator.stats()["downloads"] == 1


def test_a_trigger_finds_by_the_record_what_bfl_has_forgotten(tmp_path: Path, connect: Any) -> None:
    """A name with {seed} cannot be told without the image; the record has it."""
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        connect(server.url)
        task = Task(
            {"prompt": "a fox", "output_path": f"{tmp_path}/{{seed}}.{{ext}}", **WAYS["deferred"]}
        )
        _, deferred, _ = task.defer()
        first = asyncio.run(fire(deferred.trigger))
        server.reset()
        assert asyncio.run(fire(deferred.trigger)) == first


@pytest.mark.parametrize("record", [True, False])
def test_what_has_landed_is_not_called_lost_when_no_event_tells_of_it(
    tmp_path: Path, connect: Any, record: bool
) -> None:
    """Airflow ends the deferral, BFL has forgotten the request, and the name cannot be told."""
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        connect(server.url)
        task = Task(
            {"prompt": "a fox", "output_path": f"{tmp_path}/{{seed}}.{{ext}}", **WAYS["deferred"]}
        )
        operator, deferred, context = task.defer()
        event = asyncio.run(fire(deferred.trigger))
        server.reset()
        if record:
            assert (
                operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
                == event["generation"]
            )
        else:  # dag.test() drops what a task defers with
            told = {
                "status": "error",
                "error": {"type": "FluxTaskNotFoundError"},
                "generation": event["generation"],
            }
            assert operator.execute_complete(context, told) == event["generation"]
        assert phases(task.records(tmp_path)) == ["returned"]


def test_what_cannot_be_written_down_is_not_submitted(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    proxy.refuse("PUT", 403, "AccessDenied", part="_flux/ledger", times=99)
    with pytest.raises(FluxStorageError, match="_flux/ledger/"):
        Task({"prompt": "a fox", "output_path": f"{proxy.root}/x.{{ext}}"}).retry()
    assert emulator.stats()["submits"] == 0


def test_an_answer_that_cannot_be_written_down_does_not_lose_the_image(
    emulator: EmulatorServer, proxy: AnsweringProxy, caplog: pytest.LogCaptureFixture
) -> None:
    task = Task({"prompt": "a fox", "output_path": f"{proxy.root}/x.{{ext}}", **WAYS["deferred"]})
    proxy.refuse("PUT", 403, "AccessDenied", part="_flux/ledger", after=1)  # the intent is written
    _, deferred, _ = task.defer()
    assert "could not be changed to phase submitted" in caplog.text
    event = asyncio.run(fire(deferred.trigger))
    assert event["status"] == "landed"
    assert task.clear() == event["generation"]
    assert emulator.stats()["submits"] == 1


def test_and_neither_does_the_worker_that_goes_on(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    task = Task(
        {
            "prompt": "x [[fault:stuck]]",
            "output_path": f"{proxy.root}/x.{{ext}}",
            **WAYS["deferred"],
        }
    )
    proxy.refuse("PUT", 403, "AccessDenied", part="_flux/ledger", after=1)
    operator, deferred, context = task.defer()
    event = {"status": "hand_over", "reason": "a test", "generation": deferred.trigger.generation}
    operator.timeout = 1
    with pytest.raises(FluxTimeoutError):  # left to retries, for it is written down now
        operator.execute_complete(context, event)
    with pytest.raises(FluxTimeoutError):
        task.retry(timeout=1)
    assert emulator.stats()["submits"] == 1


def test_a_ledger_that_may_not_be_read_never_pays_twice(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    """The store says "forbidden" of what is there as of what is not; the exclusive create tells."""
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
def test_a_record_that_cannot_be_read_is_an_error_and_never_no_record(
    emulator: EmulatorServer, home: Home, damage: str
) -> None:
    change, said = DAMAGES[damage]
    task = home.task()
    task.retry()
    if task.state_store:
        ((key, text),) = task.state_store.rows.items()
        task.state_store.rows[key] = (
            change(text) if change(text).startswith("{") and damage != "cut" else '"torn"'
        )
    else:
        (file,) = home.folder.glob("_flux/ledger/**/*.json")
        file.write_text(change(file.read_text()))
    for again in (task.retry, task.clear):
        with pytest.raises(
            AirflowFailException, match=f"FluxLedgerError: .*{said if damage != 'cut' else ''}"
        ):
            again()
    assert emulator.stats()["submits"] == 1


def test_no_secret_is_in_a_record(emulator: EmulatorServer, home: Home) -> None:
    hooked = {"webhook_url": "http://127.0.0.1:9/?canary", "webhook_secret": "s3cret-canary"}
    task = home.task("the canary prompt", hide_prompt=True, **hooked)
    task.retry()
    text = json.dumps(home.records(task))
    assert not [one for one in ("canary", KEY, "sig=") if one in text]
