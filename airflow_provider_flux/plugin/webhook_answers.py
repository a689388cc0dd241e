"""Keep what a webhook tells of a submit whose answer was lost.

The reference of a webhook names one try of a task, and a try submits at most one request. So if the
record of that try has no answer, the webhook names its request.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any
from uuid import UUID

from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.utils.session import create_session
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_provider_flux.bfl.webhook import WebhookNotice
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.delivered_answer import DeliveredAnswer
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.record_files import FileRecordStore, record_write_options, stem_of
from airflow_provider_flux.object_store.filesystem import open_path
from airflow_provider_flux.plugin.webhook_tasks import as_column_value
from airflow_provider_flux.recovery.metadata_db import (
    MetadataDbRecordStore,
    ledger_folders_of_task,
    read_values,
)

log = logging.getLogger(__name__)

#: Folders that are searched. A task has one, unless its arguments were changed.
_MAX_FOLDERS = 4
#: Records of one task instance that are read: about one for each try.
_MAX_RECORDS = 32


def keep_answer(task_instance: UUID, notice: WebhookNotice) -> bool:
    """Keep the request id of a webhook beside the record of its try, if that is uncertain.

    A folder of the ledger comes from an XCom, which a task has written. It gets an object only
    beside a valid record of the same try, so a false one allows nothing new.

    :param task_instance: id of the task instance that the reference of the webhook names.
    :param notice: what the webhook reports.
    :return: whether it was kept.
    :raises FluxError: if a store or a record cannot be read.
    """
    owner = _find_owner(task_instance)
    if owner is None:
        return False
    for store, number, record in _read_records(owner):
        is_of_try = record.is_uncertain and record.owner == owner
        if not is_of_try:
            continue
        try:
            answer = DeliveredAnswer(claim=record.claim, request_id=notice.request_id)
        except ValidationError:
            log.warning("A webhook names a request whose id is not usual. It is not kept")
            return False
        return bool(store.keep_answer(number, answer))
    return False


def _find_owner(task_instance: UUID) -> TaskIdentity | None:
    """Return the try that a task instance is, or was."""
    key: Any = as_column_value(task_instance)
    with create_session() as session:
        row = session.get(TaskInstance, key) or _find_earlier(key, session)
        if row is None or row.state == "success":
            return None
        return TaskIdentity(
            dag_id=row.dag_id,
            run_id=row.run_id,
            task_id=row.task_id,
            map_index=row.map_index,
            try_number=row.try_number,
        )


def _find_earlier(key: Any, session: Session) -> Any:
    query = select(TaskInstanceHistory).where(TaskInstanceHistory.task_instance_id == key)
    return session.scalar(query)


def _read_records(owner: TaskIdentity) -> Iterator[tuple[Any, int, Record]]:
    """Yield the records of a task instance in its task state store, and in its folders."""
    for state_store, number, _ in islice(_state_values(owner), _MAX_RECORDS):
        record = state_store.read(number)
        if record is not None:
            yield state_store, number, record
    for folder in sorted(ledger_folders_of_task(owner))[:_MAX_FOLDERS]:
        open_path(folder, field="ledger_path")
        stem = stem_of(folder, owner)
        reader = FileRecordStore(stem, record_write_options(folder, None))
        for number in range(1, _MAX_RECORDS + 1):
            record = reader.read(number)
            if record is None:
                break
            options = record_write_options(folder, record.target)
            yield FileRecordStore(stem, options), number, record


def _state_values(owner: TaskIdentity) -> Iterator[tuple[MetadataDbRecordStore, int, Any]]:
    for found in read_values(owner.dag_id, owner.run_id):
        if found[0].is_of(owner):
            yield found
