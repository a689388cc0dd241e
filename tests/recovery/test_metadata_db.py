"""Tests of the reads that ``recover`` makes in Airflow's metadata database, on a real one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxLedgerError, FluxStorageError
from airflow_provider_flux.generation_input import parse_generation
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.record_files import stem_of, stored_in_file
from airflow_provider_flux.recovery.find import FoundRecord, RecordFilter, find_records
from airflow_provider_flux.recovery.metadata_db import (
    MetadataDbRecordStore,
    TaskFacts,
    find_task_facts,
    has_active_task,
    ledger_folders_of,
    read_values,
)
from airflow_provider_flux.recovery.record_trust import Landing, plan_landing

pytest.importorskip("airflow.models.task_state_store", reason="Airflow 3.3 has the store first")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

#: Larger than the id of any run that other tests leave in the database.
DAG_RUN_IDS = itertools.count(1_000_000)
IDS = {"dag_id": "shop", "run_id": "monday", "task_id": "hero", "map_index": -1}


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """Create the metadata database of the tests' own Airflow home."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(autouse=True)
def rows() -> Iterator[None]:
    """Remove the rows that a test inserted."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    yield
    with create_session() as session:
        for model in (
            TaskStateStoreModel,
            XComModel,
            RenderedTaskInstanceFields,
            TaskInstance,
        ):
            session.query(model).filter(model.dag_id.in_(["shop", "other"])).delete()


def insert(model: Any, **values: Any) -> None:
    """Insert a row without the DAG run that it belongs to."""
    from airflow.utils.session import create_session
    from sqlalchemy import insert as insert_into

    with create_session() as session:
        session.connection().exec_driver_sql("PRAGMA foreign_keys=OFF")
        session.execute(insert_into(model).values(**values))
        session.commit()
        session.connection().exec_driver_sql("PRAGMA foreign_keys=ON")


def insert_record(key: str, value: str, **ids: Any) -> None:
    """Insert a value of a task state store."""
    from airflow.models.task_state_store import TaskStateStoreModel

    insert(
        TaskStateStoreModel, dag_run_id=next(DAG_RUN_IDS), key=key, value=value, **{**IDS, **ids}
    )


def submitted() -> Record:
    """Return the record of an accepted submit."""
    generation = parse_generation({"request_id": "r-1", "model": "flux-pro-1.1"})
    return Record(
        phase="submitted",
        owner=TaskIdentity(**IDS, try_number=1),
        clear_id="0/None",
        flux_conn_id="flux_default",
        model="flux-pro-1.1",
        fingerprint="a",
        generation=dict(generation),
    )


def test_a_record_of_the_task_state_store_is_found_and_can_be_replaced() -> None:
    insert_record("flux.submit.1", json.dumps(submitted().as_json()))
    insert_record("flux.submit.x", "{}")
    insert_record("flux.progress", "{}")

    [(store, number, value)] = read_values("shop", "monday")

    assert (number, value["phase"]) == (1, "submitted")
    assert store.location(1) == "flux.submit.1 of shop/monday/hero"
    assert store.uri(1) is None
    record = store.read(1)
    assert record is not None
    store.update(1, record.in_phase("persisted"))
    changed = store.read(1)
    assert changed is not None
    assert changed.phase == "persisted"


def test_a_record_that_is_gone_is_not_replaced() -> None:
    store = MetadataDbRecordStore("shop", "monday", "hero", 3)

    assert store.read(1) is None
    with pytest.raises(FluxStorageError, match=r"shop/monday/hero\[3\] is gone"):
        store.update(1, submitted())


def test_records_are_restricted_to_a_dag_and_a_run() -> None:
    insert_record("flux.submit.1", json.dumps(submitted().as_json()))
    insert_record("flux.submit.1", json.dumps(submitted().as_json()), run_id="tuesday")
    insert_record("flux.submit.1", json.dumps(submitted().as_json()), dag_id="other")

    assert len(list(read_values("shop", None))) == 2
    assert len(list(read_values("shop", "tuesday"))) == 1
    assert len(list(read_values("nobody", None))) == 0


def test_an_unreadable_value_of_the_store_is_reported_beside_the_others() -> None:
    insert_record("flux.submit.1", json.dumps(submitted().as_json()))
    insert_record("flux.submit.2", "not a record")

    found = find_records(RecordFilter((), "shop", None))

    assert [stored.record.phase for stored in found.records] == ["submitted"]
    [problem] = found.unreadable
    assert isinstance(problem.error, FluxLedgerError)


def test_the_ledger_folders_of_a_dag_come_from_its_xcoms() -> None:
    from airflow.models.xcom import XComModel

    for run_id, value in (("monday", "file:///lake/_flux/ledger/"), ("tuesday", 7)):
        insert(
            XComModel,
            dag_run_id=next(DAG_RUN_IDS),
            key="flux_ledger",
            value=json.dumps(value),
            **{**IDS, "run_id": run_id},
        )

    assert ledger_folders_of("shop") == {"file:///lake/_flux/ledger/"}
    assert ledger_folders_of("other") == set()


@pytest.mark.parametrize(
    ("state", "is_active"), [("running", True), ("deferred", True), ("failed", False)]
)
def test_a_task_is_active_while_it_runs_or_waits_on_the_triggerer(
    state: str, is_active: bool
) -> None:
    from airflow.models.taskinstance import TaskInstance

    owner = TaskIdentity(**IDS)
    assert not has_active_task(owner)

    insert(TaskInstance, state=state, pool="default_pool", **IDS)

    assert has_active_task(owner) is is_active


def test_the_database_names_connection_and_path_of_the_task_that_owns_a_record() -> None:
    """Fault 2: ``recover`` takes the connection from the database, and not from a file."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.xcom import XComModel

    owner = TaskIdentity(**IDS, try_number=1)
    uri = f"{stem_of('s3://private/ledger/', owner)}.1.json"
    assert find_task_facts(owner, uri) is None
    fields = {"flux_conn_id": "flux_eu", "output_path": "s3://my_conn@lake/monday/{key}.{ext}"}
    insert(RenderedTaskInstanceFields, rendered_fields=fields, **IDS)
    assert find_task_facts(owner, uri) is None
    folder = json.dumps("s3://private/ledger/")
    insert(XComModel, dag_run_id=next(DAG_RUN_IDS), key="flux_ledger", value=folder, **IDS)

    assert find_task_facts(owner, uri) == TaskFacts("flux_eu", fields["output_path"])
    # A stranger who writes elsewhere may name any owner.
    elsewhere = f"{stem_of('s3://lake/ledger/', owner)}.1.json"
    assert find_task_facts(owner, elsewhere) is None
    assert find_task_facts(owner, uri.replace(owner.task_id or "", "other")) is None


def test_a_record_in_a_ledger_path_lands_where_the_database_says() -> None:
    """Fault 1: for a ``ledger_path`` the database names the folder of the images."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.xcom import XComModel

    record = submitted()
    uri = f"{stem_of('/ledger/', record.owner)}.1.json"
    fields = {"flux_conn_id": "flux_eu", "output_path": "/lake/monday/{key}.{ext}"}
    insert(RenderedTaskInstanceFields, rendered_fields=fields, **IDS)
    folder = json.dumps("/ledger/")
    insert(XComModel, dag_run_id=next(DAG_RUN_IDS), key="flux_ledger", value=folder, **IDS)

    def plan(path: str) -> Landing:
        target = Target(path=path)
        found = stored_in_file(uri, record.model_copy(update={"target": target}))
        return plan_landing(FoundRecord(found, uri), None, None)

    landing = plan("/lake/monday/x.{ext}")
    assert (landing.flux_conn_id, landing.is_conn_id_of_record) == ("flux_eu", False)
    with pytest.raises(FluxStorageError, match="is not below /lake/monday/"):
        plan("/lake/x.{ext}")
